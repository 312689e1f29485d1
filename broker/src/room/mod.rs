//! A room: its shared parts, its core and the task that owns it.
//!
//! [`core`] holds the rules and does no IO. [`task`] is the one owner that feeds it. [`Room`] is
//! what everyone else holds: an inbox to send to, and the feed and presence to read from without
//! asking the owner.

pub(crate) mod core;
pub(crate) mod inbox;
mod measure;
pub(crate) mod task;
mod wave;

use std::sync::atomic::{AtomicUsize, Ordering};

use protocol::{Head, RoomName, Seq};

use crate::feed::Feed;
use crate::presence::Presence;
use inbox::Inbox;

/// The shared part of a loaded, or loading, room.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) name: RoomName,
    pub(crate) inbox: Inbox,
    pub(crate) feed: Feed,
    pub(crate) presence: Presence,
    pub(crate) sessions: AtomicUsize,
    /// Runs that the committer has and has not answered.
    pub(crate) appending: AtomicUsize,
    /// Counted by its owner: what the document takes.
    pub(crate) document_bytes: AtomicUsize,
}

impl Room {
    pub(crate) fn new(name: RoomName) -> Self {
        Self {
            name,
            inbox: Inbox::default(),
            feed: Feed::new(Seq::ZERO),
            presence: Presence::default(),
            sessions: AtomicUsize::new(0),
            appending: AtomicUsize::new(0),
            document_bytes: AtomicUsize::new(0),
        }
    }

    pub(crate) fn info(&self) -> RoomInfo {
        RoomInfo {
            sessions: self.sessions.load(Ordering::Relaxed),
            present: self.presence.len(),
            document_bytes: self.document_bytes.load(Ordering::Relaxed),
        }
    }
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
