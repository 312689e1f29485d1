//! A commit on disk: everything that one sync made durable, in the order of its calls.
//!
//! ```text
//! key    entry number, u64 big-endian: 1, 2, 3 … over all commits, without gap
//! value  envelope(Commit) { synced u64 | part u32 | last u8 | a piece of the commit's stream }
//!
//! stream, in order, little-endian:
//!   0  batch   number u64                                     what follows belongs to this batch
//!   1  run     room | before head | after head | length u32 | sealed records
//!   2  trim    room | start head | freed u64                  bytes of the records it forgets
//!   3  delete  room
//!   4  begin   room | head | created u64
//! room = length u16 | UTF-8;   head = seq u64 | at u64 | chain u64
//! ```
//!
//! A stream longer than one value is cut anywhere into parts, numbered from 0, the final one
//! marked `last`: a commit without its last part is torn and is dropped whole. `synced` is the
//! last entry known to be durable when this one was packed. It tells a torn tail, which was never
//! acked, from damage: an entry may be missing only if no later one knew it to be durable.
//!
//! # Why entries have keys prepared for them
//! sled splits a leaf at 17 items and rewrites both halves, and rewrites a whole leaf at its tenth
//! change. Filled in order, each value is written three to five times. So a run of empty values
//! is kept ahead of the entries: leaves split while they hold nothing, into halves of at most nine
//! keys, and each value is then written once, as one change of its leaf.

use bytes::Bytes;
use protocol::envelope::{self, Content, Damage, HEADER_BYTES};
use protocol::{Head, RoomName, Run, Timestamp};

use crate::fields::{Fields, HEAD_BYTES, put_head, put_room};

/// The longest value: a leaf holds at most 17, and all of them must fit one message of sled's
/// (a quarter of its segment), for what does not fit lands in files that sled never syncs.
pub(crate) const MAX_VALUE_BYTES: usize = 64 << 10;
/// How many empty values are kept ahead of the entries; more than a leaf holds.
pub(crate) const PREPARED: u64 = 40;

const PART_HEADER_BYTES: usize = 8 + 4 + 1;
const MAX_PIECE_BYTES: usize = MAX_VALUE_BYTES - HEADER_BYTES - PART_HEADER_BYTES;

/// One change of a room, with what readers of a commit must know about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    Run(RoomName, Run),
    Trim(RoomName, Head, u64),
    Delete(RoomName),
    Begin(RoomName, Head, Timestamp),
}

impl Change {
    pub(crate) const fn room(&self) -> &RoomName {
        let (Self::Run(room, _)
        | Self::Trim(room, ..)
        | Self::Delete(room)
        | Self::Begin(room, ..)) = self;
        room
    }
}

/// A commit being packed: pieces of scratch bytes and of shared runs, copied only once, into parts.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    scratch: Vec<u8>,
    pieces: Vec<Piece>,
    len: usize,
}

#[derive(Debug)]
enum Piece {
    Scratch(usize),
    Shared(Bytes),
}

impl Stream {
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn batch(&mut self, number: u64) {
        self.scratch(|out| {
            out.push(0);
            out.extend_from_slice(&number.to_le_bytes());
        });
    }

    pub(crate) fn change(&mut self, change: &Change) {
        match change {
            Change::Run(room, run) => {
                self.scratch(|out| {
                    out.push(1);
                    put_room(out, room);
                    put_head(out, run.before());
                    put_head(out, run.after());
                    out.extend_from_slice(&(run.bytes().len() as u32).to_le_bytes());
                });
                self.len += run.bytes().len();
                self.pieces.push(Piece::Shared(run.bytes().clone()));
            }
            Change::Trim(room, start, freed) => self.scratch(|out| {
                out.push(2);
                put_room(out, room);
                put_head(out, *start);
                out.extend_from_slice(&freed.to_le_bytes());
            }),
            Change::Delete(room) => self.scratch(|out| {
                out.push(3);
                put_room(out, room);
            }),
            Change::Begin(room, head, created) => self.scratch(|out| {
                out.push(4);
                put_room(out, room);
                put_head(out, *head);
                out.extend_from_slice(&created.micros().to_le_bytes());
            }),
        }
    }

    fn scratch(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let from = self.scratch.len();
        write(&mut self.scratch);
        let added = self.scratch.len() - from;
        self.len += added;
        match self.pieces.last_mut() {
            Some(Piece::Scratch(len)) => *len += added,
            _ => self.pieces.push(Piece::Scratch(added)),
        }
    }

    /// Cuts the stream into sealed parts, each handed to `put` in order.
    pub(crate) fn seal<E>(
        &self,
        synced: u64,
        mut put: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut scratch = &self.scratch[..];
        let mut slices = self.pieces.iter().map(|piece| match piece {
            Piece::Scratch(len) => {
                let (front, rest) = scratch.split_at(*len);
                scratch = rest;
                front
            }
            Piece::Shared(bytes) => &bytes[..],
        });
        let mut value = Vec::with_capacity(MAX_VALUE_BYTES.min(self.len + 64));
        let mut slice: &[u8] = &[];
        let mut left = self.len;
        let mut part = 0_u32;
        loop {
            let mut room = left.min(MAX_PIECE_BYTES);
            left -= room;
            value.clear();
            envelope::seal(Content::Commit, &mut value, |out| {
                out.extend_from_slice(&synced.to_le_bytes());
                out.extend_from_slice(&part.to_le_bytes());
                out.push(u8::from(left == 0));
                while room > 0 {
                    if slice.is_empty() {
                        slice = slices.next().unwrap_or_default();
                        continue;
                    }
                    let (front, rest) = slice.split_at(room.min(slice.len()));
                    out.extend_from_slice(front);
                    room -= front.len();
                    slice = rest;
                }
            });
            put(&value)?;
            if left == 0 {
                return Ok(());
            }
            part += 1;
        }
    }
}

/// One part, read back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part<'a> {
    pub(crate) synced: u64,
    pub(crate) number: u32,
    pub(crate) last: bool,
    pub(crate) piece: &'a [u8],
}

impl<'a> Part<'a> {
    pub(crate) fn open(value: &'a [u8]) -> Result<Self, Damage> {
        let (body, rest) = envelope::open(Content::Commit, value)?;
        if !rest.is_empty() {
            return Err(Damage::Content);
        }
        let mut fields = Fields::new(body);
        Ok(Self {
            synced: fields.u64()?,
            number: fields.u32()?,
            last: fields.flag()?,
            piece: fields.bytes(fields.len())?,
        })
    }
}

/// Reads a whole stream: each change with the number of its batch. Batches without a change are
/// given too, so that their numbers are not used again.
pub(crate) fn read_stream(
    stream: &Bytes,
    mut each: impl FnMut(u64, Option<Change>) -> Result<(), Damage>,
) -> Result<(), Damage> {
    let mut fields = Fields::new(stream);
    let mut batch = None;
    while !fields.is_empty() {
        let change = match fields.u8()? {
            0 => {
                let number = fields.u64()?;
                batch = Some(number);
                each(number, None)?;
                continue;
            }
            1 => {
                let room = fields.room()?;
                let before = fields.head()?;
                let after = fields.head()?;
                let len = fields.u32()? as usize;
                let bytes = stream.slice_ref(fields.bytes(len)?);
                Change::Run(room, Run::from_stored(before, after, bytes)?)
            }
            2 => Change::Trim(fields.room()?, fields.head()?, fields.u64()?),
            3 => Change::Delete(fields.room()?),
            4 => Change::Begin(
                fields.room()?,
                fields.head()?,
                Timestamp::from_micros(fields.u64()?),
            ),
            _ => return Err(Damage::Content),
        };
        each(batch.ok_or(Damage::Content)?, Some(change))?;
    }
    Ok(())
}

const _: () = assert!(HEAD_BYTES == 24);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::Rng;
    use protocol::record::RunBuilder;
    use protocol::{Author, Draft, Kind, Seq, SessionId};

    fn run(head: Head, len: usize) -> Run {
        let mut builder = RunBuilder::new(head);
        let draft = Draft {
            author: Author {
                user: None,
                session: SessionId::new(1),
                site: None,
            },
            op_id: None,
            base: None,
            kind: Kind::Update,
            payload: vec![7; len].into(),
        };
        builder.push(Timestamp::from_micros(5), &draft);
        builder.finish().unwrap()
    }

    fn parts(changes: &[Change]) -> Vec<Vec<u8>> {
        let mut stream = Stream::default();
        stream.batch(9);
        for change in changes {
            stream.change(change);
        }
        let mut parts = Vec::new();
        let packed: Result<(), ()> = stream.seal(3, |value| {
            parts.push(value.to_vec());
            Ok(())
        });
        packed.unwrap();
        parts
    }

    fn joined(parts: &[Vec<u8>]) -> Bytes {
        let mut stream = Vec::new();
        for (i, value) in parts.iter().enumerate() {
            assert!(value.len() <= MAX_VALUE_BYTES);
            let part = Part::open(value).unwrap();
            assert_eq!((part.synced, part.number as usize), (3, i));
            assert_eq!(part.last, i + 1 == parts.len());
            stream.extend_from_slice(part.piece);
        }
        stream.into()
    }

    #[test]
    fn a_commit_is_read_as_it_was_packed() {
        let room = RoomName::parse("doc/a").unwrap();
        for len in [
            0,
            10,
            MAX_PIECE_BYTES - 300,
            MAX_PIECE_BYTES,
            200_000,
            1 << 20,
        ] {
            let one = run(Head::EMPTY, len);
            let two = run(one.after(), 3);
            let changes = vec![
                Change::Run(room.clone(), one.clone()),
                Change::Trim(room.clone(), one.after(), 77),
                Change::Delete(room.clone()),
                Change::Begin(room.clone(), two.before(), Timestamp::from_micros(4)),
                Change::Run(room.clone(), two),
            ];
            let stream = joined(&parts(&changes));
            let mut read = Vec::new();
            read_stream(&stream, |batch, change| {
                assert_eq!(batch, 9);
                read.extend(change);
                Ok(())
            })
            .unwrap();
            assert_eq!(read, changes);
        }
    }

    #[test]
    fn hostile_streams_are_refused_and_do_not_panic() {
        let room = RoomName::parse("doc/a").unwrap();
        let good = joined(&parts(&[
            Change::Run(room.clone(), run(Head::EMPTY, 40)),
            Change::Trim(
                room,
                Head {
                    seq: Seq::new(1),
                    ..Head::EMPTY
                },
                1,
            ),
        ]));
        let mut rng = Rng::new(1);
        for _ in 0..20_000 {
            let mut bad = good.to_vec();
            for _ in 0..=rng.below(3) {
                let at = rng.below(bad.len());
                bad[at] = rng.next() as u8;
            }
            bad.truncate(rng.below(bad.len() + 1));
            let _ = read_stream(&bad.into(), |_, _| Ok(()));
        }
    }
}
