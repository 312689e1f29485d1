//! One client's WebSocket connection: bytes between a socket, a dialect and a room.
//!
//! A hand-written future, because ten thousand of them are held: it owns no buffer while idle.
//! Every turn does the same steps, each as far as it goes without waiting:
//!
//! ```text
//!  room's events ─▶ dialect ─▶ out queue ─▶ socket       (write first: it frees what is held)
//!  room's feed and presence ─▶ out queue ─▶ socket       (taken only when there is space)
//!  socket ─▶ frames ─▶ dialect ─▶ room                   (read only when the room keeps up)
//! ```
//!
//! The out queue is bounded because the feed is read by cursor, not queued: what a slow client has
//! not read stays in the room's log, and the latest presence is taken when there is space for it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use broker::{Member, Update, Wire};
use bytes::{Buf, Bytes};
use protocol::CloseCode;
use protocol::dialect::{Message, Output, PresenceEntry, yjs};
use protocol::limits::MAX_MESSAGE_BYTES;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant as TokioInstant, Sleep};

use super::frame::{self, FrameError, FrameReader, Incoming};
use crate::limits::{
    CLOSE_TIME, DEAD_AFTER, PING_AFTER, READ_BYTES, READS_PER_TURN, UNREAD_BYTES,
    WRITE_AHEAD_BYTES, WRITE_STALL,
};

/// Updates as y-websocket messages in WebSocket frames.
const YJS: Wire = Wire {
    place: 0,
    encode: |stretch, out| {
        for Update { payload, .. } in stretch {
            frame::put_binary_header(yjs::update_len(payload.len()), out);
            yjs::encode_update(payload, out);
        }
    },
};

/// Presence as a y-websocket message in a WebSocket frame.
fn encode_presence(entries: &[PresenceEntry], out: &mut Vec<u8>) {
    let mut message = Vec::new();
    let entries = entries
        .iter()
        .map(|entry| (entry.site, entry.clock, entry.state.as_deref()));
    yjs::encode_presence(entries, &mut message);
    frame::put_binary_header(message.len(), out);
    out.extend_from_slice(&message);
}

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// A connection that carries one session of one room. Resolves when it is over, with the close
/// code that was sent or received, or 1006 if it broke.
pub struct Connection<S> {
    socket: S,
    frames: FrameReader,
    dialect: yjs::Session,
    member: Option<Member>,
    out: OutQueue,
    phase: Phase,
    heard: Instant,
    pinged: Instant,
    timer: Pin<Box<Sleep>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// A close frame is in the out queue; the peer is given until then to answer.
    Closing {
        code: u16,
        until: Instant,
    },
    Over(u16),
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// A connection whose handshake is done. `early` is what the client has sent already.
    pub fn new(socket: S, early: &[u8], member: Member, now: Instant) -> Self {
        let mut connection = Self::closed(socket, now);
        connection.member = Some(member);
        connection.phase = Phase::Open;
        if !early.is_empty() {
            connection.take_bytes(early, now);
        }
        connection
    }

    /// A connection that only says why it is not one: accepted, then closed, because a browser
    /// hides the reason of a refused handshake from its page.
    pub fn refused(socket: S, code: CloseCode, reason: &str, now: Instant) -> Self {
        let mut connection = Self::closed(socket, now);
        connection.phase = Phase::Open;
        if code.code() >= 4400 {
            let denied = Message::whole(yjs::permission_denied(reason));
            connection.out.push_message(&denied);
        }
        connection.close(code, reason, now);
        connection
    }

    fn closed(socket: S, now: Instant) -> Self {
        let timer = tokio::time::sleep_until(TokioInstant::from_std(now + PING_AFTER));
        Self {
            socket,
            frames: FrameReader::new(MAX_MESSAGE_BYTES),
            dialect: yjs::Session::new(now),
            member: None,
            out: OutQueue::default(),
            phase: Phase::Over(1006),
            heard: now,
            pinged: now,
            timer: Box::pin(timer),
        }
    }

    /// What the room has said, through the dialect.
    fn take_events(&mut self, now: Instant) {
        while let Some(event) = self.member.as_mut().and_then(Member::next_event) {
            let mut output = Output::default();
            self.dialect.handle_event(event, now, &mut output);
            self.apply(output, now);
        }
    }

    /// What the room has for everyone, while there is space. Gives whether there may be more.
    fn take_feed(&mut self) -> bool {
        let Some(member) = &mut self.member else {
            return false;
        };
        if self.phase != Phase::Open {
            return false;
        }
        // Without space nobody knows what the feed has: it is asked again once there is some.
        let mut more = true;
        let mut frames = std::mem::take(&mut self.out.spare);
        if self.out.bytes < WRITE_AHEAD_BYTES {
            frames.extend(member.take_presence(encode_presence));
            more = member.take_updates(YJS, WRITE_AHEAD_BYTES, &mut frames);
        }
        for frame in frames.drain(..) {
            self.out.push(frame);
        }
        if frames.capacity() <= 4 {
            self.out.spare = frames;
        }
        more
    }

    fn take_bytes(&mut self, bytes: &[u8], now: Instant) {
        self.heard = now;
        let mut incoming = Vec::new();
        let fault = self.frames.read(bytes, &mut incoming).err();
        let mut output = Output::default();
        for incoming in incoming {
            if self.phase != Phase::Open {
                if let (Incoming::Close(_), Phase::Closing { code, .. }) = (incoming, self.phase) {
                    self.phase = Phase::Over(code);
                }
                continue;
            }
            match incoming {
                Incoming::Binary(message) => {
                    self.dialect.handle_message(&message, now, &mut output);
                }
                Incoming::Text(_) => {
                    let reason = "only binary messages are spoken here";
                    let denied = yjs::permission_denied(reason);
                    output.messages.push(Message::whole(denied));
                    output.close = Some((CloseCode::BadMessage, reason.to_owned()));
                }
                Incoming::Ping(payload) => self.out.push(frame::pong(&payload)),
                Incoming::Pong => {}
                Incoming::Close(code) => {
                    self.apply(std::mem::take(&mut output), now);
                    self.goodbye(code, now);
                }
            }
            if output.close.is_some() {
                self.apply(std::mem::take(&mut output), now);
            }
        }
        self.apply(output, now);
        if let (Some(fault), Phase::Open) = (fault, self.phase) {
            let code = match fault {
                FrameError::TooBig { .. } => CloseCode::TooLarge,
                _ => CloseCode::ProtocolError,
            };
            if code == CloseCode::TooLarge {
                let denied = yjs::permission_denied(&fault.to_string());
                self.out.push_message(&Message::whole(denied));
            }
            self.close(code, &fault.to_string(), now);
        }
    }

    /// Does what the dialect says: commands to the room, messages to the client.
    fn apply(&mut self, output: Output, now: Instant) {
        for command in &output.commands {
            if let (protocol::dialect::Command::QueryPresence, Some(member)) =
                (command, &mut self.member)
            {
                member.forget_presence();
            }
        }
        if let Some(member) = &mut self.member {
            member.send(output.commands);
        }
        for message in &output.messages {
            self.out.push_message(message);
        }
        if let Some((code, reason)) = output.close {
            self.close(code, &reason, now);
        }
    }

    /// Ends the session from our side.
    fn close(&mut self, code: CloseCode, reason: &str, now: Instant) {
        if self.phase != Phase::Open {
            return;
        }
        if let Some(member) = self.member.take() {
            // The client hears why; whether it comes back is up to it. Presence has its grace.
            drop(member);
        }
        self.out.push(frame::close(code.code(), reason));
        self.phase = Phase::Closing {
            code: code.code(),
            until: now + CLOSE_TIME,
        };
    }

    /// The client ends the session.
    fn goodbye(&mut self, code: Option<u16>, now: Instant) {
        let code = code.unwrap_or(1005);
        if let Some(member) = self.member.take() {
            if matches!(code, 1000 | 1001 | 1005) {
                member.leave();
            } else {
                drop(member);
            }
        }
        // A close is answered with its own code; 1005 stands for none and is never sent.
        let answer = if code == 1005 { 1000 } else { code };
        self.out.push(frame::close(answer, ""));
        self.out.last = true;
        self.phase = Phase::Closing {
            code,
            until: now + CLOSE_TIME,
        };
    }

    /// Writes what there is. Ready when all of it is written, or the connection broke.
    fn poll_write(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<()> {
        while !self.out.is_empty() {
            match ready!(self.out.poll_write(&mut self.socket, cx)) {
                Ok(written) if written > 0 => {
                    observatory::written(written);
                    self.dialect.note_sent(now);
                    self.out.stalled = None;
                }
                _ => {
                    self.phase = Phase::Over(1006);
                    return Poll::Ready(());
                }
            }
        }
        if self.out.last
            && let Phase::Closing { code, .. } = self.phase
        {
            self.phase = Phase::Over(code);
        }
        Poll::Ready(())
    }

    /// Whether the room and the client keep up with what has been read.
    fn may_read(&mut self) -> bool {
        if self.phase != Phase::Open {
            // While closing, what comes is read and dropped, so that the close can arrive.
            return true;
        }
        let full = self.member.as_mut().is_some_and(Member::is_full);
        !full && !self.dialect.is_full() && self.out.bytes < UNREAD_BYTES
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
                match result {
                    Ok(()) if !filled.is_empty() => {
                        let whole = filled.len() == READ_BYTES;
                        // The scratch buffer is lent for this call only; a connection that
                        // begins inside it would find it taken, and none does.
                        self.take_bytes(filled, now);
                        Poll::Ready(Some(whole))
                    }
                    Ok(()) | Err(_) => Poll::Ready(None),
                }
            });
            match ready!(read) {
                Some(true) => {}
                // A short read has most likely emptied the socket; asking again would cost a
                // system call for each message. The next poll asks, and registers the waker.
                Some(false) => return Poll::Ready(()),
                None => {
                    self.phase = match self.phase {
                        Phase::Closing { code, .. } => Phase::Over(code),
                        Phase::Open | Phase::Over(_) => Phase::Over(1006),
                    };
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(())
    }

    /// What is due by the clock, and the next time to look.
    fn poll_timer(&mut self, cx: &mut Context<'_>, now: Instant) {
        if self.out.bytes >= UNREAD_BYTES {
            // It is not read from now, so its silence says nothing; the stall limit holds instead.
            self.heard = now;
        }
        loop {
            let mut next = match self.phase {
                Phase::Open => self.heard + DEAD_AFTER,
                Phase::Closing { until, .. } => until,
                Phase::Over(_) => return,
            };
            if next <= now {
                self.phase = match self.phase {
                    Phase::Closing { code, .. } => Phase::Over(code),
                    Phase::Open | Phase::Over(_) => Phase::Over(1006),
                };
                return;
            }
            if let Some(stalled) = self.out.stalled {
                if stalled + WRITE_STALL <= now {
                    self.phase = Phase::Over(1006);
                    return;
                }
                next = next.min(stalled + WRITE_STALL);
            }
            if self.phase == Phase::Open {
                let ping = self.heard.max(self.pinged) + PING_AFTER;
                if ping <= now {
                    self.pinged = now;
                    self.out.push(frame::ping());
                    continue;
                }
                next = next.min(ping);
                if let Some(timeout) = self.dialect.poll_timeout() {
                    if timeout <= now {
                        let mut output = Output::default();
                        self.dialect.handle_timeout(now, &mut output);
                        self.dialect.note_sent(now);
                        self.apply(output, now);
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
                return;
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Future for Connection<S> {
    type Output = u16;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<u16> {
        let this = &mut *self;
        let now = Instant::now();
        if let Some(member) = &this.member {
            member.register(cx.waker());
        }
        let mut turns = 0;
        loop {
            this.take_events(now);
            let more_feed = this.take_feed();
            let drained = this.poll_write(cx, now).is_ready();
            if !drained && this.out.stalled.is_none() {
                this.out.stalled = Some(now);
            }
            let more_input = this.poll_read(cx, now).is_ready();
            this.poll_timer(cx, now);
            if let Phase::Over(code) = this.phase {
                // Best effort: the peer is told that nothing more comes.
                let _ = Pin::new(&mut this.socket).poll_shutdown(cx);
                return Poll::Ready(code);
            }
            let more_output = drained && (more_feed || !this.out.is_empty());
            if !more_input && !more_output {
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

/// What waits to be written: shared frames, and bytes of this connection alone.
#[derive(Debug, Default)]
struct OutQueue {
    frames: VecDeque<Bytes>,
    /// What comes after `frames`: small messages end to end, so that many acks are one slice of
    /// one write.
    tail: Vec<u8>,
    /// Bytes in `frames` and `tail`.
    bytes: usize,
    /// Set when the socket took nothing more; cleared by the next byte it takes.
    stalled: Option<Instant>,
    /// After what is in here, the connection is over.
    last: bool,
    /// An empty list, kept for its memory.
    spare: Vec<Bytes>,
}

/// Up to this size a copy is cheaper than a slice of its own in a vectored write.
const COPIED_BYTES: usize = 512;

impl OutQueue {
    const fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Appends a frame.
    fn push(&mut self, frame: Bytes) {
        self.bytes += frame.len();
        if frame.len() <= COPIED_BYTES && !self.tail.is_empty() {
            self.tail.extend_from_slice(&frame);
        } else {
            self.flush_tail();
            self.frames.push_back(frame);
        }
    }

    /// Appends a dialect's message as one binary frame. A large shared body is not copied.
    fn push_message(&mut self, message: &Message) {
        let before = self.tail.len();
        frame::put_binary_header(message.len(), &mut self.tail);
        self.tail.extend_from_slice(&message.head);
        if message.body.len() <= COPIED_BYTES {
            self.tail.extend_from_slice(&message.body);
            self.bytes += self.tail.len() - before;
        } else {
            self.bytes += self.tail.len() - before + message.body.len();
            self.flush_tail();
            self.frames.push_back(message.body.clone());
        }
    }

    fn flush_tail(&mut self) {
        if !self.tail.is_empty() {
            self.frames.push_back(std::mem::take(&mut self.tail).into());
        }
    }

    fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        socket: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        const SLICES: usize = 32;
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
            self.tail = Vec::new();
            if self.frames.capacity() > 4 {
                self.frames = VecDeque::new();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use broker::{Broker, Limits, Snapshots};
    use protocol::dialect::{Command, Event};
    use protocol::{Role, RoomName, SessionId, Site};
    use replay::{History, Kind};
    use storage::memory::MemoryLog;

    use super::*;

    fn broker() -> Broker {
        let history = History::of_log(Arc::new(MemoryLog::new()), Kind::Yjs);
        Broker::new(history, Snapshots::none(), Limits::default())
    }

    fn join(broker: &Broker, session: u64) -> Member {
        let room = RoomName::parse("doc/x").unwrap();
        let session = SessionId::new(session);
        broker.join(&room, session, Role::Editor, None).unwrap()
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
        let mut connection = Connection::new(socket, &[], member, Instant::now());
        let state = format!("\"{}\"", "x".repeat(16_000));
        for clock in 1..=100 {
            let entry = PresenceEntry {
                site: Site::new(7),
                clock,
                state: Some(state.clone().into()),
            };
            writer.send(vec![Command::Presence(vec![entry])]);
            until(|| writer.take_presence(encode_presence)).await;
            assert!(futures_util::poll!(&mut connection).is_pending());
            let queued = connection.out.bytes;
            let most = WRITE_AHEAD_BYTES + state.len() + 1024;
            assert!(queued <= most, "{queued} bytes wait for the reader");
        }
        assert!(connection.out.bytes > state.len(), "it takes what it may");
    }
}
