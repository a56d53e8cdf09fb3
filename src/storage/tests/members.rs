//! Who gets into a room, who stays, who is refused.

use super::*;

#[tokio::test]
async fn joining_twice_is_joining_once_also_in_a_full_room() {
    let world = World::new();
    world.room("r", false, Some(1)).await;
    let (alice, bob) = (world.user("alice").await, world.user("bob").await);
    world.join("r", &alice).await.unwrap();
    assert_eq!(world.join("r", &bob).await, Err(JoinError::RoomFull));
    world.join("r", &alice).await.unwrap();
    assert_eq!(world.members("r").await, [alice.as_str()]);
    world.store.leave("r", &alice, NOW).await.unwrap();
    world.join("r", &bob).await.unwrap();
    assert_eq!(world.join("r", &alice).await, Err(JoinError::RoomFull));
}

#[tokio::test]
async fn a_leave_says_whether_there_was_a_membership_and_whether_there_is_another() {
    let world = World::new();
    world.room("one", false, None).await;
    world.room("two", false, None).await;
    let alice = world.user("alice").await;
    world.join("one", &alice).await.unwrap();
    world.join("two", &alice).await.unwrap();
    let leave = |room: &'static str| world.store.leave(room, &alice, NOW);
    let left = |was_member, ever_member, elsewhere| LeaveOutcome {
        was_member,
        ever_member,
        elsewhere,
    };
    assert_eq!(leave("one").await, Ok(left(true, true, true)));
    assert_eq!(leave("one").await, Ok(left(false, true, true)));
    assert_eq!(leave("two").await, Ok(left(true, true, false)));
    assert_eq!(leave("nowhere").await, Ok(left(false, false, false)));
}

#[tokio::test]
async fn who_has_left_is_refused_until_back() {
    let world = World::new();
    world.room("r", false, None).await;
    let alice = world.user("alice").await;
    world.join("r", &alice).await.unwrap();
    let nobody = RevocationList {
        open_rooms: vec!["r".to_owned()],
        ..RevocationList::default()
    };
    assert_eq!(world.store.revocations(NOW).await.unwrap(), nobody);
    world.store.leave("r", &alice, NOW).await.unwrap();
    let refused = world.store.revocations(NOW).await.unwrap();
    let departure = EndedMembership {
        user: alice.clone(),
        room: "r".to_owned(),
        elsewhere: false,
    };
    assert_eq!(refused.ended_memberships, [departure]);
    world.join("r", &alice).await.unwrap();
    assert_eq!(world.store.revocations(NOW).await.unwrap(), nobody);
}

#[tokio::test]
async fn strangers_closed_rooms_disabled_users_and_the_banned_are_turned_away() {
    let world = World::new();
    world.room("open", false, None).await;
    world.room("shut", false, None).await;
    let alice = world.user("alice").await;
    assert_eq!(
        world.join("open", "nobody").await,
        Err(JoinError::NoSuchUser)
    );
    assert_eq!(world.join("none", &alice).await, Err(JoinError::NoSuchRoom));
    world.sql("UPDATE coworking_rooms SET closed_at = '2020-01-01T00:00:00Z' WHERE id = 'shut'");
    assert_eq!(world.join("shut", &alice).await, Err(JoinError::RoomClosed));
    world.sql(&format!(
        "INSERT INTO room_bans (room_id, user_id, created_at) VALUES ('open', '{alice}', '')"
    ));
    assert_eq!(
        world.join("open", &alice).await,
        Err(JoinError::Banned { until: None })
    );
    world.sql("UPDATE users SET disabled_at = '2020-01-01T00:00:00Z'");
    assert_eq!(
        world.join("open", &alice).await,
        Err(JoinError::UserDisabled)
    );
    assert_eq!(world.store.revocations(NOW).await.unwrap().users, [alice]);
}

#[tokio::test]
async fn a_private_room_opens_to_members_invites_grants_and_its_owner() {
    let world = World::new();
    let (alice, owner) = (world.user("alice").await, world.user("owner").await);
    world.room("r", true, None).await;
    world.sql(&format!("UPDATE coworking_rooms SET owner_id = '{owner}'"));
    let join = |grant: JoinGrant| world.store.join("r", &alice, grant, NOW);
    assert_eq!(join(JoinGrant::None).await, Err(JoinError::NoSuchRoom));
    let wrong = JoinGrant::Invite("wrong".into());
    assert_eq!(join(wrong).await, Err(JoinError::BadInvite));
    join(JoinGrant::Granted).await.unwrap();
    join(JoinGrant::None).await.unwrap();
    world.store.leave("r", &alice, NOW).await.unwrap();
    assert_eq!(join(JoinGrant::None).await, Err(JoinError::NotInvited));
    let invite = world.invite("r", Some(1)).await;
    let invited = JoinGrant::Invite(invite.text.expose().to_owned());
    join(invited.clone()).await.unwrap();
    join(invited.clone()).await.unwrap();
    world.store.leave("r", &alice, NOW).await.unwrap();
    assert_eq!(join(invited).await, Err(JoinError::BadInvite));
    world.join("r", &owner).await.unwrap();
}

#[tokio::test]
async fn an_invite_is_good_for_its_room_its_time_and_its_uses() {
    let world = World::new();
    world.room("r", true, None).await;
    world.room("other", true, None).await;
    let invite = world.invite("r", Some(2)).await;
    let redeem = |room: &'static str, unix| {
        let text = invite.text.expose();
        world
            .store
            .redeem_invite(Some(room), text, " Gast ", unix, unix + 60)
    };
    let bad = Err(InviteError::BadInvite);
    assert_eq!(redeem("other", NOW).await, bad);
    assert_eq!(redeem("nowhere", NOW).await, bad);
    assert_eq!(redeem("r", invite.expires_at).await, bad);
    let guest = redeem("r", NOW).await.unwrap();
    assert_eq!(guest.display_name, "Gast");
    assert_eq!(world.found(&guest.id).await, Some(guest));
    redeem("r", NOW).await.unwrap();
    assert_eq!(redeem("r", NOW).await, bad);
    assert!(invite.text.expose().len() * 6 >= 128);
}

#[tokio::test]
async fn a_refused_guest_does_not_use_up_the_invite() {
    let world = World::new();
    world.room("r", false, Some(1)).await;
    let alice = world.user("alice").await;
    world.join("r", &alice).await.unwrap();
    let invite = world.invite("r", Some(1)).await;
    let redeem = |name| {
        let text = invite.text.expose();
        world
            .store
            .redeem_invite(Some("r"), text, name, NOW, NOW + 60)
    };
    assert_eq!(redeem("Guest").await, Err(InviteError::RoomFull));
    assert_eq!(redeem("\u{7}").await, Err(InviteError::BadName));
    world.store.leave("r", &alice, NOW).await.unwrap();
    redeem("Guest").await.unwrap();
}

#[tokio::test]
async fn a_guest_belongs_to_one_room_until_their_time_runs_out() {
    let world = World::new();
    world.room("r", true, Some(1)).await;
    world.room("other", false, None).await;
    let guest = world.guest("r", NOW + 60).await;
    assert_eq!(
        world.join("other", &guest).await,
        Err(JoinError::GuestElsewhere)
    );
    world.join("r", &guest).await.unwrap();
    let alice = world.user("alice").await;
    let join = |unix| world.store.join("r", &alice, JoinGrant::Granted, unix);
    assert_eq!(join(NOW + 59).await, Err(JoinError::RoomFull));
    join(NOW + 60).await.unwrap();
    let late = world.store.join("r", &guest, JoinGrant::None, NOW + 60);
    assert_eq!(late.await, Err(JoinError::GuestExpired));
    let ended = world.store.end_expired_guests(NOW + 60).await.unwrap();
    assert_eq!(ended, [(guest, "r".to_owned())]);
    assert_eq!(world.members("r").await, [alice]);
}

#[tokio::test]
async fn guests_are_no_users_that_a_name_finds() {
    let world = World::new();
    world.room("r", false, None).await;
    world.guest("r", NOW + 60).await;
    assert_eq!(world.found("Guest").await, None);
    assert_eq!(world.store.users().await.unwrap(), []);
}

#[tokio::test]
async fn an_admission_tells_user_room_and_membership_apart() {
    let world = World::new();
    world.room("r", false, Some(3)).await;
    let alice = world.user("alice").await;
    let look = async |room: &str, user: &str| {
        let admission = world.store.admission(room, user, NOW).await.unwrap();
        let (user, room) = (admission.user.is_some(), admission.room.is_some());
        (user, room, admission.participant)
    };
    assert_eq!(look("r", "nobody").await, (false, true, false));
    assert_eq!(look("none", &alice).await, (true, false, false));
    assert_eq!(look("r", &alice).await, (true, true, false));
}

#[tokio::test]
async fn an_admission_follows_joins_and_leaves() {
    let world = World::new();
    world.room("r", false, Some(3)).await;
    let alice = world.user("alice").await;
    world.join("r", &alice).await.unwrap();
    let admission = world.store.admission("r", &alice, NOW).await.unwrap();
    assert!(admission.participant);
    assert_eq!(admission.room, world.store.room("r").await.unwrap());
    assert_eq!(admission.user, world.found(&alice).await);
    world.store.leave("r", &alice, NOW).await.unwrap();
    assert!(
        !world
            .store
            .admission("r", &alice, NOW)
            .await
            .unwrap()
            .participant
    );
}

#[tokio::test]
async fn guests_and_invites_long_gone_are_forgotten_unless_they_left_something() {
    let world = World::new();
    world.room("r", false, None).await;
    let silent = world.guest("r", NOW + 60).await;
    let author = world.guest("r", NOW + 60).await;
    let here = world.guest("r", NOW + 100).await;
    for guest in [&silent, &author, &here] {
        world.join("r", guest).await.unwrap();
    }
    world.sql(&format!(
        "INSERT INTO room_messages (room_id, user_id, content, created_at)
         VALUES ('r', '{author}', 'hello', '')"
    ));
    world.store.delete_expired(NOW + 60).await.unwrap();
    assert_eq!(world.members("r").await.len(), 3);
    world.store.delete_expired(NOW + 61).await.unwrap();
    assert_eq!(world.members("r").await, [here]);
    assert_eq!(world.found(&silent).await, None);
    assert!(world.found(&author).await.is_some());
    let invites = "SELECT count(*) FROM room_invites";
    let count = |world: &World| -> u32 {
        world
            .other()
            .query_row(invites, (), |row| row.get(0))
            .unwrap()
    };
    assert_eq!(count(&world), 3);
    let later = clock::now().unix + 2 * 3600;
    world.store.delete_expired(later).await.unwrap();
    assert_eq!(count(&world), 0);
}
