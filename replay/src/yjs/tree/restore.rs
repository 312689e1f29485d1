//! Going back, as an edit: what a document showed once, it shows again.
//!
//! Nothing is erased. What is shown now and was not then is deleted; what was shown then and is
//! deleted now is written anew, by a new client, behind the place where it once stood:
//!
//! ```text
//! then   a b c d e
//! now    a ˣb x ˣc ˣd e        ˣ deleted
//! edit   a ˣb ˣx ˣc ˣd b c d e     x deleted; "bcd" new, written between ˣd and e
//! ```
//! What is shown at both moments stays what it is, so edits that others make to it meanwhile merge
//! as ever. A nested type that was deleted comes back as a new one with all its content; who still
//! edits the old one edits what is gone. Of an entry under a key, the value is set again. What has
//! been written anew since then with the same content is let be, so that going back twice is going
//! back once.

use std::ops::Range;

use super::pair::Pair;
use super::{Item, NONE, Tree};
use crate::yjs::piece::write_run;
use crate::yjs::ranges::Ranges;
use crate::yjs::scan::{HAS_KEY, HAS_ORIGIN, HAS_RIGHT, Id, kind, write_var};

/// An update by `client`, which must be new to the document, after which `now` shows what `past`
/// shows: the same values, texts and formats. `None` if it does already.
///
/// `past` is to be an earlier moment of `now`: of what `now` has never heard of, what stands in
/// lists stays away. A character of which someone has deleted one half stays a U+FFFD.
#[must_use]
pub fn restore(past: &Tree, now: &Tree, client: u64) -> Option<Vec<u8>> {
    let pair = Pair::new(past, now);
    let known = now.clients.iter().find(|there| there.id == client);
    let clock = known.map_or(0, |client| client.known);
    let mut writer = Writer {
        past,
        client,
        first: clock,
        clock,
        structs: 0,
        out: Vec::new(),
        copies: Vec::new(),
    };
    let mut deletes = vec![Vec::new(); now.clients.len()];
    let mut pairs: Vec<(u32, u32)> = pair.roots().map(|(_, now, past)| (now, past)).collect();
    while let Some((of_now, of_past)) = pairs.pop() {
        restore_list(&pair, of_now, &mut writer, &mut deletes, &mut pairs);
        restore_entries(
            &pair,
            (of_now, of_past),
            &mut writer,
            &mut deletes,
            &mut pairs,
        );
    }
    writer.copy_types();
    writer.finish(now, deletes)
}

fn restore_list(
    pair: &Pair<'_>,
    number: u32,
    writer: &mut Writer<'_>,
    deletes: &mut [Vec<Range<u32>>],
    pairs: &mut Vec<(u32, u32)>,
) {
    let now = pair.now;
    let mut gap = Gap::default();
    for (_, item) in now.items_of(now.types[number as usize].list) {
        for part in pair.parts(item) {
            let client = now.clients[item.client as usize].id;
            let id = |clock| Id { client, clock };
            if gap.place.left.is_some() && gap.place.right.is_none() {
                gap.place.right = Some(id(part.clocks.start));
            }
            match (item.is_alive(), part.was) {
                (true, Some(was)) => {
                    gap.close(now, writer, deletes);
                    if item.holds != NONE {
                        pairs.push((item.holds, was.holds));
                    }
                }
                (true, None) => gap.new.push((item, part.clocks)),
                (false, Some(was)) => {
                    let (left, right) = (Some(id(part.clocks.end - 1)), None);
                    gap.place = Place { left, right };
                    gap.old.push((was, part.clocks));
                }
                (false, None) => {}
            }
        }
    }
    gap.close(now, writer, deletes);
}

/// What stands between two neighbours that are shown at both moments.
#[derive(Debug, Default)]
struct Gap<'a> {
    /// What is only shown now.
    new: Vec<(&'a Item, Range<u32>)>,
    /// What was only shown then.
    old: Vec<(&'a Item, Range<u32>)>,
    /// Where the last of that stood.
    place: Place,
}

impl Gap<'_> {
    fn close(&mut self, now: &Tree, writer: &mut Writer<'_>, deletes: &mut [Vec<Range<u32>>]) {
        // What was restored before has other items and the same content.
        if !same((now, &self.new), (writer.past, &self.old)) {
            for (item, clocks) in &self.new {
                deletes[item.client as usize].push(clocks.clone());
            }
            writer.write_all(&self.old, self.place);
        }
        self.new.clear();
        self.old.clear();
        self.place = Place::default();
    }
}

/// Parts of items of a tree.
type Parts<'a, 'b> = (&'a Tree, &'a [(&'b Item, Range<u32>)]);

/// Whether two sequences of parts show the same.
fn same(left: Parts<'_, '_>, right: Parts<'_, '_>) -> bool {
    if left.1.is_empty() || right.1.is_empty() {
        return left.1.is_empty() && right.1.is_empty();
    }
    let print = |(tree, parts): Parts<'_, '_>| {
        let mut out = Vec::new();
        tree.print(parts, &mut out);
        out
    };
    print(left) == print(right)
}

/// Whether two neighbours are written as one struct.
fn joins(a: &(&Item, Range<u32>), b: &(&Item, Range<u32>)) -> bool {
    a.0.kind == b.0.kind && matches!(a.0.kind, kind::STRING | kind::ANY | kind::JSON)
}

impl Tree {
    /// Writes what parts show, without a trace of who wrote it.
    fn print(&self, parts: &[(&Item, Range<u32>)], out: &mut Vec<u8>) {
        for parts in parts.chunk_by(joins) {
            out.push(parts[0].0.kind);
            self.write_content(parts, out);
            let Some(held) = self.types.get(parts[0].0.holds as usize) else {
                continue;
            };
            let list: Vec<(&Item, Range<u32>)> = self.shown(held.list).map(whole).collect();
            self.print(&list, out);
            out.push(END);
            for (key, item) in self.entries(parts[0].0.holds) {
                write_run(out, key.as_bytes());
                self.print(&[last(item)], out);
            }
            out.push(END);
        }
    }

    /// Writes the content of a struct of parts that [join](joins); returns its clocks.
    fn write_content(&self, parts: &[(&Item, Range<u32>)], out: &mut Vec<u8>) -> u32 {
        let clocks: u32 = parts.iter().map(|(_, part)| part.end - part.start).sum();
        match parts[0].0.kind {
            kind::STRING => {
                let mut text = String::new();
                for (item, part) in parts {
                    let part = part.start - item.clock..part.end - item.clock;
                    self.push_text(item, part, &mut text);
                }
                write_run(out, text.as_bytes());
            }
            kind::ANY | kind::JSON => {
                write_var(out, clocks.into());
                for (item, part) in parts {
                    let part = part.start - item.clock..part.end - item.clock;
                    out.extend_from_slice(self.raw_values(item, part));
                }
            }
            _ => out.extend_from_slice(self.content(parts[0].0)),
        }
        clocks
    }
}

/// An item as a part.
fn whole(item: &Item) -> (&Item, Range<u32>) {
    (item, item.clock..item.clock + item.len)
}

/// The part of an entry that is its value.
fn last(item: &Item) -> (&Item, Range<u32>) {
    let end = item.clock + item.len;
    (item, end - 1..end)
}

/// In a print, the end of a list; no kind of content.
const END: u8 = 0xff;

fn restore_entries(
    pair: &Pair<'_>,
    (of_now, of_past): (u32, u32),
    writer: &mut Writer<'_>,
    deletes: &mut [Vec<Range<u32>>],
    pairs: &mut Vec<(u32, u32)>,
) {
    let now = pair.now;
    for (key, list, was_list) in pair.keys(of_now, of_past) {
        let is = now.entry(list);
        let was = pair.past.entry(was_list);
        if let Some(is) = is
            && let Some(was) = was
        {
            if let Some(stays) = pair.was(is)
                && std::ptr::eq(stays, was)
            {
                if is.holds != NONE {
                    pairs.push((is.holds, was.holds));
                }
                continue;
            }
            if same((now, &[last(is)]), (pair.past, &[last(was)])) {
                continue;
            }
        }
        if let Some(is) = is {
            deletes[is.client as usize].push(is.clock..is.clock + is.len);
        }
        let Some(was) = was else {
            continue;
        };
        let part = last(was);
        let tail = now.lists.get(list as usize).map(|list| list.tail);
        if let Some(tail) = tail.and_then(|tail| now.items.get(tail as usize)) {
            let left = Id {
                client: now.clients[tail.client as usize].id,
                clock: tail.clock + tail.len - 1,
            };
            let (left, right) = (Some(left), None);
            writer.write_all(&[part], Place { left, right });
        } else {
            writer.write_first(&[part], &parent_of(now, of_now), Some(key));
        }
    }
}

/// How an item without origins names a type.
fn parent_of(tree: &Tree, number: u32) -> Parent<'_> {
    let item = tree.types[number as usize].item;
    match tree.items.get(item as usize) {
        Some(item) => Parent::Item(Id {
            client: tree.clients[item.client as usize].id,
            clock: item.clock,
        }),
        None => {
            let name = tree.roots.iter().find(|(_, root)| **root == number);
            Parent::Root(name.map_or("", |(name, _)| name))
        }
    }
}

enum Parent<'a> {
    Root(&'a str),
    Item(Id),
}

/// Between which clocks something is written.
#[derive(Debug, Default, Clone, Copy)]
struct Place {
    left: Option<Id>,
    right: Option<Id>,
}

/// Writes new items, with content of the past.
struct Writer<'a> {
    past: &'a Tree,
    client: u64,
    first: u32,
    clock: u32,
    structs: u32,
    out: Vec<u8>,
    /// Types of the past and where they have been written anew, whose content is to follow.
    copies: Vec<(u32, Id)>,
}

impl Writer<'_> {
    /// Writes parts of items of the past, one after the other, at a place.
    fn write_all(&mut self, parts: &[(&Item, Range<u32>)], mut place: Place) {
        for parts in parts.chunk_by(joins) {
            let flag = |id: Option<Id>, flag| if id.is_some() { flag } else { 0 };
            let flags = flag(place.left, HAS_ORIGIN) | flag(place.right, HAS_RIGHT);
            self.out.push(parts[0].0.kind | flags);
            for id in [place.left, place.right].into_iter().flatten() {
                self.write_id(id);
            }
            self.write_content(parts);
            place.left = Some(self.last());
        }
    }

    /// Writes parts into a type that has nothing at that place.
    fn write_first(
        &mut self,
        parts: &[(&Item, Range<u32>)],
        parent: &Parent<'_>,
        key: Option<&str>,
    ) {
        let Some((first, rest)) = parts.split_first() else {
            return;
        };
        let flags = if key.is_some() { HAS_KEY } else { 0 };
        self.out.push(first.0.kind | flags);
        match parent {
            Parent::Root(name) => {
                self.out.push(1);
                write_run(&mut self.out, name.as_bytes());
            }
            Parent::Item(id) => {
                self.out.push(0);
                self.write_id(*id);
            }
        }
        if let Some(key) = key {
            write_run(&mut self.out, key.as_bytes());
        }
        self.write_content(std::slice::from_ref(first));
        let left = Some(self.last());
        self.write_all(rest, Place { left, right: None });
    }

    /// Writes the content of a struct, and counts it.
    fn write_content(&mut self, parts: &[(&Item, Range<u32>)]) {
        let id = Id {
            client: self.client,
            clock: self.clock,
        };
        let first = parts[0].0;
        let clocks = self.past.write_content(parts, &mut self.out);
        if first.holds != NONE {
            self.copies.push((first.holds, id));
        }
        self.clock += clocks;
        self.structs += 1;
    }

    /// Writes the content of the types that have been written, and of those in them.
    fn copy_types(&mut self) {
        let past = self.past;
        while let Some((number, id)) = self.copies.pop() {
            let list = past.types[number as usize].list;
            let parts: Vec<(&Item, Range<u32>)> = past.shown(list).map(whole).collect();
            self.write_first(&parts, &Parent::Item(id), None);
            for (key, item) in past.entries(number) {
                self.write_first(&[last(item)], &Parent::Item(id), Some(key));
            }
        }
    }

    fn last(&self) -> Id {
        Id {
            client: self.client,
            clock: self.clock - 1,
        }
    }

    fn write_id(&mut self, id: Id) {
        write_var(&mut self.out, id.client);
        write_var(&mut self.out, id.clock.into());
    }

    /// The whole update.
    fn finish(self, now: &Tree, deletes: Vec<Vec<Range<u32>>>) -> Option<Vec<u8>> {
        let deletes = now.clients.iter().zip(deletes).rev();
        let deletes = deletes.filter(|(_, ranges)| !ranges.is_empty());
        let deletes: Vec<(u64, Ranges)> = deletes
            .map(|(client, ranges)| {
                let mut all = Ranges::default();
                all.extend(ranges);
                (client.id, all)
            })
            .collect();
        if self.structs == 0 && deletes.is_empty() {
            return None;
        }
        let mut out = Vec::with_capacity(self.out.len() + 64);
        if self.structs == 0 {
            write_var(&mut out, 0);
        } else {
            write_var(&mut out, 1);
            write_var(&mut out, self.structs.into());
            write_var(&mut out, self.client);
            write_var(&mut out, self.first.into());
            out.extend_from_slice(&self.out);
        }
        write_var(&mut out, deletes.len() as u64);
        for (client, ranges) in deletes {
            write_var(&mut out, client);
            write_var(&mut out, ranges.len() as u64);
            for range in ranges.iter() {
                write_var(&mut out, range.start.into());
                write_var(&mut out, (range.end - range.start).into());
            }
        }
        Some(out)
    }
}
