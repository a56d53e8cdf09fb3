//! The preview of a room before a user enters it.

use rusqlite::{Connection, OptionalExtension};

use super::database::Database;
use super::lookup::{is_full, is_member, removal, room_by_id};
use crate::storage::invite_text::hash;
use crate::storage::utc;
use crate::storage::{JoinError, Preview, Removal, Room};

impl Database {
    pub(crate) async fn preview(
        &self,
        room_id: &str,
        user_id: Option<&str>,
        invite: Option<&str>,
        unix: u64,
    ) -> Result<Preview, JoinError> {
        let room_id = room_id.to_owned();
        let (user_id, invite) = (user_id.map(str::to_owned), invite.map(str::to_owned));
        self.read(move |connection| {
            let (user_id, invite) = (user_id.as_deref(), invite.as_deref());
            preview(connection, &room_id, user_id, invite, unix)
        })
        .await?
    }
}

fn preview(
    connection: &Connection,
    room_id: &str,
    user_id: Option<&str>,
    invite: Option<&str>,
    unix: u64,
) -> rusqlite::Result<Result<Preview, JoinError>> {
    if let Some(invite) = invite
        && let Some(refusal) = check_invite(connection, room_id, invite, unix)?
    {
        return Ok(Err(refusal));
    }
    let room = match room_by_id(connection, room_id)? {
        None => return Ok(Err(JoinError::NoSuchRoom)),
        Some(room) if room.closed_at.is_some() => return Ok(Err(JoinError::RoomClosed)),
        Some(room) => room,
    };
    let mut full = is_full(connection, &room, unix)?;
    let mut locked = room.locked;
    if let Some(user_id) = user_id {
        match removal(connection, room_id, user_id, unix)? {
            Some(Removal::Banned { until }) => return Ok(Err(JoinError::Banned { until })),
            Some(Removal::Kicked { until }) => {
                let wait = until.saturating_sub(unix);
                return Ok(Err(JoinError::Kicked { wait }));
            }
            None => {}
        }
        let is_member = is_member(connection, room_id, user_id)?;
        full &= !is_member;
        locked = locked && !is_member && !may_unlock(connection, &room, user_id)?;
    }
    Ok(Ok(Preview { room, full, locked }))
}

/// Whether a user enters the room although it is locked: the owner, moderators and admins.
fn may_unlock(connection: &Connection, room: &Room, user_id: &str) -> rusqlite::Result<bool> {
    if room.owner_id.as_deref() == Some(user_id) {
        return Ok(true);
    }
    connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM users WHERE id = ?2 AND is_admin)
                 OR EXISTS (SELECT 1 FROM room_moderators WHERE room_id = ?1 AND user_id = ?2)",
        )?
        .query_row((&room.id, user_id), |row| row.get(0))
}

/// Returns the reason why the invite is not valid for this room now, if any.
fn check_invite(
    connection: &Connection,
    room_id: &str,
    invite: &str,
    unix: u64,
) -> rusqlite::Result<Option<JoinError>> {
    let found: Option<(bool, bool)> = connection
        .prepare_cached(
            "SELECT revoked_at IS NOT NULL, uses_left IS NULL OR uses_left > 0 FROM room_invites
             WHERE hash = ?1 AND room_id = ?2 AND expires_at > ?3",
        )?
        .query_row((hash(invite), room_id, utc::format(unix)), |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    Ok(match found {
        Some((true, _)) => Some(JoinError::InviteRevoked),
        Some((false, true)) => None,
        Some((false, false)) | None => Some(JoinError::BadInvite),
    })
}
