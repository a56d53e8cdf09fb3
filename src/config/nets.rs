//! Networks in settings: `10.0.0.0/8`, or a bare address for that address alone.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::de::{Deserialize, Deserializer, Error};

pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let list = Vec::<String>::deserialize(deserializer)?;
    list.iter()
        .map(|text| parse(text).map_err(D::Error::custom))
        .collect()
}

fn parse(text: &str) -> Result<IpNet, String> {
    text.parse()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| format!("`{text}` is not a network such as 192.0.2.0/24 or 2001:db8::/32"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_bare_address_is_a_network_of_one() {
        assert_eq!(super::parse("::1").unwrap(), "::1/128".parse().unwrap());
        assert!(super::parse("10/8").is_err());
    }
}
