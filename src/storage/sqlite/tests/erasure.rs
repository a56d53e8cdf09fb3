//! Deleted text is no longer in the files.

use super::*;

/// Messages of each size, from a few in one page to more than a page each.
const MESSAGES: usize = 40;
const SIZES: [usize; 4] = [20, 300, 1500, MAX_MESSAGE_CHARS];

/// A text of `size` bytes that no other message has, and that appears in no index.
fn content(number: usize, size: usize) -> String {
    let marker = format!("secret-{number:05}-");
    marker.chars().cycle().take(size).collect()
}

/// The numbers of the messages of which a part is in the database file or its journal.
fn found(fixture: &Fixture) -> Vec<usize> {
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(fixture.dir.path()).unwrap() {
        bytes.extend(std::fs::read(entry.unwrap().path()).unwrap());
    }
    let text: Vec<char> = bytes.iter().map(|byte| char::from(*byte)).collect();
    let text: String = text.into_iter().collect();
    let mut numbers: Vec<usize> = text
        .split("secret-")
        .skip(1)
        .filter_map(|rest| rest.get(..6)?.strip_suffix('-')?.parse().ok())
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

#[tokio::test]
async fn the_text_of_deleted_messages_is_in_no_file() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    store.provision("alice", None).await.unwrap();
    for room in ["r", "s"] {
        fixture.room(room, false, None).await;
        fixture.join(room, "alice").await.unwrap();
    }
    let mut ids = Vec::new();
    for number in 0..MESSAGES * SIZES.len() {
        let message = NewMessage {
            room_id: if number.is_multiple_of(10) { "s" } else { "r" }.to_owned(),
            user_id: "alice".to_owned(),
            content: content(number, SIZES[number % SIZES.len()]),
        };
        ids.push(store.post_message(message, 0, NOW).await.unwrap().id);
    }
    let all: Vec<usize> = (0..ids.len()).collect();
    assert_eq!(found(&fixture), all);
    // Single ones, in an order that splits and joins pages.
    let deleted = |number: usize| number.is_multiple_of(10) || number * 7 % 5 < 3;
    for step in 0..ids.len() {
        let number = step * 37 % ids.len();
        if !number.is_multiple_of(10) && deleted(number) {
            store
                .delete_message("r", ids[number], None, NOW)
                .await
                .unwrap();
        }
    }
    store.delete_room("s", NOW).await.unwrap();
    store.overwrite_deleted().await.unwrap();
    let kept: Vec<usize> = all.into_iter().filter(|number| !deleted(*number)).collect();
    assert_eq!(found(&fixture), kept);
    let messages = store.messages("r", None, None, 1000).await.unwrap();
    assert_eq!(messages.len(), kept.len());
}

#[tokio::test]
async fn a_reader_of_another_process_delays_the_erasure_and_stops_no_write() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    store.provision("alice", None).await.unwrap();
    let mut changes = store.changes();
    let other = fixture.other();
    other.execute_batch("BEGIN").unwrap();
    let users = |connection: &Connection| {
        let sql = "SELECT count(*) FROM users";
        connection
            .query_row(sql, (), |row| row.get::<_, i64>(0))
            .unwrap()
    };
    assert_eq!(users(&other), 1);
    store.provision("bob", None).await.unwrap();
    let journal = fixture.dir.path().join("parlor.db-wal");
    let bytes = || std::fs::metadata(&journal).unwrap().len();
    store.overwrite_deleted().await.unwrap();
    assert!(bytes() > 0);
    store.provision("carol", None).await.unwrap();
    assert_eq!(users(&other), 1);
    other.execute_batch("COMMIT").unwrap();
    store.overwrite_deleted().await.unwrap();
    assert_eq!((bytes(), users(&other)), (0, 3));
    // It is no change of another process.
    store.provision("dave", None).await.unwrap();
    let sql = "INSERT INTO users (id, name, display_name, created_at) VALUES ('a', 'a', '', '')";
    other.execute_batch(sql).unwrap();
    let noticed = tokio::time::timeout(Duration::from_secs(30), changes.changed());
    noticed.await.expect("noticed in time").unwrap();
    assert_eq!(*changes.borrow_and_update(), 1);
}
