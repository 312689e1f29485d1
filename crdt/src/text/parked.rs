//! Updates that came before what they build on. Bounded in bytes and in number; each waits for one
//! tick and is looked at again when that is here.

use super::id::{Client, Id, Seq};
use super::limits::{MAX_PARKED_BYTES, MAX_PARKED_UPDATES};

/// One update, what it waits for, and the Seq it came with.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    id: Id,
    pub update: Box<[u8]>,
    pub seq: Option<Seq>,
}

/// The updates that wait, by what they wait for.
#[derive(Clone, Debug, Default)]
pub(super) struct Parked {
    waiting: Vec<Waiting>,
    bytes: usize,
    /// How many were found malformed when their turn came.
    pub refused: u64,
}

impl Parked {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Keeps an update until `id` is here; says no if too much waits.
    pub(super) fn park(&mut self, id: Id, update: &[u8], seq: Option<Seq>) -> bool {
        let place = self.waiting.partition_point(|other| other.id <= id);
        let same = self.waiting[..place].iter().rev();
        if same
            .take_while(|other| other.id == id)
            .any(|other| *other.update == *update)
        {
            return true;
        }
        if self.len() >= MAX_PARKED_UPDATES || update.len() > MAX_PARKED_BYTES - self.bytes {
            return false;
        }
        self.bytes += update.len();
        let waiting = Waiting {
            id,
            update: update.into(),
            seq,
        };
        self.waiting.insert(place, waiting);
        true
    }

    /// Takes out one update whose tick is here.
    pub(super) fn take_ready(&mut self, is_here: impl Fn(Client, u32) -> bool) -> Option<Waiting> {
        let ready = |waiting: &Waiting| is_here(waiting.id.client, waiting.id.clock);
        let place = self.waiting.iter().position(ready)?;
        let taken = self.waiting.remove(place);
        self.bytes -= taken.update.len();
        Some(taken)
    }

    /// The last tick that something waits for, of each client.
    pub(super) fn wanted(&self) -> impl Iterator<Item = Id> + '_ {
        self.waiting
            .chunk_by(|a, b| a.id.client == b.id.client)
            .filter_map(|of_one| of_one.last())
            .map(|last| last.id)
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.bytes + self.waiting.capacity() * size_of::<Waiting>()
    }
}
