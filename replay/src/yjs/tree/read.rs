//! Cutting the structs of an encoding into items.
//!
//! Yjs cuts a struct whenever something refers to between two of its clocks: an origin, a right
//! origin, the edge of a deletion. Here all cuts are known before the first item is made, so items
//! lie in one array and refer to one another by index.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Client, DELETED, HALF_FIRST, HALF_LAST, Item, NONE, Tree, TreeError};
use crate::yjs::ranges::Ranges;
use crate::yjs::scan::{self, Id, Reader, Section, Struct, kind};

/// The items of an encoding, in no list yet; and where the struct of each begins in it, or 0 for
/// one that goes on where the item before it ends.
pub(super) fn cut(bytes: &Bytes) -> Result<(Tree, Vec<u32>), TreeError> {
    if u32::try_from(bytes.len()).is_err() {
        return Err(TreeError::new("an encoding is over 4 GiB"));
    }
    let mut sections = Vec::new();
    let deletes =
        scan::check(bytes, &mut sections).map_err(|fault| TreeError(fault.to_string()))?;
    sections.reverse();
    let mut cuts = Cuts::new(&sections);
    for (index, section) in sections.iter().enumerate() {
        for_each_struct(bytes, section, |clock, item, _| {
            if let Some(origin) = item.origin {
                let id = Id {
                    clock: origin.clock + 1,
                    ..origin
                };
                // Not where the struct itself begins, as most do.
                if id.client != section.client || id.clock != clock {
                    cuts.add(id, index);
                }
            }
            if let Some(right) = item.right {
                cuts.add(right, index);
            }
        });
    }
    let mut deleted = vec![Ranges::default(); sections.len()];
    let mut ranges: Vec<(u64, std::ops::Range<u32>)> = Vec::new();
    let _ = scan::for_each_delete(bytes, deletes, |client, clock, len| {
        ranges.push((client, clock..clock + len));
        for clock in [clock, clock + len] {
            cuts.add(Id { client, clock }, 0);
        }
    });
    for of_client in ranges.chunk_by(|a, b| a.0 == b.0) {
        if let Some(index) = cuts.find(of_client[0].0) {
            deleted[index].extend(of_client.iter().map(|(_, range)| range.clone()));
        }
    }

    let structs: usize = sections
        .iter()
        .map(|section| section.structs as usize)
        .sum();
    let mut cutter = Cutter {
        items: Vec::with_capacity(structs),
        heads: Vec::with_capacity(structs),
    };
    let mut clients = Vec::with_capacity(sections.len());
    for (index, section) in sections.iter().enumerate() {
        let mut cuts = std::mem::take(&mut cuts.clocks[index]);
        cuts.sort_unstable();
        let first = cutter.items.len() as u32;
        let mut rest = &cuts[..];
        for_each_struct(bytes, section, |clock, item, at| {
            let skip = rest.partition_point(|cut| *cut <= clock);
            let here = rest[skip..].partition_point(|cut| *cut < clock + item.len);
            let within = &rest[skip..skip + here];
            rest = &rest[skip + here..];
            cutter.cut(index as u32, clock, item, at, within, &deleted[index]);
        });
        clients.push(Client {
            id: section.client,
            items: first..cutter.items.len() as u32,
            known: 0,
        });
    }
    let tree = Tree {
        bytes: bytes.clone(),
        clients,
        items: cutter.items,
        lists: Vec::new(),
        types: Vec::new(),
        roots: BTreeMap::new(),
    };
    Ok((tree, cutter.heads))
}

/// Calls `each(clock, struct, end)` for the structs of a section, from clock 0 to the first gap:
/// what comes after waits.
fn for_each_struct(bytes: &[u8], section: &Section, mut each: impl FnMut(u32, &Struct<'_>, usize)) {
    if section.clock > 0 {
        return;
    }
    let mut reader = Reader::new(bytes, section.at);
    let mut clock = 0;
    for _ in 0..section.structs {
        let Ok(item) = reader.structure::<false>() else {
            return;
        };
        if item.kind() == kind::SKIP {
            return;
        }
        if item.len > 0 {
            each(clock, &item, reader.at);
        }
        clock += item.len;
    }
}

/// Where structs are cut.
struct Cuts {
    ids: Vec<u64>,
    clocks: Vec<Vec<u32>>,
    last: usize,
}

impl Cuts {
    fn new(sections: &[Section]) -> Self {
        Self {
            ids: sections.iter().map(|section| section.client).collect(),
            clocks: vec![Vec::new(); sections.len()],
            last: 0,
        }
    }

    fn find(&mut self, client: u64) -> Option<usize> {
        if self.ids.get(self.last) != Some(&client) {
            self.last = self.ids.binary_search(&client).ok()?;
        }
        Some(self.last)
    }

    fn add(&mut self, id: Id, likely: usize) {
        let index = if self.ids.get(likely) == Some(&id.client) {
            Some(likely)
        } else {
            self.find(id.client)
        };
        if let Some(index) = index {
            let clocks = &mut self.clocks[index];
            if clocks.last() != Some(&id.clock) {
                clocks.push(id.clock);
            }
        }
    }
}

struct Cutter {
    items: Vec<Item>,
    heads: Vec<u32>,
}

impl Cutter {
    /// Adds the items of a struct, which ends at byte `end` and is cut at the clocks `cuts`.
    fn cut(
        &mut self,
        client: u32,
        clock: u32,
        whole: &Struct<'_>,
        end: usize,
        cuts: &[u32],
        deleted: &Ranges,
    ) {
        let kind = whole.kind();
        let head = (end - whole.raw.len()) as u32;
        let mut content = Content::new(whole, end);
        let last = clock + whole.len;
        let mut from = clock;
        // What is collected is in no list, and what takes one clock cannot be cut.
        let cuts = if kind == kind::GC { &[] } else { cuts };
        for to in cuts.iter().copied().chain([last]) {
            if to <= from || to > last {
                continue;
            }
            let (at, end, halves) = content.take(kind, to - from);
            let is_deleted = deleted.until(from).is_some();
            self.items.push(Item {
                client,
                clock: from,
                len: to - from,
                at,
                end,
                origin: NONE,
                right: NONE,
                next: NONE,
                list: NONE,
                holds: NONE,
                kind,
                flags: halves | if is_deleted { DELETED } else { 0 },
            });
            self.heads.push(if from == clock { head } else { 0 });
            from = to;
        }
    }
}

/// A struct's content, taken from the front.
struct Content<'a> {
    bytes: &'a [u8],
    /// Where `bytes` begin in the encoding.
    base: usize,
    at: usize,
    /// Whether the character at `at` has lost its first half.
    half: bool,
}

impl<'a> Content<'a> {
    fn new(whole: &Struct<'a>, end: usize) -> Self {
        let mut at = 0;
        let mut reader = Reader::new(whole.content, 0);
        match whole.kind() {
            kind::STRING => {
                let text = reader.run().unwrap_or_default();
                at = whole.content.len() - text.len();
            }
            kind::ANY | kind::JSON => {
                let _ = reader.count();
                at = reader.at;
            }
            _ => {}
        }
        Self {
            bytes: whole.content,
            base: end - whole.content.len(),
            at,
            half: false,
        }
    }

    /// Where the next `clocks` clocks lie, and which halves of characters they begin and end with.
    fn take(&mut self, kind: u8, clocks: u32) -> (u32, u32, u8) {
        let mut halves = 0;
        let start;
        match kind {
            kind::STRING => {
                let mut left = clocks;
                if self.half {
                    halves |= HALF_FIRST;
                    self.half = false;
                    self.at += 4;
                    left -= 1;
                }
                start = self.at;
                while left > 0
                    && let Some(byte) = self.bytes.get(self.at)
                {
                    let (bytes, units) = match byte {
                        0..0x80 => (1, 1),
                        0x80..0xe0 => (2, 1),
                        0xe0..0xf0 => (3, 1),
                        0xf0.. => (4, 2),
                    };
                    if units > left {
                        halves |= HALF_LAST;
                        self.half = true;
                        break;
                    }
                    self.at += bytes;
                    left -= units;
                }
            }
            kind::ANY | kind::JSON => {
                start = self.at;
                let mut reader = Reader::new(self.bytes, self.at);
                reader.skip_values(kind, clocks);
                self.at = reader.at;
            }
            kind::DELETED | kind::GC => start = self.at,
            _ => {
                start = self.at;
                self.at = self.bytes.len();
            }
        }
        let place = |at: usize| (self.base + at) as u32;
        (place(start), place(self.at), halves)
    }
}
