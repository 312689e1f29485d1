/** The words for what happened beside edits. */

import type { Mark } from "../../past/timeline";
import { isRecord } from "../../room/browser-storage";

export function markName({ kind, seq, details }: Mark): string {
  const from = isRecord(details) ? details : {};
  switch (kind) {
    case "created": return "Room created";
    case "deleted": return "Room deleted";
    case "titled": return typeof details === "string" ? `Titled “${details}”` : "Titled";
    case "restored": return typeof from["seq"] === "number" ? `Restored to record ${from["seq"].toLocaleString()}` : "Restored";
    case "forked": return typeof from["room"] === "string" ? `Forked from ${from["room"]}${typeof from["seq"] === "number" ? ` at record ${from["seq"].toLocaleString()}` : ""}` : "Forked from another room";
    case "snapshot": return `Snapshot of record ${seq.toLocaleString()}`;
    default: return kind;
  }
}
