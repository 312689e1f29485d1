/** The vectors that every build of the engine must give, as `crdt/tests/vectors.rs` has them. */

import { readFileSync } from "node:fs";
import { beforeAll, describe, expect, test } from "vitest";
import { init, Text } from "../src/index.js";
import { bytes, hex } from "./support.js";

interface Scenario {
  name: string;
  steps: (
    | { do: "edit"; client: bigint; at: number; deleted: number; inserted: string; update: string }
    | { do: "apply"; client: bigint; step: number }
  )[];
  text: string;
  diff: string;
  snapshot: string;
  without: string;
  archive: string;
}

/** JSON whose clients are whole 64-bit numbers, which `JSON.parse` would round. */
function read(): Scenario[] {
  const json = readFileSync(new URL("../../../tests/vectors/text.json", import.meta.url), "utf8");
  const quoted = json.replace(/"client": (\d+)/g, '"client": "$1"');
  return JSON.parse(quoted, (key, value: unknown) => (key === "client" ? BigInt(value as string) : value)) as Scenario[];
}

const scenarios = read();

beforeAll(() => init());

test("there are scenarios", () => {
  expect(scenarios.length).toBeGreaterThanOrEqual(6);
});

describe.each(scenarios)("$name", (scenario) => {
  test("gives the same bytes and the same text", () => {
    const clients = new Map<bigint, Text>();
    const server = new Text(0n);
    let seq = 0;
    for (const step of scenario.steps) {
      const text = clients.get(step.client) ?? new Text(step.client);
      clients.set(step.client, text);
      if (step.do === "edit") {
        const update = text.replace(step.at, step.deleted, step.inserted);
        expect(hex(update)).toBe(step.update);
        seq += 1;
        expect(server.apply(update, seq).state).toBe("new");
      } else {
        const earlier = scenario.steps[step.step];
        if (earlier?.do !== "edit") throw new Error(`step ${step.step} is no edit`);
        text.apply(bytes(earlier.update));
      }
    }
    expect(server.toString()).toBe(scenario.text);
    expect(hex(server.diff())).toBe(scenario.diff);
    expect(hex(server.snapshot("with"))).toBe(scenario.snapshot);
    expect(hex(server.snapshot("without"))).toBe(scenario.without);
  });

  test("reads the bytes", () => {
    const whole = new Text(5n);
    whole.apply(bytes(scenario.diff));
    expect(whole.toString()).toBe(scenario.text);
    // Archives are left to servers.
    expect(() => Text.load(5n, bytes(scenario.archive))).toThrow("format version 4 is not known here");
    for (const saved of [scenario.snapshot, scenario.without]) {
      const loaded = Text.load(5n, bytes(saved));
      expect(loaded.toString()).toBe(scenario.text);
      expect(loaded.version()).toEqual(whole.version());
    }
  });
});
