//! The bytes of a whole text with its history, as small as they get.
//!
//! An archive says what happened as somebody who edits the text would: at which place of the text as
//! it was then something came or went. Places are small differences, and what a place implies
//! (origins, ids, deaths) is not written. Writing and loading therefore replay the history; a
//! [snapshot](Text::snapshot) loads several times faster. Columns are deflated one by one.

use super::Text;
use super::content::Content;
use super::error::FormatError;
use super::id::{Client, Measure};
use super::leaf::NONE;
use super::limits::{MAX_CHARS, MAX_CONTENT_BYTES, MAX_TICKS};
use super::log::Deed;
use super::snapshot::{read_clients, read_stamps, read_void};
use super::tree::Spot;
use super::varint::{Reader, write, write_part, write_signed};

/// The version byte of an archive.
pub(super) const ARCHIVE: u8 = 4;
/// How hard deflate tries.
const LEVEL: u8 = 9;
/// Deflate makes nothing smaller than this part.
const MAX_RATIO: u64 = 1032;

/// The columns: who, what and how much, where, explicit origins, Seqs, text.
const COLUMNS: usize = 6;

/// A history being replayed, and where its last operation ended.
struct Replay {
    text: Text,
    at: u32,
}

impl Replay {
    fn new(client: Client) -> Self {
        Self {
            text: Text::new(client),
            at: 0,
        }
    }

    /// The origins that an edit at a place of the text would have now.
    fn origins_at(&mut self, at: u32) -> (u32, u32) {
        let tree = &mut self.text.tree;
        if at == 0 {
            return (NONE, tree.item(tree.begin()));
        }
        let mut spot = tree.seek(at - 1);
        let left = tree.item(spot);
        spot.offset += 1;
        (left, tree.item(spot))
    }

    fn insert(&mut self, author: u32, at: u32, origins: (u32, u32), new: &str) {
        let n = self.text.log.chars;
        self.text
            .integrate(author, origins.0, origins.1, new, &mut None);
        self.at = at + (self.text.log.chars - n);
    }

    /// Kills characters that are all alive; says no if one is not.
    fn delete(&mut self, author: u32, at: u32, target: u32, len: u32, back: bool) -> bool {
        let text = &mut self.text;
        let (mut left, mut target) = (len, target);
        while left > 0 {
            let mut spot: Spot = text.tree.locate(target);
            let span = text.tree.leaves[spot.leaf as usize].span(spot.index as usize);
            if span.is_dead() {
                return false;
            }
            let piece = if back {
                let piece = left.min(spot.offset + 1);
                spot.offset -= piece - 1;
                piece
            } else {
                left.min(span.chars() - spot.offset)
            };
            text.tree
                .kill(spot, piece, text.log.now, back, &text.content);
            text.log.delete(author, target, piece, back);
            left -= piece;
            target = if back {
                target.wrapping_sub(piece)
            } else {
                target.wrapping_add(piece)
            };
        }
        self.at = if back { at.saturating_sub(len - 1) } else { at };
        true
    }

    /// Where a character stands in the text now.
    fn rank(&self, n: u32) -> u32 {
        let text = &self.text;
        text.tree
            .rank(text.tree.locate(n), Measure::Chars, &text.content)
    }
}

impl Text {
    /// The whole text with its history in as few bytes as they get; [`Text::load`] reads them.
    /// Writing and loading replay the history.
    #[must_use]
    pub fn archive(&self) -> Vec<u8> {
        let mut columns: [Vec<u8>; COLUMNS] = Default::default();
        let mut replay = Replay::new(self.client);
        for author in &self.log.authors {
            replay.text.log.admit(author.client);
        }
        let mut who: Option<(u32, u64)> = None;
        for place in 0..self.log.runs.len() {
            let author = self.log.runs[place].client();
            match &mut who {
                Some((last, runs)) if *last == author => *runs += 1,
                _ => {
                    write_who(&mut columns[0], who);
                    who = Some((author, 1));
                }
            }
            self.archive_run(place, &mut replay, &mut columns);
        }
        write_who(&mut columns[0], who);
        columns[4] = self.stamps_part();
        columns[5] = self.content.as_str().as_bytes().to_vec();
        let mut out = vec![ARCHIVE];
        write(&mut out, u64::from(self.floor));
        write(&mut out, self.log.authors.len() as u64);
        for author in &self.log.authors {
            write(&mut out, author.client.get());
        }
        for column in columns {
            write(&mut out, column.len() as u64);
            let packed = miniz_oxide::deflate::compress_to_vec(&column, LEVEL);
            write_part(&mut out, &packed);
        }
        out
    }

    fn archive_run(&self, place: usize, replay: &mut Replay, columns: &mut [Vec<u8>; COLUMNS]) {
        let run = self.log.runs[place];
        let (author, len) = (run.client(), self.log.len(place));
        let [_, heads, places, refs, ..] = columns;
        let deed = run.deed();
        match deed {
            Deed::Insert => {
                let (mut n, end) = (run.n, run.n + len);
                while n < end {
                    let (left, right) = self.origins.of(n);
                    let next = self.origins.runs.partition_point(|origin| origin.n <= n);
                    let stop = self
                        .origins
                        .runs
                        .get(next)
                        .map_or(end, |next| next.n.min(end));
                    let at = if left == NONE {
                        0
                    } else {
                        let mut spot = replay.text.tree.locate(left);
                        spot.offset += 1;
                        replay
                            .text
                            .tree
                            .rank(spot, Measure::Chars, &replay.text.content)
                    };
                    let implied = replay.origins_at(at) == (left, right);
                    let last = stop == end;
                    write(
                        heads,
                        (u64::from(stop - n) << 4)
                            | (u64::from(!last) << 3)
                            | (u64::from(!implied) << 2)
                            | deed as u64,
                    );
                    write_signed(places, i64::from(at) - i64::from(replay.at));
                    if !implied {
                        write(refs, u64::from(left.wrapping_add(1)));
                        write(refs, u64::from(right.wrapping_add(1)));
                    }
                    replay.insert(author, at, (left, right), self.content.slice(n, stop - n));
                    n = stop;
                }
            }
            Deed::Delete | Deed::DeleteBack => {
                let at = replay.rank(run.target);
                write(heads, (u64::from(len) << 4) | deed as u64);
                write_signed(places, i64::from(at) - i64::from(replay.at));
                replay.delete(author, at, run.target, len, deed == Deed::DeleteBack);
            }
            Deed::Void => {
                let void = self.log.voids[run.target as usize];
                write(heads, (u64::from(len) << 4) | deed as u64);
                write(refs, u64::from(void.author));
                write(refs, (u64::from(void.clock) << 1) | u64::from(void.back));
                replay.text.log.void(author, len, void);
            }
        }
    }
}

fn write_who(column: &mut Vec<u8>, who: Option<(u32, u64)>) {
    if let Some((author, runs)) = who {
        write(column, u64::from(author));
        write(column, runs);
    }
}

/// The text in an archive, whose version byte has been read.
pub(super) fn load(client: Client, reader: Reader<'_>) -> Result<Text, FormatError> {
    let mut reader = reader;
    let floor = reader.u32()?;
    let mut replay = Replay::new(client);
    read_clients(&mut reader, &mut replay.text.log)?;
    let mut columns: Vec<Vec<u8>> = Vec::new();
    for _ in 0..COLUMNS {
        let len = reader.u64()?;
        let packed_len = reader.u64()?;
        let packed = reader.take(packed_len)?;
        if len > (packed_len + 1) * MAX_RATIO || len > MAX_CONTENT_BYTES as u64 {
            return Err(FormatError::Number);
        }
        let column = miniz_oxide::inflate::decompress_to_vec_with_limit(packed, len as usize)
            .map_err(|_| FormatError::Inconsistent("a packed column"))?;
        if column.len() as u64 != len {
            return Err(FormatError::Inconsistent("a packed column"));
        }
        columns.push(column);
    }
    reader.end()?;
    let [who, heads, places, refs, stamps, content] = &columns[..] else {
        return Err(FormatError::Torn);
    };
    let content = str::from_utf8(content).map_err(|_| FormatError::Utf8)?;
    let content = Content::new(content.to_owned());
    let mut who = Reader::new(who);
    let (mut heads, mut places, mut refs) =
        (Reader::new(heads), Reader::new(places), Reader::new(refs));
    while !who.is_empty() {
        let author = who.u32()?;
        let runs = who.u64()?;
        if author as usize >= replay.text.log.authors.len() {
            return Err(FormatError::Reference);
        }
        for _ in 0..runs {
            while replay.step(author, &mut heads, &mut places, &mut refs, &content)? {}
        }
    }
    heads.end()?;
    places.end()?;
    refs.end()?;
    let mut text = replay.text;
    if text.log.chars != content.chars() {
        return Err(FormatError::Inconsistent("content and insertions"));
    }
    read_stamps(Reader::new(stamps), &mut text.log)?;
    if floor > text.log.now {
        return Err(FormatError::Inconsistent("the floor"));
    }
    text.floor = floor;
    text.me = text.log.place(client).unwrap_or(NONE);
    text.shrink();
    Ok(text)
}

impl Replay {
    /// Carries out one operation; says whether its run goes on.
    fn step(
        &mut self,
        author: u32,
        heads: &mut Reader<'_>,
        places: &mut Reader<'_>,
        refs: &mut Reader<'_>,
        content: &Content,
    ) -> Result<bool, FormatError> {
        let head = heads.u64()?;
        let deed = Deed::of(head as u32);
        let (explicit, more) = (head & 4 != 0, head & 8 != 0);
        let len = u32::try_from(head >> 4).map_err(|_| FormatError::Number)?;
        let log = &self.text.log;
        let insert = deed == Deed::Insert;
        if len == 0 || len > MAX_TICKS - log.now || (!insert && (explicit || more)) {
            return Err(FormatError::Inconsistent("an operation"));
        }
        if deed == Deed::Void {
            let void = read_void(refs, len, log)?;
            self.text.log.void(author, len, void);
            return Ok(false);
        }
        let at = i64::from(self.at)
            .checked_add(places.i64()?)
            .and_then(|at| u32::try_from(at).ok())
            .filter(|at| *at <= self.text.tree.live)
            .ok_or(FormatError::Reference)?;
        if insert {
            let n = log.chars;
            if len > content.chars() - n || len > MAX_CHARS - n {
                return Err(FormatError::Inconsistent("content and insertions"));
            }
            let origins = if explicit {
                let mut one = || -> Result<u32, FormatError> {
                    let after = refs.u32()?;
                    if after > n {
                        Err(FormatError::Reference)
                    } else {
                        Ok(after.wrapping_sub(1))
                    }
                };
                (one()?, one()?)
            } else {
                self.origins_at(at)
            };
            self.insert(author, at, origins, content.slice(n, len));
            return Ok(more);
        }
        if at >= self.text.tree.live {
            return Err(FormatError::Reference);
        }
        let spot = self.text.tree.seek(at);
        let target = self.text.tree.item(spot);
        let back = deed == Deed::DeleteBack;
        let room = if back {
            target + 1
        } else {
            self.text.log.chars - target
        };
        if len > room || !self.delete(author, at, target, len, back) {
            return Err(FormatError::Reference);
        }
        Ok(false)
    }
}
