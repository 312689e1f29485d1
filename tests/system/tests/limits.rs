//! Every limit of a space, reached by a client over its socket, and what it is told.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use system_tests::http;
use system_tests::server::Server;
use system_tests::socket::Socket;
use system_tests::wire::{self, Message};
use system_tests::{until, within};
use well_client::{Client, Event, Join, Options, Room};

const PATIENCE: Duration = Duration::from_secs(20);
const OFF: &str = "
[spaces.pit]
updates_per_minute = 'off'
bytes_per_minute = 'off'
max_update = '1MB'
max_document = 'off'
max_rooms = 'off'
max_total = 'off'
connections_per_ip = 'off'
joins_per_ip_per_minute = 'off'
new_rooms_per_ip_per_hour = 'off'
";

/// A server whose pits have these limits and no others.
fn server(limit: &str) -> Server {
    Server::configured("memory", with(limit))
}

/// The configuration of one.
fn with(limit: &str) -> String {
    let key = |line: &str| line.split(' ').next().map(str::to_owned);
    let said: Vec<_> = limit.lines().filter_map(key).collect();
    let rest = OFF
        .lines()
        .filter(|line| key(line).is_none_or(|key| !said.contains(&key)));
    let rest: Vec<_> = rest.chain([limit]).collect();
    rest.join("\n")
}

async fn pit(server: SocketAddr, name: &str) -> Socket {
    Socket::connect(server, &format!("/pit/{name}"))
        .await
        .expect("a handshake")
}

/// Why an operation is refused.
async fn rejection(room: &mut Room) -> String {
    within(PATIENCE, "a refusal", async {
        loop {
            match room.next().await {
                Some(Event::Rejected { rejected, .. }) => return rejected.to_string(),
                Some(_) => {}
                None => return "the room has ended".to_owned(),
            }
        }
    })
    .await
}

/// Whether a client gets in, or how it is closed.
async fn comes_in(socket: &mut Socket) -> Result<(), (u16, String)> {
    match socket.sync().await {
        Ok(_) => Ok(()),
        Err(error) => {
            let said = error.to_string();
            let code = said
                .split(['(', ','])
                .nth(1)
                .and_then(|code| code.parse().ok());
            Err((code.unwrap_or(0), said))
        }
    }
}

async fn send(socket: &mut Socket, client: u64, clock: u64, bytes: usize) {
    let update = wire::update_message(&wire::update(client, clock, bytes));
    socket.send(&update).await.expect("it is sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_updates_is_refused_and_a_client_beside_it_is_not_harmed() {
    let server = server("updates_per_minute = 60");
    let address = server.address();
    let mut flood = pit(address, "a").await;
    let mut beside = pit(address, "a").await;
    flood.sync().await.expect("it is in");
    beside.sync().await.expect("it is in");
    // Seventy strokes' worth: a minute's, and ten seconds ahead.
    let whole = 70 * 32;
    let began = Instant::now();
    for clock in 0..2 * whole {
        let update = wire::update_message(&wire::update(1, clock, 1));
        // It may have been closed by then.
        if flood.send(&update).await.is_err() {
            break;
        }
    }
    let _ = flood.send(&wire::ack_request(9)).await;
    let mut acked = false;
    let (code, reason, denied) = loop {
        use system_tests::socket::Heard;
        match within(PATIENCE, "the end of the flood", flood.hear()).await {
            Ok(Heard::Message(Message::Ack(9))) => acked = true,
            Ok(Heard::Message(Message::Denied(why))) => {
                let (code, reason, _) = flood.closing().await;
                break (code, reason, why);
            }
            Ok(Heard::Message(_)) => {}
            end => panic!("no denial: {end:?}"),
        }
    };
    assert!(!acked, "nothing is acked after a refusal");
    assert_eq!(code, 4429, "{reason}");
    assert!(
        reason.contains("too many updates") && reason.contains("try again in"),
        "{reason}"
    );
    assert!(denied.contains("too many updates"), "{denied}");
    send(&mut beside, 2, 0, 1).await;
    within(PATIENCE, "an ack beside the flood", beside.settle(1))
        .await
        .expect("it goes on");
    let room = http::room(address, "pit/a").await.expect("a room");
    let taken = room["seq"].as_u64().expect("a number");
    // And a stroke for each second that has passed.
    let leaked = 32 * (began.elapsed().as_secs() + 1);
    assert!(
        (whole..=whole + leaked + 1).contains(&taken),
        "{taken} were taken"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn over_its_minute_a_connection_is_slowed_and_loses_nothing() {
    let server = server("bytes_per_minute = '60KB'\nmax_update = '10KB'");
    let mut socket = pit(server.address(), "a").await;
    socket.sync().await.expect("it is in");
    let bytes = wire::update(1, 0, 1000).len();
    let updates = 60_000 / bytes as u64 + 3;
    let began = Instant::now();
    for clock in 0..updates {
        send(&mut socket, 1, clock, 1000).await;
    }
    within(PATIENCE, "an ack", socket.settle(1))
        .await
        .expect("all is taken");
    // What comes now is read when the debt is paid: a thousandth of a second for each byte.
    within(PATIENCE, "an ack", socket.settle(2))
        .await
        .expect("it goes on");
    let owed = updates * bytes as u64 - 60_000;
    assert!(
        began.elapsed().as_millis() >= owed.into(),
        "{:?}, owed {owed} ms",
        began.elapsed()
    );
    let room = http::room(server.address(), "pit/a").await.expect("a room");
    assert!(room["seq"].as_u64().is_some_and(|seq| seq >= 1), "{room}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_and_large_updates_are_refused_in_both_dialects() {
    let server = server("bytes_per_minute = '20KB'\nmax_update = '10KB'");
    let address = server.address();
    let mut socket = pit(address, "a").await;
    socket.sync().await.expect("it is in");
    for clock in 0..3 {
        send(&mut socket, 1, clock, 9_000).await;
    }
    let (code, reason, _) = socket.closing().await;
    assert_eq!(code, 4429, "{reason}");
    assert!(reason.contains("too many bytes"), "{reason}");
    let mut socket = pit(address, "a").await;
    socket.sync().await.expect("the limit is its connection's");
    send(&mut socket, 2, 0, 11_000).await;
    let (code, reason, denied) = socket.closing().await;
    assert_eq!(code, 4413, "{reason}");
    assert!(denied[0].contains("limit of 10000"), "{denied:?}");

    for url in [
        format!("ws://{address}/well"),
        format!("https://{address}/well"),
    ] {
        let options = Options::new(url);
        let published = format!("http://{address}/webtransport.json");
        let client = Client::connect(options.published_certificates(published));
        let mut room = client.join(Join::new("pit/a")).await.expect("a room");
        let large = wire::update(rand::random::<u32>().into(), 0, 11_000);
        let _ticket = room.submit(Bytes::from(large)).await.expect("a ticket");
        let why = rejection(&mut room).await;
        assert!(why.contains("limit of 10000"), "{why}");
    }
}

/// An update of one client that puts a map with `value`, as lib0 encodes it, into the list `strokes`.
fn stroke(client: u8, value: &[u8]) -> Vec<u8> {
    let list = [&[1, 1, client, 0, 8, 1, 7][..], b"strokes"].concat();
    [&list[..], &[1, 118, 1, 5], b"image", value, &[0]].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn binary_content_is_refused_by_its_path_in_both_dialects() {
    let server = server("binary = 'deny'");
    let address = server.address();
    let mut socket = pit(address, "a").await;
    socket.sync().await.expect("it is in");
    let text = stroke(1, &[119, 3, b'a', b'b', b'c']);
    let allowed = wire::update_message(&text);
    socket.send(&allowed).await.expect("it is sent");
    socket.settle(1).await.expect("a string is none");
    let bytes = stroke(2, &[116, 2, 0, 1]);
    let denied = wire::update_message(&bytes);
    socket.send(&denied).await.expect("it is sent");
    let (code, reason, denied) = socket.closing().await;
    assert_eq!(code, 4400, "{reason}");
    assert!(denied[0].contains("strokes[1].image"), "{denied:?}");
    // An update of a space that does not deny it.
    let mut other = Socket::connect(address, "/yjs/doc/a").await.expect("in");
    other.sync().await.expect("it is in");
    let allowed = wire::update_message(&bytes);
    other.send(&allowed).await.expect("it is sent");
    other.settle(1).await.expect("bytes are allowed");

    let client = Client::connect(Options::new(format!("ws://{address}/well")));
    let mut room = client.join(Join::new("pit/a")).await.expect("a room");
    let image = [&[119, 17][..], b"data:image/png,ab"].concat();
    let update = Bytes::from(stroke(3, &image));
    let _ticket = room.submit(update).await.expect("a ticket");
    let why = rejection(&mut room).await;
    assert!(why.contains("strokes[1].image"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_has_so_many_sessions_and_so_much_memory() {
    let server = server("sessions_per_room = 2\nroom_memory = '100KB'");
    let address = server.address();
    let mut first = pit(address, "a").await;
    let mut second = pit(address, "a").await;
    first.sync().await.expect("it is in");
    second.sync().await.expect("it is in");
    let mut third = pit(address, "a").await;
    let (code, reason) = comes_in(&mut third).await.expect_err("two are in");
    assert_eq!(code, 1013, "{reason}");
    let mut elsewhere = pit(address, "b").await;
    elsewhere.sync().await.expect("another room has none");
    for clock in 0..20 {
        send(&mut first, 1, clock, 10_000).await;
    }
    let (code, reason, denied) = first.closing().await;
    assert_eq!(code, 4413, "{reason}");
    assert!(denied[0].contains("limit of 100000"), "{denied:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn past_the_rooms_that_may_be_loaded_others_wait_until_one_rests() {
    let server = server("[limits]\nrooms_loaded = 1");
    let address = server.address();
    let mut first = pit(address, "a").await;
    first.sync().await.expect("it is in");
    let (code, reason) = comes_in(&mut pit(address, "b").await).await.unwrap_err();
    assert_eq!(code, 1013, "{reason}");
    send(&mut first, 1, 0, 10).await;
    first.settle(1).await.expect("who is in goes on");
    drop(first);
    until(PATIENCE, "a place", || async {
        comes_in(&mut pit(address, "b").await).await.ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn past_the_memory_documents_are_read_and_not_written() {
    let server = server("[limits]\nmemory = '4MB'");
    let address = server.address();
    let mut writer = pit(address, "a").await;
    writer.sync().await.expect("it is in");
    let mut clock = 0;
    // One after the other, because what comes at once is looked at once.
    let end = loop {
        send(&mut writer, 1, clock, 10_000).await;
        clock += 1;
        if let Err(end) = writer.settle(clock).await {
            break end.to_string();
        }
    };
    assert!(end.contains("Close(1013"), "{end}");
    assert!(end.contains("memory for documents is full"), "{end}");
    assert!(clock < 400, "{clock} were taken");
    let mut reader = pit(address, "a").await;
    let state = reader.sync().await.expect("it is read");
    assert!(state.len() > 10_000, "{}", state.len());
    let (code, reason) = comes_in(&mut pit(address, "b").await).await.unwrap_err();
    assert_eq!(code, 1013, "{reason}");
}

/// What a client wrote while it was away is more than its rate: it comes in bit by bit, and what is sent
/// again on the way is not counted again.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_over_its_rate_gets_everything_in() {
    let server = server("bytes_per_minute = '300KB'\nmax_update = '20KB'");
    let client = Client::connect(Options::new(format!("ws://{}/well", server.address())));
    let room = client.join(Join::new("pit/late")).await.expect("a room");
    let mut tickets = Vec::new();
    // A minute's worth and ten seconds of debt are 350 KB.
    for n in 0..37 {
        let update = Bytes::from(wire::update(7, n, 10_000));
        tickets.push(room.submit(update).await.expect("a ticket"));
    }
    within(Duration::from_secs(60), "every ack", async {
        for ticket in tickets {
            ticket.acked().await.expect("it is in");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_in_so_many_rooms_and_says_hello_in_time() {
    let limits = "[limits]\nrooms_per_connection = 2\nhandshake = '200ms'";
    let server = server(limits);
    let address = server.address();
    let client = Client::connect(Options::new(format!("ws://{address}/well")));
    let mut rooms = Vec::new();
    for name in ["pit/a", "pit/b"] {
        let room = client.join(Join::new(name)).await.expect("a room");
        let update = Bytes::from(wire::update(rand::random::<u32>().into(), 0, 10));
        let ticket = room.submit(update).await.expect("a ticket");
        ticket.acked().await.expect("it is in");
        rooms.push(room);
    }
    let mut third = client.join(Join::new("pit/c")).await.expect("a room");
    let why = within(PATIENCE, "a refusal", async {
        loop {
            match third.next().await {
                // It comes back, in case another room has been left by then.
                Some(Event::Disconnected { reason }) => return reason,
                Some(_) => {}
                None => return "it has ended".to_owned(),
            }
        }
    })
    .await;
    assert!(why.contains("2 rooms at most"), "{why}");
    let mut silent = Socket::connect(address, "/well").await.expect("in");
    let end = within(PATIENCE, "its end", silent.close_of_any_dialect()).await;
    let (code, reason) = end.expect("a close");
    assert_eq!(code, 4408, "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_is_full_is_read_and_not_written_until_it_may_be_larger() {
    let mut server = server("max_document = '20KB'");
    let address = server.address();
    let mut socket = pit(address, "a").await;
    socket.sync().await.expect("it is in");
    for clock in 0..20 {
        send(&mut socket, 1, clock, 1_000).await;
    }
    let (code, reason, denied) = socket.closing().await;
    assert_eq!(code, 4413, "{reason}");
    assert!(denied[0].contains("the document"), "{denied:?}");
    assert!(denied[0].contains("limit of 20000"), "{denied:?}");
    // All that was taken is there, for whoever comes; and what is there is no more when it is sent again.
    let mut reader = pit(address, "a").await;
    let state = reader.sync().await.expect("it is in");
    assert!((15_000..=20_000).contains(&state.len()), "{}", state.len());
    let again = wire::update_message(&state);
    reader.send(&again).await.expect("it is sent");
    within(PATIENCE, "an ack", reader.settle(1))
        .await
        .expect("it adds nothing");
    server.configure(with("max_document = '50KB'"));
    let answer = http::request(address, "POST", "/api/v1/admin/reload").await;
    let status = answer.expect("an answer").status;
    assert_ne!(status, 204, "only an admin reloads over HTTP");
    server.hang_up();
    until(PATIENCE, "the larger limit", || async {
        let mut writer = pit(address, "a").await;
        writer.sync().await.expect("it is in");
        send(&mut writer, 2, 0, 4_000).await;
        writer.settle(1).await.ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_so_many_connections_over_all_transports() {
    let server = server("connections_per_ip = 3");
    let address = server.address();
    let mut first = pit(address, "a").await;
    let mut second = pit(address, "b").await;
    comes_in(&mut first).await.expect("it is in");
    comes_in(&mut second).await.expect("it is in");
    // One connection in two rooms is one.
    let quic = Options::new(format!("https://{address}/well"))
        .published_certificates(format!("http://{address}/webtransport.json"));
    let client = Client::connect(quic);
    let mut rooms = Vec::new();
    for name in ["pit/a", "pit/b"] {
        let mut room = client.join(Join::new(name)).await.expect("a room");
        within(PATIENCE, "a join", async {
            while !matches!(room.next().await, Some(Event::Joined { .. })) {}
        })
        .await;
        rooms.push(room);
    }
    let mut fourth = pit(address, "a").await;
    let (code, reason) = comes_in(&mut fourth).await.unwrap_err();
    assert_eq!(code, 4429, "{reason}");
    assert!(reason.contains("too many connections"), "{reason}");
    // Other spaces count for themselves.
    let mut other = Socket::connect(address, "/yjs/doc/a")
        .await
        .expect("a handshake");
    comes_in(&mut other).await.expect("it is in");
    drop(first);
    until(PATIENCE, "a place", || async {
        comes_in(&mut pit(address, "a").await).await.ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_joins_and_downloads_so_often() {
    let server = server("joins_per_ip_per_minute = 5");
    let address = server.address();
    let mut writer = pit(address, "a").await;
    writer.sync().await.expect("it is in");
    send(&mut writer, 1, 0, 1).await;
    writer.settle(1).await.expect("it is stored");
    for _ in 0..2 {
        comes_in(&mut pit(address, "a").await)
            .await
            .expect("it is in");
        let answer = http::get(address, "/api/v1/rooms/pit/a/snapshot")
            .await
            .unwrap();
        assert_eq!(answer.status, 200);
    }
    let (code, reason) = comes_in(&mut pit(address, "a").await).await.unwrap_err();
    assert_eq!(code, 4429, "{reason}");
    assert!(reason.contains("5 a minute; try again in"), "{reason}");
    for path in ["snapshot", "state", "state?at=now"] {
        let answer = http::get(address, &format!("/api/v1/rooms/pit/a/{path}"))
            .await
            .unwrap();
        assert_eq!(answer.status, 429, "{path}");
        let problem = answer.json();
        assert_eq!(problem["code"], "too_many");
        let after = problem["retry_after"].as_u64().expect("a time");
        assert!((1..=12).contains(&after), "{problem}");
        assert!(
            answer.head.contains(&format!("retry-after: {after}")),
            "{}",
            answer.head
        );
    }
    // Who is in stays, and a scrubber's steps are no downloads.
    writer.settle(2).await.expect("it goes on");
    let answer = http::get(address, "/api/v1/rooms/pit/a/state?seq=1")
        .await
        .unwrap();
    assert_eq!(answer.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_begins_so_many_rooms_and_a_proxy_speaks_for_others() {
    let server = server("new_rooms_per_ip_per_hour = 2\n");
    let address = server.address();
    let begin = async |headers: &[(&str, &str)]| {
        http::send(address, "POST", "/api/v1/pits", headers, "")
            .await
            .expect("an answer")
    };
    assert_eq!(begin(&[]).await.status, 201);
    comes_in(&mut pit(address, "mine").await)
        .await
        .expect("it is in");
    let refused = begin(&[]).await;
    assert_eq!(refused.status, 429, "{refused:?}");
    assert!(
        refused.json()["retry_after"].as_u64() > Some(1000),
        "{refused:?}"
    );
    let (code, reason) = comes_in(&mut pit(address, "another").await)
        .await
        .unwrap_err();
    assert_eq!(code, 4429, "{reason}");
    assert!(reason.contains("new rooms"), "{reason}");
    let made = begin(&[("x-forwarded-for", "203.0.113.1")]).await;
    assert_eq!(
        made.status, 429,
        "who is not trusted speaks for themselves: {made:?}"
    );

    let config = "trusted_proxies = ['127.0.0.0/8']\n[spaces.pit]\nnew_rooms_per_ip_per_hour = 1\n";
    let proxied = Server::configured("memory", config);
    let address = proxied.address();
    let begin = async |client: &str| {
        let headers = [("x-forwarded-for", client)];
        let answer = http::send(address, "POST", "/api/v1/pits", &headers, "").await;
        answer.expect("an answer").status
    };
    assert_eq!(begin("203.0.113.1").await, 201);
    assert_eq!(begin("203.0.113.1").await, 429);
    assert_eq!(
        begin("1.2.3.4, 203.0.113.1").await,
        429,
        "what a client writes does not count"
    );
    assert_eq!(begin("203.0.113.2").await, 201);
    assert_eq!(begin("2001:db8::1").await, 201);
    assert_eq!(
        begin("2001:db8::2").await,
        429,
        "one network of IPv6 is one address"
    );
}
