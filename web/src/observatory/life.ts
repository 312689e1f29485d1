/**
 * Where the time of an update goes, as a flame graph: what a stage holds lies below it. Percentiles do not
 * add up, so a stage is drawn as wide as what it holds where that is more.
 */

import type { Stage } from "./sample";

export type Percentile = "p50" | "p99";

export interface Block {
  readonly stage: string;
  readonly seconds: number | null;
  /** Where it begins and how wide it is: from 0 to 1, of the whole. */
  readonly from: number;
  readonly share: number;
  /** 0 for what lies in nothing else. */
  readonly depth: number;
}

interface Node {
  readonly stage: string;
  readonly holds: readonly Node[];
}

const leaf = (stage: string): Node => ({ stage, holds: [] });
const LIFE: readonly Node[] = [{ stage: "ack", holds: [leaf("check"), leaf("queue"), { stage: "append", holds: [leaf("write"), leaf("sync")] }] }, leaf("fanout")];
export const DEPTHS = 3;

/** What each stage is, for people. In the order of an update's life. */
export const STAGES: ReadonlyMap<string, string> = new Map([
  ["check", "it is validated and integrated"],
  ["queue", "it waits for a commit to begin"],
  ["write", "the commit is written to the store"],
  ["sync", "the store is made durable"],
  ["append", "the commit is handed over until it is durable, write and sync within it"],
  ["ack", "from its arrival until its sender is told: all of the above"],
  ["fanout", "from durable until another session's writer has it"],
]);

/** Empty where no stage is known. */
export function flameOf(stages: readonly Stage[], percentile: Percentile): readonly Block[] {
  const seconds = (stage: string): number | null => stages.find((said) => said.stage === stage)?.[percentile] ?? null;
  const size = ({ stage, holds }: Node): number => Math.max(seconds(stage) ?? 0, sumOf(holds, size));
  const whole = sumOf(LIFE, size);
  if (whole === 0) return [];
  const place = (nodes: readonly Node[], start: number, depth: number): readonly Block[] => {
    let from = start;
    return nodes.flatMap((node) => {
      const block: Block = { stage: node.stage, seconds: seconds(node.stage), from, share: size(node) / whole, depth };
      from += block.share;
      return block.share === 0 ? [] : [block, ...place(node.holds, block.from, depth + 1)];
    });
  };
  return place(LIFE, 0, 0);
}

function sumOf(nodes: readonly Node[], size: (node: Node) => number): number {
  return nodes.reduce((sum, node) => sum + size(node), 0);
}
