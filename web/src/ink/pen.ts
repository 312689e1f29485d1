/**
 * The local pen: gathers points as they come and hands them to the document in small batches, so
 * that others see the stroke grow while a long stroke stays a few dozen updates.
 *
 * What is not in the document yet is shown as wet ink, so the line never lags behind the hand.
 */

import type * as Y from "yjs";
import { randomId } from "../room/identity";
import { PointWriter, type Point } from "./points";
import type { WetInk } from "./stage";
import { appendPoints, beginStroke, eraseStrokes, STROKE_MAX_POINTS, type StrokeHeader, type YStroke } from "./strokes";

export const BATCH_MS = 40;

export type PenSettings = Pick<StrokeHeader, "ink" | "width">;

interface Wet {
  readonly header: StrokeHeader;
  readonly writer: PointWriter;
  stroke: YStroke | null;
  ahead: Point[];
  last: Point;
  written: number;
}

export class Pen {
  private wet: Wet | null = null;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly doc: Y.Doc,
    private readonly origin: unknown,
    private readonly by: string,
    private readonly onWet: (wet: WetInk | null) => void,
  ) {}

  get down(): boolean {
    return this.wet !== null;
  }

  begin(settings: PenSettings, point: Point, pressure: boolean): void {
    this.finish();
    this.put({ id: randomId(8), by: this.by, ...settings, pressure }, point);
  }

  /** Points closer than `apart` canvas units to the last one say nothing new. */
  add(points: readonly Point[], apart: number): void {
    for (const point of points) {
      const { wet } = this;
      if (wet === null) return;
      if (Math.hypot(point[0] - wet.last[0], point[1] - wet.last[1]) < apart) continue;
      wet.ahead.push(point);
      wet.last = point;
      if (wet.written + wet.ahead.length >= STROKE_MAX_POINTS) {
        this.finish();
        this.put({ ...wet.header, id: randomId(8) }, point);
      }
    }
    this.show();
  }

  finish(): void {
    this.flush();
    clearTimeout(this.timer);
    this.wet = null;
    this.show();
  }

  /** Takes the stroke back as if it had never been. */
  cancel(): void {
    clearTimeout(this.timer);
    const stroke = this.wet?.stroke ?? null;
    this.wet = null;
    if (stroke !== null) eraseStrokes(this.doc, new Set([stroke]), this.origin);
    this.show();
  }

  private put(header: StrokeHeader, point: Point): void {
    this.wet = { header, writer: new PointWriter(header.pressure), stroke: null, ahead: [point], last: point, written: 0 };
    this.schedule();
    this.show();
  }

  private schedule(): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.flush();
      if (this.wet !== null) this.schedule();
    }, BATCH_MS);
  }

  private flush(): void {
    const { wet } = this;
    if (wet === null || wet.ahead.length === 0) return;
    const chunk = wet.writer.write(wet.ahead);
    wet.written += wet.ahead.length;
    wet.ahead = [];
    if (wet.stroke === null) wet.stroke = beginStroke(this.doc, wet.header, chunk, this.origin);
    else if (!appendPoints(this.doc, wet.stroke, chunk, this.origin)) this.wet = null;
    this.show();
  }

  private show(): void {
    this.onWet(this.wet === null ? null : { key: this.wet.stroke, header: this.wet.header, ahead: this.wet.ahead });
  }
}
