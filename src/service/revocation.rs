//! Takes access away from users and gives it back: disable, delete, sign out, change the password.

use super::app::App;
use super::apply::Ended;
use crate::bus::Event;
use crate::clock;
use crate::storage::{RemovedUser, StoreError, User};

impl App {
    /// Disables a user at once. `None` if the user does not exist or was deleted.
    pub async fn disable_user(&self, id: &str) -> Result<Option<(RemovedUser, Ended)>, StoreError> {
        let change = self.store.disable_user(id, clock::now().unix);
        let event = |removed: &RemovedUser| Event::UserDisabled {
            user: removed.user.id.clone(),
            generation: removed.user.token_cutoff.generation,
        };
        self.commit_exclusively(change, event).await
    }

    /// Enables a disabled user. `None` if the user does not exist or was deleted.
    pub async fn enable_user(&self, id: &str) -> Result<Option<User>, StoreError> {
        let change = self.store.enable_user(id);
        let event = |user: &User| Event::UserEnabled {
            user: user.id.clone(),
        };
        let enabled = self.commit_exclusively(change, event).await?;
        Ok(enabled.map(|(user, _)| user))
    }

    /// Deletes a user for good. `None` if the user does not exist or was deleted before.
    pub async fn delete_user(&self, id: &str) -> Result<Option<(RemovedUser, Ended)>, StoreError> {
        let change = self.store.delete_user(id, clock::now().unix);
        let event = |removed: &RemovedUser| Event::UserDeleted {
            user: removed.user.id.clone(),
            generation: removed.user.token_cutoff.generation,
        };
        self.commit_exclusively(change, event).await
    }

    /// Ends all tokens of a user or guest. `None` if the user does not exist or was deleted.
    pub async fn sign_out(&self, id: &str) -> Result<Option<(User, Ended)>, StoreError> {
        let change = self.store.sign_out(id, clock::now().unix);
        self.commit_exclusively(change, signed_out).await
    }

    /// Sets a user's password, and ends all their tokens. `None` if the user does not exist or was
    /// deleted.
    pub async fn set_password(
        &self,
        id: &str,
        hash: &str,
    ) -> Result<Option<(User, Ended)>, StoreError> {
        let change = self.store.set_password(id, hash, clock::now().unix);
        self.commit_exclusively(change, signed_out).await
    }
}

fn signed_out(user: &User) -> Event {
    Event::SignedOut {
        user: user.id.clone(),
        generation: user.token_cutoff.generation,
    }
}

#[cfg(test)]
mod tests;
