//! A Yjs document woven into lists and entries, to be read: what clients see.
//!
//! The ledger keeps structs as they came and does not know in which order a list shows them. A
//! [`Tree`] is made from its encoding when someone asks, and answers what the ledger cannot:
//!
//! | module | holds |
//! | --- | --- |
//! | `read` | cutting structs into items wherever something refers to between two of their clocks |
//! | `integrate` | placing each item in its list, as Yjs does |
//! | `json` | the document as JSON |
//! | `text` | the document as text, and as XML |
//! | `pair` | which items are shown at two moments |
//! | `path` | where an item stands, in words |
//! | `diff` | what changed between two moments |
//! | `restore` | an edit that brings an earlier moment back |
//!
//! ```text
//! items      client 3: a b c · client 7: d e        by client and clock, none ever moves
//! list       head ─▶ d ─▶ a ─▶ b ─▶ e ─▶ c ◀─ tail   linked by index, deleted ones too
//! type       its list without a key, and one list a key, whose last item is the entry
//! ```
//! An encoding is treated as hostile even here: whatever it holds, reading ends without a panic, in
//! memory that grows with its length alone, and recursion only ever follows types
//! ([`MAX_TYPE_DEPTH`]) and values ([`MAX_NESTING`]). What waits in it for updates that have not
//! come is not in the tree, as Yjs does not show it.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;

use super::limits::{MAX_NESTING, MAX_TYPE_DEPTH};
use super::scan::kind;

mod diff;
mod integrate;
mod json;
mod pair;
mod path;
mod read;
mod restore;
mod text;

pub use diff::{
    Change, Changes, Content, MAX_CHANGES, MAX_PATH_BYTES, SiteUnits, Step, What, diff,
};
pub use restore::restore;

/// What a document shows, read from its encoding.
#[derive(Debug)]
pub struct Tree {
    /// The encoding, in which the content lies.
    bytes: Bytes,
    /// By rising id.
    clients: Vec<Client>,
    /// By client and clock.
    items: Vec<Item>,
    lists: Vec<List>,
    /// Each after the one that it stands in.
    types: Vec<Type>,
    /// Root types by name.
    roots: BTreeMap<Box<str>, u32>,
}

/// Why an encoding could not be woven.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TreeError(String);

/// The items of one client.
#[derive(Debug, Clone)]
struct Client {
    id: u64,
    /// Its items.
    items: Range<u32>,
    /// The first clock that is not in the tree.
    known: u32,
}

/// A part of a struct that nothing refers into.
#[derive(Debug, Clone, Copy)]
struct Item {
    /// The index of its client.
    client: u32,
    clock: u32,
    /// How many clocks it takes.
    len: u32,
    /// Where its content lies: of a string the characters, of values the values, else all of it.
    at: u32,
    end: u32,
    /// The item that it was written after, and the one before.
    origin: u32,
    right: u32,
    /// The next in its list.
    next: u32,
    /// The list that it stands in; [`NONE`] if it is collected or waits.
    list: u32,
    /// The type that it holds.
    holds: u32,
    kind: u8,
    flags: u8,
}

/// Somebody has deleted it.
const DELETED: u8 = 1;
/// It is shown: neither it nor a type around it is deleted, nor is it a replaced entry.
const ALIVE: u8 = 2;
/// The string begins with the second half of a surrogate pair, shown as U+FFFD.
const HALF_FIRST: u8 = 4;
/// The string ends with the first half of one.
const HALF_LAST: u8 = 8;

/// No item, list or type.
const NONE: u32 = u32::MAX;

/// Items in order.
#[derive(Debug, Clone, Copy)]
struct List {
    parent: u32,
    /// Where its key lies.
    key: Option<(u32, u32)>,
    head: u32,
    tail: u32,
}

/// A type that items stand in.
#[derive(Debug, Clone)]
struct Type {
    /// The item that holds it; [`NONE`] for a root.
    item: u32,
    /// What it is on the wire; of a root, nothing is known.
    shape: Shape,
    /// Where the name of an element or a hook lies.
    name: (u32, u32),
    /// Its list without a key.
    list: u32,
    /// Its lists under keys, by key.
    entries: Vec<u32>,
    depth: u16,
}

/// The kinds of types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Root,
    Array,
    Map,
    Text,
    Element,
    Fragment,
    Hook,
    XmlText,
}

impl Tree {
    /// Weaves a whole encoding, as [`Document::encode`](crate::Document::encode) of a Yjs document
    /// gives it.
    ///
    /// # Errors
    /// [`TreeError`] if the bytes are no update, or refer to one another in ways that Yjs never
    /// writes.
    pub fn read(encoding: &[u8]) -> Result<Self, TreeError> {
        let bytes = Bytes::copy_from_slice(encoding);
        let (mut tree, heads) = read::cut(&bytes)?;
        integrate::weave(&mut tree, &bytes, &heads)?;
        tree.mark_alive();
        Ok(tree)
    }

    /// How many items it has: parts of structs that nothing refers into.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether it has none, deleted ones included.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Marks what is shown, from the roots down, and puts every type's keys in order.
    fn mark_alive(&mut self) {
        for at in 0..self.types.len() {
            let mut entries = std::mem::take(&mut self.types[at].entries);
            entries.sort_unstable_by(|a, b| self.key(*a).cmp(self.key(*b)));
            self.types[at].entries = entries;
        }
        let mut stack: Vec<u32> = self.roots.values().copied().collect();
        while let Some(number) = stack.pop() {
            let list = self.types[number as usize].list;
            let mut item = self.head(list);
            while item != NONE {
                self.mark_item(item, &mut stack);
                item = self.items[item as usize].next;
            }
            for entry in 0..self.types[number as usize].entries.len() {
                let list = self.types[number as usize].entries[entry];
                self.mark_item(self.lists[list as usize].tail, &mut stack);
            }
        }
    }

    fn mark_item(&mut self, item: u32, stack: &mut Vec<u32>) {
        let Some(item) = self.items.get_mut(item as usize) else {
            return;
        };
        if item.flags & DELETED != 0 || item.kind == kind::DELETED {
            return;
        }
        item.flags |= ALIVE;
        if item.holds != NONE {
            stack.push(item.holds);
        }
    }

    fn head(&self, list: u32) -> u32 {
        self.lists.get(list as usize).map_or(NONE, |list| list.head)
    }

    /// The items of a list, in order, deleted ones too.
    fn items_of(&self, list: u32) -> impl Iterator<Item = (u32, &Item)> {
        let mut next = self.head(list);
        std::iter::from_fn(move || {
            let number = next;
            let item = self.items.get(number as usize)?;
            next = item.next;
            Some((number, item))
        })
    }

    /// The items of a list that are shown.
    fn shown(&self, list: u32) -> impl Iterator<Item = &Item> {
        let items = self.items_of(list).map(|(_, item)| item);
        items.filter(|item| item.is_alive())
    }

    /// The entry that a list under a key shows.
    fn entry(&self, list: u32) -> Option<&Item> {
        let tail = self.lists.get(list as usize)?.tail;
        let item = self.items.get(tail as usize)?;
        item.is_alive().then_some(item)
    }

    /// The entries of a type that are shown, by key.
    fn entries(&self, number: u32) -> impl Iterator<Item = (&str, &Item)> {
        let lists = self.types[number as usize].entries.iter();
        lists.filter_map(|list| Some((self.key(*list), self.entry(*list)?)))
    }

    fn key(&self, list: u32) -> &str {
        let key = self.lists[list as usize].key;
        key.map_or("", |key| self.str(key))
    }

    /// Characters of the encoding, which have been checked.
    fn str(&self, range: (u32, u32)) -> &str {
        let bytes = self.bytes.get(range.0 as usize..range.1 as usize);
        std::str::from_utf8(bytes.unwrap_or_default()).unwrap_or_default()
    }

    fn content(&self, item: &Item) -> &[u8] {
        &self.bytes[item.at as usize..item.end as usize]
    }
}

impl Item {
    const fn is_alive(&self) -> bool {
        self.flags & ALIVE != 0
    }
}

impl TreeError {
    fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

/// How many steps placing items among concurrent ones may take in all. Yjs takes as many; only who
/// means to writes a document that needs them.
const MAX_STEPS: u64 = 1 << 29;

const _: () = assert!(MAX_TYPE_DEPTH as usize + MAX_NESTING < 1024, "recursion");
