/**
 * A room, from the connection's side: what waits, what was sent, what is known. It sends nothing by
 * itself and knows no clock: whoever has the connection asks for what there is to say and hands in
 * what was heard.
 *
 * An operation is numbered once and kept in the queue; then it is sent, and sent again after every
 * break, until an Ack or a Reject deals with it. The server writes it once.
 */

import { Backoff } from "./backoff.js";
import { ClientError } from "./error.js";
import { DocumentKind, RejectCode, Role, type Ack, type Joined, type Records, type Reject, type Reset, type Span } from "./gen/well/v1/well_pb.js";
import { GONE_REMEMBERED, MAX_PRESENCE_CLOCK, QUEUED_OPERATIONS, SUBMIT_BYTES } from "./limits.js";
import type { Operation, Queue, Waiting } from "./queue.js";
import type { Acked, JoinOptions, PresenceChange, Record, RoomEvents, State } from "./room.js";
import { numberOf, type Say } from "./wire.js";

/** How much may be on its way in one room. */
export interface Window {
  readonly operations: number;
  readonly bytes: number;
}

/** Where the membership stands: to be asked for (not before then, in milliseconds), asked for, or given. */
export type Standing = { readonly at: "away"; readonly untilMs: number } | { readonly at: "asked"; readonly request: number } | { readonly at: "in"; readonly number: number };

/** What becomes of an operation. */
export interface Settle {
  acked(acked: Acked): void;
  refused(error: ClientError): void;
}

interface Pending {
  operation: Operation;
  readonly settle: Settle | undefined;
  /** The queue has it. Before that it is not sent: its number might be given again. */
  kept: boolean;
  /** It was written in this life of the queue. */
  readonly fresh: boolean;
}

/** A record that the client has, and every one before it. */
interface Since {
  readonly seq: number;
  /** Its time, by which the server knows whether its log still has it; 0 if that is not known. */
  readonly at: number;
}

/** Tells the application. */
export type Tell = <K extends keyof RoomEvents>(name: K, event: RoomEvents[K]) => void;

const KINDS = { any: DocumentKind.UNSPECIFIED, yjs: DocumentKind.YJS, opaque: DocumentKind.OPAQUE, text: DocumentKind.TEXT } as const;
const ROLES = { editor: Role.UNSPECIFIED, viewer: Role.VIEWER, creator: Role.CREATOR } as const;

/** One room of a client. */
export class Member {
  standing: Standing = { at: "away", untilMs: 0 };
  readonly backoff = new Backoff();
  /** An operation was refused, and the membership ends for that. */
  refused = false;
  /** When presence is to be said on the stream too: it went on a datagram, which may be lost. */
  settleMs = Infinity;

  /** What waits for its ack, oldest first. */
  readonly #pending: Pending[];
  /** How many of them, from the oldest, have been sent in this membership. */
  #sent = 0;
  #sentBytes = 0;
  #last: number;
  /** Whether it was ever joined. */
  #known = false;
  /** The client has everything up to this record. */
  #since: Since | undefined;
  /** Own records after that, ascending: each first Seq, and the last of them. */
  #own: { readonly first: number; last: Since }[] = [];
  #version: Uint8Array | undefined;
  /** The whole document is wanted, whatever the client has. */
  #wantsWhole = false;
  #presence: Uint8Array | undefined;
  // A replica that comes back with the clock it had is not heard by those who saw it leave; time
  // goes on also where a queue's client begins anew.
  #presenceClock = Date.now();
  #presenceSent = true;
  /** The latest of every other replica. */
  readonly #others = new Map<number, { clock: number; state: string | undefined }>();

  constructor(
    private readonly options: JoinOptions,
    private readonly queue: Queue,
    waiting: Waiting,
    private readonly tell: Tell,
    /** Something can be said now. */
    private readonly wake: () => void,
  ) {
    this.#pending = waiting.operations.map((operation) => ({ operation, settle: undefined, kept: true, fresh: false }));
    this.#last = waiting.last;
    this.#since = options.since === undefined ? undefined : { seq: options.since, at: options.sinceAt ?? 0 };
    this.#version = options.version;
  }

  /** Everything up to it is here. */
  get since(): number {
    return this.#since?.seq ?? 0;
  }

  /** How many operations wait for the server. */
  get waiting(): number {
    return this.#pending.length;
  }

  /** The payloads that wait, oldest first. */
  payloads(): Uint8Array[] {
    return this.#pending.map(({ operation }) => operation.payload);
  }

  /** Fails if no more operations may wait. */
  checkSpace(): void {
    if (this.#pending.length < QUEUED_OPERATIONS) return;
    throw new ClientError("full", `${this.#pending.length} operations wait for the server, as many as may`);
  }

  /** Takes an operation; gives its number, as it is by the time that it is sent. */
  submit(payload: Uint8Array, settle: Settle): () => number {
    this.checkSpace();
    this.#last += 1;
    const pending: Pending = { operation: { number: this.#last, base: this.since, payload }, settle, kept: false, fresh: true };
    this.#pending.push(pending);
    this.#keep(pending);
    return () => pending.operation.number;
  }

  /**
   * Takes an operation that goes before all that wait. They get new numbers: for documents that do not
   * mind if the server has one of them already.
   */
  submitFirst(payload: Uint8Array, settle: Settle): () => number {
    const later = this.#pending.splice(0);
    const number = this.submit(payload, settle);
    for (const pending of later) {
      const before = pending.operation.number;
      this.#last += 1;
      pending.operation = { ...pending.operation, number: this.#last };
      pending.kept = false;
      this.#pending.push(pending);
      this.#keep(pending);
      this.#note(this.queue.rejected(before));
    }
    return number;
  }

  /** Says where this client is; undefined to be gone. */
  setPresence(state: Uint8Array | undefined): void {
    this.#nextClock();
    this.#presence = state;
    this.#presenceSent = false;
  }

  /** The membership is over, or there never was one. */
  away(untilMs: number): void {
    this.standing = { at: "away", untilMs };
    this.refused = false;
    this.#sent = 0;
    this.#sentBytes = 0;
    this.#presenceSent = this.#presence === undefined;
    this.settleMs = Infinity;
    this.#nextClock();
  }

  /** Wants the whole document: nothing more is sent in this membership. */
  wantWhole(): void {
    this.#wantsWhole = true;
  }

  /** Whether the membership is to be left for that: what was sent has been dealt with, and the server does not end it. */
  get isToLeave(): boolean {
    return this.#wantsWhole && !this.refused && this.#sent === 0;
  }

  /** Asks for the room. */
  join(request: number): Say {
    this.standing = { at: "asked", request };
    if (this.#wantsWhole) this.#forgetPast();
    return {
      case: "join",
      value: {
        request,
        room: this.options.room,
        kind: KINDS[this.options.kind ?? "any"],
        role: ROLES[this.options.role ?? "editor"],
        client: BigInt(this.queue.client),
        ...(this.#since === undefined ? {} : { since: BigInt(this.#since.seq), sinceAt: BigInt(this.#since.at) }),
        ...(this.#version === undefined ? {} : { version: this.#version }),
      },
    };
  }

  /** What waits, as far as the window goes. */
  submits(number: number, window: Window): Say[] {
    const say: Say[] = [];
    if (this.#wantsWhole) return say;
    for (;;) {
      const first = this.#pending[this.#sent];
      if (first === undefined) break;
      const payloads: Uint8Array[] = [];
      let bytes = 0;
      for (;;) {
        const next = this.#pending[this.#sent];
        if (next?.kept !== true) break;
        const { length } = next.operation.payload;
        const follows =
          next.operation.number === first.operation.number + payloads.length &&
          next.operation.base === first.operation.base &&
          (bytes === 0 || bytes + length <= SUBMIT_BYTES);
        const fits = this.#sent < window.operations && (this.#sentBytes === 0 || this.#sentBytes + length <= window.bytes);
        if (!follows || !fits) break;
        payloads.push(next.operation.payload);
        bytes += length;
        this.#sent += 1;
        this.#sentBytes += length;
      }
      if (payloads.length === 0) break;
      const { number: operation, base } = first.operation;
      say.push({ case: "submit", value: { number, operation: BigInt(operation), base: BigInt(base), payloads } });
    }
    return say;
  }

  /** Where this client is. */
  presence(number: number): Say {
    this.#presenceSent = true;
    this.settleMs = Infinity;
    const entry = {
      site: BigInt(this.queue.client),
      clock: BigInt(this.#presenceClock),
      ...(this.#presence === undefined ? {} : { state: this.#presence }),
    };
    return { case: "presence", value: { number, entries: [entry] } };
  }

  /** Whether presence is to be said: not at all, at once, or on the stream because it may have been lost. */
  presenceDue(now: number): "no" | "now" | "settle" {
    if (!this.#presenceSent) return "now";
    return now >= this.settleMs ? "settle" : "no";
  }

  joined(joined: Joined): void {
    this.standing = { at: "in", number: joined.number };
    this.backoff.reset();
    const lastOperation = numberOf(joined.lastOperation);
    if (!this.#known) this.#renumber(lastOperation);
    this.#known = true;
    this.#last = Math.max(this.#last, lastOperation);
    // From here on the Seq says it better.
    this.#version = undefined;
    this.#wantsWhole = false;
    const { content, beganAnew } = joined;
    if (beganAnew) this.#forgetPast();
    let state: State;
    if (content.case === "records") state = { records: this.#foreign(content.value.spans) };
    else if (content.case === "difference") state = { difference: content.value };
    else state = { snapshot: content.value ?? new Uint8Array() };
    const head = numberOf(joined.head);
    this.#reach({ seq: head, at: numberOf(joined.headAt) });
    // Everyone who is here is told of anew.
    const gone = [...this.#others].filter(([, { state }]) => state !== undefined);
    this.#others.clear();
    const told = { head, mayWrite: joined.role !== Role.VIEWER, session: joined.session };
    if (beganAnew && state.snapshot !== undefined) {
      this.tell("joined", { ...told, state: { records: [] } });
      this.tell("reset", { snapshot: state.snapshot, head, beganAnew });
    } else this.tell("joined", { ...told, state });
    if (gone.length > 0) this.tell("presence", gone.map(([site]) => ({ site, state: undefined })));
  }

  acked(ack: Ack): void {
    const placed = ack.placed.map((it) => ({
      operation: numberOf(it.operation),
      seq: numberOf(it.seq),
      count: numberOf(it.count),
      at: numberOf(it.at),
      stale: numberOf(it.stale),
    }));
    for (const { seq, count, at } of placed) this.#hold(seq, { seq: seq + Math.max(count, 1) - 1, at });
    this.#reach({ seq: 0, at: 0 });
    const through = numberOf(ack.operation);
    const settled: (() => void)[] = [];
    while (this.#pending[0] !== undefined && this.#pending[0].operation.number <= through) {
      const { operation, settle } = this.#drop(0);
      const at = placed.find((it) => operation.number >= it.operation && operation.number < it.operation + it.count);
      const acked: Acked = {
        seq: at === undefined ? undefined : at.seq + operation.number - at.operation,
        at: at?.at ?? 0,
        stale: at?.stale ?? 0,
      };
      settled.push(() => {
        settle?.acked(acked);
        this.tell("acked", { operation: operation.number, payload: operation.payload, ...acked });
      });
    }
    // It is sent once more after a restart if that fails, and told where it is.
    this.#note(this.queue.acked(through));
    for (const settle of settled) settle();
  }

  rejected(reject: Reject): void {
    const { code } = reject;
    this.refused = code !== RejectCode.READ_ONLY;
    if (code === RejectCode.WINDOW || code === RejectCode.RATE || code === RejectCode.NOT_STORED) return;
    const number = numberOf(reject.operation);
    const at = this.#pending.findIndex(({ operation }) => operation.number === number);
    if (at < 0) return;
    this.#refuse(at, code, reject.message);
  }

  /** Lets go of the operations that are `doomed`, which is asked of each, oldest first. */
  withdraw(doomed: (payload: Uint8Array) => boolean, reason: string): void {
    const numbers = this.#pending.filter(({ operation }) => doomed(operation.payload)).map(({ operation }) => operation.number);
    for (const number of numbers) this.#refuse(this.#pending.findIndex(({ operation }) => operation.number === number), RejectCode.UNSPECIFIED, reason);
  }

  /**
   * What others have written.
   *
   * @throws {@link ClientError} `malformed` if something is missing before it
   */
  records(records: Records): void {
    const after = numberOf(records.after);
    if (this.#since === undefined || after > this.#since.seq) {
      throw new ClientError("malformed", `records after ${after} came, and there are none from ${this.since} on`);
    }
    const foreign = this.#foreign(records.spans);
    const through = numberOf(records.through);
    const last = foreign.at(-1);
    this.#reach({ seq: through, at: last?.seq === through ? last.at : numberOf(records.throughAt) });
    if (foreign.length > 0) this.tell("records", foreign);
  }

  reset(reset: Reset): void {
    const head = numberOf(reset.head);
    this.#forgetPast();
    this.#reach({ seq: head, at: numberOf(reset.headAt) });
    this.tell("reset", { snapshot: reset.snapshot, head, beganAnew: false });
  }

  /** Who is here: the higher clock wins, with equal clocks the one that is gone. */
  present(entries: readonly { site: bigint; clock: bigint; state?: Uint8Array | undefined }[]): void {
    const changes: PresenceChange[] = [];
    for (const entry of entries) {
      const [site, clock] = [numberOf(entry.site), numberOf(entry.clock)];
      if (site === this.queue.client) continue;
      const known = this.#others.get(site);
      if (known !== undefined && (clock < known.clock || (clock === known.clock && (entry.state !== undefined || known.state === undefined)))) continue;
      const state = entry.state === undefined ? undefined : new TextDecoder().decode(entry.state);
      this.#others.set(site, { clock, state });
      const parsed = parse(state);
      if (parsed !== undefined || known?.state !== undefined) changes.push({ site, state: parsed });
    }
    this.#forgetGone();
    if (changes.length > 0) this.tell("presence", changes);
  }

  /** Everyone else who is here, with the latest state. */
  others(): PresenceChange[] {
    return [...this.#others].flatMap(([site, { state }]) => (state === undefined ? [] : [{ site, state: parse(state) }]));
  }

  /** Nothing more is sent or heard; what waits stays in the queue. */
  end(error: ClientError): void {
    for (const { settle } of this.#pending) settle?.refused(error);
    this.queue.close();
  }

  /** Puts an operation into the queue. Should that fail it is sent nevertheless, and not kept. */
  #keep(pending: Pending): void {
    let kept: Promise<void> | undefined;
    const { operation } = pending;
    const done = (): void => {
      // Under another number it is being kept anew.
      if (pending.operation === operation) pending.kept = true;
      this.wake();
    };
    try {
      kept = this.queue.push(operation);
    } catch (error) {
      this.tell("unkept", { reason: String(error) });
    }
    if (kept === undefined) return done();
    kept.then(done, (error: unknown) => {
      this.tell("unkept", { reason: String(error) });
      done();
    });
  }

  /**
   * A queue that lost its end, or could not keep all, does not know the last numbers it gave. What was
   * written since and never sent gets new ones, or the server would take it for what it has.
   */
  #renumber(lastOperation: number): void {
    const at = this.#pending.findIndex(({ fresh }) => fresh);
    const first = this.#pending[at];
    if (first === undefined || first.operation.number > lastOperation) return;
    const by = lastOperation + 1 - first.operation.number;
    for (const pending of this.#pending.slice(at).reverse()) {
      const { number } = pending.operation;
      pending.operation = { ...pending.operation, number: number + by };
      pending.kept = false;
      this.#note(this.queue.rejected(number));
    }
    for (const pending of this.#pending.slice(at)) this.#keep(pending);
    this.#last += by;
  }

  #note(noted: Promise<void> | undefined): void {
    noted?.catch((error: unknown) => this.tell("unkept", { reason: String(error) }));
  }

  #refuse(at: number, code: RejectCode, reason: string): void {
    const { operation, settle } = this.#drop(at);
    const { number, payload } = operation;
    this.#note(this.queue.rejected(number));
    settle?.refused(new ClientError("rejected", `the operation was not taken: ${reason}`));
    this.tell("rejected", { operation: number, code, reason, payload });
  }

  #drop(at: number): Pending {
    const [dropped] = this.#pending.splice(at, 1);
    if (dropped === undefined) throw new RangeError(`nothing waits at ${at}`);
    if (at < this.#sent) {
      this.#sent -= 1;
      this.#sentBytes -= dropped.operation.payload.length;
    }
    return dropped;
  }

  /** The records that this client neither wrote nor has. */
  #foreign(spans: readonly Span[]): Record[] {
    const records: Record[] = [];
    for (const span of spans) {
      const first = numberOf(span.seq);
      let at = numberOf(span.at);
      for (const [n, payload] of span.payloads.entries()) {
        if (n > 0) at += span.later[n - 1] ?? 0;
        const seq = first + n;
        if (seq <= (this.#since?.seq ?? -1) || this.#isOwn(seq)) continue;
        records.push({ seq, at, session: span.session, site: numberOf(span.site), user: span.user, payload });
      }
    }
    return records;
  }

  #isOwn(seq: number): boolean {
    return this.#own.some(({ first, last }) => seq >= first && seq <= last.seq);
  }

  /** These records are own ones. */
  #hold(first: number, last: Since): void {
    const at = this.#own.findIndex((own) => own.first >= first);
    const place = at < 0 ? this.#own.length : at;
    const there = this.#own[place];
    if (there?.first === first) there.last = further(there.last, last);
    else this.#own.splice(place, 0, { first, last });
  }

  /** The client has everything up to `to`, and as far beyond as what follows is its own. */
  #reach(to: Since): void {
    let since = further(this.#since ?? { seq: 0, at: 0 }, to);
    let used = 0;
    for (const { first, last } of this.#own) {
      if (first > since.seq + 1) break;
      since = further(since, last);
      used += 1;
    }
    this.#own.splice(0, used);
    if (this.#since !== undefined || to.seq > 0 || this.standing.at === "in") this.#since = since;
  }

  /** What the client had counts no more. */
  #forgetPast(): void {
    this.#since = undefined;
    this.#own = [];
    this.#version = undefined;
  }

  #nextClock(): void {
    this.#presenceClock = Math.min(this.#presenceClock + 1, MAX_PRESENCE_CLOCK);
  }

  #forgetGone(): void {
    let gone = [...this.#others.values()].filter(({ state }) => state === undefined).length;
    if (gone <= GONE_REMEMBERED) return;
    for (const [site, { state }] of this.#others) {
      if (gone <= GONE_REMEMBERED / 2) return;
      if (state !== undefined) continue;
      this.#others.delete(site);
      gone -= 1;
    }
  }
}

/** The one that is further, or says more. */
function further(a: Since, b: Since): Since {
  return b.seq > a.seq || (b.seq === a.seq && a.at === 0) ? b : a;
}

/** What JSON says; what is none says nothing. */
function parse(state: string | undefined): unknown {
  if (state === undefined) return undefined;
  try {
    return JSON.parse(state) as unknown;
  } catch {
    return undefined;
  }
}
