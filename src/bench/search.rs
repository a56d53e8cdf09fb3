//! Finds the most calls that a machine carries: doubled until it is too much, then halfway between.

/// The first try, in pairs of clients.
const FIRST_PAIRS: usize = 16;

/// How often to try again what was too much: somebody else may have wanted the cores just then.
const MAX_RETRIES: usize = 3;

/// Good enough: one part in so many.
const PRECISION: usize = 32;

pub struct Search {
    /// Carried.
    low: usize,
    /// Not carried.
    high: Option<usize>,
    first: usize,
    ceiling: usize,
    /// Was not carried, and is tried once more.
    retransmit_at: Option<usize>,
    retries: usize,
}

impl Search {
    /// In calls of so many `pairs`, from `hint` calls on where there is one; never more than
    /// `ceiling`.
    pub fn new(pairs: usize, hint: Option<usize>, ceiling: usize) -> Search {
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

    /// How many calls to try; `None` when the answer is good enough.
    pub fn next(&self) -> Option<usize> {
        let next = match self.high {
            _ if self.retransmit_at.is_some() => return self.retransmit_at,
            None if self.low == 0 => self.first,
            None => (self.low * 2).min(self.ceiling),
            Some(high) if high - self.low <= (high / PRECISION).max(1) => return None,
            Some(high) => self.low + (high - self.low) / 2,
        };
        (next > self.low && next <= self.ceiling).then_some(next)
    }

    pub fn learn(&mut self, calls: usize, carried: bool) {
        if self.retransmit_at.take().is_some() && carried {
            self.high = None;
        }
        match carried {
            true => self.low = self.low.max(calls),
            false => self.high = Some(calls),
        }
        // What was carried once may not be the second time.
        self.low = self.low.min(self.high.map_or(self.low, |high| high - 1));
    }

    /// Goes on from an answer that is good enough, where there is time: whether what was too much
    /// still is.
    pub fn retry_failed(&mut self) -> bool {
        let possible = self
            .high
            .filter(|high| self.retries > 0 && *high <= self.ceiling);
        self.retransmit_at = possible;
        self.retries -= usize::from(possible.is_some());
        possible.is_some()
    }

    /// More than this there can't be.
    pub fn limit(&mut self, ceiling: usize) {
        self.ceiling = self.ceiling.min(ceiling);
        self.retransmit_at = self
            .retransmit_at
            .filter(|retransmit_at| *retransmit_at <= self.ceiling);
    }

    pub fn is_at_its_ceiling(&self) -> bool {
        self.low == self.ceiling
    }

    /// The most calls that were carried.
    pub fn carried(&self) -> usize {
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
    fn what_was_too_much_for_a_moment_is_found_to_be_carried_later() {
        let mut search = Search::new(1, None, 20_000);
        let mut attempts = 0;
        loop {
            while let Some(calls) = search.next() {
                attempts += 1;
                // At the third try somebody else had the cores.
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
    fn nothing_above_the_ceiling_is_tried() {
        assert_eq!(found(Search::new(1, None, 100), 10_000).0, 100);
        assert_eq!(found(Search::new(10, None, 0), 10_000).0, 0);
    }

    proptest! {
        #[test]
        fn the_answer_is_at_most_one_in_32_below_the_truth(capacity in 0usize..20_000, pairs in 1usize..50) {
            let (calls, _) = found(Search::new(pairs, None, 40_000), capacity);
            prop_assert!(calls <= capacity && capacity - calls <= capacity / 31 + 1);
        }
    }
}
