//! Updates a second through many small rooms: one writer and one reader in each.
//!
//! The Well is measured twice: with the update finished when its durable ack comes, and with the
//! update finished when the reader sees it, which is the only measure other servers have.

use std::time::{Duration, Instant};

use anyhow::Context;

use super::{
    Bench, CLIENT_BUSY, CLIENT_CPU, JOIN_AT_ONCE, JOIN_TIMEOUT, OTHERS_BUSY, P50, P99, RSS,
    SERVER_CPU, UPDATES,
};
use crate::{
    client::{Crowd, Silence},
    load::{Ack, ClosedLoop, InFlight},
    meter::Meter,
    report::{Bound, Goal, Metric, Sample},
    server::{Peer, Server},
};

/// What to vary.
pub(crate) struct Throughput {
    /// Rooms, each with a writer and a reader.
    pub(crate) rooms: usize,
    /// Updates in flight in each room.
    pub(crate) window: u64,
    /// Only this measure.
    pub(crate) ack: Option<Ack>,
}

impl Throughput {
    /// Runs the scenario.
    pub(crate) fn run(&self, bench: &mut Bench) -> anyhow::Result<()> {
        let usual = [Peer::Well, Peer::Yjs, Peer::RelayCoalescing, Peer::Relay];
        let servers = bench.servers(bench.pick(&usual[..], &usual[..3]));
        let case = format!(
            "{} rooms, {} in flight in each, {} characters {}",
            self.rooms, self.window, bench.bytes, bench.hand
        );
        for _ in 0..bench.pace.rounds {
            for peer in &servers {
                for ack in [Ack::Durable, Ack::Peer] {
                    if (ack == Ack::Durable && !peer.acks())
                        || self.ack.is_some_and(|only| only != ack && peer.acks())
                    {
                        continue;
                    }
                    let dir = bench.launcher.data_dir()?;
                    let server = bench.launcher.start(peer, dir.path())?;
                    let load = Load {
                        rooms: self.rooms,
                        readers: true,
                        ack,
                        in_flight: InFlight::PerRoom(self.window),
                    };
                    let figures = load
                        .measure(bench, &server)
                        .with_context(|| format!("throughput of {peer}"))?;
                    server.stop()?;
                    let name = match (peer.acks(), ack) {
                        (true, Ack::Durable) => format!("{peer} (durable ack)"),
                        (true, Ack::Peer) => format!("{peer} (peer-visible)"),
                        (false, _) => peer.to_string(),
                    };
                    bench.report.add(Sample {
                        case: case.clone(),
                        server: name,
                        figures,
                    });
                }
            }
        }
        bench.report.finish(
            "throughput",
            "One writer and one reader a room. Only the Well makes updates durable; for all others an update\n\
             is finished when the reader has it. relay-coalescing (one write per read) is the upper bound.\n\
             Where the client is busy near 100 %, the load tool is the limit.",
            GOALS,
        )
    }
}

/// A closed loop against one running server.
pub(crate) struct Load {
    /// Rooms.
    pub(crate) rooms: usize,
    /// Whether each room has a reader.
    pub(crate) readers: bool,
    /// What finishes an update.
    pub(crate) ack: Ack,
    /// How many updates are unfinished at any time.
    pub(crate) in_flight: InFlight,
}

impl Load {
    /// Joins, warms up, measures, and makes sure that nothing was lost.
    pub(crate) fn measure(
        &self,
        bench: &Bench,
        server: &Server,
    ) -> anyhow::Result<Vec<(&'static Metric, f64)>> {
        let mut crowd = Crowd::new()?;
        let per_room = 1 + usize::from(self.readers);
        let targets: Vec<_> = (0..self.rooms * per_room)
            .map(|i| server.target(&format!("bench-{}", i / per_room)))
            .collect();
        let ids = crowd.join_all(&targets, JOIN_AT_ONCE, false, JOIN_TIMEOUT, &mut Silence)?;
        crowd.check()?;
        let asks = server
            .peer
            .acks()
            .then_some(bench.ack_every)
            .filter(|_| self.ack == Ack::Durable);
        let mut load = ClosedLoop::new(self.ack, asks, self.in_flight, bench.hand, bench.bytes);
        load.speak(server.peer.speech());
        for room in ids.chunks(per_room) {
            load.add_room(room[0], room.get(1).copied());
        }
        crowd.say(|out| load.start(out));
        crowd.run_until(Instant::now() + bench.pace.warm_up, &mut load)?;
        load.measure();
        let meter = Meter::start(server)?;
        crowd.run_until(Instant::now() + bench.pace.measure, &mut load)?;
        let usage = meter.read()?;
        let figures = load.pause();
        let rss = server.memory()?.rss;
        let drained = crowd.run_while(DRAIN_TIMEOUT, &mut load, |load| load.outstanding() > 0)?;
        crowd.check()?;
        if !drained {
            anyhow::bail!(
                "{} updates were neither acked nor delivered after {DRAIN_TIMEOUT:?}",
                load.outstanding()
            );
        }
        let latency = match self.ack {
            Ack::Durable => &figures.acked,
            Ack::Peer => &figures.seen,
        };
        Ok(vec![
            (
                &UPDATES,
                figures.finished as f64 / usage.elapsed.as_secs_f64(),
            ),
            (&P50, latency.micros(0.5)),
            (&P99, latency.micros(0.99)),
            (&SERVER_CPU, usage.server_micros_per(figures.finished)),
            (&CLIENT_CPU, usage.own_micros_per(figures.finished)),
            (&CLIENT_BUSY, usage.own_share()),
            (&OTHERS_BUSY, usage.others_share()),
            (&RSS, rss as f64),
        ])
    }
}

const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// They hold for the load that the defaults make.
const GOALS: &[Goal] = &[
    Goal {
        case: "50 rooms, 32 in flight in each, 80 characters woven",
        server: "well (durable ack)",
        metric: &UPDATES,
        over: Some("yjs"),
        bound: Bound::AtLeast(10.0),
    },
    Goal {
        case: "50 rooms, 32 in flight in each, 80 characters woven",
        server: "well (durable ack)",
        metric: &SERVER_CPU,
        over: None,
        bound: Bound::AtMost(4.0),
    },
];
