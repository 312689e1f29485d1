//! When a room's document is worth a snapshot.
//!
//! The rule is amortised: a snapshot is due when the records since the last one take as many bytes
//! as it did, and at least [`FRAME_EVERY_BYTES`]. A snapshot is then at most twice as large as the
//! records that led to it, so all of a room's together at most twice as large as its log; and any
//! moment is a bounded fold away from one. While a room is being written to without a pause it waits,
//! so as not to be in the way, until [`PRESSING`] times as much has come, everyone has left, or the
//! room ends. A space may ask for more:
//! every so many records, or so long after the first record that no snapshot holds.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use replay::limits::FRAME_EVERY_BYTES;
use storage::archive::{ArchiveError, Archiver, Snapshot};

/// When snapshots are due beside the amortised rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SnapshotRule {
    /// After so many records.
    pub records: Option<u64>,
    /// So long after the first record that no snapshot holds.
    pub after: Option<Duration>,
}

/// Chooses a space's rule.
pub type RuleOf = Arc<dyn Fn(&str) -> SnapshotRule + Send + Sync>;

/// What fills the archive, once it is there; until then, why it is not.
#[derive(Debug, Default)]
pub struct Awaited {
    archiver: OnceLock<Archiver>,
    failed: Mutex<Option<ArchiveError>>,
}

impl Awaited {
    /// It is there. Only the first one counts.
    pub fn reached(&self, archiver: Archiver) {
        let _ = self.archiver.set(archiver);
    }

    /// It could not be reached.
    pub fn failed(&self, error: ArchiveError) {
        *self.failed.lock() = Some(error);
    }
}

/// Where snapshots go, and how often.
#[derive(Clone)]
pub struct Snapshots {
    local: Option<Arc<Archiver>>,
    archive: Arc<Awaited>,
    pub(crate) rule_of: RuleOf,
}

impl std::fmt::Debug for Snapshots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshots")
            .field("local", &self.local)
            .field("archive", &self.archive)
            .finish_non_exhaustive()
    }
}

impl Snapshots {
    /// Snapshots that `local` keeps on this machine; and `archive`, once it is there.
    #[must_use]
    pub fn new(local: Option<Archiver>, archive: Arc<Awaited>, rule_of: RuleOf) -> Self {
        Self {
            local: local.map(Arc::new),
            archive,
            rule_of,
        }
    }

    /// No snapshots.
    #[must_use]
    pub fn none() -> Self {
        Self::new(None, Arc::default(), Arc::new(|_| SnapshotRule::default()))
    }

    /// What fills the archive, if there is one within reach.
    #[must_use]
    pub fn archiver(&self) -> Option<&Archiver> {
        self.archive.archiver.get()
    }

    /// Why the archive has not been reached since the start, if it was tried and has not.
    #[must_use]
    pub fn unreached(&self) -> Option<ArchiveError> {
        let failed = self.archive.failed.lock().clone();
        failed.filter(|_| self.archiver().is_none())
    }

    /// What keeps snapshots on this machine.
    #[must_use]
    pub fn local(&self) -> Option<&Archiver> {
        self.local.as_deref()
    }

    pub(crate) fn are_kept(&self) -> bool {
        self.archivers().next().is_some()
    }

    /// So many bytes of so many records are on their way to the log.
    pub(crate) fn moved(&self, bytes: usize, records: u64) {
        for archiver in self.archivers() {
            archiver.moved(bytes, records);
        }
    }

    /// Hands a snapshot over; false if nobody could take it.
    pub(crate) fn keep(&self, snapshot: &Snapshot) -> bool {
        let mut taken = false;
        for archiver in self.archivers() {
            taken |= archiver.offer(snapshot.clone());
        }
        taken
    }

    /// Archives what is left, at a clean stop.
    pub(crate) async fn flush(&self, patience: Duration) {
        for archiver in self.archivers() {
            if let Err(error) = archiver.flush(patience).await {
                tracing::warn!(%error, "not all of the log could be archived; it is kept here");
            }
        }
        if let Some(error) = self.unreached() {
            tracing::warn!(%error, "nothing has been archived since the start; it is kept here");
        }
    }

    fn archivers(&self) -> impl Iterator<Item = &Archiver> {
        let archive = self.archive.archiver.get();
        self.local.as_deref().into_iter().chain(archive)
    }
}

/// What has come since a room's last snapshot.
#[derive(Debug)]
pub(crate) struct Unsaved {
    rule: SnapshotRule,
    last_bytes: u64,
    bytes: u64,
    records: u64,
    since: Option<Instant>,
    /// When the last of it came.
    last: Instant,
    /// Not before this: the last one could not be taken.
    not_before: Option<Instant>,
}

/// A room that has not been written to for so long has time for a snapshot.
const CALM: Duration = Duration::from_millis(500);
/// How many times what makes a snapshot due makes it due at once.
const PRESSING: u64 = 8;
/// How long a snapshot that could not be taken waits before it is tried again.
const RETRY: Duration = Duration::from_secs(5);

impl Unsaved {
    /// A room that was loaded from its last snapshot, which had `last_bytes`, and what came after.
    pub(crate) fn loaded(
        rule: SnapshotRule,
        last_bytes: u64,
        bytes: u64,
        records: u64,
        now: Instant,
    ) -> Self {
        Self {
            rule,
            last_bytes,
            bytes,
            records,
            since: (records > 0).then_some(now),
            last: now,
            not_before: None,
        }
    }

    /// Records were appended.
    pub(crate) fn add(&mut self, bytes: u64, records: u64, now: Instant) {
        self.bytes += bytes;
        self.records += records;
        self.since.get_or_insert(now);
        self.last = now;
    }

    /// How many records no snapshot holds.
    pub(crate) const fn records(&self) -> u64 {
        self.records
    }

    /// Whether a snapshot is due.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.records > 0
            && self.not_before.is_none_or(|at| now >= at)
            && (self.bytes >= self.worth().saturating_mul(PRESSING)
                || self.rule.records.is_some_and(|most| self.records >= most)
                || self.due_at().is_some_and(|at| now >= at))
    }

    /// Whether one would be due if the room had time: nobody is there, or it ends.
    pub(crate) fn is_worth_it(&self, now: Instant) -> bool {
        self.bytes >= self.worth() && self.not_before.is_none_or(|at| now >= at)
    }

    /// When one will be due if nothing more comes.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let at = self.due_at().filter(|_| self.records > 0)?;
        Some(self.not_before.map_or(at, |not_before| at.max(not_before)))
    }

    /// How many bytes are worth a snapshot.
    fn worth(&self) -> u64 {
        self.last_bytes.max(FRAME_EVERY_BYTES as u64)
    }

    fn due_at(&self) -> Option<Instant> {
        let calm = (self.bytes >= self.worth()).then(|| self.last + CALM);
        let asked = self.since.zip(self.rule.after);
        let asked = asked.and_then(|(since, after)| since.checked_add(after));
        calm.into_iter().chain(asked).min()
    }

    /// One with so many bytes has been taken, of everything.
    pub(crate) fn taken(&mut self, bytes: u64) {
        self.last_bytes = bytes;
        self.bytes = 0;
        self.records = 0;
        self.since = None;
        self.not_before = None;
    }

    /// One was due and could not be taken.
    pub(crate) fn refused(&mut self, now: Instant) {
        self.not_before = Some(now + RETRY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: u64 = FRAME_EVERY_BYTES as u64;

    /// How many snapshots a room takes that is written to at a pace, and that they are bounded.
    fn snapshots(pause: Duration) -> usize {
        let mut now = Instant::now();
        let mut unsaved = Unsaved::loaded(SnapshotRule::default(), 0, 0, 0, now);
        let (mut log, mut document, mut taken, mut bytes) = (0, 0, 0, 0);
        for _ in 0..100_000 {
            now += pause;
            if unsaved.is_due(now) {
                taken += 1;
                bytes += document;
                unsaved.taken(document);
            }
            unsaved.add(200, 1, now);
            log += 200;
            document += 150;
        }
        assert!(bytes <= 2 * log, "{bytes} of {log}");
        taken
    }

    #[test]
    fn snapshots_together_are_at_most_twice_the_log() {
        assert!(snapshots(CALM) >= 6);
    }

    #[test]
    fn a_room_without_a_pause_is_left_alone_for_a_while_and_not_for_ever() {
        let hurried = snapshots(Duration::from_micros(10));
        assert!((1..snapshots(CALM)).contains(&hurried), "{hurried}");
        let now = Instant::now();
        let mut unsaved = Unsaved::loaded(SnapshotRule::default(), 0, 0, 0, now);
        unsaved.add(EVERY, 1, now);
        assert!(!unsaved.is_due(now));
        assert_eq!(unsaved.next_timeout(), Some(now + CALM));
        assert!(unsaved.is_due(now + CALM));
        assert!(unsaved.is_worth_it(now), "when the room ends");
        unsaved.add(EVERY * (PRESSING - 1), 1, now);
        assert!(unsaved.is_due(now));
    }

    #[test]
    fn a_space_may_ask_for_more() {
        let now = Instant::now();
        let rule = SnapshotRule {
            records: Some(10),
            after: Some(Duration::from_secs(60)),
        };
        let mut unsaved = Unsaved::loaded(rule, 0, 0, 0, now);
        assert!(
            !unsaved.is_due(now + Duration::from_secs(3600)),
            "nothing came"
        );
        unsaved.add(1, 9, now);
        assert!(!unsaved.is_due(now));
        assert_eq!(unsaved.next_timeout(), Some(now + Duration::from_secs(60)));
        assert!(unsaved.is_due(now + Duration::from_secs(60)));
        unsaved.add(1, 1, now);
        assert!(unsaved.is_due(now));
        unsaved.refused(now);
        assert!(!unsaved.is_due(now));
        assert!(unsaved.is_due(now + RETRY));
        unsaved.taken(1);
        assert!(!unsaved.is_due(now + RETRY));
        unsaved.add(EVERY, 1, now);
        assert!(
            unsaved.is_due(now + CALM),
            "the amortised rule holds as well"
        );
    }
}
