//! Creates, lists, revokes and uses invites.

use super::call::{Parameters, READ, REPEATABLE_WRITE, Text, WRITE, time};
use super::database::Database;
use crate::clock;
use crate::display_name::is_valid_name;
use crate::secret::Secret;
use crate::storage::invite_text::{hash, random_text};
use crate::storage::limits::MAX_REVOKED_INVITES;
use crate::storage::rows::active_invite;
use crate::storage::{
    ActiveInvite, Guest, Invite, InviteError, MAX_INVITES, NewInvite, StoreError, User,
};

impl Database {
    pub(crate) async fn create_invite(&self, new: NewInvite) -> Result<Invite, InviteError> {
        if new.uses == Some(0) {
            return Err(InviteError::NoUses);
        }
        let unix = clock::now().unix;
        let invite = Invite {
            id: uuid::Uuid::new_v4().to_string(),
            text: Secret::new(random_text()),
            expires_at: unix.saturating_add(new.ttl.as_secs()),
        };
        let author = new.created_by.as_deref();
        let sql = "SELECT create_invite($1, $2, $3, $4, $5, $6, $7, $8)";
        let parameters: Parameters<'_> = &[
            &invite.id,
            &Text(&new.room_id),
            &hash(invite.text.expose()),
            &author.map(Text),
            &time(invite.expires_at),
            &new.uses.map(i64::from),
            &i64::from(MAX_INVITES),
            &time(unix),
        ];
        let outcome: String = self
            .query_one(WRITE.without_doubt(), sql, parameters, |row| row.try_get(0))
            .await?;
        match outcome.as_str() {
            "done" => Ok(invite),
            outcome => Err(self.invite_error(outcome)),
        }
    }

    fn invite_error(&self, outcome: &str) -> InviteError {
        match outcome {
            "no-such-room" => InviteError::NoSuchRoom,
            "room-closed" => InviteError::RoomClosed,
            "room-locked" => InviteError::RoomLocked,
            "room-full" => InviteError::RoomFull,
            "bad-invite" => InviteError::BadInvite,
            "revoked" => InviteError::Revoked,
            "too-many" => InviteError::TooMany(MAX_INVITES),
            "no-such-user" | "user-disabled" | "guest-expired" => {
                InviteError::Author(self.join_error(outcome))
            }
            unknown => self.unknown_outcome(unknown).into(),
        }
    }

    pub(crate) async fn invites(
        &self,
        room_id: Option<&str>,
        unix: u64,
        limit: u32,
    ) -> Result<Vec<ActiveInvite>, StoreError> {
        let of_room = match room_id {
            Some(_) => "i.room_id = $3",
            None => "$3::text IS NULL",
        };
        let sql = format!(
            "SELECT i.id, r.id, r.name, i.created_by, i.created_at, i.expires_at, i.uses_left
             FROM room_invites i JOIN coworking_rooms r ON r.id = i.room_id
             WHERE {of_room} AND r.closed_at IS NULL AND i.expires_at > $1
               AND i.revoked_at IS NULL AND (i.uses_left IS NULL OR i.uses_left > 0)
             ORDER BY i.created_at, i.id LIMIT $2"
        );
        let parameters: Parameters<'_> = &[&time(unix), &i64::from(limit), &room_id.map(Text)];
        self.query(READ, &sql, parameters, active_invite).await
    }

    pub(crate) async fn set_invite_expiry(&self, id: &str, unix: u64) -> Result<(), StoreError> {
        let sql = "UPDATE room_invites SET expires_at = $2 WHERE id = $1";
        let parameters: Parameters<'_> = &[&Text(id), &time(unix)];
        self.query(
            REPEATABLE_WRITE.without_doubt(),
            sql,
            parameters,
            |_| Ok(()),
        )
        .await?;
        Ok(())
    }

    pub(crate) async fn revoke_invite(
        &self,
        room_id: Option<&str>,
        id: &str,
        unix: u64,
    ) -> Result<bool, StoreError> {
        let sql = "SELECT revoke_invite($1, $2, $3, $4)";
        let kept = i64::from(MAX_REVOKED_INVITES);
        let parameters: Parameters<'_> = &[&room_id.map(Text), &Text(id), &kept, &time(unix)];
        self.query_one(WRITE.without_doubt(), sql, parameters, |row| row.try_get(0))
            .await
    }

    pub(crate) async fn redeem_invite(
        &self,
        room_id: Option<&str>,
        invite: &str,
        display_name: &str,
        unix: u64,
        guest_until: u64,
    ) -> Result<User, InviteError> {
        let display_name = display_name.trim();
        if !is_valid_name(display_name) {
            return Err(InviteError::BadName);
        }
        let place = Guest {
            room_id: String::new(),
            until: guest_until,
            invite: None,
        };
        let mut guest = User::new_guest(place, display_name.to_owned(), unix);
        let sql =
            "SELECT outcome, guest_room, invite_id FROM redeem_invite($1, $2, $3, $4, $5, $6)";
        let parameters: Parameters<'_> = &[
            &room_id.map(Text),
            &hash(invite),
            &guest.id,
            &guest.display_name,
            &time(guest_until),
            &time(unix),
        ];
        let redeemed = self
            .query_one(WRITE.without_doubt(), sql, parameters, |row| {
                let outcome: String = row.try_get(0)?;
                if outcome != "done" {
                    return Ok(Err(outcome));
                }
                Ok(Ok(Guest {
                    room_id: row.try_get(1)?,
                    until: guest_until,
                    invite: row.try_get(2)?,
                }))
            })
            .await?;
        guest.guest = Some(redeemed.map_err(|outcome| self.invite_error(&outcome))?);
        Ok(guest)
    }
}
