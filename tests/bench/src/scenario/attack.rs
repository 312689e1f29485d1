//! What attackers cost those who behave.
//!
//! Writers in rooms of their own, at a steady pace, in a space that the attackers are not in: first alone;
//! then while attackers are at the same server, in its pits, which have the limits that they have unless
//! configured; then while the same attackers are at another server on this machine. The last is the
//! reference for what the attackers take away by needing the same two processors: from elsewhere they
//! would not. They are another process, of the lowest priority.
//!
//! An ack's latency counts from the moment the schedule names.

use std::{
    io::{Read, Write},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context;
use system_tests::attack::{Attack, Attackers};

use super::{Bench, CLIENT_BUSY, JOIN_AT_ONCE, JOIN_TIMEOUT, OTHERS_BUSY, P50, P99, RSS, UPDATES};
use crate::{
    client::{ConnId, Crowd, Load, Outbox, Silence},
    load::{AckEvery, Latency},
    meter::Meter,
    report::{Bound, Goal, Metric, Sample, Unit},
    server::{Peer, Server},
    speech::{Pieces, Speech},
    wire::Incoming,
};

/// Rooms, each with one who writes.
const ROOMS: usize = 20;
/// Updates a second in each.
const RATE: u32 = 20;
/// How long attackers are at work before it counts.
const SETTLE: Duration = Duration::from_secs(3);

/// Runs the scenario, with each attack alone and all of them together, or with `only` one.
pub(crate) fn run(bench: &mut Bench, only: Option<Attack>) -> anyhow::Result<()> {
    let each = Attack::ON_PITS.map(|attack| (attack.to_string(), vec![attack]));
    let all = (ALL.to_owned(), Attack::ON_PITS.to_vec());
    let mut cases: Vec<_> = match only {
        Some(attack) => vec![(attack.to_string(), vec![attack])],
        None => each.into_iter().chain([all]).collect(),
    };
    if bench.pace.quick && only.is_none() {
        cases.drain(..cases.len() - 1);
    }
    for _ in 0..bench.pace.rounds {
        for (case, attacks) in &cases {
            let turn = take_turn(bench, attacks).with_context(|| case.clone())?;
            for (server, figures) in turn {
                bench.report.add(Sample {
                    case: case.clone(),
                    server: server.to_owned(),
                    figures,
                });
            }
        }
    }
    bench.report.finish(
        "attack",
        "Durable acks of 20 writers, 20 updates/s each, in a space that the attackers are not in.\n\
         elsewhere: the same attackers at another server on this machine.",
        &GOALS,
    )
}

type Figures = Vec<(&'static Metric, f64)>;

fn take_turn(bench: &Bench, attacks: &[Attack]) -> anyhow::Result<Vec<(&'static str, Figures)>> {
    let (dir, other_dir) = (bench.launcher.data_dir()?, bench.launcher.data_dir()?);
    let server = bench.launcher.start(&Peer::Well, dir.path())?;
    let other = bench.launcher.start(&Peer::Well, other_dir.path())?;
    let targets: Vec<_> = (0..ROOMS)
        .map(|room| server.target(&format!("well-behaved-{room}")))
        .collect();
    let mut crowd = Crowd::new()?;
    crowd.join_all(&targets, JOIN_AT_ONCE, false, JOIN_TIMEOUT, &mut Silence)?;
    let mut writers = Writers::new(bench);
    let mut measure = |attacked: Option<&Server>| {
        let attackers = attacked
            .map(|server| Crew::start(server.address(), attacks))
            .transpose()?;
        let settle = attacked.map_or(bench.pace.warm_up, |_| SETTLE);
        let figures = writers.measure(bench, &server, &mut crowd, settle)?;
        if let Some(attackers) = attackers {
            eprint!("{}", attackers.stop()?);
        }
        anyhow::Ok(figures)
    };
    let alone = measure(None)?;
    let under_attack = measure(Some(&server))?;
    let elsewhere = measure(Some(&other))?;
    drop(crowd);
    server.stop()?;
    other.stop()?;
    Ok(vec![
        (UNDER_ATTACK, under_attack),
        (ALONE, alone),
        (ELSEWHERE, elsewhere),
    ])
}

/// Those who behave: connection n writes into room n.
struct Writers {
    epoch: Instant,
    rooms: Vec<Room>,
    acked: Latency,
}

struct Room {
    pieces: Pieces,
    /// When each update was due, in nanoseconds, and how many are acked.
    sent: Vec<u64>,
    finished: u64,
}

impl Writers {
    fn new(bench: &Bench) -> Self {
        let room = |number| Room {
            pieces: Pieces::new(Speech::Yjs, bench.hand, number, bench.bytes),
            sent: Vec::new(),
            finished: 0,
        };
        Self {
            epoch: Instant::now(),
            rooms: (0..ROOMS as u32).map(room).collect(),
            acked: Latency::new(),
        }
    }

    fn measure(
        &mut self,
        bench: &Bench,
        server: &Server,
        crowd: &mut Crowd,
        settle: Duration,
    ) -> anyhow::Result<Figures> {
        let start = Instant::now();
        self.write_until(crowd, start, start + settle)?;
        self.acked = Latency::new();
        server.reset_peak()?;
        let meter = Meter::start(server)?;
        self.write_until(crowd, start + settle, start + settle + bench.pace.measure)?;
        let usage = meter.read()?;
        crowd.run_while(DRAIN_TIMEOUT, self, |writers| writers.outstanding() > 0)?;
        crowd.check()?;
        anyhow::ensure!(
            self.outstanding() == 0,
            "acks are missing after {DRAIN_TIMEOUT:?}"
        );
        Ok(vec![
            (&P50, self.acked.micros(0.5)),
            (&P99, self.acked.micros(0.99)),
            (&MOST, self.acked.micros(1.0)),
            (
                &UPDATES,
                self.acked.count() as f64 / bench.pace.measure.as_secs_f64(),
            ),
            (&SERVER_BUSY, usage.server_share()),
            (&RSS, server.peak_rss()? as f64),
            (&CLIENT_BUSY, usage.own_share()),
            (&OTHERS_BUSY, usage.others_share()),
        ])
    }

    /// Writes on schedule, one room after the other.
    fn write_until(
        &mut self,
        crowd: &mut Crowd,
        start: Instant,
        end: Instant,
    ) -> anyhow::Result<()> {
        let step = Duration::from_secs(1) / RATE / ROOMS as u32;
        let mut due = start;
        for room in (0..ROOMS).cycle() {
            if due >= end {
                return Ok(());
            }
            crowd.run_until(due, self)?;
            crowd.say(|out| self.write(room, due, out));
            due += step;
        }
        Ok(())
    }

    fn write(&mut self, room: usize, due: Instant, out: &mut Outbox) {
        let due = self.nanos(due);
        let Room { pieces, sent, .. } = &mut self.rooms[room];
        out.send(room, |bytes| {
            let number = sent.len() as u64;
            pieces.write(Speech::Yjs, number, 1, Some(AckEvery::Update), bytes);
        });
        sent.push(due);
    }

    fn outstanding(&self) -> u64 {
        let of = |room: &Room| room.sent.len() as u64 - room.finished;
        self.rooms.iter().map(of).sum()
    }

    fn nanos(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.epoch).as_nanos() as u64
    }
}

impl Load for Writers {
    fn message(&mut self, at: ConnId, message: Incoming<'_>, now: Instant, out: &mut Outbox) {
        let Incoming::Ack(upto) = message else { return };
        let now = self.nanos(now);
        let room = &mut self.rooms[at];
        let Some(acked) = room.sent.get(room.finished as usize..upto as usize) else {
            return out.fail("an ack for what was not written".to_owned());
        };
        for sent in acked {
            self.acked.record(now.saturating_sub(*sent));
        }
        room.finished = upto;
    }
}

/// The process of the attackers. It is killed when this is dropped.
struct Crew(Child);

impl Crew {
    fn start(server: SocketAddr, attacks: &[Attack]) -> anyhow::Result<Self> {
        let this = std::env::current_exe().context("find this program")?;
        let mut command = Command::new(&this);
        command.arg("tied").arg(&this).arg("attackers");
        command.arg(server.to_string());
        command.args(attacks.iter().map(Attack::to_string));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        Ok(Self(command.spawn().context("start the attackers")?))
    }

    /// Ends them. Gives what they have heard.
    fn stop(mut self) -> anyhow::Result<String> {
        drop(self.0.stdin.take());
        let mut report = String::new();
        if let Some(mut stdout) = self.0.stdout.take() {
            stdout
                .read_to_string(&mut report)
                .context("what attackers report")?;
        }
        let status = self.0.wait().context("wait for the attackers")?;
        anyhow::ensure!(status.success(), "the attackers ended with {status}");
        Ok(report)
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        // It may have ended already, which is just as well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Attacks a server until standard input ends, and says what it told the attackers.
pub(crate) fn attackers(server: SocketAddr, attacks: &[Attack]) -> anyhow::Result<()> {
    rustix::process::nice(LOWEST_PRIORITY).context("take the lowest priority")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start a runtime")?;
    runtime.block_on(async {
        let attackers = Attackers::start(server, attacks);
        let end = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
        end.await?.context("wait for the end")?;
        std::io::stdout()
            .write_all(attackers.report().as_bytes())
            .context("say what they were told")?;
        attackers.stop().await;
        Ok(())
    })
}

const LOWEST_PRIORITY: i32 = 19;
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
const UNDER_ATTACK: &str = "under attack";
const ALONE: &str = "alone";
const ELSEWHERE: &str = "elsewhere";
const ALL: &str = "all together";

static MOST: Metric = Metric {
    key: "max_us",
    title: "max",
    unit: Unit::Micros,
};
static SERVER_BUSY: Metric = Metric {
    key: "server_busy_share",
    title: "server busy",
    unit: Unit::Share,
};

const fn at_most_twice(case: &'static str) -> Goal {
    Goal {
        case,
        server: UNDER_ATTACK,
        metric: &P99,
        over: Some(ALONE),
        bound: Bound::AtMost(2.0),
    }
}

const GOALS: [Goal; 6] = [
    at_most_twice("flood"),
    at_most_twice("slow-readers"),
    at_most_twice("slow-writers"),
    at_most_twice("half-open"),
    at_most_twice("join-storm"),
    at_most_twice(ALL),
];
