/**
 * How the Observatory looks: narrow and wide, light and dark, readable by everyone, and moving at the
 * screen's pace. Pictures go to the folder `SCREENSHOTS`.
 */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, before, it } from "node:test";
import { Server, pause } from "../clients/server.mjs";
import { launch, person, picture } from "./browser.mjs";
import { member, open } from "./observatory.mjs";

/** @typedef {import("playwright-core").Page} Page */

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** @type {Server} */
let server;
/** @type {import("playwright-core").Browser} */
let browser;
before(async () => {
  [server, browser] = await Promise.all([Server.start(), launch()]);
});
after(async () => {
  await browser.close();
  await server.remove();
});

for (const [width, height] of /** @type {const} */ ([[360, 740], [820, 1_100], [1_440, 900]])) {
  for (const colorScheme of /** @type {const} */ (["light", "dark"])) {
    it(`${width} px, ${colorScheme}: it fits, stands still, and everyone can read it`, async () => {
      const { doc, provider } = await member(server, "looks2");
      const writing = setInterval(() => doc.getText("t").insert(0, "written "), 40);
      const { page, context, mishaps } = await person(browser, { viewport: { width, height }, colorScheme });
      await page.addInitScript(() => {
        let moved = 0;
        new PerformanceObserver((list) => {
          for (const entry of list.getEntries()) if (!(/** @type {any} */ (entry).hadRecentInput)) moved += /** @type {any} */ (entry).value;
          /** @type {any} */ (globalThis).__moved = moved;
        }).observe({ type: "layout-shift", buffered: true });
      });
      await open(page, server.http);
      await page.locator("[data-testid=charts][data-loaded=true]").waitFor();
      await pause(3_000);
      const moved = await page.evaluate(() => /** @type {any} */ (globalThis).__moved ?? 0);
      assert.ok(moved < 0.001, `nothing moves as the numbers change: ${moved}`);
      await page.evaluate(AXE);
      const look = async (/** @type {string} */ name) => {
        const { content, window } = await page.evaluate(() => ({ content: document.documentElement.scrollWidth, window: globalThis.innerWidth }));
        assert.ok(content <= window, `${name} is ${content} wide in a window of ${window}`);
        const violations = await page.evaluate(async () => {
          const { violations } = await /** @type {any} */ (globalThis).axe.run();
          return violations.map((/** @type {any} */ { id, nodes }) => `${id}: ${nodes.map((/** @type {any} */ node) => node.target).join(", ")}`);
        });
        assert.deepEqual(violations, [], name);
        await picture(page, `observatory-${width}-${colorScheme}-${name}`);
      };
      await look("charts");
      await page.getByTestId("manner-table").check({ force: true });
      await look("tables");
      await page.getByTestId("tab-rooms").click();
      await page.getByTestId("room-row").first().waitFor();
      await look("rooms");
      await page.locator("[data-testid=room-row][data-room='pit/looks2'] button").click();
      await page.getByTestId("room-session").waitFor();
      await page.getByTestId("room-records-look").click();
      await page.getByTestId("room-records").waitFor();
      await look("room");
      await page.getByTestId("tab-life").click();
      await page.locator("[data-testid=life-stage][data-stage=sync]").waitFor();
      await look("life");
      await page.getByTestId("tab-events").click();
      await page.getByTestId("events").waitFor();
      await look("events");
      clearInterval(writing);
      provider.destroy();
      assert.deepEqual(mishaps, []);
      await context.close();
    });
  }
}

it("draws a full hour of every chart and still keeps the frame rate", async () => {
  const { page, context, mishaps } = await person(browser, { viewport: { width: 1_440, height: 900 } });
  const still = await frameRate(page);
  // The server is young: the hour before is the test's own, with noise that is costly to draw.
  await page.route("**/api/v1/observatory/history?*", async (route) => {
    const response = await route.fetch();
    const said = await response.json();
    const start = Date.now() - 3_600_000;
    const series = Object.fromEntries(Object.keys(said.series).map((key) => [key, Array.from({ length: 3_600 }, (_, i) => (i % 600 < 20 ? null : 1 + Math.abs(Math.sin(i * 12.9898) * 43.5)))]));
    await route.fulfill({ response, json: { ...said, start, series } });
  });
  await open(page, server.http);
  await page.locator("[data-testid=charts][data-loaded=true]").waitFor();
  await pause(2_000);
  const drawing = await frameRate(page);
  console.log(`frames a second: ${drawing.toFixed(1)} with all charts live, ${still.toFixed(1)} on an empty page`);
  assert.ok(drawing >= (55 / 60) * still, `${drawing} frames a second, of ${still}`);
  assert.deepEqual(mishaps, []);
  await context.close();
});

/** Over three seconds. @param {Page} page @returns {Promise<number>} */
function frameRate(page) {
  return page.evaluate(
    () =>
      new Promise((done) => {
        let frames = -1;
        const began = performance.now();
        const frame = (/** @type {number} */ now) => {
          frames += 1;
          if (now - began < 3_000) requestAnimationFrame(frame);
          else done((frames * 1_000) / (now - began));
        };
        requestAnimationFrame(frame);
      }),
  );
}
