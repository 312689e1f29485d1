//! What a session may do in its room.

use std::fmt;

use percent_encoding::percent_decode_str;

/// What a session may do. Ordered: each role may do what the ones before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Sees how the server works, and nothing of a room. A token's role: no session is one.
    Observer,
    /// Reads, and is seen as present.
    Viewer,
    /// Also writes.
    Editor,
    /// Also deletes, restores and shares.
    Creator,
    /// Also looks after rooms that are others'. A token's role: no session is one.
    Admin,
}

impl Role {
    /// Whether this role may add to the log.
    #[must_use]
    pub const fn can_write(self) -> bool {
        match self {
            Self::Observer | Self::Viewer => false,
            Self::Editor | Self::Creator | Self::Admin => true,
        }
    }

    /// Parses a role's name as it stands in URLs and tokens.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "observer" => Self::Observer,
            "viewer" => Self::Viewer,
            "editor" => Self::Editor,
            "creator" => Self::Creator,
            "admin" => Self::Admin,
            _ => return None,
        })
    }

    /// The role that a URL's query asks for: an editor when it says nothing of one.
    ///
    /// A link that says `role=viewer` anywhere makes a viewer, whatever else it says. So several
    /// roles give the lowest, and only the plain text `role=editor` or `role=creator` gives one
    /// that writes: a role spelt in another way (escapes, capitals, `role[]`, no value) is a
    /// viewer's. A second `?`, `;` and `#` part parameters like `&` does.
    #[must_use]
    pub fn from_query(query: &str) -> Self {
        query
            .split(['&', ';', '?', '#'])
            .filter_map(Self::from_parameter)
            .min()
            .unwrap_or(Self::Editor)
    }

    /// The role of one `key=value`; `None` when it does not speak of a role.
    fn from_parameter(parameter: &str) -> Option<Self> {
        let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        if key == "role" {
            let session =
                Self::parse(value).filter(|role| (Self::Viewer..=Self::Creator).contains(role));
            return Some(session.unwrap_or(Self::Viewer));
        }
        let spaced = key.replace('+', " ");
        let decoded = percent_decode_str(&spaced).decode_utf8_lossy();
        let plain = decoded.trim().to_ascii_lowercase();
        let is_role = plain == "role" || plain.starts_with("role[");
        is_role.then_some(Self::Viewer)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Observer => "observer",
            Self::Viewer => "viewer",
            Self::Editor => "editor",
            Self::Creator => "creator",
            Self::Admin => "admin",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_trick_with_the_role_makes_a_writer() {
        use Role::{Creator, Editor, Viewer};
        for (query, role) in [
            ("", Editor),
            ("token=abc", Editor),
            ("parole=viewer", Editor),
            ("x=role", Editor),
            ("role=editor", Editor),
            ("role=creator", Creator),
            ("x=1&role=creator&y=2", Creator),
            ("role=viewer", Viewer),
            ("role=creator&role=viewer", Viewer),
            ("role=viewer&role=creator", Viewer),
            ("role=creator&role=editor", Editor),
            ("role=editor&role", Viewer),
            ("role", Viewer),
            ("role=", Viewer),
            ("role==editor", Viewer),
            ("role=Editor", Viewer),
            ("role=admin", Viewer),
            ("role=observer", Viewer),
            ("role=%65ditor", Viewer),
            ("role=editor%20", Viewer),
            ("role=editor+", Viewer),
            ("role=creator,viewer", Viewer),
            ("r%6Fle=viewer", Viewer),
            ("r%6Fle=creator", Viewer),
            ("role=creator&r%6fle=editor", Viewer),
            ("ROLE=creator", Viewer),
            ("role=creator&Role=viewer", Viewer),
            ("role[]=creator", Viewer),
            ("role%5B0%5D=creator", Viewer),
            ("+role=creator", Viewer),
            ("role%20=creator", Viewer),
            ("role=creator;role=viewer", Viewer),
            ("role=creator?role=viewer", Viewer),
            ("role=creator#role=viewer", Viewer),
            ("?role=viewer", Viewer),
            ("&&role=viewer&&", Viewer),
            ("role=\u{ff45}ditor", Viewer),
            ("role=viewer%00", Viewer),
        ] {
            assert_eq!(Role::from_query(query), role, "{query}");
        }
    }

    #[test]
    fn only_editors_and_above_write() {
        for (role, writes) in [
            (Role::Observer, false),
            (Role::Viewer, false),
            (Role::Editor, true),
            (Role::Creator, true),
            (Role::Admin, true),
        ] {
            assert_eq!(role.can_write(), writes);
            assert_eq!(Role::parse(&role.to_string()), Some(role));
        }
    }
}
