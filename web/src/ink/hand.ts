/**
 * Pointer and wheel events as intentions: draw, erase, pan, zoom.
 *
 * One finger, pen or mouse draws; two fingers pan and pinch, and take back what the first had begun;
 * once a real pen has been seen, fingers only move the paper, so that a resting palm leaves no ink.
 * The middle button, or Space held, pans. A hand that may not draw pans with everything.
 */

import type { Spot } from "./geometry";
import { PRESSURE_UNKNOWN, type Point } from "./points";
import type { Stage } from "./stage";

export interface HandUser {
  readonly mayDraw: boolean;
  erasing(): boolean;
  drawBegin(point: Point, pressure: boolean): void;
  drawMove(points: readonly Point[]): void;
  drawEnd(): void;
  drawCancel(): void;
  eraseBegin(): void;
  eraseMove(from: Spot, to: Spot): void;
  eraseEnd(): void;
  /** The pointer's place on the canvas, null when it left. */
  pointAt(spot: Spot | null, drawing: boolean): void;
}

type Action = "none" | "draw" | "erase" | "pan" | "pinch";

const MIDDLE_BUTTON = 1;
const PEN_ERASER_BUTTON = 5;
export const ERASER_RADIUS_PX = 10;
const WHEEL_LINE_PX = 16;
/** How much a wheel step or trackpad pinch zooms. */
const WHEEL_ZOOM = 0.0022;
const PINCH_ZOOM = 0.01;

export class Hand {
  private readonly pointers = new Map<number, Spot>();
  private action: Action = "none";
  private actor: number | null = null;
  private penSeen = false;
  private spaceHeld = false;
  private erasedFrom: Spot = { x: 0, y: 0 };
  private readonly listening = new AbortController();

  constructor(
    private readonly host: HTMLElement,
    private readonly stage: Stage,
    private readonly user: HandUser,
  ) {
    const { signal } = this.listening;
    host.addEventListener("pointerdown", this.down, { signal });
    host.addEventListener("pointermove", this.move, { signal });
    host.addEventListener("pointerup", this.up, { signal });
    host.addEventListener("pointercancel", this.cancelled, { signal });
    host.addEventListener("pointerleave", this.left, { signal });
    host.addEventListener("wheel", this.wheel, { signal, passive: false });
    // Only the Tab key focuses the paper: a focus ring around a drawing hand would be noise.
    host.addEventListener("mousedown", (event) => event.preventDefault(), { signal });
    host.addEventListener("contextmenu", (event) => event.preventDefault(), { signal });
    window.addEventListener("blur", () => this.holdSpace(false), { signal });
    this.showCursor();
  }

  close(): void {
    this.abandon();
    this.listening.abort();
  }

  holdSpace(held: boolean): void {
    this.spaceHeld = held;
    this.showCursor();
  }

  /** Ends whatever is under way, taking back a stroke in progress. */
  abandon(): void {
    if (this.action === "draw") this.user.drawCancel();
    if (this.action === "erase") this.user.eraseEnd();
    this.become("none");
  }

  toolChanged(): void {
    this.stage.setEraser(null);
    this.showCursor();
  }

  private down = (event: PointerEvent): void => {
    // Whatever control had the focus gives the keys back to the page.
    if (document.activeElement instanceof HTMLElement) document.activeElement.blur();
    this.host.setPointerCapture(event.pointerId);
    const at = this.spot(event);
    this.pointers.set(event.pointerId, at);
    if (event.pointerType === "pen") this.penSeen = true;

    if (event.pointerType === "touch" && this.pointers.size === 2) {
      this.abandon();
      return this.become("pinch");
    }
    if (this.action !== "none") return;
    this.actor = event.pointerId;
    const palm = event.pointerType === "touch" && this.penSeen;
    if (!this.user.mayDraw || this.spaceHeld || palm || event.button === MIDDLE_BUTTON) return this.become("pan");
    const erases = this.user.erasing() || event.button === PEN_ERASER_BUTTON;
    if (event.button !== 0 && !erases) return;
    if (erases) {
      this.become("erase");
      this.user.eraseBegin();
      this.erasedFrom = at;
      this.erase(at);
    } else {
      this.become("draw");
      this.user.drawBegin(this.point(event), hasPressure(event));
    }
    this.user.pointAt(this.stage.at(at), true);
  };

  private move = (event: PointerEvent): void => {
    const at = this.spot(event);
    const before = this.pointers.get(event.pointerId);
    if (before === undefined) return this.hover(event, at);
    const moved = new Map(this.pointers).set(event.pointerId, at);
    if (this.action === "pinch") this.pinch(moved);
    this.pointers.set(event.pointerId, at);
    if (event.pointerId !== this.actor) return;
    if (this.action === "pan") this.stage.pan(at.x - before.x, at.y - before.y);
    if (this.action === "draw") {
      // eslint-disable-next-line @typescript-eslint/no-unnecessary-condition -- Safari learnt it in 18.2
      const samples = event.getCoalescedEvents?.() ?? [];
      this.user.drawMove((samples.length > 0 ? samples : [event]).map((sample) => this.point(sample)));
      this.user.pointAt(this.stage.at(at), true);
    }
    if (this.action === "erase") {
      this.erase(at);
      this.user.pointAt(this.stage.at(at), true);
    }
  };

  private up = (event: PointerEvent): void => {
    this.pointers.delete(event.pointerId);
    if (this.action === "pinch") {
      if (this.pointers.size === 0) this.become("none");
      return;
    }
    if (event.pointerId !== this.actor) return;
    if (this.action === "draw") this.user.drawEnd();
    if (this.action === "erase") this.user.eraseEnd();
    this.become("none");
    const hovers = event.pointerType !== "touch";
    this.user.pointAt(hovers ? this.stage.at(this.spot(event)) : null, false);
    if (!hovers) this.stage.setEraser(null);
  };

  private cancelled = (event: PointerEvent): void => {
    this.pointers.delete(event.pointerId);
    if (event.pointerId !== this.actor) return;
    this.abandon();
    this.user.pointAt(null, false);
  };

  private left = (event: PointerEvent): void => {
    if (this.pointers.has(event.pointerId)) return;
    this.stage.setEraser(null);
    this.user.pointAt(null, false);
  };

  private hover(event: PointerEvent, at: Spot): void {
    if (event.pointerType === "touch") return;
    if (this.user.mayDraw) this.stage.setEraser(this.user.erasing() ? { at, radius: ERASER_RADIUS_PX } : null);
    this.user.pointAt(this.stage.at(at), false);
  }

  private erase(at: Spot): void {
    this.stage.setEraser({ at, radius: ERASER_RADIUS_PX });
    this.user.eraseMove(this.stage.at(this.erasedFrom), this.stage.at(at));
    this.erasedFrom = at;
  }

  private pinch(moved: ReadonlyMap<number, Spot>): void {
    const [a, b] = [...this.pointers.values()];
    const [c, d] = [...moved.values()];
    if (a === undefined || b === undefined || c === undefined || d === undefined) return;
    const before = between(a, b);
    const after = between(c, d);
    this.stage.pan(after.x - before.x, after.y - before.y);
    const spread = Math.hypot(a.x - b.x, a.y - b.y);
    if (spread > 0) this.stage.zoomBy(Math.hypot(c.x - d.x, c.y - d.y) / spread, after);
  }

  private wheel = (event: WheelEvent): void => {
    event.preventDefault();
    const unit = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? WHEEL_LINE_PX : 1;
    if (event.ctrlKey || event.metaKey) {
      // Trackpads send a pinch as small ctrl+wheel steps, mice send large ones.
      const rate = Math.abs(event.deltaY) < 40 ? PINCH_ZOOM : WHEEL_ZOOM;
      this.stage.zoomBy(Math.exp(-event.deltaY * unit * rate), this.spot(event));
    } else if (event.shiftKey && event.deltaX === 0) {
      this.stage.pan(-event.deltaY * unit, 0);
    } else {
      this.stage.pan(-event.deltaX * unit, -event.deltaY * unit);
    }
  };

  private become(action: Action): void {
    this.action = action;
    if (action === "none" || action === "pinch") this.actor = null;
    this.showCursor();
  }

  private showCursor(): void {
    const pans = this.action === "pan" || this.action === "pinch";
    const wouldPan = this.spaceHeld || !this.user.mayDraw;
    this.host.style.cursor = pans ? "grabbing" : wouldPan ? "grab" : this.user.erasing() ? "none" : "crosshair";
  }

  private spot(event: MouseEvent): Spot {
    const box = this.host.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  }

  private point(event: PointerEvent): Point {
    const { x, y } = this.stage.at(this.spot(event));
    return [x, y, hasPressure(event) ? event.pressure : PRESSURE_UNKNOWN];
  }
}

/** Fingers and mice report a constant; only a pen measures. */
function hasPressure(event: PointerEvent): boolean {
  return event.pointerType === "pen" && event.pressure > 0;
}

function between(a: Spot, b: Spot): Spot {
  return { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 };
}
