//! `well verify`: everything that can be checked of a data folder, an archive, or both.
//!
//! For each room: every record's checksum and place, and the chain hash through all of them; every
//! snapshot against the fold of the records up to it; and where log and archive hold the same
//! record, that it is the same, and that no record is in neither. Then every byte of the stores of snapshots and of the archive.

use std::collections::BTreeMap;

use anyhow::bail;
use clap::Args;
use protocol::{Head, RoomName, Run, Seq};
use replay::{Kind, Span, document};
use storage::Log;
use storage::archive::{Archive, ArchivedLog};

use super::{count, say};
use crate::progress;
use crate::source::{Chosen, Opened, Source};

/// How many rooms are looked at at once.
const PAGE: usize = 1_000;
/// How many bytes of records are read at once.
const PAGE_BYTES: usize = 1 << 20;

/// `well verify`
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    source: Source,
}

/// What is wrong, told as it is found.
#[derive(Debug, Default)]
struct Faults {
    count: u64,
}

impl Faults {
    fn add(&mut self, what: &str) -> std::io::Result<()> {
        self.count += 1;
        say(what)
    }
}

pub(crate) async fn run(args: VerifyArgs) -> anyhow::Result<()> {
    let opened = args.source.open().await?;
    let mut faults = Faults::default();
    let bar = progress::counting("verifying");
    let (mut rooms, mut after) = (0, None);
    loop {
        let page = opened.rooms(&Chosen::All, after.as_ref()).await?;
        let Some(last) = page.last().cloned() else {
            break;
        };
        for room in page {
            rooms += 1;
            if let Err(error) = check_room(&opened, &room, &mut faults, &bar).await {
                faults.add(&format!("{room}: {error:#}"))?;
            }
        }
        after = Some(last);
    }
    if let Some(archive) = &opened.archive {
        check_known(&opened, archive, &mut faults).await?;
    }
    for (name, archive) in [
        ("snapshots", &opened.snapshots),
        ("archive", &opened.archive),
    ] {
        let Some(archive) = archive else { continue };
        scrub(name, archive, &mut faults).await?;
    }
    bar.finish_and_clear();
    opened.close().await;
    let records = bar.position();
    if faults.count > 0 {
        bail!(
            "{} in {}, {}",
            count(faults.count, "fault"),
            count(rooms, "room"),
            count(records, "record")
        );
    }
    say(&format!(
        "all holds: {}, {}",
        count(rooms, "room"),
        count(records, "record")
    ))?;
    Ok(())
}

/// Whether the log knows every room that the archive has.
async fn check_known(
    opened: &Opened,
    archive: &Archive,
    faults: &mut Faults,
) -> anyhow::Result<()> {
    let archived = ArchivedLog::new(archive.clone());
    let mut after = None;
    loop {
        let page = archived.rooms(after.as_ref(), PAGE).await?;
        let Some(last) = page.last() else {
            return Ok(());
        };
        for row in &page {
            let known = opened.log.state(&row.room).await?;
            if known.head == Head::EMPTY && !known.deleted {
                let (room, seq) = (&row.room, row.state.head.seq);
                faults.add(&format!(
                    "{room}: the archive has it up to seq {seq}, and the log does not know it"
                ))?;
            }
        }
        after = Some(last.room.clone());
    }
}

async fn scrub(name: &str, archive: &Archive, faults: &mut Faults) -> anyhow::Result<()> {
    let report = archive.verify(|_| {}).await?;
    for fault in &report.faults {
        faults.add(&format!("{name}: {fault}"))?;
    }
    faults.count += report.more_faults;
    say(&format!(
        "{name}: {}, {}, {} and {} read",
        count(report.objects, "object"),
        count(report.bytes, "byte"),
        count(report.records, "record"),
        count(report.snapshots, "snapshot")
    ))?;
    Ok(())
}

async fn check_room(
    opened: &Opened,
    room: &RoomName,
    faults: &mut Faults,
    bar: &indicatif::ProgressBar,
) -> anyhow::Result<()> {
    let history = &opened.history;
    let span = history.span(room).await?;
    if let Some(archive) = &opened.archive {
        check_whole(room, &span, archive, faults)?;
    }
    let mut snapshots: BTreeMap<Seq, Vec<&Archive>> = BTreeMap::new();
    for archive in [&opened.snapshots, &opened.archive].into_iter().flatten() {
        for head in archive.snapshots(room) {
            snapshots.entry(head.seq).or_default().push(archive);
        }
    }
    // The fold that everything else is measured by goes over all records; where the first are
    // gone, it begins at the first snapshot, which then stands for itself.
    let kind = history.kind_of(room);
    let mut document = span.from_nothing.then(|| document::new(kind));
    let mut at = span.start;
    let other = opened.archive.clone().map(ArchivedLog::new);
    if document.is_none() {
        for archive in snapshots.remove(&at.seq).unwrap_or_default() {
            check_snapshot(room, at, archive, &mut document, kind, faults).await?;
        }
    }
    while at.seq < span.head.seq {
        let page = history.read(room, at.seq, PAGE_BYTES).await?;
        if page.is_empty() {
            bail!("the records after seq {} are missing", at.seq);
        }
        for run in &page {
            if run.before() != at {
                bail!(
                    "damaged at seq {}: it does not follow what is before it",
                    at.seq.next()
                );
            }
            run.verify()
                .map_err(|(seq, damage)| anyhow::anyhow!("damaged at seq {seq}: {damage}"))?;
            at = run.after();
        }
        if let Some(other) = &other {
            compare(room, &page, other, faults).await?;
        }
        for record in page.iter().flat_map(Run::records) {
            let record = record?;
            if let Some(document) = &mut document
                && record.draft.kind == protocol::Kind::Update
            {
                for answer in document.integrate(std::slice::from_ref(&record.draft.payload)) {
                    if let Err(error) = answer {
                        bail!("the update at seq {} does not fold: {error}", record.seq);
                    }
                }
                document.recorded(record.seq);
            }
            for archive in snapshots.remove(&record.seq).unwrap_or_default() {
                check_snapshot(room, record.head(), archive, &mut document, kind, faults).await?;
            }
        }
        bar.inc(page.iter().map(Run::len).sum());
    }
    if at != span.head {
        bail!(
            "it ends at seq {} with another head than its log says",
            at.seq
        );
    }
    if document.is_none() {
        faults.add(&format!(
            "{room} at seq {}: what lies before is gone, and no snapshot stands for it: the room \
             cannot be read",
            span.start.seq
        ))?;
    }
    for (seq, _) in snapshots.range(span.start.seq.next()..) {
        faults.add(&format!(
            "{room} at seq {seq}: a snapshot of a record that is not there"
        ))?;
    }
    Ok(())
}

/// Whether log and archive together have every record of a room, as far as either knows of them.
fn check_whole(
    room: &RoomName,
    span: &Span,
    archive: &Archive,
    faults: &mut Faults,
) -> std::io::Result<()> {
    if span.deleted {
        return Ok(());
    }
    let archived = archive.room(room).map_or(Seq::ZERO, |room| room.head.seq);
    let (begins, ends) = (span.log_start.seq, span.head.seq);
    if archived < begins && !span.from_nothing {
        faults.add(&format!(
            "{room}: the log begins after seq {begins}, and the archive has it up to seq {archived} only: the \
             records between are in neither"
        ))?;
    }
    if archived > ends {
        faults.add(&format!(
            "{room}: the archive has it up to seq {archived}, and the log ends at seq {ends}"
        ))?;
    }
    Ok(())
}

/// Compares a page with what the archive has of the same records.
async fn compare(
    room: &RoomName,
    page: &[Run],
    archived: &ArchivedLog,
    faults: &mut Faults,
) -> anyhow::Result<()> {
    let (Some(first), Some(last)) = (page.first(), page.last()) else {
        return Ok(());
    };
    let state = archived.state(room).await?;
    let (mut at, up_to) = (
        first.before().seq.max(state.start.seq),
        last.last().min(state.head.seq),
    );
    let mut heads: BTreeMap<Seq, Head> = BTreeMap::new();
    while at < up_to {
        let there = archived.read(room, at, PAGE_BYTES).await?;
        let Some(end) = there.last().map(Run::last) else {
            break;
        };
        for record in there.iter().flat_map(Run::records) {
            let record = record?;
            heads.insert(record.seq, record.head());
        }
        at = end;
    }
    for record in page.iter().flat_map(Run::records) {
        let record = record?;
        if heads
            .get(&record.seq)
            .is_some_and(|head| *head != record.head())
        {
            faults.add(&format!(
                "{room} at seq {}: log and archive differ",
                record.seq
            ))?;
            return Ok(());
        }
    }
    Ok(())
}

/// Whether two documents of one version, whose encodings differ, hold and show the same.
fn is_same(kind: Kind, a: &dyn replay::Document, b: &dyn replay::Document) -> bool {
    let nothing = document::new(kind).version();
    let holds = |a: &dyn replay::Document, b: &dyn replay::Document| {
        let whole = b.diff(&nothing);
        whole.is_ok_and(|whole| a.adds_nothing(&whole).unwrap_or(false))
    };
    holds(a, b) && holds(b, a) && (kind != Kind::Text || a.json() == b.json())
}

/// Whether a snapshot is what folding gives.
async fn check_snapshot(
    room: &RoomName,
    head: Head,
    archive: &Archive,
    document: &mut Option<Box<dyn replay::Document>>,
    kind: Kind,
    faults: &mut Faults,
) -> anyhow::Result<()> {
    let snapshot = match archive.snapshot(room, head.seq).await {
        Ok(Some(snapshot)) if snapshot.head == head => snapshot,
        Ok(_) => {
            faults.add(&format!(
                "{room} at seq {}: the snapshot is not of this record",
                head.seq
            ))?;
            return Ok(());
        }
        Err(error) => {
            faults.add(&format!("{room} at seq {}: {error}", head.seq))?;
            return Ok(());
        }
    };
    let of = Kind::from_code(snapshot.kind).map_or("unknown", Kind::name);
    if of != kind.name() {
        faults.add(&format!(
            "{room} at seq {}: the snapshot is of a document of kind {of}, and the room's space is \
             configured to hold {} (--config says where)",
            head.seq,
            kind.name()
        ))?;
        return Ok(());
    }
    let loaded = document::load(kind, &snapshot.content);
    let same = match (&loaded, &*document) {
        (Ok(loaded), Some(folded)) => {
            loaded.version() == folded.version()
                && (folded.encode() == snapshot.content || is_same(kind, &**loaded, &**folded))
        }
        (Ok(_), None) => true,
        (Err(_), _) => false,
    };
    if !same {
        faults.add(&format!(
            "{room} at seq {}: the snapshot is not what the records fold to",
            head.seq
        ))?;
    }
    if document.is_none() {
        *document = loaded.ok();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use bytes::Bytes;
    use protocol::record::{Author, Draft, RunBuilder};
    use protocol::{SessionId, Timestamp};
    use replay::{History, Stores};
    use storage::archive::{Archiver, ArchiverOptions, Contents, Options, Snapshot};
    use storage::memory::MemoryLog;
    use storage::{Batch, Entry};

    use super::*;

    const RECORDS: u8 = 20;

    /// A room of opaque payloads with a snapshot at its end that holds `payloads`, as `well verify`
    /// sees it: how many faults it has.
    async fn faults_with(payloads: Vec<Bytes>) -> u64 {
        let room = RoomName::parse("blob/secret").unwrap();
        let mut run = RunBuilder::new(Head::EMPTY);
        for n in 0..RECORDS {
            let draft = Draft {
                author: Author {
                    user: None,
                    session: SessionId::new(1),
                    site: None,
                },
                op_id: None,
                base: None,
                kind: protocol::Kind::Update,
                payload: payload(n),
            };
            run.push(Timestamp::from_micros(u64::from(n)), &draft);
        }
        let run = run.finish().unwrap();
        let head = run.after();
        let log = MemoryLog::new();
        let entries = vec![Entry::Run(room.clone(), run)];
        log.append(Batch { entries }).await.unwrap();
        let log: Arc<dyn Log> = Arc::new(log);
        let mut document = document::new(Kind::Opaque);
        document.integrate(&payloads);
        let snapshot = Snapshot {
            room: room.clone(),
            head,
            kind: Kind::Opaque.code(),
            title: None,
            clients: replay::Clients::none(true).encode().into(),
            created: Timestamp::from_micros(0),
            content: document.encode(),
        };
        let beside = Archive::open("memory://", Options::default())
            .await
            .unwrap();
        let options = ArchiverOptions {
            contents: Contents::SnapshotsOnly,
            ..ArchiverOptions::default()
        };
        let archiver = Archiver::start(Arc::clone(&log), beside.clone(), options, Arc::new(()));
        assert!(archiver.offer(snapshot));
        archiver.flush(Duration::from_secs(60)).await.unwrap();
        let stores = Stores {
            snapshots: Some(beside.clone()),
            ..Stores::of_log(Arc::clone(&log))
        };
        let opened = Opened {
            history: History::new(stores, Arc::new(|_| Kind::Opaque)),
            log,
            archive: None,
            snapshots: Some(beside),
        };
        let mut faults = Faults::default();
        let bar = indicatif::ProgressBar::hidden();
        check_room(&opened, &room, &mut faults, &bar).await.unwrap();
        faults.count
    }

    fn payload(n: u8) -> Bytes {
        vec![n; 100].into()
    }

    /// Its checksums are right, and nobody can read it: only the records say what it must hold.
    #[tokio::test]
    async fn an_opaque_snapshot_that_is_not_what_was_written_is_found() {
        let all: Vec<Bytes> = (0..RECORDS).map(payload).collect();
        assert_eq!(faults_with(all.clone()).await, 0);
        let mut changed = all.clone();
        changed[7] = [&all[7][..99], &[0]].concat().into();
        let mut swapped = all.clone();
        swapped.swap(3, 4);
        let mut short = all.clone();
        short.pop();
        let mut long = all.clone();
        long.push(payload(0));
        for (what, payloads) in [
            ("a changed bit", changed),
            ("another order", swapped),
            ("one too few", short),
            ("one too many", long),
        ] {
            assert_eq!(faults_with(payloads).await, 1, "{what}");
        }
    }
}
