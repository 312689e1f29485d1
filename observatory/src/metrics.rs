//! One function for each thing that is counted or timed; the names stand nowhere else.
//!
//! Hot functions keep their handles, so that recording is an atomic operation and no look-up.

use std::sync::LazyLock;
use std::time::Duration;

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram,
};

const CLOSED: &str = "well_closed_total";
const CONNECTIONS: &str = "well_connections";
const REFUSED: &str = "well_refused_total";

macro_rules! metrics_table {
    ($($kind:ident $name:ident = $text:literal, $unit:expr, $about:literal;)*) => {
        struct Handles { $($name: metrics_table!(@type $kind),)* }
        static HANDLES: LazyLock<Handles> = LazyLock::new(|| Handles {
            $($name: metrics_table!(@new $kind $text),)*
        });
        /// Gives the recorder every metric's unit and meaning.
        pub(crate) fn describe() {
            $(metrics_table!(@describe $kind $text, $unit, $about);)*
            describe_counter!(CLOSED, Unit::Count, "Connections closed, by transport and close code: 1006 is one that broke, `other` a code of a client's own.");
            describe_gauge!(CONNECTIONS, Unit::Count, "Open connections, by transport.");
            describe_counter!(REFUSED, Unit::Count, "Submissions refused, by reason.");
            // A metric is there, at zero, before the first event.
            LazyLock::force(&HANDLES);
            LazyLock::force(&OPEN);
        }
    };
    (@type counter) => { Counter };
    (@type gauge) => { Gauge };
    (@type histogram) => { Histogram };
    (@new counter $text:literal) => { counter!($text) };
    (@new gauge $text:literal) => { gauge!($text) };
    (@new histogram $text:literal) => { histogram!($text) };
    (@describe counter $text:literal, $unit:expr, $about:literal) => { describe_counter!($text, $unit, $about) };
    (@describe gauge $text:literal, $unit:expr, $about:literal) => { describe_gauge!($text, $unit, $about) };
    (@describe histogram $text:literal, $unit:expr, $about:literal) => { describe_histogram!($text, $unit, $about) };
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
    histogram stale = "well_stale_records", Unit::Count, "How many records the client of an operation had not seen of those before it.";
    histogram ack = "well_ack_seconds", Unit::Seconds, "Time from an update's arrival in its room until it is settled, the slowest of each commit.";
    histogram fanout = "well_fanout_seconds", Unit::Seconds, "Time from a commit being durable until a session's writer has taken it, sampled.";
    counter fanout_frames = "well_fanout_bytes_total", Unit::Bytes, "Bytes written to sessions.";
    counter fell_behind = "well_fell_behind_total", Unit::Count, "Sessions brought up to date from the document because they fell off the feed.";
    histogram join = "well_join_seconds", Unit::Seconds, "Time from a session's coming until the document has been handed to it.";
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
    gauge sessions = "well_sessions", Unit::Count, "Sessions that are members of a room.";
    counter presence_updates = "well_presence_changes_total", Unit::Count, "Presence entries that changed something.";
    gauge inbox_bytes = "well_inbox_bytes", Unit::Bytes, "Submissions waiting in rooms' inboxes.";
    gauge disk_bytes = "well_log_disk_bytes", Unit::Bytes, "Bytes the log takes on disk.";
    gauge unmoved_bytes = "well_log_unmoved_bytes", Unit::Bytes, "Bytes of records that still lie in commits.";
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
}

/// A run waited this long for its commit to begin.
pub fn commit_queued(waited: Duration) {
    HANDLES.queue.record(waited);
}

/// A commit is durable.
pub fn commit_done(records: u64, bytes: usize, took: Duration) {
    HANDLES.append.record(took);
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
    HANDLES.sync.record(sync);
}

/// The embedded store moved records to where they stay.
pub fn log_moved(records: u64) {
    HANDLES.moved.increment(records);
}

/// The slowest update of a commit was settled after this long.
pub fn acked(took: Duration) {
    HANDLES.ack.record(took);
}

/// A session's writer took a commit this long after it was durable.
pub fn fanned_out(took: Duration) {
    HANDLES.fanout.record(took);
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
pub fn joined(took: Duration) {
    HANDLES.join.record(took);
}

/// A room was loaded from the log.
pub fn room_loaded(took: Duration) {
    HANDLES.load.record(took);
}

/// How many rooms are loaded.
pub fn rooms_loaded(rooms: usize) {
    HANDLES.rooms_loaded.set(rooms as f64);
}

/// A session became a member of a room.
pub fn session_opened() {
    HANDLES.sessions.increment(1.0);
}

/// A session ended.
pub fn session_closed() {
    HANDLES.sessions.decrement(1.0);
}

/// What carries a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// WebSocket frames over TCP.
    WebSocket,
    /// A stream of a WebTransport session over QUIC.
    WebTransport,
}

impl Transport {
    const fn label(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::WebTransport => "webtransport",
        }
    }
}

/// Open connections, in the order of [`Transport`].
static OPEN: LazyLock<[Gauge; 2]> = LazyLock::new(|| {
    [Transport::WebSocket, Transport::WebTransport]
        .map(|transport| gauge!(CONNECTIONS, "transport" => transport.label()))
});

/// A connection was opened.
pub fn connection_opened(transport: Transport) {
    OPEN[transport as usize].increment(1.0);
}

/// A connection was closed, with this code; 1006 when it broke without one.
pub fn connection_closed(transport: Transport, code: u16) {
    OPEN[transport as usize].decrement(1.0);
    counter!(CLOSED, "transport" => transport.label(), "code" => close_label(code)).increment(1);
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

/// Presence entries changed.
pub fn presence_changed(entries: usize) {
    HANDLES.presence_updates.increment(entries as u64);
}

/// Bytes were put into (positive) or taken out of (negative) a room's inbox.
pub fn inbox_bytes(change: f64) {
    HANDLES.inbox_bytes.increment(change);
}

/// The log's sizes.
pub fn log_sizes(disk_bytes: u64, unmoved_bytes: u64) {
    HANDLES.disk_bytes.set(disk_bytes as f64);
    HANDLES.unmoved_bytes.set(unmoved_bytes as f64);
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
