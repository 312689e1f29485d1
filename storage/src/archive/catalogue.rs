//! What the archive has of each room, in memory: a fold of the segments' indexes.
//!
//! A room is a floor, spans of records after it, and snapshots. A span is what one segment has of
//! a room without gap; spans follow each other, head on head. Where they do not, something is
//! missing, and readers are told at which Seq. Spans overlap where an object could not be read for a
//! while, and what it held was archived again.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;

use protocol::{Head, RoomName, Seq, Timestamp};

use super::index::{EntryKind, SegmentIndex};
use super::manifest::Manifest;
use super::segment::{SegmentId, SegmentMeta};
use super::{ArchiveError, ArchivedRoom};

/// The whole archive's rooms, as of one manifest.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    pub(super) manifest: Manifest,
    pub(super) rooms: BTreeMap<RoomName, Room>,
    pub(super) segments: HashMap<SegmentId, SegmentMeta>,
    /// Segments whose index could not be read, and why: what they hold is not in `rooms`.
    pub(super) unreadable: BTreeMap<SegmentId, ArchiveError>,
}

/// What the archive has of one room.
#[derive(Debug, Clone, Default)]
pub(super) struct Room {
    pub(super) floor: Option<Floor>,
    /// By Seq.
    pub(super) spans: Vec<Span>,
    /// By Seq.
    pub(super) snapshots: Vec<(Head, SegmentId)>,
    created: Option<Timestamp>,
}

/// What lies at or before it is forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Floor {
    pub(super) head: Head,
    pub(super) erased: bool,
    pub(super) created: Timestamp,
}

impl Floor {
    /// A floor's place among others of its room: an erasure counts more than a cut at the same
    /// Seq, because it takes the snapshot there with it.
    const fn rank(&self) -> (Seq, bool) {
        (self.head.seq, self.erased)
    }
}

/// A room's records in one segment, without gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) segment: SegmentId,
    pub(super) before: Head,
    pub(super) after: Head,
    /// Sealed bytes.
    pub(super) bytes: u64,
}

impl Room {
    /// Records up to here are not in the archive.
    pub(super) fn start(&self) -> Head {
        self.floor.map_or(Head::EMPTY, |floor| floor.head)
    }

    /// The last archived record.
    pub(super) fn head(&self) -> Head {
        self.spans.last().map_or(self.start(), |span| span.after)
    }

    /// Whether nothing but the memory of it is left.
    pub(super) fn is_deleted(&self) -> bool {
        self.spans.is_empty()
            && self.snapshots.is_empty()
            && self.floor.is_none_or(|floor| floor.erased)
    }

    pub(super) fn created(&self) -> Timestamp {
        self.created.unwrap_or_default()
    }

    pub(super) fn summary(&self) -> ArchivedRoom {
        ArchivedRoom {
            start: self.start(),
            head: self.head(),
            created: self.created(),
            snapshots: self.snapshots.len() as u64,
            bytes: self.spans.iter().map(|span| span.bytes).sum(),
        }
    }

    /// The records after and up to which nothing is there, if spans do not follow each other. The
    /// same Seq twice where two meet that are of different histories.
    pub(super) fn gap(&self) -> Option<(Head, Seq)> {
        self.gap_beyond(Seq::ZERO)
    }

    /// The first gap that reaches beyond a Seq.
    pub(super) fn gap_beyond(&self, seq: Seq) -> Option<(Head, Seq)> {
        let mut at = self.start();
        for span in &self.spans {
            let joined = span.before == at || span.before.seq < at.seq;
            if !joined && span.before.seq > seq {
                return Some((at, span.before.seq));
            }
            at = span.after;
        }
        None
    }

    /// Puts everything in order, and forgets what the floor forbids.
    fn settle(&mut self) {
        self.spans
            .sort_by_key(|span| (span.before.seq, Reverse(span.after.seq)));
        // What lies within another span was archived again by that one.
        let mut reached = Seq::ZERO;
        self.spans.retain(|span| {
            let further = span.after.seq > reached;
            reached = reached.max(span.after.seq);
            further
        });
        self.snapshots.sort_by_key(|(head, id)| (head.seq, *id));
        self.snapshots.dedup_by_key(|(head, _)| head.seq);
        if let Some(floor) = self.floor {
            self.spans.retain(|span| span.after.seq > floor.head.seq);
            self.snapshots.retain(|(head, _)| {
                head.seq > floor.head.seq || (head.seq == floor.head.seq && !floor.erased)
            });
        }
    }
}

impl Catalogue {
    /// Rooms by name after one of them.
    pub(super) fn after(
        &self,
        after: Option<&RoomName>,
    ) -> impl Iterator<Item = (&RoomName, &Room)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.rooms.range((from, Bound::Unbounded))
    }

    /// Which objects cannot be read, and why; `None` when all can.
    pub(super) fn unreadable(&self) -> Option<String> {
        let (id, error) = self.unreadable.first_key_value()?;
        let holds = self.contents(*id);
        let first = format!("{error} (it holds {holds})");
        Some(match self.unreadable.len() - 1 {
            0 => first,
            1 => format!("{first}, and another object as well"),
            more => format!("{first}, and {more} other objects as well"),
        })
    }

    /// What the manifest says that a segment holds.
    pub(super) fn contents(&self, id: SegmentId) -> String {
        self.segments
            .get(&id)
            .map_or_else(String::new, SegmentMeta::contents)
    }

    /// Takes one segment in.
    fn add(&mut self, meta: &SegmentMeta, index: &SegmentIndex) {
        let touched = self.take(meta, index);
        self.settle(&touched);
    }

    /// Takes over what a manifest names: `new` has the indexes of what is not known yet.
    pub(super) fn follow(&mut self, manifest: Manifest, new: &[(SegmentMeta, Arc<SegmentIndex>)]) {
        let named: HashSet<SegmentId> = manifest.segments.iter().map(|s| s.id).collect();
        let known = self.segments.keys();
        let gone: HashSet<SegmentId> = known.filter(|id| !named.contains(id)).copied().collect();
        if gone.is_empty() {
            for (meta, index) in new {
                self.add(meta, index);
            }
        } else {
            self.replace(&gone, new);
        }
        self.manifest = manifest;
    }

    /// Takes segments in and others out in their place.
    fn replace(&mut self, gone: &HashSet<SegmentId>, new: &[(SegmentMeta, Arc<SegmentIndex>)]) {
        let mut touched = HashSet::new();
        for (name, room) in &mut self.rooms {
            let before = room.spans.len() + room.snapshots.len();
            room.spans.retain(|span| !gone.contains(&span.segment));
            room.snapshots.retain(|(_, id)| !gone.contains(id));
            if room.spans.len() + room.snapshots.len() != before {
                touched.insert(name.clone());
            }
        }
        for id in gone {
            self.segments.remove(id);
            self.unreadable.remove(id);
        }
        for (meta, index) in new {
            touched.extend(self.take(meta, index));
        }
        self.settle(&touched);
    }

    fn take(&mut self, meta: &SegmentMeta, index: &SegmentIndex) -> HashSet<RoomName> {
        let mut touched = HashSet::new();
        // A reader that looked for something new may have been faster than the archiver.
        let known = self.segments.insert(meta.id, *meta).is_some();
        if known && self.unreadable.remove(&meta.id).is_none() {
            return touched;
        }
        for entry in &index.entries {
            if !touched.contains(&entry.room) {
                touched.insert(entry.room.clone());
            }
            let room = self.rooms.entry(entry.room.clone()).or_default();
            match entry.kind {
                EntryKind::Records => {
                    if entry.before == Head::EMPTY {
                        room.created = Some(entry.first_at);
                    }
                    match room.spans.last_mut() {
                        Some(span) if span.segment == meta.id && span.after == entry.before => {
                            span.after = entry.after;
                            span.bytes += u64::from(entry.raw_len);
                        }
                        _ => room.spans.push(Span {
                            segment: meta.id,
                            before: entry.before,
                            after: entry.after,
                            bytes: u64::from(entry.raw_len),
                        }),
                    }
                }
                EntryKind::Snapshot => {
                    room.created.get_or_insert(entry.first_at);
                    room.snapshots.push((entry.after, meta.id));
                }
                EntryKind::Cut | EntryKind::Erasure => {
                    let floor = Floor {
                        head: entry.after,
                        erased: entry.kind == EntryKind::Erasure,
                        created: entry.first_at,
                    };
                    room.created = Some(floor.created);
                    if room.floor.is_none_or(|known| known.rank() < floor.rank()) {
                        room.floor = Some(floor);
                    }
                }
            }
        }
        touched
    }

    fn settle(&mut self, touched: &HashSet<RoomName>) {
        for name in touched {
            if let Some(room) = self.rooms.get_mut(name) {
                room.settle();
                let empty = room.spans.is_empty() && room.snapshots.is_empty();
                if empty && room.floor.is_none() {
                    self.rooms.remove(name);
                }
            }
        }
    }
}
