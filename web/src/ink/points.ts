/**
 * The compact text of a stroke's points.
 *
 * Positions are rounded to 1/16 of a canvas unit and pressure to 1/63; each point is written as the
 * difference to the one before it (the first to 0, 0, 0), every number as Base64 VLQ, the code that
 * source maps use: five bits a character, least significant first, the sign in the lowest bit, 32 for
 * "more follows". A hand moving at ordinary speed costs three to four characters a point.
 *
 * A stroke is written in chunks; differences run on across them. Text that is not well formed is
 * refused as a whole chunk: what came before it stands, and nothing after it is believed.
 */

/** `[x, y, pressure]`, in canvas units and 0–1. */
export type Point = [x: number, y: number, pressure: number];

export const STEPS_PER_UNIT = 16;
export const PRESSURE_STEPS = 63;
/** The pressure of a device that measures none. */
export const PRESSURE_UNKNOWN = 0.5;
/** The canvas ends here, in units either way from its origin. */
export const COORDINATE_MAX = 1_000_000;
export const CHUNK_MAX_CHARS = 16_384;

const DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const VALUE_OF = new Map(Array.from(DIGITS, (digit, value) => [digit.charCodeAt(0), value]));
/** 30 bits: more than the canvas holds, and safe for 32-bit arithmetic. */
const DIGITS_MAX = 6;

/** The quantised last point; both directions keep one and advance it together. */
class Position {
  x = 0;
  y = 0;
  pressure = 0;
}

export class PointWriter {
  private readonly last = new Position();

  constructor(private readonly withPressure: boolean) {}

  write(points: readonly Point[]): string {
    let text = "";
    for (const [px, py, pressure] of points) {
      const x = Math.round(px * STEPS_PER_UNIT);
      const y = Math.round(py * STEPS_PER_UNIT);
      text += encodeNumber(x - this.last.x) + encodeNumber(y - this.last.y);
      this.last.x = x;
      this.last.y = y;
      if (this.withPressure) {
        const p = Math.round(pressure * PRESSURE_STEPS);
        text += encodeNumber(p - this.last.pressure);
        this.last.pressure = p;
      }
    }
    return text;
  }
}

export class PointReader {
  private readonly last = new Position();

  constructor(private readonly withPressure: boolean) {}

  /** The chunk's points, or null when it is malformed; the reader must not be used after that. */
  read(chunk: unknown): Point[] | null {
    if (typeof chunk !== "string" || chunk.length > CHUNK_MAX_CHARS) return null;
    const numbers = decodeNumbers(chunk);
    const stride = this.withPressure ? 3 : 2;
    if (numbers === null || numbers.length % stride !== 0) return null;
    const points: Point[] = [];
    for (let i = 0; i < numbers.length; i += stride) {
      this.last.x += numbers[i] ?? 0;
      this.last.y += numbers[i + 1] ?? 0;
      if (this.withPressure) this.last.pressure += numbers[i + 2] ?? 0;
      const x = this.last.x / STEPS_PER_UNIT;
      const y = this.last.y / STEPS_PER_UNIT;
      if (Math.abs(x) > COORDINATE_MAX || Math.abs(y) > COORDINATE_MAX) return null;
      const pressure = this.withPressure ? clamp01(this.last.pressure / PRESSURE_STEPS) : PRESSURE_UNKNOWN;
      points.push([x, y, pressure]);
    }
    return points;
  }
}

function encodeNumber(value: number): string {
  let rest = value < 0 ? (-value << 1) | 1 : value << 1;
  let text = "";
  do {
    const digit = rest & 31;
    rest >>>= 5;
    text += DIGITS.charAt(rest > 0 ? digit | 32 : digit);
  } while (rest > 0);
  return text;
}

function decodeNumbers(text: string): number[] | null {
  const numbers: number[] = [];
  let value = 0;
  let digits = 0;
  for (let i = 0; i < text.length; i += 1) {
    const digit = VALUE_OF.get(text.charCodeAt(i));
    if (digit === undefined || digits === DIGITS_MAX) return null;
    value |= (digit & 31) << (5 * digits);
    digits += 1;
    if ((digit & 32) !== 0) continue;
    numbers.push((value & 1) === 1 ? -(value >>> 1) : value >>> 1);
    value = 0;
    digits = 0;
  }
  return digits === 0 ? numbers : null;
}

function clamp01(value: number): number {
  return Math.min(1, Math.max(0, value));
}
