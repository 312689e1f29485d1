//! Any log, wrapped in seeded faults.
//!
//! What can go wrong with a disk or a network goes wrong here on purpose, and always in the same
//! places for one seed: a batch that was not written and can be retried, one that was written but
//! whose caller saw a timeout, one that was not and whose caller cannot know, and slowness. The
//! last two of them poison the log as the contract says; a torn batch is one that is not there
//! after reopening, which for the caller is the third kind.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{self, BoxFuture};
use parking_lot::Mutex;
use protocol::{OpId, RoomName, Run, Seq, Timestamp};
use tokio::sync::watch;

use crate::log::{AppendError, Appended, Batch, Log, ReadError, RoomRow, RoomState, Stats};
use crate::suite::Rng;

/// How often each fault strikes, in parts of a thousand appends.
#[derive(Debug, Clone, Copy)]
pub struct Faults {
    /// The batch is not written; the log goes on.
    pub not_written: u16,
    /// The batch is written, and its caller sees a timeout.
    pub unknown_written: u16,
    /// The batch is torn: not there when the log is opened again, and its caller sees a timeout.
    pub unknown_lost: u16,
    /// The ack comes late.
    pub slow: u16,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            not_written: 80,
            unknown_written: 40,
            unknown_lost: 40,
            slow: 20,
        }
    }
}

/// A log that fails on purpose.
#[derive(Debug)]
pub struct FaultyLog<L> {
    inner: Arc<L>,
    faults: Faults,
    rng: Mutex<Rng>,
    poison: watch::Sender<Option<String>>,
}

enum Fault {
    None,
    NotWritten,
    UnknownWritten,
    UnknownLost,
    Slow,
}

impl<L: Log> FaultyLog<L> {
    /// Wraps a log; the same seed and calls give the same faults.
    pub fn new(inner: L, faults: Faults, seed: u64) -> Self {
        Self {
            inner: Arc::new(inner),
            faults,
            rng: Mutex::new(Rng::new(seed)),
            poison: watch::Sender::new(None),
        }
    }

    /// The log itself.
    pub fn inner(&self) -> &L {
        &self.inner
    }

    fn draw(&self) -> Fault {
        let mut left = self.rng.lock().below(1000) as u16;
        for (share, fault) in [
            (self.faults.not_written, Fault::NotWritten),
            (self.faults.unknown_written, Fault::UnknownWritten),
            (self.faults.unknown_lost, Fault::UnknownLost),
            (self.faults.slow, Fault::Slow),
        ] {
            if left < share {
                return fault;
            }
            left -= share;
        }
        Fault::None
    }

    fn poison(&self, why: &str) -> AppendError {
        self.poison.send_replace(Some(why.to_owned()));
        AppendError::Unknown(why.to_owned())
    }
}

impl<L: Log> Log for FaultyLog<L> {
    fn append(&self, batch: Batch) -> BoxFuture<'static, Result<Appended, AppendError>> {
        if let Some(why) = self.poisoned() {
            return future::ready(Err(AppendError::Poisoned(why))).boxed();
        }
        match self.draw() {
            Fault::None => self.inner.append(batch),
            Fault::NotWritten => {
                let why = "a seeded fault: not written".to_owned();
                future::ready(Err(AppendError::NotWritten(why))).boxed()
            }
            Fault::UnknownLost => {
                let error = self.poison("a seeded fault: the disk did not answer");
                future::ready(Err(error)).boxed()
            }
            Fault::UnknownWritten => {
                let appended = self.inner.append(batch);
                let error = self.poison("a seeded fault: written, but the disk did not answer");
                appended
                    .map(|result| match result {
                        // A refusal is no fault, and is told as it is.
                        Err(refused @ (AppendError::Conflict { .. } | AppendError::Closed)) => {
                            Err(refused)
                        }
                        _ => Err(error),
                    })
                    .boxed()
            }
            Fault::Slow => {
                let appended = self.inner.append(batch);
                async move {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    appended.await
                }
                .boxed()
            }
        }
    }

    fn read(
        &self,
        room: &RoomName,
        after: Seq,
        max_bytes: usize,
    ) -> BoxFuture<'static, Result<Vec<Run>, ReadError>> {
        self.inner.read(room, after, max_bytes)
    }

    fn state(&self, room: &RoomName) -> BoxFuture<'static, Result<RoomState, ReadError>> {
        self.inner.state(room)
    }

    fn seq_at(
        &self,
        room: &RoomName,
        time: Timestamp,
    ) -> BoxFuture<'static, Result<Seq, ReadError>> {
        self.inner.seq_at(room, time)
    }

    fn find_op(
        &self,
        room: &RoomName,
        op_id: OpId,
    ) -> BoxFuture<'static, Result<Option<Seq>, ReadError>> {
        self.inner.find_op(room, op_id)
    }

    fn rooms(
        &self,
        after: Option<&RoomName>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<RoomRow>, ReadError>> {
        self.inner.rooms(after, limit)
    }

    fn all_rooms(
        &self,
        after: Option<&RoomName>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<RoomRow>, ReadError>> {
        self.inner.all_rooms(after, limit)
    }

    fn durability(&self) -> &'static str {
        self.inner.durability()
    }

    fn poisoned(&self) -> Option<String> {
        self.poison
            .borrow()
            .clone()
            .or_else(|| self.inner.poisoned())
    }

    fn refuses_writes(&self) -> Option<String> {
        self.poisoned().or_else(|| self.inner.refuses_writes())
    }

    fn until_poisoned(&self) -> BoxFuture<'static, String> {
        let inner = self.inner.until_poisoned();
        let mut poison = self.poison.subscribe();
        async move {
            let ours = async {
                loop {
                    let why = poison.borrow_and_update().clone();
                    if let Some(why) = why {
                        return why;
                    }
                    if poison.changed().await.is_err() {
                        return future::pending().await;
                    }
                }
            };
            future::select(inner, Box::pin(ours)).await.factor_first().0
        }
        .boxed()
    }

    fn stats(&self) -> Stats {
        self.inner.stats()
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        self.inner.close()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryLog;
    use crate::suite::{self, Opened, Store};
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Memory outlives reopening here, as a disk would; the faults begin anew.
    struct Memory {
        seed: AtomicU64,
    }

    struct Reopenable {
        log: FaultyLog<MemoryLog>,
        seed: u64,
    }

    impl Store for Memory {
        fn create(&self) -> BoxFuture<'_, Box<dyn Opened>> {
            let seed = self.seed.fetch_add(1000, Ordering::SeqCst);
            let log = FaultyLog::new(MemoryLog::new(), Faults::default(), seed);
            let opened: Box<dyn Opened> = Box::new(Reopenable { log, seed });
            future::ready(opened).boxed()
        }
    }

    impl Opened for Reopenable {
        fn log(&self) -> &dyn Log {
            &self.log
        }

        fn reopen(self: Box<Self>) -> BoxFuture<'static, Box<dyn Opened>> {
            let seed = self.seed + 1;
            let log = FaultyLog::new(self.log.inner().clone(), Faults::default(), seed);
            let opened: Box<dyn Opened> = Box::new(Self { log, seed });
            future::ready(opened).boxed()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn memory_keeps_the_contract_under_faults() {
        for seed in [1, 2_000_000, 3_000_000] {
            let seed = AtomicU64::new(seed);
            suite::conformance(&Memory { seed }).await;
        }
    }
}
