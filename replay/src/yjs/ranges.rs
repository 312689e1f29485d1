//! A set of clocks of one client, as sorted ranges that neither touch nor overlap.

use std::ops::Range;

/// A set of clocks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ranges(Vec<Range<u32>>);

impl Ranges {
    /// The ranges in order.
    pub(super) fn iter(&self) -> std::slice::Iter<'_, Range<u32>> {
        self.0.iter()
    }

    /// How many ranges there are.
    pub(super) const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether every clock of `range` is in the set.
    pub(super) fn cover(&self, range: &Range<u32>) -> bool {
        range.is_empty()
            || self
                .from(range.start)
                .first()
                .is_some_and(|found| found.start <= range.start && range.end <= found.end)
    }

    /// Where the range ends that holds `clock`, if one does.
    pub(super) fn until(&self, clock: u32) -> Option<u32> {
        let found = self.from(clock).first()?;
        (found.start <= clock).then_some(found.end)
    }

    /// The ranges that end after `clock`.
    pub(super) fn from(&self, clock: u32) -> &[Range<u32>] {
        let first = match self.0.last() {
            Some(last) if last.start <= clock => self.0.len() - usize::from(clock < last.end),
            _ => self.0.partition_point(|range| range.end <= clock),
        };
        &self.0[first..]
    }

    /// Adds `range`; returns whether any of it was not there.
    pub(super) fn insert(&mut self, range: Range<u32>) -> bool {
        if range.is_empty() || self.cover(&range) {
            return false;
        }
        match self.0.last_mut() {
            None => self.0.push(range),
            Some(last) if last.end < range.start => self.0.push(range),
            Some(last) if last.end == range.start => last.end = range.end,
            Some(_) => {
                let first = self.0.partition_point(|there| there.end < range.start);
                let after = self.0.partition_point(|there| there.start <= range.end);
                let mut whole = range;
                if first < after {
                    whole.start = whole.start.min(self.0[first].start);
                    whole.end = whole.end.max(self.0[after - 1].end);
                }
                self.0.splice(first..after, [whole]);
            }
        }
        true
    }

    /// Adds many ranges, in whatever order, at the cost of sorting them.
    pub(super) fn extend(&mut self, more: impl IntoIterator<Item = Range<u32>>) {
        self.0.extend(more);
        self.0.sort_unstable_by_key(|range| range.start);
        self.0.dedup_by(|right, left| {
            let joins = right.start <= left.end;
            if joins {
                left.end = left.end.max(right.end);
            }
            joins
        });
    }

    /// Takes out every clock from `clock` on.
    pub(super) fn truncate(&mut self, clock: u32) {
        while let Some(last) = self.0.last_mut()
            && last.end > clock
        {
            last.end = clock.max(last.start);
            if last.start == last.end {
                self.0.pop();
            } else {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn ranges_are_the_set_they_stand_for(
            steps in prop::collection::vec((0u32..60, 0u32..12), 0..40),
            cut in 0u32..70,
        ) {
            let mut ranges = Ranges::default();
            let mut set = BTreeSet::new();
            for (start, len) in &steps {
                let range = *start..start + len;
                let new = range.clone().any(|clock| !set.contains(&clock));
                prop_assert_eq!(ranges.cover(&range), !new);
                prop_assert_eq!(ranges.insert(range.clone()), new);
                set.extend(range);
            }
            let mut bulk = Ranges::default();
            bulk.extend(steps.iter().map(|(start, len)| *start..start + len).filter(|r| !r.is_empty()));
            prop_assert_eq!(&bulk, &ranges);
            ranges.truncate(cut);
            set.retain(|clock| *clock < cut);
            prop_assert_eq!(ranges.iter().cloned().flatten().collect::<BTreeSet<_>>(), set);
            prop_assert!(ranges.0.is_sorted_by(|a, b| a.end < b.start));
            for clock in 0..70 {
                let expected = ranges.iter().filter(|range| range.end > clock).count();
                prop_assert_eq!(ranges.from(clock).len(), expected);
            }
        }
    }
}
