//! The conformance suite: every edge that [`crate::log`] states, tested on any backend.
//!
//! A backend's test gives a [`Store`] that can make fresh logs and reopen them, and calls
//! [`conformance`]. The same suite runs on a backend wrapped in seeded faults: [`Bench::put`] then
//! retries by the contract's own rules (did not happen: again; unknown: reopen and look).

use std::collections::BTreeMap;

use futures_util::future::BoxFuture;
use protocol::record::RunBuilder;
use protocol::{
    Author, Draft, Head, Kind, OpId, Record, RoomName, Run, Seq, SessionId, Timestamp, UserId,
};

use crate::log::{AppendError, Batch, Entry, Log, ReadError, RoomRow, RoomState};

/// Makes fresh, empty logs of one backend.
pub trait Store: Sync {
    /// A new, empty log.
    fn create(&self) -> BoxFuture<'_, Box<dyn Opened>>;
}

/// An open log that can be closed and opened again.
pub trait Opened: Send + Sync {
    /// The log.
    fn log(&self) -> &dyn Log;
    /// Closes the log and opens what it left. A log that outlives nothing returns itself.
    fn reopen(self: Box<Self>) -> BoxFuture<'static, Box<dyn Opened>>;
}

/// Runs the whole suite.
///
/// # Panics
/// With what was expected and what the backend did.
pub async fn conformance(store: &dyn Store) {
    what_was_appended_is_read_back(store).await;
    a_batch_is_all_or_nothing(store).await;
    calls_take_effect_in_order(store).await;
    dropped_futures_still_happen(store).await;
    an_empty_batch_follows_what_came_before(store).await;
    reads_are_bounded_and_gapless(store).await;
    trim_forgets_the_front(store).await;
    trim_edges(store).await;
    delete_keeps_the_head(store).await;
    rooms_begin_where_they_ended_elsewhere(store).await;
    times_and_operations_are_found(store).await;
    rooms_come_in_pages(store).await;
    large_records_survive(store).await;
    closed_logs_say_so(store).await;
    for seed in 1..=4 {
        random_histories_match_the_model(store, seed, 150).await;
    }
}

/// A log under test, and the drafts that are written to it.
#[derive(Debug)]
pub struct Bench {
    opened: Option<Box<dyn Opened>>,
    drafted: u64,
    clock: u64,
}

impl std::fmt::Debug for dyn Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.log().fmt(f)
    }
}

impl Bench {
    /// A fresh log of `store`.
    pub async fn new(store: &dyn Store) -> Self {
        Self {
            opened: Some(store.create().await),
            drafted: 0,
            clock: 1_000_000,
        }
    }

    /// The log.
    ///
    /// # Panics
    /// While it is being reopened.
    #[must_use]
    pub fn log(&self) -> &dyn Log {
        self.opened.as_ref().expect("the log is open").log()
    }

    /// Closes and opens the log.
    ///
    /// # Panics
    /// When the backend cannot open what it left.
    pub async fn reopen(&mut self) {
        let opened = self.opened.take().expect("the log is open");
        self.opened = Some(opened.reopen().await);
    }

    /// A run of `n` records after `head`, with payloads of `len` bytes that differ.
    pub fn run(&mut self, head: Head, n: usize, len: usize) -> Run {
        let mut builder = RunBuilder::new(head);
        for _ in 0..n {
            self.drafted += 1;
            // Several records share a time, so that ties are tested.
            self.clock += (self.drafted % 3) * 10;
            let draft = draft(self.drafted, len);
            builder.push(Timestamp::from_micros(self.clock), &draft);
        }
        builder.finish().expect("a run of at least one record")
    }

    /// Appends a batch, and retries as the contract says when a fault is in the way.
    ///
    /// # Errors
    /// [`AppendError::Conflict`] and [`AppendError::Closed`], which no retry can mend.
    ///
    /// # Panics
    /// When a hundred tries were not enough, or half of the batch happened.
    pub async fn put(&mut self, batch: Batch) -> Result<Vec<Head>, AppendError> {
        for _ in 0..100 {
            match self.log().append(batch.clone()).await {
                Ok(appended) => return Ok(appended.heads.iter().map(|head| *head.get()).collect()),
                Err(error @ (AppendError::Conflict { .. } | AppendError::Closed)) => {
                    return Err(error);
                }
                Err(AppendError::NotWritten(_)) => {}
                Err(AppendError::Unknown(_)) => {
                    self.reopen().await;
                    if let Some(heads) = self.happened(&batch).await {
                        return Ok(heads);
                    }
                }
                Err(AppendError::Poisoned(_)) => {
                    assert!(self.log().poisoned().is_some(), "a poisoned log says why");
                    self.reopen().await;
                }
            }
        }
        panic!("a hundred tries were not enough");
    }

    /// Whether a batch is in the log; trims and deletes alone are simply done again.
    async fn happened(&self, batch: &Batch) -> Option<Vec<Head>> {
        let mut last: BTreeMap<&RoomName, (Head, Head)> = BTreeMap::new();
        for entry in &batch.entries {
            let (room, before, after) = match entry {
                Entry::Run(room, run) => (room, run.before(), run.after()),
                Entry::Begin(room, head, _) => (room, Head::EMPTY, *head),
                Entry::Trim(..) | Entry::Delete(_) => continue,
            };
            last.entry(room).or_insert((before, after)).1 = after;
        }
        let mut there = Vec::new();
        for (room, (before, after)) in last {
            let head = self.state(room).await.head;
            if head != before && head != after {
                // It cannot have happened, for it does not follow what is there.
                return None;
            }
            there.push(head == after);
        }
        assert!(
            there.windows(2).all(|pair| pair[0] == pair[1]),
            "a batch happened in some of its rooms"
        );
        if there.first() != Some(&true) {
            return None;
        }
        // Runs of one room may stand before others of it, so heads are counted again.
        let mut heads = Vec::new();
        let mut now: BTreeMap<&RoomName, Head> = BTreeMap::new();
        for entry in &batch.entries {
            let room = entry.room();
            match entry {
                Entry::Run(_, run) => drop(now.insert(room, run.after())),
                Entry::Begin(_, head, _) => drop(now.insert(room, *head)),
                Entry::Trim(..) | Entry::Delete(_) => {}
            }
            heads.push(match now.get(room) {
                Some(head) => *head,
                None => self.state(room).await.head,
            });
        }
        Some(heads)
    }

    /// Appends one run.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn push(&mut self, room: &RoomName, run: &Run) -> Head {
        let batch = Batch {
            entries: vec![Entry::Run(room.clone(), run.clone())],
        };
        let heads = self.put(batch).await.expect("the run follows the head");
        assert_eq!(heads, [run.after()]);
        run.after()
    }

    /// The room's state.
    ///
    /// # Panics
    /// When it cannot be read.
    pub async fn state(&self, room: &RoomName) -> RoomState {
        self.log().state(room).await.expect("the state can be read")
    }

    /// Every record after `after`, read `max_bytes` at a time and checked on the way.
    ///
    /// # Panics
    /// When a record is missing, damaged or out of place.
    pub async fn records(&self, room: &RoomName, after: Seq, max_bytes: usize) -> Vec<Record> {
        let mut records = Vec::new();
        let mut at = after;
        let mut end: Option<Head> = None;
        loop {
            let runs = self
                .log()
                .read(room, at, max_bytes)
                .await
                .expect("the room can be read");
            if runs.is_empty() {
                return records;
            }
            let sizes: Vec<usize> = runs
                .iter()
                .flat_map(Run::records)
                .map(|record| record.expect("an intact record").sealed_len())
                .collect();
            let before_last: usize = sizes[..sizes.len() - 1].iter().sum();
            assert!(
                sizes.len() == 1 || before_last < max_bytes,
                "read {sizes:?} past {max_bytes} bytes"
            );
            for run in &runs {
                assert_eq!(run.before().seq, at, "runs follow each other");
                assert!(
                    end.is_none_or(|end| end == run.before()),
                    "heads follow each other"
                );
                run.verify().expect("the chain holds");
                end = Some(run.after());
                at = run.last();
                records.extend(
                    run.records()
                        .map(|record| record.expect("an intact record")),
                );
            }
        }
    }
}

fn draft(n: u64, len: usize) -> Draft {
    // Half compressible, half not; records of one length still differ from the first byte on.
    let mut rng = Rng::new(n);
    let payload: Vec<u8> = (0..len)
        .map(|i| {
            if i % 2 == 0 {
                rng.next() as u8
            } else {
                n as u8
            }
        })
        .collect();
    Draft {
        author: Author {
            user: n
                .is_multiple_of(2)
                .then(|| UserId::new("ada").expect("a valid user")),
            session: SessionId::new(n % 5),
            site: None,
        },
        op_id: (!n.is_multiple_of(4)).then(|| op_id(n)),
        base: None,
        kind: Kind::Update,
        payload: payload.into(),
    }
}

fn op_id(n: u64) -> OpId {
    let mut bytes = [0x5a; 16];
    bytes[..8].copy_from_slice(&n.to_be_bytes());
    OpId::new(bytes)
}

fn room(name: &str) -> RoomName {
    RoomName::new("doc", name).expect("a valid name")
}

fn batch(entries: impl IntoIterator<Item = Entry>) -> Batch {
    Batch {
        entries: entries.into_iter().collect(),
    }
}

fn records_of(runs: &[&Run]) -> Vec<Record> {
    runs.iter()
        .flat_map(|run| run.records())
        .map(|record| record.expect("an intact record"))
        .collect()
}

async fn what_was_appended_is_read_back(store: &dyn Store) {
    let mut bench = Bench::new(store).await;
    let a = room("a");
    assert_eq!(
        bench.state(&a).await,
        RoomState::default(),
        "a room that never was"
    );
    assert_eq!(bench.log().read(&a, Seq::ZERO, 1000).await, Ok(vec![]));
    assert_eq!(bench.log().find_op(&a, op_id(1)).await, Ok(None));
    assert_eq!(
        bench.log().seq_at(&a, Timestamp::from_micros(9)).await,
        Ok(Seq::ZERO)
    );

    let one = bench.run(Head::EMPTY, 3, 10);
    let head = bench.push(&a, &one).await;
    let two = bench.run(head, 2, 2000);
    let head = bench.push(&a, &two).await;
    for _ in 0..2 {
        let state = bench.state(&a).await;
        let first = one.records().next().expect("a record").expect("intact");
        assert_eq!(
            state,
            RoomState {
                start: Head::EMPTY,
                head,
                deleted: false,
                bytes: (one.bytes().len() + two.bytes().len()) as u64,
                created: first.at,
                erased: Seq::ZERO,
            }
        );
        assert_eq!(
            bench.records(&a, Seq::ZERO, 1 << 20).await,
            records_of(&[&one, &two])
        );
        assert_eq!(
            bench.records(&a, Seq::new(3), 1 << 20).await,
            records_of(&[&two])
        );
        assert_eq!(bench.log().read(&a, head.seq, 1000).await, Ok(vec![]));
        assert_eq!(
            bench.log().read(&a, Seq::new(99), 1000).await,
            Ok(vec![]),
            "past the head"
        );
        bench.reopen().await;
    }
}

async fn a_batch_is_all_or_nothing(store: &dyn Store) {
    let mut bench = Bench::new(store).await;
    let (a, b) = (room("a"), room("b"));
    let first = bench.run(Head::EMPTY, 2, 50);
    let head = bench.push(&a, &first).await;

    let good = bench.run(Head::EMPTY, 1, 50);
    let stale = bench.run(Head::EMPTY, 1, 50);
    let refused = bench
        .put(batch([
            Entry::Run(b.clone(), good.clone()),
            Entry::Run(a.clone(), stale),
        ]))
        .await;
    let conflict = AppendError::Conflict {
        room: a.clone(),
        head: head.seq,
        expected: Seq::ZERO,
    };
    assert_eq!(refused, Err(conflict));
    assert_eq!(
        bench.state(&b).await,
        RoomState::default(),
        "nothing of it was written"
    );

    // The same Seq with another history is a conflict as well.
    let mut other = head;
    other.chain = protocol::Chain::from_raw(7);
    let forged = bench.run(other, 1, 50);
    let refused = bench.put(batch([Entry::Run(a.clone(), forged)])).await;
    assert!(matches!(refused, Err(AppendError::Conflict { .. })));

    // A room may stand several times, each run where the one before ended.
    let next = bench.run(head, 1, 50);
    let last = bench.run(next.after(), 3, 50);
    let heads = bench
        .put(batch([
            Entry::Run(a.clone(), next.clone()),
            Entry::Run(b.clone(), good.clone()),
            Entry::Run(a.clone(), last.clone()),
        ]))
        .await;
    assert_eq!(heads, Ok(vec![next.after(), good.after(), last.after()]));
    bench.reopen().await;
    assert_eq!(
        bench.records(&a, Seq::ZERO, 1 << 20).await,
        records_of(&[&first, &next, &last])
    );
    assert_eq!(
        bench.records(&b, Seq::ZERO, 1 << 20).await,
        records_of(&[&good])
    );
}

async fn calls_take_effect_in_order(store: &dyn Store) {
    let mut bench = Bench::new(store).await;
    let a = room("a");
    let mut head = Head::EMPTY;
    let mut runs = Vec::new();
    for _ in 0..20 {
        let run = bench.run(head, 2, 30);
        head = run.after();
        runs.push(run);
    }
    let calls: Vec<_> = runs
        .iter()
        .map(|run| {
            bench
                .log()
                .append(batch([Entry::Run(a.clone(), run.clone())]))
        })
        .collect();
    // Polled from the last to the first: the order of the calls alone decides.
    let mut done = 0;
    for call in calls.into_iter().rev() {
        match call.await {
            Ok(_) => done += 1,
            Err(error) => assert!(
                !matches!(error, AppendError::Closed),
                "a log under faults fails, but is not closed"
            ),
        }
    }
    if done < runs.len() {
        // Under faults: what came after the fault conflicts or is poisoned; write the rest again.
        bench.reopen().await;
        loop {
            let at = bench.state(&a).await.head;
            let Some(run) = runs.iter().find(|run| run.before() == at) else {
                break;
            };
            bench.push(&a, run).await;
        }
    }
    let all: Vec<&Run> = runs.iter().collect();
    assert_eq!(
        bench.records(&a, Seq::ZERO, 1 << 20).await,
        records_of(&all)
    );
}

async fn dropped_futures_still_happen(store: &dyn Store) {
    let mut bench = Bench::new(store).await;
    let a = room("a");
    let first = bench.run(Head::EMPTY, 1, 30);
    drop(
        bench
            .log()
            .append(batch([Entry::Run(a.clone(), first.clone())])),
    );
    let next = bench.run(first.after(), 1, 30);
    let follows = batch([Entry::Run(a.clone(), next.clone())]);
    if bench.put(follows).await.is_ok() {
        let records = bench.records(&a, Seq::ZERO, 1 << 20).await;
        assert_eq!(records, records_of(&[&first, &next]));
    } else {
        // Only a fault may have eaten the first one.
        assert_eq!(bench.state(&a).await.head, Head::EMPTY);
    }
}

async fn an_empty_batch_follows_what_came_before(store: &dyn Store) {
    let mut bench = Bench::new(store).await;
    let a = room("a");
    assert_eq!(bench.put(Batch::default()).await, Ok(vec![]));
    let run = bench.run(Head::EMPTY, 5, 30);
    let before = bench
        .log()
        .append(batch([Entry::Run(a.clone(), run.clone())]));
    let empty = bench.log().append(Batch::default());
    if empty.await.is_ok() && bench.log().poisoned().is_none() {
        let head = bench.state(&a).await.head;
        assert!(
            head == run.after() || before.await.is_err(),
            "the batch before is durable"
        );
    }
}

async fn reads_are_bounded_and_gapless(store: &dyn Store) {
    let mut bench = Bench::new(store).await;
    let a = room("a");
    let mut head = Head::EMPTY;
    let mut runs = Vec::new();
    for i in 0..30 {
        let run = bench.run(head, 1 + i % 7, 10 + i * 40);
        head = bench.push(&a, &run).await;
        runs.push(run);
    }
    let all: Vec<&Run> = runs.iter().collect();
    let all = records_of(&all);
    for reopened in [false, true] {
        for max_bytes in [0, 1, 300, 1000, 5000, 1 << 20] {
            for after in [0, 1, 17, all.len() - 1] {
                let read = bench.records(&a, Seq::new(after as u64), max_bytes).await;
                assert_eq!(
                    read,
                    all[after..],
                    "{max_bytes} bytes at a time, {reopened}"
                );
            }
        }
        bench.reopen().await;
    }
}

async fn trim_forgets_the_front(store: &dyn Store) {
    let mut bench = Bench::new(store).await;
    let a = room("a");
    let one = bench.run(Head::EMPTY, 10, 100);
    let head = bench.push(&a, &one).await;
    let two = bench.run(head, 10, 100);
    let head = bench.push(&a, &two).await;
    let all = records_of(&[&one, &two]);
    let created = bench.state(&a).await.created;
    for up_to in [4, 10, 13, 20] {
        let heads = bench
            .put(batch([Entry::Trim(a.clone(), Seq::new(up_to))]))
            .await;
        assert_eq!(heads, Ok(vec![head]));
        for _ in 0..2 {
            let state = bench.state(&a).await;
            let kept = &all[up_to as usize..];
            assert_eq!(state.start, all[up_to as usize - 1].head());
            assert_eq!(
                (state.head, state.deleted, state.created),
                (head, false, created)
            );
            let bytes: usize = kept.iter().map(Record::sealed_len).sum();
            assert_eq!(state.bytes, bytes as u64);
            assert_eq!(bench.records(&a, Seq::new(up_to), 500).await, kept);
            assert_eq!(
                bench.log().read(&a, Seq::new(up_to - 1), 500).await,
                Err(ReadError::Trimmed {
                    start: Seq::new(up_to)
                })
            );
            bench.reopen().await;
        }
    }
    let three = bench.run(head, 3, 100);
    bench.push(&a, &three).await;
    assert_eq!(
        bench.records(&a, head.seq, 500).await,
        records_of(&[&three])
    );
}

async fn trim_edges(store: &dyn Store) {
    let mut bench = Bench::new(store).await;
    let (a, b) = (room("a"), room("b"));
    let trim = |room: &RoomName, n| Entry::Trim(room.clone(), Seq::new(n));
    assert_eq!(
        bench.put(batch([trim(&a, 5)])).await,
        Ok(vec![Head::EMPTY]),
        "a room that never was"
    );
    let run = bench.run(Head::EMPTY, 5, 100);
    let head = bench.push(&a, &run).await;
    let conflict = AppendError::Conflict {
        room: a.clone(),
        head: Seq::new(5),
        expected: Seq::new(6),
    };
    let more = bench.run(Head::EMPTY, 1, 100);
    let refused = batch([Entry::Run(b.clone(), more.clone()), trim(&a, 6)]);
    assert_eq!(bench.put(refused).await, Err(conflict));
    assert_eq!(bench.state(&b).await, RoomState::default());
    assert_eq!(
        bench
            .put(batch([trim(&a, 3), trim(&a, 2), trim(&a, 0)]))
            .await,
        Ok(vec![head; 3])
    );
    assert_eq!(
        bench.state(&a).await.start.seq,
        Seq::new(3),
        "a start never goes back"
    );

    // Append and trim in one batch, in order.
    let next = bench.run(head, 4, 100);
    let heads = bench
        .put(batch([
            Entry::Run(a.clone(), next.clone()),
            trim(&a, 7),
            trim(&b, 9),
        ]))
        .await;
    assert_eq!(heads, Ok(vec![next.after(), next.after(), Head::EMPTY]));
    for _ in 0..2 {
        let rest = records_of(&[&next])[2..].to_vec();
        assert_eq!(bench.records(&a, Seq::new(7), 1 << 20).await, rest);
        bench.reopen().await;
    }
}

async fn delete_keeps_the_head(store: &dyn Store) {
    let mut bench = Bench::new(store).await;
    let (a, b) = (room("a"), room("b"));
    let delete = |room: &RoomName| Entry::Delete(room.clone());
    assert_eq!(bench.put(batch([delete(&b)])).await, Ok(vec![Head::EMPTY]));
    assert_eq!(
        bench.state(&b).await,
        RoomState::default(),
        "deleting nothing makes no room"
    );

    let run = bench.run(Head::EMPTY, 6, 100);
    let head = bench.push(&a, &run).await;
    let created = bench.state(&a).await.created;
    for _ in 0..2 {
        assert_eq!(bench.put(batch([delete(&a)])).await, Ok(vec![head]));
        let gone = RoomState {
            start: head,
            head,
            deleted: true,
            bytes: 0,
            created,
            erased: head.seq,
        };
        assert_eq!(bench.state(&a).await, gone);
        let trimmed = ReadError::Trimmed { start: head.seq };
        assert_eq!(bench.log().read(&a, Seq::ZERO, 99).await, Err(trimmed));
        assert_eq!(bench.log().read(&a, head.seq, 99).await, Ok(vec![]));
        assert_eq!(bench.log().rooms(None, 9).await, Ok(vec![]));
        let row = RoomRow {
            room: a.clone(),
            state: gone,
        };
        assert_eq!(bench.log().all_rooms(None, 9).await, Ok(vec![row]));
        assert_eq!(bench.log().all_rooms(Some(&a), 9).await, Ok(vec![]));
        assert_eq!(bench.log().find_op(&a, op_id(1)).await, Ok(None));
        bench.reopen().await;
    }
    // Continuing after the head brings it back; beginning anew does not.
    let anew = bench.run(Head::EMPTY, 1, 100);
    let refused = bench.put(batch([Entry::Run(a.clone(), anew)])).await;
    assert!(matches!(refused, Err(AppendError::Conflict { .. })));
    let next = bench.run(head, 2, 100);
    bench.push(&a, &next).await;
    for _ in 0..2 {
        let state = bench.state(&a).await;
        assert_eq!(
            (state.start, state.deleted, state.created, state.erased),
            (head, false, created, head.seq)
        );
        assert_eq!(
            bench.records(&a, head.seq, 1 << 20).await,
            records_of(&[&next])
        );
        assert_eq!(bench.log().rooms(None, 9).await.expect("rooms").len(), 1);
        bench.reopen().await;
    }
    // Deleted and brought back in one batch.
    let again = bench.run(next.after(), 1, 100);
    let heads = bench
        .put(batch([delete(&a), Entry::Run(a.clone(), again.clone())]))
        .await;
    assert_eq!(heads, Ok(vec![next.after(), again.after()]));
    bench.reopen().await;
    assert_eq!(
        bench.records(&a, next.last(), 1 << 20).await,
        records_of(&[&again])
    );
}

async fn rooms_begin_where_they_ended_elsewhere(store: &dyn Store) {
    let mut bench = Bench::new(store).await;
    let (a, b, c) = (room("a"), room("b"), room("c"));
    let elsewhere = bench.run(Head::EMPTY, 5, 100);
    let (head, created) = (elsewhere.after(), Timestamp::from_micros(77));
    let begin = |room: &RoomName| Entry::Begin(room.clone(), head, created);
    let next = bench.run(head, 3, 100);

    // Alone, and followed by records and by a deletion in the same batch.
    assert_eq!(bench.put(batch([begin(&a)])).await, Ok(vec![head]));
    let heads = bench
        .put(batch([
            begin(&b),
            Entry::Run(b.clone(), next.clone()),
            begin(&c),
            Entry::Delete(c.clone()),
        ]))
        .await;
    assert_eq!(heads, Ok(vec![head, next.after(), head, head]));
    let begun = RoomState {
        start: head,
        head,
        deleted: false,
        bytes: 0,
        created,
        erased: head.seq,
    };
    for _ in 0..2 {
        assert_eq!(bench.state(&a).await, begun);
        let with_records = RoomState {
            head: next.after(),
            bytes: next.bytes().len() as u64,
            ..begun
        };
        assert_eq!(bench.state(&b).await, with_records);
        let deleted = RoomState {
            deleted: true,
            ..begun
        };
        assert_eq!(bench.state(&c).await, deleted);
        let trimmed = ReadError::Trimmed { start: head.seq };
        assert_eq!(bench.log().read(&a, Seq::ZERO, 99).await, Err(trimmed));
        assert_eq!(bench.log().read(&a, head.seq, 99).await, Ok(vec![]));
        assert_eq!(
            bench.records(&b, head.seq, 1 << 20).await,
            records_of(&[&next])
        );
        assert_eq!(bench.log().seq_at(&a, head.at).await, Ok(head.seq));
        assert_eq!(bench.log().rooms(None, 9).await.expect("rooms").len(), 2);
        bench.reopen().await;
    }

    // A room that has or had a record does not begin again, and the batch with it.
    let later = bench.run(next.after(), 1, 100).after();
    let begin_later = |room: &RoomName| Entry::Begin(room.clone(), later, created);
    for known in [&a, &b, &c] {
        let other = room("other");
        let entries = [begin_later(&other), begin_later(known)];
        let refused = bench.put(batch(entries)).await;
        assert!(
            matches!(refused, Err(AppendError::Conflict { .. })),
            "{known}"
        );
        assert_eq!(bench.state(&other).await, RoomState::default());
    }
    let nothing = Entry::Begin(room("d"), Head::EMPTY, created);
    assert_eq!(bench.put(batch([nothing])).await, Ok(vec![Head::EMPTY]));
    assert_eq!(bench.state(&room("d")).await, RoomState::default());

    // It is written to, trimmed and read as any other.
    bench.push(&a, &next).await;
    let trim = Entry::Trim(a.clone(), next.first());
    bench.put(batch([trim])).await.expect("it can be trimmed");
    bench.reopen().await;
    assert_eq!(
        bench.records(&a, next.first(), 1 << 20).await,
        records_of(&[&next])[1..]
    );
    let state = bench.state(&a).await;
    assert_eq!((state.created, state.erased), (created, head.seq));
}

async fn times_and_operations_are_found(store: &dyn Store) {
    let mut bench = Bench::new(store).await;
    let a = room("a");
    let mut head = Head::EMPTY;
    let mut runs = Vec::new();
    for _ in 0..10 {
        let run = bench.run(head, 6, 300);
        head = bench.push(&a, &run).await;
        runs.push(run);
    }
    let all: Vec<&Run> = runs.iter().collect();
    let all = records_of(&all);
    for trimmed in [0_usize, 25] {
        if trimmed > 0 {
            let trim = batch([Entry::Trim(a.clone(), Seq::new(trimmed as u64))]);
            bench
                .put(trim)
                .await
                .expect("the trim lies within the room");
        }
        for _ in 0..2 {
            check_times_and_operations(&bench, &a, &all, trimmed).await;
            bench.reopen().await;
        }
    }
}

async fn check_times_and_operations(bench: &Bench, room: &RoomName, all: &[Record], start: usize) {
    let log = bench.log();
    for record in all {
        for time in [
            record.at.micros() - 1,
            record.at.micros(),
            record.at.micros() + 1,
        ] {
            let time = Timestamp::from_micros(time);
            let found = all
                .iter()
                .rev()
                .find(|r| r.at <= time)
                .map_or(Seq::ZERO, |r| r.seq);
            let expected = if start > 0 && time < all[start - 1].at {
                Err(ReadError::Trimmed {
                    start: Seq::new(start as u64),
                })
            } else {
                Ok(found)
            };
            assert_eq!(log.seq_at(room, time).await, expected, "at {time}");
        }
        if let Some(op_id) = record.draft.op_id {
            let expected = (record.seq > Seq::new(start as u64)).then_some(record.seq);
            assert_eq!(log.find_op(room, op_id).await, Ok(expected));
        }
    }
    assert_eq!(log.find_op(room, op_id(u64::MAX)).await, Ok(None));
}

async fn rooms_come_in_pages(store: &dyn Store) {
    let mut bench = Bench::new(store).await;
    let names: Vec<RoomName> = ["b", "a/x", "a", "ü", "c", "a!"].map(room).to_vec();
    for (i, name) in names.iter().enumerate() {
        let run = bench.run(Head::EMPTY, 1 + i, 20);
        bench.push(name, &run).await;
        if i == 2 {
            bench.reopen().await;
        }
    }
    bench
        .put(batch([Entry::Delete(room("c"))]))
        .await
        .expect("a delete");
    let mut expected: Vec<&str> = vec!["doc/a", "doc/a!", "doc/a/x", "doc/b", "doc/ü"];
    expected.sort_unstable();
    for _ in 0..2 {
        for limit in [1, 2, 100] {
            let mut listed: Vec<String> = Vec::new();
            let mut after = None;
            loop {
                let page = bench
                    .log()
                    .rooms(after.as_ref(), limit)
                    .await
                    .expect("rooms");
                assert!(page.len() <= limit);
                let Some(last) = page.last() else { break };
                after = Some(last.room.clone());
                for row in &page {
                    assert_eq!(row.state, bench.state(&row.room).await);
                    listed.push(row.room.as_str().to_owned());
                }
            }
            assert_eq!(listed, expected, "{limit} at a time");
        }
        assert_eq!(bench.log().rooms(None, 0).await, Ok(vec![]));
        bench.reopen().await;
    }
}

async fn large_records_survive(store: &dyn Store) {
    let mut bench = Bench::new(store).await;
    let a = room("a");
    let mut head = Head::EMPTY;
    let mut runs = Vec::new();
    for (n, len) in [(1, 70_000), (2, 10), (1, 1 << 20), (40, 4000), (1, 3 << 20)] {
        let run = bench.run(head, n, len);
        head = bench.push(&a, &run).await;
        runs.push(run);
    }
    let all: Vec<&Run> = runs.iter().collect();
    let all = records_of(&all);
    for _ in 0..2 {
        assert!(
            bench.records(&a, Seq::ZERO, 64 << 10).await == all,
            "large records come back"
        );
        bench.reopen().await;
    }
}

async fn closed_logs_say_so(store: &dyn Store) {
    let mut bench = Bench::new(store).await;
    let a = room("a");
    let run = bench.run(Head::EMPTY, 1, 10);
    let pending = bench
        .log()
        .append(batch([Entry::Run(a.clone(), run.clone())]));
    bench.log().close().await;
    let handed_over = pending.await;
    assert!(
        !matches!(handed_over, Err(AppendError::Closed)),
        "what was handed over is finished"
    );
    let next = bench.run(run.after(), 1, 10);
    let late = bench
        .log()
        .append(batch([Entry::Run(a.clone(), next)]))
        .await;
    assert!(late.is_err(), "nothing is appended to a closed log");
    assert_eq!(
        bench.log().read(&a, Seq::ZERO, 99).await,
        Err(ReadError::Closed)
    );
    assert_eq!(bench.log().state(&a).await, Err(ReadError::Closed));
    assert_eq!(bench.log().rooms(None, 9).await, Err(ReadError::Closed));
    bench.log().close().await;
}

/// What a room should be: every record it ever had, and where it starts.
#[derive(Debug, Default, Clone)]
struct Model {
    records: Vec<Record>,
    start: usize,
    deleted: bool,
    erased: u64,
}

impl Model {
    fn head(&self) -> Head {
        self.records.last().map_or(Head::EMPTY, Record::head)
    }

    fn state(&self) -> RoomState {
        let start = self
            .start
            .checked_sub(1)
            .map_or(Head::EMPTY, |i| self.records[i].head());
        let kept = &self.records[self.start..];
        RoomState {
            start,
            head: self.head(),
            deleted: self.deleted,
            bytes: kept.iter().map(|record| record.sealed_len() as u64).sum(),
            created: self
                .records
                .first()
                .map_or(Timestamp::from_micros(0), |record| record.at),
            erased: Seq::new(self.erased),
        }
    }
}

/// Random appends, trims, deletes, re-creations and reopenings, compared with a naive model.
///
/// # Panics
/// Naming the seed, when the log and the model part.
pub async fn random_histories_match_the_model(store: &dyn Store, seed: u64, steps: usize) {
    let mut rng = Rng::new(seed);
    let mut bench = Bench::new(store).await;
    let names: Vec<RoomName> = ["a", "b", "b/c", "d"].map(room).to_vec();
    let mut models: BTreeMap<RoomName, Model> = BTreeMap::new();
    for step in 0..steps {
        let before = models.clone();
        let mut entries = Vec::new();
        for _ in 0..=rng.below(4) {
            let name = &names[rng.below(names.len())];
            let model = models.entry(name.clone()).or_default();
            match rng.below(12) {
                0 if model.head() != Head::EMPTY => {
                    model.start = model.records.len();
                    model.deleted = true;
                    model.erased = model.head().seq.get();
                    entries.push(Entry::Delete(name.clone()));
                }
                1 | 2 => {
                    let up_to = rng.below(model.records.len() + 1);
                    model.start = model.start.max(up_to);
                    entries.push(Entry::Trim(name.clone(), Seq::new(up_to as u64)));
                }
                _ => {
                    let len = [5, 60, 700, 9000][rng.below(4)];
                    let run = bench.run(model.head(), 1 + rng.below(9), len);
                    model.records.extend(records_of(&[&run]));
                    model.deleted = false;
                    entries.push(Entry::Run(name.clone(), run));
                }
            }
        }
        if rng.below(10) == 0 {
            // A stale run at the end takes the whole batch with it.
            let stale = bench.run(before.get(&names[0]).map_or(Head::EMPTY, Model::head), 1, 5);
            entries.push(Entry::Run(names[0].clone(), stale.clone()));
            let head = models.get(&names[0]).map_or(Head::EMPTY, Model::head);
            if stale.before() != head {
                let refused = bench.put(batch(entries)).await;
                assert!(
                    matches!(refused, Err(AppendError::Conflict { .. })),
                    "seed {seed}"
                );
                models = before;
                continue;
            }
            let model = models.entry(names[0].clone()).or_default();
            model.records.extend(records_of(&[&stale]));
            model.deleted = false;
        }
        let heads = bench.put(batch(entries.clone())).await;
        let heads = heads.unwrap_or_else(|error| panic!("seed {seed}, step {step}: {error}"));
        assert_eq!(heads.len(), entries.len());
        if rng.below(25) == 0 {
            bench.reopen().await;
        }
        let name = &names[rng.below(names.len())];
        let model = models.entry(name.clone()).or_default();
        check_against(&bench, name, model, &mut rng, seed, step).await;
    }
    for (name, model) in &models {
        check_against(&bench, name, model, &mut rng, seed, steps).await;
    }
    let listed = bench.log().rooms(None, 100).await.expect("rooms");
    let expected: Vec<(RoomName, RoomState)> = models
        .iter()
        .filter(|(_, model)| model.head() != Head::EMPTY && !model.deleted)
        .map(|(name, model)| (name.clone(), model.state()))
        .collect();
    let listed: Vec<(RoomName, RoomState)> = listed
        .into_iter()
        .map(|row| (row.room, row.state))
        .collect();
    assert_eq!(listed, expected, "seed {seed}");
}

async fn check_against(
    bench: &Bench,
    name: &RoomName,
    model: &Model,
    rng: &mut Rng,
    seed: u64,
    step: usize,
) {
    let at = format!("{name}, seed {seed}, step {step}");
    assert_eq!(bench.state(name).await, model.state(), "{at}");
    let kept = model.records.len() - model.start;
    let from = model.start + rng.below(kept + 1);
    let max_bytes = [1, 500, 20_000, 1 << 20][rng.below(4)];
    let read = bench.records(name, Seq::new(from as u64), max_bytes).await;
    assert!(read == model.records[from..], "{at}: records after {from}");
    if model.records.is_empty() {
        return;
    }
    let record = &model.records[rng.below(model.records.len())];
    if let Some(op_id) = record.draft.op_id {
        let expected = (record.seq.get() > model.start as u64).then_some(record.seq);
        assert_eq!(bench.log().find_op(name, op_id).await, Ok(expected), "{at}");
    }
    if record.seq.get() > model.start as u64 {
        let last = model
            .records
            .iter()
            .rev()
            .find(|r| r.at <= record.at)
            .map(|r| r.seq);
        let found = bench.log().seq_at(name, record.at).await;
        assert_eq!(found.ok(), last, "{at}");
    }
}

/// A small, seeded generator (`SplitMix64`, Steele, Lea and Flood 2014): the suite must not depend
/// on anything that could change its histories.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// A generator that always gives the same numbers for one seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`, which is not zero.
    pub const fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}
