/** The links that were made on this device, so that they can be copied again and taken back. */

import { isRecord, readStored, writeStored } from "./browser-storage";
import { ROLES, type Role } from "./slug";

export interface KeptLink {
  /** `space/name` */
  readonly room: string;
  readonly role: Role;
  readonly token: string;
  readonly jti: string;
  readonly expiresAtMs: number;
}

export const LINKS_MAX = 48;
const KEY = "well.links";

/** Those of a room that have not expired, newest first. */
export function madeLinks(room: string, nowMs: number): readonly KeptLink[] {
  return all(nowMs).filter((link) => link.room === room);
}

export function rememberLink(link: KeptLink, nowMs: number): void {
  writeStored(KEY, [link, ...all(nowMs)].slice(0, LINKS_MAX));
}

export function forgetLink(jti: string, nowMs: number): void {
  writeStored(KEY, all(nowMs).filter((link) => link.jti !== jti));
}

function all(nowMs: number): readonly KeptLink[] {
  return (readStored(KEY, parse) ?? []).filter(({ expiresAtMs }) => expiresAtMs > nowMs);
}

function parse(value: unknown): readonly KeptLink[] | null {
  if (!Array.isArray(value)) return null;
  return value.flatMap((entry: unknown): KeptLink[] => {
    if (!isRecord(entry)) return [];
    const { room, token, jti, expiresAtMs } = entry;
    const role = ROLES.find((known) => known === entry["role"]);
    const sound = typeof room === "string" && typeof token === "string" && typeof jti === "string" && typeof expiresAtMs === "number";
    return sound && role !== undefined ? [{ room, role, token, jti, expiresAtMs }] : [];
  });
}
