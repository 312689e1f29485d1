//! Where a new character goes among those that were inserted at the same place meanwhile.
//!
//! The rule ([docs/text.md](../../../docs/text.md) has the proof sketch): scan from the left origin
//! to the right parent over what was not there for the author. What has an earlier left origin ends
//! the scan; what has a later one belongs to something already passed. Of what has the same left
//! origin, an earlier right parent may or may not be passed, a later one is passed, and siblings
//! (the same right parent) stand by client and then by tick, the smaller on the left.
//!
//! Two cures keep crowds at one place from making that quadratic. **Siblings**: once a scan has
//! passed many spans, the sorted list of all siblings is kept, and later scans start after the
//! greatest smaller one. **Neighbours**: if the right origin is the right parent and what stands
//! before it is not in its left subtree, the new character is its first left child and stands
//! directly before it.

use super::Text;
use super::leaf::{HEAD, NONE};
use super::limits::{MAX_CLIMB_STEPS, MAX_SCANNED_SPANS};
use super::map::Map;
use super::tree::Spot;

/// The sorted lists of large families of siblings.
#[derive(Clone, Debug, Default)]
pub(super) struct Siblings {
    /// By left origin and right parent: the family's number.
    listed: Map,
    /// By family, client and tick: the character.
    sorted: Map,
}

impl Siblings {
    fn family(&self, left: u32, parent: u32) -> Option<u32> {
        self.listed.get(u128::from(left) << 32 | u128::from(parent))
    }

    fn list(&mut self, left: u32, parent: u32) -> u32 {
        let number = self.listed.len() as u32;
        self.listed
            .add(u128::from(left) << 32 | u128::from(parent), number)
    }
}

fn sibling(family: u32, client: u64, clock: u32) -> u128 {
    u128::from(family) << 96 | u128::from(client) << 32 | u128::from(clock)
}

impl Text {
    /// The place for what client `client` inserted with its tick `clock` and these origins, `n` being
    /// the number it will get.
    pub(super) fn place(&mut self, left: u32, right: u32, client: u64, clock: u32, n: u32) -> Spot {
        let first = if left == NONE {
            self.tree.begin()
        } else {
            self.tree.after(left)
        };
        if self.tree.item(first) == right {
            return first;
        }
        let parent = self.origins.right_parent(left, right);
        let mut family = self.siblings.family(left, parent);
        if family.is_none() && parent != NONE && self.stands_before(parent) {
            return self.tree.locate(parent);
        }
        let mut start = first;
        if let Some(family) = family {
            let own = sibling(family, client, clock);
            if let Some((key, smaller)) = self.siblings.sorted.last_until(own)
                && key >= sibling(family, 0, 0)
            {
                start = self.tree.after(smaller);
            }
        }
        let (spot, passed) = self.scan(start, left, parent, client, clock);
        if family.is_none() && passed > MAX_SCANNED_SPANS {
            family = Some(self.list_siblings(first, left, parent));
        }
        if let Some(family) = family {
            self.siblings.sorted.set(sibling(family, client, clock), n);
        }
        spot
    }

    /// The plain scan; also says how many spans it passed.
    fn scan(&self, start: Spot, left: u32, parent: u32, client: u64, clock: u32) -> (Spot, usize) {
        let mut goal = start;
        let mut undecided = false;
        let mut passed = 0;
        let mut next = self.tree.settle(start);
        let mut last = start;
        while let Some(spot) = next {
            let other = self.tree.item(spot);
            if other == parent {
                break;
            }
            let (other_left, other_right) = self.origins_at(spot, other);
            if other_left == left {
                let other_parent = self.origins.right_parent(left, other_right);
                if other_parent == parent {
                    if (client, clock) < self.name(other) {
                        break;
                    }
                    undecided = false;
                } else {
                    undecided = self.is_before(other_parent, parent);
                }
            } else if self.is_left_before(other_left, left) {
                break;
            }
            // Pass the rest of the span, but not the right parent in it.
            let span = self.tree.leaves[spot.leaf as usize].span(spot.index as usize);
            let mut end = span.chars();
            let inside = parent.wrapping_sub(span.first);
            let stop = inside > spot.offset && inside < end;
            if stop {
                end = inside;
            }
            last = Spot {
                offset: end,
                ..spot
            };
            if !undecided {
                goal = last;
            }
            if stop {
                break;
            }
            passed += 1;
            next = self.tree.settle(last);
        }
        if !undecided {
            goal = last;
        }
        (goal, passed)
    }

    /// The origins of the character `n` at a place.
    fn origins_at(&self, spot: Spot, n: u32) -> (u32, u32) {
        let leaf = &self.tree.leaves[spot.leaf as usize];
        let origin = self.origins.run(n);
        if spot.offset > 0 || leaf.len[spot.index as usize] & HEAD == 0 {
            (n - 1, origin.right)
        } else {
            (origin.left, origin.right)
        }
    }

    /// Client and tick of a character.
    pub(super) fn name(&self, n: u32) -> (u64, u32) {
        let (author, clock) = self.log.id_of(n);
        (self.log.authors[author as usize].client.get(), clock)
    }

    /// Whether the right parent `a` stands before the right parent `b`; none is the end.
    fn is_before(&self, a: u32, b: u32) -> bool {
        if a == b || a == NONE {
            return false;
        }
        b == NONE || self.precedes(a, b)
    }

    /// Whether the left origin `a` stands before the left origin `b`; none is the start.
    fn is_left_before(&self, a: u32, b: u32) -> bool {
        if a == b || b == NONE {
            return false;
        }
        a == NONE || self.precedes(a, b)
    }

    /// Whether the character `a` stands before the character `b`.
    pub(super) fn precedes(&self, a: u32, b: u32) -> bool {
        let (x, y) = (self.tree.locate(a), self.tree.locate(b));
        if x.leaf == y.leaf {
            return (x.index, x.offset) < (y.index, y.offset);
        }
        self.tree.leaf_precedes(x.leaf, y.leaf)
    }

    /// Whether what has the left origin of `parent` and it as right parent is its first left child:
    /// what stands before `parent` is not in its left subtree.
    fn stands_before(&self, parent: u32) -> bool {
        let Some(mut n) = self.tree.before(parent) else {
            return true;
        };
        for _ in 0..MAX_CLIMB_STEPS {
            let origin = self.origins.run(n);
            if origin.n != n {
                // Typed on: a right child of what stands before it, for the right origin was there
                // before the run, so its left origin is none of the run.
                n = origin.n;
                continue;
            }
            let own = self.origins.right_parent(origin.left, origin.right);
            if own != NONE {
                return own != parent;
            }
            if origin.left == NONE {
                return true;
            }
            n = origin.left;
        }
        false
    }

    /// Keeps the sorted list of all siblings of a family from now on; gives the family's number.
    fn list_siblings(&mut self, first: Spot, left: u32, parent: u32) -> u32 {
        let family = self.siblings.list(left, parent);
        let mut next = self.tree.settle(first);
        while let Some(spot) = next {
            let other = self.tree.item(spot);
            if other == parent {
                break;
            }
            let (other_left, other_right) = self.origins_at(spot, other);
            if other_left == left {
                if self.origins.right_parent(left, other_right) == parent {
                    let (client, clock) = self.name(other);
                    self.siblings
                        .sorted
                        .set(sibling(family, client, clock), other);
                }
            } else if self.is_left_before(other_left, left) {
                break;
            }
            let span = self.tree.leaves[spot.leaf as usize].span(spot.index as usize);
            let inside = parent.wrapping_sub(span.first);
            if inside > spot.offset && inside < span.chars() {
                break;
            }
            next = self.tree.settle(Spot {
                offset: span.chars(),
                ..spot
            });
        }
        family
    }

    pub(super) fn siblings_heap_bytes(&self) -> usize {
        self.siblings.sorted.heap_bytes() + self.siblings.listed.heap_bytes()
    }
}
