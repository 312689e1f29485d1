//! Comparing what a log holds after a cut with what its writer said.

use std::collections::BTreeMap;
use std::path::Path;

use protocol::{Run, Seq};
use storage::{Log, ReadError, SledLog};

use crate::writer::{self, ROOMS};

/// What one room is: head, chain, start, deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct RoomIs {
    seq: u64,
    chain: u64,
    start: u64,
    deleted: bool,
}

type Rooms = BTreeMap<usize, RoomIs>;

/// What the writer planned since the last time the log was whole, and how much of it was acked.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// The rooms as the round began.
    base: Rooms,
    /// Each batch: the rooms it changes, as they are after it.
    plans: Vec<Rooms>,
    /// How many of the plans were acked.
    pub(crate) acked: usize,
    /// How many plans there were in the round that has been verified.
    pub(crate) planned_before: usize,
    /// The log is not what it should be: nothing can be built on it.
    pub(crate) broken: bool,
}

pub(crate) enum Verdict {
    Whole { batches_kept: usize },
    Lost { batches: u64, what: String },
    Wrong(String),
    Unopened(String),
}

impl History {
    /// Takes in what a writer said.
    pub(crate) fn record(&mut self, lines: &[String]) -> Result<(), String> {
        self.plans.clear();
        self.acked = 0;
        for (i, line) in lines.iter().enumerate() {
            let last = i + 1 == lines.len();
            let mut words = line.split(' ');
            let verb = words.next().unwrap_or_default();
            let number: Option<usize> = words.next().and_then(|n| n.parse().ok());
            match (verb, number) {
                ("plan", Some(number)) if number == self.plans.len() + 1 => {
                    let plan: Option<Rooms> = words.map(parse).collect();
                    match plan {
                        Some(plan) => self.plans.push(plan),
                        None if last => {}
                        None => return Err(format!("the writer said {line:?}")),
                    }
                }
                ("ack", Some(number)) if number == self.acked + 1 => self.acked = number,
                // The last line may have been cut in the middle.
                _ if last && verb != "failed" => {}
                _ => return Err(format!("the writer said {line:?}")),
            }
        }
        self.planned_before = self.plans.len();
        Ok(())
    }

    /// Records that acked batches appended and that no acked trim or delete took away.
    pub(crate) fn acked_records(&self) -> u64 {
        let mut rooms = self.base.clone();
        let before: u64 = rooms.values().map(|room| room.seq).sum();
        for plan in &self.plans[..self.acked] {
            rooms.extend(plan);
        }
        rooms.values().map(|room| room.seq).sum::<u64>() - before
    }

    /// The number of batches after which the rooms are these, the most if several fit.
    fn batches_in(&self, found: &Rooms) -> Option<usize> {
        let mut rooms = self.base.clone();
        let mut fits = (rooms == *found).then_some(0);
        for (i, plan) in self.plans.iter().enumerate() {
            rooms.extend(plan);
            if rooms == *found {
                fits = Some(i + 1);
            }
        }
        fits
    }
}

fn parse(word: &str) -> Option<(usize, RoomIs)> {
    let mut fields = word.split(':').map(str::parse::<u64>);
    let mut next = || fields.next()?.ok();
    let room = next()? as usize;
    let is = RoomIs {
        seq: next()?,
        chain: next()?,
        start: next()?,
        deleted: next()? == 1,
    };
    Some((room, is))
}

pub(crate) fn verify(folder: &Path, history: &mut History) -> Verdict {
    let verdict = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime.block_on(look(folder, history)),
        Err(error) => Verdict::Unopened(error.to_string()),
    };
    history.broken = !matches!(verdict, Verdict::Whole { .. });
    verdict
}

async fn look(folder: &Path, history: &mut History) -> Verdict {
    let log = match SledLog::open(folder, writer::options()) {
        Ok(log) => log,
        Err(error) => return Verdict::Unopened(format!("the log did not open: {error}")),
    };
    let mut found = Rooms::new();
    for i in 0..ROOMS {
        match read_room(&log, i).await {
            Ok(Some(room)) => {
                found.insert(i, room);
            }
            Ok(None) => {}
            Err(what) => return Verdict::Wrong(what),
        }
    }
    log.close().await;
    match history.batches_in(&found) {
        Some(kept) if kept >= history.acked => {
            history.base = found;
            Verdict::Whole { batches_kept: kept }
        }
        Some(kept) => Verdict::Lost {
            batches: (history.acked - kept) as u64,
            what: format!("{} batches were acked, and {kept} are there", history.acked),
        },
        None => Verdict::Wrong(format!(
            "the rooms are not what any number of the {} batches made ({} acked): {found:?}",
            history.plans.len(),
            history.acked
        )),
    }
}

/// Reads a room from its start to its head and checks every record and the chain.
async fn read_room(log: &SledLog, i: usize) -> Result<Option<RoomIs>, String> {
    let name = writer::room(i);
    let state = log.state(&name).await.map_err(|error| error.to_string())?;
    if state.head.seq == Seq::ZERO {
        return Ok(None);
    }
    let mut head = state.start;
    let mut bytes = 0;
    loop {
        let runs = log.read(&name, head.seq, 64 << 10).await;
        let runs = runs.map_err(|error: ReadError| format!("{name}: {error}"))?;
        if runs.is_empty() {
            break;
        }
        for run in runs {
            if run.before() != head {
                return Err(format!("{name}: a run does not follow seq {}", head.seq));
            }
            run.verify()
                .map_err(|(seq, damage)| format!("{name} at {seq}: {damage}"))?;
            bytes += run.bytes().len() as u64;
            head = Run::after(&run);
        }
    }
    if head != state.head || bytes != state.bytes {
        return Err(format!(
            "{name}: the records end at {}, the room at {}",
            head.seq, state.head.seq
        ));
    }
    Ok(Some(RoomIs {
        seq: head.seq.get(),
        chain: head.chain.get(),
        start: state.start.seq.get(),
        deleted: state.deleted,
    }))
}
