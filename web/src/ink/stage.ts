/**
 * Shows a picture: two stacked canvases, a camera, and one animation frame at a time.
 *
 * Strokes at rest are painted once on the lower canvas. Strokes that someone is drawing right now
 * are painted each frame on the upper one and come to rest a moment after they stop growing. When a
 * stroke at rest changes place or goes away only the rectangle it covered is painted again, in order.
 * Moving the camera repaints everything while that is quick; in a very full pit the finished pixels
 * are moved as they are and made sharp once the camera rests.
 */

import type * as Y from "yjs";
import {
  centred,
  contains,
  fitting,
  overlap,
  panned,
  shownBy,
  toCanvas,
  toScreen,
  zoomed,
  type Camera,
  type Insets,
  type Rect,
  type Size,
  type Spot,
} from "./geometry";
import { inkColours, type Ink } from "./inks";
import { outlineOf } from "./outline";
import { Picture, type PictureChange, type Stroke } from "./picture";
import type { Point } from "./points";
import type { StrokeHeader } from "./strokes";

/** A stroke under the local pen, ahead of what the document holds of it. */
export interface WetInk {
  readonly key: unknown;
  readonly header: StrokeHeader;
  readonly ahead: readonly Point[];
}

export interface StageView {
  readonly zoom: number;
  readonly strokes: number;
  readonly following: boolean;
}

export interface StageOptions {
  readonly lower: HTMLCanvasElement;
  readonly upper: HTMLCanvasElement;
  /** Carries the paper; its size is the screen. */
  readonly host: HTMLElement;
  readonly doc: Y.Doc;
  /** Whether the camera keeps all of the drawing in sight by itself. */
  readonly following: boolean;
  readonly insets: () => Insets;
  /** Whether all strokes count as being at rest: what a moment looks like, rather than what goes on. */
  readonly still?: boolean;
  readonly onView: (view: StageView) => void;
  readonly onCamera: (camera: Camera) => void;
}

/** A stroke that has not grown for this long is at rest. */
const REST_AFTER_MS = 400;
/** If painting everything takes longer, camera moves reuse the pixels until the camera rests. */
const QUICK_PAINT_MS = 9;
const SHARPEN_AFTER_MS = 110;
const GLIDE_MS = 320;
/** Beyond this many damaged rectangles, painting everything is cheaper. */
const DAMAGE_MAX = 24;
const DOT_GAP = 28;

interface Glide {
  readonly from: Camera;
  readonly to: Camera;
  readonly beganMs: number;
}

export class Stage {
  picture: Picture;
  private camera: Camera = { x: 0, y: 0, zoom: 1 };
  private size: Size = { width: 0, height: 0 };
  private colours: ReadonlyMap<Ink, string>;
  private readonly below: CanvasRenderingContext2D;
  private readonly above: CanvasRenderingContext2D;

  /** The camera that the lower canvas was painted for. */
  private painted: Camera | null = null;
  private paintTookMs = 0;
  private readonly growing = new Map<Stroke, number>();
  private damage: Rect[] = [];
  private wet: WetInk | null = null;
  private eraser: { readonly at: Spot; readonly radius: number } | null = null;
  private glide: Glide | null = null;
  private following: boolean;
  /** Whether the camera has a reason to be where it is. */
  private cameraSet = false;

  private frameAsked = 0;
  private wakeTimer: ReturnType<typeof setTimeout> | undefined;
  private cameraMovedMs = 0;
  private mendedMs: number | null = null;
  private lastView: StageView | null = null;
  private readonly resizes: ResizeObserver;
  private readonly dark = matchMedia("(prefers-color-scheme: dark)");
  private readonly calm = matchMedia("(prefers-reduced-motion: reduce)");

  constructor(private readonly options: StageOptions) {
    this.below = context(options.lower);
    this.above = context(options.upper);
    this.following = options.following;
    this.colours = inkColours(options.host);
    this.picture = new Picture(options.doc, (change) => this.take(change));
    this.resizes = new ResizeObserver(() => this.resize());
    this.resizes.observe(options.host);
    this.dark.addEventListener("change", this.onTheme);
    this.resize();
  }

  /** Shows another document, with the camera where it is. */
  show(doc: Y.Doc): void {
    const before = this.picture;
    before.close();
    this.picture = new Picture(doc, (change) => this.take(change), before);
    this.growing.clear();
    this.damage = [];
    this.painted = null;
    this.arrive();
    this.keepInSight();
    this.ask();
  }

  get look(): Camera {
    return this.camera;
  }

  close(): void {
    cancelAnimationFrame(this.frameAsked);
    clearTimeout(this.wakeTimer);
    this.resizes.disconnect();
    this.dark.removeEventListener("change", this.onTheme);
    this.picture.close();
  }

  // — the camera ———————————————————————————————————————————————————————————

  at(screen: Spot): Spot {
    return toCanvas(this.camera, screen);
  }

  get zoom(): number {
    return this.camera.zoom;
  }

  pan(dx: number, dy: number): void {
    this.takeOver(panned(this.camera, dx, dy));
  }

  zoomBy(factor: number, at: Spot = this.middle): void {
    this.takeOver(zoomed(this.camera, factor, at));
  }

  resetZoom(): void {
    this.following = false;
    this.glideTo(zoomed(this.camera, 1 / this.camera.zoom, this.middle));
  }

  /** Brings the whole drawing into sight. */
  fit(): void {
    const { bounds } = this.picture;
    this.glideTo(bounds === null ? centred(this.size) : fitting(bounds, this.size, this.options.insets()));
  }

  setFollowing(following: boolean): void {
    this.following = following;
    if (following) this.fit();
    this.ask();
  }

  private get middle(): Spot {
    return { x: this.size.width / 2, y: this.size.height / 2 };
  }

  /** A hand moves the camera, which ends following. */
  private takeOver(camera: Camera): void {
    this.following = false;
    this.glide = null;
    this.moveTo(camera);
  }

  private moveTo(camera: Camera): void {
    this.camera = camera;
    this.cameraSet = true;
    this.cameraMovedMs = performance.now();
    this.ask();
  }

  private glideTo(to: Camera): void {
    if (this.calm.matches || !this.cameraSet) {
      this.glide = null;
      this.moveTo(to);
    } else {
      this.glide = { from: this.camera, to, beganMs: performance.now() };
      this.ask();
    }
  }

  // — what is drawn ————————————————————————————————————————————————————————

  setWet(wet: WetInk | null): void {
    this.wet = wet;
    this.cameraSet ||= wet !== null;
    this.ask();
  }

  setEraser(eraser: { at: Spot; radius: number } | null): void {
    if (this.eraser === null && eraser === null) return;
    this.eraser = eraser;
    this.ask();
  }

  private take({ inked, erased, bulk }: PictureChange): void {
    const nowMs = performance.now();
    for (const stroke of erased) {
      if (!this.growing.delete(stroke) && stroke.bounds !== null) this.damage.push(stroke.bounds);
    }
    if (bulk) this.painted = null;
    else if (this.options.still === true) this.mend(inked, nowMs);
    else for (const stroke of inked) this.wake(stroke, nowMs);
    if (inked.length > 0) this.keepInSight();
    this.ask();
  }

  /** Only what has grown is painted at once; when it is calm everything is, so that no way to a moment shows. */
  private mend(inked: readonly Stroke[], nowMs: number): void {
    for (const { bounds } of inked) if (bounds !== null) this.damage.push(bounds);
    this.mendedMs = nowMs;
  }

  /** A stroke at rest that grows again leaves the lower canvas for the upper one. */
  private wake(stroke: Stroke, nowMs: number): void {
    if (!this.growing.has(stroke) && stroke.bounds !== null) this.damage.push(stroke.bounds);
    this.growing.set(stroke, nowMs);
  }

  /** The document has arrived: a camera that nobody has moved yet shows all of it. */
  arrive(): void {
    if (this.cameraSet || this.picture.count === 0) return;
    this.fit();
  }

  private keepInSight(): void {
    const { bounds } = this.picture;
    if (bounds === null || !this.following) return;
    const target = fitting(bounds, this.size, this.options.insets());
    const aim = this.glide?.to ?? this.camera;
    if (!contains(shownBy(aim, this.size), bounds)) this.glideTo(target);
  }

  // — painting —————————————————————————————————————————————————————————————

  private onTheme = (): void => {
    // Custom properties follow the theme a moment after the query does.
    requestAnimationFrame(() => {
      this.colours = inkColours(this.options.host);
      this.painted = null;
      this.ask();
    });
  };

  private resize(): void {
    const { host, lower, upper } = this.options;
    const size = { width: host.clientWidth, height: host.clientHeight };
    if (size.width === 0 || size.height === 0) return;
    const before = this.size;
    this.size = size;
    for (const canvas of [lower, upper]) {
      canvas.width = Math.round(size.width * devicePixelRatio);
      canvas.height = Math.round(size.height * devicePixelRatio);
    }
    this.painted = null;
    if (before.width === 0) {
      this.camera = centred(size);
      this.arrive();
    } else {
      // What was in the middle stays in the middle.
      this.camera = panned(this.camera, (size.width - before.width) / 2, (size.height - before.height) / 2);
      if (this.following) this.keepInSight();
    }
    this.paint();
  }

  private ask(): void {
    if (this.frameAsked !== 0) return;
    this.frameAsked = requestAnimationFrame(() => this.paint());
  }

  private askIn(ms: number): void {
    clearTimeout(this.wakeTimer);
    this.wakeTimer = setTimeout(() => this.ask(), ms);
  }

  private paint(): void {
    cancelAnimationFrame(this.frameAsked);
    this.frameAsked = 0;
    const nowMs = performance.now();
    this.advanceGlide(nowMs);
    this.layToRest(nowMs);
    if (this.mendedMs !== null && nowMs - this.mendedMs >= SHARPEN_AFTER_MS) {
      this.mendedMs = null;
      this.painted = null;
    }
    this.paintLower(nowMs);
    this.paintUpper();
    this.paintPaper();
    this.options.onCamera(this.camera);
    this.report();
    if (this.growing.size > 0) this.askIn(REST_AFTER_MS);
    if (this.mendedMs !== null) this.askIn(SHARPEN_AFTER_MS + 10);
    if (this.glide !== null) this.ask();
  }

  private advanceGlide(nowMs: number): void {
    if (this.glide === null) return;
    const { from, to, beganMs } = this.glide;
    const t = Math.min(1, (nowMs - beganMs) / GLIDE_MS);
    const eased = 1 - (1 - t) ** 3;
    const zoom = from.zoom * (to.zoom / from.zoom) ** eased;
    // Zoom and place belong together: interpolate what is in the middle of the screen.
    const a = toCanvas(from, this.middle);
    const b = toCanvas(to, this.middle);
    const x = a.x + (b.x - a.x) * eased - this.middle.x / zoom;
    const y = a.y + (b.y - a.y) * eased - this.middle.y / zoom;
    if (t === 1) this.glide = null;
    this.moveTo(t === 1 ? to : { x, y, zoom });
  }

  private layToRest(nowMs: number): void {
    for (const [stroke, grewMs] of this.growing) {
      if (nowMs - grewMs < REST_AFTER_MS || stroke.key === this.wet?.key) continue;
      this.growing.delete(stroke);
      if (stroke.bounds !== null) this.damage.push(stroke.bounds);
    }
  }

  private paintLower(nowMs: number): void {
    const { lower } = this.options;
    const moved = this.painted !== null && this.painted !== this.camera;
    const resting = nowMs - this.cameraMovedMs >= SHARPEN_AFTER_MS;
    if (moved && this.painted !== null && this.paintTookMs > QUICK_PAINT_MS && !resting) {
      const scale = this.camera.zoom / this.painted.zoom;
      const shift = toScreen(this.camera, this.painted);
      lower.style.transform = `matrix(${scale},0,0,${scale},${shift.x},${shift.y})`;
      this.askIn(SHARPEN_AFTER_MS + 10);
      return;
    }
    if (this.painted === null || moved || this.damage.length > DAMAGE_MAX) {
      lower.style.transform = "";
      this.painted = this.camera;
      this.paintRect(shownBy(this.camera, this.size));
      this.paintTookMs = performance.now() - nowMs;
    } else {
      for (const rect of this.damage) this.paintRect(rect);
    }
    this.damage = [];
  }

  /** Paints what is at rest inside a rectangle, on whole pixels so that no seam shows. */
  private paintRect(rect: Rect): void {
    const { below: ctx, camera } = this;
    const ratio = devicePixelRatio;
    const a = toScreen(camera, { x: rect.left, y: rect.top });
    const b = toScreen(camera, { x: rect.right, y: rect.bottom });
    const left = Math.max(0, Math.floor(a.x * ratio) - 1);
    const top = Math.max(0, Math.floor(a.y * ratio) - 1);
    const right = Math.min(ctx.canvas.width, Math.ceil(b.x * ratio) + 1);
    const bottom = Math.min(ctx.canvas.height, Math.ceil(b.y * ratio) + 1);
    if (right <= left || bottom <= top) return;
    ctx.save();
    ctx.setTransform(1, 0, 0, 1, 0, 0);
    ctx.beginPath();
    ctx.rect(left, top, right - left, bottom - top);
    ctx.clip();
    ctx.clearRect(left, top, right - left, bottom - top);
    this.lookThrough(ctx);
    const wide = { left: rect.left - 1, top: rect.top - 1, right: rect.right + 1, bottom: rect.bottom + 1 };
    for (const stroke of this.picture.strokes()) {
      if (stroke.bounds === null || !overlap(stroke.bounds, wide) || this.growing.has(stroke)) continue;
      ctx.fillStyle = this.colourOf(stroke.header);
      ctx.fill(stroke.path);
    }
    ctx.restore();
  }

  private paintUpper(): void {
    const { above: ctx, wet } = this;
    ctx.setTransform(1, 0, 0, 1, 0, 0);
    ctx.clearRect(0, 0, ctx.canvas.width, ctx.canvas.height);
    this.lookThrough(ctx);
    for (const stroke of this.growing.keys()) {
      if (stroke.key === wet?.key) continue;
      ctx.fillStyle = this.colourOf(stroke.header);
      ctx.fill(stroke.path);
    }
    if (wet !== null) {
      const dry = wet.key === null ? [] : (this.picture.of(wet.key)?.points ?? []);
      ctx.fillStyle = this.colourOf(wet.header);
      ctx.fill(wet.ahead.length === 0 && dry.length === 0 ? new Path2D() : outlineOf(wet.header, [...dry, ...wet.ahead]));
    }
    if (this.eraser !== null) {
      const { at, radius } = this.eraser;
      ctx.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
      ctx.strokeStyle = this.colours.get("ink") ?? "#000";
      ctx.globalAlpha = 0.55;
      ctx.lineWidth = 1.25;
      ctx.beginPath();
      ctx.arc(at.x, at.y, radius, 0, 2 * Math.PI);
      ctx.stroke();
      ctx.globalAlpha = 1;
    }
  }

  private lookThrough(ctx: CanvasRenderingContext2D): void {
    const scale = this.camera.zoom * devicePixelRatio;
    ctx.setTransform(scale, 0, 0, scale, -this.camera.x * scale, -this.camera.y * scale);
  }

  private colourOf(header: StrokeHeader): string {
    return this.colours.get(header.ink) ?? "#000";
  }

  /** The paper's dots keep a comfortable distance at any zoom. */
  private paintPaper(): void {
    const { style } = this.options.host;
    const gap = DOT_GAP * this.camera.zoom * 2 ** Math.round(-Math.log2(this.camera.zoom));
    style.backgroundSize = `${gap}px ${gap}px`;
    style.backgroundPosition = `${-this.camera.x * this.camera.zoom}px ${-this.camera.y * this.camera.zoom}px`;
  }

  private report(): void {
    const view: StageView = { zoom: this.camera.zoom, strokes: this.picture.count, following: this.following };
    const { lastView: last } = this;
    if (last?.zoom === view.zoom && last.strokes === view.strokes && last.following === view.following) return;
    this.lastView = view;
    this.options.onView(view);
  }
}

/** A picture on a canvas of its own, as `Stage` would show it at rest. */
export function paintStill(canvas: HTMLCanvasElement, picture: Picture, camera: Camera, ratio: number, colours: ReadonlyMap<Ink, string>): void {
  const ctx = context(canvas);
  const scale = camera.zoom * ratio;
  ctx.setTransform(scale, 0, 0, scale, -camera.x * scale, -camera.y * scale);
  for (const stroke of picture.strokes()) {
    if (stroke.bounds === null) continue;
    ctx.fillStyle = colours.get(stroke.header.ink) ?? "#000";
    ctx.fill(stroke.path);
  }
}

function context(canvas: HTMLCanvasElement): CanvasRenderingContext2D {
  const ctx = canvas.getContext("2d");
  if (ctx === null) throw new Error("this browser has no 2D canvas");
  return ctx;
}
