/** `window.__well` on text pages; see README.md. */

import type { TextRoom } from "@thewell/client/text";
import type { TextSession } from "../../text/session";

export function showTextHandle(session: TextSession, room: TextRoom): () => void {
  const handle = Object.freeze({
    text: () => room.toString(),
    cursors: () => room.cursors(),
    /** How many edits the server has not acked. */
    get waiting() {
      return room.room.waiting;
    },
    get saved() {
      return session.view().ack === "saved";
    },
    get connection() {
      return session.view().connection.at;
    },
    get transport() {
      return session.view().transport;
    },
  });
  window.__well = handle;
  return () => {
    if (window.__well === handle) delete window.__well;
  };
}
