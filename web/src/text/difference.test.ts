import fc from "fast-check";
import { expect, it } from "vitest";
import { difference } from "./difference";

const texts = fc.string({ unit: fc.constantFrom("a", "b", "\n", "🌊", "🌋", "漢"), maxLength: 12 });

it("makes one text of the other, and cuts no character", () => {
  fc.assert(
    fc.property(texts, texts, (before, after) => {
      const change = difference(before, after);
      if (change === undefined) {
        expect(before).toBe(after);
        return;
      }
      const { at, deleted, inserted } = change;
      expect(before.slice(0, at) + inserted + before.slice(at + deleted)).toBe(after);
      for (const part of [before.slice(0, at), before.slice(at, at + deleted), inserted]) expect(part).not.toMatch(/\p{Cs}/u);
    }),
  );
});
