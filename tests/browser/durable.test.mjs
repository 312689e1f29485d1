/** What a page calls saved is saved: through stops, crashes, and hours without a network. */

import assert from "node:assert/strict";
import { after, before, it } from "node:test";
import { Server, pause, until } from "../clients/server.mjs";
import { badge, connection, draw, drawing, drawingIn, enter, launch, move, person, press, slugOf, strokes } from "./browser.mjs";

/** @type {import("playwright-core").Browser} */
let browser;
before(async () => {
  browser = await launch();
});
after(() => browser.close());

/** A server of one's own, and a person who has started a pit on it. */
async function creator() {
  const server = await Server.start();
  const someone = await person(browser);
  await someone.page.goto(`${server.http}/`);
  await someone.page.getByTestId("start-pit").click();
  await connection(someone.page, "live");
  return { ...someone, server, slug: slugOf(someone.page.url()) };
}

const LINE = /** @type {[number, number][]} */ ([[-200, 0], [200, 0]]);

it("the badge says saved only when the log has it", async () => {
  const { server, page, context, slug } = await creator();
  await badge(page, "saved");
  // A server that is stopped can make nothing durable, however alive the connection looks.
  process.kill(server.pid, "SIGSTOP");
  await draw(page, LINE);
  await badge(page, "saving");
  const since = performance.now();
  while (performance.now() - since < 2_000) {
    assert.notEqual(await page.getByTestId("badge").getAttribute("data-state"), "saved");
    assert.equal(await page.evaluate(() => globalThis.__well.saved), false);
    await pause(50);
  }
  process.kill(server.pid, "SIGCONT");
  await badge(page, "saved");
  assert.deepEqual(drawingIn(await server.snapshot("pit", slug)), await drawing(page));
  await context.close();
  await server.remove();
});

it("what was called saved outlives kill -9 in the next moment", async () => {
  const { server, page, context, slug } = await creator();
  for (let n = 1; n <= 3; n += 1) {
    await draw(page, [[-200, n * 30], [200, n * 30]]);
    await page.waitForFunction(() => globalThis.__well.saved);
    await server.kill();
    await connection(page, "offline");
    await server.start();
    assert.equal(drawingIn(await server.snapshot("pit", slug)).length, n);
    await connection(page, "live");
  }
  await context.close();
  await server.remove();
});

it("kill -9 in mid-stroke: the saved part is there, and the stroke goes on", async () => {
  const { server, page, context, slug } = await creator();
  const watcher = await person(browser);
  await enter(watcher.page, `${server.http}/pit/${slug}?role=viewer`);
  await draw(page, [[-200, -100], [200, -100]]);
  await press(page, [[-200, 0], [-100, 40], [0, 0]]);
  // What is saved at this moment, while the pen is still down.
  await page.waitForFunction(() => globalThis.__well.saved && globalThis.__well.strokeCount() === 2);
  const saved = await drawing(page);
  await strokes(watcher.page, 2);

  await server.kill();
  await move(page, [[60, 60], [100, 0]]);
  await connection(page, "offline");
  await badge(page, "kept");
  await server.start();
  const found = /** @type {any[]} */ (drawingIn(await server.snapshot("pit", slug)));
  assert.equal(found.length, 2);
  for (const [i, stroke] of /** @type {any[]} */ (saved).entries()) {
    assert.deepEqual(found[i].slice(0, stroke.length), stroke, "every saved point is there");
  }
  // The pen was never lifted: the same stroke goes on.
  await move(page, [[150, 50], [200, 0]]);
  await page.mouse.up();
  await connection(page, "live");
  await badge(page, "saved");
  const whole = await drawing(page);
  assert.equal(whole.length, 2, "still one stroke");
  assert.ok(JSON.stringify(whole).length > JSON.stringify(saved).length);
  await connection(watcher.page, "live");
  await until("the watcher sees it whole", async () => JSON.stringify(await drawing(watcher.page)) === JSON.stringify(whole));
  assert.deepEqual(drawingIn(await server.snapshot("pit", slug)), whole);
  await context.close();
  await watcher.context.close();
  await server.remove();
});

it("drawn without a network, sent when it is back", async () => {
  const { server, page, context, slug } = await creator();
  const watcher = await person(browser);
  await enter(watcher.page, `${server.http}/pit/${slug}?role=viewer`);
  await draw(page, LINE);
  await strokes(watcher.page, 1);
  await context.setOffline(true);
  await connection(page, "offline");
  await draw(page, [[-200, 60], [200, 60]]);
  await draw(page, [[-200, 90], [200, 90]]);
  await badge(page, "kept");
  assert.equal(await page.evaluate(() => globalThis.__well.saved), false);
  assert.equal((await drawing(watcher.page)).length, 1);
  await context.setOffline(false);
  await connection(page, "live");
  await badge(page, "saved");
  await strokes(watcher.page, 3);
  assert.equal(drawingIn(await server.snapshot("pit", slug)).length, 3);
  await context.close();
  await watcher.context.close();
  await server.remove();
});

it("drawn while the server was down, the page closed, and sent at the next visit", async () => {
  const { server, page, context, slug } = await creator();
  await draw(page, LINE);
  await badge(page, "saved");
  const url = page.url();
  await server.kill();
  await connection(page, "offline");
  await draw(page, [[-200, 60], [200, 60]]);
  await badge(page, "kept");
  await until("it is kept on this device", async () => (await drawing(page)).length === 2);
  await pause(500); // The copy is written a moment later; a person does not close a page faster.
  await page.close();
  await server.start();
  assert.equal(drawingIn(await server.snapshot("pit", slug)).length, 1);
  const again = await context.newPage();
  await enter(again, url);
  await badge(again, "saved");
  assert.equal((await drawing(again)).length, 2);
  assert.equal(drawingIn(await server.snapshot("pit", slug)).length, 2);
  await context.close();
  await server.remove();
});

it("SIGTERM looks like a restart, not like a failure", async () => {
  const { server, page, context, slug } = await creator();
  await draw(page, LINE);
  await badge(page, "saved");
  const exit = await server.stop();
  assert.equal(exit.code, 0);
  await connection(page, "offline");
  assert.match(await page.getByTestId("connection").innerText(), /restart/i);
  await server.start();
  await connection(page, "live");
  await badge(page, "saved");
  assert.equal(drawingIn(await server.snapshot("pit", slug)).length, 1);
  await context.close();
  await server.remove();
});
