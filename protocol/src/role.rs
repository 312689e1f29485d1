//! What a session may do in its room.

use std::fmt;

/// What a session may do. Ordered: each role may do what the ones before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Reads, and is seen as present.
    Viewer,
    /// Also writes.
    Editor,
    /// Also deletes and restores.
    Creator,
}

impl Role {
    /// Whether this role may add to the log.
    #[must_use]
    pub const fn can_write(self) -> bool {
        match self {
            Self::Viewer => false,
            Self::Editor | Self::Creator => true,
        }
    }

    /// Parses a role's name as it stands in URLs and tokens.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "viewer" => Self::Viewer,
            "editor" => Self::Editor,
            "creator" => Self::Creator,
            _ => return None,
        })
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Viewer => "viewer",
            Self::Editor => "editor",
            Self::Creator => "creator",
        })
    }
}
