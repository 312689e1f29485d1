//! What the Observatory says is what a client knows to have happened; and who may see it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use system_tests::command::token;
use system_tests::http::{self, Answer};
use system_tests::server::Server;
use system_tests::socket::Socket;
use system_tests::{setting, wire, within};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

const PATIENCE: Duration = Duration::from_secs(60);
const AT: &str = "/api/v1/observatory";

async fn ask(server: SocketAddr, path: &str) -> Value {
    let answer = http::get(server, &format!("{AT}{path}")).await;
    let answer = answer.expect("an answer");
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    answer.json()
}

/// Server-sent events, as they come.
struct Live(BufReader<TcpStream>);

impl Live {
    async fn of(server: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(server).await.expect("a connection");
        let request = format!("GET {AT}/live HTTP/1.1\r\nhost: {server}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("sent");
        Self(BufReader::new(stream))
    }

    /// The next message: its name, and what it says.
    async fn next(&mut self) -> (String, Value) {
        let reading = async {
            let mut name = String::new();
            loop {
                let mut line = String::new();
                let read = self.0.read_line(&mut line).await.expect("it goes on");
                assert!(read > 0, "it does not end");
                if let Some(event) = line.strip_prefix("event: ") {
                    event.trim().clone_into(&mut name);
                } else if let Some(data) = line.strip_prefix("data: ") {
                    return (name, serde_json::from_str(data).expect("JSON"));
                }
            }
        };
        within(PATIENCE, "a message", reading).await
    }

    async fn sample(&mut self) -> Value {
        loop {
            if let (name, sample) = self.next().await
                && name == "sample"
            {
                return sample;
            }
        }
    }
}

fn near(told: f64, truth: f64) -> bool {
    (told / truth - 1.0).abs() <= 0.02
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_says_of_a_load_is_what_the_client_has_sent() {
    const UPDATES: u64 = 4000;
    let server = Server::configured("sled", "[spaces.open]\n");
    let address = server.address();
    let mut live = Live::of(address).await;
    let first = live.sample().await;
    let mut socket = Socket::connect(address, "/yjs/open/load")
        .await
        .expect("in");
    socket.sync().await.expect("the document");
    let mut bytes = 0;
    for clock in 0..UPDATES {
        let update = wire::update(1, clock, 40);
        bytes += update.len();
        let sent = socket.send(&wire::update_message(&update)).await;
        sent.expect("it is sent");
    }
    within(PATIENCE, "all are acked", socket.settle(1))
        .await
        .expect("an ack");
    // Rates are by the time that has passed since the sample before.
    let (mut before, mut sums, mut worst) = (first, [0.0; 4], 0.0_f64);
    for _ in 0..60 {
        let sample = live.sample().await;
        let at = |sample: &Value| sample["at"].as_f64().expect("a time");
        let passed = (at(&sample) - at(&before)) / 1000.0;
        let value = |name: &str| sample["values"][name].as_f64();
        for (sum, name) in sums.iter_mut().zip([
            "updates_per_second",
            "bytes_per_second",
            "records_per_second",
            "acked_per_second",
        ]) {
            *sum += value(name).unwrap_or(0.0) * passed;
        }
        worst = worst.max(value("ack_seconds_p99").unwrap_or(0.0));
        let calm = value("updates_per_second") == Some(0.0);
        before = sample;
        if sums[3] >= 0.97 * UPDATES as f64 && calm {
            break;
        }
    }
    let [updates, received, records, acked] = sums;
    let truth = UPDATES as f64;
    assert!(near(updates, truth), "{updates} updates");
    assert!(near(received, bytes as f64), "{received} bytes of {bytes}");
    assert!(near(records, truth), "{records} records");
    assert!(near(acked, truth), "{acked} acked");
    assert!(worst > 0.0, "acks took time");
    assert_eq!(before["values"]["sessions"], 1.0);
    assert_eq!(before["values"]["sessions_yjs_websocket"], 1.0);
    assert!(
        before["values"]["archive_lag_records"].is_null(),
        "there is no archive"
    );
    let stages = before["stages"].as_array().expect("stages");
    let names: Vec<_> = stages.iter().map(|stage| stage["stage"].as_str()).collect();
    let order = ["check", "queue", "write", "sync", "append", "ack", "fanout"].map(Some);
    assert_eq!(names, order);
    assert!(stages[3]["p99"].as_f64() >= stages[3]["p50"].as_f64());

    let rooms = ask(address, "/rooms?by=bytes&limit=1").await;
    let row = &rooms["rooms"][0];
    assert_eq!(
        (&row["room"], &row["kind"]),
        (&"open/load".into(), &"yjs".into())
    );
    assert_eq!(
        (&row["head"], &row["sessions"]),
        (&UPDATES.into(), &1.into())
    );
    let room = ask(address, "/rooms/open/load").await;
    assert_eq!(room["sessions_total"], 1);
    let session = &room["sessions"][0];
    assert_eq!(session["received_bytes"], bytes);
    assert_eq!(
        (&session["dialect"], &session["transport"]),
        (&"yjs".into(), &"websocket".into())
    );
    assert!(session["rtt_seconds"].is_null() && session["user"].is_null());
    assert_eq!(session["lag_records"], 0);
    live.sample().await;
    live.sample().await;
    let again = ask(address, "/rooms/open/load").await;
    let seconds = again["history"]["updates_per_second"].as_array();
    assert!(
        seconds.is_some_and(|seconds| !seconds.is_empty()),
        "it is watched"
    );

    let names = |of: &Value| -> BTreeSet<String> {
        let object = of.as_object().expect("an object");
        object.keys().cloned().collect()
    };
    for (range, step, most) in [("1h", 1000, 3600), ("7d", 60_000, 10_080)] {
        let history = ask(address, &format!("/history?range={range}")).await;
        assert_eq!(history["step_ms"], step);
        assert_eq!(names(&history["series"]), names(&before["values"]));
        let updates = history["series"]["updates_per_second"].as_array();
        let updates = updates.expect("a column");
        assert!((1..=most).contains(&updates.len()));
        assert!(
            updates.iter().any(|rate| rate.as_f64() > Some(0.0)),
            "{updates:?}"
        );
    }
    let events = ask(address, "/events").await;
    assert_eq!(events["events"][0]["kind"], "start");
    // A reload is told of to whoever looks on.
    server.hang_up();
    loop {
        let (name, event) = live.next().await;
        if name == "event" {
            assert_eq!(event["kind"], "config_reload");
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_for_admins_and_observers_and_an_observer_sees_nothing_of_a_room() {
    let server = Server::configured("sled", "[spaces.open]\n[spaces.shut]\naccess = 'token'\n");
    let address = server.address();
    let token = |role: &str, room: &str| token(role, room, &[]);
    let get = async |path: String, token: Option<&str>| -> Answer {
        let bearer = token.map(|token| format!("Bearer {token}"));
        let headers: Vec<_> = bearer
            .iter()
            .map(|it| ("authorization", it.as_str()))
            .collect();
        let answer = http::send(address, "GET", &path, &headers, "").await;
        answer.expect("an answer")
    };
    let routes = [
        "/now",
        "/history?range=1h",
        "/events",
        "/rooms",
        "/rooms/shut/a",
    ];
    for route in routes.into_iter().chain(["/live"]) {
        let path = format!("{AT}{route}");
        assert_eq!(get(path.clone(), None).await.status, 401, "{route}");
        for (role, room) in [
            ("creator", "*/*"),
            ("viewer", "*/*"),
            ("observer", "shut/*"),
            ("admin", "shut/*"),
        ] {
            let answer = get(path.clone(), Some(&token(role, room))).await;
            assert_eq!(answer.status, 403, "{role} of {room}: {route}");
        }
    }
    let observer = token("observer", "*/*");
    for held in [&observer, &token("admin", "*/*")] {
        for route in routes {
            let status = get(format!("{AT}{route}"), Some(held)).await.status;
            // Nobody is in that room.
            let expected = if route == "/rooms/shut/a" { 404 } else { 200 };
            assert_eq!(status, expected, "{route}");
        }
    }
    for path in [
        "/api/v1/rooms/open/a",
        "/api/v1/rooms/open/a/state",
        "/metrics",
    ] {
        let status = get(path.to_owned(), Some(&observer)).await.status;
        assert_eq!(status, 403, "{path}");
    }
    let bad = get(format!("{AT}/rooms?limit=0"), Some(&observer)).await;
    assert_eq!(bad.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn rooms_and_scrapes_leave_series_and_memory_as_they_were() {
    let server = Server::configured("sled", "[spaces.open]\n");
    let address = server.address();
    let series = async || {
        let answer = http::get(address, "/metrics").await.expect("an answer");
        let text = String::from_utf8(answer.body).expect("text");
        let lines = text
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty());
        lines
            .filter_map(|line| line.rsplit_once(' '))
            .map(|(name, _)| name.to_owned())
            .collect::<BTreeSet<_>>()
    };
    let visit = async |nth: u64| {
        let mut socket = Socket::connect(address, &format!("/yjs/open/{nth}"))
            .await
            .expect("in");
        socket.sync().await.expect("the document");
        let update = wire::update_message(&wire::update(1, 0, 10));
        socket.send(&update).await.expect("it is sent");
        within(PATIENCE, "an ack", socket.settle(1))
            .await
            .expect("an ack");
        // A close by the client, with 1000.
        let close = system_tests::socket::frame(true, 8, &1000_u16.to_be_bytes());
        socket.send_raw(&close).await.expect("it is sent");
        socket.closing().await;
    };
    visit(0).await;
    // Its close is counted when the connection's task ends.
    let before = within(PATIENCE, "the close is counted", async {
        loop {
            let series = series().await;
            if series
                .iter()
                .any(|name| name.starts_with("well_closed_total"))
            {
                return series;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    for nth in 1..setting("SERIES_ROOMS", 300) {
        visit(nth).await;
    }
    assert_eq!(series().await, before);
    for _ in 0..200 {
        series().await;
    }
    let memory = server.resident_bytes();
    let scrapes = setting("SCRAPES", 1000);
    for _ in 0..scrapes {
        series().await;
    }
    assert_eq!(series().await, before);
    let more = server.resident_bytes().saturating_sub(memory);
    assert!(more < 8 << 20, "{more} bytes more after {scrapes} scrapes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_measures_nothing_says_so_and_works() {
    let server = Server::configured("memory", "observe = false\n[spaces.open]\n");
    let address = server.address();
    let mut socket = Socket::connect(address, "/yjs/open/a").await.expect("in");
    socket.sync().await.expect("the document");
    let update = wire::update_message(&wire::update(1, 0, 10));
    socket.send(&update).await.expect("it is sent");
    within(PATIENCE, "an ack", socket.settle(1))
        .await
        .expect("an ack");
    let metrics = http::get(address, "/metrics").await.expect("an answer");
    let text = String::from_utf8(metrics.body).expect("text");
    assert_eq!(metrics.status, 200);
    assert!(text.contains("process_resident_memory_bytes"), "{text}");
    assert!(!text.contains("well_acked_total"), "{text}");
    for path in ["/now", "/live", "/history?range=1h", "/events", "/rooms"] {
        let answer = http::get(address, &format!("{AT}{path}")).await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(answer.json()["code"], "not_observed", "{path}");
    }
}
