//! The event ribbon: what happened lately that an operator wants to see beside the curves.
//!
//! A bounded ring of the process. Its readers remember the number of the last event that they have seen.

use std::collections::VecDeque;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

/// How many events are kept.
pub const EVENTS: usize = 500;
/// The longest text of one, in bytes.
const TEXT_BYTES: usize = 500;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// The server started.
    Start,
    /// The configuration was read again.
    ConfigReload,
    /// A room was unloaded by an admin.
    Evict,
    /// The wall clock jumped, or agrees again.
    ClockJump,
    /// The log takes nothing any more, or did not in a run before.
    LogPoisoned,
    /// The archive fails.
    ArchiveError,
    /// The archive works again.
    ArchiveRecovered,
    /// A certificate comes near its end, or another one is served.
    Certificate,
    /// A limit is hit far more than usual, or as usual again.
    LimitSurge,
}

impl EventKind {
    /// Its name, as it is told.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::ConfigReload => "config_reload",
            Self::Evict => "evict",
            Self::ClockJump => "clock_jump",
            Self::LogPoisoned => "log_poisoned",
            Self::ArchiveError => "archive_error",
            Self::ArchiveRecovered => "archive_recovered",
            Self::Certificate => "certificate",
            Self::LimitSurge => "limit_surge",
        }
    }
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Good to know.
    Info,
    /// Somebody should look.
    Warn,
    /// Users feel it.
    Error,
}

impl Severity {
    /// Its name, as it is told.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Counts the events of the process, from 1.
    pub number: u64,
    /// When, in Unix milliseconds.
    pub at: u64,
    /// What.
    pub kind: EventKind,
    /// In one line.
    pub text: String,
    /// How bad.
    pub severity: Severity,
}

#[derive(Debug)]
struct Ribbon {
    events: VecDeque<Event>,
    last: u64,
}

static RIBBON: Mutex<Ribbon> = Mutex::new(Ribbon::new());

/// Something happened. A text that is too long is cut.
pub fn happened(kind: EventKind, severity: Severity, text: impl Into<String>) {
    let at = SystemTime::now().duration_since(UNIX_EPOCH);
    let at = at.map_or(0, |since| since.as_millis() as u64);
    RIBBON.lock().push(at, kind, severity, text.into());
}

/// What happened after the event of this number, the oldest first; all that is kept after 0.
#[must_use]
pub fn events_after(number: u64) -> Vec<Event> {
    RIBBON.lock().after(number)
}

impl Ribbon {
    const fn new() -> Self {
        Self {
            events: VecDeque::new(),
            last: 0,
        }
    }

    fn push(&mut self, at: u64, kind: EventKind, severity: Severity, mut text: String) {
        text.truncate(text.floor_char_boundary(TEXT_BYTES));
        self.last += 1;
        self.events.push_back(Event {
            number: self.last,
            at,
            kind,
            text,
            severity,
        });
        if self.events.len() > EVENTS {
            self.events.pop_front();
        }
    }

    fn after(&self, number: u64) -> Vec<Event> {
        let from = self.events.partition_point(|event| event.number <= number);
        self.events.range(from..).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_events_are_kept_and_each_reader_goes_on_where_it_was() {
        let mut ribbon = Ribbon::new();
        for at in 0..EVENTS as u64 + 10 {
            let text = "ö".repeat(TEXT_BYTES);
            ribbon.push(at, EventKind::Evict, Severity::Info, text);
        }
        let all = ribbon.after(0);
        assert_eq!(all.len(), EVENTS);
        assert_eq!((all[0].at, all[0].number), (10, 11));
        assert!(all.iter().all(|event| event.text.len() <= TEXT_BYTES));
        let seen = all[EVENTS - 3].number;
        assert_eq!(ribbon.after(seen).len(), 2);
        assert!(ribbon.after(all[EVENTS - 1].number).is_empty());
    }
}
