//! A document's encoding at a Seq, and how it is stored.
//!
//! ```text
//! block  one zstd frame, with its content's length, of
//!          envelope(Snapshot) 0 | room | head | kind u8 | created u64 | title flag u8, length u16,
//!                             UTF-8 | clients length u32, bytes | content length u64 | parts u32 |
//!                             XXH3-128 of the content
//!          envelope(Snapshot) 1 | number u32, from 0 | a piece of the content     for each part
//! ```
//!
//! The frame's length is checked against its bound before anything is decompressed, so hostile
//! bytes cost no more memory than the largest snapshot. The hash is over what the document is, not
//! how it is cut: it proves that the parts are all there, in order and of this snapshot.

use bytes::Bytes;
use protocol::envelope::{self, Content, Damage};
use protocol::{Head, RoomName, Timestamp};
use xxhash_rust::xxh3::xxh3_128;

use super::limits::{
    MAX_CLIENTS_BYTES, MAX_SNAPSHOT_BLOCK_BYTES, MAX_SNAPSHOT_BYTES, MAX_TITLE_BYTES,
    SNAPSHOT_PART_BYTES,
};
use crate::fields::{Fields, put_head, put_room};

/// A document's encoding at a Seq of its room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The room.
    pub room: RoomName,
    /// The last record that is folded into it.
    pub head: Head,
    /// The document kind's code, which means nothing here.
    pub kind: u8,
    /// The room's title at that moment; at most [`MAX_TITLE_BYTES`].
    pub title: Option<String>,
    /// The time of the room's very first record.
    pub created: Timestamp,
    /// The clients that have written up to then, as `replay` encodes them, which means nothing here;
    /// at most [`MAX_CLIENTS_BYTES`].
    pub clients: Bytes,
    /// The document, in its kind's own encoding; at most [`MAX_SNAPSHOT_BYTES`].
    pub content: Bytes,
}

/// Why a snapshot cannot be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// The document is over [`MAX_SNAPSHOT_BYTES`].
    #[error("a snapshot of {0} bytes is over the limit of {MAX_SNAPSHOT_BYTES}")]
    ContentLength(usize),
    /// The title is over [`MAX_TITLE_BYTES`].
    #[error("a title of {0} bytes is over the limit of {MAX_TITLE_BYTES}")]
    TitleLength(usize),
    /// The table of clients is over [`MAX_CLIENTS_BYTES`].
    #[error("a table of clients of {0} bytes is over the limit of {MAX_CLIENTS_BYTES}")]
    ClientsLength(usize),
}

impl Snapshot {
    /// The stored form: one compressed block.
    ///
    /// # Errors
    /// [`SnapshotError`] when it is over a limit.
    pub fn encode(&self) -> Result<Bytes, SnapshotError> {
        Ok(super::codec::compress(&self.seal()?).into())
    }

    /// Reads a stored form back. Every byte of it is checked.
    ///
    /// # Errors
    /// [`Damage`] says what is wrong.
    pub fn decode(block: &[u8]) -> Result<Self, Damage> {
        Self::open(super::codec::decompress(block, MAX_SNAPSHOT_BLOCK_BYTES)?)
    }

    /// About how many bytes it holds in memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.content.len() + self.clients.len() + self.title.as_ref().map_or(0, String::len) + 512
    }

    /// The envelopes, before they are compressed.
    pub(super) fn seal(&self) -> Result<Vec<u8>, SnapshotError> {
        self.check()?;
        let parts = self.content.chunks(SNAPSHOT_PART_BYTES);
        let count = parts.len();
        let mut out = Vec::with_capacity(self.content.len() + 512 + count * 32);
        envelope::seal(Content::Snapshot, &mut out, |out| {
            out.push(0);
            put_room(out, &self.room);
            put_head(out, self.head);
            out.push(self.kind);
            out.extend_from_slice(&self.created.micros().to_le_bytes());
            out.push(u8::from(self.title.is_some()));
            let title = self.title.as_deref().unwrap_or_default();
            // At most 4,096 bytes, as checked above.
            out.extend_from_slice(&(title.len() as u16).to_le_bytes());
            out.extend_from_slice(title.as_bytes());
            // At most 4 MiB, as checked above.
            out.extend_from_slice(&(self.clients.len() as u32).to_le_bytes());
            out.extend_from_slice(&self.clients);
            out.extend_from_slice(&(self.content.len() as u64).to_le_bytes());
            out.extend_from_slice(&(count as u32).to_le_bytes());
            out.extend_from_slice(&xxh3_128(&self.content).to_le_bytes());
        });
        for (number, part) in parts.enumerate() {
            envelope::seal(Content::Snapshot, &mut out, |out| {
                out.push(1);
                out.extend_from_slice(&(number as u32).to_le_bytes());
                out.extend_from_slice(part);
            });
        }
        Ok(out)
    }

    /// Whether it is within its limits.
    ///
    /// # Errors
    /// [`SnapshotError`] says which one it is over.
    pub fn check(&self) -> Result<(), SnapshotError> {
        let title = self.title.as_ref().map_or(0, String::len);
        if self.content.len() > MAX_SNAPSHOT_BYTES {
            return Err(SnapshotError::ContentLength(self.content.len()));
        }
        if title > MAX_TITLE_BYTES {
            return Err(SnapshotError::TitleLength(title));
        }
        if self.clients.len() > MAX_CLIENTS_BYTES {
            return Err(SnapshotError::ClientsLength(self.clients.len()));
        }
        Ok(())
    }

    /// Reads the envelopes back. The content is put together where it lies: a large document is not in
    /// memory twice.
    pub(super) fn open(mut sealed: Vec<u8>) -> Result<Self, Damage> {
        let (body, rest) = envelope::open(Content::Snapshot, &sealed)?;
        let mut next = sealed.len() - rest.len();
        let mut fields = Fields::new(body);
        if fields.u8()? != 0 {
            return Err(Damage::Content);
        }
        let room = fields.room()?;
        let head = fields.head()?;
        let kind = fields.u8()?;
        let created = Timestamp::from_micros(fields.u64()?);
        let titled = fields.flag()?;
        let len = usize::from(fields.u16()?);
        let title = std::str::from_utf8(fields.bytes(len)?).map_err(|_| Damage::Content)?;
        let clients_len = usize::try_from(fields.u32()?).map_err(|_| Damage::Content)?;
        let clients = Bytes::copy_from_slice(fields.bytes(clients_len)?);
        let content_len = usize::try_from(fields.u64()?).map_err(|_| Damage::Content)?;
        let count = fields.u32()?;
        let hash = fields.u128()?;
        fields.end()?;
        if (!titled && len > 0) || len > MAX_TITLE_BYTES || clients_len > MAX_CLIENTS_BYTES {
            return Err(Damage::Content);
        }
        let title = titled.then(|| title.to_owned());
        let mut end = 0;
        for number in 0..count {
            let (body, after) = envelope::open(Content::Snapshot, &sealed[next..])?;
            let mut fields = Fields::new(body);
            if fields.u8()? != 1 || fields.u32()? != number {
                return Err(Damage::Content);
            }
            let part = sealed.len() - after.len() - fields.len()..sealed.len() - after.len();
            next = part.end;
            let len = part.len();
            sealed.copy_within(part, end);
            end += len;
        }
        if next != sealed.len() {
            return Err(Damage::Content);
        }
        sealed.truncate(end);
        if end != content_len || xxh3_128(&sealed) != hash {
            return Err(Damage::Content);
        }
        Ok(Self {
            room,
            head,
            kind,
            title,
            created,
            clients,
            content: sealed.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::Rng;
    use protocol::{Chain, Seq};

    fn snapshot(len: usize, title: Option<&str>) -> Snapshot {
        let mut rng = Rng::new(len as u64);
        Snapshot {
            room: RoomName::parse("doc/a").unwrap(),
            head: Head {
                seq: Seq::new(7),
                at: Timestamp::from_micros(99),
                chain: Chain::from_raw(3),
            },
            kind: 1,
            title: title.map(str::to_owned),
            created: Timestamp::from_micros(5),
            clients: Bytes::from(vec![7; len / 100]),
            content: (0..len)
                .map(|_| rng.next() as u8 & 0x1f)
                .collect::<Vec<_>>()
                .into(),
        }
    }

    #[test]
    fn a_snapshot_is_read_as_it_was_written() {
        for (len, title) in [
            (0, None),
            (1, Some("")),
            (1000, Some("A title")),
            (SNAPSHOT_PART_BYTES, None),
            (SNAPSHOT_PART_BYTES * 2 + 1, Some("ü")),
        ] {
            let snapshot = snapshot(len, title);
            assert_eq!(
                Snapshot::decode(&snapshot.encode().unwrap()),
                Ok(snapshot.clone())
            );
        }
    }

    #[test]
    fn limits_are_refused_before_anything_is_stored() {
        let long = "x".repeat(MAX_TITLE_BYTES + 1);
        assert_eq!(
            snapshot(1, Some(&long)).encode(),
            Err(SnapshotError::TitleLength(long.len()))
        );
    }

    #[test]
    fn every_flipped_byte_of_a_snapshot_is_found() {
        let snapshot = snapshot(3000, Some("t"));
        let good = snapshot.encode().unwrap();
        for at in 0..good.len() {
            for bit in [0x01, 0x80] {
                let mut bad = good.to_vec();
                bad[at] ^= bit;
                let read = Snapshot::decode(&bad);
                assert!(
                    read.is_err() || read.as_ref() == Ok(&snapshot),
                    "byte {at} flipped gives another snapshot"
                );
            }
            assert!(Snapshot::decode(&good[..at]).is_err());
        }
    }

    #[test]
    fn parts_are_all_there_in_order_and_of_one_snapshot() {
        let sealed = |snapshot: &Snapshot| {
            let sealed = snapshot.seal().unwrap();
            let (_, first) = envelope::open(Content::Snapshot, &sealed).unwrap();
            let (_, second) = envelope::open(Content::Snapshot, first).unwrap();
            let (head, first) = sealed.split_at(sealed.len() - first.len());
            let (first, second) = first.split_at(first.len() - second.len());
            [head.to_vec(), first.to_vec(), second.to_vec()]
        };
        let one = snapshot(SNAPSHOT_PART_BYTES * 2, None);
        let mut content = one.content.to_vec();
        content[SNAPSHOT_PART_BYTES + 5] ^= 1;
        let other = Snapshot {
            content: content.into(),
            ..one.clone()
        };
        let [head, first, second] = sealed(&one);
        let [_, _, foreign] = sealed(&other);
        let open = |parts: &[&Vec<u8>]| {
            let parts = parts.iter().flat_map(|part| part.iter().copied());
            Snapshot::open(parts.collect())
        };
        assert_eq!(open(&[&head, &first, &second]), Ok(one));
        for parts in [
            &[&head, &second, &first][..],
            &[&head, &first, &foreign],
            &[&head, &first, &second, &second],
            &[&head, &first],
            &[&head, &first, &first],
        ] {
            assert!(open(parts).is_err());
        }
    }

    #[test]
    fn hostile_snapshots_are_refused_and_do_not_panic() {
        let good = snapshot(500, Some("t")).seal().unwrap();
        let mut rng = Rng::new(1);
        for _ in 0..5_000 {
            let mut bad = good.clone();
            for _ in 0..=rng.below(3) {
                let at = rng.below(bad.len());
                bad[at] = rng.next() as u8;
            }
            bad.truncate(rng.below(bad.len() + 1));
            let _ = Snapshot::open(bad.clone());
            let _ = Snapshot::decode(&bad);
            let _ = Snapshot::decode(&super::super::codec::compress(&bad));
        }
        // A frame that claims more than a snapshot may hold is not decompressed.
        let bomb = zstd::bulk::compress(&vec![0; MAX_SNAPSHOT_BLOCK_BYTES + 1], 1).unwrap();
        assert!(matches!(Snapshot::decode(&bomb), Err(Damage::Length(_))));
    }
}
