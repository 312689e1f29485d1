/** What the README tells people to paste does what it says. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { after, before, it } from "node:test";
import { Client, LIBRARIES } from "./peers.mjs";
import { Server, pause, until } from "./server.mjs";

/** @type {Server} */
let server;
before(async () => {
  server = await Server.start();
});
after(() => server.remove());

const here = (/** @type {string} */ path) => fileURLToPath(new URL(path, import.meta.url));

/** The README's JavaScript, block by block. */
function blocks() {
  const readme = readFileSync(here("../../README.md"), "utf8");
  return [...readme.matchAll(/^```js\n(.*?)^```$/gms)].map((match) => match[1] ?? "");
}

it("its snippets, pasted below each other, say when an edit is stored", async () => {
  const script = here("./.pasted.mjs");
  const pasted = `${blocks().join("\n")}\ndoc.getText("text").insert(0, "hi");\n`;
  const port = new URL(server.http).host;
  writeFileSync(script, pasted.replaceAll("127.0.0.1:4000", port));
  const child = spawn(process.execPath, [script], { stdio: ["ignore", "pipe", "inherit"] });
  try {
    let said = "";
    child.stdout.setEncoding("utf8").on("data", (text) => {
      said += text;
    });
    await until("it says that all is stored", () => said.includes("everything is on disk"));
    await until("it is", async () => (await server.snapshot("doc", "my/room"))?.includes(0x68));
  } finally {
    child.kill("SIGKILL");
    rmSync(script, { force: true });
  }
});

it("y-websocket 2.0.4 comes back after a permanent close for ever, unless it is told", async () => {
  const closes = { told: 0, untold: 0 };
  const mount = `${server.ws}/yjs/nowhere`;
  const untold = new Client(LIBRARIES["y-websocket 2.0.4"], mount, "x");
  untold.provider.on("connection-close", () => {
    closes.untold += 1;
  });
  const told = new Client(LIBRARIES["y-websocket 2.0.4"], mount, "x");
  told.provider.on("connection-close", () => {
    closes.told += 1;
  });
  const remedy = blocks().find((block) => block.includes("connection-close")) ?? "";
  new Function("provider", remedy)(told.provider);
  await until("it comes back and back", () => closes.untold >= 5);
  await pause(300);
  assert.equal(closes.told, 1);
  for (const client of [told, untold]) client.destroy();
});
