/** Rectangles, distances and the camera: plain arithmetic in canvas units and screen pixels. */

import type { Point } from "./points";

export interface Rect {
  readonly left: number;
  readonly top: number;
  readonly right: number;
  readonly bottom: number;
}

export interface Spot {
  readonly x: number;
  readonly y: number;
}

export interface Size {
  readonly width: number;
  readonly height: number;
}

/** What part of the canvas the screen shows: `screen = (canvas − origin) · zoom`. */
export interface Camera {
  readonly x: number;
  readonly y: number;
  readonly zoom: number;
}

export const ZOOM_MIN = 0.05;
export const ZOOM_MAX = 8;

export function toCanvas(camera: Camera, screen: Spot): Spot {
  return { x: screen.x / camera.zoom + camera.x, y: screen.y / camera.zoom + camera.y };
}

export function toScreen(camera: Camera, spot: Spot): Spot {
  return { x: (spot.x - camera.x) * camera.zoom, y: (spot.y - camera.y) * camera.zoom };
}

export function panned(camera: Camera, dx: number, dy: number): Camera {
  return { ...camera, x: camera.x - dx / camera.zoom, y: camera.y - dy / camera.zoom };
}

/** Zooms by `factor`, holding what is under `at` (screen) in its place. */
export function zoomed(camera: Camera, factor: number, at: Spot): Camera {
  const zoom = Math.min(ZOOM_MAX, Math.max(ZOOM_MIN, camera.zoom * factor));
  const held = toCanvas(camera, at);
  return { x: held.x - at.x / zoom, y: held.y - at.y / zoom, zoom };
}

/** The canvas origin in the middle of the screen, at its natural size. */
export function centred(screen: Size): Camera {
  return { x: -screen.width / 2, y: -screen.height / 2, zoom: 1 };
}

export interface Insets {
  readonly top: number;
  readonly bottom: number;
  readonly side: number;
}

/** Shows all of `content` inside the insets, never larger than its natural size. */
export function fitting(content: Rect, screen: Size, insets: Insets): Camera {
  const width = Math.max(1, screen.width - 2 * insets.side);
  const height = Math.max(1, screen.height - insets.top - insets.bottom);
  const fits = Math.min(
    width / Math.max(1, content.right - content.left),
    height / Math.max(1, content.bottom - content.top),
  );
  const zoom = Math.min(1, Math.max(ZOOM_MIN, fits));
  return {
    x: (content.left + content.right) / 2 - (insets.side + width / 2) / zoom,
    y: (content.top + content.bottom) / 2 - (insets.top + height / 2) / zoom,
    zoom,
  };
}

export function shownBy(camera: Camera, screen: Size): Rect {
  return {
    left: camera.x,
    top: camera.y,
    right: camera.x + screen.width / camera.zoom,
    bottom: camera.y + screen.height / camera.zoom,
  };
}

export function overlap(a: Rect, b: Rect): boolean {
  return a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
}

export function contains(outer: Rect, inner: Rect): boolean {
  return outer.left <= inner.left && outer.top <= inner.top && outer.right >= inner.right && outer.bottom >= inner.bottom;
}

export function union(a: Rect | null, b: Rect): Rect {
  if (a === null) return b;
  return {
    left: Math.min(a.left, b.left),
    top: Math.min(a.top, b.top),
    right: Math.max(a.right, b.right),
    bottom: Math.max(a.bottom, b.bottom),
  };
}

export function grown(rect: Rect, by: number): Rect {
  return { left: rect.left - by, top: rect.top - by, right: rect.right + by, bottom: rect.bottom + by };
}

export function around(points: readonly Point[]): Rect | null {
  let rect: Rect | null = null;
  for (const [x, y] of points) rect = union(rect, { left: x, top: y, right: x, bottom: y });
  return rect;
}

/** Whether the line a–b passes the polyline within `reach`. */
export function touches(points: readonly Point[], a: Spot, b: Spot, reach: number): boolean {
  const first = points[0];
  if (first === undefined) return false;
  let from: Spot = { x: first[0], y: first[1] };
  if (points.length === 1) return distanceToSegment(from, a, b) <= reach;
  for (let i = 1; i < points.length; i += 1) {
    const [x, y] = points[i] as Point;
    const to = { x, y };
    if (segmentDistance(from, to, a, b) <= reach) return true;
    from = to;
  }
  return false;
}

function segmentDistance(a: Spot, b: Spot, c: Spot, d: Spot): number {
  if (cross(a, b, c) * cross(a, b, d) < 0 && cross(c, d, a) * cross(c, d, b) < 0) return 0;
  return Math.min(
    distanceToSegment(a, c, d),
    distanceToSegment(b, c, d),
    distanceToSegment(c, a, b),
    distanceToSegment(d, a, b),
  );
}

function distanceToSegment(p: Spot, a: Spot, b: Spot): number {
  const dx = b.x - a.x;
  const dy = b.y - a.y;
  const length = dx * dx + dy * dy;
  const t = length === 0 ? 0 : Math.min(1, Math.max(0, ((p.x - a.x) * dx + (p.y - a.y) * dy) / length));
  return Math.hypot(p.x - a.x - t * dx, p.y - a.y - t * dy);
}

function cross(a: Spot, b: Spot, p: Spot): number {
  return (b.x - a.x) * (p.y - a.y) - (b.y - a.y) * (p.x - a.x);
}
