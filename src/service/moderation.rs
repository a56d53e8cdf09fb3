//! Moderation: kicks, bans, locks and roles.

pub(super) mod mute;
pub(super) mod requests;
pub(super) mod rules;

use super::app::App;
use super::apply::Ended;
use crate::bus::Event;
use crate::clock;
use crate::storage::{
    BanError, BanOutcome, Cause, ChangeError, LeaveOutcome, NewBan, RoleChange, RoleError,
    RoleOutcome, Room, StoreError,
};

impl App {
    /// Removes a user from a room. `None` if there is no membership. The user may join again after
    /// `rooms.kick_cooldown`.
    pub async fn kick(
        &self,
        room: &str,
        user: &str,
        cause: Cause,
    ) -> Result<Option<(LeaveOutcome, Ended)>, StoreError> {
        let pause = self.settings().config.rooms.kick_cooldown.as_secs();
        let unix = clock::now().unix;
        let change = self
            .store
            .kick(room, user, unix.saturating_add(pause), cause, unix);
        let event = |left: &LeaveOutcome| Event::Kicked {
            user: user.to_owned(),
            room: room.to_owned(),
            elsewhere: left.elsewhere,
            next_generation: left.next_generation,
        };
        self.commit_exclusively(change, event).await
    }

    /// Ends a ban; false if there is none.
    pub async fn unban(&self, room: &str, user: &str, cause: Cause) -> Result<bool, StoreError> {
        let unix = clock::now().unix;
        let change = async {
            // Another program may have banned a member without ending the membership.
            let admission = self.store.admission(room, user, unix);
            let generation = admission.await?.generation;
            let is_unbanned = self.store.unban(room, user, cause, unix).await?;
            Ok(is_unbanned.then_some(generation))
        };
        let event = |generation: &u64| Event::Unbanned {
            user: user.to_owned(),
            room: room.to_owned(),
            generation: *generation,
        };
        Ok(self.commit_exclusively(change, event).await?.is_some())
    }

    /// Bans a user from a room, and removes them from it.
    pub async fn ban(&self, new: NewBan) -> Result<(BanOutcome, Ended), BanError> {
        let (room, user) = (new.room_id.clone(), new.user_id.clone());
        let change = self.store.ban(new, clock::now().unix);
        let event = |banned: &BanOutcome| {
            Some(Event::Banned {
                user,
                room,
                elsewhere: banned.left.elsewhere,
            })
        };
        let (banned, applied) = self.commit(self.order.exclusive(), change, event).await?;
        let ended = match applied {
            Some(applied) => applied.count().await,
            None => Ended::default(),
        };
        Ok((banned, ended))
    }

    /// Locks or unlocks a room. Idempotent.
    pub async fn lock_room(
        &self,
        room: &str,
        locked: bool,
        cause: Cause,
    ) -> Result<Room, ChangeError> {
        let event = |room: &Room| {
            Some(Event::RoomChanged {
                room: room.id.clone(),
            })
        };
        let change = self.store.lock_room(room, locked, cause, clock::now().unix);
        let (room, _) = self.commit(self.order.shared(), change, event).await?;
        Ok(room)
    }

    /// Changes the role of a user in a room. Idempotent.
    pub async fn set_role(&self, change: RoleChange) -> Result<RoleOutcome, RoleError> {
        let (room, user) = (change.room_id.clone(), change.user_id.clone());
        let event = |outcome: &RoleOutcome| {
            let former = outcome.former_owner.clone();
            outcome.is_changed.then(|| Event::RoleChanged {
                room,
                users: former.into_iter().chain([user]).collect(),
            })
        };
        let change = self.store.set_role(change, clock::now().unix);
        let (outcome, _) = self.commit(self.order.shared(), change, event).await?;
        Ok(outcome)
    }
}
