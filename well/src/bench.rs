//! What a server would do on this machine and this disk, measured in half a minute (`well bench`).
//!
//! Three things, each beside something bare on the same disk in the same run: syncs, the log, and a server with
//! clients on loopback. What stands in [`LOG`] and [`LONE_ACK`] as usual follows from what a quiet machine gave
//! (docs/performance.md; here two commits in flight share the records). Half of it is a sign that something is
//! wrong, not noise.

pub(crate) mod log;
pub(crate) mod server;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde::Serialize;

use crate::doctor::disk::{self, Bare, percentile};

/// How many records are in flight, and how many appends a second a log usually takes of what the bare file does.
pub(crate) const LOG: [(usize, f64); 3] = [(1, 0.5), (64, 0.3), (1000, 0.2)];
/// How many bare syncs an ack takes that nobody else waits for, as a rule.
pub(crate) const LONE_ACK: f64 = 3.0;
/// How many sessions there are at once, and in how many rooms.
pub(crate) const SESSIONS: usize = 64;
pub(crate) const ROOMS: usize = 8;
/// Bytes of an update.
pub(crate) const PAYLOAD_BYTES: usize = 100;
/// Bytes before a sync: about what a small commit has.
const COMMIT_BYTES: usize = 4096;
/// How many parts of equal length there are: a sync's, two for each row of the log, two for the server.
pub(crate) const PARTS: u32 = 1 + 2 * LOG.len() as u32 + 2;
/// An ack is promised within this.
const ACK_TIME: Duration = Duration::from_millis(50);
/// Below this part of what is usual something is wrong.
const ODD: f64 = 0.5;
/// A log that takes more of the bare file's than this was measured on a disk that changed meanwhile.
const UNBELIEVABLE: f64 = 1.2;

/// How long a part may go on, and whether anybody has had enough.
#[derive(Debug, Clone)]
pub(crate) struct Patience {
    part: Duration,
    stopped: Arc<AtomicBool>,
}

/// A part, or a piece of one, that has begun.
#[derive(Debug, Clone)]
pub(crate) struct Turn {
    until: Instant,
    stopped: Arc<AtomicBool>,
}

impl Turn {
    /// Whether it goes on.
    pub(crate) fn lasts(&self) -> bool {
        !self.stopped.load(Ordering::Relaxed) && Instant::now() < self.until
    }
}

impl Patience {
    pub(crate) fn new(part: Duration) -> Self {
        Self {
            part,
            stopped: Arc::default(),
        }
    }

    /// Ends every part that is on its way.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// One of so many turns of a part begins.
    pub(crate) fn turn(&self, turns: u32) -> Turn {
        Turn {
            until: Instant::now() + self.part / turns,
            stopped: Arc::clone(&self.stopped),
        }
    }

    /// # Errors
    /// When it was stopped: what was measured then says nothing.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        if self.stopped.load(Ordering::Relaxed) {
            bail!("it was stopped");
        }
        Ok(())
    }
}

/// How long something took, of many times.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Times {
    pub(crate) count: usize,
    #[serde(rename = "p50_seconds", serialize_with = "seconds")]
    pub(crate) p50: Duration,
    #[serde(rename = "p99_seconds", serialize_with = "seconds")]
    pub(crate) p99: Duration,
}

impl Times {
    /// # Errors
    /// When there were none.
    pub(crate) fn of(mut times: Vec<Duration>) -> anyhow::Result<Self> {
        times.sort_unstable();
        let at = |of| {
            percentile(&times, of)
                .context("nothing was done in the time that there was: give it more --seconds")
        };
        Ok(Self {
            count: times.len(),
            p50: at(50)?,
            p99: at(99)?,
        })
    }
}

fn seconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

/// What was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Writes of 4 KiB with a sync each.
    pub(crate) sync: Times,
    pub(crate) log: Vec<LogRow>,
    /// One session, then many.
    pub(crate) server: Vec<ServerRow>,
}

/// Appends to the log with so many records in flight; rates are those of a turn in the middle.
#[derive(Debug, Serialize)]
pub(crate) struct LogRow {
    pub(crate) in_flight: usize,
    pub(crate) appends_per_second: f64,
    /// The same bytes in the same groups, written to a bare file and synced.
    pub(crate) bare_per_second: f64,
    /// The part of the bare file's that is usual.
    pub(crate) usual: f64,
}

impl LogRow {
    pub(crate) fn ratio(&self) -> f64 {
        self.appends_per_second / self.bare_per_second
    }
}

/// Sessions that each write an update as soon as the one before is acked.
#[derive(Debug, Serialize)]
pub(crate) struct ServerRow {
    pub(crate) sessions: usize,
    pub(crate) rooms: usize,
    pub(crate) updates_per_second: f64,
    pub(crate) ack: Times,
}

/// What is to be thought of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    Good,
    /// Slower than is usual, or than is promised.
    Poor,
    /// What is acked would not be safe.
    Bad,
}

impl Report {
    /// The verdict, and what it stands on.
    pub(crate) fn verdict(&self) -> (Verdict, Vec<String>) {
        if self.sync.p50 < disk::TOO_FAST {
            let why = "syncs are faster than any disk, so they do not reach one: see `well doctor`";
            return (Verdict::Bad, vec![why.to_owned()]);
        }
        let mut remarks = Vec::new();
        if self.sync.p99 > disk::SLOW {
            let slow = disk::SLOW;
            remarks.push(format!("one sync in a hundred takes longer than {slow:?}: the disk is slow, or others use it"));
        }
        for row in &self.log {
            let (in_flight, ratio, usual) = (row.in_flight, row.ratio(), row.usual);
            if ratio < ODD * usual {
                remarks.push(format!("with {in_flight} in flight the log does {ratio:.2} of a bare file, where {usual:.2} is usual: others use this machine, or it has too few processors"));
            } else if ratio > UNBELIEVABLE {
                remarks.push(format!("with {in_flight} in flight the log does {ratio:.2} of a bare file, which nothing can: others use this disk now and then; measure again when they do not"));
            }
        }
        for ServerRow { sessions, ack, .. } in &self.server {
            if ack.p99 > ACK_TIME {
                remarks.push(format!("with {sessions} at once one ack in a hundred takes longer than the {ACK_TIME:?} that are promised"));
            }
        }
        let lone = self.lone_ack();
        if lone > LONE_ACK / ODD {
            remarks.push(format!("an ack takes as long as {lone:.1} bare syncs, where {LONE_ACK} are usual: others use this machine"));
        }
        if remarks.is_empty() {
            return (Verdict::Good, remarks);
        }
        (Verdict::Poor, remarks)
    }

    /// How many bare syncs an ack of a single session takes.
    pub(crate) fn lone_ack(&self) -> f64 {
        let lone = self
            .server
            .first()
            .map_or(Duration::ZERO, |row| row.ack.p50);
        lone.as_secs_f64() / self.sync.p50.as_secs_f64()
    }
}

/// Times syncs on the disk of this folder. Takes a part.
pub(crate) fn syncs(folder: &Path, patience: &Patience) -> anyhow::Result<Times> {
    let failed = "syncs could not be timed";
    let file = Bare::new(folder, COMMIT_BYTES).context(failed)?;
    let turn = patience.turn(1);
    let times = file.time(|_| turn.lasts()).context(failed)?;
    patience.check()?;
    Times::of(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(p50: Duration, p99: Duration) -> Times {
        Times {
            count: 100,
            p50,
            p99,
        }
    }

    fn report() -> Report {
        let micros = Duration::from_micros;
        let row = |sessions| ServerRow {
            sessions,
            rooms: 1,
            updates_per_second: 1000.0,
            ack: times(micros(300), micros(900)),
        };
        Report {
            sync: times(micros(100), micros(200)),
            log: vec![LogRow {
                in_flight: 64,
                appends_per_second: 45.0,
                bare_per_second: 100.0,
                usual: 0.5,
            }],
            server: vec![row(1), row(64)],
        }
    }

    #[test]
    fn what_is_usual_is_good() {
        assert_eq!(report().verdict(), (Verdict::Good, Vec::new()));
        assert!((report().lone_ack() - 3.0).abs() < 1e-9);
    }

    #[test]
    fn each_thing_that_is_wrong_is_said() {
        let wrong = |spoil: fn(&mut Report)| {
            let mut report = report();
            spoil(&mut report);
            report.verdict()
        };
        let (verdict, remarks) = wrong(|report| report.sync.p50 = Duration::from_micros(1));
        assert_eq!((verdict, remarks.len()), (Verdict::Bad, 1));
        for (spoil, said) in [
            (
                (|report| report.sync.p99 = Duration::from_millis(30)) as fn(&mut Report),
                "the disk is slow",
            ),
            (
                |report| report.log[0].appends_per_second = 20.0,
                "0.20 of a bare file",
            ),
            (
                |report| report.log[0].appends_per_second = 200.0,
                "others use this disk",
            ),
            (
                |report| report.server[1].ack.p99 = Duration::from_millis(80),
                "with 64 at once",
            ),
            (
                |report| report.server[0].ack.p50 = Duration::from_micros(700),
                "7.0 bare syncs",
            ),
        ] {
            let (verdict, remarks) = wrong(spoil);
            assert_eq!(verdict, Verdict::Poor);
            assert!(
                remarks.len() == 1 && remarks[0].contains(said),
                "{remarks:?}"
            );
        }
    }

    #[test]
    fn times_are_put_in_order() {
        let told = Times::of((0..200).rev().map(Duration::from_secs).collect()).unwrap();
        assert_eq!(
            (told.count, told.p50.as_secs(), told.p99.as_secs()),
            (200, 100, 198)
        );
        assert!(Times::of(Vec::new()).is_err());
    }
}
