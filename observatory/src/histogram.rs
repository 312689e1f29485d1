//! Histograms as Prometheus has them, a thread's part of each ([`cells`](crate::cells)).
//!
//! The recorder keeps every sample until somebody asks, with the time it came at. Here a sample is a bucket that
//! grows by one.

use std::fmt::Write;
use std::time::Duration;

use metrics::Unit;

use crate::cells::Cell;

/// Where buckets end, and what is told of them.
#[derive(Debug)]
pub(crate) struct Scale {
    /// The most that is in each bucket, in what is recorded.
    ends: &'static [u64],
    /// So much of what is recorded is told as one.
    one: f64,
}

/// Times, recorded in nanoseconds and told in seconds: 50 µs to 10 s, about three steps a decade, finer where an
/// ack should be. An ack is promised within 0.05 s and a join within 1.5 s, so both stand here exactly.
pub(crate) static SECONDS: Scale = Scale {
    ends: &[
        50_000,
        100_000,
        200_000,
        350_000,
        500_000,
        750_000,
        1_000_000,
        2_000_000,
        3_500_000,
        5_000_000,
        10_000_000,
        20_000_000,
        35_000_000,
        50_000_000,
        100_000_000,
        250_000_000,
        500_000_000,
        1_000_000_000,
        1_500_000_000,
        2_500_000_000,
        10_000_000_000,
    ],
    one: 1e9,
};
static BYTES: Scale = Scale {
    ends: &[
        64, 256, 1_024, 4_096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304, 16_777_216,
    ],
    one: 1.0,
};
static COUNTS: Scale = Scale {
    ends: &[1, 4, 16, 64, 256, 1_024, 4_096, 16_384],
    one: 1.0,
};

impl Scale {
    const fn of(unit: Unit) -> &'static Self {
        match unit {
            Unit::Seconds => &SECONDS,
            Unit::Bytes => &BYTES,
            _ => &COUNTS,
        }
    }

    /// How many buckets there are; the last has no end.
    pub(crate) const fn buckets(&self) -> usize {
        self.ends.len() + 1
    }

    /// The bucket of a sample.
    pub(crate) fn bucket(&self, sample: u64) -> usize {
        self.ends.partition_point(|end| *end < sample)
    }

    /// What Prometheus calls a bucket.
    pub(crate) fn le(&self, bucket: usize) -> String {
        let end = self.ends.get(bucket);
        end.map_or_else(
            || "+Inf".to_owned(),
            |end| (*end as f64 / self.one).to_string(),
        )
    }
}

/// A time as it is recorded.
pub(crate) fn nanos(took: Duration) -> u64 {
    u64::try_from(took.as_nanos()).unwrap_or(u64::MAX)
}

/// What one thread has seen of something.
#[derive(Debug)]
pub(crate) struct Histogram {
    scale: &'static Scale,
    buckets: Box<[Cell]>,
    sum: Cell,
}

impl Histogram {
    pub(crate) fn new(unit: Unit) -> Self {
        let scale = Scale::of(unit);
        Self {
            scale,
            buckets: (0..scale.buckets()).map(|_| Cell::default()).collect(),
            sum: Cell::default(),
        }
    }

    pub(crate) fn record(&self, sample: u64) {
        self.record_for(sample, 1);
    }

    pub(crate) fn record_time(&self, took: Duration) {
        self.record_for(nanos(took), 1);
    }

    /// A sample that stands for so many.
    pub(crate) fn record_for(&self, sample: u64, count: u64) {
        self.buckets[self.scale.bucket(sample)].add(count);
        self.sum.add(sample.wrapping_mul(count));
    }

    /// Appends what all threads have seen as a series' lines; `label` is empty or ends with a comma.
    pub(crate) fn write(parts: &[&Self], name: &str, label: &str, out: &mut String) {
        let Some(first) = parts.first() else { return };
        let scale = first.scale;
        let mut count = 0;
        // Writing to a string does not fail.
        for bucket in 0..scale.buckets() {
            count += Cell::sum(parts.iter().map(|part| &part.buckets[bucket]));
            let le = scale.le(bucket);
            let _ = writeln!(out, "{name}_bucket{{{label}le=\"{le}\"}} {count}");
        }
        let label = label.strip_suffix(',').map(|label| format!("{{{label}}}"));
        let label = label.unwrap_or_default();
        let sum = Cell::sum(parts.iter().map(|part| &part.sum)) as f64 / scale.one;
        let _ = writeln!(out, "{name}_sum{label} {sum}");
        let _ = writeln!(out, "{name}_count{label} {count}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_added_up_and_a_buckets_end_is_in_it() {
        let (one, other) = (Histogram::new(Unit::Seconds), Histogram::new(Unit::Seconds));
        one.record_time(Duration::from_millis(50));
        one.record_time(Duration::from_nanos(50_000_001));
        other.record_time(Duration::from_micros(10));
        other.record_time(Duration::from_secs(11));
        let mut text = String::new();
        Histogram::write(&[&one, &other], "a_seconds", "room=\"cold\",", &mut text);
        let value = |series: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(series));
            line.unwrap_or_else(|| panic!("{series} is not in {text}"))
                .trim()
                .parse::<f64>()
                .unwrap()
        };
        let bucket = |le| value(&format!("a_seconds_bucket{{room=\"cold\",le=\"{le}\"}} "));
        assert_eq!(bucket("0.00005"), 1.0);
        assert_eq!(bucket("0.035"), 1.0);
        assert_eq!(bucket("0.05"), 2.0);
        assert_eq!(bucket("0.1"), 3.0);
        assert_eq!(bucket("10"), 3.0);
        assert_eq!(bucket("+Inf"), 4.0);
        assert_eq!(value("a_seconds_count{room=\"cold\"} "), 4.0);
        let sum = value("a_seconds_sum{room=\"cold\"} ");
        assert!((sum - 11.100_010_001).abs() < 1e-9, "{sum}");
        assert_eq!(text.lines().count(), 24);
    }

    #[test]
    fn a_sample_counts_for_all_that_it_stands_for() {
        let sizes = Histogram::new(Unit::Count);
        sizes.record_for(3, 64);
        let mut text = String::new();
        Histogram::write(&[&sizes], "a_records", "", &mut text);
        assert!(text.contains("a_records_bucket{le=\"4\"} 64\n"), "{text}");
        assert!(text.ends_with("a_records_sum 192\na_records_count 64\n"));
    }

    #[test]
    fn without_a_label_only_buckets_have_braces() {
        let sizes = Histogram::new(Unit::Count);
        for size in [0, 1, 5, 20_000] {
            sizes.record(size);
        }
        let mut text = String::new();
        Histogram::write(&[&sizes], "a_records", "", &mut text);
        assert_eq!(
            text,
            "a_records_bucket{le=\"1\"} 2\na_records_bucket{le=\"4\"} 2\n\
             a_records_bucket{le=\"16\"} 3\na_records_bucket{le=\"64\"} 3\n\
             a_records_bucket{le=\"256\"} 3\na_records_bucket{le=\"1024\"} 3\n\
             a_records_bucket{le=\"4096\"} 3\na_records_bucket{le=\"16384\"} 3\n\
             a_records_bucket{le=\"+Inf\"} 4\na_records_sum 20006\na_records_count 4\n"
        );
    }
}
