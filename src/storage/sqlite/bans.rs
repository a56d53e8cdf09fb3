//! Kicks and bans: a room rejects users for the cooldown after a kick, for a time or permanently.

use rusqlite::Connection;

use super::database::Database;
use super::invites;
use super::lookup::{is_member, room_by_id, user_by_id};
use super::memberships::end_membership;
use super::moderation::Audit;
use crate::storage::rows::ban;
use crate::storage::utc;
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
        let (room_id, user_id) = (room_id.to_owned(), user_id.to_owned());
        self.write_without_timeout(move |connection| {
            if !is_member(connection, &room_id, &user_id)? {
                return Ok(Ok(None));
            }
            let left = end_membership(connection, &room_id, &user_id, unix)?;
            connection
                .prepare_cached(
                    "UPDATE room_participants SET kicked_until = ?3
                     WHERE room_id = ?1 AND user_id = ?2",
                )?
                .execute((&room_id, &user_id, utc::format(until)))?;
            let audit = Audit::new("kick", &room_id, &cause).of(&user_id);
            audit.insert(connection, unix)?;
            Ok(Ok(Some(left)))
        })
        .await
    }

    pub(crate) async fn ban(&self, new: NewBan, unix: u64) -> Result<BanOutcome, BanError> {
        self.write_without_timeout(move |connection| {
            if let Some(refusal) = check_ban(connection, &new, unix)? {
                return Ok(Err(refusal));
            }
            connection
                .prepare_cached(
                    "INSERT INTO room_bans (room_id, user_id, reason, created_by, created_at, expires_at)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                     ON CONFLICT DO UPDATE SET reason = excluded.reason,
                         created_by = excluded.created_by, created_at = excluded.created_at,
                         expires_at = excluded.expires_at",
                )?
                .execute((
                    &new.room_id,
                    &new.user_id,
                    new.cause.reason(),
                    new.cause.actor(),
                    utc::format(unix),
                    new.until.map(utc::format),
                ))?;
            let left = end_membership(connection, &new.room_id, &new.user_id, unix)?;
            let guest = user_by_id(connection, &new.user_id)?.and_then(|user| user.guest);
            let invite = guest.and_then(|guest| guest.invite);
            let revoked = match &invite {
                Some(invite) if !new.keep_invite => invites::revoke(connection, invite, unix)?,
                _ => false,
            };
            // A ban ends the role.
            connection
                .prepare_cached("DELETE FROM room_moderators WHERE room_id = ?1 AND user_id = ?2")?
                .execute((&new.room_id, &new.user_id))?;
            let mut audit = Audit::new("ban", &new.room_id, &new.cause).of(&new.user_id);
            audit.until = new.until;
            audit.insert(connection, unix)?;
            Ok(Ok(BanOutcome {
                left,
                invite,
                revoked,
            }))
        })
        .await
    }

    pub(crate) async fn unban(
        &self,
        room_id: &str,
        user_id: &str,
        cause: Cause,
        unix: u64,
    ) -> Result<bool, StoreError> {
        let (room_id, user_id) = (room_id.to_owned(), user_id.to_owned());
        self.write_without_timeout(move |connection| {
            let ended = connection
                .prepare_cached("DELETE FROM room_bans WHERE room_id = ?1 AND user_id = ?2")?
                .execute((&room_id, &user_id))?;
            if ended > 0 {
                let audit = Audit::new("unban", &room_id, &cause).of(&user_id);
                audit.insert(connection, unix)?;
            }
            Ok(Ok(ended > 0))
        })
        .await
    }

    pub(crate) async fn bans(
        &self,
        room_id: &str,
        after: Option<&str>,
        unix: u64,
        limit: u32,
    ) -> Result<Vec<Ban>, StoreError> {
        let after = after.map(str::to_owned);
        let parameters = (room_id.to_owned(), utc::format(unix), limit, after);
        self.read(move |connection| {
            connection
                .prepare_cached(
                    "SELECT u.id, u.name, u.display_name, u.guest_until IS NOT NULL,
                            b.reason, b.created_at, b.expires_at, b.created_by
                     FROM room_bans b JOIN users u ON u.id = b.user_id
                     WHERE b.room_id = ?1 AND (b.expires_at IS NULL OR b.expires_at > ?2)
                       AND (?4 IS NULL OR EXISTS (
                           SELECT 1 FROM room_bans last WHERE last.room_id = ?1 AND last.user_id = ?4
                             AND (b.created_at < last.created_at
                                  OR b.created_at = last.created_at AND b.user_id > ?4)))
                     ORDER BY b.created_at DESC, u.id LIMIT ?3",
                )?
                .query_map(parameters, |row| ban(row))?
                .collect()
        })
        .await
    }
}

/// Returns the reason why this ban is not possible, if any. Owners and admins manage the room and could
/// return by an invite: an ineffective ban is worse than none.
fn check_ban(
    connection: &Connection,
    new: &NewBan,
    unix: u64,
) -> rusqlite::Result<Option<BanError>> {
    if let Err(refusal) = new.check(unix) {
        return Ok(Some(refusal));
    }
    let Some(room) = room_by_id(connection, &new.room_id)? else {
        return Ok(Some(BanError::NoSuchRoom));
    };
    Ok(match user_by_id(connection, &new.user_id)? {
        None => Some(BanError::NoSuchUser),
        Some(user) if user.deleted => Some(BanError::NoSuchUser),
        Some(user)
            if user
                .guest
                .as_ref()
                .is_some_and(|guest| guest.room_id != room.id) =>
        {
            Some(BanError::GuestElsewhere)
        }
        Some(user) if user.admin => Some(BanError::Admin),
        Some(user) if room.owner_id.as_ref() == Some(&user.id) => Some(BanError::Owner),
        Some(_) => None,
    })
}
