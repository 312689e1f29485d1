/**
 * How strokes live in a pit's document. The whole schema:
 *
 * ```
 * doc.getArray("strokes")          paint order, the first stroke lowest
 *   └ Y.Array                      one stroke; only ever appended to
 *       [0]  { id, by, ink, width, pressure }
 *       [1…] string                chunks of points, see points.ts
 * ```
 *
 * Header and chunks are plain values of one client, so Yjs merges them: a stroke is two items however
 * long it grows, while each chunk keeps its own clock, which is what lets a replay show it growing.
 * Erasing deletes the stroke from the array. Nothing is edited in place.
 *
 * Other programs write here too. Whatever does not read as a stroke is skipped, never thrown over.
 */

import * as Y from "yjs";
import { isRecord } from "../room/browser-storage";
import { isInk, WIDTH_MAX, WIDTH_MIN, type Ink } from "./inks";

export const STROKES = "strokes";
/** A stroke with more points is continued in a new one; readers ignore what is beyond. */
export const STROKE_MAX_POINTS = 4_096;

export interface StrokeHeader {
  readonly id: string;
  /** The author's `Identity.id`. */
  readonly by: string;
  readonly ink: Ink;
  /** In canvas units. */
  readonly width: number;
  /** Whether the points carry measured pressure: triples instead of pairs. */
  readonly pressure: boolean;
}

export type StrokePart = StrokeHeader | string;
export type YStroke = Y.Array<StrokePart>;

export function strokesOf(doc: Y.Doc): Y.Array<YStroke> {
  return doc.getArray<YStroke>(STROKES);
}

export function beginStroke(doc: Y.Doc, header: StrokeHeader, chunk: string, origin: unknown): YStroke {
  const stroke: YStroke = new Y.Array<StrokePart>();
  doc.transact(() => {
    stroke.push([{ ...header }, chunk]);
    strokesOf(doc).push([stroke]);
  }, origin);
  return stroke;
}

/** Someone may have erased the stroke while it was being drawn; then it is gone. */
export function appendPoints(doc: Y.Doc, stroke: YStroke, chunk: string, origin: unknown): boolean {
  if (stroke._item?.deleted !== false) return false;
  doc.transact(() => stroke.push([chunk]), origin);
  return true;
}

export function eraseStrokes(doc: Y.Doc, gone: ReadonlySet<unknown>, origin: unknown): void {
  const strokes = strokesOf(doc);
  doc.transact(() => {
    const all: unknown[] = strokes.toArray();
    for (let i = all.length - 1; i >= 0; i -= 1) if (gone.has(all[i])) strokes.delete(i);
  }, origin);
}

/** A foreign value as a header; what is merely odd is brought into range, what is no header is null. */
export function readHeader(value: unknown): StrokeHeader | null {
  if (!isRecord(value)) return null;
  const { id, by, ink, width, pressure } = value;
  if (typeof width !== "number" || !Number.isFinite(width)) return null;
  return {
    id: typeof id === "string" ? id.slice(0, 64) : "",
    by: typeof by === "string" ? by.slice(0, 64) : "",
    ink: isInk(ink) ? ink : "ink",
    width: Math.min(WIDTH_MAX, Math.max(WIDTH_MIN, width)),
    pressure: pressure === true,
  };
}
