/**
 * Where operations wait until the server has said that they are durable.
 *
 * A queue also knows who the client is: operations are numbered by client, so a queue that outlives
 * the program must keep both, and one program (one tab) at a time may use it.
 */

import { MAX_CLIENT } from "./limits.js";

/** An operation that waits. */
export interface Operation {
  /** Its number. */
  readonly number: number;
  /** The last Seq the client had seen when it was written. */
  readonly base: number;
  /** The update. */
  readonly payload: Uint8Array;
}

/** What a queue holds when it is opened. */
export interface Waiting {
  /** Oldest first. */
  readonly operations: readonly Operation[];
  /** The number of the last operation there ever was; 0 for none. */
  readonly last: number;
}

/** Keeps operations until they are durable on the server. */
export interface Queue {
  /** Who numbers the operations: 1 to 2^53 - 1. */
  readonly client: number;

  /** What waits. */
  load(): Promise<Waiting> | Waiting;

  /** Keeps one more. It is kept when this returns, or when the promise is fulfilled. */
  push(operation: Operation): Promise<void> | undefined;

  /** Every operation up to this number is dealt with. */
  acked(number: number): Promise<void> | undefined;

  /** This operation was refused. */
  rejected(number: number): Promise<void> | undefined;

  /** Nobody here uses it any more. */
  close(): void;
}

/** A client's number at random. */
export function randomClient(): number {
  for (;;) {
    const [high = 0, low = 0] = crypto.getRandomValues(new Uint32Array(2));
    const client = (high & 0x1f_ffff) * 2 ** 32 + low;
    if (client > 0 && client <= MAX_CLIENT) return client;
  }
}

/** A queue that is lost with the program. The room holds the operations already; this holds none. */
export class MemoryQueue implements Queue {
  /** @param client who numbers the operations; must not be in use elsewhere */
  constructor(readonly client: number = randomClient()) {}

  load(): Waiting {
    return { operations: [], last: 0 };
  }

  push(): undefined {
    return undefined;
  }

  acked(): undefined {
    return undefined;
  }

  rejected(): undefined {
    return undefined;
  }

  close(): void {
    // There is nothing to give back.
  }
}
