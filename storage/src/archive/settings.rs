//! How an archiver behaves.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use protocol::{RoomName, Seq};

use super::Archive;
#[cfg(test)]
use super::archiver::Step;

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
    /// Snapshots that stand for first records that are gone: an archive that lacks the one a room
    /// begins with is given it from here.
    pub bases: Option<Archive>,
    /// How long a space's history is kept.
    pub retention: Arc<dyn Fn(&str) -> Retention + Send + Sync>,
    /// Bytes of snapshots that may wait, unless a single one is larger.
    pub snapshot_queue_bytes: usize,
    /// Segments smaller than this are merged into larger ones.
    pub small_segment_bytes: u64,
    /// … when there are so many of them.
    pub merge_segments: usize,
    /// How often retention is applied and garbage is looked for. What is deleted in the log has left
    /// the store after `roll_after`, two of these and a `garbage_min_age`.
    pub tidy_every: Duration,
    /// How many of the newest manifests are kept, and with them what they name. One that was
    /// superseded a `garbage_min_age` ago and names anything else than the newest is pushed out by
    /// repeating that.
    pub keep_manifests: usize,
    /// Objects that no kept manifest names are deleted at this age.
    pub garbage_min_age: Duration,
    /// The store has to answer within this time; an upload has a second more for each MiB.
    pub attempt_timeout: Duration,
    /// The longest pause before the second attempt; it doubles with each one …
    pub backoff_min: Duration,
    /// … up to this. Each pause is drawn at random below its bound.
    pub backoff_max: Duration,
    /// The runtime to work on; `None` is the one that it is started on.
    pub runtime: Option<tokio::runtime::Handle>,
    /// The wall clock, for ages.
    pub clock: Arc<dyn Fn() -> SystemTime + Send + Sync>,
    /// Where the archiver ends as a crash would end it.
    #[cfg(test)]
    pub(crate) crash: Option<Arc<dyn Fn(Step) -> bool + Send + Sync>>,
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
            bases: None,
            retention: Arc::new(|_| Retention::All),
            snapshot_queue_bytes: 64 << 20,
            small_segment_bytes: 8 << 20,
            merge_segments: 16,
            tidy_every: Duration::from_secs(3600),
            keep_manifests: 8,
            garbage_min_age: Duration::from_secs(3600),
            attempt_timeout: Duration::from_secs(30),
            backoff_min: Duration::from_millis(200),
            backoff_max: Duration::from_secs(30),
            runtime: None,
            clock: Arc::new(SystemTime::now),
            #[cfg(test)]
            crash: None,
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
