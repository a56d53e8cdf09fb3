//! How much one connection may ask for: a rate of messages and a budget of bad ones.

use crate::clock::Mono;

/// What each connection of a room is held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Messages a second; 0 is unlimited.
    pub rate: u32,
    /// Messages at once, at least 1.
    pub burst: u32,
}

/// Bad messages in a row that are borne.
const BAD_IN_A_ROW: u32 = 100;
/// Bad messages in all that are borne.
const BAD_IN_ALL: u32 = 1_000;

/// A rate as one number: the theoretical arrival time of the generic cell rate algorithm
/// (ITU-T I.371).
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rate {
    /// When the bucket will be full again.
    arrival: Mono,
}

impl Rate {
    /// Whether one more message conforms; one that does not costs nothing.
    pub fn admits(&mut self, limits: &Limits, now: Mono) -> bool {
        if limits.rate == 0 {
            return true;
        }
        let interval = 1_000_000_000 / u64::from(limits.rate);
        let tolerance = interval * u64::from(limits.burst.max(1) - 1);
        let arrival = self.arrival.max(now);
        if arrival.0 - now.0 > tolerance {
            return false;
        }
        self.arrival = Mono(arrival.0 + interval);
        true
    }
}

/// The bad messages of one connection.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Budget {
    in_a_row: u32,
    in_all: u32,
}

impl Budget {
    pub fn good(&mut self) {
        self.in_a_row = 0;
    }

    /// Counts a bad message; true when the budget is spent.
    pub fn bad(&mut self) -> bool {
        self.in_a_row += 1;
        self.in_all += 1;
        self.in_a_row > BAD_IN_A_ROW || self.in_all > BAD_IN_ALL
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LIMITS: Limits = Limits {
        rate: 100,
        burst: 1000,
    };

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let (mut rate, start) = (Rate::default(), Mono(5));
        let burst = (0..2000)
            .take_while(|_| rate.admits(&LIMITS, start))
            .count();
        assert_eq!(burst, 1000);
        let later = start + Duration::from_millis(10);
        assert!(rate.admits(&LIMITS, later));
        assert!(!rate.admits(&LIMITS, later));
        let next_day = start + Duration::from_secs(86_400);
        let burst = (0..2000)
            .take_while(|_| rate.admits(&LIMITS, next_day))
            .count();
        assert_eq!(burst, 1000);
    }

    #[test]
    fn a_rate_of_zero_is_unlimited() {
        let limits = Limits { rate: 0, burst: 1 };
        let mut rate = Rate::default();
        assert!((0..5000).all(|_| rate.admits(&limits, Mono(0))));
    }

    #[test]
    fn a_hundred_bad_messages_in_a_row_are_borne() {
        let mut budget = Budget::default();
        assert!((0..100).all(|_| !budget.bad()));
        assert!(budget.bad());
    }

    #[test]
    fn a_thousand_bad_messages_in_all_are_borne() {
        let mut budget = Budget::default();
        for _ in 0..1000 {
            assert!(!budget.bad());
            budget.good();
        }
        assert!(budget.bad());
    }
}
