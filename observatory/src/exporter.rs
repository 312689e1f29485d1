//! The Prometheus recorder and the text of `/metrics`.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use crate::{cells, metrics, process};

/// Renders what has been recorded.
#[derive(Clone)]
pub struct Exporter {
    /// None where nothing is recorded.
    handle: Option<PrometheusHandle>,
    folder: Arc<OnceLock<PathBuf>>,
}

impl std::fmt::Debug for Exporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Exporter")
    }
}

/// The recorder could not be installed.
#[derive(Debug, thiserror::Error)]
#[error("the metrics recorder could not be installed: {0}")]
pub struct InstallError(String);

impl Exporter {
    /// Installs the process's recorder. Once, before anything is recorded.
    ///
    /// # Errors
    /// [`InstallError`] when there is a recorder already.
    pub fn install() -> Result<Self, InstallError> {
        let recorder = PrometheusBuilder::new().install_recorder();
        let handle = recorder.map_err(|error| InstallError(error.to_string()))?;
        metrics::describe();
        process::started();
        Ok(Self {
            handle: Some(handle),
            folder: Arc::default(),
        })
    }

    /// Records nothing in this process: for finding out what recording costs.
    #[must_use]
    pub fn off() -> Self {
        cells::switch_off();
        process::started();
        Self {
            handle: None,
            folder: Arc::default(),
        }
    }

    /// Whether anything is recorded.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.handle.is_some()
    }

    /// Looks at the file system of this folder whenever something is rendered. Only the first counts.
    pub fn set_folder(&self, folder: PathBuf) {
        let _ = self.folder.set(folder);
    }

    /// Everything recorded so far, in Prometheus' text format 0.0.4; what the operating system says of the process
    /// in any case.
    #[must_use]
    pub fn render(&self) -> String {
        if let Some(folder) = self.folder.get() {
            process::look_at_disk(folder);
        }
        let mut text = String::new();
        if let Some(handle) = &self.handle {
            metrics::tell(&cells::all(), &mut text);
            text.push_str(&handle.render());
        }
        process::render(&mut text);
        text
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::labels::{Label, Limit, Owner, Reason, Untold};

    #[test]
    fn what_threads_have_counted_is_told_and_counters_are_there_before_the_first_event() {
        let exporter = Exporter::install().unwrap();
        let mut text = String::new();
        metrics::tell(&[], &mut text);
        for series in [
            "well_ack_seconds_bucket{le=\"0.05\"} 0\n",
            "well_stale_records_count 0\n",
        ] {
            assert!(text.contains(series), "{series} is not in {text}");
        }
        let text = exporter.render();
        let is_there = |series: &str| text.lines().any(|line| line.starts_with(series));
        let all = metrics::ours();
        let plain = all
            .iter()
            .filter(|it| it.kind == "counter" && it.labels.is_empty());
        for counter in plain {
            assert!(is_there(&format!("{} ", counter.name)), "{}", counter.name);
        }
        let labelled = |name: &str, label: &str| is_there(&format!("{name}{{{label}}} "));
        for reason in Reason::ALL {
            let label = format!("reason=\"{}\"", reason.text());
            assert!(labelled("well_refused_total", &label), "{label}");
        }
        for limit in Limit::ALL {
            let label = format!("limit=\"{}\"", limit.text());
            assert!(labelled("well_limits_hit_total", &label), "{label}");
        }
        for why in Untold::ALL {
            let label = format!("reason=\"{}\"", why.text());
            assert!(labelled("well_traces_untold_total", &label), "{label}");
        }
        for label in [
            r#"transport="websocket",code="1000""#,
            r#"transport="webtransport",code="other""#,
        ] {
            assert!(labelled("well_closed_total", label), "{label}");
        }

        // Nothing else in these tests counts this.
        let thread = std::thread::spawn(|| {
            metrics::archive_published(3, 50, 20, Duration::from_millis(1500));
            metrics::memory_changed(Owner::Feeds, 70);
        });
        thread.join().unwrap();
        metrics::archive_published(4, 0, 0, Duration::from_secs(2));
        metrics::memory_changed(Owner::Feeds, -20);
        // Who looks twice sees the same.
        let _ = exporter.render();
        let text = exporter.render();
        for line in [
            "well_archive_records_total 7",
            "well_archive_raw_bytes_total 50",
            "# TYPE well_archive_publish_seconds histogram",
            r#"well_archive_publish_seconds_bucket{le="1"} 0"#,
            r#"well_archive_publish_seconds_bucket{le="1.5"} 1"#,
            r#"well_archive_publish_seconds_bucket{le="+Inf"} 2"#,
            "well_archive_publish_seconds_sum 3.5",
            "well_archive_publish_seconds_count 2",
            r#"well_memory_bytes{owner="feeds"} 50"#,
        ] {
            assert!(text.lines().any(|it| it == line), "{line} is not in {text}");
        }
    }
}
