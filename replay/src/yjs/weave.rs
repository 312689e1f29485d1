//! Writing a document, or what a peer lacks of it, as one update.
//!
//! Each client's section is its base and its tail, rewritten on the way as Yjs would store them:
//! what is deleted loses its content, what lies in a deleted type is collected, and parts that
//! follow one another as if they had been written at once become one struct. None of that changes
//! what the update means: cutting a struct gives its right part the clock before it as origin and
//! the same right origin, so joining two such parts is only undoing a cut. The result depends on
//! what the document has and not on how it came.
//!
//! Updates that wait for others are added as they are, behind a gap where there is one.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::ops::Range;

use bytes::Bytes;

use super::ledger::{Client, Home, Ledger, Part};
use super::piece;
use super::ranges::Ranges;
use super::scan::{self, Id, Reader, Section, Struct, kind, write_var};

/// A document's encoding.
#[derive(Debug, Clone)]
pub(super) struct Woven {
    /// The update.
    pub(super) bytes: Bytes,
    /// The structs of each of the ledger's clients in it.
    parts: Vec<Part>,
    /// What was collected, by the index of its client.
    collected: Vec<(u32, Range<u32>)>,
    /// How many types are deleted.
    dead: usize,
}

/// Encodes what a peer lacks that has, of each client, the clocks before `peer` says; all of it,
/// without a peer. `waiting` are updates that are not in the ledger yet.
pub(super) fn weave(
    ledger: &Ledger,
    peer: Option<&HashMap<u64, u32>>,
    waiting: &Waiting<'_>,
) -> Woven {
    let dead = ledger.dead_types();
    let dead_count = dead.iter().filter(|dead| **dead).count();
    let mut woven = Woven {
        bytes: Bytes::new(),
        parts: vec![Part::default(); ledger.clients.len()],
        collected: Vec::new(),
        dead: dead_count,
    };
    let mut out = match peer {
        None => Vec::with_capacity(ledger.base.len() + ledger.growth + 64),
        Some(_) => Vec::new(),
    };
    let mut writer = Writer::default();

    let mut order: Vec<(u64, Option<u32>)> = Vec::with_capacity(ledger.clients.len());
    for (client, index) in ledger.clients.iter().zip(0..) {
        order.push((client.id, Some(index)));
    }
    for id in waiting.structs.keys() {
        if ledger.find(*id).is_none() {
            order.push((*id, None));
        }
    }
    order.sort_unstable_by_key(|(id, _)| Reverse(*id));
    let wanted = |id: u64, known: u32| {
        let from = peer.and_then(|peer| peer.get(&id)).copied().unwrap_or(0);
        (from < known).then_some(from)
    };
    order.retain(|(id, index)| {
        let known = index.map_or(0, |index| ledger.clients[index as usize].known);
        wanted(*id, known).is_some() || waiting.structs.contains_key(id)
    });

    write_var(&mut out, order.len() as u64);
    for (id, index) in order {
        let late = waiting.structs.get(&id).map_or(&[][..], Vec::as_slice);
        let client = index.map(|index| &ledger.clients[index as usize]);
        let known = client.map_or(0, |client| client.known);
        let from = wanted(id, known);
        let whole = from == Some(0) && late.is_empty();
        if let Some(client) = client
            && whole
            && client.tail.is_empty()
            && !client.dirty
            && dead_count == ledger.dead_in_base
        {
            let (at, structs) = (client.base.at, client.base.structs);
            let section = &ledger.base[at..at + client.base.len];
            let at = write_section(&mut out, id, 0, structs, section);
            woven.parts[index.unwrap_or_default() as usize] = Part { at, ..client.base };
            continue;
        }
        writer.begin(id);
        if let Some(client) = client
            && let Some(from) = from
        {
            writer.write_client(ledger, client, from, &dead);
        }
        let first = match (from, late.first()) {
            (Some(from), _) => from,
            (None, Some(late)) => late.clock.max(known),
            (None, None) => known,
        };
        writer.write_waiting(late, if from.is_some() { known } else { first });
        writer.close();
        let structs = writer.structs;
        let at = write_section(&mut out, id, first, structs, &writer.body);
        if let Some(index) = index {
            let len = writer.body.len();
            woven.parts[index as usize] = Part { at, len, structs };
            let collected = writer.collected.drain(..).map(|range| (index, range));
            woven.collected.extend(collected);
        }
    }
    write_deletes(&mut out, ledger, waiting, &woven.collected);
    out.shrink_to_fit();
    woven.bytes = out.into();
    woven
}

impl Woven {
    /// Makes this the base of the ledger that it is the whole encoding of.
    pub(super) fn settle(self, ledger: &mut Ledger) {
        ledger.delete(&self.collected);
        ledger.settle(self.bytes, self.parts, self.dead);
    }
}

/// Updates that are not in the ledger yet, taken apart.
#[derive(Debug, Default)]
pub(super) struct Waiting<'a> {
    structs: HashMap<u64, Vec<Late<'a>>>,
    deletes: HashMap<u64, Ranges>,
}

#[derive(Debug, Clone, Copy)]
struct Late<'a> {
    clock: u32,
    item: Struct<'a>,
}

impl<'a> Waiting<'a> {
    /// Adds an update that [`scan::check`] has passed.
    pub(super) fn add(&mut self, bytes: &'a [u8], sections: &[Section], deletes: usize) {
        for section in sections {
            let mut reader = Reader::new(bytes, section.at);
            let mut clock = section.clock;
            let structs = self.structs.entry(section.client).or_default();
            for _ in 0..section.structs {
                let Ok(item) = reader.structure::<false>() else {
                    break;
                };
                if item.kind() != kind::SKIP && item.len > 0 {
                    structs.push(Late { clock, item });
                }
                clock += item.len;
            }
        }
        let _ = scan::for_each_delete(bytes, deletes, |client, clock, len| {
            let ranges = self.deletes.entry(client).or_default();
            ranges.insert(clock..clock + len);
        });
    }

    /// Drops what the ledger knows, and puts the rest in order.
    pub(super) fn finish(&mut self, ledger: &Ledger) {
        self.structs.retain(|client, structs| {
            let known = ledger.known(*client);
            structs.retain(|late| late.clock + late.item.len > known);
            structs.sort_by_key(|late| (late.clock, Reverse(late.item.len)));
            !structs.is_empty()
        });
    }
}

fn write_section(out: &mut Vec<u8>, id: u64, clock: u32, structs: u32, body: &[u8]) -> usize {
    write_var(out, structs.into());
    write_var(out, id);
    write_var(out, clock.into());
    let at = out.len();
    out.extend_from_slice(body);
    at
}

fn write_deletes(
    out: &mut Vec<u8>,
    ledger: &Ledger,
    waiting: &Waiting<'_>,
    collected: &[(u32, Range<u32>)],
) {
    let mut more: HashMap<u64, Ranges> = waiting.deletes.clone();
    for of_client in collected.chunk_by(|a, b| a.0 == b.0) {
        let client = &ledger.clients[of_client[0].0 as usize];
        let ranges = more.entry(client.id).or_default();
        ranges.extend(of_client.iter().map(|(_, range)| range.clone()));
    }
    let mut clients: Vec<(u64, &Ranges)> = Vec::new();
    for client in &ledger.clients {
        match more.get_mut(&client.id) {
            Some(more) => more.extend(client.deleted.iter().cloned()),
            None => clients.push((client.id, &client.deleted)),
        }
    }
    clients.extend(more.iter().map(|(id, ranges)| (*id, ranges)));
    clients.retain(|(_, ranges)| ranges.len() > 0);
    clients.sort_unstable_by_key(|(id, _)| Reverse(*id));
    write_var(out, clients.len() as u64);
    for (id, ranges) in clients {
        write_var(out, id);
        write_var(out, ranges.len() as u64);
        for range in ranges.iter() {
            write_var(out, range.start.into());
            write_var(out, (range.end - range.start).into());
        }
    }
}

/// Writes one client's structs, joining what can be joined.
#[derive(Debug, Default)]
struct Writer {
    client: u64,
    /// The structs, but for the content of the open one.
    body: Vec<u8>,
    structs: u32,
    open: Option<Open>,
    /// The characters or values of the open struct.
    content: Vec<u8>,
    collected: Vec<Range<u32>>,
}

/// The last struct, to which the next may be joined.
#[derive(Debug, Clone, Copy)]
struct Open {
    kind: u8,
    len: u32,
    right: Option<Id>,
}

impl Writer {
    fn begin(&mut self, client: u64) {
        self.client = client;
        self.body.clear();
        self.structs = 0;
        self.open = None;
        self.content.clear();
        self.collected.clear();
    }

    /// Writes what the ledger has of a client, from a clock on.
    fn write_client(&mut self, ledger: &Ledger, client: &Client, from: u32, dead: &[bool]) {
        let tail_clock = if client.tail.is_empty() {
            client.known
        } else {
            client.tail_clock
        };
        let base = &ledger.base[client.base.at..client.base.at + client.base.len];
        let tail = (tail_clock, &client.tail[..], client.tail_structs);
        let base = (0, base, client.base.structs);
        let sources = [base, tail];
        let mut run = client.home_run(from);
        for (first, bytes, structs) in &sources[usize::from(from >= tail_clock)..] {
            let mut clock = *first;
            let mut reader = Reader::new(bytes, 0);
            for _ in 0..*structs {
                // Everything here was checked when it came.
                let Ok(item) = reader.structure::<false>() else {
                    break;
                };
                let end = clock + item.len;
                if end > from {
                    let start = clock.max(from);
                    while client
                        .homes
                        .get(run + 1)
                        .is_some_and(|next| next.clock <= start)
                    {
                        run += 1;
                    }
                    let home = client.homes.get(run).map_or(Home::GONE, |run| run.home);
                    let id = Id {
                        client: client.id,
                        clock,
                    };
                    self.write_item(client, id, &item, start - clock, home, dead);
                }
                clock = end;
            }
        }
    }

    /// Writes an item from `from` clocks into it on, cut where its deleted parts are.
    fn write_item(
        &mut self,
        client: &Client,
        id: Id,
        item: &Struct<'_>,
        from: u32,
        home: Home,
        dead: &[bool],
    ) {
        let end = id.clock + item.len;
        let mut clock = id.clock + from;
        let gone = dead.get(home.parent as usize).copied().unwrap_or(true);
        if gone || item.kind() == kind::GC {
            self.write_collected(clock..end);
            return;
        }
        let keyed = home.key != 0;
        for deleted in client.deleted.from(clock) {
            if deleted.start >= end {
                break;
            }
            if deleted.start > clock {
                self.write_part(
                    id,
                    item,
                    clock - id.clock..deleted.start - id.clock,
                    false,
                    keyed,
                );
                clock = deleted.start;
            }
            let until = deleted.end.min(end);
            self.write_part(id, item, clock - id.clock..until - id.clock, true, keyed);
            clock = until;
        }
        if clock < end {
            self.write_part(id, item, clock - id.clock..item.len, false, keyed);
        }
    }

    fn write_collected(&mut self, clocks: Range<u32>) {
        let len = clocks.end - clocks.start;
        self.collected.push(clocks);
        match &mut self.open {
            Some(open) if open.kind == kind::GC => open.len += len,
            _ => self.open(Open {
                kind: kind::GC,
                len,
                right: None,
            }),
        }
    }

    fn write_part(
        &mut self,
        id: Id,
        item: &Struct<'_>,
        clocks: Range<u32>,
        deleted: bool,
        keyed: bool,
    ) {
        let kind = if deleted { kind::DELETED } else { item.kind() };
        let joins = match kind {
            kind::DELETED => true,
            // The values of an entry replace one another: each stays a struct of its own.
            kind::STRING | kind::ANY | kind::JSON => !keyed,
            _ => {
                self.close();
                self.structs += 1;
                self.body.push(piece::plain(item.info));
                self.body.extend_from_slice(&item.raw[1..]);
                return;
            }
        };
        let len = clocks.end - clocks.start;
        let origin = piece::origin(id, item, clocks.start);
        let before = Id {
            client: id.client,
            clock: (id.clock + clocks.start).wrapping_sub(1),
        };
        match &mut self.open {
            Some(open)
                if joins
                    && open.kind == kind
                    && open.right == item.right
                    && origin == Some(before) =>
            {
                open.len += len;
            }
            _ => {
                self.open(Open {
                    kind,
                    len,
                    right: item.right,
                });
                piece::write_head(&mut self.body, id, item, clocks.start, kind);
            }
        }
        if kind != kind::DELETED {
            piece::write_content(&mut self.content, item, clocks);
        }
    }

    /// Writes what waits, from a clock on: the gaps between as such, of what overlaps the first.
    fn write_waiting(&mut self, late: &[Late<'_>], from: u32) {
        let mut clock = from;
        for Late { clock: start, item } in late {
            let end = start + item.len;
            if end <= clock {
                continue;
            }
            self.close();
            if *start > clock {
                self.structs += 1;
                piece::write_flat(&mut self.body, kind::SKIP, start - clock);
                clock = *start;
            }
            self.structs += 1;
            let id = Id {
                client: self.client,
                clock: *start,
            };
            piece::write(&mut self.body, id, item, clock - start..item.len);
            clock = end;
        }
    }

    fn open(&mut self, open: Open) {
        self.close();
        self.structs += 1;
        self.open = Some(open);
    }

    fn close(&mut self) {
        let Some(open) = self.open.take() else {
            return;
        };
        match open.kind {
            kind::GC => piece::write_flat(&mut self.body, kind::GC, open.len),
            kind::DELETED => write_var(&mut self.body, open.len.into()),
            kind::STRING => piece::write_run(&mut self.body, &self.content),
            _ => {
                write_var(&mut self.body, open.len.into());
                self.body.extend_from_slice(&self.content);
            }
        }
        self.content.clear();
    }
}
