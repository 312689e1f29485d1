//! Named bounds of rooms, feeds and commits, and how they relate.

use std::time::Duration;

/// Bounds that an operator may set; the defaults suit one machine of modest size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The most rooms that are loaded at once. Past it a room without members makes way; with
    /// none, a join is refused with 1013.
    pub rooms_loaded: usize,
    /// The most sessions in one room.
    pub sessions_per_room: usize,
    /// How long a room stays loaded after its last member has left.
    pub idle_unload: Duration,
    /// The largest document in memory; past it writes are refused and reads go on.
    pub document_bytes: usize,
    /// What clients can make the process hold, all together and about, in bytes: past three quarters of
    /// it rooms without members make way; then no more are loaded, and writes are refused with 1013.
    pub memory: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            rooms_loaded: 20_000,
            sessions_per_room: 5_000,
            idle_unload: Duration::from_secs(30),
            document_bytes: 256 << 20,
            memory: 2 << 30,
        }
    }
}

/// How many bytes of updates a room's feed keeps for readers that are a little behind.
pub const FEED_BYTES: usize = 256 << 10;
/// How many batches a room's feed keeps.
pub const FEED_BATCHES: usize = 1024;
/// How many commits of one room may be on their way to the log at once: one that syncs and one
/// that is being prepared.
pub const ROOM_COMMITS_IN_FLIGHT: usize = 2;
/// How many appends the committer keeps in flight: one that syncs and one that is being prepared.
pub const APPENDS_IN_FLIGHT: usize = 2;
/// The most bytes of one append, unless a single run is larger.
pub const COMMIT_BYTES: usize = 4 << 20;
/// How many bytes of submissions one session may have unsettled before its transport stops
/// reading from it.
pub const SESSION_WINDOW_BYTES: usize = 1 << 20;
/// How many submissions one session may have unsettled before its transport stops reading.
pub const SESSION_WINDOW: u64 = 16_384;
/// How many bytes submissions may take that are on their way to a room's log before its members'
/// transports stop reading.
pub const INBOX_BYTES: usize = 16 << 20;
/// What a submission takes beside its payload, as it came and sealed, until it is settled.
pub const SUBMISSION_BYTES: usize = 512;
/// How many events may wait in a session's mailbox before its transport stops reading.
pub const MAILBOX_EVENTS: usize = 64;
/// How many bytes of records a client that comes back is sent at most; one that lacks more is sent
/// the document.
pub const CATCH_UP_BYTES: usize = 1 << 20;
/// How long a member that vanished without a goodbye is still shown as present.
pub const PRESENCE_GRACE: Duration = Duration::from_secs(4);
/// The most replicas that a room shows as present.
pub const PRESENCE_ENTRIES: usize = 10_000;
/// How long an encoded state is kept for the next joiner.
pub const STATE_CACHE_TIME: Duration = Duration::from_secs(10);
/// How many bytes of updates may follow an encoded state before it is encoded anew.
pub const CACHED_STATE_TAIL_BYTES: usize = FEED_BYTES / 4;
/// How many of a room's commits may follow an encoded state before it is encoded anew.
pub const CACHED_STATE_TAIL_RUNS: usize = FEED_BATCHES / 4;
/// How many tenants are counted at once, in all spaces together: about 20 MB.
pub const TENANTS: usize = 100_000;
/// From this size on a document is encoded where it does not hold up other rooms.
pub const HEAVY_DOCUMENT_BYTES: usize = 1 << 20;
/// How many such documents are encoded at once.
pub const HEAVY_AT_ONCE: usize = 2;
/// What waking one member and its client costs, roughly: a room that has woken all of its members
/// waits for as long as that takes before it does so again, so that what arrives meanwhile shares
/// one write.
pub const WAKE_COST: Duration = Duration::from_micros(16);
/// How many bytes of presence are copied to one member's socket in a microsecond, roughly.
pub const PRESENCE_BYTES_A_MICROSECOND: u64 = 2_000;
/// The longest that a change of presence waits for the next round, once a round is over.
pub const PRESENCE_PAUSE_MAX: Duration = Duration::from_secs(1);
/// The longest that sharing one write may hold an update back.
pub const WAKE_PAUSE_MAX: Duration = Duration::from_millis(16);

/// How many traced updates of one room are followed at once to their last write.
pub const LIVES_FOLLOWED: usize = 32;
/// How long a traced update is followed after it was published.
pub const LIFE_TIME: Duration = Duration::from_secs(5);

const _: () = assert!(2 * SESSION_WINDOW_BYTES <= INBOX_BYTES);
const _: () = assert!(COMMIT_BYTES < protocol::limits::MAX_RECORD_BYTES);
