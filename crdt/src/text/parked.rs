//! Updates that came before what they build on. Bounded in bytes and in number; each waits for some
//! ticks and is looked at again when one of them is here.

use std::sync::Arc;

use super::id::{Client, Id, Seq};
use super::limits::{MAX_AWAITED_TICKS, MAX_PARKED_BYTES, MAX_PARKED_UPDATES};

/// One update, a tick that it waits for, and the Seq it came with.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    id: Id,
    pub update: Arc<[u8]>,
    pub seq: Option<Seq>,
}

/// The updates that wait, once for each tick that they wait for, in the order of these.
#[derive(Clone, Debug, Default)]
pub(super) struct Parked {
    waiting: Vec<Waiting>,
    updates: usize,
    bytes: usize,
    /// How many were found malformed when their turn came.
    pub refused: u64,
}

impl Parked {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many updates wait.
    pub(super) fn len(&self) -> usize {
        self.updates
    }

    /// Keeps an update until one of `ids` is here; says no if too much waits, or it for too many.
    pub(super) fn park(&mut self, ids: &[Id], update: &[u8], seq: Option<Seq>) -> bool {
        if self.waiting.iter().any(|other| *other.update == *update) {
            return true;
        }
        if ids.len() > MAX_AWAITED_TICKS.min(MAX_PARKED_UPDATES - self.waiting.len())
            || update.len() > MAX_PARKED_BYTES - self.bytes
        {
            return false;
        }
        self.updates += 1;
        self.bytes += update.len();
        let update: Arc<[u8]> = update.into();
        for &id in ids {
            let place = self.waiting.partition_point(|other| other.id <= id);
            let update = Arc::clone(&update);
            self.waiting.insert(place, Waiting { id, update, seq });
        }
        true
    }

    /// Takes out one update of which a tick is here.
    pub(super) fn take_ready(&mut self, is_here: impl Fn(Client, u32) -> bool) -> Option<Waiting> {
        let ready = |waiting: &&Waiting| is_here(waiting.id.client, waiting.id.clock);
        let taken = self.waiting.iter().find(ready)?.clone();
        self.waiting
            .retain(|other| !Arc::ptr_eq(&other.update, &taken.update));
        self.updates -= 1;
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
