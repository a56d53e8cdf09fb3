//! Kicks and bans: a room rejects users for the cooldown after a kick, for a time or permanently.

use super::call::{Parameters, READ, REPEATABLE_WRITE, Text, WRITE, time, unique_time};
use super::database::Database;
use super::rows::leave_at;
use crate::storage::limits::MAX_REVOKED_INVITES;
use crate::storage::rows::ban;
use crate::storage::{Ban, BanError, BanOutcome, Cause, LeaveOutcome, NewBan, StoreError};

impl Database {
    pub(crate) async fn kick(
        &self,
        room_id: &str,
        user_id: &str,
        until: u64,
        cause: Cause,
        unix: u64,
    ) -> Result<Option<LeaveOutcome>, StoreError> {
        let sql = "SELECT was_member, ever_member, elsewhere, next_generation
                   FROM kick($1, $2, $3, $4, $5, $6)";
        let parameters: Parameters<'_> = &[
            &Text(room_id),
            &Text(user_id),
            &time(until),
            &unique_time(unix),
            &cause.actor().map(Text),
            &cause.reason().map(Text),
        ];
        self.query_opt(WRITE, sql, parameters, |row| leave_at(row, 0))
            .await
    }

    pub(crate) async fn ban(&self, new: NewBan, unix: u64) -> Result<BanOutcome, BanError> {
        new.check(unix)?;
        let sql =
            "SELECT outcome, was_member, ever_member, elsewhere, next_generation, invite, revoked
                   FROM ban($1, $2, $3, $4, $5, $6, $7, $8)";
        let parameters: Parameters<'_> = &[
            &Text(&new.room_id),
            &Text(&new.user_id),
            &new.cause.reason().map(Text),
            &new.until.map(time),
            &new.keep_invite,
            &i64::from(MAX_REVOKED_INVITES),
            &unique_time(unix),
            &new.cause.actor().map(Text),
        ];
        let banned = self
            .query_one(REPEATABLE_WRITE, sql, parameters, |row| {
                let outcome: String = row.try_get(0)?;
                if outcome != "done" {
                    return Ok(Err(outcome));
                }
                Ok(Ok(BanOutcome {
                    left: leave_at(row, 1)?,
                    invite: row.try_get(5)?,
                    revoked: row.try_get(6)?,
                }))
            })
            .await?;
        banned.map_err(|outcome| match outcome.as_str() {
            "no-such-room" => BanError::NoSuchRoom,
            "no-such-user" => BanError::NoSuchUser,
            "guest-elsewhere" => BanError::GuestElsewhere,
            "admin" => BanError::Admin,
            "owner" => BanError::Owner,
            unknown => self.unknown_outcome(unknown).into(),
        })
    }

    pub(crate) async fn unban(
        &self,
        room_id: &str,
        user_id: &str,
        cause: Cause,
        unix: u64,
    ) -> Result<bool, StoreError> {
        let parameters: Parameters<'_> = &[
            &Text(room_id),
            &Text(user_id),
            &cause.actor().map(Text),
            &cause.reason().map(Text),
            &unique_time(unix),
        ];
        let sql = "SELECT unban($1, $2, $3, $4, $5)";
        self.query_one(WRITE, sql, parameters, |row| row.try_get(0))
            .await
    }

    pub(crate) async fn bans(
        &self,
        room_id: &str,
        after: Option<&str>,
        unix: u64,
        limit: u32,
    ) -> Result<Vec<Ban>, StoreError> {
        let sql = "SELECT u.id, u.name, u.display_name, u.guest_until IS NOT NULL,
                          b.reason, b.created_at, b.expires_at, b.created_by
                   FROM room_bans b JOIN users u ON u.id = b.user_id
                   WHERE b.room_id = $1 AND (b.expires_at IS NULL OR b.expires_at > $2)
                     AND ($4::text IS NULL OR EXISTS (
                         SELECT FROM room_bans last WHERE last.room_id = $1 AND last.user_id = $4
                           AND (b.created_at < last.created_at
                                OR b.created_at = last.created_at AND b.user_id > $4)))
                   ORDER BY b.created_at DESC, u.id LIMIT $3";
        let parameters: Parameters<'_> = &[
            &Text(room_id),
            &time(unix),
            &i64::from(limit),
            &after.map(Text),
        ];
        self.query(READ, sql, parameters, ban).await
    }
}
