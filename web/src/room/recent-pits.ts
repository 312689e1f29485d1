/** The pits this browser has visited, newest first. */

import { isRecord, readStored, writeStored } from "./browser-storage";
import { ROLES, slugOfPath, type Role } from "./slug";

export interface RecentPit {
  readonly slug: string;
  readonly role: Role;
  readonly visitedAtMs: number;
}

export const RECENT_PITS_MAX = 12;
const KEY = "well.recent";

export function recentPits(): readonly RecentPit[] {
  return readStored(KEY, parse) ?? [];
}

export function rememberPit(slug: string, role: Role, nowMs: number): void {
  const others = recentPits().filter((pit) => pit.slug !== slug);
  writeStored(KEY, [{ slug, role, visitedAtMs: nowMs }, ...others].slice(0, RECENT_PITS_MAX));
}

export function forgetPit(slug: string): readonly RecentPit[] {
  const left = recentPits().filter((pit) => pit.slug !== slug);
  writeStored(KEY, left);
  return left;
}

function parse(value: unknown): readonly RecentPit[] | null {
  if (!Array.isArray(value)) return null;
  return value.flatMap((entry: unknown) => {
    if (!isRecord(entry) || typeof entry["slug"] !== "string" || typeof entry["visitedAtMs"] !== "number") return [];
    const slug = slugOfPath(entry["slug"]);
    const role: Role = ROLES.find((role) => role === entry["role"]) ?? "creator";
    return slug === null ? [] : [{ slug, role, visitedAtMs: entry["visitedAtMs"] }];
  });
}
