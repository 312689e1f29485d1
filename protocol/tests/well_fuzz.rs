//! Hostile messages through the `well` dialect: what clients say, with bits flipped, ends cut off,
//! fields out of place and sizes over every limit, in sessions that rooms answer.
//!
//! `FUZZ_MESSAGES` of them, 200,000 by default; `SEED` repeats them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use prost::Message as _;
use protocol::close::MAX_CLOSE_REASON_BYTES;
use protocol::dialect::well::wire::{
    self, ClientMessage, ServerMessage, client_message::Message as Client,
};
use protocol::dialect::well::{Action, HELLO_TIME, Output, Session, Terms};
use protocol::dialect::{Command, Content, Event};
use protocol::limits::{
    MAX_PAYLOAD_BYTES, MAX_PRESENCE_ENTRIES, MAX_ROOMS_PER_CONNECTION, WINDOW_OPERATIONS,
};
use protocol::{Role, Seq, Timestamp};
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};

/// After so many messages a session ends, if it has not before.
const MESSAGES_PER_SESSION: u64 = 24;
/// One message of so many is larger than any payload may be.
const ONE_IS_HUGE: u32 = 20_000;
/// By how much memory may grow after the first quarter: buffers that were grown once.
const MEMORY_BYTES: u64 = 48 << 20;
const WALL: Timestamp = Timestamp::from_micros(1_795_520_879_000_000);

#[test]
fn hostile_messages_have_typed_ends_and_are_bounded() {
    let seed = setting("SEED", 20_261_130);
    let messages = setting("FUZZ_MESSAGES", 200_000);
    eprintln!("SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut counts = Counts::default();
    let mut before = 0;
    while counts.messages < messages {
        if before == 0 && counts.messages >= messages / 4 {
            before = resident_bytes();
        }
        attack(&mut random, &mut counts);
    }
    let grown = resident_bytes().saturating_sub(before);
    eprintln!("{counts:?}, memory grew by {} KiB", grown >> 10);
    assert!(grown < MEMORY_BYTES, "memory grew by {grown} bytes");
    // It reached what it is meant to reach.
    assert!(counts.submissions > messages / 100, "{counts:?}");
    assert!(counts.presence > messages / 100, "{counts:?}");
    assert!(counts.refused > messages / 100, "{counts:?}");
    for code in [4400, 4404, 4413, 4429] {
        assert!(counts.codes.contains_key(&code), "no {code}: {counts:?}");
    }
}

#[derive(Debug, Default)]
struct Counts {
    messages: u64,
    sessions: u64,
    submissions: u64,
    presence: u64,
    /// Reject, Left and Error.
    refused: u64,
    /// Codes of those and of ends, and how often.
    codes: BTreeMap<u32, u64>,
}

/// One session, from its Hello until it has ended or had enough.
fn attack(random: &mut StdRng, counts: &mut Counts) {
    counts.sessions += 1;
    let mut now = Instant::now();
    let terms = Terms {
        session: 1,
        durability: "none",
        hello_time: HELLO_TIME,
        rooms: MAX_ROOMS_PER_CONNECTION,
    };
    let mut session = Session::new(terms, now);
    let mut rooms = Rooms::default();
    // Without these, most sessions would not be greeted.
    let honest = random.random_bool(0.9);
    let opening = [hello(), join(1, "doc/a"), join(2, "text/b")];
    let opening = opening.into_iter().filter(|_| honest);
    let said: Vec<Bytes> = opening
        .map(|message| message.encode_to_vec().into())
        .collect();
    for n in 0..MESSAGES_PER_SESSION {
        let message = match said.get(n as usize) {
            Some(message) => message.clone(),
            None => hostile(random).into(),
        };
        let mut out = Output::default();
        now += Duration::from_millis(random.random_range(0..20_000));
        if random.random_bool(0.05) {
            session.handle_timeout(now, &mut out);
        }
        if random.random_bool(0.05) {
            session.handle_datagram(&message, now, &mut out);
        } else {
            session.handle_message(&message, now, WALL, &mut out);
        }
        counts.messages += 1;
        let closed = rooms.take(&mut session, out, message.len(), random, counts);
        if closed {
            let mut out = Output::default();
            session.handle_message(&message, now, WALL, &mut out);
            session.handle_timeout(now + Duration::from_secs(60), &mut out);
            assert!(out.messages.is_empty() && out.actions.is_empty() && out.close.is_none());
            return;
        }
    }
}

/// The rooms that a session is in: how many submissions each was sent, and how many are settled.
#[derive(Default)]
struct Rooms(BTreeMap<u32, (u64, u64)>);

impl Rooms {
    /// Checks what a session wants done and answers it. Gives whether the session has ended.
    fn take(
        &mut self,
        session: &mut Session,
        out: Output,
        len: usize,
        random: &mut StdRng,
        counts: &mut Counts,
    ) -> bool {
        let mut payloads = 0;
        for action in out.actions {
            match action {
                Action::Join { number, .. } => {
                    assert!(self.0.insert(number, (0, 0)).is_none(), "a number twice");
                    assert!(self.0.len() <= MAX_ROOMS_PER_CONNECTION);
                    session.accept_join(number, 5, 1);
                }
                Action::Command(number, command) => {
                    self.command(session, number, command, counts, &mut payloads, random);
                }
                Action::Leave { number, .. } => {
                    self.0.remove(&number).expect("it was joined");
                }
                Action::Authenticate(_)
                | Action::Trace(_)
                | Action::Resume(_)
                | Action::RoundTrip(_) => {}
            }
        }
        assert!(payloads <= len, "no more comes out than went in");
        for message in out.messages {
            hear(&[message.head, message.body].concat(), counts);
        }
        let mut answers = Output::default();
        for (number, (sent, settled)) in &mut self.0 {
            assert!(*sent - *settled <= WINDOW_OPERATIONS as u64, "the window");
            if settled < sent && random.random_bool(0.3) {
                *settled = random.random_range(*settled + 1..=*sent);
                let count = *settled;
                session.handle_event(*number, Event::Settled { count }, &mut answers);
            }
        }
        for message in answers.messages {
            hear(&[message.head, message.body].concat(), counts);
        }
        out.close.is_some_and(|(code, reason)| {
            assert!(reason.len() <= MAX_CLOSE_REASON_BYTES);
            *counts.codes.entry(code.code().into()).or_default() += 1;
            true
        })
    }

    fn command(
        &mut self,
        session: &mut Session,
        number: u32,
        command: Command,
        counts: &mut Counts,
        payloads: &mut usize,
        random: &mut StdRng,
    ) {
        let (sent, _) = self.0.get_mut(&number).expect("a room that was joined");
        match command {
            Command::Enter { .. } if random.random_bool(0.95) => {
                let mut out = Output::default();
                let version = Bytes::new();
                let role = Role::Editor;
                session.handle_event(number, Event::Joined { version, role }, &mut out);
                let entered = Event::Entered {
                    head: Seq::new(3),
                    at: Timestamp::from_micros(30),
                    began_anew: false,
                    last_op: 0,
                    content: Content::Snapshot(Bytes::from_static(b"document")),
                };
                session.handle_event(number, entered, &mut out);
            }
            Command::Submit(submission) => {
                assert!(submission.payload.len() <= MAX_PAYLOAD_BYTES);
                *payloads += submission.payload.len();
                *sent += 1;
                counts.submissions += 1;
            }
            Command::Presence(entries) => {
                assert!(entries.len() <= MAX_PRESENCE_ENTRIES);
                counts.presence += 1;
            }
            Command::Enter { .. } | Command::Sync { .. } | Command::QueryPresence => {}
        }
    }
}

/// What a session says is the protocol's own, and an error has a code.
fn hear(bytes: &[u8], counts: &mut Counts) {
    use wire::server_message::Message as Server;
    let message = ServerMessage::decode(bytes).expect("a message of the protocol");
    let code = match message.message.expect("it is one of them") {
        Server::Left(left) => left.code,
        Server::Error(error) => error.code,
        Server::Goodbye(goodbye) => goodbye.code,
        Server::Reject(reject) => {
            assert!(reject.code > 0 && !reject.message.is_empty());
            counts.refused += 1;
            return;
        }
        _ => return,
    };
    assert!((4400..4500).contains(&code), "{code}");
    counts.refused += 1;
    *counts.codes.entry(code).or_default() += 1;
}

/// A message that was honest once, or never.
fn hostile(random: &mut StdRng) -> Vec<u8> {
    if random.random_ratio(1, ONE_IS_HUGE) {
        let payload = Bytes::from(vec![0; MAX_PAYLOAD_BYTES + 1]);
        return submit(random, vec![payload]).encode_to_vec();
    }
    let mut bytes = match random.random_range(0..24) {
        0 => {
            let mut noise = vec![0; random.random_range(0..200)];
            random.fill_bytes(&mut noise);
            noise
        }
        1 => hello().encode_to_vec(),
        2 => {
            let room = ["doc/a", "text/b", "a", "", "/", "doc/\u{1f30a}"];
            let room = room[random.random_range(0..room.len())];
            join(random.random(), room).encode_to_vec()
        }
        3 => {
            let number = random.random_range(0..4);
            said(Client::Leave(wire::Leave { number })).encode_to_vec()
        }
        4 => {
            // Many operations, or too many.
            let count = random.random_range(0..WINDOW_OPERATIONS / 4);
            let over = random.random_ratio(1, 8);
            let count = if over { WINDOW_OPERATIONS + 1 } else { count };
            submit(random, vec![Bytes::from_static(b"x"); count]).encode_to_vec()
        }
        5 => {
            let count = random.random_range(0..MAX_PRESENCE_ENTRIES / 16);
            let over = random.random_ratio(1, 64);
            let count = if over {
                MAX_PRESENCE_ENTRIES + 1
            } else {
                count
            };
            presence(random, count).encode_to_vec()
        }
        6 => said(Client::Pong(wire::Pong {
            sent: random.random(),
            time: random.random(),
        }))
        .encode_to_vec(),
        7..12 => presence(random, 1).encode_to_vec(),
        _ => {
            let mut payload = vec![0; random.random_range(0..300)];
            random.fill_bytes(&mut payload);
            submit(random, vec![payload.into()]).encode_to_vec()
        }
    };
    // Most stay as they are, so that a session gets further.
    if random.random_bool(0.8) {
        return bytes;
    }
    for _ in 0..random.random_range(1..6) {
        if bytes.is_empty() {
            break;
        }
        let at = random.random_range(0..bytes.len());
        match random.random_range(0..5) {
            0 => bytes[at] ^= 1 << random.random_range(0..8),
            1 => bytes[at] = random.random(),
            2 => bytes.truncate(at),
            3 => drop(bytes.remove(at)),
            _ => bytes.insert(at, random.random()),
        }
    }
    bytes
}

fn said(message: Client) -> ClientMessage {
    ClientMessage {
        message: Some(message),
    }
}

fn hello() -> ClientMessage {
    said(Client::Hello(wire::Hello {
        versions: vec![1],
        client_name: "hostile".into(),
        resume_key: Bytes::from_static(&[7; 16]),
        ..Default::default()
    }))
}

fn join(request: u32, room: &str) -> ClientMessage {
    said(Client::Join(wire::Join {
        request,
        room: room.into(),
        client: u64::from(request) + 1,
        since: Some(0),
        ..Default::default()
    }))
}

fn submit(random: &mut StdRng, payloads: Vec<Bytes>) -> ClientMessage {
    said(Client::Submit(wire::Submit {
        number: random.random_range(1..4),
        operation: random.random_range(0..1_000),
        base: random.random_range(0..50),
        payloads,
    }))
}

fn presence(random: &mut StdRng, count: usize) -> ClientMessage {
    let states: [&[u8]; 5] = [b"{}", b"{\"at\":1}", b"{", b"\xff", b"[1,2"];
    let entries = (0..count).map(|_| wire::PresenceEntry {
        site: if random.random_ratio(1, 2_000) {
            0
        } else {
            random.random_range(1..9)
        },
        clock: random.random_range(0..(1 << 52) + (1 << 40)),
        state: match random.random_range(0..2_000) {
            0 => None,
            state => Some(Bytes::from_static(states.get(state).unwrap_or(&states[0]))),
        },
    });
    let entries = entries.collect();
    let number = random.random_range(1..4);
    said(Client::Presence(wire::SetPresence { number, entries }))
}

fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().expect("a whole number"),
        Err(_) => default,
    }
}

/// This process's resident memory.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages = statm
        .split(' ')
        .nth(1)
        .and_then(|it| it.parse::<u64>().ok());
    pages.expect("a number of pages") * 4096
}
