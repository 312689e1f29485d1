//! `well import`: fills a data folder from an export.
//!
//! Every record keeps its Seq, time and author, and its chain hash is computed anew and compared,
//! so what comes in is what went out. What the folder has already is compared and skipped, so an
//! import that was interrupted is simply run again; a room with another history is an error.
//!
//! An export says at its end that it is whole. One that does not is refused before anything is
//! written; from standard input, where that cannot be known, what came stays and the command fails.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Args;
use futures_util::TryStreamExt;
use indicatif::ProgressBar;
use object_store::ObjectStoreExt;
use protocol::record::RunBuilder;
use protocol::{Head, Record, RoomName, Run};
use replay::Document;
use replay::lines::SnapshotLine;
use storage::archive::{Archive, ArchiveError, RestoreError, open_store};
use storage::{Batch, Entry, Log, SledOptions};

use super::count;
use super::lines::{Counts, Text};
use crate::bases::Bases;
use crate::config::{Places, Space};
use crate::source::open_archive;
use crate::{progress, stores};

/// How many bytes of records are written at once.
const BATCH_BYTES: usize = 1 << 20;

/// `well import`
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// JSON lines (a file, a URL of one, or "-" for standard input), a .yjs file, or an archive's URL
    from: String,
    /// Take what there is of an export that was cut off
    #[arg(long)]
    partial: bool,
    /// The room to put a .yjs file into: a new one
    #[arg(long, value_name = "SPACE/NAME")]
    room: Option<String>,
    /// The data folder to fill; created if it is not there [default: `data` of the configuration,
    /// else ./well-data]
    #[arg(long, env = "WELL_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// A configuration file, for its data folder and spaces; without one, well.toml is read if it is
    /// there
    #[arg(long, env = "WELL_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(crate) async fn run(args: ImportArgs) -> anyhow::Result<()> {
    let path = stores::path_of(&args.from)?;
    let from = match (&args.room, path) {
        (Some(_), path) => Incoming::Document(path.unwrap_or_else(|| PathBuf::from(&args.from))),
        (None, _) if args.from == "-" => {
            Incoming::Lines(Box::new(BufReader::new(std::io::stdin())))
        }
        (None, Some(path)) if path.is_dir() => {
            let path = path.canonicalize()?;
            Incoming::Archive(open_archive(&stores::file_url(&path)).await?)
        }
        (None, Some(path)) => Incoming::Lines(Box::new(open_lines(&path, args.partial)?)),
        (None, None) => from_store(&args).await?,
    };
    let places = Places::find(args.config.as_deref(), args.data.as_ref(), None)?;
    let log = stores::open_log(&places.data, SledOptions::default())?;
    let bar = progress::counting("importing");
    let imported = import(&args, &places, from, &log, &bar).await;
    bar.finish_and_clear();
    log.close().await;
    let (rooms, records) = imported?;
    eprintln!(
        "imported {}, {}",
        count(rooms, "room"),
        count(records, "new record")
    );
    Ok(())
}

/// What is imported.
enum Incoming {
    Archive(Archive),
    Document(PathBuf),
    Lines(Box<dyn BufRead>),
}

async fn import(
    args: &ImportArgs,
    Places { data, spaces, .. }: &Places,
    from: Incoming,
    log: &Arc<dyn Log>,
    bar: &ProgressBar,
) -> anyhow::Result<(u64, u64)> {
    let mut unknown = HashSet::new();
    match from {
        Incoming::Archive(archive) => {
            let mut based = Vec::new();
            let restored = storage::archive::restore(&archive, &**log, |room| {
                bar.inc(room.records);
                unknown.extend(unknown_space(spaces, &room.room));
                if !room.deleted && room.start != Head::EMPTY {
                    based.push(room.room.clone());
                }
            });
            let restored = match restored.await {
                Err(RestoreError::Incomplete(restored)) => *restored,
                restored => restored?,
            };
            warn_of(&unknown);
            let lost = keep_bases(&archive, &based, data, log).await?;
            let missing = restored.missing.iter().map(ToString::to_string);
            let missing: Vec<String> = missing.chain(lost).collect();
            for missing in &missing {
                eprintln!("{missing}");
            }
            if !missing.is_empty() && !args.partial {
                bail!(
                    "{} is damaged (--partial takes what is whole); what is whole is imported",
                    args.from
                );
            }
            Ok((restored.rooms, restored.records))
        }
        Incoming::Document(path) => import_document(&path, args, spaces, log).await,
        Incoming::Lines(lines) => {
            let mut import = Import {
                log,
                data,
                bar,
                room: None,
                head: Head::EMPTY,
                there: Head::EMPTY,
                pending: RunBuilder::new(Head::EMPTY),
                bases: None,
                rooms: HashSet::new(),
                since_end: Counts::default(),
                ended: false,
                records: 0,
            };
            import.read(lines, args.partial).await?;
            let rooms = import.rooms.iter();
            unknown.extend(rooms.filter_map(|room| unknown_space(spaces, room)));
            warn_of(&unknown);
            if !import.ended && !args.partial {
                bail!("{}; what came is imported", cut_off(&args.from));
            }
            Ok((import.rooms.len() as u64, import.records))
        }
    }
}

fn unknown_space(spaces: &BTreeMap<String, Space>, room: &RoomName) -> Option<String> {
    let known = spaces.contains_key(room.space());
    (!known).then(|| room.space().to_owned())
}

fn warn_of(spaces: &HashSet<String>) {
    let mut spaces: Vec<_> = spaces.iter().map(String::as_str).collect();
    spaces.sort_unstable();
    if !spaces.is_empty() {
        eprintln!(
            "not configured here, so these spaces are not served: {}",
            spaces.join(", ")
        );
    }
}

/// Puts the snapshots beside the log that the rooms of an archive begin with whose first records
/// are gone. Says which of them could not be read.
pub(super) async fn keep_bases(
    archive: &Archive,
    rooms: &[RoomName],
    data: &Path,
    log: &Arc<dyn Log>,
) -> anyhow::Result<Vec<String>> {
    let mut lost = Vec::new();
    if rooms.is_empty() {
        return Ok(lost);
    }
    let mut bases = Bases::open(data, log).await?;
    for room in rooms {
        // What begins anew after a deletion has none, and needs none.
        let end = log.state(room).await?.head.seq;
        let there = archive.snapshots(room).into_iter();
        for head in there.take_while(|head| head.seq <= end) {
            match archive.snapshot(room, head.seq).await {
                Ok(Some(snapshot)) => {
                    bases.keep(snapshot).await?;
                    break;
                }
                Ok(None) => {}
                // The next one stands for what comes after it.
                Err(error @ (ArchiveError::Damaged { .. } | ArchiveError::Missing { .. })) => {
                    lost.push(format!(
                        "{room}: the snapshot at seq {} that stands for its first records: {error}",
                        head.seq
                    ));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    bases.finish().await?;
    Ok(lost)
}

fn cut_off(from: &str) -> String {
    format!("{from} is cut off: it does not say at its end that it is whole (--partial takes it)")
}

/// How much of a file's end is looked at for its last line.
const END_BYTES: u64 = 4096;

/// A file of JSON lines that is whole.
fn open_lines(path: &Path, partial: bool) -> anyhow::Result<BufReader<File>> {
    let name = path.display().to_string();
    let file = File::open(path).with_context(|| format!("{name} cannot be read"))?;
    lines_of(file, &name, partial)
}

fn lines_of(mut file: File, name: &str, partial: bool) -> anyhow::Result<BufReader<File>> {
    let failed = || format!("{name} cannot be read");
    let length = file.metadata().with_context(failed)?.len();
    let tail = length.saturating_sub(END_BYTES);
    file.seek(SeekFrom::Start(tail)).with_context(failed)?;
    let mut end = Vec::new();
    (&mut file)
        .take(END_BYTES)
        .read_to_end(&mut end)
        .with_context(failed)?;
    let end = String::from_utf8_lossy(&end);
    let last = end.lines().rfind(|line| !line.is_empty());
    let whole = last.is_some_and(|line| matches!(Text::parse(line), Ok(Text::End(_))));
    if !whole && !partial {
        bail!("{}", cut_off(name));
    }
    file.seek(SeekFrom::Start(0)).with_context(failed)?;
    Ok(BufReader::new(file))
}

/// The object of JSON lines, or else the archive, that a URL names.
async fn from_store(args: &ImportArgs) -> anyhow::Result<Incoming> {
    let url = &args.from;
    let (store, path) = open_store(url, &stores::archive_options())?;
    let path = object_store::path::Path::from(path);
    if path.as_ref().is_empty() || store.head(&path).await.is_err() {
        return Ok(Incoming::Archive(open_archive(url).await?));
    }
    // Its end is looked at first, and it may be long, so it goes by way of a file.
    let failed = || format!("{url} cannot be read");
    let mut file = tempfile::tempfile().context("a temporary file cannot be made")?;
    let mut pieces = store.get(&path).await.with_context(failed)?.into_stream();
    while let Some(piece) = pieces.try_next().await.with_context(failed)? {
        file.write_all(&piece)
            .context("the temporary file cannot be written")?;
    }
    Ok(Incoming::Lines(Box::new(lines_of(
        file,
        url,
        args.partial,
    )?)))
}

/// An import of JSON lines on its way.
struct Import<'a> {
    log: &'a Arc<dyn Log>,
    data: &'a Path,
    bar: &'a ProgressBar,
    room: Option<RoomName>,
    /// The last line's record.
    head: Head,
    /// What the log had of the room when its line came.
    there: Head,
    pending: RunBuilder,
    /// Opened with the first snapshot.
    bases: Option<Bases>,
    rooms: HashSet<RoomName>,
    /// What has come since the last end of an export: several may follow each other.
    since_end: Counts,
    /// Whether the last line said that all is there.
    ended: bool,
    records: u64,
}

impl Import<'_> {
    /// Takes line after line. The last one may be torn if the lines are only a part.
    async fn read(&mut self, lines: impl BufRead, partial: bool) -> anyhow::Result<()> {
        let mut lines = lines.lines().enumerate().peekable();
        while let Some((number, line)) = lines.next() {
            let at = || format!("line {}", number + 1);
            let line = line.with_context(at);
            if line.as_ref().is_ok_and(String::is_empty) {
                continue;
            }
            let text = line.and_then(|line| Text::parse(&line).with_context(at));
            let text = match text {
                Err(torn) if partial && lines.peek().is_none() => {
                    eprintln!("the last line is torn, and left out: {torn:#}");
                    break;
                }
                text => text?,
            };
            self.ended = matches!(text, Text::End(_));
            match text {
                Text::Room(room) => {
                    self.flush().await?;
                    let (name, start) = (room.name()?, room.start().with_context(at)?);
                    let created = room.created().with_context(at)?;
                    self.begin(name, start, created).await.with_context(at)?;
                }
                Text::Record(record) => self.take(record).await.with_context(at)?,
                Text::Snapshot(snapshot) => self.keep(snapshot).await.with_context(at)?,
                Text::End(counts) => {
                    let came = std::mem::take(&mut self.since_end);
                    if came != counts {
                        bail!(
                            "{}: {} rooms and {} records were exported, and {} rooms and {} \
                             records came",
                            at(),
                            counts.rooms,
                            counts.records,
                            came.rooms,
                            came.records
                        );
                    }
                }
            }
        }
        self.flush().await?;
        match self.bases.take() {
            Some(bases) => bases.finish().await,
            None => Ok(()),
        }
    }

    /// Puts the snapshot of the last record beside the log.
    async fn keep(&mut self, snapshot: SnapshotLine) -> anyhow::Result<()> {
        let room = self.room.clone().context("the first line names no room")?;
        let snapshot = snapshot.of(room)?;
        if snapshot.head != self.head {
            bail!(
                "the snapshot of {} is of seq {}, and the record before it has seq {}",
                snapshot.room,
                snapshot.head.seq,
                self.head.seq
            );
        }
        // It is compared with the log, so its record has to be there.
        self.flush().await?;
        if self.bases.is_none() {
            self.bases = Some(Bases::open(self.data, self.log).await?);
        }
        match &mut self.bases {
            Some(bases) => bases.keep(snapshot).await,
            None => Ok(()),
        }
    }

    async fn begin(
        &mut self,
        room: RoomName,
        start: Head,
        created: protocol::Timestamp,
    ) -> anyhow::Result<()> {
        let state = self.log.state(&room).await?;
        if state.deleted {
            bail!("{room} has been deleted here; a deleted room's name is not used again");
        }
        let begins = state.head == Head::EMPTY;
        if !begins && start.seq > state.head.seq {
            bail!(
                "{room} ends at seq {} here, and the export goes on after seq {}: what is between is \
                 missing",
                state.head.seq,
                start.seq
            );
        }
        if begins && start != Head::EMPTY {
            let entries = vec![Entry::Begin(room.clone(), start, created)];
            self.log.append(Batch { entries }).await?;
        }
        self.there = if state.head == Head::EMPTY {
            start
        } else {
            state.head
        };
        self.head = start;
        self.pending = RunBuilder::new(self.there);
        self.rooms.insert(room.clone());
        self.room = Some(room);
        self.since_end.rooms += 1;
        Ok(())
    }

    async fn take(&mut self, record: Record) -> anyhow::Result<()> {
        let room = self.room.clone().context("the first line names no room")?;
        let chain = self.head.chain.extend(record.seq, record.at, &record.draft);
        if record.seq != self.head.seq.next() || record.at < self.head.at || chain != record.chain {
            bail!(
                "{room} at seq {}: it does not follow the record before it",
                record.seq
            );
        }
        self.head = record.head();
        self.since_end.records += 1;
        self.bar.inc(1);
        if record.seq <= self.there.seq {
            if record.seq == self.there.seq && record.head() != self.there {
                bail!(
                    "{room} has another history here, up to seq {}",
                    self.there.seq
                );
            }
            return Ok(());
        }
        self.pending.push(record.at, &record.draft);
        if self.pending.head() != record.head() {
            bail!(
                "{room} has another history here, up to seq {}",
                self.there.seq
            );
        }
        self.records += 1;
        if self.pending.len_bytes() >= BATCH_BYTES {
            self.flush().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> anyhow::Result<()> {
        let head = self.pending.head();
        let pending = std::mem::replace(&mut self.pending, RunBuilder::new(head));
        if let (Some(room), Some(run)) = (&self.room, pending.finish()) {
            write(self.log, room, run).await?;
        }
        Ok(())
    }
}

async fn write(log: &Arc<dyn Log>, room: &RoomName, run: Run) -> anyhow::Result<()> {
    let entries = vec![Entry::Run(room.clone(), run)];
    let written = log.append(Batch { entries }).await;
    written.with_context(|| format!("{room} cannot be written"))?;
    Ok(())
}

/// Makes a room of one Yjs update.
async fn import_document(
    from: &Path,
    args: &ImportArgs,
    spaces: &BTreeMap<String, Space>,
    log: &Arc<dyn Log>,
) -> anyhow::Result<(u64, u64)> {
    use protocol::{Author, Draft, Kind, SessionId, Slug, Timestamp};
    let room = args.room.as_deref().unwrap_or_default();
    let room = RoomName::parse(room).with_context(|| format!("{room:?} is no room"))?;
    if room.space() == "pit" && !Slug::has_page(room.name()) {
        bail!(
            "no page would lead to {room}: a pit is named by its code, or by letters, digits and _ . - \
             that do not read like another pit's code"
        );
    }
    if spaces.get(room.space()).map(|space| space.kind) != Some(replay::Kind::Yjs) {
        bail!("the space of {room} is not one of Yjs documents");
    }
    if log.state(&room).await?.head != Head::EMPTY {
        bail!("{room} exists, or has existed; choose another name");
    }
    let update =
        std::fs::read(from).with_context(|| format!("{} cannot be read", from.display()))?;
    let update = bytes::Bytes::from(update);
    let mut document = replay::YjsDocument::new();
    for answer in document.integrate(std::slice::from_ref(&update)) {
        answer.with_context(|| format!("{} is no Yjs update", args.from))?;
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let now = Timestamp::from_micros(u64::try_from(now.as_micros())?);
    let draft = |kind, payload| Draft {
        author: Author {
            user: None,
            session: SessionId::new(0),
            site: None,
        },
        op_id: None,
        base: None,
        kind,
        payload,
    };
    let mut run = RunBuilder::new(Head::EMPTY);
    run.push(now, &draft(Kind::Created, bytes::Bytes::new()));
    run.push(now, &draft(Kind::Update, update));
    if let Some(run) = run.finish() {
        write(log, &room, run).await?;
    }
    Ok((1, 2))
}
