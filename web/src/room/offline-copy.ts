/**
 * A writer's copy of a room on this device (IndexedDB), so that edits made offline outlive a reload.
 *
 * A small register in localStorage says when each copy was last used and whether it may hold edits
 * the log does not have. It bounds what we keep: copies that are wholly in the log go after a month
 * or when there are too many, copies with unsent edits stay three times as long.
 */

import { IndexeddbPersistence, clearDocument } from "y-indexeddb";
import type * as Y from "yjs";
import { isRecord, readStored, writeStored } from "./browser-storage";

export const COPY_KEPT_MS = 30 * 24 * 3_600_000;
export const UNSENT_KEPT_MS = 3 * COPY_KEPT_MS;
export const COPIES_MAX = 24;
/** A database that does not open within this time is treated as absent; the room comes first. */
const OPEN_TIMEOUT_MS = 1_500;
const REGISTER = "well.copies";

export interface CopyEntry {
  readonly usedAtMs: number;
  readonly unsent: boolean;
}

export type CopyRegister = Readonly<Record<string, CopyEntry>>;

export class OfflineCopy {
  private constructor(
    private readonly room: string,
    private readonly database: IndexeddbPersistence | null,
    /** Whether an earlier visit left edits that were never proven durable. */
    readonly leftUnsent: boolean,
  ) {}

  /** Loads the copy into `doc` and keeps it up to date from then on. Never rejects. */
  static async open(room: string, doc: Y.Doc): Promise<OfflineCopy> {
    const leftUnsent = readRegister()[room]?.unsent ?? false;
    if (!(await databasesWork())) return new OfflineCopy(room, null, false);
    touch(room, { usedAtMs: Date.now(), unsent: leftUnsent });
    const database = new IndexeddbPersistence(databaseName(room), doc);
    await Promise.race([database.whenSynced, sleep(OPEN_TIMEOUT_MS)]);
    return new OfflineCopy(room, database, leftUnsent);
  }

  /** Whether edits made now would outlive this page. */
  get keeps(): boolean {
    return this.database !== null;
  }

  setUnsent(unsent: boolean): void {
    if (this.database !== null) touch(this.room, { usedAtMs: Date.now(), unsent });
  }

  async close(): Promise<void> {
    await this.database?.destroy();
  }
}

/** Whether this device has, or may have, a copy of a room. */
export function hasCopy(room: string): boolean {
  return readRegister()[room] !== undefined;
}

/** Whether a document update came out of a copy rather than from a hand or the server. */
export function cameFromCopy(origin: unknown): boolean {
  return origin instanceof IndexeddbPersistence;
}

/** Deletes the copies that `expiredCopies` names. */
export async function sweepCopies(nowMs: number): Promise<void> {
  const register = readRegister();
  const expired = expiredCopies(register, nowMs);
  if (expired.length === 0) return;
  const left = Object.entries(register).filter(([room]) => !expired.includes(room));
  writeStored(REGISTER, Object.fromEntries(left));
  await Promise.allSettled(expired.map((room) => clearDocument(databaseName(room))));
}

export function expiredCopies(register: CopyRegister, nowMs: number): readonly string[] {
  const byAge = Object.entries(register).sort(([, a], [, b]) => b.usedAtMs - a.usedAtMs);
  return byAge.flatMap(([room, copy], place) => {
    const age = nowMs - copy.usedAtMs;
    const expired = copy.unsent ? age > UNSENT_KEPT_MS : age > COPY_KEPT_MS || place >= COPIES_MAX;
    return expired ? [room] : [];
  });
}

function databaseName(room: string): string {
  return `well/${room}`;
}

function readRegister(): CopyRegister {
  return readStored(REGISTER, parseRegister) ?? {};
}

function touch(room: string, entry: CopyEntry): void {
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

/** Private windows and full disks refuse at `open`, which the persistence itself never reports. */
function databasesWork(): Promise<boolean> {
  return Promise.race([
    sleep(OPEN_TIMEOUT_MS).then(() => false),
    new Promise<boolean>((resolve) => {
      try {
        const probe = indexedDB.open("well/probe");
        probe.onerror = () => resolve(false);
        probe.onsuccess = () => {
          probe.result.close();
          resolve(true);
        };
      } catch {
        resolve(false);
      }
    }),
  ]);
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
