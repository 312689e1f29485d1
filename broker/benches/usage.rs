//! What it costs to count an update: `cargo bench -p broker --bench usage`.
//!
//! Beside it, in the same run, what an update costs anyway at the least: the document's look at one of a single
//! character, and a reading of the clock.

#![expect(clippy::print_stdout, reason = "figures are for whoever runs it")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use broker::Monthly;
use broker::usage::Account;
use bytes::Bytes;
use protocol::Timestamp;
use replay::document;

const ROUNDS: usize = 7;
const UPDATES: u64 = 2_000_000;
const NOW: Timestamp = Timestamp::from_micros(1_795_520_879_000_000);

fn main() {
    let limited = Monthly {
        records: Some(u64::MAX / 2),
        bytes: Some(u64::MAX / 2),
    };
    let clock = best(1, &|| {
        black_box(Instant::now());
    });
    let update = integrating();
    println!("reading the clock            {clock:7.1} ns");
    println!("integrating one character    {update:7.1} ns an update");
    for threads in [1, 2, 4] {
        for (name, most) in [
            ("without limits", Monthly::default()),
            ("with limits", limited),
        ] {
            let account = Arc::new(Account::default());
            let count = best(threads, &|| {
                let taken = account.take(black_box(30), most, NOW);
                assert!(taken.is_ok());
            });
            println!(
                "counting {name:14} x{threads}   {count:7.1} ns an update, {:.3} of integrating it",
                count / update
            );
        }
    }
}

/// The best of some rounds, in nanoseconds for each time that `work` is done, by each of so many threads.
fn best(threads: u64, work: &(impl Fn() + Sync)) -> f64 {
    let round = || {
        let began = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| (0..UPDATES).for_each(|_| work()));
            }
        });
        began.elapsed().as_nanos() as f64 / UPDATES as f64
    };
    (0..ROUNDS).map(|_| round()).fold(f64::INFINITY, f64::min)
}

/// Nanoseconds that a document takes for an update that appends one character.
fn integrating() -> f64 {
    const TYPED: u32 = 20_000;
    let updates: Vec<Bytes> = (0..TYPED).map(typed).collect();
    let round = || {
        let mut document = document::new(replay::Kind::Yjs);
        let began = Instant::now();
        for update in &updates {
            let taken = document.integrate(std::slice::from_ref(update)).pop();
            assert!(taken.is_some_and(|taken| taken.is_ok_and(|checked| checked.adds)));
        }
        began.elapsed().as_nanos() as f64 / f64::from(TYPED)
    };
    (0..ROUNDS).map(|_| round()).fold(f64::INFINITY, f64::min)
}

/// A Yjs update: client 1 types one more character, to the right of its last one, into the text `t`.
fn typed(clock: u32) -> Bytes {
    let mut update = vec![1, 1, 1];
    put(&mut update, clock);
    if clock == 0 {
        update.extend([4, 1, 1, b't', 1, b'a', 0]);
    } else {
        update.extend([0x84, 1]);
        put(&mut update, clock - 1);
        update.extend([1, b'a', 0]);
    }
    update.into()
}

fn put(out: &mut Vec<u8>, mut n: u32) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}
