/**
 * Links to rooms, and the tokens in them.
 *
 * A link carries its token in the fragment, which browsers send to nobody. The page takes it out of
 * the address bar before anything else happens, so that it is not seen over a shoulder, copied along
 * or kept in the history.
 */

import { keepAdminToken } from "./admin-token";
import { replayOfPath } from "./replay-path";
import { type Role, roleOfQuery, slugOfPath } from "./slug";
import { textOfPath, textPath } from "./text-path";
import { keepToken, looksLikeToken } from "./tokens";

export interface RoomName {
  readonly space: string;
  readonly name: string;
}

/** `space/name` */
export function roomName({ space, name }: RoomName): string {
  return `${space}/${name}`;
}

/** The room of a `space/name`; null for a pattern. */
export function roomOfName(room: string): RoomName | null {
  const at = room.indexOf("/");
  return at < 1 || room.endsWith("*") ? null : { space: room.slice(0, at), name: room.slice(at + 1) };
}

/** The room that a page is about; null for pages that are about none. */
export function roomOfPath(path: string): RoomName | null {
  const pit = /^\/pit\/([^/]+)\/?$/.exec(path);
  const slug = slugOfPath(pit?.[1] ?? "");
  if (slug !== null) return { space: "pit", name: slug };
  const text = textOfPath(path);
  return text === null ? replayOfPath(path) : { space: "text", name: text };
}

/** Where a room is opened: in its own page where its space has one, else at its history. */
export function pathOfRoom({ space, name }: RoomName): string {
  if (space === "pit") return `/pit/${encodeURIComponent(name)}`;
  return space === "text" ? textPath(name) : `/replay/${encodeURIComponent(space)}/${encodeURIComponent(name)}`;
}

/** A link to a room that asks for a role, and carries a token if there is one. */
export function linkTo(room: RoomName, role: string, token: string | null): string {
  const link = `${location.origin}${pathOfRoom(room)}?role=${role}`;
  return token === null ? link : `${link}#token=${token}`;
}

/**
 * The token in what somebody has pasted: a link that carries one, or the token itself; and the room
 * that a link leads to.
 */
export function readPasted(text: string): { readonly token: string; readonly room: RoomName | null } | null {
  const pasted = text.trim();
  if (looksLikeToken(pasted)) return { token: pasted, room: null };
  try {
    const url = new URL(pasted, location.origin);
    const token = tokenIn(url.hash) ?? tokenIn(url.search);
    return token === null ? null : { token, room: roomOfPath(url.pathname) };
  } catch {
    return null;
  }
}

/** The room that a pasted link leads to, and the role that it asks for; null for what is no link to a room. */
export function readLink(text: string): { readonly room: RoomName; readonly role: Role | null } | null {
  if (!text.includes("://")) return null;
  try {
    const { pathname, search } = new URL(text.trim());
    const room = roomOfPath(pathname);
    if (room === null) return null;
    // Nothing said is an editor too.
    const role = roleOfQuery(search);
    return { room, role: role === "editor" && !search.includes("role=") ? null : role };
  } catch {
    return null;
  }
}

/** Takes the token out of the address bar and keeps it. Says whether there was one. */
export function takeTokenFromAddress(nowMs: number): boolean {
  const { pathname, search, hash } = location;
  const token = tokenIn(hash) ?? tokenIn(search);
  if (token === null) return false;
  // What else the query says is the server's to judge, so it stays as it is written.
  const query = search.slice(1).split("&").filter((parameter) => !parameter.startsWith("token=")).join("&");
  history.replaceState(history.state, "", `${pathname}${query === "" ? "" : `?${query}`}`);
  const room = roomOfPath(pathname);
  if (/^\/admin\/?$/.test(pathname)) keepAdminToken(token);
  else keepToken(room === null ? null : roomName(room), token, nowMs);
  return true;
}

function tokenIn(part: string): string | null {
  return new URLSearchParams(part.slice(1)).get("token");
}
