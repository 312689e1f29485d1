//! The lines of an export.

use anyhow::Context;
use protocol::{Chain, Head, Record, RoomName, Seq, Timestamp};
use replay::lines::{Line, read_hex, read_time};
use serde::{Deserialize, Serialize};

/// The line that begins a room: records follow that come after `start`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RoomLine {
    room: String,
    start: Start,
    created: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Start {
    seq: u64,
    at: String,
    chain: String,
}

impl RoomLine {
    pub(crate) fn new(room: &RoomName, start: Head, created: Timestamp) -> Self {
        Self {
            room: room.as_str().to_owned(),
            start: Start {
                seq: start.seq.get(),
                at: start.at.to_string(),
                chain: start.chain.to_string(),
            },
            created: created.to_string(),
        }
    }

    pub(crate) fn name(&self) -> anyhow::Result<RoomName> {
        RoomName::parse(&self.room).with_context(|| format!("{:?} is no room", self.room))
    }

    pub(crate) fn start(&self) -> anyhow::Result<Head> {
        let start = &self.start;
        Ok(Head {
            seq: Seq::new(start.seq),
            at: read_time(&start.at).context("start.at is no time")?,
            chain: Chain::from_raw(read_hex(&start.chain).context("start.chain is no hash")?),
        })
    }

    pub(crate) fn created(&self) -> anyhow::Result<Timestamp> {
        read_time(&self.created).context("created is no time")
    }
}

/// A line of either kind.
pub(crate) enum Text {
    Room(RoomLine),
    Record(Record),
}

impl Text {
    pub(crate) fn parse(line: &str) -> anyhow::Result<Self> {
        // A record has no room, and a room's line has no Seq.
        if line.starts_with("{\"room\"") {
            return Ok(Self::Room(serde_json::from_str(line)?));
        }
        let line: Line = serde_json::from_str(line)?;
        Ok(Self::Record(line.try_into()?))
    }
}
