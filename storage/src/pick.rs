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

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::record::RunBuilder;
    use protocol::{Author, Draft, Head, Kind, SessionId};

    /// Ten records, all of one length, and that length.
    fn ten() -> (Run, usize) {
        let draft = Draft {
            author: Author {
                user: None,
                session: SessionId::new(1),
                site: None,
            },
            op_id: None,
            base: None,
            kind: Kind::Update,
            payload: vec![7; 20].into(),
        };
        let mut builder = RunBuilder::new(Head::EMPTY);
        for at in 1..=10 {
            builder.push(Timestamp::from_micros(at), &draft);
        }
        (builder.finish().unwrap(), draft.sealed_len())
    }

    #[test]
    fn what_is_picked_ends_at_a_seq_or_with_the_last_record_that_fits() {
        let (run, len) = ten();
        let picked = |after: u64, up_to: Option<u64>, bytes| {
            let mut pick = Pick::new(Seq::new(after), bytes);
            if let Some(up_to) = up_to {
                pick = pick.up_to(Seq::new(up_to));
            }
            pick.offer(&run).unwrap();
            let full = pick.is_full();
            let runs = pick.finish();
            (runs[0].first().get(), runs[0].last().get(), full)
        };
        assert_eq!(picked(3, None, usize::MAX), (4, 10, false));
        assert_eq!(picked(3, Some(7), usize::MAX), (4, 7, true));
        assert_eq!(picked(0, Some(10), usize::MAX), (1, 10, true));
        for (bytes, last) in [(3 * len, 6), (3 * len - 1, 5), (4 * len - 1, 6), (1, 4)] {
            assert_eq!(picked(3, None, bytes), (4, last, true), "{bytes}");
            assert_eq!(picked(3, Some(5), bytes).1, last.min(5), "{bytes}");
        }
    }
}
