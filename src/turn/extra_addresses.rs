//! Addresses outside the current list of this host: *missing* ones left it less than ten seconds ago, and
//! *unlisted* ones never were in it, but packets arrive at them (through a local route).

use std::net::IpAddr;
use std::time::Duration;

use crate::clock::Mono;

use super::host::Host;

/// The time that an address may be missing before the allocations on it end. A renewed lease or a
/// replugged cable must not end a call.
const MAX_ABSENCE: Duration = Duration::from_secs(10);

/// Maximum number of unlisted addresses of this host.
const MAX_UNLISTED: usize = 64;

/// Addresses of this host that the list does not contain.
#[derive(Debug, Default)]
pub(super) struct ExtraAddresses {
    /// Missing addresses, and the time at which the allocations on each end.
    missing: Vec<(IpAddr, Mono)>,
    /// Unlisted addresses that clients have used through a local route.
    unlisted: Vec<IpAddr>,
}

impl ExtraAddresses {
    /// Returns whether an address is missing. This is rarely true and checked in every tick.
    #[inline]
    pub(super) fn is_any_missing(&self) -> bool {
        !self.missing.is_empty()
    }

    /// Returns when the allocations on a missing address end next.
    pub(super) fn next_deadline(&self) -> Option<Mono> {
        self.missing.iter().map(|(_, deadline)| *deadline).min()
    }

    pub(super) fn is_missing(&self, ip: IpAddr) -> bool {
        self.missing.iter().any(|(missing, _)| *missing == ip)
    }

    /// Records an address that this host lost at `now`, unless it is missing already.
    pub(super) fn add_missing(&mut self, ip: IpAddr, now: Mono) {
        if !self.is_missing(ip) {
            self.missing.push((ip, now + MAX_ABSENCE));
        }
    }

    pub(super) fn add_unlisted(&mut self, ip: IpAddr) {
        self.unlisted.push(ip);
    }

    /// Returns whether another unlisted address may be used.
    pub(super) fn has_capacity(&self) -> bool {
        self.unlisted.len() < MAX_UNLISTED
    }

    /// Removes the addresses that the host has again.
    pub(super) fn remove_usable(&mut self, host: &Host) {
        self.missing.retain(|(ip, _)| !host.has_usable(*ip));
        self.unlisted.retain(|ip| !host.has_usable(*ip));
    }

    /// Removes and returns an address that has been missing for too long.
    pub(super) fn pop_expired(&mut self, now: Mono) -> Option<IpAddr> {
        let mut missing = self.missing.iter();
        let expired = missing.position(|(_, deadline)| *deadline <= now)?;
        Some(self.missing.swap_remove(expired).0)
    }

    /// Returns all addresses, missing and unlisted ones.
    pub(super) fn all(&self) -> impl Iterator<Item = IpAddr> {
        let missing = self.missing.iter().map(|(ip, _)| *ip);
        missing.chain(self.unlisted.iter().copied())
    }
}
