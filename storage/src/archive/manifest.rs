//! A manifest: what the archive consists of, from one moment on.
//!
//! ```text
//! "WELLMAN\n" | version u16 | 0 u16 | CRC-32C of all but these four bytes u32 | one zstd frame of
//!   number u64 | epoch u64 | writer u128 | at u64, µs
//!   | segments u32, each: id | length u64 | XXH3-128 u128 | index offset u64
//!                         | rooms u64 | records u64 | snapshots u64 | raw bytes u64
//!   | replaced u32, each: id
//! id = epoch u64 | counter u64
//! ```
//!
//! Manifests are numbered without gap and never change: each is created only if it is not there
//! yet, so of two writers one learns that it is too late. `writer` is drawn at random by each
//! writer, which tells a manifest that is its own, whose answer was lost, from another's.

use std::collections::HashSet;

use protocol::Timestamp;
use protocol::envelope::Damage;

use super::codec;
use super::index::TRAILER_BYTES;
use super::limits::{MAX_MANIFEST_BYTES, MAX_SEGMENT_BYTES, MAX_SEGMENTS};
use super::segment::{SegmentId, SegmentMeta};
use crate::fields::Fields;

const MAGIC: &[u8; 8] = b"WELLMAN\n";
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 16;

/// What the archive consists of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Manifest {
    pub(super) number: u64,
    pub(super) epoch: u64,
    pub(super) writer: u128,
    pub(super) at: Timestamp,
    pub(super) segments: Vec<SegmentMeta>,
    /// Segments of the manifest before that this one does without.
    pub(super) replaced: Vec<SegmentId>,
}

impl Manifest {
    /// What an archive has before its first manifest.
    pub(super) const NONE: Self = Self {
        number: 0,
        epoch: 0,
        writer: 0,
        at: Timestamp::from_micros(0),
        segments: Vec::new(),
        replaced: Vec::new(),
    };

    /// A manifest's path below the prefix.
    pub(super) fn path(number: u64) -> String {
        format!("manifests/{number:020}")
    }

    /// The number in the last part of a path.
    pub(super) fn parse_name(name: &str) -> Option<u64> {
        (name.len() == 20)
            .then(|| name.parse().ok())
            .flatten()
            .filter(|_| name.bytes().all(|b| b.is_ascii_digit()))
    }

    pub(super) fn seal(&self) -> Vec<u8> {
        let mut raw = Vec::with_capacity(64 + self.segments.len() * 80);
        raw.extend_from_slice(&self.number.to_le_bytes());
        raw.extend_from_slice(&self.epoch.to_le_bytes());
        raw.extend_from_slice(&self.writer.to_le_bytes());
        raw.extend_from_slice(&self.at.micros().to_le_bytes());
        raw.extend_from_slice(&(self.segments.len() as u32).to_le_bytes());
        for segment in &self.segments {
            put_id(&mut raw, segment.id);
            raw.extend_from_slice(&segment.length.to_le_bytes());
            raw.extend_from_slice(&segment.hash.to_le_bytes());
            for n in [
                segment.index_offset,
                segment.rooms,
                segment.records,
                segment.snapshots,
                segment.raw_bytes,
            ] {
                raw.extend_from_slice(&n.to_le_bytes());
            }
        }
        raw.extend_from_slice(&(self.replaced.len() as u32).to_le_bytes());
        for id in &self.replaced {
            put_id(&mut raw, *id);
        }
        Self::sealed(&raw)
    }

    /// The object around a manifest's fields.
    pub(super) fn sealed(raw: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(raw.len() / 2);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 6]);
        out.extend_from_slice(&codec::compress(raw));
        let crc = checksum(&out);
        out[12..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
        out
    }

    pub(super) fn open(number: u64, object: &[u8]) -> Result<Self, Damage> {
        let header = object.get(..HEADER_BYTES).ok_or(Damage::Torn)?;
        if header[..8] != *MAGIC {
            return Err(Damage::Magic);
        }
        if header[12..] != checksum(object).to_le_bytes() {
            return Err(Damage::Checksum);
        }
        if header[8..10] != VERSION.to_le_bytes() {
            return Err(Damage::Version(header[8]));
        }
        let raw = codec::decompress(&object[HEADER_BYTES..], MAX_MANIFEST_BYTES)?;
        let mut fields = Fields::new(&raw);
        let mut manifest = Self {
            number: fields.u64()?,
            epoch: fields.u64()?,
            writer: fields.u128()?,
            at: Timestamp::from_micros(fields.u64()?),
            ..Self::default()
        };
        let count = fields.u32()? as usize;
        if count > MAX_SEGMENTS || header[10..12] != [0, 0] {
            return Err(Damage::Content);
        }
        let mut known = HashSet::new();
        for _ in 0..count {
            let segment = SegmentMeta {
                id: read_id(&mut fields)?,
                length: fields.u64()?,
                hash: fields.u128()?,
                index_offset: fields.u64()?,
                rooms: fields.u64()?,
                records: fields.u64()?,
                snapshots: fields.u64()?,
                raw_bytes: fields.u64()?,
            };
            let tail = segment.length.checked_sub(segment.index_offset);
            let sound = tail.is_some_and(|tail| tail >= TRAILER_BYTES as u64)
                && segment.length <= MAX_SEGMENT_BYTES as u64
                && segment.id.epoch <= manifest.epoch
                && known.insert(segment.id);
            if !sound {
                return Err(Damage::Content);
            }
            manifest.segments.push(segment);
        }
        let count = fields.u32()? as usize;
        if count > MAX_SEGMENTS {
            return Err(Damage::Content);
        }
        for _ in 0..count {
            manifest.replaced.push(read_id(&mut fields)?);
        }
        fields.end()?;
        if manifest.number == number {
            Ok(manifest)
        } else {
            Err(Damage::Content)
        }
    }
}

fn checksum(object: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&object[..12]), &object[HEADER_BYTES..])
}

fn put_id(out: &mut Vec<u8>, id: SegmentId) {
    out.extend_from_slice(&id.epoch.to_le_bytes());
    out.extend_from_slice(&id.counter.to_le_bytes());
}

fn read_id(fields: &mut Fields<'_>) -> Result<SegmentId, Damage> {
    Ok(SegmentId {
        epoch: fields.u64()?,
        counter: fields.u64()?,
    })
}
