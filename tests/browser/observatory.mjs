/** The Observatory's page, and somebody who writes. */

import WebSocket from "ws";
import { WebsocketProvider } from "y-websocket";
import * as Y from "yjs";
import { until } from "../clients/server.mjs";

/** @typedef {import("playwright-core").Page} Page */
/** @typedef {import("../clients/server.mjs").Server} Server */

/** @param {Page} page @param {string} http */
export async function open(page, http) {
  await page.goto(`${http}/observatory`);
  await live(page);
}

/** @param {Page} page */
export async function live(page) {
  await page.locator("[data-testid=live][data-state=live]").waitFor({ timeout: 20_000 });
  await page.locator("[data-testid=figures][data-stale=false][data-at]").waitFor();
}

/** @param {Server} of @param {string} room */
export async function member(of, room) {
  const doc = new Y.Doc();
  const provider = new WebsocketProvider(`${of.ws}/yjs/pit`, room, doc, { WebSocketPolyfill: /** @type {any} */ (WebSocket), disableBc: true });
  await until("it is synced", () => provider.synced);
  return { doc, provider };
}
