//! kill -9 while a hundred writers write: what was acked, or seen by a peer, is there.
//!
//! Two rounds by default; `CRASH_ROUNDS=50` for the long run. `SEED` repeats the moments of death.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use system_tests::server::Server;
use system_tests::socket::Socket;
use system_tests::wire::{self, Message};
use system_tests::{http, seed, setting, until};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

const ROOMS: u64 = 10;
const WRITERS_PER_ROOM: u64 = 10;
const IN_FLIGHT: u64 = 8;
const PAYLOAD: usize = 40;

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_loses_nothing_that_was_acked_or_seen() {
    let rounds = setting("CRASH_ROUNDS", 2);
    let mut random = StdRng::seed_from_u64(seed());
    let mut server = Server::start();
    let mut promised: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for round in 1..=rounds {
        let crowd = Crowd::gather(server.address(), round).await;
        let moment = random.random_range(0..800);
        tokio::time::sleep(Duration::from_millis(moment)).await;
        server.kill();
        let fresh = crowd.remember().await;
        let opened = server.start_again();
        let updates = check(server.address(), &fresh).await;
        let promises: usize = fresh.values().map(BTreeSet::len).sum();
        eprintln!(
            "round {round}: killed after {moment} ms, {promises} promised, {updates} in the log, \
             open again after {opened:.0?}"
        );
        promised.extend(fresh);
    }
    // What was promised in the first round still holds after the last, and after a clean stop.
    check(server.address(), &promised).await;
    assert!(server.stop().success(), "{}", server.stderr());
    server.start_again();
    check(server.address(), &promised).await;
}

/// Every promise is kept, every room's log holds each update once, and nothing else. Gives how
/// many updates there are.
async fn check(server: SocketAddr, promised: &BTreeMap<String, BTreeSet<String>>) -> usize {
    let mut updates = 0;
    for (room, promised) in promised {
        let document = http::snapshot(server, room).await;
        let document = document.unwrap_or_else(|| panic!("{room} is gone"));
        let keys = wire::keys([&*document]);
        let lost: Vec<_> = promised.difference(&keys).collect();
        assert!(
            lost.is_empty(),
            "{room}: {} of {} promised updates are lost, among them {:?}",
            lost.len(),
            promised.len(),
            &lost[..lost.len().min(5)]
        );
        let shown = http::room(server, room).await.expect("it has a snapshot");
        assert_eq!(
            shown["seq"].as_u64(),
            Some(keys.len() as u64),
            "{room}: each update is in the log once"
        );
        assert_eq!(shown["records"], shown["seq"], "{room}: no gap");
        updates += keys.len();
    }
    updates
}

/// Writers who write as fast as they are acked, and in each room one who listens.
struct Crowd {
    writers: JoinSet<(String, u64, u64)>,
    readers: JoinSet<(String, Vec<Vec<u8>>)>,
}

impl Crowd {
    /// Resolves when everyone has written something and been acked.
    async fn gather(server: SocketAddr, round: u64) -> Self {
        let mut crowd = Self {
            writers: JoinSet::new(),
            readers: JoinSet::new(),
        };
        let listening = Arc::new(Semaphore::new(0));
        let begun = Arc::new(AtomicU64::new(0));
        for room in 0..ROOMS {
            let room = format!("doc/crash/{round}/{room}");
            crowd
                .readers
                .spawn(listen(server, room, Arc::clone(&listening)));
        }
        let everyone = listening.acquire_many(ROOMS as u32).await;
        drop(everyone.expect("it is never closed"));
        for room in 0..ROOMS {
            for writer in 0..WRITERS_PER_ROOM {
                let client = (round * ROOMS + room) * WRITERS_PER_ROOM + writer + 1;
                let room = format!("doc/crash/{round}/{room}");
                crowd
                    .writers
                    .spawn(write(server, room, client, Arc::clone(&begun)));
            }
        }
        until(
            Duration::from_secs(60),
            "everyone has been acked once",
            || async { (begun.load(Ordering::Relaxed) == ROOMS * WRITERS_PER_ROOM).then_some(()) },
        )
        .await;
        crowd
    }

    /// After the crash: which keys of each room were acked or seen.
    async fn remember(self) -> BTreeMap<String, BTreeSet<String>> {
        let mut promised: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (room, client, acked) in self.writers.join_all().await {
            assert!(acked > 0);
            let keys = (0..acked).map(|clock| format!("{client}:{clock}"));
            promised.entry(room).or_default().extend(keys);
        }
        for (room, seen) in self.readers.join_all().await {
            let seen = wire::keys(seen.iter().map(Vec::as_slice));
            promised.entry(room).or_default().extend(seen);
        }
        promised
    }
}

/// Writes until the connection breaks. Gives the room, the client and how many of its updates
/// were acked.
async fn write(
    server: SocketAddr,
    room: String,
    client: u64,
    begun: Arc<AtomicU64>,
) -> (String, u64, u64) {
    let mut acked = 0;
    let writing = async {
        let mut socket = Socket::connect(server, &format!("/yjs/{room}")).await?;
        for clock in 0..IN_FLIGHT {
            send(&mut socket, client, clock).await?;
        }
        loop {
            match socket.message().await? {
                Message::Ack(n) => {
                    assert_eq!(n, acked + 1, "acks come in order, each once");
                    acked = n;
                    if acked == 1 {
                        begun.fetch_add(1, Ordering::Relaxed);
                    }
                    send(&mut socket, client, acked + IN_FLIGHT - 1).await?;
                }
                Message::Denied(reason) => panic!("{reason}"),
                _ => {}
            }
        }
    };
    let end: std::io::Result<()> = writing.await;
    drop(end);
    (room, client, acked)
}

/// One update, and the request for its ack: number `clock + 1`.
async fn send(socket: &mut Socket, client: u64, clock: u64) -> std::io::Result<()> {
    let update = wire::update(client, clock, PAYLOAD);
    socket.send(&wire::update_message(&update)).await?;
    socket.send(&wire::ack_request(clock + 1)).await
}

/// Listens until the connection breaks. Gives everything that was seen.
async fn listen(
    server: SocketAddr,
    room: String,
    listening: Arc<Semaphore>,
) -> (String, Vec<Vec<u8>>) {
    let mut seen = Vec::new();
    let hearing = async {
        let mut socket = Socket::connect(server, &format!("/yjs/{room}?role=viewer")).await?;
        seen.push(socket.sync().await?);
        listening.add_permits(1);
        loop {
            if let Message::Update(update) | Message::Step2(update) = socket.message().await? {
                seen.push(update);
            }
        }
    };
    let end: std::io::Result<()> = hearing.await;
    drop(end);
    (room, seen)
}
