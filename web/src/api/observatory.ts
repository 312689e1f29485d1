/** What the server tells of itself: docs/http.md has the addresses. All take an admin's or an observer's token where the Well is not open. */

import { eventsOf, type ServerEvent } from "../observatory/event-stream";
import { readRecording, type Range, type Recording } from "../observatory/recording";
import { readRoomDetail, readRoomList, type Order, type RoomDetail, type RoomList } from "../observatory/rooms";
import { readEvents, type RibbonEvent } from "../observatory/sample";
import { readRecords, type PastRecord } from "../past/records";
import { askFor, bearer, roomPath, type Answer, type Failed } from "./ask";
import { problemOf, SENSELESS, UNREACHABLE } from "./problem";

const BASE = "/api/v1/observatory";
const ROOMS_LISTED = 50;
const RECORDS_LISTED = 20;
const TIMEOUT_MS = 20_000;

export type Token = string | null;

export function askHistory(token: Token, range: Range): Promise<Answer<Recording>> {
  return askFor(`${BASE}/history?range=${range}`, { token }, (body) => readRecording(body, range));
}

export function askEvents(token: Token): Promise<Answer<readonly RibbonEvent[]>> {
  return askFor(`${BASE}/events`, { token }, readEvents);
}

export function askRooms(token: Token, by: Order): Promise<Answer<RoomList>> {
  return askFor(`${BASE}/rooms?${new URLSearchParams({ by, limit: String(ROOMS_LISTED) })}`, { token }, readRoomList);
}

export function askRoom(token: Token, room: string): Promise<Answer<RoomDetail>> {
  const [space, name] = splitRoom(room);
  return askFor(`${BASE}/rooms/${encodeURIComponent(space)}/${encodeURIComponent(name)}`, { token }, readRoomDetail);
}

/** The last records of a room whose head is known, the latest first. */
export async function askLastRecords(token: Token, room: string, head: number): Promise<Answer<readonly PastRecord[]>> {
  const query = new URLSearchParams({ from: String(Math.max(1, head - RECORDS_LISTED + 1)), to: String(head) });
  const asked = await open(`${roomPath(...splitRoom(room))}/records?${query}`, token, "application/x-ndjson", AbortSignal.timeout(TIMEOUT_MS));
  if (!asked.ok) return asked;
  try {
    const records: PastRecord[] = [];
    for await (const record of readRecords(asked.value)) records.unshift(record);
    return { ok: true, value: records.slice(0, RECORDS_LISTED) };
  } catch {
    return { ok: false, problem: SENSELESS, status: 200 };
  }
}

/** The stream of samples and events. It breaks by an error, or ends. */
export async function openLive(token: Token, signal: AbortSignal): Promise<Answer<AsyncGenerator<ServerEvent>>> {
  const asked = await open(`${BASE}/live`, token, "text/event-stream", signal);
  return asked.ok ? { ok: true, value: eventsOf(asked.value) } : asked;
}

/** `space/name`; a name may hold slashes. */
export function splitRoom(room: string): [space: string, name: string] {
  const slash = room.indexOf("/");
  return slash < 0 ? [room, ""] : [room.slice(0, slash), room.slice(slash + 1)];
}

type Opened = { readonly ok: true; readonly value: ReadableStream<Uint8Array<ArrayBuffer>> } | Failed;

async function open(path: string, token: Token, accept: string, signal: AbortSignal): Promise<Opened> {
  let response: Response;
  try {
    response = await fetch(path, { headers: { accept, ...bearer(token) }, cache: "no-store", signal });
  } catch {
    return { ok: false, problem: UNREACHABLE, status: 0 };
  }
  if (!response.ok) return { ok: false, problem: await problemOf(response), status: response.status };
  return response.body === null ? { ok: false, problem: SENSELESS, status: response.status } : { ok: true, value: response.body };
}
