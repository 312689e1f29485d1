//! Updates from what is here: of one edit, or of all that another replica lacks.

use super::Text;
use super::content::skip;
use super::error::{FormatError, MergeError};
use super::id::{Client, Update, Version};
use super::leaf::NONE;
use super::log::Deed;
use super::map::Map;
use super::wire::{self, Kind, Op, Ops, Ref};

/// How far back the author's previous character is looked for.
const MAX_LOOK_BACK: usize = 4;

/// Operations being written. Clients stand in the table by their place here until it is sorted.
#[derive(Default)]
struct Draft<'a> {
    ops: Vec<Op>,
    /// What each operation inserts.
    texts: Vec<&'a str>,
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
        let mut first = self.log.runs.len();
        let mut known = Vec::with_capacity(self.log.authors.len());
        for (place, author) in self.log.authors.iter().enumerate() {
            let ticks = since.get(author.client);
            if ticks < author.clock {
                first = first.min(self.log.run_of_tick(place as u32, ticks));
            }
            known.push(ticks);
        }
        // In order of arrival, so that each comes after what it builds on.
        let mut draft = Draft::default();
        for (place, run) in self.log.runs.iter().enumerate().skip(first) {
            let from = run.clock.max(known[run.client() as usize]);
            let end = run.clock + self.log.len(place);
            if from < end {
                self.draft(place, from, end - from, &mut draft);
            }
        }
        let mut out = Vec::new();
        self.finish(draft, self.client, &mut out);
        out
    }

    /// Adds `len` ticks of a run from `clock` on.
    fn draft<'a>(&'a self, place: usize, clock: u32, len: u32, draft: &mut Draft<'a>) {
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
                draft.texts.push("");
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
    fn draft_delete<'a>(&'a self, op: Op, target: u32, draft: &mut Draft<'a>) {
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
            draft.texts.push("");
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
    fn draft_insert<'a>(&'a self, op: Op, place: usize, n: u32, draft: &mut Draft<'a>) {
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
            draft.texts.push(self.content.slice(n, piece));
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
    fn finish(&self, draft: Draft<'_>, author: Client, out: &mut Vec<u8>) {
        let Draft { mut ops, texts } = draft;
        let name = |place: u32| self.log.authors[place as usize].client;
        let clients = tabled(&mut ops, author, wire::MAX_EDIT_OPS, &name);
        wire::encode(&clients, &ops, &texts, out);
    }
}

/// Makes of places that `name` knows places in a table of clients, and gives that: the author first
/// if all operations are of one and at most `few`, which makes them an edit, else ascending.
fn tabled(ops: &mut [Op], author: Client, few: usize, name: &dyn Fn(u32) -> Client) -> Vec<Client> {
    let Some(first) = ops.first().map(|op| op.author) else {
        return vec![author];
    };
    let mut others = Map::default();
    let mut edit = ops.len() <= few;
    for op in &*ops {
        edit &= op.author == first;
        for place in [op.author, op.left.client, op.right.client] {
            let named = place == op.author || op.kind != Kind::GoOn;
            if named && place != first && place != NONE {
                others.set(u128::from(name(place).get()), place);
            }
        }
    }
    let mut clients = Vec::new();
    if edit {
        clients.push(name(first));
    } else {
        others.set(u128::from(name(first).get()), first);
    }
    let mut table = Map::default();
    for (number, place) in others.iter() {
        table.set(u128::from(place), clients.len() as u32);
        clients.push(Client::new(number as u64));
    }
    let head = table.get(u128::from(first)).unwrap_or(0);
    for op in ops {
        for place in [&mut op.author, &mut op.left.client, &mut op.right.client] {
            *place = if *place == first {
                head
            } else {
                table.get(u128::from(*place)).unwrap_or(NONE)
            };
        }
    }
    clients
}

/// Which ticks are in an update: for each client one range, in the order of the update's table.
///
/// # Errors
///
/// [`FormatError`] if it is malformed.
pub fn ticks(update: &[u8]) -> Result<Vec<Update>, FormatError> {
    let mut decoded = Ops::default();
    decoded.decode(update)?;
    let none = |client: &Client| Update {
        client: *client,
        from: u32::MAX,
        to: 0,
    };
    let mut all: Vec<Update> = decoded.clients.iter().map(none).collect();
    for op in &decoded.ops {
        let update = &mut all[op.author as usize];
        update.from = update.from.min(op.clock);
        update.to = update.to.max(op.clock + op.len);
    }
    all.retain(|update| update.from < update.to);
    Ok(all)
}

/// Makes one update of many: what they say together, without what they say twice, in an order in
/// which each comes after what it builds on. They need not be all there is: where something between
/// them is missing, those that do not build on it are applied, and the others when it has come.
///
/// # Errors
///
/// [`MergeError`] if one is malformed, or two of one client do not meet.
pub fn merge(updates: &[impl AsRef<[u8]>]) -> Result<Vec<u8>, MergeError> {
    let mut all = Merge::default();
    for update in updates {
        all.take(update.as_ref())?;
    }
    all.queue()?;
    Ok(all.write())
}

/// Many updates becoming one.
#[derive(Default)]
struct Merge<'a> {
    decoded: Ops,
    /// All clients, and their places by name.
    names: Vec<Client>,
    places: Map,
    ops: Vec<Op>,
    texts: Vec<&'a str>,
    /// By place: the client's operations by tick and length, the longest first.
    sorted: Vec<Map>,
    /// By place: what each client did, without repeats.
    queues: Vec<Vec<(Op, &'a str)>>,
    /// By place: how far each client's operations are written, and how far they go.
    soon: Vec<u32>,
    ends: Vec<u32>,
}

impl<'a> Merge<'a> {
    fn take(&mut self, bytes: &'a [u8]) -> Result<(), FormatError> {
        self.decoded.decode(bytes)?;
        let mut places = Vec::with_capacity(self.decoded.clients.len());
        for client in &self.decoded.clients {
            let new = self.names.len() as u32;
            let place = self.places.add(u128::from(client.get()), new);
            if place == new {
                self.names.push(*client);
                self.sorted.push(Map::default());
            }
            places.push(place);
        }
        for op in &self.decoded.ops {
            let mut op = *op;
            for place in [&mut op.author, &mut op.left.client, &mut op.right.client] {
                *place = places.get(*place as usize).copied().unwrap_or(NONE);
            }
            let start = op.text.0 as usize;
            let text = &bytes[start..start + op.text.1 as usize];
            let key = u128::from(op.clock) << 32 | u128::from(!op.len);
            self.sorted[op.author as usize].add(key, self.ops.len() as u32);
            self.ops.push(op);
            // Decoding has seen that it is UTF-8.
            self.texts.push(str::from_utf8(text).unwrap_or_default());
        }
        Ok(())
    }

    /// Sorts, and cuts each operation to what the ones before it have not.
    fn queue(&mut self) -> Result<(), MergeError> {
        self.queues.resize(self.names.len(), Vec::new());
        self.soon = vec![0; self.names.len()];
        self.ends = vec![0; self.names.len()];
        for (_, author) in self.places.iter() {
            let author = author as usize;
            let queue = &mut self.queues[author];
            for (_, at) in self.sorted[author].iter() {
                let (mut op, mut text) = (self.ops[at as usize], self.texts[at as usize]);
                if queue.is_empty() {
                    self.soon[author] = op.clock;
                    self.ends[author] = op.clock;
                }
                let known = self.ends[author];
                let Some(cut) = known.checked_sub(op.clock) else {
                    return Err(MergeError::Gap {
                        client: self.names[author].get(),
                        clock: known,
                    });
                };
                if cut >= op.len {
                    continue;
                }
                if cut > 0 {
                    match op.kind {
                        Kind::GoOn | Kind::Insert => {
                            text = skip(text, cut);
                            op.kind = Kind::GoOn;
                        }
                        Kind::Delete => op.left.clock += cut,
                        Kind::DeleteBack => op.left.clock -= cut,
                    }
                    op.clock += cut;
                    op.len -= cut;
                }
                self.ends[author] = op.clock + op.len;
                queue.push((op, text));
            }
        }
        Ok(())
    }

    /// The client whose ticks an operation builds on, if they are still to be written. Those that no
    /// update has are not waited for.
    fn waits_for(&self, op: &Op) -> Option<usize> {
        let to_come = |to: Ref, from: u32, end: u32| {
            let client = to.client as usize;
            let waits = to.client != NONE
                && to.client != op.author
                && from.max(self.soon[client]) < end.min(self.ends[client]);
            waits.then_some(client)
        };
        let (left, right) = (op.left, op.right);
        // Decoding has seen that none of these overflows.
        match op.kind {
            Kind::GoOn => None,
            Kind::Insert => to_come(left, left.clock, left.clock + 1)
                .or_else(|| to_come(right, right.clock, right.clock + 1)),
            Kind::Delete => to_come(left, left.clock, left.clock + op.len),
            Kind::DeleteBack => to_come(left, left.clock - (op.len - 1), left.clock + 1),
        }
    }

    /// Client by client, ascending; whatever builds on something that is still to come waits until that is written.
    fn write(mut self) -> Vec<u8> {
        self.ops.clear();
        self.texts.clear();
        let queues = std::mem::take(&mut self.queues);
        let mut written = vec![0; queues.len()];
        let mut waiting = Vec::new();
        let mut is_waiting = vec![false; queues.len()];
        for (_, client) in self.places.iter() {
            waiting.push(client as usize);
            while let Some(client) = waiting.pop() {
                is_waiting[client] = false;
                let next = |client: usize| queues[client].get(written[client]);
                // Not a step further than whoever waits for it needs.
                let is_needed = waiting.last().is_none_or(|client_below| {
                    next(*client_below).and_then(|(op, _)| self.waits_for(op)) == Some(client)
                });
                let Some((op, text)) = next(client).filter(|_| is_needed) else {
                    continue;
                };
                if let Some(other) = self.waits_for(op) {
                    is_waiting[client] = true;
                    waiting.push(client);
                    waiting.push(other);
                    if is_waiting[other] {
                        // Whoever waits in a circle, or for one, goes last.
                        waiting.clear();
                    }
                    continue;
                }
                self.soon[client] = op.clock + op.len;
                self.ops.push(*op);
                self.texts.push(text);
                written[client] += 1;
                waiting.push(client);
            }
        }
        // Only malformed updates wait for one another in a circle; they are to be refused.
        for (_, client) in self.places.iter() {
            let client = client as usize;
            for (op, text) in queues[client].iter().skip(written[client]) {
                self.ops.push(*op);
                self.texts.push(text);
            }
        }
        let author = self
            .ops
            .first()
            .map_or(Client::new(0), |op| self.names[op.author as usize]);
        let names = &self.names;
        let clients = tabled(&mut self.ops, author, 1, &|place| names[place as usize]);
        let mut out = Vec::new();
        wire::encode_merged(&clients, &self.ops, &self.texts, &mut out);
        out
    }
}
