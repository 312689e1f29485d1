//! Which dialect is spoken at an address: the one map of paths, for every transport.
//!
//! A dialect's room stands in the path as the client wrote it, so the path is raw here, and decoded
//! once by the dialect's own rule.

use std::time::Instant;

use broker::{RoomError, Via};
use protocol::{CloseCode, Role, RoomName, SessionId};
use tracing::Span;

use super::yjs::Yjs;
use crate::Gateway;
use crate::access::caller::{Caller, Refusal};
use crate::access::tickets::Ticket;
use crate::admission::Admission;

/// Why a client is closed right after it was let in.
pub(crate) type Refused = (CloseCode, String);

/// What is spoken at an address.
#[derive(Debug)]
pub(crate) enum Mount {
    /// The `yjs` dialect, for one session of one room.
    Yjs(Joining),
    /// The `well` dialect: the client names its rooms in messages.
    Well(Caller),
}

/// A session that is to join a room, and may.
#[derive(Debug)]
pub(crate) struct Joining {
    room: RoomName,
    session: SessionId,
    admission: Admission,
}

/// What is spoken at `path`, for `caller`, who says `query`:
///
/// | path | dialect |
/// | --- | --- |
/// | `/yjs/{space}/{name…}` | `yjs`; everything after the space is the name |
/// | `/pit/{slug}` | `yjs`, in the space `pit` |
/// | `/well` | `well` |
pub(crate) async fn at(
    gateway: &Gateway,
    caller: &Caller,
    path: &str,
    query: &str,
) -> Result<Mount, Refused> {
    if path == "/well" {
        return match caller.grant() {
            Ok(_) => Ok(Mount::Well(caller.clone())),
            Err(bad) => Err(Refusal::from(bad).into()),
        };
    }
    yjs(gateway, caller, path, query).await.map(Mount::Yjs)
}

/// The room of a `yjs` address.
pub(crate) async fn yjs(
    gateway: &Gateway,
    caller: &Caller,
    path: &str,
    query: &str,
) -> Result<Joining, Refused> {
    let room = if let Some(rest) = path.strip_prefix("/yjs/") {
        let (space, name) = rest.split_once('/').unwrap_or((rest, ""));
        gateway.socket_room(space, name)?
    } else if let Some(slug) = path.strip_prefix("/pit/") {
        gateway.socket_room("pit", slug)?
    } else {
        let reason =
            "this address names no room; connect to /yjs/{space}/{name}, /pit/{slug} or /well";
        return Err((CloseCode::NoRoom, reason.to_owned()));
    };
    let wanted = Role::from_query(query);
    let admission = gateway.admit(caller, wanted, &room, false).await?;
    Ok(Joining {
        room,
        session: SessionId::new(random()?.max(1)),
        admission,
    })
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        (refusal.close_code(), refusal.to_string())
    }
}

/// A number that nobody guesses.
pub(crate) fn random() -> Result<u64, Refused> {
    getrandom::u64().map_err(|error| {
        let reason = format!("no randomness: {error}");
        (CloseCode::Internal, reason)
    })
}

impl Joining {
    /// Joins the room like this. The span is the session's.
    pub(crate) fn join(
        self,
        gateway: &Gateway,
        via: Via,
        now: Instant,
    ) -> Result<(Yjs, Span), Refused> {
        let Self {
            room,
            session,
            admission,
        } = self;
        let role = admission.role;
        let user = admission.ticket.as_ref().and_then(Ticket::user);
        let allowance = admission.allowance.clone();
        let joined = gateway
            .broker()
            .join(&room, session, role, user, via, allowance);
        match joined {
            Ok(member) => {
                let span = tracing::debug_span!("session", %room, %session, %role);
                tracing::debug!(parent: &span, "joined");
                Ok((Yjs::new(member, admission, now), span))
            }
            Err(error) => {
                tracing::info!(%room, %session, %error, "a join was refused");
                Err(refusal_of(&error))
            }
        }
    }
}

/// How a client that could not join is closed.
pub(crate) fn refusal_of(error: &RoomError) -> Refused {
    let code = match error {
        RoomError::NoRoom => CloseCode::NoRoom,
        RoomError::Ending => CloseCode::Restart,
        RoomError::Full(_) => CloseCode::TryLater,
        RoomError::Log(_)
        | RoomError::InUse
        | RoomError::Exists
        | RoomError::Moved(_)
        | RoomError::Refused(_) => CloseCode::Internal,
        RoomError::Spent(_) => CloseCode::OverQuota,
    };
    (code, error.to_string())
}
