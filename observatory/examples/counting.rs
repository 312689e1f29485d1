//! What it costs to count an update, and to tell what has been counted: processor time of two threads that count at
//! once, beside as many additions to counters that both share.
//!
//! `cargo run --release -p observatory --example counting`

#![allow(clippy::print_stdout, reason = "a bench prints")]

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use observatory::live::Sampler;
use observatory::{Exporter, Owner};
use rustix::time::{ClockId, clock_gettime};

const THREADS: u64 = 2;
const ROUNDS: usize = 60;
const UPDATES: u64 = 20_000;
/// So many calls [`count`] makes for an update.
const CALLS: usize = 12;
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What is called for a lone update on its way from a client to its ack.
fn count(update: u64) {
    let took = Duration::from_nanos(50_000 + update * 7_919 % 5_000_000);
    observatory::updates_received(1, 90);
    observatory::inbox_bytes(90);
    observatory::checked(1, took);
    observatory::snapshot_lag_changed(1);
    observatory::memory_changed(Owner::Documents, 90);
    observatory::commit_queued(took);
    observatory::memory_changed(Owner::Feeds, 90);
    observatory::acked(took);
    observatory::staleness(update % 3);
    observatory::inbox_bytes(-90);
    observatory::updates_acked(1);
    observatory::written(40);
}

/// The same number of additions to what all threads share.
fn add(update: u64) {
    static SHARED: [AtomicU64; CALLS] = [const { AtomicU64::new(0) }; CALLS];
    for counter in &SHARED {
        counter.fetch_add(black_box(update), Ordering::Relaxed);
    }
}

fn main() -> Result<(), observatory::InstallError> {
    let exporter = Exporter::install()?;
    let mut sampler = Sampler::new();
    let counting = threads(count);
    let mut looks = Vec::new();
    while counting.iter().any(|thread| !thread.is_finished()) {
        let before = processor_time();
        let text = exporter.render();
        black_box(sampler.sample(0, Instant::now(), &text));
        looks.push((processor_time() - before) * 1e3);
        std::thread::park_timeout(LOOK_EVERY);
    }
    let counted = middle(joined(counting));
    let added = middle(joined(threads(add)));
    println!("counting an update: {counted:.0} ns");
    println!("{CALLS} additions to shared counters: {added:.0} ns");
    println!("ratio: {:.2}", counted / added);
    println!("a look at everything: {:.2} ms", middle(looks));
    Ok(())
}

/// Threads that do this at once; each gives nanoseconds of its processor's time for an update, by round.
fn threads(each: fn(u64)) -> Vec<std::thread::JoinHandle<Vec<f64>>> {
    let rounds = move |thread: u64| {
        let mut times = Vec::with_capacity(ROUNDS);
        for round in 0..ROUNDS as u64 {
            let before = processor_time();
            (0..UPDATES).for_each(|update| each(black_box(update + thread + round)));
            times.push((processor_time() - before) * 1e9 / UPDATES as f64);
        }
        times
    };
    (0..THREADS)
        .map(|thread| std::thread::spawn(move || rounds(thread)))
        .collect()
}

fn joined(threads: Vec<std::thread::JoinHandle<Vec<f64>>>) -> Vec<f64> {
    let all = threads.into_iter().filter_map(|thread| thread.join().ok());
    all.flatten().collect()
}

/// Seconds of this thread's processor time.
fn processor_time() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
