import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { EventParser } from "./event-stream";

const STREAM = ": hello\n\nevent: sample\nid: 1\ndata: {\"at\":1}\n\nevent:event\r\ndata: a\r\ndata:b\r\n\r\nid: 3\n\ndata\n\n";
const EVENTS = [
  { event: "sample", data: "{\"at\":1}" },
  { event: "event", data: "a\nb" },
  { event: "message", data: "" },
];

describe("a stream of events", () => {
  it("is read as the standard has it", () => {
    expect(new EventParser().push(STREAM)).toEqual(EVENTS);
  });

  it("is the same wherever it is cut", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: STREAM.length }), { maxLength: 12 }), (cuts) => {
        const parser = new EventParser();
        const ends = [...cuts, STREAM.length].sort((a, b) => a - b);
        expect(ends.flatMap((end, index) => parser.push(STREAM.slice(ends[index - 1] ?? 0, end)))).toEqual(EVENTS);
      }),
    );
  });

  it("is given up when a line does not end", () => {
    const parser = new EventParser();
    expect(() => {
      for (let i = 0; i < 20; i += 1) parser.push("x".repeat(100_000));
    }).toThrow("does not end");
  });
});
