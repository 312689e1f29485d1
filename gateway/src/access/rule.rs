//! Who may do what: one rule for every dialect, transport and route.

use protocol::{CloseCode, Role, RoomName};
use schemars::JsonSchema;
use serde::Deserialize;

use super::token::Grant;

/// What somebody wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// See a room, as it is or was, and be seen in it.
    Read,
    /// Add to a room's log.
    Write,
    /// Begin a room that is not there.
    Create,
    /// Set a room back to a moment.
    Restore,
    /// Delete a room.
    Delete,
    /// Make tokens for a room, and take them back.
    Share,
    /// Unload a room, see who is in it.
    Manage,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 7] = [
        Self::Read,
        Self::Write,
        Self::Create,
        Self::Restore,
        Self::Delete,
        Self::Share,
        Self::Manage,
    ];

    /// The least role that may.
    #[must_use]
    pub const fn least_role(self) -> Role {
        match self {
            Self::Read => Role::Viewer,
            Self::Write | Self::Create => Role::Editor,
            Self::Restore | Self::Delete | Self::Share => Role::Creator,
            Self::Manage => Role::Admin,
        }
    }

    const fn verb(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write to",
            Self::Create => "create",
            Self::Restore => "restore",
            Self::Delete => "delete",
            Self::Share => "share",
            Self::Manage => "manage",
        }
    }
}

/// Who gets into a space without a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Anyone, as a creator.
    #[default]
    Open,
    /// Anyone, as a viewer of rooms that exist; the rest needs a token.
    CreateWithToken,
    /// Nobody.
    Token,
}

/// Why not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// It takes a token, and there was none.
    #[error("a token is needed to {} {room}", action.verb())]
    NoToken {
        /// What was wanted.
        action: Action,
        /// Of which room.
        room: RoomName,
    },
    /// The token is for other rooms.
    #[error("the token is not for {room}")]
    OtherRoom {
        /// Which room was wanted.
        room: RoomName,
    },
    /// The token's role does not suffice.
    #[error("a token of role {} is needed to {} {room}, and this one is of role {has}", action.least_role(), action.verb())]
    Role {
        /// What was wanted.
        action: Action,
        /// Of which room.
        room: RoomName,
        /// The role that the token gives.
        has: Role,
    },
    /// It takes an admin's token, and there was none.
    #[error("an admin's token is needed")]
    NoAdminToken,
    /// It takes a token that lets somebody see the Observatory, and there was none.
    #[error("a token of role observer or admin is needed")]
    NoObserverToken,
    /// The token does not let its holder see the Observatory.
    #[error("a token of role observer or admin for */* is needed, and this one is of role {has}")]
    NotObserver {
        /// The role that the token gives.
        has: Role,
    },
    /// The token is no admin's.
    #[error("an admin's token is needed, and this one is of role {has}")]
    NotAdmin {
        /// The role that the token gives.
        has: Role,
    },
    /// The token is not for everything.
    #[error("the token is for some rooms, and one for */* is needed")]
    NotAll,
    /// Whoever has no token sees only rooms that exist.
    #[error("{room} does not exist, and a token is needed to create it")]
    NoRoom {
        /// Which room was wanted.
        room: RoomName,
    },
}

impl Denied {
    /// How a socket is closed for it.
    #[must_use]
    pub const fn close_code(&self) -> CloseCode {
        match self {
            Self::NoToken { .. } | Self::NoAdminToken | Self::NoObserverToken => {
                CloseCode::Unauthenticated
            }
            Self::OtherRoom { .. }
            | Self::Role { .. }
            | Self::NotObserver { .. }
            | Self::NotAdmin { .. }
            | Self::NotAll => CloseCode::Forbidden,
            Self::NoRoom { .. } => CloseCode::NoRoom,
        }
    }
}

/// Whether the holder of `grant`, or somebody without a token, may do `action` to `room`, which lies in
/// a space of `access` and exists or not.
///
/// A token is taken at its word, also where none is needed: a viewer's token makes a viewer, and one for
/// other rooms makes nobody.
///
/// # Errors
/// [`Denied`] says why not.
pub fn decide(
    grant: Option<&Grant>,
    action: Action,
    room: &RoomName,
    access: Access,
    exists: bool,
) -> Result<(), Denied> {
    let room = room.clone();
    let has = match (grant, access) {
        (Some(grant), _) if grant.covers(&room) => grant.role(),
        (Some(_), _) => return Err(Denied::OtherRoom { room }),
        (None, Access::Open) => Role::Creator,
        (None, Access::CreateWithToken) if exists => Role::Viewer,
        (None, Access::CreateWithToken) if action == Action::Read => {
            return Err(Denied::NoRoom { room });
        }
        (None, Access::CreateWithToken | Access::Token) => {
            return Err(Denied::NoToken { action, room });
        }
    };
    if has >= action.least_role() {
        Ok(())
    } else if grant.is_none() {
        Err(Denied::NoToken { action, room })
    } else {
        Err(Denied::Role { action, room, has })
    }
}

/// The admin's token of somebody who wants what no room's name says; one for `*/*` if `all`.
///
/// # Errors
/// [`Denied`] if they have none.
pub fn admin(grant: Option<&Grant>, all: bool) -> Result<&Grant, Denied> {
    let grant = grant.ok_or(Denied::NoAdminToken)?;
    if grant.role() < Role::Admin {
        return Err(Denied::NotAdmin { has: grant.role() });
    }
    if all && !grant.covers_all() {
        return Err(Denied::NotAll);
    }
    Ok(grant)
}

/// Whether the holder of `grant` may see the Observatory: an admin or an observer, for `*/*`.
///
/// # Errors
/// [`Denied`] says why not.
pub fn observer(grant: Option<&Grant>) -> Result<(), Denied> {
    let grant = grant.ok_or(Denied::NoObserverToken)?;
    match grant.role() {
        Role::Observer | Role::Admin if grant.covers_all() => Ok(()),
        Role::Observer | Role::Admin => Err(Denied::NotAll),
        has @ (Role::Viewer | Role::Editor | Role::Creator) => Err(Denied::NotObserver { has }),
    }
}

/// Whether a room stands in the list for somebody. Without a token only those of open spaces do: a room's
/// name is what others get in by.
#[must_use]
pub fn lists(grant: Option<&Grant>, room: &RoomName, access: Access) -> bool {
    grant.map_or(access == Access::Open, |grant| {
        grant.role() >= Role::Viewer && grant.covers(room)
    })
}

/// What a session that wants to be `wanted` is in a room: that, or the most it may be. One that may not
/// write what does not exist watches it.
///
/// # Errors
/// [`Denied`] if it may not even read.
pub fn session_role(
    grant: Option<&Grant>,
    wanted: Role,
    room: &RoomName,
    access: Access,
    exists: bool,
) -> Result<Role, Denied> {
    let may = |action| decide(grant, action, room, access, exists);
    may(Action::Read)?;
    let writes = may(Action::Write).is_ok() && (exists || may(Action::Create).is_ok());
    let most = if !writes {
        Role::Viewer
    } else if may(Action::Delete).is_ok() {
        Role::Creator
    } else {
        Role::Editor
    };
    Ok(wanted.min(most))
}
