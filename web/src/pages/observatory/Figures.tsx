import { withUnit } from "../../design/units";
import { FIGURES } from "../../observatory/charts";
import type { Sample } from "../../observatory/sample";
import { NO_VALUES, VALUES } from "../../observatory/values";
import styles from "./Figures.module.css";

/** The few numbers that are looked at first. `asOf` is the time of numbers that are no longer new. */
export function Figures({ sample, asOf }: { sample: Sample | null; asOf: string | null }) {
  const values = sample?.values ?? NO_VALUES;
  return (
    <dl className={styles.figures} data-stale={asOf !== null} data-at={sample?.at} data-testid="figures">
      {FIGURES.map(({ key, label, beside }) => {
        const other = beside(values);
        return (
          <div key={key} className={styles.figure} data-testid="figure" data-key={key} data-value={values[key] ?? ""}>
            <dt>{label}</dt>
            <dd className={styles.value} data-missing={values[key] === null}>
              {withUnit(values[key], VALUES[key])}
            </dd>
            <dd className={styles.beside}>{asOf !== null ? `as of ${asOf}` : typeof other === "string" ? other : `${other.label === "" ? "" : `${other.label}: `}${withUnit(values[other.key], VALUES[other.key])}`}</dd>
          </div>
        );
      })}
    </dl>
  );
}
