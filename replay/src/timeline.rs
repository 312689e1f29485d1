//! A room's activity over time: how much was written when, and by whom.
//!
//! A timeline is made from rows that each stand for some records: in the archive, the rows of its
//! block indexes; in the log, rows that are made once while its records are read and kept in
//! memory, so that the next timeline only reads what has come since. A row lies in one bucket, or
//! is shared out among those that its time spans; either way every record is counted once.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use protocol::{Author, Head, Kind as RecordKind, RoomName, Run, Seq, Timestamp};
use storage::archive::{Activity, Who};

use crate::fold::FoldError;
use crate::history::{History, Span};
use crate::limits::{
    ACTIVITY_RECORDS, ACTIVITY_ROWS, MAX_AUTHORS, MAX_BUCKETS, MAX_MARKS, PAGE_BYTES,
};

/// A room's activity between two moments.
#[derive(Debug, Clone, PartialEq)]
pub struct Timeline {
    /// The time of the first record that is counted.
    pub from: Timestamp,
    /// The time of the last one.
    pub to: Timestamp,
    /// How many records are counted.
    pub records: u64,
    /// Bytes of those records, sealed.
    pub bytes: u64,
    /// Equal stretches of time from `from` to `to`, without gap.
    pub buckets: Vec<Bucket>,
    /// Who wrote them, most first.
    pub authors: Authors,
    /// What happened beside updates, by Seq.
    pub marks: Vec<Mark>,
}

/// One stretch of time.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Bucket {
    /// Where it begins.
    pub from: Timestamp,
    /// How many records lie in it.
    pub records: u64,
    /// Their bytes, sealed.
    pub bytes: u64,
    /// Who wrote them, most first.
    pub authors: Authors,
}

/// Who wrote how many records, most first, and how many were written by more than can be named.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Authors {
    /// The first of them.
    pub named: Vec<(Who, u64)>,
    /// Records of all others.
    pub more: u64,
}

/// Something beside updates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Its Seq.
    pub seq: Seq,
    /// Its time.
    pub at: Timestamp,
    /// What it is.
    pub kind: MarkKind,
}

/// What a [`Mark`] stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MarkKind {
    /// A room event, with its details.
    Event(RecordKind, String),
    /// A stored snapshot.
    Snapshot,
}

impl History {
    /// The activity of the records `(after, up_to]` in `buckets` buckets, at most [`MAX_BUCKETS`].
    ///
    /// # Errors
    /// [`FoldError`].
    pub async fn timeline(
        &self,
        room: &RoomName,
        span: &Span,
        after: Head,
        up_to: Head,
        buckets: usize,
    ) -> Result<Timeline, FoldError> {
        let rows = self.activity(room, span).await?;
        let mut counted: Vec<Activity> = Vec::new();
        let first = rows.rows.partition_point(|row| last_of(row) <= after.seq);
        for row in &rows.rows[first..] {
            if row.first > up_to.seq {
                break;
            }
            if row.first > after.seq && last_of(row) <= up_to.seq {
                counted.push(row.clone());
            } else {
                // At the edges only the records themselves know.
                let low = row.first.previous().max(after.seq);
                let high = last_of(row).min(up_to.seq);
                self.read_rows(room, low, high, &mut counted, &mut Vec::new())
                    .await?;
            }
        }
        let mut marks: Vec<Mark> = rows.marks.clone();
        for archive in self.stores().with_snapshots() {
            let heads = archive.snapshots(room).into_iter();
            marks.extend(heads.map(|head| Mark {
                seq: head.seq,
                at: head.at,
                kind: MarkKind::Snapshot,
            }));
        }
        marks.retain(|mark| mark.seq > after.seq && mark.seq <= up_to.seq);
        marks.sort_by_key(|mark| (mark.seq, matches!(mark.kind, MarkKind::Snapshot)));
        marks.dedup();
        marks.truncate(MAX_MARKS);
        Ok(share_out(&counted, marks, buckets.clamp(1, MAX_BUCKETS)))
    }

    /// Rows for every record of the room; made of the archive's indexes and of records of the log
    /// that have not been looked at before.
    async fn activity(&self, room: &RoomName, span: &Span) -> Result<Arc<Rows>, FoldError> {
        let activities = self.activities();
        let known = activities
            .get(room)
            .filter(|rows| rows.start == span.start.seq && rows.head <= span.head.seq);
        let mut rows = match known {
            Some(rows) if rows.head == span.head.seq => return Ok(rows),
            Some(rows) => Arc::unwrap_or_clone(rows),
            None => {
                let mut rows = Rows {
                    start: span.start.seq,
                    head: span.start.seq,
                    ..Rows::default()
                };
                if let Some(archive) = self.stores().archive()
                    && span.log_start.seq > span.start.seq
                {
                    let (from, to) = (span.start.seq, span.log_start.seq);
                    rows.rows = archive.activity(room, from, to).await?;
                    rows.head = rows.rows.last().map_or(span.start.seq, last_of);
                    // An index says that a block holds room events, and the block which.
                    for row in rows.rows.iter().filter(|row| row.events > 0) {
                        if rows.marks.len() >= MAX_MARKS {
                            break;
                        }
                        let (low, high) = (row.first.previous(), last_of(row));
                        self.read_rows(room, low, high, &mut Vec::new(), &mut rows.marks)
                            .await?;
                    }
                }
                rows
            }
        };
        let mut fresh = Vec::new();
        // The last row may take some more.
        let (mut more, mut marks) = (Vec::new(), Vec::new());
        self.read_rows(room, rows.head, span.head.seq, &mut more, &mut marks)
            .await?;
        fresh.append(&mut more);
        rows.head = span.head.seq;
        rows.rows.append(&mut fresh);
        rows.marks.append(&mut marks);
        rows.marks.truncate(MAX_MARKS);
        let rows = Arc::new(rows);
        activities.keep(room, &rows);
        Ok(rows)
    }

    /// Makes rows of the records `(after, up_to]`.
    async fn read_rows(
        &self,
        room: &RoomName,
        after: Seq,
        up_to: Seq,
        rows: &mut Vec<Activity>,
        marks: &mut Vec<Mark>,
    ) -> Result<(), FoldError> {
        let mut at = after;
        let mut open = None;
        while at < up_to {
            let page = self.read(room, at, PAGE_BYTES).await?;
            let Some(last) = page.last().map(Run::last) else {
                break;
            };
            let owned = room.clone();
            let read = tokio::task::spawn_blocking(move || {
                let (mut rows, mut marks) = (Vec::new(), Vec::new());
                let mut open = open;
                for run in &page {
                    count(&owned, run, up_to, &mut open, &mut rows, &mut marks)?;
                }
                Ok::<_, FoldError>((rows, marks, open))
            });
            let (mut some, mut more, left) = read.await.map_err(|_| FoldError::Stopped)??;
            rows.append(&mut some);
            marks.append(&mut more);
            open = left;
            at = last;
        }
        rows.extend(open.map(Open::close));
        Ok(())
    }
}

/// A row that is being made.
#[derive(Debug)]
struct Open {
    row: Activity,
    authors: HashMap<Who, u64>,
}

impl Open {
    fn close(mut self) -> Activity {
        let authors = Authors::of(self.authors);
        self.row.authors = authors.named;
        self.row.more = authors.more;
        self.row
    }
}

/// A pause that begins a new row.
const PAUSE_MICROS: u64 = 1_000_000;

fn count(
    room: &RoomName,
    run: &Run,
    up_to: Seq,
    open: &mut Option<Open>,
    rows: &mut Vec<Activity>,
    marks: &mut Vec<Mark>,
) -> Result<(), FoldError> {
    let mut expected = run.first();
    for record in run.records() {
        let record = record.map_err(|damage| FoldError::Damaged {
            room: room.clone(),
            seq: expected,
            damage,
        })?;
        expected = record.seq.next();
        if record.seq > up_to {
            break;
        }
        if record.draft.kind != RecordKind::Update {
            let details = String::from_utf8_lossy(&record.draft.payload).into_owned();
            marks.push(Mark {
                seq: record.seq,
                at: record.at,
                kind: MarkKind::Event(record.draft.kind, details),
            });
        }
        let fits = open.as_ref().is_some_and(|open| {
            open.row.count < ACTIVITY_RECORDS
                && record.at.micros() - open.row.to.micros() <= PAUSE_MICROS
        });
        if !fits {
            rows.extend(open.take().map(Open::close));
        }
        let open = open.get_or_insert_with(|| Open {
            row: Activity {
                first: record.seq,
                count: 0,
                from: record.at,
                to: record.at,
                bytes: 0,
                authors: Vec::new(),
                more: 0,
                events: 0,
            },
            authors: HashMap::new(),
        });
        open.row.count += 1;
        open.row.events += u64::from(record.draft.kind != RecordKind::Update);
        open.row.to = record.at;
        open.row.bytes += record.sealed_len() as u64;
        *open.authors.entry(who(&record.draft.author)).or_default() += 1;
    }
    Ok(())
}

fn who(author: &Author) -> Who {
    match (&author.user, author.site) {
        (Some(user), _) => Who::User(user.clone()),
        (None, Some(site)) => Who::Site(site),
        (None, None) => Who::Session(author.session),
    }
}

/// The last Seq of a row.
fn last_of(row: &Activity) -> Seq {
    Seq::new(row.first.get() + row.count - 1)
}

impl Authors {
    fn of(counts: HashMap<Who, u64>) -> Self {
        let mut named: Vec<(Who, u64)> = counts.into_iter().collect();
        named.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let rest = named.split_off(named.len().min(MAX_AUTHORS));
        let more = rest.iter().map(|(_, count)| count).sum();
        Self { named, more }
    }
}

/// Puts rows into buckets of equal length.
fn share_out(rows: &[Activity], marks: Vec<Mark>, buckets: usize) -> Timeline {
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
        return Timeline {
            from: Timestamp::from_micros(0),
            to: Timestamp::from_micros(0),
            records: 0,
            bytes: 0,
            buckets: Vec::new(),
            authors: Authors::default(),
            marks,
        };
    };
    let (from, to) = (first.from.micros(), last.to.micros());
    // Both ends are in; a bucket is at least a microsecond long.
    let width = ((to - from + 1).div_ceil(buckets as u64)).max(1);
    let used = ((to - from) / width + 1) as usize;
    let mut shares = vec![Share::default(); used];
    let mut everyone: HashMap<Who, u64> = HashMap::new();
    let mut nameless = 0;
    for row in rows {
        let low = ((row.from.micros() - from) / width) as usize;
        let high =
            (((row.to.micros().max(row.from.micros()) - from) / width) as usize).min(used - 1);
        for (who, count) in &row.authors {
            *everyone.entry(who.clone()).or_default() += count;
        }
        nameless += row.more;
        let parts = (high - low + 1) as u64;
        for part in 0..parts {
            // What is before this part and what is with it: the difference sums up to the whole.
            let slice = |whole: u64| {
                let upto = |n: u64| (u128::from(whole) * u128::from(n) / u128::from(parts)) as u64;
                upto(part + 1) - upto(part)
            };
            let share = &mut shares[low + part as usize];
            share.records += slice(row.count);
            share.bytes += slice(row.bytes);
            share.more += slice(row.more);
            for (who, count) in &row.authors {
                let count = slice(*count);
                if count > 0 {
                    *share.authors.entry(who.clone()).or_default() += count;
                }
            }
        }
    }
    let mut authors = Authors::of(everyone);
    authors.more += nameless;
    let buckets = shares.into_iter().enumerate().map(|(index, share)| {
        let mut authors = Authors::of(share.authors);
        authors.more += share.more;
        Bucket {
            from: Timestamp::from_micros(from + index as u64 * width),
            records: share.records,
            bytes: share.bytes,
            authors,
        }
    });
    Timeline {
        from: Timestamp::from_micros(from),
        to: Timestamp::from_micros(to),
        records: rows.iter().map(|row| row.count).sum(),
        bytes: rows.iter().map(|row| row.bytes).sum(),
        buckets: buckets.collect(),
        authors,
        marks,
    }
}

#[derive(Debug, Clone, Default)]
struct Share {
    records: u64,
    bytes: u64,
    authors: HashMap<Who, u64>,
    more: u64,
}

/// The activity of a room's records so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rows {
    /// Records after this are in it…
    start: Seq,
    /// …up to this.
    head: Seq,
    rows: Vec<Activity>,
    marks: Vec<Mark>,
}

/// Rows of rooms that were asked for lately, within a bound.
#[derive(Debug, Default)]
pub(crate) struct Activities {
    held: parking_lot::Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    rooms: BTreeMap<RoomName, (Arc<Rows>, u64)>,
    rows: usize,
    uses: u64,
}

impl Activities {
    fn get(&self, room: &RoomName) -> Option<Arc<Rows>> {
        let mut held = self.held.lock();
        held.uses += 1;
        let uses = held.uses;
        let (rows, used) = held.rooms.get_mut(room)?;
        *used = uses;
        Some(Arc::clone(rows))
    }

    /// Forgets a room.
    pub(crate) fn forget(&self, room: &RoomName) {
        let mut held = self.held.lock();
        if let Some((rows, _)) = held.rooms.remove(room) {
            held.rows -= rows.weight();
        }
    }

    fn keep(&self, room: &RoomName, rows: &Arc<Rows>) {
        let mut held = self.held.lock();
        held.uses += 1;
        let uses = held.uses;
        held.rows += rows.weight();
        let before = held.rooms.insert(room.clone(), (Arc::clone(rows), uses));
        held.rows -= before.map_or(0, |(before, _)| before.weight());
        while held.rows > ACTIVITY_ROWS {
            let oldest = held.rooms.iter().min_by_key(|(_, (_, used))| *used);
            let Some(name) = oldest.map(|(name, _)| name.clone()) else {
                break;
            };
            if let Some((rows, _)) = held.rooms.remove(&name) {
                held.rows -= rows.weight();
            }
        }
    }
}

impl Rows {
    /// Every room weighs something, however short.
    fn weight(&self) -> usize {
        self.rows.len() + 64
    }
}
