/** Who this browser is to others: a friendly name and a colour, both changeable, kept here. */

import { isRecord, readStored, writeStored } from "./browser-storage";

export interface Identity {
  /** Stable for this browser; strokes carry it as their author. */
  readonly id: string;
  readonly name: string;
  /** `#rrggbb` */
  readonly color: string;
}

export const NAME_MAX_CHARS = 32;
const KEY = "well.me";

const COLORS = ["#0f7d8c", "#c2410c", "#7c3aed", "#15803d", "#be185d", "#1d4ed8", "#a16207", "#b91c1c"];
const FIRST = ["Quiet", "Brave", "Amber", "Clever", "Gentle", "Swift", "Merry", "Silver", "Wild", "Sunny", "Lucky", "Calm"];
const SECOND = ["Heron", "Otter", "Fox", "Wren", "Badger", "Hare", "Finch", "Lynx", "Newt", "Owl", "Marten", "Swan"];

export function loadIdentity(): Identity {
  const known = readStored(KEY, parseIdentity);
  if (known !== null) return known;
  const fresh: Identity = {
    id: randomId(8),
    name: `${pick(FIRST)} ${pick(SECOND)}`,
    color: pick(COLORS),
  };
  writeStored(KEY, fresh);
  return fresh;
}

export function renamed(me: Identity, name: string): Identity {
  const clean = cleanName(name);
  if (clean === null) return me;
  const next = { ...me, name: clean };
  writeStored(KEY, next);
  return next;
}

/** A name fit to show, whoever sent it. */
export function cleanName(name: unknown): string | null {
  if (typeof name !== "string") return null;
  const clean = name.replace(/[\p{Cc}\p{Cf}\s]+/gu, " ").trim().slice(0, NAME_MAX_CHARS);
  return clean === "" ? null : clean;
}

export function cleanColor(color: unknown): string {
  return typeof color === "string" && /^#[0-9a-f]{6}$/i.test(color) ? color : "#5b6b70";
}

/** Black or white, whichever is easier to read on a colour someone else has chosen. */
export function readableOn(color: string): "#000000" | "#ffffff" {
  const channel = (at: number): number => (parseInt(color.slice(at, at + 2), 16) / 255) ** 2.2;
  const luminance = 0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5);
  return luminance > 0.3 ? "#000000" : "#ffffff";
}

export function randomId(length: number): string {
  const alphabet = "23456789abcdefghjkmnpqrstuvwxyz";
  const bytes = crypto.getRandomValues(new Uint8Array(length));
  return Array.from(bytes, (byte) => alphabet[byte % alphabet.length]).join("");
}

function parseIdentity(value: unknown): Identity | null {
  if (!isRecord(value) || typeof value["id"] !== "string") return null;
  const name = cleanName(value["name"]);
  return name === null ? null : { id: value["id"].slice(0, 32), name, color: cleanColor(value["color"]) };
}

function pick(from: readonly string[]): string {
  return from[Math.floor(Math.random() * from.length)] ?? "";
}
