/** What the hand holds. Kept in this browser, so that a pit opens with the pen one left with. */

import { INKS, isInk, WIDTHS, type Ink } from "../../ink/inks";
import { isRecord, readStored, writeStored } from "../../room/browser-storage";

export interface Tools {
  readonly tool: "pen" | "eraser";
  readonly ink: Ink;
  readonly width: number;
}

const KEY = "well.tools";
const FIRST: Tools = { tool: "pen", ink: INKS[0], width: WIDTHS[1] };

export function loadTools(): Tools {
  return readStored(KEY, parse) ?? FIRST;
}

export function saveTools({ ink, width }: Tools): void {
  writeStored(KEY, { ink, width });
}

export function nextWidth(width: number, step: 1 | -1): number {
  const at = WIDTHS.findIndex((candidate) => candidate >= width);
  const next = Math.min(WIDTHS.length - 1, Math.max(0, at + step));
  return WIDTHS[next] ?? width;
}

function parse(value: unknown): Tools | null {
  if (!isRecord(value) || !isInk(value["ink"])) return null;
  const width = WIDTHS.find((candidate) => candidate === value["width"]);
  return width === undefined ? null : { tool: "pen", ink: value["ink"], width };
}
