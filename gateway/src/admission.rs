//! Whether somebody may, and whether it is not too much: what every way in asks.

use std::sync::Arc;

use broker::Allowance;
use broker::limits::TENANTS;
use protocol::{Role, RoomName};

use crate::access::caller::{Caller, Refusal};
use crate::access::rule::{self, Access, Action};
use crate::access::tickets::Ticket;
use crate::access::token::{BadToken, Grant};
use crate::audit::{Stay, What};
use crate::quota::SpaceLimits;
use crate::quota::meter::Meter;
use crate::quota::visitors::Visit;
use crate::{Gateway, Space};

/// A session that may begin, and what it holds until it ends.
#[derive(Debug)]
pub(crate) struct Admission {
    /// What it is.
    pub(crate) role: Role,
    /// Ends it with its token.
    pub(crate) ticket: Option<Ticket>,
    /// Its connection, counted; nothing if the connection has been counted in this space before.
    pub(crate) visit: Option<Visit>,
    /// The limits of its space, with those of its token in their place.
    pub(crate) limits: SpaceLimits,
    /// What it writes is taken from this; from its space's without.
    pub(crate) allowance: Option<Allowance>,
    /// Writes down that it has left, when it has.
    pub(crate) stay: Option<Stay>,
}

impl Admission {
    /// What its connection may send in its space.
    pub(crate) fn meter(&self) -> Meter {
        Meter::new(&self.limits)
    }
}

#[cfg(test)]
impl Admission {
    /// For who is in already, without limits.
    pub(crate) const fn of_tests() -> Self {
        Self {
            role: Role::Editor,
            ticket: None,
            visit: None,
            limits: SpaceLimits::NONE,
            allowance: None,
            stay: None,
        }
    }
}

impl Gateway {
    /// Who comes with these tokens.
    pub(crate) fn identify<'a>(
        &self,
        tokens: impl IntoIterator<Item = std::borrow::Cow<'a, str>>,
    ) -> Caller {
        let now = self.wall_seconds();
        Caller::of(tokens, |token| self.keeper().believe(token, now))
    }

    /// Whether somebody may do something to a room: the one place where that is asked, for every
    /// dialect, transport and route.
    pub(crate) async fn authorize(
        &self,
        caller: &Caller,
        action: Action,
        room: &RoomName,
    ) -> Result<(), Refusal> {
        let (space, exists) = self.examine(caller, room, false).await?;
        let grant = caller.grant()?.map(AsRef::as_ref);
        Ok(rule::decide(grant, action, room, space.access, exists)?)
    }

    /// The most that a session of somebody would be in a room that exists. Nothing is counted.
    pub(crate) async fn role_in(&self, caller: &Caller, room: &RoomName) -> Result<Role, Refusal> {
        let (space, _) = self.examine(caller, room, false).await?;
        let grant = caller.grant()?.map(AsRef::as_ref);
        Ok(rule::session_role(
            grant,
            Role::Creator,
            room,
            space.access,
            true,
        )?)
    }

    /// Whether a room stands in the list for the holder of `grant`.
    pub(crate) fn lists(&self, grant: Option<&Arc<Grant>>, room: &RoomName) -> bool {
        let Some(space) = self.space(room.space()) else {
            return false;
        };
        let revoked = grant.is_some_and(|grant| self.keeper().is_revoked(grant, room));
        !revoked && rule::lists(grant.map(AsRef::as_ref), room, space.access)
    }

    /// A session in a room, for somebody who comes to it as `wanted`, on a connection that has been
    /// counted in the room's space or not.
    pub(crate) async fn admit(
        &self,
        caller: &Caller,
        wanted: Role,
        room: &RoomName,
        counted: bool,
    ) -> Result<Admission, Refusal> {
        let looks = self.looks_for_new_rooms(room);
        let (space, exists) = self.examine(caller, room, looks).await?;
        let Space { access, limits, .. } = space;
        let grant = caller.grant()?;
        let role = rule::session_role(grant.map(AsRef::as_ref), wanted, room, access, exists)?;
        let ticket = self.ticket(caller, room)?;
        let visit = match caller.address() {
            Some(address) => {
                let visitors = self.visitors();
                let space = room.space();
                let entered = || visitors.enter(address, space, &limits);
                let visit = (!counted).then(entered).transpose()?;
                visitors.join(address, space, &limits)?;
                if !exists {
                    visitors.begin_room(address, space, &limits)?;
                }
                visit
            }
            None => None,
        };
        if !exists {
            self.find_place(room).await?;
            self.note(What::Create, caller, Some(room), None);
        }
        let allowance = self.allowance(caller, room)?;
        let limits = grant.map_or(limits, |grant| limits.with(grant.limits()));
        let stay = self.note_join(caller, room, role);
        Ok(Admission {
            role,
            ticket,
            visit,
            limits,
            allowance,
            stay,
        })
    }

    /// What the caller's records in a room are taken from; nothing for who writes at its space's cost.
    pub(crate) fn allowance(
        &self,
        caller: &Caller,
        room: &RoomName,
    ) -> Result<Option<Allowance>, Refusal> {
        let Some(grant) = caller.grant()? else {
            return Ok(None);
        };
        let usage = self.broker().usage();
        let account = match grant.tenant() {
            Some(tenant) => usage.of_tenant(room.space(), tenant).ok_or_else(|| {
                Refusal::Full(format!("{TENANTS} tenants are counted, as many as may be"))
            })?,
            None => usage.of_space(room.space()),
        };
        let own = grant.limits().monthly();
        Ok(Some(Allowance { account, own }))
    }

    /// What ends that which lasts in a room with the caller's token; nothing for who has none.
    pub(crate) fn ticket(
        &self,
        caller: &Caller,
        room: &RoomName,
    ) -> Result<Option<Ticket>, Refusal> {
        let Some(grant) = caller.grant()? else {
            return Ok(None);
        };
        let ticket = self.keeper().issue(grant, Some(room.clone()));
        // It may have been revoked since it was believed; from here on the ticket hears of that.
        if self.keeper().is_revoked(grant, room) {
            return Err(BadToken::Revoked.into());
        }
        Ok(Some(ticket))
    }

    /// Counts a download of a room's document.
    pub(crate) fn count_download(&self, caller: &Caller, room: &RoomName) -> Result<(), Refusal> {
        let limits = self.limits_of(room)?;
        if let Some(address) = caller.address() {
            let visitors = self.visitors();
            visitors.join(address, room.space(), &limits)?;
        }
        Ok(())
    }

    /// Counts a room that is begun over HTTP and finds a place for it, unless it is there.
    pub(crate) async fn count_new_room(
        &self,
        caller: &Caller,
        room: &RoomName,
    ) -> Result<(), Refusal> {
        let limits = self.limits_of(room)?;
        if !self.looks_for_new_rooms(room) || self.exists(room).await? {
            return Ok(());
        }
        if let Some(address) = caller.address() {
            self.visitors().begin_room(address, room.space(), &limits)?;
        }
        self.find_place(room).await?;
        self.note(What::Create, caller, Some(room), None);
        Ok(())
    }

    /// Whether it matters if a room is new.
    fn looks_for_new_rooms(&self, room: &RoomName) -> bool {
        let limited = |space: Space| space.limits.new_rooms_per_ip_per_hour.is_some();
        self.space(room.space()).is_some_and(limited)
            || self.broker().limits_rooms(room)
            || self.audit().is_some()
    }

    /// Finds a place for a new room in its space.
    async fn find_place(&self, room: &RoomName) -> Result<(), Refusal> {
        let found = self.broker().make_room(room).await;
        let gone = found.map_err(|error| Refusal::Full(error.to_string()))?;
        gone.iter().for_each(|gone| self.note_gone(gone));
        Ok(())
    }

    fn limits_of(&self, room: &RoomName) -> Result<SpaceLimits, Refusal> {
        let space = self.space(room.space());
        let no_space = || Refusal::NoSpace(room.space().to_owned());
        Ok(space.ok_or_else(no_space)?.limits)
    }

    /// A room's space, and whether the room exists: where the rule asks for that, or somebody `looks`.
    async fn examine(
        &self,
        caller: &Caller,
        room: &RoomName,
        looks: bool,
    ) -> Result<(Space, bool), Refusal> {
        let no_space = || Refusal::NoSpace(room.space().to_owned());
        let space = self.space(room.space()).ok_or_else(no_space)?;
        if let Some(origin) = caller.origin()
            && !origin.may(&space.origins, self.is_local())
        {
            return Err(Refusal::Origin(origin.as_str().to_owned()));
        }
        self.check_network(caller)?;
        let grant = caller.grant()?;
        if grant.is_some_and(|grant| self.keeper().is_revoked(grant, room)) {
            return Err(BadToken::Revoked.into());
        }
        let asks = grant.is_none() && space.access == Access::CreateWithToken;
        let exists = !(looks || asks) || self.exists(room).await?;
        Ok((space, exists))
    }

    /// Whether somebody comes in from where they are: whoever has a token does.
    pub(crate) fn check_network(&self, caller: &Caller) -> Result<(), Refusal> {
        match caller.address() {
            Some(address) if !caller.has_token() && !self.networks().admit(address) => {
                Err(Refusal::Network(address))
            }
            _ => Ok(()),
        }
    }

    /// Whether a room has records, in any tier, or somebody is in it.
    async fn exists(&self, room: &RoomName) -> Result<bool, Refusal> {
        if self.broker().info(room).sessions > 0 {
            return Ok(true);
        }
        let span = self.broker().history().span(room).await;
        let span = span.map_err(|error| Refusal::Unknown {
            room: room.clone(),
            why: error.to_string(),
        })?;
        Ok(!span.is_empty())
    }
}
