/** What the tests share. */

export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

export function bytes(hex: string): Uint8Array {
  return new Uint8Array(Buffer.from(hex, "hex"));
}

/** Carries out visible edits, as an editor would. */
export function carryOut(text: string, changes: readonly { at: number; deleted: number; inserted: string }[]): string {
  return changes.reduce(
    (text, { at, deleted, inserted }) => text.slice(0, at) + inserted + text.slice(at + deleted),
    text,
  );
}
