import { expect, it } from "vitest";
import * as Y from "yjs";
import { changedPart, contentKind, rootsOf } from "./content";

/** As it comes from the server: no root has a type. */
function sent(write: (doc: Y.Doc) => void): Y.Doc {
  const author = new Y.Doc();
  write(author);
  const doc = new Y.Doc();
  Y.applyUpdate(doc, Y.encodeStateAsUpdate(author));
  return doc;
}

it("tells what a document holds from its items", () => {
  const text = sent((doc) => doc.getText("t").insert(0, "hello"));
  expect([contentKind(text), rootsOf(text)]).toEqual(["text", [{ name: "t", is: "text", text: "hello" }]]);
  const tree = sent((doc) => {
    doc.getMap("m").set("k", [1, { a: true }]);
    doc.getArray("l").push(["x"]);
    doc.getText("t").insert(0, "note");
  });
  expect(contentKind(tree)).toBe("tree");
  expect(rootsOf(tree)).toEqual([
    { name: "l", is: "array", value: ["x"] },
    { name: "m", is: "map", value: { k: [1, { a: true }] } },
    { name: "t", is: "text", text: "note" },
  ]);
  const xml = sent((doc) => doc.getXmlFragment("x").insert(0, [new Y.XmlElement("p")]));
  expect([contentKind(xml), rootsOf(xml)]).toEqual(["text", [{ name: "x", is: "xml", text: "<p></p>" }]]);
  const strokes = sent((doc) => {
    const stroke = new Y.Array<unknown>();
    stroke.push([{ id: "a", by: "b", ink: "ink", width: 3, pressure: false }, "AA"]);
    doc.getArray("strokes").push([stroke]);
  });
  expect(contentKind(strokes)).toBe("strokes");
});

it("says nothing of what is empty", () => {
  const cleared = sent((doc) => {
    doc.getText("t").insert(0, "gone");
    doc.getText("t").delete(0, 4);
  });
  expect([contentKind(new Y.Doc()), contentKind(cleared), rootsOf(cleared)]).toEqual([null, null, []]);
});

it("finds what a step has changed", () => {
  expect(changedPart("hello world", "hello brave world")).toEqual({ from: 6, to: 12 });
  expect(changedPart("aa", "aaa")).toEqual({ from: 2, to: 3 });
  expect(changedPart("abc", "ac")).toEqual({ from: 1, to: 1 });
  expect(changedPart("same", "same")).toEqual({ from: 4, to: 4 });
});
