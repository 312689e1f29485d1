//! Clients that mean harm, in numbers, and what the server tells them.
//!
//! Each [`Attack`] is so many clients that do one thing until they are stopped, and come back whenever they
//! are thrown out. They share few addresses of 127.0.0.0/8, as many connections to each as a pit lets in, so
//! that limits of an address are met as well as those of a connection. Nothing here is slower than it need
//! be, but for a pause before a client comes back: without one this machine would spend its time on
//! opening sockets.
//!
//! | attack | clients | addresses | each |
//! | --- | --- | --- | --- |
//! | `flood` | 100 | 10 | writes updates as fast as its socket takes them |
//! | `slow-readers` | 50 | 5 | asks a flooded room for its document again and again, and reads 5 KB a second |
//! | `slow-writers` | 20 | 2 | sends a request, or a large frame, ten bytes a second |
//! | `half-open` | 1,000 | 20 | connects and says nothing |
//! | `join-storm` | 80 | 20 | joins a room, has its document and leaves, all together up to 400 times a second |
//! | `hoard` | 60 | 6 | fills rooms without limits with small items and presence, and stays in them |

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::task::JoinSet;

use crate::socket::{BINARY, Ears, Socket, frame, handshake};
use crate::wire;

/// What so many clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attack {
    /// Updates as fast as they go.
    Flood,
    /// Documents that are asked for and not read.
    SlowReaders,
    /// Requests and frames that do not end.
    SlowWriters,
    /// Connections that say nothing.
    HalfOpen,
    /// Rooms that are joined and left.
    JoinStorm,
    /// Rooms that are filled until nothing is taken any more.
    Hoard,
}

impl Attack {
    /// Those that a space with the limits of a pit withstands.
    pub const ON_PITS: [Self; 5] = [
        Self::Flood,
        Self::SlowReaders,
        Self::SlowWriters,
        Self::HalfOpen,
        Self::JoinStorm,
    ];

    /// All of them; hoarders fill rooms of the space `doc`.
    pub const ALL: [Self; 6] = [
        Self::Flood,
        Self::SlowReaders,
        Self::SlowWriters,
        Self::HalfOpen,
        Self::JoinStorm,
        Self::Hoard,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Flood => "flood",
            Self::SlowReaders => "slow-readers",
            Self::SlowWriters => "slow-writers",
            Self::HalfOpen => "half-open",
            Self::JoinStorm => "join-storm",
            Self::Hoard => "hoard",
        }
    }

    /// How many clients there are, and how many of them share an address.
    const fn clients(self) -> (usize, usize) {
        match self {
            Self::Flood => (100, 10),
            Self::SlowReaders => (50, 10),
            Self::SlowWriters => (20, 10),
            Self::HalfOpen => (1_000, 50),
            Self::JoinStorm => (80, 4),
            Self::Hoard => (60, 10),
        }
    }
}

impl fmt::Display for Attack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Attack {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|attack| attack.name() == text);
        found.ok_or_else(|| format!("no attack is called {text:?}"))
    }
}

/// What attackers heard, each with how often: a close code, or how else they were ended.
pub type Tally = BTreeMap<String, u64>;

/// Attackers at work. They stop when this is dropped.
#[derive(Debug)]
pub struct Attackers {
    clients: JoinSet<()>,
    heard: BTreeMap<&'static str, Arc<Mutex<Tally>>>,
}

impl Attackers {
    /// Lets them loose on a server.
    #[must_use]
    pub fn start(server: SocketAddr, attacks: &[Attack]) -> Self {
        let mut clients = JoinSet::new();
        let mut heard = BTreeMap::new();
        for &attack in attacks {
            let tally = Arc::default();
            let (number, each) = attack.clients();
            for nth in 0..number {
                let address = nth / each;
                let attacker = Attacker {
                    server,
                    nth: nth as u64,
                    group: address,
                    // The second byte is the attack's, so that their addresses are apart.
                    source: Ipv4Addr::new(127, 1 + attack as u8, 0, 1 + address as u8),
                    tally: Arc::clone(&tally),
                };
                clients.spawn(attacker.run(attack));
            }
            heard.insert(attack.name(), tally);
        }
        Self { clients, heard }
    }

    /// What the attackers of one kind have heard so far.
    ///
    /// # Panics
    /// If none of that kind are at work.
    #[must_use]
    pub fn heard(&self, attack: Attack) -> Tally {
        let tally = self.heard.get(attack.name());
        let tally = tally.unwrap_or_else(|| panic!("there is no {attack}"));
        tally.lock().expect("nobody panics with it").clone()
    }

    /// The same of all of them, each kind in a line.
    #[must_use]
    pub fn report(&self) -> String {
        let line = |(name, tally): (&&str, &Arc<Mutex<Tally>>)| {
            let tally = tally.lock().expect("nobody panics with it");
            let heard: Vec<_> = tally
                .iter()
                .map(|(what, n)| format!("{n} × {what}"))
                .collect();
            format!("{name}: {}\n", heard.join(", "))
        };
        self.heard.iter().map(line).collect()
    }

    /// Stops them, and waits until they have let go of their sockets.
    pub async fn stop(mut self) {
        self.clients.shutdown().await;
    }
}

/// One of them.
struct Attacker {
    server: SocketAddr,
    nth: u64,
    /// Which of the attack's addresses it comes from.
    group: usize,
    source: Ipv4Addr,
    tally: Arc<Mutex<Tally>>,
}

impl Attacker {
    async fn run(self, attack: Attack) {
        for turn in 0.. {
            let end = match attack {
                Attack::Flood => self.flood(turn).await,
                Attack::SlowReaders => self.read_slowly().await,
                Attack::SlowWriters => self.write_slowly(turn).await,
                Attack::HalfOpen => self.say_nothing().await,
                Attack::JoinStorm => self.come_and_go().await,
                Attack::Hoard => self.hoard(turn).await,
            };
            self.note(end);
            tokio::time::sleep(COMES_BACK_AFTER).await;
        }
    }

    fn note(&self, end: io::Result<String>) {
        let what = end.unwrap_or_else(|error| match error.kind() {
            io::ErrorKind::TimedOut => "no answer".to_owned(),
            io::ErrorKind::Other => error
                .to_string()
                .lines()
                .next()
                .unwrap_or_default()
                .to_owned(),
            // It was thrown out before it had heard why.
            _ => "cut off".to_owned(),
        });
        let mut tally = self.tally.lock().expect("nobody panics with it");
        *tally.entry(what).or_default() += 1;
    }

    async fn enter(&self, path: &str) -> io::Result<Socket> {
        let entering = Socket::connect_from(self.source, self.server, path);
        within(ANSWER_TIME, entering).await
    }

    async fn connect(&self) -> io::Result<Socket> {
        let connecting = Socket::connect_from_without_handshake(self.source, self.server);
        within(ANSWER_TIME, connecting).await
    }

    async fn flood(&self, turn: u64) -> io::Result<String> {
        let (mut ears, mut mouth) = self.enter(&flooded(self.group)).await?.split();
        let client = self.client(turn);
        let writing = async {
            for clock in 0.. {
                let update = wire::update(client, clock, FLOOD_BYTES);
                let message = frame(true, BINARY, &wire::update_message(&update));
                if mouth.write_all(&message).await.is_err() {
                    break;
                }
            }
        };
        end_while(closed(&mut ears), writing).await
    }

    async fn read_slowly(&self) -> io::Result<String> {
        let (mut ears, mut mouth) = self.enter(&flooded(self.group)).await?.split();
        let ask = frame(true, BINARY, wire::STEP_1);
        loop {
            // What does not go out now is not insisted on: the server has stopped listening.
            let _ = tokio::time::timeout(SLOWLY, mouth.write_all(&ask)).await;
            if ears.swallow(SLOW_BYTES).await? == 0 {
                return Ok("the end".to_owned());
            }
            tokio::time::sleep(SLOWLY).await;
        }
    }

    async fn write_slowly(&self, turn: u64) -> io::Result<String> {
        let path = flooded(self.group);
        if self.nth.is_multiple_of(2) {
            let (mut ears, mouth) = self.connect().await?.split();
            let head = handshake(self.server, &path);
            return end_while(gone(&mut ears), say_slowly(mouth, head.as_bytes())).await;
        }
        let update = wire::update(self.client(turn), 0, 60_000);
        let message = frame(true, BINARY, &wire::update_message(&update));
        let (mut ears, mouth) = self.enter(&path).await?.split();
        end_while(closed(&mut ears), say_slowly(mouth, &message)).await
    }

    async fn say_nothing(&self) -> io::Result<String> {
        let (mut ears, _mouth) = self.connect().await?.split();
        gone(&mut ears).await
    }

    async fn come_and_go(&self) -> io::Result<String> {
        let path = format!("/pit/stormed-{}", self.group % 10);
        let mut socket = self.enter(&path).await?;
        // A socket that is closed at once may be gone before it is written to.
        let _ = socket.send(wire::STEP_1).await;
        within(ANSWER_TIME, async {
            let (mut ears, _mouth) = socket.split();
            loop {
                match ears.next_message().await? {
                    Ok(message) if message.starts_with(STEP_2) => return Ok(JOINED.to_owned()),
                    Ok(_) => {}
                    Err(end) => return Ok(said(&end)),
                }
            }
        })
        .await
    }

    async fn hoard(&self, turn: u64) -> io::Result<String> {
        let path = format!("/yjs/doc/hoard-{}-{turn}", self.nth);
        let (mut ears, mut mouth) = self.enter(&path).await?.split();
        let client = self.client(turn);
        let writing = async {
            for clock in 0.. {
                // Small items take the most memory for each byte on the wire.
                let mut messages = Vec::new();
                for nth in 0..HOARD_ITEMS {
                    let update = wire::update(client, clock * HOARD_ITEMS + nth, 1);
                    messages.extend(frame(true, BINARY, &wire::update_message(&update)));
                }
                let state = format!("\"{}\"", "x".repeat(PRESENCE_BYTES));
                let presence = wire::awareness(client + clock % 8, clock, &state);
                messages.extend(frame(true, BINARY, &presence));
                if mouth.write_all(&messages).await.is_err() {
                    break;
                }
            }
        };
        end_while(closed(&mut ears), writing).await
    }

    /// A Yjs client that nobody else is, and that it is only this time.
    fn client(&self, turn: u64) -> u64 {
        (turn << 20 | (self.group as u64) << 12 | self.nth << 3) & 0xffff_ffff
    }
}

/// The pit that clients of a flood's address meet in.
fn flooded(group: usize) -> String {
    format!("/pit/flooded-{group}")
}

/// How a connection ends that something is written to meanwhile.
async fn end_while(
    ending: impl Future<Output = io::Result<String>>,
    writing: impl Future<Output = ()>,
) -> io::Result<String> {
    let mut ending = std::pin::pin!(ending);
    tokio::select! {
        end = &mut ending => end,
        () = writing => within(ANSWER_TIME, ending).await,
    }
}

/// The server's close.
async fn closed(ears: &mut Ears) -> io::Result<String> {
    Ok(said(&ears.close_of_any_dialect().await?))
}

/// The end of a connection that speaks no dialect.
async fn gone(ears: &mut Ears) -> io::Result<String> {
    while ears.swallow(SLOW_BYTES).await? > 0 {}
    Ok("the end".to_owned())
}

async fn say_slowly(mut mouth: OwnedWriteHalf, bytes: &[u8]) {
    for byte in bytes {
        if mouth.write_all(&[*byte]).await.is_err() {
            break;
        }
        tokio::time::sleep(SLOWLY).await;
    }
    // Who has said all waits for what comes of it.
    std::future::pending::<()>().await;
}

/// A close as it is counted: its code, and for what is refused for a while that it says for how long.
fn said((code, reason): &(u16, String)) -> String {
    if reason.contains("again") {
        format!("{code}, try again")
    } else {
        format!("{code}")
    }
}

async fn within<T>(limit: Duration, what: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match tokio::time::timeout(limit, what).await {
        Ok(done) => done,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// What is counted of who has come in and has the document.
const JOINED: &str = "joined";
/// How a message with the document begins.
const STEP_2: &[u8] = &[0, 1];
/// How long after its end a client comes back.
const COMES_BACK_AFTER: Duration = Duration::from_millis(200);
/// How long an attacker waits for an answer.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// What those who are slow wait after each step.
const SLOWLY: Duration = Duration::from_millis(100);
/// What they read in one.
const SLOW_BYTES: usize = 512;
/// The text in one update of a flood.
const FLOOD_BYTES: usize = 200;
/// The items that a hoarder sends at once.
const HOARD_ITEMS: u64 = 256;
/// Just what a state of presence may have.
const PRESENCE_BYTES: usize = 16_000;
