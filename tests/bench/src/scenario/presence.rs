//! What presence costs those who write: a room of members who all move, beside the same room at rest.
//!
//! All are in one room and see one another: `members` states, ten times a second, to as many readers.
//! Nobody could be sent all of that; what counts is that the server leaves states out instead of
//! queueing them, so that what arrives is fresh, and that it does not hold up acks. One more member
//! writes to the room at a steady pace, and one of the others, the watcher, reads every state it is
//! sent: each says when it was made.

use std::time::{Duration, Instant};

use super::{Bench, CLIENT_BUSY, JOIN_AT_ONCE, JOIN_TIMEOUT, OTHERS_BUSY, P50, P99, RSS};
use crate::{
    client::{ConnId, Crowd, Load, Outbox, Silence},
    load::Latency,
    meter::Meter,
    report::{Bound, Goal, Metric, Sample, Unit},
    server::{Peer, Server},
    speech::{self, Pieces, Speech},
    wire::{Incoming, Malformed},
};

/// How often each member moves, a second.
const MOVES: u32 = 10;
/// Updates a second of the one who writes.
const UPDATES: u32 = 50;
/// The schedule's step: whoever is due within it moves at its end.
const STEP: Duration = Duration::from_millis(1);

/// Runs the scenario.
pub(crate) fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let members = bench.pick(1_000, 100);
    for _ in 0..bench.pace.rounds {
        for moving in [true, false] {
            let dir = bench.launcher.data_dir()?;
            let server = bench.launcher.start(&Peer::WellOpaque, dir.path())?;
            let figures = measure(bench, &server, members, moving)?;
            server.stop()?;
            bench.report.add(Sample {
                case: format!("{members} members in one room, {UPDATES} updates/s"),
                server: if moving { MOVING } else { RESTING }.to_owned(),
                figures,
            });
        }
    }
    bench.report.finish(
        "presence",
        "The durable acks of one writer, and how fresh the states are that one member gets. Every member is sent\n\
         every other's latest state; where that is too much, states are left out. The load tool reads them all\n\
         in one thread: where the client is busy near 100 %, ages are its own.",
        &[Goal {
            case: "1000 members in one room, 50 updates/s",
            server: MOVING,
            metric: &P99,
            over: Some(RESTING),
            bound: Bound::AtMost(1.2),
        }],
    )
}

fn measure(
    bench: &Bench,
    server: &Server,
    members: usize,
    moving: bool,
) -> anyhow::Result<Vec<(&'static Metric, f64)>> {
    let mut crowd = Crowd::new()?;
    let targets = vec![server.target("presence"); members + 1];
    crowd.join_all(&targets, JOIN_AT_ONCE, false, JOIN_TIMEOUT, &mut Silence)?;
    crowd.check()?;
    let mut load = Moving::new(bench, members);
    let start = Instant::now();
    let measured_from = start + bench.pace.warm_up;
    let end = measured_from + bench.pace.measure;
    let mut now = start;
    let mut meter = None;
    let mut heard = 0;
    while now < end {
        crowd.run_until(now, &mut load)?;
        if meter.is_none() && now >= measured_from {
            server.reset_peak()?;
            meter = Some(Meter::start(server)?);
            load.forget();
            heard = load.messages;
        }
        crowd.say(|out| load.step(now, moving, out));
        now += STEP;
    }
    crowd.run_until(end, &mut load)?;
    let Some(meter) = meter else {
        anyhow::bail!("the measurement is too short");
    };
    let usage = meter.read()?;
    let seconds = usage.elapsed.as_secs_f64();
    crowd.check()?;
    Ok(vec![
        (&P50, load.acked.micros(0.5)),
        (&P99, load.acked.micros(0.99)),
        (&STATES, load.ages.count() as f64 / seconds),
        (
            &MESSAGES,
            (load.messages - heard) as f64 / seconds / members as f64,
        ),
        (&AGE_P50, load.ages.micros(0.5)),
        (&AGE_P99, load.ages.micros(0.99)),
        (&SERVER_BUSY, usage.server_share()),
        (&RSS, server.peak_rss()? as f64),
        (&CLIENT_BUSY, usage.own_share()),
        (&OTHERS_BUSY, usage.others_share()),
    ])
}

/// The members' schedule: connections 0 to `members` move, the one after them writes.
struct Moving {
    members: usize,
    epoch: Instant,
    pieces: Pieces,
    /// How often somebody has moved, all together.
    moves: u64,
    /// When the updates without an ack were due, in nanoseconds, and how many have one.
    sent: Vec<u64>,
    finished: u64,
    acked: Latency,
    /// What the watcher, connection 0, was sent.
    ages: Latency,
    /// Presence messages to all.
    messages: u64,
}

impl Moving {
    fn new(bench: &Bench, members: usize) -> Self {
        let speech = Peer::WellOpaque.speech();
        Self {
            members,
            epoch: Instant::now(),
            pieces: Pieces::new(speech, bench.hand, 0, bench.bytes),
            moves: 0,
            sent: Vec::new(),
            finished: 0,
            acked: Latency::new(),
            ages: Latency::new(),
            messages: 0,
        }
    }

    /// What was measured so far does not count.
    fn forget(&mut self) {
        self.acked = Latency::new();
        self.ages = Latency::new();
    }

    /// Lets everybody do what is due at `now`.
    fn step(&mut self, now: Instant, moving: bool, out: &mut Outbox) {
        let at = self.nanos(now);
        let due = |rate: u64| at * rate / 1_000_000_000;
        while moving && self.moves < due(u64::from(MOVES) * self.members as u64) {
            let id = (self.moves % self.members as u64) as usize;
            let clock = self.moves / self.members as u64 + 1;
            self.moves += 1;
            let made = self.nanos(Instant::now());
            let state = format!(r#"{{"user":{{"name":"bench"}},"at":{made}}}"#);
            // Each connection's client has its number, from 1.
            out.send(id, |bytes| {
                speech::write_presence(bytes, id as u64 + 1, clock, state.as_bytes());
            });
        }
        while (self.sent.len() as u64) < due(u64::from(UPDATES)) {
            let number = self.sent.len() as u64;
            let pieces = &mut self.pieces;
            out.send(self.members, |bytes| {
                pieces.write(Speech::Well(speech::Kind::Opaque), number, 1, None, bytes);
            });
            self.sent.push(at);
        }
    }

    fn ack(&mut self, upto: u64, now: Instant) -> Result<(), Malformed> {
        let now = self.nanos(now);
        let acked = self.sent.get(self.finished as usize..upto as usize);
        let acked = acked.ok_or(Malformed("an ack for what was not written"))?;
        for sent in acked {
            self.acked.record(now.saturating_sub(*sent));
        }
        self.finished = upto;
        Ok(())
    }

    fn watch(&mut self, presence: &[u8], now: Instant) -> Result<(), Malformed> {
        let now = self.nanos(now);
        let ages = &mut self.ages;
        speech::states(presence, &mut |state| {
            if let Some(made) = made_at(state) {
                ages.record(now.saturating_sub(made));
            }
        })
    }

    fn nanos(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.epoch).as_nanos() as u64
    }
}

impl Load for Moving {
    fn message(&mut self, at: ConnId, message: Incoming<'_>, now: Instant, out: &mut Outbox) {
        let result = match message {
            Incoming::Presence(presence) => {
                self.messages += u64::from(at < self.members);
                match at {
                    0 => self.watch(presence, now),
                    _ => Ok(()),
                }
            }
            Incoming::Ack(upto) if at == self.members => self.ack(upto, now),
            _ => Ok(()),
        };
        if let Err(malformed) = result {
            out.fail(malformed.to_string());
        }
    }
}

/// When a state was made, as it says at its end.
fn made_at(state: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(state).ok()?;
    let (_, at) = text.strip_suffix('}')?.rsplit_once("\"at\":")?;
    at.parse().ok()
}

const MOVING: &str = "all move";
const RESTING: &str = "at rest";

static STATES: Metric = Metric {
    key: "states_per_s_to_one",
    title: "states/s to one",
    unit: Unit::Count,
};
static MESSAGES: Metric = Metric {
    key: "presence_messages_per_s_to_one",
    title: "messages/s to one",
    unit: Unit::Count,
};
static AGE_P50: Metric = Metric {
    key: "state_age_p50_us",
    title: "age p50",
    unit: Unit::Micros,
};
static AGE_P99: Metric = Metric {
    key: "state_age_p99_us",
    title: "age p99",
    unit: Unit::Micros,
};
static SERVER_BUSY: Metric = Metric {
    key: "server_busy_share",
    title: "server busy",
    unit: Unit::Share,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_says_when_it_was_made() {
        assert_eq!(made_at(br#"{"user":{"name":"bench"},"at":17}"#), Some(17));
        assert_eq!(made_at(b"{}"), None);
    }
}
