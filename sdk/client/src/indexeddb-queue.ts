/**
 * A queue in the browser's IndexedDB, which survives a reload, a crash of the tab, and days offline.
 *
 * One tab at a time may use a queue, or two would give the same number to two operations and the
 * server would take the second for the first. So a name has as many queues as tabs were open at once:
 * each tab holds its own by a Web Lock, which the browser gives back however the tab ends. A new tab
 * adopts the oldest queue that nobody holds, with what waits in it, and makes one if there is none.
 *
 * ```text
 * database "well-queues"
 *   queues      { id, name, client, last }                 key id
 *   operations  { queue: id, number, base, payload }       key [queue, number]
 * Web Lock      "well-queue:" and the id
 * ```
 */

import type { Client } from "./client.js";
import { ClientError } from "./error.js";
import { randomClient, type Operation, type Queue, type Waiting } from "./queue.js";
import type { JoinOptions } from "./room.js";

/** Where a queue lives; the browser's own without it. */
export interface QueuePlatform {
  readonly indexedDB?: IDBFactory;
  readonly locks?: Pick<LockManager, "request">;
}

interface Row {
  readonly id: number;
  readonly name: string;
  readonly client: number;
  readonly last: number;
}

/** A queue of one tab. */
export class IndexedDbQueue implements Queue {
  readonly client: number;

  private constructor(
    private readonly database: IDBDatabase,
    private row: Row,
    private readonly release: () => void,
  ) {
    this.client = row.client;
  }

  /**
   * Adopts or makes the queue of this tab under `name`, such as the room's address.
   *
   * @throws {@link ClientError} `queue` where there is no IndexedDB or no Web Locks (a page that is
   * neither https nor on loopback has none)
   */
  static async open(name: string, platform: QueuePlatform = {}): Promise<IndexedDbQueue> {
    const { locks, database } = await reach(platform);
    for (const row of await rowsOf(database, name)) {
      const queue = await IndexedDbQueue.#hold(database, locks, row);
      if (queue !== undefined) return queue;
    }
    for (;;) {
      const made = { name, client: randomClient(), last: 0 };
      const id = await inQueues(database, "readwrite", (queues) => queues.add(made) as IDBRequest<number>);
      // Another tab may have seen it already, and be quicker.
      const queue = await IndexedDbQueue.#hold(database, locks, { ...made, id });
      if (queue !== undefined) return queue;
    }
  }

  /**
   * The queues under `name` that nobody holds any more and in which something waits. Join the room
   * with each to send it: see {@link sendOrphans}.
   */
  static async orphans(name: string, platform: QueuePlatform = {}): Promise<IndexedDbQueue[]> {
    const { locks, database } = await reach(platform);
    const orphans: IndexedDbQueue[] = [];
    for (const row of await rowsOf(database, name)) {
      const queue = await IndexedDbQueue.#hold(database, locks, row);
      if (queue === undefined) continue;
      if ((await queue.load()).operations.length > 0) orphans.push(queue);
      else queue.close();
    }
    return orphans;
  }

  /** Undefined if another tab has it. */
  static async #hold(database: IDBDatabase, locks: Pick<LockManager, "request">, row: Row): Promise<IndexedDbQueue | undefined> {
    const release = await hold(locks, `well-queue:${row.id}`);
    if (release === undefined) return undefined;
    // Whoever had it until now may have written.
    const now = await inQueues(database, "readonly", (queues) => queues.get(row.id) as IDBRequest<Row>);
    return new IndexedDbQueue(database, now, release);
  }

  async load(): Promise<Waiting> {
    const found = await done(
      this.database.transaction("operations").objectStore("operations").getAll(this.#upTo(Number.MAX_SAFE_INTEGER)) as IDBRequest<Operation[]>,
    );
    const operations = found.map(({ number, base, payload }) => ({ number, base, payload }));
    return { operations, last: Math.max(this.row.last, operations.at(-1)?.number ?? 0) };
  }

  push({ number, base, payload }: Operation): Promise<void> {
    this.row = { ...this.row, last: Math.max(this.row.last, number) };
    const transaction = this.database.transaction(["queues", "operations"], "readwrite");
    transaction.objectStore("queues").put(this.row);
    // A view of a larger buffer would be kept with all of it.
    transaction.objectStore("operations").put({ queue: this.row.id, number, base, payload: payload.slice() });
    return committed(transaction);
  }

  acked(number: number): Promise<void> {
    return this.#delete(this.#upTo(number));
  }

  rejected(number: number): Promise<void> {
    return this.#delete(IDBKeyRange.only([this.row.id, number]));
  }

  close(): void {
    this.release();
  }

  #upTo(number: number): IDBKeyRange {
    return IDBKeyRange.bound([this.row.id, 0], [this.row.id, number]);
  }

  #delete(range: IDBKeyRange): Promise<void> {
    const transaction = this.database.transaction("operations", "readwrite");
    transaction.objectStore("operations").delete(range);
    return committed(transaction);
  }
}

/**
 * Sends what tabs that are gone have left under `name`: each of their queues joins the room for as
 * long as something waits in it. What they wrote comes to this tab as records of others.
 *
 * @returns how many operations there were
 */
export async function sendOrphans(client: Client, name: string, options: Omit<JoinOptions, "queue">, platform: QueuePlatform = {}): Promise<number> {
  let operations = 0;
  for (const queue of await IndexedDbQueue.orphans(name, platform)) {
    const room = await client.join({ ...options, queue });
    operations += room.waiting;
    const look = (): void => {
      if (room.waiting === 0) room.leave();
    };
    room.on("acked", look);
    room.on("rejected", look);
  }
  return operations;
}


async function reach(platform: QueuePlatform): Promise<{ locks: Pick<LockManager, "request">; database: IDBDatabase }> {
  const factory = platform.indexedDB ?? (globalThis as { indexedDB?: IDBFactory }).indexedDB;
  const locks = platform.locks ?? (globalThis as { navigator?: { locks?: LockManager } }).navigator?.locks;
  if (factory === undefined || locks === undefined) {
    throw new ClientError("queue", "a durable queue needs IndexedDB and Web Locks, which a page has over https or on loopback");
  }
  try {
    const opening = factory.open("well-queues", 1);
    opening.onupgradeneeded = () => {
      opening.result.createObjectStore("queues", { keyPath: "id", autoIncrement: true }).createIndex("name", "name");
      opening.result.createObjectStore("operations", { keyPath: ["queue", "number"] });
    };
    return { locks, database: await done(opening) };
  } catch (error) {
    throw new ClientError("queue", `the browser's database cannot be opened: ${String(error)}`, { cause: error });
  }
}

function rowsOf(database: IDBDatabase, name: string): Promise<Row[]> {
  return inQueues(database, "readonly", (queues) => queues.index("name").getAll(name) as IDBRequest<Row[]>);
}

async function inQueues<T>(database: IDBDatabase, mode: IDBTransactionMode, ask: (queues: IDBObjectStore) => IDBRequest<T>): Promise<T> {
  const transaction = database.transaction("queues", mode);
  const [result] = await Promise.all([done(ask(transaction.objectStore("queues"))), committed(transaction)]);
  return result;
}

/** Takes a lock that is free; gives what releases it. */
function hold(locks: Pick<LockManager, "request">, name: string): Promise<(() => void) | undefined> {
  return new Promise((resolve, reject) => {
    locks
      .request(name, { ifAvailable: true }, (lock) => {
        if (lock === null) return resolve(undefined);
        return new Promise<void>((release) => resolve(() => release()));
      })
      .catch(reject);
  });
}

function done<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error("the request failed"));
  });
}

function committed(transaction: IDBTransaction): Promise<void> {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error ?? new Error("the transaction was aborted"));
  });
}
