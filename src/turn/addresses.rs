//! Handles changes of this host's addresses while allocations exist.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Mono, Now};

use super::allocation::Bound;
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
    gone: Vec<(IpAddr, Mono)>,
    /// Unlisted addresses that clients have used through a local route.
    unlisted: Vec<IpAddr>,
}

impl Transient {
    /// Rarely true; checked in every tick of a shard.
    #[inline]
    pub fn is_any_gone(&self) -> bool {
        !self.gone.is_empty()
    }

    pub fn next_deadline(&self) -> Option<Mono> {
        self.gone.iter().map(|(_, deadline)| *deadline).min()
    }

    fn is_gone(&self, ip: IpAddr) -> bool {
        self.gone.iter().any(|(gone, _)| *gone == ip)
    }

    fn pop_over(&mut self, now: Mono) -> Option<IpAddr> {
        let over = self
            .gone
            .iter()
            .position(|(_, deadline)| *deadline <= now)?;
        Some(self.gone.swap_remove(over).0)
    }

    fn all(&self) -> impl Iterator<Item = IpAddr> {
        let gone = self.gone.iter().map(|(ip, _)| *ip);
        gone.chain(self.unlisted.iter().copied())
    }
}

impl Server {
    /// Applies the addresses of this host: new allocations use only these, and allocations on a missing
    /// address end after 10 seconds, unless the address returns.
    ///
    /// Another shard may offer a new address before this one knows it: call [`Server::deny`] at every
    /// shard first.
    pub fn set_host(&mut self, now: Now, host: Arc<Host>) {
        let before: Vec<_> = self.settings.host.kept().collect();
        self.settings.discovery.rename(host.external());
        self.transient.gone.retain(|(ip, _)| !host.keeps(*ip));
        self.transient.unlisted.retain(|ip| !host.keeps(*ip));
        self.settings.host = host;
        self.lose(now, before);
    }

    /// Ends the allocations on those of `addresses` that this host no longer has, after 10 seconds.
    /// `addresses` are the previous addresses, of this process or of the one before.
    pub fn lose(&mut self, now: Now, addresses: impl IntoIterator<Item = IpAddr>) {
        let deadline = now.mono + MAX_ABSENCE;
        for ip in addresses {
            if !self.settings.host.keeps(ip) && !self.transient.is_gone(ip) {
                self.transient.gone.push((ip, deadline));
            }
        }
        self.judge_own_addresses();
    }

    /// Denies `addresses` as peers: they are new addresses of this host that will be offered next.
    pub fn deny(&mut self, addresses: &[IpAddr]) {
        self.settings.policy.own.extend_from_slice(addresses);
        self.judge_anew();
    }

    /// Whether a relayed address may use the address that received the client's request.
    pub(super) fn may_be_asked(&self, asked: IpAddr) -> bool {
        let known = asked.is_loopback() || self.settings.policy.own.contains(&asked);
        let room = self.transient.unlisted.len() < MAX_UNLISTED;
        !self.transient.is_gone(asked) && (known || room)
    }

    /// Records an address that a relayed address uses. An unlisted one belongs to this host as well, and
    /// is denied as a peer like every other one.
    pub(super) fn has_relayed_on(&mut self, local: IpAddr) {
        let policy = &self.settings.policy;
        if policy.internal || local.is_loopback() || policy.own.contains(&local) {
            return;
        }
        self.transient.unlisted.push(local);
        self.deny(&[local]);
    }

    /// Ends the allocations on addresses that have been missing for too long.
    pub(super) fn end_on_gone_addresses(&mut self, now: Now) {
        while let Some(ip) = self.transient.pop_over(now.mono) {
            self.end_on(ip);
            self.judge_own_addresses();
        }
    }

    fn end_on(&mut self, ip: IpAddr) {
        let on_it = |bound: &Bound| bound.local == ip;
        let ids = self.table.matching(|one| one.bound().any(on_it));
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
                .push_back(Output::AddressGone { ip, allocations });
        }
    }

    /// Keeps a missing address denied while allocations on it exist.
    fn judge_own_addresses(&mut self) {
        let Settings { policy, host, .. } = &mut self.settings;
        let mut own = host.own();
        own.extend(self.transient.all());
        let listeners = host.closed();
        if policy.own != own || policy.listeners != listeners {
            policy.own = own;
            policy.listeners = listeners;
            self.judge_anew();
        }
    }
}
