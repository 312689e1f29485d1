//! What carries a connection: bytes in order, and datagrams where there are such.

use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

/// A stream of bytes in both directions. Beside it some carry datagrams, of which each arrives whole
/// or not at all, in any order.
pub trait Transport: AsyncRead + AsyncWrite + Unpin {
    /// Whether there are datagrams; without them nothing here costs anything.
    const DATAGRAMS: bool = false;

    /// Whether what has been written may wait in here until it is flushed.
    const BUFFERS: bool = false;

    /// How large a datagram may be that is sent now, in bytes.
    fn datagram_space(&self) -> usize {
        0
    }

    /// Sends a datagram of no more than that.
    fn send_datagram(&mut self, _datagram: Bytes) {}

    /// The next datagram from the peer. Where the connection has ended it is the stream that says so.
    fn poll_datagram(&mut self, _cx: &mut Context<'_>) -> Poll<Bytes> {
        Poll::Pending
    }
}

#[cfg(test)]
impl Transport for tokio::io::DuplexStream {}
