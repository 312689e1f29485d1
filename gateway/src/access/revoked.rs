//! Tokens that have been taken back: remembered in a file, and looked at with every use.
//!
//! The file has one JSON object a line and is only appended to; a line is on disk before anybody is
//! told that the revocation stands.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use parking_lot::{Mutex, RwLock};
use protocol::{RoomName, UserId};
use serde::{Deserialize, Serialize};

use super::pattern::Pattern;
use super::token::Grant;

/// The most revocations that are kept. Past it, revoke by subject or room, or change the key.
pub const MAX_REVOCATIONS: usize = 100_000;

/// Which tokens are taken back, in the rooms `within`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// The tokens.
    #[serde(flatten)]
    pub what: Revoked,
    /// The rooms in which they are.
    pub within: Vec<Pattern>,
    /// When, in seconds since the Unix epoch: those of a subject or room that were made later stand.
    pub at: u64,
}

/// Tokens, by something they have in common.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Revoked {
    /// The token with this `jti`.
    Jti(String),
    /// The tokens of this subject that were made until then.
    Sub(String),
    /// The tokens that were made until then, in this room.
    Room(String),
}

impl Revocation {
    /// Whether a token is taken back in a room; or altogether, without one.
    #[must_use]
    pub fn covers(&self, grant: &Grant, room: Option<&RoomName>) -> bool {
        let within = match room {
            Some(room) => self.within.iter().any(|pattern| pattern.covers(room)),
            None => self.within.iter().any(Pattern::is_all),
        };
        // A token that does not say when it was made was made before.
        let before = || grant.issued().is_none_or(|issued| issued <= self.at);
        within
            && match &self.what {
                Revoked::Jti(id) => grant.id() == Some(id),
                Revoked::Sub(subject) => {
                    grant.subject().map(UserId::as_str) == Some(subject) && before()
                }
                Revoked::Room(revoked) => {
                    room.is_some_and(|room| room.as_str() == revoked) && before()
                }
            }
    }
}

/// All that has been revoked.
#[derive(Debug, Default)]
pub struct Revocations {
    known: RwLock<Known>,
    file: Option<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Known {
    by_id: HashMap<String, Vec<Revocation>>,
    by_subject: HashMap<String, Vec<Revocation>>,
    by_room: HashMap<String, Vec<Revocation>>,
    count: usize,
}

#[derive(Debug)]
struct Kept {
    file: File,
    path: PathBuf,
}

/// Why a revocation does not stand.
#[derive(Debug, thiserror::Error)]
pub enum RevokeError {
    /// There are too many.
    #[error(
        "{MAX_REVOCATIONS} revocations are kept, as many as may be; revoke by subject or room, or change the key"
    )]
    Full,
    /// It could not be kept.
    #[error("the revocation could not be kept in {path}: {error}")]
    NotKept {
        /// Where.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
}

impl Revocations {
    /// None yet, and none that outlives the process.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::default()
    }

    /// Those of a file, which is made if it is not there.
    ///
    /// # Errors
    /// If it cannot be read, or says something else. A last line that was torn is cut off.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)?;
        let mut known = Known::default();
        let mut whole = 0;
        let mut lines = BufReader::new(&file);
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            let read = lines.read_until(b'\n', &mut line)?;
            if read == 0 || line.last() != Some(&b'\n') {
                break;
            }
            let revocation: Revocation = serde_json::from_slice(&line).map_err(|error| {
                let why = format!("line {number} is no revocation: {error}");
                io::Error::new(io::ErrorKind::InvalidData, why)
            })?;
            known.take(revocation);
            whole += read as u64;
        }
        file.set_len(whole)?;
        let path = path.to_owned();
        Ok(Self {
            known: RwLock::new(known),
            file: Some(Mutex::new(Kept { file, path })),
        })
    }

    /// Whether a token is taken back in a room; or altogether, without one.
    #[must_use]
    pub fn covers(&self, grant: &Grant, room: Option<&RoomName>) -> bool {
        let known = self.known.read();
        let by_id = grant.id().and_then(|id| known.by_id.get(id));
        let subject = grant.subject().map(UserId::as_str);
        let by_subject = subject.and_then(|subject| known.by_subject.get(subject));
        let by_room = room.and_then(|room| known.by_room.get(room.as_str()));
        [by_id, by_subject, by_room]
            .into_iter()
            .flatten()
            .flatten()
            .any(|revocation| revocation.covers(grant, room))
    }

    /// Keeps a revocation. It stands once this returns. Waits for the disk.
    ///
    /// # Errors
    /// [`RevokeError`] says why it does not stand.
    pub fn add(&self, revocation: Revocation) -> Result<(), RevokeError> {
        if let Some(kept) = &self.file {
            // Held to the end, so that what is in the file and what is known have one order.
            let mut kept = kept.lock();
            if self.known.read().count >= MAX_REVOCATIONS {
                return Err(RevokeError::Full);
            }
            kept.append(&revocation)
                .map_err(|error| RevokeError::NotKept {
                    path: kept.path.clone(),
                    error,
                })?;
            self.known.write().take(revocation);
        } else {
            let mut known = self.known.write();
            if known.count >= MAX_REVOCATIONS {
                return Err(RevokeError::Full);
            }
            known.take(revocation);
        }
        Ok(())
    }
}

impl Known {
    fn take(&mut self, revocation: Revocation) {
        let (table, key) = match &revocation.what {
            Revoked::Jti(id) => (&mut self.by_id, id.clone()),
            Revoked::Sub(subject) => (&mut self.by_subject, subject.clone()),
            Revoked::Room(room) => (&mut self.by_room, room.clone()),
        };
        let same = table.entry(key).or_default();
        // A later one says all that an earlier one of the same rooms did.
        let before = same.len();
        same.retain(|known| known.within != revocation.within || known.at > revocation.at);
        same.push(revocation);
        self.count = self.count + same.len() - before;
    }
}

impl Kept {
    fn append(&mut self, revocation: &Revocation) -> io::Result<()> {
        let end = self.file.metadata()?.len();
        let mut line = serde_json::to_vec(revocation)?;
        line.push(b'\n');
        let written = self
            .file
            .write_all(&line)
            .and_then(|()| self.file.sync_all());
        if written.is_err() {
            // Half a line would make the next one unreadable.
            self.file.set_len(end)?;
        }
        written
    }
}
