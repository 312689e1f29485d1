//! The rooms there are, and the doors to them.
//!
//! A [`Broker`] loads a room when it is first asked for and lets go of it when it has been idle.
//! The directory is the one place where a room's name leads to its owner: a room is put there
//! before its task starts and leaves it in the same step in which the task decides to end, so two
//! owners of one room cannot be.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use protocol::record::Kind as RecordKind;
use protocol::{CloseCode, Head, Role, RoomName, SessionId, UserId};
use replay::History;
use storage::{Log, ReadError, RoomRow, RoomState};
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::committer::Committer;
use crate::followers::{Follower, Followers};
use crate::limits::Limits;
use crate::member::{Mailbox, Member};
use crate::room::inbox::{Input, Restore, RoomError};
use crate::room::{Room, RoomInfo, State, task};
use crate::snapshotter::Snapshots;

/// Everything a room's task needs.
pub(crate) struct Shared {
    pub(crate) history: History,
    pub(crate) snapshots: Snapshots,
    pub(crate) followers: Arc<Followers>,
    pub(crate) committer: Arc<Committer>,
    pub(crate) clock: Clock,
    pub(crate) limits: Limits,
    pub(crate) rooms: Directory,
    tasks: TaskTracker,
    closing: AtomicBool,
}

/// All rooms of this process.
#[derive(Clone)]
pub struct Broker {
    shared: Arc<Shared>,
    committing: TaskTracker,
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker")
            .field("rooms", &self.shared.rooms.len())
            .finish_non_exhaustive()
    }
}

impl Broker {
    /// A broker that keeps its rooms in the log of `history`, and their snapshots where
    /// `snapshots` says. Must be called in a multi-threaded tokio runtime.
    #[must_use]
    pub fn new(history: History, snapshots: Snapshots, limits: Limits) -> Self {
        let committer = Arc::new(Committer::new(Arc::clone(&history.stores().log)));
        let committing = TaskTracker::new();
        let runner = Arc::clone(&committer);
        committing.spawn(async move { runner.run().await });
        let shared = Shared {
            history,
            snapshots,
            followers: Arc::default(),
            committer,
            clock: Clock::start(),
            limits,
            rooms: Directory::default(),
            tasks: TaskTracker::new(),
            closing: AtomicBool::new(false),
        };
        Self {
            shared: Arc::new(shared),
            committing,
        }
    }

    /// Makes a session a member of a room, which is loaded if it is not. The first event is
    /// [`Joined`](protocol::dialect::Event::Joined), or `Closed` if the room cannot be had.
    ///
    /// # Errors
    /// [`RoomError::Full`] past a limit, [`RoomError::Ending`] while the server drains.
    pub fn join(
        &self,
        room: &RoomName,
        session: SessionId,
        role: Role,
        user: Option<UserId>,
    ) -> Result<Member, RoomError> {
        let mailbox = Arc::new(Mailbox::default());
        let joining = Arc::clone(&mailbox);
        let room = self.with_room(room, |room| {
            if room.sessions.load(Ordering::Relaxed) >= self.shared.limits.sessions_per_room {
                return Err(RoomError::Full(format!(
                    "the room has {} sessions, as many as it may",
                    self.shared.limits.sessions_per_room
                )));
            }
            // Counted here so that a crowd at the door cannot slip past the limit together; the
            // room's owner counts anew from then on.
            room.sessions.fetch_add(1, Ordering::Relaxed);
            observatory::session_opened();
            room.inbox.push(Input::Join {
                session,
                mailbox: joining,
                role,
                user,
            });
            Ok(())
        })?;
        Ok(Member::new(session, room, mailbox))
    }

    /// The room's whole document, from a loaded room or by loading it.
    ///
    /// # Errors
    /// [`RoomError`] says why not.
    pub async fn read_state(&self, room: &RoomName) -> Result<State, RoomError> {
        let (reply, answer) = oneshot::channel();
        self.ask(room, Input::ReadState(reply), answer).await
    }

    /// Appends records of the server's own, and gives the end of the log once they are durable.
    /// Updates are checked as a client's are; what stood before one that is refused is written.
    ///
    /// # Errors
    /// [`RoomError`] says why not.
    pub async fn write(
        &self,
        room: &RoomName,
        items: Vec<(RecordKind, Bytes)>,
    ) -> Result<Head, RoomError> {
        let (reply, answer) = oneshot::channel();
        self.ask(room, Input::Write(items, reply), answer).await
    }

    /// Sets a room back to a past state, as a new edit that merges with whatever others do
    /// meanwhile. Nothing is erased. Gives the end of the log once that is durable.
    ///
    /// # Errors
    /// [`RoomError`] says why not.
    pub async fn restore(&self, room: &RoomName, restore: Restore) -> Result<Head, RoomError> {
        let (reply, answer) = oneshot::channel();
        self.ask(room, Input::Restore(restore, reply), answer).await
    }

    /// Follows a room's log from here on.
    #[must_use]
    pub fn follow(&self, room: &RoomName) -> Follower {
        self.shared.followers.follow(room)
    }

    /// The rooms' pasts.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.shared.history
    }

    /// Where snapshots and the archive are kept.
    #[must_use]
    pub fn snapshots(&self) -> &Snapshots {
        &self.shared.snapshots
    }

    /// Closes the room's members with 4404 and deletes its log.
    ///
    /// # Errors
    /// [`RoomError`] says why not.
    pub async fn delete(&self, room: &RoomName) -> Result<(), RoomError> {
        let (reply, answer) = oneshot::channel();
        self.ask(room, Input::Delete(reply), answer).await
    }

    /// What the log knows of a room, and what its owner counts, if it is loaded.
    ///
    /// # Errors
    /// [`ReadError`] when the log cannot be read.
    pub async fn room(&self, room: &RoomName) -> Result<(RoomState, RoomInfo), ReadError> {
        let state = self.log().state(room).await?;
        Ok((state, self.info(room)))
    }

    /// What a loaded room's owner counts; nothing for one that is not loaded.
    #[must_use]
    pub fn info(&self, room: &RoomName) -> RoomInfo {
        let found = self.shared.rooms.get(room);
        found.map(|room| room.info()).unwrap_or_default()
    }

    /// Rooms of the log by name, after `after`.
    ///
    /// # Errors
    /// [`ReadError`] when the log cannot be read.
    pub async fn rooms(
        &self,
        after: Option<&RoomName>,
        limit: usize,
    ) -> Result<Vec<RoomRow>, ReadError> {
        self.log().rooms(after, limit).await
    }

    /// The log itself, for what it says of its durability and sizes.
    #[must_use]
    pub fn log(&self) -> &Arc<dyn Log> {
        &self.shared.history.stores().log
    }

    /// How many rooms are loaded.
    #[must_use]
    pub fn rooms_loaded(&self) -> usize {
        self.shared.rooms.len()
    }

    /// Takes no more joins, lets every room settle what is on its way, closes members with 1012,
    /// and closes the log. Gives the names of rooms that did not end within `patience`.
    pub async fn shut_down(&self, patience: Duration) -> Vec<RoomName> {
        self.shared.closing.store(true, Ordering::SeqCst);
        for room in self.shared.rooms.all() {
            let reason = "the server is restarting, come back soon";
            room.inbox.push(Input::End(CloseCode::Restart, reason));
        }
        self.shared.tasks.close();
        let ended = tokio::time::timeout(patience, self.shared.tasks.wait()).await;
        let late = if ended.is_ok() {
            Vec::new()
        } else {
            let rooms = self.shared.rooms.all();
            rooms.iter().map(|room| room.name.clone()).collect()
        };
        self.shared.committer.close();
        self.committing.close();
        // The committer ends when what it was given is settled; the log bounds that itself.
        if tokio::time::timeout(patience, self.committing.wait())
            .await
            .is_ok()
        {
            self.shared.snapshots.flush(patience).await;
            self.log().close().await;
        }
        late
    }

    async fn ask<T>(
        &self,
        room: &RoomName,
        input: Input,
        answer: oneshot::Receiver<Result<T, RoomError>>,
    ) -> Result<T, RoomError> {
        self.with_room(room, |room| {
            room.inbox.push(input);
            Ok(())
        })?;
        answer.await.unwrap_or(Err(RoomError::Ending))
    }

    /// Hands something to a room's inbox, having loaded it; while the directory is held, so that
    /// the room cannot end in between.
    fn with_room(
        &self,
        name: &RoomName,
        give: impl FnOnce(&Room) -> Result<(), RoomError>,
    ) -> Result<Arc<Room>, RoomError> {
        let mut rooms = self.shared.rooms.map.lock();
        // Looked at with the directory held: shutting down sets it before it lists the rooms.
        if self.shared.closing.load(Ordering::SeqCst) {
            return Err(RoomError::Ending);
        }
        if let Some(room) = rooms.get(name) {
            give(room)?;
            return Ok(Arc::clone(room));
        }
        if rooms.len() >= self.shared.limits.rooms_loaded {
            return Err(RoomError::Full(format!(
                "{} rooms are loaded, as many as there may be",
                rooms.len()
            )));
        }
        let room = Arc::new(Room::new(name.clone()));
        give(&room)?;
        rooms.insert(name.clone(), Arc::clone(&room));
        observatory::rooms_loaded(rooms.len());
        self.shared
            .tasks
            .spawn(task::run(Arc::clone(&self.shared), Arc::clone(&room)));
        Ok(room)
    }
}

/// The loaded rooms by name.
#[derive(Default)]
pub(crate) struct Directory {
    map: Mutex<HashMap<RoomName, Arc<Room>>>,
}

impl Directory {
    /// Lets go of a room if `agreed`, in one step; gives whether it did.
    pub(crate) fn forget(&self, room: &Arc<Room>, agreed: impl FnOnce() -> bool) -> bool {
        let mut map = self.map.lock();
        let same = map
            .get(&room.name)
            .is_some_and(|found| Arc::ptr_eq(found, room));
        if !same {
            return true;
        }
        if !agreed() {
            return false;
        }
        map.remove(&room.name);
        observatory::rooms_loaded(map.len());
        true
    }

    fn get(&self, room: &RoomName) -> Option<Arc<Room>> {
        self.map.lock().get(room).cloned()
    }

    fn all(&self) -> Vec<Arc<Room>> {
        self.map.lock().values().cloned().collect()
    }

    fn len(&self) -> usize {
        self.map.lock().len()
    }
}
