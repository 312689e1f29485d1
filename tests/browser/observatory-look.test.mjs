/**
 * How the Observatory looks: narrow and wide, light and dark, readable by everyone, and moving at the
 * screen's pace. Pictures go to the folder `SCREENSHOTS`.
 */

import assert from "node:assert/strict";
import { after, before, it } from "node:test";
import { Server, pause } from "../clients/server.mjs";
import { accessible, fits, launch, person, picture } from "./browser.mjs";
import { member, open } from "./observatory.mjs";

/** @typedef {import("playwright-core").Page} Page */

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
      try {
        await page.addInitScript(countMoves);
        await page.addInitScript(fallIll);
        await open(page, server.http);
        await page.locator("[data-testid=charts][data-loaded=true]").waitFor();
        await pause(3_000);
        // The longest that it says, and back: also where acks are slow by themselves.
        const unwell = page.getByTestId("health").filter({ hasText: /98\.9.*;.*; and \d more\./ });
        await page.evaluate(() => /** @type {any} */ (globalThis).__ill = true);
        await unwell.waitFor();
        await picture(page, `observatory-${width}-${colorScheme}-unwell`);
        await page.evaluate(() => /** @type {any} */ (globalThis).__ill = false);
        await unwell.waitFor({ state: "detached" });
        const moved = await page.evaluate(() => /** @type {any} */ (globalThis).__moved ?? 0);
        assert.ok(moved < 0.001, `nothing moves as the numbers change, nor when the health does: ${moved}`);
        const look = async (/** @type {string} */ name) => {
          await fits(page);
          await accessible(page, name);
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
        const cut = await page.getByTestId("life").evaluate((it) => [...it.querySelectorAll("td, th")].filter((cell) => cell.getBoundingClientRect().right > it.getBoundingClientRect().right).length);
        assert.equal(cut, 0, "no column is cut off");
        await page.locator("[data-testid=life-stage][data-stage=sync]").scrollIntoViewIfNeeded();
        await picture(page, `observatory-${width}-${colorScheme}-stages`);
        await page.getByTestId("tab-events").click();
        await page.getByTestId("events").waitFor();
        await look("events");
        assert.deepEqual(mishaps, []);
      } finally {
        // What one width leaves would be in the picture of the next.
        clearInterval(writing);
        provider.destroy();
        await context.close();
      }
    });
  }
}

it("draws a full hour of every chart and still keeps the frame rate", async () => {
  const { page, context, mishaps } = await person(browser, { viewport: { width: 1_440, height: 900 } });
  try {
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
  } finally {
    await context.close();
  }
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

/** In the page: `__moved` is how far what was there has moved by itself, as a sum of layout shifts. */
function countMoves() {
  const here = /** @type {any} */ (globalThis);
  here.__moved = 0;
  new PerformanceObserver((list) => {
    for (const entry of /** @type {any[]} */ (list.getEntries())) if (!entry.hadRecentInput) here.__moved += entry.value;
  }).observe({ type: "layout-shift", buffered: true });
}

/** In the page: while `__ill` is set, the server's samples say that an update waits, the disk is full and the archive lags. */
function fallIll() {
  const here = /** @type {any} */ (globalThis);
  const { fetch } = here;
  const ill = { durability_lag_seconds: 5_933, disk_free_bytes: 1e9, disk_size_bytes: 1e12, archive_lag_seconds: 7_300 };
  here.fetch = async (/** @type {any} */ input, /** @type {any} */ init) => {
    const response = await fetch(input, init);
    if (!String(input).includes("/observatory/live") || response.body === null) return response;
    const spoil = new TransformStream({
      transform(/** @type {string} */ text, to) {
        for (const [key, value] of here.__ill ? Object.entries(ill) : []) text = text.replaceAll(new RegExp(`"${key}":[^,}]+`, "g"), `"${key}":${value}`);
        to.enqueue(text);
      },
    });
    return new Response(response.body.pipeThrough(new TextDecoderStream()).pipeThrough(spoil).pipeThrough(new TextEncoderStream()), response);
  };
}
