//! Attackers in numbers, and those who behave beside them: nobody is harmed, and everybody who is thrown out is
//! told why.

use std::time::{Duration, Instant};

use system_tests::attack::{Attack, Attackers, Tally};
use system_tests::server::Server;
use system_tests::socket::Socket;
use system_tests::{http, raise_file_limit, wire, within};

const PATIENCE: Duration = Duration::from_secs(60);
/// What the server's own limits give those who say nothing, and a little more.
const HEAD_TIME: Duration = Duration::from_secs(15);

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
