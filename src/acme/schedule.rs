//! The times of certificate orders and retries: pure, with time and randomness as arguments.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::tls::Validity;

/// The reason why an order failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The authority could not be reached.
    Unreachable,
    /// The authority rejected the order.
    Rejected,
    /// The authority issued an unusable certificate: authorities count issued certificates by the week.
    Unusable,
    /// The authority received too many requests, perhaps before this process started.
    RateLimited,
}

/// The number of consecutive failures of each kind.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Backoff {
    unreachable: u32,
    rejected: u32,
    unusable: u32,
    rate_limited: u32,
}

const FIRST_UNREACHABLE_WAIT: Duration = Duration::from_secs(5);
const FIRST_UNUSABLE_WAIT: Duration = Duration::from_secs(5 * 60);
/// Let's Encrypt gives back one of its five failures every 12 minutes.
const FIRST_RATE_LIMITED_WAIT: Duration = Duration::from_secs(15 * 60);

/// Waits after the first refusals. The first retry uses the other challenge almost at once; within the
/// next minutes an admin opens a firewall or adds a DNS record. All five waits together are longer than
/// an hour, since Let's Encrypt allows five failures of a name in an hour.
const REJECTED_WAITS: [Duration; 5] = [
    Duration::from_secs(10),
    Duration::from_secs(60),
    Duration::from_secs(3 * 60),
    Duration::from_secs(12 * 60),
    Duration::from_secs(45 * 60),
];

/// The first of the later waits, which double each time.
const FIRST_LATER_WAIT: Duration = Duration::from_secs(90 * 60);
const MAX_WAIT: Duration = Duration::from_secs(6 * 3600);
const MAX_UNREACHABLE_WAIT: Duration = Duration::from_secs(15 * 60);

impl Backoff {
    /// Returns the wait after a failure; `jitter` is from 0 to below 1.
    ///
    /// Waits grow with each refusal. An unreachable authority counts no attempts, so retries are more
    /// frequent.
    pub fn failed(&mut self, failure: Failure, jitter: f64) -> Duration {
        let (count, longest) = match failure {
            Failure::Unreachable => (&mut self.unreachable, MAX_UNREACHABLE_WAIT),
            Failure::Rejected => (&mut self.rejected, MAX_WAIT),
            Failure::Unusable => (&mut self.unusable, MAX_WAIT),
            Failure::RateLimited => (&mut self.rate_limited, MAX_WAIT),
        };
        let before = *count;
        *count = count.saturating_add(1);
        let doubled = |first: Duration, times: u32| {
            let factor = 1u32.checked_shl(times.min(16)).unwrap_or(u32::MAX);
            first.saturating_mul(factor)
        };
        let wait = match (failure, before) {
            (Failure::Unreachable, times) => doubled(FIRST_UNREACHABLE_WAIT, times),
            (Failure::Unusable, times) => doubled(FIRST_UNUSABLE_WAIT, times),
            (Failure::RateLimited, times) => doubled(FIRST_RATE_LIMITED_WAIT, times),
            (Failure::Rejected, times) => match REJECTED_WAITS.get(times as usize) {
                Some(wait) => *wait,
                None => doubled(FIRST_LATER_WAIT, times - REJECTED_WAITS.len() as u32),
            },
        };
        // Never sooner: the authority counts.
        wait.min(longest)
            .mul_f64(1.0 + 0.25 * unit_interval(jitter))
    }
}

/// When a certificate is renewed, in Unix seconds: at two thirds of its life, or by chance up to a
/// thirtieth of its life earlier, so that not all of the world's ask at once.
pub fn renewal(validity: Validity, jitter: f64) -> u64 {
    let life = validity.until.saturating_sub(validity.from).max(0);
    let earlier = (life as f64 / 30.0 * unit_interval(jitter)) as i64;
    let due = validity.from.saturating_add(life / 3 * 2 - earlier);
    u64::try_from(due).unwrap_or(0)
}

fn unit_interval(jitter: f64) -> f64 {
    if jitter.is_finite() {
        jitter.clamp(0.0, 1.0)
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 3600;

    #[test]
    fn a_certificate_is_renewed_at_two_thirds_of_its_life_or_a_little_earlier() {
        let validity = Validity {
            from: 1_800_000_000,
            until: 1_800_000_000 + 90 * DAY,
        };
        let days = |jitter| (renewal(validity, jitter) as i64 - validity.from) / DAY;
        assert_eq!(days(0.0), 60);
        assert_eq!(days(0.99999), 57);
        assert_eq!(days(0.5), 58);
        for (from, until) in [(5, 1), (i64::MIN, i64::MAX), (i64::MAX, i64::MIN)] {
            renewal(Validity { from, until }, f64::NAN);
        }
    }

    #[test]
    fn at_most_five_rejected_orders_fall_into_any_hour() {
        for jitter in [0.0, 0.5, 0.99] {
            let mut backoff = Backoff::default();
            let mut at = vec![0.0];
            for _ in 0..20 {
                let wait = backoff.failed(Failure::Rejected, jitter);
                assert!(wait <= MAX_WAIT.mul_f64(1.25));
                at.push(at.last().unwrap() + wait.as_secs_f64());
            }
            for six in at.windows(6) {
                assert!(six[5] - six[0] > 3600.0, "{six:?}");
            }
        }
    }

    #[test]
    fn an_unreachable_authority_is_retried_for_ever_and_soon_after_it_returns() {
        let mut backoff = Backoff::default();
        let waits = (0..200).map(|_| backoff.failed(Failure::Unreachable, 0.0).as_secs());
        let waits: Vec<_> = waits.collect();
        assert_eq!(waits[..4], [5, 10, 20, 40]);
        assert_eq!(*waits.last().unwrap(), 15 * 60);
        assert!(waits.is_sorted());
        // Unreachability does not count as a rejection.
        assert_eq!(backoff.failed(Failure::Rejected, 0.0), REJECTED_WAITS[0]);
    }

    #[test]
    fn a_rate_limited_order_is_retried_after_a_longer_wait() {
        let mut backoff = Backoff::default();
        let waits = (0..8).map(|_| backoff.failed(Failure::RateLimited, 0.0).as_secs() / 60);
        assert_eq!(
            waits.collect::<Vec<_>>(),
            [15, 30, 60, 120, 240, 360, 360, 360]
        );
    }

    #[test]
    fn an_order_that_is_rejected_at_first_is_retried_within_minutes() {
        for jitter in [0.0, 0.99] {
            let mut backoff = Backoff::default();
            let waits = (0..10).map(|_| backoff.failed(Failure::Rejected, jitter).as_secs());
            let waits: Vec<_> = waits.collect();
            assert!(waits[..3].iter().sum::<u64>() < 6 * 60, "{waits:?}");
            assert!(waits[..4].iter().sum::<u64>() < 21 * 60, "{waits:?}");
            assert!(waits.is_sorted());
        }
    }
}
