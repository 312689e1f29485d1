/**
 * Which rooms this device has a copy of: a small register in localStorage, so that a page can ask
 * without opening a database.
 *
 * It says when each copy was last used and whether it may hold edits that the log does not have,
 * and bounds what we keep: copies that are wholly in the log go after a month or when there are too
 * many, copies with unsent edits stay three times as long.
 */

import { isRecord, readStored, writeStored } from "./browser-storage";

export const COPY_KEPT_MS = 30 * 24 * 3_600_000;
export const UNSENT_KEPT_MS = 3 * COPY_KEPT_MS;
export const COPIES_MAX = 24;
const REGISTER = "well.copies";

export interface CopyEntry {
  readonly usedAtMs: number;
  readonly unsent: boolean;
}

export type CopyRegister = Readonly<Record<string, CopyEntry>>;

/** Whether this device has, or may have, a copy of a room. */
export function hasCopy(room: string): boolean {
  return readRegister()[room] !== undefined;
}

/** The rooms with edits that were never proven durable, last used first. */
export function unsentRooms(): readonly string[] {
  const unsent = Object.entries(readRegister()).filter(([, copy]) => copy.unsent);
  return unsent.sort(([, a], [, b]) => b.usedAtMs - a.usedAtMs).map(([room]) => room);
}

export function expiredCopies(register: CopyRegister, nowMs: number): readonly string[] {
  const byAge = Object.entries(register).sort(([, a], [, b]) => b.usedAtMs - a.usedAtMs);
  return byAge.flatMap(([room, copy], place) => {
    const age = nowMs - copy.usedAtMs;
    const expired = copy.unsent ? age > UNSENT_KEPT_MS : age > COPY_KEPT_MS || place >= COPIES_MAX;
    return expired ? [room] : [];
  });
}

export function forgetCopies(rooms: readonly string[]): void {
  writeStored(REGISTER, Object.fromEntries(Object.entries(readRegister()).filter(([room]) => !rooms.includes(room))));
}

export function readRegister(): CopyRegister {
  return readStored(REGISTER, parseRegister) ?? {};
}

export function touch(room: string, entry: CopyEntry): void {
  writeStored(REGISTER, { ...readRegister(), [room]: entry });
}

function parseRegister(value: unknown): CopyRegister | null {
  if (!isRecord(value)) return null;
  const entries = Object.entries(value).flatMap(([room, entry]): [string, CopyEntry][] =>
    isRecord(entry) && typeof entry["usedAtMs"] === "number"
      ? [[room, { usedAtMs: entry["usedAtMs"], unsent: entry["unsent"] === true }]]
      : [],
  );
  return Object.fromEntries(entries);
}
