//! Structured logs on standard error, for people or as JSON lines.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use crate::config::LogFormat;

/// Installs the process's log writer.
pub(crate) fn install(filter: &str, format: LogFormat) -> anyhow::Result<()> {
    // It warns of every peer that goes without a goodbye; what is said later of it wins.
    let filter = EnvFilter::try_new(format!("web_transport_quinn=error,{filter}"))
        .map_err(|error| anyhow::anyhow!("--log {filter:?} is not a filter: {error}"))?;
    let builder = fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => builder.with_target(false).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
    Ok(())
}
