//! What is in a room's log of each client that numbers its operations, and what it had seen.
//!
//! A client's operations reach the log in the order of their numbers, so the last one says of every
//! other whether it is new. Of the last [`OPS_REMEMBERED`] of each client the Seqs are known too: a
//! client that did not hear of its ack sends them again, and gets the same answer.
//!
//! The table is a fold of the log. It is bounded: past [`CLIENT_RUNS`] the clients that wrote longest
//! ago are forgotten, and then a stranger may be one of them.
//!
//! ```text
//! table   complete u8, clients varUint, then for each by id:
//!           id varUint | last Seq varUint | base varUint, 0 for none, else + 1
//!           | runs varUint, then each: first operation varUint, first Seq varUint, count varUint
//! ```

use std::collections::{HashMap, VecDeque};

use protocol::{OpId, Seq};

use crate::limits::{CLIENT_RUNS, OPS_REMEMBERED};

/// The clients of one room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clients {
    map: HashMap<u64, Client>,
    /// How many runs there are, all clients together.
    runs: usize,
    /// Whether every client of the room is here.
    complete: bool,
}

/// What is known of one client.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Client {
    /// The Seq of its last operation.
    pub seq: Seq,
    /// The last Seq that it had seen when it wrote that, if it said so.
    pub base: Option<Seq>,
    /// Operations with consecutive numbers and Seqs, oldest first.
    runs: VecDeque<OpRun>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct OpRun {
    op: u64,
    seq: Seq,
    count: u64,
}

/// What the log holds of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// It is not there.
    New,
    /// It has this Seq.
    At(Seq),
    /// The client's later operations are there. This one was left out, or is so old that its Seq is
    /// no longer remembered.
    Passed,
    /// The client is not known, and may have been forgotten.
    Perhaps,
}

impl Client {
    /// The number of its last operation; 0 before the first.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.runs.back().map_or(0, |run| run.op + run.count - 1)
    }

    fn find(&self, op: u64) -> Known {
        if op > self.last() {
            return Known::New;
        }
        let after = self.runs.partition_point(|run| run.op <= op);
        let run = after.checked_sub(1).and_then(|at| self.runs.get(at));
        match run {
            Some(run) if op - run.op < run.count => {
                Known::At(Seq::new(run.seq.get() + op - run.op))
            }
            _ => Known::Passed,
        }
    }

    /// Gives by how many runs it has grown, or shrunk.
    fn take(&mut self, op: u64, seq: Seq, base: Option<Seq>) -> isize {
        let before = self.runs.len() as isize;
        self.seq = seq;
        self.base = base;
        match self.runs.back_mut() {
            Some(run) if run.op + run.count == op && run.seq.get() + run.count == seq.get() => {
                run.count += 1;
            }
            _ => self.runs.push_back(OpRun { op, seq, count: 1 }),
        }
        while let Some(oldest) = self.runs.front()
            && oldest.op + oldest.count + OPS_REMEMBERED <= op
        {
            self.runs.pop_front();
        }
        self.runs.len() as isize - before
    }
}

impl Clients {
    /// Before a room's first record, if `complete`; else of a room of which the first records are
    /// not to be had.
    #[must_use]
    pub fn none(complete: bool) -> Self {
        Self {
            map: HashMap::new(),
            runs: 0,
            complete,
        }
    }

    /// What is known of a client.
    #[must_use]
    pub fn get(&self, client: u64) -> Option<&Client> {
        self.map.get(&client)
    }

    /// About how many bytes it takes in memory.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.map.len() * CLIENT_BYTES + self.runs * size_of::<OpRun>()
    }

    /// Every client and what is known of it, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Client)> {
        self.map.iter().map(|(id, client)| (*id, client))
    }

    /// Whether every client of the room is here; else some were forgotten, or are before the first
    /// record that is to be had.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.complete
    }

    /// What the log holds of an operation.
    #[must_use]
    pub fn find(&self, id: OpId) -> Known {
        match self.map.get(&id.client()) {
            Some(client) => client.find(id.number()),
            None if self.complete => Known::New,
            None => Known::Perhaps,
        }
    }

    /// Folds in that an operation has been given a Seq.
    pub fn take(&mut self, id: OpId, seq: Seq, base: Option<Seq>) {
        let client = self.map.entry(id.client()).or_default();
        let grown = client.take(id.number(), seq, base);
        self.runs = self.runs.saturating_add_signed(grown);
        if self.runs > CLIENT_RUNS {
            self.forget();
        }
    }

    /// Forgets the clients that wrote longest ago, until a quarter of the space is free.
    fn forget(&mut self) {
        let mut by_age: Vec<(Seq, u64)> = self.map.iter().map(|(id, c)| (c.seq, *id)).collect();
        by_age.sort_unstable();
        for (_, id) in by_age {
            if self.runs <= CLIENT_RUNS / 4 * 3 || self.map.len() == 1 {
                return;
            }
            if let Some(client) = self.map.remove(&id) {
                self.runs -= client.runs.len();
                self.complete = false;
            }
        }
    }

    /// The table's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut ids: Vec<u64> = self.map.keys().copied().collect();
        ids.sort_unstable();
        let mut out = vec![u8::from(self.complete)];
        put(&mut out, ids.len() as u64);
        for id in ids {
            let client = &self.map[&id];
            put(&mut out, id);
            put(&mut out, client.seq.get());
            put(
                &mut out,
                client.base.map_or(0, |base| base.get().saturating_add(1)),
            );
            put(&mut out, client.runs.len() as u64);
            for run in &client.runs {
                put(&mut out, run.op);
                put(&mut out, run.seq.get());
                put(&mut out, run.count);
            }
        }
        out
    }

    /// Reads a table; `None` if the bytes are not one.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (complete, mut rest) = bytes.split_first()?;
        let mut table = Self::none(match complete {
            0 => false,
            1 => true,
            _ => return None,
        });
        // Counts are claims until what they count has been read: nothing is set aside for them.
        for _ in 0..take(&mut rest)? {
            let id = take(&mut rest)?;
            let seq = Seq::new(take(&mut rest)?);
            let base = take(&mut rest)?.checked_sub(1).map(Seq::new);
            let mut runs: VecDeque<OpRun> = VecDeque::new();
            for _ in 0..take(&mut rest)? {
                let [op, seq, count] = [take(&mut rest)?, take(&mut rest)?, take(&mut rest)?];
                let end = op.checked_add(count).filter(|_| op > 0 && count > 0)?;
                seq.checked_add(count).filter(|_| seq > 0)?;
                if runs.back().is_some_and(|run| run.op + run.count > op) || end == u64::MAX {
                    return None;
                }
                let seq = Seq::new(seq);
                runs.push_back(OpRun { op, seq, count });
            }
            table.runs += runs.len();
            let client = Client { seq, base, runs };
            if client.runs.is_empty() || table.map.insert(id, client).is_some() {
                return None;
            }
        }
        (rest.is_empty() && table.runs <= CLIENT_RUNS).then_some(table)
    }
}

/// What a client takes beside its runs.
const CLIENT_BYTES: usize = 96;

fn put(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn take(rest: &mut &[u8]) -> Option<u64> {
    let mut n = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        let bits = u64::from(byte & 0x7f);
        if bits << shift >> shift != bits {
            return None;
        }
        n |= bits << shift;
        if *byte < 0x80 {
            return Some(n);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use protocol::ClientId;

    use super::*;

    fn op(client: u64, number: u64) -> OpId {
        OpId::of_client(ClientId::new(client).unwrap(), number)
    }

    #[test]
    fn an_operation_is_new_once() {
        let mut clients = Clients::none(true);
        assert_eq!(clients.find(op(7, 1)), Known::New);
        clients.take(op(7, 1), Seq::new(3), None);
        clients.take(op(7, 2), Seq::new(4), Some(Seq::new(3)));
        clients.take(op(8, 1), Seq::new(5), None);
        clients.take(op(7, 5), Seq::new(6), Some(Seq::new(5)));
        for (id, known) in [
            (op(7, 1), Known::At(Seq::new(3))),
            (op(7, 2), Known::At(Seq::new(4))),
            (op(7, 3), Known::Passed),
            (op(7, 5), Known::At(Seq::new(6))),
            (op(7, 6), Known::New),
            (op(8, 1), Known::At(Seq::new(5))),
            (op(9, 1), Known::New),
        ] {
            assert_eq!(clients.find(id), known, "{id}");
        }
        assert_eq!(clients.get(7).unwrap().last(), 5);
        assert_eq!(clients.get(7).unwrap().base, Some(Seq::new(5)));
        assert_eq!(Clients::none(false).find(op(9, 1)), Known::Perhaps);
    }

    #[test]
    fn a_table_is_read_as_it_was_written() {
        let mut clients = Clients::none(true);
        for n in 1..2_000u64 {
            clients.take(
                op(1 + n % 7 * n % 50, n),
                Seq::new(n * 2),
                (n % 3 == 0).then(|| Seq::new(n)),
            );
        }
        let bytes = clients.encode();
        assert_eq!(Clients::decode(&bytes).as_ref(), Some(&clients));
        for end in 0..bytes.len() {
            assert_eq!(Clients::decode(&bytes[..end]), None, "cut at {end}");
        }
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 0x81;
            assert_ne!(Clients::decode(&bad).as_ref(), Some(&clients), "byte {at}");
        }
    }

    #[test]
    fn it_is_bounded_and_says_whom_it_may_have_forgotten() {
        let mut clients = Clients::none(true);
        let count = CLIENT_RUNS as u64 + 10;
        for n in 1..=count {
            clients.take(op(n, 1), Seq::new(n), None);
        }
        assert!(clients.runs <= CLIENT_RUNS);
        assert_eq!(
            clients.runs,
            clients.map.values().map(|c| c.runs.len()).sum::<usize>()
        );
        assert_eq!(clients.find(op(1, 1)), Known::Perhaps);
        assert_eq!(clients.find(op(count, 1)), Known::At(Seq::new(count)));

        // One client whose operations never touch each other is bounded by how far back it goes.
        let mut one = Clients::none(true);
        for n in 1..10_000u64 {
            one.take(op(1, n * 2), Seq::new(n * 3), None);
        }
        assert!(one.runs as u64 <= OPS_REMEMBERED / 2 + 1);
        assert_eq!(one.find(op(1, 2)), Known::Passed);
    }
}
