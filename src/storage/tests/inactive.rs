//! Disabled and deleted users, and guests whose time has run out, change nothing.

use super::*;

async fn inactive_users_create_nothing_and_write_nothing(fixture: Fixture) {
    let store = &fixture.store;
    fixture.room("r", false, None).await;
    let disabled = fixture.user("disabled").await;
    let deleted = fixture.user("deleted").await;
    let expired = fixture.guest("r", NOW + 60).await;
    for user in [&disabled, &deleted, &expired] {
        fixture.join("r", user).await.unwrap();
    }
    store.disable_user(&disabled, NOW).await.unwrap();
    store.delete_user(&deleted, NOW).await.unwrap();
    let missing = "missing".to_owned();
    for (user, error) in [
        (disabled, JoinError::UserDisabled),
        (deleted, JoinError::NoSuchUser),
        (expired, JoinError::GuestExpired),
        (missing, JoinError::NoSuchUser),
    ] {
        let room = NewRoom {
            name: format!("of {user}"),
            owner_id: Some(user.clone()),
            ..NewRoom::default()
        };
        let no_room = match error.clone() {
            JoinError::NoSuchUser => CreateError::NoSuchOwner(user.clone()),
            error => CreateError::Owner(error),
        };
        assert_eq!(store.create_room(room).await, Err(no_room));
        let invite = NewInvite {
            room_id: "r".to_owned(),
            created_by: Some(user.clone()),
            ttl: Duration::from_secs(60),
            uses: None,
        };
        let no_invite = InviteError::Author(error.clone());
        assert_eq!(store.create_invite(invite).await, Err(no_invite));
        let message = NewMessage {
            room_id: "r".to_owned(),
            user_id: user.clone(),
            content: "text".to_owned(),
        };
        let no_message = MessageError::Author(error.clone());
        let posted = store.post_message(message, 0, NOW + 60).await;
        assert_eq!(posted, Err(no_message));
        let joined = store.join("r", &user, JoinGrant::Token, NOW + 60).await;
        assert_eq!(joined.map(drop), Err(error));
    }
}

on_every_backend!(inactive_users_create_nothing_and_write_nothing);
