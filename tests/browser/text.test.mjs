/** Texts: two browsers write at once, offline edits come back, others are seen; how it looks. */

import assert from "node:assert/strict";
import { after, before, it } from "node:test";
import { Server, pause, until } from "../clients/server.mjs";
import { accessible, badge, connection, fits, launch, person, picture } from "./browser.mjs";

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

/** @typedef {import("playwright-core").Page} Page */

/** @param {Page} page @param {string} name */
async function open(page, name, query = "") {
  await page.goto(`${server.http}/text/${encodeURIComponent(name)}${query}`);
  await page.locator("[data-testid=text-room][data-loaded=true]").waitFor({ timeout: 20_000 });
  await connection(page, "live");
}

/** What the page's text is, and what its editor shows. @param {Page} page */
async function texts(page) {
  return page.evaluate(() => {
    const content = document.querySelector("[data-testid=editor] > div:last-child")?.shadowRoot?.querySelector(".cm-content");
    const lines = [...(content?.querySelectorAll(".cm-line") ?? [])].map((line) => line.textContent);
    return { room: globalThis.__well.text(), shown: lines.join("\n") };
  });
}

/** @param {string} name */
async function serverText(name) {
  const response = await server.request(`/api/v1/rooms/text/${encodeURIComponent(name)}/state?format=text`);
  return response.text();
}

/** Everyone has the server's text, in the room and on the screen. @param {string} name @param {Page[]} pages */
async function converge(name, ...pages) {
  await Promise.all(pages.map((page) => badge(page, "saved")));
  return until(
    "all have the server's text",
    async () => {
      const text = await serverText(name);
      for (const page of pages) {
        const { room, shown } = await texts(page);
        if (room !== text || shown !== text) return false;
      }
      return { text };
    },
    20_000,
  );
}

const content = (/** @type {Page} */ page) => page.locator(".cm-content");

it("two pages that write at once converge to the server's text, and see each other", async () => {
  const [one, two] = [await person(browser), await person(browser)];
  await open(one.page, "both");
  await open(two.page, "both");
  await content(one.page).click();
  await one.page.keyboard.type("A first line.\nA second line.\n");
  await converge("both", one.page, two.page);
  await content(two.page).click();
  await two.page.keyboard.press("Control+End");
  await one.page.keyboard.press("Control+Home");
  await Promise.all([one.page.keyboard.type("Written by one. ".repeat(6), { delay: 7 }), two.page.keyboard.type("And by two.\n".repeat(8), { delay: 7 })]);
  await one.page.keyboard.press("Backspace");
  const { text } = await converge("both", one.page, two.page);
  assert.equal(text, `${"Written by one. ".repeat(6).trimEnd()}A first line.\nA second line.\n${"And by two.\n".repeat(8)}`);

  const name = (await two.page.evaluate(() => JSON.parse(localStorage.getItem("well.me") ?? "{}"))).name;
  await one.page.locator(".cm-other-name", { hasText: name }).waitFor();
  assert.equal(await one.page.getByTestId("remote-cursor").count(), 1);
  assert.equal(await one.page.getByTestId("place").innerText(), "Line 1, column 96");
  assert.equal(await one.page.getByTestId("people").getAttribute("data-drawing"), "2");
  assert.equal(await one.page.getByTestId("transport").getAttribute("data-transport"), "webtransport");
  assert.deepEqual([...one.mishaps, ...two.mishaps], []);
  await one.context.close();
  await until("one's cursor is gone", async () => (await two.page.getByTestId("remote-cursor").count()) === 0);
  await two.context.close();
});

it("undo and redo take back one's own edits, and nobody else's", async () => {
  const [one, two] = [await person(browser), await person(browser)];
  await open(one.page, "undo");
  await open(two.page, "undo");
  await content(one.page).click();
  await one.page.keyboard.type("mine");
  await converge("undo", one.page, two.page);
  await content(two.page).click();
  await two.page.keyboard.press("Control+End");
  await two.page.keyboard.type(" yours");
  await converge("undo", one.page, two.page);
  await one.page.keyboard.press("Control+z");
  assert.equal((await converge("undo", one.page, two.page)).text, " yours");
  await one.page.getByTestId("redo").click();
  assert.equal((await converge("undo", one.page, two.page)).text, "mine yours");
  assert.deepEqual([...one.mishaps, ...two.mishaps], []);
  await one.context.close();
  await two.context.close();
});

it("what was written offline is kept over a reload, and comes back", async () => {
  const [one, two] = [await person(browser), await person(browser)];
  await open(one.page, "offline");
  await open(two.page, "offline");
  await content(one.page).click();
  await one.page.keyboard.type("before ");
  await converge("offline", one.page, two.page);
  await one.context.setOffline(true);
  await connection(one.page, "offline");
  await content(one.page).click();
  await one.page.keyboard.press("Control+End");
  await one.page.keyboard.type("alone ");
  await badge(one.page, "kept");
  await picture(one.page, "text-offline");
  await content(two.page).click();
  await two.page.keyboard.press("Control+Home");
  await two.page.keyboard.type("meanwhile ");
  await badge(two.page, "saved");
  assert.equal(await serverText("offline"), "meanwhile before ");
  // The page goes away with the edits unsent; the next one sends them.
  await pause(300);
  const second = await one.context.newPage();
  await one.page.close();
  await one.context.setOffline(false);
  await open(second, "offline");
  const { text } = await converge("offline", second, two.page);
  assert.equal(text, "meanwhile before alone ");

  // Without a reload, and through a kill of the server.
  await server.kill();
  await connection(second, "offline");
  await content(second).click();
  await second.keyboard.press("Control+End");
  await second.keyboard.type("killed");
  await badge(second, "kept");
  await server.start();
  await connection(second, "live");
  await connection(two.page, "live");
  assert.equal((await converge("offline", second, two.page)).text, "meanwhile before alone killed");
  // A server that is away is no network without UDP.
  for (const page of [second, two.page]) await page.locator("[data-testid=transport][data-transport=webtransport]").waitFor();
  assert.deepEqual([...one.mishaps, ...two.mishaps], []);
  await one.context.close();
  await two.context.close();
});

it("characters of any width and lines of any ending stay as they are", async () => {
  await server.request("/api/v1/rooms/text/wide/text", { method: "PUT", body: "one\r\ntwo 🌊 three\n" });
  const { page, context, mishaps } = await person(browser);
  await open(page, "wide");
  await content(page).click();
  await page.keyboard.press("Control+End");
  await page.keyboard.insertText("né 👩‍👩‍👧 漢字");
  await page.keyboard.press("Backspace");
  await until("it is there", async () => (await serverText("wide")) === "one\r\ntwo 🌊 three\nné 👩‍👩‍👧 漢");
  await badge(page, "saved");
  assert.deepEqual(mishaps, []);
  await context.close();
});

it("where UDP is blocked a WebSocket is there within two seconds, and the page says so", async () => {
  const { page, context, mishaps } = await person(browser);
  await page.addInitScript(() => {
    // As a connection of which no packet comes back.
    globalThis.WebTransport = /** @type {any} */ (
      class {
        ready = new Promise(() => {});
        closed = new Promise(() => {});
        close() {}
      }
    );
    const Socket = globalThis.WebSocket;
    globalThis.WebSocket = class extends Socket {
      /** @param {string} url */
      constructor(url) {
        super(url);
        globalThis.__openedMs = performance.now();
      }
    };
  });
  await page.goto(`${server.http}/text/blocked`);
  await connection(page, "live");
  await page.locator("[data-testid=transport][data-transport=websocket]").waitFor();
  const asked = /** @type {number} */ (await page.evaluate(() => performance.getEntriesByName(`${location.origin}/webtransport.json`)[0]?.startTime));
  const took = (await page.evaluate(() => globalThis.__openedMs)) - asked;
  assert.ok(took < 2_000, `${took} ms`);
  await content(page).click();
  await page.keyboard.type("still");
  assert.equal((await converge("blocked", page)).text, "still");
  assert.deepEqual(mishaps, []);
  await context.close();
});

it("an edit that is refused is not in the text any more, and the page goes on, connected as before", async () => {
  const strict = await Server.start({ config: '[spaces.text]\nkind = "text"\nmax_update = "1KB"\n' });
  const { page, context, mishaps } = await person(browser);
  await page.goto(`${strict.http}/text/strict`);
  await page.locator("[data-testid=text-room][data-loaded=true]").waitFor({ timeout: 20_000 });
  await content(page).click();
  await page.keyboard.type("before");
  await badge(page, "saved");
  await page.keyboard.insertText("x".repeat(3_000));
  await badge(page, "refused");
  await until("the page shows what the server has", async () => {
    const { room, shown } = await texts(page);
    return room === "before" && shown === "before";
  });
  await connection(page, "live");
  await page.locator("[data-testid=transport][data-transport=webtransport]").waitFor();
  // It is not gone: it can be copied, and put away.
  assert.equal(await page.getByTestId("lost-text").inputValue(), "x".repeat(3_000));
  assert.match(await page.getByTestId("lost").innerText(), /refused an edit \(the update .* limit of 1000\)/);
  await accessible(page, "lost");
  await picture(page, "text-lost");
  await content(page).click();
  await page.keyboard.press("Control+End");
  await page.keyboard.type(" after");
  await badge(page, "saved");
  await page.getByTestId("lost-text").waitFor();
  await page.getByTestId("lost-put-away").click();
  assert.equal(await page.getByTestId("lost").count(), 0);
  const state = await strict.request("/api/v1/rooms/text/strict/state?format=text");
  assert.equal(await state.text(), "before after");
  assert.equal((await texts(page)).shown, "before after");
  assert.deepEqual(mishaps, []);
  await context.close();
  await strict.remove();
});

it("what is written after an edit that is refused goes with it, and can be copied", async () => {
  const strict = await Server.start({ config: '[spaces.text]\nkind = "text"\nmax_update = "1KB"\n' });
  const { page, context, mishaps } = await person(browser, { viewport: { width: 360, height: 740 }, permissions: ["clipboard-read", "clipboard-write"] });
  await page.goto(`${strict.http}/text/strict`);
  await page.locator("[data-testid=text-room][data-loaded=true]").waitFor({ timeout: 20_000 });
  await content(page).click();
  await page.keyboard.type("before");
  await badge(page, "saved");
  // The network is slow enough for a person to write on.
  await context.setOffline(true);
  await connection(page, "offline");
  await page.keyboard.press("Enter");
  await page.keyboard.insertText("x".repeat(3_000));
  await page.keyboard.press("Enter");
  await page.keyboard.type("and more");
  await context.setOffline(false);
  await page.getByTestId("lost").waitFor({ timeout: 20_000 });
  await until("the page shows what the server has", async () => (await texts(page)).shown.trim() === "before");
  await fits(page);
  await picture(page, "text-lost-phone");
  await page.getByTestId("lost-copy").click();
  await page.getByText("Copied").waitFor();
  const copied = await page.evaluate(() => navigator.clipboard.readText());
  assert.match(copied, /^x{3000}\nand more$/);
  assert.deepEqual(mishaps, []);
  await context.close();
  await strict.remove();
});

it("a viewer reads along and writes nothing", async () => {
  const [one, watcher] = [await person(browser), await person(browser)];
  await open(one.page, "watched");
  await open(watcher.page, "watched", "?role=viewer");
  await content(one.page).click();
  await one.page.keyboard.type("look");
  await until("it is seen", async () => (await texts(watcher.page)).shown === "look");
  await content(watcher.page).click();
  await watcher.page.keyboard.type("no");
  await badge(watcher.page, "watching");
  assert.equal((await converge("watched", one.page)).text, "look");
  assert.equal(await watcher.page.getByTestId("undo").count(), 0);
  await one.context.close();
  await watcher.context.close();
});

const LOOKS = {
  "desktop-light": { viewport: { width: 1280, height: 800 }, colorScheme: "light" },
  "desktop-dark": { viewport: { width: 1280, height: 800 }, colorScheme: "dark" },
  "phone-light": { viewport: { width: 390, height: 844 }, colorScheme: "light", hasTouch: true, isMobile: true, deviceScaleFactor: 2 },
  "small-dark": { viewport: { width: 320, height: 568 }, colorScheme: "dark", hasTouch: true, isMobile: true, deviceScaleFactor: 2 },
};

for (const [look, options] of Object.entries(LOOKS)) {
  it(`${look}: a text is started from the landing page, and everything is within reach`, async () => {
    const one = await person(browser, /** @type {any} */ (options));
    await one.page.goto(`${server.http}/`);
    await picture(one.page, `text-${look}-landing`);
    await one.page.getByTestId("start-text").click();
    await connection(one.page, "live");
    const name = decodeURIComponent(new URL(one.page.url()).pathname.split("/")[2] ?? "");
    await picture(one.page, `text-${look}-empty`);
    const two = await person(browser);
    await open(two.page, name);
    await content(one.page).click();
    await one.page.keyboard.type("# Notes\n\nA line that is long enough to be wrapped on a phone, and perhaps on a desk too, if the desk is a small one.\n\n- one\n- two\n");
    await content(two.page).click();
    await two.page.keyboard.press("Control+Home");
    await two.page.keyboard.press("ArrowDown");
    await two.page.keyboard.press("ArrowDown");
    await two.page.keyboard.press("Shift+End");
    await one.page.getByTestId("remote-cursor").waitFor();
    await converge(name, one.page, two.page);
    await pause(400);
    await picture(one.page, `text-${look}`);
    await accessible(one.page, look);
    const width = await one.page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(width <= options.viewport.width, `the page is ${width} wide`);
    for (const id of ["history", "undo", "redo", "people", "share", "badge", "place", "transport"]) await reachable(one.page, id);
    await one.page.getByTestId("history").click();
    await one.page.getByTestId("replay").waitFor();
    assert.deepEqual([...one.mishaps, ...two.mishaps], []);
    await one.context.close();
    await two.context.close();
  });
}

/** @param {Page} page @param {string} id */
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
