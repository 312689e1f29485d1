//! Who is in by which token: so that a session ends when its token does.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Waker;
use std::time::Duration;

use atomic_waker::AtomicWaker;
use parking_lot::Mutex;
use protocol::{CloseCode, RoomName, UserId};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::revoked::Revocation;
use super::token::{BadToken, Grant};

/// How long the warden sleeps at most: the wall clock may be set meanwhile.
const WARDEN_SLEEP: Duration = Duration::from_millis(500);

/// All tickets that are held.
#[derive(Debug, Default)]
pub struct Tickets {
    held: Mutex<Held>,
    numbers: AtomicU64,
    sooner: Notify,
}

#[derive(Debug, Default)]
struct Held {
    all: HashMap<u64, Arc<Stub>>,
    expiring: BTreeSet<(u64, u64)>,
}

/// One holder's token, in one room or altogether. Held by a session for as long as it lives.
#[derive(Debug)]
pub struct Ticket {
    stub: Arc<Stub>,
    number: u64,
    book: Arc<Tickets>,
}

#[derive(Debug)]
struct Stub {
    grant: Arc<Grant>,
    room: Option<RoomName>,
    ended: OnceLock<BadToken>,
    waker: AtomicWaker,
    over: CancellationToken,
}

impl Stub {
    /// Ends it; the first reason stays. Gives whether this is it.
    fn end(&self, why: BadToken) -> bool {
        let first = self.ended.set(why).is_ok();
        self.waker.wake();
        self.over.cancel();
        first
    }
}

impl Ticket {
    /// Who the token's holder is.
    #[must_use]
    pub fn user(&self) -> Option<UserId> {
        self.stub.grant.subject().cloned()
    }

    /// Why the token is over, if it is.
    #[must_use]
    pub fn ended(&self) -> Option<(CloseCode, String)> {
        let why = self.stub.ended.get()?;
        Some((CloseCode::Unauthenticated, why.to_string()))
    }

    /// Wakes this task when the token is over. To be called before looking.
    pub fn register(&self, waker: &Waker) {
        self.stub.waker.register(waker);
    }

    /// Returns once the token is over.
    pub async fn until_over(&self) {
        self.stub.over.cancelled().await;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut held = self.book.held.lock();
        held.all.remove(&self.number);
        held.expiring
            .remove(&(self.stub.grant.expires(), self.number));
    }
}

impl Tickets {
    /// A ticket for the holder of `grant` in `room`, or for all it does.
    #[must_use]
    pub fn issue(self: &Arc<Self>, grant: Arc<Grant>, room: Option<RoomName>) -> Ticket {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let expires = grant.expires();
        let stub = Arc::new(Stub {
            grant,
            room,
            ended: OnceLock::new(),
            waker: AtomicWaker::new(),
            over: CancellationToken::new(),
        });
        let mut held = self.held.lock();
        held.all.insert(number, Arc::clone(&stub));
        held.expiring.insert((expires, number));
        if held.expiring.first() == Some(&(expires, number)) {
            self.sooner.notify_one();
        }
        drop(held);
        let book = Arc::clone(self);
        Ticket { stub, number, book }
    }

    /// Ends the tickets that a revocation is about. Gives how many they were.
    pub fn revoke(&self, revocation: &Revocation) -> usize {
        let held = self.held.lock();
        let about = held.all.values();
        let about = about.filter(|stub| revocation.covers(&stub.grant, stub.room.as_ref()));
        about.filter(|stub| stub.end(BadToken::Revoked)).count()
    }

    /// Ends each ticket when its token expires, by `now` in seconds since the Unix epoch. Never
    /// returns.
    pub async fn watch(&self, now: impl Fn() -> f64) {
        loop {
            let at = now();
            let next = self.end_expired(at);
            let wait = next.map_or(WARDEN_SLEEP, |next| {
                Duration::from_secs_f64((next as f64 - at).max(0.0)).min(WARDEN_SLEEP)
            });
            // Nothing expires: only a new ticket changes that.
            let _ = tokio::time::timeout(wait, self.sooner.notified()).await;
        }
    }

    /// Ends what has expired. Gives when the next does.
    fn end_expired(&self, now: f64) -> Option<u64> {
        let mut held = self.held.lock();
        loop {
            let (expires, number) = *held.expiring.first()?;
            if now < expires as f64 {
                return Some(expires);
            }
            held.expiring.pop_first();
            if let Some(stub) = held.all.get(&number) {
                stub.end(BadToken::Expired);
            }
        }
    }
}
