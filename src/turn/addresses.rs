//! Handles changes of this host's addresses while allocations exist.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Mono, Now};

use super::allocation::RelayedAddress;
use super::host::Host;
use super::{Output, Server, Settings};

/// How long an address may be missing before the allocations on it end: a lease renewal or a replugged
/// link ends no call.
const MAX_ABSENCE: Duration = Duration::from_secs(10);

/// Maximum number of unlisted addresses of this host.
const MAX_UNLISTED: usize = 64;

/// Addresses of this host that the list does not contain, and missing ones.
#[derive(Debug, Default)]
pub(super) struct Transient {
    /// Missing addresses, and the time at which the allocations on each end.
    missing: Vec<(IpAddr, Mono)>,
    /// Unlisted addresses that clients have used through a local route.
    unlisted: Vec<IpAddr>,
}

impl Transient {
    /// Rarely true; checked in every tick of a shard.
    #[inline]
    pub fn is_any_missing(&self) -> bool {
        !self.missing.is_empty()
    }

    pub fn next_deadline(&self) -> Option<Mono> {
        self.missing.iter().map(|(_, deadline)| *deadline).min()
    }

    fn is_missing(&self, ip: IpAddr) -> bool {
        self.missing.iter().any(|(missing, _)| *missing == ip)
    }

    fn pop_expired(&mut self, now: Mono) -> Option<IpAddr> {
        let over = self
            .missing
            .iter()
            .position(|(_, deadline)| *deadline <= now)?;
        Some(self.missing.swap_remove(over).0)
    }

    fn all(&self) -> impl Iterator<Item = IpAddr> {
        let missing = self.missing.iter().map(|(ip, _)| *ip);
        missing.chain(self.unlisted.iter().copied())
    }
}

impl Server {
    /// Applies the addresses of this host: new allocations use only these, and allocations on a missing
    /// address end after 10 seconds, unless the address returns.
    ///
    /// Another shard may offer a new address before this one knows it: call [`Server::deny_peers`] at every
    /// shard first.
    pub fn set_host(&mut self, now: Now, host: Arc<Host>) {
        let before: Vec<_> = self.settings.host.usable().collect();
        self.settings
            .discovery
            .set_public_addresses(host.nat_mappings());
        self.transient
            .missing
            .retain(|(ip, _)| !host.has_usable(*ip));
        self.transient.unlisted.retain(|ip| !host.has_usable(*ip));
        self.settings.host = host;
        self.addresses_lost(now, before);
    }

    /// Ends the allocations on those of `addresses` that this host no longer has, after 10 seconds.
    /// `addresses` are the previous addresses, of this process or of the one before.
    pub fn addresses_lost(&mut self, now: Now, addresses: impl IntoIterator<Item = IpAddr>) {
        let deadline = now.mono + MAX_ABSENCE;
        for ip in addresses {
            if !self.settings.host.has_usable(ip) && !self.transient.is_missing(ip) {
                self.transient.missing.push((ip, deadline));
            }
        }
        self.update_own_addresses();
    }

    /// Denies `addresses` as peers: they are new addresses of this host that will be offered next.
    pub fn deny_peers(&mut self, addresses: &[IpAddr]) {
        self.settings.policy.own.extend_from_slice(addresses);
        self.reapply_policy();
    }

    /// Whether a relayed address may use the address that received the client's request.
    pub(super) fn may_relay_on(&self, requested: IpAddr) -> bool {
        let known = requested.is_loopback() || self.settings.policy.own.contains(&requested);
        let room = self.transient.unlisted.len() < MAX_UNLISTED;
        !self.transient.is_missing(requested) && (known || room)
    }

    /// Records an address that a relayed address uses. An unlisted one belongs to this host as well, and
    /// is denied as a peer like every other one.
    pub(super) fn note_relayed_on(&mut self, local: IpAddr) {
        let policy = &self.settings.policy;
        if policy.internal || local.is_loopback() || policy.own.contains(&local) {
            return;
        }
        self.transient.unlisted.push(local);
        self.deny_peers(&[local]);
    }

    /// Ends the allocations on addresses that have been missing for too long.
    pub(super) fn end_on_missing_addresses(&mut self, now: Now) {
        while let Some(ip) = self.transient.pop_expired(now.mono) {
            self.end_on(ip);
            self.update_own_addresses();
        }
    }

    fn end_on(&mut self, ip: IpAddr) {
        let on_it = |bound: &RelayedAddress| bound.local == ip;
        let ids = self
            .table
            .matching(|one| one.relayed_addresses().any(on_it));
        for id in &ids {
            let family = self.table.get(*id).and_then(|one| one.family_on(ip));
            self.end(*id, family);
        }
        let reserved = self.reservations.free_on(ip);
        let unbind = reserved.map(|socket| Output::Unbind { socket });
        self.output.extend(unbind);
        if !ids.is_empty() {
            let allocations = ids.len();
            self.output
                .push_back(Output::AddressLost { ip, allocations });
        }
    }

    /// Keeps a missing address denied while allocations on it exist.
    fn update_own_addresses(&mut self) {
        let Settings { policy, host, .. } = &mut self.settings;
        let mut own = host.own_addresses();
        own.extend(self.transient.all());
        let listeners = host.own_listeners();
        if policy.own != own || policy.listeners != listeners {
            policy.own = own;
            policy.listeners = listeners;
            self.reapply_policy();
        }
    }
}
