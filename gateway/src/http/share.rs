//! `…/tokens`: tokens for one room, made by whoever may share it, and taken back.
//!
//! A token that is made here is narrower than the one it is made with: for this room, of no higher role,
//! and valid for no longer. It signs nothing new in: the key is the server's (`[auth]`).

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use protocol::{Role, Timestamp, UserId};
use serde::Deserialize;
use serde_json::json;

use super::problem::Problem;
use super::rooms::{RoomPath, room_of};
use crate::Gateway;
use crate::access::caller::Caller;
use crate::access::pattern::Pattern;
use crate::access::revoked::{Revocation, Revoked};
use crate::access::token::Minted;
use crate::audit::What;
use crate::limits::{TOKEN_TIME, TOKEN_TIME_MAX};
use crate::quota::TokenLimits;

/// What a token is to be.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    role: String,
    /// A time as people write it (`"1h"`), or seconds; a week unless said.
    ttl: Option<Ttl>,
    sub: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Ttl {
    Seconds(u64),
    Words(String),
}

impl Ttl {
    fn seconds(self) -> Result<u64, Problem> {
        let seconds = match self {
            Self::Seconds(seconds) => seconds,
            Self::Words(words) => humantime::parse_duration(&words)
                .map_err(|_| Problem::bad_request("ttl is a time like \"1h\", or seconds".into()))?
                .as_secs(),
        };
        let most = TOKEN_TIME_MAX.as_secs();
        if (1..=most).contains(&seconds) {
            Ok(seconds)
        } else {
            let detail = format!("ttl is 1 to {most} seconds");
            Err(Problem::bad_request(detail))
        }
    }
}

/// `POST …/tokens` with `{"role", "ttl"?, "sub"?}`.
pub(crate) async fn mint(
    State(gateway): State<Gateway>,
    Extension(caller): Extension<Caller>,
    path: RoomPath,
    bytes: Bytes,
) -> Result<Response, Problem> {
    let room = room_of(&gateway, path)?;
    let wanted: Wanted = serde_json::from_slice(&bytes).map_err(|error| {
        Problem::bad_request(format!("the body is not what it must be: {error}"))
    })?;
    // Who shares a room shares nothing of the Observatory.
    let of_rooms = Role::parse(&wanted.role).filter(|role| *role >= Role::Viewer);
    let role = of_rooms.ok_or_else(|| {
        Problem::bad_request("role is viewer, editor, creator or admin".to_owned())
    })?;
    let grant = caller
        .grant()
        .map_err(crate::access::caller::Refusal::from)?;
    let own = grant.map_or(Role::Creator, |grant| grant.role());
    if role > own {
        return Err(Problem::beyond(format!(
            "a token of role {own} makes none of role {role}"
        )));
    }
    let sub = wanted.sub.as_deref().map(UserId::new).transpose();
    let sub = sub.map_err(|error| Problem::bad_request(format!("sub: {error}")))?;
    let ttl = wanted.ttl.map_or(Ok(TOKEN_TIME.as_secs()), Ttl::seconds)?;
    let now = gateway.wall_seconds();
    let expires = now.saturating_add(ttl);
    let expires = grant.map_or(expires, |grant| expires.min(grant.expires()));
    let id = getrandom::u64().and_then(|high| Ok((high, getrandom::u64()?)));
    let (high, low) = id.map_err(|error| {
        Problem::from(broker::RoomError::Log(format!("no randomness: {error}")))
    })?;
    let minted = Minted {
        room: vec![Pattern::of_room(room.clone())],
        role,
        iat: now,
        exp: expires,
        aud: gateway.keeper().audience(),
        jti: format!("{high:016x}{low:016x}"),
        sub: sub.as_ref().map(|sub| sub.as_str().to_owned()),
        // Whom it is given to writes at the same cost, and has no more.
        tenant: grant.and_then(|grant| Some(grant.tenant()?.to_string())),
        limits: grant.map_or_else(TokenLimits::default, |grant| *grant.limits()),
    };
    let signing = gateway
        .keeper()
        .signing()
        .ok_or_else(Problem::no_signing_key)?;
    let token = signing
        .mint(&minted)
        .map_err(|error| Problem::cannot_sign(&error))?;
    tracing::info!(%room, %role, jti = minted.jti, "a token was made");
    let view = json!({
        "token": token,
        "jti": minted.jti,
        "room": room.as_str(),
        "role": role.to_string(),
        "expires_at": Timestamp::from_micros(expires.saturating_mul(1_000_000)).to_string(),
    });
    Ok((StatusCode::CREATED, Json(view)).into_response())
}

/// `DELETE …/tokens/{jti}`: a token is not believed in this room any more, and the sessions it let in
/// end.
pub(crate) async fn take_back(
    State(gateway): State<Gateway>,
    Extension(caller): Extension<Caller>,
    Path((space, name, jti)): Path<(String, String, String)>,
) -> Result<Response, Problem> {
    let room = gateway.room(&space, &name)?;
    let detail = format!("jti {jti}");
    let revocation = Revocation {
        what: Revoked::Jti(jti),
        within: vec![Pattern::of_room(room.clone())],
        at: gateway.wall_seconds(),
    };
    let ended = super::admin::revoked(&gateway, revocation).await?;
    gateway.note(What::Revoke, &caller, Some(&room), Some(&detail));
    Ok(Json(json!({ "ended": ended })).into_response())
}
