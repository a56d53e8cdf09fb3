//! Binary search for the maximum number of calls that a machine carries: doubles until a number fails, then
//! bisects.

/// Pairs of clients in the first attempt.
const FIRST_PAIRS: usize = 16;

/// Number of retries of a failed number: another program may have used the cores at that moment.
const MAX_RETRIES: usize = 3;

/// Precision: the result is within one part in this many.
const PRECISION: usize = 32;

pub(super) struct Search {
    /// The largest number that was carried.
    low: usize,
    /// The smallest number that was not carried.
    high: Option<usize>,
    first: usize,
    ceiling: usize,
    /// A failed number that is tried once more.
    retransmit_at: Option<usize>,
    retries: usize,
}

impl Search {
    /// Searches in calls of `pairs` pairs, beginning with `hint` calls if given, up to `ceiling`.
    pub(super) fn new(pairs: usize, hint: Option<usize>, ceiling: usize) -> Search {
        let first = hint.unwrap_or(FIRST_PAIRS / pairs);
        Search {
            low: 0,
            high: None,
            first: first.clamp(1, ceiling.max(1)),
            ceiling,
            retransmit_at: None,
            retries: MAX_RETRIES,
        }
    }

    /// Returns the next number of calls to try; `None` when the result is precise enough.
    pub(super) fn next(&self) -> Option<usize> {
        let next = match self.high {
            _ if self.retransmit_at.is_some() => return self.retransmit_at,
            None if self.low == 0 => self.first,
            None => (self.low * 2).min(self.ceiling),
            Some(high) if high - self.low <= (high / PRECISION).max(1) => return None,
            Some(high) => self.low + (high - self.low) / 2,
        };
        (next > self.low && next <= self.ceiling).then_some(next)
    }

    pub(super) fn learn(&mut self, calls: usize, carried: bool) {
        if self.retransmit_at.take().is_some() && carried {
            self.high = None;
        }
        if carried {
            self.low = self.low.max(calls);
        } else {
            self.high = Some(calls);
        }
        // A number that was carried once may fail later.
        self.low = self.low.min(self.high.map_or(self.low, |high| high - 1));
    }

    /// Schedules a retry of the failed number, if retries are left.
    pub(super) fn retry_failed(&mut self) -> bool {
        let possible = self
            .high
            .filter(|high| self.retries > 0 && *high <= self.ceiling);
        self.retransmit_at = possible;
        self.retries -= usize::from(possible.is_some());
        possible.is_some()
    }

    /// Lowers the ceiling.
    pub(super) fn limit(&mut self, ceiling: usize) {
        self.ceiling = self.ceiling.min(ceiling);
        self.retransmit_at = self
            .retransmit_at
            .filter(|retransmit_at| *retransmit_at <= self.ceiling);
    }

    pub(super) fn is_at_its_ceiling(&self) -> bool {
        self.low == self.ceiling
    }

    /// Returns the largest number of calls that was carried.
    pub(super) fn carried(&self) -> usize {
        self.low
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found(mut search: Search, capacity: usize) -> (usize, usize) {
        let mut attempts = 0;
        while let Some(calls) = search.next() {
            search.learn(calls, calls <= capacity);
            attempts += 1;
            assert!(attempts < 64);
        }
        (search.carried(), attempts)
    }

    #[test]
    fn a_hint_saves_tries() {
        let (_, alone) = found(Search::new(1, None, 20_000), 3000);
        let (calls, hinted) = found(Search::new(1, Some(2500), 20_000), 3000);
        assert!(hinted < alone && (2900..=3000).contains(&calls));
    }

    #[test]
    fn a_number_that_failed_by_chance_is_found_later() {
        let mut search = Search::new(1, None, 20_000);
        let mut attempts = 0;
        loop {
            while let Some(calls) = search.next() {
                attempts += 1;
                // The third attempt fails by chance.
                search.learn(calls, calls <= 3000 && attempts != 3);
            }
            if !search.retry_failed() {
                break;
            }
        }
        let carried = search.carried();
        assert!((2900..=3000).contains(&carried), "{carried}");
    }

    #[test]
    fn no_number_above_the_ceiling_is_tried() {
        assert_eq!(found(Search::new(1, None, 100), 10_000).0, 100);
        assert_eq!(found(Search::new(10, None, 0), 10_000).0, 0);
    }

    proptest! {
        #[test]
        fn the_result_is_at_most_one_in_32_below_the_capacity(capacity in 0usize..20_000, pairs in 1usize..50) {
            let (calls, _) = found(Search::new(pairs, None, 40_000), capacity);
            prop_assert!(calls <= capacity && capacity - calls <= capacity / 31 + 1);
        }
    }
}
