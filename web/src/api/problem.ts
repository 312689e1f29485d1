/** Errors over HTTP: RFC 9457 problem JSON with a stable `code`. */

import { isRecord } from "../room/browser-storage";

export interface Problem {
  readonly title: string;
  readonly detail: string | null;
  /** Stable and machine readable; null when the answer was not a problem of ours. */
  readonly code: string | null;
}

export const UNREACHABLE: Problem = {
  title: "The Well cannot be reached",
  detail: "The server is not answering. Check your connection, then try again.",
  code: null,
};

export async function problemOf(response: Response): Promise<Problem> {
  const fallback: Problem = {
    title: "The server could not do that",
    detail: `It answered with status ${response.status}.`,
    code: null,
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
    };
  } catch {
    return fallback;
  }
}
