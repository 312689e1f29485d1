//! What changed between two moments of a document.
//!
//! By identity, not by likeness: what was deleted and typed again is a deletion and an insertion.
//! As JSON:
//!
//! ```text
//! { "changes": [change, …], "sites": [{ "site": 7, "inserted": 3, "deleted": 1 }, …],
//!   "truncated": false }
//! change      { "root": "name", "path": [key or index, …], "op": …, … }
//!   insert    "at": index, "text": "…" or "values": […]
//!   delete    "at": index, "text": "…" or "values": […]
//!   format    "at": index, "name": "bold", "value": true     a mark, from here on
//!   unformat  "at": index, "name": "bold", "value": true     such a mark, taken away
//!   set       "key": "…", "new": …, and "old": … if there was a value
//!   remove    "key": "…", "old": …
//! ```
//! Paths and indexes are those of the later document: elements of a list, UTF-16 units of a text; a
//! deletion has the index of what now stands where it began. What lies in a type that came or went
//! as a whole is told with it, as JSON. Roots and keys come in the order of their names, lists from
//! the front.
//!
//! `sites` counts units (elements, entries, UTF-16 units, nested types and what is in them) by who
//! wrote them, as Yjs does not tell who deleted what: `inserted`, those that are shown now and were
//! not; `deleted`, those that were and are not.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::pair::Pair;
use super::{Item, NONE, Tree};
use crate::yjs::scan::kind;

/// How many changes are told.
pub const MAX_CHANGES: usize = 10_000;
/// How many bytes the roots and paths of all of them may have together, as each is written out.
pub const MAX_PATH_BYTES: usize = 8 << 20;

/// What changed between two moments.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Changes {
    /// The changes, by root, path and index.
    pub changes: Vec<Change>,
    /// How much of each site came and went.
    pub sites: Vec<SiteUnits>,
    /// Whether there are more than [`MAX_CHANGES`] and [`MAX_PATH_BYTES`] allow. The sites count
    /// all of them.
    pub truncated: bool,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// The root type that it is in.
    pub root: String,
    /// How to go from there to the type that it is in.
    pub path: Vec<Step>,
    /// What changed.
    #[serde(flatten)]
    pub what: What,
}

/// A step into a nested type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Step {
    /// To the entry under a key.
    Key(String),
    /// To the element at an index.
    Index(u64),
}

/// What changed in one place.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum What {
    /// Elements or characters came.
    Insert {
        /// The index of the first.
        at: u64,
        /// They.
        #[serde(flatten)]
        content: Content,
    },
    /// Elements or characters went.
    Delete {
        /// The index of what stands there now.
        at: u64,
        /// They.
        #[serde(flatten)]
        content: Content,
    },
    /// A format begins, or with the value `null` ends, that did not.
    Format {
        /// From where on.
        at: u64,
        /// Its name.
        name: String,
        /// Its value.
        value: Value,
    },
    /// A format no longer begins or ends.
    Unformat {
        /// From where on it would.
        at: u64,
        /// Its name.
        name: String,
        /// Its value.
        value: Value,
    },
    /// An entry was set.
    Set {
        /// Its key.
        key: String,
        /// The value it replaced.
        #[serde(skip_serializing_if = "Option::is_none")]
        old: Option<Value>,
        /// Its value.
        new: Value,
    },
    /// An entry was removed.
    Remove {
        /// Its key.
        key: String,
        /// The value it had.
        old: Value,
    },
}

/// What came or went.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// Characters.
    Text(String),
    /// Elements of a list, or embeds in a text.
    Values(Vec<Value>),
}

/// How much of a site came and went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SiteUnits {
    /// The Yjs client.
    pub site: u64,
    /// Units of it that are shown and were not.
    pub inserted: u64,
    /// Units of it that were shown and are not.
    pub deleted: u64,
}

/// What changed in a document from `past` to `now`, a later moment of it.
#[must_use]
pub fn diff(past: &Tree, now: &Tree) -> Changes {
    let mut differ = Differ {
        pair: Pair::new(past, now),
        root: "",
        path: Vec::new(),
        changes: Vec::new(),
        path_bytes: 0,
        truncated: false,
    };
    let roots: Vec<(&str, u32, u32)> = differ.pair.roots().collect();
    for (name, of_now, of_past) in roots {
        differ.root = name;
        differ.compare(of_now, of_past);
    }
    Changes {
        sites: sites(&differ.pair),
        changes: differ.changes,
        truncated: differ.truncated,
    }
}

fn sites(pair: &Pair<'_>) -> Vec<SiteUnits> {
    let mut sites: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    for item in &pair.now.items {
        for part in pair.parts(item) {
            let kind = part.was.map_or(item.kind, |was| was.kind);
            if item.is_alive() == part.was.is_some() || kind == kind::FORMAT {
                continue;
            }
            let id = pair.now.clients[item.client as usize].id;
            let (inserted, deleted) = sites.entry(id).or_default();
            let counted = if item.is_alive() { inserted } else { deleted };
            *counted += u64::from(part.clocks.end - part.clocks.start);
        }
    }
    let sites = sites.into_iter();
    let sites = sites.map(|(site, (inserted, deleted))| SiteUnits {
        site,
        inserted,
        deleted,
    });
    sites.collect()
}

struct Differ<'a> {
    pair: Pair<'a>,
    root: &'a str,
    path: Vec<Step>,
    changes: Vec<Change>,
    path_bytes: usize,
    truncated: bool,
}

/// What came or went between two neighbours that stay, and at which index.
type Open = Option<(u64, Content)>;

impl<'a> Differ<'a> {
    /// Compares a type that is shown at both moments. Recurses as deep as types are nested.
    fn compare(&mut self, of_now: u32, of_past: u32) {
        self.compare_entries(of_now, of_past);
        self.compare_list(of_now);
    }

    fn compare_entries(&mut self, of_now: u32, of_past: u32) {
        let (past, now) = (self.pair.past, self.pair.now);
        for (key, list, was_list) in self.pair.keys(of_now, of_past) {
            let (is, was) = (now.entry(list), past.entry(was_list));
            let stays = is.and_then(|is| self.pair.was(is));
            match (is, was) {
                (Some(is), Some(was)) if stays.is_some_and(|stays| std::ptr::eq(stays, was)) => {
                    if is.holds != NONE {
                        self.descend(Step::Key(key.to_owned()), is, was);
                    }
                }
                (Some(is), was) => self.tell(|| What::Set {
                    key: key.to_owned(),
                    old: was.map(|was| past.entry_json(was)),
                    new: now.entry_json(is),
                }),
                (None, Some(was)) => self.tell(|| What::Remove {
                    key: key.to_owned(),
                    old: past.entry_json(was),
                }),
                (None, None) => {}
            }
        }
    }

    fn compare_list(&mut self, number: u32) {
        let (past, now) = (self.pair.past, self.pair.now);
        let mut index = 0;
        let (mut came, mut went): (Open, Open) = (None, None);
        for (_, item) in now.items_of(now.types[number as usize].list) {
            for part in self.pair.parts(item) {
                let units = match item.kind {
                    kind::FORMAT => 0,
                    _ => u64::from(part.clocks.end - part.clocks.start),
                };
                match (item.is_alive(), part.was) {
                    (false, None) => {}
                    (true, Some(was)) => {
                        if item.holds != NONE {
                            self.close(&mut came, &mut went);
                            self.descend(Step::Index(index), item, was);
                        } else if units > 0 {
                            self.close(&mut came, &mut went);
                        }
                        index += units;
                    }
                    (true, None) if item.kind == kind::FORMAT => {
                        let (name, value) = now.format(item);
                        self.tell(|| What::Format {
                            at: index,
                            name: name.to_owned(),
                            value,
                        });
                    }
                    (true, None) => {
                        let clocks = part.clocks.start - item.clock..part.clocks.end - item.clock;
                        if !self.truncated && !add(&mut came, now, item, clocks.clone(), index) {
                            self.close(&mut came, &mut None);
                            add(&mut came, now, item, clocks, index);
                        }
                        index += units;
                    }
                    (false, Some(was)) if was.kind == kind::FORMAT => {
                        let (name, value) = past.format(was);
                        self.tell(|| What::Unformat {
                            at: index,
                            name: name.to_owned(),
                            value,
                        });
                    }
                    (false, Some(was)) => {
                        let clocks = part.clocks.start - was.clock..part.clocks.end - was.clock;
                        if !self.truncated && !add(&mut went, past, was, clocks.clone(), index) {
                            self.close(&mut None, &mut went);
                            add(&mut went, past, was, clocks, index);
                        }
                    }
                }
            }
        }
        self.close(&mut came, &mut went);
    }

    fn descend(&mut self, step: Step, is: &Item, was: &Item) {
        if was.holds == NONE || self.truncated {
            return;
        }
        self.path.push(step);
        self.compare(is.holds, was.holds);
        self.path.pop();
    }

    fn close(&mut self, came: &mut Open, went: &mut Open) {
        if let Some((at, content)) = went.take() {
            self.tell(|| What::Delete { at, content });
        }
        if let Some((at, content)) = came.take() {
            self.tell(|| What::Insert { at, content });
        }
    }

    fn tell(&mut self, what: impl FnOnce() -> What) {
        let steps = self.path.iter().map(|step| match step {
            Step::Key(key) => size_of::<Step>() + key.len(),
            Step::Index(_) => size_of::<Step>(),
        });
        self.path_bytes += self.root.len() + steps.sum::<usize>();
        self.truncated |= self.changes.len() == MAX_CHANGES || self.path_bytes > MAX_PATH_BYTES;
        if self.truncated {
            return;
        }
        self.changes.push(Change {
            root: self.root.to_owned(),
            path: self.path.clone(),
            what: what(),
        });
    }
}

/// Adds a part of an item to what is open, or opens it; `false` if it is of another kind.
fn add(
    open: &mut Open,
    tree: &Tree,
    item: &Item,
    clocks: std::ops::Range<u32>,
    index: u64,
) -> bool {
    let is_text = item.kind == kind::STRING;
    let (_, content) = open.get_or_insert_with(|| {
        let content = if is_text {
            Content::Text(String::new())
        } else {
            Content::Values(Vec::new())
        };
        (index, content)
    });
    match content {
        Content::Text(text) if is_text => tree.push_text(item, clocks, text),
        Content::Values(values) if !is_text => tree.values(item, clocks, values),
        _ => return false,
    }
    true
}
