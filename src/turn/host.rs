//! The addresses of this host at one moment, and the selection of relayed addresses for a client.

use std::cmp::Reverse;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use super::NatMapping;
use super::family::Family;
use super::policy::{Policy, is_tunnelled};

/// The usability of an address of this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressState {
    /// New allocations may use it.
    Preferred,
    /// Its allocations continue; new ones use another address (RFC 4862 section 5.5.4).
    Deprecated,
    /// It is listed but receives no packets: its interface is down, or duplicate address detection has
    /// not succeeded.
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

/// The addresses of this host at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Host {
    /// Sorted: the better ones for relayed addresses first.
    addresses: Vec<HostAddress>,
    /// The public addresses of these.
    pub(super) nat_mappings: Vec<NatMapping>,
    /// The listeners for clients.
    listeners: Vec<SocketAddr>,
    /// The other listeners of this process.
    other_listeners: Vec<SocketAddr>,
}

/// The scope of an address, the better one first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    /// `turn.external_ip` names its public address.
    Mapped,
    Public,
    Private,
    /// Link-local, or loopback.
    Local,
}

impl Host {
    /// `sources` are the source addresses of packets to the internet: they are preferred among equal
    /// addresses.
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
                reach(ip, &nat_mappings),
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

    /// The address to bind a relayed address of `family` to, for a client that sent its request to
    /// `requested`: with the scope of a link-local address and without a port. `None`: the client can
    /// reach no address of this family.
    ///
    /// It is `requested` if that is suitable (and `may_relay_on`), else the best address; for the other
    /// family, one with a listener for clients.
    pub(super) fn relay_address(
        &self,
        client: SocketAddr,
        requested: IpAddr,
        family: Family,
        may_relay_on: bool,
    ) -> Option<SocketAddr> {
        let same_family = Family::of(requested) == family;
        let link = self.link_of(client, requested);
        if same_family && may_relay_on && self.fits(requested, client, link) {
            return Some(self.with_scope(requested));
        }
        let mut fitting = self.addresses.iter().filter(|address| {
            let ip = address.ip;
            Family::of(ip) == family
                && (same_family || self.is_served(ip))
                && self.fits(ip, client, link)
        });
        Some(self.with_scope(fitting.next()?.ip))
    }

    /// The relayed address of each family for a client on another host, IPv4 first: the local address,
    /// and its public address.
    pub fn offered(&self) -> impl Iterator<Item = (IpAddr, IpAddr)> {
        Family::BOTH.into_iter().filter_map(|family| {
            let mut fitting = self.addresses.iter().filter(|address| {
                let ip = address.ip;
                Family::of(ip) == family && self.is_served(ip) && self.is_reachable(address)
            });
            let bound = fitting.next()?.ip;
            Some((bound, self.public(bound)))
        })
    }

    /// The public addresses of this host.
    pub fn nat_mappings(&self) -> &[NatMapping] {
        &self.nat_mappings
    }

    /// The public address of `ip`.
    fn public(&self, ip: IpAddr) -> IpAddr {
        NatMapping::public_address(&self.nat_mappings, SocketAddr::new(ip, 0)).ip()
    }

    /// Whether others on the network can reach this address.
    fn is_reachable(&self, address: &HostAddress) -> bool {
        address.state == AddressState::Preferred
            && reach(address.ip, &self.nat_mappings) != Reach::Local
            && !is_tunnelled(address.ip)
    }

    /// Whether a relayed address may use `ip`, for a client on the given link. An unlisted address may
    /// still belong to this host (a local route has no listed address): a request to it proves that.
    fn fits(&self, ip: IpAddr, client: SocketAddr, link: Option<u32>) -> bool {
        let listed = self.addresses.iter().find(|address| address.ip == ip);
        if is_tunnelled(ip) || listed.is_some_and(|one| one.state != AddressState::Preferred) {
            return false;
        }
        if ip.is_loopback() {
            return client.ip().is_loopback();
        }
        if is_link_local(ip) {
            let on_it = listed.is_none_or(|address| Some(address.interface) == link);
            return link.is_some() && on_it;
        }
        true
    }

    /// The interface of a client with a link-local address.
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

    /// Whether an address has a listener for clients. Without its own listeners, TURN uses those of
    /// HTTP.
    fn is_served(&self, ip: IpAddr) -> bool {
        let listeners = match self.listeners.is_empty() {
            true => &self.other_listeners,
            false => &self.listeners,
        };
        let mut listeners = listeners.iter().map(SocketAddr::ip);
        listeners.any(|listener| {
            listener == ip || listener.is_unspecified() && listener.is_ipv4() == ip.is_ipv4()
        })
    }

    /// Whether allocations on `ip` continue.
    pub(super) fn has_usable(&self, ip: IpAddr) -> bool {
        let mut addresses = self.addresses.iter();
        addresses.any(|one| one.ip == ip && one.state != AddressState::Unusable)
    }

    /// The addresses whose allocations continue.
    pub(super) fn usable(&self) -> impl Iterator<Item = IpAddr> {
        let usable = self.addresses.iter();
        let usable = usable.filter(|address| address.state != AddressState::Unusable);
        usable.map(|address| address.ip)
    }

    /// Every address of this host, its public addresses included.
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

    /// The listeners of this process, under all addresses.
    pub fn own_listeners(&self) -> Vec<SocketAddr> {
        // The NAT forwards their public addresses back to them.
        let public = self.listeners.iter();
        let public = public.map(|address| NatMapping::public_address(&self.nat_mappings, *address));
        let inside = self.other_listeners.iter().chain(&self.listeners).copied();
        inside.chain(public).collect()
    }
}

fn reach(ip: IpAddr, nat_mappings: &[NatMapping]) -> Reach {
    if nat_mappings.iter().any(|one| one.private == Some(ip)) {
        Reach::Mapped
    } else if ip.is_loopback() || is_link_local(ip) {
        Reach::Local
    } else if Policy::default().permits(ip) {
        Reach::Public
    } else {
        Reach::Private
    }
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}
