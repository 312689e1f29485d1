//! A durable log and one in memory, side by side: which room is in which is told by its space.
//!
//! The rooms of ephemeral spaces never reach the durable log, so nothing of them is on a disk, and what is
//! made of that log (snapshots, the archive) has never heard of them. Deleting one forgets it whole, its
//! head too: a room of that name begins anew.

use std::fmt;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{self, BoxFuture};
use protocol::{OpId, RoomName, Seq, Timestamp};

use crate::log::{AppendError, Appended, Batch, Entry, Log, ReadError, RoomRow, RoomState, Stats};
use crate::memory::MemoryLog;

/// Whether the rooms of a space are ephemeral. It must always say the same of one space.
pub type IsEphemeral = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// Two logs as one. A batch is of one of them: one of both would not be all or nothing.
pub struct SplitLog {
    durable: Arc<dyn Log>,
    memory: MemoryLog,
    is_ephemeral: IsEphemeral,
    max_bytes: u64,
}

impl SplitLog {
    /// `durable` for all rooms but those of ephemeral spaces, whose records take at most `max_bytes` of
    /// memory together; past it they are refused.
    #[must_use]
    pub fn new(durable: Arc<dyn Log>, is_ephemeral: IsEphemeral, max_bytes: u64) -> Self {
        Self {
            durable,
            memory: MemoryLog::new(),
            is_ephemeral,
            max_bytes,
        }
    }

    fn holds_in_memory(&self, room: &RoomName) -> bool {
        (self.is_ephemeral)(room.space())
    }

    fn of(&self, room: &RoomName) -> &dyn Log {
        if self.holds_in_memory(room) {
            &self.memory
        } else {
            self.durable.as_ref()
        }
    }

    fn append_to_memory(&self, batch: Batch) -> BoxFuture<'static, Result<Appended, AppendError>> {
        let adds = batch.entries.iter().map(|entry| match entry {
            Entry::Run(_, run) => run.bytes().len() as u64,
            Entry::Trim(..) | Entry::Delete(_) | Entry::Begin(..) => 0,
        });
        let adds: u64 = adds.sum();
        let bytes = self.memory.bytes() + adds;
        if adds > 0 && bytes > self.max_bytes {
            let most = self.max_bytes;
            let why = format!(
                "the rooms that are kept in memory only would take {bytes} bytes, and may take {most}"
            );
            return future::ready(Err(AppendError::NotWritten(why))).boxed();
        }
        let deleted = batch.entries.iter().filter_map(|entry| match entry {
            Entry::Delete(room) => Some(room.clone()),
            Entry::Run(..) | Entry::Trim(..) | Entry::Begin(..) => None,
        });
        let deleted: Vec<RoomName> = deleted.collect();
        let appended = self.memory.append(batch);
        for room in &deleted {
            self.memory.forget_deleted(room);
        }
        appended
    }
}

/// The pages of two logs as one, by name.
async fn merged(
    one: BoxFuture<'static, Result<Vec<RoomRow>, ReadError>>,
    other: BoxFuture<'static, Result<Vec<RoomRow>, ReadError>>,
    limit: usize,
) -> Result<Vec<RoomRow>, ReadError> {
    let mut rows = one.await?;
    rows.extend(other.await?);
    rows.sort_by(|a, b| a.room.cmp(&b.room));
    rows.truncate(limit);
    Ok(rows)
}

impl Log for SplitLog {
    /// As the log that the batch is for. One for both fails with [`AppendError::NotWritten`].
    fn append(&self, batch: Batch) -> BoxFuture<'static, Result<Appended, AppendError>> {
        let rooms = batch.entries.iter().map(Entry::room);
        let in_memory = rooms.filter(|room| self.holds_in_memory(room)).count();
        if in_memory == 0 {
            self.durable.append(batch)
        } else if in_memory == batch.entries.len() {
            self.append_to_memory(batch)
        } else {
            let why = "a batch is of rooms that are kept on disk, or of others".to_owned();
            future::ready(Err(AppendError::NotWritten(why))).boxed()
        }
    }

    fn read(
        &self,
        room: &RoomName,
        after: Seq,
        max_bytes: usize,
    ) -> BoxFuture<'static, Result<Vec<protocol::Run>, ReadError>> {
        self.of(room).read(room, after, max_bytes)
    }

    fn state(&self, room: &RoomName) -> BoxFuture<'static, Result<RoomState, ReadError>> {
        self.of(room).state(room)
    }

    fn seq_at(
        &self,
        room: &RoomName,
        time: Timestamp,
    ) -> BoxFuture<'static, Result<Seq, ReadError>> {
        self.of(room).seq_at(room, time)
    }

    fn find_op(
        &self,
        room: &RoomName,
        op_id: OpId,
    ) -> BoxFuture<'static, Result<Option<Seq>, ReadError>> {
        self.of(room).find_op(room, op_id)
    }

    fn rooms(
        &self,
        after: Option<&RoomName>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<RoomRow>, ReadError>> {
        let (one, other) = (
            self.durable.rooms(after, limit),
            self.memory.rooms(after, limit),
        );
        merged(one, other, limit).boxed()
    }

    fn all_rooms(
        &self,
        after: Option<&RoomName>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<RoomRow>, ReadError>> {
        let (one, other) = (
            self.durable.all_rooms(after, limit),
            self.memory.all_rooms(after, limit),
        );
        merged(one, other, limit).boxed()
    }

    /// Of the durable log: that of the other is none, and clear from what its rooms are.
    fn durability(&self) -> &'static str {
        self.durable.durability()
    }

    fn poisoned(&self) -> Option<String> {
        self.durable.poisoned()
    }

    fn refuses_writes(&self) -> Option<String> {
        self.durable.refuses_writes()
    }

    fn until_poisoned(&self) -> BoxFuture<'static, String> {
        self.durable.until_poisoned()
    }

    fn stats(&self) -> Stats {
        self.durable.stats()
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        let closing = [self.durable.close(), self.memory.close()];
        future::join_all(closing).map(drop).boxed()
    }
}

impl fmt::Debug for SplitLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SplitLog")
            .field("durable", &self.durable)
            .field("memory_bytes", &self.memory.bytes())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use protocol::record::RunBuilder;
    use protocol::{Author, Draft, Head, Kind, SessionId};

    use super::*;
    use crate::suite::{self, Opened, Store};

    struct Durable(Arc<SplitLog>);

    fn split(max_bytes: u64) -> (MemoryLog, Arc<SplitLog>) {
        let durable = MemoryLog::new();
        let is_ephemeral = Arc::new(|space: &str| space == "brief");
        let log = SplitLog::new(Arc::new(durable.clone()), is_ephemeral, max_bytes);
        (durable, Arc::new(log))
    }

    impl Store for Durable {
        fn create(&self) -> BoxFuture<'_, Box<dyn Opened>> {
            let opened: Box<dyn Opened> = Box::new(Self(split(u64::MAX).1));
            future::ready(opened).boxed()
        }
    }

    impl Opened for Durable {
        fn log(&self) -> &dyn Log {
            self.0.as_ref()
        }

        fn reopen(self: Box<Self>) -> BoxFuture<'static, Box<dyn Opened>> {
            let opened: Box<dyn Opened> = self;
            future::ready(opened).boxed()
        }
    }

    #[tokio::test]
    async fn durable_rooms_keep_the_contract() {
        suite::conformance(&Durable(split(u64::MAX).1)).await;
    }

    fn run(head: Head, bytes: usize) -> protocol::Run {
        let mut run = RunBuilder::new(head);
        let draft = Draft {
            author: Author {
                user: None,
                session: SessionId::new(1),
                site: None,
            },
            op_id: None,
            base: None,
            kind: Kind::Update,
            payload: vec![7; bytes].into(),
        };
        run.push(Timestamp::from_micros(1), &draft);
        run.finish().expect("a record")
    }

    async fn append(log: &SplitLog, entries: Vec<Entry>) -> Result<Appended, AppendError> {
        log.append(Batch { entries }).await
    }

    #[tokio::test]
    async fn ephemeral_rooms_never_reach_the_durable_log_and_are_forgotten_whole() {
        let (durable, log) = split(1_000);
        let (brief, kept) = ("brief/a", "doc/a");
        let [brief, kept] = [brief, kept].map(|name| RoomName::parse(name).expect("a name"));
        let begin = |room: &RoomName| Entry::Run(room.clone(), run(Head::EMPTY, 300));
        append(&log, vec![begin(&brief)])
            .await
            .expect("it is taken");
        append(&log, vec![begin(&kept)]).await.expect("it is taken");
        let both = append(&log, vec![begin(&brief), begin(&kept)]).await;
        assert!(matches!(both, Err(AppendError::NotWritten(_))), "{both:?}");
        let rooms = log.rooms(None, 10).await.expect("rooms");
        assert_eq!(rooms.len(), 2);
        assert_eq!(log.rooms(None, 1).await.expect("rooms")[0].room, brief);
        let rooms = durable.all_rooms(None, 10).await.expect("rooms");
        assert_eq!(rooms.len(), 1, "{rooms:?}");

        let head = log.state(&brief).await.expect("a state").head;
        let full = append(&log, vec![Entry::Run(brief.clone(), run(head, 900))]).await;
        assert!(matches!(full, Err(AppendError::NotWritten(_))), "{full:?}");
        append(&log, vec![Entry::Delete(brief.clone())])
            .await
            .expect("it is forgotten");
        assert_eq!(log.state(&brief).await, Ok(RoomState::default()));
        assert_eq!(log.all_rooms(None, 10).await.expect("rooms").len(), 1);
        let anew = Entry::Run(brief.clone(), run(Head::EMPTY, 900));
        append(&log, vec![anew]).await.expect("there is room again");
    }
}
