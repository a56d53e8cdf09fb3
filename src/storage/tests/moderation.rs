//! Locks, roles and the audit.

use super::*;

on_every_backend! {
    a_locked_room_admits_members_owner_moderators_and_admins_alone,
    a_locked_room_uses_up_no_invite,
    a_role_outlives_the_membership_and_opens_a_private_room,
    an_owner_hands_the_room_over_and_becomes_a_moderator,
    a_role_that_cannot_be_given_leaves_everything_as_it_is,
    a_ban_and_a_deletion_end_the_role_of_a_moderator,
    each_change_has_one_audit_entry,
    changes_within_a_second_have_an_audit_entry_each,
    old_audit_entries_are_deleted,
}

fn by(actor: &str, reason: Option<&str>) -> Cause {
    Cause::new(Some(actor.to_owned()), reason.map(str::to_owned)).unwrap()
}

async fn set_role(fixture: &Fixture, user: &str, role: NewRole) -> Result<RoleOutcome, RoleError> {
    let change = RoleChange {
        room_id: "r".to_owned(),
        user_id: user.to_owned(),
        role,
        cause: Cause::default(),
        as_owner: false,
    };
    fixture.store.set_role(change, NOW).await
}

async fn lock(fixture: &Fixture, locked: bool) -> Room {
    let room = fixture
        .store
        .lock_room("r", locked, Cause::default(), NOW)
        .await;
    room.unwrap()
}

/// A room of its owner, who is not a member.
async fn owned_room(fixture: &Fixture, private: bool) {
    for user in ["owner", "alice", "bob"] {
        fixture.store.provision(user, None).await.unwrap();
    }
    let room = NewRoom {
        id: Some("r".to_owned()),
        name: "r".to_owned(),
        private,
        owner_id: Some("owner".to_owned()),
        ..NewRoom::default()
    };
    fixture.store.create_room(room).await.unwrap();
}

async fn roles(fixture: &Fixture) -> Vec<(String, &'static str)> {
    let members = fixture.store.participants("r", NOW).await.unwrap();
    let mut roles: Vec<_> = members
        .into_iter()
        .map(|member| (member.user_id, member.role.name()))
        .collect();
    roles.sort();
    roles
}

async fn a_locked_room_admits_members_owner_moderators_and_admins_alone(fixture: Fixture) {
    owned_room(&fixture, false).await;
    let admin = NewUser {
        name: "admin".to_owned(),
        admin: true,
        ..NewUser::default()
    };
    let admin = fixture.store.add_user(admin).await.unwrap().id;
    let guest = fixture.guest("r", NOW + 60).await;
    let late = fixture.guest("r", NOW + 60).await;
    for user in ["member", "moderator", "shell"] {
        fixture.store.provision(user, None).await.unwrap();
    }
    for user in ["member", &guest] {
        fixture.join("r", user).await.unwrap();
    }
    set_role(&fixture, "moderator", NewRole::Moderator)
        .await
        .unwrap();
    assert!(lock(&fixture, true).await.locked);
    assert!(lock(&fixture, true).await.locked);
    for user in ["member", &guest, "owner", "moderator", &admin] {
        assert!(fixture.join("r", user).await.unwrap().locked, "{user}");
        let preview = fixture.store.preview("r", Some(user), None, NOW).await;
        assert!(!preview.unwrap().locked, "{user}");
    }
    // A member who has left is a newcomer.
    fixture.store.leave("r", "member", NOW).await.unwrap();
    for user in ["alice", "member", &late] {
        for grant in [JoinGrant::None, JoinGrant::Token] {
            let joined = fixture.store.join("r", user, grant, NOW).await;
            assert_eq!(joined, Err(JoinError::RoomLocked), "{user}");
        }
        let preview = fixture.store.preview("r", Some(user), None, NOW).await;
        assert!(preview.unwrap().locked, "{user}");
    }
    let preview = fixture.store.preview("r", None, None, NOW).await.unwrap();
    assert!(preview.locked && preview.room.locked);
    for (user, grant) in [("shell", JoinGrant::Operator), ("bob", JoinGrant::Admin)] {
        fixture.store.join("r", user, grant, NOW).await.unwrap();
    }
    assert!(!lock(&fixture, false).await.locked);
    fixture.join("r", "alice").await.unwrap();
    fixture.store.close_room("r", NOW).await.unwrap();
    for (room, error) in [
        ("r", ChangeError::RoomClosed),
        ("none", ChangeError::NoSuchRoom),
    ] {
        let locked = fixture.store.lock_room(room, true, Cause::default(), NOW);
        assert_eq!(locked.await, Err(error));
    }
}

async fn a_locked_room_uses_up_no_invite(fixture: Fixture) {
    owned_room(&fixture, true).await;
    lock(&fixture, true).await;
    let invite = fixture.invite("r", Some(1)).await;
    let text = invite.text.expose();
    let redeem = || {
        let store = &fixture.store;
        store.redeem_invite(Some("r"), text, "Guest", NOW, NOW + 60)
    };
    assert_eq!(redeem().await, Err(InviteError::RoomLocked));
    let grant = JoinGrant::Invite(text.to_owned());
    let joined = fixture.store.join("r", "alice", grant, NOW).await;
    assert_eq!(joined, Err(JoinError::RoomLocked));
    // A private room stays hidden.
    let hidden = fixture.join("r", "alice").await;
    assert_eq!(hidden, Err(JoinError::NoSuchRoom));
    lock(&fixture, false).await;
    redeem().await.unwrap();
}

async fn a_role_outlives_the_membership_and_opens_a_private_room(fixture: Fixture) {
    owned_room(&fixture, true).await;
    let visible = async |user: &str| {
        let query = RoomQuery {
            user_id: user.to_owned(),
            admin: false,
            only: None,
            after: None,
            limit: 10,
        };
        fixture.store.visible_rooms(query).await.unwrap().len()
    };
    assert_eq!(visible("alice").await, 0);
    let outcome = set_role(&fixture, "alice", NewRole::Moderator).await;
    assert!(outcome.unwrap().is_changed);
    let again = set_role(&fixture, "alice", NewRole::Moderator).await;
    assert_eq!(again, Ok(RoleOutcome::default()));
    assert_eq!(visible("alice").await, 1);
    for _ in 0..2 {
        fixture.join("r", "alice").await.unwrap();
        assert_eq!(roles(&fixture).await, [("alice".to_owned(), "moderator")]);
        let admission = fixture.store.admission("r", "alice", NOW).await.unwrap();
        assert!(admission.moderator);
        fixture.store.leave("r", "alice", NOW).await.unwrap();
    }
    let outcome = set_role(&fixture, "alice", NewRole::Member).await;
    assert!(outcome.unwrap().is_changed);
    let again = set_role(&fixture, "alice", NewRole::Member).await;
    assert_eq!(again, Ok(RoleOutcome::default()));
    assert_eq!(visible("alice").await, 0);
    let admission = fixture.store.admission("r", "alice", NOW).await.unwrap();
    assert!(!admission.moderator);
    let joined = fixture.join("r", "alice").await;
    assert_eq!(joined, Err(JoinError::NotInvited));
}

async fn an_owner_hands_the_room_over_and_becomes_a_moderator(fixture: Fixture) {
    owned_room(&fixture, false).await;
    for user in ["owner", "alice"] {
        fixture.join("r", user).await.unwrap();
    }
    set_role(&fixture, "alice", NewRole::Moderator)
        .await
        .unwrap();
    let hand_over = |actor: &str, user: &str| RoleChange {
        room_id: "r".to_owned(),
        user_id: user.to_owned(),
        role: NewRole::Owner,
        cause: by(actor, None),
        as_owner: true,
    };
    let outcome = fixture.store.set_role(hand_over("owner", "alice"), NOW);
    let expected = RoleOutcome {
        is_changed: true,
        former_owner: Some("owner".to_owned()),
    };
    assert_eq!(outcome.await, Ok(expected));
    let expected = [
        ("alice".to_owned(), "owner"),
        ("owner".to_owned(), "moderator"),
    ];
    assert_eq!(roles(&fixture).await, expected);
    let room = fixture.store.room("r").await.unwrap().unwrap();
    assert_eq!(room.owner_id.as_deref(), Some("alice"));
    assert_eq!(fixture.count("room_moderators"), 1);
    // A second hand-over by the former owner comes too late.
    let late = fixture.store.set_role(hand_over("owner", "bob"), NOW).await;
    assert_eq!(late, Err(RoleError::NotOwner));
    let again = set_role(&fixture, "alice", NewRole::Owner).await;
    assert_eq!(again, Ok(RoleOutcome::default()));
    // A deleted owner becomes nothing.
    fixture.store.delete_user("alice", NOW).await.unwrap();
    let outcome = set_role(&fixture, "bob", NewRole::Owner).await.unwrap();
    assert_eq!((outcome.is_changed, outcome.former_owner), (true, None));
    assert_eq!(fixture.count("room_moderators"), 1);
}

async fn a_role_that_cannot_be_given_leaves_everything_as_it_is(fixture: Fixture) {
    owned_room(&fixture, false).await;
    let guest = fixture.guest("r", NOW + 60).await;
    for user in ["gone", "disabled", "banned", "rich"] {
        fixture.store.provision(user, None).await.unwrap();
    }
    fixture.store.delete_user("gone", NOW).await.unwrap();
    fixture.store.disable_user("disabled", NOW).await.unwrap();
    let ban = NewBan {
        room_id: "r".to_owned(),
        user_id: "banned".to_owned(),
        until: Some(NOW + 60),
        cause: Cause::default(),
        keep_invite: false,
    };
    fixture.store.ban(ban, NOW).await.unwrap();
    for number in 0..MAX_OWNED_ROOMS {
        let room = NewRoom {
            name: format!("room {number}"),
            owner_id: Some("rich".to_owned()),
            ..NewRoom::default()
        };
        fixture.store.create_room(room).await.unwrap();
    }
    let before = fixture.count("room_audit");
    for (user, role, error) in [
        ("owner", NewRole::Moderator, RoleError::LastOwner),
        ("owner", NewRole::Member, RoleError::LastOwner),
        ("nobody", NewRole::Moderator, RoleError::NoSuchUser),
        ("gone", NewRole::Owner, RoleError::NoSuchUser),
        (guest.as_str(), NewRole::Moderator, RoleError::Guest),
        (guest.as_str(), NewRole::Owner, RoleError::Guest),
        ("disabled", NewRole::Moderator, RoleError::UserDisabled),
        ("banned", NewRole::Moderator, RoleError::Banned),
        ("banned", NewRole::Owner, RoleError::Banned),
        (
            "rich",
            NewRole::Owner,
            RoleError::TooManyRooms(MAX_OWNED_ROOMS),
        ),
    ] {
        assert_eq!(set_role(&fixture, user, role).await, Err(error), "{user}");
    }
    assert_eq!(fixture.count("room_audit"), before);
    assert_eq!(fixture.count("room_moderators"), 0);
    set_role(&fixture, "rich", NewRole::Moderator)
        .await
        .unwrap();
    fixture.store.close_room("r", NOW).await.unwrap();
    let closed = set_role(&fixture, "alice", NewRole::Moderator).await;
    assert_eq!(closed, Err(RoleError::RoomClosed));
    fixture.store.delete_room("r", NOW).await.unwrap();
    assert_eq!(fixture.count("room_moderators"), 0);
    assert_eq!(fixture.count("room_audit"), 0);
}

async fn a_ban_and_a_deletion_end_the_role_of_a_moderator(fixture: Fixture) {
    owned_room(&fixture, false).await;
    for user in ["alice", "bob"] {
        set_role(&fixture, user, NewRole::Moderator).await.unwrap();
    }
    let ban = NewBan {
        room_id: "r".to_owned(),
        user_id: "alice".to_owned(),
        until: Some(NOW + 60),
        cause: by("owner", Some("noise")),
        keep_invite: false,
    };
    fixture.store.ban(ban, NOW).await.unwrap();
    let ban = fixture
        .store
        .bans("r", None, NOW, 10)
        .await
        .unwrap()
        .remove(0);
    assert_eq!(ban.created_by.as_deref(), Some("owner"));
    let admission = fixture.store.admission("r", "alice", NOW).await.unwrap();
    assert!(!admission.moderator);
    fixture.store.delete_user("bob", NOW).await.unwrap();
    assert_eq!(fixture.count("room_moderators"), 0);
}

async fn each_change_has_one_audit_entry(fixture: Fixture) {
    owned_room(&fixture, false).await;
    let store = &fixture.store;
    fixture.join("r", "alice").await.unwrap();
    let kick = |user: &'static str| store.kick("r", user, NOW + 30, by("owner", Some("a")), NOW);
    assert!(kick("alice").await.unwrap().is_some());
    assert_eq!(kick("alice").await, Ok(None));
    let ban = NewBan {
        room_id: "r".to_owned(),
        user_id: "alice".to_owned(),
        until: Some(NOW + 60),
        cause: by("owner", Some("b")),
        keep_invite: false,
    };
    store.ban(ban, NOW + 1).await.unwrap();
    for expected in [true, false] {
        let unban = store.unban("r", "alice", by("owner", None), NOW + 2);
        assert_eq!(unban.await, Ok(expected));
    }
    for locked in [true, false] {
        store
            .lock_room("r", locked, Cause::default(), NOW + 3)
            .await
            .unwrap();
    }
    set_role(&fixture, "bob", NewRole::Owner).await.unwrap();
    let entries = store.audit("r", None, 100).await.unwrap();
    let lines: Vec<String> = entries
        .iter()
        .map(|entry| {
            let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
            format!(
                "{} {} {}={} {}={} {} {:?} {}",
                entry.at - NOW,
                entry.action,
                text(&entry.actor),
                text(&entry.actor_name),
                text(&entry.target),
                text(&entry.target_name),
                text(&entry.reason),
                entry.until.map(|until| until - NOW),
                text(&entry.value),
            )
        })
        .collect();
    let expected = [
        "0 role -=- owner=owner - None moderator",
        "0 role -=- bob=bob - None owner",
        "3 unlock -=- -=- - None -",
        "3 lock -=- -=- - None -",
        "2 unban owner=owner alice=alice - None -",
        "1 ban owner=owner alice=alice b Some(60) -",
        "0 kick owner=owner alice=alice a None -",
    ];
    assert_eq!(lines, expected);
    let page = store.audit("r", Some(entries[1].id), 2).await.unwrap();
    assert_eq!(page, entries[2..4]);
    assert_eq!(store.audit("other", None, 10).await, Ok(Vec::new()));
}

async fn changes_within_a_second_have_an_audit_entry_each(fixture: Fixture) {
    owned_room(&fixture, false).await;
    for _ in 0..3 {
        lock(&fixture, true).await;
        lock(&fixture, false).await;
        for role in [NewRole::Moderator, NewRole::Member] {
            set_role(&fixture, "alice", role).await.unwrap();
        }
        fixture.join("r", "alice").await.unwrap();
        let store = &fixture.store;
        let kicked = store.kick("r", "alice", NOW, Cause::default(), NOW).await;
        assert!(kicked.unwrap().is_some());
        let ban = NewBan {
            room_id: "r".to_owned(),
            user_id: "alice".to_owned(),
            until: None,
            cause: Cause::default(),
            keep_invite: false,
        };
        store.ban(ban, NOW).await.unwrap();
        let unbanned = store.unban("r", "alice", Cause::default(), NOW).await;
        assert_eq!(unbanned, Ok(true));
    }
    assert_eq!(fixture.count("room_audit"), 3 * 7);
}

async fn old_audit_entries_are_deleted(fixture: Fixture) {
    owned_room(&fixture, false).await;
    let year = 366 * 24 * 3600;
    for (time, locked) in [(NOW, true), (NOW + 1, false)] {
        let lock = fixture.store.lock_room("r", locked, Cause::default(), time);
        lock.await.unwrap();
    }
    fixture.store.delete_expired(NOW + year).await.unwrap();
    assert_eq!(fixture.count("room_audit"), 2);
    fixture.store.delete_expired(NOW + year + 1).await.unwrap();
    assert_eq!(fixture.count("room_audit"), 1);
    fixture.room("other", false, None).await;
    // The deletions of messages replace no others.
    for (room, action, count) in [
        ("r", "lock", 10_005),
        ("r", "delete-message", 10_010),
        ("other", "lock", 1),
    ] {
        let rows = if fixture.database.is_some() {
            format!("generate_series(1, {count})")
        } else {
            format!(
                "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
                  SELECT i FROM n)"
            )
        };
        fixture.sql(&format!(
            "INSERT INTO room_audit (room_id, at, action)
             SELECT '{room}', '2999-01-01T00:00:00Z', '{action}' FROM {rows} many"
        ));
    }
    fixture.store.delete_expired(NOW).await.unwrap();
    for action in ["lock", "delete-message"] {
        let kept = format!("room_audit WHERE room_id = 'r' AND action = '{action}'");
        assert_eq!(fixture.count(&kept), 10_000, "{action}");
    }
    assert_eq!(fixture.count("room_audit"), 20_001);
    let newest = fixture.number("SELECT max(id) FROM room_audit WHERE room_id = 'r'");
    let kept = fixture.store.audit("r", None, 1).await.unwrap();
    assert_eq!(kept[0].id.unsigned_abs(), newest);
}
