//! The storage contract: one append-only log per room.
//!
//! ```text
//!            trimmed            kept                      not yet
//!  room  ├───────────────┼──────────────────────────┼─ ─ ─ ─ ─ ─ ─▶ Seq
//!        1          start│start+1               head│head+1
//!                        │                          │
//!                  trim(up to)                 append here
//! ```
//!
//! A room exists from its first record on, or from where [`Entry::Begin`] put its head. Its log has a *start* (the last trimmed position,
//! [`Head::EMPTY`] while nothing is trimmed) and a *head* (the last record). Records are read in
//! `(start, head]`. A deleted room keeps its head, so that a Seq is never given twice, and gives
//! back everything else; appending to it, which continues after that head, brings it back to life.
//!
//! # What every backend promises
//! - **Order.** Batches take effect in the order in which [`Log::append`] was *called*, whenever
//!   the returned futures are polled. A caller may have several in flight.
//! - **All or nothing.** A batch is there whole or not at all, after any crash.
//! - **Durable.** When `append` returns `Ok`, the batch survives a power cut, or whatever
//!   [`Log::durability`] says this backend survives. Nothing is readable before it is durable.
//! - **Poison.** After a failure that leaves the disk's state unknown, every later call that
//!   writes fails with [`AppendError::Poisoned`] and [`Log::poisoned`] says why. Nothing is
//!   retried: after a failed `fsync` the kernel may have dropped the pages and will say "ok" to the
//!   next one. The process is to exit; recovery at the next start finds what is truly there.
//! - **Dropping a future changes nothing**: the batch was handed over when `append` was called.

use std::fmt;

use futures_util::future::BoxFuture;
use protocol::envelope::Damage;
use protocol::{Head, OpId, RoomName, Run, Seq, Timestamp};

/// An append-only log per room. See the [module](self) for the contract as a whole.
pub trait Log: Send + Sync + 'static {
    /// Writes a batch and makes it durable.
    ///
    /// The entries apply in order. A room may stand in one batch several times, each run beginning
    /// where the one before ended. A run must begin at the room's head (`run.before() ==` head):
    /// else the whole batch fails with [`AppendError::Conflict`] and nothing is written. An empty
    /// batch succeeds, and is as durable as everything before it.
    ///
    /// Trimming at or below the start, or a room that does not exist, changes nothing; trimming
    /// past the head of one that exists is an [`AppendError::Conflict`]. Deleting a room that does
    /// not exist or is deleted changes nothing. Beginning a room that has or had a record is an
    /// [`AppendError::Conflict`]; beginning one at [`Head::EMPTY`] changes nothing.
    fn append(&self, batch: Batch) -> BoxFuture<'static, Result<Appended, AppendError>>;

    /// Records after `after`, in order and without gap: at least one if there is one, and no more
    /// once `max_bytes` of sealed records are reached. Nothing after the head; what is appended
    /// while the call runs may or may not be there.
    ///
    /// # Errors
    /// [`ReadError::Trimmed`] if `after` lies before the start; [`ReadError::Damaged`] names the
    /// first bad record, and the records before it can still be read with a smaller `max_bytes`.
    fn read(
        &self,
        room: &RoomName,
        after: Seq,
        max_bytes: usize,
    ) -> BoxFuture<'static, Result<Vec<Run>, ReadError>>;

    /// Where the room's log starts and ends. A room that never was gives [`RoomState::default`].
    fn state(&self, room: &RoomName) -> BoxFuture<'static, Result<RoomState, ReadError>>;

    /// The last record at or before `time`: the greatest Seq with `at ≤ time`. [`Seq::ZERO`] when
    /// every record is later.
    ///
    /// # Errors
    /// [`ReadError::Trimmed`] if that record lies at or before the start and the start is later
    /// than `time`.
    fn seq_at(
        &self,
        room: &RoomName,
        time: Timestamp,
    ) -> BoxFuture<'static, Result<Seq, ReadError>>;

    /// The Seq that an operation has been given, if it is in the log and not trimmed. Costs up to
    /// a scan of the room, newest first.
    fn find_op(
        &self,
        room: &RoomName,
        op_id: OpId,
    ) -> BoxFuture<'static, Result<Option<Seq>, ReadError>>;

    /// Rooms by name, in byte order, after `after`, at most `limit`; deleted ones are left out.
    fn rooms(
        &self,
        after: Option<&RoomName>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<RoomRow>, ReadError>>;

    /// The same with deleted rooms among them: their names, and the heads they had.
    fn all_rooms(
        &self,
        after: Option<&RoomName>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<RoomRow>, ReadError>>;

    /// What an acked batch survives, in words for `/readyz` and the log.
    fn durability(&self) -> &'static str;

    /// Why the log no longer writes, if it does not.
    fn poisoned(&self) -> Option<String>;

    /// Why a batch with records would be refused now, if it would: the log is poisoned, or its disk
    /// is full, which may pass. Cheap, and fit to be shown to clients.
    fn refuses_writes(&self) -> Option<String> {
        self.poisoned()
    }

    /// Waits until the log is poisoned, and says why. Never returns on a healthy log.
    fn until_poisoned(&self) -> BoxFuture<'static, String>;

    /// Sizes for metrics and the HTTP API; cheap.
    fn stats(&self) -> Stats;

    /// Finishes background work that has begun and releases the store. Batches already handed over
    /// are finished first; later calls fail with [`AppendError::Closed`].
    fn close(&self) -> BoxFuture<'static, ()>;
}

/// What one call of [`Log::append`] writes, all or nothing.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// The entries, applied in order.
    pub entries: Vec<Entry>,
}

/// One change of one room.
#[derive(Debug, Clone)]
pub enum Entry {
    /// Records at the room's head.
    Run(RoomName, Run),
    /// Forget the records up to and with this Seq, and give their space back.
    Trim(RoomName, Seq),
    /// Forget the room but for its head, and give its space back.
    Delete(RoomName),
    /// Begin a room that never was at a head it had elsewhere, with the time of the very first
    /// record it had: what a restore does for a room whose first records are gone for good.
    Begin(RoomName, Head, Timestamp),
}

impl Entry {
    /// The room it changes.
    #[must_use]
    pub const fn room(&self) -> &RoomName {
        let (Self::Run(room, _) | Self::Trim(room, _) | Self::Delete(room) | Self::Begin(room, ..)) =
            self;
        room
    }
}

/// Proof that something is durable. Only this crate can make one, and an ack cannot be built
/// without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Durable<T>(T);

impl<T> Durable<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(value)
    }

    /// What is durable.
    pub const fn get(&self) -> &T {
        &self.0
    }
}

/// A batch has become durable: the new head of each entry's room, in the batch's order.
#[derive(Debug, Clone)]
pub struct Appended {
    /// One head for each entry of the batch.
    pub heads: Vec<Durable<Head>>,
}

/// Where a room's log starts and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RoomState {
    /// The last trimmed position; [`Head::EMPTY`] while nothing is trimmed.
    pub start: Head,
    /// The last record, or the last one there was in a deleted room.
    pub head: Head,
    /// Whether the room is deleted: it has a head and no records.
    pub deleted: bool,
    /// Bytes of sealed records kept.
    pub bytes: u64,
    /// The time of the very first record; zero in a room that never was.
    pub created: Timestamp,
    /// Records up to this one are gone for good: the room was deleted after it, or began after it
    /// ([`Entry::Begin`]). What was merely trimmed lies after it. [`Seq::ZERO`] when nothing is.
    pub erased: Seq,
}

impl RoomState {
    /// The state after a run that begins at the head.
    pub(crate) fn extend(&mut self, run: &Run) {
        if self.head == Head::EMPTY {
            let first = run.records().next().and_then(Result::ok);
            self.created = first.map_or(run.after().at, |record| record.at);
        }
        self.head = run.after();
        self.deleted = false;
        self.bytes += run.bytes().len() as u64;
    }

    /// The state after everything before and with `start` is forgotten, `freed` bytes of it.
    pub(crate) fn trim(&mut self, start: Head, freed: u64) {
        if start.seq > self.start.seq {
            self.start = start;
            self.bytes = self.bytes.saturating_sub(freed);
        }
    }

    /// The state after the room is deleted.
    pub(crate) fn clear(&mut self) {
        if self.head != Head::EMPTY {
            self.start = self.head;
            self.deleted = true;
            self.bytes = 0;
            self.erased = self.head.seq;
        }
    }

    /// The state of a room that begins after `head`.
    pub(crate) fn begin(&mut self, head: Head, created: Timestamp) {
        if self.head == Head::EMPTY && head != Head::EMPTY {
            *self = Self {
                start: head,
                head,
                deleted: false,
                bytes: 0,
                created,
                erased: head.seq,
            };
        }
    }
}

/// A room in [`Log::rooms`] or [`Log::all_rooms`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomRow {
    /// Its name.
    pub room: RoomName,
    /// Its log.
    pub state: RoomState,
}

/// Sizes of a whole log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// Bytes of records held in memory until they are moved to where they stay.
    pub unmoved_bytes: u64,
}

/// Why a batch was not acked. `Conflict`, `NotWritten` and `Closed`: it did not happen.
/// `Unknown`: it may have. `Poisoned`: this batch did not happen, an earlier one may have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// A run does not begin at its room's head, or a trim lies past it: the caller's view is old.
    #[error("{room} ends at seq {head}, and the batch expected seq {expected}; read the log again")]
    Conflict {
        /// The room.
        room: RoomName,
        /// Where its log ends.
        head: Seq,
        /// Where the batch thought it ends.
        expected: Seq,
    },
    /// Nothing was written, and nothing stands in the way of the next batch.
    #[error("the batch was not written: {0}")]
    NotWritten(String),
    /// The batch may or may not be there. The log is poisoned.
    #[error("the batch may or may not have been written: {0}")]
    Unknown(String),
    /// An earlier failure has poisoned the log. This batch was not written.
    #[error("the log takes no more writes since an earlier failure: {0}")]
    Poisoned(String),
    /// The log is closed.
    #[error("the log is closed")]
    Closed,
}

impl AppendError {
    /// Whether it is certain that the batch did not happen.
    #[must_use]
    pub const fn did_not_happen(&self) -> bool {
        match self {
            Self::Unknown(_) => false,
            Self::Conflict { .. } | Self::NotWritten(_) | Self::Poisoned(_) | Self::Closed => true,
        }
    }
}

/// Why records could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The records asked for have been trimmed.
    #[error("the records up to seq {start} have been trimmed")]
    Trimmed {
        /// The last trimmed Seq.
        start: Seq,
    },
    /// A stored record is damaged.
    #[error("{room} is damaged at seq {seq}: {damage}")]
    Damaged {
        /// The room.
        room: RoomName,
        /// The first Seq that cannot be read.
        seq: Seq,
        /// What is wrong.
        damage: Damage,
    },
    /// The disk or the store failed to answer.
    #[error("the store could not be read: {0}")]
    Io(String),
    /// The log is closed.
    #[error("the log is closed")]
    Closed,
}

impl fmt::Debug for dyn Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log")
            .field("durability", &self.durability())
            .finish()
    }
}
