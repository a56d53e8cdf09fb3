//! Limits connections that have sent no request yet: a new connection evicts the oldest of them. So a
//! client that sends its request at once never waits for idle clients.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// Maximum number of connections without a request.
const MAX_PENDING: usize = 16;

#[derive(Default)]
pub(super) struct PendingLimit(Mutex<Pending>);

#[derive(Default)]
struct Pending {
    next: u64,
    /// Oldest first.
    connections: VecDeque<(u64, CancellationToken)>,
}

/// A connection without a request; dropped when the client has sent a request or the connection has ended.
pub(super) struct PendingGuard<'a> {
    limit: &'a PendingLimit,
    number: u64,
    /// Cancelled when the connection is evicted.
    pub evicted: CancellationToken,
}

impl PendingLimit {
    /// Adds a connection, and evicts the oldest if the limit is reached.
    pub(super) fn register(&self) -> PendingGuard<'_> {
        let mut pending = self.locked();
        if pending.connections.len() >= MAX_PENDING
            && let Some((_, oldest)) = pending.connections.pop_front()
        {
            oldest.cancel();
        }
        let number = pending.next;
        pending.next += 1;
        let evicted = CancellationToken::new();
        pending.connections.push_back((number, evicted.clone()));
        PendingGuard {
            limit: self,
            number,
            evicted,
        }
    }

    fn locked(&self) -> MutexGuard<'_, Pending> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for PendingGuard<'_> {
    fn drop(&mut self) {
        let mut pending = self.limit.locked();
        pending
            .connections
            .retain(|(number, _)| *number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_connection_evicts_the_oldest_without_a_request() {
        let limit = PendingLimit::default();
        let mut entries: Vec<_> = (0..MAX_PENDING).map(|_| limit.register()).collect();
        assert!(entries.iter().all(|entry| !entry.evicted.is_cancelled()));
        // A connection with a request no longer counts.
        drop(entries.remove(3));
        entries.push(limit.register());
        assert!(entries.iter().all(|entry| !entry.evicted.is_cancelled()));
        entries.push(limit.register());
        let evicted: Vec<_> = entries
            .iter()
            .map(|entry| entry.evicted.is_cancelled())
            .collect();
        assert!(evicted[0] && !evicted[1..].contains(&true), "{evicted:?}");
        drop(entries);
        assert!(limit.locked().connections.is_empty());
    }
}
