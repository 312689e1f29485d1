//! WebSocket frames that hold several messages, each after its length.
//!
//! ```text
//! binary frame = ( u32 length in bytes, big-endian; then so many bytes )+
//! ```
//!
//! A browser sends WebSocket messages one by one and slowly; many small messages in one are many
//! times faster. What this side sends is one message a frame: frames are written together anyway.

use bytes::Bytes;
use protocol::CloseCode;

use super::frame::{self, Frames};
use crate::connection::framing::{Fault, Framing, Incoming};
use crate::stream::LENGTH_BYTES;

/// Frames, and the messages in each.
#[derive(Debug)]
pub struct Packed(Frames);

impl Framing for Packed {
    const INDEX: usize = 2;
    const END_IS_GOODBYE: bool = <Frames as Framing>::END_IS_GOODBYE;

    fn new(max_message: usize) -> Self {
        Self(Frames::new(max_message + LENGTH_BYTES))
    }

    fn take(&mut self, fresh: &[u8], out: &mut Vec<Incoming>) -> Result<(), Fault> {
        let mut frames = Vec::new();
        let fault = Framing::take(&mut self.0, fresh, &mut frames);
        for incoming in frames {
            match incoming {
                Incoming::Binary(frame) => unpack(frame, out)?,
                other => out.push(other),
            }
        }
        fault
    }

    fn held(&self) -> usize {
        self.0.held()
    }

    fn put_header(len: usize, out: &mut Vec<u8>) {
        frame::put_binary_header(LENGTH_BYTES + len, out);
        debug_assert!(u32::try_from(len).is_ok(), "a message has less than 4 GiB");
        out.extend_from_slice(&(len as u32).to_be_bytes());
    }

    fn ping() -> Option<Bytes> {
        <Frames as Framing>::ping()
    }

    fn pong(payload: &[u8]) -> Option<Bytes> {
        <Frames as Framing>::pong(payload)
    }

    fn close(code: u16, reason: &str) -> Option<Bytes> {
        <Frames as Framing>::close(code, reason)
    }
}

/// Appends the messages of one frame.
fn unpack(mut frame: Bytes, out: &mut Vec<Incoming>) -> Result<(), Fault> {
    loop {
        let len = frame
            .first_chunk()
            .map(|len| u32::from_be_bytes(*len) as usize);
        match len {
            Some(len) if len <= frame.len() - LENGTH_BYTES => {
                let mut message = frame.split_off(LENGTH_BYTES);
                frame = message.split_off(len);
                out.push(Incoming::Binary(message));
            }
            _ => {
                return Err(Fault {
                    code: CloseCode::BadMessage,
                    reason: "a binary message holds whole messages, each after its length as a u32"
                        .to_owned(),
                });
            }
        }
        if frame.is_empty() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_holds_one_or_more_whole_messages() {
        let frame = |bytes: &'static [u8]| {
            let mut out = Vec::new();
            let result = unpack(Bytes::from_static(bytes), &mut out);
            let messages = out.into_iter().map(|it| match it {
                Incoming::Binary(message) => message,
                other => panic!("{other:?}"),
            });
            (messages.collect::<Vec<_>>(), result.err().map(|it| it.code))
        };
        assert_eq!(
            frame(&[0, 0, 0, 1, 7]),
            (vec![Bytes::from_static(&[7])], None)
        );
        assert_eq!(
            frame(&[0, 0, 0, 0, 0, 0, 0, 2, 8, 9]),
            (vec![Bytes::new(), Bytes::from_static(&[8, 9])], None)
        );
        for bad in [&[][..], &[0, 0, 0], &[0, 0, 0, 2, 8], &[0xff; 8]] {
            assert_eq!(frame(bad), (vec![], Some(CloseCode::BadMessage)), "{bad:?}");
        }
        let (messages, fault) = frame(&[0, 0, 0, 1, 7, 0]);
        assert_eq!((messages.len(), fault), (1, Some(CloseCode::BadMessage)));
    }

    #[test]
    fn what_is_sent_is_one_message_a_frame() {
        let mut out = Vec::new();
        Packed::put_header(3, &mut out);
        assert_eq!(out, [0x82, 7, 0, 0, 0, 3]);
    }
}
