//! How good a link is.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::links::LinkValues;
use crate::turn::LinkQuality;

/// How good a link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    #[default]
    Good,
    Weak,
    Bad,
}

/// A link is weak from one of these values on.
const WEAK_LOSS_PERCENT: f64 = 2.0;
const WEAK_JITTER: Duration = Duration::from_millis(40);
const WEAK_ROUND_TRIP: Duration = Duration::from_millis(400);
/// A link is bad from this loss on.
const BAD_LOSS_PERCENT: f64 = 8.0;

/// A link is better again below a limit divided by this, so that one near a limit does not change all the time.
const HYSTERESIS: u32 = 2;

impl Level {
    /// Returns how good a link is by its present values alone; `None` without media, and with too few packets
    /// for a judgement.
    pub fn of(link: &LinkQuality, round_trip: Option<Duration>) -> Option<Level> {
        let values = LinkValues::of(link, round_trip)?;
        values.is_rated().then(|| rate(&values, 1))
    }

    /// Returns the level after this one. A link that is not rated is good.
    pub(super) fn next(self, values: &LinkValues) -> Level {
        if !values.is_rated() {
            return Level::Good;
        }
        let at_least = rate(values, 1);
        let at_most = rate(values, HYSTERESIS);
        self.clamp(at_least, at_most)
    }
}

/// Compares the values with the limits divided by `divisor`.
fn rate(values: &LinkValues, divisor: u32) -> Level {
    let loss = values.loss.percent() * f64::from(divisor);
    let is_long = |time: Option<Duration>, limit| time.is_some_and(|time| time * divisor >= limit);
    if loss >= BAD_LOSS_PERCENT {
        Level::Bad
    } else if loss >= WEAK_LOSS_PERCENT
        || is_long(values.jitter, WEAK_JITTER)
        || is_long(values.round_trip, WEAK_ROUND_TRIP)
    {
        Level::Weak
    } else {
        Level::Good
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::Loss;

    fn values(lost: u64, jitter_ms: u64, round_trip_ms: u64) -> LinkValues {
        LinkValues {
            loss: Loss {
                expected: 1000,
                lost,
            },
            jitter: Some(Duration::from_millis(jitter_ms)),
            round_trip: Some(Duration::from_millis(round_trip_ms)),
            ..LinkValues::default()
        }
    }

    /// The levels of a link with these values, one after the other.
    fn levels<const N: usize>(values: [LinkValues; N]) -> [Level; N] {
        let mut level = Level::default();
        values.map(|values| {
            level = level.next(&values);
            level
        })
    }

    #[test]
    fn a_link_is_worse_at_a_limit_and_better_below_half_of_it() {
        use Level::{Bad, Good, Weak};
        let losses = [0, 19, 20, 79, 80, 40, 39, 10, 9, 19, 80, 9];
        let expected = [
            Good, Good, Weak, Weak, Bad, Bad, Weak, Weak, Good, Good, Bad, Good,
        ];
        assert_eq!(levels(losses.map(|lost| values(lost, 0, 0))), expected);
        let expected = [Good, Weak, Weak, Good];
        assert_eq!(
            levels([39, 40, 20, 19].map(|ms| values(0, ms, 0))),
            expected
        );
        let round_trips = [399, 400, 200, 199];
        assert_eq!(levels(round_trips.map(|ms| values(0, 0, ms))), expected);
    }

    #[test]
    fn a_link_with_few_packets_is_good() {
        let few = LinkValues {
            loss: Loss {
                expected: 99,
                lost: 50,
            },
            ..values(0, 400, 4000)
        };
        assert_eq!(levels([values(80, 0, 0), few]), [Level::Bad, Level::Good]);
    }

    #[test]
    fn unknown_times_are_no_reason() {
        let unknown = LinkValues {
            jitter: None,
            round_trip: None,
            ..values(0, 0, 0)
        };
        assert_eq!(levels([unknown]), [Level::Good]);
    }
}
