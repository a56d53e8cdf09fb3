//! The public addresses of a host behind 1:1 NAT.

use std::net::{IpAddr, SocketAddr};

/// A public address that 1:1 NAT maps to a local one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NatMapping {
    pub public: IpAddr,
    /// The local address; `None` for every local address of the same family.
    pub private: Option<IpAddr>,
}

impl NatMapping {
    /// Returns the public address of a socket that is bound to `bound`: the mapping of this
    /// address, else the mapping of its family, else `bound` itself.
    pub fn public_address(mappings: &[NatMapping], bound: SocketAddr) -> SocketAddr {
        let exact = mappings.iter().find(|m| m.private == Some(bound.ip()));
        let any = |m: &&NatMapping| m.private.is_none() && m.public.is_ipv4() == bound.is_ipv4();
        let mapping = exact.or_else(|| mappings.iter().find(any));
        SocketAddr::new(mapping.map_or(bound.ip(), |m| m.public), bound.port())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_maps_its_own_address_and_a_bare_one_its_family() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let mappings = [
            NatMapping {
                public: ip("192.0.2.1"),
                private: Some(ip("10.0.0.1")),
            },
            NatMapping {
                public: ip("192.0.2.9"),
                private: None,
            },
        ];
        let advertised =
            |text: &str| NatMapping::public_address(&mappings, text.parse().unwrap()).to_string();
        assert_eq!(advertised("10.0.0.1:7"), "192.0.2.1:7");
        assert_eq!(advertised("10.0.0.2:7"), "192.0.2.9:7");
        assert_eq!(advertised("[::1]:7"), "[::1]:7");
    }
}
