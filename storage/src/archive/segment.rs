//! A segment: many rooms' blocks in one object, and an index of them at its end.
//!
//! ```text
//! header   32 bytes   "WELLSEG\n" | version u16 | 0 u16 | CRC-32C of the rest of the header u32
//!                     | epoch u64 | counter u64
//! blocks              one zstd frame each, end to end, in no particular order
//! index               one zstd frame of entries, sorted by room, kind and last Seq:
//!                       room | kind u8 | before head | after head | first at u64
//!                       | raw length u32 | stored length u32 | offset u64 | CRC-32C u32
//!                       | authors u8, each: who | records u64 | records of others u64
//!                       | room events u32
//! trailer  40 bytes   index offset u64 | stored length u32 | raw length u32 | CRC-32C u32
//!                     | entries u32 | version u16 | 0 u16 | CRC-32C of these 28 bytes u32
//!                     | "WELLEND\n"
//!
//! kind 1  records of one room without gap, sealed, end to end: before and after say where
//! kind 2  one snapshot at `before` = `after`; `first at` is the room's creation
//! kind 3  a cut: retention removed what lies at or before `after`. No block
//! kind 4  an erasure: the room was deleted after `after`. No block
//! ```
//!
//! Floors (kinds 3 and 4) stand in segments, so that a manifest stays small however many rooms
//! have been deleted; the highest floor of a room counts. How many records a block has, its first
//! Seq and its last time follow from the two heads.

use std::collections::HashMap;

use bytes::Bytes;
use protocol::envelope::Damage;
use protocol::{Head, Kind, Record, RoomName, Run, Seq, Timestamp};
use xxhash_rust::xxh3::xxh3_128;

use super::index::{EntryKind, IndexEntry, SegmentIndex};
use super::limits::{BLOCK_BYTES, MAX_BLOCK_AUTHORS};
use super::snapshot::{Snapshot, SnapshotError};
use super::{Who, codec};
use crate::fields::Fields;

pub(super) const HEADER_BYTES: usize = 32;
const MAGIC: &[u8; 8] = b"WELLSEG\n";
pub(super) const VERSION: u16 = 1;

/// A segment's name: the epoch of its writer, and its number within that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct SegmentId {
    pub(super) epoch: u64,
    pub(super) counter: u64,
}

impl std::fmt::Display for SegmentId {
    /// Its path below the prefix.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "segments/{:010}-{:010}", self.epoch, self.counter)
    }
}

impl SegmentId {
    /// Reads the last part of a path back.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let (epoch, counter) = name.split_once('-')?;
        let id = Self {
            epoch: epoch.parse().ok()?,
            counter: counter.parse().ok()?,
        };
        (id.to_string().strip_prefix("segments/") == Some(name)).then_some(id)
    }
}

/// What a manifest says of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentMeta {
    pub(super) id: SegmentId,
    /// Of the whole object.
    pub(super) length: u64,
    /// XXH3-128 of the whole object.
    pub(super) hash: u128,
    /// Where the index begins.
    pub(super) index_offset: u64,
    pub(super) rooms: u64,
    pub(super) records: u64,
    pub(super) snapshots: u64,
    /// Sealed bytes before compression.
    pub(super) raw_bytes: u64,
}

impl SegmentMeta {
    /// What it holds, as people read it: all that is known of a segment whose index cannot be read.
    pub(super) fn contents(&self) -> String {
        let count =
            |many: u64, what: &str| format!("{many} {what}{}", if many == 1 { "" } else { "s" });
        format!(
            "{} and {} of {}",
            count(self.records, "record"),
            count(self.snapshots, "snapshot"),
            count(self.rooms, "room")
        )
    }
}

pub(super) fn check_version(version: u16) -> Result<(), Damage> {
    if version == VERSION {
        Ok(())
    } else {
        Err(Damage::Version(version.min(255) as u8))
    }
}

/// Checks a segment's header.
pub(super) fn open_header(id: SegmentId, object: &[u8]) -> Result<(), Damage> {
    let header = object.get(..HEADER_BYTES).ok_or(Damage::Torn)?;
    if header[..8] != *MAGIC {
        return Err(Damage::Magic);
    }
    if header == segment_header(id) {
        return Ok(());
    }
    let mut fields = Fields::new(&header[8..]);
    let version = fields.u16()?;
    let _zero = fields.u16()?;
    let crc = crc32c::crc32c_append(crc32c::crc32c(&header[..12]), &header[16..]);
    if fields.u32()? != crc {
        return Err(Damage::Checksum);
    }
    check_version(version)?;
    Err(Damage::Content)
}

fn segment_header(id: SegmentId) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(MAGIC);
    header[8..10].copy_from_slice(&VERSION.to_le_bytes());
    header[16..24].copy_from_slice(&id.epoch.to_le_bytes());
    header[24..].copy_from_slice(&id.counter.to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&header[..12]), &header[16..]);
    header[12..16].copy_from_slice(&crc.to_le_bytes());
    header
}

/// A finished segment, ready to be uploaded.
#[derive(Debug, Clone)]
pub(super) struct Sealed {
    pub(super) meta: SegmentMeta,
    pub(super) bytes: Bytes,
    pub(super) index: SegmentIndex,
}

impl Sealed {
    /// The same segment under another name.
    pub(super) fn renamed(self, id: SegmentId) -> Self {
        let mut bytes = Vec::from(self.bytes);
        bytes[..HEADER_BYTES].copy_from_slice(&segment_header(id));
        Self {
            meta: SegmentMeta {
                id,
                hash: xxh3_128(&bytes),
                ..self.meta
            },
            bytes: bytes.into(),
            index: self.index,
        }
    }
}

/// Packs a segment. Rooms may come in any order; records of one room in theirs.
#[derive(Debug)]
pub(super) struct SegmentBuilder {
    id: SegmentId,
    out: Vec<u8>,
    entries: Vec<IndexEntry>,
    open: Option<OpenBlock>,
}

#[derive(Debug)]
struct OpenBlock {
    room: RoomName,
    before: Head,
    after: Head,
    first_at: Timestamp,
    raw: Vec<u8>,
    authors: HashMap<Who, u64>,
    events: u32,
}

impl SegmentBuilder {
    pub(super) fn new(id: SegmentId) -> Self {
        Self {
            id,
            out: segment_header(id).to_vec(),
            entries: Vec::new(),
            open: None,
        }
    }

    /// Bytes so far; what is not compressed yet counts as it is.
    pub(super) fn bytes(&self) -> usize {
        let index: usize = self.entries.len() * 64;
        self.out.len() + index + self.open.as_ref().map_or(0, |open| open.raw.len())
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.open.is_none()
    }

    /// Adds records, and checks each of them and the chain through them.
    pub(super) fn push_run(&mut self, room: &RoomName, run: &Run) -> Result<(), (Seq, Damage)> {
        run.verify()?;
        let mut rest = run.bytes().clone();
        let mut head = run.before();
        for record in run.records() {
            let record = record.map_err(|damage| (head.seq.next(), damage))?;
            let sealed = rest.split_to(record.sealed_len().min(rest.len()));
            self.push_record(room, head, &record, &sealed);
            head = record.head();
        }
        Ok(())
    }

    fn push_record(&mut self, room: &RoomName, before: Head, record: &Record, sealed: &[u8]) {
        let fits = self.open.as_ref().is_some_and(|open| {
            open.room == *room
                && open.after == before
                && open.raw.len() + sealed.len() <= BLOCK_BYTES
        });
        if !fits {
            self.close_block();
        }
        let open = self.open.get_or_insert_with(|| OpenBlock {
            room: room.clone(),
            before,
            after: before,
            first_at: record.at,
            raw: Vec::new(),
            authors: HashMap::new(),
            events: 0,
        });
        open.raw.extend_from_slice(sealed);
        open.after = record.head();
        let author = &record.draft.author;
        let who = match (&author.user, author.site) {
            (Some(user), _) => Who::User(user.clone()),
            (None, Some(site)) => Who::Site(site),
            (None, None) => Who::Session(author.session),
        };
        *open.authors.entry(who).or_default() += 1;
        open.events += u32::from(record.draft.kind != Kind::Update);
    }

    /// Adds a block as another segment has it.
    pub(super) fn push_block(&mut self, entry: &IndexEntry, block: &[u8]) {
        self.close_block();
        let entry = entry.clone();
        self.put_block(entry, block);
    }

    /// Adds a snapshot.
    pub(super) fn push_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        self.close_block();
        let raw = snapshot.seal()?;
        let stored = codec::compress(&raw);
        let entry = IndexEntry {
            room: snapshot.room.clone(),
            kind: EntryKind::Snapshot,
            before: snapshot.head,
            after: snapshot.head,
            first_at: snapshot.created,
            raw_len: raw.len() as u32,
            stored_len: 0,
            offset: 0,
            crc: crc32c::crc32c(&stored),
            authors: Vec::new(),
            more: 0,
            events: 0,
        };
        self.put_block(entry, &stored);
        Ok(())
    }

    /// Adds a floor: what lies at or before it is forgotten.
    pub(super) fn push_floor(
        &mut self,
        room: &RoomName,
        kind: EntryKind,
        head: Head,
        created: Timestamp,
    ) {
        self.entries.push(IndexEntry {
            room: room.clone(),
            kind,
            before: head,
            after: head,
            first_at: created,
            raw_len: 0,
            stored_len: 0,
            offset: 0,
            crc: 0,
            authors: Vec::new(),
            more: 0,
            events: 0,
        });
    }

    fn close_block(&mut self) {
        let Some(open) = self.open.take() else { return };
        let stored = codec::compress(&open.raw);
        let mut authors: Vec<(Who, u64)> = open.authors.into_iter().collect();
        authors.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let more = authors.iter().skip(MAX_BLOCK_AUTHORS).map(|(_, n)| n).sum();
        authors.truncate(MAX_BLOCK_AUTHORS);
        let entry = IndexEntry {
            room: open.room,
            kind: EntryKind::Records,
            before: open.before,
            after: open.after,
            first_at: open.first_at,
            raw_len: open.raw.len() as u32,
            stored_len: 0,
            offset: 0,
            crc: crc32c::crc32c(&stored),
            authors,
            more,
            events: open.events,
        };
        self.put_block(entry, &stored);
    }

    fn put_block(&mut self, mut entry: IndexEntry, stored: &[u8]) {
        entry.offset = self.out.len() as u64;
        // Both lengths are bounded by the blocks' limits, far below four GiB.
        entry.stored_len = stored.len() as u32;
        self.out.extend_from_slice(stored);
        self.entries.push(entry);
    }

    /// The finished segment.
    pub(super) fn finish(mut self) -> Sealed {
        self.close_block();
        self.entries.sort_by(|a, b| a.order().cmp(&b.order()));
        self.entries.dedup_by(|b, a| a.order() == b.order());
        let index_offset = self.out.len() as u64;
        let raw = SegmentIndex::raw(&self.entries);
        let tail = SegmentIndex::sealed(&raw, index_offset, self.entries.len());
        self.out.extend_from_slice(&tail);
        let index = SegmentIndex::new(self.entries);
        let mut meta = SegmentMeta {
            id: self.id,
            length: self.out.len() as u64,
            hash: xxh3_128(&self.out),
            index_offset,
            rooms: 0,
            records: 0,
            snapshots: 0,
            raw_bytes: 0,
        };
        let mut room = None;
        for entry in &index.entries {
            if room.replace(&entry.room) != Some(&entry.room) {
                meta.rooms += 1;
            }
            match entry.kind {
                EntryKind::Records => {
                    meta.records += entry.count();
                    meta.raw_bytes += u64::from(entry.raw_len);
                }
                EntryKind::Snapshot => meta.snapshots += 1,
                EntryKind::Cut | EntryKind::Erasure => {}
            }
        }
        Sealed {
            meta,
            bytes: self.out.into(),
            index,
        }
    }
}
