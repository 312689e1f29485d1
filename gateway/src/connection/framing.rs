//! How a client's messages lie in the bytes of its transport.
//!
//! | framing | a message is | a goodbye is |
//! | --- | --- | --- |
//! | [`websocket::frame`](crate::websocket::frame) | a binary frame | a close frame, which the other side answers |
//! | [`websocket::packed`](crate::websocket::packed) | a part of a binary frame, after its length | the same |
//! | [`stream`](crate::stream) | a `u32` length, big-endian, and so many bytes | the end of the stream |
//!
//! A framing does no IO and keeps nothing between reads but the message that is not whole yet. What
//! it puts before a message depends on the message's length alone, so frames are shared by all
//! connections of one framing.

use bytes::Bytes;
use protocol::CloseCode;

/// What a client sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// A whole binary message.
    Binary(Bytes),
    /// A whole text message; its bytes are not checked to be UTF-8.
    Text(Bytes),
    /// A ping, to be answered with its payload.
    Ping(Bytes),
    /// A pong.
    Pong,
    /// The client closes, with its code if it gave one.
    Close(Option<u16>),
}

/// How a client broke its framing, and how its connection ends for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Fault {
    /// The code that the connection is closed with.
    pub code: CloseCode,
    /// What was wrong.
    pub reason: String,
}

/// How many framings there are.
pub const FRAMINGS: usize = 3;

/// A framing, and its state for one connection.
pub trait Framing: Unpin {
    /// Which of the [`FRAMINGS`] it is. What is encoded once for all connections of one framing has
    /// a place for each.
    const INDEX: usize;
    /// Whether the end of the peer's bytes is its goodbye; otherwise the connection broke.
    const END_IS_GOODBYE: bool;

    /// A framing that refuses messages over `max_message` bytes.
    fn new(max_message: usize) -> Self;

    /// Takes what was read and appends whole messages to `out`.
    ///
    /// # Errors
    /// [`Fault`]; what was whole before it is in `out`. The framing takes nothing more after.
    fn take(&mut self, fresh: &[u8], out: &mut Vec<Incoming>) -> Result<(), Fault>;

    /// How many bytes it holds of what is not whole.
    fn held(&self) -> usize;

    /// Appends what stands before a binary message of `len` bytes.
    fn put_header(len: usize, out: &mut Vec<u8>);

    /// A ping; `None` where the transport itself finds out whether its peer lives.
    fn ping() -> Option<Bytes>;

    /// What answers a ping that came with `payload`; `None` where there are no pings.
    fn pong(payload: &[u8]) -> Option<Bytes>;

    /// What tells the peer that the connection closes; it is answered with the same. `None` where
    /// the end of the stream tells it, and the transport says the code and the reason.
    fn close(code: u16, reason: &str) -> Option<Bytes>;
}
