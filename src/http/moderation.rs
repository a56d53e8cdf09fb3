//! Kicks and bans of connected users: the store first, then the socket, then the relay.

use super::App;
use super::admin::Ended;
use crate::clock;
use crate::room::CloseCode;
use crate::storage::{BanError, BanOutcome, LeaveOutcome, NewBan, StoreError};

impl App {
    /// Removes a user from a room; `None` where there is no membership. They may join again after
    /// `rooms.kick_pause`.
    pub async fn kick(
        &self,
        room: &str,
        user: &str,
    ) -> Result<Option<(LeaveOutcome, Ended)>, StoreError> {
        let exclusive = self.api.exclusive().await;
        let unix = clock::now().unix;
        let until = unix.saturating_add(self.settings().config.rooms.kick_pause.as_secs());
        let Some(left) = self.store.kick(room, user, until, unix).await? else {
            return Ok(None);
        };
        let ended = self.remove(room, user, left, exclusive).await;
        let Ended {
            connections,
            relays,
        } = ended;
        tracing::info!(user, room, connections, relays, "user kicked");
        Ok(Some((left, ended)))
    }

    /// Bans a user from a room, and removes them from it.
    pub async fn ban(&self, new: NewBan) -> Result<(BanOutcome, Ended), BanError> {
        let exclusive = self.api.exclusive().await;
        let (room, user) = (new.room_id.clone(), new.user_id.clone());
        let banned = self.store.ban(new, clock::now().unix).await?;
        let ended = self.remove(&room, &user, banned.left, exclusive).await;
        let Ended {
            connections,
            relays,
        } = ended;
        tracing::info!(user, room, connections, relays, "user banned");
        Ok((banned, ended))
    }

    /// Closes the user's connection to the room and frees the user's allocations of that room. Joins
    /// continue while the relay counts.
    async fn remove(
        &self,
        room: &str,
        user: &str,
        left: LeaveOutcome,
        exclusive: impl Drop,
    ) -> Ended {
        let connections = usize::from(self.hub.close(room, user, CloseCode::Removed));
        let freed = self.relay.left(user, room, left.elsewhere);
        drop(exclusive);
        Ended {
            connections,
            relays: freed.count().await,
        }
    }
}
