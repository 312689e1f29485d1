/** What an application holds of a room. */

import type { ClientError } from "./error.js";
import { Emitter } from "./emitter.js";
import type { RejectCode } from "./gen/well/v1/well_pb.js";
import type { Member, Settle } from "./member.js";
import type { Queue } from "./queue.js";

/** Which room to join, and with what. */
export interface JoinOptions {
  /** `space/name` */
  readonly room: string;
  /** What the application takes the room for; another kind is refused. */
  readonly kind?: "yjs" | "opaque" | "text";
  /** What to be; an editor without it. */
  readonly role?: "viewer" | "editor" | "creator";
  /** Where operations wait; memory without it. The room closes it in the end. */
  readonly queue?: Queue;
  /** The application has every record up to this Seq. */
  readonly since?: number;
  /** When the server took that record: if the log has another there, the event `reset` says so. */
  readonly sinceAt?: number;
  /**
   * What the application's document has, in its kind's encoding: used if the records after `since`
   * are too many or gone. Only for the first time that the room is joined.
   */
  readonly version?: Uint8Array;
}

/** What a client that has joined lacked. */
export type State =
  /** The whole document, in its kind's encoding; empty for an empty one. */
  | { readonly snapshot: Uint8Array; readonly difference?: never; readonly records?: never }
  /** What is new since the version that was named. */
  | { readonly difference: Uint8Array; readonly snapshot?: never; readonly records?: never }
  /** What others wrote since the client was here last. */
  | { readonly records: readonly Record[]; readonly snapshot?: never; readonly difference?: never };

/** A record that somebody else wrote. */
export interface Record {
  /** Its place in the room's log. */
  readonly seq: number;
  /** When the server took it, microseconds since the Unix epoch. */
  readonly at: number;
  /** The author's session. */
  readonly session: bigint;
  /** The author's replica in the document; 0 if its update names none. */
  readonly site: number;
  /** Who the author's token says it is; empty for nobody. */
  readonly user: string;
  /** The update. */
  readonly payload: Uint8Array;
}

/** An operation is durable. */
export interface Acked {
  /** Its place in the room's log; undefined if it added nothing to the document and is not there. */
  readonly seq: number | undefined;
  /** When the server took it, microseconds since the Unix epoch; 0 if it was there before. */
  readonly at: number;
  /** How many records stand between the last that its client had seen and it, own ones on their way among them. */
  readonly stale: number;
}

/** An operation was refused for good; `code` is UNSPECIFIED if this client let go of it. */
export interface Rejected {
  readonly operation: number;
  readonly code: RejectCode;
  readonly reason: string;
  readonly payload: Uint8Array;
}

/** The latest word of a replica; its state is undefined when it has left. */
export interface PresenceChange {
  readonly site: number;
  readonly state: unknown;
}

/** What happens in a room. */
export interface RoomEvents {
  /**
   * The client is a member, again if the connection had broken. `state` brings its document up to
   * `head`; of a log that began anew `reset` does, which follows at once.
   */
  joined: { readonly state: State; readonly head: number; readonly mayWrite: boolean; readonly session: bigint };
  /** Others have written this, in order. */
  records: readonly Record[];
  /**
   * The application's document is to be replaced by this one: the client fell behind, or the log
   * `beganAnew` or was restored to an earlier point. Then what the application has is of another past,
   * and the server may lack any of it.
   */
  reset: { readonly snapshot: Uint8Array; readonly head: number; readonly beganAnew: boolean };
  /** An operation of this client is durable. */
  acked: Acked & { readonly operation: number; readonly payload: Uint8Array };
  /** An operation of this client was refused for good. */
  rejected: Rejected;
  /** Who is here has changed. */
  presence: readonly PresenceChange[];
  /** The connection broke, or the server asks to come back later; it is tried again. Operations are kept. */
  disconnected: { readonly reason: string };
  /** The membership has ended for good (4400 to 4499), and nothing more comes. */
  closed: { readonly code: number; readonly reason: string };
  /** The queue failed: operations are sent, but what the server has not acked is lost with the program. */
  unkept: { readonly reason: string };
  /** The server did not take something else, such as a presence state. */
  error: { readonly code: number; readonly reason: string };
}

/** Tells when an operation is durable. */
export interface Ticket {
  /** The operation's number; final once it was sent. */
  readonly number: number;
  /**
   * Waits until the server has said that the operation is durable, over as many connections as that
   * takes. Fails with {@link ClientError} `rejected`, `closed` or `ended`; nobody need look.
   */
  readonly acked: Promise<Acked>;
}

/** A room that the application has joined. */
export class Room extends Emitter<RoomEvents> {
  /** @internal rooms come from `Client.join` */
  constructor(
    /** `space/name` */
    readonly name: string,
    /** Who numbers this client's operations, and the replica of its presence. */
    readonly client: number,
    private readonly member: () => Member | undefined,
    private readonly said: () => void,
    private readonly quit: () => void,
    private readonly ended: () => ClientError,
  ) {
    super();
  }

  /** Whether the client is a member at the moment. */
  get isJoined(): boolean {
    return this.member()?.standing.at === "in";
  }

  /** How many operations wait for the server; 0 means that everything is durable. */
  get waiting(): number {
    return this.member()?.waiting ?? 0;
  }

  /** The client has everything up to this Seq. */
  get seq(): number {
    return this.member()?.since ?? 0;
  }

  /** The payloads that wait, oldest first: after a restart, those of the queue. */
  waitingPayloads(): Uint8Array[] {
    return this.member()?.payloads() ?? [];
  }

  /** Everyone else who is here. */
  get others(): readonly PresenceChange[] {
    return this.member()?.others() ?? [];
  }

  /**
   * Fails if an operation would not be taken, before it is made.
   *
   * @throws {@link ClientError} `full`, `ended`
   */
  check(): void {
    this.#writer().checkSpace();
  }

  /**
   * Hands in an operation. It need not be connected for that.
   *
   * @throws {@link ClientError} `full`, `ended`
   */
  submit(payload: Uint8Array): Ticket {
    return this.#hand((member, settle) => member.submit(payload, settle));
  }

  /**
   * Hands in an operation that goes before all that wait, because they build on it. Only for documents
   * in which the same update may come twice, as the CRDTs' may: what waits gets new numbers.
   *
   * @throws {@link ClientError} `ended`
   */
  submitFirst(payload: Uint8Array): Ticket {
    return this.#hand((member, settle) => member.submitFirst(payload, settle));
  }

  /** Says where this client is: anything that JSON holds; undefined to be gone. The last word counts. */
  setPresence(state: unknown): void {
    const member = this.member();
    if (member === undefined) return;
    member.setPresence(state === undefined ? undefined : new TextEncoder().encode(JSON.stringify(state)));
    this.said();
  }

  /**
   * Asks for the whole document, because the application's has become useless: `joined` brings it.
   * Nothing is sent before.
   */
  refresh(): void {
    this.member()?.wantWhole();
    this.said();
  }

  /**
   * Lets go of the operations that wait and are `doomed`, which is asked of each, oldest first: the
   * server can take them never. `rejected` tells of each, with `RejectCode.UNSPECIFIED`.
   */
  withdraw(doomed: (payload: Uint8Array) => boolean, reason: string): void {
    this.member()?.withdraw(doomed, reason);
  }

  /** Leaves. What waits stays in the queue. */
  leave(): void {
    this.quit();
  }

  #hand(submit: (member: Member, settle: Settle) => () => number): Ticket {
    const member = this.#writer();
    let settle: Settle | undefined;
    const acked = new Promise<Acked>((resolve, reject) => {
      settle = { acked: resolve, refused: reject };
    });
    // Who does not look at the ticket hears of it by events.
    acked.catch(() => undefined);
    if (settle === undefined) throw new TypeError("a promise runs its executor at once");
    const number = submit(member, settle);
    this.said();
    return {
      get number() {
        return number();
      },
      acked,
    };
  }

  #writer(): Member {
    const member = this.member();
    if (member === undefined) throw this.ended();
    return member;
  }

  /** @internal for the connection */
  tell<K extends keyof RoomEvents>(name: K, event: RoomEvents[K]): void {
    this.emit(name, event);
  }
}
