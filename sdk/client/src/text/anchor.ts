/**
 * Sticky positions as presence carries them: the hexadecimal digits of their bytes, which every client
 * and the server read alike. `@thewell/text` writes them as `<client.tick`.
 *
 * ```text
 * bytes   varint: 0 sticks left, 1 right, and 2 more with a character | its client varint | its tick varint
 * ```
 */

import type { Anchor } from "@thewell/text";

const ANCHOR = /^([<>])(?:(\d{1,20})\.(\d{1,10}))?$/;

/** The digits; undefined for what is no anchor. */
export function hexOfAnchor(anchor: Anchor): string | undefined {
  const [, sign, client, tick] = ANCHOR.exec(anchor) ?? [];
  if (sign === undefined) return undefined;
  const bytes: number[] = [];
  const right = sign === ">" ? 1n : 0n;
  if (client === undefined || tick === undefined) write(bytes, right);
  else for (const value of [2n + right, BigInt(client), BigInt(tick)]) write(bytes, value);
  return bytes.map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The anchor of these digits; undefined if they are none. */
export function anchorOfHex(hex: unknown): Anchor | undefined {
  if (typeof hex !== "string" || !/^(?:[0-9a-f]{2}){1,17}$/.test(hex)) return undefined;
  const values: bigint[] = [];
  let [value, shift] = [0n, 0n];
  let padded = false;
  for (let at = 0; at < hex.length; at += 2) {
    const byte = parseInt(hex.slice(at, at + 2), 16);
    value |= BigInt(byte & 0x7f) << shift;
    shift += 7n;
    if (byte >= 0x80) continue;
    padded ||= byte === 0 && shift > 7n;
    values.push(value);
    [value, shift] = [0n, 0n];
  }
  const [head, client, tick] = values;
  if (shift !== 0n || padded || head === undefined || head > 3n || values.length !== (head < 2n ? 1 : 3)) return undefined;
  const sign = head % 2n === 0n ? "<" : ">";
  if (client === undefined || tick === undefined) return sign;
  return client < 1n << 64n && tick < 1n << 32n ? `${sign}${client}.${tick}` : undefined;
}

function write(bytes: number[], value: bigint): void {
  let rest = value;
  for (; rest >= 0x80n; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80);
  bytes.push(Number(rest));
}
