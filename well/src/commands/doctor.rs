//! `well doctor`: looks at what a server stands on before users do, and says what to do.

use anyhow::bail;
use clap::Args;
use serde_json::json;

use super::say;
use crate::config::ServeArgs;
use crate::doctor::{self, Finding, Verdict};

/// `well doctor`: takes what `well serve` takes, so that what is looked at is what would be served.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// One JSON object a line instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    serve: ServeArgs,
}

pub(crate) async fn run(args: DoctorArgs) -> anyhow::Result<()> {
    let mut bad = 0;
    let mut tell = |finding: &Finding| {
        bad += u32::from(finding.verdict == Verdict::Bad);
        say(&if args.json {
            line(finding)
        } else {
            text(finding)
        })
    };
    match args.serve.resolve() {
        Ok(config) => {
            tell(&Finding::good("configuration", "it is valid"))?;
            for finding in doctor::examine(&config).await {
                tell(&finding)?;
            }
        }
        Err(error) => tell(&Finding::bad(
            "configuration",
            format!("{error:#}"),
            "mend it; `well config check` says the same without the rest",
        ))?,
    }
    if bad > 0 {
        bail!("{bad} of these must be mended before the server can be trusted");
    }
    Ok(())
}

fn text(finding: &Finding) -> String {
    let Finding {
        verdict,
        what,
        found,
        ..
    } = finding;
    let line = format!("{:4}  {what:14}  {found}", verdict.name());
    match finding.advice {
        Some(advice) => format!("{line}\n      {:14}  → {advice}", ""),
        None => line,
    }
}

fn line(finding: &Finding) -> String {
    json!({
        "check": finding.what,
        "verdict": finding.verdict.name(),
        "found": finding.found,
        "advice": finding.advice,
    })
    .to_string()
}
