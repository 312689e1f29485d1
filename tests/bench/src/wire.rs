//! The y-websocket messages a load client speaks, and nothing more of the protocol.
//!
//! One message travels in one binary WebSocket frame: `varUint type`, then a body. The
//! types used here are sync (`0`, with Step1 / Step2 / Update inside), awareness (`1`)
//! and the durable ack (`102`: a number the server echoes once everything the
//! connection sent before it is durable). Bytes from a server are never trusted: what
//! does not parse is a [`Malformed`] that the caller reports.

use std::fmt;

/// A message from the server, borrowed from the frame it came in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming<'a> {
    /// The server asks for what it lacks.
    Step1,
    /// The state the server answers a client's Step1 with: a Yjs v1 update.
    Step2(&'a [u8]),
    /// A change made by somebody else: a Yjs v1 update.
    Update(&'a [u8]),
    /// Everything the connection sent before its ack request with this number is durable.
    Ack(u64),
    /// Who is here has changed: a `Presence` of the well protocol.
    Presence(&'a [u8]),
    /// The server asks whether this client is there: the well protocol's Ping, with its time.
    Ping(u64),
    /// Awareness, auth and message types this client does not know.
    Other,
}

/// Reads one message.
pub(crate) fn read(message: &[u8]) -> Result<Incoming<'_>, Malformed> {
    let mut cursor = Cursor(message);
    match cursor.var_uint()? {
        SYNC => match cursor.var_uint()? {
            STEP_1 => Ok(Incoming::Step1),
            STEP_2 => Ok(Incoming::Step2(cursor.var_bytes()?)),
            UPDATE => Ok(Incoming::Update(cursor.var_bytes()?)),
            _ => Err(Malformed("an unknown sync message")),
        },
        ACK => {
            let mut body = Cursor(cursor.var_bytes()?);
            Ok(Incoming::Ack(body.var_uint()?))
        }
        _ => Ok(Incoming::Other),
    }
}

/// The kind and the body length of a message of which only the head was kept.
/// `Some(length)` if it carries an update (Step2 or Update).
pub(crate) fn update_len(head: &[u8]) -> Result<Option<u64>, Malformed> {
    let mut cursor = Cursor(head);
    if cursor.var_uint()? != SYNC || cursor.var_uint()? == STEP_1 {
        return Ok(None);
    }
    cursor.var_uint().map(Some)
}

/// Step1 of a client that has nothing: an empty state vector.
pub(crate) const STEP_1_EMPTY: &[u8] = &[0, 0, 1, 0];

/// Step2 of a client that has nothing to give: the empty update `00 00`.
pub(crate) const STEP_2_EMPTY: &[u8] = &[0, 1, 2, 0, 0];

/// An awareness message by which client `id` shows a small state of its own.
pub(crate) fn presence(id: u64) -> Vec<u8> {
    const STATE: &[u8] = br##"{"user":{"name":"bench","color":"#336699"}}"##;
    let mut update = vec![1];
    write_var_uint(&mut update, id);
    update.push(1); // clock
    write_var_uint(&mut update, STATE.len() as u64);
    update.extend_from_slice(STATE);
    let mut message = vec![1];
    write_var_uint(&mut message, update.len() as u64);
    message.extend_from_slice(&update);
    message
}

/// Appends a request for the durable ack `n`.
pub(crate) fn write_ack_request(out: &mut Vec<u8>, n: u64) {
    out.push(ACK as u8);
    out.push(var_uint_len(n) as u8);
    write_var_uint(out, n);
}

/// How long [`write_ack_request`] gets.
pub(crate) fn ack_request_len(n: u64) -> usize {
    2 + var_uint_len(n)
}

/// Appends LEB128.
pub(crate) fn write_var_uint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// How many bytes [`write_var_uint`] takes.
pub(crate) fn var_uint_len(n: u64) -> usize {
    (63 - (n | 1).leading_zeros() as usize) / 7 + 1
}

/// Bytes that are not what the protocol says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed: {}", self.0)
    }
}

impl std::error::Error for Malformed {}

/// A reader of lib0's encodings over borrowed bytes.
pub(crate) struct Cursor<'a>(pub(crate) &'a [u8]);

impl<'a> Cursor<'a> {
    /// One byte.
    pub(crate) fn byte(&mut self) -> Result<u8, Malformed> {
        let (&first, rest) = self.0.split_first().ok_or(Malformed("it ends early"))?;
        self.0 = rest;
        Ok(first)
    }

    /// LEB128, at most 64 bits.
    pub(crate) fn var_uint(&mut self) -> Result<u64, Malformed> {
        let mut n = 0;
        let mut shift = 0;
        loop {
            let byte = self.byte()?;
            if shift > 63 {
                return Err(Malformed("a number over 64 bits"));
            }
            n |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(n);
            }
            shift += 7;
        }
    }

    /// As many bytes as the number before them says.
    pub(crate) fn var_bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.var_uint()?;
        let len = usize::try_from(len).map_err(|_| Malformed("an impossible length"))?;
        let (bytes, rest) = self
            .0
            .split_at_checked(len)
            .ok_or(Malformed("it ends early"))?;
        self.0 = rest;
        Ok(bytes)
    }
}

const SYNC: u64 = 0;
const STEP_1: u64 = 0;
const STEP_2: u64 = 1;
const UPDATE: u64 = 2;
const ACK: u64 = 102;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        for n in [
            0,
            1,
            127,
            128,
            16_383,
            16_384,
            u64::from(u32::MAX),
            (1 << 53) - 1,
            u64::MAX,
        ] {
            let mut bytes = Vec::new();
            write_var_uint(&mut bytes, n);
            assert_eq!(bytes.len(), var_uint_len(n), "{n}");
            assert_eq!(Cursor(&bytes).var_uint(), Ok(n));
        }
    }

    #[test]
    fn messages_are_told_apart() {
        assert_eq!(read(STEP_1_EMPTY), Ok(Incoming::Step1));
        assert_eq!(read(STEP_2_EMPTY), Ok(Incoming::Step2(&[0, 0])));
        assert_eq!(read(&[0, 2, 1, 9]), Ok(Incoming::Update(&[9])));
        assert_eq!(read(&[1, 1, 0]), Ok(Incoming::Other));
        let mut ack = Vec::new();
        write_ack_request(&mut ack, 300);
        assert_eq!(ack.len(), ack_request_len(300));
        assert_eq!(read(&ack), Ok(Incoming::Ack(300)));
    }

    #[test]
    fn a_server_that_talks_nonsense_is_an_error() {
        for bytes in [
            &[][..],
            &[0],
            &[0, 7],
            &[0, 2, 5, 1],
            &[102, 1, 0x80],
            &[0xff; 12],
        ] {
            assert!(read(bytes).is_err(), "{bytes:?}");
        }
    }
}
