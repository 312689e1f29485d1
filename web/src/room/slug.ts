/** Pit codes: six characters without look-alikes (no 0, o, 1, i, l). */

export const PIT_CODE_LENGTH = 6;
const ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz";
const CODE = new RegExp(`^[${ALPHABET}]{${PIT_CODE_LENGTH}}$`);
/** What a path may name at all. Whether such a pit exists is for the server to say. */
const PATH_SLUG = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/;

/** Reads a code as people type, dictate and paste it: any case, spaces or dashes, or a whole URL. */
export function parsePitCode(text: string): string | null {
  const inUrl = /\/pit\/([^/?#\s]+)/i.exec(text);
  const code = (inUrl?.[1] ?? text).replace(/[\s\-–—]/g, "").toLowerCase();
  return CODE.test(code) ? code : null;
}

/** The slug a page path stands for; a code in capitals is the same code. */
export function slugOfPath(segment: string): string | null {
  return parsePitCode(segment) ?? (PATH_SLUG.test(segment) ? segment : null);
}

/** Ordered: each role may do what the ones before it may. */
export const ROLES = ["viewer", "editor", "creator"] as const;
export type Role = (typeof ROLES)[number];

/** The lesser of two. */
export function lowerRole(a: Role, b: Role): Role {
  return ROLES.indexOf(a) < ROLES.indexOf(b) ? a : b;
}

export function mayWrite(role: Role): boolean {
  return role !== "viewer";
}

/**
 * The role that a page's query asks for, as it stands in the address: the server's own rule
 * (`Role::from_query`), so that no page offers what its socket would be refused.
 *
 * Nothing said is an editor. Of several roles the lowest counts, and a role spelt in any other way
 * than plainly (escapes, capitals, `role[]`, no value) is a viewer's. `;`, `?` and `#` part
 * parameters like `&` does.
 */
export function roleOfQuery(query: string): Role {
  const asked = query
    .replace(/^\?/, "")
    .split(/[&;?#]/)
    .flatMap((parameter) => roleOfParameter(parameter) ?? []);
  return ROLES.find((role) => asked.includes(role)) ?? "editor";
}

function roleOfParameter(parameter: string): Role | null {
  const at = parameter.indexOf("=");
  const key = at < 0 ? parameter : parameter.slice(0, at);
  const value = at < 0 ? "" : parameter.slice(at + 1);
  if (key === "role") return ROLES.find((role) => role === value) ?? "viewer";
  const plain = percentDecoded(key.replaceAll("+", " "))
    .replace(/^\p{White_Space}+|\p{White_Space}+$/gu, "")
    .replace(/[A-Z]/g, (letter) => letter.toLowerCase());
  return plain === "role" || plain.startsWith("role[") ? "viewer" : null;
}

/** What is no escape stays as it is, and what is no UTF-8 becomes U+FFFD. */
function percentDecoded(text: string): string {
  const bytes = new TextEncoder().encode(text);
  const decoded: number[] = [];
  for (let i = 0; i < bytes.length; i += 1) {
    const escape = bytes[i] === 0x25 ? String.fromCharCode(...bytes.subarray(i + 1, i + 3)) : "";
    if (/^[0-9a-f]{2}$/i.test(escape)) {
      decoded.push(parseInt(escape, 16));
      i += 2;
    } else decoded.push(bytes[i] ?? 0);
  }
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(new Uint8Array(decoded));
}

export function pitPath(slug: string, role: Role): string {
  return `/pit/${slug}?role=${role}`;
}

/** Whether this is a code as the server makes them, rather than any name that a room may have. */
export function isPitCode(slug: string): boolean {
  return CODE.test(slug);
}
