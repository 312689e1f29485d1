//! The conformance suite on sled, with a mover that is at work all the time.

use super::*;
use crate::faults::{Faults, FaultyLog};
use crate::suite::{self, Opened, Store};
use std::sync::atomic::AtomicUsize;

struct Folders {
    root: tempfile::TempDir,
    made: AtomicUsize,
    options: SledOptions,
    faults: Faults,
}

struct Folder {
    path: PathBuf,
    options: SledOptions,
    faults: Faults,
    log: FaultyLog<SledLog>,
    seed: u64,
}

/// No faults at all.
const SOUND: Faults = Faults {
    not_written: 0,
    unknown_written: 0,
    unknown_lost: 0,
    slow: 0,
};

impl Folders {
    fn new(options: SledOptions, faults: Faults) -> Self {
        Self {
            faults,
            root: tempfile::tempdir().unwrap(),
            made: AtomicUsize::new(0),
            options,
        }
    }
}

impl Folder {
    fn open(path: PathBuf, options: SledOptions, faults: Faults, seed: u64) -> Box<dyn Opened> {
        let log = SledLog::open(&path, options.clone()).unwrap();
        let log = FaultyLog::new(log, faults, seed);
        Box::new(Self {
            path,
            options,
            faults,
            log,
            seed,
        })
    }
}

impl Store for Folders {
    fn create(&self) -> BoxFuture<'_, Box<dyn Opened>> {
        let nth = self.made.fetch_add(1, Ordering::SeqCst);
        let path = self.root.path().join(format!("log-{nth}"));
        let opened = Folder::open(path, self.options.clone(), self.faults, nth as u64 * 1000);
        future::ready(opened).boxed()
    }
}

impl Opened for Folder {
    fn log(&self) -> &dyn Log {
        &self.log
    }

    fn reopen(self: Box<Self>) -> BoxFuture<'static, Box<dyn Opened>> {
        async move {
            self.log.close().await;
            Self::open(self.path, self.options, self.faults, self.seed + 1)
        }
        .boxed()
    }
}

/// Moves at once, so that reads meet chunks, runs and the border between them.
fn eager() -> SledOptions {
    SledOptions {
        move_after: Duration::ZERO,
        cached_rooms: 2,
        ..SledOptions::default()
    }
}

/// Never moves, so that everything is replayed.
fn lazy() -> SledOptions {
    SledOptions {
        move_after: Duration::from_secs(3600),
        ..SledOptions::default()
    }
}

#[tokio::test]
async fn sled_keeps_the_contract_with_an_eager_mover() {
    suite::conformance(&Folders::new(eager(), SOUND)).await;
}

#[tokio::test]
async fn sled_keeps_the_contract_with_a_lazy_mover() {
    suite::conformance(&Folders::new(lazy(), SOUND)).await;
}

#[tokio::test]
async fn sled_keeps_the_contract_under_faults() {
    suite::conformance(&Folders::new(eager(), Faults::default())).await;
}
