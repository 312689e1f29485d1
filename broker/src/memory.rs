//! What clients make the process hold, all together, and how much that may be.
//!
//! Whoever holds something that a client can make grow counts it: a [`Share`] for what grows and shrinks
//! in its place, [`Memory::hold`] for bytes that are handed on and counted once, however many have them.
//! There are two bounds:
//!
//! ```text
//!  0 ────────────────────────── 3/4 ───────────── limit
//!    everything is taken            │ rooms that rest make way; then nothing is taken that stays:
//!                                   │ no update that adds, no other room
//!                                   │                 │ nothing is begun: no document is encoded for who
//!                                   │                 │ joins, no message that is not there yet waited for
//! ```
//!
//! The last quarter is for what is on its way, so that rooms are read and left while documents are full.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use observatory::{Limit, Owner};

use crate::room::inbox::RoomError;

/// What those are told who would need more.
pub const FULL: &str = "the memory for documents is full; try again later";
/// The part of the limit that nothing takes which stays.
const RESERVE: usize = 4;

/// Turns away who needs something for which there is no memory.
pub(crate) fn full() -> RoomError {
    observatory::limit_hit(Limit::Memory);
    RoomError::Full(FULL.to_owned())
}

/// So many bytes, and how many of them are taken. Clones are the same.
#[derive(Debug, Clone)]
pub struct Memory(Arc<Counted>);

#[derive(Debug)]
struct Counted {
    limit: usize,
    taken: AtomicUsize,
}

/// What one owner takes of a [`Memory`], until it is dropped.
#[derive(Debug)]
pub struct Share {
    memory: Memory,
    owner: Owner,
    bytes: AtomicUsize,
}

impl Memory {
    /// A memory of so many bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        let taken = AtomicUsize::new(0);
        Self(Arc::new(Counted { limit, taken }))
    }

    /// How many bytes there are.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.0.limit
    }

    /// How many bytes are taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.0.taken.load(Ordering::Relaxed)
    }

    /// Whether nothing more may be begun.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.taken() >= self.0.limit
    }

    /// Whether nothing more may be taken that stays.
    pub(crate) fn is_crowded(&self) -> bool {
        self.taken() >= self.0.limit - self.0.limit / RESERVE
    }

    /// The share of an owner that takes nothing yet.
    #[must_use]
    pub fn share(&self, owner: Owner) -> Share {
        Share {
            memory: self.clone(),
            owner,
            bytes: AtomicUsize::new(0),
        }
    }

    /// The same bytes, counted until nobody has any of them any more.
    #[must_use]
    pub fn hold(&self, owner: Owner, bytes: Bytes) -> Bytes {
        let share = self.share(owner);
        share.set(bytes.len() + HELD_BYTES);
        Bytes::from_owner(Held {
            bytes,
            _share: share,
        })
    }

    fn changed(&self, owner: Owner, before: usize, after: usize) {
        if after != before {
            // Wraps around where it shrinks, and back.
            let more = after.wrapping_sub(before);
            self.0.taken.fetch_add(more, Ordering::Relaxed);
            observatory::memory_changed(owner, after as i64 - before as i64);
        }
    }
}

impl Share {
    /// It takes so many bytes now.
    pub fn set(&self, bytes: usize) {
        let before = self.bytes.swap(bytes, Ordering::Relaxed);
        self.memory.changed(self.owner, before, bytes);
    }

    /// It takes so many bytes more. Gives what it takes now.
    pub fn add(&self, bytes: usize) -> usize {
        let before = self.bytes.fetch_add(bytes, Ordering::AcqRel);
        self.memory.changed(self.owner, before, before + bytes);
        before + bytes
    }

    /// It takes so many bytes less, which it took. Gives what it takes now.
    pub fn sub(&self, bytes: usize) -> usize {
        let before = self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        self.memory.changed(self.owner, before, before - bytes);
        before - bytes
    }

    /// Whether nothing more may be begun in the memory that it is of.
    #[must_use]
    pub fn is_of_full(&self) -> bool {
        self.memory.is_full()
    }

    /// How many bytes it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Acquire)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// Bytes, and the share that they take.
struct Held {
    bytes: Bytes,
    _share: Share,
}

/// What holding bytes takes beside them, about.
const HELD_BYTES: usize = 128;

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_counted_until_they_are_dropped() {
        let memory = Memory::new(1_000);
        let (one, two) = (memory.share(Owner::Documents), memory.share(Owner::Inboxes));
        one.set(700);
        assert_eq!(two.add(100), 100);
        assert!(memory.is_crowded() && !memory.is_full());
        assert_eq!(two.add(200), 300);
        assert!(memory.is_full());
        assert_eq!(two.sub(250), 50);
        one.set(10);
        assert_eq!(memory.taken(), 60);
        assert!(!memory.is_crowded());
        drop((one, two));
        assert_eq!(memory.taken(), 0);
    }

    #[test]
    fn bytes_are_counted_once_and_until_nobody_has_them() {
        let memory = Memory::new(1_000);
        let bytes = memory.hold(Owner::States, Bytes::from_static(b"0123456789"));
        let taken = memory.taken();
        assert!(taken >= 10);
        let part = bytes.slice(3..5);
        let clone = bytes.clone();
        assert_eq!(memory.taken(), taken);
        drop((bytes, clone));
        assert_eq!((&part[..], memory.taken()), (&b"34"[..], taken));
        drop(part);
        assert_eq!(memory.taken(), 0);
    }
}
