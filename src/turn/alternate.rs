//! Sending clients to another server (RFC 8489 section 10): who, and where.

use std::net::SocketAddr;

use super::ErrorReason;

/// Servers that may have room when this one has none: one for each family, at most.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Alternates(Vec<SocketAddr>);

impl Alternates {
    pub fn new(servers: impl Into<Vec<SocketAddr>>) -> Alternates {
        Alternates(servers.into())
    }

    /// Where a client may find what it is refused here: a server of the client's own family. `None`
    /// where there is none, and for whatever any other server had to respond_error as well.
    pub(super) fn for_error(&self, reason: ErrorReason, client: SocketAddr) -> Option<SocketAddr> {
        match reason {
            ErrorReason::TotalQuota | ErrorReason::NoPort | ErrorReason::Draining => {
                let mut servers = self.0.iter().copied();
                servers.find(|server| server.is_ipv4() == client.is_ipv4())
            }
            _ => None,
        }
    }
}
