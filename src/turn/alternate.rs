//! Sending clients to another server (RFC 8489 section 10): who, and where.

use std::net::SocketAddr;

use super::Refusal;

/// Servers that may have room when this one has none: one for each family, at most.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Alternates(Vec<SocketAddr>);

impl Alternates {
    pub fn new(servers: impl Into<Vec<SocketAddr>>) -> Alternates {
        Alternates(servers.into())
    }

    /// Where a client may find what it is refused here: a server of the client's own family. `None`
    /// where there is none, and for whatever any other server had to refuse as well.
    pub(super) fn instead_of(&self, refusal: Refusal, client: SocketAddr) -> Option<SocketAddr> {
        match refusal {
            Refusal::TotalQuota | Refusal::NoPort | Refusal::Draining => {
                let mut servers = self.0.iter().copied();
                servers.find(|server| server.is_ipv4() == client.is_ipv4())
            }
            _ => None,
        }
    }
}
