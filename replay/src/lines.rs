//! Records as JSON lines: what the HTTP API streams, and what is exported and imported.
//!
//! ```json
//! {"seq":1,"at":"2026-11-24T11:47:59.123456Z","author":{"session":"00000000000000ff","site":7},
//!  "kind":"update","payload":"AQEH…","chain":"d4f3cb0d770690f6"}
//! ```
//! `at` has microseconds, `payload` is base64 (RFC 4648 §4), `chain`, `session` and `op_id` are
//! hexadecimal; `user`, `site`, `op_id` and `base` are left out where there is none. What is
//! written is read back to the same record, chain hash and all. A snapshot has a line as well, in
//! exports of rooms whose first records are gone.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use protocol::record::Kind;
use protocol::{
    Author, Chain, Draft, Head, OpId, Record, RoomName, Seq, SessionId, Site, Timestamp, UserId,
};
use serde::{Deserialize, Serialize};
use storage::archive::Snapshot;
use xxhash_rust::xxh3::Xxh3;

use crate::moment::Moment;

/// A record as a JSON object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    seq: u64,
    at: String,
    author: AuthorLine,
    kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    op_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base: Option<u64>,
    payload: String,
    chain: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AuthorLine {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    session: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    site: Option<u64>,
}

/// Why a line is no record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} is not what it must be: {value:?}")]
pub struct LineError {
    /// The field.
    pub field: &'static str,
    /// What stands there.
    pub value: String,
}

impl From<&Record> for Line {
    fn from(record: &Record) -> Self {
        let draft = &record.draft;
        let user = draft.author.user.as_ref();
        Self {
            seq: record.seq.get(),
            at: record.at.to_string(),
            author: AuthorLine {
                user: user.map(|user| user.as_str().to_owned()),
                session: draft.author.session.to_string(),
                site: draft.author.site.map(Site::get),
            },
            kind: draft.kind.name().to_owned(),
            op_id: draft.op_id.map(|id| id.to_string()),
            base: draft.base.map(Seq::get),
            payload: BASE64.encode(&draft.payload),
            chain: record.chain.to_string(),
        }
    }
}

impl TryFrom<Line> for Record {
    type Error = LineError;

    fn try_from(line: Line) -> Result<Self, LineError> {
        let at = read_time(&line.at).ok_or_else(|| wrong("at", &line.at))?;
        let kind = Kind::from_name(&line.kind).ok_or_else(|| wrong("kind", &line.kind))?;
        let user = line.author.user.as_deref();
        let user = user
            .map(|user| UserId::new(user).map_err(|_| wrong("author.user", user)))
            .transpose()?;
        let session = &line.author.session;
        let session = read_hex(session).ok_or_else(|| wrong("author.session", session))?;
        let op_id = line.op_id.as_deref().map(|id| {
            let bytes = (id.len() == 32).then(|| u128::from_str_radix(id, 16).ok());
            let bytes = bytes.flatten().ok_or_else(|| wrong("op_id", id))?;
            Ok(OpId::new(bytes.to_be_bytes()))
        });
        let payload = BASE64.decode(&line.payload);
        let payload = payload.map_err(|_| wrong("payload", &line.payload))?;
        Ok(Self {
            seq: Seq::new(line.seq),
            at,
            chain: Chain::from_raw(
                read_hex(&line.chain).ok_or_else(|| wrong("chain", &line.chain))?,
            ),
            draft: Draft {
                author: Author {
                    user,
                    session: SessionId::new(session),
                    site: line.author.site.map(Site::new),
                },
                op_id: op_id.transpose()?,
                base: line.base.map(Seq::new),
                kind,
                payload: Bytes::from(payload),
            },
        })
    }
}

/// A time as it was printed, and nothing else.
#[must_use]
pub fn read_time(text: &str) -> Option<Timestamp> {
    match Moment::at(text) {
        Ok(Moment::At(at)) if at.to_string() == text => Some(at),
        _ => None,
    }
}

/// A number of sixteen hexadecimal digits.
#[must_use]
pub fn read_hex(text: &str) -> Option<u64> {
    let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    digits.then(|| u64::from_str_radix(text, 16).ok())?
}

/// Where a record stands, as a JSON object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadLine {
    seq: u64,
    at: String,
    chain: String,
}

impl From<Head> for HeadLine {
    fn from(head: Head) -> Self {
        Self {
            seq: head.seq.get(),
            at: head.at.to_string(),
            chain: head.chain.to_string(),
        }
    }
}

impl TryFrom<&HeadLine> for Head {
    type Error = LineError;

    fn try_from(line: &HeadLine) -> Result<Self, LineError> {
        let chain = read_hex(&line.chain).ok_or_else(|| wrong("chain", &line.chain))?;
        Ok(Self {
            seq: Seq::new(line.seq),
            at: read_time(&line.at).ok_or_else(|| wrong("at", &line.at))?,
            chain: Chain::from_raw(chain),
        })
    }
}

/// A snapshot as a JSON object, but for its room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotLine {
    /// The last record that is folded into it.
    snapshot: HeadLine,
    kind: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    title: Option<String>,
    created: String,
    clients: String,
    content: String,
    /// XXH3-128 of clients and content.
    hash: String,
}

impl From<&Snapshot> for SnapshotLine {
    fn from(snapshot: &Snapshot) -> Self {
        Self {
            snapshot: snapshot.head.into(),
            kind: snapshot.kind,
            title: snapshot.title.clone(),
            created: snapshot.created.to_string(),
            clients: BASE64.encode(&snapshot.clients),
            content: BASE64.encode(&snapshot.content),
            hash: hash(&snapshot.clients, &snapshot.content),
        }
    }
}

impl SnapshotLine {
    /// The snapshot of the room that it is of.
    ///
    /// # Errors
    /// [`LineError`] names the field that is not what it must be.
    pub fn of(self, room: RoomName) -> Result<Snapshot, LineError> {
        let decoded = |field, text: &str| BASE64.decode(text).map_err(|_| wrong(field, text));
        let clients = decoded("clients", &self.clients)?;
        let content = decoded("content", &self.content)?;
        if hash(&clients, &content) != self.hash {
            return Err(wrong("hash", &self.hash));
        }
        let created = read_time(&self.created);
        Ok(Snapshot {
            room,
            head: Head::try_from(&self.snapshot)?,
            kind: self.kind,
            title: self.title,
            created: created.ok_or_else(|| wrong("created", &self.created))?,
            clients: clients.into(),
            content: content.into(),
        })
    }
}

fn hash(clients: &[u8], content: &[u8]) -> String {
    let mut hasher = Xxh3::new();
    hasher.update(clients);
    hasher.update(content);
    format!("{:032x}", hasher.digest128())
}

fn wrong(field: &'static str, value: &str) -> LineError {
    LineError {
        field,
        value: value.chars().take(80).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(user: Option<&str>, full: bool) -> Record {
        let draft = Draft {
            author: Author {
                user: user.map(|user| UserId::new(user).unwrap()),
                session: SessionId::new(255),
                site: full.then(|| Site::new(u64::MAX)),
            },
            op_id: full.then(|| OpId::new(*b"0123456789abcdef")),
            base: full.then(|| Seq::new(3)),
            kind: if full { Kind::Update } else { Kind::Titled },
            payload: Bytes::from(if full { vec![0, 255, 10] } else { Vec::new() }),
        };
        let at = Timestamp::from_micros(1_795_520_879_000_001);
        let seq = Seq::new(4);
        Record {
            seq,
            at,
            chain: Chain::EMPTY.extend(seq, at, &draft),
            draft,
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for record in [record(None, false), record(Some("Zoë \"Q\""), true)] {
            let text = serde_json::to_string(&Line::from(&record)).unwrap();
            let line: Line = serde_json::from_str(&text).unwrap();
            assert_eq!(Record::try_from(line), Ok(record), "{text}");
        }
    }

    #[test]
    fn what_is_no_record_is_refused_with_the_field() {
        let good = serde_json::to_value(Line::from(&record(Some("ada"), true))).unwrap();
        for (field, value) in [
            ("at", serde_json::json!("yesterday")),
            ("at", serde_json::json!("2026-11-24T11:47:59Z")),
            ("kind", serde_json::json!("edit")),
            ("op_id", serde_json::json!("12")),
            ("payload", serde_json::json!("?")),
            ("chain", serde_json::json!("+123456789abcdef")),
        ] {
            let mut bad = good.clone();
            bad[field] = value;
            let line: Line = serde_json::from_value(bad).unwrap();
            assert_eq!(Record::try_from(line).unwrap_err().field, field);
        }
    }
}
