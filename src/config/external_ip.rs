//! The entries of `turn.external_ip`: each must be usable, and none may override another.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use crate::url::Host;

/// The entry that asks a STUN server.
const AUTO: &str = "auto";

/// An entry of `turn.external_ip`: `public` or `public/private`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalIp {
    pub public: PublicAddress,
    /// The local address that NAT maps to the public one; `None` for every local address of its family.
    pub private: Option<IpAddr>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublicAddress {
    Ip(IpAddr),
    /// A DNS name.
    Name(String),
    /// The address that a STUN server sees.
    Auto,
}

/// The error of an entry, as the end of a sentence that began with the key.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExternalIpError {
    #[error("must be an address, a DNS name, `public/private` or `auto`, not `{0}`")]
    Malformed(String),
    #[error("must name {mapped} as an IPv4 address, not as `{address}`")]
    Mapped { address: IpAddr, mapped: Ipv4Addr },
}

/// The subject of an entry. Of two entries with the same subject, one would have no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Ipv4,
    Ipv6,
    Private(IpAddr),
}

/// Parses the entries. Omits invalid ones, which the check of the configuration reports.
pub fn external_ips(entries: &[String]) -> Vec<ExternalIp> {
    let parsed = entries.iter().map(|entry| entry.parse());
    parsed.filter_map(Result::ok).collect()
}

/// Returns the errors of the entries, as ends of sentences that began with the key.
pub(super) fn errors(entries: &[String]) -> Vec<String> {
    let mut errors = Vec::new();
    let mut taken = BTreeMap::new();
    for entry in entries {
        match entry.parse::<ExternalIp>() {
            Err(error) => errors.push(error.to_string()),
            Ok(external) => {
                let subject = external.subject();
                if let Some(other) = taken.insert(subject, entry) {
                    errors.push(format!(
                        "must name one address alone for {}, not both `{other}` and `{entry}`: \
                         for hosts with several write `public/private`",
                        subject.description()
                    ));
                }
            }
        }
    }
    errors
}

impl FromStr for ExternalIp {
    type Err = ExternalIpError;

    fn from_str(entry: &str) -> Result<ExternalIp, ExternalIpError> {
        let malformed = || ExternalIpError::Malformed(entry.to_owned());
        let (public, private) = match entry.split_once('/') {
            Some((public, private)) => (public.trim(), Some(private.trim())),
            None => (entry.trim(), None),
        };
        let public = match dns_name(public) {
            _ if public == AUTO => PublicAddress::Auto,
            Some(name) => PublicAddress::Name(name),
            None => PublicAddress::Ip(parse_ip(public, malformed)?),
        };
        let private = private.map(|text| parse_ip(text, malformed)).transpose()?;
        match (&public, private) {
            (PublicAddress::Auto, Some(_)) => Err(malformed()),
            (PublicAddress::Ip(public), Some(private)) if public.is_ipv4() != private.is_ipv4() => {
                Err(malformed())
            }
            _ => Ok(ExternalIp { public, private }),
        }
    }
}

/// Returns a DNS name in ASCII, which the resolver looks up as it is.
fn dns_name(text: &str) -> Option<String> {
    match Host::parse(text) {
        Ok(host) if text.is_ascii() && host.is_dns_name() => Some(host.to_string()),
        _ => None,
    }
}

fn parse_ip(
    text: &str,
    malformed: impl Fn() -> ExternalIpError,
) -> Result<IpAddr, ExternalIpError> {
    let address: IpAddr = text.parse().map_err(|_| malformed())?;
    if let IpAddr::V6(v6) = address
        && let Some(mapped) = v6.to_ipv4_mapped()
    {
        return Err(ExternalIpError::Mapped { address, mapped });
    }
    if address.is_unspecified() || address.is_multicast() {
        return Err(malformed());
    }
    Ok(address)
}

impl ExternalIp {
    fn subject(&self) -> Subject {
        match (&self.public, self.private) {
            (_, Some(private)) => Subject::Private(private),
            (PublicAddress::Ip(IpAddr::V6(_)), None) => Subject::Ipv6,
            // STUN servers and DNS are queried for IPv4 first.
            (_, None) => Subject::Ipv4,
        }
    }
}

impl PublicAddress {
    /// Returns `auto` or the DNS name, if the address must be asked for.
    pub fn unresolved(&self) -> Option<&str> {
        match self {
            PublicAddress::Ip(_) => None,
            PublicAddress::Name(name) => Some(name),
            PublicAddress::Auto => Some(AUTO),
        }
    }
}

impl Subject {
    fn description(self) -> String {
        match self {
            Subject::Ipv4 => "IPv4".to_owned(),
            Subject::Ipv6 => "IPv6".to_owned(),
            Subject::Private(address) => address.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(entries: &[&str]) -> Vec<String> {
        let entries: Vec<_> = entries.iter().map(|entry| entry.to_string()).collect();
        errors(&entries)
    }

    #[test]
    fn an_entry_is_an_address_a_pair_or_auto() {
        for good in [
            "192.0.2.1",
            "192.0.2.1/10.0.0.1",
            "2001:db8::1/fd00::1",
            "auto",
            "relay.example.org",
            "relay.example.org/10.0.0.1",
            "host-7",
        ] {
            assert_eq!(report(&[good]), [""; 0], "{good}");
        }
        for bad in [
            "",
            "0.0.0.0",
            "192.0.2.1/fd00::1",
            "192.0.2.1/24",
            "192.0.2.1/",
            "example.org/",
            "example.org/24",
            "example org",
            "[2001:db8::1]",
            "bücher.example",
            "300.1.2.3",
            "auto/10.0.0.1",
            "10.0.0.1/example.org",
            "1/2/3",
        ] {
            let error =
                format!("must be an address, a DNS name, `public/private` or `auto`, not `{bad}`");
            assert_eq!(report(&[bad]), [error]);
        }
    }

    #[test]
    fn an_entry_is_split_into_its_addresses() {
        let parsed = |public, private: Option<&str>| ExternalIp {
            public,
            private: private.map(|text| text.parse().unwrap()),
        };
        let ip = |text: &str| PublicAddress::Ip(text.parse().unwrap());
        let name = || PublicAddress::Name("relay.example.org".to_owned());
        for (entry, expected) in [
            ("192.0.2.1", parsed(ip("192.0.2.1"), None)),
            (
                " 2001:db8::1 / fd00::1 ",
                parsed(ip("2001:db8::1"), Some("fd00::1")),
            ),
            ("Relay.example.org", parsed(name(), None)),
            (
                "relay.example.org/10.0.0.1",
                parsed(name(), Some("10.0.0.1")),
            ),
            ("auto", parsed(PublicAddress::Auto, None)),
        ] {
            assert_eq!(entry.parse(), Ok(expected));
        }
    }

    #[test]
    fn one_address_counts_for_each_family_and_each_private_address() {
        let sound = [
            "192.0.2.1",
            "2001:db8::1",
            "192.0.2.2/10.0.0.2",
            "192.0.2.2/10.0.0.3",
        ];
        assert_eq!(report(&sound), [""; 0]);
        for (pair, subject) in [
            (["192.0.2.1", "192.0.2.2"], "IPv4"),
            (["192.0.2.1", "auto"], "IPv4"),
            (["auto", "auto"], "IPv4"),
            (["relay.example.org", "192.0.2.2"], "IPv4"),
            (["a.example/10.0.0.1", "b.example/10.0.0.1"], "10.0.0.1"),
            (["2001:db8::1", "2001:db8::2"], "IPv6"),
            (["192.0.2.1/10.0.0.1", "192.0.2.2/10.0.0.1"], "10.0.0.1"),
        ] {
            let errors = report(&pair);
            assert_eq!(errors.len(), 1, "{errors:?}");
            let begin = format!("must name one address alone for {subject}, not both `");
            assert!(errors[0].starts_with(&begin), "{errors:?}");
        }
    }

    #[test]
    fn an_ipv4_mapped_address_is_rejected_with_its_ipv4_form() {
        for entry in ["::ffff:192.0.2.1", "2001:db8::1/::ffff:192.0.2.1"] {
            let error = "must name 192.0.2.1 as an IPv4 address, not as `::ffff:192.0.2.1`";
            assert_eq!(report(&[entry]), [error]);
        }
    }
}
