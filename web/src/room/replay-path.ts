/** Where a room's past is looked at: `/replay/{space}/{name}`, the name being one encoded segment. */

import type { Role } from "./slug";

export interface ReplayAddress {
  readonly space: string;
  readonly name: string;
}

export function replayPath(space: string, name: string, role: Role = "creator", seq: number | null = null): string {
  const query = [...(role === "viewer" ? ["role=viewer"] : []), ...(seq === null ? [] : [`seq=${seq}`])].join("&");
  return `/replay/${encodeURIComponent(space)}/${encodeURIComponent(name)}${query === "" ? "" : `?${query}`}`;
}

/** Reads a path; a name whose slashes stand as they are is taken too. Null when it names no room. */
export function replayOfPath(path: string): ReplayAddress | null {
  const match = /^\/replay\/([^/]+)\/(.+?)\/?$/.exec(path);
  if (match === null) return null;
  try {
    return { space: decodeURIComponent(match[1] ?? ""), name: decodeURIComponent(match[2] ?? "") };
  } catch {
    return null;
  }
}
