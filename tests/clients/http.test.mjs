/** The HTTP API, as `fetch` sees it. */

import assert from "node:assert/strict";
import http from "node:http";
import { after, describe, it } from "node:test";
import { RawClient, insertion, textOf, updateMessage } from "./peers.mjs";
import { Server, until } from "./server.mjs";

const server = await Server.start();
after(() => server.remove());

/** A room that holds one record. */
async function made(space, name, words = "words") {
  const raw = await RawClient.open(`${server.ws}/yjs/${space}/${encodeURIComponent(name)}`);
  raw.send(updateMessage(insertion(words)));
  await raw.settle();
  return raw;
}

/**
 * @param {Response} response
 * @param {number} status
 * @param {string} code
 */
async function isProblem(response, status, code) {
  assert.equal(response.status, status);
  assert.equal(response.headers.get("content-type"), "application/problem+json");
  const problem = await response.json();
  assert.equal(problem.status, status);
  assert.equal(problem.code, code);
  for (const field of ["type", "title", "detail"]) assert.ok(problem[field]?.length > 0, field);
  return problem;
}

describe("rooms", () => {
  it("are listed page by page, by name, each once", async () => {
    const names = Array.from({ length: 25 }, (_, i) => `list/${String(i).padStart(3, "0")} ü`);
    for (const name of names) (await made("doc", name)).close();
    const listed = [];
    /** @type {string | null} */
    let after = null;
    let pages = 0;
    do {
      const query = after === null ? "" : `&after=${encodeURIComponent(after)}`;
      const response = await server.request(`/api/v1/rooms?limit=7${query}`);
      assert.equal(response.status, 200);
      assert.match(response.headers.get("content-type") ?? "", /^application\/json/);
      const page = await response.json();
      assert.ok(page.rooms.length <= 7);
      assert.ok(page.next === null || page.rooms.length === 7, "only the last page is short");
      listed.push(...page.rooms.map((/** @type {{ room: string }} */ room) => room.room));
      after = page.next;
      pages += 1;
      assert.ok(pages < 50, "the list ends");
    } while (after !== null);
    assert.deepEqual(listed, [...listed].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))));
    assert.equal(new Set(listed).size, listed.length);
    for (const name of names) assert.ok(listed.includes(`doc/${name}`), name);
    assert.equal(pages, Math.ceil(listed.length / 7));
  });

  it("a full page that is the last one has no next", async () => {
    const all = await (await server.request("/api/v1/rooms?limit=1000")).json();
    const exact = await (await server.request(`/api/v1/rooms?limit=${all.rooms.length}`)).json();
    assert.equal(exact.next, null);
    assert.equal(exact.rooms.length, all.rooms.length);
  });

  for (const query of ["limit=0", "limit=1001", "limit=x", "limit=-1", "after=nospace", "after=doc/", "nonsense=1"]) {
    it(`?${query} is a problem`, async () => {
      const response = await server.request(`/api/v1/rooms?${query}`);
      await isProblem(response, 400, query.startsWith("after") ? "bad_room_name" : "bad_request");
    });
  }

  it("one room tells its head, sizes, times and who is in it", async () => {
    const raw = await made("doc", "one/room", "x".repeat(500));
    raw.send(updateMessage(insertion("more")));
    await raw.settle();
    const response = await server.request("/api/v1/rooms/doc/one%2Froom");
    assert.equal(response.status, 200);
    const room = await response.json();
    assert.equal(room.room, "doc/one/room");
    assert.equal(room.space, "doc");
    assert.equal(room.name, "one/room");
    assert.equal(room.seq, 2);
    assert.equal(room.records, 2);
    assert.ok(room.bytes > 500);
    assert.equal(room.sessions, 1);
    assert.match(room.chain, /^[0-9a-f]{16,}$/);
    const [created, updated] = [Date.parse(room.created_at), Date.parse(room.updated_at)];
    assert.ok(created <= updated && updated <= Date.now() + 1000 && created > Date.now() - 60_000);
    raw.close();
    await until("nobody is in it", async () => {
      return (await (await server.request("/api/v1/rooms/doc/one%2Froom")).json()).sessions === 0;
    });
  });

  it("one that was never written to is a problem", async () => {
    await isProblem(await server.request("/api/v1/rooms/doc/never"), 404, "no_room");
    await isProblem(await server.request("/api/v1/rooms/doc/never/snapshot"), 404, "no_room");
    await isProblem(await server.request("/api/v1/rooms/doc/never", { method: "DELETE" }), 404, "no_room");
  });

  it("an unknown space and an impossible name are problems", async () => {
    await isProblem(await server.request("/api/v1/rooms/nowhere/x"), 404, "no_space");
    await isProblem(await server.request(`/api/v1/rooms/doc/${"x".repeat(256)}`), 400, "bad_room_name");
    await isProblem(await server.request("/api/v1/rooms/DOC/x"), 400, "bad_room_name");
    await isProblem(await server.request("/api/v1/rooms/doc/a%00b"), 400, "bad_room_name");
  });

  it("a name that is not UTF-8 is a problem", async () => {
    await isProblem(await server.request("/api/v1/rooms/doc/%ff"), 400, "bad_request");
  });
});

describe("snapshots", () => {
  it("are the document, with an ETag that names what they hold", async () => {
    const raw = await made("doc", "snap", "first ");
    const url = "/api/v1/rooms/doc/snap/snapshot";
    const one = await server.request(url);
    assert.equal(one.status, 200);
    assert.equal(one.headers.get("content-type"), "application/octet-stream");
    assert.equal(one.headers.get("cache-control"), "no-cache");
    assert.equal(one.headers.get("well-seq"), "1");
    const etag = one.headers.get("etag") ?? "";
    assert.match(etag, /^"[^"]+"$/);
    assert.equal(textOf(new Uint8Array(await one.arrayBuffer())), "first ");

    const same = await server.request(url, { headers: { "if-none-match": etag } });
    assert.equal(same.status, 304);
    assert.equal(same.headers.get("etag"), etag);
    assert.equal((await same.arrayBuffer()).byteLength, 0);
    const weak = await server.request(url, { headers: { "if-none-match": `"other", W/${etag}` } });
    assert.equal(weak.status, 304);

    raw.send(updateMessage(insertion("second ")));
    await raw.settle();
    const two = await server.request(url, { headers: { "if-none-match": etag } });
    assert.equal(two.status, 200);
    assert.notEqual(two.headers.get("etag"), etag);
    assert.equal(two.headers.get("well-seq"), "2");
    assert.match(textOf(new Uint8Array(await two.arrayBuffer())), /second /);
    raw.close();
  });

  it("of a long document are at the head too, however often it is asked", async () => {
    const raw = await made("doc", "long", "x".repeat(100_000));
    for (let i = 1; i <= 5; i += 1) {
      const room = await (await server.request("/api/v1/rooms/doc/long")).json();
      const response = await server.request("/api/v1/rooms/doc/long/snapshot");
      assert.equal(response.headers.get("well-seq"), String(room.seq));
      assert.equal(textOf(new Uint8Array(await response.arrayBuffer())).length, 100_000 + i - 1);
      raw.send(updateMessage(insertion("y")));
      await raw.settle();
    }
    raw.close();
  });

  it("outlive a restart, bit for bit and with the same ETag", async () => {
    const own = await Server.start();
    const raw = await RawClient.open(`${own.ws}/yjs/doc/kept`);
    for (const word of ["one ", "two ", "three "]) raw.send(updateMessage(insertion(word)));
    await raw.settle();
    const url = "/api/v1/rooms/doc/kept/snapshot";
    const before = await own.request(url);
    const body = new Uint8Array(await before.arrayBuffer());
    const room = await (await own.request("/api/v1/rooms/doc/kept")).json();
    await own.stop();
    await own.start();
    const after = await own.request(url);
    assert.equal(after.status, 200);
    assert.equal(after.headers.get("etag"), before.headers.get("etag"));
    assert.equal(textOf(new Uint8Array(await after.arrayBuffer())), textOf(body));
    const again = await (await own.request("/api/v1/rooms/doc/kept")).json();
    for (const field of ["seq", "chain", "created_at", "updated_at", "records"]) assert.equal(again[field], room[field], field);
    await own.remove();
  });
});

describe("pits", () => {
  it("are made with a name of six unambiguous characters", async () => {
    const names = new Set();
    for (let i = 0; i < 20; i += 1) {
      const response = await server.request("/api/v1/pits", { method: "POST" });
      assert.equal(response.status, 201);
      const pit = await response.json();
      assert.match(pit.name, /^[23456789abcdefghjkmnpqrstuvwxyz]{6}$/);
      assert.equal(pit.room, `pit/${pit.name}`);
      assert.equal(response.headers.get("location"), `/pit/${pit.name}`);
      names.add(pit.name);
    }
    assert.equal(names.size, 20);
  });

  it("are there at once, empty, and can be drawn in", async () => {
    const pit = await (await server.request("/api/v1/pits", { method: "POST" })).json();
    const room = await (await server.request(`/api/v1/rooms/${pit.room}`)).json();
    assert.equal(room.seq, 1, "its creation is its first record");
    assert.equal(textOf(await server.snapshot("pit", pit.name)), "");
    const raw = await RawClient.open(`${server.ws}${pit.url}?role=creator`);
    raw.send(updateMessage(insertion("drawn")));
    await raw.settle();
    assert.equal(textOf(await server.snapshot("pit", pit.name)), "drawn");
    raw.close();
  });

  it("answer a plain GET with a page, and a wrong method with a problem", async () => {
    const page = await server.request("/pit/abc234");
    assert.ok([200, 404].includes(page.status), "404 only in a build without pages");
    await isProblem(await server.request("/api/v1/pits"), 405, "method_not_allowed");
    await isProblem(await server.request("/pit/abc234", { method: "POST" }), 405, "method_not_allowed");
  });
});

describe("deletion", () => {
  it("closes the members with 4404 and forgets the room", async () => {
    const raw = await made("doc", "doomed", "gone");
    const reader = await RawClient.open(`${server.ws}/yjs/doc/doomed?role=viewer`);
    const response = await server.request("/api/v1/rooms/doc/doomed", { method: "DELETE" });
    assert.equal(response.status, 204);
    for (const member of [raw, reader]) assert.equal((await member.closes()).code, 4404);
    await isProblem(await server.request("/api/v1/rooms/doc/doomed"), 404, "no_room");
    await isProblem(await server.request("/api/v1/rooms/doc/doomed/snapshot"), 404, "no_room");
    const { rooms } = await (await server.request("/api/v1/rooms?limit=1000")).json();
    assert.ok(!rooms.some((/** @type {{ room: string }} */ room) => room.room === "doc/doomed"));
    await isProblem(await server.request("/api/v1/rooms/doc/doomed", { method: "DELETE" }), 404, "no_room");
  });

  it("is final: the old words do not come back, also after a restart", async () => {
    const own = await Server.start();
    const raw = await RawClient.open(`${own.ws}/yjs/doc/again`);
    raw.send(updateMessage(insertion("old")));
    await raw.settle();
    assert.equal((await own.request("/api/v1/rooms/doc/again", { method: "DELETE" })).status, 204);
    await own.kill();
    await own.start();
    assert.equal(await own.snapshot("doc", "again"), null);
    await own.remove();
  });

  it("of a room while others write to it loses no other room's edits", async () => {
    const kept = await made("doc", "neighbour", "n");
    const doomed = await made("doc", "doomed2", "x");
    for (let i = 0; i < 50; i += 1) {
      kept.send(updateMessage(insertion("k")));
      doomed.send(updateMessage(insertion("d")));
    }
    assert.equal((await server.request("/api/v1/rooms/doc/doomed2", { method: "DELETE" })).status, 204);
    await kept.settle();
    assert.equal((await (await server.request("/api/v1/rooms/doc/neighbour")).json()).records, 51);
    assert.equal((await doomed.closes()).code, 4404);
    kept.close();
  });
});

describe("everything else", () => {
  it("unknown addresses of the API are problems", async () => {
    await isProblem(await server.request("/api/v1/nothing"), 404, "no_route");
    await isProblem(await server.request("/api/v1/rooms", { method: "POST" }), 405, "method_not_allowed");
    await isProblem(await server.request("/yjs/doc/x"), 426, "upgrade_required");
  });

  it("a handshake that is none is a problem", async () => {
    for (const headers of [
      { "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==", "sec-websocket-version": "8" },
      { "sec-websocket-key": "short", "sec-websocket-version": "13" },
      { "sec-websocket-version": "13" },
    ]) {
      const status = await new Promise((done, fail) => {
        const request = http.get(`${server.http}/yjs/doc/x`, { headers: { connection: "Upgrade", upgrade: "websocket", ...headers } });
        request.on("response", (response) => {
          response.resume();
          assert.equal(response.headers["content-type"], "application/problem+json");
          done(response.statusCode);
        });
        request.on("error", fail);
      });
      assert.equal(status, 400);
    }
  });

  it("health and readiness say so, with the durability the log really has", async () => {
    assert.equal((await server.request("/healthz")).status, 200);
    const ready = await server.request("/readyz");
    assert.equal(ready.status, 200);
    const body = await ready.json();
    assert.equal(body.ready, true);
    assert.match(body.durability, /power|sync|disk/i);
    const forgetful = await Server.start({ store: "memory" });
    const { durability } = await (await forgetful.request("/readyz")).json();
    assert.match(durability, /memory|process|nothing/i);
    assert.notEqual(durability, body.durability);
    await forgetful.remove();
  });

  it("metrics are in Prometheus' format, count what happens, and have no room in a label", async () => {
    const read = async () => {
      const response = await server.request("/metrics");
      assert.match(response.headers.get("content-type") ?? "", /^text\/plain/);
      return response.text();
    };
    const value = (/** @type {string} */ text, /** @type {string} */ name) =>
      Number(new RegExp(`^${name} (\\S+)$`, "m").exec(text)?.[1]);
    const before = await read();
    const raw = await made("doc", "metered-room", "x");
    for (let i = 0; i < 9; i += 1) raw.send(updateMessage(insertion("y")));
    await raw.settle();
    const text = await read();
    assert.equal(value(text, "well_records_total") - value(before, "well_records_total"), 10);
    assert.ok(value(text, 'well_connections\\{transport="websocket"\\}') >= 1);
    assert.ok(value(text, 'well_sessions\\{dialect="yjs",transport="websocket"\\}') >= 1);
    for (const name of ["well_append_seconds", "well_ack_seconds", "well_join_seconds", "well_fanout_seconds", "well_sync_seconds"]) {
      assert.match(text, new RegExp(`^# TYPE ${name} (histogram|summary)$`, "m"), name);
    }
    assert.doesNotMatch(text, /metered-room/);
    for (const line of text.split("\n")) {
      assert.match(line, /^(#.*|[a-z_]+(\{[^}]*\})? \S+|)$/, line);
    }
    raw.close();
  });

  it("answers carry the headers that keep browsers strict", async () => {
    for (const path of ["/", "/api/v1/rooms", "/healthz"]) {
      const { headers } = await server.request(path);
      assert.equal(headers.get("x-content-type-options"), "nosniff", path);
      assert.match(headers.get("content-security-policy") ?? "", /default-src 'self'/, path);
    }
  });
});
