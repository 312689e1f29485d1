//! Who came and went, and what became of rooms: a file of JSON lines, one for each event.
//!
//! Lines are handed to a thread that writes them, over a queue with [`AUDIT_LINES`] places; whoever has
//! something to say never waits. What found no place is counted, and the next line says how much that was.
//! Rooms are named, and nothing of what they hold is.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use protocol::{Role, RoomName};
use serde::Serialize;

use crate::Gateway;
use crate::access::caller::Caller;
use crate::limits::AUDIT_LINES;

/// Where events go. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Audit {
    lines: SyncSender<String>,
    lost: Arc<AtomicU64>,
}

/// One line.
#[derive(Debug, Serialize)]
pub(crate) struct Event<'a> {
    /// RFC 3339.
    at: String,
    event: What,
    /// The subject of their token, if it names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    who: Option<&'a str>,
    /// The address they come from; that of a client behind a trusted proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    room: Option<&'a str>,
    /// More about it, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum What {
    /// A room was begun.
    Create,
    /// Somebody was let into a room.
    Join,
    /// They are no longer in it.
    Leave,
    /// A room was unloaded, or made way for another.
    Evict,
    /// A room was deleted.
    Delete,
    /// Tokens were taken back.
    Revoke,
    /// A room was set to what it was.
    Restore,
    /// What is logged was changed.
    Log,
}

impl Audit {
    /// Goes on with the file at `path`, or begins it.
    ///
    /// # Errors
    /// If it cannot be opened, or there can be no thread for it.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let (lines, queue) = sync_channel(AUDIT_LINES);
        let lost = Arc::new(AtomicU64::new(0));
        let missing = Arc::clone(&lost);
        let thread = std::thread::Builder::new().name("audit".to_owned());
        thread.spawn(move || write_all(&queue, file, &missing))?;
        Ok(Self { lines, lost })
    }

    fn write(&self, event: &Event<'_>) {
        let line = serde_json::to_string(event).unwrap_or_default();
        if self.lines.try_send(line).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Writes what comes until nobody can send any more.
fn write_all(queue: &Receiver<String>, file: File, lost: &AtomicU64) {
    let mut file = BufWriter::new(file);
    let mut failing = false;
    while let Ok(first) = queue.recv() {
        let mut lines = vec![first];
        lines.extend(queue.try_iter().take(AUDIT_LINES));
        let missing = lost.swap(0, Ordering::Relaxed);
        if missing > 0 {
            lines.push(format!("{{\"event\":\"lost\",\"lines\":{missing}}}"));
        }
        let written = lines
            .iter()
            .try_for_each(|line| writeln!(file, "{line}"))
            .and_then(|()| file.flush());
        match written {
            Ok(()) => failing = false,
            Err(error) if !failing => {
                failing = true;
                tracing::error!(%error, "the audit log cannot be written");
            }
            Err(_) => {}
        }
    }
}

/// Somebody in a room; dropping it says that they have left.
#[derive(Debug)]
pub(crate) struct Stay {
    audit: Audit,
    who: Option<String>,
    from: Option<IpAddr>,
    room: RoomName,
    clock: Gateway,
}

impl Drop for Stay {
    fn drop(&mut self) {
        self.audit.write(&Event {
            at: self.clock.wall_time().to_string(),
            event: What::Leave,
            who: self.who.as_deref(),
            from: self.from,
            room: Some(self.room.as_str()),
            detail: None,
        });
    }
}

impl Gateway {
    /// Writes down what somebody did, if there is an audit log.
    pub(crate) fn note(
        &self,
        event: What,
        caller: &Caller,
        room: Option<&RoomName>,
        detail: Option<&str>,
    ) {
        let Some(audit) = self.audit() else {
            return;
        };
        let who = subject(caller);
        audit.write(&Event {
            at: self.wall_time().to_string(),
            event,
            who: who.as_deref(),
            from: caller.address(),
            room: room.map(RoomName::as_str),
            detail,
        });
    }

    /// Writes down that the server let a room go, if there is an audit log.
    pub(crate) fn note_gone(&self, gone: &broker::Gone) {
        let event = if gone.archived {
            What::Evict
        } else {
            What::Delete
        };
        self.note(event, &Caller::ANYONE, Some(&gone.room), Some(gone.why));
    }

    /// Writes down that somebody came into a room, if there is an audit log.
    pub(crate) fn note_join(&self, caller: &Caller, room: &RoomName, role: Role) -> Option<Stay> {
        let audit = self.audit()?.clone();
        self.note(What::Join, caller, Some(room), Some(&role.to_string()));
        Some(Stay {
            audit,
            who: subject(caller),
            from: caller.address(),
            room: room.clone(),
            clock: self.clone(),
        })
    }
}

fn subject(caller: &Caller) -> Option<String> {
    let grant = caller.grant().ok().flatten();
    let subject = grant.and_then(|grant| grant.subject());
    subject.map(|user| user.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use protocol::Timestamp;

    use super::*;

    fn event(room: &str) -> Event<'_> {
        Event {
            at: Timestamp::from_micros(0).to_string(),
            event: What::Delete,
            who: None,
            from: None,
            room: Some(room),
            detail: None,
        }
    }

    #[test]
    fn who_has_something_to_say_never_waits_and_what_is_lost_is_counted() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        // Nobody writes yet: the queue fills.
        let (lines, queue) = sync_channel(AUDIT_LINES);
        let lost = Arc::new(AtomicU64::new(0));
        let audit = Audit {
            lines,
            lost: Arc::clone(&lost),
        };
        for _ in 0..AUDIT_LINES + 3 {
            audit.write(&event("pit/a"));
        }
        drop(audit);
        write_all(&queue, file.reopen().expect("the file"), &lost);
        let written = std::fs::read_to_string(file.path()).expect("the file");
        let lines: Vec<&str> = written.lines().collect();
        assert_eq!(lines.len(), AUDIT_LINES + 1);
        let first: serde_json::Value = serde_json::from_str(lines[0]).expect("JSON");
        assert_eq!(first["event"], "delete");
        assert_eq!(first["room"], "pit/a");
        assert!(lines.contains(&"{\"event\":\"lost\",\"lines\":3}"));
    }
}
