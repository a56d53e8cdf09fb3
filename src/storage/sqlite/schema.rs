//! The schema and its migrations.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::error::store_error;
use crate::storage::StoreError;

/// The mark of parlor's files (`PRAGMA application_id`): "prlr".
const APPLICATION_ID: i64 = 0x7072_6c72;

/// Migrations: step `n` changes a file from schema `n` to `n + 1`. A step that was ever on the main branch is
/// never edited.
pub(super) const STEPS: &[&str] = &[
    include_str!("schema_1.sql"),
    include_str!("schema_2.sql"),
    include_str!("schema_3.sql"),
    include_str!("schema_4.sql"),
    include_str!("schema_5.sql"),
    include_str!("schema_6.sql"),
    include_str!("schema_7.sql"),
];

/// Migrates the file to the current schema: all steps in one transaction, or none.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let failed = |error: rusqlite::Error| store_error(path, &error);
    if version(connection, path)? == STEPS.len() {
        return Ok(());
    }
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(failed)?;
    // Read again: another process may have migrated while this one waited for the lock.
    let found = version(&transaction, path)?;
    for step in &STEPS[found..] {
        transaction.execute_batch(step).map_err(failed)?;
    }
    transaction
        .pragma_update(None, "application_id", APPLICATION_ID)
        .and_then(|()| transaction.pragma_update(None, "user_version", STEPS.len() as i64))
        .and_then(|()| transaction.commit())
        .map_err(failed)
}

/// Returns the schema of the file, from 0 (a new file) to the current one, without changing it.
///
/// # Errors
/// The file belongs to another program or to a newer parlor.
pub(super) fn version(connection: &Connection, path: &Path) -> Result<usize, StoreError> {
    // One statement, so that another process can't turn the file into a database in between.
    let sql = "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_schema)
                    FROM pragma_application_id, pragma_user_version";
    let (application, found, tables): (i64, i64, i64) = connection
        .query_row(sql, (), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .map_err(|error| store_error(path, &error))?;
    let new = application == 0 && found == 0 && tables == 0;
    if !new && application != APPLICATION_ID {
        return Err(StoreError::NotOurs(path.to_owned()));
    }
    match usize::try_from(found) {
        Ok(found) if found <= STEPS.len() => Ok(found),
        _ => Err(StoreError::NewerSchema {
            path: path.to_owned(),
            found,
            known: STEPS.len() as i64,
        }),
    }
}
