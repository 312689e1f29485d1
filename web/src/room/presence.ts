/**
 * Who is here and where, through awareness: `{ user: {name, color}, role, cursor: {x, y} | null,
 * drawing }`. Never stored. What others publish is read with suspicion.
 */

import type { Awareness } from "y-protocols/awareness";
import { isRecord } from "./browser-storage";
import { cleanColor, cleanName, type Identity } from "./identity";

/** Who may draw is a creator to others. */
export type PresenceRole = "creator" | "viewer";

export interface Whereabouts {
  /** In canvas units; null while the pointer is elsewhere. */
  readonly cursor: { readonly x: number; readonly y: number } | null;
  readonly drawing: boolean;
}

export interface Peer extends Whereabouts {
  readonly client: number;
  readonly name: string;
  readonly color: string;
  readonly role: PresenceRole;
}

/** 25 Hz. */
const PUBLISH_MS = 40;
const NOWHERE: Whereabouts = { cursor: null, drawing: false };

/** Publishes our own presence: the latest place wins, at most 25 times a second. */
export class OwnPresence {
  private latest: Whereabouts = NOWHERE;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private publishedMs = 0;

  constructor(
    private readonly awareness: Awareness,
    private me: Identity,
    private readonly role: PresenceRole,
  ) {
    this.publish();
  }

  rename(me: Identity): void {
    this.me = me;
    this.publish();
  }

  move(whereabouts: Whereabouts): void {
    this.latest = whereabouts;
    if (this.timer !== undefined) return;
    const wait = Math.max(0, PUBLISH_MS - (performance.now() - this.publishedMs));
    this.timer = setTimeout(() => this.publish(), wait);
  }

  close(): void {
    clearTimeout(this.timer);
  }

  private publish(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.publishedMs = performance.now();
    const { name, color } = this.me;
    this.awareness.setLocalState({ user: { name, color }, role: this.role, ...this.latest });
  }
}

/** Everyone else, in a stable order. */
export function peersOf(awareness: Awareness): readonly Peer[] {
  const peers: Peer[] = [];
  for (const [client, state] of awareness.getStates()) {
    if (client === awareness.clientID) continue;
    const peer = readPeer(client, state);
    if (peer !== null) peers.push(peer);
  }
  return peers.sort((a, b) => a.client - b.client);
}

export function readPeer(client: number, state: unknown): Peer | null {
  if (!isRecord(state)) return null;
  const user = isRecord(state["user"]) ? state["user"] : {};
  const cursor = isRecord(state["cursor"]) ? state["cursor"] : {};
  const { x, y } = cursor;
  return {
    client,
    name: cleanName(user["name"]) ?? "Someone",
    color: cleanColor(user["color"]),
    role: state["role"] === "viewer" ? "viewer" : "creator",
    cursor: typeof x === "number" && typeof y === "number" && Number.isFinite(x) && Number.isFinite(y) ? { x, y } : null,
    drawing: state["drawing"] === true,
  };
}
