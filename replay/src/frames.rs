//! Documents of the past, held in memory: what a scrubber dragged over, so that the next moment
//! nearby is a short fold away.
//!
//! A frame is a document as it was after some record. Records never change, so a frame never goes
//! stale; the least lately used ones make way when they take more than their bound together.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use protocol::{Head, RoomName, Seq};

use crate::clients::Clients;
use crate::document::Document;
use crate::fold::{Base, RoomFacts};

/// Frames of all rooms, within a bound.
pub(crate) struct Frames {
    held: Mutex<Held>,
    limit: usize,
}

#[derive(Default)]
struct Held {
    frames: BTreeMap<(RoomName, Seq), Frame>,
    bytes: usize,
    uses: u64,
}

struct Frame {
    head: Head,
    facts: RoomFacts,
    clients: Clients,
    document: Arc<Mutex<Box<dyn Document>>>,
    bytes: usize,
    used: u64,
}

impl Frames {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            held: Mutex::default(),
            limit,
        }
    }

    /// Where the newest frame at or before `up_to` stands.
    pub(crate) fn nearest(&self, room: &RoomName, up_to: Seq) -> Option<Head> {
        let held = self.held.lock();
        held.newest(room, up_to).map(|(_, frame)| frame.head)
    }

    /// A document that remembers what it showed after `seq`, and stands after `start`.
    pub(crate) fn remembering(
        &self,
        room: &RoomName,
        start: Seq,
        seq: Seq,
    ) -> Option<Arc<Mutex<Box<dyn Document>>>> {
        let mut held = self.held.lock();
        held.uses += 1;
        let uses = held.uses;
        let (_, frame) = held.newest(room, Seq::MAX)?;
        if frame.head.seq <= start || frame.head.seq < seq {
            return None;
        }
        let key = (room.clone(), frame.head.seq);
        let frame = held.frames.get_mut(&key)?;
        frame.used = uses;
        Some(Arc::clone(&frame.document))
    }

    /// Forgets a room.
    pub(crate) fn forget(&self, room: &RoomName) {
        let mut held = self.held.lock();
        let of_room = (room.clone(), Seq::ZERO)..=(room.clone(), Seq::MAX);
        let frames = held.frames.range(of_room);
        let frames: Vec<_> = frames.map(|(key, _)| key.clone()).collect();
        for key in frames {
            if let Some(frame) = held.frames.remove(&key) {
                held.bytes -= frame.bytes;
            }
        }
    }

    /// Keeps a document that remembers its past: earlier frames of its room are of no more use.
    pub(crate) fn keep_remembering(
        &self,
        room: &RoomName,
        base: Base,
    ) -> Arc<Mutex<Box<dyn Document>>> {
        let beside = base.clients.memory_bytes() + FRAME_BYTES + room.as_str().len();
        let bytes = base.document.memory_bytes() + beside;
        let document = Arc::new(Mutex::new(base.document));
        let mut held = self.held.lock();
        while let Some(key) = held.newest(room, base.head.seq).map(|(key, _)| key.clone()) {
            held.remove(&key);
        }
        if bytes <= self.limit {
            held.uses += 1;
            let frame = Frame {
                head: base.head,
                facts: base.facts,
                clients: base.clients,
                document: Arc::clone(&document),
                bytes,
                used: held.uses,
            };
            held.insert((room.clone(), base.head.seq), frame);
            held.make_way(self.limit);
        }
        document
    }

    /// A copy of the newest frame at or before `up_to`, to fold on from.
    pub(crate) fn take(&self, room: &RoomName, up_to: Seq) -> Option<Base> {
        let (head, facts, clients, document) = {
            let mut held = self.held.lock();
            let key = held.newest(room, up_to)?.0.clone();
            held.uses += 1;
            let uses = held.uses;
            let frame = held.frames.get_mut(&key)?;
            frame.used = uses;
            let clients = frame.clients.clone();
            let document = Arc::clone(&frame.document);
            (frame.head, frame.facts.clone(), clients, document)
        };
        // Copied with nothing held but the frame: a large one holds up nobody else.
        let document = document.lock().fork();
        Some(Base {
            document,
            head,
            facts,
            clients,
        })
    }

    /// Keeps a copy of a document.
    pub(crate) fn keep(&self, room: &RoomName, base: &Base) {
        let key = (room.clone(), base.head.seq);
        // One that remembers its past is kept once: see `keep_remembering`.
        let remembers = base.document.remembers().is_some();
        let beside = base.clients.memory_bytes() + FRAME_BYTES + room.as_str().len();
        let large = base.document.memory_bytes() + beside > self.limit;
        if remembers || large || self.held.lock().frames.contains_key(&key) {
            return;
        }
        let document = base.document.fork();
        // It has no room to grow, so it takes less than what it is a copy of.
        let bytes = document.memory_bytes() + beside;
        let mut held = self.held.lock();
        held.uses += 1;
        let frame = Frame {
            head: base.head,
            facts: base.facts.clone(),
            clients: base.clients.clone(),
            document: Arc::new(Mutex::new(document)),
            bytes,
            used: held.uses,
        };
        held.insert(key, frame);
        held.make_way(self.limit);
    }

    /// How many bytes they take together.
    pub(crate) fn bytes(&self) -> usize {
        self.held.lock().bytes
    }

    /// The most that they take together.
    pub(crate) const fn limit(&self) -> usize {
        self.limit
    }
}

impl Held {
    fn insert(&mut self, key: (RoomName, Seq), frame: Frame) {
        self.bytes += frame.bytes;
        if let Some(before) = self.frames.insert(key, frame) {
            self.bytes -= before.bytes;
        }
    }

    fn remove(&mut self, key: &(RoomName, Seq)) {
        if let Some(frame) = self.frames.remove(key) {
            self.bytes -= frame.bytes;
        }
    }

    /// Lets go of the least lately used ones.
    fn make_way(&mut self, limit: usize) {
        while self.bytes > limit || self.frames.len() > MAX_FRAMES {
            let oldest = self.frames.iter().min_by_key(|(_, frame)| frame.used);
            let Some(key) = oldest.map(|(key, _)| key.clone()) else {
                break;
            };
            self.remove(&key);
        }
    }

    fn newest(&self, room: &RoomName, up_to: Seq) -> Option<(&(RoomName, Seq), &Frame)> {
        let range = (room.clone(), Seq::ZERO)..=(room.clone(), up_to);
        self.frames.range(range).next_back()
    }
}

/// How many frames there may be, however small.
const MAX_FRAMES: usize = 4096;
/// What a frame takes beside its document.
const FRAME_BYTES: usize = 256;
