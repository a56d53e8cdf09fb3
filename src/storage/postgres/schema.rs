//! The schema and its migrations. Everything is in the schema `parlor` of the database, so that the tables of
//! another program may be in the same database.

use std::time::Duration;

use deadpool_postgres::{Object, Pool};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::error::ServerName;
use crate::storage::StoreError;

/// Timeout of a migration, with the wait for another process that migrates.
const MIGRATION_TIMEOUT: Duration = Duration::from_secs(600);

/// Creates the table with the version. The role needs no right to create a schema that exists.
const CREATE: &str = "
    DO $$ BEGIN IF to_regnamespace('parlor') IS NULL THEN
        CREATE SCHEMA parlor;
    END IF; END $$;
    CREATE TABLE parlor.schema_version (version integer NOT NULL);
    INSERT INTO parlor.schema_version VALUES (0)";

/// The schema that this version of parlor knows.
pub(super) const CURRENT: i32 = 7;

/// The migrations and the schema that each results in. The numbers are those of SQLite's schemas, and 3 is the
/// first for PostgreSQL. A step that was ever on the main branch is never edited; functions alone are replaced, by a
/// step that drops those of the earlier ones. A step that parlor of the schema before cannot use sets `min_reader`.
const STEPS: [(i32, &[&str]); 5] = [
    (
        3,
        &[include_str!("schema_3.sql"), include_str!("triggers_3.sql")],
    ),
    (
        4,
        &[
            include_str!("schema_4.sql"),
            include_str!("triggers_4.sql"),
            include_str!("functions_4.sql"),
            include_str!("join_4.sql"),
        ],
    ),
    (5, &[include_str!("schema_5.sql")]),
    (
        6,
        &[
            include_str!("schema_6.sql"),
            include_str!("functions_6.sql"),
            include_str!("join_6.sql"),
        ],
    ),
    (CURRENT, &[include_str!("schema_7.sql")]),
];

/// The key of the advisory lock of migrations: "prlr".
const LOCK: i64 = 0x7072_6c72;
/// Pause between two attempts to take the advisory lock.
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// Settings of the session that migrates. The server ends it soon if the host of this process is gone, so that its
/// advisory lock does not keep others waiting. Steps may take any time, but waits for locks do not.
const SESSION: &str =
    "SET statement_timeout = 0; SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5;
    SET tcp_keepalives_count = 3; SET tcp_user_timeout = '25s'";

/// The bounds of waits for tables that other sessions use.
#[derive(Debug, Clone, Copy)]
pub(super) struct LockWaits {
    /// The longest wait of a statement. Other sessions queue behind it, and their statements end after 4 seconds.
    pub(super) timeout: Duration,
    /// The number of attempts for each step.
    pub(super) attempts: u32,
    /// Pause between two attempts, in which the other sessions run.
    pub(super) pause: Duration,
}

impl LockWaits {
    /// One step waits for 45 seconds at most: systemd ends a start after 90.
    const DEFAULT: LockWaits = LockWaits {
        timeout: Duration::from_secs(2),
        attempts: 15,
        pause: Duration::from_secs(1),
    };
}

/// Migrates the database to the current schema: each step in a transaction of its own. An interrupted migration
/// continues at the next start.
pub(super) async fn migrate(pool: &Pool, server: &ServerName) -> Result<(), StoreError> {
    migrate_with(pool, server, LockWaits::DEFAULT).await
}

/// Migrates the database, with these bounds of waits for locks.
pub(super) async fn migrate_with(
    pool: &Pool,
    server: &ServerName,
    waits: LockWaits,
) -> Result<(), StoreError> {
    let client = pool
        .get()
        .await
        .map_err(|error| server.pool_failure(&error, MIGRATION_TIMEOUT).error)?;
    if version(&client, server)
        .await?
        .is_some_and(|found| found >= CURRENT)
    {
        return Ok(());
    }
    // Closed afterwards, and with it the advisory lock and the settings of the session.
    let mut client = Object::take(client);
    tokio::time::timeout(MIGRATION_TIMEOUT, run_steps(&mut client, server, waits))
        .await
        .unwrap_or_else(|_| Err(server.timed_out(MIGRATION_TIMEOUT)))
}

/// Runs the missing steps while no other session does.
async fn run_steps(
    client: &mut Client,
    server: &ServerName,
    waits: LockWaits,
) -> Result<(), StoreError> {
    let failed = |error: tokio_postgres::Error| server.failure(&error, MIGRATION_TIMEOUT).error;
    client.batch_execute(SESSION).await.map_err(failed)?;
    // Several servers may start together. It outlives the transactions, so that no other process runs a step between
    // two of this one. A wait in the server would outlive this process.
    let sql = format!("SELECT pg_try_advisory_lock({LOCK})");
    while !client
        .query_one(&sql, &[])
        .await
        .and_then(|row| row.try_get::<_, bool>(0))
        .map_err(failed)?
    {
        tokio::time::sleep(LOCK_PAUSE).await;
    }
    let found = version(client, server).await?;
    let missing = STEPS
        .iter()
        .filter(|(version, _)| *version > found.unwrap_or(0));
    for (version, sql) in missing {
        let is_first = found.is_none() && *version == STEPS[0].0;
        run_step(client, server, waits, (is_first, *version, sql)).await?;
    }
    Ok(())
}

/// Runs one step. It is repeated if other sessions keep its tables locked.
async fn run_step(
    client: &mut Client,
    server: &ServerName,
    waits: LockWaits,
    (is_first, version, sql): (bool, i32, &[&str]),
) -> Result<(), StoreError> {
    let timeout = format!("SET LOCAL lock_timeout = {}", waits.timeout.as_millis());
    let record = format!("UPDATE parlor.schema_version SET version = {version}");
    let mut statements = vec![timeout.as_str()];
    if is_first {
        statements.push(CREATE);
    }
    statements.extend(sql);
    statements.push(&record);
    for attempt in 1..=waits.attempts {
        let Err(error) = run_transaction(client, &statements).await else {
            return Ok(());
        };
        let is_locked_out = error.code().is_some_and(|state| {
            *state == SqlState::LOCK_NOT_AVAILABLE || *state == SqlState::T_R_DEADLOCK_DETECTED
        });
        if !is_locked_out {
            return Err(server.failure(&error, MIGRATION_TIMEOUT).error);
        }
        if attempt == 1 {
            tracing::info!(server = %server.0, schema = version, "waiting for tables that other sessions use");
        }
        if attempt < waits.attempts {
            tokio::time::sleep(waits.pause).await;
        }
    }
    Err(StoreError::ServerTablesInUse {
        server: server.0.to_string(),
        schema: version,
    })
}

async fn run_transaction(
    client: &mut Client,
    statements: &[&str],
) -> Result<(), tokio_postgres::Error> {
    let transaction = client.transaction().await?;
    for sql in statements {
        transaction.batch_execute(sql).await?;
    }
    transaction.commit().await
}

/// Returns the schema of the database; `None` if it has no tables of parlor. It may be newer, if it says that this
/// version of parlor can use it.
///
/// # Errors
/// The schema is too new for this version of parlor, or belongs to another program; or the database cannot store
/// all text.
async fn version(client: &Client, server: &ServerName) -> Result<Option<i32>, StoreError> {
    let failed = |error: tokio_postgres::Error| server.failure(&error, MIGRATION_TIMEOUT).error;
    let sql = "SELECT to_regclass('parlor.schema_version') IS NOT NULL,
                      EXISTS (SELECT 1 FROM pg_class WHERE relnamespace = to_regnamespace('parlor')),
                      current_setting('server_encoding'), current_setting('server_version_num')::integer";
    let row = client.query_one(sql, &[]).await.map_err(failed)?;
    let (is_ours, has_tables): (bool, bool) = (row.get(0), row.get(1));
    let (encoding, release): (String, i32) = (row.get(2), row.get(3));
    if encoding != "UTF8" {
        let reason = format!("its database has the encoding {encoding}, and parlor needs UTF8");
        return Err(server.refused(reason));
    }
    if release < 150_000 {
        let reason = format!("it is PostgreSQL {}, and parlor needs 15", release / 10_000);
        return Err(server.refused(reason));
    }
    if !is_ours {
        if has_tables {
            return Err(StoreError::ServerNotOurs(server.0.to_string()));
        }
        return Ok(None);
    }
    // The column `min_reader` exists since schema 5.
    let sql = "SELECT version, coalesce((to_jsonb(s) ->> 'min_reader')::integer, version)
               FROM parlor.schema_version s";
    let row = client.query_one(sql, &[]).await.map_err(failed)?;
    let (found, min_reader): (i32, i32) = (row.get(0), row.get(1));
    if found > CURRENT && min_reader > CURRENT {
        return Err(newer(server, found));
    }
    Ok(Some(found))
}

/// The error about a schema that this version of parlor does not know.
pub(super) fn newer(server: &ServerName, found: i32) -> StoreError {
    StoreError::NewerServerSchema {
        server: server.0.to_string(),
        found,
        known: CURRENT,
    }
}
