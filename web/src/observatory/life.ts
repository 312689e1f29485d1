/** Where the time of an update goes: the stages of its life as shares of a bar. */

import type { Stage } from "./sample";

export type Percentile = "p50" | "p99";

export interface Part {
  readonly stage: string;
  readonly seconds: number;
  /** From 0 to 1, of all that is known. */
  readonly share: number;
}

export interface Bar {
  readonly parts: readonly Part[];
  /** Sum of the stages; null when none is known. */
  readonly seconds: number | null;
}

/** What each stage is, for people. In the order of an update's life. */
export const STAGES: ReadonlyMap<string, string> = new Map([
  ["check", "role, limits and payload are checked"],
  ["queue", "waits for the commit before it"],
  ["write", "is written to the log"],
  ["sync", "the log is made durable"],
  ["append", "is folded and enters the feed"],
  ["ack", "its sender is told"],
  ["fanout", "everybody else is sent it"],
]);

export function barOf(stages: readonly Stage[], percentile: Percentile): Bar {
  const known = stages.flatMap((stage) => {
    const seconds = stage[percentile];
    return seconds === null || seconds < 0 ? [] : [{ stage: stage.stage, seconds }];
  });
  if (known.length === 0) return { parts: [], seconds: null };
  const sum = known.reduce((sum, { seconds }) => sum + seconds, 0);
  return { seconds: sum, parts: known.map((part) => ({ ...part, share: sum === 0 ? 0 : part.seconds / sum })) };
}
