//! Lookups that several operations share: users, rooms, memberships, kicks and bans.

use rusqlite::{Connection, OptionalExtension};

use crate::storage::rows::{Columns, ROOM_COLUMNS, USER_COLUMNS, room_at, user_at};
use crate::storage::utc;
use crate::storage::{JoinError, Removal, Room, User};

pub(super) fn user_by_id(connection: &Connection, id: &str) -> rusqlite::Result<Option<User>> {
    connection
        .prepare_cached(&format!("SELECT {USER_COLUMNS} FROM users u WHERE id = ?1"))?
        .query_row([id], |row| user_at(row, 0))
        .optional()
}

pub(super) fn room_by_id(connection: &Connection, id: &str) -> rusqlite::Result<Option<Room>> {
    connection
        .prepare_cached(&format!(
            "SELECT {ROOM_COLUMNS} FROM coworking_rooms r WHERE id = ?1"
        ))?
        .query_row([id], |row| room_at(row, 0))
        .optional()
}

pub(super) fn active_user(
    connection: &Connection,
    user_id: &str,
    unix: u64,
) -> rusqlite::Result<Result<User, JoinError>> {
    Ok(active(user_by_id(connection, user_id)?, unix))
}

/// Rejects an unknown user and one who must not join at `unix`.
pub(super) fn active(user: Option<User>, unix: u64) -> Result<User, JoinError> {
    match user {
        None => Err(JoinError::NoSuchUser),
        Some(user) if user.deleted => Err(JoinError::NoSuchUser),
        Some(user) if user.disabled => Err(JoinError::UserDisabled),
        Some(user) if !user.is_active(unix) => Err(JoinError::GuestExpired),
        Some(user) => Ok(user),
    }
}

pub(super) fn is_member(
    connection: &Connection,
    room_id: &str,
    user_id: &str,
) -> rusqlite::Result<bool> {
    let left: Option<bool> = connection
        .prepare_cached(
            "SELECT left_at IS NULL FROM room_participants WHERE room_id = ?1 AND user_id = ?2",
        )?
        .query_row((room_id, user_id), |row| row.get(0))
        .optional()?;
    Ok(left == Some(true))
}

pub(super) fn is_member_anywhere(connection: &Connection, user_id: &str) -> rusqlite::Result<bool> {
    connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM room_participants
                            WHERE user_id = ?1 AND left_at IS NULL)",
        )?
        .query_row([user_id], |row| row.get(0))
}

/// Members of `?1` at `?2` who count: no expired guests, and no disabled users, whose membership is kept
/// until they are enabled.
pub(super) const ACTIVE_MEMBERS: &str = "room_participants p JOIN users u ON u.id = p.user_id
    WHERE p.room_id = ?1 AND p.left_at IS NULL AND u.disabled_at IS NULL
      AND (u.guest_until IS NULL OR u.guest_until > ?2)";

pub(super) fn is_full(connection: &Connection, room: &Room, unix: u64) -> rusqlite::Result<bool> {
    let Some(capacity) = room.max_participants else {
        return Ok(false);
    };
    let present: u32 = connection
        .prepare_cached(&format!("SELECT count(*) FROM {ACTIVE_MEMBERS}"))?
        .query_row((&room.id, utc::format(unix)), |row| row.get(0))?;
    Ok(present >= capacity)
}

/// Returns the kick or ban that is in force for a user at `unix`, if any.
pub(super) fn removal(
    connection: &Connection,
    room_id: &str,
    user_id: &str,
    unix: u64,
) -> rusqlite::Result<Option<Removal>> {
    let parameters = (room_id, user_id, utc::format(unix));
    let ban = connection
        .prepare_cached(
            "SELECT expires_at FROM room_bans
             WHERE room_id = ?1 AND user_id = ?2 AND (expires_at IS NULL OR expires_at > ?3)",
        )?
        .query_row(parameters.clone(), |row| row.optional_time(0))
        .optional()?;
    if let Some(until) = ban {
        return Ok(Some(Removal::Banned { until }));
    }
    connection
        .prepare_cached(
            "SELECT kicked_until FROM room_participants
             WHERE room_id = ?1 AND user_id = ?2 AND left_at IS NOT NULL AND kicked_until > ?3",
        )?
        .query_row(parameters, |row| {
            let until = row.time(0)?;
            Ok(Removal::Kicked { until })
        })
        .optional()
}
