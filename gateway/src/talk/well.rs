//! The `well` dialect: one connection in many rooms.
//!
//! Where the transport has datagrams, presence is sent on one first, if it fits, and what it may have
//! lost is repeated on the stream within a second: the stream's cursor into a room's presence lags
//! behind the datagrams' and is brought up by a timer, with whatever is the latest by then.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use broker::{Member, Update, Via, Wire};
use bytes::Bytes;
use observatory::trace::Parent;
use observatory::{Dialect, Transport};
use protocol::dialect::well::{self, Action, Output, Terms};
use protocol::dialect::{Command, Event, Message, PresenceEntry};
use protocol::{CloseCode, Role, RoomName, Seq, SessionId};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::Talk;
use super::mount::{Refused, refusal_of};
use crate::Gateway;
use crate::access::caller::{Caller, Refusal};
use crate::access::tickets::Ticket;
use crate::access::token::BadToken;
use crate::admission::Admission;
use crate::audit::Stay;
use crate::connection::framing::Framing;
use crate::connection::out::OutQueue;
use crate::limits::{PRESENCE_REPEAT, WRITE_AHEAD_BYTES};
use crate::quota::meter::{Again, Meter};
use crate::quota::visitors::Visit;
use crate::resumes::Resume;

/// Records for every session of this dialect, whatever the framing: what stands before them is the
/// session's own.
const RECORDS: Wire = Wire {
    place: 2,
    encode: encode_records,
};

/// A client of the `well` dialect and the rooms it is in.
pub struct Well {
    session: well::Session,
    gateway: Gateway,
    caller: Caller,
    /// Ends the connection with its token.
    ticket: Option<Ticket>,
    rooms: BTreeMap<u32, Room>,
    /// What the connection may still do in each space, and that it is counted there.
    spaces: BTreeMap<String, (Meter, Option<Visit>)>,
    /// Rooms that the client has asked for, while it is found out whether it may.
    asked: Vec<Asked>,
    transport: Transport,
    /// Whose work the client's is part of: of its Hello, or of its request.
    parent: Option<Parent>,
    connection: u64,
    output: Output,
    /// The room whose turn is next.
    turn: u32,
    /// Whether there are datagrams.
    datagrams: bool,
    resume: Option<(Resume, Waiting)>,
    draining: Waiting,
    ending: Option<(CloseCode, &'static str)>,
    /// Wakes the connection. A room that is joined after it was registered is registered at once:
    /// nobody else would wake the connection for its answer.
    waker: Option<Waker>,
}

type Waiting = Pin<Box<WaitForCancellationFutureOwned>>;

/// A room that the client has asked for.
struct Asked {
    number: u32,
    room: RoomName,
    kind: Option<u8>,
    /// What it wants of the room once it is in.
    enter: Option<Command>,
    admitted: Pin<Box<dyn Future<Output = Admitted> + Send>>,
}

type Admitted = Result<Admission, Refusal>;

/// A room that the client is in.
struct Room {
    member: Member,
    /// Ends the membership with the client's token.
    ticket: Option<Ticket>,
    /// Says that the client has left.
    _stay: Option<Stay>,
    /// What the client sends though the log has it.
    again: Again,
    /// Up to where the client has been told.
    told: Seq,
    /// Whether presence is to go on the stream: always where there are no datagrams, and at first,
    /// when a client that joins hears of everyone.
    on_stream: bool,
    /// The version of presence that datagrams have brought.
    sent: u64,
    /// When the stream is to repeat what they brought.
    repeat: Option<Instant>,
}

impl Well {
    /// A client that has just come over a connection with this id; `caller` is who sent the request
    /// that began it.
    #[must_use]
    pub fn new(
        gateway: Gateway,
        caller: Caller,
        transport: Transport,
        parent: Option<Parent>,
        connection: u64,
        now: Instant,
    ) -> Self {
        let limits = gateway.connection_limits();
        let terms = Terms {
            session: connection,
            durability: gateway.broker().log().durability(),
            hello_time: limits.handshake,
            rooms: limits.rooms,
        };
        let draining = Box::pin(gateway.draining().clone().cancelled_owned());
        let mut well = Self {
            session: well::Session::new(terms, now),
            gateway,
            ticket: None,
            caller: Caller::ANYONE,
            rooms: BTreeMap::new(),
            spaces: BTreeMap::new(),
            asked: Vec::new(),
            transport,
            parent,
            connection,
            output: Output::default(),
            turn: 0,
            datagrams: false,
            resume: None,
            draining,
            ending: None,
            waker: None,
        };
        well.become_caller(caller);
        well
    }

    fn become_caller(&mut self, caller: Caller) {
        if let Ok(Some(grant)) = caller.grant() {
            let ticket = self.gateway.keeper().issue(grant, None);
            if let Some(waker) = &self.waker {
                ticket.register(waker);
            }
            self.ticket = Some(ticket);
        }
        self.caller = caller;
    }

    /// Takes the token of the client's Hello, beside that of its request if it had one.
    fn authenticate(&mut self, token: &str) -> Result<(), BadToken> {
        let hello = self.gateway.identify([token.into()]);
        let hello = hello.at(self.caller.address(), self.caller.origin().cloned());
        let said = hello.grant()?;
        if let Some(known) = self.caller.grant()?
            && said != Some(known)
        {
            return Err(BadToken::Several);
        }
        self.become_caller(hello);
        Ok(())
    }

    /// Does what the dialect says.
    fn apply<F: Framing>(&mut self, out: &mut OutQueue<F>) {
        let mut actions = std::mem::take(&mut self.output.actions)
            .into_iter()
            .peekable();
        while let Some(action) = actions.next() {
            match action {
                Action::Join {
                    number,
                    room,
                    kind,
                    role,
                } => self.ask(number, room, kind, role),
                Action::Command(number, command) => {
                    // All that follows for the same room goes together.
                    let mut commands = vec![command];
                    while let Some(Action::Command(_, command)) = actions
                        .next_if(|next| matches!(next, Action::Command(n, _) if *n == number))
                    {
                        commands.push(command);
                    }
                    if self.rooms.contains_key(&number) {
                        self.send(number, commands);
                    } else if let Some(asked) = self.asked.iter_mut().find(|it| it.number == number)
                    {
                        // A client that is not in can want nothing else.
                        let mut commands = commands.into_iter();
                        let enter = commands.find(|it| matches!(it, Command::Enter { .. }));
                        asked.enter = enter.or(asked.enter.take());
                    }
                }
                Action::Authenticate(token) => {
                    if let Err(bad) = self.authenticate(&token) {
                        let code = Refusal::from(bad.clone()).close_code();
                        // Welcome is not for this client.
                        self.output.messages.clear();
                        self.session
                            .end(code, &bad.to_string(), 0, &mut self.output);
                        break;
                    }
                }
                // One that is none is as if it had not been said.
                Action::Trace(said) => self.parent = Parent::parse(&said).or(self.parent),
                Action::Leave { number, clean } => {
                    self.asked.retain(|asked| asked.number != number);
                    if let Some(room) = self.rooms.remove(&number)
                        && clean
                    {
                        room.member.leave();
                    }
                }
                Action::Resume(key) => {
                    let resume = self.gateway.resumes().take(key, self.connection);
                    let mut replaced: Waiting =
                        Box::pin(resume.replaced().clone().cancelled_owned());
                    if let Some(waker) = &self.waker {
                        // It is looked at when the connection is woken.
                        let _ = replaced.as_mut().poll(&mut Context::from_waker(waker));
                    }
                    self.resume = Some((resume, replaced));
                }
                Action::RoundTrip(took) => {
                    observatory::round_trip(took);
                    for room in self.rooms.values() {
                        room.member.note_round_trip(took);
                    }
                }
            }
        }
        for message in self.output.messages.drain(..) {
            out.push_message(&message);
        }
        if let Some((code, reason)) = self.output.close.take() {
            out.close(code, reason);
        }
    }

    /// Hands commands to a room, as far as the client may.
    fn send(&mut self, number: u32, mut commands: Vec<Command>) {
        let Some(room) = self.rooms.get_mut(&number) else {
            return;
        };
        let submitted = room.member.submitted();
        let meter = self.spaces.get_mut(room.member.room().space());
        let again = &mut room.again;
        let refused = meter.and_then(|(meter, _)| meter.count(&mut commands, again));
        room.member.send(commands);
        if let Some((update, refusal)) = refused {
            broker::count_refused(&refusal);
            let submission = submitted + update;
            let event = Event::Refused {
                submission,
                refusal,
            };
            self.session.handle_event(number, event, &mut self.output);
        }
    }

    /// Finds out whether the client may join a room; most often that is known at once.
    fn ask(&mut self, number: u32, room: RoomName, kind: Option<u8>, wanted: Role) {
        let (gateway, caller, name) = (self.gateway.clone(), self.caller.clone(), room.clone());
        let counted = self.spaces.contains_key(room.space());
        let admitted = async move { gateway.admit(&caller, wanted, &name, counted).await };
        let asked = Asked {
            number,
            room,
            kind,
            enter: None,
            admitted: Box::pin(admitted),
        };
        self.asked.push(asked);
        self.let_in();
    }

    /// Lets the client into the rooms of which it is known by now whether it may.
    fn let_in(&mut self) {
        let Some(waker) = self.waker.clone() else {
            // Looked at once the connection runs.
            return;
        };
        let cx = &mut Context::from_waker(&waker);
        let mut at = 0;
        while let Some(asked) = self.asked.get_mut(at) {
            match asked.admitted.as_mut().poll(cx) {
                Poll::Ready(admitted) => {
                    let asked = self.asked.remove(at);
                    self.join(asked, admitted, &waker);
                }
                Poll::Pending => at += 1,
            }
        }
    }

    fn join(&mut self, asked: Asked, admitted: Admitted, waker: &Waker) {
        let Asked {
            number,
            room,
            kind,
            enter,
            ..
        } = asked;
        let joined = admitted.map_err(Refused::from);
        match joined.and_then(|admission| self.try_join(&room, kind, admission)) {
            Ok((mut member, kind, ticket, stay)) => {
                member.register(waker);
                if let Some(ticket) = &ticket {
                    ticket.register(waker);
                }
                self.session
                    .accept_join(number, member.session().get(), kind);
                member.send(enter.into_iter().collect());
                let room = Room {
                    member,
                    ticket,
                    _stay: stay,
                    again: Again::default(),
                    told: Seq::ZERO,
                    on_stream: true,
                    sent: 0,
                    repeat: None,
                };
                self.rooms.insert(number, room);
            }
            Err((code, reason)) => {
                let (code_number, connection) = (code.code(), SessionId::new(self.connection));
                tracing::info!(%room, %connection, code = code_number, reason, "a join was refused");
                self.session
                    .refuse_join(number, code, &reason, &mut self.output);
            }
        }
    }

    /// Ends memberships, or the connection, whose token is over.
    fn end_with_token(&mut self) {
        if let Some((code, reason)) = self.ticket.as_ref().and_then(Ticket::ended) {
            self.ticket = None;
            self.session.end(code, &reason, 0, &mut self.output);
        }
        for (number, room) in &self.rooms {
            if let Some((code, reason)) = room.ticket.as_ref().and_then(Ticket::ended) {
                self.session.expel(*number, code, &reason, &mut self.output);
            }
        }
    }

    fn try_join(
        &mut self,
        room: &RoomName,
        kind: Option<u8>,
        admission: Admission,
    ) -> Result<(Member, u8, Option<Ticket>, Option<Stay>), Refused> {
        let space = room.space();
        let there = self.gateway.kind_of(space).ok_or_else(|| {
            let reason = format!("the space {space:?} is not configured on this server");
            (CloseCode::NoRoom, reason)
        })?;
        if let Some(kind) = kind.filter(|kind| *kind != there.code()) {
            let wanted = replay::Kind::from_code(kind).map_or("another", replay::Kind::name);
            let reason = format!("the room is of kind {}, not {wanted}", there.name());
            return Err((CloseCode::Conflict, reason));
        }
        let bits = getrandom::u64().map_err(|error| {
            let reason = format!("no randomness: {error}");
            (CloseCode::Internal, reason)
        })?;
        let session = SessionId::new(bits.max(1));
        let role = admission.role;
        let user = admission.ticket.as_ref().and_then(Ticket::user);
        let via = Via {
            dialect: Dialect::Well,
            transport: self.transport,
            parent: self.parent,
        };
        let allowance = admission.allowance.clone();
        let broker = self.gateway.broker();
        let member = broker.join(room, session, role, user, via, allowance);
        let member = member.map_err(|error| refusal_of(&error))?;
        let (connection, client) = (SessionId::new(self.connection), self.session.client_name());
        tracing::debug!(%room, %session, %connection, %role, client, "joined");
        let meter = admission.meter();
        let visit = admission.visit;
        // Of two rooms that were asked for at once both were counted; one is counted off again.
        let space = self.spaces.entry(space.to_owned());
        space.or_insert((meter, visit));
        Ok((member, there.code(), admission.ticket, admission.stay))
    }
}

impl<F: Framing> Talk<F> for Well {
    fn register(&mut self, waker: &Waker) {
        if !(self.waker.as_ref()).is_some_and(|known| known.will_wake(waker)) {
            self.waker = Some(waker.clone());
        }
        for room in self.rooms.values_mut() {
            room.member.register(waker);
            if let Some(ticket) = &room.ticket {
                ticket.register(waker);
            }
        }
        if let Some(ticket) = &self.ticket {
            ticket.register(waker);
        }
        let cx = &mut Context::from_waker(waker);
        if let Some((_, replaced)) = &mut self.resume
            && self.ending.is_none()
            && replaced.as_mut().poll(cx).is_ready()
        {
            let reason = "this client has come back on another connection";
            self.ending = Some((CloseCode::Conflict, reason));
        }
        // Rooms that drain settle what is on its way first, and end the connection themselves.
        if self.rooms.is_empty()
            && self.ending.is_none()
            && self.draining.as_mut().poll(cx).is_ready()
        {
            let reason = "the server is restarting, come back soon";
            self.ending = Some((CloseCode::Restart, reason));
        }
    }

    fn handle_message(&mut self, message: &Bytes, now: Instant, _out: &mut OutQueue<F>) {
        let wall = self.gateway.wall_time();
        self.session
            .handle_message(message, now, wall, &mut self.output);
    }

    fn handle_datagram(&mut self, datagram: &Bytes, now: Instant) {
        self.session
            .handle_datagram(datagram, now, &mut self.output);
    }

    fn take_datagram(&mut self, max_bytes: usize, now: Instant) -> Option<Bytes> {
        self.datagrams = true;
        let mut rooms = self.rooms.iter_mut();
        rooms.find_map(|(number, room)| room.take_datagram(*number, max_bytes, now))
    }

    fn flush(&mut self, _now: Instant, out: &mut OutQueue<F>) {
        self.apply(out);
    }

    fn take_events(&mut self, _now: Instant, out: &mut OutQueue<F>) {
        self.let_in();
        self.end_with_token();
        for (number, room) in &mut self.rooms {
            while let Some(event) = room.member.next_event() {
                // The answer to a client that enters may lie before the end of the log.
                room.told = room.member.cursor();
                if let Event::Entered { last_op, .. } = &event {
                    room.again.known(*last_op);
                }
                self.session.handle_event(*number, event, &mut self.output);
            }
        }
        if let Some((code, reason)) = self.ending {
            self.session.end(code, reason, 0, &mut self.output);
        }
        self.apply(out);
    }

    fn take_feed(&mut self, max_bytes: usize, out: &mut OutQueue<F>) -> bool {
        let mut more = false;
        let first = self.turn;
        let numbers: Vec<u32> = (self.rooms.range(first..).map(|(n, _)| *n))
            .chain(self.rooms.range(..first).map(|(n, _)| *n))
            .collect();
        for number in numbers {
            if out.bytes() >= max_bytes {
                self.turn = number;
                return true;
            }
            let Some(room) = self.rooms.get_mut(&number) else {
                continue;
            };
            if room.on_stream {
                room.put_presence(number, self.datagrams, out);
            }
            let mut spans = out.list();
            more |= room.member.take_updates(RECORDS, max_bytes, &mut spans);
            if !spans.is_empty() {
                let through = room.member.cursor();
                let len = spans.iter().map(Bytes::len).sum();
                let event_at = room.member.event_at_cursor();
                let head = well::records_head(number, room.told, through, event_at, len);
                out.push_shared(&head, spans.iter().cloned());
                room.told = through;
                spans.clear();
            }
            out.push_list(spans);
        }
        more
    }

    fn is_full(&mut self) -> bool {
        let slow = self.spaces.values().any(|(meter, _)| meter.is_slow());
        slow || self.rooms.values_mut().any(|room| room.member.is_full())
    }

    fn note_sent(&mut self, _now: Instant) {}

    fn note_drained(&mut self) {
        for room in self.rooms.values() {
            room.member.note_written();
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let slow = self.spaces.values().filter_map(|(meter, _)| meter.until());
        let dialect = self.session.poll_timeout().into_iter().chain(slow).min();
        if !self.datagrams {
            return dialect;
        }
        let repeats = self.rooms.values().filter_map(|room| room.repeat);
        repeats.chain(dialect).min()
    }

    fn handle_timeout(&mut self, now: Instant, out: &mut OutQueue<F>) {
        self.session.handle_timeout(now, &mut self.output);
        for (meter, _) in self.spaces.values_mut() {
            meter.handle_timeout(now);
        }
        for (number, room) in &mut self.rooms {
            if room.repeat.is_some_and(|at| at <= now) {
                room.repeat = None;
                room.on_stream = true;
                // Without space it waits for its turn among the feeds.
                if out.bytes() < WRITE_AHEAD_BYTES {
                    room.put_presence(*number, true, out);
                }
            }
        }
        self.apply(out);
    }

    fn leave(self) {
        for room in self.rooms.into_values() {
            room.member.leave();
        }
    }

    fn farewell(code: CloseCode, reason: &str) -> Option<Message> {
        Some(well::goodbye(code, reason))
    }
}

impl Room {
    /// Presence on the stream: what is new since it was there last.
    fn put_presence<F: Framing>(&mut self, number: u32, datagrams: bool, out: &mut OutQueue<F>) {
        if let Some(entries) = self.member.take_presence(well_presence) {
            let head = well::presence_head(number, entries.len());
            out.push_shared(&head, [entries]);
            self.on_stream = !datagrams;
            self.repeat = None;
        }
    }

    /// Presence on a datagram: what is new since it went either way.
    fn take_datagram(&mut self, number: u32, max_bytes: usize, now: Instant) -> Option<Bytes> {
        if self.on_stream {
            return None;
        }
        let (entries, version) = self.member.presence_after(self.sent, well_presence)?;
        let head = well::presence_head(number, entries.len());
        if head.len() + entries.len() > max_bytes {
            self.on_stream = true;
            return None;
        }
        self.sent = version;
        self.repeat.get_or_insert(now + PRESENCE_REPEAT);
        Some([head, entries].concat().into())
    }
}

/// Updates of one author as fields of a Records message: one for each stretch without an event of
/// the room in between.
fn encode_records(updates: &[Update], out: &mut Vec<u8>) {
    for span in updates.chunk_by(|a, b| a.seq.next() == b.seq) {
        let records = span.iter().map(|update| (update.at, &*update.payload));
        well::put_span(span[0].seq, &span[0].author, records, out);
    }
}

fn well_presence(entries: &[PresenceEntry], out: &mut Vec<u8>) {
    well::put_presence(entries, out);
}
