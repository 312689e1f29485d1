//! Named bounds of the archive, in bytes unless the name says otherwise, and how they relate.

use protocol::limits::{MAX_RECORD_BYTES, MAX_ROOM_NAME_BYTES, MAX_SPACE_BYTES, MAX_USER_BYTES};

/// The largest document a snapshot may hold. Larger ones are not taken, and their rooms are read
/// from an earlier snapshot.
pub const MAX_SNAPSHOT_BYTES: usize = 256 << 20;
/// The longest title a snapshot carries; a longer one is cut by who makes the snapshot.
pub const MAX_TITLE_BYTES: usize = 4096;
/// The largest table of clients a snapshot carries.
pub const MAX_CLIENTS_BYTES: usize = 4 << 20;
/// How much of a snapshot's content stands in one envelope.
pub const SNAPSHOT_PART_BYTES: usize = 1 << 20;
/// A block of records is closed when the next record would take it past this; a single record may
/// be larger.
pub const BLOCK_BYTES: usize = 256 << 10;
/// The largest block of records before it is compressed.
pub const MAX_RECORD_BLOCK_BYTES: usize = if BLOCK_BYTES > MAX_RECORD_BYTES {
    BLOCK_BYTES
} else {
    MAX_RECORD_BYTES
};
/// The largest snapshot block before it is compressed.
pub const MAX_SNAPSHOT_BLOCK_BYTES: usize = MAX_SNAPSHOT_BYTES + MAX_CLIENTS_BYTES + (1 << 20);
/// How many authors a block counts by name; the others are counted together.
pub const MAX_BLOCK_AUTHORS: usize = 16;
/// The largest segment a reader takes: compaction's target and the largest block that may come on
/// top of it.
pub const MAX_SEGMENT_BYTES: usize = 1 << 30;
/// The largest index of a segment, uncompressed.
pub const MAX_INDEX_BYTES: usize = 256 << 20;
/// The largest manifest, uncompressed.
pub const MAX_MANIFEST_BYTES: usize = 256 << 20;
/// The most segments a manifest names.
pub const MAX_SEGMENTS: usize = MAX_MANIFEST_BYTES / 128;
/// How many indexes are read at once when an archive is opened.
pub const OPEN_CONCURRENCY: usize = 16;
/// The most faults a scrub lists; the rest is counted.
pub const MAX_FAULTS: usize = 1000;
/// The longest room name as it stands in an index.
pub(super) const MAX_NAME_BYTES: usize = MAX_SPACE_BYTES + 1 + MAX_ROOM_NAME_BYTES;

const _: () = assert!(MAX_CLIENTS_BYTES + (64 << 10) < protocol::envelope::MAX_BODY_BYTES);
const _: () = assert!(SNAPSHOT_PART_BYTES < protocol::envelope::MAX_BODY_BYTES);
const _: () = assert!(MAX_SNAPSHOT_BLOCK_BYTES < MAX_SEGMENT_BYTES);
const _: () = assert!(MAX_RECORD_BLOCK_BYTES < MAX_SEGMENT_BYTES);
const _: () = assert!(MAX_SNAPSHOT_BLOCK_BYTES < u32::MAX as usize);
const _: () = assert!(MAX_USER_BYTES <= u8::MAX as usize && MAX_NAME_BYTES <= u16::MAX as usize);
/// How many bytes a scan for an operation reads at once.
pub const SCAN_BYTES: usize = 1 << 20;
