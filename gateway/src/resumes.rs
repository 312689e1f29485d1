//! Connections by the keys that their clients keep, so that a client that comes back replaces its
//! own connection that hangs.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// The keys in use: at most one for each connection.
#[derive(Debug, Default, Clone)]
pub(crate) struct Resumes {
    held: Arc<Mutex<HashMap<[u8; 16], Holder>>>,
}

/// A connection by its id, and what ends it.
type Holder = (u64, CancellationToken);

/// A connection's hold on its key. Gone when it is dropped.
#[derive(Debug)]
pub(crate) struct Resume {
    key: [u8; 16],
    connection: u64,
    token: CancellationToken,
    all: Resumes,
}

impl Resumes {
    /// Takes a key over: who had it is told to end.
    pub(crate) fn take(&self, key: [u8; 16], connection: u64) -> Resume {
        let token = CancellationToken::new();
        let mine = (connection, token.clone());
        if let Some((_, before)) = self.held.lock().insert(key, mine) {
            before.cancel();
        }
        Resume {
            key,
            connection,
            token,
            all: self.clone(),
        }
    }
}

impl Resume {
    /// Cancelled when another connection takes the key.
    pub(crate) fn replaced(&self) -> &CancellationToken {
        &self.token
    }
}

impl Drop for Resume {
    fn drop(&mut self) {
        let mut held = self.all.held.lock();
        if held
            .get(&self.key)
            .is_some_and(|(by, _)| *by == self.connection)
        {
            held.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_connection_has_the_key() {
        let all = Resumes::default();
        let first = all.take([1; 16], 1);
        let other = all.take([2; 16], 2);
        let second = all.take([1; 16], 3);
        assert!(first.replaced().is_cancelled());
        assert!(!second.replaced().is_cancelled() && !other.replaced().is_cancelled());
        drop(first);
        let third = all.take([1; 16], 4);
        assert!(
            second.replaced().is_cancelled(),
            "the first one's end took nothing away"
        );
        drop((second, third, other));
        assert!(all.held.lock().is_empty());
    }
}
