//! Cutting stored runs down to what a reader asked for.
//!
//! Every backend answers [`Log::read`](crate::Log::read) by offering its runs in order to one
//! [`Pick`], which takes whole records until the reader's bound is reached.

use protocol::envelope::Damage;
use protocol::{OpId, Run, Seq, Timestamp};

/// Gathers records after a position until a number of bytes is reached, and at least one.
#[derive(Debug)]
pub(crate) struct Pick {
    at: Seq,
    up_to: Seq,
    left: usize,
    runs: Vec<Run>,
    full: bool,
}

impl Pick {
    pub(crate) const fn new(after: Seq, max_bytes: usize) -> Self {
        Self {
            at: after,
            up_to: Seq::MAX,
            left: max_bytes,
            runs: Vec::new(),
            full: false,
        }
    }

    /// Takes nothing after `seq`.
    pub(crate) fn up_to(self, seq: Seq) -> Self {
        Self { up_to: seq, ..self }
    }

    /// The position up to which records have been taken.
    pub(crate) const fn at(&self) -> Seq {
        self.at
    }

    /// The last record that may be taken.
    pub(crate) const fn last(&self) -> Seq {
        self.up_to
    }

    /// How many bytes may still be taken.
    pub(crate) const fn left(&self) -> usize {
        self.left
    }

    /// Whether nothing more will be taken.
    pub(crate) const fn is_full(&self) -> bool {
        self.full
    }

    /// Takes what is wanted of `run`; what lies before the position is skipped.
    pub(crate) fn offer(&mut self, run: &Run) -> Result<(), Damage> {
        if self.full {
            return Ok(());
        }
        let Some(run) = run.after_seq(self.at)? else {
            return Ok(());
        };
        let mut end = end_within(&run, self.left)?;
        if end < run.first() && self.runs.is_empty() {
            end = run.first();
        }
        end = end.min(self.up_to);
        self.full = end < run.last() || end >= self.up_to;
        if let Some(part) = run.up_to_seq(end)? {
            self.left = self.left.saturating_sub(part.bytes().len());
            self.at = part.last();
            self.runs.push(part);
            self.full |= self.left == 0;
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> Vec<Run> {
        self.runs
    }
}

/// The last record of `run` that carries an operation.
pub(crate) fn find_op(run: &Run, op_id: OpId) -> Result<Option<Seq>, Damage> {
    let mut found = None;
    for record in run.records() {
        let record = record?;
        if record.draft.op_id == Some(op_id) {
            found = Some(record.seq);
        }
    }
    Ok(found)
}

/// The last record of `run` at or before `time`; the one before the run if all are later.
pub(crate) fn seq_at(run: &Run, time: Timestamp) -> Result<Seq, Damage> {
    if run.after().at <= time {
        return Ok(run.last());
    }
    let mut found = run.before().seq;
    for record in run.records() {
        let record = record?;
        if record.at > time {
            break;
        }
        found = record.seq;
    }
    Ok(found)
}

/// The last Seq of `run` that ends within `max_bytes`; the one before the run if none does.
fn end_within(run: &Run, max_bytes: usize) -> Result<Seq, Damage> {
    if run.bytes().len() <= max_bytes {
        return Ok(run.last());
    }
    let mut last = run.before().seq;
    for end in run.ends() {
        if end? > max_bytes {
            break;
        }
        last = last.next();
    }
    Ok(last)
}
