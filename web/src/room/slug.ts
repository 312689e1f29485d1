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

export type Role = "creator" | "viewer";

/** Anything contradictory or unknown reads as the lesser role, as it does on the server. */
export function roleOfQuery(query: URLSearchParams): Role {
  const roles = query.getAll("role");
  return roles.every((role) => role === "creator") ? "creator" : "viewer";
}

export function pitPath(slug: string, role: Role): string {
  return `/pit/${slug}?role=${role}`;
}
