//! Between which characters each one was inserted.
//!
//! In a run of origins, the left origin of every character but the first is the one before it, and
//! all have the same right origin: one entry for what was typed at a stretch, by whomever.

use super::leaf::NONE;

/// A run of origins, from the character `n` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub n: u32,
    /// The left origin of `n`, or `NONE`: the text's start.
    pub left: u32,
    /// The right origin of all, or `NONE`: the text's end.
    pub right: u32,
}

/// All runs, by `n`.
#[derive(Clone, Debug, Default)]
pub(super) struct Origins {
    pub runs: Vec<Origin>,
}

impl Origins {
    /// The new character `n` has these origins; says whether that begins a run.
    #[inline]
    pub(super) fn push(&mut self, n: u32, left: u32, right: u32) -> bool {
        if n > 0 && left == n - 1 && self.runs.last().is_some_and(|origin| origin.right == right) {
            return false;
        }
        self.runs.push(Origin { n, left, right });
        true
    }

    /// The run of the character `n`.
    pub(super) fn run(&self, n: u32) -> Origin {
        let place = self.runs.partition_point(|origin| origin.n <= n);
        self.runs[place.saturating_sub(1)]
    }

    /// The left and the right origin of the character `n`.
    pub(super) fn of(&self, n: u32) -> (u32, u32) {
        let origin = self.run(n);
        let left = if origin.n == n { origin.left } else { n - 1 };
        (left, origin.right)
    }

    /// The left origin of the character `n`, or of nothing.
    pub(super) fn left(&self, n: u32) -> u32 {
        if n == NONE { NONE } else { self.of(n).0 }
    }

    /// The right parent of what has these origins: the right origin if that has the same left
    /// origin, else the end.
    pub(super) fn right_parent(&self, left: u32, right: u32) -> u32 {
        if right != NONE && self.left(right) == left {
            right
        } else {
            NONE
        }
    }
}
