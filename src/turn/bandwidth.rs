//! Bandwidth: what a packet is charged to. The total is taken in chunks, so that the shards do not
//! write to one shared word with every packet.

use crate::clock::Mono;
use crate::rate::{Limit, SharedGcra};

use super::DropReason;
use super::allocation::Allocation;
use super::settings::Config;

/// Bytes of the total bandwidth that a shard takes at a time.
const LEASE_BYTES: u64 = 16 * 1024;

/// Bytes that a packet is charged at least: an empty one is not free.
const MIN_PACKET_BYTES: usize = 8;

/// A direction of application data.
#[derive(Debug, Clone, Copy)]
pub(super) enum Direction {
    ToPeer,
    ToClient,
}

/// Charges a packet with `payload` bytes of application data to its allocation, to the user and to
/// the total, in this order.
///
/// # Errors
///
/// Names the limit that the packet exceeds. Limits before it stay charged.
#[inline]
pub(super) fn spend(
    direction: Direction,
    allocation: &mut Allocation,
    leases: &mut [Lease; 2],
    config: &Config,
    now: Mono,
    payload: usize,
) -> Result<(), DropReason> {
    let (user, total) = (&allocation.permit.usage.bandwidth, &config.quotas.bandwidth);
    let (limiter, user, total) = match direction {
        Direction::ToPeer => (&mut allocation.to_peers, &user.to_peers, &total.to_peers),
        Direction::ToClient => (&mut allocation.to_client, &user.to_client, &total.to_client),
    };
    let settings = &config.settings;
    let bytes = payload.max(MIN_PACKET_BYTES) as u64;
    if !limiter.take(settings.bandwidth, now, bytes) {
        return Err(DropReason::AllocationBandwidth);
    }
    if !user.take(settings.user_bandwidth, now, bytes) {
        return Err(DropReason::UserBandwidth);
    }
    let lease = &mut leases[direction as usize];
    if !lease.spend(total, settings.total_bandwidth, now, bytes) {
        return Err(DropReason::TotalBandwidth);
    }
    Ok(())
}

/// Bytes of the total bandwidth in one direction that a shard has taken and not yet spent.
#[derive(Debug, Default)]
pub(super) struct Lease(u64);

impl Lease {
    /// Spends `bytes`. Returns false, and spends nothing, if the bandwidth is used up.
    #[inline]
    pub(super) fn spend(&mut self, all: &SharedGcra, limit: Limit, now: Mono, bytes: u64) -> bool {
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
