//! Who comes in, and what they may do.
//!
//! ```text
//!  token ─▶ believed? ─▶ Grant ─▶ rule::decide(grant, action, room, access of its space) ─▶ yes, or Denied
//!             │                        ▲
//!           BadToken             revoked meanwhile?          Ticket: ends a session with its token
//! ```
//!
//! Every dialect, transport and route asks the same [`rule`]. A request carries a [`Caller`](caller::Caller) from the
//! first moment on: what its tokens said, and nothing of the tokens themselves.
//!
//! | module | holds |
//! | --- | --- |
//! | [`caller`] | who sent a request: tokens are found, believed or not, and taken out of the address |
//! | [`jwks`] | sets of keys in files and behind URLs, read again when they change |
//! | [`keys`] | keys that tokens are checked with |
//! | [`networks`] | from where somebody comes in without a token |
//! | [`origin`] | which pages may speak to a space |
//! | [`pattern`] | which rooms a token is for |
//! | [`revoked`] | tokens that have been taken back |
//! | [`rule`] | the table of roles and actions |
//! | [`tickets`] | sessions and their tokens |
//! | [`token`] | what a token says, and how one is made |

pub mod caller;
mod crypto;
pub mod jwks;
pub mod keys;
pub mod networks;
pub mod origin;
pub mod pattern;
pub mod revoked;
pub mod rule;
#[cfg(test)]
mod tests;
pub mod tickets;
pub mod token;

use std::sync::Arc;

use parking_lot::RwLock;
use protocol::RoomName;

use jwks::Jwks;
use keys::{KeySet, VerifyKey};
use revoked::{Revocation, Revocations, RevokeError};
use tickets::{Ticket, Tickets};
use token::{Audience, BadToken, Grant, SigningKey};

/// What a configuration says of tokens.
#[derive(Debug, Clone)]
pub struct Auth {
    /// Keys that are given once: secrets and public keys.
    pub keys: Vec<VerifyKey>,
    /// Keys that are looked up.
    pub jwks: Option<Jwks>,
    /// Who tokens must be for.
    pub audience: Audience,
    /// What signs the tokens that the server makes, if it makes any.
    pub signing: Option<SigningKey>,
}

impl Auth {
    /// No keys: no token is believed, and none is made.
    #[must_use]
    pub fn none() -> Self {
        Self {
            keys: Vec::new(),
            jwks: None,
            audience: Audience::configured(None),
            signing: None,
        }
    }
}

/// Believes tokens, remembers which have been taken back, and ends sessions with their tokens.
#[derive(Debug)]
pub struct Keeper {
    auth: RwLock<Arc<Auth>>,
    keys: RwLock<Arc<KeySet>>,
    revocations: Revocations,
    tickets: Arc<Tickets>,
}

impl Keeper {
    /// A keeper with the keys of `auth`.
    #[must_use]
    pub fn new(auth: Auth, revocations: Revocations) -> Self {
        let keys = KeySet::new(auth.keys.clone(), auth.audience.clone());
        let keeper = Self {
            auth: RwLock::new(Arc::new(auth)),
            keys: RwLock::new(Arc::new(keys)),
            revocations,
            tickets: Arc::default(),
        };
        keeper.gather_keys();
        keeper
    }

    /// Goes on with other keys. Sessions that are there stay until their tokens expire.
    pub fn reload(&self, auth: Auth) {
        *self.auth.write() = Arc::new(auth);
        self.gather_keys();
    }

    /// Puts together the keys that are given and those that have been looked up.
    fn gather_keys(&self) {
        let auth = Arc::clone(&self.auth.read());
        let mut keys = auth.keys.clone();
        if let Some(jwks) = &auth.jwks {
            keys.extend(jwks.keys());
        }
        *self.keys.write() = Arc::new(KeySet::new(keys, auth.audience.clone()));
    }

    /// Looks sets of keys up again when they are due, and ends sessions when their tokens expire. Never
    /// returns. `now` gives seconds since the Unix epoch.
    pub async fn watch(&self, now: impl Fn() -> f64) {
        tokio::join!(self.tickets.watch(now), self.watch_keys());
    }

    async fn watch_keys(&self) {
        loop {
            let jwks = self.auth.read().jwks.clone();
            match jwks {
                Some(jwks) => {
                    if jwks.until_changed().await {
                        self.gather_keys();
                    }
                }
                None => tokio::time::sleep(jwks::FILE_CHECK).await,
            }
        }
    }

    /// Whether a token is believed at `now`, in seconds since the Unix epoch.
    ///
    /// # Errors
    /// [`BadToken`] says why not.
    pub fn believe(&self, token: &str, now: u64) -> Result<Arc<Grant>, BadToken> {
        let keys = Arc::clone(&self.keys.read());
        let grant = token::verify(&keys, token, now).map_err(|bad| match bad {
            // Its key may be one that has only just been published.
            BadToken::Signature if self.asks_for(&keys, token) => BadToken::KeyPending,
            bad => bad,
        })?;
        if self.revocations.covers(&grant, None) {
            return Err(BadToken::Revoked);
        }
        Ok(Arc::new(grant))
    }

    /// Whether the token names a key that nobody knows, and it is worth to look for it now.
    fn asks_for(&self, keys: &KeySet, token: &str) -> bool {
        let auth = self.auth.read();
        let Some(jwks) = &auth.jwks else {
            return false;
        };
        let Ok(header) = jsonwebtoken::decode_header(token) else {
            return false;
        };
        let id = header.kid.as_deref();
        id.is_some() && !keys.knows(header.alg, id) && jwks.look_now()
    }

    /// Whether a token has been taken back in a room.
    #[must_use]
    pub fn is_revoked(&self, grant: &Grant, room: &RoomName) -> bool {
        self.revocations.covers(grant, Some(room))
    }

    /// A ticket for a session of this token.
    #[must_use]
    pub fn issue(&self, grant: &Arc<Grant>, room: Option<RoomName>) -> Ticket {
        self.tickets.issue(Arc::clone(grant), room)
    }

    /// Takes tokens back: none of them is believed any more, and the sessions they let in end. Gives how
    /// many those are. Waits for the disk.
    ///
    /// # Errors
    /// [`RevokeError`] says why the revocation does not stand.
    pub fn revoke(&self, revocation: &Revocation) -> Result<usize, RevokeError> {
        self.revocations.add(revocation.clone())?;
        Ok(self.tickets.revoke(revocation))
    }

    /// What signs the tokens that the server makes.
    #[must_use]
    pub fn signing(&self) -> Option<SigningKey> {
        self.auth.read().signing.clone()
    }

    /// Who those tokens are for.
    #[must_use]
    pub fn audience(&self) -> String {
        self.auth.read().audience.name().to_owned()
    }
}
