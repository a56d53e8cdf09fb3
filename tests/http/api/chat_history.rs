//! How far back messages are kept, and how far back guests read them.

use super::messages::{contents, with_alice, write};
use super::*;
use crate::support::wait_until;
use std::collections::HashMap;

fn read(client: &Client, query: &str) -> Value {
    client.get(&format!("/api/rooms/r1/messages{query}")).ok()
}

/// Moves all messages into the past, so that what follows is later by more than a second.
fn age(fixture: &Fixture) {
    fixture.sql("UPDATE room_messages SET created_at = '2026-01-01T00:00:00Z'");
}

#[test]
fn a_guest_reads_messages_since_they_joined() {
    let (fixture, alice) = with_alice();
    let hidden = write(&alice, "r1", "before").ok();
    age(&fixture);
    let guest = fixture.guest("r1");
    guest.post("/api/rooms/r1/join").ok();
    let empty = json!({"messages": [], "next_before": null});
    assert_eq!(read(&guest, ""), empty);
    for number in 1..=3 {
        write(&alice, "r1", &number.to_string()).ok();
    }
    let page = read(&guest, "?limit=3");
    assert_eq!(contents(&page), ["1", "2", "3"]);
    // No page before, although there is a message.
    assert_eq!(page["next_before"], Value::Null);
    let first = &page["messages"][0]["id"];
    assert_eq!(read(&guest, &format!("?before={first}")), empty);
    let page = read(&guest, "?limit=2");
    assert_eq!(contents(&page), ["2", "3"]);
    let before = &page["next_before"];
    assert_eq!(
        contents(&read(&guest, &format!("?limit=2&before={before}"))),
        ["1"]
    );
    // A hidden message is like one that does not exist.
    for (id, refusal) in [
        (&hidden["id"], is(404, "not-found")),
        (&json!(999), is(404, "not-found")),
        (first, is(403, "forbidden")),
    ] {
        let path = format!("/api/rooms/r1/messages/{id}");
        let answer = guest.send("DELETE", &path, &[], b"");
        assert_eq!(refused(&answer), refusal, "{id}");
    }
    assert_eq!(contents(&read(&alice, "")), ["before", "1", "2", "3"]);
}

#[test]
fn users_and_with_the_setting_guests_read_everything() {
    let (fixture, alice) = with_alice();
    write(&alice, "r1", "before").ok();
    age(&fixture);
    let bob = fixture.caller("bob");
    bob.post("/api/rooms/r1/join").ok();
    assert_eq!(contents(&read(&bob, "")), ["before"]);
    let set = |env: &mut HashMap<String, String>| {
        env.insert("PARLOR_ROOMS__GUEST_HISTORY".to_owned(), "true".to_owned());
    };
    let daemon = fixture.daemon.restart_with(set);
    let fixture = Fixture {
        client: Client::new(daemon.http()),
        daemon,
    };
    let guest = fixture.guest("r1");
    guest.post("/api/rooms/r1/join").ok();
    assert_eq!(contents(&read(&guest, "")), ["before"]);
}

#[test]
fn messages_older_than_the_retention_are_deleted() {
    let (fixture, alice) = with_alice();
    write(&alice, "r1", "old").ok();
    age(&fixture);
    write(&alice, "r1", "new").ok();
    assert_eq!(contents(&read(&alice, "")), ["old", "new"]);
    let set = |env: &mut HashMap<String, String>| {
        env.insert(
            "PARLOR_ROOMS__MESSAGE_RETENTION".to_owned(),
            "1h".to_owned(),
        );
    };
    let daemon = fixture.daemon.restart_with(set);
    // At the start, and then each minute.
    wait_until("the old message is gone", || {
        daemon.query("SELECT content FROM room_messages ORDER BY id") == ["new"]
    });
}

#[test]
fn the_text_of_a_deleted_message_leaves_the_journal() {
    let (fixture, alice) = with_alice();
    if fixture.daemon.is_on_postgres() {
        return;
    }
    let secret = "a text that is nowhere else";
    let id = write(&alice, "r1", secret).ok()["id"].clone();
    let path = format!("/api/rooms/r1/messages/{id}");
    alice.send("DELETE", &path, &[], b"").ok();
    let holds_secret = |file: &str, daemon: &Daemon| {
        let bytes = std::fs::read(daemon.data_dir().join(file)).unwrap_or_default();
        bytes
            .windows(secret.len())
            .any(|part| part == secret.as_bytes())
    };
    assert!(holds_secret("parlor.db-wal", &fixture.daemon));
    // The journal stays: nobody writes it back.
    fixture.daemon.signal("KILL");
    let daemon = fixture.daemon.restart();
    wait_until("the text is in no file", || {
        let files = ["parlor.db", "parlor.db-wal"];
        !files.iter().any(|file| holds_secret(file, &daemon))
    });
}
