//! `DELETE …/messages/{message}`: who deletes which message, and what is left.

use super::messages::{contents, with_alice, write};
use super::*;

fn delete(client: &Client, room: &str, id: &Value) -> Answer {
    let path = format!("/api/rooms/{room}/messages/{id}");
    client.send("DELETE", &path, &[], b"")
}

fn read(client: &Client) -> Vec<String> {
    contents(&client.get("/api/rooms/r1/messages").ok())
}

#[test]
fn an_author_deletes_their_own_message_once() {
    let (_fixture, alice) = with_alice();
    write(&alice, "r1", "one").ok();
    let two = write(&alice, "r1", "two").ok();
    write(&alice, "r1", "three").ok();
    let answer = delete(&alice, "r1", &two["id"]).ok();
    assert_eq!(
        answer,
        json!({"success": true, "message": "Message deleted"})
    );
    assert_eq!(read(&alice), ["one", "three"]);
    let again = delete(&alice, "r1", &two["id"]);
    assert_eq!(refused(&again), is(404, "not-found"));
    // Its id leads to the same page as before.
    let page = alice.get(&format!("/api/rooms/r1/messages?before={}", two["id"]));
    assert_eq!(contents(&page.ok()), ["one"]);
}

#[test]
fn others_are_rejected_before_they_learn_whether_a_message_exists() {
    let (fixture, alice) = with_alice();
    fixture.room("r2", &[]);
    let id = write(&alice, "r1", "Hello").ok()["id"].clone();
    let bob = fixture.caller("bob");
    let gone = fixture.caller("carol");
    for joined in [&bob, &gone] {
        joined.post("/api/rooms/r1/join").ok();
    }
    gone.post("/api/rooms/r1/leave").ok();
    let cases = [
        (
            fixture.caller("dave"),
            "not-a-participant",
            "not-a-participant",
        ),
        (gone, "not-a-participant", "not-a-participant"),
        (
            fixture.guest("r2"),
            "not-for-this-room",
            "not-for-this-room",
        ),
        (bob, "forbidden", "not-found"),
    ];
    for (somebody, existing, missing) in cases {
        let status = |code| if code == "not-found" { 404 } else { 403 };
        for (id, code) in [
            (&id, existing),
            (&json!(999), missing),
            (&json!("x"), missing),
        ] {
            let answer = delete(&somebody, "r1", id);
            assert_eq!(refused(&answer), is(status(code), code), "{id}");
        }
    }
    assert_eq!(
        refused(&delete(&fixture.client, "r1", &id)),
        is(401, "unauthorized")
    );
    assert_eq!(read(&alice), ["Hello"]);
}

#[test]
fn the_owner_and_admins_delete_messages_of_others_without_joining() {
    let fixture = Fixture::new();
    let owner = fixture.caller("owner");
    let room = owner.post_json("/api/rooms", &json!({"name": "Den"})).ok();
    let room = text(&room["id"]);
    let admin = fixture.daemon.cli_json(&["user", "add", "root", "--admin"]);
    let admin = fixture.bearer(&text(&admin["id"]));
    let guest = fixture.guest(&room);
    guest.post(&format!("/api/rooms/{room}/join")).ok();
    let ids =
        ["one", "two", "three", "four"].map(|text| write(&guest, &room, text).ok()["id"].clone());
    delete(&owner, &room, &ids[0]).ok();
    delete(&admin, &room, &ids[1]).ok();
    // A guest, too, deletes their own message.
    delete(&guest, &room, &ids[2]).ok();
    let page = guest.get(&format!("/api/rooms/{room}/messages")).ok();
    assert_eq!(contents(&page), ["four"]);
    // Also in a closed room, from which every participant is gone.
    owner
        .send("DELETE", &format!("/api/rooms/{room}"), &[], b"")
        .ok();
    assert_eq!(
        refused(&delete(&guest, &room, &ids[3])),
        is(410, "room-closed")
    );
    delete(&owner, &room, &ids[3]).ok();
    assert_eq!(
        refused(&delete(&owner, &room, &ids[3])),
        is(404, "not-found")
    );
}

#[test]
fn a_message_is_deleted_in_its_own_room_only() {
    let (fixture, alice) = with_alice();
    let id = write(&alice, "r1", "Hello").ok()["id"].clone();
    let owner = fixture.caller("owner");
    let own = owner.post_json("/api/rooms", &json!({"name": "Den"})).ok();
    let answer = delete(&owner, &text(&own["id"]), &id);
    assert_eq!(refused(&answer), is(404, "not-found"));
    assert_eq!(read(&alice), ["Hello"]);
}

#[test]
fn a_moderator_deletes_messages_of_members_and_guests_and_the_audit_has_no_text() {
    let fixture = Fixture::new();
    let owner = fixture.caller("owner");
    let room = owner.post_json("/api/rooms", &json!({"name": "Den"})).ok();
    let room = text(&room["id"]);
    let admin = fixture.daemon.cli_json(&["user", "add", "root", "--admin"]);
    let admin = fixture.bearer(&text(&admin["id"]));
    let (moderator, other) = (fixture.caller("moderator"), fixture.caller("other"));
    for name in ["moderator", "other"] {
        fixture
            .daemon
            .cli_json(&["room", "role", &room, name, "moderator"]);
    }
    let (member, guest) = (fixture.caller("member"), fixture.guest(&room));
    let mut ids = Vec::new();
    for author in [&owner, &admin, &other, &member, &guest] {
        author.post(&format!("/api/rooms/{room}/join")).ok();
        ids.push(write(author, &room, "a secret").ok()["id"].clone());
    }
    // The moderator is not in the room.
    for id in &ids[..3] {
        let answer = delete(&moderator, &room, id);
        assert_eq!(refused(&answer), is(403, "protected"));
    }
    for id in &ids[3..] {
        delete(&moderator, &room, id).ok();
    }
    let missing = delete(&moderator, &room, &json!(999));
    assert_eq!(refused(&missing), is(404, "not-found"));
    // The owner deletes what an admin and a moderator wrote.
    for id in &ids[..3] {
        delete(&owner, &room, id).ok();
    }
    let audit = owner.get(&format!("/api/rooms/{room}/audit")).ok();
    assert!(!audit.to_string().contains("secret"), "{audit}");
    let entries = audit["entries"].as_array().expect("entries");
    let deletions: Vec<_> = entries
        .iter()
        .filter(|entry| entry["action"] == "delete-message")
        .map(|entry| text(&entry["value"]))
        .collect();
    // Newest first, without the owner's own.
    let expected = [2, 1, 4, 3].map(|index: usize| ids[index].to_string());
    assert_eq!(deletions, expected);
}

#[test]
fn a_moderator_deletes_too_many_messages_of_others_and_waits() {
    let fixture = Fixture::new();
    let owner = fixture.caller("owner");
    let room = owner.post_json("/api/rooms", &json!({"name": "Den"})).ok();
    let room = text(&room["id"]);
    owner.post(&format!("/api/rooms/{room}/join")).ok();
    let member = fixture.user("member");
    fixture
        .bearer(&member)
        .post(&format!("/api/rooms/{room}/join"))
        .ok();
    let own = write(&owner, &room, "own").ok()["id"].clone();
    let row = format!("('{room}', '{member}', 'text', '2026-01-01T00:00:00Z')");
    let rows = vec![row; 60].join(", ");
    fixture.sql(&format!(
        "INSERT INTO room_messages (room_id, user_id, content, created_at) VALUES {rows}"
    ));
    let page = owner
        .get(&format!("/api/rooms/{room}/messages?limit=100"))
        .ok();
    let ids: Vec<Value> = page["messages"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|message| message["id"] != own)
        .map(|message| message["id"].clone())
        .collect();
    assert_eq!(ids.len(), 60);
    let answers = ids.iter().map(|id| delete(&owner, &room, id));
    let limited = answers.into_iter().find(|answer| answer.status == 429);
    assert_eq!(
        refused(&limited.expect("a limit")),
        is(429, "too-many-requests")
    );
    // Everybody deletes what they wrote.
    delete(&owner, &room, &own).ok();
}
