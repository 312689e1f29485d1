/** What a newcomer meets: wrong codes, links that only watch, small screens. */

import assert from "node:assert/strict";
import { after, before, it } from "node:test";
import { Server, pause, until } from "../clients/server.mjs";
import { badge, connection, draw, drawingIn, enter, launch, person, picture, slugOf, strokes } from "./browser.mjs";

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

async function newPit() {
  return (await (await server.request("/api/v1/pits", { method: "POST" })).json()).name;
}

it("a code that no pit has says so, and offers to look again or to begin", async () => {
  const { page, context, mishaps } = await person(browser);
  await page.goto(`${server.http}/`);
  await page.getByTestId("join-code").fill("zzzzzz");
  await page.getByTestId("join").click();
  await page.getByTestId("missing-pit").waitFor();
  assert.equal(await page.getByTestId("stage").count(), 0, "there is nothing to draw on");
  await picture(page, "missing-pit");
  await page.getByTestId("check-code").click();
  await page.getByTestId("landing").waitFor();
  assert.equal(await page.getByTestId("join-code").inputValue(), "zzzzzz");
  assert.equal((await server.request("/api/v1/rooms/pit/zzzzzz")).status, 404, "looking made nothing");
  await page.goto(`${server.http}/pit/hello?role=creator`);
  assert.match(await page.getByTestId("missing-pit").innerText(), /6 characters/);
  await page.goto(`${server.http}/pit/zzzzzz?role=creator`);
  await page.getByTestId("open-anyway").click();
  await connection(page, "live");
  await draw(page, [[-50, 0], [50, 0]]);
  await badge(page, "saved");
  // Now that it is there it opens at once, here and elsewhere.
  await page.reload();
  await connection(page, "live");
  const guest = await person(browser);
  await enter(guest.page, `${server.http}/pit/zzzzzz?role=viewer`);
  await strokes(guest.page, 1);
  assert.deepEqual([...mishaps, ...guest.mishaps], []);
  await context.close();
  await guest.context.close();
});

it("whoever watches for a pit that is not there yet sees it begin", async () => {
  const watcher = await person(browser);
  await watcher.page.goto(`${server.http}/pit/yyyyyy?role=viewer`);
  assert.equal(await watcher.page.getByTestId("open-anyway").innerText(), "Wait for it");
  await watcher.page.getByTestId("open-anyway").click();
  await connection(watcher.page, "live");
  const drawer = await person(browser);
  await drawer.page.goto(`${server.http}/pit/yyyyyy?role=creator`);
  await drawer.page.getByTestId("open-anyway").click();
  await connection(drawer.page, "live");
  await draw(drawer.page, [[-50, 0], [50, 0]]);
  await strokes(watcher.page, 1);
  await watcher.context.close();
  await drawer.context.close();
});

it("no spelling of the role gives a page that draws where the server says viewer", async () => {
  const slug = await newPit();
  const { page, context } = await person(browser);
  for (const [query, role] of [
    ["ROLE=viewer", "viewer"],
    ["x=1;role=viewer", "viewer"],
    ["role[]=viewer", "viewer"],
    ["role=creator&Role=viewer", "viewer"],
    ["%20role=viewer", "viewer"],
    ["r%6Fle=creator", "viewer"],
    ["role=editor", "editor"],
    ["", "editor"],
    ["role=creator", "creator"],
  ]) {
    const asked = page.waitForEvent("websocket");
    await enter(page, `${server.http}/pit/${slug}?${query}`);
    assert.equal(await page.getByTestId("pit").getAttribute("data-role"), role, query);
    assert.equal(await page.getByTestId("toolbar").count(), role === "viewer" ? 0 : 1, query);
    assert.equal(new URL((await asked).url()).search.slice(1), new URL(page.url()).search.slice(1), "the socket has the page's query");
  }
  await context.close();
});

it("a server that gives less than was asked for is believed", async () => {
  const slug = await newPit();
  const { page, context } = await person(browser);
  // Something on the way takes the right to write away.
  await page.addInitScript(() => {
    const Socket = globalThis.WebSocket;
    globalThis.WebSocket = class extends Socket {
      /** @param {string} url */
      constructor(url) {
        super(url.replace("role=creator", "role=viewer"));
      }
    };
  });
  await enter(page, `${server.http}/pit/${slug}?role=creator`);
  await draw(page, [[-50, 0], [50, 0]]);
  await page.locator("[data-testid=pit][data-role=viewer]").waitFor();
  await badge(page, "refused");
  assert.equal(await page.getByTestId("toolbar").count(), 0);
  assert.match(await page.getByTestId("badge").innerText(), /viewer/);
  await context.close();
});

for (const [width, height] of [[320, 568], [390, 844]]) {
  it(`${width} wide: everything of a crowded pit is within reach`, async () => {
    const slug = await newPit();
    const phone = { viewport: { width, height }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 };
    const one = await person(browser, phone);
    await enter(one.page, `${server.http}/pit/${slug}?role=creator`);
    // Six more, as their presence says.
    const others = await person(browser);
    const pages = await Promise.all(Array.from({ length: 6 }, async () => others.context.newPage()));
    await Promise.all(pages.map((page) => enter(page, `${server.http}/pit/${slug}?role=creator`)));
    await until("seven are here", async () => (await one.page.getByTestId("people").getAttribute("data-drawing")) === "7");
    for (const id of ["history", "people", "share", "badge", "tool-pen", "tool-eraser", "width-24", "ink-ink", "ink-pink", "undo", "redo", "zoom-in", "zoom-out", "fit", "help-open"]) await reachable(one.page, id);
    assert.match(await one.page.getByTestId("people").innerText(), width < 380 ? /\+6/ : /\+5/);
    await picture(one.page, `crowded-${width}`);
    await one.page.getByTestId("help-open").click();
    await one.page.getByTestId("help").waitFor();
    await picture(one.page, `help-${width}`);
    await one.page.getByTestId("help-close").click();
    const watcher = await person(browser, phone);
    await enter(watcher.page, `${server.http}/pit/${slug}?role=viewer`);
    for (const id of ["history", "share", "badge", "follow", "zoom-in", "zoom-out", "help-open"]) await reachable(watcher.page, id);
    await picture(watcher.page, `watching-${width}`);
    await Promise.all([one, others, watcher].map(({ context }) => context.close()));
  });
}

it("keys work without a click, and one is among the people", async () => {
  const { page, context } = await person(browser);
  await page.goto(`${server.http}/`);
  await page.getByTestId("start-pit").click();
  await connection(page, "live");
  assert.equal(await page.evaluate(() => document.activeElement?.getAttribute("data-testid")), "stage");
  await page.keyboard.press("?");
  assert.match(await page.getByTestId("help").innerText(), /Esc/);
  await page.keyboard.press("Escape");
  await page.getByTestId("people").click();
  assert.match(await page.getByTestId("people-panel").innerText(), /you/);
  assert.equal(slugOf(page.url()).length, 6);
  await context.close();
});

it("what was drawn offline is sent from the landing page, without opening the pit", async () => {
  const own = await Server.start();
  const { page, context, mishaps } = await person(browser);
  await page.goto(`${own.http}/`);
  await page.getByTestId("start-pit").click();
  await connection(page, "live");
  const slug = slugOf(page.url());
  await draw(page, [[-100, 0], [100, 0]]);
  await badge(page, "saved");
  await context.setOffline(true);
  await connection(page, "offline");
  await draw(page, [[-100, 50], [100, 50]]);
  await badge(page, "kept");
  await pause(500); // The copy is written a moment later; a person does not leave a page faster.
  await own.kill();
  // The page itself comes from what the browser has: the way to the start is one within it.
  await page.getByRole("link", { name: /start page/ }).click();
  await page.locator(`[data-testid=waiting][data-slug="${slug}"]`).waitFor();
  const card = await page.getByTestId("start-pit").boundingBox();
  await page.getByTestId("start-pit").click();
  await page.getByTestId("problem").waitFor();
  assert.deepEqual(await page.getByTestId("start-pit").boundingBox(), card, "nothing moves when the server cannot be reached");
  await picture(page, "landing-offline");
  await own.start();
  await context.setOffline(false);
  await page.goto(`${own.http}/`);
  await page.locator(`[data-testid=waiting][data-slug="${slug}"][data-state=sent]`).waitFor({ timeout: 20_000 });
  await picture(page, "landing-sent");
  assert.equal(drawingIn(await own.snapshot("pit", slug)).length, 2);
  await page.reload();
  await page.getByTestId("recent").waitFor();
  assert.equal(await page.getByTestId("waiting").count(), 0);
  assert.deepEqual(mishaps, []);
  await context.close();
  await own.remove();
});

it("a phone on its side shows all of the share dialog", async () => {
  const slug = await newPit();
  const { page, context } = await person(browser, { viewport: { width: 740, height: 360 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 });
  await enter(page, `${server.http}/pit/${slug}?role=creator`);
  await page.getByTestId("share").click();
  for (const id of ["qr", "copy-viewer-link", "copy-creator-link", "share-dialog-close"]) await reachable(page, id);
  await picture(page, "share-landscape");
  await context.close();
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
    return { inside, hit: over !== null && (element.contains(over) || over.contains(element)) };
  });
  assert.deepEqual(found, { inside: true, hit: true }, id);
}
