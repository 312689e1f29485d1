import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { NO_DATA, share, withUnit, type Unit } from "./units";

const plain = (text: string): string => text.replaceAll("\u00a0", " ");

describe("a number with its unit", () => {
  it.each<[number, Unit, string]>([
    [0.000_0123, "seconds", "12.3 µs"],
    [0.05, "seconds", "50 ms"],
    [0.001_234, "seconds", "1.23 ms"],
    [0, "seconds", "0 s"],
    [1.5, "seconds", "1.5 s"],
    [600, "seconds", "10 min"],
    [90_000, "seconds", "25 h"],
    [518_400, "seconds", "6 d"],
    [999, "bytes", "999 B"],
    [1_500, "bytes", "1.5 KB"],
    [5e11, "bytes", "500 GB"],
    [2_048_000, "bytes/s", "2.05 MB/s"],
    [1, "sessions", "1 session"],
    [1, "updates/s", "1 update/s"],
    [1, "records/commit", "1 record/commit"],
    [1_234_567, "records", "1,234,567 records"],
    [0.25, "cores", "0.25 cores"],
  ])("%d in %s is %s", (value, unit, text) => {
    expect(plain(withUnit(value, unit))).toBe(text);
  });

  it("says that there is none, and never 0, for what is not known", () => {
    expect(withUnit(null, "updates/s")).toBe(NO_DATA);
    expect(share(null, 10)).toBe(NO_DATA);
    expect(share(1, null)).toBe(NO_DATA);
    expect(share(1, 0)).toBe(NO_DATA);
  });

  it("rounds a share down: less than a tenth is not shown as one", () => {
    expect(plain(share(0.099, 1))).toBe("9 %");
  });

  it("always has a unit, and is within half a per cent of what it says", () => {
    const sizes: Readonly<Record<string, number>> = { "µs": 1e-6, ms: 1e-3, s: 1, min: 60, h: 3_600, d: 86_400 };
    fc.assert(
      fc.property(fc.double({ min: 1e-6, max: 1e9, noNaN: true }), (seconds) => {
        const [, number, unit] = /^([\d.,]+) (\S+)$/.exec(plain(withUnit(seconds, "seconds"))) ?? [];
        const size = sizes[unit ?? ""];
        expect(size).toBeDefined();
        expect(Math.abs((Number(number?.replaceAll(",", "")) * (size ?? NaN)) / seconds - 1)).toBeLessThan(0.0051);
      }),
    );
  });
});
