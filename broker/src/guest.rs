//! What is known of a session beside its membership: who it is, how it came, how far it has got.
//!
//! A [`Member`](crate::Member) writes here as it goes, an atomic at a time; who wants to see a room's
//! sessions reads, and holds nobody up. A guest is in its room's list for as long as its member is there.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use observatory::metrics::Counted;
use observatory::trace::Parent;
use observatory::{Dialect, Transport};
use parking_lot::Mutex;
use protocol::{Role, Seq, SessionId, Timestamp, UserId};

/// How a session comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Via {
    /// What it speaks.
    pub dialect: Dialect,
    /// What carries it.
    pub transport: Transport,
    /// Whose work it is part of, if whoever sent it said so.
    pub parent: Option<Parent>,
}

#[cfg(test)]
impl Via {
    pub(crate) const OF_TESTS: Self = Self {
        dialect: Dialect::Yjs,
        transport: Transport::WebSocket,
        parent: None,
    };
}

/// A session, as it may be seen from outside.
#[derive(Debug, Clone, PartialEq)]
pub struct GuestInfo {
    /// Its id.
    pub session: SessionId,
    /// Whose it is, if a token says so.
    pub user: Option<UserId>,
    /// How it came.
    pub via: Via,
    /// What it may.
    pub role: Role,
    /// How long it last took to answer, where its dialect asks.
    pub round_trip: Option<Duration>,
    /// How many of the published records it has not been given; `None` until it has the document.
    pub lag_records: Option<u64>,
    /// Bytes of updates and documents that it has been given.
    pub sent_bytes: u64,
    /// Bytes of updates that it has submitted.
    pub received_bytes: u64,
    /// When it came.
    pub since: Timestamp,
}

/// A session's counters.
#[derive(Debug)]
pub(crate) struct Guest {
    session: SessionId,
    user: Option<UserId>,
    via: Via,
    role: Role,
    since: Timestamp,
    /// The last Seq that it has been given, or [`NOWHERE`].
    cursor: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
    /// In microseconds; 0 while it has not been measured.
    round_trip: AtomicU64,
    _counted: Counted,
}

/// The session has not been given a document yet.
const NOWHERE: u64 = u64::MAX;

impl Guest {
    pub(crate) fn new(
        session: SessionId,
        user: Option<UserId>,
        role: Role,
        via: Via,
        since: Timestamp,
    ) -> Self {
        Self {
            session,
            user,
            via,
            role,
            since,
            cursor: AtomicU64::new(NOWHERE),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            round_trip: AtomicU64::new(0),
            _counted: Counted::new(via.dialect, via.transport),
        }
    }

    /// Whose work what it sends is part of.
    pub(crate) const fn parent(&self) -> Option<Parent> {
        self.via.parent
    }

    pub(crate) fn came_to(&self, cursor: Seq) {
        self.cursor.store(cursor.get(), Ordering::Relaxed);
    }

    pub(crate) fn sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn answered_after(&self, took: Duration) {
        let micros = took.as_micros().clamp(1, u128::from(u64::MAX)) as u64;
        self.round_trip.store(micros, Ordering::Relaxed);
    }

    /// How far it is behind a feed that has come to `head`.
    fn lag(&self, head: Seq) -> Option<u64> {
        let cursor = self.cursor.load(Ordering::Relaxed);
        (cursor != NOWHERE).then(|| head.get().saturating_sub(cursor))
    }

    fn info(&self, head: Seq) -> GuestInfo {
        let micros = self.round_trip.load(Ordering::Relaxed);
        GuestInfo {
            session: self.session,
            user: self.user.clone(),
            via: self.via,
            role: self.role,
            round_trip: (micros > 0).then(|| Duration::from_micros(micros)),
            lag_records: self.lag(head),
            sent_bytes: self.sent.load(Ordering::Relaxed),
            received_bytes: self.received.load(Ordering::Relaxed),
            since: self.since,
        }
    }
}

/// The sessions of a room.
#[derive(Debug, Default)]
pub(crate) struct Guests(Mutex<HashMap<SessionId, Arc<Guest>>>);

impl Guests {
    pub(crate) fn enter(&self, guest: &Arc<Guest>) {
        self.0.lock().insert(guest.session, Arc::clone(guest));
    }

    pub(crate) fn leave(&self, guest: &Arc<Guest>) {
        let mut guests = self.0.lock();
        let is_it = |held: &Arc<Guest>| Arc::ptr_eq(held, guest);
        if guests.get(&guest.session).is_some_and(is_it) {
            guests.remove(&guest.session);
        }
    }

    /// How many there are, and up to `most` of them, by their ids.
    pub(crate) fn list(&self, head: Seq, most: usize) -> (usize, Vec<GuestInfo>) {
        let guests = self.0.lock();
        let mut listed: Vec<_> = guests.values().map(|guest| guest.info(head)).collect();
        drop(guests);
        let all = listed.len();
        listed.sort_unstable_by_key(|guest| guest.session);
        listed.truncate(most);
        (all, listed)
    }

    /// Whose work what a session sends is part of.
    pub(crate) fn parent(&self, session: SessionId) -> Option<Parent> {
        let guests = self.0.lock();
        guests.get(&session).and_then(|guest| guest.parent())
    }

    /// How far the slowest is behind.
    pub(crate) fn slowest(&self, head: Seq) -> Option<u64> {
        let guests = self.0.lock();
        guests.values().filter_map(|guest| guest.lag(head)).max()
    }

    /// Appends how far each is behind.
    pub(crate) fn lags(&self, head: Seq, out: &mut Vec<u64>) {
        out.extend(self.0.lock().values().filter_map(|guest| guest.lag(head)));
    }
}

/// What a room was sent in the last whole second.
#[derive(Debug)]
pub(crate) struct Tally(Mutex<Counts>);

#[derive(Debug)]
struct Counts {
    second: Instant,
    now: (u64, u64),
    last: (u64, u64),
}

impl Tally {
    pub(crate) fn new(now: Instant) -> Self {
        Self(Mutex::new(Counts {
            second: now,
            now: (0, 0),
            last: (0, 0),
        }))
    }

    /// Counts updates and their bytes.
    pub(crate) fn add(&self, now: Instant, updates: usize, bytes: usize) {
        let mut counts = self.0.lock();
        counts.come_to(now);
        counts.now.0 += updates as u64;
        counts.now.1 += bytes as u64;
    }

    /// Updates and bytes of the last whole second.
    pub(crate) fn last(&self, now: Instant) -> (u64, u64) {
        let mut counts = self.0.lock();
        counts.come_to(now);
        counts.last
    }
}

impl Counts {
    fn come_to(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.second).as_secs();
        match passed {
            0 => return,
            1 => self.last = self.now,
            _ => self.last = (0, 0),
        }
        self.now = (0, 0);
        self.second += Duration::from_secs(passed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_is_of_the_last_whole_second() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let tally = Tally::new(start);
        tally.add(at(100), 2, 20);
        tally.add(at(900), 1, 10);
        assert_eq!(tally.last(at(999)), (0, 0), "the second is not over");
        assert_eq!(tally.last(at(1000)), (3, 30));
        tally.add(at(1500), 5, 50);
        assert_eq!(tally.last(at(1999)), (3, 30));
        assert_eq!(tally.last(at(2500)), (5, 50));
        assert_eq!(tally.last(at(9000)), (0, 0), "nothing came since");
    }

    #[test]
    fn a_session_that_comes_again_is_not_taken_out_by_its_former_self() {
        let via = Via::OF_TESTS;
        let at = Timestamp::from_micros(1);
        let guest = || {
            let session = SessionId::new(1);
            Arc::new(Guest::new(session, None, Role::Editor, via, at))
        };
        let (old, new) = (guest(), guest());
        let guests = Guests::default();
        guests.enter(&old);
        guests.enter(&new);
        guests.leave(&old);
        new.came_to(Seq::new(3));
        assert_eq!(guests.slowest(Seq::new(10)), Some(7));
        guests.leave(&new);
        assert_eq!(guests.list(Seq::new(10), 5), (0, Vec::new()));
    }
}
