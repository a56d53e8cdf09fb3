//! This host: its addresses and its descriptors.

use std::io;
use std::net::{IpAddr, SocketAddr};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Every address of every interface. The peer policy depends on it, so failing is fatal.
pub fn own_addresses() -> io::Result<Vec<IpAddr>> {
    let mut addresses = Vec::new();
    for interface in nix::ifaddrs::getifaddrs()? {
        let Some(address) = interface.address else {
            continue;
        };
        let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
        let v6 = address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip()));
        addresses.extend(v4.or(v6));
    }
    addresses.sort_unstable();
    addresses.dedup();
    Ok(addresses)
}

/// The address of each family that others most likely reach this host by: where a listener is
/// bound to a wildcard and a client asks for the other family.
pub fn likely_addresses(listeners: &[SocketAddr], own: &[IpAddr]) -> Vec<IpAddr> {
    let families = [true, false];
    let first = families.map(|v4| listeners.iter().find(|l| l.is_ipv4() == v4));
    let likely = first.into_iter().flatten().filter_map(|listener| {
        if !listener.ip().is_unspecified() {
            return Some(listener.ip());
        }
        let of_family = own.iter().filter(|ip| ip.is_ipv4() == listener.is_ipv4());
        of_family.copied().max_by_key(|ip| reach(*ip))
    });
    likely.collect()
}

/// How far an address reaches: loopback, link, site, world.
fn reach(ip: IpAddr) -> u8 {
    match ip {
        _ if ip.is_loopback() => 0,
        IpAddr::V4(ip) if ip.is_link_local() => 1,
        IpAddr::V6(ip) if ip.is_unicast_link_local() => 1,
        IpAddr::V4(ip) if ip.is_private() => 2,
        IpAddr::V6(ip) if ip.is_unique_local() => 2,
        _ => 3,
    }
}

/// Whether an address can be reached from anywhere.
pub fn is_public(ip: IpAddr) -> bool {
    reach(ip) == 3
}

/// Raises the soft limit of descriptors to the hard one, and says what it is now.
pub fn raise_descriptor_limit() -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return 1024;
    };
    match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(_) => soft,
    }
}
