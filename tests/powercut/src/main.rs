//! Does an acked record survive a power cut?
//!
//! ```text
//! cargo run --release -p powercut -- --rounds 300 [--seed N]     none may be lost
//! cargo run --release -p powercut -- --rounds 10 --no-sync       the planted bug must be caught
//! ```
//!
//! A child process appends to a sled log on an ext4 file system that lives on a disk made of an
//! [`image`], and reports over a pipe what it is about to append and what was acked. At a random
//! moment it is frozen and the image is copied. What the copy holds is what was flushed to the
//! disk and what happened to be written back; pages that were dirty in a page cache or in the
//! disk's own cache, and metadata that was not committed, are not in it. That is the cut. Then the copy is mounted, the log
//! opened, and every room read and checked by its chain hash. What is there must be exactly what
//! the first *k* batches made, for one *k* that is no less than the number of acked batches: each
//! acked record there, in order, once, and each later batch wholly there or not at all. The next
//! round goes on from the copy, so that recoveries are recovered from too.
//!
//! With `--no-sync` the log leaves out its `fdatasync`, and the harness succeeds only if it
//! notices. Mounting needs root and loop devices; without them the harness fails, and says so.

#![expect(clippy::print_stdout, reason = "a harness reports")]

mod image;
mod verify;
mod writer;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use storage::suite::Rng;

use image::Image;
use verify::{History, Verdict};

/// A fresh file system after so many rounds; in between a round goes on from the last one's copy.
const ROUNDS_PER_IMAGE: u32 = 12;
const MAX_RUN: Duration = Duration::from_millis(500);
/// A writer that has not opened its log by then has failed.
const MAX_START: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let mut options = Options {
        rounds: 10,
        seed: 1,
        sync: true,
        writer: None,
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().unwrap_or_default();
        match arg.as_str() {
            "--rounds" => options.rounds = value().parse().unwrap_or(0),
            "--seed" => options.seed = value().parse().unwrap_or(0),
            "--no-sync" => options.sync = false,
            "--writer" => options.writer = Some(value().into()),
            other => {
                println!("unknown argument {other}");
                return ExitCode::FAILURE;
            }
        }
    }
    if let Some(folder) = &options.writer {
        return writer::run(folder, options.seed, options.sync);
    }
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("POWER CUTS WERE NOT TESTED: {error}");
            println!("this needs root, mkfs.ext4, loop devices and mount");
            ExitCode::FAILURE
        }
    }
}

struct Options {
    rounds: u32,
    seed: u64,
    sync: bool,
    /// Be the child that writes, in this folder.
    writer: Option<PathBuf>,
}

#[derive(Default)]
struct Tally {
    rounds: u32,
    acked_batches: u64,
    acked_records: u64,
    lost_rounds: u32,
    lost_batches: u64,
    unopened: u32,
    wrong: u32,
    torn_tails: u32,
}

fn run(options: &Options) -> Result<bool, String> {
    let folder = tempfile::tempdir().map_err(|error| format!("no folder to work in: {error}"))?;
    let mut rng = Rng::new(options.seed);
    let mut tally = Tally::default();
    let begun = Instant::now();
    let mut image = Image::make(folder.path())?;
    let mut history = History::default();
    for round in 0..options.rounds {
        if round > 0 && round % ROUNDS_PER_IMAGE == 0 {
            drop(image);
            image = Image::make(folder.path())?;
            history = History::default();
        }
        let seed = rng.next();
        let run_for = MAX_RUN.mul_f64(rng.below(1000) as f64 / 1000.0);
        image = cut(image, folder.path(), options, seed, run_for, &mut history)?;
        tally.rounds += 1;
        tally.acked_batches += history.acked as u64;
        tally.acked_records += history.acked_records();
        match verify::verify(&image.log_folder(), &mut history) {
            Verdict::Whole { batches_kept } => {
                tally.torn_tails += u32::from(batches_kept < history.planned_before);
            }
            Verdict::Lost { batches, what } => {
                tally.lost_rounds += 1;
                tally.lost_batches += batches;
                report(round, options, &what);
            }
            Verdict::Wrong(what) => {
                tally.wrong += 1;
                report(round, options, &what);
            }
            Verdict::Unopened(what) => {
                tally.unopened += 1;
                report(round, options, &what);
            }
        }
        if history.broken {
            drop(image);
            image = Image::make(folder.path())?;
            history = History::default();
        }
    }
    Ok(conclude(options, &tally, begun.elapsed()))
}

fn report(round: u32, options: &Options, what: &str) {
    if options.sync {
        println!("round {round} of seed {}: {what}", options.seed);
    }
}

fn conclude(options: &Options, tally: &Tally, took: Duration) -> bool {
    println!(
        "{} power cuts in {:.1} s, seed {}: {} acked batches, {} acked records; \
         {} rounds lost acked batches ({} of them), {} did not open, {} were otherwise wrong; \
         {} ended in a batch that was not acked and is rightly gone",
        tally.rounds,
        took.as_secs_f64(),
        options.seed,
        tally.acked_batches,
        tally.acked_records,
        tally.lost_rounds,
        tally.lost_batches,
        tally.unopened,
        tally.wrong,
        tally.torn_tails,
    );
    let clean = tally.lost_rounds + tally.unopened + tally.wrong == 0;
    if tally.acked_batches == 0 {
        println!("nothing was acked, so nothing was tested");
        return false;
    }
    match (options.sync, clean) {
        (true, true) => true,
        (true, false) => {
            println!("ACKED DATA DID NOT SURVIVE");
            false
        }
        (false, false) => {
            println!("the planted bug (no fdatasync) was caught");
            true
        }
        (false, true) => {
            println!("THE PLANTED BUG WAS NOT CAUGHT: the harness proves nothing");
            false
        }
    }
}

/// Lets a writer run for a while, cuts the power, and gives what is on the disk then.
fn cut(
    mut image: Image,
    folder: &Path,
    options: &Options,
    seed: u64,
    run_for: Duration,
    history: &mut History,
) -> Result<Image, String> {
    let mut child = spawn(&image, options, seed)?;
    let pipe = child.stdout.take().ok_or("the writer has no pipe")?;
    let (ready, wait) = mpsc::channel();
    // Drains the pipe to its end, which outlives the writer.
    let reader = std::thread::spawn(move || {
        let mut lines = Vec::new();
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if line == "ready" {
                let _ = ready.send(());
            } else {
                lines.push(line);
            }
        }
        lines
    });
    let started = wait.recv_timeout(MAX_START).is_ok();
    if started {
        // Nothing more is sent: this waits out the time, unless the writer ends early.
        let _ = wait.recv_timeout(run_for);
    }
    signal(&child, rustix::process::Signal::STOP)?;
    let copied = image.copy(folder);
    signal(&child, rustix::process::Signal::KILL)?;
    let _ = child.wait();
    let lines = reader
        .join()
        .map_err(|_| "the reader of the pipe panicked")?;
    let copy = copied?;
    image.unmount();
    if !started {
        return Err(format!("the writer did not open its log: {lines:?}"));
    }
    history.record(&lines)?;
    Image::mount(copy, folder)
}

fn spawn(image: &Image, options: &Options, seed: u64) -> Result<Child, String> {
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(this);
    command
        .arg("--writer")
        .arg(image.log_folder())
        .args(["--seed", &seed.to_string()]);
    if !options.sync {
        command.arg("--no-sync");
    }
    command
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("the writer could not be started: {error}"))
}

fn signal(child: &Child, signal: rustix::process::Signal) -> Result<(), String> {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, signal).map_err(|error| format!("signal: {error}"))
}
