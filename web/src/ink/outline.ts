/** The outline of a stroke, as perfect-freehand draws it, ready for a 2D context. */

import { getStroke } from "perfect-freehand";
import type { Point } from "./points";
import type { StrokeHeader } from "./strokes";

export function outlineOf(header: StrokeHeader, points: readonly Point[]): Path2D {
  return drawOutline(header, points, new Path2D());
}

/** The same outline in SVG's words. */
export function outlineSvg(header: StrokeHeader, points: readonly Point[]): string {
  return drawOutline(header, points, new SvgPath()).text;
}

/** What an outline is drawn with. */
interface Nib {
  moveTo(x: number, y: number): void;
  quadraticCurveTo(cx: number, cy: number, x: number, y: number): void;
  closePath(): void;
}

class SvgPath implements Nib {
  text = "";

  moveTo(x: number, y: number): void {
    this.text += `M${short(x)} ${short(y)}`;
  }

  quadraticCurveTo(cx: number, cy: number, x: number, y: number): void {
    this.text += `Q${short(cx)} ${short(cy)} ${short(x)} ${short(y)}`;
  }

  closePath(): void {
    this.text += "Z";
  }
}

function short(x: number): string {
  return String(Math.round(x * 100) / 100);
}

function drawOutline<T extends Nib>(header: StrokeHeader, points: readonly Point[], nib: T): T {
  const outline = getStroke(points as Point[], {
    size: header.width,
    thinning: header.pressure ? 0.6 : 0.35,
    smoothing: 0.5,
    streamline: 0.4,
    simulatePressure: !header.pressure,
    // Always drawn as if finished, so that lifting the pen changes nothing on any screen.
    last: true,
  });
  return smoothPath(outline, nib);
}

/** How far ink may reach beyond its centre line, in canvas units. */
export function inkReach(header: StrokeHeader): number {
  return header.width;
}

/** A closed path through the middles of the outline's edges, curved at its corners. */
function smoothPath<T extends Nib>(outline: readonly number[][], path: T): T {
  const [first, second] = outline;
  if (first === undefined || second === undefined) return path;
  const x = (i: number): number => outline[i % outline.length]?.[0] ?? 0;
  const y = (i: number): number => outline[i % outline.length]?.[1] ?? 0;
  path.moveTo((x(0) + x(1)) / 2, (y(0) + y(1)) / 2);
  for (let i = 1; i <= outline.length; i += 1) {
    path.quadraticCurveTo(x(i), y(i), (x(i) + x(i + 1)) / 2, (y(i) + y(i + 1)) / 2);
  }
  path.closePath();
  return path;
}
