//! What a connection that says nothing costs.
//!
//! The connections join and stay. The server's memory is compared with what it was after one
//! connection had come and gone; processor time while they idle is taken too. The kernel's socket
//! buffers are in neither figure: they are not the process's memory.

use std::time::{Duration, Instant};

use super::{Bench, JOIN_AT_ONCE, JOIN_TIMEOUT, RSS};
use crate::{
    client::{Crowd, Silence},
    frame,
    meter::Meter,
    report::{Bound, Goal, Metric, Sample, Unit},
    server::{Peer, Server},
    wire,
};

/// Runs the scenario.
pub(crate) fn run(bench: &mut Bench, open_files: u64, presence: bool) -> anyhow::Result<()> {
    let cases = bench.pick(
        &[(1_000, 1_000), (10_000, 1_000), (1_000, 1)][..],
        &[(1_000, 1_000), (1_000, 1)][..],
    );
    let servers = bench.servers(&[Peer::Well, Peer::Yjs, Peer::Relay]);
    for _ in 0..bench.pick(bench.pace.rounds.min(2), 1) {
        for &(connections, rooms) in cases {
            if connections as u64 + 100 > open_files {
                eprintln!("without {connections} connections: only {open_files} files may be open");
                continue;
            }
            for peer in &servers {
                let dir = bench.launcher.data_dir()?;
                let server = bench.launcher.start(peer, dir.path())?;
                let figures = measure(bench, &server, connections, rooms, presence)?;
                server.stop()?;
                let with = if presence {
                    ", each with a presence"
                } else {
                    ""
                };
                let case = format!("{connections} idle connections over {rooms} rooms{with}");
                bench.report.add(Sample {
                    case,
                    server: peer.to_string(),
                    figures,
                });
            }
        }
    }
    bench.report.finish(
        "idle",
        "Growth of the server's memory, rooms included, divided by the connections. Kernel socket buffers are not counted.",
        GOALS,
    )
}

fn measure(
    bench: &Bench,
    server: &Server,
    connections: usize,
    rooms: usize,
    presence: bool,
) -> anyhow::Result<Vec<(&'static Metric, f64)>> {
    {
        let mut first = Crowd::new()?;
        first.join_all(
            &[server.target("first")],
            1,
            false,
            JOIN_TIMEOUT,
            &mut Silence,
        )?;
        first.check()?;
    }
    let mut crowd = Crowd::new()?;
    let before = server.memory()?;
    let targets: Vec<_> = (0..connections)
        .map(|i| server.target(&format!("idle-{}", i % rooms)))
        .collect();
    let start = Instant::now();
    let ids = crowd.join_all(&targets, JOIN_AT_ONCE, false, JOIN_TIMEOUT, &mut Silence)?;
    let joined = start.elapsed();
    if presence {
        crowd.say(|out| {
            for &id in &ids {
                out.send(id, |bytes| {
                    frame::write(bytes, &wire::presence(id as u64 + 1));
                });
            }
        });
        crowd.run_until(Instant::now() + bench.pace.warm_up, &mut Silence)?;
    }
    let meter = Meter::start(server)?;
    let rest = bench.pick(Duration::from_secs(10), Duration::from_secs(1));
    crowd.run_until(Instant::now() + rest, &mut Silence)?;
    let usage = meter.read()?;
    let after = server.memory()?;
    for (why, n) in crowd.failures() {
        eprintln!("  {n} × {why}");
    }
    let each = |after: u64, before: u64| (after as f64 - before as f64) / connections as f64;
    Ok(vec![
        (&RSS_EACH, each(after.rss, before.rss)),
        (&PSS_EACH, each(after.pss, before.pss)),
        (&RSS, after.rss as f64),
        (&ERRORS, connections as f64 - crowd.open() as f64),
        (&JOINS, connections as f64 / joined.as_secs_f64()),
        (&IDLE_CPU, usage.server_share()),
    ])
}

static RSS_EACH: Metric = Metric {
    key: "rss_bytes_per_connection",
    title: "RSS/connection",
    unit: Unit::Bytes,
};
static PSS_EACH: Metric = Metric {
    key: "pss_bytes_per_connection",
    title: "PSS/connection",
    unit: Unit::Bytes,
};
static ERRORS: Metric = Metric {
    key: "errors",
    title: "errors",
    unit: Unit::Count,
};
static JOINS: Metric = Metric {
    key: "joins_per_s",
    title: "joins/s",
    unit: Unit::Count,
};
static IDLE_CPU: Metric = Metric {
    key: "idle_cpu_share",
    title: "CPU while idle",
    unit: Unit::Share,
};

const GOALS: &[Goal] = &[
    Goal {
        case: "10000 idle connections over 1000 rooms",
        server: "well",
        metric: &RSS_EACH,
        over: None,
        bound: Bound::AtMost(8.0 * 1024.0),
    },
    Goal {
        case: "10000 idle connections over 1000 rooms",
        server: "well",
        metric: &ERRORS,
        over: None,
        bound: Bound::AtMost(0.0),
    },
    Goal {
        case: "1000 idle connections over 1 rooms",
        server: "well",
        metric: &ERRORS,
        over: None,
        bound: Bound::AtMost(0.0),
    },
];
