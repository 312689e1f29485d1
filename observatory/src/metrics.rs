//! One function for each thing that is counted or timed; the names stand nowhere else.
//!
//! What is counted as updates go by stands in the [`Cells`] of each thread and reaches the recorder when somebody
//! asks ([`tell`]); what only is looked at is set there at once. Labels are closed sets
//! ([`labels`](crate::labels)): nobody outside can make a series. `docs/metrics.md` is written from the tables
//! here, and a test compares it.

use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use metrics::{Counter, Gauge, Unit, counter, describe_counter, describe_gauge, gauge};

use crate::cells::{Cell, write};
use crate::histogram::{Histogram, nanos};
use crate::labels::{
    Certificate, Dialect, Label, Limit, Owner, Reason, RoomWas, Tier, Transport, Untold, Which,
};
use crate::latency::{Latencies, Stage};

const CLOSED: &str = "well_closed_total";
const CONNECTIONS: &str = "well_connections";
const SESSIONS: &str = "well_sessions";
const FEED_LAG: &str = "well_feed_lag_records";
const MEMORY: &str = "well_memory_bytes";
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

/// What a thread has counted.
pub(crate) struct Cells {
    plain: Plain,
    families: Families,
    /// Bytes of each [`Owner`] that tells of its changes.
    memory: [Level; Owner::ALL.len()],
    pub(crate) latencies: Latencies,
}

impl Cells {
    pub(crate) fn new() -> Self {
        Self {
            plain: Plain::new(),
            families: Families::new(),
            memory: std::array::from_fn(|_| Level::new(Unit::Bytes)),
            latencies: Latencies::default(),
        }
    }
}

/// The label of a series, if it has one.
type SeriesLabel = Option<(&'static str, &'static str)>;

/// A thread's part of a series.
trait Part {
    /// What Prometheus calls it.
    const KIND: &'static str;

    fn new(unit: Unit) -> Self;

    /// What stands above the series of this name, where the recorder does not say it.
    fn head(_name: &str, _about: &str, _out: &mut String) {}

    /// Tells what all threads have counted: the recorder, or `out`.
    fn tell(parts: &[&Self], name: &'static str, label: SeriesLabel, out: &mut String);
}

/// Only grows.
struct Count(Cell);

impl Part for Count {
    const KIND: &'static str = "counter";

    fn new(_: Unit) -> Self {
        Self(Cell::default())
    }

    fn tell(parts: &[&Self], name: &'static str, label: SeriesLabel, _: &mut String) {
        let sum = Cell::sum(parts.iter().map(|part| &part.0));
        counter!(name, label.as_slice()).absolute(sum);
    }
}

impl Count {
    fn add(&self, more: u64) {
        self.0.add(more);
    }
}

/// Grows and shrinks; a part of it may be negative.
struct Level(Cell);

impl Part for Level {
    const KIND: &'static str = "gauge";

    fn new(_: Unit) -> Self {
        Self(Cell::default())
    }

    fn tell(parts: &[&Self], name: &'static str, label: SeriesLabel, _: &mut String) {
        gauge!(name, label.as_slice()).set(Self::sum(parts.iter().copied()) as f64);
    }
}

impl Level {
    fn change(&self, by: i64) {
        self.0.add(by.cast_unsigned());
    }

    fn sum<'a>(parts: impl IntoIterator<Item = &'a Self>) -> i64 {
        Cell::sum(parts.into_iter().map(|part| &part.0)).cast_signed()
    }
}

impl Part for Histogram {
    const KIND: &'static str = "histogram";

    fn new(unit: Unit) -> Self {
        Self::new(unit)
    }

    fn head(name: &str, about: &str, out: &mut String) {
        head(name, Self::KIND, about, out);
    }

    fn tell(parts: &[&Self], name: &'static str, label: SeriesLabel, out: &mut String) {
        let label = label.map_or_else(String::new, |(key, value)| format!("{key}=\"{value}\","));
        Self::write(parts, name, &label, out);
    }
}

/// The lines above a metric's series.
pub(crate) fn head(name: &str, kind: &str, about: &str, out: &mut String) {
    // Writing to a string does not fail.
    let _ = writeln!(out, "# HELP {name} {about}");
    let _ = writeln!(out, "# TYPE {name} {kind}");
}

/// Metrics that threads count for themselves.
macro_rules! counted {
    ($($kind:ident $name:ident = $text:literal, $unit:expr, $about:literal;)*) => {
        struct Plain { $($name: $kind,)* }
        impl Plain {
            fn new() -> Self {
                Self { $($name: <$kind as Part>::new($unit),)* }
            }
        }
        fn tell_plain(all: &[Arc<Cells>], out: &mut String) {
            $({
                $kind::head($text, $about, out);
                let parts: Vec<_> = all.iter().map(|cells| &cells.plain.$name).collect();
                $kind::tell(&parts, $text, None, out);
            })*
        }
        fn plain() -> Vec<Metric> {
            vec![$(Metric {
                name: $text,
                kind: $kind::KIND,
                unit: $unit,
                labels: String::new(),
                about: $about,
            },)*]
        }
    };
}

/// The same with one label: a part for each of its values.
macro_rules! families {
    ($($kind:ident $name:ident($label:ident) = $text:literal, $unit:expr, $about:literal;)*) => {
        struct Families { $($name: [$kind; $label::ALL.len()],)* }
        impl Families {
            fn new() -> Self {
                Self { $($name: std::array::from_fn(|_| <$kind as Part>::new($unit)),)* }
            }
        }
        fn tell_families(all: &[Arc<Cells>], out: &mut String) {
            $({
                $kind::head($text, $about, out);
                for (at, label) in $label::ALL.iter().enumerate() {
                    let parts: Vec<_> = all.iter().map(|cells| &cells.families.$name[at]).collect();
                    $kind::tell(&parts, $text, Some(($label::KEY, label.text())), out);
                }
            })*
        }
        fn with_label() -> Vec<Metric> {
            vec![$(Metric {
                name: $text,
                kind: $kind::KIND,
                unit: $unit,
                labels: told::<$label>(),
                about: $about,
            },)*]
        }
    };
}

/// Gauges that are set.
macro_rules! gauges {
    ($($name:ident = $text:literal, $unit:expr, $about:literal;)*) => {
        struct Gauges { $($name: Gauge,)* }
        static GAUGES: LazyLock<Gauges> = LazyLock::new(|| Gauges {
            $($name: gauge!($text),)*
        });
        fn gauges() -> Vec<Metric> {
            vec![$(Metric {
                name: $text,
                kind: "gauge",
                unit: $unit,
                labels: String::new(),
                about: $about,
            },)*]
        }
    };
}

/// Metrics whose series come when there is something to say, or with labels of their own.
macro_rules! others {
    ($($kind:ident $text:expr, $unit:expr, $labels:expr, $about:literal;)*) => {
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

/// Every metric of this file.
pub(crate) fn ours() -> Vec<Metric> {
    [plain(), with_label(), gauges(), others()]
        .into_iter()
        .flatten()
        .collect()
}

/// Gives the recorder every metric's unit and meaning. A metric is there, at zero, before the first
/// event.
pub(crate) fn describe() {
    for metric in ours() {
        match metric.kind {
            "counter" => describe_counter!(metric.name, metric.unit, metric.about),
            "gauge" => describe_gauge!(metric.name, metric.unit, metric.about),
            // Histograms say it themselves.
            _ => {}
        }
    }
    LazyLock::force(&GAUGES);
    LazyLock::force(&OPEN);
    LazyLock::force(&MEMBERS);
    for transport in Transport::ALL {
        let labels = CLOSE_CODES.iter().map(|(_, label)| *label);
        for code in labels.chain([OTHER_CODE]) {
            let _ = closed(*transport, code);
        }
    }
}

/// Tells the recorder what threads have counted, and appends what the recorder is not told: histograms.
pub(crate) fn tell(all: &[Arc<Cells>], out: &mut String) {
    // Where no thread has counted yet, all there is is zero.
    let none = [Arc::new(Cells::new())];
    let all = if all.is_empty() { &none } else { all };
    tell_plain(all, out);
    tell_families(all, out);
    for &owner in Owner::ALL {
        // Caches are looked at.
        if !matches!(owner, Owner::Caches) {
            let bytes = Level::sum(all.iter().map(|cells| &cells.memory[owner as usize]));
            gauge!(MEMORY, Owner::KEY => owner.text()).set(bytes as f64);
        }
    }
}

/// Every metric that there is, by name.
#[must_use]
pub fn table() -> Vec<Metric> {
    let mut all = ours();
    all.extend(crate::process::table());
    all.sort_by_key(|metric| metric.name);
    all
}

families! {
    Count refused(Reason) = "well_refused_total", Unit::Count, "Submissions refused, by reason.";
    Count limits_hit(Limit) = "well_limits_hit_total", Unit::Count, "Times that a limit turned something or somebody away, by limit.";
    Count replay_requests(Tier) = "well_replay_requests_total", Unit::Count, "Reads of rooms' pasts, by the farthest tier that had to answer.";
    Histogram replay(Tier) = "well_replay_seconds", Unit::Seconds, "Time of one read of a room's past, by the farthest tier that had to answer.";
    Histogram join(RoomWas) = "well_join_seconds", Unit::Seconds, "Time from a session's coming until the document has been handed to it; cold where the room had to be loaded.";
    Count traces_untold(Untold) = "well_traces_untold_total", Unit::Count, "Traces that were not told: `rate`, there were as many in that second as there may be; `queue`, as many waited for the collector as may; `export`, the collector did not take it.";
}

others! {
    counter CLOSED, Unit::Count, "`transport`: websocket, webtransport; `code`: close codes, other".to_owned(), "Connections closed, by transport and close code: 1006 is one that broke, `other` a code of a client's own.";
    gauge CONNECTIONS, Unit::Count, told::<Transport>(), "Open connections, by transport.";
    gauge FEED_LAG, Unit::Count, told::<Which>(), "Records that sessions have not been given yet of what their rooms published: of the session in the middle, and of the slowest.";
    gauge MEMORY, Unit::Bytes, told::<Owner>(), "Bytes counted by who holds them: documents of loaded rooms (a bound), what feeds have for sessions, documents of the past in caches, submissions on their way to the log, answers about the past, documents encoded for who joins, presence, and what connections have of their own: messages that are not whole yet, and small ones that wait to be written.";
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

counted! {
    Count updates_received = "well_updates_received_total", Unit::Count, "Updates that clients submitted.";
    Count updates_received_bytes = "well_updates_received_bytes_total", Unit::Bytes, "Payload bytes of the updates that clients submitted.";
    Count updates_new = "well_updates_new_total", Unit::Count, "Submitted updates that added something and went to the log.";
    Histogram check = "well_check_seconds", Unit::Seconds, "Time to validate and integrate one batch of a room's updates.";
    Histogram queue = "well_commit_queue_seconds", Unit::Seconds, "Time a room's run waited for its commit to begin.";
    Histogram append = "well_append_seconds", Unit::Seconds, "Time from handing a commit to the log until it is durable.";
    Histogram append_records = "well_append_records", Unit::Count, "Records in one commit.";
    Histogram append_bytes = "well_append_bytes", Unit::Bytes, "Sealed bytes in one commit.";
    Count append_failed = "well_append_failed_total", Unit::Count, "Commits that were not acked.";
    Count records = "well_records_total", Unit::Count, "Records made durable.";
    Histogram write = "well_log_write_seconds", Unit::Seconds, "Time the embedded store took to write one commit, before its sync.";
    Histogram sync = "well_sync_seconds", Unit::Seconds, "Time of one fdatasync.";
    Count moved = "well_log_moved_records_total", Unit::Count, "Records moved out of commits into their rooms' chunks.";
    Histogram round_trip = "well_round_trip_seconds", Unit::Seconds, "Time until a client answered a ping of the well dialect.";
    Histogram stale = "well_stale_records", Unit::Count, "For each numbered operation that went to the log, how many of the records before it its client had not seen; 0 where the client does not say what it has seen.";
    Histogram ack = "well_ack_seconds", Unit::Seconds, "Time from an update's arrival in its room until it is settled, the slowest of each commit.";
    Histogram fanout = "well_fanout_seconds", Unit::Seconds, "Time from a commit being durable until a session's writer has taken it; of many one in 64 is timed, and counts for all of them.";
    Count fanout_frames = "well_fanout_bytes_total", Unit::Bytes, "Bytes written to sessions.";
    Count fell_behind = "well_fell_behind_total", Unit::Count, "Sessions brought up to date from the document because they fell off the feed.";
    Histogram load = "well_room_load_seconds", Unit::Seconds, "Time to load a room from the log.";
    Histogram snapshot_encode = "well_snapshot_encode_seconds", Unit::Seconds, "Time a room took to encode its document for a snapshot.";
    Count archived = "well_archive_records_total", Unit::Count, "Records put into the archive.";
    Count archived_raw = "well_archive_raw_bytes_total", Unit::Bytes, "Sealed bytes of records and snapshots put into the archive, before compression.";
    Count archived_stored = "well_archive_stored_bytes_total", Unit::Bytes, "Bytes uploaded to the archive.";
    Histogram archive_publish = "well_archive_publish_seconds", Unit::Seconds, "Time from reading the log until a segment is published in the archive.";
    Count archive_failed = "well_archive_failures_total", Unit::Count, "Failed attempts at the archive.";
    Count trimmed = "well_log_trimmed_records_total", Unit::Count, "Records trimmed from the log because the archive has them.";
    Count acked = "well_acked_total", Unit::Count, "Updates acked: durable in the log, or there already.";
    Histogram snapshot = "well_snapshot_seconds", Unit::Seconds, "Time from a room's snapshot being due until it was handed to what stores it.";
    Level snapshot_lag = "well_snapshot_lag_records", Unit::Count, "Records of loaded rooms that no snapshot holds.";
    Count pits_created = "well_pits_created_total", Unit::Count, "Pits made by `POST /api/v1/pits`.";
    Count presence_conflated = "well_presence_conflated_total", Unit::Count, "Presence entries that a later one replaced before anybody had taken them.";
    Level rooms_poisoned = "well_rooms_poisoned", Unit::Count, "Rooms that were ended since the start because the log failed them or their task did.";
    Count presence_updates = "well_presence_changes_total", Unit::Count, "Presence entries that changed something.";
    Level inbox_bytes = "well_inbox_bytes", Unit::Bytes, "What submissions take that are on their way to the log.";
    Count traces_told = "well_traces_total", Unit::Count, "Traces made and handed to what takes them to the collector.";
    Count log_lines_left_out = "well_log_lines_left_out_total", Unit::Count, "Log lines that were not written because too many like them came in a short time.";
}

gauges! {
    archive_lag_records = "well_archive_lag_records", Unit::Count, "Records in the log that are not in the archive.";
    archive_lag_bytes = "well_archive_lag_bytes", Unit::Bytes, "Bytes committed since what is in the archive was.";
    archive_lag_seconds = "well_archive_lag_seconds", Unit::Seconds, "How long the oldest record has waited for the archive.";
    rooms_loaded = "well_rooms_loaded", Unit::Count, "Rooms held in memory.";
    durability_lag_seconds = "well_durability_lag_seconds", Unit::Seconds, "Age of the oldest run that is on its way to the log and not durable; 0 when there is none.";
    durability_lag_records = "well_durability_lag_records", Unit::Count, "Records on their way to the log and not durable.";
    commits_in_flight = "well_commits_in_flight", Unit::Count, "Commits that the log has and has not answered.";
    log_poisoned = "well_log_poisoned", Unit::Count, "1 once the log takes nothing any more.";
    disk_bytes = "well_log_disk_bytes", Unit::Bytes, "Bytes the log takes on disk.";
    unmoved_bytes = "well_log_unmoved_bytes", Unit::Bytes, "Bytes of records that still lie in commits.";
    clock_jumped = "well_clock_jumped", Unit::Count, "1 while the wall clock is not believed.";
}

/// A room encoded its document for a snapshot.
pub fn snapshot_encoded(took: Duration) {
    write(|it| it.plain.snapshot_encode.record_time(took));
}

/// A segment is in the archive.
pub fn archive_published(records: u64, raw_bytes: u64, stored_bytes: u64, took: Duration) {
    write(|it| {
        it.plain.archived.add(records);
        it.plain.archived_raw.add(raw_bytes);
        it.plain.archived_stored.add(stored_bytes);
        it.plain.archive_publish.record_time(took);
    });
}

/// An attempt at the archive failed.
pub fn archive_failed() {
    write(|it| it.plain.archive_failed.add(1));
}

/// How far the archive is behind the log.
pub fn archive_lag(records: u64, bytes: u64, age: Duration) {
    GAUGES.archive_lag_records.set(records as f64);
    GAUGES.archive_lag_bytes.set(bytes as f64);
    GAUGES.archive_lag_seconds.set(age.as_secs_f64());
}

/// The archive has not been reached since the start, so nobody knows how far it is behind; but it
/// has been for as long as the server runs.
pub fn archive_unreached(age: Duration) {
    GAUGES.archive_lag_records.set(f64::NAN);
    GAUGES.archive_lag_bytes.set(f64::NAN);
    GAUGES.archive_lag_seconds.set(age.as_secs_f64());
}

/// Records were trimmed from the log.
pub fn log_trimmed(records: u64) {
    write(|it| it.plain.trimmed.add(records));
}

/// A client submitted `updates` updates with `bytes` bytes of payload.
pub fn updates_received(updates: usize, bytes: usize) {
    write(|it| {
        it.plain.updates_received.add(updates as u64);
        it.plain.updates_received_bytes.add(bytes as u64);
    });
}

/// A batch was validated and integrated; `new` of its updates go to the log.
pub fn checked(new: usize, took: Duration) {
    write(|it| {
        it.plain.updates_new.add(new as u64);
        it.plain.check.record_time(took);
        it.latencies.record(Stage::Check, took);
    });
}

/// A run waited this long for its commit to begin.
pub fn commit_queued(waited: Duration) {
    write(|it| {
        it.plain.queue.record_time(waited);
        it.latencies.record(Stage::Queue, waited);
    });
}

/// A commit is durable.
pub fn commit_done(records: u64, bytes: usize, took: Duration) {
    write(|it| {
        it.plain.append.record_time(took);
        it.latencies.record(Stage::Append, took);
        it.plain.append_records.record(records);
        it.plain.append_bytes.record(bytes as u64);
        it.plain.records.add(records);
    });
}

/// A commit failed.
pub fn commit_failed() {
    write(|it| it.plain.append_failed.add(1));
}

/// The embedded store wrote a commit and synced it.
pub fn log_written(wrote: Duration, synced: Duration) {
    write(|it| {
        it.plain.write.record_time(wrote);
        it.latencies.record(Stage::Write, wrote);
        it.plain.sync.record_time(synced);
        it.latencies.record(Stage::Sync, synced);
    });
}

/// The embedded store moved records to where they stay.
pub fn log_moved(records: u64) {
    write(|it| it.plain.moved.add(records));
}

/// Updates of clients were acked.
pub fn updates_acked(updates: u64) {
    write(|it| it.plain.acked.add(updates));
}

/// The slowest update of a commit was settled after this long.
pub fn acked(took: Duration) {
    write(|it| {
        it.plain.ack.record_time(took);
        it.latencies.record(Stage::Ack, took);
    });
}

/// A session's writer took a commit this long after it was durable; it stands for so many.
pub fn fanned_out(took: Duration, count: u64) {
    write(|it| {
        it.plain.fanout.record_for(nanos(took), count);
        it.latencies.record_for(Stage::Fanout, took, count);
    });
}

/// Bytes were written to a session.
pub fn written(bytes: usize) {
    write(|it| it.plain.fanout_frames.add(bytes as u64));
}

/// A session fell off its room's feed.
pub fn fell_behind() {
    write(|it| it.plain.fell_behind.add(1));
}

/// A session was handed the document.
pub fn joined(room: RoomWas, took: Duration) {
    write(|it| {
        it.families.join[room as usize].record_time(took);
        it.latencies.record(Stage::Join, took);
    });
}

/// A room was loaded from the log.
pub fn room_loaded(took: Duration) {
    write(|it| it.plain.load.record_time(took));
}

/// How many rooms are loaded.
pub fn rooms_loaded(rooms: usize) {
    GAUGES.rooms_loaded.set(rooms as f64);
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
    closed(transport, close_label(code)).increment(1);
}

/// Connections that were closed with this code.
fn closed(transport: Transport, code: &'static str) -> Counter {
    counter!(CLOSED, "transport" => transport.text(), "code" => code)
}

/// The label of a close code: a client may send any, and each label is a series of its own.
fn close_label(code: u16) -> &'static str {
    let known = CLOSE_CODES.iter().find(|(number, _)| *number == code);
    known.map_or(OTHER_CODE, |(_, label)| label)
}

const OTHER_CODE: &str = "other";
/// Close codes that have a label of their own.
const CLOSE_CODES: [(u16, &str); 19] = [
    (1000, "1000"),
    (1001, "1001"),
    (1002, "1002"),
    (1003, "1003"),
    (1005, "1005"),
    (1006, "1006"),
    (1009, "1009"),
    (1011, "1011"),
    (1012, "1012"),
    (1013, "1013"),
    (4400, "4400"),
    (4401, "4401"),
    (4403, "4403"),
    (4404, "4404"),
    (4408, "4408"),
    (4409, "4409"),
    (4413, "4413"),
    (4429, "4429"),
    (4500, "4500"),
];

/// A client has answered a ping of its protocol after so long.
pub fn round_trip(took: Duration) {
    write(|it| it.plain.round_trip.record_time(took));
}

/// The client of a new operation had not seen so many records before it.
pub fn staleness(records: u64) {
    write(|it| it.plain.stale.record(records));
}

/// A submission was refused.
pub fn refused(reason: Reason) {
    write(|it| it.families.refused[reason as usize].add(1));
}

/// Submissions were taken, and then the log did not take them.
pub fn not_stored(submissions: usize) {
    write(|it| it.families.refused[Reason::NotStored as usize].add(submissions as u64));
}

/// Presence entries changed.
pub fn presence_changed(entries: usize) {
    write(|it| it.plain.presence_updates.add(entries as u64));
}

/// Presence entries were replaced by later ones before anybody had taken them.
pub fn presence_conflated(entries: usize) {
    write(|it| it.plain.presence_conflated.add(entries as u64));
}

/// A limit turned something away.
pub fn limit_hit(limit: Limit) {
    write(|it| it.families.limits_hit[limit as usize].add(1));
}

/// A room's past was read.
pub fn replayed(tier: Tier, took: Duration) {
    write(|it| {
        it.families.replay_requests[tier as usize].add(1);
        it.families.replay[tier as usize].record_time(took);
    });
}

/// How far sessions are behind their rooms' feeds.
pub fn feed_lag(median: f64, slowest: f64) {
    gauge!(FEED_LAG, Which::KEY => Which::Median.text()).set(median);
    gauge!(FEED_LAG, Which::KEY => Which::Slowest.text()).set(slowest);
}

/// What an owner's memory grew (positive) or shrank by.
pub fn memory_changed(owner: Owner, bytes: i64) {
    write(|it| it.memory[owner as usize].change(bytes));
}

/// What an owner's memory is, where it is looked at.
pub fn memory(owner: Owner, bytes: usize) {
    gauge!(MEMORY, Owner::KEY => owner.text()).set(bytes as f64);
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
    GAUGES.durability_lag_seconds.set(age.as_secs_f64());
    GAUGES.durability_lag_records.set(records as f64);
    GAUGES.commits_in_flight.set(commits as f64);
}

/// A snapshot that was due so long ago is with what stores it.
pub fn snapshot_kept(took: Duration) {
    write(|it| it.plain.snapshot.record_time(took));
}

/// Records without a snapshot became more (positive) or fewer.
pub fn snapshot_lag_changed(records: i64) {
    write(|it| it.plain.snapshot_lag.change(records));
}

/// A pit was made.
pub fn pit_created() {
    write(|it| it.plain.pits_created.add(1));
}

/// A room was ended by a failure.
pub fn room_poisoned() {
    write(|it| it.plain.rooms_poisoned.change(1));
}

/// Whether the log takes nothing any more.
pub fn log_poisoned(poisoned: bool) {
    GAUGES.log_poisoned.set(f64::from(u8::from(poisoned)));
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
    GAUGES.archive_lag_records.set(f64::NAN);
    GAUGES.archive_lag_bytes.set(f64::NAN);
    GAUGES.archive_lag_seconds.set(f64::NAN);
}

/// Bytes were put into (positive) or taken out of (negative) a room's inbox.
pub fn inbox_bytes(change: i64) {
    write(|it| it.plain.inbox_bytes.change(change));
}

/// The log's sizes.
pub fn log_sizes(disk_bytes: u64, unmoved_bytes: u64) {
    GAUGES.disk_bytes.set(disk_bytes as f64);
    GAUGES.unmoved_bytes.set(unmoved_bytes as f64);
}

/// A trace is on its way to the collector.
pub fn trace_told() {
    write(|it| it.plain.traces_told.add(1));
}

/// Traces were not told.
pub fn traces_untold(why: Untold, traces: usize) {
    write(|it| it.families.traces_untold[why as usize].add(traces as u64));
}

/// Log lines were not written, because there were too many like them.
pub fn log_lines_left_out(lines: u64) {
    write(|it| it.plain.log_lines_left_out.add(lines));
}

/// Whether the wall clock is not believed.
pub fn clock_jump(jumped: bool) {
    GAUGES.clock_jumped.set(f64::from(u8::from(jumped)));
}

#[cfg(test)]
pub(crate) fn log_lines_left_out_of(all: &[Arc<Cells>]) -> u64 {
    Cell::sum(all.iter().map(|it| &it.plain.log_lines_left_out.0))
}

#[cfg(test)]
pub(crate) fn written_of(all: &[Arc<Cells>]) -> u64 {
    Cell::sum(all.iter().map(|it| &it.plain.fanout_frames.0))
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
