//! Folding rooms out of a log.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use bytes::Bytes;
use protocol::record::RunBuilder;
use protocol::{
    Author, ClientId, Draft, Head, Kind as RecordKind, OpId, RoomName, Seq, SessionId, Timestamp,
};
use replay::{Document, FoldError, Folded, History, Kind, YjsDocument};
use storage::memory::MemoryLog;
use storage::{Batch, Entry, Log};

async fn fold(room: &Room, kind: Kind, up_to: Option<Seq>) -> Result<Folded, FoldError> {
    let history = History::of_log(Arc::clone(&room.log) as Arc<dyn Log>, kind);
    history
        .fold_all(&room.name, up_to.unwrap_or(Seq::MAX))
        .await
}

struct Room {
    log: Arc<MemoryLog>,
    name: RoomName,
    head: Head,
}

const CLIENT: ClientId = ClientId::new(9).unwrap();

impl Room {
    fn new() -> Self {
        Self {
            log: Arc::new(MemoryLog::new()),
            name: RoomName::new("doc", "a").unwrap(),
            head: Head::EMPTY,
        }
    }

    async fn write(&mut self, records: impl IntoIterator<Item = (RecordKind, Bytes)>) {
        let mut run = RunBuilder::new(self.head);
        for (kind, payload) in records {
            let op_id = OpId::of_client(CLIENT, run.head().seq.get());
            let author = Author {
                user: None,
                session: SessionId::new(1),
                site: None,
            };
            let draft = Draft {
                author,
                op_id: (kind == RecordKind::Update).then_some(op_id),
                base: None,
                kind,
                payload,
            };
            self.head = run.push(Timestamp::from_micros(1), &draft);
        }
        self.apply(Entry::Run(self.name.clone(), run.finish().unwrap()))
            .await;
    }

    async fn apply(&self, entry: Entry) {
        let entries = vec![entry];
        self.log.append(Batch { entries }).await.unwrap();
    }
}

/// One character after the one before it.
fn typed(n: u32) -> Bytes {
    let clock = |n: u32| [n as u8 | 0x80, (n >> 7) as u8 | 0x80, (n >> 14) as u8];
    let mut update = vec![1, 1, 5];
    update.extend(clock(n));
    if n == 0 {
        update.extend([4, 1, 1, b't']);
    } else {
        update.extend([0x84, 5]);
        update.extend(clock(n - 1));
    }
    update.extend([1, b'x', 0]);
    update.into()
}

#[tokio::test]
async fn a_room_folds_to_any_seq() {
    let mut room = Room::new();
    room.write([(RecordKind::Created, Bytes::new())]).await;
    // More than a page.
    for from in (0..30_000).step_by(1_000) {
        let updates = (from..from + 1_000).map(|n| (RecordKind::Update, typed(n)));
        room.write(updates).await;
    }
    room.write([(RecordKind::Titled, Bytes::from_static("Über".as_bytes()))])
        .await;

    let whole = fold(&room, Kind::Yjs, None).await.unwrap();
    assert_eq!((whole.head, whole.records), (room.head, 30_002));
    let state = room.log.state(&room.name).await.unwrap();
    assert_eq!(whole.bytes, state.bytes);
    assert_eq!(whole.facts.title.as_deref(), Some("Über"));
    let client = whole.clients.get(CLIENT.get()).unwrap();
    assert_eq!((client.last(), client.seq), (30_000, Seq::new(30_001)));
    for seq in [1, 2, 500, 17_000, 30_002, 90_000] {
        let part = fold(&room, Kind::Yjs, Some(Seq::new(seq))).await;
        let part = part.unwrap();
        assert_eq!(part.head.seq.get(), seq.min(30_002));
        let mut document = YjsDocument::new();
        document.integrate(
            &(0..seq.min(30_001) as u32 - 1)
                .map(typed)
                .collect::<Vec<_>>(),
        );
        assert_eq!(part.document.encode(), document.encode(), "{seq}");
    }
}

#[tokio::test]
async fn a_room_that_never_was_is_empty() {
    let room = Room::new();
    for kind in [Kind::Yjs, Kind::Opaque] {
        let folded = fold(&room, kind, None).await.unwrap();
        assert_eq!((folded.head, folded.records), (Head::EMPTY, 0));
        assert!(folded.document.is_empty_version(&folded.document.version()));
    }
}

#[tokio::test]
async fn a_deleted_room_begins_again() {
    let mut room = Room::new();
    room.write([
        (RecordKind::Update, typed(0)),
        (RecordKind::Deleted, Bytes::new()),
    ])
    .await;
    let folded = fold(&room, Kind::Yjs, None).await.unwrap();
    assert!(folded.facts.deleted);
    room.apply(Entry::Delete(room.name.clone())).await;
    let folded = fold(&room, Kind::Yjs, None).await.unwrap();
    assert_eq!((folded.head, folded.records), (room.head, 0));
    room.write([
        (RecordKind::Created, Bytes::new()),
        (RecordKind::Update, typed(0)),
    ])
    .await;
    let folded = fold(&room, Kind::Yjs, None).await.unwrap();
    assert_eq!((folded.head, folded.records), (room.head, 2));
    assert!(!folded.facts.deleted);
}

#[tokio::test]
async fn a_record_that_does_not_fold_is_named() {
    let mut room = Room::new();
    room.write([
        (RecordKind::Update, typed(0)),
        (RecordKind::Update, Bytes::from_static(&[1])),
        (RecordKind::Update, typed(1)),
    ])
    .await;
    let error = fold(&room, Kind::Yjs, None).await.unwrap_err();
    assert!(
        matches!(&error, FoldError::Refused { seq, .. } if seq.get() == 2),
        "{error}"
    );
    assert!(
        error.to_string().starts_with("doc/a holds at seq 2"),
        "{error}"
    );
    let before = fold(&room, Kind::Yjs, Some(Seq::FIRST)).await.unwrap();
    assert_eq!(before.records, 1);
    let opaque = fold(&room, Kind::Opaque, None).await.unwrap();
    assert_eq!(opaque.records, 3);
}

#[tokio::test]
async fn a_trimmed_room_needs_what_was_trimmed() {
    let mut room = Room::new();
    room.write((0..9).map(|n| (RecordKind::Update, typed(n))))
        .await;
    room.apply(Entry::Trim(room.name.clone(), Seq::new(4)))
        .await;
    let error = fold(&room, Kind::Yjs, None).await.unwrap_err();
    assert!(error.to_string().contains("trimmed"), "{error}");
}
