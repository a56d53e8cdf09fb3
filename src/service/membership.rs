//! Memberships: users join and leave rooms.

use super::app::App;
use crate::bus::Event;
use crate::clock;
use crate::storage::{JoinError, JoinGrant, LeaveOutcome, Room, StoreError};

impl App {
    /// Makes `user` a member of `room`.
    pub async fn join(&self, user: &str, room: &str, grant: JoinGrant) -> Result<Room, JoinError> {
        let change = self.store.join(room, user, grant, clock::now().unix);
        let event = |_: &Room| Some(joined(user, room));
        let guard = self.order.of_user(user);
        let (room, _) = self.commit(guard, change, event).await?;
        Ok(room)
    }

    /// Makes `user` a member of `room`, also of a private room.
    pub async fn add_member(&self, room: &str, user: &str) -> Result<(), JoinError> {
        let change = self
            .store
            .join(room, user, JoinGrant::Operator, clock::now().unix);
        let event = |_: &Room| Some(joined(user, room));
        self.commit(self.order.exclusive(), change, event).await?;
        Ok(())
    }

    /// Ends the membership of `user` in `room`, and closes their connection even without one.
    pub async fn leave(&self, user: &str, room: &str) -> Result<(), StoreError> {
        let change = self.store.leave(room, user, clock::now().unix);
        let event = |left: &LeaveOutcome| {
            Some(Event::Left {
                user: user.to_owned(),
                room: room.to_owned(),
                was_member: left.was_member,
                elsewhere: left.elsewhere,
            })
        };
        self.commit(self.order.of_user(user), change, event).await?;
        Ok(())
    }
}

fn joined(user: &str, room: &str) -> Event {
    Event::Joined {
        user: user.to_owned(),
        room: room.to_owned(),
    }
}
