import { expect, it } from "vitest";
import { asksForToken, kindOfClose, kindOfProblem, refusalOf, waitOf, waitOfProblem, withoutWait, worthRetrying } from "./refusal";

it.each([
  [4401, "a token is needed to read pit/a", "no-token"],
  [4401, "", "no-token"],
  [4401, "the token has expired", "expired"],
  [4401, "the token has been revoked", "revoked"],
  [4401, "the token is signed by no key of this server", "bad-token"],
  [4403, "the token is not for pit/a", "forbidden"],
  [4404, "pit/a does not exist or has been deleted", "no-room"],
  [4404, "pit/a does not exist, and a token is needed to create it", "no-token"],
  [4408, "no Hello within 5 s", "too-slow"],
  [4409, "", "replaced"],
  [4413, "the update has 70000 bytes", "too-large"],
  [4429, "too many updates; try again in 12 s", "too-much"],
  [1013, "full", "later"],
  [4499, "?", "unknown"],
] as const)("a socket closed with %i (%s) is %s", (code, reason, kind) => expect(kindOfClose(code, reason)).toBe(kind));

it.each([
  [401, "no_token", "no-token"],
  [401, "token_expired", "expired"],
  [401, "token_revoked", "revoked"],
  [401, "bad_token", "bad-token"],
  [401, null, "no-token"],
  [403, "forbidden", "forbidden"],
  [404, "no_space", "no-room"],
  [429, null, "too-much"],
  [503, "key_pending", "later"],
  [500, null, "unknown"],
] as const)("a problem %i %s is %s", (status, code, kind) => expect(kindOfProblem(status, code)).toBe(kind));

it.each([
  ["try again in 12 s", 12],
  ["too fast; try again in 0.4 s, please", 1],
  ["over quota, retry_after=90", 90],
  ["retry after: 250ms", 1],
  ["try again in 2 minutes", 120],
  ["try again in 900000 s", 86_400],
  ["names a key that is looked up; try again in a moment", null],
  ["", null],
])("%s asks to wait %s seconds", (reason, seconds) => expect(waitOf(reason)).toBe(seconds));

it.each([
  ["too many new rooms from this address: 10 an hour; try again in 154 s", "too many new rooms from this address: 10 an hour"],
  ["full; try again in 0.4 s.", "full"],
  ["names a key that is looked up; try again in a moment", "names a key that is looked up; try again in a moment"],
  ["", ""],
])("%s is told without its wait", (reason, told) => expect(withoutWait(reason)).toBe(told));

it("believes Retry-After before words", () => {
  expect(waitOfProblem({ retryAfterS: 7, detail: "try again in 12 s" })).toBe(7);
  expect(waitOfProblem({ retryAfterS: null, detail: "try again in 12 s" })).toBe(12);
  expect(waitOfProblem({ retryAfterS: null, detail: null })).toBeNull();
});

it("offers either another token or another try, and neither for a room that is gone", () => {
  for (const kind of ["no-token", "expired", "revoked", "bad-token", "forbidden", "no-room", "too-slow", "replaced", "too-large", "too-much", "later", "unknown"] as const) {
    expect([asksForToken(kind), worthRetrying(kind), kind === "no-room"].filter(Boolean)).toHaveLength(1);
    for (const thing of ["pit", "text", "room"] as const) expect(refusalOf(kind, thing).detail).not.toBe("");
  }
});
