//! What waits to be written: shared frames, and bytes of this connection alone.
//!
//! The queue is bounded by who fills it. The feed is read by cursor and only while there is space,
//! so what a slow client has not read stays in the room; and a client that does not read is not
//! listened to, so it cannot make more answers.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::{Buf, Bytes};
use protocol::CloseCode;
use protocol::dialect::Message;
use tokio::io::AsyncWrite;

use super::framing::Framing;

/// What waits to be written to one client, framed by `F`.
#[derive(Debug)]
pub struct OutQueue<F> {
    frames: VecDeque<Bytes>,
    /// What comes after `frames`: small messages end to end, so that many acks are one slice of
    /// one write.
    tail: Vec<u8>,
    /// Bytes in `frames` and `tail`.
    bytes: usize,
    /// Bytes that were `tail` and are in `frames`, at the most: since nothing waited.
    own: usize,
    /// Set when the socket took nothing more; cleared by the next byte it takes.
    pub(super) stalled: Option<Instant>,
    /// An empty list, kept for its memory.
    spare: Vec<Bytes>,
    /// The talk is over, and why; the connection takes it from here.
    pub(super) closing: Option<(CloseCode, String)>,
    framing: PhantomData<F>,
}

/// Up to this size a copy is cheaper than a slice of its own in a vectored write.
const COPIED_BYTES: usize = 512;
/// How many slices one write takes.
const SLICES: usize = 32;
/// A list of so many elements is kept while nothing is in it.
const KEPT_ELEMENTS: usize = 4;

impl<F: Framing> OutQueue<F> {
    pub(super) const fn new() -> Self {
        Self {
            frames: VecDeque::new(),
            tail: Vec::new(),
            bytes: 0,
            own: 0,
            stalled: None,
            spare: Vec::new(),
            closing: None,
            framing: PhantomData,
        }
    }

    /// How many bytes wait.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether all is written.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// How many bytes wait that are this connection's alone, at the most.
    pub(super) fn own_bytes(&self) -> usize {
        self.own.min(self.bytes) + self.tail.capacity()
    }

    /// Ends the connection once what waits is written. The first reason stands.
    pub fn close(&mut self, code: CloseCode, reason: String) {
        self.closing.get_or_insert((code, reason));
    }

    /// Appends a dialect's message. A large shared body is not copied.
    pub fn push_message(&mut self, message: &Message) {
        self.put_header(message.len());
        self.put(&message.head);
        if message.body.len() <= COPIED_BYTES {
            self.put(&message.body);
        } else {
            self.push_slice(message.body.clone());
        }
    }

    /// Appends one message that is `head` and then `slices`, which are shared and carry no header
    /// of their own.
    pub fn push_shared(&mut self, head: &[u8], slices: impl IntoIterator<Item = Bytes> + Clone) {
        let shared: usize = slices.clone().into_iter().map(|slice| slice.len()).sum();
        self.put_header(head.len() + shared);
        self.put(head);
        for slice in slices {
            self.push(slice);
        }
    }

    /// Appends bytes that have their framing already.
    pub fn push(&mut self, frame: Bytes) {
        if frame.len() <= COPIED_BYTES && !self.tail.is_empty() {
            self.put(&frame);
        } else {
            self.push_slice(frame);
        }
    }

    /// An empty list for [`push_list`](Self::push_list): the same one each time.
    pub fn list(&mut self) -> Vec<Bytes> {
        std::mem::take(&mut self.spare)
    }

    /// Appends frames, each with its framing.
    pub fn push_list(&mut self, mut frames: Vec<Bytes>) {
        for frame in frames.drain(..) {
            self.push(frame);
        }
        if frames.capacity() <= KEPT_ELEMENTS {
            self.spare = frames;
        }
    }

    fn put_header(&mut self, len: usize) {
        let before = self.tail.len();
        F::put_header(len, &mut self.tail);
        self.bytes += self.tail.len() - before;
    }

    fn put(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        self.bytes += bytes.len();
    }

    fn push_slice(&mut self, slice: Bytes) {
        if !self.tail.is_empty() {
            self.own += self.tail.len();
            self.frames.push_back(std::mem::take(&mut self.tail).into());
        }
        self.bytes += slice.len();
        self.frames.push_back(slice);
    }

    pub(super) fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        socket: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let socket = Pin::new(socket);
        let written = match (self.frames.len(), self.tail.is_empty()) {
            (0, _) => ready!(socket.poll_write(cx, &self.tail))?,
            (1, true) => ready!(socket.poll_write(cx, &self.frames[0]))?,
            _ => {
                let mut slices = [IoSlice::new(&[]); SLICES];
                let mut count = 0;
                let frames = self.frames.iter().map(|frame| &frame[..]);
                for (slice, bytes) in slices.iter_mut().zip(frames.chain([&self.tail[..]])) {
                    *slice = IoSlice::new(bytes);
                    count += 1;
                }
                ready!(socket.poll_write_vectored(cx, &slices[..count]))?
            }
        };
        self.advance(written);
        Poll::Ready(Ok(written))
    }

    fn advance(&mut self, mut written: usize) {
        self.bytes -= written;
        while let Some(front) = self.frames.front_mut() {
            if front.len() > written {
                front.advance(written);
                return;
            }
            written -= front.len();
            self.frames.pop_front();
        }
        self.tail.drain(..written);
        if self.bytes == 0 {
            // An idle connection holds no buffer.
            self.own = 0;
            self.tail = Vec::new();
            if self.frames.capacity() > KEPT_ELEMENTS {
                self.frames = VecDeque::new();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::Lengths;

    async fn written(out: &mut OutQueue<Lengths>) -> Vec<u8> {
        let mut all = Vec::new();
        while !out.is_empty() {
            std::future::poll_fn(|cx| out.poll_write(&mut all, cx))
                .await
                .unwrap();
        }
        all
    }

    #[tokio::test]
    async fn one_header_stands_before_a_list_of_shared_slices() {
        let large = Bytes::from(vec![7; COPIED_BYTES + 1]);
        let small = Bytes::from_static(b"small");
        let slices = [small.clone(), large.clone(), small.clone()];
        let mut out = OutQueue::new();
        out.push_shared(b"head", slices);
        out.push_message(&Message::whole(Bytes::from_static(b"next")));
        let message = [b"head", &small[..], &large, &small].concat();
        let len = (message.len() as u32).to_be_bytes();
        let expected = [&len[..], &message, &[0, 0, 0, 4], b"next"].concat();
        assert_eq!(out.bytes(), expected.len());
        assert_eq!(written(&mut out).await, expected);
    }

    #[tokio::test]
    async fn an_empty_queue_holds_no_buffer() {
        let mut out = OutQueue::new();
        for _ in 0..100 {
            out.push_message(&Message::whole(Bytes::from_static(b"an ack")));
            out.push(Bytes::from(vec![0; COPIED_BYTES + 1]));
        }
        written(&mut out).await;
        assert_eq!(out.tail.capacity(), 0);
        assert!(out.frames.capacity() <= KEPT_ELEMENTS);
    }
}
