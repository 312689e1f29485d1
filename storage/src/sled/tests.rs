//! The conformance suite on sled, with a mover that is at work all the time.

use super::*;
use crate::Entry;
use crate::faults::{Faults, FaultyLog};
use crate::suite::{self, Opened, Store};
use std::sync::atomic::AtomicUsize;

struct Folders {
    root: tempfile::TempDir,
    made: AtomicUsize,
    options: SledOptions,
    faults: Faults,
}

struct Folder {
    path: PathBuf,
    options: SledOptions,
    faults: Faults,
    log: FaultyLog<SledLog>,
    seed: u64,
}

/// No faults at all.
const SOUND: Faults = Faults {
    not_written: 0,
    unknown_written: 0,
    unknown_lost: 0,
    slow: 0,
};

impl Folders {
    fn new(options: SledOptions, faults: Faults) -> Self {
        Self {
            faults,
            root: tempfile::tempdir().unwrap(),
            made: AtomicUsize::new(0),
            options,
        }
    }
}

impl Folder {
    fn open(path: PathBuf, options: SledOptions, faults: Faults, seed: u64) -> Box<dyn Opened> {
        let log = SledLog::open(&path, options.clone()).unwrap();
        let log = FaultyLog::new(log, faults, seed);
        Box::new(Self {
            path,
            options,
            faults,
            log,
            seed,
        })
    }
}

impl Store for Folders {
    fn create(&self) -> BoxFuture<'_, Box<dyn Opened>> {
        let nth = self.made.fetch_add(1, Ordering::SeqCst);
        let path = self.root.path().join(format!("log-{nth}"));
        let opened = Folder::open(path, self.options.clone(), self.faults, nth as u64 * 1000);
        future::ready(opened).boxed()
    }
}

impl Opened for Folder {
    fn log(&self) -> &dyn Log {
        &self.log
    }

    fn reopen(self: Box<Self>) -> BoxFuture<'static, Box<dyn Opened>> {
        async move {
            self.log.close().await;
            Self::open(self.path, self.options, self.faults, self.seed + 1)
        }
        .boxed()
    }
}

/// Moves at once, so that reads meet chunks, runs and the border between them.
fn eager() -> SledOptions {
    SledOptions {
        move_after: Duration::ZERO,
        cached_rooms: 2,
        ..SledOptions::default()
    }
}

/// Never moves, so that everything is replayed.
fn lazy() -> SledOptions {
    SledOptions {
        move_after: Duration::from_secs(3600),
        ..SledOptions::default()
    }
}

fn batch_of(room: &str, head: Head, payload: &[u8]) -> (Batch, Head) {
    let draft = protocol::Draft {
        author: protocol::Author {
            user: None,
            session: protocol::SessionId::new(1),
            site: None,
        },
        op_id: None,
        base: None,
        kind: protocol::Kind::Update,
        payload: payload.to_vec().into(),
    };
    let mut builder = protocol::record::RunBuilder::new(head);
    builder.push(Timestamp::from_micros(1), &draft);
    let run = builder.finish().unwrap();
    let head = run.after();
    let entries = vec![crate::Entry::Run(RoomName::parse(room).unwrap(), run)];
    (Batch { entries }, head)
}

/// A log of one room with so many records, each a commit of its own, closed again.
async fn written(path: &Path, options: SledOptions, records: usize) -> Vec<Head> {
    let log = SledLog::open(path, options).unwrap();
    let mut heads = vec![Head::EMPTY];
    for _ in 0..records {
        let (batch, head) = batch_of("doc/a", heads[heads.len() - 1], &[7; 90_000]);
        log.append(batch).await.unwrap();
        heads.push(head);
    }
    log.close().await;
    heads
}

/// The store below the log, to spoil it.
fn with_sled(path: &Path, spoil: impl FnOnce(&sled::Db)) {
    let options = SledOptions::default();
    let disk = open::open(path, &options).unwrap();
    spoil(&disk.db);
    disk.db.flush().unwrap();
}

/// Where the mover's mark says that bodies end, and where they do.
fn body_ends(db: &sled::Db) -> (u64, u64) {
    let mark = db.get(catalogue::Moved::KEY).unwrap();
    let mark = mark.map_or(0, |value| catalogue::Moved::open(&value).unwrap().body);
    let bodies = db.open_tree("bodies").unwrap();
    let written = bodies
        .iter()
        .map(Result::unwrap)
        .rfind(|(_, body)| !body.is_empty());
    let end = written.map_or(0, |(key, _)| {
        u64::from_be_bytes(*key.first_chunk().unwrap()) + 1
    });
    (mark, end)
}

fn entries(db: &sled::Db) -> Vec<(sled::Tree, sled::IVec, sled::IVec)> {
    let trees = writer::commit_trees(db)
        .into_iter()
        .map(|name| db.open_tree(name).unwrap());
    trees
        .flat_map(|tree| {
            let rows: Vec<_> = tree.iter().map(Result::unwrap).collect();
            rows.into_iter()
                .map(move |(key, value)| (tree.clone(), key, value))
        })
        .filter(|(_, _, value)| !value.is_empty())
        .collect()
}

async fn head_of(path: &Path) -> Result<Head, OpenError> {
    let log = SledLog::open(path, lazy())?;
    let state = log.state(&RoomName::parse("doc/a").unwrap()).await.unwrap();
    log.close().await;
    Ok(state.head)
}

#[tokio::test]
async fn a_torn_last_commit_is_cut_off_and_the_log_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let heads = written(folder.path(), lazy(), 3).await;
    // Each commit has two parts; the last one loses its second.
    with_sled(folder.path(), |db| {
        let (tree, key, _) = entries(db).pop().unwrap();
        tree.insert(key, &[]).unwrap();
    });
    // It had been acked, and the log says so, and touches nothing.
    for _ in 0..2 {
        let error = head_of(folder.path()).await.unwrap_err();
        assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains("after entry 4"), "{error}");
    }
    // Had it been torn before its ack, the mark would not have reached it.
    acked::Acked::open(folder.path()).unwrap().put(4).unwrap();
    assert_eq!(head_of(folder.path()).await.unwrap(), heads[2]);
    let log = SledLog::open(folder.path(), lazy()).unwrap();
    let (batch, head) = batch_of("doc/a", heads[2], &[8; 70_000]);
    log.append(batch).await.unwrap();
    log.close().await;
    assert_eq!(head_of(folder.path()).await.unwrap(), head);
}

#[tokio::test]
async fn damage_before_the_end_refuses_to_open_and_says_where() {
    for spoil in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        written(folder.path(), lazy(), 4).await;
        with_sled(folder.path(), |db| {
            let (tree, key, value) = entries(db).swap_remove(2);
            let mut value = value.to_vec();
            value[500] ^= 1;
            tree.insert(key, if spoil { value } else { Vec::new() })
                .unwrap();
        });
        let error = head_of(folder.path()).await.unwrap_err();
        assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
        assert!(
            error.to_string().contains("at entry 3 of its commits"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_damaged_chunk_is_named_and_the_records_before_it_are_read() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), eager(), 6).await;
    let room = RoomName::parse("doc/a").unwrap();
    // Bodies behind the mover's mark are looked at when the log opens. Let it set the mark after the last
    // one, whatever it left at closing.
    for _ in 0..100 {
        let log = SledLog::open(folder.path(), eager()).unwrap();
        while log.stats().unmoved_bytes > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        log.close().await;
        let mut ends = (0, 0);
        with_sled(folder.path(), |db| ends = body_ends(db));
        if ends.0 == ends.1 {
            break;
        }
    }
    let mut damaged = Seq::ZERO;
    with_sled(folder.path(), |db| {
        let bodies = db.open_tree("bodies").unwrap();
        let rows: Vec<_> = bodies
            .iter()
            .map(Result::unwrap)
            .filter(|(_, v)| !v.is_empty())
            .collect();
        let (key, value) = &rows[rows.len() - 1];
        damaged = chunk::Body::open(value).unwrap().last;
        let mut value = value.to_vec();
        let last = value.len() - 1;
        value[last] ^= 1;
        bodies.insert(key, value).unwrap();
    });
    let log = SledLog::open(folder.path(), lazy()).unwrap();
    let read = log.read(&room, damaged.previous(), 1 << 20).await;
    let expected = ReadError::Damaged {
        room: room.clone(),
        seq: damaged,
        damage: protocol::envelope::Damage::Checksum,
    };
    assert_eq!(read, Err(expected));
    assert_eq!(
        log.read(&room, Seq::ZERO, 1).await.unwrap()[0].last(),
        Seq::FIRST
    );
    log.close().await;
}

#[tokio::test]
async fn each_way_of_not_opening_says_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), lazy(), 1).await;
    let log = SledLog::open(folder.path(), lazy()).unwrap();
    let locked = SledLog::open(folder.path(), lazy()).unwrap_err();
    assert!(matches!(locked, OpenError::Locked { .. }), "{locked}");
    assert!(
        locked
            .to_string()
            .contains(&format!("process {}", std::process::id())),
        "{locked}"
    );
    log.close().await;

    let file = folder.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let not_a_folder = SledLog::open(&file.join("log"), lazy()).unwrap_err();
    assert!(
        not_a_folder.to_string().contains("could not create"),
        "{not_a_folder}"
    );

    std::fs::write(
        folder.path().join("sled").join("FORMAT"),
        "the-well sled log, format 9\n",
    )
    .unwrap();
    let version = SledLog::open(folder.path(), lazy()).unwrap_err();
    assert!(matches!(version, OpenError::Version { .. }), "{version}");
}

#[tokio::test]
async fn an_unfinished_snapshot_and_an_unfinished_store_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let half_made = folder.path().join("sled.new");
    std::fs::create_dir(&half_made).unwrap();
    std::fs::write(half_made.join("db"), "half").unwrap();
    let heads = written(folder.path(), lazy(), 1).await;
    let stale = folder
        .path()
        .join("sled")
        .join("snap.00000000000FFFFF.generating");
    std::fs::write(&stale, "torn").unwrap();
    assert_eq!(head_of(folder.path()).await.unwrap(), heads[1]);
    assert!(!half_made.exists() && !stale.exists());
}

#[tokio::test]
async fn a_full_disk_refuses_and_harms_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let heads = written(folder.path(), lazy(), 2).await;
    let full = SledOptions {
        min_free_bytes: u64::MAX / 2,
        ..lazy()
    };
    let log = SledLog::open(folder.path(), full).unwrap();
    let (batch, _) = batch_of("doc/a", heads[2], b"x");
    for _ in 0..2 {
        let refused = log.append(batch.clone()).await;
        assert!(matches!(&refused, Err(AppendError::NotWritten(why)) if why.contains("full")));
        let told = refused.unwrap_err().to_string();
        assert!(!told.contains(folder.path().to_str().unwrap()), "{told}");
    }
    let why = log.refuses_writes();
    assert!(why.is_some_and(|why| why.contains("full")));
    assert_eq!(log.poisoned(), None);
    log.close().await;
    assert_eq!(head_of(folder.path()).await.unwrap(), heads[2]);
}

#[tokio::test]
async fn a_full_disk_takes_what_gives_space_back() {
    let folder = tempfile::tempdir().unwrap();
    let heads = written(folder.path(), lazy(), 3).await;
    let full = SledOptions {
        min_free_bytes: u64::MAX / 2,
        ..lazy()
    };
    let log = SledLog::open(folder.path(), full).unwrap();
    let room = RoomName::parse("doc/a").unwrap();
    let trim = Entry::Trim(room.clone(), heads[1].seq);
    let delete = Entry::Delete(room.clone());
    for entry in [trim, delete] {
        let entries = vec![entry];
        log.append(Batch { entries }).await.unwrap();
    }
    assert!(log.state(&room).await.unwrap().deleted);
    let (batch, _) = batch_of("doc/a", heads[3], b"x");
    assert!(log.append(batch).await.is_err());
    log.close().await;
}

/// A tree of commits that was begun and stayed empty is dropped with the old ones; its successor,
/// which begins at the same entry, must not be.
#[tokio::test]
async fn what_follows_an_idle_restart_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let mut head = written(folder.path(), eager(), 1).await[1];
    for _ in 0..3 {
        for append in [false, true, false] {
            let log = SledLog::open(folder.path(), eager()).unwrap();
            while log.stats().unmoved_bytes > 0 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            if append {
                let (batch, next) = batch_of("doc/a", head, b"x");
                log.append(batch).await.unwrap();
                head = next;
            }
            log.close().await;
            assert_eq!(head_of(folder.path()).await.unwrap(), head);
        }
    }
}

/// What does not fit a message of sled's goes to files that sled never syncs: nothing may.
#[tokio::test]
async fn no_page_ever_lands_in_an_unsynced_blob() {
    let folder = tempfile::tempdir().unwrap();
    let options = SledOptions {
        move_at_bytes: 1 << 20,
        ..eager()
    };
    written(folder.path(), options, 80).await;
    let blobs = std::fs::read_dir(folder.path().join("sled").join("blobs")).unwrap();
    assert_eq!(blobs.count(), 0);
}

#[tokio::test]
async fn sled_keeps_the_contract_with_an_eager_mover() {
    suite::conformance(&Folders::new(eager(), SOUND)).await;
}

#[tokio::test]
async fn sled_keeps_the_contract_with_a_lazy_mover() {
    suite::conformance(&Folders::new(lazy(), SOUND)).await;
}

#[tokio::test]
async fn sled_keeps_the_contract_under_faults() {
    suite::conformance(&Folders::new(eager(), Faults::default())).await;
}

/// Once little is left sled moves nothing away from the end of its file by itself.
#[tokio::test]
async fn the_space_of_a_room_that_was_nearly_all_of_the_log_is_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let log = SledLog::open(folder.path(), SledOptions::default()).unwrap();
    let mut head = Head::EMPTY;
    let mut rng = suite::Rng::new(7);
    for _ in 0..120 {
        let noise = (0..1 << 17).flat_map(|_| rng.below(usize::MAX).to_le_bytes());
        let (batch, next) = batch_of("doc/a", head, &noise.collect::<Vec<u8>>());
        log.append(batch).await.unwrap();
        head = next;
    }
    let before = log.stats().disk_bytes;
    let entries = vec![Entry::Delete(RoomName::parse("doc/a").unwrap())];
    log.append(Batch { entries }).await.unwrap();
    let deleted = Instant::now();
    let mut after = before;
    while after > before / 2 && deleted.elapsed() < Duration::from_secs(90) {
        tokio::time::sleep(Duration::from_millis(100)).await;
        after = log.stats().disk_bytes;
    }
    eprintln!("{before} before, {after} after {:?}", deleted.elapsed());
    log.close().await;
    assert!(after <= before / 2, "{before} before, {after} after");
}

/// The files of a folder, each as far as it is not zero, and how long it is.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>, u64)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if entry.file_name() != "lock" {
            let mut bytes = std::fs::read(&path).unwrap();
            let len = bytes.len() as u64;
            let used = bytes.iter().rposition(|byte| *byte != 0);
            bytes.truncate(used.map_or(0, |last| last + 1));
            found.push((path, bytes, len));
        }
    }
    found
}

/// A folder as it was, however it has changed.
fn put_back(folder: &Path, files: &[(PathBuf, Vec<u8>, u64)]) {
    std::fs::remove_dir_all(folder).unwrap();
    for (path, bytes, len) in files {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        file.set_len(*len).unwrap();
    }
}

/// `LOG_FLIP_EVERY=1` for every byte, which takes minutes; 97 by default, from another one each time.
#[tokio::test]
async fn a_flipped_byte_of_a_small_log_is_found_or_harmless() {
    let every = std::env::var("LOG_FLIP_EVERY").map_or(97, |text| text.parse().unwrap());
    let first = std::process::id() as usize % every;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("log");
    // Some are in chunks and some in commits.
    let rooms = ["doc/a", "doc/b"];
    let mut runs: Vec<Vec<Run>> = vec![Vec::new(); 2];
    for (options, records) in [(eager(), 2), (lazy(), 2)] {
        let log = SledLog::open(&folder, options).unwrap();
        for _ in 0..records {
            for (room, runs) in rooms.iter().zip(&mut runs) {
                let head = runs.last().map_or(Head::EMPTY, Run::after);
                let (batch, _) = batch_of(room, head, &[7; 9]);
                for entry in &batch.entries {
                    let crate::Entry::Run(_, run) = entry else {
                        continue;
                    };
                    runs.push(run.clone());
                }
                log.append(batch).await.unwrap();
            }
        }
        let moved = async {
            while runs[0].len() == 2 && log.stats().unmoved_bytes > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let moved = tokio::time::timeout(Duration::from_secs(30), moved).await;
        moved.expect("the mover moves");
        log.close().await;
    }
    let good = files(&folder);
    let bytes_of = |runs: &[Run]| {
        runs.iter()
            .flat_map(|run| run.bytes().to_vec())
            .collect::<Vec<u8>>()
    };
    let (mut places, mut flipped, mut found, mut harmless) = (0, 0, 0, 0);
    for (path, bytes, _) in &good {
        for at in 0..bytes.len() {
            // Of a stretch of zeros only the ends: a segment is mostly empty.
            let near = &bytes[at.saturating_sub(8)..(at + 8).min(bytes.len())];
            if near.iter().all(|byte| *byte == 0) {
                continue;
            }
            places += 1;
            if places % every != first {
                continue;
            }
            put_back(&folder, &good);
            let mut bad = bytes.clone();
            bad[at] ^= 1 << (at % 8);
            let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, &bad[at..=at], at as u64).unwrap();
            flipped += 1;
            let Ok(log) = SledLog::open(&folder, lazy()) else {
                found += 1;
                continue;
            };
            let mut whole = true;
            for (room, runs) in rooms.iter().zip(&runs) {
                let what = format!("byte {at} of {}", path.display());
                let room = RoomName::parse(room).unwrap();
                let (mut read, mut after) = (Vec::new(), Seq::ZERO);
                let damaged = loop {
                    match log.read(&room, after, 1 << 20).await {
                        Ok(runs) if runs.is_empty() => break false,
                        Ok(runs) => {
                            after = runs.last().unwrap().last();
                            read.extend(bytes_of(&runs));
                        }
                        Err(ReadError::Damaged { .. }) => break true,
                        Err(error) => panic!("{what}: {error}"),
                    }
                };
                let right = bytes_of(runs);
                assert!(right.starts_with(&read), "{what}: something else is read");
                assert!(damaged || read == right, "{what}: lost without a word");
                whole &= !damaged;
            }
            log.close().await;
            if whole {
                harmless += 1;
            } else {
                found += 1;
            }
        }
    }
    println!("of {flipped} flipped bytes {found} were found and {harmless} harmless");
    assert!(
        places > 500 && found > flipped / 2,
        "{places} places, {flipped} flipped, {found} found"
    );
}
