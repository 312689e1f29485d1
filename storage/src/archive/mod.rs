//! The archive: rooms' history in object storage.
//!
//! (story to come with the code)

mod archiver;
mod codec;
mod error;
pub mod limits;
mod restore;
mod snapshot;
mod verify;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use protocol::{Head, RoomName, Run, Seq, SessionId, Site, Timestamp, UserId};

pub use self::archiver::{
    Archiver, ArchiverOptions, Compacted, Contents, Failing, Observer, Published, Retention,
    Status, Trimmed,
};
pub use self::error::ArchiveError;
pub use self::restore::{RestoreError, Restored, RestoredRoom, restore};
pub use self::snapshot::{Snapshot, SnapshotError};
pub use self::verify::{Fault, VerifyProgress, VerifyReport};

/// How an archive is read; [`Options::default`] fits a server.
#[derive(Clone)]
pub struct Options {
    /// Settings of the store by name, as the environment gives them: `AWS_ENDPOINT`,
    /// `AWS_ALLOW_HTTP`, `AWS_VIRTUAL_HOSTED_STYLE_REQUEST`, `AWS_REGION`, `GOOGLE_…`, `AZURE_…`.
    /// Others are ignored, so the binary may pass its whole environment.
    pub variables: Vec<(String, String)>,
    /// One attempt at the store may take this long.
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
#[derive(Clone, Debug)]
pub struct Archive {
    options: Arc<Options>,
}

impl Archive {
    /// Opens the archive that a URL names: `file:///folder`, `s3://bucket/prefix`,
    /// `gs://bucket/prefix`, `az://container/prefix` or `memory://`, which lives as long as the
    /// value. An empty place is an empty archive.
    ///
    /// # Errors
    /// [`ArchiveError::Url`] for a bad URL; [`ArchiveError::Store`] when the store does not answer;
    /// [`ArchiveError::Damaged`] when the newest manifest cannot be read.
    pub async fn open(url: &str, options: Options) -> Result<Self, ArchiveError> {
        let _ = url;
        std::future::ready(Ok(Self {
            options: Arc::new(options),
        }))
        .await
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
        let _ = (store, prefix);
        Self::open("memory://", options).await
    }

    /// Reads the newest manifest: what another process has archived since.
    ///
    /// # Errors
    /// As [`Archive::open`]; the view stays as it was.
    pub async fn refresh(&self) -> Result<(), ArchiveError> {
        std::future::ready(Ok(())).await
    }

    /// What there is of a room. `None` for one that never was archived or was deleted.
    #[must_use]
    pub fn room(&self, room: &RoomName) -> Option<ArchivedRoom> {
        let _ = (room, &self.options);
        None
    }

    /// Rooms by name, in byte order, after `after`, at most `limit`; deleted ones are left out.
    #[must_use]
    pub fn rooms(&self, after: Option<&RoomName>, limit: usize) -> Vec<(RoomName, ArchivedRoom)> {
        let _ = (after, limit);
        Vec::new()
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
        let _ = (room, after, max_bytes);
        std::future::ready(Ok(Vec::new())).await
    }

    /// The last record at or before `time`, with the contract of
    /// [`Log::seq_at`](crate::Log::seq_at).
    ///
    /// # Errors
    /// [`ArchiveError::Trimmed`] if that record is not kept and the start is later than `time`.
    pub async fn seq_at(&self, room: &RoomName, time: Timestamp) -> Result<Seq, ArchiveError> {
        let _ = (room, time);
        std::future::ready(Ok(Seq::ZERO)).await
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
        let _ = (room, up_to);
        std::future::ready(Ok(None)).await
    }

    /// Where a room's snapshots stand, oldest first.
    #[must_use]
    pub fn snapshots(&self, room: &RoomName) -> Vec<Head> {
        let _ = room;
        Vec::new()
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
        let _ = (room, after, up_to);
        std::future::ready(Ok(Vec::new())).await
    }

    /// Scrubs: reads every object and checks all of it. Goes on after a fault.
    ///
    /// # Errors
    /// Only when the store does not answer; faults are in the report.
    pub async fn verify(
        &self,
        mut progress: impl FnMut(&VerifyProgress),
    ) -> Result<VerifyReport, ArchiveError> {
        progress(&VerifyProgress::default());
        std::future::ready(Ok(VerifyReport::default())).await
    }
}
