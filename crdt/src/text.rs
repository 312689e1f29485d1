//! A text that many clients edit at once and that remembers everything.
//!
//! Every character has an [`Id`], an origin left and right, and a tombstone once it is deleted.
//! Replicas that have the same updates have the same text, in whatever order these came. The order
//! of concurrent insertions never interleaves what two clients typed. `docs/text.md` has the rule,
//! the layout and what each operation costs; `docs/formats.md` has the bytes.
//!
//! ```
//! use crdt::text::{Client, Measure, Text};
//!
//! let mut alice = Text::new(Client::new(1));
//! let mut bob = Text::new(Client::new(2));
//! let hello = alice.insert(Measure::Chars, 0, "hello")?;
//! bob.apply(&alice.encode(&hello), None)?;
//! let world = bob.insert(Measure::Chars, 5, " world")?;
//! alice.apply(&bob.encode(&world), None)?;
//! assert_eq!(alice.to_string(), "hello world");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | file | its story |
//! | --- | --- |
//! | `id` | clients, ticks, Seqs, versions |
//! | `content` | the characters in order of arrival |
//! | `leaf`, `tree`, `split`, `rank` | the sequence of spans: changing it, growing it, asking it |
//! | `origins`, `order`, `depth` | between what each character was inserted, the rule, and crowds |
//! | `log` | who did what, and under which Seq |
//! | `map` | what is looked up by key |
//! | `edit`, `apply`, `quick`, `parked` | own edits, others' updates, keystrokes among them, those that came too early |
//! | `varint`, `wire`, `export` | the bytes of updates, differences and merging |
//! | `snapshot`, `archive` | the bytes of a whole text: fast to load, or small |
//! | `past`, `compare` | former texts, and two of them side by side |
//! | `anchor`, `undo` | sticky positions, taking back |
//! | `server` | taking updates as a server does: at once or not at all |
//! | `check` | every invariant, for tests |

mod anchor;
mod apply;
#[cfg(feature = "archive")]
mod archive;
mod check;
mod compare;
mod content;
mod depth;
mod edit;
mod error;
mod export;
mod id;
mod leaf;
pub mod limits;
mod log;
mod map;
mod order;
mod origins;
mod parked;
mod past;
mod places;
mod quick;
mod rank;
mod server;
mod snapshot;
mod split;
mod tree;
mod undo;
mod varint;
mod wire;

use std::fmt;
use std::ops::Range;

pub use anchor::{Anchor, Bias, Place};
pub use apply::{Applied, Change};
pub use compare::{Fate, Piece};
pub use error::{ApplyError, EditError, FormatError, MergeError, PastError};
pub use export::{merge, ticks};
pub use id::{Client, Id, Measure, Seq, Update, Version};
pub use past::{Deed, Event, Moment};
pub use server::Admitted;
pub use snapshot::History;

use content::Content;
use leaf::NONE;

/// One replica of a text.
#[derive(Clone, Debug)]
pub struct Text {
    client: Client,
    /// The own client's place in the log's table, or `NONE` before its first edit.
    me: u32,
    content: Content,
    tree: tree::Tree,
    origins: origins::Origins,
    log: log::Log,
    crowds: order::Crowds,
    depths: Vec<depth::Depth>,
    parked: parked::Parked,
    scratch: apply::Scratch,
    undo: Option<Box<undo::Undo>>,
    /// The moment before which dead text is not known.
    floor: u32,
}

impl Text {
    /// An empty text that this client edits.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self {
            client,
            me: NONE,
            content: Content::default(),
            tree: tree::Tree::new(),
            origins: origins::Origins::default(),
            log: log::Log::default(),
            crowds: order::Crowds::default(),
            depths: Vec::new(),
            parked: parked::Parked::default(),
            scratch: apply::Scratch::default(),
            undo: None,
            floor: 0,
        }
    }

    /// The same text, for another client to edit.
    #[must_use]
    pub fn edited_by(mut self, client: Client) -> Self {
        self.client = client;
        self.me = self.log.place(client).unwrap_or(NONE);
        self.undo = None;
        self
    }

    /// Who edits here.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client
    }

    /// The length of the visible text.
    #[must_use]
    pub fn len(&self, measure: Measure) -> usize {
        self.tree.len(measure) as usize
    }

    /// Whether the visible text is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tree.live == 0
    }

    /// The visible text in pieces, without copying.
    pub fn chunks(&self) -> impl Iterator<Item = &str> + '_ {
        self.tree
            .spans()
            .filter(|span| !span.is_dead())
            .map(|span| self.content.slice(span.first, span.chars()))
    }

    /// The text that stands in a range of the visible text, if the range is within it and between
    /// characters.
    #[must_use]
    pub fn slice(&self, measure: Measure, range: Range<usize>) -> Option<String> {
        let from = u32::try_from(range.start).ok()?;
        let to = u32::try_from(range.end).ok()?;
        let from = self.tree.chars_before(from, measure, &self.content)?;
        let to = self.tree.chars_before(to, measure, &self.content)?;
        let mut left = to.checked_sub(from)?;
        let mut out = String::new();
        if left == 0 {
            return Some(out);
        }
        let mut next = Some(self.tree.find(from));
        while let Some(spot) = next {
            let leaf = &self.tree.leaves[spot.leaf as usize];
            let span = leaf.span(spot.index as usize);
            if !span.is_dead() {
                let piece = left.min(span.chars() - spot.offset);
                out.push_str(self.content.slice(span.first + spot.offset, piece));
                left -= piece;
                if left == 0 {
                    break;
                }
            }
            next = self.tree.settle(tree::Spot {
                offset: span.chars(),
                ..spot
            });
        }
        Some(out)
    }

    /// What is here of every client.
    #[must_use]
    pub fn version(&self) -> Version {
        let mut version = Version::new();
        for author in &self.log.authors {
            version.set(author.client, author.clock);
        }
        version
    }

    /// Which ticks must come before what waits can be applied.
    #[must_use]
    pub fn missing(&self) -> Vec<Update> {
        self.parked
            .wanted()
            .map(|id| Update {
                client: id.client,
                from: self.log.clock(id.client),
                to: id.clock + 1,
            })
            .filter(|update| !update.is_empty())
            .collect()
    }

    /// How many updates wait for what they build on.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.parked.len()
    }

    /// How many updates that had waited were found malformed and dropped.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.parked.refused
    }

    /// Says which Seq the server gave an own update; of one in which there is nothing, that is
    /// [`Text::pass`]. Seqs that come in the order in which their updates stand here make the past
    /// known: see [`Text::at`].
    pub fn acknowledge(&mut self, update: &Update, seq: Seq) {
        if update.is_empty() {
            return self.pass(seq);
        }
        let Some(place) = self.log.place(update.client) else {
            return;
        };
        let clock = self.log.authors[place as usize].clock;
        if update.to > clock {
            return;
        }
        let moment = |clock: u32| {
            let run = self.log.runs[self.log.run_of_tick(place, clock)];
            run.at + (clock - run.clock)
        };
        let (from, last) = (moment(update.from), moment(update.to - 1));
        // Only if nothing else came in between.
        if last - from == update.to - 1 - update.from {
            self.log.stamps.stamp(seq, from, last + 1);
        }
    }

    /// Says that the room's next Seq held no update of this text.
    pub fn pass(&mut self, seq: Seq) {
        let now = self.log.now;
        self.log.stamps.stamp(seq, now, now);
    }

    /// Counts lines from now on, so that [`Text::place_of`] takes logarithmic time. It costs a little
    /// in every edit.
    pub fn count_lines(&mut self) {
        if !self.content.counts_lines() {
            self.content.count_lines();
            self.tree.extras = None;
            self.tree.count_extras(&self.content);
        }
    }

    /// Gives back memory that growth had reserved.
    pub fn shrink(&mut self) {
        self.content.shrink();
        self.log.shrink();
        self.origins.runs.shrink_to_fit();
        self.tree.places.shrink();
        self.tree.leaves.shrink_to_fit();
        self.tree.inners.shrink_to_fit();
        self.scratch = apply::Scratch::default();
    }

    /// About how many bytes of heap it holds.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.content.heap_bytes()
            + self.tree.heap_bytes()
            + self.origins.runs.capacity() * size_of::<origins::Origin>()
            + self.log.heap_bytes()
            + self.crowds_heap_bytes()
            + self.parked.heap_bytes()
    }

    /// Checks every invariant of the whole structure. For tests: it takes time in proportion to the
    /// text.
    ///
    /// # Errors
    ///
    /// What does not hold.
    pub fn check(&self) -> Result<(), String> {
        check::check(self)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.chunks().try_for_each(|chunk| f.write_str(chunk))
    }
}
