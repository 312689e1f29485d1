//! In which leaf each character stands, found by one read or two.
//!
//! Characters that arrive one after another mostly stand in one leaf, so there is one number for
//! each [`BLOCK`] of them. Where they stand in several, the number says instead which entry of `mixed`
//! has one number for each character; a block that became mixed stays so. A text that is typed or
//! pasted costs a quarter of a byte a character in this way, the worst four and a quarter.

use super::leaf::NONE;

/// How many characters share a number.
const BLOCK: u32 = 16;
/// The rest of a block's number is an index into `mixed`.
const MIXED: u32 = 1 << 31;

/// The leaf of every character, in order of arrival.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    /// A leaf, `MIXED` and an index, or `NONE`: no character of the block has been placed.
    blocks: Vec<u32>,
    mixed: Vec<[u32; BLOCK as usize]>,
    chars: u32,
}

impl Places {
    /// Room for `chars` characters, each of which has to be placed by [`Self::put`].
    pub(super) fn unknown(chars: u32) -> Self {
        Self {
            blocks: vec![NONE; chars.div_ceil(BLOCK) as usize],
            mixed: Vec::new(),
            chars,
        }
    }

    pub(super) fn chars(&self) -> u32 {
        self.chars
    }

    /// The leaf of the character `n`.
    #[inline]
    pub(super) fn of(&self, n: u32) -> u32 {
        let block = self.blocks[(n / BLOCK) as usize];
        if block & MIXED == 0 {
            block
        } else {
            self.mixed[(block & !MIXED) as usize][(n % BLOCK) as usize]
        }
    }

    /// The next `len` characters stand in `leaf`.
    #[inline]
    pub(super) fn push(&mut self, len: u32, leaf: u32) {
        let used = self.chars % BLOCK;
        if len == 1 {
            // A key: most often where the last one was.
            let block = self.blocks.last().copied().unwrap_or(NONE);
            if used == 0 {
                self.chars += 1;
                self.blocks.push(leaf);
                return;
            }
            if block == leaf {
                self.chars += 1;
                return;
            }
            if block & MIXED != 0 {
                self.chars += 1;
                self.mixed[(block & !MIXED) as usize][used as usize] = leaf;
                return;
            }
        }
        self.push_blocks(len, leaf);
    }

    #[inline(never)]
    fn push_blocks(&mut self, len: u32, leaf: u32) {
        let first = self.chars;
        self.chars += len;
        let blocks = self.chars.div_ceil(BLOCK) as usize;
        if blocks > self.blocks.len() {
            self.blocks.resize(blocks, NONE);
        }
        self.put(first, len, leaf);
    }

    /// The `len` characters from `first` on stand in `leaf`.
    #[inline(never)]
    pub(super) fn put(&mut self, first: u32, len: u32, leaf: u32) {
        let (mut n, end) = (first, first + len);
        while n < end {
            let stop = end.min((n / BLOCK + 1) * BLOCK);
            self.put_in_block(n, stop, leaf);
            n = stop;
        }
    }

    /// `put` for the characters from `n` to before `stop`, which are of one block.
    #[inline]
    fn put_in_block(&mut self, n: u32, stop: u32, leaf: u32) {
        let block = &mut self.blocks[(n / BLOCK) as usize];
        if *block == leaf {
            return;
        }
        if *block & MIXED == 0 || *block == NONE {
            // A block that nobody has is given whole to the first who asks: its other characters
            // are placed later, and until then nobody asks for them.
            let whole =
                n.is_multiple_of(BLOCK) && (stop.is_multiple_of(BLOCK) || stop == self.chars);
            if whole || *block == NONE {
                *block = leaf;
                return;
            }
            self.mixed.push([*block; BLOCK as usize]);
            *block = MIXED | (self.mixed.len() - 1) as u32;
        }
        let from = (n % BLOCK) as usize;
        for place in &mut self.mixed[(*block & !MIXED) as usize][from..from + (stop - n) as usize] {
            *place = leaf;
        }
    }

    pub(super) fn shrink(&mut self) {
        self.blocks.shrink_to_fit();
        self.mixed.shrink_to_fit();
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.blocks.capacity() * 4 + self.mixed.capacity() * 4 * BLOCK as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The naive table.
    fn same(places: &Places, naive: &[u32]) {
        assert_eq!(places.chars() as usize, naive.len());
        for (n, leaf) in naive.iter().enumerate() {
            assert_eq!(places.of(n as u32), *leaf, "{n}");
        }
    }

    #[test]
    fn it_is_a_table_of_every_character() {
        let (mut places, mut naive) = (Places::default(), Vec::new());
        let mut seed = 7u32;
        let mut next = |below: u32| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) % below
        };
        for step in 1..4_000 {
            let (len, leaf) = (1 + next(40), next(4));
            if step % 3 > 0 {
                places.push(len, leaf);
                naive.resize(naive.len() + len as usize, leaf);
            } else {
                let first = next(naive.len() as u32);
                let len = len.min(naive.len() as u32 - first);
                places.put(first, len, leaf);
                naive[first as usize..(first + len) as usize].fill(leaf);
            }
        }
        same(&places, &naive);
    }

    #[test]
    fn what_is_placed_in_any_order_is_where_it_was_put() {
        let runs = [(30, 20, 5), (0, 3, 1), (50, 1, 2), (3, 27, 9)];
        let mut places = Places::unknown(51);
        let mut naive = vec![0; 51];
        for (first, len, leaf) in runs {
            places.put(first, len, leaf);
            naive[first as usize..(first + len) as usize].fill(leaf);
        }
        same(&places, &naive);
    }

    #[test]
    fn one_leaf_costs_a_number_a_block() {
        let mut places = Places::default();
        for _ in 0..1_000 {
            places.push(1, 3);
        }
        places.shrink();
        assert_eq!(places.heap_bytes(), 4 * 63);
    }
}
