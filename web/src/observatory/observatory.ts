/**
 * What an Observatory page knows: history first, then a sample a second for as long as it is open. When
 * the stream breaks it is opened again, after a wait that grows, and the history is asked for anew, so
 * that nothing is missing that the server knows. Everything it keeps is bounded.
 */

import type { Failed } from "../api/ask";
import { askEvents, askHistory, openLive, type Token } from "../api/observatory";
import { asksForToken, kindOfProblem } from "../room/refusal";
import type { ServerEvent } from "./event-stream";
import type { Range, Recording } from "./recording";
import { readEvent, readSample, withEvent, type RibbonEvent, type Sample } from "./sample";

export type Link =
  | { readonly at: "connecting" }
  | { readonly at: "live" }
  /** Until it is tried again. */
  | { readonly at: "waiting"; readonly untilMs: number; readonly why: string }
  | { readonly at: "refused"; readonly failed: Failed };

export interface ObservatoryView {
  readonly link: Link;
  /** The latest, newest last. */
  readonly recent: readonly Sample[];
  /** When the last sample came, by this browser's clock. */
  readonly heardAtMs: number | null;
  readonly range: Range;
  /** Null until it is there. It changes in place, whenever a sample comes. */
  readonly recording: Recording | null;
  readonly events: readonly RibbonEvent[];
}

const RECENT_MAX = 60;
const FIRST_WAIT_MS = 1_000;
const LAST_WAIT_MS = 30_000;
/** Samples come every second: a stream that is silent for so long is dead, whatever its socket says. */
const SILENT_MS = 10_000;
/** A point of the week is a minute, and less than a pixel. */
const WEEK_AGAIN_MS = 300_000;

export class Observatory {
  #view: ObservatoryView = { link: { at: "connecting" }, recent: [], heardAtMs: null, range: "1h", recording: null, events: [] };
  readonly #listeners = new Set<() => void>();
  readonly #end = new AbortController();
  #weekTimer: ReturnType<typeof setInterval> | undefined;

  constructor(readonly token: Token) {
    void this.#run();
  }

  readonly view = (): ObservatoryView => this.#view;

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  show(range: Range): void {
    if (range === this.#view.range) return;
    this.#set({ range, recording: null });
    clearInterval(this.#weekTimer);
    if (range === "7d") this.#weekTimer = setInterval(() => void this.#load(), WEEK_AGAIN_MS);
    void this.#load();
  }

  end(): void {
    this.#end.abort();
    clearInterval(this.#weekTimer);
    this.#listeners.clear();
  }

  #hasEnded(): boolean {
    return this.#end.signal.aborted;
  }

  async #run(): Promise<void> {
    let waitMs = FIRST_WAIT_MS;
    while (!this.#hasEnded()) {
      this.#set({ link: { at: "connecting" } });
      const failed = (await this.#load()) ?? (await this.#listen());
      if (this.#hasEnded()) return;
      if (failed !== null && asksForToken(kindOfProblem(failed.status, failed.problem.code))) return this.#set({ link: { at: "refused", failed } });
      if (failed === null) waitMs = FIRST_WAIT_MS;
      const why = failed?.problem.title ?? "The stream has ended";
      this.#set({ link: { at: "waiting", untilMs: Date.now() + waitMs, why } });
      await pause(waitMs, this.#end.signal);
      waitMs = Math.min(waitMs * 2, LAST_WAIT_MS);
    }
  }

  /** History and events. Gives why there are none. */
  async #load(): Promise<Failed | null> {
    const { range } = this.#view;
    const [history, events] = await Promise.all([askHistory(this.token, range), askEvents(this.token)]);
    if (!history.ok) return history;
    if (!events.ok) return events;
    // What came in meanwhile is not lost: the samples of the last minute are kept.
    if (range === "1h") for (const { at, values } of this.#view.recent) history.value.add(at, values);
    if (range === this.#view.range) this.#set({ recording: history.value, events: events.value });
    return null;
  }

  /** Follows the stream until it breaks; gives why it never began. */
  async #listen(): Promise<Failed | null> {
    const silence = new AbortController();
    const signal = AbortSignal.any([this.#end.signal, silence.signal]);
    let timer = setTimeout(() => silence.abort(), SILENT_MS);
    try {
      const live = await openLive(this.token, signal);
      if (!live.ok) return live;
      for await (const event of live.value) {
        clearTimeout(timer);
        timer = setTimeout(() => silence.abort(), SILENT_MS);
        this.#take(event);
      }
    } catch {
      // Broken off, or silent: it is opened again.
    } finally {
      clearTimeout(timer);
    }
    return null;
  }

  #take({ event, data }: ServerEvent): void {
    const said = parsed(data);
    if (event === "sample") {
      const sample = readSample(said);
      if (sample !== null) this.#takeSample(sample);
    } else if (event === "event") {
      const told = readEvent(said);
      if (told !== null) this.#set({ events: withEvent(this.#view.events, told) });
    }
  }

  #takeSample(sample: Sample): void {
    const { range, recording, recent } = this.#view;
    if (range === "1h") recording?.add(sample.at, sample.values);
    const others = recent.filter(({ at }) => at < sample.at && at > sample.at - 1_000 * RECENT_MAX);
    this.#set({ link: { at: "live" }, heardAtMs: Date.now(), recent: [...others, sample].slice(-RECENT_MAX) });
  }

  #set(change: Partial<ObservatoryView>): void {
    if (this.#hasEnded()) return;
    this.#view = { ...this.#view, ...change };
    for (const listener of this.#listeners) listener();
  }
}

function parsed(data: string): unknown {
  try {
    return JSON.parse(data);
  } catch {
    return null;
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((done) => {
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      done();
    }, { once: true });
  });
}
