//! What snapshots and the archive cost those who write: acks beside those of a server without.

use super::{Bench, P99, throughput::Load};
use crate::{
    load::{Ack, InFlight},
    report::{Bound, Goal, Sample},
    server::Peer,
};

/// Rooms that are written to.
const ROOMS: usize = 50;

/// Runs the scenario.
pub(crate) fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let cases = bench.pick(&[64, 1_000][..], &[64][..]);
    let servers = bench.servers(&[Peer::WellArchiving, Peer::Well, Peer::WellBare]);
    for _ in 0..bench.pace.rounds {
        for &in_flight in cases {
            for peer in &servers {
                let dir = bench.launcher.data_dir()?;
                let server = bench.launcher.start(peer, dir.path())?;
                let load = Load {
                    rooms: ROOMS,
                    readers: false,
                    ack: Ack::Durable,
                    in_flight: InFlight::InAll(in_flight),
                };
                let figures = load.measure(bench, &server)?;
                server.stop()?;
                bench.report.add(Sample {
                    case: format!("{in_flight} in flight over {ROOMS} rooms"),
                    server: peer.to_string(),
                    figures,
                });
            }
        }
    }
    let goal = |case| Goal {
        case,
        server: "well-archiving",
        metric: &P99,
        over: Some("well-bare"),
        bound: Bound::AtMost(1.2),
    };
    bench.report.finish(
        "archive",
        "Durable acks, writers only. well-bare keeps no snapshots and has no archive; well keeps\n\
         snapshots; well-archiving has an archive in a folder on the same disk as well.",
        &[
            goal("64 in flight over 50 rooms"),
            goal("1000 in flight over 50 rooms"),
        ],
    )
}
