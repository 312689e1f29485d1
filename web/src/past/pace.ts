/**
 * How fast the past goes by. Pure: time comes in as an argument.
 *
 * Playback has a clock of its own in the room's time. It shows every record whose time its clock has
 * reached. Should the next record not be here yet, the clock waits for it. Records keep the order of
 * the log, whatever their times say.
 */

export const SPEEDS = [0.5, 1, 2, 4, 8, 16, 32, 64] as const;
/** With idle stretches skipped, nothing happens on the screen for at most this long. */
export const IDLE_MS = 600;

export interface Playback {
  /** The last record that is shown. */
  readonly seq: number;
  /** The room's time, in milliseconds. */
  readonly clockMs: number;
}

export interface Pace {
  readonly speed: number;
  readonly skipIdle: boolean;
  readonly head: number;
  /** When a record was written; null if it is not here yet. */
  readonly timeOf: (seq: number) => number | null;
}

export interface Step {
  readonly playback: Playback;
  readonly state: "playing" | "waiting" | "ended";
}

export function advance({ seq, clockMs }: Playback, passedMs: number, { speed, skipIdle, head, timeOf }: Pace): Step {
  let clock = clockMs + passedMs * speed;
  let at = seq;
  while (at < head) {
    const next = timeOf(at + 1);
    if (next === null) {
      const held = Math.min(clock, Math.max(clockMs, timeOf(at) ?? clockMs));
      return { playback: { seq: at, clockMs: held }, state: "waiting" };
    }
    if (next > clock) {
      if (skipIdle) clock = Math.max(clock, next - IDLE_MS * speed);
      break;
    }
    at += 1;
  }
  return { playback: { seq: at, clockMs: clock }, state: at >= head ? "ended" : "playing" };
}

export function fasterThan(speed: number): number {
  return SPEEDS.find((other) => other > speed) ?? speed;
}

export function slowerThan(speed: number): number {
  return SPEEDS.findLast((other) => other < speed) ?? speed;
}
