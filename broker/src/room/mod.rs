//! A room: its shared parts, its core and the task that owns it.
//!
//! [`core`] holds the rules and does no IO. [`task`] is the one owner that feeds it. [`Room`] is
//! what everyone else holds: an inbox to send to, and the feed and presence to read from without
//! asking the owner.

pub(crate) mod core;
pub(crate) mod inbox;
pub(crate) mod lives;
mod measure;
pub(crate) mod task;
mod wave;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use observatory::Owner;
use protocol::{Head, RoomName, Seq};

use crate::feed::Feed;
use crate::guest::{Guests, Tally};
use crate::memory::{Memory, Share};
use crate::presence::Presence;
use inbox::Inbox;
use lives::Lives;

/// The shared part of a loaded, or loading, room.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) name: RoomName,
    pub(crate) inbox: Inbox,
    pub(crate) feed: Feed,
    pub(crate) presence: Presence,
    pub(crate) sessions: AtomicUsize,
    /// Set by its owner once it has read the log.
    pub(crate) is_loaded: AtomicBool,
    /// Runs that the committer has and has not answered.
    pub(crate) appending: AtomicUsize,
    /// Counted by its owner: what the document takes, with the room's table of clients.
    pub(crate) document: Share,
    /// Counted by its owner: records that no snapshot holds.
    pub(crate) unsaved_records: AtomicU64,
    pub(crate) guests: Guests,
    pub(crate) tally: Tally,
    pub(crate) lives: Lives,
}

impl Room {
    pub(crate) fn new(name: RoomName, memory: &Memory) -> Self {
        Self {
            name,
            inbox: Inbox::new(memory.share(Owner::Inboxes)),
            feed: Feed::new(Head::EMPTY, memory.clone()),
            presence: Presence::new(memory.clone()),
            sessions: AtomicUsize::new(0),
            is_loaded: AtomicBool::new(false),
            appending: AtomicUsize::new(0),
            document: memory.share(Owner::Documents),
            unsaved_records: AtomicU64::new(0),
            guests: Guests::default(),
            tally: Tally::new(Instant::now()),
            lives: Lives::default(),
        }
    }

    /// So many records are without a snapshot now.
    pub(crate) fn note_unsaved(&self, records: u64) {
        let before = self.unsaved_records.swap(records, Ordering::Relaxed);
        if before != records {
            observatory::snapshot_lag_changed(records as i64 - before as i64);
        }
    }

    pub(crate) fn activity(&self, now: Instant) -> Activity {
        let head = self.feed.head();
        let (updates, bytes) = self.tally.last(now);
        Activity {
            room: self.name.clone(),
            updates_per_second: updates,
            bytes_per_second: bytes,
            sessions: self.sessions.load(Ordering::Relaxed),
            lag_records: self.guests.slowest(head),
            head,
            document_bytes: self.document.bytes(),
        }
    }

    pub(crate) fn info(&self) -> RoomInfo {
        RoomInfo {
            sessions: self.sessions.load(Ordering::Relaxed),
            present: self.presence.len(),
            document_bytes: self.document.bytes(),
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.note_unsaved(0);
    }
}

/// What goes on in a loaded room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activity {
    /// Which.
    pub room: RoomName,
    /// Updates that clients submitted in the last whole second.
    pub updates_per_second: u64,
    /// Their bytes.
    pub bytes_per_second: u64,
    /// How many sessions are members.
    pub sessions: usize,
    /// How many published records the slowest session has not been given; `None` if nobody reads.
    pub lag_records: Option<u64>,
    /// The last record that is durable.
    pub head: Seq,
    /// A bound on the document's memory, in bytes.
    pub document_bytes: usize,
}

/// What is known of a loaded room beside its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RoomInfo {
    /// How many sessions are members.
    pub sessions: usize,
    /// How many replicas are present.
    pub present: usize,
    /// A bound on the document's memory, in bytes.
    pub document_bytes: usize,
}

/// A room's document at a Seq.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// The end of the log it was folded from.
    pub head: Head,
    /// The whole document as one payload.
    pub payload: bytes::Bytes,
}
