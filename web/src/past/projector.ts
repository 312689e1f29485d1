/**
 * The document at a moment, made of a film.
 *
 * Going forward applies records to the document that is shown. A Yjs document cannot go back, so
 * going backward makes a new one from the nearest keyframe, and leaves keyframes on its way: whoever
 * has gone back once will do so again. A record that cannot be read is skipped, as on the server.
 */

import * as Y from "yjs";
import type { Film } from "./film";

/** How far apart keyframes lie that are made here. */
export const KEYFRAME_EVERY = 64;

export interface Frame {
  readonly seq: number;
  readonly doc: Y.Doc;
}

export class Projector {
  private frame: Frame | null = null;

  constructor(private readonly film: Film) {}

  get current(): Frame | null {
    return this.frame;
  }

  /** The document after record `seq`, which the film must have. The frame before it may be changed by this. */
  show(seq: number): Frame {
    const { film, frame } = this;
    const reel = film.reelOf(seq);
    const { low } = film.stretch(reel);
    // The end of one reel is the beginning of the next.
    const goesOn = frame !== null && frame.seq <= seq && frame.seq >= low;
    if (goesOn) return (this.frame = this.forward(frame.doc, frame.seq, seq, false));
    const keyframe = film.keyframeBefore(seq, low);
    if (keyframe === null) throw new Error(`no keyframe before ${seq}`);
    const doc = new Y.Doc();
    Y.applyUpdate(doc, keyframe.update, this);
    const back = frame !== null && frame.seq > seq;
    return (this.frame = this.forward(doc, keyframe.seq, seq, back));
  }

  private forward(doc: Y.Doc, from: number, to: number, leaveKeyframes: boolean): Frame {
    const { film } = this;
    const fold = (first: number, last: number): void =>
      Y.transact(
        doc,
        () => {
          for (let seq = first; seq <= last; seq += 1) applyRecord(doc, film.record(seq), this);
        },
        this,
      );
    if (!leaveKeyframes) fold(from + 1, to);
    else {
      for (let at = from; at < to; ) {
        const next = Math.min(to, (Math.floor(at / KEYFRAME_EVERY) + 1) * KEYFRAME_EVERY);
        fold(at + 1, next);
        if (next < to) film.keepKeyframe(next, Y.encodeStateAsUpdate(doc));
        at = next;
      }
    }
    return { seq: to, doc };
  }
}

function applyRecord(doc: Y.Doc, record: { kind: string; payload: Uint8Array } | null, origin: unknown): void {
  if (record?.kind !== "update") return;
  try {
    Y.applyUpdate(doc, record.payload, origin);
  } catch {
    // The server skips what it cannot read, and so does everyone who folds.
  }
}
