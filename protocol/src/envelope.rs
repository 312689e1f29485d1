//! The frame around everything the Well stores.
//!
//! ```text
//! offset  size  field
//!      0     2  magic, "WL"
//!      2     1  format version
//!      3     1  kind
//!      4     4  body length, little-endian
//!      8     4  CRC-32C (Castagnoli) of bytes 0..8 and the body, little-endian
//!     12     …  body
//! ```
//!
//! The checksum is tested before anything looks at the body: rkyv validation then only ever sees
//! bytes that were written by us. Envelopes lie end to end, so a run of records needs no index.

use crate::limits::MAX_RECORD_BYTES;

/// How many bytes stand before the body.
pub const HEADER_BYTES: usize = 12;
/// The format version that this build writes.
pub const VERSION: u8 = 1;
const MAGIC: [u8; 2] = *b"WL";
/// The longest body: a record, or a packed commit or chunk, which are smaller.
pub const MAX_BODY_BYTES: usize = MAX_RECORD_BYTES;

/// What an envelope holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// One [`Record`](crate::Record).
    Record,
    /// Everything that one commit of a log wrote.
    Commit,
    /// A run of one room's records, moved out of commits.
    Chunk,
    /// A document's encoding at a Seq.
    Snapshot,
    /// A room's row in a log's catalogue.
    Catalogue,
}

impl Content {
    const fn code(self) -> u8 {
        match self {
            Self::Record => 1,
            Self::Commit => 2,
            Self::Chunk => 3,
            Self::Snapshot => 4,
            Self::Catalogue => 5,
        }
    }
}

/// Appends an envelope whose body `write` appends.
///
/// # Panics
/// When the body is over [`MAX_BODY_BYTES`]: callers bound what they pack.
pub fn seal(content: Content, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[VERSION, content.code(), 0, 0, 0, 0, 0, 0, 0, 0]);
    let body = start + HEADER_BYTES;
    write(out);
    let len = out.len() - body;
    assert!(len <= MAX_BODY_BYTES, "an envelope's body is bounded");
    out[start + 4..start + 8].copy_from_slice(&(len as u32).to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&out[start..start + 8]), &out[body..]);
    out[start + 8..body].copy_from_slice(&crc.to_le_bytes());
}

/// Opens the envelope at the start of `bytes`: its body, and what follows it.
///
/// # Errors
/// [`Damage`] says what is wrong; nothing of the body has been looked at.
pub fn open(expected: Content, bytes: &[u8]) -> Result<(&[u8], &[u8]), Damage> {
    let len = peek_len(bytes)?;
    let body = bytes
        .get(HEADER_BYTES..HEADER_BYTES + len)
        .ok_or(Damage::Torn)?;
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..8]), body);
    if bytes[8..HEADER_BYTES] != crc.to_le_bytes() {
        return Err(Damage::Checksum);
    }
    if bytes[2] != VERSION {
        return Err(Damage::Version(bytes[2]));
    }
    if bytes[3] != expected.code() {
        return Err(Damage::Kind(bytes[3]));
    }
    Ok((body, &bytes[HEADER_BYTES + len..]))
}

/// The body length that the envelope at the start of `bytes` claims, before its checksum is known.
///
/// # Errors
/// [`Damage::Torn`], [`Damage::Magic`] or [`Damage::Length`].
pub fn peek_len(bytes: &[u8]) -> Result<usize, Damage> {
    let header = bytes.get(..HEADER_BYTES).ok_or(Damage::Torn)?;
    if header[..2] != MAGIC {
        return Err(Damage::Magic);
    }
    let len = u32::from_le_bytes([header[4], header[5], header[6], header[7]]) as usize;
    if len > MAX_BODY_BYTES {
        return Err(Damage::Length(len));
    }
    Ok(len)
}

/// What is wrong with stored bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The bytes end before the envelope does.
    #[error("the bytes end before the envelope does")]
    Torn,
    /// The bytes do not begin with the magic.
    #[error("not an envelope of the Well (wrong magic)")]
    Magic,
    /// The length is over the limit.
    #[error("an envelope claims {0} bytes, over the limit of {MAX_BODY_BYTES}")]
    Length(usize),
    /// The checksum does not match.
    #[error("the checksum does not match: the bytes changed after they were written")]
    Checksum,
    /// Written by a format version that this build does not read.
    #[error(
        "format version {0} is not one this build reads (it reads {VERSION}); use a newer build"
    )]
    Version(u8),
    /// An intact envelope of another kind than the one expected here.
    #[error("an intact envelope of kind {0} stands where another kind was expected")]
    Kind(u8),
    /// The checksum holds and the content does not: a fault of the writer.
    #[error("the checksum holds but the content is not valid: it was written wrong")]
    Content,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        seal(Content::Chunk, &mut out, |out| out.extend_from_slice(body));
        out
    }

    #[test]
    fn what_was_sealed_opens_and_leaves_the_rest() {
        let mut bytes = sealed(b"one");
        bytes.extend(sealed(b"two"));
        let (one, rest) = open(Content::Chunk, &bytes).unwrap();
        let (two, end) = open(Content::Chunk, rest).unwrap();
        assert_eq!((one, two, end), (&b"one"[..], &b"two"[..], &b""[..]));
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let bytes = sealed(b"the quick brown fox");
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(open(Content::Chunk, &bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn every_truncation_is_torn() {
        let bytes = sealed(b"body");
        for len in 0..bytes.len() {
            assert_eq!(open(Content::Chunk, &bytes[..len]), Err(Damage::Torn));
        }
    }

    #[test]
    fn the_checksum_is_castagnolis() {
        // The check value of CRC-32C in RFC 3720, appendix B.4, and Koopman's tables.
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
        let bytes = sealed(b"body");
        let covered = [&bytes[..8], b"body"].concat();
        assert_eq!(bytes[8..12], crc32c::crc32c(&covered).to_le_bytes());
    }

    #[test]
    fn a_newer_version_is_told_from_damage() {
        let mut bytes = sealed(b"x");
        bytes[2] = VERSION + 1;
        assert_eq!(open(Content::Chunk, &bytes), Err(Damage::Checksum));
        let crc = crc32c::crc32c(&[&bytes[..8], b"x"].concat());
        bytes[8..12].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(open(Content::Chunk, &bytes), Err(Damage::Version(2)));
    }

    #[test]
    fn a_length_over_the_limit_is_refused_before_it_is_believed() {
        let mut bytes = sealed(b"x");
        bytes[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        let over = Damage::Length(u32::MAX as usize);
        assert_eq!(open(Content::Chunk, &bytes), Err(over));
    }

    #[test]
    fn another_kind_is_refused() {
        assert_eq!(open(Content::Record, &sealed(b"x")), Err(Damage::Kind(3)));
    }
}
