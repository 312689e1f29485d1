import fc from "fast-check";
import { describe, expect, it } from "vitest";
import * as Y from "yjs";
import { Film, type FilmSource } from "./film";
import { Projector } from "./projector";
import type { PastRecord } from "./records";

/** A history of a document that grows, shrinks, and has events between its edits. */
function history(length: number): { records: PastRecord[]; foldTo: (seq: number) => Y.Doc } {
  const author = new Y.Doc();
  const records: PastRecord[] = [];
  const keep = (kind: string, payload: Uint8Array): void => {
    const seq = records.length + 1;
    records.push({ seq, at: "", atMs: seq * 1_000, author: "site:1", kind, payload });
  };
  author.on("update", (update: Uint8Array) => keep("update", update));
  const text = author.getText("t");
  keep("created", new Uint8Array());
  while (records.length < length) {
    const n = records.length;
    if (n % 17 === 0) keep("titled", new TextEncoder().encode("title"));
    else if (n % 5 === 0 && text.length > 0) text.delete(n % text.length, 1);
    else text.insert((n * 7) % (text.length + 1), String.fromCharCode(97 + (n % 26)));
  }
  const foldTo = (seq: number): Y.Doc => {
    const doc = new Y.Doc();
    for (const { kind, payload } of records.slice(0, seq)) if (kind === "update") Y.applyUpdate(doc, payload);
    return doc;
  };
  return { records, foldTo };
}

function sourceOf({ records, foldTo }: ReturnType<typeof history>): FilmSource & { asked: string[]; held: boolean } {
  const source = {
    asked: [] as string[],
    /** Whether answers wait until they are aborted. */
    held: false,
    async keyframe(seq: number, signal: AbortSignal) {
      source.asked.push(`keyframe ${seq}`);
      if (source.held) await aborted(signal);
      return Y.encodeStateAsUpdate(foldTo(seq));
    },
    async *records(from: number, to: number, signal: AbortSignal) {
      source.asked.push(`records ${from}-${to}`);
      if (source.held) await aborted(signal);
      yield* records.slice(from - 1, to);
    },
  };
  return source;
}

function textOf(doc: Y.Doc): string {
  return doc.getText("t").toJSON();
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason as Error)));
}

const LENGTH = 300;
const written = history(LENGTH);
const whole = { start: 0, fromNothing: true, head: LENGTH, keyframes: true, reelRecords: 32 };

it("any walk over the history shows what a fold of all records shows", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.integer({ min: 0, max: LENGTH }), { minLength: 1, maxLength: 30 }), fc.constantFrom(0, 1 << 20), async (walk, cacheBytes) => {
      const film = new Film({ source: sourceOf(written), cacheBytes, ...whole });
      const projector = new Projector(film);
      for (const seq of walk) {
        await film.load(seq);
        expect(film.has(seq)).toBe(true);
        const { doc } = projector.show(seq);
        expect(textOf(doc)).toBe(textOf(written.foldTo(seq)));
      }
    }),
    { numRuns: 60 },
  );
});

describe("the film", () => {
  it("asks only for what lies near", async () => {
    const source = sourceOf(written);
    const film = new Film({ source, ...whole });
    await film.load(100);
    expect(source.asked).toEqual(["keyframe 96", "records 97-128"]);
    await film.load(120);
    expect(source.asked).toHaveLength(2);
    film.prefetch(4);
    film.prefetch(40);
    film.prefetch(-1);
    expect(source.asked.slice(2)).toEqual(["keyframe 128", "records 129-160"]);
  });

  it("needs no keyframe at the very beginning", async () => {
    const source = sourceOf(written);
    const film = new Film({ source, ...whole });
    expect(film.has(0)).toBe(true);
    await film.load(5);
    expect(source.asked).toEqual(["records 1-32"]);
  });

  it("begins where a trimmed history begins", async () => {
    const source = sourceOf(written);
    const film = new Film({ source, ...whole, start: 50, fromNothing: false });
    await film.load(50);
    expect(source.asked).toEqual(["keyframe 50", "records 51-64"]);
    expect(textOf(new Projector(film).show(60).doc)).toBe(textOf(written.foldTo(60)));
  });

  it("gives up what the handle has left", async () => {
    const source = sourceOf(written);
    source.held = true;
    const film = new Film({ source, ...whole });
    const far = film.load(300);
    film.leave(0, 2);
    await expect(far).rejects.toThrow();
    source.held = false;
    await film.load(300);
    expect(film.has(300)).toBe(true);
  });

  it("stays within its bound, and keeps what is in use", async () => {
    const film = new Film({ source: sourceOf(written), ...whole, cacheBytes: 20_000 });
    for (let seq = 0; seq <= LENGTH; seq += 10) {
      await film.load(seq);
      expect(film.has(seq)).toBe(true);
      expect(film.cachedBytes).toBeLessThan(80_000);
    }
    expect(film.has(40)).toBe(false);
  });

  it("grows with the room", async () => {
    const film = new Film({ source: sourceOf(written), ...whole, head: 200 });
    await film.load(200);
    for (const record of written.records.slice(200, 260)) expect(film.append(record)).toBe(true);
    expect([film.head, film.has(224), film.record(224)?.seq, film.record(260)?.seq]).toEqual([260, true, 224, 260]);
    expect(film.append(written.records[270] as PastRecord)).toBe(false);
    await film.load(260);
    expect(textOf(new Projector(film).show(260).doc)).toBe(textOf(written.foldTo(260)));
  });
});
