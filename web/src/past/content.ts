/**
 * What a document holds, when nobody has said so: Yjs itself keeps no types of its roots. A root is
 * what its items are; one without any readable item says nothing yet and is left out.
 */

import * as Y from "yjs";
import { readHeader, STROKES } from "../ink/strokes";

export type Root =
  | { readonly name: string; readonly is: "text"; readonly text: string }
  | { readonly name: string; readonly is: "xml"; readonly text: string }
  | { readonly name: string; readonly is: "map" | "array"; readonly value: unknown };

export type ContentKind = "strokes" | "text" | "tree";

export function rootsOf(doc: Y.Doc): readonly Root[] {
  const roots: Root[] = [];
  for (const [name, type] of [...doc.share].sort(([a], [b]) => (a < b ? -1 : 1))) {
    switch (typeOf(type)) {
      case "text": {
        const text = doc.getText(name);
        roots.push({ name, is: "text", text: plain(text) });
        break;
      }
      case "xml":
        // eslint-disable-next-line @typescript-eslint/no-base-to-string -- it writes itself as XML
        roots.push({ name, is: "xml", text: doc.getXmlFragment(name).toString() });
        break;
      case "map":
        roots.push({ name, is: "map", value: doc.getMap(name).toJSON() });
        break;
      case "array":
        roots.push({ name, is: "array", value: doc.getArray(name).toJSON() });
        break;
      case null:
        break;
    }
  }
  return roots;
}

/** How a document is best shown; null while it is empty. */
export function contentKind(doc: Y.Doc): ContentKind | null {
  const strokes = doc.share.get(STROKES);
  if (strokes !== undefined && typeOf(strokes) === "array" && looksDrawn(doc)) return "strokes";
  const kinds = new Set([...doc.share.values()].map(typeOf));
  kinds.delete(null);
  if (kinds.size === 0) return null;
  return kinds.has("map") || kinds.has("array") ? "tree" : "text";
}

function looksDrawn(doc: Y.Doc): boolean {
  const first: unknown = doc.getArray(STROKES).get(0);
  return first instanceof Y.Array && first.length > 0 && readHeader(first.get(0)) !== null;
}

// eslint-disable-next-line @typescript-eslint/no-explicit-any -- as Yjs types its roots
function typeOf(type: Y.AbstractType<Y.YEvent<any>>): "text" | "xml" | "map" | "array" | null {
  if (type instanceof Y.Text) return type.length > 0 ? "text" : null;
  if (type._map.size > 0) return "map";
  for (let item = type._start; item !== null; item = item.right) {
    if (item.deleted) continue;
    const { content } = item;
    if (content instanceof Y.ContentString || content instanceof Y.ContentFormat || content instanceof Y.ContentEmbed) return "text";
    if (content instanceof Y.ContentType) return content.type instanceof Y.XmlElement || content.type instanceof Y.XmlText ? "xml" : "array";
    return "array";
  }
  return null;
}

/** The text alone; what is embedded in it shows as one character. */
function plain(text: Y.Text): string {
  const delta = text.toDelta() as { insert: unknown }[];
  return delta.map(({ insert }) => (typeof insert === "string" ? insert : "\u{fffc}")).join("");
}

/** Where a text differs from what it was: the part between what both begin and end with. */
export function changedPart(before: string, after: string): { readonly from: number; readonly to: number } {
  const shorter = Math.min(before.length, after.length);
  let from = 0;
  while (from < shorter && before.charCodeAt(from) === after.charCodeAt(from)) from += 1;
  let same = 0;
  while (same < shorter - from && before.charCodeAt(before.length - 1 - same) === after.charCodeAt(after.length - 1 - same)) same += 1;
  return { from, to: after.length - same };
}
