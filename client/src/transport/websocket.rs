//! Messages in the binary frames of a WebSocket.

use std::collections::VecDeque;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::Broken;
use crate::limits::{FRAME_BYTES, MESSAGE_BYTES};

/// An open WebSocket.
pub(crate) struct WebSocket {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// Frames to be sent.
    frames: VecDeque<Vec<u8>>,
    /// Their bytes, and those of the frame that is being sent.
    unsent: usize,
    sending: usize,
    /// Messages of a frame that were not given yet.
    rest: Bytes,
}

impl WebSocket {
    /// Connects to `ws://…` or `wss://…`.
    pub(super) async fn connect(url: &str) -> Result<Self, Broken> {
        let config = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_BYTES))
            .max_frame_size(Some(MESSAGE_BYTES));
        let connecting = tokio_tungstenite::connect_async_with_config(url, Some(config), true);
        let (socket, _) = Box::pin(connecting).await.map_err(|error| match error {
            Error::Http(answer) => Broken::NoWell(url.to_owned(), answer.status()),
            Error::Url(_) => Broken::Address(url.to_owned(), "it is no URL of a WebSocket"),
            other => Broken::Socket(other),
        })?;
        Ok(Self {
            socket,
            frames: VecDeque::new(),
            unsent: 0,
            sending: 0,
            rest: Bytes::new(),
        })
    }

    /// Packs messages into frames.
    pub(super) fn push(&mut self, messages: &[Bytes]) {
        for message in messages {
            let len = 4 + message.len();
            let frame = match self.frames.back_mut() {
                Some(frame) if frame.len() + len <= FRAME_BYTES => frame,
                _ => {
                    self.frames.push_back(Vec::with_capacity(len));
                    let Some(frame) = self.frames.back_mut() else {
                        continue;
                    };
                    frame
                }
            };
            frame.extend_from_slice(&(message.len() as u32).to_be_bytes());
            frame.extend_from_slice(message);
            self.unsent += len;
        }
    }

    pub(super) const fn unsent(&self) -> usize {
        self.unsent
    }

    /// Ready when everything has been sent.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        loop {
            if self.sending > 0 {
                ready!(self.socket.poll_flush_unpin(cx))?;
                self.unsent -= std::mem::take(&mut self.sending);
            }
            if self.frames.is_empty() {
                return Poll::Ready(Ok(()));
            }
            ready!(self.socket.poll_ready_unpin(cx))?;
            if let Some(frame) = self.frames.pop_front() {
                self.sending = frame.len();
                self.socket
                    .start_send_unpin(Message::Binary(frame.into()))?;
            }
        }
    }

    pub(super) fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Broken>> {
        loop {
            if !self.rest.is_empty() {
                return Poll::Ready(self.unpack());
            }
            match ready!(self.socket.poll_next_unpin(cx)) {
                Some(Ok(Message::Binary(frame))) => self.rest = frame,
                Some(Ok(Message::Close(frame))) => {
                    let why = frame.map(|it| format!(" with {}: {}", it.code, it.reason));
                    return Poll::Ready(Err(Broken::Closed(why.unwrap_or_default())));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(error.into())),
                None => return Poll::Ready(Err(Broken::Closed(String::new()))),
            }
        }
    }

    /// The next message of a frame.
    fn unpack(&mut self) -> Result<Bytes, Broken> {
        let Some(len) = self.rest.first_chunk() else {
            return Err(Broken::Malformed("a length that is cut off"));
        };
        let len = u32::from_be_bytes(*len) as usize;
        if self.rest.len() - 4 < len {
            return Err(Broken::Malformed("a message that is cut off"));
        }
        let mut message = self.rest.split_off(4);
        self.rest = message.split_off(len);
        Ok(message)
    }

    pub(super) async fn close(mut self) {
        // Whether the server still answers makes no difference to who leaves.
        let all = std::future::poll_fn(|cx| self.poll_write(cx));
        if all.await.is_ok() {
            drop(self.socket.close(None).await);
        }
    }
}
