import fc from "fast-check";
import { expect, it } from "vitest";
import { addressOf, placeOf, TABS, type Place } from "./address";
import { RANGES } from "./recording";

const USUAL: Place = { tab: "charts", range: "1h", room: null };

it("is short where all is as usual", () => {
  expect(addressOf(USUAL)).toBe("/observatory");
  expect(placeOf("")).toEqual(USUAL);
});

it("names a room, which is shown beside the others", () => {
  expect(addressOf({ tab: "rooms", range: "7d", room: "doc/a b/ü" })).toBe("/observatory?tab=rooms&room=doc%2Fa+b%2F%C3%BC&range=7d");
  expect(placeOf("room=pit%2Fx")).toEqual({ tab: "rooms", range: "1h", room: "pit/x" });
  expect(placeOf("?tab=life&room=pit/x").tab).toBe("rooms");
});

it.each(["tab=nothing", "range=1y", "tab=&range=&room=", "room=pit", "room=/x", "room=pit/", `room=pit/${"x".repeat(600)}`, "%%%"])("does not believe %s", (query) => {
  expect(placeOf(query)).toEqual(USUAL);
});

it("leads back to where it was taken, whatever a room is called", () => {
  const name = fc.string({ minLength: 1, maxLength: 200, unit: "binary" });
  const room = fc.tuple(name.filter((space) => !space.includes("/")), name).map((parts) => parts.join("/"));
  const place = fc.record({ tab: fc.constantFrom(...TABS), range: fc.constantFrom(...RANGES), room: fc.option(room) });
  fc.assert(
    fc.property(place, ({ tab, range, room }) => {
      const there: Place = { tab, range, room: tab === "rooms" ? room : null };
      expect(placeOf(new URL(addressOf({ tab, range, room }), "http://well").search)).toEqual(there);
    }),
  );
});
