//! `docs/metrics.md` is written from the tables. `BLESS=1 cargo test -p observatory` writes it anew.

use std::fmt::Write;
use std::path::Path;

use crate::metrics;

const HEAD: &str = "\
# Metrics

What `/metrics` answers, in Prometheus' text format 0.0.4, or in OpenMetrics' 1.0 for who accepts
`application/openmetrics-text`, as Prometheus itself does. There the buckets of `well_ack_seconds` have
exemplars: `trace_id` of the last traced update that took as long. This page is written from the code: do not edit it,
run `BLESS=1 cargo test -p observatory`.

Times are in seconds, sizes in bytes. A label's values are a closed set: no series is made by a room, a
user or an address. Histograms have buckets from 50 µs to 10 s (`_seconds`), among them 0.05 and 1.5. A
gauge that is not known is `NaN` or absent.

";

const SEED: &str = "
## Names from elsewhere

Those who looked at the Well's ancestors find the same here:

| they asked for | ask now |
| --- | --- |
| `storage_op_rtt_ms` | `1000 * histogram_quantile(0.99, sum by (le) (rate(well_append_seconds_bucket[5m])))` |
| `storage_op_rate` | `rate(well_append_seconds_count[1m])` |
| `snapshot_latency_ms` | `1000 * histogram_quantile(0.99, sum by (le) (rate(well_snapshot_seconds_bucket[5m])))` |
| `oplog_lag` | `well_durability_lag_records`; towards the archive `well_archive_lag_records` |
| `ops_per_min` | `60 * rate(well_updates_received_total[1m])` |
| `bytes_per_min` | `60 * rate(well_updates_received_bytes_total[1m])` |
| `pits_created` | `well_pits_created_total` |
| `connections_active` | `sum(well_connections)` |
";

fn page() -> String {
    let all = metrics::table();
    let mut page = HEAD.to_owned();
    page.push_str("| name | type | unit | labels | meaning |\n| --- | --- | --- | --- | --- |\n");
    for metric in all {
        let unit = match metric.unit.as_str() {
            "" => "count",
            unit => unit,
        };
        let row = format!(
            "| `{}` | {} | {unit} | {} | {} |",
            metric.name, metric.kind, metric.labels, metric.about
        );
        writeln!(page, "{row}").unwrap();
    }
    page.push_str(SEED);
    page
}

#[test]
fn the_page_of_metrics_says_what_the_code_does() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, page()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap();
    assert!(
        written == page(),
        "docs/metrics.md is old: BLESS=1 cargo test -p observatory writes it"
    );
}

#[test]
fn names_follow_prometheus_and_the_seeds_names_lead_to_metrics_that_there_are() {
    let all = metrics::table();
    for metric in &all {
        assert_eq!(
            metric.name.ends_with("_total"),
            metric.kind == "counter",
            "{}",
            metric.name
        );
        assert!(metric.about.ends_with('.'), "{}", metric.name);
    }
    let words = SEED.split(|c: char| !(c.is_ascii_lowercase() || c == '_'));
    for word in words.filter(|word| word.starts_with("well_")) {
        let name = word
            .strip_suffix("_bucket")
            .or(word.strip_suffix("_count"))
            .unwrap_or(word);
        assert!(all.iter().any(|metric| metric.name == name), "{word}");
    }
}
