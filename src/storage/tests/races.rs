//! Concurrent changes by two processes. SQLite has one writer; PostgreSQL holds these by row locks.

use futures_util::future::join_all;

use super::*;

/// How many callers race.
const CALLERS: usize = 12;

/// Runs the calls beside each other, from two stores on the same data.
async fn race<T, F>(fixture: &Fixture, call: impl Fn(Store, usize) -> F) -> Vec<T>
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    let stores = [fixture.store.clone(), fixture.second_store().await];
    let racing = (0..CALLERS).map(|caller| tokio::spawn(call(stores[caller % 2].clone(), caller)));
    let outcomes = join_all(racing).await.into_iter();
    outcomes.map(|outcome| outcome.unwrap()).collect()
}

async fn users(fixture: &Fixture) -> Vec<String> {
    let mut users = Vec::new();
    for number in 0..CALLERS {
        let id = format!("user-{number}");
        users.push(fixture.store.provision(&id, None).await.unwrap().id);
    }
    users
}

fn count<T, E>(outcomes: &[Result<T, E>]) -> usize {
    outcomes.iter().filter(|outcome| outcome.is_ok()).count()
}

async fn the_last_places_are_taken_once(fixture: Fixture) {
    let users = users(&fixture).await;
    for round in 0..5 {
        let room = format!("room-{round}");
        fixture.room(&room, false, Some(3)).await;
        let joined = race(&fixture, |store, caller| {
            let (room, user) = (room.clone(), users[caller].clone());
            async move { store.join(&room, &user, JoinGrant::None, NOW).await }
        })
        .await;
        let full = Err(JoinError::RoomFull);
        assert!(
            joined
                .iter()
                .all(|joined| joined.is_ok() || *joined == full)
        );
        assert_eq!(count(&joined), 3);
        assert_eq!(fixture.members(&room).await.len(), 3);
    }
}

async fn an_invite_is_used_as_often_as_it_allows(fixture: Fixture) {
    fixture.room("r", true, None).await;
    let users = users(&fixture).await;
    for round in 0..5 {
        let invite = fixture.invite("r", Some(3)).await;
        let outcomes = race(&fixture, |store, caller| {
            let text = invite.text.expose().to_owned();
            let user = users[caller].clone();
            async move {
                if caller % 3 == 0 {
                    let redeemed = store.redeem_invite(Some("r"), &text, "Guest", NOW, NOW + 60);
                    return redeemed.await.map(drop).map_err(|error| error.to_string());
                }
                let joined = store.join("r", &user, JoinGrant::Invite(text), NOW);
                joined.await.map(drop).map_err(|error| error.to_string())
            }
        })
        .await;
        assert_eq!(count(&outcomes), 3, "{outcomes:?}");
        for user in &users {
            fixture.store.leave("r", user, NOW + round).await.unwrap();
        }
    }
}

async fn a_user_who_joins_twice_at_once_uses_an_invite_once(fixture: Fixture) {
    fixture.room("r", true, None).await;
    let users = users(&fixture).await;
    for user in users.iter().take(5) {
        let invite = fixture.invite("r", Some(5)).await;
        let joined = race(&fixture, |store, _| {
            let text = invite.text.expose().to_owned();
            let user = user.clone();
            async move { store.join("r", &user, JoinGrant::Invite(text), NOW).await }
        })
        .await;
        assert_eq!(count(&joined), CALLERS, "{joined:?}");
        let left = fixture.number(&format!(
            "SELECT uses_left FROM room_invites WHERE id = '{}'",
            invite.id
        ));
        assert_eq!(left, 4);
    }
}

async fn an_owner_gets_no_room_beyond_the_limit(fixture: Fixture) {
    let alice = fixture.user("alice").await;
    let new = |name: String| NewRoom {
        name,
        owner_id: Some(alice.clone()),
        ..NewRoom::default()
    };
    for number in 0..MAX_OWNED_ROOMS - 2 {
        let room = new(format!("room-{number}"));
        fixture.store.create_room(room).await.unwrap();
    }
    let created = race(&fixture, |store, caller| {
        let room = new(format!("racing-{caller}"));
        async move { store.create_room(room).await }
    })
    .await;
    assert_eq!(count(&created), 2);
    let refused = Err(CreateError::TooManyRooms(MAX_OWNED_ROOMS));
    assert_eq!(
        created.iter().filter(|room| **room == refused).count(),
        CALLERS - 2
    );
}

async fn a_name_is_taken_once(fixture: Fixture) {
    let created = race(&fixture, |store, _| async move {
        let user = NewUser {
            name: "same".to_owned(),
            ..NewUser::default()
        };
        let room = NewRoom {
            name: "Same".to_owned(),
            ..NewRoom::default()
        };
        (store.add_user(user).await, store.create_room(room).await)
    })
    .await;
    let (users, rooms): (Vec<_>, Vec<_>) = created.into_iter().unzip();
    assert_eq!((count(&users), count(&rooms)), (1, 1));
    let provisioned = race(&fixture, |store, _| async move {
        store.provision("same", None).await
    })
    .await;
    let first = provisioned[0].clone().unwrap();
    assert_eq!(first.name, "same~2");
    assert!(provisioned.into_iter().all(|user| user.unwrap() == first));
}

async fn nobody_stays_a_member_of_a_room_that_closes_while_they_join(fixture: Fixture) {
    let users = users(&fixture).await;
    for round in 0..8 {
        let room = format!("room-{round}");
        fixture
            .room(&room, false, (round % 2 == 0).then_some(100))
            .await;
        let ended = race(&fixture, |store, caller| {
            let (room, user) = (room.clone(), users[caller].clone());
            async move {
                if caller == CALLERS / 2 {
                    let closed = store.close_room(&room, NOW).await.unwrap().unwrap();
                    return (None, closed.ended_memberships);
                }
                let joined = store.join(&room, &user, JoinGrant::None, NOW).await;
                assert!(
                    joined.is_ok() || joined == Err(JoinError::RoomClosed),
                    "{joined:?}"
                );
                (joined.is_ok().then_some(user), Vec::new())
            }
        })
        .await;
        let mut joined: Vec<_> = ended.iter().filter_map(|(user, _)| user.clone()).collect();
        let ended = ended.into_iter().flat_map(|(_, ended)| ended);
        let mut left: Vec<_> = ended.map(|ended| ended.user).collect();
        joined.sort();
        left.sort();
        assert_eq!(joined, left);
        assert!(fixture.members(&room).await.is_empty());
    }
}

async fn leaves_and_joins_of_one_user_count_every_membership(fixture: Fixture) {
    fixture.room("r", false, None).await;
    let alice = fixture.user("alice").await;
    let mut ended = 0;
    for _ in 0..5 {
        let outcomes = race(&fixture, |store, caller| {
            let alice = alice.clone();
            async move {
                if caller % 2 == 0 {
                    store.join("r", &alice, JoinGrant::None, NOW).await.unwrap();
                    return false;
                }
                let left = store.leave("r", &alice, NOW).await;
                left.unwrap().was_member
            }
        })
        .await;
        ended += outcomes.into_iter().filter(|left| *left).count() as u64;
        assert_eq!(fixture.generation("r", &alice), ended);
    }
}

/// One of the callers of a race ends the access of `alice`, and the others join her to a room again and again. Returns
/// the outcomes of the joins.
async fn joins_against<F>(
    fixture: &Fixture,
    room: &str,
    user: &str,
    end: impl Fn(Store, String) -> F + Clone + Send + 'static,
) -> Vec<Result<Joined, JoinError>>
where
    F: Future<Output = ()> + Send,
{
    let outcomes = race(fixture, |store, caller| {
        let (room, user, end) = (room.to_owned(), user.to_owned(), end.clone());
        async move {
            let mut outcomes = Vec::new();
            if caller == CALLERS / 2 {
                end(store.clone(), room.clone()).await;
            }
            for _ in 0..4 {
                outcomes.push(store.join(&room, &user, JoinGrant::Token, NOW).await);
            }
            outcomes
        }
    })
    .await;
    outcomes.into_iter().flatten().collect()
}

async fn nobody_joins_past_a_kick(fixture: Fixture) {
    for round in 0..10 {
        let (room, user) = (format!("room-{round}"), format!("user-{round}"));
        fixture.room(&room, false, None).await;
        fixture.store.provision(&user, None).await.unwrap();
        let kicked = user.clone();
        let joined = joins_against(&fixture, &room, &user, move |store, room| {
            let kicked = kicked.clone();
            async move {
                // Until the first join has made a member.
                while store
                    .kick(&room, &kicked, NOW + 60, Cause::default(), NOW)
                    .await
                    .unwrap()
                    .is_none()
                {}
            }
        })
        .await;
        let refused = Err(JoinError::Kicked { wait: 60 });
        assert!(joined.contains(&refused), "{joined:?}");
        for joined in joined {
            let is_expected = match &joined {
                Ok(joined) => joined.generation == 0,
                Err(_) => joined == refused,
            };
            assert!(is_expected, "{joined:?}");
        }
        assert!(fixture.members(&room).await.is_empty());
        assert_eq!(fixture.generation(&room, &user), 1);
    }
}

async fn nobody_joins_past_a_ban(fixture: Fixture) {
    for round in 0..10 {
        let (room, user) = (format!("room-{round}"), format!("user-{round}"));
        fixture.room(&room, false, None).await;
        fixture.store.provision(&user, None).await.unwrap();
        let banned = user.clone();
        let joined = joins_against(&fixture, &room, &user, move |store, room_id| {
            let ban = NewBan {
                room_id,
                user_id: banned.clone(),
                until: None,
                cause: Cause::default(),
                keep_invite: true,
            };
            async move {
                store.ban(ban, NOW).await.unwrap();
            }
        })
        .await;
        let refused = Err(JoinError::Banned { until: None });
        assert!(joined.contains(&refused), "{joined:?}");
        for joined in joined {
            assert!(joined.is_ok() || joined == refused, "{joined:?}");
        }
        assert!(fixture.members(&room).await.is_empty());
    }
}

async fn a_user_who_is_disabled_while_they_join_takes_no_place(fixture: Fixture) {
    fixture.store.provision("other", None).await.unwrap();
    for round in 0..10 {
        let (room, user) = (format!("room-{round}"), format!("user-{round}"));
        fixture.room(&room, false, Some(1)).await;
        fixture.store.provision(&user, None).await.unwrap();
        let disabled = user.clone();
        let joined = joins_against(&fixture, &room, &user, move |store, room| {
            let disabled = disabled.clone();
            async move {
                store.disable_user(&disabled, NOW).await.unwrap();
                let joined = store.join(&room, &disabled, JoinGrant::Token, NOW).await;
                assert_eq!(joined, Err(JoinError::UserDisabled));
            }
        })
        .await;
        let refused = Err(JoinError::UserDisabled);
        assert!(joined.contains(&refused), "{joined:?}");
        for joined in joined {
            assert!(joined.is_ok() || joined == refused, "{joined:?}");
        }
        fixture.join(&room, "other").await.unwrap();
        assert_eq!(fixture.members(&room).await, ["other"]);
    }
}

async fn a_revoked_invite_counts_every_use_before_and_none_after(fixture: Fixture) {
    fixture.room("r", true, None).await;
    let users = users(&fixture).await;
    for round in 0..10 {
        let invite = fixture.invite("r", Some(1000)).await;
        let uses = race(&fixture, |store, caller| {
            let (id, text) = (invite.id.clone(), invite.text.expose().to_owned());
            let user = users[caller].clone();
            async move {
                let mut uses = 0;
                if caller == CALLERS / 2 {
                    assert!(store.revoke_invite(None, &id, NOW).await.unwrap());
                    let late = store.redeem_invite(None, &text, "Guest", NOW, NOW + 60);
                    assert_eq!(late.await, Err(InviteError::Revoked));
                } else if caller % 2 == 0 {
                    let grant = JoinGrant::Invite(text);
                    match store.join("r", &user, grant, NOW + round).await {
                        Ok(_) => uses += 1,
                        Err(error) => assert_eq!(error, JoinError::InviteRevoked),
                    }
                } else {
                    for _ in 0..4 {
                        let redeemed = store.redeem_invite(None, &text, "Guest", NOW, NOW + 60);
                        match redeemed.await {
                            Ok(_) => uses += 1,
                            Err(error) => assert_eq!(error, InviteError::Revoked),
                        }
                    }
                }
                uses
            }
        })
        .await;
        let left = fixture.number(&format!(
            "SELECT uses_left FROM room_invites WHERE id = '{}'",
            invite.id
        ));
        assert_eq!(left + uses.into_iter().sum::<u64>(), 1000);
        for user in &users {
            fixture.store.leave("r", user, NOW + round).await.unwrap();
        }
    }
}

on_every_backend!(
    the_last_places_are_taken_once,
    an_invite_is_used_as_often_as_it_allows,
    a_user_who_joins_twice_at_once_uses_an_invite_once,
    an_owner_gets_no_room_beyond_the_limit,
    a_name_is_taken_once,
    nobody_stays_a_member_of_a_room_that_closes_while_they_join,
    leaves_and_joins_of_one_user_count_every_membership,
    nobody_joins_past_a_kick,
    nobody_joins_past_a_ban,
    a_user_who_is_disabled_while_they_join_takes_no_place,
    a_revoked_invite_counts_every_use_before_and_none_after,
);
