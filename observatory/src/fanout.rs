//! Which deliveries are timed: all of them while there are few, and one in [`SAMPLE`] else. One that is timed
//! counts for all that it stands for, so that no second weighs more than what was delivered in it.

use std::sync::atomic::{AtomicU64, Ordering};

/// Of so many one is timed, where there are many.
const SAMPLE: u64 = 64;
/// So many between two looks are few: to time them costs less than a thousandth of a processor.
const FEW: u64 = 2_000;

static ONE_IN: AtomicU64 = AtomicU64::new(SAMPLE);

/// How many deliveries the one with this number stands for, if it is to be timed. Numbers are spread evenly.
#[must_use]
pub fn timed_delivery(number: u64) -> Option<u64> {
    let one_in = ONE_IN.load(Ordering::Relaxed);
    number.is_multiple_of(one_in).then_some(one_in)
}

/// So many were delivered since the last look.
pub(crate) fn delivered(deliveries: u64) {
    let one_in = if deliveries <= FEW { 1 } else { SAMPLE };
    ONE_IN.store(one_in, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_timed_while_there_are_few_and_what_is_timed_stands_for_all() {
        let timed = || (0..6_400).filter_map(timed_delivery);
        delivered(FEW);
        assert_eq!((timed().count(), timed().sum::<u64>()), (6_400, 6_400));
        delivered(FEW + 1);
        assert_eq!((timed().count(), timed().sum::<u64>()), (100, 6_400));
        delivered(0);
        assert_eq!(timed().count(), 6_400);
    }
}
