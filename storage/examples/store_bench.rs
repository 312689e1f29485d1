//! How fast is the sled log, beside what the disk itself can do?
//!
//! ```text
//! cargo run --release -p storage --example store_bench [-- FOLDER] [--rounds N] [--group N] [--still]
//! cargo run --release -p storage --example store_bench -- --big [FOLDER] [--records N]
//! ```
//!
//! The first prints, for 1 to 4096 records of 100 bytes a commit, the log's durable records a
//! second as a share of *append + fdatasync to a preallocated, zero-filled file* of the same sealed
//! bytes in the same groups. Both take turns, round by round, in one process, so that the ratio
//! survives a disk whose speed drifts. Two appends are in flight, as the broker has them; with one
//! record a commit also a single one, for the latency of a lone update.
//!
//! `--big` writes five million records over a thousand rooms, and prints memory, disk and cost as
//! it goes; then it kills itself in the middle, and times the next opening.

#![expect(clippy::print_stdout, reason = "a bench prints")]

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use hdrhistogram::Histogram;
use protocol::record::RunBuilder;
use protocol::{Author, Draft, Head, Kind, RoomName, Run, SessionId, Timestamp};
use storage::sled::{Committed, Moved, Observer};
use storage::{AppendError, Appended, Batch, Entry, Log, SledLog, SledOptions};

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const GROUPS: [usize; 5] = [1, 8, 64, 512, 4096];
const PAYLOAD_BYTES: usize = 100;
const ROOMS: usize = 50;
const ROUND: Duration = Duration::from_millis(700);

fn main() {
    let mut big = None;
    let mut rounds = 5;
    let mut groups = GROUPS.to_vec();
    let mut options = SledOptions::default();
    let mut records = 5_000_000;
    let mut folder = std::env::temp_dir();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut number = || args.next().and_then(|n| n.parse().ok()).expect("a number");
        match arg.as_str() {
            "--big" => big = Some("run"),
            "--big-write" => big = Some("write"),
            "--rounds" => rounds = number(),
            "--group" => groups = vec![number()],
            // The pipeline alone: nothing is moved while it runs.
            "--still" => {
                options.move_at_bytes = u64::MAX;
                options.unmoved_limit_bytes = u64::MAX;
                options.move_after = Duration::from_secs(3600);
            }
            "--records" => records = number(),
            other => folder = PathBuf::from(other),
        }
    }
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("tokio");
    match big {
        None => runtime.block_on(table(&folder, rounds, &groups, options)),
        Some("write") => runtime.block_on(write_big(&folder, records)),
        Some(_) => runtime.block_on(run_big(&folder, records)),
    }
}

/// What the log's own threads spent, and what the mover did.
#[derive(Default)]
struct Watch {
    commits: AtomicU64,
    write_micros: AtomicU64,
    sync_micros: AtomicU64,
    moved_bytes: AtomicU64,
    move_written_bytes: AtomicU64,
}

impl Observer for Watch {
    fn committed(&self, commit: &Committed) {
        self.commits.fetch_add(1, Relaxed);
        self.write_micros
            .fetch_add(commit.write.as_micros() as u64, Relaxed);
        self.sync_micros
            .fetch_add(commit.sync.as_micros() as u64, Relaxed);
    }

    fn moved(&self, moved: &Moved) {
        self.moved_bytes.fetch_add(moved.bytes, Relaxed);
        self.move_written_bytes
            .fetch_add(moved.written_bytes, Relaxed);
    }
}

impl Watch {
    /// Since the last time.
    fn take(&self) -> String {
        let commits = self.commits.swap(0, Relaxed).max(1);
        let mean = |micros: &AtomicU64| micros.swap(0, Relaxed) / commits;
        let (write, sync) = (mean(&self.write_micros), mean(&self.sync_micros));
        let moved = self.moved_bytes.swap(0, Relaxed) >> 20;
        let written = self.move_written_bytes.swap(0, Relaxed) >> 20;
        format!("write {write} + sync {sync} µs; {moved} MB moved as {written}")
    }
}

/// Seals records for rooms whose heads it keeps, as a broker would.
struct Source {
    rooms: Vec<(RoomName, Head)>,
    payloads: Vec<u8>,
    next: usize,
    clock: u64,
}

impl Source {
    fn new(rooms: usize, name: &str) -> Self {
        let mut bits = 0x9e37_79b9_7f4a_7c15_u64;
        let payloads = (0..1 << 20)
            .map(|_| {
                bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (bits >> 56) as u8
            })
            .collect();
        let room = |i| {
            (
                RoomName::new("doc", &format!("{name}-{i}")).expect("a name"),
                Head::EMPTY,
            )
        };
        Self {
            rooms: (0..rooms).map(room).collect(),
            payloads,
            next: 0,
            clock: 1_795_520_000_000_000,
        }
    }

    /// `records` over as many rooms as there are, or fewer.
    fn batch(&mut self, records: usize) -> Batch {
        let rooms = records.min(self.rooms.len());
        let mut entries = Vec::with_capacity(rooms);
        for i in 0..rooms {
            let count = records / rooms + usize::from(i < records % rooms);
            self.next = (self.next + 1) % self.rooms.len();
            let (room, head) = &mut self.rooms[self.next];
            let mut builder = RunBuilder::new(*head);
            for _ in 0..count {
                self.clock += 7;
                let at = (self.clock as usize * 31) % (self.payloads.len() - PAYLOAD_BYTES);
                let draft = Draft {
                    author: Author {
                        user: None,
                        session: SessionId::new(7),
                        site: None,
                    },
                    op_id: None,
                    base: None,
                    kind: Kind::Update,
                    payload: self.payloads[at..at + PAYLOAD_BYTES].to_vec().into(),
                };
                builder.push(Timestamp::from_micros(self.clock), &draft);
            }
            let run = builder.finish().expect("records");
            *head = run.after();
            entries.push(Entry::Run(room.clone(), run));
        }
        Batch { entries }
    }
}

fn runs(batch: &Batch) -> impl Iterator<Item = &Run> {
    batch.entries.iter().map(|entry| match entry {
        Entry::Run(_, run) => run,
        Entry::Trim(..) | Entry::Delete(_) | Entry::Begin(..) => {
            unreachable!("the bench only appends")
        }
    })
}

/// Append and fdatasync, and nothing else.
struct Preallocated {
    file: File,
    at: u64,
    len: u64,
}

impl Preallocated {
    fn new(path: &Path) -> Self {
        let file = File::create(path).expect("a file");
        let len = 256 << 20;
        let zeros = vec![0; 1 << 20];
        for at in (0..len).step_by(zeros.len()) {
            file.write_all_at(&zeros, at).expect("space");
        }
        file.sync_all().expect("a sync");
        Self { file, at: 0, len }
    }

    fn append(&mut self, bytes: &[u8]) {
        if self.at + bytes.len() as u64 > self.len {
            self.at = 0;
        }
        self.file.write_all_at(bytes, self.at).expect("a write");
        self.file.sync_data().expect("a sync");
        self.at += bytes.len() as u64;
    }
}

/// Records a second, and how long a commit takes.
struct Row {
    records: u64,
    spent: Duration,
    latency: Histogram<u64>,
}

impl Row {
    fn new() -> Self {
        Self {
            records: 0,
            spent: Duration::ZERO,
            latency: Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("a histogram"),
        }
    }

    fn rate(&self) -> f64 {
        self.records as f64 / self.spent.as_secs_f64()
    }

    fn micros(&self, quantile: f64) -> f64 {
        self.latency.value_at_quantile(quantile) as f64 / 1000.0
    }

    fn took(&mut self, since: Instant) {
        self.latency
            .saturating_record(since.elapsed().as_nanos() as u64);
    }
}

async fn table(folder: &Path, rounds: usize, groups: &[usize], mut options: SledOptions) {
    let watch = Arc::new(Watch::default());
    options.observer = Some(watch.clone());
    let folder = folder.join(format!("store-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let mut file = Preallocated::new(&folder.join("preallocated"));
    let log = SledLog::open(&folder.join("log"), options).expect("a log");
    println!(
        "{:>7} {:>14} {:>20} {:>14} {:>20} {:>8}  in the log, on average",
        "records", "file rec/s", "p50/p99 µs", "log rec/s", "p50/p99 µs", "log/file"
    );
    for &group in groups {
        let mut source = Source::new(ROOMS, &format!("g{group}"));
        let (mut disk, mut ours, mut lone) = (Row::new(), Row::new(), Row::new());
        for _ in 0..rounds {
            // Sealed outside the clock, for both; the file's batches never enter the log, so its
            // rooms are others.
            let mut other = Source::new(ROOMS, "file");
            let sealed: Vec<Vec<u8>> = (0..16)
                .map(|_| {
                    runs(&other.batch(group))
                        .flat_map(|run| run.bytes().to_vec())
                        .collect()
                })
                .collect();
            let begun = Instant::now();
            let mut nth = 0;
            while begun.elapsed() < ROUND {
                let since = Instant::now();
                file.append(&sealed[nth % sealed.len()]);
                disk.took(since);
                disk.records += group as u64;
                nth += 1;
            }
            disk.spent += begun.elapsed();
            append_in_flight(&log, &mut source, group, 2, &mut ours).await;
            if group == 1 {
                append_in_flight(&log, &mut source, group, 1, &mut lone).await;
            }
        }
        let inside = watch.take();
        println!(
            "{group:>7} {:>14.0} {:>20} {:>14.0} {:>20} {:>7.0}%  {inside}",
            disk.rate(),
            format!("{:.0} / {:.0}", disk.micros(0.5), disk.micros(0.99)),
            ours.rate(),
            format!("{:.0} / {:.0}", ours.micros(0.5), ours.micros(0.99)),
            100.0 * ours.rate() / disk.rate(),
        );
        if group == 1 {
            println!(
                "        a lone update takes {:.0} µs (p99 {:.0}), {:.2} × the file's commit (p50)",
                lone.micros(0.5),
                lone.micros(0.99),
                lone.micros(0.5) / disk.micros(0.5)
            );
        }
    }
    log.close().await;
    let _ = std::fs::remove_dir_all(&folder);
}

type InFlight = VecDeque<(Instant, BoxFuture<'static, Result<Appended, AppendError>>)>;

/// Batches are sealed ahead in small heaps, off the clock.
async fn append_in_flight(
    log: &SledLog,
    source: &mut Source,
    group: usize,
    depth: usize,
    row: &mut Row,
) {
    let mut spent = Duration::ZERO;
    while spent < ROUND {
        let heap = (1 << 15_usize) / group.clamp(64, 4096);
        let batches: Vec<Batch> = (0..heap).map(|_| source.batch(group)).collect();
        let begun = Instant::now();
        let mut in_flight = InFlight::new();
        for batch in batches {
            if in_flight.len() == depth {
                finish(&mut in_flight, row).await;
            }
            in_flight.push_back((Instant::now(), log.append(batch)));
            row.records += group as u64;
        }
        while !in_flight.is_empty() {
            finish(&mut in_flight, row).await;
        }
        spent += begun.elapsed();
    }
    row.spent += spent;
}

async fn finish(in_flight: &mut InFlight, row: &mut Row) {
    if let Some((since, done)) = in_flight.pop_front() {
        done.await.expect("a durable batch");
        row.took(since);
    }
}

async fn run_big(folder: &Path, records: usize) {
    let folder = folder.join(format!("store-bench-big-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let this = std::env::current_exe().expect("this program");
    let mut child = std::process::Command::new(this)
        .args(["--big-write", "--records", &records.to_string()])
        .arg(&folder)
        .spawn()
        .expect("a child");
    let status = child.wait().expect("its end");
    println!("the writer ended: {status}");
    let begun = Instant::now();
    let log = SledLog::open(&folder.join("log"), SledOptions::default()).expect("a log");
    let opened = begun.elapsed();
    let unmoved = log.stats().unmoved_bytes;
    println!(
        "reopened after kill -9 in {opened:.2?}, {} MB were not moved",
        unmoved >> 20
    );
    let mut found = 0;
    let mut after = None;
    loop {
        let page = log.rooms(after.as_ref(), 500).await.expect("rooms");
        let Some(last) = page.last() else { break };
        after = Some(last.room.clone());
        found += page.iter().map(|row| row.state.head.seq.get()).sum::<u64>();
    }
    println!("{found} records are there");
    let payload = (records * PAYLOAD_BYTES) as f64;
    let begun = Instant::now();
    loop {
        let stats = log.stats();
        if stats.unmoved_bytes == 0 || begun.elapsed() > Duration::from_secs(60) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let disk = log.stats().disk_bytes;
        println!(
            "after the move: {} MB on disk, {:.2} × the payload",
            disk >> 20,
            disk as f64 / payload
        );
    }
    // What deleting gives back.
    let room = |i| RoomName::new("doc", &format!("big-{i}")).expect("a name");
    let deletes = (0..900).map(|i| Entry::Delete(room(i)));
    let batch = Batch {
        entries: deletes.collect(),
    };
    log.append(batch).await.expect("deleted");
    for seconds in [10, 20, 30] {
        tokio::time::sleep(Duration::from_secs(10)).await;
        println!(
            "{seconds} s after deleting 90 %: {} MB on disk",
            log.stats().disk_bytes >> 20
        );
    }
    // New records take the place of the deleted ones.
    let mut source = Source::new(100, "new");
    for _ in 0..500 {
        log.append(source.batch(1000)).await.expect("appended");
    }
    println!(
        "after 500000 new records: {} MB on disk",
        log.stats().disk_bytes >> 20
    );
    log.close().await;
    let begun = Instant::now();
    let log = SledLog::open(&folder.join("log"), SledOptions::default()).expect("a log");
    println!(
        "reopened in {:.2?}: {} MB on disk",
        begun.elapsed(),
        log.stats().disk_bytes >> 20
    );
    log.close().await;
    let _ = std::fs::remove_dir_all(&folder);
}

async fn write_big(folder: &Path, records: usize) {
    const GROUP: usize = 1000;
    let log = SledLog::open(&folder.join("log"), SledOptions::default()).expect("a log");
    let mut source = Source::new(1000, "big");
    let mut in_flight = InFlight::new();
    let mut row = Row::new();
    let mut peak = 0;
    let step = records / 10;
    let mut sealing = Duration::ZERO;
    let mut since = Instant::now();
    for n in 0..records / GROUP {
        let begun = Instant::now();
        let batch = source.batch(GROUP);
        sealing += begun.elapsed();
        if in_flight.len() == 2 {
            finish(&mut in_flight, &mut row).await;
        }
        in_flight.push_back((Instant::now(), log.append(batch)));
        let done = (n + 1) * GROUP;
        if n % 50 == 0 {
            peak = peak.max(resident_mb());
        }
        if done.is_multiple_of(step) {
            let stats = log.stats();
            println!(
                "{:>8} records: {:>5.2} µs a record ({:.2} of it sealing), {:>4} MB resident, {:>5} MB on disk, {:>3} MB not moved",
                done,
                since.elapsed().as_secs_f64() * 1e6 / step as f64,
                sealing.as_secs_f64() * 1e6 / step as f64,
                resident_mb(),
                stats.disk_bytes >> 20,
                stats.unmoved_bytes >> 20,
            );
            since = Instant::now();
            sealing = Duration::ZERO;
        }
    }
    while !in_flight.is_empty() {
        finish(&mut in_flight, &mut row).await;
    }
    println!(
        "peak {peak} MB resident; commits p50 {:.0} µs, p99 {:.0} µs, max {:.0} µs",
        row.micros(0.5),
        row.micros(0.99),
        row.micros(1.0)
    );
    let me = rustix::process::getpid();
    let _ = rustix::process::kill_process(me, rustix::process::Signal::KILL);
}

fn resident_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kilobytes.unwrap_or_default() / 1024
}
