import { expect, it } from "vitest";
import { readPeer } from "./presence";

it("reads what a peer publishes", () => {
  const state = { user: { name: "Quiet Heron", color: "#0f7d8c" }, role: "creator", cursor: { x: 1, y: 2 }, drawing: true };
  expect(readPeer(7, state)).toEqual({ client: 7, name: "Quiet Heron", color: "#0f7d8c", role: "creator", cursor: { x: 1, y: 2 }, drawing: true });
});

it.each([
  null,
  "x",
  {},
  { user: 5, cursor: "here" },
  { user: { name: "   ", color: "red;background:url(//evil)" }, cursor: { x: NaN, y: 1 }, drawing: "yes" },
])("survives %j", (state) => {
  const peer = readPeer(1, state);
  if (peer !== null) expect(peer).toMatchObject({ name: "Someone", color: "#5b6b70", cursor: null, drawing: false });
});

it("cuts long names and removes control characters", () => {
  expect(readPeer(1, { user: { name: `a\u202e\n${"b".repeat(100)}` } })?.name).toHaveLength(32);
});
