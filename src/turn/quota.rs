//! Quotas for allocations of one user, of one client address and in total. All shards share them;
//! an Allocate takes a permit.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::clock::Mono;
use crate::rate::{self, Gcra, SharedGcra};

use super::ErrorReason;
use super::recent_peers::RecentPeers;

/// The quotas and their counts. The entry of a user exists while the user has allocations, and
/// until the used bandwidth and the limit of new peers have recovered: a new allocation must not get
/// a new burst.
#[derive(Debug, Default)]
pub struct Quotas {
    is_closed: AtomicBool,
    max_total: AtomicUsize,
    max_per_user: AtomicU32,
    max_per_address: AtomicUsize,
    total: AtomicUsize,
    /// The bandwidth of all allocations.
    pub bandwidth: Bandwidth,
    users: Mutex<Users>,
}

#[derive(Debug, Default)]
struct Users {
    entries: HashMap<Box<str>, Entry>,
    /// The number of allocations of each client address, by its prefix.
    addresses: HashMap<u64, usize>,
    /// The number of entries at which idle entries are removed.
    prune_above: usize,
}

#[derive(Debug)]
struct Entry {
    held: u32,
    usage: Arc<Usage>,
}

/// The use of bandwidth and of new peers by all allocations of a user.
#[derive(Debug, Default)]
pub(super) struct Usage {
    pub bandwidth: Bandwidth,
    pub peers: RecentPeers,
}

/// The bandwidth limiters of a group of allocations, one for each direction.
#[derive(Debug, Default)]
pub struct Bandwidth {
    pub to_peers: SharedGcra,
    pub to_client: SharedGcra,
}

/// The right to one allocation. Dropping it returns it to the quota.
#[derive(Debug)]
pub struct Permit {
    quotas: Arc<Quotas>,
    user: Box<str>,
    /// The prefix of the client's address; `None` for reservations of a previous process.
    address: Option<u64>,
    pub(super) usage: Arc<Usage>,
}

/// The used bandwidth and the new peers of a user, for another process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BandwidthUse {
    user: Box<str>,
    to_peers: Gcra,
    to_client: Gcra,
    #[serde(default)]
    new_peers: Gcra,
}

/// The quota that is exhausted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exhausted {
    User,
    /// The quota of one client address: its limit, or a lower one while few allocations are free.
    Address,
    Total,
}

impl Quotas {
    /// Creates quotas. A `max_per_address` of 0 means half of the total.
    pub fn new(max_total: usize, max_per_user: u32, max_per_address: usize) -> Quotas {
        let quotas = Quotas::default();
        quotas.limit(max_total, max_per_user, max_per_address);
        quotas
    }

    /// Changes the limits for new permits. Existing permits stay valid.
    pub fn limit(&self, max_total: usize, max_per_user: u32, max_per_address: usize) {
        let max_per_address = match max_per_address {
            0 => max_total.div_ceil(2),
            max => max.min(max_total),
        };
        self.max_per_address
            .store(max_per_address, Ordering::Relaxed);
        self.max_total.store(max_total, Ordering::Relaxed);
        self.max_per_user.store(max_per_user, Ordering::Relaxed);
    }

    /// Records that the server drains: it allocates only for rooms whose relay it is. Existing permits stay valid.
    pub fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
    }

    /// Returns whether the server drains.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Relaxed)
    }

    /// Returns the number of permits, which is the number of relayed addresses and reserved ports.
    pub fn held(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }

    /// Takes a permit for `user` with the client address `client`.
    ///
    /// # Errors
    ///
    /// The quota that is exhausted.
    pub fn take(
        self: &Arc<Self>,
        user: &str,
        client: IpAddr,
        now: Mono,
    ) -> Result<Permit, Exhausted> {
        let mut users = self.users();
        // The user's quota is checked first: another server would not help such a client.
        let held = users.entries.get(user).map_or(0, |entry| entry.held);
        if held >= self.max_per_user.load(Ordering::Relaxed) {
            return Err(Exhausted::User);
        }
        let address = rate::source_prefix(client);
        let held = users.addresses.get(&address).copied().unwrap_or(0);
        let total = self.max_total.load(Ordering::Relaxed);
        let max = self.max_per_address.load(Ordering::Relaxed);
        // If one address may have all of them, the total is the exhausted quota.
        if held >= max && max < total {
            return Err(Exhausted::Address);
        }
        if self.held() >= total {
            return Err(Exhausted::Total);
        }
        if !self.is_within_share(held) {
            return Err(Exhausted::Address);
        }
        users.prune_idle(now);
        Ok(self.hold(&mut users, user, Some(address)))
    }

    /// Returns whether an address with `held` allocations may have one more: it must have fewer
    /// than are free. So one address alone reaches half of the total, two reach a third each. The
    /// addresses with the most are refused first, and a new address still gets one. A limit above
    /// half of the total raises this bound accordingly, so that one address alone reaches the
    /// limit.
    fn is_within_share(&self, held: usize) -> bool {
        let max = self.max_per_address.load(Ordering::Relaxed);
        let total = self.max_total.load(Ordering::Relaxed);
        let free = total.saturating_sub(self.held());
        // The part of the total that one address never gets.
        let others = (total - max.min(total)) as u128;
        if max > total / 2 {
            held as u128 * others < max as u128 * free as u128
        } else {
            held < free
        }
    }

    /// Takes a permit for an allocation of a previous process, without checking the limits.
    pub(super) fn restore(self: &Arc<Self>, user: &str, client: Option<IpAddr>) -> Permit {
        self.hold(&mut self.users(), user, client.map(rate::source_prefix))
    }

    fn hold(self: &Arc<Self>, users: &mut Users, user: &str, address: Option<u64>) -> Permit {
        if let Some(address) = address {
            *users.addresses.entry(address).or_default() += 1;
        }
        let entry = users.entry(user);
        entry.held += 1;
        self.total.fetch_add(1, Ordering::Relaxed);
        Permit {
            quotas: self.clone(),
            user: user.into(),
            address,
            usage: entry.usage.clone(),
        }
    }

    /// Returns the bandwidth that users have used at `now`, for [`Quotas::merge_bandwidth_use`] of
    /// another process.
    pub fn bandwidth_use(&self, now: Mono) -> Vec<BandwidthUse> {
        let users = self.users();
        let busy = users
            .entries
            .iter()
            .filter(|(_, entry)| !entry.is_idle(now));
        let bandwidth_use = busy.map(|(user, entry)| BandwidthUse {
            user: user.clone(),
            to_peers: entry.usage.bandwidth.to_peers.snapshot(),
            to_client: entry.usage.bandwidth.to_client.snapshot(),
            new_peers: entry.usage.peers.used(),
        });
        bandwidth_use.collect()
    }

    /// Adds what users had used in a previous process.
    pub fn merge_bandwidth_use(&self, bandwidth_use: &[BandwidthUse]) {
        let mut users = self.users();
        for user_bandwidth in bandwidth_use {
            let Usage { bandwidth, peers } = &*users.entry(&user_bandwidth.user).usage;
            bandwidth.to_peers.merge(user_bandwidth.to_peers);
            bandwidth.to_client.merge(user_bandwidth.to_client);
            peers.merge(user_bandwidth.new_peers);
        }
    }

    fn users(&self) -> MutexGuard<'_, Users> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Users {
    fn prune_idle(&mut self, now: Mono) {
        if self.entries.len() < self.prune_above {
            return;
        }
        self.entries
            .retain(|_, entry| entry.held > 0 || !entry.is_idle(now));
        self.prune_above = 2 * self.entries.len() + 64;
    }

    fn entry(&mut self, user: &str) -> &mut Entry {
        self.entries.entry(user.into()).or_insert_with(|| Entry {
            held: 0,
            usage: Arc::default(),
        })
    }
}

impl Entry {
    fn is_idle(&self, now: Mono) -> bool {
        let Bandwidth {
            to_peers,
            to_client,
        } = &self.usage.bandwidth;
        to_peers.is_idle(now) && to_client.is_idle(now) && self.usage.peers.is_idle(now)
    }
}

impl Permit {
    /// Returns the account that the permit counts for.
    pub fn user(&self) -> &str {
        &self.user
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut users = self.quotas.users();
        self.quotas.total.fetch_sub(1, Ordering::Relaxed);
        if let Some(entry) = users.entries.get_mut(&self.user) {
            entry.held -= 1;
        }
        if let Some(address) = self.address
            && let Some(held) = users.addresses.get_mut(&address)
        {
            *held -= 1;
            if *held == 0 {
                users.addresses.remove(&address);
            }
        }
    }
}

impl From<Exhausted> for ErrorReason {
    fn from(exhausted: Exhausted) -> ErrorReason {
        match exhausted {
            Exhausted::User => ErrorReason::UserQuota,
            Exhausted::Address => ErrorReason::AddressQuota,
            Exhausted::Total => ErrorReason::TotalQuota,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use super::*;
    use crate::rate::Limit;

    const NOW: Mono = Mono(1_000_000_000);

    const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    /// Takes allocations for one address until it is refused.
    fn fill(quotas: &Arc<Quotas>, client: [u8; 4]) -> Vec<Permit> {
        let mut user = 0..;
        let take = || {
            let user = format!("user-{}", user.next()?);
            quotas.take(&user, IpAddr::from(client), NOW).ok()
        };
        std::iter::from_fn(take).collect()
    }

    #[test]
    fn one_address_gets_half_of_the_total_and_two_a_third_each() {
        let quotas = Arc::new(Quotas::new(2000, 200, 0));
        let first = fill(&quotas, [192, 0, 2, 1]);
        assert_eq!(first.len(), 1000);
        // Half is free for the second, which is refused when it would hold more than is left.
        let second = fill(&quotas, [192, 0, 2, 2]);
        assert_eq!(second.len(), 500);
        let refused = quotas.take("alice", IpAddr::from([192, 0, 2, 1]), NOW);
        assert_eq!(refused.unwrap_err(), Exhausted::Address);
        let third = fill(&quotas, [192, 0, 2, 3]);
        assert_eq!(third.len(), 250);
        assert!(
            quotas
                .take("bob", IpAddr::from([192, 0, 2, 4]), NOW)
                .is_ok()
        );
        drop((first, second, third));
        assert!(quotas.users().addresses.is_empty());
    }

    #[test]
    fn the_limit_of_an_address_can_be_less_than_half_or_all() {
        let quotas = Arc::new(Quotas::new(100, 200, 10));
        assert_eq!(fill(&quotas, [192, 0, 2, 1]).len(), 10);
        quotas.limit(100, 200, 75);
        assert_eq!(fill(&quotas, [192, 0, 2, 1]).len(), 75);
        quotas.limit(100, 200, usize::MAX);
        let all = fill(&quotas, [192, 0, 2, 1]);
        assert_eq!(all.len(), 100);
        let refused = quotas.take("bob", CLIENT, NOW);
        assert_eq!(refused.unwrap_err(), Exhausted::Total);
        quotas.limit(usize::MAX, 200, 0);
        assert!(quotas.take("bob", CLIENT, NOW).is_ok());
    }

    #[test]
    fn an_ipv6_site_is_one_address() {
        let quotas = Arc::new(Quotas::new(10, 200, 2));
        let take = |ip: &str| quotas.take(ip, ip.parse().unwrap(), NOW);
        let _held = ["2001:db8::1", "2001:db8:0:ff::1"].map(|ip| take(ip).unwrap());
        assert_eq!(take("2001:db8:0:1::1").unwrap_err(), Exhausted::Address);
        assert!(take("2001:db8:0:100::1").is_ok());
    }

    #[test]
    fn a_dropped_permit_can_be_taken_again() {
        let quotas = Arc::new(Quotas::new(3, 2, 3));
        let take = |user| quotas.take(user, CLIENT, NOW);
        let first = take("alice").unwrap();
        let _second = take("alice").unwrap();
        assert_eq!(take("alice").unwrap_err(), Exhausted::User);
        let _bob = take("bob").unwrap();
        assert_eq!(take("bob").unwrap_err(), Exhausted::Total);
        drop(first);
        assert_eq!(quotas.held(), 2);
        assert!(take("alice").is_ok());
    }

    #[test]
    fn a_new_allocation_gets_no_new_burst() {
        let quotas = Arc::new(Quotas::new(3, 2, 3));
        let limit = Limit::per_second(1000, 1000);
        let first = quotas.take("alice", CLIENT, NOW).unwrap();
        assert!(first.usage.bandwidth.to_peers.take(limit, NOW, 1000));
        drop(first);
        let again = quotas.take("alice", CLIENT, NOW).unwrap();
        assert!(!again.usage.bandwidth.to_peers.take(limit, NOW, 1000));
    }

    #[test]
    fn a_user_without_allocations_keeps_the_used_limit_of_new_peers() {
        let quotas = Arc::new(Quotas::new(10, 2, 10));
        let take = |user: &str| quotas.take(user, CLIENT, NOW).unwrap();
        let reach = |permit: &Permit, port: u16| {
            let peers = [SocketAddr::new(CLIENT, port).into()];
            let limit = Limit::per_second(1, 1);
            permit.usage.peers.admit(limit, NOW, &peers, &[], NOW)
        };
        assert!(reach(&take("alice"), 1));
        for number in 0..1000 {
            take(&format!("user-{number}"));
        }
        assert!(!reach(&take("alice"), 2));
    }

    #[test]
    fn idle_users_without_allocations_are_pruned() {
        let quotas = Arc::new(Quotas::new(10, 2, 10));
        for number in 0..10_000 {
            quotas.take(&format!("user-{number}"), CLIENT, NOW).unwrap();
        }
        assert!(quotas.users().entries.len() <= 64);
    }
}
