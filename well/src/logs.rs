//! Structured logs on standard error, for people or as JSON lines.
//!
//! What is logged can be changed while the process runs. A line that comes too often is left out and
//! counted ([`storms`]), so that a flood of one kind hides nothing else and fills no disk.

mod storms;

use std::io::IsTerminal;
use std::sync::Arc;

use anyhow::Context;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::config::LogFormat;
use storms::{Calm, Storms};

/// The process's logs. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Logs {
    levels: reload::Handle<EnvFilter, Registry>,
    storms: Arc<Storms>,
}

impl Logs {
    /// Logs this from here on.
    ///
    /// # Errors
    /// When it is no filter; then nothing changes.
    pub(crate) fn set(&self, filter: &str) -> anyhow::Result<()> {
        let filter = read(filter)?;
        let set = self.levels.reload(filter);
        set.context("what is logged could not be changed")
    }

    /// Says how many lines were left out since the last call; to be called every few seconds.
    pub(crate) fn tell_left_out(&self) {
        self.storms.tell();
    }
}

/// Whether `filter` says what is to be logged.
///
/// # Errors
/// Why not.
pub(crate) fn check(filter: &str) -> anyhow::Result<()> {
    read(filter).map(drop)
}

/// Installs the process's log writer.
///
/// # Errors
/// When `filter` is none, or there is a writer already.
pub(crate) fn install(filter: &str, format: LogFormat) -> anyhow::Result<Logs> {
    let (levels, handle) = reload::Layer::new(read(filter)?);
    let storms = Arc::new(Storms::default());
    let lines = fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let lines = match format {
        LogFormat::Text => lines
            .with_target(false)
            .map_event_format(|format| Calm::new(&storms, format))
            .boxed(),
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .map_event_format(|format| Calm::new(&storms, format))
            .boxed(),
    };
    let lines = lines.with_filter(levels);
    let subscriber = tracing_subscriber::registry().with(lines);
    #[cfg(feature = "console")]
    let subscriber = subscriber.with(console_subscriber::spawn());
    subscriber.try_init()?;
    let levels = handle;
    Ok(Logs { levels, storms })
}

fn read(filter: &str) -> anyhow::Result<EnvFilter> {
    // It warns of every peer that goes without a goodbye; what is said later of it wins.
    EnvFilter::try_new(format!("web_transport_quinn=error,{filter}"))
        .map_err(|error| anyhow::anyhow!("--log {filter:?} is not a filter: {error}"))
}
