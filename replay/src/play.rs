//! The pace of playback: which moment of the past it is now.
//!
//! Pure: every call is given the time. The past runs at a speed while it plays and stands still
//! while it is paused; a stretch in which nothing happened can be cut to a short wait.

use std::time::{Duration, Instant};

use protocol::Timestamp;

/// The slowest playback.
pub const MIN_SPEED: f64 = 0.01;
/// The fastest playback.
pub const MAX_SPEED: f64 = 10_000.0;

/// A moving moment of the past.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// The moment that it was at `since`.
    from: Timestamp,
    since: Instant,
    speed: f64,
    paused: bool,
}

impl Pace {
    /// Begins at `from`, `now`, at a speed within [`MIN_SPEED`] and [`MAX_SPEED`].
    #[must_use]
    pub const fn new(from: Timestamp, now: Instant, speed: f64) -> Self {
        Self {
            from,
            since: now,
            speed: clamp(speed),
            paused: false,
        }
    }

    /// The moment of the past that it is `now`.
    #[must_use]
    pub fn moment(&self, now: Instant) -> Timestamp {
        if self.paused {
            return self.from;
        }
        let run = now.saturating_duration_since(self.since).as_secs_f64() * self.speed;
        // A cast of a float saturates.
        let micros = self.from.micros().saturating_add((run * 1e6) as u64);
        Timestamp::from_micros(micros)
    }

    /// When the past will have come to `at`; `None` while it is paused, or farther off than a clock
    /// can say.
    #[must_use]
    pub fn due(&self, at: Timestamp) -> Option<Instant> {
        if self.paused {
            return None;
        }
        let ahead = at.micros().saturating_sub(self.from.micros());
        let wait = Duration::try_from_secs_f64(ahead as f64 / 1e6 / self.speed).ok()?;
        self.since.checked_add(wait)
    }

    /// Cuts the wait for `at`, if that is next, down to `longest`.
    pub fn skip_to(&mut self, at: Timestamp, now: Instant, longest: Duration) {
        let short = (longest.as_secs_f64() * self.speed * 1e6) as u64;
        let latest = Timestamp::from_micros(at.micros().saturating_sub(short));
        if !self.paused && self.moment(now) < latest {
            self.seek(latest, now);
        }
    }

    /// Goes on at another speed.
    pub fn set_speed(&mut self, speed: f64, now: Instant) {
        self.seek(self.moment(now), now);
        self.speed = clamp(speed);
    }

    /// Stands still, or goes on.
    pub fn set_paused(&mut self, paused: bool, now: Instant) {
        self.seek(self.moment(now), now);
        self.paused = paused;
    }

    /// Goes on from another moment.
    pub const fn seek(&mut self, at: Timestamp, now: Instant) {
        self.from = at;
        self.since = now;
    }

    /// Whether it stands still.
    #[must_use]
    pub const fn is_paused(&self) -> bool {
        self.paused
    }
}

const fn clamp(speed: f64) -> f64 {
    if speed.is_nan() {
        1.0
    } else {
        speed.clamp(MIN_SPEED, MAX_SPEED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn the_past_runs_at_its_speed_and_stands_still_when_paused() {
        let start = Instant::now();
        let later = |seconds| start + Duration::from_secs(seconds);
        let mut pace = Pace::new(at(100), start, 2.0);
        assert_eq!(pace.moment(later(5)), at(110));
        assert_eq!(pace.due(at(120)), Some(later(10)));
        assert_eq!(pace.due(at(90)), Some(start), "what is past is due");
        pace.set_paused(true, later(5));
        assert_eq!(pace.moment(later(500)), at(110));
        assert_eq!(pace.due(at(120)), None);
        pace.set_paused(false, later(20));
        assert_eq!(pace.due(at(120)), Some(later(25)));
        pace.set_speed(0.5, later(20));
        assert_eq!(pace.due(at(120)), Some(later(40)));
    }

    #[test]
    fn what_is_far_off_becomes_due_all_the_same() {
        const YEAR: u64 = 365 * 86_400;
        let start = Instant::now();
        let pace = Pace::new(at(100), start, 1.0);
        let due = start + Duration::from_secs(YEAR);
        assert_eq!(pace.due(at(100 + YEAR)), Some(due));
        assert_eq!(pace.moment(due), at(100 + YEAR));
    }

    #[test]
    fn an_idle_stretch_is_cut_short() {
        let start = Instant::now();
        let mut pace = Pace::new(at(0), start, 4.0);
        pace.skip_to(at(1_000), start, Duration::from_secs(1));
        assert_eq!(pace.due(at(1_000)), Some(start + Duration::from_secs(1)));
        pace.skip_to(at(997), start, Duration::from_secs(1));
        assert_eq!(pace.moment(start), at(996), "what is near is waited for");
    }

    #[test]
    fn no_speed_or_time_breaks_it() {
        let start = Instant::now();
        for speed in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e300] {
            let pace = Pace::new(Timestamp::from_micros(u64::MAX), start, speed);
            assert!(pace.moment(start + Duration::from_secs(1 << 30)) >= at(1));
            let pace = Pace::new(at(0), start, speed);
            let _ = pace.due(Timestamp::from_micros(u64::MAX));
        }
    }
}
