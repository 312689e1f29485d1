/** The queue of a tab: what it keeps, and how tabs stay apart. */

import "fake-indexeddb/auto";
import { IDBFactory } from "fake-indexeddb";
import { describe, expect, it } from "vitest";
import { Client, IndexedDbQueue, sendOrphans, type Operation } from "../src/index.js";
import { bytes, Fake, text, until } from "./fake.js";

/** Web Locks as a browser has them for all its tabs; `crash` ends a tab that holds some. */
class Locks {
  readonly #held = new Map<string, number>();
  readonly #crashed = new Set<number>();

  of(tab: number): Pick<LockManager, "request"> {
    const request = async (name: string, _options: LockOptions, callback: LockGrantedCallback<unknown>): Promise<unknown> => {
      await Promise.resolve();
      if (this.#held.has(name)) return callback(null);
      this.#held.set(name, tab);
      await callback({ name, mode: "exclusive" });
      if (!this.#crashed.has(tab)) this.#held.delete(name);
      return undefined;
    };
    return { request: request as LockManager["request"] };
  }

  crash(tab: number): void {
    this.#crashed.add(tab);
    for (const [name, holder] of this.#held) if (holder === tab) this.#held.delete(name);
  }
}

function browser() {
  const [indexedDB, locks] = [new IDBFactory(), new Locks()];
  return { tab: (id: number) => ({ indexedDB, locks: locks.of(id) }), locks };
}

const operation = (number: number): Operation => ({ number, base: number - 1, payload: bytes(`payload ${number}`) });
const numbers = async (queue: IndexedDbQueue): Promise<number[]> => (await queue.load()).operations.map(({ number }) => number);

describe("a queue", () => {
  it("keeps what is not acked, and who wrote it, over a crash", async () => {
    const { tab, locks } = browser();
    const queue = await IndexedDbQueue.open("a", tab(1));
    expect(await queue.load()).toEqual({ operations: [], last: 0 });
    for (let number = 1; number <= 100; number += 1) await queue.push(operation(number));
    await queue.acked(60);
    await queue.rejected(70);
    locks.crash(1);
    const again = await IndexedDbQueue.open("a", tab(2));
    expect(again.client).toBe(queue.client);
    const { operations, last } = await again.load();
    expect(last).toBe(100);
    expect(operations.map(({ number }) => number)).toEqual(Array.from({ length: 40 }, (_, n) => n + 61).filter((it) => it !== 70));
    expect(operations[0]).toEqual(operation(61));
    await again.acked(100);
    again.close();
    const third = await IndexedDbQueue.open("a", tab(3));
    expect([third.client, await third.load()]).toEqual([queue.client, { operations: [], last: 100 }]);
  });

  it("keeps a view's bytes, and not the buffer behind it", async () => {
    const { tab } = browser();
    const queue = await IndexedDbQueue.open("a", tab(1));
    await queue.push({ number: 1, base: 0, payload: new Uint8Array(1_000).fill(7).subarray(10, 12) });
    const [kept] = (await queue.load()).operations;
    expect([kept?.payload, kept?.payload.buffer.byteLength]).toEqual([Uint8Array.of(7, 7), 2]);
  });

  it("belongs to one tab: others have their own, and another name has another", async () => {
    const { tab } = browser();
    const [one, two, other] = [await IndexedDbQueue.open("a", tab(1)), await IndexedDbQueue.open("a", tab(2)), await IndexedDbQueue.open("b", tab(1))];
    expect(new Set([one.client, two.client, other.client]).size).toBe(3);
    await one.push(operation(1));
    await two.push(operation(1));
    await one.acked(1);
    expect([await numbers(one), await numbers(two)]).toEqual([[], [1]]);
  });

  it("is never given to two of many tabs that open at once", async () => {
    const { tab } = browser();
    for (let round = 0; round < 3; round += 1) {
      const queues = await Promise.all(Array.from({ length: 20 }, (_, id) => IndexedDbQueue.open("a", tab(id))));
      expect(new Set(queues.map(({ client }) => client)).size).toBe(20);
      for (const queue of queues) queue.close();
      await new Promise((done) => setTimeout(done, 5));
    }
  });

  it("is not to be had without Web Locks", async () => {
    await expect(IndexedDbQueue.open("a")).rejects.toMatchObject({ code: "queue" });
  });
});

it("what tabs have left is sent by the next one, each once", async () => {
  const { tab, locks } = browser();
  for (const id of [1, 2, 3]) {
    const queue = await IndexedDbQueue.open("a", tab(id));
    await queue.push({ ...operation(1), payload: bytes(`tab ${id}`) });
    await queue.push({ ...operation(2), payload: bytes(`tab ${id} again`) });
  }
  // The third is still there.
  locks.crash(1);
  locks.crash(2);
  const fake = new Fake();
  const client = new Client({ url: "ws://nowhere", connect: fake.connect });
  expect(await sendOrphans(client, "a", { room: "doc/a" }, tab(4))).toBe(4);
  await until("they are sent, and their rooms left", () => fake.log.length === 4 && fake.line.members.size === 0);
  expect(fake.log.map(({ payload }) => payload).sort()).toEqual(["tab 1", "tab 1 again", "tab 2", "tab 2 again"]);
  client.close();
  await new Promise((done) => setTimeout(done, 10));
  const free = await IndexedDbQueue.open("a", tab(5));
  expect((await free.load()).operations.map(({ payload }) => text(payload))).toEqual([]);
});
