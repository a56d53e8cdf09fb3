//! Mutes: the server asks the client of a participant to mute. The audit has each one; the store has no state of them.

use crate::bus::Event;
use crate::clock;
use crate::room::Protocol;
use crate::service::app::App;
use crate::storage::{Cause, StoreError};

/// The reason why a participant was not muted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MuteError {
    #[error("the participant is not connected")]
    NotConnected,
    #[error("the client of the participant does not speak parlor.v1, so the server cannot mute it")]
    PlainClient,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl App {
    /// Asks the client of a connected user to mute, on any node.
    pub async fn mute(&self, room: &str, user: &str, cause: Cause) -> Result<(), MuteError> {
        let is_here = self.hub.is_connected(room, user);
        let protocol = match self.hub.protocol_of(room, user) {
            Some(protocol) => Some(protocol),
            None => self.protocol_elsewhere(room, user).await,
        };
        match protocol {
            Some(Protocol::Extended) => {}
            Some(Protocol::Plain) => return Err(MuteError::PlainClient),
            None => return Err(MuteError::NotConnected),
        }
        let by = cause.actor().map(str::to_owned);
        let event = |&(): &()| {
            Some(Event::Muted {
                user: user.to_owned(),
                room: room.to_owned(),
                by: by.clone(),
            })
        };
        let change = self.store.add_mute(room, user, cause, clock::now().unix);
        self.commit(self.order.shared(), change, event).await?;
        if !is_here {
            self.mute_elsewhere(room, user, by.as_deref()).await;
        }
        tracing::info!(user, room, "user muted");
        Ok(())
    }
}
