//! Where records live: the [`Log`] contract and its backends.
//!
//! [`log`] states the contract edge by edge; every backend passes the one conformance suite that
//! tests it, plain and again wrapped in seeded faults. A backend is chosen only in the binary;
//! everything else holds a `dyn Log`.
//!
//! | module | holds |
//! | --- | --- |
//! | [`log`] | the contract, and [`Durable`], the proof that something survives a power cut |
//! | [`memory`] | the log of ephemeral rooms and of tests |
//! | [`split`] | a durable log, and one in memory beside it for ephemeral rooms |
//! | [`sled`](mod@sled) | the default log: embedded, durable on this machine's disk |
//! | [`archive`] | snapshots and sealed segments in object storage |

pub mod archive;
#[cfg(any(test, feature = "testing"))]
pub mod faults;
mod fields;
pub mod log;
pub mod memory;
mod pick;
pub mod sled;
pub mod split;
#[cfg(any(test, feature = "testing"))]
pub mod suite;

pub use log::{
    AppendError, Appended, Batch, Durable, Entry, Log, ReadError, RoomRow, RoomState, Stats,
};
pub use memory::MemoryLog;
pub use sled::{SledLog, SledOptions};
pub use split::SplitLog;
