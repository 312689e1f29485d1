//! Messages on a stream of bytes, without IO: each after its length.
//!
//! ```text
//! stream  = message*
//! message = u32 length in bytes, big-endian; then so many bytes
//! ```
//!
//! A length over the limit is refused as soon as its four bytes are there. As with WebSocket frames,
//! a read's bytes are copied once and messages are slices of that copy.

use bytes::Bytes;
use protocol::CloseCode;

use crate::connection::framing::{Fault, Framing, Incoming};

/// How many bytes stand before a message.
pub const LENGTH_BYTES: usize = 4;

/// Puts messages together from reads.
#[derive(Debug)]
pub struct Lengths {
    /// The beginning of a message that is not whole yet.
    partial: Vec<u8>,
    max_message: usize,
}

impl Framing for Lengths {
    const INDEX: usize = 1;
    const END_IS_GOODBYE: bool = true;

    fn new(max_message: usize) -> Self {
        Self {
            partial: Vec::new(),
            max_message,
        }
    }

    fn take(&mut self, fresh: &[u8], out: &mut Vec<Incoming>) -> Result<(), Fault> {
        let mut bytes = std::mem::take(&mut self.partial);
        bytes.extend_from_slice(fresh);
        let mut bytes = Bytes::from(bytes);
        while let Some(len) = self.length(&bytes)? {
            let end = LENGTH_BYTES + len;
            if bytes.len() < end {
                break;
            }
            out.push(Incoming::Binary(bytes.slice(LENGTH_BYTES..end)));
            bytes = bytes.slice(end..);
        }
        if !bytes.is_empty() {
            // Gives back the same memory where no message holds a part of it.
            self.partial = bytes.into();
        }
        Ok(())
    }

    fn held(&self) -> usize {
        self.partial.capacity()
    }

    fn put_header(len: usize, out: &mut Vec<u8>) {
        debug_assert!(u32::try_from(len).is_ok(), "a message has less than 4 GiB");
        out.extend_from_slice(&(len as u32).to_be_bytes());
    }

    fn ping() -> Option<Bytes> {
        None
    }

    fn pong(_payload: &[u8]) -> Option<Bytes> {
        None
    }

    fn close(_code: u16, _reason: &str) -> Option<Bytes> {
        None
    }
}

impl Lengths {
    /// The length of the message at the start of `bytes`; `None` if it is not whole yet.
    fn length(&self, bytes: &[u8]) -> Result<Option<usize>, Fault> {
        let Some(len) = bytes.first_chunk() else {
            return Ok(None);
        };
        let len = u32::from_be_bytes(*len) as usize;
        if len > self.max_message {
            return Err(Fault {
                code: CloseCode::TooLarge,
                reason: format!(
                    "a message has at most {} bytes; this one says it has {len}",
                    self.max_message
                ),
            });
        }
        Ok(Some(len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wire(messages: &[Vec<u8>]) -> Vec<u8> {
        let mut wire = Vec::new();
        for message in messages {
            Lengths::put_header(message.len(), &mut wire);
            wire.extend_from_slice(message);
        }
        wire
    }

    proptest! {
        #[test]
        fn messages_survive_any_cut(
            messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 1..8),
            cuts in proptest::collection::vec(1usize..64, 1..200),
        ) {
            let wire = wire(&messages);
            let mut lengths = Lengths::new(1024);
            let mut out = Vec::new();
            let mut rest: &[u8] = &wire;
            for cut in cuts {
                let (read, left) = rest.split_at(cut.min(rest.len()));
                prop_assert_eq!(lengths.take(read, &mut out), Ok(()));
                rest = left;
            }
            prop_assert_eq!(lengths.take(rest, &mut out), Ok(()));
            let expected: Vec<Incoming> =
                messages.into_iter().map(|message| Incoming::Binary(message.into())).collect();
            prop_assert_eq!(out, expected);
            prop_assert_eq!(lengths.partial.capacity(), 0, "nothing is kept between messages");
        }

        #[test]
        fn random_bytes_never_panic_nor_grow(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
            let mut lengths = Lengths::new(1024);
            let mut out = Vec::new();
            let _ = lengths.take(&bytes, &mut out);
            let held: usize = out.iter().map(|incoming| match incoming {
                Incoming::Binary(message) => message.len(),
                _ => unreachable!("a stream has only binary messages"),
            }).sum();
            prop_assert!(held + lengths.partial.len() <= bytes.len());
        }
    }

    #[test]
    fn a_length_over_the_limit_is_refused_before_its_message_comes() {
        let mut lengths = Lengths::new(1024);
        let mut out = Vec::new();
        let mut bytes = wire(&[b"whole".to_vec()]);
        bytes.extend_from_slice(&1025_u32.to_be_bytes());
        let fault = lengths.take(&bytes, &mut out).unwrap_err();
        assert_eq!(fault.code, CloseCode::TooLarge);
        assert!(fault.reason.contains("1025"), "{fault}");
        assert_eq!(out, [Incoming::Binary(Bytes::from_static(b"whole"))]);
    }
}
