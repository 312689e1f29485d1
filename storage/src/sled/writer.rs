//! The two threads that make batches durable.
//!
//! The writer takes what waits, packs it into one commit, inserts it and has sled flush it. The
//! syncer then calls `fdatasync` on a handle of our own, while the writer is at the next commit.
//! A commit reaches the syncer only after its flush returned, so the sync that covers it began
//! later; only then do its records become readable and its callers get their proof.
//!
//! Without traffic there is no timer and no waiting: a lone batch is written at once. Under load a
//! commit holds whatever came while the one before was written.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use protocol::{Head, RoomName, Seq};
use tokio::sync::oneshot;

use super::chunk::{ChunkWriter, Chunks, damaged};
use super::commit::{Change, PREPARED, Stream};
use super::rooms::Waiting;
use super::{Committed, Disk, FREEING_BYTES, Queued, Shared, State, ahead, mover};
use crate::log::{AppendError, Appended, Durable, ReadError};
use protocol::envelope::Damage;

/// How many bytes of batches one commit gathers, unless a single batch is larger.
const COMMIT_BYTES: usize = 1 << 20;
/// How many bytes are committed between two looks at the space ahead.
const LOOK_AHEAD_BYTES: u64 = 1 << 20;

/// Where commits are written: one tree for all since the mover last took them.
#[derive(Debug)]
pub(super) struct Commits {
    tree: sled::Tree,
    /// Trees whose commits are to be moved, the current one not among them.
    pub(super) old: Vec<Vec<u8>>,
    name: Vec<u8>,
    next_entry: u64,
    prepared: u64,
    /// The last entry that is known to be durable.
    synced: u64,
    /// The last batch that a commit names.
    batch: u64,
    empty: bool,
}

const TREE_PREFIX: &[u8] = b"commits-";

impl Commits {
    /// Begins a tree after what recovery found.
    pub(super) fn begin(
        db: &sled::Db,
        old: Vec<Vec<u8>>,
        next_entry: u64,
        batch: u64,
    ) -> sled::Result<Self> {
        let name = new_tree_name(db, next_entry);
        Ok(Self {
            tree: db.open_tree(&name)?,
            old,
            name,
            next_entry,
            prepared: next_entry,
            synced: next_entry - 1,
            batch,
            empty: true,
        })
    }

    /// Turns to a new tree, so that the mover can drop the old ones: what they hold, by the last
    /// entry and the last batch in them. `None` when there is nothing in them.
    pub(super) fn rotate(&mut self, db: &sled::Db) -> sled::Result<Option<(u64, u64)>> {
        if !self.empty {
            let name = new_tree_name(db, self.next_entry);
            let tree = db.open_tree(&name)?;
            self.old.push(std::mem::replace(&mut self.name, name));
            self.tree = tree;
            self.prepared = self.next_entry;
            self.empty = true;
        }
        Ok((!self.old.is_empty()).then(|| (self.next_entry - 1, self.batch)))
    }

    fn insert(&mut self, stream: &Stream, batch: u64) -> sled::Result<()> {
        stream.seal(self.synced, |value| {
            while self.prepared <= self.next_entry + PREPARED {
                self.tree.insert(self.prepared.to_be_bytes(), &[])?;
                self.prepared += 1;
            }
            self.tree.insert(self.next_entry.to_be_bytes(), value)?;
            self.next_entry += 1;
            self.empty = false;
            Ok::<(), sled::Error>(())
        })?;
        self.batch = batch;
        Ok(())
    }
}

/// A tree of commits is named by its first entry, and a number that no tree has yet: one that was
/// begun and stayed empty must not be taken for its successor, and dropped.
fn new_tree_name(db: &sled::Db, first: u64) -> Vec<u8> {
    let taken = commit_trees(db);
    let name = |nth: u64| [TREE_PREFIX, &first.to_be_bytes(), &nth.to_be_bytes()].concat();
    (0..)
        .map(name)
        .find(|name| !taken.contains(name))
        .unwrap_or_default()
}

/// The trees of commits, the oldest first.
pub(super) fn commit_trees(db: &sled::Db) -> Vec<Vec<u8>> {
    let names = db.tree_names().into_iter().map(|name| name.to_vec());
    let mut names: Vec<Vec<u8>> = names.filter(|name| name.starts_with(TREE_PREFIX)).collect();
    names.sort();
    names
}

/// A commit that has been flushed and is to be synced.
struct Flushed {
    batches: Vec<Packed>,
    entry: u64,
    records: u64,
    bytes: u64,
    write: Duration,
}

struct Packed {
    number: u64,
    changes: Vec<Change>,
    heads: Vec<Head>,
    done: oneshot::Sender<Result<Appended, AppendError>>,
}

/// Starts the writer, the syncer and the mover.
pub(super) fn spawn(
    shared: &Arc<Shared>,
    commits: Commits,
    chunks: ChunkWriter,
) -> std::io::Result<Vec<JoinHandle<()>>> {
    let commits = Arc::new(Mutex::new(commits));
    // One commit waits while one is synced, and the writer is at a third.
    let (send, receive) = mpsc::sync_channel(1);
    // How many commits have been handed to the syncer and are not published yet.
    let behind = Arc::new(AtomicUsize::new(0));
    let syncer = guarded(shared, "log-syncer", {
        let commits = Arc::clone(&commits);
        let behind = Arc::clone(&behind);
        move |shared| run_syncer(shared, &commits, &receive, &behind)
    })?;
    let writer = guarded(shared, "log-writer", {
        let commits = Arc::clone(&commits);
        move |shared| run_writer(shared, &commits, &send, &behind)
    })?;
    let mover = guarded(shared, "log-mover", move |shared| {
        mover::run(shared, &commits, chunks);
    })?;
    let ahead = guarded(shared, "log-ahead", ahead::run)?;
    Ok(vec![writer, syncer, mover, ahead])
}

/// A thread whose panic poisons the log, for it leaves the disk's state unknown.
fn guarded(
    shared: &Arc<Shared>,
    name: &str,
    run: impl FnOnce(&Shared) + Send + 'static,
) -> std::io::Result<JoinHandle<()>> {
    let shared = Arc::clone(shared);
    let thread_name = name.to_owned();
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        if catch_unwind(AssertUnwindSafe(|| run(&shared))).is_err() {
            shared.poison(&format!("{thread_name} panicked"));
        }
    })
}

fn run_writer(
    shared: &Shared,
    commits: &Mutex<Commits>,
    send: &SyncSender<Flushed>,
    behind: &AtomicUsize,
) {
    let disk = shared.disk.read();
    let Some(disk) = disk.as_ref() else { return };
    while let Some(batches) = take(shared) {
        let begun = Instant::now();
        let batches = match ready(shared, disk, batches) {
            Ok(batches) => batches,
            Err((batches, why)) => {
                refuse(shared, disk, batches, &why);
                continue;
            }
        };
        match write(disk, commits, batches, begun) {
            Ok(flushed) => {
                // A lone commit is synced here: nothing waits that could be packed meanwhile, and
                // waking another thread would only make it later.
                if behind.load(Ordering::SeqCst) == 0 && shared.state.lock().queue.is_empty() {
                    finish(shared, disk, commits, vec![flushed]);
                    continue;
                }
                behind.fetch_add(1, Ordering::SeqCst);
                if send.send(flushed).is_err() {
                    return;
                }
            }
            Err((batches, error)) => {
                let why = format!("the store could not be written: {error}");
                // Later ones first, so that nobody who sees this one fail finds the log alive.
                shared.poison(&why);
                for batch in batches {
                    let _ = batch.done.send(Err(AppendError::Unknown(why.clone())));
                }
            }
        }
    }
}

/// Waits for batches, and for room in memory. `None` when the log closes and nothing waits.
fn take(shared: &Shared) -> Option<Vec<Queued>> {
    let mut state = shared.state.lock();
    loop {
        let full = state.rooms.unmoved_bytes
            > shared
                .options
                .unmoved_limit_bytes
                .saturating_add(state.queued_bytes as u64);
        if !state.queue.is_empty() && (!full || state.closing) {
            break;
        }
        if state.closing && state.queue.is_empty() {
            return None;
        }
        if full {
            shared.idle.notify_all();
        }
        shared.work.wait(&mut state);
    }
    Some(take_queued(&mut state))
}

fn take_queued(state: &mut MutexGuard<'_, State>) -> Vec<Queued> {
    let mut taken = Vec::new();
    let mut bytes = 0;
    // What gives space back goes by itself: it may be written when nothing else may.
    let frees = state.queue.front().is_some_and(Queued::only_frees);
    while let Some(batch) = state.queue.front()
        && (taken.is_empty() || bytes + batch.bytes <= COMMIT_BYTES)
        && batch.only_frees() == frees
    {
        bytes += batch.bytes;
        taken.extend(state.queue.pop_front());
    }
    state.queued_bytes -= bytes;
    taken
}

/// Checks that there is space, and finds what each trim forgets. Nothing has been written yet.
fn ready(
    shared: &Shared,
    disk: &Disk,
    batches: Vec<Queued>,
) -> Result<Vec<Packed>, (Vec<Queued>, String)> {
    let bytes: usize = batches.iter().map(|batch| batch.bytes).sum();
    let mut reserve = shared.options.min_free_bytes;
    if batches.iter().all(Queued::only_frees) {
        reserve = reserve.min(FREEING_BYTES);
    }
    if let Some(why) = disk.shortage(reserve, bytes as u64) {
        return Err((batches, why));
    }
    let mut trims = Vec::new();
    for change in batches.iter().flat_map(|batch| &batch.changes) {
        if let Waiting::Trim { room, from, up_to } = change {
            match measure(shared, &disk.chunks, room, *from, *up_to) {
                Ok(found) => trims.push(found),
                Err(error) => return Err((batches, error.to_string())),
            }
        }
    }
    let mut trims = trims.into_iter();
    let pack = |change| match change {
        Waiting::Run(room, run) => Change::Run(room, run),
        Waiting::Delete(room) => Change::Delete(room),
        Waiting::Begin(room, head, created) => Change::Begin(room, head, created),
        Waiting::Trim { room, .. } => {
            let (start, freed) = trims.next().unwrap_or_default();
            Change::Trim(room, start, freed)
        }
    };
    let mut pack = pack;
    Ok(batches
        .into_iter()
        .map(|batch| Packed {
            number: batch.number,
            changes: batch.changes.into_iter().map(&mut pack).collect(),
            heads: batch.heads,
            done: batch.done,
        })
        .collect())
}

/// The head at `up_to`, and the bytes of the records in `(from, up_to]`.
fn measure(
    shared: &Shared,
    chunks: &Chunks,
    room: &RoomName,
    from: Seq,
    up_to: Seq,
) -> Result<(Head, u64), ReadError> {
    let runs = {
        let mut state = shared.state.lock();
        state
            .rooms
            .get(room)
            .map(|room| room.all_runs(from))
            .unwrap_or_default()
    };
    let mut at = from;
    let mut head = Head::EMPTY;
    let mut freed = 0;
    let mut runs = runs.into_iter().peekable();
    while at < up_to {
        let from_memory = runs.next_if(|run| run.before().seq <= at);
        if from_memory.is_none()
            && let Some(chunk) = chunks.after(room, at)?
            && chunk.before.seq == at
            && chunk.after.seq <= up_to
        {
            // All of it goes: no need to look inside.
            freed += u64::from(chunk.raw_bytes);
            head = chunk.after;
            at = head.seq;
            continue;
        }
        let run = match from_memory {
            Some(run) => Some(run),
            None => chunks
                .run_after(room, at)?
                .filter(|run| run.before().seq <= at),
        };
        let missing = || damaged(room, at.next(), Damage::Torn);
        let run = run.ok_or_else(missing)?;
        let part = run.after_seq(at).and_then(|rest| match rest {
            Some(rest) => rest.up_to_seq(up_to),
            None => Ok(None),
        });
        let part = part.map_err(|damage| damaged(room, at.next(), damage))?;
        let part = part.ok_or_else(missing)?;
        freed += part.bytes().len() as u64;
        head = part.after();
        at = head.seq;
    }
    Ok((head, freed))
}

fn write(
    disk: &Disk,
    commits: &Mutex<Commits>,
    batches: Vec<Packed>,
    begun: Instant,
) -> Result<Flushed, (Vec<Packed>, sled::Error)> {
    let mut stream = Stream::default();
    let (mut records, mut bytes) = (0, 0);
    for batch in &batches {
        if !batch.changes.is_empty() {
            stream.batch(batch.number);
        }
        for change in &batch.changes {
            stream.change(change);
            if let Change::Run(_, run) = change {
                records += run.len();
                bytes += run.bytes().len() as u64;
            }
        }
    }
    let mut commits = commits.lock();
    if stream.len() > 0 {
        let named = batches.iter().rev().find(|batch| !batch.changes.is_empty());
        let last = named.map_or(0, |batch| batch.number);
        if let Err(error) = commits.insert(&stream, last) {
            return Err((batches, error));
        }
    }
    let entry = commits.next_entry - 1;
    drop(commits);
    if stream.len() > 0
        && let Err(error) = disk.db.flush()
    {
        return Err((batches, error));
    }
    Ok(Flushed {
        batches,
        entry,
        records,
        bytes,
        write: begun.elapsed(),
    })
}

/// Refuses batches of which nothing has been written, and all that were built on them.
fn refuse(shared: &Shared, disk: &Disk, batches: Vec<Queued>, why: &str) {
    tracing::warn!(why, path = %disk.path.display(), "a batch was refused");
    let first = batches.first().map_or(0, |batch| batch.number);
    let mut state = shared.state.lock();
    // What was flushed before is still on its way; wait for it, so that it keeps its place.
    while state.durable + 1 < first && !shared.is_poisoned() {
        shared.work.wait(&mut state);
    }
    let mut refused = batches;
    refused.extend(std::mem::take(&mut state.queue));
    state.queued_bytes = 0;
    let durable = state.durable;
    state.rooms.forget_after(durable);
    // Their numbers are not used again, so what follows is not taken for them.
    state.durable = state.last_batch;
    drop(state);
    for batch in refused {
        let _ = batch
            .done
            .send(Err(AppendError::NotWritten(why.to_owned())));
    }
}

fn run_syncer(
    shared: &Shared,
    commits: &Mutex<Commits>,
    receive: &Receiver<Flushed>,
    behind: &AtomicUsize,
) {
    let disk = shared.disk.read();
    let Some(disk) = disk.as_ref() else { return };
    while let Ok(first) = receive.recv() {
        // Whatever else has been flushed by now is covered by the same sync.
        let mut flushed = vec![first];
        flushed.extend(receive.try_iter());
        let taken = flushed.len();
        finish(shared, disk, commits, flushed);
        behind.fetch_sub(taken, Ordering::SeqCst);
    }
}

/// Syncs, and publishes what had been flushed before that.
fn finish(shared: &Shared, disk: &Disk, commits: &Mutex<Commits>, flushed: Vec<Flushed>) {
    let begun = Instant::now();
    let synced = if shared.is_poisoned() {
        Err("an earlier failure".to_owned())
    } else {
        shared
            .sync(disk)
            .map_err(|error| format!("the disk could not be synced: {error}"))
    };
    let sync = begun.elapsed();
    if let Err(why) = synced {
        shared.poison(&why);
        for batch in flushed.into_iter().flat_map(|commit| commit.batches) {
            let _ = batch.done.send(Err(AppendError::Unknown(why.clone())));
        }
        return;
    }
    if let Some(last) = flushed.last() {
        let mut commits = commits.lock();
        commits.synced = commits.synced.max(last.entry);
        if let Err(error) = disk.acked.put(commits.synced) {
            // It only proves less at the next start.
            tracing::warn!(%error, "how far the log is acked could not be noted");
        }
    }
    let bytes: u64 = flushed.iter().map(|commit| commit.bytes).sum();
    for commit in flushed {
        publish(shared, commit, sync);
    }
    let unlooked = shared.unlooked.fetch_add(bytes, Ordering::Relaxed) + bytes;
    if unlooked >= LOOK_AHEAD_BYTES {
        shared.unlooked.store(0, Ordering::Relaxed);
        ahead::look(shared, disk);
    }
}

/// Makes a durable commit readable, and gives its callers their proof.
fn publish(shared: &Shared, commit: Flushed, sync: Duration) {
    let Some(last) = commit.batches.last().map(|batch| batch.number) else {
        return;
    };
    {
        let mut state = shared.state.lock();
        for batch in commit
            .batches
            .iter()
            .filter(|batch| !batch.changes.is_empty())
        {
            for change in &batch.changes {
                state.rooms.publish(change);
            }
            state.applied = batch.number;
        }
        state.durable = last;
        if state.rooms.unmoved_bytes >= shared.options.move_at_bytes {
            shared.idle.notify_all();
        }
    }
    // A refusal may wait for this.
    shared.work.notify_all();
    if let Some(observer) = &shared.options.observer {
        observer.committed(&Committed {
            batches: commit.batches.len() as u64,
            records: commit.records,
            bytes: commit.bytes,
            write: commit.write,
            sync,
        });
    }
    for batch in commit.batches {
        let heads = batch.heads.into_iter().map(Durable::new).collect();
        let _ = batch.done.send(Ok(Appended { heads }));
    }
}
