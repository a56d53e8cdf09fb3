//! Ports in settings: `25`, or `135-139` for a range.

use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::Serializer;

use crate::net::PortRange;

pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<PortRange>, D::Error> {
    let list = Vec::<String>::deserialize(deserializer)?;
    list.iter()
        .map(|text| parse(text).map_err(D::Error::custom))
        .collect()
}

pub(super) fn serialize<S: Serializer>(
    ports: &[PortRange],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(ports.iter().map(|range| {
        if range.first == range.last {
            range.first.to_string()
        } else {
            range.to_string()
        }
    }))
}

fn parse(text: &str) -> Result<PortRange, String> {
    let range = match text.trim().parse() {
        Ok(0) => None,
        Ok(port) => Some(PortRange {
            first: port,
            last: port,
        }),
        Err(_) => text.parse().ok(),
    };
    range.ok_or_else(|| format!("`{text}` is not a port such as 25, or a range such as 135-139"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_a_range_of_one() {
        let range = |first, last| Ok(PortRange { first, last });
        assert_eq!(parse("25"), range(25, 25));
        assert_eq!(parse("135 - 139"), range(135, 139));
        for bad in ["", "0", "70000", "9-5", "smtp", "1,2"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_port_list_is_written_as_it_was_read() {
        #[derive(serde::Serialize, serde::Deserialize)]
        struct Ports(#[serde(with = "super")] Vec<PortRange>);
        let text = r#"["25","135-139"]"#;
        let ports: Ports = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&ports).unwrap(), text);
    }
}
