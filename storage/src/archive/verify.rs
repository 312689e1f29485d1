//! The scrub.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use protocol::envelope::Damage;
use protocol::{Head, RoomName, Seq};
use xxhash_rust::xxh3::xxh3_128;

use super::bucket::retried;
use super::index::{EntryKind, IndexEntry, SegmentIndex};
use super::limits::{MAX_FAULTS, MAX_SEGMENT_BYTES};
use super::manifest::Manifest;
use super::segment::{SegmentBuilder, SegmentId, SegmentMeta, open_header};
use super::{ArchiveError, Inner, READ_BACKOFF};

/// How far a scrub is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VerifyProgress {
    /// Objects checked.
    pub objects: u64,
    /// Of so many.
    pub of_objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Faults found.
    pub faults: u64,
}

/// What a scrub found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VerifyReport {
    /// Objects checked.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Rooms with anything in the archive.
    pub rooms: u64,
    /// Records checked.
    pub records: u64,
    /// Snapshots checked.
    pub snapshots: u64,
    /// Objects that no kept manifest names: left by a crash or replaced, and collected in time.
    pub orphans: u64,
    /// What is wrong, at most [`super::limits::MAX_FAULTS`] of them.
    pub faults: Vec<Fault>,
    /// How many faults are not listed.
    pub more_faults: u64,
}

impl VerifyReport {
    /// Whether all holds.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.faults.is_empty() && self.more_faults == 0
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The object's path in the store.
    pub object: String,
    /// The room, where it is one room's.
    pub room: Option<RoomName>,
    /// The first Seq that cannot be trusted, where there is one.
    pub seq: Option<Seq>,
    /// What is wrong.
    pub what: String,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(room) = &self.room {
            write!(f, "{room} ")?;
        }
        if let Some(seq) = self.seq {
            write!(f, "at seq {seq} ")?;
        }
        write!(f, "in {}: {}", self.object, self.what)
    }
}

/// Where to check which snapshot: the records' heads at these Seqs are compared on the way.
type Snapshots = HashMap<RoomName, BTreeMap<Seq, Head>>;

struct Scrub<'a, P> {
    inner: &'a Inner,
    report: VerifyReport,
    of_objects: u64,
    progress: P,
}

/// Reads every object and checks all of it: each object as a whole, each part of it, that the
/// parts say the same as the index, and that rooms go on from segment to segment.
pub(super) async fn verify(
    inner: &Inner,
    progress: impl FnMut(&VerifyProgress),
) -> Result<VerifyReport, ArchiveError> {
    inner.refresh().await?;
    let mut scrub = Scrub {
        inner,
        report: VerifyReport::default(),
        of_objects: 0,
        progress,
    };
    let list = |folder: &'static str| async move {
        let list = || inner.bucket.list(folder);
        retried(inner.options.read_tries, READ_BACKOFF, list)
            .await
            .map_err(|failure| inner.failed("list", folder, failure))
    };
    let manifests = list("manifests").await?;
    let objects = list("segments").await?;
    let (manifest, snapshots) = {
        let catalogue = inner.catalogue.read();
        let snapshots: Snapshots = (catalogue.rooms.iter())
            .map(|(name, room)| {
                let heads = room.snapshots.iter().map(|(head, _)| (head.seq, *head));
                (name.clone(), heads.collect())
            })
            .collect();
        (catalogue.manifest.clone(), snapshots)
    };
    scrub.of_objects = (manifests.len() + manifest.segments.len()) as u64;
    let mut named: HashSet<SegmentId> = manifest.segments.iter().map(|s| s.id).collect();
    for object in &manifests {
        scrub.manifest(&object.path, &mut named).await?;
    }
    for object in &objects {
        let id = object
            .path
            .strip_prefix("segments/")
            .and_then(SegmentId::parse);
        if !id.is_some_and(|id| named.contains(&id)) {
            scrub.report.orphans += 1;
        }
    }
    for meta in &manifest.segments {
        scrub.segment(meta, &snapshots).await?;
    }
    scrub.rooms();
    Ok(scrub.report)
}

impl<P: FnMut(&VerifyProgress)> Scrub<'_, P> {
    fn fault(&mut self, path: &str, room: Option<&RoomName>, seq: Option<Seq>, what: String) {
        if self.report.faults.len() == MAX_FAULTS {
            self.report.more_faults += 1;
            return;
        }
        self.report.faults.push(Fault {
            object: self.inner.bucket.name(path),
            room: room.cloned(),
            seq,
            what,
        });
    }

    fn step(&mut self, bytes: usize) {
        self.report.objects += 1;
        self.report.bytes += bytes as u64;
        (self.progress)(&VerifyProgress {
            objects: self.report.objects,
            of_objects: self.of_objects,
            bytes: self.report.bytes,
            faults: self.report.faults.len() as u64 + self.report.more_faults,
        });
    }

    async fn manifest(
        &mut self,
        path: &str,
        named: &mut HashSet<SegmentId>,
    ) -> Result<(), ArchiveError> {
        let name = path.strip_prefix("manifests/").unwrap_or(path);
        let Some(number) = Manifest::parse_name(name) else {
            return Ok(());
        };
        match self.inner.manifest(number).await {
            Ok(manifest) => named.extend(manifest.segments.iter().map(|s| s.id)),
            Err(ArchiveError::Damaged { damage, .. }) => {
                self.fault(path, None, None, damage.to_string());
            }
            // Collected since it was listed.
            Err(ArchiveError::Missing { .. }) => {}
            Err(error) => return Err(error),
        }
        self.step(0);
        Ok(())
    }

    async fn segment(
        &mut self,
        meta: &SegmentMeta,
        snapshots: &Snapshots,
    ) -> Result<(), ArchiveError> {
        let path = meta.id.to_string();
        let object = match self.inner.get(&path, None, MAX_SEGMENT_BYTES).await {
            Ok(object) => object,
            Err(ArchiveError::Missing { .. }) => {
                let replaced = !(self.inner.catalogue.read().segments).contains_key(&meta.id);
                if !replaced {
                    let what = format!("it is missing; it holds {}", meta.contents());
                    self.fault(&path, None, None, what);
                }
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let before = self.report.faults.len() as u64 + self.report.more_faults;
        self.parts(meta, &path, &object, snapshots);
        let after = self.report.faults.len() as u64 + self.report.more_faults;
        let whole = object.len() as u64 == meta.length && xxh3_128(&object) == meta.hash;
        if !whole && before == after {
            let what = "its checksum is not the one in the manifest".to_owned();
            self.fault(&path, None, None, what);
        }
        self.step(object.len());
        Ok(())
    }

    /// Everything inside a segment.
    fn parts(&mut self, meta: &SegmentMeta, path: &str, object: &Bytes, snapshots: &Snapshots) {
        if let Err(damage) = open_header(meta.id, object) {
            self.fault(path, None, None, format!("its header: {damage}"));
        }
        let tail = object.get(meta.index_offset as usize..).unwrap_or_default();
        let index = match SegmentIndex::open(meta, tail) {
            Ok(index) => index,
            Err(damage) => {
                let what = format!("its index: {damage}; it holds {}", meta.contents());
                return self.fault(path, None, None, what);
            }
        };
        for entry in &index.entries {
            let (room, seq) = (Some(&entry.room), Some(entry.before.seq.next()));
            let block = object.get(entry.offset as usize..entry.end() as usize);
            let checked = match (entry.kind, block) {
                (EntryKind::Cut | EntryKind::Erasure, _) => Ok(()),
                (_, None) => Err((seq, Damage::Torn.to_string())),
                (EntryKind::Records, Some(block)) => {
                    self.report.records += entry.count();
                    check_records(entry, block, snapshots.get(&entry.room))
                }
                (EntryKind::Snapshot, Some(block)) => {
                    self.report.snapshots += 1;
                    let opened = entry.open_snapshot(block);
                    opened.map(drop).map_err(|damage| {
                        (Some(entry.after.seq), format!("its snapshot: {damage}"))
                    })
                }
            };
            if let Err((seq, what)) = checked {
                self.fault(path, room, seq, what);
            }
        }
    }

    /// Whether rooms go on from segment to segment.
    fn rooms(&mut self) {
        let catalogue = self.inner.catalogue.read();
        let manifest = Manifest::path(catalogue.manifest.number);
        let alive = catalogue.rooms.values().filter(|room| !room.is_deleted());
        self.report.rooms = alive.count() as u64;
        let gaps: Vec<(RoomName, (Head, Seq))> = (catalogue.rooms.iter())
            .filter_map(|(name, room)| Some((name.clone(), room.gap()?)))
            .collect();
        drop(catalogue);
        for (name, (before, up_to)) in gaps {
            let what = if up_to > before.seq {
                format!("no segment that can be read has the records from there to seq {up_to}")
            } else {
                "the records that follow are of another history".to_owned()
            };
            self.fault(&manifest, Some(&name), Some(before.seq.next()), what);
        }
    }
}

fn check_records(
    entry: &IndexEntry,
    block: &[u8],
    snapshots: Option<&BTreeMap<Seq, Head>>,
) -> Result<(), (Option<Seq>, String)> {
    let first = Some(entry.before.seq.next());
    let run = entry
        .open_records(block)
        .map_err(|damage| (first, damage.to_string()))?;
    run.verify()
        .map_err(|(seq, damage)| (Some(seq), damage.to_string()))?;
    // What the index says of a block is told by packing its records anew.
    let mut builder = SegmentBuilder::new(SegmentId {
        epoch: 0,
        counter: 0,
    });
    builder
        .push_run(&entry.room, &run)
        .map_err(|(seq, damage)| (Some(seq), damage.to_string()))?;
    let packed = builder.finish().index;
    let says: Vec<_> = packed.entries.iter().map(IndexEntry::activity).collect();
    if says != [entry.activity()] && says.len() == 1 {
        return Err((
            first,
            "its index says otherwise than its records".to_owned(),
        ));
    }
    let Some(snapshots) = snapshots else {
        return Ok(());
    };
    let inside = snapshots.range(entry.before.seq.next()..=entry.after.seq);
    if inside.clone().next().is_none() {
        return Ok(());
    }
    let heads: HashMap<Seq, Head> = run
        .records()
        .filter_map(Result::ok)
        .map(|record| (record.seq, record.head()))
        .collect();
    for (seq, head) in inside {
        if heads.get(seq) != Some(head) {
            let what = "the snapshot here is of another history".to_owned();
            return Err((Some(*seq), what));
        }
    }
    Ok(())
}
