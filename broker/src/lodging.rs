//! Room for another, and rooms whose time is over.
//!
//! A space may bound how many rooms it has here and what they take. A room that is begun in a full space
//! makes the oldest idle one go; with none idle it is refused. Where there is an archive, a room that goes is
//! read from there; without one it is deleted. [`Broker::tidy`] sees to the rest: what has grown past a
//! space's bound meanwhile, and rooms that nobody has been in for their time.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use observatory::Limit;
use parking_lot::Mutex;
use protocol::{Head, RoomName};
use storage::{Batch, Entry, RoomRow};

use crate::broker::Broker;
use crate::room::inbox::RoomError;
use crate::rules::{Lifetime, SpaceRule};

/// How long a room that was let in counts before it is there.
const BEGINNING: Duration = Duration::from_secs(10);
/// How many rooms are asked for at once.
const PAGE: usize = 1000;
/// The most rooms of a space that one [`Broker::tidy`] makes go.
const GO_AT_ONCE: usize = 100;
/// How long the archive may take for a room that is to leave for it.
const ARCHIVING: Duration = Duration::from_secs(5);

/// The rooms that are being begun, by space. Who looks whether there is room for one holds its space.
#[derive(Debug, Default)]
pub(crate) struct Lodging {
    spaces: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Beginning>>>>,
}

type Beginning = HashMap<RoomName, Instant>;

impl Lodging {
    /// As many as there are spaces.
    fn of(&self, space: &str) -> Arc<tokio::sync::Mutex<Beginning>> {
        let mut spaces = self.spaces.lock();
        Arc::clone(spaces.entry(space.to_owned()).or_default())
    }
}

/// A room that has gone, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gone {
    /// Its name.
    pub room: RoomName,
    /// Why it went, in words.
    pub why: &'static str,
    /// Whether it is in the archive; deleted otherwise.
    pub archived: bool,
}

/// What a space has here.
struct Taken {
    /// Rooms with records here, the longest untouched first.
    rows: Vec<RoomRow>,
    /// Rooms that somebody is in or that are being begun, with records or without.
    in_use: BTreeSet<RoomName>,
    /// Rooms that are loaded.
    loaded: BTreeSet<RoomName>,
}

impl Taken {
    fn rooms(&self) -> usize {
        let known = self
            .rows
            .iter()
            .filter(|row| self.in_use.contains(&row.room));
        self.rows.len() + self.in_use.len() - known.count()
    }

    fn bytes(&self) -> u64 {
        self.rows.iter().map(|row| row.state.bytes).sum()
    }

    /// Of what there is too much with so many rooms more, if there is, in words too.
    fn excess(&self, rule: &SpaceRule, more: usize) -> Option<(Limit, &'static str)> {
        if rule
            .max_rooms
            .is_some_and(|most| self.rooms() + more > most)
        {
            return Some((Limit::Rooms, "the space has as many rooms as it may"));
        }
        let full = rule.max_total.is_some_and(|most| self.bytes() > most);
        full.then_some((
            Limit::TotalBytes,
            "the rooms of the space take as much as they may",
        ))
    }
}

impl Broker {
    /// Whether rooms of a space may have to make way for another.
    #[must_use]
    pub fn limits_rooms(&self, room: &RoomName) -> bool {
        let rule = self.shared.rules.of(room);
        rule.max_rooms.is_some() || rule.max_total.is_some()
    }

    /// Lets a room be begun that is not there, and gives those that went for it. Whoever is let in has
    /// ten seconds to join or write.
    ///
    /// # Errors
    /// [`RoomError::Full`] if somebody is in every room of a full space; else why rooms could not go.
    pub async fn make_room(&self, room: &RoomName) -> Result<Vec<Gone>, RoomError> {
        let rule = self.shared.rules.of(room);
        if !self.limits_rooms(room) {
            return Ok(Vec::new());
        }
        let state = self.log().state(room).await;
        if state.is_ok_and(|state| state.deleted) {
            // It is not begun: whoever joins learns that it is gone.
            return Ok(Vec::new());
        }
        let space = self.shared.lodging.of(room.space());
        let mut beginning = space.lock().await;
        let mut taken = self.taken(room.space(), &mut beginning).await?;
        let more = usize::from(!taken.in_use.contains(room));
        let gone = self.shed(&mut taken, &rule, more, usize::MAX).await;
        if let Some((limit, why)) = taken.excess(&rule, more) {
            observatory::limit_hit(limit);
            return Err(RoomError::Full(format!(
                "{why}, and none can make way now; try again later"
            )));
        }
        beginning.insert(room.clone(), Instant::now());
        Ok(gone)
    }

    /// Makes rooms go whose time is over or whose space has too much, some at a time; gives them. To be
    /// called every few seconds, `after` so long since the start.
    ///
    /// # Errors
    /// [`RoomError::Log`] when the log cannot be read.
    pub async fn tidy(&self, after: Duration) -> Result<Vec<Gone>, RoomError> {
        let mut gone = Vec::new();
        for (name, rule) in self.shared.rules.all() {
            let limits = rule.max_rooms.is_some() || rule.max_total.is_some();
            if !limits && rule.lifetime == Lifetime::Persistent {
                continue;
            }
            let space = self.shared.lodging.of(&name);
            let mut beginning = space.lock().await;
            let mut taken = self.taken(&name, &mut beginning).await?;
            let idle = rule.idle.unwrap_or(self.shared.limits.idle_unload);
            // Members of before a restart are given their time to come back.
            if rule.lifetime != Lifetime::Persistent && after >= idle {
                gone.append(&mut self.expire(&mut taken, idle).await);
            }
            gone.append(&mut self.shed(&mut taken, &rule, 0, GO_AT_ONCE).await);
        }
        Ok(gone)
    }

    /// Lets the longest untouched idle rooms go until there is not too much with `more` rooms, at most
    /// so many.
    async fn shed(
        &self,
        taken: &mut Taken,
        rule: &SpaceRule,
        more: usize,
        most: usize,
    ) -> Vec<Gone> {
        let mut gone = Vec::new();
        let mut next = 0;
        while gone.len() < most
            && let Some((_, why)) = taken.excess(rule, more)
            && let Some(row) = taken.rows.get(next)
        {
            if !taken.in_use.contains(&row.room)
                && let Some(went) = self.go(row, why).await
            {
                taken.rows.remove(next);
                gone.push(went);
            } else {
                next += 1;
            }
        }
        gone
    }

    /// Lets rooms go that are not loaded and have not been written to for `idle`.
    async fn expire(&self, taken: &mut Taken, idle: Duration) -> Vec<Gone> {
        let now = self.wall_time().micros();
        let idle = u64::try_from(idle.as_micros()).unwrap_or(u64::MAX);
        let mut gone = Vec::new();
        let mut left = Vec::new();
        for row in std::mem::take(&mut taken.rows) {
            let over = row.state.head.at.micros().saturating_add(idle) <= now;
            let due = over && gone.len() < GO_AT_ONCE && !taken.loaded.contains(&row.room);
            let why = "nobody has been in it for its time";
            match if due { self.go(&row, why).await } else { None } {
                Some(went) => gone.push(went),
                None => left.push(row),
            }
        }
        taken.rows = left;
        gone
    }

    /// Lets a room go that nobody is in; `None` if it cannot.
    async fn go(&self, row: &RoomRow, why: &'static str) -> Option<Gone> {
        let lifetime = self.shared.rules.of(&row.room).lifetime;
        let archived = self.shared.has_archive() && lifetime != Lifetime::Ephemeral;
        let went = if archived {
            self.leave_to_archive(row).await
        } else {
            self.delete_idle(&row.room).await
        };
        match went {
            Ok(()) => {
                tracing::info!(room = %row.room, why, archived, "a room has made way");
                let room = row.room.clone();
                Some(Gone {
                    room,
                    why,
                    archived,
                })
            }
            Err(RoomError::InUse) => None,
            Err(error) => {
                tracing::warn!(room = %row.room, %error, "a room cannot make way");
                None
            }
        }
    }

    /// Gives a room's records here back, once the archive has them.
    async fn leave_to_archive(&self, row: &RoomRow) -> Result<(), RoomError> {
        let log_error = |error: &dyn std::fmt::Display| RoomError::Log(error.to_string());
        let archiver = self.shared.snapshots.archiver();
        let away = || RoomError::Log("the archive is out of reach".to_owned());
        let archiver = archiver.ok_or_else(away)?;
        let known = archiver.archive().room(&row.room);
        if known.is_none_or(|known| known.head != row.state.head) {
            let flushed = archiver.flush(ARCHIVING).await;
            flushed.map_err(|error| log_error(&error))?;
        }
        let known = archiver.archive().room(&row.room);
        if self.info(&row.room).sessions > 0
            || known.is_none_or(|known| known.head != row.state.head)
        {
            return Err(RoomError::InUse);
        }
        let entries = vec![Entry::Trim(row.room.clone(), row.state.head.seq)];
        let trimmed = self.log().append(Batch { entries }).await;
        trimmed.map_err(|error| log_error(&error))?;
        Ok(())
    }

    async fn taken(&self, space: &str, beginning: &mut Beginning) -> Result<Taken, RoomError> {
        beginning.retain(|_, since| since.elapsed() < BEGINNING);
        let mut in_use: BTreeSet<RoomName> = beginning.keys().cloned().collect();
        let mut loaded = BTreeSet::new();
        for room in self.shared.rooms.all() {
            if room.name.space() != space {
                continue;
            }
            if room.info().sessions > 0 {
                in_use.insert(room.name.clone());
            }
            loaded.insert(room.name.clone());
        }
        let mut rows = self.rooms_of(space).await?;
        rows.sort_by_key(|row| row.state.head.at);
        Ok(Taken {
            rows,
            in_use,
            loaded,
        })
    }

    /// The rooms of a space that have records here.
    async fn rooms_of(&self, space: &str) -> Result<Vec<RoomRow>, RoomError> {
        let failed = |error: &dyn std::fmt::Display| {
            RoomError::Log(format!("the rooms of {space} cannot be listed: {error}"))
        };
        // The first name there may be; it is looked at by itself, because a page comes after it.
        let first = RoomName::new(space, " ").map_err(|error| failed(&error))?;
        let state = self.log().state(&first).await;
        let state = state.map_err(|error| failed(&error))?;
        let mut rows = Vec::new();
        if state.head != Head::EMPTY && !state.deleted {
            let room = first.clone();
            rows.push(RoomRow { room, state });
        }
        let mut after = first;
        loop {
            let page = self.log().rooms(Some(&after), PAGE).await;
            let page = page.map_err(|error| failed(&error))?;
            let whole = page.len() == PAGE;
            let of_space = page.into_iter().take_while(|row| row.room.space() == space);
            let before = rows.len();
            rows.extend(of_space);
            match rows.last() {
                Some(last) if whole && rows.len() - before == PAGE => after = last.room.clone(),
                _ => break,
            }
        }
        rows.retain(|row| row.state.bytes > 0);
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use protocol::{Kind, Role, SessionId};
    use replay::History;
    use storage::{Log, MemoryLog, SplitLog};

    use super::*;
    use crate::{Limits, Member, Snapshots};

    fn with(rule: SpaceRule) -> Broker {
        let memory: Arc<dyn Log> = Arc::new(MemoryLog::new());
        let log: Arc<dyn Log> = match rule.lifetime {
            Lifetime::Ephemeral => Arc::new(SplitLog::new(memory, Arc::new(|_| true), u64::MAX)),
            Lifetime::Persistent | Lifetime::Expiring => memory,
        };
        let history = History::of_log(log, replay::Kind::Yjs);
        let broker = Broker::new(history, Snapshots::none(), Limits::default());
        broker.set_rules([("pit".to_owned(), rule)].into());
        broker
    }

    fn room(nth: usize) -> RoomName {
        RoomName::parse(&format!("pit/{nth}")).expect("a name")
    }

    async fn begin(broker: &Broker, nth: usize) -> Result<Vec<RoomName>, RoomError> {
        let gone = broker.make_room(&room(nth)).await?;
        let created = vec![(Kind::Created, Bytes::new())];
        broker.write(&room(nth), created, None).await?;
        Ok(gone.into_iter().map(|gone| gone.room).collect())
    }

    fn join(broker: &Broker, nth: usize) -> Member {
        let session = SessionId::new(nth as u64 + 1);
        broker
            .join(
                &room(nth),
                session,
                Role::Editor,
                None,
                crate::guest::Via::OF_TESTS,
                None,
            )
            .expect("a member")
    }

    /// The rooms with records, by their numbers.
    async fn rooms(broker: &Broker) -> Vec<usize> {
        let rows = broker.rooms(None, 1000).await.expect("rooms");
        let numbers = rows.iter().map(|row| row.room.name().parse());
        numbers.collect::<Result<_, _>>().expect("numbers")
    }

    async fn forget_beginnings(broker: &Broker) {
        broker.shared.lodging.of("pit").lock().await.clear();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn in_a_full_space_the_longest_untouched_idle_room_makes_way() {
        let broker = with(SpaceRule {
            max_rooms: Some(3),
            ..SpaceRule::default()
        });
        for nth in 0..3 {
            assert_eq!(begin(&broker, nth).await, Ok(vec![]));
        }
        forget_beginnings(&broker).await;
        let member = join(&broker, 0);
        assert_eq!(begin(&broker, 3).await, Ok(vec![room(1)]));
        forget_beginnings(&broker).await;
        let members = [2, 3].map(|nth| join(&broker, nth));
        let refused = begin(&broker, 4).await;
        assert!(matches!(refused, Err(RoomError::Full(_))), "{refused:?}");
        assert_eq!(rooms(&broker).await, [0, 2, 3]);
        drop((member, members));
        // Leaving takes its time.
        let mut began = begin(&broker, 4).await;
        while matches!(began, Err(RoomError::Full(_))) {
            tokio::task::yield_now().await;
            began = begin(&broker, 4).await;
        }
        assert_eq!(began.map(|gone| gone.len()), Ok(1));
        assert_eq!(rooms(&broker).await.len(), 3);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_crowd_that_begins_rooms_at_once_does_not_slip_past() {
        let broker = with(SpaceRule {
            max_rooms: Some(5),
            ..SpaceRule::default()
        });
        let crowd = (0..40).map(|nth| {
            let broker = broker.clone();
            tokio::spawn(async move {
                match broker.make_room(&room(nth)).await {
                    Ok(gone) => Some((nth, gone)),
                    Err(RoomError::Full(_)) => None,
                    Err(error) => panic!("{error}"),
                }
            })
        });
        // Nobody has joined yet of those who were let in.
        let crowd = futures_util::future::try_join_all(crowd).await;
        let inside: Vec<_> = crowd.expect("they come").into_iter().flatten().collect();
        assert_eq!(inside.len(), 5);
        assert!(inside.iter().all(|(_, gone)| gone.is_empty()));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_has_grown_past_its_space_makes_way() {
        let broker = with(SpaceRule::default());
        for nth in 0..10 {
            begin(&broker, nth).await.expect("it is begun");
        }
        let row = broker.room(&room(0)).await.expect("a room").0;
        let rule = SpaceRule {
            max_total: Some(4 * row.bytes),
            ..SpaceRule::default()
        };
        broker.set_rules([("pit".to_owned(), rule)].into());
        let gone = broker.tidy(Duration::ZERO).await.expect("it is tidied");
        let gone: Vec<_> = gone.into_iter().map(|gone| gone.room).collect();
        assert_eq!(gone, [0, 1, 2, 3, 4, 5].map(room));
        assert_eq!(rooms(&broker).await, [6, 7, 8, 9]);
        // There is place for another as soon as there is no more than there may be.
        assert_eq!(begin(&broker, 10).await, Ok(vec![]));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn idle_rooms_of_expiring_and_ephemeral_spaces_end() {
        for lifetime in [Lifetime::Expiring, Lifetime::Ephemeral] {
            let rule = SpaceRule {
                lifetime,
                idle: Some(Duration::ZERO),
                ..SpaceRule::default()
            };
            let broker = with(rule);
            begin(&broker, 0).await.expect("it is begun");
            let ending = async {
                while !rooms(&broker).await.is_empty() || broker.rooms_loaded() > 0 {
                    tokio::task::yield_now().await;
                }
            };
            let ended = tokio::time::timeout(Duration::from_secs(20), ending).await;
            assert!(ended.is_ok(), "{lifetime:?}");
            let anew = begin(&broker, 0).await;
            match lifetime {
                Lifetime::Ephemeral => assert_eq!(anew, Ok(vec![])),
                _ => assert_eq!(anew, Err(RoomError::NoRoom)),
            }
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_room_that_nobody_has_loaded_ends_too_and_not_too_soon_after_a_start() {
        let idle = Duration::from_millis(1);
        let broker = with(SpaceRule::default());
        begin(&broker, 0).await.expect("it is begun");
        broker.evict(&room(0));
        while broker.rooms_loaded() > 0 {
            tokio::task::yield_now().await;
        }
        let rule = SpaceRule {
            lifetime: Lifetime::Expiring,
            idle: Some(idle),
            ..SpaceRule::default()
        };
        broker.set_rules([("pit".to_owned(), rule)].into());
        let gone = broker.tidy(Duration::ZERO).await.expect("it is tidied");
        assert_eq!(gone, [], "its members may be about to come back");
        let mut gone = Vec::new();
        while gone.is_empty() {
            gone = broker.tidy(idle).await.expect("it is tidied");
        }
        assert_eq!(gone[0].room, room(0));
        assert!(!gone[0].archived);
        assert!(rooms(&broker).await.is_empty());
    }
}
