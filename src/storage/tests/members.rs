//! Joins, leaves, guests and admissions.

use super::*;
use crate::credential::Subjects;

async fn a_second_join_succeeds_even_in_a_full_room(fixture: Fixture) {
    fixture.room("r", false, Some(1)).await;
    let (alice, bob) = (fixture.user("alice").await, fixture.user("bob").await);
    fixture.join("r", &alice).await.unwrap();
    assert_eq!(fixture.join("r", &bob).await, Err(JoinError::RoomFull));
    fixture.join("r", &alice).await.unwrap();
    assert_eq!(fixture.members("r").await, [alice.as_str()]);
    fixture.store.leave("r", &alice, NOW).await.unwrap();
    fixture.join("r", &bob).await.unwrap();
    assert_eq!(fixture.join("r", &alice).await, Err(JoinError::RoomFull));
}

async fn a_leave_reports_whether_the_user_was_a_member_here_and_is_one_elsewhere(fixture: Fixture) {
    fixture.room("one", false, None).await;
    fixture.room("two", false, None).await;
    let alice = fixture.user("alice").await;
    fixture.join("one", &alice).await.unwrap();
    fixture.join("two", &alice).await.unwrap();
    let leave = |room: &'static str| fixture.store.leave(room, &alice, NOW);
    let left = |was_member, ever_member, elsewhere, next_generation| LeaveOutcome {
        was_member,
        ever_member,
        elsewhere,
        next_generation,
    };
    assert_eq!(leave("one").await, Ok(left(true, true, true, 1)));
    assert_eq!(leave("one").await, Ok(left(false, true, true, 1)));
    assert_eq!(leave("two").await, Ok(left(true, true, false, 1)));
    assert_eq!(leave("nowhere").await, Ok(left(false, false, false, 0)));
}

async fn a_member_who_left_is_revoked_until_they_return(fixture: Fixture) {
    fixture.room("r", false, None).await;
    let alice = fixture.user("alice").await;
    fixture.join("r", &alice).await.unwrap();
    let nobody = RevocationList {
        open_rooms: vec!["r".to_owned()],
        ..RevocationList::default()
    };
    assert_eq!(
        fixture
            .store
            .revocations(NOW, &Changes::Everything)
            .await
            .unwrap(),
        nobody
    );
    fixture.store.leave("r", &alice, NOW).await.unwrap();
    let refused = fixture
        .store
        .revocations(NOW, &Changes::Everything)
        .await
        .unwrap();
    let departure = EndedMembership {
        user: alice.clone(),
        room: "r".to_owned(),
        elsewhere: false,
        next_generation: 1,
    };
    assert_eq!(refused.ended_memberships, [departure]);
    fixture.join("r", &alice).await.unwrap();
    let returned = RevocationList {
        later_memberships: vec![(alice, "r".to_owned(), 1)],
        ..nobody
    };
    assert_eq!(
        fixture
            .store
            .revocations(NOW, &Changes::Everything)
            .await
            .unwrap(),
        returned
    );
}

async fn the_revocations_of_some_subjects_are_their_part_of_all(fixture: Fixture) {
    for room in ["r", "s", "closed"] {
        fixture.room(room, false, None).await;
        for user in ["left", "back", "banned", "stays"] {
            fixture.store.provision(user, None).await.unwrap();
            fixture.join(room, user).await.unwrap();
        }
        for user in ["left", "back"] {
            fixture.store.leave(room, user, NOW).await.unwrap();
        }
        fixture.join(room, "back").await.unwrap();
        let ban = NewBan {
            room_id: room.to_owned(),
            user_id: "banned".to_owned(),
            until: None,
            cause: Cause::default(),
            keep_invite: false,
        };
        fixture.store.ban(ban, NOW).await.unwrap();
    }
    fixture.store.close_room("closed", NOW).await.unwrap();
    fixture.store.disable_user("stays", NOW).await.unwrap();
    fixture.store.sign_out("left", NOW).await.unwrap();
    let mut subjects = Subjects::default();
    for user in ["left", "back", "banned", "stays", "unknown"] {
        subjects.insert(Some(user), Some("r"));
        subjects.insert(Some(user), Some("unknown"));
    }
    for (user, room) in [
        (Some("left"), None),
        (Some("stays"), None),
        (None, Some("closed")),
        (None, Some("s")),
    ] {
        subjects.insert(user, room);
    }
    let list = async |changes: Changes| fixture.store.revocations(NOW, &changes).await.unwrap();
    let mut all = list(Changes::Everything).await;
    all.generations
        .retain(|(user, _)| user == "left" || user == "stays");
    all.open_rooms.retain(|room| room == "s");
    all.ended_memberships.retain(|ended| ended.room == "r");
    all.later_memberships.retain(|(_, room, _)| room == "r");
    all.bans.retain(|ban| ban.room == "r");
    assert_eq!(
        (all.users.len(), all.generations.len(), all.rooms.len()),
        (1, 2, 1)
    );
    assert_eq!(
        (
            all.ended_memberships.len(),
            all.later_memberships.len(),
            all.bans.len()
        ),
        (2, 1, 1)
    );
    if !fixture.store.is_remote() {
        // A file has no events: its list is always the whole one.
        assert_eq!(
            list(Changes::Of(subjects)).await,
            list(Changes::Everything).await
        );
        return;
    }
    let mut some = list(Changes::Of(subjects)).await;
    for list in [&mut all, &mut some] {
        list.generations.sort();
        list.ended_memberships
            .sort_by(|one, other| one.user.cmp(&other.user));
    }
    assert_eq!(some, all);
    let nothing = RevocationList::default();
    assert_eq!(list(Changes::default()).await, nothing);
}

async fn unknown_users_closed_rooms_disabled_and_banned_users_are_rejected(fixture: Fixture) {
    fixture.room("open", false, None).await;
    fixture.room("shut", false, None).await;
    let alice = fixture.user("alice").await;
    assert_eq!(
        fixture.join("open", "nobody").await,
        Err(JoinError::NoSuchUser)
    );
    assert_eq!(
        fixture.join("none", &alice).await,
        Err(JoinError::NoSuchRoom)
    );
    fixture.sql("UPDATE coworking_rooms SET closed_at = '2020-01-01T00:00:00Z' WHERE id = 'shut'");
    assert_eq!(
        fixture.join("shut", &alice).await,
        Err(JoinError::RoomClosed)
    );
    fixture.sql(&format!(
        "INSERT INTO room_bans (room_id, user_id, created_at) VALUES ('open', '{alice}', '2020-01-01T00:00:00Z')"
    ));
    assert_eq!(
        fixture.join("open", &alice).await,
        Err(JoinError::Banned { until: None })
    );
    fixture.sql("UPDATE users SET disabled_at = '2020-01-01T00:00:00Z'");
    assert_eq!(
        fixture.join("open", &alice).await,
        Err(JoinError::UserDisabled)
    );
    assert_eq!(
        fixture
            .store
            .revocations(NOW, &Changes::Everything)
            .await
            .unwrap()
            .users,
        [alice]
    );
}

async fn a_private_room_opens_to_members_invites_grants_and_its_owner(fixture: Fixture) {
    let (alice, owner) = (fixture.user("alice").await, fixture.user("owner").await);
    fixture.room("r", true, None).await;
    fixture.sql(&format!("UPDATE coworking_rooms SET owner_id = '{owner}'"));
    let join = |grant: JoinGrant| fixture.store.join("r", &alice, grant, NOW);
    assert_eq!(join(JoinGrant::None).await, Err(JoinError::NoSuchRoom));
    let wrong = JoinGrant::Invite("wrong".into());
    assert_eq!(join(wrong).await, Err(JoinError::BadInvite));
    join(JoinGrant::Token).await.unwrap();
    join(JoinGrant::None).await.unwrap();
    fixture.store.leave("r", &alice, NOW).await.unwrap();
    assert_eq!(join(JoinGrant::None).await, Err(JoinError::NotInvited));
    let invite = fixture.invite("r", Some(1)).await;
    let invited = JoinGrant::Invite(invite.text.expose().to_owned());
    join(invited.clone()).await.unwrap();
    join(invited.clone()).await.unwrap();
    fixture.store.leave("r", &alice, NOW).await.unwrap();
    assert_eq!(join(invited).await, Err(JoinError::BadInvite));
    fixture.join("r", &owner).await.unwrap();
}

async fn an_invite_is_valid_for_its_room_its_time_and_its_uses(fixture: Fixture) {
    fixture.room("r", true, None).await;
    fixture.room("other", true, None).await;
    let invite = fixture.invite("r", Some(2)).await;
    let redeem = |room: &'static str, unix| {
        let text = invite.text.expose();
        fixture
            .store
            .redeem_invite(Some(room), text, " Gast ", unix, unix + 60)
    };
    let bad = Err(InviteError::BadInvite);
    assert_eq!(redeem("other", NOW).await, bad);
    assert_eq!(redeem("nowhere", NOW).await, bad);
    assert_eq!(redeem("r", invite.expires_at).await, bad);
    let guest = redeem("r", NOW).await.unwrap();
    assert_eq!(guest.display_name, "Gast");
    assert_eq!(fixture.found(&guest.id).await, Some(guest));
    redeem("r", NOW).await.unwrap();
    assert_eq!(redeem("r", NOW).await, bad);
    assert!(invite.text.expose().len() * 6 >= 128);
}

async fn a_rejected_guest_does_not_use_up_the_invite(fixture: Fixture) {
    fixture.room("r", false, Some(1)).await;
    let alice = fixture.user("alice").await;
    fixture.join("r", &alice).await.unwrap();
    let invite = fixture.invite("r", Some(1)).await;
    let redeem = |name| {
        let text = invite.text.expose();
        fixture
            .store
            .redeem_invite(Some("r"), text, name, NOW, NOW + 60)
    };
    assert_eq!(redeem("Guest").await, Err(InviteError::RoomFull));
    assert_eq!(redeem("\u{7}").await, Err(InviteError::BadName));
    fixture.store.leave("r", &alice, NOW).await.unwrap();
    redeem("Guest").await.unwrap();
}

async fn a_guest_belongs_to_one_room_until_their_time_runs_out(fixture: Fixture) {
    fixture.room("r", true, Some(1)).await;
    fixture.room("other", false, None).await;
    let guest = fixture.guest("r", NOW + 60).await;
    assert_eq!(
        fixture.join("other", &guest).await,
        Err(JoinError::GuestElsewhere)
    );
    fixture.join("r", &guest).await.unwrap();
    let alice = fixture.user("alice").await;
    let join = |unix| fixture.store.join("r", &alice, JoinGrant::Token, unix);
    assert_eq!(join(NOW + 59).await, Err(JoinError::RoomFull));
    join(NOW + 60).await.unwrap();
    let late = fixture.store.join("r", &guest, JoinGrant::None, NOW + 60);
    assert_eq!(late.await, Err(JoinError::GuestExpired));
    let ended = fixture.store.end_expired_guests(NOW + 60).await.unwrap();
    let ended: Vec<_> = ended
        .iter()
        .map(|ended| (&*ended.user, &*ended.room))
        .collect();
    assert_eq!(ended, [(&*guest, "r")]);
    assert_eq!(fixture.members("r").await, [alice]);
}

async fn a_guest_is_not_found_by_name(fixture: Fixture) {
    fixture.room("r", false, None).await;
    fixture.guest("r", NOW + 60).await;
    assert_eq!(fixture.found("Guest").await, None);
    assert_eq!(fixture.store.users().await.unwrap(), []);
}

async fn an_admission_reports_user_room_and_membership_separately(fixture: Fixture) {
    fixture.room("r", false, Some(3)).await;
    let alice = fixture.user("alice").await;
    let look = async |room: &str, user: &str| {
        let admission = fixture.store.admission(room, user, NOW).await.unwrap();
        let (user, room) = (admission.user.is_some(), admission.room.is_some());
        (user, room, admission.participant)
    };
    assert_eq!(look("r", "nobody").await, (false, true, false));
    assert_eq!(look("none", &alice).await, (true, false, false));
    assert_eq!(look("r", &alice).await, (true, true, false));
}

async fn an_admission_follows_joins_and_leaves(fixture: Fixture) {
    fixture.room("r", false, Some(3)).await;
    let alice = fixture.user("alice").await;
    fixture.join("r", &alice).await.unwrap();
    let admission = fixture.store.admission("r", &alice, NOW).await.unwrap();
    assert!(admission.participant);
    assert_eq!(admission.room, fixture.store.room("r").await.unwrap());
    assert_eq!(admission.user, fixture.found(&alice).await);
    fixture.store.leave("r", &alice, NOW).await.unwrap();
    assert!(
        !fixture
            .store
            .admission("r", &alice, NOW)
            .await
            .unwrap()
            .participant
    );
}

async fn a_backlog_of_expired_guests_is_deleted_at_once(fixture: Fixture) {
    fixture.room("r", false, None).await;
    let numbers = match fixture.database {
        Some(_) => "SELECT i FROM generate_series(1, 2500) i",
        None => {
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500)
             SELECT i FROM n"
        }
    };
    fixture.sql(&format!(
        "INSERT INTO users (id, name, display_name, guest_room_id, guest_until, created_at)
         SELECT 'guest-' || i, 'guest-' || i, 'Guest', 'r', '2020-01-01T00:00:00Z', '2020-01-01T00:00:00Z'
         FROM ({numbers}) numbers"
    ));
    fixture.store.delete_expired(NOW).await.unwrap();
    assert_eq!(fixture.count("users"), 0);
}

async fn a_leave_by_another_program_counts_as_an_ended_membership(fixture: Fixture) {
    fixture.room("r", false, None).await;
    let alice = fixture.user("alice").await;
    for ended in 1..3 {
        fixture.join("r", &alice).await.unwrap();
        fixture.sql("UPDATE room_participants SET left_at = '2020-01-01T00:00:00Z'");
        assert_eq!(fixture.generation("r", &alice), ended);
        // It had ended already.
        fixture.sql("UPDATE room_participants SET left_at = '2021-01-01T00:00:00Z'");
        assert_eq!(fixture.generation("r", &alice), ended);
    }
    fixture.join("r", &alice).await.unwrap();
    let left = fixture.store.leave("r", &alice, NOW).await.unwrap();
    assert_eq!(left.next_generation, 3);
    assert_eq!(fixture.generation("r", &alice), 3);
}

async fn expired_guests_and_invites_are_deleted_except_authors_of_messages(fixture: Fixture) {
    fixture.room("r", false, None).await;
    let silent = fixture.guest("r", NOW + 60).await;
    let author = fixture.guest("r", NOW + 60).await;
    let here = fixture.guest("r", NOW + 100).await;
    for guest in [&silent, &author, &here] {
        fixture.join("r", guest).await.unwrap();
    }
    fixture.sql(&format!(
        "INSERT INTO room_messages (room_id, user_id, content, created_at)
         VALUES ('r', '{author}', 'hello', '2020-01-01T00:00:00Z')"
    ));
    fixture.store.delete_expired(NOW + 60).await.unwrap();
    assert_eq!(fixture.members("r").await.len(), 3);
    fixture.store.delete_expired(NOW + 61).await.unwrap();
    assert_eq!(fixture.members("r").await, [here]);
    assert_eq!(fixture.found(&silent).await, None);
    assert!(fixture.found(&author).await.is_some());
    assert_eq!(fixture.count("room_invites"), 3);
    let later = clock::now().unix + 2 * 3600;
    fixture.store.delete_expired(later).await.unwrap();
    assert_eq!(fixture.count("room_invites"), 0);
}

on_every_backend!(
    a_second_join_succeeds_even_in_a_full_room,
    a_leave_reports_whether_the_user_was_a_member_here_and_is_one_elsewhere,
    a_member_who_left_is_revoked_until_they_return,
    the_revocations_of_some_subjects_are_their_part_of_all,
    unknown_users_closed_rooms_disabled_and_banned_users_are_rejected,
    a_private_room_opens_to_members_invites_grants_and_its_owner,
    an_invite_is_valid_for_its_room_its_time_and_its_uses,
    a_rejected_guest_does_not_use_up_the_invite,
    a_guest_belongs_to_one_room_until_their_time_runs_out,
    a_guest_is_not_found_by_name,
    an_admission_reports_user_room_and_membership_separately,
    an_admission_follows_joins_and_leaves,
    expired_guests_and_invites_are_deleted_except_authors_of_messages,
    a_backlog_of_expired_guests_is_deleted_at_once,
    a_leave_by_another_program_counts_as_an_ended_membership,
);
