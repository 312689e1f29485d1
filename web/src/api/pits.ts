import { isRecord } from "../room/browser-storage";
import { slugOfPath } from "../room/slug";
import { problemOf, UNREACHABLE, type Problem } from "./problem";

export type StartedPit =
  | { readonly ok: true; readonly slug: string }
  | { readonly ok: false; readonly problem: Problem };

const TIMEOUT_MS = 10_000;
/** How long a page waits to hear whether its pit exists before it opens it anyway. */
const LOOK_TIMEOUT_MS = 3_000;
/** Pits that this page has started itself. */
const started = new Set<string>();

/** Whether the server says that there is no such pit. Nobody answering is not that. */
export async function pitIsMissing(slug: string): Promise<boolean> {
  if (started.has(slug)) return false;
  try {
    const response = await fetch(`/api/v1/rooms/pit/${encodeURIComponent(slug)}`, {
      headers: { accept: "application/json" },
      signal: AbortSignal.timeout(LOOK_TIMEOUT_MS),
    });
    return response.status === 404 && (await problemOf(response)).code === "no_room";
  } catch {
    return false;
  }
}

/** `POST /api/v1/pits`: a new pit with a code nobody has used. */
export async function startPit(): Promise<StartedPit> {
  let response: Response;
  try {
    response = await fetch("/api/v1/pits", {
      method: "POST",
      headers: { accept: "application/json" },
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
  } catch {
    return { ok: false, problem: UNREACHABLE };
  }
  if (!response.ok) return { ok: false, problem: await problemOf(response) };
  const body: unknown = await response.json().catch(() => null);
  const slug = isRecord(body) && typeof body["name"] === "string" ? slugOfPath(body["name"]) : null;
  if (slug !== null) {
    started.add(slug);
    return { ok: true, slug };
  }
  return {
    ok: false,
    problem: { title: "The server's answer made no sense", detail: "It named no pit.", code: null },
  };
}
