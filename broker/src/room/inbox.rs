//! What waits for a room's owner: one closed enum, in the order it came.
//!
//! The inbox is bounded by what submissions take: they [weigh] from the moment they are sent until
//! they are settled, and presence until it is handled, so one number bounds everything a room holds on its
//! way. Past [`INBOX_BYTES`] a member is turned away and its transport stops reading until it is woken.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use observatory::trace::{self, Marked, Parent};
use parking_lot::Mutex;
use protocol::dialect::{Command, Refusal};
use protocol::{CloseCode, Head, Kind, Role, Seq, SessionId, UserId};
use replay::{EditSize, Wanted};
use tokio::sync::{Notify, oneshot};

use super::State;
use crate::committer::{Commit, Committed};
use crate::limits::{INBOX_BYTES, SUBMISSION_BYTES};
use crate::member::Mailbox;
use crate::memory::Share;
use crate::rules::SpaceRule;
use crate::usage::Allowance;

/// Everything that can wake a room.
pub(crate) enum Input {
    Join {
        session: SessionId,
        mailbox: Arc<Mailbox>,
        role: Role,
        user: Option<UserId>,
        allowance: Option<Allowance>,
    },
    Commands {
        session: SessionId,
        commands: Vec<Command>,
        /// How the submissions among them came; of others it does not matter.
        came: Option<Came>,
    },
    /// The member's cursor fell off the feed.
    CatchUp(SessionId),
    Leave {
        session: SessionId,
        clean: bool,
    },
    Committed(Committed, Commit),
    ReadState(oneshot::Sender<Result<State, RoomError>>),
    /// Append these as the server's own.
    Write(Writing),
    /// Append these as the server's own, if the room has no record yet.
    Begin(Writing),
    /// Make the document show what is wanted, by a new edit.
    Restore(Restore, oneshot::Sender<Result<Edited, RoomError>>),
    Delete(oneshot::Sender<Result<(), RoomError>>),
    /// Delete it if nobody is here.
    DeleteIdle(oneshot::Sender<Result<(), RoomError>>),
    End(CloseCode, &'static str),
    /// The space asks something else of its rooms from here on.
    Rule(SpaceRule),
}

/// Records of the server's own.
pub(crate) struct Writing {
    pub(crate) items: Vec<(Kind, Bytes)>,
    pub(crate) allowance: Option<Allowance>,
    pub(crate) reply: oneshot::Sender<Result<Head, RoomError>>,
}

/// How submissions came.
#[derive(Debug, Clone)]
pub(crate) struct Came {
    /// When.
    pub(crate) at: Instant,
    /// Which of them are traced. A batch without any allocates nothing for that.
    pub(crate) marked: Option<Box<Marked>>,
}

impl Came {
    /// Of so many submissions that come now, from a session with this parent.
    pub(crate) fn of(submissions: usize, parent: Option<Parent>, at: Instant) -> Self {
        let marked = trace::mark(submissions, parent, at).map(Box::new);
        Self { at, marked }
    }
}

/// What a room is to be set to.
#[derive(Debug, Clone)]
pub struct Restore {
    /// What the document is to show.
    pub wanted: Wanted,
    /// What the event says that is written before the edit; none is without.
    pub details: Option<Bytes>,
    /// A replica id that nobody has used.
    pub replica: u64,
    /// Where the log must end for it to be done.
    pub expects: Option<Seq>,
    /// What the edit is counted to, if not to its space.
    pub allowance: Option<Allowance>,
}

/// A room has been set to what was wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edited {
    /// The end of the log.
    pub head: Head,
    /// How much the edit did, where that is counted.
    pub size: EditSize,
}

/// Why a room could not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RoomError {
    /// The room could not be loaded from its log, or not be written.
    #[error("{0}")]
    Log(String),
    /// There is no such room, or it was deleted.
    #[error("there is no such room")]
    NoRoom,
    /// The room or the server is ending; the same request may succeed later.
    #[error("the room is closing, try again")]
    Ending,
    /// Somebody is in it.
    #[error("somebody is in the room")]
    InUse,
    /// The room has records already.
    #[error("there is such a room already")]
    Exists,
    /// The log does not end where it was expected to.
    #[error("the room has moved on: its last record is {0}")]
    Moved(Seq),
    /// The document does not take it.
    #[error("{0}")]
    Refused(String),
    /// There is no more of it this month.
    #[error("{0}")]
    Spent(Refusal),
    /// There are as many rooms or sessions as there may be.
    #[error("{0}")]
    Full(String),
}

pub(crate) struct Inbox {
    queue: Mutex<Vec<Input>>,
    arrived: Notify,
    unsettled: Share,
    /// Members that were turned away, to be woken when there is space.
    turned_away: Mutex<Vec<Arc<Mailbox>>>,
}

impl std::fmt::Debug for Inbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbox")
            .field("queued", &self.queue.lock().len())
            .field("unsettled", &self.unsettled.bytes())
            .finish_non_exhaustive()
    }
}

impl Inbox {
    /// Nothing waits. What comes is counted to `unsettled`.
    pub(crate) fn new(unsettled: Share) -> Self {
        Self {
            queue: Mutex::default(),
            arrived: Notify::new(),
            unsettled,
            turned_away: Mutex::default(),
        }
    }

    /// Puts in something that is bounded by itself: one of it for each member or request.
    pub(crate) fn push(&self, input: Input) {
        self.queue.lock().push(input);
        self.arrived.notify_one();
    }

    /// Puts in a member's commands, unless the room has enough on its way already; then the
    /// member is woken when there is space again, and `commands` are left as they were. Only what is
    /// taken has come.
    pub(crate) fn offer(
        &self,
        session: SessionId,
        mailbox: &Arc<Mailbox>,
        commands: &mut Vec<Command>,
        came: impl FnOnce() -> Option<Came>,
    ) -> bool {
        if self.unsettled.bytes() >= INBOX_BYTES {
            self.turned_away.lock().push(Arc::clone(mailbox));
            // It may have emptied between the two looks: then nobody else will wake it.
            if self.unsettled.bytes() >= INBOX_BYTES {
                return false;
            }
        }
        let presence: usize = commands.iter().map(weigh_presence).sum();
        let bytes = presence + payloads(commands).map(weigh).sum::<usize>();
        self.unsettled.add(bytes);
        observatory::inbox_bytes(bytes as i64);
        let commands = std::mem::take(commands);
        self.push(Input::Commands {
            session,
            commands,
            came: came(),
        });
        true
    }

    /// Counts bytes as settled, and wakes whom they had turned away.
    pub(crate) fn release(&self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        observatory::inbox_bytes(-(bytes as i64));
        if self.unsettled.sub(bytes) < INBOX_BYTES {
            for mailbox in std::mem::take(&mut *self.turned_away.lock()) {
                mailbox.wake();
            }
        }
    }

    /// What is on its way takes so many bytes.
    #[cfg(test)]
    pub(crate) fn weight(&self) -> usize {
        self.unsettled.bytes()
    }

    /// Takes everything that has arrived.
    pub(crate) fn take(&self) -> Vec<Input> {
        std::mem::take(&mut *self.queue.lock())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.lock().is_empty()
    }

    /// Waits until something may have arrived. Cancel-safe.
    pub(crate) async fn arrived(&self) {
        self.arrived.notified().await;
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        // What ended with its room unsettled.
        observatory::inbox_bytes(-(self.unsettled.bytes() as i64));
    }
}

/// What a submission with this payload takes until it is settled: as it came, and sealed.
pub(crate) const fn weigh(payload: &Bytes) -> usize {
    2 * payload.len() + SUBMISSION_BYTES
}

/// What a command takes until it is handled, for the presence that it tells.
pub(crate) fn weigh_presence(command: &Command) -> usize {
    let Command::Presence(entries) = command else {
        return 0;
    };
    let states = entries.iter().filter_map(|entry| entry.state.as_ref());
    size_of_val(entries.as_slice()) + states.map(Bytes::len).sum::<usize>()
}

/// The payloads that are submitted by commands.
pub(crate) fn payloads(commands: &[Command]) -> impl Iterator<Item = &Bytes> {
    commands.iter().filter_map(|command| match command {
        Command::Submit(submission) => Some(&submission.payload),
        Command::Sync { .. }
        | Command::Enter { .. }
        | Command::Presence(_)
        | Command::QueryPresence => None,
    })
}
