//! Disables, enables and deletes users. A deleted user leaves the id behind, so that an old token or
//! credential grants nothing.

use super::call::{LONG_WRITE, Parameters, REPEATABLE_WRITE, Text, time, unique_time};
use super::database::Database;
use crate::storage::limits::DELETED_USER_NAME;
use crate::storage::rows::{USER_COLUMN_COUNT, USER_COLUMNS, user_at};
use crate::storage::{RemovedUser, StoreError, User};

impl Database {
    pub(crate) async fn disable_user(
        &self,
        id: &str,
        unix: u64,
    ) -> Result<Option<RemovedUser>, StoreError> {
        let sql = removed_user("disable_user($1, $2)");
        self.removed(&sql, &[&Text(id), &time(unix)]).await
    }

    pub(crate) async fn enable_user(&self, id: &str) -> Result<Option<User>, StoreError> {
        let sql = format!(
            "UPDATE users u SET disabled_at = NULL WHERE u.id = $1 AND u.deleted_at IS NULL
             RETURNING {USER_COLUMNS}"
        );
        self.query_opt(REPEATABLE_WRITE, &sql, &[&Text(id)], |row| user_at(row, 0))
            .await
    }

    pub(crate) async fn delete_user(
        &self,
        id: &str,
        unix: u64,
    ) -> Result<Option<RemovedUser>, StoreError> {
        let sql = removed_user("delete_user($1, $3, $2)");
        let now = unique_time(unix);
        let parameters: Parameters<'_> = &[&Text(id), &now, &DELETED_USER_NAME];
        self.removed(&sql, parameters).await
    }

    async fn removed(
        &self,
        sql: &str,
        parameters: Parameters<'_>,
    ) -> Result<Option<RemovedUser>, StoreError> {
        self.query_opt(LONG_WRITE, sql, parameters, |row| {
            let invites: i64 = row.try_get(USER_COLUMN_COUNT)?;
            Ok(RemovedUser {
                user: user_at(row, 0)?,
                invites: usize::try_from(invites).unwrap_or(0),
            })
        })
        .await
    }
}

/// A statement that returns the account and the number of invites of a function's result.
fn removed_user(function: &str) -> String {
    let columns = USER_COLUMNS.replace("u.", "(result.account).");
    format!("SELECT {columns}, result.revoked FROM {function} result")
}
