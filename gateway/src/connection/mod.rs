//! One client's connection: bytes between a transport, a dialect and its rooms.
//!
//! Three things meet here and know nothing of each other: a transport, which is anything that reads
//! and writes bytes; a [`Framing`], which finds the messages in them; and a [`Talk`], which is a
//! dialect with the rooms that its client is in. Every combination is one connection, compiled for
//! itself.
//!
//! A hand-written future, because ten thousand of them are held: it owns no buffer while idle.
//! Every turn does the same steps, each as far as it goes without waiting:
//!
//! ```text
//!  rooms' events ─▶ talk ─▶ out queue ─▶ transport       (write first: it frees what is held)
//!  rooms' feeds and presence ─▶ out queue ─▶ transport   (taken only when there is space)
//!  transport ─▶ framing ─▶ talk ─▶ rooms                 (read only when the rooms keep up)
//!  datagrams ◀─▶ talk                                    (where the transport has them)
//! ```
//!
//! The out queue is bounded because feeds are read by cursor, not queued: what a slow client has
//! not read stays in the rooms' logs, and the latest presence is taken when there is space for it.

pub mod framing;
pub mod out;
pub mod transport;

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use broker::{Memory, memory};
use memory::Share;
use observatory::{Limit, Owner};
use protocol::CloseCode;
use protocol::limits::MAX_MESSAGE_BYTES;
use tokio::io::ReadBuf;
use tokio::time::{Instant as TokioInstant, Sleep};

use crate::limits::{
    CLOSE_TIME, COUNTED_BYTES, DATAGRAMS_PER_TURN, DEAD_AFTER, MAX_IGNORED_BYTES, PING_AFTER,
    READ_BYTES, READS_PER_TURN, UNREAD_BYTES, WRITE_AHEAD_BYTES, WRITE_STALL,
};
use crate::talk::Talk;
use framing::{Framing, Incoming};
use out::OutQueue;
use transport::Transport;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// A connection that carries one client's talk. Resolves when it is over, and everything that was
/// to be said has been written if the peer took it.
pub struct Connection<S, F, T> {
    socket: S,
    framing: F,
    /// There until the connection closes.
    talk: Option<T>,
    out: OutQueue<F>,
    phase: Phase,
    /// Why it closes, for a transport that says it itself.
    reason: String,
    /// What it holds that is its own; nothing for one that only says why it is none.
    held: Option<Share>,
    heard: Instant,
    pinged: Instant,
    timer: Pin<Box<Sleep>>,
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The close code that was sent or received, or 1006 if the connection broke.
    pub code: u16,
    /// Why, where this side closed it.
    pub reason: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// What is said of the end is in the out queue.
    Closing {
        code: u16,
        /// Whether the peer knows or is to answer nothing: once all is written, that was it.
        last: bool,
        /// For how long the peer is waited for.
        until: Instant,
    },
    Over(u16),
}

impl<S, F, T> Connection<S, F, T>
where
    S: Transport,
    F: Framing,
    T: Talk<F>,
{
    /// A connection whose handshake is done. `early` is what the client has sent already; what it makes
    /// the connection hold counts to `memory`.
    pub fn new(socket: S, early: &[u8], talk: T, memory: &Memory, now: Instant) -> Self {
        let mut connection = Self::silent(socket, now);
        connection.talk = Some(talk);
        connection.held = Some(memory.share(Owner::Connections));
        if !early.is_empty() {
            connection.take_bytes(early, now);
        }
        connection
    }

    /// A connection that only says why it is not one: accepted, then closed, because a browser
    /// hides the reason of a refused handshake from its page.
    pub fn refused(socket: S, code: CloseCode, reason: &str, now: Instant) -> Self {
        let mut connection = Self::silent(socket, now);
        connection.refuse(code, reason.to_owned(), now);
        connection
    }

    fn silent(socket: S, now: Instant) -> Self {
        let timer = tokio::time::sleep_until(TokioInstant::from_std(now + PING_AFTER));
        Self {
            socket,
            framing: F::new(MAX_MESSAGE_BYTES),
            talk: None,
            out: OutQueue::new(),
            phase: Phase::Open,
            reason: String::new(),
            held: None,
            heard: now,
            pinged: now,
            timer: Box::pin(timer),
        }
    }

    /// Lets the talk do something, and ends the connection if that is what it says.
    fn with_talk(&mut self, now: Instant, act: impl FnOnce(&mut T, &mut OutQueue<F>)) {
        if let Some(talk) = &mut self.talk {
            act(talk, &mut self.out);
            if let Some((code, reason)) = self.out.closing.take() {
                self.close(code, reason, now);
            }
        }
    }

    /// What the rooms have for everyone, while there is space. Gives whether there may be more.
    fn take_feed(&mut self) -> bool {
        let Some(talk) = &mut self.talk else {
            return false;
        };
        // Without space nobody knows what the feeds have: they are asked again once there is some.
        self.out.bytes() >= WRITE_AHEAD_BYTES || talk.take_feed(WRITE_AHEAD_BYTES, &mut self.out)
    }

    fn take_bytes(&mut self, bytes: &[u8], now: Instant) {
        self.heard = now;
        let mut incoming = Vec::new();
        let fault = self.framing.take(bytes, &mut incoming).err();
        for incoming in incoming {
            match (incoming, self.phase) {
                (Incoming::Close(_), Phase::Closing { code, .. }) => {
                    self.phase = Phase::Over(code);
                }
                (_, Phase::Closing { .. } | Phase::Over(_)) => {}
                (Incoming::Binary(message), Phase::Open) => {
                    self.with_talk(now, |talk, out| talk.handle_message(&message, now, out));
                }
                (Incoming::Text(_), Phase::Open) => {
                    self.with_talk(now, |talk, out| talk.flush(now, out));
                    let reason = "only binary messages are spoken here".to_owned();
                    self.refuse(CloseCode::BadMessage, reason, now);
                }
                (Incoming::Ping(payload), Phase::Open) => {
                    if let Some(pong) = F::pong(&payload) {
                        self.out.push(pong);
                    }
                }
                (Incoming::Pong, Phase::Open) => {}
                (Incoming::Close(code), Phase::Open) => {
                    self.with_talk(now, |talk, out| talk.flush(now, out));
                    self.goodbye(code, now);
                }
            }
        }
        self.with_talk(now, |talk, out| talk.flush(now, out));
        if let Some(fault) = fault {
            self.refuse(fault.code, fault.reason, now);
        }
        self.count(now);
    }

    /// Counts what it holds. A message is not waited for that is not whole and finds no memory, or that
    /// nobody is there for.
    fn count(&mut self, now: Instant) {
        let partial = self.framing.held() / COUNTED_BYTES * COUNTED_BYTES;
        let out = self.out.own_bytes() / COUNTED_BYTES * COUNTED_BYTES;
        if let Some(held) = &self.held
            && held.bytes() != partial + out
        {
            let grows = held.bytes() < partial + out;
            held.set(partial + out);
            if grows && partial > 0 && held.is_of_full() {
                observatory::limit_hit(Limit::Memory);
                self.refuse(CloseCode::TryLater, memory::FULL.to_owned(), now);
            }
        }
        if self.talk.is_none() && self.framing.held() > MAX_IGNORED_BYTES {
            // The peer's close may be missed with it, and is not waited for for long.
            self.framing = F::new(MAX_MESSAGE_BYTES);
        }
    }

    /// Ends the talk from outside of it, in its own words too.
    fn refuse(&mut self, code: CloseCode, reason: String, now: Instant) {
        if self.phase == Phase::Open
            && let Some(farewell) = T::farewell(code, &reason)
        {
            self.out.push_message(&farewell);
        }
        self.close(code, reason, now);
    }

    /// Ends the connection from our side.
    fn close(&mut self, code: CloseCode, reason: String, now: Instant) {
        if self.phase != Phase::Open {
            return;
        }
        // The client hears why; whether it comes back is up to it. Presence has its grace.
        self.talk = None;
        let code = code.code();
        let frame = F::close(code, &reason);
        self.reason = reason;
        self.phase = Phase::Closing {
            code,
            last: frame.is_none(),
            until: now + CLOSE_TIME,
        };
        if let Some(frame) = frame {
            self.out.push(frame);
        }
    }

    /// The client ends the connection.
    fn goodbye(&mut self, code: Option<u16>, now: Instant) {
        if self.phase != Phase::Open {
            return;
        }
        let code = code.unwrap_or(1005);
        if let Some(talk) = self.talk.take()
            && matches!(code, 1000 | 1001 | 1005)
        {
            talk.leave();
        }
        // A close is answered with its own code; 1005 stands for none and is never sent.
        let answer = if code == 1005 { 1000 } else { code };
        if let Some(frame) = F::close(answer, "") {
            self.out.push(frame);
        }
        self.phase = Phase::Closing {
            code,
            last: true,
            until: now + CLOSE_TIME,
        };
    }

    /// The connection broke, or has waited for long enough.
    fn give_up(&mut self) {
        self.phase = match self.phase {
            Phase::Closing { code, .. } | Phase::Over(code) => Phase::Over(code),
            Phase::Open => Phase::Over(1006),
        };
    }

    /// Writes what there is. Ready when all of it is written, or the connection broke.
    fn poll_write(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<()> {
        while !self.out.is_empty() {
            match ready!(self.out.poll_write(&mut self.socket, cx)) {
                Ok(written) if written > 0 => {
                    observatory::written(written);
                    self.out.stalled = None;
                    if let Some(talk) = &mut self.talk {
                        talk.note_sent(now);
                    }
                }
                _ => {
                    self.phase = Phase::Over(1006);
                    return Poll::Ready(());
                }
            }
        }
        if S::BUFFERS && Pin::new(&mut self.socket).poll_flush(cx).is_pending() {
            return Poll::Pending;
        }
        if let Phase::Closing {
            code, last: true, ..
        } = self.phase
        {
            // Nothing more comes; a transport that can tell waits until its peer has it all.
            let _ = ready!(Pin::new(&mut self.socket).poll_shutdown(cx));
            self.phase = Phase::Over(code);
        }
        Poll::Ready(())
    }

    /// Takes datagrams from the client and hands out those for it. Gives whether there may be more.
    fn poll_datagrams(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let mut more = true;
        for _ in 0..DATAGRAMS_PER_TURN {
            // Those that are not taken are the transport's, which drops the oldest of too many.
            if self.phase != Phase::Open || !self.may_read() {
                more = false;
                break;
            }
            let Poll::Ready(datagram) = self.socket.poll_datagram(cx) else {
                more = false;
                break;
            };
            self.with_talk(now, |talk, _| talk.handle_datagram(&datagram, now));
        }
        self.with_talk(now, |talk, out| talk.flush(now, out));
        if let Some(talk) = &mut self.talk {
            while let Some(datagram) = talk.take_datagram(self.socket.datagram_space(), now) {
                observatory::written(datagram.len());
                self.socket.send_datagram(datagram);
            }
        }
        more
    }

    /// Whether the rooms and the client keep up with what has been read.
    fn may_read(&mut self) -> bool {
        // While closing, what comes is read and dropped, so that the close can arrive.
        let out = self.out.bytes();
        self.talk
            .as_mut()
            .is_none_or(|talk| out < UNREAD_BYTES && !talk.is_full())
    }

    /// Reads a few times. Gives whether there may be more at once.
    fn poll_read(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<()> {
        for _ in 0..READS_PER_TURN {
            if matches!(self.phase, Phase::Over(_)) || !self.may_read() {
                return Poll::Pending;
            }
            let read = SCRATCH.with_borrow_mut(|scratch| {
                let mut buffer = ReadBuf::new(scratch);
                let result = ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buffer));
                let filled = buffer.filled();
                Poll::Ready(match result {
                    Ok(()) if !filled.is_empty() => {
                        let whole = filled.len() == READ_BYTES;
                        // The scratch buffer is lent for this call only; a connection that
                        // begins inside it would find it taken, and none does.
                        self.take_bytes(filled, now);
                        Read::Some { whole }
                    }
                    Ok(()) => Read::End,
                    Err(_) => Read::Broken,
                })
            });
            match ready!(read) {
                Read::Some { whole: true } => {}
                // A short read has most likely emptied the socket; asking again would cost a
                // system call for each message. The next poll asks, and registers the waker.
                Read::Some { whole: false } => return Poll::Ready(()),
                Read::End if F::END_IS_GOODBYE && self.phase == Phase::Open => {
                    self.goodbye(None, now);
                    return Poll::Ready(());
                }
                // What is left to be said is still written: the peer may be reading.
                Read::End if F::END_IS_GOODBYE => return Poll::Pending,
                Read::End | Read::Broken => {
                    self.give_up();
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(())
    }

    /// What is due by the clock, and the next time to look. Gives whether something was due: the talk
    /// may want to be read again.
    fn poll_timer(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let mut due = false;
        if self.out.bytes() >= UNREAD_BYTES {
            // It is not read from now, so its silence says nothing; the stall limit holds instead.
            self.heard = now;
        }
        loop {
            let mut next = match self.phase {
                Phase::Open => self.heard + DEAD_AFTER,
                Phase::Closing { until, .. } => until,
                Phase::Over(_) => return due,
            };
            if next <= now {
                self.give_up();
                return due;
            }
            if let Some(stalled) = self.out.stalled {
                if stalled + WRITE_STALL <= now {
                    self.phase = Phase::Over(1006);
                    return due;
                }
                next = next.min(stalled + WRITE_STALL);
            }
            if self.phase == Phase::Open {
                let ping = self.heard.max(self.pinged) + PING_AFTER;
                if ping <= now {
                    self.pinged = now;
                    match F::ping() {
                        Some(ping) => self.out.push(ping),
                        // The transport knows whether its peer lives.
                        None => self.heard = now,
                    }
                    continue;
                }
                next = next.min(ping);
                if let Some(timeout) = self.talk.as_ref().and_then(Talk::poll_timeout) {
                    if timeout <= now {
                        self.with_talk(now, |talk, out| talk.handle_timeout(now, out));
                        let again = self.talk.as_ref().and_then(Talk::poll_timeout);
                        debug_assert!(again.is_none_or(|again| again > now), "it would never end");
                        due = true;
                        continue;
                    }
                    next = next.min(timeout);
                }
            }
            // The timer is only moved forward when it fires, or back when something is due
            // earlier: a busy connection does not touch it for each message.
            let armed = self.timer.deadline().into_std();
            if next < armed || armed <= now {
                self.timer.as_mut().reset(TokioInstant::from_std(next));
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return due;
            }
        }
    }
}

/// What one read gave.
enum Read {
    /// Bytes, and whether they filled the buffer.
    Some {
        whole: bool,
    },
    End,
    Broken,
}

impl<S, F, T> Future for Connection<S, F, T>
where
    S: Transport,
    F: Framing,
    T: Talk<F>,
{
    type Output = Ended;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ended> {
        let this = &mut *self;
        let now = Instant::now();
        if let Some(talk) = &mut this.talk {
            talk.register(cx.waker());
        }
        let mut turns = 0;
        loop {
            this.with_talk(now, |talk, out| talk.take_events(now, out));
            // Before the feeds: what fits no datagram is among what they give.
            let more_datagrams = S::DATAGRAMS && this.poll_datagrams(cx, now);
            let more_feed = this.take_feed();
            let drained = this.poll_write(cx, now).is_ready();
            this.count(now);
            if drained && let Some(talk) = &mut this.talk {
                talk.note_drained();
            }
            if !this.out.is_empty() && !drained && this.out.stalled.is_none() {
                this.out.stalled = Some(now);
            }
            let more_input = this.poll_read(cx, now).is_ready();
            let due = this.poll_timer(cx, now);
            if let Phase::Over(code) = this.phase {
                // Best effort: the peer is told that nothing more comes.
                let _ = Pin::new(&mut this.socket).poll_shutdown(cx);
                let reason = std::mem::take(&mut this.reason);
                return Poll::Ready(Ended { code, reason });
            }
            let more_output = drained && (more_feed || !this.out.is_empty());
            if !more_input && !more_output && !more_datagrams && !due {
                return Poll::Pending;
            }
            turns += 1;
            if turns == 8 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::sync::Arc;

    use broker::{Broker, Limits, Member, Snapshots};
    use bytes::Bytes;
    use protocol::dialect::{Command, Event, PresenceEntry};
    use protocol::{Role, RoomName, SessionId, Site};
    use replay::{History, Kind};
    use std::io;
    use storage::memory::MemoryLog;

    use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
    use tokio::task::JoinHandle;

    use super::*;
    use crate::admission::Admission;
    use crate::quota::SpaceLimits;
    use crate::stream::Lengths;
    use crate::talk::yjs::{Yjs, encode_presence};
    use crate::websocket::frame::Frames;

    fn broker() -> Broker {
        let history = History::of_log(Arc::new(MemoryLog::new()), Kind::Yjs);
        Broker::new(history, Snapshots::none(), Limits::default())
    }

    fn join(broker: &Broker, session: u64) -> Member {
        let room = RoomName::parse("doc/x").unwrap();
        let session = SessionId::new(session);
        let via = broker::Via {
            dialect: observatory::Dialect::Yjs,
            transport: observatory::Transport::WebSocket,
            parent: None,
        };
        broker
            .join(&room, session, Role::Editor, None, via, None)
            .unwrap()
    }

    async fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
        loop {
            if let Some(found) = look() {
                return found;
            }
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn presence_waits_for_a_slow_reader_without_being_queued() {
        let broker = broker();
        let mut writer = join(&broker, 1);
        let joined = |event| matches!(event, Event::Joined { .. }).then_some(());
        until(|| writer.next_event().and_then(joined)).await;
        let (socket, _never_read) = tokio::io::duplex(1);
        let member = join(&broker, 2);
        let talk = Yjs::new(member, Admission::of_tests(), Instant::now());
        let mut connection = Connection::<_, Frames, _>::new(
            socket,
            &[],
            talk,
            &Memory::new(usize::MAX),
            Instant::now(),
        );
        let state = format!("\"{}\"", "x".repeat(16_000));
        for clock in 1..=100 {
            let entry = PresenceEntry {
                site: Site::new(7),
                clock,
                state: Some(state.clone().into()),
            };
            writer.send(vec![Command::Presence(vec![entry])]);
            until(|| writer.take_presence(encode_presence::<Frames>)).await;
            assert!(futures_util::poll!(&mut connection).is_pending());
            let queued = connection.out.bytes();
            let most = WRITE_AHEAD_BYTES + state.len() + 1024;
            assert!(queued <= most, "{queued} bytes wait for the reader");
        }
        assert!(connection.out.bytes() > state.len(), "it takes what it may");
    }
    /// The next message on a stream.
    async fn message(stream: &mut DuplexStream) -> Vec<u8> {
        let len = stream.read_u32().await.unwrap();
        let mut message = vec![0; len as usize];
        stream.read_exact(&mut message).await.unwrap();
        message
    }

    fn on_a_stream(broker: &Broker, session: u64) -> (DuplexStream, JoinHandle<Ended>) {
        let (client, server) = tokio::io::duplex(4096);
        let now = Instant::now();
        let talk = Yjs::new(join(broker, session), Admission::of_tests(), now);
        let connection =
            Connection::<_, Lengths, _>::new(server, &[], talk, &Memory::new(usize::MAX), now);
        (client, tokio::spawn(connection))
    }

    /// Yjs's own encoding of a map entry, of client 1.
    const UPDATE: &[u8] = &[1, 1, 1, 0, 40, 1, 1, b'm', 1, b'k', 1, 119, 1, b'v', 0];

    #[tokio::test(flavor = "multi_thread")]
    async fn the_yjs_dialect_on_a_stream() {
        let broker = broker();
        let (mut writer, writing) = on_a_stream(&broker, 1);
        let (mut reader, reading) = on_a_stream(&broker, 2);
        assert_eq!(
            message(&mut writer).await,
            [0, 0, 1, 0],
            "step 1 of an empty room"
        );
        assert_eq!(message(&mut reader).await, [0, 0, 1, 0]);
        let update = [&[0, 2, UPDATE.len() as u8][..], UPDATE].concat();
        let mut bytes = Vec::new();
        for message in [&update[..], &[102, 1, 7]] {
            Lengths::put_header(message.len(), &mut bytes);
            bytes.extend_from_slice(message);
        }
        writer.write_all(&bytes).await.unwrap();
        assert_eq!(message(&mut writer).await, [102, 1, 7], "durable");
        assert_eq!(message(&mut reader).await, update);
        writer.shutdown().await.unwrap();
        assert_eq!(writing.await.unwrap().code, 1005, "the end is a goodbye");
        reader.write_u32(u32::MAX).await.unwrap();
        let denied = message(&mut reader).await;
        assert_eq!(denied[..2], [2, 0], "it hears why");
        let ended = reading.await.unwrap();
        assert_eq!(ended.code, CloseCode::TooLarge.code());
        assert!(ended.reason.contains("at most"), "{}", ended.reason);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_message_that_is_not_whole_is_counted_and_finds_an_end() {
        let broker = broker();
        let memory = Memory::new(200_000);
        let (mut client, server) = tokio::io::duplex(4096);
        let now = Instant::now();
        let talk = Yjs::new(join(&broker, 1), Admission::of_tests(), now);
        let connection = Connection::<_, Lengths, _>::new(server, &[], talk, &memory, now);
        let connection = tokio::spawn(connection);
        assert_eq!(message(&mut client).await, [0, 0, 1, 0]);
        client.write_u32(1_000_000).await.unwrap();
        client.write_all(&[0; 100_000]).await.unwrap();
        until(|| (memory.taken() >= 90_000).then_some(())).await;
        // What is not taken any more is not written.
        let (mut ears, mut mouth) = tokio::io::split(client);
        let writing = tokio::spawn(async move { mouth.write_all(&[0; 899_999]).await });
        let mut said = Vec::new();
        ears.read_to_end(&mut said).await.unwrap();
        // What the session is closed with says why.
        let ended = connection.await.unwrap();
        assert_eq!(ended.code, CloseCode::TryLater.code(), "{said:?}");
        assert_eq!(ended.reason, memory::FULL);
        assert_eq!(memory.taken(), 0);
        let _ = writing.await;
    }

    /// Who is slowed and does not read either has two reasons not to be read from; the first ends with time,
    /// and must not be due for ever because of the second.
    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_due_is_not_due_after_it() {
        let broker = broker();
        let now = Instant::now();
        let limits = SpaceLimits {
            bytes_per_minute: NonZeroU32::new(60_000),
            ..SpaceLimits::NONE
        };
        let admission = Admission {
            limits,
            ..Admission::of_tests()
        };
        let mut talk = Yjs::new(join(&broker, 1), admission, now);
        let update = Bytes::from([&[0, 2, 0x88, 0xd6, 0x03][..], &[0; 60_168]].concat());
        let mut out = OutQueue::<Lengths>::new();
        talk.handle_message(&update, now, &mut out);
        talk.flush(now, &mut out);
        let due = |talk: &Yjs| Talk::<Lengths>::poll_timeout(talk);
        let at = due(&talk).expect("it is slowed");
        assert!(at < now + PING_AFTER, "{:?}", at - now);
        talk.handle_timeout(at, &mut out);
        assert!(
            due(&talk).is_none_or(|next| next > at),
            "it is due for ever"
        );
    }

    /// A transport that keeps what is written until it is flushed, as TLS does when its socket is full.
    struct Keeping {
        inner: DuplexStream,
        kept: Vec<u8>,
    }

    impl Transport for Keeping {
        const BUFFERS: bool = true;
    }

    impl AsyncRead for Keeping {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.inner).poll_read(cx, buffer)
        }
    }

    impl AsyncWrite for Keeping {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _cx: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.kept.extend_from_slice(bytes);
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            let this = &mut *self;
            while !this.kept.is_empty() {
                let written = ready!(Pin::new(&mut this.inner).poll_write(cx, &this.kept))?;
                this.kept.drain(..written);
            }
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.inner).poll_shutdown(cx)
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_a_transport_keeps_is_flushed() {
        let broker = broker();
        // Narrower than what is said, so that a flush has to go on when its peer has read.
        let (mut client, inner) = tokio::io::duplex(3);
        let now = Instant::now();
        let talk = Yjs::new(join(&broker, 1), Admission::of_tests(), now);
        let kept = Vec::new();
        let socket = Keeping { inner, kept };
        let connection = tokio::spawn(Connection::<_, Lengths, _>::new(
            socket,
            &[],
            talk,
            &Memory::new(usize::MAX),
            now,
        ));
        let first = tokio::time::timeout(PING_AFTER / 2, message(&mut client)).await;
        assert_eq!(first.expect("it is flushed"), [0, 0, 1, 0]);
        connection.abort();
    }
}
