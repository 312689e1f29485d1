import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Observatory } from "./observatory";

const START = 1_790_000_000_000;
const sampleText = (at: number, updates: number): string => `event: sample\nid: ${at}\ndata: ${JSON.stringify({ at, values: { updates_per_second: updates }, stages: [] })}\n\n`;

/** A server of the test's own: each stream that was opened, and what it answers. */
class Fake {
  readonly streams: ReadableStreamDefaultController<Uint8Array>[] = [];
  readonly asked: string[] = [];
  status = 200;
  history: readonly (number | null)[] = [];

  readonly fetch = (path: string, init: RequestInit): Promise<Response> => {
    this.asked.push(`${path} ${new Headers(init.headers).get("authorization") ?? "-"}`);
    if (this.status === 0) return Promise.reject(new TypeError("unreachable"));
    if (this.status !== 200) return Promise.resolve(Response.json({ title: "No", code: "no_token" }, { status: this.status }));
    if (path.endsWith("/events")) return Promise.resolve(Response.json({ events: [] }));
    if (path.includes("/history")) return Promise.resolve(Response.json({ step_ms: path.endsWith("7d") ? 60_000 : 1_000, start: START, series: { updates_per_second: this.history } }));
    const body = new ReadableStream<Uint8Array>({
      start: (stream) => {
        this.streams.push(stream);
        init.signal?.addEventListener("abort", () => stream.error(new Error("aborted")));
      },
    });
    return Promise.resolve(new Response(body));
  };

  say(text: string): void {
    this.streams.at(-1)?.enqueue(new TextEncoder().encode(text));
  }
}

let fake: Fake;
let observatory: Observatory;
beforeEach(() => {
  vi.useFakeTimers({ now: START });
  fake = new Fake();
  vi.stubGlobal("fetch", fake.fetch);
});
afterEach(() => {
  observatory.end();
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

/** Until the stream stands, so many have been opened. */
async function streams(count: number): Promise<void> {
  for (let i = 0; i < 200 && fake.streams.length < count; i += 1) await vi.advanceTimersByTimeAsync(0);
  expect(fake.streams).toHaveLength(count);
}

async function heard(): Promise<void> {
  for (let i = 0; i < 20; i += 1) await vi.advanceTimersByTimeAsync(0);
}

const line = () => observatory.view().recording?.line("updates_per_second");

describe("an Observatory", () => {
  it("has the history first, and goes on by what comes", async () => {
    fake.history = [1, null, 3];
    observatory = new Observatory("a.b.c");
    await streams(1);
    expect(fake.asked.map((asked) => asked.replace("/api/v1/observatory/", ""))).toEqual(["history?range=1h Bearer a.b.c", "events Bearer a.b.c", "live Bearer a.b.c"]);
    expect(line()).toEqual([1, null, 3]);
    expect(observatory.view().link.at).toBe("connecting");
    fake.say(sampleText(START + 3_000, 4) + sampleText(START + 4_000, 5) + `event: event\ndata: {"at":1,"kind":"start","text":"up","severity":"info"}\n\nevent: sample\ndata: nonsense\n\n`);
    await heard();
    expect(line()).toEqual([1, null, 3, 4, 5]);
    expect(observatory.view()).toMatchObject({ link: { at: "live" }, heardAtMs: START, events: [{ text: "up" }] });
  });

  it("says that it waits when the stream breaks, and has no hole that the server can fill", async () => {
    observatory = new Observatory(null);
    await streams(1);
    fake.say(sampleText(START, 1));
    await heard();
    fake.streams[0]?.close();
    await heard();
    expect(observatory.view().link).toMatchObject({ at: "waiting", untilMs: START + 1_000 });
    fake.history = [1, 2, 3, 4];
    await vi.advanceTimersByTimeAsync(1_000);
    await streams(2);
    fake.say(sampleText(START + 4_000, 5));
    await heard();
    expect(line()).toEqual([1, 2, 3, 4, 5]);
    expect(observatory.view().link.at).toBe("live");
  });

  it("takes a stream for dead that is silent, though its socket stands", async () => {
    observatory = new Observatory(null);
    await streams(1);
    fake.say(sampleText(START, 1));
    await heard();
    await vi.advanceTimersByTimeAsync(10_000);
    await heard();
    expect(observatory.view().link.at).toBe("waiting");
    await vi.advanceTimersByTimeAsync(1_000);
    await streams(2);
  });

  it("takes one for dead that never says a word", async () => {
    observatory = new Observatory(null);
    await streams(1);
    await vi.advanceTimersByTimeAsync(10_000);
    await heard();
    expect(observatory.view().link.at).toBe("waiting");
  });

  it("waits longer each time that nobody answers, and not longer than it may", async () => {
    fake.status = 0;
    observatory = new Observatory(null);
    const waits: number[] = [];
    for (let i = 0; i < 7; i += 1) {
      await heard();
      const { link } = observatory.view();
      if (link.at !== "waiting") throw new Error(link.at);
      waits.push(link.untilMs - Date.now());
      await vi.advanceTimersByTimeAsync(link.untilMs - Date.now());
    }
    expect(waits).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
  });

  it("asks for a token where it is refused, and asks the server no more", async () => {
    fake.status = 401;
    observatory = new Observatory(null);
    await heard();
    expect(observatory.view().link).toMatchObject({ at: "refused", failed: { status: 401 } });
    const asked = fake.asked.length;
    await vi.advanceTimersByTimeAsync(120_000);
    expect(fake.asked).toHaveLength(asked);
  });

  it("shows the week without samples of a second in it", async () => {
    observatory = new Observatory(null);
    await streams(1);
    fake.history = [7, 8];
    observatory.show("7d");
    expect(observatory.view().recording).toBeNull();
    await heard();
    fake.say(sampleText(START + 120_000, 9));
    await heard();
    expect(line()).toEqual([7, 8]);
    observatory.show("1h");
    await heard();
    expect(line()).toEqual([7, 8, null, 9]);
  });

  it("is silent once it has ended", async () => {
    observatory = new Observatory(null);
    await streams(1);
    const told = vi.fn();
    observatory.subscribe(told);
    observatory.end();
    await heard();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(told).not.toHaveBeenCalled();
    expect(fake.streams).toHaveLength(1);
  });

  it("asks nothing more when it has ended while it waited", async () => {
    fake.status = 0;
    observatory = new Observatory(null);
    await heard();
    expect(observatory.view().link.at).toBe("waiting");
    const asked = fake.asked.length;
    observatory.end();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(fake.asked).toHaveLength(asked);
  });
});
