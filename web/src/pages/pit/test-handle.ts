/**
 * `window.__well`: what tests and a curious person at the console may look at. Read only; the page
 * itself never uses it. Described in README.md.
 */

import type { WebsocketProvider } from "y-websocket";
import type { Doc } from "yjs";
import type { Connection } from "../../room/connection";
import type { RoomSession } from "../../room/session";

export interface WellHandle {
  readonly doc: Doc;
  readonly provider: WebsocketProvider;
  /** Readable strokes in the document right now. */
  strokeCount(): number;
  /** Whether the latest local edit is proven durable on the current connection. */
  readonly saved: boolean;
  readonly connection: Connection["at"];
}

declare global {
  interface Window {
    /** What it is depends on the page. */
    __well?: object;
  }
}

export function showHandle(session: RoomSession, strokeCount: () => number): () => void {
  const handle: WellHandle = Object.freeze({
    doc: session.doc,
    provider: session.provider,
    strokeCount,
    get saved() {
      return session.saved;
    },
    get connection() {
      return session.view().connection.at;
    },
  });
  window.__well = handle;
  return () => {
    if (window.__well === handle) delete window.__well;
  };
}
