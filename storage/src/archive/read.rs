//! Reading: from a room's spans to segments' indexes to blocks, through the caches.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use protocol::envelope::Damage;
use protocol::{RoomName, Run, Seq, Timestamp};

use super::bucket::{Failure, retried};
use super::catalogue::{Room, Span};
use super::index::{EntryKind, IndexEntry, SegmentIndex, TRAILER_BYTES};
use super::limits::{MAX_INDEX_BYTES, MAX_MANIFEST_BYTES, OPEN_CONCURRENCY};
use super::manifest::Manifest;
use super::segment::{SegmentId, SegmentMeta};
use super::{Activity, ArchiveError, Inner, READ_BACKOFF, Snapshot};
use crate::pick::{self, Pick};

/// One request to the store takes no more than this of a room's neighbouring blocks.
const FETCH_BYTES: u64 = 4 << 20;
/// Larger blocks are decoded where it does not hold other tasks up.
const INLINE_BYTES: u32 = 512 << 10;

impl Inner {
    pub(super) async fn refresh(&self) -> Result<(), ArchiveError> {
        let mut seen = None;
        loop {
            let Some(number) = self.newest_manifest().await? else {
                return Ok(());
            };
            {
                let catalogue = self.catalogue.read();
                if catalogue.manifest.number >= number && catalogue.unreadable.is_empty() {
                    return Ok(());
                }
            }
            // What the newest manifest names is there, unless a newer one has come meanwhile and
            // what was replaced has been collected.
            let last = seen.replace(number) == Some(number);
            match self.manifest(number).await {
                Ok(manifest) => {
                    if self.adopt(manifest, last).await? {
                        return Ok(());
                    }
                }
                Err(ArchiveError::Missing { .. }) if !last => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes over what a manifest says, reading the indexes that are not known yet. False when
    /// one is missing, unless this is the `last` try.
    async fn adopt(&self, manifest: Manifest, last: bool) -> Result<bool, ArchiveError> {
        let new: Vec<SegmentMeta> = {
            let catalogue = self.catalogue.read();
            let known = |id: &SegmentId| {
                catalogue.segments.contains_key(id) && !catalogue.unreadable.contains_key(id)
            };
            let segments = manifest.segments.iter();
            segments
                .filter(|segment| !known(&segment.id))
                .copied()
                .collect()
        };
        let read = stream::iter(new)
            .map(|meta| async move { (meta, self.load_index(&meta).await) })
            .buffered(OPEN_CONCURRENCY)
            .collect::<Vec<_>>()
            .await;
        let mut found = Vec::new();
        let mut unreadable = Vec::new();
        for (meta, index) in read {
            match index {
                Ok(index) => found.push((meta, index)),
                // One bad segment does not hide the others' rooms.
                Err(ArchiveError::Missing { .. }) if !last => return Ok(false),
                Err(error @ (ArchiveError::Damaged { .. } | ArchiveError::Missing { .. })) => {
                    unreadable.push((meta, error));
                }
                Err(error) => return Err(error),
            }
        }
        let mut catalogue = self.catalogue.write();
        if catalogue.manifest.number <= manifest.number {
            catalogue.follow(manifest, &found);
            for (meta, error) in unreadable {
                catalogue.segments.insert(meta.id, meta);
                catalogue.unreadable.insert(meta.id, error);
            }
        }
        Ok(true)
    }

    /// The number of the newest manifest.
    pub(super) async fn newest_manifest(&self) -> Result<Option<u64>, ArchiveError> {
        let list = || self.bucket.list("manifests");
        let listed = retried(self.options.read_tries, READ_BACKOFF, list)
            .await
            .map_err(|failure| self.failed("list the manifests", "manifests", failure))?;
        let numbers = listed.iter().filter_map(|object| {
            let name = object.path.strip_prefix("manifests/")?;
            Manifest::parse_name(name)
        });
        Ok(numbers.max())
    }

    pub(super) async fn manifest(&self, number: u64) -> Result<Manifest, ArchiveError> {
        let path = Manifest::path(number);
        let bytes = self.get(&path, None, MAX_MANIFEST_BYTES).await?;
        Manifest::open(number, &bytes).map_err(|damage| self.damaged(&path, None, None, damage))
    }

    pub(super) async fn get(
        &self,
        path: &str,
        range: Option<std::ops::Range<u64>>,
        max: usize,
    ) -> Result<Bytes, ArchiveError> {
        let get = || self.bucket.get(path, range.clone(), max);
        let got = retried(self.options.read_tries, READ_BACKOFF, get).await;
        let failure = match (got, range) {
            (Ok(bytes), _) => return Ok(bytes),
            // A store refuses a range that the object does not reach, and does not say so alike.
            (Err(failure @ Failure::Other(_)), Some(range)) => {
                let length = self.bucket.length(path).await;
                if length.is_ok_and(|length| length < range.end) {
                    return Err(self.damaged(path, None, None, Damage::Torn));
                }
                failure
            }
            (Err(failure), _) => failure,
        };
        Err(self.failed("read", path, failure))
    }

    pub(super) fn failed(&self, doing: &str, path: &str, failure: Failure) -> ArchiveError {
        let object = self.bucket.name(path);
        match failure {
            Failure::NotFound => ArchiveError::Missing { object },
            Failure::Exists => ArchiveError::Store {
                doing: format!("{doing} {object}"),
                why: "another object has this name already".to_owned(),
            },
            Failure::Other(why) => ArchiveError::Store {
                doing: format!("{doing} {object}"),
                why,
            },
        }
    }

    pub(super) fn damaged(
        &self,
        path: &str,
        room: Option<&RoomName>,
        seq: Option<Seq>,
        damage: Damage,
    ) -> ArchiveError {
        ArchiveError::Damaged {
            object: self.bucket.name(path),
            room: room.cloned(),
            seq,
            damage,
        }
    }

    async fn load_index(&self, meta: &SegmentMeta) -> Result<Arc<SegmentIndex>, ArchiveError> {
        let path = meta.id.to_string();
        let range = meta.index_offset..meta.length;
        let max = MAX_INDEX_BYTES + TRAILER_BYTES;
        let tail = self.get(&path, Some(range), max).await?;
        let index = SegmentIndex::open(meta, &tail)
            .map_err(|damage| self.damaged(&path, None, None, damage))?;
        let index = Arc::new(index);
        self.indexes
            .lock()
            .put(meta.id, Arc::clone(&index), index.bytes);
        Ok(index)
    }

    pub(super) async fn index(&self, id: SegmentId) -> Result<Arc<SegmentIndex>, ArchiveError> {
        if let Some(index) = self.indexes.lock().get(&id) {
            return Ok(index);
        }
        let meta = self.catalogue.read().segments.get(&id).copied();
        let Some(meta) = meta else {
            // Replaced since the caller looked.
            let object = self.bucket.name(&id.to_string());
            return Err(ArchiveError::Missing { object });
        };
        self.load_index(&meta).await
    }

    fn with_room<T>(&self, room: &RoomName, look: impl FnOnce(&Room) -> T) -> T {
        let catalogue = self.catalogue.read();
        match catalogue.rooms.get(room) {
            Some(found) => look(found),
            None => look(&Room::default()),
        }
    }

    pub(super) async fn read(
        &self,
        room: &RoomName,
        after: Seq,
        up_to: Seq,
        max_bytes: usize,
    ) -> Result<Vec<Run>, ArchiveError> {
        match self.read_once(room, after, up_to, max_bytes).await {
            Err(ArchiveError::Missing { .. }) => {
                // A compaction has replaced what was being read, here or in another process.
                self.refresh().await?;
                self.read_once(room, after, up_to, max_bytes).await
            }
            done => done,
        }
    }

    async fn read_once(
        &self,
        room: &RoomName,
        after: Seq,
        up_to: Seq,
        max_bytes: usize,
    ) -> Result<Vec<Run>, ArchiveError> {
        let (start, head, spans) = self.with_room(room, |found| {
            let from = found.spans.partition_point(|span| span.after.seq <= after);
            // A span that begins `max_bytes` later is not reached.
            let mut left = max_bytes as u64;
            let wanted = found.spans[from..]
                .iter()
                .enumerate()
                .take_while(|(i, span)| {
                    let reached = *i < 2 || left > 0;
                    if *i > 0 {
                        left = left.saturating_sub(span.bytes);
                    }
                    reached
                });
            let wanted: Vec<Span> = wanted.map(|(_, span)| *span).collect();
            (found.start().seq, found.head().seq, wanted)
        });
        if after < start {
            return Err(ArchiveError::Trimmed { start });
        }
        let mut pick = Pick::new(after, max_bytes).up_to(up_to);
        for span in spans {
            if span.before.seq > pick.at() {
                return self.gap(room, pick);
            }
            match self.read_span(room, &span, &mut pick).await {
                // What lies before the damage is given; who asks for more hears of it.
                Err(error) if error.is_damage() && pick.at() > after => return Ok(pick.finish()),
                read => read?,
            }
            if pick.is_full() {
                return Ok(pick.finish());
            }
        }
        if pick.at() < head && pick.at() == after {
            return self.gap(room, pick);
        }
        Ok(pick.finish())
    }

    /// Records are missing after what was picked: gives that, or says so.
    fn gap(&self, room: &RoomName, pick: Pick) -> Result<Vec<Run>, ArchiveError> {
        let at = pick.at();
        let runs = pick.finish();
        if !runs.is_empty() {
            return Ok(runs);
        }
        let catalogue = self.catalogue.read();
        // An unreadable segment is the likely place.
        match catalogue.unreadable.keys().next() {
            Some(id) => {
                Err(self.damaged(&id.to_string(), Some(room), Some(at.next()), Damage::Torn))
            }
            None => Err(ArchiveError::Damaged {
                object: self.bucket.name(&Manifest::path(catalogue.manifest.number)),
                room: Some(room.clone()),
                seq: Some(at.next()),
                damage: Damage::Torn,
            }),
        }
    }

    async fn read_span(
        &self,
        room: &RoomName,
        span: &Span,
        pick: &mut Pick,
    ) -> Result<(), ArchiveError> {
        let index = self.index(span.segment).await?;
        let entries = index.of(room, EntryKind::Records);
        let mut at = entries.partition_point(|entry| entry.after.seq <= pick.at());
        while at < entries.len() && entries[at].before.seq < span.after.seq && !pick.is_full() {
            // Neighbours in the object come with one request, as far as they are wanted.
            let mut to = at + 1;
            let mut wanted = u64::from(entries[at].raw_len);
            while to < entries.len()
                && entries[to].before == entries[to - 1].after
                && entries[to].offset == entries[to - 1].end()
                && entries[to].before.seq < pick.last()
                && entries[to].end() - entries[at].offset <= FETCH_BYTES
                && wanted < pick.left() as u64 + u64::from(entries[at].raw_len)
            {
                wanted += u64::from(entries[to].raw_len);
                to += 1;
            }
            self.read_blocks(room, span.segment, &entries[at..to], pick)
                .await?;
            at = to;
        }
        Ok(())
    }

    /// Reads blocks that lie end to end in a segment.
    async fn read_blocks(
        &self,
        room: &RoomName,
        id: SegmentId,
        mut entries: &[IndexEntry],
        pick: &mut Pick,
    ) -> Result<(), ArchiveError> {
        let path = id.to_string();
        let damaged =
            |seq, damage| -> ArchiveError { self.damaged(&path, Some(room), Some(seq), damage) };
        let mut give = |run: &Run| -> Result<bool, ArchiveError> {
            pick.offer(run)
                .map_err(|damage| damaged(run.first(), damage))?;
            Ok(pick.is_full())
        };
        while let Some((first, rest)) = entries.split_first() {
            let cached = self.blocks.lock().get(&(id, first.offset));
            let Some(run) = cached else { break };
            entries = rest;
            if give(&run)? {
                return Ok(());
            }
        }
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
            return Ok(());
        };
        let range = first.offset..last.end();
        let max = (range.end - range.start) as usize;
        let bytes = self.get(&path, Some(range.clone()), max).await?;
        for entry in entries {
            let from = (entry.offset - range.start) as usize;
            let to = from + entry.stored_len as usize;
            let block = bytes
                .get(from..to)
                .ok_or_else(|| damaged(entry.before.seq.next(), Damage::Torn))?;
            let run = if entry.raw_len > INLINE_BYTES {
                let (entry, block) = (entry.clone(), bytes.slice_ref(block));
                blocking(move || entry.open_records(&block)).await
            } else {
                entry.open_records(block)
            };
            let run = run.map_err(|damage| damaged(entry.before.seq.next(), damage))?;
            let bytes = run.bytes().len() + 128;
            self.blocks
                .lock()
                .put((id, entry.offset), run.clone(), bytes);
            if give(&run)? {
                break;
            }
        }
        Ok(())
    }

    pub(super) async fn seq_at(
        &self,
        room: &RoomName,
        time: Timestamp,
    ) -> Result<Seq, ArchiveError> {
        match self.seq_at_once(room, time).await {
            Err(ArchiveError::Missing { .. }) => {
                self.refresh().await?;
                self.seq_at_once(room, time).await
            }
            done => done,
        }
    }

    async fn seq_at_once(&self, room: &RoomName, time: Timestamp) -> Result<Seq, ArchiveError> {
        let (start, head, span) = self.with_room(room, |found| {
            let at = found.spans.partition_point(|span| span.after.at <= time);
            (found.start(), found.head(), found.spans.get(at).copied())
        });
        if start.seq > Seq::ZERO && time < start.at {
            return Err(ArchiveError::Trimmed { start: start.seq });
        }
        let Some(span) = span else {
            return Ok(head.seq);
        };
        let index = self.index(span.segment).await?;
        let entries = index.of(room, EntryKind::Records);
        let at = entries
            .partition_point(|entry| entry.after.at <= time || entry.after.seq <= span.before.seq);
        let Some(entry) = entries.get(at) else {
            return Ok(span.before.seq.max(start.seq));
        };
        if entry.first_at > time {
            return Ok(entry.before.seq.max(start.seq));
        }
        let mut pick = Pick::new(entry.before.seq, entry.raw_len as usize);
        self.read_blocks(room, span.segment, &entries[at..=at], &mut pick)
            .await?;
        let mut found = entry.before.seq;
        for run in pick.finish() {
            found = pick::seq_at(&run, time).map_err(|damage| {
                let path = span.segment.to_string();
                self.damaged(&path, Some(room), Some(run.first()), damage)
            })?;
        }
        Ok(found.max(start.seq))
    }

    pub(super) async fn snapshot(
        &self,
        room: &RoomName,
        up_to: Seq,
    ) -> Result<Option<Snapshot>, ArchiveError> {
        match self.snapshot_once(room, up_to).await {
            Err(ArchiveError::Missing { .. }) => {
                self.refresh().await?;
                self.snapshot_once(room, up_to).await
            }
            done => done,
        }
    }

    async fn snapshot_once(
        &self,
        room: &RoomName,
        up_to: Seq,
    ) -> Result<Option<Snapshot>, ArchiveError> {
        let found = self.with_room(room, |found| {
            let at = found
                .snapshots
                .partition_point(|(head, _)| head.seq <= up_to);
            at.checked_sub(1).map(|at| found.snapshots[at])
        });
        let Some((head, id)) = found else {
            return Ok(None);
        };
        let index = self.index(id).await?;
        let entries = index.of(room, EntryKind::Snapshot);
        let at = entries.partition_point(|entry| entry.after.seq < head.seq);
        let path = id.to_string();
        let entry = entries
            .get(at)
            .filter(|entry| entry.after == head)
            .ok_or_else(|| self.damaged(&path, Some(room), Some(head.seq), Damage::Content))?;
        let range = entry.offset..entry.end();
        let block = self
            .get(&path, Some(range), entry.stored_len as usize)
            .await?;
        let snapshot = if entry.raw_len > INLINE_BYTES {
            let entry = entry.clone();
            blocking(move || entry.open_snapshot(&block)).await
        } else {
            entry.open_snapshot(&block)
        };
        snapshot
            .map(Some)
            .map_err(|damage| self.damaged(&path, Some(room), Some(head.seq), damage))
    }

    pub(super) async fn activity(
        &self,
        room: &RoomName,
        after: Seq,
        up_to: Seq,
    ) -> Result<Vec<Activity>, ArchiveError> {
        match self.activity_once(room, after, up_to).await {
            Err(ArchiveError::Missing { .. }) => {
                self.refresh().await?;
                self.activity_once(room, after, up_to).await
            }
            done => done,
        }
    }

    async fn activity_once(
        &self,
        room: &RoomName,
        after: Seq,
        up_to: Seq,
    ) -> Result<Vec<Activity>, ArchiveError> {
        let (after, spans) = self.with_room(room, |found| {
            let after = after.max(found.start().seq);
            let wanted = (found.spans.iter())
                .filter(|span| span.after.seq > after && span.before.seq < up_to);
            (after, wanted.copied().collect::<Vec<Span>>())
        });
        let mut found = Vec::new();
        for span in spans {
            let index = self.index(span.segment).await?;
            let entries = index.of(room, EntryKind::Records);
            let inside = |entry: &&IndexEntry| {
                entry.after.seq > after.max(span.before.seq)
                    && entry.before.seq < up_to.min(span.after.seq)
            };
            found.extend(entries.iter().filter(inside).map(IndexEntry::activity));
        }
        Ok(found)
    }
}

/// Work that would hold other tasks up.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Damage> + Send + 'static,
) -> Result<T, Damage> {
    // The runtime is being shut down if this does not run; nobody waits for the answer then.
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or(Err(Damage::Torn))
}
