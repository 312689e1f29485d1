//! The log of a server, beside a bare file that is given the same bytes.

use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use futures_util::future::BoxFuture;
use protocol::record::RunBuilder;
use protocol::{Author, Draft, Head, Kind, RoomName, SessionId, Timestamp};
use storage::{AppendError, Appended, Batch, Entry, Log, SledLog, SledOptions};

use super::{LogRow, PAYLOAD_BYTES, Patience, Turn};
use crate::doctor::disk::Bare;

/// A server has two commits on their way: the next is prepared while the last one syncs.
const COMMITS: usize = 2;

type InFlight<'a> = BoxFuture<'a, Result<Appended, AppendError>>;

/// The log and the bare file take turns, so that a disk whose speed drifts does so for both.
const TURNS: u32 = 9;

/// Measures appends with so many records in flight, in a log of its own in this folder. Takes two parts.
pub(crate) async fn measure(
    folder: &Path,
    in_flight: usize,
    usual: f64,
    patience: &Patience,
) -> anyhow::Result<LogRow> {
    let mut source = Source {
        room: RoomName::parse(&format!("doc/bench-{in_flight}"))?,
        head: Head::EMPTY,
    };
    let bytes = source.clone().batch(in_flight)?.1;
    let file = Bare::new(folder, bytes).context("the bare file")?;
    let opened = folder.join(format!("log-{in_flight}"));
    let log = SledLog::open(&opened, SledOptions::default()).context("the log of the bench")?;
    let (mut bare, mut ours) = (Rates::default(), Rates::default());
    let mut failed = None;
    for _ in 0..TURNS {
        let turn = patience.turn(TURNS);
        let times = file.time(|_| turn.lasts()).context("the bare file")?;
        bare.add(times.len() * in_flight, times.iter().sum());
        let turn = patience.turn(TURNS);
        match append(&log, &mut source, in_flight, &turn).await {
            Ok((records, took)) => ours.add(records, took),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    log.close().await;
    patience.check()?;
    if let Some(error) = failed {
        return Err(error);
    }
    Ok(LogRow {
        in_flight,
        appends_per_second: ours.median()?,
        bare_per_second: bare.median()?,
        usual,
    })
}

/// Records a second, in each turn.
#[derive(Debug, Default)]
struct Rates(Vec<f64>);

impl Rates {
    fn add(&mut self, records: usize, took: Duration) {
        if !took.is_zero() {
            self.0.push(records as f64 / took.as_secs_f64());
        }
    }

    /// That of the turn in the middle: what others do to the disk now and then is not in it.
    fn median(mut self) -> anyhow::Result<f64> {
        self.0.sort_unstable_by(f64::total_cmp);
        let middle = self.0.get(self.0.len() / 2).copied();
        let some = middle.filter(|rate| *rate > 0.0);
        some.context("nothing was done in the time that there was: give it more --seconds")
    }
}

/// How many records the log has taken in a turn, and how long that took.
async fn append(
    log: &SledLog,
    source: &mut Source,
    in_flight: usize,
    turn: &Turn,
) -> anyhow::Result<(usize, Duration)> {
    let group = in_flight.div_ceil(COMMITS);
    let (mut records, mut waiting) = (0, VecDeque::<InFlight<'_>>::new());
    let began = Instant::now();
    while turn.lasts() {
        if waiting.len() * group >= in_flight
            && let Some(oldest) = waiting.pop_front()
        {
            oldest.await.context("an append failed")?;
            records += group;
        }
        waiting.push_back(log.append(source.batch(group)?.0));
    }
    for rest in waiting {
        rest.await.context("an append failed")?;
        records += group;
    }
    Ok((records, began.elapsed()))
}

/// Seals records for a room whose head it keeps, as a broker would.
#[derive(Clone)]
struct Source {
    room: RoomName,
    head: Head,
}

impl Source {
    /// So many records, and how many bytes they have.
    fn batch(&mut self, records: usize) -> anyhow::Result<(Batch, usize)> {
        let mut builder = RunBuilder::new(self.head);
        let draft = Draft {
            author: Author {
                user: None,
                session: SessionId::new(1),
                site: None,
            },
            op_id: None,
            base: None,
            kind: Kind::Update,
            payload: vec![b'x'; PAYLOAD_BYTES].into(),
        };
        for _ in 0..records {
            builder.push(Timestamp::from_micros(1), &draft);
        }
        let run = builder.finish().context("a run of records")?;
        self.head = run.after();
        let bytes = run.bytes().len();
        let entries = vec![Entry::Run(self.room.clone(), run)];
        Ok((Batch { entries }, bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_that_was_disturbed_does_not_count() {
        let mut rates = Rates::default();
        for records in [100, 1, 90, 110, 0] {
            rates.add(records, Duration::from_secs(1));
        }
        rates.add(0, Duration::ZERO);
        assert!((rates.median().unwrap() - 90.0).abs() < 1e-9);
        assert!(Rates::default().median().is_err());
    }
}
