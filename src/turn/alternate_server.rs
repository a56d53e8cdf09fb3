//! The ALTERNATE-SERVER mechanism (RFC 8489 section 10).

use std::net::SocketAddr;

use super::ErrorReason;

/// Servers that may have capacity when this one has none: at most one for each address family.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Alternates(Vec<SocketAddr>);

impl Alternates {
    pub fn new(servers: impl Into<Vec<SocketAddr>>) -> Alternates {
        Alternates(servers.into())
    }

    /// Returns the alternate server of the client's own address family, if another server may grant
    /// what this one rejects. Returns `None` for errors that every server would return.
    pub(super) fn for_error(&self, reason: ErrorReason, client: SocketAddr) -> Option<SocketAddr> {
        match reason {
            ErrorReason::TotalQuota | ErrorReason::NoPort | ErrorReason::Draining => {
                self.of_family(client)
            }
            _ => None,
        }
    }

    /// Returns the server of the client's own address family.
    pub(super) fn of_family(&self, client: SocketAddr) -> Option<SocketAddr> {
        let mut servers = self.0.iter().copied();
        servers.find(|server| server.is_ipv4() == client.is_ipv4())
    }
}
