//! A connection that carries whole messages: a WebSocket, or a WebTransport session.
//!
//! | module | is reached at | messages |
//! | --- | --- | --- |
//! | `websocket` | `ws://…`, `wss://…` | one or more in a binary frame, each after its length |
//! | `webtransport` | `https://…` | after their lengths on one stream, and whole in datagrams |
//! | `certificates` | | whom a WebTransport client trusts |
//!
//! Writing and reading go on side by side, so that two sides that both have much to say do not wait
//! for each other.

#[cfg(feature = "webtransport")]
pub(crate) mod certificates;
mod websocket;
#[cfg(feature = "webtransport")]
mod webtransport;

use std::future::poll_fn;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio_tungstenite::tungstenite::{self, http};

use crate::driver::Options;
use crate::limits::UNSENT_BYTES;
use websocket::WebSocket;
#[cfg(feature = "webtransport")]
use webtransport::WebTransport;

/// An open connection.
pub(crate) enum Transport {
    WebSocket(Box<WebSocket>),
    #[cfg(feature = "webtransport")]
    WebTransport(Box<WebTransport>),
}

/// What a turn of a connection gave.
pub(crate) enum Turn {
    Message(Bytes),
    /// So much has been sent that there is space for more.
    Space,
}

/// Why there is no connection, or no longer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error("{0}")]
    Socket(#[from] tungstenite::Error),
    #[cfg(feature = "webtransport")]
    #[error("no WebTransport session could be opened: {0}")]
    Unreachable(String),
    #[cfg(feature = "webtransport")]
    #[error("the session is over: {0}")]
    Session(String),
    #[error("the server closed the connection{0}")]
    Closed(String),
    #[error("the server sent something that is no message of the protocol: {0}")]
    Malformed(&'static str),
    #[error(
        "no server of the well protocol answers at {0:?}: it says {1}; a Well's address ends in /well"
    )]
    NoWell(String, http::StatusCode),
    /// It sent what is no message of the protocol before it has welcomed anybody.
    #[error(
        "no server of the well protocol answers at {0:?}: it speaks another; a Well's address ends in /well"
    )]
    Foreign(String),
    #[error("{0:?} is no address that this client can connect to: {1}")]
    Address(String, &'static str),
}

impl Broken {
    /// Whether another try can be no better: a server that is restarted, or has too much to do, does
    /// not say that it knows no such address.
    pub(crate) fn is_for_good(&self) -> bool {
        match self {
            Self::Address(..) | Self::Foreign(_) => true,
            Self::NoWell(_, status) => {
                !status.is_server_error() && !matches!(status.as_u16(), 408 | 425 | 429)
            }
            _ => false,
        }
    }
}

impl Transport {
    /// Connects to where the options say.
    pub(crate) async fn connect(options: &Options) -> Result<Self, Broken> {
        let url = options.url();
        match url.split_once("://").map_or("", |(scheme, _)| scheme) {
            "ws" | "wss" => {
                let socket = WebSocket::connect(url).await?;
                Ok(Self::WebSocket(Box::new(socket)))
            }
            #[cfg(feature = "webtransport")]
            "https" => {
                let session = WebTransport::connect(url, options.trust()).await?;
                Ok(Self::WebTransport(Box::new(session)))
            }
            _ => {
                let why = if cfg!(feature = "webtransport") {
                    "ws://, wss:// and https:// are spoken"
                } else {
                    "ws:// and wss:// are spoken"
                };
                Err(Broken::Address(url.to_owned(), why))
            }
        }
    }

    /// Takes messages to be sent in turns to come.
    pub(crate) fn push(&mut self, messages: &[Bytes]) {
        match self {
            Self::WebSocket(socket) => socket.push(messages),
            #[cfg(feature = "webtransport")]
            Self::WebTransport(session) => session.push(messages),
        }
    }

    /// Sends a message on a datagram, on which it may be lost. False where it does not fit one.
    pub(crate) fn send_datagram(&self, message: &Bytes) -> bool {
        match self {
            Self::WebSocket(_) => false,
            #[cfg(feature = "webtransport")]
            Self::WebTransport(session) => session.send_datagram(message),
        }
    }

    /// Whether there is space for more messages to be sent.
    pub(crate) fn has_space(&self) -> bool {
        self.unsent() < UNSENT_BYTES
    }

    fn unsent(&self) -> usize {
        match self {
            Self::WebSocket(socket) => socket.unsent(),
            #[cfg(feature = "webtransport")]
            Self::WebTransport(session) => session.unsent(),
        }
    }

    /// Sends what is to be sent, and gives the next message. Cancel-safe.
    pub(crate) async fn turn(&mut self) -> Result<Turn, Broken> {
        poll_fn(|cx| self.poll_turn(cx)).await
    }

    /// Ends the connection; what was sent before arrives.
    pub(crate) async fn close(self) {
        match self {
            Self::WebSocket(socket) => socket.close().await,
            #[cfg(feature = "webtransport")]
            Self::WebTransport(session) => session.close().await,
        }
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Result<Turn, Broken>> {
        let was_full = !self.has_space();
        let written = match self {
            Self::WebSocket(socket) => socket.poll_write(cx),
            #[cfg(feature = "webtransport")]
            Self::WebTransport(session) => session.poll_write(cx),
        };
        if let Poll::Ready(Err(error)) = written {
            return Poll::Ready(Err(error));
        }
        if was_full && self.has_space() {
            return Poll::Ready(Ok(Turn::Space));
        }
        let message = match self {
            Self::WebSocket(socket) => socket.poll_message(cx),
            #[cfg(feature = "webtransport")]
            Self::WebTransport(session) => session.poll_message(cx),
        };
        message.map_ok(Turn::Message)
    }
}
