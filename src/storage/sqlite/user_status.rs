//! Disables, enables and deletes users. A deleted user leaves the id behind, so that an old token or
//! credential grants nothing.

use rusqlite::Connection;

use super::database::Database;
use super::invites;
use super::lookup::user_by_id;
use super::users::end_tokens;
use crate::storage::limits::DELETED_USER_NAME;
use crate::storage::utc;
use crate::storage::{RemovedUser, StoreError, User};

impl Database {
    pub(crate) async fn disable_user(
        &self,
        id: &str,
        unix: u64,
    ) -> Result<Option<RemovedUser>, StoreError> {
        let id = id.to_owned();
        self.write_without_timeout(move |connection| {
            let disabled = connection
                .prepare_cached(
                    "UPDATE users SET disabled_at = ?2
                     WHERE id = ?1 AND disabled_at IS NULL AND deleted_at IS NULL",
                )?
                .execute((&id, utc::format(unix)))?;
            if disabled > 0 {
                end_tokens(connection, &id, unix)?;
            }
            Ok(Ok(revoke_invites(connection, &id, unix)?))
        })
        .await
    }

    pub(crate) async fn enable_user(&self, id: &str) -> Result<Option<User>, StoreError> {
        let id = id.to_owned();
        self.write_without_timeout(move |connection| {
            connection
                .prepare_cached(
                    "UPDATE users SET disabled_at = NULL WHERE id = ?1 AND deleted_at IS NULL",
                )?
                .execute([&id])?;
            Ok(Ok(find_undeleted(connection, &id)?))
        })
        .await
    }

    pub(crate) async fn delete_user(
        &self,
        id: &str,
        unix: u64,
    ) -> Result<Option<RemovedUser>, StoreError> {
        let id = id.to_owned();
        self.write_without_timeout(move |connection| {
            let Some(removed) = revoke_invites(connection, &id, unix)? else {
                return Ok(Ok(None));
            };
            let now = utc::format(unix);
            connection
                .prepare_cached(
                    "UPDATE users SET deleted_at = ?2, name = id, display_name = ?3,
                                      password_hash = NULL, is_admin = 0
                     WHERE id = ?1",
                )?
                .execute((&id, &now, DELETED_USER_NAME))?;
            connection
                .prepare_cached(
                    "UPDATE room_participants SET left_at = ?2, generation = generation + 1
                     WHERE user_id = ?1 AND left_at IS NULL",
                )?
                .execute((&id, &now))?;
            connection
                .prepare_cached("DELETE FROM room_moderators WHERE user_id = ?1")?
                .execute([&id])?;
            Ok(Ok(Some(removed)))
        })
        .await
    }
}

fn find_undeleted(connection: &Connection, id: &str) -> rusqlite::Result<Option<User>> {
    Ok(user_by_id(connection, id)?.filter(|user| !user.deleted))
}

/// Revokes the invites of a user and returns the user.
fn revoke_invites(
    connection: &Connection,
    id: &str,
    unix: u64,
) -> rusqlite::Result<Option<RemovedUser>> {
    let Some(user) = find_undeleted(connection, id)? else {
        return Ok(None);
    };
    let invites = invites::revoke_all_of(connection, id, unix)?;
    Ok(Some(RemovedUser { user, invites }))
}
