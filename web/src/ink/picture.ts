/**
 * The strokes of a document, decoded and in paint order, kept in step with it.
 *
 * The picture mirrors `strokesOf(doc)` slot by slot, a slot that holds no readable stroke being null,
 * and decodes only what is new. It reports each change once a transaction; how to draw is not its
 * business, though it caches each stroke's outline because that is a function of the stroke alone.
 */

import * as Y from "yjs";
import { around, grown, overlap, touches, union, type Rect, type Spot } from "./geometry";
import { inkReach, outlineOf } from "./outline";
import { PointReader, type Point } from "./points";
import { readHeader, STROKE_MAX_POINTS, strokesOf, type StrokeHeader } from "./strokes";

export interface PictureChange {
  /** Strokes that are new or have grown. */
  readonly inked: readonly Stroke[];
  readonly erased: readonly Stroke[];
  /** Whether this is how a document arrives: much at once, rather than a hand at work. */
  readonly bulk: boolean;
}

/** More new strokes than this in one transaction is a document arriving. */
const BULK_STROKES = 8;

export class Stroke {
  readonly points: Point[] = [];
  private readonly reader: PointReader;
  private readonly reach: number;
  private centre: Rect | null = null;
  private outline: Path2D | null = null;
  private broken = false;
  /** How many elements of the shared array have been read. */
  private partsRead = 1;

  constructor(
    /** The shared type this was read from; it identifies the stroke. */
    readonly key: unknown,
    readonly header: StrokeHeader,
  ) {
    this.reader = new PointReader(header.pressure);
    this.reach = inkReach(header);
  }

  static read(value: unknown): Stroke | null {
    if (!(value instanceof Y.Array)) return null;
    const header = value.length > 0 ? readHeader(value.get(0)) : null;
    if (header === null) return null;
    const stroke = new Stroke(value, header);
    stroke.catchUp(value);
    return stroke;
  }

  /** Reads the chunks that are new in the shared array. */
  catchUp(shared: Y.Array<unknown>): void {
    for (const chunk of shared.slice(Math.min(this.partsRead, shared.length))) this.take(chunk);
    this.partsRead = shared.length;
  }

  get bounds(): Rect | null {
    return this.centre === null ? null : grown(this.centre, this.reach);
  }

  get path(): Path2D {
    this.outline ??= outlineOf(this.header, this.points);
    return this.outline;
  }

  /** Takes the outline of a stroke that is the same to the last point. */
  borrowOutline(other: Stroke | undefined): void {
    if (other?.outline == null || other.points.length !== this.points.length) return;
    const same = other.header.width === this.header.width && other.header.pressure === this.header.pressure;
    if (same && this.points.every((point, i) => point.every((part, axis) => part === other.points[i]?.[axis]))) this.outline = other.outline;
  }

  extend(points: readonly Point[]): void {
    const room = STROKE_MAX_POINTS - this.points.length;
    const fresh = points.slice(0, Math.max(0, room));
    const added = around(fresh);
    if (added === null) return;
    this.points.push(...fresh);
    this.centre = union(this.centre, added);
    this.outline = null;
  }

  private take(chunk: unknown): void {
    if (this.broken) return;
    const points = this.reader.read(chunk);
    if (points === null) this.broken = true;
    else this.extend(points);
  }
}

export class Picture {
  private slots: (Stroke | null)[] = [];
  private readonly byKey = new Map<unknown, Stroke>();
  private readonly shared: Y.Array<unknown>;

  constructor(
    doc: Y.Doc,
    private readonly onChange: (change: PictureChange) => void,
    /** A picture of nearly the same document: outlines that both have need not be made again. */
    alike: Picture | null = null,
  ) {
    this.shared = strokesOf(doc) as Y.Array<unknown>;
    this.slots = this.shared.toArray().map((value) => this.adopt(value));
    if (alike !== null) this.borrowOutlines(alike);
    this.shared.observeDeep(this.follow);
  }

  close(): void {
    this.shared.unobserveDeep(this.follow);
  }

  /** In paint order. */
  *strokes(): Generator<Stroke> {
    for (const stroke of this.slots) if (stroke !== null) yield stroke;
  }

  get count(): number {
    return this.byKey.size;
  }

  has(stroke: Stroke): boolean {
    return this.byKey.get(stroke.key) === stroke;
  }

  of(key: unknown): Stroke | undefined {
    return this.byKey.get(key);
  }

  get bounds(): Rect | null {
    let all: Rect | null = null;
    for (const { bounds } of this.strokes()) if (bounds !== null) all = union(all, bounds);
    return all;
  }

  /** The strokes whose ink lies within `reach` of the line from `a` to `b`. */
  under(a: Spot, b: Spot, reach: number): Set<unknown> {
    const swept = grown(union(boxOf(a), boxOf(b)), reach);
    const found = new Set<unknown>();
    for (const stroke of this.strokes()) {
      if (stroke.bounds === null || !overlap(stroke.bounds, swept)) continue;
      if (touches(stroke.points, a, b, reach + stroke.header.width / 2)) found.add(stroke.key);
    }
    return found;
  }

  private borrowOutlines(alike: Picture): void {
    const known = new Map<string, Stroke>();
    for (const stroke of alike.strokes()) known.set(stroke.header.id, stroke);
    for (const stroke of this.strokes()) stroke.borrowOutline(known.get(stroke.header.id));
  }

  private follow = (events: readonly Y.YEvent<Y.AbstractType<unknown>>[]): void => {
    const inked = new Set<Stroke>();
    const erased: Stroke[] = [];
    for (const event of events) {
      if (event.target === this.shared) this.followOrder(event, inked, erased);
      else if (event.target.parent === this.shared && event.target instanceof Y.Array) {
        const stroke = this.byKey.get(event.target) ?? this.lateStroke(event.target);
        stroke?.catchUp(event.target);
        if (stroke !== undefined) inked.add(stroke);
      }
    }
    for (const stroke of erased) inked.delete(stroke);
    this.onChange({ inked: [...inked], erased, bulk: inked.size > BULK_STROKES });
  };

  private followOrder(event: Y.YEvent<Y.AbstractType<unknown>>, inked: Set<Stroke>, erased: Stroke[]): void {
    let at = 0;
    for (const part of event.delta) {
      if (part.retain !== undefined) at += part.retain;
      else if (part.delete !== undefined) {
        for (const stroke of this.slots.splice(at, part.delete)) {
          if (stroke === null) continue;
          this.byKey.delete(stroke.key);
          erased.push(stroke);
        }
      } else if (Array.isArray(part.insert)) {
        const slots = part.insert.map((value: unknown) => this.adopt(value));
        for (const stroke of slots) if (stroke !== null) inked.add(stroke);
        this.slots = [...this.slots.slice(0, at), ...slots, ...this.slots.slice(at)];
        at += slots.length;
      }
    }
  }

  /** A stroke whose header came only after its place in the order. */
  private lateStroke(shared: Y.Array<unknown>): Stroke | undefined {
    const at = this.shared.toArray().indexOf(shared);
    if (at < 0 || this.slots[at] !== null) return undefined;
    const stroke = this.adopt(shared);
    this.slots[at] = stroke;
    return stroke ?? undefined;
  }

  private adopt(value: unknown): Stroke | null {
    const stroke = Stroke.read(value);
    if (stroke !== null) this.byKey.set(stroke.key, stroke);
    return stroke;
  }
}

function boxOf({ x, y }: Spot): Rect {
  return { left: x, top: y, right: x, bottom: y };
}
