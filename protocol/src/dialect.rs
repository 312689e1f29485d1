//! The client protocols, each a sans-IO state machine.
//!
//! A dialect turns a client's messages into [`Command`]s for the room, and what the room says
//! ([`Event`]s) into messages. It holds no socket and no clock: a transport feeds it bytes, events
//! and the time, and sends what it puts into its [`Output`]. What a message means is decided
//! here; whether it is allowed is decided by the room, once for every dialect.
//!
//! Frames that are the same for every session of a dialect (updates, presence) are encoded once
//! and shared; each dialect has plain functions for those.

use std::time::Duration;

use bytes::Bytes;

use crate::close::CloseCode;
use crate::ids::{ClientId, OpId, Seq, Site, Timestamp};
use crate::record::Record;
use crate::role::Role;

mod json;
mod lib0;
pub mod well;
pub mod yjs;

/// What a client asks of its room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Wants the document, as a difference from what it has. Answered by [`Event::State`].
    Sync {
        /// What the client has, as its document kind encodes it (a Yjs state vector).
        version: Bytes,
    },
    /// Says who numbers its operations here, and what of the room it has. Answered by
    /// [`Event::Entered`]; from then on its operations are told where they are ([`Event::Placed`]).
    Enter {
        /// The client.
        client: ClientId,
        /// It has every record up to this one.
        since: Option<Since>,
        /// What its document has, as its kind encodes it.
        version: Option<Bytes>,
    },
    /// Wants an update in the log. Settled in the order of submission: see [`Event::Settled`].
    Submit(Submission),
    /// Says who is here.
    Presence(Vec<PresenceEntry>),
    /// Wants everyone's presence again.
    QueryPresence,
}

/// A record that a client has, and every one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Since {
    /// Its place.
    pub seq: Seq,
    /// Its time, if the client was told: no other log has a record of that place and time.
    pub at: Option<Timestamp>,
}

impl Since {
    /// Whether it may be the record that has this time in the log.
    #[must_use]
    pub fn is_at(self, at: Timestamp) -> bool {
        self.at.is_none_or(|told| told == at)
    }
}

/// An update on its way to the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// The update, not yet checked.
    pub payload: Bytes,
    /// The client's id of the operation, in dialects that have one.
    pub op_id: Option<OpId>,
    /// The last Seq the client had seen, in dialects that say so.
    pub base: Option<Seq>,
}

/// One replica's presence: the latest clock wins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresenceEntry {
    /// The replica.
    pub site: Site,
    /// Grows with every change of the state, up to
    /// [`MAX_PRESENCE_CLOCK`](crate::limits::MAX_PRESENCE_CLOCK).
    pub clock: u64,
    /// The state as JSON, or `None` when the replica has left.
    pub state: Option<Bytes>,
}

/// What the room tells a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The room is loaded and the session is a member of it.
    Joined {
        /// What the room has, as its document kind encodes it (a Yjs state vector).
        version: Bytes,
        /// What the session may do.
        role: Role,
    },
    /// The answer to [`Command::Enter`].
    Entered {
        /// The end of the log that `content` brings the client to; updates follow from there.
        head: Seq,
        /// When the server took the record there.
        at: Timestamp,
        /// What the client has is of another past than this log's, and `content` takes its place.
        began_anew: bool,
        /// The last of the client's operations that is in the log; 0 for none.
        last_op: u64,
        /// What it lacks.
        content: Content,
    },
    /// Where operations of the session are in the log. Comes before the [`Event::Settled`] that
    /// covers them.
    Placed(Placed),
    /// The answer to [`Command::Sync`], or what the session has missed if it fell behind: everything
    /// the client lacks.
    State {
        /// The end of the log that it was folded from.
        seq: Seq,
        /// When the server took the record there.
        at: Timestamp,
        /// The difference, as its document kind encodes it (a Yjs update).
        payload: Bytes,
    },
    /// The session's first `count` submissions are settled: each is durable in the log, or was
    /// already there, or was refused. Counts never go back.
    Settled {
        /// How many of the session's submissions are settled.
        count: u64,
    },
    /// The session's submission number `submission` (1, 2, …) was refused. Comes before the
    /// [`Event::Settled`] that covers it.
    Refused {
        /// Which submission.
        submission: u64,
        /// Why.
        refusal: Refusal,
    },
    /// The room or the server ends the session.
    Closed {
        /// The close code.
        code: CloseCode,
        /// Why, in words.
        reason: String,
    },
}

/// What a client that enters lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// The records after what it has; they may be none, and more may follow as updates do.
    Records(Vec<Record>),
    /// A difference from the version that it named.
    Difference(Bytes),
    /// The whole document.
    Snapshot(Bytes),
}

/// Consecutive operations of one client with consecutive Seqs, of one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// The number of the first.
    pub op: u64,
    /// The Seq of the first.
    pub seq: Seq,
    /// How many they are.
    pub count: u64,
    /// When the server took them; `None` if they had been in the log before.
    pub at: Option<Timestamp>,
    /// How many records stand between its base and it, for the most outdated of them.
    pub stale: u64,
}

/// Why the room refused a submission: who erred, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A viewer tried to write something new.
    #[error("this session is a viewer and may not write")]
    ReadOnly,
    /// The payload is not a valid update of the room's document.
    #[error("the update is malformed: {0}")]
    Malformed(String),
    /// The payload or the document would be over its limit.
    #[error("{what} would have {bytes} bytes, over the limit of {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// How large it would be.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// It would put binary content into the document, and the space denies that.
    #[error("binary content is not allowed here: {path}; keep it elsewhere and put in its address")]
    Binary {
        /// Where in the document, like `strokes[3].image`.
        path: String,
    },
    /// It came too fast.
    #[error("too many {what} in a short time; try again in {} s", after.as_secs() + 1)]
    TooFast {
        /// Of what there are too many.
        what: &'static str,
        /// After how long it would have been taken.
        after: Duration,
    },
    /// What may be written in a month has been.
    #[error(
        "this month's {what} are used up, {limit} of them; counting begins anew on {}",
        resets.date()
    )]
    Spent {
        /// What is used up: records, or bytes.
        what: &'static str,
        /// How many there are for a month.
        limit: u64,
        /// When the next month begins.
        resets: Timestamp,
        /// How long that is from now.
        after: Duration,
    },
    /// The client's later operations are in the log already.
    #[error("operation {op} comes after {last} of the same client, which is in the log")]
    OutOfOrder {
        /// The operation.
        op: u64,
        /// The last one in the log.
        last: u64,
    },
    /// The log could not take it; the client may send it again.
    #[error("the update could not be stored, send it again: {0}")]
    NotStored(String),
}

impl Refusal {
    /// When the same may be tried again, if that is known.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooFast { after, .. } | Self::Spent { after, .. } => Some(*after),
            Self::NotStored(_) => Some(Duration::from_secs(1)),
            Self::ReadOnly
            | Self::Malformed(_)
            | Self::TooLarge { .. }
            | Self::Binary { .. }
            | Self::OutOfOrder { .. } => None,
        }
    }

    /// How the session goes on after this refusal: `None` stays open.
    #[must_use]
    pub const fn close_code(&self) -> Option<CloseCode> {
        match self {
            Self::ReadOnly => None,
            Self::Malformed(_) | Self::Binary { .. } => Some(CloseCode::BadMessage),
            Self::TooLarge { .. } => Some(CloseCode::TooLarge),
            Self::TooFast { .. } | Self::Spent { .. } => Some(CloseCode::OverQuota),
            Self::OutOfOrder { .. } => Some(CloseCode::Conflict),
            Self::NotStored(_) => Some(CloseCode::TryLater),
        }
    }
}

/// What a dialect wants done, in order, after it was given something.
#[derive(Debug, Default)]
pub struct Output {
    /// For the room.
    pub commands: Vec<Command>,
    /// For the client: one message each.
    pub messages: Vec<Message>,
    /// Ends the connection after `messages` are sent.
    pub close: Option<(CloseCode, String)>,
}

/// A message in one or two pieces, so that a large shared payload is not copied behind its header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The dialect's own bytes.
    pub head: Bytes,
    /// A shared payload that follows; may be empty.
    pub body: Bytes,
}

impl Message {
    /// A message in one piece.
    #[must_use]
    pub const fn whole(head: Bytes) -> Self {
        Self {
            head,
            body: Bytes::new(),
        }
    }

    /// How many bytes the message has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }

    /// Whether the message has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
