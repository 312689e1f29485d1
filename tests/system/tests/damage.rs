//! A log file that was damaged while nobody looked: it is refused with a word about where, or it is
//! repaired; nothing in it is ever taken for something else.
//!
//! `DAMAGE_CASES` damaged copies, 12 by default; `SEED` repeats them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use system_tests::server::Server;
use system_tests::socket::Socket;
use system_tests::wire;
use system_tests::{http, seed, setting};

const ROOMS: u64 = 4;
const UPDATES: u64 = 150;

#[tokio::test(flavor = "multi_thread")]
async fn bytes_from_disk_and_network_are_hostile_on_disk() {
    let cases = setting("DAMAGE_CASES", 12);
    let mut random = StdRng::seed_from_u64(seed());
    let mut written = Server::start();
    for room in 0..ROOMS {
        let path = format!("/yjs/doc/damage/{room}");
        let mut writer = Socket::connect(written.address(), &path)
            .await
            .expect("a writer");
        for clock in 0..UPDATES {
            let update = wire::update(room + 1, clock, 200);
            writer
                .send(&wire::update_message(&update))
                .await
                .expect("it is taken");
        }
        writer.settle(1).await.expect("it is acked");
    }
    written.kill();
    let all: BTreeSet<String> = (0..UPDATES)
        .flat_map(|clock| (1..=ROOMS).map(move |client| format!("{client}:{clock}")))
        .collect();

    let (mut refused, mut repaired) = (0, 0);
    let mut silent = Vec::new();
    for case in 0..cases {
        let mut server = Server::new("sled");
        copy(written.folder(), server.folder());
        let file = largest(server.folder());
        let mut bytes = fs::read(&file).expect("the log's file");
        let used = bytes
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1);
        let what = if case % 4 == 0 {
            let cut = random.random_range(0..used);
            bytes.truncate(cut);
            format!("cut at {cut} of {used}")
        } else {
            let places: Vec<usize> = (0..1 << random.random_range(0..6))
                .map(|_| random.random_range(0..used))
                .collect();
            for place in &places {
                bytes[*place] ^= 1 << random.random_range(0..8);
            }
            format!("bits flipped at {places:?} of {used}")
        };
        fs::write(&file, bytes).expect("it can be damaged");
        match server.try_start() {
            Err(status) => {
                let said = server.stderr();
                assert!(
                    status.code() == Some(1),
                    "{what}: it does not end in order: {status}\n{said}"
                );
                let why = said.lines().find(|line| line.starts_with("well: "));
                assert!(why.is_some(), "{what}: it does not say why:\n{said}");
                eprintln!("{what}: {}", why.unwrap_or_default());
                refused += 1;
            }
            Ok(_) => {
                let mut kept = 0;
                for room in 0..ROOMS {
                    let path = format!("/api/v1/rooms/doc/damage%2F{room}/snapshot");
                    let answer = http::get(server.address(), &path).await.expect("an answer");
                    match answer.status {
                        200 => {
                            let keys = wire::keys([&*answer.body]);
                            assert!(keys.is_subset(&all), "{what}: something was made up");
                            kept += keys.len();
                        }
                        // Gone with the tail, or known to be damaged.
                        404 | 500 | 503 => {
                            assert!(
                                answer.head.contains("application/problem+json"),
                                "{answer:?}"
                            );
                        }
                        _ => panic!("{what}: {answer:?}"),
                    }
                }
                assert!(server.is_running(), "{what}: it lives\n{}", server.stderr());
                eprintln!("{what}: open, with {kept} of {} updates", all.len());
                // A torn tail is cut off and said so; damage inside is refused. Records that were
                // acked do not vanish without a word.
                let said = server.stderr();
                let warned = said
                    .lines()
                    .any(|line| line.contains("WARN") || line.contains("ERROR"));
                if kept < all.len() && !warned {
                    silent.push(format!("{what}: {kept} of {} updates are left", all.len()));
                }
                repaired += 1;
            }
        }
    }
    eprintln!("of {cases} damaged logs {refused} were refused and {repaired} opened");
    assert!(
        silent.is_empty(),
        "opened without a word about what is lost: {silent:#?}"
    );
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            fs::create_dir_all(&target).expect("a folder");
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

/// The file that holds the records.
fn largest(folder: &Path) -> PathBuf {
    let mut found = Vec::new();
    let mut todo = vec![folder.to_owned()];
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => todo.push(entry.path()),
                Ok(metadata) => found.push((metadata.len(), entry.path())),
                Err(_) => {}
            }
        }
    }
    found.into_iter().max().expect("a log has files").1
}
