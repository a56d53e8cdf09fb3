//! What the store promises, on files in a temporary directory.

mod file;
mod invites;
mod members;
mod migration;
mod model;
mod names;
mod tokens;

use std::time::Duration;

use super::*;
use crate::clock;

const NOW: u64 = 1_700_000_000;
const FILE_NAME: &str = "parlor.db";

struct World {
    store: Store,
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join(FILE_NAME)).unwrap();
        World { store, dir }
    }

    /// A second process's view, as far as SQLite can tell.
    fn other(&self) -> Connection {
        let other = Connection::open(self.dir.path().join(FILE_NAME)).unwrap();
        other.busy_timeout(Duration::from_secs(30)).unwrap();
        other
    }

    fn sql(&self, sql: &str) {
        self.other().execute_batch(sql).unwrap();
    }

    async fn user(&self, name: &str) -> String {
        let new = NewUser {
            name: name.to_owned(),
            ..NewUser::default()
        };
        self.store.add_user(new).await.unwrap().id
    }

    async fn found(&self, id_or_name: &str) -> Option<User> {
        let called = self.store.find_users(id_or_name).await.unwrap();
        called.into_iter().next()
    }

    async fn room(&self, id: &str, private: bool, max_participants: Option<u32>) {
        let new = NewRoom {
            id: Some(id.to_owned()),
            name: id.to_owned(),
            private,
            max_participants,
            owner_id: None,
        };
        self.store.create_room(new).await.unwrap();
    }

    async fn invite(&self, room: &str, uses: Option<u32>) -> Invite {
        let new = NewInvite {
            room_id: room.to_owned(),
            created_by: None,
            ttl: Duration::from_secs(3600),
            uses,
        };
        self.store.create_invite(new).await.unwrap()
    }

    async fn guest(&self, room: &str, until: u64) -> String {
        let invite = self.invite(room, None).await;
        let text = invite.text.expose();
        let guest = self
            .store
            .redeem_invite(Some(room), text, "Guest", NOW, until);
        guest.await.unwrap().id
    }

    async fn join(&self, room: &str, user: &str) -> Result<Room, JoinError> {
        self.store.join(room, user, JoinGrant::None, NOW).await
    }

    async fn members(&self, room: &str) -> Vec<String> {
        let members = self.store.participants(room, NOW).await.unwrap();
        members.into_iter().map(|member| member.user_id).collect()
    }
}
