//! The addresses of this host, as the kernel has them now.

use std::io;
use std::net::{IpAddr, UdpSocket};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_addresses_are_not_public() {
        assert!(!is_public("100.101.2.3".parse().unwrap()));
        assert!(is_public("198.41.0.4".parse().unwrap()));
    }
}
