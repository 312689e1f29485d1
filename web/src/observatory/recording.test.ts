import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { extentOf, readRecording, Recording, SPAN_MS } from "./recording";
import { NO_VALUES, type Values } from "./values";

const START = 1_790_000_000_000;
const updates = (value: number | null): Values => ({ ...NO_VALUES, updates_per_second: value });

function recorded(points: readonly (readonly [second: number, value: number | null])[]): Recording {
  const recording = new Recording("1h");
  for (const [second, value] of points) recording.add(START + second * 1_000, updates(value));
  return recording;
}

describe("a recording", () => {
  it("keeps what is missing as missing, and 0 as 0", () => {
    expect(recorded([[0, 3], [1, null], [2, 0]]).line("updates_per_second")).toEqual([3, null, 0]);
  });

  it("has a gap where samples are missing, and none for one that is late", () => {
    expect(recorded([[0, 1], [2.1, 2]]).line("updates_per_second")).toEqual([1, 2]);
    expect(recorded([[0, 1], [60, 2]]).line("updates_per_second")).toEqual([1, null, 2]);
  });

  it("takes a moment once, and nothing older than the last", () => {
    const recording = recorded([[0, 1], [1, 2], [0.5, 9], [1.2, 3]]);
    expect(recording.line("updates_per_second")).toEqual([1, 3]);
    expect(recording.times).toEqual([START, START + 1_000]);
  });

  it("does not forget what it knows of a moment for what it does not", () => {
    expect(recorded([[0, 7], [0.1, null]]).line("updates_per_second")).toEqual([7]);
  });

  it("is never longer than its span, nor has more points than that has steps, whatever comes", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 900_000 }), { maxLength: 60 }), fc.integer({ min: 0, max: 4_000 }), (steps, seconds) => {
        const recording = new Recording("1h");
        let at = START;
        for (const step of [...steps, ...Array<number>(seconds).fill(1_000)]) recording.add((at += step), updates(1));
        const { times, lastAt } = recording;
        expect(times.length).toBeLessThanOrEqual(3_600);
        expect((lastAt ?? 0) - (times[0] ?? 0)).toBeLessThanOrEqual(SPAN_MS["1h"]);
        expect(recording.line("updates_per_second")).toHaveLength(times.length);
        expect([...times].sort((a, b) => a - b)).toEqual(times);
      }),
      { numRuns: 40 },
    );
  });
});

describe("a recording that the server kept", () => {
  it("is read by its steps; what is no number is missing", () => {
    const recording = readRecording({ step_ms: 1_000, start: START, series: { updates_per_second: [1, null, "2", 4], sessions: [5] } }, "1h");
    expect(recording?.line("updates_per_second")).toEqual([1, null, null, 4]);
    expect(recording?.line("sessions")).toEqual([5, null, null, null]);
    expect(recording?.times).toEqual([0, 1, 2, 3].map((second) => START + second * 1_000));
  });

  it("is refused when it is not of the range that was asked for", () => {
    const said = { step_ms: 1_000, start: START, series: {} };
    expect(readRecording(said, "7d")).toBeNull();
    expect(readRecording({ ...said, start: "now" }, "1h")).toBeNull();
    expect(readRecording([], "1h")).toBeNull();
  });

  it("is cut when it is longer than it may be", () => {
    const recording = readRecording({ step_ms: 1_000, start: START, series: { sessions: Array(9_000).fill(1) } }, "1h");
    expect(recording?.times).toHaveLength(3_600);
  });
});

it("an extent is of what is known", () => {
  expect(extentOf([null, 3, -1, null])).toEqual({ low: -1, high: 3, missing: 2 });
  expect(extentOf([null])).toEqual({ low: null, high: null, missing: 1 });
});
