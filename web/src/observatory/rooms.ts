/** Rooms as the Observatory lists them: those that are loaded, and what goes on in one. */

import { isRecord } from "../room/browser-storage";
import { numberOrNull } from "./values";

export type Order = "updates" | "bytes" | "sessions" | "lag";

export const ORDERS: readonly { readonly by: Order; readonly label: string }[] = [
  { by: "updates", label: "Rate" },
  { by: "bytes", label: "Bytes" },
  { by: "sessions", label: "Sessions" },
  { by: "lag", label: "Slowest reader" },
];

export interface RoomRow {
  /** `space/name` */
  readonly room: string;
  readonly kind: string;
  readonly updatesPerSecond: number | null;
  readonly bytesPerSecond: number | null;
  readonly sessions: number | null;
  /** How far its slowest reader is behind. */
  readonly lagRecords: number | null;
  /** The Seq of its last record. */
  readonly head: number | null;
  readonly documentBytes: number | null;
}

export interface RoomList {
  readonly rooms: readonly RoomRow[];
  /** All that are loaded, listed or not. */
  readonly loaded: number | null;
}

export interface RoomSession {
  readonly session: string;
  readonly user: string | null;
  readonly dialect: string;
  readonly transport: string;
  readonly role: string;
  readonly rttSeconds: number | null;
  readonly lagRecords: number | null;
  readonly sentBytes: number | null;
  readonly receivedBytes: number | null;
  readonly since: number | null;
}

export interface RoomDetail extends RoomRow {
  /** From when somebody began to look; a second a point. */
  readonly updatesHistory: readonly (number | null)[];
  readonly listed: readonly RoomSession[];
  readonly listedOf: number | null;
}

const HISTORY_MAX = 300;
const SESSIONS_MAX = 200;

export function readRoomList(said: unknown): RoomList | null {
  if (!isRecord(said) || !Array.isArray(said["rooms"])) return null;
  return { rooms: said["rooms"].flatMap((room) => readRow(room) ?? []), loaded: numberOrNull(said["loaded"]) };
}

export function readRoomDetail(said: unknown): RoomDetail | null {
  const row = readRow(said);
  if (row === null || !isRecord(said)) return null;
  const history = isRecord(said["history"]) ? said["history"]["updates_per_second"] : null;
  const sessions = Array.isArray(said["sessions"]) ? said["sessions"] : [];
  return {
    ...row,
    sessions: row.sessions ?? numberOrNull(said["sessions_total"]),
    updatesHistory: Array.isArray(history) ? history.slice(-HISTORY_MAX).map(numberOrNull) : [],
    listed: sessions.slice(0, SESSIONS_MAX).flatMap(readSession),
    listedOf: numberOrNull(said["sessions_total"]),
  };
}

function readRow(said: unknown): RoomRow | null {
  if (!isRecord(said) || typeof said["room"] !== "string") return null;
  return {
    room: said["room"],
    kind: textOf(said["kind"]),
    updatesPerSecond: numberOrNull(said["updates_per_second"]),
    bytesPerSecond: numberOrNull(said["bytes_per_second"]),
    sessions: numberOrNull(said["sessions"]),
    lagRecords: numberOrNull(said["lag_records"]),
    head: numberOrNull(said["head"]),
    documentBytes: numberOrNull(said["document_bytes"]),
  };
}

function readSession(said: unknown): readonly RoomSession[] {
  if (!isRecord(said)) return [];
  return [
    {
      session: textOf(said["session"]),
      user: typeof said["user"] === "string" ? said["user"] : null,
      dialect: textOf(said["dialect"]),
      transport: textOf(said["transport"]),
      role: textOf(said["role"]),
      rttSeconds: numberOrNull(said["rtt_seconds"]),
      lagRecords: numberOrNull(said["lag_records"]),
      sentBytes: numberOrNull(said["sent_bytes"]),
      receivedBytes: numberOrNull(said["received_bytes"]),
      since: numberOrNull(said["since"]),
    },
  ];
}

/** Numbers name sessions too. */
function textOf(said: unknown): string {
  return typeof said === "string" ? said : typeof said === "number" ? String(said) : "?";
}
