//! Updates from what is here: of one edit, or of all that another replica lacks.

use std::collections::BTreeMap;

use super::Text;
use super::error::{FormatError, MergeError};
use super::id::{Client, Update, Version};
use super::leaf::NONE;
use super::log::Deed;
use super::wire::{self, Kind, Op, Ops, Ref};

/// How far back the author's previous character is looked for.
const MAX_LOOK_BACK: usize = 4;

/// Operations being written. Clients stand in the table by their place here until it is sorted.
#[derive(Default)]
struct Draft {
    ops: Vec<Op>,
    /// The first character that each operation inserts, or `NONE`, and how many.
    chars: Vec<(u32, u32)>,
}

impl Text {
    /// The bytes of an own or a foreign update whose ticks are here; of those that are not, nothing.
    #[must_use]
    pub fn encode(&self, update: &Update) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode_into(update, &mut out);
        out
    }

    /// Appends the bytes of an update.
    pub fn encode_into(&self, update: &Update, out: &mut Vec<u8>) {
        let mut draft = Draft::default();
        if let Some(place) = self.log.place(update.client) {
            let author = &self.log.authors[place as usize];
            let to = update.to.min(author.clock);
            let mut clock = update.from;
            while clock < to {
                let run = self.log.run_of_tick(place, clock);
                let end = self.log.runs[run].clock + self.log.len(run);
                let piece = end.min(to) - clock;
                self.draft(run, clock, piece, &mut draft);
                clock += piece;
            }
        }
        self.finish(draft, update.client, out);
    }

    /// All that is here and that a replica of version `since` lacks, as one update.
    #[must_use]
    pub fn diff(&self, since: &Version) -> Vec<u8> {
        let mut runs = Vec::new();
        for author in &self.log.authors {
            let known = since.get(author.client);
            if known >= author.clock {
                continue;
            }
            let first = author
                .runs
                .partition_point(|(clock, _)| *clock <= known)
                .saturating_sub(1);
            for (place, (clock, run)) in author.runs[first..].iter().enumerate() {
                let from = if place == 0 {
                    (*clock).max(known)
                } else {
                    *clock
                };
                runs.push((*run as usize, from));
            }
        }
        // In order of arrival, so that each comes after what it builds on.
        runs.sort_unstable();
        let mut draft = Draft::default();
        for (run, from) in runs {
            let end = self.log.runs[run].clock + self.log.len(run);
            self.draft(run, from, end - from, &mut draft);
        }
        let mut out = Vec::new();
        self.finish(draft, self.client, &mut out);
        out
    }

    /// Adds `len` ticks of a run from `clock` on.
    fn draft(&self, place: usize, clock: u32, len: u32, draft: &mut Draft) {
        let run = self.log.runs[place];
        let author = run.client();
        let offset = clock - run.clock;
        let mut op = Op {
            author,
            clock,
            len,
            kind: Kind::Delete,
            left: Ref::NONE,
            right: Ref::NONE,
            text: (0, 0),
        };
        match run.deed() {
            Deed::Void => {
                let void = self.log.voids[run.target as usize];
                op.left.client = void.author;
                if void.back {
                    op.kind = Kind::DeleteBack;
                    op.left.clock = void.clock - offset;
                } else {
                    op.left.clock = void.clock + offset;
                }
                draft.ops.push(op);
                draft.chars.push((NONE, 0));
            }
            Deed::Delete => self.draft_delete(op, run.target + offset, draft),
            Deed::DeleteBack => {
                op.kind = Kind::DeleteBack;
                self.draft_delete(op, run.target - offset, draft);
            }
            Deed::Insert => self.draft_insert(op, place, run.n + offset, draft),
        }
    }

    /// A deletion, cut where its targets' ticks do not follow one another.
    fn draft_delete(&self, op: Op, target: u32, draft: &mut Draft) {
        let (mut op, mut target, mut left) = (op, target, op.len);
        while left > 0 {
            let run_place = self.log.run_of_char(target);
            let run = self.log.runs[run_place];
            let before = target - run.n;
            let piece = if op.kind == Kind::Delete {
                left.min(self.log.len(run_place) - before)
            } else {
                left.min(before + 1)
            };
            op.left = Ref {
                client: run.client(),
                clock: run.clock + before,
            };
            op.len = piece;
            draft.ops.push(op);
            draft.chars.push((NONE, 0));
            op.clock += piece;
            left -= piece;
            target = if op.kind == Kind::Delete {
                target.wrapping_add(piece)
            } else {
                target.wrapping_sub(piece)
            };
        }
    }

    /// An insertion, cut where origins begin.
    fn draft_insert(&self, op: Op, place: usize, n: u32, draft: &mut Draft) {
        let (mut op, mut n, mut left) = (op, n, op.len);
        let mut previous = self.previous(place, n);
        let mut origin = self
            .origins
            .runs
            .partition_point(|origin| origin.n <= n)
            .saturating_sub(1);
        while left > 0 {
            let run = self.origins.runs[origin];
            let end = self
                .origins
                .runs
                .get(origin + 1)
                .map_or(u32::MAX, |next| next.n);
            let piece = left.min(end - n);
            let from = if run.n == n { run.left } else { n - 1 };
            let goes_on = previous != NONE
                && from == previous
                && self.origins.run(previous).right == run.right;
            op.kind = if goes_on { Kind::GoOn } else { Kind::Insert };
            op.left = self.reference(from);
            op.right = self.reference(run.right);
            op.len = piece;
            draft.ops.push(op);
            draft.chars.push((n, piece));
            op.clock += piece;
            n += piece;
            left -= piece;
            previous = n - 1;
            origin += 1;
        }
    }

    /// The character that the author of a run inserted before its character `n`, if that is near.
    fn previous(&self, place: usize, n: u32) -> u32 {
        let run = self.log.runs[place];
        if n > run.n {
            return n - 1;
        }
        let runs = &self.log.authors[run.client() as usize].runs;
        let own = runs.partition_point(|(clock, _)| *clock < run.clock);
        for (_, before) in runs[..own].iter().rev().take(MAX_LOOK_BACK) {
            let before = *before as usize;
            let run = self.log.runs[before];
            if run.deed() == Deed::Insert {
                return run.n + self.log.len(before) - 1;
            }
        }
        NONE
    }

    fn reference(&self, n: u32) -> Ref {
        if n == NONE {
            return Ref::NONE;
        }
        let (client, clock) = self.log.id_of(n);
        Ref { client, clock }
    }

    /// Sorts the table, and writes.
    fn finish(&self, draft: Draft, author: Client, out: &mut Vec<u8>) {
        let name = |place: u32| self.log.authors[place as usize].client;
        let (ops, clients) = tabled(draft.ops, author, name);
        let mut texts = draft.chars.iter();
        // The texts in the order of the operations.
        let texts: Vec<&str> = std::iter::from_fn(|| texts.next())
            .map(|(n, len)| {
                if *n == NONE {
                    ""
                } else {
                    self.content.slice(*n, *len)
                }
            })
            .collect();
        let mut ops = ops;
        for (place, op) in ops.iter_mut().enumerate() {
            op.text = (place as u32, 0);
        }
        wire::encode(&clients, &ops, |op| texts[op.text.0 as usize], out);
    }
}

/// Operations with the table of clients they name: the author first if all are of one and few, else
/// ascending.
fn tabled(ops: Vec<Op>, author: Client, name: impl Fn(u32) -> Client) -> (Vec<Op>, Vec<Client>) {
    let mut places: BTreeMap<Client, u32> = BTreeMap::new();
    let mut note = |place: u32, go_on: bool| {
        if place != NONE && !go_on {
            places.insert(name(place), place);
        }
    };
    for op in &ops {
        note(op.author, false);
        note(op.left.client, op.kind == Kind::GoOn);
        note(op.right.client, op.kind == Kind::GoOn);
    }
    let single = ops.first().map_or(author, |op| name(op.author));
    let edit = ops.len() <= wire::MAX_EDIT_OPS && ops.iter().all(|op| name(op.author) == single);
    let mut clients: Vec<Client> = Vec::new();
    if edit {
        clients.push(single);
        clients.extend(places.keys().filter(|client| **client != single));
    } else {
        clients.extend(places.keys());
    }
    let mut table: BTreeMap<u32, u32> = BTreeMap::new();
    for (at, client) in clients.iter().enumerate() {
        if let Some(place) = places.get(client) {
            table.insert(*place, at as u32);
        }
    }
    let look = |place: u32| table.get(&place).copied().unwrap_or(NONE);
    let mut ops = ops;
    for op in &mut ops {
        op.author = look(op.author);
        if op.left.client != NONE {
            op.left.client = look(op.left.client);
        }
        if op.right.client != NONE {
            op.right.client = look(op.right.client);
        }
    }
    (ops, clients)
}

/// Which ticks are in an update: for each client one range, in the order of the update's table.
///
/// # Errors
///
/// [`FormatError`] if it is malformed.
pub fn ticks(update: &[u8]) -> Result<Vec<Update>, FormatError> {
    let mut decoded = Ops::default();
    decoded.decode(update)?;
    let mut all: Vec<Update> = Vec::new();
    for op in &decoded.ops {
        let client = decoded.clients[op.author as usize];
        let end = op.clock + op.len;
        match all.iter_mut().find(|update| update.client == client) {
            Some(update) => {
                update.from = update.from.min(op.clock);
                update.to = update.to.max(end);
            }
            None => all.push(Update {
                client,
                from: op.clock,
                to: end,
            }),
        }
    }
    Ok(all)
}

/// Makes one update of many: what they say together, without what they say twice, in an order in
/// which each comes after what it builds on.
///
/// # Errors
///
/// [`MergeError`] if one is malformed, or two of one client do not meet.
pub fn merge(updates: &[impl AsRef<[u8]>]) -> Result<Vec<u8>, MergeError> {
    // All operations, their clients by name and their texts.
    let mut all: BTreeMap<Client, Vec<(Op, &str)>> = BTreeMap::new();
    let mut names: Vec<Client> = Vec::new();
    let mut places: BTreeMap<Client, u32> = BTreeMap::new();
    let mut decoded = Ops::default();
    for update in updates {
        let bytes = update.as_ref();
        decoded.decode(bytes)?;
        let mut place = |client: u32| {
            let client = decoded.clients[client as usize];
            *places.entry(client).or_insert_with(|| {
                names.push(client);
                names.len() as u32 - 1
            })
        };
        for op in &decoded.ops {
            let mut op = *op;
            let author = decoded.clients[op.author as usize];
            op.author = place(op.author);
            for reference in [&mut op.left, &mut op.right] {
                if reference.client != NONE {
                    reference.client = place(reference.client);
                }
            }
            let start = op.text.0 as usize;
            let text = &bytes[start..start + op.text.1 as usize];
            let text = str::from_utf8(text).unwrap_or_default();
            all.entry(author).or_default().push((op, text));
        }
    }
    let mut queues = Vec::new();
    for (client, mut list) in all {
        list.sort_by_key(|(op, _)| (op.clock, std::cmp::Reverse(op.len)));
        queues.push((0, dedup(client, list)?));
    }
    // Round and round: whatever builds on nothing that is still to come.
    let mut soon: BTreeMap<u32, u32> = BTreeMap::new();
    let mut ends: BTreeMap<u32, u32> = BTreeMap::new();
    for (_, list) in &queues {
        if let (Some((first, _)), Some((last, _))) = (list.first(), list.last()) {
            soon.insert(first.author, first.clock);
            ends.insert(first.author, last.clock + last.len);
        }
    }
    let (mut ops, mut texts) = (Vec::new(), Vec::new());
    loop {
        let before = ops.len();
        for (at, list) in &mut queues {
            while let Some((op, text)) = list.get(*at) {
                let waits = |to: Ref, len: u32| {
                    let end = to.clock.saturating_add(len);
                    ends.get(&to.client).is_some_and(|last| to.clock < *last)
                        && soon.get(&to.client).is_some_and(|soon| end > *soon)
                        && to.client != op.author
                };
                let len = if op.kind == Kind::Delete { op.len } else { 1 };
                if op.kind != Kind::GoOn && (waits(op.left, len) || waits(op.right, 1)) {
                    break;
                }
                soon.insert(op.author, op.clock + op.len);
                ops.push(*op);
                texts.push(*text);
                *at += 1;
            }
        }
        if ops.len() == before {
            break;
        }
    }
    // Only malformed updates wait for one another in a circle; they go last, to be refused.
    for (at, list) in &queues {
        for (op, text) in &list[*at..] {
            ops.push(*op);
            texts.push(*text);
        }
    }
    let author = ops
        .first()
        .map_or(Client::new(0), |op| names[op.author as usize]);
    let (mut ops, clients) = tabled(ops, author, |place| names[place as usize]);
    for (place, op) in ops.iter_mut().enumerate() {
        op.text = (place as u32, 0);
    }
    let mut out = Vec::new();
    wire::encode(&clients, &ops, |op| texts[op.text.0 as usize], &mut out);
    Ok(out)
}

/// One client's operations without repeats, each cut to what the ones before it have not.
fn dedup(client: Client, list: Vec<(Op, &str)>) -> Result<Vec<(Op, &str)>, MergeError> {
    let mut kept: Vec<(Op, &str)> = Vec::new();
    let mut end: Option<u32> = None;
    for (op, text) in list {
        let mut op = op;
        let mut text = text;
        let known = end.unwrap_or(op.clock);
        if op.clock > known {
            return Err(MergeError::Gap {
                client: client.get(),
                clock: known,
            });
        }
        let cut = known - op.clock;
        if cut >= op.len {
            continue;
        }
        if cut > 0 {
            match op.kind {
                Kind::GoOn | Kind::Insert => {
                    let skip = text
                        .char_indices()
                        .nth(cut as usize)
                        .map_or(text.len(), |(offset, _)| offset);
                    text = &text[skip..];
                    op.kind = Kind::GoOn;
                }
                Kind::Delete => op.left.clock += cut,
                Kind::DeleteBack => op.left.clock -= cut,
            }
            op.clock += cut;
            op.len -= cut;
        }
        end = Some(op.clock + op.len);
        kept.push((op, text));
    }
    Ok(kept)
}
