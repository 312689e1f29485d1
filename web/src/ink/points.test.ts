import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { COORDINATE_MAX, PRESSURE_STEPS, PointReader, PointWriter, STEPS_PER_UNIT, type Point } from "./points";

const coordinate = fc.double({ min: -COORDINATE_MAX, max: COORDINATE_MAX, noNaN: true });
const point = fc.tuple(coordinate, coordinate, fc.double({ min: 0, max: 1, noNaN: true }));

describe("points", () => {
  it("come back within half a step, however they are cut into chunks", () => {
    fc.assert(
      fc.property(fc.array(fc.array(point, { maxLength: 8 }), { maxLength: 6 }), fc.boolean(), (chunks, pressure) => {
        const writer = new PointWriter(pressure);
        const reader = new PointReader(pressure);
        const read = chunks.flatMap((chunk) => reader.read(writer.write(chunk as Point[])) ?? [[NaN, NaN, NaN]]);
        const sent = chunks.flat();
        expect(read).toHaveLength(sent.length);
        sent.forEach(([x, y, p], i) => {
          const back = read[i] ?? [NaN, NaN, NaN];
          expect(Math.abs((back[0] ?? NaN) - x)).toBeLessThanOrEqual(0.5 / STEPS_PER_UNIT);
          expect(Math.abs((back[1] ?? NaN) - y)).toBeLessThanOrEqual(0.5 / STEPS_PER_UNIT);
          if (pressure) expect(Math.abs((back[2] ?? NaN) - p)).toBeLessThanOrEqual(0.5 / PRESSURE_STEPS + 1e-9);
        });
      }),
    );
  });

  it("are written as documented", () => {
    // 1 unit = 16 steps = 32 with the sign bit: low five bits 0 and "more", then 1.
    expect(new PointWriter(false).write([[1, 0, 0.5]])).toBe("gBA");
    expect(new PointWriter(true).write([[0, -1 / 16, 1]])).toBe("AD+D");
  });

  it.each(["!", "A", "AAA", "g", "gggggggggA", "ÿÿ", 7, null, {}, new Uint8Array(2), "A".repeat(20_000)])(
    "refuse %j",
    (chunk) => expect(new PointReader(false).read(chunk)).toBeNull(),
  );

  it("never throw, and never leave the canvas, whatever they are fed", () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom("A", "B", "g", "/", "9", "z") }), (text) => {
        const points = new PointReader(true).read(text);
        for (const [x, y, p] of points ?? []) {
          expect(Math.abs(x) <= COORDINATE_MAX && Math.abs(y) <= COORDINATE_MAX && p >= 0 && p <= 1).toBe(true);
        }
      }),
    );
  });
});
