//! Moderation by users: the rules, then the change. HTTP and WebSockets call these functions.

use super::mute::MuteError;
use super::rules::{Act, Actor, Refusal, Standing, check_act};
use crate::clock;
use crate::service::app::App;
use crate::service::apply::Ended;
use crate::storage::{
    Admission, AuditEntry, Ban, BanError, BanOutcome, Cause, ChangeError, InvalidReason,
    LeaveOutcome, NewBan, NewRole, RoleChange, RoleError, RoleOutcome, Room, StoreError, User,
};

/// The reason why a moderation did not take place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModerationError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Reason(#[from] InvalidReason),
    /// The target has nothing to do with the room, as far as moderators may know.
    #[error("the room has no such participant")]
    NoSuchParticipant,
    #[error("there is no such ban")]
    NoSuchBan,
    #[error(transparent)]
    Mute(#[from] MuteError),
    #[error(transparent)]
    Ban(#[from] BanError),
    #[error(transparent)]
    Role(#[from] RoleError),
    #[error(transparent)]
    Lock(#[from] ChangeError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A ban that a user requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BanRequest {
    pub user: String,
    /// Unix seconds; `None`: permanent.
    pub until: Option<u64>,
    pub reason: Option<String>,
    /// Whether the invite that the guest used stays valid.
    pub keep_invite: bool,
}

impl App {
    /// Removes a participant, as [`App::kick`]. Returns them as they were.
    pub async fn kick_by(
        &self,
        actor: &Actor,
        room: &Room,
        user: &str,
        reason: Option<String>,
    ) -> Result<(User, LeaveOutcome, Ended), ModerationError> {
        let target = self.target(actor, Act::Kick, room, user).await?;
        let cause = cause(actor, reason)?;
        let kicked = self.kick(&room.id, user, cause).await?;
        let (left, ended) = kicked.ok_or(ModerationError::NoSuchParticipant)?;
        Ok((target, left, ended))
    }

    /// Bans a present or former participant, or a guest of the room. Returns the user from before the ban.
    pub async fn ban_by(
        &self,
        actor: &Actor,
        room: &Room,
        request: BanRequest,
    ) -> Result<(User, BanOutcome, Ended), ModerationError> {
        let target = self.target(actor, Act::Ban, room, &request.user).await?;
        let new = NewBan {
            room_id: room.id.clone(),
            user_id: request.user,
            until: request.until,
            cause: cause(actor, request.reason)?,
            keep_invite: request.keep_invite,
        };
        let (banned, ended) = self.ban(new).await?;
        Ok((target, banned, ended))
    }

    /// Ends a ban.
    pub async fn unban_by(
        &self,
        actor: &Actor,
        room: &Room,
        user: &str,
        reason: Option<String>,
    ) -> Result<(), ModerationError> {
        check_act(actor.standing, Act::Unban, None)?;
        let cause = cause(actor, reason)?;
        if self.unban(&room.id, user, cause).await? {
            Ok(())
        } else {
            Err(ModerationError::NoSuchBan)
        }
    }

    /// Asks the client of a participant to mute, as [`App::mute`]. Returns the participant.
    pub async fn mute_by(
        &self,
        actor: &Actor,
        room: &Room,
        user: &str,
        reason: Option<String>,
    ) -> Result<User, ModerationError> {
        let target = self.target(actor, Act::Mute, room, user).await?;
        let cause = cause(actor, reason)?;
        self.mute(&room.id, user, cause).await?;
        Ok(target)
    }

    /// Locks or unlocks the room. Idempotent.
    pub async fn lock_by(
        &self,
        actor: &Actor,
        room: &Room,
        locked: bool,
        reason: Option<String>,
    ) -> Result<Room, ModerationError> {
        check_act(actor.standing, Act::Lock, None)?;
        let cause = cause(actor, reason)?;
        Ok(self.lock_room(&room.id, locked, cause).await?)
    }

    /// Changes the role of a participant, or of a moderator or an owner who is away. Idempotent.
    pub async fn set_role_by(
        &self,
        actor: &Actor,
        room: &Room,
        user: &str,
        role: NewRole,
        reason: Option<String>,
    ) -> Result<RoleOutcome, ModerationError> {
        let act = Act::SetRole(role);
        self.target(actor, act, room, user).await?;
        let change = RoleChange {
            room_id: room.id.clone(),
            user_id: user.to_owned(),
            role,
            cause: cause(actor, reason)?,
            as_owner: actor.standing == Standing::Owner,
        };
        Ok(self.set_role(change).await?)
    }

    /// Returns the bans that are in force, newest first, at most `limit`; with `after`, those after this user's ban.
    pub async fn bans_for(
        &self,
        actor: &Actor,
        room: &Room,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Ban>, ModerationError> {
        check_act(actor.standing, Act::Read, None)?;
        let unix = clock::now().unix;
        Ok(self.store.bans(&room.id, after, unix, limit).await?)
    }

    /// Returns the last `limit` entries of the audit, or the last ones before `before`; newest first.
    pub async fn audit_for(
        &self,
        actor: &Actor,
        room: &Room,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<AuditEntry>, ModerationError> {
        check_act(actor.standing, Act::Read, None)?;
        Ok(self.store.audit(&room.id, before, limit).await?)
    }

    /// Reads a user's relation to a room, and the position by which the rules protect the user; `None` if there is no
    /// such user or room. An admin by token, whom the store does not know, is one while connected to the room here.
    pub(in crate::service) async fn standing(
        &self,
        room: &str,
        user: &str,
    ) -> Result<(Admission, Option<Standing>), StoreError> {
        let admission = self.store.admission(room, user, clock::now().unix).await?;
        let trusts_roles = self.settings().config.auth.trust_roles;
        let is_token_admin = trusts_roles && self.hub.is_token_admin(room, user);
        let known = admission.user.as_ref().zip(admission.room.as_ref());
        let standing = known.map(|(user, room)| {
            if is_token_admin {
                Standing::Admin
            } else {
                Standing::of(user, room, admission.moderator)
            }
        });
        Ok((admission, standing))
    }

    /// Checks the rules, without the target first: who may not act learns nothing of others. Returns the target.
    async fn target(
        &self,
        actor: &Actor,
        act: Act,
        room: &Room,
        user: &str,
    ) -> Result<User, ModerationError> {
        check_act(actor.standing, act, None)?;
        let (admission, standing) = self.standing(&room.id, user).await?;
        let is_known = match act {
            Act::Ban => admission.ever_member || is_guest_of(&admission, room),
            _ => admission.participant,
        };
        // The owner may have changed since the actor's request began.
        let owner = admission.room.and_then(|room| room.owner_id);
        let target = admission.user.filter(|user| !user.deleted);
        let (target, standing) = target
            .zip(standing)
            .ok_or(ModerationError::NoSuchParticipant)?;
        let has_role = admission.moderator || owner.as_ref() == Some(&target.id);
        if !is_known && !has_role {
            return Err(ModerationError::NoSuchParticipant);
        }
        check_act(
            actor.standing,
            act,
            Some((standing, target.id == actor.user)),
        )?;
        Ok(target)
    }
}

fn is_guest_of(admission: &Admission, room: &Room) -> bool {
    let guest = admission.user.as_ref().and_then(|user| user.guest.as_ref());
    guest.is_some_and(|guest| guest.room_id == room.id)
}

fn cause(actor: &Actor, reason: Option<String>) -> Result<Cause, InvalidReason> {
    Cause::new(Some(actor.user.clone()), reason)
}
