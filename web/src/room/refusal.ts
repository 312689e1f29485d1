/**
 * Why somebody is not let in, or not for now, in words: from a socket's close code and its reason,
 * or from a problem over HTTP. Pure, so that it can be tested.
 */

export type RefusalKind =
  | "no-token"
  | "expired"
  | "revoked"
  | "bad-token"
  | "forbidden"
  | "no-room"
  | "too-slow"
  | "replaced"
  | "too-large"
  | "too-much"
  | "later"
  | "unknown";

export interface Refusal {
  readonly title: string;
  /** What it means and what to do. */
  readonly detail: string;
}

/** What a page is about, as people call it. */
export type Thing = "pit" | "text" | "room";

export const NO_SUCH_ROOM = 4404;
const LATER = 1013;
const WAIT_MAX_S = 24 * 3_600;

const OF_CODES: ReadonlyMap<number, RefusalKind> = new Map([
  [4403, "forbidden"],
  [NO_SUCH_ROOM, "no-room"],
  [4408, "too-slow"],
  [4409, "replaced"],
  [4413, "too-large"],
  [4429, "too-much"],
  [LATER, "later"],
]);

export function kindOfClose(code: number, reason: string): RefusalKind {
  // Who has no token may only not create it.
  if (code === NO_SUCH_ROOM && /token is needed/.test(reason)) return "no-token";
  if (code !== 4401) return OF_CODES.get(code) ?? "unknown";
  if (/expired/.test(reason)) return "expired";
  if (/revoked/.test(reason)) return "revoked";
  return /is needed/.test(reason) || reason === "" ? "no-token" : "bad-token";
}

const OF_PROBLEMS: ReadonlyMap<string, RefusalKind> = new Map([
  ["no_token", "no-token"],
  ["token_expired", "expired"],
  ["token_revoked", "revoked"],
  ["bad_token", "bad-token"],
]);

/** `code` is a problem's, and `status` its answer's. */
export function kindOfProblem(status: number, code: string | null): RefusalKind {
  const named = OF_PROBLEMS.get(code ?? "");
  if (named !== undefined) return named;
  const kinds: Readonly<Record<number, RefusalKind>> = { 401: "no-token", 403: "forbidden", 404: "no-room", 413: "too-large", 429: "too-much", 503: "later" };
  return kinds[status] ?? "unknown";
}

/** Whether another token could help. */
export function asksForToken(kind: RefusalKind): boolean {
  return kind === "no-token" || kind === "expired" || kind === "revoked" || kind === "bad-token" || kind === "forbidden";
}

/** Whether it may work when the very same is tried again. */
export function worthRetrying(kind: RefusalKind): boolean {
  return kind !== "no-room" && !asksForToken(kind);
}

export function refusalOf(kind: RefusalKind, thing: Thing): Refusal {
  const fresh = "Ask whoever sent you the link for a fresh one, and paste it here.";
  switch (kind) {
    case "no-token":
      return { title: "A token is needed", detail: `This ${thing} opens only with a link that carries a token. Ask for such a link, and paste it here.` };
    case "expired":
      return { title: "Your link has expired", detail: `It was made for a time, and that is over. ${fresh}` };
    case "revoked":
      return { title: "Your link was taken back", detail: `Somebody who may share this ${thing} has revoked it. ${fresh}` };
    case "bad-token":
      return { title: "Your link does not hold", detail: `The server does not believe its token. Perhaps it was cut short on its way. ${fresh}` };
    case "forbidden":
      return { title: "Not with this link", detail: `Its token is not for this ${thing}, or not for what you want to do in it. Ask for another link, and paste it here.` };
    case "no-room":
      return { title: `There is no such ${thing}`, detail: thing === "pit" ? "It was deleted, or the code is not quite right. Check the code, or start a new pit." : "Nothing was ever written there, it was deleted, or the address is not quite right. Check the address, or begin anew from the start." };
    case "too-slow":
      return { title: "That took too long", detail: "The server waited for your token and gave up. Try once more." };
    case "replaced":
      return { title: "Someone took your place", detail: `This session was replaced by a newer one, or your copy no longer fits. Open the ${thing} again.` };
    case "too-large":
      return { title: "Too large to take", detail: `A single change, or the ${thing} itself, has outgrown what the server allows.` };
    case "too-much":
      return { title: "Too much at once", detail: `This ${thing}, or your address, has used up what it is allowed for now. Wait a little, then try again.` };
    case "later":
      return { title: "Not just now", detail: "The server is full, or not ready. Wait a little, then try again." };
    case "unknown":
      return { title: "The server said no", detail: `It does not let this ${thing} be opened, for the reason below.` };
  }
}

/** The server's words without the wait that they end with: for whoever counts it down, in one unit. */
export function withoutWait(reason: string): string {
  return reason.replace(/[;,.]?\s*(?:please\s+)?try again in \d+(?:\.\d+)?\s*\w*\.?$/i, "");
}

/** How long the server asks to wait, in seconds, as its reason says it; null if it does not. */
export function waitOf(reason: string): number | null {
  const match = /(?:again in|retry[_ -]after)[\s:=]*(\d+(?:\.\d+)?)\s*(ms|s|seconds?|m|min|minutes?|h|hours?)?\b/i.exec(reason);
  if (match === null) return null;
  const unit = match[2]?.toLowerCase() ?? "s";
  const seconds = unit === "ms" ? 0.001 : unit.startsWith("m") ? 60 : unit.startsWith("h") ? 3_600 : 1;
  return Math.min(Math.ceil(Number(match[1]) * seconds), WAIT_MAX_S);
}

/** The same for a problem, whose `Retry-After` says it better. */
export function waitOfProblem({ retryAfterS, detail }: { readonly retryAfterS: number | null; readonly detail: string | null }): number | null {
  return retryAfterS === null ? waitOf(detail ?? "") : Math.min(retryAfterS, WAIT_MAX_S);
}
