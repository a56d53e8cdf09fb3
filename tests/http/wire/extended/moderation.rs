//! Moderation by frames, and what the others see of it.

use serde_json::{Value, json};

use super::{about, frame};
use crate::wire::world::{Client, LOBBY, World, presence};

/// A moderator, a member with an extended client, and one with a plain client, who know of each other.
fn room(world: &World) -> (Client, Client, Client) {
    let (mut alice, _) = world.enter_extended(LOBBY, "alice");
    world
        .daemon
        .cli_json(&["room", "role", LOBBY, "alice", "moderator"]);
    assert_eq!(alice.read()["type"], "participant-updated");
    let (mut bob, _) = world.enter_extended(LOBBY, "bob");
    assert_eq!(alice.read()["from"], "bob");
    let plain = world.enter(LOBBY, "plain");
    for client in [&mut alice, &mut bob] {
        assert_eq!(client.read()["from"], "plain");
    }
    (alice, bob, plain)
}

fn with_id(mut frame: Value, id: &str) -> Value {
    frame["id"] = id.into();
    frame
}

/// The `ack` or the code of the `error` for a frame.
fn answer(client: &mut Client, id: &str) -> String {
    loop {
        let frame = client.read();
        if frame["ref"] == id {
            let code = frame["data"]["code"].as_str();
            return code.map_or_else(|| "ack".to_owned(), str::to_owned);
        }
    }
}

#[test]
fn a_muted_client_is_asked_and_shown_as_muted_until_it_unmutes() {
    let world = World::start();
    let (mut alice, mut bob, mut plain) = room(&world);
    let data = json!({"reason": "noise"});
    alice.send(&frame("mute", Some("bob"), &data));
    assert_eq!(bob.read(), about(2, "mute", "alice", &json!({})));
    let state = |client: &mut Client| {
        let updated = client.read();
        assert_eq!(updated["type"], "participant-updated", "{updated}");
        assert_eq!(updated["data"]["userId"], "bob");
        updated["data"]["state"].clone()
    };
    let muted = |muted, by_moderator| json!({"muted": muted, "handRaised": false, "mutedByModerator": by_moderator});
    for client in [&mut alice, &mut bob] {
        assert_eq!(state(client), muted(false, true));
    }
    // A newcomer sees it as well.
    let (mut carol, welcome) = world.enter_extended(LOBBY, "carol");
    assert_eq!(welcome["participants"][1]["state"], muted(false, true));
    for client in [&mut alice, &mut bob] {
        assert_eq!(client.read()["from"], "carol");
    }
    assert_eq!(plain.read(), presence("user-joined", "carol", LOBBY));
    for (own, expected) in [(true, muted(true, true)), (false, muted(false, false))] {
        bob.send(&frame("update", None, &json!({"muted": own})));
        for client in [&mut alice, &mut bob, &mut carol] {
            assert_eq!(state(client), expected);
        }
    }
    let audit = world.daemon.cli_json(&["room", "audit", LOBBY]);
    let entry = &audit[0];
    assert_eq!(entry["action"], "mute");
    assert_eq!(
        (&entry["actor_id"], &entry["user_id"]),
        (&json!("alice"), &json!("bob"))
    );
    assert_eq!(entry["reason"], "noise");
}

#[test]
fn a_mute_over_http_and_by_a_command_reaches_the_client() {
    let world = World::start();
    let (_alice, mut bob, _plain) = room(&world);
    let http = world.http(&world.token("alice"));
    http.post("/api/rooms/lobby/participants/bob/mute").ok();
    assert_eq!(bob.read()["from"], "alice");
    assert_eq!(bob.read()["type"], "participant-updated");
    world.daemon.cli_json(&["room", "mute", LOBBY, "bob"]);
    let mute = bob.read();
    assert_eq!(mute["type"], "mute");
    assert_eq!(mute.get("from"), None, "an admin has no id here");
    let refusal = |user: &str| {
        let answer = http.post(&format!("/api/rooms/lobby/participants/{user}/mute"));
        answer.refusal()
    };
    assert_eq!(refusal("plain"), (409, "plain-client".to_owned()));
    assert_eq!(refusal("nobody").0, 404);
    world.join(LOBBY, "carol");
    assert_eq!(refusal("carol"), (409, "not-connected".to_owned()));
    let output = world.daemon.cli(&["room", "mute", LOBBY, "plain"]);
    assert!(!output.status.success());
    let audit = world.daemon.cli_json(&["room", "audit", LOBBY]);
    let mutes = audit.as_array().expect("a list").iter();
    let mutes = mutes.filter(|entry| entry["action"] == "mute");
    assert_eq!(mutes.count(), 2, "only those who were muted");
}

#[test]
fn a_moderator_removes_and_readmits_people_by_frames() {
    let world = World::start();
    let (mut alice, mut bob, mut plain) = room(&world);
    alice.send(&with_id(frame("kick", Some("plain"), &Value::Null), "k"));
    assert_eq!(answer(&mut alice, "k"), "ack");
    assert_eq!(plain.close_code(), 4005);
    assert_eq!(
        bob.read()["data"],
        json!({"userId": "plain", "reason": "kicked"})
    );
    let until = "2999-01-01T00:00:00Z";
    let data = json!({"until": until, "reason": "noise", "keepInvite": true});
    alice.send(&with_id(frame("ban", Some("bob"), &data), "b"));
    assert_eq!(answer(&mut alice, "b"), "ack");
    assert_eq!(bob.close_code(), 4005);
    let http = world.http(&world.token("alice"));
    let bans = http.get("/api/rooms/lobby/bans").json();
    assert_eq!(bans["bans"][0]["user_id"], "bob");
    assert_eq!(bans["bans"][0]["until"], until);
    assert_eq!(bans["bans"][0]["reason"], "noise");
    alice.send(&with_id(frame("unban", Some("bob"), &json!({})), "u"));
    assert_eq!(answer(&mut alice, "u"), "ack");
    world.join(LOBBY, "bob");
    alice.send(&with_id(frame("unban", Some("bob"), &json!({})), "v"));
    assert_eq!(answer(&mut alice, "v"), "not-found");
}

#[test]
fn roles_and_the_lock_change_by_frames_and_all_clients_see_it() {
    let world = World::start();
    let (mut alice, mut bob, _plain) = room(&world);
    let lock = |locked: bool| frame("lock", None, &json!({"locked": locked}));
    for locked in [true, false] {
        alice.send(&lock(locked));
        for client in [&mut alice, &mut bob] {
            let updated = client.read();
            assert_eq!(updated["type"], "room-updated", "{updated}");
            assert_eq!(updated["data"]["locked"], locked);
        }
    }
    let role = |role: &str| frame("role", Some("bob"), &json!({"role": role}));
    alice.send(&with_id(role("moderator"), "r"));
    assert_eq!(answer(&mut alice, "r"), "forbidden", "she is no owner");
    world
        .daemon
        .cli_json(&["room", "role", LOBBY, "alice", "owner"]);
    for client in [&mut alice, &mut bob] {
        assert_eq!(client.read()["data"]["role"], "owner");
    }
    alice.send(&with_id(role("moderator"), "s"));
    assert_eq!(answer(&mut alice, "s"), "ack");
    let updated = bob.read();
    assert_eq!(
        (&updated["data"]["userId"], &updated["data"]["role"]),
        (&json!("bob"), &json!("moderator"))
    );
}

#[test]
fn every_change_of_a_room_reaches_its_extended_clients() {
    let world = World::start();
    let (mut alice, _) = world.enter_extended(LOBBY, "alice");
    world
        .daemon
        .cli_json(&["room", "role", LOBBY, "alice", "owner"]);
    assert_eq!(alice.read()["type"], "participant-updated");
    let http = world.http(&world.token("alice"));
    for change in [
        json!({"name": "Attic"}),
        json!({"private": true}),
        json!({"max_participants": 7}),
    ] {
        let body = change.to_string();
        let kind = [("Content-Type", "application/json")];
        let changed = http
            .send("PATCH", "/api/rooms/lobby", &kind, body.as_bytes())
            .ok();
        let updated = alice.read();
        assert_eq!(updated["type"], "room-updated");
        assert_eq!(updated["data"], changed);
        assert!(updated.get("from").is_none());
    }
    world.daemon.cli_json(&["room", "lock", LOBBY]);
    assert_eq!(alice.read()["data"]["locked"], true);
}

#[test]
fn a_moderation_frame_needs_its_user_and_data() {
    let world = World::start();
    let (mut alice, _bob, _plain) = room(&world);
    for (bad, expected) in [
        (frame("kick", None, &json!({})), "bad-target"),
        (frame("mute", None, &Value::Null), "bad-target"),
        (
            frame("kick", Some("bob"), &json!({"why": "noise"})),
            "bad-data",
        ),
        (
            frame("ban", Some("bob"), &json!({"keepInvite": 1})),
            "bad-data",
        ),
        (frame("lock", None, &Value::Null), "bad-data"),
        (
            frame("role", Some("bob"), &json!({"role": "king"})),
            "bad-data",
        ),
        (
            frame("ban", Some("bob"), &json!({"until": "tomorrow"})),
            "bad-request",
        ),
        (
            frame("mute", Some("bob"), &json!({"reason": ""})),
            "bad-request",
        ),
        (frame("kick", Some("alice"), &json!({})), "yourself"),
        (frame("mute", Some("nobody"), &json!({})), "not-found"),
        (frame("mute", Some("plain"), &json!({})), "plain-client"),
    ] {
        alice.send(&with_id(bad.clone(), "x"));
        assert_eq!(answer(&mut alice, "x"), expected, "{bad}");
    }
}
