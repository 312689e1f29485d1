//! WebSocket frames (RFC 6455 §5) without IO: bytes in, messages out, and headers to send.
//!
//! The transport reads into a scratch buffer that all connections of a thread share, and hands
//! each read to [`Frames::read`]. What it keeps between reads is only the frame that is not
//! whole yet, so an idle connection holds no buffer. A read's bytes are copied once, unmasked in
//! place, and messages are slices of that copy. No extension is negotiated; reserved bits are an
//! error.

use bytes::Bytes;
use protocol::CloseCode;

use crate::connection::framing::{Fault, Framing, Incoming};

/// How a client broke the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A frame from a client that is not masked (§5.1).
    #[error("a frame from a client must be masked")]
    Unmasked,
    /// Reserved bits are set without an extension (§5.2).
    #[error("reserved bits are set and no extension was negotiated")]
    Reserved,
    /// An opcode that does not exist.
    #[error("opcode {0} does not exist")]
    Opcode(u8),
    /// A control frame that is fragmented or longer than 125 bytes (§5.5).
    #[error("a control frame is whole and has at most 125 bytes")]
    Control,
    /// A continuation without a beginning, or a beginning inside a message (§5.4).
    #[error("fragments are out of order")]
    Fragments,
    /// A close frame with half a code, a code that is never sent (§7.4), or a reason that is not
    /// UTF-8 (§5.5.1).
    #[error("a close frame holds a code that may be sent, and a reason in UTF-8")]
    Close,
    /// A length not in its shortest form, or with the highest bit set (§5.2).
    #[error("the length is not in its shortest form")]
    Length,
    /// A message over the limit.
    #[error("a message has at most {limit} bytes")]
    TooBig {
        /// The limit in bytes.
        limit: usize,
    },
}

/// Puts frames together from reads.
#[derive(Debug)]
pub struct Frames {
    /// The beginning of a frame that is not whole yet.
    partial: Vec<u8>,
    /// The fragments of a message so far, and whether it is text.
    fragments: Option<(bool, Vec<u8>)>,
    max_message: usize,
}

impl Frames {
    /// A reader that refuses messages over `max_message` bytes.
    #[must_use]
    pub const fn new(max_message: usize) -> Self {
        Self {
            partial: Vec::new(),
            fragments: None,
            max_message,
        }
    }

    /// Takes what was read and appends whole messages to `out`.
    ///
    /// # Errors
    /// [`FrameError`]; what was whole before the fault is in `out`. The reader is of no use after.
    pub fn read(&mut self, fresh: &[u8], out: &mut Vec<Incoming>) -> Result<(), FrameError> {
        let mut bytes = std::mem::take(&mut self.partial);
        bytes.extend_from_slice(fresh);
        let mut frames = Vec::new();
        let mut at = 0;
        let fault = loop {
            match Header::parse(&bytes[at..], self.max_message) {
                Ok(Some(header)) => {
                    let payload = at + header.len_header..at + header.len_header + header.len;
                    if payload.end > bytes.len() {
                        break None;
                    }
                    unmask(&mut bytes[payload.clone()], header.mask);
                    at = payload.end;
                    frames.push((header, payload));
                }
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        if frames.is_empty() {
            self.partial = bytes;
        } else {
            if at < bytes.len() {
                self.partial = bytes[at..].to_vec();
                bytes.truncate(at);
            }
            let bytes = Bytes::from(bytes);
            for (header, payload) in frames {
                self.take_frame(header, bytes.slice(payload), out)?;
            }
        }
        fault.map_or(Ok(()), Err)
    }

    fn take_frame(
        &mut self,
        header: Header,
        payload: Bytes,
        out: &mut Vec<Incoming>,
    ) -> Result<(), FrameError> {
        match header.opcode {
            Opcode::Text | Opcode::Binary => {
                if self.fragments.is_some() {
                    return Err(FrameError::Fragments);
                }
                let text = header.opcode == Opcode::Text;
                if header.fin {
                    out.push(whole(text, payload));
                } else {
                    self.fragments = Some((text, payload.to_vec()));
                }
            }
            Opcode::Continuation => {
                let (text, mut message) = self.fragments.take().ok_or(FrameError::Fragments)?;
                if message.len() + payload.len() > self.max_message {
                    let limit = self.max_message;
                    return Err(FrameError::TooBig { limit });
                }
                message.extend_from_slice(&payload);
                if header.fin {
                    out.push(whole(text, message.into()));
                } else {
                    self.fragments = Some((text, message));
                }
            }
            Opcode::Close => {
                out.push(Incoming::Close(close_code(&payload)?));
            }
            Opcode::Ping => out.push(Incoming::Ping(payload)),
            Opcode::Pong => out.push(Incoming::Pong),
        }
        Ok(())
    }
}

impl Framing for Frames {
    const INDEX: usize = 0;
    const END_IS_GOODBYE: bool = false;

    fn new(max_message: usize) -> Self {
        Self::new(max_message)
    }

    fn take(&mut self, fresh: &[u8], out: &mut Vec<Incoming>) -> Result<(), Fault> {
        self.read(fresh, out).map_err(|error| Fault {
            code: match error {
                FrameError::TooBig { .. } => CloseCode::TooLarge,
                _ => CloseCode::ProtocolError,
            },
            reason: error.to_string(),
        })
    }

    fn held(&self) -> usize {
        let fragments = self.fragments.as_ref();
        self.partial.capacity() + fragments.map_or(0, |(_, bytes)| bytes.capacity())
    }

    fn put_header(len: usize, out: &mut Vec<u8>) {
        put_binary_header(len, out);
    }

    fn ping() -> Option<Bytes> {
        Some(ping())
    }

    fn pong(payload: &[u8]) -> Option<Bytes> {
        Some(pong(payload))
    }

    fn close(code: u16, reason: &str) -> Option<Bytes> {
        Some(close(code, reason))
    }
}

/// What a close frame says; `None` when it says nothing.
fn close_code(payload: &[u8]) -> Result<Option<u16>, FrameError> {
    if payload.is_empty() {
        return Ok(None);
    }
    let (code, reason) = payload.split_first_chunk().ok_or(FrameError::Close)?;
    let code = u16::from_be_bytes(*code);
    let may_be_sent = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
    if !may_be_sent || std::str::from_utf8(reason).is_err() {
        return Err(FrameError::Close);
    }
    Ok(Some(code))
}

const fn whole(text: bool, payload: Bytes) -> Incoming {
    if text {
        Incoming::Text(payload)
    } else {
        Incoming::Binary(payload)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

#[derive(Debug, Clone, Copy)]
struct Header {
    fin: bool,
    opcode: Opcode,
    len: usize,
    mask: [u8; 4],
    len_header: usize,
}

impl Header {
    /// The header at the start of `bytes`, or `None` if it is not whole yet. Everything that can
    /// be refused is refused as soon as its bytes are there.
    fn parse(bytes: &[u8], max_message: usize) -> Result<Option<Self>, FrameError> {
        let &[first, second, ref rest @ ..] = bytes else {
            return Ok(None);
        };
        if first & 0x70 != 0 {
            return Err(FrameError::Reserved);
        }
        let opcode = match first & 0x0f {
            0 => Opcode::Continuation,
            1 => Opcode::Text,
            2 => Opcode::Binary,
            8 => Opcode::Close,
            9 => Opcode::Ping,
            10 => Opcode::Pong,
            other => return Err(FrameError::Opcode(other)),
        };
        let fin = first & 0x80 != 0;
        if second & 0x80 == 0 {
            return Err(FrameError::Unmasked);
        }
        let short = usize::from(second & 0x7f);
        let control = matches!(opcode, Opcode::Close | Opcode::Ping | Opcode::Pong);
        if control && (!fin || short > 125) {
            return Err(FrameError::Control);
        }
        let (len, len_bytes) = match short {
            126 => {
                let Some(&[a, b]) = rest.first_chunk::<2>() else {
                    return Ok(None);
                };
                let len = u64::from(u16::from_be_bytes([a, b]));
                if len < 126 {
                    return Err(FrameError::Length);
                }
                (len, 2)
            }
            127 => {
                let Some(len) = rest.first_chunk::<8>() else {
                    return Ok(None);
                };
                let len = u64::from_be_bytes(*len);
                if len <= u64::from(u16::MAX) || len >> 63 != 0 {
                    return Err(FrameError::Length);
                }
                (len, 8)
            }
            short => (short as u64, 0),
        };
        let limit = max_message;
        let len = usize::try_from(len)
            .ok()
            .filter(|len| *len <= limit)
            .ok_or(FrameError::TooBig { limit })?;
        let Some(mask) = rest[len_bytes..].first_chunk::<4>() else {
            return Ok(None);
        };
        Ok(Some(Self {
            fin,
            opcode,
            len,
            mask: *mask,
            len_header: 2 + len_bytes + 4,
        }))
    }
}

fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    if mask == [0; 4] {
        return;
    }
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let mut chunks = payload.chunks_exact_mut(8);
    for chunk in &mut chunks {
        if let Ok(bytes) = <[u8; 8]>::try_from(&*chunk) {
            chunk.copy_from_slice(&(u64::from_ne_bytes(bytes) ^ wide).to_ne_bytes());
        }
    }
    for (byte, mask) in chunks.into_remainder().iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

/// Appends the header of an unfragmented, unmasked binary frame.
pub fn put_binary_header(len: usize, out: &mut Vec<u8>) {
    put_header(0x82, len, out);
}

/// Appends the header of an unfragmented, unmasked text frame.
pub fn put_text_header(len: usize, out: &mut Vec<u8>) {
    put_header(0x81, len, out);
}

/// A close frame; the reason is cut to what a control frame holds.
#[must_use]
pub fn close(code: u16, reason: &str) -> Bytes {
    let mut end = reason.len().min(123);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let mut out = Vec::with_capacity(4 + end);
    put_header(0x88, 2 + end, &mut out);
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(&reason.as_bytes()[..end]);
    out.into()
}

/// A pong with the payload of the ping it answers.
#[must_use]
pub fn pong(payload: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(2 + payload.len());
    put_header(0x8a, payload.len(), &mut out);
    out.extend_from_slice(payload);
    out.into()
}

/// A ping without a payload.
#[must_use]
pub const fn ping() -> Bytes {
    Bytes::from_static(&[0x89, 0])
}

fn put_header(first: u8, len: usize, out: &mut Vec<u8>) {
    out.push(first);
    if len < 126 {
        out.push(len as u8);
    } else if let Ok(len) = u16::try_from(len) {
        out.push(126);
        out.extend_from_slice(&len.to_be_bytes());
    } else {
        out.push(127);
        out.extend_from_slice(&(len as u64).to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A client's frame.
    fn frame(fin: bool, opcode: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
        let mut out = Vec::new();
        put_header(opcode | u8::from(fin) << 7, payload.len(), &mut out);
        out[1] |= 0x80;
        out.extend_from_slice(&mask);
        let start = out.len();
        out.extend_from_slice(payload);
        unmask(&mut out[start..], mask);
        out
    }

    fn read_all(reads: &[&[u8]]) -> Result<Vec<Incoming>, FrameError> {
        let mut reader = Frames::new(1 << 20);
        let mut out = Vec::new();
        for read in reads {
            reader.read(read, &mut out)?;
        }
        Ok(out)
    }

    proptest! {
        #[test]
        fn messages_survive_any_cut(
            messages in proptest::collection::vec(
                (proptest::collection::vec(any::<u8>(), 0..300), any::<[u8; 4]>()), 1..8),
            cuts in proptest::collection::vec(1usize..64, 1..200),
        ) {
            let mut wire = Vec::new();
            for (payload, mask) in &messages {
                wire.extend(frame(true, 2, payload, *mask));
            }
            let mut reads: Vec<&[u8]> = Vec::new();
            let mut rest: &[u8] = &wire;
            for cut in cuts {
                let (read, left) = rest.split_at(cut.min(rest.len()));
                reads.push(read);
                rest = left;
            }
            reads.push(rest);
            let expected: Vec<Incoming> = messages
                .iter()
                .map(|(payload, _)| Incoming::Binary(payload.clone().into()))
                .collect();
            prop_assert_eq!(read_all(&reads), Ok(expected));
        }

        #[test]
        fn random_bytes_never_panic_nor_grow(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
            let mut reader = Frames::new(1024);
            let mut out = Vec::new();
            let _ = reader.read(&bytes, &mut out);
            let held: usize = out.iter().map(|incoming| match incoming {
                Incoming::Binary(b) | Incoming::Text(b) | Incoming::Ping(b) => b.len(),
                Incoming::Pong | Incoming::Close(_) => 0,
            }).sum();
            prop_assert!(held + reader.partial.len() <= bytes.len());
        }
    }

    #[test]
    fn fragments_become_one_message_and_let_control_frames_through() {
        let mut wire = frame(false, 2, b"ab", [1, 2, 3, 4]);
        wire.extend(frame(true, 9, b"ping", [9; 4]));
        wire.extend(frame(false, 0, b"cd", [0; 4]));
        wire.extend(frame(true, 0, b"e", [7; 4]));
        assert_eq!(
            read_all(&[&wire]),
            Ok(vec![
                Incoming::Ping(Bytes::from_static(b"ping")),
                Incoming::Binary(Bytes::from_static(b"abcde")),
            ])
        );
    }

    #[test]
    fn each_fault_has_its_error() {
        let unmasked = [0x82, 1, 0];
        let reserved = [0xc2, 0x80, 0, 0, 0, 0];
        let opcode = [0x83, 0x80, 0, 0, 0, 0];
        let long_ping = [0x89, 0xfe, 0, 200];
        let fragmented_ping = [0x09, 0x80];
        let not_shortest = [0x82, 0xfe, 0, 5];
        let huge = [0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        let negative = [0x82, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0];
        let orphan = frame(true, 0, b"x", [0; 4]);
        for (wire, error) in [
            (&unmasked[..], FrameError::Unmasked),
            (&reserved, FrameError::Reserved),
            (&opcode, FrameError::Opcode(3)),
            (&long_ping, FrameError::Control),
            (&fragmented_ping, FrameError::Control),
            (&not_shortest, FrameError::Length),
            (&huge, FrameError::TooBig { limit: 1 << 20 }),
            (&negative, FrameError::Length),
            (&orphan, FrameError::Fragments),
        ] {
            assert_eq!(read_all(&[wire]), Err(error), "{wire:02x?}");
        }
    }

    #[test]
    fn a_close_frame_says_what_may_be_said() {
        let close = |payload: &[u8]| read_all(&[&frame(true, 8, payload, [3; 4])]);
        assert_eq!(close(b""), Ok(vec![Incoming::Close(None)]));
        for code in [1000_u16, 1001, 1003, 1007, 1014, 3000, 4400, 4999] {
            let payload = [&code.to_be_bytes()[..], "schön".as_bytes()].concat();
            assert_eq!(close(&payload), Ok(vec![Incoming::Close(Some(code))]));
        }
        for code in [0_u16, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65_535] {
            assert_eq!(close(&code.to_be_bytes()), Err(FrameError::Close), "{code}");
        }
        assert_eq!(close(&[3]), Err(FrameError::Close), "half a code");
        assert_eq!(close(&[3, 232, 0xff]), Err(FrameError::Close), "no UTF-8");
    }

    #[test]
    fn fragments_together_are_bounded() {
        let piece = vec![0; 700 << 10];
        let mut wire = frame(false, 2, &piece, [0; 4]);
        wire.extend(frame(true, 0, &piece, [0; 4]));
        assert_eq!(
            read_all(&[&wire]),
            Err(FrameError::TooBig { limit: 1 << 20 })
        );
    }

    #[test]
    fn a_close_reason_is_cut_at_a_character() {
        let reason = "ü".repeat(100);
        let frame = close(4400, &reason);
        assert_eq!(frame[1], 2 + 122);
        assert!(std::str::from_utf8(&frame[4..]).is_ok());
    }
}
