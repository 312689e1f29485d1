//! Placing items in their lists, in the order in which every replica of Yjs shows them.
//!
//! An item names the one that it was written after, and the one before. Between the two may stand
//! others that were written there at the same time: those of lower clients come first, each with
//! what was written after it (YATA: Nicolaescu et al., "Near Real-Time Peer-to-Peer Shared Editing
//! on Extensible Data Types", 2016, with the right origins that Yjs added). Items are placed as soon
//! as those that they refer to are there; in which order that happens does not show.

use std::cmp::Reverse;
use std::collections::binary_heap::PeekMut;
use std::collections::{BinaryHeap, HashMap};

use bytes::Bytes;

use super::{List, MAX_STEPS, NONE, Shape, Tree, TreeError, Type};
use crate::yjs::limits::MAX_TYPE_DEPTH;
use crate::yjs::scan::{Id, Parent, Reader, kind};

/// Places all items that can be; `heads` says where in `bytes` each one's struct begins.
pub(super) fn weave(tree: &mut Tree, bytes: &Bytes, heads: &[u32]) -> Result<(), TreeError> {
    let items = tree.items.len();
    let next = tree.clients.iter().map(|client| client.items.start);
    let mut weaver = Weaver {
        next: next.collect(),
        tree,
        bytes,
        heads,
        roots: HashMap::new(),
        entries: HashMap::new(),
        before: vec![0; items],
        conflict: vec![0; items],
        pass: 0,
        epoch: 0,
        steps: 0,
    };
    weaver.place_all()
}

struct Weaver<'a> {
    tree: &'a mut Tree,
    bytes: &'a [u8],
    heads: &'a [u32],
    /// The first item of each client that is not placed.
    next: Vec<u32>,
    roots: HashMap<&'a [u8], u32>,
    entries: HashMap<(u32, &'a [u8]), u32>,
    /// In which pass an item was last met.
    before: Vec<u32>,
    /// Since which epoch it is one that the item in hand may have to stand before.
    conflict: Vec<u32>,
    pass: u32,
    epoch: u32,
    steps: u64,
}

/// Why an item cannot be placed.
enum Misplaced {
    /// It refers to this client's clock, which is not there yet.
    Early(u32, u32),
    /// It refers to what will never be there, or makes no sense.
    Never(&'static str),
    /// It waits for a client that the encoding knows nothing of.
    Waits,
}

/// Where an item goes.
struct Place {
    left: u32,
    right: u32,
    list: u32,
}

impl<'a> Weaver<'a> {
    fn place_all(&mut self) -> Result<(), TreeError> {
        // The last client goes first: of two items at one place, the later client's stands later,
        // so that each is placed without looking at all the others.
        let mut ready: Vec<u32> = (0..self.next.len() as u32).collect();
        let mut waiting: HashMap<u32, BinaryHeap<Reverse<(u32, u32)>>> = HashMap::new();
        while let Some(client) = ready.pop() {
            match self.advance(client) {
                Ok(()) | Err(Misplaced::Waits) => {}
                Err(Misplaced::Early(other, clock)) => {
                    let waiting = waiting.entry(other).or_default();
                    waiting.push(Reverse((clock, client)));
                }
                Err(Misplaced::Never(what)) => return Err(TreeError::new(what)),
            }
            let known = self.tree.clients[client as usize].known;
            if let Some(waiting) = waiting.get_mut(&client) {
                while let Some(first) = waiting.peek_mut()
                    && first.0.0 < known
                {
                    ready.push(PeekMut::pop(first).0.1);
                }
            }
        }
        Ok(())
    }

    /// Places a client's items up to the first that refers to what is not there yet.
    fn advance(&mut self, client: u32) -> Result<(), Misplaced> {
        let end = self.tree.clients[client as usize].items.end;
        while self.next[client as usize] < end {
            let item = self.next[client as usize];
            if self.heads[item as usize] == 0 {
                self.append(item);
            } else if let Some(place) = self.find_place(client, item)? {
                self.insert(item, &place)?;
                self.hold(item)?;
            }
            self.next[client as usize] = item + 1;
            let placed = &self.tree.items[item as usize];
            self.tree.clients[client as usize].known = placed.clock + placed.len;
        }
        Ok(())
    }

    /// Places an item right after the one before it, of the same struct.
    fn append(&mut self, item: u32) {
        let before = self.tree.items[item as usize - 1];
        if before.list == NONE {
            return;
        }
        self.tree.items[item as usize].right = before.right;
        let place = Place {
            left: item - 1,
            right: before.next,
            list: before.list,
        };
        self.link(item, &place);
        self.tree.items[item as usize].origin = item - 1;
    }

    /// Where an item goes; nowhere, if what it belongs to was collected.
    fn find_place(&mut self, client: u32, item: u32) -> Result<Option<Place>, Misplaced> {
        let mut reader = Reader::new(self.bytes, self.heads[item as usize] as usize);
        let head = reader
            .head::<false>()
            .map_err(|fault| Misplaced::Never(fault.what))?;
        if head.kind() == kind::GC {
            return Ok(None);
        }
        let at = (client, self.tree.items[item as usize].clock);
        let lookup = |id: Option<Id>| id.map(|id| self.lookup(at, id)).transpose();
        let left = lookup(head.origin)?;
        let right = lookup(head.right)?;
        let list_of = |item: u32| self.tree.items[item as usize].list;
        let list = match (left.map(list_of), right.map(list_of)) {
            (Some(NONE), _) | (_, Some(NONE)) => return Ok(None),
            (Some(left), Some(right)) if left != right => {
                return Err(Misplaced::Never("an item's origins lie in two lists"));
            }
            (Some(list), _) | (None, Some(list)) => list,
            (None, None) => {
                let parent = match head.parent {
                    Some(Parent::Root(name)) => self.root(name),
                    Some(Parent::Item(id)) => {
                        let holder = &self.tree.items[self.lookup(at, id)? as usize];
                        if holder.holds == NONE {
                            if holder.list == NONE || holder.kind == kind::DELETED {
                                return Ok(None);
                            }
                            return Err(Misplaced::Never("an item's parent is not a type"));
                        }
                        holder.holds
                    }
                    None => return Err(Misplaced::Never("an item has no parent")),
                };
                self.list(parent, head.key)
            }
        };
        Ok(Some(Place {
            left: left.unwrap_or(NONE),
            right: right.unwrap_or(NONE),
            list,
        }))
    }

    /// The item that `id` lies in, asked by one at `at`.
    fn lookup(&self, at: (u32, u32), id: Id) -> Result<u32, Misplaced> {
        let clients = &self.tree.clients;
        let index = if clients[at.0 as usize].id == id.client {
            if id.clock >= at.1 {
                return Err(Misplaced::Never("an item refers to itself or a later one"));
            }
            at.0
        } else {
            let found = clients.binary_search_by_key(&id.client, |client| client.id);
            found.map_err(|_| Misplaced::Waits)? as u32
        };
        let client = &clients[index as usize];
        if id.clock >= client.known {
            return Err(Misplaced::Early(index, id.clock));
        }
        Ok(self.tree.item_at(index, id.clock))
    }

    fn root(&mut self, name: &'a [u8]) -> u32 {
        if let Some(found) = self.roots.get(name) {
            return *found;
        }
        let number = self.tree.types.len() as u32;
        self.tree.types.push(Type::new(NONE, Shape::Root, 0));
        self.roots.insert(name, number);
        let name = std::str::from_utf8(name).unwrap_or_default();
        self.tree.roots.insert(name.into(), number);
        number
    }

    fn list(&mut self, parent: u32, key: Option<&'a [u8]>) -> u32 {
        let tree = &mut *self.tree;
        let number = tree.lists.len() as u32;
        let holder = &mut tree.types[parent as usize];
        let place = match key {
            None => &mut holder.list,
            Some(key) => self.entries.entry((parent, key)).or_insert(NONE),
        };
        if *place != NONE {
            return *place;
        }
        *place = number;
        if key.is_some() {
            holder.entries.push(number);
        }
        tree.lists.push(List {
            parent,
            key: key.map(|key| range_in(self.bytes, key)),
            head: NONE,
            tail: NONE,
        });
        number
    }

    /// Places an item between the one that it was written after and the one before, among those
    /// that were written there as well.
    fn insert(&mut self, item: u32, place: &Place) -> Result<(), Misplaced> {
        let items = &mut self.tree.items;
        items[item as usize].origin = place.left;
        items[item as usize].right = place.right;
        let client = items[item as usize].client;
        let mut left = place.left;
        let mut other = match items.get(left as usize) {
            Some(left) => left.next,
            None => self.tree.lists[place.list as usize].head,
        };
        if other != place.right {
            self.pass = self.pass.wrapping_add(1);
            self.epoch = self.epoch.wrapping_add(1);
        }
        while other != NONE && other != place.right {
            self.steps += 1;
            if self.steps > MAX_STEPS {
                return Err(Misplaced::Never("too much was written at one place"));
            }
            let there = &items[other as usize];
            self.before[other as usize] = self.pass;
            self.conflict[other as usize] = self.epoch;
            if there.origin == place.left {
                if there.client < client {
                    left = other;
                    self.epoch = self.epoch.wrapping_add(1);
                } else if there.right == place.right {
                    break;
                }
            } else if there.origin != NONE && self.before[there.origin as usize] == self.pass {
                if self.conflict[there.origin as usize] != self.epoch {
                    left = other;
                    self.epoch = self.epoch.wrapping_add(1);
                }
            } else {
                break;
            }
            other = there.next;
        }
        self.link(item, &Place { left, ..*place });
        Ok(())
    }

    /// Links an item into a list after `place.left`, or first.
    fn link(&mut self, item: u32, place: &Place) {
        let list = &mut self.tree.lists[place.list as usize];
        let next = match self.tree.items.get_mut(place.left as usize) {
            Some(left) => std::mem::replace(&mut left.next, item),
            None => std::mem::replace(&mut list.head, item),
        };
        if next == NONE {
            list.tail = item;
        }
        let item = &mut self.tree.items[item as usize];
        item.next = next;
        item.list = place.list;
    }

    /// Makes the type that an item holds, if it holds one.
    fn hold(&mut self, item: u32) -> Result<(), Misplaced> {
        let tree = &mut *self.tree;
        let holder = &mut tree.items[item as usize];
        if holder.kind != kind::TYPE {
            return Ok(());
        }
        let parent = tree.lists[holder.list as usize].parent;
        let depth = tree.types[parent as usize].depth + 1;
        if depth > MAX_TYPE_DEPTH {
            return Err(Misplaced::Never("types are nested too deep"));
        }
        let content = &self.bytes[holder.at as usize..holder.end as usize];
        let mut reader = Reader::new(content, 0);
        let shape = match reader.var().unwrap_or_default() {
            0 => Shape::Array,
            1 => Shape::Map,
            2 => Shape::Text,
            3 => Shape::Element,
            4 => Shape::Fragment,
            5 => Shape::Hook,
            _ => Shape::XmlText,
        };
        let mut made = Type::new(item, shape, depth);
        if let Ok(name) = reader.run() {
            made.name = range_in(self.bytes, name);
        }
        holder.holds = tree.types.len() as u32;
        tree.types.push(made);
        Ok(())
    }
}

impl Tree {
    /// The item of a client in which a clock lies that is there.
    pub(super) fn item_at(&self, client: u32, clock: u32) -> u32 {
        let items = self.clients[client as usize].items.clone();
        let of_client = &self.items[items.start as usize..items.end as usize];
        let after = of_client.partition_point(|item| item.clock <= clock);
        items.start + after.saturating_sub(1) as u32
    }
}

impl Type {
    const fn new(item: u32, shape: Shape, depth: u16) -> Self {
        Self {
            item,
            shape,
            name: (0, 0),
            list: NONE,
            entries: Vec::new(),
            depth,
        }
    }
}

/// Where in `bytes` a part of them lies.
fn range_in(bytes: &[u8], part: &[u8]) -> (u32, u32) {
    let at = part.as_ptr() as usize - bytes.as_ptr() as usize;
    (at as u32, (at + part.len()) as u32)
}
