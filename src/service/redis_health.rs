//! Whether this node reaches Redis, and whether the others do.

use std::sync::{Mutex, PoisonError};

use crate::clock::Mono;
use crate::storage::RedisId;

/// Since when this node does not reach Redis, and what it uses there.
#[derive(Debug, Default)]
pub struct RedisHealth {
    lost_since: Mutex<Option<Mono>>,
    /// The database in Redis, and the prefix of the keys.
    keys: String,
}

/// The state of the connection to Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedisState {
    Reached,
    /// No node reaches it, or it is unknown whether one does. Another node could do no more than this one.
    Away,
    /// Another node reaches it.
    LostHere,
}

impl RedisState {
    /// The state in words.
    pub fn text(self) -> &'static str {
        match self {
            RedisState::Reached => "ok",
            RedisState::Away => "no node reaches Redis: new WebSockets are refused",
            RedisState::LostHere => "this node does not reach Redis, and others do",
        }
    }
}

impl RedisHealth {
    /// `keys` names what this node uses of a Redis server.
    pub fn new(keys: String) -> RedisHealth {
        RedisHealth {
            keys,
            ..RedisHealth::default()
        }
    }

    /// The mark of this node on the server with this run id.
    pub(super) fn id(&self, run_id: &str) -> RedisId {
        RedisId::new(&self.keys, run_id)
    }

    /// Whether other nodes, which reported `reached`, use the same keys.
    pub fn has_same_keys(&self, reached: &[RedisId]) -> bool {
        let own = self.id("").keys;
        reached.iter().all(|other| other.keys == own)
    }

    /// Since when Redis is not reached.
    pub(super) fn lost_since(&self) -> Option<Mono> {
        *self
            .lost_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Records whether Redis is reached now.
    pub(super) fn record(&self, is_reached: bool, now: Mono) {
        let mut lost_since = self
            .lost_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *lost_since = match *lost_since {
            _ if is_reached => None,
            Some(since) => Some(since),
            None => Some(now),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_counts_from_its_beginning_until_redis_is_reached() {
        let health = RedisHealth::default();
        health.record(false, Mono(1));
        health.record(false, Mono(2));
        assert_eq!(health.lost_since(), Some(Mono(1)));
        health.record(true, Mono(3));
        assert_eq!(health.lost_since(), None);
        health.record(false, Mono(4));
        assert_eq!(health.lost_since(), Some(Mono(4)));
    }
}
