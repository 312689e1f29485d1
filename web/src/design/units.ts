/** Numbers as people read them: never without a unit, and in words where there is no number. */

/** Seconds and bytes choose their scale; anything else is counted in what its plural names, also `things/s`. */
export type Unit = "seconds" | "bytes" | "bytes/s" | `${string}s` | `${string}s/${string}`;

export const NO_DATA = "no data";
/** A number and its unit are not parted by the end of a line. */
const SPACE = "\u00a0";

/** `1.2 ms`, `3.4 MB/s`, `12 updates/s`, `1 session`; "no data" for null. */
export function withUnit(value: number | null, unit: Unit): string {
  if (value === null) return NO_DATA;
  if (unit === "seconds") return scaled(value, SECONDS);
  if (unit === "bytes") return scaled(value, BYTES);
  if (unit === "bytes/s") return `${scaled(value, BYTES)}/s`;
  const text = digits(value);
  return `${text}${SPACE}${text === "1" ? singular(unit) : unit}`;
}

/** `43 %`, rounded down, so that 9.9 % is not shown as ten; "no data" where a part or the whole is unknown. */
export function share(part: number | null, whole: number | null): string {
  return part === null || whole === null || whole <= 0 ? NO_DATA : `${Math.floor((part / whole) * 100)}${SPACE}%`;
}

type Scale = readonly (readonly [from: number, size: number, name: string])[];

const SECONDS: Scale = [
  [172_800, 86_400, "d"],
  [7_200, 3_600, "h"],
  [120, 60, "min"],
  [1, 1, "s"],
  [0.001, 0.001, "ms"],
  [0.000_000_5, 0.000_001, "µs"],
  [0, 1, "s"],
];

/** Decimal, as limits are written. */
const BYTES: Scale = [
  [1e12, 1e12, "TB"],
  [1e9, 1e9, "GB"],
  [1e6, 1e6, "MB"],
  [1e3, 1e3, "KB"],
  [0, 1, "B"],
];

function scaled(value: number, scale: Scale): string {
  const [, size, name] = scale.find(([from]) => Math.abs(value) >= from) ?? [0, 1, ""];
  return `${digits(value / size)}${SPACE}${name}`;
}

/** Three digits that matter, and all of those before the point. */
function digits(value: number): string {
  const size = Math.abs(value);
  const maximumFractionDigits = size >= 100 || Number.isInteger(value) ? 0 : size >= 10 ? 1 : 2;
  return value.toLocaleString("en", { maximumFractionDigits });
}

function singular(unit: string): string {
  return unit.replace(/s(?=\/|$)/, "");
}
