//! A sorted table of numbers: the one map for whatever a text looks up by key.
//!
//! Each kind of `BTreeMap` is 3 KB of what a browser has to fetch, so there is one kind of table,
//! with keys wide enough for all. Entries stand in pieces of at most [`FULL`], and the first key of
//! each piece beside them: a search looks at one piece, an insertion moves at most one.

/// The most entries of a piece.
const FULL: usize = 64;

/// Numbers by number, ascending.
#[derive(Clone, Debug, Default)]
pub(super) struct Map {
    firsts: Vec<u128>,
    pieces: Vec<Vec<(u128, u32)>>,
    len: usize,
    /// The piece of the last addition: the next is often near.
    near: usize,
}

impl Map {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, key: u128) -> Option<u32> {
        self.last_until(key)
            .filter(|(found, _)| *found == key)
            .map(|(_, value)| value)
    }

    /// The last entry whose key is not greater.
    pub(super) fn last_until(&self, key: u128) -> Option<(u128, u32)> {
        let piece = self.firsts.partition_point(|first| *first <= key);
        let piece = &self.pieces[piece.checked_sub(1)?];
        let place = piece.partition_point(|(other, _)| *other <= key);
        piece.get(place.checked_sub(1)?).copied()
    }

    /// Adds an entry, unless there is one with this key; gives the value that is there then.
    pub(super) fn add(&mut self, key: u128, value: u32) -> u32 {
        *self.entry(key, value)
    }

    /// Adds an entry, or replaces the one with this key.
    pub(super) fn set(&mut self, key: u128, value: u32) {
        *self.entry(key, value) = value;
    }

    fn entry(&mut self, key: u128, value: u32) -> &mut u32 {
        let mut at = self.near;
        let starts = |at: usize| self.firsts.get(at).is_some_and(|first| *first <= key);
        if !starts(at) || starts(at + 1) {
            at = self.firsts.partition_point(|first| *first <= key);
            at = at.saturating_sub(1);
        }
        if self.pieces.is_empty() {
            self.firsts.push(key);
            self.pieces.push(Vec::new());
        }
        let piece = &self.pieces[at];
        let mut place = piece.len();
        if piece.last().is_some_and(|(last, _)| *last >= key) {
            place = piece.partition_point(|(other, _)| *other < key);
        }
        if piece.get(place).is_none_or(|(other, _)| *other != key) {
            if piece.len() == FULL {
                // What ascends leaves full pieces behind.
                let keep = if place == FULL { FULL } else { FULL / 2 };
                let tail = self.pieces[at].split_off(keep);
                let first = tail.first().map_or(key, |(first, _)| *first);
                self.firsts.insert(at + 1, first);
                self.pieces.insert(at + 1, tail);
                if place >= keep {
                    at += 1;
                    place -= keep;
                }
            }
            self.pieces[at].insert(place, (key, value));
            self.firsts[at] = self.pieces[at][0].0;
            self.len += 1;
        }
        self.near = at;
        &mut self.pieces[at][place].1
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u128, u32)> + '_ {
        self.pieces.iter().flatten().copied()
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let pieces = self.pieces.iter().map(Vec::capacity).sum::<usize>();
        pieces * size_of::<(u128, u32)>() + self.pieces.capacity() * 40
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn it_is_a_sorted_map() {
        let mut seed = 1u32;
        let mut random = |end: u32| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((u64::from(seed) * u64::from(end)) >> 32) as u32
        };
        for range in [10, 1_000, 1_000_000] {
            let (mut map, mut model) = (Map::default(), BTreeMap::new());
            for round in 0..5_000 {
                let key = match round % 4 {
                    0 => u128::from(round) << 70,
                    _ => u128::from(random(range)) << 60,
                };
                if random(2) == 0 {
                    map.set(key, round);
                    model.insert(key, round);
                } else {
                    assert_eq!(map.add(key, round), *model.entry(key).or_insert(round));
                }
                let other = u128::from(random(range)) << 60;
                assert_eq!(map.get(other), model.get(&other).copied());
                let until = model.range(..=other).next_back();
                assert_eq!(map.last_until(other), until.map(|(k, v)| (*k, *v)));
            }
            assert_eq!(map.len(), model.len());
            assert!(map.iter().eq(model.into_iter()));
            assert!(
                map.pieces
                    .iter()
                    .all(|piece| !piece.is_empty() && piece.len() <= FULL)
            );
        }
    }
}
