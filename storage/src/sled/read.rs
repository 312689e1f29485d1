//! Reading a room: chunks up to where the mover stands, then the runs in memory.

use std::ops::Bound;

use protocol::envelope::Damage;
use protocol::{Head, OpId, RoomName, Run, Seq, Timestamp};

use super::catalogue::Row;
use super::chunk::{self, damaged};
use super::rooms::View;
use super::{Disk, Shared};
use crate::fields::room_from;
use crate::log::{ReadError, RoomRow, RoomState};
use crate::pick::{self, Pick};

impl Shared {
    /// Runs `use_disk` on the open store.
    pub(super) fn with_disk<T>(
        &self,
        use_disk: impl FnOnce(&Disk) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        let disk = self.disk.read();
        use_disk(disk.as_ref().ok_or(ReadError::Closed)?)
    }

    /// A room's row on disk; the default for a room that never was.
    pub(super) fn row(&self, room: &RoomName) -> Result<RoomState, ReadError> {
        self.with_disk(|disk| disk.row(room).map(|row| row.state))
    }

    /// The room at this moment, from memory or, if it is clean and was dropped, from its row.
    pub(super) fn view(
        &self,
        room: &RoomName,
        after: Seq,
        max_bytes: usize,
    ) -> Result<View, ReadError> {
        if let Some(view) = self.view_from_memory(room, after, max_bytes)? {
            return Ok(view);
        }
        let state = self.row(room)?;
        // It may have come back to memory while the row was read; then that is newer.
        Ok(self
            .view_from_memory(room, after, max_bytes)?
            .unwrap_or(View {
                state,
                moved: state.head,
                runs: Vec::new(),
            }))
    }

    fn view_from_memory(
        &self,
        room: &RoomName,
        after: Seq,
        max_bytes: usize,
    ) -> Result<Option<View>, ReadError> {
        let mut state = self.state.lock();
        if state.closing {
            return Err(ReadError::Closed);
        }
        let durable = state.durable;
        Ok(state
            .rooms
            .get(room)
            .map(|found| found.view(durable, after, max_bytes)))
    }

    pub(super) fn state_from_memory(
        &self,
        room: &RoomName,
    ) -> Option<Result<RoomState, ReadError>> {
        match self.view_from_memory(room, Seq::MAX, 0) {
            Ok(view) => view.map(|view| Ok(view.state)),
            Err(error) => Some(Err(error)),
        }
    }

    /// The answer to a read that needs no disk.
    pub(super) fn read_from_memory(
        &self,
        room: &RoomName,
        after: Seq,
        max_bytes: usize,
    ) -> Option<Result<Vec<Run>, ReadError>> {
        let view = match self.view_from_memory(room, after, max_bytes) {
            Ok(view) => view?,
            Err(error) => return Some(Err(error)),
        };
        let start = view.state.start.seq;
        if after < start {
            return Some(Err(ReadError::Trimmed { start }));
        }
        if after < view.moved.seq {
            return None;
        }
        let mut pick = Pick::new(after, max_bytes);
        Some(pick_runs(&mut pick, room, &view.runs).map(|()| pick.finish()))
    }

    pub(super) fn read(
        &self,
        room: &RoomName,
        after: Seq,
        max_bytes: usize,
    ) -> Result<Vec<Run>, ReadError> {
        let view = self.view(room, after, max_bytes)?;
        let start = view.state.start.seq;
        if after < start {
            return Err(ReadError::Trimmed { start });
        }
        let mut pick = Pick::new(after, max_bytes);
        while pick.at() < view.moved.seq && !pick.is_full() {
            let at = pick.at();
            let Some(run) = self.chunk_after(room, at, view.moved.seq)? else {
                // Trimmed while we read: what has been read so far still holds.
                if at > after {
                    return Ok(pick.finish());
                }
                let start = self.view(room, after, 0)?.state.start.seq;
                return Err(ReadError::Trimmed { start });
            };
            pick_runs(&mut pick, room, std::slice::from_ref(&run))?;
        }
        pick_runs(&mut pick, room, &view.runs)?;
        Ok(pick.finish())
    }

    /// The records of a chunk around `at`, cut at `until`. `None` if they have been trimmed by now.
    fn chunk_after(&self, room: &RoomName, at: Seq, until: Seq) -> Result<Option<Run>, ReadError> {
        let found = self.with_disk(|disk| disk.chunks.run_after(room, at))?;
        if let Some(run) = found
            && run.before().seq <= at
        {
            return run
                .up_to_seq(until)
                .map_err(|damage| damaged(room, run.first(), damage));
        }
        if self.view(room, at, 0)?.state.start.seq > at {
            return Ok(None);
        }
        Err(damaged(room, at.next(), Damage::Torn))
    }

    pub(super) fn seq_at(&self, room: &RoomName, time: Timestamp) -> Result<Seq, ReadError> {
        let view = self.view(room, Seq::ZERO, usize::MAX)?;
        let start = view.state.start;
        if start.seq > Seq::ZERO && time < start.at {
            return Err(ReadError::Trimmed { start: start.seq });
        }
        let bad = |run: &Run| {
            let seq = run.first();
            move |damage| damaged(room, seq, damage)
        };
        if view.moved.at <= time && !view.runs.is_empty() {
            let later = view.runs.partition_point(|run| run.after().at <= time);
            return match view.runs.get(later) {
                Some(run) => pick::seq_at(run, time).map_err(bad(run)),
                None => Ok(view.state.head.seq),
            }
            .map(|seq| seq.max(start.seq));
        }
        // Halve the chunks: everything up to `low` is early enough, what is after `high` is not.
        let (mut low, mut high) = (start.seq, view.moved.seq);
        while low < high {
            let middle = Seq::new(low.get() + (high.get() - low.get()) / 2);
            let found = self.with_disk(|disk| disk.chunks.after(room, middle))?;
            let Some(chunk) = found.filter(|chunk| chunk.before.seq <= middle) else {
                return Err(damaged(room, middle.next(), Damage::Torn));
            };
            if chunk.after.at <= time {
                low = chunk.after.seq;
            } else if chunk.before.seq > low && chunk.before.at > time {
                high = chunk.before.seq;
            } else {
                let Some(run) = self.chunk_after(room, middle, view.moved.seq)? else {
                    let start = self.view(room, Seq::MAX, 0)?.state.start.seq;
                    return Err(ReadError::Trimmed { start });
                };
                let seq = pick::seq_at(&run, time).map_err(bad(&run))?;
                if seq == run.before().seq && run.before().at > time && seq > low {
                    // Merged meanwhile with later records only.
                    high = seq;
                } else if seq < run.last() {
                    return Ok(seq.max(low));
                } else {
                    low = seq;
                }
            }
        }
        Ok(low.min(view.moved.seq))
    }

    pub(super) fn find_op(&self, room: &RoomName, op_id: OpId) -> Result<Option<Seq>, ReadError> {
        let view = self.view(room, Seq::ZERO, usize::MAX)?;
        let start = view.state.start.seq;
        for run in view.runs.iter().rev() {
            let found = pick::find_op(run, op_id);
            if let Some(seq) = found.map_err(|damage| damaged(room, run.first(), damage))? {
                return Ok((seq > start).then_some(seq));
            }
        }
        let kept =
            |chunk: &chunk::Chunk| chunk.after.seq > start && chunk.before.seq < view.moved.seq;
        if view.moved.seq <= start {
            return Ok(None);
        }
        self.with_disk(|disk| {
            'again: loop {
                for chunk in disk.chunks.newest_first(room) {
                    let chunk = chunk?;
                    if !kept(&chunk) || !chunk.may_hold(op_id) {
                        continue;
                    }
                    let Some(run) = disk.chunks.load(room, &chunk)? else {
                        continue 'again;
                    };
                    let found = pick::find_op(&run, op_id);
                    let found = found.map_err(|damage| damaged(room, run.first(), damage))?;
                    if let Some(seq) = found {
                        return Ok((seq > start && seq <= view.moved.seq).then_some(seq));
                    }
                }
                return Ok(None);
            }
        })
    }

    /// Rooms by name, deleted ones among them or not: those in memory that differ from their rows,
    /// over the rows.
    pub(super) fn page(
        &self,
        after: Option<&RoomName>,
        limit: usize,
        deleted: bool,
    ) -> Result<Vec<RoomRow>, ReadError> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        // Memory first: a room that is moved meanwhile is then met twice, and not missed.
        let dirty = self.dirty_after(from)?;
        let mut dirty = dirty.into_iter().peekable();
        let mut rows = Vec::new();
        let mut take = |room: RoomName, state: RoomState| {
            let listed = deleted || !state.deleted;
            if listed && state.head != Head::EMPTY && rows.len() < limit {
                rows.push(RoomRow { room, state });
            }
            rows.len() < limit
        };
        self.with_disk(|disk| {
            let from = from.map(|room: &RoomName| room.as_str().as_bytes());
            for entry in disk.rooms.range::<&[u8], _>((from, Bound::Unbounded)) {
                let (key, value) = entry.map_err(chunk::io)?;
                let (room, row) = open_row(&key, &value)?;
                while let Some((name, state)) = dirty.next_if(|(name, _)| *name < room) {
                    if !take(name, state) {
                        return Ok(());
                    }
                }
                let newer = dirty
                    .next_if(|(name, _)| *name == room)
                    .map(|(_, state)| state);
                if !take(room, newer.unwrap_or(row.state)) {
                    return Ok(());
                }
            }
            for (name, state) in dirty {
                if !take(name, state) {
                    break;
                }
            }
            Ok(())
        })?;
        Ok(rows)
    }

    fn dirty_after(&self, from: Bound<&RoomName>) -> Result<Vec<(RoomName, RoomState)>, ReadError> {
        let mut state = self.state.lock();
        if state.closing {
            return Err(ReadError::Closed);
        }
        let names: Vec<RoomName> = state
            .rooms
            .dirty
            .range((from, Bound::Unbounded))
            .cloned()
            .collect();
        let mut dirty = Vec::with_capacity(names.len());
        for name in names {
            if let Some(room) = state.rooms.get(&name) {
                dirty.push((name, room.seen));
            }
        }
        Ok(dirty)
    }
}

impl Disk {
    /// A room's row; the default for a room that never was.
    pub(super) fn row(&self, room: &RoomName) -> Result<Row, ReadError> {
        match self.rooms.get(room.as_str()).map_err(chunk::io)? {
            Some(value) => Row::open(&value).map_err(|damage| damaged(room, Seq::ZERO, damage)),
            None => Ok(Row::default()),
        }
    }
}

fn open_row(key: &[u8], value: &[u8]) -> Result<(RoomName, Row), ReadError> {
    let room = room_from(key)
        .map_err(|_| ReadError::Io("a row of the catalogue has a name that is none".to_owned()))?;
    let row = Row::open(value).map_err(|damage| damaged(&room, Seq::ZERO, damage))?;
    Ok((room, row))
}

fn pick_runs(pick: &mut Pick, room: &RoomName, runs: &[Run]) -> Result<(), ReadError> {
    for run in runs {
        pick.offer(run)
            .map_err(|damage| damaged(room, run.first(), damage))?;
    }
    Ok(())
}
