use bytes::Bytes;
use futures_util::StreamExt;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};

use super::*;
use crate::archive::index::SegmentIndex;
use crate::archive::manifest::Manifest;
use crate::archive::segment::{SegmentBuilder, SegmentId, open_header};
use crate::archive::{ArchiveError, Fault, RestoreError, VerifyReport, restore};

/// A small archive with records, snapshots, a deletion, and three manifests.
async fn small_archive() -> World {
    let mut world = World::new();
    let (a, b, c) = (room("doc/a"), room("pit/b"), room("pit/c"));
    let archiver = world.archiver(small()).await;
    world.write(&a, 6, 40).await;
    world.write(&b, 2, 40).await;
    world.write(&c, 1, 10).await;
    archiver.offer(world.snapshot(&a, 4));
    archiver.flush(PATIENCE).await.unwrap();
    world.delete(&c).await;
    world.write(&a, 3, 40).await;
    archiver.flush(PATIENCE).await.unwrap();
    world
}

async fn objects(world: &World) -> Vec<(Path, Bytes)> {
    let mut found = Vec::new();
    let mut list = world.store.list(None);
    while let Some(object) = list.next().await {
        let path = object.unwrap().location;
        let bytes = world.store.get(&path).await.unwrap().bytes().await.unwrap();
        found.push((path, bytes));
    }
    found
}

async fn put(world: &World, path: &Path, bytes: impl Into<PutPayload>) {
    world.store.put(path, bytes.into()).await.unwrap();
}

/// What a reader of the damaged archive gets is right or an error; gives what the scrub says.
async fn read_all(world: &World) -> Result<VerifyReport, ArchiveError> {
    let options = Options {
        read_tries: 1,
        ..Options::default()
    };
    let archive = Archive::on(Arc::clone(&world.store), "some/where", options).await?;
    for (name, model) in &world.model {
        for after in 0..model.records.len() {
            let Ok(runs) = archive.read(name, Seq::new(after as u64), 1 << 20).await else {
                continue;
            };
            for (i, record) in runs.iter().flat_map(Run::records).enumerate() {
                // Each record of a run is checked as it is reached.
                let Ok(record) = record else { break };
                assert!(record == model.records[after + i], "{name} after {after}");
            }
        }
        for seq in 1..=model.records.len() {
            if let Ok(Some(found)) = archive.snapshot(name, Seq::new(seq as u64)).await {
                let at = found.head.seq.get() as usize;
                assert_eq!(found, world.snapshot(name, at), "{name}");
            }
        }
        if let Ok(blocks) = archive.activity(name, Seq::ZERO, Seq::MAX).await {
            let counted: u64 = blocks.iter().map(|block| block.count).sum();
            assert!(counted as usize <= model.records.len());
        }
    }
    archive.verify(|_| ()).await
}

#[tokio::test(start_paused = true)]
async fn every_flipped_byte_is_found_or_harmless_and_nothing_wrong_is_served() {
    let world = small_archive().await;
    let whole = read_all(&world).await.unwrap();
    assert!(whole.is_whole() && whole.objects == 5, "{whole:?}");
    let (mut flipped, mut harmless) = (0, 0);
    for (path, good) in objects(&world).await {
        for at in 0..good.len() {
            let mut bad = good.to_vec();
            bad[at] ^= 1 << (at % 8);
            put(&world, &path, bad).await;
            flipped += 1;
            match read_all(&world).await {
                Ok(report) if report.is_whole() => harmless += 1,
                Ok(report) => {
                    let named = |fault: &Fault| fault.object == path.as_ref();
                    assert!(
                        report.faults.iter().any(named),
                        "{path} byte {at}: {report:?}"
                    );
                }
                Err(ArchiveError::Damaged { object, .. }) => assert_eq!(object, path.as_ref()),
                Err(other) => panic!("{path} byte {at}: {other}"),
            }
        }
        // Shorter, longer and gone.
        put(&world, &path, good.slice(..good.len() - 1)).await;
        assert!(!read_all(&world).await.is_ok_and(|report| report.is_whole()));
        put(&world, &path, [&good[..], b"x"].concat()).await;
        assert!(!read_all(&world).await.is_ok_and(|report| report.is_whole()));
        put(&world, &path, good).await;
    }
    assert!(flipped > 1000, "{flipped}");
    assert_eq!(harmless, 0, "every byte is under a checksum");
    assert!(read_all(&world).await.unwrap().is_whole());
}

#[tokio::test(start_paused = true)]
async fn a_fault_names_the_room_and_the_seq_and_the_scrub_goes_on() {
    let mut world = World::new();
    let (a, b) = (room("doc/a"), room("doc/b"));
    world.write(&a, 5, 5000).await;
    world.write(&b, 5, 5000).await;
    let archiver = world
        .archiver(ArchiverOptions {
            segment_bytes: 1 << 20,
            ..small()
        })
        .await;
    archiver.flush(PATIENCE).await.unwrap();
    let index = {
        let archive = archiver.archive();
        let id = archive.inner.catalogue.read().manifest.segments[0].id;
        archive.inner.index(id).await.unwrap()
    };
    let found = objects(&world).await;
    let (path, good) = found
        .iter()
        .find(|(path, _)| path.as_ref().contains("segments"))
        .unwrap();
    let mut bad = good.to_vec();
    for entry in &index.entries {
        bad[entry.offset as usize + 20] ^= 1;
    }
    put(&world, path, bad).await;
    let report = world.archive().await.verify(|_| ()).await.unwrap();
    let named: Vec<_> = (report.faults.iter())
        .map(|fault| (fault.room.clone(), fault.seq))
        .collect();
    let first = Some(Seq::FIRST);
    assert_eq!(named, [(Some(a.clone()), first), (Some(b.clone()), first)]);
    let text = report.faults[0].to_string();
    assert!(text.contains("doc/a") && text.contains("seq 1"), "{text}");
    let read = world.archive().await.read(&a, Seq::ZERO, 100).await;
    assert!(matches!(read, Err(ArchiveError::Damaged { room: Some(found), .. }) if found == a));
}

#[tokio::test(start_paused = true)]
async fn a_missing_segment_hides_only_what_it_held() {
    let mut world = World::new();
    let (a, b) = (room("doc/a"), room("doc/b"));
    let archiver = world.archiver(small()).await;
    for name in [&a, &b, &a] {
        world.write(name, 5, 100).await;
        archiver.flush(PATIENCE).await.unwrap();
    }
    drop(archiver);
    let path = Path::from("some/where/segments/0000000001-0000000001");
    world.store.delete(&path).await.unwrap();
    let archive = world.archive().await;
    assert_eq!(
        records(&archive, &b, Seq::ZERO).await,
        world.model[&b].records
    );
    let error = archive.read(&a, Seq::ZERO, 100).await.unwrap_err();
    assert!(error.to_string().contains("seq 1"), "{error}");
    assert_eq!(
        records(&archive, &a, Seq::new(5)).await,
        world.model[&a].records[5..]
    );
    let report = archive.verify(|_| ()).await.unwrap();
    let seqs: Vec<_> = report
        .faults
        .iter()
        .map(|fault| (&fault.room, fault.seq))
        .collect();
    assert_eq!(seqs, [(&None, None), (&Some(a.clone()), Some(Seq::FIRST))]);
    for (fault, says) in report.faults.iter().zip([
        "it is missing; it holds 5 records and 0 snapshots of 1 room",
        "no segment that can be read has the records from there to seq 5",
    ]) {
        assert!(fault.to_string().contains(says), "{fault}");
    }
    // It is written to all the same, and what can be read of it is restored: see below.
    let archiver = world.archiver(small()).await;
    let error = archiver.flush(Duration::from_secs(60)).await.unwrap_err();
    for says in ["is missing", "it holds 5 records and 0 snapshots of 1 room"] {
        assert!(error.to_string().contains(says), "{error}");
    }
}

/// What may become of an object.
#[derive(Debug, Clone, Copy)]
enum Harm {
    /// A bit of its index is another.
    Flipped,
    /// It has no bytes.
    Emptied,
    Gone,
}

async fn harm(world: &World, path: &Path, good: &Bytes, harm: Harm) {
    match harm {
        Harm::Flipped => {
            let mut bad = good.to_vec();
            let at = bad.len() - 30;
            bad[at] ^= 1;
            put(world, path, bad).await;
        }
        Harm::Emptied => put(world, path, Bytes::new()).await,
        Harm::Gone => world.store.delete(path).await.unwrap(),
    }
}

/// The segment that holds a room's records, all of them.
async fn segment_of(world: &World, name: &RoomName) -> (Path, Bytes) {
    let archive = world.archive().await;
    let id = archive.inner.catalogue.read().rooms[name].spans[0].segment;
    let path = Path::from(format!("some/where/{id}"));
    let bytes = world.store.get(&path).await.unwrap().bytes().await.unwrap();
    (path, bytes)
}

fn trimming() -> ArchiverOptions {
    ArchiverOptions {
        keep_local: Some(Duration::ZERO),
        trim_floor: Arc::new(|_| Seq::MAX),
        ..small()
    }
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_segment_under_a_trimmed_log_is_damage_and_other_rooms_are_archived_on() {
    for kind in [Harm::Flipped, Harm::Emptied, Harm::Gone] {
        let mut world = World::new();
        let (a, b, c) = (room("doc/a"), room("doc/b"), room("doc/c"));
        let archiver = world.archiver(trimming()).await;
        world.write(&a, 10, 100).await;
        archiver.flush(PATIENCE).await.unwrap();
        world.write(&b, 5, 100).await;
        archiver.offer(world.snapshot(&a, 10));
        archiver.flush(PATIENCE).await.unwrap();
        assert_eq!(world.log.state(&a).await.unwrap().start.seq, Seq::new(10));
        drop(archiver);
        let (path, good) = segment_of(&world, &a).await;
        harm(&world, &path, &good, kind).await;

        for name in [&a, &b, &c] {
            world.write(name, 4, 100).await;
        }
        let archiver = world.archiver(trimming()).await;
        for (name, seq) in [(&a, 14), (&b, 9)] {
            archiver.offer(world.snapshot(name, seq));
        }
        let error = archiver.flush(PATIENCE).await.unwrap_err();
        let text = error.to_string();
        for says in [path.as_ref(), "seq 1 to 10 of doc/a", "copy of the bucket"] {
            assert!(text.contains(says), "{kind:?}: {text}");
        }
        assert!(
            matches!(&error, ArchiveError::Unreadable { room: Some(found), seqs, .. }
                if *found == a && *seqs == Some((Seq::FIRST, Seq::new(10)))),
            "{error:?}"
        );
        let archive = archiver.archive();
        for name in [&b, &c] {
            let all = &world.model[name].records;
            assert_eq!(records(archive, name, Seq::ZERO).await, *all, "{kind:?}");
        }
        let end = &world.model[&a].records[10..];
        assert_eq!(records(archive, &a, Seq::new(10)).await, end, "{kind:?}");
        let start = |name: &RoomName| {
            let state = world.log.state(name);
            async move { state.await.unwrap().start.seq }
        };
        assert_eq!(start(&a).await, Seq::new(10), "nothing more is trimmed");
        assert_eq!(start(&b).await, Seq::new(9), "others are");

        // Put back, it is an archive like any other.
        put(&world, &path, good).await;
        archiver.flush(PATIENCE).await.unwrap();
        assert_eq!(archiver.status().failing, None);
        assert_eq!(start(&a).await, Seq::new(14));
        world.check_nothing_is_missing(archiver.archive()).await;
        let report = world.archive().await.verify(|_| ()).await.unwrap();
        assert!(report.is_whole(), "{kind:?}: {:?}", report.faults);
    }
}

#[tokio::test(start_paused = true)]
async fn what_an_unreadable_segment_held_is_archived_again_from_a_log_that_has_it() {
    let mut world = World::new();
    let (a, b) = (room("doc/a"), room("doc/b"));
    let archiver = world.archiver(small()).await;
    for name in [&b, &a, &a, &a] {
        world.write(name, 5, 100).await;
        archiver.flush(PATIENCE).await.unwrap();
    }
    drop(archiver);
    let path = Path::from("some/where/segments/0000000001-0000000003");
    let good = world.store.get(&path).await.unwrap().bytes().await.unwrap();
    harm(&world, &path, &good, Harm::Flipped).await;
    let archiver = world.archiver(small()).await;
    let error = archiver.flush(PATIENCE).await.unwrap_err();
    let none = ArchiveError::Unreadable {
        objects: String::new(),
        harm: String::new(),
        room: None,
        seqs: None,
    };
    assert_eq!(
        std::mem::discriminant(&error),
        std::mem::discriminant(&none)
    );
    assert!(error.to_string().contains("archived in others"), "{error}");
    world.check_nothing_is_missing(archiver.archive()).await;
    let segments = archiver.status().segments;
    archiver.flush(PATIENCE).await.unwrap_err();
    assert_eq!(archiver.status().segments, segments, "once");
    // Both copies are there then.
    put(&world, &path, good).await;
    archiver.flush(PATIENCE).await.unwrap();
    world.check_nothing_is_missing(archiver.archive()).await;
    assert!(
        world
            .archive()
            .await
            .verify(|_| ())
            .await
            .unwrap()
            .is_whole()
    );
}

#[tokio::test(start_paused = true)]
async fn an_archive_that_nothing_shows_to_be_ours_is_not_written_to() {
    let mut world = World::new();
    let archiver = world.archiver(small()).await;
    world.write(&room("doc/a"), 5, 100).await;
    archiver.flush(PATIENCE).await.unwrap();
    drop(archiver);
    let (path, good) = segment_of(&world, &room("doc/a")).await;
    harm(&world, &path, &good, Harm::Flipped).await;
    let before = objects(&world).await.len();
    let archiver = world.archiver(small()).await;
    let error = archiver.flush(Duration::from_secs(60)).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("nothing is written to it"), "{text}");
    assert_eq!(objects(&world).await.len(), before);
    put(&world, &path, good).await;
    archiver.flush(PATIENCE).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_damaged_block_stays_where_it_is_and_the_rest_is_merged_and_trimmed() {
    let mut world = World::new();
    let (a, b) = (room("doc/a"), room("doc/b"));
    let archiver = world.archiver(small()).await;
    for name in [&a, &b, &b, &b] {
        world.write(name, 5, 100).await;
        archiver.flush(PATIENCE).await.unwrap();
    }
    drop(archiver);
    let (path, good) = segment_of(&world, &a).await;
    let mut bad = good.to_vec();
    bad[40] ^= 1;
    put(&world, &path, bad).await;
    let options = ArchiverOptions {
        merge_segments: 2,
        ..trimming()
    };
    let archiver = world.archiver(options).await;
    for (name, seq) in [(&a, 5), (&b, 15)] {
        archiver.offer(world.snapshot(name, seq));
    }
    let error = archiver.flush(PATIENCE).await.unwrap_err();
    assert!(
        matches!(&error, ArchiveError::Damaged { object, room: Some(found), seq, .. }
            if object == path.as_ref() && *found == a && *seq == Some(Seq::FIRST)),
        "{error:?}"
    );
    assert_eq!(
        archiver.status().segments,
        2,
        "the damaged one, and one of all others"
    );
    let start = |name: &RoomName| {
        let state = world.log.state(name);
        async move { state.await.unwrap().start.seq }
    };
    assert_eq!(start(&a).await, Seq::ZERO, "the log has the only copy");
    assert_eq!(start(&b).await, Seq::new(15));
    put(&world, &path, good).await;
    tokio::time::sleep(ArchiverOptions::default().tidy_every).await;
    archiver.flush(PATIENCE).await.unwrap();
    archiver.flush(PATIENCE).await.unwrap();
    assert_eq!(archiver.status().segments, 1);
    world.check_nothing_is_missing(archiver.archive()).await;
}

#[tokio::test(start_paused = true)]
async fn a_restore_brings_back_what_is_whole_and_says_room_by_room_what_is_missing() {
    let mut world = World::new();
    let (a, b, c) = (room("doc/a"), room("doc/b"), room("doc/c"));
    let archiver = world.archiver(small()).await;
    for name in [&a, &b, &c, &a, &a] {
        world.write(name, 5, 100).await;
        archiver.flush(PATIENCE).await.unwrap();
    }
    drop(archiver);
    let found = objects(&world).await;
    let nth = |n: u64| {
        let path = Path::from(format!("some/where/segments/0000000001-000000000{n}"));
        let found = found.iter().find(|(at, _)| *at == path);
        found.cloned().unwrap()
    };
    // Of `a` the middle third, and all that there is of `c`.
    let (middle, third) = (nth(4), nth(3));
    let mut bad = middle.1.to_vec();
    bad[40] ^= 1;
    put(&world, &middle.0, bad).await;
    harm(&world, &third.0, &third.1, Harm::Flipped).await;
    let log = MemoryLog::new();
    let mut told = Vec::new();
    let archive = world.archive().await;
    let restored = restore(&archive, &log, |room| {
        told.push((room.room.clone(), room.head.seq.get(), room.archived.get()));
    });
    let Err(RestoreError::Incomplete(restored)) = restored.await else {
        panic!("what is missing was not told");
    };
    assert_eq!(told, [(a.clone(), 5, 15), (b.clone(), 5, 5)]);
    assert_eq!((restored.rooms, restored.records), (2, 10));
    let lines: Vec<String> = restored.missing.iter().map(ToString::to_string).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    for says in [
        "doc/a: seq 6 to 15 are missing",
        middle.0.as_ref(),
        "at seq 6",
    ] {
        assert!(lines[0].contains(says), "{lines:?}");
    }
    for says in [
        third.0.as_ref(),
        "it holds 5 records and 0 snapshots of 1 room",
    ] {
        assert!(lines[1].contains(says), "{lines:?}");
    }
    for (name, kept) in [(&a, 5), (&b, 5), (&c, 0)] {
        let read = log.read(name, Seq::ZERO, 1 << 20).await.unwrap();
        let read = read.iter().flat_map(Run::records).map(Result::unwrap);
        assert!(
            read.eq(world.model[name].records[..kept].iter().cloned()),
            "{name}"
        );
    }
    // Put back, the rest comes after what is there.
    put(&world, &middle.0, middle.1.clone()).await;
    put(&world, &third.0, third.1.clone()).await;
    let rest = restore(&world.archive().await, &log, |_| ()).await.unwrap();
    assert_eq!((rest.records, rest.missing), (15, vec![]));
    for (name, model) in &world.model {
        assert_eq!(log.state(name).await.unwrap().head, model.head());
    }
}

#[test]
fn hostile_segments_and_manifests_are_refused_and_do_not_panic() {
    let mut world = World::new();
    let a = room("doc/a");
    let id = SegmentId {
        epoch: 1,
        counter: 2,
    };
    let mut builder = SegmentBuilder::new(id);
    let run = world.run(Head::EMPTY, 9, 60, true);
    builder.push_run(&a, &run).unwrap();
    let sealed = builder.finish();
    let manifest = Manifest {
        number: 3,
        epoch: 1,
        segments: vec![sealed.meta],
        replaced: vec![id],
        ..Manifest::default()
    };
    assert_eq!(Manifest::open(3, &manifest.seal()), Ok(manifest.clone()));
    assert!(Manifest::open(4, &manifest.seal()).is_err());
    let mut rng = Rng::new(5);
    let mut mutate = |good: &[u8]| {
        let mut bad = good.to_vec();
        for _ in 0..=rng.below(3) {
            let at = rng.below(bad.len());
            bad[at] = rng.next() as u8;
        }
        if rng.below(3) == 0 {
            bad.truncate(rng.below(bad.len() + 1));
        }
        bad
    };
    for _ in 0..5000 {
        let bad = mutate(&sealed.bytes);
        let _ = open_header(id, &bad);
        let tail = bad
            .get(sealed.meta.index_offset as usize..)
            .unwrap_or_default();
        let _ = SegmentIndex::open(&sealed.meta, tail);
        for entry in &sealed.index.entries {
            let block = bad.get(entry.offset as usize..entry.end() as usize);
            let _ = block.map(|block| entry.open_records(block));
            let _ = block.map(|block| entry.open_snapshot(block));
        }
        let _ = Manifest::open(3, &mutate(&manifest.seal()));
        // Behind right checksums as well.
        let raw = crate::archive::codec::decompress(&manifest.seal()[16..], 1 << 20).unwrap();
        let _ = Manifest::open(3, &Manifest::sealed(&mutate(&raw)));
        let index = SegmentIndex::raw(&sealed.index.entries);
        let tail = SegmentIndex::sealed(&mutate(&index), sealed.meta.index_offset, 1);
        let mut meta = sealed.meta;
        meta.length = meta.index_offset + tail.len() as u64;
        let _ = SegmentIndex::open(&meta, &tail);
    }
}
