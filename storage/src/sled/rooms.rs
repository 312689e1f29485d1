//! What is in memory of each room: its ends, and the runs that have not been moved yet.
//!
//! ```text
//!              moved                      runs
//!   ├──────────────────────┼───────────────────────┼ ─ ─ ─ ─ ─ ┤
//!   start              moved.head              seen.head    next.head
//!     in chunks on disk          durable: readable     handed over, not durable yet
//! ```
//!
//! `next` is what an append is checked against, `seen` what readers are shown, `moved` the row on
//! disk. A room stays in memory while it is *dirty*, that is while these differ; clean rooms are
//! kept up to a bound, and read back from their row when they are needed again.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use protocol::{Head, RoomName, Run, Seq, Timestamp};

use super::catalogue::Row;
use super::commit::Change;
use crate::log::{AppendError, Batch, Entry, RoomState};

#[derive(Debug)]
pub(crate) struct Room {
    next: Ends,
    pub(crate) seen: RoomState,
    pub(crate) moved: RoomState,
    /// Runs after `moved.head`, each with its batch; those up to the durable batch are readable.
    runs: VecDeque<(u64, Run)>,
    /// The last batch that touched this room.
    last_batch: u64,
    used: bool,
}

#[derive(Debug, Clone, Copy)]
struct Ends {
    head: Head,
    start: Seq,
    deleted: bool,
}

impl From<RoomState> for Ends {
    fn from(state: RoomState) -> Self {
        Self {
            head: state.head,
            start: state.start.seq,
            deleted: state.deleted,
        }
    }
}

/// One change of a batch as it waits to be packed.
#[derive(Debug)]
pub(crate) enum Waiting {
    Run(RoomName, Run),
    /// Forget what lies in `(from, up_to]`; the bytes and the head of that are found before packing.
    Trim {
        room: RoomName,
        from: Seq,
        up_to: Seq,
    },
    Delete(RoomName),
    Begin(RoomName, Head, Timestamp),
}

impl Waiting {
    const fn room(&self) -> &RoomName {
        let (Self::Run(room, _)
        | Self::Trim { room, .. }
        | Self::Delete(room)
        | Self::Begin(room, ..)) = self;
        room
    }
}

/// What a reader needs of a room at one moment.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) state: RoomState,
    /// Where the chunks' part ends and the runs' begins.
    pub(crate) moved: Head,
    /// Readable runs after `moved`, in order.
    pub(crate) runs: Vec<Run>,
}

impl Room {
    fn new(row: RoomState) -> Self {
        Self {
            next: row.into(),
            seen: row,
            moved: row,
            runs: VecDeque::new(),
            last_batch: 0,
            used: true,
        }
    }

    fn is_clean(&self, durable: u64) -> bool {
        self.runs.is_empty() && self.seen == self.moved && self.last_batch <= durable
    }

    /// Every run in memory that reaches past `after`, readable or not.
    pub(crate) fn all_runs(&self, after: Seq) -> Vec<Run> {
        self.runs
            .iter()
            .map(|(_, run)| run)
            .filter(|run| run.last() > after)
            .cloned()
            .collect()
    }

    /// What is readable after `after`; no more runs than hold `max_bytes`.
    pub(crate) fn view(&self, durable: u64, after: Seq, max_bytes: usize) -> View {
        let readable = self.runs.partition_point(|(batch, _)| *batch <= durable);
        let from = self
            .runs
            .partition_point(|(_, run)| run.last() <= after)
            .min(readable);
        let mut bytes = 0;
        let mut runs = Vec::new();
        for (_, run) in self.runs.range(from..readable) {
            runs.push(run.clone());
            // The first run may begin before `after`, so it does not count.
            if runs.len() > 1 {
                bytes += run.bytes().len();
            }
            if bytes > max_bytes {
                break;
            }
        }
        let moved = match self.runs.front() {
            Some((batch, run)) if *batch <= durable => run.before(),
            _ => self.seen.head,
        };
        View {
            state: self.seen,
            moved,
            runs,
        }
    }

    /// Takes over one durable change; gives the bytes of runs that need not be kept any more.
    fn apply(&mut self, change: &Change) -> u64 {
        match change {
            Change::Run(_, run) => self.seen.extend(run),
            Change::Trim(_, start, freed) => self.seen.trim(*start, *freed),
            Change::Delete(_) => self.seen.clear(),
            Change::Begin(_, head, created) => self.seen.begin(*head, *created),
        }
        self.drop_runs(self.seen.start.seq)
    }

    fn drop_runs(&mut self, up_to: Seq) -> u64 {
        let mut freed = 0;
        while let Some((_, run)) = self.runs.front()
            && run.last() <= up_to
        {
            freed += run.bytes().len() as u64;
            self.runs.pop_front();
        }
        freed
    }
}

/// The rooms in memory.
#[derive(Debug)]
pub(crate) struct Rooms {
    rooms: HashMap<RoomName, Room>,
    /// Rooms that differ from their row on disk, by name for paging.
    pub(crate) dirty: BTreeSet<RoomName>,
    limit: usize,
    /// Counts evictions: a row read from disk is stale if one happened meanwhile.
    pub(crate) evictions: u64,
    /// Bytes of runs in memory, waiting ones included.
    pub(crate) unmoved_bytes: u64,
}

impl Rooms {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            rooms: HashMap::new(),
            dirty: BTreeSet::new(),
            limit,
            evictions: 0,
            unmoved_bytes: 0,
        }
    }

    pub(crate) fn get(&mut self, room: &RoomName) -> Option<&Room> {
        let found = self.rooms.get_mut(room)?;
        found.used = true;
        Some(found)
    }

    /// The first room of a batch that is not in memory.
    pub(crate) fn missing<'a>(&self, batch: &'a Batch) -> Option<&'a RoomName> {
        batch
            .entries
            .iter()
            .map(Entry::room)
            .find(|room| !self.rooms.contains_key(*room))
    }

    /// Takes a room in from its row, and lets others go for it, but none that `batch` needs.
    pub(crate) fn load(&mut self, room: &RoomName, row: RoomState, durable: u64, batch: &Batch) {
        if self.rooms.len() >= self.limit {
            self.evict(durable, batch);
        }
        self.rooms
            .entry(room.clone())
            .or_insert_with(|| Room::new(row));
    }

    /// Drops clean rooms that were not used since the last time, and more if these were too few.
    fn evict(&mut self, durable: u64, batch: &Batch) {
        self.evictions += 1;
        let limit = self.limit - self.limit / 8;
        let needed: HashSet<&RoomName> = batch.entries.iter().map(Entry::room).collect();
        let free = |name: &RoomName, room: &Room| room.is_clean(durable) && !needed.contains(name);
        self.rooms
            .retain(|name, room| !free(name, room) || std::mem::take(&mut room.used));
        let mut excess = self.rooms.len().saturating_sub(limit);
        self.rooms.retain(|name, room| {
            let drop = excess > 0 && free(name, room);
            excess -= usize::from(drop);
            !drop
        });
    }

    /// Checks a batch, all of whose rooms are in memory, against the heads it would see.
    pub(crate) fn check(&self, batch: &Batch) -> Result<(), AppendError> {
        let mut heads: HashMap<&RoomName, Head> = HashMap::with_capacity(batch.entries.len());
        for entry in &batch.entries {
            let room = entry.room();
            let head = heads
                .entry(room)
                .or_insert_with(|| self.rooms.get(room).map_or(Head::EMPTY, |r| r.next.head));
            let conflict = |expected| AppendError::Conflict {
                room: room.clone(),
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

    /// Takes a checked batch over: what it changes, and the head of each entry's room after it.
    pub(crate) fn admit(&mut self, number: u64, batch: Batch) -> (Vec<Waiting>, Vec<Head>) {
        let mut waiting = Vec::with_capacity(batch.entries.len());
        let mut heads = Vec::with_capacity(batch.entries.len());
        for entry in batch.entries {
            let Some(room) = self.rooms.get_mut(entry.room()) else {
                heads.push(Head::EMPTY);
                continue;
            };
            room.used = true;
            match entry {
                Entry::Run(name, run) => {
                    room.next.head = run.after();
                    room.next.deleted = false;
                    self.unmoved_bytes += run.bytes().len() as u64;
                    room.runs.push_back((number, run.clone()));
                    waiting.push(Waiting::Run(name, run));
                }
                Entry::Trim(name, up_to) => {
                    let from = room.next.start;
                    if room.next.head != Head::EMPTY && up_to > from {
                        room.next.start = up_to;
                        waiting.push(Waiting::Trim {
                            room: name,
                            from,
                            up_to,
                        });
                    }
                }
                Entry::Delete(name) => {
                    if room.next.head != Head::EMPTY && !room.next.deleted {
                        room.next.start = room.next.head.seq;
                        room.next.deleted = true;
                        waiting.push(Waiting::Delete(name));
                    }
                }
                Entry::Begin(name, head, created) => {
                    if head != Head::EMPTY {
                        room.next = Ends {
                            head,
                            start: head.seq,
                            deleted: false,
                        };
                        waiting.push(Waiting::Begin(name, head, created));
                    }
                }
            }
            heads.push(room.next.head);
        }
        for change in &waiting {
            let name = change.room();
            if let Some(room) = self.rooms.get_mut(name)
                && room.last_batch != number
            {
                room.last_batch = number;
                if !self.dirty.contains(name) {
                    self.dirty.insert(name.clone());
                }
            }
        }
        (waiting, heads)
    }

    /// Makes a durable change readable.
    pub(crate) fn publish(&mut self, change: &Change) {
        let name = change.room();
        if let Some(room) = self.rooms.get_mut(name) {
            self.unmoved_bytes -= room.apply(change);
        }
    }

    /// Forgets batches after `durable` that will not be written after all.
    pub(crate) fn forget_after(&mut self, durable: u64) {
        let names: Vec<RoomName> = self.dirty.iter().cloned().collect();
        for name in names {
            let Some(room) = self.rooms.get_mut(&name) else {
                continue;
            };
            if room.last_batch <= durable {
                continue;
            }
            while let Some((batch, run)) = room.runs.back()
                && *batch > durable
            {
                self.unmoved_bytes -= run.bytes().len() as u64;
                room.runs.pop_back();
            }
            room.next = room.seen.into();
            room.last_batch = durable;
            self.settle(&name, durable);
        }
    }

    /// Puts back what recovery found: a change that is durable and not moved.
    pub(crate) fn replay(&mut self, batch: u64, change: &Change) {
        let name = change.room();
        if let Some(room) = self.rooms.get_mut(name) {
            if let Change::Run(_, run) = change {
                self.unmoved_bytes += run.bytes().len() as u64;
                room.runs.push_back((batch, run.clone()));
            }
            self.unmoved_bytes -= room.apply(change);
            room.next = room.seen.into();
            room.last_batch = batch;
            self.dirty.insert(name.clone());
        }
    }

    /// What the mover is to settle of a dirty room: the row it should have, and the runs between
    /// the row on disk and that.
    pub(crate) fn to_move(
        &self,
        room: &RoomName,
        durable: u64,
        applied: u64,
    ) -> Option<(Row, RoomState, Vec<Run>)> {
        let room = self.rooms.get(room)?;
        let readable = room.runs.partition_point(|(batch, _)| *batch <= durable);
        let runs = room
            .runs
            .range(..readable)
            .map(|(_, run)| run.clone())
            .collect();
        let row = Row {
            state: room.seen,
            applied,
        };
        Some((row, room.moved, runs))
    }

    /// The mover has settled a room up to `row`.
    pub(crate) fn moved(&mut self, name: &RoomName, row: &Row, durable: u64) {
        if let Some(room) = self.rooms.get_mut(name) {
            room.moved = row.state;
            self.unmoved_bytes -= room.drop_runs(row.state.head.seq);
        }
        self.settle(name, durable);
    }

    fn settle(&mut self, name: &RoomName, durable: u64) {
        if self
            .rooms
            .get(name)
            .is_none_or(|room| room.is_clean(durable))
        {
            self.dirty.remove(name);
        }
    }
}
