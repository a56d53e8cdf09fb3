//! The schema and its migrations. Everything is in the schema `parlor` of the database, so that the tables of
//! another program may be in the same database.

use std::time::Duration;

use deadpool_postgres::Pool;
use tokio_postgres::Client;

use super::error::ServerName;
use crate::storage::StoreError;

/// Timeout of a migration, with the wait for another process that migrates.
const MIGRATION_TIMEOUT: Duration = Duration::from_secs(600);

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

/// Migrates the database to the current schema: all steps in one transaction, or none.
pub(super) async fn migrate(pool: &Pool, server: &ServerName) -> Result<(), StoreError> {
    let mut client = pool
        .get()
        .await
        .map_err(|error| server.pool_failure(&error, MIGRATION_TIMEOUT).error)?;
    let migrated = tokio::time::timeout(MIGRATION_TIMEOUT, async {
        if version(&client, server)
            .await?
            .is_some_and(|found| found >= CURRENT)
        {
            return Ok(());
        }
        let failed = |error: tokio_postgres::Error| server.failure(&error, MIGRATION_TIMEOUT).error;
        let transaction = client.transaction().await.map_err(failed)?;
        // Released at the end of the transaction. Several servers may start together.
        for sql in [
            "SET LOCAL statement_timeout = 0",
            "SET LOCAL lock_timeout = 0",
            &format!("SELECT pg_advisory_xact_lock({LOCK})"),
        ] {
            transaction.batch_execute(sql).await.map_err(failed)?;
        }
        let found = version(transaction.client(), server).await?;
        if found.is_none() {
            transaction
                .batch_execute(
                    // The role needs no right to create a schema that exists.
                    "DO $$ BEGIN IF to_regnamespace('parlor') IS NULL THEN
                         CREATE SCHEMA parlor;
                     END IF; END $$;
                     CREATE TABLE parlor.schema_version (version integer NOT NULL);
                     INSERT INTO parlor.schema_version VALUES (0)",
                )
                .await
                .map_err(failed)?;
        }
        let missing = STEPS
            .iter()
            .filter(|(version, _)| *version > found.unwrap_or(0));
        for (version, sql) in missing {
            for sql in *sql {
                transaction.batch_execute(sql).await.map_err(failed)?;
            }
            let record = format!("UPDATE parlor.schema_version SET version = {version}");
            transaction.batch_execute(&record).await.map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)
    });
    migrated
        .await
        .unwrap_or_else(|_| Err(server.timed_out(MIGRATION_TIMEOUT)))
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
