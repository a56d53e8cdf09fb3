//! The state of participants.

use serde_json::{Value, json};

use super::{frame, read_about_people};
use crate::wire::world::{Client, LOBBY, World, offer};

fn update(data: &Value) -> Value {
    frame("update", None, data)
}

#[test]
fn an_update_reaches_all_extended_clients_whole() {
    let world = World::start();
    let (mut alice, welcome) = world.enter_extended(LOBBY, "alice");
    let mut plain = world.enter(LOBBY, "plain");
    let (mut bob, _) = world.enter_extended(LOBBY, "bob");
    for _ in 0..2 {
        assert_eq!(alice.read()["type"], "user-joined");
    }
    assert_eq!(plain.read()["from"], "bob");
    let mut participant = welcome["participants"][0].clone();
    let mut seq = 2;
    for (data, key, value) in [
        (json!({"muted": true}), "muted", json!(true)),
        (
            json!({"handRaised": true, "muted": null, "x": 1}),
            "handRaised",
            json!(true),
        ),
        (json!({"muted": false}), "muted", json!(false)),
    ] {
        alice.send(&update(&data));
        participant["state"][key] = value;
        seq += 1;
        let mut expected = json!({"seq": seq, "type": "participant-updated", "data": participant,
            "from": "alice", "roomId": LOBBY});
        assert_eq!(alice.read(), expected);
        expected["seq"] = (seq - 2).into();
        assert_eq!(bob.read(), expected);
    }
    // No change, no frame; and none for the plain client.
    alice.send(&update(&json!({"muted": false})));
    alice.send(&offer("alice", None, "next"));
    assert_eq!(bob.read()["type"], "offer");
    assert_eq!(plain.read(), offer("alice", None, "next"));
    let (_carol, welcome) = world.enter_extended(LOBBY, "carol");
    assert_eq!(welcome["participants"][0], participant);
}

#[test]
fn a_name_is_judged_and_marked_if_somebody_has_it() {
    let world = World::start();
    let (mut alice, _) = world.enter_extended(LOBBY, "alice");
    let (mut bob, _) = world.enter_extended(LOBBY, "bob");
    assert_eq!(alice.read()["type"], "user-joined");
    alice.send(&update(&json!({"displayName": "BOB"})));
    assert_eq!(alice.read()["data"]["displayName"], "BOB (2)");
    assert_eq!(bob.read()["data"]["displayName"], "BOB (2)");
    bob.send(&update(&json!({"displayName": "bob  (2)"})));
    assert_eq!(bob.read()["data"]["displayName"], "bob  (2) (2)");
    assert_eq!(alice.read()["from"], "bob");
    let long = "x".repeat(129);
    for (data, code) in [
        (json!({"displayName": "ali\u{202e}ce"}), "bad-name"),
        (json!({"displayName": long}), "bad-name"),
        (json!({"displayName": 7}), "bad-data"),
        (json!({"muted": "yes"}), "bad-data"),
        (json!({}), "bad-data"),
        (json!([]), "bad-data"),
    ] {
        alice.send(&update(&data));
        assert_eq!(alice.read()["data"]["code"], code, "{data}");
    }
    let mut names = 0;
    let refused = loop {
        alice.send(&update(&json!({"displayName": format!("A{names}")})));
        let answer = alice.read();
        if answer["type"] == "error" {
            break answer;
        }
        names += 1;
    };
    assert_eq!(refused["data"]["code"], "rate-limited");
    assert!((1..10).contains(&names), "{names}");
    // Other changes are still allowed.
    alice.send(&update(&json!({"muted": true})));
    assert_eq!(alice.read()["data"]["state"]["muted"], true);
}

#[test]
fn a_changed_role_is_seen_at_once() {
    let world = World::start();
    let (mut alice, _) = world.enter_extended(LOBBY, "alice");
    let mut plain = world.enter(LOBBY, "plain");
    assert_eq!(alice.read()["data"]["participant"]["role"], "member");
    world
        .daemon
        .cli_json(&["room", "role", LOBBY, "plain", "moderator"]);
    let updated = alice.read();
    assert_eq!(updated["type"], "participant-updated");
    assert_eq!(updated["data"]["userId"], "plain");
    assert_eq!(updated["data"]["role"], "moderator");
    let (_bob, welcome) = world.enter_extended(LOBBY, "bob");
    assert_eq!(welcome["participants"][1]["role"], "moderator");
    assert_eq!(plain.read()["from"], "bob");
}

#[test]
fn a_role_that_another_process_changes_is_seen() {
    let world = World::start();
    let (mut alice, _) = world.enter_extended(LOBBY, "alice");
    let (_bob, _) = world.enter_extended(LOBBY, "bob");
    assert_eq!(alice.read()["data"]["participant"]["role"], "member");
    let role = |alice: &mut Client| {
        let updated = read_about_people(alice);
        assert_eq!(updated["type"], "participant-updated");
        assert_eq!(updated["data"]["userId"], "bob");
        updated["data"]["role"].clone()
    };
    world.write_outside(
        "INSERT INTO room_moderators (room_id, user_id, created_at)
         VALUES ('lobby', 'bob', '2026-01-01T00:00:00Z')",
    );
    assert_eq!(role(&mut alice), "moderator");
    world.write_outside("UPDATE users SET is_admin = (1 = 1) WHERE id = 'bob'");
    assert_eq!(role(&mut alice), "owner");
    world.write_outside("UPDATE users SET is_admin = (1 = 0) WHERE id = 'bob'");
    assert_eq!(role(&mut alice), "moderator");
    world.write_outside("DELETE FROM room_moderators WHERE user_id = 'bob'");
    assert_eq!(role(&mut alice), "member");
    world.write_outside("UPDATE coworking_rooms SET owner_id = 'bob' WHERE id = 'lobby'");
    assert_eq!(role(&mut alice), "owner");
}
