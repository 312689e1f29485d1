//! The wall clock, held against the monotonic one.
//!
//! A record's time never goes back, so one forward jump of the wall clock would stamp a room's
//! records with the future for as long as the jump was wide. The clock therefore compares the
//! wall with its own start plus monotonic time: up to [`TOLERANCE`] it follows the wall, beyond it
//! the monotonic time, and says so once per jump. A wall that stays off is taken as true after
//! the process starts anew.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use observatory::{EventKind, Severity};
use protocol::Timestamp;

/// How far the wall clock may stand from boot + monotonic time before it is not believed.
pub const TOLERANCE: Duration = Duration::from_secs(5);

/// Where timestamps come from.
#[derive(Debug)]
pub struct Clock {
    started_wall: u64,
    started: Instant,
    jumped: AtomicBool,
}

impl Clock {
    /// A clock that believes the wall as it stands now.
    #[must_use]
    pub fn start() -> Self {
        Self {
            started_wall: wall_micros(),
            started: Instant::now(),
            jumped: AtomicBool::new(false),
        }
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let elapsed = self.started.elapsed().as_micros() as u64;
        let (micros, jumped) = believe(self.started_wall, elapsed, wall_micros());
        if jumped != self.jumped.swap(jumped, Ordering::Relaxed) {
            observatory::clock_jump(jumped);
            if jumped {
                let text = "the wall clock jumped; records are dated by the monotonic clock";
                observatory::happened(EventKind::ClockJump, Severity::Warn, text);
                tracing::warn!(
                    "the wall clock jumped by more than {TOLERANCE:?}; timestamps follow the monotonic clock"
                );
            } else {
                let text = "the wall clock agrees again";
                observatory::happened(EventKind::ClockJump, Severity::Info, text);
                tracing::info!("the wall clock agrees with the monotonic clock again");
            }
        }
        Timestamp::from_micros(micros)
    }
}

/// The time to use, and whether the wall is not believed.
fn believe(started_wall: u64, elapsed: u64, wall: u64) -> (u64, bool) {
    let expected = started_wall + elapsed;
    if u128::from(wall.abs_diff(expected)) > TOLERANCE.as_micros() {
        (expected, true)
    } else {
        (wall, false)
    }
}

fn wall_micros() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_micros() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_step_is_followed_and_a_jump_is_ridden_out() {
        let start = 1_000_000_000;
        assert_eq!(believe(start, 10, start + 11), (start + 11, false));
        assert_eq!(
            believe(start, 10, start + 4_000_000),
            (start + 4_000_000, false)
        );
        assert_eq!(
            believe(start, 10, start + 60_000_000),
            (start + 10, true),
            "forward"
        );
        assert_eq!(
            believe(start, 10, start - 60_000_000),
            (start + 10, true),
            "backward"
        );
    }
}
