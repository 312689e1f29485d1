/** A text room at a moment: its text by authors, alone or beside an earlier moment. */

import { isRecord } from "../room/browser-storage";

export type Fate = "kept" | "inserted" | "deleted";

/** A piece of one line. */
export interface Piece {
  readonly text: string;
  /** Who inserted it, or deleted it. */
  readonly author: string;
  readonly fate: Fate;
}

export type Line = readonly Piece[];

export interface AuthoredText {
  readonly text: string;
  readonly authors: readonly { readonly author: string; readonly length: number }[];
}

export interface TextChange {
  readonly op: "insert" | "delete";
  readonly at: number;
  readonly text: string;
  readonly author: string;
}

export function readAuthoredText(json: unknown): AuthoredText | null {
  if (!isRecord(json) || typeof json["text"] !== "string" || !Array.isArray(json["authors"])) return null;
  const authors = json["authors"].filter(isRecord).flatMap(({ author, length }) => (typeof author === "string" && typeof length === "number" ? [{ author, length }] : []));
  return { text: json["text"], authors };
}

export function readChanges(json: unknown): readonly TextChange[] | null {
  if (!isRecord(json) || !isRecord(json["changes"]) || !Array.isArray(json["changes"]["changes"])) return null;
  return json["changes"]["changes"].filter(isRecord).flatMap(({ op, at, text, author }) =>
    (op === "insert" || op === "delete") && typeof at === "number" && typeof text === "string" && typeof author === "string" ? [{ op, at, text, author }] : [],
  );
}

/** The lines of a text; with changes, those that came are marked and those that went stand where they stood. */
export function linesOf({ text, authors }: AuthoredText, changes: readonly TextChange[]): Line[] {
  const lines: Piece[][] = [[]];
  const put = (part: string, author: string, fate: Fate): void => {
    const rows = part.split("\n");
    rows.forEach((row, index) => {
      if (index > 0) lines.push([]);
      if (row !== "" || (fate !== "kept" && index < rows.length - 1)) lines.at(-1)?.push({ text: index < rows.length - 1 && fate !== "kept" ? `${row}¶` : row, author, fate });
    });
  };
  let [at, next] = [0, 0];
  let insertedTo = 0;
  for (const { author, length } of authors) {
    const end = at + length;
    while (at < end) {
      for (let change = changes[next]; change !== undefined && change.at <= at; change = changes[next]) {
        if (change.op === "delete") put(change.text, change.author, "deleted");
        else insertedTo = Math.max(insertedTo, change.at + change.text.length);
        next += 1;
      }
      const stop = Math.min(end, changes[next]?.at ?? end, at < insertedTo ? insertedTo : end);
      put(text.slice(at, stop), author, at < insertedTo ? "inserted" : "kept");
      at = stop;
    }
  }
  for (const change of changes.slice(next)) if (change.op === "delete") put(change.text, change.author, "deleted");
  return lines;
}
