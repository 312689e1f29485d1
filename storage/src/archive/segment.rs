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
use protocol::{Head, Record, RoomName, Run, Seq, SessionId, Site, Timestamp, UserId};
use xxhash_rust::xxh3::xxh3_128;

use super::limits::{
    BLOCK_BYTES, MAX_BLOCK_AUTHORS, MAX_INDEX_BYTES, MAX_RECORD_BLOCK_BYTES,
    MAX_SNAPSHOT_BLOCK_BYTES,
};
use super::snapshot::{Snapshot, SnapshotError};
use super::{Activity, Who, codec};
use crate::fields::{Fields, put_head, put_room};

const HEADER_BYTES: usize = 32;
pub(super) const TRAILER_BYTES: usize = 40;
const MAGIC: &[u8; 8] = b"WELLSEG\n";
const END: &[u8; 8] = b"WELLEND\n";
const VERSION: u16 = 1;

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

/// What an entry of an index is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum EntryKind {
    Records,
    Snapshot,
    Cut,
    Erasure,
}

impl EntryKind {
    const fn code(self) -> u8 {
        match self {
            Self::Records => 1,
            Self::Snapshot => 2,
            Self::Cut => 3,
            Self::Erasure => 4,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Records,
            2 => Self::Snapshot,
            3 => Self::Cut,
            4 => Self::Erasure,
            _ => return None,
        })
    }

    pub(super) const fn is_floor(self) -> bool {
        matches!(self, Self::Cut | Self::Erasure)
    }
}

/// One entry of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IndexEntry {
    pub(super) room: RoomName,
    pub(super) kind: EntryKind,
    pub(super) before: Head,
    pub(super) after: Head,
    /// The first record's time; the room's creation for snapshots and floors.
    pub(super) first_at: Timestamp,
    pub(super) raw_len: u32,
    pub(super) stored_len: u32,
    pub(super) offset: u64,
    pub(super) crc: u32,
    pub(super) authors: Vec<(Who, u64)>,
    pub(super) more: u64,
}

impl IndexEntry {
    pub(super) const fn count(&self) -> u64 {
        self.after.seq.since(self.before.seq)
    }

    /// Where its block ends in the object.
    pub(super) const fn end(&self) -> u64 {
        self.offset + self.stored_len as u64
    }

    pub(super) fn activity(&self) -> Activity {
        Activity {
            first: self.before.seq.next(),
            count: self.count(),
            from: self.first_at,
            to: self.after.at,
            bytes: u64::from(self.raw_len),
            authors: self.authors.clone(),
            more: self.more,
        }
    }

    fn order(&self) -> (&RoomName, EntryKind, Seq) {
        (&self.room, self.kind, self.after.seq)
    }

    fn put(&self, out: &mut Vec<u8>) {
        put_room(out, &self.room);
        out.push(self.kind.code());
        put_head(out, self.before);
        put_head(out, self.after);
        out.extend_from_slice(&self.first_at.micros().to_le_bytes());
        out.extend_from_slice(&self.raw_len.to_le_bytes());
        out.extend_from_slice(&self.stored_len.to_le_bytes());
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&self.crc.to_le_bytes());
        out.push(self.authors.len() as u8);
        for (who, records) in &self.authors {
            match who {
                Who::User(user) => {
                    out.extend_from_slice(&[1, user.as_str().len() as u8]);
                    out.extend_from_slice(user.as_str().as_bytes());
                }
                Who::Site(site) => {
                    out.push(2);
                    out.extend_from_slice(&site.get().to_le_bytes());
                }
                Who::Session(session) => {
                    out.push(3);
                    out.extend_from_slice(&session.get().to_le_bytes());
                }
            }
            out.extend_from_slice(&records.to_le_bytes());
        }
        out.extend_from_slice(&self.more.to_le_bytes());
    }

    fn read(fields: &mut Fields<'_>, last: Option<&RoomName>) -> Result<Self, Damage> {
        let room = fields.room()?;
        // Entries of one room share its name.
        let room = last.filter(|last| **last == room).cloned().unwrap_or(room);
        let kind = EntryKind::from_code(fields.u8()?).ok_or(Damage::Content)?;
        let mut entry = Self {
            room,
            kind,
            before: fields.head()?,
            after: fields.head()?,
            first_at: Timestamp::from_micros(fields.u64()?),
            raw_len: fields.u32()?,
            stored_len: fields.u32()?,
            offset: fields.u64()?,
            crc: fields.u32()?,
            authors: Vec::new(),
            more: 0,
        };
        let authors = usize::from(fields.u8()?);
        if authors > MAX_BLOCK_AUTHORS {
            return Err(Damage::Content);
        }
        for _ in 0..authors {
            let who = match fields.u8()? {
                1 => {
                    let len = usize::from(fields.u8()?);
                    let user = std::str::from_utf8(fields.bytes(len)?);
                    let user = UserId::new(user.map_err(|_| Damage::Content)?);
                    Who::User(user.map_err(|_| Damage::Content)?)
                }
                2 => Who::Site(Site::new(fields.u64()?)),
                3 => Who::Session(SessionId::new(fields.u64()?)),
                _ => return Err(Damage::Content),
            };
            entry.authors.push((who, fields.u64()?));
        }
        entry.more = fields.u64()?;
        Ok(entry)
    }

    /// Whether its fields agree with each other and lie between the header and the index.
    fn is_sound(&self, index_offset: u64) -> bool {
        let records = self.kind == EntryKind::Records;
        let place = if self.kind.is_floor() {
            self.offset == 0 && self.stored_len == 0 && self.raw_len == 0
        } else {
            let max = match self.kind {
                EntryKind::Records => MAX_RECORD_BLOCK_BYTES,
                _ => MAX_SNAPSHOT_BLOCK_BYTES,
            };
            self.offset >= HEADER_BYTES as u64
                && self.offset <= index_offset
                && u64::from(self.stored_len) <= index_offset - self.offset
                && self.raw_len as usize <= max
        };
        let heads = if records {
            self.after.seq > self.before.seq
                && self.after.seq < Seq::MAX
                && self.before.at <= self.first_at
                && self.first_at <= self.after.at
                && (self.authors.iter())
                    .try_fold(self.more, |sum, (_, n)| sum.checked_add(*n))
                    .is_some_and(|sum| sum == self.count())
        } else {
            self.after == self.before
                && self.after.seq > Seq::ZERO
                && self.after.seq < Seq::MAX
                && self.authors.is_empty()
                && self.more == 0
        };
        place && heads
    }

    /// Checks a block against its entry and decompresses it.
    fn unpack(&self, block: &[u8]) -> Result<Vec<u8>, Damage> {
        if block.len() != self.stored_len as usize {
            return Err(Damage::Torn);
        }
        if crc32c::crc32c(block) != self.crc {
            return Err(Damage::Checksum);
        }
        let raw = codec::decompress(block, self.raw_len as usize)?;
        if raw.len() == self.raw_len as usize {
            Ok(raw)
        } else {
            Err(Damage::Content)
        }
    }

    /// The records of a block.
    pub(super) fn open_records(&self, block: &[u8]) -> Result<Run, Damage> {
        Run::from_stored(self.before, self.after, self.unpack(block)?.into())
    }

    /// The snapshot of a block.
    pub(super) fn open_snapshot(&self, block: &[u8]) -> Result<Snapshot, Damage> {
        let snapshot = Snapshot::open(&self.unpack(block)?)?;
        let same = snapshot.room == self.room
            && snapshot.head == self.after
            && snapshot.created == self.first_at;
        if same {
            Ok(snapshot)
        } else {
            Err(Damage::Content)
        }
    }

    /// About how many bytes it holds in memory.
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.authors.len() * size_of::<(Who, u64)>()
    }
}

/// A segment's index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SegmentIndex {
    pub(super) entries: Vec<IndexEntry>,
    /// About how many bytes it holds in memory.
    pub(super) bytes: usize,
}

impl SegmentIndex {
    fn new(entries: Vec<IndexEntry>) -> Self {
        let mut bytes = entries.iter().map(IndexEntry::bytes).sum();
        for pair in entries.windows(2) {
            if pair[0].room != pair[1].room {
                bytes += pair[1].room.as_str().len() + 32;
            }
        }
        Self { entries, bytes }
    }

    /// A room's entries of one kind, by Seq.
    pub(super) fn of(&self, room: &RoomName, kind: EntryKind) -> &[IndexEntry] {
        let from = (self.entries).partition_point(|e| (&e.room, e.kind) < (room, kind));
        let to = (self.entries).partition_point(|e| (&e.room, e.kind) <= (room, kind));
        &self.entries[from..to]
    }

    /// The entries' bytes.
    pub(super) fn raw(entries: &[IndexEntry]) -> Vec<u8> {
        let mut raw = Vec::with_capacity(entries.len() * 128);
        for entry in entries {
            entry.put(&mut raw);
        }
        raw
    }

    /// The end of a segment: the index and the trailer.
    pub(super) fn sealed(raw: &[u8], index_offset: u64, entries: usize) -> Vec<u8> {
        let mut out = codec::compress(raw);
        let trailer = Trailer {
            index_offset,
            stored_len: out.len() as u32,
            raw_len: raw.len() as u32,
            crc: crc32c::crc32c(&out),
            entries: entries as u32,
        };
        trailer.put(&mut out);
        out
    }

    /// Reads the index from the end of a segment: `tail` is everything from where the manifest
    /// says the index begins.
    pub(super) fn open(meta: &SegmentMeta, tail: &[u8]) -> Result<Self, Damage> {
        if tail.len() as u64 != meta.length - meta.index_offset {
            return Err(Damage::Torn);
        }
        let at = tail.len().checked_sub(TRAILER_BYTES).ok_or(Damage::Torn)?;
        let (index, trailer) = tail.split_at(at);
        let trailer = Trailer::open(trailer)?;
        if trailer.index_offset != meta.index_offset || trailer.stored_len as usize != index.len() {
            return Err(Damage::Content);
        }
        if crc32c::crc32c(index) != trailer.crc {
            return Err(Damage::Checksum);
        }
        let raw_len = trailer.raw_len as usize;
        if raw_len > MAX_INDEX_BYTES {
            return Err(Damage::Length(raw_len));
        }
        let raw = codec::decompress(index, raw_len)?;
        let mut fields = Fields::new(&raw);
        let mut entries: Vec<IndexEntry> = Vec::new();
        while !fields.is_empty() {
            let entry = IndexEntry::read(&mut fields, entries.last().map(|entry| &entry.room))?;
            let sorted = entries
                .last()
                .is_none_or(|last| last.order() < entry.order());
            if !sorted || !entry.is_sound(trailer.index_offset) {
                return Err(Damage::Content);
            }
            entries.push(entry);
        }
        if raw.len() != raw_len || entries.len() != trailer.entries as usize {
            return Err(Damage::Content);
        }
        Ok(Self::new(entries))
    }
}

struct Trailer {
    index_offset: u64,
    stored_len: u32,
    raw_len: u32,
    crc: u32,
    entries: u32,
}

impl Trailer {
    fn put(&self, out: &mut Vec<u8>) {
        let from = out.len();
        out.extend_from_slice(&self.index_offset.to_le_bytes());
        out.extend_from_slice(&self.stored_len.to_le_bytes());
        out.extend_from_slice(&self.raw_len.to_le_bytes());
        out.extend_from_slice(&self.crc.to_le_bytes());
        out.extend_from_slice(&self.entries.to_le_bytes());
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[0, 0]);
        let crc = crc32c::crc32c(&out[from..]);
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(END);
    }

    fn open(trailer: &[u8]) -> Result<Self, Damage> {
        let mut fields = Fields::new(trailer);
        let this = Self {
            index_offset: fields.u64()?,
            stored_len: fields.u32()?,
            raw_len: fields.u32()?,
            crc: fields.u32()?,
            entries: fields.u32()?,
        };
        let version = fields.u16()?;
        let zero = fields.u16()?;
        let crc = fields.u32()?;
        if fields.bytes(END.len())? != END {
            return Err(Damage::Magic);
        }
        let checked = trailer.get(..TRAILER_BYTES - 12).ok_or(Damage::Torn)?;
        if crc32c::crc32c(checked) != crc {
            return Err(Damage::Checksum);
        }
        check_version(version)?;
        if zero == 0 {
            Ok(this)
        } else {
            Err(Damage::Content)
        }
    }
}

fn check_version(version: u16) -> Result<(), Damage> {
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
