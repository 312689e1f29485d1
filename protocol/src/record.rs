//! One entry of a room's log, its encoding on disk, and runs of consecutive entries.
//!
//! A client's [`Draft`] becomes a [`Record`] when it is given the next [`Seq`], a time and the
//! [`Chain`] that ties it to everything before. [`RunBuilder`] is the only place where that
//! happens, so Seqs have no gap and times never go back by construction. A [`Run`] keeps its
//! records sealed, end to end in one shared buffer: appending, moving and shipping them is a copy
//! of bytes, and reading one borrows from the buffer.

use std::ops::Range;

use bytes::Bytes;
use rkyv::{
    Archive, Serialize, rancor,
    ser::{Serializer, allocator::SubAllocator},
    with::InlineAsBox,
};

use crate::chain::Chain;
use crate::envelope::{self, Content, Damage};
use crate::ids::{OpId, Seq, SessionId, Site, Timestamp, UserId};
use crate::limits::{MAX_PAYLOAD_BYTES, MAX_RECORD_OVERHEAD_BYTES};

/// One immutable entry of a room's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its position in the room.
    pub seq: Seq,
    /// When the server took it; never before the record in front of it.
    pub at: Timestamp,
    /// The chain hash of the room up to and with this record.
    pub chain: Chain,
    /// What was written, by whom.
    pub draft: Draft,
}

/// What a client writes, before the log has given it a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// Who wrote it.
    pub author: Author,
    /// The client's own id of the operation, where its dialect has one.
    pub op_id: Option<OpId>,
    /// The last Seq the client had seen when it wrote this, where its dialect says so.
    pub base: Option<Seq>,
    /// What kind of entry this is.
    pub kind: Kind,
    /// The update itself, or the event's details; at most [`MAX_PAYLOAD_BYTES`].
    pub payload: Bytes,
}

impl Draft {
    /// How many bytes the record takes, sealed.
    #[must_use]
    pub fn sealed_len(&self) -> usize {
        RECORD_OVERHEAD_BYTES + self.user().len() + self.payload.len()
    }

    /// The user's id; empty for none.
    pub(crate) fn user(&self) -> &str {
        self.author.user.as_ref().map_or("", UserId::as_str)
    }
}

/// Who wrote a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    /// The user of the session's token, where there was one.
    pub user: Option<UserId>,
    /// The session.
    pub session: SessionId,
    /// The replica inside the document, where the payload names exactly one.
    pub site: Option<Site>,
}

/// What kind of entry a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An update of the document.
    Update,
    /// The room was created; the payload is empty.
    Created,
    /// The room was given a title; the payload is its UTF-8.
    Titled,
    /// The room was deleted; the payload is empty.
    Deleted,
    /// The room was set back to an earlier moment; the payload says which.
    Restored,
    /// The room began as a copy of another at a moment; the payload says which.
    Forked,
}

impl Kind {
    /// The number in the encoding and in the chain hash.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Update => 1,
            Self::Created => 2,
            Self::Titled => 3,
            Self::Deleted => 4,
            Self::Restored => 5,
            Self::Forked => 6,
        }
    }

    /// Its name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Update => "update",
            Self::Created => "created",
            Self::Titled => "titled",
            Self::Deleted => "deleted",
            Self::Restored => "restored",
            Self::Forked => "forked",
        }
    }

    /// The kind with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let all = (1..=6).filter_map(Self::from_code);
        all.into_iter().find(|kind| kind.name() == name)
    }

    const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Update,
            2 => Self::Created,
            3 => Self::Titled,
            4 => Self::Deleted,
            5 => Self::Restored,
            6 => Self::Forked,
            _ => return None,
        })
    }
}

/// Where a room's log ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Head {
    /// The Seq of the last record; [`Seq::ZERO`] in an empty room.
    pub seq: Seq,
    /// The time of the last record.
    pub at: Timestamp,
    /// The chain hash after the last record.
    pub chain: Chain,
}

impl Head {
    /// The end of a room that has no record.
    pub const EMPTY: Self = Self {
        seq: Seq::ZERO,
        at: Timestamp::from_micros(0),
        chain: Chain::EMPTY,
    };
}

/// Consecutive records of one room, sealed end to end in one buffer. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    before: Head,
    after: Head,
    bytes: Bytes,
}

impl Run {
    /// Where the room's log ended before this run.
    #[must_use]
    pub const fn before(&self) -> Head {
        self.before
    }

    /// Where the room's log ends after this run.
    #[must_use]
    pub const fn after(&self) -> Head {
        self.after
    }

    /// The first record's Seq.
    #[must_use]
    pub const fn first(&self) -> Seq {
        self.before.seq.next()
    }

    /// The last record's Seq.
    #[must_use]
    pub const fn last(&self) -> Seq {
        self.after.seq
    }

    /// How many records there are.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.after.seq.since(self.before.seq)
    }

    /// Always false: a run has at least one record.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// The sealed records, end to end.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Takes sealed records read back from a store.
    ///
    /// Only the first record is decoded; [`Run::records`] checks each one as it is reached, and
    /// [`Run::verify`] the chain through all of them and that it ends at `after`.
    ///
    /// # Errors
    /// [`Damage`] when the first record is damaged or does not follow `before`, or when `after`
    /// does not.
    pub fn from_stored(before: Head, after: Head, bytes: Bytes) -> Result<Self, Damage> {
        let run = Self {
            before,
            after,
            bytes,
        };
        if after.seq <= before.seq || after.at < before.at {
            return Err(Damage::Content);
        }
        match run.records().next() {
            Some(Ok(first)) if first.at >= before.at => Ok(run),
            Some(Ok(_)) => Err(Damage::Content),
            Some(Err(damage)) => Err(damage),
            None => Err(Damage::Torn),
        }
    }

    /// The records, decoded one by one; payloads share this run's buffer.
    ///
    /// Ends early with the damage where a record is damaged, out of its place or missing.
    #[must_use]
    pub fn records(&self) -> Records<'_> {
        Records {
            run: self,
            offset: 0,
            next: Some(self.first()),
        }
    }

    /// Where each record ends, by the lengths that the envelopes state. What they hold is not looked at.
    pub fn ends(&self) -> impl Iterator<Item = Result<usize, Damage>> + '_ {
        let mut end = 0;
        (0..self.len()).map(move |_| {
            let rest = self.bytes.get(end..).ok_or(Damage::Torn)?;
            end += envelope::HEADER_BYTES + envelope::peek_len(rest)?;
            Ok(end)
        })
    }

    /// The part of this run after `seq`; `None` when nothing is left.
    ///
    /// # Errors
    /// [`Damage`] when the record `seq` is damaged or not where the lengths of those before it say.
    /// What else is damaged shows when it is read.
    pub fn after_seq(&self, seq: Seq) -> Result<Option<Self>, Damage> {
        if seq >= self.last() {
            return Ok(None);
        }
        let (before, end) = self.cut(seq)?;
        Ok(Some(Self {
            before,
            after: self.after,
            bytes: self.bytes.slice(end..),
        }))
    }

    /// The part of this run up to and with `seq`; `None` when nothing is left.
    ///
    /// # Errors
    /// As [`Run::after_seq`].
    pub fn up_to_seq(&self, seq: Seq) -> Result<Option<Self>, Damage> {
        if seq <= self.before.seq {
            return Ok(None);
        }
        if seq >= self.last() {
            return Ok(Some(self.clone()));
        }
        let (after, end) = self.cut(seq)?;
        Ok(Some(Self {
            before: self.before,
            after,
            bytes: self.bytes.slice(..end),
        }))
    }

    /// Where the room's log ends after the record `seq`, and where that record ends.
    fn cut(&self, seq: Seq) -> Result<(Head, usize), Damage> {
        let Some(skipped) = seq.since(self.before.seq).checked_sub(1) else {
            return Ok((self.before, 0));
        };
        let mut offset = 0;
        for end in self.ends().take(skipped as usize) {
            offset = end?;
        }
        let (record, end) = Record::open(&self.bytes, offset)?;
        if record.seq == seq {
            Ok((record.head(), end))
        } else {
            Err(Damage::Content)
        }
    }

    /// Checks that every record is intact and chained to the one before it.
    ///
    /// # Errors
    /// The Seq at which the first fault stands, and the fault.
    pub fn verify(&self) -> Result<(), (Seq, Damage)> {
        let mut head = self.before;
        for record in self.records() {
            let next = head.seq.next();
            let record = record.map_err(|damage| (next, damage))?;
            let chain = head.chain.extend(record.seq, record.at, &record.draft);
            if record.at < head.at || chain != record.chain {
                return Err((next, Damage::Content));
            }
            head = record.head();
        }
        if head == self.after {
            Ok(())
        } else {
            Err((self.after.seq, Damage::Content))
        }
    }
}

/// The records of a [`Run`], in order.
#[derive(Debug)]
pub struct Records<'a> {
    run: &'a Run,
    offset: usize,
    /// The Seq that must come next; `None` after the end or a fault.
    next: Option<Seq>,
}

impl Iterator for Records<'_> {
    type Item = Result<Record, Damage>;

    fn next(&mut self) -> Option<Self::Item> {
        let expected = self.next?;
        self.next = None;
        if expected > self.run.last() {
            let rest = self.offset != self.run.bytes.len();
            return rest.then_some(Err(Damage::Content));
        }
        let decoded = Record::open(&self.run.bytes, self.offset);
        match decoded {
            Ok((record, end)) if record.seq == expected => {
                self.offset = end;
                self.next = Some(expected.next());
                Some(Ok(record))
            }
            Ok(_) => Some(Err(Damage::Content)),
            Err(damage) => Some(Err(damage)),
        }
    }
}

/// Gives drafts their place after a head, and seals them into a [`Run`].
#[derive(Debug)]
pub struct RunBuilder {
    before: Head,
    after: Head,
    bytes: Vec<u8>,
}

impl RunBuilder {
    /// Begins a run after `head`.
    #[must_use]
    pub const fn new(head: Head) -> Self {
        Self {
            before: head,
            after: head,
            bytes: Vec::new(),
        }
    }

    /// Appends one record: the next Seq, and the time `max(now, last)`.
    ///
    /// # Panics
    /// When the payload is over [`MAX_PAYLOAD_BYTES`]; admission refuses those.
    pub fn push(&mut self, now: Timestamp, draft: &Draft) -> Head {
        assert!(
            draft.payload.len() <= MAX_PAYLOAD_BYTES,
            "a payload is bounded before it is given a Seq"
        );
        let seq = self.after.seq.next();
        let at = now.max(self.after.at);
        let chain = self.after.chain.extend(seq, at, draft);
        self.after = Head { seq, at, chain };
        self.bytes.reserve(draft.sealed_len());
        seal(self.after, draft, &mut self.bytes);
        self.after
    }

    /// Where the log will end after what has been pushed.
    #[must_use]
    pub const fn head(&self) -> Head {
        self.after
    }

    /// Where in the run's bytes the payload lies of the record that was pushed last, which has so many
    /// bytes.
    #[must_use]
    pub fn last_payload(&self, bytes: usize) -> Range<usize> {
        // The layout puts what is of no fixed size first, the payload last of it.
        let end = self.bytes.len() - size_of::<ArchivedLayout<'_>>();
        end - bytes..end
    }

    /// Bytes sealed so far.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The finished run, or `None` when nothing was pushed.
    #[must_use]
    pub fn finish(self) -> Option<Run> {
        (self.after.seq > self.before.seq).then(|| Run {
            before: self.before,
            after: self.after,
            bytes: self.bytes.into(),
        })
    }
}

/// A record as rkyv lays it out: format version 1, pinned by the golden file.
#[derive(Archive, Serialize)]
struct Layout<'a> {
    seq: u64,
    at: u64,
    chain: u64,
    session: u64,
    site: Option<u64>,
    op_id: Option<[u8; 16]>,
    base: Option<u64>,
    kind: u8,
    #[rkyv(with = InlineAsBox)]
    user: &'a str,
    #[rkyv(with = InlineAsBox)]
    payload: &'a [u8],
}

/// What the layout and the envelope add to a user id and a payload.
const RECORD_OVERHEAD_BYTES: usize = envelope::HEADER_BYTES + size_of::<ArchivedLayout<'_>>();
const _: () = assert!(RECORD_OVERHEAD_BYTES <= MAX_RECORD_OVERHEAD_BYTES);

fn seal(head: Head, draft: &Draft, out: &mut Vec<u8>) {
    let layout = Layout {
        seq: head.seq.get(),
        at: head.at.micros(),
        chain: head.chain.get(),
        session: draft.author.session.get(),
        site: draft.author.site.map(Site::get),
        op_id: draft.op_id.map(OpId::bytes),
        base: draft.base.map(Seq::get),
        kind: draft.kind.code(),
        user: draft.user(),
        payload: &draft.payload,
    };
    envelope::seal(Content::Record, out, |out| {
        // Bytes are copied as they are, so no scratch space is needed, and there are no shared
        // pointers to keep track of.
        let mut serializer = Serializer::new(out, SubAllocator::new(&mut []), ());
        // Writing to memory cannot fail.
        rkyv::api::serialize_using::<_, rancor::Panic>(&layout, &mut serializer)
            .unwrap_or_else(|never| match never {});
    });
}

impl Record {
    /// The end of the log after this record.
    #[must_use]
    pub const fn head(&self) -> Head {
        Head {
            seq: self.seq,
            at: self.at,
            chain: self.chain,
        }
    }

    /// How many bytes this record takes, sealed.
    #[must_use]
    pub fn sealed_len(&self) -> usize {
        self.draft.sealed_len()
    }

    /// Appends the record as it is stored.
    pub fn seal(&self, out: &mut Vec<u8>) {
        seal(self.head(), &self.draft, out);
    }

    /// Decodes the record at `offset`; its payload shares `bytes`. Also gives where it ends.
    ///
    /// # Errors
    /// [`Damage`]; the checksum is tested before the content is looked at.
    pub fn open(bytes: &Bytes, offset: usize) -> Result<(Self, usize), Damage> {
        let from = bytes.get(offset..).ok_or(Damage::Torn)?;
        let (body, _) = envelope::open(Content::Record, from)?;
        let end = offset + envelope::HEADER_BYTES + body.len();
        let layout = rkyv::api::low::access::<ArchivedLayout<'_>, rancor::Failure>(body)
            .map_err(|_| Damage::Content)?;
        // A record has a predecessor and may have a successor, and nothing lies beside its fields.
        let seq = Seq::new(layout.seq.to_native());
        let len = size_of::<ArchivedLayout<'_>>() + layout.user.len() + layout.payload.len();
        if seq == Seq::ZERO || seq == Seq::MAX || len != body.len() {
            return Err(Damage::Content);
        }
        let user = match &*layout.user {
            "" => None,
            user => Some(UserId::new(user).map_err(|_| Damage::Content)?),
        };
        let draft = Draft {
            author: Author {
                user,
                session: SessionId::new(layout.session.to_native()),
                site: layout.site.as_ref().map(|site| Site::new(site.to_native())),
            },
            op_id: layout.op_id.as_ref().map(|id| OpId::new(*id)),
            base: layout.base.as_ref().map(|base| Seq::new(base.to_native())),
            kind: Kind::from_code(layout.kind).ok_or(Damage::Content)?,
            payload: bytes.slice_ref(&layout.payload),
        };
        let record = Self {
            seq,
            at: Timestamp::from_micros(layout.at.to_native()),
            chain: Chain::from_raw(layout.chain.to_native()),
            draft,
        };
        Ok((record, end))
    }
}

#[cfg(test)]
mod tests;
