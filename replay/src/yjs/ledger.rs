//! What a document has, and where everything in it belongs.
//!
//! A Yjs document is a set of structs and a set of deletions; in which order a list shows its items
//! is for those to work out who show it. So the server keeps the structs as they came, encoded, and
//! knows of each just enough to judge what comes next:
//!
//! ```text
//! client 7   clocks 0 ─────────────────────────────────▶ known
//! structs    │ base: a section of the last encoding │ tail │
//! homes      │ text "t" │ map 12, key k │ text "t"         │   runs of clocks with one home
//! deleted    ····███·······██████·················██······
//! ```
//! A *home* is the list that an item stands in: a type, and in it a key or none. An item with
//! origins must lie in the home of both; Yjs never writes anything else, and whoever does would
//! have clients weave two lists into each other. Types are numbered as they come; each knows its
//! own home, so what lies in a deleted type is known to be deleted, and no nesting passes
//! [`MAX_TYPE_DEPTH`].
//!
//! [`Ledger::take`] takes an update whole or leaves no trace of it.

use std::collections::HashMap;
use std::ops::Range;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use super::limits::MAX_TYPE_DEPTH;
use super::piece;
use super::ranges::Ranges;
use super::scan::{self, Id, Parent, Reader, Section, Struct, kind};

/// What a document has.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) clients: Vec<Client>,
    by_id: HashMap<u64, u32>,
    pub(super) types: Vec<Type>,
    nested: HashMap<(u32, u32), u32>,
    roots: HashMap<Box<[u8]>, u32>,
    /// The last whole encoding, in which the clients' base sections lie.
    pub(super) base: Bytes,
    /// How many types are deleted in the base.
    pub(super) dead_in_base: usize,
    /// Bytes of structs and deleted ranges that have come since.
    pub(super) growth: usize,
    /// Bytes of everything else that has ever been kept, for the memory bound.
    kept: usize,
    /// Whether something is in it that yrs reads wrong.
    pub(super) foreign: bool,
    walks: Vec<Walk>,
    marks: Vec<Mark>,
}

/// What the document has of one client.
#[derive(Debug, Default)]
pub(super) struct Client {
    /// Its id.
    pub(super) id: u64,
    /// The first clock that is not there.
    pub(super) known: u32,
    /// Where everything belongs: from each run's clock to the next one's.
    pub(super) homes: Vec<HomeRun>,
    /// What is deleted, as far as anyone has said so.
    pub(super) deleted: Ranges,
    /// Its structs in the base.
    pub(super) base: Part,
    /// Its structs since, end to end.
    pub(super) tail: Vec<u8>,
    /// How many structs the tail has.
    pub(super) tail_structs: u32,
    /// The clock at which the tail begins.
    pub(super) tail_clock: u32,
    /// Whether something in the base has been deleted since.
    pub(super) dirty: bool,
}

/// A client's structs in an encoding.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Part {
    /// Where the first begins.
    pub(super) at: usize,
    /// Their bytes.
    pub(super) len: usize,
    /// How many there are.
    pub(super) structs: u32,
}

/// The home of the items from a clock on.
#[derive(Debug, Clone, Copy)]
pub(super) struct HomeRun {
    pub(super) clock: u32,
    pub(super) home: Home,
}

/// The list that an item stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Home {
    /// The number of its type.
    pub(super) parent: u32,
    /// The hash of its key, which is odd; 0 in the list without one. Keys that collide are no
    /// harm: the check they weaken is one of plausibility.
    pub(super) key: u32,
}

impl Home {
    /// Nowhere: what the item belonged to was collected.
    pub(super) const GONE: Self = Self {
        parent: u32::MAX,
        key: 0,
    };
}

/// A type that items may belong to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Type {
    /// The item that holds it, by the index of its client and its clock; `None` for a root.
    item: Option<(u32, u32)>,
    /// The type that item stands in.
    parent: u32,
    depth: u16,
}

/// Why an update was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// It builds on this, which has not come yet.
    Early(Id),
    /// It makes no sense.
    Malformed(&'static str),
}

/// A section on the way in.
#[derive(Debug, Clone, Copy)]
struct Walk {
    section: Section,
    /// What is left of it.
    at: usize,
    clock: u32,
    structs: u32,
    /// Whether another section waits for it.
    waited_for: bool,
    /// Whether its client has a [`Mark`].
    marked: bool,
}

/// What a client was before an update touched it.
#[derive(Debug, Clone, Copy)]
struct Mark {
    client: u32,
    known: u32,
    homes: usize,
    tail: usize,
    tail_structs: u32,
}

impl Ledger {
    /// The first clock of `client` that is not there.
    pub(super) fn known(&self, client: u64) -> u32 {
        self.find(client).map_or(0, |client| client.known)
    }

    /// What is there of `client`.
    pub(super) fn find(&self, client: u64) -> Option<&Client> {
        let index = *self.by_id.get(&client)?;
        Some(&self.clients[index as usize])
    }

    /// Takes an update that [`scan::check`] has passed; returns whether anything was new.
    pub(super) fn take(
        &mut self,
        bytes: &[u8],
        sections: &[Section],
        deletes: usize,
    ) -> Result<bool, Refused> {
        let before = (self.types.len(), self.clients.len(), self.growth, self.kept);
        let foreign = self.foreign;
        self.marks.clear();
        let taken = self
            .take_structs(bytes, sections)
            .and_then(|structs| Ok(self.take_deletes(bytes, deletes)? | structs));
        if taken.is_err() {
            self.roll_back(before.0, before.1);
            (self.growth, self.kept) = (before.2, before.3);
            self.foreign = foreign;
        }
        taken
    }

    /// Takes the structs of all sections, each as soon as what it builds on is there.
    fn take_structs(&mut self, bytes: &[u8], sections: &[Section]) -> Result<bool, Refused> {
        let mut walks = std::mem::take(&mut self.walks);
        walks.clear();
        walks.extend(sections.iter().map(|section| Walk {
            section: *section,
            at: section.at,
            clock: section.clock,
            structs: section.structs,
            waited_for: false,
            marked: false,
        }));
        let mut adds = false;
        let mut outcome = Ok(());
        let mut stack = Vec::new();
        'sections: for first in 0..walks.len() {
            stack.clear();
            stack.push(first);
            while let Some(top) = stack.last().copied() {
                match self.advance(bytes, &mut walks[top], &mut adds) {
                    Ok(()) => {
                        walks[top].waited_for = true;
                        stack.pop();
                    }
                    Err(Refused::Early(missing)) => {
                        walks[top].waited_for = true;
                        let other = walks
                            .binary_search_by(|walk| missing.client.cmp(&walk.section.client))
                            .ok()
                            .filter(|other| !walks[*other].waited_for);
                        match other {
                            Some(other) => stack.push(other),
                            None => outcome = Err(Refused::Early(missing)),
                        }
                    }
                    Err(malformed) => outcome = Err(malformed),
                }
                if outcome.is_err() {
                    break 'sections;
                }
            }
        }
        self.walks = walks;
        outcome.map(|()| adds)
    }

    /// Takes a section's structs up to the first that builds on what is not there.
    fn advance(&mut self, bytes: &[u8], walk: &mut Walk, adds: &mut bool) -> Result<(), Refused> {
        let id = walk.section.client;
        while walk.structs > 0 {
            let mut reader = Reader::new(bytes, walk.at);
            let item = reader
                .structure::<false>()
                .map_err(|fault| Refused::Malformed(fault.what))?;
            let end = walk.clock + item.len;
            let known = self.known(id);
            if item.kind() != kind::SKIP && end > known {
                if walk.clock > known {
                    let missing = Id {
                        client: id,
                        clock: walk.clock - 1,
                    };
                    return Err(Refused::Early(missing));
                }
                let at = Id {
                    client: id,
                    clock: walk.clock,
                };
                let home = self.place(at, &item)?;
                let client = self.client(id);
                if !walk.marked {
                    walk.marked = true;
                    self.mark(client);
                }
                self.append(client, at, &item, home)?;
                *adds = true;
            }
            walk.at = reader.at;
            walk.clock = end;
            walk.structs -= 1;
        }
        Ok(())
    }

    /// Where an item belongs.
    fn place(&mut self, at: Id, item: &Struct<'_>) -> Result<Home, Refused> {
        if item.kind() == kind::GC {
            return Ok(Home::GONE);
        }
        let left = item.origin.map(|id| self.home_of(at, id)).transpose()?;
        let right = item.right.map(|id| self.home_of(at, id)).transpose()?;
        match (left, right) {
            (Some(Home::GONE), _) | (_, Some(Home::GONE)) => Ok(Home::GONE),
            (Some(left), Some(right)) if left != right => Err(Refused::Malformed(
                "an item's origins lie in two different lists",
            )),
            (Some(home), _) | (None, Some(home)) => Ok(home),
            (None, None) => {
                let parent = match item.parent {
                    Some(Parent::Root(name)) => self.root(name),
                    Some(Parent::Item(id)) => match self.type_at(at, id)? {
                        Some(parent) => parent,
                        None => return Ok(Home::GONE),
                    },
                    None => return Err(Refused::Malformed("an item has no parent")),
                };
                let key = item.key.map_or(0, |key| xxh3_64(key) as u32 | 1);
                Ok(Home { parent, key })
            }
        }
    }

    /// The index of the client of `id` and, if it has come, where the item `id` belongs.
    fn lookup(&self, at: Id, id: Id) -> Result<(u32, Home), Refused> {
        if id.client == at.client && id.clock >= at.clock {
            return Err(Refused::Malformed("an item refers to itself or a later one"));
        }
        let index = *self.by_id.get(&id.client).ok_or(Refused::Early(id))?;
        let client = &self.clients[index as usize];
        if id.clock >= client.known {
            return Err(Refused::Early(id));
        }
        Ok((index, client.home(id.clock)))
    }

    fn home_of(&self, at: Id, id: Id) -> Result<Home, Refused> {
        Ok(self.lookup(at, id)?.1)
    }

    /// The type that the item `id` holds; `None` if it has been collected.
    fn type_at(&self, at: Id, id: Id) -> Result<Option<u32>, Refused> {
        let (index, home) = self.lookup(at, id)?;
        if let Some(found) = self.nested.get(&(index, id.clock)) {
            return Ok(Some(*found));
        }
        let deleted = &self.clients[index as usize].deleted;
        if home == Home::GONE || deleted.cover(&(id.clock..id.clock + 1)) {
            return Ok(None);
        }
        Err(Refused::Malformed("an item's parent is not a type"))
    }

    fn root(&mut self, name: &[u8]) -> u32 {
        if let Some(found) = self.roots.get(name) {
            return *found;
        }
        let number = self.types.len() as u32;
        self.types.push(Type {
            item: None,
            parent: u32::MAX,
            depth: 0,
        });
        self.kept += TYPE_BYTES + name.len();
        self.roots.insert(name.into(), number);
        number
    }

    fn client(&mut self, id: u64) -> u32 {
        if let Some(found) = self.by_id.get(&id) {
            return *found;
        }
        let index = self.clients.len() as u32;
        self.clients.push(Client {
            id,
            ..Client::default()
        });
        self.kept += CLIENT_BYTES;
        self.by_id.insert(id, index);
        index
    }

    fn mark(&mut self, index: u32) {
        let client = &self.clients[index as usize];
        self.marks.push(Mark {
            client: index,
            known: client.known,
            homes: client.homes.len(),
            tail: client.tail.len(),
            tail_structs: client.tail_structs,
        });
    }

    /// Adds what is new of a struct, whose new part begins where its client is known to.
    fn append(
        &mut self,
        index: u32,
        at: Id,
        item: &Struct<'_>,
        home: Home,
    ) -> Result<(), Refused> {
        let gone = home == Home::GONE;
        if item.kind() == kind::TYPE && !gone {
            let depth = self.types[home.parent as usize].depth + 1;
            if depth > MAX_TYPE_DEPTH {
                return Err(Refused::Malformed("types are nested too deep"));
            }
            let number = self.types.len() as u32;
            self.types.push(Type {
                item: Some((index, at.clock)),
                parent: home.parent,
                depth,
            });
            self.kept += TYPE_BYTES;
            self.nested.insert((index, at.clock), number);
        }
        // yrs reads a hook without its name, counts JSON values wrong, and drops what it does not
        // know of a subdocument's options.
        self.foreign |= matches!(item.kind(), kind::JSON | kind::DOC)
            || (item.kind() == kind::TYPE && item.content.first() == Some(&5));
        let client = &mut self.clients[index as usize];
        let end = at.clock + item.len;
        let new = client.known - at.clock..item.len;
        if gone || item.kind() == kind::DELETED {
            client.deleted.insert(client.known..end);
        }
        if client.homes.last().is_none_or(|last| last.home != home) {
            let clock = client.known;
            client.homes.push(HomeRun { clock, home });
            self.kept += size_of::<HomeRun>();
        }
        if client.tail.is_empty() {
            client.tail_clock = client.known;
        }
        let before = client.tail.len();
        if gone {
            piece::write_flat(&mut client.tail, kind::GC, new.end - new.start);
        } else {
            piece::write(&mut client.tail, at, item, new);
        }
        client.tail_structs += 1;
        client.known = end;
        self.growth += client.tail.len() - before;
        Ok(())
    }

    /// Takes the deletes of an update whose structs have been taken.
    fn take_deletes(&mut self, bytes: &[u8], at: usize) -> Result<bool, Refused> {
        let mut early = None;
        let mut new: Vec<(u32, Range<u32>)> = Vec::new();
        let mut last: Option<(u64, Option<u32>)> = None;
        let read = scan::for_each_delete(bytes, at, |id, clock, len| {
            let index = match last {
                Some((last, index)) if last == id => index,
                _ => self.by_id.get(&id).copied(),
            };
            last = Some((id, index));
            let range = clock..clock + len;
            match index {
                Some(index) if range.end <= self.clients[index as usize].known => {
                    if !self.is_deleted(index, &range) {
                        new.push((index, range));
                    }
                }
                _ => {
                    let clock = range.end - 1;
                    early = Some(Id { client: id, clock });
                }
            }
        });
        read.map_err(|fault| Refused::Malformed(fault.what))?;
        if let Some(missing) = early {
            return Err(Refused::Early(missing));
        }
        self.growth += new.len() * size_of::<Range<u32>>();
        self.kept += new.len() * size_of::<Range<u32>>();
        self.delete(&new);
        Ok(!new.is_empty())
    }

    /// Adds deletions of what is there.
    pub(super) fn delete(&mut self, ranges: &[(u32, Range<u32>)]) {
        for of_client in ranges.chunk_by(|a, b| a.0 == b.0) {
            let client = &mut self.clients[of_client[0].0 as usize];
            client.dirty = true;
            if of_client.len() <= FEW {
                for (_, range) in of_client {
                    client.deleted.insert(range.clone());
                }
            } else {
                let ranges = of_client.iter().map(|(_, range)| range.clone());
                client.deleted.extend(ranges);
            }
        }
    }

    /// Whether all of `range`, which is there, is known to be deleted.
    pub(super) fn has_deleted(&self, client: u64, range: &Range<u32>) -> bool {
        let index = self.by_id.get(&client);
        index.is_some_and(|index| self.is_deleted(*index, range))
    }

    /// Whether `range`, which is there, holds nothing but entries under keys.
    pub(super) fn are_entries(&self, client: u64, range: &Range<u32>) -> bool {
        self.find(client).is_some_and(|client| {
            let runs = client.homes[client.home_run(range.start)..].iter();
            let mut runs = runs.take_while(|run| run.clock < range.end);
            runs.all(|run| run.home.key != 0)
        })
    }

    /// Whether all of `range` is known to be deleted, itself or with a type around it.
    pub(super) fn is_deleted(&self, index: u32, range: &Range<u32>) -> bool {
        let client = &self.clients[index as usize];
        if client.deleted.cover(range) {
            return true;
        }
        let first = client.home_run(range.start);
        let mut start = range.start;
        for (run, next) in client.homes[first..].iter().zip(first + 1..) {
            let end = client.homes.get(next).map_or(client.known, |run| run.clock);
            let part = start..end.min(range.end);
            if !client.deleted.cover(&part) && !self.is_dead(run.home.parent) {
                return false;
            }
            if end >= range.end {
                break;
            }
            start = end;
        }
        true
    }

    /// Whether a type, or one around it, is deleted.
    fn is_dead(&self, number: u32) -> bool {
        let mut number = number;
        while let Some(found) = self.types.get(number as usize) {
            if found.is_deleted(self) {
                return true;
            }
            if found.item.is_none() {
                return false;
            }
            number = found.parent;
        }
        // Home::GONE
        true
    }

    /// For each type by its number, whether it, or one around it, is deleted.
    pub(super) fn dead_types(&self) -> Vec<bool> {
        let mut dead: Vec<bool> = Vec::with_capacity(self.types.len());
        for found in &self.types {
            // A type comes after the one that it stands in.
            let around = dead.get(found.parent as usize).copied().unwrap_or(false);
            dead.push(around || found.is_deleted(self));
        }
        dead
    }

    fn roll_back(&mut self, types: usize, clients: usize) {
        if self.types.len() > types {
            for removed in self.types.drain(types..) {
                if let Some(item) = removed.item {
                    self.nested.remove(&item);
                }
            }
            self.roots.retain(|_, number| (*number as usize) < types);
        }
        while let Some(mark) = self.marks.pop() {
            let client = &mut self.clients[mark.client as usize];
            client.known = mark.known;
            client.homes.truncate(mark.homes);
            client.deleted.truncate(mark.known);
            client.tail.truncate(mark.tail);
            client.tail_structs = mark.tail_structs;
        }
        for client in self.clients.drain(clients..) {
            self.by_id.remove(&client.id);
        }
    }

    /// A bound on the memory that all this takes.
    pub(super) fn memory_bytes(&self) -> usize {
        // What grows by pushing may have twice the capacity it needs.
        self.base.len() + 2 * (self.growth + self.kept)
    }
}

impl Client {
    /// Where the item at `clock`, which is known, belongs.
    pub(super) fn home(&self, clock: u32) -> Home {
        let run = self.homes.get(self.home_run(clock));
        run.map_or(Home::GONE, |run| run.home)
    }

    /// The run of homes that `clock` lies in.
    pub(super) fn home_run(&self, clock: u32) -> usize {
        match self.homes.last() {
            Some(last) if last.clock <= clock => self.homes.len() - 1,
            _ => self
                .homes
                .partition_point(|run| run.clock <= clock)
                .saturating_sub(1),
        }
    }
}

impl Type {
    fn is_deleted(&self, ledger: &Ledger) -> bool {
        self.item.is_some_and(|(client, clock)| {
            let client = &ledger.clients[client as usize];
            client.deleted.cover(&(clock..clock + 1))
        })
    }
}

/// Up to so many deletions of one client are worth no sorting.
const FEW: usize = 8;
/// What a type takes, in the list and in a map from its item or name.
const TYPE_BYTES: usize = 64;
/// What a client takes, in the list and in the map.
const CLIENT_BYTES: usize = size_of::<Client>() + 32;
