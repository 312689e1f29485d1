//! Folding a room's records, from where a document stands to a chosen one, into it.
//!
//! The records come page by page, so a long room never stands in memory twice. Each page is checked
//! (Seqs without gap, times that never go back, the chain hash) and folded away from the async
//! runtime's own threads, unless it is too small to be worth the trip. Updates go into the
//! document; room events do not, and are reported as [`RoomFacts`]. Where the pages come from is
//! [`history`](crate::history)'s business.
//!
//! Nothing malformed enters a log, so a record that does not fold is a broken invariant: the fold
//! stops there and names it.

use bytes::Bytes;
use protocol::envelope::Damage;
use protocol::{Head, Kind as RecordKind, RoomName, Run, Seq};
use storage::ReadError;
use storage::archive::ArchiveError;

use crate::clients::Clients;
use crate::document::{self, Document, DocumentError, Kind};
use crate::limits::INLINE_BYTES;

/// Where a fold begins: a document as it was after some record.
pub struct Base {
    /// The document; its own from here on.
    pub document: Box<dyn Document>,
    /// The last record folded into it.
    pub head: Head,
    /// What the room's events have said so far.
    pub facts: RoomFacts,
    /// The clients that have written so far.
    pub clients: Clients,
}

impl Base {
    /// An empty document of `kind`, after `head`.
    #[must_use]
    pub fn empty(kind: Kind, head: Head) -> Self {
        Self {
            document: document::new(kind),
            head,
            facts: RoomFacts::default(),
            clients: Clients::none(true),
        }
    }
}

impl std::fmt::Debug for Base {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Base")
            .field("head", &self.head)
            .field("facts", &self.facts)
            .finish_non_exhaustive()
    }
}

/// What folding a room has given.
pub struct Folded {
    /// The document.
    pub document: Box<dyn Document>,
    /// The last record folded.
    pub head: Head,
    /// The clients that have written.
    pub clients: Clients,
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
    /// The archive, where the records are, did not give them.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
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

/// A fold on its way.
pub(crate) struct Folder {
    room: RoomName,
    up_to: Seq,
    base: Base,
    records: u64,
    bytes: u64,
}

impl Folder {
    /// Begins after `base`.
    pub(crate) fn new(room: RoomName, base: Base, up_to: Seq) -> Self {
        Self {
            room,
            up_to,
            base,
            records: 0,
            bytes: 0,
        }
    }

    pub(crate) fn wants_more(&self) -> bool {
        self.base.head.seq < self.up_to
    }

    /// The document as it is by now.
    pub(crate) const fn base(&self) -> &Base {
        &self.base
    }

    /// How many bytes have been folded.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Folds a page in, away from the async runtime's own threads unless it is small.
    pub(crate) async fn fold(mut self, page: Vec<Run>) -> Result<Self, FoldError> {
        let bytes: usize = page.iter().map(|run| run.bytes().len()).sum();
        if bytes <= INLINE_BYTES {
            self.take(&page)?;
            return Ok(self);
        }
        let taken = tokio::task::spawn_blocking(move || {
            self.take(&page)?;
            Ok(self)
        });
        taken.await.map_err(|_| FoldError::Stopped)?
    }

    /// Checks a page and folds it in.
    fn take(&mut self, page: &[Run]) -> Result<(), FoldError> {
        for run in page {
            if !self.wants_more() {
                break;
            }
            if run.before() != self.base.head {
                return Err(self.damaged(Damage::Content));
            }
            for record in run.records() {
                if !self.wants_more() {
                    break;
                }
                let record = record.map_err(|damage| self.damaged(damage))?;
                let head = self.base.head;
                let chain = head.chain.extend(record.seq, record.at, &record.draft);
                if record.at < head.at || chain != record.chain {
                    return Err(self.damaged(Damage::Content));
                }
                self.base.head = record.head();
                self.records += 1;
                self.bytes += record.sealed_len() as u64;
                if let Some(id) = record.draft.op_id {
                    let clients = &mut self.base.clients;
                    clients.take(id, record.seq, record.draft.base);
                }
                let facts = &mut self.base.facts;
                facts.take(record.draft.kind, &record.draft.payload);
                if record.draft.kind == RecordKind::Update {
                    self.integrate(record.seq, &record.draft.payload)?;
                }
            }
        }
        Ok(())
    }

    fn integrate(&mut self, seq: Seq, payload: &Bytes) -> Result<(), FoldError> {
        let document = &mut self.base.document;
        for answer in document.integrate(std::slice::from_ref(payload)) {
            answer.map_err(|error| FoldError::Refused {
                room: self.room.clone(),
                seq,
                error,
            })?;
        }
        document.recorded(seq);
        Ok(())
    }

    fn damaged(&self, damage: Damage) -> FoldError {
        FoldError::Damaged {
            room: self.room.clone(),
            seq: self.base.head.seq.next(),
            damage,
        }
    }

    pub(crate) fn finish(self) -> Folded {
        Folded {
            document: self.base.document,
            head: self.base.head,
            clients: self.base.clients,
            facts: self.base.facts,
            records: self.records,
            bytes: self.bytes,
        }
    }
}
