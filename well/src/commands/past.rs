//! `well state` and `well log`: a room as it was, and its records, without a server.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use protocol::{RoomName, Run, Seq};
use replay::lines::Line;
use replay::{Moment, Span};

use crate::source::{GONE, Opened, Source};

/// How many bytes of records are read at once.
const PAGE_BYTES: usize = 1 << 20;

/// `well state`
#[derive(Debug, Args)]
pub(crate) struct StateArgs {
    /// The room, `space/name`
    room: String,
    /// After the record with this Seq
    #[arg(long, conflicts_with = "at")]
    seq: Option<String>,
    /// As it was at this time: RFC 3339, Unix milliseconds, or "now"
    #[arg(long)]
    at: Option<String>,
    /// How it is written
    #[arg(long, value_enum, default_value_t = Format::Json)]
    format: Format,
    /// A file to write to, instead of standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    source: Source,
}

/// How a document is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One binary update
    Update,
    /// JSON
    Json,
    /// Plain text
    Text,
}

/// `well log`
#[derive(Debug, Args)]
pub(crate) struct LogArgs {
    /// The room, `space/name`
    room: String,
    /// The first record: a Seq or a time
    #[arg(long)]
    from: Option<String>,
    /// The last record: a Seq or a time
    #[arg(long)]
    to: Option<String>,
    /// At most so many records
    #[arg(long)]
    limit: Option<u64>,
    #[command(flatten)]
    source: Source,
}

async fn open_room(opened: &Opened, room: &str) -> anyhow::Result<(RoomName, Span)> {
    let room = RoomName::parse(room).with_context(|| format!("{room:?} is no room"))?;
    let span = opened.history.span(&room).await?;
    if span.is_empty() {
        bail!("{room} does not exist or has been deleted");
    }
    Ok((room, span))
}

pub(crate) async fn state(args: StateArgs) -> anyhow::Result<()> {
    let moment = match (&args.seq, &args.at) {
        (Some(seq), _) => Moment::seq(seq)?,
        (None, Some(at)) => Moment::at(at)?,
        (None, None) => Moment::Now,
    };
    let opened = args.source.open().await?;
    let (room, span) = open_room(&opened, &args.room).await?;
    let head = opened.history.resolve(&room, &span, moment).await?;
    let document = opened.history.document_at(&room, head.seq).await?.document;
    let bytes: Vec<u8> = match args.format {
        Format::Update => document.encode().into(),
        Format::Json => format!("{}\n", document.json()?).into(),
        Format::Text => document.text()?.into(),
    };
    match &args.output {
        Some(path) => std::fs::write(path, &bytes)
            .with_context(|| format!("{} cannot be written", path.display()))?,
        None => std::io::stdout().lock().write_all(&bytes)?,
    }
    match head.seq {
        Seq::ZERO => eprintln!("{room} at seq 0, before its first record"),
        seq => eprintln!("{room} at seq {seq}, {}", head.at),
    }
    opened.close().await;
    Ok(())
}

pub(crate) async fn log(args: LogArgs) -> anyhow::Result<()> {
    let opened = args.source.open().await?;
    let (room, span) = open_room(&opened, &args.room).await?;
    let history = &opened.history;
    let (after, up_to) = history
        .stretch(&room, &span, args.from.as_deref(), args.to.as_deref())
        .await?;
    if args.from.is_none() && !span.from_nothing {
        let start = span.start.seq;
        let why = format!("the records of {room} up to seq {start} are not here: {GONE}");
        if up_to.seq <= start {
            bail!("{why}");
        }
        eprintln!("{why}");
    }
    let mut left = args.limit.unwrap_or(u64::MAX);
    let mut at = after.seq;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    while at < up_to.seq && left > 0 {
        let page = history.read(&room, at, PAGE_BYTES).await?;
        if page.is_empty() {
            break;
        }
        for record in page.iter().flat_map(Run::records) {
            let record = record.with_context(|| format!("{room} after seq {at}"))?;
            if left == 0 || record.seq > up_to.seq {
                break;
            }
            at = record.seq;
            left -= 1;
            serde_json::to_writer(&mut out, &Line::from(&record))?;
            out.write_all(b"\n")?;
        }
        at = at.max(page.last().map_or(Seq::ZERO, Run::last));
    }
    out.flush()?;
    opened.close().await;
    Ok(())
}
