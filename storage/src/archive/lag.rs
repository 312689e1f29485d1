//! How far an archive is behind its log.
//!
//! While an archiver runs it is told of every run that is committed ([`Archiver::moved`]), so it
//! knows without looking. What was there before it began is looked for once, before the archive is
//! taken over: a server that starts on a store that fails, or on another's archive, tells the truth
//! of what is not archived all the same.
//!
//! [`Archiver::moved`]: super::Archiver::moved

use std::time::Duration;

use protocol::{Head, Run};
use tokio::time::Instant;

use super::ArchiveError;
use super::archiver::Work;
use super::catalogue::Room;
use super::settings::Contents;
use crate::log::{RoomRow, RoomState};

/// How many rooms are looked at together.
const PAGE: usize = 256;

/// Records that are in the log and not in the archive.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Behind {
    pub(super) records: u64,
    /// Their sealed bytes.
    pub(super) bytes: u64,
    /// When that was noted, and how long the oldest had been waiting by then.
    pub(super) since: Option<(Instant, Duration)>,
}

impl Behind {
    /// How long the oldest has been waiting.
    pub(super) fn age(&self) -> Duration {
        (self.since).map_or(Duration::ZERO, |(noted, age)| noted.elapsed() + age)
    }

    /// So many records are in the archive.
    pub(super) fn archived(&mut self, records: u64, bytes: u64) {
        self.records = self.records.saturating_sub(records);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// At least so far.
    fn at_least(&mut self, other: Self) {
        self.records = self.records.max(other.records);
        self.bytes = self.bytes.max(other.bytes);
        if other.age() > self.age() {
            self.since = other.since;
        }
    }
}

impl Work {
    /// Looks for what the archive lacks.
    pub(super) async fn survey(&self) -> Result<(), ArchiveError> {
        if self.options.contents == Contents::SnapshotsOnly {
            return Ok(());
        }
        let failed = |error: crate::ReadError| ArchiveError::Log(error.to_string());
        let mut behind = Behind::default();
        let mut oldest = None;
        let mut after = None;
        loop {
            let rows = self.log.rooms(after.as_ref(), PAGE).await.map_err(failed)?;
            let Some(last) = rows.last() else { break };
            after = Some(last.room.clone());
            for RoomRow { room, state } in &rows {
                let archived = {
                    let catalogue = self.archive.inner.catalogue.read();
                    catalogue.rooms.get(room).map_or(Head::EMPTY, Room::head)
                };
                let at = archived.seq.max(state.start.seq);
                if at >= state.head.seq {
                    continue;
                }
                let records = state.head.seq.since(at);
                behind.records += records;
                behind.bytes += share(state, records);
                // A room that cannot be read is told of by the round.
                let first = self.log.read(room, at, 0).await.unwrap_or_default();
                let first = first
                    .first()
                    .map(Run::records)
                    .and_then(|mut run| run.next());
                if let Some(Ok(first)) = first {
                    oldest = Some(oldest.map_or(first.at, |at| first.at.min(at)));
                }
            }
        }
        if behind.records > 0 {
            let waited = oldest.map_or(0, |at| self.now().micros().saturating_sub(at.micros()));
            behind.since = Some((Instant::now(), Duration::from_micros(waited)));
        }
        self.shared.state.lock().round.at_least(behind);
        Ok(())
    }
}

/// About how many of a room's bytes its last `records` have: all are taken for equally long.
fn share(state: &RoomState, records: u64) -> u64 {
    let all = state.head.seq.since(state.start.seq).max(1);
    let bytes = u128::from(state.bytes) * u128::from(records) / u128::from(all);
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
