//! A room's row: what the mover has settled about it.
//!
//! ```text
//! tree `rooms`   key    room name
//!                value  envelope(Catalogue) { start head | head | deleted u8 | bytes u64
//!                       | created u64 | applied u64 | erased u64 }
//! ```
//!
//! Rows of builds before there was an archive end before `erased`: in those, only a deleted room
//! has erased anything that is still known.
//!
//! `applied` is the last batch whose changes of this room are in the row and in its chunks;
//! recovery replays only later ones, so a move that stopped anywhere is simply done again.

use protocol::envelope::{self, Content, Damage};
use protocol::{Seq, Timestamp};

use crate::fields::{Fields, put_head};
use crate::log::RoomState;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Row {
    pub(crate) state: RoomState,
    pub(crate) applied: u64,
}

impl Row {
    pub(crate) fn seal(&self) -> Vec<u8> {
        let mut value = Vec::with_capacity(96);
        envelope::seal(Content::Catalogue, &mut value, |out| {
            put_head(out, self.state.start);
            put_head(out, self.state.head);
            out.push(u8::from(self.state.deleted));
            out.extend_from_slice(&self.state.bytes.to_le_bytes());
            out.extend_from_slice(&self.state.created.micros().to_le_bytes());
            out.extend_from_slice(&self.applied.to_le_bytes());
            out.extend_from_slice(&self.state.erased.get().to_le_bytes());
        });
        value
    }

    pub(crate) fn open(value: &[u8]) -> Result<Self, Damage> {
        let (body, rest) = envelope::open(Content::Catalogue, value)?;
        if !rest.is_empty() {
            return Err(Damage::Content);
        }
        let mut fields = Fields::new(body);
        let mut row = Self {
            state: RoomState {
                start: fields.head()?,
                head: fields.head()?,
                deleted: fields.flag()?,
                bytes: fields.u64()?,
                created: Timestamp::from_micros(fields.u64()?),
                erased: Seq::ZERO,
            },
            applied: fields.u64()?,
        };
        if !fields.is_empty() {
            row.state.erased = Seq::new(fields.u64()?);
        } else if row.state.deleted {
            row.state.erased = row.state.head.seq;
        }
        fields.end()?;
        Ok(row)
    }
}

/// Where the mover stands: kept in the default tree under [`Moved::KEY`].
///
/// Commits up to `entry` and batches up to `batch` have been moved and may be gone; bodies from
/// `body` on may lack their entry, if a move stopped before it was finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Moved {
    pub(crate) batch: u64,
    pub(crate) entry: u64,
    pub(crate) body: u64,
}

impl Moved {
    pub(crate) const KEY: &'static [u8] = b"moved";

    pub(crate) fn seal(self) -> Vec<u8> {
        let mut value = Vec::with_capacity(40);
        envelope::seal(Content::Catalogue, &mut value, |out| {
            for n in [self.batch, self.entry, self.body] {
                out.extend_from_slice(&n.to_le_bytes());
            }
        });
        value
    }

    pub(crate) fn open(value: &[u8]) -> Result<Self, Damage> {
        let (body, _) = envelope::open(Content::Catalogue, value)?;
        let mut fields = Fields::new(body);
        let moved = Self {
            batch: fields.u64()?,
            entry: fields.u64()?,
            body: fields.u64()?,
        };
        fields.end()?;
        Ok(moved)
    }
}
