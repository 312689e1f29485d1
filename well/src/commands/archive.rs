//! `well archive verify`: scrubs an archive, byte by byte.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};

use super::{count, say};
use crate::config::Places;
use crate::source::{NO_ARCHIVE, open_archive};

/// `well archive`
#[derive(Debug, Args)]
pub(crate) struct ArchiveArgs {
    #[command(subcommand)]
    command: ArchiveCommand,
}

#[derive(Debug, Subcommand)]
enum ArchiveCommand {
    /// Read every object of an archive and check all of it
    Verify {
        /// The archive [default: `[archive] url` of the configuration]
        #[arg(long, env = "WELL_ARCHIVE", value_name = "URL")]
        archive: Option<String>,
        /// A configuration file; without one, well.toml is read if it is there
        #[arg(long, env = "WELL_CONFIG", value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

pub(crate) async fn run(args: ArchiveArgs) -> anyhow::Result<()> {
    let ArchiveCommand::Verify { archive, config } = args.command;
    let places = Places::find(config.as_deref(), None, archive.as_ref())?;
    let archive = open_archive(&places.archive.context(NO_ARCHIVE)?).await?;
    let bar = indicatif::ProgressBar::new(0);
    let report = archive
        .verify(|progress| {
            bar.set_length(progress.of_objects);
            bar.set_position(progress.objects);
        })
        .await?;
    bar.finish_and_clear();
    for fault in &report.faults {
        say(&fault.to_string())?;
    }
    say(&format!(
        "{}, {}: {}, {}, {}, {}",
        count(report.objects, "object"),
        count(report.bytes, "byte"),
        count(report.rooms, "room"),
        count(report.records, "record"),
        count(report.snapshots, "snapshot"),
        count(report.orphans, "orphan")
    ))?;
    if !report.is_whole() {
        let faults = report.faults.len() as u64 + report.more_faults;
        bail!("{}", count(faults, "fault"));
    }
    Ok(())
}
