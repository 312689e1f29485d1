import "fake-indexeddb/auto";
import { IDBFactory } from "fake-indexeddb";
import * as decoding from "lib0/decoding";
import * as encoding from "lib0/encoding";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import * as syncProtocol from "y-protocols/sync";
import * as Y from "yjs";
import { encodeMark, RoomSession, type RoomAddress } from "./session";
import { keepToken } from "./tokens";

/** The server's end of a socket, moved by hand. */
class FakeSocket {
  static readonly OPEN = 1;
  static all: FakeSocket[] = [];
  readonly OPEN = 1;
  readyState = 0;
  binaryType = "";
  sent: Uint8Array[] = [];
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: ArrayBuffer }) => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;
  onerror: (() => void) | null = null;

  constructor(readonly url: string) {
    FakeSocket.all.push(this);
  }

  send(data: Uint8Array): void {
    this.sent.push(data);
  }

  close(): void {
    this.readyState = 3;
  }

  open(): void {
    this.readyState = 1;
    this.onopen?.();
  }

  receive(write: (encoder: encoding.Encoder) => void): void {
    const encoder = encoding.createEncoder();
    write(encoder);
    this.onmessage?.({ data: new Uint8Array(encoding.toUint8Array(encoder)).buffer });
  }

  drop(code: number, reason = ""): void {
    this.readyState = 3;
    this.onclose?.({ code, reason });
  }

  /** As the broker does: its own Step1 first, then the answer to ours. */
  exchange(doc: Y.Doc): void {
    this.receive((encoder) => {
      encoding.writeVarUint(encoder, 0);
      syncProtocol.writeSyncStep1(encoder, doc);
    });
    this.receive((encoder) => {
      encoding.writeVarUint(encoder, 0);
      syncProtocol.writeSyncStep2(encoder, doc);
    });
  }

  echo(n: number): void {
    this.onmessage?.({ data: encodeMark(n).buffer });
  }

  /** Message types sent so far; a sync message as `0.subtype`. */
  get types(): string[] {
    return this.sent.map((data) => (data[0] === 0 ? `0.${data[1]}` : String(data[0])));
  }

  get marks(): number[] {
    return this.sent.filter((data) => data[0] === 102).map((data) => data[2] ?? -1);
  }
}

const address: RoomAddress = { mount: "/pit", space: "pit", name: "k3x9qa", role: "creator", query: "" };
let sessions: RoomSession[] = [];

async function join(change: Partial<RoomAddress> = {}): Promise<{ session: RoomSession; socket: FakeSocket }> {
  const before = FakeSocket.all.length;
  const session = new RoomSession({ ...address, ...change });
  sessions.push(session);
  await vi.waitFor(() => expect(FakeSocket.all.length).toBeGreaterThan(before));
  return { session, socket: lastSocket() };
}

function lastSocket(): FakeSocket {
  const socket = FakeSocket.all.at(-1);
  if (socket === undefined) throw new Error("no socket was opened");
  return socket;
}

const settle = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 5));
const edit = (session: RoomSession): void => session.doc.getArray("strokes").push([1]);

beforeEach(() => {
  vi.stubGlobal("WebSocket", FakeSocket);
  vi.stubGlobal("indexedDB", new IDBFactory());
  FakeSocket.all = [];
  localStorage.clear();
});

afterEach(() => {
  for (const session of sessions) session.end();
  sessions = [];
  vi.unstubAllGlobals();
});

describe("a writer", () => {
  it("marks after its Step2, and after each edit, and is saved by the echoes alone", async () => {
    const { session, socket } = await join();
    expect(socket.url).toMatch(/^ws:\/\/[^/]+\/pit\/k3x9qa$/);
    socket.open();
    socket.exchange(new Y.Doc());
    expect(session.view().connection.at).toBe("live");
    await settle();
    expect(socket.types.slice(-2)).toEqual(["0.1", "102"]);
    expect(session.saved).toBe(false);
    socket.echo(1);
    expect(session.saved).toBe(true);

    edit(session);
    expect(session.saved).toBe(false);
    await settle();
    expect(socket.types.slice(-2)).toEqual(["0.2", "102"]);
    edit(session);
    socket.echo(2);
    expect(session.saved).toBe(false);
    await settle();
    expect(socket.marks).toEqual([1, 2, 3]);
    socket.echo(3);
    expect(session.view().ack).toBe("saved");
  });

  it("does not take others' edits for its own", async () => {
    const { session, socket } = await join();
    socket.open();
    socket.exchange(new Y.Doc());
    await settle();
    socket.echo(1);
    const other = new Y.Doc();
    other.getArray("strokes").push(["theirs"]);
    socket.receive((encoder) => {
      encoding.writeVarUint(encoder, 0);
      syncProtocol.writeUpdate(encoder, Y.encodeStateAsUpdate(other));
    });
    expect(session.doc.getArray("strokes").length).toBe(1);
    expect(session.saved).toBe(true);
  });

  it("keeps offline edits, sends them in the next exchange, and proves them anew", async () => {
    const { session, socket } = await join();
    socket.open();
    socket.exchange(new Y.Doc());
    await settle();
    socket.echo(1);
    socket.drop(1012);
    expect(session.view().connection).toEqual({ at: "offline", why: { code: 1012, reason: "" } });
    edit(session);
    expect(session.view().ack).toBe("kept");

    await vi.waitFor(() => expect(FakeSocket.all).toHaveLength(2));
    const again = lastSocket();
    again.open();
    const server = new Y.Doc();
    again.exchange(server);
    await settle();
    const step2 = again.sent.find((data) => data[0] === 0 && data[1] === 1) ?? new Uint8Array();
    const decoder = decoding.createDecoder(step2.subarray(2));
    Y.applyUpdate(server, decoding.readVarUint8Array(decoder));
    expect(server.getArray("strokes").length).toBe(1);
    expect(session.saved).toBe(false);
    again.echo(1);
    expect(session.saved).toBe(false);
    again.echo(again.marks[0] ?? -1);
    expect(session.saved).toBe(true);
  });

  it("finds what an earlier visit left unsent", async () => {
    const first = await join({ name: "m4tzp2" });
    edit(first.session);
    await settle();
    first.session.end();
    await settle();
    const second = await join({ name: "m4tzp2" });
    expect(second.session.doc.getArray("strokes").length).toBe(1);
    expect(second.session.view()).toMatchObject({ ack: "kept", loaded: true, keepsEdits: true });
  });

  it("shows a refused write, which no echo can turn into saved", async () => {
    const { session, socket } = await join();
    socket.open();
    socket.exchange(new Y.Doc());
    edit(session);
    await settle();
    socket.receive((encoder) => {
      encoding.writeVarUint(encoder, 2);
      encoding.writeVarUint(encoder, 0);
      encoding.writeVarString(encoder, "this pit is full");
    });
    socket.echo(1);
    expect(session.view()).toMatchObject({ ack: "refused", refusal: "this pit is full" });
  });
});

it("a viewer says so in its address, keeps nothing and marks nothing", async () => {
  const { session, socket } = await join({ role: "viewer", query: "token=t%20u" });
  expect(socket.url).toMatch(/\/pit\/k3x9qa\?token=t%20u&role=viewer$/);
  socket.open();
  socket.exchange(new Y.Doc());
  await settle();
  expect(socket.marks).toEqual([]);
  expect(session.view()).toMatchObject({ ack: "watching", connection: { at: "live" }, keepsEdits: false });
  expect(localStorage.length).toBe(0);
});

it("a permanent refusal ends the attempts until someone asks again", async () => {
  const { session, socket } = await join();
  socket.open();
  socket.drop(4404, "no such room");
  expect(session.view().connection).toEqual({ at: "refused", code: 4404, reason: "no such room" });
  await new Promise((resolve) => setTimeout(resolve, 450));
  expect(FakeSocket.all).toHaveLength(1);
  session.retry();
  expect(FakeSocket.all).toHaveLength(2);
});

it("the page's query goes to the server as it stands", async () => {
  for (const query of ["ROLE=viewer", "x=1;role=viewer", "role[]=viewer", "role=creator&Role=viewer", "%20role=viewer"]) {
    const { session, socket } = await join({ role: "viewer", query: `?${query}` });
    expect(socket.url.split("?")[1]).toBe(query);
    expect(session.view().mayWrite).toBe(false);
  }
  const { socket } = await join({ role: "editor", query: "?role=editor" });
  expect(socket.url.split("?")[1]).toBe("role=editor");
});

it("a server that knows a lesser role is believed", async () => {
  const { session, socket } = await join();
  socket.open();
  socket.exchange(new Y.Doc());
  edit(session);
  expect(session.view().mayWrite).toBe(true);
  socket.receive((encoder) => {
    encoding.writeVarUint(encoder, 2);
    encoding.writeVarUint(encoder, 0);
    encoding.writeVarString(encoder, "this session is a viewer and may not write");
  });
  expect(session.view()).toMatchObject({ mayWrite: false, ack: "refused" });
});

it("a kept token goes along in the address, asked for anew at each attempt", async () => {
  const [first, second] = ["aGVhZA.b25l.c2ln", "aGVhZA.dHdv.c2ln"];
  keepToken("pit/k3x9qa", first, Date.now());
  const { session, socket } = await join({ query: "role=creator" });
  expect(socket.url).toMatch(/\/pit\/k3x9qa\?role=creator&token=aGVhZA\.b25l\.c2ln$/);
  socket.open();
  socket.drop(4401, "the token has been revoked");
  keepToken("pit/k3x9qa", second, Date.now());
  session.retry();
  expect(FakeSocket.all[1]?.url).toMatch(/&token=aGVhZA\.dHdv\.c2ln$/);
});

it("tells why the server does not take it now, and where its edits are", async () => {
  const { session, socket } = await join();
  socket.open();
  socket.exchange(new Y.Doc());
  edit(session);
  expect(session.unstored).toBe("device");
  socket.drop(1013, "full; try again in 5 s");
  expect(session.view().connection).toEqual({ at: "offline", why: { code: 1013, reason: "full; try again in 5 s" } });
  expect(session.unstored).toBe("device");
});
