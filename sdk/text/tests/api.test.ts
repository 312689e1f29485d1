/** What the class promises beside convergence: errors, the past, anchors, undo, memory. */

import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { beforeAll, describe, expect, test } from "vitest";
import { init, Text, TextError, type TextErrorCode } from "../src/index.js";

beforeAll(() => init());

/** The most that a browser fetches: wasm, gzipped. */
const MAX_WASM_GZIPPED_BYTES = 40_000;

function code(call: () => unknown): TextErrorCode | undefined {
  try {
    call();
  } catch (error) {
    if (error instanceof TextError) return error.code;
    throw error;
  }
  return undefined;
}

test("the engine is small", () => {
  const wasm = readFileSync(new URL("../src/engine/engine_bg.wasm", import.meta.url));
  expect(gzipSync(wasm, { level: 9 }).length).toBeLessThanOrEqual(MAX_WASM_GZIPPED_BYTES);
});

describe("errors", () => {
  test("each has its code, and changes nothing", () => {
    const text = new Text(1n);
    text.insert(0, "a😀b");
    expect(code(() => text.insert(9, "x"))).toBe("outside");
    expect(code(() => text.delete(2, 9))).toBe("inside-character");
    expect(code(() => text.delete(0, 9))).toBe("outside");
    expect(code(() => text.insert(2, "x"))).toBe("inside-character");
    expect(code(() => text.slice(0, 2))).toBe("outside");
    for (const bad of [-1, 1.5, NaN, Infinity, 2 ** 32]) {
      expect(code(() => text.insert(bad, "x"))).toBe("argument");
      expect(code(() => text.pass(bad))).toBe(bad === 2 ** 32 ? undefined : "argument");
    }
    expect(code(() => new Text(-1n))).toBe("argument");
    expect(code(() => new Text(1n << 64n))).toBe("argument");
    expect(code(() => text.positionOf("?"))).toBe("malformed");
    expect(code(() => text.positionOf("<99999999999999999999.0"))).toBe("malformed");
    expect(code(() => text.apply(Uint8Array.of(9)))).toBe("malformed");
    expect(code(() => Text.load(1n, Uint8Array.of(3, 0)))).toBe("malformed");
    expect(code(() => Text.merge([Uint8Array.of(1)]))).toBe("malformed");
    // What JavaScript lets through and types forbid.
    const wrong = undefined as never;
    expect(code(() => text.insert(0, wrong))).toBe("argument");
    expect(code(() => text.insert(0, 5 as never))).toBe("argument");
    expect(code(() => text.insert(0, "x", "words" as never))).toBe("argument");
    expect(code(() => text.apply(null as never))).toBe("argument");
    expect(code(() => Text.load(1n, wrong))).toBe("argument");
    expect(code(() => Text.merge([wrong]))).toBe("argument");
    // A deletion that names the last tick that there could be: the engine goes on.
    const last = Uint8Array.of(1, 1, 7, 1, 2, 7, 1, 255, 255, 255, 255, 15);
    expect(code(() => text.apply(last))).toBe("malformed");
    expect(text.toString()).toBe("a😀b");
  });

  test("a gap names whose tick is missing", () => {
    const text = new Text(7n);
    const [first, , third] = ["a", "b", "c"].map((word, at) => text.insert(at, word));
    if (first === undefined || third === undefined) throw new Error("three updates");
    expect(() => Text.merge([first, third])).toThrow("ticks from 1 on of client 7 are missing");
    const other = new Text(8n);
    expect(other.apply(third).state).toBe("waiting");
    expect(other.waiting).toBe(1);
    expect(other.missing()).toEqual([{ client: 7n, from: 0, to: 2 }]);
    expect(other.apply(text.diff(other.version())).state).toBe("new");
    expect(other.toString()).toBe("abc");
    expect(other.apply(first).state).toBe("known");
  });

  test("a text that was freed says so", () => {
    const text = new Text(1n);
    text.free();
    text.free();
    expect(code(() => text.length)).toBe("freed");
  });
});

test("10,000 damaged updates and snapshots leave the engine whole", () => {
  let seed = 1;
  const random = (end: number): number => {
    seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((seed / 2 ** 32) * end);
  };
  const author = new Text(1n);
  const other = new Text(2n);
  const updates: Uint8Array[] = [];
  for (let round = 0; round < 30; round += 1) {
    const at = random(author.length / 4) * 4;
    updates.push(author.replace(at, Math.min(4, author.length - at), ["four", "é日xx", "\nabc", "12345678"][random(4)] ?? ""));
    other.apply(author.diff(other.version()));
    updates.push(other.insert(random(other.length / 4) * 4, "wxyz"));
    author.apply(other.diff(author.version()));
  }
  const saved = [author.snapshot(), author.snapshot("without"), author.diff()];
  let text = new Text(3n);
  let refused = 0;
  for (let round = 0; round < 10_000; round += 1) {
    const whole = round % 4 === 0 ? saved[random(saved.length)] : updates[random(updates.length)];
    if (whole === undefined) throw new Error("an update");
    let bad = whole.slice();
    if (random(3) === 0) bad = bad.slice(0, random(bad.length));
    for (let flips = random(3); flips >= 0 && bad.length > 0; flips -= 1) {
      const at = random(bad.length);
      bad[at] = (bad[at] ?? 0) ^ (1 << random(8));
    }
    const before = text.toString();
    const failure = code(() => {
      if (bad[0] === 3) Text.load(4n, bad).free();
      else text.apply(bad, round);
    });
    if (failure !== undefined) {
      expect(["malformed", "too-many-waiting", "full"]).toContain(failure);
      expect(text.toString()).toBe(before);
      refused += 1;
    }
    if (round % 500 === 499) {
      text.free();
      text = new Text(3n);
    }
  }
  expect(refused).toBeGreaterThan(1000);
  const sound = new Text(5n);
  updates.forEach((update) => sound.apply(update));
  expect(sound.toString()).toBe(author.toString());
});

test("the past has texts and authors", () => {
  const server = new Text(0n);
  const alice = new Text(1n);
  const bob = new Text(2n ** 63n);
  const first = alice.insert(0, "hello 😀");
  bob.apply(first);
  server.apply(first, 1);
  server.pass(2);
  server.apply(bob.delete(0, 6), 3);
  expect(server.knownUntil).toBe(3);
  expect([0, 1, 2, 3].map((seq) => server.at(seq))).toEqual(["", "hello 😀", "hello 😀", "😀"]);
  expect(server.between(0, 3)).toEqual([
    { client: 1n, first: 1, last: 1, deed: "insert", text: "hello 😀" },
    { client: 2n ** 63n, first: 3, last: 3, deed: "delete", text: "hello " },
  ]);
  expect(code(() => server.at(4))).toBe("unknown-seq");
  const loaded = Text.load(9n, server.snapshot());
  expect(loaded.at(1)).toBe("hello 😀");
  const bare = Text.load(9n, server.snapshot("without"));
  expect(code(() => bare.at(1))).toBe("forgotten-seq");
});

test("anchors stick, survive JSON and deletion", () => {
  const text = new Text(1n);
  text.insert(0, "one two");
  const left = text.anchor(4, "left");
  const right = text.anchor(4, "right");
  text.insert(4, "and ");
  const [l, r] = JSON.parse(JSON.stringify([left, right])) as [string, string];
  expect([text.positionOf(l), text.positionOf(r)]).toEqual([4, 8]);
  text.delete(0, text.length);
  expect([text.positionOf(l), text.positionOf(r)]).toEqual([0, 0]);
  expect([text.anchor(0, "left"), text.anchor(0, "right")]).toEqual(["<", ">"]);
  expect(text.positionOf("<77.0")).toBeUndefined();
});

test("undo takes back what oneself did, and only that", () => {
  const alice = new Text(1n);
  const bob = new Text(2n);
  bob.apply(alice.insert(0, "mine"));
  alice.apply(bob.insert(2, "-his-"));
  expect(alice.canUndo).toBe(true);
  expect(alice.canRedo).toBe(false);
  const undone = alice.undo();
  expect(alice.toString()).toBe("-his-");
  expect(undone?.changes).toEqual([
    { at: 0, deleted: 2, inserted: "" },
    { at: 5, deleted: 2, inserted: "" },
  ]);
  if (undone !== undefined) bob.apply(undone.update);
  expect(bob.toString()).toBe("-his-");
  expect(alice.redo()?.changes).toEqual([
    { at: 5, deleted: 0, inserted: "ne" },
    { at: 0, deleted: 0, inserted: "mi" },
  ]);
  expect(alice.toString()).toBe("mi-his-ne");
  expect(bob.undo()).toBeDefined();
  expect(bob.undo()).toBeUndefined();
});
