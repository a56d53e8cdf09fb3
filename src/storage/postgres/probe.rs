//! The check whether the next process could open the store, while this one still has it open.

use std::time::Duration;

use deadpool_postgres::Client;
use tokio::time;

use super::call::CALL_TIMEOUT;
use super::database::{CONNECT_TIMEOUT, Database, open_pool};
use super::error::ServerName;
use super::lock::{self, StoreLock};
use super::mark::{self, RedisId};
use super::options::PostgresOptions;
use crate::storage::StoreError;

/// The state that the next process would find.
struct Findings {
    is_read_only: bool,
    /// A process that keeps it from the lock.
    holder: Option<String>,
    reached_redis: Vec<RedisId>,
}

/// Checks that a start with these options could open the store as soon as `running` has released its lock. Returns the
/// Redis that other nodes on the database reach. Waits neither for a server that is starting, nor for a parlor that is
/// ending.
pub(crate) async fn probe(
    options: &PostgresOptions,
    lock: StoreLock,
    running: Option<&Database>,
) -> Result<Vec<RedisId>, StoreError> {
    let server = ServerName(options.url.to_string().into());
    let pool = open_pool(options, 1, &server, "")?;
    let client = pool.get().await;
    let client = client.map_err(|error| server.pool_failure(&error, CONNECT_TIMEOUT).error)?;
    let found = time::timeout(CALL_TIMEOUT, find(&client, lock, running));
    let found = in_time(found.await, &server, CALL_TIMEOUT)?;
    if found.is_read_only {
        return Err(StoreError::ServerReadOnly(server.0.to_string()));
    }
    match found.holder {
        Some(holder) => Err(server.in_use(holder)),
        None => Ok(found.reached_redis),
    }
}

fn in_time<T>(
    answer: Result<Result<T, tokio_postgres::Error>, time::error::Elapsed>,
    server: &ServerName,
    timeout: Duration,
) -> Result<T, StoreError> {
    match answer {
        Ok(answer) => answer.map_err(|error| server.failure(&error, timeout).error),
        Err(_) => Err(server.timed_out(timeout)),
    }
}

async fn find(
    client: &Client,
    lock: StoreLock,
    running: Option<&Database>,
) -> Result<Findings, tokio_postgres::Error> {
    let row = client.query_one("SHOW transaction_read_only", &[]).await?;
    let is_read_only = row.try_get::<_, &str>(0)? == "on";
    // Another server may have a session with the same number.
    let own = match running.and_then(Database::lock_session) {
        Some(session) => session.find(client).await?,
        None => None,
    };
    let holder = lock::find_holder(client, lock, own).await?;
    let rows = client.query(&mark::ids_query(), &[&own]).await?;
    Ok(Findings {
        is_read_only,
        holder,
        reached_redis: rows.iter().map(mark::id).collect::<Result<_, _>>()?,
    })
}
