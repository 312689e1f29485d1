//! What a connection carries: one client's conversation in a dialect, with the rooms it is in.
//!
//! A [`Talk`] is a dialect's state machine (`protocol::dialect`) and the [`broker::Member`]s that it
//! speaks for: one in the `yjs` dialect, as many as the client has joined in others. The connection
//! hands it messages and the time, and asks it for what the rooms have; it puts what is to be sent
//! into the connection's [`OutQueue`], which knows the framing. Nothing here waits.

pub(crate) mod mount;
pub mod well;
pub mod yjs;

use std::task::Waker;
use std::time::Instant;

use bytes::Bytes;
use protocol::CloseCode;
use protocol::dialect::Message;

use crate::connection::framing::Framing;
use crate::connection::out::OutQueue;

/// One client's conversation, over a connection framed by `F`.
///
/// Its end is said to the queue ([`OutQueue::close`]); the connection lets go of it then.
pub trait Talk<F: Framing>: Unpin {
    /// Wakes this task when a room may have something new. Called before looking.
    fn register(&mut self, waker: &Waker);

    /// Takes one message from the client. What it asks of rooms may wait for
    /// [`flush`](Talk::flush).
    fn handle_message(&mut self, message: &Bytes, now: Instant, out: &mut OutQueue<F>);

    /// Takes a datagram from the client, which holds one message. What it asks of rooms may wait for
    /// [`flush`](Talk::flush). Only dialects that speak on datagrams know any.
    fn handle_datagram(&mut self, _datagram: &Bytes, _now: Instant) {}

    /// A datagram for the client, of no more than `max_bytes`. Called on transports that have them,
    /// until there is none, before [`take_feed`](Talk::take_feed).
    fn take_datagram(&mut self, _max_bytes: usize, _now: Instant) -> Option<Bytes> {
        None
    }

    /// The messages of one read are over: what was gathered from them goes to the rooms.
    fn flush(&mut self, now: Instant, out: &mut OutQueue<F>);

    /// Takes what the rooms have said to this session.
    fn take_events(&mut self, now: Instant, out: &mut OutQueue<F>);

    /// Takes what the rooms have for everyone, updates and presence, and stops after about
    /// `max_bytes`. With more than one room each has its turn: where one call stopped, the next one
    /// goes on. Gives whether there may be more.
    fn take_feed(&mut self, max_bytes: usize, out: &mut OutQueue<F>) -> bool;

    /// Whether the connection should stop reading for now: rooms have not settled enough of what
    /// came before. The task is woken when that changes.
    fn is_full(&mut self) -> bool;

    /// Something was written to the client.
    fn note_sent(&mut self, now: Instant);

    /// Everything that has been put into the queue is with the transport.
    fn note_drained(&mut self);

    /// When [`handle_timeout`](Talk::handle_timeout) wants to be called, if nothing happens before.
    fn poll_timeout(&self) -> Option<Instant>;

    /// The time has come; harmless at any time. What was due by `now` is not due any more after it.
    fn handle_timeout(&mut self, now: Instant, out: &mut OutQueue<F>);

    /// The client has said goodbye. Dropping a talk leaves its rooms as if the connection broke.
    fn leave(self);

    /// What the dialect says to a client whose connection the server closes for a reason that lies
    /// outside the dialect.
    fn farewell(code: CloseCode, reason: &str) -> Option<Message>;
}
