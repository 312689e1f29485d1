//! Opening a log that was closed, killed or cut off.
//!
//! Commits that had not been moved are read back in order and replayed into memory, each room from
//! what its row says. A commit that is torn or missing is dropped with everything after it if it
//! cannot have been acked: if no later entry says that it was known to be durable. Otherwise
//! something that was acked is gone, and the log refuses to open and says where.

use bytes::Bytes;
use protocol::RoomName;
use protocol::envelope::Damage;

use super::catalogue::Moved;
use super::chunk::{Body, ChunkWriter};
use super::commit::{Change, Part, read_stream};
use super::open::OpenError;
use super::rooms::Rooms;
use super::writer::{Commits, commit_trees};
use super::{Disk, SledOptions};
use crate::log::{Batch, ReadError};

pub(super) struct Recovered {
    pub(super) rooms: Rooms,
    pub(super) last_entry: u64,
    pub(super) last_batch: u64,
    pub(super) commits: Commits,
    pub(super) chunks: ChunkWriter,
}

pub(super) fn recover(disk: &Disk, options: &SledOptions) -> Result<Recovered, OpenError> {
    let moved = disk
        .db
        .get(Moved::KEY)
        .map_err(|error| sled_error(disk, &error))?;
    let moved = match moved {
        Some(value) => {
            let at = || "in the mover's mark".to_owned();
            Moved::open(&value).map_err(|damage| damaged(disk, at(), damage))?
        }
        None => Moved::default(),
    };
    let mut replay = Replay {
        disk,
        rooms: Rooms::new(options.cached_rooms),
        last_entry: moved.entry,
        last_batch: moved.batch,
        began: false,
    };
    let trees = commit_trees(&disk.db);
    replay.run(&trees)?;
    let chunks = chunk_writer(disk, moved.body)?;
    let commits = Commits::begin(&disk.db, trees, replay.last_entry + 1, replay.last_batch)
        .map_err(|error| sled_error(disk, &error))?;
    Ok(Recovered {
        last_entry: replay.last_entry,
        last_batch: replay.last_batch,
        rooms: replay.rooms,
        commits,
        chunks,
    })
}

struct Replay<'a> {
    disk: &'a Disk,
    rooms: Rooms,
    /// The last entry of the last whole commit.
    last_entry: u64,
    last_batch: u64,
    began: bool,
}

/// An entry that is not empty, where it stands.
struct Found {
    entry: u64,
    value: sled::IVec,
}

impl Replay<'_> {
    fn run(&mut self, trees: &[Vec<u8>]) -> Result<(), OpenError> {
        let disk = self.disk;
        let mut parts: Vec<sled::IVec> = Vec::new();
        let mut entries = Vec::new();
        for name in trees {
            let tree = disk
                .db
                .open_tree(name)
                .map_err(|error| sled_error(disk, &error))?;
            for row in &tree {
                let (key, value) = row.map_err(|error| sled_error(disk, &error))?;
                if value.is_empty() {
                    continue;
                }
                let entry = key.first_chunk().map_or(0, |n| u64::from_be_bytes(*n));
                entries.push(Found { entry, value });
            }
        }
        let mut entries = entries.into_iter();
        let mut expected = self.last_entry + 1;
        while let Some(found) = entries.next() {
            if !self.began && found.entry <= self.last_entry {
                // Moved already; the tree was about to be dropped. Its rooms' rows say so too.
                expected = found.entry;
                self.began = true;
            }
            self.began = true;
            let opened = Part::open(&found.value);
            let torn = match &opened {
                _ if found.entry != expected => Some("an entry is missing before it".to_owned()),
                Ok(part) if part.number as usize != parts.len() => {
                    Some("a part of it is missing".to_owned())
                }
                Ok(_) => None,
                Err(damage) => Some(damage.to_string()),
            };
            if let Some(why) = torn {
                return self.cut_off(found, entries, &why);
            }
            let last = opened.is_ok_and(|part| part.last);
            parts.push(found.value);
            if last {
                self.commit(found.entry, &parts)?;
                parts.clear();
            }
            expected = found.entry + 1;
        }
        if !parts.is_empty() {
            return self.drop_entries("its last part is missing");
        }
        Ok(())
    }

    /// A bad entry and what follows it: never acked, or damage.
    fn cut_off(
        &self,
        bad: Found,
        rest: impl Iterator<Item = Found>,
        why: &str,
    ) -> Result<(), OpenError> {
        for found in std::iter::once(bad).chain(rest) {
            // The first entry that is not there or not whole.
            let first_lost = self.last_entry + 1;
            if let Ok(part) = Part::open(&found.value)
                && part.synced >= first_lost
            {
                return Err(OpenError::Damaged {
                    folder: self.disk.path.clone(),
                    at: format!("at entry {first_lost} of its commits"),
                    what: format!(
                        "{why}, and entry {} knew it to be durable up to {}",
                        found.entry, part.synced
                    ),
                });
            }
        }
        self.drop_entries(why)
    }

    /// Empties every entry after the last whole commit, so that they are not met again.
    fn drop_entries(&self, why: &str) -> Result<(), OpenError> {
        // Nothing is touched if something acked is among what cannot be read.
        self.disk.acked.check(&self.disk.path, self.last_entry)?;
        let error = |error| sled_error(self.disk, &error);
        let mut dropped = 0;
        for name in commit_trees(&self.disk.db) {
            let tree = self.disk.db.open_tree(name).map_err(error)?;
            let from = (self.last_entry + 1).to_be_bytes();
            for row in tree.range(from..) {
                let (key, value) = row.map_err(error)?;
                if !value.is_empty() {
                    tree.insert(key, &[]).map_err(error)?;
                    dropped += 1;
                }
            }
        }
        self.disk.db.flush().map_err(error)?;
        self.disk
            .file
            .sync_data()
            .map_err(|error| OpenError::io("sync", &self.disk.path, &error))?;
        tracing::warn!(
            after = self.last_entry,
            dropped,
            why,
            "the log's end was torn and has been cut off; nothing in it was acked"
        );
        Ok(())
    }

    fn commit(&mut self, entry: u64, parts: &[sled::IVec]) -> Result<(), OpenError> {
        let mut stream = Vec::with_capacity(parts.iter().map(|part| part.len()).sum());
        let at = || format!("at entry {entry} of its commits");
        for value in parts {
            let part = Part::open(value).map_err(|damage| damaged(self.disk, at(), damage))?;
            stream.extend_from_slice(part.piece);
        }
        let stream = Bytes::from(stream);
        let mut failed = None;
        let mut last_batch = self.last_batch;
        let read = read_stream(&stream, |batch, change| {
            last_batch = last_batch.max(batch);
            if let Some(change) = change
                && let Err(error) = self.change(entry, batch, &change)
            {
                failed = Some(error);
                return Err(Damage::Content);
            }
            Ok(())
        });
        if let Some(error) = failed {
            return Err(error);
        }
        read.map_err(|damage| damaged(self.disk, at(), damage))?;
        self.last_batch = last_batch;
        self.last_entry = self.last_entry.max(entry);
        Ok(())
    }

    fn change(&mut self, entry: u64, batch: u64, change: &Change) -> Result<(), OpenError> {
        let room = change.room();
        let row = self
            .disk
            .row(room)
            .map_err(|error| read_error(self.disk, room, &error))?;
        if batch <= row.applied {
            return Ok(());
        }
        if self.rooms.get(room).is_none() {
            // Dirty rooms are never evicted, so what has been replayed stays.
            self.rooms
                .load(room, row.state, u64::MAX, &Batch::default());
        }
        if let Change::Run(_, run) = change {
            let head = self
                .rooms
                .get(room)
                .map(|room| room.seen.head)
                .unwrap_or_default();
            if run.before() != head {
                let what = format!(
                    "{room} ends at seq {}, and a run continues after seq {}",
                    head.seq,
                    run.before().seq
                );
                return Err(OpenError::Damaged {
                    folder: self.disk.path.clone(),
                    at: format!("at entry {entry} of its commits"),
                    what,
                });
            }
            run.verify().map_err(|(seq, damage)| {
                damaged(self.disk, format!("at {room}, seq {seq}"), damage)
            })?;
        }
        self.rooms.replay(batch, change);
        Ok(())
    }
}

/// Bodies written since the mover's mark may lack their entry: those are removed. The writer goes
/// on after the last one there is.
fn chunk_writer(disk: &Disk, mark: u64) -> Result<ChunkWriter, OpenError> {
    let error = |error: sled::Error| sled_error(disk, &error);
    let mut next = mark;
    let mut unused = Vec::new();
    for row in disk.chunks.bodies.range(mark.to_be_bytes()..) {
        let (key, value) = row.map_err(error)?;
        if value.is_empty() {
            continue;
        }
        let number = key.first_chunk().map_or(0, |n| u64::from_be_bytes(*n));
        next = number + 1;
        let at = || format!("at body {number} of its chunks");
        let body = Body::open(&value).map_err(|damage| damaged(disk, at(), damage))?;
        let chunk = disk.chunks.after(&body.room, body.last.previous());
        let chunk = chunk.map_err(|error| read_error(disk, &body.room, &error))?;
        let used = chunk.is_some_and(|chunk| {
            chunk.after.seq == body.last
                && (chunk.body..chunk.body + u64::from(chunk.parts)).contains(&number)
        });
        if !used {
            unused.push(key);
        }
    }
    for key in unused {
        disk.chunks.bodies.remove(key).map_err(error)?;
    }
    let last = disk.chunks.bodies.last().map_err(error)?;
    let prepared = last
        .and_then(|(key, _)| key.first_chunk().map(|n| u64::from_be_bytes(*n) + 1))
        .unwrap_or_default();
    ChunkWriter::new(disk.chunks.clone(), next, prepared)
        .map_err(|error| OpenError::io("compress for", &disk.path, &error))
}

fn damaged(disk: &Disk, at: String, damage: Damage) -> OpenError {
    OpenError::Damaged {
        folder: disk.path.clone(),
        at,
        what: damage.to_string(),
    }
}

fn read_error(disk: &Disk, room: &RoomName, error: &ReadError) -> OpenError {
    OpenError::Damaged {
        folder: disk.path.clone(),
        at: format!("at room {room}"),
        what: error.to_string(),
    }
}

fn sled_error(disk: &Disk, error: &sled::Error) -> OpenError {
    OpenError::sled("read", &disk.path, error)
}
