//! What a space asks of its rooms.
//!
//! A room is told its rule when it is loaded, and again when the rules change: it asks nobody while it
//! takes updates.

use std::collections::BTreeMap;

use parking_lot::RwLock;
use protocol::RoomName;

/// What one space asks of each of its rooms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RoomRule {
    /// The most bytes of a document's encoding with the next update; past it writes are refused and
    /// reads go on.
    pub max_document: Option<usize>,
}

/// The rules by space; one that is not named has the default.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    by_space: RwLock<BTreeMap<String, RoomRule>>,
}

impl Rules {
    pub(crate) fn set(&self, rules: BTreeMap<String, RoomRule>) {
        *self.by_space.write() = rules;
    }

    pub(crate) fn of(&self, room: &RoomName) -> RoomRule {
        let rules = self.by_space.read();
        rules.get(room.space()).copied().unwrap_or_default()
    }
}
