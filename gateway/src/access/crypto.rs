//! Signatures of tokens, by ring: HS256, ES256 and EdDSA (on Ed25519), and nothing else.
//!
//! The JWT library leaves cryptography to a provider. Those that come with it bring RSA and the other
//! algorithms along; this one knows three, so that no setting and no header can choose a fourth. Each
//! takes only its own kind of key.

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::signature::{self, Signer, Verifier};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, EncodingKey};
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair,
    Ed25519KeyPair, KeyPair, UnparsedPublicKey,
};

/// Makes this the process's provider. May be called any number of times.
pub(super) fn install() {
    static PROVIDER: CryptoProvider = CryptoProvider {
        signer_factory: signer,
        verifier_factory: verifier,
        key_utils: KeyUtils::new_unimplemented(),
    };
    // An error says that it has been installed before.
    let _ = PROVIDER.install_default();
}

/// The public half of a private key, as it stands in a key that verifies.
pub(super) fn public_half(algorithm: Algorithm, key: &EncodingKey) -> Result<Vec<u8>, Error> {
    let bytes = key.as_bytes();
    match algorithm {
        Algorithm::ES256 => {
            let random = SystemRandom::new();
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, bytes, &random);
            let pair = pair.map_err(|_| ErrorKind::InvalidEcdsaKey)?;
            Ok(pair.public_key().as_ref().to_vec())
        }
        Algorithm::EdDSA => {
            let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(bytes);
            let pair = pair.map_err(|_| ErrorKind::InvalidEddsaKey)?;
            Ok(pair.public_key().as_ref().to_vec())
        }
        _ => Err(ErrorKind::InvalidAlgorithm.into()),
    }
}

enum Signing {
    Hs256(hmac::Key),
    Es256(EcdsaKeyPair, SystemRandom),
    EdDsa(Ed25519KeyPair),
}

enum Verifying {
    Hs256(hmac::Key),
    Es256(UnparsedPublicKey<Vec<u8>>),
    EdDsa(UnparsedPublicKey<Vec<u8>>),
}

fn signer(algorithm: &Algorithm, key: &EncodingKey) -> Result<Box<dyn JwtSigner>, Error> {
    let bytes = key.as_bytes();
    let signing = match (algorithm, key.family()) {
        (Algorithm::HS256, AlgorithmFamily::Hmac) => {
            Signing::Hs256(hmac::Key::new(hmac::HMAC_SHA256, bytes))
        }
        (Algorithm::ES256, AlgorithmFamily::Ec) => {
            let random = SystemRandom::new();
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, bytes, &random);
            Signing::Es256(pair.map_err(|_| ErrorKind::InvalidEcdsaKey)?, random)
        }
        (Algorithm::EdDSA, AlgorithmFamily::Ed) => {
            // Keys of other makers often come without their public half (RFC 5958, version 1).
            let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(bytes);
            Signing::EdDsa(pair.map_err(|_| ErrorKind::InvalidEddsaKey)?)
        }
        _ => return Err(ErrorKind::InvalidAlgorithm.into()),
    };
    Ok(Box::new(signing))
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>, Error> {
    let bytes = key.try_get_as_bytes()?;
    let verifying = match (algorithm, key.family()) {
        (Algorithm::HS256, AlgorithmFamily::Hmac) => {
            Verifying::Hs256(hmac::Key::new(hmac::HMAC_SHA256, bytes))
        }
        (Algorithm::ES256, AlgorithmFamily::Ec) => Verifying::Es256(UnparsedPublicKey::new(
            &ECDSA_P256_SHA256_FIXED,
            bytes.to_vec(),
        )),
        (Algorithm::EdDSA, AlgorithmFamily::Ed) => {
            Verifying::EdDsa(UnparsedPublicKey::new(&ED25519, bytes.to_vec()))
        }
        _ => return Err(ErrorKind::InvalidAlgorithm.into()),
    };
    Ok(Box::new(verifying))
}

impl Signer<Vec<u8>> for Signing {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        Ok(match self {
            Self::Hs256(key) => hmac::sign(key, message).as_ref().to_vec(),
            Self::Es256(pair, random) => {
                let signed = pair.sign(random, message);
                let signed = signed.map_err(|_| signature::Error::new())?;
                signed.as_ref().to_vec()
            }
            Self::EdDsa(pair) => pair.sign(message).as_ref().to_vec(),
        })
    }
}

impl JwtSigner for Signing {
    fn algorithm(&self) -> Algorithm {
        match self {
            Self::Hs256(_) => Algorithm::HS256,
            Self::Es256(..) => Algorithm::ES256,
            Self::EdDsa(_) => Algorithm::EdDSA,
        }
    }
}

impl Verifier<Vec<u8>> for Verifying {
    fn verify(&self, message: &[u8], signed: &Vec<u8>) -> Result<(), signature::Error> {
        // In constant time where there is a secret: ring compares MACs so.
        let verified = match self {
            Self::Hs256(key) => hmac::verify(key, message, signed),
            Self::Es256(key) | Self::EdDsa(key) => key.verify(message, signed),
        };
        verified.map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for Verifying {
    fn algorithm(&self) -> Algorithm {
        match self {
            Self::Hs256(_) => Algorithm::HS256,
            Self::Es256(_) => Algorithm::ES256,
            Self::EdDsa(_) => Algorithm::EdDSA,
        }
    }
}
