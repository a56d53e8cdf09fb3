//! Decides whether a user may join or connect to a room.

use super::call::{Parameters, READ, REPEATABLE_WRITE, Text, WRITE, time};
use super::database::Database;
use super::rows::ROOM_OF_RESULT;
use crate::storage::invite_text::hash;
use crate::storage::rows::{Columns, ROOM_COLUMNS, USER_COLUMNS, admission, room_at};
use crate::storage::{Admission, JoinError, JoinGrant, Joined, StoreError};

impl Database {
    pub(crate) async fn join(
        &self,
        room_id: &str,
        user_id: &str,
        grant: JoinGrant,
        unix: u64,
    ) -> Result<Joined, JoinError> {
        let (kind, invite) = match &grant {
            JoinGrant::None => ("none", None),
            JoinGrant::Token => ("token", None),
            JoinGrant::Admin => ("admin", None),
            JoinGrant::Operator => ("operator", None),
            JoinGrant::Invite(text) => ("invite", Some(hash(text))),
        };
        let sql = format!(
            "SELECT result.outcome, result.until, result.membership, {ROOM_OF_RESULT}
             FROM join_room($1, $2, $3, $4, $5) result"
        );
        let parameters: Parameters<'_> =
            &[&Text(room_id), &Text(user_id), &kind, &invite, &time(unix)];
        // Twice, it would use up an invite twice.
        let call = match grant {
            JoinGrant::Invite(_) => WRITE,
            _ => REPEATABLE_WRITE,
        };
        let joined = self
            .query_one(call, &sql, parameters, |row| {
                let outcome: String = row.try_get(0)?;
                if outcome == "done" {
                    return Ok(Ok(Joined {
                        room: room_at(row, 3)?,
                        generation: row.generation(2)?,
                    }));
                }
                Ok(Err((outcome, row.optional_time(1)?)))
            })
            .await?;
        joined.map_err(|(outcome, until)| match outcome.as_str() {
            "banned" => JoinError::Banned { until },
            "kicked" => JoinError::Kicked {
                wait: until.unwrap_or(unix).saturating_sub(unix),
            },
            outcome => self.join_error(outcome),
        })
    }

    /// The error for an outcome of a function that does not depend on a time.
    pub(super) fn join_error(&self, outcome: &str) -> JoinError {
        match outcome {
            "no-such-room" => JoinError::NoSuchRoom,
            "room-closed" => JoinError::RoomClosed,
            "room-locked" => JoinError::RoomLocked,
            "room-full" => JoinError::RoomFull,
            "not-invited" => JoinError::NotInvited,
            "bad-invite" => JoinError::BadInvite,
            "revoked" => JoinError::InviteRevoked,
            "guest-elsewhere" => JoinError::GuestElsewhere,
            "guest-expired" => JoinError::GuestExpired,
            "no-such-user" => JoinError::NoSuchUser,
            "user-disabled" => JoinError::UserDisabled,
            unknown => self.unknown_outcome(unknown).into(),
        }
    }

    pub(super) fn unknown_outcome(&self, outcome: &str) -> StoreError {
        self.server()
            .failed(format!("a function returned the outcome `{outcome}`"))
    }

    pub(crate) async fn admission(
        &self,
        room_id: &str,
        user_id: &str,
        unix: u64,
    ) -> Result<Admission, StoreError> {
        let sql = format!(
            "SELECT u.id IS NOT NULL, r.id IS NOT NULL, p.user_id IS NOT NULL,
                    p.user_id IS NOT NULL AND p.left_at IS NULL,
                    CASE WHEN p.kicked_until > $3 THEN p.kicked_until END,
                    b.user_id IS NOT NULL, b.expires_at, coalesce(p.generation, 0),
                m.user_id IS NOT NULL,
                    {USER_COLUMNS}, {ROOM_COLUMNS}
             FROM (SELECT $1::text AS room_id, $2::text AS user_id) requested
             LEFT JOIN users u ON u.id = requested.user_id
             LEFT JOIN coworking_rooms r ON r.id = requested.room_id
             LEFT JOIN room_participants p ON p.room_id = r.id AND p.user_id = u.id
             LEFT JOIN room_bans b ON b.room_id = r.id AND b.user_id = u.id
                  AND (b.expires_at IS NULL OR b.expires_at > $3)
             LEFT JOIN room_moderators m ON m.room_id = r.id AND m.user_id = u.id"
        );
        let parameters: Parameters<'_> = &[&Text(room_id), &Text(user_id), &time(unix)];
        self.query_one(READ, &sql, parameters, admission).await
    }
}
