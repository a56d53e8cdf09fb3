//! Bans of users who are not in the room, and the rate limit of each moderator.

use super::*;

fn owned_room(fixture: &Fixture) -> (Client, String) {
    let owner = fixture.caller("owner");
    let made = owner.post_json("/api/rooms", &json!({"name": "Den"})).ok();
    (owner, text(&made["id"]))
}

fn ban(caller: &Client, room: &str, user: &str) -> Answer {
    let path = format!("/api/rooms/{room}/bans");
    caller.post_json(&path, &json!({"user_id": user}))
}

#[test]
fn former_members_and_guests_who_never_joined_can_be_banned_and_not_kicked() {
    let fixture = Fixture::new();
    let (owner, room) = owned_room(&fixture);
    let former = fixture.user("former");
    let caller = fixture.bearer(&former);
    for change in ["join", "leave"] {
        caller.post(&format!("/api/rooms/{room}/{change}")).ok();
    }
    let entered = fixture.enter(&room, &fixture.invite(&room, &[])).ok();
    let guest = text(&entered["user"]["id"]);
    let other = fixture.user("other");
    for user in [&former, &guest, &other] {
        let path = format!("/api/rooms/{room}/participants/{user}/kick");
        assert_eq!(refused(&owner.post(&path)), is(404, "not-found"), "{user}");
    }
    for user in [&former, &guest] {
        assert_eq!(ban(&owner, &room, user).status, 201, "{user}");
    }
    assert_eq!(refused(&ban(&owner, &room, &other)), is(404, "not-found"));
    let joined = caller.post(&format!("/api/rooms/{room}/join"));
    assert_eq!(refused(&joined).0, 403);
}

#[test]
fn the_limit_of_one_moderator_is_not_that_of_another() {
    let fixture = Fixture::new();
    let (owner, room) = owned_room(&fixture);
    let moderator = fixture.user("moderator");
    fixture
        .daemon
        .cli_json(&["room", "role", &room, "moderator", "moderator"]);
    let moderator = fixture.bearer(&moderator);
    let lock = format!("/api/rooms/{room}/lock");
    let limited = (0..1000).find(|_| owner.post(&lock).status == 429);
    assert!(limited.is_some(), "a limit");
    moderator.post(&lock).ok();
    // A caller who may not moderate is refused for that reason, however often.
    let member = fixture.caller("member");
    for _ in 0..40 {
        assert_eq!(refused(&member.post(&lock)), is(403, "forbidden"));
    }
}

#[test]
fn a_message_is_json() {
    let fixture = Fixture::new();
    fixture.room("r1", &[]);
    let alice = fixture.caller("alice");
    alice.post("/api/rooms/r1/join").ok();
    let body = br#"{"content": "Hello"}"#;
    for kind in ["text/plain", "application/x-www-form-urlencoded"] {
        let headers = [("Content-Type", kind)];
        let answer = alice.send("POST", "/api/rooms/r1/messages", &headers, body);
        assert_eq!(
            refused(&answer),
            is(415, "unsupported-media-type"),
            "{kind}"
        );
    }
    let page = alice.get("/api/rooms/r1/messages").ok();
    assert_eq!(page["messages"], json!([]));
}
