import { expect, it, vi } from "vitest";
import { pitIsMissing, startPit } from "./pits";

function answer(status: number, body: string): void {
  vi.spyOn(globalThis, "fetch").mockResolvedValue(new Response(body, { status }));
}

it("gives the new pit's slug", async () => {
  answer(201, '{"space":"pit","name":"k3x9qa","room":"pit/k3x9qa","url":"/pit/k3x9qa"}');
  expect(await startPit()).toEqual({ ok: true, slug: "k3x9qa" });
});

it("passes a problem on", async () => {
  answer(429, '{"title":"Too many pits","detail":"Wait.","code":"over_quota","status":429}');
  expect(await startPit()).toEqual({
    ok: false,
    problem: { title: "Too many pits", detail: "Wait.", code: "over_quota" },
  });
});

it("survives answers that are no problem JSON", async () => {
  answer(502, "<html>bad gateway</html>");
  expect(await startPit()).toMatchObject({ ok: false, problem: { detail: "It answered with status 502." } });
  answer(201, "null");
  expect(await startPit()).toMatchObject({ ok: false });
});

it("says when nobody answers", async () => {
  vi.spyOn(globalThis, "fetch").mockRejectedValue(new TypeError("failed"));
  expect(await startPit()).toMatchObject({ ok: false, problem: { title: "The Well cannot be reached" } });
});

it("tells a pit that is missing from one that cannot be asked for", async () => {
  answer(404, '{"title":"No such room","code":"no_room","status":404}');
  expect(await pitIsMissing("zzzzzz")).toBe(true);
  answer(404, "<html>some proxy</html>");
  expect(await pitIsMissing("zzzzzz")).toBe(false);
  answer(200, "{}");
  expect(await pitIsMissing("zzzzzz")).toBe(false);
  vi.spyOn(globalThis, "fetch").mockRejectedValue(new TypeError("failed"));
  expect(await pitIsMissing("zzzzzz")).toBe(false);
});
