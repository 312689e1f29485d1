//! Traces, as a collector receives them: an update's life whole and in order, what forces one and what bounds
//! that, and that a collector which is gone holds up nobody.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use system_tests::collector::{Collector, Span, attribute};
use system_tests::server::Server;
use system_tests::socket::Socket;
use system_tests::wire::Message;
use system_tests::{http, until, wire, within};
use tokio::net::TcpListener;
use well_client::{Client, Event, Join, Options, Room};

const PATIENCE: Duration = Duration::from_secs(30);
/// As a page's own tracing makes it.
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

fn server(trace: &str) -> Server {
    server_on("sled", trace)
}

fn server_on(store: &'static str, trace: &str) -> Server {
    Server::configured(store, format!("[trace]\n{trace}"))
}

/// One that tells a collector what callers trace, what fails and what takes as long as `slow`.
fn telling(collector: &Collector, slow: &str) -> Server {
    let endpoint = collector.endpoint();
    server(&format!(
        "endpoint = '{endpoint}'\nsample = 0.0\nslow = '{slow}'"
    ))
}

/// A room as a client whose work is part of a trace sees it.
async fn traced(server: SocketAddr, room: &str) -> Room {
    let options = Options::new(format!("ws://{server}/well"));
    let client = Client::connect(options.traceparent(format!("00-{TRACE}-{SPAN}-01")));
    let mut room = client.join(Join::new(room)).await.expect("a room");
    let joined = async { while !matches!(room.next().await, Some(Event::Joined { .. })) {} };
    within(PATIENCE, "it is joined", joined).await;
    room
}

async fn write(room: &Room, payload: Vec<u8>) -> u64 {
    let ticket = room
        .submit(Bytes::from(payload))
        .await
        .expect("it is taken");
    let acked = within(PATIENCE, "an ack", ticket.acked()).await;
    acked.expect("it is acked").seq.expect("it is in the log")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn named<'a>(spans: &'a [Span], name: &str) -> Vec<&'a Span> {
    spans.iter().filter(|span| span.name == name).collect()
}

async fn updates(collector: &Collector, count: usize) -> Vec<Span> {
    until(PATIENCE, "the traces come", || {
        let spans = collector.spans();
        async move { (named(&spans, "update").len() >= count).then_some(spans) }
    })
    .await
}

/// A counter of `/metrics`.
async fn counted(server: SocketAddr, series: &str) -> u64 {
    let answer = http::get(server, "/metrics").await.expect("metrics");
    let text = String::from_utf8(answer.body).expect("text");
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(series));
    let value = lines.next().unwrap_or_else(|| panic!("no {series}"));
    value.trim().parse().expect("a number")
}

fn unix_nanos() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("after 1970").as_nanos() as u64
}

#[tokio::test(flavor = "multi_thread")]
async fn one_updates_trace_from_a_pages_span_to_the_last_write() {
    let collector = Collector::start().await;
    let server = telling(&collector, "1h");
    let address = server.address();
    let writer = traced(address, "doc/told").await;
    let mut readers = Vec::new();
    for _ in 0..3 {
        let mut reader = Socket::connect(address, "/yjs/doc/told").await.expect("in");
        reader.sync().await.expect("the document");
        readers.push(reader);
    }
    let began = unix_nanos();
    let payload = wire::update(1, 0, 100);
    let seq = write(&writer, payload.clone()).await;
    for reader in &mut readers {
        let hearing = async {
            while reader.message().await.expect("open") != Message::Update(payload.clone()) {}
        };
        within(PATIENCE, "each reader hears it", hearing).await;
    }
    let spans = updates(&collector, 1).await;
    let ended = unix_nanos();

    let [whole] = named(&spans, "update")[..] else {
        panic!("one trace, not {spans:?}");
    };
    assert_eq!(
        (hex(&whole.trace_id), hex(&whole.parent_span_id)),
        (TRACE.into(), SPAN.into())
    );
    for (key, value) in [
        ("well.room", "doc/told"),
        ("well.seq", &*seq.to_string()),
        ("well.bytes", &payload.len().to_string()),
        ("well.why", "caller"),
    ] {
        assert_eq!(attribute(whole, key).as_deref(), Some(value), "{whole:?}");
    }
    let op = attribute(whole, "well.op").expect("an operation");
    assert!(
        op.len() == 32 && op.ends_with("0001"),
        "the client's first: {op}"
    );

    let stages: Vec<&Span> = spans
        .iter()
        .filter(|it| it.name != "update" && it.name != "request")
        .collect();
    let names: Vec<&str> = stages.iter().map(|it| &*it.name).collect();
    let order = [
        "receive", "check", "queue", "commit", "publish", "ack", "fan-out",
    ];
    assert_eq!(names, order);
    let mut ids: BTreeSet<&[u8]> = stages.iter().map(|it| &*it.span_id).collect();
    ids.insert(&whole.span_id);
    assert_eq!(ids.len(), 8, "each span has an id of its own");
    for stage in &stages {
        assert_eq!(stage.trace_id, whole.trace_id);
        assert_eq!(stage.parent_span_id, whole.span_id, "{}", stage.name);
        assert!(stage.start_time_unix_nano <= stage.end_time_unix_nano);
    }
    // Each stage begins where the one before it ended; the last two begin together.
    let starts: Vec<u64> = stages.iter().map(|it| it.start_time_unix_nano).collect();
    let ends: Vec<u64> = stages.iter().map(|it| it.end_time_unix_nano).collect();
    assert_eq!(starts[0], whole.start_time_unix_nano);
    assert_eq!(starts[1..6], ends[..5]);
    assert_eq!(starts[6], ends[4]);
    assert_eq!(whole.end_time_unix_nano, ends[5].max(ends[6]));
    assert!(ends[5] > starts[5] && ends[6] > starts[6], "both took time");
    // The two clocks of this machine are compared once for a trace.
    let slack = 50_000_000;
    assert!(
        began <= whole.start_time_unix_nano + slack,
        "not before it was sent"
    );
    assert!(
        whole.end_time_unix_nano <= ended + slack,
        "not after it was told"
    );
    let fan_out = stages[6];
    assert_eq!(attribute(fan_out, "well.readers").as_deref(), Some("3"));
    assert_eq!(attribute(fan_out, "well.unwritten").as_deref(), Some("0"));
    assert_eq!(exemplars(address).await, [TRACE]);
}

/// The traces that `/metrics` names beside its numbers, for who can read them.
async fn exemplars(server: SocketAddr) -> Vec<String> {
    let accept = [("Accept", "application/openmetrics-text;version=1.0.0")];
    let answer = http::send(server, "GET", "/metrics", &accept, "").await;
    let text = String::from_utf8(answer.expect("metrics").body).expect("text");
    assert!(text.ends_with("# EOF\n"), "it is whole");
    let lines = text
        .lines()
        .filter_map(|line| line.split_once(" # {trace_id=\""));
    lines.map(|(_, rest)| rest[..32].to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_does_not_make_us_trace_everything() {
    const UPDATES: u64 = 200;
    const BOUND: u64 = 4;
    let collector = Collector::start().await;
    let endpoint = collector.endpoint();
    let file = format!("endpoint = '{endpoint}'\nsample = 0.0\nslow = '1h'\nper_second = {BOUND}");
    let server = server(&file);
    let room = traced(server.address(), "doc/greedy").await;
    let began = std::time::Instant::now();
    for clock in 0..UPDATES {
        write(&room, wire::update(1, clock, 10)).await;
    }
    let seconds = began.elapsed().as_secs();
    let kept = counted(
        server.address(),
        "well_traces_untold_total{reason=\"rate\"}",
    )
    .await;
    let spans = updates(&collector, (UPDATES - kept) as usize).await;
    let told = named(&spans, "update").len() as u64;
    assert_eq!(told + kept, UPDATES, "each is told or counted");
    // The seconds are the server's own: one more at each end.
    assert!(told <= BOUND * (seconds + 2), "{told} in {seconds} s");
    assert!(told >= BOUND, "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_slow_or_fails_is_told_though_nobody_asked() {
    let collector = Collector::start().await;
    let server = telling(&collector, "0s");
    let address = server.address();
    let mut socket = Socket::connect(address, "/yjs/doc/slow").await.expect("in");
    let update = wire::update_message(&wire::update(1, 0, 10));
    socket.send(&update).await.expect("it is sent");
    socket.settle(1).await.expect("it is acked");
    let mut viewer = Socket::connect(address, "/yjs/doc/slow?role=viewer")
        .await
        .expect("in");
    let refused = wire::update_message(&wire::update(2, 0, 10));
    viewer.send(&refused).await.expect("it is sent");
    while !matches!(viewer.message().await.expect("open"), Message::Denied(_)) {}
    let spans = updates(&collector, 2).await;
    let why = |span: &&Span| attribute(span, "well.why");
    let told = named(&spans, "update");
    let slow = told
        .iter()
        .find(|it| why(it).as_deref() == Some("slow"))
        .expect("the slow one");
    assert_eq!(attribute(slow, "well.seq").as_deref(), Some("1"));
    assert!(slow.parent_span_id.is_empty(), "it is nobody's work");
    let failed = told
        .iter()
        .find(|it| why(it).as_deref() == Some("failed"))
        .expect("the refused one");
    let status = failed.status.as_ref().expect("a status");
    assert_eq!((status.code, attribute(failed, "well.seq")), (2, None));
    assert!(status.message.contains("viewer"), "{status:?}");
    let stages = spans
        .iter()
        .filter(|it| it.parent_span_id == failed.span_id);
    let stages: Vec<&str> = stages.map(|it| &*it.name).collect();
    assert_eq!(stages, ["receive", "check"], "it went no further");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_part_of_their_callers_work() {
    let collector = Collector::start().await;
    let server = telling(&collector, "1h");
    let address = server.address();
    let path = "/api/v1/rooms/doc/none?x=secret";
    for flags in ["00", "01"] {
        let headers = [("traceparent", &*format!("00-{TRACE}-{SPAN}-{flags}"))];
        let answer = http::send(address, "GET", path, &headers, "").await;
        answer.expect("an answer");
    }
    let spans = until(PATIENCE, "the trace comes", || {
        let spans = collector.spans();
        async move { (!spans.is_empty()).then_some(spans) }
    })
    .await;
    let [span] = &spans[..] else {
        panic!("only the sampled one: {spans:?}");
    };
    assert_eq!(
        (&*span.name, hex(&span.trace_id), hex(&span.parent_span_id)),
        ("request", TRACE.into(), SPAN.into())
    );
    let says = |key: &str| attribute(span, key);
    assert_eq!(says("http.request.method").as_deref(), Some("GET"));
    assert_eq!(
        says("http.route").as_deref(),
        Some("/api/v1/rooms/{space}/{name}")
    );
    assert!(
        !format!("{span:?}").contains("secret"),
        "queries may hold tokens"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_gone_holds_nobody_up() {
    // More than may wait, so that what finds no place is seen to be dropped.
    const UPDATES: u64 = 1_500;
    // It takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let at = silent.local_addr().expect("an address");
    let file = format!("endpoint = 'http://{at}'\nsample = 1.0\nper_second = 100000");
    let mut server = server_on("memory", &file);
    let address = server.address();
    let mut socket = Socket::connect(address, "/yjs/doc/on").await.expect("in");
    for clock in 0..UPDATES {
        let update = wire::update_message(&wire::update(1, clock, 10));
        socket.send(&update).await.expect("it is sent");
        within(PATIENCE, "an ack", socket.settle(clock))
            .await
            .expect("it is acked");
    }
    let untold = |reason: &'static str| counted(address, reason);
    let dropped = untold("well_traces_untold_total{reason=\"queue\"}").await;
    let told = untold("well_traces_total ").await;
    assert!(dropped > 0, "the queue has an end");
    assert!(told <= 1024 + 2 * 128, "{told} found a place");
    let ended = server.stop();
    assert!(ended.success(), "it ends: {ended}");
    drop(silent);
    // And to one that is not there at all.
    server.start_again();
    let mut socket = Socket::connect(server.address(), "/yjs/doc/on")
        .await
        .expect("in");
    let update = wire::update_message(&wire::update(2, 0, 10));
    socket.send(&update).await.expect("it is sent");
    within(PATIENCE, "an ack", socket.settle(1))
        .await
        .expect("it is acked");
    until(PATIENCE, "it is counted", || async {
        let lost = counted(
            server.address(),
            "well_traces_untold_total{reason=\"export\"}",
        )
        .await;
        (lost > 0).then_some(())
    })
    .await;
}
