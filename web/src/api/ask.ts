/** One way to ask the server: with a token where there is one, and with an answer that is typed, good or bad. */

import { tokenFor } from "../room/tokens";
import { problemOf, SENSELESS, UNREACHABLE, type Problem } from "./problem";

export interface Failed {
  readonly ok: false;
  readonly problem: Problem;
  /** 0 when nobody answered. */
  readonly status: number;
}

export type Answer<T> = { readonly ok: true; readonly value: T } | Failed;

const TIMEOUT_MS = 20_000;

export interface Asked {
  readonly method?: "GET" | "POST" | "DELETE";
  readonly token: string | null;
  /** Sent as JSON. */
  readonly body?: unknown;
  readonly timeoutMs?: number;
}

/** `read` takes what the server said, null where it was no JSON; it gives null if that makes no sense. */
export async function askFor<T>(path: string, { method = "GET", token, body, timeoutMs = TIMEOUT_MS }: Asked, read: (body: unknown) => T | null): Promise<Answer<T>> {
  let response: Response;
  try {
    response = await fetch(path, {
      method,
      headers: { accept: "application/json", ...bearer(token), ...(body === undefined ? {} : { "content-type": "application/json" }) },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(timeoutMs),
    });
  } catch {
    return { ok: false, problem: UNREACHABLE, status: 0 };
  }
  if (!response.ok) return { ok: false, problem: await problemOf(response), status: response.status };
  const value = read(await response.json().catch(() => null));
  return value === null ? { ok: false, problem: SENSELESS, status: response.status } : { ok: true, value };
}

/** The header that shows a token. */
export function bearer(token: string | null): Record<string, string> {
  return token === null ? {} : { authorization: `Bearer ${token}` };
}

/** The token that this browser has for a room. */
export function tokenOf(space: string, name: string): string | null {
  return tokenFor(`${space}/${name}`, Date.now())?.token ?? null;
}

export function roomPath(space: string, name: string): string {
  return `/api/v1/rooms/${encodeURIComponent(space)}/${encodeURIComponent(name)}`;
}
