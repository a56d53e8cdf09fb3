//! The preview of a room before a user enters it.

use super::call::{Parameters, READ, Text, time};
use super::database::Database;
use crate::storage::invite_text::hash;
use crate::storage::rows::{Columns, ROOM_COLUMNS, room_at};
use crate::storage::{JoinError, Preview};

impl Database {
    pub(crate) async fn preview(
        &self,
        room_id: &str,
        user_id: Option<&str>,
        invite: Option<&str>,
        unix: u64,
    ) -> Result<Preview, JoinError> {
        /// The number of columns before the room's columns.
        const LEADING_COLUMNS: usize = 10;
        let sql = format!(
            "SELECT i.id IS NOT NULL, i.revoked_at IS NOT NULL, i.uses_left = 0,
                    b.user_id IS NOT NULL, b.expires_at,
                    CASE WHEN p.left_at IS NOT NULL AND p.kicked_until > $4 THEN p.kicked_until END,
                    p.user_id IS NOT NULL AND p.left_at IS NULL,
                    r.max_participants <= active_members(r.id, $4),
                    r.id IS NOT NULL,
                    r.locked_at IS NOT NULL AND NOT (p.user_id IS NOT NULL AND p.left_at IS NULL)
                        AND coalesce(r.owner_id <> requested.user_id, true)
                        AND NOT EXISTS (SELECT 1 FROM users WHERE id = requested.user_id AND is_admin)
                        AND NOT EXISTS (SELECT 1 FROM room_moderators m
                                        WHERE m.room_id = r.id AND m.user_id = requested.user_id),
                    {ROOM_COLUMNS}
             FROM (SELECT $1::text AS room_id, $2::text AS user_id, $3::bytea AS hash) requested
             LEFT JOIN coworking_rooms r ON r.id = requested.room_id
             LEFT JOIN room_invites i ON i.hash = requested.hash
                  AND i.room_id = requested.room_id AND i.expires_at > $4
             LEFT JOIN room_participants p ON p.room_id = r.id AND p.user_id = requested.user_id
             LEFT JOIN room_bans b ON b.room_id = r.id AND b.user_id = requested.user_id
                  AND (b.expires_at IS NULL OR b.expires_at > $4)"
        );
        let hash = invite.map(hash);
        let parameters: Parameters<'_> = &[&Text(room_id), &user_id.map(Text), &hash, &time(unix)];
        self.query_one(READ, &sql, parameters, |row| {
            if invite.is_some() {
                let (known, revoked): (bool, bool) = (row.try_get(0)?, row.try_get(1)?);
                let used_up: Option<bool> = row.try_get(2)?;
                if known && revoked {
                    return Ok(Err(JoinError::InviteRevoked));
                }
                if !known || used_up == Some(true) {
                    return Ok(Err(JoinError::BadInvite));
                }
            }
            if !row.try_get::<_, bool>(8)? {
                return Ok(Err(JoinError::NoSuchRoom));
            }
            let room = room_at(row, LEADING_COLUMNS)?;
            if room.closed_at.is_some() {
                return Ok(Err(JoinError::RoomClosed));
            }
            if row.try_get(3)? {
                let until = row.optional_time(4)?;
                return Ok(Err(JoinError::Banned { until }));
            }
            if let Some(until) = row.optional_time(5)? {
                let wait = until.saturating_sub(unix);
                return Ok(Err(JoinError::Kicked { wait }));
            }
            let is_member: bool = row.try_get(6)?;
            let is_full: Option<bool> = row.try_get(7)?;
            let full = is_full == Some(true) && !is_member;
            let locked = row.try_get(9)?;
            Ok(Ok(Preview { room, full, locked }))
        })
        .await?
    }
}
