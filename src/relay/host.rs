//! This host: its addresses and its descriptors.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::turn::{External, Policy};

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
pub fn likely_addresses(
    listeners: &[SocketAddr],
    own: &[IpAddr],
    external: &[External],
) -> Vec<IpAddr> {
    let first = [true, false].map(|v4| listeners.iter().find(|l| l.is_ipv4() == v4));
    let likely = first.into_iter().flatten().filter_map(|listener| {
        if !listener.ip().is_unspecified() {
            return Some(listener.ip());
        }
        let of_family = |ip: &IpAddr| ip.is_ipv4() == listener.is_ipv4();
        let mapped = external.iter().filter_map(|external| external.private);
        let mapped = mapped.filter(|ip| own.contains(ip)).find(of_family);
        let farthest = || {
            let own = own.iter().copied().filter(of_family);
            own.max_by_key(|ip| (is_public(*ip), !ip.is_loopback()))
        };
        mapped
            .or_else(|| towards_the_world(listener.is_ipv4()))
            .or_else(farthest)
    });
    likely.collect()
}

/// The source address that the kernel would choose for a packet to the world. Nothing is sent.
fn towards_the_world(v4: bool) -> Option<IpAddr> {
    // Addresses for documentation (RFC 5737, RFC 3849): they take the default route.
    let (any, world) = match v4 {
        true => ("0.0.0.0:0", "192.0.2.1:9"),
        false => ("[::]:0", "[2001:db8::1]:9"),
    };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(world).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// Whether an address can be reached from anywhere.
pub fn is_public(ip: IpAddr) -> bool {
    Policy::default().permits(ip)
}

/// Raises the soft limit of descriptors to the hard one, and says what it is now.
pub fn raise_descriptor_limit() -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        // Where the service manager forbids the call (`SystemCallFilter=~@resources`).
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        return open_files(&limits).unwrap_or(1024);
    };
    match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(_) => soft,
    }
}

/// The soft limit of descriptors in the text of `/proc/self/limits`.
fn open_files(limits: &str) -> Option<u64> {
    let mut lines = limits.lines();
    let values = lines.find_map(|line| line.strip_prefix("Max open files"))?;
    match values.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        soft => soft.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn a_limit_that_may_not_be_asked_for_is_read() {
        let limits = fs::read_to_string("/proc/self/limits").unwrap();
        let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert_eq!(open_files(&limits), Some(soft));
        assert_eq!(
            open_files("Max open files  unlimited  unlimited  files"),
            Some(u64::MAX)
        );
        assert_eq!(open_files(""), None);
    }

    #[test]
    fn the_mapped_address_is_the_likely_one_and_a_bound_one_is_itself() {
        let ips =
            |texts: &[&str]| -> Vec<IpAddr> { texts.iter().map(|t| t.parse().unwrap()).collect() };
        let own = ips(&["10.0.0.5", "172.17.0.1", "127.0.0.1"]);
        let external = ["198.41.0.4/10.0.0.5".parse().unwrap()];
        let wildcard = ["0.0.0.0:3478".parse().unwrap()];
        assert_eq!(
            likely_addresses(&wildcard, &own, &external),
            ips(&["10.0.0.5"])
        );
        let bound = [
            "127.0.0.1:3478".parse().unwrap(),
            "[::1]:3478".parse().unwrap(),
        ];
        assert_eq!(
            likely_addresses(&bound, &own, &external),
            ips(&["127.0.0.1", "::1"])
        );
    }

    #[test]
    fn shared_addresses_are_not_public() {
        assert!(!is_public("100.101.2.3".parse().unwrap()));
        assert!(is_public("198.41.0.4".parse().unwrap()));
    }
}
