//! Named bounds of connections.

use std::time::Duration;

/// How many bytes one read takes at the most: the size of the scratch buffer that all connections
/// of a thread share.
pub const READ_BYTES: usize = 64 << 10;
/// How many reads one connection makes before others have their turn.
pub const READS_PER_TURN: usize = 4;
/// How much a connection takes from its room before it has written it.
pub const WRITE_AHEAD_BYTES: usize = 128 << 10;
/// How much may wait to be written before a connection stops reading: a client that does not
/// listen is not listened to.
pub const UNREAD_BYTES: usize = 256 << 10;
/// How long nothing may come from a client before it is taken for dead; it is pinged twice
/// meanwhile.
pub const DEAD_AFTER: Duration = Duration::from_secs(45);
/// After how long a silence a client is pinged.
pub const PING_AFTER: Duration = Duration::from_secs(15);
/// How long a client that does not read may hold up what is to be written to it.
pub const WRITE_STALL: Duration = Duration::from_secs(60);
/// How long a closing connection waits for its client.
pub const CLOSE_TIME: Duration = Duration::from_secs(5);
/// How long a request's head may take to arrive.
pub const HEAD_TIME: Duration = Duration::from_secs(10);
/// How large a request's head may be.
pub const HEAD_BYTES: usize = 16 << 10;
/// How many connections are held at once; past it new ones wait in the kernel's queue.
pub const CONNECTIONS: usize = 50_000;
/// How many connections may wait to be accepted.
pub const BACKLOG: u32 = 4_096;
/// How many bytes of sealed records a stream of records reads at once.
pub const RECORDS_PAGE_BYTES: usize = 256 << 10;
/// How long a stream of events may be silent.
pub const STREAM_KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How many bytes playback gathers before it writes them.
pub const PLAY_BATCH_BYTES: usize = 256 << 10;
/// How many bytes of records a fork copies in one go.
pub const FORK_PAGE_BYTES: usize = 1 << 20;
/// How many bytes a text may have that is put into a room: less than one record holds.
pub const TEXT_BYTES: usize = 8 << 20;
/// How many rooms one page of a list has.
pub const ROOMS_PER_PAGE: usize = 100;
/// The most rooms one page of a list may be asked to have.
pub const ROOMS_PER_PAGE_MAX: usize = 1_000;

const _: () = assert!(TEXT_BYTES < protocol::limits::MAX_PAYLOAD_BYTES / 2 + 1);
const _: () = assert!(2 * PING_AFTER.as_secs() < DEAD_AFTER.as_secs());
