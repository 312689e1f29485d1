//! A session as a transport: bytes in both directions on its bidirectional stream, an end that says
//! whether the peer said goodbye or broke off, and the session's datagrams.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use web_transport_quinn::generic::poll::{RecvStream as _, SendStream as _, Session as _};
use web_transport_quinn::quinn::ConnectionError;
use web_transport_quinn::{ReadError, RecvStream, SendStream, Session};

use crate::connection::transport::Transport;

/// What a stream of a session that was closed is reset with (draft-ietf-webtrans-http3, 9.5).
const SESSION_GONE: u64 = 0x170d_7b68;
/// QUIC's own code for an end without an error (RFC 9000, section 20.1).
const NO_ERROR: u64 = 0;

/// A session and its stream.
pub(super) struct Duplex {
    send: SendStream,
    recv: RecvStream,
    session: Session,
    finished: bool,
}

impl Duplex {
    pub(super) fn new((send, recv): (SendStream, RecvStream), session: Session) -> Self {
        Self {
            send,
            recv,
            session,
            finished: false,
        }
    }

    /// Whether the peer meant to end what is over.
    fn is_goodbye(&self, error: &ReadError) -> bool {
        // The QUIC connection's own reason.
        match (*self.session).close_reason() {
            // The session's own close is in here: the library closes the connection for it.
            Some(ConnectionError::ApplicationClosed(_) | ConnectionError::LocallyClosed) => true,
            Some(ConnectionError::ConnectionClosed(close)) => {
                u64::from(close.error_code) == NO_ERROR
            }
            Some(_) => false,
            None => match error {
                ReadError::InvalidReset(code) => code.into_inner() == SESSION_GONE,
                _ => false,
            },
        }
    }
}

impl AsyncRead for Duplex {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = ready!(self.recv.poll_read(cx, buf.initialize_unfilled()));
        Poll::Ready(match read {
            Ok(read) => {
                buf.advance(read.unwrap_or(0));
                Ok(())
            }
            Err(error) if self.is_goodbye(&error) => Ok(()),
            Err(error) => Err(io::Error::other(error)),
        })
    }
}

impl AsyncWrite for Duplex {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.send.poll_write(cx, bytes).map_err(io::Error::other)
    }

    /// QUIC gathers what is written into packets by itself; this only saves waiting between slices.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut written = 0;
        for slice in slices {
            let mut rest = &slice[..];
            while !rest.is_empty() {
                match self.send.poll_write(cx, rest) {
                    Poll::Ready(Ok(n)) if n > 0 => {
                        written += n;
                        rest = &rest[n..];
                    }
                    // What failed fails again, when nothing was written before it.
                    _ if written > 0 => return Poll::Ready(Ok(written)),
                    Poll::Ready(Ok(_)) => return Poll::Ready(Ok(0)),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                    Poll::Pending => return Poll::Pending,
                }
            }
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Ready when the peer has everything, or will have nothing more.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.finished {
            self.finished = true;
            // Fails only on a stream that is over, and then so does what follows.
            let _ = self.send.finish();
        }
        self.send.poll_closed(cx).map_err(io::Error::other)
    }
}

impl Transport for Duplex {
    const DATAGRAMS: bool = true;

    fn datagram_space(&self) -> usize {
        // Past its buffer the library drops the oldest; what has no space goes on the stream.
        let space = self.session.datagram_send_buffer_space();
        self.session.max_datagram_size().min(space)
    }

    fn send_datagram(&mut self, datagram: Bytes) {
        // Fails when the connection is over, or the path has become narrower: then it is lost.
        let _ = self.session.send_datagram(datagram);
    }

    fn poll_datagram(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        match self.session.poll_recv_datagram(cx) {
            Poll::Ready(Ok(datagram)) => Poll::Ready(datagram),
            Poll::Ready(Err(_)) | Poll::Pending => Poll::Pending,
        }
    }
}
