//! How rooms end: forgotten, deleted, or making way for others; and what is left of them.

use std::path::Path;
use std::time::Duration;

use system_tests::http;
use system_tests::server::Server;
use system_tests::socket::Socket;
use system_tests::wire;
use system_tests::{until, within};

const PATIENCE: Duration = Duration::from_secs(20);

fn server(config: &str, archive: Option<&Path>) -> Server {
    let mut server = Server::new("sled");
    server.configure(config);
    if let Some(archive) = archive {
        let url = format!("file://{}", archive.display());
        server.set_arguments(["--archive", url.as_str()]);
    }
    server.start_again();
    server
}

/// Whether a file below `folder` holds `wanted`, in its name or its bytes.
fn holds(folder: &Path, wanted: &str) -> bool {
    let bytes = wanted.as_bytes();
    let found = |path: &Path| {
        let content = std::fs::read(path).expect("a readable file");
        content.windows(bytes.len()).any(|window| window == bytes)
    };
    let entries = std::fs::read_dir(folder).expect("a readable folder");
    let mut entries = entries.map(|entry| entry.expect("an entry").path());
    entries.any(|path| {
        let named = path.to_string_lossy().contains(wanted);
        named
            || if path.is_dir() {
                holds(&path, wanted)
            } else {
                found(&path)
            }
    })
}

/// Writes a key into a room, in one update of some size, and leaves once it is acked.
async fn plant(server: &Server, room: &str, key: &str) -> Socket {
    plant_as(server, room, key, 7).await
}

/// The same, by one of several clients.
async fn plant_as(server: &Server, room: &str, key: &str, client: u64) -> Socket {
    let path = format!("/yjs/{room}");
    let mut socket = Socket::connect(server.address(), &path)
        .await
        .expect("a handshake");
    socket.sync().await.expect("it is in");
    let update = wire::update_of_key(client, 0, key, 1_000);
    let update = wire::update_message(&update);
    socket.send(&update).await.expect("it is sent");
    within(PATIENCE, "an ack", socket.settle(1))
        .await
        .expect("it is taken");
    socket
}

async fn is_there(server: &Server, room: &str) -> bool {
    http::room(server.address(), room).await.is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_ephemeral_room_no_byte_is_on_disk_or_in_the_archive() {
    const BRIEF: &str = "zqj-planted-in-an-ephemeral-room";
    const KEPT: &str = "zqj-planted-in-a-room-that-stays";
    let archive = tempfile::tempdir().expect("a folder");
    let config = "[spaces.brief]\nlifetime = 'ephemeral'\nidle = '1s'\n";
    let mut server = server(config, Some(archive.path()));
    let brief = plant(&server, "brief/room-of-brief", BRIEF).await;
    let kept = plant(&server, "doc/room-that-is-kept", KEPT).await;
    assert!(is_there(&server, "brief/room-of-brief").await);
    // Killed while both are loaded: what is on disk is what any moment leaves there.
    server.kill();
    drop((brief, kept));
    assert!(holds(server.folder(), KEPT), "the search finds nothing");
    assert!(!holds(server.folder(), BRIEF));
    assert!(!holds(server.folder(), "room-of-brief"));
    server.start_again();
    assert!(is_there(&server, "doc/room-that-is-kept").await);
    assert!(!is_there(&server, "brief/room-of-brief").await);

    let again = plant(&server, "brief/room-of-brief", BRIEF).await;
    assert!(is_there(&server, "brief/room-of-brief").await);
    drop(again);
    until(PATIENCE, "it is forgotten", || async {
        (!is_there(&server, "brief/room-of-brief").await).then_some(())
    })
    .await;
    // Its name is free again, and it begins with nothing.
    let path = "/yjs/brief/room-of-brief";
    let mut anew = Socket::connect(server.address(), path)
        .await
        .expect("a handshake");
    let state = anew.sync().await.expect("it is in");
    assert!(state.len() < 10, "{state:?}");
    drop(anew);
    // A clean stop archives what there is.
    assert!(server.stop().success());
    let url = format!("file://{}", archive.path().display());
    let log = |room: &str| system_tests::command::well(&["log", room, "--archive", &url]);
    assert!(log("doc/room-that-is-kept").ok().contains("update"));
    let _ = log("brief/room-of-brief").fails();
    for folder in [server.folder(), archive.path()] {
        assert!(!holds(folder, BRIEF), "{}", folder.display());
        assert!(!holds(folder, "room-of-brief"), "{}", folder.display());
    }
}

/// Its Seqs are given again, so no cache may keep what they stood for, and no stream goes on over them.
#[tokio::test(flavor = "multi_thread")]
async fn an_ephemeral_room_that_begins_anew_is_another_room() {
    let config = "[spaces.brief]\nlifetime = 'ephemeral'\nidle = '1s'\n";
    let mut server = server(config, None);
    let address = server.address();
    let mut members = Vec::new();
    for room in ["brief/twice", "doc/once"] {
        members.push(plant_as(&server, room, "a", 7).await);
        members.push(plant_as(&server, room, "b", 8).await);
    }
    let is_kept = |path: String| async move {
        let answer = http::get(address, &format!("/api/v1/rooms/{path}")).await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.status, 200, "{path}");
        answer.head.to_ascii_lowercase().contains("immutable")
    };
    for moment in ["state?seq=1", "diff?from=0&to=1"] {
        assert!(!is_kept(format!("brief/twice/{moment}")).await, "{moment}");
        assert!(is_kept(format!("doc/once/{moment}")).await, "{moment}");
    }
    // Without a beginning, a diff begins where what is kept does.
    assert!(!is_kept("doc/once/diff?to=1".into()).await);

    let followed = tokio::spawn(http::get(
        address,
        "/api/v1/rooms/brief/twice/records?follow=true",
    ));
    drop(members);
    until(PATIENCE, "it is forgotten", || async {
        (!is_there(&server, "brief/twice").await).then_some(())
    })
    .await;
    let anew = plant_as(&server, "brief/twice", "c", 9).await;
    let heard = within(PATIENCE, "the end of the stream", followed).await;
    let heard = heard.expect("no panic").expect("an answer");
    let lines = String::from_utf8_lossy(&heard.body).lines().count();
    assert_eq!(lines, 2, "those of the first room");
    drop(anew);
    assert!(server.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_space_that_has_had_rooms_does_not_become_ephemeral() {
    let mut server = server("[spaces.brief]\n", None);
    drop(plant(&server, "brief/a", "a").await);
    let config = "[spaces.brief]\nlifetime = 'ephemeral'\n";
    server.configure(config);
    server.hang_up();
    until(PATIENCE, "a refusal", || async {
        server.stderr().contains("at a start only").then_some(())
    })
    .await;
    assert!(server.stop().success());
    assert!(server.try_start().is_err());
    let said = server.stderr();
    assert!(said.contains("has had rooms on disk, as brief/a"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_space_takes_a_new_room_for_an_idle_one_or_says_that_it_is_full() {
    let config = "[spaces.small]\nmax_rooms = 2\n";
    let server = server(config, None);
    let first = plant(&server, "small/a", "a").await;
    let second = plant(&server, "small/b", "b").await;
    let mut third = Socket::connect(server.address(), "/yjs/small/c")
        .await
        .expect("a handshake");
    let (code, reason, _) = third.closing().await;
    assert_eq!(code, 1013, "{reason}");
    assert!(reason.contains("as many rooms as it may"), "{reason}");
    let (fork, body) = (
        "/api/v1/rooms/small/a/fork",
        r#"{"seq": 1, "to": "small/d"}"#,
    );
    let headers = [("content-type", "application/json")];
    let answer = http::send(server.address(), "POST", fork, &headers, body)
        .await
        .expect("an answer");
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(answer.json()["code"], "full");
    drop(first);
    let third = until(PATIENCE, "room for it", || async {
        let mut third = Socket::connect(server.address(), "/yjs/small/c")
            .await
            .ok()?;
        third.sync().await.ok().map(|_| third)
    })
    .await;
    assert!(!is_there(&server, "small/a").await);
    assert!(is_there(&server, "small/b").await);
    drop((second, third));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_space_whose_rooms_take_too_much_takes_no_new_one_until_one_is_idle() {
    let server = server("[spaces.small]\nmax_total = '3KB'\n", None);
    let mut held = Vec::new();
    for (client, name) in ["a", "b", "c"].into_iter().enumerate() {
        let room = format!("small/{name}");
        held.push(plant_as(&server, &room, name, 7 + client as u64).await);
    }
    let mut more = Socket::connect(server.address(), "/yjs/small/d")
        .await
        .expect("a handshake");
    let (code, reason, _) = more.closing().await;
    assert_eq!(code, 1013, "{reason}");
    assert!(reason.contains("take as much as they may"), "{reason}");
    held.remove(0);
    let _more = until(PATIENCE, "room for it", || async {
        let mut more = Socket::connect(server.address(), "/yjs/small/d")
            .await
            .ok()?;
        more.sync().await.ok().map(|_| more)
    })
    .await;
    assert!(!is_there(&server, "small/a").await);
    assert!(is_there(&server, "small/b").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_room_is_unloaded_or_deleted_as_its_space_says() {
    let idle = "[spaces.doc]\nidle = '1s'\n[spaces.brief]\nlifetime = 'expiring'\nidle = '1s'\n";
    let server = server(idle, None);
    drop(plant(&server, "doc/a", "a").await);
    drop(plant(&server, "brief/a", "a").await);
    until(PATIENCE, "both are idle", || async {
        let metrics = http::get(server.address(), "/metrics").await.ok()?;
        let unloaded = String::from_utf8_lossy(&metrics.body).contains("\nwell_rooms_loaded 0\n");
        let deleted = !is_there(&server, "brief/a").await;
        (unloaded && deleted).then_some(())
    })
    .await;
    assert!(is_there(&server, "doc/a").await);
    let mut again = Socket::connect(server.address(), "/yjs/brief/a")
        .await
        .expect("a handshake");
    let (code, reason, _) = again.closing().await;
    assert_eq!(code, 4404, "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_there_is_an_archive_a_room_that_goes_is_read_from_there() {
    let archive = tempfile::tempdir().expect("a folder");
    let config = "[spaces.small]\nmax_rooms = 1\n";
    let server = server(config, Some(archive.path()));
    drop(plant(&server, "small/a", "a").await);
    let second = until(PATIENCE, "room for another", || async {
        let mut second = Socket::connect(server.address(), "/yjs/small/b")
            .await
            .ok()?;
        second.sync().await.ok().map(|_| second)
    })
    .await;
    let left = http::room(server.address(), "small/a")
        .await
        .expect("it is there");
    assert_eq!(left["records"], 0, "{left}");
    let state = http::snapshot(server.address(), "small/a")
        .await
        .expect("a document");
    assert!(state.len() > 1_000, "{}", state.len());
    drop(second);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_to_rooms_is_written_down() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("audit.jsonl");
    let config = format!("[audit]\nfile = '{}'\n", file.display());
    let server = server(&config, None);
    drop(plant(&server, "doc/a", "not-to-be-written-down").await);
    let delete = "/api/v1/rooms/doc/a";
    let answer = http::request(server.address(), "DELETE", delete).await;
    assert_eq!(answer.expect("an answer").status, 204);
    let events = until(PATIENCE, "all four events", || async {
        let lines = std::fs::read_to_string(&file).expect("the audit log");
        let lines: Vec<serde_json::Value> = lines
            .lines()
            .map(|line| serde_json::from_str(line).expect("a JSON object"))
            .collect();
        (lines.len() >= 4).then_some(lines)
    })
    .await;
    let mut kinds: Vec<&str> = events
        .iter()
        .filter_map(|it| it["event"].as_str())
        .collect();
    assert_eq!(kinds[..2], ["create", "join"]);
    kinds.sort_unstable();
    assert_eq!(kinds, ["create", "delete", "join", "leave"]);
    for event in &events {
        assert_eq!(event["room"], "doc/a", "{event}");
        assert_eq!(event["from"], "127.0.0.1", "{event}");
        assert!(
            event["at"].as_str().is_some_and(|at| at.ends_with('Z')),
            "{event}"
        );
    }
    assert!(!holds(folder.path(), "not-to-be-written-down"));
}
