/** The rules of the protocol by name, against a server that can be made to do anything. */

import { afterEach, describe, expect, it } from "vitest";
import { Client, MemoryQueue, type Operation, type Queue, type Room, type Waiting } from "../src/index.js";
import { RejectCode } from "../src/gen/well/v1/well_pb.js";
import { bytes, Fake, text, until, type Said } from "./fake.js";

const clients: Client[] = [];
afterEach(() => {
  for (const client of clients.splice(0)) client.close();
});

function connect(fake: Fake): Client {
  const client = new Client({ url: "ws://nowhere/well", connect: fake.connect });
  clients.push(client);
  return client;
}

/** What an application would have: the log, as the room tells of it. */
function follow(room: Room): { log: Map<number, string>; said: string[] } {
  const seen = { log: new Map<number, string>(), said: [] as string[] };
  const put = (seq: number, payload: string): void => {
    if (seen.log.has(seq)) seen.said.push(`twice ${seq}`);
    seen.log.set(seq, payload);
  };
  const whole = (snapshot: Uint8Array): void => {
    seen.log.clear();
    if (snapshot.length > 0) for (const [n, payload] of text(snapshot).split("|").entries()) seen.log.set(n + 1, payload);
  };
  room.on("joined", ({ state }) => {
    seen.said.push("joined");
    if (state.snapshot !== undefined) whole(state.snapshot);
    for (const { seq, payload } of state.records ?? []) put(seq, text(payload));
  });
  room.on("records", (records) => {
    for (const { seq, payload } of records) put(seq, text(payload));
  });
  room.on("reset", ({ snapshot }) => whole(snapshot));
  room.on("acked", ({ seq, payload }) => {
    // A snapshot after a break may hold what is acked later.
    if (seq !== undefined && seen.log.get(seq) !== text(payload)) put(seq, text(payload));
  });
  room.on("disconnected", () => seen.said.push("disconnected"));
  room.on("closed", ({ code }) => seen.said.push(`closed ${code}`));
  return seen;
}

const submits = (said: readonly Said[]): number[] =>
  said.flatMap((it) => (it.case === "submit" ? it.value.payloads.map((_, n) => Number(it.value.operation) + n) : []));

describe("once", () => {
  // A run without a cut passes some thirty messages.
  for (let cut = 0; cut < 40; cut += 1) {
    it(`each operation is in the log once, in order, when the connection is cut at message ${cut}`, async () => {
      const fake = new Fake();
      fake.cutAt = cut;
      const room = await connect(fake).join({ room: "doc/a" });
      const seen = follow(room);
      const tickets = Array.from({ length: 6 }, (_, n) => room.submit(bytes(`own ${n}`)));
      await until("half is there", () => fake.log.length >= 3);
      fake.write("foreign 0");
      for (let n = 6; n < 10; n += 1) tickets.push(room.submit(bytes(`own ${n}`)));
      const acks = await Promise.all(tickets.map(({ acked }) => acked));
      fake.write("foreign 1");
      await until("everything was heard", () => seen.log.size === 12);
      const own = fake.log.filter(({ client }) => client === room.client);
      expect(own.map(({ payload }) => payload)).toEqual(Array.from({ length: 10 }, (_, n) => `own ${n}`));
      expect(acks.map(({ seq }) => fake.log[(seq ?? 0) - 1]?.payload)).toEqual(own.map(({ payload }) => payload));
      expect([...seen.log].sort(([a], [b]) => a - b).map(([, payload]) => payload)).toEqual(fake.log.map(({ payload }) => payload));
      expect(seen.said.filter((it) => it.startsWith("twice"))).toEqual([]);
      expect([room.waiting, room.seq]).toEqual([0, 12]);
      if (cut < 10) expect(fake.lines.length).toBeGreaterThan(1);
    });
  }
});

it("Hello says whose work this is part of, again after a break", async () => {
  const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  const said = (fake: Fake): (string | undefined)[] =>
    fake.lines.flatMap((line) => line.said.map((it) => (it.case === "hello" ? it.value.traceparent : undefined))).filter((it) => it !== undefined);
  const fake = new Fake();
  const client = new Client({ url: "ws://nowhere/well", connect: fake.connect, traceparent });
  clients.push(client);
  await until("it is greeted", () => said(fake).length === 1);
  fake.line.break();
  await until("it comes back", () => said(fake).length === 2);
  expect(said(fake)).toEqual([traceparent, traceparent]);
  const other = new Fake();
  connect(other);
  await until("it is greeted", () => said(other).length === 1);
  expect(said(other)).toEqual([""]);
});

it("own records are not told of, also when the ack came before what lies between", async () => {
  const fake = new Fake();
  const room = await connect(fake).join({ room: "doc/a" });
  const heard: string[] = [];
  const take = (records: readonly { payload: Uint8Array }[] = []): void => void heard.push(...records.map(({ payload }) => text(payload)));
  room.on("records", take);
  await until("it is joined", () => room.isJoined);
  room.on("joined", ({ state }) => take(state.records));
  // The record of somebody else is written, and the connection breaks before it is told.
  fake.log.push({ client: 0, operation: 0, payload: "foreign" });
  const line = fake.line;
  fake.script = (_, said) => {
    if (said.case === "submit") line.members.clear();
    if (said.case !== "submit") return false;
    fake.log.push({ client: room.client, operation: 1, payload: "own" });
    line.tell({ case: "ack", value: { number: line.number, operation: 1n, placed: [{ operation: 1n, seq: 2n, count: 1n }] } });
    return true;
  };
  await room.submit(bytes("own")).acked;
  fake.script = () => false;
  line.break();
  await until("it is up to date", () => room.seq === 2 && room.isJoined);
  expect(heard).toEqual(["foreign"]);
});

it("refuses at once what can never work, and says why it is not connected", async () => {
  class Refused {
    onclose: ((event: { code: number; reason: string }) => void) | undefined;
    constructor() {
      setTimeout(() => this.onclose?.({ code: 1006, reason: "refused" }), 0);
    }
  }
  const WebSocket = Refused as never;
  for (const url of ["http://127.0.0.1/well", "127.0.0.1:4000", "ws://"]) {
    expect(() => new Client({ url, WebSocket })).toThrow(expect.objectContaining({ code: "unusable" }));
  }
  const client = new Client({ url: "ws://127.0.0.1/well", WebSocket });
  clients.push(client);
  const reasons: string[] = [];
  client.on("disconnected", ({ reason }) => reasons.push(reason));
  await until("it says why", () => reasons.length > 0);
  expect(reasons[0]).toMatch(/1006: refused/);
});

describe("a log that began anew", () => {
  it.each([2, 4, 9])("is followed when it has %i records, by who had 4", async (length) => {
    const fake = new Fake();
    const room = await connect(fake).join({ room: "blob/a" });
    const seen = follow(room);
    const resets: boolean[] = [];
    room.on("reset", ({ beganAnew }) => resets.push(beganAnew));
    await until("it is joined", () => room.isJoined);
    fake.write("foreign");
    for (let n = 0; n < 3; n += 1) await room.submit(bytes(`own ${n}`)).acked;
    await until("it has all", () => room.seq === 4);
    const { line } = fake;
    fake.beginAnew();
    line.members.clear();
    for (let n = 0; n < length; n += 1) fake.write(`anew ${n}`);
    line.break();
    await until("it is back", () => room.isJoined && fake.line !== line && room.seq === length);
    expect(resets).toEqual([true]);
    fake.write("next");
    await until("it hears the next", () => room.seq === length + 1);
    expect([...seen.log.values()]).toEqual(fake.log.map(({ payload }) => payload));
    expect(seen.said.filter((it) => it.startsWith("twice"))).toEqual([]);
    // The same log after another break is no other past.
    fake.line.break();
    await until("it is back again", () => room.isJoined && fake.lines.length === 3);
    expect(resets).toEqual([true]);
  });
});

describe("the window", () => {
  it("bounds what is on its way, in operations and in bytes", async () => {
    const fake = new Fake();
    fake.window = { windowOperations: 3, windowBytes: 100 };
    fake.script = (_, said) => said.case === "submit";
    const room = await connect(fake).join({ room: "doc/a" });
    for (let n = 0; n < 10; n += 1) room.submit(bytes("x"));
    await until("the window is used", () => submits(fake.lines[0]?.said ?? []).length > 0);
    await new Promise((done) => setTimeout(done, 20));
    expect(submits(fake.line.said)).toEqual([1, 2, 3]);
    fake.line.tell({ case: "ack", value: { number: fake.line.number, operation: 2n, placed: [] } });
    await until("it moves", () => submits(fake.line.said).length === 5);

    const large = new Fake();
    large.window = { windowOperations: 10, windowBytes: 100 };
    large.script = (_, said) => said.case === "submit";
    const other = await connect(large).join({ room: "doc/a" });
    for (let n = 0; n < 3; n += 1) other.submit(bytes("x".repeat(60)));
    await until("one is sent", () => submits(large.lines[0]?.said ?? []).length > 0);
    await new Promise((done) => setTimeout(done, 20));
    expect(submits(large.line.said)).toEqual([1]);
  });

  it("an operation larger than it is sent alone", async () => {
    const fake = new Fake();
    const room = await connect(fake).join({ room: "doc/a" });
    await room.submit(bytes("x".repeat(5_000))).acked;
    expect(fake.log.length).toBe(1);
  });
});

describe("what the server refuses", () => {
  it("a malformed operation is dropped, the others go on after joining again", async () => {
    const fake = new Fake();
    let refused = 0;
    fake.script = (line, said) => {
      if (said.case !== "submit" || !said.value.payloads.some((it) => text(it) === "bad")) return false;
      refused += 1;
      const at = said.value.payloads.findIndex((it) => text(it) === "bad");
      line.tell({ case: "reject", value: { number: line.number, operation: said.value.operation + BigInt(at), code: RejectCode.MALFORMED, message: "no update" } });
      line.tell({ case: "left", value: { number: line.number, code: 4400, reason: "no update" } });
      return true;
    };
    const room = await connect(fake).join({ room: "doc/a" });
    const seen = follow(room);
    const tickets = ["a", "bad", "b"].map((it) => room.submit(bytes(it)));
    await expect(tickets[1]?.acked).rejects.toMatchObject({ code: "rejected" });
    await tickets[2]?.acked;
    await tickets[0]?.acked;
    expect(fake.log.map(({ payload }) => payload)).toEqual(["a", "b"]);
    expect([refused, fake.lines.length]).toEqual([1, 1]);
    expect(seen.said).toEqual(["joined", "disconnected", "joined"]);
  });

  it("an operation that came too fast is sent again, not before the server wants it", async () => {
    const fake = new Fake();
    let asked = 0;
    let [leftMs, backMs] = [0, 0];
    fake.script = (line, said) => {
      if (said.case === "join") backMs = performance.now();
      if (said.case !== "submit" || asked++ > 0) return false;
      leftMs = performance.now();
      line.tell({ case: "reject", value: { number: line.number, operation: said.value.operation, code: RejectCode.RATE, message: "slower" } });
      line.tell({ case: "left", value: { number: line.number, code: 4429, reason: "slower", retryAfterMs: 200 } });
      return true;
    };
    const room = await connect(fake).join({ room: "doc/a" });
    await room.submit(bytes("a")).acked;
    expect(backMs - leftMs).toBeGreaterThanOrEqual(195);
    expect(fake.log.length).toBe(1);
  });

  it("a viewer's operation is refused, and the membership goes on", async () => {
    const fake = new Fake();
    fake.script = (line, said) => {
      if (said.case === "submit") line.tell({ case: "reject", value: { number: line.number, operation: said.value.operation, code: RejectCode.READ_ONLY, message: "a viewer" } });
      return said.case === "submit";
    };
    const room = await connect(fake).join({ room: "doc/a", role: "viewer" });
    await expect(room.submit(bytes("a")).acked).rejects.toThrow("a viewer");
    fake.script = () => false;
    const heard: string[] = [];
    room.on("records", (records) => heard.push(...records.map(({ payload }) => text(payload))));
    fake.write("b");
    await until("it is heard", () => heard.length === 1);
    expect([fake.lines.length, room.isJoined]).toEqual([1, true]);
  });

  it("a room that is gone when the connection comes back is closed, though an operation was refused before", async () => {
    const fake = new Fake();
    fake.script = (line, said) => {
      if (said.case === "submit") {
        line.tell({ case: "reject", value: { number: line.number, operation: said.value.operation, code: RejectCode.MALFORMED, message: "no update" } });
        setTimeout(() => line.break(), 5);
      }
      if (said.case === "join" && fake.lines.length > 1) line.tell({ case: "left", value: { request: said.value.request, code: 4404, reason: "it was deleted" } });
      return said.case === "submit" || (said.case === "join" && fake.lines.length > 1);
    };
    const room = await connect(fake).join({ room: "doc/gone" });
    const seen = follow(room);
    await expect(room.submit(bytes("a")).acked).rejects.toMatchObject({ code: "rejected" });
    await until("it is back", () => seen.said.length === 3);
    expect(seen.said).toEqual(["joined", "disconnected", "closed 4404"]);
  });

  it("a room that is closed for good says so, and its tickets fail", async () => {
    const fake = new Fake();
    fake.script = (line, said) => {
      if (said.case === "join") line.tell({ case: "left", value: { request: said.value.request, code: 4404, reason: "it was deleted" } });
      return said.case === "join";
    };
    const room = await connect(fake).join({ room: "doc/gone" });
    const seen = follow(room);
    await expect(room.submit(bytes("a")).acked).rejects.toMatchObject({ code: "closed" });
    expect(seen.said).toEqual(["closed 4404"]);
    expect(() => room.submit(bytes("b"))).toThrow("left or closed");
  });
});

describe("the connection", () => {
  it("a goodbye for good ends the client, another one is heeded", async () => {
    const fake = new Fake();
    fake.refuse = { case: "goodbye", value: { code: 1013, reason: "full", retryAfterMs: 150 } };
    const client = connect(fake);
    const { reason } = await new Promise<{ reason: string }>((done) => client.once("disconnected", done));
    expect(reason).toContain("full");
    const began = performance.now();
    fake.refuse = undefined;
    await new Promise((done) => client.once("connected", done));
    expect(performance.now() - began).toBeGreaterThanOrEqual(145);

    fake.refuse = { case: "goodbye", value: { code: 4401, reason: "who are you?" } };
    const room = await client.join({ room: "doc/a" });
    const closed = new Promise((done) => client.once("closed", done));
    fake.line.break();
    expect(await closed).toEqual({ code: 4401, reason: "who are you?" });
    expect(() => room.submit(bytes("x"))).toThrow("who are you?");
  });

  it("records with a gap before them break it, and it resumes without loss", async () => {
    const fake = new Fake();
    const room = await connect(fake).join({ room: "doc/a" });
    const seen = follow(room);
    fake.write("one");
    await until("it is here", () => seen.log.size === 1);
    const line = fake.line;
    line.cursor = 2;
    fake.log.push({ client: 0, operation: 0, payload: "lost" });
    fake.write("three");
    await until("it joined again", () => seen.log.size === 3);
    expect([...seen.log.values()]).toEqual(["one", "lost", "three"]);
    expect(fake.lines.length).toBe(2);
    expect(seen.said).toEqual(["joined", "disconnected", "joined"]);
  });

  it("bytes that are no message break it", async () => {
    const fake = new Fake();
    const client = connect(fake);
    await new Promise((done) => client.once("connected", done));
    const broken = new Promise<{ reason: string }>((done) => client.once("disconnected", done));
    fake.line.receiver.message(Uint8Array.of(0xff, 0xff));
    expect((await broken).reason).toContain("no message of the protocol");
    await new Promise((done) => client.once("connected", done));
  });

  it("a message of a kind that is not known is passed over", async () => {
    const fake = new Fake();
    const client = connect(fake);
    const room = await client.join({ room: "doc/a" });
    await new Promise((done) => room.once("joined", done));
    fake.line.receiver.message(Uint8Array.of(0xfa, 0x06, 0x00));
    await room.submit(bytes("a")).acked;
    expect(fake.lines.length).toBe(1);
  });

  it("silence is pinged, then given up", async () => {
    const fake = new Fake();
    fake.heartbeatMs = 1_000;
    const client = connect(fake);
    await new Promise((done) => client.once("connected", done));
    await until("it pings", () => fake.line.said.some((it) => it.case === "ping"), 3_000);
    await until("it measures", () => client.roundTripMs !== undefined);
    fake.script = (_, said) => said.case === "ping";
    const broken = await new Promise<{ reason: string }>((done) => client.once("disconnected", done));
    expect(broken.reason).toContain("silent");
  }, 10_000);

  it("a close says goodbye and ends everything", async () => {
    const fake = new Fake();
    const client = connect(fake);
    const room = await client.join({ room: "doc/a" });
    const ticket = room.submit(bytes("a"));
    await ticket.acked;
    const late = room.submit(bytes("b"));
    client.close();
    expect(fake.line.open).toBe(false);
    await expect(late.acked).rejects.toMatchObject({ code: "ended" });
    await expect(client.join({ room: "doc/b" })).rejects.toMatchObject({ code: "ended" });
  });

  it("a reset replaces the document, and records go on behind it", async () => {
    const fake = new Fake();
    const room = await connect(fake).join({ room: "doc/a" });
    const seen = follow(room);
    await until("it is joined", () => room.isJoined);
    fake.log.push(...["a", "b", "c"].map((payload) => ({ client: 0, operation: 0, payload })));
    fake.line.cursor = 3;
    fake.line.tell({ case: "reset", value: { number: fake.line.number, head: 3n, snapshot: bytes("a|b|c") } });
    fake.write("d");
    await until("all is here", () => seen.log.size === 4);
    expect(room.seq).toBe(4);
  });

  it("carries many rooms, and one that is left while it is joined is left", async () => {
    const fake = new Fake();
    const client = connect(fake);
    await new Promise((done) => client.once("connected", done));
    const room = await client.join({ room: "doc/a" });
    await until("it is asked for", () => fake.line.said.some((it) => it.case === "join"));
    room.leave();
    await until("it is left", () => fake.line.said.some((it) => it.case === "leave" && it.value.number === fake.line.number));
  });
});

describe("the queue", () => {
  class Slow implements Queue {
    readonly client = 9;
    readonly held: Operation[] = [];
    readonly done: (() => void)[] = [];
    constructor(private readonly waiting: Waiting = { operations: [], last: 0 }) {}
    load = (): Waiting => this.waiting;
    push = (operation: Operation): Promise<void> => {
      this.held.push(operation);
      return new Promise((done) => this.done.push(done));
    };
    acked = (number: number): undefined => void this.held.splice(0, this.held.length, ...this.held.filter((it) => it.number > number));
    rejected = (number: number): undefined => void this.held.splice(0, this.held.length, ...this.held.filter((it) => it.number !== number));
    close = (): void => undefined;
  }

  it("nothing is sent before it is kept", async () => {
    const fake = new Fake();
    const queue = new Slow();
    const room = await connect(fake).join({ room: "doc/a", queue });
    const ticket = room.submit(bytes("a"));
    await until("it is joined", () => room.isJoined);
    await new Promise((done) => setTimeout(done, 20));
    expect(submits(fake.line.said)).toEqual([]);
    queue.done[0]?.();
    await ticket.acked;
    expect(queue.held).toEqual([]);
  });

  it("what waited is sent first, under the numbers it had", async () => {
    const fake = new Fake();
    const queue = new Slow({ operations: [{ number: 4, base: 0, payload: bytes("old 4") }, { number: 6, base: 0, payload: bytes("old 6") }], last: 6 });
    const room = await connect(fake).join({ room: "doc/a", queue });
    expect(room.waitingPayloads().map(text)).toEqual(["old 4", "old 6"]);
    const ticket = room.submit(bytes("new"));
    expect(ticket.number).toBe(7);
    queue.done[0]?.();
    await ticket.acked;
    expect(fake.log.map(({ operation, payload }) => [operation, payload])).toEqual([[4, "old 4"], [6, "old 6"], [7, "new"]]);
  });

  it("what goes before all that waits gives them new numbers", async () => {
    const fake = new Fake();
    const queue = new Slow({ operations: [{ number: 4, base: 0, payload: bytes("old 4") }, { number: 6, base: 0, payload: bytes("old 6") }], last: 6 });
    const room = await connect(fake).join({ room: "doc/a", queue });
    const ticket = room.submitFirst(bytes("first"));
    expect(ticket.number).toBe(7);
    await until("they are kept anew", () => queue.done.length === 3);
    for (const done of queue.done) done();
    await until("all is acked", () => room.waiting === 0);
    expect(fake.log.map(({ operation, payload }) => [operation, payload])).toEqual([[7, "first"], [8, "old 4"], [9, "old 6"]]);
    expect(queue.held).toEqual([]);
  });

  it("a queue that lost its end gives no number twice", async () => {
    const fake = new Fake();
    fake.log.push(...[1, 2, 3].map((operation) => ({ client: 9, operation, payload: `before ${operation}` })));
    const queue = new Slow({ operations: [], last: 1 });
    const room = await connect(fake).join({ room: "doc/a", queue });
    const tickets = ["a", "b"].map((it) => room.submit(bytes(it)));
    for (const done of queue.done.splice(0)) done();
    await until("they have new numbers", () => queue.done.length === 2);
    expect(queue.held.map(({ number }) => number)).toEqual([4, 5]);
    for (const done of queue.done.splice(0)) done();
    await Promise.all(tickets.map(({ acked }) => acked));
    expect(tickets.map(({ number }) => number)).toEqual([4, 5]);
    expect(fake.log.map(({ payload }) => payload)).toEqual(["before 1", "before 2", "before 3", "a", "b"]);
  });

  it("one that fails is told of, and the operation is sent nevertheless", async () => {
    class Broken extends MemoryQueue {
      override push(): never {
        throw new Error("the disk is full");
      }
    }
    const fake = new Fake();
    const room = await connect(fake).join({ room: "doc/a", queue: new Broken() });
    const told: string[] = [];
    room.on("unkept", ({ reason }) => told.push(reason));
    await room.submit(bytes("a")).acked;
    expect(told).toEqual(["Error: the disk is full"]);
  });
});

describe("presence", () => {
  it("is said again after a break, with a higher clock", async () => {
    const fake = new Fake();
    const room = await connect(fake).join({ room: "doc/a" });
    room.setPresence({ at: 1 });
    const clocks = (): bigint[] => fake.lines.flatMap(({ said }) => said.flatMap((it) => (it.case === "presence" ? it.value.entries.map(({ clock }) => clock) : [])));
    await until("it is said", () => clocks().length === 1);
    fake.line.break();
    await until("it is said again", () => clocks().length === 2);
    room.setPresence(undefined);
    await until("it is gone", () => clocks().length === 3);
    const [a = 0n, b = 0n, c = 0n] = clocks();
    expect(a < b && b < c).toBe(true);
    const last = fake.line.said.at(-1);
    expect(last?.case === "presence" && last.value.entries[0]?.state).toBeUndefined();
  });

  it("that went on a datagram, which may be lost, is said on the stream once more", async () => {
    const fake = new Fake();
    fake.losesDatagrams = true;
    const room = await connect(fake).join({ room: "doc/a" });
    for (const at of [1, 2, 3]) room.setPresence({ at });
    const states = (): string[] => fake.lines.flatMap(({ said }) => said.flatMap((it) => (it.case === "presence" ? it.value.entries.map(({ state }) => text(state ?? bytes("gone"))) : [])));
    await until("it is said", () => states().length > 0);
    await new Promise((done) => setTimeout(done, 1_200));
    expect(states()).toEqual(['{"at":3}']);
  });

  it("the higher clock wins, with equal clocks the one that is gone, and a break forgets", async () => {
    const fake = new Fake();
    const room = await connect(fake).join({ room: "doc/a" });
    const heard: string[] = [];
    room.on("presence", (changes) => heard.push(...changes.map(({ site, state }) => `${site} ${JSON.stringify(state)}`)));
    await until("it is joined", () => room.isJoined);
    const say = (site: bigint, clock: bigint, state?: string): void =>
      fake.line.tell({ case: "presence", value: { number: fake.line.number, entries: [{ site, clock, ...(state === undefined ? {} : { state: bytes(state) }) }] } });
    say(3n, 5n, "1");
    say(3n, 4n, "0");
    say(3n, 5n, "2");
    say(BigInt(room.client), 9n, "9");
    say(3n, 5n);
    say(3n, 5n, "3");
    say(3n, 6n, "{broken");
    say(4n, 1n, "4");
    await until("all is heard", () => heard.length === 3);
    expect(heard).toEqual(["3 1", "3 undefined", "4 4"]);
    expect(room.others).toEqual([{ site: 3, state: undefined }, { site: 4, state: 4 }]);
    fake.line.break();
    await until("they are forgotten", () => room.others.length === 0);
    expect(heard.slice(3)).toEqual(["3 undefined", "4 undefined"]);
  });
});
