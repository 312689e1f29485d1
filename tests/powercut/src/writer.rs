//! The child: appends to a log until it is cut off, and says what it does.
//!
//! One line before each append, `plan N room:seq:chain:start:deleted …` with what each of the
//! batch's rooms will be after it, and `ack N` once it is durable. Batches are numbered from 1 in
//! the order of the calls.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use protocol::record::RunBuilder;
use protocol::{Author, Draft, Head, Kind, RoomName, Seq, SessionId, Timestamp};
use storage::sled::SyncMode;
use storage::suite::Rng;
use storage::{AppendError, Batch, Entry, Log, SledLog, SledOptions};

pub(crate) const ROOMS: usize = 9;
const IN_FLIGHT: usize = 3;

pub(crate) fn options() -> SledOptions {
    SledOptions {
        cache_bytes: 16 << 20,
        move_at_bytes: 256 << 10,
        move_after: Duration::from_millis(40),
        unmoved_limit_bytes: 2 << 20,
        cached_rooms: 4,
        min_free_bytes: 24 << 20,
        ..SledOptions::default()
    }
}

pub(crate) fn room(i: usize) -> RoomName {
    RoomName::new("doc", &format!("room {i}")).expect("a valid name")
}

#[derive(Debug, Clone, Copy)]
struct Ends {
    head: Head,
    start: Seq,
    deleted: bool,
}

pub(crate) fn run(folder: &Path, seed: u64, sync: bool) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    match runtime
        .map_err(|error| error.to_string())
        .and_then(|runtime| runtime.block_on(write(folder, seed, sync)))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("failed {error}\n"));
            ExitCode::FAILURE
        }
    }
}

async fn write(folder: &Path, seed: u64, sync: bool) -> Result<(), String> {
    let mut options = options();
    if !sync {
        options.sync = SyncMode::FlushOnly;
    }
    let log = SledLog::open(folder, options).map_err(|error| error.to_string())?;
    let mut rooms = BTreeMap::new();
    for i in 0..ROOMS {
        let state = log
            .state(&room(i))
            .await
            .map_err(|error| error.to_string())?;
        let ends = Ends {
            head: state.head,
            start: state.start.seq,
            deleted: state.deleted,
        };
        rooms.insert(i, ends);
    }
    say("ready\n");
    let mut rng = Rng::new(seed);
    let mut in_flight = VecDeque::new();
    for number in 1_u64.. {
        if in_flight.len() == IN_FLIGHT
            && let Some((number, done)) = in_flight.pop_front()
        {
            acked(number, done).await?;
        }
        let (batch, plan) = batch(&mut rng, &mut rooms);
        say(&format!("plan {number}{plan}\n"));
        in_flight.push_back((number, log.append(batch)));
    }
    Ok(())
}

async fn acked(
    number: u64,
    done: impl Future<Output = Result<storage::Appended, AppendError>>,
) -> Result<(), String> {
    match done.await {
        Ok(_) => {
            say(&format!("ack {number}\n"));
            Ok(())
        }
        // A full disk is no power cut: wait for it without writing more.
        Err(AppendError::NotWritten(_)) => std::future::pending().await,
        Err(error) => Err(error.to_string()),
    }
}

/// A few changes of a few rooms, and the line that says what they will have made.
fn batch(rng: &mut Rng, rooms: &mut BTreeMap<usize, Ends>) -> (Batch, String) {
    let mut entries = Vec::new();
    let mut touched = BTreeMap::new();
    for _ in 0..=rng.below(6) {
        let i = rng.below(ROOMS);
        let Some(ends) = rooms.get_mut(&i) else {
            continue;
        };
        match rng.below(40) {
            0 if ends.head != Head::EMPTY => {
                ends.start = ends.head.seq;
                ends.deleted = true;
                entries.push(Entry::Delete(room(i)));
            }
            1..=3 if ends.head.seq > ends.start => {
                let kept = ends.head.seq.since(ends.start) as usize;
                let up_to = Seq::new(ends.start.get() + 1 + rng.below(kept) as u64);
                ends.start = up_to;
                entries.push(Entry::Trim(room(i), up_to));
            }
            _ => {
                let mut builder = RunBuilder::new(ends.head);
                for _ in 0..=rng.below(5) {
                    let draft = draft(rng);
                    builder.push(Timestamp::from_micros(rng.next() >> 40), &draft);
                }
                let Some(run) = builder.finish() else {
                    continue;
                };
                ends.head = run.after();
                ends.deleted = false;
                entries.push(Entry::Run(room(i), run));
            }
        }
        touched.insert(i, *ends);
    }
    let mut plan = String::new();
    for (i, ends) in touched {
        let (seq, chain) = (ends.head.seq, ends.head.chain.get());
        let deleted = u8::from(ends.deleted);
        let _ = write!(plan, " {i}:{seq}:{chain}:{}:{deleted}", ends.start);
    }
    (Batch { entries }, plan)
}

fn draft(rng: &mut Rng) -> Draft {
    let len = match rng.below(60) {
        0 => 150_000,
        1..=4 => 9000,
        _ => rng.below(400),
    };
    Draft {
        author: Author {
            user: None,
            session: SessionId::new(rng.next()),
            site: None,
        },
        op_id: None,
        base: None,
        kind: Kind::Update,
        payload: (0..len)
            .map(|_| rng.next() as u8)
            .collect::<Vec<u8>>()
            .into(),
    }
}

/// Straight to the pipe: what was said is said, whatever happens to this process.
fn say(line: &str) {
    let mut out = std::io::stdout();
    let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
}
