//! Filling an empty log from an archive.
//!
//! Rooms are written in the order of their names, many small ones in one batch. Each run is
//! checked, and must begin where the log ends, so what is written is right or is not written; a
//! restore that was interrupted finds what it wrote and goes on after it.

use std::time::Duration;

use protocol::{Head, RoomName, Timestamp};

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
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
}

/// Why a restore stopped. What it has written stays and is right; it can be run again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// The archive could not be read.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
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
/// [`RestoreError`]
pub async fn restore(
    archive: &Archive,
    log: &dyn Log,
    progress: impl FnMut(&RestoredRoom),
) -> Result<Restored, RestoreError> {
    let unreadable = archive
        .inner
        .catalogue
        .read()
        .unreadable
        .values()
        .next()
        .cloned();
    if let Some(error) = unreadable {
        return Err(error.into());
    }
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
    Ok(restoring.total)
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
            let runs = self.archive.read(name, at.seq, BATCH_BYTES / 4).await?;
            for run in runs {
                if run.before() != at {
                    return Err(not_empty(name, at));
                }
                run.verify()
                    .map_err(|(seq, damage)| ArchiveError::Damaged {
                        object: "the archive".to_owned(),
                        room: Some(name.clone()),
                        seq: Some(seq),
                        damage,
                    })?;
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
            } else {
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
