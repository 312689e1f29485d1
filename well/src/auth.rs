//! Keys of tokens, from what the configuration names.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gateway::access::jwks::Jwks;
use gateway::access::keys::{STRONG_SECRET_BYTES, VerifyKey};
use gateway::access::revoked::Revocations;
use gateway::access::token::{Audience, SigningKey};
use gateway::access::{Auth, Keeper};

use crate::config::{AuthSettings, Config, Store};

/// Where a server keeps a secret of its own, if the configuration gives it no keys.
const OWN_SECRET: &str = "auth.secret";
/// Where it keeps what has been revoked.
const REVOCATIONS: &str = "revocations.jsonl";

/// The keeper of a server.
pub(crate) fn keeper(config: &Config) -> anyhow::Result<Keeper> {
    let revocations = match config.store {
        Store::Memory => Revocations::in_memory(),
        Store::Sled => {
            let path = config.data.join(REVOCATIONS);
            Revocations::open(&path).with_context(|| format!("{}", path.display()))?
        }
    };
    Ok(Keeper::new(open(config)?, revocations))
}

/// The keys that a configuration names. A server without any makes a secret and keeps it, so that rooms
/// can be shared.
pub(crate) fn open(config: &Config) -> anyhow::Result<Auth> {
    let settings = &config.auth;
    if settings.names_no_key() {
        return gather(settings, Some(&own_secret(config)?));
    }
    gather(settings, settings.secret.as_deref())
}

/// Whether the keys that a configuration names can be had.
pub(crate) fn check(config: &Config) -> anyhow::Result<()> {
    gather(&config.auth, config.auth.secret.as_deref()).map(drop)
}

fn gather(settings: &AuthSettings, secret: Option<&str>) -> anyhow::Result<Auth> {
    let mut keys = Vec::new();
    let mut signing = None;
    if let Some(secret) = secret {
        if secret.len() < STRONG_SECRET_BYTES {
            tracing::warn!(
                "the secret of [auth] has {} bytes; with less than {STRONG_SECRET_BYTES} it can be \
                 guessed by trying; `well token key --alg HS256` makes one",
                secret.len()
            );
        }
        keys.push(VerifyKey::from_secret(secret.as_bytes()).context("[auth] secret")?);
        signing = Some(SigningKey::from_secret(secret.as_bytes()).context("[auth] secret")?);
    }
    for path in &settings.public_keys {
        let key = VerifyKey::from_pem(&read(path)?);
        keys.push(key.with_context(|| format!("[auth] public_keys: {}", path.display()))?);
    }
    if let Some(path) = &settings.signing_key {
        let key = SigningKey::from_pem(&read(path)?);
        let key = key.with_context(|| format!("[auth] signing_key: {}", path.display()))?;
        keys.push(key.verify_key());
        signing = Some(key);
    }
    let jwks = settings.jwks.as_deref().map(Jwks::open).transpose();
    Ok(Auth {
        keys,
        jwks: jwks.context("[auth] jwks")?,
        audience: Audience::configured(settings.audience.clone()),
        signing,
    })
}

impl AuthSettings {
    fn names_no_key(&self) -> bool {
        let keys = self.secret.is_none() && self.public_keys.is_empty();
        keys && self.jwks.is_none() && self.signing_key.is_none()
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("{} cannot be read", path.display()))
}

/// A secret that nobody guesses.
pub(crate) fn random_secret() -> anyhow::Result<String> {
    let mut bytes = [0; STRONG_SECRET_BYTES];
    getrandom::fill(&mut bytes).context("no randomness")?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

fn own_secret(config: &Config) -> anyhow::Result<String> {
    if config.store == Store::Memory {
        return random_secret();
    }
    let path = config.data.join(OWN_SECRET);
    match fs::read_to_string(&path) {
        Ok(secret) if !secret.trim().is_empty() => Ok(secret.trim().to_owned()),
        Ok(_) => bail!(
            "{} is empty; remove it to have a new one made",
            path.display()
        ),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let secret = random_secret()?;
            write_secret(&path, secret.as_bytes())?;
            Ok(secret)
        }
        Err(error) => Err(error).with_context(|| format!("{} cannot be read", path.display())),
    }
}

/// Writes a file that was not there and that only its owner reads.
pub(crate) fn write_secret(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let written = options.open(path).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.with_context(|| format!("{} cannot be written", path.display()))
}
