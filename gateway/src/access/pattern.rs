//! Which rooms a token is for.

use std::fmt;

use protocol::RoomName;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A set of rooms, as tokens name them:
///
/// | pattern | rooms |
/// | --- | --- |
/// | `space/name` | that one |
/// | `space/prefix*` | those of the space whose names begin so |
/// | `space/*` | all of the space |
/// | `*/*` | all |
///
/// Names are compared byte by byte, and may hold `/`. A `*` stands nowhere else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(Inner);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Inner {
    All,
    Space(String),
    Prefix { space: String, prefix: String },
    Room(RoomName),
}

/// What cannot be a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no room pattern; there are space/name, space/prefix*, space/* and */*")]
pub struct PatternError(String);

impl Pattern {
    /// Every room.
    pub const ALL: Self = Self(Inner::All);

    /// Parses a pattern.
    ///
    /// # Errors
    /// If it is none.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let wrong = || PatternError(protocol::close::bounded(text, 64).to_owned());
        if text == "*/*" {
            return Ok(Self::ALL);
        }
        let (space, name) = text.split_once('/').ok_or_else(wrong)?;
        let Some(prefix) = name.strip_suffix('*') else {
            if name.contains('*') {
                return Err(wrong());
            }
            let room = RoomName::new(space, name).map_err(|_| wrong())?;
            return Ok(Self(Inner::Room(room)));
        };
        // A valid name of that space begins so.
        let probe = if prefix.is_empty() { "x" } else { prefix };
        if prefix.contains('*') || RoomName::new(space, probe).is_err() {
            return Err(wrong());
        }
        let space = space.to_owned();
        Ok(Self(if prefix.is_empty() {
            Inner::Space(space)
        } else {
            let prefix = prefix.to_owned();
            Inner::Prefix { space, prefix }
        }))
    }

    /// The pattern of one room.
    #[must_use]
    pub const fn of_room(room: RoomName) -> Self {
        Self(Inner::Room(room))
    }

    /// Whether a room is among them.
    #[must_use]
    pub fn covers(&self, room: &RoomName) -> bool {
        match &self.0 {
            Inner::All => true,
            Inner::Space(space) => room.space() == space,
            Inner::Prefix { space, prefix } => {
                room.space() == space && room.name().starts_with(prefix.as_str())
            }
            Inner::Room(only) => only == room,
        }
    }

    /// Whether every room of a space is among them.
    #[must_use]
    pub fn covers_space(&self, space: &str) -> bool {
        match &self.0 {
            Inner::All => true,
            Inner::Space(all) => all == space,
            Inner::Prefix { .. } | Inner::Room(_) => false,
        }
    }

    /// Whether these are all rooms that there can be.
    #[must_use]
    pub const fn is_all(&self) -> bool {
        matches!(self.0, Inner::All)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Inner::All => f.write_str("*/*"),
            Inner::Space(space) => write!(f, "{space}/*"),
            Inner::Prefix { space, prefix } => write!(f, "{space}/{prefix}*"),
            Inner::Room(room) => f.write_str(room.as_str()),
        }
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(pattern: &str, room: &str) -> bool {
        let room = RoomName::parse(room).unwrap();
        Pattern::parse(pattern).unwrap().covers(&room)
    }

    #[test]
    fn a_pattern_covers_what_it_says() {
        for (pattern, room, covered) in [
            ("*/*", "pit/a", true),
            ("pit/*", "pit/a", true),
            ("pit/*", "pit/a/b", true),
            ("pit/*", "pits/a", false),
            ("pit/a", "pit/a", true),
            ("pit/a", "pit/ab", false),
            ("pit/a", "pit/A", false),
            ("pit/a", "doc/a", false),
            ("pit/team-*", "pit/team-a", true),
            ("pit/team-*", "pit/team-a/x", true),
            ("pit/team-*", "pit/team", false),
            ("pit/a/*", "pit/a/b", true),
            ("pit/a/*", "pit/a", false),
            ("pit/\u{e9}*", "pit/\u{e9}t\u{e9}", true),
            // The same letter, composed otherwise, is another name.
            ("pit/\u{e9}*", "pit/e\u{301}te", false),
        ] {
            assert_eq!(covers(pattern, room), covered, "{pattern} {room}");
        }
    }

    #[test]
    fn anything_else_is_no_pattern() {
        for text in [
            "", "*", "/", "pit", "pit/", "/a", "*/a", "*/a*", "pi*/a", "p*/*", "pit/*a", "pit/a*b",
            "pit/**", "pit/*/*", "pit/a**", "**/*", "PIT/a", "pit\\a", "pit/a\0", "pit%2Fa",
            "../pit/a", "pit /a",
        ] {
            assert!(Pattern::parse(text).is_err(), "{text:?}");
        }
        for text in ["*/*", "pit/*", "pit/a", "pit/a*", "pit/a/b*"] {
            assert_eq!(Pattern::parse(text).unwrap().to_string(), text);
        }
    }
}
