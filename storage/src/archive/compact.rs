//! Merging small segments, and forgetting what retention and deletions allow.
//!
//! Both write new segments and publish a manifest that names them in place of the old ones; the
//! old objects stay until they are garbage. Rooms are merged one after another, so that a room's
//! blocks come to lie together and small ones become large. A segment that turns out to be damaged
//! is left as it is, and told of: what is whole of it can still be read, and it may be put back.
//!
//! # Where retention cuts
//! Only at a snapshot, so that everything after it can be folded, and only where every record that
//! is to be kept lies after it: at the newest snapshot at or before the moment (or the Seq) that
//! the setting names. That snapshot is kept. A room without one is kept whole.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use protocol::envelope::Damage;
use protocol::{Head, RoomName, Run, Seq, Timestamp};
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_128;

use super::ArchiveError;
use super::archiver::{Step, Stop, Work};
use super::catalogue::{Floor, Room};
use super::index::{EntryKind, IndexEntry, SegmentIndex};
use super::limits::BLOCK_BYTES;
use super::report::Compacted;
use super::segment::{SegmentBuilder, SegmentId, SegmentMeta};
use super::settings::Retention;

/// An input up to this size is read as a whole, a larger one block by block.
const WHOLE_BYTES: u64 = 32 << 20;
/// Blocks of at least this are copied as they are.
const LARGE_BLOCK: u32 = (BLOCK_BYTES / 2) as u32;
/// A segment is written anew when at least one in so many of its bytes is dead; what was deleted
/// does not wait for that.
const DEAD_SHARE: u64 = 4;

/// A segment that is being merged.
struct Input {
    meta: SegmentMeta,
    index: Arc<SegmentIndex>,
    whole: Option<Bytes>,
}

type Floors = BTreeMap<RoomName, Floor>;

/// What of a segment nobody may read any more.
#[derive(Default)]
struct Dead {
    bytes: u64,
    /// Whether some of it is of a deleted room.
    erased: bool,
}

impl Work {
    /// Merges small segments when there are enough of them.
    pub(super) async fn merge_small(&mut self) -> Result<(), Stop> {
        loop {
            let limit = self.options.small_segment_bytes;
            let segments = self.ours().segments.iter();
            let mut small: Vec<SegmentMeta> = segments
                .filter(|segment| segment.length < limit && self.is_whole(segment.id))
                .copied()
                .collect();
            if small.len() < self.options.merge_segments.max(2) {
                return Ok(());
            }
            // Oldest first; what is merged stays within twice the limit.
            small.sort_by_key(|segment| segment.id);
            let mut bytes = 0;
            small.retain(|segment| {
                bytes += segment.length;
                bytes <= limit * 2
            });
            if small.len() < 2 {
                return Ok(());
            }
            self.compact(small, Floors::new()).await?;
        }
    }

    /// Applies retention, and writes segments anew of which enough is dead, or which hold anything of
    /// a deleted room.
    pub(super) async fn retain(&mut self) -> Result<(), Stop> {
        let floors = self.cuts();
        let mut dead: Vec<(SegmentMeta, u64)> = Vec::new();
        let segments = self.ours().segments.clone();
        for meta in segments {
            if !self.is_whole(meta.id) {
                continue;
            }
            let index = match self.archive.inner.index(meta.id).await {
                Ok(index) => index,
                Err(error) if self.sets_aside(&error, &[meta]) => continue,
                Err(error) => return Err(error.into()),
            };
            let Dead { bytes, erased } = self.dead(&index, &floors);
            if erased || (bytes > 0 && bytes >= meta.index_offset / DEAD_SHARE) {
                dead.push((meta, bytes));
            }
        }
        let mut floors = Some(floors).filter(|floors| !floors.is_empty());
        // A few at a time, so that what is packed stays small.
        while !dead.is_empty() {
            let mut bytes = 0;
            let limit = self.options.small_segment_bytes * 2;
            let fits = dead
                .iter()
                .take_while(|(meta, dead)| {
                    bytes += meta.length.saturating_sub(*dead);
                    bytes <= limit
                })
                .count()
                .max(1);
            let inputs = dead.drain(..fits).map(|(meta, _)| meta).collect();
            self.compact(inputs, floors.take().unwrap_or_default())
                .await?;
        }
        if let Some(floors) = floors {
            // Nothing is worth rewriting yet, but what is cut is not shown any more.
            self.compact(Vec::new(), floors).await?;
        }
        Ok(())
    }

    /// Where retention wants rooms cut that are not.
    fn cuts(&self) -> Floors {
        let now = self.now();
        let catalogue = self.archive.inner.catalogue.read();
        let mut spaces: HashMap<&str, Retention> = HashMap::new();
        let mut floors = Floors::new();
        for (name, room) in &catalogue.rooms {
            let retention = *spaces
                .entry(name.space())
                .or_insert_with(|| (self.options.retention)(name.space()));
            if let Some(head) = cut(room, retention, now) {
                let floor = Floor {
                    head,
                    erased: false,
                    created: room.created(),
                };
                floors.insert(name.clone(), floor);
            }
        }
        floors
    }

    /// What of a segment's blocks nobody may read any more.
    fn dead(&self, index: &SegmentIndex, floors: &Floors) -> Dead {
        let catalogue = self.archive.inner.catalogue.read();
        let mut dead = Dead::default();
        for entry in &index.entries {
            let known = catalogue.rooms.get(&entry.room);
            let floor = floor_of(&entry.room, known, floors);
            if !lives(entry, floor.as_ref()) {
                dead.bytes += u64::from(entry.stored_len);
                dead.erased |= floor.is_some_and(|floor| floor.erased);
            }
        }
        dead
    }

    /// Writes what lives of some segments into one new one, with new floors, in their place; those
    /// that turn out to be damaged stay.
    async fn compact(&mut self, metas: Vec<SegmentMeta>, floors: Floors) -> Result<(), Stop> {
        loop {
            let whole: Vec<SegmentMeta> = (metas.iter())
                .filter(|meta| self.is_whole(meta.id))
                .copied()
                .collect();
            if whole.is_empty() && floors.is_empty() {
                return Ok(());
            }
            match self.compact_whole(whole, &floors).await {
                Err(Stop::Error(error)) if self.sets_aside(&error, &metas) => {}
                done => return done,
            }
        }
    }

    /// Whether a segment may be read from, as far as is known.
    fn is_whole(&self, id: SegmentId) -> bool {
        let catalogue = self.archive.inner.catalogue.read();
        !self.damaged.contains_key(&id) && !catalogue.unreadable.contains_key(&id)
    }

    /// Notes which of some segments an error says is damaged. False when it says so of none, or of
    /// one that was known to be.
    fn sets_aside(&mut self, error: &ArchiveError, metas: &[SegmentMeta]) -> bool {
        let (ArchiveError::Damaged { object, .. } | ArchiveError::Missing { object }) = error
        else {
            return false;
        };
        let mut metas = metas.iter();
        let found = metas.find(|meta| self.bucket.name(&meta.id.to_string()) == *object);
        let new = found.filter(|meta| !self.damaged.contains_key(&meta.id));
        let Some(meta) = new else { return false };
        tracing::error!(%error, "a segment is damaged; it is left as it is");
        self.damaged.insert(meta.id, error.clone());
        true
    }

    /// Looks whether what was damaged has been put back.
    pub(super) async fn look_again(&mut self) -> Result<(), Stop> {
        let inner = &self.archive.inner;
        for id in self.damaged.keys().copied().collect::<Vec<_>>() {
            let meta = inner.catalogue.read().segments.get(&id).copied();
            let Some(meta) = meta else {
                self.damaged.remove(&id);
                continue;
            };
            let whole = inner.get(&id.to_string(), None, meta.length as usize).await;
            if whole.is_ok_and(|whole| xxh3_128(&whole) == meta.hash) {
                tracing::info!(segment = %id, "a segment that was damaged is whole again");
                self.damaged.remove(&id);
            }
        }
        Ok(())
    }

    async fn compact_whole(
        &mut self,
        metas: Vec<SegmentMeta>,
        floors: &Floors,
    ) -> Result<(), Stop> {
        let begun = Instant::now();
        let mut inputs = Vec::with_capacity(metas.len());
        for meta in metas {
            let inner = &self.archive.inner;
            let index = inner.index(meta.id).await?;
            let whole = if meta.length <= WHOLE_BYTES {
                let path = meta.id.to_string();
                let range = Some(0..meta.length);
                Some(inner.get(&path, range, meta.length as usize).await?)
            } else {
                None
            };
            inputs.push(Input { meta, index, whole });
        }
        let mut names: Vec<RoomName> = (inputs.iter())
            .flat_map(|input| input.index.entries.iter().map(|entry| entry.room.clone()))
            .chain(floors.keys().cloned())
            .collect();
        names.sort();
        names.dedup();
        let mut builder = SegmentBuilder::new(self.next_segment());
        let mut dropped = 0;
        for name in names {
            let floor = {
                let catalogue = self.archive.inner.catalogue.read();
                floor_of(&name, catalogue.rooms.get(&name), floors)
            };
            dropped += self
                .merge(&name, floor, floors, &inputs, &mut builder)
                .await?;
            tokio::task::yield_now().await;
        }
        let mut report = Compacted {
            from_segments: inputs.len() as u64,
            from_bytes: inputs.iter().map(|input| input.meta.length).sum(),
            dropped_records: dropped,
            ..Compacted::default()
        };
        let replaced = inputs.iter().map(|input| input.meta.id).collect();
        drop(inputs);
        let mut new = Vec::new();
        if !builder.is_empty() {
            let sealed = tokio::task::spawn_blocking(move || builder.finish()).await;
            let Ok(sealed) = sealed else {
                return Err(ArchiveError::Stopped.into());
            };
            report.to_segments = 1;
            report.to_bytes = sealed.meta.length;
            new.push(self.upload(sealed).await?);
        }
        self.step(Step::BeforeReplace)?;
        self.publish(&new, replaced).await?;
        report.took = begun.elapsed();
        self.observer.compacted(&report);
        Ok(())
    }

    /// Merges one room: what lives of it, and its floor if an input or retention has one. Gives
    /// the number of records that were left out.
    async fn merge(
        &self,
        name: &RoomName,
        floor: Option<Floor>,
        floors: &Floors,
        inputs: &[Input],
        builder: &mut SegmentBuilder,
    ) -> Result<u64, Stop> {
        let mut entries: Vec<(&Input, &IndexEntry)> = Vec::new();
        let mut has_floor = floors.contains_key(name);
        for input in inputs {
            for kind in [EntryKind::Records, EntryKind::Snapshot] {
                entries.extend(input.index.of(name, kind).iter().map(|e| (input, e)));
            }
            has_floor |= [EntryKind::Cut, EntryKind::Erasure]
                .iter()
                .any(|kind| !input.index.of(name, *kind).is_empty());
        }
        entries.sort_by_key(|(_, entry)| (entry.kind, entry.after.seq));
        let mut dropped = 0;
        if let Some(floor) = floor.filter(|_| has_floor) {
            let kind = if floor.erased {
                EntryKind::Erasure
            } else {
                EntryKind::Cut
            };
            builder.push_floor(name, kind, floor.head, floor.created);
        }
        for (input, entry) in entries {
            if !lives(entry, floor.as_ref()) {
                dropped += entry.count();
                continue;
            }
            let block = self.block(input, entry).await?;
            let whole = entry.kind == EntryKind::Snapshot || entry.raw_len >= LARGE_BLOCK;
            let damaged = |damage| -> Stop {
                let path = input.meta.id.to_string();
                let seq = Some(entry.before.seq.next());
                (self.archive.inner)
                    .damaged(&path, Some(name), seq, damage)
                    .into()
            };
            if whole {
                if crc32c::crc32c(&block) != entry.crc {
                    return Err(damaged(Damage::Checksum));
                }
                builder.push_block(entry, &block);
            } else {
                let run: Run = entry.open_records(&block).map_err(damaged)?;
                builder
                    .push_run(name, &run)
                    .map_err(|(_, damage)| damaged(damage))?;
            }
        }
        Ok(dropped)
    }

    async fn block(&self, input: &Input, entry: &IndexEntry) -> Result<Bytes, ArchiveError> {
        let path = input.meta.id.to_string();
        let range = entry.offset..entry.end();
        match &input.whole {
            Some(whole) => {
                let (from, to) = (range.start as usize, range.end as usize);
                let inside = to <= whole.len();
                inside.then(|| whole.slice(from..to)).ok_or_else(|| {
                    let room = Some(&entry.room);
                    let seq = Some(entry.before.seq.next());
                    (self.archive.inner).damaged(&path, room, seq, Damage::Torn)
                })
            }
            None => {
                let max = entry.stored_len as usize;
                self.archive.inner.get(&path, Some(range), max).await
            }
        }
    }
}

/// The floor of a room, with retention's new ones.
fn floor_of(name: &RoomName, room: Option<&Room>, floors: &Floors) -> Option<Floor> {
    let known = room.and_then(|room| room.floor);
    let new = floors.get(name).copied();
    // A new one lies higher, else it would not have been asked for.
    new.or(known)
}

/// Whether a block may still be read.
fn lives(entry: &IndexEntry, floor: Option<&Floor>) -> bool {
    let Some(floor) = floor else { return true };
    match entry.kind {
        EntryKind::Records => entry.after.seq > floor.head.seq,
        EntryKind::Snapshot => {
            entry.after.seq > floor.head.seq || (entry.after.seq == floor.head.seq && !floor.erased)
        }
        EntryKind::Cut | EntryKind::Erasure => true,
    }
}

/// Where a room is to be cut, if it is to be cut higher than it is.
fn cut(room: &Room, retention: Retention, now: Timestamp) -> Option<Head> {
    let wanted = |head: &Head| match retention {
        Retention::All => false,
        Retention::For(age) => {
            let age = age.min(Duration::from_secs(1 << 40)).as_micros() as u64;
            head.at.micros() <= now.micros().saturating_sub(age)
        }
        Retention::Last(records) => {
            // A store of keyframes has no records of its own.
            let newest = room
                .snapshots
                .last()
                .map_or(Seq::ZERO, |(head, _)| head.seq);
            let last = room.head().seq.max(newest).get();
            head.seq.get() <= last.saturating_sub(records)
        }
    };
    let heads = room.snapshots.iter().rev().map(|(head, _)| head);
    let newest = heads.copied().find(wanted)?;
    (newest.seq > room.start().seq).then_some(newest)
}
