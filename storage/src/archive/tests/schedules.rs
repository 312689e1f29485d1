//! Random histories under random faults and crashes.
//!
//! One schedule is a life: rooms are written to, deleted and snapshotted, while an archiver works
//! over a store that fails in every way; it crashes at a random step and is started again, at
//! times beside one that does not know it is dead. At every turn what is trimmed must be archived;
//! at the end, the archive and the log together must have every record.
//!
//! `ARCHIVE_SCHEDULES=1000` runs so many, `ARCHIVE_SEED` begins at another seed.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::archive::Retention;
use crate::archive::archiver::Step;
use crate::archive::faults::FaultyStore;
use crate::archive::restore;

fn setting(name: &str, default: u64) -> u64 {
    let set = std::env::var(name).ok();
    set.and_then(|value| value.parse().ok()).unwrap_or(default)
}

#[tokio::test(start_paused = true)]
async fn no_record_is_missing_after_any_schedule_of_faults_and_crashes() {
    let seeds = setting("ARCHIVE_SEED", 1);
    let mut crashes = std::collections::BTreeMap::new();
    let mut fenced = 0;
    let count = setting("ARCHIVE_SCHEDULES", 40);
    for seed in seeds..seeds + count {
        fenced += schedule(seed, &mut crashes).await;
    }
    println!("{count} schedules, crashes at {crashes:?}, {fenced} writers fenced");
    if count >= 40 {
        assert_eq!(crashes.len(), 9, "a crash at every step: {crashes:?}");
        assert!(fenced > 0);
    }
}

struct Life {
    world: World,
    rng: Rng,
    seed: u64,
    faulty: Arc<FaultyStore>,
    rooms: Vec<RoomName>,
    crashed: Arc<parking_lot::Mutex<Vec<Step>>>,
    keep_manifests: usize,
}

impl Life {
    fn options(&mut self) -> ArchiverOptions {
        let left = Arc::new(AtomicU64::new(self.rng.below(25) as u64));
        let crashed = Arc::clone(&self.crashed);
        // Some steps are rare, so each crash waits for its own.
        let wanted = self.rng.below(3) > 0;
        let at = STEPS[self.rng.below(STEPS.len())];
        let crash = move |step: Step| {
            let due = if wanted {
                step == at
                    && left.fetch_sub(left.load(Ordering::SeqCst).min(7), Ordering::SeqCst) < 7
            } else {
                left.fetch_sub(1, Ordering::SeqCst) == 0
            };
            if due {
                crashed.lock().push(step);
            }
            due
        };
        ArchiverOptions {
            segment_bytes: [500, 4 << 10, 1 << 20][self.rng.below(3)],
            small_segment_bytes: [2 << 10, 64 << 10][self.rng.below(2)],
            merge_segments: 2 + self.rng.below(4),
            roll_after: Duration::from_secs(5),
            keep_local: (self.rng.below(4) > 0).then_some(Duration::ZERO),
            trim_floor: Arc::new(|_| Seq::MAX),
            tidy_every: [Duration::ZERO, Duration::from_secs(20)][self.rng.below(2)],
            keep_manifests: self.keep_manifests,
            garbage_min_age: Duration::ZERO,
            attempt_timeout: Duration::from_secs(1),
            backoff_min: Duration::from_millis(10),
            backoff_max: Duration::from_millis(500),
            crash: Some(Arc::new(crash)),
            ..ArchiverOptions::default()
        }
    }

    async fn start(&mut self, calm: bool) -> Archiver {
        let mut options = self.options();
        if calm {
            options.crash = None;
        }
        let patient = Options {
            read_tries: 50,
            attempt_timeout: Duration::from_secs(1),
            block_cache_bytes: 20_000,
            index_cache_bytes: 20_000,
            ..Options::default()
        };
        let store: Arc<dyn ObjectStore> = Arc::clone(&self.faulty) as _;
        let archive = Archive::on(store, "some/where", patient).await.unwrap();
        let log: Arc<dyn Log> = Arc::new(self.world.log.clone());
        Archiver::start(log, archive, options, Arc::new(()))
    }

    async fn act(&mut self, archiver: &Archiver) {
        let name = self.rooms[self.rng.below(self.rooms.len())].clone();
        match self.rng.below(20) {
            0 => self.world.delete(&name).await,
            1..=4 => {
                let records = self.world.model.get(&name).map_or(0, |m| m.records.len());
                if records > 0 {
                    let back = self.rng.below(4).min(records - 1);
                    archiver.offer(self.world.snapshot(&name, records - back));
                }
            }
            5 => tokio::time::sleep(Duration::from_millis(self.rng.below(9000) as u64)).await,
            6 => {
                let patience = Duration::from_millis(self.rng.below(9000) as u64);
                let _ = archiver.flush(patience).await;
            }
            _ => {
                let n = 1 + self.rng.below(12);
                let len = [4, 90, 2000][self.rng.below(3)];
                self.world.write(&name, n, len).await;
                archiver.moved(n * len, n as u64);
            }
        }
    }
}

const STEPS: [Step; 9] = [
    Step::Packed,
    Step::Uploaded,
    Step::Checked,
    Step::Named,
    Step::Published,
    Step::BeforeTrim,
    Step::Trimmed,
    Step::BeforeReplace,
    Step::Collected,
];

async fn schedule(seed: u64, crashes: &mut std::collections::BTreeMap<Step, u64>) -> u64 {
    let world = World::new();
    let mut rng = Rng::new(seed);
    let rate = [0, 50, 200, 400][rng.below(4)];
    let mut life = Life {
        faulty: Arc::new(FaultyStore::new(Arc::clone(&world.store), rate, seed)),
        rooms: (0..1 + rng.below(6))
            .map(|i| room(&format!("doc/{i}")))
            .collect(),
        keep_manifests: 1 + rng.below(4),
        world,
        rng,
        seed,
        crashed: Arc::default(),
    };
    let mut zombies = Vec::new();
    let lives = 2 + life.rng.below(4);
    for _ in 0..lives {
        let archiver = life.start(false).await;
        for _ in 0..5 + life.rng.below(30) {
            life.act(&archiver).await;
            if life.rng.below(6) == 0 {
                let view = life.world.archive().await;
                life.world.check_trims(&view).await;
                life.world.check(&view).await;
            }
        }
        // It ends wherever it is, or lives on without knowing of its successor.
        if life.rng.below(3) == 0 {
            zombies.push(archiver);
        }
    }
    life.faulty.set(false);
    let archiver = life.start(true).await;
    let seed = life.seed;
    for _ in 0..6 {
        archiver
            .flush(PATIENCE)
            .await
            .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
    for zombie in &zombies {
        let _ = zombie.flush(Duration::from_secs(30)).await;
    }
    let fenced = zombies
        .iter()
        .filter(|zombie| zombie.status().fenced)
        .count();
    drop(zombies);
    let mut options = life.options();
    options.crash = None;
    options.tidy_every = Duration::ZERO;
    drop(archiver);
    let last = life.world.archiver(options).await;
    // Manifests come and go until only what this writer keeps is left.
    for i in 0..life.keep_manifests + 1 {
        let name = life.rooms[i % life.rooms.len()].clone();
        life.world.write(&name, 1, 5).await;
        last.flush(PATIENCE).await.unwrap();
    }
    life.world.check_nothing_is_missing(last.archive()).await;
    let view = life.world.archive().await;
    life.world.check_nothing_is_missing(&view).await;
    let report = view.verify(|_| ()).await.unwrap();
    assert!(report.is_whole(), "seed {seed}: {:?}", report.faults);
    assert_eq!(
        report.orphans, 0,
        "seed {seed}: no orphan is kept past its age"
    );
    // The disk is lost: what comes back is what was there.
    let log = MemoryLog::new();
    restore(&view, &log, |_| ()).await.unwrap();
    for (name, model) in &life.world.model {
        let state = log.state(name).await.unwrap();
        if model.erased < model.records.len() {
            assert_eq!(state.head, model.head(), "seed {seed}: {name}");
        }
    }
    for step in life.crashed.lock().iter() {
        *crashes.entry(*step).or_default() += 1;
    }
    fenced as u64
}

#[tokio::test(start_paused = true)]
async fn what_retention_leaves_is_always_what_was_appended() {
    for seed in 1..=setting("ARCHIVE_SCHEDULES", 40).div_ceil(4) {
        let mut world = World::new();
        let mut rng = Rng::new(seed);
        let names = ["doc/a", "doc/b", "pit/c"].map(room);
        let keep = 5 + rng.below(60) as u64;
        let options = ArchiverOptions {
            segment_bytes: 3 << 10,
            small_segment_bytes: 4 << 10,
            merge_segments: 2 + rng.below(5),
            tidy_every: Duration::ZERO,
            keep_manifests: 1 + rng.below(3),
            garbage_min_age: Duration::ZERO,
            keep_local: Some(Duration::ZERO),
            trim_floor: Arc::new(|_| Seq::MAX),
            retention: Arc::new(move |space| match space {
                "pit" => Retention::Last(keep),
                _ => Retention::All,
            }),
            ..ArchiverOptions::default()
        };
        let archiver = world.archiver(options).await;
        for _ in 0..40 {
            let name = &names[rng.below(3)];
            match rng.below(12) {
                0 if rng.below(3) == 0 => world.delete(name).await,
                1..=3 => {
                    if let Some(model) = world.model.get(name).filter(|m| !m.records.is_empty()) {
                        let seq = 1 + rng.below(model.records.len());
                        archiver.offer(world.snapshot(name, seq));
                    }
                }
                4..=6 => archiver.flush(PATIENCE).await.unwrap(),
                _ => {
                    world
                        .write(name, 1 + rng.below(20), [5, 200][rng.below(2)])
                        .await;
                }
            }
            world.check(archiver.archive()).await;
            world.check_trims(archiver.archive()).await;
        }
        archiver.flush(PATIENCE).await.unwrap();
        let view = world.archive().await;
        world.check(&view).await;
        assert!(view.verify(|_| ()).await.unwrap().is_whole(), "seed {seed}");
        for (name, model) in &world.model {
            let Some(found) = view.room(name) else {
                continue;
            };
            let start = found.start.seq.get() as usize;
            assert!(found.head == model.head(), "seed {seed}: {name}");
            if name.space() == "doc" {
                assert_eq!(start, model.erased, "seed {seed}: {name}");
            } else {
                let wanted = model.records.len().saturating_sub(keep as usize);
                assert!(start <= wanted.max(model.erased), "seed {seed}: {name}");
            }
        }
    }
}
