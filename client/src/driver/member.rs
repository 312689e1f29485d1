//! A room, from the driver's side: what waits for its ack, what the client has, who is here.
//!
//! It does no IO but for its queue: it is given what the server says of the room, and gives what is to
//! be said and the events for the application.

use std::collections::{BTreeMap, VecDeque};
use std::io;

use bytes::Bytes;
use protocol::ClientId;
use protocol::dialect::well::wire;
use protocol::limits::MAX_PRESENCE_CLOCK;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::Join;
use crate::backoff::Backoff;
use crate::limits::{
    EVENTS, LAST_EVENTS, PRESENCE_REPEAT, PRESENCE_REPLICAS, QUEUED_OPERATIONS, SUBMIT_BYTES,
};
use crate::queue::{MemoryQueue, Operation, Queue};
use crate::room::{Acked, Event, Record, Rejected, RoomError, State, Ticket};
use crate::transport::Transport;
use crate::wire::{Say, encode};

/// How much may be on its way in one room.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Window {
    pub(super) operations: usize,
    pub(super) bytes: usize,
}

/// A room, from the driver's side.
pub(super) struct Member {
    pub(super) name: String,
    pub(super) kind: wire::DocumentKind,
    pub(super) role: wire::Role,
    pub(super) client: ClientId,
    pub(super) queue: Box<dyn Queue>,
    pub(super) events: mpsc::Sender<Event>,
    /// The application has been told that it lags: nothing more is told until it has taken that.
    pub(super) behind: bool,
    /// It has, and waits for the document.
    pub(super) catching_up: bool,
    /// The log began anew, and the application was not told.
    pub(super) began_anew: bool,
    /// Why the application was told that the client is no member, since it was one.
    pub(super) disconnected: Option<String>,
    pub(super) standing: Standing,
    pub(super) backoff: Backoff,
    /// What waits for its ack, oldest first.
    pub(super) pending: VecDeque<Pending>,
    /// How many of them, from the oldest, have been sent in this membership.
    pub(super) sent: usize,
    pub(super) sent_bytes: usize,
    pub(super) last: u64,
    /// The client has everything up to this record.
    pub(super) since: Option<Since>,
    /// Own records after that, each first Seq with the last of them.
    pub(super) own: BTreeMap<u64, Since>,
    pub(super) version: Option<Bytes>,
    pub(super) presence: Option<Bytes>,
    pub(super) presence_clock: u64,
    pub(super) presence_sent: bool,
    /// When the stream is to repeat what a datagram has said.
    pub(super) presence_repeat: Option<Instant>,
    /// The newest clock of each replica's presence, and whether it is here: what comes late on a
    /// datagram does not overwrite what is newer.
    pub(super) replicas: BTreeMap<u64, (u64, bool)>,
    /// An operation was refused, and the membership ends for that.
    pub(super) refused: bool,
}

pub(super) struct Pending {
    pub(super) operation: Operation,
    pub(super) ticket: Option<oneshot::Sender<Result<Acked, Rejected>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// To be asked for, not before then.
    Away(Instant),
    Asked(u32),
    In(u32),
}

/// A record that the client has, and every one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Since {
    pub(super) seq: u64,
    /// Its time, by which the server knows whether its log still has it; 0 if that is not known.
    pub(super) at: u64,
}

impl Since {
    /// As far as `other`, if that is further or says more.
    const fn reach(&mut self, other: Self) {
        if other.seq > self.seq || (other.seq == self.seq && self.at == 0) {
            *self = other;
        }
    }
}

impl Member {
    pub(super) fn new(join: Join) -> io::Result<(Self, mpsc::Receiver<Event>)> {
        let mut queue = match join.queue {
            Some(queue) => queue,
            None => Box::new(MemoryQueue::new()?),
        };
        let (waiting, last) = queue.load()?;
        let waiting = waiting.into_iter().map(|operation| Pending {
            operation,
            ticket: None,
        });
        let (events, taken) = mpsc::channel(EVENTS + LAST_EVENTS);
        let room = Self {
            name: join.room,
            kind: join.kind,
            role: join.role,
            client: queue.client(),
            queue,
            events,
            behind: false,
            catching_up: false,
            began_anew: false,
            disconnected: None,
            standing: Standing::Away(Instant::now()),
            backoff: Backoff::default(),
            pending: waiting.collect(),
            sent: 0,
            sent_bytes: 0,
            last,
            since: join.since,
            own: BTreeMap::new(),
            version: join.version,
            presence: None,
            presence_clock: 0,
            presence_sent: true,
            presence_repeat: None,
            replicas: BTreeMap::new(),
            refused: false,
        };
        Ok((room, taken))
    }

    pub(super) fn away(&mut self, until: Instant) {
        self.standing = Standing::Away(until);
        self.sent = 0;
        self.sent_bytes = 0;
        self.presence_sent = self.presence.is_none();
        // A replica that comes back with the clock it had is not heard by those who saw it leave.
        self.presence_clock += 1;
        self.presence_repeat = None;
        self.replicas.clear();
    }

    /// Tells the application, or that it lags, if it has not taken what it was told before.
    pub(super) fn tell(&mut self, event: Event) {
        if self.behind {
            return;
        }
        self.behind = self.events.capacity() <= LAST_EVENTS;
        let event = if self.behind { Event::Lagged } else { event };
        // Who has dropped the room is about to leave it.
        drop(self.events.try_send(event));
    }

    /// Tells why the client is no member: each reason once.
    pub(super) fn tell_disconnected(&mut self, reason: &str) {
        if self.disconnected.as_deref() != Some(reason) {
            self.disconnected = Some(reason.to_owned());
            let reason = reason.to_owned();
            self.tell(Event::Disconnected { reason });
        }
    }

    /// The application knows that it lags, and waits for the document.
    pub(super) fn catch_up(&mut self, say: &mut Vec<Bytes>) {
        self.catching_up |= self.behind;
        // While it is being joined, the answer is to what the application had before.
        if self.behind && !matches!(self.standing, Standing::Asked(_)) {
            self.join_anew(say);
        }
    }

    /// Leaves, to be given the whole document with the next Join.
    fn join_anew(&mut self, say: &mut Vec<Bytes>) {
        if let Standing::In(number) = self.standing {
            say.push(encode(Say::Leave(wire::Leave { number })));
        }
        self.behind = false;
        self.version = None;
        self.forget_past();
        self.away(Instant::now());
    }

    /// Nothing more comes.
    pub(super) fn close(self, code: u32, reason: &str) {
        for pending in self.pending {
            if let Some(ticket) = pending.ticket {
                let reason = reason.to_owned();
                drop(ticket.send(Err(Rejected { code: 0, reason })));
            }
        }
        let reason = reason.to_owned();
        // Whether anybody still listens makes no difference to what is over.
        drop(self.events.try_send(Event::Closed { code, reason }));
    }

    pub(super) fn join(&self, request: u32) -> wire::Join {
        wire::Join {
            request,
            room: self.name.clone(),
            kind: self.kind.into(),
            role: self.role.into(),
            client: self.client.get(),
            since: self.since.map(|since| since.seq),
            since_at: self.since.map_or(0, |since| since.at),
            version: self.version.clone(),
        }
    }

    pub(super) fn submit(&mut self, payload: Bytes) -> Result<Ticket, RoomError> {
        if self.pending.len() >= QUEUED_OPERATIONS {
            return Err(RoomError::Full(self.pending.len()));
        }
        let operation = Operation {
            number: self.last + 1,
            base: self.since.map_or(0, |since| since.seq),
            payload,
        };
        self.queue.push(&operation)?;
        self.last += 1;
        let (ticket, acked) = oneshot::channel();
        self.pending.push_back(Pending {
            operation,
            ticket: Some(ticket),
        });
        Ok(Ticket::new(self.last, acked))
    }

    /// Sends what waits, as far as the window goes.
    pub(super) fn fill(&mut self, number: u32, window: Window, say: &mut Vec<Bytes>) {
        while let Some(first) = self.pending.get(self.sent) {
            let mut submit = wire::Submit {
                number,
                operation: first.operation.number,
                base: first.operation.base,
                payloads: Vec::new(),
            };
            let mut bytes = 0;
            while let Some(Pending { operation, .. }) = self.pending.get(self.sent) {
                let len = operation.payload.len();
                let follows = operation.number == submit.operation + submit.payloads.len() as u64
                    && operation.base == submit.base
                    && (bytes == 0 || bytes + len <= SUBMIT_BYTES);
                let fits = self.sent < window.operations
                    && (self.sent_bytes == 0 || self.sent_bytes + len <= window.bytes);
                if !follows || !fits {
                    break;
                }
                submit.payloads.push(operation.payload.clone());
                bytes += len;
                self.sent += 1;
                self.sent_bytes += len;
            }
            if submit.payloads.is_empty() {
                break;
            }
            say.push(encode(Say::Submit(submit)));
        }
    }

    /// Says where this client is: on a datagram if there are such, and then once more on the stream,
    /// unless the server has been heard to know it.
    pub(super) fn say_presence(
        &mut self,
        number: u32,
        now: Instant,
        say: &mut Vec<Bytes>,
        transport: &Transport,
    ) {
        let repeats = self.presence_repeat.is_some_and(|at| at <= now);
        if self.presence_sent && !repeats {
            return;
        }
        let entry = wire::PresenceEntry {
            site: self.client.get(),
            clock: self.presence_clock,
            state: self.presence.clone(),
        };
        let message = encode(Say::Presence(wire::SetPresence {
            number,
            entries: vec![entry],
        }));
        self.presence_sent = true;
        if !repeats && transport.send_datagram(&message) {
            self.presence_repeat.get_or_insert(now + PRESENCE_REPEAT);
        } else {
            self.presence_repeat = None;
            say.push(message);
        }
    }

    /// Takes presence, which may come twice and late. Gives what is new of it.
    pub(super) fn hear_presence(
        &mut self,
        entries: Vec<wire::PresenceEntry>,
    ) -> Vec<(u64, Option<Bytes>)> {
        let mut news = Vec::new();
        for entry in entries {
            if entry.site == self.client.get() {
                self.hear_of_itself(&entry);
            }
            let here = entry.state.is_some();
            let known = self.replicas.get(&entry.site).copied();
            let is_new = known.is_none_or(|(clock, was_here)| {
                entry.clock > clock || (entry.clock == clock && was_here && !here)
            });
            if !is_new {
                continue;
            }
            if self.replicas.len() >= PRESENCE_REPLICAS {
                self.replicas.retain(|_, (_, here)| *here);
            }
            if self.replicas.len() < PRESENCE_REPLICAS || known.is_some() {
                self.replicas.insert(entry.site, (entry.clock, here));
                news.push((entry.site, entry.state));
            }
        }
        news
    }

    /// What the server takes for this client's own presence: if it is an older one that is ahead, such
    /// as that this client has left, the true one is said with a higher clock.
    fn hear_of_itself(&mut self, entry: &wire::PresenceEntry) {
        if entry.clock < self.presence_clock {
            return;
        }
        if entry.state == self.presence {
            self.presence_clock = entry.clock;
            self.presence_repeat = None;
        } else if entry.clock < MAX_PRESENCE_CLOCK {
            self.presence_clock = entry.clock + 1;
            self.presence_sent = false;
        }
    }

    /// Tells of it: where the document takes the place of what the application has, of that apart.
    pub(super) fn joined(&mut self, joined: wire::Joined, say: &mut Vec<Bytes>) {
        self.standing = Standing::In(joined.number);
        self.backoff.reset();
        self.disconnected = None;
        self.last = self.last.max(joined.last_operation);
        self.began_anew |= joined.began_anew;
        if self.behind && self.catching_up {
            return self.join_anew(say);
        }
        let may_write = joined.role() != wire::Role::Viewer;
        // From here on the Seq says it better.
        self.version = None;
        if joined.began_anew {
            self.forget_past();
        }
        let state = match joined.content {
            Some(wire::joined::Content::Records(list)) => State::Records(self.foreign(list.spans)),
            Some(wire::joined::Content::Difference(bytes)) => State::Difference(bytes),
            Some(wire::joined::Content::Snapshot(bytes)) => State::Snapshot(bytes),
            None => State::Snapshot(Bytes::new()),
        };
        let head = joined.head;
        self.reach(Since {
            seq: head,
            at: joined.head_at,
        });
        if self.behind {
            return;
        }
        let began_anew = std::mem::take(&mut self.began_anew);
        let catching_up = std::mem::take(&mut self.catching_up);
        let (state, reset) = match state {
            State::Snapshot(snapshot) if began_anew || catching_up => {
                let reset = Event::Reset {
                    snapshot,
                    head,
                    began_anew,
                };
                (State::Records(Vec::new()), Some(reset))
            }
            state => (state, None),
        };
        self.tell(Event::Joined {
            state,
            head,
            may_write,
            session: joined.session,
        });
        if let Some(reset) = reset {
            self.tell(reset);
        }
    }

    /// The client fell behind.
    pub(super) fn reset(&mut self, reset: wire::Reset) -> Event {
        self.forget_past();
        self.reach(Since {
            seq: reset.head,
            at: reset.head_at,
        });
        Event::Reset {
            snapshot: reset.snapshot,
            head: reset.head,
            began_anew: false,
        }
    }

    /// What the client had counts no more.
    fn forget_past(&mut self) {
        self.since = None;
        self.own.clear();
    }

    pub(super) fn acked(&mut self, ack: &wire::Ack) -> Vec<Event> {
        for placed in &ack.placed {
            let last = Since {
                seq: placed.seq + placed.count.saturating_sub(1),
                at: placed.at,
            };
            self.own.entry(placed.seq).or_default().reach(last);
        }
        self.reach(Since::default());
        let mut events = Vec::new();
        while let Some(pending) = self.pending.front()
            && pending.operation.number <= ack.operation
        {
            let number = pending.operation.number;
            let len = pending.operation.payload.len();
            let placed = ack.placed.iter().find(|it| {
                number
                    .checked_sub(it.operation)
                    .is_some_and(|n| n < it.count)
            });
            let acked = Acked {
                seq: placed.map(|it| it.seq + number - it.operation),
                at: placed.map_or(0, |it| it.at),
                stale: placed.map_or(0, |it| it.stale),
            };
            let ticket = self.pending.pop_front().and_then(|it| it.ticket);
            let told = ticket.is_some_and(|ticket| ticket.send(Ok(acked)).is_ok());
            if self.sent > 0 {
                self.sent -= 1;
                self.sent_bytes -= len;
            }
            if !told {
                events.push(Event::Acked {
                    operation: number,
                    acked,
                });
            }
        }
        if let Err(error) = self.queue.acked(ack.operation) {
            // It is sent once more after a restart, and told where it is.
            tracing::warn!(%error, "the queue could not be told of an ack");
        }
        events
    }

    pub(super) fn rejected(&mut self, reject: wire::Reject) -> Option<Event> {
        let code = reject.code();
        self.refused = code != wire::RejectCode::ReadOnly;
        if matches!(
            code,
            wire::RejectCode::Window | wire::RejectCode::Rate | wire::RejectCode::NotStored
        ) {
            return None;
        }
        let number = reject.operation;
        let at = self
            .pending
            .iter()
            .position(|it| it.operation.number == number)?;
        let pending = self.pending.remove(at)?;
        if let Err(error) = self.queue.rejected(number) {
            // It is sent once more after a restart, and rejected again.
            tracing::warn!(%error, "the queue could not be told of a rejection");
        }
        if at < self.sent {
            self.sent -= 1;
            self.sent_bytes -= pending.operation.payload.len();
        }
        let rejected = Rejected {
            code: reject.code,
            reason: reject.message,
        };
        if let Some(ticket) = pending.ticket {
            drop(ticket.send(Err(rejected.clone())));
        }
        Some(Event::Rejected {
            operation: number,
            rejected,
        })
    }

    pub(super) fn records(&mut self, records: wire::Records) -> Result<Option<Event>, String> {
        if self.since.is_none_or(|since| records.after > since.seq) {
            return Err(format!(
                "records after {} came, and there are none from {} on",
                records.after,
                self.since.map_or(0, |since| since.seq)
            ));
        }
        let foreign = self.foreign(records.spans);
        let last = foreign.last().filter(|it| it.seq == records.through);
        self.reach(Since {
            seq: records.through,
            at: last.map_or(records.through_at, |record| record.at),
        });
        Ok((!foreign.is_empty()).then_some(Event::Records(foreign)))
    }

    /// The records that this client neither wrote nor has.
    fn foreign(&self, spans: Vec<wire::Span>) -> Vec<Record> {
        let mut records = Vec::new();
        for span in spans {
            let mut at = span.at;
            for (n, payload) in span.payloads.into_iter().enumerate() {
                if let Some(later) = n.checked_sub(1).and_then(|n| span.later.get(n)) {
                    at += u64::from(*later);
                }
                let seq = span.seq + n as u64;
                let own = self.own.range(..=seq).next_back();
                let is_own = own.is_some_and(|(_, last)| seq <= last.seq);
                if is_own || self.since.is_some_and(|since| seq <= since.seq) {
                    continue;
                }
                records.push(Record {
                    seq,
                    at,
                    session: span.session,
                    site: span.site,
                    user: span.user.clone(),
                    payload,
                });
            }
        }
        records
    }

    /// The client has everything up to `to`, and as far beyond as what follows is its own.
    fn reach(&mut self, to: Since) {
        let mut since = self.since.unwrap_or_default();
        since.reach(to);
        while let Some(first) = self.own.first_entry()
            && *first.key() <= since.seq + 1
        {
            since.reach(first.remove());
        }
        if self.since.is_some() || matches!(self.standing, Standing::In(_)) {
            self.since = Some(since);
        }
    }
}

#[cfg(test)]
mod tests;
