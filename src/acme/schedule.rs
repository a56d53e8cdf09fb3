//! When a certificate is asked for: pure, with time and chance as arguments.

use std::time::Duration;

use crate::tls::Validity;

/// Why there is no certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The authority could not be asked.
    Unreachable,
    /// It was asked, and said no.
    Refused,
    /// The authority issued an unusable certificate: authorities count issued certificates by the week.
    Useless,
    /// The authority received too many requests, perhaps before this process started.
    Limited,
}

/// How often each has happened in a row.
#[derive(Debug, Default)]
pub struct Backoff {
    unreachable: u32,
    refused: u32,
    useless: u32,
    limited: u32,
}

const FIRST_UNREACHABLE: Duration = Duration::from_secs(5);
const FIRST_USELESS: Duration = Duration::from_secs(5 * 60);
/// Let's Encrypt gives back one of its five failures every 12 minutes.
const FIRST_LIMITED: Duration = Duration::from_secs(15 * 60);

/// Waits after the first refusals. The first retry uses the other challenge almost at once; within the
/// next minutes an admin opens a firewall or adds a DNS record. All five waits together are longer than
/// an hour, since Let's Encrypt allows five failures of a name in an hour.
const REFUSED: [Duration; 5] = [
    Duration::from_secs(10),
    Duration::from_secs(60),
    Duration::from_secs(3 * 60),
    Duration::from_secs(12 * 60),
    Duration::from_secs(45 * 60),
];

/// The first of the later waits, which double each time.
const LATER: Duration = Duration::from_secs(90 * 60);
const LONGEST: Duration = Duration::from_secs(6 * 3600);
const LONGEST_UNREACHABLE: Duration = Duration::from_secs(15 * 60);

impl Backoff {
    /// How long to wait after a failure; `chance` is from 0 to below 1.
    ///
    /// Waits grow with each refusal. An unreachable authority counts no attempts, so retries are more
    /// frequent.
    pub fn failed(&mut self, failure: Failure, chance: f64) -> Duration {
        let (count, longest) = match failure {
            Failure::Unreachable => (&mut self.unreachable, LONGEST_UNREACHABLE),
            Failure::Refused => (&mut self.refused, LONGEST),
            Failure::Useless => (&mut self.useless, LONGEST),
            Failure::Limited => (&mut self.limited, LONGEST),
        };
        let before = *count;
        *count = count.saturating_add(1);
        let doubled = |first: Duration, times: u32| {
            let factor = 1u32.checked_shl(times.min(16)).unwrap_or(u32::MAX);
            first.saturating_mul(factor)
        };
        let wait = match (failure, before) {
            (Failure::Unreachable, times) => doubled(FIRST_UNREACHABLE, times),
            (Failure::Useless, times) => doubled(FIRST_USELESS, times),
            (Failure::Limited, times) => doubled(FIRST_LIMITED, times),
            (Failure::Refused, times) => match REFUSED.get(times as usize) {
                Some(wait) => *wait,
                None => doubled(LATER, times - REFUSED.len() as u32),
            },
        };
        // Never sooner: the authority counts.
        wait.min(longest).mul_f64(1.0 + 0.25 * share(chance))
    }
}

/// When a certificate is renewed, in Unix seconds: at two thirds of its life, or by chance up to a
/// thirtieth of its life earlier, so that not all of the world's ask at once.
pub fn renewal(validity: Validity, chance: f64) -> u64 {
    let life = validity.until.saturating_sub(validity.from).max(0);
    let earlier = (life as f64 / 30.0 * share(chance)) as i64;
    let due = validity.from.saturating_add(life / 3 * 2 - earlier);
    u64::try_from(due).unwrap_or(0)
}

fn share(chance: f64) -> f64 {
    if chance.is_finite() {
        chance.clamp(0.0, 1.0)
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
        let days = |chance| (renewal(validity, chance) as i64 - validity.from) / DAY;
        assert_eq!(days(0.0), 60);
        assert_eq!(days(0.99999), 57);
        assert_eq!(days(0.5), 58);
        for (from, until) in [(5, 1), (i64::MIN, i64::MAX), (i64::MAX, i64::MIN)] {
            renewal(Validity { from, until }, f64::NAN);
        }
    }

    #[test]
    fn no_more_than_five_refusals_fall_into_any_hour() {
        for chance in [0.0, 0.5, 0.99] {
            let mut backoff = Backoff::default();
            let mut at = vec![0.0];
            for _ in 0..20 {
                let wait = backoff.failed(Failure::Refused, chance);
                assert!(wait <= LONGEST.mul_f64(1.25));
                at.push(at.last().unwrap() + wait.as_secs_f64());
            }
            for six in at.windows(6) {
                assert!(six[5] - six[0] > 3600.0, "{six:?}");
            }
        }
    }

    #[test]
    fn an_authority_that_is_away_is_asked_for_ever_and_soon_when_it_is_back() {
        let mut backoff = Backoff::default();
        let waits = (0..200).map(|_| backoff.failed(Failure::Unreachable, 0.0).as_secs());
        let waits: Vec<_> = waits.collect();
        assert_eq!(waits[..4], [5, 10, 20, 40]);
        assert_eq!(*waits.last().unwrap(), 15 * 60);
        assert!(waits.is_sorted());
        // It has counted no refusal.
        assert_eq!(backoff.failed(Failure::Refused, 0.0), REFUSED[0]);
    }

    #[test]
    fn an_authority_that_was_asked_too_often_is_left_alone_for_a_while() {
        let mut backoff = Backoff::default();
        let waits = (0..8).map(|_| backoff.failed(Failure::Limited, 0.0).as_secs() / 60);
        assert_eq!(
            waits.collect::<Vec<_>>(),
            [15, 30, 60, 120, 240, 360, 360, 360]
        );
    }

    #[test]
    fn what_is_refused_at_first_is_tried_again_within_the_first_minutes() {
        for chance in [0.0, 0.99] {
            let mut backoff = Backoff::default();
            let waits = (0..10).map(|_| backoff.failed(Failure::Refused, chance).as_secs());
            let waits: Vec<_> = waits.collect();
            assert!(waits[..3].iter().sum::<u64>() < 6 * 60, "{waits:?}");
            assert!(waits[..4].iter().sum::<u64>() < 21 * 60, "{waits:?}");
            assert!(waits.is_sorted());
        }
    }
}
