//! Edits of this replica's own client.

use super::Text;
use super::error::EditError;
use super::id::{Measure, Update};
use super::leaf::NONE;
use super::limits::{MAX_CHARS, MAX_CLIENTS, MAX_CONTENT_BYTES, MAX_TICKS};

impl Text {
    /// Inserts `text` before what stands at `at`, counted in `measure`.
    ///
    /// # Errors
    ///
    /// [`EditError`] if `at` is past the end or inside a character, or the text may not grow; then
    /// nothing has happened.
    #[inline]
    pub fn insert(&mut self, measure: Measure, at: usize, text: &str) -> Result<Update, EditError> {
        let at = self.position(measure, at)?;
        self.admit_growth(text.len())?;
        let from = self.own_clock()?;
        self.insert_chars(at, text);
        Ok(self.update_since(from))
    }

    /// Deletes `len` from `at` on, both counted in `measure`.
    ///
    /// # Errors
    ///
    /// [`EditError`] if the range is not within the text, or an end of it is inside a character; then
    /// nothing has happened.
    #[inline]
    pub fn delete(&mut self, measure: Measure, at: usize, len: usize) -> Result<Update, EditError> {
        let (start, end) = self.range(measure, at, len)?;
        self.admit_ticks(u64::from(end - start))?;
        let from = self.own_clock()?;
        self.delete_chars(start, end - start);
        Ok(self.update_since(from))
    }

    /// Deletes `len` from `at` on and inserts `text` there, as one update.
    ///
    /// # Errors
    ///
    /// As [`Text::insert`] and [`Text::delete`]; then nothing has happened.
    pub fn replace(
        &mut self,
        measure: Measure,
        at: usize,
        len: usize,
        text: &str,
    ) -> Result<Update, EditError> {
        let (start, end) = self.range(measure, at, len)?;
        self.admit_growth(text.len())?;
        self.admit_ticks(u64::from(end - start) + text.len() as u64)?;
        let from = self.own_clock()?;
        self.delete_chars(start, end - start);
        self.insert_chars(start, text);
        Ok(self.update_since(from))
    }

    /// The number of characters before a position.
    #[inline]
    pub(super) fn position(&self, measure: Measure, at: usize) -> Result<u32, EditError> {
        if self.tree.extras.is_none() || measure == Measure::Chars {
            return if at <= self.tree.live as usize {
                Ok(at as u32)
            } else {
                Err(self.outside(measure, at))
            };
        }
        self.position_wide(measure, at)
    }

    fn position_wide(&self, measure: Measure, at: usize) -> Result<u32, EditError> {
        if at > self.tree.len(measure) as usize {
            return Err(self.outside(measure, at));
        }
        self.tree
            .chars_before(at as u32, measure, &self.content)
            .ok_or(EditError::InsideCharacter { at })
    }

    #[inline]
    fn range(&self, measure: Measure, at: usize, len: usize) -> Result<(u32, u32), EditError> {
        let Some(end) = at.checked_add(len) else {
            return Err(self.outside(measure, at));
        };
        Ok((self.position(measure, at)?, self.position(measure, end)?))
    }

    #[cold]
    fn outside(&self, measure: Measure, at: usize) -> EditError {
        EditError::Outside {
            at,
            len: self.tree.len(measure) as usize,
        }
    }

    /// Whether this many bytes more may be inserted.
    #[inline]
    pub(super) fn admit_growth(&self, bytes: usize) -> Result<(), EditError> {
        let fits = bytes <= (MAX_CHARS - self.log.chars) as usize
            && bytes <= MAX_CONTENT_BYTES - self.content.bytes();
        if !fits {
            return Err(EditError::Full);
        }
        self.admit_ticks(bytes as u64)
    }

    #[inline]
    pub(super) fn admit_ticks(&self, ticks: u64) -> Result<(), EditError> {
        if ticks <= u64::from(MAX_TICKS - self.log.now) {
            Ok(())
        } else {
            Err(EditError::Full)
        }
    }

    /// How many ticks this replica's client has; admits it if it has none.
    #[inline]
    pub(super) fn own_clock(&mut self) -> Result<u32, EditError> {
        if self.me == NONE {
            if self.log.authors.len() >= MAX_CLIENTS as usize {
                return Err(EditError::Full);
            }
            self.me = self.log.admit(self.client);
        }
        Ok(self.log.authors[self.me as usize].clock)
    }

    #[inline]
    pub(super) fn update_since(&self, from: u32) -> Update {
        Update {
            client: self.client,
            from,
            to: self.log.authors[self.me as usize].clock,
        }
    }

    /// Inserts at a number of live characters that has been checked.
    #[inline]
    pub(super) fn insert_chars(&mut self, at: u32, text: &str) {
        if text.is_empty() {
            return;
        }
        let (spot, left) = if at == 0 {
            (self.tree.begin(), NONE)
        } else {
            let mut spot = self.tree.seek(at - 1);
            let leaf = &self.tree.leaves[spot.leaf as usize];
            let left = leaf.first[spot.index as usize] + spot.offset;
            spot.offset += 1;
            (spot, left)
        };
        let right = self.tree.item(spot);
        let n = self.log.chars;
        let len = self.content.push(text);
        if !self.content.is_ascii() && self.tree.extras.is_none() {
            self.tree.count_extras(&self.content);
        }
        let head = self.origins.push(n, left, right);
        self.tree.insert(spot, n, len, head, at, &self.content);
        self.hang(n, len);
        self.log.insert(self.me, len);
        if let Some(undo) = &mut self.undo {
            undo.inserted(n, len);
        }
    }

    /// Deletes live characters that are there.
    #[inline]
    pub(super) fn delete_chars(&mut self, at: u32, len: u32) {
        let mut left = len;
        while left > 0 {
            let spot = self.tree.seek(at);
            let span = self.tree.leaves[spot.leaf as usize].span(spot.index as usize);
            let piece = left.min(span.chars() - spot.offset);
            let n = span.first + spot.offset;
            self.tree
                .kill(spot, piece, self.log.now, false, &self.content);
            self.log.delete(self.me, n, piece, false);
            if let Some(undo) = &mut self.undo {
                undo.deleted(n, piece);
            }
            left -= piece;
        }
    }
}
