//! Marks of the nodes that reach Redis. A node that does not reach it learns from them whether it is the only one, and
//! every node learns whether the others use the same Redis.
//!
//! Marks are shared advisory locks of the session that has the lock of the database, so they end with their node.

use std::fmt::Write as _;

use deadpool_postgres::Client;
use ring::digest::{SHA256, digest};

/// The keys of the mark of a node that reaches Redis: "prlr" and "rdis".
const KEYS: (i32, i32) = (0x7072_6c72, 0x7264_6973);
/// The first key of the mark that says which Redis that is: "rdid". The second is [`RedisId::key`].
const ID_KEY: i32 = 0x7264_6964;

/// The keys that a node uses, and their Redis server, as two fingerprints. Nodes whose values differ do not see each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RedisId {
    /// Of the database in Redis, and the prefix of the keys.
    pub keys: u16,
    /// Of the running server.
    pub server: u16,
}

impl RedisId {
    /// Returns the fingerprints of two texts.
    pub fn new(keys: &str, server: &str) -> RedisId {
        RedisId {
            keys: fingerprint(keys),
            server: fingerprint(server),
        }
    }

    /// The second key of the lock.
    fn key(self) -> i32 {
        let [a, b] = self.keys.to_be_bytes();
        let [c, d] = self.server.to_be_bytes();
        i32::from_be_bytes([a, b, c, d])
    }

    /// Parses the second key of a lock, as `pg_locks` has it.
    fn from_key(key: u32) -> RedisId {
        let [a, b, c, d] = key.to_be_bytes();
        RedisId {
            keys: u16::from_be_bytes([a, b]),
            server: u16::from_be_bytes([c, d]),
        }
    }
}

fn fingerprint(text: &str) -> u16 {
    let hash = digest(&SHA256, text.as_bytes());
    let bytes = hash.as_ref().iter().take(2);
    bytes.fold(0, |value, byte| value << 8 | u16::from(*byte))
}

/// Replaces the marks of a session; `None` stands for none.
pub(super) async fn set(
    client: &Client,
    earlier: Option<RedisId>,
    marked: Option<RedisId>,
) -> Result<(), tokio_postgres::Error> {
    let mut sql = String::new();
    let changes = [
        (earlier, "pg_advisory_unlock_shared"),
        (marked, "pg_advisory_lock_shared"),
    ];
    let (first, second) = KEYS;
    for (id, function) in changes {
        if let Some(id) = id {
            let key = id.key();
            let _ = write!(
                sql,
                "SELECT {function}({first}, {second}); SELECT {function}({ID_KEY}, {key});"
            );
        }
    }
    client.batch_execute(&sql).await
}

/// Returns the query whether any session has the mark of a node that reaches Redis.
pub(super) fn query() -> String {
    let (first, second) = KEYS;
    format!("SELECT EXISTS (SELECT {MARKS} AND classid = {first} AND objid = {second})")
}

/// Returns the query for the second keys of the marks that say which Redis a node reaches. Its parameter is a session to
/// leave out, or null.
pub(super) fn ids_query() -> String {
    format!(
        "SELECT DISTINCT objid {MARKS} AND classid = {ID_KEY} AND pid IS DISTINCT FROM $1::integer"
    )
}

/// Reads a row of [`ids_query`].
pub(super) fn id(row: &tokio_postgres::Row) -> Result<RedisId, tokio_postgres::Error> {
    row.try_get(0).map(RedisId::from_key)
}

/// Marks of sessions with this database. The last number tells locks with two keys from those with one.
const MARKS: &str = "FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_the_lock() {
        for id in [("p:0", "one"), ("q:0", "two"), ("q:1", "three")] {
            let id = RedisId::new(id.0, id.1);
            assert_eq!(RedisId::from_key(id.key().cast_unsigned()), id);
        }
        assert_ne!(RedisId::new("p:0", "").keys, RedisId::new("p:1", "").keys);
    }
}
