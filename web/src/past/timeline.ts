/** A room's activity over time as the API tells it, and the scale that a scrubber has. */

import { isRecord } from "../room/browser-storage";

export interface Share {
  /** Null stands for all authors that are not named. */
  readonly author: string | null;
  readonly records: number;
}

export interface Bucket {
  readonly atMs: number;
  readonly records: number;
  readonly authors: readonly Share[];
}

export interface Mark {
  readonly seq: number;
  readonly atMs: number;
  readonly kind: string;
  readonly details: unknown;
}

export interface Timeline {
  readonly kind: string;
  /** Records up to this one are gone for good; 0 when none is. */
  readonly trimmedTo: number;
  /** The last Seq before the first record that is counted, and the last one that is. */
  readonly from: number;
  readonly to: number;
  readonly fromMs: number;
  readonly toMs: number;
  readonly records: number;
  readonly bytes: number;
  readonly authors: readonly Share[];
  readonly buckets: readonly Bucket[];
  readonly marks: readonly Mark[];
}

/** Whether the first records are gone, so that the room was not empty at `from`. */
export function isCut({ trimmedTo }: Timeline): boolean {
  return trimmedTo > 0;
}

export function readTimeline(value: unknown): Timeline | null {
  if (!isRecord(value) || typeof value["from"] !== "number" || typeof value["to"] !== "number") return null;
  const time = (key: string): number => (typeof value[key] === "string" ? Date.parse(value[key]) : 0);
  const list = (of: unknown): readonly Record<string, unknown>[] => (Array.isArray(of) ? of.filter(isRecord) : []);
  const number = (of: unknown): number => (typeof of === "number" ? of : 0);
  const shares = (of: unknown): readonly Share[] =>
    list(of).map(({ author, records }) => ({ author: typeof author === "string" ? author : null, records: number(records) }));
  return {
    kind: String(value["kind"]),
    trimmedTo: number(value["start"]),
    from: value["from"],
    to: value["to"],
    fromMs: time("from_at"),
    toMs: time("to_at"),
    records: number(value["records"]),
    bytes: number(value["bytes"]),
    authors: shares(value["authors"]),
    buckets: list(value["buckets"]).map(({ at, records, authors }) => ({ atMs: Date.parse(String(at)), records: number(records), authors: shares(authors) })),
    marks: list(value["marks"]).map(({ seq, at, kind, details }) => ({ seq: number(seq), atMs: Date.parse(String(at)), kind: String(kind), details })),
  };
}

/** With idle stretches folded, a longer stretch without records is as wide as this many buckets. */
const IDLE_BUCKETS = 2;

/** A stretch of buckets on the scale: where it begins and ends, as a part of the whole. */
export interface Column {
  readonly bucket: Bucket;
  readonly left: number;
  readonly right: number;
}

/**
 * Where a record lies on the scrubber, and which record a place stands for. Within a bucket records
 * are spread evenly, so both ways need nothing but the timeline, and each undoes the other.
 */
export class Scale {
  readonly columns: readonly Column[];
  /** How many records lie before each column. */
  private readonly before: readonly number[];

  constructor(
    readonly timeline: Timeline,
    foldIdle: boolean,
  ) {
    const widths: number[] = [];
    let idle = 0;
    for (const { records } of timeline.buckets) {
      idle = records === 0 ? idle + 1 : 0;
      widths.push(foldIdle && idle > IDLE_BUCKETS ? 0 : 1);
    }
    const total = Math.max(1, widths.reduce((sum, width) => sum + width, 0));
    let left = 0;
    let records = 0;
    const before: number[] = [];
    this.columns = timeline.buckets.map((bucket, i) => {
      const right = left + (widths[i] ?? 0) / total;
      const column = { bucket, left, right };
      before.push(records);
      records += bucket.records;
      left = right;
      return column;
    });
    this.before = before;
  }

  /** The place of a record, from 0 to 1. */
  placeOf(seq: number): number {
    const { from, to } = this.timeline;
    if (seq <= from) return 0;
    if (seq >= to) return 1;
    const nth = seq - from;
    let i = 0;
    // The last column that begins before it.
    let high = this.columns.length - 1;
    while (i < high) {
      const middle = Math.ceil((i + high) / 2);
      if ((this.before[middle] ?? 0) < nth) i = middle;
      else high = middle - 1;
    }
    const column = this.columns[i];
    if (column === undefined || column.bucket.records === 0) return column?.left ?? 0;
    const part = Math.min(1, (nth - (this.before[i] ?? 0)) / column.bucket.records);
    return column.left + part * (column.right - column.left);
  }

  /** The record that is the last one at a place. */
  seqAt(place: number): number {
    const { from, to } = this.timeline;
    if (place <= 0) return from;
    if (place >= 1) return to;
    const i = this.columnAt(place);
    const column = this.columns[i];
    if (column === undefined) return to;
    const width = column.right - column.left;
    const part = width === 0 ? 1 : (place - column.left) / width;
    // A hair is given for the arithmetic, so that a record's own place gives that record.
    return Math.min(to, from + (this.before[i] ?? 0) + Math.floor(part * column.bucket.records + 1e-6));
  }

  /** The time that a place stands for. */
  timeAt(place: number): number {
    const { buckets, toMs } = this.timeline;
    const i = this.columnAt(place);
    const column = this.columns[i];
    if (column === undefined) return toMs;
    const until = buckets[i + 1]?.atMs ?? toMs;
    const width = column.right - column.left;
    const part = width === 0 ? 0 : (place - column.left) / width;
    return column.bucket.atMs + Math.min(1, Math.max(0, part)) * (until - column.bucket.atMs);
  }

  private columnAt(place: number): number {
    let low = 0;
    let high = this.columns.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.columns[middle]?.right ?? 1) > place) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}
