import { describe, expect, it } from "vitest";
import { parsePitCode, roleOfQuery, slugOfPath } from "./slug";

describe("parsePitCode", () => {
  it.each([
    ["k3x9qa", "k3x9qa"],
    ["  K3X9QA ", "k3x9qa"],
    ["k3x-9qa", "k3x9qa"],
    ["k3x 9qa", "k3x9qa"],
    ["https://well.example/pit/k3x9qa?role=viewer", "k3x9qa"],
    ["HTTP://HOST:4000/PIT/K3X9QA#x", "k3x9qa"],
    ["/pit/k3x9qa", "k3x9qa"],
  ])("reads %j", (text, code) => expect(parsePitCode(text)).toBe(code));

  it.each(["", "k3x9q", "k3x9qab", "k3x9q0", "k3x9ql", "https://well.example/note/k3x9qa", "pit"])(
    "refuses %j",
    (text) => expect(parsePitCode(text)).toBeNull(),
  );
});

describe("slugOfPath", () => {
  it("normalises codes and leaves other names alone", () => {
    expect(slugOfPath("K3X9QA")).toBe("k3x9qa");
    expect(slugOfPath("Load-Test_1")).toBe("Load-Test_1");
    expect(slugOfPath("../etc")).toBeNull();
    expect(slugOfPath("a b")).toBeNull();
  });
});

describe("roleOfQuery", () => {
  // The table of protocol/src/role.rs: page and server must never disagree.
  it.each([
    ["", "editor"],
    ["token=abc", "editor"],
    ["parole=viewer", "editor"],
    ["x=role", "editor"],
    ["role=editor", "editor"],
    ["role=creator", "creator"],
    ["x=1&role=creator&y=2", "creator"],
    ["role=viewer", "viewer"],
    ["role=creator&role=viewer", "viewer"],
    ["role=viewer&role=creator", "viewer"],
    ["role=creator&role=editor", "editor"],
    ["role=editor&role", "viewer"],
    ["role", "viewer"],
    ["role=", "viewer"],
    ["role==editor", "viewer"],
    ["role=Editor", "viewer"],
    ["role=admin", "viewer"],
    ["role=%65ditor", "viewer"],
    ["role=editor%20", "viewer"],
    ["role=editor+", "viewer"],
    ["role=creator,viewer", "viewer"],
    ["r%6Fle=viewer", "viewer"],
    ["r%6Fle=creator", "viewer"],
    ["role=creator&r%6fle=editor", "viewer"],
    ["ROLE=creator", "viewer"],
    ["role=creator&Role=viewer", "viewer"],
    ["role[]=creator", "viewer"],
    ["role%5B0%5D=creator", "viewer"],
    ["+role=creator", "viewer"],
    ["role%20=creator", "viewer"],
    ["role=creator;role=viewer", "viewer"],
    ["role=creator?role=viewer", "viewer"],
    ["role=creator#role=viewer", "viewer"],
    ["?role=viewer", "viewer"],
    ["&&role=viewer&&", "viewer"],
    ["role=\u{ff45}ditor", "viewer"],
    ["role=viewer%00", "viewer"],
    ["?ROLE=viewer", "viewer"],
    ["?x=1;role=viewer", "viewer"],
    ["?%20role=viewer", "viewer"],
    ["%C2%85role=creator", "viewer"],
    ["%EF%BB%BFrole=viewer", "editor"],
    ["%=1&%zz=2&%ffrole=viewer", "editor"],
  ])("reads %j as %s", (query, role) => expect(roleOfQuery(query)).toBe(role));
});
