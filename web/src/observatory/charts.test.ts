import { expect, it } from "vitest";
import { ceilingOf, CHARTS } from "./charts";

function chart(id: string) {
  const found = CHARTS.find((chart) => chart.id === id);
  if (found === undefined) throw new Error(`there is no chart ${id}`);
  return found;
}

it("lets a bound that is far off the axis, and shows one that is near", () => {
  const disk = chart("disk");
  expect(ceilingOf(disk, [10, 500, 1_000])).toBe(10);
  expect(ceilingOf(disk, [10, 20, 1_000])).toBe(20);
  expect(ceilingOf(disk, [10, 21, 1_000])).toBe(10);
  expect(ceilingOf(disk, [600, 300, 1_000])).toBe(1_000);
  expect(ceilingOf(disk, [null, 500, 1_000])).toBe(0);
  expect(ceilingOf(chart("ack"), [1, 2, 30])).toBe(30);
});
