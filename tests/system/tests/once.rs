//! Every operation is in its room's log once, and in its client's order, however often its connection
//! is cut and the server killed.
//!
//! Clients of the well dialect send through a proxy that cuts connections at random, and send again
//! blindly. 24,000 operations and two kills by default; `ONCE_OPERATIONS=100000 ONCE_KILLS=20` for the
//! long run. `SEED` repeats the moments.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use system_tests::command::well;
use system_tests::server::Server;
use system_tests::{http, seed, setting, within};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use well_client::{Client, Event, FileQueue, Join, Options, TextRoom};

const ROOMS: u64 = 3;
const CLIENTS: u64 = 12;
/// How many operations a client has on its way; the server's window is smaller.
const AHEAD: usize = 600;

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_is_in_the_log_once_and_in_its_clients_order() {
    let operations = setting("ONCE_OPERATIONS", 24_000) / CLIENTS;
    let kills = setting("ONCE_KILLS", 2);
    let mut random = StdRng::seed_from_u64(seed());
    let mut server = Server::configured("sled", "[spaces.blob]\nkind = 'opaque'\n");

    let cuts = Arc::new(AtomicU64::new(0));
    let proxy = proxy(server.address(), Arc::clone(&cuts), random.random()).await;
    let acked = Arc::new(AtomicU64::new(0));
    let mut writers = JoinSet::new();
    for n in 0..CLIENTS {
        let room = format!("blob/{}", n % ROOMS);
        writers.spawn(write(proxy, room, operations, Arc::clone(&acked)));
    }
    let mut told: Vec<(String, u64, Vec<Option<u64>>)> = Vec::new();
    for kill in 1..=kills {
        // Spread over the work that there is, whatever the machine's speed.
        let until = operations * CLIENTS * kill / (kills + 1);
        within(Duration::from_secs(300), "the work goes on", async {
            while acked.load(Ordering::Relaxed) < until {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        tokio::time::sleep(Duration::from_millis(random.random_range(0..50))).await;
        server.kill();
        server.start_again();
    }
    within(
        Duration::from_secs(600),
        "all operations are acked",
        async {
            while let Some(writer) = writers.join_next().await {
                told.push(writer.unwrap());
            }
        },
    )
    .await;
    let cuts = cuts.load(Ordering::Relaxed);
    assert!(
        cuts > 10,
        "{cuts} connections were cut: the test tests nothing"
    );
    assert!(server.stop().success(), "{}", server.stderr());

    let data = server.folder().to_str().unwrap().to_owned();
    let mut there: BTreeMap<(String, u64), Vec<(u64, u64)>> = BTreeMap::new();
    for room in (0..ROOMS).map(|n| format!("blob/{n}")) {
        for line in well(&["log", &room, "--data", &data]).ok().lines() {
            let record: serde_json::Value = serde_json::from_str(line).unwrap();
            if record["kind"] != "update" {
                continue;
            }
            let id = u128::from_str_radix(record["op_id"].as_str().unwrap(), 16).unwrap();
            let (client, number) = ((id >> 64) as u64, id as u64);
            let seq = record["seq"].as_u64().unwrap();
            there
                .entry((room.clone(), client))
                .or_default()
                .push((number, seq));
        }
    }
    assert_eq!(there.len() as u64, CLIENTS);
    for (room, client, seqs) in told {
        let log = &there[&(room.clone(), client)];
        let numbers: Vec<u64> = log.iter().map(|(number, _)| *number).collect();
        let expected: Vec<u64> = (1..=operations).collect();
        assert_eq!(
            numbers, expected,
            "{room}, client {client}: each once, in order"
        );
        for ((number, seq), told) in log.iter().zip(seqs) {
            assert_eq!(
                told,
                Some(*seq),
                "{room}, client {client}, operation {number}: its Seq"
            );
        }
    }
    eprintln!(
        "{} operations of {CLIENTS} clients over {cuts} cut connections and {kills} kills: each once, in order, under the Seq that was told",
        operations * CLIENTS
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_that_a_former_run_left_in_a_queue_are_in_the_text() {
    let mut server = Server::start();
    let url = format!("ws://{}/well", server.address());
    let queue = server.folder().join("queue");
    let open = || Join::new("text/plan").queue(FileQueue::open(&queue).expect("a queue"));
    let client = Client::connect(Options::new(&url));
    let mut text = TextRoom::join(&client, open()).await.expect("a room");
    let first = text.replace(0, 0, "one ").await.expect("it is kept");
    within(Duration::from_secs(20), "it is acked", async {
        let mut acked = std::pin::pin!(first.acked());
        loop {
            tokio::select! {
                acked = &mut acked => break acked.expect("it is taken"),
                event = text.next() => drop(event.expect("a text")),
            }
        }
    })
    .await;
    server.kill();
    text.replace(4, 0, "two ").await.expect("it is kept");
    text.replace(8, 0, "three").await.expect("it is kept");
    drop((text, client));

    server.start_again();
    let client = Client::connect(Options::new(&url));
    let mut text = within(Duration::from_secs(20), "the queue is let go of", async {
        loop {
            // The former run's task ends by itself.
            if let Ok(queue) = FileQueue::open(&queue) {
                let join = Join::new("text/plan").queue(queue);
                break TextRoom::join(&client, join).await.expect("a room");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    // Before anything of the room is here.
    text.replace(0, 0, "zero ").await.expect("it is kept");
    within(Duration::from_secs(20), "it has joined", async {
        while !matches!(text.next().await, Ok(Some(Event::Joined { .. }))) {}
    })
    .await;
    // Which of the two beginnings comes first is the clients' names' business.
    let all = ["zero one two three", "one two threezero "];
    let here = text.text().to_string();
    assert!(
        all.contains(&here.as_str()),
        "what waits is there: {here:?}"
    );
    let end = text.replace(here.len(), 0, "!").await;
    let last = end.expect("it is kept");
    within(Duration::from_secs(20), "all is acked", async {
        let mut acked = std::pin::pin!(last.acked());
        loop {
            tokio::select! {
                acked = &mut acked => break acked.expect("it is taken"),
                event = text.next() => drop(event.expect("a text")),
            }
        }
    })
    .await;
    let path = "/api/v1/rooms/text/plan/state?format=text";
    let state = http::get(server.address(), path).await.expect("an answer");
    assert_eq!(String::from_utf8_lossy(&state.body), format!("{here}!"));
}

/// Writes operations through as many connections as it takes. Gives the room, the client and the Seq
/// that each operation's ack named.
async fn write(
    server: SocketAddr,
    room: String,
    operations: u64,
    acked: Arc<AtomicU64>,
) -> (String, u64, Vec<Option<u64>>) {
    let client = Client::connect(Options::new(format!("ws://{server}/well")));
    let mut joined = client.join(Join::new(&room)).await.expect("a room");
    let id = joined.client().get();
    let mut tickets = std::collections::VecDeque::new();
    let mut seqs = Vec::new();
    for n in 1..=operations {
        tickets.push_back(
            joined
                .submit(format!("{id}:{n}").into())
                .await
                .expect("it is kept"),
        );
        while tickets.len() >= AHEAD || (n == operations && !tickets.is_empty()) {
            let ticket = tickets.pop_front().expect("there is one").acked();
            tokio::pin!(ticket);
            let ack = loop {
                // Events are taken too, or the connection would not be read.
                tokio::select! {
                    ack = &mut ticket => break ack.expect("it is taken"),
                    event = joined.next() => assert!(event.is_some(), "{room} goes on"),
                }
            };
            seqs.push(ack.seq);
            acked.fetch_add(1, Ordering::Relaxed);
        }
    }
    (room, id, seqs)
}

/// Passes connections on to `server`, and cuts each after a while: often before its first answer.
async fn proxy(server: SocketAddr, cuts: Arc<AtomicU64>, seed: u64) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it listens");
    let mut random = StdRng::seed_from_u64(seed);
    tokio::spawn(async move {
        loop {
            let (mut near, _) = listener.accept().await.expect("it listens");
            // Most live too short for much, on any machine; some long enough for one that is busy.
            let life = if random.random_bool(0.8) {
                random.random_range(1..30)
            } else {
                random.random_range(30..300)
            };
            let life = Duration::from_millis(life);
            let cuts = Arc::clone(&cuts);
            tokio::spawn(async move {
                let passing = async {
                    let mut far = TcpStream::connect(server).await?;
                    copy_bidirectional(&mut near, &mut far).await
                };
                if tokio::time::timeout(life, passing).await.is_err() {
                    cuts.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    address
}
