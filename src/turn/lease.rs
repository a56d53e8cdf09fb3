//! A shard's share of the total bandwidth: taken in chunks, so that the shards do not write to one
//! shared word with every packet.

use crate::clock::Mono;
use crate::rate::{Limit, SharedGcra};

/// Bytes that a shard takes at a time.
const LEASE_BYTES: u64 = 16 * 1024;

/// Bytes in one direction that a shard has taken and not yet spent.
#[derive(Debug, Default)]
pub(super) struct Lease(u64);

impl Lease {
    /// Spends `bytes`; returns false, and spends nothing, if the bandwidth is used up.
    #[inline]
    pub fn spend(&mut self, all: &SharedGcra, limit: Limit, now: Mono, bytes: u64) -> bool {
        if limit == Limit::UNLIMITED {
            return true;
        }
        match self.0.checked_sub(bytes) {
            Some(left) => {
                self.0 = left;
                true
            }
            None => self.renew(all, limit, now, bytes),
        }
    }

    #[cold]
    fn renew(&mut self, all: &SharedGcra, limit: Limit, now: Mono, bytes: u64) -> bool {
        let lease = LEASE_BYTES.max(bytes);
        let granted = all.take(limit, now, lease);
        if granted {
            self.0 += lease - bytes;
        }
        granted
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn all_shards_together_stay_within_the_limit() {
        let limit = Limit::per_second(1_000_000, 100_000);
        let (all, mut now) = (SharedGcra::default(), Mono(1_000_000_000));
        let mut leases = [Lease::default(), Lease::default()];
        let mut passed = 0;
        for _ in 0..1000 {
            for lease in &mut leases {
                let packets = (0..100).filter(|_| lease.spend(&all, limit, now, 160));
                passed += 160 * packets.count();
            }
            now = now + Duration::from_millis(1);
        }
        // One second's rate and the burst, minus the unused part of the leases.
        assert!((1_060_000..=1_100_000).contains(&passed), "{passed}");
    }

    #[test]
    fn an_unlimited_lease_counts_nothing() {
        let (all, mut lease) = (SharedGcra::default(), Lease::default());
        assert!(lease.spend(&all, Limit::UNLIMITED, Mono(0), u64::MAX));
        assert!(all.is_idle(Mono(0)));
    }
}
