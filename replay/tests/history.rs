//! A room as it was: over log, snapshots and archive, against a naive fold of all its records.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use crdt::text;
use object_store::memory::InMemory;
use protocol::record::RunBuilder;
use protocol::{
    Author, Draft, Head, Kind as RecordKind, Record, RoomName, Seq, SessionId, Timestamp,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use replay::{
    Document, FoldError, History, Kind, Moment, OpaqueDocument, Stores, StretchError, TextDocument,
    YjsDocument, document,
};
use storage::archive::{
    Archive, ArchiveError, Archiver, ArchiverOptions, Contents, Options, Retention, Snapshot,
};
use storage::memory::MemoryLog;
use storage::{Batch, Entry, Log, ReadError};
use yrs::{Array, Doc, GetString, Map, ReadTxn, Text, Transact};

const PATIENCE: Duration = Duration::from_secs(60);

/// Two rooms, and everything that was ever written to them.
struct World {
    log: Arc<MemoryLog>,
    near: Archiver,
    far: Archiver,
    history: History,
    rooms: Vec<Room>,
    /// The wall clock, which steps back and forth.
    clock: u64,
}

struct Room {
    name: RoomName,
    kind: Kind,
    head: Head,
    records: Vec<Record>,
    writers: Vec<Doc>,
    typists: Vec<Typist>,
}

fn kind_of(space: &str) -> Kind {
    match space {
        "blob" => Kind::Opaque,
        "text" => Kind::Text,
        _ => Kind::Yjs,
    }
}

impl World {
    async fn new() -> Self {
        Self::keeping(Retention::All).await
    }

    async fn keeping(retention: Retention) -> Self {
        let log = Arc::new(MemoryLog::new());
        let near = Archive::on(Arc::new(InMemory::new()), "near", Options::default());
        let far = Archive::on(Arc::new(InMemory::new()), "far", Options::default());
        let (near, far) = (near.await.unwrap(), far.await.unwrap());
        let stores = Stores {
            log: Arc::clone(&log) as Arc<dyn Log>,
            snapshots: Some(near.clone()),
            archive: Arc::new(far.clone().into()),
            awaits_archive: false,
        };
        let snapshots = near.clone();
        let everything = ArchiverOptions {
            segment_bytes: 4 << 10,
            merge_segments: 3,
            keep_local: Some(Duration::ZERO),
            trim_floor: Arc::new(move |room| {
                let heads = snapshots.snapshots(room);
                heads.last().map_or(Seq::ZERO, |head| head.seq)
            }),
            retention: Arc::new(move |_| retention),
            tidy_every: match retention {
                Retention::All => ArchiverOptions::default().tidy_every,
                Retention::For(_) | Retention::Last(_) => Duration::ZERO,
            },
            ..ArchiverOptions::default()
        };
        let snapshots = ArchiverOptions {
            contents: Contents::SnapshotsOnly,
            ..ArchiverOptions::default()
        };
        let rooms = [
            ("doc/yjs", Kind::Yjs),
            ("blob/opaque", Kind::Opaque),
            ("text/ours", Kind::Text),
        ];
        let rooms = rooms.map(|(name, kind)| Room {
            name: RoomName::parse(name).unwrap(),
            kind,
            head: Head::EMPTY,
            records: Vec::new(),
            writers: (1..=3).map(Doc::with_client_id).collect(),
            typists: typists(),
        });
        let (a, b) = (Arc::clone(&log), Arc::clone(&log));
        Self {
            near: Archiver::start(a, near, snapshots, Arc::new(())),
            far: Archiver::start(b, far, everything, Arc::new(())),
            history: History::new(stores, Arc::new(kind_of)),
            log,
            rooms: rooms.into(),
            clock: 1_700_000_000_000_000,
        }
    }

    /// Appends some records, at times that do what wall clocks do.
    async fn write(&mut self, room: usize, rng: &mut StdRng) {
        let room = &mut self.rooms[room];
        let mut run = RunBuilder::new(room.head);
        for _ in 0..rng.random_range(1..20) {
            self.clock = match rng.random_range(0..20) {
                0 => self.clock - rng.random_range(0..5_000_000),
                1 => self.clock + rng.random_range(0..5_000_000),
                2..6 => self.clock,
                _ => self.clock + rng.random_range(0..50_000),
            };
            let payload = match room.kind {
                Kind::Yjs => edit(&room.writers, rng),
                Kind::Text => type_on(&mut room.typists, rng),
                Kind::Opaque => {
                    let len = rng.random_range(0..200);
                    (0..len).map(|_| rng.random()).collect::<Vec<u8>>().into()
                }
            };
            let first = run.head() == Head::EMPTY;
            let draft = Draft {
                author: Author {
                    user: None,
                    session: SessionId::new(rng.random_range(1..4)),
                    site: None,
                },
                op_id: None,
                base: None,
                kind: if first {
                    RecordKind::Created
                } else {
                    RecordKind::Update
                },
                payload: if first { Bytes::new() } else { payload },
            };
            run.push(Timestamp::from_micros(self.clock), &draft);
            if first && room.kind == Kind::Yjs {
                // That edit was not written, so it is taken as never made.
                room.writers = (1..=3).map(Doc::with_client_id).collect();
            }
            if first {
                room.typists = typists();
            }
        }
        room.head = run.head();
        let run = run.finish().unwrap();
        room.records.extend(run.records().map(Result::unwrap));
        let entries = vec![Entry::Run(room.name.clone(), run)];
        self.log.append(Batch { entries }).await.unwrap();
    }

    /// What the broker does when one is due.
    fn snapshot(&self, room: usize) {
        let room = &self.rooms[room];
        let document = fold(room, room.records.len());
        let snapshot = Snapshot {
            room: room.name.clone(),
            head: room.head,
            kind: room.kind.code(),
            title: None,
            clients: replay::Clients::none(true).encode().into(),
            created: room.records[0].at,
            content: document.encode(),
        };
        assert!(self.near.offer(snapshot.clone()) && self.far.offer(snapshot));
    }

    async fn check(&self, room: usize, rng: &mut StdRng) {
        let room = &self.rooms[room];
        let span = self.history.span(&room.name).await.unwrap();
        assert!(span.from_nothing && span.head == room.head && span.start == Head::EMPTY);
        let (moment, expected) = if rng.random() {
            let seq = rng.random_range(0..=room.records.len() as u64 + 2);
            let moment = Moment::Seq(Seq::new(seq));
            (moment, (seq as usize).min(room.records.len()))
        } else {
            let at = room.records[rng.random_range(0..room.records.len())].at;
            let micros = at.micros() + rng.random_range(0..3) - 1;
            let at = Timestamp::from_micros(micros);
            let expected = room.records.iter().filter(|record| record.at <= at);
            (Moment::At(at), expected.count())
        };
        let head = self.history.resolve(&room.name, &span, moment).await;
        let head = head.unwrap();
        let named = expected
            .checked_sub(1)
            .map(|last| room.records[last].head());
        assert_eq!(head, named.unwrap_or(Head::EMPTY), "{moment}");
        let past = self
            .history
            .document_at(&room.name, head.seq)
            .await
            .unwrap();
        assert_eq!(past.head, head);
        let naive = fold(room, expected);
        assert_eq!(past.document.version(), naive.version());
        // A text's spans may be cut otherwise.
        if room.kind != Kind::Text {
            assert_eq!(past.document.encode(), naive.encode(), "{moment}");
        }
        if room.kind != Kind::Opaque {
            assert_eq!(past.document.json(), naive.json());
            let shown = self.history.shown_at(&room.name, head.seq).await.unwrap();
            assert_eq!(shown.json(), naive.json(), "{moment}");
            assert_eq!(shown.text(), naive.text(), "{moment}");
        }
    }
}

/// Folds the first `count` records, one after the other, with nothing in between.
fn fold(room: &Room, count: usize) -> Box<dyn Document> {
    let mut document: Box<dyn Document> = match room.kind {
        Kind::Yjs => Box::new(YjsDocument::new()),
        Kind::Opaque => Box::new(OpaqueDocument::new()),
        Kind::Text => Box::new(TextDocument::new()),
    };
    for record in &room.records[..count] {
        if record.draft.kind == RecordKind::Update {
            let answer = document.integrate(std::slice::from_ref(&record.draft.payload));
            assert!(answer.iter().all(Result::is_ok), "{answer:?}");
            document.recorded(record.seq);
        }
    }
    document
}

/// One writer edits something, sometimes after having heard of the others.
fn edit(writers: &[Doc], rng: &mut StdRng) -> Bytes {
    let writer = &writers[rng.random_range(0..writers.len())];
    if rng.random_range(0..4) == 0 {
        for other in writers {
            let known = writer.transact().state_vector();
            let update = other.transact().encode_diff_v1(&known);
            let update = yrs::updates::decoder::Decode::decode_v1(&update).unwrap();
            if !std::ptr::eq(writer, other) {
                writer.transact_mut().apply_update(update).unwrap();
            }
        }
    }
    let (text, list, map) = (
        writer.get_or_insert_text("text"),
        writer.get_or_insert_array("list"),
        writer.get_or_insert_map("map"),
    );
    let before = writer.transact().state_vector();
    let mut txn = writer.transact_mut();
    let len = text.get_string(&txn).len() as u32;
    match rng.random_range(0..6) {
        0 if len > 4 => text.remove_range(&mut txn, rng.random_range(0..len - 3), 3),
        1 => drop(list.push_back(&mut txn, rng.random_range(0..100))),
        2 if list.len(&txn) > 0 => list.remove(&mut txn, 0),
        3 => drop(map.insert(&mut txn, format!("k{}", rng.random_range(0..4)), len)),
        _ => {
            let at = rng.random_range(0..=len);
            text.insert(&mut txn, at, "ab");
        }
    }
    // With the deletes of all time, as a client sends them when it comes back.
    drop(txn);
    writer.transact().encode_diff_v1(&before).into()
}

/// Who types into a text, and what of the room's updates it has heard.
struct Typist(text::Text);

fn typists() -> Vec<Typist> {
    let clients = (1..=3).map(text::Client::new);
    clients
        .map(|client| Typist(text::Text::new(client)))
        .collect()
}

/// One typist inserts or deletes, sometimes after having heard of the others.
fn type_on(typists: &mut [Typist], rng: &mut StdRng) -> Bytes {
    let who = rng.random_range(0..typists.len());
    if rng.random_range(0..4) == 0 {
        for other in 0..typists.len() {
            let news = typists[other].0.diff(&typists[who].0.version());
            if other != who {
                typists[who].0.apply(&news, None).unwrap();
            }
        }
    }
    let Typist(text) = &mut typists[who];
    let len = text.len(text::Measure::Chars);
    let at = rng.random_range(0..=len);
    let update = if at < len && rng.random_range(0..3) == 0 {
        let len = rng.random_range(1..=(len - at).min(6));
        text.delete(text::Measure::Chars, at, len)
    } else {
        let word = ["a", "bé\r\n", "long 😀 word "][rng.random_range(0..3)];
        text.insert(text::Measure::Chars, at, word)
    };
    text.encode(&update.unwrap()).into()
}

fn env(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

/// 10,000 moments of random histories; with `WELL_HISTORIES` more.
#[tokio::test]
async fn any_moment_equals_a_naive_fold() {
    let seed = env("WELL_SEED", 4);
    let (mut trimmed, mut checked) = (0, 0);
    for history in 0..env("WELL_HISTORIES", 30) {
        let mut rng = StdRng::seed_from_u64(seed << 32 | history);
        let mut world = World::new().await;
        for _ in 0..rng.random_range(5..30) {
            let room = rng.random_range(0..3);
            match rng.random_range(0..10) {
                0..6 => world.write(room, &mut rng).await,
                6 | 7 if !world.rooms[room].records.is_empty() => world.snapshot(room),
                8 => world.near.flush(PATIENCE).await.unwrap(),
                _ => world.far.flush(PATIENCE).await.unwrap(),
            }
            if !world.rooms[room].records.is_empty() {
                for _ in 0..24 {
                    world.check(room, &mut rng).await;
                    checked += 1;
                }
            }
        }
        for room in &world.rooms {
            let state = world.log.state(&room.name).await.unwrap();
            trimmed += state.start.seq.get();
        }
    }
    eprintln!("{checked} moments, seed {seed}");
    assert!(checked >= 10_000, "{checked} moments");
    assert!(
        trimmed > 0,
        "something was trimmed, or this tests less than it says"
    );
}

/// What is gone is said to be gone, and what is away to be away, by time as by Seq.
#[tokio::test]
async fn a_moment_that_is_gone_or_away_is_never_answered_with_another() {
    let mut rng = StdRng::seed_from_u64(11);
    let mut world = World::keeping(Retention::Last(20)).await;
    for _ in 0..12 {
        world.write(0, &mut rng).await;
        world.snapshot(0);
        world.near.flush(PATIENCE).await.unwrap();
        world.far.flush(PATIENCE).await.unwrap();
    }
    let room = world.rooms[0].name.clone();
    let records = &world.rooms[0].records;
    let kept = world.history.span(&room).await.unwrap();
    let start = kept.start;
    assert!(
        !kept.from_nothing && kept.log_start.seq > start.seq,
        "{kept:?}"
    );
    let away = History::new(
        Stores {
            archive: Arc::default(),
            awaits_archive: true,
            ..world.history.stores().clone()
        },
        Arc::new(kind_of),
    );
    let here = away.span(&room).await.unwrap();
    for (history, span) in [(&world.history, kept), (&away, here)] {
        let gone = |error: &FoldError| match error {
            FoldError::Read(ReadError::Trimmed { start }) => *start == span.start.seq,
            FoldError::Archive(ArchiveError::Store { .. }) => span == here,
            _ => false,
        };
        for record in records {
            let at = history.resolve(&room, &span, Moment::At(record.at)).await;
            let last = records.iter().rfind(|other| other.at <= record.at);
            let last = last.unwrap().head();
            if record.at < span.start.at {
                assert!(at.as_ref().is_err_and(gone), "{} {at:?}", record.seq);
            } else {
                assert_eq!(at, Ok(last));
                let past = history.document_at(&room, last.seq).await.unwrap();
                let naive = fold(&world.rooms[0], last.seq.get() as usize);
                assert_eq!(past.document.encode(), naive.encode());
            }
            // A stretch does not begin with what is not there.
            let from = record.seq.to_string();
            let stretch = history.stretch(&room, &span, Some(&from), None).await;
            match stretch {
                Ok((after, _)) => assert_eq!(after.seq, record.seq.previous()),
                Err(StretchError::Fold(error)) => {
                    assert!(gone(&error) && record.seq <= span.start.seq, "{error}");
                }
                Err(other) => panic!("{other}"),
            }
        }
        let before = Timestamp::from_micros(records[0].at.micros() - 1);
        let at = history.resolve(&room, &span, Moment::At(before)).await;
        assert_eq!(at, Ok(Head::EMPTY), "nothing had happened yet");
        let empty = history.document_at(&room, Seq::ZERO).await.unwrap();
        assert_eq!(empty.document.encode(), fold(&world.rooms[0], 0).encode());
        let whole = history.stretch(&room, &span, None, None).await;
        match whole {
            Ok(whole) => assert_eq!((span, whole), (kept, (start, kept.head))),
            Err(error) => assert!(span == here, "{error}"),
        }
    }
}

#[tokio::test]
async fn loading_over_a_snapshot_goes_on_as_if_every_record_had_been_folded() {
    let mut rng = StdRng::seed_from_u64(7);
    let mut world = World::new().await;
    for _ in 0..30 {
        world.write(0, &mut rng).await;
    }
    world.snapshot(0);
    world.near.flush(PATIENCE).await.unwrap();
    world.far.flush(PATIENCE).await.unwrap();
    for _ in 0..3 {
        world.write(0, &mut rng).await;
    }
    let room = &world.rooms[0];
    // The archiver trims after it has published.
    for _ in 0..100 {
        if world.log.state(&room.name).await.unwrap().start != Head::EMPTY {
            break;
        }
        world.far.flush(PATIENCE).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let span = world.history.span(&room.name).await.unwrap();
    assert!(span.log_start.seq > Seq::ZERO, "trimmed");
    let loaded = world.history.load(&room.name, &span).await.unwrap();
    assert_eq!(loaded.head, room.head);
    assert!(
        loaded.records < room.records.len() as u64 / 2,
        "the short way"
    );
    assert_eq!(
        loaded.document.encode(),
        fold(room, room.records.len()).encode()
    );
}

#[tokio::test]
async fn a_timeline_counts_each_record_once_wherever_it_lies() {
    let mut rng = StdRng::seed_from_u64(10);
    let mut world = World::new().await;
    for round in 0..12 {
        world.write(0, &mut rng).await;
        if round == 8 {
            world.snapshot(0);
            world.near.flush(PATIENCE).await.unwrap();
            world.far.flush(PATIENCE).await.unwrap();
            world.far.flush(PATIENCE).await.unwrap();
        }
    }
    let room = &world.rooms[0];
    let span = world.history.span(&room.name).await.unwrap();
    assert!(
        span.log_start.seq > Seq::ZERO,
        "some of it is only in the archive"
    );
    for (after, up_to) in [(0, room.records.len()), (3, room.records.len() - 5)] {
        let head = |n: usize| {
            n.checked_sub(1)
                .map_or(Head::EMPTY, |n| room.records[n].head())
        };
        let timeline = world
            .history
            .timeline(&room.name, &span, head(after), head(up_to), 7)
            .await
            .unwrap();
        let counted = &room.records[after..up_to];
        let bytes: usize = counted.iter().map(Record::sealed_len).sum();
        assert_eq!(timeline.records, counted.len() as u64);
        assert_eq!(timeline.bytes, bytes as u64);
        let buckets = &timeline.buckets;
        assert!(buckets.len() <= 7);
        assert_eq!(
            buckets.iter().map(|b| b.records).sum::<u64>(),
            timeline.records
        );
        assert_eq!(buckets.iter().map(|b| b.bytes).sum::<u64>(), timeline.bytes);
        let authors = timeline.authors.named.iter().map(|(_, n)| n).sum::<u64>();
        assert_eq!(authors + timeline.authors.more, timeline.records);
        let created = timeline.marks.iter().any(|mark| mark.seq == Seq::FIRST);
        assert_eq!(
            created,
            after == 0,
            "a room event in the archive is a mark too"
        );
    }
}

#[tokio::test]
async fn a_snapshot_of_another_kind_or_of_nonsense_is_gone_without() {
    let mut rng = StdRng::seed_from_u64(8);
    let mut world = World::new().await;
    for _ in 0..5 {
        world.write(0, &mut rng).await;
    }
    let room = &world.rooms[0];
    for (kind, content) in [(2, vec![]), (1, vec![9, 9, 9]), (77, vec![0, 0])] {
        let snapshot = Snapshot {
            room: room.name.clone(),
            head: room.head,
            kind,
            title: None,
            clients: replay::Clients::none(true).encode().into(),
            created: room.records[0].at,
            content: content.into(),
        };
        assert!(world.near.offer(snapshot));
        world.near.flush(PATIENCE).await.unwrap();
    }
    let past = world
        .history
        .document_at(&room.name, Seq::MAX)
        .await
        .unwrap();
    assert_eq!(
        past.document.encode(),
        fold(room, room.records.len()).encode()
    );
    let failed = world.history.snapshot_failed();
    assert!(failed.is_some_and(|failed| failed.contains("doc/yjs")));
}

#[tokio::test]
async fn snapshots_of_another_history_are_not_believed() {
    let mut rng = StdRng::seed_from_u64(9);
    let (mut one, mut other) = (World::new().await, World::new().await);
    for _ in 0..4 {
        other.write(0, &mut rng).await;
    }
    other.snapshot(0);
    other.near.flush(PATIENCE).await.unwrap();
    let there = other.rooms[0].head.seq;
    while one.rooms[0].head.seq <= there {
        one.write(0, &mut rng).await;
    }
    let mixed = Stores {
        snapshots: Some(other.near.archive().clone()),
        ..Stores::of_log(Arc::clone(&one.log) as Arc<dyn Log>)
    };
    let room = &one.rooms[0];
    for up_to in [there, Seq::MAX] {
        let history = History::new(mixed.clone(), Arc::new(kind_of));
        let past = history.document_at(&room.name, up_to).await.unwrap();
        let records = up_to.get().min(room.records.len() as u64);
        let naive = fold(room, records as usize);
        assert_eq!(past.document.encode(), naive.encode());
        assert!(history.snapshot_failed().is_some(), "it was looked at");
    }
}

#[test]
fn an_empty_document_loads() {
    for kind in [Kind::Yjs, Kind::Opaque, Kind::Text] {
        let empty = document::new(kind);
        let loaded = document::load(kind, &empty.encode()).unwrap();
        assert_eq!(loaded.version(), empty.version());
    }
}
