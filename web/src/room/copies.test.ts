import { expect, it } from "vitest";
import { COPIES_MAX, COPY_KEPT_MS, expiredCopies, UNSENT_KEPT_MS } from "./copies";

const now = 1_800_000_000_000;

it("keeps what is young, and unsent edits longer", () => {
  const register = {
    young: { usedAtMs: now - COPY_KEPT_MS + 1, unsent: false },
    old: { usedAtMs: now - COPY_KEPT_MS - 1, unsent: false },
    waiting: { usedAtMs: now - COPY_KEPT_MS - 1, unsent: true },
    forgotten: { usedAtMs: now - UNSENT_KEPT_MS - 1, unsent: true },
  };
  expect([...expiredCopies(register, now)].sort()).toEqual(["forgotten", "old"]);
});

it("keeps a bounded number, but never drops unsent edits to make room", () => {
  const register = Object.fromEntries(
    Array.from({ length: COPIES_MAX + 3 }, (_, i) => [`pit/${i}`, { usedAtMs: now - i, unsent: i === COPIES_MAX + 2 }]),
  );
  expect(expiredCopies(register, now)).toEqual([`pit/${COPIES_MAX}`, `pit/${COPIES_MAX + 1}`]);
});
