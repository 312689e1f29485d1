//! One document at two moments: which items of the later one were shown at the earlier one.
//!
//! Items never move and their order in a list never changes, so the later list, with what is deleted
//! in it, holds every item of the earlier one at its place. Items are cut elsewhere, though: a part
//! of one is what is one item at both moments.

use std::ops::Range;

use super::{Item, NONE, Tree};

/// A document, earlier and later.
#[derive(Debug)]
pub(super) struct Pair<'a> {
    pub(super) past: &'a Tree,
    pub(super) now: &'a Tree,
    /// For each client of the later one, its index in the earlier one, or [`NONE`].
    clients: Vec<u32>,
}

/// A part of an item of the later document.
#[derive(Debug)]
pub(super) struct Part<'a> {
    /// Its clocks.
    pub(super) clocks: Range<u32>,
    /// The item of the earlier document that it is a part of, if it was shown.
    pub(super) was: Option<&'a Item>,
}

impl<'a> Pair<'a> {
    pub(super) fn new(past: &'a Tree, now: &'a Tree) -> Self {
        let find = |id: u64| {
            let found = past.clients.binary_search_by_key(&id, |client| client.id);
            found.map_or(NONE, |index| index as u32)
        };
        let clients = now.clients.iter().map(|client| find(client.id)).collect();
        Self { past, now, clients }
    }

    /// The parts of an item of the later document, in order.
    pub(super) fn parts(&self, item: &Item) -> impl Iterator<Item = Part<'a>> + use<'a> {
        let past = self.past;
        let client = self.clients[item.client as usize];
        let known = past
            .clients
            .get(client as usize)
            .map_or(0, |client| client.known);
        let (mut clock, end) = (item.clock, item.clock + item.len);
        let mut number = if clock < known {
            past.item_at(client, clock)
        } else {
            NONE
        };
        std::iter::from_fn(move || {
            if clock == end {
                return None;
            }
            let mut part = Part {
                clocks: clock..end,
                was: None,
            };
            if clock < known
                && let Some(there) = past.items.get(number as usize)
            {
                part.clocks.end = end.min(there.clock + there.len);
                part.was = there.is_alive().then_some(there);
                number += 1;
            }
            clock = part.clocks.end;
            Some(part)
        })
    }

    /// The item of the earlier document that holds the last clock of an item of the later one, if
    /// it was shown.
    pub(super) fn was(&self, item: &Item) -> Option<&'a Item> {
        let client = self.clients[item.client as usize];
        let last = item.clock + item.len - 1;
        let known = self.past.clients.get(client as usize)?.known;
        if last >= known {
            return None;
        }
        let there = &self.past.items[self.past.item_at(client, last) as usize];
        there.is_alive().then_some(there)
    }

    /// The roots of the later document, by name, each with that of the earlier one or [`NONE`].
    pub(super) fn roots(&self) -> impl Iterator<Item = (&'a str, u32, u32)> {
        let past = self.past;
        let roots = self.now.roots.iter();
        roots.map(|(name, now)| {
            let was = past.roots.get(name).copied().unwrap_or(NONE);
            (&**name, *now, was)
        })
    }

    /// Calls `each(key, list of now, list of past)` for the keys of a type at either moment, in
    /// order; where a type or list is not there, its number is [`NONE`].
    pub(super) fn keys(&self, now: u32, past: u32) -> Vec<(&'a str, u32, u32)> {
        let lists = |tree: &'a Tree, number: u32| match tree.types.get(number as usize) {
            Some(there) => &there.entries[..],
            None => &[],
        };
        let (mut left, mut right) = (lists(self.now, now), lists(self.past, past));
        let mut keys = Vec::with_capacity(left.len().max(right.len()));
        loop {
            let now = left.first().map(|list| (self.now.key(*list), *list));
            let past = right.first().map(|list| (self.past.key(*list), *list));
            let key = match (now, past) {
                (None, None) => return keys,
                (Some((now, _)), Some((past, _))) => now.min(past),
                (Some((key, _)), None) | (None, Some((key, _))) => key,
            };
            let mut lists = [NONE; 2];
            if let Some((now, list)) = now
                && now == key
            {
                lists[0] = list;
                left = &left[1..];
            }
            if let Some((past, list)) = past
                && past == key
            {
                lists[1] = list;
                right = &right[1..];
            }
            keys.push((key, lists[0], lists[1]));
        }
    }
}
