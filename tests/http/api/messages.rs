//! The text chat of participants.

use super::*;

/// A fixture with alice in the room `r1`.
pub(super) fn with_alice() -> (Fixture, Client) {
    alice_in(Fixture::new())
}

pub(super) fn alice_in(fixture: Fixture) -> (Fixture, Client) {
    fixture.room("r1", &[]);
    let alice = fixture.caller("alice");
    alice.post("/api/rooms/r1/join").ok();
    (fixture, alice)
}

pub(super) fn write(client: &Client, room: &str, content: &str) -> Answer {
    let body = json!({ "content": content });
    client.post_json(&format!("/api/rooms/{room}/messages"), &body)
}

pub(super) fn contents(page: &Value) -> Vec<String> {
    let messages = page["messages"].as_array().expect("a list").iter();
    messages.map(|message| text(&message["content"])).collect()
}

#[test]
fn a_message_is_read_by_the_others_as_it_was_written() {
    let (fixture, alice) = with_alice();
    let bob = fixture.guest("r1");
    bob.post("/api/rooms/r1/join").ok();
    let content = "Grüße 👋\n  \u{202e}\"<b>\\";
    let written = write(&alice, "r1", content);
    assert_eq!(written.status, 201);
    let written = written.ok();
    assert_eq!(
        (
            &written["content"],
            &written["display_name"],
            &written["room_id"]
        ),
        (&json!(content), &json!("alice"), &json!("r1"))
    );
    write(&bob, "r1", "Hello").ok();
    let page = bob.get("/api/coworking/rooms/r1/messages").ok();
    assert_eq!(page["messages"][0], written);
    assert_eq!(page["messages"][1]["display_name"], json!("Gast"));
    assert_eq!(page["next_before"], Value::Null);
}

#[test]
fn pages_lead_back_to_the_first_message_and_name_no_other_rooms() {
    let (fixture, alice) = with_alice();
    fixture.room("r2", &[]);
    alice.post("/api/rooms/r2/join").ok();
    for number in 1..=5 {
        write(&alice, "r1", &number.to_string()).ok();
        write(&alice, "r2", "elsewhere").ok();
    }
    let mut path = "/api/rooms/r1/messages?limit=2".to_owned();
    let mut pages = Vec::new();
    loop {
        let page = alice.get(&path).ok();
        pages.push(contents(&page));
        let Some(before) = page["next_before"].as_i64() else {
            break;
        };
        path = format!("/api/rooms/r1/messages?limit=2&before={before}");
    }
    assert_eq!(pages, [vec!["4", "5"], vec!["2", "3"], vec!["1"]]);
    for bad in ["limit=0", "limit=101", "limit=x", "before=x", "before="] {
        let answer = alice.get(&format!("/api/rooms/r1/messages?{bad}"));
        assert_eq!(refused(&answer), is(400, "bad-request"), "{bad}");
    }
}

#[test]
fn a_room_keeps_its_newest_messages_and_takes_none_of_another() {
    let limited = Fixture::with(|builder| builder.env("PARLOR_ROOMS__MAX_MESSAGES", "3"));
    let (fixture, alice) = alice_in(limited);
    fixture.room("r2", &[]);
    alice.post("/api/rooms/r2/join").ok();
    write(&alice, "r2", "elsewhere").ok();
    for number in 1..=5 {
        write(&alice, "r1", &number.to_string()).ok();
    }
    let read = |room: &str| contents(&alice.get(&format!("/api/rooms/{room}/messages")).ok());
    assert_eq!(read("r1"), ["3", "4", "5"]);
    assert_eq!(read("r2"), ["elsewhere"]);
}

#[test]
fn participants_alone_read_and_write() {
    let (fixture, alice) = with_alice();
    fixture.room("r2", &[]);
    let admin = fixture.daemon.cli_json(&["user", "add", "root", "--admin"]);
    let guest_elsewhere = fixture.guest("r2");
    let cases = [
        (
            fixture.bearer(&text(&admin["id"])),
            is(403, "not-a-participant"),
        ),
        (fixture.caller("bob"), is(403, "not-a-participant")),
        (guest_elsewhere, is(403, "not-for-this-room")),
        (fixture.client.clone(), is(401, "unauthorized")),
    ];
    for (somebody, refusal) in cases {
        assert_eq!(refused(&somebody.get("/api/rooms/r1/messages")), refusal);
        assert_eq!(refused(&write(&somebody, "r1", "Hello")), refusal);
    }
    assert_eq!(
        refused(&write(&alice, "none", "Hello")),
        is(404, "not-found")
    );
    alice.post("/api/rooms/r1/leave").ok();
    assert_eq!(
        refused(&write(&alice, "r1", "Hello")),
        is(403, "not-a-participant")
    );
    fixture.sql("UPDATE coworking_rooms SET closed_at = '2026-01-01T00:00:00Z'");
    assert_eq!(
        refused(&write(&alice, "r1", "Hello")),
        is(410, "room-closed")
    );
}

#[test]
fn a_message_has_1_to_4000_characters() {
    let (_house, alice) = with_alice();
    for bad in ["", " \n\t", &"ä".repeat(4001)] {
        assert_eq!(refused(&write(&alice, "r1", bad)), is(400, "bad-request"));
    }
    for bad in [json!({}), json!({"content": 7}), json!([])] {
        let answer = alice.post_json("/api/rooms/r1/messages", &bad);
        assert_eq!(refused(&answer), is(400, "bad-request"), "{bad}");
    }
    write(&alice, "r1", &"ä".repeat(4000)).ok();
    assert_eq!(contents(&alice.get("/api/rooms/r1/messages").ok()).len(), 1);
}

#[test]
fn a_user_writes_only_so_fast_and_others_do_not_suffer() {
    let (fixture, alice) = with_alice();
    let bob = fixture.caller("bob");
    bob.post("/api/rooms/r1/join").ok();
    let mut written = 0;
    let refusal = loop {
        let answer = write(&alice, "r1", "again");
        if answer.status != 201 {
            break answer;
        }
        written += 1;
        assert!(written < 1000, "no end to it");
    };
    assert_eq!(refused(&refusal), is(429, "too-many-requests"));
    assert_eq!(refusal.header("retry-after"), Some("1"));
    write(&bob, "r1", "Hello").ok();
}

#[test]
fn a_message_that_was_answered_survives_a_kill() {
    let (fixture, alice) = with_alice();
    write(&alice, "r1", "for ever").ok();
    fixture.daemon.signal("KILL");
    let _daemon = fixture.daemon.restart();
    let page = alice.get("/api/rooms/r1/messages").ok();
    assert_eq!(contents(&page), ["for ever"]);
}
