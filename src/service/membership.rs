//! Memberships: users join and leave rooms.

use super::app::App;
use crate::bus::Event;
use crate::clock;
use crate::storage::{JoinError, JoinGrant, Joined, LeaveOutcome, StoreError};

impl App {
    /// Makes `user` a member of `room`.
    pub async fn join(
        &self,
        user: &str,
        room: &str,
        grant: JoinGrant,
    ) -> Result<Joined, JoinError> {
        let change = self.store.join(room, user, grant, clock::now().unix);
        let event = |joined: &Joined| Some(joined_event(user, joined));
        let guard = self.order.of_user(user);
        let (joined, _) = self.commit(guard, change, event).await?;
        Ok(joined)
    }

    /// Makes `user` a member of `room`, also of a private room.
    pub async fn add_member(&self, room: &str, user: &str) -> Result<(), JoinError> {
        let change = self
            .store
            .join(room, user, JoinGrant::Operator, clock::now().unix);
        let event = |joined: &Joined| Some(joined_event(user, joined));
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
                next_generation: left.next_generation,
            })
        };
        self.commit(self.order.of_user(user), change, event).await?;
        Ok(())
    }
}

fn joined_event(user: &str, joined: &Joined) -> Event {
    Event::Joined {
        user: user.to_owned(),
        room: joined.room.id.clone(),
        generation: joined.generation,
    }
}
