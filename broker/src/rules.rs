//! What a space asks of its rooms.
//!
//! A room is told its rule when it is loaded, and again when the rules change: it asks nobody while it
//! takes updates.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::RwLock;
use protocol::RoomName;

use crate::usage::Monthly;

/// What one space asks of its rooms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SpaceRule {
    /// The most bytes of a document's encoding with the next update; past it writes are refused and
    /// reads go on.
    pub max_document: Option<usize>,
    /// The most memory of a document; [`Limits::document_bytes`](crate::Limits::document_bytes) unless it
    /// is said.
    pub room_memory: Option<usize>,
    /// The most sessions in a room; [`Limits::sessions_per_room`](crate::Limits::sessions_per_room)
    /// unless it is said.
    pub sessions_per_room: Option<usize>,
    /// What each account of the space may write in a month, unless a token says otherwise.
    pub monthly: Monthly,
    /// Whether binary content is refused.
    pub denies_binary: bool,
    /// What becomes of it once nobody has been in it for a while.
    pub lifetime: Lifetime,
    /// How long that while is; [`Limits::idle_unload`](crate::Limits::idle_unload) unless it is said.
    pub idle: Option<Duration>,
    /// The most rooms that have records here or somebody in them.
    pub max_rooms: Option<usize>,
    /// The most bytes of records that its rooms have here together.
    pub max_total: Option<u64>,
}

/// What becomes of a room once nobody has been in it for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lifetime {
    /// It is unloaded, and loaded when somebody comes.
    #[default]
    Persistent,
    /// It is deleted, and its name is not given again; where there is an archive it leaves this machine
    /// for that instead, and is read from there.
    Expiring,
    /// It is forgotten, its name too. Its log is in memory, and no snapshot is made of it. It must be so
    /// from the start on: a space that has rooms does not become ephemeral, or stop being it.
    Ephemeral,
}

/// The rules by space; one that is not named has the default.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    by_space: RwLock<BTreeMap<String, SpaceRule>>,
}

impl Rules {
    pub(crate) fn set(&self, rules: BTreeMap<String, SpaceRule>) {
        *self.by_space.write() = rules;
    }

    pub(crate) fn all(&self) -> BTreeMap<String, SpaceRule> {
        self.by_space.read().clone()
    }

    pub(crate) fn of(&self, room: &RoomName) -> SpaceRule {
        self.of_space(room.space())
    }

    pub(crate) fn of_space(&self, space: &str) -> SpaceRule {
        let rules = self.by_space.read();
        rules.get(space).copied().unwrap_or_default()
    }
}
