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
  it.each([
    ["", "creator"],
    ["role=creator", "creator"],
    ["role=viewer", "viewer"],
    ["role=creator&role=viewer", "viewer"],
    ["role=viewer&role=creator", "viewer"],
    ["role=admin", "viewer"],
  ])("reads %j as %s", (query, role) => expect(roleOfQuery(new URLSearchParams(query))).toBe(role));
});
