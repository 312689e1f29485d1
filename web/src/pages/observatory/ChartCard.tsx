import { useCallback, useEffect, useRef, useState } from "react";
import { NO_DATA, withUnit } from "../../design/units";
import type { Chart } from "../../observatory/charts";
import { extentOf, type Recording } from "../../observatory/recording";
import type { Sample } from "../../observatory/sample";
import { clockText, dayText } from "../../past/moment";
import type { Manner } from "./Charts";
import styles from "./Charts.module.css";
import { inNextFrame, notInNextFrame } from "./frames";
import { axisUnit, lineVariable, Plot } from "./plot";

interface CardProps {
  readonly chart: Chart;
  readonly recording: Recording | null;
  readonly last: Sample | null;
  readonly stale: boolean;
  readonly manner: Manner;
}

/** A chart: what its lines are now (or at the moment under the pointer), and how they went. */
export function ChartCard({ chart, recording, last, stale, manner }: CardProps) {
  const [pointedAt, setPointedAt] = useState<number | null>(null);
  const title = `chart-${chart.id}`;
  const pointed = manner === "lines" && pointedAt !== null && recording !== null ? pointedAt : null;
  const asOf = pointed === null ? (stale ? (last?.at ?? null) : null) : (recording?.times[pointed] ?? null);
  return (
    <section className={styles.card} aria-labelledby={title} data-testid="chart" data-chart={chart.id}>
      <h2 id={title}>
        {chart.title} <small>{asOf === null ? "" : `as of ${recording?.range === "7d" ? `${dayText(asOf)} ` : ""}${clockText(asOf, false)}`}</small>
      </h2>
      <ul className={styles.legend} data-stale={stale} data-wide={chart.lines.some(({ label }) => label.length > LABEL_SHORT)}>
        {chart.lines.map(({ key, label, bound }, index) => {
          const value = pointed === null ? (last?.values[key] ?? null) : (recording?.line(key)[pointed] ?? null);
          return (
            <li key={key} data-key={key} data-value={value ?? ""}>
              <span className={styles.swatch} data-bound={bound} style={{ color: bound ? "var(--line-strong)" : `var(${lineVariable(index)})` }} />
              <span className={styles.label}>{label}</span>
              <span className={styles.number}>{withUnit(value, chart.unit)}</span>
            </li>
          );
        })}
      </ul>
      {manner === "lines" ? <Lines chart={chart} recording={recording} last={last} onPoint={setPointedAt} /> : <Table chart={chart} recording={recording} last={last} />}
    </section>
  );
}

/** A label of so many letters at most stands beside another one. */
const LABEL_SHORT = 12;

/** What is so near is drawn before it is scrolled to. */
const NEAR = "200px";

interface LinesProps {
  readonly chart: Chart;
  readonly recording: Recording | null;
  readonly last: Sample | null;
  readonly onPoint: (index: number | null) => void;
}

function Lines({ chart, recording, last, onPoint }: LinesProps) {
  const host = useRef<HTMLDivElement>(null);
  const shown = useRef<{ plot: Plot | null; recording: Recording | null; seen: boolean }>({ plot: null, recording: null, seen: false });
  const draw = useCallback(() => {
    const { plot, recording, seen } = shown.current;
    if (plot !== null && recording !== null && seen) plot.draw(recording);
  }, []);

  useEffect(() => {
    const element = host.current;
    if (element === null) return;
    const state = shown.current;
    const plot = new Plot(element, chart, element.clientWidth, onPoint);
    state.plot = plot;
    const sized = new ResizeObserver(() => plot.resize(element.clientWidth));
    sized.observe(element);
    // What is far out of sight is not drawn.
    const sight = new IntersectionObserver(([entry]) => {
      state.seen = entry?.isIntersecting ?? false;
      if (state.seen) inNextFrame(draw);
    }, { rootMargin: NEAR });
    sight.observe(element);
    const theme = matchMedia("(prefers-color-scheme: dark)");
    const recolour = (): void => plot.recolour();
    theme.addEventListener("change", recolour);
    return () => {
      theme.removeEventListener("change", recolour);
      sight.disconnect();
      sized.disconnect();
      notInNextFrame(draw);
      plot.destroy();
      state.plot = null;
    };
  }, [chart, draw, onPoint]);

  useEffect(() => {
    shown.current.recording = recording;
    inNextFrame(draw);
  }, [recording, last, draw]);

  const empty = recording !== null && chart.lines.every(({ key }) => recording.line(key).every((value) => value === null));
  return (
    <div className={styles.plot}>
      <span className={styles.unit}>{axisUnit(chart)}</span>
      <div ref={host} className={styles.canvas} role="img" aria-label={summary(chart, recording, last)} />
      {recording === null ? <p className={styles.over}>Loading…</p> : empty ? <p className={styles.over}>{NO_DATA}</p> : null}
    </div>
  );
}

function summary(chart: Chart, recording: Recording | null, last: Sample | null): string {
  if (recording === null) return `${chart.title}: loading`;
  const over = recording.range === "1h" ? "hour" : "7 days";
  const lines = chart.lines.map(({ key, label }) => {
    const { low, high } = extentOf(recording.line(key));
    const now = `${label} ${withUnit(last?.values[key] ?? null, chart.unit)}`;
    return low === null ? now : `${now}, between ${withUnit(low, chart.unit)} and ${withUnit(high, chart.unit)}`;
  });
  return `${chart.title}, over the last ${over}: ${lines.join("; ")}`;
}

/** The same in numbers, for those who do not see lines. */
function Table({ chart, recording, last }: Omit<CardProps, "manner" | "stale">) {
  return (
    <div className={styles.plot} tabIndex={0} role="region" aria-label={`${chart.title} in numbers`}>
      <table className={styles.table}>
        <thead>
          <tr>
            <th scope="col">Line</th>
            <th scope="col">Now</th>
            <th scope="col">Lowest</th>
            <th scope="col">Highest</th>
            <th scope="col">Known</th>
          </tr>
        </thead>
        <tbody>
          {chart.lines.map(({ key, label }) => {
            const { low, high, missing } = extentOf(recording?.line(key) ?? []);
            const count = recording?.times.length ?? 0;
            return (
              <tr key={key}>
                <th scope="row">{label}</th>
                <td>{withUnit(last?.values[key] ?? null, chart.unit)}</td>
                <td>{withUnit(low, chart.unit)}</td>
                <td>{withUnit(high, chart.unit)}</td>
                <td>{count === 0 ? NO_DATA : withUnit(count - missing, "points")}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}
