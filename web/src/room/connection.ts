/**
 * The state of a page's connection to its room, as a person should see it. The broker closes with
 * 4400–4499 when trying again cannot help (`refusal.ts` has the words); every other code is a
 * connection that comes back by itself.
 */

export type Connection =
  /** The first attempt, or an open socket whose document has not arrived yet. */
  | { readonly at: "connecting" }
  | { readonly at: "live" }
  /** Not connected; trying again. `why` when the server has said so itself: it restarts, or is full. */
  | { readonly at: "offline"; readonly why: Why | null }
  | { readonly at: "refused"; readonly code: number; readonly reason: string };

/** What becomes of edits that the server has not stored: they are on this device, on this page alone, or gone. */
export type Unstored = "none" | "device" | "page" | "lost";

export interface Why {
  /** 1012 or 1013. */
  readonly code: number;
  readonly reason: string;
}

export function whyOf(code: number | undefined, reason: string): Why | null {
  return code === 1012 || code === 1013 ? { code, reason } : null;
}
