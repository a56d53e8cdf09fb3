//! Addresses of this host that come and go while allocations live.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Mono, Now};

use super::allocation::Bound;
use super::host::Host;
use super::{Output, Server, Settings};

/// How long an address may be gone before the allocations on it end: a lease that is renewed or a
/// link that is plugged in again ends no call.
const MAX_ABSENCE: Duration = Duration::from_secs(10);

/// Addresses that are this host's without being listed, at most.
const MAX_UNLISTED: usize = 64;

/// Addresses that belong to this host and are not listed.
#[derive(Debug, Default)]
pub(super) struct Transient {
    /// Those that are gone, and when the allocations on each end.
    gone: Vec<(IpAddr, Mono)>,
    /// Those that clients have asked although only a local route leads to them.
    unlisted: Vec<IpAddr>,
}

impl Transient {
    /// Rarely: asked in every turn of a shard.
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
    /// Puts the addresses of this host into force: new allocations are made on these alone, and those
    /// on an address that is gone end after 10 seconds, unless it comes back.
    ///
    /// Another shard may offer a new address before this one knows it: [`Server::deny`] comes first,
    /// at every shard.
    pub fn set_host(&mut self, now: Now, host: Arc<Host>) {
        let before: Vec<_> = self.settings.host.kept().collect();
        self.settings.discovery.rename(host.external());
        self.transient.gone.retain(|(ip, _)| !host.keeps(*ip));
        self.transient.unlisted.retain(|ip| !host.keeps(*ip));
        self.settings.host = host;
        self.lose(now, before);
    }

    /// Has the allocations on those of `addresses` end that this host does not have any more, after 10
    /// seconds. They are what it had before, or what an earlier process knew.
    pub fn lose(&mut self, now: Now, addresses: impl IntoIterator<Item = IpAddr>) {
        let deadline = now.mono + MAX_ABSENCE;
        for ip in addresses {
            if !self.settings.host.keeps(ip) && !self.transient.is_gone(ip) {
                self.transient.gone.push((ip, deadline));
            }
        }
        self.judge_own_addresses();
    }

    /// Denies `addresses` as peers: they are this host's, and about to be offered.
    pub fn deny(&mut self, addresses: &[IpAddr]) {
        self.settings.policy.own.extend_from_slice(addresses);
        self.judge_anew();
    }

    /// Whether a relayed address may be on the address that a client has asked.
    pub(super) fn may_be_asked(&self, asked: IpAddr) -> bool {
        let known = asked.is_loopback() || self.settings.policy.own.contains(&asked);
        let room = self.transient.unlisted.len() < MAX_UNLISTED;
        !self.transient.is_gone(asked) && (known || room)
    }

    /// Takes notice of an address that a relayed address is on. Where it is not listed, it is this
    /// host's all the same, and denied as a peer like every other one.
    pub(super) fn has_relayed_on(&mut self, local: IpAddr) {
        let policy = &self.settings.policy;
        if policy.internal || local.is_loopback() || policy.own.contains(&local) {
            return;
        }
        self.transient.unlisted.push(local);
        self.deny(&[local]);
    }

    /// Ends the allocations on addresses that have been gone for too long.
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

    /// An address that is gone stays denied for as long as allocations on it live.
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
