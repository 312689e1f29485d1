//! The `yjs` dialect: one session of one room.

use std::task::Waker;
use std::time::Instant;

use broker::{Member, Update, Wire};
use bytes::Bytes;
use protocol::CloseCode;
use protocol::dialect::{Command, Event, Message, Output, PresenceEntry, yjs};

use super::Talk;
use crate::access::tickets::Ticket;
use crate::admission::Admission;
use crate::audit::Stay;
use crate::connection::framing::Framing;
use crate::connection::out::OutQueue;
use crate::quota::meter::{Again, Meter};
use crate::quota::visitors::Visit;

/// A y-websocket client and its room.
#[derive(Debug)]
pub struct Yjs {
    session: yjs::Session,
    member: Member,
    /// Ends the session with its token.
    ticket: Option<Ticket>,
    meter: Meter,
    /// Counts the connection while it lasts.
    _visit: Option<Visit>,
    /// Says that it has left.
    _stay: Option<Stay>,
    /// What the dialect wants done since the last [`Yjs::apply`].
    output: Output,
}

impl Yjs {
    /// A client that has just come, and may.
    #[must_use]
    pub(crate) fn new(member: Member, admission: Admission, now: Instant) -> Self {
        Self {
            session: yjs::Session::new(now),
            member,
            meter: admission.meter(),
            ticket: admission.ticket,
            _visit: admission.visit,
            _stay: admission.stay,
            output: Output::default(),
        }
    }

    /// Does what the dialect says: commands to the room, messages to the client.
    fn apply<F: Framing>(&mut self, out: &mut OutQueue<F>) {
        let mut output = std::mem::take(&mut self.output);
        if output.commands.contains(&Command::QueryPresence) {
            self.member.forget_presence();
        }
        let submitted = self.member.submitted();
        let refused = self
            .meter
            .count(&mut output.commands, &mut Again::default());
        self.member.send(output.commands);
        if let Some((update, refusal)) = refused {
            broker::count_refused(&refusal);
            // What came before it stands; nothing after it does, and the session says so itself.
            let submission = submitted + update;
            let event = Event::Refused {
                submission,
                refusal,
            };
            let mut said = Output::default();
            self.session.handle_event(event, Instant::now(), &mut said);
            output.messages.append(&mut said.messages);
            output.close = said.close.or(output.close);
        }
        for message in &output.messages {
            out.push_message(message);
        }
        if let Some((code, reason)) = output.close {
            out.close(code, reason);
        }
    }
}

impl<F: Framing> Talk<F> for Yjs {
    fn register(&mut self, waker: &Waker) {
        self.member.register(waker);
        if let Some(ticket) = &self.ticket {
            ticket.register(waker);
        }
    }

    fn handle_message(&mut self, message: &Bytes, now: Instant, _out: &mut OutQueue<F>) {
        self.session.handle_message(message, now, &mut self.output);
    }

    fn flush(&mut self, _now: Instant, out: &mut OutQueue<F>) {
        self.apply(out);
    }

    fn take_events(&mut self, now: Instant, out: &mut OutQueue<F>) {
        if let Some((code, reason)) = self.ticket.as_ref().and_then(Ticket::ended) {
            self.session.end(code, reason, now, &mut self.output);
            return self.apply(out);
        }
        while let Some(event) = self.member.next_event() {
            self.session.handle_event(event, now, &mut self.output);
            self.apply(out);
        }
    }

    fn take_feed(&mut self, max_bytes: usize, out: &mut OutQueue<F>) -> bool {
        let mut frames = out.list();
        frames.extend(self.member.take_presence(encode_presence::<F>));
        let updates = Wire {
            place: F::INDEX,
            encode: encode_updates::<F>,
        };
        let more = self.member.take_updates(updates, max_bytes, &mut frames);
        out.push_list(frames);
        more
    }

    fn is_full(&mut self) -> bool {
        self.member.is_full() || self.session.is_full() || self.meter.is_slow()
    }

    fn note_sent(&mut self, now: Instant) {
        self.session.note_sent(now);
    }

    fn note_drained(&mut self) {
        self.member.note_written();
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let dialect = self.session.poll_timeout();
        dialect.into_iter().chain(self.meter.until()).min()
    }

    fn handle_timeout(&mut self, now: Instant, out: &mut OutQueue<F>) {
        self.meter.handle_timeout(now);
        self.session.handle_timeout(now, &mut self.output);
        self.session.note_sent(now);
        self.apply(out);
    }

    fn leave(self) {
        self.member.leave();
    }

    fn farewell(code: CloseCode, reason: &str) -> Option<Message> {
        // A y-websocket page sees no close reason; its client logs this.
        (code.code() >= 4400).then(|| Message::whole(yjs::permission_denied(reason)))
    }
}

/// Updates as y-websocket messages in their framing.
fn encode_updates<F: Framing>(updates: &[Update], out: &mut Vec<u8>) {
    for Update { payload, .. } in updates {
        F::put_header(yjs::update_len(payload.len()), out);
        yjs::encode_update(payload, out);
    }
}

/// Presence as a y-websocket message in its framing.
pub(crate) fn encode_presence<F: Framing>(entries: &[PresenceEntry], out: &mut Vec<u8>) {
    let mut message = Vec::new();
    let entries = entries
        .iter()
        .map(|entry| (entry.site, entry.clock, entry.state.as_deref()));
    yjs::encode_presence(entries, &mut message);
    F::put_header(message.len(), out);
    out.extend_from_slice(&message);
}
