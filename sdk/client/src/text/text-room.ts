/**
 * A text room: the room's text as it is here, with edits that go to the server and edits that come
 * from it. Positions are UTF-16 units, as JavaScript counts.
 *
 * The text edits as a replica of its own, drawn at random: the queue's client outlives the page, and
 * its document does not.
 */

import { Text, TextError, type Anchor, type Applied, type Change, type TakenBack } from "@thewell/text";
import type { Client } from "../client.js";
import { Emitter } from "../emitter.js";
import { randomClient } from "../queue.js";
import type { JoinOptions, Rejected, Room, State, Ticket } from "../room.js";
import { anchorOfHex, hexOfAnchor } from "./anchor.js";
import { difference } from "./difference.js";

/** Edits with a shorter pause between them are taken back together. */
const UNDO_PAUSE_MS = 500;

/** Who somebody is, for others to see. */
export interface User {
  readonly name: string;
  /** `#rrggbb` */
  readonly color: string;
}

/** Where somebody is. */
export interface Cursor {
  /** The replica. */
  readonly site: number;
  readonly user: User;
  /** Where the selection began, and where the cursor is; undefined while there is none. */
  readonly selection: { readonly anchor: number; readonly head: number } | undefined;
}

/** The text has changed by what others did, or by undo and redo. */
export interface TextChange {
  /** To be carried out in order. */
  readonly changes: readonly Change[];
}

/** Edits of this client that the server will never have. */
export interface Lost {
  /** Why the first of them was refused. */
  readonly reason: string;
  /** What was refused, and what builds on it, oldest first. */
  readonly operations: readonly Rejected[];
  /** What they had inserted, end to end: to be shown, or written anew. */
  readonly inserted: string;
}

/** What happens in a text room, beside what happens in its room. */
export interface TextRoomEvents {
  change: TextChange;
  /** Somebody came, moved or left: ask for `cursors`. */
  cursors: undefined;
  /**
   * Edits were refused, and are not in the text any more, which is the server's and what still waits.
   * A `change` has told what that changed. What was done before cannot be undone any more.
   */
  lost: Lost;
  /**
   * The text cannot follow its room: what came is no text, or the engine has failed. The room has been
   * left, and the text stays as it was.
   */
  failed: { readonly error: Error };
}

/** A text that many edit at once. */
export class TextRoom extends Emitter<TextRoomEvents> {
  #editedMs = -Infinity;
  /** Whether the server's text has come. */
  #loaded = false;
  #mayWrite = false;
  #text = newText();
  #cursor: Said | undefined;
  /** What was refused since the text was last right. */
  #refused: Rejected[] = [];
  #rebuilding = false;

  private constructor(
    /** The room beneath: acks, memberships, presence. */
    readonly room: Room,
  ) {
    super();
    room.on("joined", ({ state, mayWrite }) => {
      this.#mayWrite = mayWrite;
      this.#follow(() => this.#join(state));
    });
    room.on("reset", ({ snapshot, beganAnew }) => this.#follow(() => this.#replace(snapshot, beganAnew)));
    room.on("records", (records) => this.#follow(() => this.#take(records.map(({ payload }) => payload))));
    room.on("presence", () => this.emit("cursors", undefined));
    room.on("rejected", (rejected) => {
      this.#refused.push(rejected);
      if (!this.#rebuilding) room.refresh();
    });
  }

  /**
   * Joins a text room. Wait for `init()` of `@thewell/text` before. What waits in the queue is in the
   * text once the server's text has come.
   *
   * @throws {@link ClientError} `queue`, `ended`
   */
  static async join(client: Client, options: Omit<JoinOptions, "kind" | "since" | "version">): Promise<TextRoom> {
    const room = await client.join({ ...options, kind: "text" });
    return new TextRoom(room);
  }

  /** The text, to be changed by this object only. After `lost` it is another: ask for it each time. */
  get text(): Text {
    return this.#text;
  }

  /** Whether the server's text has come; what is written before merges with it. */
  get isLoaded(): boolean {
    return this.#loaded;
  }

  /** The text. */
  override toString(): string {
    return this.text.toString();
  }

  /** Its length. */
  get length(): number {
    return this.text.length;
  }

  /**
   * Inserts before what stands at `at`.
   *
   * @throws TextError of `@thewell/text`, {@link ClientError} `full`, `ended`
   */
  insert(at: number, text: string): Ticket {
    return this.replace(at, 0, text);
  }

  /** Deletes `length` from `at` on. */
  delete(at: number, length: number): Ticket {
    return this.replace(at, length, "");
  }

  /** Deletes `length` from `at` on and inserts `text` there, as one operation. */
  replace(at: number, length: number, text: string): Ticket {
    this.room.check();
    const now = performance.now();
    if (now - this.#editedMs > UNDO_PAUSE_MS) this.text.checkpoint();
    this.#editedMs = now;
    return this.room.submit(this.text.replace(at, length, text));
  }

  /** Ends a group of edits that are taken back together. */
  checkpoint(): void {
    this.text.checkpoint();
  }

  /** Takes back the last group of own edits, whatever others did meanwhile; undefined if there is none. */
  undo(): Ticket | undefined {
    return this.#again(() => this.text.undo());
  }

  /** Does again what was taken back last, unless own edits came since. */
  redo(): Ticket | undefined {
    return this.#again(() => this.text.redo());
  }

  /**
   * Says who is here, and where; the positions move with the text. One past its end is at its end, and
   * one inside a character before that.
   */
  setCursor(user: User, selection: { readonly anchor: number; readonly head: number } | undefined): void {
    const anchor = (at: number): Anchor => this.#anchorAt(Math.min(at, this.text.length));
    this.#cursor = { user, at: selection && { anchor: anchor(selection.anchor), head: anchor(selection.head) } };
    const { at } = this.#cursor;
    // The room says it again after a break; what it says sticks to characters.
    this.room.setPresence({ user, ...(at && { cursor: { anchor: hexOfAnchor(at.anchor), head: hexOfAnchor(at.head) } }) });
  }

  /** Everyone else who is here. */
  cursors(): Cursor[] {
    return this.room.others.flatMap(({ site, state }) => {
      const { user, cursor } = fields(state);
      const { name, color } = fields(user);
      if (typeof name !== "string") return [];
      const { anchor, head } = fields(cursor);
      const at = this.#positionOf(head);
      const selection = at === undefined ? undefined : { anchor: this.#positionOf(anchor) ?? at, head: at };
      const shown = typeof color === "string" && /^#[0-9a-f]{6}$/i.test(color) ? color : "#888888";
      return [{ site, user: { name: name.slice(0, 64), color: shown }, selection }];
    });
  }

  /** Leaves; what waits stays in the queue. */
  leave(): void {
    this.room.leave();
    this.text.free();
  }

  /** Does what an event of the room asks for: who told of it can do nothing about what goes wrong. */
  #follow(step: () => void): void {
    try {
      step();
    } catch (error) {
      this.room.leave();
      this.emit("failed", { error: error instanceof Error ? error : new Error(String(error)) });
    }
  }

  #join(state: State): void {
    if (this.#refused.length > 0 && state.snapshot !== undefined) return this.#rebuild(state.snapshot);
    const updates =
      state.snapshot !== undefined
        ? [this.#ofSnapshot(state.snapshot)]
        : state.difference !== undefined
          ? [state.difference]
          : state.records.map(({ payload }) => payload);
    // What waits was written by an earlier life of this queue, if the text does not have it.
    const waiting = this.#loaded ? [] : this.room.waitingPayloads();
    this.#loaded = true;
    this.#take(updates);
    this.#tell(waiting.flatMap((payload) => tryApply(this.text, payload)?.changes ?? []));
  }

  /**
   * Takes the server's text, and of what waits all that does not build on something refused. Edits of
   * one replica build on each other, so the new text is another one.
   */
  #rebuild(snapshot: Uint8Array): void {
    const old = this.#text;
    const probe = newText(snapshot);
    this.#rebuilding = true;
    this.room.withdraw((payload) => (tryApply(probe, payload)?.state ?? "waiting") === "waiting", "it builds on an edit that was refused");
    this.#rebuilding = false;
    const operations = this.#refused.splice(0);
    const inserted = operations.flatMap(({ payload }) => tryApply(probe, payload)?.changes ?? []).map((change) => change.inserted).join("");
    probe.free();

    this.#text = newText(snapshot);
    for (const payload of this.room.waitingPayloads()) tryApply(this.#text, payload);
    // What others did is told as they did it; what is lost, as one change.
    const { changes } = old.apply(this.#text.diff(old.version()));
    const cut = difference(old.toString(), this.#text.toString());
    const cursor = this.#cursor;
    const moved = (anchor: Anchor): number => after(cut, old.positionOf(anchor) ?? 0);
    if (cursor !== undefined) this.setCursor(cursor.user, cursor.at && { anchor: moved(cursor.at.anchor), head: moved(cursor.at.head) });
    old.free();

    this.#tell(cut === undefined ? changes : [...changes, cut]);
    const [first] = operations;
    if (first !== undefined) this.emit("lost", { reason: first.reason, operations, inserted });
  }

  /** What the server's text has and this one lacks: edits on their way stay, and so does undo. */
  #ofSnapshot(snapshot: Uint8Array): Uint8Array {
    if (snapshot.length === 0) return new Uint8Array();
    const theirs = Text.load(this.text.client, snapshot);
    try {
      return theirs.diff(this.text.version());
    } finally {
      theirs.free();
    }
  }

  #replace(snapshot: Uint8Array, beganAnew: boolean): void {
    if (beganAnew && !this.#mayWrite) return this.#rebuild(snapshot);
    if (beganAnew) this.#giveBack(snapshot);
    this.#take([this.#ofSnapshot(snapshot)]);
  }

  /** Hands in again, as one edit before those that wait, what is here and a log that began anew lacks. */
  #giveBack(snapshot: Uint8Array): void {
    const theirs = newText(snapshot);
    const known = theirs.version();
    theirs.free();
    const lacks = [...this.text.version()].some(([client, ticks]) => ticks > (known.get(client) ?? 0));
    if (lacks) this.room.submitFirst(this.text.diff(known));
  }

  #take(updates: readonly Uint8Array[]): void {
    this.#tell(updates.filter(({ length }) => length > 0).flatMap((update) => this.text.apply(update).changes));
  }

  #tell(changes: readonly Change[]): void {
    if (changes.length === 0) return;
    this.emit("change", { changes });
    // Where others are has moved, too.
    this.emit("cursors", undefined);
  }

  #again(take: () => TakenBack | undefined): Ticket | undefined {
    this.room.check();
    this.#editedMs = -Infinity;
    const taken = take();
    if (taken === undefined) return undefined;
    const ticket = this.room.submit(taken.update);
    if (taken.changes.length > 0) this.emit("change", { changes: taken.changes });
    return ticket;
  }

  #anchorAt(at: number): Anchor {
    try {
      return this.text.anchor(at, "left");
    } catch (error) {
      if (error instanceof TextError && error.code === "inside-character") return this.text.anchor(at - 1, "left");
      throw error;
    }
  }

  #positionOf(hex: unknown): number | undefined {
    const anchor = anchorOfHex(hex);
    return anchor === undefined ? undefined : this.text.positionOf(anchor);
  }
}

/** What is said of where this client is. */
interface Said {
  readonly user: User;
  readonly at: { readonly anchor: Anchor; readonly head: Anchor } | undefined;
}

/** A text of a replica of its own, from the server's. */
function newText(snapshot: Uint8Array = new Uint8Array()): Text {
  const client = BigInt(randomClient());
  return snapshot.length === 0 ? new Text(client) : Text.load(client, snapshot);
}

/** Applies an operation of this client, whose bytes an earlier life may have spoiled; undefined if it cannot. */
function tryApply(text: Text, payload: Uint8Array): Applied | undefined {
  try {
    return text.apply(payload);
  } catch (error) {
    if (error instanceof TextError && error.code !== "crashed") return undefined;
    throw error;
  }
}

/** Where a position is after a change. */
function after(change: Change | undefined, at: number): number {
  if (change === undefined || at <= change.at) return at;
  const { inserted, deleted } = change;
  return at < change.at + deleted ? change.at + inserted.length : at + inserted.length - deleted;
}

/** What may be read of something that came over the network. */
function fields(value: unknown): { readonly [name: string]: unknown } {
  return typeof value === "object" && value !== null ? (value as { readonly [name: string]: unknown }) : {};
}
