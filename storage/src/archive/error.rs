//! What can go wrong with an archive, and whose turn it is.

use protocol::envelope::Damage;
use protocol::{RoomName, Seq};

/// Why an archive did not do what was asked. Nothing was lost in any of these cases.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveError {
    /// The URL names no store that this build knows, or lacks something.
    #[error("{url} names no archive: {why}")]
    Url {
        /// The URL.
        url: String,
        /// What is wrong with it, and what would be right.
        why: String,
    },
    /// The store failed, refused or did not answer in time. It may work again.
    #[error("the object store failed to {doing}: {why}")]
    Store {
        /// What was tried.
        doing: String,
        /// What the store said.
        why: String,
    },
    /// Stored bytes are not what was written.
    #[error("{object} is damaged{}: {damage}", place(room.as_ref(), *seq))]
    Damaged {
        /// The object's path in the store.
        object: String,
        /// The room, where the damage is in one room's part.
        room: Option<RoomName>,
        /// The first Seq that cannot be read.
        seq: Option<Seq>,
        /// What is wrong.
        damage: Damage,
    },
    /// An object that the manifest names is not there.
    #[error("{object} is missing, though the newest manifest names it")]
    Missing {
        /// The object's path in the store.
        object: String,
    },
    /// Objects of the archive cannot be read, and what they hold is needed.
    #[error("{objects}; {harm}. Put what is damaged back from a copy of the bucket")]
    Unreadable {
        /// Which objects, and what is wrong with them.
        objects: String,
        /// What comes of it.
        harm: String,
        /// The room whose records are in no other place, if there is one; the first by name.
        room: Option<RoomName>,
        /// Its first and its last record that are.
        seqs: Option<(Seq, Seq)>,
    },
    /// The records asked for are not kept: retention or a deletion removed them.
    #[error("the records up to seq {start} are not in the archive")]
    Trimmed {
        /// The last Seq that is not there.
        start: Seq,
    },
    /// The bucket holds the history of another log, or this log has lost its own.
    #[error(
        "this archive is not the one of this log: {why}; nothing was written for {room}. If the \
         data folder was lost, fill an empty one with `well restore`; if it was restored with \
         --partial, give the server an empty prefix; if the archive's address is wrong, the right one"
    )]
    WrongBucket {
        /// The room in which it shows.
        room: RoomName,
        /// What does not fit.
        why: String,
    },
    /// The log has been trimmed, and this archive never had the room.
    #[error(
        "the log of {room} begins after seq {start}, and this archive has nothing of {room}: what lies \
         before is in another archive, whose address to give. Nothing was written for {room}. If that \
         archive is lost for good, begin one without it: stop the server, `well export --format archive \
         --data DIR --archive \"\" --to URL` with an empty prefix, and give the server that URL"
    )]
    Headless {
        /// The room.
        room: RoomName,
        /// The last Seq that the log has no more.
        start: Seq,
    },
    /// Another server has taken the archive over; this one never writes to it again.
    #[error(
        "another server writes to this archive now (epoch {by}, ours was {epoch}); this one has \
         stopped archiving for good. Only one server may have an archive: stop one of them, then \
         restart the other"
    )]
    Fenced {
        /// The epoch of this writer.
        epoch: u64,
        /// The epoch of the writer that took over.
        by: u64,
    },
    /// The log could not be read.
    #[error("the log could not be read: {0}")]
    Log(String),
    /// It was not done within the time given.
    #[error("not archived within {0:?}; {1}")]
    TimedOut(std::time::Duration, String),
    /// The archiver has been stopped.
    #[error("the archiver has been stopped")]
    Stopped,
}

impl ArchiveError {
    /// Whether archiving must not go on after it.
    pub(super) const fn is_final(&self) -> bool {
        matches!(
            self,
            Self::WrongBucket { .. } | Self::Headless { .. } | Self::Fenced { .. } | Self::Stopped
        )
    }

    /// Whether it is about bytes that are not what was written, so that trying again does not help.
    pub(super) const fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Damaged { .. } | Self::Missing { .. } | Self::Unreadable { .. }
        )
    }

    /// Whether the same call may succeed later with nothing changed here.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Store { .. } | Self::Log(_) | Self::TimedOut(..) | Self::Missing { .. }
        )
    }
}

fn place(room: Option<&RoomName>, seq: Option<Seq>) -> String {
    match (room, seq) {
        (Some(room), Some(seq)) => format!(" in {room} at seq {seq}"),
        (Some(room), None) => format!(" in {room}"),
        (None, _) => String::new(),
    }
}
