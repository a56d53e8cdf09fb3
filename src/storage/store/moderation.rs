//! The port of the store: kicks, bans, locks, roles and the audit.

use super::{Backend, Store};
use crate::storage::{
    AuditEntry, Ban, BanError, BanOutcome, Cause, ChangeError, LeaveOutcome, NewBan, RoleChange,
    RoleError, RoleOutcome, Room, StoreError,
};

impl Store {
    /// Ends a membership and rejects the user until `until`; `None` if there is no membership.
    pub async fn kick(
        &self,
        room_id: &str,
        user_id: &str,
        until: u64,
        cause: Cause,
        unix: u64,
    ) -> Result<Option<LeaveOutcome>, StoreError> {
        call!(self.kick(room_id, user_id, until, cause, unix))
    }

    /// Bans a user, member or not, and ends the membership if there is one. The invite that a guest
    /// used is revoked, unless [`NewBan::keep_invite`] is set. A moderator becomes a member. A second ban
    /// replaces the first.
    pub async fn ban(&self, new: NewBan, unix: u64) -> Result<BanOutcome, BanError> {
        call!(self.ban(new, unix))
    }

    /// Ends a ban; false if there is none.
    pub async fn unban(
        &self,
        room_id: &str,
        user_id: &str,
        cause: Cause,
        unix: u64,
    ) -> Result<bool, StoreError> {
        call!(self.unban(room_id, user_id, cause, unix))
    }

    /// Records in the audit that a moderator asked a user's client to mute.
    pub async fn add_mute(
        &self,
        room_id: &str,
        user_id: &str,
        cause: Cause,
        unix: u64,
    ) -> Result<(), StoreError> {
        call!(self.add_mute(room_id, user_id, cause, unix))
    }

    /// Locks or unlocks an open room. Idempotent. A locked room rejects newcomers except for the owner, moderators
    /// and admins.
    pub async fn lock_room(
        &self,
        room_id: &str,
        locked: bool,
        cause: Cause,
        unix: u64,
    ) -> Result<Room, ChangeError> {
        call!(self.lock_room(room_id, locked, cause, unix))
    }

    /// Changes the role of a user in an open room. Idempotent. A new owner replaces the old one, who becomes a
    /// moderator.
    pub async fn set_role(&self, change: RoleChange, unix: u64) -> Result<RoleOutcome, RoleError> {
        call!(self.set_role(change, unix))
    }

    /// Returns the last `limit` audit entries of a room, or the last ones before the entry `before`; newest first.
    pub async fn audit(
        &self,
        room_id: &str,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<AuditEntry>, StoreError> {
        call!(self.audit(room_id, before, limit))
    }

    /// Returns the bans of a room that are in force at `unix`, newest first, at most `limit`. With a user's id in
    /// `after`, only those after the ban of that user; none if there is no such ban.
    pub async fn bans(
        &self,
        room_id: &str,
        after: Option<&str>,
        unix: u64,
        limit: u32,
    ) -> Result<Vec<Ban>, StoreError> {
        call!(self.bans(room_id, after, unix, limit))
    }
}
