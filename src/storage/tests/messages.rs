//! Chat messages: pages, deletion, limits, and what a newcomer reads.

use super::*;

async fn messages_come_in_pages_and_a_room_keeps_the_newest(fixture: Fixture) {
    let store = &fixture.store;
    fixture.room("r", false, None).await;
    let alice = fixture.user("alice").await;
    let new = |content: &str| NewMessage {
        room_id: "r".to_owned(),
        user_id: alice.clone(),
        content: content.to_owned(),
    };
    let refused = store.post_message(new("early"), 0, NOW).await;
    assert_eq!(refused, Err(MessageError::NotAMember));
    fixture.join("r", &alice).await.unwrap();
    let blank = store.post_message(new(" "), 0, NOW).await;
    assert_eq!(blank, Err(MessageError::BadContent));
    let mut posted = Vec::new();
    for number in 0..7 {
        let message = store.post_message(new(&number.to_string()), 5, NOW + number);
        posted.push(message.await.unwrap());
    }
    assert_eq!(
        store.messages("r", None, None, 10).await.unwrap(),
        posted[2..]
    );
    let page = store
        .messages("r", None, Some(posted[5].id), 2)
        .await
        .unwrap();
    assert_eq!(page, posted[3..5]);
    assert_eq!(fixture.count("room_messages"), 5);
    store.disable_user(&alice, NOW).await.unwrap();
    let refused = store.post_message(new("late"), 0, NOW).await;
    assert_eq!(refused, Err(MessageError::Author(JoinError::UserDisabled)));
}

async fn one_message_is_deleted_and_only_in_its_own_room(fixture: Fixture) {
    let store = &fixture.store;
    store.provision("alice", None).await.unwrap();
    let mut posted = Vec::new();
    for room in ["r", "r", "s"] {
        if store.room(room).await.unwrap().is_none() {
            fixture.room(room, false, None).await;
        }
        fixture.join(room, "alice").await.unwrap();
        let message = NewMessage {
            room_id: room.to_owned(),
            user_id: "alice".to_owned(),
            content: "text".to_owned(),
        };
        posted.push(store.post_message(message, 0, NOW).await.unwrap());
    }
    let id = posted[0].id;
    let author = async |room| store.message_author(room, None, id).await.unwrap();
    assert_eq!(author("r").await.as_deref(), Some("alice"));
    assert_eq!(author("s").await, None);
    store.delete_message("s", id, None, NOW).await.unwrap();
    assert_eq!(fixture.count("room_messages"), 3);
    // Twice: the second time, it is gone.
    for _ in 0..2 {
        store.delete_message("r", id, None, NOW).await.unwrap();
    }
    assert_eq!(author("r").await, None);
    assert_eq!(
        store.messages("r", None, None, 10).await.unwrap(),
        posted[1..2]
    );
    let after = async |room, last| store.messages_after(room, last, 2).await.unwrap();
    assert_eq!(after("r", 0).await, posted[1..2]);
    assert_eq!(after("r", posted[1].id).await, []);
    assert_eq!(store.last_message("s").await, Ok(posted[2].id));
    assert_eq!(store.last_message("elsewhere").await, Ok(0));
    assert_eq!(
        store.messages("s", None, None, 10).await.unwrap(),
        posted[2..]
    );
    // Once, and only of a message that is there.
    let cause = || Some(Cause::of_user("bob"));
    for room in ["r", "s", "s"] {
        let deleted = store.delete_message(room, posted[2].id, cause(), NOW + 1);
        deleted.await.unwrap();
    }
    assert_eq!(store.audit("r", None, 10).await.unwrap(), []);
    let entries = store.audit("s", None, 10).await.unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!(
        (
            entries[0].action.as_str(),
            entries[0].actor.as_deref(),
            entries[0].target.as_deref(),
            entries[0].value.clone(),
            entries[0].at,
        ),
        (
            "delete-message",
            Some("bob"),
            Some("alice"),
            Some(posted[2].id.to_string()),
            NOW + 1,
        )
    );
}

async fn an_id_of_a_deleted_message_is_not_used_again(fixture: Fixture) {
    fixture.store.provision("alice", None).await.unwrap();
    let mut last = 0;
    for room in ["a", "b", "c"] {
        fixture.room(room, false, None).await;
        fixture.join(room, "alice").await.unwrap();
        let message = NewMessage {
            room_id: room.to_owned(),
            user_id: "alice".to_owned(),
            content: "text".to_owned(),
        };
        let posted = fixture.store.post_message(message, 0, NOW).await.unwrap();
        assert!(posted.id > last);
        last = posted.id;
        fixture.store.delete_room(room, NOW).await.unwrap();
    }
}

async fn a_newcomer_reads_what_was_written_since_they_joined(fixture: Fixture) {
    let store = &fixture.store;
    fixture.room("r", false, None).await;
    fixture.room("s", false, None).await;
    for user in ["alice", "bob"] {
        store.provision(user, None).await.unwrap();
    }
    let post = async |room: &str, user: &str, unix| {
        let message = NewMessage {
            room_id: room.to_owned(),
            user_id: user.to_owned(),
            content: "text".to_owned(),
        };
        store.post_message(message, 0, unix).await.unwrap()
    };
    for room in ["r", "s"] {
        fixture.join(room, "alice").await.unwrap();
    }
    let early = post("r", "alice", NOW + 10).await;
    let read = async |before, limit| store.messages("r", Some("bob"), before, limit).await;
    assert_eq!(read(None, 10).await, Ok(Vec::new()));
    let join = async |unix| store.join("r", "bob", JoinGrant::None, unix).await.unwrap();
    join(NOW + 20).await;
    assert_eq!(read(None, 10).await, Ok(Vec::new()));
    let own = post("r", "bob", NOW + 20).await;
    post("s", "alice", NOW + 21).await;
    let later = post("r", "alice", NOW + 22).await;
    assert_eq!(read(None, 10).await, Ok(vec![own.clone(), later.clone()]));
    assert_eq!(read(None, 1).await, Ok(vec![later.clone()]));
    assert_eq!(read(Some(later.id), 10).await, Ok(vec![own.clone()]));
    assert_eq!(read(Some(own.id), 10).await, Ok(Vec::new()));
    let author = async |message: &Message| {
        let author = store.message_author("r", Some("bob"), message.id);
        author.await.unwrap()
    };
    assert_eq!(author(&early).await, None);
    assert_eq!(author(&later).await.as_deref(), Some("alice"));
    // A clock that was set back hides no later message, and shows no earlier one.
    let set_back = post("r", "alice", NOW + 5).await;
    let last = post("r", "alice", NOW + 23).await;
    let seen = vec![own.clone(), later.clone(), last.clone()];
    assert_eq!(read(None, 10).await, Ok(seen));
    assert_eq!(author(&set_back).await, None);
    // Who comes back reads nothing from before, and still finds their own messages.
    store.leave("r", "bob", NOW + 30).await.unwrap();
    assert_eq!(read(None, 10).await, Ok(Vec::new()));
    join(NOW + 40).await;
    assert_eq!(read(None, 10).await, Ok(Vec::new()));
    assert_eq!(author(&own).await.as_deref(), Some("bob"));
    assert_eq!(author(&last).await, None);
    let all = store.messages("r", None, None, 10).await.unwrap();
    assert_eq!(all, [early, own, later, set_back, last]);
}

/// Inserts messages of a user as another program does, the first one at a time in Unix seconds, one a second.
fn fill(fixture: &Fixture, room: &str, first: u64, count: u32) {
    let rows: Vec<String> = (0..count)
        .map(|number| {
            let at = utc::format(first + u64::from(number));
            format!("('{room}', 'alice', 'old {number}', '{at}')")
        })
        .collect();
    fixture.sql(&format!(
        "INSERT INTO room_messages (room_id, user_id, content, created_at) VALUES {}",
        rows.join(", ")
    ));
}

async fn old_messages_of_every_room_are_deleted_in_batches(fixture: Fixture) {
    let store = &fixture.store;
    store.provision("alice", None).await.unwrap();
    for room in ["r", "s", "t"] {
        fixture.room(room, false, None).await;
    }
    fill(&fixture, "r", NOW, 1200);
    fill(&fixture, "s", NOW + 500, 1000);
    store.close_room("s", NOW).await.unwrap();
    assert_eq!(store.delete_old_messages(NOW).await, Ok(false));
    assert_eq!(fixture.count("room_messages"), 2200);
    // 1,100 in r, 600 in s.
    let before = NOW + 1100;
    assert_eq!(store.delete_old_messages(before).await, Ok(true));
    assert_eq!(fixture.count("room_messages"), 1200);
    assert_eq!(store.delete_old_messages(before).await, Ok(false));
    assert_eq!(store.delete_old_messages(before).await, Ok(false));
    let left = "SELECT count(*) FROM room_messages WHERE room_id = ";
    assert_eq!(fixture.number(&format!("{left}'r'")), 100);
    assert_eq!(fixture.number(&format!("{left}'s'")), 400);
    let oldest = store.messages("r", None, None, 100).await.unwrap();
    assert_eq!(oldest[0].created_at, before);
}

async fn a_post_deletes_a_thousand_old_messages_at_most(fixture: Fixture) {
    let store = &fixture.store;
    store.provision("alice", None).await.unwrap();
    fixture.room("r", false, None).await;
    fixture.join("r", "alice").await.unwrap();
    fill(&fixture, "r", NOW, 2000);
    for left in [1001, 10, 10] {
        let message = NewMessage {
            room_id: "r".to_owned(),
            user_id: "alice".to_owned(),
            content: "new".to_owned(),
        };
        store.post_message(message, 10, NOW).await.unwrap();
        assert_eq!(fixture.count("room_messages"), left);
    }
    let kept = store.messages("r", None, None, 100).await.unwrap();
    let kept: Vec<&str> = kept
        .iter()
        .map(|message| message.content.as_str())
        .collect();
    assert_eq!((kept[0], kept[6], kept[7]), ("old 1993", "old 1999", "new"));
}

on_every_backend!(
    messages_come_in_pages_and_a_room_keeps_the_newest,
    an_id_of_a_deleted_message_is_not_used_again,
    one_message_is_deleted_and_only_in_its_own_room,
    a_newcomer_reads_what_was_written_since_they_joined,
    old_messages_of_every_room_are_deleted_in_batches,
    a_post_deletes_a_thousand_old_messages_at_most,
);
