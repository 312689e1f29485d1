/** Documents converge, whichever library's clients meet in a room. */

import assert from "node:assert/strict";
import { after, describe, it } from "node:test";
import WebSocket from "ws";
import * as Y from "yjs";
import { Client, LIBRARIES, RawClient, STEP_2, SYNC, parse, step1, sweetClient, textOf } from "./peers.mjs";
import { Server, until } from "./server.mjs";

const server = await Server.start();
after(() => server.remove());
const mount = `${server.ws}/yjs/doc`;

/** @type {[string, any, any][]} */
const pairs = [];
for (const [one, First] of Object.entries(LIBRARIES)) {
  for (const [other, Second] of Object.entries(LIBRARIES)) pairs.push([`${one} and ${other}`, First, Second]);
}

for (const [names, First, Second] of pairs) {
  describe(names, () => {
    const room = `meeting of ${names}`;

    it("converge while both are there", async () => {
      const a = await new Client(First, mount, room).synced();
      const b = await new Client(Second, mount, room).synced();
      for (let i = 0; i < 50; i += 1) {
        a.text.insert(0, `a${i} `);
        b.text.insert(b.text.length, `b${i} `);
      }
      const whole = 2 * (10 * 3 + 40 * 4);
      await until("both have everything", () => a.text.length === whole && b.text.length === whole);
      assert.equal(a.text.toString(), b.text.toString());
      await until("the server has it too", async () => {
        return textOf(await server.snapshot("doc", room)) === a.text.toString();
      });
      a.destroy();
      b.destroy();
    });

    it("show a late joiner everything at once", async () => {
      const late = await new Client(Second, mount, room).synced();
      assert.equal(late.text.length, 2 * (10 * 3 + 40 * 4));
      late.destroy();
    });

    it("send what was edited offline before they say that they are in sync", async () => {
      const quiet = `offline, ${names}`;
      /** @type {string[]} What `a` did, in order. */
      const order = [];
      class Watched extends WebSocket {
        /** @param {Uint8Array} message */
        send(message) {
          const { type, subtype, body } = parse(message);
          // Only what the server lacks is sent: the edit is in there, but not the whole text.
          if (type === SYNC && subtype === STEP_2 && Buffer.from(body).includes("alone")) order.push("sent");
          super.send(message);
        }
      }
      const a = await new Client(First, mount, quiet, { WebSocketPolyfill: /** @type {any} */ (Watched) }).synced();
      const b = await new Client(Second, mount, quiet).synced();
      a.text.insert(0, "before ");
      await until("b has it", () => b.text.toString() === "before ");
      a.provider.disconnect();
      await until("a is away", () => !a.provider.wsconnected);
      a.text.insert(a.text.length, "alone");
      b.text.insert(0, "meanwhile ");
      a.provider.on("sync", (/** @type {boolean} */ synced) => {
        if (synced) order.push("in sync");
      });
      a.provider.connect();
      await until("a is back", () => order.includes("in sync"));
      assert.deepEqual(order, ["sent", "in sync"]);
      await until("both converge", () => b.text.toString() === a.text.toString());
      assert.match(a.text.toString(), /meanwhile/);
      a.destroy();
      b.destroy();
    });
  });
}

it("a client of y-sweet and one of y-websocket converge", async () => {
  const room = "sweet";
  const sweet = sweetClient(mount, room);
  const plain = await new Client(LIBRARIES["y-websocket 3.1.0"], mount, room).synced();
  await until("y-sweet is connected", () => sweet.provider.status === "connected");
  sweet.text.insert(0, "sweet");
  await until("it arrives", () => plain.text.toString() === "sweet");
  plain.text.insert(0, "plain ");
  await until("and back", () => sweet.text.toString() === "plain sweet");
  sweet.provider.destroy();
  plain.destroy();
});

it("a pit is the same room under both addresses", async () => {
  const a = await new Client(LIBRARIES["y-websocket 3.1.0"], `${server.ws}/pit`, "abc234").synced();
  const b = await new Client(LIBRARIES["y-websocket 3.1.0"], `${server.ws}/yjs/pit`, "abc234").synced();
  a.text.insert(0, "one room");
  await until("b has it", () => b.text.toString() === "one room");
  a.destroy();
  b.destroy();
});

it("thirty writers at once lose nothing", async () => {
  const room = "crowded";
  const Library = LIBRARIES["y-websocket 3.1.0"];
  const clients = await Promise.all(Array.from({ length: 30 }, () => new Client(Library, mount, room).synced()));
  for (const [i, client] of clients.entries()) {
    for (let n = 0; n < 10; n += 1) client.doc.getMap("map").set(`${i}/${n}`, n);
  }
  const whole = (/** @type {Client} */ client) => client.doc.getMap("map").size === 300;
  await until("everyone has all 300", () => clients.every(whole), 20_000);
  for (const client of clients) client.destroy();
});

it("a client that knows half is sent the other half", async () => {
  const writer = await new Client(LIBRARIES["y-websocket 3.1.0"], mount, "half").synced();
  writer.text.insert(0, "x".repeat(10_000));
  await until("it is there", async () => textOf(await server.snapshot("doc", "half")).length === 10_000);
  const known = new Y.Doc();
  Y.applyUpdate(known, Y.encodeStateAsUpdate(writer.doc));
  writer.text.insert(0, "new");
  await until("it is there", async () => textOf(await server.snapshot("doc", "half")).length === 10_003);

  const raw = await RawClient.open(`${mount}/half`);
  raw.send(step1(Y.encodeStateVector(known)));
  const answer = await raw.nextOf(SYNC, STEP_2);
  assert.ok(answer.body.length < 100, `only the difference is sent, not ${answer.body.length} bytes`);
  Y.applyUpdate(known, answer.body);
  assert.equal(known.getText("text").toString(), writer.text.toString());
  raw.close();
  writer.destroy();
});
