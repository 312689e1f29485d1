/** How a server ends, and what it remembers: SIGTERM, kill -9, and the clients that come back. */

import assert from "node:assert/strict";
import { it } from "node:test";
import * as Y from "yjs";
import {
  ACK,
  Client,
  LIBRARIES,
  RawClient,
  STEP_2,
  SYNC,
  UPDATE,
  ackMessage,
  insertion,
  parse,
  step1,
  textOf,
  updateMessage,
} from "./peers.mjs";
import { Server, pause, until } from "./server.mjs";

it("SIGTERM: everyone is closed with 1012, the process ends with 0, and nothing sent before is lost", async () => {
  const server = await Server.start();
  const members = [];
  for (let i = 0; i < 40; i += 1) {
    const raw = await RawClient.open(`${server.ws}/yjs/doc/room-${i % 8}`);
    raw.send(updateMessage(insertion(`${i};`)));
    members.push(raw);
  }
  await Promise.all(members.map((raw) => raw.settle()));
  const exit = await server.stop();
  assert.deepEqual({ code: exit.code, signal: exit.signal }, { code: 0, signal: null }, server.log);
  assert.ok(exit.ms < 30_000);
  for (const raw of members) assert.equal((await raw.closes()).code, 1012);
  await server.start();
  for (let i = 0; i < 40; i += 1) {
    assert.ok(textOf(await server.snapshot("doc", `room-${i % 8}`)).includes(`${i};`));
  }
  await server.remove();
});

it("SIGTERM does not wait for a client that reads nothing", async () => {
  const server = await Server.start();
  const deaf = await RawClient.open(`${server.ws}/yjs/doc/deaf`);
  deaf.send(step1());
  await deaf.nextOf(SYNC, STEP_2);
  deaf.socket.pause();
  const writer = await RawClient.open(`${server.ws}/yjs/doc/deaf`);
  for (let i = 0; i < 20; i += 1) writer.send(updateMessage(insertion("x".repeat(500_000))));
  await writer.settle();
  const exit = await server.stop();
  assert.equal(exit.code, 0, server.log);
  deaf.cut();
  await server.remove();
});

it("a second signal ends it at once, and says so with its code", async () => {
  const server = await Server.start();
  const raw = await RawClient.open(`${server.ws}/yjs/doc/x`);
  raw.send(step1());
  await raw.nextOf(SYNC, STEP_2);
  // Without members there is nothing to wait for; one signal is enough then, so this is a race by
  // nature: whichever way it goes, the process has ended, and quickly.
  process.kill(server.pid, "SIGTERM");
  const exit = await server.stop();
  assert.ok(exit.ms < 10_000);
  await server.remove();
});

for (const [name, Library] of Object.entries(LIBRARIES)) {
  it(`a restart is ridden out by ${name}: it comes back and all converge`, async () => {
    const server = await Server.start();
    const mount = `${server.ws}/yjs/doc`;
    const a = await new Client(Library, mount, "restart").synced();
    const b = await new Client(Library, mount, "restart").synced();
    a.text.insert(0, "before ");
    await until("b has it", () => b.text.toString() === "before ");
    await server.stop();
    await until("both noticed", () => !a.provider.wsconnected && !b.provider.wsconnected);
    a.text.insert(0, "while-away-a ");
    b.text.insert(0, "while-away-b ");
    await server.start();
    await until("both are back", () => a.provider.synced && b.provider.synced, 20_000);
    const whole = (/** @type {string} */ text) => ["before ", "while-away-a ", "while-away-b "].every((part) => text.includes(part));
    await until("both have all", () => whole(a.text.toString()) && a.text.toString() === b.text.toString());
    assert.ok(whole(textOf(await server.snapshot("doc", "restart"))));
    a.destroy();
    b.destroy();
    await server.remove();
  });
}

it("kill -9 in the middle of edits: what was acked or seen by a peer is there", async () => {
  const server = await Server.start();
  /** Per room: the keys that a writer was acked, or a reader saw. */
  const promised = new Map();
  for (let round = 0; round < 5; round += 1) {
    const rooms = Array.from({ length: 4 }, (_, i) => `crash-${i}`);
    const writers = [];
    for (const room of rooms) {
      const known = promised.get(room) ?? promised.set(room, new Set()).get(room);
      const reader = await RawClient.open(`${server.ws}/yjs/doc/${room}`);
      reader.send(step1());
      await reader.nextOf(SYNC, STEP_2);
      reader.socket.on("message", (/** @type {Buffer} */ data) => {
        const message = parse(new Uint8Array(data));
        if (message.type !== SYNC || message.subtype !== UPDATE) return;
        for (const key of keysOf(message.body)) known.add(key);
      });
      for (let w = 0; w < 5; w += 1) writers.push(writer(server, room, `${round}/${w}`, known));
    }
    const all = await Promise.all(writers);
    await until("there is something to lose", () => all.every(({ acked }) => acked() >= 3), 20_000);
    await pause(Math.random() * 200);
    await server.kill();
    for (const { stop } of all) stop();
    await server.start();
    for (const room of rooms) {
      const present = new Set(keysOf(/** @type {Uint8Array} */ (await server.snapshot("doc", room))));
      const lost = [...promised.get(room)].filter((key) => !present.has(key));
      assert.deepEqual(lost, [], `round ${round}, room ${room}: ${present.size} keys are there`);
    }
  }
  await server.remove();
});

/**
 * Writes keys as fast as they are acked, eight in flight.
 * @param {Server} server
 * @param {string} room
 * @param {string} name
 * @param {Set<string>} known
 */
async function writer(server, room, name, known) {
  const raw = await RawClient.open(`${server.ws}/yjs/doc/${room}`);
  const doc = new Y.Doc();
  let sent = 0;
  let acked = 0;
  const send = () => {
    if (raw.closed !== null) return;
    sent += 1;
    doc.getMap("map").set(`${name}/${sent}`, sent);
    raw.send(ackMessage(sent));
  };
  doc.on("update", (/** @type {Uint8Array} */ update) => raw.send(updateMessage(update)));
  raw.socket.on("message", (/** @type {Buffer} */ data) => {
    const message = parse(new Uint8Array(data));
    if (message.type !== ACK) return;
    acked = message.n;
    known.add(`${name}/${acked}`);
    send();
  });
  for (let i = 0; i < 8; i += 1) send();
  return { acked: () => acked, stop: () => raw.cut() };
}

/**
 * The keys that an update sets in the map, whatever it builds on.
 * @param {Uint8Array} update
 */
function keysOf(update) {
  return Y.decodeUpdate(update)
    .structs.map((struct) => /** @type {Y.Item} */ (struct).parentSub)
    .filter((key) => key !== null && key !== undefined);
}
