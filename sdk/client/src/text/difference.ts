/** What makes one text of another, as one edit. */

import type { Change } from "@thewell/text";

/** Undefined if they are the same. No character is cut. */
export function difference(before: string, after: string): Change | undefined {
  const shorter = Math.min(before.length, after.length);
  let start = 0;
  while (start < shorter && before.charCodeAt(start) === after.charCodeAt(start)) start += 1;
  if (isLow(before.charCodeAt(start)) || isLow(after.charCodeAt(start))) start = Math.max(0, start - 1);
  let end = 0;
  while (end < shorter - start && before.charCodeAt(before.length - 1 - end) === after.charCodeAt(after.length - 1 - end)) end += 1;
  if (end > 0 && isLow(before.charCodeAt(before.length - end))) end -= 1;
  const [deleted, inserted] = [before.length - end - start, after.slice(start, after.length - end)];
  return deleted === 0 && inserted === "" ? undefined : { at: start, deleted, inserted };
}

function isLow(unit: number): boolean {
  return unit >= 0xdc00 && unit < 0xe000;
}
