use bytes::Bytes;
use futures_util::StreamExt;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};

use super::*;
use crate::archive::index::SegmentIndex;
use crate::archive::manifest::Manifest;
use crate::archive::segment::{SegmentBuilder, SegmentId, open_header};
use crate::archive::{ArchiveError, Fault, VerifyReport};

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
    // Nothing is written to it or restored from it: what is lost is not known.
    let archiver = world.archiver(small()).await;
    let error = archiver.flush(Duration::from_secs(60)).await.unwrap_err();
    assert!(error.to_string().contains("is missing"), "{error}");
    let log = MemoryLog::new();
    assert!(
        crate::archive::restore(&archive, &log, |_| ())
            .await
            .is_err()
    );
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
