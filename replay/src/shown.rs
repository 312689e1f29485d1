//! What a room showed at a moment, to be written down.
//!
//! Writing takes time that grows with the document, and belongs beside the async runtime's threads.

use std::sync::Arc;

use parking_lot::Mutex;
use protocol::Seq;
use serde_json::Value;

use crate::document::{Document, DocumentError, Position};

/// A document at a moment.
pub struct Shown(At);

enum At {
    /// The document as it was.
    Folded(Box<dyn Document>),
    /// A later one, which remembers.
    Remembered(Arc<Mutex<Box<dyn Document>>>, Seq),
}

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shown")
    }
}

impl Shown {
    pub(crate) fn folded(document: Box<dyn Document>) -> Self {
        Self(At::Folded(document))
    }

    pub(crate) fn remembered(document: Arc<Mutex<Box<dyn Document>>>, seq: Seq) -> Self {
        Self(At::Remembered(document, seq))
    }

    /// The memory that it holds for itself, in bytes; a document that remembers is shared, and
    /// counted among the frames.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        match &self.0 {
            At::Folded(document) => document.memory_bytes(),
            At::Remembered(..) => 0,
        }
    }

    /// As [`Document::json`].
    ///
    /// # Errors
    /// As that.
    pub fn json(&self) -> Result<Value, DocumentError> {
        match &self.0 {
            At::Folded(document) => document.json(),
            At::Remembered(document, seq) => match document.lock().remembers() {
                Some(document) => document.json_at(*seq),
                None => Err(forgot()),
            },
        }
    }

    /// As [`Document::text`].
    ///
    /// # Errors
    /// As that.
    pub fn text(&self) -> Result<String, DocumentError> {
        match &self.0 {
            At::Folded(document) => document.text(),
            At::Remembered(document, seq) => match document.lock().remembers() {
                Some(document) => document.text_at(*seq),
                None => Err(forgot()),
            },
        }
    }

    /// As [`Remembers::position_at`](crate::Remembers::position_at); of a document that remembers
    /// nothing there are no such positions.
    ///
    /// # Errors
    /// As that.
    pub fn position(&self, anchor: &[u8]) -> Result<Option<Position>, DocumentError> {
        match &self.0 {
            At::Folded(_) => Err(forgot()),
            At::Remembered(document, seq) => match document.lock().remembers() {
                Some(document) => document.position_at(anchor, *seq),
                None => Err(forgot()),
            },
        }
    }

    /// As [`Document::changes`], since an earlier moment of the same room.
    ///
    /// # Errors
    /// As that.
    pub fn changes_since(&self, past: &Self) -> Result<Value, DocumentError> {
        match (&self.0, &past.0) {
            (At::Folded(now), At::Folded(past)) => now.changes(&past.encode()),
            (At::Remembered(now, to), At::Remembered(_, from)) => match now.lock().remembers() {
                Some(now) => now.changes_between(*from, *to),
                None => Err(forgot()),
            },
            _ => Err(forgot()),
        }
    }
}

fn forgot() -> DocumentError {
    DocumentError::Unsupported("the document does not remember its past".to_owned())
}
