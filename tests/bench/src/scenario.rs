//! What all scenarios share: the options, the servers at hand, and the columns.

use std::time::Duration;

use crate::{
    load::AckEvery,
    report::{Metric, Report, Unit},
    server::{Launcher, Peer},
    story::Hand,
};

pub(crate) mod archive;
pub(crate) mod attack;
pub(crate) mod bytes;
pub(crate) mod fanout;
pub(crate) mod idle;
pub(crate) mod inflight;
pub(crate) mod join;
pub(crate) mod observation;
pub(crate) mod presence;
pub(crate) mod store;
pub(crate) mod throughput;
pub(crate) mod transports;

/// One run of the tool.
pub(crate) struct Bench {
    /// Starts servers.
    pub(crate) launcher: Launcher,
    /// Takes the figures.
    pub(crate) report: Report,
    /// How long and how often.
    pub(crate) pace: Pace,
    /// The servers to compare, where the user has chosen them.
    pub(crate) peers: Option<Vec<Peer>>,
    /// Characters an update carries.
    pub(crate) bytes: usize,
    /// Who writes.
    pub(crate) hand: Hand,
    /// How often writers ask for the durable ack.
    pub(crate) ack_every: AckEvery,
}

/// How long and how often to measure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Every server's turns.
    pub(crate) rounds: usize,
    /// Before each measurement.
    pub(crate) warm_up: Duration,
    /// Each measurement.
    pub(crate) measure: Duration,
    /// A short slice of each scenario.
    pub(crate) quick: bool,
}

impl Bench {
    /// The servers to compare: the user's choice or `usual`, without those that cannot
    /// run here, which is said.
    pub(crate) fn servers(&self, usual: &[Peer]) -> Vec<Peer> {
        let wanted = self.peers.as_deref().unwrap_or(usual);
        let mut servers = Vec::new();
        for peer in wanted {
            match self.launcher.lacks(peer) {
                None => servers.push(peer.clone()),
                Some(why) => eprintln!("without {peer}: {why}"),
            }
        }
        servers
    }

    /// `short` in a quick run, else `full`.
    pub(crate) fn pick<T>(&self, full: T, short: T) -> T {
        if self.pace.quick { short } else { full }
    }
}

/// How long connections may take to join.
pub(crate) const JOIN_TIMEOUT: Duration = Duration::from_secs(60);
/// How many connections may be joining at once, where that is not what is measured.
pub(crate) const JOIN_AT_ONCE: usize = 200;

/// Finished updates a second.
pub(crate) static UPDATES: Metric = Metric {
    key: "updates_per_s",
    title: "updates/s",
    unit: Unit::Count,
};
/// Deliveries a second.
pub(crate) static DELIVERIES: Metric = Metric {
    key: "deliveries_per_s",
    title: "deliveries/s",
    unit: Unit::Count,
};
/// Median latency.
pub(crate) static P50: Metric = Metric {
    key: "p50_us",
    title: "p50",
    unit: Unit::Micros,
};
/// 95th percentile.
pub(crate) static P95: Metric = Metric {
    key: "p95_us",
    title: "p95",
    unit: Unit::Micros,
};
/// 99th percentile.
pub(crate) static P99: Metric = Metric {
    key: "p99_us",
    title: "p99",
    unit: Unit::Micros,
};
/// The server's processor time for an update.
pub(crate) static SERVER_CPU: Metric = Metric {
    key: "server_cpu_us_per_update",
    title: "server CPU/update",
    unit: Unit::Micros,
};
/// The server's processor time for a delivery.
pub(crate) static DELIVERY_CPU: Metric = Metric {
    key: "server_cpu_us_per_delivery",
    title: "server CPU/delivery",
    unit: Unit::Micros,
};
/// The load tool's own processor time for an update.
pub(crate) static CLIENT_CPU: Metric = Metric {
    key: "client_cpu_us_per_update",
    title: "client CPU/update",
    unit: Unit::Micros,
};
/// The load tool's own processor time for a delivery.
pub(crate) static CLIENT_DELIVERY_CPU: Metric = Metric {
    key: "client_cpu_us_per_delivery",
    title: "client CPU/delivery",
    unit: Unit::Micros,
};
/// How much of the one core it can use the load tool has used. Near 100 %, it is the limit.
pub(crate) static CLIENT_BUSY: Metric = Metric {
    key: "client_busy_share",
    title: "client busy",
    unit: Unit::Share,
};
/// How many processors everybody else on the machine kept busy: above a few percent, expect noise.
pub(crate) static OTHERS_BUSY: Metric = Metric {
    key: "others_busy_share",
    title: "others busy",
    unit: Unit::Share,
};
/// The server's resident memory.
pub(crate) static RSS: Metric = Metric {
    key: "server_rss_bytes",
    title: "server RSS",
    unit: Unit::Bytes,
};
