//! Waking those who follow a room's log from outside: a stream of records, not a session.
//!
//! A follower reads the log by cursor, as everyone does; it only has to know when to look again.
//! Nothing is queued for it, and a room that nobody follows pays one look at a counter.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use protocol::RoomName;
use tokio::sync::watch;

/// Who follows which room.
#[derive(Debug, Default)]
pub(crate) struct Followers {
    count: AtomicUsize,
    rooms: Mutex<HashMap<RoomName, watch::Sender<()>>>,
}

/// Follows one room until it is dropped.
#[derive(Debug)]
pub struct Follower {
    room: RoomName,
    moved: watch::Receiver<()>,
    followers: Arc<Followers>,
}

impl Followers {
    /// The room's log has moved, or the room is gone.
    pub(crate) fn moved(&self, room: &RoomName) {
        if self.count.load(Ordering::Acquire) > 0
            && let Some(sender) = self.rooms.lock().get(room)
        {
            sender.send_replace(());
        }
    }

    pub(crate) fn follow(self: &Arc<Self>, room: &RoomName) -> Follower {
        let mut rooms = self.rooms.lock();
        let sender = rooms.entry(room.clone()).or_default();
        let moved = sender.subscribe();
        self.count.fetch_add(1, Ordering::Release);
        Follower {
            room: room.clone(),
            moved,
            followers: Arc::clone(self),
        }
    }
}

impl Follower {
    /// Waits until the room's log has moved since the last call, or since following began.
    /// Cancel-safe.
    pub async fn moved(&mut self) {
        // The sender lives as long as this follower does.
        if self.moved.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.followers.count.fetch_sub(1, Ordering::Release);
        let mut rooms = self.followers.rooms.lock();
        // This one still counts.
        let last = rooms
            .get(&self.room)
            .is_some_and(|sender| sender.receiver_count() <= 1);
        if last {
            rooms.remove(&self.room);
        }
    }
}
