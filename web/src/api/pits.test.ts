import { expect, it, vi } from "vitest";
import { startPit } from "./pits";

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
