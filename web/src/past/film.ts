/**
 * What this page holds of a room's past: reels of records, and keyframes, each within a bound.
 *
 * The history is cut into reels of equal length. A reel can be shown once its records and a keyframe
 * at or before it are here. `load` fetches both, `prefetch` does so for a reel that will probably be
 * wanted, and `leave` gives up what no longer will. A reel that is behind the head is never asked for
 * again while it is kept; the last one grows by `append`. Least recently used goes first.
 */

import type { PastRecord } from "./records";

export interface FilmSource {
  /** The document after the record with this Seq, as one update. */
  keyframe(seq: number, signal: AbortSignal): Promise<Uint8Array>;
  /** The records from one Seq to another, both included. */
  records(from: number, to: number, signal: AbortSignal): AsyncIterable<PastRecord>;
}

export interface FilmOptions {
  readonly source: FilmSource;
  /** The last Seq before the first record there is. */
  readonly start: number;
  /** Whether the document was empty at `start`. */
  readonly fromNothing: boolean;
  readonly head: number;
  /** Whether frames are documents; otherwise only records are fetched. */
  readonly keyframes: boolean;
  readonly reelRecords?: number;
  readonly cacheBytes?: number;
}

export const REEL_RECORDS = 256;
/** Records and keyframes together. */
export const CACHE_BYTES = 48 << 20;
/** What an entry costs beside its payload. */
const OVERHEAD_BYTES = 200;
/** Nothing smaller is worth dropping: the reel that is shown and its neighbours. */
const ENTRIES_MIN = 6;
const EMPTY_UPDATE = new Uint8Array([0, 0]);

interface Entry<T> {
  readonly value: T;
  bytes: number;
}

interface Load {
  readonly done: Promise<void>;
  readonly abort: AbortController;
}

export interface Keyframe {
  readonly seq: number;
  readonly update: Uint8Array;
}

export class Film {
  private readonly reelRecords: number;
  private readonly cacheBytes: number;
  private readonly reels = new Map<number, Entry<PastRecord[]>>();
  private readonly frames = new Map<number, Entry<Uint8Array>>();
  private readonly loads = new Map<number, Load>();
  private bytes = 0;
  head: number;

  constructor(private readonly options: FilmOptions) {
    this.reelRecords = options.reelRecords ?? REEL_RECORDS;
    this.cacheBytes = options.cacheBytes ?? CACHE_BYTES;
    this.head = options.head;
  }

  /** The reel that a Seq lies in; a reel begins after its first boundary. */
  reelOf(seq: number): number {
    return Math.max(this.firstReel, Math.ceil(seq / this.reelRecords) - 1);
  }

  /** The first and last Seq that can be shown with a reel. */
  stretch(reel: number): { readonly low: number; readonly high: number } {
    const low = Math.max(this.options.start, reel * this.reelRecords);
    return { low, high: Math.max(low, Math.min(this.head, (reel + 1) * this.reelRecords)) };
  }

  /** Whether every moment up to `seq` of its reel can be shown now. */
  has(seq: number): boolean {
    const reel = this.reelOf(seq);
    const { low } = this.stretch(reel);
    const records = this.reels.get(reel);
    const reaches = seq <= low || (records !== undefined && low + records.value.length >= seq);
    return reaches && (!this.options.keyframes || this.keyframeBefore(seq, low) !== null);
  }

  record(seq: number): PastRecord | null {
    const reel = this.reelOf(seq);
    const { low } = this.stretch(reel);
    return this.reels.get(reel)?.value[seq - low - 1] ?? null;
  }

  /** The latest keyframe at or before a moment, but not before `low`. */
  keyframeBefore(seq: number, low: number): Keyframe | null {
    let best: number | null = null;
    for (const at of this.frames.keys()) if (at <= seq && at >= low && (best === null || at > best)) best = at;
    if (best === null) return low === this.options.start && this.options.fromNothing ? { seq: low, update: EMPTY_UPDATE } : null;
    const update = touch(this.frames, best);
    return update === null ? null : { seq: best, update };
  }

  keepKeyframe(seq: number, update: Uint8Array): void {
    if (this.frames.has(seq)) return;
    this.frames.set(seq, { value: update, bytes: update.length + OVERHEAD_BYTES });
    this.bytes += update.length + OVERHEAD_BYTES;
    this.trim(this.reelOf(seq));
  }

  /** Fetches what `seq` needs. Rejects when it is given up, or cannot be had. */
  load(seq: number): Promise<void> {
    if (this.has(seq)) {
      touch(this.reels, this.reelOf(seq));
      return Promise.resolve();
    }
    const reel = this.reelOf(seq);
    const running = this.loads.get(reel);
    if (running !== undefined) return running.done;
    const abort = new AbortController();
    const done = this.fetch(reel, abort.signal).finally(() => this.loads.delete(reel));
    this.loads.set(reel, { done, abort });
    return done;
  }

  /** Fetches a reel that will probably be wanted; whether it works shows later. */
  prefetch(reel: number): void {
    const { low, high } = this.stretch(reel);
    if (reel < this.firstReel || low >= this.head || this.has(high)) return;
    this.load(high).catch(() => undefined);
  }

  /** Gives up what is being fetched further than `reach` reels from `reel`. */
  leave(reel: number, reach: number): void {
    for (const [at, { abort }] of this.loads) if (Math.abs(at - reel) > reach) abort.abort();
  }

  /** The room has grown by a record. False if there is a gap before it. */
  append(record: PastRecord): boolean {
    if (record.seq <= this.head) return true;
    if (record.seq !== this.head + 1) return false;
    this.head = record.seq;
    const reel = this.reelOf(record.seq);
    const { low } = this.stretch(reel);
    const entry = this.reels.get(reel);
    if (entry !== undefined && low + entry.value.length + 1 === record.seq) {
      entry.value.push(record);
      entry.bytes += record.payload.length + OVERHEAD_BYTES;
      this.bytes += record.payload.length + OVERHEAD_BYTES;
    } else if (entry === undefined && record.seq === low + 1) this.keepReel(reel, [record]);
    return true;
  }

  close(): void {
    for (const { abort } of this.loads.values()) abort.abort();
  }

  get cachedBytes(): number {
    return this.bytes;
  }

  private get firstReel(): number {
    return Math.floor(this.options.start / this.reelRecords);
  }

  private async fetch(reel: number, signal: AbortSignal): Promise<void> {
    const { low, high } = this.stretch(reel);
    const { source } = this.options;
    await Promise.all([this.fetchKeyframe(low, signal), this.fetchRecords(source, reel, low, high, signal)]);
  }

  private async fetchKeyframe(low: number, signal: AbortSignal): Promise<void> {
    if (!this.options.keyframes || this.keyframeBefore(low, low) !== null) return;
    this.keepKeyframe(low, await this.options.source.keyframe(low, signal));
  }

  private async fetchRecords(source: FilmSource, reel: number, low: number, high: number, signal: AbortSignal): Promise<void> {
    const known = this.reels.get(reel)?.value ?? [];
    if (low + known.length >= high) return;
    const records = [...known];
    for await (const record of source.records(low + known.length + 1, high, signal)) records.push(record);
    signal.throwIfAborted();
    this.keepReel(reel, records);
  }

  private keepReel(reel: number, records: PastRecord[]): void {
    this.drop(this.reels, reel);
    const bytes = records.reduce((sum, { payload }) => sum + payload.length + OVERHEAD_BYTES, 0);
    this.reels.set(reel, { value: records, bytes });
    this.bytes += bytes;
    this.trim(reel);
  }

  private trim(inUse: number): void {
    const { low, high } = this.stretch(inUse);
    for (const at of this.frames.keys()) {
      if (this.bytes <= this.cacheBytes || this.frames.size <= ENTRIES_MIN) break;
      if (at < low || at > high) this.drop(this.frames, at);
    }
    for (const at of this.reels.keys()) {
      if (this.bytes <= this.cacheBytes || this.reels.size <= ENTRIES_MIN) break;
      if (at !== inUse) this.drop(this.reels, at);
    }
  }

  private drop<T>(entries: Map<number, Entry<T>>, at: number): void {
    this.bytes -= entries.get(at)?.bytes ?? 0;
    entries.delete(at);
  }
}

/** What was used last goes last. */
function touch<T>(entries: Map<number, Entry<T>>, at: number): T | null {
  const entry = entries.get(at);
  if (entry === undefined) return null;
  entries.delete(at);
  entries.set(at, entry);
  return entry.value;
}
