//! Who sent a request.
//!
//! Tokens come in `Authorization: Bearer …` and in the query, `?token=…`; the `well` dialect carries one
//! in its Hello. Each is taken off where it comes in, so that no address that is logged holds one.

use std::net::IpAddr;
use std::sync::Arc;

use axum::http::{HeaderMap, Uri, header};
use percent_encoding::percent_decode_str;
use protocol::{CloseCode, RoomName};

use super::origin::Origin;
use super::rule::Denied;
use super::token::{BadToken, Grant};
use crate::quota::visitors::TooMany;

/// Who sent a request: the holder of a token, somebody without one, or somebody with one that is not
/// believed, who is nobody.
#[derive(Debug, Clone)]
pub struct Caller {
    grant: Result<Option<Arc<Grant>>, BadToken>,
    address: Option<IpAddr>,
    origin: Option<Origin>,
}

/// Why somebody may not do what they ask for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Their token is not believed.
    #[error(transparent)]
    Token(#[from] BadToken),
    /// What they are does not suffice.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The space is not configured.
    #[error("the space {0:?} is not configured on this server")]
    NoSpace(String),
    /// Their page may not.
    #[error("pages of {0} may not speak to this space; its `origins` say which may")]
    Origin(String),
    /// They have no token, and their network is one that then does not come in.
    #[error("a token is needed from {0}: its network is not let in without one")]
    Network(IpAddr),
    /// It is too much from their address.
    #[error(transparent)]
    TooMany(#[from] TooMany),
    /// The room is not there, and its space has no place for another.
    #[error("{0}")]
    Full(String),
    /// Whether the room exists cannot be said now.
    #[error("whether {room} exists cannot be said now: {why}")]
    Unknown {
        /// The room.
        room: RoomName,
        /// Why not.
        why: String,
    },
}

impl Refusal {
    /// How a socket is closed for it.
    #[must_use]
    pub const fn close_code(&self) -> CloseCode {
        match self {
            Self::Token(BadToken::KeyPending) | Self::Full(_) | Self::Unknown { .. } => {
                CloseCode::TryLater
            }
            Self::Token(_) => CloseCode::Unauthenticated,
            Self::Denied(denied) => denied.close_code(),
            Self::NoSpace(_) => CloseCode::NoRoom,
            Self::Origin(_) | Self::Network(_) => CloseCode::Forbidden,
            Self::TooMany(_) => CloseCode::OverQuota,
        }
    }
}

impl Caller {
    /// Somebody without a token.
    pub const ANYONE: Self = Self {
        grant: Ok(None),
        address: None,
        origin: None,
    };

    /// The holder of these tokens, which are the same if they are several; `believe` says what each is
    /// worth.
    pub fn of<'a>(
        tokens: impl IntoIterator<Item = std::borrow::Cow<'a, str>>,
        believe: impl Fn(&str) -> Result<Arc<Grant>, BadToken>,
    ) -> Self {
        let mut tokens = tokens.into_iter();
        let grant = match tokens.next() {
            None => Ok(None),
            Some(first) if tokens.all(|token| token == first) => believe(&first).map(Some),
            Some(_) => Err(BadToken::Several),
        };
        Self {
            grant,
            ..Self::ANYONE
        }
    }

    /// The same, from this address, in a page of this origin.
    #[must_use]
    pub fn at(self, address: Option<IpAddr>, origin: Option<Origin>) -> Self {
        Self {
            address,
            origin,
            ..self
        }
    }

    /// The origin of their page, if they are in a browser.
    #[must_use]
    pub const fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    /// The address by which they are counted, if it is known.
    #[must_use]
    pub const fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// What they hold; nothing for somebody without a token.
    ///
    /// # Errors
    /// [`BadToken`] if their token is not believed.
    pub fn grant(&self) -> Result<Option<&Arc<Grant>>, BadToken> {
        self.grant
            .as_ref()
            .map(Option::as_ref)
            .map_err(Clone::clone)
    }

    /// Whether they came with a token, good or bad.
    #[must_use]
    pub const fn has_token(&self) -> bool {
        !matches!(self.grant, Ok(None))
    }
}

/// The tokens of a request.
pub fn tokens_of<'a>(
    headers: &'a HeaderMap,
    query: &'a str,
) -> impl Iterator<Item = std::borrow::Cow<'a, str>> {
    let in_headers = headers.get_all(header::AUTHORIZATION).iter();
    let in_headers = in_headers.filter_map(|value| {
        let (scheme, token) = value.to_str().ok()?.trim().split_once(' ')?;
        let bearer = scheme.eq_ignore_ascii_case("bearer");
        bearer.then(|| token.trim().into())
    });
    in_headers.chain(parameters(query).filter_map(token_of))
}

/// The same address without the tokens in its query; `None` if there are none.
#[must_use]
pub fn without_tokens(uri: &Uri) -> Option<Uri> {
    let query = uri.query()?;
    parameters(query).find_map(token_of)?;
    let kept: Vec<&str> = parameters(query)
        .filter(|it| token_of(it).is_none())
        .collect();
    let kept = kept.join("&");
    let path = uri.path();
    let bare = if kept.is_empty() {
        path.to_owned()
    } else {
        format!("{path}?{kept}")
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(bare.parse().ok()?);
    Uri::from_parts(parts).ok()
}

/// As [`protocol::Role::from_query`] parts them.
fn parameters(query: &str) -> impl Iterator<Item = &str> {
    query.split(['&', ';', '?', '#'])
}

/// The token of one `key=value`, if it is one: however the key is spelt, it is not overlooked.
fn token_of(parameter: &str) -> Option<std::borrow::Cow<'_, str>> {
    let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
    let key = percent_decode_str(key).decode_utf8_lossy();
    key.trim()
        .eq_ignore_ascii_case("token")
        .then(|| percent_decode_str(value).decode_utf8_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(authorization: &[&str], query: &str) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for value in authorization {
            headers.append(header::AUTHORIZATION, value.parse().unwrap());
        }
        tokens_of(&headers, query)
            .map(std::borrow::Cow::into_owned)
            .collect()
    }

    #[test]
    fn tokens_are_found_wherever_they_are() {
        assert_eq!(found(&["Bearer a.b.c"], ""), ["a.b.c"]);
        assert_eq!(found(&["bearer  a"], "x=1&token=b"), ["a", "b"]);
        assert_eq!(found(&["Basic dXNlcjpwdw=="], "role=viewer"), [""; 0]);
        assert_eq!(found(&[], "token=a&token=b"), ["a", "b"]);
        assert_eq!(found(&[], "%74oken=a%2Eb;TOKEN=c"), ["a.b", "c"]);
        assert_eq!(found(&[], "token"), [""], "an empty token is one");
    }

    #[test]
    fn an_address_is_left_without_tokens() {
        for (uri, bare) in [
            ("/pit/a?token=x", Some("/pit/a")),
            (
                "/pit/a?role=viewer&token=x&y=1",
                Some("/pit/a?role=viewer&y=1"),
            ),
            ("/pit/a?%54oken=x", Some("/pit/a")),
            ("/pit/a?role=viewer", None),
            ("/pit/a", None),
        ] {
            let uri: Uri = uri.parse().unwrap();
            assert_eq!(without_tokens(&uri), bare.map(|bare| bare.parse().unwrap()));
        }
    }

    #[test]
    fn tokens_that_differ_are_worth_nothing() {
        let believe = |_: &str| Err(BadToken::Signature);
        let caller = Caller::of(["a".into(), "b".into()], believe);
        assert_eq!(caller.grant(), Err(BadToken::Several));
        let caller = Caller::of(["a".into(), "a".into()], believe);
        assert_eq!(caller.grant(), Err(BadToken::Signature));
        assert_eq!(Caller::of([], believe).grant(), Ok(None));
    }
}
