//! What it costs to go to a random moment of a long room, whose history lies in an archive in a
//! folder: beside folding it from the start, and beside a room a tenth as long.
//!
//! `cargo run --release -p replay --example past [RECORDS]`, 1,000,000 without. Two rooms are drawn, a
//! tenth as long first. In the pit of *strokes* these are drawn point by point and old ones erased: its
//! document stays at some hundred strokes, and grows by what Yjs remembers of each that was erased. In
//! that of the *trail* points are added at the end of one list and go from its start: of these Yjs
//! remembers one stretch, so that the document stays one size while the history grows.
//!
//! *Cold*: nothing of ours is cached but the list of what there is; the operating system's own cache is
//! warm. *Warm*: after one other moment for every five hundred records, so that both rooms are equally well
//! known. *Little known*: after two hundred, which leave a frame near most moments of the short room and
//! near some of the long one. *Dragged*: the moments of one stretch of ten thousand records, after all of it was
//! dragged over, as by somebody who scrubs.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement")]

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use protocol::record::RunBuilder;
use protocol::{Author, Draft, Head, Kind as RecordKind, RoomName, Seq, SessionId, Timestamp};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use replay::limits::FRAME_EVERY_BYTES;
use replay::{Document, History, Kind, Stores, YjsDocument};
use storage::archive::{Archive, Archiver, ArchiverOptions, Options, Snapshot};
use storage::memory::MemoryLog;
use storage::{Batch, Entry, Log};
use yrs::{Array, ArrayPrelim, Doc, Transact};

/// How many strokes are there at a time, and how many points each has.
const STROKES: usize = 200;
const POINTS: usize = 50;
const MOMENTS: usize = 400;
/// After how many moments a room is little known.
const KNOWN: usize = 200;
/// How many points the trail has.
const TRAIL: u32 = 10_000;
/// How many records somebody scrubs over.
const DRAGGED: u64 = 10_000;

/// What is drawn.
#[derive(Debug, Clone, Copy)]
enum Drawing {
    Strokes,
    Trail,
}

fn main() {
    let records: u64 = std::env::args()
        .nth(1)
        .map_or(1_000_000, |text| text.parse().unwrap());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        for drawing in [Drawing::Strokes, Drawing::Trail] {
            for records in [records / 10, records] {
                measure(drawing, records).await;
            }
        }
    });
}

async fn measure(drawing: Drawing, records: u64) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file://{}", folder.path().display());
    let room = RoomName::parse("pit/k3x9qa").unwrap();
    let log = Arc::new(MemoryLog::new());
    let archive = Archive::open(&url, Options::default()).await.unwrap();
    let snapshots = archive.clone();
    let options = ArchiverOptions {
        keep_local: Some(Duration::ZERO),
        trim_floor: Arc::new(move |room| {
            let heads = snapshots.snapshots(room);
            heads.last().map_or(Seq::ZERO, |head| head.seq)
        }),
        ..ArchiverOptions::default()
    };
    let dynamic = Arc::clone(&log) as Arc<dyn Log>;
    let archiver = Archiver::start(dynamic, archive, options, Arc::new(()));
    let began = Instant::now();
    let sealed = draw(drawing, &log, &archiver, &room, records).await;
    archiver.flush(Duration::from_secs(600)).await.unwrap();
    archiver.flush(Duration::from_secs(600)).await.unwrap();
    let stored = folder_bytes(folder.path());
    println!(
        "{drawing:?}: {records} records, {:.1} MB sealed, written and archived in {:?}; the log compressed alone \
         {:.1} MB, the archive with its snapshots {:.1} MB: {:.2} x",
        sealed.len() as f64 / 1e6,
        began.elapsed(),
        compressed(&sealed) as f64 / 1e6,
        stored as f64 / 1e6,
        stored as f64 / compressed(&sealed) as f64
    );

    let history = fresh(&log, &url).await;
    let began = Instant::now();
    let whole = history.fold_all(&room, Seq::MAX).await.unwrap();
    let fold = began.elapsed();
    println!(
        "  folding all from the start {fold:?}; the document has {:.0} KB",
        whole.document.encode().len() as f64 / 1e3
    );

    let mut random = StdRng::seed_from_u64(1);
    let all = 1..records + 1;
    let mut cold = Vec::new();
    for _ in 0..MOMENTS / 4 {
        let history = fresh(&log, &url).await;
        cold.extend(visit(&history, &room, &all, 1, &mut random).await);
    }
    report("cold", cold, fold);
    for (name, others) in [("little known", KNOWN), ("warm", records as usize / 500)] {
        let history = fresh(&log, &url).await;
        visit(&history, &room, &all, others, &mut random).await;
        let took = visit(&history, &room, &all, MOMENTS, &mut random).await;
        report(name, took, fold);
        println!(
            "  frames take {:.0} MB then",
            history.cached_bytes() as f64 / 1e6
        );
    }
    let history = fresh(&log, &url).await;
    let end = records / 2 + DRAGGED.min(records) / 2;
    let stretch = end - DRAGGED.min(end)..end;
    for seq in stretch.clone().step_by(100) {
        history.document_at(&room, Seq::new(seq)).await.unwrap();
    }
    let dragged = visit(&history, &room, &stretch, MOMENTS, &mut random).await;
    report("dragged", dragged, fold);
}

/// Goes to random moments; how long each took.
async fn visit(
    history: &History,
    room: &RoomName,
    stretch: &Range<u64>,
    moments: usize,
    random: &mut StdRng,
) -> Vec<Duration> {
    let mut took = Vec::with_capacity(moments);
    for _ in 0..moments {
        let seq = Seq::new(random.random_range(stretch.clone()));
        let began = Instant::now();
        history.document_at(room, seq).await.unwrap();
        took.push(began.elapsed());
    }
    took
}

fn report(name: &str, mut took: Vec<Duration>, fold: Duration) {
    took.sort();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
    println!(
        "  {name}: p50 {:?}, p99 {:?}: {:.0} and {:.0} times faster than folding",
        at(0.5),
        at(0.99),
        fold.as_secs_f64() / at(0.5).as_secs_f64(),
        fold.as_secs_f64() / at(0.99).as_secs_f64()
    );
}

async fn fresh(log: &Arc<MemoryLog>, url: &str) -> History {
    let archive = Archive::open(url, Options::default()).await.unwrap();
    let stores = Stores {
        log: Arc::clone(log) as Arc<dyn Log>,
        snapshots: None,
        awaits_archive: false,
        archive: Arc::new(archive.into()),
    };
    History::new(stores, Arc::new(|_| Kind::Yjs))
}

/// Writes the room, with the snapshots that a broker would have taken. Gives its sealed records.
async fn draw(
    drawing: Drawing,
    log: &MemoryLog,
    archiver: &Archiver,
    room: &RoomName,
    records: u64,
) -> Vec<u8> {
    let writer = Doc::with_client_id(7);
    let strokes = writer.get_or_insert_array("strokes");
    let mut document = YjsDocument::new();
    let mut open = VecDeque::new();
    let mut random = StdRng::seed_from_u64(2);
    let (mut head, mut sealed) = (Head::EMPTY, Vec::new());
    let (mut since, mut last) = (0, 0);
    let mut points = POINTS;
    while head.seq.get() < records {
        let mut run = RunBuilder::new(head);
        let mut payloads = Vec::new();
        while run.head().seq.get() < records && run.len_bytes() < 128 << 10 {
            let x = f64::from(random.random_range(0..10_000)) / 10.0;
            let payload = match drawing {
                Drawing::Trail => trail(run.head().seq.get() as u32, x),
                Drawing::Strokes => {
                    let mut txn = writer.transact_mut();
                    if points == POINTS {
                        points = 0;
                        let empty: [f64; 0] = [];
                        open.push_back(strokes.push_back(&mut txn, ArrayPrelim::from(empty)));
                        if open.len() > STROKES {
                            open.pop_front();
                            strokes.remove(&mut txn, 0);
                        }
                    }
                    points += 1;
                    if let Some(stroke) = open.back() {
                        stroke.push_back(&mut txn, x);
                        stroke.push_back(&mut txn, x / 3.0);
                    }
                    txn.encode_update_v1()
                }
            };
            let payload = Bytes::from(payload);
            let draft = Draft {
                author: Author {
                    user: None,
                    session: SessionId::new(1),
                    site: None,
                },
                op_id: None,
                base: None,
                kind: RecordKind::Update,
                payload: payload.clone(),
            };
            payloads.push(payload);
            let at = head.at.micros() + 20_000 * payloads.len() as u64;
            run.push(Timestamp::from_micros(at), &draft);
        }
        for taken in document.integrate(&payloads) {
            assert!(taken.unwrap().adds);
        }
        head = run.head();
        let run = run.finish().unwrap();
        sealed.extend_from_slice(run.bytes());
        since += run.bytes().len();
        let entries = vec![Entry::Run(room.clone(), run)];
        log.append(Batch { entries }).await.unwrap();
        if since >= FRAME_EVERY_BYTES.max(last) {
            let content = document.encode();
            (since, last) = (0, content.len());
            let snapshot = Snapshot {
                room: room.clone(),
                head,
                kind: Kind::Yjs.code(),
                title: None,
                clients: replay::Clients::none(true).encode().into(),
                created: Timestamp::from_micros(20_000),
                content,
            };
            if !archiver.offer(snapshot.clone()) {
                archiver.flush(Duration::from_secs(600)).await.unwrap();
                assert!(archiver.offer(snapshot));
            }
        }
    }
    sealed
}

/// The update of client 7 that adds the `nth` point to the list `p`, from 0, and takes away the one that is too
/// many. Written by hand, as Yjs would: in yrs a list whose start is deleted gets slower with all that was.
fn trail(nth: u32, x: f64) -> Vec<u8> {
    let clock = 2 * nth;
    let mut out = vec![1, 1, 7];
    put(&mut out, clock);
    match clock.checked_sub(1) {
        None => out.extend([8, 1, 1, b'p']),
        Some(before) => {
            out.extend([0x88, 7]);
            put(&mut out, before);
        }
    }
    out.push(2);
    for value in [x, x / 3.0] {
        out.push(123);
        out.extend(value.to_be_bytes());
    }
    match nth.checked_sub(TRAIL) {
        None => out.push(0),
        Some(gone) => {
            out.extend([1, 7, 1]);
            put(&mut out, 2 * gone);
            out.push(2);
        }
    }
    out
}

/// A variable-length number.
fn put(out: &mut Vec<u8>, mut n: u32) {
    while n > 0x7f {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// What the records take as one stream at the archive's own level of compression.
fn compressed(sealed: &[u8]) -> usize {
    let blocks = sealed.chunks(256 << 10);
    blocks
        .map(|block| zstd::bulk::compress(block, 3).unwrap().len())
        .sum()
}

fn folder_bytes(folder: &std::path::Path) -> u64 {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let kind = entry.file_type().unwrap();
        bytes += if kind.is_dir() {
            folder_bytes(&entry.path())
        } else {
            entry.metadata().unwrap().len()
        };
    }
    bytes
}
