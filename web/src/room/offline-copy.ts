/**
 * A writer's copy of a room on this device (IndexedDB), so that edits made offline outlive a reload.
 * `copies.ts` says which copies there are and how long they stay.
 */

import { IndexeddbPersistence, clearDocument } from "y-indexeddb";
import type * as Y from "yjs";
import { expiredCopies, forgetCopies, readRegister, touch } from "./copies";

/** A database that does not open within this time is treated as absent; the room comes first. */
const OPEN_TIMEOUT_MS = 1_500;

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

/** Whether a document update came out of a copy rather than from a hand or the server. */
export function cameFromCopy(origin: unknown): boolean {
  return origin instanceof IndexeddbPersistence;
}

/** Deletes the copies that `expiredCopies` names. */
export async function sweepCopies(nowMs: number): Promise<void> {
  const register = readRegister();
  const expired = expiredCopies(register, nowMs);
  if (expired.length === 0) return;
  forgetCopies(expired);
  await Promise.allSettled(expired.map((room) => clearDocument(databaseName(room))));
}

function databaseName(room: string): string {
  return `well/${room}`;
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
