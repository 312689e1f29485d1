//! The closed-loop load: writers that keep a number of updates in flight.
//!
//! Each room has one writer and, if wanted, one reader. An update is finished when the
//! writer's durable ack covers it, or when the reader has seen it; whichever counts, both
//! are timed. A finished update lets the next one go. Updates in flight are counted either
//! per room, or as tokens that go round all rooms, where there are fewer of them than rooms.
//!
//! The loop also checks what it is told: an ack for what was never sent, a reader that
//! misses an update or sees one that was not written, is a failure.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

use crate::{
    client::{ConnId, Load, Outbox},
    speech::{Expected, Pieces, Speech},
    story::Hand,
    wire::Incoming,
};

/// When an update counts as finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Ack {
    /// The server has said that it is durable (message type 102).
    Durable,
    /// The reader in the same room has it.
    Peer,
}

/// How often a writer asks for the durable ack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum AckEvery {
    /// After each update, as `@y-sweet/client` does.
    Update,
    /// After each write, which may hold many updates.
    Write,
}

/// Updates in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InFlight {
    /// So many in each room.
    PerRoom(u64),
    /// So many in all, taking turns over the rooms.
    InAll(u64),
}

/// The writers, the readers and what they have measured.
pub(crate) struct ClosedLoop {
    rooms: Vec<Room>,
    /// By connection.
    roles: Vec<Role>,
    ack: Ack,
    asks: Option<AckEvery>,
    in_flight: InFlight,
    speech: Speech,
    hand: Hand,
    bytes: usize,
    epoch: Instant,
    measuring: bool,
    paused: bool,
    tokens: u64,
    next_room: usize,
    figures: Figures,
}

/// What was counted since [`ClosedLoop::measure`].
pub(crate) struct Figures {
    /// Updates finished.
    pub(crate) finished: u64,
    /// From the write to the durable ack.
    pub(crate) acked: Latency,
    /// From the write to the reader.
    pub(crate) seen: Latency,
}

impl ClosedLoop {
    /// A loop whose updates carry `bytes` characters. It asks for durable acks if `asks`.
    pub(crate) fn new(
        ack: Ack,
        asks: Option<AckEvery>,
        in_flight: InFlight,
        hand: Hand,
        bytes: usize,
    ) -> Self {
        Self {
            rooms: Vec::new(),
            roles: Vec::new(),
            ack,
            asks,
            in_flight,
            speech: Speech::Yjs,
            hand,
            bytes,
            epoch: Instant::now(),
            measuring: false,
            paused: false,
            tokens: 0,
            next_room: 0,
            figures: Figures::new(),
        }
    }

    /// Speaks another protocol; before the first room is added.
    pub(crate) fn speak(&mut self, speech: Speech) {
        self.speech = speech;
    }

    /// Adds a room between connections that have joined it.
    pub(crate) fn add_room(&mut self, writer: ConnId, reader: Option<ConnId>) {
        let room = self.rooms.len();
        for (conn, role) in [
            (Some(writer), Role::Writer(room)),
            (reader, Role::Reader(room)),
        ] {
            let Some(conn) = conn else { continue };
            if self.roles.len() <= conn {
                self.roles.resize(conn + 1, Role::Nobody);
            }
            self.roles[conn] = role;
        }
        let mut pieces = Pieces::new(self.speech, self.hand, room as u32, self.bytes);
        self.rooms.push(Room {
            writer,
            reader: reader.map(|_| pieces.reader()),
            pieces,
            sent: VecDeque::new(),
            first: 0,
            acked: 0,
            seen: 0,
            due: 0,
        });
    }

    /// Sends the first updates.
    pub(crate) fn start(&mut self, out: &mut Outbox) {
        match self.in_flight {
            InFlight::PerRoom(n) => {
                for room in 0..self.rooms.len() {
                    self.write(room, n, Instant::now(), out);
                }
            }
            InFlight::InAll(n) => {
                self.tokens = n;
                self.spend_tokens(Instant::now(), out);
            }
        }
    }

    /// Forgets what was counted and counts from now.
    pub(crate) fn measure(&mut self) {
        self.figures = Figures::new();
        self.measuring = true;
    }

    /// Ends the measurement and stops writing; what is in flight is still awaited.
    pub(crate) fn pause(&mut self) -> Figures {
        self.measuring = false;
        self.paused = true;
        std::mem::replace(&mut self.figures, Figures::new())
    }

    /// Updates that somebody still waits for.
    pub(crate) fn outstanding(&self) -> u64 {
        self.rooms
            .iter()
            .map(|room| room.next() - room.finished_by_all(self.asks.is_some()))
            .sum()
    }

    fn write(&mut self, room: usize, n: u64, now: Instant, out: &mut Outbox) {
        if self.paused || n == 0 {
            return;
        }
        let at = self.nanos(now);
        let Room {
            writer,
            pieces,
            sent,
            first,
            ..
        } = &mut self.rooms[room];
        let next = *first + sent.len() as u64;
        out.send(*writer, |bytes| {
            pieces.write(self.speech, next, n, self.asks, bytes);
        });
        sent.extend(std::iter::repeat_n(at, n as usize));
    }

    fn spend_tokens(&mut self, now: Instant, out: &mut Outbox) {
        while self.tokens > 0 && !self.paused {
            self.tokens -= 1;
            let room = self.next_room;
            self.next_room = (room + 1) % self.rooms.len();
            self.write(room, 1, now, out);
        }
    }

    /// All updates before number `upto` of the room are durable, or have been seen.
    fn progress(&mut self, room: usize, ack: Ack, upto: u64, now: Instant) -> Result<(), String> {
        let now = self.nanos(now);
        let asks = self.asks.is_some();
        if ack == Ack::Durable && !asks {
            // The well protocol acks whether it is asked or not.
            return Ok(());
        }
        let place = &mut self.rooms[room];
        let from = match ack {
            Ack::Durable => place.acked,
            Ack::Peer => place.seen,
        };
        if upto > place.next() {
            return Err(format!("{ack:?} progress beyond what was written"));
        }
        if upto <= from {
            return Ok(());
        }
        if self.measuring {
            let latency = match ack {
                Ack::Durable => &mut self.figures.acked,
                Ack::Peer => &mut self.figures.seen,
            };
            for &sent in place
                .sent
                .range((from - place.first) as usize..(upto - place.first) as usize)
            {
                latency.record(now.saturating_sub(sent));
            }
        }
        match ack {
            Ack::Durable => place.acked = upto,
            Ack::Peer => place.seen = upto,
        }
        if ack == self.ack {
            if self.measuring {
                self.figures.finished += upto - from;
            }
            match self.in_flight {
                InFlight::PerRoom(_) => place.due += upto - from,
                InFlight::InAll(_) => self.tokens += upto - from,
            }
        }
        let done = place.finished_by_all(asks);
        place.sent.drain(..(done - place.first) as usize);
        place.first = done;
        Ok(())
    }

    fn hear(&mut self, room: usize, update: &[u8], now: Instant) -> Result<(), String> {
        let Some(reader) = &mut self.rooms[room].reader else {
            return Ok(());
        };
        let upto = reader
            .read(update)
            .map_err(|malformed| malformed.to_string())?;
        self.progress(room, Ack::Peer, upto, now)
    }

    fn nanos(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.epoch).as_nanos() as u64
    }
}

impl Load for ClosedLoop {
    fn message(&mut self, at: ConnId, message: Incoming<'_>, now: Instant, out: &mut Outbox) {
        let role = self.roles.get(at).copied().unwrap_or(Role::Nobody);
        let result = match (role, message) {
            (Role::Writer(room), Incoming::Ack(n)) => self.progress(room, Ack::Durable, n, now),
            (Role::Reader(room), Incoming::Update(update) | Incoming::Step2(update)) => {
                self.hear(room, update, now)
            }
            _ => Ok(()),
        };
        if let Err(why) = result {
            out.fail(why);
        }
    }

    fn read_done(&mut self, at: ConnId, now: Instant, out: &mut Outbox) {
        match (self.in_flight, self.roles.get(at)) {
            (InFlight::PerRoom(_), Some(&(Role::Writer(room) | Role::Reader(room)))) => {
                let due = std::mem::take(&mut self.rooms[room].due);
                self.write(room, due, now, out);
            }
            (InFlight::InAll(_), _) => self.spend_tokens(now, out),
            _ => {}
        }
    }
}

/// How long something took, many times.
pub(crate) struct Latency(Histogram<u64>);

impl Latency {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        // Two digits: 1 % is far below what two rounds differ by, and the table stays in
        // the processor's cache.
        let histogram = Histogram::new_with_max(MAX_LATENCY.as_nanos() as u64, 2);
        Self(histogram.expect("the bounds are constants and valid"))
    }

    /// Adds one measurement, in nanoseconds.
    pub(crate) fn record(&mut self, nanos: u64) {
        self.0.saturating_record(nanos);
    }

    /// Adds those of another.
    pub(crate) fn merge(&mut self, other: &Self) -> anyhow::Result<()> {
        Ok(self.0.add(&other.0)?)
    }

    /// A quantile in microseconds; not a number if there is nothing.
    pub(crate) fn micros(&self, quantile: f64) -> f64 {
        if self.0.is_empty() {
            return f64::NAN;
        }
        self.0.value_at_quantile(quantile) as f64 / 1e3
    }

    /// How many measurements there are.
    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }
}

impl Figures {
    fn new() -> Self {
        Self {
            finished: 0,
            acked: Latency::new(),
            seen: Latency::new(),
        }
    }
}

struct Room {
    writer: ConnId,
    pieces: Pieces,
    reader: Option<Expected>,
    /// When the updates from number `first` on were written.
    sent: VecDeque<u64>,
    first: u64,
    /// Updates before this number are durable; seen by the reader.
    acked: u64,
    seen: u64,
    /// Updates to write when the current read is done.
    due: u64,
}

impl Room {
    fn next(&self) -> u64 {
        self.first + self.sent.len() as u64
    }

    /// Updates before this number interest nobody any more.
    fn finished_by_all(&self, asks: bool) -> u64 {
        match (asks, self.reader.is_some()) {
            (true, true) => self.acked.min(self.seen),
            (true, false) => self.acked,
            (false, _) => self.seen,
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Role {
    Nobody,
    Writer(usize),
    Reader(usize),
}

const MAX_LATENCY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{frame::Header, wire};

    /// The messages in a writer's bytes.
    fn messages(mut bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut messages = Vec::new();
        while let Some(header) = Header::read_any(bytes).unwrap() {
            let end = header.size + header.len as usize;
            messages.push(bytes[header.size..end].to_vec());
            bytes = &bytes[end..];
        }
        messages
    }

    fn hear(load: &mut ClosedLoop, at: ConnId, message: &[u8], out: &mut Outbox) {
        let now = Instant::now();
        load.message(at, wire::read(message).unwrap(), now, out);
        load.read_done(at, now, out);
    }

    #[test]
    fn an_ack_covers_all_before_it_and_lets_as_many_go() {
        let mut out = Outbox::for_test(1);
        let mut load = ClosedLoop::new(
            Ack::Durable,
            Some(AckEvery::Update),
            InFlight::PerRoom(4),
            Hand::Woven,
            10,
        );
        load.add_room(0, None);
        load.start(&mut out);
        load.measure();
        let sent = messages(&out.take(0));
        let acks: Vec<_> = sent
            .iter()
            .filter(|message| message[0] == 102)
            .cloned()
            .collect();
        assert_eq!((sent.len(), acks.len(), load.outstanding()), (8, 4, 4));

        hear(&mut load, 0, &acks[2], &mut out);
        assert_eq!((messages(&out.take(0)).len(), load.outstanding()), (6, 4));
        hear(&mut load, 0, &acks[1], &mut out);
        assert!(
            out.take(0).is_empty(),
            "an ack that says nothing new lets nothing go"
        );

        let figures = load.pause();
        assert_eq!(
            (
                figures.finished,
                figures.acked.count(),
                figures.seen.count()
            ),
            (3, 3, 0)
        );
        hear(&mut load, 0, &acks[3], &mut out);
        assert_eq!((out.take(0).len(), load.outstanding()), (0, 3));
        assert_eq!(out.failures(), 0);
        hear(&mut load, 0, &[102, 1, 99], &mut out);
        assert_eq!(out.failures(), 1, "an ack for what was not sent");
    }

    #[test]
    fn a_reader_finishes_updates_and_notices_a_gap() {
        let mut out = Outbox::for_test(2);
        let mut load = ClosedLoop::new(Ack::Peer, None, InFlight::PerRoom(3), Hand::Typed, 10);
        load.add_room(0, Some(1));
        load.start(&mut out);
        load.measure();
        let sent = messages(&out.take(0));
        hear(&mut load, 1, &sent[0], &mut out);
        assert_eq!((messages(&out.take(0)).len(), load.outstanding()), (1, 3));
        hear(&mut load, 1, &sent[0], &mut out);
        assert_eq!(
            (out.take(0).len(), out.failures()),
            (0, 0),
            "twice is harmless"
        );
        hear(&mut load, 1, &sent[2], &mut out);
        assert_eq!(out.failures(), 1);
        assert_eq!(load.pause().finished, 1);
    }

    #[test]
    fn few_updates_in_flight_go_round_many_rooms() {
        let mut out = Outbox::for_test(3);
        let mut load = ClosedLoop::new(
            Ack::Durable,
            Some(AckEvery::Write),
            InFlight::InAll(2),
            Hand::Woven,
            10,
        );
        for writer in 0..3 {
            load.add_room(writer, None);
        }
        load.start(&mut out);
        let ack = messages(&out.take(0)).pop().unwrap();
        assert!(!out.take(1).is_empty() && out.take(2).is_empty());
        hear(&mut load, 0, &ack, &mut out);
        assert!(
            out.take(0).is_empty() && !out.take(2).is_empty(),
            "the next room has its turn"
        );
    }
}
