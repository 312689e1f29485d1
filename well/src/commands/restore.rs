//! `well restore`: fills an empty data folder from an archive, after the loss of a disk.
//!
//! Whatever is whole is written, each room up to its first record that cannot be read. A folder that
//! lacks something stays marked, so that no server starts on it: once the archive has been put in
//! order the command goes on from there. With `--partial` it is freed as it is.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use protocol::{Head, RoomName, Seq};
use storage::SledOptions;
use storage::archive::{Archive, RestoreError, RestoredRoom};

use super::import::keep_bases;
use super::{count, say};
use crate::config::Places;
use crate::source::{NO_ARCHIVE, open_archive};
use crate::{progress, stores};

/// `well restore`
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// The archive [default: `[archive] url` of the configuration]
    #[arg(long, env = "WELL_ARCHIVE", value_name = "URL")]
    archive: Option<String>,
    /// The data folder to fill: new or empty, or one whose restore was interrupted or found damage
    /// [default: `data` of the configuration, else ./well-data]
    #[arg(long, env = "WELL_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// A configuration file; without one, well.toml is read if it is there
    #[arg(long, env = "WELL_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Let a server start on what is whole, each room up to its first record that cannot be read. Exits
    /// with 1 when something is missing all the same. The server needs another archive then
    #[arg(long)]
    partial: bool,
}

pub(crate) async fn run(args: RestoreArgs) -> anyhow::Result<()> {
    let (data, archive) = (args.data.as_ref(), args.archive.as_ref());
    let places = Places::find(args.config.as_deref(), data, archive)?;
    let (data, url) = (places.data, places.archive.context(NO_ARCHIVE)?);
    let archive = open_archive(&url).await?;
    if archive.rooms(None, 1).is_empty() {
        bail!(
            "the archive {url} holds no room that can be read; `well archive verify` says what it holds"
        );
    }
    let foreign = data.is_dir()
        && !stores::holds_log(&data)
        && stores::restores_from(&data).is_none()
        && std::fs::read_dir(&data)?.next().is_some();
    if foreign {
        bail!(
            "{} is not empty, and holds no Well's log; give an empty folder",
            data.display()
        );
    }
    if !stores::holds_log(&data) {
        stores::begin_restore(&data, &url)?;
    }
    let log = stores::open_log(&data, SledOptions::default())?;
    let bar = progress::over("restoring", records_in(&archive));
    let (mut lines, mut based) = (Vec::new(), Vec::new());
    let restored = storage::archive::restore(&archive, &*log, |room| {
        bar.inc(room.records);
        if !room.deleted && room.start != Head::EMPTY {
            based.push(room.room.clone());
        }
        lines.push(line(room));
    });
    let restored = match restored.await {
        Err(RestoreError::Incomplete(restored)) => *restored,
        restored => restored.with_context(|| format!("{} from {url}", data.display()))?,
    };
    bar.finish_and_clear();
    let lost = keep_bases(&archive, &based, &data, &log).await;
    log.close().await;
    let missing = restored.missing.iter().map(ToString::to_string);
    let missing: Vec<String> = missing.chain(lost?).collect();
    for line in lines.iter().chain(&missing) {
        say(line)?;
    }
    let up_to = match restored.records {
        0 => String::new(),
        _ => format!(", up to {}", restored.newest),
    };
    say(&format!(
        "restored {} and {}{up_to}; what was acked after that and not archived is lost",
        count(restored.rooms, "room"),
        count(restored.records, "record"),
    ))?;
    let is_free = missing.is_empty() || args.partial;
    if is_free && stores::restores_from(&data).is_some() {
        stores::restored(&data)?;
    }
    let data = data.display();
    if missing.is_empty() {
        return Ok(());
    }
    let gaps = count(missing.len() as u64, "part");
    if args.partial {
        bail!(
            "{gaps} of the archive could not be read, as said above; the rest is in {data}. Serve it with \
             --archive (or [archive] url) at another, empty prefix: it is filled from there. In {url} rooms go \
             on with what is missing here, so a server with that address archives nothing"
        );
    }
    bail!(
        "{gaps} of the archive could not be read, as said above, so no server is to start on {data} \
         yet. Put what is damaged back from a copy of the bucket and run this again, or go on with \
         what is whole: --partial"
    );
}

/// How many records an archive has.
fn records_in(archive: &Archive) -> u64 {
    let (mut after, mut total): (Option<RoomName>, u64) = (None, 0);
    loop {
        let page = archive.rooms(after.as_ref(), 1_000);
        let Some((last, _)) = page.last() else {
            return total;
        };
        after = Some(last.clone());
        let records = page
            .iter()
            .map(|(_, room)| room.head.seq.since(room.start.seq));
        total += records.sum::<u64>();
    }
}

/// What is said of a room.
fn line(room: &RestoredRoom) -> String {
    let name = &room.room;
    let place = match room.head.seq {
        Seq::ZERO => "nothing".to_owned(),
        seq => format!("seq {seq}\t{}\tchain {}", room.head.at, room.head.chain),
    };
    let deleted = if room.deleted { "\tdeleted" } else { "" };
    let missing = match room.archived.since(room.head.seq) {
        0 => String::new(),
        missing => format!("\tthe last {} missing", count(missing, "record")),
    };
    format!("{name}\t{place}{deleted}{missing}")
}
