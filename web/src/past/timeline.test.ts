import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { extended } from "./replay";
import { readTimeline, Scale, type Timeline } from "./timeline";

function timelineOf(counts: readonly number[], from = 0): Timeline {
  const records = counts.reduce((sum, count) => sum + count, 0);
  return {
    kind: "yjs", trimmedTo: from, from, to: from + records, fromMs: 0, toMs: counts.length * 1_000, records, bytes: 0, authors: [], marks: [],
    buckets: counts.map((count, i) => ({ atMs: i * 1_000, records: count, authors: [] })),
  };
}

const counts = fc.array(fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 500 })), { minLength: 1, maxLength: 60 });

describe("the scale", () => {
  it("finds each record at its own place, in order", () => {
    fc.assert(
      fc.property(counts, fc.nat(1_000), fc.boolean(), (counts, from, fold) => {
        const timeline = timelineOf(counts, from);
        const scale = new Scale(timeline, fold);
        let before = -1;
        for (let seq = timeline.from; seq <= timeline.to; seq += Math.max(1, Math.floor(timeline.records / 40))) {
          const place = scale.placeOf(seq);
          expect(place).toBeGreaterThanOrEqual(before);
          expect(place).toBeLessThanOrEqual(1);
          expect(scale.seqAt(place)).toBe(seq);
          before = place;
        }
      }),
    );
  });

  it("goes from the first moment to the last", () => {
    const scale = new Scale(timelineOf([3, 0, 0, 2]), false);
    expect([scale.seqAt(-1), scale.seqAt(0), scale.seqAt(0.5), scale.seqAt(1), scale.seqAt(2)]).toEqual([0, 0, 3, 5, 5]);
    expect([scale.timeAt(0), scale.timeAt(0.5), scale.timeAt(1)]).toEqual([0, 2_000, 4_000]);
  });

  it("folds long idle stretches", () => {
    const scale = new Scale(timelineOf([1, 0, 0, 0, 0, 0, 0, 0, 0, 1]), true);
    expect(scale.placeOf(1)).toBeCloseTo(0.25);
    expect(scale.columns.at(-1)?.left).toBeCloseTo(0.75);
  });

  it("stands an empty room", () => {
    const scale = new Scale(timelineOf([]), true);
    expect([scale.placeOf(0), scale.seqAt(0.5), scale.timeAt(0.3)]).toEqual([0, 0, 0]);
  });
});

it("reads what the server says, and nothing else", () => {
  expect(readTimeline(null)).toBeNull();
  expect(readTimeline({ from: 1 })).toBeNull();
  const timeline = readTimeline({
    kind: "yjs", start: 0, from: 0, to: 2, from_at: "2026-11-24T10:00:00.000001Z", to_at: "2026-11-24T10:00:01Z", records: 2, bytes: 9,
    authors: [{ author: "user:ann", records: 1 }, { author: null, records: 1 }],
    buckets: [{ at: "2026-11-24T10:00:00Z", records: 2, bytes: 9, authors: [] }],
    marks: [{ seq: 1, at: "2026-11-24T10:00:00Z", kind: "created", details: null }, "noise"],
  });
  expect(timeline).toMatchObject({ to: 2, toMs: Date.parse("2026-11-24T10:00:01Z"), authors: [{ author: "user:ann" }, { author: null }], marks: [{ kind: "created" }] });
});

it("grows by what comes in", () => {
  const record = { seq: 6, at: "", atMs: 9_000, author: "site:7", kind: "restored", payload: new Uint8Array() };
  const grown = extended(timelineOf([3, 2]), record);
  expect(grown).toMatchObject({ to: 6, toMs: 9_000, records: 6, authors: [{ author: "site:7", records: 1 }], marks: [{ seq: 6, kind: "restored" }] });
  expect(grown.buckets.map(({ records }) => records)).toEqual([3, 3]);
});
