//! Bytes on the wire for each typed character.
//!
//! One client types a character at a time, each in an update of its own that is finished before the
//! next, and one reads: so nothing is gathered into one message that a person's typing would not be.
//! Counted is what lies in the TCP streams, frames and acks included.

use std::time::Instant;

use super::{Bench, JOIN_TIMEOUT, P50};
use crate::{
    client::{Crowd, Silence},
    load::{Ack, AckEvery, ClosedLoop, InFlight},
    report::{Metric, Sample, Unit},
    server::{Peer, Server},
    story::Hand,
};

/// Runs the scenario.
pub(crate) fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let servers = bench.servers(&[Peer::WellText, Peer::WellYjs, Peer::Well, Peer::Yjs]);
    for _ in 0..bench.pace.rounds {
        for peer in &servers {
            let dir = bench.launcher.data_dir()?;
            let server = bench.launcher.start(peer, dir.path())?;
            let figures = measure(bench, &server)?;
            server.stop()?;
            bench.report.add(Sample {
                case: "typing at the end of a text, one reader".to_owned(),
                server: peer.to_string(),
                figures,
            });
        }
    }
    bench.report.finish(
        "bytes",
        "Bytes in the TCP streams for each typed character: its writer's update, what comes back to the writer\n\
         (acks; with @y/websocket-server the update itself), and what the reader gets. Only the Well acks.",
        &[],
    )
}

fn measure(bench: &Bench, server: &Server) -> anyhow::Result<Vec<(&'static Metric, f64)>> {
    let mut crowd = Crowd::new()?;
    let targets = [server.target("typed"), server.target("typed")];
    let ids = crowd.join_all(&targets, 1, false, JOIN_TIMEOUT, &mut Silence)?;
    crowd.check()?;
    let (ack, asks) = match server.peer.acks() {
        true => (Ack::Durable, Some(AckEvery::Update)),
        false => (Ack::Peer, None),
    };
    let mut load = ClosedLoop::new(ack, asks, InFlight::PerRoom(1), Hand::Typed, 1);
    load.speak(server.peer.speech());
    load.add_room(ids[0], Some(ids[1]));
    crowd.say(|out| load.start(out));
    crowd.run_until(Instant::now() + bench.pace.warm_up, &mut load)?;
    load.measure();
    let before = [crowd.traffic(ids[0]), crowd.traffic(ids[1])];
    crowd.run_until(Instant::now() + bench.pace.measure, &mut load)?;
    let after = [crowd.traffic(ids[0]), crowd.traffic(ids[1])];
    let figures = load.pause();
    crowd.check()?;
    let each = |after: u64, before: u64| (after - before) as f64 / figures.finished as f64;
    let up = each(after[0].sent, before[0].sent);
    let back = each(after[0].received, before[0].received);
    let down = each(after[1].received, before[1].received);
    let latency = match ack {
        Ack::Durable => &figures.acked,
        Ack::Peer => &figures.seen,
    };
    Ok(vec![
        (&TOTAL, up + back + down),
        (&UP, up),
        (&BACK, back),
        (&DOWN, down),
        (&P50, latency.micros(0.5)),
    ])
}

static TOTAL: Metric = Metric {
    key: "bytes_per_character",
    title: "all three",
    unit: Unit::Bytes,
};
static UP: Metric = Metric {
    key: "writer_sent_bytes_per_character",
    title: "writer sends",
    unit: Unit::Bytes,
};
static BACK: Metric = Metric {
    key: "writer_received_bytes_per_character",
    title: "writer gets",
    unit: Unit::Bytes,
};
static DOWN: Metric = Metric {
    key: "reader_received_bytes_per_character",
    title: "reader gets",
    unit: Unit::Bytes,
};
