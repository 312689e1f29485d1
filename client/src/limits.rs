//! Named bounds and times.

use std::time::Duration;

/// How long connecting may take, greeting included.
pub const CONNECT_TIME: Duration = Duration::from_secs(10);
/// The first pause after a break.
pub const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// The longest pause after a break.
pub const BACKOFF_MAX: Duration = Duration::from_secs(15);
/// A server that has not been heard of for so many of its heartbeats is taken for gone.
pub const MISSED_HEARTBEATS: u32 = 3;
/// How many events may wait for the application; then the connection is not read.
pub const EVENTS: usize = 256;
/// How many requests may wait for the connection's task.
pub const REQUESTS: usize = 256;
/// How many operations may wait in a queue; submitting one more is an error.
pub const QUEUED_OPERATIONS: usize = 1 << 20;
/// How many bytes of payloads one message carries at most, unless one payload is larger.
pub const SUBMIT_BYTES: usize = 64 << 10;
