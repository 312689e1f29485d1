/** The bytes are those of the Rust side, and the generated code is that of the schema. */

import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fromBinary, fromJson, toBinary, toJson, type JsonValue } from "@bufbuild/protobuf";
import { describe, expect, it } from "vitest";
import { ClientMessageSchema, ServerMessageSchema } from "../src/gen/well/v1/well_pb.js";
import { Assembler } from "../src/webtransport.js";
import { decode, frame, unframe } from "../src/wire.js";

interface Vector {
  readonly name: string;
  readonly bytes: string;
  readonly message: JsonValue;
}

const root = join(import.meta.dirname, "..");
const vectors = JSON.parse(readFileSync(join(root, "../../tests/vectors/well.json"), "utf8")) as { client: Vector[]; server: Vector[] };

for (const [side, schema] of [["client", ClientMessageSchema], ["server", ServerMessageSchema]] as const) {
  describe(`what a ${side} says`, () => {
    it.each(vectors[side].map(({ name, bytes, message }) => [name, bytes, message] as const))("%s", (_, hex, json) => {
      const bytes = new Uint8Array(Buffer.from(hex, "hex"));
      expect(Buffer.from(toBinary(schema, fromJson(schema, json))).toString("hex")).toBe(hex);
      expect(toJson(schema, fromBinary(schema, bytes))).toEqual(toJson(schema, fromJson(schema, json)));
    });
  });
}

it("every kind of message has a vector", () => {
  const said = (side: "client" | "server"): string[] => [...new Set(vectors[side].map(({ message }) => Object.keys(message as object)[0] ?? ""))].sort();
  expect(said("client")).toEqual(ClientMessageSchema.fields.map(({ jsonName }) => jsonName).sort());
  expect(said("server")).toEqual(ServerMessageSchema.fields.map(({ jsonName }) => jsonName).sort());
});

it("the generated code is that of the schema", () => {
  const out = mkdtempSync(join(tmpdir(), "well-generated-"));
  execFileSync(join(root, "node_modules/.bin/buf"), ["generate", "-o", out], { cwd: root });
  const path = "src/gen/well/v1/well_pb.ts";
  expect(readFileSync(join(root, path), "utf8"), "`npm run generate` writes it").toBe(readFileSync(join(out, path), "utf8"));
  rmSync(out, { recursive: true });
});

describe("frames", () => {
  const messages = vectors.server.map(({ bytes }) => new Uint8Array(Buffer.from(bytes, "hex"))).concat(new Uint8Array());

  it("hold one message or more, whole", () => {
    expect(unframe(frame(messages))).toEqual(messages);
    expect(unframe(frame([]))).toEqual([]);
    const whole = frame([Uint8Array.of(1, 2, 3)]);
    for (let cut = 1; cut < whole.length; cut += 1) expect(() => unframe(whole.subarray(0, cut))).toThrow("cut off");
  });

  it("of a stream are put together from any pieces", () => {
    const stream = frame(messages);
    for (const size of [1, 2, 3, 5, 7, 64, stream.length]) {
      const assembler = new Assembler();
      const got: Uint8Array[] = [];
      for (let at = 0; at < stream.length; at += size) got.push(...assembler.take(stream.slice(at, at + size)));
      expect(got).toEqual(messages);
    }
    expect(() => [...new Assembler().take(Uint8Array.of(0xff, 0xff, 0xff, 0xff))]).toThrow("too long");
  });

  it("any bytes are a message or malformed", () => {
    let state = 1;
    const random = (): number => (state = (state * 48_271) % 2_147_483_647);
    for (let round = 0; round < 20_000; round += 1) {
      const bytes = (messages[random() % messages.length] ?? new Uint8Array()).slice();
      if (bytes.length > 0) bytes[random() % bytes.length] = random() & 0xff;
      try {
        decode(bytes.subarray(0, random() % (bytes.length + 1)));
      } catch (error) {
        expect(error).toMatchObject({ code: "malformed" });
      }
    }
  });
});
