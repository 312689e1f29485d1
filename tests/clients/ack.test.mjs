/** The durable ack: once, in order, never early, never for what was refused. */

import assert from "node:assert/strict";
import { after, it } from "node:test";
import * as decoding from "lib0/decoding";
import { ACK, AUTH, AWARENESS, Client, LIBRARIES, RawClient, ackMessage, insertion, parse, sweetClient, textOf, updateMessage } from "./peers.mjs";
import { Server, until } from "./server.mjs";

const server = await Server.start();
after(() => server.remove());
const mount = `${server.ws}/yjs/doc`;

it("is echoed once each, in the order of asking", async () => {
  const raw = await RawClient.open(`${mount}/order`);
  const numbers = [1, 2, 3, 500, 4, 4, 0, 2 ** 40];
  for (const n of numbers) {
    raw.send(updateMessage(insertion(`${n} `)));
    raw.send(ackMessage(n));
  }
  const acks = () => raw.received.map(parse).filter((message) => message.type === ACK).map((message) => message.n);
  await until("all are echoed", () => acks().length >= numbers.length);
  await raw.settle(77);
  assert.deepEqual(acks(), [...numbers, 77]);
  raw.close();
});

it("covers a thousand updates sent in one go", async () => {
  const raw = await RawClient.open(`${mount}/many`);
  for (let i = 0; i < 1000; i += 1) raw.send(updateMessage(insertion("x")));
  await raw.settle();
  const shown = await (await server.request("/api/v1/rooms/doc/many")).json();
  assert.equal(shown.seq, 1000);
  raw.close();
});

it("is echoed at once when nothing is on its way", async () => {
  const raw = await RawClient.open(`${mount}/nothing`);
  await raw.settle(9);
  raw.close();
});

it("a snapshot asked for after an ack holds what was acked", async () => {
  const raw = await RawClient.open(`${mount}/visible`);
  let expected = 0;
  for (let i = 0; i < 20; i += 1) {
    raw.send(updateMessage(insertion("word ")));
    await raw.settle();
    expected += 5;
    assert.equal(textOf(await server.snapshot("doc", "visible")).length, expected, `after ack ${i + 1}`);
  }
  raw.close();
});

it("survives the death of the process in the next moment", async () => {
  const own = await Server.start();
  for (let round = 1; round <= 3; round += 1) {
    const raw = await RawClient.open(`${own.ws}/yjs/doc/room`);
    raw.send(updateMessage(insertion(`round ${round} `)));
    await raw.settle();
    await own.kill();
    await own.start();
    const text = textOf(await own.snapshot("doc", "room"));
    for (let n = 1; n <= round; n += 1) assert.ok(text.includes(`round ${n} `), `${text} after round ${round}`);
  }
  await own.remove();
});

it("never comes after a refusal, and the client is told why", async () => {
  const raw = await RawClient.open(`${mount}/refused?role=viewer`);
  raw.send(ackMessage(1));
  raw.send(updateMessage(insertion("no")));
  raw.send(ackMessage(2));
  raw.send(ackMessage(3));
  await raw.nextOf(AUTH);
  // y-sweet's client takes a server for dead that answers nothing to its question.
  raw.send(ackMessage(4));
  await raw.nextOf(AWARENESS);
  const acks = raw.received.map(parse).filter((message) => message.type === ACK).map((message) => message.n);
  assert.deepEqual(acks, [1]);
  raw.close();
});

it("@y-sweet/client: local changes are pending, then saved", async () => {
  const client = sweetClient(mount, "sweet");
  await until("connected", () => client.provider.status === "connected");
  /** @type {boolean[]} */
  const changes = [];
  client.provider.on("local-changes", (pending) => changes.push(pending));
  await until("nothing is pending", () => !client.provider.hasLocalChanges);
  client.text.insert(0, "sweet");
  assert.equal(client.provider.hasLocalChanges, true);
  await until("saved", () => !client.provider.hasLocalChanges);
  assert.deepEqual(changes, [true, false]);
  assert.equal(textOf(await server.snapshot("doc", "sweet")), "sweet");
  for (let i = 0; i < 100; i += 1) client.text.insert(0, "y");
  await until("saved again", () => !client.provider.hasLocalChanges);
  assert.equal(client.text.length, 105);
  client.provider.destroy();
});

it("y-websocket: an ack through a message handler of the page's own", async () => {
  const client = await new Client(LIBRARIES["y-websocket 3.1.0"], mount, "handler").synced();
  /** @type {number[]} */
  const echoed = [];
  client.provider.messageHandlers[ACK] = (_encoder, decoder) => {
    echoed.push(decoding.readVarUint(decoding.createDecoder(decoding.readVarUint8Array(decoder))));
  };
  client.text.insert(0, "mark");
  client.provider.ws?.send(ackMessage(12));
  await until("the echo", () => echoed.length === 1);
  assert.deepEqual(echoed, [12]);
  assert.equal(textOf(await server.snapshot("doc", "handler")), "mark");
  client.destroy();
});

it("a client that never asks never hears of it", async () => {
  const raw = await RawClient.open(`${mount}/plain`);
  const other = await RawClient.open(`${mount}/plain`);
  other.send(updateMessage(insertion("x")));
  await other.settle();
  await until("the update arrives", () => raw.received.map(parse).some((message) => message.subtype === 2));
  assert.deepEqual(raw.received.map(parse).filter((message) => message.type === ACK), []);
  raw.close();
  other.close();
});
