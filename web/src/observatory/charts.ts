/** Which charts there are, and what each shows. One chart has one unit. */

import { share, type Unit } from "../design/units";
import { VALUES, type ValueKey, type Values } from "./values";

export interface ChartLine {
  readonly key: ValueKey;
  readonly label: string;
  /** A bound of the others: drawn dashed, and only where they come near it. */
  readonly bound?: true;
}

export interface Chart {
  readonly id: string;
  readonly title: string;
  readonly unit: Unit;
  readonly lines: readonly ChartLine[];
}

export const CHARTS: readonly Chart[] = [
  chart("updates", "Updates", [line("updates_per_second", "received"), line("acked_per_second", "acked")]),
  chart("bytes", "Payload received", [line("bytes_per_second", "received")]),
  chart("ack", "Ack", [line("ack_seconds_p50", "p50"), line("ack_seconds_p95", "p95"), line("ack_seconds_p99", "p99")]),
  chart("durability", "Durability lag", [line("durability_lag_seconds", "oldest update")]),
  chart("fanout", "Fan-out", [line("fanout_seconds_p50", "p50"), line("fanout_seconds_p99", "p99")]),
  chart("feed", "Readers behind", [line("feed_lag_records_median", "median"), line("feed_lag_records_slowest", "slowest")]),
  chart("sync", "Sync", [line("sync_seconds_p50", "p50"), line("sync_seconds_p99", "p99")]),
  chart("commit", "Commit size", [line("commit_records_mean", "mean")]),
  chart("commits", "Commits", [line("commits_per_second", "commits")]),
  chart("sessions", "Sessions", [
    line("sessions_yjs_websocket", "yjs, WebSocket"),
    line("sessions_yjs_webtransport", "yjs, WebTransport"),
    line("sessions_well_websocket", "well, WebSocket"),
    line("sessions_well_webtransport", "well, WebTransport"),
  ]),
  chart("rooms", "Rooms loaded", [line("rooms_loaded", "loaded")]),
  chart("join", "Joining", [line("join_seconds_p50", "p50"), line("join_seconds_p99", "p99")]),
  chart("memory", "Memory", [
    line("memory_resident_bytes", "process"),
    line("memory_documents_bytes", "documents"),
    line("memory_feeds_bytes", "feeds"),
    line("memory_caches_bytes", "caches"),
    line("memory_inboxes_bytes", "inboxes"),
    line("memory_past_bytes", "past"),
    { ...line("memory_limit_bytes", "limit"), bound: true },
  ]),
  chart("disk", "Disk", [
    line("disk_log_bytes", "log"),
    { ...line("disk_free_bytes", "free"), bound: true },
    { ...line("disk_size_bytes", "size"), bound: true },
  ]),
  chart("archive", "Archive behind", [line("archive_lag_seconds", "oldest record")]),
  chart("limits", "Limits hit", [line("limits_hit_per_second", "hit")]),
  chart("refused", "Refused", [line("refused_per_second", "refused")]),
  chart("closed", "Connections closed", [line("closed_per_second", "closed")]),
  chart("presence", "Presence", [line("presence_per_second", "frames")]),
  chart("cpu", "Processor", [line("cpu_cores", "in use")]),
];

function line(key: ValueKey, label: string): ChartLine {
  return { key, label };
}

/** The unit is that of its first line. */
function chart(id: string, title: string, lines: readonly [ChartLine, ...ChartLine[]]): Chart {
  return { id, title, unit: VALUES[lines[0].key], lines };
}

/** A bound is near when the others take this part of it. */
const NEAR = 0.5;

/**
 * How high a chart's axis must reach, by the highest value of each of its lines: up to all that is no bound, and to
 * those bounds that are near. One that is far would make lines of what is below it that nobody can read.
 */
export function ceilingOf({ lines }: Chart, highest: readonly (number | null)[]): number {
  const among = (wanted: (line: ChartLine, high: number) => boolean): number =>
    lines.reduce((most, line, index) => {
      const high = highest[index] ?? 0;
      return wanted(line, high) ? Math.max(most, high) : most;
    }, 0);
  const own = among((line) => line.bound !== true);
  return among((line, high) => line.bound !== true || own >= NEAR * high);
}

export interface Figure {
  readonly key: ValueKey;
  readonly label: string;
  readonly beside: (values: Values) => { readonly label: string; readonly key: ValueKey } | string;
}

/** What is seen first: each a value, and what it is to be read beside. */
export const FIGURES: readonly Figure[] = [
  { key: "updates_per_second", label: "Updates", beside: () => ({ label: "payload", key: "bytes_per_second" }) },
  { key: "ack_seconds_p99", label: "Ack, p99", beside: () => ({ label: "p50", key: "ack_seconds_p50" }) },
  { key: "durability_lag_seconds", label: "Durability lag", beside: () => ({ label: "sync p99", key: "sync_seconds_p99" }) },
  { key: "fanout_seconds_p99", label: "Fan-out, p99", beside: () => ({ label: "slowest", key: "feed_lag_records_slowest" }) },
  { key: "sessions", label: "Sessions", beside: () => ({ label: "", key: "connections" }) },
  { key: "rooms_loaded", label: "Rooms loaded", beside: () => ({ label: "", key: "joins_per_second" }) },
  { key: "disk_free_bytes", label: "Disk free", beside: ({ disk_free_bytes: free, disk_size_bytes: size }) => `of the disk: ${share(free, size)}` },
  { key: "archive_lag_seconds", label: "Archive behind", beside: () => ({ label: "", key: "archive_lag_records" }) },
  { key: "memory_resident_bytes", label: "Memory", beside: () => ({ label: "limit", key: "memory_limit_bytes" }) },
  { key: "refused_per_second", label: "Refused", beside: () => ({ label: "limits", key: "limits_hit_per_second" }) },
];
