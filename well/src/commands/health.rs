//! `well health`: whether a running server is ready, for containers and scripts.

use anyhow::bail;
use clap::Args;

use super::asking::{Asking, worded};
use super::say;

/// `well health`
#[derive(Debug, Args)]
#[command(
    mut_args(worded),
    after_help = "It takes every other flag and variable of `well serve` too, so that a script may give both the same."
)]
pub(crate) struct HealthArgs {
    #[command(flatten)]
    asking: Asking,
}

pub(crate) async fn run(args: HealthArgs) -> anyhow::Result<()> {
    let (status, body) = args.asking.server()?.get("/readyz").await?;
    say(body.trim_end())?;
    if !status.is_success() {
        bail!("it is not ready: {status}");
    }
    Ok(())
}
