//! What an admin takes away: accounts disabled and deleted, rooms deleted. What is gone for good
//! leaves its id behind, so that a token or a credential that is still around opens nothing.

use rusqlite::Connection;

use super::{ClosedRoom, RemovedUser, Store, StoreError, User, invites, rooms, users, utc};

/// What a deleted user is called by those who read their messages.
const DELETED_USER_NAME: &str = "Deleted user";

/// All that people wrote in a room or were given for it, and what the room was called.
const DELETE_ROOM_CONTENT: [&str; 4] = [
    "DELETE FROM room_messages WHERE room_id = ?1",
    "DELETE FROM room_invites WHERE room_id = ?1",
    "DELETE FROM room_bans WHERE room_id = ?1",
    "UPDATE coworking_rooms SET name = id WHERE id = ?1",
];

impl Store {
    /// Keeps a user out, ends their tokens and takes back the invites that they made, which would let
    /// them in again as a guest. Their memberships stay for the day on which they are enabled. `None` where there is
    /// no such user, or no more.
    pub async fn disable_user(
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
                users::end_tokens(connection, &id, unix)?;
            }
            Ok(Ok(removed(connection, &id, unix)?))
        })
        .await
    }

    /// Lets a disabled user in again. `None` where there is no such user, or no more.
    pub async fn enable_user(&self, id: &str) -> Result<Option<User>, StoreError> {
        let id = id.to_owned();
        self.write_without_timeout(move |connection| {
            connection
                .prepare_cached(
                    "UPDATE users SET disabled_at = NULL WHERE id = ?1 AND deleted_at IS NULL",
                )?
                .execute([&id])?;
            Ok(Ok(living(connection, &id)?))
        })
        .await
    }

    /// Deletes a user: what they are called, their password, memberships and invites. The id stays
    /// refused, and what they wrote stays in its rooms. `None` where there is no such user, or no
    /// more.
    pub async fn delete_user(
        &self,
        id: &str,
        unix: u64,
    ) -> Result<Option<RemovedUser>, StoreError> {
        let id = id.to_owned();
        self.write_without_timeout(move |connection| {
            let Some(removed) = removed(connection, &id, unix)? else {
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
                    "UPDATE room_participants SET left_at = ?2
                     WHERE user_id = ?1 AND left_at IS NULL",
                )?
                .execute((&id, &now))?;
            Ok(Ok(Some(removed)))
        })
        .await
    }

    /// Closes a room, and erases what it was called and everything in it. The id stays closed.
    /// `None` where there is no such room.
    pub async fn delete_room(&self, id: &str, unix: u64) -> Result<Option<ClosedRoom>, StoreError> {
        let id = id.to_owned();
        self.write_without_timeout(move |connection| {
            let closed = rooms::close(connection, &id, unix)?;
            for erase in DELETE_ROOM_CONTENT {
                connection.prepare_cached(erase)?.execute([&id])?;
            }
            Ok(Ok(closed))
        })
        .await
    }
}

fn living(connection: &Connection, id: &str) -> rusqlite::Result<Option<User>> {
    Ok(users::by_id(connection, id)?.filter(|user| !user.deleted))
}

/// The user as they are now, without the invites that they made.
fn removed(connection: &Connection, id: &str, unix: u64) -> rusqlite::Result<Option<RemovedUser>> {
    let Some(user) = living(connection, id)? else {
        return Ok(None);
    };
    let invites = invites::revoke_all_of(connection, id, unix)?;
    Ok(Some(RemovedUser { user, invites }))
}
