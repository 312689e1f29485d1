//! Questions to the sequence that change nothing: who stands before whom, and where in the visible
//! text.

use super::content::{Content, Extra};
use super::id::Measure;
use super::leaf::NONE;
use super::tree::{Spot, Tree};

/// The open leaf's ancestors and the slots that lead to it: where counts lack what is pending.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpenPath {
    steps: [(u32, u32); 16],
    depth: usize,
}

impl OpenPath {
    pub(super) fn lacks(&self, inner: u32, slot: usize) -> bool {
        self.steps[..self.depth].contains(&(inner, slot as u32))
    }
}

impl Tree {
    /// Whether one leaf stands before another.
    pub(super) fn leaf_precedes(&self, a: u32, b: u32) -> bool {
        let (mut a, mut b, mut level) = (a, b, 0);
        while a != b {
            let (x, y) = (self.parent(a, level), self.parent(b, level));
            if x == y {
                let inner = &self.inners[x as usize];
                return inner.slot(a) < inner.slot(b);
            }
            (a, b, level) = (x, y, level + 1);
        }
        false
    }

    pub(super) fn open_path(&self) -> OpenPath {
        let mut path = OpenPath {
            steps: [(NONE, 0); 16],
            depth: 0,
        };
        if self.open == NONE || self.is_settled() {
            return path;
        }
        let mut child = self.open;
        let mut parent = self.leaves[child as usize].parent;
        while parent != NONE && path.depth < path.steps.len() {
            let slot = self.inners[parent as usize].slot(child);
            path.steps[path.depth] = (parent, slot as u32);
            path.depth += 1;
            child = parent;
            parent = self.inners[parent as usize].parent;
        }
        path
    }

    fn leaf_weight(&self, leaf: u32, measure: Measure) -> u32 {
        let live = self.leaves[leaf as usize].live;
        live.wrapping_add(self.extras.as_ref().map_or(0, |extras| {
            let extra = extras.leaf[leaf as usize];
            match measure {
                Measure::Bytes => extra.bytes,
                Measure::Units => extra.units,
                Measure::Chars => 0,
            }
        }))
    }

    fn slot_weight(&self, inner: u32, slot: usize, measure: Measure, path: &OpenPath) -> u32 {
        let mut weight = self.inners[inner as usize].live[slot];
        if let Some(extras) = &self.extras {
            let extra = extras.inner[inner as usize][slot];
            weight = weight.wrapping_add(match measure {
                Measure::Bytes => extra.bytes,
                Measure::Units => extra.units,
                Measure::Chars => 0,
            });
        }
        if path.depth > 0 && path.lacks(inner, slot) {
            weight = weight.wrapping_add(self.pend);
            if let Some(extras) = &self.extras {
                weight = weight.wrapping_add(match measure {
                    Measure::Bytes => extras.pend.bytes,
                    Measure::Units => extras.pend.units,
                    Measure::Chars => 0,
                });
            }
        }
        weight
    }

    /// The length of the visible text.
    pub(super) fn len(&self, measure: Measure) -> u32 {
        let extra = self.extras.as_ref().map_or(0, |extras| match measure {
            Measure::Bytes => extras.total.bytes,
            Measure::Units => extras.total.units,
            Measure::Chars => 0,
        });
        self.live.wrapping_add(extra)
    }

    /// How much of the visible text stands before a leaf.
    fn before_leaf(&self, leaf: u32, measure: Measure) -> u32 {
        let path = self.open_path();
        let mut sum = 0u32;
        let mut child = leaf;
        let mut parent = self.leaves[leaf as usize].parent;
        while parent != NONE {
            let slot = self.inners[parent as usize].slot(child);
            for before in 0..slot {
                sum = sum.wrapping_add(self.slot_weight(parent, before, measure, &path));
            }
            child = parent;
            parent = self.inners[parent as usize].parent;
        }
        sum
    }

    /// How much of the visible text stands before a place.
    pub(super) fn rank(&self, spot: Spot, measure: Measure, content: &Content) -> u32 {
        let mut sum = self.before_leaf(spot.leaf, measure);
        let leaf = &self.leaves[spot.leaf as usize];
        let index = spot.index as usize;
        for before in 0..index.min(leaf.count as usize) {
            sum += weigh(content, leaf.first[before], leaf.live_of(before), measure);
        }
        if spot.index < leaf.count && leaf.live_of(index) > 0 {
            sum += weigh(content, leaf.first[index], spot.offset, measure);
        }
        sum
    }

    /// Of the visible text, how many characters stand before this many bytes or units. None if that
    /// is past the end or inside a character.
    pub(super) fn chars_before(&self, at: u32, measure: Measure, content: &Content) -> Option<u32> {
        if at >= self.len(measure) {
            return (at == self.len(measure)).then_some(self.live);
        }
        let path = self.open_path();
        let (mut node, mut left, mut chars) = (self.root, at, 0);
        for _ in 0..self.height {
            let mut slot = 0;
            loop {
                let weight = self.slot_weight(node, slot, measure, &path);
                if left < weight || slot + 1 >= self.inners[node as usize].count as usize {
                    break;
                }
                left -= weight;
                chars += self.slot_weight(node, slot, Measure::Chars, &path);
                slot += 1;
            }
            node = self.inners[node as usize].child[slot];
        }
        debug_assert!(left < self.leaf_weight(node, measure));
        let leaf = &self.leaves[node as usize];
        for index in 0..leaf.count as usize {
            let live = leaf.live_of(index);
            if live == 0 {
                continue;
            }
            let weight = weigh(content, leaf.first[index], live, measure);
            if left >= weight {
                left -= weight;
                chars += live;
                continue;
            }
            let text = content.slice(leaf.first[index], live);
            return chars_in(text, left, measure).map(|more| chars + more);
        }
        None
    }
}

/// How many characters stand before this many bytes or units of a text, if that is between two.
fn chars_in(text: &str, at: u32, measure: Measure) -> Option<u32> {
    let mut left = at;
    for (chars, character) in text.chars().enumerate() {
        if left == 0 {
            return Some(chars as u32);
        }
        let width = match measure {
            Measure::Bytes => character.len_utf8(),
            Measure::Units => character.len_utf16(),
            Measure::Chars => 1,
        };
        left = left.checked_sub(width as u32)?;
    }
    (left == 0).then(|| super::content::count(text) as u32)
}

/// How long `len` characters from `n` on are.
pub(super) fn weigh(content: &Content, n: u32, len: u32, measure: Measure) -> u32 {
    if len == 0 || measure == Measure::Chars || content.is_ascii() {
        len
    } else {
        let text = content.slice(n, len);
        match measure {
            Measure::Units if text.len() > len as usize => len + Extra::of(text).units,
            _ => text.len() as u32,
        }
    }
}

/// All spans in order.
pub(super) struct Spans<'a> {
    tree: &'a Tree,
    leaf: u32,
    index: u32,
}

impl Iterator for Spans<'_> {
    type Item = super::leaf::Span;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let leaf = self.tree.leaves.get(self.leaf as usize)?;
            if self.index < leaf.count {
                self.index += 1;
                return Some(leaf.span(self.index as usize - 1));
            }
            self.leaf = leaf.next;
            self.index = 0;
        }
    }
}

impl Tree {
    pub(super) fn spans(&self) -> Spans<'_> {
        Spans {
            tree: self,
            leaf: self.begin().leaf,
            index: 0,
        }
    }

    /// Where the live character number `at` stands; there must be one.
    pub(super) fn find(&self, at: u32) -> Spot {
        let path = self.open_path();
        let (mut node, mut left) = (self.root, at);
        for _ in 0..self.height {
            let mut slot = 0;
            loop {
                let weight = self.slot_weight(node, slot, Measure::Chars, &path);
                if left < weight || slot + 1 >= self.inners[node as usize].count as usize {
                    break;
                }
                left -= weight;
                slot += 1;
            }
            node = self.inners[node as usize].child[slot];
        }
        let (index, before) = self.leaves[node as usize].seek(left);
        Spot {
            leaf: node,
            index: index as u32,
            offset: left - before,
        }
    }

    /// Whether no counts are pending.
    pub(super) fn is_settled(&self) -> bool {
        self.pend == 0 && self.pend_died == 0
    }

    /// How many line feeds stand before the character number `chars`.
    pub(super) fn lines_before(&self, chars: u32, content: &Content) -> u32 {
        let counted = self.extras.as_ref().filter(|_| content.counts_lines());
        let Some(extras) = counted else {
            return self.lines_plainly(chars, content);
        };
        let path = self.open_path();
        let (mut node, mut left, mut lines) = (self.root, chars, 0u32);
        for _ in 0..self.height {
            let mut slot = 0;
            loop {
                let weight = self.slot_weight(node, slot, Measure::Chars, &path);
                if left < weight || slot + 1 >= self.inners[node as usize].count as usize {
                    break;
                }
                left -= weight;
                lines = lines.wrapping_add(extras.inner[node as usize][slot].lines);
                if path.lacks(node, slot) {
                    lines = lines.wrapping_add(extras.pend.lines);
                }
                slot += 1;
            }
            node = self.inners[node as usize].child[slot];
        }
        let leaf = &self.leaves[node as usize];
        for index in 0..leaf.count as usize {
            let piece = leaf.live_of(index).min(left);
            lines += content.line_feeds(leaf.first[index], piece);
            left -= piece;
        }
        lines
    }

    fn lines_plainly(&self, chars: u32, content: &Content) -> u32 {
        let (mut left, mut lines) = (chars, 0);
        for span in self.spans().filter(|span| !span.is_dead()) {
            let piece = span.chars().min(left);
            lines += content.line_feeds(span.first, piece);
            left -= piece;
            if left == 0 {
                break;
            }
        }
        lines
    }

    /// How many characters stand before a line; none if there are fewer lines.
    pub(super) fn line_start(&self, line: u32, content: &Content) -> Option<u32> {
        if line == 0 {
            return Some(0);
        }
        let (mut node, mut left, mut chars) = (self.root, line, 0);
        let mut leaf = self.begin().leaf;
        if let Some(extras) = &self.extras
            && content.counts_lines()
        {
            if line > extras.total.lines {
                return None;
            }
            let path = self.open_path();
            for _ in 0..self.height {
                let mut slot = 0;
                loop {
                    let mut lines = extras.inner[node as usize][slot].lines;
                    if path.lacks(node, slot) {
                        lines = lines.wrapping_add(extras.pend.lines);
                    }
                    if left <= lines || slot + 1 >= self.inners[node as usize].count as usize {
                        break;
                    }
                    left -= lines;
                    chars += self.slot_weight(node, slot, Measure::Chars, &path);
                    slot += 1;
                }
                node = self.inners[node as usize].child[slot];
            }
            leaf = node;
        }
        while leaf != NONE {
            let node = &self.leaves[leaf as usize];
            for index in 0..node.count as usize {
                let live = node.live_of(index);
                if live == 0 {
                    continue;
                }
                for (offset, character) in
                    content.slice(node.first[index], live).chars().enumerate()
                {
                    if character == '\n' {
                        left -= 1;
                        if left == 0 {
                            return Some(chars + offset as u32 + 1);
                        }
                    }
                }
                chars += live;
            }
            leaf = node.next;
        }
        None
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let extras = self.extras.as_ref().map_or(0, |extras| {
            extras.leaf.capacity() * 12 + extras.inner.capacity() * 12 * super::leaf::FANOUT
        });
        self.leaves.capacity() * size_of::<super::leaf::Leaf>()
            + self.inners.capacity() * size_of::<super::tree::Inner>()
            + self.places.heap_bytes()
            + extras
    }
}
