import { beforeEach, expect, it, vi } from "vitest";
import { keepToken } from "../room/tokens";
import { lookAtPit, startPit } from "./pits";

beforeEach(() => localStorage.clear());

function answer(status: number, body: string, headers: Record<string, string> = {}) {
  return vi.spyOn(globalThis, "fetch").mockResolvedValue(new Response(body, { status, headers }));
}

/** A token that says so of itself; nobody has signed it. */
function token(claims: object): string {
  return `h.${btoa(JSON.stringify(claims)).replace(/=+$/, "")}.s`;
}

it("gives the new pit's slug", async () => {
  answer(201, '{"space":"pit","name":"k3x9qa","room":"pit/k3x9qa","url":"/pit/k3x9qa"}');
  expect(await startPit()).toEqual({ ok: true, value: "k3x9qa" });
});

it("passes a problem on", async () => {
  answer(429, '{"title":"Too many pits","detail":"Wait.","code":"over_quota","status":429}', { "retry-after": "30" });
  expect(await startPit()).toEqual({
    ok: false,
    status: 429,
    problem: { title: "Too many pits", detail: "Wait.", code: "over_quota", retryAfterS: 30 },
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

it("tells a pit that is missing from one that cannot be asked for, and what the page may be in it", async () => {
  answer(404, '{"title":"No such room","code":"no_room","status":404}');
  expect(await lookAtPit("zzzzzz", 1_000)).toBe("missing");
  answer(404, "<html>some proxy</html>");
  expect(await lookAtPit("zzzzzz", 1_000)).toBe("unknown");
  answer(200, "{}");
  expect(await lookAtPit("zzzzzz", 1_000)).toBe("unknown");
  answer(200, '{"role":"viewer"}');
  expect(await lookAtPit("zzzzzz", 1_000)).toBe("viewer");
  vi.spyOn(globalThis, "fetch").mockRejectedValue(new TypeError("failed"));
  expect(await lookAtPit("zzzzzz", 1_000)).toBe("unknown");
});

it("shows the token that new pits can be made with, and the one of the pit that it looks at", async () => {
  const exp = Date.now() / 1_000 + 3_600;
  const [wide, own] = [token({ room: "pit/*", role: "editor", exp }), token({ room: "pit/zzzzzz", role: "viewer", exp })];
  keepToken(null, wide, Date.now());
  keepToken("pit/zzzzzz", own, Date.now());
  const asked = answer(201, '{"name":"k3x9qa"}');
  await startPit();
  await lookAtPit("zzzzzz", 1_000);
  expect(asked.mock.calls.map(([, init]) => (init?.headers as Record<string, string>)["authorization"])).toEqual([`Bearer ${wide}`, `Bearer ${own}`]);
});
