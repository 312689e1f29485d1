//! The `well` dialect through its Rust client, over WebSocket and WebTransport at once: in good
//! weather, through a network that delays, loses, reorders and breaks, over restarts, and from
//! changing addresses.
//!
//! Through bad weather `WEATHER_EDITS` edits of each client, 60 by default, at `WEATHER_DELAY_MS` of
//! delay, 200, with `WEATHER_CUT_MS` of partition, 5,000; `SEED` repeats them.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use system_tests::command::{well, well_with_input};
use system_tests::server::{Server, binary};
use system_tests::udp::{Link, Weather};
use system_tests::{http, seed, setting, until, within};
use well_client::{Client, Event, Join, Options, Room, State, TextRoom, Ticket};
use yrs::{Doc, ReadTxn, Text, Transact};

const PATIENCE: Duration = Duration::from_secs(20);

/// A server that has opaque rooms too.
fn server() -> Server {
    server_on("sled")
}

fn server_on(store: &'static str) -> Server {
    Server::configured(store, "[spaces.blob]\nkind = 'opaque'\n")
}

fn over_websocket(server: SocketAddr) -> Client {
    Client::connect(Options::new(format!("ws://{server}/well")))
}

/// Over WebTransport at `at`, which leads to `server`.
fn over_webtransport(server: SocketAddr, at: SocketAddr) -> Client {
    let published = format!("http://{server}/webtransport.json");
    let options = Options::new(format!("https://{at}/well"));
    Client::connect(options.published_certificates(published))
}

async fn text_of(server: SocketAddr, name: &str) -> String {
    let path = format!("/api/v1/rooms/text/{name}/state?format=text");
    let answer = http::get(server, &path).await.expect("an answer");
    assert_eq!(answer.status, 200, "{answer:?}");
    String::from_utf8(answer.body).expect("a text")
}

/// Waits for an event, and gives what `pick` makes of it.
async fn event<T>(room: &mut Room, what: &str, mut pick: impl FnMut(Event) -> Option<T>) -> T {
    within(PATIENCE, what, async {
        loop {
            let event = room.next().await.expect("the room goes on");
            if let Some(picked) = pick(event) {
                return picked;
            }
        }
    })
    .await
}

async fn joined(room: &mut Room) {
    event(room, "joined", |event| {
        matches!(event, Event::Joined { .. }).then_some(())
    })
    .await;
}

/// Follows a text room until its document is `expected`.
async fn shows(room: &mut TextRoom, expected: &str) {
    within(PATIENCE, "the text", async {
        while room.text().to_string() != expected {
            room.next().await.expect("a text").expect("it goes on");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_transports_meet_in_rooms() {
    let server = server();
    let address = server.address();
    let quic = over_webtransport(address, address);
    let tcp = over_websocket(address);

    let mut a = TextRoom::join(&quic, Join::new("text/meeting"))
        .await
        .unwrap();
    let mut b = TextRoom::join(&tcp, Join::new("text/meeting"))
        .await
        .unwrap();
    let ticket = a.replace(0, 0, "over QUIC").await.unwrap();
    let acked = within(PATIENCE, "an ack", ticket.acked()).await.unwrap();
    assert_eq!(acked.seq, Some(1));
    shows(&mut b, "over QUIC").await;
    let ticket = b.replace(9, 0, " and TCP").await.unwrap();
    assert_eq!(ticket.acked().await.unwrap().seq, Some(2));
    shows(&mut a, "over QUIC and TCP").await;
    assert_eq!(text_of(address, "meeting").await, "over QUIC and TCP");

    // Many rooms on the same connections; here the server looks into nothing.
    let mut a = quic.join(Join::new("blob/meeting")).await.unwrap();
    let mut b = tcp.join(Join::new("blob/meeting")).await.unwrap();
    joined(&mut a).await;
    joined(&mut b).await;
    let payload = Bytes::from(vec![7; 200_000]);
    let ticket = a.submit(payload.clone()).await.unwrap();
    let acked = within(PATIENCE, "an ack", ticket.acked()).await.unwrap();
    assert_eq!(acked.seq, Some(1));
    let records = event(&mut b, "records", |event| match event {
        Event::Records(records) => Some(records),
        _ => None,
    })
    .await;
    assert_eq!((records[0].seq, &records[0].payload), (1, &payload));
    // A third one comes later, on a connection that is there, and is told up to where it has all.
    let mut c = quic.join(Join::new("blob/meeting")).await.unwrap();
    let head = event(&mut c, "a late joiner", |event| match event {
        Event::Joined { head, .. } => Some(head),
        _ => None,
    })
    .await;
    assert_eq!(head, 1);

    // A Yjs room: the real engine's updates from one side, its state vector from the other.
    let mut a = quic.join(Join::new("doc/meeting")).await.unwrap();
    let mut b = tcp.join(Join::new("doc/meeting")).await.unwrap();
    joined(&mut a).await;
    joined(&mut b).await;
    let doc = Doc::new();
    let text = doc.get_or_insert_text("text");
    let mut written = Vec::new();
    for (room, word) in [(&a, "over QUIC"), (&b, " and TCP")] {
        let before = doc.transact().state_vector();
        text.push(&mut doc.transact_mut(), word);
        let update = doc.transact().encode_state_as_update_v1(&before);
        let ticket = room.submit(update.clone().into()).await.unwrap();
        let acked = within(PATIENCE, "an ack", ticket.acked()).await.unwrap();
        written.push((acked.seq, update));
    }
    for (room, (seq, update)) in [(&mut b, &written[0]), (&mut a, &written[1])] {
        let record = event(room, "the other's update", |event| match event {
            Event::Records(records) => Some(records[0].clone()),
            _ => None,
        })
        .await;
        assert_eq!((Some(record.seq), &record.payload[..]), (*seq, &update[..]));
    }
    let path = "/api/v1/rooms/doc/meeting/state?format=text";
    let answer = http::get(address, path).await.expect("an answer");
    assert_eq!(answer.body, b"over QUIC and TCP");

    // Presence, of which much is on datagrams: the latest counts, in both directions.
    let states = |n: u32| Some(Bytes::from(format!("{{\"at\":{n}}}")));
    for n in 1..=50 {
        a.set_presence(states(n)).await.unwrap();
        b.set_presence(states(1_000 + n)).await.unwrap();
    }
    let (of_a, of_b) = (a.client().get(), b.client().get());
    for (room, site, last) in [(&mut b, of_a, states(50)), (&mut a, of_b, states(1_050))] {
        event(room, "the latest presence", |event| match event {
            Event::Presence(entries) => entries.contains(&(site, last.clone())).then_some(()),
            _ => None,
        })
        .await;
    }
}

/// A client that types one character at a time, each its own, and follows.
struct Typist {
    room: TextRoom,
    tickets: Vec<Ticket>,
    typed: BTreeSet<char>,
    next: u32,
    broken: usize,
}

impl Typist {
    async fn new(client: &Client, room: &str, number: u32) -> Self {
        let join = Join::new(format!("text/{room}"));
        Self {
            room: TextRoom::join(client, join).await.expect("a room"),
            tickets: Vec::new(),
            typed: BTreeSet::new(),
            // Nobody types another's characters.
            next: 0x4e00 + 4_000 * number,
            broken: 0,
        }
    }

    async fn type_one(&mut self, random: &mut StdRng) {
        let character = char::from_u32(self.next).expect("a character");
        self.next += 1;
        let len = self.room.text().to_string().chars().count();
        let at = random.random_range(0..=len);
        let ticket = self.room.replace(at, 0, &character.to_string()).await;
        self.tickets.push(ticket.expect("it is kept"));
        self.typed.insert(character);
        let cursor = self.room.set_cursor("a typist", at).await;
        cursor.expect("the room goes on");
    }

    /// Follows the room for so long.
    async fn follow(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            match tokio::time::timeout(left, self.room.next()).await {
                Ok(event) => match event.expect("a text").expect("it goes on") {
                    Event::Disconnected { reason } => {
                        eprintln!("disconnected: {reason}");
                        self.broken += 1;
                    }
                    Event::Closed { code, reason } => panic!("closed with {code}: {reason}"),
                    _ => {}
                },
                Err(_) => return,
            }
        }
    }

    /// Types so many, with a pause after each.
    async fn type_many(&mut self, count: u64, pause: Duration, seed: u64) {
        let mut random = StdRng::seed_from_u64(seed);
        for _ in 0..count {
            self.type_one(&mut random).await;
            self.follow(pause).await;
        }
    }

    /// Everything is acked. Gives in how long, from now.
    async fn settle(&mut self, limit: Duration) -> Duration {
        let began = Instant::now();
        let tickets = std::mem::take(&mut self.tickets);
        let acks = async {
            for ticket in tickets {
                ticket.acked().await.expect("it is taken");
            }
        };
        // The connection is read on meanwhile, or nothing would come.
        let following = async {
            loop {
                self.follow(Duration::from_secs(1)).await;
            }
        };
        within(limit, "all acks", async {
            tokio::select! {
                () = acks => {}
                () = following => {}
            }
        })
        .await;
        began.elapsed()
    }
}

/// All show what the server has, and that is every character that was acked, once.
async fn converge(server: SocketAddr, room: &str, typists: &mut [Typist], limit: Duration) {
    let mut expected: Vec<char> = typists.iter().flat_map(|it| it.typed.clone()).collect();
    let text = text_of(server, room).await;
    for typist in typists {
        within(limit, "the server's text", async {
            while typist.room.text().to_string() != text {
                typist.follow(Duration::from_millis(50)).await;
            }
        })
        .await;
    }
    let mut found: Vec<char> = text.chars().collect();
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected, "each acked character is there once");
}

#[tokio::test(flavor = "multi_thread")]
async fn typing_through_bad_weather_converges() {
    let seed = seed();
    let edits = setting("WEATHER_EDITS", 60);
    let delay = Duration::from_millis(setting("WEATHER_DELAY_MS", 200));
    let cut = Duration::from_millis(setting("WEATHER_CUT_MS", 5_000));
    // A session is opened anew in the same weather, which may take many tries.
    let limit = Duration::from_secs(120) + 10 * cut;
    let server = server();
    let address = server.address();
    let bad = Weather {
        delay,
        jitter: delay / 2,
        loss: 0.3,
    };
    let links = [
        Link::to(address, seed).await,
        Link::to(address, seed + 1).await,
    ];
    let mut typists = Vec::new();
    for (n, link) in links.iter().enumerate() {
        let client = over_webtransport(address, link.address());
        typists.push(Typist::new(&client, "weather", n as u32).await);
    }
    typists.push(Typist::new(&over_websocket(address), "weather", 2).await);
    for (n, typist) in typists.iter_mut().enumerate() {
        typist
            .type_many(1, Duration::from_millis(10), seed + n as u64)
            .await;
        typist.settle(PATIENCE).await;
    }
    for link in &links {
        link.set(bad);
    }
    let pause = Duration::from_millis(100);
    let partition = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        links[0].cut_for(cut).await;
    };
    let [a, b, c] = &mut typists[..] else {
        unreachable!("there are three");
    };
    tokio::join!(
        a.type_many(edits, pause, seed),
        b.type_many(edits, pause, seed + 1),
        c.type_many(edits, pause, seed + 2),
        partition,
    );
    let settled = tokio::join!(a.settle(limit), b.settle(limit), c.settle(limit));
    eprintln!("all acked within {settled:?} of the end of typing and the partition");
    converge(address, "weather", &mut typists, limit).await;
    // What was lost of presence on datagrams has come on the stream.
    let [a, .., c] = &mut typists[..] else {
        unreachable!("there are three");
    };
    let last = a.room.set_cursor("the last word", 0).await;
    last.expect("the room goes on");
    let site = a.room.room().client().get();
    within(limit, "the last presence", async {
        loop {
            let event = c.room.next().await.expect("a text").expect("it goes on");
            if let Event::Presence(entries) = event
                && entries.iter().any(|(of, state)| {
                    let state = state.as_ref().map(|it| String::from_utf8_lossy(it));
                    *of == site && state.is_some_and(|it| it.contains("the last word"))
                })
            {
                return;
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_changes_its_address_keeps_its_rooms_and_acks() {
    let seed = seed();
    let server = server();
    let address = server.address();
    let link = Link::to(address, seed).await;
    let client = over_webtransport(address, link.address());
    let mut typists = [Typist::new(&client, "moving", 0).await];
    let [typist] = &mut typists;
    typist.type_many(5, Duration::from_millis(20), seed).await;
    typist.settle(PATIENCE).await;
    for moved in 1..=3 {
        link.move_client();
        typist
            .type_many(20, Duration::from_millis(10), seed + moved)
            .await;
        typist.settle(PATIENCE).await;
    }
    assert_eq!(typist.broken, 0, "it is the same session");
    converge(address, "moving", &mut typists, PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_server_has_what_it_acked_and_takes_the_rest_once() {
    let seed = seed();
    let mut server = server();
    let address = server.address();
    let limit = Duration::from_secs(120);
    let mut typists = [
        Typist::new(&over_webtransport(address, address), "restart", 0).await,
        Typist::new(&over_websocket(address), "restart", 1).await,
    ];
    let pause = Duration::from_millis(5);
    for round in 0..2 {
        let [a, b] = &mut typists;
        tokio::join!(
            a.type_many(100, pause, seed + round),
            b.type_many(100, pause, seed + round + 10),
            async {
                tokio::time::sleep(Duration::from_millis(200)).await;
                // With a goodbye, and without one: then QUIC finds out by silence.
                if round == 0 {
                    tokio::task::block_in_place(|| server.stop());
                } else {
                    server.kill();
                }
                tokio::task::block_in_place(|| server.start_again());
            }
        );
        let settled = tokio::join!(a.settle(limit), b.settle(limit));
        eprintln!("round {round}: all acked after {settled:?}");
        assert!(a.broken > 0 && b.broken > 0, "the connections did break");
    }
    until(PATIENCE, "the room", || async {
        http::room(address, "text/restart").await.map(drop)
    })
    .await;
    converge(address, "restart", &mut typists, limit).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_servers_quic_clients_are_back_without_waiting_for_silence() {
    let mut server = server();
    let address = server.address();
    let client = over_webtransport(address, address);
    let mut room = client.join(Join::new("blob/killed")).await.unwrap();
    joined(&mut room).await;
    // One that writes at once, and one that says nothing until it is asked whether it is there.
    for writes in [true, false] {
        tokio::task::block_in_place(|| {
            server.kill();
            server.start_again();
        });
        if writes {
            let ticket = room.submit(Bytes::from_static(b"on")).await.unwrap();
            let acked = within(SOONER_THAN_SILENCE, "an ack", ticket.acked());
            assert!(acked.await.unwrap().seq.is_some());
        }
        let back = within(SOONER_THAN_SILENCE, "to be back", async {
            let mut broke = false;
            loop {
                match room.next().await.expect("the room goes on") {
                    Event::Disconnected { .. } => broke = true,
                    Event::Joined { .. } => return broke,
                    _ => {}
                }
            }
        });
        assert!(back.await, "it was the former connection that broke");
    }
}

/// What an application has of an opaque room that it follows.
async fn payloads(room: &mut Room, count: usize) -> (Vec<Bytes>, bool) {
    let (mut log, mut began_anew) = (Vec::new(), false);
    while log.len() < count {
        match within(PATIENCE, "an event", room.next())
            .await
            .expect("it goes on")
        {
            Event::Joined {
                state: State::Records(records),
                ..
            }
            | Event::Records(records) => log.extend(records.into_iter().map(|it| it.payload)),
            Event::Reset {
                snapshot,
                began_anew: anew,
                ..
            } => {
                began_anew |= anew;
                log = snapshot
                    .chunk_by(|_, b| *b >= 32)
                    .map(|it| Bytes::copy_from_slice(&it[1..]))
                    .collect();
            }
            _ => {}
        }
    }
    (log, began_anew)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_another_past_than_the_log_is_told_so_and_follows_it() {
    let mut server = server_on("memory");
    let address = server.address();
    let mut here = over_websocket(address)
        .join(Join::new("blob/anew"))
        .await
        .unwrap();
    joined(&mut here).await;
    let write = async |name: &'static str, count: usize| {
        let writer = over_websocket(address);
        let mut room = writer.join(Join::new("blob/anew")).await.unwrap();
        joined(&mut room).await;
        let mut last = None;
        for n in 0..count {
            let ticket = room.submit(format!("{name}{n}").into()).await.unwrap();
            last = Some(within(PATIENCE, "an ack", ticket.acked()).await.unwrap());
        }
        last.and_then(|it| Some((it.seq?, it.at))).expect("a place")
    };
    let was = write("was", 4).await;
    assert_eq!(payloads(&mut here, 4).await.0[3], "was3");
    tokio::task::block_in_place(|| {
        server.kill();
        server.start_again();
    });
    let is = write("is", 4).await;
    write("more", 2).await;
    let expected = ["is0", "is1", "is2", "is3", "more0", "more1"];

    // Who was here, whether it came back before the log was as long as it had been or after.
    assert_eq!(
        payloads(&mut here, 6).await,
        (expected.map(Bytes::from).into(), true)
    );
    // Who comes with a record of the other past, with one of this, and with one that is nowhere.
    let client = over_websocket(address);
    let enter = async |join: Join| client.join(join).await.unwrap();
    let mut other = enter(Join::new("blob/anew").since_record(was.0, was.1)).await;
    assert_eq!(
        payloads(&mut other, 6).await,
        (expected.map(Bytes::from).into(), true)
    );
    let mut this = enter(Join::new("blob/anew").since_record(is.0, is.1)).await;
    let rest = expected[4..].iter().map(|it| Bytes::from(*it)).collect();
    assert_eq!(payloads(&mut this, 2).await, (rest, false));
    let mut nowhere = enter(Join::new("blob/anew").since(100)).await;
    assert_eq!(
        payloads(&mut nowhere, 6).await,
        (expected.map(Bytes::from).into(), true)
    );
    write("next", 1).await;
    for room in [&mut here, &mut other, &mut this, &mut nowhere] {
        assert_eq!(payloads(room, 1).await, (vec![Bytes::from("next0")], false));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_the_logs_own_past_goes_on_from_any_record() {
    let mut server = server();
    let address = server.address();
    let writer = over_websocket(address);
    let room = writer.join(Join::new("blob/goes-on")).await.unwrap();
    // Some share a commit, and some a time; each four are durable before the next.
    let mut known = Vec::new();
    for first in [b'a', b'e', b'i'] {
        let mut tickets = Vec::new();
        for letter in first..first + 4 {
            let payload = format!("n{}", char::from(letter));
            tickets.push(room.submit(payload.into()).await.unwrap());
        }
        for ticket in tickets {
            let acked = within(PATIENCE, "an ack", ticket.acked()).await.unwrap();
            known.push((acked.seq.expect("a place"), acked.at));
        }
    }
    for restarts in [false, true] {
        if restarts {
            tokio::task::block_in_place(|| {
                server.kill();
                server.start_again();
            });
        }
        for (n, (seq, at)) in known[..11].iter().enumerate() {
            let client = over_websocket(address);
            let join = Join::new("blob/goes-on").since_record(*seq, *at);
            let mut room = client.join(join).await.unwrap();
            let (log, began_anew) = payloads(&mut room, 11 - n).await;
            let first = Bytes::from(format!("n{}", char::from(b'b' + n as u8)));
            assert_eq!((log.len(), &log[0], began_anew), (11 - n, &first, false));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_whose_log_began_anew_has_again_what_its_writers_have() {
    let mut server = server_on("memory");
    let address = server.address();
    let clients = [over_websocket(address), over_websocket(address)];
    let mut a = TextRoom::join(&clients[0], Join::new("text/anew"))
        .await
        .unwrap();
    let mut b = TextRoom::join(&clients[1], Join::new("text/anew"))
        .await
        .unwrap();
    shows(&mut a, "").await;
    let ticket = a.replace(0, 0, "hello world").await.unwrap();
    within(PATIENCE, "an ack", ticket.acked()).await.unwrap();
    shows(&mut b, "hello world").await;
    tokio::task::block_in_place(|| {
        server.kill();
        server.start_again();
    });
    // Edits at what only this side has: one is on its way when the other past is heard of.
    let ticket = b.replace(5, 0, "!").await.unwrap();
    drop(ticket);
    within(PATIENCE, "the text", async {
        let path = "/api/v1/rooms/text/anew/state?format=text";
        // Until somebody gives it back there is no such room.
        while http::get(address, path).await.expect("an answer").body != b"hello! world" {
            let short = Duration::from_millis(50);
            drop(tokio::time::timeout(short, a.next()).await);
            drop(tokio::time::timeout(short, b.next()).await);
        }
    })
    .await;
    shows(&mut a, "hello! world").await;
    shows(&mut b, "hello! world").await;
    let ticket = a.replace(12, 0, "?").await.unwrap();
    within(PATIENCE, "the edit", async {
        tokio::join!(ticket.acked(), shows(&mut b, "hello! world?")).0
    })
    .await
    .unwrap();
}

/// QUIC gives a connection up after 30 s of silence.
const SOONER_THAN_SILENCE: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread")]
async fn the_server_says_who_is_where_in_a_text() {
    let server = server();
    let address = server.address();
    let get = async |path: &str| {
        let path = format!("/api/v1/rooms/{path}");
        http::get(address, &path).await.expect("an answer")
    };
    assert_eq!(get("text/where/presence").await.status, 404);

    let client = over_websocket(address);
    let mut room = TextRoom::join(&client, Join::new("text/where"))
        .await
        .unwrap();
    for (at, text) in [
        (0, "first\n"),
        (6, "se\u{1f30a}cond\nthird"),
        (0, "zeroth\n"),
    ] {
        let ticket = room.replace(at, 0, text).await.unwrap();
        within(PATIENCE, "an ack", ticket.acked()).await.unwrap();
    }
    // Between "se\u{1f30a}" and "cond"; the emoji is one character and two UTF-16 units.
    room.set_cursor("Ada", 16).await.unwrap();
    let site = room.room().client().get();
    let present = until(PATIENCE, "a cursor", || async {
        let answer = get("text/where/presence").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let view = answer.json();
        (view["present"][0]["cursor"].is_object()).then_some(view)
    })
    .await;
    let place = |index: u64, line: u64, column: u64| serde_json::json!({ "index": index, "line": line, "column": column });
    assert_eq!(present["seq"], 3);
    assert_eq!(present["present"].as_array().unwrap().len(), 1);
    let ada = &present["present"][0];
    assert_eq!((&ada["site"], &ada["name"]), (&site.into(), &"Ada".into()));
    assert!(ada["session"].as_str().is_some_and(|it| it.len() == 16));
    assert_eq!(ada["cursor"]["head"], place(17, 2, 4));
    assert_eq!(ada["cursor"]["anchor"], place(17, 2, 4));
    // Before the last edit the line stood one higher; before the second, the place had not come.
    let at = async |seq: u64| {
        let view = get(&format!("text/where/presence?seq={seq}")).await.json();
        assert_eq!(view["seq"], seq);
        view["present"][0]["cursor"].clone()
    };
    assert_eq!(at(2).await["head"], place(10, 1, 4));
    assert!(at(1).await.is_null());
    assert_eq!(get("text/where/presence?seq=x").await.status, 400);
    assert_eq!(get("text/where/presence?limit=1").await.status, 400);

    // Where there is no text there are no cursors, and what cannot be read is left out.
    let mut blob = client.join(Join::new("blob/where")).await.unwrap();
    joined(&mut blob).await;
    let state = Bytes::from_static(b"{\"user\":7,\"cursor\":{\"anchor\":\"zz\"}}");
    blob.set_presence(Some(state)).await.unwrap();
    let view = until(PATIENCE, "presence", || async {
        let view = get("blob/where/presence").await.json();
        view["present"][0].is_object().then_some(view)
    })
    .await;
    let there = &view["present"][0];
    assert!(
        there["name"].is_null() && there.get("cursor").is_none(),
        "{view}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_says_what_its_clients_know() {
    let server = server();
    let address = server.address();
    let get = async |path: &str| {
        let path = format!("/api/v1/rooms/{path}");
        http::get(address, &path).await.expect("an answer")
    };
    assert_eq!(get("blob/known/clients").await.status, 404);
    let client = over_websocket(address);
    let mut rooms = Vec::new();
    for _ in 0..2 {
        let mut room = client.join(Join::new("blob/known")).await.unwrap();
        joined(&mut room).await;
        rooms.push(room);
    }
    // The first has seen nothing of the others' when it writes, the second one what it wrote.
    for (n, room) in [(0, 0), (1, 0), (2, 1)] {
        if n == 2 {
            event(&mut rooms[1], "the others'", |event| {
                matches!(event, Event::Records(records) if records.iter().any(|it| it.seq == 2))
                    .then_some(())
            })
            .await;
        }
        let ticket = rooms[room].submit(Bytes::from(vec![n])).await.unwrap();
        within(PATIENCE, "an ack", ticket.acked()).await.unwrap();
    }
    let view = get("blob/known/clients").await.json();
    assert_eq!((&view["seq"], &view["complete"]), (&3.into(), &true.into()));
    let of = |room: &Room| {
        let clients = view["clients"].as_array().expect("a list");
        let id = room.client().get();
        let found = clients.iter().find(|it| it["client"] == id);
        let found = found.expect("it has written");
        ["operation", "seq", "base"].map(|key| found[key].as_u64().expect("a number"))
    };
    assert_eq!(of(&rooms[0]), [2, 2, 1]);
    assert_eq!(of(&rooms[1]), [1, 3, 2]);
    // Page by page.
    let first = get("blob/known/clients?limit=1").await.json();
    let next = first["next"].as_u64().expect("there is more");
    assert_eq!(first["clients"][0]["client"], next);
    let second = get(&format!("blob/known/clients?limit=1&after={next}"))
        .await
        .json();
    assert!(second["clients"][0]["client"].as_u64() > Some(next));
    assert!(second["next"].is_null());
    assert_eq!(get("blob/known/clients?limit=0").await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_speaks_webtransport_by_a_certificates_hash() {
    let server = server();
    let address = server.address();
    let published = http::get(address, "/webtransport.json").await;
    let published = published.expect("an answer").json();
    let hash = published["certificateHashes"][0]["value"].as_str();
    let hash = hash.expect("a hash").to_owned();
    let url = format!("https://{address}/well");
    let lines = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(lines.path(), "one\ntwo\n").expect("it can be written");
    tokio::task::block_in_place(|| {
        let to = ["--server", &url, "--certificate-hash"];
        let send = [&["send", "blob/line"], &to[..], &[&hash]].concat();
        assert_eq!(well_with_input(&send, lines.path()).ok(), "1\n2\n");
        let tail = ["tail", "blob/line", "--since", "0", "-n", "2"];
        let said = well(&[&tail, &to[..], &[&hash]].concat()).ok();
        assert!(
            said.contains("\"payload\":\"b25l\"") && said.contains("\"dHdv\""),
            "{said}"
        );

        // Of another certificate, and none at all.
        let other = "A".repeat(43) + "=";
        let send = ["send", "blob/line", "--patience", "3s"];
        let send = [&send, &to[..], &[&other]].concat();
        let said = well_with_input(&send, lines.path()).fails();
        assert!(
            said.contains("nothing has become durable within 3s: "),
            "{said}"
        );
        assert!(said.contains("certificate"), "{said}");
        let wrong = well(&[&tail, &to[..], &["c2hvcnQ="]].concat());
        assert!(
            wrong.code == Some(2) && wrong.stderr.contains("32 bytes"),
            "{wrong}"
        );
    });
}

/// `well` with pipes for its input and output, ended with the test.
struct Piped(Child);

impl Piped {
    fn run(arguments: &[&str]) -> Self {
        let mut command = Command::new(binary());
        command.args(arguments).stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(command.spawn().expect("it runs"))
    }

    /// The next line of what one of its pipes says.
    async fn line<R: Read + Send + 'static>(&self, pipe: R) -> (String, R) {
        let reading = tokio::task::spawn_blocking(move || {
            // Byte by byte: what comes after the line stays in the pipe.
            let (mut pipe, mut line, mut byte) = (pipe, Vec::new(), [0]);
            while pipe.read(&mut byte).expect("it can be read") == 1 && byte != [b'\n'] {
                line.push(byte[0]);
            }
            (String::from_utf8(line).expect("a line"), pipe)
        });
        within(PATIENCE, "a line", reading).await.expect("no panic")
    }
}

impl Drop for Piped {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_line_by_line_is_acked_line_by_line() {
    let mut server = server();
    let url = format!("ws://{}/well", server.address());
    let mut send = Piped::run(&["send", "blob/slow", "--server", &url]);
    let mut input = send.0.stdin.take().expect("a pipe");
    let mut output = send.0.stdout.take().expect("a pipe");
    let errors = send.0.stderr.take().expect("a pipe");
    for seq in 1..=3 {
        // The input stays open, and says nothing more before this is acked.
        input.write_all(b"line\n").expect("it is read");
        let (line, rest) = send.line(output).await;
        assert_eq!(line, seq.to_string());
        output = rest;
    }
    tokio::task::block_in_place(|| server.kill());
    let (line, _errors) = send.line(errors).await;
    assert!(line.ends_with("; trying again"), "{line}");
    input.write_all(b"line\n").expect("it is read");
    tokio::task::block_in_place(|| server.start_again());
    assert_eq!(send.line(output).await.0, "4");
    drop(input);
    let ended = tokio::task::block_in_place(|| send.0.wait()).expect("it ends");
    assert!(ended.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn why_there_is_no_connection_is_said() {
    let mut server = server();
    let url = format!("ws://{}/well", server.address());
    let lines = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(lines.path(), "one\n").expect("it can be written");
    // What no server will ever answer is refused at once.
    let no_well = "no server of the well protocol answers at";
    let wrong = [
        (
            url.replace("ws://", "http://"),
            "ws://, wss:// and https:// are spoken",
        ),
        (url.replace("/well", "/"), no_well),
        (url.replace("/well", "/yjs/doc/a"), no_well),
        (url.replace("/well", "/text/notes"), no_well),
    ];
    tokio::task::block_in_place(|| {
        for (url, why) in &wrong {
            let said = well(&["tail", "blob/x", "--server", url]).fails();
            assert!(said.contains(why), "{said}");
            let send = ["send", "blob/x", "--server", url];
            let said = well_with_input(&send, lines.path()).fails();
            assert!(said.contains(why), "{said}");
        }
        server.kill();
    });
    let mut tail = Piped::run(&["tail", "blob/x", "--server", &url]);
    let errors = tail.0.stderr.take().expect("a pipe");
    let (line, _errors) = tail.line(errors).await;
    assert!(
        line.contains("refused") && line.ends_with("; trying again"),
        "{line}"
    );
    tokio::task::block_in_place(|| {
        let send = ["send", "blob/x", "--server", &url, "--patience", "1s"];
        let said = well_with_input(&send, lines.path()).fails();
        let last = said.lines().last().unwrap_or_default();
        assert!(
            last.contains("within 1s: ") && last.contains("refused"),
            "{said}"
        );
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_former_run_left_is_sent_or_said_to_wait() {
    let mut server = server();
    let url = format!("ws://{}/well", server.address());
    let folder = tempfile::tempdir().expect("a folder");
    let queue = folder.path().join("queue");
    let [lines, nothing] = ["one\ntwo\nthree\n", ""].map(|text| {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("it can be written");
        file
    });
    let queue = queue.to_str().expect("a name");
    let send = ["send", "blob/left", "--server", &url, "--queue", queue];
    let impatient = [&send[..], &["--patience", "1s"]].concat();
    tokio::task::block_in_place(|| {
        server.kill();
        for input in [&lines, &nothing] {
            let said = well_with_input(&impatient, input.path()).fails();
            assert!(
                said.contains("3 lines wait, and nothing has become"),
                "{said}"
            );
        }
        server.start_again();
        let said = well_with_input(&send, nothing.path()).ok();
        assert_eq!(said, "", "they are no lines of this run");
        let said = well(&[
            "tail",
            "blob/left",
            "--server",
            &url,
            "--since",
            "0",
            "-n",
            "3",
        ])
        .ok();
        assert_eq!(said.lines().count(), 3, "{said}");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn who_only_writes_needs_no_events_and_has_the_document_when_it_asks() {
    let server = server();
    let client = over_websocket(server.address());
    let mut writer = client.join(Join::new("blob/writes")).await.unwrap();
    let other = over_websocket(server.address());
    let other = other.join(Join::new("blob/writes")).await.unwrap();
    const MANY: usize = 400;
    for _ in 0..MANY {
        for room in [&writer, &other] {
            let ticket = room.submit(Bytes::from_static(b"x")).await.unwrap();
            within(PATIENCE, "an ack", ticket.acked()).await.unwrap();
        }
    }
    let lagged = |event| matches!(event, Event::Lagged).then_some(());
    event(&mut writer, "to lag", lagged).await;
    let (log, _) = payloads(&mut writer, 2 * MANY).await;
    assert_eq!(log.len(), 2 * MANY);
    let ticket = other.submit(Bytes::from_static(b"y")).await.unwrap();
    assert_eq!(payloads(&mut writer, 1).await.0, ["y"]);
    drop(ticket);
}
