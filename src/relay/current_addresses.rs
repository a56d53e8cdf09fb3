//! The addresses of this host in force, and their text form.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::turn::{Host, HostAddress, NatMapping};

use super::external_ip::ExternalIps;
use super::local_addresses::default_source_addresses;

/// The addresses in force.
#[derive(Debug, Clone, Default)]
pub struct CurrentAddresses {
    pub host: Arc<Host>,
    pub external_ips: ExternalIps,
}

/// The listeners of this process, which do not change.
#[derive(Debug, Clone)]
pub(super) struct ListenAddresses {
    pub turn: Vec<SocketAddr>,
    pub other: Vec<SocketAddr>,
}

impl ListenAddresses {
    /// This host with these addresses and their public addresses.
    pub(super) fn host(&self, addresses: Vec<HostAddress>, nat_mappings: Vec<NatMapping>) -> Host {
        let (turn, other) = (self.turn.clone(), self.other.clone());
        let sources = default_source_addresses();
        Host::new(addresses, &sources, nat_mappings, turn, other)
    }
}

/// Logs the relayed addresses for clients on other hosts if they have changed.
pub(super) fn log_relayed_addresses(old: Option<&Host>, new: &Host) {
    let texts = relayed_address_texts(new);
    if old.is_none_or(|old| relayed_address_texts(old) != texts) {
        let [ipv4, ipv6] = texts;
        tracing::info!(ipv4, ipv6, "relayed addresses");
    }
}

/// The relayed address of each family for clients on other hosts, IPv4 first, as text.
pub(super) fn relayed_address_texts(host: &Host) -> [String; 2] {
    [true, false].map(|v4| {
        let mut offered = host.offered();
        match offered.find(|(bound, _)| bound.is_ipv4() == v4) {
            Some((bound, public)) if bound == public => public.to_string(),
            Some((bound, public)) => format!("{public} (here {bound})"),
            None => "none".to_owned(),
        }
    })
}
