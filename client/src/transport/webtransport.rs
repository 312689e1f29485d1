//! Messages on a stream of a WebTransport session, and on its datagrams.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::time::timeout;
use url::Url;
use web_transport_quinn::generic::poll::{RecvStream as _, SendStream as _, Session as _};
use web_transport_quinn::proto::ConnectRequest;
use web_transport_quinn::quinn::{self, ConnectionError, TransportConfig};
use web_transport_quinn::{RecvStream, SendStream, Session, SessionError};

use super::Broken;
use super::certificates::Trust;
use crate::limits::{
    ADDRESS_TIME, CLOSE_TIME, CONNECT_TIME, DATAGRAM_BUFFER_BYTES, MESSAGE_BYTES, QUIC_IDLE,
    QUIC_KEEP_ALIVE, READ_BYTES,
};

/// An open session and its stream.
pub(crate) struct WebTransport {
    session: Session,
    send: SendStream,
    recv: RecvStream,
    unsent: BytesMut,
    /// What was read and is no whole message yet.
    read: BytesMut,
    scratch: Vec<u8>,
}

impl WebTransport {
    /// Connects to `https://host:port/well`.
    pub(super) async fn connect(url: &str, trust: &Trust) -> Result<Self, Broken> {
        let parsed = Url::parse(url);
        let parsed = parsed.map_err(|_| Broken::Address(url.to_owned(), "it is no URL"))?;
        let Some(host) = parsed.host_str().map(|host| host.trim_matches(['[', ']'])) else {
            return Err(Broken::Address(url.to_owned(), "it names no host"));
        };
        let port = parsed.port().unwrap_or(443);
        let mut transport = TransportConfig::default();
        transport
            .max_idle_timeout(quinn::IdleTimeout::try_from(QUIC_IDLE).ok())
            .keep_alive_interval(Some(QUIC_KEEP_ALIVE))
            .datagram_receive_buffer_size(Some(DATAGRAM_BUFFER_BYTES))
            .datagram_send_buffer_size(DATAGRAM_BUFFER_BYTES);
        let mut config = quinn::ClientConfig::new(trust.crypto().await?);
        config.transport_config(Arc::new(transport));
        let addresses = tokio::net::lookup_host((host, port)).await;
        let addresses = addresses.map_err(|error| Broken::Unreachable(error.to_string()))?;
        let mut addresses = addresses.peekable();
        let mut last = format!("{host:?} has no address");
        while let Some(address) = addresses.next() {
            let patience = match addresses.peek() {
                Some(_) => ADDRESS_TIME,
                None => CONNECT_TIME,
            };
            match timeout(patience, Self::open(address, host, &parsed, &config)).await {
                Ok(Ok(opened)) => return Ok(opened),
                Ok(Err(why)) => last = format!("{address}: {why}"),
                Err(_) => last = format!("{address} did not answer over UDP"),
            }
        }
        Err(Broken::Unreachable(last))
    }

    async fn open(
        address: SocketAddr,
        host: &str,
        url: &Url,
        config: &quinn::ClientConfig,
    ) -> Result<Self, String> {
        let own: SocketAddr = match address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let endpoint = quinn::Endpoint::client(own).map_err(|error| error.to_string())?;
        let connecting = endpoint.connect_with(config.clone(), address, host);
        let connection = connecting.map_err(|error| error.to_string())?;
        let connection = connection.await.map_err(|error| error.to_string())?;
        let session = Session::connect(connection, ConnectRequest::new(url.clone())).await;
        let session = session.map_err(|error| error.to_string())?;
        let stream = session.open_bi().await;
        let (send, recv) = stream.map_err(|error| error.to_string())?;
        Ok(Self {
            session,
            send,
            recv,
            unsent: BytesMut::new(),
            read: BytesMut::new(),
            scratch: vec![0; READ_BYTES],
        })
    }

    pub(super) fn push(&mut self, messages: &[Bytes]) {
        for message in messages {
            let len = message.len() as u32;
            self.unsent.extend_from_slice(&len.to_be_bytes());
            self.unsent.extend_from_slice(message);
        }
    }

    pub(super) fn send_datagram(&self, message: &Bytes) -> bool {
        message.len() <= self.session.max_datagram_size()
            && self.session.send_datagram(message.clone()).is_ok()
    }

    pub(super) fn unsent(&self) -> usize {
        self.unsent.len()
    }

    /// Ready when everything has been handed to the connection.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        while !self.unsent.is_empty() {
            match ready!(self.send.poll_write(cx, &self.unsent)) {
                Ok(written) => self.unsent.advance(written),
                Err(error) => return Poll::Ready(Err(self.over(&error))),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// The next message, from a datagram or the stream.
    pub(super) fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Broken>> {
        // A session that is over is told of by its stream, after everything that came on it.
        if let Poll::Ready(Ok(datagram)) = self.session.poll_recv_datagram(cx) {
            return Poll::Ready(Ok(datagram));
        }
        loop {
            if let Some(len) = self.read.first_chunk() {
                let len = u32::from_be_bytes(*len) as usize;
                if len > MESSAGE_BYTES {
                    return Poll::Ready(Err(Broken::Malformed("a message that is too long")));
                }
                if self.read.len() >= 4 + len {
                    self.read.advance(4);
                    return Poll::Ready(Ok(self.read.split_to(len).freeze()));
                }
            }
            match ready!(self.recv.poll_read(cx, &mut self.scratch)) {
                Ok(Some(read)) => self.read.extend_from_slice(&self.scratch[..read]),
                Ok(None) => {
                    let why = self.why().map(|why| format!(": {why}"));
                    return Poll::Ready(Err(Broken::Closed(why.unwrap_or_default())));
                }
                Err(error) => return Poll::Ready(Err(self.over(&error))),
            }
        }
    }

    pub(super) async fn close(mut self) {
        // Whether the server still answers makes no difference to who leaves.
        let ending = async {
            if std::future::poll_fn(|cx| self.poll_write(cx)).await.is_ok() {
                // Fails only on a stream that is over.
                drop(self.send.finish());
                // The server hears of the end of the stream and closes the session.
                self.session.closed().await;
            }
        };
        if timeout(CLOSE_TIME, ending).await.is_err() {
            self.session.close(0, b"the client has ended");
        }
    }

    /// Why the session is over, if it is.
    fn why(&self) -> Option<String> {
        match self.session.close_reason()? {
            // The library's word for a connection that died; QUIC knows why.
            SessionError::ConnectionError(ConnectionError::LocallyClosed) => {
                let reason = (*self.session).close_reason();
                reason.map(|reason| reason.to_string())
            }
            reason => Some(reason.to_string()),
        }
    }

    fn over(&self, error: &dyn std::error::Error) -> Broken {
        Broken::Session(self.why().unwrap_or_else(|| error.to_string()))
    }
}
