//! Latencies of the last second, exact to a hundredth.
//!
//! Prometheus' buckets are too wide to show a percentile to people. Beside them stands one log-linear
//! histogram for each [`Stage`]: each doubling of time is cut into [`STEPS`] equal steps, so a sample is
//! told from its middle to 1/128. A thread only adds to its own ([`cells`]); [`Taker::take`] gives
//! what all of them have more than when it looked last.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::cells;
use crate::histogram::nanos;

/// Steps in each doubling, as a power of two.
const STEP_BITS: u32 = 6;
const STEPS: u64 = 1 << STEP_BITS;
/// The longest time that is told from longer ones: 68 s, in nanoseconds.
const MOST: u64 = (1 << 36) - 1;
const BUCKETS: usize = bucket(MOST) + 1;

/// A stage of an update's life, in their order; and joining.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Validating and integrating.
    Check,
    /// Waiting for a commit to begin.
    Queue,
    /// Writing to the store.
    Write,
    /// The sync.
    Sync,
    /// From handing over a commit until it is durable: write and sync are within it.
    Append,
    /// From arriving until it is acked.
    Ack,
    /// From durable until another session's writer has it.
    Fanout,
    /// From a session's coming until it has the document.
    Join,
}

impl Stage {
    /// Those of an update, in the order of its life.
    pub const OF_UPDATES: [Self; 7] = [
        Self::Check,
        Self::Queue,
        Self::Write,
        Self::Sync,
        Self::Append,
        Self::Ack,
        Self::Fanout,
    ];
    /// How many there are.
    pub(crate) const COUNT: usize = 8;

    /// Its name, as it is told.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Queue => "queue",
            Self::Write => "write",
            Self::Sync => "sync",
            Self::Append => "append",
            Self::Ack => "ack",
            Self::Fanout => "fanout",
            Self::Join => "join",
        }
    }
}

/// What a thread has counted of each stage.
#[derive(Debug, Default)]
pub(crate) struct Latencies([Latency; Stage::COUNT]);

impl Latencies {
    /// Counts one sample of a stage.
    pub(crate) fn record(&self, stage: Stage, took: Duration) {
        self.record_for(stage, took, 1);
    }

    /// Counts a sample that stands for so many.
    pub(crate) fn record_for(&self, stage: Stage, took: Duration, count: u64) {
        self.0[stage as usize].record(took, count as u32);
    }
}

/// A log-linear histogram that one thread writes. It takes no memory until there is a sample.
#[derive(Debug, Default)]
struct Latency(OnceLock<Box<[AtomicU32]>>);

impl Latency {
    fn record(&self, took: Duration, count: u32) {
        let new = || (0..BUCKETS).map(|_| AtomicU32::new(0)).collect();
        let cell = &self.0.get_or_init(new)[bucket(nanos(took).min(MOST))];
        let sum = cell.load(Ordering::Relaxed).wrapping_add(count);
        cell.store(sum, Ordering::Relaxed);
    }
}

/// Takes what there was since it took last.
#[derive(Debug)]
pub(crate) struct Taker {
    before: [Box<[u32]>; Stage::COUNT],
}

impl Taker {
    pub(crate) fn new() -> Self {
        Self {
            before: std::array::from_fn(|_| vec![0; BUCKETS].into()),
        }
    }

    /// What stages have had since the last call; the first gives all that there was.
    pub(crate) fn take(&mut self) -> [Counts; Stage::COUNT] {
        let all = cells::all();
        std::array::from_fn(|stage| {
            let parts = all.iter().map(|cells| &cells.latencies.0[stage]);
            Self::since(&mut self.before[stage], parts)
        })
    }

    /// What `parts` have together and `before` has not, which then has it.
    fn since<'a>(before: &mut [u32], parts: impl Iterator<Item = &'a Latency>) -> Counts {
        let mut now = vec![0_u32; BUCKETS];
        for part in parts.filter_map(|part| part.0.get()) {
            for (sum, count) in now.iter_mut().zip(part) {
                *sum = sum.wrapping_add(count.load(Ordering::Relaxed));
            }
        }
        let counts = now
            .iter()
            .zip(before)
            .enumerate()
            .filter_map(|(at, (now, before))| {
                let more = now.wrapping_sub(std::mem::replace(before, *now));
                (more > 0).then_some((at as u16, more))
            });
        Counts(counts.collect())
    }
}

const fn bucket(nanos: u64) -> usize {
    if nanos < STEPS {
        return nanos as usize;
    }
    let doublings = 63 - nanos.leading_zeros() - STEP_BITS;
    ((doublings as usize + 1) << STEP_BITS) + ((nanos >> doublings) & (STEPS - 1)) as usize
}

/// The middle of a bucket, in seconds.
fn middle(bucket: u16) -> f64 {
    let (doublings, step) = (u64::from(bucket) >> STEP_BITS, u64::from(bucket) % STEPS);
    if doublings == 0 {
        return step as f64 / 1e9;
    }
    let width = (1_u64 << (doublings - 1)) as f64;
    ((STEPS + step) as f64 + 0.5) * width / 1e9
}

/// Samples by bucket, those buckets that have any, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Counts(Vec<(u16, u32)>);

impl Counts {
    /// How many samples there are.
    pub(crate) fn len(&self) -> u64 {
        self.0.iter().map(|(_, count)| u64::from(*count)).sum()
    }

    /// All of these together.
    pub(crate) fn merged<'a>(all: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut sums = vec![0_u32; BUCKETS];
        for (at, count) in all.into_iter().flat_map(|counts| &counts.0) {
            let sum = &mut sums[usize::from(*at)];
            *sum = sum.saturating_add(*count);
        }
        let counted = sums.into_iter().enumerate().filter(|(_, sum)| *sum > 0);
        Self(counted.map(|(at, sum)| (at as u16, sum)).collect())
    }

    /// The smallest time that a part `of` (0 to 1) of the samples does not exceed, in seconds; not a
    /// number if there are none.
    pub(crate) fn percentile(&self, of: f64) -> f64 {
        let rank = ((self.len() as f64 * of).ceil() as u64).max(1);
        let mut seen = 0;
        for (at, count) in &self.0 {
            seen += u64::from(*count);
            if seen >= rank {
                return middle(*at);
            }
        }
        f64::NAN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_percentile_is_within_a_hundredth_of_the_true_one() {
        let (latency, mut before) = (Latency::default(), vec![0; BUCKETS]);
        let mut seed = 7_u64;
        let mut all = Vec::new();
        for _ in 0..50_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // From a microsecond to a minute, evenly over the doublings.
            let nanos = (1000.0 * 2_f64.powf((seed >> 40) as f64 / 2_f64.powi(24) * 25.8)) as u64;
            all.push(nanos);
            latency.record(Duration::from_nanos(nanos), 1);
        }
        all.sort_unstable();
        let counts = Taker::since(&mut before, [&latency].into_iter());
        assert_eq!(counts.len(), 50_000);
        for of in [0.01, 0.1, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0] {
            let rank = ((all.len() as f64 * of).ceil() as usize).max(1);
            let truth = all[rank - 1] as f64 / 1e9;
            let told = counts.percentile(of);
            assert!((told / truth - 1.0).abs() <= 0.01, "{of}: {told}, {truth}");
        }
        let none = Taker::since(&mut before, [&latency].into_iter());
        assert!(none.percentile(0.5).is_nan(), "all were taken");
    }

    #[test]
    fn no_time_is_too_short_or_too_long() {
        // Two threads' together.
        let (one, other) = (Latency::default(), Latency::default());
        one.record(Duration::ZERO, 1);
        other.record(Duration::MAX, 1);
        let counts = Taker::since(&mut vec![0; BUCKETS], [&one, &other].into_iter());
        assert_eq!(counts.len(), 2);
        assert!(counts.percentile(1.0) > 68.0);
        assert_eq!(counts.percentile(0.0), 0.0);
    }

    #[test]
    fn seconds_together_have_the_samples_of_all() {
        let (latency, mut before) = (Latency::default(), vec![0; BUCKETS]);
        let seconds: Vec<Counts> = (1..=3)
            .map(|n| {
                (0..n).for_each(|_| latency.record(Duration::from_millis(n), 1));
                Taker::since(&mut before, [&latency].into_iter())
            })
            .collect();
        let all = Counts::merged(&seconds);
        assert_eq!(all.len(), 6);
        assert!((all.percentile(0.5) / 0.002 - 1.0).abs() < 0.01);
        assert!((all.percentile(0.99) / 0.003 - 1.0).abs() < 0.01);
    }
}
