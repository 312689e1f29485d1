//! The default log: sled 0.34, made durable.
//!
//! sled's own flush does not survive a power cut on Linux, so it is only half of a commit here:
//!
//! ```text
//! append ─▶ queue ─▶ pack, insert, flush ─▶ fdatasync ─▶ readable, acked
//!  checks heads      (writer thread)        (syncer thread, while the next is packed)
//!                                                  │
//!                               mover ◀────────────┘  records out of commits into chunks
//! ```
//!
//! - [`commit`] is the packed value that one sync makes durable, and the ack point.
//! - [`rooms`] holds in memory what has not been moved yet, and answers most reads.
//! - [`chunk`] and [`catalogue`] are where records and rooms stay on disk.
//! - [`writer`] has the two threads of the pipeline, [`mover`] the third one.
//! - [`ahead`] keeps written zeros in front of sled, so that syncs are short.
//! - [`open`] makes, locks and opens the folder; [`recover`] replays what had not been moved.
//!
//! # What happens to space
//! Trimming and deleting remove chunks (whole ones: a chunk that reaches past the start stays). To
//! sled that is dead space inside its file. Its collector, which runs every [`FLUSH_EVERY_MS`] and
//! whenever a page is rewritten, empties segments that are half dead and reuses them for what is
//! written next, so new records take the place of deleted ones at once. The file itself shrinks
//! only when segments at its end are free, and only while sled's log goes on; so after much has
//! been removed (64 MiB, and a fifth of the file) the mover makes it go on, and in a quiet log of a
//! few hundred MiB the file system has most of it back within a minute. What stays is up to as much
//! again as is in use, and a dozen segments ([`SEGMENT_BYTES`] each): sled clears the end of its file
//! only while half of its segments are free. New records take that place.

mod acked;
mod ahead;
mod catalogue;
mod chunk;
mod commit;
mod mover;
mod open;
mod read;
mod recover;
mod rooms;
mod writer;

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::{self, BoxFuture};
use parking_lot::{Condvar, Mutex, RwLock};
use protocol::{Head, OpId, RoomName, Run, Seq, Timestamp};
use tokio::sync::{oneshot, watch};

use self::acked::Acked;
use self::chunk::Chunks;
use self::rooms::{Rooms, Waiting};
use crate::log::{AppendError, Appended, Batch, Log, ReadError, RoomRow, RoomState, Stats};

pub use self::open::OpenError;

/// The most batches that may wait; a caller awaits its acks long before that.
pub const MAX_WAITING_BATCHES: usize = 4096;
/// The most bytes that may wait, unless a single batch is larger.
pub const MAX_WAITING_BYTES: usize = 256 << 20;
/// How often sled's own thread collects garbage. It also flushes, which makes things durable
/// early and so cannot hurt: nothing is acked for it.
const FLUSH_EVERY_MS: u64 = 200;
/// A leaf of 17 values of 64 KiB must fit a quarter of a segment: what does not is put in files
/// under `blobs/` that sled never syncs. See [`commit::MAX_VALUE_BYTES`].
const SEGMENT_BYTES: usize = 8 << 20;

/// What the store may need before a trim or a deletion gives space back: its commit, and the pages
/// that the mover writes anew.
const FREEING_BYTES: u64 = 2 * SEGMENT_BYTES as u64;

const _: () = assert!(17 * (commit::MAX_VALUE_BYTES + 512) < SEGMENT_BYTES / 4);

/// How a [`SledLog`] behaves; [`SledOptions::default`] fits a server.
#[derive(Clone)]
pub struct SledOptions {
    /// Memory that sled may use for pages, in bytes.
    pub cache_bytes: u64,
    /// Unmoved records are moved when they reach this, in bytes …
    pub move_at_bytes: u64,
    /// … or when the oldest of them has waited this long.
    pub move_after: Duration,
    /// Past this many unmoved bytes, batches wait until some have been moved.
    pub unmoved_limit_bytes: u64,
    /// How many clean rooms are kept in memory.
    pub cached_rooms: usize,
    /// A batch is refused when less than this would be left free on the disk, in bytes; one that
    /// only trims and deletes when less than [`FREEING_BYTES`] would.
    pub min_free_bytes: u64,
    /// Told what was committed and moved.
    pub observer: Option<Arc<dyn Observer>>,
    /// Whether commits are really made durable; anything but the default is for tests.
    #[cfg(any(test, feature = "testing"))]
    pub sync: SyncMode,
}

impl Default for SledOptions {
    fn default() -> Self {
        Self {
            cache_bytes: 64 << 20,
            move_at_bytes: 24 << 20,
            move_after: Duration::from_secs(5),
            unmoved_limit_bytes: 64 << 20,
            cached_rooms: 65_536,
            min_free_bytes: 64 << 20,
            observer: None,
            #[cfg(any(test, feature = "testing"))]
            sync: SyncMode::Full,
        }
    }
}

impl fmt::Debug for SledOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SledOptions")
            .field("cache_bytes", &self.cache_bytes)
            .field("move_at_bytes", &self.move_at_bytes)
            .field("move_after", &self.move_after)
            .field("unmoved_limit_bytes", &self.unmoved_limit_bytes)
            .finish_non_exhaustive()
    }
}

/// What makes a commit durable.
#[cfg(any(test, feature = "testing"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncMode {
    /// sled's flush, and `fdatasync` after it.
    Full,
    /// sled's flush alone: loses acked records in a power cut, which the harness must notice.
    FlushOnly,
}

/// Is told what a log did. Called on the log's own threads, so it must be quick.
pub trait Observer: Send + Sync + 'static {
    /// A commit has become durable.
    fn committed(&self, commit: &Committed) {
        let _ = commit;
    }
    /// The mover has finished a round.
    fn moved(&self, moved: &Moved) {
        let _ = moved;
    }
}

/// One commit.
#[derive(Debug, Clone, Copy)]
pub struct Committed {
    /// How many batches it holds.
    pub batches: u64,
    /// How many records.
    pub records: u64,
    /// Their sealed bytes.
    pub bytes: u64,
    /// Packing, inserting and flushing took this long.
    pub write: Duration,
    /// `fdatasync` took this long.
    pub sync: Duration,
}

/// One round of the mover.
#[derive(Debug, Clone, Copy)]
pub struct Moved {
    /// How many rooms were settled.
    pub rooms: u64,
    /// How many records were moved.
    pub records: u64,
    /// Their sealed bytes.
    pub bytes: u64,
    /// What was written for them, merged chunks included.
    pub written_bytes: u64,
    /// How long the round took, rests included.
    pub took: Duration,
}

/// A log on sled, in a folder of its own.
#[derive(Debug)]
pub struct SledLog {
    shared: Arc<Shared>,
    threads: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

/// What the callers and the log's threads share.
struct Shared {
    options: SledOptions,
    /// The store; gone once the log is closed. Held for reading as long as it is used.
    disk: RwLock<Option<Disk>>,
    state: Mutex<State>,
    /// Wakes the writer: a batch waits, the mover made room, or the log closes.
    work: Condvar,
    /// Wakes the mover, and what waits for it.
    idle: Condvar,
    poison: watch::Sender<Option<String>>,
    /// Whether zeros are to be appended, and what says so.
    ahead_wanted: Mutex<bool>,
    ahead: Condvar,
    /// Bytes committed since the last look at the space ahead.
    unlooked: AtomicU64,
    /// How many syncs have begun: the mover need not sync what the syncer did.
    syncs: AtomicU64,
}

/// The open store.
#[derive(Debug)]
struct Disk {
    db: sled::Db,
    rooms: sled::Tree,
    chunks: Chunks,
    /// Our own handle to sled's file, to sync it and to know its size.
    file: File,
    /// Another one, that appends.
    append: File,
    acked: Acked,
    path: PathBuf,
    /// Held as long as the store is open.
    _lock: File,
}

#[derive(Debug)]
struct State {
    rooms: Rooms,
    queue: VecDeque<Queued>,
    queued_bytes: usize,
    /// The last batch handed over.
    last_batch: u64,
    /// The last batch that is durable, and so readable.
    durable: u64,
    /// The last durable batch that changed anything, and so is named in a commit. Rows say this
    /// one: numbers that no commit names are given again after a restart.
    applied: u64,
    /// Since when there is something to move.
    dirty_since: Option<Instant>,
    closing: bool,
}

/// A batch on its way to the disk.
#[derive(Debug)]
struct Queued {
    number: u64,
    changes: Vec<Waiting>,
    heads: Vec<Head>,
    bytes: usize,
    done: oneshot::Sender<Result<Appended, AppendError>>,
}

impl Queued {
    /// Whether all it does is to give space back.
    fn only_frees(&self) -> bool {
        let frees = |change: &Waiting| matches!(change, Waiting::Trim { .. } | Waiting::Delete(_));
        !self.changes.is_empty() && self.changes.iter().all(frees)
    }
}

impl SledLog {
    /// Opens the log in a folder, which is made if it is not there.
    ///
    /// # Errors
    /// [`OpenError`] says what stands in the way and where.
    pub fn open(folder: &Path, options: SledOptions) -> Result<Self, OpenError> {
        let begun = Instant::now();
        let opened = open::open(folder, &options)?;
        let store_opened = begun.elapsed();
        let recovered = recover::recover(&opened, &options)?;
        opened.acked.check(folder, recovered.last_entry)?;
        tracing::info!(
            folder = %folder.display(),
            ?store_opened,
            replayed = ?begun.elapsed().saturating_sub(store_opened),
            unmoved_bytes = recovered.rooms.unmoved_bytes,
            "the log is open"
        );
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                dirty_since: (!recovered.rooms.dirty.is_empty()).then(Instant::now),
                rooms: recovered.rooms,
                queue: VecDeque::new(),
                queued_bytes: 0,
                last_batch: recovered.last_batch,
                durable: recovered.last_batch,
                applied: recovered.last_batch,
                closing: false,
            }),
            disk: RwLock::new(Some(opened)),
            work: Condvar::new(),
            idle: Condvar::new(),
            poison: watch::Sender::new(None),
            ahead_wanted: Mutex::new(true),
            ahead: Condvar::new(),
            unlooked: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
            options,
        });
        let threads = writer::spawn(&shared, recovered.commits, recovered.chunks)
            .map_err(|error| OpenError::io("start the log's threads in", folder, &error))?;
        Ok(Self {
            shared,
            threads: Arc::new(Mutex::new(threads)),
        })
    }
}

impl Drop for SledLog {
    /// What was handed over is finished by the log's threads, which then let go of the store.
    fn drop(&mut self) {
        self.shared.begin_closing();
    }
}

impl Log for SledLog {
    fn append(&self, batch: Batch) -> BoxFuture<'static, Result<Appended, AppendError>> {
        match self.shared.hand_over(batch) {
            Ok(done) => done
                .map(|result| {
                    result.unwrap_or_else(|_| {
                        Err(AppendError::Unknown(
                            "the log's writer has ended".to_owned(),
                        ))
                    })
                })
                .boxed(),
            Err(error) => future::ready(Err(error)).boxed(),
        }
    }

    fn read(
        &self,
        room: &RoomName,
        after: Seq,
        max_bytes: usize,
    ) -> BoxFuture<'static, Result<Vec<Run>, ReadError>> {
        if let Some(answer) = self.shared.read_from_memory(room, after, max_bytes) {
            return future::ready(answer).boxed();
        }
        let room = room.clone();
        self.blocking(move |shared| shared.read(&room, after, max_bytes))
    }

    fn state(&self, room: &RoomName) -> BoxFuture<'static, Result<RoomState, ReadError>> {
        if let Some(answer) = self.shared.state_from_memory(room) {
            return future::ready(answer).boxed();
        }
        let room = room.clone();
        self.blocking(move |shared| shared.view(&room, Seq::MAX, 0).map(|view| view.state))
    }

    fn seq_at(
        &self,
        room: &RoomName,
        time: Timestamp,
    ) -> BoxFuture<'static, Result<Seq, ReadError>> {
        let room = room.clone();
        self.blocking(move |shared| shared.seq_at(&room, time))
    }

    fn find_op(
        &self,
        room: &RoomName,
        op_id: OpId,
    ) -> BoxFuture<'static, Result<Option<Seq>, ReadError>> {
        let room = room.clone();
        self.blocking(move |shared| shared.find_op(&room, op_id))
    }

    fn rooms(
        &self,
        after: Option<&RoomName>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<RoomRow>, ReadError>> {
        let after = after.cloned();
        self.blocking(move |shared| shared.page(after.as_ref(), limit, false))
    }

    fn all_rooms(
        &self,
        after: Option<&RoomName>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<RoomRow>, ReadError>> {
        let after = after.cloned();
        self.blocking(move |shared| shared.page(after.as_ref(), limit, true))
    }

    fn durability(&self) -> &'static str {
        #[cfg(any(test, feature = "testing"))]
        if self.shared.options.sync == SyncMode::FlushOnly {
            return "process crash only: syncing is left out, for a test";
        }
        "power cut: every commit is synced to this machine's disk (fdatasync) before it is acked"
    }

    fn poisoned(&self) -> Option<String> {
        self.shared.poison.borrow().clone()
    }

    fn refuses_writes(&self) -> Option<String> {
        let full = || {
            let disk = self.shared.disk.try_read()?;
            disk.as_ref()?
                .shortage(self.shared.options.min_free_bytes, 0)
        };
        self.poisoned().or_else(full)
    }

    fn until_poisoned(&self) -> BoxFuture<'static, String> {
        let mut poison = self.shared.poison.subscribe();
        async move {
            loop {
                if let Some(why) = poison.borrow_and_update().clone() {
                    return why;
                }
                if poison.changed().await.is_err() {
                    return future::pending().await;
                }
            }
        }
        .boxed()
    }

    fn stats(&self) -> Stats {
        let disk_bytes = self
            .shared
            .disk
            .try_read()
            .and_then(|disk| disk.as_ref().map(Disk::bytes));
        Stats {
            disk_bytes: disk_bytes.unwrap_or_default(),
            unmoved_bytes: self.shared.state.lock().rooms.unmoved_bytes,
        }
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        let shared = Arc::clone(&self.shared);
        let threads = Arc::clone(&self.threads);
        let finish = move || shared.close(&threads);
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => runtime.spawn_blocking(finish).map(|_| ()).boxed(),
            Err(_) => {
                finish();
                future::ready(()).boxed()
            }
        }
    }
}

impl SledLog {
    /// Runs what may wait for the disk where waiting is allowed.
    fn blocking<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Shared) -> Result<T, ReadError> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, ReadError>> {
        let shared = Arc::clone(&self.shared);
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => runtime
                .spawn_blocking(move || read(&shared))
                .map(|done| done.unwrap_or_else(|error| Err(ReadError::Io(error.to_string()))))
                .boxed(),
            Err(_) => future::ready(read(&shared)).boxed(),
        }
    }
}

impl Shared {
    /// Checks a batch and queues it. This is the moment that decides its place in the log.
    fn hand_over(
        &self,
        batch: Batch,
    ) -> Result<oneshot::Receiver<Result<Appended, AppendError>>, AppendError> {
        let mut state = self.state.lock();
        loop {
            if let Some(why) = &*self.poison.borrow() {
                return Err(AppendError::Poisoned(why.clone()));
            }
            if state.closing {
                return Err(AppendError::Closed);
            }
            let Some(room) = state.rooms.missing(&batch).cloned() else {
                break;
            };
            let evictions = state.rooms.evictions;
            drop(state);
            let row = self.row(&room).map_err(|error| match error {
                ReadError::Closed => AppendError::Closed,
                other => AppendError::NotWritten(format!("{room} could not be read: {other}")),
            })?;
            state = self.state.lock();
            if state.rooms.evictions == evictions {
                let durable = state.durable;
                state.rooms.load(&room, row, durable, &batch);
            }
        }
        let bytes = batch.entries.iter().map(entry_bytes).sum();
        let full = state.queue.len() >= MAX_WAITING_BATCHES
            || (state.queued_bytes > 0 && state.queued_bytes + bytes > MAX_WAITING_BYTES);
        if full {
            return Err(AppendError::NotWritten(
                "too many batches wait to be written".to_owned(),
            ));
        }
        state.rooms.check(&batch)?;
        let number = state.last_batch + 1;
        let (changes, heads) = state.rooms.admit(number, batch);
        state.last_batch = number;
        if !changes.is_empty() && state.dirty_since.is_none() {
            state.dirty_since = Some(Instant::now());
            // The mover begins to count.
            self.idle.notify_all();
        }
        let (done, receive) = oneshot::channel();
        state.queued_bytes += bytes;
        state.queue.push_back(Queued {
            number,
            changes,
            heads,
            bytes,
            done,
        });
        drop(state);
        self.work.notify_one();
        Ok(receive)
    }

    /// Ends the log's life as a writer. What waits is refused; what was flushed and not synced is
    /// unknown, and is told so by whoever holds it.
    fn poison(&self, why: &str) {
        let mut state = self.state.lock();
        let first = self.poison.send_if_modified(|poison| {
            let first = poison.is_none();
            if first {
                *poison = Some(why.to_owned());
            }
            first
        });
        if first {
            tracing::error!(why, "the log takes no more writes");
        }
        state.queued_bytes = 0;
        let queue = std::mem::take(&mut state.queue);
        let durable = state.durable;
        state.rooms.forget_after(durable);
        drop(state);
        for batch in queue {
            let _ = batch.done.send(Err(AppendError::Poisoned(why.to_owned())));
        }
        self.wake_all();
    }

    fn is_poisoned(&self) -> bool {
        self.poison.borrow().is_some()
    }

    fn begin_closing(&self) {
        self.state.lock().closing = true;
        self.wake_all();
    }

    fn wake_all(&self) {
        self.work.notify_all();
        self.idle.notify_all();
        // The thread that waits for this one looks at the state while it holds the lock.
        let wanted = self.ahead_wanted.lock();
        self.ahead.notify_all();
        drop(wanted);
    }

    fn close(&self, threads: &Mutex<Vec<JoinHandle<()>>>) {
        self.begin_closing();
        let mut threads = threads.lock();
        for thread in threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the log panicked");
            }
        }
        let Some(disk) = self.disk.write().take() else {
            return;
        };
        if !self.is_poisoned() {
            let flushed = disk.db.flush().map_err(|error| error.to_string());
            let synced = flushed.and_then(|_| {
                self.sync(&disk)
                    .and_then(|()| disk.acked.sync())
                    .map_err(|error| error.to_string())
            });
            if let Err(error) = synced {
                tracing::error!(error, "closing the log: the last flush failed");
            }
        }
        let path = disk.path.join("sled").join("db");
        // The folder stays locked until sled is gone and its file in order.
        let Disk {
            db,
            rooms,
            chunks,
            _lock,
            ..
        } = disk;
        drop((db, rooms, chunks));
        if let Err(error) = ahead::cut_off(&path) {
            tracing::warn!(%error, "closing the log: zeros at its end stay");
        }
    }

    /// Makes everything that has been flushed durable. Never repeated after a failure.
    fn sync(&self, disk: &Disk) -> std::io::Result<()> {
        self.sync_through(&disk.file)
    }

    /// The same through any handle to sled's file.
    fn sync_through(&self, file: &File) -> std::io::Result<()> {
        self.syncs.fetch_add(1, Ordering::SeqCst);
        #[cfg(any(test, feature = "testing"))]
        if self.options.sync == SyncMode::FlushOnly {
            return Ok(());
        }
        file.sync_data()
    }
}

impl Disk {
    fn bytes(&self) -> u64 {
        use std::os::unix::fs::MetadataExt;
        self.file.metadata().map_or(0, |meta| meta.blocks() * 512)
    }

    /// Bytes that the file system still has for us; unlimited where it does not say.
    fn free_bytes(&self) -> u64 {
        rustix::fs::fstatvfs(&self.file).map_or(u64::MAX, |fs| fs.f_bavail * fs.f_frsize)
    }

    /// Why `bytes` may not be written while `reserve` is to stay free. Clients are shown this.
    fn shortage(&self, reserve: u64, bytes: u64) -> Option<String> {
        let free = self.free_bytes();
        (free < reserve.saturating_add(bytes)).then(|| {
            format!("the disk is full: {free} bytes are free, and {reserve} are kept in reserve")
        })
    }
}

fn entry_bytes(entry: &crate::log::Entry) -> usize {
    match entry {
        crate::log::Entry::Run(_, run) => run.bytes().len(),
        crate::log::Entry::Trim(..)
        | crate::log::Entry::Delete(_)
        | crate::log::Entry::Begin(..) => 0,
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
