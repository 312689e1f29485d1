/**
 * The tokens that links have brought to this browser.
 *
 * A token is kept for the room whose link carried it, or, when no room's page was opened with it, for
 * the pattern it names. It is shown wherever the page speaks to the server. What a token says of
 * itself is read for people only: what it is worth is for the server to say.
 *
 * A token that has run out is shown for one more day, and only where nothing better is kept, so that
 * the server's refusal names the reason. Then it is dropped.
 */

import { isRecord, readStored, writeStored } from "./browser-storage";
import { ROLES, type Role } from "./slug";

/** `admin` is a token's role; in a room it is a creator's. */
export type TokenRole = Role | "admin";

export interface Claims {
  /** Patterns, as docs/access.md has them: a name, or a beginning of names and a star. */
  readonly rooms: readonly string[];
  readonly role: TokenRole;
  readonly expiresAtMs: number;
}

export interface KeptToken {
  /** The room whose link carried it, `space/name`; or a pattern. */
  readonly room: string;
  readonly token: string;
  readonly keptAtMs: number;
  /** Null for what is no token; the server will say so. */
  readonly claims: Claims | null;
}

export const TOKENS_MAX = 32;
/** As much as the server looks at. */
export const TOKEN_MAX_BYTES = 8_192;
export const EXPIRED_KEPT_MS = 24 * 3_600_000;
const KEY = "well.tokens";
const TOKEN_ROLES: readonly TokenRole[] = [...ROLES, "admin"];

interface StoredToken {
  readonly room: string;
  readonly token: string;
  readonly keptAtMs: number;
}

/** Where the browser stores nothing, a token lasts as long as its page. */
let ofThisPage: readonly StoredToken[] = [];

/** Keeps a token, before all others of its room. Without a room it stands for the rooms it names. */
export function keepToken(room: string | null, token: string, nowMs: number): void {
  const place = room ?? readClaims(token)?.rooms[0];
  if (place === undefined || !looksLikeToken(token)) return;
  const kept: StoredToken = { room: place, token, keptAtMs: nowMs };
  const others = stored().filter((other) => other.token !== token || other.room !== place);
  store([kept, ...others].filter((entry) => isWorthKeeping(entry, nowMs)).slice(0, TOKENS_MAX));
}

export function forgetToken({ room, token }: Pick<KeptToken, "room" | "token">): void {
  store(stored().filter((other) => other.token !== token || other.room !== room));
}

/** Newest first. */
export function keptTokens(nowMs: number): readonly KeptToken[] {
  return stored()
    .filter((entry) => isWorthKeeping(entry, nowMs))
    .map((entry) => ({ ...entry, claims: readClaims(entry.token) }));
}

/** The token to show for a room: its own, the newest first; else the one that says most of those that cover it. */
export function tokenFor(room: string, nowMs: number): KeptToken | null {
  const all = keptTokens(nowMs);
  const own = all.filter((kept) => kept.room === room);
  const covering = all.filter(({ claims }) => claims?.rooms.some((pattern) => covers(pattern, room)) ?? false).sort(byWorth);
  const good = [...own, ...covering].find((kept) => !hasExpired(kept, nowMs));
  return good ?? own[0] ?? null;
}

/** A token that new rooms of a space, whatever their names, may be made with. */
export function tokenToCreate(space: string, nowMs: number): KeptToken | null {
  const good = keptTokens(nowMs).filter(
    (kept) => !hasExpired(kept, nowMs) && kept.claims !== null && kept.claims.role !== "viewer" && kept.claims.rooms.some((pattern) => covers(pattern, `${space}/`)),
  );
  return [...good].sort(byWorth)[0] ?? null;
}

/** The most that the kept token makes of somebody in a room, as far as it says; null where none is kept. */
export function roleByToken(room: string, nowMs: number): Role | null {
  const role = tokenFor(room, nowMs)?.claims?.role ?? null;
  return role === "admin" ? "creator" : role;
}

export function hasExpired({ claims }: Pick<KeptToken, "claims">, nowMs: number): boolean {
  return claims !== null && claims.expiresAtMs <= nowMs;
}

export function covers(pattern: string, room: string): boolean {
  if (pattern === "*/*") return true;
  return pattern.endsWith("*") ? room.startsWith(pattern.slice(0, -1)) : pattern === room;
}

/** What may be shown to the server as a token at all. */
export function looksLikeToken(text: string): boolean {
  return /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*$/.test(text) && text.length <= TOKEN_MAX_BYTES;
}

/** What a JSON Web Token says of itself. Nothing here checks its signature. */
export function readClaims(token: string): Claims | null {
  const payload = token.split(".")[1];
  if (payload === undefined) return null;
  try {
    const bytes = Uint8Array.from(atob(payload.replace(/-/g, "+").replace(/_/g, "/")), (letter) => letter.charCodeAt(0));
    const claims: unknown = JSON.parse(new TextDecoder().decode(bytes));
    if (!isRecord(claims)) return null;
    const { room, exp } = claims;
    const role = TOKEN_ROLES.find((known) => known === claims["role"]);
    const rooms = (Array.isArray(room) ? room : [room]).filter((pattern: unknown) => typeof pattern === "string");
    if (role === undefined || rooms.length === 0 || typeof exp !== "number") return null;
    return { rooms, role, expiresAtMs: exp * 1_000 };
  } catch {
    return null;
  }
}

function byWorth(a: KeptToken, b: KeptToken): number {
  const rank = ({ claims }: KeptToken): number => (claims === null ? -1 : TOKEN_ROLES.indexOf(claims.role));
  return rank(b) - rank(a) || (b.claims?.expiresAtMs ?? 0) - (a.claims?.expiresAtMs ?? 0);
}

function isWorthKeeping({ token, keptAtMs }: StoredToken, nowMs: number): boolean {
  const endsAtMs = readClaims(token)?.expiresAtMs ?? keptAtMs;
  return Math.max(endsAtMs, keptAtMs) + EXPIRED_KEPT_MS > nowMs;
}

function stored(): readonly StoredToken[] {
  const inBrowser = readStored(KEY, parse) ?? [];
  const here = ofThisPage.filter(({ room, token }) => !inBrowser.some((kept) => kept.room === room && kept.token === token));
  return [...here, ...inBrowser];
}

function store(tokens: readonly StoredToken[]): void {
  writeStored(KEY, tokens);
  const written = readStored(KEY, parse);
  ofThisPage = written?.length === tokens.length ? [] : tokens;
}

function parse(value: unknown): readonly StoredToken[] | null {
  if (!Array.isArray(value)) return null;
  return value.flatMap((entry: unknown): StoredToken[] => {
    if (!isRecord(entry)) return [];
    const { room, token, keptAtMs } = entry;
    const sound = typeof room === "string" && typeof token === "string" && looksLikeToken(token) && typeof keptAtMs === "number";
    return sound ? [{ room, token, keptAtMs }] : [];
  });
}
