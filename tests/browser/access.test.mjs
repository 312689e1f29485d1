/** Who may come in: links with tokens, what each refusal looks like, and the admin's page. */

import assert from "node:assert/strict";
import { after, before, it } from "node:test";
import { Server, until } from "../clients/server.mjs";
import { badge, connection, draw, enter, launch, makeLink, person, picture, slugOf, strokes } from "./browser.mjs";
import { closedServer, mint, newPit } from "./tokens.mjs";

/** @typedef {import("playwright-core").Page} Page */

/** A stroke that says who drew it by its place. @param {number} y @returns {[number, number][]} */
const line = (y) => [[-120, y], [120, y]];

/** @type {Server} */
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

/** @param {Page} page */
function bare(page) {
  assert.ok(!page.url().includes("token"), `no token stands in the address: ${page.url()}`);
}

/**
 * @param {Page} page
 * @param {string} kind
 */
async function refusal(page, kind) {
  await page.locator(`[data-testid=refusal][data-kind=${kind}]`).waitFor({ timeout: 20_000 });
}

it("a pit is made with a token, its link lets others draw, and taking it back shows why", async () => {
  const host = await person(browser);
  await host.page.goto(`${server.http}/`);
  await host.page.getByTestId("start-pit").click();
  await host.page.locator("[data-testid=problem][data-code=no_token]").waitFor();
  await picture(host.page, "landing-asks");
  await host.page.getByTestId("token-field").fill("k3x9qa");
  await host.page.getByTestId("token-use").click();
  await host.page.locator("[data-testid=token-hint][data-wrong=true]").waitFor();
  await host.page.getByTestId("token-field").fill(mint("pit/*", "creator"));
  await host.page.keyboard.press("Enter");
  await connection(host.page, "live");
  const slug = slugOf(host.page.url());
  await draw(host.page, line(-100));
  await badge(host.page, "saved");

  await host.page.getByTestId("share").click();
  const link = await makeLink(host.page, "editor");
  assert.match(link, new RegExp(`/pit/${slug}\\?role=editor#token=`));
  assert.equal(await host.page.getByTestId("qr").getAttribute("data-text"), link);
  assert.equal(await host.page.getByTestId("share-open").count(), 0, "the space is not open, and the dialog says no such thing");
  await picture(host.page, "share-editor");

  const guest = await person(browser);
  await enter(guest.page, link);
  bare(guest.page);
  await guest.page.locator("[data-testid=pit][data-role=editor]").waitFor();
  await draw(guest.page, line(0));
  await badge(guest.page, "saved");
  await strokes(host.page, 2);
  await guest.page.reload();
  await connection(guest.page, "live");
  await draw(guest.page, line(40));
  await strokes(host.page, 3);

  await host.page.getByTestId("revoke-link").click();
  await refusal(guest.page, "revoked");
  assert.match(await guest.page.getByTestId("refused").innerText(), /4401 · the token has been revoked/);
  await until("the dialog says how many sessions ended", async () => /1 session has ended/.test(await host.page.getByTestId("revoked").innerText()));
  assert.equal(await host.page.getByTestId("made").count(), 0);
  await picture(guest.page, "revoked");

  const fresh = await makeLink(host.page, "editor");
  await guest.page.getByTestId("token-field").fill(fresh);
  await guest.page.keyboard.press("Enter");
  await connection(guest.page, "live");
  await draw(guest.page, line(80));
  await strokes(host.page, 4);
  assert.deepEqual([...host.mishaps, ...guest.mishaps], []);
  await host.context.close();
  await guest.context.close();
});

it("edits that were not stored when the token was taken back stay here, and go out with the next", async () => {
  const { slug, url } = await newPit(server);
  const guest = await person(browser);
  await enter(guest.page, `${url}#token=${mint(`pit/${slug}`, "editor", { jti: "cut-off" })}`);
  await draw(guest.page, line(-40));
  await badge(guest.page, "saved");
  await guest.context.setOffline(true);
  await connection(guest.page, "offline");
  await draw(guest.page, line(40));
  await badge(guest.page, "kept");
  const revoked = await server.request("/api/v1/admin/revoke", { method: "POST", headers: { authorization: `Bearer ${mint("*/*", "admin")}` }, body: '{"jti":"cut-off"}' });
  assert.equal(revoked.status, 200);
  await guest.context.setOffline(false);
  await refusal(guest.page, "revoked");
  await guest.page.locator("[data-testid=unstored][data-where=device]").waitFor();
  await picture(guest.page, "revoked-unstored");
  await guest.page.getByTestId("token-field").fill(mint(`pit/${slug}`, "editor"));
  await guest.page.getByTestId("token-use").click();
  await connection(guest.page, "live");
  await badge(guest.page, "saved");
  const other = await person(browser);
  await enter(other.page, url);
  await strokes(other.page, 2);
  assert.deepEqual([...guest.mishaps, ...other.mishaps], []);
  await guest.context.close();
  await other.context.close();
});

it("a viewer's link only watches, whatever its address says; so does nobody's, and the page knows it at once", async () => {
  const { slug, url } = await newPit(server);
  const host = await person(browser);
  await enter(host.page, `${url}?role=creator#token=${mint("pit/*", "creator")}`);
  await draw(host.page, line(0));
  await badge(host.page, "saved");
  await host.page.getByTestId("share").click();
  const link = await makeLink(host.page, "viewer");
  for (const address of [link, link.replace("role=viewer", "role=creator"), url, `${url}?role=creator`]) {
    const watcher = await person(browser);
    await enter(watcher.page, address);
    bare(watcher.page);
    await watcher.page.locator("[data-testid=pit][data-role=viewer]").waitFor();
    await strokes(watcher.page, 1);
    await badge(watcher.page, "watching");
    assert.equal(await watcher.page.getByTestId("toolbar").count(), 0);
    await draw(watcher.page, line(50));
    assert.deepEqual(watcher.mishaps, []);
    await watcher.context.close();
  }
  await strokes(host.page, 1);
  /** @param {string | null} token */
  const role = async (token) => {
    const shown = await server.request(`/api/v1/rooms/pit/${slug}`, { headers: token === null ? {} : { authorization: `Bearer ${token}` } });
    return /** @type {{ role: string }} */ (await shown.json()).role;
  };
  const said = [null, ...["viewer", "editor", "creator", "admin"].map((role) => mint("pit/*", role))].map(role);
  assert.deepEqual(await Promise.all(said), ["viewer", "viewer", "editor", "creator", "creator"], "the server says what each may be");
  await host.context.close();
});

it("an expired link says so, and one may go on without it; one that expires meanwhile ends the page", async () => {
  const { slug, url } = await newPit(server);
  const late = await person(browser);
  await late.page.goto(`${url}#token=${mint(`pit/${slug}`, "editor", { seconds: -60 })}`);
  await refusal(late.page, "expired");
  bare(late.page);
  await picture(late.page, "expired");
  await late.page.reload();
  await refusal(late.page, "expired");
  await late.page.getByTestId("without-token").click();
  await connection(late.page, "live");
  await late.page.locator("[data-testid=pit][data-role=viewer]").waitFor();

  const brief = await person(browser);
  await enter(brief.page, `${url}#token=${mint(`pit/${slug}`, "editor", { seconds: 4 })}`);
  await refusal(brief.page, "expired");
  assert.match(await brief.page.getByTestId("refused").innerText(), /4401 · the token has expired/);
  assert.deepEqual([...late.mishaps, ...brief.mishaps], []);
  await late.context.close();
  await brief.context.close();
});

it("a link for another room, and one that was cut short, are told apart", async () => {
  const { url } = await newPit(server);
  const someone = await person(browser);
  await someone.page.goto(`${url}#token=${mint("pit/other", "editor")}`);
  await refusal(someone.page, "forbidden");
  await picture(someone.page, "forbidden");
  await someone.page.goto(`${server.http}/`);
  await someone.page.goto(`${url}#token=${mint("pit/*", "editor").slice(0, -3)}`);
  await refusal(someone.page, "bad-token");
  assert.deepEqual(someone.mishaps, []);
  await someone.context.close();
});

it("a text that takes a token asks for one, and is shared like a pit; its history takes it too", async () => {
  const someone = await person(browser);
  await someone.page.goto(`${server.http}/text/notes`);
  await refusal(someone.page, "no-token");
  await picture(someone.page, "text-no-token");
  await someone.page.getByTestId("token-field").fill(`${server.http}/text/notes#token=${mint("text/notes", "creator")}`);
  await someone.page.getByTestId("token-use").click();
  await connection(someone.page, "live");
  await someone.page.locator(".cm-content").click();
  await someone.page.keyboard.type("hello");
  await badge(someone.page, "saved");
  await someone.page.getByTestId("share").click();
  const link = await makeLink(someone.page, "editor");
  await picture(someone.page, "text-share");

  const guest = await person(browser);
  await guest.page.goto(link);
  await connection(guest.page, "live");
  bare(guest.page);
  await guest.page.locator(".cm-content").click();
  await guest.page.keyboard.press("Control+End");
  await guest.page.keyboard.type(" you");
  await badge(guest.page, "saved");
  await until("both have it", async () => (await someone.page.evaluate(() => globalThis.__well.text())) === "hello you");
  await guest.page.getByTestId("history").click();
  await guest.page.locator("[data-testid=replay][data-live=live][data-settled=true]").waitFor();
  assert.equal(await guest.page.getByTestId("restore").count(), 0, "an editor restores nothing");
  await guest.page.goBack();
  await connection(guest.page, "live");
  await someone.page.getByTestId("revoke-link").click();
  await refusal(guest.page, "revoked");

  const stranger = await person(browser);
  await stranger.page.goto(`${server.http}/replay/text/notes`);
  await refusal(stranger.page, "no-token");
  await stranger.page.goto(`${server.http}/replay/text/notes#token=${mint("text/*", "creator")}`);
  await stranger.page.locator("[data-testid=replay][data-settled=true]").waitFor();
  await stranger.page.getByTestId("restore").waitFor();
  assert.deepEqual([...someone.mishaps, ...guest.mishaps, ...stranger.mishaps], []);
  for (const { context } of [someone, guest, stranger]) await context.close();
});

it("an editor may not share, and is told; what it passes on is the plain link", async () => {
  const { slug, url } = await newPit(server);
  const guest = await person(browser);
  await enter(guest.page, `${url}?role=creator#token=${mint(`pit/${slug}`, "editor")}`);
  await guest.page.getByTestId("share").click();
  await guest.page.getByTestId("make-link").click();
  const why = guest.page.getByTestId("share-cannot");
  await why.waitFor();
  assert.match(await why.innerText(), /may not share this room.*a token of role creator is needed/);
  assert.equal(await guest.page.getByTestId("viewer-link").inputValue(), `${url}?role=viewer`);
  await picture(guest.page, "share-cannot");
  assert.deepEqual(guest.mishaps, []);
  await guest.context.close();
});

it("an open space says that anyone may write, and its links carry a token only to end", async () => {
  const open = await Server.start();
  const host = await person(browser);
  await host.page.goto(`${open.http}/`);
  await host.page.getByTestId("start-pit").click();
  await connection(host.page, "live");
  await host.page.getByTestId("share").click();
  assert.match(await host.page.getByTestId("share-open").innerText(), /anyone who knows the code can draw here/);
  const plain = await host.page.getByTestId("creator-link").inputValue();
  assert.match(plain, /\?role=creator$/);
  assert.equal(await host.page.getByTestId("editor-role").count(), 0);
  await host.page.getByTestId("make-link").click();
  const link = await host.page.getByTestId("made-link").inputValue();
  await picture(host.page, "share-open");
  const watcher = await person(browser);
  await enter(watcher.page, link.replace("role=viewer", "role=creator"));
  await watcher.page.locator("[data-testid=pit][data-role=viewer]").waitFor();
  await host.page.getByTestId("revoke-link").click();
  await refusal(watcher.page, "revoked");
  assert.deepEqual([...host.mishaps, ...watcher.mishaps], []);
  await host.context.close();
  await watcher.context.close();
  await open.remove();
});

it("the start page lists own rooms with role and end, and forgets them with their token", async () => {
  const { slug, url } = await newPit(server);
  const someone = await person(browser);
  await enter(someone.page, `${url}?role=editor#token=${mint(`pit/${slug}`, "editor", { seconds: 3 * 86_400 + 600 })}`);
  await someone.page.goto(`${server.http}/text/plans#token=${mint("text/plans", "viewer", { seconds: 7_800 })}`);
  await connection(someone.page, "live");
  await someone.page.goto(`${server.http}/#token=${mint("pit/*", "viewer")}`);
  bare(someone.page);
  const row = (/** @type {string} */ room) => someone.page.locator(`[data-testid=own-room][data-room="${room}"]`);
  assert.match(await row(`pit/${slug}`).innerText(), /editor, ends in 3 days/);
  assert.match(await row("text/plans").innerText(), /viewer, ends in 2 hours/);
  assert.match(await someone.page.getByTestId("wide-token").innerText(), /pit\/\*\s+viewer, ends in 1 hour/);
  await picture(someone.page, "landing-own");
  await someone.page.getByRole("button", { name: `Remove ${slug} and its token from this list` }).click();
  await someone.page.getByRole("button", { name: "Forget the token for pit/*" }).click();
  await until("they are gone", async () => (await row(`pit/${slug}`).count()) === 0 && (await someone.page.getByTestId("wide-token").count()) === 0);
  const kept = await someone.page.evaluate(() => JSON.parse(localStorage.getItem("well.tokens") ?? "[]"));
  assert.deepEqual(kept.map((/** @type {{ room: string }} */ { room }) => room), ["text/plans"]);
  assert.deepEqual(someone.mishaps, []);
  await someone.context.close();
});

it("a link with its token may be pasted into the field for codes", async () => {
  const { slug, url } = await newPit(server);
  const someone = await person(browser);
  await someone.page.goto(`${server.http}/`);
  await someone.page.getByTestId("join-code").fill(`${url}?role=editor#token=${mint(`pit/${slug}`, "editor")}`);
  assert.equal(await someone.page.getByTestId("join-code").inputValue(), slug);
  await someone.page.getByTestId("join").click();
  await someone.page.locator("[data-testid=pit][data-role=editor]").waitFor();
  await connection(someone.page, "live");
  await draw(someone.page, line(0));
  await badge(someone.page, "saved");
  assert.deepEqual(someone.mishaps, []);
  await someone.context.close();
});

it("where the server says when to come back, the page counts down and comes back", async () => {
  const { slug, url } = await newPit(server);
  const someone = await person(browser);
  let refusals = 0;
  // What a server with limits says; the rest of the way is the real one.
  await someone.page.routeWebSocket(/\/pit\//, (socket) => {
    refusals += 1;
    if (refusals > 1) socket.connectToServer();
    else void socket.close({ code: 4429, reason: "too many updates; try again in 4 s" });
  });
  await someone.page.goto(`${url}#token=${mint(`pit/${slug}`, "editor")}`);
  await refusal(someone.page, "too-much");
  assert.match(await someone.page.getByTestId("refused").innerText(), /4429 · too many updates/);
  assert.match(await someone.page.getByTestId("retry").innerText(), /Try again in [1-4] s/);
  assert.ok(await someone.page.getByTestId("retry").isDisabled());
  await picture(someone.page, "too-much");
  await connection(someone.page, "live");
  assert.equal(refusals, 2);
  assert.deepEqual(someone.mishaps, []);
  await someone.context.close();
});

it("a server's own limits: too many new pits, too many connections, too large", async () => {
  const limited = await Server.start({ config: `[spaces.pit]\nnew_rooms_per_ip_per_hour = 1\nconnections_per_ip = 1\nmax_update = "1KB"\n` });
  const first = await person(browser);
  await first.page.goto(`${limited.http}/`);
  await first.page.getByTestId("start-pit").click();
  await connection(first.page, "live");
  const second = await person(browser);
  await second.page.goto(`${limited.http}/`);
  await second.page.getByTestId("start-pit").click();
  const problem = second.page.getByTestId("problem");
  assert.match(await problem.innerText(), /too many new rooms from this address.*It may work again in \d+ min/s);
  assert.doesNotMatch(await problem.innerText(), /\d s\b|try again/, "the wait is said once, and in one unit");
  await picture(second.page, "too-many-pits");
  await second.page.goto(first.page.url());
  await refusal(second.page, "too-much");
  assert.match(await second.page.getByTestId("refused").innerText(), /4429 · too many connections from this address/);
  await picture(second.page, "too-many-connections");

  await first.page.evaluate(() => globalThis.__well.doc.getText("large").insert(0, "x".repeat(2_000)));
  await refusal(first.page, "too-large");
  await first.page.locator("[data-testid=unstored][data-where=device]").waitFor();
  await picture(first.page, "too-large");
  assert.deepEqual([...first.mishaps, ...second.mishaps], []);
  await first.context.close();
  await second.context.close();
  await limited.remove();
});

it("a server that is full says so while the page tries again", async () => {
  const { slug, url } = await newPit(server);
  const someone = await person(browser);
  let open = true;
  await someone.page.routeWebSocket(/\/pit\//, (socket) => {
    if (open) socket.connectToServer();
    else void socket.close({ code: 1013, reason: "as many rooms are loaded as may be; try again in 20 s" });
  });
  await enter(someone.page, `${url}#token=${mint(`pit/${slug}`, "editor")}`);
  open = false;
  await someone.context.setOffline(true);
  await connection(someone.page, "offline");
  await draw(someone.page, line(0));
  await someone.context.setOffline(false);
  await someone.page.getByTestId("later").waitFor();
  assert.match(await someone.page.getByTestId("later").innerText(), /as many rooms are loaded as may be/);
  await badge(someone.page, "kept");
  await picture(someone.page, "later");
  open = true;
  await connection(someone.page, "live");
  await badge(someone.page, "saved");
  assert.equal(await someone.page.getByTestId("later").count(), 0);
  await someone.context.close();
});

for (const code of [4408, 4409]) {
  it(`${code} has a view of its own`, async () => {
    const { url } = await newPit(server);
    const someone = await person(browser);
    await someone.page.routeWebSocket(/\/pit\//, (socket) => void socket.close({ code, reason: "the server's own words" }));
    await someone.page.goto(url);
    await refusal(someone.page, code === 4408 ? "too-slow" : "replaced");
    assert.match(await someone.page.getByTestId("refused").innerText(), new RegExp(`${code} · the server's own words`));
    await someone.page.getByTestId("retry").waitFor();
    await someone.context.close();
  });
}

/** How many sessions a loaded room has. @param {string} room */
async function sessionsOf(room) {
  const headers = { authorization: `Bearer ${mint("*/*", "admin")}` };
  const answer = await fetch(`${server.http}/api/v1/observatory/rooms?by=sessions`, { headers });
  const { rooms } = await answer.json();
  return rooms.find((/** @type {{ room: string }} */ it) => it.room === room)?.sessions ?? 0;
}

it("an admin sees the rooms, and evicts, revokes, deletes and reloads", async () => {
  const { slug, url } = await newPit(server);
  const admin = await person(browser);
  await admin.page.goto(`${server.http}/admin`);
  await picture(admin.page, "admin-asks");
  await admin.page.getByTestId("token-field").fill(mint("*/*", "creator"));
  await admin.page.getByTestId("token-use").click();
  assert.match(await admin.page.getByTestId("admin-not").innerText(), /it is a creator's/);
  for (const deed of ["admin-rooms", "admin-usage", "revoke", "reload"]) assert.equal(await admin.page.getByTestId(deed).count(), 0, `${deed} is for admins`);
  await admin.page.getByTestId("token-field").fill(mint("*/*", "admin").slice(0, -3));
  await admin.page.getByTestId("token-use").click();
  await admin.page.locator("[data-testid=admin-problem][data-code=bad_token]").waitFor();
  await admin.page.getByTestId("token-field").fill(mint("pit/*", "admin"));
  await admin.page.getByTestId("token-use").click();
  await admin.page.getByTestId("revoke").waitFor();
  assert.equal(await admin.page.getByTestId("reload").count(), 0, "the configuration is for who may do everything");
  await admin.page.getByTestId("admin-leave").click();
  await admin.page.getByTestId("token-field").fill(mint("*/*", "admin"));
  await admin.page.getByTestId("token-use").click();
  await admin.page.waitForFunction(() => /^admin of/.test(document.querySelector("[data-testid=admin-who]")?.textContent ?? ""));

  const guest = await person(browser);
  await enter(guest.page, `${url}#token=${mint(`pit/${slug}`, "editor", { jti: "of-the-guest", tenant: "acme" })}`);
  await draw(guest.page, line(0));
  await badge(guest.page, "saved");
  const row = admin.page.locator(`[data-testid=admin-room][data-room="pit/${slug}"]`);
  await admin.page.getByTestId("admin-refresh").click();
  await until("the row tells of the guest", async () => /1\s+just now/.test(await row.innerText()));
  await admin.page.getByTestId("usage-refresh").click();
  const account = admin.page.locator("[data-testid=admin-account][data-space=pit][data-tenant=acme]");
  await until("what the guest wrote stands beside its limit", async () => (await account.count()) === 1 && /\d of 1,000\srecords, 0\s%/.test(await account.innerText()) && /of 1\sMB/.test(await account.innerText()));
  await picture(admin.page, "admin");

  await row.getByTestId("evict").click();
  await until("it says so", async () => /is unloaded/.test(await admin.page.getByTestId("admin-done").innerText()));
  // The badge of a page that has not noticed yet says the same as that of one that is back.
  await until("the guest is back", async () => (await sessionsOf(`pit/${slug}`)) === 1);
  await connection(guest.page, "live");
  await strokes(guest.page, 1);

  await admin.page.getByTestId("revoke-value").fill("of-the-guest");
  await admin.page.getByTestId("revoke-go").click();
  await refusal(guest.page, "revoked");
  assert.match(await admin.page.getByTestId("revoke-done").innerText(), /Revoked; 1 session has ended/);

  await admin.page.getByTestId("reload").click();
  await until("it is read again", async () => /has been read again/.test(await admin.page.getByTestId("reload-done").innerText()));

  await row.getByTestId("delete").click();
  await picture(admin.page, "admin-delete");
  await admin.page.keyboard.press("Escape");
  assert.equal((await server.request(`/api/v1/rooms/pit/${slug}`)).status, 200, "a question that is left deletes nothing");
  await row.getByTestId("delete").click();
  await admin.page.getByTestId("admin-confirm").click();
  await until("its row is gone", async () => (await row.count()) === 0);
  assert.equal((await server.request(`/api/v1/rooms/pit/${slug}`)).status, 404);

  assert.ok((await admin.page.evaluate(() => JSON.stringify({ ...localStorage }))).indexOf("admin") === -1, "the admin's token is not kept with the others");
  await admin.page.getByTestId("admin-leave").click();
  assert.equal(await admin.page.evaluate(() => sessionStorage.length), 0);
  assert.deepEqual([...admin.mishaps, ...guest.mishaps], []);
  await admin.context.close();
  await guest.context.close();
});

it("with keys alone: a link is made, shown and taken back", async () => {
  const { url } = await newPit(server);
  const { page, context, mishaps } = await person(browser);
  await enter(page, `${url}?role=creator#token=${mint("pit/*", "creator")}`);
  await page.keyboard.press("s");
  await page.getByTestId("make").waitFor();
  /** @param {string} id */
  const tabTo = async (id) => {
    for (let i = 0; i < 20; i += 1) {
      if (await page.evaluate((id) => document.activeElement?.getAttribute("data-testid") === id, id)) return;
      await page.keyboard.press("Tab");
    }
    assert.fail(`${id} cannot be reached`);
  };
  await tabTo("viewer-role");
  await page.keyboard.press("ArrowRight");
  await tabTo("link-time");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.locator("[data-testid=made][data-role=editor]").waitFor();
  await tabTo("copy-made-link");
  await tabTo("revoke-link");
  await page.keyboard.press("Enter");
  await until("it is gone", async () => (await page.getByTestId("made").count()) === 0);
  await page.keyboard.press("Escape");
  await until("the dialog is closed", async () => (await page.getByTestId("share-dialog").count()) === 0);
  assert.deepEqual(mishaps, []);
  await context.close();
});
