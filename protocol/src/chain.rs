//! The hash that proves a room's whole prefix with one number.
//!
//! `chain(n) = xxh3_64(payload, seed = xxh3_64(fields, seed = chain(n − 1)))`, with `chain(0) = 0`
//! and `fields` the little-endian bytes written by [`Chain::extend`]. The hash covers what a
//! record means, not how a format version lays it out, so it survives a change of format. XXH3 is
//! no cryptographic hash: the chain finds damage and disorder, not a forger with write access.

use std::fmt;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::ids::{OpId, Seq, Timestamp};
use crate::record::Draft;

/// A room's chain hash after some record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Chain(u64);

impl Chain {
    /// The chain of an empty room.
    pub const EMPTY: Self = Self(0);

    /// A chain hash read back from a file or a message.
    #[must_use]
    pub const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    /// The number itself.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The chain after one more record.
    ///
    /// The fields are, in order: seq, at (µs), kind (u8), session, site (u8 present, u64), op id
    /// (u8 present, 16 bytes), base (u8 present, u64), user (u8 length, bytes; 0 = none). The
    /// payload is hashed separately, in place.
    #[must_use]
    pub fn extend(self, seq: Seq, at: Timestamp, draft: &Draft) -> Self {
        let mut fields = Fields::default();
        fields.put(&seq.get().to_le_bytes());
        fields.put(&at.micros().to_le_bytes());
        fields.put(&[draft.kind.code()]);
        fields.put(&draft.author.session.get().to_le_bytes());
        fields.put_optional(draft.author.site.map(|site| site.get().to_le_bytes()));
        fields.put_optional(draft.op_id.map(OpId::bytes));
        fields.put_optional(draft.base.map(|base| base.get().to_le_bytes()));
        let user = draft.user();
        // A user id has at most 128 bytes, so one byte holds its length.
        fields.put(&[user.len() as u8]);
        fields.put(user.as_bytes());
        let seed = xxh3_64_with_seed(fields.bytes(), self.0);
        Self(xxh3_64_with_seed(&draft.payload, seed))
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A stack buffer that holds the fields of any record.
struct Fields {
    bytes: [u8; 256],
    len: usize,
}

impl Default for Fields {
    fn default() -> Self {
        Self {
            bytes: [0; 256],
            len: 0,
        }
    }
}

const _: () = assert!(8 + 8 + 1 + 8 + 9 + 17 + 9 + 1 + crate::limits::MAX_USER_BYTES <= 256);

impl Fields {
    fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    fn put_optional<const N: usize>(&mut self, value: Option<[u8; N]>) {
        self.put(&[u8::from(value.is_some())]);
        if let Some(bytes) = value {
            self.put(&bytes);
        }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{SessionId, Site, UserId};
    use crate::record::{Author, Kind};
    use bytes::Bytes;

    fn plain() -> Draft {
        Draft {
            author: Author {
                user: None,
                session: SessionId::new(7),
                site: None,
            },
            op_id: None,
            base: None,
            kind: Kind::Update,
            payload: Bytes::from_static(b"payload"),
        }
    }

    fn full() -> Draft {
        Draft {
            author: Author {
                user: Some(UserId::new("ada").unwrap()),
                session: SessionId::new(7),
                site: Some(Site::new(300)),
            },
            op_id: Some(OpId::new(*b"0123456789abcdef")),
            base: Some(Seq::new(41)),
            kind: Kind::Update,
            payload: Bytes::from(vec![0xa5; 1000]),
        }
    }

    fn chain(draft: &Draft) -> u64 {
        let at = Timestamp::from_micros(1_795_520_879_123_456);
        Chain::from_raw(0x0123_4567_89ab_cdef)
            .extend(Seq::new(42), at, draft)
            .get()
    }

    /// Computed from the description in `docs/formats.md` by another implementation of XXH3.
    #[test]
    fn golden_numbers_stay() {
        assert_eq!(chain(&plain()), 0x6b0d_4e4d_5bf5_bc18);
        assert_eq!(chain(&full()), 0xd923_2df9_485c_14ef);
    }

    #[test]
    fn every_field_changes_the_chain() {
        let mut chains = vec![chain(&plain()), chain(&full())];
        let mut add = |change: fn(&mut Draft)| {
            for mut draft in [plain(), full()] {
                change(&mut draft);
                chains.push(chain(&draft));
            }
        };
        add(|draft| draft.author.user = UserId::new("bob").ok());
        add(|draft| draft.author.user = UserId::new(&"u".repeat(128)).ok());
        add(|draft| draft.author.session = SessionId::new(8));
        add(|draft| draft.author.site = Some(Site::new(0)));
        add(|draft| draft.op_id = Some(OpId::new([0; 16])));
        add(|draft| draft.base = Some(Seq::ZERO));
        add(|draft| draft.kind = Kind::Titled);
        add(|draft| draft.payload = Bytes::new());
        add(|draft| draft.payload = Bytes::from_static(b"payload\0"));
        for at in [0, u64::MAX] {
            let at = Timestamp::from_micros(at);
            chains.push(Chain::EMPTY.extend(Seq::FIRST, at, &plain()).get());
        }
        let zero = Timestamp::from_micros(0);
        let one = Chain::EMPTY.extend(Seq::FIRST, zero, &plain());
        chains.push(Chain::EMPTY.extend(Seq::new(2), zero, &plain()).get());
        chains.push(one.extend(Seq::new(2), zero, &plain()).get());
        let count = chains.len();
        chains.sort_unstable();
        chains.dedup();
        assert_eq!(chains.len(), count);
    }

    #[test]
    fn the_chain_ties_each_record_to_all_before_it() {
        let at = Timestamp::from_micros(5);
        let (a, b) = (plain(), full());
        let one = Chain::EMPTY.extend(Seq::FIRST, at, &a);
        let other = Chain::EMPTY.extend(Seq::FIRST, at, &b);
        assert_ne!(
            one.extend(Seq::new(2), at, &b),
            other.extend(Seq::new(2), at, &b)
        );
    }

    #[test]
    fn it_prints_as_sixteen_digits() {
        assert_eq!(Chain::from_raw(0xabc).to_string(), "0000000000000abc");
    }
}
