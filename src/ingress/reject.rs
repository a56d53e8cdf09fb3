//! Why a connection is not delivered, and how often that happened.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use super::proxy_protocol::HeaderError;

/// The reason for a rejection, as metrics count it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RejectReason {
    /// The total limit is reached.
    TotalLimit,
    /// The limit per source is reached.
    SourceLimit,
    /// Closed in favour of another connection.
    Evicted,
    /// A trusted proxy sent no valid PROXY header.
    ProxyHeader,
    /// The TLS handshake failed or timed out.
    Handshake,
}

/// Why an accepted connection is not delivered.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    #[error("{0}")]
    Rejected(RejectReason),
    #[error("{0}")]
    ProxyHeader(HeaderError),
    #[error("TLS handshake failed: {0}")]
    Handshake(io::Error),
    /// The connection broke, or the client sent nothing in time.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl RejectReason {
    pub const ALL: [RejectReason; 5] = [
        RejectReason::TotalLimit,
        RejectReason::SourceLimit,
        RejectReason::Evicted,
        RejectReason::ProxyHeader,
        RejectReason::Handshake,
    ];
}

impl std::fmt::Display for RejectReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            RejectReason::TotalLimit => "too many connections",
            RejectReason::SourceLimit => "too many connections from one address",
            RejectReason::Evicted => "evicted for another connection",
            RejectReason::ProxyHeader => "no valid PROXY header",
            RejectReason::Handshake => "TLS handshake failed",
        })
    }
}

impl AcceptError {
    /// The reason to count; `None` for a client that only left.
    pub fn reason(&self) -> Option<RejectReason> {
        match self {
            AcceptError::Rejected(reason) => Some(*reason),
            AcceptError::ProxyHeader(_) => Some(RejectReason::ProxyHeader),
            AcceptError::Handshake(_) => Some(RejectReason::Handshake),
            AcceptError::Io(_) => None,
        }
    }
}

impl From<RejectReason> for AcceptError {
    fn from(reason: RejectReason) -> AcceptError {
        AcceptError::Rejected(reason)
    }
}

/// Rejections of a kind of listener, by reason.
#[derive(Debug, Default)]
pub struct RejectCounters([AtomicU64; RejectReason::ALL.len()]);

impl RejectCounters {
    pub fn count(&self, reason: RejectReason) {
        self.0[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub fn get(&self, reason: RejectReason) -> u64 {
        self.0[reason as usize].load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_a_counter_of_its_own() {
        let counters = RejectCounters::default();
        for reason in RejectReason::ALL {
            counters.count(reason);
        }
        counters.count(RejectReason::Handshake);
        let counts = RejectReason::ALL.map(|reason| counters.get(reason));
        assert_eq!(counts, [1, 1, 1, 1, 2]);
    }
}
