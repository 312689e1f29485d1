/** A moment as a file. */

import type * as Y from "yjs";
import { around, grown, union, type Rect } from "../../ink/geometry";
import { inkColours } from "../../ink/inks";
import { outlineSvg } from "../../ink/outline";
import { Picture } from "../../ink/picture";
import { paintStill } from "../../ink/stage";

const MARGIN = 24;
const PNG_SCALE = 2;
const PNG_SIDE_MAX = 8_192;

/** The strokes of a document as one SVG, on the paper of the page's theme. */
export function pitAsSvg(doc: Y.Doc): Blob {
  const picture = new Picture(doc, () => undefined);
  const { left, top, right, bottom } = frameOf(picture);
  const { colours, paper } = look();
  const paths = [...picture.strokes()].map((stroke) => `<path fill="${colours.get(stroke.header.ink) ?? "#000"}" d="${outlineSvg(stroke.header, stroke.points)}"/>`);
  picture.close();
  const box = [left, top, right - left, bottom - top].map(Math.round).join(" ");
  const [x, y, width, height] = box.split(" ");
  const text = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="${box}" width="${width}" height="${height}">\n<rect x="${x}" y="${y}" width="${width}" height="${height}" fill="${paper}"/>\n${paths.join("\n")}\n</svg>\n`;
  return new Blob([text], { type: "image/svg+xml" });
}

export async function pitAsPng(doc: Y.Doc): Promise<Blob | null> {
  const picture = new Picture(doc, () => undefined);
  const { left, top, right, bottom } = frameOf(picture);
  const { colours, paper } = look();
  const scale = Math.min(PNG_SCALE, PNG_SIDE_MAX / Math.max(right - left, bottom - top));
  const canvas = document.createElement("canvas");
  canvas.width = Math.ceil((right - left) * scale);
  canvas.height = Math.ceil((bottom - top) * scale);
  const ctx = canvas.getContext("2d");
  if (ctx === null) return null;
  ctx.fillStyle = paper;
  ctx.fillRect(0, 0, canvas.width, canvas.height);
  paintStill(canvas, picture, { x: left, y: top, zoom: 1 }, scale, colours);
  picture.close();
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

export function saveBlob(blob: Blob, name: string): void {
  const url = URL.createObjectURL(blob);
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

function frameOf(picture: Picture): Rect {
  const empty = around([[0, 0, 0], [400, 300, 0]]);
  return grown(picture.bounds ?? union(empty, { left: 0, top: 0, right: 1, bottom: 1 }), MARGIN);
}

function look(): { colours: ReturnType<typeof inkColours>; paper: string } {
  const root = document.documentElement;
  return { colours: inkColours(root), paper: getComputedStyle(root).getPropertyValue("--paper").trim() };
}
