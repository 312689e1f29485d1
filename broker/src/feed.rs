//! A room's committed updates, read by cursor.
//!
//! The room publishes one [`Published`] batch for each commit, after it is durable. A reader holds
//! a cursor, a [`Seq`], and takes what lies after it: reading is looking, so a slow reader costs
//! nothing and holds nothing up. The feed keeps a bounded ring; a reader whose cursor has fallen
//! off its end is told so and is brought up to date from the document.
//!
//! Frames are encoded once for each wire format, by the first reader that needs them, and shared.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::Bytes;
use observatory::Owner;
use parking_lot::Mutex;
use protocol::{Author, Head, Seq, SessionId, Timestamp};
use storage::Durable;

use crate::limits::{FEED_BATCHES, FEED_BYTES};
use crate::memory::{Memory, Share};

/// How many wire formats a feed can hold encoded side by side.
pub const WIRES: usize = 4;

/// A wire format: which of a batch's places it encodes into, and how.
#[derive(Debug, Clone, Copy)]
pub struct Wire {
    /// Its place, below [`WIRES`]; each format has its own.
    pub place: usize,
    /// Appends one author's consecutive updates as this format has them on the wire.
    pub encode: fn(stretch: &[Update], out: &mut Vec<u8>),
}

/// One committed update.
#[derive(Debug, Clone)]
pub struct Update {
    /// Its place in the log.
    pub seq: Seq,
    /// When the server took it.
    pub at: Timestamp,
    /// Who sent it; that session need not be told.
    pub author: Author,
    /// The update.
    pub payload: Bytes,
}

/// The updates of one commit.
#[derive(Debug)]
struct Published {
    before: Head,
    last: Head,
    /// Payload bytes.
    bytes: usize,
    /// What it takes in memory, before it is encoded.
    held: usize,
    at: Instant,
    updates: Vec<Update>,
    encoded: [OnceLock<Encoded>; WIRES],
}

/// A batch in one wire format: frames end to end, and where each author's stretch ends.
#[derive(Debug)]
struct Encoded {
    bytes: Bytes,
    stretches: Vec<(SessionId, usize)>,
}

/// What a reader was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// Everything there is after the cursor, up to and with this Seq.
    All(Seq),
    /// Up to and with this Seq; there is more, and the reader has enough for now.
    Some(Seq),
    /// The cursor has fallen off the ring.
    Behind,
}

/// A bounded ring of what a room has committed lately.
#[derive(Debug)]
pub struct Feed {
    ring: Mutex<Ring>,
    memory: Memory,
}

#[derive(Debug)]
struct Ring {
    batches: VecDeque<Arc<Published>>,
    /// Payload bytes.
    bytes: usize,
    held: usize,
    head: Head,
    share: Share,
}

impl Feed {
    /// A feed that begins after `head`, and counts what it holds.
    #[must_use]
    pub fn new(head: Head, memory: Memory) -> Self {
        Self {
            ring: Mutex::new(Ring {
                batches: VecDeque::new(),
                bytes: 0,
                held: 0,
                head,
                share: memory.share(Owner::Feeds),
            }),
            memory,
        }
    }

    /// Moves an empty feed to where its room's log ends.
    pub(crate) fn start_at(&self, head: Head) {
        let mut ring = self.ring.lock();
        debug_assert!(ring.batches.is_empty(), "a feed is moved before it is used");
        ring.head = head;
    }

    /// Lets go of what it holds; readers that had not taken it are brought up to date otherwise.
    pub(crate) fn clear(&self) {
        let mut ring = self.ring.lock();
        ring.batches = VecDeque::new();
        ring.bytes = 0;
        ring.hold(0);
    }

    /// The last published Seq.
    #[must_use]
    pub fn head(&self) -> Seq {
        self.ring.lock().head.seq
    }

    /// Makes a durable commit visible. `updates` may be fewer than its records: room events are
    /// not for the wire. `run_bytes` is what the records take that the payloads are parts of.
    pub fn publish(&self, head: &Durable<Head>, updates: Vec<Update>, run_bytes: usize) {
        let last = *head.get();
        let bytes = updates.iter().map(|update| update.payload.len()).sum();
        let held = size_of::<Published>() + updates.capacity() * size_of::<Update>() + run_bytes;
        let mut ring = self.ring.lock();
        assert!(last.seq > ring.head.seq, "a feed only moves forward");
        let batch = Published {
            before: ring.head,
            last,
            bytes,
            held,
            at: Instant::now(),
            updates,
            encoded: Default::default(),
        };
        ring.head = last;
        ring.batches.push_back(Arc::new(batch));
        ring.bytes += bytes;
        let mut held = ring.held + held;
        while ring.batches.len() > FEED_BATCHES
            || (ring.bytes > FEED_BYTES && ring.batches.len() > 1)
        {
            if let Some(dropped) = ring.batches.pop_front() {
                ring.bytes -= dropped.bytes;
                held -= dropped.held;
            }
        }
        ring.hold(held);
    }

    /// When the server took the record at `cursor`, if everything after that can be taken from here
    /// and nothing before it comes along: a commit ended there.
    #[must_use]
    pub fn time_at(&self, cursor: Seq) -> Option<Timestamp> {
        let ring = self.ring.lock();
        let next = ring.after(cursor)?.next();
        let end = next.map_or(ring.head, |batch| batch.before);
        (end.seq == cursor).then_some(end.at)
    }

    /// When the server took the record at `cursor`, if a commit that is held ends there with an event
    /// of the room.
    #[must_use]
    pub fn event_at(&self, cursor: Seq) -> Option<Timestamp> {
        let ring = self.ring.lock();
        let at = ring.batches.partition_point(|it| it.last.seq < cursor);
        let batch = ring.batches.get(at)?;
        let update = batch.updates.last().map(|update| update.seq);
        (batch.last.seq == cursor && update != Some(cursor)).then_some(batch.last.at)
    }

    /// Appends to `out` the frames after `cursor` that `reader` did not send itself, as far as the
    /// batch that ends with `until`, and stops after `max_bytes`.
    pub fn take(
        &self,
        mut cursor: Seq,
        until: Seq,
        wire: Wire,
        reader: SessionId,
        max_bytes: usize,
        out: &mut Vec<Bytes>,
    ) -> Taken {
        let mut taken = 0;
        loop {
            // One batch at a time: encoding happens outside the lock.
            let (batch, is_last) = {
                let ring = self.ring.lock();
                if cursor >= ring.head.seq.min(until) {
                    return Taken::All(cursor);
                }
                let Some(mut batches) = ring.after(cursor) else {
                    return Taken::Behind;
                };
                let Some(batch) = batches.next() else {
                    return Taken::Behind;
                };
                (Arc::clone(batch), batches.next().is_none())
            };
            taken += batch.frames_for(wire, reader, &self.memory, out);
            let delivery = batch.last.seq.get() ^ reader.get();
            if let Some(count) = observatory::timed_delivery(delivery) {
                observatory::fanned_out(batch.at.elapsed(), count);
            }
            cursor = batch.last.seq;
            if taken >= max_bytes && !is_last {
                return Taken::Some(cursor);
            }
        }
    }
}

impl Ring {
    /// It holds so many bytes now.
    fn hold(&mut self, bytes: usize) {
        self.held = bytes;
        self.share.set(bytes);
    }

    /// The batches that hold something after `cursor`, or `None` if it has fallen off.
    fn after(&self, cursor: Seq) -> Option<impl Iterator<Item = &Arc<Published>>> {
        let oldest = self.batches.front().map_or(self.head, |batch| batch.before);
        if cursor < oldest.seq {
            return None;
        }
        let from = self
            .batches
            .partition_point(|batch| batch.last.seq <= cursor);
        Some(self.batches.range(from..))
    }
}

impl Published {
    fn frames_for(
        &self,
        wire: Wire,
        reader: SessionId,
        memory: &Memory,
        out: &mut Vec<Bytes>,
    ) -> usize {
        let encoded =
            self.encoded[wire.place].get_or_init(|| Encoded::new(&self.updates, wire, memory));
        let mut start = 0;
        let mut taken = 0;
        for &(author, end) in &encoded.stretches {
            if author != reader {
                out.push(encoded.bytes.slice(start..end));
                taken += end - start;
            }
            start = end;
        }
        taken
    }
}

impl Encoded {
    fn new(updates: &[Update], wire: Wire, memory: &Memory) -> Self {
        let payloads: usize = updates.iter().map(|update| update.payload.len()).sum();
        let mut bytes = Vec::with_capacity(payloads + updates.len() * 16);
        let mut stretches: Vec<(SessionId, usize)> = Vec::new();
        for stretch in updates.chunk_by(|a, b| a.author == b.author) {
            (wire.encode)(stretch, &mut bytes);
            let session = stretch[0].author.session;
            match stretches.last_mut() {
                Some((last, end)) if *last == session => *end = bytes.len(),
                _ => stretches.push((session, bytes.len())),
            }
        }
        // Others' stretches around one author's are joined for everyone else only where they
        // touch; that is one more slice in a vectored write, not a copy.
        Self {
            bytes: memory.hold(Owner::Feeds, bytes.into()),
            stretches,
        }
    }
}
