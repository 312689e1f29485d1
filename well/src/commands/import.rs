//! `well import`: fills a data folder from an export.
//!
//! Every record keeps its Seq, time and author, and its chain hash is computed anew and compared,
//! so what comes in is what went out. What the folder has already is compared and skipped, so an
//! import that was interrupted is simply run again; a room with another history is an error.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Args;
use indicatif::ProgressBar;
use protocol::record::RunBuilder;
use protocol::{Head, Record, RoomName, Run};
use replay::Document;
use storage::{Batch, Entry, Log};

use super::lines::Text;
use crate::source::open_archive;
use crate::{config, progress, stores};

/// How many bytes of records are written at once.
const BATCH_BYTES: usize = 1 << 20;

/// `well import`
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// JSON lines, "-" for standard input, a .yjs file, or an archive's URL
    from: String,
    /// The room to put a .yjs file into: a new one
    #[arg(long, value_name = "SPACE/NAME")]
    room: Option<String>,
    /// The data folder to fill; created if it is not there
    #[arg(
        long,
        env = "WELL_DATA",
        value_name = "DIR",
        default_value = "./well-data"
    )]
    data: PathBuf,
    /// A configuration file, for its spaces
    #[arg(long, env = "WELL_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(crate) async fn run(args: ImportArgs) -> anyhow::Result<()> {
    let log = stores::open_log(&args.data, None)?;
    let bar = progress::counting("importing");
    let (rooms, records) = if args.from.contains("://") {
        let archive = open_archive(&args.from).await?;
        let restored = storage::archive::restore(&archive, &*log, |room| {
            bar.inc(room.records);
        });
        let restored = restored.await?;
        (restored.rooms, restored.records)
    } else if let Some(room) = &args.room {
        import_document(&args, &log, room).await?
    } else {
        let mut import = Import {
            log: &log,
            bar: &bar,
            room: None,
            head: Head::EMPTY,
            there: Head::EMPTY,
            pending: RunBuilder::new(Head::EMPTY),
            rooms: 0,
            records: 0,
        };
        if args.from == "-" {
            import.read(std::io::stdin().lock()).await?;
        } else {
            let file =
                File::open(&args.from).with_context(|| format!("{} cannot be read", args.from))?;
            import.read(BufReader::new(file)).await?;
        }
        (import.rooms, import.records)
    };
    bar.finish_and_clear();
    eprintln!("imported {rooms} rooms, {records} new records");
    log.close().await;
    Ok(())
}

/// An import of JSON lines on its way.
struct Import<'a> {
    log: &'a Arc<dyn Log>,
    bar: &'a ProgressBar,
    room: Option<RoomName>,
    /// The last line's record.
    head: Head,
    /// What the log had of the room when its line came.
    there: Head,
    pending: RunBuilder,
    rooms: u64,
    records: u64,
}

impl Import<'_> {
    async fn read(&mut self, lines: impl BufRead) -> anyhow::Result<()> {
        for (number, line) in lines.lines().enumerate() {
            let at = || format!("line {}", number + 1);
            let line = line.with_context(at)?;
            if line.is_empty() {
                continue;
            }
            match Text::parse(&line).with_context(at)? {
                Text::Room(room) => {
                    self.flush().await?;
                    let (name, start) = (room.name()?, room.start().with_context(at)?);
                    let created = room.created().with_context(at)?;
                    self.begin(name, start, created).await.with_context(at)?;
                }
                Text::Record(record) => self.take(record).await.with_context(at)?,
            }
        }
        self.flush().await
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
        if state.head == Head::EMPTY && start != Head::EMPTY {
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
        self.room = Some(room);
        self.rooms += 1;
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
    args: &ImportArgs,
    log: &Arc<dyn Log>,
    room: &str,
) -> anyhow::Result<(u64, u64)> {
    use protocol::{Author, Draft, Kind, SessionId, Timestamp};
    let room = RoomName::parse(room).with_context(|| format!("{room:?} is no room"))?;
    let spaces = config::spaces(args.config.as_deref())?;
    if spaces.get(room.space()).map(|space| space.kind) != Some(replay::Kind::Yjs) {
        bail!("the space of {room} is not one of Yjs documents");
    }
    if log.state(&room).await?.head != Head::EMPTY {
        bail!("{room} exists, or has existed; choose another name");
    }
    let update =
        std::fs::read(&args.from).with_context(|| format!("{} cannot be read", args.from))?;
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
