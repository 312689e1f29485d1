//! The least recently used go first, by bytes.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// Values by key, bounded in bytes.
#[derive(Debug)]
pub(super) struct Cache<K, V> {
    limit: usize,
    bytes: usize,
    tick: u64,
    values: HashMap<K, (V, usize, u64)>,
    by_use: BTreeMap<u64, K>,
}

impl<K: Clone + Eq + Hash, V: Clone> Cache<K, V> {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            bytes: 0,
            tick: 0,
            values: HashMap::new(),
            by_use: BTreeMap::new(),
        }
    }

    pub(super) fn get(&mut self, key: &K) -> Option<V> {
        let (value, _, used) = self.values.get_mut(key)?;
        self.tick += 1;
        self.by_use.remove(used);
        *used = self.tick;
        self.by_use.insert(self.tick, key.clone());
        Some(value.clone())
    }

    /// Keeps a value of so many bytes, unless it alone would take up the half of the memory.
    pub(super) fn put(&mut self, key: K, value: V, bytes: usize) {
        if bytes > self.limit / 2 {
            return;
        }
        self.remove(&key);
        self.tick += 1;
        self.bytes += bytes;
        self.by_use.insert(self.tick, key.clone());
        self.values.insert(key, (value, bytes, self.tick));
        while self.bytes > self.limit
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            if let Some((_, bytes, _)) = self.values.remove(&oldest) {
                self.bytes -= bytes;
            }
        }
    }

    fn remove(&mut self, key: &K) {
        if let Some((_, bytes, used)) = self.values.remove(key) {
            self.bytes -= bytes;
            self.by_use.remove(&used);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_go_first_and_the_bound_holds() {
        let mut cache = Cache::new(100);
        for key in 0..10 {
            cache.put(key, key, 20);
            assert!(cache.bytes <= 100);
            cache.get(&0);
        }
        assert_eq!(cache.get(&0), Some(0), "it was used all along");
        assert_eq!(cache.get(&5), None);
        assert_eq!(cache.get(&9), Some(9));
        cache.put(77, 77, 51);
        assert_eq!(cache.get(&77), None, "too large to be worth the others");
        cache.put(9, 9, 1);
        assert_eq!(
            cache.bytes,
            cache.values.values().map(|v| v.1).sum::<usize>()
        );
        assert_eq!(cache.values.len(), cache.by_use.len());
    }
}
