import { expect, it } from "vitest";
import { LineHeights } from "./line-heights";

it("guesses by length, and every line has a row", () => {
  const heights = new LineHeights([0, 10, 11, 25], 10, 24);
  expect([0, 1, 2, 3, 4].map((line) => heights.topOf(line))).toEqual([0, 24, 48, 96, 168]);
  expect(heights.total).toBe(168);
});

it("takes what was measured for true, and moves what is below", () => {
  const heights = new LineHeights([5, 5, 5], 10, 24);
  expect(heights.total).toBe(72);
  expect(heights.measure(1, 48)).toBe(true);
  expect(heights.measure(1, 48)).toBe(false);
  expect(heights.measure(7, 48)).toBe(false);
  expect([1, 2, 3].map((line) => heights.topOf(line))).toEqual([24, 72, 96]);
});

it("knows which line stands where", () => {
  const heights = new LineHeights([5, 25, 5], 10, 24);
  expect([-5, 0, 23, 24, 95, 96, 119, 120, 9_999].map((top) => heights.lineAt(top))).toEqual([0, 0, 0, 1, 1, 2, 2, 2, 2]);
  expect(new LineHeights([], 10, 24).lineAt(50)).toBe(0);
});
