/**
 * A connection to a server, made again whenever it breaks, and everything that outlives it.
 *
 * ```text
 *  pause ─▶ connect, Hello ─▶ Welcome ─▶ Join each room ─▶ Submit as far as the window goes
 *    ▲                                                              │
 *    └──────────── broken: every room is away, nothing was sent ◀───┘
 * ```
 */

import { Backoff } from "./backoff.js";
import { Emitter } from "./emitter.js";
import { ClientError } from "./error.js";
import type { Left, Welcome } from "./gen/well/v1/well_pb.js";
import { CONNECT_MS, MISSED_HEARTBEATS, PRESENCE_AGAIN_MS, PRESENCE_BACKLOG_BYTES, PRESENCE_SETTLE_MS } from "./limits.js";
import { Member, type Window } from "./member.js";
import { MemoryQueue } from "./queue.js";
import { Room, type JoinOptions } from "./room.js";
import { answerOfStranger, overWebSocket, within, type Connect, type Receiver, type SocketClass, type Transport, type TransportKind } from "./transport.js";
import { WebTransportFirst } from "./webtransport.js";
import { decode, encode, VERSION, type Heard, type Say } from "./wire.js";

/** Where and as who to connect. */
export interface ClientOptions {
  /** `ws://host:port/well`, or `wss://…`. */
  readonly url: string;
  /** What the program is, for the server's log: at most 128 bytes. */
  readonly name?: string;
  /** The token to show, if there is one. */
  readonly token?: string;
  /**
   * Whose work this is part of, as W3C Trace Context's `traceparent`: the server's traces of what this client
   * writes are then under that span, and told if it is sampled.
   */
  readonly traceparent?: string;
  /**
   * Whether WebTransport is tried before WebSocket: it is, where the platform has it, unless this is
   * `"websocket"`.
   */
  readonly transport?: "best" | "websocket";
  /** The class of WebSockets; the platform's without it. Node.js before 22 has none: give that of the package `ws`. */
  readonly WebSocket?: SocketClass;
  /** How to connect, for tests and other transports. */
  readonly connect?: Connect;
}

/** What happens to a connection. */
export interface ClientEvents {
  /** There is one. */
  connected: {
    readonly transport: TransportKind;
    /** Why it is not WebTransport, where that was tried. */
    readonly instead: string | undefined;
    /** The connection's id, as it stands in the server's log. */
    readonly session: bigint;
    /** What an acked update survives, in words. */
    readonly durability: string;
  };
  /** It broke, or could not be made, and is tried again after `retryMs`. */
  disconnected: { readonly reason: string; readonly retryMs: number };
  /** The server does not want this client back (4400 to 4499), there is no Well at its address (0), or the client was closed (1000). */
  closed: { readonly code: number; readonly reason: string };
}

/** A connection while it lasts. */
interface Link {
  readonly transport: Transport;
  readonly window: Window;
  readonly heartbeatMs: number;
  heardMs: number;
  pingedMs: number;
}

/** A client of a server. */
export class Client extends Emitter<ClientEvents> {
  readonly #options: ClientOptions;
  readonly #connect: Connect;
  readonly #first: WebTransportFirst | undefined;
  readonly #resumeKey = crypto.getRandomValues(new Uint8Array(16));
  readonly #rooms = new Map<number, { member: Member; room: Room }>();
  readonly #backoff = new Backoff();
  #ids = 0;
  #link: Link | undefined;
  #attempt: AbortController | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #timerMs = Infinity;
  #pausedUntilMs = 0;
  #flushing = false;
  #roundTripMs: number | undefined;
  /** There was a Well at this address: where it was it may be again. */
  #wasWelcomed = false;
  #ended: { readonly code: number; readonly reason: string } | undefined;

  /**
   * Begins to connect. Why it does not succeed is told by the event `disconnected`.
   *
   * @throws {@link ClientError} `unusable` if it never can
   */
  constructor(options: ClientOptions) {
    super();
    this.#options = options;
    if (options.connect === undefined) {
      const socket = overWebSocket(options.url, options.WebSocket);
      this.#first = options.transport === "websocket" ? undefined : WebTransportFirst.where(options.url);
      this.#connect = this.#first?.or(socket) ?? socket;
    } else this.#connect = options.connect;
    if (typeof addEventListener === "function") {
      addEventListener("offline", this.#offline);
      addEventListener("online", this.#online);
    }
    queueMicrotask(() => void this.#open());
  }

  /** Which transport carries the connection; undefined while there is none. */
  get transport(): TransportKind | undefined {
    return this.#link?.transport.kind;
  }

  /** The last measured round trip, in milliseconds. */
  get roundTripMs(): number | undefined {
    return this.#roundTripMs;
  }

  /**
   * Joins a room. It need not be connected for that: the room takes operations at once, and says by
   * its event `joined` when it has been joined.
   *
   * @throws {@link ClientError} `queue` if the queue cannot be read, `ended`
   */
  async join(options: JoinOptions): Promise<Room> {
    const queue = options.queue ?? new MemoryQueue();
    let waiting;
    try {
      waiting = await queue.load();
    } catch (error) {
      queue.close();
      throw new ClientError("queue", `the queue of ${options.room} cannot be read: ${String(error)}`, { cause: error });
    }
    if (this.#ended !== undefined) {
      queue.close();
      throw this.#end();
    }
    this.#ids += 1;
    const id = this.#ids;
    const member = new Member(options, queue, waiting, (name, event) => room.tell(name, event), () => this.#flush());
    const find = (): Member | undefined => this.#rooms.get(id)?.member;
    const room: Room = new Room(options.room, queue.client, find, () => this.#flush(), () => this.#leave(id), () => this.#end());
    this.#rooms.set(id, { member, room });
    this.#flush();
    return room;
  }

  /** Tries to connect now, if it pauses. */
  retry(): void {
    this.#pausedUntilMs = 0;
    this.#tick();
  }

  /** Says goodbye. What waits stays in the queues. */
  close(): void {
    if (this.#ended !== undefined) return;
    this.#link?.transport.send([encode({ case: "goodbye", value: { code: 1000, reason: "", retryAfterMs: 0 } })]);
    this.#finish(1000, "the client was closed");
  }

  async #open(): Promise<void> {
    if (this.#ended !== undefined || this.#attempt !== undefined || this.#link !== undefined) return;
    const attempt = new AbortController();
    this.#attempt = attempt;
    const greeting = new Greeting();
    const hello: Say = {
      case: "hello",
      value: {
        versions: [VERSION],
        token: this.#options.token ?? "",
        clientName: this.#options.name ?? "@thewell/client",
        resumeKey: this.#resumeKey,
        traceparent: this.#options.traceparent ?? "",
      },
    };
    let transport: Transport | undefined;
    try {
      const receiver: Receiver = {
        message: (bytes) => {
          if (this.#attempt === attempt) greeting.message(bytes);
          else if (this.#link !== undefined && this.#link.transport === transport) this.#message(bytes);
        },
        broken: (reason, malformed) => {
          if (this.#attempt === attempt) greeting.broken(reason, malformed);
          else if (this.#link !== undefined && this.#link.transport === transport) this.#broken(reason);
        },
      };
      const welcome = await within(CONNECT_MS, attempt.signal, async (signal) => {
        transport = await this.#connect(receiver, signal);
        transport.send([encode(hello)]);
        return greeting.answer(signal, (welcome) => {
          if (transport !== undefined) this.#welcomed(transport, welcome);
        });
      });
      this.#backoff.reset();
      this.emit("connected", {
        transport: transport?.kind ?? "websocket",
        instead: transport?.kind === "websocket" ? this.#first?.failed : undefined,
        session: welcome.session,
        durability: welcome.durability,
      });
    } catch (error) {
      transport?.close();
      if (this.#attempt !== attempt) return;
      const stranger = this.#wasWelcomed ? undefined : await this.#strangeness(error, transport !== undefined, attempt.signal);
      if (this.#attempt !== attempt) return;
      this.#attempt = undefined;
      if (error instanceof Goodbye) return this.#goodbye(error);
      if (stranger !== undefined) return this.#finish(NO_WELL, `no server of the well protocol answers at ${this.#options.url}: ${stranger}; a Well's address ends in /well`);
      this.#lost(error instanceof Error ? error.message : String(error), 0);
    }
  }

  /** Why what answers is no Well, if that is known. */
  async #strangeness(error: unknown, opened: boolean, signal: AbortSignal): Promise<string | undefined> {
    if (error instanceof ClientError && error.code === "malformed") return "it speaks another";
    const { connect, url } = this.#options;
    return opened || connect !== undefined ? undefined : within(CONNECT_MS, signal, (asking) => answerOfStranger(url, asking));
  }

  /** From here on the connection is in use: at once, because more may lie behind the Welcome. */
  #welcomed(transport: Transport, welcome: Welcome): void {
    const now = performance.now();
    this.#wasWelcomed = true;
    this.#link = {
      transport,
      window: { operations: Math.max(1, welcome.limits?.windowOperations ?? 0), bytes: welcome.limits?.windowBytes ?? 0 },
      heartbeatMs: Math.max(1_000, welcome.heartbeatMs),
      heardMs: now,
      pingedMs: now,
    };
    this.#attempt = undefined;
    this.#flush();
    this.#arm(now + this.#link.heartbeatMs);
    this.#seekBetter(this.#link, now);
  }

  /** A connection that is not WebTransport, where there is some, looks for it now and then. */
  #seekBetter(link: Link, now: number): void {
    const first = this.#first;
    if (first === undefined || link.transport.kind === "webtransport") return;
    if (now < first.againMs) return this.#arm(first.againMs);
    void first.works().then((works) => {
      if (this.#link !== link) return;
      if (!works) return this.#arm(first.againMs);
      this.#broken("WebTransport works by now");
      this.retry();
    });
  }

  #message(bytes: Uint8Array): void {
    const link = this.#link;
    if (link === undefined) return;
    link.heardMs = performance.now();
    try {
      this.#hear(decode(bytes));
    } catch (error) {
      this.#broken(error instanceof Error ? error.message : String(error));
    }
  }

  #hear(heard: Heard): void {
    switch (heard.case) {
      case "joined": {
        const { value } = heard;
        const member = this.#find(({ standing }) => standing.at === "asked" && standing.request === value.request)?.member;
        // It was left while it was being joined.
        if (member === undefined) this.#say({ case: "leave", value: { number: value.number } });
        else member.joined(value);
        break;
      }
      case "left":
        this.#left(heard.value);
        break;
      case "ack":
        this.#number(heard.value.number)?.acked(heard.value);
        break;
      case "reject":
        this.#number(heard.value.number)?.rejected(heard.value);
        break;
      case "records":
        this.#number(heard.value.number)?.records(heard.value);
        break;
      case "reset":
        this.#number(heard.value.number)?.reset(heard.value);
        break;
      case "presence":
        this.#number(heard.value.number)?.present(heard.value.entries);
        break;
      case "ping":
        this.#say({ case: "pong", value: { sent: heard.value.sent, time: 0n } });
        break;
      case "pong":
        this.#roundTripMs = performance.now() - Number(heard.value.sent) / 1_000;
        break;
      case "goodbye": {
        const { code, reason, retryAfterMs } = heard.value;
        this.#drop();
        return this.#goodbye(new Goodbye(code, reason, retryAfterMs));
      }
      case "error": {
        const { code, message, number } = heard.value;
        this.#entry(number)?.room.tell("error", { code, reason: message });
        break;
      }
      default:
        // A kind of message that is not known here, or that says nothing by now.
        return;
    }
    this.#flush();
  }

  #left(left: Left): void {
    const found = this.#find(({ standing }) =>
      left.number === 0 ? standing.at === "asked" && standing.request === left.request : standing.at === "in" && standing.number === left.number,
    );
    if (found === undefined) return;
    const { member, room, id } = found;
    const forGood = isPermanent(left.code) && !member.refused;
    if (forGood) {
      this.#rooms.delete(id);
      member.end(new ClientError("closed", `${room.name} is closed: ${left.reason}`));
      return room.tell("closed", { code: left.code, reason: left.reason });
    }
    member.away(performance.now() + member.backoff.next(left.retryAfterMs));
    room.tell("disconnected", { reason: left.reason });
  }

  #leave(id: number): void {
    const found = this.#rooms.get(id);
    if (found === undefined) return;
    this.#rooms.delete(id);
    if (found.member.standing.at === "in") this.#say({ case: "leave", value: { number: found.member.standing.number } });
    found.member.end(new ClientError("ended", `${found.room.name} was left`));
  }

  /** The connection is of no use any more. */
  #broken(reason: string): void {
    if (this.#link === undefined) return;
    this.#drop();
    this.#lost(reason, 0);
  }

  #drop(): void {
    const link = this.#link;
    this.#link = undefined;
    link?.transport.close();
  }

  #goodbye({ code, message, retryAfterMs }: Goodbye): void {
    if (isPermanent(code)) return this.#finish(code, message);
    this.#lost(`the server said goodbye with ${code}: ${message}`, retryAfterMs);
  }

  /** There is no connection: every room is to be joined anew, after a pause. */
  #lost(reason: string, retryAfterMs: number): void {
    const retryMs = this.#backoff.next(retryAfterMs);
    this.#pausedUntilMs = performance.now() + retryMs;
    this.#arm(this.#pausedUntilMs);
    for (const { member, room } of [...this.#rooms.values()]) {
      const wasIn = member.standing.at === "in";
      member.away(0);
      if (wasIn) room.tell("disconnected", { reason });
    }
    this.emit("disconnected", { reason, retryMs });
  }

  #finish(code: number, reason: string): void {
    this.#ended = { code, reason };
    if (typeof removeEventListener === "function") {
      removeEventListener("offline", this.#offline);
      removeEventListener("online", this.#online);
    }
    clearTimeout(this.#timer);
    this.#attempt?.abort();
    this.#attempt = undefined;
    this.#drop();
    const rooms = [...this.#rooms.values()];
    this.#rooms.clear();
    for (const { member, room } of rooms) {
      member.end(this.#end());
      room.tell("closed", { code, reason });
    }
    this.emit("closed", { code, reason });
  }

  #end(): ClientError {
    if (this.#ended?.code === NO_WELL) return new ClientError("unusable", this.#ended.reason);
    return new ClientError("ended", this.#ended === undefined ? "the room was left or closed" : `the client has ended: ${this.#ended.reason}`);
  }

  #say(say: Say): void {
    this.#link?.transport.send([encode(say)]);
  }

  /** Says what there is to say, once for everything that happens in one turn. */
  #flush(): void {
    if (this.#flushing) return;
    this.#flushing = true;
    queueMicrotask(() => {
      this.#flushing = false;
      this.#fill();
    });
  }

  /** Everything that can be said now: joins that are due, operations as far as the window goes, presence. */
  #fill(): void {
    const link = this.#link;
    if (link === undefined) return;
    const now = performance.now();
    const say: Say[] = [];
    for (const [id, { member }] of this.#rooms) {
      const { standing } = member;
      if (standing.at === "away") {
        if (standing.untilMs <= now) say.push(member.join(id));
        else this.#arm(standing.untilMs);
      } else if (standing.at === "in" && member.isToLeave) {
        say.push({ case: "leave", value: { number: standing.number } });
        member.away(0);
        say.push(member.join(id));
      } else if (standing.at === "in") {
        say.push(...member.submits(standing.number, link.window));
        const due = member.presenceDue(now);
        if (due === "no") {
          this.#arm(member.settleMs);
          continue;
        }
        if (link.transport.backlog > PRESENCE_BACKLOG_BYTES) {
          this.#arm(now + PRESENCE_AGAIN_MS);
          continue;
        }
        const presence = member.presence(standing.number);
        if (due === "now" && link.transport.sendDatagram(encode(presence))) {
          member.settleMs = now + PRESENCE_SETTLE_MS;
          this.#arm(member.settleMs);
        } else say.push(presence);
      }
    }
    if (say.length > 0) link.transport.send(say.map(encode));
  }

  /** Looks at the clock at `atMs`, or before. */
  #arm(atMs: number): void {
    if (atMs >= this.#timerMs) return;
    clearTimeout(this.#timer);
    this.#timerMs = atMs;
    this.#timer = setTimeout(() => this.#tick(), Math.max(0, atMs - performance.now()));
  }

  #tick(): void {
    clearTimeout(this.#timer);
    this.#timerMs = Infinity;
    if (this.#ended !== undefined) return;
    const now = performance.now();
    const link = this.#link;
    if (link === undefined) {
      if (now >= this.#pausedUntilMs) void this.#open();
      else this.#arm(this.#pausedUntilMs);
      return;
    }
    if (now - link.heardMs >= link.heartbeatMs * MISSED_HEARTBEATS) return this.#broken("the server has been silent for too long");
    if (now >= Math.max(link.heardMs, link.pingedMs) + link.heartbeatMs) {
      link.pingedMs = now;
      this.#say({ case: "ping", value: { sent: BigInt(Math.round(now * 1_000)) } });
    }
    this.#arm(Math.max(link.heardMs, link.pingedMs) + link.heartbeatMs);
    this.#seekBetter(link, now);
    this.#fill();
  }

  /** The browser thinks that the network went away. If it did not, this costs one quick reconnect. */
  readonly #offline = (): void => this.#broken("the network is gone");
  readonly #online = (): void => this.retry();

  #find(is: (member: Member) => boolean): { id: number; member: Member; room: Room } | undefined {
    for (const [id, entry] of this.#rooms) {
      if (is(entry.member)) return { id, ...entry };
    }
    return undefined;
  }

  #entry(number: number): { member: Member; room: Room } | undefined {
    return this.#find(({ standing }) => standing.at === "in" && standing.number === number);
  }

  #number(number: number): Member | undefined {
    return this.#entry(number)?.member;
  }
}

/** The server's goodbye. */
class Goodbye extends Error {
  constructor(
    readonly code: number,
    reason: string,
    readonly retryAfterMs: number,
  ) {
    super(reason);
  }
}

/** Waits for the answer to Hello. */
class Greeting {
  #done: ((outcome: Welcome | Error) => void) | undefined;
  #early: Error | undefined;
  #taken: ((welcome: Welcome) => void) | undefined;

  message(bytes: Uint8Array): void {
    try {
      const heard = decode(bytes);
      if (heard.case === "welcome") {
        this.#taken?.(heard.value);
        this.#done?.(heard.value);
      } else if (heard.case === "goodbye") {
        this.#finish(new Goodbye(heard.value.code, heard.value.reason, heard.value.retryAfterMs));
      }
    } catch (error) {
      this.#finish(error instanceof Error ? error : new Error(String(error)));
    }
  }

  broken(reason: string, malformed = false): void {
    this.#finish(malformed ? new ClientError("malformed", reason) : new Error(reason));
  }

  /** `taken` is told of the Welcome before anything behind it is heard. */
  answer(signal: AbortSignal, taken: (welcome: Welcome) => void): Promise<Welcome> {
    this.#taken = taken;
    return new Promise((resolve, reject) => {
      const abort = (): void => reject(new Error("the server did not answer in time"));
      this.#done = (outcome) => {
        signal.removeEventListener("abort", abort);
        if (outcome instanceof Error) reject(outcome);
        else resolve(outcome);
      };
      if (signal.aborted) abort();
      signal.addEventListener("abort", abort);
      if (this.#early !== undefined) this.#done(this.#early);
    });
  }

  #finish(error: Error): void {
    // The reason in a goodbye says more than the end of the connection behind it.
    this.#early ??= error;
    this.#done?.(this.#early);
  }
}

/** The code of an end that no server has told: there is none at this address. */
const NO_WELL = 0;

/** Whether a close code is for good; 4429 asks to come back later. */
function isPermanent(code: number): boolean {
  return code >= 4400 && code <= 4499 && code !== 4429;
}
