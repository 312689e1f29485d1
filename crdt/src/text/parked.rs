//! Updates that came before what they build on. Bounded in bytes and in number; each waits for one
//! tick and is looked at again when that is here.

use std::collections::BTreeMap;

use super::id::{Client, Id, Seq};
use super::limits::{MAX_PARKED_BYTES, MAX_PARKED_UPDATES};

/// One update, and the Seq it came with.
type Waiting = (Box<[u8]>, Option<Seq>);

/// The updates that wait.
#[derive(Clone, Debug, Default)]
pub(super) struct Parked {
    waiting: BTreeMap<Id, Vec<Waiting>>,
    bytes: usize,
    updates: usize,
    /// How many were found malformed when their turn came.
    pub refused: u64,
}

impl Parked {
    pub(super) fn is_empty(&self) -> bool {
        self.updates == 0
    }

    pub(super) fn len(&self) -> usize {
        self.updates
    }

    /// Keeps an update until `id` is here; says no if too much waits.
    pub(super) fn park(&mut self, id: Id, update: &[u8], seq: Option<Seq>) -> bool {
        let list = self.waiting.entry(id).or_default();
        if list.iter().any(|(other, _)| **other == *update) {
            return true;
        }
        if self.updates >= MAX_PARKED_UPDATES || update.len() > MAX_PARKED_BYTES - self.bytes {
            if list.is_empty() {
                self.waiting.remove(&id);
            }
            return false;
        }
        list.push((update.into(), seq));
        self.bytes += update.len();
        self.updates += 1;
        true
    }

    /// Takes out one update whose tick is here.
    pub(super) fn take_ready(&mut self, is_here: impl Fn(Client, u32) -> bool) -> Option<Waiting> {
        let id = *self
            .waiting
            .keys()
            .find(|id| is_here(id.client, id.clock))?;
        let list = self.waiting.get_mut(&id)?;
        let taken = list.pop();
        if list.is_empty() {
            self.waiting.remove(&id);
        }
        if let Some((update, _)) = &taken {
            self.bytes -= update.len();
            self.updates -= 1;
        }
        taken
    }

    /// The last tick that something waits for, of each client.
    pub(super) fn wanted(&self) -> BTreeMap<Client, u32> {
        let mut wanted = BTreeMap::new();
        for id in self.waiting.keys() {
            wanted.insert(id.client, id.clock);
        }
        wanted
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.bytes + self.updates * 64
    }
}
