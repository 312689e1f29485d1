/**
 * The values of the last hour or week, in memory of a fixed size: as the server kept them, and as they
 * come in since. A moment that nobody knows of is null, in between as at the ends; it is never drawn.
 */

import { isRecord } from "../room/browser-storage";
import { NO_VALUES, numberOrNull, readValues, VALUE_KEYS, type ValueKey, type Values } from "./values";

export const RANGES = ["1h", "7d"] as const;
export type Range = (typeof RANGES)[number];

export const SPAN_MS: Readonly<Record<Range, number>> = { "1h": 3_600_000, "7d": 7 * 86_400_000 };
export const STEP_MS: Readonly<Record<Range, number>> = { "1h": 1_000, "7d": 60_000 };

export type Line = readonly (number | null)[];

export class Recording {
  readonly #times: number[] = [];
  readonly #lines = new Map<ValueKey, (number | null)[]>(VALUE_KEYS.map((key) => [key, []]));

  constructor(readonly range: Range) {}

  /** Ascending, in Unix milliseconds. */
  get times(): readonly number[] {
    return this.#times;
  }

  get lastAt(): number | null {
    return this.#times.at(-1) ?? null;
  }

  /** As long as `times`. */
  line(key: ValueKey): Line {
    return this.#lines.get(key) ?? [];
  }

  /** Goes on by one point. What is not newer than the last by half a step says the last one better; older is left out. */
  add(at: number, values: Values): void {
    const last = this.lastAt;
    const stepMs = STEP_MS[this.range];
    if (last !== null) {
      if (at < last) return;
      if (at - last < stepMs / 2) return this.#say(this.#times.length - 1, values);
      // A point that nobody knows of: what lies on both sides is not joined by a line.
      if (at - last > 2.5 * stepMs) this.#append(last + stepMs, NO_VALUES);
    }
    this.#append(at, values);
  }

  #append(at: number, values: Values): void {
    this.#times.push(at);
    for (const [key, line] of this.#lines) line.push(values[key]);
    const from = at - SPAN_MS[this.range];
    const most = SPAN_MS[this.range] / STEP_MS[this.range];
    while (this.#times.length > most || (this.#times[0] ?? at) < from) {
      this.#times.shift();
      for (const line of this.#lines.values()) line.shift();
    }
  }

  #say(index: number, values: Values): void {
    for (const [key, line] of this.#lines) line[index] = values[key] ?? line[index] ?? null;
  }
}

/** Reads `GET …/history`; null if it makes no sense. */
export function readRecording(said: unknown, range: Range): Recording | null {
  if (!isRecord(said) || !isRecord(said["series"])) return null;
  const { step_ms: stepMs, start, series } = said;
  if (stepMs !== STEP_MS[range] || typeof start !== "number") return null;
  const most = SPAN_MS[range] / STEP_MS[range];
  const lines = Object.entries(series).flatMap(([key, line]) => (Array.isArray(line) ? [[key, line as unknown[]] as const] : []));
  const count = Math.min(most, Math.max(0, ...lines.map(([, line]) => line.length)));
  const recording = new Recording(range);
  for (let i = 0; i < count; i += 1) {
    recording.add(start + i * stepMs, readValues(Object.fromEntries(lines.map(([key, line]) => [key, line[i]]))));
  }
  return recording;
}

export interface Extent {
  readonly low: number | null;
  readonly high: number | null;
  /** Points that nobody knows the value of. */
  readonly missing: number;
}

export function extentOf(line: Line): Extent {
  let [low, high]: [number | null, number | null] = [null, null];
  let missing = 0;
  for (const value of line) {
    if (numberOrNull(value) === null) missing += 1;
    else {
      low = low === null ? value : Math.min(low, value ?? low);
      high = high === null ? value : Math.max(high, value ?? high);
    }
  }
  return { low, high, missing };
}
