//! The bytes of a whole text: its tables as they are, so that loading sorts and integrates nothing.
//!
//! [docs/formats.md](../../../docs/formats.md) has them byte by byte. Loading checks that the parts
//! fit together, so that nothing that follows can go wrong; that the order of the characters is the
//! one that their origins give is the saver's word. What loading holds is bounded by the input's
//! length.

use super::Text;
use super::content::Content;
use super::error::FormatError;
use super::id::{Client, Seq};
use super::leaf::{BACK, DEAD, FANOUT, HEAD, LENGTH, Leaf, NONE, Span};
use super::limits::{MAX_CHARS, MAX_CLIENTS, MAX_CONTENT_BYTES, MAX_SPAN_CHARS, MAX_TICKS};
use super::log::{Deed, Entry, Log, Void};
use super::origins::{Origin, Origins};
use super::places::Places;
use super::tree::{Inner, Tree};
use super::varint::{Reader, write, write_part, write_signed};

/// The version byte of a snapshot.
pub(super) const SNAPSHOT: u8 = 3;
/// The flag of a snapshot in which dead text is blank.
const BLANK: u64 = 1;
/// How many places of a node are filled.
const FILL: usize = FANOUT * 3 / 4;

/// Whether a snapshot holds deleted text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum History {
    /// It does: former texts can be asked for after loading.
    With,
    /// It does not: every deleted character is a NUL. Who loads it can go on editing with everyone,
    /// but not look back.
    Without,
}

impl Text {
    /// The whole text in bytes. What waits for what it builds on is not in it, nor what can be
    /// undone.
    #[must_use]
    pub fn snapshot(&self, history: History) -> Vec<u8> {
        let log = &self.log;
        let mut out = vec![SNAPSHOT];
        let blank = history == History::Without || self.floor > 0;
        write(&mut out, if blank { BLANK } else { 0 });
        if blank {
            let floor = if history == History::Without {
                log.now
            } else {
                self.floor
            };
            write(&mut out, u64::from(floor));
        }
        write(&mut out, log.authors.len() as u64);
        for author in &log.authors {
            write(&mut out, author.client.get());
        }
        write_part(&mut out, &self.runs_part());
        write_part(&mut out, &self.origins_part());
        write_part(&mut out, &self.stamps_part());
        write_part(&mut out, &self.spans_part());
        match history {
            History::With => write_part(&mut out, self.content.as_str().as_bytes()),
            History::Without => write_part(&mut out, self.blanked().as_bytes()),
        }
        out
    }

    fn runs_part(&self) -> Vec<u8> {
        let mut part = Vec::new();
        let mut last = 0;
        for (place, run) in self.log.runs.iter().enumerate() {
            write(&mut part, u64::from(run.who));
            let len = self.log.len(place);
            write(&mut part, u64::from(len));
            if matches!(run.deed(), Deed::Delete | Deed::DeleteBack) {
                write_signed(&mut part, i64::from(run.target) - i64::from(last));
                last = run.target;
            }
            if run.deed() == Deed::Void {
                let void = self.log.voids[run.target as usize];
                write(&mut part, u64::from(void.author));
                write(
                    &mut part,
                    (u64::from(void.clock) << 1) | u64::from(void.back),
                );
            }
        }
        part
    }

    fn origins_part(&self) -> Vec<u8> {
        let mut part = Vec::new();
        let mut last = 0;
        for origin in &self.origins.runs {
            write(&mut part, u64::from(origin.n - last));
            last = origin.n;
            // None is the place before 0.
            let after = origin.left.wrapping_add(1);
            write(&mut part, u64::from(origin.n - after));
            let right = if origin.right == NONE {
                0
            } else {
                let step = i64::from(origin.right) - i64::from(after);
                1 + ((step << 1) ^ (step >> 63)) as u64
            };
            write(&mut part, right);
        }
        part
    }

    pub(super) fn stamps_part(&self) -> Vec<u8> {
        let stamps = &self.log.stamps;
        let mut part = Vec::new();
        write(&mut part, stamps.base);
        write(&mut part, stamps.last - stamps.base);
        let mut last = stamps.base;
        for entry in &stamps.entries {
            write(&mut part, entry.seq - last);
            write(&mut part, u64::from(entry.step));
            last = entry.seq;
        }
        part
    }

    fn spans_part(&self) -> Vec<u8> {
        let mut part = Vec::new();
        let (mut next, mut stamp) = (0, 0);
        for span in self.tree.spans() {
            let dead = u64::from(span.is_dead());
            let back = u64::from(span.len & BACK != 0 && span.chars() > 1);
            write(
                &mut part,
                (u64::from(span.chars()) << 2) | (back << 1) | dead,
            );
            write_signed(&mut part, i64::from(span.first) - i64::from(next));
            next = span.first + span.chars();
            if span.is_dead() {
                write_signed(&mut part, i64::from(span.stamp) - i64::from(stamp));
                stamp = span.stamp;
            }
        }
        part
    }

    /// The content with a NUL for every dead character.
    fn blanked(&self) -> String {
        let mut alive = vec![false; self.log.chars as usize];
        for span in self.tree.spans().filter(|span| !span.is_dead()) {
            let first = span.first as usize;
            alive[first..first + span.chars() as usize].fill(true);
        }
        let text = self.content.as_str();
        text.chars()
            .zip(alive)
            .map(|(character, alive)| if alive { character } else { '\0' })
            .collect()
    }

    /// The text in the bytes of a snapshot or an archive, for this client to edit.
    ///
    /// # Errors
    ///
    /// [`FormatError`] if they are not those of a snapshot.
    pub fn load(client: Client, bytes: &[u8]) -> Result<Self, FormatError> {
        let mut reader = Reader::new(bytes);
        match reader.byte()? {
            SNAPSHOT => {}
            #[cfg(feature = "archive")]
            super::archive::ARCHIVE => return super::archive::load(client, reader),
            version => return Err(FormatError::Version(version)),
        }
        let flags = reader.u64()?;
        if flags > BLANK {
            return Err(FormatError::Number);
        }
        let floor = if flags == BLANK { reader.u32()? } else { 0 };
        let mut log = Log::default();
        read_clients(&mut reader, &mut log)?;
        let runs = reader.part()?;
        let origins = reader.part()?;
        let stamps = reader.part()?;
        let spans = reader.part()?;
        let content_len = reader.u64()?;
        let content = reader.take(content_len)?;
        reader.end()?;
        if content.len() > MAX_CONTENT_BYTES {
            return Err(FormatError::Number);
        }
        // Characters are at least a byte each, so that what is read is bounded by the input.
        let most = u32::try_from(content.len()).unwrap_or(MAX_CHARS);
        read_runs(runs, most.min(MAX_CHARS), &mut log)?;
        let content = str::from_utf8(content).map_err(|_| FormatError::Utf8)?;
        let content = Content::new(content.to_owned());
        if content.chars() != log.chars {
            return Err(FormatError::Inconsistent("content and insertions"));
        }
        read_stamps(stamps, &mut log)?;
        if floor > log.now {
            return Err(FormatError::Inconsistent("the floor"));
        }
        let origins = read_origins(origins, log.chars)?;
        let mut tree = read_spans(spans, &log, &origins)?;
        if !content.is_ascii() {
            tree.count_extras(&content);
        }
        let mut text = Self::new(client);
        text.me = log.place(client).unwrap_or(NONE);
        text.content = content;
        text.tree = tree;
        text.origins = origins;
        text.log = log;
        text.floor = floor;
        Ok(text)
    }
}

pub(super) fn read_clients(reader: &mut Reader<'_>, log: &mut Log) -> Result<(), FormatError> {
    let count = reader.u64()?;
    if count > u64::from(MAX_CLIENTS) {
        return Err(FormatError::Number);
    }
    for place in 0..count {
        // One that is there already has another place.
        if u64::from(log.admit(Client::new(reader.u64()?))) != place {
            return Err(FormatError::Inconsistent("a client twice"));
        }
    }
    Ok(())
}

/// Reads runs, which insert at most `most` characters.
fn read_runs(part: Reader<'_>, most: u32, log: &mut Log) -> Result<(), FormatError> {
    let mut part = part;
    let mut last = 0i64;
    log.runs.reserve_exact(part.remaining() / 3);
    while !part.is_empty() {
        let who = part.u32()?;
        let len = part.u32()?;
        if (who >> 2) as usize >= log.authors.len() || len == 0 || len > MAX_TICKS - log.now {
            return Err(FormatError::Inconsistent("a run"));
        }
        let mut target = NONE;
        let deed = Deed::of(who);
        if matches!(deed, Deed::Delete | Deed::DeleteBack) {
            let at = last
                .checked_add(part.i64()?)
                .and_then(|at| u32::try_from(at).ok())
                .filter(|at| *at < log.chars)
                .ok_or(FormatError::Reference)?;
            let room = if deed == Deed::Delete {
                log.chars - at
            } else {
                at + 1
            };
            if len > room {
                return Err(FormatError::Reference);
            }
            last = i64::from(at);
            target = at;
        }
        if deed == Deed::Void {
            target = log.voids.len() as u32;
            log.voids.push(read_void(&mut part, len, log)?);
        }
        if deed == Deed::Insert && len > most - log.chars {
            return Err(FormatError::Inconsistent("content and insertions"));
        }
        log.restore(who, len, target);
    }
    Ok(())
}

pub(super) fn read_void(part: &mut Reader<'_>, len: u32, log: &Log) -> Result<Void, FormatError> {
    let author = part.u32()?;
    let code = part.u64()?;
    let clock = u32::try_from(code >> 1).map_err(|_| FormatError::Number)?;
    let back = code & 1 == 1;
    let known = log
        .authors
        .get(author as usize)
        .map_or(0, |author| author.clock);
    let stays = if back {
        clock >= len - 1
    } else {
        len <= known.saturating_sub(clock)
    };
    if clock >= known || !stays {
        return Err(FormatError::Reference);
    }
    Ok(Void {
        author,
        clock,
        back,
    })
}

pub(super) fn read_stamps(part: Reader<'_>, log: &mut Log) -> Result<(), FormatError> {
    let mut part = part;
    let stamps = &mut log.stamps;
    let wrong = FormatError::Inconsistent("stamps");
    stamps.base = part.u64()?;
    stamps.last = stamps
        .base
        .checked_add(part.u64()?)
        .ok_or(FormatError::Number)?;
    let mut end = 0u64;
    while !part.is_empty() {
        let delta = part.u64()?;
        let step = part.u32()?;
        let before = stamps.entries.last().copied();
        let seq = before
            .map_or(stamps.base, |entry| entry.seq)
            .checked_add(delta)
            .filter(|seq| *seq <= stamps.last)
            .ok_or(wrong)?;
        match before {
            None if delta != 1 => return Err(wrong),
            Some(_) if delta == 0 => return Err(wrong),
            Some(entry) => end = advance(end, seq - entry.seq, entry.step).ok_or(wrong)?,
            None => {}
        }
        stamps.entries.push(Entry {
            seq,
            at: end as u32,
            step,
        });
    }
    if let Some(entry) = stamps.entries.last() {
        end = advance(end, stamps.last - entry.seq + 1, entry.step).ok_or(wrong)?;
    } else if stamps.last != stamps.base {
        return Err(wrong);
    }
    if end > u64::from(log.now) {
        return Err(wrong);
    }
    stamps.end = end as u32;
    Ok(())
}

/// The moment after so many Seqs of so many moments, if moments go that far.
fn advance(at: u64, seqs: u64, step: u32) -> Option<u64> {
    seqs.checked_mul(u64::from(step))
        .and_then(|more| at.checked_add(more))
        .filter(|end| *end <= u64::from(u32::MAX))
}

fn read_origins(part: Reader<'_>, chars: u32) -> Result<Origins, FormatError> {
    let mut part = part;
    let mut origins = Origins::default();
    origins.runs.reserve_exact(part.remaining() / 3);
    let wrong = FormatError::Inconsistent("origins");
    let mut last: Option<u32> = None;
    while !part.is_empty() {
        let delta = part.u32()?;
        let n = match last {
            None if delta == 0 => 0,
            Some(last) if delta > 0 => last.checked_add(delta).ok_or(wrong)?,
            _ => return Err(wrong),
        };
        if n >= chars {
            return Err(wrong);
        }
        let after = n.checked_sub(part.u32()?).ok_or(FormatError::Reference)?;
        let right = match part.u64()? {
            0 => NONE,
            code => {
                let code = code - 1;
                let step = (code >> 1) as i64 ^ -((code & 1) as i64);
                i64::from(after)
                    .checked_add(step)
                    .and_then(|right| u32::try_from(right).ok())
                    .filter(|right| *right < n)
                    .ok_or(FormatError::Reference)?
            }
        };
        origins.runs.push(Origin {
            n,
            left: after.wrapping_sub(1),
            right,
        });
        last = Some(n);
    }
    if last.is_none() && chars > 0 {
        return Err(wrong);
    }
    Ok(origins)
}

/// The leaves, ¾ full, and the nodes above them.
fn read_spans(part: Reader<'_>, log: &Log, origins: &Origins) -> Result<Tree, FormatError> {
    let mut part = part;
    let wrong = FormatError::Inconsistent("spans");
    let chars = log.chars;
    let mut heads = Bits::none(chars);
    for origin in &origins.runs {
        heads.set(origin.n, 1);
    }
    let mut placed = Bits::none(chars);
    let mut tree = Tree::new();
    tree.places = Places::unknown(chars);
    tree.leaves.reserve_exact(part.remaining() / (3 * FILL));
    let (mut next, mut stamp, mut total) = (0i64, 0i64, 0u32);
    let mut begun = 0;
    let mut at = 0;
    while !part.is_empty() {
        let code = part.u64()?;
        let len = u32::try_from(code >> 2).map_err(|_| wrong)?;
        let first = next
            .checked_add(part.i64()?)
            .and_then(|first| u32::try_from(first).ok())
            .ok_or(wrong)?;
        if len == 0
            || len > MAX_SPAN_CHARS
            || first > chars
            || len > (chars - first).min(chars - total)
        {
            return Err(wrong);
        }
        next = i64::from(first + len);
        let mut span = Span {
            first,
            len,
            stamp: 0,
        };
        if code & 1 == 1 {
            let back = code & 2 != 0;
            let died = stamp
                .checked_add(part.i64()?)
                .and_then(|died| u32::try_from(died).ok())
                .filter(|died| *died < log.now)
                .filter(|died| {
                    if back {
                        *died >= len - 1
                    } else {
                        len <= log.now - *died
                    }
                })
                .ok_or(wrong)?;
            stamp = i64::from(died);
            span.stamp = died;
            span.len |= DEAD | if back { BACK } else { 0 };
        } else if code & 2 != 0 {
            return Err(wrong);
        }
        if heads.has(first) {
            span.len |= HEAD;
            begun += 1;
        }
        if tree.leaves[at].count as usize == FILL {
            at += 1;
            tree.leaves.push(Leaf::new());
        }
        placed.set(first, len);
        tree.places.put(first, len, at as u32);
        total += len;
        let leaf = &mut tree.leaves[at];
        let index = leaf.count as usize;
        leaf.put(index, span);
        leaf.count += 1;
        leaf.born = leaf.born.min(first);
        if span.is_dead() {
            let last = if span.len & BACK == 0 {
                span.stamp + (len - 1)
            } else {
                span.stamp
            };
            leaf.died = leaf.died.max(last);
        } else {
            leaf.live += len;
            tree.live += len;
        }
    }
    // Every one, and no more than there are: none stands twice. Then as many spans begin with a head as
    // there are heads: none is inside a span.
    if !placed.all(chars) || begun != origins.runs.len() {
        return Err(wrong);
    }
    build_inners(&mut tree);
    Ok(tree)
}

/// One bit for each character.
struct Bits(Vec<u64>);

impl Bits {
    fn none(chars: u32) -> Self {
        Self(vec![0; chars.div_ceil(64) as usize])
    }

    fn has(&self, n: u32) -> bool {
        self.0
            .get((n / 64) as usize)
            .is_some_and(|word| word >> (n % 64) & 1 == 1)
    }

    /// Sets the bits of the `len` characters from `first` on.
    fn set(&mut self, first: u32, len: u32) {
        let (mut n, end) = (first, first + len);
        while n < end {
            let width = (64 - n % 64).min(end - n);
            self.0[(n / 64) as usize] |= (u64::MAX >> (64 - width)) << (n % 64);
            n += width;
        }
    }

    /// Whether each of `chars` characters has its bit set.
    fn all(&self, chars: u32) -> bool {
        let set: u32 = self.0.iter().map(|word| word.count_ones()).sum();
        set == chars
    }
}

/// Ties the leaves and builds the nodes above them, bottom up.
fn build_inners(tree: &mut Tree) {
    let leaves = tree.leaves.len();
    for at in 0..leaves {
        let leaf = &mut tree.leaves[at];
        leaf.prev = if at == 0 { NONE } else { at as u32 - 1 };
        leaf.next = if at + 1 == leaves {
            NONE
        } else {
            at as u32 + 1
        };
    }
    tree.inners.clear();
    let mut level = 0;
    let mut nodes: Vec<u32> = (0..leaves as u32).collect();
    loop {
        let mut above = Vec::new();
        for children in nodes.chunks(FILL) {
            let parent = tree.inners.len() as u32;
            tree.push_inner(Inner::new());
            for (slot, child) in children.iter().enumerate() {
                let sum = tree.sum(*child, level);
                tree.put_child(parent, slot, *child, sum);
                tree.set_parent(*child, level, parent);
            }
            tree.inners[parent as usize].count = children.len() as u32;
            above.push(parent);
        }
        level += 1;
        if let [root] = above[..] {
            tree.root = root;
            tree.height = level;
            return;
        }
        nodes = above;
    }
}

const _: () = assert!(MAX_SPAN_CHARS <= LENGTH);

impl Text {
    /// Says that everything here was under this Seq or earlier ones: for a server that starts to give
    /// Seqs to a text that was edited before.
    pub fn begin_at(&mut self, seq: Seq) {
        let stamps = &mut self.log.stamps;
        if stamps.entries.is_empty() {
            stamps.stamp(seq, 0, self.log.now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::Measure;

    /// What the spans of living characters, as first and length, are read as beside this text's log.
    fn read(text: &Text, spans: &[(u32, u32)]) -> Result<Tree, FormatError> {
        let (mut part, mut next) = (Vec::new(), 0);
        for (first, len) in spans {
            write(&mut part, u64::from(*len) << 2);
            write_signed(&mut part, i64::from(*first) - i64::from(next));
            next = first + len;
        }
        read_spans(Reader::new(&part), &text.log, &text.origins)
    }

    #[test]
    fn runs_that_insert_more_than_the_content_has_take_no_memory() {
        let mut log = Log::default();
        log.admit(Client::new(1));
        let mut part = Vec::new();
        for len in [1, (1 << 30) - 1] {
            write(&mut part, 0);
            write(&mut part, len);
        }
        let read = read_runs(Reader::new(&part), 2, &mut log);
        assert_eq!(
            read,
            Err(FormatError::Inconsistent("content and insertions"))
        );
        assert!(log.heap_bytes() < 1024, "{}", log.heap_bytes());
        assert_eq!((log.chars, log.now), (1, 1));
    }

    #[test]
    fn spans_have_every_character_once_and_begin_where_origins_do() {
        let mut text = Text::new(Client::new(1));
        text.insert(Measure::Chars, 0, "abcd").unwrap();
        text.insert(Measure::Chars, 2, "X").unwrap();
        let refused = Err(FormatError::Inconsistent("spans"));
        let read = |spans: &[(u32, u32)]| read(&text, spans).map(|tree| tree.live);
        assert_eq!(read(&[(0, 2), (4, 1), (2, 2)]), Ok(5));
        assert_eq!(
            read(&[(0, 2), (4, 1), (1, 1), (1, 1)]),
            refused,
            "one thrice"
        );
        assert_eq!(read(&[(0, 2), (4, 1)]), refused, "two are lost");
        assert_eq!(read(&[(0, 2), (4, 1), (2, 2), (3, 1)]), refused, "too many");
        assert_eq!(read(&[(0, 5)]), refused, "a run of origins begins inside");
    }
}
