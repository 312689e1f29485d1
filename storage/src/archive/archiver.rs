//! What fills an archive from a log: one task, woken by time, by bytes, or to be flushed.
//!
//! A round looks at every room of the log and of the archive, packs what is new ([`gather`]) and
//! puts it into the archive ([`publish`]); then it merges segments and applies retention
//! ([`compact`]), trims the log and collects garbage ([`tidy`]). A round that fails is begun again
//! after a pause, from what is published. Only two things end it for good: another writer, and a
//! bucket that is not this log's.
//!
//! [`gather`]: super::gather
//! [`publish`]: super::publish
//! [`compact`]: super::compact
//! [`tidy`]: super::tidy

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use protocol::{RoomName, Seq};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::bucket::{Backoff, Bucket};
use super::manifest::Manifest;
use super::{Archive, ArchiveError, Snapshot};
use crate::log::Log;

/// What an archiver puts into its archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Contents {
    /// Records and snapshots.
    #[default]
    Everything,
    /// Snapshots alone: a store of keyframes beside a log that keeps its records. Nothing is
    /// trimmed.
    SnapshotsOnly,
}

/// How long a space's history is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Retention {
    /// For ever.
    #[default]
    All,
    /// Records younger than this, and what it takes to fold them.
    For(Duration),
    /// The last so many records, and what it takes to fold them.
    Last(u64),
}

/// How an archiver behaves; [`ArchiverOptions::default`] fits a server.
#[derive(Clone)]
pub struct ArchiverOptions {
    /// What is archived.
    pub contents: Contents,
    /// A segment is closed when it reaches this, compressed.
    pub segment_bytes: usize,
    /// What has been committed is archived after this long at the latest.
    pub roll_after: Duration,
    /// … or as soon as so many bytes were committed since the last time.
    pub roll_at_bytes: u64,
    /// How long archived records stay in the log as well; `None` keeps them for ever. Only whole
    /// prefixes that end at an archived snapshot are trimmed, so that a room is never further than
    /// one read of the archive away.
    pub keep_local: Option<Duration>,
    /// The highest Seq up to which a room may be trimmed; [`Seq::ZERO`] forbids it.
    pub trim_floor: Arc<dyn Fn(&RoomName) -> Seq + Send + Sync>,
    /// How long a space's history is kept.
    pub retention: Arc<dyn Fn(&str) -> Retention + Send + Sync>,
    /// Bytes of snapshots that may wait, unless a single one is larger.
    pub snapshot_queue_bytes: usize,
    /// Segments smaller than this are merged into larger ones.
    pub small_segment_bytes: u64,
    /// … when there are so many of them.
    pub merge_segments: usize,
    /// How often retention is applied and garbage is looked for.
    pub tidy_every: Duration,
    /// How many of the newest manifests are kept, and with them what they name.
    pub keep_manifests: usize,
    /// Objects that no kept manifest names are deleted at this age.
    pub garbage_min_age: Duration,
    /// The store has to answer within this time; an upload has a second more for each MiB.
    pub attempt_timeout: Duration,
    /// The longest pause before the second attempt; it doubles with each one …
    pub backoff_min: Duration,
    /// … up to this. Each pause is drawn at random below its bound.
    pub backoff_max: Duration,
    /// The wall clock, for ages.
    pub clock: Arc<dyn Fn() -> SystemTime + Send + Sync>,
    /// Where the archiver ends as a crash would end it.
    #[cfg(test)]
    pub(crate) crash: Option<Arc<dyn Fn(Step) -> bool + Send + Sync>>,
}

impl Default for ArchiverOptions {
    fn default() -> Self {
        Self {
            contents: Contents::Everything,
            segment_bytes: 8 << 20,
            roll_after: Duration::from_secs(60),
            roll_at_bytes: 16 << 20,
            keep_local: None,
            trim_floor: Arc::new(|_| Seq::ZERO),
            retention: Arc::new(|_| Retention::All),
            snapshot_queue_bytes: 64 << 20,
            small_segment_bytes: 8 << 20,
            merge_segments: 16,
            tidy_every: Duration::from_secs(3600),
            keep_manifests: 8,
            garbage_min_age: Duration::from_secs(3600),
            attempt_timeout: Duration::from_secs(30),
            backoff_min: Duration::from_millis(200),
            backoff_max: Duration::from_secs(30),
            clock: Arc::new(SystemTime::now),
            #[cfg(test)]
            crash: None,
        }
    }
}

impl fmt::Debug for ArchiverOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArchiverOptions")
            .field("contents", &self.contents)
            .field("segment_bytes", &self.segment_bytes)
            .field("roll_after", &self.roll_after)
            .field("keep_local", &self.keep_local)
            .finish_non_exhaustive()
    }
}

/// Is told what an archiver did; called on its task, so it must be quick.
pub trait Observer: Send + Sync + 'static {
    /// A segment is in the archive.
    fn published(&self, published: &Published) {
        let _ = published;
    }
    /// Records were trimmed from the log.
    fn trimmed(&self, trimmed: &Trimmed) {
        let _ = trimmed;
    }
    /// Segments were merged, or retention was applied.
    fn compacted(&self, compacted: &Compacted) {
        let _ = compacted;
    }
    /// Garbage was collected: so many objects.
    fn collected(&self, objects: u64) {
        let _ = objects;
    }
    /// An attempt failed; it is tried again unless the error is final.
    fn failed(&self, error: &ArchiveError) {
        let _ = error;
    }
}

impl Observer for () {}

/// A segment that is in the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Published {
    /// Its rooms.
    pub rooms: u64,
    /// Its records.
    pub records: u64,
    /// Its snapshots.
    pub snapshots: u64,
    /// Sealed bytes before compression.
    pub raw_bytes: u64,
    /// Bytes uploaded.
    pub stored_bytes: u64,
    /// From the first read of the log to the published manifest.
    pub took: Duration,
}

/// Records that were trimmed from the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Trimmed {
    /// Rooms.
    pub rooms: u64,
    /// Records.
    pub records: u64,
}

/// Segments that were merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Compacted {
    /// Segments before.
    pub from_segments: u64,
    /// Segments after.
    pub to_segments: u64,
    /// Bytes before.
    pub from_bytes: u64,
    /// Bytes after.
    pub to_bytes: u64,
    /// Records that retention or a deletion dropped.
    pub dropped_records: u64,
    /// How long it took.
    pub took: Duration,
}

/// What stands in the way, since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failing {
    /// The last error.
    pub error: ArchiveError,
    /// Since when nothing has succeeded.
    pub since: SystemTime,
    /// How often it was tried.
    pub attempts: u64,
}

/// Where an archiver stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Status {
    /// Its epoch, once it has taken the archive.
    pub epoch: Option<u64>,
    /// Records in the log that are not in the archive, as of the last look.
    pub lag_records: u64,
    /// Bytes committed since what is in the archive was.
    pub lag_bytes: u64,
    /// How long the oldest of these has been waiting; zero when nothing is.
    pub lag_age: Duration,
    /// What stands in the way, if something does.
    pub failing: Option<Failing>,
    /// Whether another server has taken over.
    pub fenced: bool,
    /// Why it has stopped for good, if it has: fenced or a wrong bucket.
    pub stopped: Option<ArchiveError>,
    /// The newest manifest.
    pub manifest: u64,
    /// Segments in it.
    pub segments: u64,
    /// Their bytes.
    pub stored_bytes: u64,
    /// Records archived since the start.
    pub records: u64,
    /// Snapshots archived since the start.
    pub snapshots: u64,
    /// Snapshots that did not fit the log's history and were thrown away.
    pub refused_snapshots: u64,
    /// Bytes of snapshots that wait.
    pub waiting_snapshot_bytes: u64,
    /// Records trimmed from the log since the start.
    pub trimmed_records: u64,
}

/// The steps between which a crash may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Step {
    /// A segment is packed.
    Packed,
    /// It is uploaded.
    Uploaded,
    /// It has been read back.
    Checked,
    /// A manifest is uploaded.
    Named,
    /// It has been read back.
    Published,
    /// The log is about to be trimmed.
    BeforeTrim,
    /// The log was trimmed.
    Trimmed,
    /// A merged segment is about to replace others.
    BeforeReplace,
    /// An object was collected.
    Collected,
}

/// Why the task's work ended early.
#[derive(Debug)]
pub(super) enum Stop {
    /// It is to be begun again, unless the error is final.
    Error(ArchiveError),
    /// A test wants it so.
    #[cfg(test)]
    Crashed,
}

impl From<ArchiveError> for Stop {
    fn from(error: ArchiveError) -> Self {
        Self::Error(error)
    }
}

/// Fills one archive from a log, on a task of its own. One for each archive.
///
/// Dropping it ends the task wherever it is, which loses nothing: the next one goes on from what
/// is published.
#[derive(Debug)]
pub struct Archiver {
    archive: Archive,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

/// What the task shares with its callers.
pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    /// Bytes committed since the last round began.
    moved: AtomicU64,
    roll_at_bytes: u64,
    queue_bytes: usize,
    wake: Notify,
    /// The last flush that is done; `None` once the task has ended.
    flushed: watch::Sender<u64>,
    clock: Arc<dyn Fn() -> SystemTime + Send + Sync>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) status: Status,
    pub(super) queue: VecDeque<Snapshot>,
    /// Of what is in the queue or being archived.
    queued_bytes: usize,
    /// The last flush that was asked for.
    wanted: u64,
    /// Since when there is something that the running round does not know of.
    behind_since: Option<Instant>,
    /// Since when there was something that it does.
    round_since: Option<Instant>,
    round_bytes: u64,
}

impl Archiver {
    /// Starts the background task; it takes the archive over from whoever had it before.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn start(
        log: Arc<dyn Log>,
        archive: Archive,
        options: ArchiverOptions,
        observer: Arc<dyn Observer>,
    ) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            moved: AtomicU64::new(0),
            roll_at_bytes: options.roll_at_bytes,
            queue_bytes: options.snapshot_queue_bytes,
            wake: Notify::new(),
            flushed: watch::Sender::new(0),
            clock: Arc::clone(&options.clock),
        });
        let work = Work {
            bucket: archive.inner.bucket.with_timeout(options.attempt_timeout),
            log,
            archive: archive.clone(),
            shared: Arc::clone(&shared),
            observer,
            epoch: 0,
            writer: 0,
            counter: 0,
            manifests: VecDeque::new(),
            tidied: None,
            trimmed: None,
            options,
        };
        Self {
            archive,
            shared,
            task: tokio::spawn(work.run()),
        }
    }

    /// The archive, as it grows.
    #[must_use]
    pub const fn archive(&self) -> &Archive {
        &self.archive
    }

    /// Hands a snapshot over. False: not taken now, because others wait or it is over its limits
    /// ([`Snapshot::check`]); offer it again later.
    ///
    /// It is archived once every record that is folded into it is, and only if the log has these
    /// very records.
    pub fn offer(&self, snapshot: Snapshot) -> bool {
        let bytes = snapshot.bytes();
        if snapshot.check().is_err() {
            return false;
        }
        let mut state = self.shared.state.lock();
        let full = state.queued_bytes > 0 && state.queued_bytes + bytes > self.shared.queue_bytes;
        if full || state.status.stopped.is_some() {
            return false;
        }
        state.queued_bytes += bytes;
        state.status.waiting_snapshot_bytes = state.queued_bytes as u64;
        state.queue.push_back(snapshot);
        if state.queued_bytes > self.shared.queue_bytes / 2 {
            self.shared.wake.notify_one();
        }
        true
    }

    /// Hints that so many bytes were committed, so that they are archived before the timer.
    pub fn moved(&self, bytes: usize) {
        let bytes = bytes as u64;
        let before = self.shared.moved.fetch_add(bytes, Ordering::Relaxed);
        if before == 0 && bytes > 0 {
            let mut state = self.shared.state.lock();
            state.behind_since.get_or_insert_with(Instant::now);
        }
        if before < self.shared.roll_at_bytes && before + bytes >= self.shared.roll_at_bytes {
            self.shared.wake.notify_one();
        }
    }

    /// Where it stands; cheap.
    #[must_use]
    pub fn status(&self) -> Status {
        let state = self.shared.state.lock();
        let since = [state.round_since, state.behind_since];
        let oldest = since.into_iter().flatten().min();
        Status {
            lag_bytes: state.round_bytes + self.shared.moved.load(Ordering::Relaxed),
            lag_age: oldest.map_or(Duration::ZERO, |since| since.elapsed()),
            ..state.status.clone()
        }
    }

    /// Archives everything that is durable now, within `patience`.
    ///
    /// # Errors
    /// [`ArchiveError::TimedOut`] with what stood in the way, or why it has stopped for good.
    pub async fn flush(&self, patience: Duration) -> Result<(), ArchiveError> {
        let mut flushed = self.shared.flushed.subscribe();
        let wanted = {
            let mut state = self.shared.state.lock();
            state.wanted += 1;
            state.wanted
        };
        self.shared.wake.notify_one();
        let done = flushed.wait_for(|done| *done >= wanted);
        let in_time = tokio::time::timeout(patience, done).await.is_ok();
        let state = self.shared.state.lock();
        if let Some(error) = &state.status.stopped {
            return Err(error.clone());
        }
        if in_time {
            return Ok(());
        }
        let why = match &state.status.failing {
            Some(failing) => failing.error.to_string(),
            None => "it is still being written".to_owned(),
        };
        Err(ArchiveError::TimedOut(patience, why))
    }
}

impl Drop for Archiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Shared {
    /// Something failed; it will be tried again.
    pub(super) fn failing(&self, error: &ArchiveError) {
        let mut state = self.state.lock();
        let now = (self.clock)();
        let failing = state.status.failing.get_or_insert_with(|| Failing {
            error: error.clone(),
            since: now,
            attempts: 0,
        });
        failing.error = error.clone();
        failing.attempts += 1;
    }

    /// Something succeeded.
    pub(super) fn working(&self) {
        self.state.lock().status.failing = None;
    }

    /// Snapshots of so many bytes are archived or refused.
    pub(super) fn release(&self, bytes: usize) {
        let mut state = self.state.lock();
        state.queued_bytes = state.queued_bytes.saturating_sub(bytes);
        state.status.waiting_snapshot_bytes = state.queued_bytes as u64;
    }
}

/// The task's own.
pub(super) struct Work {
    pub(super) log: Arc<dyn Log>,
    pub(super) archive: Archive,
    pub(super) bucket: Bucket,
    pub(super) options: ArchiverOptions,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) shared: Arc<Shared>,
    /// Zero until the archive is taken over.
    pub(super) epoch: u64,
    /// Drawn at random; in every manifest of this writer.
    pub(super) writer: u128,
    /// The last segment's number.
    pub(super) counter: u64,
    /// The newest manifests, the last at the back: what garbage is told by.
    pub(super) manifests: VecDeque<Manifest>,
    pub(super) tidied: Option<Instant>,
    pub(super) trimmed: Option<Instant>,
}

impl Work {
    async fn run(mut self) {
        let mut attempt = 0;
        loop {
            let wanted = self.begin_round();
            match self.round().await {
                Ok(()) => {
                    attempt = 0;
                    self.end_round(wanted);
                    self.wait().await;
                }
                #[cfg(test)]
                Err(Stop::Crashed) => return,
                Err(Stop::Error(error)) if error.is_final() => {
                    self.observer.failed(&error);
                    tracing::error!(%error, "archiving has stopped for good");
                    let mut state = self.shared.state.lock();
                    state.status.fenced = matches!(error, ArchiveError::Fenced { .. });
                    state.status.stopped = Some(error);
                    state.queue.clear();
                    drop(state);
                    self.shared.flushed.send_replace(u64::MAX);
                    return;
                }
                Err(Stop::Error(error)) => {
                    self.fails(&error);
                    self.backoff().pause(attempt).await;
                    attempt += 1;
                }
            }
        }
    }

    async fn round(&mut self) -> Result<(), Stop> {
        if self.epoch == 0 {
            self.take_over().await?;
        }
        self.check_fence()?;
        let damaged = self.gather().await?;
        self.check_fence()?;
        self.merge_small().await?;
        let due = |since: Option<Instant>, every: Duration| {
            since.is_none_or(|since| since.elapsed() >= every)
        };
        if let Some(keep) = self.options.keep_local
            && due(self.trimmed, (keep / 8).min(self.options.tidy_every))
        {
            self.trimmed = Some(Instant::now());
            self.trim(keep).await?;
        }
        if due(self.tidied, self.options.tidy_every) {
            self.tidied = Some(Instant::now());
            self.retain().await?;
            self.collect_garbage().await?;
        }
        // The other rooms have not been kept waiting; this one is not archived.
        damaged.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Notes what this round is to catch up with.
    fn begin_round(&self) -> u64 {
        let mut state = self.shared.state.lock();
        let moved = self.shared.moved.swap(0, Ordering::Relaxed);
        state.round_bytes += moved;
        let since = state.behind_since.take();
        state.round_since = state.round_since.or(since);
        state.wanted
    }

    fn end_round(&self, wanted: u64) {
        let mut state = self.shared.state.lock();
        state.round_bytes = 0;
        state.round_since = None;
        drop(state);
        self.shared.working();
        self.shared.flushed.send_replace(wanted);
    }

    /// Until there is something to do.
    async fn wait(&self) {
        let roll = self.options.roll_after;
        let _ = tokio::time::timeout(roll, self.shared.wake.notified()).await;
    }

    pub(super) fn fails(&self, error: &ArchiveError) {
        self.observer.failed(error);
        self.shared.failing(error);
        tracing::warn!(%error, "archiving does not get on; it is tried again");
    }

    pub(super) const fn backoff(&self) -> Backoff {
        Backoff {
            min: self.options.backoff_min,
            max: self.options.backoff_max,
        }
    }

    /// A place at which a test may end the task.
    pub(super) fn step(&self, step: Step) -> Result<(), Stop> {
        #[cfg(test)]
        if (self.options.crash.as_ref()).is_some_and(|crash| crash(step)) {
            return Err(Stop::Crashed);
        }
        let _ = step;
        Ok(())
    }
}
