/** How the pages look where it takes a token: narrow and wide, light and dark. Pictures go to the folder `SCREENSHOTS`. */

import assert from "node:assert/strict";
import { after, before, it } from "node:test";
import { accessible, enter, fits, launch, makeLink, person, picture } from "./browser.mjs";
import { closedServer, mint, newPit } from "./tokens.mjs";

/** @type {import("../clients/server.mjs").Server} */
let server;
/** @type {import("playwright-core").Browser} */
let browser;
before(async () => {
  [server, browser] = await Promise.all([closedServer(), launch()]);
});
after(async () => {
  await browser.close();
  await server.remove();
});

for (const width of [320, 390, 1280]) {
  for (const colorScheme of /** @type {const} */ (["light", "dark"])) {
    it(`${width} px, ${colorScheme}: each view fits`, async () => {
      const { slug, url } = await newPit(server);
      const { page, context, mishaps } = await person(browser, { viewport: { width, height: width > 1_000 ? 800 : 700 }, colorScheme });
      const look = async (/** @type {string} */ name) => {
        await fits(page);
        await accessible(page, name);
        const inside = await page.evaluate(() => [...document.querySelectorAll("dialog[open]")].every((dialog) => dialog.scrollWidth <= dialog.clientWidth && dialog.getBoundingClientRect().right <= innerWidth));
        assert.ok(inside, `${name}: the dialog fits`);
        await picture(page, `${width}-${colorScheme}-${name}`);
      };
      await page.goto(`${server.http}/`);
      await page.getByTestId("start-pit").click();
      await page.getByTestId("token-field").waitFor();
      await look("asks");
      await enter(page, `${url}?role=creator#token=${mint(`pit/${slug}`, "creator")}`);
      await page.getByTestId("share").click();
      await page.getByTestId("make").waitFor();
      await look("share");
      await makeLink(page, "editor");
      await look("share-made");
      await page.goto(`${server.http}/pit/${slug}#token=${mint(`pit/${slug}`, "editor").slice(0, -3)}`);
      await page.getByTestId("refusal").waitFor();
      await look("refused");
      await page.goto(`${server.http}/#token=${mint("pit/*", "editor")}`);
      await page.getByTestId("own-room").waitFor();
      await look("landing");
      await page.goto(`${server.http}/admin`);
      await page.getByTestId("token-field").fill(mint("*/*", "admin"));
      await page.getByTestId("token-use").click();
      await page.getByTestId("admin-room").first().waitFor();
      await page.getByTestId("admin-account").first().waitFor();
      await look("admin");
      await page.getByTestId("admin-leave").click();
      await page.getByTestId("token-field").fill(mint("pit/*", "editor"));
      await page.getByTestId("token-use").click();
      await page.getByTestId("admin-not").waitFor();
      await look("admin-not");
      assert.deepEqual(mishaps, []);
      await context.close();
    });
  }
}
