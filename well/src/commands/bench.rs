//! `well bench`: what a server would do here, before there is one.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use indicatif::ProgressBar;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::say;
use crate::bench::server::Server;
use crate::bench::{LOG, LONE_ACK, PARTS, Patience, ROOMS, Report, SESSIONS, Verdict, log, syncs};
use crate::config::ServeArgs;
use crate::doctor::disk;
use crate::progress;

/// What a part takes at least, or it says nothing.
const LEAST_SECONDS: u64 = 2;
const MOST_SECONDS: u64 = 3600;

/// `well bench`: takes what `well serve` takes, and measures the disk that its data folder is on. What it writes
/// there is in a folder of its own, which is gone afterwards.
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// How long it measures in all; the rest takes a few seconds
    #[arg(long, value_name = "N", default_value_t = 18, value_parser = clap::value_parser!(u64).range(LEAST_SECONDS..=MOST_SECONDS))]
    seconds: u64,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    serve: ServeArgs,
}

pub(crate) async fn run(args: BenchArgs) -> anyhow::Result<()> {
    let config = args.serve.of_a_server_that_runs().resolve()?;
    let near = disk::nearest(&config.data);
    let folder = tempfile::Builder::new().prefix(".bench").tempdir_in(&near);
    let folder = folder.with_context(|| format!("nothing can be made in {}", near.display()))?;
    let patience = Patience::new(Duration::from_secs(args.seconds) / PARTS);
    let stopping = patience.clone();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    // What is on its way ends in order, so that nothing of it is left behind.
    let stopper = tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        stopping.stop();
    });
    let report = measured(folder.path(), &patience).await;
    stopper.abort();
    let removed = folder
        .close()
        .with_context(|| format!("{} is left behind", near.display()));
    let report = report?;
    removed?;
    if args.json {
        say(&in_json(&report).to_string())?;
    } else {
        tell(&near, &report)?;
    }
    if report.verdict().0 == Verdict::Bad {
        bail!("what a server would ack here is not safe");
    }
    Ok(())
}

async fn measured(folder: &Path, patience: &Patience) -> anyhow::Result<Report> {
    let bar = progress::parts(PARTS.into());
    let step = |what: &str, parts: u64| {
        bar.inc(parts);
        bar.set_message(what.to_owned());
    };
    step("syncs", 0);
    let sync = syncs(folder, patience)?;
    let mut rows = Vec::new();
    let mut parts = 1;
    for (in_flight, usual) in LOG {
        step(&format!("the log, {in_flight} in flight"), parts);
        rows.push(log::measure(folder, in_flight, usual, patience).await?);
        parts = 2;
    }
    step("a server, one session", parts);
    let server = measure_server(folder, patience, &bar).await?;
    bar.finish_and_clear();
    Ok(Report {
        sync,
        log: rows,
        server,
    })
}

async fn measure_server(
    folder: &Path,
    patience: &Patience,
    bar: &ProgressBar,
) -> anyhow::Result<Vec<crate::bench::ServerRow>> {
    let server = Server::start(folder).await?;
    let lone = server.measure(1, 1, patience).await?;
    bar.inc(1);
    bar.set_message(format!("a server, {SESSIONS} sessions"));
    Ok(vec![lone, server.measure(SESSIONS, ROOMS, patience).await?])
}

fn tell(near: &Path, report: &Report) -> anyhow::Result<()> {
    let sync = report.sync;
    say(&format!(
        "syncs of 4 KiB in {}: p50 {:.0?}, p99 {:.0?}",
        near.display(),
        sync.p50,
        sync.p99
    ))?;
    say("\nthe log, beside a bare file with the same bytes")?;
    say("  in flight   appends/s   bare file/s   ratio   usual")?;
    for row in &report.log {
        say(&format!(
            "  {:>9} {:>11.0} {:>13.0} {:>7.2} {:>7.2}",
            row.in_flight,
            row.appends_per_second,
            row.bare_per_second,
            row.ratio(),
            row.usual
        ))?;
    }
    say("\na server on loopback, each session with one update on its way")?;
    say("   sessions   rooms   updates/s     ack p50     ack p99")?;
    for row in &report.server {
        say(&format!(
            "  {:>9} {:>7} {:>11.0} {:>11} {:>11}",
            row.sessions,
            row.rooms,
            row.updates_per_second,
            format!("{:.0?}", row.ack.p50),
            format!("{:.0?}", row.ack.p99)
        ))?;
    }
    let lone = report.lone_ack();
    say(&format!(
        "  a single session's ack takes {lone:.1} bare syncs; {LONE_ACK} are usual"
    ))?;
    let (verdict, remarks) = report.verdict();
    say(match verdict {
        Verdict::Good => "\nverdict: good; this machine and disk do what they should",
        Verdict::Poor => "\nverdict: it works, but is slower than it should be",
        Verdict::Bad => "\nverdict: not fit",
    })?;
    for remark in remarks {
        say(&format!("  - {remark}"))?;
    }
    Ok(())
}

fn in_json(report: &Report) -> serde_json::Value {
    let (verdict, remarks) = report.verdict();
    let mut object = json!(report);
    object["lone_ack_syncs"] = report.lone_ack().into();
    object["verdict"] = json!(verdict);
    object["remarks"] = json!(remarks);
    object
}
