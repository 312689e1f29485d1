//! What an archiver tells: of each thing it did, and where it stands.

use std::time::{Duration, SystemTime};

use super::ArchiveError;

/// Is told what an archiver did; called on its task, so it must be quick.
pub trait Observer: Send + Sync + 'static {
    /// A segment is in the archive.
    fn published(&self, published: &Published) {
        let _ = published;
    }
    /// Records were trimmed from the log.
    fn trimmed(&self, trimmed: &Trimmed) {
        let _ = trimmed;
    }
    /// Segments were merged, or retention was applied.
    fn compacted(&self, compacted: &Compacted) {
        let _ = compacted;
    }
    /// Garbage was collected: so many objects.
    fn collected(&self, objects: u64) {
        let _ = objects;
    }
    /// An attempt failed; it is tried again unless the error is final.
    fn failed(&self, error: &ArchiveError) {
        let _ = error;
    }
}

impl Observer for () {}

/// A segment that is in the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Published {
    /// Its rooms.
    pub rooms: u64,
    /// Its records.
    pub records: u64,
    /// Its snapshots.
    pub snapshots: u64,
    /// Sealed bytes before compression.
    pub raw_bytes: u64,
    /// Bytes uploaded.
    pub stored_bytes: u64,
    /// From the first read of the log to the published manifest.
    pub took: Duration,
}

/// Records that were trimmed from the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Trimmed {
    /// Rooms.
    pub rooms: u64,
    /// Records.
    pub records: u64,
}

/// Segments that were merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Compacted {
    /// Segments before.
    pub from_segments: u64,
    /// Segments after.
    pub to_segments: u64,
    /// Bytes before.
    pub from_bytes: u64,
    /// Bytes after.
    pub to_bytes: u64,
    /// Records that retention or a deletion dropped.
    pub dropped_records: u64,
    /// How long it took.
    pub took: Duration,
}

/// What stands in the way, since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failing {
    /// The last error.
    pub error: ArchiveError,
    /// Since when nothing has succeeded.
    pub since: SystemTime,
    /// How often it was tried.
    pub attempts: u64,
}

/// Where an archiver stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Status {
    /// Its epoch, once it has taken the archive.
    pub epoch: Option<u64>,
    /// Records in the log that are not in the archive; also those that are on their way into it.
    pub lag_records: u64,
    /// Their sealed bytes, about.
    pub lag_bytes: u64,
    /// How long the oldest of these has been waiting, at the most; zero when nothing is.
    pub lag_age: Duration,
    /// What stands in the way, if something does.
    pub failing: Option<Failing>,
    /// Whether another server has taken over.
    pub fenced: bool,
    /// Why it has stopped for good, if it has: fenced or a wrong bucket.
    pub stopped: Option<ArchiveError>,
    /// The newest manifest.
    pub manifest: u64,
    /// Segments in it.
    pub segments: u64,
    /// Their bytes.
    pub stored_bytes: u64,
    /// Records archived since the start.
    pub records: u64,
    /// Snapshots archived since the start.
    pub snapshots: u64,
    /// Snapshots that did not fit the log's history and were thrown away.
    pub refused_snapshots: u64,
    /// Bytes of snapshots that wait.
    pub waiting_snapshot_bytes: u64,
    /// Records trimmed from the log since the start.
    pub trimmed_records: u64,
}
