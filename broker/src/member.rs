//! A session's side of its room: a mailbox, and cursors into the room's feed and presence.
//!
//! A [`Member`] is polled by the transport that owns the session. It never waits: it says what
//! there is, and wakes the transport's task when there may be more. Everything in it is bounded:
//! the mailbox conflates acks, updates are read by cursor, presence is the latest value.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

use atomic_waker::AtomicWaker;
use bytes::Bytes;
use observatory::{Reason, RoomWas};
use parking_lot::Mutex;
use protocol::dialect::{Command, Event, Refusal};
use protocol::{RoomName, Seq, SessionId, Timestamp};

use crate::feed::{Taken, Wire};
use crate::guest::Guest;
use crate::limits::{MAILBOX_EVENTS, SESSION_WINDOW, SESSION_WINDOW_BYTES};
use crate::presence::EncodePresence;
use crate::room::Room;
use crate::room::core::Mail;
use crate::room::inbox::{Came, Input, payloads};

/// What the room has for one member.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    mail: Mutex<VecDeque<Mail>>,
    waker: AtomicWaker,
    /// As far as which version the member takes presence.
    presence: AtomicU64,
}

impl Mailbox {
    pub(crate) fn put(&self, mail: Mail) {
        let mut queue = self.mail.lock();
        if let Event::Settled { count } = mail.event
            && let Some(Mail {
                event: Event::Settled { count: last },
                ..
            }) = queue.back_mut()
        {
            *last = count;
        } else {
            queue.push_back(mail);
        }
        drop(queue);
        self.waker.wake();
    }

    pub(crate) fn wake(&self) {
        self.waker.wake();
    }

    /// The member may take presence as far as `version`.
    pub(crate) fn show_presence(&self, version: u64) {
        self.presence.store(version, Ordering::Release);
        self.waker.wake();
    }

    /// As far as which version the member takes presence.
    pub(crate) fn presence(&self) -> u64 {
        self.presence.load(Ordering::Acquire)
    }
}

/// A session's membership of a room. Dropping it leaves the room as if the connection broke.
#[derive(Debug)]
pub struct Member {
    session: SessionId,
    room: Arc<Room>,
    guest: Arc<Guest>,
    mailbox: Arc<Mailbox>,
    cursor: Seq,
    /// Where the feed ended before the mailbox was looked into: so what is told of an operation is
    /// told before anything later.
    until: Seq,
    presence: u64,
    /// Commands that the room had no space for.
    held: Vec<Command>,
    submitted: u64,
    /// Of unsettled submissions. Sizes are not kept one by one: all count until all are settled.
    submitted_bytes: usize,
    settled: u64,
    /// Refused by the room since the last that were settled.
    refused: u64,
    /// Nothing of the feed or presence is taken until the room has said where to begin.
    catching_up: bool,
    /// A request for the document has not been answered yet.
    awaiting_state: bool,
    /// When the session came, until it has been handed the document.
    joining: Option<Instant>,
    /// What the room was when the session came.
    room_was: RoomWas,
    left: bool,
}

impl Member {
    pub(crate) fn new(
        session: SessionId,
        room: Arc<Room>,
        mailbox: Arc<Mailbox>,
        guest: Arc<Guest>,
        room_was: RoomWas,
    ) -> Self {
        room.guests.enter(&guest);
        Self {
            session,
            room,
            guest,
            mailbox,
            cursor: Seq::ZERO,
            until: Seq::ZERO,
            presence: 0,
            held: Vec::new(),
            submitted: 0,
            submitted_bytes: 0,
            settled: 0,
            refused: 0,
            catching_up: true,
            awaiting_state: false,
            joining: Some(Instant::now()),
            room_was,
            left: false,
        }
    }

    /// The room's name.
    #[must_use]
    pub fn room(&self) -> &RoomName {
        &self.room.name
    }

    /// The session's id.
    #[must_use]
    pub const fn session(&self) -> SessionId {
        self.session
    }

    /// How many submissions have been handed over.
    #[must_use]
    pub const fn submitted(&self) -> u64 {
        self.submitted
    }

    /// Wakes this task when there may be something new. To be called before looking.
    pub fn register(&mut self, waker: &Waker) {
        self.mailbox.waker.register(waker);
        self.until = self.room.feed.head();
    }

    /// Hands commands to the room, in order.
    pub fn send(&mut self, mut commands: Vec<Command>) {
        if commands.is_empty() {
            return;
        }
        for command in &commands {
            if let Command::Submit(submission) = command {
                self.submitted += 1;
                self.submitted_bytes += submission.payload.len();
            }
        }
        if self.held.is_empty() {
            self.held = commands;
        } else {
            self.held.append(&mut commands);
        }
        self.send_held();
    }

    /// Whether the transport should stop reading from its client for now: the room has not
    /// settled enough of what came before. The task is woken when that changes.
    pub fn is_full(&mut self) -> bool {
        self.send_held();
        !self.held.is_empty()
            || self.submitted - self.settled >= SESSION_WINDOW
            || self.submitted_bytes >= SESSION_WINDOW_BYTES
            || self.mailbox.mail.lock().len() >= MAILBOX_EVENTS
    }

    /// The next event from the room.
    pub fn next_event(&mut self) -> Option<Event> {
        let mail = self.mailbox.mail.lock().pop_front()?;
        if let Some(cursor) = mail.cursor {
            self.come_to(cursor);
            self.catching_up = false;
        }
        if let Event::State { payload, .. } = &mail.event {
            self.guest.sent(payload.len());
        }
        if matches!(mail.event, Event::State { .. } | Event::Entered { .. }) {
            self.awaiting_state = false;
            if let Some(since) = self.joining.take() {
                observatory::joined(self.room_was, since.elapsed());
            }
        }
        if let Event::Refused { .. } = mail.event {
            self.refused += 1;
        }
        if let Event::Settled { count } = mail.event {
            let refused = std::mem::take(&mut self.refused);
            let acked = count.saturating_sub(self.settled + refused);
            observatory::updates_acked(acked);
            self.settled = count;
            if count == self.submitted {
                self.submitted_bytes = 0;
            }
        }
        Some(mail.event)
    }

    /// How long the client took to answer.
    pub fn note_round_trip(&self, took: Duration) {
        self.guest.answered_after(took);
    }

    /// The transport has written everything that it was given.
    pub fn note_written(&self) {
        if self.room.lives.is_any() {
            let (cursor, settled) = (self.cursor, self.settled);
            self.room.lives.written(self.session, cursor, settled);
        }
    }

    fn come_to(&mut self, cursor: Seq) {
        self.cursor = cursor;
        self.guest.came_to(cursor);
    }

    /// The last Seq that the transport has been given.
    #[must_use]
    pub const fn cursor(&self) -> Seq {
        self.cursor
    }

    /// When the server took the record at the cursor, if that is an event of the room.
    #[must_use]
    pub fn event_at_cursor(&self) -> Option<Timestamp> {
        self.room.feed.event_at(self.cursor)
    }

    /// Appends to `out` what the room had committed when the waker was registered and that has not
    /// been taken yet, encoded for `wire`, and stops after about `max_bytes`. Gives whether there is
    /// more.
    pub fn take_updates(&mut self, wire: Wire, max_bytes: usize, out: &mut Vec<Bytes>) -> bool {
        if self.catching_up {
            return false;
        }
        let before = out.len();
        let feed = &self.room.feed;
        let taken = feed.take(self.cursor, self.until, wire, self.session, max_bytes, out);
        if out.len() > before {
            let bytes = out[before..].iter().map(Bytes::len).sum();
            self.guest.sent(bytes);
        }
        match taken {
            Taken::All(cursor) => {
                self.come_to(cursor);
                false
            }
            Taken::Some(cursor) => {
                self.come_to(cursor);
                true
            }
            Taken::Behind => {
                observatory::fell_behind();
                self.catching_up = true;
                self.room.inbox.push(Input::CatchUp(self.session));
                false
            }
        }
    }

    /// What presence had changed since the last call when the room last said so, as one message.
    pub fn take_presence(&mut self, encode: EncodePresence) -> Option<Bytes> {
        if self.catching_up {
            return None;
        }
        let shown = self.mailbox.presence();
        let message = self.room.presence.between(self.presence, shown, encode);
        self.presence = self.presence.max(shown);
        message
    }

    /// What presence had changed since `version`, or since [`Member::take_presence`] if that was
    /// later, as one message, and the version it brings the reader to. Takes nothing: it is for a
    /// way on which it may be lost.
    pub fn presence_after(&self, version: u64, encode: EncodePresence) -> Option<(Bytes, u64)> {
        if self.catching_up {
            return None;
        }
        let version = version.max(self.presence);
        let shown = self.mailbox.presence();
        let message = self.room.presence.between(version, shown, encode)?;
        Some((message, shown))
    }

    /// Everyone's presence again with the next [`Member::take_presence`].
    pub fn forget_presence(&mut self) {
        self.presence = 0;
    }

    /// Leaves the room with a goodbye: presence is gone at once.
    pub fn leave(mut self) {
        self.left = true;
        self.say_left(true);
    }

    /// Offers what is held, in order, as far as the second request for the document: each may be
    /// answered with all of it, so a session has one answer on its way.
    fn send_held(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let is_sync =
            |command: &Command| matches!(command, Command::Sync { .. } | Command::Enter { .. });
        let allowed = usize::from(!self.awaiting_state);
        let syncs = self.held.iter().enumerate().filter(|(_, c)| is_sync(c));
        let end = syncs.map(|(at, _)| at).nth(allowed);
        let rest = end.map(|end| self.held.split_off(end)).unwrap_or_default();
        if !self.held.is_empty() {
            let bytes = payloads(&self.held).map(Bytes::len).sum();
            let submissions = payloads(&self.held).count();
            let asks = self.held.iter().any(is_sync);
            let inbox = &self.room.inbox;
            // Read once, and only for what is counted by time.
            let now = (submissions > 0).then(Instant::now);
            let parent = self.guest.parent();
            let came = || now.map(|now| Came::of(submissions, parent, now));
            if inbox.offer(self.session, &self.mailbox, &mut self.held, came) {
                if let Some(now) = now {
                    observatory::updates_received(submissions, bytes);
                    self.room.tally.add(now, submissions, bytes);
                    self.guest.received(bytes);
                }
                self.awaiting_state |= asks;
            }
        }
        self.held.extend(rest);
    }

    fn say_left(&self, clean: bool) {
        let session = self.session;
        self.room.inbox.push(Input::Leave { session, clean });
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.room.guests.leave(&self.guest);
        if self.room.lives.is_any() {
            self.room.lives.left(self.session);
        }
        if !self.left {
            self.say_left(false);
        }
    }
}
/// Counts a submission that was refused, by its room or before it came there.
pub fn count_refused(refusal: &Refusal) {
    observatory::refused(match refusal {
        Refusal::ReadOnly => Reason::ReadOnly,
        Refusal::Malformed(_) => Reason::Malformed,
        Refusal::TooLarge { .. } => Reason::TooLarge,
        Refusal::Binary { .. } => Reason::Binary,
        Refusal::TooFast { .. } => Reason::TooFast,
        Refusal::Spent { .. } => Reason::Spent,
        Refusal::OutOfOrder { .. } => Reason::OutOfOrder,
        Refusal::NotStored(_) => Reason::NotStored,
    });
}
