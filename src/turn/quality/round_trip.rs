//! Round trips between the relay and a client. ICE connectivity checks and their answers pass through
//! the relay, and the transaction id pairs them (RFC 8489 section 5).

use std::time::Duration;

use crate::clock::Mono;
use crate::stun::COOKIE;

/// Checks whose answers are awaited.
const PENDING: usize = 4;

/// Measurements that the median is taken of.
const SAMPLES: usize = 5;

/// The time after which an answer no longer counts: the transaction timeout of STUN is longer, but an
/// answer so late says nothing of the path.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

const BINDING_REQUEST: [u8; 2] = [0x00, 0x01];
const BINDING_SUCCESS: [u8; 2] = [0x01, 0x01];

type TransactionKey = [u8; 12];

/// The last round trips between the relay and a client.
#[derive(Debug, Default)]
pub(super) struct RoundTrips {
    pending: [Option<(TransactionKey, Mono)>; PENDING],
    next_pending: u8,
    samples: [Option<Duration>; SAMPLES],
    next_sample: u8,
}

impl RoundTrips {
    /// Notes a check that is relayed to the client.
    pub(super) fn sent(&mut self, message: &[u8], now: Mono) {
        let Some(transaction) = transaction(message, BINDING_REQUEST) else {
            return;
        };
        // A retransmission does not say which of the two is answered.
        let mut pending = self.pending.iter().flatten();
        if pending.any(|(known, _)| *known == transaction) {
            return;
        }
        self.pending[self.next_pending as usize % PENDING] = Some((transaction, now));
        self.next_pending = self.next_pending.wrapping_add(1);
    }

    /// Measures the round trip if this message from the client answers a check.
    pub(super) fn received(&mut self, message: &[u8], now: Mono) {
        let Some(transaction) = transaction(message, BINDING_SUCCESS) else {
            return;
        };
        let is_answered = |check: &&mut Option<(TransactionKey, Mono)>| {
            check.is_some_and(|(known, _)| known == transaction)
        };
        let Some((_, sent)) = self
            .pending
            .iter_mut()
            .find(is_answered)
            .and_then(Option::take)
        else {
            return;
        };
        let round_trip = now.since(sent);
        if round_trip <= ANSWER_TIMEOUT {
            self.samples[self.next_sample as usize % SAMPLES] = Some(round_trip);
            self.next_sample = self.next_sample.wrapping_add(1);
        }
    }

    /// Returns the median of the last round trips.
    pub(super) fn median(&self) -> Option<Duration> {
        let mut samples: Vec<_> = self.samples.iter().flatten().copied().collect();
        samples.sort_unstable();
        samples.get(samples.len() / 2).copied()
    }
}

/// Returns the transaction id of a STUN message of this type.
fn transaction(message: &[u8], kind: [u8; 2]) -> Option<TransactionKey> {
    let header: &[u8; 20] = message.first_chunk()?;
    let [k0, k1, _, _, m0, m1, m2, m3, transaction @ ..] = *header;
    ([k0, k1] == kind && [m0, m1, m2, m3] == COOKIE).then_some(transaction)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: [u8; 2], transaction: u8) -> Vec<u8> {
        let head = [kind[0], kind[1], 0, 0];
        [&head[..], &COOKIE, &[transaction; 12]].concat()
    }

    fn at(ms: u64) -> Mono {
        Mono(ms * 1_000_000)
    }

    #[test]
    fn the_round_trip_is_the_median_of_answered_checks() {
        let mut round_trips = RoundTrips::default();
        assert_eq!(round_trips.median(), None);
        for (transaction, ms) in [(1, 30), (2, 900), (3, 31), (4, 29), (5, 33)] {
            let start = u64::from(transaction) * 1_000;
            round_trips.sent(&message(BINDING_REQUEST, transaction), at(start));
            round_trips.received(&message(BINDING_SUCCESS, transaction), at(start + ms));
        }
        assert_eq!(round_trips.median(), Some(Duration::from_millis(31)));
    }

    #[test]
    fn an_answer_counts_once_and_not_for_another_check() {
        let mut round_trips = RoundTrips::default();
        round_trips.sent(&message(BINDING_REQUEST, 1), at(0));
        round_trips.received(&message(BINDING_SUCCESS, 2), at(10));
        round_trips.received(&message([0x01, 0x11], 1), at(10));
        assert_eq!(round_trips.median(), None);
        round_trips.received(&message(BINDING_SUCCESS, 1), at(20));
        round_trips.received(&message(BINDING_SUCCESS, 1), at(700));
        assert_eq!(round_trips.median(), Some(Duration::from_millis(20)));
    }

    #[test]
    fn a_late_answer_and_a_forgotten_check_count_for_nothing() {
        let mut round_trips = RoundTrips::default();
        round_trips.sent(&message(BINDING_REQUEST, 1), at(0));
        round_trips.received(&message(BINDING_SUCCESS, 1), at(6_000));
        for transaction in 2..=6 {
            round_trips.sent(&message(BINDING_REQUEST, transaction), at(7_000));
        }
        round_trips.received(&message(BINDING_SUCCESS, 2), at(7_010));
        assert_eq!(round_trips.median(), None);
        round_trips.received(&message(BINDING_SUCCESS, 6), at(7_010));
        assert_eq!(round_trips.median(), Some(Duration::from_millis(10)));
    }

    #[test]
    fn a_repeated_check_is_measured_from_its_first_transmission() {
        let mut round_trips = RoundTrips::default();
        round_trips.sent(&message(BINDING_REQUEST, 1), at(0));
        round_trips.sent(&message(BINDING_REQUEST, 1), at(400));
        round_trips.received(&message(BINDING_SUCCESS, 1), at(500));
        assert_eq!(round_trips.median(), Some(Duration::from_millis(500)));
    }
}
