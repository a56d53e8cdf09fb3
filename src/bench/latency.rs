//! Latency histogram with logarithmic buckets: it takes a few kilobytes at any packet rate, and a percentile
//! is at most 1.6 % off.

use std::time::Duration;

/// Buckets per doubling, as a power of two.
const PRECISION_BITS: u32 = 6;
/// Maximum value, as a power of two in nanoseconds: 18 minutes.
const MAX_NANOS_BITS: u32 = 40;

const BUCKETS: usize = ((MAX_NANOS_BITS - PRECISION_BITS + 1) << PRECISION_BITS) as usize;

#[derive(Clone)]
pub(super) struct Latency {
    counts: Box<[u64]>,
    total: u64,
}

impl Latency {
    pub(super) fn new() -> Latency {
        Latency {
            counts: vec![0; BUCKETS].into_boxed_slice(),
            total: 0,
        }
    }

    pub(super) fn record(&mut self, took: Duration) {
        let longest = (1 << MAX_NANOS_BITS) - 1;
        let nanos = took.as_nanos().min(longest) as u64;
        self.counts[bucket(nanos)] += 1;
        self.total += 1;
    }

    pub(super) fn merge(&mut self, other: &Latency) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
    }

    /// Returns the latency that `share` of the packets (0.99 for p99) did not exceed; `None` without packets.
    pub(super) fn percentile(&self, share: f64) -> Option<Duration> {
        let wanted = ((self.total as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        let found = self.counts.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        found.map(|bucket| Duration::from_nanos(end_of(bucket)))
    }
}

fn bucket(nanos: u64) -> usize {
    let doublings = (u64::BITS - nanos.leading_zeros()).saturating_sub(PRECISION_BITS + 1);
    let within = (nanos >> doublings) as usize;
    ((doublings as usize) << PRECISION_BITS) + within
}

/// The largest value in a bucket.
fn end_of(bucket: usize) -> u64 {
    let doublings = (bucket >> PRECISION_BITS).saturating_sub(1);
    let within = (bucket - (doublings << PRECISION_BITS)) as u64;
    ((within + 1) << doublings) - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn percentiles_match_the_recorded_values() {
        let mut latency = Latency::new();
        assert_eq!(latency.percentile(0.5), None);
        for millis in 1..=1000 {
            latency.record(Duration::from_millis(millis));
        }
        for (share, millis) in [(0.5, 500.0), (0.99, 990.0), (0.999, 999.0)] {
            let value = latency.percentile(share).unwrap().as_secs_f64() * 1e3;
            assert!((value / millis - 1.0).abs() < 0.017, "{share}: {value}");
        }
        let mut both = latency.clone();
        both.merge(&latency);
        assert_eq!(both.percentile(0.5), latency.percentile(0.5));
    }

    #[test]
    fn the_longest_possible_time_is_recorded() {
        let mut latency = Latency::new();
        latency.record(Duration::MAX);
        assert!(latency.percentile(0.5) > Some(Duration::from_secs(1000)));
    }

    proptest! {
        #[test]
        fn a_value_is_at_most_1_6_percent_below_the_end_of_its_bucket(nanos in 0u64..1 << MAX_NANOS_BITS) {
            let end = end_of(bucket(nanos));
            prop_assert!(nanos <= end && (end - nanos) as f64 <= nanos as f64 / 64.0);
        }
    }
}
