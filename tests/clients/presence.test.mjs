/** Who is here: seen at once, gone in time, never gone by mistake, and cheap in a crowd. */

import assert from "node:assert/strict";
import { after, describe, it } from "node:test";
import WebSocket from "ws";
import {
  AWARENESS,
  Client,
  LIBRARIES,
  RawClient,
  STEP_2,
  SYNC,
  awarenessMessage,
  insertion,
  parse,
  readAwareness,
  step1,
  updateMessage,
} from "./peers.mjs";
import { Server, pause, until } from "./server.mjs";

const server = await Server.start();
after(() => server.remove());
const mount = `${server.ws}/yjs/doc`;
const Library = LIBRARIES["y-websocket 3.1.0"];

/** A raw client that is present, and a library's client that sees it. */
async function pair(room, client = 4711) {
  const raw = await RawClient.open(`${mount}/${room}`);
  raw.send(step1());
  await raw.nextOf(SYNC, STEP_2);
  raw.send(awarenessMessage(client, 1, { name: "raw" }));
  const observer = await new Client(Library, mount, room).synced();
  await until("the observer sees it", () => observer.seen().includes(client));
  return { raw, observer, client };
}

describe("presence", { concurrency: true }, () => {
  for (const [name, Each] of Object.entries(LIBRARIES)) {
    it(`both sides see each other and what changes (${name})`, async () => {
      const room = `seen-${name}`;
      const a = await new Client(Each, mount, room).synced();
      const b = await new Client(Each, mount, room).synced();
      a.awareness.setLocalStateField("user", { name: "Ada" });
      b.awareness.setLocalStateField("user", { name: "Bob" });
      const sees = (/** @type {Client} */ who, /** @type {Client} */ whom) =>
        who.awareness.getStates().get(whom.doc.clientID)?.user?.name;
      await until("each sees the other", () => sees(a, b) === "Bob" && sees(b, a) === "Ada");
      a.awareness.setLocalStateField("user", { name: "Ada L." });
      await until("a change arrives", () => sees(b, a) === "Ada L.");
      const late = await new Client(Each, mount, room).synced();
      await until("who comes late sees both", () => sees(late, a) === "Ada L." && sees(late, b) === "Bob");
      for (const client of [a, b, late]) client.destroy();
    });
  }

  it("one that closes is gone at once", async () => {
    const { raw, observer, client } = await pair("closes");
    raw.close();
    await until("it is gone", () => !observer.seen().includes(client), 1_000);
    observer.destroy();
  });

  it("one whose connection breaks is gone after 3 to 5 seconds", async () => {
    const { raw, observer, client } = await pair("breaks");
    const cut = performance.now();
    raw.cut();
    await until("it is gone", () => !observer.seen().includes(client), 8_000);
    const seconds = (performance.now() - cut) / 1000;
    assert.ok(seconds >= 3 && seconds <= 5.5, `gone after ${seconds.toFixed(2)} s`);
    observer.destroy();
  });

  it("one that comes back quickly, with the clock it had, is never invisible", async () => {
    const { raw, observer, client } = await pair("returns");
    /** @type {number[]} */
    const removed = [];
    observer.awareness.on("change", (/** @type {{ removed: number[] }} */ change) => removed.push(...change.removed));
    raw.cut();
    await pause(700);
    const again = await RawClient.open(`${mount}/returns`);
    again.send(awarenessMessage(client, 1, { name: "raw" }));
    // Longer than the grace: if it is ever called gone, it is by now.
    await pause(6_000);
    assert.deepEqual(removed, []);
    assert.ok(observer.seen().includes(client));
    again.close();
    await until("and it is gone when it leaves", () => !observer.seen().includes(client), 1_000);
    observer.destroy();
  });

  for (const [how, end] of /** @type {[string, (old: RawClient) => void][]} */ ([
    ["is cut", (old) => old.cut()],
    ["is closed", (old) => old.close()],
  ])) {
    it(`one that is back, with a newer clock, before its old connection ${how} keeps its place`, async () => {
      const room = `hangs-${how}`;
      const { raw, observer, client } = await pair(room);
      /** @type {number[]} */
      const removed = [];
      observer.awareness.on("change", (/** @type {{ removed: number[] }} */ change) => removed.push(...change.removed));
      const again = await RawClient.open(`${mount}/${room}`);
      again.send(awarenessMessage(client, 2, { name: "raw" }));
      // What one connection sends is taken in order: after this the room has heard it.
      again.send(updateMessage(insertion("x")));
      await again.settle();
      end(raw);
      await pause(6_000);
      assert.deepEqual(removed, []);
      assert.ok(observer.seen().includes(client));
      again.close();
      await until("and it is gone when it leaves", () => !observer.seen().includes(client), 1_000);
      observer.destroy();
    });

    it(`a library's client that is back before its old connection ${how} is seen`, async () => {
      const room = `overlaps-${how}`;
      const old = await new Client(Library, mount, room).synced();
      const { awareness, doc } = old;
      awareness.setLocalStateField("user", { name: "Ada" });
      const observer = await new Client(Library, mount, room).synced();
      await until("it is seen", () => observer.seen().includes(doc.clientID));
      // The same page, on a second connection; the first one ends only then.
      const again = await new Client(Library, mount, room, { doc, awareness }).synced();
      old.provider.shouldConnect = false;
      end(/** @type {any} */ ({ cut: () => /** @type {any} */ (old.provider.ws).terminate(), close: () => old.provider.ws?.close() }));
      await pause(6_000);
      await until("it is still seen", () => observer.seen().includes(doc.clientID), 1_000);
      again.destroy();
      observer.destroy();
    });
  }

  for (const [name, Each] of Object.entries(LIBRARIES)) {
    it(`one that disconnects and connects again is soon seen again (${name})`, async () => {
      const room = `reconnects-${name}`;
      const a = await new Client(Each, mount, room).synced();
      const b = await new Client(Each, mount, room).synced();
      a.awareness.setLocalStateField("user", { name: "Ada" });
      const sees = () => b.awareness.getStates().get(a.doc.clientID)?.user?.name === "Ada";
      await until("it is seen", sees);
      for (let round = 1; round <= 3; round += 1) {
        a.provider.disconnect();
        await until("it is gone", () => !sees());
        a.provider.connect();
        await a.synced();
        await until(`it is seen again, round ${round}`, sees, 3_000);
      }
      a.destroy();
      b.destroy();
    });
  }

  it("nobody can speak for someone who is there", async () => {
    const { raw, observer, client } = await pair("impostor");
    const impostor = await RawClient.open(`${mount}/impostor`);
    impostor.send(awarenessMessage(client, 99, { name: "someone else" }));
    impostor.send(awarenessMessage(client, 100, null));
    impostor.send(updateMessage(insertion("x")));
    await impostor.settle();
    raw.send(awarenessMessage(client, 2, { name: "still me" }));
    await until("the owner's word counts", () => observer.awareness.getStates().get(client)?.name === "still me");
    impostor.close();
    raw.close();
    observer.destroy();
  });

  it("twenty clients that repeat what they hear do not make each other repeat it", async () => {
    const clients = 20;
    const changes = 10;
    let heard = 0;
    class Counting extends WebSocket {
      /** @param {string} url */
      constructor(url) {
        super(url);
        this.on("message", (/** @type {Buffer} */ data) => {
          const message = parse(new Uint8Array(data));
          if (message.type === AWARENESS) heard += readAwareness(message.body).size;
        });
      }
    }
    const crowd = await Promise.all(
      Array.from({ length: clients }, () =>
        new Client(Library, mount, "crowd", { WebSocketPolyfill: /** @type {any} */ (Counting) }).synced(),
      ),
    );
    // A client that has never changed its state is not seen by others: that is how y-protocols is.
    for (const client of crowd) client.awareness.setLocalStateField("cursor", { n: 0 });
    const all = (/** @type {Client} */ client) => client.seen().length === clients;
    await until("everyone sees everyone", () => crowd.every(all));
    heard = 0;
    for (let n = 1; n <= changes; n += 1) {
      for (const client of crowd) client.awareness.setLocalStateField("cursor", { n });
      const arrived = (/** @type {Client} */ client) =>
        [...client.awareness.getStates().values()].every((state) => state.cursor?.n === n);
      await until("the change is seen by all", () => crowd.every(arrived));
    }
    await pause(500); // Echoes, if there were any, would come now.
    // Each change goes to everyone once. Repeated, it would be 20 times as much.
    const bound = changes * clients * clients;
    assert.ok(heard <= bound * 1.2, `${heard} entries were heard, ${bound} would do`);
    assert.ok(heard >= changes * clients * (clients - 1), `${heard} entries cannot have reached everyone`);
    for (const client of crowd) client.destroy();
  });
});
