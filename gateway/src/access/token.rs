//! What a token says, and whether it is believed.
//!
//! Tokens are JSON Web Tokens (RFC 7519), signed with EdDSA (Ed25519), ES256 or HS256. The library
//! checks signatures; what the claims mean is decided here, with a clock that is handed in.

use std::time::Duration;

use broker::Tenant;
use jsonwebtoken::{Algorithm, EncodingKey, Header, Validation};
use protocol::{Role, RoomName, UserId};
use serde::{Deserialize, Serialize};

use super::crypto;
use super::keys::{KeySet, VerifyKey};
use super::pattern::Pattern;
use crate::quota::TokenLimits;

/// The longest token that is looked at, in bytes.
pub const MAX_TOKEN_BYTES: usize = 8 << 10;
/// The most room patterns in one token.
pub const MAX_PATTERNS: usize = 64;
/// The longest `jti`, in bytes.
pub const MAX_TOKEN_ID_BYTES: usize = 128;
/// How far ahead `nbf` may lie: clocks differ a little. Nothing is valid past its `exp`.
pub const NOT_BEFORE_LEEWAY: Duration = Duration::from_secs(5);
/// Who tokens are for, unless the configuration says otherwise.
pub const AUDIENCE: &str = "well";

/// What a believed token lets its holder do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    role: Role,
    rooms: Vec<Pattern>,
    subject: Option<UserId>,
    id: Option<String>,
    issued: Option<u64>,
    expires: u64,
    tenant: Option<Tenant>,
    limits: TokenLimits,
}

impl Grant {
    /// What the holder is in the rooms that the token is for.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Which rooms the token is for.
    #[must_use]
    pub fn rooms(&self) -> &[Pattern] {
        &self.rooms
    }

    /// Whether the token is for this room.
    #[must_use]
    pub fn covers(&self, room: &RoomName) -> bool {
        self.rooms.iter().any(|pattern| pattern.covers(room))
    }

    /// Whether the token is for every room.
    #[must_use]
    pub fn covers_all(&self) -> bool {
        self.rooms.iter().any(Pattern::is_all)
    }

    /// Who the holder is (`sub`).
    #[must_use]
    pub const fn subject(&self) -> Option<&UserId> {
        self.subject.as_ref()
    }

    /// The token's own name (`jti`).
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// When the token was made (`iat`), in seconds since the Unix epoch.
    #[must_use]
    pub const fn issued(&self) -> Option<u64> {
        self.issued
    }

    /// At whose cost the holder writes (`tenant`).
    #[must_use]
    pub const fn tenant(&self) -> Option<&Tenant> {
        self.tenant.as_ref()
    }

    /// Which limits the holder has of their own (`limits`).
    #[must_use]
    pub const fn limits(&self) -> &TokenLimits {
        &self.limits
    }

    /// From when on the token is nothing (`exp`), in seconds since the Unix epoch.
    #[must_use]
    pub const fn expires(&self) -> u64 {
        self.expires
    }
}

/// Why a token is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadToken {
    /// It is no JSON Web Token, or its claims are not what they must be.
    #[error("the token is malformed: {0}")]
    Malformed(String),
    /// It is signed in a way that is not taken, or asks for keys from elsewhere.
    #[error("the token's header is not taken: {0}")]
    Header(String),
    /// No key of this server has signed it.
    #[error("the token is signed by no key of this server")]
    Signature,
    /// It names a key that is not known yet; the keys are being looked up.
    #[error("the token names a key that this server is looking up; try again in a moment")]
    KeyPending,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// Its time has not come.
    #[error("the token is not valid yet")]
    NotYet,
    /// It is for something else than this server.
    #[error("the token is for another audience")]
    Audience,
    /// It has been revoked.
    #[error("the token has been revoked")]
    Revoked,
    /// Several tokens came, and they differ.
    #[error("several tokens came with this request, and they differ")]
    Several,
}

/// A token's claims as they are written. Times are seconds since the Unix epoch.
#[derive(Debug, Deserialize)]
struct Claims {
    exp: NumericDate,
    nbf: Option<NumericDate>,
    iat: Option<NumericDate>,
    aud: Option<OneOrMore<String>>,
    sub: Option<String>,
    jti: Option<String>,
    room: OneOrMore<Pattern>,
    role: String,
    tenant: Option<String>,
    #[serde(default)]
    limits: TokenLimits,
}

/// RFC 7519 allows fractions of a second; they are cut off where whole seconds are kept.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(transparent)]
struct NumericDate(f64);

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMore<T> {
    One(T),
    More(Vec<T>),
}

impl<T> From<OneOrMore<T>> for Vec<T> {
    fn from(some: OneOrMore<T>) -> Self {
        match some {
            OneOrMore::One(one) => vec![one],
            OneOrMore::More(more) => more,
        }
    }
}

/// Checks a token's signature and claims at `now`, in seconds since the Unix epoch.
///
/// # Errors
/// [`BadToken`] says what is wrong. Nothing of the token is in its words.
pub fn verify(keys: &KeySet, token: &str, now: u64) -> Result<Grant, BadToken> {
    crypto::install();
    if token.len() > MAX_TOKEN_BYTES {
        let why = format!("it is longer than {MAX_TOKEN_BYTES} bytes");
        return Err(BadToken::Malformed(why));
    }
    let header = jsonwebtoken::decode_header(token).map_err(|error| header_fault(&error))?;
    if let Some(field) = foreign(&header) {
        return Err(BadToken::Header(format!("{field} is not taken")));
    }
    let algorithm = header.alg;
    let mut checks = Validation::new(algorithm);
    // Times and audience are checked below, by a clock and rules of our own.
    checks.validate_exp = false;
    checks.validate_nbf = false;
    checks.validate_aud = false;
    checks.required_spec_claims.clear();
    let candidates = keys.candidates(algorithm, header.kid.as_deref());
    for VerifyKey { key, .. } in candidates {
        match jsonwebtoken::decode::<Claims>(token, key, &checks) {
            Ok(data) => return grant(data.claims, keys.audience(), now),
            Err(error) if is_signature(&error) => {}
            Err(error) => return Err(BadToken::Malformed(plain(&error))),
        }
    }
    Err(BadToken::Signature)
}

fn grant(claims: Claims, audience: &Audience, now: u64) -> Result<Grant, BadToken> {
    let malformed = |why: String| BadToken::Malformed(why);
    let now = now as f64;
    let seconds = |date: NumericDate, name: &str| {
        let fits = date.0.is_finite() && (0.0..9e15).contains(&date.0);
        fits.then_some(date.0)
            .ok_or_else(|| BadToken::Malformed(format!("{name} is no time")))
    };
    let expires = seconds(claims.exp, "exp")?;
    if now >= expires {
        return Err(BadToken::Expired);
    }
    if let Some(from) = claims.nbf {
        let from = seconds(from, "nbf")?;
        if now + NOT_BEFORE_LEEWAY.as_secs_f64() < from {
            return Err(BadToken::NotYet);
        }
    }
    let issued = claims.iat.map(|date| seconds(date, "iat")).transpose()?;
    if !audience.takes(claims.aud.map(Vec::from).as_deref()) {
        return Err(BadToken::Audience);
    }
    let role = Role::parse(&claims.role).ok_or_else(|| {
        malformed("role is observer, viewer, editor, creator or admin".to_owned())
    })?;
    let rooms: Vec<Pattern> = claims.room.into();
    if rooms.is_empty() || rooms.len() > MAX_PATTERNS {
        return Err(malformed(format!("room has 1 to {MAX_PATTERNS} patterns")));
    }
    let subject = claims.sub.map(|sub| UserId::new(&sub)).transpose();
    let subject = subject.map_err(|error| malformed(format!("sub: {error}")))?;
    if (claims.jti.as_ref()).is_some_and(|id| id.is_empty() || id.len() > MAX_TOKEN_ID_BYTES) {
        return Err(malformed(format!(
            "jti has 1 to {MAX_TOKEN_ID_BYTES} bytes"
        )));
    }
    let tenant = claims.tenant.map(|tenant| {
        let wrong = || {
            let most = Tenant::MAX_BYTES;
            malformed(format!(
                "tenant has 1 to {most} bytes and no control characters"
            ))
        };
        Tenant::new(&tenant).ok_or_else(wrong)
    });
    Ok(Grant {
        role,
        rooms,
        subject,
        id: claims.jti,
        issued: issued.map(|at| at as u64),
        expires: expires as u64,
        tenant: tenant.transpose()?,
        limits: claims.limits,
    })
}

/// Who tokens must be for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audience {
    name: String,
    /// Whether a token without an audience is refused.
    required: bool,
}

impl Audience {
    /// The audience that a configuration names: each token must say that it is for it. Without one,
    /// only a token that names an audience must name [`AUDIENCE`].
    #[must_use]
    pub fn configured(name: Option<String>) -> Self {
        Self {
            required: name.is_some(),
            name: name.unwrap_or_else(|| AUDIENCE.to_owned()),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    fn takes(&self, said: Option<&[String]>) -> bool {
        said.map_or(!self.required, |said| said.contains(&self.name))
    }
}

/// A header field by which a token says where its key is, or how else it is to be read.
fn foreign(header: &Header) -> Option<&'static str> {
    [
        ("jku", header.jku.is_some()),
        ("jwk", header.jwk.is_some()),
        ("x5u", header.x5u.is_some()),
        ("x5c", header.x5c.is_some()),
        ("crit", header.crit.is_some()),
        ("enc", header.enc.is_some()),
        ("zip", header.zip.is_some()),
    ]
    .into_iter()
    .find_map(|(field, there)| there.then_some(field))
}

fn header_fault(error: &jsonwebtoken::errors::Error) -> BadToken {
    use jsonwebtoken::errors::ErrorKind;
    match error.kind() {
        ErrorKind::InvalidToken | ErrorKind::Base64(_) => {
            BadToken::Malformed("it is no JSON Web Token".to_owned())
        }
        // An algorithm that is none of the library's ends up here, `none` among them.
        _ => BadToken::Header("its algorithm is EdDSA, ES256 or HS256".to_owned()),
    }
}

fn is_signature(error: &jsonwebtoken::errors::Error) -> bool {
    use jsonwebtoken::errors::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::InvalidSignature | ErrorKind::InvalidAlgorithm
    )
}

/// What a library says of claims, without what they held.
fn plain(error: &jsonwebtoken::errors::Error) -> String {
    use jsonwebtoken::errors::ErrorKind;
    match error.kind() {
        ErrorKind::Json(error) if error.is_data() => {
            "it has exp, room and role, each once: room is a pattern like \"pit/*\" or a list of \
             them, and role is observer, viewer, editor, creator or admin; tenant is a string, and \
             limits has positive numbers: updates_per_minute, bytes_per_minute, max_update, \
             records_per_month, bytes_per_month"
                .to_owned()
        }
        ErrorKind::Json(_) => "its claims are no JSON".to_owned(),
        _ => "it is no JSON Web Token".to_owned(),
    }
}

/// A token that is to be made.
#[derive(Debug, Clone, Serialize)]
pub struct Minted {
    /// Which rooms it is for.
    pub room: Vec<Pattern>,
    /// What its holder is there.
    #[serde(serialize_with = "as_text")]
    pub role: Role,
    /// When it was made, in seconds since the Unix epoch.
    pub iat: u64,
    /// From when on it is nothing, in seconds since the Unix epoch.
    pub exp: u64,
    /// Who it is for.
    pub aud: String,
    /// Its own name.
    pub jti: String,
    /// Who its holder is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub: Option<String>,
    /// At whose cost its holder writes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Which limits its holder has of their own.
    #[serde(skip_serializing_if = "is_default")]
    pub limits: TokenLimits,
}

fn is_default(limits: &TokenLimits) -> bool {
    *limits == TokenLimits::default()
}

fn as_text<T: std::fmt::Display, S: serde::Serializer>(
    value: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// A key that signs tokens.
#[derive(Clone)]
pub struct SigningKey {
    key: EncodingKey,
    algorithm: Algorithm,
    verify: VerifyKey,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey")
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// What cannot sign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SigningError(pub(super) String);

impl SigningKey {
    /// A secret, for HS256.
    ///
    /// # Errors
    /// If it is empty.
    pub fn from_secret(secret: &[u8]) -> Result<Self, SigningError> {
        let empty = || SigningError("the secret is empty".to_owned());
        Ok(Self {
            key: EncodingKey::from_secret(secret).map_err(|_| empty())?,
            algorithm: Algorithm::HS256,
            verify: VerifyKey::from_secret(secret).map_err(|_| empty())?,
        })
    }

    /// A private key in PEM (PKCS #8): Ed25519 for EdDSA, or P-256 for ES256.
    ///
    /// # Errors
    /// If it is neither.
    pub fn from_pem(pem: &[u8]) -> Result<Self, SigningError> {
        let wrong = || {
            let why = "a signing key is a private key in PEM (PKCS #8), Ed25519 or P-256";
            SigningError(why.to_owned())
        };
        let found = EncodingKey::from_ed_pem(pem)
            .map(|key| (key, Algorithm::EdDSA))
            .or_else(|_| EncodingKey::from_ec_pem(pem).map(|key| (key, Algorithm::ES256)));
        let (key, algorithm) = found.map_err(|_| wrong())?;
        // A key of another curve shows here.
        let public = crypto::public_half(algorithm, &key).map_err(|_| wrong())?;
        Ok(Self {
            key,
            algorithm,
            verify: VerifyKey::of_public_half(algorithm, &public),
        })
    }

    /// What checks the tokens that this key signs.
    #[must_use]
    pub fn verify_key(&self) -> VerifyKey {
        self.verify.clone()
    }

    /// Signs what a token is to say.
    ///
    /// # Errors
    /// If the key cannot.
    pub fn mint(&self, claims: &Minted) -> Result<String, SigningError> {
        crypto::install();
        jsonwebtoken::encode(&Header::new(self.algorithm), claims, &self.key)
            .map_err(|error| SigningError(format!("the key does not sign: {error}")))
    }
}
