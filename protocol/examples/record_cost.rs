//! Prints what it costs to seal and to read records, beside what copying and hashing them costs.
//!
//! `cargo run --release -p protocol --example record_cost`
#![allow(clippy::print_stdout, reason = "printing is what it is for")]

use std::hint::black_box;
use std::time::Instant;

use bytes::Bytes;
use protocol::ids::{SessionId, Timestamp, UserId};
use protocol::record::{Author, Draft, Head, Kind, Run, RunBuilder};

const RECORDS: u32 = 4096;
const ROUNDS: u32 = 200;

fn main() {
    println!("nanoseconds a record, the best of {ROUNDS} rounds of {RECORDS}");
    println!("payload  user   seal  verify  read   copy  xxh3  crc32c");
    for (payload, user) in [(0, 0), (20, 0), (100, 0), (100, 12), (1000, 0), (10_000, 0)] {
        let draft = draft(payload, user);
        let mut record = vec![0_u8; draft.payload.len() + 100];
        record[..draft.payload.len()].copy_from_slice(&draft.payload);
        let run = seal(&draft);
        let mut copies = Vec::with_capacity(run.bytes().len());
        println!(
            "{payload:7} {user:5} {:6.1} {:7.1} {:5.1}  {:5.1} {:5.1} {:7.1}",
            best(|| drop(black_box(seal(&draft)))),
            best(|| assert_eq!(run.verify(), Ok(()))),
            best(|| assert_eq!(run.records().flatten().count() as u32, RECORDS)),
            best(|| {
                copies.clear();
                for _ in 0..RECORDS {
                    copies.extend_from_slice(black_box(&record));
                }
            }),
            best(|| {
                for _ in 0..RECORDS {
                    black_box(xxhash_rust::xxh3::xxh3_64(black_box(&record)));
                }
            }),
            best(|| {
                for _ in 0..RECORDS {
                    black_box(crc32c::crc32c(black_box(&record)));
                }
            }),
        );
    }
}

fn draft(payload: usize, user: usize) -> Draft {
    Draft {
        author: Author {
            user: UserId::new(&"u".repeat(user)).ok(),
            session: SessionId::new(0x0123_4567_89ab_cdef),
            site: None,
        },
        op_id: None,
        base: None,
        kind: Kind::Update,
        payload: Bytes::from((0..payload).map(|i| i as u8).collect::<Vec<_>>()),
    }
}

fn seal(draft: &Draft) -> Run {
    let mut builder = RunBuilder::new(Head::EMPTY);
    for at in 0..RECORDS {
        builder.push(Timestamp::from_micros(at.into()), black_box(draft));
    }
    builder.finish().unwrap_or_else(|| unreachable!())
}

fn best(mut round: impl FnMut()) -> f64 {
    let nanos = (0..ROUNDS).map(|_| {
        let start = Instant::now();
        round();
        start.elapsed().as_nanos()
    });
    nanos.min().unwrap_or_default() as f64 / f64::from(RECORDS)
}
