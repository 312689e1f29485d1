//! The words every other crate speaks: ids, records, limits, close codes and client dialects.
//!
//! This crate is pure. It knows no clock, no randomness, no network and no disk: times arrive as
//! arguments, random bytes too, and every dialect is a state machine that takes bytes and events
//! and gives back commands and bytes. What arrives from outside is hostile until a constructor
//! here has accepted it; what has been constructed is valid.
//!
//! | module | holds |
//! | --- | --- |
//! | [`ids`] | names, numbers and times as newtypes |
//! | [`record`] | one entry of a room's log, its encoding, and runs of them |
//! | [`envelope`] | the frame around everything stored: magic, version, kind, length, checksum |
//! | [`chain`] | the hash that proves a room's whole prefix |
//! | [`role`] | what a session may do |
//! | [`close`] | WebSocket close codes |
//! | [`limits`] | named bounds and how they relate |
//! | [`dialect`] | the client protocols |

pub mod chain;
pub mod close;
pub mod dialect;
pub mod envelope;
pub mod ids;
pub mod limits;
pub mod record;
pub mod role;

pub use chain::Chain;
pub use close::CloseCode;
pub use ids::{ClientId, OpId, RoomName, Seq, SessionId, Site, Slug, Timestamp, UserId};
pub use record::{Author, Draft, Head, Kind, Record, Run};
pub use role::Role;
