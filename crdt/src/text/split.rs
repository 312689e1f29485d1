//! How the sequence grows: leaves and inner nodes that are full split in two, as far up as it takes.

use super::content::{Content, Extra};
use super::depth::Depth;
use super::leaf::{FANOUT, Leaf, NONE};
use super::tree::{Inner, Sum, Tree};

impl Tree {
    /// Moves all but the first `keep` spans of a leaf to a new one after it. No leaf is open then.
    pub(super) fn split_leaf(&mut self, left: u32, keep: usize, content: &Content) -> u32 {
        self.flush();
        self.open = NONE;
        self.start = NONE;
        self.hand = NONE;
        let right = self.leaves.len() as u32;
        let mut new = Leaf::new();
        let old = &mut self.leaves[left as usize];
        let moved = old.count as usize - keep;
        for place in 0..moved {
            let span = old.span(keep + place);
            new.put(place, span);
            old.len[keep + place] = 0;
            self.places.put(span.first, span.chars(), right);
        }
        old.count = keep as u32;
        new.count = moved as u32;
        new.died = old.died;
        new.depth = old.depth;
        new.prev = left;
        new.next = old.next;
        old.next = right;
        old.recount();
        new.recount();
        if new.next != NONE {
            self.leaves[new.next as usize].prev = right;
        }
        self.leaves.push(new);
        if self.extras.is_some() {
            let moved = self.leaf_extra(right, content);
            if let Some(extras) = &mut self.extras {
                extras.leaf[left as usize].sub(moved);
                extras.leaf.push(moved);
            }
        }
        self.add_child(left, right);
        right
    }

    /// Hangs a new node beside its left neighbour, splitting parents as far up as it takes.
    fn add_child(&mut self, left: u32, right: u32) {
        let (mut left, mut right) = (left, right);
        for level in 0.. {
            let parent = self.parent(left, level);
            if parent == NONE {
                let root = self.inners.len() as u32;
                self.push_inner(Inner::new());
                let (a, b) = (self.sum(left, level), self.sum(right, level));
                self.put_child(root, 0, left, a);
                self.put_child(root, 1, right, b);
                self.inners[root as usize].count = 2;
                self.set_parent(left, level, root);
                self.set_parent(right, level, root);
                self.root = root;
                self.height += 1;
                return;
            }
            let slot = self.inners[parent as usize].slot(left);
            if (self.inners[parent as usize].count as usize) < FANOUT {
                self.hang(parent, slot, left, right, level);
                return;
            }
            let last = slot + 1 == FANOUT;
            let keep = if last { FANOUT - 4 } else { FANOUT / 2 };
            let new = self.split_inner(parent, keep, level);
            if slot < keep {
                self.hang(parent, slot, left, right, level);
            } else {
                self.hang(new, slot - keep, left, right, level);
            }
            (left, right) = (parent, new);
        }
    }

    /// Puts `right` after `left`, which is at `slot` of a parent that has room.
    fn hang(&mut self, parent: u32, slot: usize, left: u32, right: u32, level: u32) {
        let count = self.inners[parent as usize].count as usize;
        let inner = &mut self.inners[parent as usize];
        inner.child.copy_within(slot + 1..count, slot + 2);
        inner.live.copy_within(slot + 1..count, slot + 2);
        inner.born.copy_within(slot + 1..count, slot + 2);
        inner.died.copy_within(slot + 1..count, slot + 2);
        inner.depth.copy_within(slot + 1..count, slot + 2);
        inner.count += 1;
        if let Some(extras) = &mut self.extras {
            extras.inner[parent as usize].copy_within(slot + 1..count, slot + 2);
        }
        let (a, b) = (self.sum(left, level), self.sum(right, level));
        self.put_child(parent, slot, left, a);
        self.put_child(parent, slot + 1, right, b);
        self.set_parent(right, level, parent);
    }

    fn split_inner(&mut self, left: u32, keep: usize, level: u32) -> u32 {
        let right = self.inners.len() as u32;
        self.push_inner(Inner::new());
        let parent = self.inners[left as usize].parent;
        self.inners[right as usize].parent = parent;
        let count = self.inners[left as usize].count as usize;
        for slot in keep..count {
            let child = self.inners[left as usize].child[slot];
            let sum = self.slot_sum(left, slot);
            self.put_child(right, slot - keep, child, sum);
            self.set_parent(child, level, right);
            let none = Sum {
                live: 0,
                born: NONE,
                died: 0,
                depth: Depth::default(),
                extra: Extra::default(),
            };
            self.put_child(left, slot, NONE, none);
        }
        self.inners[left as usize].count = keep as u32;
        self.inners[right as usize].count = (count - keep) as u32;
        right
    }

    pub(super) fn push_inner(&mut self, inner: Inner) {
        self.inners.push(inner);
        if let Some(extras) = &mut self.extras {
            extras.inner.push([Extra::default(); FANOUT]);
        }
    }

    pub(super) fn put_child(&mut self, parent: u32, slot: usize, child: u32, sum: Sum) {
        let inner = &mut self.inners[parent as usize];
        inner.child[slot] = child;
        inner.live[slot] = sum.live;
        inner.born[slot] = sum.born;
        inner.died[slot] = sum.died;
        inner.depth[slot] = sum.depth;
        if let Some(extras) = &mut self.extras {
            extras.inner[parent as usize][slot] = sum.extra;
        }
    }

    pub(super) fn slot_sum(&self, inner: u32, slot: usize) -> Sum {
        let node = &self.inners[inner as usize];
        Sum {
            live: node.live[slot],
            born: node.born[slot],
            died: node.died[slot],
            depth: node.depth[slot],
            extra: self.extras.as_ref().map_or(Extra::default(), |extras| {
                extras.inner[inner as usize][slot]
            }),
        }
    }

    /// What is known of a whole node; `level` 0 are leaves.
    pub(super) fn sum(&self, node: u32, level: u32) -> Sum {
        if level == 0 {
            let leaf = &self.leaves[node as usize];
            return Sum {
                live: leaf.live,
                born: leaf.born,
                died: leaf.died,
                depth: leaf.depth,
                extra: self
                    .extras
                    .as_ref()
                    .map_or(Extra::default(), |extras| extras.leaf[node as usize]),
            };
        }
        let mut sum = Sum {
            live: 0,
            born: NONE,
            died: 0,
            depth: self.slot_sum(node, 0).depth,
            extra: Extra::default(),
        };
        for slot in 0..self.inners[node as usize].count as usize {
            let one = self.slot_sum(node, slot);
            sum.live += one.live;
            sum.born = sum.born.min(one.born);
            sum.died = sum.died.max(one.died);
            sum.depth = sum.depth.least(one.depth);
            sum.extra.add(one.extra);
        }
        sum
    }

    /// Writes a leaf's birth into the counts above it.
    pub(super) fn refresh(&mut self, leaf: u32) {
        let mut child = leaf;
        let born = self.leaves[leaf as usize].born;
        let mut parent = self.leaves[leaf as usize].parent;
        while parent != NONE {
            let inner = &mut self.inners[parent as usize];
            let slot = inner.slot(child);
            inner.born[slot] = inner.born[slot].min(born);
            child = parent;
            parent = inner.parent;
        }
    }

    pub(super) fn parent(&self, node: u32, level: u32) -> u32 {
        if level == 0 {
            self.leaves[node as usize].parent
        } else {
            self.inners[node as usize].parent
        }
    }

    pub(super) fn set_parent(&mut self, node: u32, level: u32, parent: u32) {
        if level == 0 {
            self.leaves[node as usize].parent = parent;
        } else {
            self.inners[node as usize].parent = parent;
        }
    }

    /// Counts what a leaf's live characters have beyond one each.
    pub(super) fn leaf_extra(&self, leaf: u32, content: &Content) -> Extra {
        let leaf = &self.leaves[leaf as usize];
        let mut sum = Extra::default();
        for index in 0..leaf.count as usize {
            let live = leaf.live_of(index);
            if live > 0 {
                sum.add(content.extra(leaf.first[index], live));
            }
        }
        sum
    }
}
