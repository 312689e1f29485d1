//! A server's side: an update is taken or refused at once, and has a Seq only once it is written.
//!
//! Nothing waits here. What builds on ticks that are not here is refused, and names the first of
//! them, so that whatever was taken folds again in the order in which it was taken.

use super::Text;
use super::apply::{Scratch, Verdict};
use super::error::ApplyError;
use super::id::{Client, Seq};
use super::limits::{FEW_CHARS, MAX_DELETIONS};
use super::quick;
use super::wire::Kind;

/// An update that a server has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// Whether anything in it was new.
    pub adds: bool,
    /// Whose ticks were new, if all were of one client.
    pub author: Option<Client>,
}

impl Text {
    /// Applies an update, or refuses it as a whole. It has no Seq yet: see [`Text::stamp`].
    ///
    /// # Errors
    ///
    /// [`ApplyError`], with [`ApplyError::Missing`] for what builds on ticks that are not here; then
    /// nothing has happened.
    pub fn admit(&mut self, update: &[u8]) -> Result<Admitted, ApplyError> {
        let from = self.log.now;
        if !quick::apply(self, update, &mut None) {
            let mut scratch = std::mem::take(&mut self.scratch);
            let verdict = self.judge(update, &mut scratch);
            if matches!(verdict, Ok(Verdict::Ready)) {
                self.integrate_all(&mut scratch, update, &mut None);
            }
            self.scratch = scratch;
            self.refuse_missing(&verdict?)?;
        }
        let adds = self.log.now > from;
        let author = adds.then(|| self.author_since(from)).flatten();
        Ok(Admitted { adds, author })
    }

    /// Whether an update holds anything that is not here.
    ///
    /// # Errors
    ///
    /// As [`Text::admit`].
    pub fn adds(&self, update: &[u8]) -> Result<bool, ApplyError> {
        let verdict = self.judge(update, &mut Scratch::default())?;
        self.refuse_missing(&verdict)
    }

    /// Says that all that came since the last Seq came under this one, and that the Seqs between
    /// them held nothing.
    pub fn stamp(&mut self, seq: Seq) {
        let now = self.log.now;
        self.log.stamps.stamp_rest(seq, now);
    }

    fn judge(&self, update: &[u8], scratch: &mut Scratch) -> Result<Verdict, ApplyError> {
        scratch.ops.decode(update)?;
        // Each deletion is looked up from end to end, and one is a few bytes.
        let (mut inserted, mut deleted) = (u64::from(self.log.chars), 0);
        for op in &scratch.ops.ops {
            match op.kind {
                Kind::GoOn | Kind::Insert => inserted += u64::from(op.len),
                Kind::Delete | Kind::DeleteBack => deleted += u64::from(op.len),
            }
        }
        if deleted > MAX_DELETIONS * inserted.max(FEW_CHARS) {
            return Err(ApplyError::TooMuch);
        }
        self.check_ops(scratch, false)
    }

    fn refuse_missing(&self, verdict: &Verdict) -> Result<bool, ApplyError> {
        match verdict {
            Verdict::Ready => Ok(true),
            Verdict::Known => Ok(false),
            Verdict::Missing(ids) => ids.first().map_or(Ok(false), |id| {
                Err(ApplyError::Missing {
                    client: id.client.get(),
                    clock: id.clock,
                    here: self.log.clock(id.client),
                })
            }),
        }
    }

    /// Who did all that was done since a moment, if it was one.
    fn author_since(&self, from: u32) -> Option<Client> {
        let runs = &self.log.runs[self.log.run_of_moment(from)..];
        let author = runs.first()?.client();
        let one = runs.iter().all(|run| run.client() == author);
        one.then(|| self.log.authors[author as usize].client)
    }
}
