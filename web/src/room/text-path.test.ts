import { expect, it } from "vitest";
import { textOfPath, textPath } from "./text-path";

it("a name goes into a path and comes back", () => {
  for (const name of ["notes", "my/notes", "é 漢 %", "a?b#c"]) expect(textOfPath(textPath(name))).toBe(name);
  expect(textOfPath("/text/my/notes/")).toBe("my/notes");
  for (const path of ["/text", "/text/", "/text/%ff", "/pit/x"]) expect(textOfPath(path)).toBeNull();
});
