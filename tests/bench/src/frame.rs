//! WebSocket framing for a client, as thin as RFC 6455 lets it be.
//!
//! Outgoing frames are binary, unfragmented and masked with the key zero. That is legal,
//! and it makes the masked payload equal to the plain one, so a frame is written once
//! and never touched again. Incoming bytes go through a [`FrameReader`], which
//! hands whole messages on without copying them where they lie in one piece, and puts
//! fragments together where they do not. A reader that *skims* keeps only the head of a
//! large message, so that hundreds of clients can receive a 5 MB document without the
//! load tool itself needing the memory.

use std::fmt;

/// Appends the header of a masked binary frame of `len` payload bytes; the payload follows.
pub(crate) fn write_header(out: &mut Vec<u8>, len: usize) {
    write_header_of(out, BINARY, len);
}

/// Appends a whole masked binary frame.
pub(crate) fn write(out: &mut Vec<u8>, payload: &[u8]) {
    write_header(out, payload.len());
    out.extend_from_slice(payload);
}

/// Appends the pong that answers a ping.
pub(crate) fn write_pong(out: &mut Vec<u8>, payload: &[u8]) {
    write_header_of(out, PONG, payload.len());
    out.extend_from_slice(payload);
}

/// Appends a close frame with code 1000.
pub(crate) fn write_close(out: &mut Vec<u8>) {
    write_header_of(out, CLOSE, 2);
    out.extend_from_slice(&1000u16.to_be_bytes());
}

/// Appends the header of an unmasked binary frame, as a server writes it.
pub(crate) fn write_server_header(out: &mut Vec<u8>, len: usize) {
    write_unmasked(out, BINARY, len, 0);
}

fn write_header_of(out: &mut Vec<u8>, opcode: u8, len: usize) {
    write_unmasked(out, opcode, len, 0x80);
    out.extend_from_slice(&[0; 4]);
}

fn write_unmasked(out: &mut Vec<u8>, opcode: u8, len: usize, mask_bit: u8) {
    out.push(FIN | opcode);
    if let Ok(short @ 0..=125) = u8::try_from(len) {
        out.push(mask_bit | short);
    } else if let Ok(medium) = u16::try_from(len) {
        out.push(mask_bit | 126);
        out.extend_from_slice(&medium.to_be_bytes());
    } else {
        out.push(mask_bit | 127);
        out.extend_from_slice(&(len as u64).to_be_bytes());
    }
}

/// The payload of a frame that a client has written whole.
pub(crate) fn message_of(frame: &[u8]) -> Option<&[u8]> {
    let header = Header::read_any(frame).ok()??;
    frame.get(header.size..)
}

/// What a stream of frames says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum FrameEvent<'a> {
    /// One whole data message. `head` is all of it unless the reader skims; `len` is its
    /// full length.
    Message { head: &'a [u8], len: u64 },
    /// Answer with a pong of the same payload.
    Ping(&'a [u8]),
    /// The peer closes: its code, if it gave one, and its reason.
    Close(Option<u16>, &'a [u8]),
}

/// Cuts a byte stream into frames and frames into messages, across reads of any size.
#[derive(Debug, Default)]
pub(crate) struct FrameReader {
    /// Bytes of a header that has not arrived whole.
    header: Vec<u8>,
    /// The frame whose payload is arriving, and how much of it is still to come.
    current: Option<Header>,
    remaining: u64,
    /// Payload of the data message so far, over all its fragments; cut when skimming.
    message: Vec<u8>,
    message_len: u64,
    in_message: bool,
    /// Payload of a control frame, which may come between fragments.
    control: Vec<u8>,
    /// Keep at most this much of a message; 0 keeps all.
    keep: usize,
}

impl FrameReader {
    /// A reader that keeps only the first `bytes` of a message that does not arrive in
    /// one read.
    pub(crate) fn skimming(bytes: usize) -> Self {
        Self {
            keep: bytes,
            ..Self::default()
        }
    }

    /// Takes the next bytes of the stream and calls `on` for each event they complete.
    pub(crate) fn feed(
        &mut self,
        mut bytes: &[u8],
        mut on: impl FnMut(FrameEvent<'_>),
    ) -> Result<(), FrameError> {
        loop {
            if let Some(header) = self.current {
                let here = bytes
                    .len()
                    .min(usize::try_from(self.remaining).unwrap_or(usize::MAX));
                let (payload, rest) = bytes.split_at(here);
                bytes = rest;
                self.remaining -= here as u64;
                self.take_payload(header, payload);
                if self.remaining > 0 {
                    return Ok(());
                }
                self.current = None;
                self.end_frame(header, &mut on);
                continue;
            }
            if bytes.is_empty() {
                return Ok(());
            }
            let header = if self.header.is_empty() {
                match Header::read(bytes)? {
                    Some(header) => {
                        bytes = &bytes[header.size..];
                        header
                    }
                    None => {
                        self.header.extend_from_slice(bytes);
                        return Ok(());
                    }
                }
            } else {
                self.header.push(bytes[0]);
                bytes = &bytes[1..];
                match Header::read(&self.header)? {
                    Some(header) => {
                        self.header.clear();
                        header
                    }
                    None => continue,
                }
            };
            // The common case: a whole message in one piece is handed on as it lies.
            if header.is_data()
                && header.fin
                && !self.in_message
                && header.len <= bytes.len() as u64
            {
                let (head, rest) = bytes.split_at(header.len as usize);
                bytes = rest;
                on(FrameEvent::Message {
                    head,
                    len: header.len,
                });
                continue;
            }
            self.current = Some(header);
            self.remaining = header.len;
        }
    }

    fn take_payload(&mut self, header: Header, payload: &[u8]) {
        if header.is_control() {
            self.control.extend_from_slice(payload);
            return;
        }
        self.in_message = true;
        self.message_len += payload.len() as u64;
        let room = if self.keep == 0 {
            usize::MAX
        } else {
            self.keep.saturating_sub(self.message.len())
        };
        self.message
            .extend_from_slice(&payload[..payload.len().min(room)]);
    }

    fn end_frame(&mut self, header: Header, on: &mut impl FnMut(FrameEvent<'_>)) {
        match header.opcode {
            PING => on(FrameEvent::Ping(&self.control)),
            CLOSE => match self.control.split_at_checked(2) {
                Some((code, reason)) => {
                    on(FrameEvent::Close(
                        Some(u16::from_be_bytes([code[0], code[1]])),
                        reason,
                    ));
                }
                None => on(FrameEvent::Close(None, &[])),
            },
            PONG => {}
            _ if header.fin => {
                on(FrameEvent::Message {
                    head: &self.message,
                    len: self.message_len,
                });
                self.in_message = false;
                self.message_len = 0;
                // A large message's buffer is not kept for the next small one.
                self.message.clear();
                self.message.shrink_to(KEPT_CAPACITY);
            }
            _ => {}
        }
        self.control.clear();
    }
}

/// A frame's header, without its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// The last frame of its message.
    pub(crate) fin: bool,
    /// What it carries.
    pub(crate) opcode: u8,
    /// Payload bytes.
    pub(crate) len: u64,
    /// The masking key, which a client must send and a server must not.
    pub(crate) mask: Option<[u8; 4]>,
    /// Bytes the header itself takes.
    pub(crate) size: usize,
}

impl Header {
    /// Reads a server's header from the start of `bytes`; `None` if it is not all there.
    fn read(bytes: &[u8]) -> Result<Option<Self>, FrameError> {
        let header = Self::read_any(bytes)?;
        match header {
            Some(Self { mask: Some(_), .. }) => {
                Err(FrameError("a server must not mask its frames"))
            }
            other => Ok(other),
        }
    }

    /// Reads a header from either side.
    pub(crate) fn read_any(bytes: &[u8]) -> Result<Option<Self>, FrameError> {
        let &[first, second, ..] = bytes else {
            return Ok(None);
        };
        if first & 0x70 != 0 {
            return Err(FrameError(
                "a reserved bit is set, and no extension was agreed",
            ));
        }
        let opcode = first & 0x0f;
        if !matches!(opcode, CONTINUATION | TEXT | BINARY | CLOSE | PING | PONG) {
            return Err(FrameError("an unknown opcode"));
        }
        let mut size = 2;
        let len = match second & 0x7f {
            126 => {
                let Some(&[a, b]) = bytes.get(2..4) else {
                    return Ok(None);
                };
                size = 4;
                u64::from(u16::from_be_bytes([a, b]))
            }
            127 => {
                let Some(wide) = bytes.get(2..10) else {
                    return Ok(None);
                };
                size = 10;
                wide.iter().fold(0, |len, &byte| len << 8 | u64::from(byte))
            }
            short => u64::from(short),
        };
        let mask = if second & 0x80 == 0 {
            None
        } else {
            let Some(&[a, b, c, d]) = bytes.get(size..size + 4) else {
                return Ok(None);
            };
            size += 4;
            Some([a, b, c, d])
        };
        let header = Self {
            fin: first & FIN != 0,
            opcode,
            len,
            mask,
            size,
        };
        if header.is_control() && (second & 0x7f > 125 || !header.fin) {
            return Err(FrameError("a control frame that is long or fragmented"));
        }
        if len > MAX_FRAME_BYTES {
            return Err(FrameError("a frame of over 1 GiB"));
        }
        Ok(Some(header))
    }

    /// Whether it is a close, ping or pong.
    pub(crate) fn is_control(self) -> bool {
        self.opcode & 0x08 != 0
    }

    /// Whether it starts a message.
    pub(crate) fn is_data(self) -> bool {
        matches!(self.opcode, TEXT | BINARY)
    }
}

/// The peer broke the framing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameError(pub(crate) &'static str);

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bad WebSocket frame: {}", self.0)
    }
}

impl std::error::Error for FrameError {}

const FIN: u8 = 0x80;
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
/// The opcode of a binary message.
pub(crate) const BINARY: u8 = 2;
/// The opcode of a close.
pub(crate) const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
const MAX_FRAME_BYTES: u64 = 1 << 30;
const KEPT_CAPACITY: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `stream` in pieces of `step` bytes and writes down what came out.
    fn read_in_steps(reader: &mut FrameReader, stream: &[u8], step: usize) -> Vec<String> {
        let mut seen = Vec::new();
        for piece in stream.chunks(step) {
            reader
                .feed(piece, |event| {
                    seen.push(match event {
                        FrameEvent::Message { head, len } => {
                            format!("message {} of {len}", head.len())
                        }
                        FrameEvent::Ping(payload) => format!("ping {payload:?}"),
                        FrameEvent::Close(code, reason) => {
                            format!("close {code:?} {}", String::from_utf8_lossy(reason))
                        }
                    });
                })
                .unwrap();
        }
        seen
    }

    fn server_frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write_server_header(&mut out, payload.len());
        out[0] = first;
        out.extend_from_slice(payload);
        out
    }

    #[test]
    fn a_stream_reads_the_same_however_it_is_cut() {
        let stream = [
            server_frame(0x82, &[7; 5]),
            server_frame(0x82, &[]),
            server_frame(0x02, &[1; 300]),
            server_frame(0x89, b"hi"),
            server_frame(0x80, &[2; 70_000]),
            server_frame(0x88, &[0x0f, 0xa1, b'n', b'o']),
        ]
        .concat();
        let expected = [
            "message 5 of 5",
            "message 0 of 0",
            "ping [104, 105]",
            "message 70300 of 70300",
            "close Some(4001) no",
        ];
        for step in [1, 2, 3, 7, 1000, stream.len()] {
            assert_eq!(
                read_in_steps(&mut FrameReader::default(), &stream, step),
                expected,
                "{step}"
            );
        }
    }

    #[test]
    fn a_skimming_reader_keeps_the_head_and_counts_the_rest() {
        let stream = server_frame(0x82, &[3; 100_000]);
        let seen = read_in_steps(&mut FrameReader::skimming(64), &stream, 4096);
        assert_eq!(seen, ["message 64 of 100000"]);
    }

    #[test]
    fn what_a_client_writes_has_a_zero_mask() {
        for len in [0, 125, 126, 65_535, 65_536] {
            let mut out = Vec::new();
            write(&mut out, &vec![9; len]);
            let header = Header::read_any(&out).unwrap().unwrap();
            assert_eq!(
                (header.len, header.mask, header.fin),
                (len as u64, Some([0; 4]), true)
            );
            assert_eq!(out.len(), header.size + len);
            assert!(
                Header::read(&out).is_err(),
                "the same from a server is refused"
            );
        }
    }

    #[test]
    fn broken_framing_is_an_error() {
        for bytes in [[0xc2, 0], [0x83, 0], [0x09, 0], [0x89, 126], [0x82, 0x80]] {
            let stream = [&bytes[..], &[0; 8]].concat();
            assert!(
                FrameReader::default().feed(&stream, |_| {}).is_err(),
                "{bytes:x?}"
            );
        }
    }
}
