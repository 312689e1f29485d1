import { beforeEach, expect, it } from "vitest";
import { forgetLink, LINKS_MAX, madeLinks, rememberLink, type KeptLink } from "./made-links";

const NOW = 1_800_000_000_000;
const link = (jti: string, change: Partial<KeptLink> = {}): KeptLink => ({ room: "pit/a", role: "viewer", token: `t.${jti}.s`, jti, expiresAtMs: NOW + 60_000, ...change });
const named = (room: string, nowMs = NOW): readonly string[] => madeLinks(room, nowMs).map(({ jti }) => jti);

beforeEach(() => localStorage.clear());

it("gives a room's links, newest first, until they expire or are taken back", () => {
  rememberLink(link("1"), NOW);
  rememberLink(link("2", { expiresAtMs: NOW + 10 }), NOW);
  rememberLink(link("3", { room: "pit/b" }), NOW);
  expect([named("pit/a"), named("pit/b")]).toEqual([["2", "1"], ["3"]]);
  expect(named("pit/a", NOW + 10)).toEqual(["1"]);
  forgetLink("1", NOW);
  expect(named("pit/a")).toEqual(["2"]);
});

it("keeps so many and no more", () => {
  for (let i = 0; i <= LINKS_MAX; i += 1) rememberLink(link(String(i)), NOW);
  expect(named("pit/a")).toHaveLength(LINKS_MAX);
  expect(named("pit/a")[0]).toBe(String(LINKS_MAX));
});

it("takes nothing for a link that is none", () => {
  localStorage.setItem("well.links", '[1, {"room":"pit/a"}, {"room":"pit/a","role":"king","token":"t","jti":"j","expiresAtMs":9e15}]');
  expect(named("pit/a")).toEqual([]);
});
