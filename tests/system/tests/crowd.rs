//! Crowds: a thousand connections in one room, and thousands over many rooms.
//!
//! `CROWD` is the number of connections over many rooms: 2,000 by default, 10,000 for the long run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use system_tests::server::Server;
use system_tests::socket::Socket;
use system_tests::wire::{self, Message};
use system_tests::{http, raise_file_limit, setting, within};
use tokio::sync::{Barrier, Mutex, Semaphore};
use tokio::task::JoinSet;

/// One crowd at a time: each wants the machine for itself.
static ALONE: Mutex<()> = Mutex::const_new(());

/// How many handshakes are under way at once.
const AT_THE_DOOR: usize = 200;

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_in_one_room_hear_everything_in_time() {
    const READERS: usize = 1_000;
    const UPDATES: u64 = 100;
    const PACE: Duration = Duration::from_millis(50); // 20 updates a second
    let _alone = ALONE.lock().await;
    raise_file_limit();
    let server = Server::start();
    let address = server.address();
    let began = Instant::now();
    let sent: Arc<Vec<AtomicU64>> = Arc::new((0..UPDATES).map(|_| AtomicU64::new(0)).collect());
    let door = Arc::new(Semaphore::new(AT_THE_DOOR));
    let all_in = Arc::new(Barrier::new(READERS + 1));
    let mut readers = JoinSet::new();
    for _ in 0..READERS {
        let (sent, door, all_in) = (Arc::clone(&sent), Arc::clone(&door), Arc::clone(&all_in));
        readers.spawn(async move {
            let mut socket = {
                let _turn = door.acquire().await.expect("it stays open");
                let mut socket = Socket::connect(address, "/yjs/doc/crowd").await?;
                socket.sync().await?;
                socket
            };
            all_in.wait().await;
            let mut delays = Vec::with_capacity(UPDATES as usize);
            while delays.len() < UPDATES as usize {
                if let Message::Update(update) = socket.message().await? {
                    let (_, clock) = wire::author_of(&update).expect("it is the writer's");
                    assert_eq!(clock, delays.len() as u64, "in order, without a gap");
                    let at = sent[clock as usize].load(Ordering::Acquire);
                    delays.push(began.elapsed().as_micros() as u64 - at);
                }
            }
            Ok::<_, std::io::Error>((socket, delays))
        });
    }
    let mut writer = Socket::connect(address, "/yjs/doc/crowd")
        .await
        .expect("a writer");
    within(Duration::from_secs(60), "everyone is in", all_in.wait()).await;
    eprintln!(
        "{READERS} readers were in sync after {:.1?}",
        began.elapsed()
    );
    let mut ticks = tokio::time::interval(PACE);
    for clock in 0..UPDATES {
        ticks.tick().await;
        let now = began.elapsed().as_micros() as u64;
        sent[clock as usize].store(now, Ordering::Release);
        let update = wire::update(1, clock, 100);
        writer
            .send(&wire::update_message(&update))
            .await
            .expect("it is taken");
    }
    writer.settle(1).await.expect("it is acked");
    let heard = within(Duration::from_secs(60), "all hear all", readers.join_all()).await;
    let mut delays = Vec::new();
    for reader in heard {
        let (_socket, heard) = reader.expect("no reader was dropped");
        delays.extend(heard);
    }
    delays.sort_unstable();
    let at = |share: f64| delays[((delays.len() - 1) as f64 * share) as usize] as f64 / 1000.0;
    eprintln!(
        "1 to {READERS} at 20 updates/s: p50 {:.1} ms, p95 {:.1} ms, p99 {:.1} ms, max {:.1} ms; \
         server {} MiB",
        at(0.5),
        at(0.95),
        at(0.99),
        at(1.0),
        server.resident_bytes() >> 20
    );
    // The promise is 50 ms on a machine of its own (`CROWD_P99_MS=50`).
    let bound = setting("CROWD_P99_MS", 500);
    assert!(at(0.99) < bound as f64, "p99 is {} ms", at(0.99));
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_over_many_rooms_are_held_without_an_error() {
    const PER_ROOM: usize = 10;
    let connections = setting("CROWD", 2_000) as usize;
    let rooms = connections / PER_ROOM;
    let _alone = ALONE.lock().await;
    raise_file_limit();
    let mut server = Server::start();
    let address = server.address();
    let before = server.resident_bytes();
    let began = Instant::now();
    let door = Arc::new(Semaphore::new(AT_THE_DOOR));
    let all_in = Arc::new(Barrier::new(rooms * PER_ROOM + 1));
    let rounds = Arc::new(Barrier::new(rooms * PER_ROOM + 1));
    let mut members = JoinSet::new();
    for room in 0..rooms {
        for place in 0..PER_ROOM {
            let (door, all_in, rounds) =
                (Arc::clone(&door), Arc::clone(&all_in), Arc::clone(&rounds));
            members.spawn(async move {
                let mut socket = {
                    let _turn = door.acquire().await.expect("it stays open");
                    let mut socket =
                        Socket::connect(address, &format!("/yjs/doc/many/{room}")).await?;
                    socket.sync().await?;
                    socket
                };
                all_in.wait().await;
                rounds.wait().await;
                // In each room the members write in turn, and everyone else hears it.
                let client = room as u64 + 1;
                for clock in 0..2 {
                    if place == clock {
                        let update = wire::update(client, clock as u64, 100);
                        socket.send(&wire::update_message(&update)).await?;
                        socket.settle(clock as u64 + 1).await?;
                    } else {
                        loop {
                            match socket.message().await? {
                                Message::Update(update) => {
                                    assert_eq!(
                                        wire::author_of(&update),
                                        Some((client, clock as u64))
                                    );
                                    break;
                                }
                                Message::Step1(_) | Message::Awareness(_) => {}
                                other => panic!("{other:?}"),
                            }
                        }
                    }
                }
                Ok::<_, std::io::Error>(socket)
            });
        }
    }
    let patience = Duration::from_secs(60 + connections as u64 / 100);
    within(patience, "everyone is in", all_in.wait()).await;
    let opened = began.elapsed();
    let idle = server.resident_bytes().saturating_sub(before) / (rooms * PER_ROOM);
    let spoken = Instant::now();
    rounds.wait().await;
    let mut sockets = Vec::new();
    for member in within(patience, "all hear all", members.join_all()).await {
        sockets.push(member.expect("no member was dropped"));
    }
    eprintln!(
        "{} connections over {rooms} rooms: in sync after {opened:.1?}, two updates heard by all \
         after {:.1?}; {:.1} KiB of server memory for each idle connection and its share of a room",
        rooms * PER_ROOM,
        spoken.elapsed(),
        idle as f64 / 1024.0
    );
    let metrics = http::get(address, "/metrics").await.expect("metrics");
    let text = String::from_utf8_lossy(&metrics.body).into_owned();
    let held = text
        .lines()
        .find_map(|line| line.strip_prefix("well_connections{transport=\"websocket\"} "));
    assert_eq!(
        held.and_then(|n| n.parse().ok()),
        Some((rooms * PER_ROOM) as f64)
    );
    let status = server.stop();
    assert!(status.success(), "{status}: {}", server.stderr());
    for mut socket in sockets {
        let (code, _, _) = socket.closing().await;
        assert_eq!(code, 1012, "everyone is told that the server restarts");
    }
}
