//! Locks, roles and the audit.

use super::call::{Parameters, READ, REPEATABLE_WRITE, Text, WRITE, unique_time};
use super::database::Database;
use super::rows::ROOM_OF_RESULT;
use crate::storage::rows::{audit_entry, room_at};
use crate::storage::{
    AuditEntry, Cause, ChangeError, MAX_OWNED_ROOMS, RoleChange, RoleError, RoleOutcome, Room,
    StoreError,
};

impl Database {
    pub(crate) async fn add_mute(
        &self,
        room_id: &str,
        user_id: &str,
        cause: Cause,
        unix: u64,
    ) -> Result<(), StoreError> {
        let sql = "SELECT add_audit($1, 'mute', $2, $3, $4, NULL, NULL, $5)";
        let parameters: Parameters<'_> = &[
            &Text(room_id),
            &cause.actor().map(Text),
            &Text(user_id),
            &cause.reason().map(Text),
            &unique_time(unix),
        ];
        let call = REPEATABLE_WRITE.without_doubt();
        self.query(call, sql, parameters, |_| Ok(())).await?;
        Ok(())
    }

    pub(crate) async fn lock_room(
        &self,
        room_id: &str,
        locked: bool,
        cause: Cause,
        unix: u64,
    ) -> Result<Room, ChangeError> {
        let sql = format!(
            "SELECT result.outcome, {ROOM_OF_RESULT} FROM lock_room($1, $2, $3, $4, $5) result"
        );
        let parameters: Parameters<'_> = &[
            &Text(room_id),
            &locked,
            &cause.actor().map(Text),
            &cause.reason().map(Text),
            &unique_time(unix),
        ];
        self.query_one(REPEATABLE_WRITE.without_doubt(), &sql, parameters, |row| {
            let outcome: String = row.try_get(0)?;
            Ok(match outcome.as_str() {
                "done" => Ok(room_at(row, 1)?),
                "no-such-room" => Err(ChangeError::NoSuchRoom),
                _ => Err(ChangeError::RoomClosed),
            })
        })
        .await?
    }

    pub(crate) async fn set_role(
        &self,
        change: RoleChange,
        unix: u64,
    ) -> Result<RoleOutcome, RoleError> {
        let sql = "SELECT outcome, is_changed, former_owner
                   FROM set_role($1, $2, $3, $4, $5, $6, $7, $8)";
        let parameters: Parameters<'_> = &[
            &Text(&change.room_id),
            &Text(&change.user_id),
            &change.role.name(),
            &change.as_owner,
            &change.cause.actor().map(Text),
            &change.cause.reason().map(Text),
            &i64::from(MAX_OWNED_ROOMS),
            &unique_time(unix),
        ];
        // Twice, it would report that nothing has changed.
        let changed = self
            .query_one(WRITE.without_doubt(), sql, parameters, |row| {
                let outcome: String = row.try_get(0)?;
                if outcome != "done" {
                    return Ok(Err(outcome));
                }
                Ok(Ok(RoleOutcome {
                    is_changed: row.try_get(1)?,
                    former_owner: row.try_get(2)?,
                }))
            })
            .await?;
        changed.map_err(|outcome| match outcome.as_str() {
            "no-such-room" => RoleError::NoSuchRoom,
            "room-closed" => RoleError::RoomClosed,
            "not-owner" => RoleError::NotOwner,
            "no-such-user" => RoleError::NoSuchUser,
            "guest" => RoleError::Guest,
            "user-disabled" => RoleError::UserDisabled,
            "banned" => RoleError::Banned,
            "last-owner" => RoleError::LastOwner,
            "too-many-rooms" => RoleError::TooManyRooms(MAX_OWNED_ROOMS),
            unknown => self.unknown_outcome(unknown).into(),
        })
    }

    pub(crate) async fn audit(
        &self,
        room_id: &str,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<AuditEntry>, StoreError> {
        let sql = "SELECT e.id, e.at, e.action, e.actor_id, a.display_name, e.target_id,
                          t.display_name, e.reason, e.until, e.value
                   FROM room_audit e
                   LEFT JOIN users a ON a.id = e.actor_id
                   LEFT JOIN users t ON t.id = e.target_id
                   WHERE e.room_id = $1 AND e.id < $2 ORDER BY e.id DESC LIMIT $3";
        let before = before.unwrap_or(i64::MAX);
        let parameters: Parameters<'_> = &[&Text(room_id), &before, &i64::from(limit)];
        self.query(READ, sql, parameters, audit_entry).await
    }
}
