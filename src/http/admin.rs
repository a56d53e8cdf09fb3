//! What an admin does to people and rooms while everybody is connected: the store first; then the
//! sockets; then the relay. Whoever connects meanwhile is judged by what the store says by then.
//!
//! Nobody joins or leaves until all are told, so that what is told has the order of the commits. The
//! relay's counts are waited for after that: they keep nobody else waiting.

use futures_util::FutureExt;
use futures_util::future::join_all;

use super::App;
use crate::clock;
use crate::room::CloseCode;
use crate::storage::{
    ClosedRoom, EndedMembership, JoinError, JoinGrant, RemovedUser, StoreError, User,
};

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
    pub async fn disable_user(&self, id: &str) -> Result<Option<(RemovedUser, Ended)>, StoreError> {
        let removal = self.store.disable_user(id, clock::now().unix);
        self.revoke_user(id, removal).await
    }

    /// Lets a disabled user in again. `None` where there is no such user, or no more.
    pub async fn enable_user(&self, id: &str) -> Result<Option<User>, StoreError> {
        let _exclusive = self.api.exclusive().await;
        let user = self.store.enable_user(id).await?;
        if user.is_some() {
            self.relay.enabled(id);
            tracing::info!(user = id, "a user was enabled");
        }
        Ok(user)
    }

    /// Deletes a user for good. `None` where there is no such user, or no more.
    pub async fn delete_user(&self, id: &str) -> Result<Option<(RemovedUser, Ended)>, StoreError> {
        let removal = self.store.delete_user(id, clock::now().unix);
        self.revoke_user(id, removal).await
    }

    /// Ends all tokens of a user or guest. `None` if the user does not exist or was deleted.
    pub async fn sign_out(&self, id: &str) -> Result<Option<(User, Ended)>, StoreError> {
        self.end_tokens(self.store.sign_out(id, clock::now().unix))
            .await
    }

    /// Sets a user's password, and ends all their tokens. `None` if the user does not exist or was
    /// deleted.
    pub async fn set_password(
        &self,
        id: &str,
        hash: &str,
    ) -> Result<Option<(User, Ended)>, StoreError> {
        self.end_tokens(self.store.set_password(id, hash, clock::now().unix))
            .await
    }

    /// Commits a change that ends tokens, then closes the sockets and frees the relays of the user.
    async fn end_tokens(
        &self,
        change: impl Future<Output = Result<Option<User>, StoreError>>,
    ) -> Result<Option<(User, Ended)>, StoreError> {
        let exclusive = self.api.exclusive().await;
        let Some(user) = change.await? else {
            return Ok(None);
        };
        let connections = self
            .hub
            .close_user(&user.id, CloseCode::AuthenticationFailed);
        let freed = self
            .relay
            .signed_out(&user.id, user.token_cutoff.generation);
        drop(exclusive);
        let relays = freed.count().await;
        tracing::info!(user = user.id, connections, relays, "user signed out");
        let ended = Ended {
            connections,
            relays,
        };
        Ok(Some((user, ended)))
    }

    /// Makes a user a member, whatever the room says of strangers.
    pub async fn add_member(&self, room: &str, user: &str) -> Result<(), JoinError> {
        let _exclusive = self.api.exclusive().await;
        let (grant, unix) = (JoinGrant::Operator, clock::now().unix);
        self.store.join(room, user, grant, unix).await?;
        self.relay.joined(user, room);
        Ok(())
    }

    /// Closes a room for good. `None` where there is no such room.
    pub async fn close_room(&self, id: &str) -> Result<Option<(ClosedRoom, Ended)>, StoreError> {
        self.end_room_after(self.store.close_room(id, clock::now().unix))
            .await
    }

    /// Closes a room and erases what was in it. `None` where there is no such room.
    pub async fn delete_room(&self, id: &str) -> Result<Option<(ClosedRoom, Ended)>, StoreError> {
        self.end_room_after(self.store.delete_room(id, clock::now().unix))
            .await
    }

    /// The store first, exclusive, then everybody else; the answers are waited for when joins and
    /// leaves go on again.
    async fn revoke_user(
        &self,
        id: &str,
        removal: impl Future<Output = Result<Option<RemovedUser>, StoreError>>,
    ) -> Result<Option<(RemovedUser, Ended)>, StoreError> {
        let exclusive = self.api.exclusive().await;
        let told = removal.await?.map(|removed| {
            let ending = self.end_user(&removed.user);
            (removed, ending)
        });
        drop(exclusive);
        match told {
            Some((removed, ending)) => Ok(Some((removed, ending.of_user(id).await))),
            None => Ok(None),
        }
    }

    /// The same for a room.
    async fn end_room_after(
        &self,
        closing: impl Future<Output = Result<Option<ClosedRoom>, StoreError>>,
    ) -> Result<Option<(ClosedRoom, Ended)>, StoreError> {
        let exclusive = self.api.exclusive().await;
        let told = closing
            .await?
            .map(|closed| (self.end_room(&closed), closed));
        drop(exclusive);
        match told {
            Some((ending, closed)) => {
                let ended = ending.of_room(&closed).await;
                Ok(Some((closed, ended)))
            }
            None => Ok(None),
        }
    }

    /// Tells everybody that a user is kept out.
    fn end_user(&self, user: &User) -> Ending<impl Future<Output = usize> + use<>> {
        let User {
            id, token_cutoff, ..
        } = user;
        Ending {
            connections: self.hub.close_user(id, CloseCode::Removed),
            relays: self.relay.removed(id, token_cutoff.generation).count(),
        }
    }

    /// Tells everybody that a room is closed. Frees also what is bound to no room, of those who are
    /// in none any more.
    fn end_room(&self, closed: &ClosedRoom) -> Ending<impl Future<Output = usize> + use<>> {
        let ClosedRoom {
            room,
            ended_memberships,
        } = closed;
        let connections = self.hub.close_room(&room.id, CloseCode::RoomClosed);
        let mut freed = vec![self.relay.closed(&room.id).count()];
        for EndedMembership {
            user,
            room,
            elsewhere,
        } in ended_memberships
        {
            freed.push(self.relay.left(user, room, *elsewhere).count());
        }
        Ending {
            connections,
            relays: join_all(freed).map(|counts| counts.into_iter().sum()),
        }
    }
}

/// What everybody has been told of, and not everybody has answered yet.
struct Ending<F> {
    connections: usize,
    /// Resolves with how many were freed.
    relays: F,
}

impl<F: Future<Output = usize>> Ending<F> {
    async fn of_user(self, user: &str) -> Ended {
        let ended = self.ended().await;
        let Ended {
            connections,
            relays,
        } = ended;
        tracing::info!(user, connections, relays, "a user was taken away");
        ended
    }

    async fn of_room(
        self,
        ClosedRoom {
            room,
            ended_memberships,
        }: &ClosedRoom,
    ) -> Ended {
        let ended = self.ended().await;
        let Ended {
            connections,
            relays,
        } = ended;
        let members = ended_memberships.len();
        tracing::info!(
            room = room.id,
            members,
            connections,
            relays,
            "a room was closed"
        );
        ended
    }

    async fn ended(self) -> Ended {
        Ended {
            connections: self.connections,
            relays: self.relays.await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::Config;
    use crate::credential::Credentials;
    use crate::http::{Hub, Live, Settings};
    use crate::metrics::Metrics;
    use crate::relay::Handle;
    use crate::secret::Secret;
    use crate::storage::{NewUser, Store};
    use crate::token::Tokens;

    fn app(place: &tempfile::TempDir, relay: Handle) -> Arc<App> {
        let (config, metrics, secret) = (Config::default(), Metrics::new(), Secret::new("north"));
        let tokens = Tokens::new(&config.auth, &secret);
        Arc::new(App {
            hub: Hub::new(&config.signaling, &metrics),
            live: Live::new(Settings::new(
                config,
                tokens,
                Credentials::new(&secret, &[]),
            )),
            store: Store::open(&place.path().join("parlor.db")).unwrap(),
            turn: Vec::new(),
            turn_tls: Vec::new(),
            https: Vec::new(),
            certificate: None,
            api: Default::default(),
            relay,
            metrics,
        })
    }

    #[tokio::test]
    async fn nobody_waits_to_join_until_the_relay_has_counted() {
        let place = tempfile::tempdir().unwrap();
        let (relay, mut shard) = Handle::with_fake_shard();
        let app = app(&place, relay);
        let alice = NewUser {
            name: "alice".to_owned(),
            ..NewUser::default()
        };
        let id = app.store.add_user(alice).await.unwrap().id;
        let disabling = tokio::spawn({
            let app = app.clone();
            async move { app.disable_user(&id).await }
        });
        let freed = loop {
            match shard.next_revocation() {
                Some(freed) => break freed,
                None => tokio::task::yield_now().await,
            }
        };
        drop(app.api.exclusive().await);
        freed.send(3).expect("it still waits for the count");
        let (_, ended) = disabling.await.unwrap().unwrap().expect("alice");
        assert_eq!(ended.relays, 3);
    }
}
