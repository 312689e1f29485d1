/** Errors over HTTP: RFC 9457 problem JSON with a stable `code`. */

import { isRecord } from "../room/browser-storage";

export interface Problem {
  readonly title: string;
  readonly detail: string | null;
  /** Stable and machine readable; null when the answer was not a problem of ours. */
  readonly code: string | null;
  /** When to come back, in seconds, as `Retry-After` says it. */
  readonly retryAfterS: number | null;
}

export const UNREACHABLE: Problem = {
  title: "The Well cannot be reached",
  detail: "The server is not answering. Check your connection, then try again.",
  code: null,
  retryAfterS: null,
};

export async function problemOf(response: Response): Promise<Problem> {
  const fallback: Problem = {
    title: "The server could not do that",
    detail: `It answered with status ${response.status}.`,
    code: null,
    retryAfterS: retryAfterOf(response),
  };
  try {
    const body: unknown = await response.json();
    if (!isRecord(body)) return fallback;
    const text = (key: string): string | null => {
      const value = body[key];
      return typeof value === "string" && value !== "" ? value : null;
    };
    return {
      title: text("title") ?? fallback.title,
      detail: text("detail") ?? (text("title") === null ? fallback.detail : null),
      code: text("code"),
      retryAfterS: fallback.retryAfterS,
    };
  } catch {
    return fallback;
  }
}

/** Seconds; a date is what our server never says. */
function retryAfterOf(response: Response): number | null {
  const said = response.headers.get("retry-after");
  return said !== null && /^\d{1,9}$/.test(said) ? Number(said) : null;
}

export const SENSELESS: Problem = {
  title: "The server's answer made no sense",
  detail: "Try again in a moment.",
  code: null,
  retryAfterS: null,
};
