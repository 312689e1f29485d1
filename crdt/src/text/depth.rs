//! How deep characters hang, so that a place in a crowd is searched and not scanned.
//!
//! The order of characters is the walk of a tree ([docs/text.md](../../../docs/text.md)): left children, the
//! character, right children. Two numbers of each character say where subtrees end in that walk:
//! its **chain**, how many left origins lead from it to the start, and its **depth**, how many parents
//! lead to the root. Of what stands after a character, the first with no longer a chain is the
//! first outside its right subtree. Of what stands around it in its parent's subtree, its siblings
//! are the highest.
//!
//! Nothing is known of a text until a crowd needs it. Then each run of origins has the numbers of its
//! first character (both grow by one from a character to the next of its run), and every leaf and
//! inner node knows a lower bound of what is below it. A bound may be too low, and is 0 at
//! first: a search that looks through a leaf in vain writes down what it found.

use super::Text;
use super::leaf::{FANOUT, NONE};
use super::limits::MAX_SPAN_CHARS;
use super::tree::{Spot, Tree};

/// How deep a character hangs; 0 and 0 are the root's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Depth {
    /// How many left origins lead to the start.
    pub chain: u32,
    /// How many parents lead to the root.
    pub tree: u32,
}

impl Depth {
    /// The least of both, each by itself.
    pub(super) fn least(self, other: Self) -> Self {
        Self {
            chain: self.chain.min(other.chain),
            tree: self.tree.min(other.tree),
        }
    }
}

/// Which way a search goes, and what it looks for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// To the right, for a chain no longer than the bound.
    Chain,
    /// To the left, for a depth no greater than the bound.
    Tree,
}

impl Way {
    fn of(self, depth: Depth) -> u32 {
        match self {
            Self::Chain => depth.chain,
            Self::Tree => depth.tree,
        }
    }

    /// The first place in these that is low enough, in the direction of the search.
    fn pick(self, depths: &[Depth], bound: u32) -> Option<usize> {
        let low = |depth: &Depth| self.of(*depth) <= bound;
        match self {
            Self::Chain => depths.iter().position(low),
            Self::Tree => depths.iter().rposition(low),
        }
    }
}

impl Text {
    /// Finds out how deep the runs hang that have come since this was last asked.
    pub(super) fn fathom(&mut self) {
        while let Some(run) = self.origins.runs.get(self.depths.len()) {
            let (left, right) = (run.left, run.right);
            let parent = self.origins.right_parent(left, right);
            let above = if parent == NONE { left } else { parent };
            let depth = Depth {
                chain: self.depth(left).chain + 1,
                tree: self.depth(above).tree + 1,
            };
            self.depths.push(depth);
        }
    }

    /// The new characters `n..n + len` have got their places.
    #[inline]
    pub(super) fn hang(&mut self, n: u32, len: u32) {
        if self.depths.is_empty() {
            return;
        }
        self.fathom();
        let depth = self.depth(n);
        for piece in (n..n + len).step_by(MAX_SPAN_CHARS as usize) {
            let leaf = self.tree.places.of(piece);
            let known = self.tree.leaves[leaf as usize].depth;
            let least = known.least(depth);
            if least != known {
                self.tree.set_depth(leaf, least);
            }
        }
    }

    /// How deep a character hangs; the root for none, and for what nobody has asked for yet.
    #[inline(never)]
    pub(super) fn depth(&self, n: u32) -> Depth {
        let runs = &self.origins.runs;
        let place = runs.partition_point(|run| run.n <= n).wrapping_sub(1);
        match self.depths.get(place) {
            Some(depth) if n != NONE => {
                let more = n - runs[place].n;
                Depth {
                    chain: depth.chain + more,
                    tree: depth.tree + more,
                }
            }
            _ => Depth::default(),
        }
    }

    /// The place before the first character at or after a place with no longer a chain than this; the
    /// text's end if there is none.
    pub(super) fn after_chains(&mut self, from: Spot, chain: u32) -> Spot {
        self.search(from, Way::Chain, chain)
            .unwrap_or_else(|| self.tree.end())
    }

    /// The last character before a place that hangs no deeper than this.
    pub(super) fn before_depths(&mut self, to: Spot, depth: u32) -> Option<Spot> {
        self.search(to, Way::Tree, depth)
    }

    #[inline(never)]
    fn search(&mut self, from: Spot, way: Way, bound: u32) -> Option<Spot> {
        let mut leaf = from.leaf;
        if way.of(self.tree.leaves[leaf as usize].depth) <= bound
            && let Some(found) = self.search_leaf(from, way, bound)
        {
            return Some(found);
        }
        loop {
            leaf = self.tree.leaf_beyond(leaf, way, bound)?;
            let edge = match way {
                Way::Chain => Spot {
                    leaf,
                    index: 0,
                    offset: 0,
                },
                Way::Tree => self.tree.leaf_end(leaf),
            };
            if let Some(found) = self.search_leaf(edge, way, bound) {
                return Some(found);
            }
            // Nothing is in it: its bound was too low.
            let least = self.leaf_depth(leaf);
            self.tree.set_depth(leaf, least);
        }
    }

    fn search_leaf(&self, from: Spot, way: Way, bound: u32) -> Option<Spot> {
        let leaf = &self.tree.leaves[from.leaf as usize];
        let mut index = from.index as usize;
        let mut offset = from.offset;
        loop {
            let chars = leaf.span(index).chars();
            let candidate = match way {
                Way::Chain => offset < chars,
                Way::Tree => offset > 0 && chars > 0,
            };
            if candidate {
                let depth = way.of(self.depth(leaf.first[index]));
                let found = match way {
                    Way::Chain => (depth + offset <= bound).then_some(offset),
                    Way::Tree => bound.checked_sub(depth).map(|more| more.min(offset - 1)),
                };
                if let Some(offset) = found {
                    return Some(Spot {
                        index: index as u32,
                        offset,
                        ..from
                    });
                }
            }
            match way {
                Way::Chain => {
                    index += 1;
                    offset = 0;
                    if index >= leaf.count as usize {
                        return None;
                    }
                }
                Way::Tree => {
                    index = index.checked_sub(1)?;
                    offset = leaf.span(index).chars();
                }
            }
        }
    }

    /// The least of a leaf's spans.
    pub(super) fn leaf_depth(&self, leaf: u32) -> Depth {
        let leaf = &self.tree.leaves[leaf as usize];
        leaf.first[..leaf.count as usize]
            .iter()
            .map(|first| self.depth(*first))
            .reduce(Depth::least)
            .unwrap_or_default()
    }
}

impl Tree {
    /// The next leaf, in the direction of the search, that may have something low enough.
    fn leaf_beyond(&self, leaf: u32, way: Way, bound: u32) -> Option<u32> {
        let mut child = leaf;
        for level in 0.. {
            let parent = self.parent(child, level);
            if parent == NONE {
                break;
            }
            let inner = &self.inners[parent as usize];
            let slot = inner.slot(child);
            let (first, end) = match way {
                Way::Chain => (slot + 1, inner.count as usize),
                Way::Tree => (0, slot),
            };
            if let Some(slot) = way.pick(&inner.depth[first..end], bound) {
                return self.leaf_below(inner.child[first + slot], level, way, bound);
            }
            child = parent;
        }
        None
    }

    fn leaf_below(&self, node: u32, level: u32, way: Way, bound: u32) -> Option<u32> {
        let mut node = node;
        for _ in 0..level {
            let inner = &self.inners[node as usize];
            let slot = way.pick(&inner.depth[..inner.count as usize], bound)?;
            node = inner.child[slot];
        }
        Some(node)
    }

    /// The place after all of a leaf.
    fn leaf_end(&self, leaf: u32) -> Spot {
        let node = &self.leaves[leaf as usize];
        let index = node.count.saturating_sub(1);
        Spot {
            leaf,
            index,
            offset: node.span(index as usize).chars(),
        }
    }

    /// The place after everything.
    fn end(&self) -> Spot {
        let mut node = self.root;
        for _ in 0..self.height {
            let inner = &self.inners[node as usize];
            node = inner.child[inner.count as usize - 1];
        }
        self.leaf_end(node)
    }

    /// Writes a leaf's bound down, and what follows from it above.
    pub(super) fn set_depth(&mut self, leaf: u32, least: Depth) {
        self.leaves[leaf as usize].depth = least;
        let (mut child, mut least) = (leaf, least);
        for level in 0.. {
            let parent = self.parent(child, level);
            if parent == NONE {
                break;
            }
            let inner = &mut self.inners[parent as usize];
            let slot = inner.slot(child);
            if inner.depth[slot] == least {
                break;
            }
            inner.depth[slot] = least;
            least = inner.depth[..inner.count.min(FANOUT as u32) as usize]
                .iter()
                .copied()
                .fold(least, Depth::least);
            child = parent;
        }
    }
}
