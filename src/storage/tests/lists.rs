//! Lists, lookups and counts.

use super::*;

async fn people_are_found_by_name_id_and_room(fixture: Fixture) {
    let store = &fixture.store;
    fixture.room("r", true, None).await;
    let alice = fixture.user("alice").await;
    store.provision("bob", Some("Bob Ö")).await.unwrap();
    let early = fixture.guest("r", NOW + 60).await;
    let late = fixture.guest("r", NOW + 600).await;
    fixture.join("r", &late).await.unwrap();
    let search = async |text: &str, unix, limit| -> Vec<String> {
        let found = store.search_people(text, unix, limit).await.unwrap();
        found.into_iter().map(|person| person.user.id).collect()
    };
    assert_eq!(search("ALI", NOW, 10).await, [alice.as_str()]);
    assert_eq!(search("b ö", NOW, 10).await, [""; 0]);
    assert_eq!(search("b Ö", NOW, 10).await, ["bob"]);
    assert_eq!(search("%", NOW, 10).await, [""; 0]);
    assert_eq!(search("", NOW, 10).await.len(), 4);
    assert_eq!(search("", NOW, 2).await, ["bob", alice.as_str()]);
    assert_eq!(search("guest", NOW + 60, 10).await, [late.as_str()]);
    assert_eq!(store.guest_count(NOW).await, Ok(2));
    assert_eq!(store.guest_count(NOW + 60).await, Ok(1));
    let guests = async |name: Option<&str>, room: Option<&str>, unix| -> Vec<(String, bool)> {
        let found = store.guests(name, room, unix, 10).await.unwrap();
        let present = |guest: ActiveGuest| (guest.user.id, guest.participant);
        let mut found: Vec<_> = found.into_iter().map(present).collect();
        found.sort();
        found
    };
    let mut both = [(early.clone(), false), (late.clone(), true)];
    both.sort();
    assert_eq!(guests(None, None, NOW).await, both);
    assert_eq!(guests(Some("Guest"), Some("r"), NOW).await, both);
    assert_eq!(guests(Some("guest"), None, NOW).await, []);
    assert_eq!(guests(None, Some("other"), NOW).await, []);
    assert_eq!(guests(None, None, NOW + 60).await, [(late.clone(), true)]);
    let ids = vec![late.clone(), "nobody".to_owned(), "bob".to_owned()];
    let named = store.people(ids).await.unwrap();
    let named: Vec<_> = named
        .iter()
        .map(|person| (person.user.id.as_str(), person.guest_room.as_deref()))
        .collect();
    assert_eq!(named, [(late.as_str(), Some("r")), ("bob", None)]);
    let guests = store.guest_memberships().await.unwrap();
    assert_eq!(guests, [(late, "r".to_owned())]);
}

async fn a_user_sees_public_rooms_own_ones_and_memberships(fixture: Fixture) {
    let store = &fixture.store;
    let alice = fixture.user("alice").await;
    for (id, private) in [("a", false), ("b", true), ("c", true), ("d", true)] {
        fixture.room(id, private, None).await;
    }
    fixture.sql(&format!(
        "UPDATE coworking_rooms SET owner_id = '{alice}' WHERE id = 'b'"
    ));
    let join = store.join("c", &alice, JoinGrant::Token, NOW);
    join.await.unwrap();
    let seen = async |admin, only: Option<&[&str]>, after: Option<&str>, limit| -> Vec<String> {
        let query = RoomQuery {
            user_id: alice.clone(),
            admin,
            only: only.map(|ids| ids.iter().map(ToString::to_string).collect()),
            after: after.map(str::to_owned),
            limit,
        };
        let rooms = store.visible_rooms(query).await.unwrap();
        rooms.into_iter().map(|room| room.id).collect()
    };
    assert_eq!(seen(false, None, None, 10).await, ["a", "b", "c"]);
    assert_eq!(seen(true, None, None, 10).await, ["a", "b", "c", "d"]);
    assert_eq!(seen(false, Some(&["d", "x"]), None, 10).await, ["d"]);
    assert_eq!(seen(false, Some(&[]), None, 10).await, [""; 0]);
    assert_eq!(seen(false, None, Some("a"), 1).await, ["b"]);
    assert_eq!(store.room_counts().await, Ok((4, 1)));
    let memberships = store.memberships(&alice).await.unwrap();
    let expected = Membership {
        room_id: "c".to_owned(),
        room_name: "c".to_owned(),
        joined_at: NOW,
    };
    assert_eq!(memberships, [expected]);
    store.leave("c", &alice, NOW).await.unwrap();
    store.close_room("a", NOW).await.unwrap();
    assert_eq!(seen(false, None, None, 10).await, ["b"]);
}

async fn a_preview_shows_a_room_and_uses_no_invite_up(fixture: Fixture) {
    let store = &fixture.store;
    fixture.room("r", true, Some(1)).await;
    let alice = fixture.user("alice").await;
    let invite = fixture.invite("r", Some(1)).await;
    let text = invite.text.expose();
    let preview = async |user: Option<&str>, invite: Option<&str>| {
        let shown = store.preview("r", user, invite, NOW).await;
        shown.map(|preview| preview.full)
    };
    for _ in 0..3 {
        assert_eq!(preview(None, Some(text)).await, Ok(false));
    }
    assert_eq!(
        preview(None, Some("wrong")).await,
        Err(JoinError::BadInvite)
    );
    let joined = store.join("r", &alice, JoinGrant::Invite(text.to_owned()), NOW);
    joined.await.unwrap();
    assert_eq!(preview(None, Some(text)).await, Err(JoinError::BadInvite));
    assert_eq!(preview(None, None).await, Ok(true));
    assert_eq!(preview(Some(&alice), None).await, Ok(false));
    store
        .kick("r", &alice, NOW + 30, Cause::default(), NOW)
        .await
        .unwrap();
    let kicked = Err(JoinError::Kicked { wait: 30 });
    assert_eq!(preview(Some(&alice), None).await, kicked);
    assert_eq!(
        store
            .join("r", &alice, JoinGrant::Token, NOW)
            .await
            .map(drop),
        kicked.map(drop)
    );
    let missing = store.preview("none", None, None, NOW).await;
    assert_eq!(missing.map(drop), Err(JoinError::NoSuchRoom));
    store.close_room("r", NOW).await.unwrap();
    assert_eq!(preview(None, None).await, Err(JoinError::RoomClosed));
}

async fn bans_replace_each_other_and_tell_how_the_guest_came(fixture: Fixture) {
    let store = &fixture.store;
    fixture.room("r", false, None).await;
    let invite = fixture.invite("r", None).await;
    let text = invite.text.expose();
    let guest = store.redeem_invite(None, text, "Guest", NOW, NOW + 600);
    let guest = guest.await.unwrap().id;
    fixture.join("r", &guest).await.unwrap();
    let ban = |user: &str, until, reason: &str| NewBan {
        room_id: "r".to_owned(),
        user_id: user.to_owned(),
        until,
        cause: Cause::new(None, Some(reason.to_owned())).unwrap(),
        keep_invite: false,
    };
    let banned = store
        .ban(ban(&guest, Some(NOW + 60), "noise"), NOW)
        .await
        .unwrap();
    assert_eq!((banned.invite, banned.revoked), (Some(invite.id), true));
    assert!(banned.left.was_member);
    let again = store
        .ban(ban(&guest, None, "more noise"), NOW + 1)
        .await
        .unwrap();
    assert!(!again.revoked && !again.left.was_member);
    let bans = store.bans("r", None, NOW + 2, 10).await.unwrap();
    assert_eq!((bans.len(), bans[0].until), (1, None));
    assert_eq!(bans[0].reason.as_deref(), Some("more noise"));
    assert_eq!((bans[0].created_at, bans[0].guest), (NOW + 1, true));
    assert_eq!(
        store.unban("r", &guest, Cause::default(), NOW).await,
        Ok(true)
    );
    assert_eq!(
        store.unban("r", &guest, Cause::default(), NOW).await,
        Ok(false)
    );
    let admin = NewUser {
        name: "admin".to_owned(),
        admin: true,
        ..NewUser::default()
    };
    let admin = store.add_user(admin).await.unwrap().id;
    for (user, error) in [
        ("nobody", BanError::NoSuchUser),
        (admin.as_str(), BanError::Admin),
    ] {
        let refused = store.ban(ban(user, None, "x"), NOW).await;
        assert_eq!(refused, Err(error));
    }
    let past = store.ban(ban(&guest, Some(NOW), "x"), NOW).await;
    assert_eq!(past, Err(BanError::Past));
}

/// Each column of a list in the field that has its name.
async fn lists_name_rooms_people_and_times(fixture: Fixture) {
    let store = &fixture.store;
    let room = NewRoom {
        id: Some("r".to_owned()),
        name: "Room".to_owned(),
        ..NewRoom::default()
    };
    store.create_room(room).await.unwrap();
    let alice = NewUser {
        name: "alice".to_owned(),
        display_name: Some("Alice".to_owned()),
        ..NewUser::default()
    };
    let alice = store.add_user(alice).await.unwrap().id;
    fixture.join("r", &alice).await.unwrap();
    let membership = store.memberships(&alice).await.unwrap().remove(0);
    let named = (&*membership.room_id, &*membership.room_name);
    assert_eq!((named, membership.joined_at), (("r", "Room"), NOW));
    let ban = NewBan {
        room_id: "r".to_owned(),
        user_id: alice.clone(),
        until: Some(NOW + 60),
        cause: Cause::new(None, Some("noise".to_owned())).unwrap(),
        keep_invite: false,
    };
    store.ban(ban, NOW).await.unwrap();
    let ban = store.bans("r", None, NOW, 10).await.unwrap().remove(0);
    let expected = Ban {
        user_id: alice,
        name: "alice".to_owned(),
        display_name: "Alice".to_owned(),
        guest: false,
        reason: Some("noise".to_owned()),
        created_at: NOW,
        created_by: None,
        until: Some(NOW + 60),
    };
    assert_eq!(ban, expected);
    fixture.invite("r", Some(3)).await;
    let invite = store.invites(None, NOW, 10).await.unwrap().remove(0);
    let named = (&*invite.room_id, &*invite.room_name, invite.created_by);
    assert_eq!(named, ("r", "Room", None));
    assert_eq!(
        (invite.expires_at - invite.created_at, invite.uses_left),
        (3600, Some(3))
    );
}

on_every_backend!(
    lists_name_rooms_people_and_times,
    people_are_found_by_name_id_and_room,
    a_user_sees_public_rooms_own_ones_and_memberships,
    a_preview_shows_a_room_and_uses_no_invite_up,
    bans_replace_each_other_and_tell_how_the_guest_came,
    bans_are_listed_in_pages,
);

async fn bans_are_listed_in_pages(fixture: Fixture) {
    fixture.room("r", false, None).await;
    // Two within each second.
    let mut users = Vec::new();
    for (name, time) in [("a", 2), ("b", 2), ("c", 1), ("d", 1), ("e", 0)] {
        let user = fixture.store.provision(name, None).await.unwrap().id;
        fixture.sql(&format!(
            "INSERT INTO room_bans (room_id, user_id, created_at)
             VALUES ('r', '{user}', '2023-11-14T00:00:0{time}Z')"
        ));
        users.push(user);
    }
    let mut listed: Vec<String> = Vec::new();
    loop {
        let after = listed.last().map(String::as_str);
        let page = fixture.store.bans("r", after, NOW, 2).await.unwrap();
        if page.is_empty() {
            break;
        }
        listed.extend(page.into_iter().map(|ban| ban.user_id));
    }
    assert_eq!(listed, users);
    let unknown = fixture.store.bans("r", Some("nobody"), NOW, 2).await;
    assert_eq!(unknown, Ok(Vec::new()));
}
