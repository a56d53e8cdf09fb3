//! Ends and deletes expired guests, invites, bans and audit entries.

use super::database::Database;
use crate::storage::limits::{
    AUDIT_RETENTION_SECONDS, MAX_AUDIT_ENTRIES, REVOKED_RETENTION_SECONDS,
};
use crate::storage::rows::ended_guest;
use crate::storage::utc;
use crate::storage::{EndedMembership, StoreError};

const DELETE_EXPIRED: [&str; 5] = [
    "DELETE FROM room_invites WHERE expires_at < ?1",
    "DELETE FROM room_bans WHERE expires_at < ?1",
    "DELETE FROM room_bans WHERE user_id IN (SELECT id FROM users WHERE guest_until < ?1)",
    "DELETE FROM room_participants
     WHERE user_id IN (SELECT id FROM users WHERE guest_until < ?1)",
    "DELETE FROM users WHERE guest_until < ?1
       AND NOT EXISTS (SELECT 1 FROM room_messages WHERE user_id = users.id)",
];

/// Deletes the oldest audit entries of rooms with too many, by time and number. It reads only rooms with an entry since
/// then: the others had too many before.
pub(super) const DELETE_EXCESS_AUDIT: &str = "
    DELETE FROM room_audit WHERE id IN (
        SELECT id FROM (
            SELECT id, row_number() OVER (
                PARTITION BY room_id, action = 'delete-message' ORDER BY id DESC) AS number
            FROM room_audit WHERE room_id IN (
                SELECT room_id FROM (
                    SELECT DISTINCT room_id FROM room_audit INDEXED BY audit_by_time WHERE at >= ?1) recent
                WHERE (SELECT count(*) FROM room_audit e WHERE e.room_id = recent.room_id) > ?2))
        WHERE number > ?2)";

impl Database {
    pub(crate) async fn guest_memberships(&self) -> Result<Vec<(String, String)>, StoreError> {
        self.read(move |connection| {
            connection
                .prepare_cached(
                    "SELECT p.user_id, p.room_id FROM room_participants p
                     JOIN users u ON u.id = p.user_id
                     WHERE p.left_at IS NULL AND u.guest_until IS NOT NULL",
                )?
                .query_map((), |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        })
        .await
    }

    pub(crate) async fn end_expired_guests(
        &self,
        unix: u64,
    ) -> Result<Vec<EndedMembership>, StoreError> {
        let now = utc::format(unix);
        self.write_without_timeout(move |connection| {
            let mut statement = connection.prepare_cached(
                "UPDATE room_participants SET left_at = ?1, generation = generation + 1
                 WHERE left_at IS NULL
                   AND user_id IN (SELECT id FROM users WHERE guest_until <= ?1)
                 RETURNING user_id, room_id, generation",
            )?;
            let ended = statement.query_map([&now], |row| ended_guest(row))?;
            Ok(Ok(ended.collect::<rusqlite::Result<_>>()?))
        })
        .await
    }

    pub(crate) async fn delete_expired(&self, unix: u64) -> Result<(), StoreError> {
        let before = utc::format(unix);
        let revoked_before = utc::format(unix.saturating_sub(REVOKED_RETENTION_SECONDS));
        let audited_before = utc::format(unix.saturating_sub(AUDIT_RETENTION_SECONDS));
        self.write_without_timeout(move |connection| {
            for forget in DELETE_EXPIRED {
                connection.prepare_cached(forget)?.execute([&before])?;
            }
            connection
                .prepare_cached("DELETE FROM room_invites WHERE revoked_at < ?1")?
                .execute([&revoked_before])?;
            connection
                .prepare_cached("DELETE FROM room_audit WHERE at < ?1")?
                .execute([&audited_before])?;
            connection
                .prepare_cached(DELETE_EXCESS_AUDIT)?
                .execute((&before, MAX_AUDIT_ENTRIES))?;
            Ok(Ok(()))
        })
        .await
    }
}
