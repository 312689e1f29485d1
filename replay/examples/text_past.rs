//! What it costs to tell what a long text room showed at a random moment: by filter of one document in
//! memory, beside folding its records up to that moment.
//!
//! `cargo run --release -p replay --example text_past [RECORDS]`, 100,000 without: keystrokes of two
//! clients who type, move about and erase.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use crdt::text::{Client, Measure, Text};
use protocol::record::RunBuilder;
use protocol::{Author, Draft, Head, Kind as RecordKind, RoomName, Seq, SessionId, Timestamp};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use replay::{History, Kind};
use storage::memory::MemoryLog;
use storage::{Batch, Entry, Log};

const MOMENTS: usize = 200;

fn main() {
    let records = std::env::args().nth(1);
    let records: u64 = records.map_or(100_000, |text| text.parse().unwrap());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(measure(records));
}

async fn measure(records: u64) {
    let room = RoomName::parse("text/notes").unwrap();
    let log = Arc::new(MemoryLog::new());
    write(&log, &room, records).await;
    let history = History::of_log(Arc::clone(&log) as Arc<dyn Log>, Kind::Text);
    let mut random = StdRng::seed_from_u64(1);
    let mut moments = Vec::new();
    moments.resize_with(MOMENTS, || Seq::new(random.random_range(1..=records)));

    let began = Instant::now();
    let now = history.shown_at(&room, Seq::MAX).await.unwrap();
    let loaded = began.elapsed();
    println!(
        "{records} records, now {} KB of text; the first moment, which folds them all: {loaded:?}",
        now.text().unwrap().len() / 1000
    );
    let mut filtered = Vec::new();
    let mut texts = Vec::new();
    for seq in &moments {
        let began = Instant::now();
        texts.push(history.shown_at(&room, *seq).await.unwrap().text().unwrap());
        filtered.push(began.elapsed());
    }
    let mut folded = Vec::new();
    for (seq, text) in moments.iter().zip(&texts).take(MOMENTS / 10) {
        let began = Instant::now();
        let document = history.fold_all(&room, *seq).await.unwrap().document;
        assert_eq!(&document.text().unwrap(), text);
        folded.push(began.elapsed());
    }
    let (filtered, folded) = (middle(filtered), middle(folded));
    println!(
        "  a random moment: by filter {filtered:?}, by fold {folded:?}: {:.0} times",
        folded.as_secs_f64() / filtered.as_secs_f64()
    );
}

fn middle(mut took: Vec<Duration>) -> Duration {
    took.sort();
    took[took.len() / 2]
}

async fn write(log: &MemoryLog, room: &RoomName, records: u64) {
    let mut random = StdRng::seed_from_u64(2);
    let mut clients = [1, 2].map(|client| Text::new(Client::new(client)));
    let mut places = [0, 0];
    let (mut head, mut at) = (Head::EMPTY, 0);
    while head.seq.get() < records {
        let mut run = RunBuilder::new(head);
        while run.head().seq.get() < records && run.len_bytes() < 128 << 10 {
            let who = usize::from(random.random_range(0..50) == 0);
            let len = clients[who].len(Measure::Chars);
            if random.random_range(0..40) == 0 {
                places[who] = random.random_range(0..=len);
            }
            let place = places[who].min(len);
            let update = if place > 0 && random.random_range(0..5) == 0 {
                places[who] = place - 1;
                clients[who].delete(Measure::Chars, place - 1, 1).unwrap()
            } else {
                places[who] = place + 1;
                clients[who].insert(Measure::Chars, place, "e").unwrap()
            };
            let payload = clients[who].encode(&update);
            clients[1 - who].apply(&payload, None).unwrap();
            at += 80_000;
            let draft = Draft {
                author: Author {
                    user: None,
                    session: SessionId::new(1),
                    site: None,
                },
                op_id: None,
                base: None,
                kind: RecordKind::Update,
                payload: payload.into(),
            };
            run.push(Timestamp::from_micros(at), &draft);
        }
        head = run.head();
        let entries = vec![Entry::Run(room.clone(), run.finish().unwrap())];
        log.append(Batch { entries }).await.unwrap();
    }
}
