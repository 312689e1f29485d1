//! Durable acks a second and how long each takes, by updates in flight and rooms, beside the disk.
//!
//! Rooms have a writer and no reader. With fewer updates in flight than rooms, the rooms take
//! turns. The reference writes and syncs the same bytes in groups of as many updates as are in
//! flight: what an ideal log does if everything in flight shares one sync.

use super::{Bench, P50, P99, UPDATES, throughput::Load};
use crate::{
    disk::Disk,
    frame,
    load::{Ack, InFlight},
    report::{Bound, Goal, Sample},
    server::Peer,
    story::{Hand, Story},
    wire,
};

/// Runs the scenario.
pub(crate) fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let cases = bench.pick(
        &[
            (1, 1),
            (64, 1),
            (1_000, 1),
            (10_000, 1),
            (1, 100),
            (64, 100),
            (1_000, 100),
            (10_000, 100),
            (1, 1_000),
            (64, 1_000),
            (1_000, 1_000),
            (10_000, 1_000),
        ][..],
        &[(1, 1), (64, 1), (1_000, 100)][..],
    );
    let servers: Vec<_> = bench
        .servers(&[Peer::Well])
        .into_iter()
        .filter(Peer::acks)
        .collect();
    let update_bytes = update_bytes(bench.hand, bench.bytes);
    let dir = bench.launcher.data_dir()?;
    let disk = Disk::prepare(dir.path())?;
    for _ in 0..bench.pace.rounds {
        for &(in_flight, rooms) in cases {
            let case = format!("{in_flight} in flight over {rooms} rooms");
            for peer in &servers {
                let dir = bench.launcher.data_dir()?;
                let server = bench.launcher.start(peer, dir.path())?;
                let per_room = in_flight / rooms as u64;
                let in_flight = if per_room > 0 {
                    InFlight::PerRoom(per_room)
                } else {
                    InFlight::InAll(in_flight)
                };
                let load = Load {
                    rooms,
                    readers: false,
                    ack: Ack::Durable,
                    in_flight,
                };
                let figures = load.measure(bench, &server)?;
                server.stop()?;
                bench.report.add(Sample {
                    case: case.clone(),
                    server: peer.to_string(),
                    figures,
                });
            }
            let syncs = disk.write(update_bytes * in_flight as usize, bench.pace.measure / 4)?;
            let figures = vec![
                (
                    &UPDATES,
                    (syncs.latency.count() * in_flight) as f64 / syncs.elapsed.as_secs_f64(),
                ),
                (&P50, syncs.latency.micros(0.5)),
                (&P99, syncs.latency.micros(0.99)),
            ];
            bench.report.add(Sample {
                case,
                server: "disk".to_owned(),
                figures,
            });
        }
    }
    bench.report.finish(
        "inflight",
        &format!(
            "Durable acks, writers only. disk: {update_bytes} bytes × the updates in flight appended to a preallocated,\n\
             zero-filled file, then fdatasync; its p50 and p99 are those of one such commit."
        ),
        &[Goal {
            case: "1 in flight over 1 rooms",
            server: "well",
            metric: &P50,
            over: Some("disk"),
            bound: Bound::AtMost(2.0),
        }],
    )
}

/// The bytes of one update without its frame, well into a room's life.
fn update_bytes(hand: Hand, characters: usize) -> usize {
    let mut story = Story::new(hand, 0, characters);
    let mut frame = Vec::new();
    for _ in 0..1000 {
        frame.clear();
        story.go_on(&mut frame);
    }
    let message = frame::message_of(&frame).unwrap_or_default();
    wire::update_len(message).ok().flatten().unwrap_or(0) as usize
}
