//! What a server that was ended by a failed sync leaves for its next start to tell: a process that ends at
//! once is seldom asked for its metrics in between.
//!
//! The file `poisoned` in the data folder holds when (`at`, Unix seconds) and `why`, in JSON. A day later it is
//! removed. Where the disk takes not even that, the next start fails as well, and is seen to.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use observatory::{EventKind, Severity};
use serde::{Deserialize, Serialize};

const FILE: &str = "poisoned";
const TOLD_FOR: Duration = Duration::from_secs(24 * 3600);

#[derive(Debug, Serialize, Deserialize)]
struct Note {
    at: u64,
    why: String,
}

/// Leaves word that the log has been poisoned. `now` is Unix time.
pub(crate) fn leave(data: &Path, now: Duration, why: &str) {
    let at = now.as_secs();
    let note = serde_json::json!(Note {
        at,
        why: why.to_owned()
    });
    if let Err(error) = std::fs::write(data.join(FILE), note.to_string()) {
        tracing::warn!(%error, "the next start will not tell why this one ended");
    }
}

/// Tells the metrics and the ribbon of a log that was poisoned before this start. `now` is Unix time.
pub(crate) fn tell(data: &Path, now: Duration) {
    let path = data.join(FILE);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return,
        Err(error) => return tracing::warn!(%error, "{} cannot be read", path.display()),
    };
    // What a failing disk has kept of a note is still a sign that there was something to note.
    let note = serde_json::from_str(&text).unwrap_or_else(|_| Note {
        at: now.as_secs(),
        why: "the note about it cannot be read".to_owned(),
    });
    if now.saturating_sub(Duration::from_secs(note.at)) > TOLD_FOR {
        if let Err(error) = std::fs::remove_file(&path) {
            tracing::warn!(%error, "{} cannot be removed", path.display());
        }
        return;
    }
    observatory::log_was_poisoned(note.at);
    let text = format!(
        "a run before ended because its log was poisoned: {}",
        note.why
    );
    tracing::warn!("{text}");
    observatory::happened(EventKind::LogPoisoned, Severity::Error, text);
}
