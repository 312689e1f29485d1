//! A leaf: up to 32 spans of the sequence, as three arrays side by side.
//!
//! A **span** is a run of characters that arrived one after another, stand one after another and
//! are all alive or all dead; within it, each character's left origin is the one before it and the
//! right origin is the same. Unused places have length 0, so that a search may look at all 32.

use super::depth::Depth;

/// No node, no character, no place.
pub(super) const NONE: u32 = u32::MAX;
/// How many spans a leaf, and how many children an inner node, may have.
pub(super) const FANOUT: usize = 32;

/// Dead: `stamp` says when.
pub(super) const DEAD: u32 = 1 << 31;
/// Dead from back to front: the last character has the earliest stamp.
pub(super) const BACK: u32 = 1 << 30;
/// The first character begins a run of origins.
pub(super) const HEAD: u32 = 1 << 29;
/// The part of `len` that is the length.
pub(super) const LENGTH: u32 = HEAD - 1;

const CHUNK: usize = 8;

/// One span by itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    /// The number of its first character, in order of arrival.
    pub first: u32,
    /// Its length, and `DEAD`, `BACK` and `HEAD`.
    pub len: u32,
    /// When its first character died, as the number of a tick; the others follow by ±1.
    pub stamp: u32,
}

impl Span {
    #[inline]
    pub(super) fn chars(self) -> u32 {
        self.len & LENGTH
    }

    #[inline]
    pub(super) fn is_dead(self) -> bool {
        self.len & DEAD != 0
    }

    /// The two as one, if the second goes on where the first ends, also in how it died.
    pub(super) fn join(self, next: Self, limit: u32) -> Option<Self> {
        let (a, b) = (self.chars(), next.chars());
        let touch = self.is_dead()
            && next.is_dead()
            && next.len & HEAD == 0
            && self.first + a == next.first
            && a + b <= limit;
        if !touch {
            return None;
        }
        let may = |back: bool| {
            let fits = |span: Self| span.chars() == 1 || (span.len & BACK != 0) == back;
            fits(self) && fits(next)
        };
        let head = self.len & HEAD;
        if may(false) && self.stamp.checked_add(a) == Some(next.stamp) {
            let len = (a + b) | DEAD | head;
            return Some(Self { len, ..self });
        }
        if may(true) && self.stamp.checked_sub(a) == Some(next.stamp) {
            let len = (a + b) | DEAD | BACK | head;
            return Some(Self { len, ..self });
        }
        None
    }

    /// When the character at this offset died.
    #[inline]
    pub(super) fn died(self, offset: u32) -> u32 {
        if self.len & BACK == 0 {
            self.stamp.wrapping_add(offset)
        } else {
            self.stamp.wrapping_sub(offset)
        }
    }

    /// What stands from this offset on.
    pub(super) fn tail(self, offset: u32) -> Self {
        Self {
            first: self.first + offset,
            len: (self.len & !(LENGTH | HEAD)) | (self.chars() - offset),
            stamp: if self.is_dead() { self.died(offset) } else { 0 },
        }
    }
}

/// Up to 32 spans.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    pub first: [u32; FANOUT],
    pub len: [u32; FANOUT],
    pub stamp: [u32; FANOUT],
    /// How many spans there are.
    pub count: u32,
    /// How many of its characters are alive.
    pub live: u32,
    pub parent: u32,
    pub prev: u32,
    pub next: u32,
    /// No character in it arrived before this one.
    pub born: u32,
    /// No character in it died after this tick.
    pub died: u32,
    /// No character in it hangs higher than this.
    pub depth: Depth,
}

impl Leaf {
    pub(super) fn new() -> Self {
        Self {
            first: [0; FANOUT],
            len: [0; FANOUT],
            stamp: [0; FANOUT],
            count: 0,
            live: 0,
            parent: NONE,
            prev: NONE,
            next: NONE,
            born: NONE,
            died: 0,
            depth: Depth::default(),
        }
    }

    #[inline]
    pub(super) fn span(&self, index: usize) -> Span {
        Span {
            first: self.first[index],
            len: self.len[index],
            stamp: self.stamp[index],
        }
    }

    #[inline]
    pub(super) fn put(&mut self, index: usize, span: Span) {
        self.first[index] = span.first;
        self.len[index] = span.len;
        self.stamp[index] = span.stamp;
    }

    /// Makes room for `more` spans at `index`; the caller fills it.
    #[inline]
    pub(super) fn open(&mut self, index: usize, more: usize) {
        let count = self.count as usize;
        self.first.copy_within(index..count, index + more);
        self.len.copy_within(index..count, index + more);
        self.stamp.copy_within(index..count, index + more);
        self.count += more as u32;
    }

    /// Takes one span out.
    pub(super) fn close(&mut self, index: usize) {
        let count = self.count as usize;
        self.first.copy_within(index + 1..count, index);
        self.len.copy_within(index + 1..count, index);
        self.stamp.copy_within(index + 1..count, index);
        self.count -= 1;
        self.len[count - 1] = 0;
    }

    /// How many characters of a span are alive.
    #[inline]
    pub(super) fn live_of(&self, index: usize) -> u32 {
        alive(self.len[index])
    }

    /// Which span has the character `n`.
    #[inline]
    pub(super) fn find(&self, n: u32) -> Option<usize> {
        for base in (0..FANOUT).step_by(CHUNK) {
            let mut hits = 0u32;
            for place in 0..CHUNK {
                let first = self.first[base + place];
                let len = self.len[base + place] & LENGTH;
                hits |= u32::from(n.wrapping_sub(first) < len) << place;
            }
            if hits != 0 {
                return Some(base + hits.trailing_zeros() as usize);
            }
        }
        None
    }

    /// Which span has the live character number `want` of this leaf, and how many live ones stand
    /// before that span. There must be one.
    #[inline]
    pub(super) fn seek(&self, want: u32) -> (usize, u32) {
        let mut before = 0;
        for base in (0..FANOUT).step_by(CHUNK) {
            let mut sum = 0;
            for place in 0..CHUNK {
                sum += alive(self.len[base + place]);
            }
            if want < before + sum {
                for place in base..base + CHUNK {
                    let live = alive(self.len[place]);
                    if want < before + live {
                        return (place, before);
                    }
                    before += live;
                }
            }
            before += sum;
        }
        debug_assert!(false, "no live character {want} in a leaf of {}", self.live);
        (0, 0)
    }

    /// How many live characters stand before a span.
    pub(super) fn live_before(&self, index: usize) -> u32 {
        self.len[..index].iter().map(|len| alive(*len)).sum()
    }

    /// Counts again what is derived from the spans.
    pub(super) fn recount(&mut self) {
        let count = self.count as usize;
        self.live = self.live_before(count);
        self.born = self.first[..count].iter().copied().min().unwrap_or(NONE);
    }
}

/// How many characters of a span with this `len` are alive.
#[inline]
pub(super) fn alive(len: u32) -> u32 {
    // All ones if dead.
    let dead = ((len as i32) >> 31) as u32;
    len & LENGTH & !dead
}
