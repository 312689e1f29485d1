//! The archive's guarantees, each a test with its name.

mod damage;
mod golden;
mod lifecycle;
mod s3;
mod schedules;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use object_store::memory::InMemory;
use protocol::record::RunBuilder;
use protocol::{
    Author, Draft, Head, Kind, Record, RoomName, Run, Seq, SessionId, Site, Timestamp, UserId,
};

use super::{Archive, Archiver, ArchiverOptions, Options, Snapshot};
use crate::log::{Batch, Entry, Log};
use crate::memory::MemoryLog;
use crate::suite::Rng;

const PATIENCE: Duration = Duration::from_secs(3600);

fn room(name: &str) -> RoomName {
    RoomName::parse(name).unwrap()
}

/// A log, a store, and everything that was ever appended.
struct World {
    log: MemoryLog,
    store: Arc<dyn ObjectStore>,
    model: BTreeMap<RoomName, Model>,
    drafted: u64,
    clock: u64,
}

#[derive(Default)]
struct Model {
    records: Vec<Record>,
    /// How many of them a deletion has erased.
    erased: usize,
}

impl Model {
    fn head(&self) -> Head {
        self.records.last().map_or(Head::EMPTY, Record::head)
    }
}

impl World {
    fn new() -> Self {
        Self::on(Arc::new(InMemory::new()))
    }

    fn on(store: Arc<dyn ObjectStore>) -> Self {
        Self {
            log: MemoryLog::new(),
            store,
            model: BTreeMap::new(),
            drafted: 0,
            clock: 1_000_000_000,
        }
    }

    async fn archive(&self) -> Archive {
        Archive::on(Arc::clone(&self.store), "some/where", Options::default())
            .await
            .unwrap()
    }

    async fn archiver(&self, options: ArchiverOptions) -> Archiver {
        let log: Arc<dyn Log> = Arc::new(self.log.clone());
        Archiver::start(log, self.archive().await, options, Arc::new(()))
    }

    /// A run; with the event that every life of a room begins with if it `begins` one.
    fn run(&mut self, head: Head, n: usize, len: usize, begins: bool) -> Run {
        let mut builder = RunBuilder::new(head);
        for i in 0..n {
            self.drafted += 1;
            self.clock += (self.drafted % 3) * 1000;
            let mut draft = draft(self.drafted, len);
            if begins && i == 0 {
                draft.kind = Kind::Created;
            }
            builder.push(Timestamp::from_micros(self.clock), &draft);
        }
        builder.finish().unwrap()
    }

    /// Appends records to a room, in the log and the model.
    async fn write(&mut self, name: &RoomName, n: usize, len: usize) {
        let model = self.model.entry(name.clone()).or_default();
        let begins = model.records.len() == model.erased;
        let head = model.head();
        let run = self.run(head, n, len, begins);
        let records = run.records().map(Result::unwrap);
        self.model.get_mut(name).unwrap().records.extend(records);
        self.append(Entry::Run(name.clone(), run)).await;
    }

    async fn delete(&mut self, name: &RoomName) {
        if let Some(model) = self.model.get_mut(name) {
            model.erased = model.records.len();
        }
        self.append(Entry::Delete(name.clone())).await;
    }

    async fn append(&self, entry: Entry) {
        let entries = vec![entry];
        self.log.append(Batch { entries }).await.unwrap();
    }

    /// A snapshot that says where it stands.
    fn snapshot(&self, name: &RoomName, seq: usize) -> Snapshot {
        let model = &self.model[name];
        Snapshot {
            room: name.clone(),
            head: model.records[seq - 1].head(),
            kind: 1,
            clients: bytes::Bytes::from_static(&[1, 0]),
            title: Some(format!("{name} at {seq}")),
            created: model.records[0].at,
            content: vec![seq as u8; seq].into(),
        }
    }

    /// Everything the archive has must be what was appended, from its start on.
    async fn check(&self, archive: &Archive) {
        for (name, model) in &self.model {
            let Some(found) = archive.room(name) else {
                continue;
            };
            let start = found.start.seq.get() as usize;
            let end = found.head.seq.get() as usize;
            let read = records(archive, name, found.start.seq).await;
            assert!(
                read == model.records[start..end],
                "{name} from {start} to {end}"
            );
            for head in archive.snapshots(name) {
                let snapshot = archive.snapshot(name, head.seq).await.unwrap().unwrap();
                let seq = head.seq.get() as usize;
                assert_eq!(snapshot, self.snapshot(name, seq), "{name} at {seq}");
            }
        }
    }

    /// What the log has trimmed, the archive must have.
    async fn check_trims(&self, archive: &Archive) {
        for (name, model) in &self.model {
            let state = self.log.state(name).await.unwrap();
            if state.start.seq > state.erased {
                let found = archive
                    .room(name)
                    .expect("a trimmed room is in the archive");
                assert!(
                    state.start.seq <= found.head.seq,
                    "{name} was trimmed too far"
                );
                assert!(model.head() == state.head);
            }
        }
    }

    /// The archive and the log together have every record that was not erased.
    async fn check_nothing_is_missing(&self, archive: &Archive) {
        self.check(archive).await;
        self.check_trims(archive).await;
        for (name, model) in &self.model {
            let kept = &model.records[model.erased..];
            let found = archive.room(name);
            if kept.is_empty() {
                assert!(found.is_none(), "{name} was deleted");
                continue;
            }
            let found = found.unwrap_or_else(|| panic!("{name} is not in the archive"));
            assert_eq!(found.head, model.head(), "{name}");
            assert_eq!(found.start.seq.get() as usize, model.erased, "{name}");
            assert_eq!(found.created, model.records[0].at, "{name}");
        }
    }
}

fn draft(n: u64, len: usize) -> Draft {
    let mut rng = Rng::new(n);
    let payload: Vec<u8> = (0..len).map(|_| rng.next() as u8 & 0x3f).collect();
    Draft {
        author: Author {
            user: n
                .is_multiple_of(3)
                .then(|| UserId::new(&format!("user {}", n % 7)).unwrap()),
            session: SessionId::new(n % 5),
            site: (n % 3 == 1).then(|| Site::new(n % 4)),
        },
        op_id: None,
        base: None,
        kind: Kind::Update,
        payload: payload.into(),
    }
}

/// Every record after `after`, with the reads and the chain checked on the way.
async fn records(archive: &Archive, name: &RoomName, after: Seq) -> Vec<Record> {
    let mut at = after;
    let mut records = Vec::new();
    loop {
        let runs = archive.read(name, at, 3000).await.unwrap();
        if runs.is_empty() {
            return records;
        }
        for run in runs {
            assert_eq!(run.before().seq, at);
            run.verify().unwrap();
            at = run.last();
            records.extend(run.records().map(Result::unwrap));
        }
    }
}

fn small() -> ArchiverOptions {
    ArchiverOptions {
        segment_bytes: 8 << 10,
        small_segment_bytes: 16 << 10,
        merge_segments: 1000,
        ..ArchiverOptions::default()
    }
}
