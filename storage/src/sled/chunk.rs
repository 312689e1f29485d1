//! Where records stay: per-room chunks, moved out of commits.
//!
//! ```text
//! tree `chunks`   key    room name | 0 | last seq, u64 big-endian
//!                 value  envelope(Chunk) { before head | after head | raw length u32
//!                        | stored length u32 | body u64 | parts u16 | codec u8
//!                        | marks u32 | mark u16 … }
//! tree `bodies`   key    body number, u64 big-endian; parts of one body follow each other
//!                 value  envelope(Chunk) { room | last seq u64 | a piece of the stored bytes }
//! ```
//!
//! A chunk's body is sealed records end to end, compressed (codec 1, zstd) where that pays
//! (codec 0: as they are). Heads and times stand in the small `chunks` values, so finding a Seq or
//! a time reads no records, and so do *marks*, 16 bits of each operation id, so that looking for
//! an operation opens only chunks that may hold it. Room names hold no control characters, so the
//! zero byte ends a name and rooms lie apart. Bodies are written in order under numbers prepared
//! ahead, once, as commits are and for the same reason.
//!
//! Two entries may overlap after a crash in the middle of a move. Both then hold the same records,
//! so a reader takes the first that reaches past its position and goes on from that one's end.
//! Only the mover changes anything here; a reader that finds a body gone looks its entry up again.

use bytes::Bytes;
use protocol::envelope::{self, Content, Damage, HEADER_BYTES};
use protocol::{Head, OpId, RoomName, Run, Seq};

use super::commit::{MAX_VALUE_BYTES, PREPARED};
use crate::fields::{Fields, put_head, put_room};
use crate::log::ReadError;

/// How many bytes of records one chunk holds, unless a single run of one record is larger.
pub(crate) const CHUNK_BYTES: usize = 64 << 10;
const MAX_RAW_BYTES: usize = protocol::limits::MAX_RECORD_BYTES + CHUNK_BYTES;
const BODY_HEADER_BYTES: usize = HEADER_BYTES + 2 + 288 + 8;
const PIECE_BYTES: usize = MAX_VALUE_BYTES - BODY_HEADER_BYTES;
/// Level 1 halves sealed records of a hundred bytes; higher levels gain a few percent for twice
/// the time.
const ZSTD_LEVEL: i32 = 1;
const COMPRESS_FROM_BYTES: usize = 256;
/// How often a reader looks an entry up again before it calls the chunk missing.
const MAX_LOOKUPS: usize = 64;

/// What stands in the `chunks` tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) before: Head,
    pub(crate) after: Head,
    pub(crate) raw_bytes: u32,
    pub(crate) stored_bytes: u32,
    pub(crate) body: u64,
    pub(crate) parts: u16,
    codec: u8,
    pub(crate) marks: Vec<u16>,
}

impl Chunk {
    fn seal(&self) -> Vec<u8> {
        let mut value = Vec::with_capacity(96 + self.marks.len() * 2);
        envelope::seal(Content::Chunk, &mut value, |out| {
            put_head(out, self.before);
            put_head(out, self.after);
            out.extend_from_slice(&self.raw_bytes.to_le_bytes());
            out.extend_from_slice(&self.stored_bytes.to_le_bytes());
            out.extend_from_slice(&self.body.to_le_bytes());
            out.extend_from_slice(&self.parts.to_le_bytes());
            out.push(self.codec);
            out.extend_from_slice(&(self.marks.len() as u32).to_le_bytes());
            for mark in &self.marks {
                out.extend_from_slice(&mark.to_le_bytes());
            }
        });
        value
    }

    fn open(value: &[u8]) -> Result<Self, Damage> {
        let (body, rest) = envelope::open(Content::Chunk, value)?;
        if !rest.is_empty() {
            return Err(Damage::Content);
        }
        let mut fields = Fields::new(body);
        let mut chunk = Self {
            before: fields.head()?,
            after: fields.head()?,
            raw_bytes: fields.u32()?,
            stored_bytes: fields.u32()?,
            body: fields.u64()?,
            parts: fields.u16()?,
            codec: fields.u8()?,
            marks: Vec::new(),
        };
        let marks = fields.u32()? as usize;
        if marks.checked_mul(2) != Some(fields.len()) || chunk.raw_bytes as usize > MAX_RAW_BYTES {
            return Err(Damage::Content);
        }
        chunk.marks.reserve(marks);
        for _ in 0..marks {
            chunk.marks.push(fields.u16()?);
        }
        fields.end()?;
        Ok(chunk)
    }

    pub(crate) fn may_hold(&self, op_id: OpId) -> bool {
        self.marks.contains(&mark(op_id))
    }
}

/// Sixteen bits of an operation's id.
pub(crate) fn mark(op_id: OpId) -> u16 {
    crc32c::crc32c(&op_id.bytes()) as u16
}

/// The two trees, to read.
#[derive(Debug, Clone)]
pub(crate) struct Chunks {
    pub(crate) index: sled::Tree,
    pub(crate) bodies: sled::Tree,
}

impl Chunks {
    /// The first chunk that reaches past `after`.
    pub(crate) fn after(&self, room: &RoomName, after: Seq) -> Result<Option<Chunk>, ReadError> {
        let from = key(room, after.next());
        let to = key(room, Seq::MAX);
        let Some(row) = self.index.range(from..=to).next() else {
            return Ok(None);
        };
        let (key, value) = row.map_err(io)?;
        open_at(room, &key, &value).map(Some)
    }

    /// The room's chunks, the last first.
    pub(crate) fn newest_first(
        &self,
        room: &RoomName,
    ) -> impl Iterator<Item = Result<Chunk, ReadError>> {
        let room = room.clone();
        self.index
            .range(key(&room, Seq::FIRST)..=key(&room, Seq::MAX))
            .rev()
            .map(move |row| {
                let (key, value) = row.map_err(io)?;
                open_at(&room, &key, &value)
            })
    }

    /// The records of the first chunk that reaches past `after`; they may begin before it.
    /// `None` when there is no such chunk.
    pub(crate) fn run_after(&self, room: &RoomName, after: Seq) -> Result<Option<Run>, ReadError> {
        for _ in 0..MAX_LOOKUPS {
            let Some(chunk) = self.after(room, after)? else {
                return Ok(None);
            };
            if let Some(run) = self.load(room, &chunk)? {
                return Ok(Some(run));
            }
        }
        Err(damaged(room, after.next(), Damage::Torn))
    }

    /// A chunk's records; `None` when the body is gone, merged into another one meanwhile.
    pub(crate) fn load(&self, room: &RoomName, chunk: &Chunk) -> Result<Option<Run>, ReadError> {
        let bad = |damage| damaged(room, chunk.before.seq.next(), damage);
        let mut stored = Vec::with_capacity((chunk.stored_bytes as usize).min(MAX_RAW_BYTES));
        for part in 0..u64::from(chunk.parts) {
            let key = (chunk.body + part).to_be_bytes();
            let Some(value) = self.bodies.get(key).map_err(io)? else {
                return Ok(None);
            };
            if value.is_empty() {
                return Ok(None);
            }
            let body = Body::open(&value).map_err(bad)?;
            if body.room != *room || body.last != chunk.after.seq {
                return Err(bad(Damage::Content));
            }
            stored.extend_from_slice(body.piece);
        }
        if stored.len() != chunk.stored_bytes as usize {
            return Err(bad(Damage::Torn));
        }
        let raw = match chunk.codec {
            0 => stored,
            1 => zstd::bulk::decompress(&stored, chunk.raw_bytes as usize)
                .map_err(|_| bad(Damage::Content))?,
            _ => return Err(bad(Damage::Content)),
        };
        if raw.len() != chunk.raw_bytes as usize {
            return Err(bad(Damage::Torn));
        }
        Run::from_stored(chunk.before, chunk.after, Bytes::from(raw))
            .map(Some)
            .map_err(bad)
    }
}

/// One value of the `bodies` tree.
#[derive(Debug)]
pub(crate) struct Body<'a> {
    pub(crate) room: RoomName,
    pub(crate) last: Seq,
    piece: &'a [u8],
}

impl<'a> Body<'a> {
    pub(crate) fn open(value: &'a [u8]) -> Result<Self, Damage> {
        let (body, rest) = envelope::open(Content::Chunk, value)?;
        if !rest.is_empty() {
            return Err(Damage::Content);
        }
        let mut fields = Fields::new(body);
        Ok(Self {
            room: fields.room()?,
            last: Seq::new(fields.u64()?),
            piece: fields.bytes(fields.len())?,
        })
    }
}

/// Writes chunks; there is one, and it belongs to the mover.
pub(crate) struct ChunkWriter {
    chunks: Chunks,
    next_body: u64,
    prepared: u64,
    zstd: zstd::bulk::Compressor<'static>,
    /// Bytes handed to sled so far.
    pub(crate) written: u64,
    /// Bytes of bodies removed so far.
    pub(crate) removed: u64,
}

/// Records to be written as one chunk: runs that follow each other, and their marks.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) before: Head,
    pub(crate) after: Head,
    pub(crate) raw: Vec<u8>,
    pub(crate) marks: Vec<u16>,
}

impl ChunkWriter {
    /// Goes on at `next_body`; empty values stand prepared up to `prepared`.
    pub(crate) fn new(chunks: Chunks, next_body: u64, prepared: u64) -> std::io::Result<Self> {
        Ok(Self {
            chunks,
            next_body,
            prepared: prepared.max(next_body),
            zstd: zstd::bulk::Compressor::new(ZSTD_LEVEL)?,
            written: 0,
            removed: 0,
        })
    }

    pub(crate) const fn next_body(&self) -> u64 {
        self.next_body
    }

    /// Writes a chunk's body, and gives the entry that is to be put for it.
    pub(crate) fn write_body(
        &mut self,
        room: &RoomName,
        draft: Draft,
    ) -> Result<Chunk, sled::Error> {
        let mut codec = 0;
        let mut stored = None;
        if draft.raw.len() >= COMPRESS_FROM_BYTES
            && let Ok(small) = self.zstd.compress(&draft.raw)
            && small.len() < draft.raw.len() - draft.raw.len() / 16
        {
            codec = 1;
            stored = Some(small);
        }
        let stored = stored.as_deref().unwrap_or(&draft.raw);
        let body = self.next_body;
        let mut value = Vec::with_capacity(MAX_VALUE_BYTES.min(stored.len() + BODY_HEADER_BYTES));
        let mut parts = 0;
        for piece in stored.chunks(PIECE_BYTES) {
            value.clear();
            envelope::seal(Content::Chunk, &mut value, |out| {
                put_room(out, room);
                out.extend_from_slice(&draft.after.seq.get().to_le_bytes());
                out.extend_from_slice(piece);
            });
            self.prepare()?;
            self.chunks
                .bodies
                .insert(self.next_body.to_be_bytes(), &value[..])?;
            self.written += value.len() as u64;
            self.next_body += 1;
            parts += 1;
        }
        Ok(Chunk {
            before: draft.before,
            after: draft.after,
            raw_bytes: draft.raw.len() as u32,
            stored_bytes: stored.len() as u32,
            body,
            parts,
            codec,
            marks: draft.marks,
        })
    }

    fn prepare(&mut self) -> Result<(), sled::Error> {
        while self.prepared <= self.next_body + PREPARED {
            self.chunks
                .bodies
                .insert(self.prepared.to_be_bytes(), &[])?;
            self.prepared += 1;
        }
        Ok(())
    }

    pub(crate) fn put(&mut self, room: &RoomName, chunk: &Chunk) -> Result<(), sled::Error> {
        let value = chunk.seal();
        self.written += value.len() as u64;
        self.chunks
            .index
            .insert(key(room, chunk.after.seq), value)?;
        Ok(())
    }

    /// Removes a chunk's entry, and then its body, so that no entry is ever without one.
    pub(crate) fn remove(&mut self, room: &RoomName, chunk: &Chunk) -> Result<(), sled::Error> {
        self.chunks.index.remove(key(room, chunk.after.seq))?;
        self.remove_body(chunk)
    }

    pub(crate) fn remove_body(&mut self, chunk: &Chunk) -> Result<(), sled::Error> {
        self.removed += u64::from(chunk.stored_bytes);
        for part in 0..u64::from(chunk.parts) {
            self.chunks
                .bodies
                .remove((chunk.body + part).to_be_bytes())?;
        }
        Ok(())
    }
}

fn open_at(room: &RoomName, key: &[u8], value: &[u8]) -> Result<Chunk, ReadError> {
    let seq = key
        .last_chunk()
        .map_or(Seq::ZERO, |last| Seq::new(u64::from_be_bytes(*last)));
    let chunk = Chunk::open(value).map_err(|damage| damaged(room, seq, damage))?;
    if chunk.after.seq == seq && chunk.before.seq < seq {
        Ok(chunk)
    } else {
        Err(damaged(room, seq, Damage::Content))
    }
}

/// Rooms in byte order, and in each the chunks by their last Seq.
pub(crate) fn key(room: &RoomName, last: Seq) -> Vec<u8> {
    let name = room.as_str().as_bytes();
    let mut key = Vec::with_capacity(name.len() + 9);
    key.extend_from_slice(name);
    key.push(0);
    key.extend_from_slice(&last.get().to_be_bytes());
    key
}

pub(crate) fn damaged(room: &RoomName, seq: Seq, damage: Damage) -> ReadError {
    ReadError::Damaged {
        room: room.clone(),
        seq,
        damage,
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(crate) fn io(error: sled::Error) -> ReadError {
    ReadError::Io(error.to_string())
}

const _: () = assert!(PIECE_BYTES * (u16::MAX as usize) > MAX_RAW_BYTES);
