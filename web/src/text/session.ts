/**
 * One page's membership of one text room, as a small view that pages subscribe to. The client of the
 * `well` protocol (`sdk/client`) does the work: it numbers edits, keeps them in a queue in IndexedDB
 * until the server says that they are durable, and sends them again after every break.
 */

import { Client, IndexedDbQueue, MemoryQueue, sendOrphans, type Queue, type TransportKind } from "@thewell/client";
import { TextRoom } from "@thewell/client/text";
import { init } from "@thewell/text";
import { whyOf, type Connection, type Unstored } from "../room/connection";
import type { AckStatus } from "../room/durable-ack";
import type { Role } from "../room/slug";
import { tokenFor } from "../room/tokens";

export interface TextView {
  readonly connection: Connection;
  /** *Saved* is said when the server has acked every edit as durable, and not before. */
  readonly ack: AckStatus;
  /** Why the server refused the last edit, which is not in the text any more. */
  readonly refusal: string | null;
  /** What was taken out of the text again; null when there is nothing, or it has been put away. */
  readonly lost: LostEdits | null;
  readonly mayWrite: boolean;
  /** Whether the text has arrived. */
  readonly loaded: boolean;
  /** Whether unsent edits would outlive this page. */
  readonly keepsEdits: boolean;
  readonly transport: TransportKind | null;
}

/** Edits that the server will never have: the one that it refused, and what was written after it. */
export interface LostEdits {
  /** Why, in the server's words. */
  readonly reason: string;
  /** What they had inserted; the latest, if it is more than `LOST_MAX`. */
  readonly text: string;
}

const SPACE = "text";
/** So many characters of what was lost are kept, to be copied. */
const LOST_MAX = 16 << 20;
/** How the client tells that the server restarts or is full. */
const CLOSED_WITH = /\b(101[23])\b(?:: (.*))?/s;

export class TextSession {
  readonly client: Client;
  /** Null until the engine and the queue are there. */
  room: TextRoom | null = null;

  private ended = false;
  private readonly listeners = new Set<() => void>();
  private current: TextView;

  constructor(
    readonly name: string,
    role: Role,
  ) {
    const writes = role !== "viewer";
    const token = tokenFor(`${SPACE}/${name}`, Date.now())?.token;
    this.client = new Client({ url: socketUrl(), name: "the well's text page", ...(token === undefined ? {} : { token }) });
    this.current = { connection: { at: "connecting" }, ack: writes ? "idle" : "watching", refusal: null, lost: null, mayWrite: writes, loaded: false, keepsEdits: false, transport: null };
    this.client.on("connected", ({ transport }) => this.show({ transport }));
    this.client.on("disconnected", ({ reason }) => this.offline(reason));
    this.client.on("closed", ({ code, reason }) => this.show({ connection: { at: "refused", code, reason } }));
    // Others should not see somebody for longer than they are here.
    window.addEventListener("pagehide", this.gone);
    void this.begin(role).catch((error: unknown) => {
      if (this.current.connection.at !== "refused") this.show({ connection: { at: "refused", code: 0, reason: String(error) } });
    });
  }

  view = (): TextView => this.current;

  subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  /** Whether the server has every edit. */
  get saved(): boolean {
    return this.room?.room.waiting === 0;
  }

  /** Where edits are that the server has not stored. */
  get unstored(): Unstored {
    if (this.room === null || this.saved || !this.current.mayWrite) return "none";
    if (this.current.keepsEdits) return "device";
    // A client that has been refused has let go of what it kept in memory.
    return this.current.connection.at === "refused" ? "lost" : "page";
  }

  /** An edit was made here: what was refused before has been told for long enough. */
  edited(): void {
    this.show({ refusal: null });
    this.look();
  }

  /** What was lost has been seen to. */
  putAwayLost(): void {
    this.show({ lost: null });
  }

  end(): void {
    if (this.ended) return;
    this.ended = true;
    this.listeners.clear();
    window.removeEventListener("pagehide", this.gone);
    this.room?.leave();
    this.client.close();
  }

  private async begin(role: Role): Promise<void> {
    const name = `${SPACE}/${this.name}`;
    // A viewer has nothing to keep.
    const queue = role === "viewer" ? null : await durableQueue(name);
    await init();
    const made: Queue = queue ?? new MemoryQueue();
    if (this.ended) return made.close();
    const text = await TextRoom.join(this.client, { room: name, role: role === "viewer" ? "viewer" : "editor", queue: made });
    // The page may have been left meanwhile.
    if ((this.ended as boolean)) return text.leave();
    this.room = text;
    const { room } = text;
    this.show({ keepsEdits: queue !== null });
    room.once("joined", () => {
      // What tabs that are gone have left is sent by this one.
      if (queue !== null) void sendOrphans(this.client, name, { room: name, kind: "text", since: room.seq }).catch(() => undefined);
    });
    room.on("joined", ({ mayWrite }) => {
      this.show({ connection: { at: "live" }, loaded: true, mayWrite: mayWrite && role !== "viewer" });
      this.look();
    });
    // What a log that began anew has lost is on its way again.
    room.on("reset", () => this.look());
    room.on("acked", () => this.look());
    room.on("rejected", ({ reason }) => {
      // What builds on the first says no more than that.
      this.show({ refusal: this.current.refusal ?? reason });
      this.look();
    });
    room.on("unkept", () => this.show({ keepsEdits: false }));
    room.on("disconnected", ({ reason }) => this.offline(reason));
    room.on("closed", ({ code, reason }) => this.show({ connection: { at: "refused", code, reason } }));
    text.on("lost", ({ reason, inserted }) => this.lose(reason, inserted));
    text.on("failed", ({ error }) => this.show({ connection: { at: "refused", code: 0, reason: String(error) } }));
    this.look();
  }

  private readonly gone = (event: PageTransitionEvent): void => {
    if (!event.persisted) this.client.close();
  };

  /** What only deleted is back in the text: there is nothing to copy. */
  private lose(reason: string, inserted: string): void {
    if (inserted === "") return;
    const before = this.current.lost === null ? "" : `${this.current.lost.text}\n`;
    this.show({ lost: { reason, text: (before + inserted).slice(-LOST_MAX) } });
  }

  private offline(reason: string): void {
    if (this.current.connection.at === "refused") return;
    const [, code, words] = CLOSED_WITH.exec(reason) ?? [];
    // The connection may be fine, and only this room be left for a while.
    this.show({ connection: { at: "offline", why: whyOf(Number(code), words ?? "") }, transport: this.client.transport ?? null });
    this.look();
  }

  private look(): void {
    const { connection, mayWrite, refusal } = this.current;
    const live = connection.at === "live";
    const waits = (this.room?.room.waiting ?? 0) > 0;
    const ack: AckStatus = !mayWrite ? "watching" : refusal !== null ? "refused" : waits ? (live ? "saving" : "kept") : live ? "saved" : "idle";
    this.show({ ack });
  }

  private show(change: Partial<TextView>): void {
    if (this.ended) return;
    const next = { ...this.current, ...change };
    const same = (Object.keys(change) as (keyof TextView)[]).every((key) => this.current[key] === next[key]);
    if (same) return;
    this.current = next;
    for (const listener of this.listeners) listener();
  }
}

/** Null where the browser has none to give: then edits live as long as the page. */
async function durableQueue(name: string): Promise<IndexedDbQueue | null> {
  try {
    return await IndexedDbQueue.open(name);
  } catch {
    return null;
  }
}

function socketUrl(): string {
  return `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/well`;
}
