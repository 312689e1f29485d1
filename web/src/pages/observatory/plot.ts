/** A chart's lines on a canvas, by uPlot. It draws when it is told to, and no sooner. */

import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { withUnit } from "../../design/units";
import type { Chart } from "../../observatory/charts";
import { SPAN_MS, type Recording } from "../../observatory/recording";
import { clockText } from "../../past/moment";

export interface Palette {
  readonly text: string;
  readonly grid: string;
  readonly bound: string;
  readonly lines: readonly string[];
  readonly font: string;
}

export const PLOT_HEIGHT = 148;
/** The axis of values: wide enough for `123.4 ms`. */
const AXIS_WIDTH = 64;
const DAYS = new Intl.DateTimeFormat("en", { weekday: "short" });
/** All charts show the same moment under the pointer. */
const SYNCED = "observatory";
const LINE_VARIABLES = ["--author-1", "--author-2", "--author-3", "--author-4", "--author-5", "--author-6", "--author-7"] as const;

export function lineVariable(index: number): string {
  return LINE_VARIABLES[index % LINE_VARIABLES.length] ?? LINE_VARIABLES[0];
}

/** The page's colours as they are now, by the theme. */
export function readPalette(): Palette {
  const style = getComputedStyle(document.documentElement);
  const colour = (name: string): string => style.getPropertyValue(name).trim();
  return {
    text: colour("--text-soft"),
    grid: colour("--line"),
    bound: colour("--line-strong"),
    lines: LINE_VARIABLES.map(colour),
    font: `11px ${colour("--font")}`,
  };
}

export class Plot {
  readonly #plot: uPlot;
  #palette = readPalette();
  /** In Unix milliseconds. */
  #window: [number, number] = [0, 1];

  /** `onCursor` is told the index of the point under the pointer, here or in another chart. */
  constructor(
    host: HTMLElement,
    readonly chart: Chart,
    width: number,
    onCursor: (index: number | null) => void,
  ) {
    const axis: Partial<uPlot.Axis> = {
      stroke: () => this.#palette.text,
      font: this.#palette.font,
      grid: { stroke: () => this.#palette.grid, width: 1 },
      ticks: { show: false },
    };
    this.#plot = new uPlot(
      {
        width,
        height: PLOT_HEIGHT,
        ms: 1,
        pxAlign: 1,
        padding: [14, 18, 0, 0],
        legend: { show: false },
        cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 }, sync: { key: SYNCED, setSeries: false } },
        scales: {
          x: { time: true, range: () => this.#window },
          y: { range: (_, _low, high: number | null) => [0, (high === null || high <= 0 ? 1 : high) * 1.08] },
        },
        axes: [
          { ...axis, size: 24, gap: 4, space: 56, values: (_, splits) => splits.map((at) => this.#timeText(at)) },
          { ...axis, size: AXIS_WIDTH, gap: 6, space: 32, values: (_, splits) => splits.map((value) => axisText(value, chart)) },
        ],
        series: [
          {},
          ...chart.lines.map((line, index) => ({
            stroke: () => (line.bound ? this.#palette.bound : (this.#palette.lines[index % LINE_VARIABLES.length] ?? "")),
            width: 1.25,
            ...(line.bound ? { dash: [5, 4] } : {}),
            // Only what has no neighbour is a point; uPlot finds those by itself.
            points: { show: () => false, size: 4 },
          })),
        ],
        hooks: { setCursor: [(plot) => onCursor(plot.cursor.idx ?? null)] },
      },
      emptyData(chart),
      host,
    );
  }

  draw(recording: Recording): void {
    const { times, lastAt } = recording;
    if (lastAt === null) return;
    this.#window = [lastAt - SPAN_MS[recording.range], lastAt];
    // uPlot keeps what it is given, and the recording goes on.
    this.#plot.setData([times.slice(), ...this.chart.lines.map(({ key }) => recording.line(key).slice())]);
  }

  resize(width: number): void {
    if (width !== this.#plot.width) this.#plot.setSize({ width, height: PLOT_HEIGHT });
  }

  recolour(): void {
    this.#palette = readPalette();
    this.#plot.redraw(false, true);
  }

  destroy(): void {
    this.#plot.destroy();
  }

  #timeText(at: number): string {
    if (this.#window[1] === 1) return "";
    const week = this.#window[1] - this.#window[0] > SPAN_MS["1h"];
    return week ? `${DAYS.format(at)} ${new Date(at).getDate()}` : clockText(at, false).slice(0, 5);
  }
}

/** What stands above the axis: the unit of what is counted. Seconds and bytes have theirs, by scale, at each number. */
export function axisUnit({ unit }: Chart): string {
  return unit === "seconds" || unit === "bytes" || unit === "bytes/s" ? "" : unit;
}

function axisText(value: number, chart: Chart): string {
  if (axisUnit(chart) === "") return withUnit(value, chart.unit);
  return value.toLocaleString("en", { maximumFractionDigits: 3, notation: value >= 100_000 ? "compact" : "standard" });
}

function emptyData(chart: Chart): uPlot.AlignedData {
  return [[0, 1], ...chart.lines.map(() => [null, null])];
}
