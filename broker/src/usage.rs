//! What has gone to the log this month: records and their bytes, by space and by tenant.
//!
//! ```text
//!  token ─▶ tenant ─▶ Account ◀─ take, before the document does ─ room
//!                        │ give back, if it adds nothing ──────────┘
//!                        └─▶ rows: for whoever asks, and for the file that outlives the process
//! ```
//!
//! Each space has an account, and so has each tenant in it; who has no tenant writes on the space's. A room
//! takes a record from an account before its document takes the update, so however many rooms take at once,
//! no more is written than there may be. It costs a few atomic operations, and nobody waits.
//!
//! Months are those of the calendar, in UTC. Whoever first takes something in a new one begins it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use protocol::Timestamp;
use protocol::dialect::Refusal;

use crate::limits::TENANTS;

/// Who writes at whose cost, as a token says: 1 to 128 bytes without control characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tenant(Arc<str>);

impl Tenant {
    /// The longest name, in bytes.
    pub const MAX_BYTES: usize = 128;

    /// Checks and keeps a tenant's name; `None` if it cannot be one.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let fits = (1..=Self::MAX_BYTES).contains(&name.len());
        (fits && !name.chars().any(char::is_control)).then(|| Self(name.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How much may go to the log in a month; what is `None` is not limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Monthly {
    /// Records.
    pub records: Option<u64>,
    /// Bytes of their payloads.
    pub bytes: Option<u64>,
}

impl Monthly {
    /// These limits, and where they say nothing those of `space`.
    const fn over(self, space: Self) -> Self {
        Self {
            records: if self.records.is_some() {
                self.records
            } else {
                space.records
            },
            bytes: if self.bytes.is_some() {
                self.bytes
            } else {
                space.bytes
            },
        }
    }
}

/// What somebody's records are taken from.
#[derive(Debug, Clone)]
pub struct Allowance {
    /// Where they are counted.
    pub account: Arc<Account>,
    /// What there is of them, where that is not what their space says.
    pub own: Monthly,
}

impl Allowance {
    /// As [`Account::take`]; `space` is what the space says.
    pub(crate) fn take(&self, bytes: usize, space: Monthly, now: Timestamp) -> Result<(), Refusal> {
        self.account.take(bytes, self.own.over(space), now)
    }
}

/// What has been taken this month.
#[derive(Debug, Default)]
pub struct Account {
    /// When that month ends, in microseconds since the Unix epoch.
    ends: AtomicU64,
    records: AtomicU64,
    bytes: AtomicU64,
    turning: Mutex<()>,
}

impl Account {
    /// Takes a record with so many bytes; `most` is what there is for a month.
    ///
    /// # Errors
    /// [`Refusal::Spent`] if there is not so much left; nothing is taken then.
    pub fn take(&self, bytes: usize, most: Monthly, now: Timestamp) -> Result<(), Refusal> {
        self.turn(now);
        let bytes = bytes as u64;
        let spent = |what, limit| {
            let resets = now.month_end();
            let after = Duration::from_micros(resets.micros() - now.micros());
            Refusal::Spent {
                what,
                limit,
                resets,
                after,
            }
        };
        add(&self.records, 1, most.records).map_err(|limit| spent("records", limit))?;
        add(&self.bytes, bytes, most.bytes).map_err(|limit| {
            subtract(&self.records, 1);
            spent("bytes", limit)
        })
    }

    /// Gives back a record that was taken and not written.
    pub fn give_back(&self, bytes: usize) {
        subtract(&self.records, 1);
        subtract(&self.bytes, bytes as u64);
    }

    /// Records and bytes that have been taken this month.
    #[must_use]
    pub fn taken(&self, now: Timestamp) -> (u64, u64) {
        self.turn(now);
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (of(&self.records), of(&self.bytes))
    }

    fn turn(&self, now: Timestamp) {
        if now.micros() >= self.ends.load(Ordering::Acquire) {
            self.begin_month(now);
        }
    }

    #[cold]
    fn begin_month(&self, now: Timestamp) {
        let _turning = self.turning.lock();
        if now.micros() < self.ends.load(Ordering::Acquire) {
            return;
        }
        self.records.store(0, Ordering::Relaxed);
        self.bytes.store(0, Ordering::Relaxed);
        let ends = now.month_end().micros();
        self.ends.store(ends, Ordering::Release);
    }
}

/// Adds to a counter unless that passes `most`; the error is that limit.
fn add(counter: &AtomicU64, more: u64, most: Option<u64>) -> Result<(), u64> {
    let before = counter.fetch_add(more, Ordering::Relaxed);
    match most {
        Some(most) if before.saturating_add(more) > most => {
            subtract(counter, more);
            Err(most)
        }
        _ => Ok(()),
    }
}

/// A month may have begun since it was added; then there is nothing to take away.
fn subtract(counter: &AtomicU64, less: u64) {
    let left = |had: u64| Some(had.saturating_sub(less));
    let _ = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left);
}

/// What one account has had this month.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The space.
    pub space: String,
    /// The tenant; none for the space's own account.
    pub tenant: Option<Tenant>,
    /// Records that went to the log.
    pub records: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
}

/// All accounts.
#[derive(Debug, Default)]
pub struct Usage {
    spaces: RwLock<BTreeMap<String, Space>>,
}

#[derive(Debug, Default)]
struct Space {
    own: Arc<Account>,
    tenants: BTreeMap<Tenant, Arc<Account>>,
}

impl Usage {
    /// A space's own account.
    #[must_use]
    pub fn of_space(&self, space: &str) -> Arc<Account> {
        if let Some(known) = self.spaces.read().get(space) {
            return Arc::clone(&known.own);
        }
        let mut spaces = self.spaces.write();
        Arc::clone(&spaces.entry(space.to_owned()).or_default().own)
    }

    /// A tenant's account in a space; `None` if there are [`TENANTS`] already, in all spaces together.
    #[must_use]
    pub fn of_tenant(&self, space: &str, tenant: &Tenant) -> Option<Arc<Account>> {
        let known = |spaces: &BTreeMap<String, Space>| {
            let space = spaces.get(space)?;
            space.tenants.get(tenant).map(Arc::clone)
        };
        if let Some(account) = known(&self.spaces.read()) {
            return Some(account);
        }
        let mut spaces = self.spaces.write();
        if let Some(account) = known(&spaces) {
            return Some(account);
        }
        let tenants: usize = spaces.values().map(|space| space.tenants.len()).sum();
        if tenants >= TENANTS {
            return None;
        }
        let account = Arc::<Account>::default();
        let space = spaces.entry(space.to_owned()).or_default();
        space.tenants.insert(tenant.clone(), Arc::clone(&account));
        Some(account)
    }

    /// What each account has had this month, by space and tenant, the space's own first. Tenants go who
    /// have had nothing and are not here.
    #[must_use]
    pub fn rows(&self, now: Timestamp) -> Vec<Row> {
        let mut rows = Vec::new();
        for (name, space) in self.spaces.write().iter_mut() {
            let mut row = |tenant: Option<&Tenant>, account: &Account| {
                let (records, bytes) = account.taken(now);
                rows.push(Row {
                    space: name.clone(),
                    tenant: tenant.cloned(),
                    records,
                    bytes,
                });
            };
            row(None, &space.own);
            space.tenants.retain(|tenant, account| {
                let stays = account.taken(now).0 > 0 || Arc::strong_count(account) > 1;
                if stays {
                    row(Some(tenant), account);
                }
                stays
            });
        }
        rows
    }

    /// Records and bytes of this month, by space, its tenants' with them.
    pub fn by_space(&self, now: Timestamp, mut tell: impl FnMut(&str, u64, u64)) {
        for (name, space) in self.spaces.read().iter() {
            let accounts = space.tenants.values().chain([&space.own]);
            let (mut records, mut bytes) = (0, 0);
            for account in accounts {
                let taken = account.taken(now);
                records += taken.0;
                bytes += taken.1;
            }
            tell(name, records, bytes);
        }
    }

    /// Goes on from what an earlier process counted in the month of `now`.
    pub fn restore(&self, rows: &[Row], now: Timestamp) {
        for row in rows {
            let account = match &row.tenant {
                Some(tenant) => self.of_tenant(&row.space, tenant),
                None => Some(self.of_space(&row.space)),
            };
            if let Some(account) = account {
                account.turn(now);
                account.records.store(row.records, Ordering::Relaxed);
                account.bytes.store(row.bytes, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOVEMBER: Timestamp = Timestamp::from_micros(1_795_520_879_000_000);

    fn most(records: u64, bytes: u64) -> Monthly {
        Monthly {
            records: Some(records),
            bytes: Some(bytes),
        }
    }

    #[test]
    fn a_month_has_so_many_records_and_bytes_and_the_next_begins_anew() {
        let account = Account::default();
        for _ in 0..3 {
            assert_eq!(account.take(10, most(3, 100), NOVEMBER), Ok(()));
        }
        let refused = account.take(10, most(3, 100), NOVEMBER).unwrap_err();
        let said = refused.to_string();
        assert!(said.contains("records") && said.contains("3"), "{said}");
        assert!(said.ends_with("2026-12-01"), "{said}");
        let after = refused.retry_after().map(|it| it.as_secs());
        assert_eq!(after, Some(1_796_083_200 - 1_795_520_879));
        // As many bytes as there are, and not one more.
        assert_eq!(account.take(70, most(4, 100), NOVEMBER), Ok(()));
        account.give_back(70);
        let refused = account.take(71, most(4, 100), NOVEMBER).unwrap_err();
        assert!(refused.to_string().contains("bytes"), "{refused}");
        assert_eq!(
            account.taken(NOVEMBER),
            (3, 30),
            "what is refused is not counted"
        );
        let december = NOVEMBER.month_end();
        assert_eq!(account.take(100, most(1, 100), december), Ok(()));
        assert_eq!(account.taken(december), (1, 100));
        // What was taken in another month is not given back to this one.
        account.give_back(1_000);
        assert_eq!(account.taken(december), (0, 0));
    }

    #[test]
    fn no_more_is_taken_than_there_is_however_many_take() {
        let account = Account::default();
        let most = most(12_345, 1 << 40);
        let take = || account.take(1, most, NOVEMBER).is_ok();
        let some = || (0..10_000).filter(|_| take()).count() as u64;
        let taken: u64 = std::thread::scope(|scope| {
            let takers: Vec<_> = (0..4).map(|_| scope.spawn(some)).collect();
            takers.into_iter().map(|taker| taker.join().unwrap()).sum()
        });
        // One that is turned away takes for a moment, and may turn another away with it.
        assert!((12_300..=12_345).contains(&taken), "{taken}");
        assert_eq!(account.taken(NOVEMBER), (taken, taken));
    }

    #[test]
    fn tenants_have_accounts_of_their_own_and_are_forgotten_when_they_have_had_nothing() {
        let usage = Usage::default();
        let (acme, idle) = (Tenant::new("acme").unwrap(), Tenant::new("idle").unwrap());
        let take = |account: Arc<Account>| account.take(5, Monthly::default(), NOVEMBER);
        take(usage.of_space("pit")).unwrap();
        take(usage.of_tenant("pit", &acme).unwrap()).unwrap();
        take(usage.of_tenant("pit", &acme).unwrap()).unwrap();
        take(usage.of_tenant("doc", &acme).unwrap()).unwrap();
        let here = usage.of_tenant("doc", &idle);
        let rows = |now| {
            let rows = usage.rows(now).into_iter();
            let row = |row: Row| {
                let tenant = row.tenant.map_or(String::new(), |it| it.to_string());
                format!("{} {tenant} {} {}", row.space, row.records, row.bytes)
            };
            rows.map(row).collect::<Vec<_>>()
        };
        let all = [
            "doc  0 0",
            "doc acme 1 5",
            "doc idle 0 0",
            "pit  1 5",
            "pit acme 2 10",
        ];
        assert_eq!(rows(NOVEMBER), all);
        drop(here);
        assert_eq!(rows(NOVEMBER).len(), 4);
        let mut sums = Vec::new();
        usage.by_space(NOVEMBER, |space, records, bytes| {
            sums.push(format!("{space} {records} {bytes}"));
        });
        assert_eq!(sums, ["doc 1 5", "pit 3 15"]);
        let later = Usage::default();
        later.restore(&usage.rows(NOVEMBER), NOVEMBER);
        assert_eq!(later.rows(NOVEMBER), usage.rows(NOVEMBER));
        assert_eq!(rows(NOVEMBER.month_end()), ["doc  0 0", "pit  0 0"]);
    }

    #[test]
    fn there_are_so_many_tenants() {
        let usage = Usage::default();
        for nth in 0..TENANTS {
            let tenant = Tenant::new(&nth.to_string()).unwrap();
            assert!(usage.of_tenant("pit", &tenant).is_some());
        }
        let one_more = Tenant::new("one more").unwrap();
        assert!(usage.of_tenant("doc", &one_more).is_none());
        assert!(usage.of_tenant("pit", &Tenant::new("7").unwrap()).is_some());
        for name in ["", "a\nb", &"x".repeat(129)] {
            assert_eq!(Tenant::new(name), None, "{name}");
        }
    }
}
