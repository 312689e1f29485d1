//! What `well top` shows: a picture of a server, and the lines it is drawn as.
//!
//! A picture is what the server's Observatory said last, and since when it says nothing. Lines are plain text
//! of one width and know no terminal; [`terminal`] draws them.

pub(crate) mod terminal;

use std::collections::BTreeMap;
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

/// What is not known, as people are told.
const UNKNOWN: &str = "–";
/// The longest name of a room that is shown whole.
const ROOM_WIDTH: usize = 40;

/// What rooms are ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum By {
    /// Updates a second
    #[default]
    Updates,
    /// Bytes a second
    Bytes,
    /// Sessions
    Sessions,
    /// Records that the slowest session is behind
    Lag,
}

impl By {
    /// Its name, as the server knows it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Updates => "updates",
            Self::Bytes => "bytes",
            Self::Sessions => "sessions",
            Self::Lag => "lag",
        }
    }

    /// The order that a key asks for.
    pub(crate) fn of_key(key: u8) -> Option<Self> {
        let all = [Self::Updates, Self::Bytes, Self::Sessions, Self::Lag];
        all.into_iter().find(|by| by.name().as_bytes()[0] == key)
    }
}

/// A sample of a server (docs/http.md, `/observatory/now`).
#[derive(Debug, Clone, Deserialize, Serialize)]
pub(crate) struct Sample {
    /// Unix milliseconds.
    pub(crate) at: u64,
    pub(crate) values: BTreeMap<String, Option<f64>>,
    #[serde(default)]
    pub(crate) stages: serde_json::Value,
}

/// The rooms with most of something (`/observatory/rooms`).
#[derive(Debug, Clone, Deserialize, Serialize)]
pub(crate) struct Rooms {
    pub(crate) rooms: Vec<Room>,
    pub(crate) loaded: u64,
}

/// One of them.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub(crate) struct Room {
    room: String,
    kind: Option<String>,
    updates_per_second: u64,
    bytes_per_second: u64,
    sessions: u64,
    lag_records: Option<u64>,
    head: u64,
    document_bytes: u64,
}

/// What is known of a server.
#[derive(Debug)]
pub(crate) struct Picture {
    pub(crate) server: String,
    pub(crate) by: By,
    pub(crate) seen: Option<(Sample, Rooms)>,
    /// Why the server tells nothing, and for how long.
    pub(crate) trouble: Option<(String, Duration)>,
}

/// How a line is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Strong,
    Bad,
}

/// One line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) tone: Tone,
    pub(crate) text: String,
}

impl Picture {
    /// The lines, at most `rows` of them and each of at most `columns` characters.
    pub(crate) fn lines(&self, columns: usize, rows: usize) -> Vec<Line> {
        let mut lines = vec![self.state()];
        if let Some((sample, rooms)) = &self.seen {
            let plain = |text| Line {
                tone: Tone::Plain,
                text,
            };
            lines.extend(sample.told().map(plain));
            lines.push(plain(String::new()));
            lines.push(Line {
                tone: Tone::Strong,
                text: Room::head(self.by),
            });
            lines.extend(rooms.rooms.iter().map(|room| plain(room.told())));
            let left = rooms.loaded.saturating_sub(rooms.rooms.len() as u64);
            if left > 0 {
                lines.push(plain(format!("and {left} more")));
            }
        }
        lines.truncate(rows);
        for line in &mut lines {
            cut(&mut line.text, columns);
        }
        lines
    }

    fn state(&self) -> Line {
        let server = &self.server;
        match &self.trouble {
            None => Line {
                tone: Tone::Strong,
                text: format!("{server}  answers"),
            },
            Some((why, since)) => {
                let since = humantime::format_duration(Duration::from_secs(since.as_secs()));
                let old = if self.seen.is_some() {
                    "; what follows is old"
                } else {
                    ""
                };
                Line {
                    tone: Tone::Bad,
                    text: format!("{server}  NO ANSWER for {since}: {why}{old}"),
                }
            }
        }
    }
}

impl Sample {
    fn told(&self) -> [String; 6] {
        let value = |name: &str| self.values.get(name).copied().flatten();
        let count = |name: &str| counted(value(name));
        let bytes = |name: &str| sized(value(name));
        let time = |name: &str| timed(value(name));
        [
            format!(
                "updates   {}/s, {}/s   acked {}/s   refused {}/s   limits hit {}/s",
                count("updates_per_second"),
                bytes("bytes_per_second"),
                count("acked_per_second"),
                count("refused_per_second"),
                count("limits_hit_per_second"),
            ),
            format!(
                "ack       p50 {}, p99 {}   sync p50 {}, p99 {}   fan-out p99 {}   join p99 {}",
                time("ack_seconds_p50"),
                time("ack_seconds_p99"),
                time("sync_seconds_p50"),
                time("sync_seconds_p99"),
                time("fanout_seconds_p99"),
                time("join_seconds_p99"),
            ),
            format!(
                "behind    durability {}   archive {}, {} records   slowest reader {} records",
                time("durability_lag_seconds"),
                time("archive_lag_seconds"),
                count("archive_lag_records"),
                count("feed_lag_records_slowest"),
            ),
            format!(
                "sessions  {}: yjs {} WebSocket, {} WebTransport; well {} WebSocket, {} WebTransport   connections {}",
                count("sessions"),
                count("sessions_yjs_websocket"),
                count("sessions_yjs_webtransport"),
                count("sessions_well_websocket"),
                count("sessions_well_webtransport"),
                count("connections"),
            ),
            format!(
                "memory    {} of {}: documents {}, feeds {}, caches {}   processor {} cores",
                bytes("memory_resident_bytes"),
                bytes("memory_limit_bytes"),
                bytes("memory_documents_bytes"),
                bytes("memory_feeds_bytes"),
                bytes("memory_caches_bytes"),
                value("cpu_cores")
                    .map_or_else(|| UNKNOWN.to_owned(), |cores| format!("{cores:.2}")),
            ),
            format!(
                "disk      log {}   free {} of {}",
                bytes("disk_log_bytes"),
                bytes("disk_free_bytes"),
                bytes("disk_size_bytes"),
            ),
        ]
    }
}

impl Room {
    fn head(by: By) -> String {
        let title = |name: &str, of: Option<By>| {
            let name = name.to_owned();
            if of == Some(by) { name + "↓" } else { name }
        };
        format!(
            "{:ROOM_WIDTH$} {:6} {:>11} {:>11} {:>9} {:>9} {:>10} {:>10}",
            "ROOM",
            "KIND",
            title("UPDATES/S", Some(By::Updates)),
            title("BYTES/S", Some(By::Bytes)),
            title("SESSIONS", Some(By::Sessions)),
            title("BEHIND", Some(By::Lag)),
            "SEQ",
            "DOCUMENT",
        )
    }

    fn told(&self) -> String {
        let mut name = self.room.clone();
        cut(&mut name, ROOM_WIDTH);
        format!(
            "{name:ROOM_WIDTH$} {:6} {:>11} {:>11} {:>9} {:>9} {:>10} {:>10}",
            self.kind.as_deref().unwrap_or(UNKNOWN),
            self.updates_per_second,
            sized(Some(self.bytes_per_second as f64)),
            self.sessions,
            self.lag_records
                .map_or_else(|| UNKNOWN.to_owned(), |lag| lag.to_string()),
            self.head,
            sized(Some(self.document_bytes as f64)),
        )
    }
}

/// Cuts a text to so many characters. What a server calls itself or its rooms cannot steer the terminal.
fn cut(text: &mut String, columns: usize) {
    let safe = |character: char| {
        if character.is_control() {
            '?'
        } else {
            character
        }
    };
    if text.chars().count() > columns {
        let kept: String = text.chars().take(columns.saturating_sub(1)).collect();
        *text = kept + "…";
    }
    *text = text.chars().map(safe).collect();
}

/// A number with its thousands apart, and one digit more where it is small.
fn counted(value: Option<f64>) -> String {
    let Some(value) = value else {
        return UNKNOWN.to_owned();
    };
    if value < 10.0 && value.fract() != 0.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut told = String::with_capacity(digits.len() * 4 / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            told.push(',');
        }
        told.push(digit);
    }
    told
}

fn sized(value: Option<f64>) -> String {
    value.map_or_else(
        || UNKNOWN.to_owned(),
        |bytes| ByteSize(bytes as u64).to_string(),
    )
}

/// A number of seconds, in the unit that suits it.
fn timed(value: Option<f64>) -> String {
    match value {
        None => UNKNOWN.to_owned(),
        Some(seconds) if seconds < 0.001 => format!("{:.0} µs", seconds * 1e6),
        Some(seconds) if seconds < 1.0 => format!("{:.1} ms", seconds * 1e3),
        Some(seconds) if seconds < 120.0 => format!("{seconds:.1} s"),
        Some(seconds) => format!("{:.0} min", seconds / 60.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(trouble: Option<(String, Duration)>) -> Picture {
        let values = [
            ("updates_per_second", Some(12_345.6)),
            ("bytes_per_second", Some(2048.0)),
            ("ack_seconds_p50", Some(0.000_35)),
            ("ack_seconds_p99", Some(0.0123)),
            ("archive_lag_seconds", None),
            ("archive_lag_records", Some(7.0)),
            ("durability_lag_seconds", Some(2.5)),
        ];
        let values = values.map(|(name, value)| (name.to_owned(), value));
        let room = |nth: u64| Room {
            room: format!("doc/{nth}\u{1b}[2J"),
            kind: Some("yjs".to_owned()),
            updates_per_second: 100 - nth,
            bytes_per_second: 1 << 20,
            sessions: nth,
            lag_records: None,
            head: 12,
            document_bytes: 5,
        };
        Picture {
            server: "http://well:4000".to_owned(),
            by: By::Bytes,
            seen: Some((
                Sample {
                    at: 1,
                    values: values.into(),
                    stages: serde_json::Value::Null,
                },
                Rooms {
                    rooms: (0..30).map(room).collect(),
                    loaded: 33,
                },
            )),
            trouble,
        }
    }

    #[test]
    fn every_number_has_its_unit_and_what_is_not_known_is_said_to_be_so() {
        let lines = picture(None).lines(200, 100);
        let all: Vec<_> = lines.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(all[0], "http://well:4000  answers");
        assert!(
            all[1].contains("12,346/s, 2.0 KiB/s   acked –/s"),
            "{}",
            all[1]
        );
        assert!(all[2].contains("p50 350 µs, p99 12.3 ms"), "{}", all[2]);
        assert!(
            all[3].contains("durability 2.5 s   archive –, 7 records"),
            "{}",
            all[3]
        );
        assert!(all[8].contains("BYTES/S↓") && !all[8].contains("UPDATES/S↓"));
        assert!(all[9].starts_with("doc/0?[2J "), "{}", all[9]);
        assert_eq!(all.last(), Some(&"and 3 more"));
    }

    #[test]
    fn it_fits_on_the_terminal() {
        let lines = picture(None).lines(30, 12);
        assert_eq!(lines.len(), 12);
        assert!(lines.iter().all(|line| line.text.chars().count() <= 30));
        assert!(picture(None).lines(0, 0).is_empty());
    }

    #[test]
    fn a_server_that_is_gone_is_said_to_be_gone() {
        let gone = picture(Some(("refused".to_owned(), Duration::from_millis(5400))));
        let line = &gone.lines(200, 100)[0];
        assert_eq!(line.tone, Tone::Bad);
        assert_eq!(
            line.text,
            "http://well:4000  NO ANSWER for 5s: refused; what follows is old"
        );
    }

    #[test]
    fn keys_are_the_first_letters_of_orders() {
        assert_eq!(By::of_key(b'l'), Some(By::Lag));
        assert_eq!(By::of_key(b'x'), None);
    }
}
