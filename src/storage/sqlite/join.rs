//! Decides whether a user may join or connect to a room.

use std::sync::LazyLock;

use rusqlite::Connection;

use super::database::Database;
use super::invites::{InviteUse, use_invite};
use super::lookup::{active, is_full};
use crate::storage::rows::{ROOM_COLUMNS, USER_COLUMNS, admission};
use crate::storage::utc;
use crate::storage::{Admission, JoinError, JoinGrant, Joined, Removal, StoreError};

/// The query of an admission: by room, user and time.
static ADMISSION: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT u.id IS NOT NULL, r.id IS NOT NULL, p.user_id IS NOT NULL,
                p.user_id IS NOT NULL AND p.left_at IS NULL,
                iif(p.kicked_until > ?3, p.kicked_until, NULL),
                b.user_id IS NOT NULL, b.expires_at, ifnull(p.generation, 0),
                m.user_id IS NOT NULL,
                {USER_COLUMNS}, {ROOM_COLUMNS}
         FROM (SELECT ?1 AS room_id, ?2 AS user_id) requested
         LEFT JOIN users u ON u.id = requested.user_id
         LEFT JOIN coworking_rooms r ON r.id = requested.room_id
         LEFT JOIN room_participants p ON p.room_id = r.id AND p.user_id = u.id
         LEFT JOIN room_bans b ON b.room_id = r.id AND b.user_id = u.id
              AND (b.expires_at IS NULL OR b.expires_at > ?3)
         LEFT JOIN room_moderators m ON m.room_id = r.id AND m.user_id = u.id"
    )
});

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
        let (room_id, user_id) = (room_id.to_owned(), user_id.to_owned());
        self.read(move |connection| {
            find_admission(connection, &room_id, &user_id, &utc::format(unix))
        })
        .await
    }
}

fn find_admission(
    connection: &Connection,
    room_id: &str,
    user_id: &str,
    now: &str,
) -> rusqlite::Result<Admission> {
    connection
        .prepare_cached(&ADMISSION)?
        .query_row((room_id, user_id, now), |row| admission(row))
}

fn join(
    connection: &Connection,
    room_id: &str,
    user_id: &str,
    grant: &JoinGrant,
    unix: u64,
) -> rusqlite::Result<Result<Joined, JoinError>> {
    let now = utc::format(unix);
    let mut found = find_admission(connection, room_id, user_id, &now)?;
    let user = match active(found.user.take(), unix) {
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
    let Some(room) = found.room.take() else {
        return Ok(Err(match grant {
            // The same error as for a private room without a valid invite.
            JoinGrant::Invite(_) => JoinError::BadInvite,
            _ => JoinError::NoSuchRoom,
        }));
    };
    if let Some(refusal) = found
        .removal
        .and_then(|removal| refusal(removal, grant, unix))
    {
        return Ok(Err(refusal));
    }
    let open = room.closed_at.is_none();
    let generation = found.generation;
    if open && found.participant {
        return Ok(Ok(Joined { room, generation }));
    }
    let is_manager = found.moderator || room.owner_id.as_ref() == Some(&user.id);
    // Before errors that would reveal that the room exists.
    if room.private
        && user.guest.is_none()
        && !is_manager
        && let Some(refusal) =
            check_private_room(connection, &room.id, found.ever_member, grant, unix)?
    {
        return Ok(Err(refusal));
    }
    if !open {
        return Ok(Err(JoinError::RoomClosed));
    }
    let has_key =
        is_manager || user.admin || matches!(grant, JoinGrant::Admin | JoinGrant::Operator);
    if room.locked && !has_key {
        return Ok(Err(JoinError::RoomLocked));
    }
    if is_full(connection, &room, unix)? {
        return Ok(Err(JoinError::RoomFull));
    }
    // A join leaves the generation as it is, and a new row has 0: no RETURNING, which costs more than
    // a query.
    connection
        .prepare_cached(
            "INSERT INTO room_participants (room_id, user_id, joined_at) VALUES (?1, ?2, ?3)
             ON CONFLICT DO UPDATE SET joined_at = excluded.joined_at, left_at = NULL,
                 kicked_until = NULL",
        )?
        .execute((room_id, user_id, now))?;
    Ok(Ok(Joined { room, generation }))
}

/// Returns the error for a kicked or banned user. An operator may add a kicked one.
fn refusal(removal: Removal, grant: &JoinGrant, unix: u64) -> Option<JoinError> {
    match removal {
        Removal::Banned { until } => Some(JoinError::Banned { until }),
        Removal::Kicked { .. } if *grant == JoinGrant::Operator => None,
        Removal::Kicked { until } => Some(JoinError::Kicked {
            wait: until.saturating_sub(unix),
        }),
    }
}

/// Checks whether somebody else than the owner and moderators may enter a private room. An invite is used up only if it is needed. Users
/// who never were in the room get the error of a room that does not exist.
fn check_private_room(
    connection: &Connection,
    room_id: &str,
    ever_member: bool,
    grant: &JoinGrant,
    unix: u64,
) -> rusqlite::Result<Option<JoinError>> {
    Ok(match grant {
        JoinGrant::Token | JoinGrant::Admin | JoinGrant::Operator => None,
        JoinGrant::None if ever_member => Some(JoinError::NotInvited),
        JoinGrant::None => Some(JoinError::NoSuchRoom),
        JoinGrant::Invite(text) => match use_invite(connection, Some(room_id), text, unix)? {
            InviteUse::Accepted { .. } => None,
            InviteUse::Revoked => Some(JoinError::InviteRevoked),
            InviteUse::Invalid => Some(JoinError::BadInvite),
        },
    })
}
