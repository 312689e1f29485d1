//! `well restore`: fills an empty data folder from an archive, after the loss of a disk.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use protocol::{Head, RoomName};

use super::import::keep_bases;
use super::say;
use crate::source::open_archive;
use crate::{progress, stores};

/// `well restore`
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// The archive
    #[arg(long, env = "WELL_ARCHIVE", value_name = "URL")]
    archive: String,
    /// The data folder to fill: new or empty, or one whose restore was interrupted
    #[arg(
        long,
        env = "WELL_DATA",
        value_name = "DIR",
        default_value = "./well-data"
    )]
    data: PathBuf,
}

pub(crate) async fn run(args: RestoreArgs) -> anyhow::Result<()> {
    let archive = open_archive(&args.archive).await?;
    if archive.rooms(None, 1).is_empty() {
        bail!(
            "the archive {} holds no room that can be read; `well archive verify` says what it holds",
            args.archive
        );
    }
    let total: u64 = {
        let (mut after, mut total): (Option<RoomName>, u64) = (None, 0);
        loop {
            let page = archive.rooms(after.as_ref(), 1_000);
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            let records = page
                .iter()
                .map(|(_, room)| room.head.seq.since(room.start.seq));
            total += records.sum::<u64>();
        }
        total
    };
    let foreign = args.data.is_dir()
        && !stores::holds_log(&args.data)
        && stores::restores_from(&args.data).is_none()
        && std::fs::read_dir(&args.data)?.next().is_some();
    if foreign {
        bail!(
            "{} is not empty, and holds no Well's log; give an empty folder",
            args.data.display()
        );
    }
    if !stores::holds_log(&args.data) {
        stores::begin_restore(&args.data, &args.archive)?;
    }
    let log = stores::open_log(&args.data, None)?;
    let bar = progress::over("restoring", total);
    let (mut lines, mut based) = (Vec::new(), Vec::new());
    let restored = storage::archive::restore(&archive, &*log, |room| {
        bar.inc(room.records);
        if !room.deleted && room.start != Head::EMPTY {
            based.push(room.room.clone());
        }
        lines.push(format!(
            "{}\tseq {}\t{}\tchain {}{}",
            room.room,
            room.head.seq,
            room.head.at,
            room.head.chain,
            if room.deleted { "\tdeleted" } else { "" }
        ));
    });
    let restored = restored
        .await
        .with_context(|| format!("{} from {}", args.data.display(), args.archive))?;
    bar.finish_and_clear();
    let kept = keep_bases(&archive, &based, &args.data, &log).await;
    log.close().await;
    kept?;
    if stores::restores_from(&args.data).is_some() {
        stores::restored(&args.data)?;
    }
    for line in lines {
        say(&line)?;
    }
    say(&format!(
        "restored {} rooms and {} records, up to {}; what was acked after that and not archived is lost",
        restored.rooms, restored.records, restored.newest
    ))?;
    Ok(())
}
