/** The text: what `crdt::text` is in Rust, with JavaScript's numbers and strings. */

import { Engine, merge as mergeInEngine } from "./engine/engine.js";
import { TextError } from "./error.js";
import { run } from "./start.js";

/** How positions and lengths are counted: in UTF-16 units as JavaScript does, UTF-8 bytes, or code points. */
export type Measure = "utf16" | "utf8" | "chars";

/** What became of an update: it is in the text now, it was before, or it waits for what it builds on. */
export type AppliedState = "new" | "known" | "waiting";

/** A visible edit: at `at`, `deleted` goes and `inserted` comes. In UTF-16 units; to be carried out in order. */
export interface Change {
  readonly at: number;
  readonly deleted: number;
  readonly inserted: string;
}

/** What {@link Text.apply} did. */
export interface Applied {
  readonly state: AppliedState;
  readonly changes: readonly Change[];
}

/** What {@link Text.undo} and {@link Text.redo} did: the update's bytes, and what an editor has to carry out. */
export interface TakenBack {
  readonly update: Uint8Array;
  readonly changes: readonly Change[];
}

/** What a replica has: for every client the number of its ticks (characters inserted and deleted). */
export type Version = ReadonlyMap<bigint, number>;

/** Ticks of a client that something waits for: from `from` on, before `to`. */
export interface Missing {
  readonly client: bigint;
  readonly from: number;
  readonly to: number;
}

/** What one client did at a stretch. */
export interface TextEvent {
  readonly client: bigint;
  /** Under which Seq it began and ended. */
  readonly first: number;
  readonly last: number;
  readonly deed: "insert" | "delete";
  /** What came or went; empty for what another client had deleted before. */
  readonly text: string;
}

/**
 * To which neighbour a position sticks: what is inserted at it stands after it (`left`), or before it
 * (`right`).
 */
export type Bias = "left" | "right";

/**
 * A sticky position, the same in every replica, as a string fit for JSON: `<` or `>` for the bias, then
 * the character's client and tick as decimals with a point between, or nothing for the text's start
 * (`<`) or end (`>`).
 */
export type Anchor = string;

/** A line and a column in UTF-16 units, both from 0. */
export interface Place {
  readonly line: number;
  readonly column: number;
}

const MEASURES = { utf16: 0, utf8: 1, chars: 2 } as const satisfies Record<Measure, number>;
const STATES = ["new", "known", "waiting"] as const satisfies AppliedState[];
const MAX_U32 = 0xffff_ffff;
const ANCHOR = /^([<>])(?:(\d{1,20})\.(\d{1,10}))?$/;

/**
 * One replica of a text.
 *
 * Replicas that have the same updates have the same text, in whatever order these came. Call
 * {@link init} once before. A text holds memory of the engine: {@link Text.free} gives it back at
 * once, the garbage collector some time after the text is out of reach.
 *
 * @example
 * ```ts
 * await init();
 * const alice = new Text(1n);
 * const bob = new Text(2n);
 * bob.apply(alice.insert(0, "hello"));
 * alice.apply(bob.insert(5, " world"));
 * alice.toString(); // "hello world"
 * ```
 */
export class Text {
  #engine: Engine | undefined;
  /** Who edits here. */
  readonly client: bigint;

  /**
   * An empty text.
   *
   * @param client who edits: 64 bits that no other editor of this text uses. Take them at random for
   * each session.
   */
  constructor(client: bigint);
  constructor(client: bigint, engine?: Engine) {
    this.client = checkClient(client);
    this.#engine = engine ?? run(() => new Engine(client));
  }

  /**
   * A text from a snapshot.
   *
   * @throws {@link TextError} `malformed`, also for an archive: servers read those
   */
  static load(client: bigint, bytes: Uint8Array): Text {
    checkClient(client);
    const engine = run(() => Engine.load(client, bytes));
    return new (Text as new (client: bigint, engine: Engine) => Text)(client, engine);
  }

  /**
   * Makes one update of many: what they say together, in any order.
   *
   * @throws {@link TextError} `malformed`, `gap`
   */
  static merge(updates: readonly Uint8Array[]): Uint8Array {
    return run(() => {
      const lengths = Uint32Array.from(updates, (update) => update.length);
      const bytes = new Uint8Array(updates.reduce((sum, update) => sum + update.length, 0));
      let at = 0;
      for (const update of updates) {
        bytes.set(update, at);
        at += update.length;
      }
      return mergeInEngine(bytes, lengths);
    });
  }

  /**
   * Inserts before what stands at `at`. A lone surrogate becomes U+FFFD.
   *
   * @returns the update's bytes, for the server and other replicas
   * @throws {@link TextError} `outside`, `inside-character`, `full`
   */
  insert(at: number, text: string, measure: Measure = "utf16"): Uint8Array {
    return this.replace(at, 0, text, measure);
  }

  /**
   * Deletes `length` from `at` on.
   *
   * @returns the update's bytes
   * @throws {@link TextError} `outside`, `inside-character`
   */
  delete(at: number, length: number, measure: Measure = "utf16"): Uint8Array {
    return this.replace(at, length, "", measure);
  }

  /**
   * Deletes `length` from `at` on and inserts `text` there, as one update.
   *
   * @returns the update's bytes
   * @throws {@link TextError} `outside`, `inside-character`, `full`
   */
  replace(at: number, length: number, text: string, measure: Measure = "utf16"): Uint8Array {
    checkIndex(at);
    checkIndex(length);
    return this.#run((engine) => engine.replace(measureOf(measure), at, length, text));
  }

  /**
   * Applies an update. What waited for it is applied too, and is among the changes.
   *
   * @param seq what the server gave the update, if updates come in the server's order: then the past
   * is known here
   * @throws {@link TextError} `malformed`, `full`, `too-many-waiting`
   */
  apply(update: Uint8Array, seq?: number): Applied {
    if (seq !== undefined) checkSeq(seq);
    return this.#run((engine) => {
      const state = engine.apply(update, seq ?? -1);
      return { state: STATES[state] ?? "known", changes: changesOf(engine) };
    });
  }

  /**
   * Says which Seq the server gave an own update; of one in which there is nothing, that is
   * {@link Text.pass}. Seqs that come in the order in which their updates
   * stand here make the past known.
   *
   * @throws {@link TextError} `malformed`
   */
  acknowledge(update: Uint8Array, seq: number): void {
    checkSeq(seq);
    this.#run((engine) => engine.acknowledge(update, seq));
  }

  /** Says that the room's next Seq held no update of this text. */
  pass(seq: number): void {
    checkSeq(seq);
    this.#run((engine) => engine.pass(seq));
  }

  /** The text's length in UTF-16 units. */
  get length(): number {
    return this.lengthIn("utf16");
  }

  /** The text's length in any measure. */
  lengthIn(measure: Measure): number {
    return this.#run((engine) => engine.len(measureOf(measure))) >>> 0;
  }

  /** The text. */
  toString(): string {
    return this.#run((engine) => engine.text());
  }

  /**
   * The text from `from` to before `to`, in UTF-16 units.
   *
   * @throws {@link TextError} `outside` if that is not within the text, or cuts a character
   */
  slice(from: number, to: number): string {
    checkIndex(from);
    checkIndex(to);
    const text = this.#run((engine) => engine.slice(from, to));
    if (text === undefined) throw new TextError("outside", `${from} to ${to} is not within the text, or cuts a character`);
    return text;
  }

  /** The text in the pieces in which it stands here; it may not change meanwhile. */
  *chunks(): Generator<string, void, undefined> {
    const lengths = this.#run((engine) => engine.chunks());
    let at = 0;
    for (const length of lengths) {
      yield this.slice(at, at + length);
      at += length;
    }
  }

  /** What is here of every client, ascending. */
  version(): Version {
    const flat = this.#run((engine) => engine.version());
    const version = new Map<bigint, number>();
    for (let at = 0; at < flat.length; at += 2) version.set(flat[at] ?? 0n, Number(flat[at + 1]));
    return version;
  }

  /** All that is here and that a replica of version `since` lacks, as one update; without it, everything. */
  diff(since: Version = new Map()): Uint8Array {
    const flat = new BigUint64Array(2 * since.size);
    let at = 0;
    for (const [client, ticks] of since) {
      flat[at] = checkClient(client);
      flat[at + 1] = BigInt(checkIndex(ticks));
      at += 2;
    }
    return this.#run((engine) => engine.diff(flat));
  }

  /** What must come before what waits can be applied. */
  missing(): Missing[] {
    const flat = this.#run((engine) => engine.missing());
    const missing: Missing[] = [];
    for (let at = 0; at < flat.length; at += 3) {
      missing.push({ client: flat[at] ?? 0n, from: Number(flat[at + 1]), to: Number(flat[at + 2]) });
    }
    return missing;
  }

  /** How many updates wait for what they build on. */
  get waiting(): number {
    return this.#run((engine) => engine.waiting());
  }

  /** The whole text's bytes, for {@link Text.load}: with its history, or without what was deleted. */
  snapshot(history: "with" | "without" = "with"): Uint8Array {
    return this.#run((engine) => engine.snapshot(history === "with"));
  }

  /** The last Seq at which the text is known here. */
  get knownUntil(): number {
    return this.#run((engine) => engine.known_until());
  }

  /**
   * The text as it was after the update of this Seq.
   *
   * @throws {@link TextError} `unknown-seq`, `forgotten-seq`
   */
  at(seq: number): string {
    checkSeq(seq);
    return this.#run((engine) => engine.at(seq));
  }

  /**
   * What happened after the Seq `after`, up to and with the Seq `until`, in order, with authors.
   *
   * @throws {@link TextError} `unknown-seq`, `forgotten-seq`
   */
  between(after: number, until: number): TextEvent[] {
    checkSeq(after);
    checkSeq(until);
    return this.#run((engine) => {
      const flat = engine.between(after, until);
      const said = engine.said();
      const events: TextEvent[] = [];
      let from = 0;
      for (let at = 0; at < flat.length; at += 5) {
        const length = Number(flat[at + 4]);
        events.push({
          client: flat[at] ?? 0n,
          first: Number(flat[at + 1]),
          last: Number(flat[at + 2]),
          deed: flat[at + 3] === 1n ? "delete" : "insert",
          text: said.slice(from, from + length),
        });
        from += length;
      }
      return events;
    });
  }

  /**
   * The sticky position at `at`.
   *
   * @throws {@link TextError} `outside`, `inside-character`
   */
  anchor(at: number, bias: Bias): Anchor {
    checkIndex(at);
    const [client, tick] = this.#run((engine) => engine.anchor(at, bias === "right"));
    const sign = bias === "left" ? "<" : ">";
    return client === undefined || tick === undefined ? sign : `${sign}${client}.${tick}`;
  }

  /**
   * Where a sticky position is now; `undefined` if its character is not here.
   *
   * @throws {@link TextError} `malformed` if it is no anchor
   */
  positionOf(anchor: Anchor): number | undefined {
    const [, sign, client, tick] = ANCHOR.exec(anchor) ?? [];
    if (sign === undefined) throw new TextError("malformed", "this is not an anchor");
    const id = client === undefined || tick === undefined ? [] : [BigInt(client), BigInt(tick)];
    if (id.some((part) => part >= 1n << 64n)) throw new TextError("malformed", "this is not an anchor");
    return this.#run((engine) => engine.position_of(new BigUint64Array(id), sign === ">"));
  }

  /** Counts lines from now on, so that {@link Text.placeOf} takes logarithmic time; it costs a little in every edit. */
  countLines(): void {
    this.#run((engine) => engine.count_lines());
  }

  /**
   * Line and column of a position.
   *
   * @throws {@link TextError} `outside`, `inside-character`
   */
  placeOf(at: number): Place {
    checkIndex(at);
    const [line = 0, column = 0] = this.#run((engine) => engine.place_of(at));
    return { line, column };
  }

  /** The position of a line and column; `undefined` if there is no such place. */
  offsetOf({ line, column }: Place): number | undefined {
    checkIndex(line);
    checkIndex(column);
    return this.#run((engine) => engine.offset_of(line, column));
  }

  /** Ends a group of own edits: edits up to here are taken back together. Call it when typing pauses. */
  checkpoint(): void {
    this.#run((engine) => engine.checkpoint());
  }

  /** Whether there is something to take back. */
  get canUndo(): boolean {
    return this.#run((engine) => engine.can_undo());
  }

  /** Whether there is something to do again. */
  get canRedo(): boolean {
    return this.#run((engine) => engine.can_redo());
  }

  /**
   * Takes back the last group of own edits, whatever others did meanwhile.
   *
   * @returns the update's bytes and the visible edits; `undefined` if there was nothing
   * @throws {@link TextError} `full`
   */
  undo(): TakenBack | undefined {
    return this.#takeBack(false);
  }

  /**
   * Does again what was taken back last, unless own edits came since.
   *
   * @returns the update's bytes and the visible edits; `undefined` if there was nothing
   * @throws {@link TextError} `full`
   */
  redo(): TakenBack | undefined {
    return this.#takeBack(true);
  }

  #takeBack(again: boolean): TakenBack | undefined {
    return this.#run((engine) => {
      const update = engine.take_back(again);
      return update && { update, changes: changesOf(engine) };
    });
  }

  /** Gives the text's memory back; nothing can be done with it any more. */
  free(): void {
    const engine = this.#engine;
    this.#engine = undefined;
    if (engine !== undefined) run(() => engine.free());
  }

  /** As {@link Text.free}, at the end of a `using` block. */
  [Symbol.dispose](): void {
    this.free();
  }

  #run<T>(call: (engine: Engine) => T): T {
    const engine = this.#engine;
    if (engine === undefined) throw new TextError("freed", "the text was freed");
    return run(() => call(engine));
  }
}

/** The visible edits of the engine's last call. */
function changesOf(engine: Engine): Change[] {
  const edits = engine.changes();
  const said = edits.length > 0 ? engine.said() : "";
  const changes: Change[] = [];
  let from = 0;
  for (let place = 0; place < edits.length; place += 3) {
    const [at = 0, deleted = 0, length = 0] = edits.subarray(place, place + 3);
    changes.push({ at, deleted, inserted: said.slice(from, from + length) });
    from += length;
  }
  return changes;
}

/** A position or length as the engine takes it. */
function checkIndex(value: number): number {
  if (!Number.isInteger(value) || value < 0 || value > MAX_U32) {
    throw new TextError("argument", `${value} is not a whole number from 0 to ${MAX_U32}`);
  }
  return value;
}

/** A measure's number in the engine. */
function measureOf(measure: Measure): number {
  if (!Object.hasOwn(MEASURES, measure)) {
    throw new TextError("argument", `${measure as string} is no measure: utf16, utf8 or chars`);
  }
  return MEASURES[measure];
}

function checkSeq(value: number): number {
  if (!Number.isSafeInteger(value) || value < 0) {
    throw new TextError("argument", `${value} is not a Seq: a whole number from 0 to 2^53 - 1`);
  }
  return value;
}

function checkClient(value: bigint): bigint {
  if (typeof value !== "bigint" || BigInt.asUintN(64, value) !== value) {
    throw new TextError("argument", `${value} is not a client: a bigint from 0n to 2n ** 64n - 1n`);
  }
  return value;
}
