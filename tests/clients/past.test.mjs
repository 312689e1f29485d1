/** A room's past over HTTP and WebSocket, against real Yjs folding the same records. */

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { isDeepStrictEqual } from "node:util";
import WebSocket from "ws";
import * as Y from "yjs";
import { Client, LIBRARIES, RawClient, STEP_2, SYNC, UPDATE, parse, step1, updateMessage, updatesOf } from "./peers.mjs";
import { Server, until, within } from "./server.mjs";

const server = await Server.start({ config: '[spaces.blob]\nkind = "yjs"\n' });
// No client of these tests writes to opaque rooms, so the space is one of Yjs documents at first.
/** @type {Uint8Array[]} */
let payloads = [];
before(async () => {
  payloads = appends(3);
  for (const name of ["blobs", "parts"]) (await write(name, payloads, "blob")).close();
  await server.stop();
  server.configure('[spaces.blob]\nkind = "opaque"\n');
  await server.start();
});
after(() => server.remove());
const [[, Library], [, OldLibrary]] = Object.entries(LIBRARIES);

/**
 * The address of a room in the API.
 * @param {string} name
 * @param {string} [space]
 */
const api = (name, space = "doc") => `/api/v1/rooms/${space}/${encodeURIComponent(name)}`;

/**
 * @typedef {{ seq: number, at: string, author: { session: string, site?: number, user?: string }, kind: string,
 *   op_id?: string, base?: number, payload: string, chain: string }} Line
 */

/**
 * The room's records, as JSON lines gives them.
 * @param {string} name
 * @param {string} [query]
 * @param {string} [space]
 * @returns {Promise<Line[]>}
 */
async function records(name, query = "", space = "doc") {
  const response = await server.request(`${api(name, space)}/records${query}`);
  assert.equal(response.status, 200, await response.clone().text());
  assert.equal(response.headers.get("content-type"), "application/x-ndjson");
  const text = await response.text();
  assert.ok(text === "" || text.endsWith("\n"), "every line is whole");
  return text.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line));
}

/**
 * What real Yjs makes of records.
 * @param {Line[]} lines
 */
function fold(lines) {
  const doc = new Y.Doc();
  for (const line of lines) {
    if (line.kind === "update") Y.applyUpdate(doc, Buffer.from(line.payload, "base64"));
  }
  return doc;
}

/**
 * A document as the API's JSON has it: roots that are empty are not shown.
 * @param {Y.Doc} doc
 */
function shown(doc) {
  const all = {
    text: doc.getText("text").toString(),
    map: doc.getMap("map").toJSON(),
    list: doc.getArray("list").toJSON(),
  };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => Object.keys(value).length > 0));
}

/**
 * A moment of a room, in all its formats, checked to be the same.
 * @param {string} name
 * @param {string} query without `?`
 */
async function stateAt(name, query) {
  const [update, json, text] = await Promise.all(
    ["update", "json", "text"].map(async (format) => {
      const response = await server.request(`${api(name)}/state?format=${format}&${query}`);
      assert.equal(response.status, 200, `${query}: ${await response.clone().text()}`);
      return response;
    }),
  );
  const seq = update.headers.get("well-seq");
  for (const other of [json, text]) {
    assert.equal(other.headers.get("well-seq"), seq);
    assert.equal(other.headers.get("well-at"), update.headers.get("well-at"));
  }
  const doc = new Y.Doc();
  Y.applyUpdate(doc, new Uint8Array(await update.arrayBuffer()));
  return {
    doc,
    json: await json.json(),
    text: await text.text(),
    seq: Number(seq),
    at: update.headers.get("well-at"),
    cache: update.headers.get("cache-control"),
  };
}

/**
 * @param {Awaited<ReturnType<typeof stateAt>>} state
 * @param {Line[]} lines the records up to there
 * @param {string} what
 */
function isFold(state, lines, what) {
  const expected = fold(lines);
  assert.equal(state.seq, lines.length, what);
  assert.equal(state.at, lines.at(-1)?.at ?? null, what);
  assert.deepEqual(shown(state.doc), shown(expected), what);
  assert.deepEqual(Y.encodeStateVector(state.doc), Y.encodeStateVector(expected), what);
  assert.deepEqual(state.json, shown(expected), what);
  assert.equal(state.text, expected.getText("text").toString(), what);
}

/**
 * A microsecond earlier.
 * @param {string} at
 */
function justBefore(at) {
  const [, seconds, fraction] = /** @type {RegExpExecArray} */ (/^(.*)\.(\d{6})Z$/.exec(at));
  const micros = BigInt(Date.parse(`${seconds}Z`)) * 1000n + BigInt(fraction ?? "0") - 1n;
  const whole = new Date(Number(micros / 1_000_000n) * 1000).toISOString().slice(0, 19);
  return `${whole}.${String(micros % 1_000_000n).padStart(6, "0")}Z`;
}

/**
 * Two libraries write into a room together: text, a map with a type in it, and a list; deletions too.
 * @param {string} name
 * @param {(i: number) => string} [word] characters of two units are split by the edits that follow
 */
async function lived(name, edits = 24, word = (i) => `w${i} 🎈`) {
  // The first library leaves names as they are, and these have more in them than a URL may.
  const path = name.split("/").map(encodeURIComponent).join("/");
  const a = await new Client(Library, `${server.ws}/yjs/doc`, path).synced();
  const b = await new Client(OldLibrary, `${server.ws}/yjs/doc`, path).synced();
  for (let i = 0; i < edits; i += 1) {
    const { doc } = i % 2 === 0 ? a : b;
    const text = doc.getText("text");
    if (i % 5 === 4) text.delete(0, Math.min(3, text.length));
    else if (i % 5 === 3) doc.getMap("map").set(`k${i % 3}`, { n: i, ü: "é🎈" });
    else if (i % 5 === 2) doc.getArray("list").push([i, null, `v${i}`]);
    else text.insert(Math.floor(text.length / 2), word(i));
    // Each is a record of its own, at a time of its own.
    await until("it is written", async () => {
      const response = await server.request(api(name));
      return response.ok && (await response.json()).seq === i + 1;
    });
  }
  await until("both have it all", () => isDeepStrictEqual(shown(a.doc), shown(b.doc)));
  const last = shown(a.doc);
  a.destroy();
  b.destroy();
  return last;
}

/**
 * One edit after another, each acked, by a raw client.
 * @param {string} name
 * @param {Uint8Array[]} updates
 * @param {string} [space]
 */
async function write(name, updates, space = "doc") {
  const raw = await RawClient.open(`${server.ws}/yjs/${space}/${encodeURIComponent(name)}`);
  for (const update of updates) {
    raw.send(updateMessage(update));
    await raw.settle();
  }
  return raw;
}

/**
 * Updates that append to one text, one after another.
 * @param {number} count
 * @param {number} [width]
 */
function appends(count, width = 1) {
  return updatesOf((doc) => {
    const text = doc.getText("text");
    for (let i = 0; i < count; i += 1) text.insert(text.length, String.fromCharCode(97 + (i % 26)).repeat(width));
  });
}

/**
 * @param {Response} response
 * @param {number} status
 * @param {string} code
 */
async function isProblem(response, status, code) {
  const text = await response.text();
  assert.equal(response.status, status, text);
  assert.equal(response.headers.get("content-type"), "application/problem+json");
  const problem = JSON.parse(text);
  assert.equal(problem.code, code);
  assert.ok(problem.detail.length > 0);
  return problem;
}

/**
 * Reads a body piece by piece, up to a line that is wanted.
 * @param {Response} response
 */
function lines(response) {
  const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader();
  const decoder = new TextDecoder();
  let rest = "";
  return {
    /** The next line, or null at the end. */
    async next() {
      for (;;) {
        const end = rest.indexOf("\n");
        if (end >= 0) {
          const line = rest.slice(0, end);
          rest = rest.slice(end + 1);
          return line;
        }
        const { done, value } = await within(10_000, "a line", reader.read());
        if (done) {
          assert.equal(rest, "", "it ends with a whole line");
          return null;
        }
        rest += decoder.decode(value, { stream: true });
      }
    },
    cancel: () => reader.cancel(),
  };
}

/**
 * @param {string} path
 * @param {unknown} body
 */
function post(path, body) {
  const init = { method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json" } };
  return server.request(path, init);
}

describe("state", { concurrency: true }, () => {
  for (const name of ["every moment", "a/b/c?d#e%2F", "🎈 ünï/🫧"]) {
    it(`of ${JSON.stringify(name)} at every Seq and time is what Yjs folds`, async () => {
      const last = await lived(name);
      const all = await records(name);
      assert.equal(all.length, 24);
      for (let seq = 0; seq <= all.length; seq += 1) {
        isFold(await stateAt(name, `seq=${seq}`), all.slice(0, seq), `seq ${seq}`);
      }
      for (const [index, line] of all.entries()) {
        const at = encodeURIComponent(line.at);
        isFold(await stateAt(name, `at=${at}`), all.filter((other) => other.at <= line.at), `at ${line.at}`);
        const before = justBefore(line.at);
        assert.ok(before < line.at);
        const state = await stateAt(name, `at=${before}`);
        isFold(state, all.filter((other) => other.at < line.at), `just before ${line.at}`);
        assert.ok(state.seq <= index);
      }
      const tail = await stateAt(name, "");
      isFold(tail, all, "now");
      assert.deepEqual(shown(tail.doc), last, "and what the clients saw");
    });
  }

  it("before the first record is empty, after the last one the tail, and now is now", async () => {
    const name = "ends";
    (await write(name, appends(3))).close();
    const all = await records(name);
    for (const query of ["seq=0", "at=2001-01-01T00:00:00Z", "at=0", "at=-1", "at=1000000000000"]) {
      const state = await stateAt(name, query);
      isFold(state, [], query);
      assert.equal(state.seq, 0);
      assert.equal(state.at, null, "there is no time before the first record");
    }
    for (const query of ["seq=99", "seq=3", "at=2101-01-01T00:00:00Z", "at=now", "at=9000000000000", ""]) {
      isFold(await stateAt(name, query), all, query);
    }
    const milliseconds = Math.ceil(Date.parse(/** @type {Line} */ (all[0]).at) + 1);
    const state = await stateAt(name, `at=${milliseconds}`);
    isFold(state, all.filter((line) => Date.parse(line.at) < milliseconds), "Unix milliseconds");
    // An offset's plus may come escaped or not.
    const shifted = `${new Date(Date.parse(/** @type {Line} */ (all[2]).at) + 3_600_000).toISOString().slice(0, 19)}.999999`;
    for (const plus of ["%2B", "+"]) isFold(await stateAt(name, `at=${shifted}${plus}01:00`), all, plus);
  });

  for (const query of [
    "at=yesterday", "at=", "at=12.5", "at=2026-11-24", "seq=-1", "seq=x", "seq=", "seq=1.0", "at=NOW",
  ]) {
    it(`?${query} names no moment`, async () => {
      (await write(`no moment ${query}`, appends(1))).close();
      await isProblem(await server.request(`${api(`no moment ${query}`)}/state?${query}`), 400, "bad_moment");
    });
  }

  it("wants one moment, one known format and nothing else", async () => {
    (await write("one", appends(1))).close();
    for (const query of ["seq=1&at=now", "format=xml", "sequence=1"]) {
      await isProblem(await server.request(`${api("one")}/state?${query}`), 400, "bad_request");
    }
  });

  it("is immutable where nothing can change it, and has an ETag everywhere", async () => {
    const name = "cached";
    const raw = await write(name, appends(3));
    const all = await records(name);
    const url = `${api(name)}/state`;
    const tags = new Set();
    for (const [query, immutable] of /** @type {const} */ ([
      ["seq=0", true],
      ["seq=2", true],
      [`at=${all[1]?.at}`, true],
      ["seq=3", false],
      ["seq=4", false],
      [`at=${all[2]?.at}`, false],
      ["at=2101-01-01T00:00:00Z", false],
      ["at=now", false],
      ["", false],
    ])) {
      const response = await server.request(`${url}?${query}`);
      assert.equal(/immutable/.test(response.headers.get("cache-control") ?? ""), immutable, query);
      const etag = response.headers.get("etag") ?? "";
      const known = await server.request(`${url}?${query}`, { headers: { "if-none-match": etag } });
      assert.equal(known.status, 304, query);
      assert.equal(await known.text(), "");
      assert.equal(known.headers.get("etag"), etag);
      assert.equal(known.headers.get("well-seq"), response.headers.get("well-seq"));
      assert.equal(known.headers.get("cache-control"), response.headers.get("cache-control"));
      const other = await server.request(`${url}?${query}&format=json`, { headers: { "if-none-match": etag } });
      assert.equal(other.status, 200, "another format is another answer");
      tags.add(etag);
    }
    assert.equal(tags.size, 3, "one for each Seq");
    // What is now has another name once something has come.
    const now = (await server.request(url)).headers.get("etag") ?? "";
    raw.send(updateMessage(updatesOf((doc) => doc.getMap("map").set("x", 1))[0] ?? new Uint8Array()));
    await raw.settle();
    assert.equal((await server.request(url, { headers: { "if-none-match": now } })).status, 200);
    assert.equal((await server.request(`${url}?seq=3`, { headers: { "if-none-match": now } })).status, 304);
    raw.close();
  });

  it("of an opaque room is its payloads, and has no text", async () => {
    const url = `${api("blobs", "blob")}/state`;
    const json = await (await server.request(`${url}?seq=2&format=json`)).json();
    assert.deepEqual(json, payloads.slice(0, 2).map((payload) => Buffer.from(payload).toString("base64")));
    const problem = await isProblem(await server.request(`${url}?format=text`), 422, "not_possible");
    assert.match(problem.detail, /text|opaque|read/);
    assert.deepEqual(
      (await records("blobs", "", "blob")).map((line) => line.payload),
      payloads.map((payload) => Buffer.from(payload).toString("base64")),
    );
    await isProblem(await server.request(`${api("blobs", "blob")}/diff?from=1&to=2`), 422, "not_possible");
    await isProblem(await post(`${api("blobs", "blob")}/restore`, { seq: 1 }), 422, "not_possible");
  });

  it("of a room that never was, or is deleted, is a problem, and so is all of its past", async () => {
    (await write("gone", appends(2))).close();
    assert.equal((await server.request(api("gone"), { method: "DELETE" })).status, 204);
    for (const name of ["gone", "never"]) {
      for (const what of ["state", "state?seq=1", "state?seq=0", "records", "timeline", "diff"]) {
        await isProblem(await server.request(`${api(name)}/${what}`), 404, "no_room");
      }
      await isProblem(await post(`${api(name)}/fork`, { seq: 1 }), 404, "no_room");
      await isProblem(await post(`${api(name)}/restore`, { seq: 1 }), 404, "no_room");
    }
    await isProblem(await server.request(api("x", "nowhere") + "/state"), 404, "no_space");
  });

  it("is right for a thousand who ask at once", async () => {
    const name = "thousand";
    (await write(name, appends(40, 2_000))).close();
    const all = await records(name);
    const expected = all.map((_, index) => fold(all.slice(0, index + 1)).getText("text").toString());
    const asked = Array.from({ length: 1_000 }, async (_, i) => {
      const seq = (i * 7) % 40 + 1;
      const response = await fetch(`${server.http}${api(name)}/state?seq=${seq}&format=text`);
      assert.equal(response.status, 200);
      assert.equal(response.headers.get("well-seq"), String(seq));
      assert.equal(await response.text(), expected[seq - 1]);
    });
    await Promise.all(asked);
  });
});

describe("records", { concurrency: true }, () => {
  it("are JSON lines, each with everything about its record", async () => {
    const name = "contract";
    await lived(name);
    const all = await records(name);
    let before = "";
    for (const [index, line] of all.entries()) {
      assert.equal(line.seq, index + 1);
      assert.match(line.at, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/);
      assert.ok(line.at >= before, "time does not go back");
      before = line.at;
      assert.equal(line.kind, "update");
      assert.match(line.author.session, /^[0-9a-f]{16}$/);
      // Who only deletes is named by no struct.
      assert.ok(line.author.site === undefined || Number.isSafeInteger(line.author.site));
      assert.match(line.chain, /^[0-9a-f]{16}$/);
      assert.equal(Buffer.from(line.payload, "base64").toString("base64"), line.payload);
      const known = ["seq", "at", "author", "kind", "op_id", "base", "payload", "chain"];
      assert.deepEqual(Object.keys(line).filter((key) => !known.includes(key)), []);
    }
    assert.equal(new Set(all.map((line) => line.author.session)).size, 2);
    assert.equal((await (await server.request(api(name))).json()).chain, all.at(-1)?.chain);
  });

  it("come from, to and up to as many as are asked for", async () => {
    const name = "ranges";
    await lived(name, 12);
    const all = await records(name);
    const seqs = async (/** @type {string} */ query) => (await records(name, query)).map((line) => line.seq);
    const range = (/** @type {number} */ from, /** @type {number} */ to) =>
      Array.from({ length: Math.max(0, to - from + 1) }, (_, i) => from + i);
    for (const [from, to] of [[1, 12], [3, 7], [5, 5], [0, 2], [12, 12], [8, 99]]) {
      assert.deepEqual(await seqs(`?from=${from}&to=${to}`), range(Math.max(1, from ?? 1), Math.min(12, to ?? 12)));
      const [first, last] = [all[Math.max(0, (from ?? 1) - 1)], all[Math.min(11, (to ?? 12) - 1)]];
      assert.deepEqual(
        await seqs(`?from=${first?.at}&to=${last?.at}`),
        all.filter((line) => line.at >= (first?.at ?? "") && line.at <= (last?.at ?? "")).map((line) => line.seq),
      );
    }
    assert.deepEqual(await seqs("?from=10"), [10, 11, 12]);
    assert.deepEqual(await seqs("?from=13"), []);
    assert.deepEqual(await seqs("?from=500"), []);
    assert.deepEqual(await seqs("?to=2"), [1, 2]);
    assert.deepEqual(await seqs("?to=0"), []);
    assert.deepEqual(await seqs("?limit=0"), []);
    assert.deepEqual(await seqs("?limit=3"), [1, 2, 3]);
    assert.deepEqual(await seqs("?from=4&limit=2"), [4, 5]);
    assert.deepEqual(await seqs(`?to=${justBefore(all[3]?.at ?? "")}`), [1, 2, 3]);
    assert.deepEqual(await seqs("?from=now&limit=5"), []);
    assert.deepEqual(await seqs("?to=now"), range(1, 12));
    await isProblem(await server.request(`${api(name)}/records?from=7&to=3`), 400, "bad_request");
    await isProblem(await server.request(`${api(name)}/records?from=x`), 400, "bad_moment");
    for (const query of ["limit=-1", "limit=x", "format=xml", "follow=2"]) {
      await isProblem(await server.request(`${api(name)}/records?${query}`), 400, "bad_request");
    }
  });

  it("with follow come as they are written, until the room is deleted", async () => {
    const name = "followed";
    const updates = appends(10);
    const raw = await write(name, updates.slice(0, 3));
    const followed = lines(await server.request(`${api(name)}/records?follow=true&from=2`));
    for (const seq of [2, 3]) assert.equal(JSON.parse((await followed.next()) ?? "").seq, seq);
    for (const [index, update] of updates.slice(3).entries()) {
      raw.send(updateMessage(update));
      const line = JSON.parse((await followed.next()) ?? "");
      assert.equal(line.seq, index + 4);
      assert.deepEqual(new Uint8Array(Buffer.from(line.payload, "base64")), update);
    }
    assert.equal((await server.request(api(name), { method: "DELETE" })).status, 204);
    assert.equal(await followed.next(), null);
    await raw.closes();
  });

  it("with follow begin where they are asked to, even if that has not come", async () => {
    const name = "ahead";
    const updates = appends(8);
    const raw = await write(name, updates.slice(0, 2));
    const some = lines(await server.request(`${api(name)}/records?follow=true&from=5&to=7`));
    const few = lines(await server.request(`${api(name)}/records?follow=true&limit=4`));
    for (const update of updates.slice(2)) raw.send(updateMessage(update));
    for (const seq of [1, 2, 3, 4]) assert.equal(JSON.parse((await few.next()) ?? "").seq, seq);
    assert.equal(await few.next(), null, "as many as were asked for");
    for (const seq of [5, 6, 7]) assert.equal(JSON.parse((await some.next()) ?? "").seq, seq);
    assert.equal(await some.next(), null, "up to where it was asked for");
    raw.close();
  });

  it("in binary are the sealed records", async () => {
    const name = "sealed";
    (await write(name, appends(30, 5_000))).close();
    const all = await records(name);
    const response = await server.request(`${api(name)}/records?format=binary`);
    assert.equal(response.headers.get("content-type"), "application/octet-stream");
    const bytes = Buffer.from(await response.arrayBuffer());
    let at = 0;
    for (const line of all) {
      assert.equal(bytes.subarray(at, at + 4).toString("hex"), "574c0101");
      const length = bytes.readUInt32LE(at + 4);
      const body = bytes.subarray(at + 12, at + 12 + length);
      assert.equal(crc32c(bytes.subarray(at, at + 8), body), bytes.readUInt32LE(at + 8));
      const fixed = body.subarray(length - 84);
      assert.equal(fixed.readBigUInt64LE(0), BigInt(line.seq));
      const micros = fixed.readBigUInt64LE(8);
      assert.equal(new Date(Number(micros / 1000n)).toISOString().slice(0, 23), line.at.slice(0, 23));
      assert.equal(String(micros % 1000n).padStart(3, "0"), line.at.slice(23, 26));
      assert.equal(fixed.readBigUInt64LE(16).toString(16).padStart(16, "0"), line.chain);
      assert.equal(fixed.readBigUInt64LE(24).toString(16).padStart(16, "0"), line.author.session);
      assert.equal(body.subarray(0, length - 84).toString("base64"), line.payload);
      at += 12 + length;
    }
    assert.equal(at, bytes.length);
  });

  it("as events go on after the last one that was seen, without gap or repeat", async () => {
    const name = "events";
    const updates = appends(12);
    const raw = await write(name, updates.slice(0, 5));
    const open = async (/** @type {Record<string, string>} */ headers) => {
      const response = await server.request(`${api(name)}/records`, {
        headers: { accept: "text/event-stream", ...headers },
      });
      assert.equal(response.status, 200);
      assert.equal(response.headers.get("content-type"), "text/event-stream");
      const read = lines(response);
      return {
        async next() {
          const id = /^id: (\d+)$/.exec((await read.next()) ?? "");
          const data = JSON.parse(((await read.next()) ?? "").replace(/^data: /, ""));
          assert.equal(await read.next(), "");
          assert.equal(String(data.seq), id?.[1]);
          return data.seq;
        },
        cancel: read.cancel,
      };
    };
    const first = await open({});
    for (const seq of [1, 2, 3]) assert.equal(await first.next(), seq);
    await first.cancel();
    const second = await open({ "last-event-id": "3" });
    for (const update of updates.slice(5, 9)) raw.send(updateMessage(update));
    for (const seq of [4, 5, 6, 7, 8, 9]) assert.equal(await second.next(), seq);
    await second.cancel();
    // One who has it all waits for what comes.
    const third = await open({ "last-event-id": "9" });
    for (const update of updates.slice(9)) raw.send(updateMessage(update));
    for (const seq of [10, 11, 12]) assert.equal(await third.next(), seq);
    await third.cancel();
    const bad = await server.request(`${api(name)}/records`, {
      headers: { accept: "text/event-stream", "last-event-id": "x" },
    });
    await isProblem(bad, 400, "bad_request");
    raw.close();
  });

  it("of a room that is written to at full speed are followed without gap", async () => {
    const name = "torrent";
    const updates = appends(600);
    const raw = await write(name, updates.slice(0, 1));
    const followed = lines(await server.request(`${api(name)}/records?follow=true&limit=600`));
    raw.sendTogether(updates.slice(1).map(updateMessage));
    for (let seq = 1; seq <= 600; seq += 1) assert.equal(JSON.parse((await followed.next()) ?? "").seq, seq);
    assert.equal(await followed.next(), null);
    raw.close();
  });
});

describe("the timeline", { concurrency: true }, () => {
  it("counts every record once, however it is cut", async () => {
    const name = "counted";
    await lived(name);
    const all = await records(name);
    const sealed = (await (await server.request(`${api(name)}/records?format=binary`)).arrayBuffer()).byteLength;
    for (const buckets of [1, 2, 7, 120, 2000]) {
      const timeline = await (await server.request(`${api(name)}/timeline?buckets=${buckets}`)).json();
      sumsUp(timeline, all.length, sealed);
      assert.ok(timeline.buckets.length <= buckets);
      assert.equal(timeline.from_at, all[0]?.at);
      assert.equal(timeline.to_at, all.at(-1)?.at);
      assert.equal(timeline.kind, "yjs");
      assert.deepEqual(timeline.head, { seq: 24, at: all.at(-1)?.at });
    }
    for (const [from, to] of [[1, 1], [5, 17], [24, 24]]) {
      const timeline = await (await server.request(`${api(name)}/timeline?from=${from}&to=${to}&buckets=9`)).json();
      const binary = await server.request(`${api(name)}/records?format=binary&from=${from}&to=${to}`);
      sumsUp(timeline, (to ?? 0) - (from ?? 0) + 1, (await binary.arrayBuffer()).byteLength);
    }
    for (const query of ["buckets=0", "buckets=2001", "buckets=x"]) {
      await isProblem(await server.request(`${api(name)}/timeline?${query}`), 400, "bad_request");
    }
  });

  /**
   * @param {any} timeline
   * @param {number} records
   * @param {number} bytes
   */
  function sumsUp(timeline, records, bytes) {
    const sum = (/** @type {any[]} */ rows, /** @type {string} */ field) =>
      rows.reduce((total, row) => total + row[field], 0);
    assert.equal(timeline.records, records);
    assert.equal(timeline.bytes, bytes);
    assert.equal(sum(timeline.buckets, "records"), records);
    assert.equal(sum(timeline.buckets, "bytes"), bytes);
    assert.equal(sum(timeline.authors, "records"), records);
    assert.equal(timeline.buckets.reduce((n, bucket) => n + sum(bucket.authors, "records"), 0), records);
    assert.ok(timeline.authors.every((/** @type {any} */ row) => /^(site:\d+|session:[0-9a-f]{16})$/.test(row.author)));
  }

  it("grows with the room, and marks where it was set back and where it came from", async () => {
    const name = "marked";
    const raw = await write(name, appends(4));
    const first = await (await server.request(`${api(name)}/timeline`)).json();
    assert.equal(first.records, 4);
    assert.deepEqual(first.marks, []);
    assert.equal((await post(`${api(name)}/restore`, { seq: 2 })).status, 200);
    const second = await (await server.request(`${api(name)}/timeline`)).json();
    assert.equal(second.records, 6);
    const all = await records(name);
    const [mark, ...others] = second.marks;
    assert.deepEqual(others, []);
    assert.equal(mark.kind, "restored");
    assert.equal(mark.seq, 5);
    assert.equal(mark.at, all[4]?.at);
    assert.deepEqual(mark.details, { room: `doc/${name}`, seq: 2, at: all[1]?.at, chain: all[1]?.chain });
    assert.equal((await post(`${api(name)}/fork`, { seq: 3, to: "doc/marked copy" })).status, 201);
    const fork = await (await server.request(`${api("marked copy")}/timeline`)).json();
    assert.equal(fork.marks[0].kind, "forked");
    assert.equal(fork.marks[0].details.seq, 3);
    assert.equal(fork.records, 2);
    raw.close();
  });
});

describe("the difference", () => {
  it("between two moments says what came and went", async () => {
    const name = "changed";
    const doc = new Y.Doc();
    const updates = updatesOf(() => {
      doc.getText("text").insert(0, "hello world");
      doc.getText("text").delete(0, 6);
      doc.getMap("map").set("k", 1);
    }, doc);
    (await write(name, updates)).close();
    const ask = async (/** @type {string} */ query) => {
      const response = await server.request(`${api(name)}/diff?${query}`);
      assert.equal(response.status, 200, await response.clone().text());
      return response.json();
    };
    const all = await records(name);
    const whole = await ask("");
    assert.deepEqual(whole.from, { seq: 0, at: null });
    assert.deepEqual(whole.to, { seq: 3, at: all[2]?.at });
    assert.equal(whole.records, 3);
    assert.match(JSON.stringify(whole.changes), /"world"/);
    assert.doesNotMatch(JSON.stringify(whole.changes), /hello/);
    const gone = await ask("from=1&to=2");
    assert.match(JSON.stringify(gone.changes), /"delete".*"hello "/);
    const timed = await ask(`from=${all[0]?.at}&to=${all[1]?.at}`);
    assert.deepEqual(timed.changes, gone.changes);
    assert.deepEqual((await ask("from=2&to=2")).changes.changes, []);
    await isProblem(await server.request(`${api(name)}/diff?from=3&to=1`), 400, "bad_request");
    await isProblem(await server.request(`${api(name)}/diff?from=x`), 400, "bad_moment");
  });
});

describe("play", { concurrency: true }, () => {
  for (const [what, Watcher] of Object.entries(LIBRARIES)) {
    for (const speed of [64, 10_000]) {
      it(`is watched by ${what} at speed ${speed}, who ends with the same document`, async () => {
        const name = `watched/${what} at ${speed}`;
        const last = await lived(name, 12);
        const watcher = new Client(Watcher, `${server.ws}${api(name)}`, "play", { params: { speed: String(speed) } });
        await until("the past has been played", () => isDeepStrictEqual(shown(watcher.doc), last));
        // Whatever it says it is, it writes nothing.
        watcher.text.insert(0, "forbidden");
        await server.request(api(name));
        assert.equal((await records(name)).length, 12);
        watcher.destroy();
      });
    }
  }

  it("refuses what a watcher writes, even one who says it may", async () => {
    const name = "read only";
    (await write(name, appends(3))).close();
    const raw = await RawClient.open(`${server.ws}${api(name)}/play?speed=10000&role=creator`);
    raw.send(updateMessage(updatesOf((doc) => doc.getText("text").insert(0, "no"))[0] ?? new Uint8Array()));
    assert.match((await raw.nextOf(2)).reason, /viewer|read/);
    assert.equal((await records(name)).length, 3);
    raw.close();
  });

  for (const query of ["speed=0", "speed=x", "speed=10001", "speed=NaN", "from=x", "what=1"]) {
    it(`?${query} is refused on the socket`, async () => {
      (await write(`refused ${query}`, appends(1))).close();
      const { code, reason } = await closed(`${api(`refused ${query}`)}/play?${query}`);
      assert.equal(code, 4400, reason);
      assert.match(reason, /speed|not a time|unknown|invalid/);
    });
  }

  it("of a room that is not there, or is none of Yjs, is refused on the socket", async () => {
    assert.deepEqual(await closed(`${api("never was")}/play`), { code: 4404, reason: "doc/never was does not exist or has been deleted" });
    const put = await server.request(`${api("a text", "text")}/text`, { method: "PUT", body: "words" });
    assert.equal(put.status, 200);
    assert.deepEqual(await closed(`${api("a text", "text")}/play`), {
      code: 4409,
      reason: "this space holds texts of the Well's own CRDT; y-websocket speaks only Yjs",
    });
    assert.deepEqual(await closed(`${api("blobs", "blob")}/play`), {
      code: 4409,
      reason: "this space holds opaque documents; y-websocket speaks only Yjs",
    });
  });

  it("is paused, sought and sped up with text messages", async () => {
    const name = "controlled";
    const updates = appends(20);
    (await write(name, updates)).close();
    const all = await records(name);
    const socket = new Player(`${server.ws}${api(name)}/play?speed=0.01`);
    await socket.opened;
    let told = await socket.say({ paused: true });
    assert.equal(told.paused, true);
    assert.ok(told.seq < 20);
    told = await socket.say({ seek: 15 });
    assert.equal(told.seq, 15);
    assert.equal(told.at, all[14]?.at);
    assert.equal(told.reset, undefined, "forward needs no new document");
    await until("it is there", () => socket.text() === text(15));
    told = await socket.say({ seek: all[4]?.at });
    assert.equal(told.reset, true, "a document cannot go back");
    assert.equal(told.seq, all.filter((line) => line.at <= (all[4]?.at ?? "")).length);
    await until("the new document is whole", () => socket.text() === text(told.seq));
    assert.match((await socket.say({ seek: "x" })).problem?.detail ?? "", /not a time/);
    assert.match((await socket.say({ sek: 1 })).problem?.detail ?? "", /sek/);
    told = await socket.say({ paused: false, speed: 10_000 });
    assert.equal(told.speed, 10_000);
    await until("it comes to its end", () => socket.said.at(-1)?.end === true);
    assert.equal(socket.said.at(-1)?.seq, 20);
    await until("with all of it", () => socket.text() === text(20));
    told = await socket.say({ seek: 0 });
    assert.equal(told.seq, 0);
    assert.equal(told.reset, true);
    await until("and from the start again", () => socket.text() === text(20) && socket.said.at(-1)?.end === true);
    socket.close();

    /** @param {number} seq */
    function text(seq) {
      return fold(all.slice(0, seq)).getText("text").toString();
    }
  });

  it("plays from one moment to another", async () => {
    const name = "a stretch";
    (await write(name, appends(10))).close();
    const all = await records(name);
    const raw = await RawClient.open(`${server.ws}${api(name)}/play?from=3&to=6&speed=10000`);
    const doc = new Y.Doc();
    raw.send(step1());
    Y.applyUpdate(doc, (await raw.nextOf(SYNC, STEP_2)).body);
    await until("the end", () => {
      for (const message of raw.received.map(parse)) {
        if (message.type === SYNC && message.subtype !== 0) Y.applyUpdate(doc, message.body);
      }
      return doc.getText("text").length === 6;
    });
    assert.equal(doc.getText("text").toString(), fold(all.slice(0, 6)).getText("text").toString());
    assert.equal(raw.received.map(parse).filter((message) => message.subtype === UPDATE).length, 3);
    raw.close();
  });
});

/**
 * How a socket ends that is accepted, and told nothing but that it may not.
 * @param {string} path
 * @returns {Promise<{ code: number, reason: string }>}
 */
function closed(path) {
  const socket = new WebSocket(server.ws + path);
  return within(10_000, "it is closed", new Promise((done, failed) => {
    socket.on("error", failed);
    socket.on("message", (message) => {
      if (/** @type {Buffer} */ (message)[0] !== 2) failed(new Error(`it was told ${message}`));
    });
    socket.on("close", (code, reason) => done({ code, reason: reason.toString() }));
  }));
}

/** A watcher that understands what it is told. */
class Player {
  doc = new Y.Doc();
  /** @type {any[]} */
  said = [];

  /** @param {string} url */
  constructor(url) {
    this.socket = new WebSocket(url);
    this.socket.binaryType = "nodebuffer";
    this.socket.on("message", (data, binary) => {
      if (!binary) {
        const said = JSON.parse(data.toString());
        if (said.reset) this.doc = new Y.Doc();
        this.said.push(said);
        return;
      }
      const message = parse(new Uint8Array(/** @type {Buffer} */ (data)));
      if (message.type !== SYNC) return;
      if (message.subtype === 0) this.socket.send(step1());
      else Y.applyUpdate(this.doc, message.body);
    });
    this.opened = new Promise((done) => this.socket.once("open", done));
  }

  /**
   * Says something, and gives the answer: what comes next while it stands still.
   * @param {unknown} words
   */
  async say(words) {
    const before = this.said.length;
    this.socket.send(JSON.stringify(words));
    await until("an answer", () => this.said.length > before);
    return this.said[before];
  }

  text() {
    return this.doc.getText("text").toString();
  }

  close() {
    this.socket.close();
  }
}

describe("fork", { concurrency: true }, () => {
  it("makes a new room of a moment, and says where it came from", async () => {
    const name = "origin/🎈";
    await lived(name);
    const all = await records(name);
    const response = await post(`${api(name)}/fork`, { seq: 10, to: "doc/copies/one 🎈" });
    assert.equal(response.status, 201);
    const made = await response.json();
    assert.equal(made.room, "doc/copies/one 🎈");
    assert.deepEqual(made.origin, { room: `doc/${name}`, seq: 10 });
    assert.equal(decodeURIComponent(response.headers.get("location") ?? ""), "/replay/doc/copies/one 🎈");
    const copy = await stateAt("copies/one 🎈", "");
    assert.deepEqual(shown(copy.doc), shown(fold(all.slice(0, 10))));
    const [forked, ...rest] = await records("copies/one 🎈");
    assert.equal(forked?.kind, "forked");
    const details = JSON.parse(Buffer.from(forked?.payload ?? "", "base64").toString());
    assert.deepEqual(details, { room: `doc/${name}`, seq: 10, at: all[9]?.at, chain: all[9]?.chain });
    assert.equal(made.seq, rest.length + 1);
    assert.equal((await records(name)).length, 24, "the origin is as it was");
    // It lives: clients of both merge what they do in it, and the origin does not change.
    const client = await new Client(Library, `${server.ws}/yjs/doc`, encodeURIComponent("copies/one 🎈")).synced();
    client.text.insert(0, "on from here ");
    await until("it is written", async () => (await records("copies/one 🎈")).length === made.seq + 1);
    assert.equal((await records(name)).length, 24);
    client.destroy();
  });

  it("refuses a name that is taken, was taken, or is none", async () => {
    (await write("taken", appends(1))).close();
    (await write("was taken", appends(1))).close();
    (await write("source", appends(2))).close();
    assert.equal((await server.request(api("was taken"), { method: "DELETE" })).status, 204);
    for (const to of ["doc/taken", "doc/was taken", "doc/source"]) {
      await isProblem(await post(`${api("source")}/fork`, { seq: 1, to }), 409, "room_exists");
    }
    assert.equal((await records("taken")).length, 1);
    await isProblem(await post(`${api("source")}/fork`, { seq: 1, to: "nospace" }), 400, "bad_room_name");
    await isProblem(await post(`${api("source")}/fork`, { seq: 1, to: "nowhere/x" }), 404, "no_space");
    await isProblem(await post(`${api("source")}/fork`, { seq: 1, to: "blob/x" }), 400, "bad_request");
    await isProblem(await post(`${api("source")}/fork`, {}), 400, "bad_request");
    await isProblem(await post(`${api("source")}/fork`, { seq: 1, at: "now" }), 400, "bad_request");
    await isProblem(await post(`${api("source")}/fork`, { at: "yesterday" }), 400, "bad_moment");
    await isProblem(await post(`${api("source")}/fork`, { sequence: 1 }), 400, "bad_request");
  });

  it("of one name by many at once succeeds once", async () => {
    (await write("raced", appends(3))).close();
    const answers = await Promise.all(
      Array.from({ length: 8 }, (_, i) => post(`${api("raced")}/fork`, { seq: (i % 3) + 1, to: "doc/raced copy" })),
    );
    const statuses = answers.map((answer) => answer.status).sort();
    assert.deepEqual(statuses, [201, 409, 409, 409, 409, 409, 409, 409]);
    const all = await records("raced copy");
    assert.deepEqual(all.map((line) => line.kind), ["forked", "update"]);
  });

  it("finds a name of its own when none is given", async () => {
    (await write("named", appends(2))).close();
    const names = new Set();
    for (const moment of [{ seq: 1 }, { at: "now" }, { at: Date.now() + 60_000 }]) {
      const made = await (await post(`${api("named")}/fork`, moment)).json();
      assert.match(made.name, /^named-/);
      assert.equal((await stateAt(made.name, "")).text, moment.seq === 1 ? "a" : "ab");
      names.add(made.name);
    }
    assert.equal(names.size, 3);
    const pit = await (await server.request("/api/v1/pits", { method: "POST" })).json();
    const made = await (await post(`${api(pit.name, "pit")}/fork`, { at: "now" })).json();
    assert.equal(made.space, "pit");
    assert.equal(made.url, `/pit/${made.name}`);
    assert.notEqual(made.name, pit.name);
  });

  it("from before the first record is an empty room", async () => {
    (await write("filled", appends(2))).close();
    const made = await (await post(`${api("filled")}/fork`, { seq: 0, to: "doc/filled copy" })).json();
    assert.equal(made.origin.seq, 0);
    assert.deepEqual((await stateAt("filled copy", "")).json, {});
    assert.equal((await records("filled copy"))[0]?.kind, "forked");
  });

  it("of an opaque room has its payloads", async () => {
    assert.equal((await post(`${api("parts", "blob")}/fork`, { seq: 2, to: "blob/parts copy" })).status, 201);
    const copied = await records("parts copy", "", "blob");
    assert.deepEqual(copied.map((line) => line.kind), ["forked", "update", "update"]);
    const state = await server.request(`${api("parts copy", "blob")}/state?format=json`);
    const base64 = payloads.map((payload) => Buffer.from(payload).toString("base64"));
    assert.deepEqual(await state.json(), base64.slice(0, 2));
  });
});

describe("restore", { concurrency: true }, () => {
  it("is an event ahead, seen live, and erases nothing", async () => {
    const name = "set back";
    await lived(name, 24, (i) => `w${i} ü`);
    const all = await records(name);
    const clients = await Promise.all(
      [Library, OldLibrary].map((each) => new Client(each, `${server.ws}/yjs/doc`, name).synced()),
    );
    const response = await post(`${api(name)}/restore`, { seq: 7 });
    assert.equal(response.status, 200);
    const restored = await response.json();
    assert.deepEqual(restored.restored, { seq: 7, at: all[6]?.at });
    const past = shown(fold(all.slice(0, 7)));
    for (const client of clients) {
      await until("they see it", () => isDeepStrictEqual(shown(client.doc), past));
    }
    const now = await records(name);
    assert.deepEqual(now.slice(0, 24), all, "what was written stays as it was");
    assert.deepEqual(now.slice(24).map((line) => line.kind), ["restored", "update"]);
    assert.equal(restored.seq, 26);
    assert.equal(response.headers.get("well-seq"), "26");
    isFold(await stateAt(name, "seq=24"), all, "the state before can still be read");
    isFold(await stateAt(name, "seq=26"), now, "and so can the one after");
    // And it can be undone the same way.
    assert.equal((await post(`${api(name)}/restore`, { at: all[23]?.at })).status, 200);
    const last = shown(fold(all));
    for (const client of clients) {
      await until("they see it", () => isDeepStrictEqual(shown(client.doc), last));
    }
    for (const client of clients) client.destroy();
  });

  it("merges with what others do meanwhile", async () => {
    const name = "merged";
    const doc = new Y.Doc();
    const updates = updatesOf(() => {
      doc.getText("text").insert(0, "keep ");
      doc.getText("text").insert(5, "drop");
    }, doc);
    (await write(name, updates)).close();
    const client = await new Client(Library, `${server.ws}/yjs/doc`, name).synced();
    const restoring = post(`${api(name)}/restore`, { seq: 1 });
    client.text.insert(0, "meanwhile ");
    client.doc.getMap("map").set("new", true);
    assert.equal((await restoring).status, 200);
    const other = await new Client(OldLibrary, `${server.ws}/yjs/doc`, name).synced();
    await until("all agree", async () => {
      const state = await stateAt(name, "");
      const [a, b, c] = [client.doc, other.doc, state.doc].map(shown);
      return isDeepStrictEqual(a, b) && isDeepStrictEqual(b, c) && !client.text.toString().includes("drop");
    });
    assert.match(client.text.toString(), /keep /);
    // What came before the event was set back with the rest; what came after it stays.
    const all = await records(name);
    const event = all.findIndex((line) => line.kind === "restored");
    const later = all.slice(event + 2);
    const kept = shown(fold(all));
    if (later.length === 2) assert.deepEqual(kept, { text: "meanwhile keep ", map: { new: true } });
    client.destroy();
    other.destroy();
  });

  it("to now changes nothing, and before the first record empties", async () => {
    const name = "to now";
    (await write(name, appends(3))).close();
    assert.equal((await post(`${api(name)}/restore`, { at: "now" })).status, 200);
    assert.deepEqual((await records(name)).map((line) => line.kind), ["update", "update", "update", "restored"]);
    assert.equal((await stateAt(name, "")).text, "abc");
    const emptied = await post(`${api(name)}/restore`, { seq: 0 });
    assert.equal(emptied.status, 200);
    assert.deepEqual((await emptied.json()).restored, { seq: 0, at: null });
    assert.equal((await stateAt(name, "")).text, "");
    assert.equal((await stateAt(name, "seq=4")).text, "abc");
  });

  it("wants one moment", async () => {
    (await write("moments", appends(1))).close();
    for (const body of [{}, { seq: 1, at: "now" }, { sequence: 1 }, { at: true }, { seq: -1 }, []]) {
      await isProblem(await post(`${api("moments")}/restore`, body), 400, "bad_request");
    }
    await isProblem(await post(`${api("moments")}/restore`, { at: "x" }), 400, "bad_moment");
    assert.equal((await records("moments")).length, 1);
  });
});

/**
 * CRC-32C (RFC 3720, appendix B.4) of several pieces.
 * @param {Uint8Array[]} pieces
 */
function crc32c(...pieces) {
  let crc = 0xffffffff;
  for (const piece of pieces) {
    for (const byte of piece) {
      crc ^= byte;
      for (let bit = 0; bit < 8; bit += 1) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
    }
  }
  return (crc ^ 0xffffffff) >>> 0;
}
