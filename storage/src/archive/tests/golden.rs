//! The formats, byte for byte: a change of these files is a change of format.
//!
//! `GOLDEN=write` writes them anew, which only a new format version may do.

use std::path::PathBuf;

use protocol::{Chain, OpId};

use super::*;
use crate::archive::index::{EntryKind, SegmentIndex};
use crate::archive::manifest::Manifest;
use crate::archive::segment::{SegmentBuilder, SegmentId, SegmentMeta, open_header};

fn check(name: &str, bytes: &[u8]) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/archive/tests/golden");
    let path = folder.join(name);
    if std::env::var("GOLDEN").is_ok_and(|set| set == "write") {
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(&path, bytes).unwrap();
    }
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn fixed_run() -> Run {
    let mut builder = RunBuilder::new(Head::EMPTY);
    for n in 1..=4_u64 {
        let draft = Draft {
            author: Author {
                user: (n == 1).then(|| UserId::new("ada").unwrap()),
                session: SessionId::new(7),
                site: (n == 2).then(|| Site::new(9)),
            },
            op_id: (n == 3).then(|| OpId::new([5; 16])),
            base: None,
            kind: Kind::Update,
            payload: vec![n as u8; 3].into(),
        };
        builder.push(Timestamp::from_micros(1000 * n), &draft);
    }
    builder.finish().unwrap()
}

fn fixed_snapshot() -> Snapshot {
    Snapshot {
        room: room("doc/a"),
        head: fixed_run().after(),
        kind: 1,
        title: Some("Notes".to_owned()),
        created: Timestamp::from_micros(1000),
        clients: bytes::Bytes::from_static(b"the clients"),
        content: bytes::Bytes::from_static(b"the document"),
    }
}

fn fixed_segment() -> crate::archive::segment::Sealed {
    let mut builder = SegmentBuilder::new(SegmentId {
        epoch: 2,
        counter: 3,
    });
    builder.push_run(&room("doc/a"), &fixed_run()).unwrap();
    builder.push_snapshot(&fixed_snapshot()).unwrap();
    let head = Head {
        seq: Seq::new(5),
        at: Timestamp::from_micros(6),
        chain: Chain::from_raw(7),
    };
    let created = Timestamp::from_micros(4);
    builder.push_floor(&room("pit/b"), EntryKind::Erasure, head, created);
    builder.push_floor(&room("pit/c"), EntryKind::Cut, head, created);
    builder.finish()
}

// What is compressed may come out otherwise with another version of zstd, and is right as long as
// it decompresses to the same; so the fields are pinned, and the golden objects are read.

#[test]
fn a_golden_snapshot_is_read_and_its_fields_are_pinned() {
    let snapshot = fixed_snapshot();
    let golden = check("snapshot.v1", &snapshot.encode().unwrap());
    assert_eq!(Snapshot::decode(&golden), Ok(snapshot.clone()));
    let sealed = snapshot.seal().unwrap();
    assert_eq!(check("snapshot.v1.fields", &sealed), sealed);
}

#[test]
fn a_golden_segment_is_read_and_its_fields_are_pinned() {
    let sealed = fixed_segment();
    let golden = check("segment.v1", &sealed.bytes);
    let raw = SegmentIndex::raw(&sealed.index.entries);
    assert_eq!(open_header(sealed.meta.id, &golden), Ok(()));
    let at = golden.len() - 40;
    let offset = u64::from_le_bytes(golden[at..at + 8].try_into().unwrap());
    let meta = SegmentMeta {
        length: golden.len() as u64,
        index_offset: offset,
        ..sealed.meta
    };
    let index = SegmentIndex::open(&meta, &golden[offset as usize..]).unwrap();
    let kinds: Vec<EntryKind> = index.entries.iter().map(|entry| entry.kind).collect();
    assert_eq!(
        kinds,
        [
            EntryKind::Records,
            EntryKind::Snapshot,
            EntryKind::Erasure,
            EntryKind::Cut
        ]
    );
    let block =
        |i: usize| &golden[index.entries[i].offset as usize..index.entries[i].end() as usize];
    assert_eq!(index.entries[0].open_records(block(0)), Ok(fixed_run()));
    assert_eq!(
        index.entries[1].open_snapshot(block(1)),
        Ok(fixed_snapshot())
    );
    assert_eq!(
        SegmentIndex::raw(&index.entries),
        check("index.v1.fields", &raw)
    );
    assert_eq!(golden[..32], sealed.bytes[..32], "the header");
}

#[test]
fn a_golden_manifest_is_read_and_its_fields_are_pinned() {
    let segment = SegmentMeta {
        id: SegmentId {
            epoch: 2,
            counter: 3,
        },
        length: 1000,
        hash: 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10,
        index_offset: 900,
        rooms: 3,
        records: 4,
        snapshots: 1,
        raw_bytes: 500,
    };
    let manifest = Manifest {
        number: 11,
        epoch: 2,
        writer: 99,
        at: Timestamp::from_micros(123),
        segments: vec![segment],
        replaced: vec![SegmentId {
            epoch: 1,
            counter: 1,
        }],
    };
    let golden = check("manifest.v1", &manifest.seal());
    assert_eq!(Manifest::open(11, &golden), Ok(manifest.clone()));
    let raw = crate::archive::codec::decompress(&manifest.seal()[16..], 1 << 20).unwrap();
    assert_eq!(check("manifest.v1.fields", &raw), raw);
    assert_eq!(Manifest::path(11), "manifests/00000000000000000011");
    assert_eq!(segment.id.to_string(), "segments/0000000002-0000000003");
}
