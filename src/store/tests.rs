//! What the store promises, on files in a temporary directory.

use std::time::Duration;

use super::*;

const NOW: u64 = 1_700_000_000;

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
        let guest = self.store.redeem_invite(room, text, "Guest", NOW, until);
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

#[tokio::test]
async fn a_user_is_found_by_id_and_by_name_and_the_id_outranks_the_name() {
    let world = World::new();
    let alice = world.user("alice").await;
    let by_name = world.store.user("alice").await.unwrap().unwrap();
    assert_eq!(world.store.user(&alice).await.unwrap().unwrap(), by_name);
    assert_eq!(by_name.display_name, "alice");

    let provisioned = world.store.provision("alice", Some("Al")).await.unwrap();
    assert_eq!(
        (provisioned.id.as_str(), provisioned.name.as_str()),
        ("alice", "alice~2")
    );
    assert_eq!(
        world.store.user("alice").await.unwrap().unwrap(),
        provisioned
    );
    assert_eq!(world.store.users().await.unwrap().len(), 2);
    assert_eq!(world.store.user("bob").await.unwrap(), None);
}
