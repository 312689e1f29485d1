//! The archive: rooms' history in object storage.
//!
//! ```text
//!           records, in pages            segments                 manifest
//!  Log ───────────────────────▶ Archiver ─────────▶ upload ─▶ read back ─▶ publish ─▶ read back
//!   ▲   snapshots, offered ───────▲   │                                                  │
//!   └─────────────────────────────────┴──────────── only then: trim ◀────────────────────┘
//! ```
//!
//! Many small rooms share one object: a [`segment`] holds blocks of many rooms and an index of
//! them. A [`manifest`] names the segments that the archive consists of; the newest one counts.
//! Nothing is ever overwritten: manifests are numbered and created only if they are not there yet,
//! and each writer has an epoch of its own, so of two writers one learns that it has been fenced.
//!
//! | module | holds |
//! | --- | --- |
//! | [`segment`], [`index`], [`manifest`], [`snapshot`] | the formats |
//! | [`location`], [`bucket`] | stores, and the few operations on them |
//! | [`catalogue`], [`read`] | what there is of each room, and reading it |
//! | [`archiver`] | filling it; [`gather`], [`publish`], [`compact`], [`tidy`] and [`lag`] are its work |
//! | [`verify`](mod@verify), [`restore`](mod@restore) | the scrub, and filling an empty log |
//! | [`as_log`] | an archive read as if it were a log |
//!
//! # What is promised
//! - What is published has been read back and was whole; a record is trimmed from the log only
//!   after that.
//! - What is read is what was written: every byte is under a checksum, and what does not fit is
//!   an error that names the object, the room and the Seq.
//! - A failing store slows nothing down and loses nothing: everything is tried again, and
//!   [`Archiver::status`] says what stands in the way and since when.

mod archiver;
mod as_log;
mod bucket;
mod cache;
mod catalogue;
mod codec;
mod compact;
mod error;
#[cfg(any(test, feature = "testing"))]
pub mod faults;
mod gather;
mod index;
mod lag;
pub mod limits;
mod location;
mod manifest;
mod publish;
mod read;
mod report;
mod restore;
mod segment;
mod settings;
mod snapshot;
#[cfg(test)]
mod tests;
mod tidy;
mod verify;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use parking_lot::{Mutex, RwLock};
use protocol::{Head, RoomName, Run, Seq, SessionId, Site, Timestamp, UserId};

use self::bucket::{Backoff, Bucket};
use self::cache::Cache;
use self::catalogue::Catalogue;
use self::index::SegmentIndex;
use self::segment::SegmentId;

pub use self::archiver::Archiver;
pub use self::as_log::ArchivedLog;
pub use self::error::ArchiveError;
pub use self::location::open_store;
pub use self::report::{Compacted, Failing, Observer, Published, Status, Trimmed};
pub use self::restore::{Missing, RestoreError, Restored, RestoredRoom, restore};
pub use self::settings::{ArchiverOptions, Contents, Retention};
pub use self::snapshot::{Snapshot, SnapshotError};
pub use self::verify::{Fault, VerifyProgress, VerifyReport};

/// How an archive is read; [`Options::default`] fits a server.
#[derive(Clone)]
pub struct Options {
    /// Settings of the store by name, as the environment gives them: `AWS_ENDPOINT`,
    /// `AWS_ALLOW_HTTP`, `AWS_VIRTUAL_HOSTED_STYLE_REQUEST`, `AWS_REGION`, `GOOGLE_…`, `AZURE_…`.
    /// Others are ignored, so the binary may pass its whole environment.
    pub variables: Vec<(String, String)>,
    /// A folder that is not there is an error; else it is made.
    pub must_exist: bool,
    /// The store has to answer within this time, and to send each further piece within it.
    pub attempt_timeout: Duration,
    /// How often a read is tried before it fails.
    pub read_tries: u32,
    /// Memory for decoded indexes, in bytes.
    pub index_cache_bytes: usize,
    /// Memory for decoded blocks, in bytes.
    pub block_cache_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            variables: Vec::new(),
            must_exist: false,
            attempt_timeout: Duration::from_secs(30),
            read_tries: 4,
            index_cache_bytes: 64 << 20,
            block_cache_bytes: 64 << 20,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Variables may hold secrets.
        f.debug_struct("Options")
            .field("attempt_timeout", &self.attempt_timeout)
            .field("read_tries", &self.read_tries)
            .field("index_cache_bytes", &self.index_cache_bytes)
            .field("block_cache_bytes", &self.block_cache_bytes)
            .finish_non_exhaustive()
    }
}

/// Who wrote a record, as activity counts it: the user, else the site, else the session.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Who {
    /// A user.
    User(UserId),
    /// A replica of a user that is not known.
    Site(Site),
    /// A session of which neither is known.
    Session(SessionId),
}

/// What happened in a run of records; one for each block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activity {
    /// The first record.
    pub first: Seq,
    /// How many records.
    pub count: u64,
    /// The time of the first.
    pub from: Timestamp,
    /// The time of the last.
    pub to: Timestamp,
    /// Their sealed bytes.
    pub bytes: u64,
    /// How many records each author wrote, most first; at most
    /// [`limits::MAX_BLOCK_AUTHORS`].
    pub authors: Vec<(Who, u64)>,
    /// How many records the other authors wrote.
    pub more: u64,
    /// How many of the records are room events, not updates.
    pub events: u64,
}

/// What the archive has of a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchivedRoom {
    /// Records up to this one are not in the archive: retention or a deletion removed them.
    pub start: Head,
    /// The last archived record.
    pub head: Head,
    /// The time of the very first record.
    pub created: Timestamp,
    /// How many snapshots there are.
    pub snapshots: u64,
    /// Sealed bytes of its records, uncompressed.
    pub bytes: u64,
}

/// A view of one archive, for reading. Cloning is cheap, and clones share their caches.
#[derive(Clone)]
pub struct Archive {
    inner: Arc<Inner>,
}

struct Inner {
    bucket: Bucket,
    options: Options,
    catalogue: RwLock<Catalogue>,
    indexes: Mutex<Cache<SegmentId, Arc<SegmentIndex>>>,
    /// Decoded blocks, by segment and offset.
    blocks: Mutex<Cache<(SegmentId, u64), Run>>,
}

/// Pauses between the tries of a read.
const READ_BACKOFF: Backoff = Backoff {
    min: Duration::from_millis(50),
    max: Duration::from_secs(2),
};

impl Archive {
    /// Opens the archive that a URL names: `file:///folder`, `s3://bucket/prefix`,
    /// `gs://bucket/prefix`, `az://container/prefix` or `memory://`, which lives as long as the
    /// value. An empty place is an empty archive.
    ///
    /// # Errors
    /// [`ArchiveError::Url`] for a bad URL; [`ArchiveError::Store`] when the store does not answer;
    /// [`ArchiveError::Damaged`] when the newest manifest cannot be read.
    pub async fn open(url: &str, options: Options) -> Result<Self, ArchiveError> {
        let (store, prefix) = location::locate_archive(url, &options)?;
        Self::on(store, &prefix, options).await
    }

    /// Opens an archive under a prefix of a store that the caller has made.
    ///
    /// # Errors
    /// As [`Archive::open`].
    pub async fn on(
        store: Arc<dyn ObjectStore>,
        prefix: &str,
        options: Options,
    ) -> Result<Self, ArchiveError> {
        let archive = Self {
            inner: Arc::new(Inner {
                bucket: Bucket::new(store, prefix, options.attempt_timeout)?,
                catalogue: RwLock::default(),
                indexes: Mutex::new(Cache::new(options.index_cache_bytes)),
                blocks: Mutex::new(Cache::new(options.block_cache_bytes)),
                options,
            }),
        };
        archive.refresh().await?;
        Ok(archive)
    }

    /// Reads the newest manifest: what another process has archived since.
    ///
    /// # Errors
    /// As [`Archive::open`]; the view stays as it was.
    pub async fn refresh(&self) -> Result<(), ArchiveError> {
        self.inner.refresh().await
    }

    /// Whether anything was ever archived here: whether there is a manifest.
    #[must_use]
    pub fn is_begun(&self) -> bool {
        self.inner.catalogue.read().manifest.number > 0
    }

    /// What there is of a room. `None` for one that never was archived or was deleted.
    #[must_use]
    pub fn room(&self, room: &RoomName) -> Option<ArchivedRoom> {
        let catalogue = self.inner.catalogue.read();
        let found = catalogue.rooms.get(room)?;
        (!found.is_deleted()).then(|| found.summary())
    }

    /// Rooms by name, in byte order, after `after`, at most `limit`; deleted ones are left out.
    #[must_use]
    pub fn rooms(&self, after: Option<&RoomName>, limit: usize) -> Vec<(RoomName, ArchivedRoom)> {
        let catalogue = self.inner.catalogue.read();
        let rooms = catalogue.after(after);
        let alive = rooms.filter(|(_, room)| !room.is_deleted());
        alive
            .take(limit)
            .map(|(name, room)| (name.clone(), room.summary()))
            .collect()
    }

    /// Records after `after`, with the contract of [`Log::read`](crate::Log::read).
    ///
    /// # Errors
    /// [`ArchiveError::Trimmed`] if `after` lies before the room's start; otherwise as the store
    /// and its bytes are.
    pub async fn read(
        &self,
        room: &RoomName,
        after: Seq,
        max_bytes: usize,
    ) -> Result<Vec<Run>, ArchiveError> {
        self.inner.read(room, after, Seq::MAX, max_bytes).await
    }

    /// As [`Archive::read`], and nothing after `up_to`, which must lie after `after`: no block is
    /// fetched for records that nobody wants.
    ///
    /// # Errors
    /// As [`Archive::read`].
    pub async fn read_up_to(
        &self,
        room: &RoomName,
        after: Seq,
        up_to: Seq,
        max_bytes: usize,
    ) -> Result<Vec<Run>, ArchiveError> {
        self.inner.read(room, after, up_to, max_bytes).await
    }

    /// The last record at or before `time`, with the contract of
    /// [`Log::seq_at`](crate::Log::seq_at).
    ///
    /// # Errors
    /// [`ArchiveError::Trimmed`] if that record is not kept and the start is later than `time`.
    pub async fn seq_at(&self, room: &RoomName, time: Timestamp) -> Result<Seq, ArchiveError> {
        self.inner.seq_at(room, time).await
    }

    /// The newest snapshot at or before `up_to`.
    ///
    /// # Errors
    /// As the store and its bytes are.
    pub async fn snapshot(
        &self,
        room: &RoomName,
        up_to: Seq,
    ) -> Result<Option<Snapshot>, ArchiveError> {
        self.inner.snapshot(room, up_to).await
    }

    /// Where a room's snapshots stand, oldest first.
    #[must_use]
    pub fn snapshots(&self, room: &RoomName) -> Vec<Head> {
        let catalogue = self.inner.catalogue.read();
        let found = catalogue.rooms.get(room);
        found.map_or_else(Vec::new, |room| {
            room.snapshots.iter().map(|(head, _)| *head).collect()
        })
    }

    /// What happened in the blocks that hold records of `(after, up_to]`, one for each block, read
    /// from indexes alone. The first and last may reach past the range.
    ///
    /// # Errors
    /// As the store and its bytes are.
    pub async fn activity(
        &self,
        room: &RoomName,
        after: Seq,
        up_to: Seq,
    ) -> Result<Vec<Activity>, ArchiveError> {
        self.inner.activity(room, after, up_to).await
    }

    /// Scrubs: reads every object and checks all of it. Goes on after a fault, and names the room
    /// and the Seq of each.
    ///
    /// # Errors
    /// Only when the store does not answer; faults are in the report.
    pub async fn verify(
        &self,
        progress: impl FnMut(&VerifyProgress),
    ) -> Result<VerifyReport, ArchiveError> {
        verify::verify(&self.inner, progress).await
    }
}

impl fmt::Debug for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Archive")
            .field("bucket", &self.inner.bucket)
            .field("manifest", &self.inner.catalogue.read().manifest.number)
            .finish_non_exhaustive()
    }
}
