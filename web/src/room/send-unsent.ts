/** Sends the edits that an earlier visit left on this device, without anyone opening the room. */

import { RoomSession } from "./session";
import type { Role } from "./slug";

const SEND_TIMEOUT_MS = 15_000;

/** Whether all of them are proven durable now. */
export function sendUnsent(slug: string, role: Role): Promise<boolean> {
  const session = new RoomSession({ mount: "/pit", space: "pit", name: slug, role, query: `role=${role}` });
  // Nobody is there: others should see the edits, and no one with them.
  session.awareness.setLocalState(null);
  return new Promise((resolve) => {
    const finish = (sent: boolean): void => {
      clearTimeout(timer);
      leave();
      session.end();
      resolve(sent);
    };
    const timer = setTimeout(() => finish(false), SEND_TIMEOUT_MS);
    const leave = session.subscribe(() => {
      const { ack, connection } = session.view();
      if (ack === "saved") finish(true);
      else if (ack === "refused" || connection.at === "refused") finish(false);
    });
  });
}
