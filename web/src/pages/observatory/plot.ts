/** A chart's lines on a canvas, by uPlot. It draws when it is told to, and no sooner. */

import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { withUnit } from "../../design/units";
import { ceilingOf, type Chart } from "../../observatory/charts";
import { extentOf, SPAN_MS, type Recording } from "../../observatory/recording";
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

const LINE_WIDTH = 1.25;
const linear: uPlot.Series.PathBuilder = requireLinear();

function requireLinear(): uPlot.Series.PathBuilder {
  const builder = uPlot.paths.linear?.();
  if (builder === undefined) throw new Error("uPlot was built without lines");
  return builder;
}

export class Plot {
  readonly #plot: uPlot;
  #palette = readPalette();
  /** In Unix milliseconds. */
  #window: [number, number] = [0, 1];
  #ceiling = 1;

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
          y: { range: () => [0, this.#ceiling * 1.08] },
        },
        axes: [
          { ...axis, size: 24, gap: 4, space: 56, values: (_, splits) => splits.map((at) => this.#timeText(at)) },
          { ...axis, size: AXIS_WIDTH, gap: 6, space: 32, values: (_, splits) => splits.map((value) => axisText(value, chart)) },
        ],
        series: [
          {},
          ...chart.lines.map((line, index) => ({
            stroke: () => this.#colour(index),
            width: LINE_WIDTH,
            paths: (plot: uPlot, series: number, from: number, to: number) => (isDense(plot, from, to) ? null : linear(plot, series, from, to)),
            ...(line.bound ? { dash: [5, 4] } : {}),
            // Only what has no neighbour is a point; uPlot finds those by itself.
            points: { show: () => false, size: 4 },
          })),
        ],
        hooks: {
          setCursor: [(plot) => onCursor(plot.cursor.idx ?? null)],
          drawSeries: [(plot, series) => drawIfDense(plot, series, this.#colour(series - 1))],
        },
      },
      emptyData(chart),
      host,
    );
  }

  draw(recording: Recording): void {
    const { times, lastAt } = recording;
    if (lastAt === null) return;
    this.#window = [lastAt - SPAN_MS[recording.range], lastAt];
    const highest = this.chart.lines.map(({ key }) => extentOf(recording.line(key)).high);
    this.#ceiling = ceilingOf(this.chart, highest) || 1;
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

  #colour(index: number): string {
    return this.chart.lines[index]?.bound ? this.#palette.bound : (this.#palette.lines[index % LINE_VARIABLES.length] ?? "");
  }

  #timeText(at: number): string {
    if (this.#window[1] === 1) return "";
    const week = this.#window[1] - this.#window[0] > SPAN_MS["1h"];
    return week ? `${DAYS.format(at)} ${new Date(at).getDate()}` : clockText(at, false).slice(0, 5);
  }
}

/** Whether there are more points than pixels for them. */
function isDense(plot: uPlot, from: number, to: number): boolean {
  const times = plot.data[0];
  const { min = 0, max = 1 } = plot.scales["x"] ?? {};
  const pixels = (((times[to] ?? 0) - (times[from] ?? 0)) / (max - min)) * plot.bbox.width;
  return to - from > 2 * pixels;
}

/**
 * Where there are more points than pixels, each column of pixels is filled from its lowest value to its
 * highest: what a line through all of them looks like, at a small part of what it costs to stroke.
 */
function drawIfDense(plot: uPlot, series: number, colour: string): void {
  const [from, to] = plot.series[0]?.idxs ?? [0, 0];
  if (series === 0 || !isDense(plot, from, to)) return;
  const { ctx, bbox } = plot;
  const [times, values] = [plot.data[0], plot.data[series] ?? []];
  const { min: first, max: last } = plot.scales["x"] ?? {};
  const { min: low, max: high } = plot.scales["y"] ?? {};
  if (first == null || last == null || low == null || high == null) return;
  const thick = Math.max(1, Math.round(LINE_WIDTH * devicePixelRatio));
  const column = { x: -1, top: 0, bottom: 0 };
  const fill = (): void => {
    if (column.x >= bbox.left) ctx.fillRect(column.x, column.top - thick / 2, thick, column.bottom - column.top + thick);
  };
  /** Where the line comes from; null after a gap. */
  let before: number | null = null;
  ctx.save();
  ctx.fillStyle = colour;
  for (let i = from; i <= to; i += 1) {
    const value = values[i];
    if (value == null) {
      before = null;
      continue;
    }
    const x = Math.round(bbox.left + (((times[i] ?? 0) - first) / (last - first)) * bbox.width);
    const y = bbox.top + (1 - (value - low) / (high - low)) * bbox.height;
    if (x !== column.x) {
      fill();
      Object.assign(column, { x, top: Math.min(y, before ?? y), bottom: Math.max(y, before ?? y) });
    } else {
      column.top = Math.min(column.top, y);
      column.bottom = Math.max(column.bottom, y);
    }
    before = y;
  }
  fill();
  ctx.restore();
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
