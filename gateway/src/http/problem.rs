//! Errors over HTTP: RFC 9457 problem documents with a stable `code`.
//!
//! Every refusal of the API is made here, so that a status, its code and its words agree.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use broker::RoomError;
use protocol::envelope::Damage;
use protocol::ids::NameError;
use protocol::{CloseCode, RoomName, Seq};
use replay::{DocumentError, FoldError, MomentError, StretchError};
use serde::Serialize;
use storage::ReadError;
use storage::archive::ArchiveError;

use crate::access::caller::Refusal;
use crate::access::revoked::RevokeError;
use crate::access::rule::Denied;
use crate::access::token::{BadToken, SigningError};
use crate::budget::UsedUp;
use crate::quota::visitors::seconds_up;
use crate::talk::mount::Refused;

/// What went wrong, for a person and for a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// What identifies the kind of problem; `about:blank` means that `title` says it all.
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    detail: String,
    code: &'static str,
    /// In seconds, as the header of this name.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, title: &'static str, detail: String) -> Self {
        Self {
            kind: "about:blank",
            title,
            status: status.as_u16(),
            detail,
            code,
            retry_after: (status == StatusCode::SERVICE_UNAVAILABLE).then_some(1),
        }
    }

    /// 400: a path or query that does not say what it must.
    #[must_use]
    pub fn bad_request(detail: String) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "bad_request",
            "The request is malformed",
            detail,
        )
    }

    /// 404: no route.
    #[must_use]
    pub fn no_route(path: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "no_route",
            "There is nothing at this address",
            format!("{path} is not an address of this server"),
        )
    }

    /// 404: WebTransport is not served, and why.
    #[must_use]
    pub fn no_webtransport(why: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "no_webtransport",
            "WebTransport is not served here",
            format!("{why}; connect over WebSocket"),
        )
    }

    /// 404: the room may be there, and is not loaded.
    #[must_use]
    pub fn not_loaded(room: &RoomName) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not_loaded",
            "The room is not loaded",
            format!(
                "nobody is in {room}, so nothing goes on there; it is loaded when somebody comes"
            ),
        )
    }

    /// 404: the server does not measure what it does.
    #[must_use]
    pub fn not_observed() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not_observed",
            "Nothing is measured here",
            "the server was started with `observe = false`; without that it tells how it works"
                .to_owned(),
        )
    }

    /// 404: no room, or a deleted one.
    #[must_use]
    pub fn no_room(room: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "no_room",
            "There is no such room",
            format!("{room} does not exist or has been deleted"),
        )
    }

    /// 404: a space that is not configured.
    #[must_use]
    pub fn no_space(space: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "no_space",
            "There is no such space",
            format!("the space {space:?} is not configured on this server"),
        )
    }

    /// 409: a new room would have the name of one that is, or was.
    #[must_use]
    pub fn room_exists(room: &str) -> Self {
        Self::new(
            StatusCode::CONFLICT,
            "room_exists",
            "There is such a room already",
            format!("{room} exists, or has existed; choose another name"),
        )
    }

    /// 409: a text for a room that holds none.
    #[must_use]
    pub fn not_text(room: &str) -> Self {
        Self::new(
            StatusCode::CONFLICT,
            "not_text",
            "The room holds no text",
            format!("{room} is not in a space of kind \"text\", so a text cannot be put into it"),
        )
    }

    /// 409: a Yjs session for a room of another kind, and why there is none.
    #[must_use]
    pub fn not_yjs(why: &str) -> Self {
        Self::new(
            StatusCode::CONFLICT,
            "not_yjs",
            "The room holds no Yjs document",
            why.to_owned(),
        )
    }

    /// 410: a fork of an opaque room that begins after a Seq.
    #[must_use]
    pub fn forked_from(room: &RoomName, start: Seq) -> Self {
        Self::new(
            StatusCode::GONE,
            "trimmed",
            "The records have been trimmed",
            format!(
                "the history of {room} begins after seq {start}, and an opaque document cannot be \
                 forked without its first records"
            ),
        )
    }

    /// 412: the room is not where the client takes it to be.
    #[must_use]
    pub fn moved_on(room: &str, seq: Seq) -> Self {
        Self::new(
            StatusCode::PRECONDITION_FAILED,
            "moved_on",
            "The room has moved on",
            format!("{room} is at seq {seq}; read it again, and put what is then to be written"),
        )
    }

    /// 413: a body over its bound.
    #[must_use]
    pub fn too_large(limit: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            "The body is too large",
            format!("a body has at most {limit} bytes here"),
        )
    }

    /// 415: a body of another kind.
    #[must_use]
    pub fn media_type(detail: String) -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "media_type",
            "The body is of another kind",
            detail,
        )
    }

    /// 503: the server ends.
    #[must_use]
    pub fn restarting() -> Self {
        Self::from(ReadError::Closed)
    }

    /// 500: a stored record is damaged.
    #[must_use]
    pub fn damaged(room: &RoomName, seq: Seq, damage: Damage) -> Self {
        Self::from(ReadError::Damaged {
            room: room.clone(),
            seq,
            damage,
        })
    }

    /// 405.
    #[must_use]
    pub fn method(method: &str, path: &str) -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            "The address does not know this method",
            format!("{method} is not possible on {path}"),
        )
    }

    /// 403: a token beyond the one it is made with.
    #[must_use]
    pub fn beyond(detail: String) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "forbidden",
            "That is not allowed",
            detail,
        )
    }

    /// 501: the server makes no tokens.
    #[must_use]
    pub fn no_signing_key() -> Self {
        Self::new(
            StatusCode::NOT_IMPLEMENTED,
            "no_signing_key",
            "This server makes no tokens",
            "[auth] names no secret and no signing_key; tokens are made where its keys are"
                .to_owned(),
        )
    }

    /// 500: the server's key does not sign.
    #[must_use]
    pub fn cannot_sign(error: &SigningError) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "cannot_sign",
            "The token could not be made",
            error.to_string(),
        )
    }

    /// 503: a revocation does not stand.
    #[must_use]
    pub fn not_revoked(error: &RevokeError) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "not_revoked",
            "The tokens are still good",
            match error {
                RevokeError::Full => error.to_string(),
                // Where is the operator's business.
                RevokeError::NotKept { error, .. } => {
                    format!("the revocation could not be kept: {error}")
                }
            },
        )
    }

    /// 422: the configuration is not what it must be; the one before stays.
    #[must_use]
    pub fn not_reloaded(why: String) -> Self {
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "not_reloaded",
            "The configuration could not be read again, and the one before stays",
            why,
        )
    }

    /// How a socket is closed that asked for this: permanently (44xx), unless coming back may help.
    pub(crate) fn refusal(&self) -> Refused {
        let code = match self.status {
            401 => CloseCode::Unauthenticated,
            403 => CloseCode::Forbidden,
            404 => CloseCode::NoRoom,
            409 | 410 => CloseCode::Conflict,
            429 => CloseCode::OverQuota,
            400..=499 => CloseCode::BadMessage,
            503 => CloseCode::TryLater,
            _ => CloseCode::Internal,
        };
        (code, self.detail.clone())
    }

    /// 426: the address speaks WebSocket only.
    #[must_use]
    pub fn upgrade_required(detail: String) -> Self {
        Self::new(
            StatusCode::UPGRADE_REQUIRED,
            "upgrade_required",
            "This address speaks WebSocket",
            detail,
        )
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let detail = refusal.to_string();
        let (status, code, title) = match &refusal {
            Refusal::Token(BadToken::KeyPending) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "key_pending",
                "The token's key is being looked up",
            ),
            Refusal::Token(bad) => {
                let code = match bad {
                    BadToken::Expired => "token_expired",
                    BadToken::Revoked => "token_revoked",
                    _ => "bad_token",
                };
                (StatusCode::UNAUTHORIZED, code, "The token is not believed")
            }
            Refusal::Denied(
                Denied::NoToken { .. } | Denied::NoAdminToken | Denied::NoObserverToken,
            ) => (StatusCode::UNAUTHORIZED, "no_token", "A token is needed"),
            Refusal::Denied(Denied::NoRoom { .. }) => {
                (StatusCode::NOT_FOUND, "no_room", "There is no such room")
            }
            Refusal::Denied(_) => (StatusCode::FORBIDDEN, "forbidden", "That is not allowed"),
            Refusal::Origin(_) => (StatusCode::FORBIDDEN, "origin", "This page may not"),
            Refusal::Network(_) => (
                StatusCode::FORBIDDEN,
                "network",
                "A token is needed from this network",
            ),
            Refusal::NoSpace(space) => return Self::no_space(space),
            Refusal::TooMany(many) => {
                let mut problem = Self::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    "too_many",
                    "Too much from this address",
                    detail,
                );
                problem.retry_after = many.after.map(seconds_up);
                return problem;
            }
            Refusal::Full(_) => (StatusCode::SERVICE_UNAVAILABLE, "full", "The space is full"),
            Refusal::Unknown { .. } => (
                StatusCode::SERVICE_UNAVAILABLE,
                "log_unreadable",
                "The log cannot be read",
            ),
        };
        Self::new(status, code, title, detail)
    }
}

impl From<NameError> for Problem {
    fn from(error: NameError) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "bad_room_name",
            "That cannot be a room's name",
            error.to_string(),
        )
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        let (status, code, title) = match error {
            ReadError::Trimmed { .. } => {
                (StatusCode::GONE, "trimmed", "The records have been trimmed")
            }
            ReadError::Damaged { .. } => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "damaged",
                "A stored record is damaged",
            ),
            ReadError::Io(_) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "log_unreadable",
                "The log cannot be read",
            ),
            ReadError::Closed => (
                StatusCode::SERVICE_UNAVAILABLE,
                "restarting",
                "The server is restarting",
            ),
        };
        Self::new(status, code, title, error.to_string())
    }
}

impl From<MomentError> for Problem {
    fn from(error: MomentError) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "bad_moment",
            "That names no moment",
            error.to_string(),
        )
    }
}

impl From<StretchError> for Problem {
    fn from(error: StretchError) -> Self {
        match error {
            StretchError::Moment(error) => error.into(),
            StretchError::Backwards => Self::bad_request(error.to_string()),
            StretchError::Fold(error) => error.into(),
        }
    }
}

impl From<DocumentError> for Problem {
    fn from(error: DocumentError) -> Self {
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "not_possible",
            "The document cannot do that",
            error.to_string(),
        )
    }
}

impl From<ArchiveError> for Problem {
    fn from(error: ArchiveError) -> Self {
        let (status, code, title) = match error {
            ArchiveError::Trimmed { .. } => {
                (StatusCode::GONE, "trimmed", "The records have been trimmed")
            }
            ArchiveError::Damaged { .. }
            | ArchiveError::Missing { .. }
            | ArchiveError::Unreadable { .. } => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "damaged",
                "The archive is damaged",
            ),
            _ => (
                StatusCode::SERVICE_UNAVAILABLE,
                "archive_unreadable",
                "The archive cannot be read",
            ),
        };
        Self::new(status, code, title, error.to_string())
    }
}

impl From<FoldError> for Problem {
    fn from(error: FoldError) -> Self {
        match error {
            FoldError::Read(error) => error.into(),
            FoldError::Archive(error) => error.into(),
            FoldError::Stopped => Self::restarting(),
            FoldError::Damaged { .. } | FoldError::Refused { .. } => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "damaged",
                "A stored record is damaged",
                error.to_string(),
            ),
        }
    }
}

impl From<UsedUp> for Problem {
    fn from(_: UsedUp) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "past_full",
            "Too much of the past is being read",
            "others are using the memory that reading the past may take; try again".to_owned(),
        )
    }
}

impl From<RoomError> for Problem {
    fn from(error: RoomError) -> Self {
        let (status, code, title) = match error {
            RoomError::NoRoom => (StatusCode::NOT_FOUND, "no_room", "There is no such room"),
            RoomError::Log(_) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "log_failed",
                "The room's log failed",
            ),
            RoomError::Ending => (
                StatusCode::SERVICE_UNAVAILABLE,
                "restarting",
                "The room is closing",
            ),
            RoomError::InUse => (StatusCode::CONFLICT, "in_use", "Somebody is in the room"),
            RoomError::Exists => (
                StatusCode::CONFLICT,
                "room_exists",
                "There is such a room already",
            ),
            RoomError::Moved(_) => (
                StatusCode::PRECONDITION_FAILED,
                "moved_on",
                "The room has moved on",
            ),
            RoomError::Refused(_) => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "not_possible",
                "The document cannot do that",
            ),
            RoomError::Spent(_) => (
                StatusCode::TOO_MANY_REQUESTS,
                "spent",
                "There is no more this month",
            ),
            RoomError::Full(_) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "full",
                "The server is full",
            ),
        };
        let mut problem = Self::new(status, code, title, error.to_string());
        if let RoomError::Spent(refusal) = &error {
            problem.retry_after = refusal.retry_after().map(seconds_up);
        }
        problem
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let (code, retry_after) = (self.code, self.retry_after);
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        let problem = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, problem);
        if status == StatusCode::UNAUTHORIZED {
            // RFC 6750, section 3.
            let challenge = match code {
                "no_token" => "Bearer realm=\"well\"",
                _ => "Bearer realm=\"well\", error=\"invalid_token\"",
            };
            let challenge = HeaderValue::from_static(challenge);
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
