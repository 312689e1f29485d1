import { beforeEach, describe, expect, it } from "vitest";
import { covers, EXPIRED_KEPT_MS, forgetToken, keepToken, keptTokens, readClaims, roleByToken, tokenFor, tokenToCreate, TOKENS_MAX, type TokenRole } from "./tokens";

const NOW = 1_800_000_000_000;
const HOUR = 3_600_000;

beforeEach(() => localStorage.clear());

/** A token that says so of itself; nobody has signed it. */
function token(room: string | readonly string[], role: TokenRole, endsAtMs = NOW + HOUR): string {
  const payload = btoa(JSON.stringify({ room, role, exp: endsAtMs / 1_000 })).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  return `aGVhZA.${payload}.c2ln`;
}

const shown = (room: string, nowMs = NOW): string | null => tokenFor(room, nowMs)?.token ?? null;

describe("which token is shown", () => {
  it("is the one that the room's link carried, the newest first", () => {
    const [first, second] = [token("pit/a", "editor"), token("pit/a", "viewer")];
    keepToken("pit/a", first, NOW);
    keepToken("pit/a", second, NOW + 1);
    expect(shown("pit/a")).toBe(second);
    expect(shown("pit/b")).toBeNull();
    const newest = tokenFor("pit/a", NOW);
    if (newest !== null) forgetToken(newest);
    expect(shown("pit/a")).toBe(first);
  });

  it("is else the best of those whose patterns cover the room", () => {
    keepToken(null, token("pit/*", "viewer"), NOW);
    const best = token(["doc/x", "pit/a*"], "creator");
    keepToken(null, best, NOW);
    expect(shown("pit/abc")).toBe(best);
    expect(tokenFor("pit/b", NOW)?.claims?.role).toBe("viewer");
    expect(shown("text/a")).toBeNull();
  });

  it("is one that holds, where there is one; an expired one only so that the server says so", () => {
    const [ended, wide] = [token("pit/a", "editor", NOW - HOUR), token("pit/*", "viewer")];
    keepToken("pit/a", ended, NOW);
    expect(shown("pit/a")).toBe(ended);
    keepToken(null, wide, NOW);
    expect(shown("pit/a")).toBe(wide);
  });

  it("is shown for its room even if it cannot be read", () => {
    keepToken("pit/a", "no.token.atall", NOW);
    expect(shown("pit/a")).toBe("no.token.atall");
    keepToken("pit/b", "nothing that looks like one", NOW);
    expect(shown("pit/b")).toBeNull();
  });
});

it("makes rooms only with a token for any name that may write", () => {
  for (const [room, role] of [["pit/*", "viewer"], ["pit/a*", "editor"], ["pit/a", "creator"], ["doc/*", "creator"]] as const) keepToken(null, token(room, role), NOW);
  expect(tokenToCreate("pit", NOW)).toBeNull();
  const maker = token("pit/*", "editor");
  keepToken(null, maker, NOW);
  expect(tokenToCreate("pit", NOW)?.token).toBe(maker);
  expect(tokenToCreate("pit", NOW + HOUR)).toBeNull();
});

it("drops what has expired, a day later", () => {
  keepToken("pit/a", token("pit/a", "editor"), NOW);
  const endsAtMs = NOW + HOUR;
  expect(keptTokens(endsAtMs + EXPIRED_KEPT_MS - 1)).toHaveLength(1);
  expect(keptTokens(endsAtMs + EXPIRED_KEPT_MS)).toEqual([]);
  keepToken("pit/b", token("pit/b", "editor", endsAtMs + EXPIRED_KEPT_MS * 2), endsAtMs + EXPIRED_KEPT_MS);
  expect(localStorage.getItem("well.tokens")).not.toContain('"pit/a"');
});

it("keeps so many and no more, the newest", () => {
  for (let i = 0; i <= TOKENS_MAX; i += 1) keepToken(`pit/${i}`, token(`pit/${i}`, "editor"), NOW + i);
  expect(keptTokens(NOW)).toHaveLength(TOKENS_MAX);
  expect(shown("pit/0")).toBeNull();
  expect(shown(`pit/${TOKENS_MAX}`)).not.toBeNull();
});

it("survives a browser that stores nothing, and one that has stored nonsense", () => {
  const kept = token("pit/a", "editor");
  const write = localStorage.setItem.bind(localStorage);
  Object.defineProperty(localStorage, "setItem", { configurable: true, value: () => { throw new Error("full"); } });
  keepToken("pit/a", kept, NOW);
  Object.defineProperty(localStorage, "setItem", { configurable: true, value: write });
  expect(shown("pit/a")).toBe(kept);
  forgetToken({ room: "pit/a", token: kept });
  expect(shown("pit/a")).toBeNull();
  for (const nonsense of ["{", "null", "[1, null, {}]", '[{"room":"pit/a","token":"x","keptAtMs":1}]']) {
    localStorage.setItem("well.tokens", nonsense);
    expect(keptTokens(NOW)).toEqual([]);
  }
});

it("reads what a token says of itself, and nothing else", () => {
  expect(readClaims(token("pit/a", "admin"))).toEqual({ rooms: ["pit/a"], role: "admin", expiresAtMs: NOW + HOUR });
  for (const bad of ["", "a.b.c", `a.${btoa("{}")}.c`, `a.${btoa('{"room":"pit/a","role":"king","exp":1}')}.c`]) expect(readClaims(bad)).toBeNull();
  keepToken("pit/a", token("pit/a", "admin"), NOW);
  expect([roleByToken("pit/a", NOW), roleByToken("pit/b", NOW)]).toEqual(["creator", null]);
});

it.each([
  ["pit/a", "pit/a", true],
  ["pit/a", "pit/ab", false],
  ["pit/*", "pit/a/b", true],
  ["pit/*", "pitch/a", false],
  ["pit/a*", "pit/abc", true],
  ["pit/a*", "pit/b", false],
  ["*/*", "text/x", true],
])("%s covers %s: %s", (pattern, room, does) => expect(covers(pattern, room)).toBe(does));
