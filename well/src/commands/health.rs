//! `well health`: whether a running server is ready, for containers and scripts.

use anyhow::bail;
use clap::{Arg, Args};

use super::asking::Asking;
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

/// What a flag of `well serve` is to a command that only asks: where the server is found, or nothing.
fn worded(arg: Arg) -> Arg {
    match arg.get_id().as_str() {
        "listen" => arg.help(
            "The address that the server listens on; one on all interfaces is asked on loopback \
             [default: 127.0.0.1:4000]",
        ),
        "config" => arg.help(
            "The server's configuration file, for its address and whether it speaks TLS; without one, \
             well.toml if it is there",
        ),
        "url" | "timeout" => arg,
        _ => arg.hide(true),
    }
}

pub(crate) async fn run(args: HealthArgs) -> anyhow::Result<()> {
    let (status, body) = args.asking.server()?.get("/readyz").await?;
    say(body.trim_end())?;
    if !status.is_success() {
        bail!("it is not ready: {status}");
    }
    Ok(())
}
