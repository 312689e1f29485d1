import { expect, it } from "vitest";
import { advance, fasterThan, IDLE_MS, slowerThan, SPEEDS, type Pace } from "./pace";

const TIMES = [0, 100, 200, 300, 60_300, 60_400];
const pace = (change: Partial<Pace> = {}): Pace => ({ speed: 1, skipIdle: false, head: 6, timeOf: (seq) => TIMES[seq - 1] ?? null, ...change });

it("shows each record when its time has come", () => {
  const { playback, state } = advance({ seq: 1, clockMs: 0 }, 250, pace());
  expect([playback, state]).toEqual([{ seq: 3, clockMs: 250 }, "playing"]);
  expect(advance(playback, 49, pace()).playback.seq).toBe(3);
  expect(advance(playback, 50, pace()).playback.seq).toBe(4);
});

it("is as fast as it says", () => {
  for (const speed of SPEEDS) expect(advance({ seq: 1, clockMs: 0 }, 300 / speed, pace({ speed })).playback.seq).toBe(4);
});

it("skips idle stretches, whatever the speed", () => {
  for (const speed of [0.5, 1, 64]) {
    const { playback } = advance({ seq: 4, clockMs: 300 }, 0, pace({ speed, skipIdle: true }));
    if (speed < 64) expect(playback).toEqual({ seq: 4, clockMs: 60_300 - IDLE_MS * speed });
    expect(advance(playback, IDLE_MS, pace({ speed, skipIdle: true })).playback.seq).toBeGreaterThanOrEqual(5);
  }
  expect(advance({ seq: 4, clockMs: 300 }, 1_000, pace()).playback.seq).toBe(4);
});

it("waits for a record that is not here", () => {
  const missing = pace({ timeOf: (seq) => (seq > 2 ? null : (TIMES[seq - 1] ?? null)) });
  const { playback, state } = advance({ seq: 1, clockMs: 0 }, 5_000, missing);
  expect(state).toBe("waiting");
  expect(playback).toEqual({ seq: 2, clockMs: 100 });
  expect(advance(playback, 16, pace()).playback.seq).toBe(2);
});

it("keeps the order of the log when times step back", () => {
  const times = [1_000, 400, 1_100];
  expect(advance({ seq: 1, clockMs: 1_000 }, 1, pace({ head: 3, timeOf: (seq) => times[seq - 1] ?? null })).playback.seq).toBe(2);
});

it("ends at the head", () => {
  expect(advance({ seq: 5, clockMs: 60_300 }, 100, pace())).toMatchObject({ playback: { seq: 6 }, state: "ended" });
});

it("goes through the speeds and stops at both ends", () => {
  expect([fasterThan(1), slowerThan(1), fasterThan(64), slowerThan(0.5)]).toEqual([2, 0.5, 64, 0.5]);
});
