//! An archive read as if it were a log: for tools that look at rooms whose log is elsewhere, or lost.

use futures_util::future::{self, BoxFuture, FutureExt};
use protocol::{OpId, RoomName, Run, Seq, Timestamp};

use super::{Archive, ArchiveError};
use crate::log::{AppendError, Appended, Batch, Log, ReadError, RoomRow, RoomState, Stats};

/// The rooms of an archive, for reading.
#[derive(Debug, Clone)]
pub struct ArchivedLog {
    archive: Archive,
}

impl ArchivedLog {
    /// Reads `archive`.
    #[must_use]
    pub const fn new(archive: Archive) -> Self {
        Self { archive }
    }

    fn state_of(&self, room: &RoomName) -> RoomState {
        let Some(archived) = self.archive.room(room) else {
            return RoomState::default();
        };
        RoomState {
            start: archived.start,
            head: archived.head,
            deleted: false,
            bytes: archived.bytes,
            created: archived.created,
            erased: archived.start.seq,
        }
    }
}

impl From<ArchiveError> for ReadError {
    fn from(error: ArchiveError) -> Self {
        match error {
            ArchiveError::Trimmed { start } => Self::Trimmed { start },
            ArchiveError::Damaged {
                room: Some(room),
                seq: Some(seq),
                damage,
                ..
            } => Self::Damaged { room, seq, damage },
            other => Self::Io(other.to_string()),
        }
    }
}

impl Log for ArchivedLog {
    fn append(&self, _batch: Batch) -> BoxFuture<'static, Result<Appended, AppendError>> {
        let why = "an archive is read, never written, through this".to_owned();
        future::ready(Err(AppendError::NotWritten(why))).boxed()
    }

    fn read(
        &self,
        room: &RoomName,
        after: Seq,
        max_bytes: usize,
    ) -> BoxFuture<'static, Result<Vec<Run>, ReadError>> {
        let (archive, room) = (self.archive.clone(), room.clone());
        async move { Ok(archive.read(&room, after, max_bytes).await?) }.boxed()
    }

    fn state(&self, room: &RoomName) -> BoxFuture<'static, Result<RoomState, ReadError>> {
        future::ready(Ok(self.state_of(room))).boxed()
    }

    fn seq_at(
        &self,
        room: &RoomName,
        time: Timestamp,
    ) -> BoxFuture<'static, Result<Seq, ReadError>> {
        let (archive, room) = (self.archive.clone(), room.clone());
        async move { Ok(archive.seq_at(&room, time).await?) }.boxed()
    }

    fn find_op(
        &self,
        room: &RoomName,
        op_id: OpId,
    ) -> BoxFuture<'static, Result<Option<Seq>, ReadError>> {
        let (log, room) = (self.clone(), room.clone());
        async move {
            let mut at = log.state_of(&room).start.seq;
            loop {
                let page = log.read(&room, at, super::limits::SCAN_BYTES).await?;
                let Some(last) = page.last().map(Run::last) else {
                    return Ok(None);
                };
                for run in &page {
                    let mut expected = run.first();
                    for record in run.records() {
                        let record = record.map_err(|damage| ReadError::Damaged {
                            room: room.clone(),
                            seq: expected,
                            damage,
                        })?;
                        if record.draft.op_id == Some(op_id) {
                            return Ok(Some(record.seq));
                        }
                        expected = record.seq.next();
                    }
                }
                at = last;
            }
        }
        .boxed()
    }

    fn rooms(
        &self,
        after: Option<&RoomName>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<RoomRow>, ReadError>> {
        let rooms = self.archive.rooms(after, limit).into_iter();
        let rows = rooms.map(|(room, _)| RoomRow {
            state: self.state_of(&room),
            room,
        });
        future::ready(Ok(rows.collect())).boxed()
    }

    fn all_rooms(
        &self,
        after: Option<&RoomName>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<RoomRow>, ReadError>> {
        let catalogue = self.archive.inner.catalogue.read();
        let rows = catalogue.after(after).take(limit).map(|(name, room)| {
            let archived = room.summary();
            RoomRow {
                room: name.clone(),
                state: RoomState {
                    start: archived.start,
                    head: archived.head,
                    deleted: room.is_deleted(),
                    bytes: archived.bytes,
                    created: archived.created,
                    erased: archived.start.seq,
                },
            }
        });
        future::ready(Ok(rows.collect())).boxed()
    }

    fn durability(&self) -> &'static str {
        "an archive, read only"
    }

    fn poisoned(&self) -> Option<String> {
        None
    }

    fn until_poisoned(&self) -> BoxFuture<'static, String> {
        future::pending().boxed()
    }

    fn stats(&self) -> Stats {
        Stats::default()
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        future::ready(()).boxed()
    }
}
