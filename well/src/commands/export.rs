//! `well export`: rooms' history as JSON lines, documents as Yjs updates, or a whole archive.
//!
//! Whatever it is, what it writes is whole or is not there. A room whose first records are gone is
//! exported with the snapshot that the rest folds on; without one it is refused, the others are
//! exported, and the command fails. Rooms that hold no Yjs document are left out of `--format yjs`, and
//! named; one that is asked for by its name is refused.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use indicatif::ProgressBar;
use object_store::{ObjectStoreExt, PutPayload};
use protocol::RoomName;
use replay::{Span, WholeLog};
use storage::Log;
use storage::archive::{Archive, Archiver, ArchiverOptions, open_store};

use super::{count, export_lines};
use crate::source::{Chosen, Opened, Source};
use crate::{progress, stores};

/// How long the last part of an archive may take to be written.
const FLUSH_TIME: Duration = Duration::from_secs(24 * 3600);

/// `well export`
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// What to export: a room (space/name), a space (space/*) or everything (*)
    #[arg(default_value = "*")]
    rooms: String,
    /// In which form
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    format: Format,
    /// A file or "-" for standard output (jsonl), a folder (yjs, archive), or an object store's URL
    #[arg(long, short, value_name = "FILE|URL")]
    to: String,
    #[command(flatten)]
    source: Source,
}

/// The forms of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Every record as a line of JSON: one file, or one object of a store
    Jsonl,
    /// Each document as one binary update
    Yjs,
    /// An archive of its own, with snapshots; everything is exported
    Archive,
}

pub(crate) async fn run(args: ExportArgs) -> anyhow::Result<()> {
    let chosen = Chosen::parse(&args.rooms)?;
    let opened = args.source.open().await?;
    let bar = progress::counting("exporting");
    let done = match args.format {
        Format::Archive => to_archive(&opened, &chosen, &args.to, &bar).await,
        Format::Jsonl => export_lines::export(&opened, &chosen, &args.to, &bar).await,
        Format::Yjs => match stores::path_of(&args.to)? {
            Some(folder) => to_folder(&opened, &chosen, &folder, &bar).await,
            None => to_store(&opened, &chosen, &args.to, &bar).await,
        },
    };
    bar.finish_and_clear();
    opened.close().await;
    let done = done?;
    if done.rooms == 0 && done.refused == 0 && done.skipped == 0 {
        bail!("there is no room {}", args.rooms);
    }
    eprintln!(
        "exported {}, {} to {}",
        count(done.rooms, "room"),
        count(done.records, "record"),
        args.to
    );
    if done.skipped > 0 {
        let named = done.named.iter().map(RoomName::as_str);
        let named = named.collect::<Vec<_>>().join(", ");
        let more = match done.skipped - done.named.len() as u64 {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        eprintln!(
            "left out {} of no Yjs document ({JSONL}): {named}{more}",
            count(done.skipped, "room")
        );
    }
    if done.refused > 0 {
        bail!("{} could not be exported", count(done.refused, "room"));
    }
    Ok(())
}

/// What was exported.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) rooms: u64,
    pub(super) records: u64,
    /// Rooms of which no document can be had.
    pub(super) refused: u64,
    /// Rooms that hold another kind of document than is exported.
    pub(super) skipped: u64,
    /// The first of these.
    pub(super) named: Vec<RoomName>,
}

impl Done {
    /// Whether a room is to be exported as a Yjs document. Of many those that hold none are left out.
    fn takes(&mut self, opened: &Opened, chosen: &Chosen, room: &RoomName) -> anyhow::Result<bool> {
        let kind = opened.history.kind_of(room);
        if kind == replay::Kind::Yjs {
            return Ok(true);
        }
        if matches!(chosen, Chosen::Room(_)) {
            bail!(
                "{room} holds no Yjs document but one of kind {}: {JSONL}",
                kind.name()
            );
        }
        self.skipped += 1;
        if self.named.len() < MAX_NAMED {
            self.named.push(room.clone());
        }
        Ok(false)
    }
}

/// What takes rooms of every kind.
const JSONL: &str = "--format jsonl takes the records of every room";
/// How many rooms are named that are left out.
const MAX_NAMED: usize = 20;

/// Calls `each` for every room that is chosen.
macro_rules! for_each_room {
    ($opened:expr, $chosen:expr, $after:expr, |$room:ident, $span:ident| $each:block) => {
        let mut after: Option<RoomName> = $after;
        loop {
            let rooms = $opened.rooms($chosen, after.as_ref()).await?;
            let Some(last) = rooms.last().cloned() else { break };
            for $room in rooms {
                let $span = $opened.history.span(&$room).await?;
                if !$span.is_empty() $each
            }
            after = Some(last);
        }
    };
}

pub(super) use for_each_room;

async fn to_folder(
    opened: &Opened,
    chosen: &Chosen,
    to: &Path,
    bar: &ProgressBar,
) -> anyhow::Result<Done> {
    let mut done = Done::default();
    for_each_room!(opened, chosen, None, |room, span| {
        if !done.takes(opened, chosen, &room)? {
            continue;
        }
        let path = if matches!(chosen, Chosen::Room(_)) && !to.is_dir() {
            to.to_owned()
        } else {
            to.join(object_name(&room, "yjs"))
        };
        if let Some(folder) = path.parent().filter(|folder| *folder != Path::new("")) {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("{} cannot be made", folder.display()))?;
        }
        let document = document(opened, &room, &span).await?;
        write_whole(&path, &document)?;
        bar.inc(span.head.seq.since(span.start.seq));
        done.records += span.head.seq.since(span.start.seq);
        done.rooms += 1;
    });
    Ok(done)
}

/// A file is there whole or not at all.
fn write_whole(path: &PathBuf, bytes: &[u8]) -> anyhow::Result<()> {
    let part = path.with_extension("part");
    std::fs::write(&part, bytes)
        .and_then(|()| File::open(&part)?.sync_all())
        .and_then(|()| std::fs::rename(&part, path))
        .with_context(|| format!("{} cannot be written", path.display()))
}

async fn document(opened: &Opened, room: &RoomName, span: &Span) -> anyhow::Result<bytes::Bytes> {
    let folded = opened.history.document_at(room, span.head.seq).await?;
    Ok(folded.document.encode())
}

/// A room's name as one that any file system and store takes: `space/name` with all but letters,
/// digits, `-` and `_` percent-encoded.
fn object_name(room: &RoomName, ending: &str) -> String {
    let mut name = String::new();
    for byte in room.name().bytes() {
        match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'_' => name.push(char::from(byte)),
            other => name.push_str(&format!("%{other:02X}")),
        }
    }
    format!("{}/{name}.{ending}", room.space())
}

async fn to_store(
    opened: &Opened,
    chosen: &Chosen,
    url: &str,
    bar: &ProgressBar,
) -> anyhow::Result<Done> {
    let (store, prefix) = open_store(url, &stores::archive_options())?;
    let prefix = object_store::path::Path::from(prefix);
    let mut done = Done::default();
    for_each_room!(opened, chosen, None, |room, span| {
        if !done.takes(opened, chosen, &room)? {
            continue;
        }
        // The name says what is in it, so what is there already is whole.
        let name = format!("{}.{}-{}.yjs", room.name(), span.head.seq, span.head.chain);
        let path = prefix.clone().join(room.space()).join(name);
        if store.head(&path).await.is_err() {
            let bytes = document(opened, &room, &span).await?;
            let put = store.put(&path, PutPayload::from(bytes)).await;
            put.with_context(|| format!("{room} cannot be written to {url}"))?;
        }
        bar.inc(span.head.seq.since(span.start.seq));
        done.records += span.head.seq.since(span.start.seq);
        done.rooms += 1;
    });
    Ok(done)
}

async fn to_archive(
    opened: &Opened,
    chosen: &Chosen,
    to: &str,
    bar: &ProgressBar,
) -> anyhow::Result<Done> {
    if *chosen != Chosen::All {
        bail!("an archive is of everything; choose rooms with --format jsonl or yjs");
    }
    let mut done = Done::default();
    // Before anything is written: an archive cannot leave a room out.
    for_each_room!(opened, chosen, None, |room, span| {
        if !span.from_nothing && opened.base(&room, &span).await?.is_none() {
            bail!("{room} has no snapshot to begin with; export the others as JSON lines");
        }
        done.rooms += 1;
    });
    if done.rooms == 0 {
        return Ok(done);
    }
    let url = if to.contains("://") {
        to.to_owned()
    } else {
        std::fs::create_dir_all(to).with_context(|| format!("{to} cannot be made"))?;
        let path = Path::new(to).canonicalize()?;
        stores::file_url(&path)
    };
    let archive = Archive::open(&url, stores::archive_options()).await;
    let archive = archive.with_context(|| format!("the archive {url}"))?;
    let log: Arc<dyn Log> = Arc::new(WholeLog::new(opened.history.clone()));
    let options = ArchiverOptions::default();
    let archiver = Archiver::start(log, archive, options, Arc::new(()));
    flush(&archiver, &url, bar).await?;
    // Snapshots are taken once their records are there. One at a time: they may be large.
    for_each_room!(opened, chosen, None, |room, span| {
        let archived = archiver.archive().room(&room);
        if archived.is_none_or(|archived| archived.head.seq < span.head.seq) {
            bail!("{room} was not archived to its end");
        }
        if !span.from_nothing
            && let Some(base) = opened.history.first_snapshot(&room, &span).await?
        {
            let seq = base.head.seq;
            archiver.offer(base);
            flush(&archiver, &url, bar).await?;
            let there = archiver.archive().snapshots(&room);
            if !there.iter().any(|head| head.seq == seq) {
                bail!("the snapshot of {room} at seq {seq} was not archived");
            }
        }
    });
    done.records = archiver.status().records;
    Ok(done)
}

async fn flush(archiver: &Archiver, url: &str, bar: &ProgressBar) -> anyhow::Result<()> {
    let flushing = archiver.flush(FLUSH_TIME);
    tokio::pin!(flushing);
    loop {
        tokio::select! {
            flushed = flushing.as_mut() => {
                return flushed.with_context(|| format!("the archive {url}"));
            }
            () = tokio::time::sleep(Duration::from_millis(200)) => {
                bar.set_position(archiver.status().records);
            }
        }
    }
}
