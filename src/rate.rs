//! Rate limiters: the generic cell rate algorithm (GCRA) with one word of state. Time is an
//! argument, and remote parties cannot grow the state.

use std::hash::{BuildHasher, Hash, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Mono;

/// The fractional bits of a unit's cost in nanoseconds.
const FRACTION_BITS: u32 = 10;

/// A rate with a burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// The cost of a unit in 2^-10 ns; 0 if unlimited.
    cost: u64,
    /// The burst in ns.
    burst: u64,
}

impl Limit {
    pub const UNLIMITED: Limit = Limit { cost: 0, burst: 0 };

    /// Returns a limit of `rate` units per second with a burst of `burst` units. A rate of 0 is
    /// unlimited.
    pub fn per_second(rate: u64, burst: u64) -> Limit {
        if rate == 0 {
            return Limit::UNLIMITED;
        }
        let cost = ((1_000_000_000u128 << FRACTION_BITS) / u128::from(rate)).max(1) as u64;
        let burst = (u128::from(burst.max(1)) * u128::from(cost)) >> FRACTION_BITS;
        Limit {
            cost,
            burst: burst.min(u128::from(u64::MAX / 4)) as u64,
        }
    }

    /// Returns a limit of one unit per `span` with a burst of `burst` units.
    pub fn every(span: Duration, burst: u64) -> Limit {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Limit {
            cost: nanos.min(u64::MAX >> FRACTION_BITS) << FRACTION_BITS,
            burst: burst.max(1).saturating_mul(nanos).min(u64::MAX / 4),
        }
    }

    /// Returns a limit of one unit per minute, for repeated log messages.
    pub fn per_minute() -> Limit {
        Limit {
            cost: 60_000_000_000 << FRACTION_BITS,
            burst: 60_000_000_000,
        }
    }

    /// Returns the new theoretical arrival time after taking `units` at `now`; `None` if they
    /// exceed the limit. `arrival` is the current one.
    fn after(self, arrival: u64, now: Mono, units: u64) -> Option<u64> {
        let cost = units.saturating_mul(self.cost) >> FRACTION_BITS;
        let next = arrival.max(now.0).saturating_add(cost);
        (next - now.0 <= self.burst).then_some(next)
    }
}

/// A rate limiter: the theoretical arrival time of the GCRA in ns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Gcra(u64);

impl Gcra {
    /// Takes `units`, or nothing. Returns whether they are within the limit.
    pub fn take(&mut self, limit: Limit, now: Mono, units: u64) -> bool {
        if limit == Limit::UNLIMITED {
            return true;
        }
        let next = limit.after(self.0, now, units);
        self.0 = next.unwrap_or(self.0);
        next.is_some()
    }

    /// Returns whether the limiter is back in its initial state.
    pub fn is_idle(&self, now: Mono) -> bool {
        self.0 <= now.0
    }

    /// Adds the use of an earlier limiter: afterwards at least as much is used as in `earlier`.
    pub fn merge(&mut self, earlier: Gcra) {
        self.0 = self.0.max(earlier.0);
    }
}

/// A [`Gcra`] for several threads.
#[derive(Debug, Default)]
pub struct SharedGcra(AtomicU64);

impl SharedGcra {
    /// Returns whether the limiter is back in its initial state.
    pub fn is_idle(&self, now: Mono) -> bool {
        self.0.load(Ordering::Relaxed) <= now.0
    }

    /// Returns the state, for [`SharedGcra::merge`].
    pub fn snapshot(&self) -> Gcra {
        Gcra(self.0.load(Ordering::Relaxed))
    }

    /// Adds the use of an earlier limiter: afterwards at least as much is used as in `earlier`.
    pub fn merge(&self, earlier: Gcra) {
        self.0.fetch_max(earlier.0, Ordering::Relaxed);
    }

    /// Takes `units`, or nothing. Returns whether they are within the limit.
    pub fn take(&self, limit: Limit, now: Mono, units: u64) -> bool {
        if limit == Limit::UNLIMITED {
            return true;
        }
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |arrival| {
                limit.after(arrival, now, units)
            })
            .is_ok()
    }
}

/// A limit for each of many keys: a fixed array of limiters, indexed by a hash with a random key.
/// Keys that collide share a limiter.
#[derive(Debug)]
pub struct KeyedLimiter {
    limit: Limit,
    hash: RandomState,
    limiters: Box<[SharedGcra]>,
}

impl KeyedLimiter {
    /// Creates `limiters` limiters.
    pub fn new(limit: Limit, limiters: usize) -> KeyedLimiter {
        KeyedLimiter {
            limit,
            hash: RandomState::new(),
            limiters: (0..limiters.max(1))
                .map(|_| SharedGcra::default())
                .collect(),
        }
    }

    /// Takes one unit for `key`. Returns whether it is within the limit.
    pub fn take(&self, key: impl Hash, now: Mono) -> bool {
        let index = self.hash.hash_one(key) as usize % self.limiters.len();
        self.limiters[index].take(self.limit, now, 1)
    }
}

/// A limit for each source address, by its prefix (/32, or /56 of IPv6).
#[derive(Debug)]
pub struct PerIpLimiter(KeyedLimiter);

impl PerIpLimiter {
    /// Creates `limiters` limiters.
    pub fn new(limit: Limit, limiters: usize) -> PerIpLimiter {
        PerIpLimiter(KeyedLimiter::new(limit, limiters))
    }

    /// Takes one unit for `source`. Returns whether it is within the limit.
    pub fn take(&self, source: IpAddr, now: Mono) -> bool {
        self.0.take(source_prefix(source), now)
    }

    /// Takes one unit for a source that may be either of two addresses. Such pairs have their own
    /// limiters, so that they do not use up the limits of other clients at one of the addresses.
    pub fn take_ambiguous(&self, sources: [IpAddr; 2], now: Mono) -> bool {
        let [one, other] =
            sources.map(|source| self.0.take(("unsure", source_prefix(source)), now));
        one && other
    }
}

/// Returns the prefix that identifies a source: the IPv4 address, or the /56 of an IPv6 address.
pub fn source_prefix(source: IpAddr) -> u64 {
    match source.to_canonical() {
        IpAddr::V4(ip) => u64::from(u32::from(ip)),
        IpAddr::V6(ip) => ((u128::from(ip) >> 72) as u64) << 8 | 1 << 63,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_passes_at_once_and_then_the_rate_applies() {
        let limit = Limit::per_second(10, 20);
        let mut limiter = Gcra::default();
        let mut now = Mono(5_000_000_000);
        let passed = (0..100).filter(|_| limiter.take(limit, now, 1)).count();
        assert_eq!(passed, 20);
        now = now + SECOND;
        let passed = (0..100).filter(|_| limiter.take(limit, now, 1)).count();
        assert_eq!(passed, 10);
    }

    #[test]
    fn a_limit_below_one_per_second_refills_in_its_interval() {
        let limit = Limit::every(6 * SECOND, 20);
        let mut limiter = Gcra::default();
        let mut now = Mono(5_000_000_000);
        assert_eq!((0..100).filter(|_| limiter.take(limit, now, 1)).count(), 20);
        now = now + 5 * SECOND;
        assert!(!limiter.take(limit, now, 1));
        now = now + SECOND;
        assert!(limiter.take(limit, now, 1) && !limiter.take(limit, now, 1));
    }

    #[test]
    fn a_rate_of_zero_is_no_limit() {
        let mut limiter = Gcra::default();
        assert!(limiter.take(Limit::per_second(0, 0), Mono(0), u64::MAX));
    }

    #[test]
    fn each_source_has_its_own_limit() {
        let sources = PerIpLimiter::new(Limit::per_second(1, 1), 4096);
        let (a, b) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        assert!(sources.take(a, Mono(1)) && !sources.take(a, Mono(1)));
        assert!(sources.take(b, Mono(1)));
    }

    #[test]
    fn an_ambiguous_source_needs_both_limits_and_uses_up_neither() {
        let sources = PerIpLimiter::new(Limit::per_second(1, 2), 4096);
        let [a, b, c] = [1, 2, 3].map(|host| IpAddr::from([192, 0, 2, host]));
        assert!(sources.take_ambiguous([a, b], Mono(1)) && sources.take_ambiguous([a, c], Mono(1)));
        assert!(!sources.take_ambiguous([a, c], Mono(1)));
        for one in [a, b, c] {
            assert!(sources.take(one, Mono(1)) && sources.take(one, Mono(1)));
        }
    }

    #[test]
    fn an_ipv6_site_is_one_source() {
        let sources = PerIpLimiter::new(Limit::per_second(1, 1), 4096);
        assert!(sources.take("2001:db8::1".parse().unwrap(), Mono(1)));
        assert!(!sources.take("2001:db8:0:ff::2".parse().unwrap(), Mono(1)));
    }

    proptest! {
        #[test]
        fn no_more_passes_than_burst_and_rate_allow(
            rate in 1u64..1_000_000,
            burst in 1u64..10_000,
            steps in prop::collection::vec((0u64..10_000_000, 1u64..2_000), 1..200),
        ) {
            let limit = Limit::per_second(rate, burst);
            let (mut limiter, mut now, mut passed) = (Gcra::default(), Mono(0), 0u128);
            for (wait, units) in steps {
                now = now + Duration::from_nanos(wait);
                if limiter.take(limit, now, units) {
                    passed += u128::from(units);
                }
            }
            let allowed = u128::from(burst) + u128::from(rate) * u128::from(now.0) / 1_000_000_000;
            // The cost of a unit is rounded to 2^-10 ns.
            prop_assert!(passed <= allowed + allowed / 500 + 1);
        }
    }
}
