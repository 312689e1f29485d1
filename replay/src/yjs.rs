//! Yjs documents.
//!
//! A Yjs document is a set of structs and a set of deletions. Clients weave them into lists, maps
//! and texts; a server need not. [`YjsDocument`] keeps the set, so that taking an update is a check
//! and a copy, and handing the document out is handing out bytes:
//!
//! | module | what it does to an update |
//! | --- | --- |
//! | `scan` | walks every byte: is it an update that Yjs can read? |
//! | `binary` | finds content that a space may not want: blobs |
//! | `ledger` | judges it against what is there: does it build on what has come, does each item lie in one list, is it new? Keeps it |
//! | `weave` | writes the whole, or what a peer lacks, as Yjs would store it |
//! | `view` | asks yrs, behind a fence, what only a woven document tells |
//! | [`tree`] | weaves an encoding into what people see: values, texts, changes, and the way back |
//!
//! What builds on updates that have not come waits for them, as in Yjs: it is part of the encoding,
//! and it counts as adding something. Once they come it is judged like any other, and if it then
//! makes no sense it is dropped, which every fold of the same log does again.
//!
//! Deleted content is collected as Yjs servers with `gc` do: the past is the log's to tell, and
//! clients undo from their own copies.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::ops::Range;

use bytes::Bytes;
use protocol::Site;
use serde_json::Value;

use crate::document::{Checked, Document, DocumentError, Edit, Wanted};

mod binary;
mod json;
mod ledger;
mod limits;
mod piece;
mod ranges;
mod scan;
pub mod tree;
mod view;
mod weave;

use ledger::{Ledger, Rest};
use limits::{
    MAX_PATH_DOCUMENT_BYTES, MAX_VIEW_BYTES, MAX_WAITING, MAX_WAITING_BYTES, MAX_WAITING_PARTS,
    MIN_COMPACTION_BYTES,
};
use ranges::Ranges;
use scan::{Id, Reader, Section, kind, write_var};
use tree::Tree;
use weave::{Waiting, Woven, weave};

/// A Yjs document, as a server keeps it.
#[derive(Debug, Default, Clone)]
pub struct YjsDocument {
    ledger: Ledger,
    /// What builds on updates that have not come, in order of arrival.
    early: Vec<Early>,
    /// What they hold, by client.
    held: HashMap<u64, Held>,
    held_bytes: usize,
    held_parts: usize,
    /// The encoding, until something changes.
    woven: OnceCell<Woven>,
    /// What yrs says is deleted, until something changes.
    implied: OnceCell<Option<HashMap<u64, Ranges>>>,
    sections: Vec<Section>,
}

/// What is left of an update, and waits.
#[derive(Debug, Clone)]
struct Early {
    update: Vec<u8>,
    /// What it waits for.
    missing: Vec<Id>,
}

/// What the updates that wait hold of one client.
#[derive(Debug, Default, Clone)]
struct Held {
    structs: Ranges,
    deletes: Ranges,
}

impl YjsDocument {
    /// An empty document.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The document whose encoding this is, with what waits in it for other updates.
    ///
    /// Nothing is refused for waiting too much: what is in an encoding was let in once.
    ///
    /// # Errors
    /// [`DocumentError::Malformed`] if it is no update, or makes no sense.
    pub fn load(encoding: &Bytes) -> Result<Self, DocumentError> {
        let mut document = Self::new();
        let mut sections = Vec::new();
        let deletes = scan::check(encoding, &mut sections).map_err(malformed)?;
        let taken = document
            .ledger
            .take(encoding, &sections, deletes, |_, _| Ok(()))
            .map_err(malformed)?;
        // Written again, not adopted: the base that others build on is then canonical, whatever
        // the bytes were.
        weave(&document.ledger, None, &Waiting::default()).settle(&mut document.ledger);
        if let Some(Rest { update, missing }) = taken.rest {
            let deletes = scan::check(&update, &mut sections).map_err(malformed)?;
            document.count_held(&update, &sections, deletes);
            document.early.push(Early { update, missing });
        }
        Ok(document)
    }

    /// How many updates wait for others that they build on.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.early.len()
    }

    /// Whether it holds something that yrs 0.28 reads wrong or hangs on: a subdocument, an XML hook
    /// or values of the old JSON kind. Such a document is never shown to yrs.
    #[must_use]
    pub const fn is_foreign(&self) -> bool {
        self.ledger.foreign
    }

    fn tree(&self) -> Result<Tree, DocumentError> {
        Tree::read(&self.encode()).map_err(malformed)
    }

    /// Where something stands once `payload` has been taken. A copy takes it and is woven, so documents too
    /// large for that are not asked.
    fn path_with(&self, payload: &Bytes, id: Id) -> Option<String> {
        if self.memory_bytes() + payload.len() > MAX_PATH_DOCUMENT_BYTES {
            return None;
        }
        let mut with = self.clone();
        with.integrate_one(payload).ok()?;
        with.tree().ok()?.path(id)
    }

    fn integrate_one(&mut self, payload: &Bytes) -> Result<Checked, DocumentError> {
        let mut sections = std::mem::take(&mut self.sections);
        let checked = self.check(payload, &mut sections);
        self.sections = sections;
        checked
    }

    fn check(
        &mut self,
        payload: &Bytes,
        sections: &mut Vec<Section>,
    ) -> Result<Checked, DocumentError> {
        let deletes = scan::check(payload, sections).map_err(malformed)?;
        let site = match &sections[..] {
            [section] => Some(Site::new(section.client)),
            _ => None,
        };
        let growth = growth(payload, sections, deletes);
        let adds = self.take(payload, sections, deletes)?;
        Ok(Checked { adds, site, growth })
    }

    fn take(
        &mut self,
        payload: &Bytes,
        sections: &mut [Section],
        deletes: usize,
    ) -> Result<bool, DocumentError> {
        // Only what changes nothing leaves the last encoding valid.
        self.settle();
        let mut held = None;
        let (waiting, there) = (self.early.len(), &self.held);
        let (bytes, parts) = (self.held_bytes, self.held_parts);
        let admit = |ledger: &Ledger, rest: &Rest| {
            let mut sections = Vec::new();
            let deletes = scan::check(&rest.update, &mut sections).map_err(|fault| fault.what)?;
            if !is_new(ledger, there, &rest.update, &sections, deletes) {
                return Ok(());
            }
            let mut more = 0;
            for_each_part(&rest.update, &sections, deletes, |_, _, _| more += 1);
            if waiting >= MAX_WAITING
                || bytes + rest.update.len() > MAX_WAITING_BYTES
                || parts + more > MAX_WAITING_PARTS
            {
                return Err("it builds on updates that have not come, for which too much waits");
            }
            held = Some((sections, deletes));
            Ok(())
        };
        let taken = self.ledger.take(payload, sections, deletes, admit);
        let taken = taken.map_err(malformed)?;
        let holds = held.is_some();
        if let (Some(rest), Some((sections, deletes))) = (taken.rest, held) {
            self.woven.take();
            self.count_held(&rest.update, &sections, deletes);
            let (update, missing) = (rest.update, rest.missing);
            self.early.push(Early { update, missing });
        }
        if taken.adds {
            self.implied.take();
            self.take_early(sections);
            self.compact();
        }
        Ok(taken.adds || holds)
    }

    fn count_held(&mut self, update: &[u8], sections: &[Section], deletes: usize) {
        self.held_bytes += update.len();
        let (held, parts) = (&mut self.held, &mut self.held_parts);
        for_each_part(update, sections, deletes, |part, client, range| {
            *parts += 1;
            let held = held.entry(client).or_default();
            match part {
                Part::Struct => held.structs.insert(range),
                Part::Delete => held.deletes.insert(range),
            };
        });
    }

    /// Takes what waited for one of `arrived`, and then what waited for that.
    fn take_early(&mut self, arrived: &[Section]) {
        let concerned = |early: &Early| {
            early.missing.iter().any(|missing| {
                arrived
                    .binary_search_by(|section| missing.client.cmp(&section.client))
                    .is_ok()
            })
        };
        if !self.early.iter().any(concerned) {
            return;
        }
        let mut changed = false;
        let mut sections = Vec::new();
        while let Some(next) = self.early.iter().position(|early| self.has_come(early)) {
            changed = true;
            let early = self.early.remove(next);
            // It was checked when it came.
            let Ok(deletes) = scan::check(&early.update, &mut sections) else {
                continue;
            };
            match self
                .ledger
                .take(&early.update, &sections, deletes, |_, _| Ok(()))
            {
                Ok(taken) => {
                    if let Some(rest) = taken.rest {
                        let (update, missing) = (rest.update, rest.missing);
                        self.early.insert(next, Early { update, missing });
                    }
                }
                Err(what) => {
                    tracing::warn!(what, "an update that had waited makes no sense: dropped");
                }
            }
        }
        if changed {
            self.held.clear();
            self.held_bytes = 0;
            self.held_parts = 0;
            let all = std::mem::take(&mut self.early);
            for early in &all {
                if let Ok(deletes) = scan::check(&early.update, &mut sections) {
                    self.count_held(&early.update, &sections, deletes);
                }
            }
            self.early = all;
        }
    }

    fn has_come(&self, early: &Early) -> bool {
        let mut missing = early.missing.iter();
        missing.any(|missing| self.ledger.known(missing.client) > missing.clock)
    }

    /// Whether all that is new in an update are deletions of entries that have been replaced,
    /// which deleted them without a word.
    fn is_implied(&self, payload: &[u8], sections: &[Section], deletes: usize) -> bool {
        let mut entries = true;
        let deleted = |client, range: Range<u32>| {
            walk_over(range, |clock| self.ledger.deleted_until(client, clock))
        };
        for_each_part(payload, sections, deletes, |part, client, range| {
            entries &= range.end <= self.ledger.known(client)
                && match part {
                    Part::Struct => true,
                    Part::Delete => {
                        deleted(client, range.clone()) || self.ledger.are_entries(client, &range)
                    }
                };
        });
        if !entries || self.ledger.foreign || !self.early.is_empty() {
            return false;
        }
        let implied = self.implied.get_or_init(|| {
            let encoding = self.encode();
            if encoding.len() > MAX_VIEW_BYTES {
                return None;
            }
            view::deleted(&encoding)
        });
        let Some(implied) = implied else {
            return false;
        };
        let mut all = true;
        for_each_part(payload, &[], deletes, |_, client, range| {
            let implied = implied.get(&client);
            all &= walk_over(range, |clock| {
                let implied = implied.and_then(|implied| implied.until(clock));
                implied.or_else(|| self.ledger.deleted_until(client, clock))
            });
        });
        all
    }

    fn weave(&self, peer: Option<&HashMap<u64, u32>>) -> Woven {
        let mut waiting = Waiting::default();
        let mut sections = Vec::new();
        for early in &self.early {
            if let Ok(deletes) = scan::check(&early.update, &mut sections) {
                waiting.add(&early.update, &sections, deletes);
            }
        }
        waiting.finish(&self.ledger);
        weave(&self.ledger, peer, &waiting)
    }

    /// Before a change: the last encoding, if there is one, becomes the base to build on.
    fn settle(&mut self) {
        if let Some(woven) = self.woven.take()
            && self.early.is_empty()
        {
            woven.settle(&mut self.ledger);
        }
    }

    /// Makes one base of base and tail, once the tail is as long.
    fn compact(&mut self) {
        if self.ledger.growth >= MIN_COMPACTION_BYTES.max(self.ledger.base.len()) {
            weave(&self.ledger, None, &Waiting::default()).settle(&mut self.ledger);
        }
    }
}

impl Document for YjsDocument {
    fn integrate(&mut self, payloads: &[Bytes]) -> Vec<Result<Checked, DocumentError>> {
        let answers = payloads.iter().map(|payload| self.integrate_one(payload));
        answers.collect()
    }

    fn adds_nothing(&self, payload: &Bytes) -> Result<bool, DocumentError> {
        let mut sections = Vec::new();
        let deletes = scan::check(payload, &mut sections).map_err(malformed)?;
        Ok(
            !is_new(&self.ledger, &self.held, payload, &sections, deletes)
                || self.is_implied(payload, &sections, deletes),
        )
    }

    fn binary(&self, payload: &Bytes) -> Option<String> {
        let mut sections = Vec::new();
        scan::check(payload, &mut sections).ok()?;
        let found = binary::find(payload, &sections, |client| self.ledger.known(client))?;
        let path = self.path_with(payload, found.id).unwrap_or(found.outside);
        Some(if path.is_empty() {
            format!("a part of an update of client {}", found.id.client)
        } else {
            path + &separated(&found.inside)
        })
    }

    fn version(&self) -> Bytes {
        let clients = self.ledger.clients.iter();
        let mut clients: Vec<(u64, u32)> =
            clients.map(|client| (client.id, client.known)).collect();
        clients.sort_unstable_by(|a, b| b.cmp(a));
        let mut out = Vec::with_capacity(clients.len() * 8 + 4);
        write_var(&mut out, clients.len() as u64);
        for (client, known) in clients {
            write_var(&mut out, client);
            write_var(&mut out, known.into());
        }
        out.into()
    }

    fn diff(&self, version: &Bytes) -> Result<Bytes, DocumentError> {
        let mut reader = Reader::new(version, 0);
        let mut read = || {
            let count = reader.count()?;
            // Each takes two bytes.
            let mut peer = HashMap::with_capacity(count / 2);
            for _ in 0..count {
                peer.insert(reader.var()?, reader.clock()?);
            }
            Ok(peer)
        };
        let peer = read().map_err(|fault: scan::Fault| malformed(fault))?;
        if peer.is_empty() {
            return Ok(self.encode());
        }
        Ok(self.weave(Some(&peer)).bytes)
    }

    fn is_empty_version(&self, version: &Bytes) -> bool {
        version.first() == Some(&0)
    }

    fn encode(&self) -> Bytes {
        if self.ledger.is_settled() && self.early.is_empty() {
            return self.ledger.base.clone();
        }
        let woven = self.woven.get_or_init(|| self.weave(None));
        woven.bytes.clone()
    }

    fn json(&self) -> Result<Value, DocumentError> {
        Ok(self.tree()?.json())
    }

    fn text(&self) -> Result<String, DocumentError> {
        Ok(self.tree()?.text())
    }

    fn changes(&self, past: &Bytes) -> Result<Value, DocumentError> {
        let past = Tree::read(past).map_err(malformed)?;
        serde_json::to_value(tree::diff(&past, &self.tree()?)).map_err(malformed)
    }

    fn restore(&self, wanted: &Wanted, client: u64) -> Result<Option<Edit>, DocumentError> {
        let Wanted::Past(past) = wanted else {
            let what = "a Yjs document may have more than a text, and is not set to one";
            return Err(DocumentError::Unsupported(what.to_owned()));
        };
        let past = Tree::read(past).map_err(malformed)?;
        let payload = tree::restore(&past, &self.tree()?, client).map(Bytes::from);
        Ok(payload.map(|payload| Edit {
            payload,
            size: None,
        }))
    }

    fn fork(&self) -> Box<dyn Document> {
        let mut copy = self.clone();
        copy.ledger.tight = true;
        Box::new(copy)
    }

    fn is_whole(&self) -> bool {
        self.early.is_empty()
    }

    fn memory_bytes(&self) -> usize {
        let woven = self.woven.get().map_or(0, |woven| woven.bytes.len());
        let held = self.held_bytes + self.held_parts * size_of::<Held>();
        size_of::<Self>() + self.ledger.memory_bytes() + woven + held
    }
}

/// Whether an update that has been checked holds something that is neither there nor waiting.
fn is_new(
    ledger: &Ledger,
    waiting: &HashMap<u64, Held>,
    update: &[u8],
    sections: &[Section],
    deletes: usize,
) -> bool {
    let mut new = false;
    for_each_part(update, sections, deletes, |part, client, range| {
        let held = waiting.get(&client);
        new |= match part {
            Part::Struct => {
                let known = ledger.known(client);
                let rest = range.start.max(known)..range.end.max(known);
                !rest.is_empty() && !held.is_some_and(|held| held.structs.cover(&rest))
            }
            Part::Delete => !walk_over(range, |clock| {
                let held = held.and_then(|held| held.deletes.until(clock));
                held.or_else(|| ledger.deleted_until(client, clock))
            }),
        };
    });
    new
}

/// A path within a value, as it follows one to the value.
fn separated(inside: &str) -> String {
    match inside.chars().next() {
        None | Some('[') => inside.to_owned(),
        Some(_) => format!(".{inside}"),
    }
}

/// What an update is made of.
enum Part {
    Struct,
    Delete,
}

/// Calls `each(part, client, clocks)` for each struct and each delete of an update that has been
/// checked; for what a skip stands for, nothing.
fn for_each_part(
    bytes: &[u8],
    sections: &[Section],
    deletes: usize,
    mut each: impl FnMut(Part, u64, Range<u32>),
) {
    for section in sections {
        let mut reader = Reader::new(bytes, section.at);
        let mut clock = section.clock;
        for _ in 0..section.structs {
            let Ok(item) = reader.structure::<false>() else {
                return;
            };
            let end = clock + item.len;
            if item.kind() != kind::SKIP && item.len > 0 {
                each(Part::Struct, section.client, clock..end);
            }
            clock = end;
        }
    }
    let _ = scan::for_each_delete(bytes, deletes, |client, clock, len| {
        each(Part::Delete, client, clock..clock + len);
    });
}

/// Whether steps that lead from a clock to a later one lead over all of `range`.
fn walk_over(range: Range<u32>, mut step: impl FnMut(u32) -> Option<u32>) -> bool {
    let mut clock = range.start;
    while clock < range.end {
        match step(clock) {
            Some(next) => clock = next,
            None => return false,
        }
    }
    true
}

/// How much more an encoding has after an update whose deletes begin at `deletes`, at the most: its own bytes, and
/// what it cuts runs in two for. A struct may come between the characters of one run and name one of another as
/// its right neighbour, and take the place of a map's value; two bytes that delete from the middle of a run leave
/// a run on each side of it.
fn growth(payload: &[u8], sections: &[Section], deletes: usize) -> usize {
    const CUTS_OF_A_STRUCT: usize = 64;
    const CUTS_OF_A_DELETING_BYTE: usize = 16;
    let structs: usize = sections
        .iter()
        .map(|section| section.structs as usize)
        .sum();
    let deleting = payload.len() - deletes;
    payload.len() + structs * CUTS_OF_A_STRUCT + deleting * CUTS_OF_A_DELETING_BYTE
}

#[expect(clippy::needless_pass_by_value, reason = "made where it is passed")]
fn malformed(what: impl ToString) -> DocumentError {
    DocumentError::Malformed(what.to_string())
}

#[cfg(test)]
mod tests;
