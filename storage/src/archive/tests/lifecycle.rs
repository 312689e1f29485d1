use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use super::*;
use crate::archive::{ArchiveError, Contents, RestoreError, Retention, Who, restore};

#[tokio::test(start_paused = true)]
async fn what_was_archived_is_read_back() {
    let mut world = World::new();
    let names = ["doc/a", "doc/b", "pit/c"].map(room);
    let archiver = world.archiver(small()).await;
    for step in 0..30 {
        for (i, name) in names.iter().enumerate() {
            world
                .write(name, 1 + (step + i) % 7, [10, 300, 5000][i])
                .await;
        }
        if step % 5 == 4 {
            let seq = world.model[&names[0]].records.len();
            assert!(archiver.offer(world.snapshot(&names[0], seq)));
            archiver.flush(PATIENCE).await.unwrap();
        }
    }
    world.write(&names[1], 1, 700_000).await;
    archiver.flush(PATIENCE).await.unwrap();
    let status = archiver.status();
    assert_eq!((status.lag_records, status.failing), (0, None));
    assert_eq!(status.snapshots, 6);
    for archive in [archiver.archive().clone(), world.archive().await] {
        world.check_nothing_is_missing(&archive).await;
        let report = archive.verify(|_| ()).await.unwrap();
        assert!(report.is_whole(), "{:?}", report.faults);
        let all: usize = world.model.values().map(|model| model.records.len()).sum();
        assert_eq!(report.records as usize, all);
        assert_eq!(archive.snapshots(&names[0]).len(), 6);
        let listed = archive.rooms(Some(&names[0]), 9);
        let listed: Vec<_> = listed.into_iter().map(|(name, _)| name).collect();
        assert_eq!(listed, names[1..]);
        // Reads keep the log's contract.
        for (name, model) in &world.model {
            for after in [0, 3, model.records.len() - 1, model.records.len(), 9999] {
                for max in [0, 1, 700, 100_000] {
                    let after = Seq::new(after as u64);
                    let from = |runs: Vec<Run>| -> Vec<Record> {
                        let records = runs.iter().flat_map(Run::records);
                        records.map(Result::unwrap).collect()
                    };
                    let got = from(archive.read(name, after, max).await.unwrap());
                    let want = from(world.log.read(name, after, max).await.unwrap());
                    assert!(got == want, "{name} after {after}, {max} bytes");
                }
            }
            for record in &model.records {
                for at in [record.at.micros() - 1, record.at.micros()] {
                    let at = Timestamp::from_micros(at);
                    let want = world.log.seq_at(name, at).await.unwrap();
                    assert_eq!(archive.seq_at(name, at).await, Ok(want));
                }
            }
        }
        let early = archive.snapshot(&names[0], Seq::new(1)).await;
        assert_eq!(early, Ok(None));
        assert_eq!(
            archive.read(&room("no/room"), Seq::ZERO, 9).await,
            Ok(vec![])
        );
    }
}

#[tokio::test(start_paused = true)]
async fn activity_counts_every_record_once_by_who_wrote_it() {
    let mut world = World::new();
    let a = room("doc/a");
    let archiver = world.archiver(small()).await;
    for _ in 0..5 {
        world.write(&a, 40, 900).await;
        archiver.flush(PATIENCE).await.unwrap();
    }
    let archive = archiver.archive();
    let activity = archive.activity(&a, Seq::ZERO, Seq::MAX).await.unwrap();
    let mut counted: BTreeMap<Who, u64> = BTreeMap::new();
    let mut next = Seq::FIRST;
    for block in &activity {
        assert_eq!(block.first, next);
        next = Seq::new(next.get() + block.count);
        let records = &world.model[&a].records;
        let first = &records[block.first.get() as usize - 1];
        assert_eq!(block.from, first.at);
        for (who, n) in &block.authors {
            *counted.entry(who.clone()).or_default() += n;
        }
        assert_eq!(block.more, 0);
    }
    assert_eq!(next, Seq::new(201));
    let mut expected: BTreeMap<Who, u64> = BTreeMap::new();
    for record in &world.model[&a].records {
        let author = &record.draft.author;
        let who = match (&author.user, author.site) {
            (Some(user), _) => Who::User(user.clone()),
            (None, Some(site)) => Who::Site(site),
            (None, None) => Who::Session(author.session),
        };
        *expected.entry(who).or_default() += 1;
    }
    assert_eq!(counted, expected);
    let part = archive.activity(&a, Seq::new(45), Seq::new(46)).await;
    assert_eq!(part.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn only_what_is_archived_is_trimmed_and_only_up_to_a_snapshot() {
    let mut world = World::new();
    let (a, b) = (room("doc/a"), room("doc/b"));
    let allowed = Seq::new(25);
    let archiver = world
        .archiver(ArchiverOptions {
            keep_local: Some(Duration::ZERO),
            trim_floor: Arc::new(move |_| allowed),
            ..small()
        })
        .await;
    world.write(&a, 30, 100).await;
    world.write(&b, 30, 100).await;
    for seq in [10, 20, 28] {
        assert!(archiver.offer(world.snapshot(&a, seq)));
    }
    archiver.flush(PATIENCE).await.unwrap();
    let start = world.log.state(&a).await.unwrap().start.seq;
    assert_eq!(start, Seq::new(20), "the newest snapshot that is allowed");
    let start = world.log.state(&b).await.unwrap().start.seq;
    assert_eq!(start, Seq::ZERO, "a room without a snapshot keeps its log");
    world.write(&a, 5, 100).await;
    archiver.flush(PATIENCE).await.unwrap();
    world.check_nothing_is_missing(archiver.archive()).await;
    assert_eq!(archiver.status().trimmed_records, 20);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_of_another_history_is_never_archived() {
    let mut world = World::new();
    let a = room("doc/a");
    let archiver = world.archiver(small()).await;
    world.write(&a, 10, 100).await;
    let mut forged = world.snapshot(&a, 5);
    forged.head.chain = protocol::Chain::from_raw(1);
    assert!(archiver.offer(forged));
    let mut forged = world.snapshot(&a, 10);
    forged.head.at = Timestamp::from_micros(1);
    assert!(archiver.offer(forged));
    archiver.flush(PATIENCE).await.unwrap();
    assert_eq!(archiver.status().refused_snapshots, 2);
    assert_eq!(archiver.archive().snapshots(&a), vec![]);
    assert_eq!(archiver.status().waiting_snapshot_bytes, 0);
    // One that comes before its records waits for them.
    let unknown = world.run(world.model[&a].head(), 1, 50, false);
    let mut early = world.snapshot(&a, 10);
    early.head = unknown.after();
    assert!(archiver.offer(early));
    archiver.flush(PATIENCE).await.unwrap();
    assert_eq!(archiver.archive().snapshots(&a), vec![]);
    world.append(Entry::Run(a.clone(), unknown)).await;
    archiver.flush(PATIENCE).await.unwrap();
    assert_eq!(archiver.archive().snapshots(&a).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn snapshots_that_wait_are_bounded() {
    let mut world = World::new();
    let a = room("doc/a");
    world.write(&a, 200, 10).await;
    let archiver = world
        .archiver(ArchiverOptions {
            snapshot_queue_bytes: 3000,
            ..small()
        })
        .await;
    let taken = (1..=20).filter(|seq| archiver.offer(world.snapshot(&a, *seq)));
    assert!((3..=5).contains(&taken.count()));
    archiver.flush(PATIENCE).await.unwrap();
    assert!(
        archiver.offer(world.snapshot(&a, 150)),
        "there is room again"
    );
}

#[tokio::test(start_paused = true)]
async fn a_zombie_is_fenced_and_stops_for_good() {
    let mut world = World::new();
    let a = room("doc/a");
    world.write(&a, 5, 100).await;
    let old = world.archiver(small()).await;
    old.flush(PATIENCE).await.unwrap();
    let new = world.archiver(small()).await;
    new.flush(PATIENCE).await.unwrap();
    world.write(&a, 5, 100).await;
    let error = old.flush(PATIENCE).await.unwrap_err();
    assert_eq!(error, ArchiveError::Fenced { epoch: 1, by: 2 });
    assert!(old.status().fenced);
    new.flush(PATIENCE).await.unwrap();
    world.write(&a, 1, 100).await;
    assert_eq!(old.flush(PATIENCE).await, Err(error), "for good");
    new.flush(PATIENCE).await.unwrap();
    world.check_nothing_is_missing(new.archive()).await;
    let report = new.archive().verify(|_| ()).await.unwrap();
    assert!(report.is_whole());
    assert_eq!(report.orphans, 1, "what the zombie had uploaded");
}

#[tokio::test(start_paused = true)]
async fn a_zombie_that_has_read_its_successors_manifest_is_fenced_all_the_same() {
    let mut world = World::new();
    let a = room("doc/a");
    world.write(&a, 5, 100).await;
    let old = world.archiver(small()).await;
    old.flush(PATIENCE).await.unwrap();
    let new = world.archiver(small()).await;
    world.write(&a, 5, 100).await;
    new.flush(PATIENCE).await.unwrap();
    old.archive().refresh().await.unwrap();
    world.write(&a, 5, 100).await;
    let error = old.flush(PATIENCE).await.unwrap_err();
    assert_eq!(error, ArchiveError::Fenced { epoch: 1, by: 2 });
    new.flush(PATIENCE).await.unwrap();
    world.check_nothing_is_missing(new.archive()).await;
}

#[tokio::test(start_paused = true)]
async fn readers_may_refresh_at_any_moment_of_a_writer() {
    let mut world = World::new();
    let a = room("doc/a");
    let options = ArchiverOptions {
        merge_segments: 2,
        ..small()
    };
    let archiver = world.archiver(options).await;
    let archive = archiver.archive().clone();
    let reader = tokio::spawn(async move {
        loop {
            archive.refresh().await.unwrap();
            tokio::task::yield_now().await;
        }
    });
    for _ in 0..50 {
        world.write(&a, 3, 100).await;
        archiver.flush(PATIENCE).await.unwrap();
        world.check_nothing_is_missing(archiver.archive()).await;
    }
    reader.abort();
    assert!(archiver.archive().verify(|_| ()).await.unwrap().is_whole());
}

#[tokio::test]
async fn a_sled_log_is_archived_trimmed_and_restored() {
    let folder = tempfile::tempdir().unwrap();
    let options = || crate::SledOptions {
        min_free_bytes: 0,
        ..crate::SledOptions::default()
    };
    let open = |name: &str| crate::SledLog::open(&folder.path().join(name), options()).unwrap();
    let log = Arc::new(open("log"));
    let mut world = World::new();
    let a = room("doc/a");
    let archiver = Archiver::start(
        Arc::clone(&log) as _,
        world.archive().await,
        ArchiverOptions {
            keep_local: Some(Duration::ZERO),
            trim_floor: Arc::new(|_| Seq::MAX),
            ..small()
        },
        Arc::new(()),
    );
    for _ in 0..5 {
        let head = world.model.get(&a).map_or(Head::EMPTY, Model::head);
        world.write(&a, 30, 900).await;
        let run = world.log.read(&a, head.seq, usize::MAX).await.unwrap();
        let entries = run
            .into_iter()
            .map(|run| Entry::Run(a.clone(), run))
            .collect();
        log.append(Batch { entries }).await.unwrap();
        let seq = world.model[&a].records.len();
        archiver.offer(world.snapshot(&a, seq - 2));
        archiver.flush(PATIENCE).await.unwrap();
        let state = log.state(&a).await.unwrap();
        assert_eq!(
            state.start.seq,
            Seq::new(seq as u64 - 2),
            "trimmed at the snapshot"
        );
    }
    world.check_nothing_is_missing(archiver.archive()).await;
    let archive = archiver.archive().clone();
    drop(archiver);
    let new = open("new");
    restore(&archive, &new, |_| ()).await.unwrap();
    new.close().await;
    drop(new);
    let new = open("new");
    let state = new.state(&a).await.unwrap();
    assert_eq!(
        (state.start, state.head),
        (Head::EMPTY, world.model[&a].head())
    );
    let read = new.read(&a, Seq::ZERO, usize::MAX).await.unwrap();
    let read: Vec<Record> = read
        .iter()
        .flat_map(Run::records)
        .map(Result::unwrap)
        .collect();
    assert!(read == world.model[&a].records);
}

#[tokio::test(start_paused = true)]
async fn another_logs_bucket_is_refused_and_nothing_is_written_to_it() {
    let mut world = World::new();
    let (a, b) = (room("doc/a"), room("doc/b"));
    world.write(&a, 8, 100).await;
    world.write(&b, 8, 100).await;
    let archiver = world.archiver(small()).await;
    archiver.flush(PATIENCE).await.unwrap();
    drop(archiver);
    let before = world
        .archive()
        .await
        .inner
        .catalogue
        .read()
        .manifest
        .clone();

    // A log without the room, a shorter one, one with another history, one that was trimmed past
    // the archive's end.
    let empty = World::on(Arc::clone(&world.store));
    let mut shorter = World::on(Arc::clone(&world.store));
    shorter.write(&a, 3, 100).await;
    let mut other = World::on(Arc::clone(&world.store));
    other.drafted = 77;
    for name in [&a, &b] {
        other.write(name, 20, 100).await;
    }
    let mut ahead = World::on(Arc::clone(&world.store));
    for name in [&a, &b] {
        ahead.write(name, 8, 100).await;
        ahead.write(name, 8, 100).await;
        ahead.append(Entry::Trim(name.clone(), Seq::new(12))).await;
    }
    for (case, wrong) in [empty, shorter, other, ahead].into_iter().enumerate() {
        let archiver = wrong.archiver(small()).await;
        let error = archiver.flush(PATIENCE).await.unwrap_err();
        assert!(
            matches!(&error, ArchiveError::WrongBucket { .. }),
            "case {case}: {error}"
        );
        let text = error.to_string();
        assert!(
            text.contains("well restore") && text.contains("prefix"),
            "{text}"
        );
        assert_eq!(archiver.status().stopped, Some(error));
        let after = world
            .archive()
            .await
            .inner
            .catalogue
            .read()
            .manifest
            .clone();
        assert_eq!(after, before, "case {case}: nothing was written");
    }
    // A log that lost its archive's address: what it trimmed cannot be in a fresh bucket.
    let mut trimmed = World::new();
    trimmed.write(&a, 9, 10).await;
    trimmed.append(Entry::Trim(a.clone(), Seq::new(5))).await;
    let archiver = trimmed.archiver(small()).await;
    let error = archiver.flush(PATIENCE).await.unwrap_err();
    let named =
        matches!(&error, ArchiveError::Headless { room, start } if *room == a && start.get() == 5);
    assert!(named, "{error}");
    assert!(error.to_string().contains("well export --format archive"));
    assert_eq!(archiver.status().stopped, Some(error));
    assert!(!trimmed.archive().await.is_begun(), "nothing was written");
    // The right log goes on.
    world.write(&a, 1, 10).await;
    let archiver = world.archiver(small()).await;
    archiver.flush(PATIENCE).await.unwrap();
    world.check_nothing_is_missing(archiver.archive()).await;
}

#[tokio::test(start_paused = true)]
async fn a_deleted_room_is_forgotten_and_comes_back_after_its_head() {
    let mut world = World::new();
    let (a, b) = (room("doc/a"), room("doc/b"));
    let archiver = world.archiver(small()).await;
    world.write(&a, 8, 100).await;
    world.write(&b, 8, 100).await;
    archiver.offer(world.snapshot(&a, 8));
    archiver.flush(PATIENCE).await.unwrap();
    world.delete(&a).await;
    archiver.flush(PATIENCE).await.unwrap();
    world.check_nothing_is_missing(archiver.archive()).await;
    assert_eq!(archiver.archive().snapshots(&a), vec![]);
    let read = archiver.archive().read(&a, Seq::ZERO, 10).await;
    let start = Seq::new(8);
    assert_eq!(read, Err(ArchiveError::Trimmed { start }));
    // Back, and deleted and back again between two looks, at the archived head and past it.
    world.write(&a, 2, 100).await;
    archiver.flush(PATIENCE).await.unwrap();
    world.check_nothing_is_missing(archiver.archive()).await;
    world.delete(&a).await;
    world.write(&a, 2, 100).await;
    world.write(&b, 2, 100).await;
    world.delete(&b).await;
    world.write(&b, 2, 100).await;
    archiver.flush(PATIENCE).await.unwrap();
    world.check_nothing_is_missing(archiver.archive()).await;
    world.check_nothing_is_missing(&world.archive().await).await;
    assert!(archiver.archive().verify(|_| ()).await.unwrap().is_whole());
}

/// Whether bytes stand in any file of a folder.
fn holds(folder: &std::path::Path, wanted: &[u8]) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return holds(&path, wanted);
        }
        let bytes = std::fs::read(&path).unwrap();
        bytes.windows(wanted.len()).any(|found| found == wanted)
    })
}

/// Bytes that compression leaves as they are.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    (0..len).map(|_| (rng.next() >> 16) as u8).collect()
}

/// A small part of its segments, in archives to which nothing more comes.
#[tokio::test]
async fn no_byte_of_a_deleted_room_is_left_in_an_archive_or_a_store_of_keyframes() {
    let folder = tempfile::tempdir().unwrap();
    let later = Arc::new(AtomicU64::new(0));
    let mut world = World::new();
    let (gone, kept) = (room("doc/gone"), room("doc/kept"));
    let (secret, drawing) = (noise(1, 2000), noise(2, 2000));
    let mut archivers = Vec::new();
    for (name, contents) in [
        ("archive", Contents::Everything),
        ("snapshots", Contents::SnapshotsOnly),
    ] {
        let url = format!("file://{}/{name}", folder.path().display());
        let archive = Archive::open(&url, Options::default()).await.unwrap();
        let later = Arc::clone(&later);
        let options = ArchiverOptions {
            contents,
            tidy_every: Duration::ZERO,
            clock: Arc::new(move || {
                SystemTime::now() + Duration::from_secs(later.load(Ordering::Relaxed))
            }),
            ..small()
        };
        let log: Arc<dyn Log> = Arc::new(world.log.clone());
        archivers.push(Archiver::start(log, archive, options, Arc::new(())));
    }
    let flush = async || {
        for archiver in &archivers {
            archiver.flush(PATIENCE).await.unwrap();
        }
    };
    world.write(&gone, 1, 100).await;
    let mut builder = RunBuilder::new(world.model[&gone].head());
    let mut draft = draft(1, 0);
    draft.payload = secret.clone().into();
    builder.push(Timestamp::from_micros(world.clock), &draft);
    let run = builder.finish().unwrap();
    let records = run.records().map(Result::unwrap);
    world.model.get_mut(&gone).unwrap().records.extend(records);
    world.append(Entry::Run(gone.clone(), run)).await;
    world.write(&kept, 60, 900).await;
    let of_gone = Snapshot {
        content: drawing.clone().into(),
        ..world.snapshot(&gone, 2)
    };
    let of_kept = Snapshot {
        content: noise(3, 40_000).into(),
        ..world.snapshot(&kept, 60)
    };
    for archiver in &archivers {
        assert!(archiver.offer(of_gone.clone()) && archiver.offer(of_kept.clone()));
    }
    flush().await;
    let at = |name: &str| folder.path().join(name);
    assert!(holds(&at("archive"), &secret), "it is found where it is");
    assert!(holds(&at("archive"), &drawing) && holds(&at("snapshots"), &drawing));

    world.delete(&gone).await;
    flush().await;
    assert!(
        holds(&at("archive"), &secret),
        "readers are given their time"
    );
    for _ in 0..2 {
        later.fetch_add(3600, Ordering::Relaxed);
        flush().await;
    }
    assert!(!holds(folder.path(), &secret));
    assert!(!holds(folder.path(), &drawing));

    // What stays says up to where the room went, and what it was in one number.
    let [archiver, keyframes] = &archivers[..] else {
        panic!("two archivers")
    };
    let log = MemoryLog::new();
    restore(archiver.archive(), &log, |_| ()).await.unwrap();
    let state = log.state(&gone).await.unwrap();
    assert!(state.deleted);
    assert_eq!(state.head, world.log.state(&gone).await.unwrap().head);
    assert_eq!(state.head, world.model[&gone].head());
    for archive in [archiver.archive(), keyframes.archive()] {
        let report = archive.verify(|_| ()).await.unwrap();
        assert!(report.is_whole(), "{:?}", report.faults);
        let snapshot = archive.snapshot(&kept, Seq::MAX).await.unwrap();
        assert_eq!(snapshot, Some(of_kept.clone()));
        // As many manifests as ever stand for the archive; the next round changes nothing.
        let before = archive.inner.catalogue.read().manifest.number;
        flush().await;
        assert_eq!(archive.inner.catalogue.read().manifest.number, before);
    }
    let read = self::records(archiver.archive(), &kept, Seq::ZERO).await;
    assert!(read == world.model[&kept].records);
    let manifests = std::fs::read_dir(at("archive").join("manifests")).unwrap();
    assert_eq!(manifests.count(), small().keep_manifests);
}

#[tokio::test(start_paused = true)]
async fn merging_keeps_every_record_and_collects_the_old_objects() {
    let mut world = World::new();
    let names: Vec<RoomName> = (0..6).map(|i| room(&format!("doc/{i}"))).collect();
    let options = || ArchiverOptions {
        merge_segments: 4,
        keep_manifests: 2,
        garbage_min_age: Duration::ZERO,
        tidy_every: Duration::ZERO,
        ..small()
    };
    let archiver = world.archiver(options()).await;
    for step in 0..40 {
        for name in &names[..1 + step % 6] {
            world.write(name, 2, 60).await;
        }
        let seq = world.model[&names[0]].records.len();
        archiver.offer(world.snapshot(&names[0], seq));
        archiver.flush(PATIENCE).await.unwrap();
        world.check_nothing_is_missing(archiver.archive()).await;
    }
    assert!(archiver.status().segments < 8);
    let archive = world.archive().await;
    world.check_nothing_is_missing(&archive).await;
    assert_eq!(archive.snapshots(&names[0]).len(), 40);
    let report = archive.verify(|_| ()).await.unwrap();
    assert!(report.is_whole() && report.orphans == 0, "{report:?}");
    assert!(report.objects < 14, "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn retention_keeps_what_it_takes_to_fold_the_rest() {
    for case in 0..2 {
        let mut world = World::new();
        let (pit, doc) = (room("pit/a"), room("doc/a"));
        let newest = Arc::new(parking_lot::Mutex::new(0));
        let now = Arc::clone(&newest);
        let options = ArchiverOptions {
            merge_segments: 3,
            tidy_every: Duration::ZERO,
            garbage_min_age: Duration::ZERO,
            keep_manifests: 1,
            retention: Arc::new(move |space| match (space, case) {
                ("pit", 0) => Retention::Last(30),
                ("pit", _) => Retention::For(Duration::from_millis(30)),
                _ => Retention::All,
            }),
            clock: Arc::new(move || std::time::UNIX_EPOCH + Duration::from_micros(*now.lock())),
            ..small()
        };
        let archiver = world.archiver(options.clone()).await;
        for _ in 0..12 {
            for name in [&pit, &doc] {
                world.write(name, 10, 400).await;
                let seq = world.model[name].records.len();
                archiver.offer(world.snapshot(name, seq - 3));
            }
            *newest.lock() = world.clock;
            archiver.flush(PATIENCE).await.unwrap();
            world.check(archiver.archive()).await;
        }
        let archive = archiver.archive().clone();
        let found = archive.room(&pit).unwrap();
        let records = &world.model[&pit].records;
        let wanted = if case == 0 {
            records.len() - 30
        } else {
            let from = Timestamp::from_micros(world.clock - 30_000);
            records.partition_point(|record| record.at <= from)
        };
        let start = found.start.seq.get() as usize;
        assert!(start > 0 && start <= wanted, "{start} {wanted}");
        assert!(start + 20 > wanted, "no more is kept than folding takes");
        let first = archive.snapshot(&pit, found.start.seq).await.unwrap();
        assert_eq!(first.unwrap().head, found.start, "the snapshot at the cut");
        let before = archive.read(&pit, found.start.seq.previous(), 9).await;
        assert!(matches!(before, Err(ArchiveError::Trimmed { .. })));
        assert_eq!(archive.room(&doc).unwrap().start, Head::EMPTY);
        assert_eq!(
            found.created, records[0].at,
            "what is cut still says when it began"
        );
        world.check(&world.archive().await).await;
        let report = archive.verify(|_| ()).await.unwrap();
        assert!(report.is_whole(), "{:?}", report.faults);
        let all = records.len() + world.model[&doc].records.len();
        assert!((report.records as usize) < all, "space is given back");
        // A restored log begins at the cut, and its archiver goes on.
        let log = MemoryLog::new();
        restore(&archive, &log, |_| ()).await.unwrap();
        let state = log.state(&pit).await.unwrap();
        assert_eq!((state.start, state.head), (found.start, found.head));
        assert_eq!(
            (state.created, state.erased),
            (records[0].at, found.start.seq)
        );
        drop(archiver);
        world.log = log;
        world.write(&pit, 3, 10).await;
        let archiver = world.archiver(options).await;
        archiver.flush(PATIENCE).await.unwrap();
        world.check(archiver.archive()).await;
        assert_eq!(
            archiver.archive().room(&pit).unwrap().head,
            world.model[&pit].head()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_keyframe_store_holds_snapshots_and_no_records() {
    let mut world = World::new();
    let a = room("doc/a");
    let options = || ArchiverOptions {
        contents: Contents::SnapshotsOnly,
        keep_local: Some(Duration::ZERO),
        trim_floor: Arc::new(|_| Seq::MAX),
        ..small()
    };
    let archiver = world.archiver(options()).await;
    world.write(&a, 30, 100).await;
    for seq in [10, 20, 30] {
        archiver.offer(world.snapshot(&a, seq));
    }
    archiver.flush(PATIENCE).await.unwrap();
    let archive = archiver.archive();
    assert_eq!(archive.snapshots(&a).len(), 3);
    let found = archive.snapshot(&a, Seq::new(25)).await.unwrap();
    assert_eq!(found, Some(world.snapshot(&a, 20)));
    assert_eq!(archive.verify(|_| ()).await.unwrap().records, 0);
    assert_eq!(world.log.state(&a).await.unwrap().start, Head::EMPTY);
    world.delete(&a).await;
    world.write(&a, 3, 100).await;
    archiver.offer(world.snapshot(&a, 32));
    archiver.flush(PATIENCE).await.unwrap();
    assert_eq!(
        archiver.archive().snapshots(&a).len(),
        1,
        "older ones were erased"
    );
}

#[tokio::test(start_paused = true)]
async fn a_restored_log_is_the_one_that_was_lost() {
    let mut world = World::new();
    let names: Vec<RoomName> = (0..300).map(|i| room(&format!("doc/{i}"))).collect();
    let archiver = world.archiver(small()).await;
    for (i, name) in names.iter().enumerate() {
        world.write(name, 1 + i % 5, 50).await;
    }
    world.write(&names[7], 40, 90_000).await;
    world.delete(&names[3]).await;
    world.delete(&names[4]).await;
    world.write(&names[4], 2, 50).await;
    archiver.flush(PATIENCE).await.unwrap();
    world.delete(&names[5]).await;
    archiver.flush(PATIENCE).await.unwrap();
    drop(archiver);

    let archive = world.archive().await;
    let log = MemoryLog::new();
    let mut told = BTreeMap::new();
    let restored = restore(&archive, &log, |room| {
        told.insert(room.room.clone(), room.clone());
    })
    .await
    .unwrap();
    assert_eq!(
        (restored.rooms, restored.deleted),
        (298, 2),
        "one of them was never archived"
    );
    for name in &names {
        let (was, is) = (world.log.state(name).await, log.state(name).await);
        let (was, is) = (was.unwrap(), is.unwrap());
        assert_eq!(is, was, "{name}");
        assert_eq!(told[name].head, was.head, "{name}");
        let (was, is) = (
            world
                .log
                .read(name, was.start.seq, usize::MAX)
                .await
                .unwrap(),
            log.read(name, is.start.seq, usize::MAX).await.unwrap(),
        );
        let bytes = |runs: &[Run]| -> Vec<u8> {
            runs.iter().flat_map(|run| run.bytes().to_vec()).collect()
        };
        assert!(bytes(&was) == bytes(&is), "{name}");
        for run in &is {
            run.verify().unwrap();
        }
    }
    // Again changes nothing; a log with other records is left alone.
    let again = restore(&archive, &log, |_| ()).await.unwrap();
    assert_eq!((again.rooms, again.records), (298, 0));
    let mut other = World::new();
    other.write(&room("doc/elsewhere"), 1, 10).await;
    let refused = restore(&archive, &other.log, |_| ()).await;
    assert!(matches!(refused, Err(RestoreError::NotEmpty { .. })));
    // The archive takes the restored log for its own.
    world.log = log;
    world.write(&names[9], 3, 30).await;
    let archiver = world.archiver(small()).await;
    archiver.flush(PATIENCE).await.unwrap();
    assert_eq!(
        archiver.archive().room(&names[9]).unwrap().head,
        world.model[&names[9]].head()
    );
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_down_slows_nothing_and_loses_nothing() {
    let mut world = World::new();
    let a = room("doc/a");
    let inner = Arc::clone(&world.store);
    let faulty = Arc::new(crate::archive::faults::FaultyStore::new(inner, 1000, 3));
    faulty.set(false);
    let store: Arc<dyn ObjectStore> = Arc::clone(&faulty) as _;
    let archive = Archive::on(store, "some/where", Options::default());
    let archive = archive.await.unwrap();
    let log: Arc<dyn Log> = Arc::new(world.log.clone());
    let archiver = Archiver::start(log, archive, small(), Arc::new(()));
    archiver.flush(PATIENCE).await.unwrap();
    faulty.set(true);
    world.write(&a, 10, 100).await;
    archiver.moved(1000, 10);
    assert!(archiver.offer(world.snapshot(&a, 10)));
    let error = archiver.flush(Duration::from_secs(300)).await.unwrap_err();
    assert!(matches!(error, ArchiveError::TimedOut(..)));
    let status = archiver.status();
    assert_eq!((status.lag_records, status.lag_bytes), (10, 1000));
    assert!(
        status.lag_age >= Duration::from_secs(299),
        "{:?}",
        status.lag_age
    );
    let failing = status.failing.expect("it says why");
    assert!(failing.attempts > 3 && failing.error.may_pass());
    faulty.set(false);
    archiver.flush(PATIENCE).await.unwrap();
    let status = archiver.status();
    assert_eq!((status.lag_records, status.lag_bytes), (0, 0));
    assert_eq!((status.lag_age, status.failing), (Duration::ZERO, None));
    world.check_nothing_is_missing(archiver.archive()).await;
    assert_eq!(archiver.archive().snapshots(&a).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_the_store_garbled_is_written_again_before_anything_is_trimmed() {
    for part in ["segments", "manifests"] {
        let mut world = World::new();
        let a = room("doc/a");
        let inner = Arc::clone(&world.store);
        let faulty = Arc::new(crate::archive::faults::FaultyStore::new(inner, 0, 1));
        let archive = Archive::on(Arc::clone(&faulty) as _, "some/where", Options::default());
        let options = ArchiverOptions {
            keep_local: Some(Duration::ZERO),
            trim_floor: Arc::new(|_| Seq::MAX),
            ..small()
        };
        let log: Arc<dyn Log> = Arc::new(world.log.clone());
        let archiver = Archiver::start(log, archive.await.unwrap(), options, Arc::new(()));
        for step in 0..3 {
            if step == 1 {
                faulty.garble(part);
            }
            world.write(&a, 5, 100).await;
            archiver.offer(world.snapshot(&a, 5 * step + 5));
            archiver.flush(PATIENCE).await.unwrap();
            let start = world.log.state(&a).await.unwrap().start.seq;
            assert_eq!(start.get() as usize, 5 * step + 5);
            // What a reader finds is whole at every moment.
            world.check_nothing_is_missing(&world.archive().await).await;
        }
        let report = world.archive().await.verify(|_| ()).await.unwrap();
        let faults: Vec<&str> = report.faults.iter().map(|f| f.object.as_str()).collect();
        if part == "segments" {
            assert!(report.is_whole() && report.orphans == 1, "{report:?}");
        } else {
            assert_eq!(faults, ["some/where/manifests/00000000000000000003"]);
        }
    }
}

#[tokio::test]
async fn a_folder_is_an_archive() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file://{}/some/where", folder.path().display());
    let mut world = World::new();
    let a = room("doc/a");
    world.write(&a, 20, 500).await;
    for _ in 0..2 {
        let archive = Archive::open(&url, Options::default()).await.unwrap();
        let log: Arc<dyn Log> = Arc::new(world.log.clone());
        let archiver = Archiver::start(log, archive, small(), Arc::new(()));
        archiver.flush(PATIENCE).await.unwrap();
        world.write(&a, 20, 500).await;
        archiver.flush(PATIENCE).await.unwrap();
        world.check_nothing_is_missing(archiver.archive()).await;
    }
    let archive = Archive::open(&url, Options::default()).await.unwrap();
    world.check_nothing_is_missing(&archive).await;
    assert!(archive.verify(|_| ()).await.unwrap().is_whole());
}

/// What a server was behind by when it ended, the next one knows before anything is archived.
#[tokio::test(start_paused = true)]
async fn what_an_archive_is_behind_by_is_known_from_the_start() {
    let mut world = World::new();
    let a = room("doc/a");
    let archiver = world.archiver(small()).await;
    world.write(&a, 10, 100).await;
    archiver.flush(PATIENCE).await.unwrap();
    drop(archiver);
    world.write(&a, 30, 100).await;
    let bytes = world.log.state(&a).await.unwrap().bytes;
    let oldest = world.model[&a].records[10].at.micros();
    let inner = Arc::clone(&world.store);
    let faulty = Arc::new(crate::archive::faults::FaultyStore::new(inner, 1000, 3));
    faulty.set(false);
    let store: Arc<dyn ObjectStore> = Arc::clone(&faulty) as _;
    let archive = Archive::on(store, "some/where", Options::default());
    let archive = archive.await.unwrap();
    faulty.set(true);
    let options = ArchiverOptions {
        clock: Arc::new(move || {
            std::time::UNIX_EPOCH + Duration::from_micros(oldest) + Duration::from_secs(3600)
        }),
        ..small()
    };
    let log: Arc<dyn Log> = Arc::new(world.log.clone());
    let archiver = Archiver::start(log, archive, options, Arc::new(()));
    archiver.flush(Duration::from_secs(5)).await.unwrap_err();
    let status = archiver.status();
    assert_eq!(status.lag_records, 30);
    assert!(
        status.lag_bytes.abs_diff(bytes * 3 / 4) < bytes / 20,
        "{} of {bytes}",
        status.lag_bytes
    );
    assert!(status.lag_age >= Duration::from_secs(3600), "{status:?}");
    // What comes while it does not get on is known as well, at once.
    world.write(&a, 5, 100).await;
    archiver.moved(500, 5);
    assert_eq!(archiver.status().lag_records, 35);
    faulty.set(false);
    archiver.flush(PATIENCE).await.unwrap();
    let status = archiver.status();
    assert_eq!((status.lag_records, status.lag_bytes), (0, 0));
    assert_eq!(status.lag_age, Duration::ZERO);
}

/// A room whose first records are gone is archived anew with what the rest folds on.
#[tokio::test(start_paused = true)]
async fn a_room_that_began_in_the_middle_keeps_the_snapshot_it_begins_with() {
    let mut world = World::new();
    let a = room("doc/a");
    world.write(&a, 20, 100).await;
    let base = world.snapshot(&a, 12);
    let log = MemoryLog::new();
    let tail = world.log.read(&a, Seq::new(12), usize::MAX).await.unwrap();
    let begin = Entry::Begin(a.clone(), base.head, base.created);
    let mut entries = vec![begin];
    entries.extend(tail.into_iter().map(|run| Entry::Run(a.clone(), run)));
    log.append(Batch { entries }).await.unwrap();
    for contents in [Contents::Everything, Contents::SnapshotsOnly] {
        let archive = Archive::on(Arc::new(InMemory::new()), "new", Options::default());
        let archive = archive.await.unwrap();
        let options = ArchiverOptions {
            contents,
            ..small()
        };
        let log: Arc<dyn Log> = Arc::new(log.clone());
        let archiver = Archiver::start(log, archive, options, Arc::new(()));
        assert!(archiver.offer(base.clone()));
        archiver.flush(PATIENCE).await.unwrap();
        let archive = archiver.archive();
        assert_eq!(archive.snapshots(&a), [base.head], "{contents:?}");
        let found = archive.snapshot(&a, base.head.seq).await.unwrap();
        assert_eq!(found.as_ref(), Some(&base));
        assert_eq!(archive.room(&a).map(|room| room.start), Some(base.head));
        assert!(archive.verify(|_| ()).await.unwrap().is_whole());
    }
}

/// The archive gets it from the store beside the log by itself, also when it has gone without before;
/// and a log that is restored from that archive begins with it again.
#[tokio::test(start_paused = true)]
async fn an_archive_is_given_the_snapshots_that_rooms_begin_with() {
    let mut world = World::new();
    let a = room("doc/a");
    world.write(&a, 20, 100).await;
    let base = world.snapshot(&a, 12);
    let tail = world.log.read(&a, Seq::new(12), usize::MAX).await.unwrap();
    world.log = MemoryLog::new();
    let begin = Entry::Begin(a.clone(), base.head, base.created);
    let mut entries = vec![begin];
    entries.extend(tail.into_iter().map(|run| Entry::Run(a.clone(), run)));
    world.log.append(Batch { entries }).await.unwrap();

    let beside = Archive::on(Arc::new(InMemory::new()), "beside", Options::default());
    let options = ArchiverOptions {
        contents: Contents::SnapshotsOnly,
        ..small()
    };
    let log: Arc<dyn Log> = Arc::new(world.log.clone());
    let beside = Archiver::start(log, beside.await.unwrap(), options, Arc::new(()));
    assert!(beside.offer(base.clone()));
    beside.flush(PATIENCE).await.unwrap();

    // Without the store nobody has it to give.
    let archiver = world.archiver(small()).await;
    archiver.flush(PATIENCE).await.unwrap();
    assert_eq!(archiver.archive().snapshots(&a), []);
    drop(archiver);
    let old = std::mem::replace(&mut world.store, Arc::new(InMemory::new()));
    for store in [Arc::clone(&world.store), old] {
        world.store = store;
        let options = ArchiverOptions {
            bases: Some(beside.archive().clone()),
            ..small()
        };
        let archiver = world.archiver(options).await;
        archiver.flush(PATIENCE).await.unwrap();
        archiver.flush(PATIENCE).await.unwrap();
        assert_eq!(archiver.status().snapshots, 1, "it is given once");
        drop(archiver);
        let archive = world.archive().await;
        assert_eq!(archive.snapshots(&a), [base.head]);
        let found = archive.snapshot(&a, base.head.seq).await.unwrap();
        assert_eq!(found.as_ref(), Some(&base));
        assert!(archive.verify(|_| ()).await.unwrap().is_whole());
        let back = MemoryLog::new();
        restore(&archive, &back, |_| ()).await.unwrap();
        let state = back.state(&a).await.unwrap();
        assert_eq!(state, world.log.state(&a).await.unwrap());
    }
}

/// A name that was deleted before the archive ever had it is not free after a restore.
#[tokio::test(start_paused = true)]
async fn a_room_that_came_and_went_between_two_rounds_stays_deleted() {
    let mut world = World::new();
    let (a, b) = (room("doc/a"), room("doc/b"));
    let archiver = world.archiver(small()).await;
    archiver.flush(PATIENCE).await.unwrap();
    world.write(&a, 3, 50).await;
    world.write(&b, 3, 50).await;
    world.delete(&a).await;
    for _ in 0..2 {
        archiver.flush(PATIENCE).await.unwrap();
    }
    let segments = archiver.status().segments;
    assert_eq!(segments, 1, "it is told once");
    let log = MemoryLog::new();
    let restored = restore(archiver.archive(), &log, |_| ()).await.unwrap();
    assert_eq!((restored.rooms, restored.deleted), (1, 1));
    let gone = world.log.state(&a).await.unwrap();
    let back = log.state(&a).await.unwrap();
    assert!(back.deleted && back.head == gone.head, "{back:?}");
    // And so it is in an archive of that archive.
    let copied = Archive::on(Arc::new(InMemory::new()), "copy", Options::default());
    let from = crate::archive::ArchivedLog::new(archiver.archive().clone());
    let copier = Archiver::start(Arc::new(from), copied.await.unwrap(), small(), Arc::new(()));
    copier.flush(PATIENCE).await.unwrap();
    let log = MemoryLog::new();
    let restored = restore(copier.archive(), &log, |_| ()).await.unwrap();
    assert_eq!((restored.rooms, restored.deleted), (1, 1));
}
