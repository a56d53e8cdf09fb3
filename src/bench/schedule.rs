//! Whose turn it is to send, and when.
//!
//! In a call every two people have a connection of their own with an allocation on each side, as
//! browsers make them. So a call of N is N·(N-1)/2 pairs of clients, and a person who speaks sends
//! the same packet on N-1 of them at once.

use std::time::Duration;

use crate::clock::Mono;

/// What a generator that was kept from its work catches up with; calls would not either.
const CATCH_UP: Duration = Duration::from_millis(20);

/// Pairs of clients in a call.
pub fn pairs_of(people: usize) -> usize {
    people * (people - 1) / 2
}

/// The clients in the order in which they send, `people - 1` at once; people of the same call are
/// far apart. `pairs` are numbers of pairs: the clients of pair 7 are 14 and 15.
pub fn send_order(pairs: &[usize], people: usize) -> Vec<usize> {
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

/// Turns spread evenly over time, each person's one `interval` after the one before.
pub struct Pace {
    start: Mono,
    interval: Duration,
    people: u64,
    taken: u64,
}

impl Pace {
    pub fn new(start: Mono, interval: Duration, people: usize) -> Pace {
        Pace {
            start,
            interval,
            people: people as u64,
            taken: 0,
        }
    }

    /// The turns that are due now: first those that came too late to be made up for, then those to
    /// take.
    pub fn due(&mut self, now: Mono) -> (u64, std::ops::Range<u64>) {
        let due = self.slots_in(now.since(self.start));
        let bearable = self.slots_in(CATCH_UP).max(1);
        let late = (due - self.taken.min(due)).saturating_sub(bearable);
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
    fn in_a_call_of_two_everybody_sends_alone() {
        assert_eq!(send_order(&[0, 3], 2), [0, 6, 1, 7]);
    }

    #[test]
    fn in_a_call_of_three_everybody_sends_to_two_at_once() {
        // Pairs 0, 1, 2 are of the people (0, 1), (0, 2), (1, 2); pair 3 is no whole call.
        assert_eq!(send_order(&[0, 1, 2, 3], 3), [0, 2, 1, 4, 3, 5]);
        assert_eq!(send_order(&(0..10).collect::<Vec<_>>(), 5).len(), 20);
    }

    #[test]
    fn everybody_has_one_turn_in_an_interval() {
        let start = Mono(1_000);
        let mut pace = Pace::new(start, Duration::from_millis(20), 4);
        assert_eq!(pace.due(start), (0, 0..0));
        assert_eq!(pace.due(start + Duration::from_millis(5)), (0, 0..1));
        assert_eq!(pace.due(start + Duration::from_millis(20)), (0, 1..4));
        assert_eq!(pace.due(start + Duration::from_millis(20)), (0, 4..4));
    }

    #[test]
    fn what_was_missed_for_long_is_not_sent_in_one_burst() {
        let start = Mono(0);
        let mut pace = Pace::new(start, Duration::from_millis(20), 4);
        assert_eq!(pace.due(start + Duration::from_millis(100)), (16, 16..20));
    }
}
