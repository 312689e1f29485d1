//! Finding what is new in the log, and packing it.
//!
//! The log's rooms and the archive's are walked side by side, by name. A room's position is the
//! last record that the archive has of it, or its floor; the log must go on exactly there. Where
//! it does not, this is not the log's archive, and nothing more is written to it. Deleted rooms are
//! among the log's, also those that the archive never had: their names are not free again.
//!
//! Where objects of the archive cannot be read, it has less than was put there. What the log still
//! has of that is put there again; what it has not is said, and the room goes on with what the log
//! has. That this is the log's archive must then show in another room.

use std::collections::{HashMap, VecDeque};

use protocol::{Head, Kind, RoomName, Run, Seq};
use tokio::time::Instant;

use super::archiver::{Step, Stop, Work};
use super::catalogue::Room;
use super::index::EntryKind;
use super::report::Published;
use super::segment::SegmentBuilder;
use super::settings::Contents;
use super::{ArchiveError, Snapshot};
use crate::log::{ReadError, RoomRow, RoomState};

/// How many rooms are looked at together.
const PAGE: usize = 256;
/// How much of a room is read at once.
const READ_BYTES: usize = 1 << 20;

/// A segment that is being packed.
struct Packing {
    builder: SegmentBuilder,
    /// Where its rooms will stand when it is published.
    reached: HashMap<RoomName, Head>,
    /// Bytes of the queue's snapshots in it.
    snapshot_bytes: usize,
    begun: Instant,
}

/// Where the log and the archive stand to each other in one room.
struct Position {
    /// The archive goes on after this.
    at: Head,
    /// What the log has up to this is gone for good, and the archive does not know it yet.
    erased: Option<Head>,
    /// The records after and up to these are neither in the log nor in an object that can be read.
    lost: Option<(Seq, Seq)>,
}

/// Rooms whose records are in no place that can be read.
#[derive(Default)]
struct Lost {
    first: Option<(RoomName, Seq, Seq)>,
    rooms: u64,
}

impl Lost {
    fn add(&mut self, room: &RoomName, (after, up_to): (Seq, Seq)) {
        self.rooms += 1;
        (self.first).get_or_insert_with(|| (room.clone(), after.next(), up_to));
    }
}

fn log_failed(error: &ReadError) -> ArchiveError {
    match error {
        ReadError::Closed => ArchiveError::Stopped,
        other => ArchiveError::Log(other.to_string()),
    }
}

fn wrong(room: &RoomName, why: String) -> ArchiveError {
    ArchiveError::WrongBucket {
        room: room.clone(),
        why,
    }
}

/// Compares a room's log with what the archive has of it.
fn position(
    name: &RoomName,
    state: &RoomState,
    archived: Option<&Room>,
    contents: Contents,
    unreadable: bool,
) -> Result<Position, ArchiveError> {
    let floor = archived.map_or(Head::EMPTY, Room::start);
    let mut at = archived.map_or(Head::EMPTY, Room::head);
    if state.head == Head::EMPTY {
        let why = format!(
            "the archive has {name} up to seq {}, the log never had it",
            at.seq
        );
        return Err(wrong(name, why));
    }
    let everything = contents == Contents::Everything;
    if everything && archived.is_none() && state.start.seq > state.erased && !unreadable {
        let (room, start) = (name.clone(), state.start.seq);
        return Err(ArchiveError::Headless { room, start });
    }
    let mut erased = None;
    if state.erased > floor.seq {
        if state.start.seq == state.erased {
            erased = Some(state.start);
        } else if at.seq < state.erased && !unreadable {
            let (start, end) = (state.start.seq, at.seq);
            let why = format!(
                "the log of {name} was trimmed up to seq {start}, and the archive has it only up to seq {end}"
            );
            return Err(wrong(name, why));
        }
    }
    if let Some(erased) = erased
        && erased.seq >= at.seq
    {
        if erased.seq == at.seq && erased != at {
            return Err(wrong(name, other_history(name, at.seq)));
        }
        at = erased;
    }
    if contents == Contents::SnapshotsOnly {
        let newest = archived.and_then(|room| room.snapshots.last());
        if let Some((head, _)) = newest
            && (head.seq > state.head.seq || (head.seq == state.head.seq && *head != state.head))
        {
            return Err(wrong(name, other_history(name, head.seq)));
        }
        let lost = None;
        return Ok(Position { at, erased, lost });
    }
    if state.start.seq > at.seq && !unreadable {
        let (start, end) = (state.start.seq, at.seq);
        let why = format!(
            "the log of {name} begins after seq {start}, and the archive has it only up to seq {end}"
        );
        return Err(wrong(name, why));
    }
    if state.head.seq < at.seq {
        let (end, archive) = (state.head.seq, at.seq);
        let why = format!("the log of {name} ends at seq {end}, the archive at seq {archive}");
        return Err(wrong(name, why));
    }
    let known = [state.head, state.start];
    if known.iter().any(|head| head.seq == at.seq && *head != at) {
        return Err(wrong(name, other_history(name, at.seq)));
    }
    let mut lost = None;
    if unreadable {
        let begins = state.start.seq;
        let gap = archived.and_then(Room::gap);
        let gap = gap.filter(|(before, _)| before.seq < begins);
        lost = gap.map(|(before, up_to)| (before.seq, up_to.min(begins)));
        // What is missing there and in the log is archived again.
        if let Some((before, _)) = archived.and_then(|room| room.gap_beyond(begins)) {
            at = before;
        }
        if begins > at.seq {
            lost = lost.or(Some((at.seq.max(state.erased), begins)));
            at = state.start;
        }
    }
    Ok(Position { at, erased, lost })
}

fn other_history(name: &RoomName, seq: Seq) -> String {
    format!("{name} has another history in the archive than in the log, at or before seq {seq}")
}

impl Work {
    /// Compares all rooms before anything is written.
    pub(super) async fn check_bucket(&mut self) -> Result<(), Stop> {
        let mut after = None;
        // Whether a room of the log goes on where the archive has it end.
        let mut proven = false;
        loop {
            let rows = self.page(after.as_ref()).await?;
            for name in self.unlisted(after.as_ref(), &rows) {
                self.deleted_at(&name).await?;
            }
            for row in &rows {
                let Position { at, lost, .. } = self.position(row)?;
                if let Some((after, up_to)) = lost {
                    let (room, first) = (&row.room, after.next());
                    tracing::error!(%room, %first, last = %up_to,
                        "records are neither in the log nor in an object of the archive that can be read");
                }
                let known = at != Head::EMPTY && lost.is_none();
                if at.seq == row.state.head.seq {
                    proven |= known;
                } else if self.options.contents == Contents::Everything {
                    match self.log.read(&row.room, at.seq, 0).await {
                        Ok(runs) => {
                            follows(&row.room, at, &runs)?;
                            proven |= known && !runs.is_empty();
                        }
                        // Deleted meanwhile, or damaged: the round will tell.
                        Err(ReadError::Trimmed { .. } | ReadError::Damaged { .. }) => {}
                        Err(error) => return Err(log_failed(&error).into()),
                    }
                }
            }
            match rows.last() {
                Some(row) => after = Some(row.room.clone()),
                None => break,
            }
        }
        // Keyframes lie in the log's own folder.
        let unreadable = self.archive.inner.catalogue.read().unreadable();
        match unreadable.filter(|_| !proven && self.options.contents == Contents::Everything) {
            Some(objects) => Err(ArchiveError::Unreadable {
                objects,
                harm: "what can be read of this archive does not show that it is the one of this \
                       log, so nothing is written to it"
                    .to_owned(),
                room: None,
                seqs: None,
            }
            .into()),
            None => Ok(()),
        }
    }

    fn position(&self, row: &RoomRow) -> Result<Position, ArchiveError> {
        let catalogue = self.archive.inner.catalogue.read();
        let archived = catalogue.rooms.get(&row.room);
        let unreadable = !catalogue.unreadable.is_empty();
        position(
            &row.room,
            &row.state,
            archived,
            self.options.contents,
            unreadable,
        )
    }

    /// What comes of objects of the archive that cannot be read.
    fn unreadable(&self, lost: Lost) -> Option<ArchiveError> {
        let objects = self.archive.inner.catalogue.read().unreadable()?;
        let Some((room, first, last)) = lost.first else {
            return Some(ArchiveError::Unreadable {
                objects,
                harm: "the records that the log has are archived in others".to_owned(),
                room: None,
                seqs: None,
            });
        };
        let others = match lost.rooms - 1 {
            0 => String::new(),
            1 => ", and some of another room".to_owned(),
            more => format!(", and some of {more} other rooms"),
        };
        Some(ArchiveError::Unreadable {
            objects,
            harm: format!(
                "seq {first} to {last} of {room}{others} are in no other place; what the log has is \
                 archived all the same, and nothing of what is damaged is trimmed"
            ),
            room: Some(room),
            seqs: Some((first, last)),
        })
    }

    async fn page(&self, after: Option<&RoomName>) -> Result<Vec<RoomRow>, ArchiveError> {
        let rows = self.log.all_rooms(after, PAGE).await;
        rows.map_err(|error| log_failed(&error))
    }

    /// Rooms that the archive has alive and that are missing in a page of the log after `after`.
    /// An empty page reaches to the end.
    fn unlisted(&self, after: Option<&RoomName>, rows: &[RoomRow]) -> Vec<RoomName> {
        let catalogue = self.archive.inner.catalogue.read();
        let mut listed = rows.iter().map(|row| &row.room).peekable();
        let end = rows.last().map(|row| &row.room);
        let mut missing = Vec::new();
        for (name, room) in catalogue.after(after) {
            if end.is_some_and(|end| name > end) {
                break;
            }
            while listed.next_if(|row| *row < name).is_some() {}
            if listed.next_if(|row| *row == name).is_none() && !room.is_deleted() {
                missing.push(name.clone());
            }
        }
        missing
    }

    /// Where a room was deleted that the log does not list; `None` if it is back.
    async fn deleted_at(&self, name: &RoomName) -> Result<Option<RoomState>, ArchiveError> {
        let state = self.log.state(name).await;
        let state = state.map_err(|error| log_failed(&error))?;
        let row = RoomRow {
            room: name.clone(),
            state,
        };
        self.position(&row)?;
        Ok(state.deleted.then_some(state))
    }

    /// One pass over all rooms: everything that is durable when it is reached gets archived. Gives
    /// what is wrong with a room that could not be read, in the log or in the archive, if there is one.
    pub(super) async fn gather(&mut self) -> Result<Option<ArchiveError>, Stop> {
        if !self.archive.inner.catalogue.read().unreadable.is_empty() {
            // It may have been put back.
            self.archive.refresh().await?;
            self.check_fence()?;
        }
        let mut lost = Lost::default();
        let mut packing = None;
        let mut after: Option<RoomName> = None;
        let mut damaged = None;
        loop {
            let rows = self.page(after.as_ref()).await?;
            for name in self.unlisted(after.as_ref(), &rows) {
                if let Some(state) = self.deleted_at(&name).await? {
                    let packing = self.packing(&mut packing);
                    packing.builder.push_floor(
                        &name,
                        EntryKind::Erasure,
                        state.head,
                        state.created,
                    );
                    packing.reached.insert(name, state.head);
                }
            }
            for row in &rows {
                match self.room(row, &mut packing, &mut lost).await {
                    Ok(()) => {}
                    // One damaged room does not keep the others waiting.
                    Err(Stop::Error(error @ ArchiveError::Damaged { .. })) => damaged = Some(error),
                    Err(other) => return Err(other),
                }
            }
            match rows.last() {
                Some(row) => after = Some(row.room.clone()),
                None => break,
            }
        }
        // What is packed is put there even when a snapshot could not be judged: it has left the
        // queue.
        let judged = self.snapshots(&mut packing).await;
        self.put(packing.take()).await?;
        judged?;
        Ok(damaged.or_else(|| self.unreadable(lost)))
    }

    fn packing<'a>(&mut self, packing: &'a mut Option<Packing>) -> &'a mut Packing {
        packing.get_or_insert_with(|| Packing {
            builder: SegmentBuilder::new(self.next_segment()),
            reached: HashMap::new(),
            snapshot_bytes: 0,
            begun: Instant::now(),
        })
    }

    /// Packs what is new in one room.
    async fn room(
        &mut self,
        row: &RoomRow,
        packing: &mut Option<Packing>,
        lost: &mut Lost,
    ) -> Result<(), Stop> {
        let name = &row.room;
        let position = self.position(row)?;
        if let Some(seqs) = position.lost {
            lost.add(name, seqs);
        }
        let Position { mut at, erased, .. } = position;
        let known = || (self.archive.inner.catalogue.read().rooms).contains_key(name);
        if row.state.deleted && self.options.contents == Contents::SnapshotsOnly && !known() {
            return Ok(());
        }
        let mut baseless = self.baseless(name);
        if let Some(head) = erased {
            // A snapshot at a cut is what the rest folds on; at an erasure there is nothing.
            let kind = if self.goes_on(name, &row.state).await? {
                baseless = Some(head);
                EntryKind::Cut
            } else {
                baseless = None;
                EntryKind::Erasure
            };
            let created = row.state.created;
            let packing = self.packing(packing);
            packing.builder.push_floor(name, kind, head, created);
            packing.reached.insert(name.clone(), at);
        }
        if let Some(start) = baseless {
            self.base(name, start, packing).await?;
        }
        if self.options.contents == Contents::SnapshotsOnly {
            return Ok(());
        }
        while at.seq < row.state.head.seq {
            let runs = match self.log.read(name, at.seq, READ_BYTES).await {
                Ok(runs) => runs,
                Err(ReadError::Trimmed { .. }) => Vec::new(),
                Err(ReadError::Damaged { room, seq, damage }) => {
                    return Err(ArchiveError::Damaged {
                        object: "the log".to_owned(),
                        room: Some(room),
                        seq: Some(seq),
                        damage,
                    }
                    .into());
                }
                Err(error) => return Err(log_failed(&error).into()),
            };
            if runs.is_empty() {
                // Deleted since the page was read; the next round sees that.
                let state = self.log.state(name).await;
                let state = state.map_err(|error| log_failed(&error))?;
                if state.erased > row.state.erased {
                    return Ok(());
                }
                let why = format!("the log of {name} does not go on after seq {}", at.seq);
                return Err(wrong(name, why).into());
            }
            follows(name, at, &runs)?;
            let reached = runs.last().map_or(at, Run::after);
            self.push(packing, name, runs).await?;
            at = reached;
            self.packing(packing).reached.insert(name.clone(), at);
            self.put_full(packing).await?;
        }
        Ok(())
    }

    /// Whether what the log has of a room goes on with the life before its start, as after
    /// [`Entry::Begin`](crate::Entry::Begin); else it begins anew there, after a deletion.
    async fn goes_on(&self, name: &RoomName, state: &RoomState) -> Result<bool, Stop> {
        if state.deleted || state.start == Head::EMPTY {
            return Ok(false);
        }
        let first = match self.log.read(name, state.start.seq, 0).await {
            Ok(runs) => runs,
            // Deleted or trimmed meanwhile, or damaged: the next round will tell.
            Err(ReadError::Trimmed { .. } | ReadError::Damaged { .. }) => return Ok(false),
            Err(error) => return Err(log_failed(&error).into()),
        };
        let first = first.first().and_then(|run| run.records().next());
        let begins = first.is_some_and(|first| {
            first.is_ok_and(|record| matches!(record.draft.kind, Kind::Created | Kind::Forked))
        });
        Ok(!begins)
    }

    /// Checks, packs and compresses, where that holds nobody up.
    async fn push(
        &mut self,
        packing: &mut Option<Packing>,
        name: &RoomName,
        runs: Vec<Run>,
    ) -> Result<(), Stop> {
        self.packing(packing);
        let Some(mut taken) = packing.take() else {
            return Ok(());
        };
        let room = name.clone();
        let packed = tokio::task::spawn_blocking(move || {
            let pushed = (runs.iter()).try_for_each(|run| taken.builder.push_run(&room, run));
            (taken, pushed)
        });
        let Ok((taken, pushed)) = packed.await else {
            return Err(ArchiveError::Stopped.into());
        };
        *packing = Some(taken);
        pushed.map_err(|(seq, damage)| {
            Stop::Error(ArchiveError::Damaged {
                object: "the log".to_owned(),
                room: Some(name.clone()),
                seq: Some(seq),
                damage,
            })
        })
    }

    /// Packs and compresses a snapshot, where that holds nobody up. One that is over its limits is
    /// left out.
    async fn push_snapshot(
        &mut self,
        packing: &mut Option<Packing>,
        snapshot: Snapshot,
    ) -> Result<(), Stop> {
        self.packing(packing);
        let Some(mut taken) = packing.take() else {
            return Ok(());
        };
        let packed = tokio::task::spawn_blocking(move || {
            if let Err(error) = taken.builder.push_snapshot(&snapshot) {
                tracing::warn!(room = %snapshot.room, %error, "a snapshot cannot be archived");
            }
            taken
        });
        let Ok(taken) = packed.await else {
            return Err(ArchiveError::Stopped.into());
        };
        *packing = Some(taken);
        Ok(())
    }

    /// Where a room of the archive begins whose first records are gone, if there is no snapshot there.
    fn baseless(&self, name: &RoomName) -> Option<Head> {
        let catalogue = self.archive.inner.catalogue.read();
        let room = catalogue.rooms.get(name)?;
        let start = room.floor.filter(|floor| !floor.erased)?.head;
        let first = room.snapshots.first().map(|(head, _)| *head);
        (first != Some(start)).then_some(start)
    }

    /// Packs the snapshot at a room's `start`, which stands for the records that are gone: a new
    /// archive of a log that was restored gets it from nowhere else.
    async fn base(
        &mut self,
        name: &RoomName,
        start: Head,
        packing: &mut Option<Packing>,
    ) -> Result<(), Stop> {
        let Some(bases) = &self.options.bases else {
            return Ok(());
        };
        if !bases.snapshots(name).contains(&start) {
            return Ok(());
        }
        let base = bases.snapshot(name, start.seq).await;
        match base {
            Ok(Some(snapshot)) => {
                self.push_snapshot(packing, snapshot).await?;
                self.put_full(packing).await
            }
            Ok(None) => Ok(()),
            // The records are archived all the same, and the next round tries again.
            Err(error) => {
                tracing::warn!(
                    room = %name, seq = %start.seq, %error,
                    "the snapshot that a room begins with cannot be read"
                );
                Ok(())
            }
        }
    }

    async fn put_full(&mut self, packing: &mut Option<Packing>) -> Result<(), Stop> {
        let full = (packing.as_ref())
            .is_some_and(|packing| packing.builder.bytes() >= self.options.segment_bytes);
        if full {
            self.put(packing.take()).await?;
        }
        Ok(())
    }

    /// Packs the snapshots that wait, where their records are in the archive or in this segment.
    async fn snapshots(&mut self, packing: &mut Option<Packing>) -> Result<(), Stop> {
        let mut waiting = std::mem::take(&mut self.shared.state.lock().queue);
        let mut early = VecDeque::new();
        let mut result = Ok(());
        while let Some(snapshot) = waiting.pop_front() {
            let bytes = snapshot.bytes();
            match self.judge(&snapshot, packing.as_ref()).await {
                Ok(Verdict::Right) => {
                    // Its limits were checked when it was offered.
                    if let Err(stop) = self.push_snapshot(packing, snapshot).await {
                        result = Err(stop);
                        break;
                    }
                    self.packing(packing).snapshot_bytes += bytes;
                }
                Ok(Verdict::Early) => early.push_back(snapshot),
                Ok(Verdict::Known) => self.shared.release(bytes),
                Ok(Verdict::Wrong) => {
                    tracing::warn!(
                        room = %snapshot.room,
                        seq = %snapshot.head.seq,
                        "a snapshot does not fit its room's history and is thrown away"
                    );
                    self.shared.state.lock().status.refused_snapshots += 1;
                    self.shared.release(bytes);
                }
                Err(error) => {
                    early.push_back(snapshot);
                    result = Err(error);
                    break;
                }
            }
            if let Err(stop) = self.put_full(packing).await {
                result = Err(stop);
                break;
            }
        }
        // What came meanwhile stands behind what has waited.
        let mut state = self.shared.state.lock();
        early.extend(waiting);
        early.append(&mut state.queue);
        state.queue = early;
        result
    }

    /// Whether a snapshot is of the history that the archive has.
    async fn judge(&self, snapshot: &Snapshot, packing: Option<&Packing>) -> Result<Verdict, Stop> {
        let (room, head) = (&snapshot.room, snapshot.head);
        let state = self.log.state(room).await;
        let state = state.map_err(|error| log_failed(&error))?;
        let (floor, archived, known) = {
            let catalogue = self.archive.inner.catalogue.read();
            let found = catalogue.rooms.get(room);
            let known = found.is_some_and(|found| {
                let at = (found.snapshots).binary_search_by_key(&head.seq, |(head, _)| head.seq);
                at.is_ok()
            });
            (
                found.map_or(Head::EMPTY, Room::start),
                found.map_or(Head::EMPTY, Room::head),
                known,
            )
        };
        let forgotten = state.erased.max(floor.seq);
        let base = head == state.start && head.seq == forgotten;
        let base = base && self.goes_on(room, &state).await?;
        if (head.seq <= forgotten && !base) || known || head.seq == Seq::ZERO {
            return Ok(Verdict::Known);
        }
        let reached = match self.options.contents {
            Contents::SnapshotsOnly => state.head,
            Contents::Everything => (packing.and_then(|packing| packing.reached.get(room)))
                .copied()
                .unwrap_or(archived),
        };
        if head.seq > reached.seq {
            return Ok(Verdict::Early);
        }
        let at_head = |runs: &[Run]| -> bool {
            let first = runs.first().and_then(|run| run.records().next());
            first.is_some_and(|record| record.is_ok_and(|record| record.head() == head))
        };
        let right = if base {
            true
        } else if head.seq == reached.seq {
            head == reached
        } else if head.seq > state.start.seq {
            let runs = self.log.read(room, head.seq.previous(), 0).await;
            at_head(&runs.map_err(|error| log_failed(&error))?)
        } else {
            match self.archive.read(room, head.seq.previous(), 0).await {
                Ok(runs) => at_head(&runs),
                // Nobody can say whose it is; it stays where it came from.
                Err(error) if error.is_damage() => return Ok(Verdict::Known),
                Err(error) => return Err(error.into()),
            }
        };
        Ok(if right {
            Verdict::Right
        } else {
            Verdict::Wrong
        })
    }

    /// Uploads and publishes a packed segment.
    async fn put(&mut self, packing: Option<Packing>) -> Result<(), Stop> {
        let Some(packing) = packing.filter(|packing| !packing.builder.is_empty()) else {
            return Ok(());
        };
        let begun = packing.begun;
        let sealed = tokio::task::spawn_blocking(move || packing.builder.finish());
        let Ok(sealed) = sealed.await else {
            return Err(ArchiveError::Stopped.into());
        };
        self.step(Step::Packed)?;
        let sealed = self.upload(sealed).await?;
        let meta = sealed.meta;
        self.publish(&[sealed], Vec::new()).await?;
        self.shared.release(packing.snapshot_bytes);
        let mut state = self.shared.state.lock();
        state.status.records += meta.records;
        state.status.snapshots += meta.snapshots;
        state.round.archived(meta.records, meta.raw_bytes);
        drop(state);
        self.observer.published(&Published {
            rooms: meta.rooms,
            records: meta.records,
            snapshots: meta.snapshots,
            raw_bytes: meta.raw_bytes,
            stored_bytes: meta.length,
            took: begun.elapsed(),
        });
        Ok(())
    }
}

/// What is to be done with a snapshot.
enum Verdict {
    /// It belongs into the archive.
    Right,
    /// Its records are not archived yet.
    Early,
    /// There is one already, or nothing that can be read to fold it with.
    Known,
    /// The room's history is another.
    Wrong,
}

fn follows(room: &RoomName, at: Head, runs: &[Run]) -> Result<(), ArchiveError> {
    match runs.first() {
        Some(run) if run.before() != at => Err(wrong(room, other_history(room, at.seq))),
        _ => Ok(()),
    }
}
