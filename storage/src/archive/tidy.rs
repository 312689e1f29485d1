//! Giving space back: in the log, once the archive has it, and in the archive, once nobody needs it.
//!
//! An object is garbage when none of the newest manifests names it and it is older than a minimum
//! age: an upload that a crash left, or a segment that was replaced. Where nothing new comes, older
//! manifests would name what was replaced for ever, so the newest is repeated in their place. Objects of a later epoch are
//! another writer's and are left alone, whatever this one believes; so is what has another name
//! than the archive gives.

use std::collections::HashSet;
use std::time::Duration;

use protocol::{RoomName, Seq, Timestamp};

use super::ArchiveError;
use super::archiver::{Step, Stop, Work};
use super::bucket::Listed;
use super::catalogue::Span;
use super::manifest::Manifest;
use super::report::Trimmed;
use super::segment::SegmentId;
use super::settings::Contents;
use crate::log::{AppendError, Batch, Entry, RoomRow};

/// How many rooms are looked at together.
const PAGE: usize = 256;
/// How many rooms are trimmed in one batch.
const TRIM_BATCH: usize = 64;

impl Work {
    /// Trims what is in the archive and older than `keep` from the log, up to snapshots.
    pub(super) async fn trim(&mut self, keep: Duration) -> Result<(), Stop> {
        if self.options.contents == Contents::SnapshotsOnly {
            return Ok(());
        }
        let old = self.now().micros();
        let keep = keep.as_micros().min(u128::from(u64::MAX)) as u64;
        let old = Timestamp::from_micros(old.saturating_sub(keep));
        let mut after: Option<RoomName> = None;
        let mut total = Trimmed::default();
        loop {
            let rows = self.log.rooms(after.as_ref(), PAGE).await;
            let rows = rows.map_err(|error| ArchiveError::Log(error.to_string()))?;
            let Some(last) = rows.last() else { break };
            after = Some(last.room.clone());
            let wanted: Vec<(RoomName, Seq, u64)> = (rows.iter())
                .filter_map(|row| {
                    let up_to = self.trimmable(row, old)?;
                    let records = up_to.since(row.state.start.seq);
                    Some((row.room.clone(), up_to, records))
                })
                .collect();
            for rooms in wanted.chunks(TRIM_BATCH) {
                self.step(Step::BeforeTrim)?;
                let entries = rooms
                    .iter()
                    .map(|(room, up_to, _)| Entry::Trim(room.clone(), *up_to))
                    .collect();
                match self.log.append(Batch { entries }).await {
                    Ok(_) => {
                        total.rooms += rooms.len() as u64;
                        total.records += rooms.iter().map(|(.., records)| records).sum::<u64>();
                    }
                    Err(AppendError::Closed) => return Err(ArchiveError::Stopped.into()),
                    Err(error) => return Err(ArchiveError::Log(error.to_string()).into()),
                }
                self.step(Step::Trimmed)?;
            }
        }
        if total.rooms > 0 {
            self.shared.state.lock().status.trimmed_records += total.records;
            self.observer.trimmed(&total);
        }
        Ok(())
    }

    /// Up to where a room may be trimmed, if that is further than it is.
    fn trimmable(&self, row: &RoomRow, old: Timestamp) -> Option<Seq> {
        let allowed = (self.options.trim_floor)(&row.room);
        let catalogue = self.archive.inner.catalogue.read();
        let room = catalogue.rooms.get(&row.room)?;
        // A hole is worth keeping what the log has, whatever else is known.
        let is_damaged = |span: &Span| self.damaged.contains_key(&span.segment);
        if room.gap().is_some() || room.spans.iter().any(is_damaged) {
            return None;
        }
        let allowed = allowed.min(room.head().seq);
        let snapshots = room.snapshots.iter().rev().map(|(head, _)| head);
        let newest = snapshots
            .copied()
            .find(|head| head.seq <= allowed && head.at <= old)?;
        (newest.seq > row.state.start.seq).then_some(newest.seq)
    }

    /// Removes objects that nobody needs.
    pub(super) async fn collect_garbage(&mut self) -> Result<(), Stop> {
        let mut manifests = self.listed_manifests().await?;
        let newest = self.ours().number;
        if let Some((number, _)) = manifests.last()
            && *number > newest
        {
            let other = self.archive.inner.manifest(*number).await?;
            if other.writer != self.writer {
                let (epoch, by) = (self.epoch, other.epoch);
                return Err(ArchiveError::Fenced { epoch, by }.into());
            }
        }
        if self.push_out(&manifests).await? {
            manifests = self.listed_manifests().await?;
        }
        let keep = self.options.keep_manifests.max(1);
        let kept = manifests.split_off(manifests.len().saturating_sub(keep));
        let mut named: HashSet<SegmentId> = HashSet::new();
        for (number, _) in &kept {
            named.extend(self.named_by(*number).await?);
        }
        let inner = &self.archive.inner;
        let segments = self.bucket.list("segments").await;
        let segments =
            segments.map_err(|failure| inner.failed("list the segments", "segments", failure))?;
        let orphans = segments.into_iter().filter(|object| {
            let name = object.path.strip_prefix("segments/");
            let id = name.and_then(SegmentId::parse);
            id.is_some_and(|id| id.epoch <= self.epoch && !named.contains(&id))
        });
        let garbage = manifests
            .into_iter()
            .map(|(_, object)| object)
            .chain(orphans);
        let mut collected = 0;
        for object in garbage.filter(|object| self.is_of_age(object)) {
            let deleted = self.bucket.delete(&object.path).await;
            deleted.map_err(|failure| inner.failed("delete", &object.path, failure))?;
            collected += 1;
            self.step(Step::Collected)?;
        }
        if collected > 0 {
            self.observer.collected(collected);
        }
        Ok(())
    }

    /// The manifests in the store, by number.
    async fn listed_manifests(&self) -> Result<Vec<(u64, Listed)>, ArchiveError> {
        let listed = self.bucket.list("manifests").await;
        let listed = listed.map_err(|failure| {
            (self.archive.inner).failed("list the manifests", "manifests", failure)
        })?;
        let mut manifests: Vec<(u64, Listed)> = (listed.into_iter())
            .filter_map(|object| {
                let name = object.path.strip_prefix("manifests/")?;
                Some((Manifest::parse_name(name)?, object))
            })
            .collect();
        manifests.sort_by_key(|(number, _)| *number);
        Ok(manifests)
    }

    /// Repeats the newest manifest until none is kept that was superseded a minimum age ago and names
    /// what the newest does not. Gives whether there was such a one.
    ///
    /// They are pushed out rather than dropped, so that there are always as many manifests, and the
    /// loss of one is not that of the archive.
    async fn push_out(&mut self, manifests: &[(u64, Listed)]) -> Result<bool, Stop> {
        let alive: HashSet<SegmentId> = self.ours().segments.iter().map(|s| s.id).collect();
        let keep = self.options.keep_manifests.max(1);
        let superseded = manifests.windows(2).enumerate().rev().take(keep - 1);
        for (at, pair) in superseded {
            let [(number, _), (_, successor)] = pair else {
                break;
            };
            let old = self.is_of_age(successor);
            if old
                && !self
                    .named_by(*number)
                    .await?
                    .iter()
                    .all(|id| alive.contains(id))
            {
                let newer = manifests.len() - 1 - at;
                for _ in newer..keep {
                    self.publish(&[], Vec::new()).await?;
                }
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The segments that a manifest names.
    async fn named_by(&self, number: u64) -> Result<Vec<SegmentId>, ArchiveError> {
        let ids = |manifest: &Manifest| manifest.segments.iter().map(|s| s.id).collect();
        if let Some(known) = self.manifests.iter().find(|known| known.number == number) {
            return Ok(ids(known));
        }
        match self.archive.inner.manifest(number).await {
            Ok(manifest) => Ok(ids(&manifest)),
            // A newer one was written in its place; it names nothing that can be read.
            Err(ArchiveError::Damaged { .. }) => {
                tracing::warn!(path = %Manifest::path(number), "a manifest is damaged");
                Ok(Vec::new())
            }
            Err(error) => Err(error),
        }
    }

    /// Whether an object has been there for so long that nobody may still be about to read it.
    fn is_of_age(&self, object: &Listed) -> bool {
        let age = (self.options.clock)().duration_since(object.modified);
        age.unwrap_or_default() >= self.options.garbage_min_age
    }
}
