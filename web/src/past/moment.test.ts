import { expect, it } from "vitest";
import { replayOfPath, replayPath } from "../room/replay-path";
import { lengthText, readMoment } from "./moment";

const NEAR = new Date(2026, 10, 24, 9, 0, 0).getTime();

it("takes times as people and machines write them", () => {
  const local = new Date(2026, 10, 24, 10, 45, 30).getTime();
  for (const text of ["2026-11-24 10:45:30", "2026-11-24T10:45:30", " 10:45:30 "]) expect(readMoment(text, NEAR)).toMatchObject({ atMs: local });
  expect(readMoment("2026-11-24 9:05", NEAR)).toMatchObject({ atMs: new Date(2026, 10, 24, 9, 5).getTime() });
  expect(readMoment("2026-11-24", NEAR)).toMatchObject({ atMs: new Date(2026, 10, 24).getTime() });
  expect(readMoment("2026-11-24T10:45:30.123456Z", NEAR)).toEqual({ atMs: Date.parse("2026-11-24T10:45:30.123Z"), at: "2026-11-24T10:45:30.123456Z" });
  expect(readMoment("2026-11-24T10:45:30+01:00", NEAR)).toMatchObject({ atMs: Date.parse("2026-11-24T09:45:30Z") });
  expect(readMoment("#12", NEAR)).toEqual({ seq: 12 });
  for (const text of ["", "soon", "25:00", "10:61", "2026-13-40 10:00", "-3"]) expect(readMoment(text, NEAR)).toBeNull();
});

it("says how long", () => {
  expect([0, 950, 2_500, 31_000, 90_000, 7_200_000, 86_400_000, 20 * 86_400_000].map(lengthText)).toEqual(["0 ms", "950 ms", "2.5 s", "31 s", "1.5 min", "2 h", "1 day", "20 days"]);
});

it("names a room in an address, and reads it back", () => {
  for (const name of ["k3x9qa", "notes/2026/plan", "with space & more?", "é#1"]) {
    expect(replayOfPath(replayPath("docs", name).replace(/\?.*/, ""))).toEqual({ space: "docs", name });
  }
  expect(replayOfPath("/replay/docs/notes/2026")).toEqual({ space: "docs", name: "notes/2026" });
  expect(replayPath("pit", "k3x9qa", "viewer", 7)).toBe("/replay/pit/k3x9qa?role=viewer&seq=7");
  for (const path of ["/replay", "/replay/pit", "/replay/pit/", "/replay/pit/%ff"]) expect(replayOfPath(path)).toBeNull();
});
