//! Limits the TURN connections that are not yet classified: the oldest is evicted for a new one.
//!
//! A client that sends nothing thus keeps no other client from the TLS handshake.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use super::limits::MAX_PENDING_STREAMS;

/// The connections that are not yet classified, the oldest first.
#[derive(Debug, Default)]
pub(super) struct PendingLimit(Mutex<VecDeque<CancellationToken>>);

/// A connection that is not yet classified. Dropping the guard ends that state.
#[derive(Debug)]
pub(super) struct PendingGuard {
    limit: Arc<PendingLimit>,
    /// Cancelled at the eviction.
    evicted: CancellationToken,
}

impl PendingLimit {
    /// Adds a connection. At the limit this evicts the oldest one.
    pub(super) fn register(self: &Arc<Self>) -> PendingGuard {
        let evicted = CancellationToken::new();
        let mut pending = self.pending();
        if pending.len() >= MAX_PENDING_STREAMS
            && let Some(oldest) = pending.pop_front()
        {
            oldest.cancel();
        }
        pending.push_back(evicted.clone());
        PendingGuard {
            limit: self.clone(),
            evicted,
        }
    }

    fn pending(&self) -> MutexGuard<'_, VecDeque<CancellationToken>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PendingGuard {
    /// The token that the eviction of this connection cancels.
    pub(super) fn evicted(&self) -> &CancellationToken {
        &self.evicted
    }
}

impl Drop for PendingGuard {
    fn drop(&mut self) {
        self.limit.pending().retain(|one| *one != self.evicted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_pending_connection_is_evicted_for_a_new_one() {
        let limit = Arc::new(PendingLimit::default());
        let mut pending: Vec<_> = (0..MAX_PENDING_STREAMS).map(|_| limit.register()).collect();
        // A classified connection makes room.
        drop(pending.remove(1));
        let newer = limit.register();
        assert!(!pending[0].evicted.is_cancelled());
        let newest = limit.register();
        assert!(pending[0].evicted.is_cancelled());
        assert!(!pending[1].evicted.is_cancelled() && !newer.evicted.is_cancelled());
        drop((pending, newer, newest));
        assert!(limit.pending().is_empty());
    }
}
