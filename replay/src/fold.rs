//! Folding a room's records, from the first to a chosen one, to its document.
//!
//! The log is read page by page, so a long room never stands in memory twice. Each page is checked
//! (Seqs without gap, times that never go back, the chain hash) and folded away from the async
//! runtime's own threads, unless it is too small to be worth the trip. Updates go into the
//! document; room events do not, and are reported as [`RoomFacts`].
//!
//! Nothing malformed enters a log, so a record that does not fold is a broken invariant: the fold
//! stops there and names it.

use std::collections::VecDeque;

use bytes::Bytes;
use protocol::envelope::Damage;
use protocol::{Head, Kind as RecordKind, OpId, RoomName, Run, Seq};
use storage::{Log, ReadError, RoomState};

use crate::document::{self, Document, DocumentError, Kind};

/// Folds the records of `room` up to and with `up_to`, or to the head there is when the fold
/// reaches it, into a document of `kind`.
///
/// A room that never was folds to an empty document. One that was deleted and is back begins with
/// the event that brought it back; where another record stands first, those before it have been
/// trimmed, and the fold says so.
///
/// # Errors
/// [`FoldError`].
pub async fn fold(
    log: &dyn Log,
    room: &RoomName,
    kind: Kind,
    up_to: Option<Seq>,
) -> Result<Folded, FoldError> {
    let state = log.state(room).await?;
    let mut folder = Folder::new(room.clone(), kind, up_to.unwrap_or(Seq::MAX), state);
    while folder.wants_more() {
        let page = log.read(room, folder.head.seq, PAGE_BYTES).await?;
        if page.is_empty() {
            break;
        }
        let bytes: usize = page.iter().map(|run| run.bytes().len()).sum();
        if bytes <= INLINE_BYTES {
            folder.take(&page)?;
        } else {
            let taken = tokio::task::spawn_blocking(move || {
                folder.take(&page)?;
                Ok::<_, FoldError>(folder)
            });
            folder = taken.await.map_err(|_| FoldError::Stopped)??;
        }
    }
    Ok(folder.finish())
}

/// What folding a room has given.
pub struct Folded {
    /// The document.
    pub document: Box<dyn Document>,
    /// The last record folded.
    pub head: Head,
    /// The room's log as it was when the fold began.
    pub state: RoomState,
    /// The operations in what was folded, oldest first: the last [`MAX_OPS`] of them.
    pub ops: Vec<(OpId, Seq)>,
    /// Whether `ops` holds every operation of the room up to `head`.
    pub ops_complete: bool,
    /// What the room's events say.
    pub facts: RoomFacts,
    /// How many records were folded.
    pub records: u64,
    /// How many bytes of sealed records were folded.
    pub bytes: u64,
}

impl std::fmt::Debug for Folded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Folded")
            .field("head", &self.head)
            .field("facts", &self.facts)
            .field("records", &self.records)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

/// What a room's events say of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RoomFacts {
    /// The last title it was given.
    pub title: Option<String>,
    /// Whether its last word is that it is deleted: nothing has been written after.
    pub deleted: bool,
}

impl RoomFacts {
    /// Folds one record in.
    pub fn take(&mut self, kind: RecordKind, payload: &[u8]) {
        match kind {
            RecordKind::Titled => self.title = Some(String::from_utf8_lossy(payload).into_owned()),
            RecordKind::Deleted => {
                *self = Self {
                    title: None,
                    deleted: true,
                }
            }
            RecordKind::Update
            | RecordKind::Created
            | RecordKind::Restored
            | RecordKind::Forked => self.deleted = false,
        }
    }
}

/// Why a room could not be folded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    /// The log did not give the records.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A record is damaged, or does not follow the one before it.
    #[error("{room} is damaged at seq {seq}: {damage}")]
    Damaged {
        /// The room.
        room: RoomName,
        /// Where the fault is.
        seq: Seq,
        /// What is wrong.
        damage: Damage,
    },
    /// A record that is in the log does not fold: an invariant is broken.
    #[error("{room} holds at seq {seq} an update that does not fold: {error}")]
    Refused {
        /// The room.
        room: RoomName,
        /// The record.
        seq: Seq,
        /// Why the document refuses it.
        error: DocumentError,
    },
    /// The runtime was shut down, or the fold panicked.
    #[error("the fold was stopped before it was done")]
    Stopped,
}

/// The most bytes of sealed records that are read at once.
pub const PAGE_BYTES: usize = 1 << 20;
/// Pages up to this size are folded where they are: moving them costs more.
const INLINE_BYTES: usize = 16 << 10;
/// How many operations are remembered.
pub const MAX_OPS: usize = 1 << 16;

const _: () = assert!(INLINE_BYTES < PAGE_BYTES);

/// Whether a record may be the first of a room.
const fn begins(kind: RecordKind) -> bool {
    match kind {
        RecordKind::Created | RecordKind::Restored | RecordKind::Forked => true,
        RecordKind::Update | RecordKind::Titled | RecordKind::Deleted => false,
    }
}

struct Folder {
    room: RoomName,
    up_to: Seq,
    state: RoomState,
    document: Box<dyn Document>,
    head: Head,
    ops: VecDeque<(OpId, Seq)>,
    ops_complete: bool,
    facts: RoomFacts,
    records: u64,
    bytes: u64,
}

impl Folder {
    fn new(room: RoomName, kind: Kind, up_to: Seq, state: RoomState) -> Self {
        Self {
            room,
            up_to,
            state,
            document: document::new(kind),
            // A deleted room begins again after its head; a trimmed one is found out below.
            head: state.start,
            ops: VecDeque::new(),
            ops_complete: true,
            facts: RoomFacts {
                title: None,
                deleted: state.deleted,
            },
            records: 0,
            bytes: 0,
        }
    }

    fn wants_more(&self) -> bool {
        self.head.seq < self.up_to
    }

    /// Checks a page and folds it in.
    fn take(&mut self, page: &[Run]) -> Result<(), FoldError> {
        let mut seqs = Vec::new();
        let mut payloads: Vec<Bytes> = Vec::new();
        for run in page {
            if !self.wants_more() {
                break;
            }
            if run.before() != self.head {
                return Err(self.damaged(Damage::Content));
            }
            for record in run.records() {
                if !self.wants_more() {
                    break;
                }
                let record = record.map_err(|damage| self.damaged(damage))?;
                let (seq, at) = (record.seq, record.at);
                let first = self.head.seq == self.state.start.seq;
                if first && self.head != Head::EMPTY && !begins(record.draft.kind) {
                    let start = self.head.seq;
                    return Err(ReadError::Trimmed { start }.into());
                }
                let chain = self.head.chain.extend(seq, at, &record.draft);
                if at < self.head.at || chain != record.chain {
                    return Err(self.damaged(Damage::Content));
                }
                self.head = record.head();
                self.records += 1;
                self.bytes += record.sealed_len() as u64;
                if let Some(op_id) = record.draft.op_id {
                    self.ops.push_back((op_id, seq));
                    if self.ops.len() > MAX_OPS {
                        self.ops.pop_front();
                        self.ops_complete = false;
                    }
                }
                self.facts.take(record.draft.kind, &record.draft.payload);
                if record.draft.kind == RecordKind::Update {
                    seqs.push(seq);
                    payloads.push(record.draft.payload);
                }
            }
        }
        let answers = self.document.integrate(&payloads);
        for (seq, answer) in seqs.into_iter().zip(answers) {
            answer.map_err(|error| FoldError::Refused {
                room: self.room.clone(),
                seq,
                error,
            })?;
        }
        Ok(())
    }

    fn damaged(&self, damage: Damage) -> FoldError {
        FoldError::Damaged {
            room: self.room.clone(),
            seq: self.head.seq.next(),
            damage,
        }
    }

    fn finish(self) -> Folded {
        Folded {
            document: self.document,
            head: self.head,
            state: self.state,
            ops: self.ops.into(),
            ops_complete: self.ops_complete,
            facts: self.facts,
            records: self.records,
            bytes: self.bytes,
        }
    }
}
