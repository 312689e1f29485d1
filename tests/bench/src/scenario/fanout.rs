//! One writer, many readers, at a steady pace, in one room or in many.
//!
//! The writers keep to their schedule whatever the server does, and a delivery's latency counts from
//! the moment the schedule names: a server that falls behind cannot hide it. Rooms take turns within
//! an interval. What has not arrived a second after the end is not waited for and shows in the share
//! delivered.

use std::time::{Duration, Instant};

use super::{
    Bench, CLIENT_BUSY, CLIENT_DELIVERY_CPU, DELIVERIES, DELIVERY_CPU, JOIN_AT_ONCE, JOIN_TIMEOUT,
    OTHERS_BUSY, P50, P95, P99,
};
use crate::{
    client::{ConnId, Crowd, Load, Outbox, Silence},
    load::Latency,
    meter::Meter,
    report::{Bound, Goal, Metric, Sample, Unit},
    server::{Peer, Server},
    speech::{Expected, Pieces, Speech},
    wire::Incoming,
};

/// What to vary.
pub(crate) struct FanOut {
    /// Rooms, each with a writer.
    pub(crate) rooms: usize,
    /// Numbers of readers in each.
    pub(crate) readers: Vec<usize>,
    /// Updates a second in each.
    pub(crate) rates: Vec<u32>,
}

impl FanOut {
    /// Runs the scenario.
    pub(crate) fn run(&self, bench: &mut Bench) -> anyhow::Result<()> {
        let servers = bench.servers(&[Peer::Well, Peer::Relay]);
        for _ in 0..bench.pace.rounds {
            for &readers in &self.readers {
                for peer in &servers {
                    let dir = bench.launcher.data_dir()?;
                    let server = bench.launcher.start(peer, dir.path())?;
                    for &rate in &self.rates {
                        // A room and connections of their own, so that what one pace left
                        // behind does not meet the next.
                        let figures = measure(bench, &server, self.rooms, readers, rate)?;
                        let case = match self.rooms {
                            1 => format!("1 → {readers} at {rate} updates/s"),
                            rooms => format!("{rooms} × 1 → {readers} at {rate} updates/s each"),
                        };
                        bench.report.add(Sample {
                            case,
                            server: peer.to_string(),
                            figures,
                        });
                    }
                    server.stop()?;
                }
            }
        }
        bench.report.finish(
            "fanout",
            "From the writer's schedule to each reader. relay: no document, no disk, one write per message and reader.\n\
             With many readers, part of the latency is the load tool reading from each in turn, the same for all servers.",
            GOALS,
        )
    }
}

fn measure(
    bench: &Bench,
    server: &Server,
    rooms: usize,
    readers: usize,
    rate: u32,
) -> anyhow::Result<Vec<(&'static Metric, f64)>> {
    let mut crowd = Crowd::new()?;
    let targets: Vec<_> = (0..rooms * (readers + 1))
        .map(|i| server.target(&format!("fanout-{readers}-{rate}-{}", i / (readers + 1))))
        .collect();
    // Ids are 0, 1, 2 …: each room's writer, then its readers.
    crowd.join_all(&targets, JOIN_AT_ONCE, false, JOIN_TIMEOUT, &mut Silence)?;
    crowd.check()?;
    let mut load = Paced::new(server.peer.speech(), rooms, readers, |speech, room| {
        Pieces::new(speech, bench.hand, room, bench.bytes)
    });
    let interval = Duration::from_secs(1) / rate;
    let step = interval / rooms as u32;

    let start = Instant::now();
    let measured_from = start + bench.pace.warm_up;
    let end = measured_from + bench.pace.measure;
    let mut next = start;
    let mut before = None;
    for room in (0..rooms).cycle() {
        if next >= end {
            break;
        }
        crowd.run_until(next, &mut load)?;
        if before.is_none() && room == 0 && next >= measured_from {
            load.measure();
            before = Some((Meter::start(server)?, load.delivered));
        }
        crowd.say(|out| load.write(room, next, out));
        next += step;
    }
    crowd.run_until(end, &mut load)?;
    let Some((meter, delivered)) = before else {
        anyhow::bail!("the measurement is too short for {rate} updates/s");
    };
    let usage = meter.read()?;
    let delivered = load.delivered - delivered;
    let expected = load.expected();
    crowd.run_while(DRAIN_TIMEOUT, &mut load, |load| {
        load.latency.count() < expected
    })?;
    crowd.check()?;
    Ok(vec![
        (&P50, load.latency.micros(0.5)),
        (&P95, load.latency.micros(0.95)),
        (&P99, load.latency.micros(0.99)),
        (&DELIVERY_CPU, usage.server_micros_per(delivered)),
        (&DELIVERIES, delivered as f64 / usage.elapsed.as_secs_f64()),
        (&ARRIVED, load.latency.count() as f64 / expected as f64),
        (&CLIENT_DELIVERY_CPU, usage.own_micros_per(delivered)),
        (&CLIENT_BUSY, usage.own_share()),
        (&OTHERS_BUSY, usage.others_share()),
    ])
}

/// The writers' schedule and how far each reader is.
struct Paced {
    speech: Speech,
    epoch: Instant,
    rooms: Vec<Room>,
    /// Connections of a room: its writer, then its readers.
    per_room: usize,
    delivered: u64,
    latency: Latency,
}

struct Room {
    pieces: Pieces,
    /// When each update was due, in nanoseconds.
    sent: Vec<u64>,
    measured_from: u64,
    /// The readers, and the updates that each has.
    readers: Vec<(Expected, u64)>,
}

impl Paced {
    fn new(
        speech: Speech,
        rooms: usize,
        readers: usize,
        pieces: impl Fn(Speech, u32) -> Pieces,
    ) -> Self {
        let room = |number| {
            let mut pieces = pieces(speech, number);
            Room {
                readers: (0..readers).map(|_| (pieces.reader(), 0)).collect(),
                pieces,
                sent: Vec::new(),
                measured_from: u64::MAX,
            }
        };
        Self {
            speech,
            epoch: Instant::now(),
            rooms: (0..rooms as u32).map(room).collect(),
            per_room: readers + 1,
            delivered: 0,
            latency: Latency::new(),
        }
    }

    /// What is written from now on counts.
    fn measure(&mut self) {
        for room in &mut self.rooms {
            room.measured_from = room.sent.len() as u64;
        }
    }

    /// Deliveries of what counts, if all arrive.
    fn expected(&self) -> u64 {
        let of =
            |room: &Room| (room.sent.len() as u64 - room.measured_from) * room.readers.len() as u64;
        self.rooms.iter().map(of).sum()
    }

    fn write(&mut self, room: usize, due: Instant, out: &mut Outbox) {
        let due = due.saturating_duration_since(self.epoch).as_nanos() as u64;
        let Room { pieces, sent, .. } = &mut self.rooms[room];
        out.send(room * self.per_room, |bytes| {
            pieces.write(self.speech, sent.len() as u64, 1, None, bytes);
        });
        sent.push(due);
    }

    fn hear(
        &mut self,
        room: usize,
        reader: usize,
        update: &[u8],
        now: Instant,
    ) -> Result<(), String> {
        let now = now.saturating_duration_since(self.epoch).as_nanos() as u64;
        let room = &mut self.rooms[room];
        let (expected, seen) = &mut room.readers[reader];
        let upto = expected
            .read(update)
            .map_err(|malformed| malformed.to_string())?;
        if upto > room.sent.len() as u64 {
            return Err("a reader saw more than was written".to_owned());
        }
        for number in (*seen).max(room.measured_from)..upto {
            self.latency
                .record(now.saturating_sub(room.sent[number as usize]));
        }
        self.delivered += upto - *seen;
        *seen = upto;
        Ok(())
    }
}

impl Load for Paced {
    fn message(&mut self, at: ConnId, message: Incoming<'_>, now: Instant, out: &mut Outbox) {
        let (Incoming::Update(update) | Incoming::Step2(update)) = message else {
            return;
        };
        // Some servers echo an update to its writer; that is no delivery.
        let Some(reader) = (at % self.per_room).checked_sub(1) else {
            return;
        };
        if let Err(why) = self.hear(at / self.per_room, reader, update, now) {
            out.fail(why);
        }
    }
}

const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
static ARRIVED: Metric = Metric {
    key: "delivered_share",
    title: "delivered",
    unit: Unit::Share,
};

const GOALS: &[Goal] = &[
    Goal {
        case: "1 → 1000 at 20 updates/s",
        server: "well",
        metric: &P99,
        over: None,
        bound: Bound::AtMost(50_000.0),
    },
    Goal {
        case: "100 × 1 → 9 at 20 updates/s each",
        server: "well",
        metric: &P99,
        over: None,
        bound: Bound::AtMost(50_000.0),
    },
    Goal {
        case: "1 → 1000 at 50 updates/s",
        server: "well",
        metric: &P50,
        over: Some("relay"),
        bound: Bound::AtMost(1.0),
    },
    Goal {
        case: "1 → 1000 at 50 updates/s",
        server: "well",
        metric: &P99,
        over: Some("relay"),
        bound: Bound::AtMost(1.0),
    },
    Goal {
        case: "1 → 1000 at 200 updates/s",
        server: "well",
        metric: &DELIVERY_CPU,
        over: Some("relay"),
        bound: Bound::AtMost(0.5),
    },
    Goal {
        case: "1 → 1000 at 500 updates/s",
        server: "well",
        metric: &DELIVERY_CPU,
        over: Some("relay"),
        bound: Bound::AtMost(0.5),
    },
    Goal {
        case: "1 → 1000 at 1000 updates/s",
        server: "well",
        metric: &DELIVERY_CPU,
        over: Some("relay"),
        bound: Bound::AtMost(0.5),
    },
];
