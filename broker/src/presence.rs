//! Who is here and where: the latest value of each replica, never stored.
//!
//! An entry is accepted if its clock is newer, or equal with no state while one is there (the
//! y-protocols rule): clients repeat every remote entry they receive, so anything else is dropped
//! here or traffic grows with the square of the members. A replica belongs to the session that
//! announced it first for as long as that session lives; the newest that another session claims for it
//! meanwhile is kept, also that it has gone, and taken when the owner leaves or says it gone, if it is
//! newer than what the owner has said: so a client that comes back on a new connection while the old
//! one hangs is not lost. A session that may not write takes nothing of one
//! that may: a client comes back as what it was, and a viewer cannot move a writer's cursor. Once a
//! replica is said gone, its id is free.
//!
//! Every change gets a version. A reader holds the version it has seen and takes what came after it,
//! as far as the room has shown, as one message: under pressure it simply sees fewer, later states.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Instant;

use bytes::Bytes;
use observatory::Owner;
use parking_lot::Mutex;
use protocol::dialect::PresenceEntry;
use protocol::limits::{MAX_PRESENCE_CLOCK, MAX_PRESENCE_PER_SESSION};
use protocol::{Role, SessionId, Site};

use crate::limits::{PRESENCE_ENTRIES, PRESENCE_GRACE};
use crate::memory::Memory;

/// A replica that is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Present {
    /// The replica.
    pub site: Site,
    /// The session that announced it; `None` while that has vanished and may come back.
    pub session: Option<SessionId>,
    /// What it says of itself, as JSON.
    pub state: Bytes,
}

/// Encodes entries as one message of a wire format.
pub type EncodePresence = fn(entries: &[PresenceEntry], out: &mut Vec<u8>);

/// The presence of one room.
#[derive(Debug)]
pub struct Presence {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    memory: Memory,
    version: u64,
    /// The newest version that a reader has taken.
    taken: u64,
    entries: HashMap<Site, Held>,
    /// How many of the entries have a state.
    here: usize,
    /// Which replica changed at which version; one row for each entry.
    changes: BTreeMap<u64, Site>,
    /// The messages of late, newest first, because most readers ask for the same.
    shared: VecDeque<(Stretch, Bytes)>,
}

/// What a message tells: after one version, as far as another, by the encoder at this address.
type Stretch = (u64, u64, usize);

/// How many messages are kept for others: who comes late, and who has just come, ask for other
/// stretches than most, and there are two wire formats.
const MESSAGES_KEPT: usize = 4;

#[derive(Debug)]
struct Held {
    entry: PresenceEntry,
    version: u64,
    owner: Option<SessionId>,
    /// Whether who announced it may write.
    writes: bool,
    /// Set while the owner has vanished: when to say that it left.
    gone_at: Option<Instant>,
    /// What another session claims for this replica.
    claim: Option<(Speaker, PresenceEntry)>,
}

/// A session that speaks of a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Speaker {
    session: SessionId,
    writes: bool,
}

impl Presence {
    /// Nobody is here. What is held of who comes is counted.
    #[must_use]
    pub fn new(memory: Memory) -> Self {
        let inner = Inner {
            memory,
            version: 0,
            taken: 0,
            entries: HashMap::new(),
            here: 0,
            changes: BTreeMap::new(),
            shared: VecDeque::new(),
        };
        Self {
            inner: Mutex::new(inner),
        }
    }

    /// Takes what `session` says, while there is memory. Gives how many entries changed something.
    pub fn update(&self, session: SessionId, role: Role, entries: Vec<PresenceEntry>) -> usize {
        let by = Speaker {
            session,
            writes: role.can_write(),
        };
        let mut inner = self.inner.lock();
        let mut changed = 0;
        let is_full = inner.memory.is_full();
        for entry in entries {
            if entry.state.is_none() || !is_full {
                changed += usize::from(inner.accept(by, entry));
            }
        }
        changed
    }

    /// The session has ended. After a clean goodbye its replicas leave now, otherwise after
    /// [`PRESENCE_GRACE`]. Gives whether anything changed at once.
    pub fn leave(&self, session: SessionId, clean: bool, now: Instant) -> bool {
        let mut inner = self.inner.lock();
        let mut owned = Vec::new();
        for (site, held) in &mut inner.entries {
            if held
                .claim
                .as_ref()
                .is_some_and(|(by, _)| by.session == session)
            {
                held.claim = None;
            }
            if held.owner == Some(session) {
                owned.push(*site);
            }
        }
        let mut changed = false;
        for site in owned {
            let claim = inner.entries.get_mut(&site).and_then(|held| {
                held.owner = None;
                held.newer_claim(&held.entry.clone())
            });
            if let Some((by, entry)) = claim {
                inner.set(site, Some(by), entry);
                changed = true;
            } else if clean {
                changed |= inner.remove(site);
            } else if let Some(held) = inner.entries.get_mut(&site) {
                held.gone_at = held.entry.state.is_some().then_some(now + PRESENCE_GRACE);
            }
        }
        changed
    }

    /// When the next vanished replica is to be said gone.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        let inner = self.inner.lock();
        inner.entries.values().filter_map(|held| held.gone_at).min()
    }

    /// Says gone what has been gone for long enough. Gives whether anything changed.
    pub fn expire(&self, now: Instant) -> bool {
        let mut inner = self.inner.lock();
        let due: Vec<Site> = inner
            .entries
            .iter()
            .filter(|(_, held)| held.gone_at.is_some_and(|at| at <= now))
            .map(|(site, _)| *site)
            .collect();
        let mut changed = false;
        for site in due {
            changed |= inner.remove(site);
        }
        changed
    }

    /// The version of the last change.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.inner.lock().version
    }

    /// The version of the last change, and how many bytes of states changed after `version`.
    #[must_use]
    pub fn after(&self, version: u64) -> (u64, u64) {
        let inner = self.inner.lock();
        let changed = inner.changes.range(version + 1..);
        let held = changed.filter_map(|(_, site)| inner.entries.get(site));
        let bytes = held.map(|held| held.entry.state.as_ref().map_or(0, Bytes::len) as u64);
        (inner.version, bytes.sum())
    }

    /// What changed after version `from` and as far as `until`, as one message, and has not changed
    /// again since. Version 0 is before everyone who is here. `None` when there is nothing to say.
    pub fn between(&self, from: u64, until: u64, encode: EncodePresence) -> Option<Bytes> {
        if from >= until {
            return None;
        }
        let stretch = (from, until, encode as usize);
        let mut inner = self.inner.lock();
        inner.taken = inner.taken.max(until);
        if let Some((_, message)) = inner.shared.iter().find(|(of, _)| *of == stretch) {
            return Some(message.clone());
        }
        let entries: Vec<PresenceEntry> = inner
            .changes
            .range(from + 1..=until)
            .filter_map(|(_, site)| inner.entries.get(site))
            .map(|held| held.entry.clone())
            .collect();
        if entries.is_empty() {
            return None;
        }
        let mut message = Vec::new();
        encode(&entries, &mut message);
        let message = inner.memory.hold(Owner::Presence, message.into());
        inner.shared.truncate(MESSAGES_KEPT - 1);
        inner.shared.push_front((stretch, message.clone()));
        Some(message)
    }

    /// Everyone who is here, by replica.
    #[must_use]
    pub fn everyone(&self) -> Vec<Present> {
        let inner = self.inner.lock();
        let here = inner.entries.iter().filter_map(|(site, held)| {
            Some(Present {
                site: *site,
                session: held.owner,
                state: held.entry.state.clone()?,
            })
        });
        let mut here: Vec<Present> = here.collect();
        here.sort_unstable_by_key(|present| present.site);
        here
    }

    /// How many replicas are here.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.lock().here
    }

    /// Whether nobody is here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Held {
    /// Takes what another session claims, if it is newer than `entry`.
    fn newer_claim(&mut self, entry: &PresenceEntry) -> Option<(Speaker, PresenceEntry)> {
        let claim = self.claim.take();
        claim.filter(|(_, claim)| is_newer(claim, entry))
    }
}

/// The higher clock is newer, and with equal clocks the one that is gone.
const fn is_newer(entry: &PresenceEntry, than: &PresenceEntry) -> bool {
    entry.clock > than.clock
        || (entry.clock == than.clock && entry.state.is_none() && than.state.is_some())
}

/// An entry that is kept: a copy, because what came is a part of all that was read with it.
fn kept(memory: &Memory, mut entry: PresenceEntry) -> PresenceEntry {
    let copy = |state| memory.hold(Owner::Presence, Bytes::copy_from_slice(state));
    entry.state = entry.state.as_deref().map(copy);
    entry
}

impl Inner {
    fn owns_enough(&self, session: SessionId) -> bool {
        let mine = |held: &&Held| held.owner == Some(session);
        self.entries.values().filter(mine).count() >= MAX_PRESENCE_PER_SESSION
    }

    fn accept(&mut self, by: Speaker, entry: PresenceEntry) -> bool {
        let session = by.session;
        if entry.clock > MAX_PRESENCE_CLOCK {
            return false;
        }
        let site = entry.site;
        let Some(held) = self.entries.get_mut(&site) else {
            // Nobody needs to hear of someone who was never here.
            let room_left = self.entries.len() < PRESENCE_ENTRIES;
            if entry.state.is_none() || !room_left || self.owns_enough(session) {
                return false;
            }
            self.set(site, Some(by), entry);
            return true;
        };
        let theirs = held.owner != Some(session) && held.entry.state.is_some();
        if theirs && held.writes && !by.writes {
            return false;
        }
        if !is_newer(&entry, &held.entry) {
            // Back on a new connection with the clock it had, within the grace: there is nothing to tell.
            let same = entry.clock == held.entry.clock && entry.state.is_some();
            if same && held.gone_at.is_some() {
                let owns_nothing = !self
                    .entries
                    .values()
                    .any(|held| held.owner == Some(session));
                if let (true, Some(held)) = (owns_nothing, self.entries.get_mut(&site)) {
                    held.owner = Some(session);
                    held.writes = by.writes;
                    held.gone_at = None;
                }
            }
            return false;
        }
        match held.owner {
            Some(owner) if owner != session && held.entry.state.is_some() => {
                // That somebody has gone is news to whom a claim says the opposite.
                let newest = match &held.claim {
                    Some((_, claim)) => is_newer(&entry, claim),
                    None => entry.state.is_some(),
                };
                if newest {
                    held.claim = Some((by, kept(&self.memory, entry)));
                }
                false
            }
            Some(owner) if owner == session => {
                let claim = match entry.state {
                    None => held.newer_claim(&entry),
                    Some(_) => None,
                };
                let (by, entry) = claim.unwrap_or((by, entry));
                self.set(site, Some(by), entry);
                true
            }
            _ => {
                // Its owner has vanished or left: whoever knows something newer is its owner now.
                if entry.state.is_none() || self.owns_enough(session) {
                    return false;
                }
                self.set(site, Some(by), entry);
                true
            }
        }
    }

    fn set(&mut self, site: Site, by: Option<Speaker>, entry: PresenceEntry) {
        self.version += 1;
        let version = self.version;
        self.here += usize::from(entry.state.is_some());
        let owner = by.map(|by| by.session);
        let held = Held {
            entry: kept(&self.memory, entry),
            version,
            owner,
            writes: by.is_some_and(|by| by.writes),
            gone_at: None,
            claim: None,
        };
        if let Some(old) = self.entries.insert(site, held) {
            self.changes.remove(&old.version);
            if old.version > self.taken {
                observatory::presence_conflated(1);
            }
            self.here -= usize::from(old.entry.state.is_some());
            // A claim outlives the owner's own changes.
            if let (Some(new), true) = (self.entries.get_mut(&site), old.owner == owner) {
                let writes = new.writes;
                new.claim = old.claim.filter(|(claim, _)| claim.writes || !writes);
            }
        }
        self.changes.insert(version, site);
        self.forget_the_long_gone();
    }

    fn remove(&mut self, site: Site) -> bool {
        let Some(held) = self.entries.get(&site) else {
            return false;
        };
        if held.entry.state.is_none() {
            return false;
        }
        // At the greatest clock there is, equal and without a state is news all the same.
        let entry = PresenceEntry {
            site,
            clock: (held.entry.clock + 1).min(MAX_PRESENCE_CLOCK),
            state: None,
        };
        self.set(site, None, entry);
        true
    }

    /// Those who left are kept so that readers hear of it, and so do they themselves if they come
    /// back with the clock they had: they then say anew that they are here. The oldest make way.
    fn forget_the_long_gone(&mut self) {
        const GONE_KEPT: usize = 1_024;
        if self.entries.len() - self.here <= GONE_KEPT {
            return;
        }
        let oldest = self.changes.iter().find_map(|(version, site)| {
            let held = self.entries.get(site)?;
            held.entry.state.is_none().then_some((*version, *site))
        });
        if let Some((version, site)) = oldest {
            self.changes.remove(&version);
            self.entries.remove(&site);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(site: u64, clock: u64, state: Option<&'static str>) -> PresenceEntry {
        PresenceEntry {
            site: Site::new(site),
            clock,
            state: state.map(|state| Bytes::from_static(state.as_bytes())),
        }
    }

    fn text(entries: &[PresenceEntry], out: &mut Vec<u8>) {
        for entry in entries {
            let state = entry.state.as_ref().map_or("null".into(), |state| {
                String::from_utf8_lossy(state).into_owned()
            });
            out.extend(format!("{}@{}={state};", entry.site.get(), entry.clock).bytes());
        }
    }

    fn since(presence: &Presence, version: u64) -> Option<String> {
        presence
            .between(version, presence.version(), text)
            .map(|message| String::from_utf8(message.to_vec()).unwrap())
    }

    const A: SessionId = SessionId::new(1);
    const B: SessionId = SessionId::new(2);

    #[test]
    fn states_are_copies_that_are_counted_and_taken_while_there_is_memory() {
        let memory = Memory::new(10_000);
        let presence = Presence::new(memory.clone());
        let read = Bytes::from(vec![b'x'; 60_000]);
        let said = |site: u64, clock: u64| PresenceEntry {
            state: Some(read.slice(..1_000)),
            ..entry(site, clock, None)
        };
        assert_eq!(presence.update(A, Role::Editor, vec![said(7, 1)]), 1);
        assert!(read.is_unique(), "all that was read is held");
        let once = memory.taken();
        assert!((1_000..1_500).contains(&once), "{once}");
        assert_eq!(presence.update(A, Role::Editor, vec![said(7, 2)]), 1);
        assert_eq!(memory.taken(), once, "the one before is gone");
        let message = presence.between(0, presence.version(), text);
        assert!(memory.taken() > once + 1_000, "what others are told");
        drop(message);
        let others = memory.share(Owner::Documents);
        others.set(10_000);
        assert_eq!(presence.update(B, Role::Editor, vec![said(8, 1)]), 0);
        assert_eq!(
            presence.update(A, Role::Editor, vec![entry(7, 3, None)]),
            1,
            "who leaves does"
        );
        drop((others, presence));
        assert_eq!(memory.taken(), 0);
    }

    #[test]
    fn an_echo_changes_nothing() {
        let presence = Presence::new(Memory::new(usize::MAX));
        assert_eq!(
            presence.update(A, Role::Editor, vec![entry(7, 1, Some("x"))]),
            1
        );
        assert_eq!(
            presence.update(B, Role::Editor, vec![entry(7, 1, Some("x"))]),
            0
        );
        assert_eq!(
            presence.update(A, Role::Editor, vec![entry(7, 1, Some("y"))]),
            0
        );
        assert_eq!(
            presence.update(A, Role::Editor, vec![entry(7, 1, None)]),
            1,
            "equal clock, null"
        );
        assert_eq!(presence.update(A, Role::Editor, vec![entry(7, 1, None)]), 0);
    }

    #[test]
    fn an_old_value_that_comes_late_never_overwrites_a_new_one() {
        let presence = Presence::new(Memory::new(usize::MAX));
        let say = |clock, state| presence.update(A, Role::Editor, vec![entry(7, clock, state)]);
        assert_eq!(say(3, Some("new")), 1);
        assert_eq!(say(1, Some("old")), 0);
        assert_eq!(say(2, None), 0, "nor one that left before");
        assert_eq!(since(&presence, 0).as_deref(), Some("7@3=new;"));
        assert_eq!(say(4, None), 1);
        assert_eq!(say(4, Some("late")), 0, "who has left stays away");
        assert_eq!(say(3, Some("new")), 0);
        assert_eq!(since(&presence, 0).as_deref(), Some("7@4=null;"));
    }

    #[test]
    fn a_replica_is_bound_to_its_session() {
        let presence = Presence::new(Memory::new(usize::MAX));
        presence.update(A, Role::Editor, vec![entry(7, 1, Some("a"))]);
        assert_eq!(
            presence.update(B, Role::Editor, vec![entry(7, 9, Some("b"))]),
            0
        );
        assert_eq!(presence.update(B, Role::Editor, vec![entry(7, 8, None)]), 0);
        assert_eq!(since(&presence, 0).as_deref(), Some("7@1=a;"));
        // The owner hangs and is found dead: the claim is taken at once.
        assert!(presence.leave(A, false, Instant::now()));
        assert_eq!(since(&presence, 0).as_deref(), Some("7@9=b;"));
    }

    #[test]
    fn of_one_replica_on_two_connections_the_newest_word_counts() {
        let presence = Presence::new(Memory::new(usize::MAX));
        let now = Instant::now();
        let say =
            |by, clock, state| presence.update(by, Role::Editor, vec![entry(7, clock, state)]);
        say(A, 1, Some("a"));
        say(B, 10, Some("b"));
        say(B, 11, None);
        say(B, 10, Some("late"));
        assert!(presence.leave(A, false, now));
        assert_eq!(since(&presence, 0).as_deref(), Some("7@11=null;"));
        // Who is gone is nobody's: the next word, of whomever, counts at once.
        assert_eq!(say(A, 12, Some("back")), 1);
        assert_eq!(since(&presence, 0).as_deref(), Some("7@12=back;"));
        // What the owner has said since is newer than a claim.
        say(B, 13, Some("b"));
        say(A, 14, Some("a"));
        presence.leave(A, true, now);
        assert_eq!(since(&presence, 0).as_deref(), Some("7@15=null;"));
        // The owner says it gone while another has said something newer.
        say(A, 16, Some("a"));
        say(B, 18, Some("b"));
        assert_eq!(say(A, 17, None), 1);
        assert_eq!(since(&presence, 0).as_deref(), Some("7@18=b;"));
    }

    #[test]
    fn a_viewer_takes_nothing_of_a_writer_before_it_is_said_gone() {
        let presence = Presence::new(Memory::new(usize::MAX));
        let now = Instant::now();
        presence.update(A, Role::Editor, vec![entry(7, 1, Some("a"))]);
        let claim = || vec![entry(7, 9, Some("viewer"))];
        assert_eq!(presence.update(B, Role::Viewer, claim()), 0);
        assert!(!presence.leave(A, false, now), "nothing was claimed");
        assert_eq!(presence.update(B, Role::Viewer, claim()), 0);
        let same = vec![entry(7, 1, Some("a"))];
        assert_eq!(presence.update(B, Role::Viewer, same), 0);
        assert_eq!(presence.next_timeout(), Some(now + PRESENCE_GRACE));
        // The writer comes back within the grace, and is not seen to leave.
        let back = SessionId::new(3);
        presence.update(back, Role::Editor, vec![entry(7, 2, Some("back"))]);
        assert!(!presence.expire(now + PRESENCE_GRACE));
        assert_eq!(since(&presence, 0).as_deref(), Some("7@2=back;"));
        // Once it is said gone, its id is free.
        presence.leave(back, true, now);
        assert_eq!(presence.update(B, Role::Viewer, claim()), 1);
        // A viewer that comes back takes what was its own.
        presence.update(A, Role::Viewer, vec![entry(7, 10, Some("again"))]);
        assert!(presence.leave(B, false, now));
        assert_eq!(since(&presence, 0).as_deref(), Some("7@10=again;"));
    }

    #[test]
    fn an_unclean_leave_has_a_grace_and_a_clean_one_has_none() {
        let presence = Presence::new(Memory::new(usize::MAX));
        let now = Instant::now();
        presence.update(A, Role::Editor, vec![entry(7, 1, Some("a"))]);
        presence.update(B, Role::Editor, vec![entry(8, 1, Some("b"))]);
        assert!(!presence.leave(A, false, now));
        assert!(presence.leave(B, true, now));
        assert_eq!(since(&presence, 2).as_deref(), Some("8@2=null;"));
        assert_eq!(presence.next_timeout(), Some(now + PRESENCE_GRACE));
        assert!(!presence.expire(now));
        // It comes back on a new connection within the grace: nobody sees it leave.
        presence.update(B, Role::Editor, vec![entry(7, 2, Some("a again"))]);
        assert!(!presence.expire(now + PRESENCE_GRACE));
        assert_eq!(since(&presence, 3).as_deref(), Some("7@2=a again;"));
    }

    #[test]
    fn a_slow_reader_sees_only_the_latest() {
        let presence = Presence::new(Memory::new(usize::MAX));
        for clock in 1..=100 {
            presence.update(
                A,
                Role::Editor,
                vec![entry(7, clock, Some("x")), entry(8, clock, Some("y"))],
            );
        }
        assert_eq!(since(&presence, 0).as_deref(), Some("7@100=x;8@100=y;"));
        assert_eq!(since(&presence, presence.version()), None);
    }

    #[test]
    fn what_changes_again_after_it_was_shown_comes_with_the_next_round() {
        let presence = Presence::new(Memory::new(usize::MAX));
        let say = |site, clock| {
            presence.update(A, Role::Editor, vec![entry(site, clock, Some("x"))]);
            presence.version()
        };
        say(7, 1);
        let shown = say(8, 1);
        let later = say(7, 2);
        let first = presence.between(0, shown, text).unwrap();
        assert_eq!(first, "8@1=x;");
        assert_eq!(presence.between(shown, later, text).unwrap(), "7@2=x;");
        assert_eq!(presence.between(shown, shown, text), None);
        // Whoever stands at the same place is given the same bytes.
        let again = presence.between(0, shown, text).unwrap();
        assert_eq!(again.as_ptr(), first.as_ptr());
    }

    #[test]
    fn a_removal_stays_within_the_clocks_there_are() {
        let presence = Presence::new(Memory::new(usize::MAX));
        let now = Instant::now();
        let last = (1 << 53) - 1;
        assert_eq!(
            presence.update(A, Role::Editor, vec![entry(7, last, Some("x"))]),
            0
        );
        assert_eq!(
            presence.update(
                A,
                Role::Editor,
                vec![entry(7, MAX_PRESENCE_CLOCK, Some("x"))]
            ),
            1
        );
        presence.leave(A, false, now);
        assert!(presence.expire(now + PRESENCE_GRACE));
        let gone = format!("7@{MAX_PRESENCE_CLOCK}=null;");
        assert_eq!(since(&presence, 1), Some(gone));
    }

    #[test]
    fn a_session_owns_a_bounded_number() {
        let presence = Presence::new(Memory::new(usize::MAX));
        let many = (0..100).map(|site| entry(site, 1, Some("x"))).collect();
        assert_eq!(
            presence.update(A, Role::Editor, many),
            MAX_PRESENCE_PER_SESSION
        );
    }
}
