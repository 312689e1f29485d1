//! Numbers that are written often: every thread has its own [`Cells`], and who reads adds them up.
//!
//! Nobody but its thread writes a cell, so counting is a load and a store, and no processor waits for another's
//! cache. What a thread has counted stays when it ends, and the next one goes on counting there: so there are
//! as many cells as threads have ever counted at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::metrics::Cells;

/// Whether anything is counted.
static ON: AtomicBool = AtomicBool::new(true);

static POOL: Mutex<Pool> = Mutex::new(Pool {
    all: Vec::new(),
    free: Vec::new(),
});

struct Pool {
    all: Vec<Arc<Cells>>,
    /// Those whose thread has ended.
    free: Vec<Arc<Cells>>,
}

/// The cells of a thread, until it ends.
struct Place(Arc<Cells>);

thread_local! {
    static MINE: Place = Place::take();
}

impl Place {
    fn take() -> Self {
        let mut pool = POOL.lock();
        let left = pool.free.pop();
        Self(left.unwrap_or_else(|| {
            let new = Arc::new(Cells::new());
            pool.all.push(Arc::clone(&new));
            new
        }))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        POOL.lock().free.push(Arc::clone(&self.0));
    }
}

/// Nothing is counted from now on.
pub(crate) fn switch_off() {
    ON.store(false, Ordering::Relaxed);
}

/// Counts something.
pub(crate) fn write(count: impl Fn(&Cells)) {
    if !ON.load(Ordering::Relaxed) {
        return;
    }
    let counted = MINE.try_with(|place| count(&place.0));
    if counted.is_err() {
        // The thread is ending, and has given its own away.
        count(&Place::take().0);
    }
}

/// What all threads have counted.
pub(crate) fn all() -> Vec<Arc<Cells>> {
    POOL.lock().all.clone()
}

/// A number that one thread changes, and wraps.
#[derive(Debug, Default)]
pub(crate) struct Cell(AtomicU64);

impl Cell {
    pub(crate) fn add(&self, more: u64) {
        let sum = self.get().wrapping_add(more);
        self.0.store(sum, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// All of these together.
    pub(crate) fn sum<'a>(all: impl IntoIterator<Item = &'a Self>) -> u64 {
        all.into_iter()
            .fold(0, |sum, cell| sum.wrapping_add(cell.get()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics;

    #[test]
    fn nothing_is_lost_when_threads_end_and_their_cells_are_used_again() {
        const THREADS: usize = 200;
        let lines = || metrics::log_lines_left_out_of(&all());
        let (before, cells) = (lines(), all().len());
        for _ in 0..THREADS {
            let thread = std::thread::spawn(|| metrics::log_lines_left_out(3));
            thread.join().unwrap();
        }
        assert_eq!(lines() - before, 3 * THREADS as u64);
        // Other tests run beside this one.
        assert!(all().len() < cells + THREADS / 2, "{}", all().len());
    }

    #[test]
    fn no_two_threads_write_the_same_cells() {
        let (one, other) = (Place::take(), Place::take());
        assert!(!Arc::ptr_eq(&one.0, &other.0));
        MINE.with(|mine| {
            assert!(!Arc::ptr_eq(&mine.0, &one.0) && !Arc::ptr_eq(&mine.0, &other.0));
        });
    }

    #[test]
    fn threads_that_count_at_once_count_everything() {
        let bytes = || metrics::written_of(&all());
        let before = bytes();
        let threads: Vec<_> = (0..8)
            .map(|_| std::thread::spawn(|| (0..100_000).for_each(|_| metrics::written(1))))
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(bytes() - before, 800_000);
    }
}
