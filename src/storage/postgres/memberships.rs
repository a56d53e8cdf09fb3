//! Lists and ends memberships. A row whose `left_at` is NULL is a member.

use super::call::{Parameters, READ, REPEATABLE_WRITE, Text, time};
use super::database::Database;
use super::rows::leave_at;
use crate::storage::rows::{ROLE, membership, participant};
use crate::storage::{LeaveOutcome, Membership, Participant, StoreError};

impl Database {
    pub(crate) async fn leave(
        &self,
        room_id: &str,
        user_id: &str,
        unix: u64,
    ) -> Result<LeaveOutcome, StoreError> {
        let sql = "SELECT was_member, ever_member, elsewhere, next_generation
                   FROM leave_room($1, $2, $3)";
        let parameters: Parameters<'_> = &[&Text(room_id), &Text(user_id), &time(unix)];
        self.query_one(REPEATABLE_WRITE, sql, parameters, |row| leave_at(row, 0))
            .await
    }

    pub(crate) async fn participants(
        &self,
        room_id: &str,
        unix: u64,
    ) -> Result<Vec<Participant>, StoreError> {
        let sql = format!(
            "SELECT u.id, u.display_name, p.joined_at, u.guest_until IS NOT NULL, {ROLE}
             FROM room_participants p JOIN users u ON u.id = p.user_id
             WHERE p.room_id = $1 AND p.left_at IS NULL AND u.disabled_at IS NULL
               AND (u.guest_until IS NULL OR u.guest_until > $2)
             ORDER BY p.joined_at, u.id"
        );
        let parameters: Parameters<'_> = &[&Text(room_id), &time(unix)];
        self.query(READ, &sql, parameters, participant).await
    }

    pub(crate) async fn memberships(&self, user_id: &str) -> Result<Vec<Membership>, StoreError> {
        let sql = "SELECT r.id, r.name, p.joined_at
                   FROM room_participants p JOIN coworking_rooms r ON r.id = p.room_id
                   WHERE p.user_id = $1 AND p.left_at IS NULL AND r.closed_at IS NULL
                   ORDER BY r.name";
        self.query(READ, sql, &[&Text(user_id)], membership).await
    }
}
