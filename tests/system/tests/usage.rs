//! What may be written in a month, reached by clients of every way in, counted for each tenant, and still
//! known after a restart and after a kill.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use system_tests::command::token;
use system_tests::http::{self, Answer};
use system_tests::server::Server;
use system_tests::socket::Socket;
use system_tests::{until, wire, within};
use well_client::{Client, Event, Join, Options, Room};

const PATIENCE: Duration = Duration::from_secs(20);
/// Counts are written down every ten seconds.
const WRITTEN_DOWN: Duration = Duration::from_secs(60);
const CONFIG: &str = "[spaces.doc]\nrecords_per_month = 3\n";

async fn ask(server: SocketAddr, method: &str, path: &str, token: &str, body: &str) -> Answer {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    let answer = http::send(server, method, path, &headers, body).await;
    answer.expect("an answer")
}

fn update() -> Vec<u8> {
    wire::update(rand::random::<u32>().into(), 0, 10)
}

/// A room of the `well` dialect, and the client that is in it.
async fn room(server: SocketAddr, name: &str, token: &str) -> (Client, Room) {
    let options = Options::new(format!("ws://{server}/well")).token(token);
    let client = Client::connect(options);
    let room = client.join(Join::new(name)).await.expect("a room");
    (client, room)
}

/// How many of six updates the server takes from a client of the `well` dialect, and why not the next.
async fn taken(server: SocketAddr, name: &str, token: &str) -> (usize, Option<String>) {
    let (_client, mut room) = room(server, name, token).await;
    for nth in 0..6 {
        let ticket = room.submit(Bytes::from(update())).await.expect("a ticket");
        let refused = async {
            loop {
                match room.next().await {
                    // It keeps the update, and comes back when it may.
                    Some(Event::Disconnected { reason }) => return reason,
                    Some(_) => {}
                    None => return "the room has ended".to_owned(),
                }
            }
        };
        let done = within(PATIENCE, "what becomes of an update", async {
            tokio::select! {
                biased;
                refused = refused => Some(refused),
                acked = ticket.acked() => acked.err().map(|error| error.to_string()),
            }
        });
        if let Some(why) = done.await {
            return (nth, Some(why));
        }
    }
    (6, None)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_has_so_many_bytes() {
    let server = Server::configured("memory", "[spaces.doc]\nbytes_per_month = '2KB'\n");
    let mut socket = Socket::connect(server.address(), "/yjs/doc/a")
        .await
        .expect("in");
    socket.sync().await.expect("it is in");
    for clock in 0..3 {
        let update = wire::update_message(&wire::update(7, clock, 900));
        socket.send(&update).await.expect("it is sent");
    }
    let (code, reason, denied) = within(PATIENCE, "its end", socket.closing()).await;
    assert_eq!(code, 4429, "{reason}");
    let said = "this month's bytes are used up, 2000 of them";
    assert!(denied[0].contains(said), "{denied:?}");
    let document = http::snapshot(server.address(), "doc/a").await;
    let keys = wire::keys([document.expect("reads go on").as_slice()]);
    assert_eq!(keys.len(), 2);
}

/// Each account with what it has had.
async fn usage(server: SocketAddr, token: &str) -> Vec<(String, Option<String>, u64)> {
    let answer = ask(server, "GET", "/api/v1/usage", token, "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let usage = answer.json();
    let row = |row: &Value| {
        let text = |key: &str| row[key].as_str().map(str::to_owned);
        let records = row["records"].as_u64().expect("a number");
        assert!(row["bytes"].as_u64() >= Some(10 * records), "{row}");
        (text("space").expect("a space"), text("tenant"), records)
    };
    usage["usage"]
        .as_array()
        .expect("a list")
        .iter()
        .map(row)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_has_so_many_records_for_each_tenant_also_after_a_restart() {
    let mut server = Server::configured("sled", CONFIG);
    let address = server.address();
    let acme = token("creator", "doc/*", &["--tenant", "acme"]);
    let paid = r#"{"records_per_month": 5}"#;
    let paid = token("creator", "doc/*", &["--tenant", "acme", "--limits", paid]);
    let other = token("editor", "doc/*", &["--tenant", "other"]);
    let admin = token("admin", "*/*", &[]);

    // Whoever has no tenant writes on the space's account.
    let mut socket = Socket::connect(address, "/yjs/doc/a").await.expect("in");
    socket.sync().await.expect("it is in");
    let again = update();
    for update in [update(), update(), again.clone(), again] {
        let update = wire::update_message(&update);
        socket.send(&update).await.expect("it is sent");
    }
    socket
        .settle(1)
        .await
        .expect("three, and one that adds nothing");
    let more = wire::update_message(&update());
    socket.send(&more).await.expect("it is sent");
    let (code, reason, denied) = within(PATIENCE, "its end", socket.closing()).await;
    assert_eq!(code, 4429, "{reason}");
    let said = "this month's records are used up, 3 of them; counting begins anew on 20";
    assert!(denied[0].contains(said), "{denied:?}");

    // Each tenant on its own; a token may say how much there is.
    let (records, why) = taken(address, "doc/b", &acme).await;
    assert_eq!(records, 3);
    assert!(why.is_some_and(|why| why.contains("used up, 3 of")));
    let (records, why) = taken(address, "doc/c", &paid).await;
    assert_eq!(records, 2, "it has had three");
    assert!(why.is_some_and(|why| why.contains("used up, 5 of")));
    let forks = "/api/v1/rooms/doc/a/fork";
    let fork = ask(address, "POST", forks, &acme, r#"{"seq": 3}"#).await;
    assert_eq!(fork.status, 429, "{fork:?}");
    assert_eq!(fork.json()["code"], "spent");
    assert!(fork.head.contains("retry-after: "), "{fork:?}");
    // Who shares a room shares what it costs.
    let shared = r#"{"role": "editor"}"#;
    let shared = ask(address, "POST", "/api/v1/rooms/doc/b/tokens", &paid, shared).await;
    let shared = shared.json()["token"].as_str().expect("a token").to_owned();
    let (records, why) = taken(address, "doc/b", &shared).await;
    assert_eq!(records, 0);
    assert!(why.is_some_and(|why| why.contains("used up, 5 of")));

    // Who may see it.
    for (token, status) in [(&acme, 403), (&other, 403)] {
        let answer = ask(address, "GET", "/api/v1/usage", token, "").await;
        assert_eq!(answer.status, status);
    }
    let answer = http::get(address, "/api/v1/usage")
        .await
        .expect("an answer");
    assert_eq!(answer.status, 401);
    let elsewhere = token("admin", "pit/*", &[]);
    let seen = usage(address, &elsewhere).await;
    assert!(seen.iter().all(|(space, ..)| space == "pit"), "{seen:?}");
    let in_a_room = token("admin", "doc/a", &[]);
    assert_eq!(usage(address, &in_a_room).await, []);
    let of_doc = |rows: Vec<(String, Option<String>, u64)>| {
        let rows = rows.into_iter().filter(|(space, ..)| space == "doc");
        rows.map(|(_, tenant, records)| json!([tenant, records]))
            .collect::<Vec<_>>()
    };
    let before = of_doc(usage(address, &admin).await);
    assert_eq!(before, [json!([null, 3]), json!(["acme", 5])]);
    let metrics = http::get(address, "/metrics").await.expect("an answer");
    let metrics = String::from_utf8(metrics.body).expect("text");
    let sum = metrics
        .lines()
        .find(|line| line.starts_with("well_month_records{space=\"doc\"}"));
    assert_eq!(sum, Some("well_month_records{space=\"doc\"} 8"));
    assert!(!metrics.contains("acme"), "a tenant is no label");

    assert!(server.stop().success());
    server.start_again();
    let address = server.address();
    assert_eq!(of_doc(usage(address, &admin).await), before);
    assert_eq!(taken(address, "doc/b", &acme).await.0, 0);

    // What has been written down is not lost by a kill.
    let (_client, room) = room(address, "doc/d", &other).await;
    let ticket = room.submit(Bytes::from(update())).await.expect("a ticket");
    within(PATIENCE, "an ack", ticket.acked())
        .await
        .expect("it has its own");
    let file = server.folder().join("usage.json");
    let kept = async || {
        std::fs::read_to_string(&file)
            .ok()?
            .contains("other")
            .then_some(())
    };
    until(WRITTEN_DOWN, "it is written down", kept).await;
    server.kill();
    server.start_again();
    let rows = of_doc(usage(server.address(), &admin).await);
    assert_eq!(
        rows,
        [json!([null, 3]), json!(["acme", 5]), json!(["other", 1])]
    );
}
