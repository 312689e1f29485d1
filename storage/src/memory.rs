//! A log that lives as long as the process: for ephemeral rooms, and the reference in tests.
//!
//! Written to be obviously right: one map, one lock, runs as they came. Appending is synchronous,
//! so the order of calls is the order of effect.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{self, BoxFuture};
use parking_lot::Mutex;
use protocol::{Head, OpId, RoomName, Run, Seq, Timestamp};

use crate::log::{
    AppendError, Appended, Batch, Durable, Entry, Log, ReadError, RoomRow, RoomState, Stats,
};
use crate::pick::{self, Pick};

/// A log in memory. Survives nothing, and says so.
#[derive(Debug, Default, Clone)]
pub struct MemoryLog {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    rooms: BTreeMap<RoomName, Room>,
    /// Bytes of sealed records kept in all of them.
    bytes: u64,
    closed: bool,
}

#[derive(Debug, Default)]
struct Room {
    state: RoomState,
    runs: Vec<Run>,
}

impl MemoryLog {
    /// An empty log.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes of sealed records kept.
    pub(crate) fn bytes(&self) -> u64 {
        self.inner.lock().bytes
    }

    /// Forgets the head too of a room that is deleted.
    pub(crate) fn forget_deleted(&self, room: &RoomName) {
        let mut inner = self.inner.lock();
        if inner.rooms.get(room).is_some_and(|room| room.state.deleted) {
            inner.rooms.remove(room);
        }
    }

    fn with_room<T>(
        &self,
        room: &RoomName,
        read: impl FnOnce(&Room) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        let inner = self.inner.lock();
        if inner.closed {
            return Err(ReadError::Closed);
        }
        match inner.rooms.get(room) {
            Some(found) => read(found),
            None => read(&Room::default()),
        }
    }
}

impl MemoryLog {
    /// Rooms by name, deleted ones among them or not.
    fn page(
        &self,
        after: Option<&RoomName>,
        limit: usize,
        deleted: bool,
    ) -> BoxFuture<'static, Result<Vec<RoomRow>, ReadError>> {
        let inner = self.inner.lock();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let rows = inner
            .rooms
            .range((from, Bound::Unbounded))
            .filter(|(_, room)| deleted || !room.state.deleted)
            .take(limit)
            .map(|(room, found)| RoomRow {
                room: room.clone(),
                state: found.state,
            })
            .collect();
        let result = if inner.closed {
            Err(ReadError::Closed)
        } else {
            Ok(rows)
        };
        future::ready(result).boxed()
    }
}

impl Log for MemoryLog {
    fn append(&self, batch: Batch) -> BoxFuture<'static, Result<Appended, AppendError>> {
        let result = self.inner.lock().append(batch);
        future::ready(result).boxed()
    }

    fn read(
        &self,
        room: &RoomName,
        after: Seq,
        max_bytes: usize,
    ) -> BoxFuture<'static, Result<Vec<Run>, ReadError>> {
        let result = self.with_room(room, |found| found.read(room, after, max_bytes));
        future::ready(result).boxed()
    }

    fn state(&self, room: &RoomName) -> BoxFuture<'static, Result<RoomState, ReadError>> {
        let result = self.with_room(room, |found| Ok(found.state));
        future::ready(result).boxed()
    }

    fn seq_at(
        &self,
        room: &RoomName,
        time: Timestamp,
    ) -> BoxFuture<'static, Result<Seq, ReadError>> {
        let result = self.with_room(room, |found| found.seq_at(room, time));
        future::ready(result).boxed()
    }

    fn find_op(
        &self,
        room: &RoomName,
        op_id: OpId,
    ) -> BoxFuture<'static, Result<Option<Seq>, ReadError>> {
        let result = self.with_room(room, |found| found.find_op(room, op_id));
        future::ready(result).boxed()
    }

    fn rooms(
        &self,
        after: Option<&RoomName>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<RoomRow>, ReadError>> {
        self.page(after, limit, false)
    }

    fn all_rooms(
        &self,
        after: Option<&RoomName>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<RoomRow>, ReadError>> {
        self.page(after, limit, true)
    }

    fn durability(&self) -> &'static str {
        "none: records live in this process's memory and are lost when it ends"
    }

    fn poisoned(&self) -> Option<String> {
        None
    }

    fn until_poisoned(&self) -> BoxFuture<'static, String> {
        future::pending().boxed()
    }

    fn stats(&self) -> Stats {
        let inner = self.inner.lock();
        Stats {
            disk_bytes: 0,
            unmoved_bytes: inner.bytes,
        }
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        self.inner.lock().closed = true;
        future::ready(()).boxed()
    }
}

impl Inner {
    /// Checks the whole batch against the heads it would see, and only then applies it.
    fn append(&mut self, batch: Batch) -> Result<Appended, AppendError> {
        if self.closed {
            return Err(AppendError::Closed);
        }
        self.check(&batch)?;
        let mut heads = Vec::with_capacity(batch.entries.len());
        for entry in batch.entries {
            let name = entry.room().clone();
            let bytes = |inner: &Self| inner.rooms.get(&name).map_or(0, |room| room.state.bytes);
            self.bytes -= bytes(self);
            let head = match entry {
                Entry::Run(name, run) => {
                    let room = self.rooms.entry(name).or_default();
                    room.push(run);
                    room.state.head
                }
                Entry::Trim(name, up_to) => self.rooms.get_mut(&name).map_or(Head::EMPTY, |room| {
                    room.trim(up_to);
                    room.state.head
                }),
                Entry::Delete(name) => self.rooms.get_mut(&name).map_or(Head::EMPTY, |room| {
                    room.delete();
                    room.state.head
                }),
                Entry::Begin(_, Head::EMPTY, _) => Head::EMPTY,
                Entry::Begin(name, head, created) => {
                    let room = self.rooms.entry(name).or_default();
                    room.state.begin(head, created);
                    room.state.head
                }
            };
            self.bytes += bytes(self);
            heads.push(Durable::new(head));
        }
        Ok(Appended { heads })
    }

    fn check(&self, batch: &Batch) -> Result<(), AppendError> {
        let mut heads: BTreeMap<&RoomName, Head> = BTreeMap::new();
        for entry in &batch.entries {
            let name = entry.room();
            let head = heads.entry(name).or_insert_with(|| {
                self.rooms
                    .get(name)
                    .map_or(Head::EMPTY, |room| room.state.head)
            });
            let conflict = |expected| AppendError::Conflict {
                room: name.clone(),
                head: head.seq,
                expected,
            };
            match entry {
                Entry::Run(_, run) if run.before() != *head => {
                    return Err(conflict(run.before().seq));
                }
                Entry::Trim(_, up_to) if *head != Head::EMPTY && *up_to > head.seq => {
                    return Err(conflict(*up_to));
                }
                Entry::Begin(_, begin, _) if *head != Head::EMPTY && *begin != Head::EMPTY => {
                    return Err(conflict(Seq::ZERO));
                }
                Entry::Run(_, run) => *head = run.after(),
                Entry::Begin(_, begin, _) if *begin != Head::EMPTY => *head = *begin,
                Entry::Trim(..) | Entry::Delete(_) | Entry::Begin(..) => {}
            }
        }
        Ok(())
    }
}

impl Room {
    fn push(&mut self, run: Run) {
        self.state.extend(&run);
        self.runs.push(run);
    }

    fn trim(&mut self, up_to: Seq) {
        let gone = self.runs.partition_point(|run| run.last() <= up_to);
        for run in self.runs.drain(..gone) {
            self.state.start = run.after();
            self.state.bytes -= run.bytes().len() as u64;
        }
        // Runs come from a builder in this process, so they are intact; a damaged one stays whole.
        if let Some(first) = self.runs.first_mut()
            && let Ok(Some(rest)) = first.after_seq(up_to)
            && rest.before().seq > self.state.start.seq
        {
            self.state.start = rest.before();
            self.state.bytes -= (first.bytes().len() - rest.bytes().len()) as u64;
            *first = rest;
        }
    }

    fn delete(&mut self) {
        self.runs.clear();
        self.state.clear();
    }

    fn read(&self, name: &RoomName, after: Seq, max_bytes: usize) -> Result<Vec<Run>, ReadError> {
        let start = self.state.start.seq;
        if after < start {
            return Err(ReadError::Trimmed { start });
        }
        let mut pick = Pick::new(after, max_bytes);
        let from = self.runs.partition_point(|run| run.last() <= after);
        for run in &self.runs[from..] {
            pick.offer(run).map_err(|damage| ReadError::Damaged {
                room: name.clone(),
                seq: run.first(),
                damage,
            })?;
            if pick.is_full() {
                break;
            }
        }
        Ok(pick.finish())
    }

    fn seq_at(&self, name: &RoomName, time: Timestamp) -> Result<Seq, ReadError> {
        let start = self.state.start;
        if start.seq > Seq::ZERO && time < start.at {
            return Err(ReadError::Trimmed { start: start.seq });
        }
        let mut found = start.seq;
        for record in self.runs.iter().flat_map(Run::records) {
            let record = record.map_err(|damage| ReadError::Damaged {
                room: name.clone(),
                seq: found.next(),
                damage,
            })?;
            if record.at > time {
                break;
            }
            found = record.seq;
        }
        Ok(found)
    }

    fn find_op(&self, name: &RoomName, op_id: OpId) -> Result<Option<Seq>, ReadError> {
        for run in self.runs.iter().rev() {
            let found = pick::find_op(run, op_id).map_err(|damage| ReadError::Damaged {
                room: name.clone(),
                seq: run.first(),
                damage,
            })?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::{self, Opened, Store};

    struct Memory(MemoryLog);

    impl Store for Memory {
        fn create(&self) -> BoxFuture<'_, Box<dyn Opened>> {
            let opened: Box<dyn Opened> = Box::new(Self(MemoryLog::new()));
            future::ready(opened).boxed()
        }
    }

    impl Opened for Memory {
        fn log(&self) -> &dyn Log {
            &self.0
        }

        /// Lives as long as the process, so nothing is closed and everything is still there.
        fn reopen(self: Box<Self>) -> BoxFuture<'static, Box<dyn Opened>> {
            let opened: Box<dyn Opened> = self;
            future::ready(opened).boxed()
        }
    }

    #[tokio::test]
    async fn memory_keeps_the_contract() {
        suite::conformance(&Memory(MemoryLog::new())).await;
    }
}
