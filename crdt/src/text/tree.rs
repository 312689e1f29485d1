//! The sequence: leaves of spans under inner nodes with counts, all in arrays, tied by indexes.
//!
//! `places` finds the leaf of any character; it is rewritten only where a leaf splits.
//! Counts above a leaf are pushed up only when another leaf is **opened**: `pend` is what they
//! lack. Where the open leaf starts in the visible text (`start`) and where its span in hand starts
//! (`hand_at`) are kept while they are known, so that typing searches nothing.
//!
//! Invariants ([`Tree::check`] tests them): leaves hang in document order, all at one depth; no
//! leaf but that of an empty text is empty; every count above equals the sum below plus `pend` on
//! the open leaf's path.

use super::content::{Content, Extra};
use super::depth::Depth;
use super::leaf::{BACK, DEAD, FANOUT, HEAD, LENGTH, Leaf, NONE, Span};
use super::limits::MAX_SPAN_CHARS;
use super::places::Places;

/// A place between two characters: after `offset` characters of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    pub leaf: u32,
    pub index: u32,
    pub offset: u32,
}

/// Up to 32 children and what is known of each.
#[derive(Clone, Debug)]
pub(super) struct Inner {
    pub child: [u32; FANOUT],
    pub live: [u32; FANOUT],
    pub born: [u32; FANOUT],
    pub died: [u32; FANOUT],
    pub depth: [Depth; FANOUT],
    pub count: u32,
    pub parent: u32,
}

/// What is known of one child.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sum {
    pub live: u32,
    pub born: u32,
    pub died: u32,
    pub depth: Depth,
    pub extra: Extra,
}

/// Bytes, UTF-16 units and lines of live characters; there only once a text needs them.
#[derive(Clone, Debug, Default)]
pub(super) struct Extras {
    pub leaf: Vec<Extra>,
    pub inner: Vec<[Extra; FANOUT]>,
    pub pend: Extra,
    pub total: Extra,
}

/// The sequence.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    pub leaves: Vec<Leaf>,
    pub inners: Vec<Inner>,
    pub places: Places,
    pub root: u32,
    /// How many levels of inner nodes there are.
    pub height: u32,
    pub live: u32,
    /// The leaf whose counts are not pushed up, or `NONE`.
    pub open: u32,
    pub pend: u32,
    pub pend_died: u32,
    /// How many live characters stand before the open leaf, or `NONE`: not known.
    pub start: u32,
    /// A span of the open leaf, or `NONE`, and the live characters before it, or `NONE`: not known.
    pub hand: u32,
    pub hand_at: u32,
    pub extras: Option<Box<Extras>>,
}

impl Inner {
    pub(super) fn new() -> Self {
        Self {
            child: [NONE; FANOUT],
            live: [0; FANOUT],
            born: [NONE; FANOUT],
            died: [0; FANOUT],
            depth: [Depth::default(); FANOUT],
            count: 0,
            parent: NONE,
        }
    }

    #[inline]
    pub(super) fn slot(&self, child: u32) -> usize {
        let found = self.child.iter().position(|other| *other == child);
        debug_assert!(found.is_some(), "a child that its parent does not know");
        found.unwrap_or(0)
    }
}

impl Tree {
    pub(super) fn new() -> Self {
        let mut leaf = Leaf::new();
        leaf.parent = 0;
        let mut root = Inner::new();
        root.child[0] = 0;
        root.count = 1;
        Self {
            leaves: vec![leaf],
            inners: vec![root],
            places: Places::default(),
            root: 0,
            height: 1,
            live: 0,
            open: NONE,
            pend: 0,
            pend_died: 0,
            start: NONE,
            hand: NONE,
            hand_at: 0,
            extras: None,
        }
    }

    /// Where the character `n` stands: `offset` characters stand before it in its span.
    #[inline]
    pub(super) fn locate(&self, n: u32) -> Spot {
        // Most often it is in the span that was last touched.
        if self.open != NONE && self.hand != NONE {
            let node = &self.leaves[self.open as usize];
            let index = self.hand as usize;
            let offset = n.wrapping_sub(node.first[index]);
            if offset < node.len[index] & LENGTH {
                return Spot {
                    leaf: self.open,
                    index: self.hand,
                    offset,
                };
            }
        }
        let leaf = self.places.of(n);
        let node = &self.leaves[leaf as usize];
        let index = node.find(n);
        debug_assert!(index.is_some(), "{n} is not in its leaf");
        let index = index.unwrap_or(0);
        Spot {
            leaf,
            index: index as u32,
            offset: n.wrapping_sub(node.first[index]),
        }
    }

    /// The place after the character `n`.
    #[inline]
    pub(super) fn after(&self, n: u32) -> Spot {
        let mut spot = self.locate(n);
        spot.offset += 1;
        spot
    }

    /// The place before everything.
    pub(super) fn begin(&self) -> Spot {
        let mut node = self.root;
        for _ in 1..self.height {
            node = self.inners[node as usize].child[0];
        }
        Spot {
            leaf: self.inners[node as usize].child[0],
            index: 0,
            offset: 0,
        }
    }

    /// The character after a place, dead or alive, or `NONE`.
    #[inline]
    pub(super) fn item(&self, spot: Spot) -> u32 {
        let leaf = &self.leaves[spot.leaf as usize];
        let index = spot.index as usize;
        if spot.index < leaf.count && spot.offset < leaf.len[index] & LENGTH {
            return leaf.first[index] + spot.offset;
        }
        if spot.index + 1 < leaf.count {
            return leaf.first[index + 1];
        }
        if leaf.next == NONE {
            return NONE;
        }
        self.leaves[leaf.next as usize].first[0]
    }

    /// The place in the span that the next character is in: `offset` is less than its length. None
    /// at the end.
    pub(super) fn settle(&self, spot: Spot) -> Option<Spot> {
        let leaf = &self.leaves[spot.leaf as usize];
        if spot.index < leaf.count && spot.offset < leaf.len[spot.index as usize] & LENGTH {
            return Some(spot);
        }
        if spot.index + 1 < leaf.count {
            return Some(Spot {
                leaf: spot.leaf,
                index: spot.index + 1,
                offset: 0,
            });
        }
        (leaf.next != NONE).then_some(Spot {
            leaf: leaf.next,
            index: 0,
            offset: 0,
        })
    }

    /// The live character number `at`; there must be one. Opens its leaf and takes its span in hand.
    #[inline]
    pub(super) fn seek(&mut self, at: u32) -> Spot {
        debug_assert!(at < self.live);
        if self.open != NONE {
            let leaf = &self.leaves[self.open as usize];
            if self.hand != NONE && self.hand_at != NONE {
                let live = leaf.live_of(self.hand as usize);
                let offset = at.wrapping_sub(self.hand_at);
                if offset < live {
                    return Spot {
                        leaf: self.open,
                        index: self.hand,
                        offset,
                    };
                }
            }
            if self.start != NONE && at.wrapping_sub(self.start) < leaf.live {
                return self.take(at);
            }
        }
        self.descend(at);
        self.take(at)
    }

    /// Takes in hand the span of the open leaf that has the live character number `at`.
    #[inline]
    fn take(&mut self, at: u32) -> Spot {
        let (index, before) = self.leaves[self.open as usize].seek(at - self.start);
        self.hand = index as u32;
        self.hand_at = self.start + before;
        Spot {
            leaf: self.open,
            index: self.hand,
            offset: at - self.hand_at,
        }
    }

    /// Opens the leaf that has the live character number `at`.
    fn descend(&mut self, at: u32) {
        self.flush();
        let mut node = self.root;
        let mut before = 0;
        for _ in 0..self.height {
            let inner = &self.inners[node as usize];
            let mut slot = 0;
            while slot + 1 < inner.count as usize && at >= before + inner.live[slot] {
                before += inner.live[slot];
                slot += 1;
            }
            node = inner.child[slot];
        }
        self.open = node;
        self.start = before;
        self.hand = NONE;
    }

    /// Opens a leaf whose place in the visible text is not known.
    #[inline]
    pub(super) fn enter(&mut self, leaf: u32) {
        if self.open != leaf {
            self.flush();
            self.open = leaf;
            self.start = NONE;
            self.hand = NONE;
        }
    }

    /// Pushes up what the counts above the open leaf lack.
    #[inline]
    pub(super) fn flush(&mut self) {
        if self.pend != 0 || self.pend_died != 0 {
            self.push_up();
        }
    }

    fn push_up(&mut self) {
        let (pend, died) = (self.pend, self.pend_died);
        let mut child = self.open;
        let mut parent = self.leaves[child as usize].parent;
        while parent != NONE {
            let inner = &mut self.inners[parent as usize];
            let slot = inner.slot(child);
            inner.live[slot] = inner.live[slot].wrapping_add(pend);
            inner.died[slot] = inner.died[slot].max(died);
            if let Some(extras) = &mut self.extras {
                extras.inner[parent as usize][slot].add(extras.pend);
            }
            child = parent;
            parent = inner.parent;
        }
        self.pend = 0;
        self.pend_died = 0;
        if let Some(extras) = &mut self.extras {
            extras.pend = Extra::default();
        }
    }

    /// Puts the new characters `n..n + len` at a place; `head` says that they begin a run of origins,
    /// `at` how many live characters stand before, or `NONE`.
    #[inline]
    pub(super) fn insert(
        &mut self,
        spot: Spot,
        n: u32,
        len: u32,
        head: bool,
        at: u32,
        content: &Content,
    ) {
        self.enter(spot.leaf);
        let leaf = &mut self.leaves[spot.leaf as usize];
        let index = spot.index as usize;
        let flagged = leaf.len[index];
        // Typing goes on at the end of a live span.
        if !head
            && flagged & DEAD == 0
            && leaf.first[index].wrapping_add(spot.offset) == n
            && flagged & LENGTH == spot.offset
            && spot.offset + len <= MAX_SPAN_CHARS
            && spot.offset != 0
        {
            leaf.len[index] += len;
            leaf.live += len;
            self.grow(spot.leaf, len, n, content);
            if at != NONE {
                self.hand_at = at - spot.offset;
            } else if self.hand != spot.index {
                self.hand_at = NONE;
            }
            self.hand = spot.index;
            return;
        }
        let mut spot = spot;
        let (mut n, mut at, mut head) = (n, at, head);
        let mut left = len;
        while left > 0 {
            let piece = left.min(MAX_SPAN_CHARS);
            spot = self.insert_span(spot, n, piece, head, at, content);
            head = false;
            n += piece;
            left -= piece;
            if at != NONE {
                at += piece;
            }
        }
    }

    /// Counts `len` new live characters in the open leaf.
    #[inline]
    fn grow(&mut self, leaf: u32, len: u32, n: u32, content: &Content) {
        self.live += len;
        self.pend = self.pend.wrapping_add(len);
        self.places.push(len, leaf);
        if let Some(extras) = &mut self.extras {
            let extra = content.extra(n, len);
            extras.leaf[leaf as usize].add(extra);
            extras.pend.add(extra);
            extras.total.add(extra);
        }
    }

    fn insert_span(
        &mut self,
        spot: Spot,
        n: u32,
        len: u32,
        head: bool,
        at: u32,
        content: &Content,
    ) -> Spot {
        let (mut leaf_index, mut index) = (spot.leaf, spot.index as usize);
        self.enter(leaf_index);
        let chars = self.leaves[leaf_index as usize].len[index.min(FANOUT - 1)] & LENGTH;
        let inside = spot.offset > 0 && spot.offset < chars;
        let need = if inside { 2 } else { 1 };
        if self.leaves[leaf_index as usize].count as usize + need > FANOUT {
            let last = index + 1 >= self.leaves[leaf_index as usize].count as usize;
            (leaf_index, index) = self.make_room(leaf_index, index, last, content);
        }
        let leaf = &mut self.leaves[leaf_index as usize];
        let place = if inside {
            leaf.open(index + 1, 2);
            let whole = leaf.span(index);
            leaf.put(index + 2, whole.tail(spot.offset));
            let cut = (whole.len & !LENGTH) | spot.offset;
            leaf.put(index, Span { len: cut, ..whole });
            index + 1
        } else {
            let place = if spot.offset == 0 { index } else { index + 1 };
            leaf.open(place, 1);
            place
        };
        let flags = if head { HEAD } else { 0 };
        let span = Span {
            first: n,
            len: len | flags,
            stamp: 0,
        };
        leaf.put(place, span);
        leaf.live += len;
        leaf.born = leaf.born.min(n);
        self.grow(leaf_index, len, n, content);
        self.hand = place as u32;
        self.hand_at = at;
        if n == 0 {
            // The first character of all: the counts above do not know yet when it was born.
            self.refresh(leaf_index);
        }
        Spot {
            leaf: leaf_index,
            index: place as u32,
            offset: len,
        }
    }

    /// Splits a full leaf and says where `index` is now; that leaf is open then.
    fn make_room(
        &mut self,
        leaf: u32,
        index: usize,
        last: bool,
        content: &Content,
    ) -> (u32, usize) {
        // Texts grow at their end: there, leave the left one nearly full.
        let keep = if last { FANOUT - 4 } else { FANOUT / 2 };
        let start = self.start;
        let right = self.split_leaf(leaf, keep, content);
        let (target, place) = if index < keep {
            (leaf, index)
        } else {
            (right, index - keep)
        };
        self.open = target;
        self.start = start;
        if start != NONE && target == right {
            self.start = start + self.leaves[leaf as usize].live;
        }
        (target, place)
    }

    /// Marks `len` characters of a live span as dead. The first to die has the tick `tick`; with
    /// `back`, that is the last of them.
    #[inline]
    pub(super) fn kill(&mut self, spot: Spot, len: u32, tick: u32, back: bool, content: &Content) {
        self.enter(spot.leaf);
        let (mut leaf_index, mut index) = (spot.leaf, spot.index as usize);
        let whole = self.leaves[leaf_index as usize].span(index);
        let (before, after) = (spot.offset, whole.chars() - spot.offset - len);
        let need = usize::from(before > 0) + usize::from(after > 0);
        if self.leaves[leaf_index as usize].count as usize + need > FANOUT {
            (leaf_index, index) = self.make_room(leaf_index, index, false, content);
        }
        let dead = Span {
            first: whole.first + before,
            len: len
                | DEAD
                | if back { BACK } else { 0 }
                | if before == 0 { whole.len & HEAD } else { 0 },
            stamp: if back { tick + (len - 1) } else { tick },
        };
        self.shrink(leaf_index, len, tick + (len - 1), dead.first, content);
        let leaf = &mut self.leaves[leaf_index as usize];
        let mut hand = NONE;
        let mut place = index;
        // What stays alive before it.
        if before > 0 {
            leaf.len[index] = (whole.len & !LENGTH) | before;
            hand = index as u32;
            if self.hand != hand {
                self.hand_at = NONE;
            }
            place += 1;
        }
        let previous = (before == 0 && index > 0)
            .then(|| leaf.span(index - 1).join(dead, MAX_SPAN_CHARS))
            .flatten();
        let next = (after == 0 && index + 1 < leaf.count as usize)
            .then(|| dead.join(leaf.span(index + 1), MAX_SPAN_CHARS))
            .flatten();
        if let Some(joined) = previous {
            leaf.put(index - 1, joined);
            if after > 0 {
                leaf.put(index, whole.tail(len));
            } else {
                leaf.close(index);
                if index < leaf.count as usize
                    && let Some(joined) = joined.join(leaf.span(index), MAX_SPAN_CHARS)
                {
                    leaf.put(index - 1, joined);
                    leaf.close(index);
                }
            }
        } else if let Some(joined) = next {
            leaf.put(index + 1, joined);
            if before == 0 {
                leaf.close(index);
            }
        } else {
            if before > 0 || after > 0 {
                leaf.open(index + 1, need);
            }
            leaf.put(place, dead);
            if after > 0 {
                leaf.put(place + 1, whole.tail(before + len));
            }
        }
        self.hand = hand;
    }

    /// Counts `len` characters less in the open leaf, the last of which died at `died`.
    #[inline]
    fn shrink(&mut self, leaf: u32, len: u32, died: u32, first: u32, content: &Content) {
        self.live -= len;
        self.pend = self.pend.wrapping_sub(len);
        self.pend_died = self.pend_died.max(died);
        let node = &mut self.leaves[leaf as usize];
        node.live -= len;
        node.died = node.died.max(died);
        if let Some(extras) = &mut self.extras {
            let extra = content.extra(first, len);
            extras.leaf[leaf as usize].sub(extra);
            extras.pend.sub(extra);
            extras.total.sub(extra);
        }
    }

    /// Starts to count bytes, units and lines.
    pub(super) fn count_extras(&mut self, content: &Content) {
        if self.extras.is_some() {
            return;
        }
        self.flush();
        let mut extras = Box::<Extras>::default();
        extras.leaf = (0..self.leaves.len())
            .map(|leaf| self.leaf_extra(leaf as u32, content))
            .collect();
        extras.inner = vec![[Extra::default(); FANOUT]; self.inners.len()];
        for (leaf, extra) in extras.leaf.iter().enumerate() {
            extras.total.add(*extra);
            let mut child = leaf as u32;
            let mut parent = self.leaves[leaf].parent;
            while parent != NONE {
                let slot = self.inners[parent as usize].slot(child);
                extras.inner[parent as usize][slot].add(*extra);
                child = parent;
                parent = self.inners[parent as usize].parent;
            }
        }
        self.extras = Some(extras);
    }
}
