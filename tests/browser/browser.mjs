/**
 * Chromium, and a person's few gestures in it.
 *
 * `SCREENSHOTS` names a folder that pictures are put into, to be looked at; without it none are
 * taken. `CHROMIUM` names the browser.
 */

import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { chromium } from "playwright-core";
import * as Y from "yjs";

const ARGUMENTS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** @typedef {import("playwright-core").Page} Page */
/** @typedef {import("playwright-core").BrowserContextOptions} ContextOptions */

/** A browser with a fresh profile. */
export function launch() {
  return chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ARGUMENTS });
}

/**
 * A person of their own: nothing is shared with anyone else's context. Whatever the page reports
 * as an error is an error of the test, unless it is the network's.
 * @param {import("playwright-core").Browser} browser
 * @param {ContextOptions} [options]
 */
export async function person(browser, options) {
  const context = await browser.newContext(options);
  context.setDefaultTimeout(15_000);
  /** @type {string[]} */
  const mishaps = [];
  context.on("weberror", (error) => mishaps.push(String(error.error())));
  context.on("console", (message) => {
    const network = /WebSocket connection|ERR_|Failed to load resource/.test(message.text());
    if (message.type() === "error" && !network) mishaps.push(message.text());
  });
  return { context, mishaps, page: await context.newPage() };
}

/**
 * Opens a pit and waits until it is live.
 * @param {Page} page
 * @param {string} url
 */
export async function enter(page, url) {
  await page.goto(url);
  await connection(page, "live");
}

/**
 * @param {Page} page
 * @param {"connecting" | "live" | "offline" | "refused"} state
 */
export async function connection(page, state) {
  await page.locator(`[data-testid=connection][data-state=${state}]`).waitFor({ timeout: 20_000 });
}

/**
 * @param {Page} page
 * @param {"saved" | "saving" | "kept" | "idle" | "refused" | "watching"} state
 */
export async function badge(page, state) {
  await page.locator(`[data-testid=badge][data-state=${state}]`).waitFor({ timeout: 20_000 });
}

/**
 * @param {Page} page
 * @param {number} count
 */
export async function strokes(page, count) {
  await page.locator(`[data-testid=pit][data-strokes="${count}"]`).waitFor({ timeout: 20_000 });
}

/**
 * A stroke with the mouse, in CSS pixels from the canvas' middle.
 * @param {Page} page
 * @param {[number, number][]} path
 */
export async function draw(page, path) {
  await press(page, path);
  await page.mouse.up();
}

/**
 * A stroke that is not lifted.
 * @param {Page} page
 * @param {[number, number][]} path
 */
export async function press(page, path) {
  const [first, ...rest] = await places(page, path);
  if (first === undefined) return;
  await page.mouse.move(...first);
  await page.mouse.down();
  for (const place of rest) await page.mouse.move(...place, { steps: 8 });
}

/**
 * Goes on with a stroke that was not lifted.
 * @param {Page} page
 * @param {[number, number][]} path
 */
export async function move(page, path) {
  for (const place of await places(page, path)) await page.mouse.move(...place, { steps: 8 });
}

/**
 * @param {Page} page
 * @param {[number, number][]} path
 * @returns {Promise<[number, number][]>}
 */
async function places(page, path) {
  const box = await page.getByTestId("stage").boundingBox();
  if (box === null) throw new Error("there is no canvas");
  return path.map(([x, y]) => [box.x + box.width / 2 + x, box.y + box.height / 2 + y]);
}

/**
 * What is drawn: inked pixels of the canvas at rest, and the average colour of the ink. With
 * `near`, only within 8 CSS pixels of that place, from the canvas' middle.
 * @param {Page} page
 * @param {[number, number]} [near]
 */
export function ink(page, near) {
  return page.evaluate((near) => {
    const canvas = /** @type {HTMLCanvasElement} */ (document.querySelector("[data-testid=canvas]"));
    const scale = canvas.width / canvas.clientWidth;
    const [x, y, w, h] =
      near === undefined
        ? [0, 0, canvas.width, canvas.height]
        : [canvas.width / 2 + (near[0] - 8) * scale, canvas.height / 2 + (near[1] - 8) * scale, 16 * scale, 16 * scale];
    const { data } = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d")).getImageData(x, y, w, h);
    let pixels = 0;
    const sum = [0, 0, 0];
    for (let i = 0; i < data.length; i += 4) {
      if ((data[i + 3] ?? 0) < 128) continue;
      pixels += 1;
      for (let c = 0; c < 3; c += 1) sum[c] += data[i + c] ?? 0;
    }
    return { pixels, colour: sum.map((part) => Math.round(part / Math.max(1, pixels))) };
  }, near);
}

/**
 * The strokes in the page's document, as they are.
 * @param {Page} page
 * @returns {Promise<unknown[]>}
 */
export function drawing(page) {
  return page.evaluate(() => globalThis.__well.doc.getArray("strokes").toJSON());
}

/**
 * The strokes in a snapshot.
 * @param {Uint8Array | null} update
 */
export function drawingIn(update) {
  const doc = new Y.Doc();
  if (update !== null) Y.applyUpdate(doc, update);
  return doc.getArray("strokes").toJSON();
}

/**
 * Makes a link in the open share dialog.
 * @param {Page} page
 * @param {"viewer" | "editor"} role
 */
export async function makeLink(page, role) {
  await page.getByTestId(`${role}-role`).check({ force: true });
  await page.getByTestId("link-time").selectOption({ label: "1 day" });
  await page.getByTestId("make-link").click();
  await page.locator(`[data-testid=made][data-role=${role}]`).first().waitFor();
  return page.getByTestId("made-link").inputValue();
}

/**
 * Nothing sticks out to the side.
 * @param {Page} page
 */
export async function fits(page) {
  const { content, window } = await page.evaluate(() => ({
    content: document.documentElement.scrollWidth,
    window: globalThis.innerWidth,
  }));
  assert.ok(content <= window, `the page is ${content} wide in a window of ${window}`);
}

/**
 * axe finds nothing wrong.
 * @param {Page} page
 * @param {string} name what is looked at
 */
export async function accessible(page, name) {
  await page.evaluate(AXE);
  const violations = await page.evaluate(async () => {
    // A colour on its way to another is nobody's to read.
    const moving = document.getAnimations().filter((animation) => Number.isFinite(animation.effect?.getComputedTiming().endTime));
    await Promise.allSettled(moving.map((animation) => animation.finished));
    // Who speaks to a page says what is written on its buttons: off by itself, because it is young.
    const rules = { "label-content-name-mismatch": { enabled: true } };
    const { violations } = await /** @type {any} */ (globalThis).axe.run({ rules });
    return violations.map((/** @type {any} */ { id, nodes }) => `${id}: ${nodes.map((/** @type {any} */ node) => node.target).join(", ")}`);
  });
  assert.deepEqual(violations, [], name);
}

/** @param {string} url */
export function slugOf(url) {
  const slug = new URL(url).pathname.split("/").at(-1);
  if (slug === undefined) throw new Error(`no slug in ${url}`);
  return slug;
}

/**
 * @param {Page} page
 * @param {string} name
 */
export async function picture(page, name) {
  const folder = process.env.SCREENSHOTS;
  if (folder === undefined) return;
  mkdirSync(folder, { recursive: true });
  await page.screenshot({ path: join(folder, `${name}.png`), animations: "disabled" });
}
