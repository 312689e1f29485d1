//! A room's whole past, wherever it lies.
//!
//! ```text
//!  Seq  start ────────────────────────────────────────────▶ head
//!        │ records: archive │ log                            │
//!        ◆         ◆        ◆         ◆   snapshots, stored
//!                                   ● ●   frames, in memory
//! ```
//! [`History`] is the one reader of all of it: the log, the snapshots kept beside it, and the
//! archive in object storage. Who asks for records, for a document as it was, or for the latest one
//! to load a room, does not learn which tier answered. Records and snapshots are checked as they
//! are read; a snapshot that cannot be had is gone without, as long as the records before it are
//! there.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use protocol::{Head, Kind as RecordKind, RoomName, Run, Seq, Timestamp};
use storage::archive::{Archive, ArchiveError, Snapshot};
use storage::{Log, ReadError};
use tokio::sync::Semaphore;

use crate::clients::Clients;
use crate::document::{self, DocumentError, Kind};
use crate::fold::{Base, FoldError, Folded, Folder, RoomFacts};
use crate::frames::Frames;
use crate::limits::{
    FOLDS_AT_ONCE, FRAME_CACHE_BYTES, FRAME_EVERY_BYTES, PAGE_BYTES, SHARED_FOLD_RECORDS,
};
use crate::moment::{Moment, MomentError};
use crate::shown::Shown;
use crate::timeline::Activities;

/// Chooses a room's document kind from its space.
pub type KindOf = Arc<dyn Fn(&str) -> Kind + Send + Sync>;

/// Reads rooms' pasts. Cheap to clone.
#[derive(Clone)]
pub struct History {
    inner: Arc<Inner>,
}

struct Inner {
    stores: Stores,
    kind_of: KindOf,
    frames: Frames,
    activities: Activities,
    folds: Semaphore,
    /// Who folds far takes the room's lock, so that others wait for the frames it leaves.
    far: [tokio::sync::Mutex<()>; LOCKS],
    snapshot_failed: Mutex<Option<String>>,
    watcher: OnceLock<Watcher>,
}

/// Which tier had to answer: the farthest of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// A document that was in memory.
    Cache,
    /// Records of the log.
    Log,
    /// Records of the archive.
    Archive,
}

/// Hears of each document of the past that was made, and how long that took.
pub type Watcher = Box<dyn Fn(Tier, Duration) + Send + Sync>;

/// Where records and snapshots are.
#[derive(Clone)]
pub struct Stores {
    /// The log.
    pub log: Arc<dyn Log>,
    /// Snapshots kept on this machine.
    pub snapshots: Option<Archive>,
    /// The archive, once it has been reached: a bucket that does not answer holds up no start.
    pub archive: Arc<OnceLock<Archive>>,
    /// There is one that has yet to be reached: what the log has no more is away, not gone.
    pub awaits_archive: bool,
}

impl Stores {
    /// A log alone.
    #[must_use]
    pub fn of_log(log: Arc<dyn Log>) -> Self {
        Self {
            log,
            snapshots: None,
            archive: Arc::default(),
            awaits_archive: false,
        }
    }

    /// The archive, if there is one within reach.
    #[must_use]
    pub fn archive(&self) -> Option<&Archive> {
        self.archive.get()
    }

    /// Where snapshots are: the near store first.
    pub(crate) fn with_snapshots(&self) -> impl Iterator<Item = &Archive> {
        self.snapshots.iter().chain(self.archive.get())
    }
}

/// What there is of a room's past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Records can be read after this.
    pub start: Head,
    /// The last record.
    pub head: Head,
    /// Whether a document begins empty at the start. If not, only a snapshot leads to one.
    pub from_nothing: bool,
    /// The room is deleted: there is nothing to read.
    pub deleted: bool,
    /// The time of the very first record.
    pub created: Timestamp,
    /// Where the log itself begins; before it only the archive has records.
    pub log_start: Head,
    /// Bytes of sealed records in the log.
    pub log_bytes: u64,
}

impl Span {
    /// Whether the room has never been, or is no more.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.deleted || self.head == Head::EMPTY
    }
}

/// Why there is no such stretch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StretchError {
    /// An end names no moment.
    #[error(transparent)]
    Moment(#[from] MomentError),
    /// It ends before it begins.
    #[error("the stretch ends before it begins: from is later than to")]
    Backwards,
    /// The records could not be read.
    #[error(transparent)]
    Fold(#[from] FoldError),
}

impl std::fmt::Debug for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("History")
            .field("log", &self.inner.stores.log)
            .field("archive", &self.inner.stores.archive().is_some())
            .field("frame_bytes", &self.inner.frames.bytes())
            .finish_non_exhaustive()
    }
}

impl History {
    /// A reader of `stores`.
    #[must_use]
    pub fn new(stores: Stores, kind_of: KindOf) -> Self {
        Self::with_frames(stores, kind_of, FRAME_CACHE_BYTES)
    }

    /// The same, whose frames take so many bytes.
    #[must_use]
    pub fn with_frames(stores: Stores, kind_of: KindOf, frame_bytes: usize) -> Self {
        let inner = Inner {
            stores,
            kind_of,
            frames: Frames::new(frame_bytes),
            activities: Activities::default(),
            folds: Semaphore::new(FOLDS_AT_ONCE),
            far: std::array::from_fn(|_| tokio::sync::Mutex::new(())),
            snapshot_failed: Mutex::new(None),
            watcher: OnceLock::new(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// A reader of a log alone, whose rooms are all of one kind.
    #[must_use]
    pub fn of_log(log: Arc<dyn Log>, kind: Kind) -> Self {
        Self::new(Stores::of_log(log), Arc::new(move |_| kind))
    }

    /// Where records and snapshots are.
    #[must_use]
    pub fn stores(&self) -> &Stores {
        &self.inner.stores
    }

    /// The kind of a room's document.
    #[must_use]
    pub fn kind_of(&self, room: &RoomName) -> Kind {
        (self.inner.kind_of)(room.space())
    }

    /// Forgets what has been kept in memory of a room's past: the next room of that name has another.
    pub fn forget(&self, room: &RoomName) {
        self.inner.frames.forget(room);
        self.inner.activities.forget(room);
    }

    pub(crate) fn activities(&self) -> &Activities {
        &self.inner.activities
    }

    /// Tells of each document of the past that is made. Only the first watcher counts.
    pub fn watch(&self, watcher: Watcher) {
        let _ = self.inner.watcher.set(watcher);
    }

    /// What the documents take that are kept in memory for the next who asks.
    #[must_use]
    pub fn cached_bytes(&self) -> usize {
        self.inner.frames.bytes()
    }

    /// The most that they take.
    #[must_use]
    pub fn cache_limit(&self) -> usize {
        self.inner.frames.limit()
    }

    fn tell(&self, tier: Tier, began: Instant) {
        if let Some(watcher) = self.inner.watcher.get() {
            watcher(tier, began.elapsed());
        }
    }

    /// The last snapshot that could not be read, and why; for `/readyz` and the log.
    #[must_use]
    pub fn snapshot_failed(&self) -> Option<String> {
        self.inner.snapshot_failed.lock().clone()
    }

    /// What there is of a room.
    ///
    /// # Errors
    /// [`FoldError::Read`] when the log cannot be read.
    pub async fn span(&self, room: &RoomName) -> Result<Span, FoldError> {
        let log = &self.inner.stores.log;
        let state = log.state(room).await?;
        let mut span = Span {
            start: state.start,
            head: state.head,
            from_nothing: state.start == Head::EMPTY || state.deleted,
            deleted: state.deleted,
            created: state.created,
            log_start: state.start,
            log_bytes: state.bytes,
        };
        if span.from_nothing {
            return Ok(span);
        }
        let archived = self.inner.stores.archive();
        if let Some(archived) = archived.and_then(|archive| archive.room(room))
            && archived.head.seq >= state.start.seq
            && archived.start.seq >= state.erased
        {
            span.start = archived.start;
            span.from_nothing = archived.start == Head::EMPTY;
        }
        if !span.from_nothing {
            // What comes after a deletion begins with an event that only ever comes first; else
            // what is missing is gone for good, and only a snapshot stands for it. So it does
            // while the archive does not answer.
            let first = self.read(room, span.start.seq, 1).await.unwrap_or_default();
            let first = first.first().and_then(|run| run.records().next());
            span.from_nothing = first.is_some_and(|first| {
                first.is_ok_and(|record| {
                    matches!(record.draft.kind, RecordKind::Created | RecordKind::Forked)
                })
            });
        }
        Ok(span)
    }

    /// Records after `after`, as [`Log::read`] gives them, from the log or the archive.
    ///
    /// # Errors
    /// [`FoldError::Read`] and [`FoldError::Archive`].
    pub async fn read(
        &self,
        room: &RoomName,
        after: Seq,
        max_bytes: usize,
    ) -> Result<Vec<Run>, FoldError> {
        self.read_up_to(room, after, Seq::MAX, max_bytes).await
    }

    /// As [`History::read`]; from the archive nothing after `up_to`.
    async fn read_up_to(
        &self,
        room: &RoomName,
        after: Seq,
        up_to: Seq,
        max_bytes: usize,
    ) -> Result<Vec<Run>, FoldError> {
        let stores = &self.inner.stores;
        match (
            stores.log.read(room, after, max_bytes).await,
            stores.archive(),
        ) {
            (Ok(runs), _) => Ok(runs),
            (Err(ReadError::Trimmed { .. }), Some(archive)) => {
                Ok(archive.read_up_to(room, after, up_to, max_bytes).await?)
            }
            (Err(error), _) => Err(error.into()),
        }
    }

    /// The last record at or before `time`; [`Seq::ZERO`] if there was none yet.
    ///
    /// # Errors
    /// As [`History::resolve`].
    async fn seq_at(
        &self,
        room: &RoomName,
        span: &Span,
        time: Timestamp,
    ) -> Result<Seq, FoldError> {
        let stores = &self.inner.stores;
        if time >= span.head.at {
            return Ok(span.head.seq);
        }
        if time < span.created {
            return Ok(Seq::ZERO);
        }
        if !span.from_nothing && time < span.start.at {
            // There was a record by then, and it cannot be told which.
            return Err(self.trimmed(span.start.seq));
        }
        let archived = span.log_start.seq > span.start.seq && time < span.log_start.at;
        let found = match stores.archive().filter(|_| archived) {
            Some(archive) => archive.seq_at(room, time).await.map_err(FoldError::from),
            None => stores.log.seq_at(room, time).await.map_err(FoldError::from),
        };
        match found {
            Ok(seq) => Ok(seq.max(span.start.seq)),
            // A room between two lives.
            Err(
                FoldError::Read(ReadError::Trimmed { .. })
                | FoldError::Archive(ArchiveError::Trimmed { .. }),
            ) if span.from_nothing => Ok(span.start.seq),
            Err(error) => Err(error),
        }
    }

    /// Where a room stood at a moment: [`Head::EMPTY`] before its first record, the tail after the
    /// last.
    ///
    /// # Errors
    /// [`FoldError::Read`] with [`ReadError::Trimmed`] for a moment whose records are gone, and
    /// [`FoldError::Archive`] for one whose records are in an archive that has not been reached.
    pub async fn resolve(
        &self,
        room: &RoomName,
        span: &Span,
        moment: Moment,
    ) -> Result<Head, FoldError> {
        let seq = match moment {
            Moment::Now => return Ok(span.head),
            Moment::Seq(seq) => seq.min(span.head.seq),
            Moment::At(time) => self.seq_at(room, span, time).await?,
        };
        if seq == span.head.seq {
            return Ok(span.head);
        }
        if seq <= span.start.seq {
            // Before its first record a room is empty, and so it was between two lives.
            return if span.from_nothing || seq == Seq::ZERO {
                Ok(Head::EMPTY)
            } else if seq == span.start.seq {
                Ok(span.start)
            } else {
                Err(self.trimmed(span.start.seq))
            };
        }
        let page = self.read(room, seq.previous(), 1).await?;
        let record = page.first().and_then(|run| run.records().next());
        match record {
            Some(Ok(record)) => Ok(record.head()),
            Some(Err(damage)) => Err(FoldError::Damaged {
                room: room.clone(),
                seq,
                damage,
            }),
            None => Ok(span.head),
        }
    }

    /// The stretch of records from one moment to another, both included: those after the first
    /// head, up to and with the second. Without `from` it begins with the first record that is kept,
    /// without `to` it ends now.
    ///
    /// # Errors
    /// [`StretchError`]; as for [`History::resolve`] when it would begin with records that are gone,
    /// or away: it would look as if they had never been.
    pub async fn stretch(
        &self,
        room: &RoomName,
        span: &Span,
        from: Option<&str>,
        to: Option<&str>,
    ) -> Result<(Head, Head), StretchError> {
        let up_to = match to {
            Some(to) => self.resolve(room, span, to.parse()?).await?,
            None => span.head,
        };
        // The record at the moment is the first, so the stretch begins after the one before it.
        let before = match from.map(str::parse::<Moment>).transpose()? {
            None => match self.away(span) {
                Some(away) => return Err(away.into()),
                None => return Ok((span.start, up_to)),
            },
            Some(Moment::Now) => Moment::Now,
            Some(Moment::Seq(seq)) => Moment::Seq(seq.previous()),
            Some(Moment::At(at)) => match at.micros().checked_sub(1) {
                Some(micros) => Moment::At(Timestamp::from_micros(micros)),
                None => Moment::Seq(Seq::ZERO),
            },
        };
        let mut after = self.resolve(room, span, before).await?;
        if after == Head::EMPTY {
            if !span.from_nothing {
                return Err(self.trimmed(span.start.seq).into());
            }
            after = span.start;
        }
        if after.seq > up_to.seq && to.is_some() {
            return Err(StretchError::Backwards);
        }
        Ok((after, up_to))
    }

    /// A room's document as it is now, to go on from; the short way, over the newest snapshot if
    /// there is much to fold.
    ///
    /// # Errors
    /// [`FoldError`].
    pub async fn load(&self, room: &RoomName, span: &Span) -> Result<Folded, FoldError> {
        let trimmed = span.log_start.seq > span.start.seq;
        let long = trimmed || span.log_bytes > 2 * FRAME_EVERY_BYTES as u64;
        let base = self.base(room, span, span.head.seq, long).await?;
        let mut folder = Folder::new(room.clone(), base, Seq::MAX);
        loop {
            let page = self.read(room, folder.base().head.seq, PAGE_BYTES).await?;
            if page.is_empty() {
                return Ok(folder.finish());
            }
            folder = folder.fold(page).await?;
        }
    }

    /// Folds every record there is, from the start up to and with `up_to`: the long way, which is
    /// the truth that all others are measured by.
    ///
    /// # Errors
    /// [`FoldError`]; [`ReadError::Trimmed`] when the first records are gone.
    pub async fn fold_all(&self, room: &RoomName, up_to: Seq) -> Result<Folded, FoldError> {
        let span = self.span(room).await?;
        if !span.from_nothing {
            let start = span.start.seq;
            return Err(ReadError::Trimmed { start }.into());
        }
        let base = Base::empty(self.kind_of(room), span.start);
        let mut folder = Folder::new(room.clone(), base, up_to);
        while folder.wants_more() {
            let page = self.read(room, folder.base().head.seq, PAGE_BYTES).await?;
            if page.is_empty() {
                break;
            }
            folder = folder.fold(page).await?;
        }
        Ok(folder.finish())
    }

    /// A room's document as it was after the record `up_to`, or now if that is later.
    ///
    /// # Errors
    /// [`FoldError`].
    pub async fn document_at(&self, room: &RoomName, up_to: Seq) -> Result<Folded, FoldError> {
        let span = self.span(room).await?;
        self.fold_to(room, &span, up_to.min(span.head.seq)).await
    }

    /// What a room showed after the record `up_to`, or shows now if that is later. One document of a
    /// kind that remembers its past answers for all moments; others are folded up to each.
    ///
    /// # Errors
    /// [`FoldError`].
    pub async fn shown_at(&self, room: &RoomName, up_to: Seq) -> Result<Shown, FoldError> {
        let span = self.span(room).await?;
        let up_to = up_to.min(span.head.seq);
        if document::new(self.kind_of(room)).remembers().is_none() {
            let folded = self.fold_to(room, &span, up_to).await?;
            return Ok(Shown::folded(folded.document));
        }
        let frames = &self.inner.frames;
        let began = Instant::now();
        if let Some(document) = frames.remembering(room, span.start.seq, up_to) {
            self.tell(Tier::Cache, began);
            return Ok(Shown::remembered(document, up_to));
        }
        let folded = self.fold_to(room, &span, span.head.seq).await?;
        let base = Base {
            document: folded.document,
            head: folded.head,
            facts: folded.facts,
            clients: folded.clients,
        };
        let document = frames.keep_remembering(room, base);
        Ok(Shown::remembered(document, up_to))
    }

    /// The document after the record `up_to`, which is there.
    async fn fold_to(&self, room: &RoomName, span: &Span, up_to: Seq) -> Result<Folded, FoldError> {
        let began = Instant::now();
        let frames = &self.inner.frames;
        let near = frames.nearest(room, up_to).map_or(Seq::ZERO, |at| at.seq);
        let far = up_to.since(near.min(up_to)) > SHARED_FOLD_RECORDS;
        let _alone = if far {
            Some(self.inner.far[lock_of(room)].lock().await)
        } else {
            None
        };
        // The semaphore is never closed. Whoever waits for the lock takes no turn from others.
        let _turn = self.inner.folds.acquire().await;
        let base = self.base(room, span, up_to, true).await?;
        let tier = match base.head.seq {
            from if from >= up_to && near >= up_to => Tier::Cache,
            from if from < span.log_start.seq => Tier::Archive,
            _ => Tier::Log,
        };
        let mut folder = Folder::new(room.clone(), base, up_to);
        let mut kept = 0;
        while folder.wants_more() {
            let after = folder.base().head.seq;
            let page = self
                .read_up_to(room, after, up_to, FRAME_EVERY_BYTES)
                .await?;
            if page.is_empty() {
                break;
            }
            folder = folder.fold(page).await?;
            let due = FRAME_EVERY_BYTES.max(folder.base().document.memory_bytes());
            if folder.bytes() - kept >= due as u64 {
                kept = folder.bytes();
                frames.keep(room, folder.base());
            }
        }
        self.tell(tier, began);
        Ok(folder.finish())
    }

    /// The newest point at or before `up_to` from which to fold on: a frame, a stored snapshot if
    /// `stored`, or nothing at all.
    async fn base(
        &self,
        room: &RoomName,
        span: &Span,
        up_to: Seq,
        stored: bool,
    ) -> Result<Base, FoldError> {
        let kind = self.kind_of(room);
        if up_to == Seq::ZERO {
            // Before its first record a room was empty, whatever of it is still there.
            return Ok(Base::empty(kind, Head::EMPTY));
        }
        // A document that begins empty at the start cannot stand on one from before.
        let usable =
            |seq: Seq| seq > span.start.seq || (seq == span.start.seq && !span.from_nothing);
        let frames = &self.inner.frames;
        let frame = frames.nearest(room, up_to).map(|head| head.seq);
        let frame = frame.filter(|seq| usable(*seq));
        if stored || !span.from_nothing {
            let mut candidates: Vec<(Seq, &Archive)> = Vec::new();
            for archive in self.inner.stores.with_snapshots() {
                let snapshots = archive.snapshots(room);
                let before = snapshots.partition_point(|head| head.seq <= up_to);
                if let Some(seq) = snapshots[..before].last().map(|head| head.seq)
                    && usable(seq)
                    && frame.is_none_or(|frame| seq > frame)
                {
                    candidates.push((seq, archive));
                }
            }
            // The newest first, and of two the one that is near.
            candidates.sort_by_key(|(seq, _)| std::cmp::Reverse(*seq));
            for (seq, archive) in candidates {
                match self.stored(room, span, seq, archive).await {
                    Ok(Some(base)) => {
                        frames.keep(room, &base);
                        return Ok(base);
                    }
                    Ok(None) => {}
                    Err(error) => {
                        tracing::warn!(%room, %seq, %error, "a snapshot cannot be read");
                        *self.inner.snapshot_failed.lock() =
                            Some(format!("{room} at seq {seq}: {error}"));
                    }
                }
            }
        }
        if let Some(base) = frame.and_then(|seq| frames.take(room, seq)) {
            return Ok(base);
        }
        if span.from_nothing {
            return Ok(Base::empty(kind, span.start));
        }
        Err(self.trimmed(span.start.seq))
    }

    /// What the records of a room begin with whose first ones are gone: the oldest stored snapshot
    /// that they fold on. `None` if there is none, so that no document can be had of them.
    ///
    /// # Errors
    /// [`FoldError`] when the last one of them could not be read.
    pub async fn first_snapshot(
        &self,
        room: &RoomName,
        span: &Span,
    ) -> Result<Option<Snapshot>, FoldError> {
        let mut stored: Vec<(Seq, &Archive)> = Vec::new();
        for archive in self.inner.stores.with_snapshots() {
            let heads = archive.snapshots(room).into_iter();
            let usable = heads.filter(|head| (span.start.seq..=span.head.seq).contains(&head.seq));
            stored.extend(usable.map(|head| (head.seq, archive)));
        }
        // Of two that are equal the one that is near.
        stored.sort_by_key(|(seq, _)| *seq);
        let mut failed = Ok(None);
        for (seq, archive) in stored {
            match self.snapshot(room, span, seq, archive).await {
                Ok(Some(snapshot)) => {
                    let (kind, copy) = (self.kind_of(room), snapshot.clone());
                    let opened = tokio::task::spawn_blocking(move || open(kind, copy).map(drop));
                    match opened.await.map_err(|_| FoldError::Stopped)? {
                        Ok(()) => return Ok(Some(snapshot)),
                        Err(error) => failed = Err(error),
                    }
                }
                Ok(None) => {}
                Err(error) => failed = Err(error),
            }
        }
        failed
    }

    /// Why records before the span's start cannot be read, if they are only away: in an archive that
    /// has not been reached.
    #[must_use]
    pub fn away(&self, span: &Span) -> Option<FoldError> {
        let why = (!span.from_nothing).then(|| self.trimmed(span.start.seq));
        why.filter(|why| matches!(why, FoldError::Archive(_)))
    }

    /// What lies up to `start` cannot be read.
    fn trimmed(&self, start: Seq) -> FoldError {
        let stores = &self.inner.stores;
        if stores.awaits_archive && stores.archive().is_none() {
            let doing = format!("read records up to seq {start}");
            let why = "the archive has not been reached since the start".to_owned();
            return ArchiveError::Store { doing, why }.into();
        }
        ReadError::Trimmed { start }.into()
    }

    async fn stored(
        &self,
        room: &RoomName,
        span: &Span,
        seq: Seq,
        archive: &Archive,
    ) -> Result<Option<Base>, FoldError> {
        let Some(snapshot) = self.snapshot(room, span, seq, archive).await? else {
            return Ok(None);
        };
        let kind = self.kind_of(room);
        let opened = tokio::task::spawn_blocking(move || open(kind, snapshot));
        opened.await.map_err(|_| FoldError::Stopped)?.map(Some)
    }

    /// A stored snapshot, if it is one of this room's history.
    async fn snapshot(
        &self,
        room: &RoomName,
        span: &Span,
        seq: Seq,
        archive: &Archive,
    ) -> Result<Option<Snapshot>, FoldError> {
        let Some(snapshot) = archive.snapshot(room, seq).await? else {
            return Ok(None);
        };
        // A store that was left over from another log has snapshots of another history.
        let there = if seq == span.head.seq {
            Some(span.head)
        } else {
            let next = self.read(room, seq, 1).await?;
            next.first().map(Run::before)
        };
        if there != Some(snapshot.head) {
            return Err(FoldError::Refused {
                room: room.clone(),
                seq,
                error: DocumentError::Malformed(
                    "the snapshot is of another history than the log's".to_owned(),
                ),
            });
        }
        Ok(Some(snapshot))
    }
}

/// The document of a snapshot.
fn open(kind: Kind, snapshot: Snapshot) -> Result<Base, FoldError> {
    let refused = |error| FoldError::Refused {
        room: snapshot.room.clone(),
        seq: snapshot.head.seq,
        error,
    };
    if Kind::from_code(snapshot.kind) != Some(kind) {
        let text = "the snapshot is of another document kind than its space".to_owned();
        return Err(refused(DocumentError::Malformed(text)));
    }
    let document = document::load(kind, &snapshot.content).map_err(refused)?;
    let clients = Clients::decode(&snapshot.clients).ok_or_else(|| {
        let text = "the snapshot's table of clients is malformed".to_owned();
        refused(DocumentError::Malformed(text))
    })?;
    Ok(Base {
        document,
        head: snapshot.head,
        facts: RoomFacts {
            title: snapshot.title,
            deleted: false,
        },
        clients,
    })
}

/// How many locks there are for rooms that are folded far.
const LOCKS: usize = 64;

fn lock_of(room: &RoomName) -> usize {
    xxhash_rust::xxh3::xxh3_64(room.as_str().as_bytes()) as usize % LOCKS
}
