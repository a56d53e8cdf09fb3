//! The addresses of this host, and its limit of descriptors.

use std::fs;
use std::io;
use std::net::{IpAddr, UdpSocket};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::address_list::list;
use crate::turn::Policy;

/// Every address of this host.
pub fn own_addresses() -> io::Result<Vec<IpAddr>> {
    let mut addresses: Vec<_> = list()?.iter().map(|address| address.ip).collect();
    addresses.sort_unstable();
    addresses.dedup();
    Ok(addresses)
}

/// The source addresses that the kernel selects for packets to the internet, if it has a route.
pub fn default_source_addresses() -> Vec<IpAddr> {
    let addresses = [true, false].into_iter().filter_map(default_source_address);
    addresses.collect()
}

/// The source address that the kernel would select for a packet to the internet. Nothing is sent.
fn default_source_address(v4: bool) -> Option<IpAddr> {
    // Documentation addresses (RFC 5737, RFC 3849) use the default route.
    let (any, world) = if v4 {
        ("0.0.0.0:0", "192.0.2.1:9")
    } else {
        ("[::]:0", "[2001:db8::1]:9")
    };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(world).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// Whether an address is reachable from the internet.
pub fn is_public(ip: IpAddr) -> bool {
    Policy::default().permits(ip)
}

/// Raises the soft limit of descriptors to the hard limit, and returns the limit in force.
pub fn raise_descriptor_limit() -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        // The service manager may forbid the call (`SystemCallFilter=~@resources`).
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
    fn the_descriptor_limit_is_read_if_the_call_is_forbidden() {
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
    fn shared_addresses_are_not_public() {
        assert!(!is_public("100.101.2.3".parse().unwrap()));
        assert!(is_public("198.41.0.4".parse().unwrap()));
    }
}
