//! The rooms there are, and the doors to them.
//!
//! A [`Broker`] loads a room when it is first asked for and lets go of it when it has been idle.
//! The directory is the one place where a room's name leads to its owner: a room is put there
//! before its task starts and leaves it in the same step in which the task decides to end, so two
//! owners of one room cannot be.
//!
//! A room that nobody is in and that has nothing on its way *rests*: its task says so, and the next
//! thing that is given to it ends that. Everything reaches a room through the directory, so taking a
//! resting one out of it leaves an owner that has nothing to do and can be given nothing. Past the
//! limit of loaded rooms the one that has rested longest makes way like that.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use observatory::{Limit, Owner, RoomWas, Tier};
use parking_lot::Mutex;
use protocol::record::Kind as RecordKind;
use protocol::{CloseCode, Head, Role, RoomName, SessionId, Timestamp, UserId};
use replay::History;
use storage::{Log, ReadError, RoomRow, RoomState};
use tokio::sync::{Semaphore, oneshot};
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::committer::Committer;
use crate::followers::{Follower, Followers};
use crate::guest::{Guest, GuestInfo, Via};
use crate::limits::{HEAVY_AT_ONCE, Limits};
use crate::lodging::Lodging;
use crate::member::{Mailbox, Member};
use crate::memory::{self, Memory};
use crate::presence::Present;
use crate::room::inbox::{Edited, Input, Restore, RoomError, Writing};
use crate::room::{Activity, Room, RoomInfo, State, task};
use crate::rules::{Lifetime, Rules, SpaceRule};
use crate::snapshotter::Snapshots;
use crate::usage::{Allowance, Monthly, Usage};

/// Everything a room's task needs.
pub(crate) struct Shared {
    pub(crate) history: History,
    pub(crate) snapshots: Snapshots,
    pub(crate) followers: Arc<Followers>,
    pub(crate) committer: Arc<Committer>,
    /// For rooms whose log is in memory: they wait for no disk, and share no batch with those that do.
    pub(crate) ephemeral: Arc<Committer>,
    pub(crate) clock: Clock,
    pub(crate) limits: Limits,
    pub(crate) memory: Memory,
    /// Turns of encoding heavy documents.
    pub(crate) heavy: Semaphore,
    pub(crate) rules: Rules,
    pub(crate) usage: Usage,
    pub(crate) rooms: Directory,
    pub(crate) lodging: Lodging,
    tasks: TaskTracker,
    closing: AtomicBool,
}

impl Shared {
    /// Whether there is an archive, within reach or not.
    pub(crate) fn has_archive(&self) -> bool {
        let stores = self.history.stores();
        stores.awaits_archive || self.snapshots.archiver().is_some()
    }

    /// Whether nothing more may be taken that stays, also once rooms that rest have made way. For rooms'
    /// owners; the directory must not be held.
    pub(crate) fn is_crowded(&self) -> bool {
        self.memory.is_crowded() && !self.rooms.inner.lock().make_way_in(&self.memory)
    }
}

/// All rooms of this process.
#[derive(Clone)]
pub struct Broker {
    pub(crate) shared: Arc<Shared>,
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
        let ephemeral = Arc::new(Committer::new(Arc::clone(&history.stores().log)));
        history.watch(Box::new(|tier, took| {
            let tier = match tier {
                replay::Tier::Cache => Tier::Cache,
                replay::Tier::Log => Tier::Log,
                replay::Tier::Archive => Tier::Archive,
            };
            observatory::replayed(tier, took);
        }));
        let committing = TaskTracker::new();
        for committer in [&committer, &ephemeral] {
            let runner = Arc::clone(committer);
            committing.spawn(async move { runner.run().await });
        }
        let shared = Shared {
            history,
            snapshots,
            followers: Arc::default(),
            committer,
            ephemeral,
            clock: Clock::start(),
            memory: Memory::new(limits.memory),
            heavy: Semaphore::new(HEAVY_AT_ONCE),
            limits,
            rules: Rules::default(),
            usage: Usage::default(),
            rooms: Directory::default(),
            lodging: Lodging::default(),
            tasks: TaskTracker::new(),
            closing: AtomicBool::new(false),
        };
        Self {
            shared: Arc::new(shared),
            committing,
        }
    }

    /// What clients make the process hold is counted to this.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.shared.memory
    }

    /// Asks this of the rooms of each space from here on, of loaded ones too.
    pub fn set_rules(&self, rules: BTreeMap<String, SpaceRule>) {
        self.shared.rules.set(rules);
        // A room is in the directory before it reads its rule, so none is left out.
        for room in self.shared.rooms.all() {
            let rule = self.shared.rules.of(&room.name);
            room.inbox.push(Input::Rule(rule));
        }
    }

    /// Whether a room is forgotten when its members have gone: one of its name then begins anew, with
    /// other records under the same Seqs.
    #[must_use]
    pub fn forgets(&self, room: &RoomName) -> bool {
        self.shared.rules.of(room).lifetime == Lifetime::Ephemeral
    }

    /// Makes a session a member of a room, which is loaded if it is not. The first event is
    /// [`Joined`](protocol::dialect::Event::Joined), or `Closed` if the room cannot be had. What it writes
    /// is counted to its allowance, or to its space.
    ///
    /// # Errors
    /// [`RoomError::Full`] past a limit, [`RoomError::Ending`] while the server drains.
    pub fn join(
        &self,
        room: &RoomName,
        session: SessionId,
        role: Role,
        user: Option<UserId>,
        via: Via,
        allowance: Option<Allowance>,
    ) -> Result<Member, RoomError> {
        let most = self.shared.rules.of(room).sessions_per_room;
        let most = most.unwrap_or(self.shared.limits.sessions_per_room);
        let mailbox = Arc::new(Mailbox::default());
        let joining = Arc::clone(&mailbox);
        let guest = Guest::new(session, user.clone(), role, via, self.wall_time());
        let mut room_was = RoomWas::Cold;
        let room = self.with_room(room, |room| {
            if room.is_loaded.load(Ordering::Relaxed) {
                room_was = RoomWas::Warm;
            }
            if room.sessions.load(Ordering::Relaxed) >= most {
                observatory::limit_hit(Limit::Sessions);
                return Err(RoomError::Full(format!(
                    "the room has {most} sessions, as many as it may"
                )));
            }
            // Counted here so that a crowd at the door cannot slip past the limit together; the
            // room's owner counts anew from then on.
            room.sessions.fetch_add(1, Ordering::Relaxed);
            room.inbox.push(Input::Join {
                session,
                mailbox: joining,
                role,
                user,
                allowance,
            });
            Ok(())
        })?;
        Ok(Member::new(
            session,
            room,
            mailbox,
            Arc::new(guest),
            room_was,
        ))
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
    /// Updates are checked as a client's are, and counted to `allowance` or the room's space; what stood
    /// before one that is refused is written.
    ///
    /// # Errors
    /// [`RoomError`] says why not.
    pub async fn write(
        &self,
        room: &RoomName,
        items: Vec<(RecordKind, Bytes)>,
        allowance: Option<Allowance>,
    ) -> Result<Head, RoomError> {
        let (reply, answer) = oneshot::channel();
        let writing = Writing {
            items,
            allowance,
            reply,
        };
        self.ask(room, Input::Write(writing), answer).await
    }

    /// As [`Broker::write`], for a room that has never been written to.
    ///
    /// # Errors
    /// [`RoomError::Exists`] if it has been, and otherwise as that.
    pub async fn begin(
        &self,
        room: &RoomName,
        items: Vec<(RecordKind, Bytes)>,
        allowance: Option<Allowance>,
    ) -> Result<Head, RoomError> {
        let (reply, answer) = oneshot::channel();
        let writing = Writing {
            items,
            allowance,
            reply,
        };
        self.ask(room, Input::Begin(writing), answer).await
    }

    /// Sets a room to a past state, or to a text, by a new edit that merges with whatever others do
    /// meanwhile. Nothing is erased. Answers once that is durable.
    ///
    /// # Errors
    /// [`RoomError::Moved`] if the room is not where it was expected to be; else [`RoomError`] says
    /// why not.
    pub async fn restore(&self, room: &RoomName, restore: Restore) -> Result<Edited, RoomError> {
        let (reply, answer) = oneshot::channel();
        self.ask(room, Input::Restore(restore, reply), answer).await
    }

    /// Follows a room's log from here on.
    #[must_use]
    pub fn follow(&self, room: &RoomName) -> Follower {
        self.shared.followers.follow(room)
    }

    /// What has been written this month.
    #[must_use]
    pub fn usage(&self) -> &Usage {
        &self.shared.usage
    }

    /// What each account of a space may write in a month.
    #[must_use]
    pub fn monthly_of(&self, space: &str) -> Monthly {
        self.shared.rules.of_space(space).monthly
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

    /// Deletes the room's log, and then closes its members with 4404; with 1013 if that fails.
    ///
    /// # Errors
    /// [`RoomError`] says why not.
    pub async fn delete(&self, room: &RoomName) -> Result<(), RoomError> {
        let (reply, answer) = oneshot::channel();
        self.ask(room, Input::Delete(reply), answer).await
    }

    /// As [`Broker::delete`], if nobody is in the room.
    ///
    /// # Errors
    /// [`RoomError::InUse`] if somebody is; else [`RoomError`] says why not.
    pub(crate) async fn delete_idle(&self, room: &RoomName) -> Result<(), RoomError> {
        let (reply, answer) = oneshot::channel();
        self.ask(room, Input::DeleteIdle(reply), answer).await
    }

    /// Unloads a room: what is on its way is settled, and members are closed with 1012, to come back.
    /// Gives whether it was loaded.
    pub fn evict(&self, room: &RoomName) -> bool {
        let found = self.shared.rooms.get(room);
        found.is_some_and(|room| {
            let reason = "the room is loaded anew, come back soon";
            room.inbox.push(Input::End(CloseCode::Restart, reason));
            true
        })
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

    /// Who is in a room, by replica; nobody in one that is not loaded.
    #[must_use]
    pub fn present(&self, room: &RoomName) -> Vec<Present> {
        let found = self.shared.rooms.get(room);
        found
            .map(|room| room.presence.everyone())
            .unwrap_or_default()
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

    /// The wall clock, by which records are dated.
    #[must_use]
    pub fn wall_time(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// How many rooms are loaded.
    #[must_use]
    pub fn rooms_loaded(&self) -> usize {
        self.shared.rooms.len()
    }

    /// What goes on in every loaded room.
    #[must_use]
    pub fn activity(&self) -> Vec<Activity> {
        let now = Instant::now();
        let rooms = self.shared.rooms.all();
        rooms.iter().map(|room| room.activity(now)).collect()
    }

    /// What goes on in a room, if it is loaded.
    #[must_use]
    pub fn activity_of(&self, room: &RoomName) -> Option<Activity> {
        let found = self.shared.rooms.get(room);
        found.map(|room| room.activity(Instant::now()))
    }

    /// How many sessions a loaded room has, and up to `most` of them.
    #[must_use]
    pub fn guests(&self, room: &RoomName, most: usize) -> (usize, Vec<GuestInfo>) {
        let found = self.shared.rooms.get(room);
        found.map_or_else(Default::default, |room| {
            room.guests.list(room.feed.head(), most)
        })
    }

    /// Tells the metrics what only can be looked at: what is on its way to the log, and how far sessions
    /// are behind.
    pub fn observe(&self) {
        let pending = self.shared.committer.pending();
        let age = pending.oldest.map(|since| since.elapsed());
        observatory::durability_lag(age.unwrap_or_default(), pending.records, pending.commits);
        let mut lags = Vec::new();
        for room in self.shared.rooms.awake() {
            room.guests.lags(room.feed.head(), &mut lags);
        }
        lags.sort_unstable();
        let at = |place: usize| lags.get(place).map_or(f64::NAN, |lag| *lag as f64);
        observatory::feed_lag(at(lags.len() / 2), at(lags.len().wrapping_sub(1)));
        observatory::memory(Owner::Caches, self.shared.history.cached_bytes());
        observatory::memory_limit(Owner::Caches, self.shared.history.cache_limit());
        let tell = observatory::month;
        self.shared.usage.by_space(self.wall_time(), tell);
        observatory::log_poisoned(self.log().poisoned().is_some());
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
        self.shared.ephemeral.close();
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
        let mut rooms = self.shared.rooms.inner.lock();
        // Looked at with the directory held: shutting down sets it before it lists the rooms.
        if self.shared.closing.load(Ordering::SeqCst) {
            return Err(RoomError::Ending);
        }
        if let Some(room) = rooms.get(name) {
            give(&room)?;
            rooms.wake(name);
            return Ok(room);
        }
        let room = Arc::new(Room::new(name.clone(), &self.shared.memory));
        if rooms.len() >= self.shared.limits.rooms_loaded && !rooms.make_way() {
            observatory::limit_hit(Limit::Rooms);
            return Err(RoomError::Full(format!(
                "{} rooms are loaded and in use, as many as there may be",
                rooms.len()
            )));
        }
        if self.shared.memory.is_crowded() && !rooms.make_way_in(&self.shared.memory) {
            return Err(memory::full());
        }
        give(&room)?;
        rooms.insert(Arc::clone(&room));
        self.shared
            .tasks
            .spawn(task::run(Arc::clone(&self.shared), Arc::clone(&room)));
        Ok(room)
    }
}

/// The loaded rooms by name.
#[derive(Default)]
pub(crate) struct Directory {
    inner: Mutex<Rooms>,
}

#[derive(Default)]
struct Rooms {
    map: HashMap<RoomName, Loaded>,
    /// The rooms that rest, by when they began to: the first has rested longest.
    resting: BTreeMap<u64, Arc<Room>>,
    rests: u64,
}

struct Loaded {
    room: Arc<Room>,
    /// Where the room stands among those that rest.
    resting: Option<u64>,
}

impl Directory {
    /// Lets go of a room if `agreed`, in one step; gives whether it did.
    pub(crate) fn forget(&self, room: &Arc<Room>, agreed: impl FnOnce() -> bool) -> bool {
        let mut rooms = self.inner.lock();
        if !rooms.holds(room) {
            return true;
        }
        if !agreed() {
            return false;
        }
        rooms.remove(&room.name);
        true
    }

    /// The room's owner has nothing to do and nobody to do it for, until something is given to it.
    /// Gives whether it rests now: not if something has been given to it already.
    pub(crate) fn rest(&self, room: &Arc<Room>) -> bool {
        let mut rooms = self.inner.lock();
        if !rooms.holds(room) || !room.inbox.is_empty() {
            return false;
        }
        rooms.rest(room);
        true
    }

    fn get(&self, room: &RoomName) -> Option<Arc<Room>> {
        self.inner.lock().get(room)
    }

    pub(crate) fn all(&self) -> Vec<Arc<Room>> {
        let rooms = self.inner.lock();
        let rooms = rooms.map.values();
        rooms.map(|loaded| Arc::clone(&loaded.room)).collect()
    }

    /// Rooms that somebody is in, or that have something to do.
    pub(crate) fn awake(&self) -> Vec<Arc<Room>> {
        let rooms = self.inner.lock();
        let awake = rooms.map.values().filter(|loaded| loaded.resting.is_none());
        awake.map(|loaded| Arc::clone(&loaded.room)).collect()
    }

    fn len(&self) -> usize {
        self.inner.lock().len()
    }
}

impl Rooms {
    fn len(&self) -> usize {
        self.map.len()
    }

    fn get(&self, name: &RoomName) -> Option<Arc<Room>> {
        self.map.get(name).map(|loaded| Arc::clone(&loaded.room))
    }

    fn holds(&self, room: &Arc<Room>) -> bool {
        let found = self.map.get(&room.name);
        found.is_some_and(|loaded| Arc::ptr_eq(&loaded.room, room))
    }

    fn insert(&mut self, room: Arc<Room>) {
        let name = room.name.clone();
        let resting = None;
        self.map.insert(name, Loaded { room, resting });
        observatory::rooms_loaded(self.len());
    }

    fn remove(&mut self, name: &RoomName) {
        self.wake(name);
        self.map.remove(name);
        observatory::rooms_loaded(self.len());
    }

    fn rest(&mut self, room: &Arc<Room>) {
        self.wake(&room.name);
        self.rests += 1;
        if let Some(loaded) = self.map.get_mut(&room.name) {
            loaded.resting = Some(self.rests);
            self.resting.insert(self.rests, Arc::clone(room));
        }
    }

    fn wake(&mut self, name: &RoomName) {
        let loaded = self.map.get_mut(name);
        if let Some(since) = loaded.and_then(|loaded| loaded.resting.take()) {
            self.resting.remove(&since);
        }
    }

    /// Lets go of rooms that rest until there is memory again. Gives whether there is.
    fn make_way_in(&mut self, memory: &Memory) -> bool {
        while memory.is_crowded() {
            if !self.make_way() {
                return false;
            }
        }
        true
    }

    /// Lets go of the room that has rested longest. Gives whether there was one.
    fn make_way(&mut self) -> bool {
        let Some((_, room)) = self.resting.pop_first() else {
            return false;
        };
        self.map.remove(&room.name);
        // What it took is as good as given back.
        room.document.set(0);
        room.feed.clear();
        // Nobody hears of it: a room that rests has no members, and now no way leads to it.
        let reason = "the room makes way for another";
        room.inbox.push(Input::End(CloseCode::TryLater, reason));
        true
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;

    use protocol::dialect::{Command, Event, PresenceEntry};
    use protocol::{Seq, Site};
    use storage::faults::{Faults, FaultyLog};
    use storage::memory::MemoryLog;

    use super::*;
    use crate::room::inbox::weigh_presence;

    fn on(log: impl Log, limits: Limits) -> Broker {
        let history = History::of_log(Arc::new(log), replay::Kind::Yjs);
        Broker::new(history, Snapshots::none(), limits)
    }

    fn with_rooms(rooms_loaded: usize) -> Broker {
        let limits = Limits {
            rooms_loaded,
            ..Limits::default()
        };
        on(MemoryLog::new(), limits)
    }

    fn room(nth: usize) -> RoomName {
        RoomName::parse(&format!("pit/{nth}")).unwrap()
    }

    fn join(broker: &Broker, nth: usize) -> Result<Member, RoomError> {
        let session = SessionId::new(nth as u64 + 1);
        broker.join(
            &room(nth),
            session,
            Role::Editor,
            None,
            crate::guest::Via::OF_TESTS,
            None,
        )
    }

    async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let looking = async {
            loop {
                if let Some(found) = look() {
                    return found;
                }
                tokio::task::yield_now().await;
            }
        };
        within(what, looking).await
    }

    async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
        let limit = Duration::from_secs(20);
        let done = tokio::time::timeout(limit, future).await;
        done.unwrap_or_else(|_| panic!("not within {limit:?}: {what}"))
    }

    /// An update of one client, whose only item is a text of so many bytes: 128 to 16,383.
    fn text_of(client: u8, bytes: usize) -> Bytes {
        let len = [0x80 | (bytes & 0x7f) as u8, (bytes >> 7) as u8];
        let head = [&[1, 1, client, 0, 4, 1, 1, b't'], &len[..]].concat();
        Bytes::from([head, vec![b'x'; bytes], vec![0]].concat())
    }

    fn created() -> Vec<(RecordKind, Bytes)> {
        vec![(RecordKind::Created, Bytes::new())]
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_the_log_did_not_take_is_told_and_closes_nobody_for_good() {
        let faults = Faults {
            not_written: 1000,
            ..Faults::default()
        };
        let log = FaultyLog::new(MemoryLog::new(), faults, 1);
        let broker = on(log, Limits::default());
        let mut member = join(&broker, 0).unwrap();
        let failed = within("an answer", broker.delete(&room(0))).await;
        assert!(matches!(failed, Err(RoomError::Log(_))), "{failed:?}");
        let failed = within("an answer", broker.write(&room(1), created(), None)).await;
        assert!(matches!(failed, Err(RoomError::Log(_))), "{failed:?}");
        let closed = |event| match event {
            Event::Closed { code, .. } => Some(code),
            _ => None,
        };
        let code = until("it ends", || member.next_event().and_then(closed)).await;
        assert_eq!(code, CloseCode::TryLater);
    }

    /// Plants a panic in the task that wakes it.
    struct Planted;

    impl std::task::Wake for Planted {
        fn wake(self: Arc<Self>) {
            panic!("planted");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_panic_of_a_rooms_task_ends_the_room_and_leaves_no_dead_one() {
        let broker = with_rooms(1);
        let joined = |event| matches!(event, Event::Joined { .. }).then_some(());
        let closed = |event| match event {
            Event::Closed { code, .. } => Some(code),
            _ => None,
        };
        let mut bystander = join(&broker, 0).unwrap();
        until("it joins", || bystander.next_event().and_then(joined)).await;
        bystander.register(&Arc::new(Planted).into());
        let answer = broker.write(&room(0), created(), None).await;
        // The record may have been stored before the panic, and the answer is lost all the same.
        assert!(
            answer.is_ok() || answer == Err(RoomError::Ending),
            "{answer:?}"
        );
        let code = until("it ends", || bystander.next_event().and_then(closed)).await;
        assert_eq!(code, CloseCode::TryLater);
        let head = within("it is loaded anew", async {
            loop {
                match broker.write(&room(0), created(), None).await {
                    Ok(head) => return head,
                    Err(RoomError::Ending | RoomError::Log(_)) => tokio::task::yield_now().await,
                    Err(error) => panic!("{error}"),
                }
            }
        })
        .await;
        assert_eq!(head.seq, Seq::new(2));
        let mut back = join(&broker, 0).unwrap();
        until("it joins", || back.next_event().and_then(joined)).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_room_may_stay_loaded_for_ever() {
        let limits = Limits {
            idle_unload: Duration::MAX,
            ..Limits::default()
        };
        let broker = on(MemoryLog::new(), limits);
        for seq in 1..=2 {
            let head = within("an answer", broker.write(&room(0), created(), None)).await;
            assert_eq!(head.map(|head| head.seq), Ok(Seq::new(seq)));
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn past_the_limit_the_room_that_rested_longest_makes_way() {
        let broker = with_rooms(3);
        for nth in 0..100 {
            broker.write(&room(nth), created(), None).await.unwrap();
            until("it rests", || {
                let rooms = broker.shared.rooms.inner.lock();
                (rooms.resting.len() == rooms.len()).then_some(())
            })
            .await;
            // The first one is asked again and again, so it is never the longest idle.
            broker.read_state(&room(0)).await.unwrap();
        }
        assert_eq!(broker.rooms_loaded(), 3);
        assert!(broker.shared.rooms.get(&room(0)).is_some());
        assert!(broker.shared.rooms.get(&room(99)).is_some());
        assert!(broker.shared.rooms.get(&room(97)).is_none());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn past_the_memory_idle_rooms_make_way_and_then_nothing_grows() {
        let limits = Limits {
            memory: 100_000,
            ..Limits::default()
        };
        let broker = on(MemoryLog::new(), limits);
        let write = |nth: usize, client: u8| {
            let update = vec![(RecordKind::Update, text_of(client, 16_000))];
            let broker = broker.clone();
            async move { within("an answer", broker.write(&room(nth), update, None)).await }
        };
        for nth in 0..30 {
            write(nth, 1).await.expect("an idle room makes way");
            until("it rests", || {
                let rooms = broker.shared.rooms.inner.lock();
                (rooms.resting.len() == rooms.len()).then_some(())
            })
            .await;
        }
        let loaded = broker.rooms_loaded();
        assert!(
            (1..12).contains(&loaded),
            "{loaded} rooms of 16 KB in 100 KB"
        );
        // With members in them they stay, and what would add to them is refused.
        let _members: Vec<_> = (0..30).filter_map(|nth| join(&broker, nth).ok()).collect();
        let mut refused = None;
        for client in 2..30 {
            refused = write(0, client).await.err();
            if refused.is_some() {
                break;
            }
        }
        let refused = refused.expect("it is never full").to_string();
        assert!(refused.contains(memory::FULL), "{refused}");
        let refused = join(&broker, 99).err();
        assert!(matches!(refused, Some(RoomError::Full(_))), "{refused:?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_a_room_holds_is_counted_until_it_is_unloaded() {
        let limits = Limits {
            idle_unload: Duration::ZERO,
            ..Limits::default()
        };
        let broker = on(MemoryLog::new(), limits);
        let memory = broker.memory().clone();
        let member = join(&broker, 0).expect("a member");
        let update = vec![(RecordKind::Update, text_of(1, 16_000))];
        let name = room(0);
        let written = broker.write(&name, update, None);
        within("it is written", written).await.expect("room for it");
        let loaded = broker.shared.rooms.get(&room(0)).expect("it is loaded");
        until("the document and the feed are counted", || {
            // As the document has it, and as the feed does.
            (memory.taken() > 32_000).then_some(())
        })
        .await;
        assert!(loaded.document.bytes() > 16_000);
        assert_eq!(loaded.inbox.weight(), 0, "it is settled");
        drop((member, loaded));
        until("nothing is held", || (memory.taken() == 0).then_some(())).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn presence_on_its_way_is_counted_until_it_is_handled() {
        let broker = on(MemoryLog::new(), Limits::default());
        let mut member = join(&broker, 0).expect("a member");
        let joined = |event| matches!(event, Event::Joined { .. }).then_some(());
        until("it joins", || member.next_event().and_then(joined)).await;
        let entry = PresenceEntry {
            site: Site::new(7),
            clock: 1,
            state: Some(Bytes::from(vec![b'x'; 10_000])),
        };
        let command = Command::Presence(vec![entry]);
        assert!(weigh_presence(&command) >= 10_000);
        member.send(vec![command]);
        let room = broker.shared.rooms.get(&room(0)).expect("it is loaded");
        until("it is handled", || (room.presence.len() == 1).then_some(())).await;
        until("nothing waits", || (room.inbox.weight() == 0).then_some(())).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn rooms_that_are_loaded_at_once_are_counted_before_anyone_is_in() {
        let log = Arc::new(MemoryLog::new());
        let with = |memory| {
            let limits = Limits {
                memory,
                ..Limits::default()
            };
            let history = History::of_log(Arc::clone(&log) as Arc<dyn Log>, replay::Kind::Yjs);
            Broker::new(history, Snapshots::none(), limits)
        };
        let before = with(usize::MAX);
        for nth in 0..30 {
            let update = vec![(RecordKind::Update, text_of(1, 16_000))];
            let room = room(nth);
            let written = before.write(&room, update, None);
            within("it is written", written).await.expect("room for it");
        }
        let broker = with(100_000);
        let mut members: Vec<_> = (0..30).filter_map(|nth| join(&broker, nth).ok()).collect();
        let mut entered = 0;
        for member in &mut members {
            let answer = until("an answer", || match member.next_event()? {
                Event::Joined { .. } => Some(Ok(())),
                Event::Closed { code, .. } => Some(Err(code)),
                _ => None,
            });
            match answer.await {
                Ok(()) => entered += 1,
                Err(code) => assert_eq!(code, CloseCode::TryLater),
            }
        }
        assert!((1..8).contains(&entered), "{entered} of 16 KB in 100 KB");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn with_members_in_every_room_a_join_is_refused_until_one_is_left() {
        let broker = with_rooms(2);
        let (first, _second) = (join(&broker, 0).unwrap(), join(&broker, 1).unwrap());
        let refused = join(&broker, 2).err();
        assert!(matches!(refused, Some(RoomError::Full(_))), "{refused:?}");
        drop(first);
        let mut third = until("there is room", || join(&broker, 2).ok()).await;
        let joined = |event| matches!(event, Event::Joined { .. }).then_some(());
        until("it joins", || third.next_event().and_then(joined)).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn rooms_that_make_way_all_the_time_have_one_owner_each() {
        const ROOMS: usize = 12;
        const EACH: usize = 200;
        let broker = with_rooms(4);
        let writers = (0..4).map(|writer| {
            let broker = broker.clone();
            tokio::spawn(async move {
                for nth in 0..EACH {
                    let room = room((nth * 7 + writer * 5) % ROOMS);
                    loop {
                        match broker.write(&room, created(), None).await {
                            Ok(_) => break,
                            Err(RoomError::Full(_)) => tokio::task::yield_now().await,
                            Err(error) => panic!("{room}: {error}"),
                        }
                    }
                }
            })
        });
        let writers = futures_util::future::try_join_all(writers);
        within("they write", writers).await.unwrap();
        assert!(broker.rooms_loaded() <= 4);
        let mut written = 0;
        for nth in 0..ROOMS {
            let (state, _) = broker.room(&room(nth)).await.unwrap();
            written += state.head.seq.since(Seq::ZERO);
        }
        assert_eq!(written as usize, 4 * EACH);
    }
}
