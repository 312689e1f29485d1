//! One writer, many readers, at a steady pace.
//!
//! The writer keeps to its schedule whatever the server does, and a delivery's latency counts from
//! the moment the schedule names: a server that falls behind cannot hide it. What has not
//! arrived a second after the end is not waited for and shows in the share delivered.

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
    story::{Reader, Story},
    wire::Incoming,
};

/// What to vary.
pub(crate) struct FanOut {
    /// Numbers of readers.
    pub(crate) readers: Vec<usize>,
    /// Updates a second.
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
                        let figures = measure(bench, &server, readers, rate)?;
                        let case = format!("1 → {readers} at {rate} updates/s");
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
    readers: usize,
    rate: u32,
) -> anyhow::Result<Vec<(&'static Metric, f64)>> {
    let mut crowd = Crowd::new()?;
    let room = format!("fanout-{readers}-{rate}");
    let targets = vec![server.target(&room); readers + 1];
    let ids = crowd.join_all(&targets, JOIN_AT_ONCE, false, JOIN_TIMEOUT, &mut Silence)?;
    crowd.check()?;
    let mut load = Paced::new(ids[0], readers, Story::new(bench.hand, 0, bench.bytes));
    let interval = Duration::from_secs(1) / rate;

    let start = Instant::now();
    let measured_from = start + bench.pace.warm_up;
    let end = measured_from + bench.pace.measure;
    let mut next = start;
    let mut before = None;
    while next < end {
        crowd.run_until(next, &mut load)?;
        if before.is_none() && next >= measured_from {
            load.measured_from = load.sent.len() as u64;
            before = Some((Meter::start(server)?, load.delivered));
        }
        crowd.say(|out| load.write(next, out));
        next += interval;
    }
    crowd.run_until(end, &mut load)?;
    let Some((meter, delivered)) = before else {
        anyhow::bail!("the measurement is too short for {rate} updates/s");
    };
    let usage = meter.read()?;
    let delivered = load.delivered - delivered;
    let expected = (load.sent.len() as u64 - load.measured_from) * readers as u64;
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

/// The writer's schedule and how far each reader is.
struct Paced {
    writer: ConnId,
    story: Story,
    epoch: Instant,
    /// When each update was due, in nanoseconds.
    sent: Vec<u64>,
    /// By connection: its reading, and the updates it has.
    readers: Vec<Reader>,
    seen: Vec<u64>,
    measured_from: u64,
    delivered: u64,
    latency: Latency,
}

impl Paced {
    fn new(writer: ConnId, readers: usize, story: Story) -> Self {
        Self {
            writer,
            readers: vec![story.reader(); readers + 1],
            story,
            epoch: Instant::now(),
            sent: Vec::new(),
            seen: vec![0; readers + 1],
            measured_from: u64::MAX,
            delivered: 0,
            latency: Latency::new(),
        }
    }

    fn write(&mut self, due: Instant, out: &mut Outbox) {
        self.sent
            .push(due.saturating_duration_since(self.epoch).as_nanos() as u64);
        out.send(self.writer, |bytes| self.story.go_on(bytes));
    }

    fn hear(&mut self, at: ConnId, update: &[u8], now: Instant) -> Result<(), String> {
        let from = self.seen[at];
        let upto = self.readers[at]
            .read(update)
            .map_err(|malformed| malformed.to_string())?;
        if upto > self.sent.len() as u64 {
            return Err("a reader saw more than was written".to_owned());
        }
        let now = now.saturating_duration_since(self.epoch).as_nanos() as u64;
        for number in from.max(self.measured_from)..upto {
            self.latency
                .record(now.saturating_sub(self.sent[number as usize]));
        }
        self.delivered += upto - from;
        self.seen[at] = upto;
        Ok(())
    }
}

impl Load for Paced {
    fn message(&mut self, at: ConnId, message: Incoming<'_>, now: Instant, out: &mut Outbox) {
        let (Incoming::Update(update) | Incoming::Step2(update)) = message else {
            return;
        };
        // Some servers echo an update to its writer; that is no delivery.
        if at == self.writer {
            return;
        }
        if let Err(why) = self.hear(at, update, now) {
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
