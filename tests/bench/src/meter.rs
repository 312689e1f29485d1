//! Who uses the processors while a measurement runs.
//!
//! Three shares: the server's, the load tool's own, and everybody else's. The last tells how
//! far a figure from a busy machine can be trusted. `/proc` counts in hundredths of a second, so a
//! measurement should last a second or more.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::Context;

use crate::server::Server;

/// A running measurement.
pub(crate) struct Meter<'a> {
    server: &'a Server,
    since: Instant,
    server_cpu: Option<Duration>,
    own_cpu: Duration,
    all_cpu: Duration,
}

/// What a measurement has seen.
pub(crate) struct Usage {
    /// Its length.
    pub(crate) elapsed: Duration,
    /// Processor time of the server, if its process is known.
    pub(crate) server: Option<Duration>,
    /// Processor time of this process.
    pub(crate) own: Duration,
    /// Processor time of all other processes together.
    others: Option<Duration>,
}

impl<'a> Meter<'a> {
    /// Starts to measure.
    pub(crate) fn start(server: &'a Server) -> anyhow::Result<Self> {
        Ok(Self {
            server,
            since: Instant::now(),
            server_cpu: server.cpu()?,
            own_cpu: own_cpu(),
            all_cpu: all_cpu()?,
        })
    }

    /// What has been used since the start.
    pub(crate) fn read(&self) -> anyhow::Result<Usage> {
        let own = own_cpu() - self.own_cpu;
        let server = match (self.server.cpu()?, self.server_cpu) {
            (Some(now), Some(before)) => Some(now.saturating_sub(before)),
            _ => None,
        };
        let all = all_cpu()?.saturating_sub(self.all_cpu);
        let others = server.map(|server| all.saturating_sub(server + own));
        Ok(Usage {
            elapsed: self.since.elapsed(),
            server,
            own,
            others,
        })
    }
}

impl Usage {
    /// The server's microseconds for each of `count` things; not a number if unknown.
    pub(crate) fn server_micros_per(&self, count: u64) -> f64 {
        self.server.map_or(f64::NAN, |cpu| micros_per(cpu, count))
    }

    /// This process's microseconds for each of `count` things.
    pub(crate) fn own_micros_per(&self, count: u64) -> f64 {
        micros_per(self.own, count)
    }

    /// How many processors the server kept busy.
    pub(crate) fn server_share(&self) -> f64 {
        self.server.map_or(f64::NAN, |cpu| {
            cpu.as_secs_f64() / self.elapsed.as_secs_f64()
        })
    }

    /// How busy the one thread of this process was.
    pub(crate) fn own_share(&self) -> f64 {
        self.own.as_secs_f64() / self.elapsed.as_secs_f64()
    }

    /// How many processors others kept busy.
    pub(crate) fn others_share(&self) -> f64 {
        self.others.map_or(f64::NAN, |cpu| {
            cpu.as_secs_f64() / self.elapsed.as_secs_f64()
        })
    }
}

/// A number of clock ticks, in which `/proc` counts processor time.
pub(crate) fn ticks(n: u64) -> Duration {
    Duration::from_nanos(n.saturating_mul(1_000_000_000 / rustix::param::clock_ticks_per_second()))
}

/// A duration's microseconds.
pub(crate) fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

fn micros_per(cpu: Duration, count: u64) -> f64 {
    if count == 0 {
        f64::NAN
    } else {
        micros(cpu) / count as f64
    }
}

/// The processor time this process has used.
fn own_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(
        time.tv_sec.try_into().unwrap_or(0),
        time.tv_nsec.try_into().unwrap_or(0),
    )
}

/// The processor time all processes have used.
fn all_cpu() -> anyhow::Result<Duration> {
    let stat = fs::read_to_string("/proc/stat").context("read /proc/stat")?;
    busy_ticks(&stat)
        .map(ticks)
        .context("/proc/stat is not as expected")
}

/// All of the first line but idle, waiting for a disk, and what is counted twice (guests).
fn busy_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat
        .lines()
        .next()?
        .strip_prefix("cpu ")?
        .split_ascii_whitespace();
    let mut busy = 0;
    for place in 0..8 {
        let ticks: u64 = fields.next()?.parse().ok()?;
        if place != 3 && place != 4 {
            busy += ticks;
        }
    }
    Some(busy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_processors_are_not_busy() {
        let stat = "cpu  100 20 30 9000 800 1 2 3 50 60\ncpu0 1 2 3\n";
        assert_eq!(busy_ticks(stat), Some(156));
        assert_eq!(busy_ticks("cpu  1 2"), None);
    }
}
