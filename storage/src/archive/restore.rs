//! Filling an empty log from an archive.
//!
//! Rooms are written in the order of their names, many small ones in one batch. Each run is
//! checked, and must begin where the log ends, so what is written is right or is not written; a
//! restore that was interrupted finds what it wrote and goes on after it.
//!
//! What is damaged does not stop the rest: a room is written up to its first record that cannot be
//! read, and what is missing is told. Once it has been put back, another restore goes on from there.

use std::fmt;
use std::time::Duration;

use protocol::envelope::Damage;
use protocol::{Head, RoomName, Run, Seq, Timestamp};

use super::bucket::Backoff;
use super::catalogue::Room;
use super::{Archive, ArchiveError};
use crate::log::{AppendError, Batch, Entry, Log, ReadError};

/// A room that is back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoredRoom {
    /// The room.
    pub room: RoomName,
    /// Records up to this one are not in the archive, and so not in the log.
    pub start: Head,
    /// The last record that is back.
    pub head: Head,
    /// The last record that the archive is known to have had: the same, unless some are missing.
    pub archived: Seq,
    /// The time of the room's very first record.
    pub created: Timestamp,
    /// Whether it had been deleted: then only its head is back, so that no Seq is given twice.
    pub deleted: bool,
    /// How many records were written for it.
    pub records: u64,
    /// Their sealed bytes.
    pub bytes: u64,
}

/// What a restore has brought back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Restored {
    /// Rooms, deleted ones not counted.
    pub rooms: u64,
    /// Deleted rooms whose heads are kept.
    pub deleted: u64,
    /// Records.
    pub records: u64,
    /// Their sealed bytes.
    pub bytes: u64,
    /// The time of the newest record.
    pub newest: Timestamp,
    /// What could not be read.
    pub missing: Vec<Missing>,
}

/// What could not be read of an archive, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// A room's records from `first` to `last` are not back.
    Records {
        /// The room.
        room: RoomName,
        /// The first that is not back.
        first: Seq,
        /// The last that the archive is known to have had.
        last: Seq,
        /// Why.
        error: ArchiveError,
    },
    /// An object of which it is not known which rooms it holds: any may lack records at its end, or be
    /// missing altogether.
    Object {
        /// How much it holds, as people read it.
        holds: String,
        /// Why it cannot be read.
        error: ArchiveError,
    },
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Records {
                room,
                first,
                last,
                error,
            } => write!(f, "{room}: seq {first} to {last} are missing: {error}"),
            Self::Object { holds, error } => write!(
                f,
                "{error}; it holds {holds}, and of which is not known: any may lack records at its end"
            ),
        }
    }
}

/// Why a restore did not bring everything back. What it has written stays and is right; it can be
/// run again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// The archive could not be read.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// Objects are damaged. What does not need them is back.
    #[error("the archive is damaged: {} of its parts are missing", .0.missing.len())]
    Incomplete(Box<Restored>),
    /// The log has records of its own that are not the archive's.
    #[error(
        "the log is not empty: {room} ends at seq {head} with another history than the archive's"
    )]
    NotEmpty {
        /// The room.
        room: RoomName,
        /// Where it ends in the log.
        head: protocol::Seq,
    },
    /// The log could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The log did not take the records.
    #[error(transparent)]
    Append(#[from] AppendError),
}

/// How many bytes of records are appended together.
const BATCH_BYTES: usize = 4 << 20;
/// How many changes are.
const BATCH_ENTRIES: usize = 1024;
/// How many rooms are looked at together.
const PAGE: usize = 256;
/// How often a batch is tried that was not written.
const TRIES: u32 = 10;
const BACKOFF: Backoff = Backoff {
    min: Duration::from_millis(20),
    max: Duration::from_secs(1),
};

/// Fills an empty log with everything that the archive has, and tells of each room up to which
/// record it is back. A restore that was interrupted goes on where it stopped.
///
/// # Errors
/// [`RestoreError`]; [`RestoreError::Incomplete`] when all that can be read is back, and something
/// cannot: each room then has its records up to the first of those.
pub async fn restore(
    archive: &Archive,
    log: &dyn Log,
    progress: impl FnMut(&RestoredRoom),
) -> Result<Restored, RestoreError> {
    let mut restoring = Restoring {
        archive,
        log,
        progress,
        batch: Batch::default(),
        bytes: 0,
        finished: Vec::new(),
        total: Restored::default(),
    };
    restoring.check_log().await?;
    let mut after: Option<RoomName> = None;
    loop {
        let rooms: Vec<(RoomName, Room)> = {
            let catalogue = archive.inner.catalogue.read();
            let page = catalogue.after(after.as_ref()).take(PAGE);
            page.map(|(name, room)| (name.clone(), room.clone()))
                .collect()
        };
        let Some((last, _)) = rooms.last() else { break };
        after = Some(last.clone());
        for (name, room) in &rooms {
            restoring.room(name, room).await?;
        }
    }
    restoring.append().await?;
    let mut total = restoring.total;
    let catalogue = archive.inner.catalogue.read();
    let unreadable = catalogue.unreadable.iter();
    total
        .missing
        .extend(unreadable.map(|(id, error)| Missing::Object {
            holds: catalogue.contents(*id),
            error: error.clone(),
        }));
    if total.missing.is_empty() {
        return Ok(total);
    }
    Err(RestoreError::Incomplete(Box::new(total)))
}

struct Restoring<'a, P> {
    archive: &'a Archive,
    log: &'a dyn Log,
    progress: P,
    batch: Batch,
    bytes: usize,
    /// Rooms that are back once the batch is written.
    finished: Vec<RestoredRoom>,
    total: Restored,
}

impl<P: FnMut(&RestoredRoom)> Restoring<'_, P> {
    /// The log may have rooms that an earlier restore has begun, and no others.
    async fn check_log(&self) -> Result<(), RestoreError> {
        let mut after: Option<RoomName> = None;
        loop {
            let rows = self.log.rooms(after.as_ref(), PAGE).await?;
            let Some(last) = rows.last() else {
                return Ok(());
            };
            after = Some(last.room.clone());
            let catalogue = self.archive.inner.catalogue.read();
            for row in rows {
                let known = catalogue.rooms.get(&row.room).map(Room::head);
                if known.is_none_or(|head| head.seq < row.state.head.seq) {
                    return Err(not_empty(&row.room, row.state.head));
                }
            }
        }
    }

    async fn room(&mut self, name: &RoomName, room: &Room) -> Result<(), RestoreError> {
        let (start, head) = (room.start(), room.head());
        let mut back = RestoredRoom {
            room: name.clone(),
            start,
            head,
            archived: head.seq,
            created: room.created(),
            deleted: room.is_deleted(),
            records: 0,
            bytes: 0,
        };
        let state = self.log.state(name).await?;
        let mut at = state.head;
        if at == Head::EMPTY && start != Head::EMPTY {
            let begin = Entry::Begin(name.clone(), start, back.created);
            self.push(begin, 0).await?;
            at = start;
        }
        let ours = [start, head];
        let other = at.seq > head.seq
            || at.seq < start.seq
            || ours.iter().any(|head| head.seq == at.seq && *head != at);
        if other {
            return Err(not_empty(name, at));
        }
        while at.seq < head.seq {
            let runs = match self.read(name, at).await? {
                Ok(runs) => runs,
                Err(error) => {
                    self.total.missing.push(Missing::Records {
                        room: name.clone(),
                        first: at.seq.next(),
                        last: head.seq,
                        error,
                    });
                    back.head = at;
                    break;
                }
            };
            for run in runs {
                at = run.after();
                back.records += run.len();
                let bytes = run.bytes().len();
                back.bytes += bytes as u64;
                self.push(Entry::Run(name.clone(), run), bytes).await?;
            }
        }
        if back.deleted && !state.deleted && head != Head::EMPTY {
            self.push(Entry::Delete(name.clone()), 0).await?;
        }
        self.finished.push(back);
        Ok(())
    }

    /// The records of a room that go on from `at`, or why they cannot be had.
    async fn read(
        &self,
        name: &RoomName,
        at: Head,
    ) -> Result<Result<Vec<Run>, ArchiveError>, RestoreError> {
        let damaged = |seq, damage| ArchiveError::Damaged {
            object: "the archive".to_owned(),
            room: Some(name.clone()),
            seq: Some(seq),
            damage,
        };
        let runs = match self.archive.read(name, at.seq, BATCH_BYTES / 4).await {
            Ok(runs) => runs,
            Err(error) if error.is_damage() => return Ok(Err(error)),
            Err(error) => return Err(error.into()),
        };
        let mut head = at;
        for run in &runs {
            if run.before() != head {
                // Where the log ends it is its own records that are other ones.
                return if head == at {
                    Err(not_empty(name, at))
                } else {
                    Ok(Err(damaged(head.seq.next(), Damage::Content)))
                };
            }
            if let Err((seq, damage)) = run.verify() {
                return Ok(Err(damaged(seq, damage)));
            }
            head = run.after();
        }
        Ok(Ok(runs))
    }

    async fn push(&mut self, entry: Entry, bytes: usize) -> Result<(), RestoreError> {
        let full = self.bytes + bytes > BATCH_BYTES || self.batch.entries.len() >= BATCH_ENTRIES;
        if full && !self.batch.entries.is_empty() {
            self.append().await?;
        }
        self.bytes += bytes;
        self.batch.entries.push(entry);
        Ok(())
    }

    /// Writes what has gathered, and tells which rooms are back.
    async fn append(&mut self) -> Result<(), RestoreError> {
        let batch = std::mem::take(&mut self.batch);
        self.bytes = 0;
        let mut attempt = 0;
        loop {
            match self.log.append(batch.clone()).await {
                Ok(_) => break,
                Err(AppendError::NotWritten(_)) if attempt + 1 < TRIES => {
                    BACKOFF.pause(attempt).await;
                    attempt += 1;
                }
                Err(error) => return Err(error.into()),
            }
        }
        for room in self.finished.drain(..) {
            if room.deleted {
                self.total.deleted += 1;
            } else if room.head != Head::EMPTY {
                self.total.rooms += 1;
            }
            self.total.records += room.records;
            self.total.bytes += room.bytes;
            self.total.newest = self.total.newest.max(room.head.at);
            (self.progress)(&room);
        }
        Ok(())
    }
}

fn not_empty(room: &RoomName, head: Head) -> RestoreError {
    RestoreError::NotEmpty {
        room: room.clone(),
        head: head.seq,
    }
}
