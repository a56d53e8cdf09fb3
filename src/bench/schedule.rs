//! The order and the times at which clients send.
//!
//! In a call, every two people have a connection of their own with an allocation on each side, as in
//! browsers. So a call of N people is N·(N-1)/2 pairs of clients, and a person sends the same packet on N-1
//! connections at once.

use std::time::Duration;

use crate::clock::Mono;

/// Maximum delay that a late generator makes up for; a real call would not either.
const CATCH_UP: Duration = Duration::from_millis(20);

/// Returns the number of pairs of clients in a call.
pub(super) fn pairs_of(people: usize) -> usize {
    people * (people - 1) / 2
}

/// Returns the clients in the order in which they send, `people - 1` at once; people of the same call are far
/// apart. `pairs` are indices of pairs: the clients of pair 7 are 14 and 15.
pub(super) fn send_order(pairs: &[usize], people: usize) -> Vec<usize> {
    let calls = pairs.chunks_exact(pairs_of(people));
    let person = |person| {
        calls.clone().flat_map(move |call| {
            let couples = (0..people).flat_map(|a| (a + 1..people).map(move |b| (a, b)));
            let here = couples.zip(call).filter_map(move |((a, b), pair)| {
                let side = [a, b].iter().position(|one| *one == person)?;
                Some(2 * pair + side)
            });
            here.collect::<Vec<_>>()
        })
    };
    (0..people).flat_map(person).collect()
}

/// Send slots, spread evenly over time: each person has one slot per `interval`.
pub(super) struct Pace {
    start: Mono,
    interval: Duration,
    people: u64,
    taken: u64,
}

impl Pace {
    pub(super) fn new(start: Mono, interval: Duration, people: usize) -> Pace {
        Pace {
            start,
            interval,
            people: people as u64,
            taken: 0,
        }
    }

    /// Returns the slots that are due now: the number of slots that are skipped because they are too late,
    /// and the slots to use.
    pub(super) fn due(&mut self, now: Mono) -> (u64, std::ops::Range<u64>) {
        let due = self.slots_in(now.since(self.start));
        let catch_up = self.slots_in(CATCH_UP).max(1);
        let late = (due - self.taken.min(due)).saturating_sub(catch_up);
        let from = self.taken + late;
        self.taken = due.max(from);
        (late, from..self.taken)
    }

    fn slots_in(&self, span: Duration) -> u64 {
        let send_order =
            span.as_nanos() * u128::from(self.people) / self.interval.as_nanos().max(1);
        send_order as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_a_call_of_two_each_person_sends_to_one() {
        assert_eq!(send_order(&[0, 3], 2), [0, 6, 1, 7]);
    }

    #[test]
    fn in_a_call_of_three_each_person_sends_to_two_at_once() {
        // Pairs 0, 1, 2 belong to the people (0, 1), (0, 2), (1, 2); pair 3 is not a complete call.
        assert_eq!(send_order(&[0, 1, 2, 3], 3), [0, 2, 1, 4, 3, 5]);
        assert_eq!(send_order(&(0..10).collect::<Vec<_>>(), 5).len(), 20);
    }

    #[test]
    fn each_person_has_one_slot_per_interval() {
        let start = Mono(1_000);
        let mut pace = Pace::new(start, Duration::from_millis(20), 4);
        assert_eq!(pace.due(start), (0, 0..0));
        assert_eq!(pace.due(start + Duration::from_millis(5)), (0, 0..1));
        assert_eq!(pace.due(start + Duration::from_millis(20)), (0, 1..4));
        assert_eq!(pace.due(start + Duration::from_millis(20)), (0, 4..4));
    }

    #[test]
    fn slots_that_are_too_late_are_not_sent_in_a_burst() {
        let start = Mono(0);
        let mut pace = Pace::new(start, Duration::from_millis(20), 4);
        assert_eq!(pace.due(start + Duration::from_millis(100)), (16, 16..20));
    }
}
