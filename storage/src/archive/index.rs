//! A segment's index: what each of its blocks holds, and where. The [`segment`](super::segment)
//! shows its layout.
//!
//! What an entry says is checked against the other entries and the segment's size before it is
//! used, so a block is only looked for inside the segment, and only decompressed within its bound.

use protocol::envelope::Damage;
use protocol::{Head, RoomName, Run, Seq, SessionId, Site, Timestamp, UserId};

use super::limits::{
    MAX_BLOCK_AUTHORS, MAX_INDEX_BYTES, MAX_RECORD_BLOCK_BYTES, MAX_SNAPSHOT_BLOCK_BYTES,
};
use super::segment::{HEADER_BYTES, SegmentMeta, VERSION, check_version};
use super::snapshot::Snapshot;
use super::{Activity, Who, codec};
use crate::fields::{Fields, put_head, put_room};

pub(super) const TRAILER_BYTES: usize = 40;
const END: &[u8; 8] = b"WELLEND\n";

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
    /// How many of its records are room events, not updates.
    pub(super) events: u32,
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
            events: self.events.into(),
        }
    }

    pub(super) fn order(&self) -> (&RoomName, EntryKind, Seq) {
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
        out.extend_from_slice(&self.events.to_le_bytes());
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
            events: 0,
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
        entry.events = fields.u32()?;
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
                && u64::from(self.events) <= self.count()
        } else {
            self.after == self.before
                && self.after.seq > Seq::ZERO
                && self.after.seq < Seq::MAX
                && self.authors.is_empty()
                && self.more == 0
                && self.events == 0
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
        let snapshot = Snapshot::open(self.unpack(block)?)?;
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
    pub(super) fn new(entries: Vec<IndexEntry>) -> Self {
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
