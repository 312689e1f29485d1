//! The Prometheus recorder and the text of `/metrics`.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::{latency, metrics, process};

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
        let error = |error: &dyn std::fmt::Display| InstallError(error.to_string());
        let handle = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)
            .and_then(|builder| {
                builder.set_buckets_for_metric(Matcher::Suffix("_bytes".into()), &BYTES)
            })
            .and_then(|builder| {
                builder.set_buckets_for_metric(Matcher::Suffix("_records".into()), &COUNTS)
            })
            .map_err(|e| error(&e))?
            .install_recorder()
            .map_err(|e| error(&e))?;
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
        latency::switch_off();
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
        let mut text = self
            .handle
            .as_ref()
            .map_or_else(String::new, PrometheusHandle::render);
        process::render(&mut text);
        text
    }

    /// Folds recorded samples into their histograms; to be called every few seconds, so that
    /// memory stays bounded when nobody scrapes.
    pub fn upkeep(&self) {
        if let Some(handle) = &self.handle {
            handle.run_upkeep();
        }
    }
}

/// 100 µs to 10 s, about three steps a decade, finer where an ack should be. An ack is promised within
/// 0.05 s and a join within 1.5 s, so both stand here exactly.
pub(crate) const SECONDS: [f64; 21] = [
    0.000_05, 0.000_1, 0.000_2, 0.000_35, 0.000_5, 0.000_75, 0.001, 0.002, 0.003_5, 0.005, 0.01,
    0.02, 0.035, 0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.5, 10.0,
];
const BYTES: [f64; 10] = [
    64.0,
    256.0,
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
];
const COUNTS: [f64; 8] = [1.0, 4.0, 16.0, 64.0, 256.0, 1_024.0, 4_096.0, 16_384.0];
