//! Taking back one client's own edits, whatever others did meanwhile.
//!
//! What was inserted is deleted, as far as it is still alive. What was deleted is inserted again
//! beside its tombstones, as new characters. Such a **copy** stands for its original from then on,
//! so that earlier edits of the original can be taken back too.

use super::Text;
use super::apply::{Change, Listener};
use super::error::EditError;
use super::id::{Measure, Update};
use super::limits::MAX_UNDO_EDITS;
use super::map::Map;
use super::tree::Spot;

/// One insertion or deletion of characters that arrived one after another.
#[derive(Clone, Copy, Debug)]
struct Step {
    inserted: bool,
    n: u32,
    len: u32,
}

/// What is taken back at once.
type Group = Vec<Step>;

/// What can be taken back, and what of that can be done again.
#[derive(Clone, Debug, Default)]
pub(super) struct Undo {
    done: Vec<Group>,
    undone: Vec<Group>,
    /// Whether the last group may still grow.
    open: bool,
    /// While an undo or a redo runs: its own steps.
    running: Option<Group>,
    /// By character: its copy.
    copies: Map,
}

impl Undo {
    pub(super) fn inserted(&mut self, n: u32, len: u32) {
        self.note(Step {
            inserted: true,
            n,
            len,
        });
    }

    pub(super) fn deleted(&mut self, n: u32, len: u32) {
        self.note(Step {
            inserted: false,
            n,
            len,
        });
    }

    fn note(&mut self, step: Step) {
        if let Some(running) = &mut self.running {
            return running.push(step);
        }
        self.undone.clear();
        if !self.open {
            if self.done.len() >= MAX_UNDO_EDITS {
                self.done.remove(0);
            }
            self.done.push(Group::new());
            self.open = true;
        }
        let Some(group) = self.done.last_mut() else {
            return;
        };
        match group.last_mut() {
            Some(last) if last.inserted && step.inserted && last.n + last.len == step.n => {
                last.len += step.len;
            }
            _ => group.push(step),
        }
    }

    /// The newest copy of a character.
    fn newest(&self, n: u32) -> u32 {
        let mut n = n;
        while let Some(copy) = self.copies.get(u128::from(n)) {
            n = copy;
        }
        n
    }
}

impl Text {
    /// Remembers own edits from now on, so that they can be taken back. Edits up to the next
    /// [`Text::checkpoint`] are taken back together.
    pub fn track_undo(&mut self) {
        if self.undo.is_none() {
            self.undo = Some(Box::default());
        }
    }

    /// Ends a group of own edits.
    pub fn checkpoint(&mut self) {
        if let Some(undo) = &mut self.undo {
            undo.open = false;
        }
    }

    /// Whether [`Text::undo`] has something to take back.
    #[must_use]
    pub fn can_undo(&self) -> bool {
        self.undo.as_ref().is_some_and(|undo| !undo.done.is_empty())
    }

    /// Whether [`Text::redo`] has something to do again.
    #[must_use]
    pub fn can_redo(&self) -> bool {
        self.undo
            .as_ref()
            .is_some_and(|undo| !undo.undone.is_empty())
    }

    /// Takes back the last group of own edits; none if there is none.
    ///
    /// # Errors
    ///
    /// [`EditError::Full`] if the text cannot grow; then nothing has happened.
    pub fn undo(&mut self) -> Result<Option<Update>, EditError> {
        self.take_back(true, &mut None)
    }

    /// As [`Text::undo`], and appends the visible edits, counted in `measure`.
    ///
    /// # Errors
    ///
    /// As [`Text::undo`].
    pub fn undo_seen(
        &mut self,
        measure: Measure,
        changes: &mut Vec<Change>,
    ) -> Result<Option<Update>, EditError> {
        self.take_back(true, &mut Some((measure, changes)))
    }

    /// Does again what was taken back last; none if there is nothing, or own edits came since.
    ///
    /// # Errors
    ///
    /// [`EditError::Full`] if the text cannot grow; then nothing has happened.
    pub fn redo(&mut self) -> Result<Option<Update>, EditError> {
        self.take_back(false, &mut None)
    }

    /// As [`Text::redo`], and appends the visible edits, counted in `measure`.
    ///
    /// # Errors
    ///
    /// As [`Text::redo`].
    pub fn redo_seen(
        &mut self,
        measure: Measure,
        changes: &mut Vec<Change>,
    ) -> Result<Option<Update>, EditError> {
        self.take_back(false, &mut Some((measure, changes)))
    }

    fn take_back(
        &mut self,
        done: bool,
        listener: &mut Listener<'_>,
    ) -> Result<Option<Update>, EditError> {
        let Some(undo) = &mut self.undo else {
            return Ok(None);
        };
        undo.open = false;
        let group = if done {
            undo.done.last()
        } else {
            undo.undone.last()
        };
        let Some(group) = group.cloned() else {
            return Ok(None);
        };
        let chars: u64 = group.iter().map(|step| u64::from(step.len)).sum();
        let bytes: usize = group
            .iter()
            .filter(|step| !step.inserted)
            .map(|step| self.content.slice(step.n, step.len).len())
            .sum();
        self.admit_growth(bytes)?;
        self.admit_ticks(chars + bytes as u64)?;
        let from = self.own_clock()?;
        if let Some(undo) = &mut self.undo {
            if done {
                undo.done.pop();
            } else {
                undo.undone.pop();
            }
            undo.running = Some(Group::new());
        }
        for step in group.iter().rev() {
            if step.inserted {
                self.take_out(step.n, step.len, listener);
            } else {
                self.put_back(step.n, step.len, listener);
            }
        }
        if let Some(undo) = &mut self.undo {
            let steps = undo.running.take().unwrap_or_default();
            if done {
                undo.undone.push(steps);
            } else {
                undo.done.push(steps);
            }
        }
        Ok(Some(self.update_since(from)))
    }

    /// Deletes what is alive of these characters or their copies.
    fn take_out(&mut self, n: u32, len: u32, listener: &mut Listener<'_>) {
        let (mut n, mut left) = (n, len);
        while left > 0 {
            let Some((first, piece, spot)) = self.newest_piece(n, left) else {
                return;
            };
            let leaf = &self.tree.leaves[spot.leaf as usize];
            if leaf.live_of(spot.index as usize) > 0 {
                self.tell_deleted(spot, first, piece, listener);
                let at = self.tree.rank(spot, Measure::Chars, &self.content);
                self.delete_chars(at, piece);
            }
            n += piece;
            left -= piece;
        }
    }

    /// The newest copy of the character `n`, how many of those after `n` have theirs after it in its
    /// span, and where that is.
    fn newest_piece(&self, n: u32, len: u32) -> Option<(u32, u32, Spot)> {
        let undo = self.undo.as_ref()?;
        let first = undo.newest(n);
        let spot = self.tree.locate(first);
        let span = self.tree.leaves[spot.leaf as usize].span(spot.index as usize);
        let room = len.min(span.chars() - spot.offset);
        let follow = |offset: &u32| undo.newest(n + offset) == first + offset;
        let piece = (0..room).take_while(follow).count() as u32;
        Some((first, piece, spot))
    }

    /// Inserts copies of dead characters directly after them: beside the tombstones, so that they
    /// stand right also among others that are put back later.
    fn put_back(&mut self, n: u32, len: u32, listener: &mut Listener<'_>) {
        let (mut n, mut left) = (n, len);
        while left > 0 {
            let Some((first, piece, _)) = self.newest_piece(n, left) else {
                return;
            };
            let text = self.content.slice(first, piece).to_owned();
            let (copy, last) = (self.log.chars, first + piece - 1);
            let right = self.tree.item(self.tree.after(last));
            self.integrate(self.me, last, right, &text, listener);
            if let Some(undo) = &mut self.undo {
                undo.inserted(copy, piece);
                for offset in 0..piece {
                    undo.copies.set(u128::from(first + offset), copy + offset);
                }
            }
            n += piece;
            left -= piece;
        }
    }
}
