//! The preview of a room before a join.

use super::*;

/// The response to a caller with only an invite.
fn with_invite(client: &Client, room: &str, invite: &str) -> Answer {
    let path = format!("/api/rooms/{room}/preview");
    client.send("GET", &path, &[("X-Parlor-Invite", invite)], b"")
}

#[test]
fn an_invite_shows_name_and_people_and_is_not_used_up() {
    let fixture = Fixture::new();
    fixture.room("r1", &["--private", "--max-participants", "2"]);
    let once = fixture.invite("r1", &["--uses", "1"]);
    let empty = json!({
        "id": "r1", "name": "r1", "participants": [], "connected": 0, "full": false, "locked": false,
    });
    for _ in 0..3 {
        assert_eq!(with_invite(&fixture.client, "r1", &once).ok(), empty);
    }
    let entered = fixture.enter("r1", &once).ok();
    let token = text(&entered["access_token"]);
    let guest = fixture.client.with_token(&token);
    guest.post("/api/rooms/r1/join").ok();
    let _socket = fixture.connect("r1", &token);
    fixture.daemon.wait_for_log("WebSocket admitted");

    assert_eq!(
        refused(&with_invite(&fixture.client, "r1", &once)),
        is(403, "bad-invite")
    );
    let another = fixture.invite("r1", &[]);
    let seen = with_invite(&fixture.client, "r1", &another).ok();
    let people = json!([{"display_name": "Gast", "guest": true}]);
    assert_eq!(
        (&seen["participants"], &seen["connected"]),
        (&people, &json!(1))
    );
}

#[test]
fn a_wrong_invite_tells_nothing_of_any_room() {
    let fixture = Fixture::new();
    fixture.room("r1", &[]);
    fixture.room("r2", &[]);
    let other = fixture.invite("r2", &[]);
    for (room, invite) in [
        ("r1", "wrong"),
        ("r1", ""),
        ("r1", &*other),
        ("none", "wrong"),
        ("%ff", "x"),
    ] {
        let answer = with_invite(&fixture.client, room, invite);
        assert_eq!(refused(&answer), is(403, "bad-invite"), "{room} {invite}");
    }
    let expired = fixture.invite("r1", &[]);
    fixture.sql("UPDATE room_invites SET expires_at = '2026-01-31T23:59:59Z'");
    assert_eq!(
        refused(&with_invite(&fixture.client, "r1", &expired)),
        is(403, "bad-invite")
    );
    let revoked = fixture.invite("r2", &[]);
    fixture.sql("UPDATE room_invites SET revoked_at = '2026-01-31T23:59:59Z' WHERE room_id = 'r2'");
    let answer = with_invite(&fixture.client, "r2", &revoked);
    assert_eq!(refused(&answer), is(403, "invite-withdrawn"));
    let neither = fixture.client.get("/api/rooms/r1/preview");
    assert_eq!(refused(&neither), is(401, "unauthorized"));
}

#[test]
fn a_full_and_a_closed_room_are_seen_to_be_so() {
    let fixture = Fixture::new();
    fixture.room("r1", &["--max-participants", "1"]);
    let invite = fixture.invite("r1", &[]);
    let (ada, bob) = (fixture.caller("ada"), fixture.caller("bob"));
    ada.post("/api/rooms/r1/join").ok();
    let full = |answer: Answer| answer.ok()["full"].clone();
    assert_eq!(
        full(with_invite(&fixture.client, "r1", &invite)),
        json!(true)
    );
    assert_eq!(full(bob.get("/api/rooms/r1/preview")), json!(true));
    // A member can still join.
    assert_eq!(full(ada.get("/api/rooms/r1/preview")), json!(false));
    fixture.daemon.cli_json(&["room", "close", "r1"]);
    assert_eq!(
        refused(&with_invite(&fixture.client, "r1", &invite)),
        is(410, "room-closed")
    );
}

#[test]
fn a_private_room_is_not_there_for_those_who_may_not_see_it() {
    let fixture = Fixture::new();
    fixture.room("r1", &["--private"]);
    fixture.room("r2", &[]);
    let ada = fixture.caller("ada");
    for room in ["r1", "none"] {
        let answer = ada.get(&format!("/api/rooms/{room}/preview"));
        assert_eq!(refused(&answer), is(404, "not-found"), "{room}");
    }
    with_invite(&ada, "r1", &fixture.invite("r1", &[])).ok();
    ada.get("/api/rooms/r2/preview").ok();
    let guest = fixture.guest("r2");
    for room in ["r1", "none"] {
        let answer = guest.get(&format!("/api/rooms/{room}/preview"));
        assert_eq!(refused(&answer), is(403, "not-for-this-room"), "{room}");
    }
}

#[test]
fn banned_and_disabled_users_see_nothing_even_with_an_invite() {
    let fixture = Fixture::new();
    fixture.room("r1", &[]);
    let invite = fixture.invite("r1", &[]);
    let id = fixture.user("ada");
    let ada = fixture.bearer(&id);
    fixture.sql(&format!(
        "INSERT INTO room_bans (room_id, user_id, created_at) VALUES ('r1', '{id}', '2026-01-31T23:59:59Z')"
    ));
    for answer in [
        ada.get("/api/rooms/r1/preview"),
        with_invite(&ada, "r1", &invite),
    ] {
        assert_eq!(refused(&answer), is(403, "banned"));
    }
    fixture.daemon.cli_json(&["user", "disable", &id]);
    assert_eq!(
        refused(&with_invite(&ada, "r1", &invite)),
        is(403, "user-disabled")
    );
}

#[test]
fn previews_are_limited_for_each_address() {
    let fixture = Fixture::new();
    fixture.room("r1", &[]);
    let answers = (0..200).map(|_| with_invite(&fixture.client, "r1", "wrong"));
    let limited = answers
        .map(|answer| refused(&answer))
        .find(|answer| *answer != is(403, "bad-invite"));
    assert_eq!(limited, Some(is(429, "too-many-attempts")));
}
