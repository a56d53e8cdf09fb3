//! Networks in settings: `10.0.0.0/8`, or a bare address for that address alone.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};
use serde::de::{Deserialize, Deserializer, Error};

pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<IpNet>, D::Error> {
    let list = Vec::<String>::deserialize(deserializer)?;
    list.iter()
        .map(|text| parse(text).map_err(D::Error::custom))
        .collect()
}

fn parse(text: &str) -> Result<IpNet, String> {
    text.parse()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map(canonical)
        .map_err(|_| format!("`{text}` is not a network such as 192.0.2.0/24 or 2001:db8::/32"))
}

/// Converts an IPv4-mapped IPv6 network to IPv4, because peer addresses are compared in that form.
fn canonical(net: IpNet) -> IpNet {
    let IpNet::V6(v6) = net else {
        return net;
    };
    let v4 = v6.addr().to_ipv4_mapped();
    let prefix = v6.prefix_len().checked_sub(96);
    match (v4, prefix) {
        (Some(v4), Some(prefix)) => Ipv4Net::new(v4, prefix).map_or(net, IpNet::V4),
        _ => net,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_ipv4_mapped_network_is_an_ipv4_network() {
        let net = super::parse("::ffff:10.1.0.0/112").unwrap();
        assert_eq!(net.to_string(), "10.1.0.0/16");
        assert_eq!(
            super::parse("::ffff:10.1.2.3").unwrap().to_string(),
            "10.1.2.3/32"
        );
        assert_eq!(super::parse("::/0").unwrap().to_string(), "::/0");
    }

    #[test]
    fn a_bare_address_is_a_network_of_one() {
        assert_eq!(super::parse("::1").unwrap(), "::1/128".parse().unwrap());
        assert!(super::parse("10/8").is_err());
    }
}
