//! The core against a real log in memory: what it says, when it says it, and what it never says.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use replay::Kind as DocumentKind;
use storage::memory::MemoryLog;
use storage::{AppendError, Batch, Entry, Log};

use super::*;
use crate::memory::Memory;

const A: SessionId = SessionId::new(1);
const B: SessionId = SessionId::new(2);
const CLIENT: ClientId = ClientId::new(77).unwrap();

/// A core, the log behind it, and everything it said, with the log's head when it said it.
struct Bench {
    core: Core,
    log: Arc<dyn Log>,
    room: RoomName,
    now: Instant,
    micros: u64,
    runs: VecDeque<Run>,
    mails: Vec<(SessionId, Event)>,
    answers: Vec<(u64, Answer)>,
    published: Vec<(Seq, usize)>,
    /// What was published last, as the feed has it.
    updates: Vec<Update>,
    deletions: usize,
    not_stored: usize,
    ended: bool,
}

impl Bench {
    fn new(kind: DocumentKind) -> Self {
        Self::on(Arc::new(MemoryLog::new()), kind)
    }

    fn on(log: Arc<dyn Log>, kind: DocumentKind) -> Self {
        let room = RoomName::parse("doc/x").unwrap();
        let folded = replay::History::of_log(Arc::clone(&log), kind)
            .fold_all(&room, Seq::MAX)
            .now_or_never()
            .expect("a memory log answers at once")
            .unwrap();
        let now = Instant::now();
        let rule = (&SpaceRule::default(), Arc::default());
        Self {
            core: Core::new(
                room.clone(),
                folded,
                (1 << 20, Memory::new(usize::MAX)),
                rule,
                now,
            ),
            log,
            room,
            now,
            micros: 1_000,
            runs: VecDeque::new(),
            mails: Vec::new(),
            answers: Vec::new(),
            published: Vec::new(),
            updates: Vec::new(),
            deletions: 0,
            not_stored: 0,
            ended: false,
        }
    }

    fn submit(&mut self, session: SessionId, payload: &'static [u8]) {
        self.submit_op(session, payload, None);
    }

    fn submit_op(&mut self, session: SessionId, payload: &'static [u8], op: Option<u8>) {
        let submission = Submission {
            payload: Bytes::from_static(payload),
            op_id: op.map(|n| OpId::of_client(CLIENT, u64::from(n))),
            base: None,
        };
        self.core.command(session, Command::Submit(submission));
    }

    fn sync(&mut self, session: SessionId, version: &'static [u8]) {
        let version = Bytes::from_static(version);
        self.core.command(session, Command::Sync { version });
    }

    fn advance(&mut self) {
        self.micros += 10;
        self.core
            .tick(self.now, Timestamp::from_micros(self.micros));
        self.core.advance();
        self.collect();
    }

    fn collect(&mut self) {
        while let Some(output) = self.core.poll() {
            match output {
                Output::Append(run) => self.runs.push_back(run),
                Output::Publish(durable, updates, _) => {
                    let head = self.log.state(&self.room).now_or_never().unwrap().unwrap();
                    assert!(durable.get().seq <= head.head.seq, "durable before visible");
                    self.published.push((durable.get().seq, updates.len()));
                    self.updates = updates;
                }
                Output::Mail(session, mail) => self.mails.push((session, mail.event)),
                Output::Answer(request, answer) => self.answers.push((request, answer)),
                Output::Delete => self.deletions += 1,
                Output::NotStored(submissions) => self.not_stored += submissions,
                Output::Ended => self.ended = true,
                Output::Checked(_)
                | Output::Refused(..)
                | Output::Stale(_)
                | Output::Settled(_) => {}
            }
        }
    }

    /// Lets the log take the oldest run in flight.
    fn commit(&mut self) -> bool {
        let Some(run) = self.runs.pop_front() else {
            return false;
        };
        let entries = vec![Entry::Run(self.room.clone(), run)];
        let appended = self.log.append(Batch { entries }).now_or_never().unwrap();
        let head = appended.map(|appended| appended.heads[0]);
        self.core.committed(head);
        self.collect();
        true
    }

    fn mails_of(&mut self, session: SessionId) -> impl Iterator<Item = &Event> {
        self.collect();
        let mails = self.mails.iter().filter(move |(to, _)| *to == session);
        mails.map(|(_, event)| event)
    }

    fn settled(&self, session: SessionId) -> u64 {
        let counts = self.mails.iter().filter_map(|(to, event)| match event {
            Event::Settled { count } if *to == session => Some(*count),
            _ => None,
        });
        counts.max().unwrap_or(0)
    }

    fn records(&self) -> Vec<protocol::Record> {
        let runs = self
            .log
            .read(&self.room, Seq::ZERO, usize::MAX)
            .now_or_never()
            .unwrap()
            .unwrap();
        let records = runs.iter().flat_map(Run::records);
        records.map(Result::unwrap).collect()
    }
}

#[test]
fn durable_before_visible() {
    let mut bench = Bench::new(DocumentKind::Opaque);
    bench.core.join(A, Role::Editor, None, None);
    bench.core.join(B, Role::Viewer, None, None);
    bench.submit(A, b"one");
    bench.advance();
    bench.sync(B, b"\0");
    bench.advance();
    // The update is in the document and on its way: nobody may know.
    assert_eq!(bench.runs.len(), 1);
    assert_eq!(bench.settled(A), 0);
    assert!(bench.published.is_empty());
    let states = |bench: &Bench| {
        let is_state = |event: &Event| matches!(event, Event::State { .. });
        bench.mails.iter().filter(|(_, e)| is_state(e)).count()
    };
    assert_eq!(states(&bench), 0, "a state holds what is not durable yet");
    bench.commit();
    assert_eq!(bench.settled(A), 1);
    assert_eq!(bench.published, [(Seq::FIRST, 1)]);
    assert_eq!(states(&bench), 1);
}

/// What comes is a part of all that was read with it, which may be much more.
#[test]
fn what_stays_holds_nothing_of_what_it_came_in() {
    for kind in [DocumentKind::Opaque, DocumentKind::Yjs] {
        let mut bench = Bench::new(kind);
        bench.core.join(A, Role::Editor, None, None);
        // A map's entry of the real Yjs.
        let update = [1, 1, 1, 0, 40, 1, 1, 109, 1, 107, 1, 119, 1, 118, 0];
        let read = Bytes::from([&update[..], &[0; 60_000]].concat());
        let submission = Submission {
            payload: read.slice(..update.len()),
            op_id: None,
            base: None,
        };
        bench.core.command(A, Command::Submit(submission));
        bench.advance();
        assert!(read.is_unique(), "{kind:?}: held while it is on its way");
        bench.commit();
        assert_eq!(bench.settled(A), 1);
        assert_eq!(bench.updates[0].payload, update[..]);
        assert!(read.is_unique(), "{kind:?}: held once it is published");
    }
}

#[test]
fn encoded_documents_are_counted_and_made_while_there_is_memory() {
    let mut bench = Bench::new(DocumentKind::Opaque);
    let memory = Memory::new(2_000);
    bench.core.memory = memory.clone();
    bench.core.join(A, Role::Editor, None, None);
    bench.core.join(B, Role::Editor, None, None);
    bench.submit(A, &[7; 1_000]);
    bench.advance();
    bench.commit();
    assert_eq!(memory.taken(), 0, "nobody has asked for it");
    bench.sync(B, b"\0");
    bench.advance();
    let once = memory.taken();
    assert!((1_000..1_500).contains(&once), "{once}");
    // Another is given the same one.
    bench.sync(A, b"\0");
    bench.advance();
    assert_eq!(memory.taken(), once);
    bench.core.state = None;
    assert_eq!(memory.taken(), once, "clients have it");
    bench.mails.clear();
    assert_eq!(memory.taken(), 0);
    let others = memory.share(Owner::Documents);
    others.set(2_000);
    bench.sync(B, b"\0");
    bench.core.read_state(1);
    bench.advance();
    let turned_away = |(to, event): &(SessionId, Event)| {
        *to == B
            && matches!(event, Event::Closed { code: CloseCode::TryLater, reason } if reason == FULL)
    };
    assert!(bench.mails.iter().any(turned_away), "{:?}", bench.mails);
    assert!(
        matches!(bench.answers[..], [(1, Answer::Full)]),
        "{:?}",
        bench.answers
    );
    drop(others);
    bench.sync(A, b"\0");
    bench.advance();
    assert!(
        bench
            .mails_of(A)
            .any(|event| matches!(event, Event::State { .. }))
    );
}

#[test]
fn what_was_already_there_is_acked_only_when_it_is_durable() {
    let mut bench = Bench::new(DocumentKind::Opaque);
    bench.core.join(A, Role::Editor, None, None);
    bench.core.join(B, Role::Editor, None, None);
    bench.submit_op(A, b"x", Some(7));
    bench.advance();
    // Another session sends the same operation while the first is still on its way.
    bench.submit_op(B, b"x", Some(7));
    bench.advance();
    assert_eq!((bench.settled(A), bench.settled(B)), (0, 0));
    bench.commit();
    assert_eq!((bench.settled(A), bench.settled(B)), (1, 1));
    assert_eq!(bench.records().len(), 1);
}

#[test]
fn once_also_after_a_restart() {
    let log: Arc<dyn Log> = Arc::new(MemoryLog::new());
    for _ in 0..2 {
        let mut bench = Bench::on(Arc::clone(&log), DocumentKind::Opaque);
        bench.core.join(A, Role::Editor, None, None);
        bench.submit_op(A, b"x", Some(7));
        bench.submit_op(A, b"x", Some(7));
        bench.submit_op(A, b"y", Some(8));
        bench.advance();
        while bench.commit() {}
        assert_eq!(bench.settled(A), 3);
        assert_eq!(bench.records().len(), 2, "each operation once");
    }
}

#[test]
fn a_stranger_that_may_have_been_forgotten_is_looked_up() {
    let mut bench = Bench::new(DocumentKind::Opaque);
    let command = |client: u64| {
        let client = ClientId::new(client).unwrap();
        Command::Submit(Submission {
            payload: Bytes::from_static(b"p"),
            op_id: Some(OpId::of_client(client, 1)),
            base: None,
        })
    };
    bench.core.join(A, Role::Editor, None, None);
    assert!(
        bench.core.ops_to_find(&[command(1)]).is_empty(),
        "surely new"
    );
    for n in 1..=replay::limits::CLIENT_RUNS as u64 + 1 {
        bench.core.command(A, command(n));
    }
    bench.advance();
    while bench.commit() {}
    let one = command(1);
    let to_find = bench.core.ops_to_find(std::slice::from_ref(&one));
    assert_eq!(to_find.len(), 1, "it has been forgotten");
    bench.core.learn_op(to_find[0], Seq::FIRST);
    let before = bench.records().len();
    bench.core.command(A, one);
    bench.advance();
    while bench.commit() {}
    assert_eq!(bench.records().len(), before);
}

/// What a session was told of its operations.
fn placed(bench: &Bench, session: SessionId) -> Vec<(u64, u64, u64, bool)> {
    let told = bench.mails.iter().filter(|(to, _)| *to == session);
    let told = told.filter_map(|(_, event)| match event {
        Event::Placed(it) => Some((it.op, it.seq.get(), it.count, it.at.is_some())),
        _ => None,
    });
    told.collect()
}

#[test]
fn a_client_hears_where_its_operations_are_and_again_after_a_restart() {
    let log: Arc<dyn Log> = Arc::new(MemoryLog::new());
    let mut bench = Bench::on(Arc::clone(&log), DocumentKind::Opaque);
    bench.core.join(A, Role::Editor, None, None);
    bench.core.join(B, Role::Editor, None, None);
    for op in 1..=3 {
        bench.submit_op(A, b"x", Some(op));
    }
    bench.submit(B, b"y");
    bench.submit_op(A, b"x", Some(4));
    bench.advance();
    assert!(placed(&bench, A).is_empty(), "durable before visible");
    while bench.commit() {}
    assert_eq!(placed(&bench, A), [(1, 1, 3, true), (4, 5, 1, true)]);
    assert!(placed(&bench, B).is_empty());

    let mut again = Bench::on(log, DocumentKind::Opaque);
    again.core.join(A, Role::Editor, None, None);
    again.core.enter(A, CLIENT, Missing::Document, None);
    let entered = again.mails_of(A).find_map(|event| match event {
        Event::Entered { head, last_op, .. } => Some((head.get(), *last_op)),
        _ => None,
    });
    assert_eq!(entered, Some((5, 4)));
    for op in [3, 4, 5] {
        again.submit_op(A, b"x", Some(op));
    }
    again.advance();
    while again.commit() {}
    assert_eq!(
        placed(&again, A),
        [(3, 3, 1, false), (4, 5, 1, false), (5, 6, 1, true)]
    );
    assert_eq!(again.records().len(), 6);
}

#[test]
fn operations_enter_the_log_in_their_client_s_order() {
    let mut bench = Bench::new(DocumentKind::Opaque);
    bench.core.join(A, Role::Editor, None, None);
    for op in [1, 4, 3, 5] {
        bench.submit_op(A, b"x", Some(op));
    }
    bench.advance();
    while bench.commit() {}
    let refused = bench.mails_of(A).find_map(|event| match event {
        Event::Refused { refusal, .. } => Some(refusal.clone()),
        _ => None,
    });
    assert_eq!(refused, Some(Refusal::OutOfOrder { op: 3, last: 4 }));
    let ops: Vec<u64> = bench
        .records()
        .iter()
        .filter_map(|r| Some(r.draft.op_id?.number()))
        .collect();
    assert_eq!(ops, [1, 4], "and nothing after the refusal");
}

#[test]
fn an_operation_that_added_nothing_may_come_again_after_later_ones() {
    // Yjs's own encodings of two map entries, of clients 1 and 2.
    const FIRST: &[u8] = &[1, 1, 1, 0, 40, 1, 1, b'm', 1, b'k', 1, 119, 1, b'v', 0];
    const SECOND: &[u8] = &[1, 1, 2, 0, 40, 1, 1, b'm', 1, b'l', 1, 119, 1, b'v', 0];
    let mut bench = Bench::new(DocumentKind::Yjs);
    bench.core.join(A, Role::Editor, None, None);
    for (op, update) in [(1, FIRST), (2, FIRST), (3, SECOND), (2, FIRST), (3, SECOND)] {
        bench.submit_op(A, update, Some(op));
    }
    bench.advance();
    while bench.commit() {}
    assert_eq!(bench.settled(A), 5, "none is refused");
    assert_eq!(bench.records().len(), 2);
}

#[test]
fn seqs_have_no_gaps_and_times_never_go_back() {
    let mut bench = Bench::new(DocumentKind::Opaque);
    bench.core.join(A, Role::Editor, None, None);
    for step in 0..20 {
        bench.submit(A, b"u");
        bench.submit(A, b"v");
        // The wall clock steps back every third time.
        bench.micros = if step % 3 == 0 { 5 } else { bench.micros };
        bench.advance();
        if step % 2 == 0 {
            bench.commit();
        }
    }
    while bench.commit() {}
    let records = bench.records();
    assert_eq!(records.len(), 40);
    for (n, pair) in records.windows(2).enumerate() {
        assert_eq!(pair[0].seq, Seq::new(n as u64 + 1));
        assert!(pair[0].at <= pair[1].at);
    }
}

#[test]
fn at_most_two_runs_are_on_their_way_and_the_rest_gathers() {
    let mut bench = Bench::new(DocumentKind::Opaque);
    bench.core.join(A, Role::Editor, None, None);
    for _ in 0..10 {
        bench.submit(A, b"u");
        bench.advance();
    }
    assert_eq!(bench.runs.len(), ROOM_COMMITS_IN_FLIGHT);
    bench.commit();
    assert_eq!(bench.runs.back().unwrap().len(), 8, "one run for what came");
    while bench.commit() {}
    assert_eq!(bench.settled(A), 10);
}

#[test]
fn a_failed_commit_acks_nobody_and_ends_the_room() {
    let mut bench = Bench::new(DocumentKind::Opaque);
    bench.core.join(A, Role::Editor, None, None);
    bench.submit(A, b"u");
    bench.advance();
    bench.submit(A, b"v");
    bench.advance();
    let full = AppendError::NotWritten("disk full".into());
    bench.core.committed(Err(full));
    bench.collect();
    assert!(bench.ended);
    assert_eq!(bench.settled(A), 0);
    assert!(bench.published.is_empty());
    assert_eq!(bench.not_stored, 2);
    let (_, last) = bench.mails.last().unwrap();
    assert!(
        matches!(
            last,
            Event::Closed {
                code: CloseCode::TryLater,
                ..
            }
        ),
        "{last:?}"
    );
    // The second run's result comes too late to matter.
    bench.runs.clear();
    bench.core.committed(Err(AppendError::Closed));
    bench.collect();
    assert_eq!(bench.settled(A), 0);
}

#[test]
fn ending_settles_what_is_on_its_way_first() {
    let mut bench = Bench::new(DocumentKind::Opaque);
    bench.core.join(A, Role::Editor, None, None);
    bench.submit(A, b"u");
    bench.core.end(CloseCode::Restart, "restart");
    bench.submit(A, b"too late");
    bench.advance();
    assert!(!bench.ended);
    while bench.commit() {}
    assert!(bench.ended);
    let events: Vec<&Event> = bench.mails.iter().map(|(_, event)| event).collect();
    assert!(matches!(
        events[events.len() - 2],
        Event::Settled { count: 1 }
    ));
    assert!(matches!(
        events[events.len() - 1],
        Event::Closed {
            code: CloseCode::Restart,
            ..
        }
    ));
    assert_eq!(bench.records().len(), 1);
    // Whoever comes now is told the same.
    bench.core.join(B, Role::Editor, None, None);
    bench.collect();
    assert!(matches!(
        bench.mails.last(),
        Some((B, Event::Closed { .. }))
    ));
}

#[test]
fn a_deletion_is_durable_before_anyone_hears_of_it() {
    for (result, end) in [
        (Ok(()), CloseCode::NoRoom),
        (Err("disk full".to_owned()), CloseCode::TryLater),
    ] {
        let mut bench = Bench::new(DocumentKind::Opaque);
        bench.core.join(A, Role::Editor, None, None);
        bench.submit(A, b"u");
        bench
            .core
            .delete(CloseCode::NoRoom, "the room has been deleted");
        bench.submit(A, b"too late");
        bench.advance();
        assert_eq!(bench.deletions, 0, "a run is on its way");
        while bench.commit() {}
        bench
            .core
            .delete(CloseCode::NoRoom, "the room has been deleted");
        bench.core.join(B, Role::Editor, None, None);
        bench.advance();
        assert_eq!((bench.deletions, bench.ended), (1, false));
        let is_closed = |event: &Event| matches!(event, Event::Closed { .. });
        assert!(!bench.mails.iter().any(|(_, event)| is_closed(event)));
        bench.core.deleted(result);
        bench.collect();
        assert!(bench.ended);
        for session in [A, B] {
            let mut to = bench.mails.iter().filter(|(to, _)| *to == session);
            let last = to.next_back().map(|(_, event)| event);
            assert!(
                matches!(last, Some(Event::Closed { code, .. }) if *code == end),
                "{session}: {last:?}"
            );
        }
        assert_eq!(bench.settled(A), 1);
    }
}

/// `text.insert(0, "a")` by client 1, and the same with "b" after it, as Yjs encodes them.
const FIRST: &[u8] = &[1, 1, 1, 0, 4, 1, 1, b't', 1, b'a', 0];
const SECOND: &[u8] = &[1, 1, 1, 1, 0x84, 1, 0, 1, b'b', 0];

#[test]
fn a_viewer_never_writes() {
    let mut bench = Bench::new(DocumentKind::Yjs);
    bench.core.join(A, Role::Editor, None, None);
    bench.core.join(B, Role::Viewer, None, None);
    bench.submit(A, FIRST);
    bench.advance();
    while bench.commit() {}
    bench.submit(B, FIRST);
    bench.submit(B, SECOND);
    // It leaves at once: what it submitted is still a viewer's.
    bench.core.leave(B);
    bench.advance();
    assert!(bench.runs.is_empty());
    assert_eq!(bench.records().len(), 1);
    let refused = |event: &Event| {
        matches!(
            event,
            Event::Refused {
                submission: 2,
                refusal: Refusal::ReadOnly
            }
        )
    };
    assert!(
        bench
            .mails
            .iter()
            .any(|(to, event)| *to == B && refused(event))
    );
}

#[test]
fn nothing_malformed_enters_the_log() {
    let mut bench = Bench::new(DocumentKind::Yjs);
    bench.core.join(A, Role::Editor, None, None);
    bench.core.join(B, Role::Editor, None, None);
    bench.submit(A, &[1, 1, 1, 0, 4, 1, 1]);
    bench.submit(B, FIRST);
    bench.submit(A, SECOND);
    bench.advance();
    while bench.commit() {}
    let payloads: Vec<Bytes> = bench
        .records()
        .into_iter()
        .map(|r| r.draft.payload)
        .collect();
    assert!(
        payloads.contains(&Bytes::from_static(FIRST)),
        "others go on"
    );
    assert!(payloads.iter().all(|p| p == FIRST || p == SECOND));
    assert_eq!(bench.settled(A), 0, "nothing is acked after a refusal");
    assert_eq!(bench.settled(B), 1);
    bench.submit(A, SECOND);
    bench.advance();
    assert_eq!(bench.settled(A), 0);
}

#[test]
fn a_document_over_its_limit_takes_no_more_and_still_reads() {
    let mut bench = Bench::new(DocumentKind::Opaque);
    bench.core.document_limit = 1_000;
    bench.core.join(A, Role::Editor, None, None);
    static LARGE: [u8; 900] = [1; 900];
    bench.submit(A, &LARGE);
    bench.advance();
    while bench.commit() {}
    bench.submit(A, &LARGE);
    bench.sync(A, b"\0");
    bench.advance();
    assert_eq!(bench.records().len(), 1);
    let too_large = |event: &Event| {
        matches!(
            event,
            Event::Refused {
                refusal: Refusal::TooLarge {
                    what: "the document",
                    ..
                },
                ..
            }
        )
    };
    assert!(bench.mails.iter().any(|(_, event)| too_large(event)));
    assert!(
        bench
            .mails
            .iter()
            .any(|(_, event)| matches!(event, Event::State { .. }))
    );
}

/// What becomes of an update of so many bytes: settled, or refused for what the document would take.
fn outcome(bench: &mut Bench, session: SessionId, payload: Bytes) -> Option<(usize, usize)> {
    bench.core.join(session, Role::Editor, None, None);
    let submission = Submission {
        payload,
        op_id: None,
        base: None,
    };
    bench.core.command(session, Command::Submit(submission));
    bench.advance();
    while bench.commit() {}
    bench.mails_of(session).find_map(|event| match event {
        Event::Refused {
            refusal: Refusal::TooLarge { bytes, limit, .. },
            ..
        } => Some((*bytes, *limit)),
        _ => None,
    })
}

/// An update that inserts `length` letters at the end of the text of `doc`.
fn typed(doc: &yrs::Doc, length: usize) -> Bytes {
    use yrs::{ReadTxn, Text, Transact};
    let text = doc.get_or_insert_text("t");
    let before = doc.transact().state_vector();
    text.push(&mut doc.transact_mut(), &"a".repeat(length));
    doc.transact().encode_diff_v1(&before).into()
}

/// A rule that bounds the document.
fn at_most(bytes: usize) -> SpaceRule {
    SpaceRule {
        max_document: Some(bytes),
        ..SpaceRule::default()
    }
}

#[test]
fn binary_content_is_refused_where_a_space_denies_it() {
    use yrs::{Any, Array, ArrayPrelim, Map, MapPrelim, ReadTxn, Transact};
    let mut bench = Bench::new(DocumentKind::Yjs);
    let deny = SpaceRule {
        denies_binary: true,
        ..SpaceRule::default()
    };
    bench.core.set_rule(&deny);
    let doc = yrs::Doc::with_client_id(1);
    let strokes = doc.get_or_insert_array("strokes");
    let update = |change: &dyn Fn(&mut yrs::TransactionMut<'_>)| -> Bytes {
        let before = doc.transact().state_vector();
        change(&mut doc.transact_mut());
        doc.transact().encode_diff_v1(&before).into()
    };
    let draws = update(&|txn| {
        for _ in 0..4 {
            strokes.push_back(txn, MapPrelim::from([("colour", "black")]));
        }
        strokes.push_back(txn, ArrayPrelim::from([1, 2]));
    });
    let puts = update(&|txn| {
        let Some(yrs::Out::YMap(stroke)) = strokes.get(txn, 3) else {
            panic!("a stroke");
        };
        stroke.insert(txn, "image", Any::from(vec![0_u8; 9]));
    });
    assert_eq!(outcome(&mut bench, A, draws), None);
    assert_eq!(outcome(&mut bench, B, puts.clone()), None);
    let refused = bench.mails_of(B).find_map(|event| match event {
        Event::Refused { refusal, .. } => Some(refusal.clone()),
        _ => None,
    });
    let path = "strokes[3].image".to_owned();
    assert_eq!(refused, Some(Refusal::Binary { path }));
    // The server's own hand is not another's.
    bench
        .core
        .write(1, vec![(Kind::Update, puts.clone())], None);
    bench.collect();
    let refused =
        matches!(&bench.answers[..], [(1, Answer::Refused(why))] if why.contains("[3].image"));
    assert!(refused, "{:?}", bench.answers);
    // Where it is allowed it comes in, and what is there is not put in again.
    bench.core.set_rule(&SpaceRule::default());
    bench
        .core
        .write(2, vec![(Kind::Update, puts.clone())], None);
    bench.core.set_rule(&deny);
    assert_eq!(bench.core.document.binary(&puts), None);
    assert_eq!(
        bench.core.document.binary(&bench.core.document.encode()),
        None
    );
}

#[test]
fn a_month_has_so_many_records_and_what_adds_nothing_takes_none() {
    let mut bench = Bench::new(DocumentKind::Yjs);
    let month = |records| SpaceRule {
        monthly: Monthly {
            records: Some(records),
            bytes: None,
        },
        ..SpaceRule::default()
    };
    bench.core.set_rule(&month(2));
    let taken = |bench: &Bench| bench.core.own.account.taken(bench.core.at).0;
    let doc = yrs::Doc::with_client_id(1);
    let updates: Vec<Bytes> = (0..4).map(|_| typed(&doc, 9)).collect();
    let spent = |bench: &mut Bench, session| {
        let spent = |event: &Event| match event {
            Event::Refused { refusal, .. } => refusal.close_code(),
            _ => None,
        };
        bench.mails_of(session).find_map(spent)
    };
    assert_eq!(outcome(&mut bench, A, updates[0].clone()), None);
    assert_eq!(outcome(&mut bench, A, updates[0].clone()), None);
    assert_eq!(taken(&bench), 1, "the same again adds nothing");
    assert_eq!(outcome(&mut bench, A, Bytes::from_static(b"?")), None);
    assert_eq!(
        (spent(&mut bench, A), taken(&bench)),
        (Some(CloseCode::BadMessage), 1)
    );
    assert_eq!(outcome(&mut bench, B, updates[1].clone()), None);
    assert_eq!(spent(&mut bench, B), None);
    let known = bench.core.document.encode();
    let other = SessionId::new(5_000);
    assert_eq!(outcome(&mut bench, other, known), None);
    assert_eq!(spent(&mut bench, other), None, "who comes back reads on");
    assert_eq!(outcome(&mut bench, B, updates[2].clone()), None);
    assert_eq!(
        (spent(&mut bench, B), taken(&bench)),
        (Some(CloseCode::OverQuota), 2)
    );
    // So is what the server itself writes, for whoever asked for it.
    let write = vec![(Kind::Update, updates[2].clone())];
    bench.core.write(1, write.clone(), None);
    bench.collect();
    assert!(matches!(bench.answers[..], [(1, Answer::Spent(_))]));
    // A tenant has an account of its own, and its token may say how much there is.
    let tenant = Allowance {
        account: Arc::default(),
        own: Monthly {
            records: Some(1),
            bytes: None,
        },
    };
    bench.core.write(2, write, Some(&tenant));
    bench.advance();
    while bench.commit() {}
    assert!(matches!(bench.answers[1..], [(2, Answer::Recorded(_))]));
    assert_eq!(
        (taken(&bench), tenant.account.taken(bench.core.at).0),
        (2, 1)
    );
    let third = SessionId::new(6_000);
    bench.core.join(third, Role::Editor, None, Some(tenant));
    let submission = Submission {
        payload: updates[3].clone(),
        op_id: None,
        base: None,
    };
    bench.core.command(third, Command::Submit(submission));
    bench.advance();
    assert_eq!(spent(&mut bench, third), Some(CloseCode::OverQuota));
    // The next month begins for everybody.
    bench.micros = bench.core.at.month_end().micros();
    let fourth = SessionId::new(7_000);
    assert_eq!(outcome(&mut bench, fourth, updates[3].clone()), None);
    assert_eq!((spent(&mut bench, fourth), taken(&bench)), (None, 1));
}

#[test]
fn an_encoding_is_filled_to_its_limit_and_not_past_it() {
    const LIMIT: usize = 20_000;
    let mut bench = Bench::new(DocumentKind::Yjs);
    bench.core.set_rule(&at_most(LIMIT));
    let doc = yrs::Doc::with_client_id(1);
    let mut refused = None;
    for nth in 0..1_000 {
        let update = typed(&doc, 97);
        let before = bench.core.document.encode().len();
        refused = outcome(&mut bench, SessionId::new(nth + 1), update.clone());
        assert!(bench.core.document.encode().len() <= LIMIT);
        if let Some((bytes, limit)) = refused {
            assert_eq!((bytes, limit), (before + update.len(), LIMIT));
            assert!(bytes > LIMIT, "{bytes}");
            break;
        }
    }
    assert!(refused.is_some(), "it is never full");
    // What is there already is no more, and a member that comes back is not turned away for it.
    let known = bench.core.document.encode();
    assert_eq!(outcome(&mut bench, A, known.clone()), None);
    let other = SessionId::new(5_000);
    bench.core.set_rule(&at_most(LIMIT + 100_000));
    let more = typed(&yrs::Doc::with_client_id(2), 500);
    assert_eq!(
        outcome(&mut bench, other, more),
        None,
        "the limit has moved"
    );
    assert!(bench.core.document.encode().len() > known.len());
}

#[test]
fn cutting_runs_to_pieces_does_not_slip_past_the_limit() {
    const LIMIT: usize = 20_000;
    let mut bench = Bench::new(DocumentKind::Yjs);
    bench.core.set_rule(&at_most(LIMIT));
    let all = typed(&yrs::Doc::with_client_id(1), 6_000);
    assert_eq!(outcome(&mut bench, A, all), None);
    let mut largest = 0;
    let mut sent = 0;
    let refused = (1..1_500).find(|nth| {
        let update = deletion(2 * nth + 1);
        sent += update.len();
        largest = largest.max(update.len());
        outcome(&mut bench, SessionId::new(nth + 1), update).is_some()
    });
    assert!(refused.is_some(), "it is never full");
    assert!(6_000 + sent < LIMIT, "its pieces are what fills it");
    let size = bench.core.document.encode().len();
    // The last one that was taken may have made more of itself than it had.
    assert!(size <= LIMIT + 16 * largest, "{size}");
}

/// An update that deletes the letter of client 1 at `clock` and nothing else.
fn deletion(clock: u64) -> Bytes {
    assert!(clock < 1 << 14);
    let clock = [(clock & 0x7f) as u8 | 0x80, (clock >> 7) as u8];
    // No structs; a delete set of one client, client 1, with one range, of one.
    [&[0, 1, 1, 1], &clock[..], &[1]].concat().into()
}

#[test]
fn one_encoding_serves_everyone_who_comes_within_a_while() {
    let mut bench = Bench::new(DocumentKind::Opaque);
    bench.core.join(A, Role::Editor, None, None);
    static LARGE: [u8; 100_000] = [1; 100_000];
    bench.submit(A, &LARGE);
    bench.advance();
    while bench.commit() {}
    let state = |bench: &mut Bench| {
        bench.core.catch_up(A);
        bench.collect();
        match bench.mails.last() {
            Some((A, Event::State { payload, .. })) => (payload.as_ptr(), payload.len()),
            other => panic!("{other:?}"),
        }
    };
    let first = state(&mut bench);
    bench.submit(A, b"a little more");
    bench.advance();
    while bench.commit() {}
    assert_eq!(state(&mut bench), first, "the feed holds what came after");
    bench.core.feed_cleared();
    let later = state(&mut bench);
    assert!(later.1 > first.1, "the feed no longer does");
    bench.core.tick(
        bench.now + Duration::from_secs(60),
        Timestamp::from_micros(1),
    );
    bench.core.expire();
    assert!(bench.core.state.is_none());
}

#[test]
fn a_snapshot_is_of_the_moment_it_is_asked_for() {
    let mut bench = Bench::new(DocumentKind::Opaque);
    bench.core.join(A, Role::Editor, None, None);
    for request in 1..4 {
        bench.submit(A, b"a little more");
        bench.advance();
        while bench.commit() {}
        bench.core.read_state(request);
        bench.collect();
        match bench.answers.last() {
            Some((_, Answer::State(head, _))) => assert_eq!(head.seq, Seq::new(request)),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn whoever_joins_during_a_commit_hears_that_first() {
    let mut bench = Bench::new(DocumentKind::Opaque);
    bench.core.join(A, Role::Editor, None, None);
    bench.sync(A, b"\0");
    bench.submit(A, b"on its way");
    bench.advance();
    bench.core.join(B, Role::Editor, None, None);
    bench.sync(B, b"\0");
    bench.advance();
    while bench.commit() {}
    let mine = bench.mails.iter().filter(|(to, _)| *to == B);
    let events: Vec<&Event> = mine.map(|(_, event)| event).collect();
    assert!(
        matches!(events[..], [Event::Joined { .. }, Event::State { .. }]),
        "{events:?}"
    );
}

#[test]
fn bytes_on_their_way_are_counted_until_they_are_settled() {
    let mut bench = Bench::new(DocumentKind::Yjs);
    bench.core.join(A, Role::Editor, None, None);
    bench.submit(A, FIRST);
    bench.submit(A, FIRST);
    bench.submit(A, &[9]);
    bench.advance();
    let first = weigh(&Bytes::from_static(FIRST));
    let malformed = weigh(&Bytes::from_static(&[9]));
    assert_eq!(
        bench.core.take_released(),
        first + malformed,
        "known, malformed"
    );
    while bench.commit() {}
    assert_eq!(bench.core.take_released(), first);
}

/// Random sessions, submissions, commits, failures and restarts, against a list of what was acked.
#[test]
fn whatever_happens_what_was_acked_is_in_the_log_once_and_in_order() {
    for seed in 0..200 {
        let mut random = StdRng::seed_from_u64(seed);
        let log: Arc<dyn Log> = Arc::new(MemoryLog::new());
        let mut acked: Vec<u32> = Vec::new();
        let mut next = 0_u32;
        for _life in 0..3 {
            let mut bench = Bench::on(Arc::clone(&log), DocumentKind::Opaque);
            let mut sent: HashMap<SessionId, Vec<u32>> = HashMap::new();
            for session in [A, B] {
                bench.core.join(session, Role::Editor, None, None);
            }
            for _ in 0..random.random_range(1..60) {
                match random.random_range(0..10) {
                    0..5 => {
                        let session = if random.random() { A } else { B };
                        next += 1;
                        sent.entry(session).or_default().push(next);
                        let submission = Submission {
                            payload: Bytes::copy_from_slice(&next.to_le_bytes()),
                            op_id: None,
                            base: None,
                        };
                        bench.core.command(session, Command::Submit(submission));
                    }
                    5..7 => bench.advance(),
                    7..9 => {
                        bench.commit();
                    }
                    _ if random.random_bool(0.05) => {
                        let unwritten = AppendError::NotWritten("planted".into());
                        if !bench.runs.is_empty() {
                            bench.runs.clear();
                            bench.core.committed(Err(unwritten));
                            bench.collect();
                        }
                    }
                    _ => {}
                }
            }
            for (session, sent) in &sent {
                acked.extend(&sent[..bench.settled(*session) as usize]);
            }
            let stored: Vec<u32> = bench
                .records()
                .iter()
                .map(|record| u32::from_le_bytes(record.draft.payload[..].try_into().unwrap()))
                .collect();
            for n in &acked {
                let times = stored.iter().filter(|stored| *stored == n).count();
                assert_eq!(times, 1, "seed {seed}: {n} was acked");
            }
            for sent in sent.values() {
                let mine: Vec<&u32> = stored.iter().filter(|n| sent.contains(n)).collect();
                assert!(mine.is_sorted(), "seed {seed}: a session's order is kept");
            }
        }
    }
}

#[test]
fn marked_updates_are_known_by_their_places_and_a_run_by_its_first() {
    use observatory::trace::{Mark, Marked, Parent, Why};
    let mut bench = Bench::new(DocumentKind::Opaque);
    bench.core.join(A, Role::Editor, None, None);
    bench.core.join(B, Role::Viewer, None, None);
    let parent = Parent::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    let why = Why::Caller;
    let mark = Mark { why, parent };
    let now = bench.now;
    let came = |first, count| inbox::Came {
        at: now,
        marked: Some(Box::new(Marked {
            first,
            step: 1,
            count,
            mark,
        })),
    };
    bench.core.came(came(1, 2));
    for payload in [b"one", b"two", b"six", b"ten"] {
        bench.submit(A, payload);
    }
    bench.core.advance();
    let checked = now + Duration::from_millis(3);
    bench.core.note_checked(checked);
    let run = bench.core.oldest_lives().unwrap();
    let first = run.first;
    assert_eq!(
        (first.session, first.number, first.seq),
        (A, 1, Some(Seq::new(1)))
    );
    let told = run.told(checked, false);
    let places: Vec<_> = told.iter().map(|(it, _)| (it.number, it.seq)).collect();
    assert_eq!(places, [(2, Some(Seq::new(2))), (3, Some(Seq::new(3)))]);
    assert!(
        told.iter()
            .all(|(it, by)| *by == mark && it.checked == Some(checked))
    );
    // A refusal says whether it is traced.
    while bench.core.poll().is_some() {}
    bench.core.came(came(0, 1));
    for _ in 0..2 {
        bench.submit(B, b"not by a viewer");
    }
    bench.core.advance();
    let mut refused = Vec::new();
    while let Some(output) = bench.core.poll() {
        if let Output::Refused(journey, mark, _) = output {
            refused.push((journey.session, journey.seq, mark.map(|it| *it)));
        }
    }
    assert_eq!(refused, [(B, None, Some(mark)), (B, None, None)]);
}
