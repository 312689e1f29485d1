/** The values of a sample, by the names that the server gives them, and what each is counted in. */

import { isRecord } from "../room/browser-storage";
import type { Unit } from "../design/units";

export const VALUES = {
  updates_per_second: "updates/s",
  bytes_per_second: "bytes/s",
  records_per_second: "records/s",
  acked_per_second: "updates/s",
  ack_seconds_p50: "seconds",
  ack_seconds_p95: "seconds",
  ack_seconds_p99: "seconds",
  fanout_seconds_p50: "seconds",
  fanout_seconds_p99: "seconds",
  feed_lag_records_median: "records",
  feed_lag_records_slowest: "records",
  sync_seconds_p50: "seconds",
  sync_seconds_p99: "seconds",
  commit_records_mean: "records/commit",
  commits_per_second: "commits/s",
  durability_lag_seconds: "seconds",
  join_seconds_p50: "seconds",
  join_seconds_p99: "seconds",
  joins_per_second: "joins/s",
  sessions: "sessions",
  sessions_yjs_websocket: "sessions",
  sessions_yjs_webtransport: "sessions",
  sessions_well_websocket: "sessions",
  sessions_well_webtransport: "sessions",
  connections: "connections",
  rooms_loaded: "rooms",
  memory_resident_bytes: "bytes",
  memory_documents_bytes: "bytes",
  memory_feeds_bytes: "bytes",
  memory_caches_bytes: "bytes",
  memory_inboxes_bytes: "bytes",
  memory_past_bytes: "bytes",
  memory_limit_bytes: "bytes",
  disk_log_bytes: "bytes",
  disk_free_bytes: "bytes",
  disk_size_bytes: "bytes",
  archive_lag_records: "records",
  archive_lag_bytes: "bytes",
  archive_lag_seconds: "seconds",
  limits_hit_per_second: "hits/s",
  refused_per_second: "refusals/s",
  closed_per_second: "closes/s",
  presence_per_second: "frames/s",
  cpu_cores: "cores",
  tokio_queue: "tasks",
  certificate_tls_seconds: "seconds",
  certificate_webtransport_seconds: "seconds",
} as const satisfies Readonly<Record<string, Unit>>;

export type ValueKey = keyof typeof VALUES;
/** Null is unknown, which is never 0. */
export type Values = Readonly<Record<ValueKey, number | null>>;

export const VALUE_KEYS = Object.keys(VALUES) as readonly ValueKey[];

/** Whatever is no finite number is unknown. */
export function numberOrNull(value: unknown): number | null {
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}

export function readValues(values: unknown): Values {
  const said = isRecord(values) ? values : {};
  return Object.fromEntries(VALUE_KEYS.map((key) => [key, numberOrNull(said[key])])) as unknown as Values;
}

export const NO_VALUES: Values = readValues(null);
