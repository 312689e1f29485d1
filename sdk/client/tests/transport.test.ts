/** Which transport is used: WebTransport where it works, and a WebSocket only where it is known not to. */

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Connect, Transport } from "../src/index.js";
import { Client } from "../src/index.js";
import { WEBTRANSPORT_AGAIN_FIRST_MS } from "../src/limits.js";
import { unframe, frame } from "../src/wire.js";
import { WebTransportFirst } from "../src/webtransport.js";
import { Fake } from "./fake.js";

/** A network on which each of the two works, or not; it counts what was tried. */
class Network {
  quic = true;
  tcp = true;
  readonly tried: string[] = [];
  readonly first = new WebTransportFirst(this.#way("webtransport", () => this.quic));
  readonly #connect = this.first.or(this.#way("websocket", () => this.tcp));

  /** Which one carries a connection that is made now. */
  async dial(): Promise<string> {
    const nobody = { message: () => undefined, broken: () => undefined };
    return (await this.#connect(nobody, new AbortController().signal)).kind;
  }

  #way(kind: Transport["kind"], works: () => boolean): Connect {
    return () => {
      this.tried.push(kind);
      if (!works()) return Promise.reject(new Error("nothing came back"));
      return Promise.resolve({ kind, backlog: 0, send: () => undefined, sendDatagram: () => false, close: () => undefined });
    };
  }
}

beforeEach(() => void vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] }));
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

describe("WebTransport", () => {
  it("is tried each time while the server is away, and is used when it is back", async () => {
    const network = new Network();
    network.quic = network.tcp = false;
    for (let n = 0; n < 3; n += 1) await expect(network.dial()).rejects.toThrow("nothing came back");
    network.quic = network.tcp = true;
    expect(await network.dial()).toBe("webtransport");
    expect(network.tried.filter((it) => it === "webtransport").length).toBe(4);
  });

  it("is left alone for a while, longer each time, where only a WebSocket works", async () => {
    const network = new Network();
    network.quic = false;
    const pauses: number[] = [];
    for (let n = 0; n < 7; n += 1) {
      expect(await network.dial()).toBe("websocket");
      const tries = network.tried.length;
      expect(await network.dial()).toBe("websocket");
      expect(network.tried.slice(tries)).toEqual(["websocket"]);
      const pauseMs = network.first.againMs - performance.now();
      pauses.push(Math.round(pauseMs / 1_000));
      await vi.advanceTimersByTimeAsync(pauseMs);
    }
    expect(pauses).toEqual([30, 60, 120, 240, 300, 300, 300]);
    expect(network.first.failed).toContain("nothing came back");
    network.quic = true;
    expect([await network.dial(), network.first.failed]).toEqual(["webtransport", undefined]);
  });
});

it("a connection on a WebSocket moves over when WebTransport works", async () => {
  const fake = new Fake();
  let quic = false;
  vi.stubGlobal("fetch", () => Promise.resolve(new Response(JSON.stringify({ port: 1, certificateHashes: [] }))));
  vi.stubGlobal("WebTransport", webTransportTo(fake, () => quic));
  const client = new Client({ url: "ws://nowhere/well", WebSocket: socketTo(fake) as never });
  const carried: string[] = [];
  client.on("connected", ({ transport, instead }) => carried.push(instead === undefined ? transport : `${transport}, not ${instead.slice(0, 12)}`));
  const room = await client.join({ room: "doc/a" });
  await vi.advanceTimersByTimeAsync(2_000);
  await vi.advanceTimersByTimeAsync(WEBTRANSPORT_AGAIN_FIRST_MS);
  expect(carried).toEqual(["websocket, not WebTransport"]);
  quic = true;
  await vi.advanceTimersByTimeAsync(2 * WEBTRANSPORT_AGAIN_FIRST_MS + 2_000);
  expect(carried).toEqual(["websocket, not WebTransport", "webtransport"]);
  expect([client.transport, room.isJoined]).toEqual(["webtransport", true]);
  // There it stays.
  const lines = fake.lines.length;
  await vi.advanceTimersByTimeAsync(20 * WEBTRANSPORT_AGAIN_FIRST_MS);
  expect(fake.lines.length).toBe(lines);
  client.close();
});

/** The platform's class, of which a stream leads to the server. */
function webTransportTo(fake: Fake, works: () => boolean): unknown {
  return class {
    readonly ready = works() ? Promise.resolve() : Promise.reject(new Error("UDP is blocked"));
    readonly closed = new Promise<never>(() => undefined);
    readonly datagrams = { writable: new WritableStream(), readable: new ReadableStream(), maxDatagramSize: 0 };
    async createBidirectionalStream(): Promise<unknown> {
      let tell: (bytes: Uint8Array) => void = () => undefined;
      const readable = new ReadableStream<Uint8Array>({ start: (it) => void (tell = (bytes) => it.enqueue(bytes)) });
      const receiver = { message: (bytes: Uint8Array) => tell(frame([bytes])), broken: () => undefined };
      const transport = await fake.connect(receiver, new AbortController().signal);
      return { readable, writable: new WritableStream<Uint8Array>({ write: (bytes) => transport.send(unframe(bytes)) }) };
    }
    close(): void {
      // Nobody listens.
    }
  };
}

/** As much of a WebSocket as is used. */
function socketTo(fake: Fake): unknown {
  return class {
    readonly bufferedAmount = 0;
    onopen: () => void = () => undefined;
    onmessage: (event: { data: ArrayBuffer }) => void = () => undefined;
    #transport: Transport | undefined;
    constructor() {
      const receiver = { message: (bytes: Uint8Array) => this.onmessage({ data: frame([bytes]).buffer }), broken: () => undefined };
      void Promise.resolve(fake.connect(receiver, new AbortController().signal)).then((transport) => {
        this.#transport = transport;
        this.onopen();
      });
    }
    send(bytes: Uint8Array): void {
      this.#transport?.send(unframe(bytes));
    }
    close(): void {
      this.#transport?.close();
    }
  };
}
