//! A room's whole past as a log: what has been trimmed from the log is read from the archive.
//!
//! It is for reading: what is exported as an archive of its own goes through it, so that the copy
//! has every record that there is, wherever it lies.

use futures_util::future::{self, BoxFuture, FutureExt};
use protocol::{OpId, RoomName, Run, Seq, Timestamp};
use storage::archive::ArchiveError;
use storage::{AppendError, Appended, Batch, Log, ReadError, RoomRow, RoomState, Stats};

use crate::fold::FoldError;
use crate::history::History;
use crate::moment::Moment;

/// Everything that a [`History`] can read, as a [`Log`] that takes no writes.
#[derive(Debug, Clone)]
pub struct WholeLog {
    history: History,
}

impl WholeLog {
    /// Reads what `history` reads.
    #[must_use]
    pub const fn new(history: History) -> Self {
        Self { history }
    }

    async fn state_of(&self, room: &RoomName) -> Result<RoomState, ReadError> {
        let span = self.history.span(room).await.map_err(read_error)?;
        let log = self.history.stores().log.state(room).await?;
        Ok(RoomState {
            start: span.start,
            erased: log.erased.max(span.start.seq),
            ..log
        })
    }
}

/// Rooms of the log.
type Rows = BoxFuture<'static, Result<Vec<RoomRow>, ReadError>>;

impl WholeLog {
    /// The same rooms, as they are with the archive.
    fn whole(self, rows: Rows) -> Rows {
        async move {
            let mut rows = rows.await?;
            for row in rows.iter_mut().filter(|row| !row.state.deleted) {
                row.state = self.state_of(&row.room).await?;
            }
            Ok(rows)
        }
        .boxed()
    }
}

fn read_error(error: FoldError) -> ReadError {
    match error {
        FoldError::Read(error) => error,
        FoldError::Archive(ArchiveError::Trimmed { start }) => ReadError::Trimmed { start },
        FoldError::Damaged { room, seq, damage } => ReadError::Damaged { room, seq, damage },
        other => ReadError::Io(other.to_string()),
    }
}

impl Log for WholeLog {
    fn append(&self, _batch: Batch) -> BoxFuture<'static, Result<Appended, AppendError>> {
        let why = "the past is read, and not written".to_owned();
        future::ready(Err(AppendError::NotWritten(why))).boxed()
    }

    fn read(
        &self,
        room: &RoomName,
        after: Seq,
        max_bytes: usize,
    ) -> BoxFuture<'static, Result<Vec<Run>, ReadError>> {
        let (history, room) = (self.history.clone(), room.clone());
        async move {
            let read = history.read(&room, after, max_bytes).await;
            read.map_err(read_error)
        }
        .boxed()
    }

    fn state(&self, room: &RoomName) -> BoxFuture<'static, Result<RoomState, ReadError>> {
        let (whole, room) = (self.clone(), room.clone());
        async move { whole.state_of(&room).await }.boxed()
    }

    fn seq_at(
        &self,
        room: &RoomName,
        time: Timestamp,
    ) -> BoxFuture<'static, Result<Seq, ReadError>> {
        let (history, room) = (self.history.clone(), room.clone());
        async move {
            let span = history.span(&room).await.map_err(read_error)?;
            let found = history.resolve(&room, &span, Moment::At(time)).await;
            Ok(found.map_err(read_error)?.seq)
        }
        .boxed()
    }

    fn find_op(
        &self,
        room: &RoomName,
        op_id: OpId,
    ) -> BoxFuture<'static, Result<Option<Seq>, ReadError>> {
        self.history.stores().log.find_op(room, op_id)
    }

    fn rooms(
        &self,
        after: Option<&RoomName>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<RoomRow>, ReadError>> {
        let rows = self.history.stores().log.rooms(after, limit);
        self.clone().whole(rows)
    }

    fn all_rooms(
        &self,
        after: Option<&RoomName>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<RoomRow>, ReadError>> {
        let rows = self.history.stores().log.all_rooms(after, limit);
        self.clone().whole(rows)
    }

    fn durability(&self) -> &'static str {
        self.history.stores().log.durability()
    }

    fn poisoned(&self) -> Option<String> {
        self.history.stores().log.poisoned()
    }

    fn until_poisoned(&self) -> BoxFuture<'static, String> {
        self.history.stores().log.until_poisoned()
    }

    fn stats(&self) -> Stats {
        self.history.stores().log.stats()
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        self.history.stores().log.close()
    }
}
