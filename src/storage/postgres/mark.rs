//! Marks of the nodes that reach Redis. A node that does not reach it learns from them whether it is the only one.
//!
//! A mark is a shared advisory lock of the session that has the lock of the database, so it ends with its node.

use deadpool_postgres::Client;

/// The keys of the lock: "prlr" and "rdis".
const KEYS: (i32, i32) = (0x7072_6c72, 0x7264_6973);

/// Sets or removes the mark of a session.
pub(super) async fn set(client: &Client, is_marked: bool) -> Result<(), tokio_postgres::Error> {
    let function = if is_marked {
        "pg_advisory_lock_shared"
    } else {
        "pg_advisory_unlock_shared"
    };
    let (first, second) = KEYS;
    client
        .batch_execute(&format!("SELECT {function}({first}, {second})"))
        .await
}

/// Returns the query whether any session has the mark.
pub(super) fn query() -> String {
    let (first, second) = KEYS;
    format!(
        "SELECT EXISTS (
             SELECT FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2
               AND classid = {first} AND objid = {second} AND granted
               AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))"
    )
}
