import { beforeEach, expect, it } from "vitest";
import { adminToken, keepAdminToken } from "./admin-token";
import { linkTo, pathOfRoom, readLink, readPasted, roomOfName, roomOfPath, takeTokenFromAddress } from "./link";
import { keptTokens } from "./tokens";

const TOKEN = "aGVhZA.cGF5bG9hZA.c2ln";

beforeEach(() => localStorage.clear());

it.each([
  ["/pit/K3X9QA", { space: "pit", name: "k3x9qa" }],
  ["/text/a%2Fb", { space: "text", name: "a/b" }],
  ["/replay/doc/my%2Froom", { space: "doc", name: "my/room" }],
  ["/replay/pit/k3x9qa", { space: "pit", name: "k3x9qa" }],
  ["/", null],
  ["/admin", null],
])("%s is about %j", (path, room) => {
  expect(roomOfPath(path)).toEqual(room);
});

it("links lead back to their room, and carry their token where no server sees it", () => {
  for (const room of [{ space: "pit", name: "k3x9qa" }, { space: "text", name: "a/b c" }, { space: "doc", name: "x" }]) expect(roomOfPath(pathOfRoom(room))).toEqual(room);
  const link = new URL(linkTo({ space: "pit", name: "k3x9qa" }, "viewer", TOKEN));
  expect([link.pathname, link.search, link.hash]).toEqual(["/pit/k3x9qa", "?role=viewer", `#token=${TOKEN}`]);
  expect(readPasted(link.href)).toEqual({ token: TOKEN, room: { space: "pit", name: "k3x9qa" } });
});

it.each([
  ["https://well.example/pit/K3X9QA?role=viewer", { room: { space: "pit", name: "k3x9qa" }, role: "viewer" }],
  ["https://well.example/pit/k3x9qa", { room: { space: "pit", name: "k3x9qa" }, role: null }],
  [" http://127.0.0.1:4000/text/a%2Fb?role=editor#token=x ", { room: { space: "text", name: "a/b" }, role: "editor" }],
  ["https://well.example/replay/doc/x?seq=4", { room: { space: "doc", name: "x" }, role: null }],
  ["https://well.example/", null],
  ["k3x9qa", null],
  ["pit/k3x9qa", null],
  ["https://[", null],
])("the link %j leads to %j", (text, link) => {
  expect(readLink(text)).toEqual(link);
});

it("takes a token out of what is pasted", () => {
  expect(readPasted(`  ${TOKEN}\n`)).toEqual({ token: TOKEN, room: null });
  expect(readPasted(`https://elsewhere.example/text/notes?token=${TOKEN}`)).toEqual({ token: TOKEN, room: { space: "text", name: "notes" } });
  for (const none of ["", "k3x9qa", "https://elsewhere.example/pit/k3x9qa", "https://["]) expect(readPasted(none)).toBeNull();
});

it.each([
  [`/pit/k3x9qa?role=viewer#token=${TOKEN}`, "/pit/k3x9qa?role=viewer", "pit/k3x9qa"],
  [`/text/a%2Fb#token=${TOKEN}`, "/text/a%2Fb", "text/a/b"],
  [`/replay/doc/x?seq=4#token=${TOKEN}`, "/replay/doc/x?seq=4", "doc/x"],
  [`/pit/k3x9qa?%52ole=viewer&token=${TOKEN}&x=1`, "/pit/k3x9qa?%52ole=viewer&x=1", "pit/k3x9qa"],
])("takes the token out of %s and leaves %s", (address, left, room) => {
  history.replaceState(null, "", address);
  expect(takeTokenFromAddress(Date.now())).toBe(true);
  expect(location.pathname + location.search + location.hash).toBe(left);
  expect(keptTokens(Date.now()).map((kept) => [kept.room, kept.token])).toEqual([[room, TOKEN]]);
  expect(takeTokenFromAddress(Date.now())).toBe(false);
});

it("an admin's token lasts as long as the tab, and is shown nowhere else", () => {
  history.replaceState(null, "", `/admin#token=${TOKEN}`);
  expect(takeTokenFromAddress(Date.now())).toBe(true);
  expect([location.hash, adminToken(), keptTokens(Date.now())]).toEqual(["", TOKEN, []]);
  keepAdminToken(null);
  expect(adminToken()).toBeNull();
});

it("a pattern is no room", () => {
  expect([roomOfName("pit/*"), roomOfName("pit"), roomOfName("doc/a/b")]).toEqual([null, null, { space: "doc", name: "a/b" }]);
});
