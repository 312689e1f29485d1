//! Rooms: what is submitted becomes durable, and what is durable becomes visible.
//!
//! Each loaded room has one owner, a task around a pure state machine. Sessions hand it commands
//! and read its feed and presence by cursor; the committer makes what all rooms have ready
//! durable in one sync. Nobody is told of an update before that sync has returned.
//!
//! | module | holds |
//! | --- | --- |
//! | [`broker`] | the rooms there are, loading and unloading, joining, shutting down |
//! | [`clock`] | the wall clock, held against the monotonic one |
//! | [`committer`] | group commit across rooms |
//! | [`feed`] | a room's committed updates, read by cursor, encoded once |
//! | [`guest`] | a session as it is seen from outside: how far it is, what it was sent |
//! | [`limits`] | named bounds |
//! | [`followers`] | waking those who follow a log from outside |
//! | [`lodging`] | room for another, and rooms whose time is over |
//! | [`member`] | a session's side of its room |
//! | [`memory`] | what clients make the process hold, all together |
//! | [`presence`] | who is here: a conflating map of latest values |
//! | [`room`] | a room's core, inbox and task |
//! | [`rules`] | what a space asks of its rooms |
//! | [`snapshotter`] | when a document is worth a snapshot, and where it goes |
//! | [`usage`] | what has been written this month |

pub mod broker;
pub mod clock;
pub mod committer;
pub mod feed;
pub mod followers;
pub mod guest;
pub mod limits;
mod lodging;
pub mod member;
pub mod memory;
pub mod presence;
pub mod room;
pub mod rules;
pub mod snapshotter;
pub mod usage;

pub use broker::Broker;
pub use feed::{Update, Wire};
pub use followers::Follower;
pub use guest::{GuestInfo, Via};
pub use limits::Limits;
pub use lodging::Gone;
pub use member::{Member, count_refused};
pub use memory::Memory;
pub use presence::{EncodePresence, Present};
pub use room::inbox::{Edited, Restore, RoomError};
pub use room::{Activity, RoomInfo, State};
pub use rules::{Lifetime, SpaceRule};
pub use snapshotter::{Awaited, SnapshotRule, Snapshots};
pub use usage::{Allowance, Monthly, Tenant};
