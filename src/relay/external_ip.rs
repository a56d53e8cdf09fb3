//! The entries of `turn.external_ip`: addresses, DNS names and `auto`, each with its resolved address.

use std::io;
use std::net::{IpAddr, ToSocketAddrs};

use super::public_address::{DiscoverError, discover};
use crate::config::{ExternalIp, PublicAddress, external_ips};
use crate::turn::NatMapping;

/// The reason why an entry has no address.
#[derive(Debug, thiserror::Error)]
pub enum ExternalError {
    #[error(transparent)]
    Auto(DiscoverError),
    #[error(
        "`{name}` can't be looked up ({why}): check the name and this host's DNS, or name an address"
    )]
    Lookup { name: String, why: io::Error },
}

/// The values of `turn.external_ip` and `ice.stun_urls`.
#[derive(Debug, Clone, Default)]
pub(super) struct ExternalIpSettings {
    pub entries: Vec<String>,
    pub stun_urls: Vec<String>,
}

/// The entries to resolve again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolve {
    /// Entries whose address is not known yet.
    Unknown,
    Names,
    Auto,
}

/// The entries of `turn.external_ip`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExternalIps {
    entries: Vec<ExternalIp>,
    stun_urls: Vec<String>,
    /// The resolved addresses of `auto` and DNS names.
    known: Vec<(String, IpAddr)>,
}

impl ExternalIps {
    /// `known` has the addresses that were resolved earlier.
    pub fn new(
        entries: &[String],
        stun_urls: &[String],
        known: Vec<(String, IpAddr)>,
    ) -> ExternalIps {
        ExternalIps {
            entries: external_ips(entries),
            stun_urls: stun_urls.to_vec(),
            known,
        }
    }

    /// Replaces the entries, and keeps the known addresses of unchanged ones.
    pub fn set(&mut self, entries: &[String], stun_urls: &[String]) {
        self.entries = external_ips(entries);
        self.stun_urls = stun_urls.to_vec();
        let unresolved_names: Vec<_> = self
            .entries
            .iter()
            .filter_map(|entry| entry.public.unresolved())
            .collect();
        self.known
            .retain(|(name, _)| unresolved_names.contains(&name.as_str()));
    }

    /// The known addresses of DNS names and `auto`.
    pub fn known(&self) -> &[(String, IpAddr)] {
        &self.known
    }

    /// Whether any entry can change without a change of the configuration.
    pub fn can_change(&self) -> bool {
        let mut public = self.entries.iter().map(|entry| &entry.public);
        public.any(|public| public.unresolved().is_some())
    }

    /// The address of each entry; `None` while one is not known.
    pub fn nat_mappings(&self) -> Option<Vec<NatMapping>> {
        let mappings = self.entries.iter().map(|entry| {
            let public = match &entry.public {
                PublicAddress::Ip(ip) => *ip,
                PublicAddress::Name(_) | PublicAddress::Auto => {
                    self.address_of(entry.public.unresolved()?)?
                }
            };
            Some(NatMapping {
                public,
                private: entry.private,
            })
        });
        mappings.collect()
    }

    /// Resolves entries again, and keeps a known address if there is no answer. Blocks on the network.
    ///
    /// # Errors
    ///
    /// The error of the first entry that could not be resolved.
    pub fn resolve(&mut self, what: Resolve) -> Result<(), ExternalError> {
        self.resolve_by(what, look_up, discover)
    }

    fn resolve_by(
        &mut self,
        what: Resolve,
        look_up: impl Fn(&str) -> io::Result<Vec<IpAddr>>,
        discover: impl Fn(&[String]) -> Result<IpAddr, DiscoverError>,
    ) -> Result<(), ExternalError> {
        let mut outcome = Ok(());
        for entry in self.entries.clone() {
            let Some(name) = entry.public.unresolved() else {
                continue;
            };
            let is_auto = entry.public == PublicAddress::Auto;
            let wanted = match what {
                Resolve::Unknown => self.address_of(name).is_none(),
                Resolve::Names => !is_auto,
                Resolve::Auto => is_auto,
            };
            if !wanted {
                continue;
            }
            let answer = if is_auto {
                discover(&self.stun_urls).map_err(ExternalError::Auto)
            } else {
                look_up(name)
                    .and_then(|found| self.choose(&entry, name, &found))
                    .map_err(|why| ExternalError::Lookup {
                        name: name.to_owned(),
                        why,
                    })
            };
            match answer {
                Ok(ip) => self.set_address(name, ip),
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        outcome
    }

    /// Selects one address of a name: of the family of its private address, else IPv4 if it has one. Keeps
    /// the known address while it is in the answer, since DNS returns addresses in any order.
    fn choose(&self, entry: &ExternalIp, name: &str, found: &[IpAddr]) -> io::Result<IpAddr> {
        let v4 = match entry.private {
            Some(private) => private.is_ipv4(),
            None => found.iter().any(IpAddr::is_ipv4),
        };
        let mut fitting: Vec<_> = found.iter().filter(|ip| ip.is_ipv4() == v4).collect();
        fitting.sort_unstable();
        let known = self
            .address_of(name)
            .filter(|known| fitting.contains(&known));
        let chosen = known.or(fitting.first().map(|ip| **ip));
        chosen.ok_or_else(|| io::Error::other("it has no address of the family"))
    }

    fn address_of(&self, name: &str) -> Option<IpAddr> {
        let known = self.known.iter().find(|(known, _)| known == name)?;
        Some(known.1)
    }

    fn set_address(&mut self, name: &str, ip: IpAddr) {
        self.known.retain(|(known, _)| known != name);
        self.known.push((name.to_owned(), ip));
    }
}

fn look_up(name: &str) -> io::Result<Vec<IpAddr>> {
    // The port is ignored.
    let addresses = (name, 0).to_socket_addrs()?;
    Ok(addresses.map(|address| address.ip()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn silent(_: &[String]) -> Result<IpAddr, DiscoverError> {
        Err(DiscoverError::NoStunServer)
    }

    fn public(names: &ExternalIps) -> Option<Vec<String>> {
        let external = names.nat_mappings()?;
        Some(external.iter().map(|one| one.public.to_string()).collect())
    }

    #[test]
    fn a_name_keeps_its_address_while_resolution_fails() {
        let entries = texts(&["relay.example.org/10.0.0.5", "2001:db8::1"]);
        let mut names = ExternalIps::new(&entries, &[], Vec::new());
        assert_eq!(
            public(&names),
            None,
            "nothing is advertised before it is known"
        );
        let first = |name: &str| {
            assert_eq!(name, "relay.example.org");
            Ok(ips(&["2001:db8::9", "203.0.113.7", "203.0.113.3"]))
        };
        names.resolve_by(Resolve::Unknown, first, silent).unwrap();
        let before = Some(texts(&["203.0.113.3", "2001:db8::1"]));
        assert_eq!(public(&names), before);
        assert_eq!(
            names.nat_mappings().unwrap()[0].private,
            Some(ips(&["10.0.0.5"])[0])
        );
        // In another order it is the same.
        let turned = |_: &str| Ok(ips(&["203.0.113.2", "203.0.113.3"]));
        names.resolve_by(Resolve::Names, turned, silent).unwrap();
        assert_eq!(public(&names), before);
        let down = |_: &str| Err(io::ErrorKind::TimedOut.into());
        let error = names.resolve_by(Resolve::Names, down, silent).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("`relay.example.org` can't be looked up (")
        );
        assert_eq!(public(&names), before);
        let moved = |_: &str| Ok(ips(&["203.0.113.8"]));
        names.resolve_by(Resolve::Names, moved, silent).unwrap();
        assert_eq!(public(&names), Some(texts(&["203.0.113.8", "2001:db8::1"])));
    }

    #[test]
    fn resolving_auto_does_not_resolve_names() {
        let mut names = ExternalIps::new(&texts(&["auto"]), &texts(&["stun:a"]), Vec::new());
        let nobody = |_: &str| panic!("no name is looked up");
        let found = |urls: &[String]| {
            assert_eq!(urls, ["stun:a"]);
            Ok(ips(&["203.0.113.7"])[0])
        };
        names.resolve_by(Resolve::Names, nobody, found).unwrap();
        assert_eq!(public(&names), None);
        names.resolve_by(Resolve::Auto, nobody, found).unwrap();
        assert_eq!(public(&names), Some(texts(&["203.0.113.7"])));
        assert!(names.resolve_by(Resolve::Auto, nobody, silent).is_err());
        assert_eq!(public(&names), Some(texts(&["203.0.113.7"])));
    }

    #[test]
    fn known_addresses_are_not_queried_and_removed_entries_are_forgotten() {
        let known = vec![("auto".to_owned(), ips(&["203.0.113.7"])[0])];
        let mut names = ExternalIps::new(&texts(&["auto"]), &[], known);
        let nobody = |_: &str| panic!("no name is looked up");
        names.resolve_by(Resolve::Unknown, nobody, silent).unwrap();
        assert_eq!(public(&names), Some(texts(&["203.0.113.7"])));
        names.set(&texts(&["198.41.0.4"]), &[]);
        assert!(!names.can_change() && names.known().is_empty());
        assert_eq!(public(&names), Some(texts(&["198.41.0.4"])));
        names.set(&texts(&["auto"]), &[]);
        assert_eq!(public(&names), None);
    }
}
