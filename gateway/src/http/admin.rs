//! `/api/v1/admin`: what it takes an admin's token for.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use observatory::{EventKind, Severity};
use protocol::RoomName;
use serde::Deserialize;
use serde_json::json;

use super::problem::Problem;
use crate::Gateway;
use crate::access::caller::{Caller, Refusal};
use crate::access::revoked::{Revocation, Revoked};
use crate::access::rule::{self, Action};
use crate::access::token::MAX_TOKEN_ID_BYTES;
use crate::audit::What;

fn body<'a, T: Deserialize<'a>>(bytes: &'a Bytes) -> Result<T, Problem> {
    serde_json::from_slice(bytes)
        .map_err(|error| Problem::bad_request(format!("the body is not what it must be: {error}")))
}

/// `POST /admin/revoke` with one of `{"jti"}`, `{"sub"}` and `{"room"}`: tokens are not believed any
/// more, in the rooms that the admin's token is for, and the sessions they let in end.
pub(crate) async fn revoke(
    State(gateway): State<Gateway>,
    Extension(caller): Extension<Caller>,
    bytes: Bytes,
) -> Result<Response, Problem> {
    let grant = caller.grant().map_err(Refusal::from)?;
    let admin = rule::admin(grant.map(AsRef::as_ref), false).map_err(Refusal::from)?;
    let what: Revoked = body(&bytes)?;
    match &what {
        Revoked::Room(room) => {
            let room = RoomName::parse(room)?;
            let decided = gateway.authorize(&caller, Action::Manage, &room).await;
            decided?;
        }
        Revoked::Jti(named) | Revoked::Sub(named) => {
            if named.is_empty() || named.len() > MAX_TOKEN_ID_BYTES {
                let detail = format!("jti and sub have 1 to {MAX_TOKEN_ID_BYTES} bytes");
                return Err(Problem::bad_request(detail));
            }
        }
    }
    let revocation = Revocation {
        what: what.clone(),
        within: admin.rooms().to_vec(),
        at: gateway.wall_seconds(),
    };
    let ended = revoked(&gateway, revocation).await?;
    let detail = serde_json::to_string(&what).unwrap_or_default();
    gateway.note(What::Revoke, &caller, None, Some(&detail));
    Ok(Json(json!({ "revoked": what, "ended": ended })).into_response())
}

/// Takes tokens back. Gives how many sessions ended.
pub(super) async fn revoked(gateway: &Gateway, revocation: Revocation) -> Result<usize, Problem> {
    tracing::info!(what = ?revocation.what, within = ?revocation.within, "tokens are revoked");
    let keeper = gateway.clone();
    let revoking = tokio::task::spawn_blocking(move || keeper.keeper().revoke(&revocation));
    let revoked = revoking.await.map_err(|_| Problem::restarting())?;
    revoked.map_err(|error| Problem::not_revoked(&error))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Evict {
    room: String,
}

/// `POST /admin/evict` with `{"room"}`: the room is unloaded, and its members are to come back.
pub(crate) async fn evict(
    State(gateway): State<Gateway>,
    Extension(caller): Extension<Caller>,
    bytes: Bytes,
) -> Result<Response, Problem> {
    let grant = caller.grant().map_err(Refusal::from)?;
    rule::admin(grant.map(AsRef::as_ref), false).map_err(Refusal::from)?;
    let Evict { room } = body(&bytes)?;
    let room = RoomName::parse(&room)?;
    gateway.authorize(&caller, Action::Manage, &room).await?;
    let evicted = gateway.broker().evict(&room);
    if evicted {
        let text = format!("{room} was evicted by an admin");
        observatory::happened(EventKind::Evict, Severity::Info, text);
    }
    gateway.note(What::Evict, &caller, Some(&room), None);
    tracing::info!(%room, evicted, "a room is evicted");
    Ok(Json(json!({ "room": room.as_str(), "evicted": evicted })).into_response())
}

/// `POST /admin/reload`: reads the configuration again, as SIGHUP does.
pub(crate) async fn reload(
    State(gateway): State<Gateway>,
    Extension(caller): Extension<Caller>,
) -> Result<StatusCode, Problem> {
    let grant = caller.grant().map_err(Refusal::from)?;
    rule::admin(grant.map(AsRef::as_ref), true).map_err(Refusal::from)?;
    let reloading = gateway.clone();
    let reloaded = tokio::task::spawn_blocking(move || reloading.reload()).await;
    match reloaded.map_err(|_| Problem::restarting())? {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(why) => Err(Problem::not_reloaded(why)),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Log {
    filter: String,
}

/// `POST /admin/log` with `{"filter"}`: logs this until the configuration is read again.
pub(crate) async fn log(
    State(gateway): State<Gateway>,
    Extension(caller): Extension<Caller>,
    bytes: Bytes,
) -> Result<StatusCode, Problem> {
    let grant = caller.grant().map_err(Refusal::from)?;
    rule::admin(grant.map(AsRef::as_ref), true).map_err(Refusal::from)?;
    let Log { filter } = body(&bytes)?;
    gateway.set_log(&filter).map_err(Problem::bad_request)?;
    gateway.note(What::Log, &caller, None, Some(&filter));
    tracing::info!(filter, "an admin has changed what is logged");
    Ok(StatusCode::NO_CONTENT)
}
