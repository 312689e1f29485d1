//! `well tail` and `well send`: a room of a running server, read and written over the well protocol.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use clap::Args;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesOrdered;
use futures_util::{FutureExt, StreamExt};
use protocol::Timestamp;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout_at};
use well_client::{Acked, Client, Event, FileQueue, Join, Options, Record, Room, State, TextRoom};

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
    let mut trouble = Trouble::default();
    // The last that has been written, or was not to be.
    let mut told = args.since;
    let mut left = args.count.unwrap_or(u64::MAX);
    let mut out = std::io::stdout().lock();
    while left > 0
        && let Some(event) = room.next().await
    {
        trouble.heed(&event)?;
        let records = match event {
            Event::Joined {
                state: State::Records(records),
                ..
            }
            | Event::Records(records) => records,
            Event::Joined { head, .. } if told.is_some_and(|told| told < head) => {
                not_told(
                    &args.room,
                    &mut told,
                    head,
                    "are too many to be sent at once",
                );
                continue;
            }
            Event::Joined { head, .. } => {
                told = Some(head);
                continue;
            }
            Event::Reset {
                head,
                began_anew: true,
                ..
            } => {
                eprintln!("well: the room's log has begun anew");
                told = None;
                if head > 0 {
                    not_told(&args.room, &mut told, head, "were there before");
                }
                continue;
            }
            Event::Reset { head, .. } => {
                not_told(&args.room, &mut told, head, "came too fast");
                continue;
            }
            _ => continue,
        };
        for record in records
            .iter()
            .take(usize::try_from(left).unwrap_or(usize::MAX))
        {
            writeln!(out, "{}", line(record)).context("the output could not be written")?;
            told = Some(record.seq);
            left -= 1;
        }
        out.flush().context("the output could not be written")?;
    }
    Ok(())
}

/// Says which records are not written after the last that was, and where they are.
fn not_told(room: &str, told: &mut Option<u64>, head: u64, why: &str) {
    let from = told.replace(head).unwrap_or(0) + 1;
    eprintln!(
        "well: the records from {from} to {head} {why}; the server has them at \
         GET /api/v1/rooms/{room}/records?from={from}&to={head}"
    );
}

/// Why there is no connection: said once, and again with what fails for it.
#[derive(Debug, Default)]
struct Trouble(Option<String>);

impl Trouble {
    fn heed(&mut self, event: &Event) -> anyhow::Result<()> {
        match event {
            Event::Joined { .. } => self.0 = None,
            Event::Disconnected { reason } => {
                eprintln!("well: {reason}; trying again");
                self.0 = Some(reason.clone());
            }
            Event::Closed { code: 0, reason } => bail!("{reason}"),
            Event::Closed { code, reason } => bail!("the room was closed with {code}: {reason}"),
            _ => {}
        }
        Ok(())
    }

    /// What failed, and why if that is known.
    fn failed(&self, what: String) -> anyhow::Error {
        match &self.0 {
            Some(reason) => anyhow::anyhow!("{what}: {reason}"),
            None => anyhow::anyhow!(what),
        }
    }
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
    let mut sending = Sending {
        target: if args.text {
            Target::Text(Box::new(TextRoom::join(&client, join).await?))
        } else {
            Target::Room(client.join(join).await?)
        },
        base64: args.base64,
        on_their_way: FuturesOrdered::new(),
        patience: args.patience,
        trouble: Trouble::default(),
    };
    if args.text {
        // An end to append to is known once the text is here.
        sending.joined().await?;
    }
    sending.run(input(), std::io::stdout().lock()).await
}

/// The lines of standard input. They are read on a thread of their own, which does not keep a process
/// that has nothing to do with them any more.
fn input() -> mpsc::Receiver<std::io::Result<String>> {
    let (lines, read) = mpsc::channel(AHEAD);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines() {
            if lines.blocking_send(line).is_err() {
                return;
            }
        }
    });
    read
}

/// What is written to.
enum Target {
    Room(Room),
    Text(Box<TextRoom>),
}

/// Lines on their way into a room.
struct Sending {
    target: Target,
    base64: bool,
    /// What becomes of each, in order.
    on_their_way: FuturesOrdered<BoxFuture<'static, anyhow::Result<Acked>>>,
    patience: Duration,
    trouble: Trouble,
}

impl Sending {
    /// Waits until the room has been joined.
    async fn joined(&mut self) -> anyhow::Result<()> {
        let until = Instant::now() + self.patience;
        loop {
            match timeout_at(until, self.target.next()).await {
                Ok(event) => {
                    let event = event?;
                    self.trouble.heed(&event)?;
                    if matches!(event, Event::Joined { .. }) {
                        return Ok(());
                    }
                }
                Err(_) => {
                    let patience = humantime::format_duration(self.patience);
                    let what = format!("the room could not be joined within {patience}");
                    return Err(self.trouble.failed(what));
                }
            }
        }
    }

    /// Sends lines as they come, and says where each is as soon as it is durable. Ends when nothing waits any
    /// more, of a former run neither.
    async fn run(
        &mut self,
        mut lines: mpsc::Receiver<std::io::Result<String>>,
        mut out: impl Write,
    ) -> anyhow::Result<()> {
        let mut at_end = false;
        // Since when nothing has become durable that is to.
        let mut since = Instant::now();
        loop {
            let waits = !self.on_their_way.is_empty();
            if at_end && !waits && self.waiting().await == Some(0) {
                return Ok(());
            }
            tokio::select! {
                line = lines.recv(), if !at_end && self.on_their_way.len() < AHEAD => {
                    if !waits {
                        since = Instant::now();
                    }
                    match line {
                        Some(line) => {
                            self.submit(line.context("the input could not be read")?).await?;
                        }
                        None => at_end = true,
                    }
                },
                Some(acked) = self.on_their_way.next(), if waits => {
                    match acked?.seq {
                        Some(seq) => writeln!(out, "{seq}"),
                        None => writeln!(out, "-"),
                    }
                    .context("the output could not be written")?;
                    since = Instant::now();
                }
                event = self.target.next() => {
                    let event = event?;
                    self.trouble.heed(&event)?;
                    match event {
                        Event::Acked { .. } => since = Instant::now(),
                        Event::Rejected { operation, rejected } => {
                            bail!("operation {operation}, of a former run: {rejected}");
                        }
                        _ => {}
                    }
                }
                () = sleep_until(since + self.patience), if waits || at_end => {
                    return Err(self.out_of_patience().await);
                }
            }
        }
    }

    /// How many operations wait, those of a former run among them; `None` if the room is closed, which an
    /// event tells.
    async fn waiting(&self) -> Option<usize> {
        let room = match &self.target {
            Target::Room(room) => room,
            Target::Text(room) => room.room(),
        };
        room.waiting().await.ok()
    }

    async fn out_of_patience(&self) -> anyhow::Error {
        let patience = humantime::format_duration(self.patience);
        let waiting = self.waiting().await.unwrap_or_default();
        let lines = if waiting == 1 {
            "line waits"
        } else {
            "lines wait"
        };
        self.trouble.failed(format!(
            "{waiting} {lines}, and nothing has become durable within {patience}"
        ))
    }

    async fn submit(&mut self, line: String) -> anyhow::Result<()> {
        let ticket = match &mut self.target {
            Target::Text(room) => {
                let end = room.text().len(crdt::text::Measure::Chars);
                room.replace(end, 0, &format!("{line}\n")).await?
            }
            Target::Room(room) if self.base64 => {
                let payload = STANDARD.decode(&line);
                room.submit(payload.context("a line is no base64")?.into())
                    .await?
            }
            Target::Room(room) => room.submit(Bytes::from(line)).await?,
        };
        let number = ticket.number();
        let acked = async move {
            let acked = ticket.acked().await;
            acked.with_context(|| format!("operation {number}"))
        };
        self.on_their_way.push_back(acked.boxed());
        Ok(())
    }
}

impl Target {
    /// The next event. Cancel-safe.
    async fn next(&mut self) -> anyhow::Result<Event> {
        let event = match self {
            Self::Room(room) => room.next().await,
            Self::Text(room) => room.next().await?,
        };
        event.context("the client has ended")
    }
}
