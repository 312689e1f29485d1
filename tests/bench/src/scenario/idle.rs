//! What a connection that says nothing costs.
//!
//! The connections join and stay. The server's memory is compared with what it was after
//! one connection had come and gone; processor time while they idle is taken too. The kernel's socket
//! buffers are in neither figure: they are not the process's memory.

use std::time::{Duration, Instant};

use super::{Bench, JOIN_AT_ONCE, JOIN_TIMEOUT, RSS};
use crate::{
    client::{Crowd, Silence},
    report::{Metric, Sample, Unit},
    server::{Peer, Server},
};

/// Runs the scenario.
pub(crate) fn run(bench: &mut Bench, open_files: u64) -> anyhow::Result<()> {
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
                let figures = measure(bench, &server, connections, rooms)?;
                server.stop()?;
                let case = format!("{connections} idle connections over {rooms} rooms");
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
    )
}

fn measure(
    bench: &Bench,
    server: &Server,
    connections: usize,
    rooms: usize,
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
    crowd.join_all(&targets, JOIN_AT_ONCE, false, JOIN_TIMEOUT, &mut Silence)?;
    let joined = start.elapsed();
    let cpu = server.cpu()?;
    let rest = bench.pick(Duration::from_secs(10), Duration::from_secs(1));
    crowd.run_until(Instant::now() + rest, &mut Silence)?;
    let cpu = server.cpu()? - cpu;
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
        (&IDLE_CPU, cpu.as_secs_f64() / rest.as_secs_f64()),
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
