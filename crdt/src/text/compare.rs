//! Two moments of one text side by side: what stayed, what came and what went, with authors.

use super::Text;
use super::anchor::{Anchor, Bias, Place};
use super::error::PastError;
use super::id::{Client, Measure, Seq};
use super::leaf::{BACK, Span};
use super::past::Cut;

/// What became of a piece of text between two moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was there at both.
    Kept,
    /// It came after the first.
    Inserted,
    /// It went before the second.
    Deleted,
}

/// A piece of text that was there at one moment or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// The text.
    pub text: &'a str,
    /// What became of it.
    pub fate: Fate,
    /// Who inserted it; who deleted it, if it was deleted.
    pub client: Client,
}

impl Text {
    /// The pieces of the text as it was after the Seq `from` and after the Seq `to`, in the order in
    /// which they stand. With one Seq twice, that text by authors. It takes time in proportion to
    /// the spans.
    ///
    /// # Errors
    ///
    /// [`PastError`] if a moment is not known here.
    pub fn compare(&self, from: Seq, to: Seq) -> Result<Vec<Piece<'_>>, PastError> {
        Ok(self.compare_cuts(self.cut(from)?, self.cut(to)?))
    }

    /// The text as it is by authors. It takes time in proportion to the spans.
    #[must_use]
    pub fn pieces(&self) -> Vec<Piece<'_>> {
        let now = self.cut_now();
        self.compare_cuts(now, now)
    }

    fn compare_cuts(&self, before: Cut, after: Cut) -> Vec<Piece<'_>> {
        let mut pieces = Vec::new();
        for span in self.tree.spans() {
            let (old, new) = (before.visible(span), after.visible(span));
            let mut edges = [old.start, old.end, new.start, new.end];
            edges.sort_unstable();
            for (start, end) in edges.iter().zip(&edges[1..]) {
                if start == end {
                    continue;
                }
                let fate = match (old.contains(start), new.contains(start)) {
                    (true, true) => Fate::Kept,
                    (false, true) => Fate::Inserted,
                    (true, false) => Fate::Deleted,
                    (false, false) => continue,
                };
                self.push_pieces(span, *start, *end, fate, &mut pieces);
            }
        }
        pieces
    }

    /// Part of a span, cut where its author changes.
    fn push_pieces<'a>(
        &'a self,
        span: Span,
        start: u32,
        end: u32,
        fate: Fate,
        pieces: &mut Vec<Piece<'a>>,
    ) {
        let mut at = start;
        while at < end {
            let (run, len) = if fate != Fate::Deleted {
                let n = span.first + at;
                let run = self.log.run_of_char(n);
                (run, self.log.len(run) - (n - self.log.runs[run].n))
            } else if span.len & BACK == 0 {
                let moment = span.stamp + at;
                let run = self.log.run_of_moment(moment);
                (run, self.log.len(run) - (moment - self.log.runs[run].at))
            } else {
                let moment = span.stamp - at;
                let run = self.log.run_of_moment(moment);
                (run, moment - self.log.runs[run].at + 1)
            };
            let len = len.clamp(1, end - at);
            pieces.push(Piece {
                text: self.content.slice(span.first + at, len),
                fate,
                client: self.log.authors[self.log.runs[run].client() as usize].client,
            });
            at += len;
        }
    }

    /// Where a sticky position was after a Seq: its index and its line and column, counted in
    /// `measure`; none if its character had not come by then. Takes time in proportion to the text
    /// before it.
    ///
    /// # Errors
    ///
    /// [`PastError`] if that moment is not known here.
    pub fn place_at(
        &self,
        anchor: &Anchor,
        measure: Measure,
        seq: Seq,
    ) -> Result<Option<(usize, Place)>, PastError> {
        let cut = self.cut(seq)?;
        let target = match anchor.id {
            None => None,
            Some(id) => {
                let author = self.log.place(id.client);
                let author = author.filter(|a| id.clock < self.log.authors[*a as usize].clock);
                let found = author.and_then(|author| self.log.char_of(author, id.clock));
                match found {
                    Some((n, _)) if n < cut.chars() => Some(n),
                    _ => return Ok(None),
                }
            }
        };
        let (mut index, mut place) = (0, Place { line: 0, column: 0 });
        if anchor.id.is_none() && anchor.bias == Bias::Left {
            return Ok(Some((index, place)));
        }
        for span in self.tree.spans() {
            let mut part = cut.visible(span);
            let here = target.and_then(|n| n.checked_sub(span.first));
            let here = here.filter(|offset| *offset < span.chars());
            if let Some(offset) = here {
                part.end = part.end.min(offset + u32::from(anchor.bias == Bias::Left));
            }
            if part.start < part.end {
                let text = self
                    .content
                    .slice(span.first + part.start, part.end - part.start);
                index += length(text, measure);
                match text.rfind('\n') {
                    Some(feed) => {
                        place.line += text.bytes().filter(|byte| *byte == b'\n').count();
                        place.column = length(&text[feed + 1..], measure);
                    }
                    None => place.column += length(text, measure),
                }
            }
            if here.is_some() {
                break;
            }
        }
        Ok(Some((index, place)))
    }
}

fn length(text: &str, measure: Measure) -> usize {
    match measure {
        Measure::Bytes => text.len(),
        Measure::Units => text.encode_utf16().count(),
        Measure::Chars => super::content::count(text),
    }
}
