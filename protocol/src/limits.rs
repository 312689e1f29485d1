//! Named bounds of the protocol, in bytes unless the name says otherwise, and how they relate.

/// The longest space, in bytes.
pub const MAX_SPACE_BYTES: usize = 32;
/// The longest room name after its space, in bytes.
pub const MAX_ROOM_NAME_BYTES: usize = 255;
/// The longest user id.
pub const MAX_USER_BYTES: usize = 128;
/// The largest payload of one record: a whole document of the largest allowed size, uploaded by a
/// client that was away, still fits.
pub const MAX_PAYLOAD_BYTES: usize = 16 << 20;
/// The largest message a client may send: one payload and what its dialect puts around it.
pub const MAX_MESSAGE_BYTES: usize = MAX_PAYLOAD_BYTES + 1024;
/// The most that rkyv and the envelope add to a payload and a user id.
pub const MAX_RECORD_OVERHEAD_BYTES: usize = 256;
/// The largest sealed record.
pub const MAX_RECORD_BYTES: usize = MAX_PAYLOAD_BYTES + MAX_USER_BYTES + MAX_RECORD_OVERHEAD_BYTES;
/// The most presence entries one message may hold.
pub const MAX_PRESENCE_ENTRIES: usize = 1024;
/// The largest state of one presence entry.
pub const MAX_PRESENCE_STATE_BYTES: usize = 16 << 10;
/// The most presence entries one session may own.
pub const MAX_PRESENCE_PER_SESSION: usize = 8;
/// The greatest clock of a presence entry. A number of lib0 ends at 2^53 − 1: half of that leaves
/// honest clients, who count up by one, room for ever, whatever others say.
pub const MAX_PRESENCE_CLOCK: u64 = 1 << 52;
/// How deep brackets nest in a presence state.
pub const MAX_PRESENCE_DEPTH: usize = 64;
/// The most acks a session may wait for; beyond it, its transport stops reading.
pub const MAX_PENDING_ACKS: usize = 4096;
/// How many rooms one connection may carry, in dialects that carry several, unless its server says
/// otherwise.
pub const MAX_ROOMS_PER_CONNECTION: usize = 100;
/// How many operations without an ack a client may have in one room, in dialects that number them.
pub const WINDOW_OPERATIONS: usize = 512;
/// How many bytes of payloads without an ack a client may have in one room; one larger payload may
/// go alone.
pub const WINDOW_BYTES: usize = 1 << 20;
/// The longest version of a document that a client may name.
pub const MAX_VERSION_BYTES: usize = 1 << 20;
/// The longest name a client may give itself; a longer one is cut.
pub const MAX_CLIENT_NAME_BYTES: usize = 128;
/// The longest reason in a message to a client; a longer one is cut.
pub const MAX_REASON_BYTES: usize = 512;

const _: () = assert!(MAX_MESSAGE_BYTES > MAX_PAYLOAD_BYTES);
const _: () = assert!(MAX_RECORD_BYTES < u32::MAX as usize);
const _: () = assert!(MAX_PRESENCE_STATE_BYTES < MAX_MESSAGE_BYTES);
