/** What takes an admin's token: every room, and its end. */

import { isRecord } from "../room/browser-storage";
import type { RoomName } from "../room/link";
import { askFor, roomPath, type Answer } from "./ask";

export interface ListedRoom extends RoomName {
  /** Of sealed records kept. */
  readonly bytes: number;
  readonly records: number;
  readonly sessions: number;
  readonly updatedAtMs: number;
}

export interface RoomsPage {
  readonly rooms: readonly ListedRoom[];
  /** What the next page begins after; null on the last one. */
  readonly next: string | null;
}

export const ROOMS_PER_PAGE = 50;

/** Rooms by name, after one. */
export function listRooms(token: string, after: string | null): Promise<Answer<RoomsPage>> {
  const query = new URLSearchParams({ limit: String(ROOMS_PER_PAGE), ...(after === null ? {} : { after }) });
  return askFor(`/api/v1/rooms?${query}`, { token }, readPage);
}

/** Unloads a room; its members come back. Says whether it was loaded. */
export function evictRoom(token: string, { space, name }: RoomName): Promise<Answer<boolean>> {
  return askFor("/api/v1/admin/evict", { method: "POST", token, body: { room: `${space}/${name}` } }, (body) =>
    isRecord(body) && typeof body["evicted"] === "boolean" ? body["evicted"] : null,
  );
}

export function deleteRoom(token: string, { space, name }: RoomName): Promise<Answer<true>> {
  return askFor(roomPath(space, name), { method: "DELETE", token }, () => true);
}

export type Revoked = "jti" | "sub" | "room";

/** Takes tokens back; gives how many sessions ended by it. */
export function revoke(token: string, what: Revoked, value: string): Promise<Answer<number>> {
  return askFor("/api/v1/admin/revoke", { method: "POST", token, body: { [what]: value } }, (body) =>
    isRecord(body) && typeof body["ended"] === "number" ? body["ended"] : null,
  );
}

/** Has the server read its configuration again. */
export function reload(token: string): Promise<Answer<true>> {
  return askFor("/api/v1/admin/reload", { method: "POST", token }, () => true);
}

/** What one tenant has written in a space this month; without a tenant, everybody who has none. */
export interface Account {
  readonly space: string;
  readonly tenant: string | null;
  readonly records: number;
  readonly bytes: number;
  /** What the space allows; null where there is no limit. */
  readonly recordsPerMonth: number | null;
  readonly bytesPerMonth: number | null;
}

export interface UsagePage {
  /** `2026-11`, in UTC. */
  readonly month: string;
  readonly resetsAtMs: number;
  readonly accounts: readonly Account[];
  readonly next: string | null;
}

export const ACCOUNTS_PER_PAGE = 20;

/** The accounts of spaces that the token is for as a whole, after one. */
export function listUsage(token: string, after: string | null): Promise<Answer<UsagePage>> {
  const query = new URLSearchParams({ limit: String(ACCOUNTS_PER_PAGE), ...(after === null ? {} : { after }) });
  return askFor(`/api/v1/usage?${query}`, { token }, readUsage);
}

function readUsage(body: unknown): UsagePage | null {
  if (!isRecord(body) || !Array.isArray(body["usage"])) return null;
  const { month, resets_at: resets, next } = body;
  if (typeof month !== "string" || typeof resets !== "string") return null;
  return { month, resetsAtMs: Date.parse(resets), accounts: body["usage"].flatMap(readAccount), next: typeof next === "string" ? next : null };
}

function readAccount(account: unknown): readonly Account[] {
  if (!isRecord(account)) return [];
  const { space, tenant, records, bytes } = account;
  if (typeof space !== "string" || typeof records !== "number" || typeof bytes !== "number") return [];
  const most = (limit: unknown): number | null => (typeof limit === "number" ? limit : null);
  return [{ space, tenant: typeof tenant === "string" ? tenant : null, records, bytes, recordsPerMonth: most(account["records_per_month"]), bytesPerMonth: most(account["bytes_per_month"]) }];
}

function readPage(body: unknown): RoomsPage | null {
  if (!isRecord(body) || !Array.isArray(body["rooms"])) return null;
  const { next } = body;
  return { rooms: body["rooms"].flatMap(readRoom), next: typeof next === "string" ? next : null };
}

function readRoom(room: unknown): readonly ListedRoom[] {
  if (!isRecord(room)) return [];
  const { space, name, bytes, records, sessions, updated_at: updated } = room;
  if (typeof space !== "string" || typeof name !== "string" || typeof bytes !== "number") return [];
  if (typeof records !== "number" || typeof sessions !== "number" || typeof updated !== "string") return [];
  return [{ space, name, bytes, records, sessions, updatedAtMs: Date.parse(updated) }];
}
