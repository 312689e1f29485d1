/** The first messages, the silent hours, and what ends a session: message by message. */

import assert from "node:assert/strict";
import { after, describe, it } from "node:test";
import * as Y from "yjs";
import {
  ACK,
  AUTH,
  AWARENESS,
  Client,
  LIBRARIES,
  RawClient,
  STEP_1,
  STEP_2,
  SYNC,
  UPDATE,
  ackMessage,
  awarenessMessage,
  insertion,
  parse,
  readAwareness,
  step1,
  step2,
  syncMessage,
  textOf,
  updateMessage,
} from "./peers.mjs";
import { Server, until } from "./server.mjs";

const server = await Server.start();
after(() => server.remove());
const mount = `${server.ws}/yjs/doc`;

describe("the handshake", { concurrency: true }, () => {
  it("begins with the server's own Step1, unasked", async () => {
    const raw = await RawClient.open(`${mount}/first`);
    const first = parse(await raw.next());
    assert.deepEqual([first.type, first.subtype], [SYNC, STEP_1]);
    assert.deepEqual([...first.body], [0], "the state vector of an empty room");
    raw.close();
  });

  it("answers Step1 in an empty room with the empty update", async () => {
    const raw = await RawClient.open(`${mount}/empty`);
    raw.send(step1());
    assert.equal(parse(await raw.next()).subtype, STEP_1);
    const answer = parse(await raw.next());
    assert.deepEqual([answer.subtype, [...answer.body]], [STEP_2, [0, 0]]);
    raw.close();
  });

  it("sends Step1 before Step2 however early the client asks, then who is here", async () => {
    const writer = await RawClient.open(`${mount}/order`);
    writer.send(awarenessMessage(7, 1, { name: "seven" }));
    writer.send(updateMessage(insertion("order")));
    await writer.settle();
    const raw = new RawClient(`${mount}/order`);
    raw.socket.once("open", () => raw.send(step1()));
    const order = [];
    while (!order.includes("presence") || !order.includes("step2")) {
      const message = parse(await raw.next());
      if (message.type === SYNC) order.push(["step1", "step2", "update"][message.subtype]);
      if (message.type === AWARENESS && message.body.length > 1) {
        assert.deepEqual(readAwareness(message.body).get(7)?.state, { name: "seven" });
        order.push("presence");
      }
    }
    assert.equal(order[0], "step1");
    assert.ok(order.indexOf("step2") > 0);
    writer.close();
    raw.close();
  });

  it("names in its Step1 what the room has", async () => {
    const writer = await RawClient.open(`${mount}/vector`);
    const update = insertion("vector");
    writer.send(updateMessage(update));
    await writer.settle();
    const raw = await RawClient.open(`${mount}/vector`);
    const first = parse(await raw.next());
    assert.deepEqual(Y.decodeStateVector(first.body), Y.decodeStateVector(Y.encodeStateVectorFromUpdate(update)));
    writer.close();
    raw.close();
  });

  it("sends each update to everyone else, and not to its author", async () => {
    const author = await RawClient.open(`${mount}/fanout`);
    const reader = await RawClient.open(`${mount}/fanout`);
    reader.send(step1());
    await reader.nextOf(SYNC, STEP_2);
    const update = insertion("fan-out");
    author.send(updateMessage(update));
    const heard = await reader.nextOf(SYNC, UPDATE);
    assert.deepEqual(heard.body, update);
    await author.settle();
    const own = author.received.map(parse).filter((message) => message.subtype === UPDATE);
    assert.deepEqual(own, []);
    author.close();
    reader.close();
  });

  it("ignores bytes after a message, and types nobody knows", async () => {
    const raw = await RawClient.open(`${mount}/lenient`);
    raw.send(new Uint8Array([...updateMessage(insertion("kept")), 1, 2, 3]));
    raw.send(new Uint8Array([99, 1, 2, 3]));
    raw.send(new Uint8Array([AUTH, 0, 2, 104, 105]));
    await raw.settle();
    assert.equal(textOf(await server.snapshot("doc", "lenient")), "kept");
    raw.close();
  });

  it("answers a query with who is here", async () => {
    const other = await RawClient.open(`${mount}/query`);
    other.send(awarenessMessage(5, 3, { at: 1 }));
    const raw = await RawClient.open(`${mount}/query`);
    const entriesOf = async () => readAwareness((await raw.nextOf(AWARENESS)).body);
    for (let entries = await entriesOf(); !entries.has(5); entries = await entriesOf());
    raw.send(new Uint8Array([3]));
    for (let entries = await entriesOf(); ; entries = await entriesOf()) {
      if (!entries.has(5)) continue;
      assert.deepEqual(entries.get(5), { clock: 3, state: { at: 1 } });
      break;
    }
    other.close();
    raw.close();
  });

  it("says something within 20 s of silence that no client minds", async () => {
    const raw = await RawClient.open(`${mount}/silence`);
    raw.send(step1());
    await raw.nextOf(SYNC, STEP_2);
    const heard = raw.received.length;
    const since = performance.now();
    await until("a keep-alive message", () => raw.received.length > heard, 20_000);
    assert.deepEqual([...(raw.received[heard] ?? [])], [1, 1, 0]);
    assert.ok(performance.now() - since > 5_000, "silence is cheap: it is not filled more than needed");
    raw.close();
  });
});

describe("what ends a session, and only that one", { concurrency: true }, () => {
  /**
   * One session misbehaves; the room's others go on, and the room holds what it held.
   * @param {string} room
   * @param {(raw: RawClient) => void} misbehave
   * @param {number} code
   * @param {RegExp} reason
   */
  async function endsAlone(room, misbehave, code, reason) {
    const honest = await RawClient.open(`${mount}/${room}`);
    honest.send(step1());
    honest.send(updateMessage(insertion("held ")));
    await honest.settle();
    const raw = await RawClient.open(`${mount}/${room}`);
    misbehave(raw);
    const closed = await raw.closes();
    assert.equal(closed.code, code, closed.reason);
    assert.match(closed.reason, reason);

    honest.send(updateMessage(insertion("after")));
    await honest.settle();
    assert.equal(honest.closed, null);
    const text = textOf(await server.snapshot("doc", room));
    assert.ok(["held after", "afterheld "].includes(text), text);
    const late = await new Client(LIBRARIES["y-websocket 3.1.0"], mount, room).synced();
    assert.equal(late.text.toString(), text);
    late.destroy();
    honest.close();
    return raw;
  }

  it("a text message: 4400, and a word about it first", async () => {
    const raw = await endsAlone("text", (raw) => raw.send("hello"), 4400, /binary/);
    const told = raw.received.map(parse).find((message) => message.type === AUTH);
    assert.match(told?.reason ?? "", /binary/);
  });

  it("a message over the limit: 4413, and a word about it first", async () => {
    const raw = await endsAlone("oversized", (raw) => raw.send(new Uint8Array((16 << 20) + 2048)), 4413, /at most \d+ bytes/);
    const told = raw.received.map(parse).find((message) => message.type === AUTH);
    assert.match(told?.reason ?? "", /at most \d+ bytes/);
  });

  /** @type {[string, Uint8Array, RegExp][]} */
  const malformed = [
    ["an empty message", new Uint8Array(), /malformed/],
    ["a truncated Step1", new Uint8Array([0, 0, 5, 1]), /malformed/],
    ["an endless number", new Uint8Array(12).fill(0xff), /malformed/],
    ["an unknown sync message", syncMessage(7, new Uint8Array([0, 0])), /7 is no kind of sync message/],
    ["an update of noise", updateMessage(new Uint8Array([9, 9, 9, 9, 9])), /malformed/],
    ["a truncated update", updateMessage(insertion("cut off").slice(0, -3)), /malformed/],
    ["a Step2 of noise", step2(new Uint8Array([255, 255, 255, 255, 15])), /malformed/],
    ["a state vector of noise", step1(new Uint8Array([200, 200, 200])), /malformed/],
    ["presence that is no JSON", new Uint8Array([1, 6, 1, 1, 1, 2, 0x7b, 0x7b]), /malformed/],
    ["an ack request without a number", new Uint8Array([102, 0]), /malformed/],
  ];
  for (const [what, message, reason] of malformed) {
    it(`${what}: 4400, and a word about it first`, async () => {
      const raw = await endsAlone(what.replaceAll(" ", "-"), (raw) => raw.send(message), 4400, reason);
      const told = raw.received.map(parse).find((sent) => sent.type === AUTH);
      assert.match(told?.reason ?? "", reason);
    });
  }

  it("the edits before a malformed message are kept, those after it are not", async () => {
    const raw = await RawClient.open(`${mount}/around`);
    const noise = new Uint8Array([9, 9, 9]);
    raw.sendTogether([updateMessage(insertion("before")), updateMessage(noise), updateMessage(insertion("after")), ackMessage(1)]);
    assert.equal((await raw.closes()).code, 4400);
    assert.equal(raw.received.map(parse).some((message) => message.type === ACK), false, "no ack past a refusal");
    assert.equal(textOf(await server.snapshot("doc", "around")), "before");
  });

  it("presence over a limit is dropped, said so, and ends nothing", async () => {
    const raw = await RawClient.open(`${mount}/loud`);
    raw.send(awarenessMessage(9, 1, { big: "x".repeat(17 << 10) }));
    const told = await raw.nextOf(AUTH);
    assert.match(told.reason, /presence state of \d+ bytes is over the limit/);
    raw.send(updateMessage(insertion("documents go on")));
    await raw.settle();
    raw.close();
  });

  it("a space that does not exist: 4404, with a reason", async () => {
    const raw = await RawClient.open(`${server.ws}/yjs/nowhere/room`);
    const closed = await raw.closes();
    assert.equal(closed.code, 4404);
    assert.match(closed.reason, /nowhere/);
  });

  it("y-websocket 3.1 does not come back after a permanent close", async () => {
    const client = new Client(LIBRARIES["y-websocket 3.1.0"], `${server.ws}/yjs/nowhere`, "room");
    const closed = await new Promise((done) => client.provider.on("closed", done));
    assert.equal(closed.code, 4404);
    assert.equal(client.provider.shouldConnect, false);
    client.destroy();
  });
});

describe("room names", { concurrency: true }, () => {
  /** What the client puts behind the mount, and the name that it means. */
  for (const [written, name] of [
    ["plain", "plain"],
    ["a/b/c", "a/b/c"],
    ["a//b/", "a//b/"],
    ["with space", "with space"],
    ["plus+sign", "plus+sign"],
    ["größe/日本語/🕳️", "größe/日本語/🕳️"],
    ["esc%2Faped", "esc/aped"],
    ["percent%25", "percent%"],
    ["twice%252F", "twice%2F"],
    ["query%3Fnot", "query?not"],
    ["hash%23not", "hash#not"],
    ["semi;colon&and=more", "semi;colon&and=more"],
    ["x".repeat(255), "x".repeat(255)],
  ]) {
    it(JSON.stringify(written.slice(0, 40)), async () => {
      const a = await new Client(LIBRARIES["y-websocket 3.1.0"], mount, written, { params: { note: "x?y&role" } }).synced();
      a.text.insert(0, written);
      await until("the room of that name holds it", async () => textOf(await server.snapshot("doc", name)) === written);
      const b = await new Client(LIBRARIES["y-websocket 2.0.4"], mount, encodeURIComponent(name)).synced();
      assert.equal(b.text.toString(), written, "the same name, escaped, is the same room");
      const shown = await server.request(`/api/v1/rooms/doc/${encodeURIComponent(name)}`);
      assert.equal((await shown.json()).name, name);
      a.destroy();
      b.destroy();
    });
  }

  for (const [what, path] of [
    ["no name", "/yjs/doc/"],
    ["only a space", "/yjs/doc"],
    ["too long", `/yjs/doc/${"x".repeat(256)}`],
    ["a control character", "/yjs/doc/a%00b"],
    ["not UTF-8", "/yjs/doc/%ff%fe"],
    ["a bad space", "/yjs/DOC/x"],
    ["an escaped space", "/yjs/d%6fc/x"],
  ]) {
    it(`${what}: refused with 4404`, async () => {
      const raw = await RawClient.open(server.ws + path);
      const closed = await raw.closes();
      assert.equal(closed.code, 4404);
      assert.notEqual(closed.reason, "");
    });
  }
});
