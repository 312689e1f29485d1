//! The contract of a document: the state that folding a room's records gives.
//!
//! A payload is hostile until [`Document::integrate`] has taken it. Integrating *is* the check:
//! the room integrates an update before it appends it, so what the log holds has been folded once
//! already and will fold again. A document may therefore be ahead of the log by what is not yet
//! durable; the room tells nobody until it is.

use bytes::Bytes;
use protocol::Site;
use serde_json::Value;

use crate::opaque::OpaqueDocument;
use crate::yjs::YjsDocument;

/// The kinds of document that a space may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A Yjs document, held by yrs.
    Yjs,
    /// Bytes that the server cannot read: its state is all of its payloads.
    Opaque,
}

impl Kind {
    /// Its number in stored snapshots.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Yjs => 1,
            Self::Opaque => 2,
        }
    }

    /// The kind with this number.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Yjs),
            2 => Some(Self::Opaque),
            _ => None,
        }
    }

    /// Its name, as in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Yjs => "yjs",
            Self::Opaque => "opaque",
        }
    }
}

/// An empty document of a kind.
#[must_use]
pub fn new(kind: Kind) -> Box<dyn Document> {
    match kind {
        Kind::Yjs => Box::new(YjsDocument::new()),
        Kind::Opaque => Box::new(OpaqueDocument::new()),
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
    })
}

/// The state of a room.
pub trait Document: Send {
    /// Validates each payload and folds it in, in order; one answer for each.
    ///
    /// A payload that is refused leaves no trace, whatever it did on the way: panics inside a
    /// third-party decoder are caught and become [`DocumentError::Malformed`].
    fn integrate(&mut self, payloads: &[Bytes]) -> Vec<Result<Checked, DocumentError>>;

    /// Whether the payload holds nothing that the document lacks, without changing it.
    ///
    /// # Errors
    /// [`DocumentError::Malformed`] if it is no valid payload.
    fn adds_nothing(&self, payload: &Bytes) -> Result<bool, DocumentError>;

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

    /// The whole document as one payload.
    fn encode(&self) -> Bytes;

    /// What the document shows, as JSON: of a Yjs document [its roots](crate::yjs::tree), of one that
    /// cannot be read an array of its payloads in base64.
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
    /// [`Changes`](crate::yjs::tree::Changes).
    ///
    /// # Errors
    /// [`DocumentError::Unsupported`] if its kind cannot be read, [`DocumentError::Malformed`] if
    /// `past` is no encoding.
    fn changes(&self, past: &Bytes) -> Result<Value, DocumentError>;

    /// A payload by `client`, which must be new to the document, that makes it show what `past`
    /// encodes, an earlier moment of it; `None` if it does. It is not integrated yet, and may be
    /// over what one payload may have.
    ///
    /// # Errors
    /// [`DocumentError::Unsupported`] if its kind cannot be read, [`DocumentError::Malformed`] if
    /// `past` is no encoding.
    fn restore(&self, past: &Bytes, client: u64) -> Result<Option<Bytes>, DocumentError>;

    /// A copy that goes its own way from here.
    fn fork(&self) -> Box<dyn Document>;

    /// Whether its encoding is all of it. It is not while updates wait for others that they build
    /// on: they are in the encoding, but no longer one by one.
    fn is_whole(&self) -> bool;

    /// A bound on the memory it holds, in bytes: counted, not guessed, from what was folded in.
    fn memory_bytes(&self) -> usize;
}

/// A payload that the document has taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    /// Whether it changed anything. One that did not need not be logged.
    pub adds: bool,
    /// The replica that made it, where the payload names exactly one.
    pub site: Option<Site>,
}

/// Why a document refused something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// The bytes are not what the document's kind expects; says where and why.
    #[error("{0}")]
    Malformed(String),
    /// The document's kind cannot answer this; says why.
    #[error("{0}")]
    Unsupported(String),
}
