//! The samples of an hour, one a second, and of a week, one a minute: in memory of a fixed size.
//!
//! A value has a column of `f32`, a moment a row; both rings know only which slots of time they hold, so
//! the clock is whoever writes. A slot that nobody wrote is not a number. A minute is made of its
//! seconds: how, each value's [`Fold`] says.

use crate::live::{Fold, KEYS, Values};

/// Milliseconds of a row of the hour.
pub const SECOND_MS: u64 = 1000;
/// Milliseconds of a row of the week.
pub const MINUTE_MS: u64 = 60_000;
const SECONDS: usize = 3600;
const MINUTES: usize = 7 * 24 * 60;

/// What is kept of the past samples.
#[derive(Debug)]
pub struct History {
    seconds: Ring,
    minutes: Ring,
    minute: Minute,
}

/// A stretch of a ring.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Milliseconds between rows.
    pub step_ms: u64,
    /// The first row's moment, in Unix milliseconds.
    pub start: u64,
    /// For each of [`KEYS`], in that order, its values; not a number where there is none.
    pub columns: Vec<Vec<f32>>,
}

impl Default for History {
    fn default() -> Self {
        Self::new()
    }
}

impl History {
    /// An empty one, which has all the memory that it will ever take.
    #[must_use]
    pub fn new() -> Self {
        Self {
            seconds: Ring::new(SECOND_MS, SECONDS),
            minutes: Ring::new(MINUTE_MS, MINUTES),
            minute: Minute::new(0),
        }
    }

    /// Keeps the sample of a moment, in Unix milliseconds. One that is older than the last is let go of.
    pub fn push(&mut self, at: u64, values: &Values) {
        if !self.seconds.write(at, values) {
            return;
        }
        if self.minute.slot != at / MINUTE_MS {
            self.minute = Minute::new(at / MINUTE_MS);
        }
        self.minute.add(values);
        self.minutes.write(at, &self.minute.values());
    }

    /// The last hour, by seconds.
    #[must_use]
    pub fn hour(&self) -> Series {
        self.seconds.series()
    }

    /// The last seven days, by minutes. The last minute is made of what it has had so far.
    #[must_use]
    pub fn week(&self) -> Series {
        self.minutes.series()
    }
}

#[derive(Debug)]
struct Ring {
    step_ms: u64,
    rows: usize,
    /// Column by column; a slot's row is its number modulo the rows.
    cells: Vec<f32>,
    /// The slots that it holds: from the first, to before the end.
    first: u64,
    end: u64,
}

impl Ring {
    fn new(step_ms: u64, rows: usize) -> Self {
        Self {
            step_ms,
            rows,
            cells: vec![f32::NAN; rows * KEYS.len()],
            first: 0,
            end: 0,
        }
    }

    /// Writes the slot of a moment. False if it lies before the last.
    fn write(&mut self, at: u64, values: &Values) -> bool {
        let slot = at / self.step_ms;
        if self.end > self.first && slot + 1 < self.end {
            return false;
        }
        if self.end == self.first {
            (self.first, self.end) = (slot, slot);
        }
        // What was missed is missing: at most a whole ring of it.
        let missed = self.end.max((slot + 1).saturating_sub(self.rows as u64))..slot;
        for slot in missed {
            self.set(slot, &[f64::NAN; KEYS.len()]);
        }
        self.set(slot, values);
        self.end = slot + 1;
        self.first = self.first.max(self.end.saturating_sub(self.rows as u64));
        true
    }

    fn set(&mut self, slot: u64, values: &Values) {
        let row = (slot % self.rows as u64) as usize;
        for (column, value) in values.iter().enumerate() {
            self.cells[column * self.rows + row] = *value as f32;
        }
    }

    fn series(&self) -> Series {
        let column = |column: usize| {
            let cells = &self.cells[column * self.rows..][..self.rows];
            let slots = self.first..self.end;
            let rows = slots.map(|slot| cells[(slot % self.rows as u64) as usize]);
            rows.collect()
        };
        Series {
            step_ms: self.step_ms,
            start: self.first * self.step_ms,
            columns: (0..KEYS.len()).map(column).collect(),
        }
    }
}

/// A minute as far as it has come.
#[derive(Debug)]
struct Minute {
    slot: u64,
    folded: Values,
    known: [u32; KEYS.len()],
}

impl Minute {
    const fn new(slot: u64) -> Self {
        Self {
            slot,
            folded: [f64::NAN; KEYS.len()],
            known: [0; KEYS.len()],
        }
    }

    fn add(&mut self, values: &Values) {
        for (at, value) in values
            .iter()
            .enumerate()
            .filter(|(_, value)| !value.is_nan())
        {
            let before = self.folded[at];
            self.known[at] += 1;
            self.folded[at] = match KEYS[at].fold {
                _ if before.is_nan() => *value,
                Fold::Mean => before + (value - before) / f64::from(self.known[at]),
                Fold::Max => before.max(*value),
                Fold::Last => *value,
            };
        }
    }

    const fn values(&self) -> Values {
        self.folded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_790_000_040_000;

    fn all(value: f64) -> Values {
        [value; KEYS.len()]
    }

    fn column(name: &str) -> usize {
        KEYS.iter().position(|key| key.name == name).unwrap()
    }

    #[test]
    fn what_was_missed_is_missing_and_memory_stays_as_it_is() {
        let mut history = History::new();
        let cells = (
            history.seconds.cells.capacity(),
            history.minutes.cells.capacity(),
        );
        history.push(START, &all(1.0));
        history.push(START + 3000, &all(4.0));
        let hour = history.hour();
        assert_eq!((hour.start, hour.step_ms), (START, 1000));
        let [first, second, third, fourth] = hour.columns[0][..] else {
            panic!("four seconds: {:?}", hour.columns[0]);
        };
        assert_eq!((first, fourth), (1.0, 4.0));
        assert!(second.is_nan() && third.is_nan());
        for second in 4..10_000 {
            history.push(START + second * 1000, &all(second as f64));
        }
        let hour = history.hour();
        assert_eq!(hour.columns[0].len(), SECONDS);
        assert_eq!(hour.start, START + (10_000 - 3600) * 1000);
        assert_eq!(
            (hour.columns[0][0], hour.columns[0][3599]),
            (6400.0, 9999.0)
        );
        // A week of silence leaves nothing of what was before.
        history.push(START + 30 * 24 * 3600 * 1000, &all(7.0));
        let week = history.week();
        assert_eq!(week.columns[0].len(), MINUTES);
        let known = week.columns[0].iter().filter(|value| !value.is_nan());
        assert_eq!(known.collect::<Vec<_>>(), [&7.0]);
        let now = (
            history.seconds.cells.capacity(),
            history.minutes.cells.capacity(),
        );
        assert_eq!(cells, now);
    }

    #[test]
    fn a_minute_is_the_mean_of_rates_the_worst_of_times_and_the_last_of_the_rest() {
        let mut history = History::new();
        for second in 0..60 {
            // Up and down, and not at its worst in the end.
            let value = (second * 7 % 60) as f64;
            history.push(START + second * 1000, &all(value));
        }
        history.push(START + 60_000, &all(f64::NAN));
        let week = history.week();
        let of = |name: &str| &week.columns[column(name)];
        assert_eq!(of("updates_per_second")[0], 29.5);
        assert_eq!(of("ack_seconds_p99")[0], 59.0);
        assert_eq!(of("sessions")[0], 53.0);
        assert!(of("sessions")[1].is_nan(), "missing is missing");
    }

    #[test]
    fn a_clock_that_goes_back_changes_nothing_that_was() {
        let mut history = History::new();
        history.push(START, &all(1.0));
        history.push(START + 1000, &all(2.0));
        history.push(START - 5000, &all(9.0));
        assert_eq!(history.hour().columns[0], [1.0, 2.0]);
    }
}
