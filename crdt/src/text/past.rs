//! What the text was at any Seq, without replaying: keep what had arrived by then and had not died.
//!
//! Arrival follows the moments of the log, and a death is stamped with its moment, so a span knows
//! what of it was visible. Inner nodes know when their first character arrived and when their last
//! one died, so whole subtrees that were not there yet, or no more, are passed over.

use std::fmt;
use std::ops::Range;

use super::Text;
use super::error::PastError;
use super::id::{Client, Seq};
use super::leaf::{BACK, NONE, Span};
use super::log;
use super::rank::OpenPath;
use super::tree::Spot;

/// Whether an event inserted or deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Its text came.
    Insert,
    /// Its text went.
    Delete,
}

/// What one client did at a stretch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// Who.
    pub client: Client,
    /// Under which Seq it began.
    pub first: Seq,
    /// Under which Seq it ended.
    pub last: Seq,
    /// What.
    pub deed: Deed,
    /// The text that came or went, in the order in which it stands; what another client had deleted
    /// before is not in it.
    pub text: &'a str,
}

/// A former text. Making one takes time in proportion to the spans; each window of it then
/// O(log n + result).
#[derive(Clone, Debug)]
pub struct Moment<'a> {
    text: &'a Text,
    cut: Cut,
    /// The leaves that had something, and how many characters of the former text stand before each.
    leaves: Vec<(u32, u32)>,
    len: u32,
}

/// A cut through the history: what had arrived, and the moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    chars: u32,
    moment: u32,
    /// Where counts are not to be trusted.
    open: OpenPath,
}

impl Cut {
    /// How many characters had come.
    pub(super) fn chars(self) -> u32 {
        self.chars
    }

    /// Which part of a span was visible: characters that arrived before the cut and died after it.
    #[inline]
    pub(super) fn visible(self, span: Span) -> Range<u32> {
        let arrived = self.chars.saturating_sub(span.first).min(span.chars());
        if !span.is_dead() {
            return 0..arrived;
        }
        if span.len & BACK == 0 {
            // They died upwards: those from here on were still alive.
            let from = self.moment.saturating_sub(span.stamp).min(arrived);
            from..arrived
        } else {
            let to = (span.stamp + 1).saturating_sub(self.moment).min(arrived);
            0..to
        }
    }
}

impl Text {
    /// The last Seq at which the text is known here: updates came in the server's order up to it.
    #[must_use]
    pub fn known_until(&self) -> Seq {
        Seq::new(self.log.stamps.last)
    }

    /// The text as it was after the update of this Seq.
    ///
    /// # Errors
    ///
    /// [`PastError`] if that is not known here.
    pub fn at(&self, seq: Seq) -> Result<String, PastError> {
        let cut = self.cut(seq)?;
        let mut out = String::with_capacity(cut.chars.min(self.tree.live + 64) as usize);
        let mut leaf = self.first_leaf(cut);
        while leaf != NONE {
            let node = &self.tree.leaves[leaf as usize];
            for index in 0..node.count as usize {
                let span = node.span(index);
                let part = cut.visible(span);
                if !part.is_empty() {
                    out.push_str(
                        self.content
                            .slice(span.first + part.start, part.end - part.start),
                    );
                }
            }
            leaf = self.next_leaf(leaf, cut);
        }
        Ok(out)
    }

    /// The text as it was after the update of this Seq, to look at parts of it.
    ///
    /// # Errors
    ///
    /// [`PastError`] if that is not known here.
    pub fn moment(&self, seq: Seq) -> Result<Moment<'_>, PastError> {
        let cut = self.cut(seq)?;
        let (mut leaves, mut len) = (Vec::new(), 0);
        let mut leaf = self.first_leaf(cut);
        while leaf != NONE {
            let node = &self.tree.leaves[leaf as usize];
            leaves.push((leaf, len));
            for index in 0..node.count as usize {
                let part = cut.visible(node.span(index));
                len += part.len() as u32;
            }
            leaf = self.next_leaf(leaf, cut);
        }
        Ok(Moment {
            text: self,
            cut,
            leaves,
            len,
        })
    }

    /// At most `len` characters of the text as it was after the update of this Seq, from the place on
    /// where the character number `at` of today's text stands: O(log n + result).
    ///
    /// # Errors
    ///
    /// [`PastError`] if that is not known here.
    pub fn at_near(&self, seq: Seq, at: usize, len: usize) -> Result<String, PastError> {
        let cut = self.cut(seq)?;
        let mut out = String::new();
        if at >= self.tree.live as usize {
            return Ok(out);
        }
        let mut left = u32::try_from(len).unwrap_or(u32::MAX);
        let start = self.tree.find(at as u32);
        let mut spot = start;
        while left > 0 && spot.leaf != NONE {
            let node = &self.tree.leaves[spot.leaf as usize];
            for index in spot.index..node.count {
                let span = node.span(index as usize);
                let mut part = cut.visible(span);
                if index == spot.index {
                    part.start = part.start.max(spot.offset);
                }
                let piece = left.min(part.end.saturating_sub(part.start));
                if piece > 0 {
                    out.push_str(self.content.slice(span.first + part.start, piece));
                    left -= piece;
                }
            }
            spot = Spot {
                leaf: self.next_leaf(spot.leaf, cut),
                index: 0,
                offset: 0,
            };
        }
        Ok(out)
    }

    /// What happened after the Seq `after`, up to and with the Seq `until`, in order, with authors.
    ///
    /// # Errors
    ///
    /// [`PastError`] if that is not known here.
    pub fn between(&self, after: Seq, until: Seq) -> Result<Vec<Event<'_>>, PastError> {
        let (from, to) = (self.cut(after)?.moment, self.cut(until)?.moment);
        let mut events = Vec::new();
        let mut at = from;
        let mut place = self.log.run_of_moment(from);
        while at < to {
            let run = self.log.runs[place];
            let end = (run.at + self.log.len(place)).min(to);
            let (offset, len) = (at - run.at, end - at);
            let (deed, first) = match run.deed() {
                log::Deed::Insert => (Deed::Insert, run.n + offset),
                log::Deed::Delete => (Deed::Delete, run.target + offset),
                log::Deed::DeleteBack => (Deed::Delete, run.target - offset - (len - 1)),
                log::Deed::Void => (Deed::Delete, NONE),
            };
            let seq = |moment| self.log.stamps.seq_of(moment).unwrap_or(until);
            events.push(Event {
                client: self.log.authors[run.client() as usize].client,
                first: seq(at),
                last: seq(end - 1),
                deed,
                text: if first == NONE {
                    ""
                } else {
                    self.content.slice(first, len)
                },
            });
            at = end;
            place += 1;
        }
        Ok(events)
    }

    pub(super) fn cut(&self, seq: Seq) -> Result<Cut, PastError> {
        let stamps = &self.log.stamps;
        let unknown = PastError::Unknown {
            seq: seq.get(),
            last: stamps.last,
        };
        let moment = stamps.moment_after(seq).ok_or(unknown)?;
        if moment < self.floor {
            let floor = stamps.seq_of(self.floor - 1).map_or(stamps.last, Seq::get);
            return Err(PastError::Forgotten { floor });
        }
        Ok(Cut {
            chars: self.log.chars_at(moment),
            moment,
            open: self.tree.open_path(),
        })
    }

    /// The cut after all that is here.
    pub(super) fn cut_now(&self) -> Cut {
        Cut {
            chars: self.log.chars,
            moment: self.log.now,
            open: self.tree.open_path(),
        }
    }

    /// Whether a child of an inner node had nothing at a cut.
    fn is_empty_at(&self, inner: u32, slot: usize, cut: Cut) -> bool {
        let node = &self.tree.inners[inner as usize];
        if node.born[slot] >= cut.chars {
            return true;
        }
        // Died before, unless something is alive. What is above the open leaf may not know yet, and
        // is looked into.
        node.live[slot] == 0 && node.died[slot] < cut.moment && !cut.open.lacks(inner, slot)
    }

    fn first_leaf(&self, cut: Cut) -> u32 {
        self.descend_at(self.tree.root, self.tree.height, 0, cut)
    }

    /// The first leaf under a node, from a slot on, that had something; climbs if there is none.
    fn descend_at(&self, node: u32, height: u32, slot: usize, cut: Cut) -> u32 {
        let (mut node, mut height, mut slot) = (node, height, slot);
        loop {
            let inner = &self.tree.inners[node as usize];
            let found =
                (slot..inner.count as usize).find(|slot| !self.is_empty_at(node, *slot, cut));
            if let Some(slot_found) = found {
                let child = inner.child[slot_found];
                if height == 1 {
                    return child;
                }
                (node, height, slot) = (child, height - 1, 0);
                continue;
            }
            if inner.parent == NONE {
                return NONE;
            }
            slot = self.tree.inners[inner.parent as usize].slot(node) + 1;
            (node, height) = (inner.parent, height + 1);
        }
    }

    fn next_leaf(&self, leaf: u32, cut: Cut) -> u32 {
        let parent = self.tree.leaves[leaf as usize].parent;
        let slot = self.tree.inners[parent as usize].slot(leaf) + 1;
        self.descend_at(parent, 1, slot, cut)
    }
}

impl Moment<'_> {
    /// The former text's length in characters.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether the former text is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The characters of a range of the former text, as far as it has them.
    #[must_use]
    pub fn window(&self, range: Range<usize>) -> String {
        let from = u32::try_from(range.start).unwrap_or(u32::MAX);
        let to = u32::try_from(range.end).unwrap_or(u32::MAX).min(self.len);
        let mut out = String::new();
        let first = self
            .leaves
            .partition_point(|(_, before)| *before <= from)
            .saturating_sub(1);
        for (leaf, before) in self.leaves.get(first..).unwrap_or_default() {
            let mut at = *before;
            if at >= to {
                break;
            }
            let node = &self.text.tree.leaves[*leaf as usize];
            for index in 0..node.count as usize {
                let span = node.span(index);
                let part = self.cut.visible(span);
                let len = part.end.saturating_sub(part.start);
                let (start, end) = (at.max(from), (at + len).min(to));
                if start < end {
                    let n = span.first + part.start + (start - at);
                    out.push_str(self.text.content.slice(n, end - start));
                }
                at += len;
            }
        }
        out
    }
}

impl fmt::Display for Moment<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.window(0..self.len()))
    }
}
