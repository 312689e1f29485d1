/**
 * What a keystroke costs in Chromium, beside Yjs in the same page: `npm run bench`.
 *
 * Every edit of a recorded trace is made and encoded as an update that could be sent. Then single
 * characters are typed at random places of a text of 1 MB.
 */

import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { join, normalize } from "node:path";
import { gunzipSync } from "node:zlib";
import { chromium } from "playwright-core";

const here = join(import.meta.dirname, "..");
const TYPES = { ".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm", ".html": "text/html" };
const PAGE = `<!doctype html><script type="importmap">{"imports":{"yjs":"/node_modules/yjs/dist/yjs.mjs",
"lib0/":"/lib0/"}}</script>`;

const server = createServer((request, response) => {
  const path = normalize(new URL(request.url ?? "/", "http://x").pathname);
  if (path === "/") return response.setHeader("content-type", "text/html").end(PAGE);
  try {
    const file = path.startsWith("/lib0/") ? join("node_modules", path.endsWith(".js") ? path : `${path}.js`) : path;
    response.setHeader("content-type", TYPES[/\.\w+$/.exec(file)?.[0] ?? ""] ?? "application/octet-stream");
    response.end(readFileSync(join(here, file)));
  } catch {
    response.writeHead(404).end();
  }
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(undefined)));
const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());

const trace = process.argv[2] ?? join(here, "../../tests/traces/automerge-paper.json.gz");
const { txns, startContent = "", endContent } = JSON.parse(gunzipSync(readFileSync(trace)).toString());
const edits = txns.flatMap((/** @type {{ patches: unknown[] }} */ txn) => txn.patches);

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--headless", "--no-sandbox", "--disable-gpu"],
});
try {
  const page = await browser.newPage();
  await page.goto(`http://127.0.0.1:${port}/`);
  const result = await page.evaluate(measure, { edits, startContent, endContent });
  console.log(JSON.stringify({ trace: trace.split("/").at(-1), edits: edits.length, browser: browser.version(), ...result }, null, 2));
} finally {
  await browser.close();
  server.close();
}

/** In the page. Microseconds a keystroke; medians of three runs. */
async function measure({ edits, startContent, endContent }) {
  const { init, Text } = await import("/dist/index.js");
  const Y = await import("yjs");
  await init();
  const ours = (content) => {
    const text = new Text(BigInt(Math.floor(Math.random() * 2 ** 32)));
    text.insert(0, content);
    return { edit: (at, gone, come) => text.replace(at, gone, come).length, text: () => text.toString(), end: () => text.free() };
  };
  const theirs = (content) => {
    const doc = new Y.Doc();
    const text = doc.getText("");
    text.insert(0, content);
    let bytes = 0;
    doc.on("update", (update) => { bytes = update.length; });
    const edit = (at, gone, come) => {
      doc.transact(() => {
        if (gone > 0) text.delete(at, gone);
        if (come.length > 0) text.insert(at, come);
      });
      return bytes;
    };
    return { edit, text: () => text.toString(), end: () => doc.destroy() };
  };
  const replay = (make) => {
    const text = make(startContent);
    let bytes = 0;
    const from = performance.now();
    for (const [at, gone, come] of edits) bytes += text.edit(at, gone, come);
    const spent = performance.now() - from;
    if (text.text() !== endContent) throw new Error("the final text differs");
    text.end();
    return { us: (spent * 1000) / edits.length, bytes: bytes / edits.length };
  };
  const large = (make, keys) => {
    const text = make("0123456789abcdef".repeat(1 << 16));
    const from = performance.now();
    for (let key = 0; key < keys; key += 1) text.edit(Math.imul(key, 2654435761) >>> 12, 0, "x");
    const spent = performance.now() - from;
    text.end();
    return { us: (spent * 1000) / keys, bytes: 0 };
  };
  const median = (run) => {
    const all = [run(), run(), run()].sort((a, b) => a.us - b.us);
    return all[1];
  };
  const round = (number) => Math.round(number * 100) / 100;
  const [a, b] = [median(() => replay(ours)), median(() => replay(theirs))];
  const [c, d] = [median(() => large(ours, 20000)), median(() => large(theirs, 2000))];
  return {
    trace_us: { well: round(a.us), yjs: round(b.us), ratio: round(b.us / a.us) },
    trace_bytes: { well: round(a.bytes), yjs: round(b.bytes) },
    random_in_1MB_us: { well: round(c.us), yjs: round(d.us), ratio: round(d.us / c.us) },
  };
}
