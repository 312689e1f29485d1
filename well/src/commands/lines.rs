//! The lines of an export.
//!
//! ```text
//! {"room":"doc/a","start":{"seq","at","chain"},"created"}   a room begins: records after `start`
//! {"seq":1,"at",…,"chain"}                                  a record, as the HTTP API gives it
//! {"snapshot":{"seq","at","chain"},"kind",…,"content"}      what the rest folds on, after its record
//! {"end":{"rooms":1,"records":1}}                           the export is whole
//! ```

use anyhow::Context;
use protocol::{Head, Record, RoomName, Timestamp};
use replay::lines::{HeadLine, Line, SnapshotLine, read_time};
use serde::{Deserialize, Serialize};

/// The line that begins a room: records follow that come after `start`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RoomLine {
    room: String,
    start: HeadLine,
    created: String,
}

impl RoomLine {
    pub(crate) fn new(room: &RoomName, start: Head, created: Timestamp) -> Self {
        Self {
            room: room.as_str().to_owned(),
            start: start.into(),
            created: created.to_string(),
        }
    }

    pub(crate) fn name(&self) -> anyhow::Result<RoomName> {
        RoomName::parse(&self.room).with_context(|| format!("{:?} is no room", self.room))
    }

    pub(crate) fn start(&self) -> anyhow::Result<Head> {
        Head::try_from(&self.start).context("start")
    }

    pub(crate) fn created(&self) -> anyhow::Result<Timestamp> {
        read_time(&self.created).context("created is no time")
    }
}

/// The last line: the export is whole, and this is how much it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Counts {
    pub(crate) rooms: u64,
    pub(crate) records: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EndLine {
    pub(crate) end: Counts,
}

/// A line of any kind.
pub(crate) enum Text {
    Room(RoomLine),
    Record(Record),
    Snapshot(SnapshotLine),
    End(Counts),
}

impl Text {
    pub(crate) fn parse(line: &str) -> anyhow::Result<Self> {
        // Each kind has a first field of its own.
        if line.starts_with("{\"room\"") {
            return Ok(Self::Room(serde_json::from_str(line)?));
        }
        if line.starts_with("{\"snapshot\"") {
            return Ok(Self::Snapshot(serde_json::from_str(line)?));
        }
        if line.starts_with("{\"end\"") {
            let line: EndLine = serde_json::from_str(line)?;
            return Ok(Self::End(line.end));
        }
        let line: Line = serde_json::from_str(line)?;
        Ok(Self::Record(line.try_into()?))
    }
}

/// Adds a line.
pub(crate) fn put(out: &mut Vec<u8>, line: &impl Serialize) -> anyhow::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.push(b'\n');
    Ok(())
}
