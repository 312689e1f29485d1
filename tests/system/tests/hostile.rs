//! Clients that break every rule: each gets its own typed end, the honest go on, and nothing of it
//! is in the log.
//!
//! `HOSTILE_CASES` mutated sessions, 300 by default; `SEED` repeats them.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use system_tests::server::Server;
use system_tests::socket::{self, BINARY, CLOSE, CONTINUATION, Heard, PING, Socket, TEXT, frame};
use system_tests::wire::{self, Message};
use system_tests::{http, seed, setting, until, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// A writer and a reader who keep to the rules, in one room.
struct Honest {
    server: SocketAddr,
    room: String,
    client: u64,
    writer: Socket,
    reader: Socket,
    written: u64,
}

impl Honest {
    async fn meet(server: SocketAddr, room: &str, client: u64) -> Self {
        let room = format!("doc/{room}");
        let path = format!("/yjs/{room}");
        let mut writer = Socket::connect(server, &path).await.expect("a writer");
        writer.sync().await.expect("the document");
        let mut reader = Socket::connect(server, &path).await.expect("a reader");
        reader.sync().await.expect("the document");
        let mut honest = Self {
            server,
            room,
            client,
            writer,
            reader,
            written: 0,
        };
        honest.go_on().await;
        honest
    }

    /// Another update is acked and seen. Gives how long that took.
    async fn go_on(&mut self) -> Duration {
        let began = Instant::now();
        let clock = self.written;
        let update = wire::update(self.client, clock, 20);
        self.writer
            .send(&wire::update_message(&update))
            .await
            .expect("it is taken");
        self.written += 1;
        self.writer.settle(self.written).await.expect("it is acked");
        loop {
            match self.reader.message().await.expect("it is seen") {
                Message::Update(seen) if wire::author_of(&seen) == Some((self.client, clock)) => {
                    break;
                }
                Message::Update(_) | Message::Awareness(_) | Message::Step1(_) => {}
                other => panic!("{other:?}"),
            }
        }
        began.elapsed()
    }

    /// The log holds what the honest wrote, and nothing else.
    async fn alone_in_the_log(&self) {
        let document = http::snapshot(self.server, &self.room)
            .await
            .expect("the room");
        let expected: BTreeSet<String> = (0..self.written)
            .map(|clock| format!("{}:{clock}", self.client))
            .collect();
        assert_eq!(wire::keys([&*document]), expected);
        let shown = http::room(self.server, &self.room).await.expect("the room");
        assert_eq!(shown["seq"].as_u64(), Some(self.written), "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_broken_frame_has_its_own_end() {
    let server = Server::start();
    let mut honest = Honest::meet(server.address(), "frames", 1).await;
    let path = format!("/yjs/{}", honest.room);
    let unmasked = [&[0x82, 3][..], &[0, 0, 0]].concat();
    let oversized_claim = [0x82, 0xff, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 1, 2, 3, 4];
    let cases: &[(&str, Vec<u8>, u16, &str)] = &[
        ("not masked", unmasked, 1002, "masked"),
        (
            "a reserved bit",
            vec![0xc2, 0x80, 0, 0, 0, 0],
            1002,
            "reserved",
        ),
        (
            "an opcode that is none",
            vec![0x83, 0x80, 0, 0, 0, 0],
            1002,
            "opcode 3",
        ),
        (
            "a long ping",
            vec![0x89, 0xfe, 0, 200, 0, 0, 0, 0],
            1002,
            "control",
        ),
        (
            "a ping in pieces",
            vec![0x09, 0x80, 0, 0, 0, 0],
            1002,
            "control",
        ),
        (
            "a length that is not short",
            vec![0x82, 0xfe, 0, 5, 0, 0, 0, 0],
            1002,
            "shortest",
        ),
        (
            "a negative length",
            vec![0x82, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0],
            1002,
            "shortest",
        ),
        ("an orphan", frame(true, CONTINUATION, b"x"), 1002, "order"),
        (
            "a beginning inside",
            [frame(false, BINARY, b"a"), frame(true, BINARY, b"b")].concat(),
            1002,
            "order",
        ),
        (
            "a close code that is never sent",
            frame(true, CLOSE, &1005_u16.to_be_bytes()),
            1002,
            "close",
        ),
        ("half a close code", frame(true, CLOSE, &[3]), 1002, "close"),
        ("text", frame(true, TEXT, b"hello"), 4400, "binary"),
        (
            "a claim of two gigabytes",
            oversized_claim.to_vec(),
            4413,
            "at most",
        ),
        ("no message", frame(true, BINARY, b""), 4400, "malformed"),
        ("noise", frame(true, BINARY, &[0xff; 40]), 4400, "malformed"),
        (
            "an update of noise",
            frame(true, BINARY, &wire::update_message(&[7; 30])),
            4400,
            "malformed",
        ),
        (
            "a cut update",
            frame(
                true,
                BINARY,
                &wire::update_message(&wire::update(9, 0, 50)[..40]),
            ),
            4400,
            "malformed",
        ),
    ];
    for (what, bytes, code, word) in cases {
        let mut rude = Socket::connect(honest.server, &path)
            .await
            .expect("a socket");
        rude.send_raw(bytes).await.expect("it is sent");
        let (closed, reason, denied) = rude.closing().await;
        assert_eq!(closed, *code, "{what}: {reason}");
        assert!(
            reason.contains(word),
            "{what}: {reason:?} does not speak of {word:?}"
        );
        if closed >= 4400 {
            assert!(
                denied.iter().any(|told| told.contains(word)),
                "{what}: {denied:?}"
            );
        }
        honest.go_on().await;
    }
    honest.alone_in_the_log().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_names_no_room_hears_so() {
    let server = Server::start_on("memory");
    for path in ["/yjs/", "/yjs", "/yjs/doc", "/pit", "/pit/", "/", "/socket"] {
        let mut lost = Socket::connect(server.address(), path)
            .await
            .expect("it is accepted, so that the reason arrives");
        let (closed, reason, denied) = lost.closing().await;
        assert_eq!(closed, 4404, "{path}: {reason}");
        assert_eq!(denied, [reason], "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_in_crumbs_is_still_a_message() {
    let server = Server::start();
    let mut honest = Honest::meet(server.address(), "crumbs", 1).await;
    let mut slow = Socket::connect(honest.server, "/yjs/doc/slow")
        .await
        .expect("a socket");
    // Byte by byte, and in fragments of one byte with pings between them.
    for byte in frame(true, BINARY, &wire::update_message(&wire::update(5, 0, 30))) {
        slow.send_raw(&[byte]).await.expect("it is taken");
        tokio::task::yield_now().await;
    }
    let message = wire::update_message(&wire::update(5, 1, 30));
    for (i, byte) in message.iter().enumerate() {
        let opcode = if i == 0 { BINARY } else { CONTINUATION };
        slow.send_raw(&frame(i + 1 == message.len(), opcode, &[*byte]))
            .await
            .expect("it is taken");
        slow.send_raw(&frame(true, PING, b"still here"))
            .await
            .expect("it is taken");
        if i % 10 == 0 {
            honest.go_on().await;
        }
    }
    slow.settle(1).await.expect("both are acked");
    let document = http::snapshot(honest.server, "doc/slow")
        .await
        .expect("the room");
    assert_eq!(wire::keys([&*document]).len(), 2);
    honest.alone_in_the_log().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_from_disk_and_network_are_hostile_on_the_wire() {
    let cases = setting("HOSTILE_CASES", 300);
    let mut random = StdRng::seed_from_u64(seed());
    let mut server = Server::start();
    let mut honest = Honest::meet(server.address(), "bystander", 1).await;
    let mut rooms = Vec::new();
    for case in 0..cases {
        // Mutants may still be valid, so they have rooms of their own: what is in those must fold.
        let room = format!("doc/mutants/{}", case % 10);
        let stream = mutant(&mut random, case);
        let rude = async {
            let mut socket = Socket::connect(honest.server, &format!("/yjs/{room}")).await?;
            // The server may close in the middle of it.
            let _ = socket.send_raw(&stream).await;
            let _ = socket
                .send_raw(&frame(true, CLOSE, &1000_u16.to_be_bytes()))
                .await;
            // A frame that was cut short has swallowed the close.
            let _ = socket.finish().await;
            Ok::<_, std::io::Error>(socket.closing().await)
        };
        let (code, reason, _) = within(Duration::from_secs(40), "it ends", rude)
            .await
            .expect("a socket");
        // A close is answered with its own code, whatever that has become, and with no reason.
        let answer = reason.is_empty();
        let typed = matches!(code, 1002 | 4400 | 4413);
        assert!(answer || typed, "case {case}: {code} {reason}");
        if case % 20 == 0 {
            honest.go_on().await;
            assert!(server.is_running());
        }
        rooms.push(room);
    }
    honest.go_on().await;
    honest.alone_in_the_log().await;
    rooms.sort();
    rooms.dedup();

    // Whatever has got into the log folds to the same document again.
    let mut before = Vec::new();
    for room in &rooms {
        before.push(
            http::snapshot(server.address(), room)
                .await
                .map(|document| wire::keys_so_far([&*document])),
        );
    }
    server.kill();
    server.start_again();
    for (room, before) in rooms.iter().zip(before) {
        let after = http::snapshot(server.address(), room)
            .await
            .map(|document| wire::keys_so_far([&*document]));
        assert_eq!(after, before, "{room}");
    }
}

/// A few honest messages, then a mishap.
fn mutant(random: &mut StdRng, case: u64) -> Vec<u8> {
    let client = 100 + case;
    let mut stream = Vec::new();
    for clock in 0..random.random_range(1..5) {
        let size = random.random_range(0..300);
        let message = match random.random_range(0..5) {
            0 => wire::STEP_1.to_vec(),
            1 => wire::awareness(client, clock + 1, "{\"at\":[1,2]}"),
            2 => wire::ack_request(clock),
            _ => wire::update_message(&wire::update(client, clock, size)),
        };
        let mut message = message;
        if random.random_bool(0.3) {
            mangle(random, &mut message);
        }
        stream.extend(frame(true, BINARY, &message));
    }
    if random.random_bool(0.5) {
        mangle(random, &mut stream);
    }
    stream
}

fn mangle(random: &mut StdRng, bytes: &mut Vec<u8>) {
    if bytes.is_empty() {
        return;
    }
    let place = random.random_range(0..bytes.len());
    match random.random_range(0..5) {
        0 => bytes[place] ^= 1 << random.random_range(0..8),
        1 => bytes.truncate(place),
        2 => bytes[place] = random.random(),
        3 => {
            let noise: Vec<u8> = (0..random.random_range(1..20))
                .map(|_| random.random())
                .collect();
            bytes.splice(place..place, noise);
        }
        _ => {
            let end = random.random_range(place..bytes.len());
            let again = bytes[place..=end].to_vec();
            bytes.splice(place..place, again);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn noise_at_the_door_disturbs_nobody() {
    let server = Server::start();
    let mut random = StdRng::seed_from_u64(seed());
    let mut honest = Honest::meet(server.address(), "door", 1).await;
    for case in 0..100 {
        let mut stream = TcpStream::connect(honest.server)
            .await
            .expect("a connection");
        let mut bytes = match case % 4 {
            0 => (0..random.random_range(1..2000))
                .map(|_| random.random())
                .collect(),
            1 => socket::handshake(honest.server, "/yjs/doc/door").into_bytes(),
            2 => format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(20_000)).into_bytes(),
            _ => format!(
                "GET / HTTP/1.1\r\nhost: x\r\n{}\r\n",
                "a: b\r\n".repeat(5_000)
            )
            .into_bytes(),
        };
        if case % 4 == 1 {
            mangle(&mut random, &mut bytes);
        }
        let _ = stream.write_all(&bytes).await;
        if case % 10 == 0 {
            honest.go_on().await;
        }
    }
    let head = http::get(honest.server, &format!("/{}", "y".repeat(20_000)))
        .await
        .expect("an answer");
    assert!(matches!(head.status, 414 | 431), "{}", head.head);
    honest.go_on().await;
    honest.alone_in_the_log().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_silent_are_let_go_in_time() {
    let server = Server::start();
    let address = server.address();
    let mut honest = Honest::meet(address, "silence", 1).await;
    let mut silent = JoinSet::new();
    for i in 0..60_usize {
        silent.spawn(async move {
            let began = Instant::now();
            let mut stream = TcpStream::connect(address).await.expect("a connection");
            let head = socket::handshake(address, "/yjs/doc/silence");
            // A head that never ends, a byte at a time; or half of one; or none at all.
            let mut head = head.as_bytes().iter().cycle();
            let mut byte = [0];
            loop {
                let pause = if i % 3 == 0 {
                    Duration::from_millis(500)
                } else {
                    Duration::from_secs(60)
                };
                if i % 3 == 1 && began.elapsed() < Duration::from_millis(100) {
                    let _ = stream.write_all(b"GET / HTTP/1.1\r\nhost:").await;
                } else if i % 3 == 0 {
                    // Without the line ends, so that the head stays open.
                    let next = head.by_ref().find(|byte| **byte > b' ');
                    let _ = stream.write_all(&[*next.unwrap_or(&b'x')]).await;
                }
                match tokio::time::timeout(pause, stream.read(&mut byte)).await {
                    Ok(Ok(1..)) => {} // A last word, such as 408.
                    Ok(_) => return began.elapsed(),
                    Err(_) => assert!(
                        began.elapsed() < Duration::from_secs(60),
                        "it is still held"
                    ),
                }
            }
        });
    }
    // A WebSocket whose client has gone without a word: pings go unanswered.
    let gone = tokio::spawn(async move {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        stream
            .write_all(socket::handshake(address, "/yjs/doc/half-open").as_bytes())
            .await
            .expect("it is sent");
        let began = Instant::now();
        let mut sink = [0; 4096];
        while let Ok(1..) = stream.read(&mut sink).await {}
        began.elapsed()
    });
    let slowest = within(
        Duration::from_secs(60),
        "they are let go",
        silent.join_all(),
    )
    .await;
    let slowest = slowest.into_iter().max().expect("some");
    assert!(
        slowest < Duration::from_secs(15),
        "an unfinished head was held for {slowest:.1?}"
    );
    // The honest are not let go meanwhile: they have something to say now and then.
    let held = within(
        Duration::from_secs(80),
        "the half-open one is let go",
        async {
            let mut ticks = tokio::time::interval(Duration::from_secs(5));
            let mut gone = gone;
            loop {
                tokio::select! {
                    held = &mut gone => return held.expect("no panic"),
                    _ = ticks.tick() => drop(honest.go_on().await),
                }
            }
        },
    )
    .await;
    assert!(
        held > Duration::from_secs(30) && held < Duration::from_secs(60),
        "held for {held:.1?}"
    );
    eprintln!(
        "unfinished heads were held for {slowest:.1?} at most, a half-open session for {held:.1?}"
    );
    // Nobody counts the dead.
    until(Duration::from_secs(10), "they are not counted", || async {
        let metrics = http::get(address, "/metrics").await.ok()?;
        let text = String::from_utf8_lossy(&metrics.body).into_owned();
        let held = text
            .lines()
            .find_map(|line| line.strip_prefix("well_connections{transport=\"websocket\"} "));
        (held == Some("2")).then_some(())
    })
    .await;
    honest.go_on().await;
    honest.alone_in_the_log().await;
}

/// How many updates a loud room is given, and how large they are.
const LOUD: (u64, usize) = (600, 32 << 10);

/// Writes to a room while `honest` goes on in another. Gives by how much the server has grown at
/// the most.
async fn be_loud(server: &Server, room: &str, honest: &mut Honest) -> usize {
    let (updates, bytes) = LOUD;
    let path = format!("/yjs/doc/{room}");
    let mut writer = Socket::connect(server.address(), &path)
        .await
        .expect("a writer");
    let before = server.resident_bytes();
    let mut most = before;
    for clock in 0..updates {
        let update = wire::update(7, clock, bytes);
        writer
            .send(&wire::update_message(&update))
            .await
            .expect("it is taken");
        if clock % 50 == 49 {
            writer.settle(clock).await.expect("it is acked");
            most = most.max(server.resident_bytes());
            let took = honest.go_on().await;
            assert!(
                took < Duration::from_secs(5),
                "another room waits for {took:.1?}"
            );
        }
    }
    most - before
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_bounded_whoever_does_not_read() {
    const DEAF: usize = 50;
    const EACH: usize = 1 << 20;
    let server = Server::start();
    let address = server.address();
    let mut honest = Honest::meet(address, "other", 1).await;
    // What the document and the log's caches take, with nobody there who does not read.
    let alone = be_loud(&server, "alone", &mut honest).await;
    let mut deaf = Vec::new();
    for _ in 0..DEAF {
        let mut socket = Socket::connect(address, "/yjs/doc/loud")
            .await
            .expect("a socket");
        socket.sync().await.expect("the document");
        deaf.push(socket);
    }
    let grown = be_loud(&server, "loud", &mut honest).await;
    let (updates, bytes) = LOUD;
    eprintln!(
        "{} MiB written: the server grew by {} MiB alone, and by {} MiB with {DEAF} who do not read",
        (updates as usize * bytes) >> 20,
        alone >> 20,
        grown >> 20
    );
    // A queue for each would be fifty times what was written.
    assert!(
        grown < alone + DEAF * EACH,
        "{} and {} MiB",
        alone >> 20,
        grown >> 20
    );

    // Whoever begins to listen again is brought up to date at once: that nobody writes any more is
    // no reason to wait.
    let mut one = deaf.swap_remove(0);
    let mut heard = Vec::new();
    within(Duration::from_secs(8), "it catches up", async {
        let mut keys = BTreeSet::new();
        while keys.len() < updates as usize {
            match one.hear().await.expect("it was kept") {
                Heard::Message(Message::Update(update)) => match wire::author_of(&update) {
                    Some((client, clock)) => drop(keys.insert(format!("{client}:{clock}"))),
                    None => panic!("not an update of the writer's"),
                },
                Heard::Message(Message::Step2(document)) => heard.push(document),
                Heard::Message(_) => {}
                end => panic!("{end:?}"),
            }
            if let Some(document) = heard.pop() {
                keys.extend(wire::keys([&*document]));
            }
        }
    })
    .await;
    honest.go_on().await;
    honest.alone_in_the_log().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_bounded_whatever_is_claimed() {
    let server = Server::start();
    let address = server.address();
    let mut honest = Honest::meet(address, "claims", 1).await;
    let before = server.resident_bytes();
    let mut claims = Vec::new();
    for _ in 0..200 {
        // A message of 16 MiB is announced, and a few bytes of it are sent.
        let mut socket = Socket::connect(address, "/yjs/doc/claimed")
            .await
            .expect("a socket");
        let mut head = vec![0x82, 0xff];
        head.extend((16_u64 << 20).to_be_bytes());
        head.extend([0; 4]);
        head.extend([0, 2, 0xff, 0xff, 0xff, 0x07]);
        socket.send_raw(&head).await.expect("it is taken");
        claims.push(socket);
    }
    honest.go_on().await;
    let grown = server.resident_bytes().saturating_sub(before);
    eprintln!(
        "200 claims of 16 MiB each: the server grew by {} KiB",
        grown >> 10
    );
    assert!(
        grown < 64 << 20,
        "memory is taken for what is there, not for what is claimed: {grown}"
    );
    drop(claims);
    honest.go_on().await;
    honest.alone_in_the_log().await;
}
