/**
 * One page's membership of one room: the document, the socket (y-websocket, unmodified), the offline
 * copy and the durable ack, joined into one small view that pages subscribe to.
 *
 * Flow: load the offline copy, connect, exchange (their Step1 ← our Step2, our Step1 → their Step2),
 * then mark and wait for echoes. Decisions about what is saved live in `durable-ack.ts`; this file
 * only carries events there and frames back.
 *
 * Tabs never talk past the server: BroadcastChannel is off, because an edit that reaches another tab
 * before the log would be visible before it is durable.
 */

import * as decoding from "lib0/decoding";
import * as encoding from "lib0/encoding";
import type { Awareness } from "y-protocols/awareness";
import { WebsocketProvider } from "y-websocket";
import * as Y from "yjs";
import { whyOf, type Connection, type Unstored } from "./connection";
import {
  ackStatus,
  after,
  hasUnsavedEdits,
  isStuck,
  markDue,
  newDurableAck,
  type AckEvent,
  type AckStatus,
  type DurableAck,
} from "./durable-ack";
import { cameFromCopy, OfflineCopy } from "./offline-copy";
import { mayWrite, roleOfQuery, type Role } from "./slug";
import { tokenFor } from "./tokens";

export interface RoomView {
  readonly connection: Connection;
  readonly ack: AckStatus;
  /** Why the server refused an edit, while that matters. */
  readonly refusal: string | null;
  /** Whether edits are taken: the role that was asked for, until the server says that it is less. */
  readonly mayWrite: boolean;
  /** Whether the document has arrived at least once, from the server or from this device. */
  readonly loaded: boolean;
  /** Whether unsent edits would outlive this page. */
  readonly keepsEdits: boolean;
}

export interface RoomAddress {
  /** Where the room's space is mounted, such as `/pit`. */
  readonly mount: string;
  readonly space: string;
  readonly name: string;
  readonly role: Role;
  /** The page's own query, for the server to judge as it stands. */
  readonly query: string;
}

const MESSAGE_SYNC = 0;
const MESSAGE_AUTH = 2;
const MESSAGE_DURABLE_ACK = 102;
const SYNC_STEP_1 = 0;
const AUTH_DENIED = 0;
/** How often late echoes are looked for. */
const TICK_MS = 1_000;
/** One attempt to connect may hang this long (a silent network) before it is begun again. */
const ATTEMPT_TIMEOUT_MS = 10_000;

/** How the server refuses an edit because of the session's role. */
const VIEWERS_REFUSAL = /\bviewer\b/;

type Handler = WebsocketProvider["messageHandlers"][number];

export class RoomSession {
  readonly doc = new Y.Doc();
  readonly provider: WebsocketProvider;
  readonly awareness: Awareness;

  private ack: DurableAck;
  private copy: OfflineCopy | null = null;
  private ended = false;
  private answeredStep1 = false;
  private attemptBeganMs = 0;
  private copyMarkedUnsent = false;
  private markQueued = false;
  private readonly listeners = new Set<() => void>();
  private readonly ticker: ReturnType<typeof setInterval>;
  private current: RoomView;

  constructor(readonly address: RoomAddress) {
    const writes = mayWrite(address.role);
    this.ack = newDurableAck({ writes, unsent: false });
    this.current = {
      connection: { at: "connecting" },
      ack: ackStatus(this.ack),
      refusal: null,
      mayWrite: writes,
      loaded: false,
      keepsEdits: false,
    };
    this.provider = new RoomProvider(socketUrl(address.mount), address.name, this.doc, { connect: false, disableBc: true }, () => socketQuery(address));
    this.awareness = this.provider.awareness;
    this.listen();
    this.ticker = setInterval(() => this.tick(), TICK_MS);
    void this.begin(writes);
  }

  view = (): RoomView => this.current;

  subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  get saved(): boolean {
    return ackStatus(this.ack) === "saved";
  }

  get unstored(): Unstored {
    if (!hasUnsavedEdits(this.ack)) return "none";
    return this.current.keepsEdits ? "device" : "page";
  }

  /** Tries again after a permanent refusal, because a person asked for it. */
  retry(): void {
    this.show({ connection: { at: "connecting" } });
    this.provider.connect();
  }

  end(): void {
    if (this.ended) return;
    this.ended = true;
    clearInterval(this.ticker);
    window.removeEventListener("offline", this.onOffline);
    this.listeners.clear();
    this.provider.destroy();
    this.awareness.destroy();
    void this.copy?.close();
    this.doc.destroy();
  }

  /** A viewer keeps no copy: a copy with unsent edits would make it try to write. */
  private async begin(keepCopy: boolean): Promise<void> {
    if (keepCopy) {
      const copy = await OfflineCopy.open(`${this.address.space}/${this.address.name}`, this.doc);
      if (this.ended) return void copy.close();
      this.copy = copy;
      if (copy.leftUnsent) this.feed({ type: "edited" });
      this.show({ keepsEdits: copy.keeps, loaded: this.doc.store.clients.size > 0 });
    }
    this.provider.connect();
  }

  private listen(): void {
    const { provider } = this;
    provider.on("status", ({ status }) => {
      if (status === "connecting") this.attemptBeganMs = Date.now();
      if (status === "connected") {
        this.answeredStep1 = false;
        this.feed({ type: "opened" });
      }
    });
    provider.on("sync", (synced) => {
      if (!synced) return;
      this.show({ connection: { at: "live" }, loaded: true });
      this.settleExchange();
    });
    provider.on("connection-close", (event) => {
      this.feed({ type: "closed" });
      // Offline lasts until the document is live again: a server that opens and closes at once,
      // as one that is starting may, should not make the page flicker.
      const { connection } = this.current;
      const before = connection.at === "offline" ? connection.why : null;
      const why = whyOf(event?.code, event?.reason ?? "") ?? before;
      if (connection.at !== "offline" || why?.code !== before?.code || why?.reason !== before?.reason) {
        this.show({ connection: { at: "offline", why } });
      }
    });
    provider.on("closed", ({ code, reason }) => {
      this.show({ connection: { at: "refused", code, reason } });
    });
    this.doc.on("update", (_update: Uint8Array, origin: unknown) => {
      // What the copy held is covered by its `leftUnsent`, and what the server sent is the server's.
      if (origin !== provider && !cameFromCopy(origin)) this.feed({ type: "edited" });
    });
    const readSync = provider.messageHandlers[MESSAGE_SYNC];
    if (readSync !== undefined) provider.messageHandlers[MESSAGE_SYNC] = this.noticeStep1(readSync);
    provider.messageHandlers[MESSAGE_AUTH] = (_encoder, decoder) => {
      if (decoding.readVarUint(decoder) !== AUTH_DENIED) return;
      const reason = decoding.readVarString(decoder);
      if (VIEWERS_REFUSAL.test(reason)) this.show({ mayWrite: false });
      this.feed({ type: "refused", reason });
    };
    provider.messageHandlers[MESSAGE_DURABLE_ACK] = (_encoder, decoder) => {
      const body = decoding.createDecoder(decoding.readVarUint8Array(decoder));
      this.feed({ type: "echoed", n: decoding.readVarUint(body) });
    };
    window.addEventListener("offline", this.onOffline);
  }

  /** Wraps y-websocket's own handler to learn when the server's Step1 is being answered. */
  private noticeStep1(readSync: Handler): Handler {
    return (encoder, decoder, provider, emitSynced, messageType) => {
      const isStep1 = decoding.peekVarUint(decoder) === SYNC_STEP_1;
      readSync(encoder, decoder, provider, emitSynced, messageType);
      if (!isStep1) return;
      // The Step2 in `encoder` leaves when this message has been handled, so wait for that.
      queueMicrotask(() => {
        this.answeredStep1 = true;
        this.settleExchange();
      });
    };
  }

  private settleExchange(): void {
    if (this.answeredStep1 && this.provider.synced) this.feed({ type: "exchanged" });
  }

  private feed(event: AckEvent): void {
    if (this.ended) return;
    this.ack = after(this.ack, event);
    const unsent = hasUnsavedEdits(this.ack);
    if (unsent !== this.copyMarkedUnsent) {
      this.copyMarkedUnsent = unsent;
      this.copy?.setUnsent(unsent);
    }
    this.show({ ack: ackStatus(this.ack), refusal: this.ack.refusal });
    this.queueMark();
  }

  /** The mark must follow the frames of the edits it covers: those leave in the same task. */
  private queueMark(): void {
    if (this.markQueued) return;
    this.markQueued = true;
    queueMicrotask(() => {
      this.markQueued = false;
      this.sendMark();
    });
  }

  private sendMark(): void {
    const { ws } = this.provider;
    const nowMs = performance.now();
    const n = markDue(this.ack, nowMs);
    if (this.ended || n === null || ws === null || ws.readyState !== ws.OPEN) return;
    ws.send(encodeMark(n));
    this.feed({ type: "marked", n, nowMs });
  }

  private tick(): void {
    this.sendMark();
    const { provider } = this;
    const hangs = provider.wsconnecting && Date.now() - this.attemptBeganMs > ATTEMPT_TIMEOUT_MS;
    if (hangs || isStuck(this.ack, performance.now())) this.reconnect();
  }

  /** The browser thinks the network went away. If it did not, this costs one quick reconnect. */
  private onOffline = (): void => {
    if (this.provider.wsconnected) this.reconnect();
  };

  private reconnect(): void {
    this.provider.disconnect();
    this.provider.connect();
  }

  private show(change: Partial<RoomView>): void {
    if (this.ended) return;
    const next = { ...this.current, ...change };
    const same = (Object.keys(change) as (keyof RoomView)[]).every((key) => this.current[key] === next[key]);
    if (same) return;
    this.current = next;
    for (const listener of this.listeners) listener();
  }
}

export function encodeMark(n: number): Uint8Array<ArrayBuffer> {
  const body = encoding.createEncoder();
  encoding.writeVarUint(body, n);
  const message = encoding.createEncoder();
  encoding.writeVarUint(message, MESSAGE_DURABLE_ACK);
  encoding.writeVarUint8Array(message, encoding.toUint8Array(body));
  return encoding.toUint8Array(message);
}

/** y-websocket takes parameters apart and spells them anew; the page's query goes to the server as it is. */
class RoomProvider extends WebsocketProvider {
  constructor(
    server: string,
    name: string,
    doc: Y.Doc,
    options: ConstructorParameters<typeof WebsocketProvider>[3],
    private readonly query: () => string,
  ) {
    super(server, name, doc, options);
  }

  /** Asked for at every attempt: a better token may have come meanwhile. */
  override get url(): string {
    const query = this.query();
    return query === "" ? super.url : `${super.url}?${query}`;
  }
}

/** A page that watches says so, whatever its address does. A browser's socket shows its token in the query. */
function socketQuery({ space, name, role, query }: RoomAddress): string {
  const asked = query.replace(/^\?/, "");
  const watches = role === "viewer" && roleOfQuery(asked) !== "viewer";
  const token = tokenFor(`${space}/${name}`, Date.now())?.token;
  return [...(asked === "" ? [] : [asked]), ...(watches ? ["role=viewer"] : []), ...(token === undefined ? [] : [`token=${token}`])].join("&");
}

function socketUrl(mount: string): string {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  return `${scheme}://${location.host}${mount}`;
}
