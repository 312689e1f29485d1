//! How long to wait before the next try: longer each time, and never in step with others.

use std::time::Duration;

use crate::limits::{BACKOFF_FIRST, BACKOFF_MAX};

/// The pauses of one connection.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    tries: u32,
}

impl Backoff {
    /// It worked: the next pause is short again.
    pub(crate) fn reset(&mut self) {
        self.tries = 0;
    }

    /// The next pause: at random up to twice the one before ("full jitter"), and not before what the
    /// server has asked for.
    pub(crate) fn next(&mut self, at_least: Duration) -> Duration {
        let most = BACKOFF_FIRST
            .saturating_mul(1 << self.tries.min(16))
            .min(BACKOFF_MAX);
        self.tries += 1;
        // Without randomness the pause is the whole one.
        let fraction = getrandom::u32().map_or(1.0, |bits| f64::from(bits) / f64::from(u32::MAX));
        at_least + most.mul_f64(fraction)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_heed_the_server() {
        let mut backoff = Backoff::default();
        let longest = (0..200).map(|_| backoff.next(Duration::ZERO)).max();
        assert!(longest <= Some(BACKOFF_MAX) && longest > Some(BACKOFF_MAX / 4));
        assert!(backoff.next(Duration::from_secs(60)) >= Duration::from_secs(60));
        backoff.reset();
        assert!(backoff.next(Duration::ZERO) <= BACKOFF_FIRST);
    }
}
