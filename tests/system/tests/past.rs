//! Rooms' history on disk and in an archive, and the commands that look after it: exports, restores,
//! scrubs, crashes, flipped bits, wrong and missing buckets.
//!
//! `PAST_CRASHES` rounds of kill -9 (2) and `PAST_FLIPS` flipped bits (24) by default; `SEED`
//! repeats them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use system_tests::command::{command, well, well_with_input};
use system_tests::server::Server;
use system_tests::socket::Socket;
use system_tests::wire;
use system_tests::{http, seed, setting, until};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);
/// The names of rooms that have everything in them.
const ROOMS: [&str; 3] = ["doc/plain", "doc/a/b", "doc/\u{1f388} \u{fc}"];

/// A data folder, an archive beside it, and a server on both.
struct World {
    server: Server,
    folder: TempDir,
}

impl World {
    /// Not started yet.
    fn new(configuration: &str) -> Self {
        let mut server = Server::new("sled");
        let folder = TempDir::with_prefix("well-past-").expect("a temporary folder");
        let file = folder.path().join("well.toml");
        fs::write(&file, configuration).expect("a configuration");
        server.set_arguments([
            "--config",
            text(&file),
            "--archive",
            &url(&folder.path().join("archive")),
            "--log",
            "info,broker=debug",
        ]);
        Self { server, folder }
    }

    fn start(configuration: &str) -> Self {
        let mut world = Self::new(configuration);
        world.server.start_again();
        world
    }

    fn at(&self) -> SocketAddr {
        self.server.address()
    }

    fn data(&self) -> &str {
        text(self.server.folder())
    }

    fn archive(&self) -> String {
        url(&self.folder.path().join("archive"))
    }

    fn stop(&mut self) {
        assert!(self.server.stop().success(), "{}", self.server.stderr());
    }

    /// `well verify` of both, which must find all whole.
    fn verify(&self) -> String {
        verify(self.data(), &self.archive())
    }
}

fn verify(data: &str, archive: &str) -> String {
    let said = well(&["verify", "--data", data, "--archive", archive]).ok();
    assert!(said.contains("all holds"), "{said}");
    said
}

fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are UTF-8")
}

fn url(path: &Path) -> String {
    format!("file://{}", text(path))
}

/// A room's records in a data folder.
fn log(data: &str, room: &str) -> String {
    well(&["log", room, "--data", data]).ok()
}

/// A room's records in an archive.
fn archived(archive: &str, room: &str) -> String {
    well(&["log", room, "--archive", archive]).ok()
}

fn percent(name: &str) -> String {
    let mut out = String::new();
    for byte in name.bytes() {
        match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// `space/name` as a part of a path.
fn path(room: &str) -> String {
    let (space, name) = room.split_once('/').expect("a room");
    format!("{space}/{}", percent(name))
}

async fn get(server: SocketAddr, room: &str, what: &str) -> http::Answer {
    let path = format!("/api/v1/rooms/{}/{what}", path(room));
    http::get(server, &path).await.expect("an answer")
}

/// The room's keys at a moment.
async fn keys_at(server: SocketAddr, room: &str, moment: &str) -> BTreeSet<String> {
    let answer = get(server, room, &format!("state?{moment}")).await;
    let said = String::from_utf8_lossy(&answer.body);
    assert_eq!(answer.status, 200, "{room} at {moment}: {said}");
    wire::keys([&*answer.body])
}

/// Updates `clocks` of a client, all acked. Each is a record.
async fn write(
    server: SocketAddr,
    room: &str,
    client: u64,
    clocks: std::ops::Range<u64>,
    bytes: usize,
) {
    let path = format!("/yjs/{}", path(room));
    let mut socket = Socket::connect(server, &path).await.expect("a writer");
    for clock in clocks {
        let update = wire::update(client, clock, bytes);
        let message = wire::update_message(&update);
        socket.send(&message).await.expect("it is taken");
    }
    socket.settle(1).await.expect("it is acked");
}

/// The keys that updates `0..clocks` of a client have.
fn keys(client: u64, clocks: u64) -> BTreeSet<String> {
    (0..clocks)
        .map(|clock| format!("{client}:{clock}"))
        .collect()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder").flatten() {
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo = vec![folder.to_owned()];
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            if entry.file_type().expect("a type").is_dir() {
                todo.push(entry.path());
            } else {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

/// What `/readyz` says, and that it is ready.
async fn ready(server: SocketAddr) -> Value {
    let answer = http::get(server, "/readyz").await.expect("an answer");
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_exported_is_imported_with_the_same_chain() {
    let mut world = World::start("");
    for (client, room) in (1..).zip(ROOMS) {
        write(world.at(), room, client, 0..20 * client, 700).await;
    }
    world.stop();
    world.verify();
    let data = world.data();
    let folder = world.folder.path();
    let logs: BTreeMap<&str, String> = ROOMS.map(|room| (room, log(data, room))).into();
    let same = |data: &str| {
        let said = well(&["verify", "--data", data]).ok();
        assert!(said.contains("all holds"), "{said}");
        for (room, records) in &logs {
            assert_eq!(log(data, room), *records, "{room}");
        }
    };

    let export = folder.join("all.jsonl");
    let _ = well(&["export", "--to", text(&export), "--data", data]).ok();
    let whole = fs::read(&export).expect("an export");
    let piped = well(&["export", "--to", "-", "--data", data]).ok();
    assert_eq!(
        piped.as_bytes(),
        whole,
        "a file and standard output are the same"
    );
    let alone = well(&["export", "--to", "-", "--archive", &world.archive()]).ok();
    assert_eq!(alone.as_bytes(), whole, "and so is the archive");
    let one = well(&["export", ROOMS[1], "--to", "-", "--data", data]).ok();
    let (records, end) = one.trim_end().rsplit_once('\n').expect("lines");
    assert!(
        piped.contains(records) && one.lines().count() == 42,
        "{one}"
    );
    assert_eq!(end, r#"{"end":{"rooms":1,"records":40}}"#);
    let twice = well(&["export", "--to", text(&export), "--data", data]);
    assert_eq!(twice.code, Some(0), "{twice}");
    assert_eq!(
        fs::read(&export).expect("an export"),
        whole,
        "nothing has come since"
    );

    let into = folder.join("imported");
    let _ = well(&["import", text(&export), "--data", text(&into)]).ok();
    same(text(&into));
    let _ = well(&["import", text(&export), "--data", text(&into)]).ok();
    same(text(&into));
    let again = well(&["export", "--to", "-", "--data", text(&into)]).ok();
    assert_eq!(again.as_bytes(), whole);
    let piped = folder.join("piped");
    let _ = well_with_input(&["import", "-", "--data", text(&piped)], &export).ok();
    same(text(&piped));

    // The native form, to a folder and to a URL, and back.
    let native = folder.join("native");
    let to = ["export", "--format", "archive", "--to"];
    let _ = well(&[&to[..], &[text(&native), "--data", data]].concat()).ok();
    let _ = well(&["archive", "verify", "--archive", &url(&native)]).ok();
    let back = folder.join("back");
    let _ = well(&["import", &url(&native), "--data", text(&back)]).ok();
    same(text(&back));

    // Documents alone.
    let documents = folder.join("documents");
    fs::create_dir(&documents).expect("a folder");
    let to = ["export", "--format", "yjs", "--to", text(&documents)];
    let _ = well(&[&to[..], &["--data", data]].concat()).ok();
    assert_eq!(files(&documents).len(), ROOMS.len());
    for (client, room) in (1..).zip(ROOMS) {
        let name = percent(room.split_once('/').expect("a room").1);
        let file = documents.join(format!("doc/{name}.yjs"));
        let document =
            fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        assert_eq!(
            wire::keys([&*document]),
            keys(client, 20 * client),
            "{room}"
        );
        let to = format!("doc/new {client}");
        let put = ["import", text(&file), "--room", &to, "--data", text(&back)];
        let _ = well(&put).ok();
        let json = well(&["state", &to, "--data", text(&back)]).ok();
        assert_eq!(json, well(&["state", room, "--data", data]).ok());
        assert!(well(&put).fails().contains("exists"));
    }
    // To URLs, and back from them.
    let bucket = folder.join("bucket");
    let to = url(&bucket.join("all.jsonl"));
    let _ = well(&["export", "--to", &to, "--data", data]).ok();
    assert_eq!(fs::read(bucket.join("all.jsonl")).expect("it"), whole);
    let from = folder.join("from a URL");
    let _ = well(&["import", &to, "--data", text(&from)]).ok();
    same(text(&from));
    let to = ["export", "--format", "yjs", "--to", &url(&bucket)];
    let _ = well(&[&to[..], &["--data", data]].concat()).ok();
    assert_eq!(files(&bucket).len(), 1 + ROOMS.len());
    // What is no export is not taken for an empty one, and what is no archive is not made one.
    let nothing = folder.join("nothing");
    for from in [url(&bucket), url(&nothing), text(&nothing).to_owned()] {
        let into = folder.join("none");
        let said = well(&["import", &from, "--data", text(&into)]).fails();
        assert!(!said.contains("imported"), "{said}");
    }
    let said = well(&["archive", "verify", "--archive", &url(&nothing)]).fails();
    assert!(said.contains("no such folder"), "{said}");
    assert!(!nothing.exists());
    let said = well(&["archive", "verify", "--archive", &url(&bucket)]).fails();
    assert!(said.contains("no archive"), "{said}");
    let empty = folder.join("empty.jsonl");
    fs::write(&empty, "").expect("a file");
    let said = well(&["import", text(&empty), "--data", text(&back)]).fails();
    assert!(said.contains("cut off"), "{said}");
    let away = Away::new();
    let mut command = command(&["export", "--to", "s3://away/all.jsonl", "--data", data]);
    let output = command.envs(away.variables()).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("s3://away/all.jsonl"), "{said}");
    let missing = folder.join("missing.jsonl");
    let said = well(&["export", "doc/none", "--to", text(&missing), "--data", data]).fails();
    assert!(!said.contains("exported"), "{said}");
    assert!(!missing.exists() && !folder.join("missing.jsonl.part").exists());
    assert!(
        well(&["export", "doc/none", "--to", "-", "--data", data])
            .fails()
            .contains("doc/none")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_export_or_import_goes_on() {
    let mut world = World::start("");
    for (client, room) in (1..).zip(ROOMS) {
        write(world.at(), room, client, 0..60, 200).await;
    }
    world.stop();
    let data = world.data();
    let folder = world.folder.path();
    let export = folder.join("all.jsonl");
    let _ = well(&["export", "--to", text(&export), "--data", data]).ok();
    let whole = fs::read(&export).expect("an export");
    let mut random = StdRng::seed_from_u64(seed());
    for case in 0..6 {
        let cut = random.random_range(0..whole.len());
        let part = folder.join(format!("{case}.jsonl.part"));
        fs::write(&part, &whole[..cut]).expect("it is cut");
        let into = folder.join(format!("{case}.data"));
        // What does not end is refused, wherever it was cut.
        let torn = well(&["import", text(&part), "--data", text(&into)]);
        let whole_but_for_a_byte = cut + 1 == whole.len();
        assert_eq!(torn.code, Some(i32::from(!whole_but_for_a_byte)), "{torn}");
        assert!(whole_but_for_a_byte || !into.exists(), "cut at {cut}");
        // It is taken if that is said: what was cut inside a line is told, what stood before is there.
        let torn = well(&["import", "--partial", text(&part), "--data", text(&into)]);
        let at_a_line = cut == 0 || whole[cut - 1] == b'\n' || whole[cut] == b'\n';
        assert_eq!(torn.code, Some(0), "cut at {cut}: {torn}");
        assert_eq!(
            torn.stderr.contains("the last line is torn"),
            !at_a_line,
            "cut at {cut}: {torn}"
        );
        let stood = whole[..cut]
            .split_inclusive(|byte| *byte == b'\n')
            .filter(|line| {
                let ended = line.ends_with(b"\n") || whole[cut] == b'\n';
                ended && line.starts_with(b"{\"seq\"")
            });
        let came = format!(", {} new records", stood.count());
        assert!(torn.stderr.contains(&came), "cut at {cut}: {came}: {torn}");
        let _ = well(&["import", text(&export), "--data", text(&into)]).ok();
        assert_eq!(
            well(&["export", "--to", "-", "--data", text(&into)])
                .ok()
                .as_bytes(),
            whole
        );
        let done = folder.join(format!("{case}.jsonl"));
        let _ = well(&["export", "--to", text(&done), "--data", data]).ok();
        assert!(
            fs::read(&done).expect("an export") == whole && !part.exists(),
            "cut at {cut} of {}",
            whole.len()
        );
    }
    let twice = folder.join("twice.jsonl");
    fs::write(&twice, [&whole[..], &whole].concat()).expect("a file");
    let into = folder.join("twice.data");
    let ran = well(&["import", text(&twice), "--data", text(&into)]);
    assert!(ran.stderr.contains("imported 3 rooms, 180 "), "{ran}");
    // An import that is killed.
    let into = folder.join("killed");
    let arguments = ["import", text(&export), "--data", text(&into)];
    let mut child = command(&arguments).spawn().expect("it starts");
    tokio::time::sleep(Duration::from_millis(random.random_range(0..150))).await;
    child.kill().expect("it can be killed");
    child.wait().expect("it can be waited for");
    let _ = well(&arguments).ok();
    assert_eq!(
        well(&["export", "--to", "-", "--data", text(&into)])
            .ok()
            .as_bytes(),
        whole
    );

    // Another history under the same name is neither gone over nor mixed in.
    let mut other = World::start("");
    write(other.at(), ROOMS[0], 9, 0..3, 10).await;
    other.stop();
    let said = well(&["import", text(&export), "--data", other.data()]).fails();
    assert!(
        said.contains("another history") && said.contains(ROOMS[0]),
        "{said}"
    );
    let part = folder.join("other.jsonl");
    let _ = well(&[
        "export",
        ROOMS[0],
        "--to",
        text(&part),
        "--data",
        other.data(),
    ])
    .ok();
    // An export that was interrupted does not go on with another history.
    let done = folder.join("one.jsonl");
    fs::rename(&part, folder.join("one.jsonl.part")).expect("it is there");
    let _ = well(&["export", ROOMS[0], "--to", text(&done), "--data", data]).ok();
    let one = fs::read(&done).expect("an export");
    let (records, _) = std::str::from_utf8(&one)
        .expect("JSON")
        .trim_end()
        .rsplit_once('\n')
        .expect("lines");
    assert!(String::from_utf8_lossy(&whole).contains(records));
    // Nor is a line that was changed.
    let mut changed = String::from_utf8(whole).expect("JSON");
    let place = changed.find("\"seq\":7,").expect("a seventh record");
    let place = place + changed[place..].find("\"payload\":\"").expect("a payload") + 30;
    changed.replace_range(
        place..place + 1,
        if &changed[place..place + 1] == "A" {
            "B"
        } else {
            "A"
        },
    );
    fs::write(&part, changed).expect("it is changed");
    let fresh = folder.join("fresh");
    let said = well(&["import", text(&part), "--data", text(&fresh)]).fails();
    assert!(said.contains("seq 7"), "{said}");
}

/// A repeated export is as new as the log is, whether the last one was whole or not.
#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_never_older_than_its_command() {
    let mut world = World::start("");
    for (client, room) in [(2, "doc/b"), (4, "doc/d")] {
        write(world.at(), room, client, 0..10, 50).await;
    }
    world.stop();
    let export = world.folder.path().join("backup.jsonl");
    let to = ["export", "--to", text(&export), "--data"];
    let _ = well(&[&to[..], &[world.data()]].concat()).ok();
    let old = fs::read(&export).expect("an export");
    world.server.start_again();
    for (client, room, from) in [(1, "doc/a", 0), (2, "doc/b", 10), (3, "doc/c", 0)] {
        write(world.at(), room, client, from..from + 5, 50).await;
    }
    world.stop();
    let now = well(&["export", "--to", "-", "--data", world.data()]).ok();
    // Over the whole one; over what an interruption left; and over one that lacked but its name.
    let line = |n: usize| {
        old.iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'\n')
            .nth(n)
    };
    let middle = line(14).expect("a line").0 + 1;
    for left in [None, Some(&old[..middle]), Some(&old[..])] {
        if let Some(left) = left {
            fs::write(world.folder.path().join("backup.jsonl.part"), left).expect("a file");
        }
        let ran = well(&[&to[..], &[world.data()]].concat());
        assert!(ran.stderr.contains("exported 4 rooms, 35 records"), "{ran}");
        assert_eq!(ran.ok(), "");
        assert_eq!(fs::read(&export).expect("an export"), now.as_bytes());
    }
}

/// Retention and trimming leave rooms that begin in the middle: they stay readable wherever they go.
#[tokio::test(flavor = "multi_thread")]
async fn a_room_whose_first_records_are_gone_goes_with_its_snapshot() {
    let mut world = World::start("[archive]\nkeep_local = \"0s\"\n[spaces.doc]\nretention = 20\n");
    let room = "doc/retained";
    // The first has a time of its own.
    write(world.at(), room, 1, 0..1, 10_000).await;
    write(world.at(), room, 1, 1..40, 10_000).await;
    // A room that ends leaves a snapshot, and that is where it will be cut.
    world.stop();
    world.server.start_again();
    write(world.at(), room, 1, 40..70, 10_000).await;
    let first = get(world.at(), room, "records?limit=1").await.json();
    let first = first["at"].as_str().expect("a time").to_owned();
    write(world.at(), "doc/short", 2, 0..3, 10).await;
    world.stop();
    world.server.start_again();
    let start = until(PATIENCE, "retention and trimming have been", || async {
        let timeline = get(world.at(), room, "timeline").await.json();
        timeline["start"].as_u64().filter(|start| *start > 0)
    })
    .await;
    // What is gone is said to be gone, by time as by Seq, and nothing is done with another moment.
    for query in [
        "state?seq=1",
        &format!("state?at={first}"),
        &format!("diff?from={first}"),
        "records?from=1",
        "records?from=1&to=10",
        &format!("timeline?to={first}"),
        "timeline?from=1",
    ] {
        let answer = get(world.at(), room, query).await;
        assert_eq!(answer.status, 410, "{query}: {}", answer.head);
        assert_eq!(answer.json()["code"], "trimmed");
    }
    for what in ["restore", "fork"] {
        let to = format!("/api/v1/rooms/{}/{what}", path(room));
        let body = format!("{{\"at\":\"{first}\"}}");
        let answer = request(world.at(), "POST", &to, "", &body).await;
        assert!(
            answer.as_ref().is_ok_and(|said| said.contains("410")),
            "{what}: {answer:?}"
        );
    }
    let empty = get(world.at(), room, "state?at=0").await;
    assert_eq!(
        (empty.status, empty.body),
        (200, vec![0, 0]),
        "nothing had happened yet"
    );
    let records = get(world.at(), room, "records").await.body;
    assert_eq!(
        String::from_utf8_lossy(&records).lines().count() as u64,
        70 - start
    );
    world.stop();
    let (data, archive) = (world.data(), world.archive());
    let document = well(&["state", room, "--data", data]).ok();
    let folder = world.folder.path();
    let holds = |data: &Path| {
        let said = well(&["verify", "--data", text(data)]).ok();
        assert!(said.contains("all holds: 2 rooms"), "{said}");
        assert_eq!(well(&["state", room, "--data", text(data)]).ok(), document);
    };

    let restored = folder.join("restored");
    let _ = well(&["restore", "--archive", &archive, "--data", text(&restored)]).ok();
    holds(&restored);
    // A server on what was restored fills an archive of its own, from which it all comes back.
    let mut heir = Server::new("sled");
    copy(&restored, heir.folder());
    let own = url(&folder.join("an archive of its own"));
    heir.set_arguments(["--archive", &own]);
    heir.start_again();
    assert!(heir.stop().success(), "{}", heir.stderr());
    let _ = well(&["archive", "verify", "--archive", &own]).ok();
    let twice = folder.join("restored twice");
    let _ = well(&["restore", "--archive", &own, "--data", text(&twice)]).ok();
    holds(&twice);

    let export = folder.join("all.jsonl");
    let ran = well(&["export", "--to", text(&export), "--archive", &archive]);
    let gone = format!("the records of {room} up to seq {start} are not here");
    assert!(ran.stderr.contains(&gone), "{ran}");
    let _ = ran.ok();
    let whole = fs::read_to_string(&export).expect("an export");
    assert_eq!(whole.matches("\n{\"snapshot\":{\"seq\":").count(), 1);
    let imported = folder.join("imported");
    let _ = well(&["import", text(&export), "--data", text(&imported)]).ok();
    holds(&imported);
    let again = well(&["export", "--to", "-", "--data", text(&imported)]).ok();
    assert!(again == whole, "what is imported is what was exported");
    let changed = whole.replace("\"content\":\"A", "\"content\":\"B");
    fs::write(folder.join("changed.jsonl"), changed).expect("a file");
    let (from, into) = (folder.join("changed.jsonl"), folder.join("changed"));
    let said = well(&["import", text(&from), "--data", text(&into)]).fails();
    assert!(said.contains("hash"), "{said}");
    // An archive of its own, of a log that was trimmed and of one that begins in the middle.
    for (name, data, archive) in [
        ("of both", data, Some(&archive)),
        ("of a restored log", text(&restored), None),
    ] {
        let native = folder.join(name);
        let mut to = vec!["export", "--format", "archive", "--to", text(&native)];
        to.extend(["--data", data]);
        to.extend(
            archive
                .into_iter()
                .flat_map(|archive| ["--archive", archive]),
        );
        let _ = well(&to).ok();
        let _ = well(&["archive", "verify", "--archive", &url(&native)]).ok();
        let back = folder.join(format!("{name}, back"));
        let _ = well(&["import", &url(&native), "--data", text(&back)]).ok();
        holds(&back);
    }
    // Without the snapshot the room is dead; that is seen, and the others are not held up.
    fs::remove_dir_all(restored.join("snapshots")).expect("snapshots");
    let said = well(&["verify", "--data", text(&restored)]).fails();
    assert!(
        said.contains(room) && said.contains("no snapshot"),
        "{said}"
    );
    let rest = folder.join("rest.jsonl");
    let to = ["export", "--to", text(&rest), "--data", text(&restored)];
    let said = well(&to).fails();
    assert!(
        said.contains(room) && said.contains("1 room could not"),
        "{said}"
    );
    let rest = fs::read_to_string(&rest).expect("an export");
    assert!(rest.starts_with("{\"room\":\"doc/short\""), "{rest}");
    assert!(
        rest.ends_with("{\"end\":{\"rooms\":1,\"records\":3}}\n"),
        "{rest}"
    );
    // A log that was trimmed says so.
    let ran = well(&["log", room, "--data", data]);
    assert!(ran.stderr.contains("are not here"), "{ran}");
}

/// On Linux, which alone lets a thread give way.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_archives_gives_way_to_what_serves() {
    let mut world = World::start("");
    write(world.at(), ROOMS[0], 1, 0..5, 10).await;
    let threads = world.server.threads();
    let nice_of = |name: &str| {
        let mut named = threads.iter().filter(|(of, _)| of == name);
        let nice = named.next().expect("a thread of that name").1;
        assert!(named.all(|(_, other)| *other == nice), "{threads:?}");
        nice
    };
    let serving = nice_of("tokio-rt-worker");
    assert_eq!(nice_of("background"), (serving + 10).min(19), "{threads:?}");
    world.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_disk_comes_back_from_the_archive() {
    let mut world = World::start("");
    for (client, room) in (1..).zip(ROOMS) {
        write(world.at(), room, client, 0..40, 300).await;
    }
    write(world.at(), "doc/deleted", 7, 0..5, 10).await;
    let gone = http::request(world.at(), "DELETE", "/api/v1/rooms/doc/deleted").await;
    assert_eq!(gone.expect("an answer").status, 204);
    // A clean stop archives what there is.
    world.stop();
    world.verify();
    let (data, archive) = (world.data().to_owned(), world.archive());
    let _ = well(&["archive", "verify", "--archive", &archive]).ok();
    let logs: Vec<String> = ROOMS.iter().map(|room| log(&data, room)).collect();
    for (room, log) in ROOMS.iter().zip(&logs) {
        assert_eq!(archived(&archive, room), *log, "{room}: nothing is missing");
    }

    for entry in fs::read_dir(&data).expect("a folder").flatten() {
        let gone = match entry.file_type().expect("a type").is_dir() {
            true => fs::remove_dir_all(entry.path()),
            false => fs::remove_file(entry.path()),
        };
        gone.expect("the disk is lost");
    }
    let said = well(&["restore", "--archive", &archive, "--data", &data]).ok();
    assert!(said.contains("restored 3 rooms and 120 records"), "{said}");
    for (room, log_before) in ROOMS.iter().zip(&logs) {
        let last: Value =
            serde_json::from_str(log_before.lines().last().expect("a record")).expect("a line");
        let line = said
            .lines()
            .find(|line| line.starts_with(&format!("{room}\t")));
        let line = line.unwrap_or_else(|| panic!("{room} is not named in {said}"));
        for part in [
            "seq 40",
            last["chain"].as_str().expect("a chain"),
            last["at"].as_str().expect("a time"),
        ] {
            assert!(line.contains(part), "{line}");
        }
        assert_eq!(log(&data, room), *log_before, "{room}");
    }
    world.verify();
    // One that is interrupted leaves this behind: a room may lack its end, whose Seqs must not be given again.
    let unfinished = Path::new(&data).join("restoring");
    assert!(!unfinished.exists());
    fs::write(&unfinished, &archive).expect("a file");
    assert!(world.server.try_start().is_err());
    let said = world.server.stderr();
    assert!(said.contains("finish it with `well restore"), "{said}");
    let _ = well(&["restore", "--archive", &archive, "--data", &data]).ok();
    assert!(!unfinished.exists());
    // It serves, and goes on.
    world.server.start_again();
    for (client, room) in (1..).zip(ROOMS) {
        assert_eq!(keys_at(world.at(), room, "").await, keys(client, 40));
        assert_eq!(keys_at(world.at(), room, "seq=7").await, keys(client, 7));
        write(world.at(), room, client, 40..50, 300).await;
    }
    assert_eq!(get(world.at(), "doc/deleted", "state").await.status, 404);
    world.stop();
    world.verify();
    for (room, before) in ROOMS.iter().zip(&logs) {
        let now = archived(&archive, room);
        assert!(
            now.starts_with(before) && now.lines().count() == 50,
            "{room}"
        );
    }
    // Run again it has nothing to do or refuses; it never writes over what is there.
    let before = log(&data, ROOMS[0]);
    let again = well(&["restore", "--archive", &archive, "--data", &data]);
    assert!(matches!(again.code, Some(0 | 1)), "{again}");
    assert_eq!(log(&data, ROOMS[0]), before);
    let mut other = World::start("");
    write(other.at(), "doc/else", 1, 0..2, 10).await;
    other.stop();
    let said = well(&["restore", "--archive", &archive, "--data", other.data()]).fails();
    assert!(said.contains("doc/else"), "{said}");
    other.server.start_again();
    assert_eq!(keys_at(other.at(), "doc/else", "").await, keys(1, 2));
    other.stop();
    let empty = url(&world.folder.path().join("empty"));
    let said = well(&["restore", "--archive", &empty, "--data", &data]).fails();
    assert!(said.contains("no such folder"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_leaves_log_and_archive_whole() {
    const BYTES: usize = 50_000;
    let mut random = StdRng::seed_from_u64(seed());
    let mut world = World::start("");
    let mut acked: BTreeMap<String, u64> = BTreeMap::new();
    for round in 0..setting("PAST_CRASHES", 2) {
        let mut writers = tokio::task::JoinSet::new();
        for nth in 0..4_u64 {
            let (server, room) = (world.at(), format!("doc/crash {nth}"));
            let client = 100 * round + nth + 1;
            writers.spawn(async move {
                let mut acked = 0;
                let writing = async {
                    let path = format!("/yjs/{}", path(&room));
                    let mut socket = Socket::connect(server, &path).await?;
                    loop {
                        let update = wire::update(client, acked, BYTES);
                        socket.send(&wire::update_message(&update)).await?;
                        socket.settle(acked + 1).await?;
                        acked += 1;
                    }
                };
                let end: std::io::Result<()> = writing.await;
                drop(end);
                (room, client, acked)
            });
        }
        // Past 16 MiB it archives; the end comes somewhere around that.
        let already: u64 = acked.values().map(|count| count * BYTES as u64).sum();
        let enough = already + random.random_range(1 << 20..24 << 20);
        until(PATIENCE, "enough is written", || async {
            let mut sum = 0;
            for nth in 0..4 {
                let room = format!("doc/crash {nth}");
                let answer = get(world.at(), &room, "timeline?buckets=1").await;
                sum += answer.json()["bytes"].as_u64().unwrap_or(0);
            }
            (sum >= enough).then_some(())
        })
        .await;
        world.server.kill();
        for (room, client, count) in writers.join_all().await {
            acked.insert(format!("{room}\t{client}"), count);
        }
        let said = world.verify();
        eprintln!("round {round}: {}", said.replace('\n', " · "));
        for nth in 0..4 {
            let room = format!("doc/crash {nth}");
            let log = log(world.data(), &room);
            let there = well(&["log", &room, "--archive", &world.archive()]);
            if there.code == Some(0) {
                let there = there.ok();
                assert!(
                    log.starts_with(&there),
                    "{room}: the archive is a prefix of the log"
                );
            }
        }
        world.server.start_again();
        for (place, count) in &acked {
            let (room, client) = place.split_once('\t').expect("both");
            let client = client.parse().expect("a number");
            let lost: Vec<String> = keys(client, *count)
                .difference(&keys_at(world.at(), room, "").await)
                .cloned()
                .collect();
            assert!(lost.is_empty(), "{room}: {lost:?} were acked");
        }
    }
    world.stop();
    world.verify();
    for nth in 0..4 {
        let room = format!("doc/crash {nth}");
        assert!(
            archived(&world.archive(), &room) == log(world.data(), &room),
            "{room}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_is_found_or_does_no_harm() {
    let cases = setting("PAST_FLIPS", 24);
    let mut world = World::start("[spaces.blob]\nkind = \"opaque\"\n");
    write(world.at(), "doc/large", 1, 0..30, 20_000).await;
    write(world.at(), "doc/small", 2, 0..10, 50).await;
    let secrets = world.folder.path().join("secrets");
    let line = |n: usize| format!("{n} {}\n", "secret".repeat(3_000));
    fs::write(&secrets, (0..30).map(line).collect::<String>()).expect("a file");
    let server = format!("ws://{}/well", world.at());
    let send = ["send", "blob/secret", "--server", &server];
    let _ = well_with_input(&send, &secrets).ok();
    world.stop();
    let said = world.verify();
    // Of both kinds of document, beside the log and in the archive.
    for read in [
        "0 records and 2 snapshots read",
        "70 records and 2 snapshots read",
    ] {
        assert!(said.contains(read), "{said}");
    }
    let rooms = ["doc/large", "doc/small", "blob/secret"];
    let logs = rooms.map(|room| log(world.data(), room));
    let states = rooms.map(|room| well(&["state", room, "--data", world.data()]).ok());
    let mut random = StdRng::seed_from_u64(seed());
    let (mut found, mut harmless) = (0, 0);
    for case in 0..cases {
        let damaged = TempDir::with_prefix("well-flipped-").expect("a temporary folder");
        let (data, archive) = (damaged.path().join("data"), damaged.path().join("archive"));
        copy(world.server.folder(), &data);
        copy(&world.folder.path().join("archive"), &archive);
        // Each kind of file has its turn.
        let here = match case % 4 {
            0 => files(&data.join("sled")),
            1 => files(&data.join("snapshots")),
            2 => files(&archive.join("segments")),
            _ => files(&archive.join("manifests")),
        };
        let here: Vec<&PathBuf> = here
            .iter()
            .filter(|file| file.metadata().is_ok_and(|file| file.len() > 0))
            .collect();
        let file = here[random.random_range(0..here.len())];
        let mut bytes = fs::read(file).expect("a file");
        let used = bytes
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(1, |last| last + 1);
        let place = random.random_range(0..used);
        bytes[place] ^= 1 << random.random_range(0..8);
        fs::write(file, bytes).expect("it can be damaged");
        let name = file.strip_prefix(damaged.path()).expect("it is in there");
        let what = format!("byte {place} of {used} in {}", name.display());
        let ran = well(&["verify", "--data", text(&data), "--archive", &url(&archive)]);
        if ran.code == Some(0) {
            for ((room, log_before), state) in rooms.iter().zip(&logs).zip(&states) {
                assert!(
                    log(text(&data), room) == *log_before,
                    "{what}: {room} is not the same\n{ran}"
                );
                assert!(
                    archived(&url(&archive), room) == *log_before,
                    "{what}: {room} is not the same in the archive\n{ran}"
                );
                assert_eq!(
                    well(&["state", room, "--data", text(&data)]).ok(),
                    *state,
                    "{what}"
                );
            }
            eprintln!("{what}: harmless");
            harmless += 1;
        } else {
            let said = ran.fails();
            eprintln!("{what}: {}", said.lines().next().unwrap_or_default());
            found += 1;
        }
    }
    eprintln!("of {cases} flipped bits {found} were found and {harmless} harmless");
    assert!(found > 0 || cases < 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_archive_of_another_server_is_left_alone() {
    let mut first = World::start("");
    write(first.at(), "doc/same", 1, 0..40, 20_000).await;
    write(first.at(), "doc/first", 1, 0..3, 10).await;
    first.stop();
    let before: Vec<(PathBuf, Vec<u8>)> = files(&first.folder.path().join("archive"))
        .into_iter()
        .map(|file| (file.clone(), fs::read(file).expect("a file")))
        .collect();

    let mut second = Server::new("sled");
    second.start_again();
    write(second.address(), "doc/same", 2, 0..60, 15_000).await;
    write(second.address(), "doc/second", 2, 0..3, 10).await;
    assert!(second.stop().success(), "{}", second.stderr());
    // Without its own snapshots it has only its log to go by.
    fs::remove_dir_all(second.folder().join("snapshots")).expect("it kept some");
    second.set_arguments(["--archive", &first.archive()]);
    second.start_again();
    let state = until(PATIENCE, "it has seen what the archive is", || async {
        let ready = ready(second.address()).await;
        let archive = &ready["archive"];
        (archive["ok"] == false).then(|| archive["state"].as_str().unwrap_or_default().to_owned())
    })
    .await;
    assert!(
        state.contains("not the one of this log") && state.contains("doc/"),
        "{state}"
    );
    // It serves what is its own, and only that.
    let server = second.address();
    assert_eq!(keys_at(server, "doc/same", "").await, keys(2, 60));
    for seq in [1, 30, 45, 59] {
        let moment = format!("seq={seq}");
        assert_eq!(
            keys_at(server, "doc/same", &moment).await,
            keys(2, seq),
            "{moment}"
        );
    }
    assert_eq!(get(server, "doc/first", "state").await.status, 404);
    let mut socket = Socket::connect(server, "/yjs/doc/same")
        .await
        .expect("a client");
    assert_eq!(
        wire::keys([&*socket.sync().await.expect("the document")]),
        keys(2, 60)
    );
    drop(socket);
    let timeline = get(server, "doc/same", "timeline").await.json();
    assert_eq!(timeline["records"], 60, "{timeline}");
    write(server, "doc/same", 2, 60..70, 10).await;
    assert_eq!(keys_at(server, "doc/same", "").await, keys(2, 70));
    assert!(second.stop().success(), "{}", second.stderr());
    for (file, bytes) in &before {
        assert!(
            fs::read(file).ok().as_ref() == Some(bytes),
            "{} was touched",
            file.display()
        );
    }
    assert_eq!(
        files(&first.folder.path().join("archive")).len(),
        before.len()
    );
    first.verify();
    let said = well(&[
        "verify",
        "--data",
        text(second.folder()),
        "--archive",
        &first.archive(),
    ]);
    let said = said.fails();
    assert!(said.contains("doc/same"), "log and archive differ: {said}");
    let unknown = "doc/first: the archive has it up to seq 3, and the log does not know it";
    assert!(said.contains(unknown), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_archive_is_restored_as_far_as_it_is_whole() {
    let mut world = World::start("");
    // A segment for each clean stop.
    for (room, client, from, to) in [
        ("doc/a", 1, 0, 10),
        ("doc/a", 1, 10, 20),
        ("doc/b", 2, 0, 10),
    ] {
        write(world.at(), room, client, from..to, 300).await;
        world.stop();
        world.server.start_again();
    }
    world.stop();
    let (data, archive) = (world.data().to_owned(), world.archive());
    let whole = log(&data, "doc/a");
    let mut segments = files(&world.folder.path().join("archive/segments"));
    segments.sort();
    let damaged = &segments[1];
    let good = fs::read(damaged).expect("a segment");
    let mut bad = good.clone();
    bad[60] ^= 1;
    fs::write(damaged, &bad).expect("a segment");

    let mut server = Server::new("sled");
    let new = server.folder().to_owned();
    let new = text(&new);
    let restore = ["restore", "--archive", &archive, "--data", new];
    let name = damaged
        .file_name()
        .and_then(|name| name.to_str())
        .expect("a name");
    let said = well(&restore).fails();
    for part in [
        "doc/a: seq 11 to 20 are missing",
        "at seq 11",
        name,
        "restored 2 rooms and 20 records",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(
        said.contains("1 part of the archive") && said.contains("--partial"),
        "{said}"
    );
    assert!(server.try_start().is_err());
    assert!(
        server.stderr().contains("found damage"),
        "{}",
        server.stderr()
    );
    // Put back, it goes on from there.
    fs::write(damaged, &good).expect("a segment");
    let said = well(&restore).ok();
    assert!(said.contains("restored 2 rooms and 10 records"), "{said}");
    assert_eq!(log(new, "doc/a"), whole);

    fs::write(damaged, &bad).expect("a segment");
    let mut server = Server::new("sled");
    let new = server.folder().to_owned();
    let new = text(&new);
    let restore = ["restore", "--archive", &archive, "--data", new, "--partial"];
    let said = well(&restore).fails();
    for part in ["doc/a: seq 11 to 20 are missing", "another, empty prefix"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(log(new, "doc/a").lines().count(), 10);
    server.start_again();
    assert_eq!(keys_at(server.address(), "doc/a", "").await, keys(1, 10));
    assert_eq!(keys_at(server.address(), "doc/b", "").await, keys(2, 10));
    assert!(server.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trimmed_log_whose_bucket_is_lost_begins_a_new_archive_when_it_is_told_to() {
    const CONFIGURATION: &str = "[archive]\nkeep_local = \"0s\"\n";
    let mut world = World::start(CONFIGURATION);
    let (room, other) = ("doc/trimmed", "doc/whole");
    write(world.at(), room, 1, 0..60, 10_000).await;
    write(world.at(), other, 2, 0..3, 10).await;
    world.stop();
    // The log alone, which begins where it was trimmed.
    let data = world.data().to_owned();
    let kept = || {
        let ran = well(&["log", room, "--data", &data, "--archive", "", "--from", "1"]);
        String::from_utf8_lossy(&ran.stdout).lines().count()
    };
    world.server.start_again();
    world.stop();
    let left = kept();
    assert!(left < 60, "it was trimmed: {left}");

    let archive = world.folder.path().join("archive");
    fs::remove_dir_all(&archive).expect("the bucket is lost");
    world.server.start_again();
    let state = until(
        PATIENCE,
        "it has seen that the archive is empty",
        || async {
            let ready = ready(world.at()).await;
            let archive = &ready["archive"];
            (archive["ok"] == false)
                .then(|| archive["state"].as_str().unwrap_or_default().to_owned())
        },
    )
    .await;
    for part in [room, "lost for good", "well export --format archive"] {
        assert!(state.contains(part), "{part}: {state}");
    }
    assert_eq!(keys_at(world.at(), room, "").await, keys(1, 60));
    world.stop();
    assert_eq!(files(&archive), Vec::<PathBuf>::new(), "not by itself");
    assert_eq!(kept(), left, "and nothing more is trimmed");

    // As it says.
    let new = url(&world.folder.path().join("new"));
    let export = ["export", "--format", "archive", "--data", &data];
    let _ = well(&[&export[..], &["--archive", "", "--to", &new]].concat()).ok();
    let config = world.folder.path().join("well.toml");
    let arguments = ["--config", text(&config), "--archive", &new];
    world.server.set_arguments(arguments);
    world.server.start_again();
    write(world.at(), room, 1, 60..65, 10_000).await;
    let ready = ready(world.at()).await;
    assert_eq!(ready["archive"]["ok"], true, "{ready}");
    let first = 60 - left as u64;
    for (moment, end) in [("", 65), ("seq=60", 60), (&format!("seq={first}"), first)] {
        let shown = keys_at(world.at(), room, moment).await;
        assert_eq!(shown, keys(1, end), "{moment}");
    }
    world.stop();
    verify(&data, &new);
    // A disk that is lost now comes back from it.
    let back = world.folder.path().join("back");
    let said = well(&["restore", "--archive", &new, "--data", text(&back)]).ok();
    assert!(said.contains("restored 2 rooms"), "{said}");
    for room in [room, other] {
        let state = |data: &str| well(&["state", room, "--data", data]).ok();
        assert_eq!(state(text(&back)), state(&data), "{room}");
    }
    verify(text(&back), &new);
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_find_rooms_where_the_configuration_says() {
    let mut world = World::start("");
    write(world.at(), "doc/a", 1, 0..10, 300).await;
    let put = http::send(
        world.at(),
        "PUT",
        "/api/v1/rooms/text/notes/text",
        &[("content-type", "text/plain")],
        "hello",
    )
    .await;
    assert_eq!(put.expect("an answer").status, 200);
    world.stop();
    let file = world.folder.path().join("well.toml");
    let told = format!(
        "data = {:?}\n[archive]\nurl = {:?}\n",
        world.data(),
        world.archive()
    );
    fs::write(&file, told).expect("a configuration");
    let file = text(&file);
    let said = well(&["verify", "--config", file]).ok();
    assert!(said.contains("all holds: 2 rooms"), "{said}");
    assert!(said.contains("archive: "), "{said}");
    let said = well(&["archive", "verify", "--config", file]).ok();
    assert!(said.contains("2 rooms"), "{said}");
    let lines = well(&["log", "doc/a", "--config", file]).ok();
    assert_eq!(lines, log(world.data(), "doc/a"));
    let ran = well(&["state", "doc/a", "--seq", "0", "--config", file]);
    assert!(ran.stderr.contains("before its first record"), "{ran}");
    let new = world.folder.path().join("new");
    let said = well(&["restore", "--config", file, "--data", text(&new)]).ok();
    assert!(said.contains("restored 2 rooms"), "{said}");

    // Of all rooms those are exported that can be; one that cannot be is refused by its name.
    let to = world.folder.path().join("documents");
    let export = |rooms: &str| {
        let arguments = [
            "export",
            rooms,
            "--format",
            "yjs",
            "--to",
            text(&to),
            "--config",
            file,
        ];
        well(&arguments)
    };
    let ran = export("*");
    assert_eq!(ran.code, Some(0), "{ran}");
    for part in ["exported 1 room,", "left out 1 room", "text/notes"] {
        assert!(ran.stderr.contains(part), "{ran}");
    }
    assert_eq!(files(&to).len(), 1);
    let why = export("text/notes").fails();
    assert!(why.contains("text/notes holds no Yjs document"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_are_in_neither_log_nor_archive_are_found() {
    let mut world = World::start("[archive]\nkeep_local = \"0s\"\n");
    let room = "doc/parted";
    write(world.at(), room, 1, 0..10, 1_000).await;
    // A clean stop archives what there is.
    world.stop();
    let old = world.folder.path().join("old");
    copy(&world.folder.path().join("archive"), &old);
    world.server.start_again();
    write(world.at(), room, 1, 10..70, 10_000).await;
    world.stop();
    world.server.start_again();
    until(
        PATIENCE,
        "the log is trimmed past the old archive",
        || async {
            let answer = http::get(world.at(), &format!("/api/v1/rooms/{}", path(room))).await;
            let records = answer.expect("an answer").json()["records"].as_u64();
            records.filter(|records| *records < 60)
        },
    )
    .await;
    world.stop();
    world.verify();
    let arguments = ["verify", "--data", world.data(), "--archive", &url(&old)];
    let said = well(&arguments).fails();
    assert!(
        said.contains("the archive has it up to seq 10 only: the records between are in neither"),
        "{said}"
    );

    let empty = world.folder.path().join("empty");
    fs::create_dir(&empty).expect("a folder");
    let said = well(&["verify", "--data", text(&empty)]).fails();
    assert!(said.contains("holds no log"), "{said}");
    assert!(files(&empty).is_empty(), "something was made in it");
}

/// A store that is not there yet: nobody listens on its port.
struct Away {
    port: u16,
    process: Option<Child>,
}

impl Away {
    fn new() -> Self {
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = nobody.local_addr().expect("its number").port();
        Self {
            port,
            process: None,
        }
    }

    /// What says where it is.
    fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ENDPOINT", format!("http://127.0.0.1:{}", self.port)),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "nobody".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "nothing".to_owned()),
        ]
    }

    /// A real S3 server comes up there, with a bucket.
    async fn comes(&mut self, bucket: &str) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let installed = Command::new("bash")
            .args(["deploy/tools.sh", "moto"])
            .current_dir(root)
            .stderr(Stdio::inherit())
            .output()
            .expect("bash");
        assert!(installed.status.success(), "run `deploy/tools.sh moto`");
        let moto = String::from_utf8(installed.stdout).expect("a path");
        let process = Command::new(moto.trim())
            .args(["-H", "127.0.0.1", "-p", &self.port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.process = Some(process.expect("the S3 server starts"));
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        let signed = "authorization: AWS4-HMAC-SHA256 \
                      Credential=nobody/20260101/us-east-1/s3/aws4_request, \
                      SignedHeaders=host, Signature=0\r\n";
        until(PATIENCE, "the bucket is there", || async {
            let made = request(address, "PUT", &format!("/{bucket}"), signed, "").await;
            made.ok().filter(|status| status.contains("200"))
        })
        .await;
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_holds_nothing_up_and_is_filled_when_it_comes() {
    let mut store = Away::new();
    let archive = "s3://history/of/rooms";
    let mut server = Server::new("sled");
    server.set_arguments(["--archive", archive]);
    for (name, value) in store.variables() {
        server.set_variable(name, value);
    }
    let took = server.start_again();
    assert!(took < Duration::from_secs(5), "it listened after {took:?}");
    write(server.address(), "doc/room", 1, 0..20, 100).await;
    let then = keys_at(server.address(), "doc/room", "seq=5").await;
    assert_eq!(then, keys(1, 5));
    let away = ready(server.address()).await;
    assert_eq!(away["archive"]["ok"], false, "{away}");
    let state = away["archive"]["state"].as_str().unwrap_or_default();
    let says = ["not been reached", "failed to"];
    assert!(says.iter().all(|part| state.contains(part)), "{away}");
    assert!(server.stop().success(), "{}", server.stderr());
    let said = server.stderr();
    assert!(said.contains("nothing has been archived"), "{said}");
    server.start_again();

    store.comes("history").await;
    until(PATIENCE, "it archives", || async {
        let ready = ready(server.address()).await;
        (ready["archive"]["ok"] == true).then_some(())
    })
    .await;
    assert!(server.stop().success(), "{}", server.stderr());
    let data = text(server.folder());
    let run = |arguments: &[&str]| {
        let mut command = command(arguments);
        let output = command.envs(store.variables()).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        said
    };
    let said = run(&["verify", "--data", data, "--archive", archive]);
    assert!(said.contains("all holds: 1 room, 20 records"), "{said}");
    let archived = run(&["log", "doc/room", "--archive", archive]);
    assert_eq!(archived, log(data, "doc/room"));
    // An export to the bucket is one object, and comes back from there.
    let export = "s3://history/exports/all.jsonl";
    run(&["export", "--to", export, "--data", data]);
    let folder = TempDir::with_prefix("well-past-").expect("a temporary folder");
    let into = folder.path().join("imported");
    run(&["import", export, "--data", text(&into)]);
    assert_eq!(log(text(&into), "doc/room"), log(data, "doc/room"));
    let mut wrong = command(&["archive", "verify", "--archive", "s3://history/elsewhere"]);
    let output = wrong.envs(store.variables()).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

/// A folder that cannot be made is an archive that cannot be reached.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_cannot_be_made_keeps_no_server_from_starting() {
    let folder = TempDir::with_prefix("well-past-").expect("a temporary folder");
    let file = folder.path().join("file");
    fs::write(&file, "in the way").expect("a file");
    let mut server = Server::new("sled");
    server.set_arguments(["--archive", &url(&file.join("archive"))]);
    server.start_again();
    write(server.address(), "doc/room", 1, 0..3, 10).await;
    let away = ready(server.address()).await;
    let state = away["archive"]["state"].as_str().unwrap_or_default();
    assert!(state.contains("make the folder"), "{away}");
    fs::remove_file(&file).expect("it is there");
    until(PATIENCE, "it archives", || async {
        let now = ready(server.address()).await;
        (now["archive"]["ok"] == true).then_some(())
    })
    .await;
    assert!(server.stop().success(), "{}", server.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_with_a_snapshot_is_loaded_over_it() {
    let mut world = World::start("");
    let room = "doc/long";
    write(world.at(), room, 1, 0..60, 10_000).await;
    // Snapshots are written along with much else, or at a stop.
    world.stop();
    world.server.start_again();
    let timeline = get(world.at(), room, "timeline").await.json();
    let marks = timeline["marks"].as_array().expect("marks");
    let mark = marks.iter().find(|mark| mark["kind"] == "snapshot");
    let mark = mark.unwrap_or_else(|| panic!("no snapshot in {timeline}"));
    let seq = mark["seq"].as_u64().expect("a Seq");
    assert!((20..=60).contains(&seq), "{mark}");
    world.stop();
    let said = world.verify();
    assert!(!said.contains("snapshots: 0 objects"), "{said}");
    world.server.start_again();
    let path = format!("/yjs/{}", path(room));
    let mut socket = Socket::connect(world.at(), &path).await.expect("a client");
    assert_eq!(
        wire::keys([&*socket.sync().await.expect("the document")]),
        keys(1, 60)
    );
    let said = world.server.stderr();
    let loaded = said
        .lines()
        .rfind(|line| line.contains("room loaded"))
        .expect("a line");
    let records = loaded
        .split("records=")
        .nth(1)
        .and_then(|rest| rest.split([' ', '\u{1b}']).next());
    let records: u64 = records
        .and_then(|n| n.parse().ok())
        .unwrap_or_else(|| panic!("{loaded}"));
    assert!(records < 60, "{records} records were folded");
    for seq in [1, seq - 1, seq, (seq + 1).min(60), 60] {
        assert_eq!(
            keys_at(world.at(), room, &format!("seq={seq}")).await,
            keys(1, seq)
        );
    }
    drop(socket);
    world.stop();
}

#[test]
fn damaged_snapshots_keep_no_server_from_starting() {
    let mut server = Server::start();
    assert!(server.stop().success());
    let manifests = server.folder().join("snapshots").join("manifests");
    let all = files(&manifests);
    assert!(!all.is_empty(), "the store of snapshots has a manifest");
    for manifest in all {
        fs::write(manifest, b"nonsense").expect("it can be written");
    }
    let data = text(server.folder()).to_owned();
    assert_ne!(well(&["verify", "--data", &data]).code, Some(0));
    server.start_again();
    assert!(server.stderr().contains("set aside"), "{}", server.stderr());
    assert!(server.stop().success());
    assert_eq!(well(&["verify", "--data", &data]).code, Some(0));
    assert!(server.folder().join("snapshots.damaged").is_dir());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trimmed_log_still_answers_for_all_of_it() {
    let mut world = World::start("[archive]\nkeep_local = \"0s\"\n");
    let room = "doc/trimmed";
    write(world.at(), room, 1, 0..10, 1_000).await;
    let restore = format!("/api/v1/rooms/{}/restore", path(room));
    let restored = request(world.at(), "POST", &restore, "", "{\"seq\":10}").await;
    let restored = restored.expect("an answer");
    assert!(restored.contains("200"), "{restored}");
    write(world.at(), room, 1, 10..70, 10_000).await;
    let all = get(world.at(), room, "records").await.body;
    let before = get(world.at(), room, "timeline").await.json();
    let at = format!("/yjs/{}", path(room));
    world.stop();
    world.verify();
    // What is archived is trimmed at the stop, or by the next start's first round.
    let kept = |data: &str| {
        let ran = well(&["log", room, "--data", data, "--from", "1"]);
        String::from_utf8_lossy(&ran.stdout).lines().count()
    };
    world.server.start_again();
    let shown = || async {
        let answer = http::get(world.at(), &format!("/api/v1/rooms/{}", path(room))).await;
        answer.expect("an answer").json()["records"].as_u64()
    };
    until(PATIENCE, "the log is trimmed", || async {
        shown().await.filter(|records| *records < 71)
    })
    .await;
    let documents = |seq: u64| keys(1, if seq <= 10 { seq } else { seq - 1 });
    for seq in 0..=71 {
        let moment = format!("seq={seq}");
        assert_eq!(
            keys_at(world.at(), room, &moment).await,
            documents(seq),
            "{moment}"
        );
    }
    for line in String::from_utf8_lossy(&all).lines() {
        let line: Value = serde_json::from_str(line).expect("a line");
        let moment = format!("at={}", line["at"].as_str().expect("a time"));
        let seq = line["seq"].as_u64().expect("a Seq");
        assert!(
            keys_at(world.at(), room, &moment)
                .await
                .is_superset(&documents(seq)),
            "{moment}"
        );
    }
    assert!(
        get(world.at(), room, "records").await.body == all,
        "every record is there"
    );
    let after = get(world.at(), room, "timeline").await.json();
    for field in [
        "records", "bytes", "authors", "start", "head", "from_at", "to_at",
    ] {
        assert_eq!(after[field], before[field], "{field}");
    }
    let events = |timeline: &Value| {
        let mut marks = timeline["marks"].as_array().expect("marks").clone();
        marks.retain(|mark| mark["kind"] != "snapshot");
        marks
    };
    assert_eq!(events(&before)[0]["kind"], "restored");
    assert_eq!(events(&after), events(&before));
    let mut socket = Socket::connect(world.at(), &format!("/yjs/{}", path(room)))
        .await
        .expect("a client");
    assert_eq!(
        wire::keys([&*socket.sync().await.expect("the document")]),
        keys(1, 70)
    );
    drop(socket);
    write(world.at(), room, 1, 70..75, 10).await;
    world.stop();
    assert!(kept(world.data()) < 76);
    world.verify();

    // While the archive is away, the room loads, what is here answers, and the rest is not gone.
    let config = world.folder.path().join("well.toml");
    let config = text(&config);
    let away = Away::new();
    let arguments = ["--config", config, "--archive", "s3://away/history"];
    world.server.set_arguments(arguments);
    for (name, value) in away.variables() {
        world.server.set_variable(name, value);
    }
    world.server.start_again();
    let mut socket = Socket::connect(world.at(), &at).await.expect("a client");
    let document = socket.sync().await.expect("the document");
    assert_eq!(wire::keys([&*document]), keys(1, 75));
    drop(socket);
    assert_eq!(keys_at(world.at(), room, "").await, keys(1, 75));
    write(world.at(), room, 1, 75..80, 10).await;
    assert_eq!(keys_at(world.at(), room, "seq=81").await, keys(1, 80));
    let early = get(world.at(), room, "state?seq=3").await;
    assert_eq!(early.status, 503, "{early:?}");
    assert_eq!(early.json()["code"], "archive_unreadable");
    let third = String::from_utf8_lossy(&all);
    let third: Value = serde_json::from_str(third.lines().nth(2).expect("a third")).expect("JSON");
    let third = third["at"].as_str().expect("a time");
    for query in [
        "records",
        "records?from=1",
        "records?from=3&limit=1",
        &format!("state?at={third}"),
        "timeline",
        &format!("timeline?to={third}"),
        "diff",
    ] {
        let answer = get(world.at(), room, query).await;
        assert_eq!(answer.status, 503, "{query}: {}", answer.head);
    }
    let body = format!("{{\"at\":\"{third}\"}}");
    let restored = request(world.at(), "POST", &restore, "", &body).await;
    assert!(
        restored.as_ref().is_ok_and(|said| said.contains("503")),
        "{restored:?}"
    );
    let late = get(world.at(), room, "records?from=80").await;
    assert_eq!(String::from_utf8_lossy(&late.body).lines().count(), 2);
    world.stop();
    let archive = world.archive();
    let arguments = ["--config", config, "--archive", &archive];
    world.server.set_arguments(arguments);
    world.server.start_again();
    assert_eq!(keys_at(world.at(), room, "seq=3").await, keys(1, 3));
    world.stop();
    world.verify();
}

/// A request with a body. Gives the status line.
async fn request(
    server: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> std::io::Result<String> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(server).await?;
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {server}\r\n{headers}connection: close\r\n\
         content-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(head.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}
