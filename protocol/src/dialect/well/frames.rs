//! Writing what the server says.
//!
//! Small messages go through the generated code. Those that carry documents and records are put
//! together from a head of the session's own and bytes that all sessions share: protobuf's fields may
//! stand in any order and a repeated field anywhere, so a head with the room's number may stand in
//! front of fields that were encoded once for everyone.

use bytes::Bytes;
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

use super::wire;
use crate::dialect::{Message, PresenceEntry};
use crate::ids::{Seq, Site, Timestamp};
use crate::record::{Author, Record};

/// The numbers of the fields of a `ServerMessage` and of what is put together here.
const JOINED: u32 = 2;
const RECORDS: u32 = 6;
const RESET: u32 = 7;
const PRESENCE: u32 = 8;
const JOINED_SNAPSHOT: u32 = 8;
const JOINED_DIFFERENCE: u32 = 9;
const JOINED_RECORDS: u32 = 10;
const RECORDS_SPANS: u32 = 4;
const SPAN_LIST_SPANS: u32 = 1;
const RESET_SNAPSHOT: u32 = 3;
const PRESENCE_ENTRIES: u32 = 2;

/// What a client that joins lacks, as its message has it.
pub(super) enum Missing {
    Snapshot(Bytes),
    Difference(Bytes),
    Records(Vec<Record>),
}

/// A message as it stands behind its length.
pub(super) fn whole(message: wire::server_message::Message) -> Message {
    let message = wire::ServerMessage {
        message: Some(message),
    };
    Message::whole(message.encode_to_vec().into())
}

/// `joined`, which has no content yet, with the content last.
pub(super) fn joined(joined: &wire::Joined, missing: Missing) -> Message {
    let (field, body) = match missing {
        Missing::Snapshot(bytes) => (JOINED_SNAPSHOT, bytes),
        Missing::Difference(bytes) => (JOINED_DIFFERENCE, bytes),
        Missing::Records(records) => (JOINED_RECORDS, span_list(&records)),
    };
    with_tail(JOINED, &joined.encode_to_vec(), field, body)
}

/// The document, for a member that fell behind.
pub(super) fn reset(number: u32, head: Seq, at: Timestamp, snapshot: Bytes) -> Message {
    let reset = wire::Reset {
        number,
        head: head.get(),
        snapshot: Bytes::new(),
        head_at: at.micros(),
    };
    with_tail(RESET, &reset.encode_to_vec(), RESET_SNAPSHOT, snapshot)
}

/// A message of which the last field is large and shared.
fn with_tail(message: u32, fields: &[u8], tail: u32, body: Bytes) -> Message {
    let tail_len = key_len(tail) + encoded_len_varint(body.len() as u64) + body.len();
    let inner = fields.len() + tail_len;
    let mut head = Vec::with_capacity(24 + fields.len());
    put_head(message, inner, &mut head);
    head.extend_from_slice(fields);
    encode_key(tail, WireType::LengthDelimited, &mut head);
    encode_varint(body.len() as u64, &mut head);
    Message {
        head: head.into(),
        body,
    }
}

/// The key and length of what the message holds.
fn put_head(message: u32, inner: usize, out: &mut Vec<u8>) {
    encode_key(message, WireType::LengthDelimited, out);
    encode_varint(inner as u64, out);
}

/// What stands before `len` bytes of [`put_span`]s to make them a Records message for one session;
/// with the time of the record `through` if that is an event of the room.
#[must_use]
pub fn records_head(
    number: u32,
    after: Seq,
    through: Seq,
    event_at: Option<Timestamp>,
    len: usize,
) -> Bytes {
    let fields = wire::Records {
        number,
        after: after.get(),
        through: through.get(),
        spans: Vec::new(),
        through_at: event_at.map_or(0, Timestamp::micros),
    };
    let inner = fields.encoded_len() + len;
    let mut out = Vec::with_capacity(40);
    put_head(RECORDS, inner, &mut out);
    fields.encode_raw(&mut out);
    out.into()
}

/// Appends records of one author with consecutive Seqs, as a field of a Records message.
///
/// `records` gives each one's time and payload; the first has `seq`.
pub fn put_span<'a, I>(seq: Seq, author: &Author, records: I, out: &mut Vec<u8>)
where
    I: Iterator<Item = (Timestamp, &'a [u8])> + Clone,
{
    put_span_as(RECORDS_SPANS, seq, author, records, out);
}

fn put_span_as<'a, I>(field: u32, seq: Seq, author: &Author, records: I, out: &mut Vec<u8>)
where
    I: Iterator<Item = (Timestamp, &'a [u8])> + Clone,
{
    let times = records.clone().map(|(at, _)| at);
    let first = times.clone().next().unwrap_or_default();
    let last = times.clone().last().unwrap_or_default();
    let later = if first == last {
        Vec::new()
    } else {
        // Times do not go back; a gap of over an hour within one commit, which lasts as long as a
        // disk takes, is cut to fit.
        let pairs = times.clone().zip(times.skip(1));
        pairs
            .map(|(a, b)| u32::try_from(b.micros().saturating_sub(a.micros())).unwrap_or(u32::MAX))
            .collect()
    };
    let span = wire::Span {
        seq: seq.get(),
        at: first.micros(),
        session: author.session.get(),
        site: author.site.map_or(0, Site::get),
        user: author
            .user
            .as_ref()
            .map_or_else(String::new, |user| user.as_str().to_owned()),
        payloads: Vec::new(),
        later,
    };
    let payloads: usize = records
        .clone()
        .map(|(_, it)| 1 + encoded_len_varint(it.len() as u64) + it.len())
        .sum();
    encode_key(field, WireType::LengthDelimited, out);
    encode_varint((span.encoded_len() + payloads) as u64, out);
    span.encode_raw(out);
    for (_, payload) in records {
        encode_key(6, WireType::LengthDelimited, out);
        encode_varint(payload.len() as u64, out);
        out.extend_from_slice(payload);
    }
}

/// Records in order as the fields of a `SpanList`; events of the room among them are left out.
fn span_list(records: &[Record]) -> Bytes {
    let mut out = Vec::new();
    let follows = |a: &Record, b: &Record| {
        let pause = b.at.micros().saturating_sub(a.at.micros());
        a.seq.next() == b.seq && a.draft.author == b.draft.author && u32::try_from(pause).is_ok()
    };
    for span in records.chunk_by(follows) {
        let parts = span.iter().map(|it| (it.at, &*it.draft.payload));
        put_span_as(
            SPAN_LIST_SPANS,
            span[0].seq,
            &span[0].draft.author,
            parts,
            &mut out,
        );
    }
    out.into()
}

/// What stands before `len` bytes of [`put_presence`] to make them a Presence message for one
/// session.
#[must_use]
pub fn presence_head(number: u32, len: usize) -> Bytes {
    let fields = wire::Presence {
        number,
        entries: Vec::new(),
    };
    let mut out = Vec::with_capacity(24);
    put_head(PRESENCE, fields.encoded_len() + len, &mut out);
    fields.encode_raw(&mut out);
    out.into()
}

/// Appends presence entries as fields of a Presence message.
pub fn put_presence(entries: &[PresenceEntry], out: &mut Vec<u8>) {
    for entry in entries {
        let entry = wire::PresenceEntry {
            site: entry.site.get(),
            clock: entry.clock,
            state: entry.state.clone(),
        };
        encode_key(PRESENCE_ENTRIES, WireType::LengthDelimited, out);
        encode_varint(entry.encoded_len() as u64, out);
        entry.encode_raw(out);
    }
}
