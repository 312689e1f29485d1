//! A sample of everything that the Observatory shows, each second.
//!
//! A [`Sampler`] reads what the exporter renders, as Prometheus would, and the latencies of the last
//! second. So the page and Prometheus cannot tell two stories: a value is named here once, with the
//! metric that it comes from ([`KEYS`]).

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::fanout::delivered;
use crate::latency::{Counts, Stage, Taker};
use crate::notice::Notices;
use crate::process::memory_limit_bytes;
use crate::ribbon::happened;

/// One value for each of [`KEYS`]; not a number where it is not known.
pub type Values = [f64; KEYS.len()];

/// How long the stages of a sample look back, in samples.
const STAGES_OVER: usize = 60;

/// A value of a sample.
#[derive(Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What a minute makes of its seconds.
    pub fold: Fold,
    from: From,
}

/// What a minute makes of its seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fold {
    /// The mean: of rates, and of sizes of commits.
    Mean,
    /// The largest: of percentiles and lags.
    Max,
    /// The last: of whatever is a state.
    Last,
}

/// Where a value comes from.
#[derive(Debug, Clone, Copy)]
enum From {
    /// A counter's increase a second; all series of a name together.
    Rate(&'static str),
    /// A series, or all series of a name together.
    Gauge(&'static str),
    /// The mean of a histogram's samples since the last sample.
    Mean(&'static str),
    /// A percentile of the last second.
    Percentile(Stage, f64),
    /// How many seconds there are until a moment, which a series says in Unix time; negative once it has passed.
    Until(&'static str),
    /// What the process may take.
    MemoryLimit,
}

const fn key(name: &'static str, fold: Fold, from: From) -> Key {
    Key { name, fold, from }
}

const fn rate(name: &'static str, of: &'static str) -> Key {
    key(name, Fold::Mean, From::Rate(of))
}

const fn lag(name: &'static str, of: &'static str) -> Key {
    key(name, Fold::Max, From::Gauge(of))
}

const fn state(name: &'static str, of: &'static str) -> Key {
    key(name, Fold::Last, From::Gauge(of))
}

const fn until(name: &'static str, of: &'static str) -> Key {
    key(name, Fold::Last, From::Until(of))
}

const fn time(name: &'static str, of: Stage, part: f64) -> Key {
    key(name, Fold::Max, From::Percentile(of, part))
}

/// Every value of a sample.
pub const KEYS: [Key; 47] = [
    rate("updates_per_second", "well_updates_received_total"),
    rate("bytes_per_second", "well_updates_received_bytes_total"),
    rate("records_per_second", "well_records_total"),
    rate("acked_per_second", "well_acked_total"),
    time("ack_seconds_p50", Stage::Ack, 0.5),
    time("ack_seconds_p95", Stage::Ack, 0.95),
    time("ack_seconds_p99", Stage::Ack, 0.99),
    time("fanout_seconds_p50", Stage::Fanout, 0.5),
    time("fanout_seconds_p99", Stage::Fanout, 0.99),
    lag(
        "feed_lag_records_median",
        r#"well_feed_lag_records{which="median"}"#,
    ),
    lag(
        "feed_lag_records_slowest",
        r#"well_feed_lag_records{which="slowest"}"#,
    ),
    time("sync_seconds_p50", Stage::Sync, 0.5),
    time("sync_seconds_p99", Stage::Sync, 0.99),
    key(
        "commit_records_mean",
        Fold::Mean,
        From::Mean("well_append_records"),
    ),
    rate("commits_per_second", "well_append_records_count"),
    lag("durability_lag_seconds", "well_durability_lag_seconds"),
    time("join_seconds_p50", Stage::Join, 0.5),
    time("join_seconds_p99", Stage::Join, 0.99),
    rate("joins_per_second", "well_join_seconds_count"),
    state("sessions", "well_sessions"),
    state(
        "sessions_yjs_websocket",
        r#"well_sessions{dialect="yjs",transport="websocket"}"#,
    ),
    state(
        "sessions_yjs_webtransport",
        r#"well_sessions{dialect="yjs",transport="webtransport"}"#,
    ),
    state(
        "sessions_well_websocket",
        r#"well_sessions{dialect="well",transport="websocket"}"#,
    ),
    state(
        "sessions_well_webtransport",
        r#"well_sessions{dialect="well",transport="webtransport"}"#,
    ),
    state("connections", "well_connections"),
    state("rooms_loaded", "well_rooms_loaded"),
    state("memory_resident_bytes", "process_resident_memory_bytes"),
    state(
        "memory_documents_bytes",
        r#"well_memory_bytes{owner="documents"}"#,
    ),
    state("memory_feeds_bytes", r#"well_memory_bytes{owner="feeds"}"#),
    state(
        "memory_caches_bytes",
        r#"well_memory_bytes{owner="caches"}"#,
    ),
    state(
        "memory_inboxes_bytes",
        r#"well_memory_bytes{owner="inboxes"}"#,
    ),
    state("memory_past_bytes", r#"well_memory_bytes{owner="past"}"#),
    key("memory_limit_bytes", Fold::Last, From::MemoryLimit),
    state("disk_log_bytes", "well_log_disk_bytes"),
    state("disk_free_bytes", "well_disk_free_bytes"),
    state("disk_size_bytes", "well_disk_size_bytes"),
    lag("archive_lag_records", "well_archive_lag_records"),
    lag("archive_lag_bytes", "well_archive_lag_bytes"),
    lag("archive_lag_seconds", "well_archive_lag_seconds"),
    rate("limits_hit_per_second", "well_limits_hit_total"),
    rate("refused_per_second", "well_refused_total"),
    rate("closed_per_second", "well_closed_total"),
    rate("presence_per_second", "well_presence_changes_total"),
    rate("cpu_cores", "process_cpu_seconds_total"),
    state("tokio_queue", "well_runtime_queue_depth"),
    until(
        "certificate_tls_seconds",
        r#"well_certificate_expiry_timestamp_seconds{kind="tls"}"#,
    ),
    until(
        "certificate_webtransport_seconds",
        r#"well_certificate_expiry_timestamp_seconds{kind="webtransport"}"#,
    ),
];

/// What there is to see at a moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The moment, in Unix milliseconds.
    pub at: u64,
    /// The values of [`KEYS`], in that order.
    pub values: Values,
    /// An update's stages over the last minute.
    pub stages: Vec<StageTimes>,
    /// Why the server is not ready, if it is not. Of this [`Sampler`] knows nothing.
    pub not_ready: Option<String>,
}

/// How long a stage took lately.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StageTimes {
    /// Which.
    pub stage: Stage,
    /// How many samples there were.
    pub count: u64,
    /// Half of them took at most so long, in seconds.
    pub p50: f64,
    /// All but a hundredth took at most so long, in seconds.
    pub p99: f64,
}

/// Makes samples of what is rendered.
#[derive(Debug)]
pub struct Sampler {
    before: Option<(Instant, Scrape)>,
    latencies: Taker,
    stages: VecDeque<Vec<Counts>>,
    memory_limit: Option<u64>,
    notices: Notices,
}

impl Default for Sampler {
    fn default() -> Self {
        Self::new()
    }
}

impl Sampler {
    /// One that has seen nothing: its first sample has no rates.
    #[must_use]
    pub fn new() -> Self {
        Self {
            before: None,
            latencies: Taker::new(),
            stages: VecDeque::new(),
            memory_limit: memory_limit_bytes(),
            notices: Notices::new(),
        }
    }

    /// The sample of a moment that is `at` on the wall, in Unix milliseconds, of what has been rendered
    /// then; puts on the ribbon what it sees there, so there is one sampler in a process.
    pub fn sample(&mut self, at: u64, now: Instant, rendered: &str) -> Sample {
        let latencies = self.latencies.take();
        delivered(latencies[Stage::Fanout as usize].len());
        let scrape = Scrape::parse(rendered);
        for notice in self.notices.look(at as f64 / 1000.0, &scrape) {
            happened(notice.kind, notice.severity, notice.text);
        }
        let passed = self
            .before
            .as_ref()
            .map(|(then, _)| now.saturating_duration_since(*then));
        let values = std::array::from_fn(|key| match KEYS[key].from {
            From::Rate(name) => self.increase(&scrape, name) / seconds(passed),
            From::Gauge(name) => scrape.get(name),
            From::Mean(name) => {
                let part = |part| self.increase(&scrape, &format!("{name}_{part}"));
                // None gives no mean: zero by zero is not a number.
                part("sum") / part("count")
            }
            From::Percentile(stage, part) => latencies[stage as usize].percentile(part),
            From::Until(name) => scrape.get(name) - at as f64 / 1000.0,
            From::MemoryLimit => self.memory_limit.map_or(f64::NAN, |bytes| bytes as f64),
        });
        self.before = Some((now, scrape));
        self.stages.push_back(latencies.into());
        if self.stages.len() > STAGES_OVER {
            self.stages.pop_front();
        }
        let stages = Stage::OF_UPDATES.map(|stage| self.times(stage));
        Sample {
            at,
            values,
            stages: stages.into(),
            not_ready: None,
        }
    }

    /// What a counter has grown by since the last sample. A series that was not there was zero.
    fn increase(&self, scrape: &Scrape, name: &str) -> f64 {
        let Some((_, before)) = &self.before else {
            return f64::NAN;
        };
        let (before, now) = (before.get(name), scrape.get(name));
        if now.is_nan() {
            return 0.0;
        }
        now - if before.is_nan() { 0.0 } else { before }
    }

    fn times(&self, stage: Stage) -> StageTimes {
        let all = self.stages.iter().map(|second| &second[stage as usize]);
        let all = Counts::merged(all);
        StageTimes {
            stage,
            count: all.len(),
            p50: all.percentile(0.5),
            p99: all.percentile(0.99),
        }
    }
}

fn seconds(passed: Option<Duration>) -> f64 {
    passed.map_or(f64::NAN, |passed| passed.as_secs_f64())
}

/// The series of a rendering, and for each name all of its series together. Buckets are left out.
#[derive(Debug, Default)]
pub(crate) struct Scrape(HashMap<String, f64>);

impl Scrape {
    pub(crate) fn parse(rendered: &str) -> Self {
        let mut all = HashMap::new();
        for line in rendered.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else {
                continue;
            };
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let Ok(value) = value.parse::<f64>() else {
                continue;
            };
            if name.ends_with("_bucket") {
                continue;
            }
            if !labels.is_empty() {
                all.insert(series.to_owned(), value);
            }
            *all.entry(name.to_owned()).or_insert(0.0) += value;
        }
        Self(all)
    }

    pub(crate) fn get(&self, series: &str) -> f64 {
        self.0.get(series).copied().unwrap_or(f64::NAN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(sample: &Sample, name: &str) -> f64 {
        sample.values[KEYS.iter().position(|key| key.name == name).unwrap()]
    }

    #[test]
    fn a_sample_says_what_prometheus_would() {
        let mut sampler = Sampler::new();
        let now = Instant::now();
        let first = "# TYPE well_updates_received_total counter\n\
                     well_updates_received_total 100\n\
                     well_append_records_sum 50\nwell_append_records_count 10\n\
                     well_limits_hit_total{limit=\"bytes\"} 1\nwell_limits_hit_total{limit=\"rooms\"} 2\n\
                     well_sessions{dialect=\"yjs\",transport=\"websocket\"} 3\n\
                     well_sessions{dialect=\"well\",transport=\"websocket\"} 4\n\
                     well_archive_lag_records NaN\n\
                     well_certificate_expiry_timestamp_seconds{kind=\"tls\"} 90\n";
        let sample = sampler.sample(100_000, now, first);
        assert_eq!(value(&sample, "certificate_tls_seconds"), -10.0);
        assert!(value(&sample, "certificate_webtransport_seconds").is_nan());
        assert!(
            value(&sample, "updates_per_second").is_nan(),
            "not known yet"
        );
        assert_eq!(value(&sample, "sessions"), 7.0);
        assert_eq!(value(&sample, "sessions_yjs_websocket"), 3.0);
        assert!(value(&sample, "archive_lag_records").is_nan());
        assert!(value(&sample, "disk_free_bytes").is_nan(), "not told");
        let second = "well_updates_received_total 130\n\
                      well_append_records_sum 80\nwell_append_records_count 12\n\
                      well_limits_hit_total{limit=\"bytes\"} 5\nwell_limits_hit_total{limit=\"rooms\"} 2\n\
                      well_refused_total{reason=\"too_fast\"} 8\n";
        let sample = sampler.sample(102_000, now + Duration::from_secs(2), second);
        assert_eq!(value(&sample, "updates_per_second"), 15.0);
        assert_eq!(value(&sample, "commit_records_mean"), 15.0);
        assert_eq!(value(&sample, "commits_per_second"), 1.0);
        assert_eq!(value(&sample, "limits_hit_per_second"), 2.0);
        assert_eq!(
            value(&sample, "refused_per_second"),
            4.0,
            "it was not there before"
        );
        assert!(value(&sample, "sessions").is_nan(), "missing is missing");
        let sample = sampler.sample(103_000, now + Duration::from_secs(3), second);
        assert!(
            value(&sample, "commit_records_mean").is_nan(),
            "there was none"
        );
        assert_eq!(value(&sample, "updates_per_second"), 0.0);
    }

    #[test]
    fn every_value_comes_from_a_metric_that_there_is() {
        let names: Vec<_> = crate::metrics::table()
            .into_iter()
            .map(|metric| metric.name)
            .collect();
        for key in &KEYS {
            let (From::Rate(of) | From::Gauge(of) | From::Mean(of) | From::Until(of)) = key.from
            else {
                continue;
            };
            let name = of.split('{').next().unwrap();
            let name = name.strip_suffix("_count").unwrap_or(name);
            assert!(names.contains(&name), "{} comes from {of}", key.name);
        }
    }
}
