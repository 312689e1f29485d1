/**
 * One page's view of one room's past: where the handle stands, which moment is shown, playback, and
 * the live end.
 *
 * Flow: the timeline says what there is; a film holds what has been fetched of it; a projector makes
 * the document. The handle may run ahead of what is here. Then the moment that is shown stays, the
 * reel under the handle is fetched, and once it is here the nearest moment in it is shown, so that a
 * quick hand sees the past go by and never waits for what it has already left. Everything happens at
 * most once an animation frame.
 *
 * At the end the page follows the room through an event stream, and leaves that when the handle does.
 */

import type * as Y from "yjs";
import { BAD_REQUEST, fetchKeyframe, fetchRecords, fetchTimeline, FORBIDDEN, GONE, NOT_FOUND, PastError, pastUrlWithToken, seqAtTime, UNAUTHORIZED, type Room } from "../api/past";
import { UNREACHABLE, type Problem } from "../api/problem";
import { Film } from "./film";
import type { AddressedMoment, TypedMoment } from "./moment";
import { advance, type Playback } from "./pace";
import { Projector } from "./projector";
import { readRecord, type PastRecord } from "./records";
import type { Timeline } from "./timeline";

export type Phase =
  | { readonly at: "loading" }
  | { readonly at: "ready" }
  | { readonly at: "failed"; readonly problem: Problem; readonly status: number };

/** Whether the page follows the room at its end. */
export type Live = "off" | "connecting" | "live";

export interface ReplayView {
  readonly phase: Phase;
  readonly timeline: Timeline | null;
  /** The moment that is shown. */
  readonly seq: number;
  /** Where the handle stands. */
  readonly wanted: number;
  /** The record at the moment that is shown; null before the first one. */
  readonly record: PastRecord | null;
  readonly doc: Y.Doc | null;
  readonly playing: boolean;
  readonly speed: number;
  readonly skipIdle: boolean;
  readonly fetching: boolean;
  /** Why the moment under the handle cannot be had now; it is tried again. */
  readonly trouble: Problem | null;
  /** Why the moment that the page's address names is not shown; until the handle is moved. */
  readonly astray: string | null;
  readonly live: Live;
}

export const BUCKETS = 240;
/** Reels kept in flight around the one that is shown. */
const REACH = 2;
/** A fetch for a reel that the handle has left may go on for this long, since it will show something. */
const STALE_MS = 500;
const RETRY_MS = 2_000;
const TIMELINE_REFRESH_MS = 4_000;
/** After these another try is no better. */
const FINAL: ReadonlySet<number> = new Set([UNAUTHORIZED, FORBIDDEN, NOT_FOUND]);

export class Replay {
  private film: Film | null = null;
  private projector: Projector | null = null;
  private current: ReplayView = {
    phase: { at: "loading" },
    timeline: null,
    seq: 0,
    wanted: 0,
    record: null,
    doc: null,
    playing: false,
    speed: 1,
    skipIdle: true,
    fetching: false,
    trouble: null,
    astray: null,
    live: "off",
  };
  private readonly listeners = new Set<() => void>();
  private ended = false;
  private frameAsked = 0;
  private fetchBeganMs: number | null = null;
  /** Where the history began when a moment of it was gone. */
  private goneAt: number | null = null;
  private retryTimer: ReturnType<typeof setTimeout> | undefined;
  private refreshTimer: ReturnType<typeof setTimeout> | undefined;
  private stream: EventSource | null = null;
  private playback: Playback = { seq: 0, clockMs: 0 };
  private tickedMs = 0;
  private readonly opening = new AbortController();

  constructor(
    readonly room: Room,
    private readonly first: AddressedMoment,
  ) {
    void this.open();
  }

  view = (): ReplayView => this.current;

  subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  /** Whether what is shown is what the handle stands at. */
  get settled(): boolean {
    return this.current.phase.at === "ready" && this.current.seq === this.current.wanted && !this.current.fetching;
  }

  records(from: number, to: number): readonly PastRecord[] {
    const found: PastRecord[] = [];
    for (let seq = Math.max(1, from); seq <= to; seq += 1) {
      const record = this.film?.record(seq) ?? null;
      if (record !== null) found.push(record);
    }
    return found;
  }

  end(): void {
    this.ended = true;
    this.listeners.clear();
    this.opening.abort();
    cancelAnimationFrame(this.frameAsked);
    clearTimeout(this.retryTimer);
    clearTimeout(this.refreshTimer);
    this.stream?.close();
    this.film?.close();
  }

  /** After a failure, because a person asked for it. */
  retry(): void {
    this.show({ phase: { at: "loading" }, trouble: null });
    void this.open();
  }

  // — the handle ———————————————————————————————————————————————————————————

  /** Moves the handle, by hand: playback pauses. */
  goTo(seq: number): void {
    this.pause();
    this.show({ astray: null });
    this.move(seq);
  }

  step(by: number): void {
    this.goTo(this.current.wanted + by);
  }

  goToStart(): void {
    this.goTo(this.start);
  }

  goToEnd(): void {
    this.goTo(this.head);
  }

  async goToMoment(moment: TypedMoment): Promise<Problem | null> {
    if ("seq" in moment) {
      this.goTo(moment.seq);
      return null;
    }
    try {
      this.goTo(await seqAtTime(this.room, moment.at));
      return null;
    } catch (error) {
      if (error instanceof PastError && error.status === GONE) this.goToStart();
      return problemIn(error);
    }
  }

  private move(seq: number): void {
    if (this.film === null) return;
    const wanted = Math.min(this.head, Math.max(this.start, Math.round(seq)));
    this.show({ wanted });
    const hand = this.film.reelOf(wanted);
    if (this.fetchBeganMs !== null && performance.now() - this.fetchBeganMs > STALE_MS) this.film.leave(hand, REACH);
    if (wanted === this.head) this.follow();
    else this.unfollow();
    this.ask();
  }

  private get start(): number {
    return this.current.timeline?.from ?? 0;
  }

  private get head(): number {
    return this.film?.head ?? 0;
  }

  // — playback —————————————————————————————————————————————————————————————

  setSpeed(speed: number): void {
    this.show({ speed });
  }

  setSkipIdle(skipIdle: boolean): void {
    this.show({ skipIdle });
  }

  toggle(): void {
    if (this.current.playing) this.pause();
    else this.play();
  }

  play(): void {
    if (this.film === null) return;
    // At the end there is nothing more to play: it begins again.
    const seq = this.current.wanted >= this.head ? this.start : this.current.wanted;
    this.unfollow();
    this.playback = { seq, clockMs: this.film.record(seq)?.atMs ?? this.film.record(seq + 1)?.atMs ?? this.current.timeline?.fromMs ?? 0 };
    if (seq === this.start) this.playback = { seq, clockMs: this.current.timeline?.fromMs ?? 0 };
    this.tickedMs = performance.now();
    this.show({ playing: true, wanted: seq, astray: null });
    this.ask();
  }

  pause(): void {
    if (!this.current.playing) return;
    this.show({ playing: false });
  }

  private tick(nowMs: number): void {
    const { film } = this;
    if (film === null) return;
    const { speed, skipIdle } = this.current;
    // A tab that was hidden goes on from where it was.
    const passed = Math.min(250, nowMs - this.tickedMs);
    this.tickedMs = nowMs;
    const timeOf = (seq: number): number | null => (film.has(seq) ? (film.record(seq)?.atMs ?? null) : null);
    const { playback, state } = advance(this.playback, passed, { speed, skipIdle, head: film.head, timeOf });
    this.playback = playback;
    if (playback.seq !== this.current.wanted) this.show({ wanted: playback.seq });
    if (state === "waiting") this.fetch(playback.seq + 1);
    if (state === "ended") {
      this.pause();
      this.move(this.head);
    }
  }

  // — what is shown ————————————————————————————————————————————————————————

  private ask(): void {
    if (this.frameAsked !== 0 || this.ended) return;
    this.frameAsked = requestAnimationFrame((nowMs) => {
      this.frameAsked = 0;
      if (this.ended) return;
      if (this.current.playing) this.tick(nowMs);
      this.catchUp();
      if (this.current.playing) this.ask();
    });
  }

  private catchUp(): void {
    const { film } = this;
    if (film === null) return;
    const { wanted } = this.current;
    if (!film.has(wanted)) return this.fetch(wanted);
    this.project(wanted);
    const reel = film.reelOf(wanted);
    film.leave(reel, REACH);
    for (const near of [reel + 1, reel - 1, ...(this.current.playing ? [reel + 2] : [])]) film.prefetch(near);
  }

  private project(seq: number): void {
    const { film, projector } = this;
    if (film === null || projector === null) return;
    if (seq === this.current.seq && this.current.doc !== null && seq === this.current.wanted && !this.current.fetching) return;
    const doc = this.current.timeline?.kind === "yjs" ? projector.show(seq).doc : null;
    this.show({ seq, doc, record: film.record(seq), fetching: this.fetchBeganMs !== null && seq !== this.current.wanted, trouble: null });
  }

  private fetch(seq: number): void {
    const { film } = this;
    if (film === null || this.fetchBeganMs !== null) return;
    this.fetchBeganMs = performance.now();
    this.show({ fetching: true });
    film
      .load(seq)
      .then(() => {
        this.fetchBeganMs = null;
        if (this.ended || film !== this.film) return;
        // The handle may be elsewhere by now: show what lies nearest to it.
        const { low, high } = film.stretch(film.reelOf(seq));
        const nearest = Math.min(high, Math.max(low, this.current.wanted));
        if (!this.current.playing) this.project(film.has(nearest) ? nearest : seq);
        else this.show({ fetching: false });
        this.ask();
      })
      .catch((error: unknown) => {
        this.fetchBeganMs = null;
        if (this.ended || film !== this.film) return;
        if (error instanceof DOMException && error.name === "AbortError") return this.ask();
        const status = error instanceof PastError ? error.status : 0;
        // Retention has been here: the history begins elsewhere. If it does not, there is no hurry.
        const moved = status === GONE && this.goneAt !== this.start;
        if (status === GONE) this.goneAt = this.start;
        if (status === NOT_FOUND || moved) return void this.open();
        this.show({ trouble: problemIn(error) });
        clearTimeout(this.retryTimer);
        this.retryTimer = setTimeout(() => (status === GONE ? void this.open() : this.ask()), RETRY_MS);
      });
  }

  // — the timeline —————————————————————————————————————————————————————————

  private async open(): Promise<void> {
    const again = this.current.timeline !== null;
    try {
      const timeline = await fetchTimeline(this.room, { buckets: BUCKETS }, this.opening.signal);
      if (this.ended) return;
      const wanted = again ? this.current.wanted : await this.firstMoment(timeline);
      this.opening.signal.throwIfAborted();
      this.film?.close();
      this.film = new Film({
        source: {
          keyframe: (seq, signal) => fetchKeyframe(this.room, seq, signal),
          records: (from, to, signal) => fetchRecords(this.room, from, to, signal),
        },
        start: timeline.from,
        fromNothing: timeline.trimmedTo === 0,
        head: timeline.to,
        keyframes: timeline.kind === "yjs",
      });
      this.projector = new Projector(this.film);
      this.show({ phase: { at: "ready" }, timeline, doc: null });
      this.move(wanted);
    } catch (error) {
      if (this.ended) return;
      this.show({ phase: { at: "failed", problem: problemIn(error), status: error instanceof PastError ? error.status : 0 } });
    }
  }

  /** Where to begin: at the moment that the address names, or else at the end, which says why. */
  private async firstMoment({ from, to }: Timeline): Promise<number> {
    const end = (astray: string): number => {
      this.show({ astray: `${astray} This is the end of the history.` });
      return to;
    };
    const { first } = this;
    if (first === "end") return to;
    if ("unreadable" in first) return end(`The address names no record: “${shortened(first.unreadable)}” is no number.`);
    if ("seq" in first) return first.seq > to ? end(`There is no record ${first.seq.toLocaleString()} yet.`) : first.seq;
    try {
      return await seqAtTime(this.room, first.at);
    } catch (error) {
      const status = error instanceof PastError ? error.status : 0;
      if (status === GONE) return from - 1;
      if (status === BAD_REQUEST) return end(`The address names no time: “${shortened(first.at)}” is none, as 2026-11-24T10:45:00Z would be.`);
      return end(`The time that the address names could not be looked up: ${problemIn(error).title}.`);
    }
  }

  private async refresh(): Promise<void> {
    try {
      const timeline = await fetchTimeline(this.room, { buckets: BUCKETS }, this.opening.signal);
      if (this.ended || this.film === null) return;
      // What came in while it was asked for is added to it.
      const fresh = this.records(timeline.to + 1, this.film.head);
      this.show({ timeline: fresh.reduce(extended, timeline) });
    } catch {
      // The one that is there stays good; the next record asks again.
    }
  }

  private refreshSoon(): void {
    if (this.refreshTimer !== undefined) return;
    this.refreshTimer = setTimeout(() => {
      this.refreshTimer = undefined;
      void this.refresh();
    }, TIMELINE_REFRESH_MS);
  }

  // — the live end —————————————————————————————————————————————————————————

  private follow(): void {
    if (this.stream !== null || this.ended) return;
    this.show({ live: "connecting" });
    // The browser comes back by itself and says which record it had last.
    const stream = new EventSource(pastUrlWithToken(this.room, "records", { from: this.head + 1, format: "events" }));
    this.stream = stream;
    stream.onopen = () => {
      if (stream === this.stream) this.show({ live: "live" });
    };
    stream.onmessage = ({ data }: MessageEvent<string>) => {
      if (stream === this.stream) this.take(data);
    };
    stream.onerror = () => {
      if (stream !== this.stream) return;
      this.show({ live: "connecting" });
      if (stream.readyState !== EventSource.CLOSED) return;
      // It has given up: a status that is none of success.
      this.stream = null;
      this.retryTimer = setTimeout(() => void this.followAgain(), RETRY_MS);
    };
  }

  /** A stream does not say why it failed. Who is not let in any more is told, and so is who looks at a room that is gone. */
  private async followAgain(): Promise<void> {
    try {
      await fetchTimeline(this.room, { buckets: 1 }, this.opening.signal);
    } catch (error) {
      if (this.ended) return;
      if (error instanceof PastError && FINAL.has(error.status)) {
        return this.show({ phase: { at: "failed", problem: error.problem, status: error.status } });
      }
    }
    if (this.current.wanted === this.head) this.follow();
  }

  private unfollow(): void {
    this.stream?.close();
    this.stream = null;
    this.show({ live: "off" });
  }

  private take(data: string): void {
    const { film } = this;
    if (film === null) return;
    const record = readRecord(data);
    const following = this.current.wanted === film.head;
    if (!film.append(record)) {
      // Records are missing: the room was deleted and begun anew.
      this.unfollow();
      return void this.open();
    }
    const { timeline } = this.current;
    if (timeline !== null && record.seq > timeline.to) this.show({ timeline: extended(timeline, record) });
    this.refreshSoon();
    if (!following) return;
    this.show({ wanted: film.head });
    this.ask();
  }

  private show(change: Partial<ReplayView>): void {
    if (this.ended) return;
    const same = (Object.keys(change) as (keyof ReplayView)[]).every((key) => this.current[key] === change[key]);
    if (same) return;
    this.current = { ...this.current, ...change };
    for (const listener of this.listeners) listener();
  }
}

/** The timeline with one more record at its end; until it is asked for anew, in the last bucket. */
export function extended(timeline: Timeline, record: PastRecord): Timeline {
  const add = (shares: Timeline["authors"]): Timeline["authors"] => {
    const known = shares.some(({ author }) => author === record.author);
    const more = shares.map((share) => (share.author === record.author ? { ...share, records: share.records + 1 } : share));
    return known ? more : [...more, { author: record.author, records: 1 }];
  };
  const last = timeline.buckets.at(-1) ?? { atMs: record.atMs, records: 0, authors: [] };
  const mark = record.kind === "update" ? [] : [{ seq: record.seq, atMs: record.atMs, kind: record.kind, details: null }];
  return {
    ...timeline,
    to: record.seq,
    toMs: Math.max(timeline.toMs, record.atMs),
    records: timeline.records + 1,
    authors: add(timeline.authors),
    buckets: [...timeline.buckets.slice(0, -1), { ...last, records: last.records + 1, authors: add(last.authors) }],
    marks: [...timeline.marks, ...mark],
  };
}

function shortened(text: string): string {
  return text.length > 40 ? `${text.slice(0, 40)}…` : text;
}

function problemIn(error: unknown): Problem {
  if (error instanceof PastError) return error.problem;
  // A connection that breaks in the middle of an answer says no more than that.
  return error instanceof TypeError ? UNREACHABLE : { title: "The past could not be read", detail: error instanceof Error ? error.message : null, code: null, retryAfterS: null };
}
