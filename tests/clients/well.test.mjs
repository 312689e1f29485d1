/** The Well's own client: text rooms and Yjs rooms converge through kills, each operation in the log once. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { after, before, it } from "node:test";
import WebSocket from "ws";
import * as Y from "yjs";
import { Client } from "../../sdk/client/dist/index.js";
import { TextRoom } from "../../sdk/client/dist/text/index.js";
import { init } from "../../sdk/text/dist/index.js";
import { Client as YjsClient, LIBRARIES, textOf } from "./peers.mjs";
import { Server, pause, until } from "./server.mjs";

const KILLS = 3;
const OPERATIONS = 300;

/** @type {Server} */
let server;
before(async () => {
  [server] = await Promise.all([Server.start(), init()]);
});
after(() => server.remove());

const connect = () => new Client({ url: `${server.ws}/well`, WebSocket: /** @type {any} */ (WebSocket) });

/**
 * The room's log.
 * @param {string} room
 * @returns {Promise<{ seq: number, kind: string, op_id?: string, payload: string }[]>}
 */
async function records(room) {
  const [space, name] = room.split("/");
  const response = await server.request(`/api/v1/rooms/${space}/${name}/records?limit=100000`);
  return (await response.text()).split("\n").flatMap((line) => (line === "" ? [] : [JSON.parse(line)]));
}

/**
 * Every operation that was handed in is in the log once, where its ack said, in its client's order.
 * @param {string} room
 * @param {{ payload: Uint8Array, seq: number | undefined }[][]} acked of each client, in the order in which it handed them in
 */
async function eachOnce(room, acked) {
  const log = (await records(room)).filter(({ kind }) => kind === "update");
  const ids = log.flatMap(({ op_id }) => (op_id === undefined ? [] : [op_id]));
  assert.equal(new Set(ids).size, ids.length, "an operation's id is in the log once");
  const bySeq = new Map(log.map((record) => [record.seq, record.payload]));
  for (const operations of acked) {
    let last = 0;
    for (const { seq, payload } of operations) {
      assert.ok(seq !== undefined && seq > last, "operations are in their order");
      assert.equal(bySeq.get(seq), Buffer.from(payload).toString("base64"), `what was acked is at ${seq}`);
      last = seq;
    }
  }
  assert.equal(log.length, acked.flat().length, "nothing else is there");
}

/** @param {() => Promise<void>} write */
async function throughKills(write) {
  let ended = false;
  const writing = write().finally(() => {
    ended = true;
  });
  for (let kill = 0; kill < KILLS && !ended; kill += 1) {
    await pause(150 + 100 * kill);
    await server.kill();
    await server.start();
  }
  await writing;
}

/**
 * What was acked, in the order of the operations' numbers.
 * @param {import("../../sdk/client/dist/index.js").Room} room
 */
function acksOf(room) {
  /** @type {{ payload: Uint8Array, seq: number | undefined }[]} */
  const acks = [];
  room.on("acked", ({ payload, seq }) => acks.push({ payload, seq }));
  room.on("rejected", ({ reason }) => assert.fail(reason));
  return acks;
}

it("two who write into a text room converge through kills, and nothing acked is lost or there twice", async () => {
  const clients = [connect(), connect()];
  const rooms = await Promise.all(clients.map((client) => TextRoom.join(client, { room: "text/kills" })));
  const acks = rooms.map(({ room }) => acksOf(room));
  let breaks = 0;
  rooms[0]?.room.on("disconnected", () => (breaks += 1));
  await throughKills(async () => {
    for (let n = 0; n < OPERATIONS; n += 1) {
      for (const [who, room] of rooms.entries()) {
        const at = (n * 7_919 + who * 31) % (room.length + 1);
        if (n % 5 === 4) room.delete(Math.max(0, at - 1), Math.min(1, room.length));
        else room.insert(at, `${who}${n} `);
      }
      await pause(3);
    }
  });
  await until("all is durable", () => rooms.every(({ room }) => room.waiting === 0), 30_000);
  const [one, two] = rooms;
  await until("both have the same", () => one?.toString() === two?.toString());
  assert.ok(breaks >= KILLS - 1, `${breaks} breaks`);
  const state = await server.request("/api/v1/rooms/text/kills/state?format=text");
  assert.equal(await state.text(), one?.toString());
  await eachOnce("text/kills", acks);
  for (const client of clients) client.close();

  // A late joiner has it too, and edits by who has no CRDT arrive.
  const late = connect();
  const room = await TextRoom.join(late, { room: "text/kills", role: "viewer" });
  await until("it has the text", () => room.toString() === one?.text.toString());
  await server.request("/api/v1/rooms/text/kills/text", { method: "PUT", body: "from a script\r\n" });
  await until("it hears of the script", () => room.toString() === "from a script\r\n");
  assert.throws(() => one?.insert(0, "x"), /ended/);
  late.close();
});

it("a Yjs room through raw payloads, with a y-websocket client in it", async () => {
  const clients = [connect(), connect()];
  const docs = [new Y.Doc(), new Y.Doc()];
  const rooms = await Promise.all(
    clients.map(async (client, n) => {
      const doc = /** @type {Y.Doc} */ (docs[n]);
      const room = await client.join({ room: "doc/kills", kind: "yjs" });
      /** @param {Uint8Array} update */
      const take = (update) => {
        if (update.length > 0) Y.applyUpdate(doc, update, room);
      };
      room.on("joined", ({ state }) => {
        for (const record of state.records ?? []) take(record.payload);
        take(state.snapshot ?? state.difference ?? new Uint8Array());
      });
      room.on("records", (records) => records.forEach(({ payload }) => take(payload)));
      room.on("reset", ({ snapshot }) => take(snapshot));
      doc.on("update", (update, origin) => {
        if (origin !== room) room.submit(update);
      });
      return room;
    }),
  );
  const acks = rooms.map(acksOf);
  await throughKills(async () => {
    for (let n = 0; n < OPERATIONS; n += 1) {
      for (const doc of docs) {
        const text = doc.getText("text");
        text.insert((n * 7_919) % (text.length + 1), `${n} `);
      }
      await pause(3);
    }
  });
  await until("all is durable", () => rooms.every((room) => room.waiting === 0), 30_000);
  const text = (/** @type {number} */ n) => docs[n]?.getText("text").toString();
  await until("both have the same", () => text(0) === text(1));
  assert.equal(textOf(await server.snapshot("doc", "kills")), text(0));
  await eachOnce("doc/kills", acks);

  const guest = await new YjsClient(LIBRARIES["y-websocket 3.1.0"], `${server.ws}/yjs/doc`, "kills").synced();
  guest.text.insert(0, "guest ");
  await until("both hear of the guest", () => text(0)?.startsWith("guest ") && text(1)?.startsWith("guest "));
  guest.destroy();
  for (const client of clients) client.close();
});

it("presence goes round, follows a reconnect, and ends with the client", async () => {
  const [one, two] = [connect(), connect()];
  const [a, b] = await Promise.all([one.join({ room: "text/presence" }), two.join({ room: "text/presence" })]);
  a.setPresence({ user: { name: "Ada", color: "#0e6b7c" } });
  await until("b sees a", () => b.others.length === 1);
  assert.deepEqual(b.others, [{ site: a.client, state: { user: { name: "Ada", color: "#0e6b7c" } } }]);
  await server.kill();
  await until("they are away", () => !a.isJoined && !b.isJoined);
  await server.start();
  await until("b sees a again", () => b.isJoined && b.others.length === 1, 20_000);
  a.setPresence({ user: { name: "Ada L.", color: "#0e6b7c" } });
  await until("b sees the new name", () => JSON.stringify(b.others).includes("Ada L."));
  one.close();
  await until("a is gone", () => b.others.length === 0);
  two.close();
});

it("what the server refuses is told, and the connection goes on", async () => {
  const client = connect();
  const nowhere = await client.join({ room: "nowhere/x" });
  const closed = await new Promise((done) => nowhere.once("closed", done));
  assert.equal(closed.code, 4404);
  const wrong = await client.join({ room: "doc/wrong", kind: "text" });
  assert.equal((await new Promise((done) => wrong.once("closed", done))).code, 4409);

  const room = await client.join({ room: "text/refused", kind: "text" });
  await assert.rejects(room.submit(Uint8Array.of(1, 2, 3)).acked, { code: "rejected" });
  const viewer = await client.join({ room: "text/refused", kind: "text", role: "viewer" });
  await new Promise((done) => viewer.once("joined", done));
  const text = await TextRoom.join(client, { room: "text/refused", role: "viewer" });
  await assert.rejects(text.insert(0, "x").acked, /viewer|read/i);
  const writer = await TextRoom.join(client, { room: "text/refused" });
  await writer.insert(0, "fine").acked;
  await until("the viewer sees it", () => text.length >= 4);
  client.close();
});

it("a text outlives the log that began anew under it, with what was written meanwhile", async () => {
  const forgetful = await Server.start({ store: "memory" });
  const here = () => new Client({ url: `${forgetful.ws}/well`, WebSocket: /** @type {any} */ (WebSocket) });
  const clients = [here(), here()];
  const [one, two] = /** @type {[TextRoom, TextRoom]} */ (await Promise.all(clients.map((client) => TextRoom.join(client, { room: "text/anew" }))));
  for (const text of [one, two]) text.room.on("rejected", ({ reason }) => assert.fail(reason));
  await one.insert(0, "hello world").acked;
  await until("two has it", () => two.toString() === "hello world");
  await forgetful.kill();
  await until("they are away", () => !one.room.isJoined && !two.room.isJoined);
  const written = one.insert(5, "!");
  await forgetful.start();
  await written.acked;
  await two.insert(0, "> ").acked;
  await until("all have the same", () => one.toString() === two.toString());
  const state = await forgetful.request("/api/v1/rooms/text/anew/state?format=text");
  assert.equal(await state.text(), "> hello! world");
  assert.equal(one.toString(), "> hello! world");
  for (const client of clients) client.close();
  await forgetful.remove();
});

it("an edit that is refused costs a text room that edit, and nothing else", async () => {
  const strict = await Server.start({ config: '[spaces.text]\nkind = "text"\nmax_update = "1KB"\n' });
  const client = new Client({ url: `${strict.ws}/well`, WebSocket: /** @type {any} */ (WebSocket) });
  const text = await TextRoom.join(client, { room: "text/strict" });
  /** @type {import("../../sdk/client/dist/text/index.js").Lost[]} */
  const losses = [];
  text.on("lost", (lost) => losses.push(lost));
  await text.insert(0, "before ").acked;
  const [large, behind] = [text.insert(0, "x".repeat(3_000)), text.insert(0, "z")];
  await assert.rejects(large.acked, { code: "rejected" });
  await assert.rejects(behind.acked, { code: "rejected" });
  await text.insert(7, "after").acked;
  const state = await strict.request("/api/v1/rooms/text/strict/state?format=text");
  assert.deepEqual([await state.text(), text.toString()], ["before after", "before after"]);
  assert.deepEqual(losses.map(({ inserted }) => inserted.length), [3_001]);
  client.close();
  await strict.remove();
});

it("an answer that is no Well's is told at once; a server that is restarted is waited for", async () => {
  /** @param {string} url */
  const endOf = async (url) => {
    const client = new Client({ url, WebSocket: /** @type {any} */ (WebSocket) });
    const room = await client.join({ room: "blob/a" });
    const ticket = room.submit(new Uint8Array([1]));
    const refused = ticket.acked.catch((/** @type {any} */ error) => error.code);
    const end = await new Promise((done) => {
      client.on("closed", done);
      client.on("disconnected", done);
    });
    client.close();
    return { ...end, refused: await refused };
  };
  // A Well, at an address that names no room, one that does, and one of its pages.
  for (const path of ["/", "/yjs/doc/a", "/text/notes"]) {
    const { code, reason, refused } = await endOf(`${server.ws}${path}`);
    assert.deepEqual({ code, refused }, { code: 0, refused: "unusable" }, path);
    assert.match(reason, /no server of the well protocol answers at .*; a Well's address ends in \/well/);
  }
  let status = 200;
  const stranger = createServer((_, response) => response.writeHead(status).end("hello"));
  await new Promise((done) => stranger.listen(0, "127.0.0.1", () => done(null)));
  const url = `ws://127.0.0.1:${/** @type {any} */ (stranger.address()).port}/well`;
  for (status of [200, 301, 404]) assert.match((await endOf(url)).reason, new RegExp(`it says ${status};`));
  for (status of [426, 429, 503]) {
    const { code, retryMs } = await endOf(url);
    assert.ok(code === undefined && retryMs >= 0, `${status} may be a Well's`);
  }
  stranger.close();
  await once(stranger, "close");
  const { code, retryMs } = await endOf(url);
  assert.ok(code === undefined && retryMs >= 0, "nobody answers, and may come back");
});
