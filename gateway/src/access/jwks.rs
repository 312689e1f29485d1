//! Sets of keys in files and behind URLs (JSON Web Key Sets, RFC 7517), looked up again and again.
//!
//! What was found last stays valid while a set cannot be had: a key server that is down locks nobody
//! out. A file is looked at every few seconds; a URL every few minutes, and when a token names a key that
//! is not known, though not more often than every few seconds.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::keys::{self, KeyError, MAX_JWKS_BYTES, VerifyKey};

/// How often a file is looked at.
pub const FILE_CHECK: Duration = Duration::from_secs(2);
/// How often a URL is asked.
pub const URL_CHECK: Duration = Duration::from_secs(300);
/// How long is waited at least before a URL is asked again.
pub const URL_PAUSE: Duration = Duration::from_secs(5);
/// How long an answer may take.
pub const URL_TIME: Duration = Duration::from_secs(10);

/// A set of keys and where it comes from. Clones share what was found.
#[derive(Debug, Clone)]
pub struct Jwks {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    source: Source,
    found: Mutex<Found>,
    look: Notify,
}

#[derive(Debug)]
enum Source {
    File(PathBuf),
    Url {
        url: reqwest::Url,
        http: reqwest::Client,
    },
}

#[derive(Debug, Default)]
struct Found {
    keys: Vec<VerifyKey>,
    /// What the set was when it was read.
    bytes: Vec<u8>,
    asked: Option<Instant>,
}

/// What cannot be a source of keys, or does not give any.
#[derive(Debug, thiserror::Error)]
pub enum JwksError {
    /// The address is none that is asked.
    #[error("{0:?} is neither a file nor an https address (http only on loopback)")]
    Address(String),
    /// The set cannot be had.
    #[error("{from} cannot be read: {why}")]
    Unreadable {
        /// Where it is.
        from: String,
        /// Why not.
        why: String,
    },
    /// It is no set of keys.
    #[error("{from}: {error}")]
    Keys {
        /// Where it is.
        from: String,
        /// What is wrong with it.
        error: KeyError,
    },
}

impl Jwks {
    /// The set in a file, or at an `https://` address. A file is read at once; an address is asked once
    /// [`until_changed`](Jwks::until_changed) runs.
    ///
    /// # Errors
    /// [`JwksError`] if it is neither, or the file holds no set.
    pub fn open(place: &str) -> Result<Self, JwksError> {
        let source = if place.contains("://") {
            let wrong = || JwksError::Address(place.to_owned());
            let url = reqwest::Url::parse(place).map_err(|_| wrong())?;
            let on_loopback = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
            if url.scheme() != "https" && !(url.scheme() == "http" && on_loopback) {
                return Err(wrong());
            }
            let http = reqwest::Client::builder()
                .timeout(URL_TIME)
                .redirect(reqwest::redirect::Policy::none())
                .build()
                .map_err(|error| JwksError::Unreadable {
                    from: place.to_owned(),
                    why: error.to_string(),
                })?;
            Source::Url { url, http }
        } else {
            Source::File(place.into())
        };
        let jwks = Self {
            shared: Arc::new(Shared {
                source,
                found: Mutex::default(),
                look: Notify::new(),
            }),
        };
        if let Source::File(path) = &jwks.shared.source {
            let bytes = std::fs::read(path).map_err(|error| jwks.unreadable(&error))?;
            jwks.take(bytes)?;
        }
        Ok(jwks)
    }

    /// The keys that were found last.
    #[must_use]
    pub fn keys(&self) -> Vec<VerifyKey> {
        self.shared.found.lock().keys.clone()
    }

    /// Has the set looked up soon. Gives whether that may help: not if it has just been.
    pub(super) fn look_now(&self) -> bool {
        let asked = self.shared.found.lock().asked;
        if asked.is_some_and(|at| at.elapsed() < URL_PAUSE) {
            return false;
        }
        self.shared.look.notify_one();
        true
    }

    /// Waits until it is time, and looks the set up. Gives whether its keys have changed.
    pub(super) async fn until_changed(&self) -> bool {
        let first = self.shared.found.lock().asked.is_none();
        let wait = match &self.shared.source {
            Source::File(_) => FILE_CHECK,
            Source::Url { .. } if first => Duration::ZERO,
            Source::Url { .. } => URL_CHECK,
        };
        let _ = tokio::time::timeout(wait, self.shared.look.notified()).await;
        let looked_up = self.look_up().await;
        self.shared.found.lock().asked = Some(Instant::now());
        match looked_up {
            Ok(changed) => changed,
            Err(error) => {
                tracing::warn!(%error, "keys could not be looked up; those that are known stay");
                false
            }
        }
    }

    async fn look_up(&self) -> Result<bool, JwksError> {
        let bytes = match &self.shared.source {
            Source::File(path) => {
                let path = path.clone();
                let read = tokio::task::spawn_blocking(move || std::fs::read(path)).await;
                let read = read.map_err(|error| self.unreadable(&error))?;
                read.map_err(|error| self.unreadable(&error))?
            }
            Source::Url { url, http } => {
                let answer = http.get(url.clone()).send().await;
                let answer = answer.and_then(reqwest::Response::error_for_status);
                let mut answer = answer.map_err(|error| self.unreadable(&error))?;
                let mut bytes = Vec::new();
                while let Some(chunk) =
                    (answer.chunk().await).map_err(|error| self.unreadable(&error))?
                {
                    bytes.extend_from_slice(&chunk);
                    if bytes.len() > MAX_JWKS_BYTES {
                        break;
                    }
                }
                bytes
            }
        };
        self.take(bytes)
    }

    fn take(&self, bytes: Vec<u8>) -> Result<bool, JwksError> {
        if bytes.len() > MAX_JWKS_BYTES {
            let why = format!("it has more than {MAX_JWKS_BYTES} bytes");
            return Err(self.unreadable(&why));
        }
        let mut found = self.shared.found.lock();
        if found.bytes == bytes {
            return Ok(false);
        }
        found.keys = keys::from_jwks(&bytes).map_err(|error| JwksError::Keys {
            from: self.place(),
            error,
        })?;
        found.bytes = bytes;
        Ok(true)
    }

    fn unreadable(&self, why: &impl std::fmt::Display) -> JwksError {
        JwksError::Unreadable {
            from: self.place(),
            why: why.to_string(),
        }
    }

    fn place(&self) -> String {
        match &self.shared.source {
            Source::File(path) => path.display().to_string(),
            Source::Url { url, .. } => {
                let host = url.host_str().unwrap_or_default();
                format!("{}://{host}{}", url.scheme(), url.path())
            }
        }
    }
}
