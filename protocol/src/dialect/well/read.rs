//! Reading a client's messages.
//!
//! Fields that are not known are skipped, but for those of a Submit: an operation that is not fully
//! understood is not written down. A Submit is read by hand, because a generated reader does not
//! tell what it skipped, and because its payloads are the hot path.

use bytes::Bytes;
use prost::Message as _;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use super::wire;

/// A message from the client.
#[derive(Debug, PartialEq)]
pub(super) enum Incoming {
    Hello(wire::Hello),
    Join(wire::Join),
    Leave(wire::Leave),
    Submit(Submit),
    Presence(wire::SetPresence),
    Ping(wire::Ping),
    Pong(wire::Pong),
    Goodbye(wire::Goodbye),
    /// A kind of message that this version does not know.
    Unknown,
}

/// Operations, as they came.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Submit {
    pub(super) number: u32,
    pub(super) operation: u64,
    pub(super) base: u64,
    pub(super) payloads: Vec<Bytes>,
    /// A field that is not known.
    pub(super) unknown: Option<u32>,
}

/// Why a message cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("the message is malformed: {0}")]
    Malformed(String),
    #[error("the message is empty")]
    Empty,
}

impl From<prost::DecodeError> for Unreadable {
    fn from(error: prost::DecodeError) -> Self {
        Self::Malformed(error.to_string())
    }
}

impl Incoming {
    /// Reads one message; payloads share `message`.
    pub(super) fn read(message: &Bytes) -> Result<Self, Unreadable> {
        let mut rest = message.clone();
        let mut last = None;
        let mut empty = true;
        while !rest.is_empty() {
            empty = false;
            let (tag, kind) = decode_key(&mut rest)?;
            if (1..=8).contains(&tag) && kind == WireType::LengthDelimited {
                last = Some((tag, bytes_of(&mut rest)?));
            } else {
                skip_field(kind, tag, &mut rest, DecodeContext::default())?;
            }
        }
        // Of several members of a oneof the last one counts.
        Ok(match last {
            None if empty => return Err(Unreadable::Empty),
            None => Self::Unknown,
            Some((1, body)) => Self::Hello(wire::Hello::decode(body)?),
            Some((2, body)) => Self::Join(wire::Join::decode(body)?),
            Some((3, body)) => Self::Leave(wire::Leave::decode(body)?),
            Some((4, body)) => Self::Submit(Submit::read(body)?),
            Some((5, body)) => Self::Presence(wire::SetPresence::decode(body)?),
            Some((6, body)) => Self::Ping(wire::Ping::decode(body)?),
            Some((7, body)) => Self::Pong(wire::Pong::decode(body)?),
            Some((_, body)) => Self::Goodbye(wire::Goodbye::decode(body)?),
        })
    }
}

impl Submit {
    fn read(mut rest: Bytes) -> Result<Self, Unreadable> {
        let mut submit = Self::default();
        while !rest.is_empty() {
            match decode_key(&mut rest)? {
                (1, WireType::Varint) => submit.number = decode_varint(&mut rest)? as u32,
                (2, WireType::Varint) => submit.operation = decode_varint(&mut rest)?,
                (3, WireType::Varint) => submit.base = decode_varint(&mut rest)?,
                (4, WireType::LengthDelimited) => submit.payloads.push(bytes_of(&mut rest)?),
                (tag, kind) => {
                    skip_field(kind, tag, &mut rest, DecodeContext::default())?;
                    submit.unknown.get_or_insert(tag);
                }
            }
        }
        Ok(submit)
    }
}

fn bytes_of(rest: &mut Bytes) -> Result<Bytes, Unreadable> {
    let len = decode_varint(rest)?;
    match usize::try_from(len) {
        Ok(len) if len <= rest.len() => Ok(rest.split_to(len)),
        _ => Err(Unreadable::Malformed(format!(
            "a field of {len} bytes in what has {} left",
            rest.len()
        ))),
    }
}
