//! The handshake, the `welcome` and the roster.

use serde_json::{Value, json};

use super::about;
use crate::wire::world::{LOBBY, World, presence};

#[test]
fn the_extended_protocol_is_echoed_and_never_the_token() {
    let world = World::start();
    world.join(LOBBY, "alice");
    let token = world.token("alice");
    for (offered, echoed) in [
        (format!("parlor.v1, bearer, {token}"), "parlor.v1"),
        (format!("bearer, {token}, parlor.v1"), "parlor.v1"),
        (format!("bearer, {token}"), "bearer"),
        (format!("parlor.v2, bearer, {token}"), "bearer"),
    ] {
        let mut request = world.request("/api/ws/rooms/lobby");
        let value = offered.parse().expect("a header");
        request
            .headers_mut()
            .insert("Sec-WebSocket-Protocol", value);
        let mut alice = world.open(request);
        assert_eq!(alice.headers["Sec-WebSocket-Protocol"], echoed, "{offered}");
        if echoed == "parlor.v1" {
            assert_eq!(alice.read()["type"], "welcome", "{offered}");
        }
        alice.socket.close(None).expect("closed");
        // At another node, a connection that was not answered yet could enter after the next one.
        while alice.socket.read().is_ok() {}
    }
    let mut request = world.request(&format!("/api/ws/rooms/lobby?token={token}"));
    let alone = "parlor.v1".parse().expect("a header");
    request
        .headers_mut()
        .insert("Sec-WebSocket-Protocol", alone);
    let mut alice = world.open(request);
    assert_eq!(alice.headers["Sec-WebSocket-Protocol"], "parlor.v1");
    assert_eq!(alice.read()["type"], "welcome");
}

#[test]
fn a_rejected_extended_client_reads_the_close_code() {
    let world = World::start();
    let mut alice = world.connect_extended("/api/ws/rooms/lobby", "alice");
    assert_eq!(alice.headers["Sec-WebSocket-Protocol"], "parlor.v1");
    assert_eq!(alice.close_code(), 4003);
}

#[test]
fn a_welcome_describes_the_room_the_servers_and_the_people() {
    let world = World::start();
    let _plain = world.enter(LOBBY, "alice");
    let (_bob, welcome) = world.enter_extended(LOBBY, "bob");
    let http = world.http(&world.token("bob"));
    let room = http.get("/api/rooms/lobby").json();
    assert_eq!(welcome["userId"], "bob");
    assert_eq!(welcome["role"], "member");
    assert_eq!(welcome["room"]["id"], LOBBY);
    for key in [
        "name",
        "private",
        "max_participants",
        "owner_id",
        "created_at",
    ] {
        assert_eq!(welcome["room"][key], room[key], "{key}");
    }
    let ice = http.get("/api/ice-servers?room=lobby").json();
    assert_eq!(keys(&welcome["iceServers"]), keys(&ice));
    let (own, fetched) = (&welcome["iceServers"]["iceServers"], &ice["iceServers"]);
    assert_eq!(own[0], fetched[0]);
    assert_eq!(own[1]["urls"], fetched[1]["urls"]);
    assert_eq!(welcome["limits"]["maxMessageBytes"], 256 * 1024);
    let participants = welcome["participants"].as_array().expect("a list");
    let users: Vec<&Value> = participants.iter().map(|one| &one["userId"]).collect();
    assert_eq!(users, ["alice", "bob"]);
    for participant in participants {
        assert_eq!(participant["displayName"], participant["userId"]);
        assert_eq!(participant["role"], "member");
        assert_eq!(participant["connected"], true);
        assert!(
            participant["joinedAt"]
                .as_str()
                .is_some_and(|at| at.ends_with('Z'))
        );
    }
}

fn keys(object: &Value) -> Vec<&String> {
    object.as_object().expect("an object").keys().collect()
}

#[test]
fn extended_clients_learn_who_comes_and_why_people_leave() {
    let world = World::start();
    let (mut alice, _) = world.enter_extended(LOBBY, "alice");
    let mut plain = world.enter(LOBBY, "plain");
    assert_eq!(alice.read()["from"], "plain");
    let (mut dave, welcome) = world.enter_extended(LOBBY, "dave");
    let joined = alice.read();
    let participant = &welcome["participants"][2];
    let data = json!({"userId": "dave", "participant": participant});
    assert_eq!(joined, about(2, "user-joined", "dave", &data));
    assert_eq!(plain.read(), presence("user-joined", "dave", LOBBY));
    dave.close(1000);
    let left = |seq, user: &str, reason: &str| {
        about(
            seq,
            "user-left",
            user,
            &json!({"userId": user, "reason": reason}),
        )
    };
    assert_eq!(alice.read(), left(3, "dave", "left"));
    assert_eq!(plain.read(), presence("user-left", "dave", LOBBY));
    plain.vanish();
    assert_eq!(alice.read(), left(4, "plain", "lost"));
}

#[test]
fn a_removed_user_leaves_with_the_reason() {
    let world = World::start();
    let (mut alice, _) = world.enter_extended(LOBBY, "alice");
    let mut seq = 0;
    for (user, command, code, reason) in [
        ("bob", vec!["room", "kick", LOBBY, "bob"], 4005, "kicked"),
        ("carol", vec!["room", "ban", LOBBY, "carol"], 4005, "banned"),
        ("dave", vec!["user", "disable", "dave"], 4005, "disabled"),
    ] {
        let (mut client, _) = world.enter_extended(LOBBY, user);
        world.daemon.cli_json(&command);
        assert_eq!(client.close_code(), code, "{user}");
        seq += 2;
        assert_eq!(alice.read()["type"], "user-joined");
        let data = json!({"userId": user, "reason": reason});
        assert_eq!(alice.read(), about(seq, "user-left", user, &data));
    }
    let _erin = world.enter_extended(LOBBY, "erin");
    assert_eq!(alice.read()["from"], "erin");
    world.leave(LOBBY, "erin");
    let data = json!({"userId": "erin", "reason": "left"});
    assert_eq!(alice.read(), about(seq + 2, "user-left", "erin", &data));
}
