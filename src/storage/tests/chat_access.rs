//! Access to the chat of a room: refused authors, and the messages that a newcomer finds.

use super::*;

fn message(user: &str) -> NewMessage {
    NewMessage {
        room_id: "r".to_owned(),
        user_id: user.to_owned(),
        content: "text".to_owned(),
    }
}

async fn nobody_writes_in_a_closed_room_or_in_none(fixture: Fixture) {
    let store = &fixture.store;
    store.provision("alice", None).await.unwrap();
    let refused = store.post_message(message("alice"), 0, NOW).await;
    assert_eq!(refused, Err(MessageError::Author(JoinError::NoSuchRoom)));
    fixture.room("r", false, None).await;
    fixture.join("r", "alice").await.unwrap();
    // As another program closes a room: the membership stays.
    fixture.sql("UPDATE coworking_rooms SET closed_at = '2026-01-01T00:00:00Z'");
    let refused = store.post_message(message("alice"), 0, NOW).await;
    assert_eq!(refused, Err(MessageError::Author(JoinError::RoomClosed)));
    let refused = store.post_message(message("nobody"), 0, NOW).await;
    assert!(refused.is_err());
    assert_eq!(fixture.count("room_messages"), 0);
}

async fn a_newcomer_who_has_left_finds_their_own_messages_alone(fixture: Fixture) {
    let store = &fixture.store;
    fixture.room("r", false, None).await;
    for user in ["alice", "bob"] {
        store.provision(user, None).await.unwrap();
        fixture.join("r", user).await.unwrap();
    }
    let later = NOW + 1_000_000_000;
    let of_alice = store
        .post_message(message("alice"), 0, later)
        .await
        .unwrap();
    let of_bob = store.post_message(message("bob"), 0, later).await.unwrap();
    let author = async |id| store.message_author("r", Some("bob"), id).await.unwrap();
    assert_eq!(author(of_alice.id).await.as_deref(), Some("alice"));
    store.leave("r", "bob", later).await.unwrap();
    assert_eq!(author(of_alice.id).await, None);
    assert_eq!(author(of_bob.id).await.as_deref(), Some("bob"));
    let page = store.messages("r", Some("bob"), None, 10).await;
    assert_eq!(page, Ok(Vec::new()));
}

on_every_backend!(
    nobody_writes_in_a_closed_room_or_in_none,
    a_newcomer_who_has_left_finds_their_own_messages_alone,
);
