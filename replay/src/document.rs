//! The contract of a document: the state that folding a room's records gives.
//!
//! A payload is hostile until [`Document::integrate`] has taken it. Integrating *is* the check:
//! the room integrates an update before it appends it, so what the log holds has been folded once
//! already and will fold again. A document may therefore be ahead of the log by what is not yet
//! durable; the room tells nobody until it is.

use bytes::Bytes;
use protocol::{Seq, Site};
use serde_json::Value;

use crate::opaque::OpaqueDocument;
use crate::text::TextDocument;
use crate::yjs::YjsDocument;

/// The kinds of document that a space may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A Yjs document, held by yrs.
    Yjs,
    /// Bytes that the server cannot read: its state is all of its payloads.
    Opaque,
    /// A text of our own CRDT, with all of its history.
    Text,
}

impl Kind {
    /// Its number in stored snapshots.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Yjs => 1,
            Self::Opaque => 2,
            Self::Text => 3,
        }
    }

    /// The kind with this number.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Yjs),
            2 => Some(Self::Opaque),
            3 => Some(Self::Text),
            _ => None,
        }
    }

    /// Its name, as in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Yjs => "yjs",
            Self::Opaque => "opaque",
            Self::Text => "text",
        }
    }
}

/// An empty document of a kind.
#[must_use]
pub fn new(kind: Kind) -> Box<dyn Document> {
    match kind {
        Kind::Yjs => Box::new(YjsDocument::new()),
        Kind::Opaque => Box::new(OpaqueDocument::new()),
        Kind::Text => Box::new(TextDocument::new()),
    }
}

/// The document of `kind` whose [`Document::encode`] gave `encoding`.
///
/// It goes on as that one would have. What waits in an encoding for updates that have not come
/// waits again, but as one: where several updates waited and one of them turns out to make no
/// sense, all of them are dropped with it, where the document itself would have dropped the one.
///
/// # Errors
/// [`DocumentError::Malformed`] if it is no encoding of that kind.
pub fn load(kind: Kind, encoding: &Bytes) -> Result<Box<dyn Document>, DocumentError> {
    Ok(match kind {
        Kind::Yjs => Box::new(YjsDocument::load(encoding)?),
        Kind::Opaque => Box::new(OpaqueDocument::load(encoding)?),
        Kind::Text => Box::new(TextDocument::load(encoding)?),
    })
}

/// The state of a room.
pub trait Document: Send {
    /// Validates each payload and folds it in, in order; one answer for each.
    ///
    /// A payload that is refused leaves no trace, whatever it did on the way: panics inside a
    /// third-party decoder are caught and become [`DocumentError::Malformed`].
    fn integrate(&mut self, payloads: &[Bytes]) -> Vec<Result<Checked, DocumentError>>;

    /// The update that was integrated last, and added something, is the record `seq` of the log. A
    /// document that [remembers](Document::remembers) its moments notes it.
    fn recorded(&mut self, _seq: Seq) {}

    /// Whether the payload holds nothing that the document lacks, without changing it.
    ///
    /// # Errors
    /// [`DocumentError::Malformed`] if it is no valid payload.
    fn adds_nothing(&self, payload: &Bytes) -> Result<bool, DocumentError>;

    /// Where the payload would put binary content into the document that is not there yet, as a path like
    /// `strokes[3].image`: bytes, or a `data:` URL that stands for some, as a value or in one. `None` if
    /// nowhere, and if it is no valid payload.
    ///
    /// Costs a walk over the payload; only when there is such content, weaving the document.
    fn binary(&self, _payload: &Bytes) -> Option<String> {
        None
    }

    /// What the document has, for a peer to make a difference from (a Yjs state vector).
    fn version(&self) -> Bytes;

    /// Everything that a peer with `version` lacks, as one payload.
    ///
    /// # Errors
    /// [`DocumentError::Malformed`] if `version` is not a valid version.
    fn diff(&self, version: &Bytes) -> Result<Bytes, DocumentError>;

    /// Whether `version` is that of an empty document, so that every peer with it may share one
    /// [`Document::encode`].
    fn is_empty_version(&self, version: &Bytes) -> bool;

    /// The whole document, for [`load`] and for a peer that has nothing: of a Yjs document one
    /// payload, of a text a snapshot with its history.
    fn encode(&self) -> Bytes;

    /// What the document shows, as JSON: of a Yjs document [its roots](crate::yjs::tree), of one that
    /// cannot be read an array of its payloads in base64, of a text
    /// [itself with its authors](crate::text::shown).
    ///
    /// This and the three below weave the whole document: they take time and memory that grow with
    /// it, and belong beside the room's own thread.
    ///
    /// # Errors
    /// [`DocumentError::Malformed`] if it makes no sense as a whole.
    fn json(&self) -> Result<Value, DocumentError>;

    /// The plain text of the document; empty if it has none.
    ///
    /// # Errors
    /// [`DocumentError::Unsupported`] if its kind cannot be read.
    fn text(&self) -> Result<String, DocumentError>;

    /// What changed since it was what `past` encodes, as JSON: of a Yjs document
    /// [`Changes`](crate::yjs::tree::Changes), of a text [its own](crate::text::shown).
    ///
    /// # Errors
    /// [`DocumentError::Unsupported`] if its kind cannot be read, [`DocumentError::Malformed`] if
    /// `past` is no encoding.
    fn changes(&self, past: &Bytes) -> Result<Value, DocumentError>;

    /// An edit by `client`, which must be new to the document, that makes it show what is wanted;
    /// `None` if it does. It is not integrated yet, and may be over what one payload may have.
    ///
    /// # Errors
    /// [`DocumentError::Unsupported`] if its kind cannot be set to that, [`DocumentError::Malformed`]
    /// if a past encoding is none, or the client is not new.
    fn restore(&self, wanted: &Wanted, client: u64) -> Result<Option<Edit>, DocumentError>;

    /// A copy that goes its own way from here.
    fn fork(&self) -> Box<dyn Document>;

    /// Whether its encoding is all of it. It is not while updates wait for others that they build
    /// on: they are in the encoding, but no longer one by one.
    fn is_whole(&self) -> bool;

    /// A bound on the memory it holds, in bytes: counted, not guessed, from what was folded in.
    fn memory_bytes(&self) -> usize;

    /// Itself, if it remembers what it showed after every record.
    fn remembers(&self) -> Option<&dyn Remembers> {
        None
    }
}

/// A document that tells what it showed after any of the records folded into it, without folding
/// them again. A record after the last one means the last one.
pub trait Remembers {
    /// As [`Document::json`], after the record `seq`.
    ///
    /// # Errors
    /// [`DocumentError::Unsupported`] for a moment that it does not remember after all.
    fn json_at(&self, seq: Seq) -> Result<Value, DocumentError>;

    /// As [`Document::text`], after the record `seq`.
    ///
    /// # Errors
    /// As [`Remembers::json_at`].
    fn text_at(&self, seq: Seq) -> Result<String, DocumentError>;

    /// As [`Document::changes`], from after the record `from` to after the record `to`.
    ///
    /// # Errors
    /// As [`Remembers::json_at`].
    fn changes_between(&self, from: Seq, to: Seq) -> Result<Value, DocumentError>;

    /// Where the sticky position of these bytes ([formats](../../docs/formats.md#text-anchor)) was
    /// after the record `seq`. `None` if its character had not come.
    ///
    /// # Errors
    /// [`DocumentError::Malformed`] if the bytes are no sticky position; as [`Remembers::json_at`].
    fn position_at(&self, anchor: &[u8], seq: Seq) -> Result<Option<Position>, DocumentError>;
}

/// A sticky position at some moment; everything counts from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// How many UTF-16 units stand before it.
    pub index: usize,
    /// How many line feeds stand before it.
    pub line: usize,
    /// How many UTF-16 units of its line stand before it.
    pub column: usize,
}

/// What a document is to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// What this encoding of an earlier moment of it shows.
    Past(Bytes),
    /// This text.
    Text(String),
}

/// An edit that sets a document to what is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// The update.
    pub payload: Bytes,
    /// How much it does, where that is counted.
    pub size: Option<EditSize>,
}

/// How much an edit does; lengths are UTF-16 units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EditSize {
    /// In how many places.
    pub edits: usize,
    /// How much comes.
    pub inserted: usize,
    /// How much goes.
    pub deleted: usize,
}

/// A payload that the document has taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    /// Whether it changed anything. One that did not need not be logged.
    pub adds: bool,
    /// The replica that made it, where the payload names exactly one.
    pub site: Option<Site>,
    /// By how many bytes [`Document::encode`] gives more than before, at the most.
    pub growth: usize,
}

/// Why a document refused something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// The bytes are not what the document's kind expects; says where and why.
    #[error("{0}")]
    Malformed(String),
    /// It builds on what has not come; says what is missing. After that it can be sent again.
    #[error("{0}")]
    Missing(String),
    /// The document's kind cannot answer this; says why.
    #[error("{0}")]
    Unsupported(String),
}
