//! One function for each thing that is counted or timed; the names stand nowhere else.
//!
//! Hot functions keep their handles, so that recording is an atomic operation and no look-up. Labels
//! are closed sets ([`labels`](crate::labels)): nobody outside can make a series. `docs/metrics.md` is
//! written from the tables here, and a test compares it.

use std::sync::LazyLock;
use std::time::Duration;

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram,
};

use crate::labels::{
    Certificate, Dialect, Label, Limit, Owner, RoomWas, Tier, Transport, Untold, Which,
};
use crate::latency::{Stage, record};

const CLOSED: &str = "well_closed_total";
const CONNECTIONS: &str = "well_connections";
const REFUSED: &str = "well_refused_total";
const SESSIONS: &str = "well_sessions";
const MEMORY_LIMIT: &str = "well_memory_limit_bytes";
const CERTIFICATE: &str = "well_certificate_expiry_timestamp_seconds";
const WAS_POISONED: &str = "well_log_poisoned_timestamp_seconds";
const BUILD: &str = "well_build_info";
const MONTH_RECORDS: &str = "well_month_records";
const MONTH_BYTES: &str = "well_month_bytes";
const DISK_FREE: &str = "well_disk_free_bytes";
const DISK_SIZE: &str = "well_disk_size_bytes";

/// One metric, as `docs/metrics.md` tells of it.
#[derive(Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// What it counts in.
    pub unit: Unit,
    /// The keys of its labels, and their values.
    pub labels: String,
    /// What it means.
    pub about: &'static str,
}

macro_rules! metrics_table {
    ($($kind:ident $name:ident = $text:literal, $unit:expr, $about:literal;)*) => {
        struct Handles { $($name: metrics_table!(@type $kind),)* }
        static HANDLES: LazyLock<Handles> = LazyLock::new(|| Handles {
            $($name: metrics_table!(@new $kind $text),)*
        });
        fn describe_plain() {
            $(metrics_table!(@describe $kind $text, $unit, $about);)*
            LazyLock::force(&HANDLES);
        }
        fn plain() -> Vec<Metric> {
            vec![$(Metric {
                name: $text,
                kind: stringify!($kind),
                unit: $unit,
                labels: String::new(),
                about: $about,
            },)*]
        }
    };
    (@type counter) => { Counter };
    (@type gauge) => { Gauge };
    (@type histogram) => { Histogram };
    (@new counter $text:literal) => { counter!($text) };
    (@new gauge $text:literal) => { gauge!($text) };
    (@new histogram $text:literal) => { histogram!($text) };
    (@describe counter $text:expr, $unit:expr, $about:literal) => { describe_counter!($text, $unit, $about) };
    (@describe gauge $text:expr, $unit:expr, $about:literal) => { describe_gauge!($text, $unit, $about) };
    (@describe histogram $text:expr, $unit:expr, $about:literal) => { describe_histogram!($text, $unit, $about) };
}

/// Metrics with one label: a handle for each of its values.
macro_rules! families {
    ($($kind:ident $name:ident($label:ident) = $text:literal, $unit:expr, $about:literal;)*) => {
        struct Families { $($name: Vec<metrics_table!(@type $kind)>,)* }
        static FAMILIES: LazyLock<Families> = LazyLock::new(|| Families {
            $($name: $label::ALL.iter().map(|label| families!(@new $kind $text, $label, label)).collect(),)*
        });
        fn describe_families() {
            $(metrics_table!(@describe $kind $text, $unit, $about);)*
            LazyLock::force(&FAMILIES);
        }
        fn with_label() -> Vec<Metric> {
            vec![$(Metric {
                name: $text,
                kind: stringify!($kind),
                unit: $unit,
                labels: told::<$label>(),
                about: $about,
            },)*]
        }
    };
    (@new counter $text:literal, $label:ident, $value:ident) => { counter!($text, $label::KEY => $value.text()) };
    (@new gauge $text:literal, $label:ident, $value:ident) => { gauge!($text, $label::KEY => $value.text()) };
    (@new histogram $text:literal, $label:ident, $value:ident) => { histogram!($text, $label::KEY => $value.text()) };
}

/// Metrics whose series come when there is something to say, or with two labels.
macro_rules! others {
    ($($kind:ident $text:expr, $unit:expr, $labels:expr, $about:literal;)*) => {
        fn describe_others() {
            $(metrics_table!(@describe $kind $text, $unit, $about);)*
        }
        fn others() -> Vec<Metric> {
            vec![$(Metric {
                name: $text,
                kind: stringify!($kind),
                unit: $unit,
                labels: $labels,
                about: $about,
            },)*]
        }
    };
}

/// A label's key and values, for people.
fn told<L: Label>() -> String {
    let values: Vec<&str> = L::ALL.iter().map(|label| label.text()).collect();
    format!("`{}`: {}", L::KEY, values.join(", "))
}

/// Gives the recorder every metric's unit and meaning. A metric is there, at zero, before the first
/// event.
pub(crate) fn describe() {
    describe_plain();
    describe_families();
    describe_others();
    LazyLock::force(&OPEN);
    LazyLock::force(&MEMBERS);
}

/// Every metric that there is, by name.
#[must_use]
pub fn table() -> Vec<Metric> {
    let mut all = plain();
    all.extend(with_label());
    all.extend(others());
    all.extend(crate::process::table());
    all.sort_by_key(|metric| metric.name);
    all
}

families! {
    counter limits_hit(Limit) = "well_limits_hit_total", Unit::Count, "Times that a limit turned something or somebody away, by limit.";
    counter replay_requests(Tier) = "well_replay_requests_total", Unit::Count, "Reads of rooms' pasts, by the farthest tier that had to answer.";
    histogram replay(Tier) = "well_replay_seconds", Unit::Seconds, "Time of one read of a room's past, by the farthest tier that had to answer.";
    histogram join(RoomWas) = "well_join_seconds", Unit::Seconds, "Time from a session's coming until the document has been handed to it; cold where the room had to be loaded.";
    counter traces_untold(Untold) = "well_traces_untold_total", Unit::Count, "Traces that were not told: `rate`, there were as many in that second as there may be; `queue`, as many waited for the collector as may; `export`, the collector did not take it.";
    gauge feed_lag(Which) = "well_feed_lag_records", Unit::Count, "Records that sessions have not been given yet of what their rooms published: of the session in the middle, and of the slowest.";
    gauge memory(Owner) = "well_memory_bytes", Unit::Bytes, "Bytes counted by who holds them: documents of loaded rooms (a bound), payloads in feeds, documents of the past in caches, submissions in inboxes, answers about the past.";
}

others! {
    counter CLOSED, Unit::Count, "`transport`: websocket, webtransport; `code`: close codes, other".to_owned(), "Connections closed, by transport and close code: 1006 is one that broke, `other` a code of a client's own.";
    gauge CONNECTIONS, Unit::Count, told::<Transport>(), "Open connections, by transport.";
    counter REFUSED, Unit::Count, "`reason`: read_only, malformed, too_large, binary, too_fast, spent, out_of_order, not_stored".to_owned(), "Submissions refused, by reason.";
    gauge SESSIONS, Unit::Count, format!("{}; {}", told::<Dialect>(), told::<Transport>()), "Sessions that are members of a room, and viewers of a past (`play`).";
    gauge MEMORY_LIMIT, Unit::Bytes, "`owner`: caches, past".to_owned(), "The most that `well_memory_bytes` may be, for owners that have such a limit.";
    gauge CERTIFICATE, Unit::Seconds, told::<Certificate>(), "When the served certificate ends, as Unix time. Absent without one.";
    gauge WAS_POISONED, Unit::Seconds, String::new(), "When a sync failed an earlier run of this server and ended it, as Unix time. Absent if none did within a day of this start.";
    gauge BUILD, Unit::Count, "`version`, `commit`, `rustc`".to_owned(), "Always 1: which build this is.";
    gauge MONTH_RECORDS, Unit::Count, "`space`: each that is configured".to_owned(), "Updates that went to the log this month (UTC), by space.";
    gauge MONTH_BYTES, Unit::Bytes, "`space`: each that is configured".to_owned(), "Their payload bytes.";
    gauge DISK_FREE, Unit::Bytes, String::new(), "Free bytes of the data folder's file system, for who is not root. Absent without a folder.";
    gauge DISK_SIZE, Unit::Bytes, String::new(), "Size of the data folder's file system. Absent without a folder.";
}

metrics_table! {
    counter updates_received = "well_updates_received_total", Unit::Count, "Updates that clients submitted.";
    counter updates_received_bytes = "well_updates_received_bytes_total", Unit::Bytes, "Payload bytes of the updates that clients submitted.";
    counter updates_new = "well_updates_new_total", Unit::Count, "Submitted updates that added something and went to the log.";
    histogram check = "well_check_seconds", Unit::Seconds, "Time to validate and integrate one batch of a room's updates.";
    histogram queue = "well_commit_queue_seconds", Unit::Seconds, "Time a room's run waited for its commit to begin.";
    histogram append = "well_append_seconds", Unit::Seconds, "Time from handing a commit to the log until it is durable.";
    histogram append_records = "well_append_records", Unit::Count, "Records in one commit.";
    histogram append_bytes = "well_append_bytes", Unit::Bytes, "Sealed bytes in one commit.";
    counter append_failed = "well_append_failed_total", Unit::Count, "Commits that were not acked.";
    counter records = "well_records_total", Unit::Count, "Records made durable.";
    histogram write = "well_log_write_seconds", Unit::Seconds, "Time the embedded store took to write one commit, before its sync.";
    histogram sync = "well_sync_seconds", Unit::Seconds, "Time of one fdatasync.";
    counter moved = "well_log_moved_records_total", Unit::Count, "Records moved out of commits into their rooms' chunks.";
    histogram round_trip = "well_round_trip_seconds", Unit::Seconds, "Time until a client answered a ping of the well dialect.";
    histogram stale = "well_stale_records", Unit::Count, "For each numbered operation that went to the log, how many of the records before it its client had not seen; 0 where the client does not say what it has seen.";
    histogram ack = "well_ack_seconds", Unit::Seconds, "Time from an update's arrival in its room until it is settled, the slowest of each commit.";
    histogram fanout = "well_fanout_seconds", Unit::Seconds, "Time from a commit being durable until a session's writer has taken it, sampled.";
    counter fanout_frames = "well_fanout_bytes_total", Unit::Bytes, "Bytes written to sessions.";
    counter fell_behind = "well_fell_behind_total", Unit::Count, "Sessions brought up to date from the document because they fell off the feed.";
    histogram load = "well_room_load_seconds", Unit::Seconds, "Time to load a room from the log.";
    histogram snapshot_encode = "well_snapshot_encode_seconds", Unit::Seconds, "Time a room took to encode its document for a snapshot.";
    counter archived = "well_archive_records_total", Unit::Count, "Records put into the archive.";
    counter archived_raw = "well_archive_raw_bytes_total", Unit::Bytes, "Sealed bytes of records and snapshots put into the archive, before compression.";
    counter archived_stored = "well_archive_stored_bytes_total", Unit::Bytes, "Bytes uploaded to the archive.";
    histogram archive_publish = "well_archive_publish_seconds", Unit::Seconds, "Time from reading the log until a segment is published in the archive.";
    counter archive_failed = "well_archive_failures_total", Unit::Count, "Failed attempts at the archive.";
    gauge archive_lag_records = "well_archive_lag_records", Unit::Count, "Records in the log that are not in the archive.";
    gauge archive_lag_bytes = "well_archive_lag_bytes", Unit::Bytes, "Bytes committed since what is in the archive was.";
    gauge archive_lag_seconds = "well_archive_lag_seconds", Unit::Seconds, "How long the oldest record has waited for the archive.";
    counter trimmed = "well_log_trimmed_records_total", Unit::Count, "Records trimmed from the log because the archive has them.";
    gauge rooms_loaded = "well_rooms_loaded", Unit::Count, "Rooms held in memory.";
    counter acked = "well_acked_total", Unit::Count, "Updates acked: durable in the log, or there already.";
    gauge durability_lag_seconds = "well_durability_lag_seconds", Unit::Seconds, "Age of the oldest run that is on its way to the log and not durable; 0 when there is none.";
    gauge durability_lag_records = "well_durability_lag_records", Unit::Count, "Records on their way to the log and not durable.";
    gauge commits_in_flight = "well_commits_in_flight", Unit::Count, "Commits that the log has and has not answered.";
    histogram snapshot = "well_snapshot_seconds", Unit::Seconds, "Time from a room's snapshot being due until it was handed to what stores it.";
    gauge snapshot_lag = "well_snapshot_lag_records", Unit::Count, "Records of loaded rooms that no snapshot holds.";
    counter pits_created = "well_pits_created_total", Unit::Count, "Pits made by `POST /api/v1/pits`.";
    counter presence_conflated = "well_presence_conflated_total", Unit::Count, "Presence entries that a later one replaced before anybody had taken them.";
    gauge rooms_poisoned = "well_rooms_poisoned", Unit::Count, "Rooms that were ended since the start because the log failed them or their task did.";
    gauge log_poisoned = "well_log_poisoned", Unit::Count, "1 once the log takes nothing any more.";
    counter presence_updates = "well_presence_changes_total", Unit::Count, "Presence entries that changed something.";
    gauge inbox_bytes = "well_inbox_bytes", Unit::Bytes, "Submissions waiting in rooms' inboxes.";
    gauge disk_bytes = "well_log_disk_bytes", Unit::Bytes, "Bytes the log takes on disk.";
    gauge unmoved_bytes = "well_log_unmoved_bytes", Unit::Bytes, "Bytes of records that still lie in commits.";
    counter traces_told = "well_traces_total", Unit::Count, "Traces made and handed to what takes them to the collector.";
    counter log_lines_left_out = "well_log_lines_left_out_total", Unit::Count, "Log lines that were not written because too many like them came in a short time.";
    gauge clock_jumped = "well_clock_jumped", Unit::Count, "1 while the wall clock is not believed.";
}

/// A room encoded its document for a snapshot.
pub fn snapshot_encoded(took: Duration) {
    HANDLES.snapshot_encode.record(took);
}

/// A segment is in the archive.
pub fn archive_published(records: u64, raw_bytes: u64, stored_bytes: u64, took: Duration) {
    HANDLES.archived.increment(records);
    HANDLES.archived_raw.increment(raw_bytes);
    HANDLES.archived_stored.increment(stored_bytes);
    HANDLES.archive_publish.record(took);
}

/// An attempt at the archive failed.
pub fn archive_failed() {
    HANDLES.archive_failed.increment(1);
}

/// How far the archive is behind the log.
pub fn archive_lag(records: u64, bytes: u64, age: Duration) {
    HANDLES.archive_lag_records.set(records as f64);
    HANDLES.archive_lag_bytes.set(bytes as f64);
    HANDLES.archive_lag_seconds.set(age.as_secs_f64());
}

/// The archive has not been reached since the start, so nobody knows how far it is behind; but it
/// has been for as long as the server runs.
pub fn archive_unreached(age: Duration) {
    HANDLES.archive_lag_records.set(f64::NAN);
    HANDLES.archive_lag_bytes.set(f64::NAN);
    HANDLES.archive_lag_seconds.set(age.as_secs_f64());
}

/// Records were trimmed from the log.
pub fn log_trimmed(records: u64) {
    HANDLES.trimmed.increment(records);
}

/// A client submitted `updates` updates with `bytes` bytes of payload.
pub fn updates_received(updates: usize, bytes: usize) {
    HANDLES.updates_received.increment(updates as u64);
    HANDLES.updates_received_bytes.increment(bytes as u64);
}

/// A batch was validated and integrated; `new` of its updates go to the log.
pub fn checked(new: usize, took: Duration) {
    HANDLES.updates_new.increment(new as u64);
    HANDLES.check.record(took);
    record(Stage::Check, took);
}

/// A run waited this long for its commit to begin.
pub fn commit_queued(waited: Duration) {
    HANDLES.queue.record(waited);
    record(Stage::Queue, waited);
}

/// A commit is durable.
pub fn commit_done(records: u64, bytes: usize, took: Duration) {
    HANDLES.append.record(took);
    record(Stage::Append, took);
    HANDLES.append_records.record(records as f64);
    HANDLES.append_bytes.record(bytes as f64);
    HANDLES.records.increment(records);
}

/// A commit failed.
pub fn commit_failed() {
    HANDLES.append_failed.increment(1);
}

/// The embedded store wrote a commit and synced it.
pub fn log_written(write: Duration, sync: Duration) {
    HANDLES.write.record(write);
    record(Stage::Write, write);
    HANDLES.sync.record(sync);
    record(Stage::Sync, sync);
}

/// The embedded store moved records to where they stay.
pub fn log_moved(records: u64) {
    HANDLES.moved.increment(records);
}

/// Updates of clients were acked.
pub fn updates_acked(updates: u64) {
    HANDLES.acked.increment(updates);
}

/// The slowest update of a commit was settled after this long.
pub fn acked(took: Duration) {
    HANDLES.ack.record(took);
    record(Stage::Ack, took);
}

/// A session's writer took a commit this long after it was durable.
pub fn fanned_out(took: Duration) {
    HANDLES.fanout.record(took);
    record(Stage::Fanout, took);
}

/// Bytes were written to a session.
pub fn written(bytes: usize) {
    HANDLES.fanout_frames.increment(bytes as u64);
}

/// A session fell off its room's feed.
pub fn fell_behind() {
    HANDLES.fell_behind.increment(1);
}

/// A session was handed the document.
pub fn joined(room: RoomWas, took: Duration) {
    FAMILIES.join[room as usize].record(took);
    record(Stage::Join, took);
}

/// A room was loaded from the log.
pub fn room_loaded(took: Duration) {
    HANDLES.load.record(took);
}

/// How many rooms are loaded.
pub fn rooms_loaded(rooms: usize) {
    HANDLES.rooms_loaded.set(rooms as f64);
}

/// Sessions, by dialect and then by transport.
static MEMBERS: LazyLock<Vec<Gauge>> = LazyLock::new(|| {
    let pairs = Dialect::ALL.iter().flat_map(|dialect| {
        let transports = Transport::ALL.iter();
        transports.map(|transport| {
            gauge!(SESSIONS, "dialect" => dialect.text(), "transport" => transport.text())
        })
    });
    pairs.collect()
});

/// A session that is counted for as long as this is held.
#[derive(Debug)]
pub struct Counted {
    place: usize,
}

impl Counted {
    /// A session begins.
    #[must_use]
    pub fn new(dialect: Dialect, transport: Transport) -> Self {
        let place = dialect as usize * Transport::ALL.len() + transport as usize;
        MEMBERS[place].increment(1.0);
        Self { place }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        MEMBERS[self.place].decrement(1.0);
    }
}

/// Open connections, in the order of [`Transport`].
static OPEN: LazyLock<[Gauge; 2]> = LazyLock::new(|| {
    [Transport::WebSocket, Transport::WebTransport]
        .map(|transport| gauge!(CONNECTIONS, "transport" => transport.text()))
});

/// A connection was opened.
pub fn connection_opened(transport: Transport) {
    OPEN[transport as usize].increment(1.0);
}

/// A connection was closed, with this code; 1006 when it broke without one.
pub fn connection_closed(transport: Transport, code: u16) {
    OPEN[transport as usize].decrement(1.0);
    counter!(CLOSED, "transport" => transport.text(), "code" => close_label(code)).increment(1);
}

/// The label of a close code: a client may send any, and each label is a series of its own.
const fn close_label(code: u16) -> &'static str {
    match code {
        1000 => "1000",
        1001 => "1001",
        1002 => "1002",
        1003 => "1003",
        1005 => "1005",
        1006 => "1006",
        1009 => "1009",
        1011 => "1011",
        1012 => "1012",
        1013 => "1013",
        4400 => "4400",
        4401 => "4401",
        4403 => "4403",
        4404 => "4404",
        4408 => "4408",
        4409 => "4409",
        4413 => "4413",
        4429 => "4429",
        4500 => "4500",
        _ => "other",
    }
}

/// A client has answered a ping of its protocol after so long.
pub fn round_trip(took: Duration) {
    HANDLES.round_trip.record(took);
}

/// The client of a new operation had not seen so many records before it.
pub fn staleness(records: u64) {
    HANDLES.stale.record(records as f64);
}

/// A submission was refused.
pub fn refused(reason: &'static str) {
    counter!(REFUSED, "reason" => reason).increment(1);
}

/// Submissions were taken, and then the log did not take them.
pub fn not_stored(submissions: usize) {
    counter!(REFUSED, "reason" => "not_stored").increment(submissions as u64);
}

/// Presence entries changed.
pub fn presence_changed(entries: usize) {
    HANDLES.presence_updates.increment(entries as u64);
}

/// Presence entries were replaced by later ones before anybody had taken them.
pub fn presence_conflated(entries: usize) {
    HANDLES.presence_conflated.increment(entries as u64);
}

/// A limit turned something away.
pub fn limit_hit(limit: Limit) {
    FAMILIES.limits_hit[limit as usize].increment(1);
}

/// A room's past was read.
pub fn replayed(tier: Tier, took: Duration) {
    FAMILIES.replay_requests[tier as usize].increment(1);
    FAMILIES.replay[tier as usize].record(took);
}

/// How far sessions are behind their rooms' feeds.
pub fn feed_lag(median: f64, slowest: f64) {
    FAMILIES.feed_lag[Which::Median as usize].set(median);
    FAMILIES.feed_lag[Which::Slowest as usize].set(slowest);
}

/// What an owner's memory grew (positive) or shrank by.
pub fn memory_changed(owner: Owner, bytes: f64) {
    FAMILIES.memory[owner as usize].increment(bytes);
}

/// What an owner's memory is, where it is looked at.
pub fn memory(owner: Owner, bytes: usize) {
    FAMILIES.memory[owner as usize].set(bytes as f64);
}

/// The most that an owner's memory may be.
pub fn memory_limit(owner: Owner, bytes: usize) {
    gauge!(MEMORY_LIMIT, Owner::KEY => owner.text()).set(bytes as f64);
}

/// What a space has written this month. Spaces are those of the configuration.
pub fn month(space: &str, records: u64, bytes: u64) {
    gauge!(MONTH_RECORDS, "space" => space.to_owned()).set(records as f64);
    gauge!(MONTH_BYTES, "space" => space.to_owned()).set(bytes as f64);
}

/// What is on its way to the log.
pub fn durability_lag(age: Duration, records: u64, commits: usize) {
    HANDLES.durability_lag_seconds.set(age.as_secs_f64());
    HANDLES.durability_lag_records.set(records as f64);
    HANDLES.commits_in_flight.set(commits as f64);
}

/// A snapshot that was due so long ago is with what stores it.
pub fn snapshot_kept(took: Duration) {
    HANDLES.snapshot.record(took);
}

/// Records without a snapshot became more (positive) or fewer.
pub fn snapshot_lag_changed(records: f64) {
    HANDLES.snapshot_lag.increment(records);
}

/// A pit was made.
pub fn pit_created() {
    HANDLES.pits_created.increment(1);
}

/// A room was ended by a failure.
pub fn room_poisoned() {
    HANDLES.rooms_poisoned.increment(1.0);
}

/// Whether the log takes nothing any more.
pub fn log_poisoned(poisoned: bool) {
    HANDLES.log_poisoned.set(f64::from(u8::from(poisoned)));
}

/// When the log was poisoned last, by an earlier run of this server, as Unix time.
pub fn log_was_poisoned(at: u64) {
    gauge!(WAS_POISONED).set(at as f64);
}

/// When a served certificate ends, as Unix time.
pub fn certificate(which: Certificate, ends: f64) {
    gauge!(CERTIFICATE, Certificate::KEY => which.text()).set(ends);
}

/// Which build this is. Once.
pub fn build(version: &'static str, commit: &'static str, rustc: &'static str) {
    gauge!(BUILD, "version" => version, "commit" => commit, "rustc" => rustc).set(1.0);
}

/// The file system of the data folder.
pub(crate) fn disk(free: u64, size: u64) {
    gauge!(DISK_FREE).set(free as f64);
    gauge!(DISK_SIZE).set(size as f64);
}

/// There is no archive, so nothing is known of it.
pub fn archive_absent() {
    HANDLES.archive_lag_records.set(f64::NAN);
    HANDLES.archive_lag_bytes.set(f64::NAN);
    HANDLES.archive_lag_seconds.set(f64::NAN);
}

/// Bytes were put into (positive) or taken out of (negative) a room's inbox.
pub fn inbox_bytes(change: f64) {
    HANDLES.inbox_bytes.increment(change);
    memory_changed(Owner::Inboxes, change);
}

/// The log's sizes.
pub fn log_sizes(disk_bytes: u64, unmoved_bytes: u64) {
    HANDLES.disk_bytes.set(disk_bytes as f64);
    HANDLES.unmoved_bytes.set(unmoved_bytes as f64);
}

/// A trace is on its way to the collector.
pub fn trace_told() {
    HANDLES.traces_told.increment(1);
}

/// Traces were not told.
pub fn traces_untold(why: Untold, traces: usize) {
    FAMILIES.traces_untold[why as usize].increment(traces as u64);
}

/// Log lines were not written, because there were too many like them.
pub fn log_lines_left_out(lines: u64) {
    HANDLES.log_lines_left_out.increment(lines);
}

/// Whether the wall clock is not believed.
pub fn clock_jump(jumped: bool) {
    HANDLES.clock_jumped.set(f64::from(u8::from(jumped)));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn clients_cannot_make_series() {
        let labels: BTreeSet<&str> = (0..=u16::MAX).map(close_label).collect();
        assert_eq!(labels.len(), 20);
        assert_eq!(close_label(4404), "4404");
        assert_eq!(close_label(4999), "other");
    }
}
