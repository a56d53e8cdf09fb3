//! Copies of a whole store.

use super::*;

/// Fills every table, with text and times that are hard to copy.
async fn fill(fixture: &Fixture) {
    let store = &fixture.store;
    // The file is filled, and the server is only copied to.
    let sealed = "X'00ff80'";
    for (id, capacity) in [("open", None), ("small", Some(3)), ("closed", None)] {
        fixture.room(id, id == "small", capacity).await;
    }
    let alice = fixture.user("alice").await;
    store
        .set_password(&alice, "$argon2id$x", NOW)
        .await
        .unwrap();
    store
        .provision("auth0|bob", Some("Bob \u{1f600} \"q\" \\"))
        .await
        .unwrap();
    store.provision("gone", None).await.unwrap();
    fixture.join("open", &alice).await.unwrap();
    fixture.join("open", "auth0|bob").await.unwrap();
    fixture.join("open", "gone").await.unwrap();
    store
        .kick("open", &alice, NOW + 60, Cause::default(), NOW)
        .await
        .unwrap();
    let guest = fixture.guest("small", NOW + 3600).await;
    fixture.join("small", &guest).await.unwrap();
    for number in 0..20 {
        let message = NewMessage {
            room_id: "small".to_owned(),
            user_id: guest.clone(),
            content: format!("{number} \u{7}\n\0 é"),
        };
        store.post_message(message, 0, NOW + number).await.unwrap();
    }
    let ban = NewBan {
        room_id: "open".to_owned(),
        user_id: "gone".to_owned(),
        until: None,
        cause: Cause::new(None, Some("noise".to_owned())).unwrap(),
        keep_invite: true,
    };
    store.ban(ban, NOW).await.unwrap();
    let owner = RoleChange {
        room_id: "small".to_owned(),
        user_id: alice.clone(),
        role: NewRole::Owner,
        cause: Cause::new(Some(alice), Some("q\"\\ é".to_owned())).unwrap(),
        as_owner: false,
    };
    let moderator = RoleChange {
        user_id: "auth0|bob".to_owned(),
        role: NewRole::Moderator,
        ..owner.clone()
    };
    for change in [owner, moderator] {
        store.set_role(change, NOW).await.unwrap();
    }
    let locked = store.lock_room("small", true, Cause::default(), NOW);
    locked.await.unwrap();
    let invite = fixture.invite("small", Some(7)).await;
    store.revoke_invite(None, &invite.id, NOW).await.unwrap();
    store.disable_user("auth0|bob", NOW).await.unwrap();
    store.delete_user("gone", NOW).await.unwrap();
    store.close_room("closed", NOW).await.unwrap();
    let insert = "INSERT INTO acme_values (scope, kind, version, sealed) VALUES";
    fixture.sql(&format!(
        "{insert} ('s', 'account', 1, {sealed}), ('s', 'certificate', 7, {sealed})"
    ));
}

#[tokio::test]
async fn a_store_is_copied_to_postgres_and_back() {
    let source = Fixture::new();
    fill(&source).await;
    // More than one batch.
    source.fill_invites_of("small", 2500);
    let there = Fixture::postgres().await;
    let counts = copy(&source.store, "a", &there.store).await.unwrap();
    let back = Fixture::new();
    assert_eq!(copy(&there.store, "b", &back.store).await.unwrap(), counts);
    for (table, count) in counts {
        assert!(count > 0, "{table}");
        for fixture in [&source, &there, &back] {
            assert_eq!(fixture.count(table), count, "{table}");
        }
    }
    assert_eq!(there.count("events"), 0);
    let users = source.store.users().await.unwrap();
    assert_eq!(there.store.users().await.unwrap(), users);
    assert_eq!(back.store.users().await.unwrap(), users);
    let revocations = back
        .store
        .revocations(NOW, &Changes::Everything)
        .await
        .unwrap();
    assert_eq!(
        source
            .store
            .revocations(NOW, &Changes::Everything)
            .await
            .unwrap(),
        revocations
    );
    let last = there.store.messages("small", None, None, 1).await.unwrap();
    let message = NewMessage {
        room_id: "small".to_owned(),
        user_id: last[0].user_id.clone(),
        content: "next".to_owned(),
    };
    let posted = there.store.post_message(message, 0, NOW).await.unwrap();
    assert!(posted.id > last[0].id);
    let audit = back.store.audit("small", None, 10).await.unwrap();
    assert_eq!(source.store.audit("small", None, 10).await, Ok(audit));
    for fixture in [&there, &back] {
        let unlocked = fixture
            .store
            .lock_room("small", false, Cause::default(), NOW);
        assert!(!unlocked.await.unwrap().locked);
    }
}

#[tokio::test]
async fn a_copy_continues_and_replaces_nothing() {
    let source = Fixture::new();
    fill(&source).await;
    let target = Fixture::postgres().await;
    copy(&source.store, "a", &target.store).await.unwrap();
    let again = copy(&source.store, "a", &target.store).await;
    assert_eq!(again, Err(CopyError::NotEmpty));
    // As after an interruption.
    target.sql(
        "CREATE TABLE unfinished_copy AS SELECT 'a' AS source;
         DELETE FROM room_bans; DELETE FROM room_messages WHERE id > 7",
    );
    let other = copy(&source.store, "b", &target.store).await;
    assert_eq!(other, Err(CopyError::OtherSource));
    copy(&source.store, "a", &target.store).await.unwrap();
    assert_eq!(target.count("room_messages"), 20);
    target.sql(
        "CREATE TABLE unfinished_copy AS SELECT 'a' AS source;
         UPDATE room_messages SET content = 'other' WHERE id = 7",
    );
    let different = copy(&source.store, "a", &target.store).await;
    let expected = CopyError::Different {
        table: "room_messages",
        key: "[7]".to_owned(),
    };
    assert_eq!(different, Err(expected));
}

#[tokio::test]
async fn a_copy_ends_when_another_process_has_taken_the_lock_of_either_store() {
    for is_source in [true, false] {
        let database = server::server().create(None);
        let options = options(&database);
        let locked = Store::connect_with(&options, StoreLock::Exclusive).await;
        let locked = locked.unwrap();
        let local = Fixture::new();
        local.room("open", false, None).await;
        // The session of this psql is the next in the queue.
        let _other = database
            .session("SELECT pg_advisory_lock(1886547058, 1936028278);; SELECT pg_sleep(600)");
        let is_queued = || !database.lock_sessions(false).is_empty();
        wait_until(is_queued).await;
        database.terminate(&database.lock_sessions(true));
        wait_until(|| locked.check_lock().is_err()).await;
        let empty = Fixture::new();
        let (source, target) = if is_source {
            (&locked, &empty.store)
        } else {
            (&local.store, &locked)
        };
        let copied = copy(source, "a", target).await;
        let in_use = matches!(
            copied,
            Err(CopyError::Store(StoreError::ServerInUse { .. }))
        );
        assert!(in_use, "{copied:?}");
        assert!(target.unfinished_copy().await.unwrap().is_some());
        assert_eq!(target.rooms().await.unwrap(), []);
    }
}

/// Waits until a condition holds.
async fn wait_until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_copy_uses_no_id_of_a_deleted_message_again() {
    for (source, target) in [
        (Fixture::new(), Fixture::postgres().await),
        (Fixture::postgres().await, Fixture::new()),
    ] {
        for room in ["early", "late"] {
            source.room(room, false, None).await;
            source.store.provision("alice", None).await.unwrap();
            source.join(room, "alice").await.unwrap();
        }
        let message = |room: &str| NewMessage {
            room_id: room.to_owned(),
            user_id: "alice".to_owned(),
            content: "text".to_owned(),
        };
        let post = async |fixture: &Fixture, room| {
            let posted = fixture.store.post_message(message(room), 0, NOW).await;
            posted.unwrap().id
        };
        // With no message left, and with one.
        let mut last = post(&source, "late").await;
        source.store.delete_room("late", NOW).await.unwrap();
        for has_messages in [false, true] {
            if has_messages {
                last = post(&source, "early").await;
                let _deleted = post(&source, "early").await;
                source.sql(&format!("DELETE FROM room_messages WHERE id > {last}"));
                last += 1;
                target.sql("DELETE FROM room_participants; DELETE FROM coworking_rooms");
                target.sql("DELETE FROM users");
            }
            copy(&source.store, "a", &target.store).await.unwrap();
            assert_eq!(target.count("room_messages"), u64::from(has_messages));
            assert!(post(&target, "early").await > last);
            target.sql("DELETE FROM room_messages");
        }
    }
}
