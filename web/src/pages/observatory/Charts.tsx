import { useState } from "react";
import { CHARTS } from "../../observatory/charts";
import type { Range, Recording } from "../../observatory/recording";
import type { Sample } from "../../observatory/sample";
import { ChartCard } from "./ChartCard";
import styles from "./Charts.module.css";
import { Choice } from "./Choice";

export type Manner = "lines" | "table";

const MANNERS = [
  { value: "lines", label: "Lines" },
  { value: "table", label: "Tables" },
] as const;

const RANGES = [
  { value: "1h", label: "1 hour" },
  { value: "7d", label: "7 days" },
] as const;

interface ChartsProps {
  readonly recording: Recording | null;
  readonly range: Range;
  readonly onRange: (range: Range) => void;
  readonly last: Sample | null;
  readonly stale: boolean;
}

export function Charts({ recording, range, onRange, last, stale }: ChartsProps) {
  const [manner, setManner] = useState<Manner>("lines");
  return (
    <>
      <div className={styles.bar}>
        <Choice label="Lines or tables" choices={MANNERS} value={manner} onChoose={setManner} testid="manner" />
        <Choice label="How far back" choices={RANGES} value={range} onChoose={onRange} testid="range" />
      </div>
      <div className={styles.charts} data-testid="charts" data-loaded={recording !== null}>
        {CHARTS.map((chart) => (
          <ChartCard key={chart.id} chart={chart} recording={recording} last={last} stale={stale} manner={manner} />
        ))}
      </div>
    </>
  );
}
