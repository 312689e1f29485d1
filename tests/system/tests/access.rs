//! Who may do what, asked of a running server by every way in: HTTP, the `yjs` dialect, and the `well`
//! dialect over WebSocket and over WebTransport.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use system_tests::command::{token as token_of, well};
use system_tests::http::{self, Answer};
use system_tests::server::Server;
use system_tests::socket::Socket;
use system_tests::wire::{self, Message};
use system_tests::{until, within};
use well_client::{Client, Event, Join, Options, Room};

const PATIENCE: Duration = Duration::from_secs(20);
/// Sessions are closed within a second of a revocation; a busy machine has longer to show it.
const SOON: Duration = Duration::from_secs(10);
const CONFIG: &str = "
[spaces.open]
[spaces.half]
access = 'create-with-token'
[spaces.shut]
access = 'token'
[spaces.blob]
kind = 'opaque'
access = 'token'
[spaces.text]
access = 'token'
";

fn token(role: &str, room: &str) -> String {
    token_of(role, room, &[])
}

async fn ask(
    server: SocketAddr,
    method: &str,
    path: &str,
    token: Option<&str>,
    body: &str,
) -> Answer {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let headers: Vec<_> = (bearer.iter())
        .map(|bearer| ("authorization", bearer.as_str()))
        .chain([("content-type", "text/plain")])
        .collect();
    let answer = http::send(server, method, path, &headers, body).await;
    answer.expect("an answer")
}

/// What a socket of the `yjs` dialect comes to: a role, shown by what becomes of an update, or a code.
async fn yjs(server: SocketAddr, room: &str, token: Option<&str>) -> Result<bool, u16> {
    let query = token.map_or(String::new(), |token| format!("?token={token}"));
    let mut socket = Socket::connect(server, &format!("/yjs/{room}{query}"))
        .await
        .expect("a handshake");
    let update = wire::update(rand::random::<u32>().into(), 0, 10);
    // A refused socket may be gone before it is written to.
    let _ = socket.send(&wire::update_message(&update)).await;
    let _ = socket.send(&wire::ack_request(1)).await;
    within(PATIENCE, "what becomes of an update", async {
        use system_tests::socket::Heard;
        loop {
            match socket.hear().await {
                Ok(Heard::Message(Message::Ack(1))) => return Ok(true),
                Ok(Heard::Message(Message::Denied(why))) if why.contains("viewer") => {
                    return Ok(false);
                }
                Ok(Heard::Message(_)) => {}
                Ok(Heard::Close(code, _)) => return Err(code),
                Ok(Heard::End) | Err(_) => return Err(1006),
            }
        }
    })
    .await
}

#[derive(Debug, Clone, Copy)]
enum Transport {
    WebSocket,
    WebTransport,
}

fn client(server: SocketAddr, transport: Transport, token: Option<&str>) -> Client {
    let options = match transport {
        Transport::WebSocket => Options::new(format!("ws://{server}/well")),
        Transport::WebTransport => Options::new(format!("https://{server}/well"))
            .published_certificates(format!("http://{server}/webtransport.json")),
    };
    Client::connect(match token {
        Some(token) => options.token(token),
        None => options,
    })
}

/// The same of the `well` dialect.
async fn joins(
    server: SocketAddr,
    transport: Transport,
    room: &str,
    token: Option<&str>,
) -> Result<bool, u32> {
    let client = client(server, transport, token);
    match client.join(Join::new(room)).await {
        Ok(mut room) => within(PATIENCE, "an answer to a join", outcome(&mut room)).await,
        // The server has sent the client away for good before it could ask.
        Err(_) => Err(0),
    }
}

async fn outcome(room: &mut Room) -> Result<bool, u32> {
    loop {
        match room.next().await {
            Some(Event::Joined { may_write, .. }) => return Ok(may_write),
            Some(Event::Closed { code, .. }) => return Err(code),
            Some(_) => {}
            None => return Err(0),
        }
    }
}

/// Everybody that there can be: without a token, with every role for the room, and for another.
fn everybody(room: &str) -> Vec<(&'static str, Option<&'static str>, Option<String>)> {
    let mut all = vec![("nobody", None, None)];
    for role in ["viewer", "editor", "creator", "admin"] {
        all.push(("here", Some(role), Some(token(role, room))));
        all.push(("elsewhere", Some(role), Some(token(role, "open/elsewhere"))));
    }
    all
}

fn rank(role: Option<&str>) -> usize {
    let roles = ["viewer", "editor", "creator", "admin"];
    role.and_then(|role| roles.iter().position(|it| *it == role))
        .map_or(0, |at| at + 1)
}

/// What `who` is in a space of this access: 0 nobody to 4 admin; and whether a token was shown.
fn standing(access: &str, who: &str, role: Option<&str>) -> usize {
    match (access, who) {
        (_, "here") => rank(role),
        ("open", "nobody") => 3,
        ("half", "nobody") => 1,
        _ => 0,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_do_what_over_http() {
    let place = Server::configured("sled", CONFIG);
    let server = place.address();
    for access in ["open", "half", "shut"] {
        let maker = token("editor", &format!("{access}/*"));
        let room = format!("{access}/a");
        assert_eq!(yjs(server, &room, Some(&maker)).await, Ok(true));
        // Method, path, body, the least role, and what it says then.
        let routes = [
            ("GET", "", "", 1, 200),
            ("GET", "/snapshot", "", 1, 200),
            ("GET", "/state", "", 1, 200),
            ("GET", "/state?format=json&at=now", "", 1, 200),
            ("GET", "/records", "", 1, 200),
            ("GET", "/timeline", "", 1, 200),
            ("GET", "/diff?from=0&to=1", "", 1, 200),
            ("GET", "/presence", "", 1, 200),
            ("GET", "/clients", "", 1, 200),
            ("GET", "/play", "", 1, 426),
            ("PUT", "/text", "a", 2, 409),
            ("POST", "/restore", "{\"seq\":1}", 3, 200),
            ("POST", "/tokens", "{\"role\":\"viewer\"}", 3, 201),
            ("DELETE", "/tokens/nobodys", "", 3, 200),
        ];
        for (who, role, token) in everybody(&room) {
            for (method, path, body, least, then) in routes {
                let path = format!("/api/v1/rooms/{access}/a{path}");
                let answer = ask(server, method, &path, token.as_deref(), body).await;
                let stands = standing(access, who, role);
                let expected = match stands >= least {
                    true => then,
                    false if token.is_some() => 403,
                    false => 401,
                };
                let said = format!("{who} {role:?} {method} {path}: {answer:?}");
                assert_eq!(answer.status, expected, "{said}");
                if expected == 401 {
                    assert!(answer.head.contains("www-authenticate: Bearer"), "{said}");
                    assert_eq!(answer.json()["code"], "no_token", "{said}");
                }
                if expected == 403 {
                    assert_eq!(answer.json()["code"], "forbidden", "{said}");
                }
            }
        }
        // What does not exist is told only to those who may see that.
        for (who, role, token) in everybody(&format!("{access}/none")) {
            let path = format!("/api/v1/rooms/{access}/none/state");
            let answer = ask(server, "GET", &path, token.as_deref(), "").await;
            let expected = match (standing(access, who, role) > 0, token.is_some()) {
                (true, _) => 404,
                (false, true) => 403,
                (false, false) => 401,
            };
            assert_eq!(answer.status, expected, "{who} {role:?} {path}: {answer:?}");
        }
    }
    // Each tries to delete a room of its own: who may not, has not.
    for access in ["open", "half", "shut"] {
        let maker = token("editor", &format!("{access}/*"));
        for (n, (who, role, token)) in everybody(&format!("{access}/*")).into_iter().enumerate() {
            let room = format!("{access}/d{n}");
            assert_eq!(yjs(server, &room, Some(&maker)).await, Ok(true));
            let path = format!("/api/v1/rooms/{access}/d{n}");
            let may = standing(access, who, role) >= 3;
            let answer = ask(server, "DELETE", &path, token.as_deref(), "").await;
            let expected = match may {
                true => 204,
                false if token.is_some() => 403,
                false => 401,
            };
            assert_eq!(answer.status, expected, "{who} {role:?} {path}: {answer:?}");
            let there = ask(server, "GET", &path, Some(&maker), "").await.status == 200;
            assert_eq!(there, !may, "{who} {role:?} {path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_do_what_over_sockets() {
    let place = Server::configured("sled", CONFIG);
    let server = place.address();
    for access in ["open", "half", "shut"] {
        let room = format!("{access}/a");
        let maker = token("editor", &room);
        assert_eq!(yjs(server, &room, Some(&maker)).await, Ok(true));
        for (who, role, token) in everybody(&room) {
            let token = token.as_deref();
            let expected = match (standing(access, who, role), token) {
                (0, None) => Err(4401),
                (0, Some(_)) => Err(4403),
                (1, _) => Ok(false),
                (2.., _) => Ok(true),
            };
            let said = format!("{who} {role:?} {room}");
            assert_eq!(yjs(server, &room, token).await, expected, "yjs, {said}");
            for transport in [Transport::WebSocket, Transport::WebTransport] {
                let joined = joins(server, transport, &room, token).await;
                assert_eq!(joined, expected.map_err(u32::from), "{transport:?}, {said}");
            }
        }
    }
    // A room that does not exist: who may not make it is told that it is not there.
    assert_eq!(yjs(server, "half/new", None).await, Err(4404));
    let joined = joins(server, Transport::WebSocket, "half/new", None).await;
    assert_eq!(joined, Err(4404));
    assert_eq!(yjs(server, "shut/new", None).await, Err(4401));
    assert_eq!(yjs(server, "none/new", None).await, Err(4404));
    // Playback is a socket, and says so on the socket.
    let mut socket = Socket::connect(server, "/api/v1/rooms/shut/a/play")
        .await
        .unwrap();
    assert_eq!(socket.closing().await.0, 4401);
    let mut socket = Socket::connect(server, "/api/v1/rooms/none/a/play")
        .await
        .unwrap();
    assert_eq!(socket.closing().await.0, 4404);
    // A viewer's token makes a viewer, also where none is needed, and whatever else is said.
    let viewer = token("viewer", "open/a");
    let mut socket = Socket::connect(server, &format!("/yjs/open/a?role=creator&token={viewer}"))
        .await
        .unwrap();
    let update = wire::update(7, 0, 10);
    socket.send(&wire::update_message(&update)).await.unwrap();
    let denied = socket.message().await;
    let denied = match denied {
        Ok(Message::Denied(why)) => why,
        Ok(_) => loop {
            if let Message::Denied(why) = socket.message().await.unwrap() {
                break why;
            }
        },
        Err(error) => panic!("{error}"),
    };
    assert!(denied.contains("viewer"), "{denied}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_tokens_get_nobody_in_by_any_way() {
    let place = Server::configured("sled", CONFIG);
    let server = place.address();
    let good = token("creator", "*/*");
    let [head, claims, _] = good.split('.').collect::<Vec<_>>()[..] else {
        panic!("{good}");
    };
    let foreign = [
        "token", "mint", "--secret", "another", "--role", "admin", "--room", "*/*",
    ];
    let foreign = well(&foreign).ok().trim().to_owned();
    let expired = token_of("creator", "*/*", &["--ttl", "1s"]);
    let elsewhere = token_of("creator", "*/*", &["--audience", "other"]);
    until(SOON, "it has expired", || async {
        let answer = ask(server, "GET", "/api/v1/rooms", Some(&expired), "").await;
        (answer.status == 401).then_some(())
    })
    .await;
    for bad in [
        &foreign,
        &expired,
        &elsewhere,
        &format!("{head}.{claims}."),
        &"x".repeat(9000),
    ] {
        let said = &bad[..bad.len().min(60)];
        // An open space is no way round: what is not believed is refused.
        for room in ["open/a", "shut/a"] {
            assert_eq!(yjs(server, room, Some(bad)).await, Err(4401), "{said}");
            for transport in [Transport::WebSocket, Transport::WebTransport] {
                let joined = joins(server, transport, room, Some(bad)).await;
                assert!(
                    matches!(joined, Err(4401 | 0)),
                    "{transport:?} {said} {joined:?}"
                );
            }
        }
        let answer = ask(server, "GET", "/api/v1/rooms/open/a", Some(bad), "").await;
        assert_eq!(answer.status, 401, "{said}");
        assert!(
            answer.head.contains("error=\"invalid_token\""),
            "{answer:?}"
        );
    }
    // Tokens that differ are worth nothing, wherever they stand; the same twice is one.
    let path = |query: &str| format!("/api/v1/rooms?{query}");
    let viewer = token("viewer", "*/*");
    for (query, status) in [
        (format!("token={good}"), 200),
        (format!("token={good}&token={good}"), 200),
        (format!("token={good}&token={viewer}"), 401),
        (format!("%74oken={good}&token={viewer}"), 401),
        (format!("TOKEN={viewer}"), 401),
    ] {
        let answer = ask(server, "GET", &path(&query), Some(&good), "").await;
        assert_eq!(answer.status, status, "{query}");
    }
    // Nothing of a token reaches the log.
    let log = place.stderr();
    let mac = good.rsplit('.').next().unwrap();
    assert!(!log.contains(mac) && !log.contains(claims), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_shows_what_a_token_may_read() {
    let place = Server::configured("sled", CONFIG);
    let server = place.address();
    let all = token("editor", "*/*");
    for room in ["open/a", "half/a", "shut/a", "shut/b", "shut/team-a"] {
        assert_eq!(yjs(server, room, Some(&all)).await, Ok(true));
    }
    let list = async |token: Option<&str>, query: &str| {
        let answer = ask(server, "GET", &format!("/api/v1/rooms{query}"), token, "")
            .await
            .json();
        let rooms = answer["rooms"].as_array().expect("a list").iter();
        let rooms = rooms.map(|room| room["room"].as_str().expect("a name").to_owned());
        (rooms.collect::<Vec<_>>(), answer["next"].clone())
    };
    assert_eq!(list(None, "").await.0, ["open/a"]);
    assert_eq!(list(Some(&all), "").await.0.len(), 5);
    let team = token("viewer", "shut/team-*");
    assert_eq!(
        list(Some(&team), "").await,
        (vec!["shut/team-a".to_owned()], Value::Null)
    );
    let shut = token("viewer", "shut/*");
    let (first, next) = list(Some(&shut), "?limit=1").await;
    assert_eq!(first, ["shut/a"]);
    let after = next.as_str().expect("there is more").replace('/', "%2F");
    let (second, next) = list(Some(&shut), &format!("?limit=2&after={after}")).await;
    assert_eq!(second, ["shut/b", "shut/team-a"]);
    assert_eq!(next, Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_shares_a_room_gives_no_more_than_they_have() {
    let place = Server::configured("sled", CONFIG);
    let server = place.address();
    let path = "/api/v1/rooms/shut/a/tokens";
    let creator = token_of("creator", "shut/*", &["--ttl", "10m"]);
    let mint =
        async |body: Value| ask(server, "POST", path, Some(&creator), &body.to_string()).await;
    assert_eq!(mint(json!({"role": "admin"})).await.status, 403);
    assert_eq!(mint(json!({"role": "owner"})).await.status, 400);
    assert_eq!(
        mint(json!({"role": "viewer", "ttl": "soon"})).await.status,
        400
    );
    assert_eq!(
        mint(json!({"role": "viewer", "room": "shut/*"}))
            .await
            .status,
        400
    );
    let shared = mint(json!({"role": "editor", "ttl": "30d", "sub": "ada"})).await;
    assert_eq!(shared.status, 201);
    let shared = shared.json();
    // No longer than its maker's, which ends in ten minutes, whenever it is made.
    let nine = mint(json!({"role": "editor", "ttl": "9m"})).await.json();
    let month = mint(json!({"role": "editor", "ttl": 30 * 86_400}))
        .await
        .json();
    assert_eq!(shared["expires_at"], month["expires_at"]);
    assert!(
        nine["expires_at"].as_str() < month["expires_at"].as_str(),
        "{nine} {month}"
    );
    let editor = shared["token"].as_str().expect("a token");
    assert_eq!(yjs(server, "shut/a", Some(editor)).await, Ok(true));
    assert_eq!(yjs(server, "shut/b", Some(editor)).await, Err(4403));
    let records = ask(
        server,
        "GET",
        "/api/v1/rooms/shut/a/records",
        Some(editor),
        "",
    )
    .await;
    let record: Value = serde_json::from_slice(records.body.split(|b| *b == b'\n').next().unwrap())
        .expect("a record");
    assert_eq!(record["author"]["user"], "ada", "{record}");
    // Its maker takes it back.
    let jti = shared["jti"].as_str().expect("a name");
    let taken = ask(
        server,
        "DELETE",
        &format!("{path}/{jti}"),
        Some(&creator),
        "",
    )
    .await;
    assert_eq!(taken.status, 200);
    assert_eq!(yjs(server, "shut/a", Some(editor)).await, Err(4401));
}

/// A session of each dialect and transport, open in `room` by this token.
struct Open {
    yjs: Socket,
    well: Room,
    quic: Room,
    _clients: [Client; 2],
}

impl Open {
    async fn new(server: SocketAddr, room: &str, token: &str) -> Self {
        let path = format!("/yjs/{room}?token={token}");
        let mut yjs = Socket::connect(server, &path).await.expect("a handshake");
        yjs.sync().await.expect("it is in");
        let tcp = client(server, Transport::WebSocket, Some(token));
        let udp = client(server, Transport::WebTransport, Some(token));
        let mut well = tcp.join(Join::new(room)).await.expect("a room");
        let mut quic = udp.join(Join::new(room)).await.expect("a room");
        for room in [&mut well, &mut quic] {
            within(PATIENCE, "a join", outcome(room))
                .await
                .expect("it is in");
        }
        Self {
            yjs,
            well,
            quic,
            _clients: [tcp, udp],
        }
    }

    async fn end_with(mut self, code: u16, word: &str) {
        within(SOON, "the end of the sessions", async {
            let (closed, reason, denied) = self.yjs.closing().await;
            assert_eq!(closed, code, "{reason}");
            assert!(
                reason.contains(word) && denied[0].contains(word),
                "{reason} {denied:?}"
            );
            for room in [&mut self.well, &mut self.quic] {
                assert_eq!(outcome(room).await, Err(u32::from(code)));
            }
        })
        .await;
    }

    /// Whether all of them go on.
    async fn goes_on(&mut self) {
        self.yjs.sync().await.expect("it goes on");
        for room in [&mut self.well, &mut self.quic] {
            let ticket = room
                .submit(Bytes::from_static(&[0, 0]))
                .await
                .expect("a ticket");
            within(PATIENCE, "an ack", ticket.acked())
                .await
                .expect("it goes on");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_end_with_their_tokens() {
    let mut place = Server::configured("sled", CONFIG);
    let server = place.address();
    let admin = token("admin", "*/*");
    let revoke = async |token: &str, body: Value| {
        let path = "/api/v1/admin/revoke";
        ask(server, "POST", path, Some(token), &body.to_string()).await
    };
    let short = token_of("editor", "shut/a", &["--ttl", "4s"]);
    let maker = token("editor", "shut/a");
    assert_eq!(yjs(server, "shut/a", Some(&maker)).await, Ok(true));
    let expiring = Open::new(server, "shut/a", &short).await;
    let named = token_of("editor", "shut/*", &["--jti", "one", "--sub", "ada"]);
    let by_id = Open::new(server, "shut/a", &named).await;
    let others = token_of("editor", "shut/*", &["--jti", "two", "--sub", "bob"]);
    let by_subject = Open::new(server, "shut/a", &others).await;
    let mut beside = Open::new(server, "shut/b", &token("editor", "shut/b")).await;
    expiring.end_with(4401, "expired").await;
    assert_eq!(yjs(server, "shut/a", Some(&short)).await, Err(4401));
    assert_eq!(revoke(&admin, json!({"jti": "one"})).await.status, 200);
    by_id.end_with(4401, "revoked").await;
    assert_eq!(revoke(&admin, json!({"sub": "bob"})).await.status, 200);
    by_subject.end_with(4401, "revoked").await;
    let everywhere = token("editor", "shut/*");
    let in_room = Open::new(server, "shut/a", &everywhere).await;
    // What lasts over HTTP ends too: a log that is followed, and a past that is watched.
    let path = format!("/api/v1/rooms/shut/a/records?follow=true&token={everywhere}");
    let following = tokio::spawn(async move { http::get(server, &path).await });
    let path = format!("/api/v1/rooms/shut/a/play?token={everywhere}");
    let mut watching = Socket::connect(server, &path).await.expect("a handshake");
    watching.sync().await.expect("it is in");
    assert_eq!(revoke(&admin, json!({"room": "shut/a"})).await.status, 200);
    in_room.end_with(4401, "revoked").await;
    let followed = within(SOON, "the end of the records", following)
        .await
        .expect("a task");
    assert!(
        followed.is_err(),
        "it breaks off, and does not pass for whole: {followed:?}"
    );
    assert_eq!(
        within(SOON, "the end of the past", watching.closing())
            .await
            .0,
        4401
    );
    assert_eq!(yjs(server, "shut/b", Some(&everywhere)).await, Ok(true));
    beside.goes_on().await;
    // An admin of one space revokes there only, and nobody else does.
    let of_half = token("admin", "half/*");
    assert_eq!(
        revoke(&of_half, json!({"room": "shut/b"})).await.status,
        403
    );
    let far = token_of("editor", "*/*", &["--jti", "three"]);
    assert_eq!(revoke(&of_half, json!({"jti": "three"})).await.status, 200);
    assert_eq!(yjs(server, "half/a", Some(&far)).await, Err(4401));
    assert_eq!(yjs(server, "shut/b", Some(&far)).await, Ok(true));
    for (token, status) in [(None, 401), (Some(token("creator", "*/*")), 403)] {
        for (path, body) in [
            ("revoke", "{\"jti\":\"x\"}"),
            ("evict", "{\"room\":\"shut/b\"}"),
            ("reload", ""),
        ] {
            let path = format!("/api/v1/admin/{path}");
            let answer = ask(server, "POST", &path, token.as_deref(), body).await;
            assert_eq!(answer.status, status, "{path} {answer:?}");
        }
    }
    let reload = ask(server, "POST", "/api/v1/admin/reload", Some(&of_half), "").await;
    assert_eq!(reload.status, 403, "only an admin of everything reloads");
    // A revocation outlives the server, however that ends.
    place.kill();
    place.start_again();
    let server = place.address();
    for dead in [&named, &others] {
        assert_eq!(yjs(server, "shut/a", Some(dead)).await, Err(4401));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_spaces_change_without_a_dropped_session() {
    let mut place = Server::configured("sled", CONFIG);
    let server = place.address();
    let folder = tempfile::tempdir().expect("a folder");
    let key = folder.path().join("key.pem");
    let key = key.to_str().expect("a path");
    let made = well(&["token", "key", "--alg", "EdDSA", "--out", key]).ok();
    assert!(made.contains("public half"), "{made}");
    let mint = [
        "token", "mint", "--key", key, "--role", "editor", "--room", "shut/*",
    ];
    let new = well(&mint).ok().trim().to_owned();
    let old = token("editor", "shut/a");
    let mut session = Open::new(server, "shut/a", &old).await;
    assert_eq!(yjs(server, "shut/a", Some(&new)).await, Err(4401));
    let config = format!("[auth]\npublic_keys = [\"{key}.pub\"]\n{CONFIG}");
    place.configure(&config);
    let admin = token("admin", "*/*");
    let reload = ask(server, "POST", "/api/v1/admin/reload", Some(&admin), "").await;
    assert_eq!(reload.status, 204, "{reload:?}");
    assert_eq!(yjs(server, "shut/a", Some(&new)).await, Ok(true));
    session.goes_on().await;
    // What is wrong is said, and nothing changes.
    place.configure(format!("{config}\n[spaces.more]\n"));
    let reload = ask(server, "POST", "/api/v1/admin/reload", Some(&admin), "").await;
    assert_eq!(reload.status, 422, "{reload:?}");
    assert_eq!(yjs(server, "shut/a", Some(&new)).await, Ok(true));
    let opened = config.replacen("[spaces.shut]\naccess = 'token'", "[spaces.shut]", 1);
    place.configure(opened);
    assert_eq!(yjs(server, "shut/a", None).await, Err(4401));
    place.hang_up();
    until(SOON, "the space is open", || async {
        yjs(server, "shut/a", None).await.ok()
    })
    .await;
}

/// How a web socket of a page of this origin is closed, or that it is let in.
async fn from_page(server: SocketAddr, path: &str, origin: &str) -> Result<(), u16> {
    let mut socket = Socket::connect_without_handshake(server)
        .await
        .expect("a connection");
    let handshake = system_tests::socket::handshake(server, path);
    let said = handshake.replacen("\r\n\r\n", &format!("\r\nOrigin: {origin}\r\n\r\n"), 1);
    socket.send_raw(said.as_bytes()).await.expect("it is sent");
    socket
        .take_handshake()
        .await
        .expect("a socket is accepted, and then closed");
    match socket.sync().await {
        Ok(_) => Ok(()),
        Err(_) => Err(socket.closing().await.0),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_pages_that_are_named_speak_to_a_space() {
    let config = "[spaces.shown]\norigins = ['https://app.example']\n[spaces.all]\norigins = '*'\n";
    let place = Server::configured("memory", config);
    let server = place.address();
    let own = format!("http://{server}");
    for (space, origin, may) in [
        ("doc", own.as_str(), true),
        // On this machine, pages of this machine.
        ("doc", "http://localhost:5173", true),
        ("doc", "https://app.example", false),
        ("doc", "null", false),
        ("shown", "https://app.example", true),
        ("shown", "https://app.example.evil.example", false),
        ("shown", "http://app.example", false),
        ("all", "https://evil.example", true),
    ] {
        let said = format!("{space} {origin}");
        let joined = from_page(server, &format!("/yjs/{space}/a"), origin).await;
        // The refusal has been heard by the one who asked for the document.
        assert_eq!(joined.is_ok(), may, "{said}: {joined:?}");
        let path = format!("/api/v1/rooms/{space}/none/fork");
        let headers = [("origin", origin), ("content-type", "text/plain")];
        let answer = http::send(server, "POST", &path, &headers, "{\"seq\":1}")
            .await
            .unwrap();
        assert_eq!(
            answer.status,
            if may { 404 } else { 403 },
            "{said}: {answer:?}"
        );
        let shown = answer
            .head
            .contains(&format!("access-control-allow-origin: {origin}"));
        assert_eq!(shown, may && origin != own, "{said}: {answer:?}");
        let asks = [
            ("origin", origin),
            ("access-control-request-method", "DELETE"),
        ];
        let path = format!("/api/v1/rooms/{space}/none");
        let answer = http::send(server, "OPTIONS", &path, &asks, "")
            .await
            .unwrap();
        let allowed = answer
            .head
            .contains("access-control-allow-methods: GET, POST, PUT, DELETE");
        assert_eq!(allowed, may && origin != own, "{said}: {answer:?}");
    }
    // Who sends no origin is no browser.
    assert_eq!(yjs(server, "doc/a", None).await, Ok(true));
    // The well dialect names its rooms later, and is asked then.
    let mut socket = Socket::connect_without_handshake(server)
        .await
        .expect("a connection");
    let handshake = system_tests::socket::handshake(server, "/well");
    let said = handshake.replacen("\r\n\r\n", "\r\nOrigin: https://evil.example\r\n\r\n", 1);
    socket.send_raw(said.as_bytes()).await.expect("it is sent");
    socket.take_handshake().await.expect("it is let in");
}
