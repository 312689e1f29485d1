//! The lives of a room's traced updates, from their commit to the last write.
//!
//! Most updates are not traced and are not here: a member then looks at one counter. One that is
//! traced is followed until its sender has been written the ack, and everyone who was in the room when
//! it was published has been written the update or has gone. "Written" is that the member's connection
//! has handed over everything up to there to its socket, or to QUIC; whether the client has read it
//! nobody knows here. A client that reads nothing would never be done, so a life is followed for
//! [`LIFE_TIME`] and then told as it is.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use observatory::Untold;
use observatory::trace::{self, Mark, Trace, Why};
use parking_lot::Mutex;
use protocol::{OpId, RoomName, Seq, SessionId};

use crate::committer::Commit;
use crate::limits::{LIFE_TIME, LIVES_FOLLOWED};

/// A submission on its way, as far as it has come: when it did what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Journey {
    /// Who sent it.
    pub(crate) session: SessionId,
    /// Which of theirs it is: 1, 2, …
    pub(crate) number: u64,
    /// Its id, if its dialect has one.
    pub(crate) op: Option<OpId>,
    /// The bytes of its payload.
    pub(crate) bytes: usize,
    /// Its place in the log, once it has one.
    pub(crate) seq: Option<Seq>,
    /// When its connection handed it to the room.
    pub(crate) received: Instant,
    /// When the room took it up.
    pub(crate) begun: Instant,
    /// When the document had taken it.
    pub(crate) checked: Option<Instant>,
}

impl Journey {
    /// Its trace, as far as the check: an update's life begins so however it ends.
    pub(crate) fn trace(&self, room: &RoomName, mark: Mark) -> Trace {
        let mut trace = Trace::new("update", mark, self.received);
        trace.field("well.room", room.as_str());
        trace.field("well.session", self.session.to_string());
        if let Some(op) = self.op {
            trace.field("well.op", op.to_string());
        }
        if let Some(seq) = self.seq {
            trace.field("well.seq", seq.get());
        }
        trace.field("well.bytes", self.bytes);
        trace.stage("receive", self.received, self.begun);
        trace.stage("check", self.begun, self.checked.unwrap_or(self.begun));
        trace
    }

    /// The same, as far as its commit.
    pub(crate) fn committed(&self, room: &RoomName, mark: Mark, commit: Commit) -> Trace {
        let mut trace = self.trace(room, mark);
        let checked = trace.ended;
        trace.stage("queue", checked, commit.began);
        trace.stage("commit", commit.began, commit.ended);
        trace
    }
}

/// What is known of the lives of a run's updates.
#[derive(Debug)]
pub(crate) struct Run {
    /// The update that came first.
    pub(crate) first: Journey,
    /// Those that have been traced from the start.
    pub(crate) marked: Vec<(Journey, Mark)>,
}

impl Run {
    pub(crate) const fn new(first: Journey) -> Self {
        Self {
            first,
            marked: Vec::new(),
        }
    }

    /// What has no check behind it has one now.
    pub(crate) fn note_checked(&mut self, at: Instant) {
        let marked = self.marked.iter_mut().map(|(journey, _)| journey);
        for journey in marked.chain([&mut self.first]) {
            journey.checked.get_or_insert(at);
        }
    }

    /// The updates to be told of, once the run has ended. Of a run that was slow or failed, and has none
    /// that is traced anyway, that is the first for all: they have lived through the same.
    pub(crate) fn told(&mut self, now: Instant, failed: bool) -> Vec<(Journey, Mark)> {
        let marked = std::mem::take(&mut self.marked);
        let took = now.saturating_duration_since(self.first.received);
        let why = if failed {
            Why::Failed
        } else if trace::is_slow(took) {
            Why::Slow
        } else {
            return marked;
        };
        if !marked.is_empty() || !trace::is_on() || !trace::may_tell(now) {
            return marked;
        }
        vec![(self.first, Mark { why, parent: None })]
    }
}

/// The lives that are followed.
#[derive(Debug, Default)]
pub(crate) struct Lives {
    count: AtomicUsize,
    lives: Mutex<Vec<Life>>,
}

#[derive(Debug)]
struct Life {
    trace: Trace,
    author: SessionId,
    /// Which of its author's submissions.
    number: u64,
    seq: Seq,
    published: Instant,
    acked: Ack,
    /// Who was there and has not been written it.
    waiting: BTreeSet<SessionId>,
    /// How many were there, without the author.
    readers: usize,
    last_write: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
enum Ack {
    Awaited,
    Written(Instant),
    /// The author left without it.
    Gone,
}

impl Lives {
    /// Whether any is followed. What is published after a life was begun is seen after it is counted.
    pub(crate) fn is_any(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// Follows an update that is about to be published and acked, while `members` are in the room.
    pub(crate) fn begin(
        &self,
        journey: &Journey,
        mut trace: Trace,
        members: impl Iterator<Item = SessionId>,
    ) {
        let Some(seq) = journey.seq else {
            return;
        };
        let published = Instant::now();
        trace.stage("publish", trace.ended, published);
        let waiting: BTreeSet<_> = members.filter(|it| *it != journey.session).collect();
        let life = Life {
            trace,
            author: journey.session,
            number: journey.number,
            seq,
            published,
            acked: Ack::Awaited,
            readers: waiting.len(),
            waiting,
            last_write: None,
        };
        let mut lives = self.lives.lock();
        if lives.len() >= LIVES_FOLLOWED {
            observatory::traces_untold(Untold::Rate, 1);
            return;
        }
        observatory::traced_ack(published - journey.begun, life.trace.id);
        lives.push(life);
        self.count.store(lives.len(), Ordering::Relaxed);
    }

    /// A member's connection has written everything up to `cursor`, and what tells that its first
    /// `settled` submissions are settled.
    pub(crate) fn written(&self, session: SessionId, cursor: Seq, settled: u64) {
        let now = Instant::now();
        self.change(|life| {
            let is_awaited = matches!(life.acked, Ack::Awaited);
            if session == life.author && is_awaited && settled >= life.number {
                life.acked = Ack::Written(now);
            }
            if cursor >= life.seq && life.waiting.remove(&session) {
                life.last_write = Some(now);
            }
        });
    }

    /// A member is gone: nothing is written to it any more.
    pub(crate) fn left(&self, session: SessionId) {
        self.change(|life| {
            life.waiting.remove(&session);
            if session == life.author && matches!(life.acked, Ack::Awaited) {
                life.acked = Ack::Gone;
            }
        });
    }

    /// Tells of those that have been followed for long enough.
    pub(crate) fn expire(&self, now: Instant) {
        let mut lives = self.lives.lock();
        let over = lives.extract_if(.., |life| life.published + LIFE_TIME <= now);
        let over: Vec<Life> = over.collect();
        self.count.store(lives.len(), Ordering::Relaxed);
        drop(lives);
        over.into_iter().for_each(Life::tell);
    }

    /// When [`Lives::expire`] is next due.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        if !self.is_any() {
            return None;
        }
        let lives = self.lives.lock();
        lives.iter().map(|life| life.published + LIFE_TIME).min()
    }

    fn change(&self, mut change: impl FnMut(&mut Life)) {
        let mut lives = self.lives.lock();
        lives.iter_mut().for_each(&mut change);
        let over: Vec<Life> = lives.extract_if(.., |life| life.is_over()).collect();
        self.count.store(lives.len(), Ordering::Relaxed);
        drop(lives);
        over.into_iter().for_each(Life::tell);
    }
}

impl Drop for Lives {
    fn drop(&mut self) {
        std::mem::take(self.lives.get_mut())
            .into_iter()
            .for_each(Life::tell);
    }
}

impl Life {
    fn is_over(&self) -> bool {
        self.waiting.is_empty() && !matches!(self.acked, Ack::Awaited)
    }

    fn tell(self) {
        trace::tell(self.end());
    }

    fn end(self) -> Trace {
        let mut trace = self.trace;
        match self.acked {
            Ack::Written(at) => {
                trace.stage("ack", self.published, at);
            }
            Ack::Awaited => trace.field("well.ack", "not written while it was followed"),
            Ack::Gone => trace.field("well.ack", "its sender was gone"),
        }
        if self.readers > 0 {
            let last = self.last_write.unwrap_or(self.published);
            let stage = trace.stage("fan-out", self.published, last);
            stage.fields.push(("well.readers", self.readers.into()));
            stage
                .fields
                .push(("well.unwritten", self.waiting.len().into()));
        }
        trace
    }
}

#[cfg(test)]
mod tests {
    use observatory::trace::Value;

    use super::*;

    const AUTHOR: SessionId = SessionId::new(1);
    const READER: SessionId = SessionId::new(2);
    const SLOW: SessionId = SessionId::new(3);

    fn life(seq: u64, members: &[SessionId]) -> Lives {
        let lives = Lives::default();
        follow(&lives, seq, members);
        lives
    }

    fn follow(lives: &Lives, seq: u64, members: &[SessionId]) {
        let now = Instant::now();
        let journey = Journey {
            session: AUTHOR,
            number: 4,
            op: None,
            bytes: 10,
            seq: Some(Seq::new(seq)),
            received: now,
            begun: now,
            checked: Some(now),
        };
        let why = Why::Sampled;
        let mark = Mark { why, parent: None };
        let room = RoomName::parse("doc/a").unwrap();
        let trace = journey.trace(&room, mark);
        lives.begin(&journey, trace, members.iter().copied());
    }

    /// The one life that is followed, as it would be told.
    fn told(lives: &Lives) -> Trace {
        let mut lives = lives.lives.lock();
        lives.remove(0).end()
    }

    fn stages(trace: &Trace) -> Vec<&'static str> {
        trace.stages.iter().map(|stage| stage.name).collect()
    }

    #[test]
    fn a_life_is_over_with_the_ack_and_the_last_write() {
        let lives = life(7, &[AUTHOR, READER, SLOW]);
        assert!(lives.is_any());
        lives.written(READER, Seq::new(6), 0);
        lives.written(READER, Seq::new(7), 0);
        lives.written(AUTHOR, Seq::new(7), 3);
        lives.written(AUTHOR, Seq::new(7), 4);
        assert!(lives.is_any(), "one reader has not been written it");
        lives.written(SLOW, Seq::new(9), 0);
        assert!(!lives.is_any());
    }

    #[test]
    fn an_ack_is_awaited_when_nobody_else_is_there() {
        let lives = life(7, &[AUTHOR]);
        lives.written(AUTHOR, Seq::new(9), 3);
        assert!(lives.is_any(), "another submission was settled");
        lives.written(AUTHOR, Seq::ZERO, 4);
        assert!(!lives.is_any());
    }

    #[test]
    fn who_leaves_holds_nothing_up() {
        let lives = life(7, &[AUTHOR, READER, SLOW]);
        lives.written(READER, Seq::new(7), 0);
        lives.left(AUTHOR);
        assert!(lives.is_any());
        lives.left(SLOW);
        assert!(!lives.is_any());
    }

    #[test]
    fn who_reads_nothing_holds_a_life_up_for_a_while_only() {
        let lives = life(7, &[AUTHOR, READER, SLOW]);
        lives.written(READER, Seq::new(7), 0);
        lives.written(AUTHOR, Seq::new(7), 4);
        let due = lives.next_timeout().unwrap();
        lives.expire(due - LIFE_TIME / 2);
        assert!(lives.is_any());
        let trace = told(&lives);
        let all = ["receive", "check", "publish", "ack", "fan-out"];
        assert_eq!(stages(&trace), all);
        let fields = &trace.stages[4].fields;
        assert_eq!(
            *fields,
            [
                ("well.readers", Value::Number(2)),
                ("well.unwritten", Value::Number(1))
            ]
        );
        let lives = life(7, &[AUTHOR, SLOW]);
        lives.expire(lives.next_timeout().unwrap());
        assert!(!lives.is_any());
        assert_eq!(lives.next_timeout(), None);
    }

    #[test]
    fn no_more_are_followed_than_there_may_be() {
        let lives = life(1, &[AUTHOR]);
        for _ in 0..2 * LIVES_FOLLOWED {
            follow(&lives, 1, &[AUTHOR]);
        }
        assert_eq!(lives.lives.lock().len(), LIVES_FOLLOWED);
    }
}
