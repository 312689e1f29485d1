//! `well tail` and `well send`: a room of a running server, read and written over the well protocol.

use std::collections::VecDeque;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use clap::Args;
use protocol::Timestamp;
use tokio::io::{AsyncBufReadExt, BufReader};
use well_client::{Client, Event, FileQueue, Join, Options, Record, Room, State, TextRoom, Ticket};

/// How many lines are on their way before more are read.
const AHEAD: usize = 512;

/// Which server.
#[derive(Debug, Args)]
struct Server {
    /// The server's address of the well protocol: ws://, wss://, or https:// for WebTransport
    #[arg(long, env = "WELL_SERVER", default_value = "ws://127.0.0.1:4000/well")]
    server: String,
    /// Over WebTransport, takes the certificate with this SHA-256 hash, in base64 as the server's
    /// /webtransport.json has it; may be given more than once, or with commas. Without, the
    /// authorities of this system are asked
    #[arg(long, env = "WELL_CERTIFICATE_HASH", value_name = "BASE64", value_delimiter = ',', value_parser = certificate_hash)]
    certificate_hash: Vec<[u8; 32]>,
    /// A token to show
    #[arg(long, env = "WELL_TOKEN", hide_env_values = true)]
    token: Option<String>,
}

impl Server {
    fn connect(self) -> Client {
        let mut options =
            Options::new(self.server).name(concat!("well/", env!("CARGO_PKG_VERSION")));
        if !self.certificate_hash.is_empty() {
            options = options.certificate_hashes(self.certificate_hash);
        }
        Client::connect(match self.token {
            Some(token) => options.token(token),
            None => options,
        })
    }
}

fn certificate_hash(text: &str) -> Result<[u8; 32], &'static str> {
    let bytes = STANDARD.decode(text).map_err(|_| "it is no base64")?;
    bytes.try_into().map_err(|_| "a SHA-256 hash has 32 bytes")
}

/// `well tail`
#[derive(Debug, Args)]
pub(crate) struct TailArgs {
    /// The room, `space/name`
    room: String,
    /// Also the records after this Seq; without, only what comes from now on
    #[arg(long, value_name = "SEQ")]
    since: Option<u64>,
    /// End when so many records have been written
    #[arg(long, short = 'n')]
    count: Option<u64>,
    #[command(flatten)]
    server: Server,
}

/// `well send`
#[derive(Debug, Args)]
pub(crate) struct SendArgs {
    /// The room, `space/name`
    room: String,
    /// Each line is an update in base64; without, its bytes are the update
    #[arg(long, conflicts_with = "text")]
    base64: bool,
    /// Each line is appended to a text room
    #[arg(long)]
    text: bool,
    /// Keep what is not durable yet in this file, and send first what a former run left there
    #[arg(long, value_name = "FILE")]
    queue: Option<PathBuf>,
    /// Give up when nothing has become durable for so long
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "30s")]
    patience: Duration,
    #[command(flatten)]
    server: Server,
}

pub(crate) async fn tail(args: TailArgs) -> anyhow::Result<()> {
    let client = args.server.connect();
    let join = Join::new(&args.room).viewer();
    let join = match args.since {
        Some(seq) => join.since(seq),
        None => join,
    };
    let mut room = client.join(join).await?;
    let mut left = args.count.unwrap_or(u64::MAX);
    let mut out = std::io::stdout().lock();
    while left > 0
        && let Some(event) = room.next().await
    {
        let records = match event {
            Event::Joined {
                state: State::Records(records),
                ..
            }
            | Event::Records(records) => records,
            Event::Joined { head, .. } if args.since.is_some_and(|since| since < head) => {
                eprintln!(
                    "well: the records up to {head} are too many to be sent again; `well log` has them"
                );
                continue;
            }
            Event::Reset { head, .. } => {
                eprintln!("well: the records up to {head} came too fast; `well log` has them");
                continue;
            }
            Event::Disconnected { reason } => {
                eprintln!("well: {reason}; trying again");
                continue;
            }
            Event::Closed { code, reason } => bail!("the room was closed with {code}: {reason}"),
            _ => continue,
        };
        for record in records
            .iter()
            .take(usize::try_from(left).unwrap_or(usize::MAX))
        {
            writeln!(out, "{}", line(record)).context("the output could not be written")?;
            left -= 1;
        }
        out.flush().context("the output could not be written")?;
    }
    Ok(())
}

fn line(record: &Record) -> serde_json::Value {
    let mut line = serde_json::json!({
        "seq": record.seq,
        "at": Timestamp::from_micros(record.at).to_string(),
        "session": format!("{:016x}", record.session),
        "payload": STANDARD.encode(&record.payload),
    });
    if record.site != 0 {
        line["site"] = record.site.into();
    }
    if !record.user.is_empty() {
        line["user"] = record.user.as_str().into();
    }
    line
}

pub(crate) async fn send(args: SendArgs) -> anyhow::Result<()> {
    let join = match &args.queue {
        Some(path) => {
            let queue = FileQueue::open(path);
            let queue = queue.with_context(|| format!("the queue {}", path.display()))?;
            Join::new(&args.room).queue(queue)
        }
        None => Join::new(&args.room),
    };
    let client = args.server.connect();
    let mut target = if args.text {
        let mut room = TextRoom::join(&client, join).await?;
        // An end to append to is known once the text is here.
        let joined = async {
            loop {
                match room.next().await? {
                    Some(Event::Joined { .. }) => return Ok(()),
                    Some(Event::Closed { code, reason }) => {
                        bail!("the room was closed with {code}: {reason}")
                    }
                    Some(_) => {}
                    None => bail!("the client has ended"),
                }
            }
        };
        let patience = tokio::time::timeout(args.patience, joined);
        patience.await.context("the server does not answer")??;
        Target::Text(Box::new(room))
    } else {
        Target::Room(client.join(join).await?)
    };
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut tickets = VecDeque::new();
    let mut out = std::io::stdout().lock();
    while let Some(line) = lines
        .next_line()
        .await
        .context("the input could not be read")?
    {
        let ticket = match &mut target {
            Target::Text(room) => {
                let end = room.text().len(crdt::text::Measure::Chars);
                room.replace(end, 0, &format!("{line}\n")).await?
            }
            Target::Room(room) if args.base64 => {
                let payload = STANDARD.decode(&line);
                room.submit(payload.context("a line is no base64")?.into())
                    .await?
            }
            Target::Room(room) => room.submit(Bytes::from(line)).await?,
        };
        tickets.push_back(ticket);
        if tickets.len() >= AHEAD {
            finish(&mut target, &mut tickets, args.patience, &mut out).await?;
        }
    }
    while !tickets.is_empty() {
        finish(&mut target, &mut tickets, args.patience, &mut out).await?;
    }
    Ok(())
}

/// What is written to.
enum Target {
    Room(Room),
    Text(Box<TextRoom>),
}

impl Target {
    async fn next(&mut self) -> anyhow::Result<Option<Event>> {
        Ok(match self {
            Self::Room(room) => room.next().await,
            Self::Text(room) => room.next().await?,
        })
    }
}

/// Waits for the oldest ticket, and says where the operation is.
async fn finish(
    target: &mut Target,
    tickets: &mut VecDeque<Ticket>,
    patience: Duration,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let Some(ticket) = tickets.pop_front() else {
        return Ok(());
    };
    let number = ticket.number();
    let waiting = ticket.acked();
    let late = tokio::time::sleep(patience);
    tokio::pin!(waiting, late);
    let acked = loop {
        tokio::select! {
            acked = &mut waiting => break acked.with_context(|| format!("operation {number}"))?,
            event = target.next() => match event? {
                Some(Event::Disconnected { reason }) => eprintln!("well: {reason}; trying again"),
                Some(Event::Closed { code, reason }) => {
                    bail!("the room was closed with {code}: {reason}")
                }
                Some(_) => {}
                None => bail!("the client has ended"),
            },
            () = &mut late => bail!(
                "operation {number} has not become durable within {}",
                humantime::format_duration(patience)
            ),
        }
    };
    match acked.seq {
        Some(seq) => writeln!(out, "{seq}"),
        None => writeln!(out, "-"),
    }
    .context("the output could not be written")
}
