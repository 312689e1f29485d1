//! OpenMetrics, the text format that has a place for exemplars: beside a number, a trace that it counts.
//!
//! The recorder knows Prometheus' older text only, and no exemplars. So its text is rewritten here, a line
//! at a time, and what it says of `well_ack_seconds` gets the last trace of each bucket.

use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use crate::histogram::{SECONDS, nanos};

/// The histogram that has exemplars.
const ACK_BUCKET: &str = "well_ack_seconds_bucket{le=\"";

/// The last trace of a bucket.
#[derive(Debug, Clone, Copy)]
struct Exemplar {
    trace: u128,
    seconds: f64,
    at: SystemTime,
}

/// By bucket; the last is the one without an end.
static ACKS: Mutex<[Option<Exemplar>; SECONDS.buckets()]> = Mutex::new([None; SECONDS.buckets()]);

/// A traced update was acked after this long.
pub fn traced_ack(took: Duration, trace: u128) {
    let bucket = SECONDS.bucket(nanos(took));
    ACKS.lock()[bucket] = Some(Exemplar {
        trace,
        seconds: took.as_secs_f64(),
        at: SystemTime::now(),
    });
}

/// What [`Exporter::render`](crate::Exporter::render) gives, as OpenMetrics' text 1.0.
#[must_use]
pub fn of(text: &str) -> String {
    let acks = *ACKS.lock();
    let mut out = String::with_capacity(text.len() + 1024);
    for line in text.lines().filter(|line| !line.is_empty()) {
        // A counter's family is without the `_total` of its sample, and only counters end so.
        match line
            .strip_prefix("# ")
            .and_then(|rest| rest.split_once(' '))
        {
            Some((word, rest)) => {
                let (name, about) = rest.split_once(' ').unwrap_or((rest, ""));
                let name = name.strip_suffix("_total").unwrap_or(name);
                let _ = write!(out, "# {word} {name} {about}");
            }
            None => out.push_str(line),
        }
        if let Some(exemplar) = exemplar_of(line, &acks) {
            put(exemplar, &mut out);
        }
        out.push('\n');
    }
    out.push_str("# EOF\n");
    out
}

/// What stands beside a line of a bucket.
fn exemplar_of(line: &str, acks: &[Option<Exemplar>]) -> Option<Exemplar> {
    let (end, _) = line.strip_prefix(ACK_BUCKET)?.split_once('"')?;
    let bucket = (0..SECONDS.buckets()).find(|bucket| SECONDS.le(*bucket) == end)?;
    acks[bucket]
}

fn put(exemplar: Exemplar, out: &mut String) {
    let Exemplar { trace, seconds, at } = exemplar;
    let at = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let at = at.as_secs_f64();
    let _ = write!(out, " # {{trace_id=\"{trace:032x}\"}} {seconds} {at:.3}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_same_without_blank_lines_and_with_the_last_trace_of_each_bucket() {
        let text = "# HELP a_total Times.\n# TYPE a_total counter\na_total{b=\"c d\"} 3\n\n\
                    # HELP well_ack_seconds Acks.\n# TYPE well_ack_seconds histogram\n\
                    well_ack_seconds_bucket{le=\"0.05\"} 7\nwell_ack_seconds_bucket{le=\"0.1\"} 7\n\
                    well_ack_seconds_bucket{le=\"+Inf\"} 8\nwell_ack_seconds_sum 12.5\n\
                    well_ack_seconds_count 8\n\n";
        traced_ack(Duration::from_millis(41), 1);
        // The end of a bucket is in it.
        traced_ack(Duration::from_millis(50), 0xabc);
        traced_ack(Duration::from_secs(12), 2);
        let lines = of(text);
        let lines: Vec<&str> = lines.lines().collect();
        let starts = [
            "# HELP a Times.",
            "# TYPE a counter",
            "a_total{b=\"c d\"} 3",
            "# HELP well_ack_seconds Acks.",
            "# TYPE well_ack_seconds histogram",
            "well_ack_seconds_bucket{le=\"0.05\"} 7 # \
             {trace_id=\"00000000000000000000000000000abc\"} 0.05 ",
            "well_ack_seconds_bucket{le=\"0.1\"} 7",
            "well_ack_seconds_bucket{le=\"+Inf\"} 8 # \
             {trace_id=\"00000000000000000000000000000002\"} 12 ",
            "well_ack_seconds_sum 12.5",
            "well_ack_seconds_count 8",
            "# EOF",
        ];
        assert_eq!(lines.len(), starts.len(), "{lines:?}");
        for (line, start) in lines.iter().zip(starts) {
            match start.ends_with(' ') {
                true => assert!(line.starts_with(start), "{line}"),
                false => assert_eq!(*line, start),
            }
        }
    }
}
