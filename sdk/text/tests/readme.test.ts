/** The README's example does what its comments say. */

import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import * as sdk from "../src/index.js";

test("the README's example runs", async () => {
  const readme = readFileSync(new URL("../README.md", import.meta.url), "utf8");
  const code = /```js\n(.*?)```/s.exec(readme)?.[1];
  if (code === undefined) throw new Error("there is an example");
  const said: unknown[] = [];
  const body = code.replace(/^import .*$/m, "").replaceAll("console.log(", "said.push(");
  // eslint-disable-next-line @typescript-eslint/no-implied-eval -- the example is ours
  const run = new Function("init", "Text", "said", `return (async () => {${body}})()`) as (
    ...parts: unknown[]
  ) => Promise<void>;
  await run(sdk.init, sdk.Text, said);
  expect(said).toEqual(["hello world", 5, "J world"]);
});
