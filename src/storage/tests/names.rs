//! How users and rooms are made and found.

use super::*;
use crate::token::{ROOM_ID_RULE, USER_ID_RULE};

#[tokio::test]
async fn a_user_is_found_by_id_and_by_name_and_who_has_the_id_comes_first() {
    let world = World::new();
    let alice = world.user("alice").await;
    let by_name = world.found("alice").await.unwrap();
    assert_eq!(world.found(&alice).await.unwrap(), by_name);
    assert_eq!(by_name.display_name, "alice");

    let provisioned = world.store.provision("alice", Some("Al")).await.unwrap();
    assert_eq!(
        (provisioned.id.as_str(), provisioned.name.as_str()),
        ("alice", "alice~2")
    );
    assert_eq!(world.found("alice").await.unwrap(), provisioned);
    let called = world.store.find_users("alice").await.unwrap();
    assert_eq!(called, [provisioned, by_name]);
    assert_eq!(world.store.users().await.unwrap().len(), 2);
    assert_eq!(world.found("bob").await, None);
}

#[tokio::test]
async fn a_name_is_taken_by_one_user_and_one_open_room() {
    let world = World::new();
    world.user("alice").await;
    let again = NewUser {
        name: "alice".into(),
        ..NewUser::default()
    };
    let taken = CreateError::NameTaken("alice".into());
    assert_eq!(world.store.add_user(again).await.unwrap_err(), taken);

    let named = |id: &str| NewRoom {
        id: Some(id.into()),
        name: "Lobby".into(),
        ..NewRoom::default()
    };
    world.store.create_room(named("one")).await.unwrap();
    let taken = world.store.create_room(named("two")).await.unwrap_err();
    assert_eq!(taken, CreateError::NameTaken("Lobby".into()));
    world.sql("UPDATE coworking_rooms SET closed_at = '2020-01-01T00:00:00Z'");
    let second = world.store.create_room(named("two")).await.unwrap();
    assert_eq!(world.store.room("Lobby").await.unwrap(), Some(second));
    let taken = world.store.create_room(named("one")).await.unwrap_err();
    assert_eq!(taken, CreateError::IdTaken("one".into()));
}

#[tokio::test]
async fn the_id_of_one_room_may_be_the_name_of_another() {
    let world = World::new();
    let make = |id: &str, name: &str| {
        world.store.create_room(NewRoom {
            id: Some(id.into()),
            name: name.into(),
            ..NewRoom::default()
        })
    };
    let one = make("daily", "One").await.unwrap();
    let called = || world.store.find_rooms("daily");
    assert_eq!(called().await.unwrap(), std::slice::from_ref(&one));
    let two = make("two", "daily").await.unwrap();
    assert_eq!(called().await.unwrap(), [one, two]);
    let same = make("same", "same").await.unwrap();
    assert_eq!(world.store.find_rooms("same").await.unwrap(), [same]);
}

#[tokio::test]
async fn what_cannot_be_a_room_is_refused() {
    let world = World::new();
    let make = |new: NewRoom| world.store.create_room(new);
    let room = |name: &str| NewRoom {
        name: name.into(),
        ..NewRoom::default()
    };
    for name in ["", " ", "a\nb", &"x".repeat(129)] {
        assert_eq!(
            make(room(name)).await,
            Err(CreateError::BadName),
            "{name:?}"
        );
    }
    let id = |id: &str| NewRoom {
        id: Some(id.into()),
        ..room("r")
    };
    assert_eq!(
        make(id("a/b")).await,
        Err(CreateError::BadId("a/b".into(), ROOM_ID_RULE))
    );
    for capacity in [0, 1_000_001] {
        let new = NewRoom {
            max_participants: Some(capacity),
            ..room("r")
        };
        assert_eq!(make(new).await, Err(CreateError::BadCapacity(capacity)));
    }
    let new = NewRoom {
        owner_id: Some("nobody".into()),
        ..room("r")
    };
    assert_eq!(
        make(new).await,
        Err(CreateError::NoSuchOwner("nobody".into()))
    );
    assert_eq!(world.store.rooms().await.unwrap(), []);
}

#[tokio::test]
async fn a_room_keeps_a_name_that_could_not_be_given_any_more() {
    let world = World::new();
    world.room("r", false, None).await;
    world.sql("UPDATE coworking_rooms SET name = char(8238) || 'old' WHERE id = 'r'");
    let private = RoomChange {
        private: Some(true),
        ..RoomChange::default()
    };
    let changed = world.store.change_room("r", private).await.unwrap();
    assert_eq!((changed.private, &*changed.name), (true, "\u{202e}old"));
    let named = RoomChange {
        name: Some("\u{202e}new".to_owned()),
        ..RoomChange::default()
    };
    let refused = world.store.change_room("r", named).await;
    assert_eq!(refused, Err(CreateError::BadName.into()));
}

#[tokio::test]
async fn a_deleted_id_stays_refused_and_its_name_is_free_again() {
    let world = World::new();
    world.store.provision("alice", None).await.unwrap();
    world.sql("UPDATE users SET deleted_at = '2020-01-01T00:00:00Z' WHERE id = 'alice'");
    let refused = world.store.provision("alice", None).await.unwrap_err();
    assert_eq!(refused, CreateError::Deleted("alice".into()));
    world.room("r", false, None).await;
    assert_eq!(world.join("r", "alice").await, Err(JoinError::NoSuchUser));
    assert!(world.found("alice").await.unwrap().deleted);
    let second = world.user("alice").await;
    assert_ne!(second, "alice");
    assert_eq!(world.store.revocations(NOW).await.unwrap().users, ["alice"]);
}

#[tokio::test]
async fn provisioning_twice_makes_one_user() {
    let world = World::new();
    let first = world.store.provision("sub-1", Some("One")).await.unwrap();
    let second = world.store.provision("sub-1", Some("Two")).await.unwrap();
    assert_eq!(first, second);
    assert_eq!(first.display_name, "One");
    let odd = world.store.provision("a b", None).await.unwrap_err();
    assert_eq!(odd, CreateError::BadId("a b".into(), USER_ID_RULE));
}
