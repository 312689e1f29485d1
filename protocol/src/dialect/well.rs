//! The Well's own protocol, `well`: many rooms on one connection, operations that enter the log
//! once, resuming by Seq.
//!
//! `protocol/proto/well/v1/well.proto` is the schema and says what each message means. [`Session`] is
//! the server's side of one connection. It knows the rooms by the numbers it has given them, turns
//! messages into [`Action`]s and what rooms say into messages; whoever holds it joins rooms and
//! carries bytes.
//!
//! ```text
//!  Hello ─▶ Welcome
//!  Join ─▶ Action::Join, Enter ─▶ Event::Entered ─▶ Joined
//!  Submit ─▶ Submissions, one for each payload ─▶ Event::Placed, Event::Settled ─▶ Ack
//! ```

mod frames;
mod read;
#[cfg(test)]
mod tests;
/// The schema's messages, as prost makes them.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
#[rustfmt::skip]
pub mod wire;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

pub use frames::{presence_head, put_presence, put_span, records_head};

use self::frames::Missing;
use self::read::{Incoming, Submit};
use self::wire::RejectCode;
use self::wire::server_message::Message as Server;
use super::json::{self, NotJson};
use super::{Command, Content, Event, Message, Placed, PresenceEntry, Refusal, Since, Submission};
use crate::close::{self, CloseCode};
use crate::ids::{ClientId, OpId, RoomName, Seq, Site, Timestamp};
use crate::limits::{
    MAX_CLIENT_NAME_BYTES, MAX_MESSAGE_BYTES, MAX_PAYLOAD_BYTES, MAX_PRESENCE_CLOCK,
    MAX_PRESENCE_ENTRIES, MAX_PRESENCE_STATE_BYTES, MAX_REASON_BYTES, MAX_VERSION_BYTES,
    WINDOW_BYTES, WINDOW_OPERATIONS,
};
use crate::role::Role;

/// The version that is spoken.
pub const VERSION: u32 = 1;

/// How long a client may take to say Hello, unless its server says otherwise.
pub const HELLO_TIME: Duration = Duration::from_secs(5);

/// After so long without a message either side sends a Ping.
pub const HEARTBEAT: Duration = Duration::from_secs(15);

/// What a server says of itself.
#[derive(Debug, Clone)]
pub struct Terms {
    /// The connection's id.
    pub session: u64,
    /// What an acked update survives.
    pub durability: &'static str,
    /// How long the client may take to say Hello; then it is closed with 4408.
    pub hello_time: Duration,
    /// The most rooms that it may be in.
    pub rooms: usize,
}

/// What is to be done beside sending messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Join this room under this number; if that fails, [`Session::refuse_join`].
    Join {
        /// The number.
        number: u32,
        /// The room.
        room: RoomName,
        /// The document kind's code that the client expects, if it said so.
        kind: Option<u8>,
        /// What it wants to be.
        role: Role,
    },
    /// For the room with this number.
    Command(u32, Command),
    /// Leave this room; with a goodbye, or as if the connection broke.
    Leave {
        /// The number.
        number: u32,
        /// Whether the client said so.
        clean: bool,
    },
    /// The client's token. If it is not believed, [`Session::end`]; what waits to be sent then is not
    /// for this client.
    Authenticate(String),
    /// Whose work the client's is part of, as it says: W3C Trace Context's `traceparent`.
    Trace(String),
    /// Replace the connection that has this key, and be the one that has it.
    Resume([u8; 16]),
    /// A Ping was answered after so long.
    RoundTrip(Duration),
}

/// What a session wants done, in order.
#[derive(Debug, Default)]
pub struct Output {
    /// For whoever holds the session.
    pub actions: Vec<Action>,
    /// For the client.
    pub messages: Vec<Message>,
    /// Ends the connection after `messages` are sent.
    pub close: Option<(CloseCode, String)>,
}

/// The server's side of one connection.
#[derive(Debug)]
pub struct Session {
    phase: Phase,
    terms: Terms,
    rooms: BTreeMap<u32, Slot>,
    numbers: u32,
    began: Instant,
    heard: Instant,
    pinged: Option<Instant>,
    client_name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Greeting,
    Open,
    Closed,
}

/// A room that was asked for, or that the client is in.
#[derive(Debug)]
struct Slot {
    request: u32,
    client: ClientId,
    session: u64,
    kind: u8,
    role: Role,
    joined: bool,
    /// Operations on their way, with their payloads' lengths, oldest first.
    sent: VecDeque<(u64, usize)>,
    sent_bytes: usize,
    settled: u64,
    submitted: u64,
    placed: Vec<Placed>,
}

impl Session {
    /// Begins when the connection is accepted.
    #[must_use]
    pub fn new(terms: Terms, now: Instant) -> Self {
        Self {
            phase: Phase::Greeting,
            terms,
            rooms: BTreeMap::new(),
            numbers: 0,
            began: now,
            heard: now,
            pinged: None,
            client_name: String::new(),
        }
    }

    /// What the client calls itself; empty if it did not say.
    #[must_use]
    pub fn client_name(&self) -> &str {
        &self.client_name
    }

    /// Takes one message, without its length.
    pub fn handle_message(
        &mut self,
        message: &Bytes,
        now: Instant,
        wall: Timestamp,
        out: &mut Output,
    ) {
        if self.phase == Phase::Closed {
            return;
        }
        self.heard = now;
        match Incoming::read(message) {
            Ok(Incoming::Hello(hello)) if self.phase == Phase::Greeting => {
                self.hello(&hello, now, wall, out);
            }
            Ok(_) if self.phase == Phase::Greeting => {
                self.end(CloseCode::BadMessage, "the first message is Hello", 0, out);
            }
            Ok(incoming) => self.take(incoming, now, wall, out),
            Err(error) => self.end(CloseCode::BadMessage, &error.to_string(), 0, out),
        }
    }

    /// Takes a datagram: presence, or something that is not for one and is dropped. So is presence of
    /// a room that the client is not in: a datagram may come before its Join, or after its Leave.
    pub fn handle_datagram(&mut self, datagram: &Bytes, now: Instant, out: &mut Output) {
        if self.phase != Phase::Open {
            return;
        }
        self.heard = now;
        if let Ok(Incoming::Presence(presence)) = Incoming::read(datagram)
            && self.rooms.contains_key(&presence.number)
        {
            self.presence(presence, out);
        }
    }

    fn take(&mut self, incoming: Incoming, now: Instant, wall: Timestamp, out: &mut Output) {
        match incoming {
            Incoming::Hello(_) => {
                self.end(CloseCode::BadMessage, "Hello is said once", 0, out);
            }
            Incoming::Join(join) => self.join(join, out),
            Incoming::Leave(leave) => {
                if self.rooms.remove(&leave.number).is_some() {
                    out.actions.push(Action::Leave {
                        number: leave.number,
                        clean: true,
                    });
                } else {
                    no_room(leave.number, out);
                }
            }
            Incoming::Submit(submit) => self.submit(submit, out),
            Incoming::Presence(presence) => self.presence(presence, out),
            Incoming::Ping(ping) => {
                let pong = wire::Pong {
                    sent: ping.sent,
                    time: wall.micros(),
                };
                out.messages.push(frames::whole(Server::Pong(pong)));
            }
            Incoming::Pong(pong) => {
                let sent = self.began.checked_add(Duration::from_micros(pong.sent));
                if let Some(sent) = sent.filter(|sent| self.pinged.is_some_and(|at| at >= *sent)) {
                    out.actions
                        .push(Action::RoundTrip(now.saturating_duration_since(sent)));
                }
            }
            Incoming::Goodbye(_) => {
                self.phase = Phase::Closed;
                for number in std::mem::take(&mut self.rooms).into_keys() {
                    let clean = true;
                    out.actions.push(Action::Leave { number, clean });
                }
                out.close = Some((CloseCode::Normal, String::new()));
            }
            Incoming::Unknown => {
                let text = "this server does not know that kind of message";
                error(CloseCode::BadMessage, text, 0, out);
            }
        }
    }

    fn hello(&mut self, hello: &wire::Hello, now: Instant, wall: Timestamp, out: &mut Output) {
        if !hello.versions.contains(&VERSION) {
            let reason = format!(
                "this server speaks version {VERSION} of the protocol, and the client {:?}",
                hello.versions
            );
            return self.end(CloseCode::BadMessage, &reason, 0, out);
        }
        if !hello.token.is_empty() {
            out.actions.push(Action::Authenticate(hello.token.clone()));
        }
        if !hello.traceparent.is_empty() {
            out.actions.push(Action::Trace(hello.traceparent.clone()));
        }
        match <[u8; 16]>::try_from(&hello.resume_key[..]) {
            Ok(key) => out.actions.push(Action::Resume(key)),
            Err(_) if hello.resume_key.is_empty() => {}
            Err(_) => {
                let reason = "a resume key has 16 bytes";
                return self.end(CloseCode::BadMessage, reason, 0, out);
            }
        }
        self.client_name = close::bounded(&hello.client_name, MAX_CLIENT_NAME_BYTES).to_owned();
        self.phase = Phase::Open;
        let welcome = wire::Welcome {
            version: VERSION,
            session: self.terms.session,
            server_time: wall.micros(),
            heartbeat_ms: HEARTBEAT.as_millis() as u32,
            limits: Some(wire::Limits {
                message_bytes: MAX_MESSAGE_BYTES as u32,
                payload_bytes: MAX_PAYLOAD_BYTES as u32,
                rooms: u32::try_from(self.terms.rooms).unwrap_or(u32::MAX),
                window_operations: WINDOW_OPERATIONS as u32,
                window_bytes: WINDOW_BYTES as u32,
                presence_bytes: MAX_PRESENCE_STATE_BYTES as u32,
            }),
            durability: self.terms.durability.to_owned(),
        };
        out.messages.push(frames::whole(Server::Welcome(welcome)));
        self.ping(now, out);
    }

    fn join(&mut self, join: wire::Join, out: &mut Output) {
        let refuse = |code, reason: String, out: &mut Output| {
            left(0, join.request, code, &reason, 0, out);
        };
        let room = match RoomName::parse(&join.room) {
            Ok(room) => room,
            Err(why) => return refuse(CloseCode::NoRoom, format!("no such room: {why}"), out),
        };
        let Some(client) = ClientId::new(join.client) else {
            let reason = format!("a client is a number from 1 to {}", ClientId::MAX);
            return refuse(CloseCode::BadMessage, reason, out);
        };
        if self.rooms.len() >= self.terms.rooms {
            let reason = format!("a connection carries {} rooms at most", self.terms.rooms);
            return refuse(CloseCode::OverQuota, reason, out);
        }
        let version = join.version.filter(|version| !version.is_empty());
        if version
            .as_ref()
            .is_some_and(|it| it.len() > MAX_VERSION_BYTES)
        {
            let reason = format!("a version has {MAX_VERSION_BYTES} bytes at most");
            return refuse(CloseCode::TooLarge, reason, out);
        }
        let role = match wire::Role::try_from(join.role) {
            Ok(wire::Role::Unspecified | wire::Role::Editor) => Role::Editor,
            Ok(wire::Role::Viewer) => Role::Viewer,
            Ok(wire::Role::Creator) => Role::Creator,
            Err(_) => {
                let reason = format!("there is no role {}", join.role);
                return refuse(CloseCode::BadMessage, reason, out);
            }
        };
        let Ok(kind) = u8::try_from(join.kind) else {
            let reason = format!("there is no document kind {}", join.kind);
            return refuse(CloseCode::BadMessage, reason, out);
        };
        self.numbers += 1;
        let number = self.numbers;
        let slot = Slot {
            request: join.request,
            client,
            session: 0,
            kind,
            role,
            joined: false,
            sent: VecDeque::new(),
            sent_bytes: 0,
            settled: 0,
            submitted: 0,
            placed: Vec::new(),
        };
        self.rooms.insert(number, slot);
        out.actions.push(Action::Join {
            number,
            room,
            kind: (kind != 0).then_some(kind),
            role,
        });
        let enter = Command::Enter {
            client,
            since: join.since.map(|seq| Since {
                seq: Seq::new(seq),
                at: (join.since_at != 0).then(|| Timestamp::from_micros(join.since_at)),
            }),
            version,
        };
        out.actions.push(Action::Command(number, enter));
    }

    /// A room could be joined: as what, and under which session.
    pub fn accept_join(&mut self, number: u32, session: u64, kind: u8) {
        if let Some(slot) = self.rooms.get_mut(&number) {
            slot.session = session;
            slot.kind = kind;
        }
    }

    /// A room could not be joined.
    pub fn refuse_join(&mut self, number: u32, code: CloseCode, reason: &str, out: &mut Output) {
        if let Some(slot) = self.rooms.remove(&number) {
            left(0, slot.request, code, reason, retry_after(code), out);
        }
    }

    fn submit(&mut self, submit: Submit, out: &mut Output) {
        let Some(slot) = self.rooms.get_mut(&submit.number).filter(|it| it.joined) else {
            return no_room(submit.number, out);
        };
        let bytes: usize = submit.payloads.iter().map(Bytes::len).sum();
        let largest = submit.payloads.iter().map(Bytes::len).max().unwrap_or(0);
        let count = submit.payloads.len() as u64;
        let refused = if let Some(field) = submit.unknown {
            let text = format!("the Submit has a field {field}, which this server does not know");
            Some((RejectCode::UnknownField, CloseCode::BadMessage, text))
        } else if count == 0 || submit.operation == 0 {
            let text = "a Submit has a payload or more, and numbers them from 1".to_owned();
            Some((RejectCode::Malformed, CloseCode::BadMessage, text))
        } else if submit.operation.checked_add(count).is_none() {
            let text = "there are no operations of so high a number".to_owned();
            Some((RejectCode::Malformed, CloseCode::BadMessage, text))
        } else if largest > MAX_PAYLOAD_BYTES {
            let text =
                format!("a payload of {largest} bytes is over the limit of {MAX_PAYLOAD_BYTES}");
            Some((RejectCode::TooLarge, CloseCode::TooLarge, text))
        } else if slot.sent.len() + submit.payloads.len() > WINDOW_OPERATIONS
            || (slot.sent_bytes > 0 && slot.sent_bytes + bytes > WINDOW_BYTES)
        {
            let text = format!(
                "{} operations of {} bytes are on their way, and {count} of {bytes} bytes more are \
                 over the window of {WINDOW_OPERATIONS} and {WINDOW_BYTES}",
                slot.sent.len(),
                slot.sent_bytes,
            );
            Some((RejectCode::Window, CloseCode::OverQuota, text))
        } else {
            None
        };
        if let Some((code, close, text)) = refused {
            let after = u32::from(code == RejectCode::Window) * 1_000;
            reject(submit.number, submit.operation, code, &text, after, out);
            return self.expel(submit.number, close, &text, out);
        }
        let base = Some(Seq::new(submit.base));
        for (op, payload) in (submit.operation..).zip(submit.payloads) {
            slot.sent.push_back((op, payload.len()));
            slot.sent_bytes += payload.len();
            slot.submitted += 1;
            let submission = Submission {
                payload,
                op_id: Some(OpId::of_client(slot.client, op)),
                base,
            };
            let command = Command::Submit(submission);
            out.actions.push(Action::Command(submit.number, command));
        }
    }

    fn presence(&mut self, presence: wire::SetPresence, out: &mut Output) {
        let number = presence.number;
        if !self.rooms.contains_key(&number) {
            return no_room(number, out);
        }
        let count = presence.entries.len();
        if count > MAX_PRESENCE_ENTRIES {
            let text = format!(
                "presence of {count} replicas in one message is over the limit of \
                 {MAX_PRESENCE_ENTRIES}; it was dropped"
            );
            return error(CloseCode::TooLarge, &text, number, out);
        }
        let mut entries = Vec::new();
        for entry in presence.entries {
            if let Err((code, text)) = check_presence(&entry) {
                return error(code, &text, number, out);
            }
            entries.push(PresenceEntry {
                site: Site::new(entry.site),
                clock: entry.clock,
                // Copied: a state lives long, and would keep the message it came in.
                state: entry.state.map(|state| Bytes::copy_from_slice(&state)),
            });
        }
        let command = Command::Presence(entries);
        out.actions.push(Action::Command(number, command));
    }

    /// Takes what a room says.
    pub fn handle_event(&mut self, number: u32, event: Event, out: &mut Output) {
        let Some(slot) = self.rooms.get_mut(&number) else {
            return;
        };
        match event {
            Event::Joined { role, .. } => slot.role = role,
            Event::Entered {
                head,
                at,
                began_anew,
                last_op,
                content,
            } => {
                slot.joined = true;
                let joined = wire::Joined {
                    head: head.get(),
                    head_at: at.micros(),
                    began_anew,
                    last_operation: last_op,
                    ..slot.as_joined(number)
                };
                let missing = match content {
                    Content::Records(records) => Missing::Records(records),
                    Content::Difference(bytes) => Missing::Difference(bytes),
                    Content::Snapshot(bytes) => Missing::Snapshot(bytes),
                };
                out.messages.push(frames::joined(&joined, missing));
            }
            Event::State { seq, at, payload } => {
                out.messages.push(frames::reset(number, seq, at, payload));
            }
            Event::Placed(placed) => slot.placed.push(placed),
            Event::Settled { count } => {
                if let Some(ack) = slot.settle(number, count) {
                    out.messages.push(frames::whole(Server::Ack(ack)));
                }
            }
            Event::Refused {
                submission,
                refusal,
            } => {
                let at = submission.saturating_sub(slot.settled + 1) as usize;
                let operation = slot.sent.get(at).map_or(0, |(op, _)| *op);
                let text = refusal.to_string();
                let after = refusal.retry_after().map_or(0, |it| it.as_millis() as u32);
                reject(number, operation, reject_code(&refusal), &text, after, out);
                if let Some(code) = refusal.close_code() {
                    let after = after.max(retry_after(code));
                    self.expel_for(number, code, &text, after, out);
                }
            }
            Event::Closed { code, reason } => {
                self.expel(number, code, &reason, out);
                if code == CloseCode::Restart {
                    self.end(code, &reason, retry_after(code), out);
                }
            }
        }
    }

    /// Ends a membership from this side.
    pub fn expel(&mut self, number: u32, code: CloseCode, reason: &str, out: &mut Output) {
        self.expel_for(number, code, reason, retry_after(code), out);
    }

    fn expel_for(
        &mut self,
        number: u32,
        code: CloseCode,
        reason: &str,
        retry_after_ms: u32,
        out: &mut Output,
    ) {
        if let Some(slot) = self.rooms.remove(&number) {
            let clean = false;
            out.actions.push(Action::Leave { number, clean });
            // The client knows a room that was not joined by its request alone.
            let (number, request) = match slot.joined {
                true => (number, 0),
                false => (0, slot.request),
            };
            left(number, request, code, reason, retry_after_ms, out);
        }
    }

    /// Ends the connection, and says why.
    pub fn end(&mut self, code: CloseCode, reason: &str, retry_after_ms: u32, out: &mut Output) {
        if self.phase == Phase::Closed {
            return;
        }
        self.phase = Phase::Closed;
        self.rooms.clear();
        out.messages.push(goodbye_in(code, reason, retry_after_ms));
        let reason = close::bounded(reason, close::MAX_CLOSE_REASON_BYTES).to_owned();
        out.close = Some((code, reason));
    }

    /// When [`Session::handle_timeout`] wants to be called, if nothing happens before.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.phase {
            Phase::Greeting => Some(self.began + self.terms.hello_time),
            Phase::Open => {
                let since = self.pinged.map_or(self.heard, |at| at.max(self.heard));
                Some(since + HEARTBEAT)
            }
            Phase::Closed => None,
        }
    }

    /// Pings a client that has been silent, and closes one that has not said Hello.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut Output) {
        if self.poll_timeout().is_none_or(|at| at > now) {
            return;
        }
        match self.phase {
            Phase::Greeting => {
                let reason = "no Hello came in time";
                self.end(CloseCode::AuthTimeout, reason, 0, out);
            }
            Phase::Open => self.ping(now, out),
            Phase::Closed => {}
        }
    }

    fn ping(&mut self, now: Instant, out: &mut Output) {
        self.pinged = Some(now);
        let sent = now.saturating_duration_since(self.began).as_micros() as u64;
        let ping = wire::Ping { sent };
        out.messages.push(frames::whole(Server::Ping(ping)));
    }
}

impl Slot {
    /// The membership, with nothing of the log yet.
    fn as_joined(&self, number: u32) -> wire::Joined {
        let role = match self.role {
            Role::Observer | Role::Viewer => wire::Role::Viewer,
            Role::Editor => wire::Role::Editor,
            Role::Creator | Role::Admin => wire::Role::Creator,
        };
        wire::Joined {
            request: self.request,
            number,
            kind: i32::from(self.kind),
            role: role.into(),
            session: self.session,
            ..wire::Joined::default()
        }
    }

    /// The first `count` submissions are settled: what to tell of it.
    fn settle(&mut self, number: u32, count: u64) -> Option<wire::Ack> {
        let mut last = None;
        while self.settled < count
            && let Some((op, bytes)) = self.sent.pop_front()
        {
            self.settled += 1;
            self.sent_bytes -= bytes;
            last = Some(op);
        }
        let placed = std::mem::take(&mut self.placed).into_iter();
        last.map(|operation| wire::Ack {
            number,
            operation,
            placed: placed
                .map(|it| wire::Placed {
                    operation: it.op,
                    seq: it.seq.get(),
                    count: it.count,
                    at: it.at.map_or(0, Timestamp::micros),
                    stale: it.stale,
                })
                .collect(),
        })
    }
}

/// What a connection is told that ends for a reason outside of the dialect.
#[must_use]
pub fn goodbye(code: CloseCode, reason: &str) -> Message {
    goodbye_in(code, reason, retry_after(code))
}

fn goodbye_in(code: CloseCode, reason: &str, retry_after_ms: u32) -> Message {
    frames::whole(Server::Goodbye(wire::Goodbye {
        code: u32::from(code.code()),
        reason: close::bounded(reason, MAX_REASON_BYTES).to_owned(),
        retry_after_ms,
    }))
}

fn check_presence(entry: &wire::PresenceEntry) -> Result<(), (CloseCode, String)> {
    if entry.site == 0 || entry.site > ClientId::MAX {
        let text = format!(
            "a replica is a number from 1 to {}; it was dropped",
            ClientId::MAX
        );
        return Err((CloseCode::BadMessage, text));
    }
    if entry.clock > MAX_PRESENCE_CLOCK {
        let clock = entry.clock;
        let text = format!(
            "a presence clock of {clock} is over the limit of {MAX_PRESENCE_CLOCK}; it was dropped"
        );
        return Err((CloseCode::TooLarge, text));
    }
    let Some(state) = &entry.state else {
        return Ok(());
    };
    if state.len() > MAX_PRESENCE_STATE_BYTES {
        let bytes = state.len();
        let text = format!(
            "a presence state of {bytes} bytes is over the limit of {MAX_PRESENCE_STATE_BYTES}; it was dropped"
        );
        return Err((CloseCode::TooLarge, text));
    }
    let text = std::str::from_utf8(state).map_err(|_| NotJson::Syntax);
    text.and_then(json::check).map_err(|why| {
        (
            CloseCode::BadMessage,
            format!("a presence state is malformed: {why}; it was dropped"),
        )
    })
}

/// When a client that hears this code may come back.
const fn retry_after(code: CloseCode) -> u32 {
    match code {
        CloseCode::Restart => 500,
        CloseCode::TryLater | CloseCode::OverQuota | CloseCode::Internal => 1_000,
        _ => 0,
    }
}

const fn reject_code(refusal: &Refusal) -> RejectCode {
    match refusal {
        Refusal::ReadOnly => RejectCode::ReadOnly,
        Refusal::Malformed(_) | Refusal::Binary { .. } => RejectCode::Malformed,
        Refusal::TooLarge { .. } => RejectCode::TooLarge,
        Refusal::TooFast { .. } | Refusal::Spent { .. } => RejectCode::Rate,
        Refusal::OutOfOrder { .. } => RejectCode::OutOfOrder,
        Refusal::NotStored(_) => RejectCode::NotStored,
    }
}

fn reject(
    number: u32,
    operation: u64,
    code: RejectCode,
    text: &str,
    retry_after_ms: u32,
    out: &mut Output,
) {
    let reject = wire::Reject {
        number,
        operation,
        code: code.into(),
        message: close::bounded(text, MAX_REASON_BYTES).to_owned(),
        retry_after_ms,
    };
    out.messages.push(frames::whole(Server::Reject(reject)));
}

fn left(
    number: u32,
    request: u32,
    code: CloseCode,
    reason: &str,
    retry_after_ms: u32,
    out: &mut Output,
) {
    let left = wire::Left {
        number,
        request,
        code: u32::from(code.code()),
        reason: close::bounded(reason, MAX_REASON_BYTES).to_owned(),
        retry_after_ms,
    };
    out.messages.push(frames::whole(Server::Left(left)));
}

fn no_room(number: u32, out: &mut Output) {
    let text = format!("no room is joined under the number {number}");
    error(CloseCode::NoRoom, &text, number, out);
}

fn error(code: CloseCode, text: &str, number: u32, out: &mut Output) {
    let error = wire::Error {
        code: u32::from(code.code()),
        message: close::bounded(text, MAX_REASON_BYTES).to_owned(),
        number,
    };
    out.messages.push(frames::whole(Server::Error(error)));
}
