/** Who wrote: a name and a colour for each author of a room, the same on every part of the page. */

import type { Timeline } from "../../past/timeline";

/** How many authors have a colour of their own; the others share one. */
export const AUTHOR_COLOURS = 8;

export type Palette = ReadonlyMap<string, string>;

/** Colours by who wrote most. An author keeps its colour for as long as the page is open. */
export function paletteOf(timeline: Timeline, before: Palette): Palette {
  const palette = new Map(before);
  for (const { author } of timeline.authors) {
    if (author === null || palette.has(author) || palette.size >= AUTHOR_COLOURS) continue;
    palette.set(author, `--author-${palette.size + 1}`);
  }
  return palette;
}

export function colourVariable(palette: Palette, author: string | null): string {
  return (author === null ? undefined : palette.get(author)) ?? "--author-others";
}

export function authorName(author: string | null): string {
  if (author === null) return "Others";
  const [kind, name] = split(author);
  if (kind === "user") return name;
  if (kind === "site") return `Replica ${Number(name).toString(36)}`;
  return /^0+$/.test(name) ? "The Well" : `Session ${name.slice(0, 6)}`;
}

function split(author: string): [string, string] {
  const at = author.indexOf(":");
  return [author.slice(0, at), author.slice(at + 1)];
}
