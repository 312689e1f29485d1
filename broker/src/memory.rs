//! The memory that the documents of loaded rooms take together, and may take.
//!
//! Each room counts its document in a [`Share`]. Where there is too much, rooms that rest make way; once
//! none is left, no other room is loaded and nothing is taken that adds to a document.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use observatory::Limit;

use crate::room::inbox::RoomError;

/// What those are told who would need more.
pub(crate) const FULL: &str = "the memory for documents is full; try again later";

/// Turns away who needs a room for which there is no memory.
pub(crate) fn full() -> RoomError {
    observatory::limit_hit(Limit::Memory);
    RoomError::Full(FULL.to_owned())
}

/// What all documents take.
#[derive(Debug)]
pub(crate) struct Memory {
    limit: usize,
    taken: AtomicUsize,
}

/// What one document takes of it, until it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    memory: Arc<Memory>,
    bytes: AtomicUsize,
}

impl Memory {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        let taken = AtomicUsize::new(0);
        Arc::new(Self { limit, taken })
    }

    /// Whether there is no more.
    pub(crate) fn is_full(&self) -> bool {
        self.taken.load(Ordering::Relaxed) >= self.limit
    }

    /// The share of a document that takes nothing yet.
    pub(crate) fn share(self: &Arc<Self>) -> Share {
        Share {
            memory: Arc::clone(self),
            bytes: AtomicUsize::new(0),
        }
    }
}

impl Share {
    /// The document takes so many bytes now; gives how many it took before.
    pub(crate) fn set(&self, bytes: usize) -> usize {
        let before = self.bytes.swap(bytes, Ordering::Relaxed);
        // Wraps around where it shrinks, and back.
        let more = bytes.wrapping_sub(before);
        self.memory.taken.fetch_add(more, Ordering::Relaxed);
        before
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}
