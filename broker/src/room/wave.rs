//! When each member is told what presence has changed.
//!
//! Presence is told in *rounds*: a round takes everyone to one version, so that members who stand
//! where the last round left them are given the same bytes, encoded once. In a large room where
//! everybody moves, a round is a lot of work, and acks wait behind it. So its members are woken a
//! few at a time, and the next round begins only when this one has taken a fair share of the time:
//! what changes meanwhile is told as its latest value.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::SessionId;

use crate::limits::{PRESENCE_BYTES_A_MICROSECOND, PRESENCE_PAUSE_MAX, WAKE_COST};
use crate::member::Mailbox;
use crate::presence::Presence;

/// How much work is woken at once: about what an ack may have to wait behind.
const SLICE: Duration = Duration::from_millis(1);
/// The fewest members that are woken at once, whatever they cost.
const SLICE_MEMBERS: usize = 8;
/// Of how many parts of one core's time presence may take one.
const SHARE: u32 = 4;

/// A room's members, by session.
pub(super) type Members = BTreeMap<SessionId, Arc<Mailbox>>;

/// The rounds of one room.
#[derive(Debug)]
pub(super) struct Wave {
    /// Presence has changed since the last round began.
    moved: bool,
    /// The version that the last round brings everyone to.
    told: u64,
    round: Option<Round>,
    /// Before this no round begins.
    quiet_until: Instant,
}

/// A round that has members left to tell.
#[derive(Debug)]
struct Round {
    began: Instant,
    /// How many members are woken at once.
    slice: usize,
    /// What telling all of them costs.
    cost: Duration,
    /// The last member that has been told.
    after: Option<SessionId>,
    /// When the next slice is woken.
    due: Instant,
}

impl Wave {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            moved: false,
            told: 0,
            round: None,
            quiet_until: now,
        }
    }

    /// Presence has changed.
    pub(super) const fn moved(&mut self) {
        self.moved = true;
    }

    /// Tells those whose turn it is.
    pub(super) fn advance(&mut self, now: Instant, presence: &Presence, members: &Members) {
        if self.round.is_none() && self.moved && now >= self.quiet_until {
            self.begin(now, presence, members.len());
        }
        if let Some(round) = &mut self.round
            && now >= round.due
            && round.tell(now, self.told, members)
        {
            let pause = (round.cost * SHARE).min(PRESENCE_PAUSE_MAX);
            // A timer has a resolution of a millisecond: below that there is no point in waiting.
            if pause >= Duration::from_millis(1) {
                self.quiet_until = (round.began + pause).max(now);
            }
            self.round = None;
        }
    }

    fn begin(&mut self, now: Instant, presence: &Presence, members: usize) {
        self.moved = false;
        let (version, bytes) = presence.after(self.told);
        self.told = version;
        let each = WAKE_COST + Duration::from_micros(bytes / PRESENCE_BYTES_A_MICROSECOND);
        self.round = Some(Round {
            began: now,
            slice: ((SLICE.as_micros() / each.as_micros()) as usize).max(SLICE_MEMBERS),
            cost: each * u32::try_from(members).unwrap_or(u32::MAX),
            after: None,
            due: now,
        });
    }

    /// When [`Wave::advance`] has something to do, if nothing changes before.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        match &self.round {
            Some(round) => Some(round.due),
            None => self.moved.then_some(self.quiet_until),
        }
    }
}

impl Round {
    /// Wakes the next slice. Gives whether it was the last one.
    fn tell(&mut self, now: Instant, version: u64, members: &Members) -> bool {
        let from = self.after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = members.range((from, Bound::Unbounded));
        for (session, mailbox) in rest.by_ref().take(self.slice) {
            mailbox.show_presence(version);
            self.after = Some(*session);
        }
        self.due = now + SLICE;
        rest.next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use crate::memory::Memory;
    use bytes::Bytes;
    use protocol::dialect::PresenceEntry;
    use protocol::{Role, Site};

    use super::*;

    const ME: SessionId = SessionId::new(1);

    fn members(count: u64) -> Members {
        (1..=count)
            .map(|id| (SessionId::new(id), Arc::default()))
            .collect()
    }

    fn told(members: &Members, version: u64) -> usize {
        let told = |mailbox: &&Arc<Mailbox>| mailbox.presence() == version;
        members.values().filter(told).count()
    }

    fn say(presence: &Presence, clock: u64, bytes: usize) {
        let entry = PresenceEntry {
            site: Site::new(7),
            clock,
            state: Some(Bytes::from(vec![b'x'; bytes])),
        };
        assert_eq!(presence.update(ME, Role::Editor, vec![entry]), 1);
    }

    #[test]
    fn a_small_room_is_told_at_once_each_time() {
        let (presence, members, now) = (
            Presence::new(Memory::new(usize::MAX)),
            members(10),
            Instant::now(),
        );
        let mut wave = Wave::new(now);
        for clock in 1..=3 {
            say(&presence, clock, 40);
            wave.moved();
            wave.advance(now, &presence, &members);
            assert_eq!(told(&members, clock), 10);
            assert_eq!(wave.next_timeout(), None);
        }
    }

    #[test]
    fn a_crowd_is_told_a_few_at_a_time_and_all_the_same() {
        let (presence, members, start) = (
            Presence::new(Memory::new(usize::MAX)),
            members(1_000),
            Instant::now(),
        );
        let mut wave = Wave::new(start);
        say(&presence, 1, 40);
        wave.moved();
        let mut now = start;
        let mut seen = 0;
        for _ in 0..1_000 / 62 + 1 {
            wave.advance(now, &presence, &members);
            let tells = told(&members, 1);
            assert!(tells - seen <= 62, "{} woken at once", tells - seen);
            seen = tells;
            // What changes within a round waits for the next one.
            say(&presence, presence.version() + 1, 40);
            wave.moved();
            if seen < 1_000 {
                now = wave.next_timeout().unwrap();
            }
        }
        assert_eq!(seen, 1_000);
        assert!(
            now - start <= Duration::from_millis(20),
            "{:?}",
            now - start
        );
        // The next round keeps its distance, and brings the latest.
        let next = wave.next_timeout().unwrap();
        assert_eq!(next, start + WAKE_COST * 1_000 * SHARE);
        wave.advance(next - Duration::from_micros(1), &presence, &members);
        assert_eq!(told(&members, 1), 1_000);
        wave.advance(next, &presence, &members);
        assert_eq!(told(&members, presence.version()), 62);
    }

    #[test]
    fn larger_states_are_told_to_fewer_at_once_and_never_put_off_for_ever() {
        let (presence, members, start) = (
            Presence::new(Memory::new(usize::MAX)),
            members(1_000),
            Instant::now(),
        );
        let mut wave = Wave::new(start);
        say(&presence, 1, 10_000_000);
        wave.moved();
        wave.advance(start, &presence, &members);
        assert_eq!(told(&members, 1), SLICE_MEMBERS);
        for _ in 1..1_000 / SLICE_MEMBERS {
            wave.advance(wave.next_timeout().unwrap(), &presence, &members);
        }
        assert_eq!(told(&members, 1), 1_000);
        wave.moved();
        assert_eq!(wave.next_timeout(), Some(start + PRESENCE_PAUSE_MAX));
    }
}
