import { expect, test } from "vitest";
import { linesOf, readAuthoredText, readChanges } from "./text";

const authored = { text: "one\ntwo 2\n", authors: [{ author: "site:1", length: 4 }, { author: "site:2", length: 6 }] };

test("a text is lines by authors", () => {
  expect(linesOf(authored, [])).toEqual([
    [{ text: "one", author: "site:1", fate: "kept" }],
    [{ text: "two 2", author: "site:2", fate: "kept" }],
    [],
  ]);
});

test("what came is marked, and what went stands where it stood", () => {
  const changes = [
    { op: "delete", at: 4, text: "old\n", author: "site:3" },
    { op: "insert", at: 7, text: " 2", author: "site:2" },
    { op: "delete", at: 10, text: "end", author: "site:3" },
  ] as const;
  expect(linesOf(authored, changes)).toEqual([
    [{ text: "one", author: "site:1", fate: "kept" }],
    [{ text: "old¶", author: "site:3", fate: "deleted" }],
    [{ text: "two", author: "site:2", fate: "kept" }, { text: " 2", author: "site:2", fate: "inserted" }],
    [{ text: "end", author: "site:3", fate: "deleted" }],
  ]);
});

test("answers that make no sense are told", () => {
  expect(readAuthoredText({ text: 1 })).toBeNull();
  expect(readChanges({ changes: [] })).toBeNull();
  expect(readAuthoredText({ ...authored, length: 10 })).toEqual(authored);
  expect(readChanges({ changes: { changes: [{ op: "insert", at: 0, text: "a", author: "site:1" }, { op: "set" }] } })).toHaveLength(1);
});
