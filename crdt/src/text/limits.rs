//! Named bounds of a text, and how they relate.

/// The most characters a text may ever hold, deleted ones included.
pub const MAX_CHARS: u32 = 1 << 31;
/// The most ticks (characters inserted and deleted) a text may ever see.
pub const MAX_TICKS: u32 = u32::MAX - 1;
/// The most clients that may ever edit one text.
pub const MAX_CLIENTS: u32 = 1 << 28;
/// How often over the clients of one update that a server takes may delete all characters that are there
/// and that it brings, though these be [`FEW_CHARS`]; one client deletes each of them once.
pub const MAX_DELETIONS: u64 = 4;
/// In so few characters a server looks however often they are deleted.
pub const FEW_CHARS: u64 = 1 << 16;
/// The most UTF-8 bytes a text may ever hold.
pub const MAX_CONTENT_BYTES: usize = u32::MAX as usize - 1;
/// The longest span, in characters: a leaf's split moves at most 32 of them.
pub const MAX_SPAN_CHARS: u32 = 1024;
/// The most bytes of updates that wait for what they build on.
pub const MAX_PARKED_BYTES: usize = 4 << 20;
/// The most updates that wait.
pub const MAX_PARKED_UPDATES: usize = 4096;
/// The most ticks that one of them waits for: it is looked through when each of them comes.
pub const MAX_AWAITED_TICKS: usize = 256;
/// The most edits that can be undone.
pub const MAX_UNDO_EDITS: usize = 1000;
/// How many spans a scan passes in a crowded text before the place is searched, and through how many
/// siblings a search goes before their sorted list is kept.
pub const MAX_SCANNED_SPANS: usize = 32;

const _: () = assert!(MAX_CHARS <= MAX_TICKS);
const _: () = assert!(MAX_SPAN_CHARS < 1 << 29);
