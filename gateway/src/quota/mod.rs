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

use std::num::{NonZeroU32, NonZeroUsize};

use broker::Monthly;
use serde::{Deserialize, Serialize};

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

/// What a token says of its holder's limits: what is there counts in place of what the space says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenLimits {
    /// As [`SpaceLimits::updates_per_minute`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updates_per_minute: Option<NonZeroU32>,
    /// As [`SpaceLimits::bytes_per_minute`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_minute: Option<NonZeroU32>,
    /// As [`SpaceLimits::max_update`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_update: Option<NonZeroUsize>,
    /// Updates of the holder's account in a calendar month (UTC).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub records_per_month: Option<u64>,
    /// Their bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_month: Option<u64>,
}

impl TokenLimits {
    /// What the account may write in a month, where the token says so.
    #[must_use]
    pub const fn monthly(&self) -> Monthly {
        Monthly {
            records: self.records_per_month,
            bytes: self.bytes_per_month,
        }
    }
}

impl SpaceLimits {
    /// These limits with what a token says in their place. An update is never larger than a record holds,
    /// or than a minute's worth of bytes: it could not be taken.
    #[must_use]
    pub fn with(self, own: &TokenLimits) -> Self {
        let bytes_per_minute = own.bytes_per_minute.or(self.bytes_per_minute);
        let largest = bytes_per_minute.map_or(usize::MAX, |bytes| bytes.get() as usize);
        let max_update = own.max_update.map_or(self.max_update, NonZeroUsize::get);
        Self {
            updates_per_minute: own.updates_per_minute.or(self.updates_per_minute),
            bytes_per_minute,
            max_update: max_update
                .min(largest)
                .min(protocol::limits::MAX_PAYLOAD_BYTES),
            ..self
        }
    }

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
