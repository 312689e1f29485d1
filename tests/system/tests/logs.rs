//! What the server says of its work, to whoever looks for one update among many.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use system_tests::command::token;
use system_tests::server::Server;
use system_tests::socket::Socket;
use system_tests::{http, until, wire};

const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn an_accepted_update_is_told_with_its_room_its_session_and_its_seq() {
    let mut server = Server::new("memory");
    server.start_with_log("broker=trace");
    let mut socket = Socket::connect(server.address(), "/yjs/doc/told")
        .await
        .expect("a socket");
    for clock in 0..2 {
        let update = wire::update(1, clock, 10);
        socket
            .send(&wire::update_message(&update))
            .await
            .expect("it is taken");
    }
    socket.settle(1).await.expect("it is acked");
    let told = |line: &&str| {
        ["update durable", "room=doc/told", "session=", "seq=2"]
            .iter()
            .all(|word| line.contains(word))
    };
    until(Duration::from_secs(5), "the second update is told", || {
        let said = server.stderr();
        let found = said.lines().find(told).map(str::to_owned);
        async move { found }
    })
    .await;
}

/// Writes to a room of its own, and gives whether the log tells of the update before it tells of the end
/// of a storm: what is asked for by `broker=trace` only.
async fn is_traced(server: &Server, room: &str) -> bool {
    let mut socket = Socket::connect(server.address(), &format!("/yjs/doc/{room}"))
        .await
        .expect("a socket");
    let update = wire::update(1, 0, 10);
    let sent = socket.send(&wire::update_message(&update)).await;
    sent.expect("it is taken");
    socket.settle(1).await.expect("it is acked");
    // What the log says next comes after it.
    let gone = format!("/yjs/nowhere/{room}");
    let _ = Socket::connect(server.address(), &gone).await;
    until(PATIENCE, "the refusal is told", || {
        let told = server.stderr().contains(&gone);
        async move { told.then_some(()) }
    })
    .await;
    let said = server.stderr();
    let told =
        |line: &str| line.contains("update durable") && line.contains(&format!("doc/{room}"));
    said.lines().any(told)
}

async fn set_log(server: SocketAddr, token: &str, filter: &str) -> u16 {
    let headers = [("authorization", &*format!("Bearer {token}"))];
    let body = serde_json::json!({ "filter": filter }).to_string();
    let answer = http::send(server, "POST", "/api/v1/admin/log", &headers, &body).await;
    answer.expect("an answer").status
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_logged_is_changed_while_it_runs() {
    let mut server = Server::configured("memory", "log = 'info'");
    let (admin, of_one_room) = (token("admin", "*/*", &[]), token("admin", "doc/*", &[]));
    let address = server.address();
    assert!(!is_traced(&server, "before").await);
    assert_eq!(set_log(address, &of_one_room, "trace").await, 403);
    assert_eq!(set_log(address, "", "trace").await, 401);
    assert_eq!(set_log(address, &admin, "a=b=c").await, 400);
    assert!(!is_traced(&server, "refused").await);
    assert_eq!(set_log(address, &admin, "info,broker=trace").await, 204);
    assert!(is_traced(&server, "by-an-admin").await);
    // What the file says holds again once it is read again.
    server.hang_up();
    read_again(&server, 1).await;
    assert!(!is_traced(&server, "read-again").await);
    server.configure("log = 'info,broker=trace'");
    server.hang_up();
    read_again(&server, 2).await;
    assert!(is_traced(&server, "by-the-file").await);
    assert!(!server.stderr().contains(&admin), "no token is in the log");
}

async fn read_again(server: &Server, times: usize) {
    until(PATIENCE, "the configuration is read again", || {
        let said = server.stderr();
        let read = said
            .matches("the configuration has been read again")
            .count();
        async move { (read == times).then_some(()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_lines_is_cut_short_and_counted() {
    const STORM: u64 = 300;
    let server = Server::configured("memory", "log_format = 'json'");
    let mut socket = Socket::connect(server.address(), "/yjs/doc/storm?role=viewer")
        .await
        .expect("a socket");
    for clock in 0..STORM {
        let update = wire::update(1, clock, 10);
        let sent = socket.send(&wire::update_message(&update)).await;
        sent.expect("it is taken");
    }
    let (written, rest) = until(PATIENCE, "each is told or counted", || {
        let said = server.stderr();
        let written = told(&said, "a submission was refused");
        let left_out = told(&said, "log lines were left out: too many in a short time");
        let like = |line: &&Value| line["like"] == "a submission was refused";
        let counted = left_out.iter().filter(like);
        let rest: u64 = counted.filter_map(|line| line["lines"].as_u64()).sum();
        async move { (written.len() as u64 + rest == STORM).then_some((written, rest)) }
    })
    .await;
    // Two windows at most: it is over in less time than one takes.
    assert!(written.len() <= 100, "{} lines", written.len());
    let line = &written[0];
    assert_eq!(line["room"], "doc/storm");
    assert!(line["session"].is_string(), "{line}");
    let counted = http::get(server.address(), "/metrics")
        .await
        .expect("metrics");
    let counted = String::from_utf8_lossy(&counted.body).into_owned();
    let counted = counted
        .lines()
        .find_map(|line| line.strip_prefix("well_log_lines_left_out_total "));
    assert_eq!(counted, Some(&*rest.to_string()));
}

/// The JSON lines of a log that say this.
fn told(log: &str, message: &str) -> Vec<Value> {
    let lines = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    lines
        .filter(|line: &Value| line["message"] == message)
        .collect()
}
