//! The handshake: where a token may stand, and how a newcomer is refused.

use parlor::token::Claims;
use tokio_tungstenite::tungstenite::http::HeaderValue;

use crate::wire::world::{LOBBY, World, now, offer, sign};

#[test]
fn the_token_may_come_in_the_query_the_header_or_the_subprotocol() {
    let world = World::start();
    let mut bob = world.enter(LOBBY, "bob");
    world.join(LOBBY, "alice");
    let token = world.token("alice");
    let in_query = world.request(&format!("/api/ws/rooms/lobby?a=b&token={token}&c"));
    let mut in_header = world.request("/api/ws/rooms/lobby");
    let bearer = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
    in_header.headers_mut().insert("Authorization", bearer);
    let mut in_protocol = world.request("/api/ws/rooms/lobby");
    let pair = HeaderValue::from_str(&format!("bearer, {token}")).unwrap();
    in_protocol
        .headers_mut()
        .insert("Sec-WebSocket-Protocol", pair);
    for (request, echoed) in [
        (in_query, None),
        (in_header, None),
        (in_protocol, Some("bearer")),
    ] {
        let mut alice = world.open(request);
        let protocol = alice.headers.get("Sec-WebSocket-Protocol");
        assert_eq!(protocol.and_then(|p| p.to_str().ok()), echoed);
        alice.send(&offer("alice", None, "hello"));
        while bob.read()["type"] != "offer" {}
        alice.vanish();
        assert_eq!(bob.read()["type"], "user-left");
    }
}

#[test]
fn no_token_reaches_a_log() {
    let world = World::start();
    world.join(LOBBY, "alice");
    let token = world.token("alice");
    let mut alice = world.connect(LOBBY, &token);
    alice.socket.close(None).unwrap();
    let mut refused = world.connect("no-such-room", &token);
    assert_eq!(refused.close_code(), 4003);
    let (_, signature) = token.rsplit_once('.').unwrap();
    world.daemon.wait_for_log("/api/ws/rooms/{room}");
    let log = world.daemon.log();
    assert!(log.iter().all(|line| !line.contains(signature)), "{log:#?}");
}

#[test]
fn compression_is_not_taken_up() {
    let world = World::start();
    world.join(LOBBY, "alice");
    let path = format!("/api/ws/rooms/lobby?token={}", world.token("alice"));
    let mut request = world.request(&path);
    let offer = HeaderValue::from_static("permessage-deflate; client_max_window_bits");
    request
        .headers_mut()
        .insert("Sec-WebSocket-Extensions", offer);
    let alice = world.open(request);
    assert!(!alice.headers.contains_key("Sec-WebSocket-Extensions"));
}

#[test]
fn a_bad_token_closes_with_4001_for_any_room() {
    let world = World::start();
    let unsigned = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSIsImV4cCI6OTk5OTk5OTk5OX0.";
    let expired = world.token_for("alice", -1);
    let mut forged = world.token("alice");
    forged.truncate(forged.len() - 2);
    for token in ["", "nonsense", unsigned, &expired, &forged] {
        for room in [LOBBY, "no-such-room", "not%20an%20id", "%ff", "%zz"] {
            let mut alice = world.connect(room, token);
            assert_eq!(alice.close_code(), 4001, "{token} {room}");
            alice.ends();
        }
    }
    let mut alice = world.open(world.request("/api/ws/rooms/lobby"));
    assert_eq!(alice.close_code(), 4001);
}

#[test]
fn an_id_that_cannot_be_one_closes_with_4000() {
    let world = World::start();
    let long = "x".repeat(129);
    for room in [
        "not%20an%20id",
        "%2e%2e%2f",
        ".",
        "%2e%2e",
        "alice%40example.org",
        // Decoded once.
        "%2561",
        "r%C3%A4ume",
        "%ff",
        "%zz",
        "a%2",
        &long,
    ] {
        let mut alice = world.connect(room, &world.token("alice"));
        assert_eq!(alice.close_code(), 4000, "{room}");
        alice.ends();
    }
}

#[test]
fn a_user_who_is_no_participant_is_closed_with_4003() {
    let world = World::start();
    let mut alice = world.connect("no-such-room", &world.token("alice"));
    assert_eq!(alice.close_code(), 4003);
    alice.ends();
    let mut alice = world.connect(LOBBY, &world.token("alice"));
    assert_eq!(alice.close_code(), 4003);
    world.join(LOBBY, "alice");
    world.leave(LOBBY, "alice");
    let mut alice = world.connect(LOBBY, &world.token("alice"));
    assert_eq!(alice.close_code(), 4003);
}

#[test]
fn a_token_for_other_rooms_closes_with_4003() {
    let world = World::start();
    world.join(LOBBY, "alice");
    let claims = |room: &str| Claims {
        sub: "alice".to_owned(),
        exp: (now() + 60) as u64,
        rooms: Some(vec![room.to_owned()]),
        ..Claims::default()
    };
    let mut alice = world.connect(LOBBY, &sign(&claims("attic")));
    assert_eq!(alice.close_code(), 4003);
    let mut bob = world.enter(LOBBY, "bob");
    let _alice = world.connect(LOBBY, &sign(&claims(LOBBY)));
    assert_eq!(bob.read()["type"], "user-joined");
}

#[test]
fn a_closed_room_closes_with_4004() {
    let world = World::start();
    world.join(LOBBY, "alice");
    world.write_outside("UPDATE coworking_rooms SET closed_at = '2026-01-01T00:00:00Z'");
    let mut alice = world.connect(LOBBY, &world.token("alice"));
    assert_eq!(alice.close_code(), 4004);
    alice.ends();
}

#[test]
fn a_disabled_user_is_closed_with_4005_and_a_deleted_one_with_4001() {
    let world = World::start();
    world.join(LOBBY, "alice");
    world.write_outside("UPDATE users SET disabled_at = '2026-01-01T00:00:00Z' WHERE id = 'alice'");
    let mut alice = world.connect(LOBBY, &world.token("alice"));
    assert_eq!(alice.close_code(), 4005);
    alice.ends();
    world.write_outside("UPDATE users SET deleted_at = '2026-01-01T00:00:00Z' WHERE id = 'alice'");
    let mut alice = world.connect(LOBBY, &world.token("alice"));
    assert_eq!(alice.close_code(), 4001);
}

#[test]
fn an_unknown_user_is_closed_with_4001_unless_users_are_provisioned() {
    let world = World::with(&[("PARLOR_AUTH__PROVISION_USERS", "false")]);
    let mut alice = world.connect(LOBBY, &world.token("alice"));
    assert_eq!(alice.close_code(), 4001);
    let world = World::start();
    let mut alice = world.connect(LOBBY, &world.token("alice"));
    assert_eq!(alice.close_code(), 4003);
}

#[test]
fn a_page_of_another_origin_is_refused_where_origins_are_listed() {
    let world = World::with(&[("PARLOR_HTTP__ALLOWED_ORIGINS", "https://app.example")]);
    world.join(LOBBY, "alice");
    let path = format!("/api/ws/rooms/lobby?token={}", world.token("alice"));
    let from = |origin: &str| {
        let mut request = world.request(&path);
        let origin = HeaderValue::from_str(origin).unwrap();
        request.headers_mut().insert("Origin", origin);
        world.try_open(request)
    };
    let refused = from("https://evil.example").err().expect("a refusal");
    assert_eq!(refused.status(), 403);
    assert!(from("https://app.example").is_ok());
    assert!(from(&format!("http://{}", world.address())).is_ok());
}

#[test]
fn a_request_without_an_upgrade_gets_426() {
    let world = World::start();
    let answer = world.http("").get("/api/ws/rooms/lobby");
    assert_eq!(answer.refusal(), (426, "upgrade-required".to_owned()));
    assert_eq!(answer.header("sec-websocket-version"), Some("13"));
    let upgrade = [
        ("Connection", "keep-alive, Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "short"),
    ];
    let answer = world
        .http("")
        .send("GET", "/api/ws/rooms/lobby", &upgrade, b"");
    assert_eq!(answer.status, 400);
}
