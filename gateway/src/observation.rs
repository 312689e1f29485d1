//! What the Observatory shows, kept up by a task that looks each second.
//!
//! ```text
//!  rooms, log, archive, runtime ─▶ gauges ─▶ exporter ─▶ text ─▶ sample ─▶ history
//!                                                                  └─▶ whoever is live
//! ```
//! Who is live takes the latest sample when there is space for it, so a slow reader costs nothing.
//! Rooms that somebody looks at have five minutes of their own, up to [`WATCHED`] of them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use observatory::history::History;
use observatory::live::{Sample, Sampler};
use observatory::{Owner, Runtime};
use parking_lot::Mutex;
use protocol::RoomName;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::Gateway;

/// How many rooms are watched at once; past it the one goes that nobody has looked at for longest.
const WATCHED: usize = 64;
/// How many seconds of a watched room are kept.
const WATCHED_SECONDS: usize = 300;
/// For how long a room is watched after somebody has looked.
const WATCH_TIME: Duration = Duration::from_secs(60);

/// The samples that there are.
#[derive(Debug)]
pub(crate) struct Observation {
    latest: watch::Sender<Option<Arc<Sample>>>,
    history: Mutex<History>,
    watched: Mutex<HashMap<RoomName, Watched>>,
}

#[derive(Debug)]
struct Watched {
    looked: Instant,
    /// The first row's moment, in Unix milliseconds.
    start: u64,
    updates: VecDeque<u64>,
}

impl Observation {
    pub(crate) fn new() -> Self {
        Self {
            latest: watch::Sender::new(None),
            history: Mutex::new(History::new()),
            watched: Mutex::default(),
        }
    }

    /// The latest sample, and those to come.
    pub(crate) fn live(&self) -> watch::Receiver<Option<Arc<Sample>>> {
        self.latest.subscribe()
    }

    /// Reads what is kept of the past.
    pub(crate) fn with_history<T>(&self, read: impl FnOnce(&History) -> T) -> T {
        read(&self.history.lock())
    }

    /// When a room's own seconds begin, and its updates in each; they begin now if nobody has looked.
    pub(crate) fn look_at(&self, room: &RoomName, now_ms: u64) -> (u64, Vec<u64>) {
        let now = Instant::now();
        let mut watched = self.watched.lock();
        if !watched.contains_key(room) && watched.len() >= WATCHED {
            let longest = watched.iter().min_by_key(|(_, room)| room.looked);
            if let Some(longest) = longest.map(|(name, _)| name.clone()) {
                watched.remove(&longest);
            }
        }
        let room = watched.entry(room.clone()).or_insert_with(|| Watched {
            looked: now,
            start: now_ms,
            updates: VecDeque::new(),
        });
        room.looked = now;
        (room.start, room.updates.iter().copied().collect())
    }

    /// Gives every watched room its second.
    fn watch(&self, rate: impl Fn(&RoomName) -> u64) {
        let now = Instant::now();
        let mut watched = self.watched.lock();
        watched.retain(|name, room| {
            room.updates.push_back(rate(name));
            if room.updates.len() > WATCHED_SECONDS {
                room.updates.pop_front();
                room.start += 1000;
            }
            now.duration_since(room.looked) < WATCH_TIME
        });
    }
}

/// Makes a sample each second. Never returns.
pub async fn observe(gateway: Gateway) {
    let mut sampler = Sampler::new();
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        second.tick().await;
        let text = render(&gateway);
        let at = gateway.wall_time().micros() / 1000;
        let mut sample = sampler.sample(at, Instant::now(), &text);
        sample.not_ready = gateway.not_ready();
        let observation = gateway.observation();
        observation.history.lock().push(at, &sample.values);
        observation.latest.send_replace(Some(Arc::new(sample)));
        let broker = gateway.broker();
        observation.watch(|room| {
            let activity = broker.activity_of(room);
            activity.map_or(0, |activity| activity.updates_per_second)
        });
    }
}

/// Everything counted, in Prometheus' text format, with the gauges that are only looked at.
pub(crate) fn render(gateway: &Gateway) -> String {
    let broker = gateway.broker();
    broker.observe();
    observatory::memory_limit(Owner::Past, gateway.past_memory().bytes());
    let stats = broker.log().stats();
    observatory::log_sizes(stats.disk_bytes, stats.unmoved_bytes);
    if let Some(archiver) = broker.snapshots().archiver() {
        let status = archiver.status();
        observatory::archive_lag(status.lag_records, status.lag_bytes, status.lag_age);
    } else if gateway.has_archive() {
        observatory::archive_unreached(gateway.age());
    } else {
        observatory::archive_absent();
    }
    let runtime = tokio::runtime::Handle::current().metrics();
    let workers = runtime.num_workers();
    observatory::runtime(Runtime {
        tasks: runtime.num_alive_tasks(),
        workers,
        queue_depth: runtime.global_queue_depth(),
        busy: (0..workers)
            .map(|worker| runtime.worker_total_busy_duration(worker))
            .sum(),
    });
    gateway.exporter().render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_that_are_watched_are_bounded_and_so_is_what_is_kept_of_them() {
        let observation = Observation::new();
        let room = |nth: usize| RoomName::parse(&format!("pit/{nth}")).unwrap();
        for nth in 0..WATCHED + 10 {
            assert_eq!(observation.look_at(&room(nth), 5000), (5000, Vec::new()));
        }
        assert_eq!(observation.watched.lock().len(), WATCHED);
        for second in 0..WATCHED_SECONDS as u64 + 7 {
            observation.watch(|_| second);
        }
        let (start, updates) = observation.look_at(&room(WATCHED), 99_000);
        assert_eq!((start, updates.len()), (5000 + 7000, WATCHED_SECONDS));
        assert_eq!((updates[0], updates[WATCHED_SECONDS - 1]), (7, 306));
        let past = Instant::now().checked_sub(WATCH_TIME).unwrap();
        observation
            .watched
            .lock()
            .get_mut(&room(20))
            .unwrap()
            .looked = past;
        observation.watch(|_| 0);
        assert!(!observation.watched.lock().contains_key(&room(20)));
    }
}
