//!
//! Every tick of every client has a place in this order, a **moment** (`u32`, local to a replica
//! like `n`). A run is consecutive moments of one client doing one thing; typing and erasing extend
//! the last one. Deaths are stamped with moments, and [`Stamps`] ties moments to Seqs, so a Seq that
//! comes late changes nothing in the tree.

use super::id::{Client, Seq};
use super::leaf::NONE;
use super::map::Map;

/// Of how many ticks of a client one has its run in a table: what a search from there takes at most.
const STRIDE: u32 = 32;
/// How many entries of that table a run pays for. A deletion of many ticks is a few bytes.
const STRIDES_A_RUN: usize = 8;

/// Among so many clients one is found sooner without the map.
const FEW: usize = 8;

/// What a run does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    /// Inserts the characters from `n` on.
    Insert,
    /// Deletes the characters from `target` on, upwards.
    Delete,
    /// Deletes the characters from `target` on, downwards.
    DeleteBack,
    /// Deletes what was dead already when it arrived: `target` is a place in the table of such.
    Void,
}

impl Deed {
    pub(super) fn of(bits: u32) -> Self {
        match bits & 3 {
            0 => Self::Insert,
            1 => Self::Delete,
            2 => Self::DeleteBack,
            _ => Self::Void,
        }
    }
}

/// Consecutive moments of one client doing one thing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    /// Its first moment.
    pub at: u32,
    /// How many characters had been inserted before; an insertion's first.
    pub n: u32,
    /// The client's tick at the first moment.
    pub clock: u32,
    /// What it deletes first.
    pub target: u32,
    /// The client's place in the table, and the deed in the two lowest bits.
    pub who: u32,
}

impl Run {
    pub(super) fn deed(self) -> Deed {
        Deed::of(self.who)
    }

    pub(super) fn client(self) -> u32 {
        self.who >> 2
    }
}

/// What a run deletes that was dead already: kept by ticks, so that one operation is one entry,
/// however its targets are scattered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Void {
    /// Whose ticks, as a place in the table.
    pub author: u32,
    /// The first.
    pub clock: u32,
    /// Whether the others follow downwards.
    pub back: bool,
}

/// One client: how far its ticks go, and which runs they are in.
#[derive(Clone, Debug)]
pub(super) struct Author {
    pub client: Client,
    /// How many ticks of it are here.
    pub clock: u32,
    /// The last character it inserted, or `NONE`.
    pub last: u32,
    /// How many characters it inserted.
    inserted: u32,
    /// The first tick of each of its runs, and the run.
    pub runs: Vec<(u32, u32)>,
    /// For every [`STRIDE`]th tick but the first, where in `runs` its run is; only of the earlier ticks once
    /// that would be much more than runs and characters are.
    starts: Vec<u32>,
}

impl Author {
    /// The next `len` ticks are of its last run.
    #[inline]
    fn tick(&mut self, len: u32) {
        let before = self.clock;
        self.clock += len;
        if strides(self.clock) > self.starts.len() {
            self.list(before);
        }
    }

    /// Lists the run of the ticks since `before`, if all earlier ones are listed.
    fn list(&mut self, before: u32) {
        let wanted = strides(self.clock);
        let most = self.runs.len() * STRIDES_A_RUN + (self.inserted / STRIDE) as usize * 2;
        if self.starts.len() == strides(before) && wanted <= most {
            self.starts.resize(wanted, (self.runs.len() - 1) as u32);
        }
    }
}

/// How many of the first ticks are listed.
#[inline]
fn strides(ticks: u32) -> usize {
    (ticks.saturating_sub(1) / STRIDE) as usize
}

/// The log.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    pub runs: Vec<Run>,
    /// How many moments there have been.
    pub now: u32,
    /// How many characters were ever inserted.
    pub chars: u32,
    pub authors: Vec<Author>,
    pub voids: Vec<Void>,
    /// By client: its place in the table.
    places: Map,
    recent: u32,
    pub stamps: Stamps,
}

impl Log {
    /// A client's place in the table, if it has one.
    #[inline]
    pub(super) fn place(&self, client: Client) -> Option<u32> {
        if let Some(author) = self.authors.get(self.recent as usize)
            && author.client == client
        {
            return Some(self.recent);
        }
        if self.authors.len() <= FEW {
            let found = self
                .authors
                .iter()
                .position(|author| author.client == client);
            return found.map(|place| place as u32);
        }
        self.places.get(u128::from(client.get()))
    }

    /// Says whose place will probably be asked for next.
    #[inline]
    pub(super) fn expect(&mut self, place: u32) {
        self.recent = place;
    }

    /// A client's place in the table; it gets one.
    #[inline]
    pub(super) fn admit(&mut self, client: Client) -> u32 {
        let place = self.place(client).unwrap_or_else(|| {
            let place = self.authors.len() as u32;
            self.places.set(u128::from(client.get()), place);
            self.authors.push(Author {
                client,
                clock: 0,
                last: NONE,
                inserted: 0,
                runs: Vec::new(),
                starts: Vec::new(),
            });
            place
        });
        self.recent = place;
        place
    }

    /// How many ticks of a client are here.
    pub(super) fn clock(&self, client: Client) -> u32 {
        self.place(client)
            .map_or(0, |place| self.authors[place as usize].clock)
    }

    /// A client inserts the next `len` characters.
    #[inline]
    pub(super) fn insert(&mut self, author: u32, len: u32) {
        let who = author << 2;
        if self.runs.last().is_none_or(|run| run.who != who) {
            self.begin(author, Deed::Insert, NONE);
        }
        self.now += len;
        self.chars += len;
        let author = &mut self.authors[author as usize];
        author.inserted += len;
        author.tick(len);
        author.last = self.chars - 1;
    }

    /// A client deletes `len` characters, from `target` on up, or down if `back`.
    #[inline]
    pub(super) fn delete(&mut self, author: u32, target: u32, len: u32, back: bool) {
        if let Some(run) = self.runs.last_mut()
            && run.who >> 2 == author
        {
            let done = self.now - run.at;
            let one = done == 1;
            let up = run.who & 3 == Deed::Delete as u32;
            let down = run.who & 3 == Deed::DeleteBack as u32;
            let goes_up = (up || (down && one)) && (!back || len == 1);
            let goes_down = (down || (up && one)) && (back || len == 1);
            if goes_up && run.target.wrapping_add(done) == target {
                run.who = (author << 2) | Deed::Delete as u32;
                return self.tick(author, len);
            }
            if goes_down && run.target.wrapping_sub(done) == target {
                run.who = (author << 2) | Deed::DeleteBack as u32;
                return self.tick(author, len);
            }
        }
        let deed = if back && len > 1 {
            Deed::DeleteBack
        } else {
            Deed::Delete
        };
        self.begin(author, deed, target);
        self.tick(author, len);
    }

    /// A client deletes what is dead already.
    pub(super) fn void(&mut self, author: u32, len: u32, what: Void) {
        let who = (author << 2) | Deed::Void as u32;
        if let (Some(run), Some(last)) = (self.runs.last(), self.voids.last())
            && run.who == who
            && last.author == what.author
            && last.back == what.back
        {
            let done = self.now - run.at;
            let next = if what.back {
                last.clock.wrapping_sub(done)
            } else {
                last.clock.wrapping_add(done)
            };
            if next == what.clock {
                return self.tick(author, len);
            }
        }
        self.begin(author, Deed::Void, self.voids.len() as u32);
        self.voids.push(what);
        self.tick(author, len);
    }

    /// Adds a run as a snapshot has it.
    pub(super) fn restore(&mut self, who: u32, len: u32, target: u32) {
        let author = who >> 2;
        self.begin(author, Deed::of(who), target);
        if Deed::of(who) == Deed::Insert {
            self.chars += len;
            let author = &mut self.authors[author as usize];
            author.last = self.chars - 1;
            author.inserted += len;
        }
        self.tick(author, len);
    }

    #[inline]
    fn tick(&mut self, author: u32, len: u32) {
        self.now += len;
        self.authors[author as usize].tick(len);
    }

    #[inline]
    fn begin(&mut self, author: u32, deed: Deed, target: u32) {
        let place = self.runs.len() as u32;
        let entry = &mut self.authors[author as usize];
        entry.runs.push((entry.clock, place));
        self.runs.push(Run {
            at: self.now,
            n: self.chars,
            clock: entry.clock,
            target,
            who: (author << 2) | deed as u32,
        });
    }

    /// How many moments a run has.
    #[inline]
    pub(super) fn len(&self, run: usize) -> u32 {
        let end = self.runs.get(run + 1).map_or(self.now, |next| next.at);
        end - self.runs[run].at
    }

    /// The run of a tick of a client that is here.
    #[inline]
    pub(super) fn run_of_tick(&self, author: u32, clock: u32) -> usize {
        let author = &self.authors[author as usize];
        let runs = &author.runs;
        let stride = (clock / STRIDE) as usize;
        let mut place = match author.starts.get(stride.wrapping_sub(1)) {
            Some(place) => *place as usize,
            None if stride == 0 => 0,
            None => runs
                .partition_point(|(first, _)| *first <= clock)
                .saturating_sub(1),
        };
        // At most as many steps as there are ticks in a stride.
        while runs
            .get(place + 1)
            .is_some_and(|(first, _)| *first <= clock)
        {
            place += 1;
        }
        runs[place].1 as usize
    }

    /// The run that inserted the character `n`.
    pub(super) fn run_of_char(&self, n: u32) -> usize {
        self.runs
            .partition_point(|run| run.n <= n)
            .saturating_sub(1)
    }

    /// The run of a moment.
    pub(super) fn run_of_moment(&self, at: u32) -> usize {
        self.runs
            .partition_point(|run| run.at <= at)
            .saturating_sub(1)
    }

    /// The character that a tick inserted and how many more follow in its run; none if the tick
    /// deleted.
    #[inline]
    pub(super) fn char_of(&self, author: u32, clock: u32) -> Option<(u32, u32)> {
        let place = self.run_of_tick(author, clock);
        let run = self.runs[place];
        if run.deed() != Deed::Insert {
            return None;
        }
        let offset = clock - run.clock;
        Some((run.n + offset, self.len(place) - offset))
    }

    /// Who inserted the character `n` (its place in the table), and with which tick.
    pub(super) fn id_of(&self, n: u32) -> (u32, u32) {
        let run = self.runs[self.run_of_char(n)];
        (run.client(), run.clock + (n - run.n))
    }

    /// How many characters had been inserted before a moment.
    pub(super) fn chars_at(&self, moment: u32) -> u32 {
        if moment >= self.now {
            return self.chars;
        }
        let run = self.runs[self.run_of_moment(moment)];
        if run.deed() == Deed::Insert {
            run.n + (moment - run.at)
        } else {
            run.n
        }
    }

    pub(super) fn shrink(&mut self) {
        self.runs.shrink_to_fit();
        self.voids.shrink_to_fit();
        self.stamps.entries.shrink_to_fit();
        for author in &mut self.authors {
            author.runs.shrink_to_fit();
            author.starts.shrink_to_fit();
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.runs.capacity() * size_of::<Run>()
            + self.authors.capacity() * size_of::<Author>()
            + self.voids.capacity() * size_of::<Void>()
            + self.stamps.entries.capacity() * size_of::<Entry>()
            // Each run stands once in its author's list, and of some characters the table has four
            // bytes; both grow by doubling, from four entries on.
            + self.runs.len() * 16
            + (self.chars / STRIDE) as usize * 8
            + self.places.heap_bytes()
    }
}

/// From a Seq on, each Seq has this many moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub seq: u64,
    pub at: u32,
    pub step: u32,
}

/// Which moments belong to which Seq, as far as the arrivals came in the server's order.
#[derive(Clone, Debug, Default)]
pub(super) struct Stamps {
    pub entries: Vec<Entry>,
    /// The Seq before the first.
    pub base: u64,
    /// The last Seq, or `base`.
    pub last: u64,
    /// The moment after it.
    pub end: u32,
}

impl Stamps {
    /// Moments `from..to` came under this Seq. Only what comes in order is kept.
    #[inline]
    pub(super) fn stamp(&mut self, seq: Seq, from: u32, to: u32) {
        let seq = seq.get();
        if seq <= self.last && to > from {
            // It came after later ones: what was known of these, and of itself, was wrong.
            *self = Self::default();
            return;
        }
        if from != self.end {
            return;
        }
        if self.entries.is_empty() && from == 0 && seq > 0 {
            self.base = seq - 1;
            self.last = seq - 1;
        }
        if self.last.checked_add(1) != Some(seq) {
            return;
        }
        let step = to - from;
        if self.entries.last().is_none_or(|entry| entry.step != step) {
            self.entries.push(Entry {
                seq,
                at: from,
                step,
            });
        }
        self.last = seq;
        self.end = to;
    }

    /// All moments from the last stamped one on came under this Seq; those between the last Seq and
    /// this one held none.
    pub(super) fn stamp_rest(&mut self, seq: Seq, now: u32) {
        let number = seq.get();
        if number <= self.last {
            return;
        }
        if self.entries.is_empty() {
            self.base = number - 1;
            self.last = number - 1;
        }
        if number - self.last > 1 {
            if self.entries.last().is_none_or(|entry| entry.step != 0) {
                self.entries.push(Entry {
                    seq: self.last + 1,
                    at: self.end,
                    step: 0,
                });
            }
            self.last = number - 1;
        }
        self.stamp(seq, self.end, now);
    }

    /// The moment after a Seq that is known, or before all if it is older than all.
    pub(super) fn moment_after(&self, seq: Seq) -> Option<u32> {
        let seq = seq.get();
        if seq > self.last {
            return None;
        }
        let place = self.entries.partition_point(|entry| entry.seq <= seq);
        let Some(entry) = place.checked_sub(1).map(|place| self.entries[place]) else {
            return Some(0);
        };
        // Within u32: the next entry begins no earlier.
        Some(entry.at + ((seq - entry.seq + 1) as u32).wrapping_mul(entry.step))
    }

    /// The Seq of a moment, if it has one.
    pub(super) fn seq_of(&self, moment: u32) -> Option<Seq> {
        if moment >= self.end {
            return None;
        }
        let place = self.entries.partition_point(|entry| entry.at <= moment);
        let entry = self.entries[place.checked_sub(1)?];
        let steps = (moment - entry.at).checked_div(entry.step)?;
        Some(Seq::new(entry.seq + u64::from(steps)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{History, Measure, Text};

    #[test]
    fn many_ticks_in_few_bytes_take_little_memory() {
        let mut text = Text::new(Client::new(1));
        text.insert(Measure::Chars, 0, &"x".repeat(100_000))
            .unwrap();
        let snapshot = text.snapshot(History::With);
        let clears = |client| {
            let mut text = Text::load(Client::new(client), &snapshot).unwrap();
            let update = text.delete(Measure::Chars, 0, 100_000).unwrap();
            text.encode(&update)
        };
        for client in 2..50 {
            text.apply(&clears(client), None).unwrap();
        }
        let listed = |text: &Text| {
            let authors = text.log.authors.iter();
            authors.map(|author| author.starts.len()).sum::<usize>()
        };
        // One number for every 32 characters typed, at the most 8 for each run.
        assert!(listed(&text) <= 100_000 / 32 + 8 * text.log.runs.len());
        // Ticks that are not listed are found all the same, and so are those after them.
        let mut text = Text::load(Client::new(2), &text.snapshot(History::With)).unwrap();
        for _ in 0..1_000 {
            text.insert(Measure::Chars, 0, "yz").unwrap();
            text.delete(Measure::Chars, 0, 1).unwrap();
        }
        text.check().unwrap();
    }
}
