/** How it looks: on a phone, in the dark, with a finger. Pictures go to the folder `SCREENSHOTS`. */

import assert from "node:assert/strict";
import { after, before, it } from "node:test";
import { Server, until } from "../clients/server.mjs";
import { accessible, badge, connection, draw, enter, fits, ink, launch, person, picture, slugOf, strokes } from "./browser.mjs";

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

const LOOKS = {
  "desktop-light": { viewport: { width: 1280, height: 800 }, colorScheme: "light" },
  "desktop-dark": { viewport: { width: 1280, height: 800 }, colorScheme: "dark" },
  "phone-light": { viewport: { width: 390, height: 844 }, colorScheme: "light", hasTouch: true, isMobile: true, deviceScaleFactor: 2 },
  "phone-dark": { viewport: { width: 390, height: 844 }, colorScheme: "dark", hasTouch: true, isMobile: true, deviceScaleFactor: 2 },
};

for (const [name, options] of Object.entries(LOOKS)) {
  it(`${name}: every page fits, and its controls can be reached`, async () => {
    const drawer = await person(browser, /** @type {any} */ (options));
    await drawer.page.goto(`${server.http}/`);
    await drawer.page.getByTestId("start-pit").waitFor();
    await fits(drawer.page);
    await picture(drawer.page, `${name}-landing`);
    await accessible(drawer.page, `${name}-landing`);
    await drawer.page.getByTestId("start-pit").click();
    await connection(drawer.page, "live");
    await picture(drawer.page, `${name}-empty`);
    await accessible(drawer.page, `${name}-empty`);
    for (const [i, colour] of ["ink", "red", "blue", "green"].entries()) {
      await drawer.page.getByTestId(`ink-${colour}`).check({ force: true });
      await draw(drawer.page, [[-120, i * 40 - 80], [-40, i * 40 - 40], [40, i * 40 - 80], [120, i * 40 - 40]]);
    }
    await badge(drawer.page, "saved");
    await until("the ink dries", async () => (await ink(drawer.page)).pixels > 500);
    await fits(drawer.page);
    for (const id of ["tool-pen", "tool-eraser", "undo", "redo", "people", "share", "badge", "fit"]) {
      await reachable(drawer.page, id);
    }
    await picture(drawer.page, `${name}-creator`);
    await accessible(drawer.page, `${name}-creator`);

    await drawer.page.getByTestId("share").click();
    await drawer.page.getByTestId("qr").waitFor();
    const link = await drawer.page.getByTestId("qr").getAttribute("data-text");
    assert.ok(link?.includes(slugOf(drawer.page.url())), `the QR code leads to this pit: ${link}`);
    await fits(drawer.page);
    await picture(drawer.page, `${name}-share`);
    await accessible(drawer.page, `${name}-share`);
    await drawer.page.getByTestId("share-dialog-close").click();

    const watcher = await person(browser, /** @type {any} */ (options));
    await enter(watcher.page, `${server.http}/pit/${slugOf(drawer.page.url())}?role=viewer`);
    await strokes(watcher.page, 4);
    await until("the ink dries", async () => (await ink(watcher.page)).pixels > 500);
    await fits(watcher.page);
    for (const id of ["badge", "follow", "share"]) await reachable(watcher.page, id);
    await picture(watcher.page, `${name}-viewer`);
    await accessible(watcher.page, `${name}-viewer`);
    assert.deepEqual([...drawer.mishaps, ...watcher.mishaps], []);
    await drawer.context.close();
    await watcher.context.close();
  });
}

it("a finger draws, and two fingers do not", async () => {
  const someone = await person(browser, /** @type {any} */ (LOOKS["phone-light"]));
  await someone.page.goto(`${server.http}/`);
  await someone.page.getByTestId("start-pit").click();
  await connection(someone.page, "live");
  const devtools = await someone.context.newCDPSession(someone.page);
  /** @param {"touchStart" | "touchMove" | "touchEnd"} type @param {[number, number][]} points */
  const touch = (type, points) =>
    devtools.send("Input.dispatchTouchEvent", { type, touchPoints: points.map(([x, y], id) => ({ x, y, id })) });
  await touch("touchStart", [[100, 400]]);
  for (let x = 110; x <= 300; x += 10) await touch("touchMove", [[x, 400]]);
  await touch("touchEnd", []);
  await strokes(someone.page, 1);
  await touch("touchStart", [[100, 500]]);
  await touch("touchStart", [[100, 500], [200, 500]]);
  for (let d = 0; d <= 60; d += 10) await touch("touchMove", [[100 - d, 500], [200 + d, 500]]);
  await touch("touchEnd", []);
  await badge(someone.page, "saved");
  assert.equal(await someone.page.getByTestId("pit").getAttribute("data-strokes"), "1");
  await someone.context.close();
});

it("a code is joined from the landing page, and a wrong one is told apart", async () => {
  const someone = await person(browser);
  const pit = await (await server.request("/api/v1/pits", { method: "POST" })).json();
  await someone.page.goto(`${server.http}/`);
  await someone.page.getByTestId("join-code").fill("no!");
  await someone.page.getByTestId("join").click();
  await someone.page.getByTestId("join-hint").waitFor();
  assert.equal(new URL(someone.page.url()).pathname, "/");
  await someone.page.getByTestId("join-code").fill(pit.name);
  await someone.page.getByTestId("join").click();
  await connection(someone.page, "live");
  assert.equal(slugOf(someone.page.url()), pit.name);
  await someone.context.close();
});

/**
 * The control lies in the window, and nothing lies over its middle.
 * @param {import("playwright-core").Page} page
 * @param {string} id
 */
async function reachable(page, id) {
  const found = await page.getByTestId(id).evaluate((element) => {
    const { left, top, right, bottom } = element.getBoundingClientRect();
    const inside = left >= 0 && top >= 0 && right <= innerWidth && bottom <= innerHeight;
    const over = document.elementFromPoint((left + right) / 2, (top + bottom) / 2);
    const large = right - left >= 24 && bottom - top >= 18;
    return { inside, large, hit: over !== null && (element.contains(over) || over.contains(element)) };
  });
  assert.deepEqual(found, { inside: true, large: true, hit: true }, id);
}
