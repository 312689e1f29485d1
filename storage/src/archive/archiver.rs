//! What fills an archive from a log: one task, woken by time, by bytes, or to be flushed.
//!
//! A round looks at every room of the log and of the archive, packs what is new ([`gather`]) and
//! puts it into the archive ([`publish`]); then it merges segments and applies retention
//! ([`compact`]), trims the log and collects garbage ([`tidy`]). A round that fails is begun again
//! after a pause, from what is published. Only two things end it for good: another writer, and a
//! bucket that is not this log's. What is damaged keeps nothing else waiting: rooms of the log that
//! cannot be read are passed over, objects of the archive that cannot be read are left as they are,
//! and [`Archiver::status`] names them.
//!
//! [`gather`]: super::gather
//! [`publish`]: super::publish
//! [`compact`]: super::compact
//! [`tidy`]: super::tidy

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::bucket::{Backoff, Bucket};
use super::lag::Behind;
use super::manifest::Manifest;
use super::report::{Failing, Observer, Status};
use super::segment::SegmentId;
use super::settings::ArchiverOptions;
use super::{Archive, ArchiveError, Snapshot};
use crate::log::Log;

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
    /// Bytes committed since the last round began…
    moved: AtomicU64,
    /// …in so many records.
    moved_records: AtomicU64,
    roll_at_bytes: u64,
    queue_bytes: usize,
    wake: Notify,
    /// The last flush that is done; the greatest number once the task has ended.
    flushed: watch::Sender<u64>,
    /// Whether the archive is this log's, once that is known.
    pub(super) checked: watch::Sender<Option<bool>>,
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
    /// What it is to catch up with.
    pub(super) round: Behind,
}

impl Archiver {
    /// Starts the background task; it takes the archive over from whoever had it before.
    ///
    /// # Panics
    /// Outside a tokio runtime, if the options name none.
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
            moved_records: AtomicU64::new(0),
            roll_at_bytes: options.roll_at_bytes,
            queue_bytes: options.snapshot_queue_bytes,
            wake: Notify::new(),
            flushed: watch::Sender::new(0),
            checked: watch::Sender::new(None),
            clock: Arc::clone(&options.clock),
        });
        let runtime = (options.runtime.clone()).unwrap_or_else(tokio::runtime::Handle::current);
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
            damaged: BTreeMap::new(),
            tidied: None,
            trimmed: None,
            options,
        };
        Self {
            archive,
            shared,
            task: runtime.spawn(work.run()),
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

    /// Tells that so many bytes were committed, in so many records: they are archived before the
    /// timer if they are many, and until then they are what the archive is behind by.
    pub fn moved(&self, bytes: usize, records: u64) {
        let bytes = bytes as u64;
        (self.shared.moved_records).fetch_add(records, Ordering::Relaxed);
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
        let since = state.behind_since.map(|since| since.elapsed());
        Status {
            lag_records: state.round.records + self.shared.moved_records.load(Ordering::Relaxed),
            lag_bytes: state.round.bytes + self.shared.moved.load(Ordering::Relaxed),
            lag_age: state.round.age().max(since.unwrap_or_default()),
            ..state.status.clone()
        }
    }

    /// Waits until the archive has been compared with the log, and gives whether it is that of this
    /// log; false as well if the task has ended before. Until then nothing in it is to be taken for
    /// the log's past.
    pub fn is_of_this_log(&self) -> impl Future<Output = bool> + Send + use<> {
        let mut checked = self.shared.checked.subscribe();
        async move {
            let known = checked.wait_for(Option::is_some).await;
            known.is_ok_and(|known| *known == Some(true))
        }
    }

    /// Archives everything that is durable now, within `patience`.
    ///
    /// # Errors
    /// [`ArchiveError::TimedOut`] with what stood in the way, or why it has stopped for good. What
    /// is damaged, when everything else has been archived.
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
            let failing = state.status.failing.as_ref().map(|failing| &failing.error);
            let damage = failing.filter(|error| error.is_damage());
            return damage.map_or(Ok(()), |error| Err(error.clone()));
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
    /// Segments with blocks that turned out not to be what was written: they are not merged, and
    /// their rooms not trimmed.
    pub(super) damaged: BTreeMap<SegmentId, ArchiveError>,
    pub(super) tidied: Option<Instant>,
    pub(super) trimmed: Option<Instant>,
}

impl Drop for Work {
    /// However the task ends, nobody waits for it in vain.
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.status.stopped.get_or_insert(ArchiveError::Stopped);
        drop(state);
        self.shared.flushed.send_replace(u64::MAX);
        self.shared.checked.send_if_modified(|checked| {
            let unknown = checked.is_none();
            checked.get_or_insert(false);
            unknown
        });
    }
}

impl Work {
    async fn run(mut self) {
        let mut attempt = 0;
        loop {
            let wanted = self.begin_round();
            match self.round().await {
                Ok(damage) => {
                    attempt = 0;
                    self.end_round(wanted, damage.as_ref());
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

    /// Archives what there is to archive. Gives what is damaged, in the log or in the archive, if
    /// something is: all the rest has been done.
    async fn round(&mut self) -> Result<Option<ArchiveError>, Stop> {
        if self.epoch == 0 {
            self.survey().await?;
            self.take_over().await?;
        }
        self.check_fence()?;
        let damage = self.gather().await?;
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
            self.look_again().await?;
            self.retain().await?;
            self.collect_garbage().await?;
        }
        Ok(damage.or_else(|| self.damaged.values().next().cloned()))
    }

    /// Notes what this round is to catch up with.
    fn begin_round(&self) -> u64 {
        let mut state = self.shared.state.lock();
        let moved = self.shared.moved.swap(0, Ordering::Relaxed);
        let records = self.shared.moved_records.swap(0, Ordering::Relaxed);
        state.round.bytes += moved;
        state.round.records += records;
        let since = state.behind_since.take();
        let since = since.map(|since| (since, Duration::ZERO));
        state.round.since = state.round.since.or(since);
        state.wanted
    }

    fn end_round(&self, wanted: u64, damage: Option<&ArchiveError>) {
        match damage {
            None => {
                self.shared.state.lock().round = Behind::default();
                self.shared.working();
            }
            // What could not be read of the log is still behind.
            Some(error) => {
                self.observer.failed(error);
                self.shared.failing(error);
                tracing::warn!(%error, "something is damaged; all else has been archived");
            }
        }
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
