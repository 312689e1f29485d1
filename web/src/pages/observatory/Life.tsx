import type { CSSProperties } from "react";
import table from "../../design/Table.module.css";
import { NO_DATA, withUnit } from "../../design/units";
import { flameOf, STAGES, type Block, type Percentile } from "../../observatory/life";
import type { Stage } from "../../observatory/sample";
import styles from "./Life.module.css";
import { lineVariable } from "./plot";

const BARS: readonly { readonly percentile: Percentile; readonly label: string }[] = [
  { percentile: "p50", label: "Half of all are faster (p50)" },
  { percentile: "p99", label: "99 % are faster (p99)" },
];
/** What is narrower has its name in the table alone. */
const NAMED_SHARE = 0.12;

function blockStyle({ share, from, depth }: Block, index: number): CSSProperties {
  return { width: `${share * 100}%`, ["--from" as string]: from, ["--depth" as string]: depth, ["--stage" as string]: `var(${lineVariable(index)})` };
}

/** Where the time goes between an update's coming in and others having it, over the last minute. */
export function Life({ stages, asOf }: { stages: readonly Stage[]; asOf: string | null }) {
  const order = stages.map(({ stage }) => stage);
  return (
    <div className={styles.life} data-testid="life" data-stale={asOf !== null}>
      <h2>
        Life of an update <small>{asOf === null ? "over the last minute" : `as of ${asOf}`}</small>
      </h2>
      {BARS.map(({ percentile, label }) => {
        const blocks = flameOf(stages, percentile);
        const of = (stage: string): string => withUnit(stages.find((said) => said.stage === stage)?.[percentile] ?? null, "seconds");
        const said = blocks.map(({ stage }) => `${stage} ${of(stage)}`).join(", ");
        return (
          <div key={percentile} className={styles.row} data-testid="life-bar" data-percentile={percentile}>
            <p>
              {label}: acked after <strong>{of("ack")}</strong>, with another session <strong>{of("fanout")}</strong> after it is durable
            </p>
            <div className={styles.flame} role="img" aria-label={`${label}: ${said === "" ? NO_DATA : said}`}>
              {blocks.length === 0 ? <span className={styles.none}>{NO_DATA}</span> : null}
              {blocks.map((block) => (
                <span key={block.stage} className={styles.part} title={`${block.stage}: ${of(block.stage)}`} style={blockStyle(block, order.indexOf(block.stage))}>
                  {block.share >= NAMED_SHARE ? block.stage : ""}
                </span>
              ))}
            </div>
          </div>
        );
      })}
      <p className={styles.note}>What lies below a stage is within it. Each has its own scale.</p>
      <table className={table.table} aria-label="Stages in numbers">
        <thead>
          <tr>
            <th scope="col">Stage</th>
            <th scope="col">p50</th>
            <th scope="col">p99</th>
            <th scope="col">Counted</th>
            <th scope="col">What it is</th>
          </tr>
        </thead>
        <tbody>
          {stages.map(({ stage, count, p50, p99 }, index) => (
            <tr key={stage} data-testid="life-stage" data-stage={stage}>
              <th scope="row">
                <span className={styles.swatch} style={{ backgroundColor: `var(${lineVariable(index)})` }} />
                {stage}
              </th>
              <td data-label="p50">{withUnit(p50, "seconds")}</td>
              <td data-label="p99">{withUnit(p99, "seconds")}</td>
              <td data-label="Counted">{withUnit(count, "times")}</td>
              <td>{STAGES.get(stage) ?? ""}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {stages.length === 0 ? <p className={styles.note}>{NO_DATA}</p> : null}
    </div>
  );
}
