//! How users and rooms are made and found.

use super::*;
use crate::token::{ROOM_ID_RULE, USER_ID_RULE};

async fn a_user_is_found_by_id_and_by_name_and_the_id_takes_precedence(fixture: Fixture) {
    let alice = fixture.user("alice").await;
    let by_name = fixture.found("alice").await.unwrap();
    assert_eq!(fixture.found(&alice).await.unwrap(), by_name);
    assert_eq!(by_name.display_name, "alice");

    let provisioned = fixture.store.provision("alice", Some("Al")).await.unwrap();
    assert_eq!(
        (provisioned.id.as_str(), provisioned.name.as_str()),
        ("alice", "alice~2")
    );
    assert_eq!(fixture.found("alice").await.unwrap(), provisioned);
    let called = fixture.store.find_users("alice").await.unwrap();
    assert_eq!(called, [provisioned, by_name]);
    assert_eq!(fixture.store.users().await.unwrap().len(), 2);
    assert_eq!(fixture.found("bob").await, None);
}

async fn a_name_is_taken_by_one_user_and_one_open_room(fixture: Fixture) {
    fixture.user("alice").await;
    let again = NewUser {
        name: "alice".into(),
        ..NewUser::default()
    };
    let taken = CreateError::NameTaken("alice".into());
    assert_eq!(fixture.store.add_user(again).await.unwrap_err(), taken);

    let named = |id: &str| NewRoom {
        id: Some(id.into()),
        name: "Lobby".into(),
        ..NewRoom::default()
    };
    fixture.store.create_room(named("one")).await.unwrap();
    let taken = fixture.store.create_room(named("two")).await.unwrap_err();
    assert_eq!(taken, CreateError::NameTaken("Lobby".into()));
    fixture.sql("UPDATE coworking_rooms SET closed_at = '2020-01-01T00:00:00Z'");
    let second = fixture.store.create_room(named("two")).await.unwrap();
    assert_eq!(fixture.store.room("Lobby").await.unwrap(), Some(second));
    let taken = fixture.store.create_room(named("one")).await.unwrap_err();
    assert_eq!(taken, CreateError::IdTaken("one".into()));
}

async fn the_id_of_one_room_may_be_the_name_of_another(fixture: Fixture) {
    let make = |id: &str, name: &str| {
        fixture.store.create_room(NewRoom {
            id: Some(id.into()),
            name: name.into(),
            ..NewRoom::default()
        })
    };
    let one = make("daily", "One").await.unwrap();
    let called = || fixture.store.find_rooms("daily");
    assert_eq!(called().await.unwrap(), std::slice::from_ref(&one));
    let two = make("two", "daily").await.unwrap();
    assert_eq!(called().await.unwrap(), [one, two]);
    let same = make("same", "same").await.unwrap();
    assert_eq!(fixture.store.find_rooms("same").await.unwrap(), [same]);
}

async fn an_invalid_room_is_rejected(fixture: Fixture) {
    let make = |new: NewRoom| fixture.store.create_room(new);
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
    assert_eq!(fixture.store.rooms().await.unwrap(), []);
}

async fn of_several_reasons_against_a_room_the_same_one_is_reported(fixture: Fixture) {
    fixture.room("r", false, None).await;
    fixture.room("old", false, None).await;
    fixture.room("closed", false, None).await;
    fixture.store.close_room("closed", NOW).await.unwrap();
    fixture.sql("UPDATE coworking_rooms SET name = '\u{202e}old' WHERE id = 'old'");
    let owner = Some("nobody".to_owned());
    for (id, name, capacity, expected) in [
        ("a/b", "", 0, CreateError::BadId("a/b".into(), ROOM_ID_RULE)),
        ("r", "", 0, CreateError::IdTaken("r".into())),
        ("new", "", 0, CreateError::BadName),
        ("new", "r", 0, CreateError::BadCapacity(0)),
        ("new", "r", 1, CreateError::NameTaken("r".into())),
        ("new", "n", 1, CreateError::NoSuchOwner("nobody".into())),
    ] {
        let new = NewRoom {
            id: Some(id.to_owned()),
            name: name.to_owned(),
            private: false,
            max_participants: Some(capacity),
            owner_id: owner.clone(),
        };
        let created = fixture.store.create_room(new).await;
        assert_eq!(created, Err(expected), "{id} {name} {capacity}");
    }
    for (id, name, capacity, expected) in [
        ("missing", Some(""), 0, ChangeError::NoSuchRoom),
        ("closed", Some(""), 0, ChangeError::RoomClosed),
        ("r", Some(""), 0, CreateError::BadName.into()),
        ("r", Some("\u{202e}old"), 0, CreateError::BadName.into()),
        ("old", Some("r"), 0, CreateError::BadCapacity(0).into()),
        (
            "old",
            Some("r"),
            u32::MAX,
            CreateError::BadCapacity(u32::MAX).into(),
        ),
        ("old", None, 0, CreateError::BadCapacity(0).into()),
        (
            "old",
            Some("r"),
            1,
            CreateError::NameTaken("r".into()).into(),
        ),
    ] {
        let change = RoomChange {
            name: name.map(str::to_owned),
            private: Some(true),
            max_participants: Some(Some(capacity)),
        };
        let changed = fixture.store.change_room(id, change).await;
        assert_eq!(changed, Err(expected), "{id} {name:?} {capacity}");
    }
    assert!(!fixture.store.room("r").await.unwrap().unwrap().private);
}

async fn a_room_keeps_a_name_that_is_no_longer_valid(fixture: Fixture) {
    fixture.room("r", false, None).await;
    fixture.sql("UPDATE coworking_rooms SET name = '\u{202e}old' WHERE id = 'r'");
    let private = RoomChange {
        private: Some(true),
        ..RoomChange::default()
    };
    let changed = fixture.store.change_room("r", private).await.unwrap();
    assert_eq!((changed.private, &*changed.name), (true, "\u{202e}old"));
    let named = RoomChange {
        name: Some("\u{202e}new".to_owned()),
        ..RoomChange::default()
    };
    let refused = fixture.store.change_room("r", named).await;
    assert_eq!(refused, Err(CreateError::BadName.into()));
}

async fn a_deleted_id_stays_rejected_and_its_name_becomes_free(fixture: Fixture) {
    fixture.store.provision("alice", None).await.unwrap();
    fixture.sql("UPDATE users SET deleted_at = '2020-01-01T00:00:00Z' WHERE id = 'alice'");
    let refused = fixture.store.provision("alice", None).await.unwrap_err();
    assert_eq!(refused, CreateError::Deleted("alice".into()));
    fixture.room("r", false, None).await;
    assert_eq!(fixture.join("r", "alice").await, Err(JoinError::NoSuchUser));
    assert!(fixture.found("alice").await.unwrap().deleted);
    let second = fixture.user("alice").await;
    assert_ne!(second, "alice");
    assert_eq!(
        fixture
            .store
            .revocations(NOW, &Changes::Everything)
            .await
            .unwrap()
            .users,
        ["alice"]
    );
}

async fn provisioning_twice_makes_one_user(fixture: Fixture) {
    let first = fixture.store.provision("sub-1", Some("One")).await.unwrap();
    let second = fixture.store.provision("sub-1", Some("Two")).await.unwrap();
    assert_eq!(first, second);
    assert_eq!(first.display_name, "One");
    let odd = fixture.store.provision("a b", None).await.unwrap_err();
    assert_eq!(odd, CreateError::BadId("a b".into(), USER_ID_RULE));
}

async fn rooms_and_users_are_sorted_by_bytes(fixture: Fixture) {
    for (number, name) in ["a", "_", "Z", "é", "B", "b"].into_iter().enumerate() {
        let room = NewRoom {
            id: Some(format!("r-{number}")),
            name: name.to_owned(),
            ..NewRoom::default()
        };
        fixture.store.create_room(room).await.unwrap();
        fixture.user(name).await;
    }
    let sorted = ["B", "Z", "_", "a", "b", "é"];
    let rooms = fixture.store.rooms().await.unwrap();
    let rooms: Vec<_> = rooms.iter().map(|room| room.name.as_str()).collect();
    assert_eq!(rooms, sorted);
    let users = fixture.store.users().await.unwrap();
    let users: Vec<_> = users.iter().map(|user| user.name.as_str()).collect();
    assert_eq!(users, sorted);
    let query = RoomQuery {
        user_id: "nobody".to_owned(),
        admin: false,
        only: None,
        after: Some("Z".to_owned()),
        limit: 2,
    };
    let page = fixture.store.visible_rooms(query).await.unwrap();
    let page: Vec<_> = page.iter().map(|room| room.name.as_str()).collect();
    assert_eq!(page, ["_", "a"]);
}

async fn text_with_a_null_character_is_no_error(fixture: Fixture) {
    fixture.room("r", false, None).await;
    let alice = fixture.user("alice").await;
    fixture.join("r", &alice).await.unwrap();
    let new = NewMessage {
        room_id: "r".to_owned(),
        user_id: alice,
        content: "a\0b".to_owned(),
    };
    let posted = fixture.store.post_message(new, 10, NOW).await.unwrap();
    let messages = fixture.store.messages("r", None, None, 10).await.unwrap();
    assert_eq!((messages.len(), messages[0].id), (1, posted.id));
    assert_eq!(fixture.store.find_users("alice\0").await.unwrap(), []);
    assert_eq!(fixture.store.login("alice\0").await.unwrap(), None);
    assert_eq!(fixture.store.find_rooms("\0").await.unwrap(), []);
}

on_every_backend!(
    rooms_and_users_are_sorted_by_bytes,
    text_with_a_null_character_is_no_error,
    a_user_is_found_by_id_and_by_name_and_the_id_takes_precedence,
    a_name_is_taken_by_one_user_and_one_open_room,
    the_id_of_one_room_may_be_the_name_of_another,
    an_invalid_room_is_rejected,
    of_several_reasons_against_a_room_the_same_one_is_reported,
    a_room_keeps_a_name_that_is_no_longer_valid,
    a_deleted_id_stays_rejected_and_its_name_becomes_free,
    provisioning_twice_makes_one_user,
);
