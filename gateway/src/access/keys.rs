//! The keys that tokens are checked with.

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};

use super::token::Audience;

/// The most keys in one set: every one of a kind is tried for a token that names none.
pub const MAX_KEYS: usize = 64;
/// A secret should have as many bytes as the hash of HS256 (RFC 7518, section 3.2); one with less can
/// be guessed by trying.
pub const STRONG_SECRET_BYTES: usize = 32;
/// The largest file or answer with keys, in bytes.
pub const MAX_JWKS_BYTES: usize = 256 << 10;

/// Keys, each with the one algorithm that it is for, and who tokens must be for.
#[derive(Debug, Clone)]
pub struct KeySet {
    keys: Vec<VerifyKey>,
    audience: Audience,
}

/// A key that tokens are checked with.
#[derive(Debug, Clone)]
pub struct VerifyKey {
    pub(super) key: DecodingKey,
    algorithm: Algorithm,
    id: Option<String>,
}

/// What cannot be a key, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KeyError(String);

impl VerifyKey {
    /// A secret, for HS256.
    ///
    /// # Errors
    /// If it is empty.
    pub fn from_secret(secret: &[u8]) -> Result<Self, KeyError> {
        let key = DecodingKey::from_secret(secret);
        Ok(Self {
            key: key.map_err(|_| KeyError("the secret is empty".to_owned()))?,
            algorithm: Algorithm::HS256,
            id: None,
        })
    }

    /// A public key in PEM: Ed25519 for EdDSA, or P-256 for ES256.
    ///
    /// # Errors
    /// If it is neither.
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let wrong = || {
            let why = "it is no public key in PEM (\"BEGIN PUBLIC KEY\"), Ed25519 or P-256";
            KeyError(why.to_owned())
        };
        if pem.windows(11).any(|part| part == b"PRIVATE KEY") {
            let why = "it holds a private key; the server needs only the public one";
            return Err(KeyError(why.to_owned()));
        }
        let (key, algorithm) = DecodingKey::from_ed_pem(pem)
            .map(|key| (key, Algorithm::EdDSA))
            .or_else(|_| DecodingKey::from_ec_pem(pem).map(|key| (key, Algorithm::ES256)))
            .map_err(|_| wrong())?;
        let len = key.try_get_as_bytes().map_err(|_| wrong())?.len();
        let expected = if algorithm == Algorithm::EdDSA {
            32
        } else {
            65
        };
        if len != expected {
            return Err(wrong());
        }
        Ok(Self {
            key,
            algorithm,
            id: None,
        })
    }

    /// The public half of a key that signs.
    pub(super) fn of_public_half(algorithm: Algorithm, public: &[u8]) -> Self {
        let key = match algorithm {
            Algorithm::EdDSA => DecodingKey::from_ed_der(public),
            _ => DecodingKey::from_ec_der(public),
        };
        Self {
            key,
            algorithm,
            id: None,
        }
    }

    /// A key of a JSON Web Key Set; `None` if it is not one that tokens are checked with here: only
    /// public keys are taken from a set, Ed25519 and P-256.
    fn from_jwk(jwk: &Jwk) -> Option<Self> {
        if (jwk.common.public_key_use.as_ref()).is_some_and(|is| *is != PublicKeyUse::Signature) {
            return None;
        }
        let algorithm = match &jwk.algorithm {
            AlgorithmParameters::EllipticCurve(it) if it.curve == EllipticCurve::P256 => {
                Algorithm::ES256
            }
            AlgorithmParameters::OctetKeyPair(it) if it.curve == EllipticCurve::Ed25519 => {
                Algorithm::EdDSA
            }
            _ => return None,
        };
        let named = jwk.common.key_algorithm.map(Algorithm::try_from);
        if named.is_some_and(|named| !named.is_ok_and(|named| named == algorithm)) {
            return None;
        }
        Some(Self {
            key: DecodingKey::from_jwk(jwk).ok()?,
            algorithm,
            id: jwk.common.key_id.clone(),
        })
    }
}

/// The keys of a JSON Web Key Set (RFC 7517). Those of other kinds are left out.
///
/// # Errors
/// If it is no such set, or holds too many.
pub fn from_jwks(json: &[u8]) -> Result<Vec<VerifyKey>, KeyError> {
    let set: JwkSet = serde_json::from_slice(json)
        .map_err(|error| KeyError(format!("it is no JSON Web Key Set: {error}")))?;
    if set.keys.len() > MAX_KEYS {
        return Err(KeyError(format!("it holds more than {MAX_KEYS} keys")));
    }
    Ok(set.keys.iter().filter_map(VerifyKey::from_jwk).collect())
}

impl KeySet {
    /// A set of keys, for tokens of this audience.
    #[must_use]
    pub const fn new(keys: Vec<VerifyKey>, audience: Audience) -> Self {
        Self { keys, audience }
    }

    /// Who tokens must be for.
    #[must_use]
    pub const fn audience(&self) -> &Audience {
        &self.audience
    }

    /// Whether there is any key.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The keys that may have signed a token with this header: those of its algorithm, and of its key
    /// id where both the token and the key have one.
    pub(super) fn candidates<'a>(
        &'a self,
        algorithm: Algorithm,
        id: Option<&'a str>,
    ) -> impl Iterator<Item = &'a VerifyKey> {
        self.keys.iter().filter(move |key| {
            let same = |named: &String| id.is_none_or(|id| id == named);
            key.algorithm == algorithm && key.id.as_ref().is_none_or(same)
        })
    }

    /// Whether a key of this algorithm and id is among them.
    pub(super) fn knows(&self, algorithm: Algorithm, id: Option<&str>) -> bool {
        self.candidates(algorithm, id).next().is_some()
    }
}
