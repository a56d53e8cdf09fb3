//! The access of guests, and its prolongation.

use super::*;

const UNTIL: u64 = NOW + 60;
const LATER: u64 = NOW + 3600;

/// A room with a guest who has joined it by an invite that is used up.
struct Place {
    fixture: Fixture,
    guest: String,
    invite: String,
    author: String,
}

impl Place {
    async fn new(fixture: Fixture) -> Place {
        fixture.room("r", true, None).await;
        let author = fixture.user("author").await;
        let new = NewInvite {
            room_id: "r".to_owned(),
            created_by: Some(author.clone()),
            ttl: Duration::from_secs(3600),
            uses: Some(1),
        };
        let invite = fixture.store.create_invite(new).await.unwrap();
        let text = invite.text.expose();
        let redeemed = fixture
            .store
            .redeem_invite(Some("r"), text, "Gast", NOW, UNTIL);
        let guest = redeemed.await.unwrap().id;
        fixture.join("r", &guest).await.unwrap();
        Place {
            fixture,
            guest,
            invite: invite.id,
            author,
        }
    }

    async fn prolong(&self, unix: u64) -> bool {
        let store = &self.fixture.store;
        let prolonged = store.prolong_guest(&self.guest, unix, LATER).await.unwrap();
        let until = self.until().await;
        assert_eq!(until, if prolonged { LATER } else { UNTIL });
        prolonged
    }

    async fn until(&self) -> u64 {
        let user = self.fixture.found(&self.guest).await.expect("a user");
        user.guest.expect("a guest").until
    }
}

async fn the_access_of_a_guest_is_prolonged_while_the_invite_is_valid(fixture: Fixture) {
    let place = Place::new(fixture).await;
    let before = place.fixture.found(&place.guest).await.expect("a user");
    assert!(place.prolong(NOW).await);
    let mut after = place.fixture.found(&place.guest).await.expect("a user");
    after.guest.as_mut().expect("a guest").until = UNTIL;
    assert_eq!(after, before);
    // Once more has no effect, and shortens nothing.
    assert!(place.prolong(NOW).await);
    let store = &place.fixture.store;
    let shorter = store.prolong_guest(&place.guest, NOW, LATER - 1).await;
    assert_eq!(shorter, Ok(false));
    assert_eq!(place.until().await, LATER);
    // Nobody else has such an end.
    let author = store.prolong_guest(&place.author, NOW, LATER).await;
    assert_eq!(author, Ok(false));
}

async fn expired_access_stays_expired(fixture: Fixture) {
    let place = Place::new(fixture).await;
    assert!(!place.prolong(UNTIL).await);
    assert!(place.prolong(UNTIL - 1).await);
}

async fn a_guest_who_may_not_stay_is_not_prolonged(fixture: Fixture) {
    let place = Place::new(fixture).await;
    let store = &place.fixture.store;
    let (guest, invite) = (&*place.guest, &*place.invite);
    for (refused, allowed) in [
        (
            format!("UPDATE room_invites SET revoked_at = created_at WHERE id = '{invite}'"),
            "UPDATE room_invites SET revoked_at = NULL".to_owned(),
        ),
        (
            "UPDATE room_invites SET expires_at = '2023-01-01T00:00:00Z'".to_owned(),
            "UPDATE room_invites SET expires_at = '2999-01-01T00:00:00Z'".to_owned(),
        ),
        (
            format!("UPDATE users SET invite_id = NULL WHERE id = '{guest}'"),
            format!("UPDATE users SET invite_id = '{invite}' WHERE id = '{guest}'"),
        ),
        (
            format!("UPDATE users SET disabled_at = created_at WHERE id = '{guest}'"),
            format!("UPDATE users SET disabled_at = NULL WHERE id = '{guest}'"),
        ),
        (
            format!("UPDATE users SET deleted_at = created_at WHERE id = '{guest}'"),
            format!("UPDATE users SET deleted_at = NULL WHERE id = '{guest}'"),
        ),
        (
            format!(
                "UPDATE users SET disabled_at = created_at WHERE id = '{}'",
                place.author
            ),
            format!(
                "UPDATE users SET disabled_at = NULL WHERE id = '{}'",
                place.author
            ),
        ),
        (
            format!("UPDATE room_participants SET left_at = joined_at WHERE user_id = '{guest}'"),
            format!("UPDATE room_participants SET left_at = NULL WHERE user_id = '{guest}'"),
        ),
        (
            "UPDATE coworking_rooms SET closed_at = created_at".to_owned(),
            "UPDATE coworking_rooms SET closed_at = NULL".to_owned(),
        ),
    ] {
        place.fixture.sql(&refused);
        assert!(!place.prolong(NOW).await, "{refused}");
        place.fixture.sql(&allowed);
    }
    // A ban that keeps the invite, of a guest who was a member again.
    let ban = NewBan {
        room_id: "r".to_owned(),
        user_id: guest.to_owned(),
        until: Some(NOW + 10),
        cause: Cause::default(),
        keep_invite: true,
    };
    store.ban(ban, NOW).await.unwrap();
    place
        .fixture
        .sql("UPDATE room_participants SET left_at = NULL");
    assert!(!place.prolong(NOW).await);
    assert!(place.prolong(NOW + 10).await);
}

async fn a_ban_of_a_guest_ends_the_renewals_of_all_who_came_by_the_invite(fixture: Fixture) {
    fixture.room("r", false, None).await;
    let invite = fixture.invite("r", None).await;
    let mut guests = Vec::new();
    for name in ["first", "second"] {
        let text = invite.text.expose();
        let redeemed = fixture
            .store
            .redeem_invite(None, text, name, NOW, UNTIL)
            .await;
        let guest = redeemed.unwrap().id;
        fixture.join("r", &guest).await.unwrap();
        guests.push(guest);
    }
    let prolong = async |guest: &str| fixture.store.prolong_guest(guest, NOW, LATER).await;
    assert_eq!(prolong(&guests[1]).await, Ok(true));
    let ban = NewBan {
        room_id: "r".to_owned(),
        user_id: guests[0].clone(),
        until: None,
        cause: Cause::default(),
        keep_invite: false,
    };
    fixture.store.ban(ban, NOW).await.unwrap();
    for guest in &guests {
        assert_eq!(prolong(guest).await, Ok(false));
    }
    assert_eq!(fixture.members("r").await, [guests[1].clone()]);
}

on_every_backend!(
    the_access_of_a_guest_is_prolonged_while_the_invite_is_valid,
    expired_access_stays_expired,
    a_guest_who_may_not_stay_is_not_prolonged,
    a_ban_of_a_guest_ends_the_renewals_of_all_who_came_by_the_invite,
);
