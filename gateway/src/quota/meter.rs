//! Updates and bytes of one connection.
//!
//! ```text
//!  a minute's worth ─▶ as fast as it comes
//!  up to ten seconds of debt ─▶ taken, and the connection is not read until the debt is paid
//!  more ─▶ refused, and the connection ends: what follows a refused update cannot be taken
//! ```
//!
//! A pen makes an update for every few points of a stroke. So what follows a counted update within
//! [`STROKE_TIME`], up to [`STROKE_UPDATES`] of them, counts as one with it: a stroke of any length counts as
//! two a second, and whoever draws without pause for five minutes is slowed.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use governor::clock::{Clock, MonotonicClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use observatory::Limit;
use protocol::OpId;
use protocol::dialect::{Command, Refusal, Submission};

use super::SpaceLimits;

/// For how long updates count as one with the first of them.
pub const STROKE_TIME: Duration = Duration::from_millis(500);
/// How many updates do.
pub const STROKE_UPDATES: u32 = 32;
/// What part of a minute's worth may be taken ahead: ten seconds'.
const DEBT: u32 = 6;

/// A bucket that lets ten seconds of debt through, and says so.
#[derive(Debug)]
struct Bucket<C: Clock<Instant = Instant>> {
    limiter: RateLimiter<NotKeyed, InMemoryState, C, StateInformationMiddleware>,
    debt: u32,
    period: Duration,
}

impl<C: Clock<Instant = Instant>> Bucket<C> {
    fn new(per_minute: NonZeroU32, clock: C) -> Self {
        let debt = per_minute.get() / DEBT;
        let burst = per_minute.saturating_add(debt);
        let quota = Quota::per_minute(per_minute).allow_burst(burst);
        Self {
            limiter: RateLimiter::direct_with_clock(quota, clock)
                .with_middleware::<StateInformationMiddleware>(),
            debt,
            period: Duration::from_secs(60) / per_minute.get(),
        }
    }

    /// Takes `n`. Gives for how long the connection is to be left alone; the error says after how long
    /// `n` would be taken.
    fn take(&self, n: NonZeroU32, clock: &C) -> Result<Duration, Duration> {
        match self.limiter.check_n(n) {
            Ok(Ok(state)) => {
                let ahead = self.debt.saturating_sub(state.remaining_burst_capacity());
                Ok(self.period * ahead)
            }
            Ok(Err(until)) => Err(until.wait_time_from(clock.now())),
            // More at once than a minute has.
            Err(_) => Err(Duration::from_secs(60)),
        }
    }
}

/// Which operations a client sends again to one room because it has not heard that they are in the log.
///
/// Each is sent again once after a join: who is over its rate would else pay for them each time, and never
/// come to what is new.
#[derive(Debug, Default)]
pub struct Again {
    after: u64,
    last: u64,
}

impl Again {
    /// The log has the client's operations up to this one.
    pub fn known(&mut self, last: u64) {
        self.last = last;
    }

    fn is(&mut self, submission: &Submission) -> bool {
        let number = submission.op_id.map_or(0, OpId::number);
        let again = self.after < number && number <= self.last;
        if again {
            self.after = number;
        }
        again
    }
}

/// What one connection may still do in one space.
#[derive(Debug)]
pub struct Meter<C: Clock<Instant = Instant> = MonotonicClock> {
    updates: Option<Bucket<C>>,
    bytes: Option<Bucket<C>>,
    max_update: usize,
    /// The stroke that is being drawn: since when, and how many updates may still be part of it.
    stroke: Option<(Instant, u32)>,
    /// Until then the connection is not read.
    until: Option<Instant>,
    clock: C,
}

impl Meter {
    /// A connection that has just come.
    #[must_use]
    pub fn new(limits: &SpaceLimits) -> Self {
        Self::by(limits, &MonotonicClock)
    }
}

impl<C: Clock<Instant = Instant> + Clone> Meter<C> {
    /// The same by a clock that is handed in.
    pub fn by(limits: &SpaceLimits, clock: &C) -> Self {
        let bucket = |rate: NonZeroU32| Bucket::new(rate, clock.clone());
        Self {
            updates: limits.updates_per_minute.map(bucket),
            bytes: limits.bytes_per_minute.map(bucket),
            max_update: limits.max_update,
            stroke: None,
            until: None,
            clock: clock.clone(),
        }
    }

    /// Counts what a client sends, up to the first update that may not be taken: it and what follows are
    /// cut off. Gives which update of these that is, and why. What is only `again` of what was counted
    /// is not counted.
    pub fn count(
        &mut self,
        commands: &mut Vec<Command>,
        again: &mut Again,
    ) -> Option<(u64, Refusal)> {
        let mut updates = 0;
        for at in 0..commands.len() {
            let Command::Submit(submission) = &commands[at] else {
                continue;
            };
            updates += 1;
            if again.is(submission) {
                continue;
            }
            if let Err(refusal) = self.take(submission.payload.len()) {
                commands.truncate(at);
                if let Some(limit) = limit_of(&refusal) {
                    observatory::limit_hit(limit);
                }
                return Some((updates, refusal));
            }
        }
        None
    }

    /// Whether the connection is to be left alone for now.
    #[must_use]
    pub fn is_slow(&self) -> bool {
        self.until.is_some_and(|until| self.clock.now() < until)
    }

    /// Until when, as far as [`Meter::handle_timeout`] has not been told that it is over.
    #[must_use]
    pub const fn until(&self) -> Option<Instant> {
        self.until
    }

    /// The time has come; harmless at any time.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.until = self.until.filter(|until| now < *until);
    }

    fn take(&mut self, bytes: usize) -> Result<(), Refusal> {
        if bytes > self.max_update {
            return Err(Refusal::TooLarge {
                what: "the update",
                bytes,
                limit: self.max_update,
            });
        }
        let mut wait = Duration::ZERO;
        let counted = u32::try_from(bytes).ok().and_then(NonZeroU32::new);
        if let (Some(bucket), Some(bytes)) = (&self.bytes, counted) {
            wait = bucket.take(bytes, &self.clock).map_err(too_fast("bytes"))?;
        }
        let counts = self.updates.is_some() && !self.is_of_stroke();
        if let Some(bucket) = self.updates.as_ref().filter(|_| counts) {
            let taken = bucket.take(NonZeroU32::MIN, &self.clock);
            wait = wait.max(taken.map_err(too_fast("updates"))?);
        }
        if wait > Duration::ZERO {
            self.until = Some(self.clock.now() + wait);
        }
        Ok(())
    }

    /// Whether an update is part of the stroke that is being drawn; else it begins one.
    fn is_of_stroke(&mut self) -> bool {
        let now = self.clock.now();
        match &mut self.stroke {
            Some((since, left)) if now.duration_since(*since) < STROKE_TIME && *left > 0 => {
                *left -= 1;
                true
            }
            _ => {
                self.stroke = Some((now, STROKE_UPDATES - 1));
                false
            }
        }
    }
}

const fn limit_of(refusal: &Refusal) -> Option<Limit> {
    match refusal {
        Refusal::TooFast { what, .. } => Some(match what.as_bytes() {
            b"bytes" => Limit::Bytes,
            _ => Limit::Updates,
        }),
        Refusal::TooLarge { .. } => Some(Limit::UpdateSize),
        Refusal::ReadOnly
        | Refusal::Malformed(_)
        | Refusal::Binary { .. }
        | Refusal::Spent { .. }
        | Refusal::OutOfOrder { .. }
        | Refusal::NotStored(_) => None,
    }
}

fn too_fast(what: &'static str) -> impl Fn(Duration) -> Refusal {
    move |after| Refusal::TooFast { what, after }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use bytes::Bytes;
    use protocol::ClientId;

    use super::*;

    /// A clock that is set by hand.
    #[derive(Debug, Clone)]
    struct Hand(Rc<Cell<Instant>>);

    impl Clock for Hand {
        type Instant = Instant;

        fn now(&self) -> Instant {
            self.0.get()
        }
    }

    impl Hand {
        fn new() -> Self {
            Self(Rc::new(Cell::new(Instant::now())))
        }

        fn pass(&self, time: Duration) {
            self.0.set(self.0.get() + time);
        }
    }

    fn limits(updates: u32, bytes: u32) -> SpaceLimits {
        SpaceLimits {
            updates_per_minute: NonZeroU32::new(updates),
            bytes_per_minute: NonZeroU32::new(bytes),
            max_update: 1000,
            ..SpaceLimits::NONE
        }
    }

    fn submit(meter: &mut Meter<Hand>, bytes: usize) -> Result<(), Refusal> {
        let submission = Submission {
            payload: Bytes::from(vec![0; bytes]),
            op_id: None,
            base: None,
        };
        let mut commands = vec![Command::Submit(submission)];
        match meter.count(&mut commands, &mut Again::default()) {
            None => Ok(()),
            Some((at, refusal)) => {
                assert_eq!((at, commands.len()), (1, 0));
                Err(refusal)
            }
        }
    }

    /// A client over its rate sends again what it has not heard of; only what is new is its rate's.
    #[test]
    fn what_is_sent_again_after_a_join_is_counted_once() {
        let client = ClientId::new(7).expect("an id");
        let mut meter = Meter::by(&limits(0, 60), &Hand::new());
        let operation = |number| {
            Command::Submit(Submission {
                payload: Bytes::from(vec![0; 10]),
                op_id: Some(OpId::of_client(client, number)),
                base: None,
            })
        };
        let send = |meter: &mut Meter<Hand>, again: &mut Again, from, to| {
            let mut commands: Vec<Command> = (from..=to).map(operation).collect();
            meter.count(&mut commands, again).map(|(at, _)| at)
        };
        // A minute's worth and ten seconds of debt are seven.
        let mut again = Again::default();
        assert_eq!(send(&mut meter, &mut again, 1, 8), Some(8));
        let mut again = Again::default();
        again.known(7);
        assert_eq!(send(&mut meter, &mut again, 1, 7), None);
        // The same once more is new traffic, and so is what the log has not.
        assert_eq!(send(&mut meter, &mut again, 7, 7), Some(1));
        assert_eq!(send(&mut meter, &mut again, 8, 8), Some(1));
    }

    #[test]
    fn a_minutes_worth_is_taken_at_once_then_debt_then_nothing() {
        let clock = Hand::new();
        let mut meter = Meter::by(&limits(60, 0), &clock);
        for n in 0..60 {
            // Each is a stroke of its own.
            meter.stroke = None;
            assert_eq!(submit(&mut meter, 1), Ok(()), "{n}");
            assert!(!meter.is_slow(), "{n}");
        }
        for n in 1..=10 {
            meter.stroke = None;
            assert_eq!(submit(&mut meter, 1), Ok(()), "{n}");
            assert!(meter.is_slow(), "{n}");
            assert_eq!(meter.until(), Some(clock.now() + Duration::from_secs(n)));
        }
        meter.stroke = None;
        let refused = submit(&mut meter, 1);
        let after = Duration::from_secs(1);
        let what = "updates";
        assert_eq!(refused, Err(Refusal::TooFast { what, after }));
        clock.pass(Duration::from_secs(10));
        assert!(!meter.is_slow(), "the debt is paid");
        meter.stroke = None;
        assert_eq!(submit(&mut meter, 1), Ok(()));
        assert!(meter.is_slow());
    }

    #[test]
    fn bytes_have_a_bucket_of_their_own_exact_at_the_edge() {
        let clock = Hand::new();
        let mut meter = Meter::by(&limits(0, 6000), &clock);
        for _ in 0..6 {
            assert_eq!(submit(&mut meter, 1000), Ok(()));
        }
        assert!(!meter.is_slow());
        assert_eq!(submit(&mut meter, 1000), Ok(()), "ten seconds ahead");
        assert!(meter.is_slow());
        assert!(submit(&mut meter, 1).is_err());
        assert!(
            submit(&mut meter, 1001).is_err(),
            "no update may be so large"
        );
        clock.pass(Duration::from_millis(10));
        assert_eq!(submit(&mut meter, 1), Ok(()), "as much as has leaked");
        assert!(submit(&mut meter, 1).is_err());
    }

    #[test]
    fn a_stroke_counts_as_two_a_second() {
        let clock = Hand::new();
        let mut meter = Meter::by(&limits(100, 0), &clock);
        let mut slowed = None;
        // A pen makes sixty updates a second; here for ten minutes without a pause.
        for n in 0..36_000 {
            assert_eq!(submit(&mut meter, 20), Ok(()), "{n}");
            if meter.is_slow() {
                slowed.get_or_insert(n);
                clock.pass(meter.until().unwrap() - clock.now());
            }
            clock.pass(Duration::from_micros(16_667));
        }
        let after = Duration::from_micros(16_667) * slowed.expect("it is slowed at last");
        assert!(after > Duration::from_secs(290), "{after:?}");
        // A flood is no stroke.
        let mut meter = Meter::by(&limits(100, 0), &clock);
        let taken = (0..100_000).take_while(|_| submit(&mut meter, 20).is_ok());
        assert_eq!(taken.count(), 116 * STROKE_UPDATES as usize);
    }
}
