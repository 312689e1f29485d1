//! What a server stands on: its disk, its clock, its limits, its certificates, its archive.
//!
//! Each check looks at one thing and gives a [`Finding`]: what was found, whether that will do, and
//! what to do about it. What it makes to try, files in the data folder and an object in the archive,
//! it removes.

pub(crate) mod disk;
mod network;
mod system;

use crate::config::{Config, Store};

/// Whether what was found will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It will do.
    Good,
    /// It will do for a small server, or could not be told.
    Poor,
    /// The server would not start, or could lose work.
    Bad,
}

impl Verdict {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Poor => "warn",
            Self::Bad => "FAIL",
        }
    }
}

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) what: &'static str,
    pub(crate) verdict: Verdict,
    pub(crate) found: String,
    /// What to do about it; none where it will do.
    pub(crate) advice: Option<&'static str>,
}

impl Finding {
    pub(crate) fn good(what: &'static str, found: impl Into<String>) -> Self {
        Self {
            what,
            verdict: Verdict::Good,
            found: found.into(),
            advice: None,
        }
    }

    pub(crate) fn poor(what: &'static str, found: impl Into<String>, advice: &'static str) -> Self {
        Self {
            what,
            verdict: Verdict::Poor,
            found: found.into(),
            advice: Some(advice),
        }
    }

    pub(crate) fn bad(what: &'static str, found: impl Into<String>, advice: &'static str) -> Self {
        Self {
            verdict: Verdict::Bad,
            ..Self::poor(what, found, advice)
        }
    }
}

/// Everything there is to look at.
pub(crate) async fn examine(config: &Config) -> Vec<Finding> {
    let mut findings = vec![system::version(), system::clock(&config.data)];
    findings.push(system::open_files());
    findings.push(system::memory());
    if config.store == Store::Sled {
        findings.extend(disk::examine(&config.data));
    } else {
        findings.push(Finding::poor(
            "store",
            "records are kept in memory and end with the process",
            "use `--store sled` for anything that must not be lost",
        ));
    }
    findings.push(network::listener(config.listen));
    findings.push(network::backlog());
    if config.webtransport {
        findings.push(network::udp(config.listen));
        findings.push(network::udp_buffers());
    }
    if let Some(tls) = &config.tls {
        findings.push(network::certificate(tls));
    }
    findings.push(network::archive(config.archive.url.as_deref()).await);
    findings
}
