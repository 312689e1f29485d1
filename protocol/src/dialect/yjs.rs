//! The y-websocket protocol (y-protocols 1.0, y-websocket 2 and 3), with the durable ack of y-sweet.
//!
//! ```text
//! message  = varUint type, then
//!   0 sync        0 Step1: varBytes state vector · 1 Step2: varBytes update · 2 Update: varBytes update
//!   1 awareness   varBytes of { varUint count, count × (varUint client, varUint clock, varString JSON) }
//!   2 auth        0, varString reason: permission denied (server to client)
//!   3 query       nothing: wants everyone's awareness
//!   102 ack       varBytes of { varUint n }
//! ```
//!
//! A session opens when its room is loaded: the server's own Step1 is the first message that goes
//! out, so a client that was away sends its edits before it believes itself in sync. From then on
//! the client's messages become commands, and the room's events messages. The rules that follow
//! from the clients' own code:
//!
//! - Bytes after the end of a message, and types nobody knows, are ignored, as y-websocket's
//!   servers do. An unknown *sync* message is refused: it may carry an edit.
//! - A malformed message is answered with its reason and ends the session with 4400; nothing of
//!   it reaches the room.
//! - The empty update `00 00`, which every client sends at its start, is not submitted.
//! - A client asks for an ack after its updates. It is echoed once, when everything the session
//!   submitted before it is settled, and never after one of its submissions was refused.
//! - Presence over a limit is dropped and said so; documents go on without it.
//! - A client leaves after 30 s without a message, however alive the socket, so there is one after
//!   15 s of silence; after 2 s while an ack is awaited, because y-sweet's client leaves after 3 s.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use percent_encoding::percent_decode_str;

use super::json::{self, NotJson};
use super::lib0::{self, Reader, put_var_bytes, put_var_uint, var_uint_len};
use super::{Command, Event, Message, Output, PresenceEntry, Refusal, Submission};
use crate::close::{self, CloseCode};
use crate::ids::{NameError, RoomName, Site};
use crate::limits::{
    MAX_PAYLOAD_BYTES, MAX_PENDING_ACKS, MAX_PRESENCE_CLOCK, MAX_PRESENCE_ENTRIES,
    MAX_PRESENCE_STATE_BYTES, MAX_REASON_BYTES,
};

/// How long a session is silent before it says something only to be heard.
pub const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// The same while an ack is awaited.
pub const KEEP_ALIVE_AWAITING_ACK: Duration = Duration::from_secs(2);
/// How often at most a session is told that something of it was refused.
pub const DENIAL_INTERVAL: Duration = Duration::from_secs(1);

/// One client's session of one room.
///
/// Feed it every message ([`Session::handle_message`]), every event of the room
/// ([`Session::handle_event`]), and the time when [`Session::poll_timeout`] says so; send what it
/// puts out, in order. Messages may arrive before the room has answered: their commands leave at
/// once, in order, and the room takes them when the session has joined.
#[derive(Debug)]
pub struct Session {
    phase: Phase,
    /// How many submissions have left for the room.
    submitted: u64,
    /// How many of them the room has settled.
    settled: u64,
    /// The first submission that was refused: what was asked to be acked from it on never is.
    refused: Option<u64>,
    /// Acks asked for and not yet owed, in order.
    acks: VecDeque<PendingAck>,
    last_sent: Instant,
    last_denied: Option<Instant>,
    /// Refusals that the client has not been told of.
    untold: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The room has not answered yet; nothing may be sent.
    Joining,
    Open,
    /// The connection is to be closed; nothing is listened to any more.
    Closed,
}

/// An ack owed when the first `after` submissions are settled.
#[derive(Debug, Clone, Copy)]
struct PendingAck {
    after: u64,
    n: u64,
}

impl Session {
    /// A session whose room has not answered yet.
    #[must_use]
    pub const fn new(now: Instant) -> Self {
        Self {
            phase: Phase::Joining,
            submitted: 0,
            settled: 0,
            refused: None,
            acks: VecDeque::new(),
            last_sent: now,
            last_denied: None,
            untold: 0,
        }
    }

    /// Takes one message from the client: the payload of one binary WebSocket message.
    ///
    /// A submission's payload is a slice of `message`. After [`Output::close`] was set, nothing
    /// more is taken.
    pub fn handle_message(&mut self, message: &Bytes, now: Instant, out: &mut Output) {
        if self.phase == Phase::Closed {
            return;
        }
        match Incoming::read(message) {
            Ok(Incoming::Step1(version)) => out.commands.push(Command::Sync {
                version: message.slice_ref(version),
            }),
            Ok(Incoming::Update(update)) => self.submit(message.slice_ref(update), now, out),
            Ok(Incoming::Awareness(entries)) if entries.is_empty() => {}
            Ok(Incoming::Awareness(entries)) => out.commands.push(Command::Presence(entries)),
            Ok(Incoming::QueryAwareness) => out.commands.push(Command::QueryPresence),
            Ok(Incoming::AckRequest(n)) => self.ack(n, now, out),
            Ok(Incoming::Ignored) => {}
            Err(Unacceptable::Presence(error)) => self.deny(&error.to_string(), now, out),
            Err(Unacceptable::Message(error)) => {
                self.deny_and_close(CloseCode::BadMessage, error.to_string(), now, out);
            }
        }
    }

    /// Takes what the room says.
    pub fn handle_event(&mut self, event: Event, now: Instant, out: &mut Output) {
        if self.phase == Phase::Closed {
            return;
        }
        match event {
            Event::Joined { version, role: _ } => {
                debug_assert_eq!(self.phase, Phase::Joining, "a session joins once");
                self.phase = Phase::Open;
                self.send(step1(&version), now, out);
                self.tell_untold(now, out);
                self.release_acks(now, out);
            }
            Event::State { payload, .. } => {
                debug_assert_eq!(
                    self.phase,
                    Phase::Open,
                    "the room answers after it has joined"
                );
                self.send(step2(payload), now, out);
            }
            Event::Settled { count } => {
                debug_assert!(
                    (self.settled..=self.submitted).contains(&count),
                    "what is settled was submitted, and stays settled"
                );
                self.settled = self.settled.max(count);
                if self.phase == Phase::Open {
                    self.release_acks(now, out);
                }
            }
            // Answers to what this dialect does not ask.
            Event::Entered { .. } | Event::Placed(_) => {}
            Event::Refused {
                submission,
                refusal,
            } => {
                let first = self
                    .refused
                    .map_or(submission, |first| first.min(submission));
                self.refused = Some(first);
                self.acks.retain(|ack| ack.after < first);
                match refusal.close_code() {
                    Some(code) => self.deny_and_close(code, refusal.to_string(), now, out),
                    None => self.deny(&refusal.to_string(), now, out),
                }
            }
            Event::Closed { code, reason } => {
                if code.is_permanent() {
                    self.deny_and_close(code, reason, now, out);
                } else {
                    self.close(code, reason, out);
                }
            }
        }
    }

    /// The transport sent the client something that this session did not put out: shared frames.
    pub const fn note_sent(&mut self, now: Instant) {
        self.last_sent = now;
    }

    /// When [`Session::handle_timeout`] wants to be called, if nothing happens before.
    ///
    /// It moves with everything that is sent: a transport may keep a timer for an earlier time and
    /// ask again when that fires.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let patience = if self.acks.is_empty() {
            KEEP_ALIVE
        } else {
            KEEP_ALIVE_AWAITING_ACK
        };
        (self.phase == Phase::Open).then(|| self.last_sent + patience)
    }

    /// Sends the keep-alive message when its time has come; harmless at any time.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut Output) {
        if self.poll_timeout().is_some_and(|at| at <= now) {
            if self.acks.is_empty() {
                // The session is idle: give back what a burst of acks took.
                self.acks = VecDeque::new();
            }
            self.send(keep_alive(), now, out);
        }
    }

    /// Whether so many acks are pending that the transport is to stop reading until the room has
    /// settled some. A message handed over all the same is taken.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.acks.len() >= MAX_PENDING_ACKS
    }

    /// How many submissions have left for the room: the number of the last one.
    #[must_use]
    pub const fn submitted(&self) -> u64 {
        self.submitted
    }

    /// Whether [`Output::close`] was set.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    fn submit(&mut self, payload: Bytes, now: Instant, out: &mut Output) {
        if payload == EMPTY_UPDATE {
            return;
        }
        if payload.len() > MAX_PAYLOAD_BYTES {
            let refusal = Refusal::TooLarge {
                what: "the update",
                bytes: payload.len(),
                limit: MAX_PAYLOAD_BYTES,
            };
            self.deny_and_close(CloseCode::TooLarge, refusal.to_string(), now, out);
            return;
        }
        self.submitted += 1;
        out.commands.push(Command::Submit(Submission {
            payload,
            op_id: None,
            base: None,
        }));
    }

    fn ack(&mut self, n: u64, now: Instant, out: &mut Output) {
        if self.refused.is_some() {
            // The ack never comes, and the client must not think the server dead for it.
            if self.phase == Phase::Open {
                self.send(keep_alive(), now, out);
            }
            return;
        }
        self.acks.push_back(PendingAck {
            after: self.submitted,
            n,
        });
        if self.phase == Phase::Open {
            self.release_acks(now, out);
        }
    }

    /// Echoes the acks whose submissions are all settled.
    fn release_acks(&mut self, now: Instant, out: &mut Output) {
        while let Some(ack) = self.acks.front().filter(|ack| ack.after <= self.settled) {
            self.send(Message::whole(ack_message(ack.n)), now, out);
            self.acks.pop_front();
        }
    }

    /// Tells the client that something was refused, at most once in [`DENIAL_INTERVAL`].
    fn deny(&mut self, reason: &str, now: Instant, out: &mut Output) {
        let soon = |last| now.saturating_duration_since(last) < DENIAL_INTERVAL;
        if self.phase == Phase::Joining || self.last_denied.is_some_and(soon) {
            self.untold = self.untold.saturating_add(1);
            return;
        }
        let message = match self.untold {
            0 => permission_denied(reason),
            n => permission_denied(&format!("{reason} ({n} more refused before)")),
        };
        self.last_denied = Some(now);
        self.untold = 0;
        self.send(Message::whole(message), now, out);
    }

    /// Says what was refused before the session could speak.
    fn tell_untold(&mut self, now: Instant, out: &mut Output) {
        if self.untold > 0 {
            let reason = format!("{} refused while joining", self.untold);
            self.untold = 0;
            self.deny(&reason, now, out);
        }
    }

    /// Ends the session for a reason that lies outside of it, and says which.
    pub fn end(&mut self, code: CloseCode, reason: String, now: Instant, out: &mut Output) {
        if self.phase != Phase::Closed {
            self.deny_and_close(code, reason, now, out);
        }
    }

    fn deny_and_close(&mut self, code: CloseCode, reason: String, now: Instant, out: &mut Output) {
        self.send(Message::whole(permission_denied(&reason)), now, out);
        self.close(code, reason, out);
    }

    fn close(&mut self, code: CloseCode, mut reason: String, out: &mut Output) {
        self.phase = Phase::Closed;
        self.acks = VecDeque::new();
        reason.truncate(close::bounded(&reason, close::MAX_CLOSE_REASON_BYTES).len());
        out.close = Some((code, reason));
    }

    fn send(&mut self, message: Message, now: Instant, out: &mut Output) {
        self.last_sent = now;
        out.messages.push(message);
    }
}

/// A message from the client, borrowed from its bytes.
#[derive(Debug, PartialEq, Eq)]
enum Incoming<'a> {
    Step1(&'a [u8]),
    /// Step2 or Update: to the log they are the same.
    Update(&'a [u8]),
    Awareness(Vec<PresenceEntry>),
    QueryAwareness,
    AckRequest(u64),
    /// Authentication, which only servers send, and types nobody knows.
    Ignored,
}

impl<'a> Incoming<'a> {
    fn read(message: &'a [u8]) -> Result<Self, Unacceptable> {
        let mut reader = Reader::new(message);
        Ok(match reader.var_uint()? {
            SYNC => match reader.var_uint()? {
                SYNC_STEP_1 => Self::Step1(reader.var_bytes()?),
                SYNC_STEP_2 | SYNC_UPDATE => Self::Update(reader.var_bytes()?),
                kind => return Err(MessageError::UnknownSync(kind).into()),
            },
            AWARENESS => Self::Awareness(read_awareness(reader.var_bytes()?)?),
            QUERY_AWARENESS => Self::QueryAwareness,
            ACK => {
                let mut body = Reader::new(reader.var_bytes()?);
                let n = body.var_uint()?;
                if !body.is_empty() {
                    return Err(MessageError::Ack.into());
                }
                Self::AckRequest(n)
            }
            _ => Self::Ignored,
        })
    }
}

fn read_awareness(body: &[u8]) -> Result<Vec<PresenceEntry>, Unacceptable> {
    let mut reader = Reader::new(body);
    let count = reader.var_uint()?;
    if count > MAX_PRESENCE_ENTRIES as u64 {
        return Err(Unacceptable::Presence(PresenceError::Entries(count)));
    }
    // The count is a claim until the entries have been read: nothing is set aside for it.
    let mut entries = Vec::new();
    for _ in 0..count {
        let site = Site::new(reader.var_uint()?);
        let clock = reader.var_uint()?;
        if clock > MAX_PRESENCE_CLOCK {
            return Err(Unacceptable::Presence(PresenceError::Clock(clock)));
        }
        let state = reader.var_string()?;
        if state.len() > MAX_PRESENCE_STATE_BYTES {
            return Err(Unacceptable::Presence(PresenceError::State(state.len())));
        }
        match json::check(state) {
            Ok(()) => {}
            Err(NotJson::Depth) => return Err(Unacceptable::Presence(PresenceError::Depth)),
            Err(error @ NotJson::Syntax) => return Err(MessageError::State(error).into()),
        }
        let present = state.trim_ascii() != "null";
        entries.push(PresenceEntry {
            site,
            clock,
            // Copied: a state lives long, and would keep the message it came in.
            state: present.then(|| Bytes::copy_from_slice(state.as_bytes())),
        });
    }
    Ok(entries)
}

/// Why a message is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unacceptable {
    /// It is malformed, and ends the session.
    Message(MessageError),
    /// It is over a limit of presence. The session goes on: honest clients repeat what others
    /// say, and a cursor is not worth a document.
    Presence(PresenceError),
}

impl<E: Into<MessageError>> From<E> for Unacceptable {
    fn from(error: E) -> Self {
        Self::Message(error.into())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum MessageError {
    #[error("the message is malformed: {0}")]
    Encoding(#[from] lib0::Malformed),
    #[error("the message is malformed: {0} is no kind of sync message")]
    UnknownSync(u64),
    #[error("the message is malformed: an ack request holds one number")]
    Ack,
    #[error("the message is malformed: {0}")]
    State(NotJson),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum PresenceError {
    #[error(
        "presence of {0} clients in one message is over the limit of {MAX_PRESENCE_ENTRIES}; it was dropped"
    )]
    Entries(u64),
    #[error(
        "a presence state of {0} bytes is over the limit of {MAX_PRESENCE_STATE_BYTES}; it was dropped"
    )]
    State(usize),
    #[error("a presence clock of {0} is over the limit of {MAX_PRESENCE_CLOCK}; it was dropped")]
    Clock(u64),
    #[error("{error}; it was dropped", error = NotJson::Depth)]
    Depth,
}

const SYNC: u64 = 0;
const AWARENESS: u64 = 1;
const AUTH: u64 = 2;
const QUERY_AWARENESS: u64 = 3;
const ACK: u64 = 102;

const SYNC_STEP_1: u64 = 0;
const SYNC_STEP_2: u64 = 1;
const SYNC_UPDATE: u64 = 2;

const AUTH_PERMISSION_DENIED: u64 = 0;

/// The Yjs update (version 1) of no structs and no deletions.
pub const EMPTY_UPDATE: &[u8] = &[0, 0];

/// Appends an update's message, `00 02 varBytes`: what every member of the room is sent for one
/// record.
pub fn encode_update(payload: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&[SYNC as u8, SYNC_UPDATE as u8]);
    put_var_bytes(out, payload);
}

/// How many bytes [`encode_update`] appends for a payload of this length.
#[must_use]
pub const fn update_len(payload_len: usize) -> usize {
    2 + var_uint_len(payload_len as u64) + payload_len
}

/// What stands before an update of this length in its message, for a payload too large to copy.
#[must_use]
pub fn update_head(payload_len: usize) -> Bytes {
    sync_head(SYNC_UPDATE, payload_len)
}

/// Appends the message of these presences; `None` says that a client has left.
///
/// Clients send back what they hear, and in one message too: above [`MAX_PRESENCE_ENTRIES`] that
/// echo is dropped, which loses nothing.
pub fn encode_presence<'a, I>(entries: I, out: &mut Vec<u8>)
where
    I: Iterator<Item = (Site, u64, Option<&'a [u8]>)> + Clone,
{
    let mut count = 0;
    let mut len = 0;
    for (site, clock, state) in entries.clone() {
        let state = state.unwrap_or(NULL);
        count += 1;
        len += var_uint_len(site.get()) + var_uint_len(clock);
        len += var_uint_len(state.len() as u64) + state.len();
    }
    len += var_uint_len(count);
    out.reserve(1 + var_uint_len(len as u64) + len);
    put_var_uint(out, AWARENESS);
    put_var_uint(out, len as u64);
    put_var_uint(out, count);
    for (site, clock, state) in entries {
        put_var_uint(out, site.get());
        put_var_uint(out, clock);
        put_var_bytes(out, state.unwrap_or(NULL));
    }
}

const _: () = assert!(MAX_PRESENCE_CLOCK < lib0::MAX_VAR_UINT);

const NULL: &[u8] = b"null";

/// The message that says why something was refused; y-websocket's clients log it.
///
/// The reason is cut to [`MAX_REASON_BYTES`].
#[must_use]
pub fn permission_denied(reason: &str) -> Bytes {
    let reason = close::bounded(reason, MAX_REASON_BYTES);
    let mut out = Vec::with_capacity(2 + var_uint_len(reason.len() as u64) + reason.len());
    put_var_uint(&mut out, AUTH);
    put_var_uint(&mut out, AUTH_PERMISSION_DENIED);
    put_var_bytes(&mut out, reason.as_bytes());
    out.into()
}

/// The message that only keeps the client from leaving: awareness of nobody, `01 01 00`.
#[must_use]
pub const fn keep_alive() -> Message {
    Message::whole(Bytes::from_static(&[AWARENESS as u8, 1, 0]))
}

fn step1(version: &[u8]) -> Message {
    let mut out = Vec::with_capacity(update_len(version.len()));
    put_var_uint(&mut out, SYNC);
    put_var_uint(&mut out, SYNC_STEP_1);
    put_var_bytes(&mut out, version);
    Message::whole(out.into())
}

fn step2(payload: Bytes) -> Message {
    Message {
        head: sync_head(SYNC_STEP_2, payload.len()),
        body: payload,
    }
}

fn sync_head(kind: u64, payload_len: usize) -> Bytes {
    let mut out = Vec::with_capacity(2 + var_uint_len(payload_len as u64));
    put_var_uint(&mut out, SYNC);
    put_var_uint(&mut out, kind);
    put_var_uint(&mut out, payload_len as u64);
    out.into()
}

fn ack_message(n: u64) -> Bytes {
    let mut out = Vec::with_capacity(2 + var_uint_len(n));
    put_var_uint(&mut out, ACK);
    put_var_uint(&mut out, var_uint_len(n) as u64);
    put_var_uint(&mut out, n);
    out.into()
}

/// The room that a y-websocket URL names: `raw` is everything after the mount and its `/`.
///
/// y-websocket's client puts the room's name into the URL as it is, and the browser escapes what a
/// URL cannot hold. So the name is everything up to the first `?`, percent-decoded once, with
/// every `/` in it. A `%` that is not followed by two hexadecimal digits stands for itself, as it
/// does in browsers (WHATWG URL, percent-decode); `+` is a plus.
///
/// # Errors
/// [`NameError::NotUtf8`] when the bytes are no UTF-8, and those of [`RoomName::new`].
pub fn room_from_path(space: &str, raw: &str) -> Result<RoomName, NameError> {
    let path = raw.split_once('?').map_or(raw, |(path, _)| path);
    let name = percent_decode_str(path)
        .decode_utf8()
        .map_err(|_| NameError::NotUtf8)?;
    RoomName::new(space, &name)
}

#[cfg(test)]
mod tests;
