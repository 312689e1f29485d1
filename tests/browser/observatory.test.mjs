/**
 * The Observatory in a real browser: its numbers are those of a load that the test itself makes, it says
 * so when it knows nothing new, and it is used by keys alone. Pictures go to the folder `SCREENSHOTS`.
 */

import assert from "node:assert/strict";
import { after, before, it } from "node:test";
import { Server, pause, until } from "../clients/server.mjs";
import { launch, person, picture } from "./browser.mjs";
import { live, member, open } from "./observatory.mjs";
import { closedServer, mint } from "./tokens.mjs";

/** @typedef {import("playwright-core").Page} Page */

const ROOM = "k3x9qa";
const UPDATES = 600;
/** Each update carries so many letters, beside which what frames it is little. */
const LETTERS = 600;
const EVERY_MS = 25;
const WITHIN = 0.02;

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

/** @param {Page} page @param {string} key @returns {Promise<number | null>} null for no data */
async function figure(page, key) {
  const value = await page.locator(`[data-testid=figure][data-key=${key}]`).getAttribute("data-value");
  return value === null || value === "" ? null : Number(value);
}

/**
 * Writes down what the page shows, each time it shows another second.
 * @param {Page} page
 */
function watch(page) {
  return page.evaluate(() => {
    const figures = /** @type {HTMLElement} */ (document.querySelector("[data-testid=figures]"));
    /** @type {Record<string, number | null>[]} */
    const seen = [];
    const look = () => {
      /** @type {Record<string, number | null>} */
      const row = { at: Number(figures.dataset["at"]) };
      for (const shown of document.querySelectorAll("[data-key]")) {
        const { key, value } = /** @type {HTMLElement} */ (shown).dataset;
        if (key !== undefined) row[key] = value === undefined || value === "" ? null : Number(value);
      }
      if (seen.at(-1)?.["at"] !== row["at"]) seen.push(row);
    };
    look();
    new MutationObserver(look).observe(figures, { attributes: true, attributeFilter: ["data-at"] });
    /** @type {any} */ (globalThis).__seen = seen;
  });
}

/** @param {Page} page @returns {Promise<Record<string, number | null>[]>} */
function seen(page) {
  return page.evaluate(() => /** @type {any} */ (globalThis).__seen);
}

/**
 * How much there was in all, of what is shown by the second.
 * @param {Record<string, number | null>[]} rows @param {string} key
 */
function sum(rows, key) {
  let total = 0;
  for (const [i, row] of rows.entries()) {
    const before = rows[i - 1];
    if (before !== undefined) total += ((row[key] ?? 0) * ((row["at"] ?? 0) - (before["at"] ?? 0))) / 1_000;
  }
  return total;
}

/** @param {number} shown @param {number} true_ @param {string} what */
function same(shown, true_, what) {
  console.log(`${what}: ${shown.toFixed(1)} on the page, ${true_.toFixed(1)} in truth`);
  assert.ok(Math.abs(shown - true_) <= WITHIN * true_, `${what}: ${shown} on the page, ${true_} in truth`);
}

it("shows what the test itself has sent", async () => {
  const watcher = await person(browser, { viewport: { width: 1440, height: 2_200 } });
  await open(watcher.page, server.http);
  assert.equal(await figure(watcher.page, "rooms_loaded"), 0);
  assert.equal(await figure(watcher.page, "ack_seconds_p99"), null, "nobody has written: no data, and not 0");
  assert.match(await watcher.page.locator("[data-testid=figure][data-key=ack_seconds_p99]").innerText(), /no data/);

  const [writer, ...readers] = await Promise.all([member(server, ROOM), member(server, ROOM), member(server, ROOM)]);
  await watch(watcher.page);
  // A second without anything, so that nothing is in the first one seen.
  await until("a second has passed", async () => (await seen(watcher.page)).length >= 2);
  let bytes = 0;
  writer.doc.on("update", (update) => {
    bytes += update.length;
  });
  for (let i = 0; i < UPDATES; i += 1) {
    writer.doc.getText("t").insert(0, String.fromCharCode(97 + (i % 26)).repeat(LETTERS));
    await pause(EVERY_MS);
  }
  await until("everybody has it", () => readers.every(({ doc }) => doc.getText("t").length === UPDATES * LETTERS));
  const sentBy = Date.now();
  await until("the page has seen the end", async () => ((await seen(watcher.page)).at(-1)?.["at"] ?? 0) > sentBy + 1_000);

  const rows = await seen(watcher.page);
  assert.ok(rows.length >= 10, `a second after the other was shown, ${rows.length} of them`);
  same(sum(rows, "updates_per_second"), UPDATES, "updates");
  same(sum(rows, "acked_per_second"), UPDATES, "acked");
  same(sum(rows, "bytes_per_second"), bytes, "bytes");
  assert.equal(await figure(watcher.page, "sessions"), 3);
  assert.equal(rows.at(-1)?.["sessions_yjs_websocket"], 3);
  assert.equal(await figure(watcher.page, "rooms_loaded"), 1);
  for (const { ack_seconds_p50: p50 = null, ack_seconds_p99: p99 = null } of rows) {
    assert.equal(p50 === null, p99 === null);
    if (p50 !== null && p99 !== null) assert.ok(0 < p50 && p50 <= p99, `p50 ${p50}, p99 ${p99}`);
  }

  const whole = rows.filter(({ acked_per_second: acked = null }) => acked !== null && acked > 20);
  const untold = whole.filter(({ fanout_seconds_p99: p99 = null }) => p99 === null);
  assert.ok(whole.length >= 10 && untold.length === 0, `where few write, every delivery is timed: ${untold.length} of ${whole.length} seconds have no fan-out`);

  await watcher.page.getByTestId("tab-life").click();
  const checked = Number((await watcher.page.locator("[data-stage=check] td").nth(2).innerText()).replace(/[^\d]/g, ""));
  same(checked, UPDATES, "checked in the life of an update");

  await watcher.page.getByTestId("tab-rooms").click();
  const row = watcher.page.locator(`[data-testid=room-row][data-room="pit/${ROOM}"]`);
  await row.waitFor();
  const { head } = await lastRecord(ROOM);
  const cells = (await row.innerText()).replaceAll("\u00a0", " ");
  assert.match(cells, /3 sessions/);
  assert.ok(cells.includes(`${head.toLocaleString("en")} records`), cells);
  await row.getByRole("button").click();
  await watcher.page.getByTestId("room-session").nth(2).waitFor();
  assert.equal(await watcher.page.getByTestId("room-session").count(), 3);
  await until("the sparkline goes on", async () => Number(await watcher.page.getByTestId("sparkline").getAttribute("data-points")) >= 2);
  await watcher.page.getByTestId("room-records-look").click();
  assert.equal(await watcher.page.getByTestId("room-records").locator("li").first().getAttribute("data-seq"), String(head));
  assert.equal(await watcher.page.getByTestId("room-records").locator("li").count(), 20);
  await watcher.page.getByTestId("room-replay").click();
  await watcher.page.locator(`[data-testid=replay][data-head="${head}"]`).waitFor({ timeout: 20_000 });

  for (const { provider } of [writer, ...readers]) provider.destroy();
  assert.deepEqual(watcher.mishaps, []);
  await watcher.context.close();
});

/** @param {string} room */
async function lastRecord(room) {
  const lines = (await (await server.request(`/api/v1/rooms/pit/${room}/records`)).text()).trim().split("\n");
  return { head: /** @type {number} */ (JSON.parse(lines.at(-1) ?? "{}").seq) };
}

it("says that it knows nothing new, from when its numbers are, and goes on by itself", async () => {
  const other = await Server.start();
  const watcher = await person(browser);
  await open(watcher.page, other.http);
  assert.notEqual(await watcher.page.getByTestId("health").getAttribute("data-state"), "unknown");
  await other.kill();
  await watcher.page.locator("[data-testid=live][data-state=waiting]").waitFor();
  await watcher.page.locator("[data-testid=figures][data-stale=true]").waitFor();
  assert.match(await watcher.page.getByTestId("live").innerText(), /Trying again in \d+ s, numbers are as of \d\d:\d\d:\d\d/);
  assert.equal(await watcher.page.getByTestId("health").getAttribute("data-state"), "unknown");
  assert.match(await watcher.page.getByTestId("health").innerText(), /samples are missing/);
  for (const text of await watcher.page.getByTestId("figure").allInnerTexts()) assert.match(text, /as of \d\d:\d\d:\d\d|no data/);
  await picture(watcher.page, "observatory-silent");
  await other.start();
  await live(watcher.page);
  assert.notEqual(await watcher.page.getByTestId("health").getAttribute("data-state"), "unknown");
  await watcher.page.getByTestId("tab-events").click();
  await watcher.page.locator("[data-testid=event][data-kind=start]").first().waitFor();
  assert.deepEqual(watcher.mishaps, []);
  await watcher.context.close();
  await other.remove();
});

it("asks for a token where the Well is not open, and takes none that does not suffice", async () => {
  const closed = await closedServer();
  const someone = await person(browser);
  await someone.page.goto(`${closed.http}/observatory`);
  await someone.page.locator("[data-testid=observatory-problem][data-code=no_token]").waitFor();
  assert.equal(await someone.page.getByTestId("figures").count(), 0);
  await picture(someone.page, "observatory-token");
  for (const [room, role] of /** @type {const} */ ([["pit/*", "admin"], ["*/*", "creator"]])) {
    await someone.page.getByTestId("token-field").fill(mint(room, role));
    await someone.page.getByTestId("token-use").click();
    await someone.page.locator("[data-testid=observatory-problem][data-code=forbidden]").waitFor();
  }
  for (const role of ["observer", "admin"]) {
    await someone.page.getByTestId("token-field").fill(mint("*/*", role));
    await someone.page.getByTestId("token-use").click();
    await live(someone.page);
    await someone.page.reload();
    await live(someone.page);
    await someone.page.getByTestId("observatory-leave").click();
    await someone.page.locator("[data-testid=observatory-problem][data-code=no_token]").waitFor();
  }
  assert.deepEqual(someone.mishaps, []);
  await someone.context.close();
  await closed.remove();
});

it("has an address for what it shows, which leads back and can be sent", async () => {
  const room = "pit/hot42x";
  const { provider } = await member(server, "hot42x");
  const someone = await person(browser);
  const { page } = someone;
  const query = () => new URL(page.url()).search;
  const shows = async (/** @type {string} */ panel, /** @type {string} */ address) => {
    await page.getByTestId(`panel-${panel}`).waitFor();
    await until(`${address} is the address`, () => query() === address);
  };
  await open(page, server.http);
  await shows("charts", "");
  await page.getByTestId("range-7d").check();
  await shows("charts", "?range=7d");
  await page.getByTestId("tab-rooms").click();
  await page.locator(`[data-testid=room-row][data-room="${room}"] button`).click();
  const closer = page.locator(`[data-testid=room-detail][data-room="${room}"]`);
  await closer.waitFor();
  const hot = "?tab=rooms&room=pit%2Fhot42x&range=7d";
  await shows("rooms", hot);

  await page.reload();
  await live(page);
  await closer.waitFor();
  const sent = await person(browser);
  await sent.page.goto(`${server.http}/observatory${hot}`);
  await sent.page.locator(`[data-testid=room-detail][data-room="${room}"] [data-testid=room-session]`).waitFor();
  await picture(sent.page, "observatory-room-sent");
  await sent.page.getByTestId("tab-charts").click();
  await sent.page.locator("[data-testid=charts][data-loaded=true]").waitFor();
  assert.equal(await sent.page.getByTestId("range-7d").isChecked(), true);

  await page.goBack();
  await page.getByTestId("room-list").waitFor();
  await shows("rooms", "?tab=rooms&range=7d");
  await page.goBack();
  await shows("charts", "?range=7d");
  assert.equal(await page.getByTestId("range-7d").isChecked(), true);
  await page.goBack();
  await shows("charts", "");
  assert.equal(await page.getByTestId("range-1h").isChecked(), true);
  await page.goForward();
  await page.goForward();
  await page.goForward();
  await closer.waitFor();
  await page.goto(`${server.http}/observatory?tab=nothing&room=nothing`);
  await shows("charts", "?tab=nothing&room=nothing");
  provider.destroy();
  for (const person of [someone, sent]) {
    assert.deepEqual(person.mishaps, []);
    await person.context.close();
  }
});

it("is used by keys alone", async () => {
  const someone = await person(browser);
  const { page } = someone;
  const { provider } = await member(server, "keys23");
  await open(page, server.http);
  const focused = () => page.evaluate(() => /** @type {HTMLElement | null} */ (document.activeElement)?.dataset["testid"] ?? document.activeElement?.tagName ?? "");
  const tabTo = async (/** @type {string} */ id) => {
    for (let i = 0; i < 40; i += 1) {
      if ((await focused()) === id) return;
      await page.keyboard.press("Tab");
      assert.ok(await page.evaluate(() => hasRing(document.activeElement)), `${await focused()}: where the focus is can be seen`);
    }
    assert.fail(`${id} is not reached`);
  };
  await page.evaluate(() => {
    // A radio button is as large as its label, which has the ring.
    /** @type {any} */ (globalThis).hasRing = (/** @type {Element | null} */ element) =>
      element === document.body || [element, element?.closest("label")].some((part) => part != null && getComputedStyle(part).outlineStyle !== "none");
  });
  await tabTo("tab-charts");
  await page.keyboard.press("ArrowRight");
  await page.getByTestId("panel-rooms").waitFor();
  assert.equal(await focused(), "tab-rooms");
  await page.keyboard.press("End");
  await page.getByTestId("panel-events").waitFor();
  await page.keyboard.press("ArrowRight");
  await page.getByTestId("panel-charts").waitFor();
  await tabTo("manner-lines");
  await page.keyboard.press("ArrowRight");
  await page.getByRole("region", { name: "Ack in numbers" }).waitFor();
  await tabTo("range-1h");
  await page.keyboard.press("ArrowRight");
  await page.locator("[data-testid=charts][data-loaded=true]").waitFor();
  assert.equal(await page.getByTestId("range-7d").isChecked(), true);
  await page.keyboard.press("Tab");
  assert.ok((await page.evaluate(() => document.activeElement?.getAttribute("aria-label"))) === "Updates in numbers", "a chart's numbers are reached");
  await page.getByTestId("tab-rooms").focus();
  await page.keyboard.press("Enter");
  const row = page.locator("[data-testid=room-row][data-room='pit/keys23'] button");
  await row.focus();
  await page.keyboard.press("Enter");
  await page.getByTestId("room-detail").waitFor();
  assert.equal(await focused(), "H2", "the room's name is what is read next");
  await page.getByTestId("room-close").focus();
  await page.keyboard.press("Enter");
  await row.waitFor();
  const isThere = () => row.evaluate((element) => element === document.activeElement);
  await until("who comes back is where the room is listed", isThere);
  await page.keyboard.press("Enter");
  await page.getByTestId("room-detail").waitFor();
  await page.goBack();
  await until("also by the browser's own way back", isThere);
  provider.destroy();
  assert.deepEqual(someone.mishaps, []);
  await someone.context.close();
});
