//! The public addresses of a host behind 1:1 NAT.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

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

impl FromStr for NatMapping {
    type Err = String;

    /// Parses `public` or `public/private`.
    fn from_str(text: &str) -> Result<NatMapping, String> {
        let (public, private) = match text.split_once('/') {
            Some((public, private)) => (public, Some(private)),
            None => (text, None),
        };
        let parse = |ip: &str| {
            let ip = ip.trim();
            ip.parse::<IpAddr>()
                .map_err(|_| format!("`{ip}` is not an IP address"))
        };
        let external = NatMapping {
            public: parse(public)?,
            private: private.map(parse).transpose()?,
        };
        match external.private {
            Some(private) if private.is_ipv4() != external.public.is_ipv4() => {
                Err(format!("`{text}` pairs IPv4 with IPv6"))
            }
            _ => Ok(external),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_maps_its_own_address_and_a_bare_one_its_family() {
        let mappings = ["192.0.2.1/10.0.0.1", "192.0.2.9"].map(|text| text.parse().unwrap());
        let advertised =
            |text: &str| NatMapping::public_address(&mappings, text.parse().unwrap()).to_string();
        assert_eq!(advertised("10.0.0.1:7"), "192.0.2.1:7");
        assert_eq!(advertised("10.0.0.2:7"), "192.0.2.9:7");
        assert_eq!(advertised("[::1]:7"), "[::1]:7");
        assert!("1.2.3.4/::1".parse::<NatMapping>().is_err());
        assert!("nonsense".parse::<NatMapping>().is_err());
    }
}
