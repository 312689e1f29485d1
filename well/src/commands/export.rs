//! `well export`: rooms' history as JSON lines, documents as Yjs updates, or a whole archive.
//!
//! JSON lines begin, for each room, with what stands before its first record:
//! `{"room", "start": {"seq", "at", "chain"}, "created"}`; then come its records, each as the HTTP
//! API gives it. One file holds any number of rooms, by name. An export to a file that was
//! interrupted goes on after its last whole line, once that line's chain hash has been found to be
//! the log's; one to an object store skips the rooms that are there already, as they are now.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use indicatif::ProgressBar;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use protocol::{Head, RoomName, Run, Seq};
use replay::Span;
use replay::lines::Line;
use storage::archive::{Archiver, ArchiverOptions};

use super::lines::{RoomLine, Text};
use crate::progress;
use crate::source::{Chosen, Opened, Source, open_archive};

/// How many bytes of records are read at once.
const PAGE_BYTES: usize = 1 << 20;
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
    /// A file, a folder (yjs), "-" for standard output, or an object store's URL
    #[arg(long, short, value_name = "FILE|URL")]
    to: String,
    #[command(flatten)]
    source: Source,
}

/// The forms of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Every record as a line of JSON
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
    let done = match (args.format, args.to.contains("://")) {
        (Format::Archive, _) => to_archive(&opened, &chosen, &args.to, &bar).await,
        (Format::Jsonl, false) => to_file(&opened, &chosen, &args.to, &bar).await,
        (Format::Yjs, false) => to_folder(&opened, &chosen, Path::new(&args.to), &bar).await,
        (format, true) => to_store(&opened, &chosen, format, &args.to, &bar).await,
    };
    bar.finish_and_clear();
    let done = done?;
    eprintln!(
        "exported {} rooms, {} records to {}",
        done.rooms, done.records, args.to
    );
    if done.rooms == 0 {
        bail!("there is no room {}", args.rooms);
    }
    opened.close().await;
    Ok(())
}

#[derive(Debug, Default)]
struct Done {
    rooms: u64,
    records: u64,
}

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

/// Writes the records after `after`, and calls `bar` along.
async fn write_records(
    opened: &Opened,
    room: &RoomName,
    span: &Span,
    after: Seq,
    out: &mut impl Write,
    bar: &ProgressBar,
) -> anyhow::Result<u64> {
    let (mut at, mut records) = (after, 0);
    while at < span.head.seq {
        let page = opened.history.read(room, at, PAGE_BYTES).await?;
        if page.is_empty() {
            break;
        }
        for run in &page {
            run.verify()
                .map_err(|(seq, damage)| anyhow::anyhow!("{room} at seq {seq}: {damage}"))?;
        }
        for record in page.iter().flat_map(Run::records) {
            let record = record.with_context(|| format!("{room} after seq {at}"))?;
            at = record.seq;
            records += 1;
            serde_json::to_writer(&mut *out, &Line::from(&record))?;
            out.write_all(b"\n")?;
        }
        bar.inc(records_of(&page));
    }
    Ok(records)
}

fn records_of(page: &[Run]) -> u64 {
    page.iter().map(Run::len).sum()
}

fn write_start(room: &RoomName, span: &Span, out: &mut impl Write) -> anyhow::Result<()> {
    serde_json::to_writer(&mut *out, &RoomLine::new(room, span.start, span.created))?;
    out.write_all(b"\n")?;
    Ok(())
}

async fn to_file(
    opened: &Opened,
    chosen: &Chosen,
    to: &str,
    bar: &ProgressBar,
) -> anyhow::Result<Done> {
    let mut done = Done::default();
    if to == "-" {
        let mut out = BufWriter::new(std::io::stdout().lock());
        for_each_room!(opened, chosen, None, |room, span| {
            write_start(&room, &span, &mut out)?;
            done.records +=
                write_records(opened, &room, &span, span.start.seq, &mut out, bar).await?;
            done.rooms += 1;
        });
        out.flush()?;
        return Ok(done);
    }
    let path = Path::new(to);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path)
        .with_context(|| format!("{to} cannot be written"))?;
    let resumed = resume(&file, to)?;
    let mut out = BufWriter::new(&file);
    let mut after = None;
    if let Some((room, head)) = resumed {
        let span = opened.history.span(&room).await?;
        let moment = replay::Moment::Seq(head.seq);
        let there = opened.history.resolve(&room, &span, moment).await;
        if head != span.start && there.ok() != Some(head) {
            bail!(
                "{to} holds another history of {room} than this log does: it ends with seq {} and \
                 chain {}; export to another file",
                head.seq,
                head.chain
            );
        }
        bar.println(format!("going on after {room} at seq {}", head.seq));
        done.records += write_records(opened, &room, &span, head.seq, &mut out, bar).await?;
        done.rooms += 1;
        after = Some(room);
    }
    for_each_room!(opened, chosen, after, |room, span| {
        write_start(&room, &span, &mut out)?;
        done.records += write_records(opened, &room, &span, span.start.seq, &mut out, bar).await?;
        done.rooms += 1;
    });
    out.flush()?;
    drop(out);
    file.sync_all()
        .with_context(|| format!("{to} cannot be synced"))?;
    Ok(done)
}

/// Finds the end of the last whole line of an export, cuts off what follows, and tells which room
/// and record stand there.
fn resume(file: &File, to: &str) -> anyhow::Result<Option<(RoomName, Head)>> {
    let mut reader = BufReader::new(file);
    let (mut line, mut whole) = (String::new(), 0);
    let mut at: Option<(RoomName, Head)> = None;
    loop {
        line.clear();
        let read = reader
            .read_line(&mut line)
            .with_context(|| format!("{to} cannot be read"))?;
        if read == 0 || !line.ends_with('\n') {
            break;
        }
        match Text::parse(&line).with_context(|| format!("{to} is not an export"))? {
            Text::Room(room) => at = Some((room.name()?, room.start()?)),
            Text::Record(record) => {
                let (_, head) = at
                    .as_mut()
                    .with_context(|| format!("{to} begins with no room"))?;
                *head = record.head();
            }
        }
        whole += read as u64;
    }
    let mut file = file;
    file.set_len(whole)?;
    file.seek(std::io::SeekFrom::End(0))?;
    Ok(at)
}

async fn to_folder(
    opened: &Opened,
    chosen: &Chosen,
    to: &Path,
    bar: &ProgressBar,
) -> anyhow::Result<Done> {
    let mut done = Done::default();
    for_each_room!(opened, chosen, None, |room, span| {
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
    if opened.history.kind_of(room) != replay::Kind::Yjs {
        bail!("{room} is not a Yjs room; export its records with --format jsonl");
    }
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
    format: Format,
    url: &str,
    bar: &ProgressBar,
) -> anyhow::Result<Done> {
    let address = url::Url::parse(url).with_context(|| format!("{url} is no URL"))?;
    let (store, prefix) = object_store::parse_url_opts(&address, std::env::vars())
        .with_context(|| format!("{url} names no object store"))?;
    let store: Arc<dyn ObjectStore> = Arc::from(store);
    let mut done = Done::default();
    for_each_room!(opened, chosen, None, |room, span| {
        // The name says what is in it, so what is there already is whole.
        let ending = match format {
            Format::Yjs => "yjs",
            Format::Jsonl | Format::Archive => "jsonl",
        };
        let version = format!("{}-{}.{ending}", span.head.seq, span.head.chain);
        let name = format!("{}.{version}", room.name());
        let path = prefix.clone().join(room.space()).join(name);
        if store.head(&path).await.is_err() {
            let bytes = match format {
                Format::Yjs => document(opened, &room, &span).await?.to_vec(),
                Format::Jsonl | Format::Archive => {
                    let mut out = Vec::new();
                    write_start(&room, &span, &mut out)?;
                    write_records(opened, &room, &span, span.start.seq, &mut out, bar).await?;
                    out
                }
            };
            let put = store.put(&path, PutPayload::from(bytes)).await;
            put.with_context(|| format!("{room} cannot be written to {url}"))?;
        }
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
    let url = if to.contains("://") {
        to.to_owned()
    } else {
        std::fs::create_dir_all(to).with_context(|| format!("{to} cannot be made"))?;
        let path = Path::new(to).canonicalize()?;
        crate::stores::file_url(&path)
    };
    let archive = open_archive(&url).await?;
    let options = ArchiverOptions::default();
    let archiver = Archiver::start(Arc::clone(&opened.log), archive, options, Arc::new(()));
    let mut done = Done::default();
    {
        let flushing = archiver.flush(FLUSH_TIME);
        tokio::pin!(flushing);
        loop {
            tokio::select! {
                flushed = flushing.as_mut() => {
                    flushed.with_context(|| format!("the archive {url}"))?;
                    break;
                }
                () = tokio::time::sleep(Duration::from_millis(200)) => {
                    bar.set_position(archiver.status().records);
                }
            }
        }
    }
    done.records = archiver.status().records;
    for_each_room!(opened, chosen, None, |room, span| {
        let archived = archiver.archive().room(&room);
        if archived.is_none_or(|archived| archived.head.seq < span.head.seq) {
            bail!("{room} was not archived to its end");
        }
        done.rooms += 1;
    });
    Ok(done)
}
