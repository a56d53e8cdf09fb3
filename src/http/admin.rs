//! What an admin does to people and rooms while everybody is connected: the store first; then the
//! sockets; then the relay. Whoever connects meanwhile is judged by what the store says by then.

use super::App;
use crate::clock;
use crate::room::CloseCode;
use crate::store::{Closed, JoinError, JoinGrant, Removed, StoreError, User};

/// What ended with something that was taken away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ended {
    /// WebSockets that were closed.
    pub connections: usize,
    /// Allocations of the relay that were freed.
    pub relays: usize,
}

impl App {
    /// Keeps a user out, at once. `None` where there is no such user, or no more.
    pub async fn disable_user(&self, id: &str) -> Result<Option<(Removed, Ended)>, StoreError> {
        let _undisturbed = self.api.undisturbed().await;
        let removed = self.store.disable_user(id, clock::now().unix).await?;
        match removed {
            Some(removed) => Ok(Some((removed, self.user_ended(id).await))),
            None => Ok(None),
        }
    }

    /// Lets a disabled user in again. `None` where there is no such user, or no more.
    pub async fn enable_user(&self, id: &str) -> Result<Option<User>, StoreError> {
        let _undisturbed = self.api.undisturbed().await;
        let user = self.store.enable_user(id).await?;
        if user.is_some() {
            self.relay.enabled(id);
        }
        Ok(user)
    }

    /// Deletes a user for good. `None` where there is no such user, or no more.
    pub async fn delete_user(&self, id: &str) -> Result<Option<(Removed, Ended)>, StoreError> {
        let _undisturbed = self.api.undisturbed().await;
        let removed = self.store.delete_user(id, clock::now().unix).await?;
        match removed {
            Some(removed) => Ok(Some((removed, self.user_ended(id).await))),
            None => Ok(None),
        }
    }

    /// Makes a user a member, whatever the room says of strangers.
    pub async fn add_member(&self, room: &str, user: &str) -> Result<(), JoinError> {
        let _undisturbed = self.api.undisturbed().await;
        let (grant, unix) = (JoinGrant::Granted, clock::now().unix);
        self.store.join(room, user, grant, unix).await?;
        self.relay.joined(user, room);
        Ok(())
    }

    /// Closes a room for good. `None` where there is no such room.
    pub async fn close_room(&self, id: &str) -> Result<Option<(Closed, Ended)>, StoreError> {
        let _undisturbed = self.api.undisturbed().await;
        let closed = self.store.close_room(id, clock::now().unix).await?;
        match closed {
            Some(closed) => Ok(Some(self.room_ended(closed).await)),
            None => Ok(None),
        }
    }

    /// Closes a room and erases what was in it. `None` where there is no such room.
    pub async fn delete_room(&self, id: &str) -> Result<Option<(Closed, Ended)>, StoreError> {
        let _undisturbed = self.api.undisturbed().await;
        let closed = self.store.delete_room(id, clock::now().unix).await?;
        match closed {
            Some(closed) => Ok(Some(self.room_ended(closed).await)),
            None => Ok(None),
        }
    }

    async fn user_ended(&self, user: &str) -> Ended {
        let connections = self.hub.close_user(user, CloseCode::Removed);
        let relays = self.relay.removed(user).count().await;
        tracing::info!(user, connections, relays, "a user was taken away");
        Ended {
            connections,
            relays,
        }
    }

    /// Frees also what is bound to no room, of those who are in none any more.
    async fn room_ended(&self, closed: Closed) -> (Closed, Ended) {
        let Closed { room, departures } = &closed;
        let connections = self.hub.close_room(&room.id, CloseCode::RoomClosed);
        let bound = self.relay.closed(&room.id);
        let left = departures.iter().map(|gone| {
            self.relay
                .left(&gone.user, &gone.room, gone.elsewhere)
                .count()
        });
        let (bound, left) =
            futures_util::join!(bound.count(), futures_util::future::join_all(left));
        let relays = bound + left.into_iter().sum::<usize>();
        let members = departures.len();
        tracing::info!(room = %room.id, members, connections, relays, "a room was closed");
        let ended = Ended {
            connections,
            relays,
        };
        (closed, ended)
    }
}
