/** What somebody may be in a room, and links for others. */

import { isRecord } from "../room/browser-storage";
import type { RoomName } from "../room/link";
import { ROLES, type Role } from "../room/slug";
import { askFor, roomPath, type Answer } from "./ask";

/** The most that a page may be; or that there is no such room, or that it cannot be said. */
export type RoleHere = Role | "missing" | "unknown";

export async function roleHere({ space, name }: RoomName, token: string | null, timeoutMs?: number): Promise<RoleHere> {
  const asked = { token, ...(timeoutMs === undefined ? {} : { timeoutMs }) };
  const answer = await askFor(roomPath(space, name), asked, (body) => ROLES.find((role) => isRecord(body) && body["role"] === role) ?? "unknown");
  if (answer.ok) return answer.value;
  return answer.status === 404 && answer.problem.code === "no_room" ? "missing" : "unknown";
}

export interface MadeLink {
  readonly token: string;
  /** The token's own name, to revoke it by. */
  readonly jti: string;
  readonly role: Role;
  readonly expiresAtMs: number;
}

/** `POST …/tokens`: a token for the room, of a role, for so many seconds. */
export function makeLink({ space, name }: RoomName, token: string | null, role: Role, ttlS: number): Promise<Answer<MadeLink>> {
  return askFor(`${roomPath(space, name)}/tokens`, { method: "POST", token, body: { role, ttl: ttlS } }, readLink);
}

/** `DELETE …/tokens/{jti}`: gives how many sessions ended by it. */
export function revokeLink({ space, name }: RoomName, token: string | null, jti: string): Promise<Answer<number>> {
  return askFor(`${roomPath(space, name)}/tokens/${encodeURIComponent(jti)}`, { method: "DELETE", token }, (body) =>
    isRecord(body) && typeof body["ended"] === "number" ? body["ended"] : null,
  );
}

function readLink(body: unknown): MadeLink | null {
  if (!isRecord(body)) return null;
  const { token, jti, expires_at: expires } = body;
  const role = ROLES.find((known) => known === body["role"]);
  const expiresAtMs = typeof expires === "string" ? Date.parse(expires) : NaN;
  if (typeof token !== "string" || typeof jti !== "string" || role === undefined || Number.isNaN(expiresAtMs)) return null;
  return { token, jti, role, expiresAtMs };
}
