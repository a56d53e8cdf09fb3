//! Joining, leaving, and who is there.

use super::*;

#[test]
fn a_join_answers_as_the_contract_says_under_both_names() {
    let fixture = Fixture::new();
    let alice = fixture.caller("alice");
    fixture.room("r1", &[]);
    for prefix in ["/api/rooms", "/api/coworking/rooms"] {
        let answer = alice.post(&format!("{prefix}/r1/join"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let joined = answer.ok();
        assert_eq!(joined["success"], json!(true));
        assert_eq!(joined["websocket_url"], json!("/api/ws/rooms/r1"));
        assert_eq!(joined["message"], json!("Successfully joined r1"));
        assert_eq!(joined["room"]["id"], json!("r1"));
        let mut names: Vec<_> = joined.as_object().unwrap().keys().collect();
        names.sort();
        assert_eq!(
            names,
            ["ice_servers", "message", "room", "success", "websocket_url"]
        );
        assert_eq!(
            joined["ice_servers"][0]["urls"].as_array().unwrap().len(),
            1
        );
    }
}

#[test]
fn a_full_room_answers_409_except_to_those_who_are_in() {
    let fixture = Fixture::new();
    fixture.room("small", &["--max-participants", "1"]);
    let (alice, bob) = (fixture.caller("alice"), fixture.caller("bob"));
    alice.post("/api/rooms/small/join").ok();
    assert_eq!(
        refused(&bob.post("/api/rooms/small/join")),
        is(409, "room-full")
    );
    alice.post("/api/rooms/small/join").ok();
    alice.post("/api/rooms/small/leave").ok();
    bob.post("/api/rooms/small/join").ok();
}

#[test]
fn a_user_who_leaves_is_no_participant_and_may_leave_twice() {
    let fixture = Fixture::new();
    fixture.room("r1", &[]);
    let (alice, bob) = (fixture.user("alice"), fixture.user("bob"));
    let (as_alice, as_bob) = (fixture.bearer(&alice), fixture.bearer(&bob));
    as_alice.post("/api/rooms/r1/join").ok();
    as_bob.post("/api/rooms/r1/join").ok();
    assert_eq!(members(&as_alice, "r1").len(), 2);
    let left = as_bob.post("/api/rooms/r1/leave").ok();
    assert_eq!(left["success"], json!(true));
    as_bob.post("/api/coworking/rooms/r1/leave").ok();
    assert_eq!(members(&as_alice, "r1"), [alice]);
}

#[test]
fn leaving_a_private_room_reveals_nothing_to_other_users() {
    let fixture = Fixture::new();
    fixture.room("den", &["--private"]);
    let leave_path = "/api/rooms/den/leave";
    let outsider = fixture.caller("alice");
    let (there, not_there) = (
        outsider.post(leave_path),
        outsider.post("/api/rooms/none/leave"),
    );
    assert_eq!(refused(&there), is(404, "not-found"));
    assert_eq!(there.body, not_there.body);
    let member = fixture.caller("bob");
    fixture
        .daemon
        .cli_json(&["room", "add-member", "den", "bob"]);
    member.post(leave_path).ok();
    member.post(leave_path).ok();
}

#[test]
fn participants_have_names_and_say_whether_they_are_connected() {
    let fixture = Fixture::new();
    fixture.room("r1", &[]);
    let guest = fixture.guest("r1");
    guest.post("/api/rooms/r1/join").ok();
    let answer = guest.get("/api/rooms/r1/participants").ok();
    let member = &answer["participants"][0];
    assert_eq!(member["display_name"], json!("Gast"));
    assert_eq!(
        (&member["guest"], &member["connected"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(
        text(&member["joined_at"]).len(),
        "2026-01-31T23:59:59Z".len()
    );
}

#[test]
fn a_connection_shows_among_the_participants_and_a_leave_closes_it_with_4003() {
    let fixture = Fixture::new();
    fixture.room("r1", &[]);
    let token = sign(&claims(&fixture.user("alice")));
    let alice = fixture.client.with_token(&token);
    alice.post("/api/rooms/r1/join").ok();
    let mut socket = fixture.connect("r1", &token);
    // The server adds a connection to the room just after it has answered the upgrade.
    let connected = || {
        let shown = alice.get("/api/rooms/r1/participants").ok();
        shown["participants"][0]["connected"] == json!(true)
    };
    let started = clock::now().mono;
    while !connected() {
        assert!(
            clock::now().mono.since(started) < DEADLINE,
            "never connected"
        );
    }
    alice.post("/api/rooms/r1/leave").ok();
    assert_eq!(close_code(&mut socket), 4003);
}

#[test]
fn a_closed_room_answers_410() {
    let fixture = Fixture::new();
    fixture.room("r1", &[]);
    let invite = fixture.invite("r1", &[]);
    fixture.sql("UPDATE coworking_rooms SET closed_at = '2020-01-01T00:00:00Z'");
    let alice = fixture.caller("alice");
    assert_eq!(
        refused(&alice.post("/api/rooms/r1/join")),
        is(410, "room-closed")
    );
    assert_eq!(
        refused(&fixture.enter("r1", &invite)),
        is(410, "room-closed")
    );
}

#[test]
fn an_absent_guest_is_removed_and_a_connected_one_stays() {
    let fixture = Fixture::with(|builder| builder.env("PARLOR_ROOMS__GUEST_ABSENCE", "1s"));
    fixture.room("r1", &["--max-participants", "2"]);
    let entered = fixture.enter("r1", &fixture.invite("r1", &[])).ok();
    let here = text(&entered["access_token"]);
    let (here, socket_token) = (fixture.client.with_token(&here), here);
    here.post("/api/rooms/r1/join").ok();
    let _socket = fixture.connect("r1", &socket_token);
    let away = fixture.guest("r1");
    away.post("/api/rooms/r1/join").ok();

    let waiting = fixture.caller("alice");
    let give_up = clock::now().mono + DEADLINE;
    while waiting.post("/api/rooms/r1/join").status == 409 {
        assert!(clock::now().mono < give_up, "the room stays full");
    }
    here.get("/api/rooms/r1/participants").ok();
    assert_eq!(away.post("/api/rooms/r1/join").status, 409);
}
