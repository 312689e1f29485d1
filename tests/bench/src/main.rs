//! `well-bench`: loads the Well and the servers it is compared with, and prints ratios.
//!
//! One tool speaks the y-websocket protocol to every server, so that they are measured under the
//! same load on the same machine in the same run: the Well; `@y/websocket-server` from npm, in
//! memory and on `LevelDB`; and a bare relay without document or disk, which is the upper bound.
//! Absolute figures drift from machine to machine; what counts are the ratios.
//!
//! From the outside in: each file of `scenario/` is one question; [`client`] is the event loop that
//! carries thousands of connections, [`load`] the writers and readers on it; [`story`] is what they
//! write, as the real Yjs updates that [`update`] encodes; [`wire`] and [`frame`] pack them;
//! [`server`] starts and watches processes, [`meter`] counts what they use, [`relay`] is one of
//! them, [`disk`] another reference; [`link`] is a network that loses packets; [`report`] prints.
//!
//! Attackers are those of `tests/system`, where it is tested what they are told.
//!
//! Where WebTransport is measured, both it and WebSocket are spoken by `well-client`, so that only the
//! transport differs.

mod client;
mod disk;
mod frame;
mod link;
mod load;
mod meter;
mod relay;
mod report;
mod scenario;
mod server;
mod speech;
mod story;
mod update;
mod wire;

use std::{
    ffi::OsString,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context;
use clap::{Args, Parser, Subcommand};

use load::{Ack, AckEvery};
use report::Report;
use scenario::{
    Bench, Pace, archive, attack, bytes, fanout::FanOut, idle, inflight, join, observation,
    presence, store, throughput::Throughput, transports,
};
use server::{Launcher, Peer};
use story::Hand;
use system_tests::attack::Attack;

/// Loads the Well and the servers it is compared with, and prints ratios.
#[derive(Parser)]
#[command(name = "well-bench", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    options: Options,
}

#[derive(Args)]
struct Options {
    /// The Well's binary [default: the release build beside this program]
    #[arg(long, env = "WELL_BIN", global = true)]
    well: Option<PathBuf>,
    /// The folder with the Node peers' package.json
    #[arg(long, global = true, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/peers"), hide_default_value = true)]
    peers_dir: PathBuf,
    /// Compare these, the first with each of the others: well, well-bare, well-archiving, well:yjs,
    /// well:text, well:opaque (in its own protocol; throughput only), yjs, yjs-leveldb, relay,
    /// relay-coalescing, or a running server as `NAME[@PID]=ws://host:port/path/{room}`
    #[arg(long, global = true, value_delimiter = ',', value_parser = Peer::parse)]
    servers: Option<Vec<Peer>>,
    /// Where servers keep their data, and where the disk is measured [default: the system's folder
    /// for temporary files]
    #[arg(long, global = true)]
    scratch: Option<PathBuf>,
    /// A short slice of everything: a check that it works, not a measurement
    #[arg(long, global = true)]
    quick: bool,
    /// Print one JSON object per case and server on standard output, tables on standard error
    #[arg(long, global = true)]
    json: bool,
    /// Turns of each server [default: 3, quick: 1]
    #[arg(long, global = true)]
    rounds: Option<usize>,
    /// Seconds of one measurement [default: 4, quick: 1.5]
    #[arg(long, global = true)]
    seconds: Option<f64>,
    /// Characters in one update
    #[arg(long, global = true, default_value_t = 80, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    bytes: u32,
    /// By one author, whose updates merge into one growing item, or by two in turn, whose do not
    #[arg(long, global = true, value_enum, default_value_t = Hand::Woven)]
    hand: Hand,
    /// How often writers ask for the durable ack
    #[arg(long, global = true, value_enum, default_value_t = AckEvery::Update)]
    ack_every: AckEvery,
    /// The program that measures the store alone [default: well-bench-store beside this program]
    #[arg(long, global = true)]
    store_bench: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Updates a second and server CPU per update over many rooms of one writer and one reader
    Throughput {
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=5_000))]
        rooms: u32,
        /// Updates in flight in each room
        #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u64).range(1..))]
        window: u64,
        /// Only this measure of the Well; both without
        #[arg(long, value_enum)]
        ack: Option<Ack>,
    },
    /// Durable acks by updates in flight and rooms, beside what the disk can do
    Inflight,
    /// One writer to many readers at a steady pace, in one room or in many
    Fanout {
        /// Rooms, each with a writer and its readers
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=5_000))]
        rooms: u32,
        #[arg(long, value_delimiter = ',')]
        readers: Vec<usize>,
        /// Updates a second in each room
        #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=100_000))]
        rates: Vec<u32>,
    },
    /// Memory of idle connections
    Idle {
        /// Each connection announces a presence, as browsers do
        #[arg(long)]
        presence: bool,
    },
    /// Time to get a whole document, cold, warm and in a crowd
    Join,
    /// What snapshots and the archive cost those who write
    Archive,
    /// What observing costs: metrics, the page, a Prometheus, traces
    Observation,
    /// Durable acks over WebTransport beside WebSocket
    Transports,
    /// The same through a link that loses 2 % of its packets; needs root, `ip` and Python
    Loss,
    /// What 1,000 members who all move cost the acks of one who writes
    Presence,
    /// What attackers cost the acks of those who behave: floods, slow readers and writers, connections
    /// that say nothing, a join storm, and all of them together
    Attack {
        /// Only this one
        #[arg(long)]
        only: Option<Attack>,
    },
    /// Bytes on the wire for each typed character
    Bytes,
    /// The store alone: runs its own bench
    Store {
        /// Passed on to it
        #[arg(last = true)]
        args: Vec<String>,
    },
    /// Everything, one after the other
    All,
    /// Run a program that ends when the process that starts this one does
    #[command(hide = true)]
    Tied {
        program: PathBuf,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Be attackers, until standard input ends
    #[command(hide = true)]
    Attackers {
        server: SocketAddr,
        attacks: Vec<Attack>,
    },
    /// Be the bare relay
    Relay {
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
        /// One write per read and member instead of one per message and member
        #[arg(long)]
        coalesce: bool,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("well-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(Cli { command, options }: Cli) -> anyhow::Result<()> {
    let open_files = client::raise_open_files()?;
    match command {
        Command::Relay { listen, coalesce } => return relay::serve(listen, coalesce),
        Command::Attackers { server, attacks } => return attack::attackers(server, &attacks),
        Command::Tied { program, args } => return Err(server::tied(&program, &args)),
        _ => {}
    }
    let store_bench = match &options.store_bench {
        Some(path) => path.clone(),
        None => beside_this("well-bench-store")?,
    };
    let mut bench = options.into_bench()?;
    if disk::is_memory(&bench.launcher.scratch)? {
        eprintln!(
            "{} is in memory, where nothing is durable and syncs cost nothing: give --scratch a folder on a disk",
            bench.launcher.scratch.display()
        );
    }
    match command {
        Command::Relay { .. } | Command::Attackers { .. } | Command::Tied { .. } => Ok(()),
        Command::Throughput { rooms, window, ack } => Throughput {
            rooms: rooms as usize,
            window,
            ack,
        }
        .run(&mut bench),
        Command::Inflight => inflight::run(&mut bench),
        Command::Fanout {
            rooms,
            readers,
            rates,
        } => fan_out(&bench, rooms as usize, readers, rates).run(&mut bench),
        Command::Idle { presence } => idle::run(&mut bench, open_files, presence),
        Command::Join => join::run(&mut bench),
        Command::Archive => archive::run(&mut bench),
        Command::Observation => observation::run(&mut bench),
        Command::Transports => transports::run(&mut bench),
        Command::Loss => transports::through_loss(&mut bench),
        Command::Presence => presence::run(&mut bench),
        Command::Attack { only } => attack::run(&mut bench, only),
        Command::Bytes => bytes::run(&mut bench),
        Command::Store { args } => store::run(&store_bench, &args),
        Command::All => all(&mut bench, open_files, &store_bench),
    }
}

type Scenario<'a> = &'a dyn Fn(&mut Bench) -> anyhow::Result<()>;

/// Every scenario; one that fails does not keep the others from running.
fn all(bench: &mut Bench, open_files: u64, store_bench: &Path) -> anyhow::Result<()> {
    let scenarios: [(&'static str, Scenario<'_>); 13] = [
        ("throughput", &|bench| {
            Throughput {
                rooms: 50,
                window: 32,
                ack: None,
            }
            .run(bench)
        }),
        ("inflight", &inflight::run),
        ("fanout", &|bench| {
            fan_out(bench, 1, Vec::new(), Vec::new()).run(bench)
        }),
        ("fanout in many rooms", &|bench| {
            fan_out(bench, 100, vec![9], vec![20]).run(bench)
        }),
        ("transports", &transports::run),
        ("loss", &transports::through_loss),
        ("presence", &presence::run),
        ("attack", &|bench| attack::run(bench, None)),
        ("bytes", &bytes::run),
        ("idle", &|bench| idle::run(bench, open_files, false)),
        ("join", &join::run),
        ("archive", &archive::run),
        ("observation", &observation::run),
    ];
    let mut failed = Vec::new();
    for (name, scenario) in scenarios {
        if let Err(error) = scenario(bench) {
            eprintln!("{name} failed: {error:#}");
            bench.report.discard();
            failed.push(name);
        }
    }
    if store_bench.is_file() {
        if let Err(error) = store::run(store_bench, &[]) {
            eprintln!("store failed: {error:#}");
            failed.push("store");
        }
    } else {
        eprintln!(
            "without the store alone: {} does not exist",
            store_bench.display()
        );
    }
    if !failed.is_empty() {
        anyhow::bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

fn fan_out(bench: &Bench, rooms: usize, readers: Vec<usize>, rates: Vec<u32>) -> FanOut {
    let or = |given: Vec<_>, usual| if given.is_empty() { usual } else { given };
    FanOut {
        rooms,
        readers: if readers.is_empty() {
            bench.pick(vec![10, 100, 1_000], vec![1_000])
        } else {
            readers
        },
        rates: or(
            rates,
            bench.pick(vec![20, 50, 200, 500, 1_000], vec![50, 500]),
        ),
    }
}

impl Options {
    fn into_bench(self) -> anyhow::Result<Bench> {
        let (seconds, warm_up) = if self.quick { (1.5, 0.5) } else { (4.0, 1.0) };
        let measure =
            Duration::try_from_secs_f64(self.seconds.unwrap_or(seconds)).context("--seconds")?;
        Ok(Bench {
            launcher: Launcher {
                well: match self.well {
                    Some(path) => path,
                    None => beside_this("well")?,
                },
                peers: self.peers_dir,
                scratch: self.scratch.unwrap_or_else(std::env::temp_dir),
                collector: None,
            },
            report: Report::new(self.json),
            pace: Pace {
                rounds: self.rounds.unwrap_or(if self.quick { 1 } else { 3 }).max(1),
                warm_up: Duration::from_secs_f64(warm_up),
                measure,
                quick: self.quick,
            },
            peers: self.servers,
            bytes: self.bytes as usize,
            hand: self.hand,
            ack_every: self.ack_every,
        })
    }
}

/// A program in the folder of this one: cargo puts them together.
fn beside_this(name: &str) -> anyhow::Result<PathBuf> {
    Ok(std::env::current_exe()
        .context("find this program")?
        .with_file_name(name))
}
