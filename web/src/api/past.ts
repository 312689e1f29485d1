/** A room's past over HTTP: state, records, timeline, restore, fork. */

import { readRecords, type PastRecord } from "../past/records";
import { readAuthoredText, readChanges, type AuthoredText, type TextChange } from "../past/text";
import { readTimeline, type Timeline } from "../past/timeline";
import { isRecord } from "../room/browser-storage";
import { bearer, roomPath, tokenOf } from "./ask";
import { problemOf, SENSELESS, UNREACHABLE, type Problem } from "./problem";

export interface Room {
  readonly space: string;
  readonly name: string;
}

/** A refusal of the server, or nobody answering (status 0). */
export class PastError extends Error {
  constructor(
    readonly problem: Problem,
    readonly status: number,
  ) {
    super(problem.title);
  }
}

export const BAD_REQUEST = 400;
export const UNAUTHORIZED = 401;
export const FORBIDDEN = 403;
export const NOT_FOUND = 404;
export const GONE = 410;
const TIMEOUT_MS = 20_000;

export function pastUrl({ space, name }: Room, what: string, query: Readonly<Record<string, string | number>> = {}): string {
  const parameters = new URLSearchParams(Object.entries(query).map(([key, value]) => [key, String(value)]));
  const text = parameters.toString();
  return `${roomPath(space, name)}/${what}${text === "" ? "" : `?${text}`}`;
}

/** The same for what can show its token in no header: a link to a file, a stream of events. */
export function pastUrlWithToken(room: Room, what: string, query: Readonly<Record<string, string | number>> = {}): string {
  const token = tokenOf(room.space, room.name);
  return pastUrl(room, what, token === null ? query : { ...query, token });
}

export async function fetchTimeline(room: Room, query: Readonly<Record<string, string | number>>, signal?: AbortSignal): Promise<Timeline> {
  const response = await ask(room, pastUrl(room, "timeline", query), signal === undefined ? {} : { signal });
  const timeline = readTimeline(await response.json().catch(() => null));
  if (timeline === null) throw senseless(response.status);
  return timeline;
}

/** The Seq that a time stands for. */
export async function seqAtTime(room: Room, at: string): Promise<number> {
  return (await fetchTimeline(room, { to: at, buckets: 1 })).to;
}

export async function fetchKeyframe(room: Room, seq: number, signal: AbortSignal): Promise<Uint8Array> {
  const response = await ask(room, pastUrl(room, "state", { seq, format: "update" }), { signal });
  return new Uint8Array(await response.arrayBuffer());
}

/** A text room's text at a moment, by authors. */
export async function fetchText(room: Room, seq: number, signal: AbortSignal): Promise<AuthoredText> {
  const response = await ask(room, pastUrl(room, "state", { seq, format: "json" }), { signal });
  const text = readAuthoredText(await response.json().catch(() => null));
  if (text === null) throw senseless(response.status);
  return text;
}

/** What changed in a text room between two moments. */
export async function fetchChanges(room: Room, from: number, to: number, signal: AbortSignal): Promise<readonly TextChange[]> {
  const response = await ask(room, pastUrl(room, "diff", { from, to }), { signal });
  const changes = readChanges(await response.json().catch(() => null));
  if (changes === null) throw senseless(response.status);
  return changes;
}

export async function* fetchRecords(room: Room, from: number, to: number, signal: AbortSignal): AsyncGenerator<PastRecord> {
  const response = await ask(room, pastUrl(room, "records", { from, to }), { signal, headers: { accept: "application/x-ndjson" } });
  if (response.body === null) throw senseless(response.status);
  yield* readRecords(response.body);
}

/** Sets the room back to a moment by a new edit; gives the Seq of that edit. */
export async function restoreRoom(room: Room, seq: number): Promise<number> {
  const body = await change(room, "restore", seq);
  if (typeof body["seq"] !== "number") throw senseless(200);
  return body["seq"];
}

/** Makes a new room of a moment; gives its page. */
export async function forkRoom(room: Room, seq: number): Promise<{ readonly url: string; readonly name: string }> {
  const body = await change(room, "fork", seq);
  const { url, name } = body;
  if (typeof url !== "string" || !/^\/[^/]/.test(url) || typeof name !== "string") throw senseless(201);
  return { url, name };
}

async function change(room: Room, what: string, seq: number): Promise<Record<string, unknown>> {
  const response = await ask(room, pastUrl(room, what), {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ seq }),
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  const body: unknown = await response.json().catch(() => null);
  if (!isRecord(body)) throw senseless(response.status);
  return body;
}

type Asking = Omit<RequestInit, "headers"> & { readonly headers?: Readonly<Record<string, string>> };

async function ask({ space, name }: Room, url: string, init: Asking): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(url, { ...init, headers: { ...init.headers, ...bearer(tokenOf(space, name)) } });
  } catch (error) {
    if (init.signal?.aborted === true && !(error instanceof DOMException && error.name === "TimeoutError")) throw error;
    throw new PastError(UNREACHABLE, 0);
  }
  if (!response.ok) throw new PastError(await problemOf(response), response.status);
  return response;
}

function senseless(status: number): PastError {
  return new PastError(SENSELESS, status);
}
