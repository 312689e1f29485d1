//! Where a new character goes among those that were inserted at the same place meanwhile.
//!
//! The rule ([docs/text.md](../../../docs/text.md) has the proof sketch): scan from the left origin
//! to the right parent over what was not there for the author. What has an earlier left origin ends
//! the scan; what has a later one belongs to something already passed. Of what has the same left
//! origin, an earlier right parent may or may not be passed, a later one is passed, and siblings
//! (the same right parent) stand by client and then by tick, the smaller on the left.
//!
//! Crowds would make that quadratic: whoever comes passes all the others. Once long scans have passed
//! more than the text has runs, a scan gives up after [`MAX_SCANNED_SPANS`], and the place is
//! searched in the tree that the order is the walk of (`depth`). Its siblings are gone through from
//! the right; of a large family the sorted list is kept.

use super::Text;
use super::depth::Depth;
use super::leaf::{HEAD, NONE};
use super::limits::MAX_SCANNED_SPANS;
use super::map::Map;
use super::tree::Spot;

/// What is known of crowds.
#[derive(Clone, Debug, Default)]
pub(super) struct Crowds {
    /// How many spans long scans have passed.
    scanned: usize,
    /// Families whose sorted list is kept, by left origin and right parent: their number.
    listed: Map,
    /// Their members, by family and then from the greatest name to the smallest.
    sorted: Map,
}

/// Those who have the same left origin and the same right parent.
#[derive(Clone, Copy, Debug)]
struct Family {
    left: u32,
    parent: u32,
}

impl Family {
    fn key(self) -> u128 {
        u128::from(self.left) << 32 | u128::from(self.parent)
    }
}

fn member(family: u32, (client, clock): (u64, u32)) -> u128 {
    u128::from(family) << 96 | u128::from(!client) << 32 | u128::from(!clock)
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
        let family = Family { left, parent };
        let name = (client, clock);
        let listed = self.crowds.listed.get(family.key());
        let is_crowded = self.crowds.scanned > self.origins.runs.len();
        let limit = match is_crowded {
            // One look to the left of the right parent is quicker than any scan.
            true if parent != NONE => 0,
            true => MAX_SCANNED_SPANS,
            false => usize::MAX,
        };
        let limit = if listed.is_some() { 0 } else { limit };
        let spot = match self.scan(first, family, name, limit) {
            Some((spot, passed)) => {
                if passed > MAX_SCANNED_SPANS {
                    self.crowds.scanned += passed;
                }
                spot
            }
            None => self.search_place(first, family, name),
        };
        if let Some(number) = self.crowds.listed.get(family.key()) {
            self.crowds.sorted.set(member(number, name), n);
        }
        spot
    }

    /// The plain scan; also says how many spans it passed. None if these are more than the limit.
    fn scan(
        &self,
        first: Spot,
        Family { left, parent }: Family,
        name: (u64, u32),
        limit: usize,
    ) -> Option<(Spot, usize)> {
        let mut goal = first;
        let mut undecided = false;
        let mut passed = 0;
        let mut next = self.tree.settle(first);
        let mut last = first;
        while let Some(spot) = next {
            let other = self.tree.item(spot);
            if other == parent {
                break;
            }
            if passed >= limit {
                return None;
            }
            let (other_left, other_right) = self.origins_at(spot, other);
            if other_left == left {
                let other_parent = self.origins.right_parent(left, other_right);
                if other_parent == parent {
                    if name < self.name(other) {
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
        Some((goal, passed))
    }

    /// The place by the tree: after the next smaller sibling and all that hangs on its right side,
    /// before all that hangs on the left side of the next greater one.
    fn search_place(&mut self, first: Spot, family: Family, name: (u64, u32)) -> Spot {
        self.fathom();
        let listed = self.crowds.listed.get(family.key());
        let greater = listed.and_then(|number| self.next_greater(number, name));
        let mut end = match greater {
            Some(greater) => self.tree.locate(greater),
            None => self.family_end(first, family),
        };
        let mut passed = 0;
        loop {
            match self.sibling_before(end, family) {
                Ok(sibling) if self.name(self.tree.item(sibling)) > name => end = sibling,
                Ok(smaller) => return self.place_after(smaller, family),
                Err(None) => return self.tree.begin(),
                Err(Some(outside)) => return self.place_after(outside, family),
            }
            passed += 1;
            if passed == MAX_SCANNED_SPANS && listed.is_none() {
                self.list(first, family);
            }
        }
    }

    /// The place after a character and all that hangs on its right side.
    fn place_after(&mut self, before: Spot, family: Family) -> Spot {
        let chain = self.depth(family.left).chain + 1;
        let after = Spot {
            offset: before.offset + 1,
            ..before
        };
        self.after_chains(after, chain)
    }

    /// The place after all siblings and what hangs on them.
    fn family_end(&mut self, first: Spot, Family { left, parent }: Family) -> Spot {
        if parent == NONE {
            let chain = self.depth(left).chain;
            self.after_chains(first, chain)
        } else {
            self.tree.locate(parent)
        }
    }

    /// The last sibling before a place that is one's or the family's end; if there is none, the
    /// character that stands before all that hangs on the family.
    fn sibling_before(&mut self, end: Spot, family: Family) -> Result<Spot, Option<Spot>> {
        let Family { left, parent } = family;
        let above = if parent == NONE { left } else { parent };
        let depth = self.depth(above).tree + 1;
        let found = self.before_depths(end, depth).ok_or(None)?;
        let (other_left, other_right) = self.origins.of(self.tree.item(found));
        if other_left == left && self.origins.right_parent(left, other_right) == parent {
            Ok(found)
        } else {
            Err(Some(found))
        }
    }

    /// Keeps the sorted list of all siblings of a family from now on.
    fn list(&mut self, first: Spot, family: Family) {
        let number = self.crowds.listed.len() as u32;
        self.crowds.listed.set(family.key(), number);
        let mut end = self.family_end(first, family);
        while let Ok(sibling) = self.sibling_before(end, family) {
            let n = self.tree.item(sibling);
            self.crowds.sorted.set(member(number, self.name(n)), n);
            end = sibling;
        }
    }

    /// Of a listed family, the member with the next greater name.
    fn next_greater(&self, number: u32, name: (u64, u32)) -> Option<u32> {
        let (key, greater) = self.crowds.sorted.last_until(member(number, name))?;
        ((key >> 96) as u32 == number).then_some(greater)
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

    pub(super) fn crowds_heap_bytes(&self) -> usize {
        self.crowds.sorted.heap_bytes()
            + self.crowds.listed.heap_bytes()
            + self.depths.capacity() * size_of::<Depth>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{Client, Measure};

    /// A text of `size` insertions at places that nobody would choose, many of them the same.
    fn tangle(size: u32, clients: u64, hot: u32, mut random: impl FnMut(u32) -> u32) -> Text {
        let mut text = Text::new(Client::new(u64::MAX));
        for _ in 0..size {
            let (left, right) = ends(&text, hot, &mut random);
            let author = text
                .log
                .admit(Client::new(u64::from(random(clients as u32))));
            text.log.expect(author);
            let letters = ["a", "bc", "def"][random(3) as usize];
            let family = Family {
                left,
                parent: text.origins.right_parent(left, right),
            };
            let entry = &text.log.authors[author as usize];
            let name = (entry.client.get(), entry.clock);
            let first = match left {
                NONE => text.tree.begin(),
                left => text.tree.after(left),
            };
            let scanned = text.scan(first, family, name, usize::MAX);
            let searched = text.search_place(first, family, name);
            let scanned = scanned.map(|(spot, _)| text.tree.item(spot));
            assert_eq!(
                scanned,
                Some(text.tree.item(searched)),
                "{family:?} {name:?}"
            );
            text.integrate(author, left, right, letters, &mut None);
            if random(4) == 0 {
                let at = random(text.len(Measure::Chars) as u32) as usize;
                text.delete(Measure::Chars, at, 1).expect("it is there");
            }
        }
        text
    }

    /// Origins of any sort: left children, right children, and such that no honest client would give.
    fn ends(text: &Text, hot: u32, random: &mut impl FnMut(u32) -> u32) -> (u32, u32) {
        let chars = text.log.chars;
        let any = |n: u32| if n == chars { NONE } else { n };
        match random(4) {
            0 if chars > 0 => {
                let right = random(chars);
                (text.origins.left(right), right)
            }
            1 if chars > hot => (random(hot), NONE),
            2 if chars > hot => {
                let right = random(hot);
                (text.origins.left(right), right)
            }
            _ => (any(random(chars + 1)), any(random(chars + 1))),
        }
    }

    #[test]
    fn what_is_searched_is_what_a_scan_finds() {
        for seed in 0..60u32 {
            let mut state = seed;
            let random = |end: u32| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                ((u64::from(state) * u64::from(end)) >> 32) as u32
            };
            let clients = [3, 40, 1_000][seed as usize % 3];
            let hot = [1, 3, 20][seed as usize / 3 % 3];
            let text = tangle(800, clients, hot, random);
            text.check().expect("it is whole");
            assert!(
                hot > 1 || text.crowds.listed.len() > 0,
                "no crowd in {seed}"
            );
        }
    }
}
