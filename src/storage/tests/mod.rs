//! Tests of the port, on databases in a temporary directory.

mod invites;
mod members;
mod model;
mod names;
mod tokens;

use std::time::Duration;

use rusqlite::Connection;

use super::*;
use crate::clock;

pub(in crate::storage) const NOW: u64 = 1_700_000_000;
pub(in crate::storage) const FILE_NAME: &str = "parlor.db";

pub(in crate::storage) struct Fixture {
    pub(in crate::storage) store: Store,
    pub(in crate::storage) dir: tempfile::TempDir,
}

impl Fixture {
    pub(in crate::storage) fn new() -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join(FILE_NAME)).unwrap();
        Fixture { store, dir }
    }

    /// A second process's view, as far as SQLite can tell.
    pub(in crate::storage) fn other(&self) -> Connection {
        let other = Connection::open(self.dir.path().join(FILE_NAME)).unwrap();
        other.busy_timeout(Duration::from_secs(30)).unwrap();
        other
    }

    /// Fills the table beyond the limit, as an old version could.
    pub(in crate::storage) fn fill_invites(&self, count: u32) {
        self.sql(&format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
             INSERT INTO room_invites (id, room_id, hash, created_at, expires_at)
             SELECT printf('i%06d', i), 'r', CAST(printf('h%d', i) AS BLOB),
                    '2023-01-01T00:00:00Z', '2999-01-01T00:00:00Z' FROM n"
        ));
    }

    pub(in crate::storage) fn sql(&self, sql: &str) {
        self.other().execute_batch(sql).unwrap();
    }

    pub(in crate::storage) async fn user(&self, name: &str) -> String {
        let new = NewUser {
            name: name.to_owned(),
            ..NewUser::default()
        };
        self.store.add_user(new).await.unwrap().id
    }

    pub(in crate::storage) async fn found(&self, id_or_name: &str) -> Option<User> {
        let called = self.store.find_users(id_or_name).await.unwrap();
        called.into_iter().next()
    }

    pub(in crate::storage) async fn room(
        &self,
        id: &str,
        private: bool,
        max_participants: Option<u32>,
    ) {
        let new = NewRoom {
            id: Some(id.to_owned()),
            name: id.to_owned(),
            private,
            max_participants,
            owner_id: None,
        };
        self.store.create_room(new).await.unwrap();
    }

    pub(in crate::storage) async fn invite(&self, room: &str, uses: Option<u32>) -> Invite {
        let new = NewInvite {
            room_id: room.to_owned(),
            created_by: None,
            ttl: Duration::from_secs(3600),
            uses,
        };
        self.store.create_invite(new).await.unwrap()
    }

    pub(in crate::storage) async fn guest(&self, room: &str, until: u64) -> String {
        let invite = self.invite(room, None).await;
        let text = invite.text.expose();
        let guest = self
            .store
            .redeem_invite(Some(room), text, "Guest", NOW, until);
        guest.await.unwrap().id
    }

    pub(in crate::storage) async fn join(&self, room: &str, user: &str) -> Result<Room, JoinError> {
        self.store.join(room, user, JoinGrant::None, NOW).await
    }

    pub(in crate::storage) async fn members(&self, room: &str) -> Vec<String> {
        let members = self.store.participants(room, NOW).await.unwrap();
        members.into_iter().map(|member| member.user_id).collect()
    }
}
