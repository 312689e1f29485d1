/** WebTransport in a real browser: a page with nothing but the platform's own API, and Yjs's bytes. */

import assert from "node:assert/strict";
import { after, before, it } from "node:test";
import { WebsocketProvider } from "y-websocket";
import { WebSocket } from "ws";
import * as Y from "yjs";
import { Server, until } from "../clients/server.mjs";
import { launch, person } from "./browser.mjs";

/** @type {import("playwright-core").Browser} */
let browser;
/** @type {Server} */
let server;
before(async () => {
  [browser, server] = await Promise.all([launch(), Server.start()]);
});
after(async () => {
  await browser.close();
  await server.remove();
});

/** A page of the server's, which has what it needs to connect. */
async function page() {
  const someone = await person(browser);
  await someone.page.goto(`${server.http}/`);
  await someone.page.evaluate(async () => {
    const { port, certificateHashes } = await (await fetch("/webtransport.json")).json();
    const bytes = (/** @type {string} */ base64) => Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
    Object.assign(globalThis, {
      /** @param {string} path */
      dial: async (path) => {
        const transport = new WebTransport(`https://127.0.0.1:${port}${path}`, {
          serverCertificateHashes: certificateHashes.map(({ algorithm, value }) => ({ algorithm, value: bytes(value) })),
        });
        await transport.ready;
        return transport;
      },
      /** @param {Uint8Array} message */
      framed: (message) => {
        const frame = new Uint8Array(4 + message.length);
        new DataView(frame.buffer).setUint32(0, message.length);
        frame.set(message, 4);
        return frame;
      },
    });
  });
  return someone;
}

/** Joins a room in the page and says these messages; gives what was heard until the durable ack. */
function converse(/** @type {import("playwright-core").Page} */ page, /** @type {string} */ path, /** @type {number[][]} */ messages) {
  return page.evaluate(async ({ path, messages }) => {
    const transport = await globalThis.dial(path);
    const { readable, writable } = await transport.createBidirectionalStream();
    const writer = writable.getWriter();
    for (const message of messages) await writer.write(globalThis.framed(Uint8Array.from(message)));
    const reader = readable.getReader();
    let buffer = new Uint8Array();
    const heard = [];
    for (;;) {
      while (buffer.length >= 4) {
        const end = 4 + new DataView(buffer.buffer, buffer.byteOffset).getUint32(0);
        if (buffer.length < end) break;
        const message = [...buffer.subarray(4, end)];
        buffer = buffer.slice(end);
        heard.push(message);
        if (message[0] === 102) {
          transport.close({ closeCode: 0, reason: "done" });
          return heard;
        }
      }
      const { value, done } = await reader.read();
      if (done) throw new Error(`the stream ended after ${JSON.stringify(heard)}`);
      const joined = new Uint8Array(buffer.length + value.length);
      joined.set(buffer);
      joined.set(value, buffer.length);
      buffer = joined;
    }
  }, { path, messages });
}

it("an update of a page on WebTransport reaches a y-websocket client", async () => {
  const { context, page: tab, mishaps } = await page();
  const doc = new Y.Doc();
  const provider = new WebsocketProvider(`${server.ws}/yjs/pit`, "k3x9qa", doc, { WebSocketPolyfill: WebSocket, disableBc: true });
  const mine = new Y.Doc();
  mine.getText("t").insert(0, "over QUIC");
  const update = [...Y.encodeStateAsUpdate(mine)];
  assert.ok(update.length < 128, "its length is one byte");
  const heard = await converse(tab, "/pit/k3x9qa?role=editor", [
    [0, 0, 1, 0],
    [0, 2, update.length, ...update],
    [102, 1, 7],
  ]);
  assert.deepEqual(heard[0]?.slice(0, 2), [0, 0], "the server's step 1 comes first");
  assert.deepEqual(heard.at(-1), [102, 1, 7], "durable");
  await until("the y-websocket client has it", () => doc.getText("t").toString() === "over QUIC");
  provider.destroy();
  assert.deepEqual(mishaps, []);
  await context.close();
});

it("a page hears the code and the reason of its session's end", async () => {
  const { context, page: tab } = await page();
  const ends = await tab.evaluate(async () => {
    const ended = async (/** @type {WebTransport} */ transport) => {
      const { closeCode, reason } = await transport.closed;
      return { closeCode, reason };
    };
    const ends = [];
    for (const path of ["/nowhere", "/yjs/nospace/x", "/yjs/doc/"]) ends.push(await ended(await globalThis.dial(path)));
    const large = await globalThis.dial("/yjs/doc/large");
    const { writable } = await large.createBidirectionalStream();
    const writer = writable.getWriter();
    writer.write(Uint8Array.of(255, 255, 255, 255)).catch(() => {});
    ends.push(await ended(large));
    return ends;
  });
  assert.deepEqual(ends.map(({ closeCode }) => closeCode), [4404, 4404, 4404, 4413]);
  for (const { reason } of ends) assert.ok(reason.length > 0);
  await context.close();
});

it("a page whose server stops hears 1012", async () => {
  const own = await Server.start();
  const someone = await person(browser);
  await someone.page.goto(`${own.http}/`);
  const closed = someone.page.evaluate(async () => {
    const { port, certificateHashes } = await (await fetch("/webtransport.json")).json();
    const hashes = certificateHashes.map(({ value }) => ({
      algorithm: "sha-256",
      value: Uint8Array.from(atob(value), (c) => c.charCodeAt(0)),
    }));
    const transport = new WebTransport(`https://127.0.0.1:${port}/yjs/doc/stop`, { serverCertificateHashes: hashes });
    await transport.ready;
    const { writable } = await transport.createBidirectionalStream();
    await writable.getWriter().write(Uint8Array.of(0, 0, 0, 4, 0, 0, 1, 0));
    document.title = "connected";
    return (await transport.closed).closeCode;
  });
  await someone.page.waitForFunction(() => document.title === "connected");
  assert.equal((await own.stop()).code, 0);
  assert.equal(await closed, 1012);
  await someone.context.close();
  await own.remove();
});
