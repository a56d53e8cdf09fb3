//! Validation of `turn.external_ip`: each entry must be usable, and none may override another.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::url::Host;

/// The subject of an entry. Of two entries with the same subject, one would have no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Ipv4,
    Ipv6,
    Private(IpAddr),
}

/// Returns the errors of the entries, as ends of sentences that began with the key.
pub(super) fn errors(entries: &[String]) -> Vec<String> {
    let mut errors = Vec::new();
    let mut taken = BTreeMap::new();
    for entry in entries {
        match parse(entry) {
            Err(error) => errors.push(error),
            Ok(subject) => {
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

fn parse(entry: &str) -> Result<Subject, String> {
    let unreadable =
        || format!("must be an address, a DNS name, `public/private` or `auto`, not `{entry}`");
    let mut texts = entry.splitn(2, '/').map(str::trim).peekable();
    let name = texts.next_if(|text| is_name(text));
    let mut addresses = Vec::new();
    for text in texts {
        let address: IpAddr = text.parse().map_err(|_| unreadable())?;
        if let Some(mapped) = as_ipv4(address) {
            return Err(format!(
                "must name {mapped} as an IPv4 address, not as `{address}`"
            ));
        }
        if address.is_unspecified() || address.is_multicast() {
            return Err(unreadable());
        }
        addresses.push(address);
    }
    match addresses[..] {
        // STUN servers and DNS are queried for IPv4 first.
        [] if name.is_some() => Ok(Subject::Ipv4),
        [private] if name.is_some_and(|name| name != "auto") => Ok(Subject::Private(private)),
        _ if name.is_some() => Err(unreadable()),
        [public] if public.is_ipv4() => Ok(Subject::Ipv4),
        [_] => Ok(Subject::Ipv6),
        [public, private] if public.is_ipv4() == private.is_ipv4() => Ok(Subject::Private(private)),
        _ => Err(unreadable()),
    }
}

/// Whether a text is `auto` or a DNS name in ASCII, which the resolver looks up as it is.
fn is_name(text: &str) -> bool {
    text.is_ascii() && Host::parse(text).is_ok_and(|host| host.is_dns_name())
}

/// Returns the IPv4 address of an IPv4-mapped IPv6 address.
fn as_ipv4(address: IpAddr) -> Option<std::net::Ipv4Addr> {
    match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => address.to_ipv4_mapped(),
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
