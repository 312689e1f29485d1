//! How much: what one connection, and one address, may do in a space.
//!
//! Rates are leaky buckets (the generic cell rate algorithm, by `governor`): a bucket holds a minute's or an
//! hour's worth, and leaks evenly. What runs over is refused with the time after which it would not be.
//!
//! | module | holds |
//! | --- | --- |
//! | [`address`] | whose address a request has, behind proxies or not |
//! | [`meter`] | updates and bytes of one connection |
//! | [`visitors`] | connections, joins and new rooms of one address |

pub mod address;
pub mod meter;
pub mod visitors;

use std::num::NonZeroU32;

/// The limits of a space. What is `None` is not limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpaceLimits {
    /// Updates of one connection, as [`meter`] counts them.
    pub updates_per_minute: Option<NonZeroU32>,
    /// Bytes of updates of one connection.
    pub bytes_per_minute: Option<NonZeroU32>,
    /// The largest update, in bytes.
    pub max_update: usize,
    /// Connections of one address.
    pub connections_per_ip: Option<NonZeroU32>,
    /// Joins of rooms and downloads of documents by one address.
    pub joins_per_ip_per_minute: Option<NonZeroU32>,
    /// Rooms that one address begins.
    pub new_rooms_per_ip_per_hour: Option<NonZeroU32>,
}

impl SpaceLimits {
    /// Only what a record can hold.
    pub const NONE: Self = Self {
        updates_per_minute: None,
        bytes_per_minute: None,
        max_update: protocol::limits::MAX_PAYLOAD_BYTES,
        connections_per_ip: None,
        joins_per_ip_per_minute: None,
        new_rooms_per_ip_per_hour: None,
    };

    /// What a pit has unless its space says otherwise.
    pub const PIT: Self = Self {
        updates_per_minute: NonZeroU32::new(100),
        bytes_per_minute: NonZeroU32::new(200_000),
        max_update: 64_000,
        connections_per_ip: NonZeroU32::new(10),
        joins_per_ip_per_minute: NonZeroU32::new(60),
        new_rooms_per_ip_per_hour: NonZeroU32::new(10),
    };
}
