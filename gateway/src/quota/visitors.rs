//! Connections, joins and new rooms of one address, in one space.
//!
//! An address is an IPv4 address, or the /64 of an IPv6 one: that is what one household or machine is given.
//! What is known of an address is forgotten when it says nothing any more: no connection, and full buckets.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use governor::clock::{Clock, MonotonicClock};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use observatory::Limit;
use parking_lot::Mutex;

use super::SpaceLimits;

/// How many addresses are known at once. Past it those go that have no connection, the longest silent
/// first, so that a flood of addresses cannot take memory.
pub const VISITORS: usize = 100_000;
/// For how long an address without a connection is remembered: as long as its buckets take to fill.
const REMEMBER: Duration = Duration::from_secs(3600);

type Limiter = RateLimiter<NotKeyed, InMemoryState, MonotonicClock, NoOpMiddleware<Instant>>;

/// What everybody does.
#[derive(Debug, Default)]
pub struct Visitors {
    known: Mutex<HashMap<(IpAddr, Box<str>), Visitor>>,
}

#[derive(Debug)]
struct Visitor {
    connections: u32,
    joins: Bucket,
    rooms: Bucket,
    seen: Instant,
}

/// A bucket that is made anew when its limit changes.
#[derive(Debug, Default)]
struct Bucket {
    rate: Option<NonZeroU32>,
    limiter: Option<Limiter>,
}

/// Too much of something, from one address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("too many {what} from this address: at most {limit}{}", again(.after))]
pub struct TooMany {
    /// Of what.
    pub what: &'static str,
    /// How many there may be, and in which time.
    pub limit: String,
    /// After how long the same would be let through, if that is known.
    pub after: Option<Duration>,
}

impl TooMany {
    /// The same, counted.
    fn of(limit: Limit, many: Self) -> Self {
        observatory::limit_hit(limit);
        many
    }
}

fn again(after: &Option<Duration>) -> String {
    after.map_or(String::new(), |after| {
        format!("; try again in {} s", seconds_up(after))
    })
}

/// Whole seconds that are not too short.
#[must_use]
pub fn seconds_up(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// One connection of an address in a space; dropping it counts it off.
#[derive(Debug)]
pub struct Visit {
    visitors: Arc<Visitors>,
    key: (IpAddr, Box<str>),
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut known = self.visitors.known.lock();
        if let Some(visitor) = known.get_mut(&self.key) {
            visitor.connections = visitor.connections.saturating_sub(1);
            visitor.seen = Instant::now();
        }
    }
}

/// The address by which somebody is counted.
#[must_use]
pub fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let bits = v6.to_bits() & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from_bits(bits))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

impl Visitors {
    /// Counts a connection.
    ///
    /// # Errors
    /// [`TooMany`] if the address has as many as it may.
    pub fn enter(
        self: &Arc<Self>,
        address: IpAddr,
        space: &str,
        limits: &SpaceLimits,
    ) -> Result<Visit, TooMany> {
        let key = (counted_as(address), space.into());
        self.with(&key, |visitor| {
            if let Some(most) = limits.connections_per_ip
                && visitor.connections >= most.get()
            {
                return Err(TooMany::of(
                    Limit::Connections,
                    TooMany {
                        what: "connections",
                        limit: most.to_string(),
                        after: None,
                    },
                ));
            }
            visitor.connections += 1;
            Ok(())
        })?;
        let visitors = Arc::clone(self);
        Ok(Visit { visitors, key })
    }

    /// Counts a join, or a download of a document.
    ///
    /// # Errors
    /// [`TooMany`] if there have been as many as there may.
    pub fn join(&self, address: IpAddr, space: &str, limits: &SpaceLimits) -> Result<(), TooMany> {
        let Some(rate) = limits.joins_per_ip_per_minute else {
            return Ok(());
        };
        let key = (counted_as(address), space.into());
        self.with(&key, |visitor| {
            let taken = visitor.joins.take(rate, Quota::per_minute(rate));
            taken.map_err(|after| {
                TooMany::of(
                    Limit::Joins,
                    TooMany {
                        what: "joins and downloads",
                        limit: format!("{rate} a minute"),
                        after: Some(after),
                    },
                )
            })
        })
    }

    /// Counts a room that is begun.
    ///
    /// # Errors
    /// [`TooMany`] if there have been as many as there may.
    pub fn begin_room(
        &self,
        address: IpAddr,
        space: &str,
        limits: &SpaceLimits,
    ) -> Result<(), TooMany> {
        let Some(rate) = limits.new_rooms_per_ip_per_hour else {
            return Ok(());
        };
        let key = (counted_as(address), space.into());
        self.with(&key, |visitor| {
            let taken = visitor.rooms.take(rate, Quota::per_hour(rate));
            taken.map_err(|after| {
                TooMany::of(
                    Limit::NewRooms,
                    TooMany {
                        what: "new rooms",
                        limit: format!("{rate} an hour"),
                        after: Some(after),
                    },
                )
            })
        })
    }

    fn with<T>(&self, key: &(IpAddr, Box<str>), act: impl FnOnce(&mut Visitor) -> T) -> T {
        let now = Instant::now();
        let mut known = self.known.lock();
        if known.len() >= VISITORS && !known.contains_key(key) {
            forget(&mut known, now);
        }
        let visitor = known.entry(key.clone()).or_insert_with(|| Visitor {
            connections: 0,
            joins: Bucket::default(),
            rooms: Bucket::default(),
            seen: now,
        });
        visitor.seen = now;
        act(visitor)
    }
}

impl Bucket {
    /// Takes one; the error says after how long one would be let through.
    fn take(&mut self, rate: NonZeroU32, quota: Quota) -> Result<(), Duration> {
        if self.rate != Some(rate) {
            self.rate = Some(rate);
            self.limiter = None;
        }
        let limiter = self
            .limiter
            .get_or_insert_with(|| RateLimiter::direct_with_clock(quota, MonotonicClock));
        let taken = limiter.check();
        taken.map_err(|until| until.wait_time_from(MonotonicClock.now()))
    }
}

/// Makes room: whoever has no connection and was not seen for long goes, and if that is not a quarter, the
/// longest unseen go.
fn forget(known: &mut HashMap<(IpAddr, Box<str>), Visitor>, now: Instant) {
    known.retain(|_, it| it.connections > 0 || now.duration_since(it.seen) < REMEMBER);
    let keep = VISITORS / 4 * 3;
    if known.len() <= keep {
        return;
    }
    let idle = known.values().filter(|it| it.connections == 0);
    let mut seen: Vec<Instant> = idle.map(|it| it.seen).collect();
    seen.sort_unstable();
    let going = known.len() - keep;
    if let Some(last) = seen.get(going.min(seen.len()).saturating_sub(1)) {
        known.retain(|_, it| it.connections > 0 || it.seen > *last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(n: u32) -> SpaceLimits {
        SpaceLimits {
            connections_per_ip: NonZeroU32::new(n),
            joins_per_ip_per_minute: NonZeroU32::new(n),
            new_rooms_per_ip_per_hour: NonZeroU32::new(n),
            ..SpaceLimits::NONE
        }
    }

    #[test]
    fn an_address_has_so_many_connections_joins_and_rooms_in_each_space() {
        let visitors = Arc::new(Visitors::default());
        let limits = limits(2);
        let here: IpAddr = "192.0.2.1".parse().unwrap();
        let there: IpAddr = "192.0.2.2".parse().unwrap();
        let first = visitors.enter(here, "pit", &limits).unwrap();
        let _second = visitors.enter(here, "pit", &limits).unwrap();
        let refused = visitors.enter(here, "pit", &limits).unwrap_err();
        assert_eq!((refused.what, refused.after), ("connections", None));
        assert!(visitors.enter(there, "pit", &limits).is_ok());
        assert!(visitors.enter(here, "doc", &limits).is_ok());
        drop(first);
        assert!(visitors.enter(here, "pit", &limits).is_ok());
        for _ in 0..2 {
            assert!(visitors.join(here, "pit", &limits).is_ok());
            assert!(visitors.begin_room(here, "pit", &limits).is_ok());
        }
        let refused = visitors.join(here, "pit", &limits).unwrap_err();
        assert!(
            refused.after.unwrap() <= Duration::from_secs(30),
            "{refused}"
        );
        let refused = visitors.begin_room(here, "pit", &limits).unwrap_err();
        let after = refused.after.unwrap();
        assert!(after > Duration::from_secs(1700) && after <= Duration::from_secs(1800));
        assert!(
            refused.to_string().contains("2 an hour; try again in 18"),
            "{refused}"
        );
        assert!(visitors.join(there, "pit", &limits).is_ok());
        let none = SpaceLimits::NONE;
        assert!((0..1000).all(|_| visitors.join(here, "doc", &none).is_ok()));
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let counted = |text: &str| counted_as(text.parse().unwrap()).to_string();
        assert_eq!(counted("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(counted("2001:db8:1:2::1"), "2001:db8:1:2::");
        assert_eq!(counted("2001:db8:1:3::1"), "2001:db8:1:3::");
        assert_eq!(counted("::ffff:192.0.2.1"), "192.0.2.1");
    }

    #[test]
    fn a_flood_of_addresses_is_forgotten_and_connections_are_not() {
        let visitors = Arc::new(Visitors::default());
        let limits = limits(1);
        let here: IpAddr = "192.0.2.1".parse().unwrap();
        let _visit = visitors.enter(here, "pit", &limits).unwrap();
        for n in 0..VISITORS as u32 * 2 {
            let address =
                IpAddr::from((0x2001_0db8_u128 << 96 | u128::from(n) << 64).to_be_bytes());
            let _ = visitors.join(address, "pit", &limits);
        }
        assert!(visitors.known.lock().len() <= VISITORS);
        assert!(
            visitors.enter(here, "pit", &limits).is_err(),
            "it is known still"
        );
    }
}
