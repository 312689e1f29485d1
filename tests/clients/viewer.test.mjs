/** A viewer never writes: no message, no spelling of the role, no library. */

import assert from "node:assert/strict";
import { after, describe, it } from "node:test";
import { setTimeout as later } from "node:timers/promises";
import * as Y from "yjs";
import {
  ACK,
  AUTH,
  Client,
  LIBRARIES,
  RawClient,
  STEP_2,
  SYNC,
  ackMessage,
  awarenessMessage,
  insertion,
  parse,
  step1,
  step2,
  textOf,
  updateMessage,
  updatesOf,
} from "./peers.mjs";
import { Server, until } from "./server.mjs";

const server = await Server.start();
after(() => server.remove());
const mount = `${server.ws}/yjs/doc`;
const Library = LIBRARIES["y-websocket 3.1.0"];

/** A room that holds "given", and the update that made it so. */
async function given(room) {
  const update = insertion("given");
  const writer = await RawClient.open(`${mount}/${room}`);
  writer.send(updateMessage(update));
  await writer.settle();
  return { writer, update };
}

describe("a viewer", { concurrency: true }, () => {
  for (const [what, message] of /** @type {const} */ ([
    ["Update", updateMessage],
    ["Step2", step2],
  ])) {
    it(`that sends a new ${what} is told so, and stays`, async () => {
      const room = `viewer-${what}`;
      const { writer } = await given(room);
      const viewer = await RawClient.open(`${mount}/${room}?role=viewer`);
      viewer.send(message(insertion("forbidden")));
      const told = await viewer.nextOf(AUTH);
      assert.equal(told.subtype, 0);
      assert.match(told.reason, /viewer/);
      const words = new TextEncoder().encode(told.reason);
      assert.deepEqual([...told.bytes], [AUTH, 0, words.length, ...words], "[2, 0, reason] and nothing else");
      // It goes on reading.
      viewer.send(step1());
      assert.equal(textOf((await viewer.nextOf(SYNC, STEP_2)).body), "given");
      assert.equal(textOf(await server.snapshot("doc", room)), "given");
      const shown = await (await server.request(`/api/v1/rooms/doc/${room}`)).json();
      assert.equal(shown.seq, 1, "nothing was appended");
      assert.equal(viewer.closed, null);
      writer.close();
      viewer.close();
    });
  }

  it("whose Step2 adds nothing is not told anything", async () => {
    const { writer, update } = await given("known");
    const viewer = await RawClient.open(`${mount}/known?role=viewer`);
    viewer.send(step2(update));
    viewer.send(updateMessage(update));
    viewer.send(step2(new Uint8Array([0, 0])));
    await viewer.settle();
    assert.deepEqual(viewer.received.map(parse).filter((message) => message.type === AUTH), []);
    writer.close();
    viewer.close();
  });

  it("cannot delete either", async () => {
    const { writer, update } = await given("deletion");
    const doc = new Y.Doc();
    Y.applyUpdate(doc, update);
    const [deletion] = updatesOf((known) => known.getText("text").delete(0, 5), doc);
    const viewer = await RawClient.open(`${mount}/deletion?role=viewer`);
    viewer.send(updateMessage(/** @type {Uint8Array} */ (deletion)));
    assert.match((await viewer.nextOf(AUTH)).reason, /viewer/);
    assert.equal(textOf(await server.snapshot("doc", "deletion")), "given");
    writer.close();
    viewer.close();
  });

  it("cannot park an update that waits for a later one", async () => {
    const { writer, update } = await given("parked");
    const doc = new Y.Doc();
    Y.applyUpdate(doc, update);
    const updates = updatesOf((known) => {
      for (const word of ["a", "b", "c"]) known.getText("text").insert(0, word);
    }, doc);
    const viewer = await RawClient.open(`${mount}/parked?role=viewer`);
    viewer.send(updateMessage(/** @type {Uint8Array} */ (updates[2])));
    assert.match((await viewer.nextOf(AUTH)).reason, /viewer/);
    // When what it builds on arrives from a writer, it must not come to life.
    writer.send(updateMessage(/** @type {Uint8Array} */ (updates[0])));
    writer.send(updateMessage(/** @type {Uint8Array} */ (updates[1])));
    await writer.settle();
    await until("the writer's edits are there", async () => textOf(await server.snapshot("doc", "parked")) === "bagiven", 20_000);
    writer.close();
    viewer.close();
  });

  it("gets no ack for what was refused", async () => {
    const { writer } = await given("unacked");
    const viewer = await RawClient.open(`${mount}/unacked?role=viewer`);
    viewer.send(updateMessage(insertion("forbidden")));
    viewer.send(ackMessage(5));
    await viewer.nextOf(AUTH);
    viewer.send(step1());
    await viewer.nextOf(SYNC, STEP_2);
    assert.deepEqual(viewer.received.map(parse).filter((message) => message.type === ACK), []);
    writer.close();
    viewer.close();
  });

  it("is present like anyone", async () => {
    const { writer } = await given("present");
    const viewer = await RawClient.open(`${mount}/present?role=viewer`);
    viewer.send(awarenessMessage(77, 1, { watching: true }));
    const observer = await new Client(Library, mount, "present").synced();
    await until("it is seen", () => observer.seen().includes(77));
    writer.close();
    viewer.close();
    observer.destroy();
  });

  for (const [name, Each] of Object.entries(LIBRARIES)) {
    it(`cannot write with ${name}, and still sees everything`, async () => {
      const room = `library-${name}`;
      const writer = await new Client(Each, mount, room).synced();
      const viewer = await new Client(Each, mount, room, { params: { role: "viewer" } }).synced();
      viewer.text.insert(0, "only here ");
      writer.text.insert(0, "for everyone");
      await until("the viewer sees it", () => viewer.text.toString().includes("for everyone"));
      // A fresh connection sends everything it has as its Step2.
      viewer.provider.disconnect();
      await until("away", () => !viewer.provider.wsconnected);
      viewer.provider.connect();
      await until("back in sync", () => viewer.provider.synced);
      writer.text.insert(0, "and on, ");
      await until("it goes on", () => viewer.text.toString().includes("and on, "));
      assert.equal(writer.text.toString(), "and on, for everyone");
      await until("nothing of it is stored", async () => textOf(await server.snapshot("doc", room)) === "and on, for everyone", 20_000);
      writer.destroy();
      viewer.destroy();
    });
  }

  for (const query of [
    "role=viewer&role=creator",
    "role=creator&role=viewer",
    "role=editor&role=viewer&role=editor",
    "role=%76iewer",
    "role=%65ditor",
    "r%6Fle=creator",
    "role=creator&r%6fle=viewer",
    "ROLE=creator",
    "Role=viewer&role=creator",
    "role[]=creator",
    "role[0]=viewer&role=creator",
    "role=",
    "role",
    "role=Creator",
    "role=creator%20",
    "role=creator%00",
    "role=creator,viewer",
    "role=creator;role=viewer",
    "role=creator?role=viewer",
    "note=creator&role=viewer",
    "%20role=creator",
    "role=admin",
  ]) {
    it(`cannot write with ?${query}`, async () => {
      const room = `tricks-${encodeURIComponent(query)}`.replaceAll("%", "_");
      const { writer } = await given(room);
      const viewer = await RawClient.open(`${mount}/${room}?${query}`);
      viewer.send(updateMessage(insertion("forbidden")));
      viewer.send(step2(insertion("forbidden")));
      assert.match((await viewer.nextOf(AUTH)).reason, /viewer/);
      viewer.close();
      assert.equal(textOf(await server.snapshot("doc", room)), "given");
      writer.close();
    });
  }

  it("cannot write through a pit's own address", async () => {
    const writer = await RawClient.open(`${server.ws}/pit/qqqqqq`);
    writer.send(updateMessage(insertion("given")));
    await writer.settle();
    for (const query of ["role=viewer", "role=viewer&role=creator", "role=creator&role=viewer"]) {
      const viewer = await RawClient.open(`${server.ws}/pit/qqqqqq?${query}`);
      viewer.send(updateMessage(insertion("forbidden")));
      assert.match((await viewer.nextOf(AUTH)).reason, /viewer/);
      viewer.close();
    }
    assert.equal(textOf(await server.snapshot("pit", "qqqqqq")), "given");
    writer.close();
  });

  it("that never stops trying is told at most once a second and disturbs nobody", async () => {
    const { writer } = await given("stubborn");
    const viewer = await RawClient.open(`${mount}/stubborn?role=viewer`);
    const began = performance.now();
    for (let i = 0; i < 500; i += 1) viewer.send(updateMessage(insertion(`forbidden ${i}`)));
    await later(1_500);
    viewer.send(updateMessage(insertion("once more")));
    await until("it is told how many there were", () => {
      const told = viewer.received.map(parse).filter((message) => message.type === AUTH);
      return told.some((message) => /more refused before/.test(message.reason));
    });
    const seconds = (performance.now() - began) / 1000;
    const told = viewer.received.map(parse).filter((message) => message.type === AUTH);
    assert.ok(told.length <= seconds + 1, `told ${told.length} times in ${seconds.toFixed(1)} s`);
    writer.send(updateMessage(insertion("!")));
    await writer.settle();
    const shown = await (await server.request("/api/v1/rooms/doc/stubborn")).json();
    assert.equal(shown.seq, 2);
    writer.close();
    viewer.close();
  });
});
