//! Decides whether a user may join or connect to a room.

use rusqlite::{Connection, OptionalExtension};

use super::database::Database;
use super::invites::{InviteUse, use_invite};
use super::lookup::{active_user, is_full, last_generation, removal, room_by_id};
use crate::storage::rows::{Columns, ROOM_COLUMNS, USER_COLUMNS, admission};
use crate::storage::utc;
use crate::storage::{Admission, JoinError, JoinGrant, Joined, Removal, Room, StoreError, User};

impl Database {
    pub(crate) async fn join(
        &self,
        room_id: &str,
        user_id: &str,
        grant: JoinGrant,
        unix: u64,
    ) -> Result<Joined, JoinError> {
        let (room_id, user_id) = (room_id.to_owned(), user_id.to_owned());
        self.write(move |connection| join(connection, &room_id, &user_id, &grant, unix))
            .await
    }

    pub(crate) async fn admission(
        &self,
        room_id: &str,
        user_id: &str,
        unix: u64,
    ) -> Result<Admission, StoreError> {
        let parameters = (room_id.to_owned(), user_id.to_owned(), utc::format(unix));
        let sql = format!(
            "SELECT u.id IS NOT NULL, r.id IS NOT NULL, p.user_id IS NOT NULL,
                    p.user_id IS NOT NULL AND p.left_at IS NULL,
                    iif(p.kicked_until > ?3, p.kicked_until, NULL),
                    b.user_id IS NOT NULL, b.expires_at, ifnull(p.generation, 0),
                    {USER_COLUMNS}, {ROOM_COLUMNS}
             FROM (SELECT ?1 AS room_id, ?2 AS user_id) requested
             LEFT JOIN users u ON u.id = requested.user_id
             LEFT JOIN coworking_rooms r ON r.id = requested.room_id
             LEFT JOIN room_participants p ON p.room_id = r.id AND p.user_id = u.id
             LEFT JOIN room_bans b ON b.room_id = r.id AND b.user_id = u.id
                  AND (b.expires_at IS NULL OR b.expires_at > ?3)"
        );
        self.read(move |connection| {
            connection
                .prepare_cached(&sql)?
                .query_row(parameters, |row| admission(row))
        })
        .await
    }
}

fn join(
    connection: &Connection,
    room_id: &str,
    user_id: &str,
    grant: &JoinGrant,
    unix: u64,
) -> rusqlite::Result<Result<Joined, JoinError>> {
    let user = match active_user(connection, user_id, unix)? {
        Ok(user) => user,
        Err(refusal) => return Ok(Err(refusal)),
    };
    // First: hides other rooms from a guest.
    if user
        .guest
        .as_ref()
        .is_some_and(|guest| guest.room_id != room_id)
    {
        return Ok(Err(JoinError::GuestElsewhere));
    }
    let Some(room) = room_by_id(connection, room_id)? else {
        return Ok(Err(match grant {
            // The same error as for a private room without a valid invite.
            JoinGrant::Invite(_) => JoinError::BadInvite,
            _ => JoinError::NoSuchRoom,
        }));
    };
    if let Some(refusal) = check_removal(connection, &room, &user, grant, unix)? {
        return Ok(Err(refusal));
    }
    let open = room.closed_at.is_none();
    if open && let Some(generation) = membership(connection, room_id, user_id)? {
        return Ok(Ok(Joined { room, generation }));
    }
    // Before errors that would reveal that the room exists.
    if let Some(refusal) = check_private_room(connection, &room, &user, grant, unix)? {
        return Ok(Err(refusal));
    }
    if !open {
        return Ok(Err(JoinError::RoomClosed));
    }
    if is_full(connection, &room, unix)? {
        return Ok(Err(JoinError::RoomFull));
    }
    let generation = connection
        .prepare_cached(
            "INSERT INTO room_participants (room_id, user_id, joined_at) VALUES (?1, ?2, ?3)
             ON CONFLICT DO UPDATE SET joined_at = excluded.joined_at, left_at = NULL,
                 kicked_until = NULL
             RETURNING generation",
        )?
        .query_row((room_id, user_id, utc::format(unix)), |row| {
            row.generation(0)
        })?;
    Ok(Ok(Joined { room, generation }))
}

/// Returns the generation of the current membership; `None` if the user is no member.
fn membership(
    connection: &Connection,
    room_id: &str,
    user_id: &str,
) -> rusqlite::Result<Option<u64>> {
    connection
        .prepare_cached(
            "SELECT generation FROM room_participants
             WHERE room_id = ?1 AND user_id = ?2 AND left_at IS NULL",
        )?
        .query_row((room_id, user_id), |row| row.generation(0))
        .optional()
}

/// The ban or kick in force for this user, if any.
fn check_removal(
    connection: &Connection,
    room: &Room,
    user: &User,
    grant: &JoinGrant,
    unix: u64,
) -> rusqlite::Result<Option<JoinError>> {
    Ok(match removal(connection, &room.id, &user.id, unix)? {
        Some(Removal::Banned { until }) => Some(JoinError::Banned { until }),
        Some(Removal::Kicked { .. }) if *grant == JoinGrant::Operator => None,
        Some(Removal::Kicked { until }) => Some(JoinError::Kicked {
            wait: until.saturating_sub(unix),
        }),
        None => None,
    })
}

/// Checks whether the user may enter a private room. An invite is used up only if it is needed. Users
/// who never were in the room get the error of a room that does not exist.
fn check_private_room(
    connection: &Connection,
    room: &Room,
    user: &User,
    grant: &JoinGrant,
    unix: u64,
) -> rusqlite::Result<Option<JoinError>> {
    let open = !room.private || user.guest.is_some() || room.owner_id.as_ref() == Some(&user.id);
    Ok(match grant {
        _ if open => None,
        JoinGrant::Token | JoinGrant::Operator => None,
        JoinGrant::None if last_generation(connection, &room.id, &user.id)?.is_some() => {
            Some(JoinError::NotInvited)
        }
        JoinGrant::None => Some(JoinError::NoSuchRoom),
        JoinGrant::Invite(text) => match use_invite(connection, Some(&room.id), text, unix)? {
            InviteUse::Accepted { .. } => None,
            InviteUse::Revoked => Some(JoinError::InviteRevoked),
            InviteUse::Invalid => Some(JoinError::BadInvite),
        },
    })
}
