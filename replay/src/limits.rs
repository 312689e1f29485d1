//! Named bounds of folding, and how they relate.

/// The most bytes of sealed records that are read at once.
pub const PAGE_BYTES: usize = 1 << 20;
/// Pages up to this size are folded where they are: moving them costs more.
pub const INLINE_BYTES: usize = 16 << 10;
/// Of how many of a client's last operations a room knows the Seqs; more than a client may have on
/// its way.
pub const OPS_REMEMBERED: u64 = 1024;
/// How many runs of operations a room remembers, all clients together; a client has one or more.
pub const CLIENT_RUNS: usize = 1 << 16;
/// How many bytes the documents of the past may take that are kept in memory, all rooms together.
pub const FRAME_CACHE_BYTES: usize = 256 << 20;
/// A document is worth keeping as a frame, in memory or in a store, once so many bytes of records
/// have come since the last one; or as many as the document has, if that is more: so all frames
/// together are at most twice as large as the log.
pub const FRAME_EVERY_BYTES: usize = 256 << 10;
/// From so many records on a fold is a long one: others who want the same room wait for the frames
/// that it leaves.
pub const SHARED_FOLD_RECORDS: u64 = 4096;
/// How many folds of the past may run at once; more wait for their turn.
pub const FOLDS_AT_ONCE: usize = 4;
/// How many records at most share one row of a timeline that was made from records.
pub const ACTIVITY_RECORDS: u64 = 64;
/// How many rows of activity are kept in memory, all rooms together.
pub const ACTIVITY_ROWS: usize = 1 << 20;
/// How many buckets a timeline may have.
pub const MAX_BUCKETS: usize = 2_000;
/// How many authors a bucket names; the rest are counted together.
pub const MAX_AUTHORS: usize = 16;
/// How many marks a timeline shows.
pub const MAX_MARKS: usize = 1_000;

const _: () = assert!(INLINE_BYTES < PAGE_BYTES);
