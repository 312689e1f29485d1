//! What the whole-system tests share: a server of one's own, a WebSocket client that can misbehave,
//! and the few messages they speak.
//!
//! The tests know the server only from outside: its binary, its sockets, its exit code. None of
//! its crates is used here, so that a mistake in one of them is not repeated in what checks it; the
//! client is one of those that are tried on it.

pub mod attack;
pub mod collector;
pub mod command;
pub mod http;
pub mod server;
pub mod socket;
pub mod udp;
pub mod wire;

use std::future::Future;
use std::time::{Duration, Instant};

/// A number from the environment, or what it is by default.
///
/// # Panics
/// If the variable is set to something else than a number.
#[must_use]
pub fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number, not {text:?}"))
    })
}

/// The seed of this run: `SEED`, or a new one. It is printed, so that a failure can be repeated.
#[must_use]
pub fn seed() -> u64 {
    let fresh = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(1, |since| since.as_nanos() as u64);
    let seed = setting("SEED", fresh);
    eprintln!("SEED={seed}");
    seed
}

/// Waits for `future`, and fails with `what` when that takes longer than `limit`.
///
/// # Panics
/// When it takes longer.
pub async fn within<F: Future>(limit: Duration, what: &str, future: F) -> F::Output {
    match tokio::time::timeout(limit, future).await {
        Ok(output) => output,
        Err(_) => panic!("not within {limit:?}: {what}"),
    }
}

/// Looks again and again until `probe` gives something.
///
/// # Panics
/// When it does not within `limit`.
pub async fn until<T, F: Future<Output = Option<T>>>(
    limit: Duration,
    what: &str,
    mut probe: impl FnMut() -> F,
) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Lets this process hold as many files as the system allows: thousands of connections are.
pub fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, wanted) {
        eprintln!("the limit of open files stays at {limit:?}: {error}");
    }
}
