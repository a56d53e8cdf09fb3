//! Ends and deletes expired guests, invites, bans and audit entries.

use super::call::{LONG_READ, LONG_WRITE, Parameters, time};
use super::database::Database;
use crate::storage::limits::{
    AUDIT_RETENTION_SECONDS, MAX_AUDIT_ENTRIES, REVOKED_RETENTION_SECONDS,
};
use crate::storage::rows::ended_guest;
use crate::storage::{EndedMembership, StoreError};

/// Maximum number of guests that one statement deletes, so that those of a long time do not exceed its timeout.
const MAX_DELETED_GUESTS: i64 = 1000;

/// Deletes the audit entries from before a time.
pub(super) const DELETE_OLD_AUDIT: &str = "DELETE FROM room_audit WHERE at < $1";

/// Deletes the oldest audit entries of rooms with too many, by time and number. It reads only rooms with an entry since
/// then: the others had too many before.
pub(super) const DELETE_EXCESS_AUDIT: &str = "
    DELETE FROM room_audit WHERE id = ANY (ARRAY (
        SELECT entry.id FROM (SELECT DISTINCT room_id FROM room_audit WHERE at >= $1) recent
        CROSS JOIN LATERAL (
            SELECT id, row_number() OVER (PARTITION BY action = 'delete-message' ORDER BY id DESC) AS number
            FROM room_audit WHERE room_id = recent.room_id) entry
        WHERE entry.number > $2))";

impl Database {
    pub(crate) async fn guest_memberships(&self) -> Result<Vec<(String, String)>, StoreError> {
        let sql = "SELECT p.user_id, p.room_id FROM room_participants p
                   JOIN users u ON u.id = p.user_id
                   WHERE p.left_at IS NULL AND u.guest_until IS NOT NULL";
        self.query(LONG_READ, sql, &[], |row| {
            Ok((row.try_get(0)?, row.try_get(1)?))
        })
        .await
    }

    pub(crate) async fn end_expired_guests(
        &self,
        unix: u64,
    ) -> Result<Vec<EndedMembership>, StoreError> {
        let sql = "UPDATE room_participants SET left_at = $1
                   WHERE (room_id, user_id) IN (
                       SELECT room_id, user_id FROM room_participants
                       WHERE left_at IS NULL
                         AND user_id IN (SELECT id FROM users WHERE guest_until <= $1)
                       ORDER BY room_id, user_id FOR NO KEY UPDATE)
                   RETURNING user_id, room_id, generation";
        self.query(LONG_WRITE, sql, &[&time(unix)], ended_guest)
            .await
    }

    pub(crate) async fn delete_expired(&self, unix: u64) -> Result<(), StoreError> {
        let revoked_before = time(unix.saturating_sub(REVOKED_RETENTION_SECONDS));
        let parameters: Parameters<'_> = &[&time(unix), &revoked_before, &MAX_DELETED_GUESTS];
        let sql = "SELECT delete_expired($1, $2, $3)";
        while self
            .query_one(LONG_WRITE, sql, parameters, |row| row.try_get(0))
            .await?
        {}
        let call = LONG_WRITE.without_doubt();
        let before = time(unix.saturating_sub(AUDIT_RETENTION_SECONDS));
        self.query(call, DELETE_OLD_AUDIT, &[&before], |_| Ok(()))
            .await?;
        let parameters: Parameters<'_> = &[&time(unix), &i64::from(MAX_AUDIT_ENTRIES)];
        self.query(call, DELETE_EXCESS_AUDIT, parameters, |_| Ok(()))
            .await?;
        Ok(())
    }
}
