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
//! [`Ledger::take`] takes of an update what builds on what is there, and gives back the rest, as Yjs
//! does. If anything it takes makes no sense, it leaves no trace of any of it.

use std::cmp::Reverse;
use std::collections::binary_heap::PeekMut;
use std::collections::{BinaryHeap, HashMap};
use std::ops::Range;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use super::limits::MAX_TYPE_DEPTH;
use super::piece;
use super::ranges::Ranges;
use super::scan::{self, Id, Parent, Reader, Section, Struct, kind, write_var};

/// What a document has.
#[derive(Debug, Default, Clone)]
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
    /// Bytes of everything else, for the memory bound; counted again whenever the base is written.
    kept: usize,
    /// Whether nothing has more capacity than it needs: a copy to which nothing has come.
    pub(super) tight: bool,
    /// Whether something is in it that yrs reads wrong.
    pub(super) foreign: bool,
    walks: Vec<Walk>,
    ready: Vec<usize>,
    marks: Vec<Mark>,
}

/// What the document has of one client.
#[derive(Debug, Default, Clone)]
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

/// What became of an update.
#[derive(Debug)]
pub(super) struct Taken {
    /// Whether any of it was new, and is there now.
    pub(super) adds: bool,
    /// What builds on something that has not come.
    pub(super) rest: Option<Rest>,
}

/// What was left of an update.
#[derive(Debug)]
pub(super) struct Rest {
    /// It, as an update of its own.
    pub(super) update: Vec<u8>,
    /// What it waits for: some of it can be taken once any of these has come.
    pub(super) missing: Vec<Id>,
}

/// Why an item cannot be placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Misplaced {
    /// It builds on this, which has not come yet.
    Early(Id),
    /// It makes no sense.
    Malformed(&'static str),
}

/// A section on the way in.
#[derive(Debug, Clone, Copy)]
struct Walk {
    section: Section,
    /// The index of its client, if it has come before.
    index: Option<u32>,
    /// What is left of it.
    at: usize,
    clock: u32,
    structs: u32,
    /// What it is stuck on.
    missing: Option<Id>,
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

    /// Takes of an update that [`scan::check`] has passed what builds on what is there; or says
    /// why it makes no sense. If anything is left, `admit` is asked whether that may be.
    pub(super) fn take(
        &mut self,
        bytes: &[u8],
        sections: &[Section],
        deletes: usize,
        admit: impl FnOnce(&Self, &Rest) -> Result<(), &'static str>,
    ) -> Result<Taken, &'static str> {
        self.tight = false;
        let (types, clients) = (self.types.len(), self.clients.len());
        let counters = (self.growth, self.kept, self.foreign);
        let mut walks = std::mem::take(&mut self.walks);
        self.marks.clear();
        let taken = self
            .take_structs(bytes, sections, &mut walks)
            .and_then(|structs| {
                let deletes = self.read_deletes(bytes, deletes);
                let rest = Rest::of(self, bytes, &walks, &deletes.late);
                if let Some(rest) = &rest {
                    admit(self, rest)?;
                }
                let adds = structs || !deletes.new.is_empty();
                Ok((deletes.new, Taken { adds, rest }))
            });
        self.walks = walks;
        match taken {
            Ok((deletes, taken)) => {
                self.growth += deletes.len() * size_of::<Range<u32>>();
                self.kept += deletes.len() * size_of::<Range<u32>>();
                self.delete(&deletes);
                Ok(taken)
            }
            Err(what) => {
                self.roll_back(types, clients);
                (self.growth, self.kept, self.foreign) = counters;
                Err(what)
            }
        }
    }

    /// Takes the structs of all sections, each as soon as what it builds on is there.
    fn take_structs(
        &mut self,
        bytes: &[u8],
        sections: &[Section],
        walks: &mut Vec<Walk>,
    ) -> Result<bool, &'static str> {
        walks.clear();
        walks.extend(sections.iter().map(|section| Walk {
            section: *section,
            index: self.by_id.get(&section.client).copied(),
            at: section.at,
            clock: section.clock,
            structs: section.structs,
            missing: None,
            marked: false,
        }));
        let mut adds = false;
        // What may be worth a look, and, for each section, who waits for which of its clocks.
        let mut ready = std::mem::take(&mut self.ready);
        ready.clear();
        ready.extend((0..walks.len()).rev());
        let mut waiting: HashMap<usize, BinaryHeap<Reverse<(u32, usize)>>> = HashMap::new();
        while let Some(at) = ready.pop() {
            let walk = &mut walks[at];
            walk.missing = None;
            match self.advance(bytes, walk, &mut adds) {
                Ok(()) => {}
                Err(Misplaced::Early(missing)) => {
                    walk.missing = Some(missing);
                    let other = walks
                        .binary_search_by(|walk| missing.client.cmp(&walk.section.client))
                        .ok();
                    if let Some(other) = other.filter(|other| *other != at) {
                        let waiting = waiting.entry(other).or_default();
                        waiting.push(Reverse((missing.clock, at)));
                    }
                }
                Err(Misplaced::Malformed(what)) => return Err(what),
            }
            let known = self.known(walks[at].section.client);
            if let Some(waiting) = waiting.get_mut(&at) {
                while let Some(first) = waiting.peek_mut()
                    && first.0.0 < known
                {
                    ready.push(PeekMut::pop(first).0.1);
                }
            }
        }
        self.ready = ready;
        Ok(adds)
    }

    /// Takes a section's structs up to the first that builds on what is not there.
    fn advance(&mut self, bytes: &[u8], walk: &mut Walk, adds: &mut bool) -> Result<(), Misplaced> {
        let id = walk.section.client;
        while walk.structs > 0 {
            let mut reader = Reader::new(bytes, walk.at);
            let item = reader
                .structure::<false>()
                .map_err(|fault| Misplaced::Malformed(fault.what))?;
            let end = walk.clock + item.len;
            let known = walk
                .index
                .map_or(0, |index| self.clients[index as usize].known);
            if item.kind() != kind::SKIP && end > known {
                if walk.clock > known {
                    let missing = Id {
                        client: id,
                        clock: walk.clock - 1,
                    };
                    return Err(Misplaced::Early(missing));
                }
                let at = Id {
                    client: id,
                    clock: walk.clock,
                };
                let home = self.place(walk.index, at, &item, known - walk.clock)?;
                let index = walk.index.unwrap_or_else(|| self.client(id));
                walk.index = Some(index);
                if !walk.marked {
                    walk.marked = true;
                    self.mark(index);
                }
                self.append(index, at, &item, home)?;
                *adds = true;
            }
            walk.at = reader.at;
            walk.clock = end;
            walk.structs -= 1;
        }
        Ok(())
    }

    /// Where an item belongs, of which the part from `from` clocks into it on is new.
    fn place(
        &mut self,
        own: Option<u32>,
        at: Id,
        item: &Struct<'_>,
        from: u32,
    ) -> Result<Home, Misplaced> {
        if item.kind() == kind::GC {
            return Ok(Home::GONE);
        }
        let origin = piece::origin(at, item, from);
        let at = Id {
            clock: at.clock + from,
            ..at
        };
        let home_of = |id| Ok(self.lookup(own, at, id)?.1);
        let left = origin.map(home_of).transpose()?;
        let right = item.right.map(home_of).transpose()?;
        match (left, right) {
            (Some(Home::GONE), _) | (_, Some(Home::GONE)) => Ok(Home::GONE),
            (Some(left), Some(right)) if left != right => Err(Misplaced::Malformed(
                "an item's origins lie in two different lists",
            )),
            (Some(home), _) | (None, Some(home)) => Ok(home),
            (None, None) => {
                let parent = match item.parent {
                    Some(Parent::Root(name)) => self.root(name),
                    Some(Parent::Item(id)) => match self.type_at(own, at, id)? {
                        Some(parent) => parent,
                        None => return Ok(Home::GONE),
                    },
                    None => return Err(Misplaced::Malformed("an item has no parent")),
                };
                let key = item.key.map_or(0, |key| xxh3_64(key) as u32 | 1);
                Ok(Home { parent, key })
            }
        }
    }

    /// The index of the client of `id` and, if it has come, where the item `id` belongs. Asked by
    /// an item at `at`, whose client has the index `own`.
    fn lookup(&self, own: Option<u32>, at: Id, id: Id) -> Result<(u32, Home), Misplaced> {
        let index = if id.client == at.client {
            if id.clock >= at.clock {
                return Err(Misplaced::Malformed(
                    "an item refers to itself or a later one",
                ));
            }
            own
        } else {
            self.by_id.get(&id.client).copied()
        };
        let index = index.ok_or(Misplaced::Early(id))?;
        let client = &self.clients[index as usize];
        if id.clock >= client.known {
            return Err(Misplaced::Early(id));
        }
        Ok((index, client.home(id.clock)))
    }

    /// The type that the item `id` holds; `None` if it has been collected.
    fn type_at(&self, own: Option<u32>, at: Id, id: Id) -> Result<Option<u32>, Misplaced> {
        let (index, home) = self.lookup(own, at, id)?;
        if let Some(found) = self.nested.get(&(index, id.clock)) {
            return Ok(Some(*found));
        }
        // What lies in a deleted type counts as deleted whether it has been collected yet or not:
        // when a base is written must not matter.
        if home == Home::GONE || self.dead_until(index, id.clock).is_some() {
            return Ok(None);
        }
        Err(Misplaced::Malformed("an item's parent is not a type"))
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
    ) -> Result<(), Misplaced> {
        let gone = home == Home::GONE;
        if item.kind() == kind::TYPE && !gone {
            let depth = self.types[home.parent as usize].depth + 1;
            if depth > MAX_TYPE_DEPTH {
                return Err(Misplaced::Malformed("types are nested too deep"));
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

    /// Sorts the deletes of an update whose structs have been taken.
    fn read_deletes(&self, bytes: &[u8], at: usize) -> Deletes {
        let mut deletes = Deletes::default();
        let mut last: Option<(u64, Option<u32>)> = None;
        // They were read once before.
        let _ = scan::for_each_delete(bytes, at, |id, clock, len| {
            let index = match last {
                Some((last, index)) if last == id => index,
                _ => self.by_id.get(&id).copied(),
            };
            last = Some((id, index));
            let known = index.map_or(0, |index| self.clients[index as usize].known);
            let end = clock + len;
            if end > known {
                deletes.late.push((id, clock.max(known)..end));
            }
            let there = clock..end.min(known);
            if let Some(index) = index
                && there.start < there.end
                && !self.is_deleted(index, &there)
            {
                deletes.new.push((index, there));
            }
        });
        deletes
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

    /// Up to where everything from `clock` on is known to be deleted, itself or with a type around
    /// it, if that is.
    pub(super) fn deleted_until(&self, client: u64, clock: u32) -> Option<u32> {
        self.dead_until(*self.by_id.get(&client)?, clock)
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
    fn is_deleted(&self, index: u32, range: &Range<u32>) -> bool {
        let mut clock = range.start;
        while clock < range.end {
            match self.dead_until(index, clock) {
                Some(until) => clock = until,
                None => return false,
            }
        }
        true
    }

    fn dead_until(&self, index: u32, clock: u32) -> Option<u32> {
        let client = &self.clients[index as usize];
        if clock >= client.known {
            return None;
        }
        client.deleted.until(clock).or_else(|| {
            let run = client.home_run(clock);
            let end = client
                .homes
                .get(run + 1)
                .map_or(client.known, |next| next.clock);
            self.is_dead(client.home(clock).parent).then_some(end)
        })
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

    /// Whether nothing has changed since the base was written.
    pub(super) fn is_settled(&self) -> bool {
        self.growth == 0 && !self.base.is_empty()
    }

    /// Takes the encoding of all that is here as the base.
    pub(super) fn settle(&mut self, base: Bytes, parts: Vec<Part>, dead: usize) {
        self.kept = self.types.len() * TYPE_BYTES;
        self.kept += self.roots.keys().map(|name| name.len()).sum::<usize>();
        for (client, part) in self.clients.iter_mut().zip(parts) {
            client.base = part;
            client.tail = Vec::new();
            client.tail_structs = 0;
            client.dirty = false;
            self.kept += CLIENT_BYTES
                + client.homes.len() * size_of::<HomeRun>()
                + client.deleted.len() * size_of::<Range<u32>>();
        }
        self.base = base;
        self.dead_in_base = dead;
        self.growth = 0;
    }

    /// A bound on the memory that all this takes.
    pub(super) const fn memory_bytes(&self) -> usize {
        // What grows by pushing may have twice the capacity it needs.
        let room = if self.tight { 1 } else { 2 };
        self.base.len() + room * (self.growth + self.kept)
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

impl Rest {
    /// What is left of the sections of an update, and deletes of what has not come.
    fn of(
        ledger: &Ledger,
        bytes: &[u8],
        walks: &[Walk],
        late: &[(u64, Range<u32>)],
    ) -> Option<Self> {
        let stuck = walks.iter().filter(|walk| walk.structs > 0);
        let sections = stuck.clone().count();
        if sections == 0 && late.is_empty() {
            return None;
        }
        let mut missing = Vec::new();
        let mut out = Vec::new();
        write_var(&mut out, sections as u64);
        for walk in stuck {
            let Section { client, end, .. } = walk.section;
            write_var(&mut out, walk.structs.into());
            write_var(&mut out, client);
            write_var(&mut out, walk.clock.into());
            out.extend_from_slice(&bytes[walk.at..end]);
            // Should someone else bring what it is stuck at, the rest of it is to be looked at.
            let clock = walk.clock.max(ledger.known(client));
            missing.push(Id { client, clock });
            missing.extend(walk.missing);
        }
        let of_clients = late.chunk_by(|a, b| a.0 == b.0);
        write_var(&mut out, of_clients.clone().count() as u64);
        for of_client in of_clients {
            let client = of_client[0].0;
            write_var(&mut out, client);
            write_var(&mut out, of_client.len() as u64);
            for (_, range) in of_client {
                write_var(&mut out, range.start.into());
                write_var(&mut out, (range.end - range.start).into());
                let clock = range.start;
                missing.push(Id { client, clock });
            }
        }
        missing.sort_unstable_by_key(|id| (id.client, id.clock));
        missing.dedup();
        Some(Self {
            update: out,
            missing,
        })
    }
}

/// The deletes of an update.
#[derive(Debug, Default)]
struct Deletes {
    /// Of what is there and not deleted, by the index of the client.
    new: Vec<(u32, Range<u32>)>,
    /// Of what has not come.
    late: Vec<(u64, Range<u32>)>,
}

/// Up to so many deletions of one client are worth no sorting.
const FEW: usize = 8;
/// What a type takes, in the list and in a map from its item or name.
const TYPE_BYTES: usize = 64;
/// What a client takes, in the list and in the map.
const CLIENT_BYTES: usize = size_of::<Client>() + 32;
