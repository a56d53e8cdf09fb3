//! Limits connections that have sent no request yet: a new connection evicts the one that has been silent
//! for longest. So a client that sends its request at once never waits for silent clients.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// Maximum number of silent connections.
const MAX_PENDING: usize = 16;

#[derive(Default)]
pub struct PendingLimit(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    next: u64,
    /// Oldest first.
    connections: VecDeque<(u64, CancellationToken)>,
}

/// A silent connection; dropped when the client has sent a request or the connection has ended.
pub struct PendingGuard<'a> {
    silent: &'a PendingLimit,
    number: u64,
    /// Cancelled when the connection is evicted.
    pub evicted: CancellationToken,
}

impl PendingLimit {
    /// Adds a connection, and evicts the oldest if the limit is reached.
    pub fn enter(&self) -> PendingGuard<'_> {
        let mut waiting = self.locked();
        if waiting.connections.len() >= MAX_PENDING
            && let Some((_, oldest)) = waiting.connections.pop_front()
        {
            oldest.cancel();
        }
        let number = waiting.next;
        waiting.next += 1;
        let evicted = CancellationToken::new();
        waiting.connections.push_back((number, evicted.clone()));
        PendingGuard {
            silent: self,
            number,
            evicted,
        }
    }

    fn locked(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for PendingGuard<'_> {
    fn drop(&mut self) {
        let mut waiting = self.silent.locked();
        waiting
            .connections
            .retain(|(number, _)| *number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_connection_that_is_silent_for_longest_makes_room_for_the_next() {
        let silent = PendingLimit::default();
        let mut entries: Vec<_> = (0..MAX_PENDING).map(|_| silent.enter()).collect();
        assert!(entries.iter().all(|entry| !entry.evicted.is_cancelled()));
        // A connection with a request no longer counts.
        drop(entries.remove(3));
        entries.push(silent.enter());
        assert!(entries.iter().all(|entry| !entry.evicted.is_cancelled()));
        entries.push(silent.enter());
        let evicted: Vec<_> = entries
            .iter()
            .map(|entry| entry.evicted.is_cancelled())
            .collect();
        assert!(evicted[0] && !evicted[1..].contains(&true), "{evicted:?}");
        drop(entries);
        assert!(silent.locked().connections.is_empty());
    }
}
