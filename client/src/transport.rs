//! A connection that carries whole messages.

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// The largest message that is taken from a server: a whole document, and what stands around it.
const MAX_MESSAGE_BYTES: usize = 300 << 20;

/// An open connection.
pub(crate) struct Transport {
    socket: Box<WebSocketStream<MaybeTlsStream<TcpStream>>>,
    /// Messages of a frame that were not given yet.
    rest: Bytes,
}

/// Why there is no connection, or no longer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error("{0}")]
    Socket(#[from] tungstenite::Error),
    #[error("the server closed the connection{0}")]
    Closed(String),
    #[error("the server sent something that is no message of the protocol: {0}")]
    Malformed(&'static str),
}

impl Transport {
    /// Connects to `ws://…` or `wss://…`.
    pub(crate) async fn connect(url: &str) -> Result<Self, Broken> {
        let config = WebSocketConfig::default()
            .max_message_size(Some(MAX_MESSAGE_BYTES))
            .max_frame_size(Some(MAX_MESSAGE_BYTES));
        let connecting = tokio_tungstenite::connect_async_with_config(url, Some(config), true);
        let (socket, _) = Box::pin(connecting).await?;
        Ok(Self {
            socket: Box::new(socket),
            rest: Bytes::new(),
        })
    }

    /// Sends messages as one frame.
    pub(crate) async fn send(&mut self, messages: &[Bytes]) -> Result<(), Broken> {
        let len = messages.iter().map(|it| 4 + it.len()).sum();
        let mut frame = Vec::with_capacity(len);
        for message in messages {
            frame.extend_from_slice(&(message.len() as u32).to_be_bytes());
            frame.extend_from_slice(message);
        }
        self.socket.send(Message::Binary(frame.into())).await?;
        Ok(())
    }

    /// The next message. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<Bytes, Broken> {
        loop {
            if !self.rest.is_empty() {
                let Some(len) = self.rest.first_chunk() else {
                    return Err(Broken::Malformed("a length that is cut off"));
                };
                let len = u32::from_be_bytes(*len) as usize;
                if self.rest.len() - 4 < len {
                    return Err(Broken::Malformed("a message that is cut off"));
                }
                let mut message = self.rest.split_off(4);
                self.rest = message.split_off(len);
                return Ok(message);
            }
            match self.socket.next().await {
                Some(Ok(Message::Binary(frame))) => self.rest = frame,
                Some(Ok(Message::Close(frame))) => {
                    let why = frame.map(|it| format!(" with {}: {}", it.code, it.reason));
                    return Err(Broken::Closed(why.unwrap_or_default()));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
                None => return Err(Broken::Closed(String::new())),
            }
        }
    }

    /// Ends the connection; what was sent before arrives.
    pub(crate) async fn close(mut self) {
        // Whether the server still answers makes no difference to who leaves.
        drop((*self.socket).close(None).await);
    }
}
