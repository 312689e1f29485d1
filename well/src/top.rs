//! What `well top` shows: a picture of a server, and the lines it is drawn as.
//!
//! A picture is what the server's Observatory said last, and since when it says nothing. Lines are plain text
//! of one width and know no terminal; [`terminal`] draws them.

pub(crate) mod terminal;

use std::collections::BTreeMap;
use std::time::Duration;

use bytesize::ByteSize;
use observatory::{Certificate, is_near_its_end};
use serde::{Deserialize, Serialize};

/// What is not known, as people are told.
const UNKNOWN: &str = "–";
/// The longest name of a room that is shown whole, and what a name has in any case.
const ROOM_WIDTH: usize = 40;
const ROOM_WIDTH_MIN: usize = 16;
/// What a line begins with that says what it is about.
const LABEL_WIDTH: usize = 10;
/// By then an archive that can be reached has been.
const ARCHIVE_REACHED_SECONDS: f64 = 30.0;
/// Between what stands side by side.
const GAP: &str = "   ";

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
    /// Why it takes no updates.
    #[serde(default)]
    pub(crate) not_ready: Option<String>,
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
            for (label, parts) in sample.told() {
                lines.extend(wrapped(label, &parts, columns).into_iter().map(plain));
            }
            lines.push(plain(String::new()));
            let table = Table::fitting(columns, self.by);
            lines.push(Line {
                tone: Tone::Strong,
                text: table.head(self.by),
            });
            lines.extend(rooms.rooms.iter().map(|room| plain(table.row(room))));
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
            None => {
                let sample = self.seen.as_ref().map(|(sample, _)| sample);
                match sample.and_then(Sample::fault) {
                    Some(why) => Line {
                        tone: Tone::Bad,
                        text: format!("{server}  {why}"),
                    },
                    None => Line {
                        tone: Tone::Strong,
                        text: format!("{server}  answers"),
                    },
                }
            }
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
    fn value(&self, name: &str) -> Option<f64> {
        self.values.get(name).copied().flatten()
    }

    /// What is wrong although it answers; the gravest.
    fn fault(&self) -> Option<String> {
        let not_ready = self.not_ready.as_ref();
        let not_ready = not_ready.map(|why| format!("NOT READY: {why}"));
        not_ready
            .or_else(|| self.certificate_fault())
            .or_else(|| self.archive_fault())
    }

    fn certificate_fault(&self) -> Option<String> {
        let left = [
            (Certificate::Tls, "TLS", "certificate_tls_seconds"),
            (
                Certificate::WebTransport,
                "WebTransport",
                "certificate_webtransport_seconds",
            ),
        ]
        .into_iter()
        .filter_map(|(which, name, key)| Some((which, name, self.value(key)?)));
        let near = left.filter(|(which, _, left)| is_near_its_end(*which, *left));
        let (_, name, left) = near.min_by(|a, b| a.2.total_cmp(&b.2))?;
        Some(if left <= 0.0 {
            format!("THE {name} CERTIFICATE HAS ENDED")
        } else {
            format!("THE {name} CERTIFICATE ENDS in {:.0} h", left / 3600.0)
        })
    }

    /// How far an archive is behind is not known until it has been reached once; it is reached for as the server
    /// starts.
    fn archive_fault(&self) -> Option<String> {
        let age = self.value("archive_lag_seconds")?;
        let is_unreached = self.value("archive_lag_records").is_none();
        (is_unreached && age > ARCHIVE_REACHED_SECONDS).then(|| {
            let age = timed(Some(age));
            format!("THE ARCHIVE HAS NOT BEEN REACHED since the start, {age} ago")
        })
    }

    /// What there is to say, line by line: what it is about, and the parts.
    fn told(&self) -> [(&'static str, Vec<String>); 6] {
        let value = |name: &str| self.value(name);
        let count = |name: &str| counted(value(name));
        let bytes = |name: &str| sized(value(name));
        let time = |name: &str| timed(value(name));
        let both = |name: &str| {
            format!(
                "p50 {}, p99 {}",
                time(&format!("{name}_p50")),
                time(&format!("{name}_p99"))
            )
        };
        let over = |dialect: &str, transport: &str| {
            let name = format!("sessions_{dialect}_{transport}").to_lowercase();
            format!("{dialect} {transport} {}", count(&name))
        };
        let cores =
            value("cpu_cores").map_or_else(|| UNKNOWN.to_owned(), |cores| format!("{cores:.2}"));
        let updates = vec![
            format!(
                "{}/s, {}/s",
                count("updates_per_second"),
                bytes("bytes_per_second")
            ),
            format!("acked {}/s", count("acked_per_second")),
            format!("refused {}/s", count("refused_per_second")),
            format!("limits hit {}/s", count("limits_hit_per_second")),
        ];
        let ack = vec![
            both("ack_seconds"),
            format!("sync {}", both("sync_seconds")),
            format!("fan-out p99 {}", time("fanout_seconds_p99")),
            format!("join p99 {}", time("join_seconds_p99")),
        ];
        let behind = vec![
            format!("durability {}", time("durability_lag_seconds")),
            format!(
                "archive {}, {} records",
                time("archive_lag_seconds"),
                count("archive_lag_records")
            ),
            format!(
                "slowest reader {} records",
                count("feed_lag_records_slowest")
            ),
        ];
        let among = vec![
            count("sessions"),
            over("yjs", "WebSocket"),
            over("yjs", "WebTransport"),
            over("well", "WebSocket"),
            over("well", "WebTransport"),
            format!("connections {}", count("connections")),
        ];
        let memory = vec![
            format!(
                "{} of {}",
                bytes("memory_resident_bytes"),
                bytes("memory_limit_bytes")
            ),
            format!("documents {}", bytes("memory_documents_bytes")),
            format!("feeds {}", bytes("memory_feeds_bytes")),
            format!("caches {}", bytes("memory_caches_bytes")),
            format!("processor {cores} cores"),
        ];
        let disk = vec![
            format!("log {}", bytes("disk_log_bytes")),
            format!(
                "free {} of {}",
                bytes("disk_free_bytes"),
                bytes("disk_size_bytes")
            ),
        ];
        [
            ("updates", updates),
            ("ack", ack),
            ("behind", behind),
            ("sessions", among),
            ("memory", memory),
            ("disk", disk),
        ]
    }
}

/// Parts side by side, on as many lines as it takes.
fn wrapped(label: &str, parts: &[String], columns: usize) -> Vec<String> {
    let mut lines = vec![format!("{label:LABEL_WIDTH$}")];
    let mut is_first = true;
    for part in parts {
        let last = lines.len() - 1;
        let width = lines[last].chars().count();
        let gap = if is_first { "" } else { GAP };
        if !is_first && width + gap.len() + part.chars().count() > columns {
            lines.push(format!("{:LABEL_WIDTH$}{part}", ""));
            continue;
        }
        lines[last].push_str(gap);
        lines[last].push_str(part);
        is_first = false;
    }
    lines
}

/// What a table says of a room, beside its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Kind,
    Updates,
    Bytes,
    Sessions,
    Lag,
    Seq,
    Document,
}

impl Column {
    /// As they stand.
    const ALL: [Self; 7] = [
        Self::Kind,
        Self::Updates,
        Self::Bytes,
        Self::Sessions,
        Self::Lag,
        Self::Seq,
        Self::Document,
    ];
    /// Where there is little place the last of these go first.
    const BY_WORTH: [Self; 7] = [
        Self::Updates,
        Self::Sessions,
        Self::Bytes,
        Self::Lag,
        Self::Document,
        Self::Kind,
        Self::Seq,
    ];

    const fn of(by: By) -> Self {
        match by {
            By::Updates => Self::Updates,
            By::Bytes => Self::Bytes,
            By::Sessions => Self::Sessions,
            By::Lag => Self::Lag,
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Kind => "KIND",
            Self::Updates => "UPDATES/S",
            Self::Bytes => "BYTES/S",
            Self::Sessions => "SESSIONS",
            Self::Lag => "BEHIND",
            Self::Seq => "SEQ",
            Self::Document => "DOCUMENT",
        }
    }

    const fn width(self) -> usize {
        match self {
            Self::Kind => 6,
            Self::Sessions | Self::Lag => 9,
            Self::Updates | Self::Bytes | Self::Seq | Self::Document => 10,
        }
    }

    fn of_room(self, room: &Room) -> String {
        let known = |value: Option<String>| value.unwrap_or_else(|| UNKNOWN.to_owned());
        match self {
            Self::Kind => known(room.kind.clone()),
            Self::Updates => room.updates_per_second.to_string(),
            Self::Bytes => sized(Some(room.bytes_per_second as f64)),
            Self::Sessions => room.sessions.to_string(),
            Self::Lag => known(room.lag_records.map(|lag| lag.to_string())),
            Self::Seq => room.head.to_string(),
            Self::Document => sized(Some(room.document_bytes as f64)),
        }
    }
}

/// As much of the table of rooms as there is place for.
#[derive(Debug)]
struct Table {
    room_width: usize,
    columns: Vec<Column>,
}

impl Table {
    /// The names of rooms, what they are ordered by, and what else fits beside them.
    fn fitting(width: usize, by: By) -> Self {
        let mut left = width.saturating_sub(ROOM_WIDTH_MIN);
        let first = Column::of(by);
        let others = Column::BY_WORTH.into_iter().filter(|it| *it != first);
        let mut fit = Vec::new();
        for column in [first].into_iter().chain(others) {
            let Some(rest) = left.checked_sub(1 + column.width()) else {
                break;
            };
            left = rest;
            fit.push(column);
        }
        Self {
            room_width: ROOM_WIDTH.min(ROOM_WIDTH_MIN + left),
            columns: Column::ALL
                .into_iter()
                .filter(|it| fit.contains(it))
                .collect(),
        }
    }

    fn head(&self, by: By) -> String {
        let title = |column: Column| {
            let mark = if column == Column::of(by) { "↓" } else { "" };
            format!("{}{mark}", column.title())
        };
        self.line("ROOM", title)
    }

    fn row(&self, room: &Room) -> String {
        let mut name = room.room.clone();
        cut(&mut name, self.room_width);
        self.line(&name, |column| column.of_room(room))
    }

    fn line(&self, name: &str, cell: impl Fn(Column) -> String) -> String {
        let mut line = format!("{name:0$}", self.room_width);
        for column in &self.columns {
            let (cell, width) = (cell(*column), column.width());
            line.push(' ');
            line.push_str(&match column {
                Column::Kind => format!("{cell:width$}"),
                _ => format!("{cell:>width$}"),
            });
        }
        line
    }
}

/// Cuts a text to so many characters. What a server calls itself or its rooms cannot steer the terminal.
fn cut(text: &mut String, columns: usize) {
    let safe = |character: char| match character {
        character if character.is_control() => '?',
        // What has no width or turns the direction of what follows.
        '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}' => '?',
        character => character,
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
            room: format!("doc/{nth}\u{1b}[2J\u{202e}"),
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
                    not_ready: None,
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
        assert!(all[9].starts_with("doc/0?[2J? "), "{}", all[9]);
        assert_eq!(all.last(), Some(&"and 3 more"));
    }

    #[test]
    fn a_small_terminal_has_what_matters_and_what_rooms_are_ordered_by() {
        for (columns, by, titles) in [
            (
                80,
                By::Lag,
                "ROOM KIND UPDATES/S BYTES/S SESSIONS BEHIND↓ DOCUMENT",
            ),
            (
                80,
                By::Updates,
                "ROOM KIND UPDATES/S↓ BYTES/S SESSIONS BEHIND DOCUMENT",
            ),
            (40, By::Sessions, "ROOM UPDATES/S SESSIONS↓"),
            (40, By::Lag, "ROOM UPDATES/S BEHIND↓"),
        ] {
            let lines = Picture {
                by,
                ..picture(None)
            }
            .lines(columns, 100);
            let all: Vec<_> = lines.iter().map(|line| line.text.as_str()).collect();
            let head = all.iter().find(|line| line.starts_with("ROOM")).unwrap();
            let words: Vec<_> = head.split_whitespace().collect();
            assert_eq!(words.join(" "), titles, "{columns}");
            let all = all.join("\n");
            assert!(!all.contains('…'), "{all}");
            for said in [
                "join p99 –",
                "slowest reader – records",
                "connections –",
                "free – of –",
            ] {
                assert!(all.contains(said), "{said} in {all}");
            }
        }
    }

    #[test]
    fn it_fits_on_the_terminal() {
        let lines = picture(None).lines(30, 12);
        assert_eq!(lines.len(), 12);
        assert!(lines.iter().all(|line| line.text.chars().count() <= 30));
        assert!(picture(None).lines(0, 0).is_empty());
    }

    #[test]
    fn what_is_wrong_with_a_server_that_answers_stands_first() {
        let state = |values: &[(&str, f64)]| {
            let mut picture = picture(None);
            let (sample, _) = picture.seen.as_mut().unwrap();
            for (name, value) in values {
                sample.values.insert((*name).to_owned(), Some(*value));
            }
            let line = picture.state();
            let words = line.text.strip_prefix("http://well:4000  ").unwrap();
            (line.tone, words.to_owned())
        };
        let bad = |words: &str| (Tone::Bad, words.to_owned());
        let answers = (Tone::Strong, "answers".to_owned());
        const DAY: f64 = 86_400.0;
        let certificate = |left| {
            [
                ("certificate_tls_seconds", left),
                ("certificate_webtransport_seconds", 5.0 * DAY),
            ]
        };
        assert_eq!(state(&certificate(20.0 * DAY)), answers);
        let soon = "THE TLS CERTIFICATE ENDS in 48 h";
        assert_eq!(state(&certificate(2.0 * DAY)), bad(soon));
        let ended = "THE TLS CERTIFICATE HAS ENDED";
        assert_eq!(state(&certificate(-1.0)), bad(ended));
        let own = [("certificate_webtransport_seconds", 3600.0)];
        let ends = "THE WebTransport CERTIFICATE ENDS in 1 h";
        assert_eq!(state(&own), bad(ends));

        // The picture's archive is 7 records behind.
        assert_eq!(state(&[("archive_lag_seconds", 31.0)]), answers);
        let mut unreached = picture(None);
        let (sample, _) = unreached.seen.as_mut().unwrap();
        sample.values.insert("archive_lag_records".to_owned(), None);
        for (age, tone) in [(30.0, Tone::Strong), (31.0, Tone::Bad)] {
            let (sample, _) = unreached.seen.as_mut().unwrap();
            let age = Some(age);
            sample.values.insert("archive_lag_seconds".to_owned(), age);
            assert_eq!(unreached.state().tone, tone, "{age:?}");
        }
        let (sample, _) = unreached.seen.as_mut().unwrap();
        sample.not_ready = Some("the disk is full".to_owned());
        let line = unreached.state().text;
        assert_eq!(line, "http://well:4000  NOT READY: the disk is full");
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
