//! Disjoint ranges of numbers: what arrived, and what was acknowledged, above the cumulative TSN.

use std::collections::VecDeque;

/// Inclusive ranges, ascending, with a hole between any two.
#[derive(Debug, Default)]
pub(super) struct Ranges(VecDeque<(u64, u64)>);

impl Ranges {
    /// Adds `first..=last` and calls `new` for each part of it that was not there.
    /// Costs the logarithm of the ranges, and what is new.
    pub(super) fn insert(&mut self, first: u64, last: u64, mut new: impl FnMut(u64, u64)) {
        let at = self.0.partition_point(|range| range.1 + 1 < first);
        let (mut merged, mut from, mut end) = ((first, last), first, at);
        while let Some(&(start, stop)) = self.0.get(end).filter(|range| range.0 <= last + 1) {
            if from < start && from <= last {
                new(from, start - 1);
            }
            from = from.max(stop + 1);
            merged = (merged.0.min(start), merged.1.max(stop));
            end += 1;
        }
        if from <= last {
            new(from, last);
        }
        if end == at {
            self.0.insert(at, merged);
        } else {
            self.0[at] = merged;
            self.0.drain(at + 1..end);
        }
    }

    pub(super) fn contains(&self, number: u64) -> bool {
        let at = self.0.partition_point(|range| range.1 < number);
        self.0.get(at).is_some_and(|range| range.0 <= number)
    }

    /// Whether adding `number` would lengthen the list.
    pub(super) fn is_apart(&self, number: u64) -> bool {
        let at = self.0.partition_point(|range| range.1 + 1 < number);
        self.0.get(at).is_none_or(|range| range.0 > number + 1)
    }

    /// Forgets everything up to `number`, and says the number that all up to it are in then:
    /// `number` itself, or the end of the range that follows it without a hole.
    pub(super) fn advance(&mut self, number: u64) -> u64 {
        let mut reached = number;
        while let Some(&(first, last)) = self.0.front().filter(|range| range.0 <= reached + 1) {
            debug_assert!(first <= last, "a range has its ends in order");
            reached = reached.max(last);
            self.0.pop_front();
        }
        reached
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn advancing_swallows_what_follows_without_a_hole() {
        let mut ranges = Ranges::default();
        for (first, last) in [(3, 4), (6, 6), (9, 12)] {
            ranges.insert(first, last, |_, _| ());
        }
        assert_eq!(ranges.advance(1), 1);
        assert_eq!(ranges.advance(2), 4);
        assert_eq!(ranges.advance(10), 12);
        assert_eq!(ranges.len(), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn ranges_are_a_set(adds in proptest::collection::vec((0u64..60, 0u64..8), 1..40)) {
            let (mut ranges, mut model) = (Ranges::default(), BTreeSet::new());
            for (first, more) in adds {
                let mut new = BTreeSet::new();
                prop_assert_eq!(ranges.is_apart(first), (first.saturating_sub(1)..=first + 1)
                    .all(|near| !model.contains(&near)));
                ranges.insert(first, first + more, |a, b| new.extend(a..=b));
                let missing: BTreeSet<u64> =
                    (first..=first + more).filter(|n| !model.contains(n)).collect();
                prop_assert_eq!(&new, &missing);
                model.extend(missing);
                let all: BTreeSet<u64> = ranges.iter().flat_map(|(a, b)| a..=b).collect();
                prop_assert_eq!(&all, &model);
                prop_assert!((0..80).all(|n| ranges.contains(n) == model.contains(&n)));
                let list: Vec<_> = ranges.iter().collect();
                prop_assert!(list.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0));
            }
        }
    }
}
