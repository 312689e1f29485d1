//! Group commit: what all rooms have ready becomes one append, and one sync.
//!
//! There is no timer. When nothing is in flight a lone run is appended at once; while an append
//! syncs, whatever arrives gathers and becomes the next one. [`APPENDS_IN_FLIGHT`] appends overlap,
//! so that the log prepares one while it syncs another. The queue is bounded by what rooms may have
//! in flight ([`ROOM_COMMITS_IN_FLIGHT`](crate::limits::ROOM_COMMITS_IN_FLIGHT) each).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesOrdered;
use parking_lot::Mutex;
use protocol::{Head, RoomName, Run};
use storage::{AppendError, Appended, Batch, Durable, Entry, Log};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::limits::{APPENDS_IN_FLIGHT, COMMIT_BYTES};

/// Takes runs from rooms and makes them durable together.
pub struct Committer {
    log: Arc<dyn Log>,
    queue: Mutex<Vec<Request>>,
    /// Of each append that the log has and has not answered, in order: since when its oldest run
    /// waits, and its records.
    appending: Mutex<VecDeque<(Instant, u64)>>,
    arrived: Notify,
    closing: CancellationToken,
}

/// A run on its way to the log.
struct Request {
    room: RoomName,
    run: Run,
    queued: Instant,
    done: Done,
}

/// What is called with what became of a run, and when.
type Done = Box<dyn FnOnce(Committed, Commit) + Send>;

/// When a commit was handed to the log, and when that had answered.
#[derive(Debug, Clone, Copy)]
pub struct Commit {
    /// When it was handed over.
    pub began: Instant,
    /// When it was durable, or had failed.
    pub ended: Instant,
}

/// An append that has ended, and who waits for it.
struct Ended {
    result: Result<Appended, AppendError>,
    waiting: Vec<Done>,
    records: u64,
    bytes: usize,
    started: Instant,
}

/// What a committer has and is not durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pending {
    /// Since when the oldest of it waits.
    pub oldest: Option<Instant>,
    /// How many records.
    pub records: u64,
    /// Appends that the log has not answered.
    pub commits: usize,
}

/// What became of a run: the proof that it is durable, or why it is not.
pub type Committed = Result<Durable<Head>, AppendError>;

impl std::fmt::Debug for Committer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Committer")
            .field("queued", &self.queue.lock().len())
            .finish()
    }
}

impl Committer {
    /// A committer that writes to `log` once [`Committer::run`] is polled.
    #[must_use]
    pub fn new(log: Arc<dyn Log>) -> Self {
        Self {
            log,
            queue: Mutex::new(Vec::new()),
            appending: Mutex::default(),
            arrived: Notify::new(),
            closing: CancellationToken::new(),
        }
    }

    /// Hands over a run. `done` is called once, from the committer's task, in the order of commits.
    pub fn submit(
        &self,
        room: RoomName,
        run: Run,
        done: impl FnOnce(Committed, Commit) + Send + 'static,
    ) {
        self.queue.lock().push(Request {
            room,
            run,
            queued: Instant::now(),
            done: Box::new(done),
        });
        self.arrived.notify_one();
    }

    /// What is on its way and not durable.
    #[must_use]
    pub fn pending(&self) -> Pending {
        // The queue first: a run is in one of the two from when it is submitted, and may be in both.
        let queue = self.queue.lock();
        let appending = self.appending.lock();
        let queued = queue.first().map(|request| request.queued);
        let waiting = queue.iter().map(|request| request.run.len());
        Pending {
            oldest: appending.front().map(|(since, _)| *since).or(queued),
            records: appending.iter().map(|(_, records)| records).sum::<u64>()
                + waiting.sum::<u64>(),
            commits: appending.len(),
        }
    }

    /// Ends [`Committer::run`] once everything handed over is settled.
    pub fn close(&self) {
        self.closing.cancel();
    }

    /// Commits until [`Committer::close`].
    pub async fn run(&self) {
        let mut in_flight: FuturesOrdered<BoxFuture<'static, Ended>> = FuturesOrdered::new();
        loop {
            while in_flight.len() < APPENDS_IN_FLIGHT {
                let requests = self.gather();
                if requests.is_empty() {
                    break;
                }
                in_flight.push_back(self.append(requests));
            }
            let may_take_more = in_flight.len() < APPENDS_IN_FLIGHT;
            tokio::select! {
                biased;
                // In the order of the appends: an append that ends before one that was called
                // earlier is told of after it.
                Some(ended) = in_flight.next(), if !in_flight.is_empty() => {
                    self.appending.lock().pop_front();
                    ended.tell();
                }
                () = self.arrived.notified(), if may_take_more => {}
                () = self.closing.cancelled(), if in_flight.is_empty() => {
                    if self.queue.lock().is_empty() {
                        return;
                    }
                }
            }
        }
    }

    /// Takes what is queued, up to [`COMMIT_BYTES`].
    fn gather(&self) -> Vec<Request> {
        let mut queue = self.queue.lock();
        let mut bytes = 0;
        let fits = queue
            .iter()
            .position(|request| {
                bytes += request.run.bytes().len();
                bytes > COMMIT_BYTES
            })
            // A single run over the bound goes alone.
            .map_or(queue.len(), |first_over| first_over.max(1));
        queue.drain(..fits).collect()
    }

    fn append(&self, requests: Vec<Request>) -> BoxFuture<'static, Ended> {
        let started = Instant::now();
        let oldest = requests.first().map(|request| request.queued);
        let mut records = 0;
        let mut bytes = 0;
        let mut entries = Vec::with_capacity(requests.len());
        let mut waiting = Vec::with_capacity(requests.len());
        for request in requests {
            records += request.run.len();
            bytes += request.run.bytes().len();
            observatory::commit_queued(started - request.queued);
            entries.push(Entry::Run(request.room, request.run));
            waiting.push(request.done);
        }
        let oldest = oldest.unwrap_or(started);
        self.appending.lock().push_back((oldest, records));
        // Called, so handed over, before the next batch is gathered: that is the order of effect.
        let appended = self.log.append(Batch { entries });
        Box::pin(async move {
            Ended {
                result: appended.await,
                waiting,
                records,
                bytes,
                started,
            }
        })
    }
}

impl Ended {
    fn tell(self) {
        let commit = Commit {
            began: self.started,
            ended: Instant::now(),
        };
        match self.result {
            Ok(appended) => {
                let took = commit.ended - commit.began;
                observatory::commit_done(self.records, self.bytes, took);
                for (done, head) in self.waiting.into_iter().zip(appended.heads) {
                    done(Ok(head), commit);
                }
            }
            Err(error) => {
                observatory::commit_failed();
                tracing::error!(%error, records = self.records, "a commit failed");
                for done in self.waiting {
                    done(Err(error.clone()), commit);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::record::RunBuilder;
    use protocol::{Author, Draft, Kind, Seq, SessionId, Timestamp};
    use storage::faults::{Faults, FaultyLog};
    use storage::memory::MemoryLog;

    use super::*;

    fn run(head: Head) -> Run {
        let mut run = RunBuilder::new(head);
        let author = Author {
            user: None,
            session: SessionId::new(1),
            site: None,
        };
        let draft = Draft {
            author,
            op_id: None,
            base: None,
            kind: Kind::Update,
            payload: bytes::Bytes::new(),
        };
        run.push(Timestamp::from_micros(1), &draft);
        run.finish().unwrap()
    }

    #[tokio::test]
    async fn commits_are_told_in_their_order_even_when_a_later_one_ends_first() {
        let faults = Faults {
            not_written: 0,
            unknown_written: 0,
            unknown_lost: 0,
            slow: 500,
        };
        let log = Arc::new(FaultyLog::new(MemoryLog::new(), faults, 3));
        let committer = Arc::new(Committer::new(log));
        let runner = Arc::clone(&committer);
        let running = tokio::spawn(async move { runner.run().await });
        let room = RoomName::parse("doc/a").unwrap();
        let told = Arc::new(Mutex::new(Vec::new()));
        let mut head = Head::EMPTY;
        for _ in 0..60 {
            let next = run(head);
            head = next.after();
            let telling = Arc::clone(&told);
            committer.submit(room.clone(), next, move |result, _| {
                telling.lock().push(result.unwrap().get().seq);
            });
            // Each becomes an append of its own, as long as two may be in flight.
            tokio::task::yield_now().await;
        }
        committer.close();
        running.await.unwrap();
        let told = told.lock().clone();
        let expected: Vec<Seq> = (1..=60).map(Seq::new).collect();
        assert_eq!(told, expected);
    }
}
