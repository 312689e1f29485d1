//! What the routes answer, asked without a socket.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode, header};
use broker::{Broker, Limits, Snapshots};
use bytes::Bytes;
use protocol::record::{Author, Draft, Kind as RecordKind, RunBuilder};
use protocol::{CloseCode, Head, RoomName, Seq, SessionId, Timestamp};
use replay::{History, Kind, Stores};
use storage::archive::{Archive, Archiver, ArchiverOptions, Contents, Options, Snapshot};
use storage::memory::MemoryLog;
use storage::{Batch, Entry, Log, SledLog, SledOptions};
use tower::ServiceExt;

use super::*;
use crate::access::revoked::Revocations;
use crate::access::{Auth, Keeper};
use crate::limits::ANSWER_STALL;
use crate::webtransport::Door;
use crate::{Space, Spaces};

/// A gateway on a log that keeps `min_free_bytes` of its disk free.
fn gateway(folder: &Path, min_free_bytes: u64) -> Gateway {
    let options = SledOptions {
        min_free_bytes,
        ..SledOptions::default()
    };
    let log = SledLog::open(folder, options).unwrap();
    gateway_on(Stores::of_log(Arc::new(log)))
}

fn gateway_on(stores: Stores) -> Gateway {
    let kind_of = |space: &str| match space {
        "text" => Kind::Text,
        "blob" => Kind::Opaque,
        _ => Kind::Yjs,
    };
    let history = History::new(stores, Arc::new(kind_of));
    let broker = Broker::new(history, Snapshots::none(), Limits::default());
    let spaces = Spaces::from([
        ("pit".to_owned(), Space::open(Kind::Yjs)),
        ("blob".to_owned(), Space::open(Kind::Opaque)),
        ("text".to_owned(), Space::open(Kind::Text)),
    ]);
    let keeper = Keeper::new(Auth::none(), Revocations::in_memory());
    let exporter = crate::exporter_of_tests();
    Gateway::new(broker, exporter, keeper, spaces, false, Door::Off)
}

/// The status, the type and the body of an answer.
async fn ask(gateway: &Gateway, method: &str, path: &str) -> (StatusCode, String, String) {
    let request = Request::builder().method(method).uri(path);
    let request = request.body(Body::empty()).unwrap();
    let response = router(gateway.clone()).oneshot(request).await.unwrap();
    let status = response.status();
    let kind = response.headers().get(header::CONTENT_TYPE);
    let kind = kind.map_or("", |kind| kind.to_str().unwrap()).to_owned();
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, kind, String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_as_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = gateway(folder.path(), u64::MAX / 2);
    for (method, path, code) in [
        ("GET", "/readyz", "\"ready\":false"),
        ("POST", "/api/v1/pits", "\"code\":\"log_failed\""),
    ] {
        let (status, _, body) = ask(&gateway, method, path).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{path}: {body}");
        assert!(body.contains(code), "{path}: {body}");
        assert!(body.contains("the disk is full"), "{path}: {body}");
        let folder = folder.path().to_str().unwrap();
        assert!(!body.contains(folder), "{path}: {body}");
    }
    gateway.broker().log().close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_yjs_client_is_turned_away_from_what_is_not_yjs() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = gateway(folder.path(), 0);
    assert!(gateway.socket_room("pit", "a").is_ok());
    for (space, code, word) in [
        ("blob", CloseCode::Conflict, "opaque"),
        ("none", CloseCode::NoRoom, "not configured"),
    ] {
        let (closed, reason) = gateway.socket_room(space, "a").unwrap_err();
        assert_eq!(closed, code, "{reason}");
        assert!(closed.is_permanent() && reason.contains(word), "{reason}");
    }
    gateway.broker().log().close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_are_answered_with_problems() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = gateway(folder.path(), 0);
    for path in [
        "/api",
        "/api/",
        "/api/v1",
        "/api/v1/",
        "/api/v2/x",
        "/yjs",
        "/yjs/",
        "/assets/x",
    ] {
        let (status, kind, body) = ask(&gateway, "GET", path).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}: {body}");
        assert_eq!(kind, "application/problem+json", "{path}: {body}");
        assert!(body.contains("\"code\":\"no_route\""), "{path}: {body}");
    }
    gateway.broker().log().close().await;
}

/// Puts a text; gives status, the answer's JSON, and its entity tag.
async fn put(
    gateway: &Gateway,
    path: &str,
    body: impl Into<Body>,
    headers: &[(&str, &str)],
) -> (StatusCode, serde_json::Value, String) {
    let mut request = Request::builder().method("PUT").uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(body.into()).unwrap();
    let response = router(gateway.clone()).oneshot(request).await.unwrap();
    let status = response.status();
    let tag = response.headers().get("etag").cloned();
    let tag = tag.map(|tag| tag.to_str().unwrap().to_owned());
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    let json = serde_json::from_slice(&body).unwrap();
    (status, json, tag.unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_is_put_and_its_past_told() {
    const ROOM: &str = "/api/v1/rooms/text/notes";
    let folder = tempfile::tempdir().unwrap();
    let gateway = gateway(folder.path(), 0);
    let at = |what: &str| format!("{ROOM}/{what}");
    let first = "\u{feff}one\r\ntwo\r\n";
    let (status, json, tag) = put(&gateway, &at("text"), first, &[("if-none-match", "*")]).await;
    assert_eq!(status, StatusCode::OK, "{json}");
    assert_eq!(
        (json["seq"].as_u64(), json["inserted"].as_u64()),
        (Some(1), Some(11))
    );
    let (_, again, same) = put(&gateway, &at("text"), first, &[]).await;
    assert_eq!(
        (again["seq"].as_u64(), again["edits"].as_u64()),
        (Some(1), Some(0))
    );
    assert_eq!(tag, same);
    // Line endings and the byte order mark are as given.
    let (_, _, text) = ask(&gateway, "GET", &at("state?format=text")).await;
    assert_eq!(text, first);
    let second = "\u{feff}one\r\n2\r\nthree\r\n";
    let (status, json, _) = put(&gateway, &at("text"), second, &[("if-match", &tag)]).await;
    assert_eq!(status, StatusCode::OK, "{json}");
    assert_eq!(
        (json["seq"].as_u64(), json["deleted"].as_u64()),
        (Some(2), Some(3))
    );
    for stale in [
        &[("if-match", tag.as_str())],
        &[("if-match", "\"1\"")],
        &[("if-none-match", "*")],
    ] {
        let (status, json, _) = put(&gateway, &at("text"), "lost", stale).await;
        assert_eq!(status, StatusCode::PRECONDITION_FAILED, "{json}");
        assert_eq!(json["code"], "moved_on");
    }
    for (seq, text) in [(0, ""), (1, first), (2, second), (9, second)] {
        let path = at(&format!("state?format=text&seq={seq}"));
        assert_eq!(ask(&gateway, "GET", &path).await.2, text);
    }
    let (_, _, json) = ask(&gateway, "GET", &at("state?format=json&seq=2")).await;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["text"], second);
    assert!(json["authors"].as_array().unwrap().len() > 1, "{json}");
    let (status, _, diff) = ask(&gateway, "GET", &at("diff?from=1&to=2")).await;
    assert_eq!(status, StatusCode::OK, "{diff}");
    let diff: serde_json::Value = serde_json::from_str(&diff).unwrap();
    let told = diff["changes"]["changes"].as_array().unwrap();
    assert!(
        told.iter()
            .any(|change| change["op"] == "delete" && change["text"] == "two"),
        "{diff}"
    );
    let (status, _, timeline) = ask(&gateway, "GET", &at("timeline")).await;
    assert!(
        status == StatusCode::OK && timeline.contains("\"kind\":\"text\""),
        "{timeline}"
    );
    for (what, body) in [
        ("restore", "{\"seq\":1}"),
        ("fork", "{\"seq\":2,\"to\":\"text/copy\"}"),
    ] {
        let request = Request::post(at(what)).body(Body::from(body)).unwrap();
        let response = router(gateway.clone()).oneshot(request).await.unwrap();
        assert!(response.status().is_success(), "{what}: {response:?}");
    }
    for (room, text) in [("notes", first), ("copy", second)] {
        let path = format!("/api/v1/rooms/text/{room}/state?format=text");
        assert_eq!(ask(&gateway, "GET", &path).await.2, text);
    }
    gateway.broker().log().close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_cannot_be_put_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = gateway(folder.path(), 0);
    let path = "/api/v1/rooms/text/notes/text";
    let large = vec![b'a'; crate::limits::TEXT_BYTES + 1];
    let plain: &[(&str, &str)] = &[];
    for (path, body, headers, code) in [
        ("/api/v1/rooms/pit/k3x9qa/text", vec![], plain, "not_text"),
        ("/api/v1/rooms/blob/b/text", vec![], plain, "not_text"),
        (path, large, plain, "too_large"),
        (path, b"a\xff".to_vec(), plain, "bad_request"),
        (
            path,
            vec![],
            &[("content-type", "application/json")],
            "media_type",
        ),
        (
            path,
            vec![],
            &[("content-type", "text/plain; charset=latin1")],
            "media_type",
        ),
        (path, vec![], &[("if-match", "W/\"1\"")], "bad_request"),
        (path, vec![], &[("if-match", "*")], "bad_request"),
    ] {
        let (status, json, _) = put(&gateway, path, body, headers).await;
        assert_eq!(json["code"], code, "{status} {json}");
    }
    let (state, _) = gateway
        .broker()
        .room(&gateway.room("text", "notes").unwrap())
        .await
        .unwrap();
    assert_eq!(state.head, protocol::Head::EMPTY);
    // Nor does y-websocket come in.
    let refused = gateway.socket_room("text", "notes").unwrap_err();
    assert_eq!(refused.0, protocol::CloseCode::Conflict);
    gateway.broker().log().close().await;
}

/// A Yjs update of client 1: under the key `clock` of a map comes a string of so many bytes.
fn update(clock: u8, bytes: usize) -> Bytes {
    let mut out = vec![1, 1, 1, clock, 0x28, 1, 3];
    out.extend_from_slice(b"map");
    out.extend_from_slice(&[1, b'a' + clock, 1, 119]);
    let mut left = bytes;
    while left >= 0x80 {
        out.push(left as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
    out.resize(out.len() + bytes, b'x');
    out.push(0);
    out.into()
}

/// A gateway to rooms whose records up to `start` are gone, with a snapshot that stands for them.
async fn retained(rooms: &[(&str, Vec<Bytes>)], start: u64) -> Gateway {
    let whole = gateway_on(Stores::of_log(Arc::new(MemoryLog::new())));
    let (log, start) = (MemoryLog::new(), Seq::new(start));
    let mut snapshots = Vec::new();
    for (name, updates) in rooms {
        let room = RoomName::parse(name).unwrap();
        for update in updates {
            let items = vec![(RecordKind::Update, update.clone())];
            whole.broker().write(&room, items, None).await.unwrap();
        }
        let history = whole.broker().history();
        let folded = history.document_at(&room, start).await.unwrap();
        let created = history.span(&room).await.unwrap().created;
        let runs = history.read(&room, start, usize::MAX).await.unwrap();
        let mut entries = vec![Entry::Begin(room.clone(), folded.head, created)];
        entries.extend(runs.into_iter().map(|run| Entry::Run(room.clone(), run)));
        log.append(Batch { entries }).await.unwrap();
        snapshots.push(Snapshot {
            head: folded.head,
            kind: history.kind_of(&room).code(),
            title: None,
            clients: folded.clients.encode().into(),
            created,
            content: folded.document.encode(),
            room,
        });
    }
    let log: Arc<dyn Log> = Arc::new(log);
    let beside = Archive::open("memory://", Options::default())
        .await
        .unwrap();
    let options = ArchiverOptions {
        contents: Contents::SnapshotsOnly,
        ..ArchiverOptions::default()
    };
    let archiver = Archiver::start(Arc::clone(&log), beside.clone(), options, Arc::new(()));
    assert!(
        snapshots
            .into_iter()
            .all(|snapshot| archiver.offer(snapshot))
    );
    archiver.flush(Duration::from_secs(60)).await.unwrap();
    gateway_on(Stores {
        snapshots: Some(beside),
        ..Stores::of_log(log)
    })
}

async fn fork(gateway: &Gateway, room: &str, seq: u64, to: &str) -> (StatusCode, String) {
    let path = format!("/api/v1/rooms/{room}/fork");
    let body = format!("{{\"seq\":{seq},\"to\":\"{to}\"}}");
    let request = Request::post(path).body(Body::from(body)).unwrap();
    let response = router(gateway.clone()).oneshot(request).await.unwrap();
    let status = response.status();
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, String::from_utf8_lossy(&body).into_owned())
}

/// What a room shows at a moment, as JSON.
async fn shows(gateway: &Gateway, room: &str, seq: u64) -> serde_json::Value {
    let room = RoomName::parse(room).unwrap();
    let history = gateway.broker().history();
    let shown = history.shown_at(&room, Seq::new(seq)).await.unwrap();
    shown.json().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_holds_the_moment_or_is_refused() {
    // More than one record holds, from the eighth on; in the last room, from before the start on.
    let large = |most: usize| (0..9).map(|clock| update(clock, most)).collect::<Vec<_>>();
    let opaque = (0..9).map(|n| Bytes::from(vec![n; 10])).collect();
    let rooms = [
        ("pit/small", large(10)),
        ("pit/large", large(2 << 20)),
        ("pit/too-large", large(6 << 20)),
        ("blob/opaque", opaque),
    ];
    let gateway = retained(&rooms, 3).await;
    for (room, seq, records) in [
        ("pit/small", 3, 2),
        ("pit/small", 9, 2),
        ("pit/large", 4, 2),
        ("pit/large", 9, 8),
    ] {
        let to = format!("{room}-{seq}");
        let (status, body) = fork(&gateway, room, seq, &to).await;
        assert_eq!(status, StatusCode::CREATED, "{to}: {body}");
        let there = shows(&gateway, &to, u64::MAX).await;
        assert_eq!(
            there["map"].as_object().map(serde_json::Map::len),
            Some(seq as usize),
            "{to}"
        );
        assert!(there == shows(&gateway, room, seq).await, "{to}");
        let (state, _) = gateway
            .broker()
            .room(&RoomName::parse(&to).unwrap())
            .await
            .unwrap();
        assert_eq!(state.head.seq, Seq::new(records), "{to}");
    }
    for (room, seq, status, code, why) in [
        ("pit/large", 2, StatusCode::GONE, "trimmed", "up to seq 3"),
        (
            "pit/too-large",
            9,
            StatusCode::UNPROCESSABLE_ENTITY,
            "not_possible",
            "16777216",
        ),
        ("blob/opaque", 3, StatusCode::GONE, "trimmed", "after seq 3"),
        ("blob/opaque", 9, StatusCode::GONE, "trimmed", "after seq 3"),
    ] {
        let to = format!("{room}-{seq}");
        let (told, body) = fork(&gateway, room, seq, &to).await;
        assert_eq!(told, status, "{to}: {body}");
        assert!(
            body.contains(&format!("\"code\":\"{code}\"")) && body.contains(why),
            "{body}"
        );
        let (state, _) = gateway
            .broker()
            .room(&RoomName::parse(&to).unwrap())
            .await
            .unwrap();
        assert_eq!(state.head, protocol::Head::EMPTY, "nothing is left of {to}");
    }
    // No page would lead there, or that of another pit.
    for to in ["pit/My Room", "pit/K3X9QA"] {
        let (status, body) = fork(&gateway, "pit/small", 9, to).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{to}: {body}");
        assert!(body.contains("no page would lead to"), "{to}: {body}");
    }
    // Before everything there was nothing, in any kind of room.
    let (status, body) = fork(&gateway, "blob/opaque", 0, "blob/empty").await;
    assert_eq!(status, StatusCode::CREATED, "{body}");
    assert_eq!(
        shows(&gateway, "blob/empty", 9).await,
        serde_json::json!([])
    );
}

/// Writes updates to a new Yjs room.
async fn written(gateway: &Gateway, room: &str, updates: impl IntoIterator<Item = Bytes>) {
    let items = updates
        .into_iter()
        .map(|update| (RecordKind::Update, update));
    let room = RoomName::parse(room).unwrap();
    gateway
        .broker()
        .write(&room, items.collect(), None)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_past_takes_in_memory_is_bounded() {
    const ROOM: &str = "/api/v1/rooms/pit/a";
    let gateway = gateway_on(Stores::of_log(Arc::new(MemoryLog::new())));
    written(&gateway, "pit/a", [update(0, 5_000), update(1, 5_000)]).await;
    let memory = gateway.past_memory();
    // Answers that nobody reads are there, and are counted.
    let request = || {
        Request::get(format!("{ROOM}/state?seq=1"))
            .body(Body::empty())
            .unwrap()
    };
    let unread = router(gateway.clone()).oneshot(request()).await.unwrap();
    assert_eq!(unread.status(), StatusCode::OK);
    let length = unread.headers()[header::CONTENT_LENGTH]
        .to_str()
        .unwrap()
        .parse();
    assert_eq!(Ok(memory.taken()), length);
    assert!(memory.taken() > 5_000);
    let others = memory
        .take(memory.bytes() - memory.taken() - 1_000)
        .unwrap();
    for (method, what) in [
        ("GET", "state?seq=1"),
        ("GET", "state?seq=1&format=json"),
        ("GET", "diff?from=1&to=2"),
    ] {
        let request = Request::builder()
            .method(method)
            .uri(format!("{ROOM}/{what}"));
        let request = request.body(Body::empty()).unwrap();
        let refused = router(gateway.clone()).oneshot(request).await.unwrap();
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE, "{what}");
        assert_eq!(refused.headers()[header::RETRY_AFTER], "1", "{what}");
        let body = to_bytes(refused.into_body(), 1 << 20).await.unwrap();
        assert!(
            body.windows(9).any(|part| part == b"past_full"),
            "{what}: {body:?}"
        );
    }
    for what in ["restore", "fork"] {
        let request = Request::post(format!("{ROOM}/{what}")).body(Body::from("{\"seq\":1}"));
        let refused = router(gateway.clone())
            .oneshot(request.unwrap())
            .await
            .unwrap();
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE, "{what}");
    }
    // It is given back, by those who were refused too.
    drop(unread);
    drop(others);
    assert_eq!(memory.taken(), 0);
    let (status, _, _) = ask(&gateway, "GET", &format!("{ROOM}/state?seq=1&format=json")).await;
    assert_eq!((status, memory.taken()), (StatusCode::OK, 0));
}

/// A socket that is opened for playback, and everything that comes on it to its end.
async fn playback(server: std::net::SocketAddr, path: &str) -> tokio::net::TcpStream {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut socket = tokio::net::TcpStream::connect(server).await.unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {server}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.unwrap());
    }
    assert!(
        head.starts_with(b"HTTP/1.1 101"),
        "{}",
        String::from_utf8_lossy(&head)
    );
    socket
}

/// The code and reason of the close frame that comes at the end of a socket.
async fn closed(socket: tokio::net::TcpStream) -> (u16, String) {
    let closed = tokio::time::timeout(Duration::from_secs(20), close_frame(socket)).await;
    closed.expect("it is closed in time")
}

async fn close_frame(mut socket: tokio::net::TcpStream) -> (u16, String) {
    use tokio::io::AsyncReadExt;
    let mut last = (0, Vec::new());
    while last.0 != 0x88 {
        let kind = socket.read_u8().await.unwrap();
        let length = match socket.read_u8().await.unwrap() {
            126 => u64::from(socket.read_u16().await.unwrap()),
            127 => socket.read_u64().await.unwrap(),
            short => u64::from(short),
        };
        let mut body = vec![0; length as usize];
        socket.read_exact(&mut body).await.unwrap();
        last = (kind, body);
    }
    let (code, reason) = last.1.split_at(2);
    (
        u16::from_be_bytes([code[0], code[1]]),
        String::from_utf8_lossy(reason).into_owned(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn playback_takes_its_share_of_the_memory_or_ends() {
    const PLAY: &str = "/api/v1/rooms/pit/a/play";
    let gateway = gateway_on(Stores::of_log(Arc::new(MemoryLog::new())));
    written(
        &gateway,
        "pit/a",
        (0..3).map(|clock| update(clock, 100_000)),
    )
    .await;
    let listener = crate::server::listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(crate::server::serve(gateway.clone(), listener, None));
    let memory = gateway.past_memory();
    let until = |done: fn(usize) -> bool| {
        let memory = memory.clone();
        let waiting = async move {
            while !done(memory.taken()) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), waiting)
    };
    // It stands at its end, and holds what it shows.
    let watching = playback(address, &format!("{PLAY}?from=1&to=1")).await;
    until(|taken| taken >= 100_000).await.unwrap();
    let others = memory
        .take(memory.bytes() - memory.taken() - 10_000)
        .unwrap();
    let refused = closed(playback(address, &format!("{PLAY}?from=2")).await).await;
    assert_eq!(refused.0, 1013, "{refused:?}");
    assert!(refused.1.contains("reading the past"), "{refused:?}");
    // One that fits at first, and grows over what is left.
    let growing = closed(playback(address, &format!("{PLAY}?from=0&speed=10000")).await).await;
    assert_eq!(growing.0, 1013, "{growing:?}");
    drop(others);
    drop(watching);
    until(|taken| taken == 0).await.unwrap();
    serving.abort();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_its_answer_gives_the_memory_back() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    const BYTES: usize = 12 << 20;
    let gateway = gateway_on(Stores::of_log(Arc::new(MemoryLog::new())));
    written(&gateway, "pit/a", [update(0, BYTES)]).await;
    let listener = crate::server::listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(crate::server::serve(gateway.clone(), listener, None));
    let memory = gateway.past_memory();
    let ask = || async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(64 << 10).unwrap();
        let mut socket = socket.connect(address).await.unwrap();
        let request = "GET /api/v1/rooms/pit/a/state?seq=1 HTTP/1.1\r\nHost: a\r\n\r\n";
        socket.write_all(request.as_bytes()).await.unwrap();
        assert_eq!(socket.read_u8().await.unwrap(), b'H');
        socket
    };
    let mut stopped = ask().await;
    assert!(memory.taken() > BYTES, "it is held for whoever reads");
    tokio::time::sleep(3 * ANSWER_STALL).await;
    assert_eq!(memory.taken(), 0);
    let mut rest = Vec::new();
    let ended = stopped.read_to_end(&mut rest).await;
    assert!(ended.is_err() || rest.len() < BYTES, "{ended:?}");
    // Whoever goes on reading, however slowly, is given all of it.
    let mut slow = ask().await;
    let mut piece = vec![0; 64 << 10];
    let (mut read, mut rested) = (0, 0);
    while read < BYTES {
        let n = slow.read(&mut piece).await.unwrap();
        assert!(n > 0, "cut after {read} bytes");
        read += n;
        if read >> 20 > rested {
            rested = read >> 20;
            tokio::time::sleep(ANSWER_STALL / 4).await;
        }
    }
    serving.abort();
}

/// The Seqs of the records that a stream gives until it ends.
async fn seqs(body: Body) -> Vec<u64> {
    let body = tokio::time::timeout(Duration::from_secs(20), to_bytes(body, 1 << 20));
    let body = body.await.expect("the stream ends").unwrap();
    let lines = body.split(|byte| *byte == b'\n');
    let lines = lines.filter(|line| !line.is_empty());
    lines
        .map(|line| serde_json::from_slice::<serde_json::Value>(line).unwrap())
        .map(|line| line["seq"].as_u64().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_follows_from_and_to_moments_that_have_yet_to_come() {
    let gateway = gateway_on(Stores::of_log(Arc::new(MemoryLog::new())));
    written(&gateway, "pit/a", [update(0, 10), update(1, 10)]).await;
    let follow = |query: String| {
        let uri = format!("/api/v1/rooms/pit/a/records?follow=true&{query}");
        let request = Request::get(uri).body(Body::empty()).unwrap();
        let gateway = gateway.clone();
        async move {
            let answer = router(gateway).oneshot(request).await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK);
            answer.into_body()
        }
    };
    let past = |moment: Timestamp| {
        let gateway = gateway.clone();
        async move {
            while gateway.wall_time() <= moment {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    };
    let soon = Timestamp::from_micros(gateway.wall_time().micros() + 500_000);
    let from_time = follow(format!("from={soon}&limit=1")).await;
    let from_seq = follow("from=4&limit=1".to_owned()).await;
    let to_time = follow(format!("from=2&to={soon}")).await;
    let to_seq = follow("from=1&to=4".to_owned()).await;
    written(&gateway, "pit/a", [update(2, 10)]).await;
    past(soon).await;
    written(&gateway, "pit/a", [update(3, 10)]).await;
    assert_eq!(seqs(from_time).await, [4], "what came before is left out");
    assert_eq!(seqs(from_seq).await, [4]);
    assert_eq!(seqs(to_time).await, [2, 3], "what came after is left out");
    assert_eq!(seqs(to_seq).await, [1, 2, 3, 4]);
    // An end that has passed ends a stream in which nothing comes any more.
    let soon = Timestamp::from_micros(gateway.wall_time().micros() + 200_000);
    let quiet = follow(format!("from=4&to={soon}")).await;
    assert_eq!(seqs(quiet).await, [4]);
    for backwards in [
        "from=9&to=8",
        "from=2031-01-01T00:00:00Z&to=2030-01-01T00:00:00Z",
    ] {
        let path = format!("/api/v1/rooms/pit/a/records?follow=true&{backwards}");
        let (status, _, body) = ask(&gateway, "GET", &path).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{backwards}: {body}");
    }
}

#[tokio::test(start_paused = true)]
async fn playback_goes_on_after_a_gap_of_more_than_a_day() {
    use tokio::io::AsyncReadExt;
    const GAP: u64 = 50 * 3600;
    let log = MemoryLog::new();
    let mut run = RunBuilder::new(Head::EMPTY);
    for clock in 0..2 {
        let draft = Draft {
            author: Author {
                user: None,
                session: SessionId::new(1),
                site: None,
            },
            op_id: None,
            base: None,
            kind: RecordKind::Update,
            payload: update(clock, 1000),
        };
        let at = 1_000_000_000_000_000 + u64::from(clock) * GAP * 1_000_000;
        run.push(Timestamp::from_micros(at), &draft);
    }
    let room = RoomName::parse("pit/a").unwrap();
    let entries = vec![Entry::Run(room, run.finish().unwrap())];
    log.append(Batch { entries }).await.unwrap();
    let gateway = gateway_on(Stores::of_log(Arc::new(log)));
    let listener = crate::server::listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(crate::server::serve(gateway.clone(), listener, None));
    let began = tokio::time::Instant::now();
    let mut socket = playback(address, "/api/v1/rooms/pit/a/play?from=1").await;
    // What keeps the socket awake meanwhile is short.
    let second = async {
        let mut piece = vec![0; 64 << 10];
        while socket.read(&mut piece).await.unwrap() < 1000 {}
    };
    let patience = Duration::from_secs(2 * GAP);
    tokio::time::timeout(patience, second)
        .await
        .expect("it comes");
    assert!(began.elapsed() >= Duration::from_secs(GAP - 1));
    serving.abort();
}
