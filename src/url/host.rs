//! A DNS name or an IP address.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// The longest DNS name as text (RFC 1035 section 2.3.4), its final dot included.
const MAX_NAME_BYTES: usize = 253;
/// The longest label of a DNS name (RFC 1035 section 2.3.4).
const MAX_LABEL_BYTES: usize = 63;

/// A DNS name in lower case, or an IP address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    /// The labels consist of ASCII letters, digits, `-` and `_`. A final dot stays.
    Name(String),
    Ip(IpAddr),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a DNS name and not an IP address")]
pub struct HostError;

impl Host {
    /// Parses a host that stands alone, as in a setting: an IPv6 address may have brackets, and a
    /// name may be international.
    ///
    /// # Errors
    /// The text is neither a name nor an address. A port, a scheme and an IPv6 zone are errors, too.
    pub fn parse(text: &str) -> Result<Host, HostError> {
        match text.parse() {
            Ok(ip) => Ok(Host::Ip(ip)),
            Err(_) => Host::parse_in_url(&to_ascii(text)),
        }
    }

    /// Parses the host of a URL (RFC 3986 section 3.2.2): ASCII, IPv6 in brackets.
    pub(super) fn parse_in_url(text: &str) -> Result<Host, HostError> {
        if let Some(rest) = text.strip_prefix('[') {
            let address = rest.strip_suffix(']').ok_or(HostError)?;
            let address: Ipv6Addr = address.parse().map_err(|_| HostError)?;
            return Ok(Host::Ip(address.into()));
        }
        if let Ok(ip) = text.parse::<std::net::Ipv4Addr>() {
            return Ok(Host::Ip(ip.into()));
        }
        if is_name(text) {
            Ok(Host::Name(text.to_ascii_lowercase()))
        } else {
            Err(HostError)
        }
    }

    /// Returns the address, if the host is one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Host::Name(_) => None,
            Host::Ip(ip) => Some(*ip),
        }
    }

    /// Returns the host without brackets, as resolvers and certificates have it.
    pub fn unbracketed(&self) -> String {
        match self {
            Host::Name(name) => name.clone(),
            Host::Ip(ip) => ip.to_string(),
        }
    }

    /// Returns whether the host is always this machine (RFC 6761 section 6.3).
    pub fn is_loopback(&self) -> bool {
        match self {
            Host::Name(name) => name == "localhost" || name.ends_with(".localhost"),
            Host::Ip(ip) => ip.is_loopback(),
        }
    }

    /// Returns whether the host is a name that DNS may have: its last label is not a number (RFC 3696
    /// section 2), as in a mistyped IPv4 address.
    pub fn is_dns_name(&self) -> bool {
        match self {
            Host::Name(name) => {
                let last = name.trim_end_matches('.').rsplit('.').next();
                last.is_some_and(|label| !label.bytes().all(|byte| byte.is_ascii_digit()))
            }
            Host::Ip(_) => false,
        }
    }
}

impl From<IpAddr> for Host {
    fn from(ip: IpAddr) -> Host {
        Host::Ip(ip)
    }
}

/// Formats the host as it stands in a URL: IPv6 in brackets.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => f.write_str(name),
            Host::Ip(IpAddr::V4(ip)) => write!(f, "{ip}"),
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
        }
    }
}

fn is_name(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=MAX_LABEL_BYTES).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    text.len() <= MAX_NAME_BYTES
        && text
            .strip_suffix('.')
            .unwrap_or(text)
            .split('.')
            .all(is_label)
}

/// Returns an international name in ASCII (RFC 5890: `xn--…`), as DNS and browsers have it. Returns
/// ASCII text, and text that is not a name, unchanged.
pub fn to_ascii(host: &str) -> Cow<'_, str> {
    if host.is_ascii() {
        return Cow::Borrowed(host);
    }
    idna::domain_to_ascii_cow(host.as_bytes(), idna::AsciiDenyList::URL)
        .unwrap_or(Cow::Borrowed(host))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_host_is_a_name_or_an_address_in_one_normal_form() {
        for (text, normal) in [
            ("talk.example.org", "talk.example.org"),
            ("Talk.Example.ORG", "talk.example.org"),
            ("localhost", "localhost"),
            ("a_b.-c-.example.", "a_b.-c-.example."),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("Bücher.example", "xn--bcher-kva.example"),
            ("例え.テスト", "xn--r8jz45g.xn--zckzah"),
            ("192.0.2.1", "192.0.2.1"),
            ("１９２.0.2.1", "192.0.2.1"),
            ("2001:db8::1", "[2001:db8::1]"),
            ("[2001:DB8:0::1]", "[2001:db8::1]"),
            ("[::ffff:192.0.2.1]", "[::ffff:192.0.2.1]"),
            ("::", "[::]"),
            // Not addresses: short, octal and hexadecimal forms of IPv4 stay as they are.
            ("127.1", "127.1"),
            ("300.1.2.3", "300.1.2.3"),
            ("010.0.0.1", "010.0.0.1"),
            ("0x7f.1", "0x7f.1"),
        ] {
            assert_eq!(Host::parse(text).unwrap().to_string(), normal, "{text}");
        }
    }

    #[test]
    fn a_host_has_no_port_no_scheme_and_no_other_characters() {
        for text in [
            "",
            ".",
            "..",
            "a..",
            "a..b",
            ".a",
            "a:80",
            "turn:x",
            "http://x",
            "u@a",
            "a b",
            " a",
            "a ",
            "a\n",
            "a\0",
            "a/b",
            "a?b",
            "a#b",
            "a\\b",
            "a\"",
            "a%20b",
            "a!b",
            "a~b",
            "*",
            "*.example",
            "bü cher",
            "[::1",
            "::1]",
            "[]",
            "[evil]",
            "[192.0.2.1]",
            "[[::1]]",
            "[::1]:80",
            "[::1]x",
            "fe80::1%eth0",
            "[fe80::1%eth0]",
            "[fe80::1%25eth0]",
            "192.0.2.1/24",
        ] {
            assert_eq!(Host::parse(text), Err(HostError), "{text}");
        }
    }

    #[test]
    fn a_name_has_labels_of_63_bytes_and_253_bytes_in_total() {
        let label = |length| "a".repeat(length);
        assert!(Host::parse(&format!("{}.example", label(63))).is_ok());
        assert!(Host::parse(&format!("{}.example", label(64))).is_err());
        let name = format!("{}a", "a.".repeat(126));
        assert!(name.len() == 253 && Host::parse(&name).is_ok());
        assert!(Host::parse(&format!("{name}a")).is_err());
    }

    #[test]
    fn a_name_with_a_numeric_last_label_is_not_in_dns() {
        for (text, expected) in [
            ("relay.example.org", true),
            ("host-7", true),
            ("7.example.", true),
            ("127.1", false),
            ("300.1.2.3", false),
            ("192.0.2.1.", false),
            ("192.0.2.1", false),
            ("[::1]", false),
        ] {
            assert_eq!(Host::parse(text).unwrap().is_dns_name(), expected, "{text}");
        }
    }

    #[test]
    fn this_machine_is_localhost_or_a_loopback_address() {
        for (text, expected) in [
            ("localhost", true),
            ("Talk.Localhost", true),
            ("127.0.0.9", true),
            ("[::1]", true),
            ("localhost.example", false),
            ("192.0.2.1", false),
        ] {
            assert_eq!(Host::parse(text).unwrap().is_loopback(), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_normal_form_is_the_same_host(text in "[\\[\\]A-Za-z0-9:._-]{0,20}|.*") {
            if let Ok(host) = Host::parse(&text) {
                prop_assert_eq!(Host::parse(&host.to_string()), Ok(host.clone()));
                prop_assert_eq!(Host::parse(&host.unbracketed()), Ok(host));
            }
        }

        #[test]
        fn every_address_is_a_host(ip: IpAddr) {
            prop_assert_eq!(Host::parse(&Host::from(ip).to_string()), Ok(Host::Ip(ip)));
        }
    }
}
