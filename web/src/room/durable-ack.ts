/**
 * What a page may honestly say about its own edits.
 *
 * A writer follows its edits with a *mark*: the message `[102, varBytes(varUint n)]`. The server
 * echoes the mark once everything this connection sent before it is durable in the log. This file
 * is the bookkeeping of those marks: a pure state machine that knows no socket and no clock.
 * Events go in through `after`; the next mark to send comes out of `markDue`; `ackStatus` says
 * what the badge may show.
 *
 * Invariants:
 * - `saved` needs an echo on the *current* connection of a mark sent after the latest edit. What an
 *   earlier connection heard is not enough: every connection proves itself anew, after the exchange
 *   in which our Step2 carried what the server did not have.
 * - An echo proves only the edits made before its own mark was sent.
 * - One mark is in flight at a time. When its echo is late another is sent, and when that stays
 *   unanswered too the connection is `isStuck`: its owner should drop it and begin again.
 * - A refused edit can never become `saved` on the connection that refused it.
 * - A viewer sends no marks.
 */

export type AckLink = "down" | "opening" | "exchanged";

export interface Mark {
  readonly n: number;
  /** The number of local edits that had been made when the mark was sent. */
  readonly covers: number;
  readonly sentAtMs: number;
}

export interface DurableAck {
  readonly writes: boolean;
  readonly link: AckLink;
  /** Local edits so far, those an earlier visit left unsent counting as one. */
  readonly edits: number;
  /** How many of `edits` some echo has proven durable. */
  readonly durable: number;
  /** Whether a mark has been echoed on the current connection. */
  readonly proven: boolean;
  /** Marks of the current connection without an echo, oldest first. */
  readonly marks: readonly Mark[];
  /** The last `n` used; it counts up across connections, so no two marks are alike. */
  readonly lastMark: number;
  /** Why the server refused an edit on the current connection. */
  readonly refusal: string | null;
}

export type AckEvent =
  /** The socket opened; nothing has been exchanged. */
  | { readonly type: "opened" }
  /** The server's Step1 has been answered with our Step2, and its Step2 has been applied. */
  | { readonly type: "exchanged" }
  | { readonly type: "closed" }
  /** A local edit was made, connected or not. */
  | { readonly type: "edited" }
  /** A mark left on the current connection, after every edit made so far. */
  | { readonly type: "marked"; readonly n: number; readonly nowMs: number }
  | { readonly type: "echoed"; readonly n: number }
  | { readonly type: "refused"; readonly reason: string };

export type AckStatus =
  /** A viewer: there is nothing of ours to save. */
  | "watching"
  /** Not connected, and no edit is waiting. */
  | "idle"
  /** Not connected; edits wait on this device. */
  | "kept"
  | "saving"
  | "saved"
  | "refused";

/** Without an echo for this long, the mark is sent again. */
export const MARK_RETRY_MS = 3_000;
/** Without an echo for this long, the connection is given up. */
export const MARK_STUCK_MS = 10_000;

export function newDurableAck(options: { writes: boolean; unsent: boolean }): DurableAck {
  return {
    writes: options.writes,
    link: "down",
    edits: options.writes && options.unsent ? 1 : 0,
    durable: 0,
    proven: false,
    marks: [],
    lastMark: 0,
    refusal: null,
  };
}

export function after(ack: DurableAck, event: AckEvent): DurableAck {
  switch (event.type) {
    case "opened":
      return { ...ack, link: "opening", proven: false, marks: [], refusal: null };
    case "exchanged":
      return ack.link === "opening" ? { ...ack, link: "exchanged" } : ack;
    case "closed":
      return { ...ack, link: "down", proven: false, marks: [], refusal: null };
    case "edited":
      return ack.writes ? { ...ack, edits: ack.edits + 1 } : ack;
    case "marked": {
      if (ack.link !== "exchanged" || event.n <= ack.lastMark) return ack;
      const mark: Mark = { n: event.n, covers: ack.edits, sentAtMs: event.nowMs };
      return { ...ack, lastMark: event.n, marks: [...ack.marks, mark] };
    }
    case "echoed": {
      const mark = ack.marks.find(({ n }) => n === event.n);
      if (mark === undefined) return ack;
      return {
        ...ack,
        proven: true,
        durable: Math.max(ack.durable, mark.covers),
        marks: ack.marks.filter(({ n }) => n > event.n),
      };
    }
    case "refused":
      return ack.writes && ack.link !== "down" ? { ...ack, refusal: event.reason } : ack;
  }
}

/** The mark to send now, if one is due. */
export function markDue(ack: DurableAck, nowMs: number): number | null {
  if (!ack.writes || ack.link !== "exchanged") return null;
  if (ack.proven && ack.durable === ack.edits) return null;
  const newest = ack.marks.at(-1);
  if (newest !== undefined && nowMs - newest.sentAtMs < MARK_RETRY_MS) return null;
  return ack.lastMark + 1;
}

/** Whether the connection has stayed silent for so long that it should be replaced. */
export function isStuck(ack: DurableAck, nowMs: number): boolean {
  const oldest = ack.marks[0];
  return oldest !== undefined && nowMs - oldest.sentAtMs >= MARK_STUCK_MS;
}

export function hasUnsavedEdits(ack: DurableAck): boolean {
  return ack.durable < ack.edits || ack.refusal !== null;
}

export function ackStatus(ack: DurableAck): AckStatus {
  if (!ack.writes) return "watching";
  if (ack.refusal !== null) return "refused";
  if (ack.link !== "exchanged") return hasUnsavedEdits(ack) ? "kept" : "idle";
  return ack.proven && ack.durable === ack.edits ? "saved" : "saving";
}
