//! The addresses of this host at one moment, and the selection of relayed addresses for a client.

use std::cmp::Reverse;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use super::NatMapping;
use super::family::Family;
use super::policy::{Policy, is_tunnelled};

/// Whether an address of this host can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressState {
    /// New allocations may use it.
    Preferred,
    /// Its allocations continue; new ones use another address (RFC 4862 section 5.5.4).
    Deprecated,
    /// It is listed but receives no packets: its interface is down, or duplicate address detection
    /// has not succeeded.
    Unusable,
}

/// An address of this host, as the system lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostAddress {
    pub ip: IpAddr,
    /// The index of its interface: the scope of a link-local IPv6 address.
    pub interface: u32,
    pub state: AddressState,
    /// Whether it is a temporary address (RFC 8981), which is replaced within days.
    pub temporary: bool,
}

/// The addresses and listeners of this host at one time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Host {
    /// The best addresses for relayed addresses come first.
    addresses: Vec<HostAddress>,
    /// The public addresses behind NAT.
    nat_mappings: Vec<NatMapping>,
    /// The listeners for TURN clients.
    listeners: Vec<SocketAddr>,
    /// The other listeners of this process.
    other_listeners: Vec<SocketAddr>,
}

/// The scope of an address, the best one first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum AddressScope {
    /// `turn.external_ip` names its public address.
    Mapped,
    Public,
    Private,
    /// Link-local, or loopback.
    Local,
}

impl Host {
    /// Creates the addresses of a host. `sources` are the source addresses of packets to the
    /// internet: they are preferred among addresses of the same scope.
    pub fn new(
        mut addresses: Vec<HostAddress>,
        sources: &[IpAddr],
        nat_mappings: Vec<NatMapping>,
        listeners: Vec<SocketAddr>,
        other_listeners: Vec<SocketAddr>,
    ) -> Host {
        addresses.sort_by_key(|address| {
            let ip = address.ip;
            let is_source = sources.contains(&ip);
            (
                scope_of(ip, &nat_mappings),
                Reverse(is_source),
                address.temporary,
            )
        });
        Host {
            addresses,
            nat_mappings,
            listeners,
            other_listeners,
        }
    }

    /// Returns the local address for a relayed address of `family`, for a client that sent its
    /// request to `requested`: with the scope id of a link-local address and without a port.
    /// Returns `None` if the client can reach no address of this family.
    ///
    /// It is `requested` if that is suitable (and `may_be_requested`), else the best address; for
    /// the other family, one with a listener for clients.
    pub(super) fn relay_address(
        &self,
        client: SocketAddr,
        requested: IpAddr,
        family: Family,
        may_be_requested: bool,
    ) -> Option<SocketAddr> {
        let is_same_family = Family::of(requested) == family;
        let link = self.link_of(client, requested);
        if is_same_family && may_be_requested && self.is_usable_for(requested, client, link) {
            return Some(self.with_scope(requested));
        }
        let mut usable = self.addresses.iter().filter(|address| {
            let ip = address.ip;
            Family::of(ip) == family
                && (is_same_family || self.is_served(ip))
                && self.is_usable_for(ip, client, link)
        });
        Some(self.with_scope(usable.next()?.ip))
    }

    /// Returns the local and the public address of relayed addresses for a client on another host,
    /// for each family that has one, IPv4 first.
    pub fn offered(&self) -> impl Iterator<Item = (IpAddr, IpAddr)> {
        Family::BOTH.into_iter().filter_map(|family| {
            let mut usable = self.addresses.iter().filter(|address| {
                let ip = address.ip;
                Family::of(ip) == family && self.is_served(ip) && self.is_reachable(address)
            });
            let bound = usable.next()?.ip;
            Some((bound, self.public_address(bound)))
        })
    }

    /// Returns the mappings to public addresses.
    pub fn nat_mappings(&self) -> &[NatMapping] {
        &self.nat_mappings
    }

    /// Returns the public address of `ip`.
    fn public_address(&self, ip: IpAddr) -> IpAddr {
        NatMapping::public_address(&self.nat_mappings, SocketAddr::new(ip, 0)).ip()
    }

    /// Returns whether other hosts can reach this address.
    fn is_reachable(&self, address: &HostAddress) -> bool {
        address.state == AddressState::Preferred
            && scope_of(address.ip, &self.nat_mappings) != AddressScope::Local
            && !is_tunnelled(address.ip)
    }

    /// Returns whether a relayed address may use `ip`, for a client on the given link. An unlisted
    /// address may belong to this host as well, through a local route: a request to it proves that.
    fn is_usable_for(&self, ip: IpAddr, client: SocketAddr, link: Option<u32>) -> bool {
        let listed = self.addresses.iter().find(|address| address.ip == ip);
        if is_tunnelled(ip) || listed.is_some_and(|one| one.state != AddressState::Preferred) {
            return false;
        }
        if ip.is_loopback() {
            return client.ip().is_loopback();
        }
        if is_link_local(ip) {
            let is_on_link = listed.is_none_or(|address| Some(address.interface) == link);
            return link.is_some() && is_on_link;
        }
        true
    }

    /// Returns the interface of a client with a link-local address.
    fn link_of(&self, client: SocketAddr, requested: IpAddr) -> Option<u32> {
        if !is_link_local(client.ip()) {
            return None;
        }
        let listed = self
            .addresses
            .iter()
            .find(|address| address.ip == requested);
        let scope = match client {
            SocketAddr::V6(client) if client.scope_id() != 0 => Some(client.scope_id()),
            _ => None,
        };
        scope.or(listed.map(|address| address.interface))
    }

    fn with_scope(&self, ip: IpAddr) -> SocketAddr {
        match ip {
            IpAddr::V6(v6) if is_link_local(ip) => {
                let listed = self.addresses.iter().find(|address| address.ip == ip);
                let scope = listed.map_or(0, |address| address.interface);
                SocketAddrV6::new(v6, 0, 0, scope).into()
            }
            _ => SocketAddr::new(ip, 0),
        }
    }

    /// Returns whether the address has a listener for clients. Without listeners of its own, TURN
    /// uses those of HTTP.
    fn is_served(&self, ip: IpAddr) -> bool {
        let listeners = if self.listeners.is_empty() {
            &self.other_listeners
        } else {
            &self.listeners
        };
        let mut listeners = listeners.iter().map(SocketAddr::ip);
        listeners.any(|listener| {
            listener == ip || listener.is_unspecified() && listener.is_ipv4() == ip.is_ipv4()
        })
    }

    /// Returns whether allocations on `ip` can continue.
    pub(super) fn has_usable(&self, ip: IpAddr) -> bool {
        let mut addresses = self.addresses.iter();
        addresses.any(|one| one.ip == ip && one.state != AddressState::Unusable)
    }

    /// Returns the addresses whose allocations can continue.
    pub(super) fn usable(&self) -> impl Iterator<Item = IpAddr> {
        let usable = self.addresses.iter();
        let usable = usable.filter(|address| address.state != AddressState::Unusable);
        usable.map(|address| address.ip)
    }

    /// Returns every address of this host, including its public addresses.
    pub fn own_addresses(&self) -> Vec<IpAddr> {
        let listed = self.addresses.iter().map(|address| address.ip);
        let public = self
            .nat_mappings
            .iter()
            .map(|nat_mappings| nat_mappings.public);
        let mut own: Vec<_> = public.chain(listed).collect();
        own.sort_unstable();
        own.dedup();
        own
    }

    /// Returns the listeners of this process, with their local and public addresses.
    pub fn own_listeners(&self) -> Vec<SocketAddr> {
        // The NAT forwards datagrams to the public addresses back to this host.
        let public = self.listeners.iter();
        let public = public.map(|address| NatMapping::public_address(&self.nat_mappings, *address));
        let inside = self.other_listeners.iter().chain(&self.listeners).copied();
        inside.chain(public).collect()
    }
}

fn scope_of(ip: IpAddr, nat_mappings: &[NatMapping]) -> AddressScope {
    if nat_mappings.iter().any(|one| one.private == Some(ip)) {
        AddressScope::Mapped
    } else if ip.is_loopback() || is_link_local(ip) {
        AddressScope::Local
    } else if Policy::default().permits(ip) {
        AddressScope::Public
    } else {
        AddressScope::Private
    }
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}
