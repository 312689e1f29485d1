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
use protocol::dialect::{Command, Refusal};

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
    /// cut off. Gives which update of these that is, and why.
    pub fn count(&mut self, commands: &mut Vec<Command>) -> Option<(u64, Refusal)> {
        let mut updates = 0;
        for at in 0..commands.len() {
            let Command::Submit(submission) = &commands[at] else {
                continue;
            };
            updates += 1;
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
    pub fn is_slow(&mut self) -> bool {
        let now = || self.clock.now();
        self.until = self.until.filter(|until| now() < *until);
        self.until.is_some()
    }

    /// Until when.
    #[must_use]
    pub const fn until(&self) -> Option<Instant> {
        self.until
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
    use protocol::dialect::Submission;

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
        match meter.count(&mut commands) {
            None => Ok(()),
            Some((at, refusal)) => {
                assert_eq!((at, commands.len()), (1, 0));
                Err(refusal)
            }
        }
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
