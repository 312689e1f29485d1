//! From where somebody comes in without a token, and whose a connection is that a proxy passes on.

use std::net::SocketAddr;
use std::time::Duration;

use system_tests::command::token;
use system_tests::http::{self, Answer};
use system_tests::server::Server;
use system_tests::socket::{Socket, handshake};
use system_tests::{until, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PATIENCE: Duration = Duration::from_secs(20);

/// A server that trusts this machine to say for whom it asks, and shuts out the networks of a file.
struct Place {
    server: Server,
    denied: tempfile::NamedTempFile,
}

impl Place {
    fn new(more: &str) -> Self {
        let denied = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(&denied, "203.0.113.0/24 # a data centre\n").expect("it can be written");
        let path = denied.path().display();
        let text = format!(
            "trusted_proxies = ['127.0.0.0/8']\n{more}\n[networks]\ndeny = ['{path}']\n\
             [spaces.pit]\nconnections_per_ip = 1\n"
        );
        let server = Server::configured("memory", text);
        Self { server, denied }
    }
}

async fn ask(
    server: SocketAddr,
    method: &str,
    path: &str,
    from: &str,
    token: Option<&str>,
) -> Answer {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let headers: Vec<_> = (bearer.iter().map(|it| ("authorization", it.as_str())))
        .chain([("x-forwarded-for", from)])
        .collect();
    let answer = http::send(server, method, path, &headers, "").await;
    answer.expect("an answer")
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_from_a_denied_network_needs_a_token() {
    let place = Place::new("");
    let server = place.server.address();
    let token = token("creator", "pit/*", &[]);
    let made = ask(server, "POST", "/api/v1/pits", "198.51.100.1", None).await;
    assert_eq!(made.status, 201);
    let room = made.json()["room"].as_str().expect("a room").to_owned();
    let room = format!("/api/v1/rooms/{room}");
    for (method, path) in [
        ("POST", "/api/v1/pits"),
        ("GET", "/api/v1/rooms"),
        ("GET", room.as_str()),
        ("GET", &format!("{room}/snapshot")),
        ("GET", "/api/v1/observatory/now"),
    ] {
        let refused = ask(server, method, path, "203.0.113.9", None).await;
        assert_eq!(refused.status, 403, "{method} {path}");
        assert_eq!(refused.json()["code"], "network", "{method} {path}");
        let elsewhere = ask(server, method, path, "198.51.100.1", None).await;
        assert!(elsewhere.status < 300, "{method} {path}: {elsewhere:?}");
    }
    let holder = ask(server, "GET", &room, "203.0.113.9", Some(&token)).await;
    assert_eq!(holder.status, 200);
    // The file is read again with the configuration; one that is wrong changes nothing.
    std::fs::write(&place.denied, "nowhere\n").expect("it can be written");
    place.server.hang_up();
    let told = async || place.server.stderr().contains("line 1").then_some(());
    until(PATIENCE, "it says what is wrong", told).await;
    assert_eq!(
        ask(server, "GET", &room, "203.0.113.9", None).await.status,
        403
    );
    std::fs::write(&place.denied, "198.51.100.0/24\n").expect("it can be written");
    place.server.hang_up();
    let let_in = async || {
        let answer = ask(server, "GET", &room, "203.0.113.9", None).await;
        (answer.status == 200).then_some(())
    };
    until(PATIENCE, "it is read again", let_in).await;
    assert_eq!(
        ask(server, "GET", &room, "198.51.100.1", None).await.status,
        403
    );
}

/// A socket through a proxy that says this first.
async fn through(server: SocketAddr, header: &[u8]) -> Socket {
    let mut socket = Socket::connect_without_handshake(server)
        .await
        .expect("a connection");
    let asked = handshake(server, "/pit/a");
    let bytes = [header, asked.as_bytes()].concat();
    socket.send_raw(&bytes).await.expect("it is sent");
    socket.take_handshake().await.expect("a handshake");
    socket
}

fn first(client: &str) -> Vec<u8> {
    format!("PROXY TCP4 {client} 127.0.0.1 40000 443\r\n").into_bytes()
}

fn second(client: [u8; 4]) -> Vec<u8> {
    let head = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    [
        head,
        client.to_vec(),
        vec![127, 0, 0, 1, 0x9c, 0x40, 1, 0xbb],
    ]
    .concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_says_whose_a_connection_is_and_nobody_comes_past_it() {
    let place = Place::new("proxy_protocol = true");
    let server = place.server.address();
    let mut one = through(server, &first("198.51.100.1")).await;
    one.sync().await.expect("it is in");
    let mut other = through(server, &second([198, 51, 100, 2])).await;
    other.sync().await.expect("another address has its own");
    for (header, code) in [
        (first("198.51.100.1"), 4429),
        (second([198, 51, 100, 1]), 4429),
        (first("203.0.113.9"), 4403),
        (second([203, 0, 113, 9]), 4403),
    ] {
        let mut socket = through(server, &header).await;
        let (closed, reason, _) = within(PATIENCE, "its end", socket.closing()).await;
        assert_eq!(closed, code, "{reason}");
    }
    // Without a header there is no answer.
    for said in [
        &b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n"[..],
        b"PROXY TCP4 a b c d\r\n",
    ] {
        let mut stream = TcpStream::connect(server).await.expect("a connection");
        stream.write_all(said).await.expect("it is sent");
        let mut answer = Vec::new();
        let ended = within(PATIENCE, "its end", stream.read_to_end(&mut answer)).await;
        assert!(ended.is_err() || answer.is_empty(), "{answer:?}");
    }
    one.sync().await.expect("it goes on");
}
