import { beforeEach, describe, expect, it } from "vitest";
import * as Y from "yjs";
import { Picture, type PictureChange } from "./picture";
import { PointWriter, type Point } from "./points";
import { appendPoints, beginStroke, eraseStrokes, strokesOf, type StrokeHeader } from "./strokes";

const header: StrokeHeader = { id: "s1", by: "me", ink: "blue", width: 6, pressure: false };
const line: Point[] = [[0, 0, 0.5], [10, 0, 0.5]];

let doc: Y.Doc;
let changes: PictureChange[];
let picture: Picture;

beforeEach(() => {
  doc = new Y.Doc();
  changes = [];
  picture = new Picture(doc, (change) => changes.push(change));
});

const ids = (): string[] => [...picture.strokes()].map((stroke) => stroke.header.id);
const draw = (id: string, points = line): Y.Array<unknown> =>
  beginStroke(doc, { ...header, id }, new PointWriter(false).write(points), "pen") as Y.Array<unknown>;

describe("a picture", () => {
  it("follows a stroke that grows, decoding only what is new", () => {
    const writer = new PointWriter(false);
    const stroke = beginStroke(doc, header, writer.write(line), "pen");
    appendPoints(doc, stroke, writer.write([[20, 5, 0.5]]), "pen");
    expect(changes).toHaveLength(2);
    expect(changes[1]?.inked[0]).toBe(changes[0]?.inked[0]);
    expect([...picture.strokes()][0]?.points.map(([x, y]) => [x, y])).toEqual([[0, 0], [10, 0], [20, 5]]);
    expect(picture.bounds).toEqual({ left: -6, top: -6, right: 26, bottom: 11 });
  });

  it("keeps the document's order", () => {
    draw("a");
    draw("c");
    const b = new Y.Array<unknown>();
    b.push([{ ...header, id: "b" }, "AA"]);
    strokesOf(doc).insert(1, [b as never]);
    expect(ids()).toEqual(["a", "b", "c"]);
    expect(ids()).toEqual([...new Picture(doc, () => {}).strokes()].map((s) => s.header.id));
  });

  it("erases, and undoes", () => {
    const undo = new Y.UndoManager(strokesOf(doc), { trackedOrigins: new Set(["pen"]) });
    draw("a");
    undo.stopCapturing();
    eraseStrokes(doc, picture.under({ x: 5, y: -5 }, { x: 5, y: 5 }, 1), "pen");
    expect(picture.count).toBe(0);
    undo.undo();
    expect(ids()).toEqual(["a"]);
    undo.undo();
    expect(ids()).toEqual([]);
    undo.redo();
    expect(ids()).toEqual(["a"]);
  });

  it("does not write into a stroke someone has erased", () => {
    const stroke = draw("a");
    eraseStrokes(doc, new Set([stroke]), "other");
    expect(appendPoints(doc, stroke as never, "AA", "pen")).toBe(false);
  });

  it("costs two items a stroke, and few bytes a point", () => {
    const writer = new PointWriter(false);
    const stroke = beginStroke(doc, header, writer.write([[300, 300, 0.5]]), "pen");
    for (let i = 0; i < 500; i += 1) {
      const angle = i / 20;
      appendPoints(doc, stroke, writer.write([[300 + angle * 5 * Math.cos(angle), 300 + angle * 5 * Math.sin(angle), 0.5]]), "pen");
    }
    const items = [...doc.store.clients.values()].reduce((sum, structs) => sum + structs.length, 0);
    expect(items).toBe(2);
    expect(Y.encodeStateAsUpdate(doc).byteLength / 500).toBeLessThan(7);
  });
});

describe("what others write", () => {
  it("is skipped when it is no stroke, and kept up to where it breaks", () => {
    const strokes = strokesOf(doc) as Y.Array<unknown>;
    const bad = (...parts: unknown[]): Y.Array<unknown> => {
      const array = new Y.Array<unknown>();
      array.push(parts);
      return array;
    };
    strokes.push([
      7,
      "text",
      null,
      { id: "plain" },
      new Y.Map(),
      new Y.Text("x"),
      bad(),
      bad("no header", "AA"),
      bad({ ...header, width: "wide" }),
      bad({ ...header, id: "cut", ink: "octarine", width: 1e9 }, "AA", "!!", "AA"),
      bad({ ...header, id: "empty" }),
    ]);
    draw("good");
    expect(ids()).toEqual(["cut", "empty", "good"]);
    const [cut] = picture.strokes();
    expect(cut?.points).toHaveLength(1);
    expect(cut?.header).toMatchObject({ ink: "ink", width: 64 });
    strokes.delete(0, 3);
    expect(ids()).toEqual(["cut", "empty", "good"]);
  });

  it("may fill a place in the order later", () => {
    const late = new Y.Array<unknown>();
    (strokesOf(doc) as Y.Array<unknown>).push([late]);
    late.push([{ ...header, id: "late" }, "AA"]);
    expect(ids()).toEqual(["late"]);
  });
});
