//! The archive's few operations on a store: each attempt bounded in time and bytes, and retried.
//!
//! A put creates or fails: nothing is ever overwritten. When an object is already there, it may be
//! our own whose answer was lost, so it is read back and compared before it is called another's.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, StreamExt};
use object_store::path::Path;
use object_store::{Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode, PutOptions};

use super::ArchiveError;

/// How long a MiB may take on its way out, on top of the time of an attempt.
const SLOWEST: Duration = Duration::from_secs(1);

/// One attempt's outcome, if it did not succeed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The object is not there.
    NotFound,
    /// The object is there already.
    Exists,
    /// Anything else; it may or may not have happened.
    Other(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::NotFound { .. } => Self::NotFound,
            Error::AlreadyExists { .. } | Error::Precondition { .. } => Self::Exists,
            other => Self::Other(chain(&other)),
        }
    }
}

/// An error with what caused it, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text.replace('\n', " ")
}

/// Pauses between attempts: exponential, with full jitter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backoff {
    pub(super) min: Duration,
    pub(super) max: Duration,
}

impl Backoff {
    pub(super) async fn pause(&self, attempt: u32) {
        let bound = self
            .min
            .saturating_mul(1 << attempt.min(16))
            .min(self.max)
            .as_micros() as u64;
        // Without randomness all pauses are the longest, which is slower but right.
        let drawn = getrandom::u64().unwrap_or(u64::MAX) % bound.max(1);
        tokio::time::sleep(Duration::from_micros(drawn)).await;
    }
}

/// An object as a listing gives it.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    /// Below the archive's prefix.
    pub(super) path: String,
    pub(super) modified: SystemTime,
}

/// One archive's place in a store.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    attempt_timeout: Duration,
}

impl Bucket {
    pub(super) fn new(
        store: Arc<dyn ObjectStore>,
        prefix: &str,
        attempt_timeout: Duration,
    ) -> Result<Self, ArchiveError> {
        let prefix = Path::parse(prefix).map_err(|error| ArchiveError::Url {
            url: prefix.to_owned(),
            why: error.to_string(),
        })?;
        Ok(Self {
            store,
            prefix,
            attempt_timeout,
        })
    }

    /// The same place with another patience.
    pub(super) fn with_timeout(&self, attempt_timeout: Duration) -> Self {
        Self {
            attempt_timeout,
            ..self.clone()
        }
    }

    /// An object's path as errors name it.
    pub(super) fn name(&self, path: &str) -> String {
        self.at(path).to_string()
    }

    fn at(&self, path: &str) -> Path {
        self.prefix
            .parts()
            .chain(Path::from(path).parts())
            .collect()
    }

    /// Waits for an answer; longer when so many bytes go out with the question.
    async fn attempt<T>(
        &self,
        bytes: usize,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Failure> {
        let patience = self.attempt_timeout + SLOWEST * (bytes >> 20) as u32;
        match tokio::time::timeout(patience, work).await {
            Ok(done) => done.map_err(Failure::from),
            Err(_) => Err(Failure::Other(format!("no answer within {patience:?}"))),
        }
    }

    /// A whole object, or a part of one; no more than `max` bytes are taken in.
    pub(super) async fn get(
        &self,
        path: &str,
        range: Option<Range<u64>>,
        max: usize,
    ) -> Result<Bytes, Failure> {
        let at = self.at(path);
        let options = GetOptions {
            range: range.map(GetRange::Bounded),
            ..GetOptions::default()
        };
        let got = self.attempt(0, self.store.get_opts(&at, options)).await?;
        let len = got.range.end.saturating_sub(got.range.start);
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        if len > max {
            let why = format!("{at} has {len} bytes, over the limit of {max}");
            return Err(Failure::Other(why));
        }
        let mut bytes = BytesMut::with_capacity(len);
        let mut stream = got.into_stream();
        while let Some(piece) = self.attempt(0, stream.next().map(Ok)).await? {
            let piece = piece?;
            if bytes.len() + piece.len() > max {
                let why = format!("{at} has more bytes than it says");
                return Err(Failure::Other(why));
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes.freeze())
    }

    /// How long an object is.
    pub(super) async fn length(&self, path: &str) -> Result<u64, Failure> {
        let at = self.at(path);
        Ok(self.attempt(0, self.store.head(&at)).await?.size)
    }

    /// Creates an object.
    pub(super) async fn create(&self, path: &str, bytes: Bytes) -> Result<(), Failure> {
        let at = self.at(path);
        let options = PutOptions {
            mode: PutMode::Create,
            ..PutOptions::default()
        };
        let len = bytes.len();
        let put = self.store.put_opts(&at, bytes.into(), options);
        self.attempt(len, put).await.map(|_| ())
    }

    /// The objects in a folder.
    pub(super) async fn list(&self, folder: &str) -> Result<Vec<Listed>, Failure> {
        let at = self.at(folder);
        let prefix = self.prefix.to_string();
        let mut found = Vec::new();
        let mut stream = self.store.list(Some(&at));
        while let Some(object) = self.attempt(0, stream.next().map(Ok)).await? {
            let object = object?;
            let path = object.location.to_string();
            let path = path.strip_prefix(&prefix).unwrap_or(&path);
            found.push(Listed {
                path: path.trim_start_matches('/').to_owned(),
                modified: object.last_modified.into(),
            });
        }
        Ok(found)
    }

    /// Removes an object; one that is not there is removed.
    pub(super) async fn delete(&self, path: &str) -> Result<(), Failure> {
        let at = self.at(path);
        match self.attempt(0, self.store.delete(&at)).await {
            Err(Failure::NotFound) => Ok(()),
            other => other,
        }
    }
}

/// Tries a read a few times, unless the answer is that the object is not there.
pub(super) async fn retried<T, W: Future<Output = Result<T, Failure>>>(
    tries: u32,
    backoff: Backoff,
    mut work: impl FnMut() -> W,
) -> Result<T, Failure> {
    let mut attempt = 0;
    loop {
        match work().await {
            Err(Failure::Other(_)) if attempt + 1 < tries => backoff.pause(attempt).await,
            done => return done,
        }
        attempt += 1;
    }
}
