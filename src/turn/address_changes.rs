//! Changes of this host's addresses while allocations exist.

use std::net::IpAddr;
use std::sync::Arc;

use crate::clock::Now;

use super::allocation::RelayedAddress;
use super::host::Host;
use super::{Output, Server};

impl Server {
    /// Applies the addresses of this host. New allocations use only these. Allocations on a missing
    /// address end after 10 seconds, unless the address returns.
    ///
    /// Another shard may offer a new address before this one knows it: call
    /// [`Server::deny_peers`] at every shard first.
    pub fn set_host(&mut self, now: Now, host: Arc<Host>) {
        let before: Vec<_> = self.config.host.usable().collect();
        let discovery = &mut self.config.discovery;
        discovery.set_public_addresses(host.nat_mappings());
        self.extra_addresses.remove_usable(&host);
        self.config.host = host;
        self.addresses_lost(now, before);
    }

    /// Ends the allocations on those of `addresses` that this host no longer has, after 10 seconds.
    /// `addresses` are the previous addresses, of this process or of the process before.
    pub fn addresses_lost(&mut self, now: Now, addresses: impl IntoIterator<Item = IpAddr>) {
        for ip in addresses {
            if !self.config.host.has_usable(ip) {
                self.extra_addresses.add_missing(ip, now.mono);
            }
        }
        self.update_own_addresses();
    }

    /// Denies `addresses` as peers: new addresses of this host that another shard may offer soon.
    pub fn deny_peers(&mut self, addresses: &[IpAddr]) {
        self.policy.own.extend_from_slice(addresses);
        self.reapply_policy();
    }

    /// Returns whether a relayed address may use `requested`, the address that received the
    /// client's request.
    pub(super) fn may_relay_on(&self, requested: IpAddr) -> bool {
        let is_known = requested.is_loopback() || self.policy.own.contains(&requested);
        !self.extra_addresses.is_missing(requested)
            && (is_known || self.extra_addresses.has_capacity())
    }

    /// Records an address that a relayed address uses. An unlisted address belongs to this host as
    /// well, and is denied as a peer like every other one.
    pub(super) fn record_relayed_address(&mut self, local: IpAddr) {
        let policy = &self.policy;
        if policy.internal || local.is_loopback() || policy.own.contains(&local) {
            return;
        }
        self.extra_addresses.add_unlisted(local);
        self.deny_peers(&[local]);
    }

    /// Ends the allocations on addresses that have been missing for too long.
    pub(super) fn end_on_missing_addresses(&mut self, now: Now) {
        while let Some(ip) = self.extra_addresses.pop_expired(now.mono) {
            self.end_on(ip);
            self.update_own_addresses();
        }
    }

    fn end_on(&mut self, ip: IpAddr) {
        let is_on = |address: &RelayedAddress| address.local == ip;
        let ids = self
            .table
            .matching(|allocation| allocation.relayed_addresses().any(is_on));
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

    /// Updates the denied own addresses. A missing address stays denied while allocations on it
    /// exist.
    fn update_own_addresses(&mut self) {
        let mut own = self.config.host.own_addresses();
        own.extend(self.extra_addresses.all());
        let listeners = self.config.host.own_listeners();
        if self.policy.own != own || self.policy.listeners != listeners {
            self.policy.own = own;
            self.policy.listeners = listeners;
            self.reapply_policy();
        }
    }
}
