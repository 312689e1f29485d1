/** Text rooms: against a server that keeps a text, and the cursors that presence carries. */

import { init, Text } from "@thewell/text";
import { beforeAll, describe, expect, it } from "vitest";
import { DocumentKind, RejectCode, Role, type PresenceEntry } from "../src/gen/well/v1/well_pb.js";
import { Client, MemoryQueue, type Waiting } from "../src/index.js";
import { anchorOfHex, difference, hexOfAnchor, TextRoom, type Lost } from "../src/text/index.js";
import { Fake, until, type Line, type Said } from "./fake.js";

beforeAll(() => init());

/** Keeps a text as the real server does, and hands it to who joins. */
class TextServer {
  readonly fake = new Fake();
  text = new Text(1n);
  /** What came, each once, as the log has it. */
  readonly log: { readonly client: bigint; readonly operation: bigint; readonly payload: Uint8Array }[] = [];
  /** The client of each member, by line and number. */
  readonly #members = new Map<Line, Map<number, bigint>>();
  #numbers = 0;
  #era = 0n;
  /** The latest presence of each replica. */
  readonly #here = new Map<bigint, PresenceEntry>();
  /** How large an update may be. */
  limit = Infinity;
  readOnly = false;

  constructor() {
    this.fake.window = { windowOperations: 16, windowBytes: 100_000 };
    this.fake.script = (line, said) => this.#hear(line, said);
  }

  #hear(line: Line, said: Said): boolean {
    const members = this.#members.get(line) ?? new Map<number, bigint>();
    this.#members.set(line, members);
    if (said.case === "join") {
      const { request, client, since, sinceAt, role: wanted } = said.value;
      const role = wanted === Role.VIEWER ? Role.VIEWER : Role.EDITOR;
      const beganAnew = since !== undefined && (since > BigInt(this.log.length) || (sinceAt !== 0n && sinceAt !== this.#at(Number(since))));
      this.#numbers += 1;
      members.set(this.#numbers, client);
      const joined = { request, number: this.#numbers, kind: DocumentKind.TEXT, role, session: 5n, head: BigInt(this.log.length), headAt: this.#at(this.log.length), beganAnew };
      const content =
        since === undefined || beganAnew
          ? ({ case: "snapshot", value: this.log.length === 0 ? new Uint8Array() : this.text.snapshot() } as const)
          : ({ case: "records", value: { spans: this.#spans(Number(since)) } } as const);
      line.tell({ case: "joined", value: { ...joined, content } });
      line.tell({ case: "presence", value: { number: this.#numbers, entries: [...this.#here.values()] } });
      return true;
    }
    if (said.case === "leave") {
      members.delete(said.value.number);
      return true;
    }
    if (said.case === "submit") {
      const { number, operation, payloads } = said.value;
      const client = members.get(number);
      // Its member has left.
      if (client === undefined) return true;
      const before = this.log.length;
      const placed = [];
      let refusal: { readonly operation: bigint; readonly code: RejectCode } | undefined;
      for (const [n, payload] of payloads.entries()) {
        const op = operation + BigInt(n);
        let seq = this.log.findIndex((it) => it.client === client && it.operation === op) + 1;
        if (seq === 0) {
          if (this.readOnly) {
            line.tell({ case: "reject", value: { number, operation: op, code: RejectCode.READ_ONLY, message: "a viewer" } });
            continue;
          }
          const code = payload.length > this.limit ? RejectCode.TOO_LARGE : this.#applies(payload) ? undefined : RejectCode.MALFORMED;
          if (code !== undefined) {
            refusal = { operation: op, code };
            break;
          }
          seq = this.log.push({ client, operation: op, payload });
        }
        placed.push({ operation: op, seq: BigInt(seq), count: 1n, at: this.#at(seq) });
      }
      const last = placed.at(-1)?.operation;
      if (last !== undefined) line.tell({ case: "ack", value: { number, operation: last, placed } });
      if (refusal !== undefined) {
        members.delete(number);
        line.tell({ case: "reject", value: { number, ...refusal, message: "no good" } });
        line.tell({ case: "left", value: { number, code: 4400, reason: "no good" } });
      }
      for (const [other, theirs] of this.#members) {
        for (const [number, client] of theirs) {
          const spans = this.#spans(before).filter((it) => it.client !== client);
          other.tell({ case: "records", value: { number, after: BigInt(before), through: BigInt(this.log.length), throughAt: this.#at(this.log.length), spans } });
        }
      }
      return true;
    }
    if (said.case === "presence") {
      for (const entry of said.value.entries) this.#here.set(entry.site, entry);
      for (const [other, theirs] of this.#members) for (const number of theirs.keys()) other.tell({ case: "presence", value: { number, entries: said.value.entries } });
      return true;
    }
    return false;
  }

  /** When a record was taken; 0 of none. */
  #at(seq: number): bigint {
    return seq === 0 ? 0n : this.#era + BigInt(seq);
  }

  /** Everything is lost, and nobody is here. */
  beginAnew(): void {
    this.#era += 1_000_000n;
    this.text = new Text(1n);
    this.log.length = 0;
    this.#members.clear();
    for (const line of this.fake.lines) line.break();
  }

  #applies(payload: Uint8Array): boolean {
    let state;
    try {
      ({ state } = this.text.apply(payload));
    } catch {
      return false;
    }
    if (state === "waiting") throw new Error("an operation builds on what is not there");
    return true;
  }

  #spans(after: number) {
    return this.log.slice(after).map(({ client, payload }, n) => ({ client, seq: BigInt(after + n + 1), at: this.#at(after + n + 1), payloads: [payload] }));
  }
}

const connect = (server: TextServer): Client => new Client({ url: "ws://nowhere", connect: server.fake.connect });
const ada = { name: "Ada", color: "#0e6b7c" };

/** An editor that carries out what the room tells it to. */
function editor(room: TextRoom): { text: string } {
  const view = { text: "" };
  room.on("change", ({ changes }) => {
    for (const { at, deleted, inserted } of changes) view.text = view.text.slice(0, at) + inserted + view.text.slice(at + deleted);
  });
  return view;
}

describe("a text room", () => {
  it.each([-1, 3, 5, 8, 12, 17, 23, 30])("two who write at once converge, their editors too (cut at message %i)", async (cut) => {
    const server = new TextServer();
    server.fake.cutAt = cut;
    const clients = [connect(server), connect(server)] as const;
    const rooms = await Promise.all(clients.map((client) => TextRoom.join(client, { room: "text/a" })));
    const views = rooms.map(editor);
    let state = 7 + cut;
    const random = (below: number): number => (state = (state * 48_271) % 2_147_483_647) % below;
    for (let round = 0; round < 60; round += 1) {
      for (const [n, room] of rooms.entries()) {
        const view = views[n];
        if (view === undefined) continue;
        const at = random(room.length + 1);
        const [length, words] = random(3) === 0 ? [Math.min(random(4), room.length - at), ""] : [0, ["a", "b\n", "word "][random(3)] ?? ""];
        room.replace(at, length, words);
        view.text = view.text.slice(0, at) + words + view.text.slice(at + length);
      }
      if (round % 7 === 0) await new Promise((done) => setTimeout(done, 1));
    }
    const whole = (): boolean => rooms.every(({ room, text }) => room.waiting === 0 && text.toString() === server.text.toString());
    await until("all have the server's text", whole);
    expect(views.map(({ text }) => text)).toEqual([server.text.toString(), server.text.toString()]);
    const operations = server.log.map(({ client, operation }) => `${client} ${operation}`);
    expect(new Set(operations).size).toBe(operations.length);
    expect(operations.length).toBe(120);
    for (const client of clients) client.close();
  });

  it("gives back what a log that began anew has lost", async () => {
    const server = new TextServer();
    const room = await TextRoom.join(connect(server), { room: "text/a" });
    await room.insert(0, "hello world").acked;
    server.beginAnew();
    await until("the server has it again", () => server.text.toString() === "hello world");
    await room.insert(5, "!").acked;
    expect([room.toString(), server.text.toString()]).toEqual(["hello! world", "hello! world"]);
    room.room.leave();
  });

  it("gives it back before what waited, which builds on it", async () => {
    const server = new TextServer();
    const client = connect(server);
    const room = await TextRoom.join(client, { room: "text/a" });
    const losses = lossesOf(room);
    await room.insert(0, "hello world").acked;
    server.beginAnew();
    const waited = [room.insert(5, "!"), room.delete(0, 1)];
    await Promise.all(waited.map(({ acked }) => acked));
    const later = room.insert(0, "H");
    await later.acked;
    expect([room.toString(), server.text.toString()]).toEqual(["Hello! world", "Hello! world"]);
    expect([losses.length, room.room.waiting]).toEqual([0, 0]);
    expect(waited.map(({ number }) => number)).toEqual([5, 6]);
    client.close();
  });

  it("a log that began anew leaves a viewer with what the log has, and a text too large to be given back is lost", async () => {
    const server = new TextServer();
    const [client, watching] = [connect(server), connect(server)];
    const [room, viewer] = [await TextRoom.join(client, { room: "text/a" }), await TextRoom.join(watching, { room: "text/a", role: "viewer" })];
    const [losses, missed, view] = [lossesOf(room), lossesOf(viewer), editor(viewer)];
    const long = "hello world ".repeat(9);
    await room.insert(0, long).acked;
    await until("the viewer has it", () => view.text === long);
    server.limit = 50;
    server.beginAnew();
    await until("it is lost", () => losses.length === 1);
    expect([losses[0]?.inserted, room.toString()]).toEqual([long, ""]);
    await room.insert(0, "a").acked;
    await until("the viewer has what the server has", () => viewer.toString() === "a" && view.text === "a");
    expect([server.text.toString(), room.toString(), missed.length]).toEqual(["a", "a", 0]);
    for (const it of [client, watching]) it.close();
  });

  it("undo takes back own edits only, and the editor follows", async () => {
    const server = new TextServer();
    const clients = [connect(server), connect(server)];
    const [one, two] = (await Promise.all(clients.map((client) => TextRoom.join(client, { room: "text/a" })))) as [TextRoom, TextRoom];
    const view = editor(one);
    await until("both are in", () => one.isLoaded && two.isLoaded);
    one.insert(0, "hello 🌊");
    view.text = "hello 🌊";
    await until("two has it", () => two.toString() === "hello 🌊");
    two.insert(0, "> ");
    await until("one has it", () => one.toString() === "> hello 🌊");
    expect(one.undo()).toBeDefined();
    expect([one.toString(), view.text]).toEqual(["> ", "> "]);
    expect(one.undo()).toBeUndefined();
    expect(one.redo()).toBeDefined();
    expect([one.toString(), view.text]).toEqual(["> hello 🌊", "> hello 🌊"]);
    await until("two has it", () => two.toString() === "> hello 🌊" && one.room.waiting === 0);
    for (const client of clients) client.close();
  });

  it("what an earlier page left in the queue is in the text, and sent once", async () => {
    class Kept extends MemoryQueue {
      waiting: Waiting = { operations: [], last: 0 };
      override load(): Waiting {
        return this.waiting;
      }
    }
    const server = new TextServer();
    const first = connect(server);
    const before = await TextRoom.join(first, { room: "text/a", queue: new MemoryQueue(77) });
    before.insert(0, "saved ");
    await until("it is acked", () => server.log.length === 1 && before.room.waiting === 0);
    // Cut off: what comes now is in the queue only, and a part of it had arrived unheard.
    const kept = [before.text.insert(6, "kept "), before.text.insert(11, "too")];
    first.close();
    const [arrived, not] = kept as [Uint8Array, Uint8Array];
    server.text.apply(arrived);
    server.log.push({ client: 77n, operation: 2n, payload: arrived });

    const queue = new Kept(77);
    queue.waiting = { operations: [{ number: 2, base: 1, payload: arrived }, { number: 3, base: 1, payload: not }], last: 3 };
    const second = connect(server);
    const after = await TextRoom.join(second, { room: "text/a", queue });
    const view = editor(after);
    // A new page is a new replica: what it writes at once does not collide with what the old one wrote.
    after.insert(0, "new ");
    view.text = "new ";
    await until("all is sent", () => server.log.length === 4 && after.room.waiting === 0);
    expect(["new saved kept too", "saved kept toonew "]).toContain(server.text.toString());
    expect([after.toString(), view.text]).toEqual(Array(2).fill(server.text.toString()));
    second.close();
  });

  it("cursors move with the text, and what is no cursor is none", async () => {
    const server = new TextServer();
    const clients = [connect(server), connect(server)];
    const [one, two] = (await Promise.all(clients.map((client) => TextRoom.join(client, { room: "text/a" })))) as [TextRoom, TextRoom];
    await until("both are in", () => one.isLoaded && two.isLoaded);
    one.insert(0, "hello world");
    one.setCursor(ada, { anchor: 2, head: 5 });
    await until("two sees it", () => two.cursors().length === 1 && two.length === 11);
    expect(two.cursors()).toEqual([{ site: one.room.client, user: ada, selection: { anchor: 2, head: 5 } }]);
    two.insert(0, "> ");
    expect(two.cursors()[0]?.selection).toEqual({ anchor: 4, head: 7 });
    const said = server.fake.lines[0]?.said.find((it) => it.case === "presence");
    const state = said?.case === "presence" ? JSON.parse(new TextDecoder().decode(said.value.entries[0]?.state)) as unknown : undefined;
    expect(state).toMatchObject({ user: ada, cursor: { head: expect.stringMatching(/^02[0-9a-f]+$/) as unknown } });
    for (const bad of [1, { user: { name: "x", color: "red; top: 0" }, cursor: { head: "zz" } }, { user: 3 }, null]) {
      one.room.setPresence(bad);
      await until("it is heard", () => JSON.stringify(two.room.others[0]?.state) === JSON.stringify(bad));
      expect(two.cursors()).toEqual(typeof bad === "object" && bad?.cursor !== undefined ? [{ site: one.room.client, user: { name: "x", color: "#888888" }, selection: undefined }] : []);
    }
    for (const client of clients) client.close();
  });
});

it("a cursor stays at its character over a break, whatever came before it meanwhile", async () => {
  const server = new TextServer();
  const clients = [connect(server), connect(server)];
  const [one, two] = (await Promise.all(clients.map((client) => TextRoom.join(client, { room: "text/a" })))) as [TextRoom, TextRoom];
  await until("both are in", () => one.isLoaded && two.isLoaded);
  one.insert(0, "ab");
  one.setCursor(ada, { anchor: 1, head: 1 });
  await until("two has it", () => two.length === 2);
  two.insert(0, "🌊");
  await until("one has it", () => one.length === 4);
  for (const line of server.fake.lines) line.break();
  const said = (): boolean => server.fake.lines.slice(2).some((line) => line.said.some((it) => it.case === "presence"));
  await until("the cursor is said again", () => said() && server.fake.lines.length === 4 && one.room.isJoined && two.room.isJoined && two.cursors().length === 1);
  expect(two.cursors()[0]?.selection).toEqual({ anchor: 3, head: 3 });
  // An editor's cursor may stand inside a character.
  one.setCursor(ada, { anchor: 1, head: 99 });
  await until("it is heard", () => two.cursors()[0]?.selection?.head === 4);
  expect(two.cursors()[0]?.selection).toEqual({ anchor: 0, head: 4 });
  for (const client of clients) client.close();
});

/** What is told of lost edits. */
function lossesOf(room: TextRoom): Lost[] {
  const losses: Lost[] = [];
  room.on("lost", (lost) => losses.push(lost));
  return losses;
}

describe("an edit that is refused", () => {
  it("is gone with what builds on it, and the room goes on", async () => {
    const server = new TextServer();
    server.limit = 300;
    const clients = [connect(server), connect(server)];
    const [one, two] = (await Promise.all(clients.map((client) => TextRoom.join(client, { room: "text/a" })))) as [TextRoom, TextRoom];
    const [view, losses] = [editor(one), lossesOf(one)];
    await one.insert(0, "before after").acked;
    view.text = "before after";
    await until("two has it", () => two.length === 12);
    const large = "🌊".repeat(200);
    const kept = one.insert(0, "kept ").acked;
    const refused = expect(one.insert(12, large).acked).rejects.toMatchObject({ code: "rejected", message: expect.stringContaining("no good") as unknown });
    const doomed = expect(one.insert(12 + large.length, "too ").acked).rejects.toThrow("builds on");
    view.text = one.toString();
    one.setCursor(ada, { anchor: 3, head: 20 });
    two.insert(0, "> ");
    await Promise.all([kept, refused, doomed]);
    await until("it is told", () => losses.length === 1);
    expect(losses[0]?.reason).toBe("no good");
    expect(losses[0]?.operations.map(({ code }) => code)).toEqual([RejectCode.TOO_LARGE, RejectCode.UNSPECIFIED]);
    expect(losses[0]?.inserted).toBe(`${large}too `);
    for (let n = 0; n < 3; n += 1) {
      await one.insert(one.length, `${n}`).acked;
      view.text += String(n);
    }
    await until("all have it", () => [one.toString(), two.toString(), view.text].every((it) => it === server.text.toString()));
    expect(server.text.toString()).toMatch(/^(> kept |kept > )before after012$/);
    // What it stood in is gone.
    expect(two.cursors()[0]?.selection).toEqual({ anchor: one.toString().indexOf("kept") + 3, head: one.toString().indexOf("before") + 7 });
    expect([one.room.waiting, losses.length, server.fake.lines.length]).toEqual([0, 1, 2]);
    for (const client of clients) client.close();
  });

  it("by a server that only lets one read is gone, too", async () => {
    const server = new TextServer();
    const client = connect(server);
    const room = await TextRoom.join(client, { room: "text/a" });
    const losses = lossesOf(room);
    await room.insert(0, "theirs").acked;
    server.readOnly = true;
    const tickets = ["a", "b", "c"].map((it) => room.insert(0, it).acked);
    for (const ticket of tickets) await expect(ticket).rejects.toThrow("a viewer");
    await until("the text is the server's", () => room.toString() === "theirs");
    expect(losses.map(({ inserted }) => inserted)).toEqual(["abc"]);
    server.readOnly = false;
    await room.insert(6, "!").acked;
    expect([room.toString(), server.text.toString()]).toEqual(["theirs!", "theirs!"]);
    client.close();
  });

  it("of which an earlier page left spoiled bytes does not keep the others", async () => {
    class Kept extends MemoryQueue {
      override load(): Waiting {
        const before = new Text(5n);
        return { operations: [Uint8Array.of(1, 2, 3), before.insert(0, "kept")].map((payload, n) => ({ number: n + 1, base: 0, payload })), last: 2 };
      }
    }
    const server = new TextServer();
    const client = connect(server);
    const room = await TextRoom.join(client, { room: "text/a", queue: new Kept(77) });
    await until("all is said", () => room.isLoaded && room.room.waiting === 0);
    expect([room.toString(), server.text.toString()]).toEqual(["kept", "kept"]);
    client.close();
  });
});

it("difference makes one text of the other, and cuts no character", () => {
  let state = 11;
  const random = (below: number): number => (state = (state * 48_271) % 2_147_483_647) % below;
  const words = (): string => Array.from({ length: random(9) }, () => ["a", "b", "\n", "🌊", "🌋", "漢"][random(6)]).join("");
  for (let round = 0; round < 20_000; round += 1) {
    const [before, after] = [words(), words()];
    const change = difference(before, after);
    if (change === undefined) {
      expect(before).toBe(after);
      continue;
    }
    const { at, deleted, inserted } = change;
    expect(before.slice(0, at) + inserted + before.slice(at + deleted)).toBe(after);
    for (const part of [before.slice(0, at), before.slice(at, at + deleted), inserted]) expect(part).not.toMatch(/\p{Cs}/u);
  }
});

it("a room that sends what is no text is left, and that is told", async () => {
  const server = new TextServer();
  const client = connect(server);
  const room = await TextRoom.join(client, { room: "text/a" });
  await room.insert(0, "here").acked;
  const failed = new Promise<{ error: Error }>((done) => room.once("failed", done));
  const spans = [{ seq: 2n, session: 9n, payloads: [Uint8Array.of(1, 2, 3)] }];
  server.fake.line.tell({ case: "records", value: { number: 1, after: 1n, through: 2n, spans } });
  expect((await failed).error).toMatchObject({ code: "malformed" });
  expect(room.toString()).toBe("here");
  expect(() => room.insert(0, "x")).toThrow("left");
  client.close();
});

describe("anchors", () => {
  it("are the bytes that the server reads", () => {
    for (const [anchor, hex] of [
      ["<", "00"],
      [">", "01"],
      ["<17.42", "02112a"],
      [">300.0", "03ac0200"],
      ["<18446744073709551615.4294967295", "02ffffffffffffffffff01ffffffff0f"],
    ] as const) {
      expect(hexOfAnchor(anchor)).toBe(hex);
      expect(anchorOfHex(hex)).toBe(anchor);
    }
    for (const bad of ["", "0", "04", "0211", "02112a00", "8000", "02ff", "0001", "02ffffffffffffffffff0200", "021180808080ff", 7, undefined, "0g"]) expect(anchorOfHex(bad)).toBeUndefined();
    expect(hexOfAnchor("anything")).toBeUndefined();
  });
});
