//! Where clients reach the relay of a node, as the node tells the others.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// The relay of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RelayAddress {
    /// Names the relay: a restarted one, which has lost its allocations, has another.
    pub id: String,
    /// The host of ICE URLs; `None` if it depends on the request.
    pub host: Option<String>,
    /// The port for STUN and TURN over UDP and TCP.
    pub port: Option<u16>,
    /// The port for TURN over TLS.
    pub tls_port: Option<u16>,
    /// At most one address for each family, for ALTERNATE-SERVER.
    pub addresses: Vec<SocketAddr>,
}

/// The text of a node about itself, of which only the relay is needed.
#[derive(Default, Deserialize)]
#[serde(default)]
struct About {
    relay: RelayAddress,
}

impl RelayAddress {
    /// Parses the text of a node about itself. One that is not understood has no address.
    pub(super) fn parse(about: &str) -> RelayAddress {
        let about: About = serde_json::from_str(about).unwrap_or_default();
        about.relay
    }
}
