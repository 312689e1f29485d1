//! Named bounds of a Yjs document.

/// How deep values may be nested in one another: lib0 "any" values and JSON texts.
pub(super) const MAX_NESTING: usize = 100;
/// How deep types may be nested in one another. Clients recurse over them when one is deleted.
pub(super) const MAX_TYPE_DEPTH: u16 = 512;
/// The last clock. Yjs counts to 2⁵³, others in 32 bits; nobody types that much.
pub(super) const MAX_CLOCK: u32 = i32::MAX as u32;
/// How many clients one update may name: more than any document that fits in memory has had.
pub(super) const MAX_CLIENTS: usize = 1 << 20;
/// How many updates may wait for others that they build on.
pub(super) const MAX_WAITING: usize = 1024;
/// How many bytes they may have together. They are read again whenever some of what they wait for
/// comes, so this also bounds what a small update can cost.
pub(super) const MAX_WAITING_BYTES: usize = 1 << 20;
/// How many structs and deleted ranges they may have together.
pub(super) const MAX_WAITING_PARTS: usize = 1 << 18;
/// The tail is folded into the base when it is as long as the base, and at least this.
pub(super) const MIN_COMPACTION_BYTES: usize = 64 << 10;
/// The largest document that yrs is asked about, to tell an implicit deletion from a new one.
pub(super) const MAX_VIEW_BYTES: usize = 4 << 20;
/// The largest document, in memory and with what comes, that is woven to say where something would stand.
pub(super) const MAX_PATH_DOCUMENT_BYTES: usize = 4 << 20;

const _: () = assert!(MAX_NESTING < 128, "yrs reads JSON no deeper");
const _: () = assert!(MAX_WAITING_BYTES <= protocol::limits::MAX_PAYLOAD_BYTES);
