//! Large numbers of invites, and revoked invites.

use super::*;

fn new(created_by: Option<&str>, room: &str) -> NewInvite {
    NewInvite {
        room_id: room.to_owned(),
        created_by: created_by.map(str::to_owned),
        ttl: Duration::from_secs(3600),
        uses: None,
    }
}

async fn a_room_and_a_user_have_a_limit_of_valid_invites(fixture: Fixture) {
    fixture.room("r", false, None).await;
    fixture.room("other", false, None).await;
    let alice = fixture.user("alice").await;
    fixture.fill_invites(MAX_INVITES);
    let full = Err(InviteError::TooMany(MAX_INVITES));
    assert_eq!(fixture.store.create_invite(new(None, "r")).await, full);
    fixture
        .store
        .create_invite(new(Some(&alice), "other"))
        .await
        .unwrap();
    fixture.sql(&format!("UPDATE room_invites SET created_by = '{alice}'"));
    assert_eq!(
        fixture
            .store
            .create_invite(new(Some(&alice), "other"))
            .await,
        full
    );
    let now = clock::now().unix;
    assert!(
        fixture
            .store
            .revoke_invite(Some("r"), "i000001", now)
            .await
            .unwrap()
    );
    fixture.sql("UPDATE room_invites SET uses_left = 0 WHERE id = 'i000002'");
    fixture.sql("UPDATE room_invites SET expires_at = '2023-01-01T00:00:00Z' WHERE id = 'i000003'");
    for _ in 0..2 {
        fixture
            .store
            .create_invite(new(Some(&alice), "r"))
            .await
            .unwrap();
    }
    assert_eq!(
        fixture.store.create_invite(new(Some(&alice), "r")).await,
        full
    );
}

async fn only_an_active_user_creates_invites(fixture: Fixture) {
    fixture.room("r", false, None).await;
    let alice = fixture.user("alice").await;
    let create = async || {
        let created = fixture.store.create_invite(new(Some(&alice), "r")).await;
        created.map(drop)
    };
    assert_eq!(create().await, Ok(()));
    fixture.store.disable_user(&alice, NOW).await.unwrap();
    let disabled = InviteError::Author(JoinError::UserDisabled);
    assert_eq!(create().await, Err(disabled));
    fixture.store.delete_user(&alice, NOW).await.unwrap();
    let deleted = InviteError::Author(JoinError::NoSuchUser);
    assert_eq!(create().await, Err(deleted));
    assert_eq!(fixture.store.invites(None, NOW, 10).await.unwrap(), []);
}

async fn a_revoked_invite_is_reported_and_deleted_after_a_month(fixture: Fixture) {
    fixture.room("r", true, None).await;
    fixture.room("other", true, None).await;
    let alice = fixture.user("alice").await;
    let invite = fixture.invite("r", None).await;
    let unix = clock::now().unix;
    let revoke = |room: &'static str| fixture.store.revoke_invite(Some(room), &invite.id, unix);
    assert_eq!(revoke("other").await, Ok(false));
    assert_eq!(revoke("r").await, Ok(true));
    assert_eq!(revoke("r").await, Ok(false));
    let text = invite.text.expose();
    let redeem = |room| {
        fixture
            .store
            .redeem_invite(Some(room), text, "Gast", unix, unix + 60)
    };
    assert_eq!(redeem("r").await, Err(InviteError::Revoked));
    assert_eq!(redeem("other").await, Err(InviteError::BadInvite));
    let grant = JoinGrant::Invite(text.to_owned());
    let joined = fixture.store.join("r", &alice, grant, unix).await;
    assert_eq!(joined, Err(JoinError::InviteRevoked));
    assert_eq!(
        fixture.store.invites(Some("r"), unix, 10).await.unwrap(),
        []
    );
    fixture.sql("UPDATE room_invites SET expires_at = '2999-01-01T00:00:00Z'");
    let month = 30 * 24 * 3600;
    fixture.store.delete_expired(unix + month).await.unwrap();
    assert_eq!(redeem("r").await, Err(InviteError::Revoked));
    fixture
        .store
        .delete_expired(unix + month + 1)
        .await
        .unwrap();
    assert_eq!(redeem("r").await, Err(InviteError::BadInvite));
}

async fn a_guest_is_stored_with_the_invite_that_they_used(fixture: Fixture) {
    fixture.room("r", false, None).await;
    let invite = fixture.invite("r", None).await;
    let text = invite.text.expose();
    let guest = fixture
        .store
        .redeem_invite(Some("r"), text, "Gast", NOW, NOW + 60);
    let guest = guest.await.unwrap();
    let place = guest.guest.clone().expect("a guest");
    assert_eq!(place.invite, Some(invite.id));
    assert_eq!(fixture.found(&guest.id).await, Some(guest));
}

async fn expired_bans_and_bans_of_expired_guests_are_deleted(fixture: Fixture) {
    fixture.room("r", false, None).await;
    let alice = fixture.user("alice").await;
    let guest = fixture.guest("r", NOW + 60).await;
    for (user, until) in [(&alice, Some(NOW + 60)), (&guest, None)] {
        let ban = NewBan {
            room_id: "r".to_owned(),
            user_id: user.clone(),
            until,
            cause: Cause::default(),
            keep_invite: true,
        };
        fixture.store.ban(ban, NOW).await.unwrap();
    }
    assert_eq!(
        fixture.store.bans("r", None, NOW, 10).await.unwrap().len(),
        2
    );
    assert_eq!(
        fixture.store.bans("r", None, NOW, 1).await.unwrap().len(),
        1
    );
    fixture.store.delete_expired(NOW + 61).await.unwrap();
    assert_eq!(fixture.found(&guest).await, None);
    assert_eq!(fixture.count("room_bans"), 0);
}

on_every_backend!(
    a_room_and_a_user_have_a_limit_of_valid_invites,
    only_an_active_user_creates_invites,
    a_revoked_invite_is_reported_and_deleted_after_a_month,
    a_guest_is_stored_with_the_invite_that_they_used,
    expired_bans_and_bans_of_expired_guests_are_deleted,
);
