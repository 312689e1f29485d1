//! How much memory reading the past may take, all clients together: a part of the memory that clients may
//! make the process hold, to which it counts.
//!
//! An answer takes a share of it for the document that it is made of, and keeps what its own bytes
//! take until the client has them; playback keeps one for its document and for what waits to be
//! written. Who finds too little left is refused at once and asked to come back, because waiting
//! with a document in hand would take what is waited for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use broker::{Memory, memory};
use bytes::Bytes;
use observatory::{Limit, Owner};

use crate::limits::{PAST_BYTES, PAST_PART};

/// So many bytes, to be shared. Clones share the same ones.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    bytes: usize,
    taken: Arc<AtomicUsize>,
    memory: Memory,
}

/// A part of a [`Budget`], given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Budget,
    bytes: usize,
    counted: memory::Share,
}

/// Too little is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UsedUp;

impl Budget {
    /// The part of `memory` that the past may take: an eighth, and [`PAST_BYTES`] at the most.
    pub(crate) fn of(memory: &Memory) -> Self {
        Self {
            bytes: (memory.limit() / PAST_PART).min(PAST_BYTES),
            taken: Arc::default(),
            memory: memory.clone(),
        }
    }

    /// How many bytes there are.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// A share of so many bytes.
    pub(crate) fn take(&self, bytes: usize) -> Result<Share, UsedUp> {
        let mut share = Share {
            budget: self.clone(),
            bytes: 0,
            counted: self.memory.share(Owner::Past),
        };
        share.resize(bytes)?;
        Ok(share)
    }

    /// How many bytes all shares have together.
    #[cfg(test)]
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

impl Share {
    /// Makes it larger or smaller. What is more than there is altogether counts as all there is, so
    /// that it can be had alone.
    pub(crate) fn resize(&mut self, bytes: usize) -> Result<(), UsedUp> {
        let bytes = bytes.min(self.budget.bytes);
        let (had, all) = (self.bytes, self.budget.bytes);
        let resized = |taken: usize| Some(taken - had + bytes).filter(|taken| *taken <= all);
        let taken = &self.budget.taken;
        if bytes <= had {
            taken.fetch_sub(had - bytes, Ordering::Relaxed);
        } else {
            if self.budget.memory.is_full() {
                return Err(used_up());
            }
            taken
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, resized)
                .map_err(|_| used_up())?;
        }
        self.bytes = bytes;
        self.counted.set(bytes);
        Ok(())
    }

    /// The body of an answer, which has the share until nobody holds the bytes any more.
    pub(crate) fn with(mut self, bytes: Bytes) -> Result<Bytes, UsedUp> {
        self.resize(bytes.len())?;
        Ok(Bytes::from_owner(Held {
            bytes,
            _share: self,
        }))
    }
}

fn used_up() -> UsedUp {
    observatory::limit_hit(Limit::Memory);
    UsedUp
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Bytes, and the share that they take.
struct Held {
    bytes: Bytes,
    _share: Share,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_together_are_never_more_than_there_is() {
        let memory = Memory::new(800);
        let budget = Budget::of(&memory);
        let mut one = budget.take(60).unwrap();
        let two = budget.take(30).unwrap();
        assert_eq!(budget.take(11).unwrap_err(), UsedUp);
        assert_eq!(one.resize(71), Err(UsedUp));
        assert_eq!(budget.taken(), 90, "what was refused takes nothing");
        assert_eq!(memory.taken(), 90, "it is a part of the whole");
        one.resize(70).unwrap();
        drop(two);
        one.resize(5).unwrap();
        assert_eq!(budget.taken(), 5);
        drop(one);
        assert_eq!((budget.taken(), memory.taken()), (0, 0));
    }

    #[test]
    fn nothing_is_had_of_a_memory_that_is_full() {
        let memory = Memory::new(800);
        let budget = Budget::of(&memory);
        let documents = memory.share(Owner::Documents);
        documents.set(800);
        assert_eq!(budget.take(1).unwrap_err(), UsedUp);
        documents.set(799);
        assert!(budget.take(1).is_ok());
    }

    #[test]
    fn what_is_larger_than_all_of_it_goes_alone() {
        let budget = Budget::of(&Memory::new(800));
        let all = budget.take(1_000).unwrap();
        assert_eq!(budget.take(1).unwrap_err(), UsedUp);
        drop(all);
        assert!(budget.take(100).is_ok());
    }

    #[test]
    fn an_answer_has_its_share_until_its_last_byte_is_let_go_of() {
        let budget = Budget::of(&Memory::new(800));
        let share = budget.take(80).unwrap();
        let body = share.with(Bytes::from_static(b"0123456789")).unwrap();
        assert_eq!(budget.taken(), 10);
        let rest = body.slice(9..);
        drop(body);
        assert_eq!((&*rest, budget.taken()), (&b"9"[..], 10));
        drop(rest);
        assert_eq!(budget.taken(), 0);
    }
}
