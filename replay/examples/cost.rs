//! What a Yjs document costs, beside yrs doing the same in the same run.
//!
//! ```text
//! cargo run --release -p replay --example cost
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench prints and may stop"
)]

use std::hint::black_box;
use std::time::Instant;

use bytes::Bytes;
use protocol::record::RunBuilder;
use protocol::{Author, Draft, Head, Kind, RoomName, SessionId, Timestamp};
use replay::{Document, YjsDocument};
use storage::memory::MemoryLog;
use storage::{Batch, Entry, Log};
use yrs::updates::decoder::Decode;
use yrs::{Array, Doc, Map, ReadTxn, StateVector, Text, Transact, Update};

fn main() {
    println!("ns an update             ours at 1      8     32   yrs at 1      8     32");
    for (name, updates) in [
        ("text, 50 bytes at the end", typing(100_000, 50)),
        ("text, 1 byte at the end", typing(100_000, 1)),
        ("text, 1 byte anywhere", scattered(30_000)),
        ("map, 100 keys", keys(100_000)),
        ("array, pushes", pushes(100_000)),
    ] {
        let mut line = format!("{name:<26}");
        for batch in [1, 8, 32] {
            let ns = per_update(&updates, batch, ours);
            line += &format!("{ns:>7.0}");
        }
        line += "    ";
        for batch in [1, 8, 32] {
            let ns = per_update(&updates, batch, theirs);
            line += &format!("{ns:>7.0}");
        }
        println!("{line}");
    }
    for (updates, bytes) in [(100_000, 50), (250_000, 20)] {
        large(&typing(updates, bytes));
    }
    println!("strokes: 2,000 of 50 points");
    large(&strokes(2_000, 50));
    for (what, encoding) in [
        ("text, typed anywhere", encoded(&scattered(16_000))),
        ("strokes: 4,000 of 50 points", encoded(&strokes(4_000, 50))),
        ("two clients that took turns", turns(500_000)),
    ] {
        woven(what, &encoding);
    }
}

fn encoded(updates: &[Bytes]) -> Bytes {
    let mut document = YjsDocument::new();
    document.integrate(updates);
    document.encode()
}

/// A document as people see it, made from its encoding.
fn woven(what: &str, encoding: &Bytes) {
    use replay::yjs::tree::{Tree, diff, restore};
    println!(
        "{what}: an encoding of {:.2} MB",
        encoding.len() as f64 / 1e6
    );
    let tree = timed("read as a tree", || Tree::read(encoding).unwrap());
    println!("    {} items", tree.len());
    timed("json", || tree.json());
    timed("text", || tree.text());
    let past = Tree::read(&[0, 0]).unwrap();
    timed("changes since it was empty", || diff(&past, &tree));
    timed("changes since now", || diff(&tree, &tree));
    timed("restore of now", || restore(&tree, &tree, 1 << 50));
    timed("load as a document", || {
        YjsDocument::load(encoding).unwrap()
    });
    let doc = Doc::new();
    timed("yrs loads it", || {
        let update = Update::decode_v1(encoding).unwrap();
        doc.transact_mut().apply_update(update).unwrap();
    });
}

/// The encoding of a text to which two clients added a character each, in turn.
fn turns(turns: u32) -> Bytes {
    let var = |bytes: &mut Vec<u8>, mut number: u32| {
        while number >= 0x80 {
            bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        bytes.push(number as u8);
    };
    let mut bytes = vec![2];
    for client in [2, 1] {
        var(&mut bytes, turns);
        bytes.extend([client, 0]);
        for turn in 0..turns {
            match (client, turn) {
                (1, 0) => bytes.extend([4, 1, 4, b't', b'e', b'x', b't']),
                (1, _) => {
                    bytes.extend([0x84, 2]);
                    var(&mut bytes, turn - 1);
                }
                _ => {
                    bytes.extend([0x84, 1]);
                    var(&mut bytes, turn);
                }
            }
            bytes.extend([1, b'a']);
        }
    }
    bytes.push(0);
    bytes.into()
}

fn per_update(updates: &[Bytes], batch: usize, run: fn(&[Bytes], usize)) -> f64 {
    let best = (0..3).map(|_| {
        let start = Instant::now();
        run(updates, batch);
        start.elapsed()
    });
    best.min().unwrap().as_nanos() as f64 / updates.len() as f64
}

fn ours(updates: &[Bytes], batch: usize) {
    let mut document = YjsDocument::new();
    for batch in updates.chunks(batch) {
        black_box(document.integrate(batch));
    }
}

fn theirs(updates: &[Bytes], batch: usize) {
    let doc = Doc::new();
    for batch in updates.chunks(batch) {
        let mut txn = doc.transact_mut();
        for update in batch {
            txn.apply_update(Update::decode_v1(update).unwrap())
                .unwrap();
        }
    }
}

/// A document of many updates: folding it, and handing it out.
fn large(updates: &[Bytes]) {
    let total: usize = updates.iter().map(Bytes::len).sum();
    println!("{} updates, {:.1} MB", updates.len(), total as f64 / 1e6);

    let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
    let room = RoomName::new("doc", "large").unwrap();
    let log = std::sync::Arc::new(MemoryLog::new());
    let mut head = Head::EMPTY;
    for updates in updates.chunks(500) {
        let mut run = RunBuilder::new(head);
        for payload in updates {
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
                payload: payload.clone(),
            };
            head = run.push(Timestamp::from_micros(1), &draft);
        }
        let entries = vec![Entry::Run(room.clone(), run.finish().unwrap())];
        runtime.block_on(log.append(Batch { entries })).unwrap();
    }
    let folded = timed("fold from the log", || {
        let history = replay::History::of_log(log.clone(), replay::Kind::Yjs);
        runtime
            .block_on(history.fold_all(&room, protocol::Seq::MAX))
            .unwrap()
    });
    assert_eq!(folded.records, updates.len() as u64);
    timed("yrs, an update a transaction", || theirs(updates, 1));
    // In one transaction yrs joins texts from the right, keeping each intermediate one: the square
    // of their number in memory.
    timed("yrs, 100 updates a transaction", || theirs(updates, 100));

    let mut document = folded.document;
    let encoding = timed("encode after a fold", || document.encode());
    println!(
        "    encoding {:.2} MB, memory bound {:.2} MB",
        encoding.len() as f64 / 1e6,
        document.memory_bytes() as f64 / 1e6
    );
    timed("encode again", || document.encode());
    let version = timed("version", || document.version());
    timed("difference to itself", || document.diff(&version).unwrap());
    let [typed] = &typing(1, 50)[..] else {
        return;
    };
    document.integrate(std::slice::from_ref(typed));
    timed("difference, one update behind", || {
        document.diff(&version).unwrap()
    });
    timed("encode after one update", || document.encode());
    timed("load from the encoding", || {
        YjsDocument::new().integrate(std::slice::from_ref(&encoding))
    });
    let doc = Doc::new();
    timed("yrs loads the encoding", || {
        let update = Update::decode_v1(&encoding).unwrap();
        doc.transact_mut().apply_update(update).unwrap();
    });
    timed("yrs encodes", || {
        let all = StateVector::default();
        doc.transact().encode_state_as_update_v1(&all)
    });
}

fn timed<T>(what: &str, run: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let made = run();
    println!(
        "    {what:<32}{:>10.3} ms",
        start.elapsed().as_secs_f64() * 1e3
    );
    made
}

/// Updates as a client makes them, one a transaction.
fn made(count: usize, mut edit: impl FnMut(&mut yrs::TransactionMut<'_>, usize)) -> Vec<Bytes> {
    let doc = Doc::new();
    let edits = (0..count).map(|n| {
        let mut txn = doc.transact_mut();
        edit(&mut txn, n);
        txn.encode_update_v1().into()
    });
    edits.collect()
}

fn typing(count: usize, bytes: usize) -> Vec<Bytes> {
    use yrs::WriteTxn;
    let typed = "the quick brown fox jumps over the lazy dog and on".repeat(bytes.div_ceil(50));
    made(count, |txn, _| {
        txn.get_or_insert_text("text").push(txn, &typed[..bytes]);
    })
}

fn scattered(count: usize) -> Vec<Bytes> {
    use yrs::WriteTxn;
    made(count, |txn, n| {
        let text = txn.get_or_insert_text("text");
        let at = (n * 7_919) as u32 % (text.len(txn) + 1);
        text.insert(txn, at, "x");
    })
}

fn keys(count: usize) -> Vec<Bytes> {
    use yrs::WriteTxn;
    made(count, |txn, n| {
        let map = txn.get_or_insert_map("map");
        map.insert(txn, format!("key {}", n % 100), "a value of some length");
    })
}

fn pushes(count: usize) -> Vec<Bytes> {
    use yrs::WriteTxn;
    made(count, |txn, n| {
        let array = txn.get_or_insert_array("array");
        array.push_back(txn, n as f64 / 3.0);
    })
}

/// Drawing: each stroke is a map with a list of points.
fn strokes(count: usize, points: usize) -> Vec<Bytes> {
    use yrs::{ArrayPrelim, MapPrelim, WriteTxn};
    let mut stroke = None;
    made(count * points, |txn, n| {
        if n % points == 0 {
            let strokes = txn.get_or_insert_array("strokes");
            let map = strokes.push_back(txn, MapPrelim::default());
            map.insert(txn, "colour", "#123456");
            stroke = Some(map.insert(txn, "points", ArrayPrelim::default()));
        }
        let (x, y) = ((n % 1920) as f64, (n * 31 % 1080) as f64);
        if let Some(points) = &stroke {
            points.push_back(txn, vec![x, y, 0.5]);
        }
    })
}
