//! The peer policy: which peers clients may reach. Every path checks it, with the canonical
//! address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::net::PortRange;

/// The peers that the relay may reach, besides its own relayed addresses. Order of evaluation:
/// `internal`, 6to4 and Teredo, `denied`, this process's listeners, `allowed`, special-purpose
/// ranges, this host's own addresses.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Policy {
    /// Networks that are allowed although they are denied by default.
    pub allowed: Vec<IpNet>,
    /// Networks that are always denied.
    pub denied: Vec<IpNet>,
    /// Denied peer ports; our own relayed addresses are exempt.
    #[serde(skip)]
    pub denied_ports: Vec<PortRange>,
    /// Addresses of this host, including its public addresses.
    pub own: Vec<IpAddr>,
    /// The listeners of this process. The unspecified address stands for every own address.
    pub listeners: Vec<SocketAddr>,
    /// Whether relayed addresses are virtual, and every peer outside this relay is denied.
    pub internal: bool,
}

impl Policy {
    /// Returns whether the address is permitted, irrespective of the port.
    pub fn permits(&self, ip: IpAddr) -> bool {
        if self.internal || is_tunnelled(ip) {
            return false;
        }
        let is_permitted_as_written =
            !within(&self.denied, ip) && (within(&self.allowed, ip) || !self.own.contains(&ip));
        is_permitted_as_written && self.permits_canonical(canonical(ip))
    }

    /// Returns whether the address and the port of `peer` are permitted.
    pub fn permits_port(&self, peer: SocketAddr) -> bool {
        self.permits(peer.ip()) && !self.is_denied_port(peer) && !self.is_listener(peer)
    }

    /// Returns whether the port of `peer` is denied.
    pub fn is_denied_port(&self, peer: SocketAddr) -> bool {
        let mut ranges = self.denied_ports.iter();
        ranges.any(|range| range.contains(peer.port()))
    }

    /// Returns whether `peer` is a listener of this process.
    pub fn is_listener(&self, peer: SocketAddr) -> bool {
        // Nearly every packet ends here.
        if self.listeners.iter().all(|l| l.port() != peer.port()) {
            return false;
        }
        self.is_listener_with_port(peer)
    }

    #[cold]
    #[inline(never)]
    fn is_listener_with_port(&self, peer: SocketAddr) -> bool {
        let spellings = [canonical(peer.ip()), peer.ip()];
        let mut ports = self.listeners.iter().filter(|l| l.port() == peer.port());
        ports.any(|listener| {
            spellings.into_iter().any(|ip| {
                let is_own = self.own.contains(&ip) || ip.is_loopback();
                // A datagram to 0.0.0.0 arrives at an address of this host.
                ip.is_unspecified()
                    || listener.ip() == ip
                    || listener.ip().is_unspecified() && is_own
            })
        })
    }

    fn permits_canonical(&self, ip: IpAddr) -> bool {
        if within(&self.denied, ip) {
            return false;
        }
        within(&self.allowed, ip) || !(is_special(ip) || self.own.contains(&ip))
    }
}

fn within(nets: &[IpNet], ip: IpAddr) -> bool {
    nets.iter().any(|net| net.contains(&ip))
}

/// Returns whether `ip` is behind a 6to4 (RFC 3056) or Teredo (RFC 4380) tunnel. RFC 8656 section
/// 21.4 forbids both as peers and as clients: a packet could loop between the relay and the tunnel.
pub(super) fn is_tunnelled(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(_) => false,
        IpAddr::V6(ip) => matches!(ip.segments(), [0x2002, ..] | [0x2001, 0, ..]),
    }
}

/// Returns the effective address of `ip`: itself, or the IPv4 address in a transition format.
fn canonical(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip else {
        return ip;
    };
    let segments = v6.segments();
    let [.., high, low] = segments;
    // Mapped (RFC 4291 section 2.5.5.2), and translated (RFC 2765).
    let embedded = matches!(
        segments,
        [0, 0, 0, 0, 0, 0xffff, ..] | [0, 0, 0, 0, 0xffff, 0, ..]
    )
    // Compatible (RFC 4291 section 2.5.5.1), but `::` and `::1` are themselves.
    || matches!(segments, [0, 0, 0, 0, 0, 0, ..]) && (high != 0 || low > 1)
    // NAT64's well-known prefix (RFC 6052).
    || matches!(segments, [0x64, 0xff9b, 0, 0, 0, 0, ..]);
    if embedded {
        Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)).into()
    } else {
        ip
    }
}

/// Returns whether `ip` has a special purpose (RFC 6890 and its registries). No peer of a call has
/// such an address.
fn is_special(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_special_v4(ip),
        IpAddr::V6(ip) => is_special_v6(ip),
    }
}

// One pattern: the compiler makes a jump table of it, which separate patterns do not become.
#[rustfmt::skip]
fn is_special_v4(ip: Ipv4Addr) -> bool {
    matches!(
        ip.octets(),
        // This network, private, loopback, multicast, reserved, broadcast.
        [0 | 10 | 127 | 224..=255, ..]
        // Private, shared, link-local.
        | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] | [169, 254, ..]
        // Protocol assignments, documentation, 6to4 relays, AS112, benchmarking.
        | [192, 0, 0 | 2, _] | [198, 51, 100, _] | [203, 0, 113, _] | [192, 88, 99, _]
        | [192, 31, 196, _] | [192, 52, 193, _] | [192, 175, 48, _] | [198, 18 | 19, ..]
    )
}

fn is_special_v6(ip: Ipv6Addr) -> bool {
    let segments = ip.segments();
    // Everything outside 2000::/3 is reserved: unspecified, loopback, unique-local, link-local,
    // site-local and multicast addresses, NAT64, discard-only and SRv6.
    segments[0] >> 13 != 1
        // Protocol assignments (benchmarking and ORCHID among them), documentation.
        || matches!(segments, [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn policy() -> Policy {
        Policy {
            own: vec![ip("198.41.0.9"), ip("2a00:1450::9")],
            listeners: vec![
                "0.0.0.0:8000".parse().unwrap(),
                "[::]:3478".parse().unwrap(),
            ],
            ..Policy::default()
        }
    }

    /// Returns every IPv6 address that contains an IPv4 address.
    fn embeddings(v4: Ipv4Addr) -> Vec<IpAddr> {
        let [a, b, c, d] = v4.octets().map(u16::from);
        let (high, low) = (a << 8 | b, c << 8 | d);
        [
            [0, 0, 0, 0, 0, 0xffff, high, low],
            [0, 0, 0, 0, 0xffff, 0, high, low],
            [0, 0, 0, 0, 0, 0, high, low],
            [0x64, 0xff9b, 0, 0, 0, 0, high, low],
            // NAT64 for local use (RFC 8215), with a prefix of 96 bits and of 48.
            [0x64, 0xff9b, 1, 0, 0, 0, high, low],
            [0x64, 0xff9b, 1, high, low >> 8, low << 8, 0, 0],
            [0x2002, high, low, 0, 0, 0, 0, 1],
            [0x2001, 0, high, low, 0, 0, !0x0808, !0x0808],
            [0x2001, 0, 0x0808, 0x0808, 0, 0, !high, !low],
        ]
        .map(|segments| IpAddr::V6(Ipv6Addr::from(segments)))
        .into()
    }

    #[test]
    fn the_default_denies_every_special_range() {
        for text in [
            "127.0.0.1",
            "0.0.0.0",
            "0.1.2.3",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.64.0.1",
            "169.254.169.254",
            "224.0.0.1",
            "255.255.255.255",
            "192.0.2.1",
            "198.51.100.1",
            "203.0.113.1",
            "198.18.0.1",
            "240.0.0.1",
            "::",
            "::1",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "2001:db8::1",
            "64:ff9b:1::1",
            "fec0::1",
            "4000::1",
            "2002:808:808::1",
            "2001:0:808:808::f7f7:f7f7",
        ] {
            assert!(!policy().permits(ip(text)), "{text}");
        }
        for text in [
            "8.8.8.8",
            "172.32.0.1",
            "100.128.0.1",
            "2a00:1450::1",
            "2606:4700::1111",
            "64:ff9b::808:808",
            "::ffff:8.8.8.8",
        ] {
            assert!(policy().permits(ip(text)), "{text}");
        }
    }

    #[test]
    fn teredo_and_6to4_are_denied_even_if_allowed() {
        let mut policy = policy();
        policy.allowed = ["::/0", "0.0.0.0/0", "2002::/16", "2001::/32"]
            .map(|net| net.parse().unwrap())
            .into();
        for text in [
            "2002::",
            "2002:808:808::1",
            "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "2001::",
            "2001:0:808:808::f7f7:f7f7",
            "2001:0:ffff:ffff:ffff:ffff:ffff:ffff",
        ] {
            assert!(!policy.permits(ip(text)), "{text}");
            assert!(!policy.permits_port((ip(text), 9).into()), "{text}");
        }
        for text in ["2003::1", "2001:1::1", "2001:db8::1"] {
            assert!(policy.permits(ip(text)), "{text}");
        }
    }

    #[test]
    fn own_addresses_are_denied_unless_explicitly_allowed() {
        let mut policy = policy();
        assert!(!policy.permits(ip("198.41.0.9")) && !policy.permits(ip("::ffff:198.41.0.9")));
        policy.allowed = vec!["198.41.0.0/24".parse().unwrap()];
        assert!(policy.permits(ip("198.41.0.9")));
    }

    #[test]
    fn own_listeners_are_denied_even_if_allowed() {
        let mut policy = policy();
        policy.allowed = vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()];
        for peer in [
            "127.0.0.1:8000",
            "198.41.0.9:3478",
            "[::ffff:127.0.0.1]:8000",
            "0.0.0.0:8000",
            "[::1]:3478",
        ] {
            assert!(!policy.permits_port(peer.parse().unwrap()), "{peer}");
        }
        assert!(policy.permits_port("127.0.0.1:8001".parse().unwrap()));
        assert!(policy.permits_port("8.8.8.8:8000".parse().unwrap()));
    }

    #[test]
    fn an_address_is_also_checked_as_written() {
        let mut policy = policy();
        policy.denied = vec!["64:ff9b::/96".parse().unwrap()];
        policy.own.push(ip("::ffff:8.8.4.4"));
        policy
            .listeners
            .push("[::ffff:8.8.4.4]:99".parse().unwrap());
        for text in ["64:ff9b::808:808", "::ffff:8.8.4.4"] {
            assert!(!policy.permits(ip(text)), "{text}");
        }
        assert!(policy.is_listener("[::ffff:8.8.4.4]:99".parse().unwrap()));
    }

    #[test]
    fn a_denied_port_is_denied_at_every_address() {
        let mut policy = policy();
        let range = |first, last| PortRange { first, last };
        policy.denied_ports = vec![range(25, 25), range(135, 139)];
        policy.allowed = vec!["10.0.0.0/8".parse().unwrap()];
        for peer in ["8.8.8.8:25", "10.0.0.1:137", "[2a00:1450::1]:139"] {
            assert!(!policy.permits_port(peer.parse().unwrap()), "{peer}");
        }
        assert!(policy.permits_port("8.8.8.8:26".parse().unwrap()));
        assert!(policy.permits(ip("8.8.8.8")));
    }

    #[test]
    fn the_unspecified_address_matches_every_listener() {
        let mut policy = policy();
        policy.allowed = vec!["0.0.0.0/0".parse().unwrap()];
        policy.listeners.push("198.41.0.9:4000".parse().unwrap());
        assert!(!policy.permits_port("0.0.0.0:4000".parse().unwrap()));
        assert!(policy.permits_port("0.0.0.0:4001".parse().unwrap()));
    }

    #[test]
    fn denied_outranks_allowed() {
        let mut policy = policy();
        policy.allowed = vec!["10.0.0.0/8".parse().unwrap()];
        policy.denied = vec!["10.9.0.0/16".parse().unwrap()];
        assert!(policy.permits(ip("10.1.0.1")) && !policy.permits(ip("10.9.0.1")));
    }

    proptest! {
        #[test]
        fn an_embedded_ipv4_address_is_denied_like_the_address_itself(bits in any::<u32>(), local in any::<bool>()) {
            let bits = if local { bits & 0x00ff_ffff | 0x0a00_0000 } else { bits };
            let v4 = Ipv4Addr::from(bits);
            let policy = policy();
            let expected = policy.permits(IpAddr::V4(v4));
            for embedding in embeddings(v4) {
                if !expected {
                    prop_assert!(!policy.permits(embedding), "{embedding} stands for {v4}");
                }
            }
        }
    }
}
