//! Attackers in numbers, and those who behave beside them: nobody is harmed, and everybody who is thrown out is
//! told why.

use std::time::{Duration, Instant};

use system_tests::attack::{Attack, Attackers, Tally};
use system_tests::server::Server;
use system_tests::socket::{BINARY, Socket, frame};
use system_tests::{http, raise_file_limit, wire, within};

const PATIENCE: Duration = Duration::from_secs(60);
/// What the server's own limits give those who say nothing, and a little more.
const HEAD_TIME: Duration = Duration::from_secs(15);

/// How long attackers are at work to fill the memory.
const ATTACKED: Duration = Duration::from_secs(40);

/// What a client sees that has not said who it is in time.
const THROWN_OUT: &str = "the end";

/// Someone who behaves, in a room that no attacker knows.
struct Guest {
    socket: Socket,
    room: String,
    written: u64,
}

impl Guest {
    async fn enter(server: &Server, room: &str) -> Self {
        let path = format!("/yjs/{room}");
        let mut socket = Socket::connect(server.address(), &path)
            .await
            .expect("it is let in");
        socket.sync().await.expect("it has the document");
        Self {
            socket,
            room: room.to_owned(),
            written: 0,
        }
    }

    /// Writes one update, and has its ack.
    async fn write(&mut self) {
        let update = wire::update(7, self.written, 100);
        let message = wire::update_message(&update);
        self.socket.send(&message).await.expect("it is taken");
        self.written += 1;
        within(PATIENCE, "an ack", self.socket.settle(self.written))
            .await
            .expect("it is acked");
    }

    /// All that it has written is there for whoever comes.
    async fn has_lost_nothing(&self, server: &Server) {
        let document = http::snapshot(server.address(), &self.room)
            .await
            .expect("a room");
        let keys = wire::keys([document.as_slice()]);
        assert_eq!(keys.len() as u64, self.written, "{}", self.room);
    }
}

/// How often attackers of one kind were told something that begins so.
fn told(tally: &Tally, what: &str) -> u64 {
    let told = tally.iter().filter(|(heard, _)| heard.starts_with(what));
    told.map(|(_, times)| times).sum()
}

/// What clients may make a server hold in these tests, in bytes.
const MEMORY: usize = 64_000_000;
/// What a server takes beside that: see `docs/reliability.md`.
const BESIDE: usize = 384 << 20;

/// A server in the memory of these tests. The space `doc` has no limits of its own.
fn small() -> Server {
    Server::configured("sled", format!("[limits]\nmemory = '{MEMORY}'\n"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_attackers_make_it_hold_is_bounded() {
    raise_file_limit();
    let mut server = small();
    let attackers = Attackers::start(server.address(), &Attack::ALL);
    let end = Instant::now() + ATTACKED;
    while Instant::now() < end {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let peak = server.peak_bytes();
        assert!(
            peak < MEMORY + BESIDE,
            "{} MB at its peak:\n{}",
            peak / 1_000_000,
            attackers.report()
        );
    }
    let hoarders = attackers.heard(Attack::Hoard);
    let report = attackers.report();
    eprint!(
        "{} MB at its peak\n{report}",
        server.peak_bytes() / 1_000_000
    );
    assert!(told(&hoarders, "1013") > 0, "it was never full:\n{report}");
    attackers.stop().await;
    // Whoever comes then finds memory again.
    Guest::enter(&server, "pit/after").await.write().await;
    assert!(server.stop().success(), "it ends in time");
}

/// The largest message has 16 MiB, and a connection may leave it unfinished.
#[tokio::test(flavor = "multi_thread")]
async fn unfinished_messages_are_counted_and_turned_away() {
    raise_file_limit();
    let server = small();
    let mut guest = Guest::enter(&server, "doc/quiet").await;
    let before = server.resident_bytes();
    let whole = frame(true, BINARY, &vec![0; 4_000_000]);
    let mut sockets = Vec::new();
    let mut closed = 0;
    for nth in 0..60 {
        let path = format!("/yjs/doc/unfinished-{nth}");
        let Ok(mut socket) = Socket::connect(server.address(), &path).await else {
            continue;
        };
        // Who is turned away meanwhile cannot write on.
        let _ = socket.send_raw(&whole[..whole.len() - 1]).await;
        sockets.push(socket);
    }
    let peak = server.peak_bytes();
    for mut socket in sockets {
        let ending =
            tokio::time::timeout(Duration::from_millis(100), socket.close_of_any_dialect());
        if let Ok(Ok((code, reason))) = ending.await {
            assert_eq!((code, reason.contains("memory")), (1013, true), "{reason}");
            closed += 1;
        }
    }
    assert!((1..60).contains(&closed), "{closed} of 60 were turned away");
    assert!(
        peak < before + MEMORY + (64 << 20),
        "{} MB, and {} MB before",
        peak / 1_000_000,
        before / 1_000_000
    );
    // All of them are gone, and what they held with them.
    guest.write().await;
    guest.has_lost_nothing(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_all_attacks_at_once_everybody_else_goes_on() {
    raise_file_limit();
    let mut server = Server::start_on("sled");
    let mut in_a_pit = Guest::enter(&server, "pit/quiet").await;
    let mut in_a_doc = Guest::enter(&server, "doc/quiet").await;
    let attackers = Attackers::start(server.address(), &Attack::ON_PITS);
    let until_all_are_met = Instant::now() + HEAD_TIME;
    while Instant::now() < until_all_are_met {
        in_a_doc.write().await;
        if in_a_pit.written < 100 {
            in_a_pit.write().await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Somebody new is let in as well.
    Guest::enter(&server, "doc/late").await.write().await;
    let heard = |attack, what| told(&attackers.heard(attack), what) > 0;
    let deadline = Instant::now() + PATIENCE;
    while !(heard(Attack::Flood, "4429, try again")
        && heard(Attack::JoinStorm, "4429, try again")
        && heard(Attack::HalfOpen, THROWN_OUT)
        && heard(Attack::SlowWriters, THROWN_OUT))
    {
        let report = attackers.report();
        assert!(
            Instant::now() < deadline,
            "not all met their limit:\n{report}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let report = attackers.report();
    eprint!("{report}");
    for attack in Attack::ON_PITS {
        for what in attackers.heard(attack).keys() {
            // Who comes in vain for ten seconds goes; on a busy machine attackers come last.
            let typed = [
                "joined",
                "4429",
                "4413",
                "1013",
                THROWN_OUT,
                "cut off",
                "no answer",
            ];
            assert!(
                typed.iter().any(|known| what.starts_with(known)),
                "{report}"
            );
        }
    }
    attackers.stop().await;
    in_a_doc.has_lost_nothing(&server).await;
    in_a_pit.has_lost_nothing(&server).await;
    assert!(server.stop().success(), "it ends in time");
}
