//! `well archive verify`: scrubs an archive, byte by byte.

use anyhow::bail;
use clap::{Args, Subcommand};

use super::say;
use crate::source::open_archive;

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
        /// The archive
        #[arg(long, env = "WELL_ARCHIVE", value_name = "URL")]
        archive: String,
    },
}

pub(crate) async fn run(args: ArchiveArgs) -> anyhow::Result<()> {
    let ArchiveCommand::Verify { archive: url } = args.command;
    let archive = open_archive(&url).await?;
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
        "{} objects, {} bytes: {} rooms, {} records, {} snapshots, {} orphans",
        report.objects,
        report.bytes,
        report.rooms,
        report.records,
        report.snapshots,
        report.orphans
    ))?;
    if !report.is_whole() {
        let faults = report.faults.len() as u64 + report.more_faults;
        bail!("{faults} faults");
    }
    Ok(())
}
