/**
 * A room's past in a real browser: what the page shows at a moment is what the raw records fold to.
 *
 * The fold is made here, from `…/records` and with Yjs alone. For the pixels it is drawn by the same
 * renderer in another page, which has never seen the room.
 */

import assert from "node:assert/strict";
import { after, before, it } from "node:test";
import * as Y from "yjs";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Server, pause, until } from "../clients/server.mjs";
import { accessible, badge, connection, draw, enter, fits, launch, person, picture, slugOf } from "./browser.mjs";

/** @typedef {import("playwright-core").Page} Page */
/** @typedef {{ seq: number, at: string, kind: string, payload: string }} PastRecord */

const SEED = Number(process.env.SEED ?? Date.now() % 1_000_000);

/** @type {Server} */
let server;
/** @type {import("playwright-core").Browser} */
let browser;
/** @type {string} */
let slug;
before(async () => {
  console.log(`SEED=${SEED}`);
  [server, browser] = await Promise.all([Server.start(), launch()]);
  slug = await drawnByTwo();
});
after(async () => {
  await browser.close();
  await server.remove();
});

/** A pit that two people have drawn in, with a pause, an undo and something erased. */
async function drawnByTwo() {
  const [one, two] = await Promise.all([person(browser), person(browser)]);
  await one.page.goto(`${server.http}/`);
  await one.page.getByTestId("start-pit").click();
  await connection(one.page, "live");
  const slug = slugOf(one.page.url());
  await enter(two.page, `${server.http}/pit/${slug}?role=creator`);
  const inks = ["ink", "red", "orange", "green", "blue", "violet"];
  const random = randomFrom(SEED);
  /** @returns {[number, number][]} */
  const scribble = () => Array.from({ length: 6 }, () => [Math.round(random() * 500 - 250), Math.round(random() * 300 - 150)]);
  for (const [round, ink] of inks.entries()) {
    await one.page.getByTestId(`ink-${ink}`).check({ force: true });
    await two.page.getByTestId(`width-${[3, 6, 12][round % 3]}`).check({ force: true });
    await Promise.all([draw(one.page, scribble()), draw(two.page, scribble())]);
    if (round === 2) await pause(2_500);
    if (round === 3) await one.page.getByTestId("undo").click();
  }
  await two.page.getByTestId("tool-eraser").click();
  await draw(two.page, [[-250, -150], [250, 150]]);
  await Promise.all([badge(one.page, "saved"), badge(two.page, "saved")]);
  await Promise.all([one.context.close(), two.context.close()]);
  return slug;
}

/** The same numbers for the same seed. @param {number} seed */
function randomFrom(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** @param {string} room `space/name` in the API's path @returns {Promise<PastRecord[]>} */
async function recordsOf(room) {
  const text = await (await server.request(`/api/v1/rooms/${room}/records`)).text();
  return text.trim().split("\n").map((line) => JSON.parse(line));
}

/** @param {PastRecord[]} records @param {number} seq */
function fold(records, seq) {
  const doc = new Y.Doc();
  for (const record of records) {
    if (record.seq <= seq && record.kind === "update") Y.applyUpdate(doc, Buffer.from(record.payload, "base64"));
  }
  return doc;
}

/** @param {Page} page @param {string} path */
async function open(page, path) {
  await page.goto(server.http + path);
  await settled(page);
}

/** @param {Page} page @param {number} [seq] */
async function settled(page, seq) {
  const at = seq === undefined ? "" : `[data-seq="${seq}"]`;
  await page.locator(`[data-testid=replay][data-settled=true]${at}`).waitFor({ timeout: 20_000 });
}

/** @param {Page} page */
async function seqOf(page) {
  await settled(page);
  return Number(await page.getByTestId("replay").getAttribute("data-seq"));
}

/**
 * Drags the handle to a place, over others on the way.
 * @param {Page} page @param {number[]} places from 0 to 1
 */
async function dragTo(page, places) {
  const box = await page.getByTestId("histogram").boundingBox();
  if (box === null) throw new Error("there is no scrubber");
  const spots = places.map((place) => [box.x + place * box.width, box.y + box.height / 2]);
  const [first] = spots;
  await page.mouse.move(first[0], first[1]);
  await page.mouse.down();
  for (const [x, y] of spots.slice(1)) await page.mouse.move(x, y, { steps: 6 });
  await page.mouse.up();
  await settled(page);
}

/**
 * The page's canvas as it is, once the camera rests. @param {Page} page
 * @returns {Promise<{ pixels: string, inked: number, camera: object, size: object }>}
 */
async function canvasOf(page) {
  await until("the camera rests", async () => {
    const look = () => page.evaluate(() => JSON.stringify(globalThis.__well.camera));
    const before = await look();
    await pause(200);
    return (await look()) === before;
  });
  return page.evaluate(async () => {
    // Two frames on, everything that was asked for has been painted.
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    const canvas = /** @type {HTMLCanvasElement} */ (document.querySelector("[data-testid=canvas]"));
    const { data } = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d")).getImageData(0, 0, canvas.width, canvas.height);
    let inked = 0;
    for (let i = 3; i < data.length; i += 4) if ((data[i] ?? 0) > 0) inked += 1;
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", data));
    return {
      pixels: Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join(""),
      inked,
      camera: globalThis.__well.camera,
      size: { width: canvas.clientWidth, height: canvas.clientHeight },
    };
  });
}

/** A document drawn elsewhere. @param {Page} page @param {Y.Doc} doc @param {{ camera: object, size: object }} view */
function drawnElsewhere(page, doc, { camera, size }) {
  return page.evaluate(
    async ({ update, camera, size }) => {
      const canvas = globalThis.__well.paint(new Uint8Array(update), camera, size);
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", data));
      return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
    },
    { update: [...Y.encodeStateAsUpdate(doc)], camera, size },
  );
}

it("pixels at ten random moments are those of a fold of the raw records", async () => {
  const records = await recordsOf(`pit/${slug}`);
  assert.ok(records.length > 200, `${records.length} records`);
  const someone = await person(browser);
  await open(someone.page, `/replay/pit/${slug}`);
  assert.equal(await seqOf(someone.page), records.length, "it opens at the end");
  await picture(someone.page, "replay-end");
  // The other page has another room before it, in a browser of its own.
  const other = await person(browser);
  const pit = await (await server.request("/api/v1/pits", { method: "POST" })).json();
  await enter(other.page, `${server.http}/pit/${pit.name}?role=creator`);
  await draw(other.page, [[0, 0], [10, 10]]);
  await badge(other.page, "saved");
  await open(other.page, `/replay/pit/${pit.name}`);

  const random = randomFrom(SEED + 1);
  const seen = new Set();
  for (let nth = 0; nth < 10; nth += 1) {
    // Over two other places on the way: forward, backward, and back again.
    await dragTo(someone.page, [random(), random(), random()]);
    const seq = await seqOf(someone.page);
    const here = await canvasOf(someone.page);
    const folded = fold(records, seq);
    const strokes = await someone.page.evaluate(() => globalThis.__well.doc.getArray("strokes").toJSON());
    assert.deepEqual(strokes, folded.getArray("strokes").toJSON(), `the strokes at ${seq}`);
    assert.equal(here.pixels, await drawnElsewhere(other.page, folded, here), `the pixels at ${seq}`);
    if (strokes.length > 0) assert.ok(here.inked > 50, `something is drawn at ${seq}`);
    seen.add(here.pixels);
    await picture(someone.page, `replay-moment-${String(nth).padStart(2, "0")}-seq-${seq}`);
  }
  assert.ok(seen.size > 5, "moments differ");
  assert.deepEqual([...someone.mishaps, ...other.mishaps], []);
  await someone.context.close();
  await other.context.close();
});

it("the keyboard goes everywhere, and the link holds the moment", async () => {
  const records = await recordsOf(`pit/${slug}`);
  const head = records.length;
  const { page, context, mishaps } = await person(browser);
  await open(page, `/replay/pit/${slug}`);
  await page.locator("[data-testid=replay][data-live=live]").waitFor();
  await page.keyboard.press("Home");
  await settled(page, 0);
  await page.keyboard.press("ArrowRight");
  await settled(page, 1);
  await page.keyboard.press("Shift+ArrowRight");
  const leapt = await seqOf(page);
  assert.ok(leapt >= 11, `a larger step: ${leapt}`);
  await page.keyboard.press("ArrowLeft");
  await settled(page, leapt - 1);
  const slider = page.getByTestId("slider");
  assert.equal(await slider.getAttribute("aria-valuenow"), String(leapt - 1));
  assert.match((await slider.getAttribute("aria-valuetext")) ?? "", new RegExp(`record ${leapt - 1}, .*\\d\\d:\\d\\d:\\d\\d`));
  await until("the address follows", () => page.url().endsWith(`?seq=${leapt - 1}`));
  await page.keyboard.press("Space");
  await page.locator("[data-testid=replay][data-playing=true]").waitFor();
  await until("it plays", async () => Number(await page.getByTestId("replay").getAttribute("data-seq")) > leapt + 5);
  await page.keyboard.press("Space");
  await page.locator("[data-testid=replay][data-playing=false]").waitFor();
  const middle = Math.round(head / 2);
  await page.getByTestId("jump").fill(String(middle));
  await page.keyboard.press("Enter");
  await settled(page, middle);
  // A record's own time gives that record, or the last one of the same microsecond.
  const at = records[middle - 10].at;
  await page.getByTestId("jump").fill(at);
  await page.keyboard.press("Enter");
  const expected = records.filter((record) => record.at <= at).length;
  await settled(page, expected);
  await page.getByTestId("jump").fill("soon");
  await page.keyboard.press("Enter");
  await page.getByTestId("jump-wrong").waitFor();
  await until("the address follows", () => page.url().endsWith(`?seq=${expected}`));

  const guest = await person(browser);
  await open(guest.page, new URL(page.url()).pathname + new URL(page.url()).search);
  assert.equal(await seqOf(guest.page), expected);
  await guest.context.close();

  await page.getByTestId("slider").focus();
  await page.keyboard.press("End");
  await settled(page, head);
  await until("the end has no Seq in its address", () => !page.url().includes("seq="));
  await page.locator("[data-testid=replay][data-live=live]").waitFor();
  assert.deepEqual(mishaps, []);
  await context.close();
});

it("at the end it follows the room; restored, forked, and nothing erased", async () => {
  const drawer = await person(browser);
  await drawer.page.goto(`${server.http}/`);
  await drawer.page.getByTestId("start-pit").click();
  await connection(drawer.page, "live");
  const pit = slugOf(drawer.page.url());
  await draw(drawer.page, [[-200, -50], [0, -80], [200, -50]]);
  await badge(drawer.page, "saved");
  const watcher = await person(browser);
  // The way there is the pit's own.
  await enter(watcher.page, `${server.http}/pit/${pit}?role=creator`);
  await watcher.page.getByTestId("history").click();
  await watcher.page.locator("[data-testid=replay][data-live=live]").waitFor();
  const early = await seqOf(watcher.page);
  await draw(drawer.page, [[-200, 50], [0, 80], [200, 50]]);
  await badge(drawer.page, "saved");
  const strokes = () => watcher.page.evaluate(() => globalThis.__well.doc?.getArray("strokes").toJSON() ?? []);
  await until("it is seen live", async () => (await strokes()).length === 2);
  const late = (await recordsOf(`pit/${pit}`)).length;
  await settled(watcher.page, late);
  assert.equal(await watcher.page.getByTestId("restore").isDisabled(), true, "the end needs no restoring");

  // Through a restart of the server, the stream goes on where it was.
  await server.stop();
  await server.start();
  await connection(drawer.page, "live");
  await draw(drawer.page, [[-200, 100], [200, 100]]);
  await badge(drawer.page, "saved");
  await until("it follows again", async () => (await strokes()).length === 3, 20_000);

  await watcher.page.getByTestId("jump").fill(String(early));
  await watcher.page.getByTestId("jump-go").click();
  await settled(watcher.page, early);
  assert.equal((await strokes()).length, 1);
  await watcher.page.getByTestId("restore").click();
  assert.match(await watcher.page.getByTestId("restore-dialog").innerText(), /Nothing is erased/);
  await picture(watcher.page, "replay-restore");
  const before = await recordsOf(`pit/${pit}`);
  await watcher.page.getByTestId("restore-confirm").click();
  await watcher.page.locator("[data-testid=replay][data-live=live]").waitFor();
  await until("the drawer sees it as it was", () => drawer.page.evaluate(() => globalThis.__well.strokeCount() === 1));
  await until("and so does the page", async () => (await strokes()).length === 1);
  const after = await recordsOf(`pit/${pit}`);
  assert.deepEqual(after.slice(0, before.length), before, "what was written stays");
  assert.ok(after.some(({ kind }) => kind === "restored"));
  await until("the event is on the scrubber", async () => (await watcher.page.locator('[data-testid=scrubber] [data-kind="restored"]').count()) === 1);

  await watcher.page.getByTestId("jump").fill(String(late));
  await watcher.page.getByTestId("jump-go").click();
  await settled(watcher.page, late);
  await watcher.page.getByTestId("fork").click();
  await watcher.page.getByTestId("fork-confirm").click();
  await connection(watcher.page, "live");
  const forked = slugOf(watcher.page.url());
  assert.notEqual(forked, pit);
  await until("the new pit begins as the old one was", () => watcher.page.evaluate(() => globalThis.__well.strokeCount() === 2));
  assert.deepEqual(fold(await recordsOf(`pit/${forked}`), Infinity).getArray("strokes").toJSON(), fold(after, late).getArray("strokes").toJSON());
  await watcher.page.getByTestId("history").click();
  await settled(watcher.page);
  await watcher.page.getByTestId("events-open").click();
  assert.match(await watcher.page.getByTestId("events").innerText(), new RegExp(`Forked from pit/${pit} at record ${late}`));
  assert.deepEqual(watcher.mishaps, []);
  await drawer.context.close();
  await watcher.context.close();
});

it("exports what it shows", async () => {
  const { page, context } = await person(browser);
  const records = await recordsOf(`pit/${slug}`);
  const seq = Math.round(records.length * 0.6);
  await open(page, `/replay/pit/${slug}?seq=${seq}`);
  await page.getByTestId("export").click();
  /** @param {string} id */
  const file = async (id) => {
    const [download] = await Promise.all([page.waitForEvent("download"), page.getByTestId(id).click()]);
    const chunks = [];
    for await (const chunk of await download.createReadStream()) chunks.push(chunk);
    return { name: download.suggestedFilename(), bytes: Buffer.concat(chunks) };
  };
  const yjs = await file("export-yjs");
  const doc = new Y.Doc();
  Y.applyUpdate(doc, yjs.bytes);
  assert.deepEqual(doc.getArray("strokes").toJSON(), fold(records, seq).getArray("strokes").toJSON());
  const lines = await file("export-records");
  assert.equal(lines.bytes.toString().trim().split("\n").length, seq);
  assert.equal(lines.name, `${slug}-${seq}.jsonl`);
  const svg = await file("export-svg");
  assert.match(svg.bytes.toString(), /^<svg [^>]*viewBox="[-\d ]+"[^>]*>/);
  const png = await file("export-png");
  assert.deepEqual([...png.bytes.subarray(1, 4)].map((byte) => String.fromCharCode(byte)).join(""), "PNG");
  await context.close();
});

/**
 * The updates that a document's edits make. @param {(doc: Y.Doc) => void} write
 * @returns {{ doc: Y.Doc, updates: number[][] }}
 */
function updatesOf(write) {
  const doc = new Y.Doc();
  /** @type {number[][]} */
  const updates = [];
  doc.on("update", (update) => updates.push([...update]));
  write(doc);
  return { doc, updates };
}

/**
 * Writes to a room that no page draws, by a browser's own socket: sync messages with an update each.
 * @param {Page} page
 * @param {Server} on
 * @param {string} room
 * @param {number[][]} updates
 */
async function send(page, on, room, updates) {
  await page.goto(`${on.http}/`);
  await page.evaluate(
    async ({ room, updates }) => {
      const socket = new WebSocket(`ws://${location.host}/yjs/${room}`);
      globalThis.writer = socket;
      await new Promise((done) => socket.addEventListener("open", done));
      for (const update of updates) {
        const length = [];
        for (let rest = update.length; length.length === 0 || rest > 0; rest >>>= 7) length.push(rest > 127 ? (rest & 127) | 128 : rest);
        socket.send(new Uint8Array([0, 2, ...length, ...update]));
      }
    },
    { room, updates },
  );
}

/**
 * A room that no page draws.
 * @param {Page} page
 * @param {string} room
 * @param {(doc: Y.Doc) => void} write
 */
async function written(page, room, write) {
  const { doc, updates } = updatesOf(write);
  await send(page, server, room, updates);
  const [space = "", ...name] = room.split("/");
  const path = `${space}/${encodeURIComponent(name.join("/"))}`;
  await until("it is in the log", async () => {
    const kept = await server.snapshot(space, name.join("/"));
    return kept !== null && Buffer.compare(Y.encodeStateVectorFromUpdate(kept), Y.encodeStateVector(doc)) === 0;
  });
  return path;
}

it("a text, a tree, and names with slashes", async () => {
  const { page, context, mishaps } = await person(browser);
  const path = await written(page, "doc/notes/plan 1", (doc) => {
    const text = doc.getText("content");
    for (const word of "Once it says saved, it stays saved.".split(" ")) text.insert(text.length, `${word} `);
    text.delete(0, 5);
  });
  const records = await recordsOf(path);
  await open(page, `/replay/${path}`);
  const shown = () => page.getByTestId("text").innerText();
  assert.equal((await shown()).trim(), "it says saved, it stays saved.");
  await picture(page, "replay-text");
  for (const { seq } of records.slice(-6)) {
    await page.getByTestId("jump").fill(String(seq));
    await page.keyboard.press("Enter");
    await settled(page, seq);
    assert.equal((await shown()).trim(), fold(records, seq).getText("content").toString().trim());
  }
  // The rest of the path is the name, encoded or not.
  await open(page, "/replay/doc/notes/plan%201");
  assert.equal(await page.getByTestId("room").innerText(), "doc/notes/plan 1");

  await written(page, "doc/tree", (doc) => {
    doc.getMap("settings").set("theme", { dark: true, inks: ["red", "blue"] });
    doc.getArray("list").push([1, 2, 3]);
  });
  await open(page, "/replay/doc/tree");
  assert.equal(await page.getByTestId("document").getAttribute("data-kind"), "tree");
  assert.match(await page.getByTestId("document").innerText(), /theme[\s\S]*dark[\s\S]*true/);
  await picture(page, "replay-tree");
  assert.deepEqual(mishaps, []);
  await context.close();
});

/** Sets a text room to a text, as a new author. @param {string} name @param {string} text @returns {Promise<number>} the record */
async function put(name, text) {
  const response = await server.request(`/api/v1/rooms/text/${name}/text`, { method: "PUT", body: text, headers: { "content-type": "text/plain" } });
  assert.equal(response.status, 200);
  return (await response.json()).seq;
}

/** The lines that are in the page, without their numbers; what went and what came is marked. @param {Page} page */
async function linesShown(page) {
  return page.getByTestId("text").evaluate((shown) =>
    [...shown.children].map((row) =>
      [...row.children]
        .filter((piece) => piece.getAttribute("aria-hidden") !== "true")
        .map(({ tagName, textContent }) => ({ INS: `+${textContent}+`, DEL: `-${textContent}-` })[tagName] ?? textContent)
        .join(""),
    ),
  );
}

/** @param {Page} page @param {number} seq @param {number | ""} [since] */
async function textAt(page, seq, since = "") {
  await page.locator(`[data-testid=text-view][data-seq="${seq}"][data-since="${since}"]`).waitFor({ timeout: 20_000 });
}

it("a text room: any moment, its authors' colours, and what changed between two", async () => {
  const { page, context, mishaps } = await person(browser);
  const texts = ["one\ntwo\nthree", "one\ntwo and more\nthree", "zero\none\nthree"];
  for (const [index, text] of texts.entries()) assert.equal(await put("moments", text), index + 1);
  await open(page, "/replay/text/moments");
  await textAt(page, 3);
  assert.deepEqual(await linesShown(page), texts[2]?.split("\n"));
  const colours = await page.getByTestId("text").evaluate((shown) => [...shown.children].map((row) => [...row.querySelectorAll("span[title]")].map((it) => `${it.getAttribute("title")} ${it.getAttribute("style")}`)));
  const [zero, one, three] = colours;
  assert.notDeepEqual(zero, one, "another author, another colour");
  assert.deepEqual(one, three, "the same author, the same colour");
  for (const seq of [1, 2, 3, 1]) {
    await page.getByTestId("jump").fill(String(seq));
    await page.keyboard.press("Enter");
    await textAt(page, seq);
    const state = await server.request(`/api/v1/rooms/text/moments/state?format=text&seq=${seq}`);
    assert.deepEqual(await linesShown(page), (await state.text()).split("\n"));
  }
  await page.getByTestId("jump").fill("3");
  await page.keyboard.press("Enter");
  await page.getByTestId("compare").check();
  await page.getByTestId("since").fill("1");
  await textAt(page, 3, 1);
  assert.deepEqual(await linesShown(page), ["+zero¶+", "one", "-two¶-", "three"]);
  await picture(page, "replay-text-compare");
  assert.deepEqual(mishaps, []);
  await context.close();
});

it("a text's moment that takes its time is said to be on its way", async () => {
  const { page, context, mishaps } = await person(browser);
  for (const text of ["one", "one two"]) await put("slow", text);
  await open(page, "/replay/text/slow");
  await textAt(page, 2);
  assert.equal(await page.getByTestId("text-late").innerText(), "");
  let answer = () => {};
  const asked = new Promise((done) => (answer = () => done(null)));
  await page.route("**/state?seq=1&*", async (route) => {
    await asked;
    await route.continue();
  });
  await page.getByTestId("step-back").click();
  await page.getByText("Reading this moment…").waitFor();
  assert.deepEqual(await linesShown(page), ["one two"], "what was shown stays");
  await picture(page, "replay-text-late");
  answer();
  await textAt(page, 1);
  assert.equal(await page.getByTestId("text-late").innerText(), "");
  assert.deepEqual(mishaps, []);
  await context.close();
});

it("a text of 100,000 lines: only what is in sight is in the page, and everything can be reached", async () => {
  const { page, context, mishaps } = await person(browser);
  const lines = Array.from({ length: 100_000 }, (_, index) => `This is line ${index + 1}`);
  await put("long", lines.join("\n"));
  const later = [...lines.slice(0, 50_000), "Somebody wrote between", ...lines.slice(50_000)];
  await put("long", later.join("\n"));
  await open(page, "/replay/text/long");
  await textAt(page, 2);
  const region = page.getByTestId("document");
  assert.equal(await region.getAttribute("data-lines"), "100001");
  /** @param {number} share from 0 to 1 */
  const scrolled = async (share) => {
    await region.evaluate((it, share) => (it.scrollTop = (it.scrollHeight - it.clientHeight) * share), share);
    const first = share === 0 ? later[0] : share === 1 ? later.at(-1) : "Somebody wrote between";
    await page.getByTestId("text").getByText(String(first), { exact: true }).waitFor();
    const shown = await linesShown(page);
    assert.ok(shown.length < 200, `${shown.length} lines are in the page`);
    const at = later.indexOf(shown[0] ?? "");
    assert.deepEqual(shown, later.slice(at, at + shown.length));
  };
  for (const share of [0, 0.5, 1, 0.5]) await scrolled(share);
  await picture(page, "replay-text-long");
  await page.getByTestId("jump").fill("1");
  await page.keyboard.press("Enter");
  await textAt(page, 1);
  assert.equal(await region.getAttribute("data-lines"), "100000");
  assert.equal(await page.getByText("Somebody wrote between").count(), 0);
  assert.deepEqual(mishaps, []);
  await context.close();
});

it("long lines of a text room are wrapped: nothing has to be moved sideways, and everything can be reached", async () => {
  const words = "Once it says saved, it stays saved. ".repeat(60).trim();
  const lines = Array.from({ length: 3_000 }, (_, index) => (index % 3 === 0 ? `${index} ${words}` : `line ${index}`));
  await put("wide", lines.join("\n"));
  await put("wide", [...lines, "the last one"].join("\n"));
  for (const look of /** @type {const} */ (["small-light", "desktop-dark"])) {
    const { page, context, mishaps } = await person(browser, /** @type {any} */ (LOOKS[look]));
    await open(page, "/replay/text/wide");
    await textAt(page, 2);
    const region = page.getByTestId("document");
    const sideways = () => region.evaluate((it) => it.scrollWidth - it.clientWidth);
    assert.equal(await sideways(), 0);
    await picture(page, `replay-text-wide-${look}`);
    await accessible(page, look);
    // In steps, as a person does: each line that is in the page stands below the one before it.
    let seen = 0;
    for (let step = 0; step < 40; step += 1) {
      await region.evaluate((it) => (it.scrollTop += it.clientHeight * 0.8));
      await pause(20);
      const rows = await page.getByTestId("text").evaluate((it) => [...it.children].map((row) => ({ number: Number(row.firstElementChild?.textContent), top: row.getBoundingClientRect().top, bottom: row.getBoundingClientRect().bottom })));
      rows.forEach(({ top }, index) => assert.ok(index === 0 || Math.abs(top - (rows[index - 1]?.bottom ?? 0)) < 1, "no line lies over another"));
      const [first, last] = [rows[0]?.number ?? 0, rows.at(-1)?.number ?? 0];
      assert.ok(first <= seen + 1, `between line ${seen} and ${first} nothing was left out`);
      seen = Math.max(seen, last);
    }
    await region.evaluate((it) => (it.scrollTop = it.scrollHeight));
    await page.getByText("the last one", { exact: true }).waitFor();
    await until("the end is reached", () => region.evaluate((it) => it.scrollHeight - it.clientHeight - it.scrollTop < 2));
    const below = await page.getByText("the last one", { exact: true }).evaluate((it) => it.getBoundingClientRect().bottom);
    const box = await region.boundingBox();
    assert.ok(box !== null && below <= box.y + box.height + 1, "the last line is in sight");
    // The line at the top stays there when another moment is shown.
    await region.evaluate((it) => (it.scrollTop = it.scrollHeight / 2));
    await pause(100);
    const atTop = () =>
      region.evaluate((it) => {
        const { top } = it.getBoundingClientRect();
        const row = [...it.querySelectorAll("pre > div")].find((row) => row.getBoundingClientRect().bottom > top + 1);
        return { number: row?.firstElementChild?.textContent, above: Math.round(top - (row?.getBoundingClientRect().top ?? 0)) };
      });
    const before = await atTop();
    await page.getByTestId("jump").fill("1");
    await page.keyboard.press("Enter");
    await textAt(page, 1);
    await pause(100);
    assert.deepEqual(await atTop(), before);
    assert.equal(await sideways(), 0);
    assert.deepEqual(mishaps, []);
    await context.close();
  }
});

it("a moment that the address names and that cannot be read is said, and the end is shown", async () => {
  const { page, context, mishaps } = await person(browser);
  const head = (await recordsOf(`pit/${slug}`)).length;
  const message = page.getByTestId("message");
  for (const [query, said] of /** @type {const} */ ([
    ["seq=abc", /names no record: “abc” is no number\..*the end of the history/],
    ["at=soon", /names no time: “soon” is none.*the end of the history/],
    [`seq=${head + 7}`, /There is no record \d+ yet\..*the end of the history/],
  ])) {
    await open(page, `/replay/pit/${slug}?${query}`);
    assert.match(await message.innerText(), said);
    assert.equal(await seqOf(page), head);
    await picture(page, `replay-astray-${query.slice(0, 5)}`);
  }
  await page.getByTestId("step-back").click();
  await settled(page, head - 1);
  assert.equal(await message.count(), 0, "who goes elsewhere has read it");
  for (const query of ["seq=2", `at=${Date.now()}`, "at=now", "at=2100-01-01T00:00:00Z"]) {
    await open(page, `/replay/pit/${slug}?${query}`);
    assert.equal(await message.count(), 0, query);
  }
  assert.deepEqual(mishaps, []);
  await context.close();
});

it("a room that is deleted while its end is followed says so, and what to do", async () => {
  const { page, context } = await person(browser);
  await put("doomed", "soon gone");
  await open(page, "/replay/text/doomed");
  await page.locator("[data-testid=replay][data-live=live]").waitFor();
  const deleted = await server.request("/api/v1/rooms/text/doomed", { method: "DELETE" });
  assert.ok(deleted.ok);
  await page.getByTestId("replay-failed").waitFor({ timeout: 20_000 });
  assert.match(await page.getByTestId("replay-failed").innerText(), /There is no such room.*deleted.*Go to the start/s);
  await picture(page, "replay-deleted");
  await context.close();
});

it("where retention has removed the first records it says so, and shows what stands for them", async () => {
  const archive = mkdtempSync(join(tmpdir(), "well-archive-"));
  const kept = new Server({ config: `[archive]\nurl = "file://${archive}"\nkeep_local = "0s"\n[spaces.doc]\nretention = 20\n` });
  const path = "/api/v1/rooms/doc/retained";
  const { updates } = updatesOf((doc) => {
    for (let i = 0; i < 70; i += 1) doc.getText("content").insert(0, `${i} ${"x".repeat(10_000)}\n`);
  });
  const writer = await person(browser);
  // A room that ends leaves a snapshot, and that is where it will be cut.
  for (const [from, to] of [[0, 40], [40, 70], [70, 70]]) {
    await kept.start();
    await send(writer.page, kept, "doc/retained", updates.slice(from, to));
    await until("it is in the log", async () => (await (await kept.request("/api/v1/rooms/doc/retained")).json()).seq === to);
    await kept.stop();
  }
  await writer.context.close();
  await kept.start();
  let start = 0;
  await until("retention has been", async () => {
    start = (await (await kept.request(`${path}/timeline`)).json()).start;
    return start > 0;
  });

  const small = /** @type {any} */ (LOOKS["small-light"]);
  for (const [name, options] of Object.entries({ "cut": { viewport: { width: 1280, height: 800 } }, "cut-small": small })) {
    const { page, context, mishaps } = await person(browser, options);
    // A link to what is gone leads to the first moment that is there.
    await page.goto(`${kept.http}/replay/doc/retained?seq=3`);
    await settled(page, start);
    await page.keyboard.press("End");
    await settled(page, 70);
    assert.equal(await page.getByTestId("message").count(), 0);
    await page.keyboard.press("Home");
    await settled(page, start);
    assert.equal(await page.getByTestId("message").innerText(), `The history begins at record ${start + 1}. Retention has removed what was before; this is the room after record ${start}.`);
    assert.match(await page.getByTestId("record").innerText(), new RegExp(`${start}\\s+of 70`));
    const state = await kept.request(`${path}/state?seq=${start}&format=text`);
    assert.equal(state.headers.get("well-seq"), String(start));
    const text = await state.text();
    assert.equal(text.split("\n").length, start + 1);
    assert.equal(await page.getByTestId("text").evaluate((element) => element.textContent), text);
    await picture(page, `replay-${name}`);
    await page.keyboard.press("ArrowRight");
    await settled(page, start + 1);
    assert.equal((await page.getByTestId("text").evaluate((element) => element.textContent ?? "")).split("\n").length, start + 2);
    assert.equal(await page.getByTestId("message").count(), 0);
    await page.keyboard.press("ArrowLeft");
    await settled(page, start);
    await page.getByTestId("fork").click();
    assert.match(await page.getByTestId("fork-dialog").innerText(), new RegExp(`where its history begins \\(record ${start}\\)`));
    assert.deepEqual(mishaps, []);
    await context.close();
  }
  await kept.remove();
  rmSync(archive, { recursive: true });
});

it("on a small screen large numbers are whole, and authors and keys have their place", async () => {
  const { page, context, mishaps } = await person(browser, /** @type {any} */ (LOOKS["small-light"]));
  await written(page, "doc/long", (doc) => {
    for (let i = 0; i < 20_000; i += 1) doc.getText("content").insert(0, "x");
  });
  await open(page, "/replay/doc/long");
  const record = page.getByTestId("record");
  assert.match(await record.innerText(), /20,000\s+of 20,000/);
  const hidden = await record.evaluate((element) => [element.scrollWidth - element.clientWidth, element.scrollHeight - element.clientHeight]);
  assert.deepEqual(hidden, [0, 0], "nothing of it is cut off");
  await picture(page, "replay-small-numbers");
  await page.getByTestId("events-open").click();
  const events = page.getByTestId("events");
  assert.match(await events.getByTestId("legend").innerText(), /Replica \w+\s+20,000/);
  await picture(page, "replay-small-authors");
  await page.getByTestId("keys-open").click();
  assert.match(await page.getByTestId("help").innerText(), /Space/);
  await picture(page, "replay-small-keys");
  assert.deepEqual(mishaps, []);
  await context.close();
});

it("says what is not there", async () => {
  const { page, context } = await person(browser);
  const response = await page.goto(`${server.http}/replay/pit/222222`);
  assert.equal(response?.status(), 200);
  await page.getByTestId("replay-failed").waitFor();
  await picture(page, "replay-none");
  await page.goto(`${server.http}/replay/pit`);
  await page.getByTestId("not-found").waitFor();
  await context.close();
});

const LOOKS = {
  "desktop-light": { viewport: { width: 1280, height: 800 }, colorScheme: "light" },
  "desktop-dark": { viewport: { width: 1280, height: 800 }, colorScheme: "dark" },
  "phone-light": { viewport: { width: 390, height: 844 }, colorScheme: "light", hasTouch: true, isMobile: true, deviceScaleFactor: 2 },
  "phone-dark": { viewport: { width: 390, height: 844 }, colorScheme: "dark", hasTouch: true, isMobile: true, deviceScaleFactor: 2 },
  "small-light": { viewport: { width: 320, height: 568 }, colorScheme: "light", hasTouch: true, isMobile: true, deviceScaleFactor: 2 },
  "landscape-dark": { viewport: { width: 740, height: 360 }, colorScheme: "dark", hasTouch: true, isMobile: true, deviceScaleFactor: 2 },
};

for (const [name, options] of Object.entries(LOOKS)) {
  it(`${name}: it fits, and its controls are within reach of a finger`, async () => {
    const { page, context, mishaps } = await person(browser, /** @type {any} */ (options));
    await open(page, `/replay/pit/${slug}`);
    const box = await page.getByTestId("stage").boundingBox();
    await dragTo(page, [0.9, 0.55]);
    assert.deepEqual(await page.getByTestId("stage").boundingBox(), box, "nothing has moved");
    assert.ok((box?.height ?? 0) >= 90, `the picture is ${box?.height} high`);
    await fits(page);
    await picture(page, `replay-${name}`);
    await accessible(page, name);
    for (const id of ["restore", "fork", "copy-link", "export", "live", "to-start", "step-back", "play", "step-on", "to-end", "speed", "events-open", "jump", "jump-go"]) {
      const found = await page.getByTestId(id).evaluate((element) => {
        const { left, top, right, bottom } = element.getBoundingClientRect();
        const over = document.elementFromPoint((left + right) / 2, (top + bottom) / 2);
        return { inside: left >= 0 && top >= 0 && right <= innerWidth && bottom <= innerHeight, hit: over !== null && element.contains(over), large: right - left >= 44 && bottom - top >= 44 };
      });
      assert.deepEqual(found, { inside: true, hit: true, large: true }, id);
    }
    await canvasOf(page);
    assert.deepEqual(mishaps, []);
    await context.close();
  });
}
