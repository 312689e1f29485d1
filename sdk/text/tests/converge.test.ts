/** Replicas that edit at random and hear of each other in any order. */

import fc from "fast-check";
import { beforeAll, expect, test } from "vitest";
import { init, Text } from "../src/index.js";
import { carryOut } from "./support.js";

beforeAll(() => init());

const WORDS = ["a", "bc", "é", "日本", "😀", "\n", "", "several words"];

/** Where between characters, about `part` of the way. */
function boundary(text: string, part: number): number {
  const at = Math.floor(part * text.length);
  const code = text.charCodeAt(at);
  return code >= 0xdc00 && code <= 0xdfff ? at - 1 : at;
}

const part = fc.double({ min: 0, max: 1, noNaN: true });
const edit = fc.record({ who: fc.nat(2), from: part, to: part, word: fc.constantFrom(...WORDS) });

test("one writer's text is that of a string, at every Seq", () => {
  fc.assert(
    fc.property(fc.array(edit, { maxLength: 40 }), (edits) => {
      using text = new Text(1n);
      using reader = new Text(2n);
      let plain = "";
      let heard = "";
      const past = [""];
      for (const { from, to, word } of edits) {
        const a = boundary(plain, Math.min(from, to));
        const b = boundary(plain, Math.max(from, to));
        const update = text.replace(a, b - a, word);
        plain = plain.slice(0, a) + word + plain.slice(b);
        past.push(plain);
        text.acknowledge(update, past.length - 1);
        heard = carryOut(heard, reader.apply(update, past.length - 1).changes);
        expect(text.toString()).toBe(plain);
        expect(text.length).toBe(plain.length);
        expect(text.lengthIn("utf8")).toBe(Buffer.byteLength(plain));
        expect(text.lengthIn("chars")).toBe(Array.from(plain).length);
        expect([...text.chunks()].join("")).toBe(plain);
        expect(heard).toBe(plain);
        const lines = plain.slice(0, a).split("\n");
        const place = { line: lines.length - 1, column: lines.at(-1)?.length ?? 0 };
        expect(text.placeOf(a)).toEqual(place);
        expect(text.offsetOf(place)).toBe(a);
        expect(text.slice(a, plain.length)).toBe(plain.slice(a));
      }
      past.forEach((was, seq) => {
        expect(reader.at(seq)).toBe(was);
        expect(text.at(seq)).toBe(was);
      });
    }),
    { numRuns: 60 },
  );
});

test("three replicas converge, whatever order they hear in", () => {
  const step = fc.oneof(
    edit.map((value) => ({ do: "edit" as const, ...value })),
    fc.record({ do: fc.constant("hear" as const), who: fc.nat(2), which: part }),
    fc.record({ do: fc.constant("all" as const), who: fc.nat(2) }),
    fc.record({ do: fc.constant("undo" as const), who: fc.nat(2), again: fc.boolean() }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), fc.array(part), (steps, order) => {
      const texts = [3n, 1n, 2n ** 64n - 1n].map((client) => new Text(client));
      const updates: Uint8Array[] = [];
      const of = (who: number): Text => {
        const text = texts[who];
        if (text === undefined) throw new Error("three replicas");
        return text;
      };
      const hear = (who: number, update: Uint8Array): void => {
        const before = of(who).toString();
        const { changes } = of(who).apply(update);
        expect(carryOut(before, changes)).toBe(of(who).toString());
      };
      for (const step of steps) {
        const text = of(step.who);
        switch (step.do) {
          case "edit": {
            const plain = text.toString();
            const a = boundary(plain, Math.min(step.from, step.to));
            const b = boundary(plain, Math.max(step.from, step.to));
            updates.push(text.replace(a, b - a, step.word));
            text.checkpoint();
            break;
          }
          case "undo": {
            const could = step.again ? text.canRedo : text.canUndo;
            const before = text.toString();
            const taken = step.again ? text.redo() : text.undo();
            expect(taken !== undefined).toBe(could);
            expect(carryOut(before, taken?.changes ?? [])).toBe(text.toString());
            if (taken !== undefined) updates.push(taken.update);
            break;
          }
          case "hear": {
            const update = updates[Math.floor(step.which * updates.length)];
            if (update !== undefined) hear(step.who, update);
            break;
          }
          case "all":
            updates.forEach((update) => hear(step.who, update));
        }
      }
      const shuffled = updates
        .map((update, at) => ({ update, key: order[at % Math.max(1, order.length)] ?? 0 }))
        .sort((a, b) => a.key - b.key);
      shuffled.forEach(({ update }) => hear(0, update));
      updates.toReversed().forEach((update) => hear(1, update));
      if (updates.length > 0) hear(2, Text.merge(updates));
      const whole = of(0).toString();
      const places = Array.from({ length: whole.length }, (_, at) => boundary(whole, at / whole.length));
      const anchors = places.flatMap((at) => [of(0).anchor(at, "left"), of(0).anchor(at, "right")]);
      for (const text of texts) {
        expect(text.waiting).toBe(0);
        expect(text.missing()).toEqual([]);
        expect(text.toString()).toBe(whole);
        expect(text.version()).toEqual(of(0).version());
        anchors.forEach((anchor, at) => {
          expect(text.positionOf(anchor)).toBe(places[at >> 1]);
        });
      }
      texts.forEach((text) => text.free());
    }),
    { numRuns: 100 },
  );
});
