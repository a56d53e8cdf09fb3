//! Messages that several processes post and delete.

use super::changes::noticed;
use super::*;
use crate::storage::NewMessage;

fn message(content: &str) -> NewMessage {
    NewMessage {
        room_id: "r".to_owned(),
        user_id: "alice".to_owned(),
        content: content.to_owned(),
    }
}

/// A room with a member.
async fn with_member(fixture: &Fixture) {
    fixture.room("r", false, None).await;
    fixture.store.provision("alice", None).await.unwrap();
    fixture.join("r", "alice").await.unwrap();
}

#[tokio::test]
async fn messages_of_other_processes_are_changes_of_chats_and_take_access_from_nobody() {
    let fixture = Fixture::postgres().await;
    with_member(&fixture).await;
    let other = fixture.second_store().await;
    let mut changes = fixture.store.changes();
    changes.borrow_and_update();
    let posted = other.post_message(message("Hello"), 0, NOW).await.unwrap();
    noticed(&mut changes).await;
    let found = fixture.store.take_chat_changes();
    assert_eq!(found.rooms, ["r".into()].into());
    assert_eq!(found.deleted, []);
    other
        .delete_message("r", posted.id, None, NOW)
        .await
        .unwrap();
    noticed(&mut changes).await;
    let found = fixture.store.take_chat_changes();
    assert_eq!(found.deleted, [("r".into(), posted.id)]);
    assert!(fixture.store.take_changes().is_empty());
    // A message that is gone is not deleted again, and a refused one is not posted.
    other
        .delete_message("r", posted.id, None, NOW)
        .await
        .unwrap();
    other.post_message(message(" "), 0, NOW).await.unwrap_err();
    other.leave("r", "alice", NOW).await.unwrap();
    noticed(&mut changes).await;
    assert!(fixture.store.take_chat_changes().is_empty());
}

#[tokio::test]
async fn a_reader_of_the_messages_after_the_last_one_misses_none_of_many_writers() {
    const WRITERS: usize = 8;
    const EACH: usize = 25;
    let fixture = Fixture::postgres().await;
    with_member(&fixture).await;
    let stores = [fixture.store.clone(), fixture.second_store().await];
    let writers = (0..WRITERS).map(|writer| {
        let store = stores[writer % 2].clone();
        tokio::spawn(async move {
            for number in 0..EACH {
                let content = format!("{writer} {number}");
                store.post_message(message(&content), 0, NOW).await.unwrap();
            }
        })
    });
    let mut writers: Vec<_> = writers.collect();
    let (mut read, mut last) = (0, 0);
    loop {
        let is_done = writers.iter().all(tokio::task::JoinHandle::is_finished);
        let page = fixture.store.messages_after("r", last, 100).await.unwrap();
        assert!(page.is_sorted_by_key(|message| message.id));
        read += page.len();
        last = page.last().map_or(last, |message| message.id);
        if is_done && page.is_empty() {
            break;
        }
    }
    for writer in &mut writers {
        writer.await.unwrap();
    }
    assert_eq!(read, WRITERS * EACH);
}
