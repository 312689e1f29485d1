/** The words on the badge, from what the session knows. Pure, so that they can be tested. */

import type { RoomView } from "../../room/session";

/** As much of what a session knows as the badge tells. */
export type Told = Pick<RoomView, "connection" | "ack" | "refusal" | "keepsEdits">;

export type Tone = "good" | "wait" | "bad";

export interface BadgeText {
  readonly tone: Tone;
  /** Connecting, Live, Offline, Refused. */
  readonly connection: string;
  /** What is known about our edits, when there is something to say. */
  readonly edits: string | null;
}

export function badgeText({ connection, ack, refusal, keepsEdits }: Told): BadgeText {
  switch (connection.at) {
    case "connecting":
      return { tone: "wait", connection: "Connecting…", edits: ack === "kept" ? kept(keepsEdits) : null };
    case "offline":
      return {
        tone: "bad",
        connection: connection.why === null ? "Offline" : connection.why.code === 1012 ? "Server restarting" : "Server busy",
        edits: ack === "kept" ? kept(keepsEdits) : null,
      };
    case "refused":
      return { tone: "bad", connection: "Refused", edits: null };
    case "live":
      switch (ack) {
        case "saved":
          return { tone: "good", connection: "Live", edits: "saved" };
        case "refused":
          return { tone: "bad", connection: "Live", edits: `not saved: ${refusal ?? "the server refused it"}` };
        case "watching":
          return { tone: "good", connection: "Live", edits: null };
        case "saving":
        case "kept":
        case "idle":
          return { tone: "wait", connection: "Live", edits: "saving…" };
      }
  }
}

function kept(keepsEdits: boolean): string {
  return keepsEdits ? "kept on this device, will be sent" : "do not close this page, it will be sent";
}
