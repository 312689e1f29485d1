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

/// A log in memory. Survives nothing, and says so.
#[derive(Debug, Default, Clone)]
pub struct MemoryLog {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    rooms: BTreeMap<RoomName, Room>,
    closed: bool,
}

#[derive(Debug, Default, Clone)]
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
        let inner = self.inner.lock();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let rows = inner
            .rooms
            .range((from, Bound::Unbounded))
            .filter(|(_, room)| !room.state.deleted)
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
            unmoved_bytes: inner.rooms.values().map(|room| room.state.bytes).sum(),
        }
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        self.inner.lock().closed = true;
        future::ready(()).boxed()
    }
}

impl Inner {
    /// Applies a batch to copies of the rooms it touches, and keeps them only if all of it fits.
    fn append(&mut self, batch: Batch) -> Result<Appended, AppendError> {
        if self.closed {
            return Err(AppendError::Closed);
        }
        let mut changed: BTreeMap<RoomName, Room> = BTreeMap::new();
        let mut heads = Vec::with_capacity(batch.entries.len());
        for entry in batch.entries {
            let name = match &entry {
                Entry::Run(room, _) | Entry::Trim(room, _) | Entry::Delete(room) => room.clone(),
            };
            let room = changed
                .entry(name.clone())
                .or_insert_with(|| self.rooms.get(&name).cloned().unwrap_or_default());
            room.apply(&name, entry)?;
            heads.push(Durable::new(room.state.head));
        }
        changed.retain(|_, room| room.state.head != Head::EMPTY);
        self.rooms.extend(changed);
        Ok(Appended { heads })
    }
}

impl Room {
    fn apply(&mut self, name: &RoomName, entry: Entry) -> Result<(), AppendError> {
        let conflict = |head: Seq, expected: Seq| AppendError::Conflict {
            room: name.clone(),
            head,
            expected,
        };
        let state = &mut self.state;
        match entry {
            Entry::Run(_, run) => {
                if run.before() != state.head {
                    return Err(conflict(state.head.seq, run.before().seq));
                }
                if state.head == Head::EMPTY {
                    let first = run.records().next().and_then(Result::ok);
                    state.created = first.map_or(run.after().at, |record| record.at);
                }
                state.head = run.after();
                state.deleted = false;
                state.bytes += run.bytes().len() as u64;
                self.runs.push(run);
            }
            Entry::Trim(_, up_to) => {
                if up_to > state.head.seq {
                    return Err(conflict(state.head.seq, up_to));
                }
                let damaged = |damage| AppendError::NotWritten(format!("{name}: {damage}"));
                let mut kept = Vec::new();
                for run in self.runs.drain(..) {
                    match run.after_seq(up_to).map_err(damaged)? {
                        Some(rest) => {
                            if rest.first() == up_to.next() {
                                state.start = rest.before();
                            }
                            kept.push(rest);
                        }
                        None => state.start = run.after(),
                    }
                }
                self.runs = kept;
                state.bytes = self.runs.iter().map(|run| run.bytes().len() as u64).sum();
            }
            Entry::Delete(_) => {
                if state.head != Head::EMPTY {
                    self.runs.clear();
                    state.start = state.head;
                    state.deleted = true;
                    state.bytes = 0;
                }
            }
        }
        Ok(())
    }

    fn read(
        &self,
        name: &RoomName,
        after: Seq,
        max_bytes: usize,
    ) -> Result<Vec<Run>, ReadError> {
        let start = self.state.start.seq;
        if after < start {
            return Err(ReadError::Trimmed { start });
        }
        let damaged = |seq: Seq| {
            move |damage| ReadError::Damaged {
                room: name.clone(),
                seq,
                damage,
            }
        };
        let mut runs = Vec::new();
        let mut left = max_bytes;
        for run in &self.runs {
            let Some(run) = run.after_seq(after).map_err(damaged(run.first()))? else {
                continue;
            };
            let end = end_within(&run, left);
            let part = run.up_to_seq(end).map_err(damaged(run.first()))?;
            let Some(part) = part.or_else(|| runs.is_empty().then(|| first_of(&run)).flatten())
            else {
                break;
            };
            left = left.saturating_sub(part.bytes().len());
            let whole = part.last() == run.last();
            runs.push(part);
            if !whole || left == 0 {
                break;
            }
        }
        Ok(runs)
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
            for record in run.records() {
                let record = record.map_err(|damage| ReadError::Damaged {
                    room: name.clone(),
                    seq: run.first(),
                    damage,
                })?;
                if record.draft.op_id == Some(op_id) {
                    return Ok(Some(record.seq));
                }
            }
        }
        Ok(None)
    }
}

/// The last Seq of `run` that ends within `max_bytes`.
fn end_within(run: &Run, max_bytes: usize) -> Seq {
    let mut end = run.before().seq;
    if run.bytes().len() <= max_bytes {
        return run.last();
    }
    let mut used = 0;
    for record in run.records().map_while(Result::ok) {
        used += record.sealed_len();
        if used > max_bytes {
            break;
        }
        end = record.seq;
    }
    end
}

fn first_of(run: &Run) -> Option<Run> {
    run.up_to_seq(run.first()).ok().flatten()
}
