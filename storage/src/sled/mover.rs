//! Moves records out of commits into the chunks of their rooms.
//!
//! A round takes every room that differs from its row, writes what is new of it as chunks, then
//! its row, then removes what the row made superfluous: merged, trimmed and deleted chunks. When
//! all rooms are settled it syncs, and only then drops the trees of commits it has emptied.
//!
//! Stopping anywhere is harmless. Until a room's row is written, recovery replays its commits and
//! the next round writes its chunks again; what the first attempt left is recognised as reaching
//! past the row and removed. Chunks grow by merging a small last chunk with what comes, whenever
//! it is less than twice as large: a record is rewritten a number of times that is logarithmic in
//! the size of a chunk over that of a move.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use protocol::envelope::Damage;
use protocol::{Head, Record, RoomName, Run, Seq};

use super::catalogue::Moved as Watermark;
use super::chunk::{CHUNK_BYTES, Chunk, ChunkWriter, Draft, damaged, mark};
use super::commit::MAX_VALUE_BYTES;
use super::writer::Commits;
use super::{Disk, Moved, SEGMENT_BYTES, Shared};
use crate::log::{ReadError, RoomState};

/// Between syncs the mover writes no more than this, so that sled never reuses a segment whose
/// replacement is not durable yet: it would need two whole segments written in between.
const SYNC_BYTES: u64 = 2 << 20;
/// The mover hands sled no more than this before it flushes, so that a commit never waits long
/// behind it.
const FLUSH_BYTES: u64 = 256 << 10;
/// A room's last chunk is taken up again while it is smaller than this, or than twice what comes.
const SMALL_BYTES: u32 = 2 << 10;
/// The file is shrunk once this much was removed, and a fifth of it.
const SHRINK_FROM_BYTES: u64 = 64 << 20;
/// … to this at the least: below it a round takes as much as it gives,
const SHRUNK_BYTES: u64 = 12 * SEGMENT_BYTES as u64;
/// … in so many rounds, as long as each of them helps.
const SHRINK_ROUNDS: u32 = 4;
/// At the end of each the log only goes on, until so many segments were written in vain.
const SHRINK_TRIES: u32 = 4;
const VALUES_PER_SEGMENT: u64 = (SEGMENT_BYTES / MAX_VALUE_BYTES) as u64;
/// How many values are alive at once while sled is to clear the end of its file: it does so with
/// more than five segments in use. They fit into what has been removed.
const LIVE_BALLAST: u64 = 7 * VALUES_PER_SEGMENT;
/// The same while the log is only to go on.
const DEAD_BALLAST: u64 = 8;
/// Between two of them sled's collector is given this long.
const SHRINK_PAUSE: Duration = Duration::from_secs(1);
/// The tree of values that only make sled's log go on.
pub(super) const BALLAST: &str = "ballast";
const _: () = assert!(LIVE_BALLAST * MAX_VALUE_BYTES as u64 <= SHRINK_FROM_BYTES);

/// How long the mover works before it rests.
const WORK: Duration = Duration::from_millis(4);

/// Why a round ended early.
enum Stop {
    Closing,
    Failed(String),
}

impl From<sled::Error> for Stop {
    fn from(error: sled::Error) -> Self {
        Self::Failed(format!("the store could not be written: {error}"))
    }
}

impl From<ReadError> for Stop {
    fn from(error: ReadError) -> Self {
        Self::Failed(error.to_string())
    }
}

struct Mover<'a> {
    shared: &'a Shared,
    disk: &'a Disk,
    writer: ChunkWriter,
    /// What had been removed when the file was last shrunk.
    shrunk: u64,
    work_began: Instant,
    flushed: u64,
    synced: u64,
    syncs_seen: u64,
}

pub(super) fn run(shared: &Shared, commits: &Mutex<Commits>, writer: ChunkWriter) {
    let disk = shared.disk.read();
    let Some(disk) = disk.as_ref() else { return };
    let mut mover = Mover {
        shared,
        disk,
        writer,
        shrunk: 0,
        work_began: Instant::now(),
        flushed: 0,
        synced: 0,
        syncs_seen: 0,
    };
    while wait_for_work(shared) {
        match mover.round(commits) {
            Ok(()) => {}
            Err(Stop::Closing) => return,
            Err(Stop::Failed(why)) => {
                shared.poison(&format!("moving records into chunks failed: {why}"));
                return;
            }
        }
    }
}

/// Waits until there is enough to move, or it is old enough. False when the log ends.
fn wait_for_work(shared: &Shared) -> bool {
    let mut state = shared.state.lock();
    loop {
        if state.closing || shared.is_poisoned() {
            return false;
        }
        let Some(since) = state.dirty_since else {
            shared.idle.wait(&mut state);
            continue;
        };
        let waited = since.elapsed();
        let enough = state.rooms.unmoved_bytes >= shared.options.move_at_bytes;
        if enough || waited >= shared.options.move_after {
            // What comes from here on waits for the next round.
            state.dirty_since = None;
            return true;
        }
        shared
            .idle
            .wait_for(&mut state, shared.options.move_after - waited);
    }
}

impl Mover<'_> {
    fn round(&mut self, commits: &Mutex<Commits>) -> Result<(), Stop> {
        let begun = Instant::now();
        self.work_began = begun;
        let rotated = commits.lock().rotate(&self.disk.db)?;
        // Empty when only what was refused made rooms dirty.
        let (entry, batch) = rotated.unwrap_or_default();
        self.wait_until_durable(batch)?;
        let names: Vec<RoomName> = self
            .shared
            .state
            .lock()
            .rooms
            .dirty
            .iter()
            .cloned()
            .collect();
        let written = self.writer.written;
        let mut report = Moved {
            rooms: 0,
            records: 0,
            bytes: 0,
            written_bytes: 0,
            took: Duration::ZERO,
        };
        for room in names {
            self.settle(&room, &mut report)?;
            self.breathe()?;
        }
        let watermark = Watermark {
            batch,
            entry,
            body: self.writer.next_body(),
        };
        if rotated.is_some() {
            self.disk.db.insert(Watermark::KEY, watermark.seal())?;
        }
        self.sync()?;
        self.drop_commits(commits)?;
        self.shrink()?;
        {
            let mut state = self.shared.state.lock();
            if !state.rooms.dirty.is_empty() {
                state.dirty_since.get_or_insert_with(Instant::now);
            }
        }
        report.written_bytes = self.writer.written - written;
        report.took = begun.elapsed();
        if let Some(observer) = &self.shared.options.observer {
            observer.moved(&report);
        }
        Ok(())
    }

    fn wait_until_durable(&self, batch: u64) -> Result<(), Stop> {
        let mut state = self.shared.state.lock();
        while state.durable < batch {
            if state.closing || self.shared.is_poisoned() {
                return Err(Stop::Closing);
            }
            self.shared
                .idle
                .wait_for(&mut state, Duration::from_millis(1));
        }
        Ok(())
    }

    /// Brings one room's chunks and row up to what is durable.
    fn settle(&mut self, room: &RoomName, report: &mut Moved) -> Result<(), Stop> {
        let found = {
            let state = self.shared.state.lock();
            state.rooms.to_move(room, state.durable, state.applied)
        };
        let Some((row, moved, runs)) = found else {
            return Ok(());
        };
        let bad = |(seq, damage)| damaged(room, seq, damage);
        let runs = after_start(runs, row.state.start).map_err(bad)?;
        report.rooms += 1;
        report.records += runs.iter().map(Run::len).sum::<u64>();
        report.bytes += runs.iter().map(|run| run.bytes().len() as u64).sum::<u64>();

        let superseded = self.take_up(room, &moved, &row.state, &runs)?;
        let mut filling = Filling::default();
        for chunk in &superseded {
            let run = self.disk.chunks.load(room, chunk)?;
            let run = run.ok_or_else(|| bad((chunk.before.seq.next(), Damage::Torn)))?;
            filling.append(&run, &chunk.marks);
        }
        for run in &runs {
            let mut records = run.records();
            let mut head = run.before();
            let mut rest = run.bytes().clone();
            while head.seq < run.last() {
                let record = records.next().unwrap_or(Err(Damage::Torn));
                let record = record.map_err(|damage| bad((head.seq.next(), damage)))?;
                let sealed = rest.split_to(record.sealed_len().min(rest.len()));
                if let Some(draft) = filling.push(head, &record, &sealed) {
                    self.write_chunk(room, draft)?;
                }
                head = record.head();
            }
        }
        if let Some(draft) = filling.0 {
            self.write_chunk(room, draft)?;
        }
        self.disk.rooms.insert(room.as_str(), row.seal())?;
        for chunk in &superseded {
            self.writer.remove(room, chunk)?;
        }
        if row.state.start.seq > moved.start.seq {
            self.remove_trimmed(room, row.state.start.seq)?;
        }
        let mut state = self.shared.state.lock();
        let durable = state.durable;
        state.rooms.moved(room, &row, durable);
        drop(state);
        // The writer may have waited for this.
        self.shared.work.notify_all();
        Ok(())
    }

    /// Looks at the end of a room's chunks: removes what an unfinished move left, and gives the
    /// chunks that are to be merged with `runs`, the oldest first.
    fn take_up(
        &mut self,
        room: &RoomName,
        moved: &RoomState,
        state: &RoomState,
        runs: &[Run],
    ) -> Result<Vec<Chunk>, Stop> {
        let mut unfinished = Vec::new();
        let mut merged = Vec::new();
        let mut joint = runs.first().map(Run::before);
        let mut bytes: u64 = runs.iter().map(|run| run.bytes().len() as u64).sum();
        let mut newer: Option<Head> = None;
        for chunk in self.disk.chunks.newest_first(room) {
            let chunk = chunk?;
            let reaches_past = chunk.after.seq > moved.head.seq;
            let covered = newer.is_some_and(|newer| chunk.before.seq >= newer.seq);
            if reaches_past || covered {
                unfinished.push(chunk);
                continue;
            }
            newer = Some(chunk.before);
            let size = u64::from(chunk.raw_bytes);
            let small = chunk.raw_bytes < SMALL_BYTES || size < 2 * bytes;
            if joint != Some(chunk.after)
                || !small
                || bytes + size > CHUNK_BYTES as u64
                || chunk.before.seq < state.start.seq
            {
                break;
            }
            joint = Some(chunk.before);
            bytes += size;
            merged.push(chunk);
        }
        for chunk in &unfinished {
            self.writer.remove(room, chunk)?;
        }
        merged.reverse();
        Ok(merged)
    }

    fn write_chunk(&mut self, room: &RoomName, draft: Draft) -> Result<(), Stop> {
        let chunk = self.writer.write_body(room, draft)?;
        self.writer.put(room, &chunk)?;
        self.breathe()
    }

    /// Removes the chunks that lie wholly at or before a room's start.
    fn remove_trimmed(&mut self, room: &RoomName, start: Seq) -> Result<(), Stop> {
        let mut at = Seq::ZERO;
        while let Some(chunk) = self.disk.chunks.after(room, at)?
            && chunk.after.seq <= start
        {
            at = chunk.after.seq;
            self.writer.remove(room, &chunk)?;
            self.breathe()?;
        }
        Ok(())
    }

    /// After much was removed: has sled give the file system back what it no longer needs.
    ///
    /// sled collects only as its log goes on, segment by segment, and cuts the file only at its
    /// end. So the log is made to go on, with values that mean nothing, as long as that helps. What
    /// lies at the end is moved away from there only while half of the segments are free and more
    /// than five are not: where little is left, values that are alive for a while take their part.
    fn shrink(&mut self) -> Result<(), Stop> {
        let removed = self.writer.removed - self.shrunk;
        let before = self.disk.bytes();
        if removed < SHRINK_FROM_BYTES || removed < before / 5 {
            return Ok(());
        }
        self.shrunk = self.writer.removed;
        let mut best = before;
        for _ in 0..SHRINK_ROUNDS {
            let quiet = self.go_on(LIVE_BALLAST, LIVE_BALLAST, u32::MAX)?
                && self.go_on(DEAD_BALLAST, removed / MAX_VALUE_BYTES as u64, SHRINK_TRIES)?;
            let now = self.disk.bytes();
            if !quiet || now >= best || now <= SHRUNK_BYTES {
                break;
            }
            best = now;
        }
        tracing::info!(
            removed,
            before,
            after = self.disk.bytes(),
            "space was given back"
        );
        Ok(())
    }

    /// Writes up to so many values that mean nothing, of which the last `ring` are alive, until so
    /// many segments in a row were in vain, and removes them. False when there is traffic: it makes
    /// the log go on by itself, and is to be moved.
    fn go_on(&mut self, ring: u64, values: u64, tries: u32) -> Result<bool, Stop> {
        let ballast = self.disk.db.open_tree(BALLAST)?;
        let value = vec![0; MAX_VALUE_BYTES];
        let mut quiet = true;
        let mut best = self.disk.bytes();
        let mut in_vain = 0;
        for n in 0..values {
            ballast.insert((n % ring).to_be_bytes(), &value[..])?;
            self.writer.written += MAX_VALUE_BYTES as u64;
            self.breathe()?;
            if (n + 1) % VALUES_PER_SEGMENT == 0 {
                self.disk.db.flush()?;
                self.pause(SHRINK_PAUSE);
                let unmoved = self.shared.state.lock().rooms.unmoved_bytes;
                quiet = unmoved < self.shared.options.move_at_bytes / 2;
                let now = self.disk.bytes();
                in_vain = if now < best { 0 } else { in_vain + 1 };
                best = best.min(now);
                if !quiet || in_vain == tries {
                    break;
                }
            }
        }
        self.disk.db.drop_tree(BALLAST)?;
        self.sync()?;
        Ok(quiet)
    }

    /// Drops what this round has emptied.
    fn drop_commits(&self, commits: &Mutex<Commits>) -> Result<(), Stop> {
        let old = std::mem::take(&mut commits.lock().old);
        for name in old {
            self.disk.db.drop_tree(name)?;
        }
        Ok(())
    }

    /// Between two writes: flushes, syncs and rests as is due, and stops when the log closes.
    fn breathe(&mut self) -> Result<(), Stop> {
        let written = self.writer.written;
        if written - self.flushed >= FLUSH_BYTES {
            self.flushed = written;
            self.disk.db.flush()?;
        }
        if written - self.synced >= SYNC_BYTES {
            self.synced = written;
            let syncs = self.shared.syncs.load(Ordering::SeqCst);
            if syncs == self.syncs_seen {
                self.sync()?;
            }
            self.syncs_seen = self.shared.syncs.load(Ordering::SeqCst);
        }
        let worked = self.work_began.elapsed();
        if worked >= WORK {
            self.rest(worked);
            self.work_began = Instant::now();
        }
        if self.shared.state.lock().closing || self.shared.is_poisoned() {
            return Err(Stop::Closing);
        }
        Ok(())
    }

    /// Leaves the machine to the callers: longer the fewer unmoved bytes there are, not at all
    /// when these near their limit.
    fn rest(&self, worked: Duration) {
        let state = self.shared.state.lock();
        let fullness = state.rooms.unmoved_bytes as f64
            / self.shared.options.unmoved_limit_bytes.max(1) as f64;
        drop(state);
        self.pause(worked.mul_f64((2.0 - 3.0 * fullness).clamp(0.0, 2.0)));
    }

    /// Waits, unless the log closes or the writer is out of room.
    fn pause(&self, time: Duration) {
        let mut state = self.shared.state.lock();
        if !time.is_zero() && !state.closing {
            self.shared.idle.wait_for(&mut state, time);
        }
    }

    fn sync(&self) -> Result<(), Stop> {
        self.disk.db.flush()?;
        self.shared
            .sync(self.disk)
            .map_err(|error| Stop::Failed(format!("the disk could not be synced: {error}")))
    }
}

/// The chunk that is being filled.
#[derive(Default)]
struct Filling(Option<Draft>);

impl Filling {
    /// Takes records that were a chunk before, with their marks.
    fn append(&mut self, run: &Run, marks: &[u16]) {
        let draft = self.begin(run.before());
        draft.raw.extend_from_slice(run.bytes());
        draft.marks.extend_from_slice(marks);
        draft.after = run.after();
    }

    /// Takes one record; gives the chunk before it when that is full.
    fn push(&mut self, before: Head, record: &Record, sealed: &[u8]) -> Option<Draft> {
        let full = self
            .0
            .take_if(|draft| draft.raw.len() + sealed.len() > CHUNK_BYTES);
        let draft = self.begin(before);
        draft.raw.extend_from_slice(sealed);
        draft.marks.extend(record.draft.op_id.map(mark));
        draft.after = record.head();
        full
    }

    fn begin(&mut self, before: Head) -> &mut Draft {
        self.0.get_or_insert_with(|| Draft {
            before,
            after: before,
            raw: Vec::with_capacity(CHUNK_BYTES),
            marks: Vec::new(),
        })
    }
}

/// The runs without what lies at or before `start`.
fn after_start(runs: Vec<Run>, start: Head) -> Result<Vec<Run>, (Seq, Damage)> {
    let mut kept = Vec::with_capacity(runs.len());
    for run in runs {
        let first = run.first();
        kept.extend(run.after_seq(start.seq).map_err(|damage| (first, damage))?);
    }
    Ok(kept)
}
